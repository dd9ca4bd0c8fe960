//! One suite for every device: CPU and adapter answer seeded random queries, and the f64 reference judges.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::{Case, Random, adapter, conforms, place};
use matgenome_gpu::{Choice, Column, Device, GpuError, Hit, Mask, Missing, SpecQuery, Target, reference};
use proptest::prelude::*;

const SEEDS: std::ops::Range<u64> = 0..250;

fn hits(device: &Device, query: &SpecQuery) -> Vec<(u32, u32)> {
    device.spec(query).unwrap().hits.iter().map(place).collect()
}

#[test]
fn the_cpu_conforms() {
    for seed in SEEDS {
        conforms(&Device::cpu(), &Case::random(seed), &format!("CPU, seed {seed}"));
    }
}

#[test]
fn the_adapter_conforms() {
    let Some(device) = adapter(None) else { return };
    for seed in SEEDS {
        conforms(&device, &Case::random(seed), &format!("{}, seed {seed}", device.name()));
    }
}

#[test]
fn the_adapter_conforms_in_small_segments() {
    let Some(device) = adapter(Some(1000)) else { return };
    for seed in SEEDS.step_by(3) {
        conforms(&device, &Case::random(seed), &format!("{} in segments, seed {seed}", device.name()));
    }
}

#[test]
fn many_rows_conform() {
    let device = adapter(None);
    for seed in 0..2 {
        let mut random = Random::new(9000 + seed);
        let case = Case::of(300_000 - seed as usize * 17, &mut random);
        for device in device.iter().chain([&Device::cpu()]) {
            conforms(device, &case, &format!("{}, many rows {seed}", device.name()));
        }
    }
}

/// Asking for more never changes what came first, and everything is a full sort of the device's own scores.
#[test]
fn fewer_answers_are_the_first_of_more() {
    let device = adapter(Some(4096));
    for seed in 500..540 {
        let case = Case::random(seed);
        for device in device.iter().chain([&Device::cpu()]) {
            let all = hits(device, &SpecQuery { k: case.rows, ..case.query() });
            assert!(all.is_sorted());
            for k in [0, 1, 2, 7, 64, 100, 1000, case.rows / 2, case.rows, case.rows + 1, usize::MAX] {
                let some = hits(device, &SpecQuery { k, ..case.query() });
                assert_eq!(some, all[..k.min(all.len())], "{}, seed {seed}, k {k}", device.name());
            }
        }
    }
}

#[test]
fn answers_do_not_depend_on_segments() {
    let devices: Vec<Device> = [None, Some(64), Some(1000), Some(65_536)].into_iter().map_while(adapter).collect();
    for seed in 600..630 {
        let mut random = Random::new(seed);
        let rows = 1 + random.below(3000);
        let case = Case::of(rows, &mut random);
        for pair in devices.windows(2) {
            assert_eq!(hits(&pair[0], &case.query()), hits(&pair[1], &case.query()), "seed {seed}");
        }
    }
}

#[test]
fn answers_do_not_depend_on_threads() {
    for seed in 700..712 {
        let mut random = Random::new(seed);
        let rows = 100_000 + random.below(50_000);
        let case = Case::of(rows, &mut random);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| hits(&Device::cpu(), &case.query()))
        };
        let one = with(1);
        for threads in [2, 3, 8] {
            assert_eq!(with(threads), one, "seed {seed}, {threads} threads");
        }
    }
}

/// A row's score is its own: leaving other rows out does not change it, gathered or not.
#[test]
fn answers_of_a_mask_are_the_allowed_part_of_all() {
    let device = adapter(None);
    for (seed, density) in (800..).zip([0.001, 0.02, 0.2, 0.4, 0.7, 0.99]) {
        let mut random = Random::new(seed);
        let case = Case { mask: None, k: usize::MAX, ..Case::of(20_000, &mut random) };
        let mask = Mask::from_fn(case.rows, |_| random.chance(density));
        for device in device.iter().chain([&Device::cpu()]) {
            let allowed: Vec<_> =
                hits(device, &case.query()).into_iter().filter(|&(_, row)| mask.get(row as usize)).collect();
            let masked = hits(device, &SpecQuery { mask: Some(&mask), ..case.query() });
            assert_eq!(masked, allowed, "{}, density {density}", device.name());
        }
    }
}

