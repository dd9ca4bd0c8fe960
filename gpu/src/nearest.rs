//! What is asked of vectors: the nearest ones, those within a distance, and the neighbours of all.

use std::sync::Arc;

use crate::vectors::check_values;
use crate::{GpuError, Mask, Metric, Vectors};

/// The largest number of queries of one batch.
pub const MAX_QUERIES: usize = 1024;

/// Which rows may be answered to a batch of queries.
#[derive(Debug, Clone, Copy, Default)]
pub enum Masks<'a> {
    /// All of them.
    #[default]
    All,
    /// The same ones to every query.
    Shared(&'a Mask),
    /// To each query its own, in the order of the queries.
    Each(&'a [&'a Mask]),
}

impl Masks<'_> {
    /// Whether the row may be answered to the query.
    pub(crate) fn allows(&self, query: usize, row: usize) -> bool {
        match self {
            Masks::All => true,
            Masks::Shared(mask) => mask.get(row),
            Masks::Each(masks) => masks[query].get(row),
        }
    }
}

/// A batch of queries: the `k` vectors nearest to each.
#[derive(Debug, Clone, Copy)]
pub struct NearestQuery<'a> {
    /// What is searched.
    pub vectors: &'a Arc<Vectors>,
    /// 1 to [`MAX_QUERIES`] queries, one after the other, each of as many components as the vectors have.
    pub queries: &'a [f32],
    /// What near means.
    pub metric: Metric,
    /// The rows that may be answered.
    pub masks: Masks<'a>,
    /// For each query a row that is not answered to it, for example itself; a number that is no row leaves none out.
    pub leave_out: Option<&'a [u32]>,
    /// How many are wanted for each; more than there are is allowed.
    pub k: usize,
}

/// A batch of queries: all vectors within a distance of each. An answer takes 16 bytes a row.
#[derive(Debug, Clone, Copy)]
pub struct WithinQuery<'a> {
    /// What is searched.
    pub vectors: &'a Arc<Vectors>,
    /// 1 to [`MAX_QUERIES`] queries, one after the other, each of as many components as the vectors have.
    pub queries: &'a [f32],
    /// What distance means.
    pub metric: Metric,
    /// The rows that may be answered.
    pub masks: Masks<'a>,
    /// For each query a row that is not answered to it, for example itself; a number that is no row leaves none out.
    pub leave_out: Option<&'a [u32]>,
    /// The largest distance, itself included; negative for inner products above zero, and may be infinite.
    pub radius: f64,
}

/// A question of many: the `k` vectors nearest to each of another set, or of the same.
#[derive(Debug, Clone, Copy)]
pub struct AllNearest<'a> {
    /// What is searched.
    pub vectors: &'a Arc<Vectors>,
    /// Whose neighbours are wanted. Where it is `vectors` itself, no row is its own neighbour.
    pub of: &'a Vectors,
    /// What near means.
    pub metric: Metric,
    /// The rows that may be answered; all where there is none.
    pub mask: Option<&'a Mask>,
    /// How many are wanted for each.
    pub k: usize,
}

/// One answered vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Its distance in f64, as [`crate::reference::distance`] has it.
    pub distance: f64,
    /// Its row number.
    pub row: u32,
}

impl Neighbour {
    /// The order of all answers: by distance, then by row number.
    pub fn order(&self, other: &Neighbour) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}

/// The answer to a batch of queries.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestAnswer {
    /// For each query its neighbours, ordered by (distance, row number); fewer where fewer rows are allowed. The same on
    /// every device, for any number of threads and any split into batches.
    pub neighbours: Vec<Vec<Neighbour>>,
    /// The device that searched.
    pub device: String,
    /// Why it was not the device that was opened, where it was not.
    pub note: Option<String>,
}

/// What is wanted of each query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// The k nearest.
    Nearest(usize),
    /// All within a distance.
    Within(f64),
}

/// A checked batch, in the one form that devices take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) vectors: &'a Arc<Vectors>,
    pub(crate) queries: &'a [f32],
    pub(crate) metric: Metric,
    pub(crate) masks: Masks<'a>,
    pub(crate) leave_out: Option<&'a [u32]>,
    pub(crate) goal: Goal,
}

impl Job<'_> {
    /// The number of queries.
    pub(crate) fn count(&self) -> usize {
        self.queries.len() / self.vectors.dims()
    }

    /// The components of one query.
    pub(crate) fn query(&self, at: usize) -> &[f32] {
        let dims = self.vectors.dims();
        &self.queries[at * dims..][..dims]
    }

    /// Whether the row may be answered to the query.
    pub(crate) fn allows(&self, query: usize, row: u32) -> bool {
        self.masks.allows(query, row as usize) && self.leave_out.is_none_or(|rows| rows[query] != row)
    }
}

impl<'a> NearestQuery<'a> {
    /// Checks the batch, and returns its number of queries.
    ///
    /// # Errors
    /// [`GpuError::Dims`], [`GpuError::Component`], [`GpuError::QueryCount`], [`GpuError::Length`] or
    /// [`GpuError::PerQuery`], naming what is not usable.
    pub fn check(&self) -> Result<usize, GpuError> {
        self.job().map(|job| job.count())
    }

