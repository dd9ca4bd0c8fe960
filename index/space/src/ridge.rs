//! What do the samples say that are most like it? Kernel ridge regression (Saunders, Gammerman, Vovk 1998), which is the mean of a
//! Gaussian process (Rasmussen, Williams 2006, ISBN 026218253X).
//!
//! Likeness falls exponentially with the Euclidean distance of standardised numbers, a Matérn kernel of ν = 1/2. The systems of
//! equations, one with all samples and one for each part that is left out, are solved together by conjugate gradients (Hestenes, Stiefel
//! 1952, doi:10.6028/jres.049.044): the kernel is gone through once for all of them.

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::exp::{self, SIDES, times};
use crate::forest::Columns;
use crate::random::Random;

/// Samples to which others are likened, at most: the kernel of so many takes 144 MB while it is solved.
const SAMPLES: usize = 6_000;
/// What is added to a sample's likeness to itself: how little its value is trusted. On the validation files of the benchmark of
/// CrabNet, as the length below: 0.03 of 0.03 to 0.6, 3 of 0.1 to 3.
const PENALTY: f32 = 0.03;
/// The square of the distance at which likeness is 1/e, in medians of the squares of distances.
const LENGTH: f32 = 3.0;
/// Standardised numbers are cut at so many deviations.
const CLIP: f32 = 5.0;
/// Parts of the groups, and of the clusters, that are left out one after the other.
const PARTS: usize = 5;
const FAR_PARTS: usize = 4;
// all systems are multiplied in one go
const _: () = assert!(1 + PARTS + FAR_PARTS <= SIDES);
/// A system is solved when what is left of it is this part of what it began with; and given up after so many steps.
const SOLVED: f64 = 5e-3;
const STEPS: usize = 250;
/// Rows that are likened in one go by each thread; and of many, beside so many samples at a time.
const BLOCK: usize = 256;
const PREDICTED: usize = 1_024;
const NEAR: usize = 1_500;
/// Samples whose distances tell the median.
const TYPICAL: usize = 600;

/// Samples, weighed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ridge {
    scale: Scale,
    samples: Array2<f32>,
    squares: Array1<f32>,
    weights: Array1<f32>,
    mean: f32,
    length: f32,
}

/// What is said of samples as if they were not known.
#[derive(Debug, Clone)]
pub struct Unseen {
    /// Without their group.
    pub near: Vec<f32>,
    /// Without their cluster; as `near` where there is one cluster only.
    pub far: Vec<f32>,
}

/// Brings numbers to one scale; what is missing counts as the mean.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Scale {
    mean: Vec<f32>,
    /// One over the deviation; 0 where there is none.
    inverse: Vec<f32>,
}

