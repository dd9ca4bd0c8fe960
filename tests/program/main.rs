//! The whole program, from outside: the command line as a shell sees it, the server as a client sees it, and the data
//! directory as a crash, a full disk or another tool sees it.
#![cfg(unix)]
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod bundle;
mod crash;
mod crash_ingest;
mod disk_full;
mod export;
mod failures;
mod http;
mod ingest;
mod ingest_http;
mod newcomer;
mod program;
mod screen;
mod served;
mod server;
mod suggest;
