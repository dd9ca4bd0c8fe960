//! How near f32 comes to the truth: what kernels compute for vectors, and a proven bound of its error.
//!
//! For every row x and query q a kernel computes one f32 number, the **place**, by which rows of a query are ordered:
//!
//! ```text
//! place = scale(x) * sum + offset(x)      sum = Σ x' p      L2, cosine, inner product
//!                                         sum = Σ |x' - p|  L1
//! ```
//!
//! The true distance D (in f64, [`crate::reference::distance`]) has a **value** V that grows with it and is of the place's scale:
//!
//! | metric | x' | p | scale | offset | V |
//! | --- | --- | --- | --- | --- | --- |
//! | L2 | x - centre | -2 (q - centre) | 1 | (1 - c) \|x'\|² | D² - \|q'\|² |
//! | inner product | x | -q / 2^e, 1 <= \|q / 2^e\| < 2 | 1 | -2 c \|x\| - a | D / 2^e |
//! | cosine | x | -q / \|q\| | 1 / \|x\|, or 0 | -c - a | D - 1 |
//! | L1 | x | q | 1 - c | -a | D |
//!
//! The offset has the error taken off already, so that for every row
//!
//! ```text
//! place - slack <= V <= upper(place, row)
//! ```
//!
//! where slack depends on the query only. So from any k rows follows a bound that no row of the k nearest exceeds: the largest
//! of their uppers, plus the slack. Rows up to it are candidates, and f64 decides among them.
//!
//! # Proof
//!
//! u = 2^-24 is the rounding unit of f32, γ(n) = n u / (1 - n u). A sum of d products, in any order, fused or not, differs from
//! the true one by at most γ(d) Σ|x p| <= γ(d) |x| |p|, plus d 2^-149 for what underflows, or d 2^-125 where a device takes
//! subnormal numbers as zero (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). With c = γ(d + 16)
//! and S = |x'|² + |q'|²:
//!
//! - **L2.** Σ x' p: γ(d) 2 |x'| |q'| <= γ(d) S. Subtracting the centre rounds each component by u, which changes a distance by
//!   at most u (|x'| + |q'|) and its square by at most 4.1 u S. |x'|² rounded to f32: 1.1 u S. The last addition: its result is
//!   at most 2 S, so 2.1 u S. f64 itself, d 2^-53, is below 0.1 u for d <= 65,536. Together γ(d) S + 7.4 u S < c S; the part
//!   c |x'|² is in the offset and the part c |q'|² in the slack.
//! - **Inner product.** |p| < 2: γ(d) 2 |x|, and the last addition 2.1 u |x|: below 2 c |x|.
//! - **Cosine.** Components of p are rounded by u, and so are the scale, the product and the sum: γ(d) + 5 u < c.
//! - **L1.** Every difference and every sum is rounded by u, relatively: D (1 - γ(d + 1)) <= sum <= D (1 + γ(d + 1)). Products and
//!   the last addition: 3 u.
//!
//! a = d 2^-120 covers what underflows (for cosine divided by the smallest |x| allowed). Rows outside of the range where
//! this holds (L2: |x'| > 2^60; cosine: 0 < |x| < 2^-60) have the offset -∞: they are always candidates. Queries outside of
//! it (L2: |q'| > 2^55; cosine and inner product: q = 0) have no kernel form, and are answered in f64 alone.

use std::sync::OnceLock;

use rayon::prelude::*;

use crate::Metric;
use crate::codes::Codes;

/// L2: rows of a larger norm are always candidates, so that no square overflows.
const LARGEST_NORM: f64 = (1u64 << 60) as f64;
/// L2: queries of a larger norm are answered in f64 alone: norms of rows are below 2^69, so no product overflows.
const LARGEST_QUERY_NORM: f64 = (1u64 << 55) as f64;
/// Cosine: rows of a smaller norm are always candidates.
const SMALLEST_NORM: f64 = 1.0 / LARGEST_NORM;
/// What underflows, for each component: 2^-120.
const UNDERFLOW: f64 = 1.0 / ((1u128 << 120) as f64);
/// Relative room for the roundings of f64.
const ROOM: f64 = 1e-12;
/// Rows that a centre is made from.
const SAMPLE: usize = 1001;
/// Centred values are kept where they make squared norms this much smaller.
const CENTRE_PAYS: f64 = 4.0;