impl Scale {
    fn of(columns: &Columns) -> Scale {
        let of_column = |column: usize| {
            let known = || columns.column(column).iter().filter(|x| x.is_finite()).map(|x| f64::from(*x));
            let n = (known().count() as f64).max(1.0);
            let mean = known().sum::<f64>() / n;
            let sd = (known().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
            (mean as f32, if sd > 1e-6 * mean.abs().max(1e-6) { (1.0 / sd) as f32 } else { 0.0 })
        };
        let (mean, inverse) = (0..columns.count()).into_par_iter().map(of_column).unzip();
        Scale { mean, inverse }
    }

    fn apply(&self, at: usize, x: f32) -> f32 {
        let z = (x - self.mean[at]) * self.inverse[at];
        if z.is_finite() { z.clamp(-CLIP, CLIP) } else { 0.0 }
    }

    /// Rows of numbers that come one after the other.
    fn rows(&self, rows: &[f32]) -> Array2<f32> {
        let width = self.mean.len();
        Array2::from_shape_fn((rows.len() / width.max(1), width), |(row, at)| self.apply(at, rows[row * width + at]))
    }
}

impl Ridge {
    /// Learns from samples with values, each of a group and of a cluster.
    pub fn fit(columns: &Columns, values: &[f32], groups: &[u32], clusters: &[u32], seed: u64) -> (Ridge, Unseen) {
        let mut random = Random::new(seed);
        let scale = Scale::of(columns);
        let numbers = Array2::from_shape_fn((columns.rows(), columns.count()), |(row, at)| {
            scale.apply(at, columns.column(at)[row])
        });
        let mut chosen: Vec<usize> = (0..columns.rows()).collect();
        while chosen.len() > SAMPLES {
            let gone = random.below(chosen.len());
            chosen.swap_remove(gone);
        }
        chosen.sort_unstable();
        let samples = numbers.select(Axis(0), &chosen);
        let squares: Array1<f32> = samples.rows().into_iter().map(|row| row.dot(&row)).collect();
        let mut ridge = Ridge { scale, samples, squares, weights: Array1::zeros(0), mean: 0.0, length: 1.0 };
        ridge.length = (LENGTH * ridge.typical()).sqrt().max(1e-6);

        let part_of_group = parts(groups, PARTS, &mut random);
        let part_of_cluster = parts(clusters, FAR_PARTS, &mut random);
        let has_far = clusters.iter().any(|cluster| *cluster != clusters[0]);
        // the first system has all samples, the others lack a part
        let systems = 1 + PARTS + if has_far { FAR_PARTS } else { 0 };
        let counts = Array2::from_shape_fn((chosen.len(), systems), |(at, system)| {
            let row = chosen[at];
            let is_out = match system {
                0 => false,
                near if near <= PARTS => part_of_group[row] == near - 1,
                far => part_of_cluster[row] == far - 1 - PARTS,
            };
            if is_out { 0.0 } else { 1.0 }
        });
        let own: Array1<f32> = chosen.iter().map(|row| values[*row]).collect();
        let means: Vec<f32> =
            counts.columns().into_iter().map(|counts| counts.dot(&own) / counts.sum().max(1.0)).collect();
        let wanted =
            Array2::from_shape_fn(counts.dim(), |(at, system)| (own[at] - means[system]) * counts[[at, system]]);
        let weights = solve(&ridge.kernel(), &counts, wanted);

        let sums = ridge.sums(numbers.view(), &weights.t().as_standard_layout().into_owned());
        let said = |(row, sums): (usize, ndarray::ArrayView1<'_, f32>)| {
            let of = |system: usize| means[system] + sums[system];
            let near = of(1 + part_of_group[row]);
            (near, if has_far { of(1 + PARTS + part_of_cluster[row]) } else { near })
        };
        let (near, far) = sums.rows().into_iter().enumerate().map(said).unzip();
        (ridge.mean, ridge.weights) = (means[0], weights.column(0).to_owned());
        (ridge, Unseen { near, far })
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        4 * (self.samples.len() + self.squares.len() + self.weights.len())
    }

    /// What is said of materials, one after the other in `rows`, as many numbers each as samples had columns.
    pub fn predict(&self, rows: &[f32]) -> Vec<f32> {
        let weights = self.weights.view().insert_axis(Axis(0)).to_owned();
        let blocks = rows.par_chunks(PREDICTED * self.samples.ncols().max(1));
        let said = |block: &[f32]| (self.sums_of(self.scale.rows(block).view(), &weights) + self.mean).into_iter();
        blocks.flat_map_iter(said).collect()
    }

    /// Likeness to the samples, times their weights, of which each system has a row: a row for each that is likened.
    fn sums(&self, of: ArrayView2<'_, f32>, weights: &Array2<f32>) -> Array2<f32> {
        let mut sums = Array2::zeros((of.nrows(), weights.nrows()));
        let blocks: Vec<_> =
            sums.axis_chunks_iter_mut(Axis(0), BLOCK).zip(of.axis_chunks_iter(Axis(0), BLOCK)).collect();
        blocks.into_par_iter().for_each(|(mut out, of)| out.assign(&self.sums_of(of, weights)));
        sums
    }

    /// The same of a few; beside some samples at a time, so that what is computed in between stays near.
    fn sums_of(&self, of: ArrayView2<'_, f32>, weights: &Array2<f32>) -> Array2<f32> {
        let mut sums = Array2::zeros((of.nrows(), weights.nrows()));
        for from in (0..self.samples.nrows()).step_by(NEAR) {
            let some = from..self.samples.nrows().min(from + NEAR);
            let likeness = self.likeness_of(of, some.clone());
            for (mut sums, weights) in sums.columns_mut().into_iter().zip(weights.rows()) {
                sums += &likeness.dot(&weights.slice(s![some.clone()]));
            }
        }
        sums
    }

