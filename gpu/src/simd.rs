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

/// Which rows may score up to `allowed`, by the means of their targets alone: one byte a row, 1 where it may. `means` has a slice
/// of as many rows for each sieve.
pub(crate) fn sift(means: &[&[f32]], sieves: &[Sieve], allowed: f32, may: &mut [u8], room: &mut Room) {
    match (means, sieves) {
        (&[a], &[s]) => sift_at_once([a], [s], allowed, may),
        (&[a, b], &[s, t]) => sift_at_once([a, b], [s, t], allowed, may),
        (&[a, b, c], &[s, t, u]) => sift_at_once([a, b, c], [s, t, u], allowed, may),
        (&[a, b, c, d], &[s, t, u, v]) => sift_at_once([a, b, c, d], [s, t, u, v], allowed, may),
        _ => {
            let (sum, limit) = (&mut room.sum[..may.len()], &mut room.limit[..may.len()]);
            sum.fill(0.0);
            limit.fill(0.0);
            for (mean, sieve) in means.iter().zip(sieves) {
                add_least(mean, sieve, allowed, sum, limit);
            }
            not_above(sum, limit, may);
        }
    }
}

/// Sums of many targets.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) sum: Box<[f32]>,
    pub(crate) limit: Box<[f32]>,
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn sift_at_once<const N: usize>(means: [&[f32]; N], sieves: [Sieve; N], allowed: f32, may: &mut [u8]) {
    let means = means.map(|mean| &mean[..may.len()]);
    for (row, may) in may.iter_mut().enumerate() {
        let (mut sum, mut limit) = (0.0, 0.0);
        for at in 0..N {
            // numbers of their own, or else the choice between two would be one of addresses
            let Sieve { weight, missing_weight, .. } = sieves[at];
            let mean = means[at][row];
            let weight = if mean > Column::LIMIT { missing_weight } else { weight };
            sum += weight * least(mean, sieves[at]);
            limit += weight * allowed;
        }
        *may = passes(sum, limit);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add_least(mean: &[f32], sieve: &Sieve, allowed: f32, sum: &mut [f32], limit: &mut [f32]) {
    let s = *sieve;
    for ((&mean, sum), limit) in mean.iter().zip(sum).zip(limit) {
        let weight = if mean > Column::LIMIT { s.missing_weight } else { s.weight };
        *sum += weight * least(mean, s);
        *limit += weight * allowed;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn not_above(sum: &[f32], limit: &[f32], may: &mut [u8]) {
    for ((may, &sum), &limit) in may.iter_mut().zip(sum).zip(limit) {
        *may = passes(sum, limit);
    }
}

/// Whether a row may score what its limit stands for; what nothing counts for has no limit, and does not pass.
#[inline(always)]
fn passes(sum: f32, limit: f32) -> u8 {
    u8::from(sum <= limit) & u8::from(limit > 0.0)
}

/// What the squared shortfall of a row is at least.
#[inline(always)]
fn least(mean: f32, sieve: Sieve) -> f32 {
    let Sieve { lo, hi, inv_tolerance, limit, missing_least, .. } = sieve;
    let outside = larger(larger(lo - mean, mean - hi), 0.0);
    let distance = smaller(outside, limit) * inv_tolerance;
    if mean > Column::LIMIT { missing_least } else { distance * distance }
}

/// Up to 64 bytes that are 0 or 1, as bits.
#[inline(always)]
pub(crate) fn bits(bytes: &[u8]) -> u64 {
    // the product moves the lowest bit of byte k to bit 56 + k
    let of_eight = |eight: u64| eight.wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut last = [0u8; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = eights.iter().chain(std::iter::once(&last)).map(|eight| of_eight(u64::from_le_bytes(*eight)));
    words.take(8).enumerate().fold(0, |word, (at, bits)| word | bits << (8 * at))
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
    fn bytes_become_bits() {
        for count in [0, 1, 7, 8, 9, 63, 64] {
            let bytes: Vec<u8> = (0..count).map(|at| (at * 37 % 11 % 2) as u8).collect();
            let word = bits(&bytes);
            assert!((0..64).all(|at| word >> at & 1 == u64::from(bytes.get(at) == Some(&1))), "{count}");
        }
    }

    #[test]
    fn rows_that_nothing_counts_for_are_left_out() {
        let mut bits = [0; 3];
        finish(&[0.0, 0.0, 6.0], &[0.0, 1.0, 2.0], &mut bits);
        assert_eq!(bits, [LEFT_OUT, 0, 3f32.to_bits()]);
    }
}
