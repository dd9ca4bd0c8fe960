//! The score of one row in f32: the numbers that the CPU kernel and the shader share.
//!
//! With z = |m|/sd, G(z) = E[max(Z - z, 0)²] of a standard normal Z is φ(z) R(z), and R falls like 2/z³. The kernels use
//! G(z) = exp(-z²/4)² P(z)/Q(z), the square taken after the product with the deviation, so that nothing underflows before
//! it is far below the floor. All numbers are clamped so that no step gives an infinity or a NaN: shader compilers
//! may assume that there are none.

use crate::{Missing, SpecQuery, Target};

/// Squared shortfalls below this are 0 in f32: twice [`crate::reference::FLOOR`].
pub const FLOOR_F32: f32 = 2e-20;

/// P and Q, lowest power first, of the rational approximation of R(z)/√(2π) on 0 <= z <= 18. Fitted by iteratively
/// re-weighted least squares (Lawson) towards the minimax of the relative error, on 600 nodes dense near 0, against values
/// computed with 40 digits. Relative error 2.5e-7 after rounding to f32.
pub(crate) const TAIL_P: [f32; 4] = [0.499_999_88, 0.243_188_14, 0.060_223_244, 0.007_265_046];
pub(crate) const TAIL_Q: [f32; 7] =
    [1.0, 2.082_130_4, 1.943_216_6, 1.055_328_4, 0.361_248_34, 0.075_402_8, 0.009_106_696];

/// 2^x on -1/2 <= x <= 1/2, lowest power first: the same method, relative error 2e-9 before rounding to f32.
pub(crate) const EXP2: [f32; 7] =
    [1.0, std::f32::consts::LN_2, 0.240_226_47, 0.055_503_29, 0.009_618_489, 0.001_339_993_1, 0.000_153_458_12];

/// z is cut here: exp(-z²/4)² is then 4e-71.
pub(crate) const LARGEST_Z: f32 = 18.0;

/// Distances and deviations are cut at this many tolerances: 64 squares of it still fit an f32.
const LARGEST_DISTANCE: f32 = 1e18;

/// Finite ends of windows are cut here, so that end - mean is finite.
const LARGEST_END: f32 = 2e30;

/// Square roots of tails are 0 below this: their squares are far below [`FLOOR_F32`].
pub(crate) const SMALLEST_ROOT: f32 = 1e-12;

/// Below this nothing is divided by.
pub(crate) const SMALLEST_DIVISOR: f32 = 1e-37;

/// The lower end is closed.
pub(crate) const LOWER: u32 = 1;
/// The upper end is closed.
pub(crate) const UPPER: u32 = 2;

/// One target as kernels take it: 12 words, the shader's `Target`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct TargetParams {
    /// Ends, in the column's unit; 0 where open.
    pub(crate) lo: f32,
    pub(crate) hi: f32,
    /// One over the tolerance.
    pub(crate) inv_tolerance: f32,
    /// [`LARGEST_DISTANCE`] in the column's unit.
    pub(crate) limit: f32,
    /// The weight, as a part of the query's largest, of rows with a value and without one.
    pub(crate) weight: f32,
    pub(crate) missing_weight: f32,
    /// What rows without a value count as.
    pub(crate) fill_mean: f32,
    pub(crate) fill_sd: f32,
    /// [`LOWER`] | [`UPPER`].
    pub(crate) sides: u32,
    /// The least squared shortfall of rows without a value: what a sieve takes them for.
    pub(crate) missing_least: f32,
    /// How the column is written, where it is in half precision.
    pub(crate) scale: f32,
    pub(crate) offset: f32,
}

/// The targets of a checked query, as kernels take them.
pub(crate) fn params(query: &SpecQuery) -> Vec<TargetParams> {
    let heaviest = query.targets.iter().map(|target| target.weight).fold(0.0, f32::max);
    query.targets.iter().map(|target| TargetParams::new(target, heaviest)).collect()
}

