//! How long does one query take? `cargo run --release -p matgenome-gpu --example spec_timing -- [device ...]`

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Instant;

use matgenome_gpu::{Choice, Column, Device, Mask, Missing, SpecQuery, Target};

const ROWS: usize = 425_000;

fn main() {
    let devices: Vec<String> = std::env::args().skip(1).collect();
    let devices = if devices.is_empty() { vec!["cpu".to_owned()] } else { devices };
    let mut state = 7u64;
    let mut noise = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let columns: Vec<_> = (0..12)
        .map(|_| {
            let (mean, sd) =
                (0..ROWS).map(|_| (4.0 * noise(), if noise() < 0.25 { -1.0 } else { 0.3 * noise() })).unzip();
            Column::new(mean, sd).unwrap()
        })
        .collect();
    let half = Mask::from_fn(ROWS, |_| noise() < 0.5);
    let few = Mask::from_fn(ROWS, |_| noise() < 0.01);
    let targets: Vec<Target> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| Target {
            column: column.clone(),
            lo: if at % 3 == 1 { f32::NEG_INFINITY } else { 1.0 },
            hi: if at % 3 == 0 { f32::INFINITY } else { 2.0 },
            inv_tolerance: 1.0,
            weight: 1.0,
            missing: Missing::Fill { mean: 2.0, sd: 1.0 },
        })
        .collect();
    println!("{ROWS} rows; fastest and median of 30, ms");
    println!("{:<48} {:>8} {:>6} {:>7} {:>17} {:>17}", "device", "targets", "mask", "k", "f32", "exact");
    for name in devices {
        let device = Device::open(&name.parse::<Choice>().unwrap()).unwrap();
        device.warm_up(&columns).unwrap();
        for (targets, mask, label, k) in [
            (&targets[..3], Some(&half), "50%", 100),
            (&targets[..3], None, "none", 100),
            (&targets[..3], Some(&few), "1%", 100),
            (&targets[..3], Some(&half), "50%", 10_000),
            (&targets[..12], Some(&half), "50%", 100),
        ] {
            let query = SpecQuery { targets, mask, k };
            let in_f32 = times(|| drop(device.spec(&query).unwrap()));
            let exact = times(|| drop(device.exact(&query).unwrap()));
            println!("{:<48} {:>8} {label:>6} {k:>7} {in_f32:>17} {exact:>17}", device.name(), targets.len());
        }
    }
}

fn times(mut work: impl FnMut()) -> String {
    let mut times: Vec<f64> = (0..30)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    format!("{:.2} {:.2}", times[0], times[times.len() / 2])
}