fn one_target(mean: Vec<f32>, sd: Vec<f32>, lo: f32, hi: f32, inv_tolerance: f32) -> Target {
    let column = Column::new(mean, sd).unwrap();
    Target { column, lo, hi, inv_tolerance, weight: 1.0, missing: Missing::Ignore }
}

/// The bounds of f32, on a grid of z = |m|/sd and of deviations from 1e-6 to 1e6 tolerances.
#[test]
fn scores_keep_their_bounds_over_a_grid() {
    let (mut mean, mut sd) = (Vec::new(), Vec::new());
    for exponent in -12..=12 {
        let deviation = 10f32.powf(exponent as f32 / 2.0);
        for step in -1800..=1800 {
            mean.push(step as f32 / 100.0 * deviation);
            sd.push(deviation);
        }
    }
    let device = adapter(None);
    for (lo, hi) in [(0.0, f32::INFINITY), (f32::NEG_INFINITY, 0.0), (0.0, 0.0), (-0.7, 1.3)] {
        let targets = [one_target(mean.clone(), sd.clone(), lo, hi, 1.0)];
        for device in device.iter().chain([&Device::cpu()]) {
            let answer = device.spec(&SpecQuery { targets: &targets, mask: None, k: mean.len() }).unwrap();
            assert_eq!(answer.hits.len(), mean.len());
            let (mut absolute, mut relative) = (0f64, 0f64);
            for hit in &answer.hits {
                let row = hit.row as usize;
                let truth = reference::score(&targets, row).unwrap();
                let error = (f64::from(hit.score) - truth).abs();
                if truth > 2.01e-20 {
                    relative = relative.max(error / truth);
                }
                if sd[row] <= 101.0 {
                    absolute = absolute.max(error / truth.max(1.0));
                }
            }
            eprintln!("{} [{lo}, {hi}]: absolute {absolute:.1e}, relative {relative:.1e}", device.name());
            assert!(absolute < 2e-6, "{}: {absolute:e}", device.name());
            assert!(relative < 1e-4, "{}: {relative:e}", device.name());
        }
    }
}

/// Absurd numbers saturate; they are never NaN, and never come before sane ones.
#[test]
fn absurd_numbers_come_last() {
    let device = adapter(None);
    let mean = vec![1e30, -1e30, 1e18, -1e18, 0.0, 1.0, 2.0, 1e-45, -1e-38, 5.0];
    let sd = vec![0.0, 1e30, 1e18, 1e-30, 0.0, 1e-45, 1e-38, 0.0, 0.0, -1.0];
    for inv_tolerance in [1e-18, 1.0, 1e18] {
        for (lo, hi) in [(1.5, f32::INFINITY), (f32::NEG_INFINITY, -3e38), (-2.0, 2.0), (3e38, f32::INFINITY)] {
            let targets = [one_target(mean.clone(), sd.clone(), lo, hi, inv_tolerance)];
            for device in device.iter().chain([&Device::cpu()]) {
                let query = SpecQuery { targets: &targets, mask: None, k: 20 };
                let answer = device.spec(&query).unwrap();
                assert_eq!(answer.hits.len(), 9, "{}", device.name());
                assert!(answer.hits.iter().all(|hit| (0.0..1e37).contains(&hit.score)), "{answer:?}");
                let rows = |hits: Vec<(f64, u32)>| hits.into_iter().map(|(_, row)| row).collect::<Vec<_>>();
                assert_eq!(
                    rows(device.exact(&query).unwrap().hits),
                    rows(reference::rank(&query)),
                    "{}",
                    device.name()
                );
            }
        }
    }
}

#[test]
fn ties_go_by_row_number() {
    let device = adapter(Some(640));
    let rows = 30_000;
    let targets = [one_target(vec![1.0; rows], vec![0.25; rows], 2.0, f32::INFINITY, 1.0)];
    let mask = Mask::from_fn(rows, |row| row % 3 == 1);
    for device in device.iter().chain([&Device::cpu()]) {
        for k in [1, 10, 333, 9_999, 10_000, 10_001] {
            let answer = device.spec(&SpecQuery { targets: &targets, mask: Some(&mask), k }).unwrap();
            let found: Vec<usize> = answer.hits.iter().map(|hit| hit.row as usize).collect();
            assert_eq!(found, mask.iter_ones().take(k).collect::<Vec<_>>(), "{}, k {k}", device.name());
        }
    }
}

