//! Which rows may be answered: one bit a row.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::GpuError;

/// A bit mask over `n` rows: row `r` is bit `r % 64` of word `r / 64`. Bits beyond row `n - 1` are zero, always.
#[derive(Debug, Clone)]
pub struct Mask {
    words: Vec<u64>,
    rows: usize,
    /// See [`Mask::id`]; none after a change, until it is asked for.
    id: OnceLock<u64>,
}

impl PartialEq for Mask {
    fn eq(&self, other: &Mask) -> bool {
        (self.rows, &self.words) == (other.rows, &other.words)
    }
}

impl Eq for Mask {}

impl Mask {
    /// A mask over `rows` rows that allows none of them.
    pub fn none(rows: usize) -> Mask {
        Mask::of(vec![0; rows.div_ceil(64)], rows)
    }

    /// A mask over `rows` rows that allows all of them.
    pub fn all(rows: usize) -> Mask {
        let mut mask = Mask::of(vec![u64::MAX; rows.div_ceil(64)], rows);
        mask.clear_tail();
        mask
    }

    /// A mask over `rows` rows that allows those for which `allows(row)` is true.
    pub fn from_fn(rows: usize, mut allows: impl FnMut(usize) -> bool) -> Mask {
        let mut mask = Mask::none(rows);
        for row in 0..rows {
            mask.words[row / 64] |= u64::from(allows(row)) << (row % 64);
        }
        mask
    }

    /// Two masks over `rows` rows: of those for which `holds(row)` is true, and of those for which it is false; in
    /// neither are those for which it is `None`. On all cores.
    pub fn partition(rows: usize, holds: impl Fn(usize) -> Option<bool> + Sync) -> (Mask, Mask) {
        let word = |at: usize| {
            let (mut yes, mut no) = (0u64, 0u64);
            for row in at * 64..rows.min(at * 64 + 64) {
                match holds(row) {
                    Some(true) => yes |= 1 << (row % 64),
                    Some(false) => no |= 1 << (row % 64),
                    None => {}
                }
            }
            (yes, no)
        };
        let (yes, no) = (0..rows.div_ceil(64)).into_par_iter().with_min_len(256).map(word).unzip();
        (Mask::of(yes, rows), Mask::of(no, rows))
    }

    fn of(words: Vec<u64>, rows: usize) -> Mask {
        Mask { words, rows, id: OnceLock::new() }
    }

