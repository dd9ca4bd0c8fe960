//! From anyone's file to accepted records: [`read`] (rows out of a file), [`mapping`] (which column is what),
//! [`header`] and [`propose`] (what it may be, by its header), [`value`] (what a cell says), [`structure`] and
//! [`smiles`] (what is in a crystal or molecule), [`rows`] (rows to records), [`check`] (is this believable?),
//! [`report`] (what was refused or flagged, and why), [`refused`] (which rows are to be mended?), [`sort`] (which rows speak of one record?), [`job`] (files in, one
//! commit out); [`native`] (records out of our own exports).
//!
//! Nothing here panics on input, and no row is dropped without a line in the report.

pub mod check;
pub mod header;
pub mod job;
pub mod mapping;
pub mod native;
pub mod propose;
pub mod read;
pub mod refused;
pub mod report;
pub mod rows;
pub mod smiles;
pub mod sort;
pub mod structure;
pub mod value;
