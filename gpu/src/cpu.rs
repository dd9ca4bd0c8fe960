//! The CPU twin: the same scores and the same order as the shader, in loops that vectorise.
//!
//! Rows go through in blocks that fit the first-level cache. Once there is a bound of the k best, a block is sifted first: a row
//! whose means alone are too far outside is passed over, because E[max(Y, 0)²] >= max(E Y, 0)² (Jensen), so its score is not
//! lower. What is left is gathered and scored: each target adds to the rows' sums, then the scores meet the bound. Blocks
//! where few rows are allowed are gathered at once.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::kernel::{self, Sieve, TargetParams};
use crate::topk::{self, LEFT_OUT, Smallest};
use crate::{Hit, Mask, SpecQuery, simd};

/// Rows of one block.
const BLOCK: usize = 2048;
/// Rows of one task: what threads share out.
const TASK: usize = 8 * BLOCK;
/// Blocks where fewer than one in this many rows are allowed are gathered.
const GATHER_BELOW: usize = 3;

/// The answer to a checked query of `rows` rows.
pub(crate) fn spec(query: &SpecQuery, rows: usize) -> Vec<Hit> {
    spec_with(query, rows, true)
}

/// The best of some rows, of which each is there once.
pub(crate) fn best_of(query: &SpecQuery, rows: &[u32]) -> Vec<Hit> {
    let scan = Scan::new(query, query.targets[0].column.len(), false);
    let lane = || Lane::new(query.k.min(rows.len()));
    let add = |mut lane: Lane, rows: &[u32]| {
        lane.picked.clear();
        lane.picked.extend_from_slice(rows);
        scan.gathered(&mut lane);
        lane
    };
    let best = match rows.len() <= TASK {
        true => rows.chunks(BLOCK).fold(lane(), add).best,
        false => {
            let lanes = rows.par_chunks(BLOCK).fold(lane, add);
            lanes.map(|lane| lane.best).reduce(|| lane().best, Smallest::merge)
        }
    };
    best.into_sorted().into_iter().map(topk::hit).collect()
}

/// The answer, with rows sifted first or not.
fn spec_with(query: &SpecQuery, rows: usize, sifts: bool) -> Vec<Hit> {
    let scan = Scan::new(query, rows, sifts);
    let tasks = rows.div_ceil(TASK);
    let best = if tasks <= 1 {
        let mut lane = Lane::new(scan.k);
        (0..tasks).for_each(|task| scan.task(task, &mut lane));
        lane.best
    } else {
        (0..tasks)
            .into_par_iter()
            .fold(
                || Lane::new(scan.k),
                |mut lane, task| {
                    scan.task(task, &mut lane);
                    lane
                },
            )
            .map(|lane| lane.best)
            .reduce(|| Smallest::new(scan.k), Smallest::merge)
    };
    best.into_sorted().into_iter().map(topk::hit).collect()
}

/// One query, seen by all threads.
struct Scan<'a> {
    columns: Vec<(&'a [f32], &'a [f32])>,
    params: Vec<TargetParams>,
    /// What the sieve needs of each target; none where all rows are scored.
    sieves: Option<Vec<Sieve>>,
    mask: Option<&'a Mask>,
    rows: usize,
    k: usize,
    /// The lowest bound that any thread has found. It only saves work, so nothing depends on when it is seen.
    bound: AtomicU64,
}

/// What one thread works with.
struct Lane {
    best: Smallest,
    sum: Box<[f32; BLOCK]>,
    weight: Box<[f32; BLOCK]>,
    bits: Box<[u32; BLOCK]>,
    mean: Box<[f32; BLOCK]>,
    sd: Box<[f32; BLOCK]>,
    picked: Vec<u32>,
    may: Box<[u8; BLOCK]>,
    room: simd::Room,
}

impl Lane {
    fn new(k: usize) -> Lane {
        Lane {
            best: Smallest::new(k),
            sum: Box::new([0.0; BLOCK]),
            weight: Box::new([0.0; BLOCK]),
            bits: Box::new([0; BLOCK]),
            mean: Box::new([0.0; BLOCK]),
            sd: Box::new([0.0; BLOCK]),
            picked: Vec::with_capacity(BLOCK),
            may: Box::new([0; BLOCK]),
            room: simd::Room { sum: vec![0.0; BLOCK].into(), limit: vec![0.0; BLOCK].into() },
        }
    }
}

impl<'a> Scan<'a> {
    fn new(query: &SpecQuery<'a>, rows: usize, sifts: bool) -> Scan<'a> {
        let params = kernel::params(query);
        Scan {
            sieves: sifts.then(|| params.iter().map(Sieve::new).collect()),
            columns: query.targets.iter().map(|target| (target.column.mean(), target.column.sd())).collect(),
            params,
            mask: query.mask,
            rows,
            k: query.k.min(rows),
            bound: AtomicU64::new(u64::MAX),
        }
    }
}

impl Scan<'_> {
    fn task(&self, task: usize, lane: &mut Lane) {
        lane.best.lower_bound_to(self.bound.load(Ordering::Relaxed));
        let end = self.rows.min((task + 1) * TASK);
        for start in (task * TASK..end).step_by(BLOCK) {
            self.block(start, end.min(start + BLOCK), lane);
        }
        self.bound.fetch_min(lane.best.bound(), Ordering::Relaxed);
    }