#[test]
fn nothing_to_answer_is_an_empty_answer() {
    let device = adapter(None);
    let targets = [one_target(vec![1.0; 100], vec![-1.0; 100], 0.0, 1.0, 1.0)];
    let valued = [one_target(vec![1.0; 100], vec![0.0; 100], 0.0, 1.0, 1.0)];
    let none = [one_target(vec![], vec![], 0.0, 1.0, 1.0)];
    let mask = Mask::none(100);
    for device in device.iter().chain([&Device::cpu()]) {
        for query in [
            SpecQuery { targets: &targets, mask: None, k: 5 },
            SpecQuery { targets: &valued, mask: Some(&mask), k: 5 },
            SpecQuery { targets: &valued, mask: None, k: 0 },
            SpecQuery { targets: &none, mask: None, k: 5 },
        ] {
            assert_eq!(device.spec(&query).unwrap().hits, vec![], "{}", device.name());
            assert_eq!(device.exact(&query).unwrap().hits, vec![], "{}", device.name());
        }
    }
}

#[test]
fn an_unknown_device_is_an_error_that_lists_what_there_is() {
    match Device::open(&"no such device".parse::<Choice>().unwrap()) {
        Err(GpuError::NoAdapter { found, .. }) => assert_eq!(found.len(), matgenome_gpu::adapters().len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn auto_never_takes_a_software_adapter() {
    let report = Device::open(&Choice::Auto).unwrap().describe();
    assert!(report.kind != "software", "{report:?}");
    if report.kind == "CPU" {
        assert!(report.note.is_some(), "the CPU was not asked for, so there is a reason");
    }
}

#[test]
fn a_device_is_described() {
    assert!(Device::cpu().name().starts_with("CPU ("));
    assert_eq!(Device::cpu().describe().note, None);
    if let Some(device) = adapter(Some(6400)) {
        let report = device.describe();
        assert_eq!((report.segment_rows, report.note, report.name.as_str()), (Some(6400), None, device.name()));
    }
}

/// Threads may share a device.
#[test]
fn many_threads_ask_at_once() {
    let Some(device) = adapter(Some(2048)) else { return };
    let case = Case::of(9000, &mut Random::new(77));
    let alone = hits(&device, &case.query());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let other = Case::of(5000, &mut Random::new(78));
                device.exact(&other.query()).unwrap();
                assert_eq!(hits(&device.clone(), &case.query()), alone);
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The order of the targets, and a common factor of all weights, hardly matter: f64 decides alike up to rounding.
    #[test]
    fn weights_are_relative(seed in 1000u64..100_000, factor in 0.01f32..100.0) {
        let mut random = Random::new(seed);
        let rows = 1 + random.below(500);
        let case = Case::of(rows, &mut random);
        let mut scaled = case.targets.clone();
        scaled.iter_mut().for_each(|target| target.weight *= factor);
        scaled.reverse();
        let before = Device::cpu().spec(&SpecQuery { k: rows, ..case.query() }).unwrap().hits;
        let after = Device::cpu().spec(&SpecQuery { targets: &scaled, k: rows, ..case.query() }).unwrap().hits;
        let by_row = |mut hits: Vec<Hit>| { hits.sort_by_key(|hit| hit.row); hits };
        for (a, b) in by_row(before).into_iter().zip(by_row(after)) {
            prop_assert_eq!(a.row, b.row);
            prop_assert!((a.score - b.score).abs() <= 1e-5 * a.score.max(b.score));
        }
    }

    /// A wider window never scores worse.
    #[test]
    fn a_wider_window_is_nearer(mean in -10f32..10.0, sd in 0f32..3.0, lo in -10f32..10.0, width in 0f32..5.0, more in 0f32..5.0) {
        let narrow = [one_target(vec![mean], vec![sd], lo, lo + width, 1.0)];
        let wide = [one_target(vec![mean], vec![sd], lo - more, lo + width + more, 1.0)];
        let score = |targets: &[Target]| Device::cpu().spec(&SpecQuery { targets, mask: None, k: 1 }).unwrap().hits[0].score;
        prop_assert!(score(&wide) <= score(&narrow) * (1.0 + 1e-5));
    }
}
