//! Columns in half precision: mean and deviation of a row as two f16 in one word, half of the memory. They find candidates, and
//! f32 decides among them.
//!
//! ```text
//! mean ≈ f16 · scale + offset,   sd ≈ f16 · scale
//! ```
//!
//! The scale is a power of two, and no subnormal f16 is written, which some drivers take for zero. So the host knows what a device
//! reads, and how far that is from the column at most: the `error` below, √(dm² + ds²) of its worst row.
//!
//! A shortfall is the length of F(X) = (max(lo - X, 0), max(X - hi, 0)) in the L2 norm of random numbers, X = mean + sd Z. As lo <= hi,
//! F moves no further than X does, and X moves by dm + ds Z, whose length is √(dm² + ds²). √score is a weighted mean square of the
//! shortfalls in tolerances, a length again. So by the triangle inequality the roots of the scores of a row, in both
//! precisions, differ by at most the largest error of the targets' columns in tolerances. A row without a value is the
//! same in both.

use crate::reference::F32_RELATIVE_ERROR;
use crate::{Column, SpecQuery};

/// The powers of two of the scale: all numbers that a device reads are 0 or normal.
const EXPONENTS: std::ops::RangeInclusive<i32> = -112..=100;
/// The exponent of the largest f16 of a column: 2^14 up to 2^15.
const LARGEST: i32 = 14;
/// The word of a row without a value: mean 0, deviation -1, each in f16.
const NO_VALUE: u32 = 0xBC00_0000;
/// What floors, and flushed subnormal numbers, may take from a score: 1e-20 in f64, 2e-20 in f32, and some room.
const FLOORS: f64 = 1e-19;
/// No score from here on is certain: f32 scores saturate.
const LARGEST_CERTAIN: f64 = 1e20;

/// How a column is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Half {
    pub(crate) scale: f32,
    pub(crate) offset: f32,
    /// How far a row is from what is written of it at most, in the column's unit.
    pub(crate) error: f64,
}

impl Half {
    /// For the beliefs of a column.
    pub(crate) fn of(column: &Column) -> Half {
        let valued = || column.mean().iter().zip(column.sd()).filter(|(_, sd)| **sd >= 0.0);
        let (mut low, mut high, mut widest) = (f32::INFINITY, f32::NEG_INFINITY, 0f32);
        for (&mean, &sd) in valued() {
            (low, high, widest) = (low.min(mean), high.max(mean), widest.max(sd));
        }
        if low > high {
            return Half { scale: 1.0, offset: 0.0, error: 0.0 };
        }
        let middle = f64::midpoint(f64::from(low), f64::from(high)) as f32;
        let offset = if middle.is_normal() { middle } else { 0.0 };
        let [low, high, offset_64] = [low, high, offset].map(f64::from);
        let size = (high - offset_64).max(offset_64 - low).max(f64::from(widest));
        let exponent = size.max(f64::MIN_POSITIVE).log2().floor() as i32 - LARGEST;
        let exponent = exponent.clamp(*EXPONENTS.start(), *EXPONENTS.end());
        let mut half = Half { scale: f32::from_bits(((exponent + 127) as u32) << 23), offset, error: 0.0 };
        let off = |(&mean, &sd): (&f32, &f32)| {
            let (near, deviation) = half.belief(half.word(mean, sd));
            (f64::from(mean) - f64::from(near)).hypot(f64::from(sd) - f64::from(deviation))
        };
        let worst = valued().map(off).fold(0.0, f64::max);
        // a device may round the sum otherwise than the host, and take what is subnormal for zero
        half.error = worst + (offset_64.abs() + size) * f64::from(f32::EPSILON) + 2.0 * f64::from(f32::MIN_POSITIVE);
        half
    }

    /// A row as it is written.
    pub(crate) fn word(&self, mean: f32, sd: f32) -> u32 {
        if sd < 0.0 {
            return NO_VALUE;
        }
        let up = 1.0 / self.scale;
        u32::from(f16((mean - self.offset) * up)) | u32::from(f16(sd * up)) << 16
    }

    /// What a device reads of a word: mean and deviation, below 0 where there is no value.
    pub(crate) fn belief(&self, word: u32) -> (f32, f32) {
        let [mean, sd] = [word as u16, (word >> 16) as u16].map(|bits| f32_of(bits) * self.scale);
        (mean + self.offset, sd)
    }
}