impl TargetParams {
    fn new(target: &Target, heaviest: f32) -> TargetParams {
        let end = |end: f32| if end.is_finite() { end.clamp(-LARGEST_END, LARGEST_END) } else { 0.0 };
        let weight = (f64::from(target.weight) / f64::from(heaviest)) as f32;
        let (missing_weight, fill_mean, fill_sd) = match target.missing {
            Missing::Fill { mean, sd } => (weight, mean, sd),
            Missing::Ignore => (0.0, 0.0, 0.0),
        };
        let mut params = TargetParams {
            lo: end(target.lo),
            hi: end(target.hi),
            inv_tolerance: target.inv_tolerance,
            limit: (f64::from(LARGEST_DISTANCE) / f64::from(target.inv_tolerance)) as f32,
            weight,
            missing_weight,
            fill_mean,
            fill_sd,
            sides: if target.lo.is_finite() { LOWER } else { 0 } | if target.hi.is_finite() { UPPER } else { 0 },
            missing_least: 0.0,
            scale: 1.0,
            offset: 0.0,
        };
        params.missing_least = Sieve::new(&params).missing_least;
        params
    }
}

/// What a sieve needs of a target: enough for a number that no shortfall of a row is below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sieve {
    /// Ends, in the column's unit; infinite where open.
    pub(crate) lo: f32,
    pub(crate) hi: f32,
    pub(crate) inv_tolerance: f32,
    pub(crate) limit: f32,
    pub(crate) weight: f32,
    pub(crate) missing_weight: f32,
    /// The least squared shortfall of rows without a value.
    pub(crate) missing_least: f32,
}

impl Sieve {
    /// Relative room for the errors of f32: shortfalls keep a bound of 1e-4 (see the tests below).
    pub(crate) const ROOM: f32 = 5e-4;
    /// What the floor may take from a shortfall.
    pub(crate) const FLOOR_ROOM: f32 = 2.0 * FLOOR_F32;

    pub(crate) fn new(p: &TargetParams) -> Sieve {
        let (lower, upper) = (p.sides & LOWER != 0, p.sides & UPPER != 0);
        let excess = |m: f32| squared_excess::<false>(m, p.fill_sd, p.inv_tolerance, p.limit);
        let missing =
            if lower { excess(p.lo - p.fill_mean) } else { 0.0 } + if upper { excess(p.fill_mean - p.hi) } else { 0.0 };
        Sieve {
            lo: if lower { p.lo } else { f32::NEG_INFINITY },
            hi: if upper { p.hi } else { f32::INFINITY },
            inv_tolerance: p.inv_tolerance,
            limit: p.limit,
            weight: p.weight,
            missing_weight: p.missing_weight,
            missing_least: missing,
        }
    }
}

/// a b + c, fused where the caller was compiled for a processor that can.
#[inline(always)]
pub(crate) fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// c0 + c1 x + … by Estrin's scheme, which waits less than Horner's: pairs first, then pairs of pairs.
#[inline(always)]
fn polynomial<const FUSED: bool, const N: usize>(c: &[f32; N], x: f32) -> f32 {
    let pair = |at: usize| if at + 1 < N { fma::<FUSED>(c[at + 1], x, c[at]) } else { c[at] };
    let x2 = x * x;
    let low = fma::<FUSED>(pair(2), x2, pair(0));
    if N <= 4 {
        return low;
    }
    let high = if N <= 6 { pair(4) } else { fma::<FUSED>(pair(6), x2, pair(4)) };
    fma::<FUSED>(high, x2 * x2, low)
}

/// The larger of two numbers: one instruction, since neither is NaN.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The smaller of two numbers.
#[inline(always)]
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// 2^x for -120 <= x <= 0, without a branch.
#[inline(always)]
fn exp2<const FUSED: bool>(x: f32) -> f32 {
    // adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits
    const ROUND: f32 = 12_582_912.0;
    let shifted = x + ROUND;
    let fraction = x - (shifted - ROUND);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    polynomial::<FUSED, 7>(&EXP2, fraction) * power
}

