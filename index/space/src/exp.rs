//! The inner loops of encoders and regression, compiled once for each instruction set: e^x and what needs it very often, and products of
//! matrices with few columns. They give the same bits on every machine.

// The dispatchers that `multiversion` generates call functions with extra target features through `unsafe`, after checking
// that the processor has them. Nothing else here is unsafe.
#![allow(unsafe_code)]

use multiversion::multiversion;

/// e^x for x <= 0, to seven digits: 2^n times a polynomial of the rest. Below -83 it is some number under 1e-36.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let y = (x * std::f32::consts::LOG2_E).max(-120.0);
    let shifted = y + ROUND;
    let f = y - (shifted - ROUND);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let high = (0.000_153_458_12 * f + 0.001_339_993_1) * f + 0.009_618_489;
    power * ((((high * f + 0.055_503_29) * f + 0.240_226_47) * f + std::f32::consts::LN_2) * f + 1.0)
}

/// 1 / (1 + e^-x).
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let small = exp(-x.abs());
    (if x >= 0.0 { 1.0 } else { small }) / (1.0 + small)
}

/// x → x · sigmoid(x).
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn silu(values: &mut [f32]) {
    for x in values {
        *x *= sigmoid(*x);
    }
}

/// Adds to `slots` the gradients of [`silu`] at `values`, times those that came back.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn silu_back(slots: &mut [f32], gradients: &[f32], values: &[f32]) {
    for ((slot, g), x) in slots.iter_mut().zip(gradients).zip(values) {
        let s = sigmoid(*x);
        *slot += g * s * (1.0 + x * (1.0 - s));
    }
}

/// Products of one with many → e^(-distance · per_length), from their squares.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn likeness(products: &mut [f32], squares: &[f32], own: f32, per_length: f32) {
    for (x, square) in products.iter_mut().zip(squares) {
        *x = exp((own + square - 2.0 * *x).max(0.0).sqrt() * -per_length);
    }
}

/// Right sides that are multiplied in one go.
pub(crate) const SIDES: usize = 16;

/// Rows of a matrix, `columns` numbers each, times a matrix of [`SIDES`] columns.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn times(rows: &[f32], columns: usize, right: &[[f32; SIDES]], out: &mut [[f32; SIDES]]) {
    const ROWS: usize = 4;
    for (rows, out) in rows.chunks(ROWS * columns).zip(out.chunks_mut(ROWS)) {
        // of the last rows some are there twice
        let row = |at: usize| &rows[at.min(out.len() - 1) * columns..][..columns];
        let rows: [&[f32]; ROWS] = [row(0), row(1), row(2), row(3)];
        let mut sums = [[0f32; SIDES]; ROWS];
        for (at, right) in right[..columns].iter().enumerate() {
            for (sums, row) in sums.iter_mut().zip(rows) {
                let x = row[at];
                (0..SIDES).for_each(|side| sums[side] += x * right[side]);
            }
        }
        out.copy_from_slice(&sums[..out.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        for step in 0..10_000 {
            let x = -0.008 * step as f32;
            let (found, truth) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found - truth).abs() <= 1e-5 * truth, "{x}: {found} {truth}");
        }
        assert!(exp(-1e30) < 1e-30 && exp(0.0) == 1.0);
    }

    #[test]
    fn products_are_those_of_all_rows() {
        for (rows, columns) in [(1, 1), (3, 5), (4, 7), (9, 33)] {
            let left: Vec<f32> = (0..rows * columns).map(|at| (at % 11) as f32 - 5.0).collect();
            let right: Vec<[f32; SIDES]> =
                (0..columns).map(|at| std::array::from_fn(|side| (at * 7 + side) as f32 % 13.0)).collect();
            let mut out = vec![[f32::NAN; SIDES]; rows];
            times(&left, columns, &right, &mut out);
            for (row, out) in out.iter().enumerate() {
                for (side, found) in out.iter().enumerate() {
                    let truth: f32 = (0..columns).map(|at| left[row * columns + at] * right[at][side]).sum();
                    assert_eq!(*found, truth, "small whole numbers are exact");
                }
            }
        }
    }

    #[test]
    fn silu_and_its_gradient_are_right_far_out_too() {
        for step in -1000..=1000 {
            let x = 0.1 * step as f32;
            let s = 1.0 / (1.0 + (-f64::from(x)).exp());
            let mut one = [x];
            silu(&mut one);
            assert!((f64::from(one[0]) - f64::from(x) * s).abs() < 1e-5 * (1.0 + f64::from(x).abs()), "{x}: {one:?}");
            let mut slot = [0.5];
            silu_back(&mut slot, &[2.0], &[x]);
            let truth = 0.5 + 2.0 * s * (1.0 + f64::from(x) * (1.0 - s));
            assert!((f64::from(slot[0]) - truth).abs() < 1e-4, "{x}: {slot:?} {truth}");
        }
    }
}
