//! How many rows lie between which edges: what a slider shows.

use std::sync::Arc;

use rayon::prelude::*;

use crate::{Column, GpuError, Mask};

/// The largest number of edges.
pub const MAX_EDGES: usize = 1024;

/// Rows of one task.
const CHUNK: usize = 1 << 16;

/// A question of the distribution of a column's means.
#[derive(Debug, Clone, Copy)]
pub struct HistogramQuery<'a> {
    /// What is counted.
    pub column: &'a Arc<Column>,
    /// The rows that are counted; all where there is none.
    pub mask: Option<&'a Mask>,
    /// 1 to [`MAX_EDGES`] finite edges, strictly ascending, in the unit of the column.
    pub edges: &'a [f32],
}

/// The answer: every row that is counted is in one of its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Rows below the first edge.
    pub below: u32,
    /// Rows from each edge up to before the next: one number fewer than edges.
    pub bins: Vec<u32>,
    /// Rows from the last edge on.
    pub above: u32,
    /// Rows without a value.
    pub missing: u32,
    /// The device that counted.
    pub device: String,
    /// Why it was not the device that was opened, where it was not.
    pub note: Option<String>,
}

impl HistogramQuery<'_> {
    /// Checks the query.
    ///
    /// # Errors
    /// [`GpuError::Edges`] or [`GpuError::Length`].
    pub fn check(&self) -> Result<(), GpuError> {
        let (edges, rows) = (self.edges, self.column.len());
        let ascending = edges.iter().all(|edge| edge.is_finite()) && edges.windows(2).all(|two| two[0] < two[1]);
        if edges.is_empty() || edges.len() > MAX_EDGES || !ascending {
            return Err(GpuError::Edges { found: edges.len() });
        }
        match self.mask {
            Some(mask) if mask.len() != rows => {
                Err(GpuError::Length { what: "mask", expected: rows, found: mask.len() })
            }
            _ => Ok(()),
        }
    }

    /// The bin of each row: the number of edges that are not above its mean, or one more than there are edges.
    fn bin(&self, row: usize) -> usize {
        match self.column.sd()[row] < 0.0 {
            true => self.edges.len() + 1,
            false => {
                let mean = flushed(self.column.mean()[row]);
                self.edges.partition_point(|&edge| flushed(edge) <= mean)
            }
        }
    }
}

/// Subnormal numbers count as zero: some devices know none.
pub(crate) fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0 } else { x }
}

/// The counts of all bins, on the CPU.
pub(crate) fn on_cpu(query: &HistogramQuery) -> Vec<u32> {
    let rows = query.column.len();
    let none = || vec![0u32; query.edges.len() + 2];
    (0..rows.div_ceil(CHUNK))
        .into_par_iter()
        .fold(none, |mut counts, chunk| {
            let span = chunk * CHUNK..rows.min((chunk + 1) * CHUNK);
            for row in span.filter(|&row| query.mask.is_none_or(|mask| mask.get(row))) {
                counts[query.bin(row)] += 1;
            }
            counts
        })
        .reduce(none, |a, b| sum(vec![a, b]))
}

/// The counts of all rows from those of parts of them.
pub(crate) fn sum(parts: Vec<Vec<u32>>) -> Vec<u32> {
    let add = |mut all: Vec<u32>, part: Vec<u32>| {
        all.iter_mut().zip(part).for_each(|(all, part)| *all += part);
        all
    };
    parts.into_iter().reduce(add).unwrap_or_default()
}

/// An answer from the counts of all bins.
pub(crate) fn answer(mut counts: Vec<u32>, device: String, note: Option<String>) -> Histogram {
    let missing = counts.pop().unwrap_or_default();
    let above = counts.pop().unwrap_or_default();
    let below = if counts.is_empty() { 0 } else { counts.remove(0) };
    Histogram { below, bins: counts, above, missing, device, note }
}
