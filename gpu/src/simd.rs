//! The inner loops of the CPU twin, compiled once for each instruction set and chosen at run time.

// The dispatchers that `multiversion` generates call functions with extra target features through `unsafe`, after checking
// that the processor has them. Nothing else here is unsafe.
#![allow(unsafe_code)]

use multiversion::multiversion;

use crate::kernel::{FLOOR_F32, LOWER, TargetParams, UPPER, squared_excess};
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
    fn rows_that_nothing_counts_for_are_left_out() {
        let mut bits = [0; 3];
        finish(&[0.0, 0.0, 6.0], &[0.0, 1.0, 2.0], &mut bits);
        assert_eq!(bits, [LEFT_OUT, 0, 3f32.to_bits()]);
    }
}
