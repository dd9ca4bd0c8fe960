//! Distances to a few rows: what a walk along a graph asks for at each step.

use std::sync::Arc;

use crate::dense_simd::Level;
use crate::{Metric, Vectors, reference};

/// Measures rows of a set of vectors on the CPU, in f32.
#[derive(Debug, Clone)]
pub struct Probe {
    vectors: Arc<Vectors>,
    metric: Metric,
    level: Level,
}

impl Probe {
    /// By [`Metric::L1`] or [`Metric::L2`]; `None` for others, which are no distances between points.
    pub fn new(vectors: &Arc<Vectors>, metric: Metric) -> Option<Probe> {
        let is_distance = matches!(metric, Metric::L1 | Metric::L2);
        is_distance.then(|| Probe { vectors: Arc::clone(vectors), metric, level: Level::best() })
    }

    /// Appends how far each of these rows is from a point: the distance by [`Metric::L1`], its square by [`Metric::L2`]. Never
    /// negative or NaN where the components of the point are finite; infinite beyond f32. Sums are f32's: what decides an order asks
    /// [`Probe::distance`].
    ///
    /// # Panics
    /// A row does not exist, or `query` has fewer components than the vectors.
    pub fn measure(&self, query: &[f32], rows: &[u32], to: &mut Vec<f32>) {
        self.level.probe(&self.vectors, self.metric == Metric::L1, rows, query, to);
    }

    /// How far two rows are apart, as [`Probe::measure`] has it; they must exist.
    pub fn apart(&self, a: u32, b: u32) -> f32 {
        self.level.apart(self.metric == Metric::L1, self.row(a), self.row(b))
    }

    /// The distance of a row from a point, in f64; the row must exist.
    pub fn distance(&self, query: &[f32], row: u32) -> f64 {
        reference::distance(self.metric, self.row(row), query)
    }

    /// What is measured.
    pub fn vectors(&self) -> &Arc<Vectors> {
        &self.vectors
    }

    /// What near means.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The components of a row; it must exist.
    pub fn row(&self, row: u32) -> &[f32] {
        self.vectors.row(row as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_measure_what_the_definition_says() {
        for dims in [1, 3, 8, 15, 16, 103, 128, 130] {
            let value = |at: usize| ((at * 7919 + dims) % 1000) as f32 / 500.0 - 1.0;
            let vectors = Vectors::new((0..40 * dims).map(value).collect(), dims).unwrap();
            let query: Vec<f32> = (0..dims).map(|at| value(at * 31 + 5)).collect();
            for metric in [Metric::L1, Metric::L2] {
                let probe = Probe::new(&vectors, metric).unwrap();
                let rows = [39, 0, 7, 7];
                for level in Level::all() {
                    let mut found = vec![-1.0];
                    Probe { level, ..probe.clone() }.measure(&query, &rows, &mut found);
                    for (found, row) in found[1..].iter().zip(rows) {
                        let truth = reference::distance(metric, vectors.row(row as usize), &query);
                        let truth = if metric == Metric::L2 { truth * truth } else { truth };
                        assert!((f64::from(*found) - truth).abs() <= 1e-5 * truth.max(1.0), "{metric:?} {dims} {row}");
                    }
                    assert_eq!(found.len(), 5);
                    let mut found = Vec::new();
                    probe.measure(probe.row(3), &[8, 3], &mut found);
                    assert_eq!(found, [probe.apart(8, 3), 0.0]);
                }
            }
        }
        let far = Vectors::new(vec![1e18, -1e18], 1).unwrap();
        let mut found = Vec::new();
        Probe::new(&far, Metric::L2).unwrap().measure(&[-1e18], &[0, 1], &mut found);
        assert!(found[0] > 1e36 && found[1] == 0.0);
        assert!(Probe::new(&far, Metric::Cosine).is_none() && Probe::new(&far, Metric::InnerProduct).is_none());
    }
}