/// E[max(Y, 0)²] in squared tolerances for Y ~ Normal(`m`, `sd`), both in the column's unit. Branch-free.
#[inline(always)]
pub(crate) fn squared_excess<const FUSED: bool>(m: f32, sd: f32, inv_tolerance: f32, limit: f32) -> f32 {
    let size = m.abs();
    let z = size / larger(larger(sd, size * (1.0 / LARGEST_Z)), SMALLEST_DIVISOR);
    let half = exp2::<FUSED>(z * z * (-0.25 * std::f32::consts::LOG2_E));
    let deviation = smaller(sd, limit) * inv_tolerance;
    let root = deviation * half;
    // what cannot reach the floor is cut before its square underflows: subnormal numbers are slow
    let root = if root < SMALLEST_ROOT { 0.0 } else { root };
    let tail = root * root * (polynomial::<FUSED, 4>(&TAIL_P, z) / polynomial::<FUSED, 7>(&TAIL_Q, z));
    let distance = smaller(size, limit) * inv_tolerance;
    let above = fma::<FUSED>(distance, distance, fma::<FUSED>(deviation, deviation, -tail));
    if m > 0.0 { above } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal::expected_squared_excess;

    fn errors(m: f32, sd: f32) -> (f64, f64, f64) {
        let plain = squared_excess::<false>(m, sd, 1.0, LARGEST_DISTANCE);
        let fused = squared_excess::<true>(m, sd, 1.0, LARGEST_DISTANCE);
        let truth = expected_squared_excess(f64::from(m), f64::from(sd));
        let error = [plain, fused].iter().map(|&found| (f64::from(found) - truth).abs()).fold(0.0, f64::max);
        assert!(plain >= 0.0 && fused >= 0.0 && error.is_finite(), "m {m:e} sd {sd:e}: {plain} {fused}");
        (truth, error, error / truth)
    }

    /// |z| up to 18 in small steps, deviations of 1e-6 to 1e6 tolerances.
    #[test]
    fn f32_keeps_its_bounds_over_a_dense_grid() {
        let (mut worst_absolute, mut worst_relative) = (0f64, 0f64);
        for exponent in -24..=24 {
            let sd = 10f32.powf(exponent as f32 / 4.0);
            for step in -18_000..=18_000 {
                let (truth, error, relative) = errors(step as f32 / 1000.0 * sd, sd);
                if truth >= crate::reference::FLOOR {
                    worst_relative = worst_relative.max(relative);
                }
                if sd <= 100.0 {
                    worst_absolute = worst_absolute.max(error / truth.max(1.0));
                }
            }
        }
        assert!(worst_absolute < 2e-6, "absolute error {worst_absolute:e}");
        assert!(worst_relative < 1e-4, "relative error {worst_relative:e}");
    }

    /// Rounding of the input is not amplified: the difference to a window's end is exact to half a unit.
    #[test]
    fn small_deviations_of_large_means_keep_the_relative_bound() {
        for sd in [1e-4f32, 1e-3, 1e-2, 1.0] {
            for step in -2000..2000 {
                let mean = 1.0f32 + step as f32 * sd / 100.0;
                let m = 1.0 - mean;
                let (truth, _, relative) = errors(m, sd);
                assert!(truth < crate::reference::FLOOR || relative < 1e-4, "mean {mean} sd {sd}: {relative:e}");
            }
        }
    }

    #[test]
    fn without_deviation_it_is_the_squared_distance() {
        for m in [0.0f32, 1e-20, 0.3, 1.0, 7.5, 1e9, 1e18] {
            for m in [m, -m] {
                let found = squared_excess::<false>(m, 0.0, 1.0, LARGEST_DISTANCE);
                assert_eq!(found, m.max(0.0) * m.max(0.0));
            }
        }
    }

    #[test]
    fn extremes_are_finite_and_not_negative() {
        let extremes = [0.0, 1e-45, 1e-38, 1e-30, 1e-18, 1e-6, 1.0, 1e6, 1e18, 1e30, 3e30];
        for m in extremes.iter().flat_map(|&m| [m, -m]) {
            for sd in extremes {
                for inv in [1e-18f32, 1e-6, 1.0, 1e6, 1e18] {
                    let limit = (1e18 / f64::from(inv)) as f32;
                    for found in [squared_excess::<false>(m, sd, inv, limit), squared_excess::<true>(m, sd, inv, limit)]
                    {
                        assert!((0.0..4e36).contains(&found), "m {m:e} sd {sd:e} inv {inv:e}: {found}");
                    }
                }
            }
        }
    }
}
