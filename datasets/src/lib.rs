//! What a record is, and where records are kept.
//!
//! The vocabulary as types ([`record`], [`formula`], [`element`], [`property`], [`unit`], [`catalogue`]), records as
//! Arrow columns ([`columns`]), the Delta table that keeps them ([`table`]) on a store that survives a power cut
//! ([`durable`]), the datasets that come with the program ([`bundled`]), and files for others ([`export`]).
//!
//! Nothing here knows of HTTP, of a GPU or of a search, and nothing but [`table`] writes records to storage.

pub mod bundled;
pub mod catalogue;
pub mod columns;
pub mod durable;
pub mod element;
pub mod export;
pub mod formula;
pub mod property;
pub mod record;
pub mod structure;
pub mod table;
pub mod unit;
