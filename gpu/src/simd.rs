//! The inner loops of the CPU twin, compiled once for each instruction set and chosen at run time.

// The dispatchers that `multiversion` generates call functions with extra target features through `unsafe`, after checking
// that the processor has them. Nothing else here is unsafe.
#![allow(unsafe_code)]

use multiversion::multiversion;

use crate::Column;
use crate::kernel::{FLOOR_F32, LOWER, Sieve, TargetParams, UPPER, larger, smaller, squared_excess};
use crate::topk::LEFT_OUT;

/// Adds one target's weighted shortfalls to `sum` and its weights to `weight`, for as many rows as `sum` has.
pub(crate) fn add_target(mean: &[f32], sd: &[f32], params: &TargetParams, sum: &mut [f32], weight: &mut [f32]) {
    if fused() { add_fused(mean, sd, params, sum, weight) } else { add_plain::<false>(mean, sd, params, sum, weight) }
}

/// Turns sums into score bits; rows of weight 0 are left out.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn finish(sum: &[f32], weight: &[f32], bits: &mut [u32]) {
    for ((sum, weight), bits) in sum.iter().zip(weight).zip(bits) {
        let score = (sum / weight).to_bits();
        *bits = if *weight > 0.0 { score } else { LEFT_OUT };
    }
}

