//! From what is in a material to vectors, predictions and intervals.
//!
//! [`composition`] says what is in it, [`descriptors`] what its [`elements`] are like, [`pettifor`] where they stand on one
//! chemical scale. [`encoder`] learns vectors from all properties at once, [`forest`] says what a property may be, and how far its
//! trees are apart. [`structure`] says where the atoms of a crystal are, as they see each other.
//!
//! Nothing here knows of records, tables or devices.

mod blend;
pub mod composition;
pub mod descriptors;
pub mod elements;
pub mod encoder;
pub mod ensemble;
mod exp;
pub mod forest;
pub mod pettifor;
pub mod predictor;
mod random;
pub mod ridge;
pub mod structure;
mod tape;