/// What kernels need to know of a set of vectors for one metric.
#[derive(Debug)]
pub(crate) struct Terms {
    metric: Metric,
    /// c of the proof.
    error: f64,
    /// a of the proof.
    underflow: f64,
    centred: Option<Centred>,
    /// The scale of each row; [`Terms::same_scale`] where there is none.
    scale: Option<Vec<f32>>,
    offset: Vec<f32>,
    codes: OnceLock<Codes>,
}

#[derive(Debug)]
struct Centred {
    centre: Vec<f32>,
    values: Vec<f32>,
}

/// A query as kernels take it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KernelQuery {
    /// p, one number a component.
    pub(crate) components: Vec<f32>,
    metric: Metric,
    slack: f64,
    /// L2: |q'|². Inner product: 2^-e.
    constant: f64,
}

impl Terms {
    pub(crate) fn new(values: &[f32], dims: usize, metric: Metric) -> Terms {
        let error = gamma(dims + 16);
        let underflow = dims as f64 * UNDERFLOW;
        let centred = if metric == Metric::L2 { Centred::where_it_pays(values, dims) } else { None };
        let seen = centred.as_ref().map_or(values, |centred| &centred.values);
        let each = |f: &(dyn Fn(f64) -> f32 + Sync)| -> Vec<f32> {
            seen.par_chunks_exact(dims).with_min_len(256).map(|row| f(norm(row))).collect()
        };
        let (scale, offset) = match metric {
            Metric::L2 => (
                None,
                each(&|norm| {
                    if norm > LARGEST_NORM { f32::NEG_INFINITY } else { down((1.0 - error) * norm * norm - underflow) }
                }),
            ),
            Metric::InnerProduct => (None, each(&|norm| down(-2.0 * error * norm - underflow))),
            Metric::Cosine => {
                let offset = down(-error - underflow / SMALLEST_NORM);
                (
                    Some(each(&|norm| if norm >= SMALLEST_NORM { (1.0 / norm) as f32 } else { 0.0 })),
                    each(&|norm| if norm > 0.0 && norm < SMALLEST_NORM { f32::NEG_INFINITY } else { offset }),
                )
            }
            Metric::L1 => (None, each(&|_| down(-underflow))),
        };
        Terms { metric, error, underflow, centred, scale, offset, codes: OnceLock::new() }
    }

    /// x' of all rows: the vectors' own values, or centred ones.
    pub(crate) fn values<'a>(&'a self, own: &'a [f32]) -> &'a [f32] {
        self.centred.as_ref().map_or(own, |centred| &centred.values)
    }

    /// The scale of each row, where they differ.
    pub(crate) fn scale(&self) -> Option<&[f32]> {
        self.scale.as_deref()
    }

    /// The scale of all rows, where they do not differ.
    pub(crate) fn same_scale(&self) -> f32 {
        if self.metric == Metric::L1 { down(1.0 - self.error) } else { 1.0 }
    }

    /// The offset of each row.
    pub(crate) fn offset(&self) -> &[f32] {
        &self.offset
    }

    /// The rows as bytes; `None` for L1. Made when they are first asked for.
    pub(crate) fn codes(&self, own: &[f32], dims: usize) -> Option<&Codes> {
        if self.metric == Metric::L1 {
            return None;
        }
        // made before the cell is locked, as terms are
        match self.codes.get() {
            Some(codes) => Some(codes),
            None => {
                let made = Codes::new(self.values(own), dims, self.scale());
                Some(self.codes.get_or_init(|| made))
            }
        }
    }

    /// The query as kernels take it; `None` where only f64 can answer it.
    pub(crate) fn query(&self, query: &[f32]) -> Option<KernelQuery> {
        let form = |components, slack, constant| {
            Some(KernelQuery { components, metric: self.metric, slack: slack * (1.0 + ROOM), constant })
        };
        let own = norm(query);
        match self.metric {
            Metric::L2 => {
                let moved: Vec<f32> = match &self.centred {
                    Some(centred) => query.iter().zip(&centred.centre).map(|(q, centre)| q - centre).collect(),
                    None => query.to_vec(),
                };
                let own = norm(&moved);
                let components = moved.into_iter().map(|q| -2.0 * q).collect();
                let square = own * own;
                (own <= LARGEST_QUERY_NORM)
                    .then(|| form(components, self.error * square + self.underflow, square))
                    .flatten()
            }
            Metric::L1 => form(query.to_vec(), 0.0, 0.0),
            _ if own == 0.0 => None,
            Metric::InnerProduct => {
                // a power of two, so nothing is rounded
                let factor = (-own.log2().floor()).exp2();
                form(query.iter().map(|&q| -(f64::from(q) * factor) as f32).collect(), 0.0, factor)
            }
            Metric::Cosine => form(query.iter().map(|&q| -(f64::from(q) / own) as f32).collect(), 0.0, 0.0),
        }
    }

