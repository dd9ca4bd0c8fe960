//! The CPU twin: the same scores and the same order as the shader, in loops that vectorise.
//!
//! Rows go through in blocks that fit the first-level cache: each target adds to the block's sums, then the block's scores
//! meet the current bound of the k best. Blocks where few rows are allowed are gathered first.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::kernel::{self, TargetParams};
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
    let scan = Scan {
        columns: query.targets.iter().map(|target| (target.column.mean(), target.column.sd())).collect(),
        params: kernel::params(query),
        mask: query.mask,
        rows,
        k: query.k.min(rows),
        bound: AtomicU64::new(u64::MAX),
    };
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
        let Some(mask) = self.mask else {
            return self.dense(start, end, None, lane);
        };
        let words = &mask.words()[start / 64..end.div_ceil(64)];
        let allowed: usize = words.iter().map(|word| word.count_ones() as usize).sum();
        if allowed == 0 {
        } else if allowed * GATHER_BELOW < end - start {
            self.gathered(start, words, lane);
        } else {
            self.dense(start, end, Some(words), lane);
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

    /// Scores the allowed rows of the block only.
    fn gathered(&self, start: usize, words: &[u64], lane: &mut Lane) {
        lane.picked.clear();
        for (at, &word) in words.iter().enumerate() {
            lane.picked.extend(crate::mask::ones(word).map(|bit| (start + at * 64 + bit) as u32));
        }
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