    fn block(&self, start: usize, end: usize, lane: &mut Lane) {
        let bound = lane.best.bound();
        // no score is below 0
        if topk::key(0, start as u32) >= bound {
            return;
        }
        let words = self.mask.map(|mask| mask.words_of(start..end));
        if let Some(words) = words {
            let allowed: usize = words.iter().map(|word| word.count_ones() as usize).sum();
            if allowed == 0 {
                return;
            }
            if allowed * GATHER_BELOW < end - start {
                lane.picked.clear();
                for (at, &word) in words.iter().enumerate() {
                    lane.picked.extend(crate::mask::ones(word).map(|bit| (start + at * 64 + bit) as u32));
                }
                return self.gathered(lane);
            }
        }
        let score = f32::from_bits((bound >> 32) as u32);
        match &self.sieves {
            Some(sieves) if score.is_finite() => {
                self.sift(sieves, score, start, end, words, lane);
                if lane.picked.len() * GATHER_BELOW < end - start {
                    self.gathered(lane);
                } else {
                    self.dense(start, end, words, lane);
                }
            }
            _ => self.dense(start, end, words, lane),
        }
    }

    /// Picks the allowed rows of the block that may score up to `score`.
    fn sift(&self, sieves: &[Sieve], score: f32, start: usize, end: usize, words: Option<&[u64]>, lane: &mut Lane) {
        let rows = end - start;
        let allowed = score * (1.0 + Sieve::ROOM) + Sieve::FLOOR_ROOM;
        let means: Vec<&[f32]> = self.columns.iter().map(|(mean, _)| &mean[start..end]).collect();
        let may = &mut lane.may[..rows];
        simd::sift(&means, sieves, allowed, may, &mut lane.room);
        lane.picked.clear();
        for (at, may) in may.chunks(64).enumerate() {
            let word = simd::bits(may) & words.map_or(u64::MAX, |words| words[at]);
            lane.picked.extend(crate::mask::ones(word).map(|bit| (start + at * 64 + bit) as u32));
        }
    }

    /// Scores all rows of the block, then looks at the allowed ones.
    fn dense(&self, start: usize, end: usize, words: Option<&[u64]>, lane: &mut Lane) {
        let rows = end - start;
        let (sum, weight) = (&mut lane.sum[..rows], &mut lane.weight[..rows]);
        sum.fill(0.0);
        weight.fill(0.0);
        for (&(mean, sd), params) in self.columns.iter().zip(&self.params) {
            simd::add_target(&mean[start..end], &sd[start..end], params, sum, weight);
        }
        simd::finish(sum, weight, &mut lane.bits[..rows]);
        for (at, bits) in lane.bits[..rows].chunks(64).enumerate() {
            let word = words.map_or(u64::MAX, |words| words[at]);
            let lowest = bits.iter().copied().fold(LEFT_OUT, u32::min);
            if word != 0 && topk::key(lowest, 0) < lane.best.bound() {
                for (bit, &bits) in bits.iter().enumerate() {
                    if word >> bit & 1 == 1 {
                        lane.best.push(topk::key(bits, (start + at * 64 + bit) as u32));
                    }
                }
            }
        }
    }

    /// Scores the picked rows only.
    fn gathered(&self, lane: &mut Lane) {
        let rows = lane.picked.len();
        let (sum, weight) = (&mut lane.sum[..rows], &mut lane.weight[..rows]);
        sum.fill(0.0);
        weight.fill(0.0);
        for (&(mean, sd), params) in self.columns.iter().zip(&self.params) {
            for ((row, to_mean), to_sd) in lane.picked.iter().zip(lane.mean.iter_mut()).zip(lane.sd.iter_mut()) {
                *to_mean = mean[*row as usize];
                *to_sd = sd[*row as usize];
            }
            simd::add_target(&lane.mean[..rows], &lane.sd[..rows], params, sum, weight);
        }
        simd::finish(sum, weight, &mut lane.bits[..rows]);
        for (&row, &bits) in lane.picked.iter().zip(&lane.bits[..rows]) {
            lane.best.push(topk::key(bits, row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, Missing, Target};

    fn noise(at: usize) -> f32 {
        let mut x = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Means near and far, deviations of none to many tolerances, missing values of both kinds, ties, masks, small and large k.
    #[test]
    fn sifting_passes_over_no_row_of_the_answer() {
        let rows = 3 * TASK + 777;
        for case in 0..60usize {
            let at = |what: usize| noise(1_000_003 * case + what);
            let scale = 10f32.powf(6.0 * at(1) - 3.0);
            let targets: Vec<Target> = (0..1 + case % 5)
                .map(|target| {
                    let numbers = |row: usize| {
                        let random = noise(7_000_001 * case + 50_021 * target + row);
                        let mean = if case % 3 == 0 { (random * 9.0).floor() } else { random * 9.0 };
                        let sd = [0.0, 0.01, 1.0, 4.0][(row + target + case) % 4] * noise(row + 13);
                        (mean * scale, if noise(row * 5 + target) < 0.3 { -1.0 } else { sd * scale })
                    };
                    let (mean, sd) = (0..rows).map(numbers).unzip();
                    let (lo, hi) =
                        [(8.9, f32::INFINITY), (f32::NEG_INFINITY, 0.2), (3.0, 4.0), (12.0, 13.0)][(case + target) % 4];
                    let missing = match (case / 4 + target) % 3 {
                        0 => Missing::Ignore,
                        _ => Missing::Fill { mean: 5.0 * scale, sd: scale },
                    };
                    let column = Column::new(mean, sd).unwrap();
                    Target {
                        column,
                        lo: lo * scale,
                        hi: hi * scale,
                        inv_tolerance: 1.0 / scale,
                        weight: 0.1 + at(target),
                        missing,
                    }
                })
                .collect();
            let mask = (case % 2 == 0).then(|| Mask::from_fn(rows, |row| noise(row + 99 * case) < 0.7));
            for k in [1, 40, 3000] {
                let query = SpecQuery { targets: &targets, mask: mask.as_ref(), k };
                assert_eq!(spec_with(&query, rows, true), spec_with(&query, rows, false), "case {case}, k {k}");
            }
        }
    }
}
