//! Columns in half precision, on devices that may not hold the data: the answers are what they are everywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::sync::Arc;

use common::{Case, Random, adapter, adapter_with, conforms, place};
use matgenome_gpu::{Column, Device, Hit, Mask, Missing, OpenOptions, SpecQuery, Target, reference};

fn short_of_memory(segment_rows: u32, memory_bytes: u64) -> Option<Device> {
    adapter_with(OpenOptions { segment_rows: Some(segment_rows), memory_bytes: Some(memory_bytes) })
}

#[test]
fn a_device_that_may_hold_nothing_conforms() {
    let Some(device) = short_of_memory(65_536, 1) else { return };
    for seed in 2000..2200 {
        conforms(&device, &Case::random(seed), &format!("memory of a byte, seed {seed}"));
    }
    let note = device.describe().note.unwrap_or_default();
    assert!(note.contains("half precision"), "{note}");
}

#[test]
fn a_device_that_may_hold_some_conforms() {
    let Some(device) = short_of_memory(1024, 100_000) else { return };
    for seed in 2200..2330 {
        conforms(&device, &Case::random(seed), &format!("little memory, seed {seed}"));
        assert!(device.describe().held_bytes.is_some_and(|bytes| bytes <= 100_000), "seed {seed}");
    }
}

const ROWS: usize = 40_000;

fn target(seed: u64, scale: f64, tolerance: f64) -> Target {
    let mut random = Random::new(seed);
    let belief = |_| {
        let mean = (0..6).map(|_| random.within(-1.0, 1.0)).sum::<f64>() + 3.0;
        let sd = if random.chance(0.2) { -1.0 } else { random.within(0.01, 0.2) };
        ((mean * scale) as f32, if sd < 0.0 { -1.0 } else { (sd * scale) as f32 })
    };
    let (mean, sd) = (0..ROWS).map(belief).unzip();
    Target {
        column: Column::new(mean, sd).unwrap(),
        lo: (6.0 * scale) as f32,
        hi: (7.0 * scale) as f32,
        inv_tolerance: (1.0 / (tolerance * scale)) as f32,
        weight: 1.0,
        missing: if seed.is_multiple_of(2) {
            Missing::Ignore
        } else {
            Missing::Fill { mean: (2.0 * scale) as f32, sd: scale as f32 }
        },
    }
}

/// With memory for half of the data, columns are held in half precision, stay there, and decide by themselves.
#[test]
fn half_of_the_memory_holds_all_columns() {
    let column = 8 * ROWS as u64;
    let Some(device) = short_of_memory(10_000, 2 * column) else { return };
    let targets: Vec<Target> = (0..4).map(|seed| target(seed, 10f64.powi(6 * seed as i32 - 9), 1.0)).collect();
    let mask = Mask::from_fn(ROWS, |row| row % 3 != 0);
    let ask = || {
        for (first, mask, k) in
            [(0, None, 20), (1, Some(&mask), 300), (2, None, 1), (3, Some(&mask), 40), (0, None, 2_000)]
        {
            let query = SpecQuery { targets: &targets[first..4.min(first + 2)], mask, k };
            let found = device.exact(&query).unwrap();
            assert_eq!((found.hits, found.note), (reference::rank(&query), None));
        }
        let query = SpecQuery { targets: &targets, mask: None, k: 100 };
        assert_eq!(device.exact(&query).unwrap().hits, reference::rank(&query));
    };
    ask();
    let before = device.describe();
    assert_eq!(before.held_bytes, Some(2 * column));
    assert_eq!(
        before.note.as_deref(),
        Some("device memory is smaller than the data: columns are held in half precision")
    );
    for _ in 0..5 {
        ask();
    }
    assert_eq!(device.describe(), before, "nothing is copied any more");
    // what there is room for again is held as it is
    device.release();
    let query = SpecQuery { targets: &targets[..2], mask: None, k: 9 };
    assert_eq!(device.exact(&query).unwrap().hits, reference::rank(&query));
    let described = device.describe();
    assert_eq!(
        (described.held_bytes, described.uploaded_bytes, described.note),
        (Some(2 * column), Some(2 * column), None)
    );
}

/// Tolerances far below what an f16 tells apart, values that an outlier makes all alike, many rows of one score, more wanted than
/// there are: single precision decides.
#[test]
fn what_half_precision_cannot_decide_is_decided_all_the_same() {
    let Some(device) = short_of_memory(10_000, 8 * ROWS as u64) else { return };
    let narrow = [target(1, 1.0, 1e-6), target(2, 1e3, 1e-6)];
    let wide = [target(3, 1.0, 1e-6), target(4, 1e3, 1e4)];
    let alike = Column::new(vec![0.3; ROWS], vec![0.1; ROWS]).unwrap();
    let ties = [
        Target { column: alike, lo: 1.0, hi: 2.0, inv_tolerance: 1.0, weight: 1.0, missing: Missing::Ignore },
        Target { weight: 1e-3, ..target(5, 1.0, 1.0) },
    ];
    let single = |target: &Target| Target { column: Arc::clone(&target.column), ..target.clone() };
    let inside: Vec<Target> =
        [6, 7].map(|seed| Target { lo: -1e6, hi: 1e6, ..single(&target(seed, 1.0, 1.0)) }).into_iter().collect();
    let mut outlier = target(8, 1.0, 1.0);
    let (mut mean, sd) = (outlier.column.mean().to_vec(), outlier.column.sd().to_vec());
    mean[777] = -1e6;
    outlier.column = Column::new(mean, sd).unwrap();
    for (name, targets) in [
        ("narrow", &narrow[..]),
        ("outlier", &[outlier]),
        ("one narrow", &wide),
        ("ties", &ties),
        ("all inside", &inside),
    ] {
        for k in [1, 150, ROWS / 2, ROWS + 5] {
            let query = SpecQuery { targets, mask: None, k };
            assert_eq!(device.exact(&query).unwrap().hits, reference::rank(&query), "{name}, k {k}");
        }
    }
}

/// Two devices, with memory and without, have the same best rows by f32, up to what kernels differ by.
#[test]
fn candidates_are_scored_as_by_the_cpu() {
    let (Some(short), cpu) = (short_of_memory(4096, 1), Device::cpu()) else { return };
    let mut decided = 0;
    for seed in 3000..3040 {
        let mut random = Random::new(seed);
        let rows = 1 + random.below(30_000);
        let case = Case::of(rows, &mut random);
        let query = SpecQuery { k: 1 + case.k % 100, ..case.query() };
        let [a, b]: [Vec<Hit>; 2] = [&short, &cpu].map(|device| device.spec(&query).unwrap().hits);
        // where single precision had to decide, scores are the device's own
        let same = a.iter().map(place).eq(b.iter().map(place));
        decided += usize::from(same);
        assert_eq!(a.len(), b.len());
    }
    assert!(decided > 10, "half precision has decided {decided} of 40");
    // the same device with all the memory it wants
    let Some(device) = adapter(None) else { return };
    let case = Case::of(5000, &mut Random::new(1));
    device.spec(&case.query()).unwrap();
    assert_eq!(device.describe().note, None);
}
