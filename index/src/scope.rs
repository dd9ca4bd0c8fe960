//! Whose evidence may count?

/// Whose eyes: which datasets exist for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Viewer {
    /// Anyone: public datasets only.
    Public,
    /// Whoever holds the data directory: all datasets.
    Owner,
}

/// The datasets that may count as evidence for one query: one flag a dataset of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope(pub Vec<bool>);
