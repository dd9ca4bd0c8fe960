//! From anyone's file to accepted records: [`read`] (rows out of a file), [`mapping`] (which column is what),
//! [`rows`] (rows to records), [`check`] (is this believable?), [`report`] (what was refused or flagged, and why),
//! [`job`] (files in, one commit out).
//!
//! Nothing here panics on input, and no row is dropped without a line in the report.

pub mod check;
pub mod job;
pub mod mapping;
pub mod read;
pub mod refused;
pub mod report;
pub mod rows;