/// Adds what one target's weighted shortfalls are at least to `sum`, by the means alone. Where rows with and without a value have
/// different weights, it adds to `limit` what the sum may be for a row that scores up to `allowed`.
pub(crate) fn add_least(mean: &[f32], sieve: &Sieve, allowed: f32, sum: &mut [f32], limit: &mut [f32]) {
    if sieve.weight == sieve.missing_weight {
        add_least_of(mean, sieve, sum);
    } else {
        add_least_and_limit(mean, sieve, allowed, sum, limit);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add_least_of(mean: &[f32], sieve: &Sieve, sum: &mut [f32]) {
    let s = *sieve;
    for (&mean, sum) in mean.iter().zip(sum) {
        *sum += s.weight * least(mean, &s);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add_least_and_limit(mean: &[f32], sieve: &Sieve, allowed: f32, sum: &mut [f32], limit: &mut [f32]) {
    let s = *sieve;
    for ((&mean, sum), limit) in mean.iter().zip(sum).zip(limit) {
        let weight = if mean > Column::LIMIT { s.missing_weight } else { s.weight };
        *sum += weight * least(mean, &s);
        *limit += weight * allowed;
    }
}

/// What the squared shortfall of a row is at least.
#[inline(always)]
fn least(mean: f32, s: &Sieve) -> f32 {
    let outside = larger(larger(s.lo - mean, mean - s.hi), 0.0);
    let distance = smaller(outside, s.limit) * s.inv_tolerance;
    if mean > Column::LIMIT { s.missing_least } else { distance * distance }
}

/// Which of up to 64 numbers are not above their limits, as bits; what nothing counts for has no limit, and is none of them.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn not_above(sum: &[f32], limit: &[f32]) -> u64 {
    let mut bytes = [0u8; 64];
    for ((byte, sum), limit) in bytes.iter_mut().zip(sum).zip(limit) {
        *byte = u8::from(sum <= limit) & u8::from(*limit > 0.0);
    }
    // the product moves the lowest bit of byte k to bit 56 + k
    let bits = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    bytes.as_chunks::<8>().0.iter().enumerate().map(|(at, eight)| bits(eight) << (8 * at)).sum()
}

/// The instruction set that the loops run with.
pub(crate) fn level() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl")
            && fused()
        {
            "avx512"
        } else if fused() {
            "avx2"
        } else {
            "sse2"
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        "neon"
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        "scalar"
    }
}

/// Whether a fused multiply-add is one instruction: where it is not, it would be a slow call.
#[inline]
fn fused() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        cfg!(target_arch = "aarch64")
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_fused(mean: &[f32], sd: &[f32], params: &TargetParams, sum: &mut [f32], weight: &mut [f32]) {
    add_plain::<true>(mean, sd, params, sum, weight);
}

#[inline(always)]
fn add_plain<const FUSED: bool>(mean: &[f32], sd: &[f32], params: &TargetParams, sum: &mut [f32], weight: &mut [f32]) {
    let p = *params;
    let excess = |m, sd| squared_excess::<FUSED>(m, sd, p.inv_tolerance, p.limit);
    match p.sides {
        LOWER => add(mean, sd, p, sum, weight, |mean, sd| excess(p.lo - mean, sd)),
        UPPER => add(mean, sd, p, sum, weight, |mean, sd| excess(mean - p.hi, sd)),
        0 => add(mean, sd, p, sum, weight, |_, _| 0.0),
        _ => add(mean, sd, p, sum, weight, |mean, sd| excess(p.lo - mean, sd) + excess(mean - p.hi, sd)),
    }
}

#[inline(always)]
fn add(
    mean: &[f32],
    sd: &[f32],
    p: TargetParams,
    sum: &mut [f32],
    weight: &mut [f32],
    shortfall: impl Fn(f32, f32) -> f32,
) {
    for (((&mean, &sd), sum), weight) in mean.iter().zip(sd).zip(sum).zip(weight) {
        let missing = sd < 0.0;
        let mean = if missing { p.fill_mean } else { mean };
        let sd = if missing { p.fill_sd } else { sd };
        let counted = if missing { p.missing_weight } else { p.weight };
        let shortfall = shortfall(mean, sd);
        let shortfall = if shortfall < FLOOR_F32 { 0.0 } else { shortfall };
        *sum += counted * shortfall;
        *weight += counted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row's score does not depend on where in a block it stands: that is what makes answers independent of masks,
    /// tasks and threads.
    #[test]
    fn a_row_scores_the_same_at_every_place() {
        let rows = 77;
        let mean: Vec<f32> = (0..rows).map(|row| (row as f32 * 0.37).sin() * 5.0).collect();
        let sd: Vec<f32> = (0..rows).map(|row| (row % 7) as f32 * 0.3 - 0.3).collect();
        for sides in 0..4 {
            let params = TargetParams {
                lo: -1.0,
                hi: 2.0,
                inv_tolerance: 1.5,
                limit: 1e17,
                weight: 0.7,
                missing_weight: 0.7,
                fill_mean: 4.0,
                fill_sd: 0.5,
                sides,
                ..TargetParams::default()
            };
            let (mut sum, mut weight) = (vec![0.0; rows], vec![0.0; rows]);
            add_target(&mean, &sd, &params, &mut sum, &mut weight);
            for row in 0..rows {
                let (mut one, mut counted) = ([0.0], [0.0]);
                add_target(&mean[row..=row], &sd[row..=row], &params, &mut one, &mut counted);
                assert_eq!((sum[row].to_bits(), weight[row]), (one[0].to_bits(), counted[0]), "row {row}");
            }
        }
    }

    #[test]
    fn bits_say_which_numbers_are_not_above_their_limits() {
        for count in [0, 1, 7, 8, 9, 63, 64] {
            let sum: Vec<f32> = (0..count).map(|at| (at * 37 % 11) as f32).collect();
            let limit: Vec<f32> = (0..count).map(|at| (at % 8) as f32).collect();
            let word = not_above(&sum, &limit);
            for at in 0..64 {
                let wanted = at < count && sum[at] <= limit[at] && limit[at] > 0.0;
                assert_eq!(word >> at & 1 == 1, wanted, "{at} of {count}");
            }
        }
    }

    #[test]
    fn rows_that_nothing_counts_for_are_left_out() {
        let mut bits = [0; 3];
        finish(&[0.0, 0.0, 6.0], &[0.0, 1.0, 2.0], &mut bits);
        assert_eq!(bits, [LEFT_OUT, 0, 3f32.to_bits()]);
    }
}