    /// The median of the squares of the distances of some samples.
    fn typical(&self) -> f32 {
        let step = self.samples.nrows().div_ceil(TYPICAL).max(1);
        let some: Vec<usize> = (0..self.samples.nrows()).step_by(step).collect();
        let some = self.samples.select(Axis(0), &some);
        let products = some.dot(&some.t());
        let square = |a: usize, b: usize| products[[a, a]] + products[[b, b]] - 2.0 * products[[a, b]];
        let mut squares: Vec<f32> =
            (0..some.nrows()).flat_map(|a| (0..a).map(move |b| (a, b))).map(|(a, b)| square(a, b)).collect();
        if squares.is_empty() {
            return 1.0;
        }
        let middle = squares.len() / 2;
        squares.select_nth_unstable_by(middle, f32::total_cmp).1.max(1e-6)
    }

    /// How like some of the samples these are.
    fn likeness_of(&self, of: ArrayView2<'_, f32>, samples: Range<usize>) -> Array2<f32> {
        let mut likeness = of.dot(&self.samples.slice(s![samples.clone(), ..]).t());
        let squares = &self.squares.as_slice().unwrap_or_default()[samples];
        for (mut row, of) in likeness.rows_mut().into_iter().zip(of.rows()) {
            if let Some(row) = row.as_slice_mut() {
                exp::likeness(row, squares, of.dot(&of), 1.0 / self.length);
            }
        }
        likeness
    }

    /// How like each other all samples are.
    fn kernel(&self) -> Array2<f32> {
        let n = self.samples.nrows();
        let mut kernel = Array2::zeros((n, n));
        let blocks: Vec<_> =
            kernel.axis_chunks_iter_mut(Axis(0), BLOCK).zip(self.samples.axis_chunks_iter(Axis(0), BLOCK)).collect();
        blocks.into_par_iter().for_each(|(mut out, of)| out.assign(&self.likeness_of(of, 0..n)));
        kernel
    }
}

/// In which of so many parts each is: those of one number are in one.
fn parts(of: &[u32], count: usize, random: &mut Random) -> Vec<usize> {
    let most = of.iter().max().map_or(0, |most| *most as usize + 1);
    let mut order: Vec<usize> = (0..most).collect();
    for at in (1..most).rev() {
        order.swap(at, random.below(at + 1));
    }
    of.iter().map(|number| order[*number as usize] % count).collect()
}

/// Solves (K + penalty) a = b for each column of `wanted`, over the samples that count for it.
fn solve(kernel: &Array2<f32>, counts: &Array2<f32>, wanted: Array2<f32>) -> Array2<f32> {
    let sums = |a: &Array2<f32>, b: &Array2<f32>| -> Vec<f64> {
        let products = a.columns().into_iter().zip(b.columns());
        products.map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()).collect()
    };
    let mut found = Array2::zeros(wanted.dim());
    let (mut left, mut direction) = (wanted.clone(), wanted);
    let first = sums(&left, &left);
    let mut square = first.clone();
    for _ in 0..STEPS {
        let is_open = |(now, first): (&f64, &f64)| *now > SOLVED * SOLVED * first;
        if !square.iter().zip(&first).any(is_open) {
            break;
        }
        let mut image = product(kernel, &direction);
        image.scaled_add(PENALTY, &direction);
        image *= counts;
        let along = sums(&direction, &image);
        let step: Array1<f32> =
            square.iter().zip(&along).map(|(s, along)| if *along > 0.0 { (s / along) as f32 } else { 0.0 }).collect();
        found += &(&direction * &step);
        left -= &(&image * &step);
        let now = sums(&left, &left);
        let turn: Array1<f32> = now
            .iter()
            .zip(&square)
            .map(|(now, before)| if *before > 0.0 { (now / before) as f32 } else { 0.0 })
            .collect();
        direction = &left + &(&direction * &turn);
        square = now;
    }
    found
}