    pub(crate) fn job(&self) -> Result<Job<'a>, GpuError> {
        let NearestQuery { vectors, queries, metric, masks, leave_out, k } = *self;
        checked(Job { vectors, queries, metric, masks, leave_out, goal: Goal::Nearest(k.min(vectors.len())) })
    }
}

impl<'a> WithinQuery<'a> {
    /// Checks the batch, and returns its number of queries.
    ///
    /// # Errors
    /// As for [`NearestQuery::check`], and [`GpuError::Radius`].
    pub fn check(&self) -> Result<usize, GpuError> {
        self.job().map(|job| job.count())
    }

    pub(crate) fn job(&self) -> Result<Job<'a>, GpuError> {
        let WithinQuery { vectors, queries, metric, masks, leave_out, radius } = *self;
        if radius.is_nan() {
            return Err(GpuError::Radius);
        }
        checked(Job { vectors, queries, metric, masks, leave_out, goal: Goal::Within(radius) })
    }
}

fn checked(job: Job<'_>) -> Result<Job<'_>, GpuError> {
    check_values("queries", "query", job.queries, job.vectors.dims())?;
    let count = job.count();
    if count == 0 || count > MAX_QUERIES {
        return Err(GpuError::QueryCount { found: count });
    }
    let masks = match job.masks {
        Masks::All => &[][..],
        Masks::Shared(mask) => &[mask][..],
        Masks::Each(masks) if masks.len() == count => masks,
        Masks::Each(masks) => return Err(GpuError::PerQuery { what: "masks", queries: count, found: masks.len() }),
    };
    if let Some(mask) = masks.iter().find(|mask| mask.len() != job.vectors.len()) {
        return Err(GpuError::Length { what: "mask", expected: job.vectors.len(), found: mask.len() });
    }
    match job.leave_out {
        Some(rows) if rows.len() != count => {
            Err(GpuError::PerQuery { what: "left-out rows", queries: count, found: rows.len() })
        }
        _ => Ok(job),
    }
}

impl<'a> AllNearest<'a> {
    /// The number of vectors whose neighbours are wanted.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// True where no neighbours are wanted.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// The batch that begins with vector `first`.
    pub(crate) fn batch(&self, first: usize, own: &'a [u32]) -> NearestQuery<'a> {
        let dims = self.of.dims();
        let end = (first + MAX_QUERIES).min(self.len());
        NearestQuery {
            vectors: self.vectors,
            queries: &self.of.values()[first * dims..end * dims],
            metric: self.metric,
            masks: self.mask.map_or(Masks::All, Masks::Shared),
            leave_out: (self.of.id() == self.vectors.id()).then_some(own),
            k: self.k,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_checked() {
        let vectors = Vectors::new(vec![0.5; 12], 3).unwrap();
        let (right, wrong) = (Mask::all(4), Mask::all(5));
        let good = NearestQuery {
            vectors: &vectors,
            queries: &[1.0; 6],
            metric: Metric::L2,
            masks: Masks::Shared(&right),
            leave_out: Some(&[0, u32::MAX]),
            k: 1,
        };
        assert_eq!(good.check(), Ok(2));
        let refused = |query: NearestQuery| query.check().unwrap_err().to_string();
        let bad = NearestQuery { queries: &[1.0; 7], ..good };
        assert_eq!(
            refused(bad),
            "queries has 7 values, which is not a whole number of vectors of 3 components (1 to 65536)"
        );
        let bad = NearestQuery { queries: &[], ..good };
        assert_eq!(refused(bad), "a batch has 1 to 1024 queries, this one has 0");
        let many = vec![0.0; 3 * 1025];
        assert!(refused(NearestQuery { queries: &many, ..good }).contains("1025"));
        let bad = NearestQuery { queries: &[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0], ..good };
        assert_eq!(refused(bad), "query 1, component 1: NaN is not a finite number of magnitude at most 1e18");
        let bad = NearestQuery { masks: Masks::Shared(&wrong), ..good };
        assert_eq!(refused(bad), "mask has 5 rows, expected 4");
        let bad = NearestQuery { masks: Masks::Each(&[&right, &wrong]), ..good };
        assert_eq!(refused(bad), "mask has 5 rows, expected 4");
        let bad = NearestQuery { masks: Masks::Each(&[&right]), ..good };
        assert_eq!(refused(bad), "there are 1 masks for 2 queries; give one for each");
        let bad = NearestQuery { leave_out: Some(&[0]), ..good };
        assert_eq!(refused(bad), "there are 1 left-out rows for 2 queries; give one for each");
        let NearestQuery { vectors, queries, metric, masks, leave_out, .. } = good;
        let within = WithinQuery { vectors, queries, metric, masks, leave_out, radius: f64::NAN };
        assert_eq!(within.check(), Err(GpuError::Radius));
        assert_eq!(WithinQuery { radius: f64::INFINITY, ..within }.check(), Ok(2));
    }
}
