//! From records to answers.
//!
//! [`snapshot`] holds everything of one table version: [`materials`], [`measurements`] and, made at the first question,
//! [`belief`]s under a [`scope`]; [`properties`] says what can be asked about. [`spec`] reads what is wanted, [`filter`] and [`merit`] its two small languages, [`search`]
//! finds and orders the candidates, [`embedding`] and [`similar`] the materials that are like one, [`like`] how much that counts in a spec, [`hnsw`] most of them without a look at all, [`candidate`] puts the answer together, [`store`] keeps a snapshot on disk, and
//! [`hub`] is the face of it all.
//!
//! Nothing here knows of HTTP, and everything can be rebuilt from the tables.

pub mod asked;
pub mod belief;
pub mod candidate;
pub(crate) mod columns;
pub mod embedding;
pub mod filter;
pub mod hnsw;
pub mod hub;
pub mod like;
pub mod materials;
pub mod measurements;
pub mod merit;
pub mod prediction;
pub mod properties;
pub mod scope;
pub mod screen;
pub mod search;
pub mod similar;
pub mod snapshot;
pub mod spec;
pub mod stated;
pub mod store;
pub mod structures;
pub mod tabular;