/// The bits of the nearest f16, even ones where two are as near; 0 for what would be subnormal. For numbers up to 2^15.
fn f16(x: f32) -> u16 {
    let near = ::half::f16::from_f32(x);
    if near.is_normal() { near.to_bits() } else { 0 }
}

/// The number that the bits of an f16 stand for.
fn f32_of(bits: u16) -> f32 {
    ::half::f16::from_bits(bits).to_f32()
}

/// How far the roots of the scores of a row may differ in both precisions.
pub(crate) fn margin(query: &SpecQuery) -> f64 {
    let errors = query.targets.iter().map(|target| f64::from(target.inv_tolerance) * target.column.half().error);
    errors.fold(0.0, f64::max)
}

/// Whether no row whose score in half precision is `last` or more can be better in f32 than one of the score `kth`: both
/// kernels are within the relative [`F32_RELATIVE_ERROR`] of the true scores of what they read.
pub(crate) fn certain(kth: f32, last: f32, margin: f64) -> bool {
    let root = ((f64::from(last) - FLOORS).max(0.0) / (1.0 + F32_RELATIVE_ERROR)).sqrt();
    let least = (root - margin * (1.0 + F32_RELATIVE_ERROR)).max(0.0);
    let kth = f64::from(kth);
    kth < LARGEST_CERTAIN && kth < least * least * (1.0 - F32_RELATIVE_ERROR) - FLOORS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Missing, Target, reference};
    use proptest::prelude::*;

    #[test]
    fn every_f16_that_is_not_subnormal_comes_back() {
        for bits in (0..=u16::MAX).filter(|bits| (0x0400..0x7C00).contains(&(bits & 0x7FFF))) {
            let x = f32_of(bits);
            assert_eq!(f16(x), bits, "{x}");
            let next = f32_of(bits + 1);
            if bits & 0x7FFF < 0x7BFF {
                let middle = f32::midpoint(x, next);
                let even = if bits % 2 == 0 { bits } else { bits + 1 };
                assert_eq!(f16(middle), even, "{middle}");
                assert_eq!((f16(f32::midpoint(x, middle)), f16(f32::midpoint(middle, next))), (bits, bits + 1));
            }
        }
        assert_eq!((f32_of(0x3C00), f32_of(0xC000), f32_of(0x7BFF), f32_of(0)), (1.0, -2.0, 65_504.0, 0.0));
        // the smallest that is normal; what rounds to it; what does not is 0, and no -0
        let smallest = 2f32.powi(-14);
        assert_eq!((f16(smallest), f16(smallest * 0.9999), f16(smallest * 0.999), f16(-1e-30)), (0x400, 0x400, 0, 0));
    }

    fn column(beliefs: &[(f32, f32)]) -> std::sync::Arc<Column> {
        let (mean, sd) = beliefs.iter().copied().unzip();
        Column::new(mean, sd).unwrap()
    }

    #[test]
    fn what_is_read_is_as_near_as_eleven_bits_say() {
        for size in [1e-44f32, 1e-38, 1e-30, 1e-7, 0.3, 1.0, 2e4, 1e18, 1e30] {
            for (name, beliefs) in [
                ("around zero", [(-1.0, 0.0), (0.99, 0.3), (0.001, 1e-5), (0.0, -1.0)]),
                ("far from zero", [(0.9, 0.0), (1.0, 0.001), (0.95, 0.02), (0.0, -1.0)]),
                ("deviations alone", [(0.0, 0.1), (0.0, 1.0), (0.0, 0.0), (0.0, -1.0)]),
                ("all alike", [(0.7, 0.2); 4]),
            ] {
                let beliefs = beliefs.map(|(mean, sd)| (mean * size, if sd < 0.0 { sd } else { sd * size }));
                let column = column(&beliefs);
                let half = column.half();
                let valued =
                    || beliefs.iter().filter(|(_, sd)| *sd >= 0.0).map(|&(mean, sd)| (f64::from(mean), f64::from(sd)));
                let middle = f64::from(half.offset);
                let wide = valued().map(|(mean, sd)| (mean - middle).abs().max(sd)).fold(0.0, f64::max);
                let largest = valued().map(|(mean, sd)| mean.abs().max(sd)).fold(0.0, f64::max);
                assert!(
                    half.error <= wide * 2f64.powi(-11) + largest * 2f64.powi(-21) + 5e-38,
                    "{name}, {size:e}: {half:?}"
                );
                for &(mean, sd) in &beliefs {
                    let word = half.word(mean, sd);
                    let (near, deviation) = half.belief(word);
                    assert_eq!(
                        (deviation < 0.0, word == NO_VALUE),
                        (sd < 0.0, sd < 0.0),
                        "{name}, {size:e}: {mean:e} ± {sd:e}"
                    );
                    assert!(
                        [word as u16, (word >> 16) as u16].iter().all(|bits| bits & 0x7FFF == 0 || bits & 0x7C00 != 0)
                    );
                    let off = (f64::from(mean) - f64::from(near)).hypot(f64::from(sd) - f64::from(deviation));
                    assert!(sd < 0.0 || off <= half.error, "{name}, {size:e}: {mean:e} ± {sd:e}");
                }
            }
        }
        let nothing = column(&[(0.0, -1.0), (5.0, -1.0)]);
        assert_eq!(*nothing.half(), Half { scale: 1.0, offset: 0.0, error: 0.0 });
        assert_eq!(*column(&[]).half(), *nothing.half());
    }

    #[test]
    fn certain_is_what_cannot_be_otherwise() {
        for (kth, last, margin, expected) in [
            (1.0, 1.0, 0.0, false),
            (1.0, 1.0021, 0.0, true),
            (1.0, 1.0019, 0.0, false),
            // (1.2 - 0.15)² = 1.1, (1.2 - 0.21)² = 0.98
            (1.0, 1.44, 0.15, true),
            (1.0, 1.44, 0.21, false),
            (0.0, 0.0, 0.0, false),
            (0.0, 1e-4, 0.009, true),
            (0.0, 1e-4, 0.011, false),
            (0.0, 1e-19, 0.0, false),
            (1e19, 2e19, 1.0, true),
            // saturated
            (2e36, 3e36, 0.0, false),
            (1e21, 3e36, 0.0, false),
        ] {
            assert_eq!(certain(kth, last, margin), expected, "{kth:e} {last:e} {margin}");
        }
    }

    fn belief() -> impl Strategy<Value = (f32, f32)> {
        let deviation = prop_oneof![Just(0.0), Just(-1.0), 0.0f32..0.01, 0.0f32..3.0, 0.0f32..100.0];
        (prop_oneof![-1.0f32..1.0, -30.0f32..30.0, 20.0f32..20.1], deviation)
    }

    fn target() -> impl Strategy<Value = Target> {
        let window = (-25.0f32..25.0, prop_oneof![Just(0.0f32), 0.0f32..4.0, Just(f32::INFINITY)], any::<bool>());
        let tolerance = prop_oneof![0.1f32..10.0, 100.0f32..1e4];
        let missing = prop_oneof![
            Just(Missing::Ignore),
            (-9.0f32..9.0, 0.0f32..3.0).prop_map(|(mean, sd)| Missing::Fill { mean, sd })
        ];
        (prop::collection::vec(belief(), 40), window, tolerance, 0.01f32..100.0, missing).prop_map(
            |(beliefs, (end, width, upper), inv_tolerance, weight, missing)| {
                let (lo, hi) = if upper { (end - width, end) } else { (end, end + width) };
                Target { column: column(&beliefs), lo, hi, inv_tolerance, weight, missing }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// The proof, in f64: the roots of no row differ by more than the margin.
        #[test]
        fn roots_differ_by_the_margin_at_most(targets in prop::collection::vec(target(), 1..5)) {
            let read: Vec<Target> = targets.iter().map(|target| {
                let (column, half) = (&target.column, target.column.half());
                let beliefs: Vec<(f32, f32)> =
                    column.mean().iter().zip(column.sd()).map(|(&mean, &sd)| half.belief(half.word(mean, sd))).collect();
                Target { column: self::column(&beliefs), ..target.clone() }
            }).collect();
            let margin = margin(&SpecQuery { targets: &targets, mask: None, k: 1 });
            for row in 0..40 {
                match (reference::score(&targets, row), reference::score(&read, row)) {
                    (Some(a), Some(b)) => prop_assert!((a.sqrt() - b.sqrt()).abs() <= margin + 2e-10, "{} {} {}", a, b, margin),
                    (a, b) => prop_assert_eq!(a, b),
                }
            }
        }
    }
}