    /// The largest value that a row at this place can have, for a query of this form.
    pub(crate) fn upper(&self, query: &KernelQuery, place: f32, row: u32) -> f64 {
        let (place, offset) = (f64::from(place), f64::from(self.offset[row as usize]));
        if offset == f64::NEG_INFINITY {
            return f64::INFINITY;
        }
        match self.metric {
            Metric::L2 => {
                // the offset was rounded down from (1 - c)|x|² - a
                let square = (offset.max(0.0) * (1.0 + 4.0 * UNIT) + 2.0 * self.underflow) / (1.0 - self.error);
                place + query.slack + 2.0 * self.error * square + 2.0 * self.underflow
            }
            Metric::InnerProduct | Metric::Cosine => place - 2.0 * offset,
            Metric::L1 => (place + 4.0 * self.underflow) * (1.0 + self.error) / (1.0 - self.error) * (1.0 + 8.0 * UNIT),
        }
    }
}

impl KernelQuery {
    /// A value that no row up to this distance exceeds.
    pub(crate) fn value(&self, distance: f64) -> f64 {
        let value = match self.metric {
            Metric::L2 if distance < 0.0 => f64::NEG_INFINITY,
            Metric::L2 => distance * distance * (1.0 + ROOM) - self.constant,
            Metric::InnerProduct => distance * self.constant,
            Metric::Cosine => distance - 1.0,
            Metric::L1 => distance,
        };
        if value.is_finite() { value + ROOM * value.abs() } else { value }
    }

    /// The bound that the place of no row up to this value exceeds.
    pub(crate) fn bound(&self, value: f64) -> f32 {
        up(value + self.slack)
    }
}

impl Centred {
    /// The values less the median of each component over some rows, where that makes norms much smaller. Any centre gives
    /// the same answers; a good one leaves fewer candidates.
    fn where_it_pays(values: &[f32], dims: usize) -> Option<Centred> {
        let rows = values.len() / dims;
        if rows == 0 {
            return None;
        }
        let sample: Vec<&[f32]> = values.chunks_exact(dims).step_by(rows.div_ceil(SAMPLE)).collect();
        let centre: Vec<f32> = (0..dims)
            .into_par_iter()
            .with_min_len(16)
            .map(|dim| median(sample.iter().map(|row| row[dim]).collect(), f32::total_cmp))
            .collect();
        let squares = |f: &dyn Fn(f32, f32) -> f64| -> f64 {
            let square = |row: &&[f32]| row.iter().zip(&centre).map(|(&x, &c)| f(x, c).powi(2)).sum();
            median(sample.iter().map(square).collect(), f64::total_cmp)
        };
        let (plain, moved) = (squares(&|x, _| f64::from(x)), squares(&|x, c| f64::from(x) - f64::from(c)));
        (plain > CENTRE_PAYS * moved).then(|| {
            let moved = |row: &[f32]| row.iter().zip(&centre).map(|(x, c)| x - c).collect::<Vec<f32>>();
            let values = values.par_chunks_exact(dims).with_min_len(256).flat_map_iter(moved).collect();
            Centred { centre, values }
        })
    }
}

fn median<T: Copy>(mut of: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> T {
    let middle = of.len() / 2;
    *of.select_nth_unstable_by(middle, order).1
}

/// The rounding unit of f32.
pub(crate) const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

pub(crate) fn gamma(roundings: usize) -> f64 {
    let error = roundings as f64 * UNIT;
    error / (1.0 - error)
}

/// |x| in f64, by several sums at once.
pub(crate) fn norm(x: &[f32]) -> f64 {
    let (eights, rest) = x.as_chunks::<8>();
    let mut sums = [0f64; 8];
    for eight in eights {
        for (sum, &x) in sums.iter_mut().zip(eight) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += f64::from(x) * f64::from(x);
    }
    sums.iter().sum::<f64>().sqrt()
}

/// The largest f32 that is not above.
fn down(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) > x { near.next_down() } else { near }
}

