//! From what is in a material to vectors, predictions and intervals.
//!
//! [`composition`] says what is in it, [`descriptors`] what its [`elements`] are like, [`pettifor`] how far it is from others.
//!
//! Nothing here knows of records, tables or devices.

pub mod composition;
pub mod descriptors;
pub mod elements;
pub mod pettifor;
