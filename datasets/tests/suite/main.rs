//! The record table and the bundle, through the crate's public face: what a caller, a second process, or a tool beside
//! it would see.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

extern crate matgenome_datasets as datasets;

mod bundle;
mod concurrent;
mod damage;
mod export;
mod faults;
mod hub;
mod stress;
mod terms;
mod upgrade;
mod upsert;
mod versions;
