//! What can go wrong, by what the caller can do about it.

/// Why a column, a query or a device was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// Two things that must have one entry per row do not have the same number of rows.
    #[error("{what} has {found} rows, expected {expected}")]
    Length {
        /// What was measured, for example `sd` or `mask`.
        what: &'static str,
        /// The number of rows that it should have.
        expected: usize,
        /// The number of rows that it has.
        found: usize,
    },
    /// A column has more rows than a row number can name.
    #[error("{rows} rows are more than the {limit} that a row number can name")]
    TooManyRows {
        /// The number of rows asked for.
        rows: usize,
        /// The largest number of rows.
        limit: usize,
    },
    /// A value of a column is not a number that kernels can use (NaN, infinite, or beyond [`crate::Column::LIMIT`]).
    #[error("row {row}: {what} {value} is not a finite number of magnitude at most {limit:e}", limit = crate::Column::LIMIT)]
    Value {
        /// The row that holds it.
        row: usize,
        /// `mean` or `sd`.
        what: &'static str,
        /// The value.
        value: f32,
    },
    /// A query has no target, or more than [`crate::MAX_TARGETS`].
    #[error("a query has 1 to {limit} targets, this one has {found}", limit = crate::MAX_TARGETS)]
    TargetCount {
        /// The number of targets given.
        found: usize,
    },
    /// A target's window, weight, tolerance or fill is not usable.
    #[error("target {target}: {what} {value} {why}")]
    Target {
        /// Which target, counted from 0.
        target: usize,
        /// Which of its numbers.
        what: &'static str,
        /// Its value.
        value: f32,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Vectors have no components, or more than [`crate::Vectors::MAX_DIMS`], or a number of values that is no multiple of them.
    #[error("{what} has {values} values, which is not a whole number of vectors of {dims} components (1 to {limit})",
        limit = crate::Vectors::MAX_DIMS)]
    Dims {
        /// `vectors` or `queries`.
        what: &'static str,
        /// The number of values given.
        values: usize,
        /// The number of components of one vector.
        dims: usize,
    },
    /// A component is NaN, infinite, or beyond [`crate::Vectors::LIMIT`].
    #[error("{what} {at}, component {dim}: {value} is not a finite number of magnitude at most {limit:e}",
        limit = crate::Vectors::LIMIT)]
    Component {
        /// `row` or `query`.
        what: &'static str,
        /// Which row or query, counted from 0.
        at: usize,
        /// Which component, counted from 0.
        dim: usize,
        /// Its value.
        value: f32,
    },
    /// A batch has no query, or more than [`crate::MAX_QUERIES`].
    #[error("a batch has 1 to {limit} queries, this one has {found}", limit = crate::MAX_QUERIES)]
    QueryCount {
        /// The number of queries given.
        found: usize,
    },
    /// There is not one of something for each query of a batch.
    #[error("there are {found} {what} for {queries} queries; give one for each")]
    PerQuery {
        /// `masks` or `left-out rows`.
        what: &'static str,
        /// The number of queries.
        queries: usize,
        /// How many there are.
        found: usize,
    },
    /// A radius is not a number.
    #[error("a radius must be a number, not NaN")]
    Radius,
    /// Edges of a histogram are none or too many, not finite, or not ascending.
    #[error("a histogram has 1 to {limit} finite edges, strictly ascending; these {found} are not so", limit = crate::MAX_EDGES)]
    Edges {
        /// The number of edges given.
        found: usize,
    },
    /// No adapter of that name, or no real one at all.
    #[error("no device named {wanted:?}; there is: {}", list(found))]
    NoAdapter {
        /// The name that was asked for.
        wanted: String,
        /// The names of all adapters, software ones included.
        found: Vec<String>,
    },
    /// The device opened, but answers its self-test wrongly: it must not be used.
    #[error("device {device} failed its self-test: {why}")]
    SelfTest {
        /// The adapter's name.
        device: String,
        /// Which answer was wrong, and how.
        why: String,
    },
    /// The device could not be opened or used.
    #[error("device {device}: {why}")]
    Device {
        /// The adapter's name.
        device: String,
        /// The driver's message.
        why: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Several errors in one line.
pub(crate) fn joined(errors: &[GpuError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
