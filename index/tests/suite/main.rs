//! From records to answers, judged by naive code that shares nothing with what it judges ([`oracle`]).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::print_stdout, missing_docs)]

mod beliefs;
mod columns;
mod extend;
mod filters;
mod fuzz;
mod hub;
mod like;
mod materials;
mod merit;
mod oracle;
mod own;
mod prediction;
mod rank;
mod similar;
mod spec_errors;
mod stated;
mod store;
mod wishes;
mod world;
