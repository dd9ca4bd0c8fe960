//! Embeddings: many vectors of one length, and what it means for two of them to be near.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::codes::Codes;
use crate::margin::Terms;
use crate::{GpuError, MAX_ROWS, reference};

/// How far two vectors are apart; smaller is nearer. Defined in f64 by [`crate::reference::distance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Euclidean: √Σ(x - q)², in the unit of the components.
    L2,
    /// Manhattan: Σ|x - q|, in the unit of the components.
    L1,
    /// One minus the cosine of the angle between the two, within 0 and 2; 1 where one of them is zero.
    Cosine,
    /// The inner product with its sign changed, -Σ x q, so that smaller is nearer; any finite number.
    InnerProduct,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 4] = [Metric::L2, Metric::L1, Metric::Cosine, Metric::InnerProduct];
}

/// A set of vectors, one a row. Immutable; what searches derive from it (norms, centred values, bytes) is made by the first search by
/// a metric, or by [`crate::Device::load_vectors`], and kept for as long as it lives.
pub struct Vectors {
    id: u64,
    dims: usize,
    values: Vec<f32>,
    terms: [OnceLock<Terms>; 4],
}

impl Vectors {
    /// The largest magnitude of a component.
    pub const LIMIT: f32 = 1e18;

    /// The largest number of components of one vector.
    pub const MAX_DIMS: usize = 65_536;

    /// Vectors of `dims` components each, one after the other in `values`. There may be none.
    ///
    /// # Errors
    /// [`GpuError::Dims`] where `dims` is not within 1 and [`Vectors::MAX_DIMS`] or does not divide the number of values,
    /// [`GpuError::Component`] where one is NaN, infinite or beyond [`Vectors::LIMIT`], [`GpuError::TooManyRows`].
    pub fn new(values: Vec<f32>, dims: usize) -> Result<Arc<Vectors>, GpuError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        check_values("vectors", "row", &values, dims)?;
        let rows = values.len() / dims;
        if rows > MAX_ROWS {
            return Err(GpuError::TooManyRows { rows, limit: MAX_ROWS });
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Vectors { id, dims, values, terms: Default::default() }))
    }

    /// A number that no other set of vectors of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dims
    }

    /// True where there are no vectors.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The number of components of each.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// All components, vector after vector, as they were given.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The components of one vector; it must exist.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dims..][..self.dims]
    }

    /// The distance of each vector from a query of as many components, as [`crate::reference::distance`] has it.
    ///
    /// # Errors
    /// [`GpuError::Length`] or [`GpuError::Component`], naming what is not usable.
    pub fn distances(&self, metric: Metric, query: &[f32]) -> Result<Vec<f64>, GpuError> {
        const N: usize = 8;
        if query.len() != self.dims {
            return Err(GpuError::Length { what: "query", expected: self.dims, found: query.len() });
        }
        check_values("query", "query", query, self.dims)?;
        let mut distances = vec![0.0; self.len()];
        distances.par_chunks_mut(N).enumerate().with_min_len(256).for_each(|(group, out)| {
            // the last group is filled up
            let row = |at: usize| self.row(group * N + at.min(out.len() - 1));
            let all = reference::distances::<N>(metric, std::array::from_fn(row), query);
            out.copy_from_slice(&all[..out.len()]);
        });
        Ok(distances)
    }

    /// Makes all that searches by this metric need.
    pub(crate) fn prepare(&self, metric: Metric) {
        let terms = self.terms(metric);
        if Codes::pay(self.values.len(), self.dims) {
            terms.codes(&self.values, self.dims);
        }
    }

    /// What kernels need to know of the rows for this metric.
    pub(crate) fn terms(&self, metric: Metric) -> &Terms {
        let cell = &self.terms[metric as usize];
        match cell.get() {
            Some(terms) => terms,
            None => {
                // made before the cell is locked: the threads that make it may take up another search meanwhile, which
                // would wait for itself
                let made = Terms::new(&self.values, self.dims, metric);
                cell.get_or_init(|| made)
            }
        }
    }
}

impl std::fmt::Debug for Vectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vectors {} ({} × {})", self.id, self.len(), self.dims)
    }
}

/// Whether values are whole vectors of usable numbers.
pub(crate) fn check_values(what: &'static str, one: &'static str, values: &[f32], dims: usize) -> Result<(), GpuError> {
    if dims == 0 || dims > Vectors::MAX_DIMS || !values.len().is_multiple_of(dims) {
        return Err(GpuError::Dims { what, values: values.len(), dims });
    }
    match values.iter().position(|value| !(-Vectors::LIMIT..=Vectors::LIMIT).contains(value)) {
        Some(at) => Err(GpuError::Component { what: one, at: at / dims, dim: at % dims, value: values[at] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_refuse_what_is_not_a_number() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.1e18, -1.1e18] {
            match Vectors::new(vec![0.0, 1.0, 2.0, 3.0, bad, 5.0], 2) {
                Err(GpuError::Component { what: "row", at: 2, dim: 0, .. }) => {}
                other => panic!("{bad}: {other:?}"),
            }
        }
        for (values, dims) in [(3, 2), (0, 0), (1, 0), (65_537, 65_537)] {
            let refused = Vectors::new(vec![0.0; values], dims);
            assert!(matches!(refused, Err(GpuError::Dims { .. })), "{values} {dims}");
        }
        let few = Vectors::new(vec![1e18, -1e18, 1e-45, 0.0], 2).unwrap();
        assert_eq!((few.len(), few.dims(), few.row(1)), (2, 2, &[1e-45, 0.0][..]));
        assert!(Vectors::new(Vec::new(), 7).unwrap().is_empty());
        assert_ne!(few.id(), Vectors::new(Vec::new(), 7).unwrap().id());
    }

    #[test]
    fn distances_are_those_of_the_reference_however_many_there_are() {
        let query = [0.5, -1.0, 3.0];
        for rows in [0, 1, 7, 8, 9, 5000] {
            let values = (0..3 * rows).map(|i| (i * 7919 % 101) as f32 / 9.0 - 5.0).collect();
            let vectors = Vectors::new(values, 3).unwrap();
            for metric in Metric::ALL {
                let truth: Vec<f64> =
                    (0..rows).map(|row| reference::distance(metric, vectors.row(row), &query)).collect();
                assert_eq!(vectors.distances(metric, &query), Ok(truth), "{metric:?} {rows}");
            }
            assert!(vectors.distances(Metric::L2, &query[..2]).is_err());
            assert!(vectors.distances(Metric::L2, &[0.0, f32::NAN, 0.0]).is_err());
        }
    }
}
