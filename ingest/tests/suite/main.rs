//! From files to accepted records, as a data owner sees it: what is taken, what is refused, and what is said about it.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

extern crate matgenome_ingest as ingest;

mod cells;
mod checks;
mod counts;
mod express;
mod files;
mod formats;
mod job;
mod mapping;
mod native;
mod propose;
mod rows;
mod slips;
mod sort;
mod structures;
mod values;
