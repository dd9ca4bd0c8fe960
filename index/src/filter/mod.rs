//! Text → tree: which materials does a filter ask for?
//!
//! The language is the filter language of [OPTIMADE](https://www.optimade.org) v1.2 and v1.3 (the EBNF grammar in the
//! specification's appendix), token for token:
//!
//! ```text
//! elements HAS ALL "Si", "O" AND nelements = 2 AND NOT (band_gap < 1.5 OR band_gap IS UNKNOWN)
//! ```
//!
//! [`parse`] gives a [`Filter`], the tree, or a [`FilterError`] that says where the text goes wrong and, where it is
//! plain, how to mend it. The optional parts of the grammar (`HAS ONLY`, operators inside `HAS` and `LENGTH`, zipped
//! lists, property against property, constant against constant, nested names) are parsed and kept in the tree: whether
//! they can be answered is for the evaluator to say, with the position that the tree holds. Beyond the grammar, and
//! where it admits nothing, the key of a dataset's own property is a name: `my-lab:wear_rate > 3`.
//!
//! A tree prints (`Display`) as one canonical text, which parses to an equal tree and so serves as a cache key.
//!
//! Good for: filters from strangers. Text, nesting and the number of comparisons are bounded ([`MAX_FILTER_BYTES`],
//! [`MAX_NESTING`], [`MAX_TERMS`]), and with them the stack and the work that a tree can cost.
//! Not its business: which properties exist, their types and units, and what is true of a record.

mod lexer;
mod mask;
mod parse;
mod tree;

#[cfg(test)]
mod tests;

pub use mask::{FIELDS, matching};
pub use parse::{FilterError, MAX_FILTER_BYTES, MAX_NESTING, MAX_TERMS, parse};
pub use tree::{At, Comparison, Constant, Field, Filter, Has, HasValue, Number, Operand, Test, TextMatch};