/// A matrix times one of at most [`SIDES`] columns.
fn product(left: &Array2<f32>, right: &Array2<f32>) -> Array2<f32> {
    let columns = left.ncols();
    let side = |row: ndarray::ArrayView1<'_, f32>| std::array::from_fn(|side| row.get(side).copied().unwrap_or(0.0));
    let sides: Vec<[f32; SIDES]> = right.rows().into_iter().map(side).collect();
    let mut sums = vec![[0f32; SIDES]; left.nrows()];
    let rows = left.as_slice().unwrap_or_default().par_chunks(BLOCK * columns.max(1));
    rows.zip(sums.par_chunks_mut(BLOCK)).for_each(|(rows, sums)| times(rows, columns, &sides, sums));
    Array2::from_shape_fn((left.nrows(), right.ncols()), |(row, side)| sums[row][side])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn samples(n: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let mut random = Random::new(seed);
        let rows: Vec<f32> = (0..3 * n).map(|_| random.unit() as f32).collect();
        let values = rows.chunks_exact(3).map(|x| 3.0 * x[0] + (6.0 * x[1]).sin() + 0.05 * random.normal() as f32);
        let values = values.collect();
        (rows, values)
    }

    #[test]
    fn what_is_solved_is_the_system() {
        let (rows, values) = samples(300, 1);
        let columns = Columns::of_rows(&rows, 3).unwrap();
        let groups: Vec<u32> = (0..300).collect();
        let clusters: Vec<u32> = (0..300).map(|at| at / 60).collect();
        let (ridge, _) = Ridge::fit(&columns, &values, &groups, &clusters, 1);
        let mut back = ridge.kernel().dot(&ridge.weights);
        back.scaled_add(PENALTY, &ridge.weights);
        let off = back.iter().zip(&values).map(|(back, value)| (back + ridge.mean - value).powi(2)).sum::<f32>();
        let all = values.iter().map(|value| (value - ridge.mean).powi(2)).sum::<f32>();
        assert!(off <= 1e-4 * all, "{off} of {all}");
    }

    #[test]
    fn it_learns_and_says_of_samples_what_it_says_of_others() {
        let ((rows, mut values), (other_rows, others)) = (samples(900, 2), samples(900, 3));
        let columns = Columns::of_rows(&rows, 3).unwrap();
        // pairs are one group: without it a sample would be read off its twin
        let groups: Vec<u32> = (0..900).map(|at| at / 2).collect();
        let clusters: Vec<u32> = rows.chunks_exact(3).map(|x| (x[0] * 8.0) as u32).collect();
        let (ridge, unseen) = Ridge::fit(&columns, &values, &groups, &clusters, 1);
        let error = |said: &[f32], values: &[f32]| {
            said.iter().zip(values).map(|(said, value)| (said - value).abs()).sum::<f32>() / values.len() as f32
        };
        let (known, near, far) =
            (error(&ridge.predict(&rows), &values), error(&unseen.near, &values), error(&unseen.far, &values));
        let new = error(&ridge.predict(&other_rows), &others);
        assert!(known < near && near < far && new < 0.12, "{known} {near} {far} {new}");
        assert!((0.8..1.4).contains(&(near / new)), "as wrong as of others: {near} {new}");
        // a value that nobody else has does not reach its own check
        values[10] += 50.0;
        let (_, told) = Ridge::fit(&columns, &values, &groups, &clusters, 1);
        let moved = |at: usize| (told.near[at] - unseen.near[at]).abs();
        // but for the steps that others' systems take longer
        assert!(moved(10) < 0.02 && moved(11) < 0.02, "{} {}", moved(10), moved(11));
        assert!((0..900).any(|at| moved(at) > 0.1));
    }

    #[test]
    fn missing_and_constant_numbers_say_nothing() {
        let (mut rows, values) = samples(60, 4);
        rows.chunks_exact_mut(3).for_each(|x| x[2] = f32::NAN);
        rows.chunks_exact_mut(3).for_each(|x| x[1] = 7.0);
        let columns = Columns::of_rows(&rows, 3).unwrap();
        let groups: Vec<u32> = (0..60).collect();
        let (ridge, unseen) = Ridge::fit(&columns, &values, &groups, &[0; 60], 1);
        assert_eq!(unseen.near, unseen.far, "there is one cluster");
        let said = ridge.predict(&[0.5, f32::NAN, 1.0, 0.5, 7.0, f32::NAN, 0.5, -9.0, f32::INFINITY]);
        assert!(said.iter().all(|x| *x == said[0] && x.is_finite()), "{said:?}");
    }
}
