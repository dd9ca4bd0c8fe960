//! What this machine can do at most: bytes read from memory and f32 operations a second, on all threads. For
//! `benches/search.py`. `limits [THREADS]`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
// the dispatcher that `multiversion` generates
#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use multiversion::multiversion;
use rayon::prelude::*;

/// Far more than caches hold.
const FLOATS: usize = 256 << 20;
const STEPS: usize = 20_000_000;

fn main() {
    let threads = std::env::args().nth(1).map_or(0, |text| text.parse().expect("a number of threads"));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("threads");
    let threads = rayon::current_num_threads();
    let numbers: Vec<f32> = (0..FLOATS).into_par_iter().map(|at| at as f32).collect();
    let read = best(|| {
        let sum: f32 = numbers.par_chunks(1 << 16).map(sum).sum();
        black_box(sum);
    });
    let operations = best(|| {
        (0..threads).into_par_iter().with_max_len(1).for_each(|at| {
            black_box(multiply_add(black_box(at as f32)));
        });
    });
    println!("{:.2} GB/s", 4.0 * FLOATS as f64 / read / 1e9);
    println!("{:.1} GFLOP/s", (2 * LANES * STEPS * threads) as f64 / operations / 1e9);
}

fn best(mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..5).map(time).fold(f64::INFINITY, f64::min)
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn sum(numbers: &[f32]) -> f32 {
    let (chunks, _) = numbers.as_chunks::<64>();
    let mut sums = [0f32; 64];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x;
        }
    }
    sums.iter().sum()
}

/// Independent sums: enough of them to fill all units while one waits.
const LANES: usize = 192;

#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn multiply_add(start: f32) -> f32 {
    let mut sums = [start; LANES];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = sum.mul_add(0.999, 0.001);
        }
    }
    sums.iter().sum()
}
