//! One module a command.

pub mod bundle;
pub mod compact;
pub mod doctor;
pub mod export;
pub mod ingest;
pub mod list;
pub mod predict;
pub mod screen;
pub mod serve;
pub mod show;
pub mod similar;
pub mod suggest;
pub mod train;
pub mod verify;
