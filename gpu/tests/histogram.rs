//! Histograms against counts by hand, on the CPU and on the adapter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[allow(dead_code)]
mod common;

use common::{Random, adapter};
use matgenome_gpu::{Column, Device, GpuError, HistogramQuery, MAX_EDGES, Mask};

#[test]
fn every_row_is_in_the_bin_of_its_mean() {
    let devices: Vec<Device> =
        [Some(Device::cpu()), adapter(Some(1000)), adapter(None)].into_iter().flatten().collect();
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let rows = random.pick(&[0, 1, 63, 64, 700, 5000, 70_001]);
        let few = random.chance(0.3);
        let mean = |random: &mut Random| if few { random.below(9) as f32 } else { random.within(-3.0, 12.0) as f32 };
        let means: Vec<f32> = (0..rows).map(|_| mean(&mut random)).collect();
        let sds = (0..rows).map(|_| if random.chance(0.2) { -1.0 } else { random.unit() as f32 }).collect();
        let column = Column::new(means, sds).unwrap();
        let mask = random.chance(0.5).then(|| Mask::from_fn(rows, |_| random.chance(0.4)));
        let edges: Vec<f32> = match random.below(3) {
            0 => vec![random.below(9) as f32],
            1 => (0..=8).map(|edge| edge as f32).collect(),
            _ => (0..MAX_EDGES).map(|edge| edge as f32 * 0.01 - 1.0).collect(),
        };
        let query = HistogramQuery { column: &column, mask: mask.as_ref(), edges: &edges };
        let counted = |holds: &dyn Fn(f32) -> bool| {
            let allowed = (0..rows).filter(|&row| mask.as_ref().is_none_or(|mask| mask.get(row)));
            allowed.filter(|&row| column.sd()[row] >= 0.0 && holds(column.mean()[row])).count() as u32
        };
        for device in &devices {
            let found = device.histogram(&query).unwrap();
            assert_eq!((found.device.as_str(), &found.note), (device.name(), &None));
            assert_eq!(found.below, counted(&|mean| mean < edges[0]), "seed {seed}, {}", found.device);
            assert_eq!(found.above, counted(&|mean| mean >= edges[edges.len() - 1]), "seed {seed}, {}", found.device);
            for (two, &bin) in edges.windows(2).zip(&found.bins) {
                assert_eq!(bin, counted(&|mean| two[0] <= mean && mean < two[1]), "seed {seed}, {}", found.device);
            }
            let all = found.below + found.bins.iter().sum::<u32>() + found.above + found.missing;
            let allowed = mask.as_ref().map_or(rows, |mask| mask.iter_ones().count());
            assert_eq!((found.bins.len() + 1, all as usize), (edges.len(), allowed), "seed {seed}, {}", found.device);
        }
    }
}

#[test]
fn subnormal_numbers_count_as_zero() {
    let tiny = 1e-40f32;
    let column = Column::new(vec![-tiny, tiny, 0.0, -f32::MIN_POSITIVE, 1.0], vec![0.0; 5]).unwrap();
    for device in [Some(Device::cpu()), adapter(None)].into_iter().flatten() {
        for edges in [[0.0], [tiny], [-tiny]] {
            let found = device.histogram(&HistogramQuery { column: &column, mask: None, edges: &edges }).unwrap();
            assert_eq!((found.below, found.above), (1, 4), "{edges:?}, {}", found.device);
        }
    }
}

#[test]
fn edges_are_checked() {
    let column = Column::new(vec![1.0; 3], vec![0.0; 3]).unwrap();
    let many = vec![0.0; MAX_EDGES + 1];
    for edges in [&[][..], &[1.0, 1.0], &[2.0, 1.0], &[f32::NAN], &[0.0, f32::INFINITY], &many] {
        let query = HistogramQuery { column: &column, mask: None, edges };
        assert_eq!(Device::cpu().histogram(&query), Err(GpuError::Edges { found: edges.len() }));
    }
    let mask = Mask::all(4);
    let query = HistogramQuery { column: &column, mask: Some(&mask), edges: &[1.0] };
    assert_eq!(query.check().unwrap_err().to_string(), "mask has 4 rows, expected 3");
}
