//! What is believed of one property of every row, in numbers.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::half::Half;
use crate::{GpuError, Moves, Run};

/// The largest number of rows of one column: row numbers are u32, with room for rounding up to whole work groups.
pub const MAX_ROWS: usize = 0xFFFF_0000;

/// Fewer rows than this are not worth being copied from an older column.
const SHORTEST: usize = 64;

/// Rows that are compared at once.
const BLOCK: usize = 256;

/// One property of every row: what is believed of it, as the mean and standard deviation of a normal distribution on the
/// property's axis. Immutable; devices keep a copy for as long as it lives.
#[derive(Debug)]
pub struct Column {
    id: u64,
    mean: Vec<f32>,
    sd: Vec<f32>,
    shared: Option<Shared>,
    half: OnceLock<Half>,
}

/// What a column has in common with an older one: devices that hold that one need not be given it again.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The older column.
    pub(crate) id: u64,
    /// Its number of rows.
    pub(crate) rows: usize,
    /// Runs of rows that are the same in both, bit for bit.
    pub(crate) runs: Vec<Run>,
}

impl Column {
    /// The largest magnitude of a mean or a standard deviation.
    pub const LIMIT: f32 = 1e30;

    /// The mean where there is no value: beyond all others, so that means alone tell.
    pub const NO_VALUE: f32 = f32::MAX;

    /// A column of `mean.len()` rows. A negative `sd` says "no value here"; the mean is then not looked at, and kept as [`Column::NO_VALUE`]
    /// with `sd` -1.
    ///
    /// # Errors
    /// [`GpuError::Length`] where the two differ in length, [`GpuError::Value`] where a number is NaN, infinite or beyond
    /// [`Column::LIMIT`], [`GpuError::TooManyRows`] beyond [`MAX_ROWS`].
    pub fn new(mean: Vec<f32>, sd: Vec<f32>) -> Result<Arc<Column>, GpuError> {
        Column::checked(mean, sd).map(Arc::new)
    }

    /// [`Column::new`], and what it shares with an older column: a device that holds that one copies the rows that are the same,
    /// and only others are copied to it. `moves` says where to look for them. It is a hint: rows are compared, so the column
    /// is right whatever it says.
    ///
    /// # Errors
    /// Those of [`Column::new`].
    pub fn following(mean: Vec<f32>, sd: Vec<f32>, older: &Column, moves: &Moves) -> Result<Arc<Column>, GpuError> {
        let mut column = Column::checked(mean, sd)?;
        let runs = column.runs(older, moves);
        column.shared = (!runs.is_empty()).then_some(Shared { id: older.id, rows: older.len(), runs });
        Ok(Arc::new(column))
    }

    fn checked(mut mean: Vec<f32>, mut sd: Vec<f32>) -> Result<Column, GpuError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if mean.len() != sd.len() {
            return Err(GpuError::Length { what: "sd", expected: mean.len(), found: sd.len() });
        }
        if mean.len() > MAX_ROWS {
            return Err(GpuError::TooManyRows { rows: mean.len(), limit: MAX_ROWS });
        }
        for (row, (mean, sd)) in mean.iter_mut().zip(&mut sd).enumerate() {
            if *sd < 0.0 {
                (*mean, *sd) = (Column::NO_VALUE, -1.0);
                continue;
            }
            for (what, value) in [("mean", *mean), ("sd", *sd)] {
                if !(-Column::LIMIT..=Column::LIMIT).contains(&value) {
                    return Err(GpuError::Value { row, what, value });
                }
            }
        }
        Ok(Column { id: NEXT.fetch_add(1, Ordering::Relaxed), mean, sd, shared: None, half: OnceLock::new() })
    }

    /// A number that no other column of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.mean.len()
    }

    /// True where there are no rows.
    pub fn is_empty(&self) -> bool {
        self.mean.is_empty()
    }

    /// The mean of every row, [`Column::NO_VALUE`] where there is none.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The standard deviation of every row, -1 where there is no value.
    pub fn sd(&self) -> &[f32] {
        &self.sd
    }

    /// What it shares with an older column.
    pub(crate) fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// How it is written in half precision; looks at all rows at the first call.
    pub(crate) fn half(&self) -> &Half {
        self.half.get_or_init(|| Half::of(self))
    }

    /// The stretches of `moves` whose rows are the same in both columns; none where there are too many.
    fn runs(&self, older: &Column, moves: &Moves) -> Vec<Run> {
        let mut found = Vec::new();
        for run in moves.runs() {
            let rows = run.rows.min(self.len().saturating_sub(run.to)).min(older.len().saturating_sub(run.from));
            let (new, old) = (self.bits(run.to, rows), older.bits(run.from, rows));
            for Range { start, end } in alike(new, old) {
                found.push(Run { from: run.from + start, to: run.to + start, rows: end - start });
            }
            if found.len() > Moves::MOST {
                return Vec::new();
            }
        }
        found
    }

    /// The bits of means and deviations of some rows; of none where there are none.
    fn bits(&self, first: usize, rows: usize) -> [&[u32]; 2] {
        [&self.mean, &self.sd].map(|numbers| match numbers.get(first..first + rows) {
            Some(numbers) => bytemuck::cast_slice(numbers),
            None => &[],
        })
    }
}