    /// A number that no mask of this process has, or has had, that allows other rows: what is known of it need not be read again.
    pub(crate) fn id(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        *self.id.get_or_init(|| NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The words, to be changed.
    fn words_mut(&mut self) -> &mut [u64] {
        self.id = OnceLock::new();
        &mut self.words
    }

    /// The number of rows, allowed or not.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True where there are no rows at all.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Allows or forbids one row. A row beyond the mask is left alone.
    pub fn set(&mut self, row: usize, allowed: bool) {
        if row < self.rows {
            let bit = 1u64 << (row % 64);
            let word = &mut self.words_mut()[row / 64];
            *word = if allowed { *word | bit } else { *word & !bit };
        }
    }

    /// Whether the row is allowed. A row beyond the mask is not.
    pub fn get(&self, row: usize) -> bool {
        row < self.rows && self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// How many rows are allowed.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Keeps what both allow.
    ///
    /// # Errors
    /// [`GpuError::Length`] where the masks speak of different numbers of rows.
    pub fn and(&mut self, other: &Mask) -> Result<(), GpuError> {
        self.zip(other, |a, b| a & b)
    }

    /// Adds what the other allows.
    ///
    /// # Errors
    /// [`GpuError::Length`] where the masks speak of different numbers of rows.
    pub fn or(&mut self, other: &Mask) -> Result<(), GpuError> {
        self.zip(other, |a, b| a | b)
    }

    /// Allows what was forbidden and forbids what was allowed.
    pub fn not(&mut self) {
        self.words_mut().iter_mut().for_each(|word| *word = !*word);
        self.clear_tail();
    }

    /// The allowed rows, ascending.
    pub fn iter_ones(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| ones(word).map(move |bit| at * 64 + bit))
    }

    /// The words, 64 rows each, the lowest row in the lowest bit.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The words of a span of rows that begins at a whole word.
    pub(crate) fn words_of(&self, rows: std::ops::Range<usize>) -> &[u64] {
        &self.words[rows.start / 64..rows.end.div_ceil(64)]
    }

    fn zip(&mut self, other: &Mask, f: impl Fn(u64, u64) -> u64) -> Result<(), GpuError> {
        if self.rows != other.rows {
            return Err(GpuError::Length { what: "mask", expected: self.rows, found: other.rows });
        }
        self.words_mut().iter_mut().zip(&other.words).for_each(|(a, b)| *a = f(*a, *b));
        Ok(())
    }

    fn clear_tail(&mut self) {
        let used = self.rows % 64;
        if let Some(last) = self.words_mut().last_mut()
            && used != 0
        {
            *last &= (1u64 << used) - 1;
        }
    }
}

/// The positions of the ones of a word, ascending.
pub(crate) fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stands_for_the_rows_that_are_allowed() {
        let mut mask = Mask::all(100);
        let (id, same) = (mask.id(), mask.clone());
        assert_eq!((mask.id(), same.id()), (id, id));
        assert_ne!(Mask::all(100).id(), id);
        let changes: [fn(&mut Mask); 4] =
            [|m| m.set(3, false), Mask::not, |m| m.and(&Mask::none(100)).unwrap(), |m| m.or(&Mask::all(100)).unwrap()];
        let mut seen = vec![id];
        for change in changes {
            change(&mut mask);
            assert!(!seen.contains(&mask.id()));
            seen.push(mask.id());
        }
        assert_eq!((&mask, same.id()), (&same, id));
    }
    use proptest::prelude::*;

    #[test]
    fn a_partition_is_two_masks_and_leaves_the_unknown_out() {
        for rows in [0, 1, 63, 64, 65, 40_000] {
            let holds = |row: usize| (!row.is_multiple_of(3)).then_some(row % 3 == 1);
            let (yes, no) = Mask::partition(rows, holds);
            assert_eq!(yes, Mask::from_fn(rows, |row| row % 3 == 1), "{rows}");
            assert_eq!(no, Mask::from_fn(rows, |row| row % 3 == 2), "{rows}");
        }
    }

    #[test]
    fn the_tail_stays_zero() {
        for rows in [0, 1, 63, 64, 65, 127, 128, 200] {
            let mut mask = Mask::all(rows);
            assert_eq!(mask.count(), rows);
            mask.not();
            assert_eq!(mask, Mask::none(rows));
            mask.not();
            assert_eq!(mask, Mask::all(rows));
            assert!(!mask.get(rows));
            mask.set(rows, true);
            assert_eq!(mask.count(), rows);
        }
    }

    #[test]
    fn masks_of_different_lengths_do_not_mix() {
        assert!(Mask::all(3).and(&Mask::all(4)).is_err());
        assert!(Mask::all(64).or(&Mask::all(65)).is_err());
    }

    proptest! {
        #[test]
        fn a_mask_is_a_set_of_rows(a in prop::collection::vec(any::<bool>(), 0..300), seed in any::<u64>()) {
            let b: Vec<bool> = (0..a.len()).map(|row| seed.rotate_left(row as u32) & 1 == 1).collect();
            let left = Mask::from_fn(a.len(), |row| a[row]);
            let right = Mask::from_fn(a.len(), |row| b[row]);
            let mut both = left.clone();
            both.and(&right).unwrap();
            let mut either = left.clone();
            either.or(&right).unwrap();
            let mut neither = either.clone();
            neither.not();
            for row in 0..a.len() {
                prop_assert_eq!(both.get(row), a[row] && b[row]);
                prop_assert_eq!(either.get(row), a[row] || b[row]);
                prop_assert_eq!(neither.get(row), !(a[row] || b[row]));
            }
            let rows: Vec<usize> = (0..a.len()).filter(|&row| a[row]).collect();
            prop_assert_eq!(left.iter_ones().collect::<Vec<_>>(), rows);
        }
    }
}
