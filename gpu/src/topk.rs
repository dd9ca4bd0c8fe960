//! The one total order, and the k smallest in it.

use std::cmp::Ordering;

use crate::Hit;

/// The score bits of a row that is not answered.
pub(crate) const LEFT_OUT: u32 = u32::MAX;

/// A row's place in the order: the bits of its score, which order like the score since that is not negative, then its number.
#[inline(always)]
pub(crate) fn key(score_bits: u32, row: u32) -> u64 {
    u64::from(score_bits) << 32 | u64::from(row)
}

/// The row that a key stands for.
pub(crate) fn hit(key: u64) -> Hit {
    Hit { score: f32::from_bits((key >> 32) as u32), row: key as u32 }
}

/// The k first of answers to parts of the rows.
pub(crate) fn merged<T>(parts: Vec<Vec<T>>, order: impl Fn(&T, &T) -> Ordering, k: usize) -> Vec<T> {
    let mut all: Vec<T> = parts.into_iter().flatten().collect();
    all.sort_unstable_by(order);
    all.truncate(k);
    all
}

/// Keeps the `k` smallest of the keys that it is given, in memory for about twice as many.
#[derive(Debug)]
pub(crate) struct Smallest {
    k: usize,
    keys: Vec<u64>,
    bound: u64,
}

impl Smallest {
    pub(crate) fn new(k: usize) -> Smallest {
        let bound = if k == 0 { 0 } else { key(LEFT_OUT, 0) };
        Smallest { k, keys: Vec::new(), bound }
    }

    /// No key from here on is among the k smallest.
    #[inline(always)]
    pub(crate) fn bound(&self) -> u64 {
        self.bound
    }

    /// Takes a bound that someone else found.
    pub(crate) fn lower_bound_to(&mut self, bound: u64) {
        self.bound = self.bound.min(bound);
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, key: u64) {
        if key < self.bound {
            self.keys.push(key);
            if self.keys.len() >= (2 * self.k).max(256) {
                self.shrink();
            }
        }
    }

    fn shrink(&mut self) {
        if self.k > 0 && self.keys.len() > self.k {
            let (_, last, _) = self.keys.select_nth_unstable(self.k - 1);
            self.bound = self.bound.min(*last + 1);
            self.keys.truncate(self.k);
        }
    }

    /// The k smallest of both.
    pub(crate) fn merge(mut self, mut other: Smallest) -> Smallest {
        if self.keys.len() < other.keys.len() {
            std::mem::swap(&mut self, &mut other);
        }
        self.keys.append(&mut other.keys);
        self.bound = self.bound.min(other.bound);
        self.shrink();
        self
    }

    /// The k smallest, ascending.
    pub(crate) fn into_sorted(mut self) -> Vec<u64> {
        self.shrink();
        self.keys.sort_unstable();
        self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_sort_cut_at_k(
            scores in prop::collection::vec(prop_oneof![0u32..4, any::<u32>().prop_map(|x| x >> 2)], 0..2000),
            k in 0usize..600,
            cut in any::<prop::sample::Index>(),
        ) {
            let keys: Vec<u64> = scores.iter().enumerate().map(|(row, &bits)| key(bits, row as u32)).collect();
            let cut = if keys.is_empty() { 0 } else { cut.index(keys.len()) };
            let (mut a, mut b) = (Smallest::new(k), Smallest::new(k));
            keys[..cut].iter().for_each(|&key| a.push(key));
            keys[cut..].iter().for_each(|&key| b.push(key));
            let mut sorted = keys;
            sorted.sort_unstable();
            sorted.truncate(k);
            prop_assert_eq!(b.merge(a).into_sorted(), sorted);
        }
    }
}