/// Where two stretches of rows are the same, in pieces of at least [`SHORTEST`] rows.
fn alike(new: [&[u32]; 2], old: [&[u32]; 2]) -> Vec<Range<usize>> {
    let rows = new[0].len();
    let same = |span: Range<usize>| (0..2).all(|of| new[of][span.clone()] == old[of][span.clone()]);
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    let mut keep = |span: Range<usize>| {
        if span.len() >= SHORTEST {
            found.push(span);
        }
    };
    while at < rows {
        let end = rows.min(at + BLOCK);
        if same(at..end) {
            at = end;
            continue;
        }
        at = (at..end).find(|&row| !same(row..row + 1)).unwrap_or(end);
        keep(start..at);
        start = (at..rows).find(|&row| same(row..row + 1)).unwrap_or(rows);
        at = start;
    }
    keep(start..rows);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_refuse_what_is_not_a_number() {
        assert!(Column::new(vec![1.0], vec![]).is_err());
        for (mean, sd) in [(f32::NAN, 0.0), (f32::INFINITY, 0.0), (1e31, 0.0), (0.0, f32::NAN), (0.0, f32::INFINITY)] {
            assert!(Column::new(vec![0.0, mean], vec![0.0, sd]).is_err(), "{mean} {sd}");
        }
        let missing = Column::new(vec![f32::NAN], vec![-3.0]).unwrap();
        assert_eq!((missing.mean(), missing.sd()), (&[Column::NO_VALUE][..], &[-1.0][..]));
        assert_ne!(missing.id(), Column::new(vec![], vec![]).unwrap().id());
    }

    fn moves(runs: &[(usize, usize, usize)]) -> Moves {
        let mut moves = Moves::default();
        runs.iter().for_each(|&(from, to, rows)| moves.push(Run { from, to, rows }));
        moves
    }

    #[test]
    fn rows_that_differ_by_a_bit_are_not_shared() {
        let mean: Vec<f32> = (0..1000).map(|row| row as f32).collect();
        let sd: Vec<f32> = mean.iter().map(|mean| if mean % 7.0 == 6.0 { -1.0 } else { 0.5 }).collect();
        let older = Column::new(mean.clone(), sd.clone()).unwrap();
        let runs = |mean: &[f32], sd: &[f32], moves: &Moves| -> Vec<(usize, usize, usize)> {
            let column = Column::following(mean.to_vec(), sd.to_vec(), &older, moves).unwrap();
            let shared = column.shared().map(|shared| (shared.id, shared.rows, shared.runs.clone()));
            let Some((id, rows, runs)) = shared else { return Vec::new() };
            assert_eq!((id, rows), (older.id(), 1000));
            runs.into_iter().map(|run| (run.from, run.to, run.rows)).collect()
        };
        assert_eq!(runs(&mean, &sd, &moves(&[(0, 0, 1000)])), [(0, 0, 1000)]);
        assert_eq!(runs(&mean, &sd, &Moves::default()), []);
        // no row is where the hint has it, or the hint is of rows that are not there
        assert_eq!(runs(&mean, &sd, &moves(&[(0, 1, 900)])), []);
        assert_eq!(runs(&mean, &sd, &moves(&[(0, 0, 5000), (6000, 7000, 80)])), [(0, 0, 1000)]);
        // -0 is not 0, a deviation counts as well, and what lies between two changes is too short
        let (mut changed, mut deviations) = (mean.clone(), sd.clone());
        (changed[0], changed[500], deviations[563]) = (-0.0, 1.0, 0.25);
        assert_eq!(runs(&changed, &deviations, &moves(&[(0, 0, 1000)])), [(1, 1, 499), (564, 564, 436)]);
        // one row more, in the middle
        changed.insert(501, 3.0);
        deviations.insert(501, 0.0);
        let moved = moves(&[(0, 0, 501), (501, 502, 499)]);
        assert_eq!(runs(&changed, &deviations, &moved), [(1, 1, 499), (564, 565, 436)]);
    }

    #[test]
    fn too_many_stretches_are_none() {
        let mean: Vec<f32> = (0..400_000).map(|row| row as f32).collect();
        let sd = vec![0.5; mean.len()];
        let older = Column::new(mean.clone(), sd.clone()).unwrap();
        for (step, shared) in [(66, false), (100, true)] {
            let mut changed = mean.clone();
            changed.iter_mut().step_by(step).for_each(|mean| *mean += 0.5);
            let column = Column::following(changed, sd.clone(), &older, &moves(&[(0, 0, 400_000)])).unwrap();
            assert_eq!(column.shared().is_some(), shared, "every {step}th row");
        }
    }

    proptest! {
        #[test]
        fn stretches_are_all_rows_that_are_alike_for_long(changes in prop::collection::vec(0usize..3000, 0..40)) {
            let old: Vec<u32> = (0..3000).collect();
            let mut new = old.clone();
            changes.iter().for_each(|&row| new[row] = 9999);
            let found = alike([&new, &old], [&old, &old]);
            let mut expected = Vec::new();
            let mut start = 0;
            for row in 0..=3000 {
                if row == 3000 || new[row] != old[row] {
                    if row - start >= SHORTEST {
                        expected.push(start..row);
                    }
                    start = row + 1;
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
