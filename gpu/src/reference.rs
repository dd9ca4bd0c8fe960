//! The score in f64: the truth that kernels are tested against, and the last word on the order of the best rows.
//!
//! For a target with window [lo, hi], tolerance s and weight w, and a row believed to be X ~ Normal(mean, sd):
//!
//! ```text
//! shortfall² = E[max(lo - X, 0)² + max(X - hi, 0)²] / s²      0 where that is below FLOOR
//! score      = Σ w shortfall² / Σ w                           over the targets that count for the row
//! ```
//!
//! The [`distance`] of two vectors is defined here, too.

use crate::normal::expected_squared_excess;
use crate::{Mask, Metric, Missing, SpecQuery, Target};

/// Squared shortfalls below this, in squared tolerances, are 0: certainly inside. In f32 the floor is twice as high
/// ([`crate::FLOOR_F32`]), so a score that is 0 here is 0 on every device.
pub const FLOOR: f64 = 1e-20;

/// A device's f32 score of a row exceeds the f64 score by at most this, relatively.
pub const F32_RELATIVE_ERROR: f64 = 1e-3;

/// One target, in f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// The lower end, in the unit of the means; -∞ leaves it open.
    pub lo: f64,
    /// The upper end, in the unit of the means; +∞ leaves it open.
    pub hi: f64,
    /// One over the tolerance.
    pub inv_tolerance: f64,
    /// How much it counts, above 0.
    pub weight: f64,
}

impl From<&Target> for Window {
    fn from(target: &Target) -> Window {
        Window {
            lo: f64::from(target.lo),
            hi: f64::from(target.hi),
            inv_tolerance: f64::from(target.inv_tolerance),
            weight: f64::from(target.weight),
        }
    }
}

/// The expected squared distance to the window of X ~ Normal(`mean`, `sd`), in squared tolerances; 0 where it is below
/// [`FLOOR`]. `sd` is at least 0.
pub fn shortfall_squared(mean: f64, sd: f64, window: &Window) -> f64 {
    let distance = expected_squared_excess(window.lo - mean, sd) + expected_squared_excess(mean - window.hi, sd);
    let shortfall = distance * window.inv_tolerance * window.inv_tolerance;
    if shortfall < FLOOR { 0.0 } else { shortfall }
}

/// The score of one row; `None` where no target counts for it. The row must exist in every column.
pub fn score(targets: &[Target], row: usize) -> Option<f64> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for target in targets {
        let (mean, sd) = (target.column.mean()[row], target.column.sd()[row]);
        let (mean, sd) = match target.missing {
            _ if sd >= 0.0 => (mean, sd),
            Missing::Fill { mean, sd } => (mean, sd),
            Missing::Ignore => continue,
        };
        let window = Window::from(target);
        sum += window.weight * shortfall_squared(f64::from(mean), f64::from(sd), &window);
        weights += window.weight;
    }
    (weights > 0.0).then(|| sum / weights)
}