/// The smallest f32 that is not below.
pub(crate) fn up(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) < x { near.next_up() } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::CodeQuery;
    use crate::reference::distance;
    use crate::{Hit, Vectors};

    /// Numbers of one of several kinds, seeded.
    fn numbers(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut unit = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..count)
            .map(|_| match seed % 6 {
                0 => unit() - 0.5,
                1 => 1000.0 + unit(),
                2 => (unit() - 0.5) * (80.0 * unit() - 40.0).exp2(),
                3 => (unit() * 3.0).floor() - 1.0,
                4 => (unit() - 0.5) * 1e-20 * if unit() < 0.1 { 1e-20 } else { 1.0 },
                _ => (unit() - 0.5) * 2e18 * if unit() < 0.5 { 1e-36 } else { 1.0 },
            })
            .collect()
    }

    /// The place as the plainest kernel would have it: products and sums one after the other, not fused.
    fn place(terms: &Terms, own: &[f32], query: &KernelQuery, row: usize, metric: Metric, backwards: bool) -> f32 {
        let x = &terms.values(own)[row * query.components.len()..][..query.components.len()];
        let term = |(x, p): (&f32, &f32)| if metric == Metric::L1 { (x - p).abs() } else { x * p };
        let sum = if backwards {
            x.iter().zip(&query.components).rev().map(term).fold(0.0, |sum, term| sum + term)
        } else {
            x.iter().zip(&query.components).map(term).fold(0.0, |sum, term| sum + term)
        };
        sum * terms.scale().map_or(terms.same_scale(), |scale| scale[row]) + terms.offset()[row]
    }

    fn place_by_codes(terms: &Terms, codes: &Codes, query: &CodeQuery, row: usize) -> f32 {
        let of_row = &codes.codes[row * codes.stride..][..codes.stride];
        let sum: f32 = of_row.iter().zip(&query.components).map(|(&code, p)| f32::from(code) * p).sum();
        sum * codes.scale[row] + (terms.offset()[row] - codes.width[row] * query.length)
    }

    /// Codes pass over nearly all rows that are much farther than the nearest.
    #[test]
    fn codes_tell_clusters_apart() {
        let dims = 128;
        let centres = numbers(0, 20 * dims);
        let values = numbers(6, 2000 * dims);
        let values = values.chunks_exact(dims).enumerate().flat_map(|(row, x)| {
            let centre = &centres[row % 20 * dims..][..dims];
            x.iter().zip(centre).map(|(x, centre)| centre + 0.2 * x)
        });
        let vectors = Vectors::new(values.collect(), dims).unwrap();
        for metric in [Metric::L2, Metric::Cosine] {
            let terms = vectors.terms(metric);
            let query = terms.query(vectors.row(9)).unwrap();
            let codes = terms.codes(vectors.values(), dims).unwrap();
            let by_codes = codes.query(&query.components);
            let mut distances: Vec<f64> =
                (0..2000).map(|row| distance(metric, vectors.row(row), vectors.row(9))).collect();
            distances.sort_by(f64::total_cmp);
            let bound = query.bound(query.value(distances[10]));
            let passed = (0..2000).filter(|&row| place_by_codes(terms, codes, &by_codes, row) <= bound).count();
            assert!((11..=120).contains(&passed), "{metric:?}: {passed}");
        }
    }

    #[test]
    fn values_lie_between_place_and_upper() {
        let mut kernels = 0;
        for seed in 0..240 {
            let dims = [1, 2, 3, 7, 16, 33, 130, 300][seed as usize / 6 % 8];
            let vectors = Vectors::new(numbers(seed, 40 * dims), dims).unwrap();
            let mut queries = numbers(seed + 6 * (1 + seed % 3), 4 * dims);
            queries.extend_from_slice(vectors.row(3));
            queries.extend_from_slice(&vec![0.0; dims]);
            for metric in Metric::ALL {
                let terms = vectors.terms(metric);
                for q in queries.chunks_exact(dims) {
                    let Some(query) = terms.query(q) else { continue };
                    kernels += 1;
                    let codes =
                        terms.codes(vectors.values(), dims).map(|codes| (codes, codes.query(&query.components)));
                    for row in 0..vectors.len() {
                        let truth = distance(metric, vectors.row(row), q);
                        let value = query.value(truth);
                        if let Some((codes, by_codes)) = &codes {
                            let place = place_by_codes(terms, codes, by_codes, row);
                            assert!(
                                place <= query.bound(value),
                                "{metric:?}, seed {seed}, dims {dims}, row {row}: {place:e}"
                            );
                        }
                        for backwards in [false, true] {
                            let place = place(terms, vectors.values(), &query, row, metric, backwards);
                            let what = format!("{metric:?}, seed {seed}, dims {dims}, row {row}: {place:e} {value:e}");
                            assert!(!place.is_nan(), "{what}");
                            assert!(place <= query.bound(value), "{what}");
                            let upper = terms.upper(&query, place, row as u32);
                            assert!(
                                value - 3.0 * ROOM * (value.abs() + truth * truth) <= upper,
                                "{what}, upper {upper:e}"
                            );
                        }
                    }
                }
            }
        }
        assert!(kernels > 4000, "{kernels}");
    }

    /// The margin is not only true, but small: what it adds is a few millionths of the norms.
    #[test]
    fn margins_are_narrow() {
        let dims = 128;
        let vectors = Vectors::new(numbers(1, 200 * dims), dims).unwrap();
        for metric in Metric::ALL {
            let terms = vectors.terms(metric);
            let query = terms.query(vectors.row(9)).unwrap();
            let place = place(terms, vectors.values(), &query, 5, metric, false);
            let value = query.value(distance(metric, vectors.row(5), vectors.row(9)));
            let width = terms.upper(&query, place, 5) - (f64::from(place) - query.slack);
            // centred: norms are about √(128 / 12), not 1000 √128
            let scale = match metric {
                Metric::L2 => 2.0 * dims as f64 / 6.0,
                Metric::L1 => value,
                Metric::Cosine => 1.0,
                Metric::InnerProduct => 2.0 * norm(vectors.row(5)),
            };
            assert!(width <= 4.5e-5 * scale, "{metric:?}: {width:e} of {scale:e}");
        }
    }

    #[test]
    fn queries_out_of_range_have_no_kernel_form() {
        let vectors = Vectors::new(vec![1.0, 2.0], 2).unwrap();
        for (metric, query, has) in [
            (Metric::L2, [0.0, 0.0], true),
            (Metric::L2, [1e17, 0.0], false),
            (Metric::L1, [1e18, -1e18], true),
            (Metric::Cosine, [0.0, 0.0], false),
            (Metric::Cosine, [1e-45, 0.0], true),
            (Metric::InnerProduct, [0.0, -0.0], false),
            (Metric::InnerProduct, [1e18, 1e-45], true),
        ] {
            assert_eq!(vectors.terms(metric).query(&query).is_some(), has, "{metric:?} {query:?}");
        }
    }

    /// What a device needs that answers with its best rows by place: `exact` asks it for more until bound and place agree.
    #[test]
    fn a_device_of_places_gives_exact_answers() {
        for seed in 0..60 {
            let dims = 1 + seed as usize % 40;
            let vectors = Vectors::new(numbers(seed, 3000 * dims), dims).unwrap();
            let q = numbers(seed + 6, dims);
            for metric in Metric::ALL {
                let terms = vectors.terms(metric);
                let Some(query) = terms.query(&q) else { continue };
                let mut hits: Vec<Hit> = (0..vectors.len())
                    .map(|row| Hit {
                        score: place(terms, vectors.values(), &query, row, metric, false),
                        row: row as u32,
                    })
                    .collect();
                hits.sort_by(|a, b| a.score.total_cmp(&b.score));
                let score = |row: u32| Some(distance(metric, vectors.row(row as usize), &q));
                let certain = |kth, last| query.bound(query.value(kth)) < last;
                let ask = |wanted: usize| Ok::<_, ()>(hits[..wanted].to_vec());
                let found = crate::exact::exact(10, vectors.len(), None, score, certain, ask).unwrap();
                let mut truth: Vec<(f64, u32)> = (0..3000).map(|row| (score(row).unwrap(), row)).collect();
                truth.sort_by(crate::reference::order);
                assert_eq!(found, truth[..10], "{metric:?}, seed {seed}");
            }
        }
    }
}