/// The order of all answers: by score, then by row number.
pub fn order(a: &(f64, u32), b: &(f64, u32)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// All rows that count, in order, cut to the query's `k`: the slow and simple answer, for tests.
pub fn rank(query: &SpecQuery) -> Vec<(f64, u32)> {
    let rows = query.targets.first().map_or(0, |target| target.column.len());
    let allowed = |row: &usize| query.mask.is_none_or(|mask: &Mask| mask.get(*row));
    let mut ranked: Vec<(f64, u32)> = (0..rows)
        .filter(allowed)
        .filter_map(|row| score(query.targets, row).map(|score| (score, row as u32)))
        .collect();
    ranked.sort_unstable_by(order);
    ranked.truncate(query.k);
    ranked
}

/// Whether no row that a device left out can be among the best in f64.
///
/// `kth` is the f64 score of the last wanted row after re-scoring what the device returned, `last` the f32 score of the
/// last row that the device returned. A row that it left out has an f32 score of at least `last`, and so an f64 score of
/// at least `last` less the relative `error`. Rows of f64 score 0 have f32 score 0 and come in row order, so a `kth` of
/// 0 is always certain.
pub fn certain(kth: f64, last: f32, error: f64) -> bool {
    kth == 0.0 || kth < f64::from(last) * (1.0 - error)
}

/// The distance of a vector `x` from a query `q` of as many components: see [`Metric`]. Never NaN, never -0, for components
/// up to [`crate::Vectors::LIMIT`].
///
/// ```text
/// L2            √Σ(x - q)²
/// L1            Σ|x - q|
/// Cosine        1 - Σxq / (√Σx² √Σq²), the quotient cut to within -1 and 1, or 1 where x or q is zero
/// InnerProduct  0 - Σxq
/// ```
///
/// Sums are taken in the order of the components, and every operation is rounded to f64 by itself. So the distance is a
/// definite number, and equal ones are ordered by their rows.
pub fn distance(metric: Metric, x: &[f32], q: &[f32]) -> f64 {
    let [distance] = distances(metric, [x], q);
    distance
}

/// The distances of several vectors at once, which takes less time than one after the other: each the same, bit for bit, as
/// [`distance`].
pub(crate) fn distances<const N: usize>(metric: Metric, x: [&[f32]; N], q: &[f32]) -> [f64; N] {
    match metric {
        Metric::L2 => sums(x, q, |x, q| (x - q) * (x - q)).map(f64::sqrt),
        Metric::L1 => sums(x, q, |x, q| (x - q).abs()),
        Metric::InnerProduct => sums(x, q, |x, q| x * q).map(|sum| 0.0 - sum),
        Metric::Cosine => {
            let [own] = sums([q], q, |_, q| q * q);
            let (squares, products) = (sums(x, q, |x, _| x * x), sums(x, q, |x, q| x * q));
            std::array::from_fn(|at| {
                let lengths = squares[at].sqrt() * own.sqrt();
                if lengths > 0.0 { 1.0 - (products[at] / lengths).clamp(-1.0, 1.0) } else { 1.0 }
            })
        }
    }
}

#[inline(always)]
fn sums<const N: usize>(x: [&[f32]; N], q: &[f32], term: impl Fn(f64, f64) -> f64) -> [f64; N] {
    let x = x.map(|x| &x[..q.len()]);
    let mut sums = [0.0; N];
    for (at, &q) in q.iter().enumerate() {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += term(f64::from(x[at]), f64::from(q));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Column;

    #[test]
    fn without_deviation_it_is_the_squared_distance_to_the_box() {
        let window = Window { lo: 1.0, hi: 3.0, inv_tolerance: 2.0, weight: 1.0 };
        for (mean, truth) in [(0.0, 4.0), (1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (5.0, 16.0)] {
            assert_eq!(shortfall_squared(mean, 0.0, &window), truth);
        }
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        let (x, q) = ([3.0, 0.0, -4.0], [0.0, 1.0, -4.0]);
        let zero = [0.0; 3];
        for (metric, of_two, from_zero) in [
            (Metric::L2, 10f64.sqrt(), 17f64.sqrt()),
            (Metric::L1, 4.0, 5.0),
            (Metric::Cosine, 1.0 - 16.0 / (5.0 * 17f64.sqrt()), 1.0),
            (Metric::InnerProduct, -16.0, 0.0),
        ] {
            assert_eq!(distance(metric, &x, &q), of_two, "{metric:?}");
            assert_eq!(distance(metric, &q, &x), of_two, "{metric:?}");
            for found in [distance(metric, &zero, &q), distance(metric, &q, &zero)] {
                assert_eq!(found.to_bits(), from_zero.to_bits(), "{metric:?}");
            }
            let together = distances(metric, [&x, &zero, &q, &x], &q);
            let alone = [x, zero, q, x].map(|x| distance(metric, &x, &q));
            assert_eq!(together, alone, "{metric:?}");
        }
        assert_eq!(distance(Metric::InnerProduct, &[0.0], &[-1.0]).to_bits(), 0);
        assert_eq!(distance(Metric::Cosine, &[1e-45], &[1e18]), 0.0);
        assert_eq!(distance(Metric::Cosine, &[-1e-45], &[1e18]), 2.0);
    }

    #[test]
    fn deep_inside_is_zero() {
        let window = Window { lo: 0.0, hi: f64::INFINITY, inv_tolerance: 1.0, weight: 1.0 };
        assert_eq!(shortfall_squared(9.0, 1.0, &window), 0.0);
        assert!(shortfall_squared(8.0, 1.0, &window) > 0.0);
    }

    #[test]
    fn ignored_targets_do_not_count_and_ties_go_by_row() {
        let full = Column::new(vec![0.0, 0.0, 1.0, 0.0], vec![0.0, 0.0, 0.0, -1.0]).unwrap();
        let holes = Column::new(vec![0.0; 4], vec![-1.0, 0.0, -1.0, -1.0]).unwrap();
        let target = |column: &std::sync::Arc<Column>, lo, weight| Target {
            column: column.clone(),
            lo,
            hi: f32::INFINITY,
            inv_tolerance: 1.0,
            weight,
            missing: Missing::Ignore,
        };
        let targets = [target(&full, 1.0, 1.0), target(&holes, 2.0, 3.0)];
        let query = SpecQuery { targets: &targets, mask: None, k: 9 };
        assert_eq!(rank(&query), vec![(0.0, 2), (1.0, 0), (13.0 / 4.0, 1)]);
        let mask = Mask::from_fn(4, |row| row != 2);
        assert_eq!(rank(&SpecQuery { mask: Some(&mask), k: 1, ..query }), vec![(1.0, 0)]);
    }
}
