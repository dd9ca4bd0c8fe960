//! The search among vectors against an oracle of its own in f64: neighbours must agree in row, order and distance, bit for bit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[allow(dead_code)]
mod common;

use std::sync::Arc;

use common::{Random, adapter, adapter_with};
use matgenome_gpu::{
    AllNearest, Device, GpuError, Mask, Masks, Metric, NearestQuery, Neighbour, OpenOptions, Vectors, WithinQuery,
    reference,
};
use proptest::prelude::*;

/// What the documentation says that a distance is, written again.
fn distance(metric: Metric, x: &[f32], q: &[f32]) -> f64 {
    let pairs = || x.iter().zip(q).map(|(&x, &q)| (x as f64, q as f64));
    let dot = |pairs: &mut dyn Iterator<Item = (f64, f64)>| pairs.fold(0.0, |sum, (a, b)| sum + a * b);
    match metric {
        Metric::L2 => dot(&mut pairs().map(|(x, q)| (x - q, x - q))).sqrt(),
        Metric::L1 => pairs().fold(0.0, |sum, (x, q)| sum + (x - q).abs()),
        Metric::InnerProduct => {
            let product = dot(&mut pairs());
            if product == 0.0 { 0.0 } else { -product }
        }
        Metric::Cosine => {
            let lengths = dot(&mut pairs().map(|(x, _)| (x, x))).sqrt() * dot(&mut pairs().map(|(_, q)| (q, q))).sqrt();
            if lengths == 0.0 { 1.0 } else { 1.0 - (dot(&mut pairs()) / lengths).clamp(-1.0, 1.0) }
        }
    }
}

/// Neighbours as they are compared: distance bits and row.
type Places = Vec<Vec<(u64, u32)>>;

fn places(neighbours: &[Vec<Neighbour>]) -> Places {
    neighbours.iter().map(|of| of.iter().map(|n| (n.distance.to_bits(), n.row)).collect()).collect()
}

/// What a case borrows from.
struct Case {
    vectors: Arc<Vectors>,
    queries: Vec<f32>,
    metric: Metric,
    /// None, one for all, or one for each.
    masks: Vec<Mask>,
    shared: bool,
    leave_out: Option<Vec<u32>>,
    k: usize,
}

impl Case {
    fn count(&self) -> usize {
        self.queries.len() / self.vectors.dims()
    }

    fn ask(&self, device: &Device) -> Places {
        let each: Vec<&Mask> = self.masks.iter().collect();
        places(&device.nearest(&self.query(&each)).unwrap().neighbours)
    }

    fn query<'a>(&'a self, each: &'a [&'a Mask]) -> NearestQuery<'a> {
        NearestQuery {
            vectors: &self.vectors,
            queries: &self.queries,
            metric: self.metric,
            masks: match each {
                [] => Masks::All,
                [one, ..] if self.shared => Masks::Shared(one),
                each => Masks::Each(each),
            },
            leave_out: self.leave_out.as_deref(),
            k: self.k,
        }
    }

    /// Everything that may be answered, in order.
    fn truth(&self) -> Vec<Vec<(f64, u32)>> {
        let of = |at: usize| {
            let q = &self.queries[at * self.vectors.dims()..][..self.vectors.dims()];
            let mask = self.masks.get(if self.shared { 0 } else { at });
            let mut all: Vec<(f64, u32)> = (0..self.vectors.len() as u32)
                .filter(|&row| mask.is_none_or(|mask| mask.get(row as usize)))
                .filter(|&row| self.leave_out.as_ref().is_none_or(|rows| rows[at] != row))
                .map(|row| (distance(self.metric, self.vectors.row(row as usize), q), row))
                .collect();
            all.sort_by(|a, b| a.0.partial_cmp(&b.0).expect("no NaN").then(a.1.cmp(&b.1)));
            all
        };
        (0..self.count()).map(of).collect()
    }

    fn random(seed: u64) -> Case {
        let mut random = Random::new(seed);
        let rows = match random.below(24) {
            0 => 0,
            1 => 1,
            2..9 => 1 + random.below(100),
            9..22 => 1 + random.below(3000),
            _ => 20_000,
        };
        let dims = match random.below(4) {
            0 => random.pick(&[1, 2, 3, 8, 16, 32, 64, 128]),
            1 => 1 + random.below(20),
            2 if rows < 3001 => 1 + random.below(300),
            _ => 1 + random.below(70),
        };
        let count = match random.below(5) {
            0..2 => 1,
            _ if rows > 3000 => 1 + random.below(4),
            2 => 2 + random.below(8),
            _ => 1 + random.below(36),
        };
        Case::of(rows, dims, count, random.pick(&Metric::ALL), &mut random)
    }

    fn of(rows: usize, dims: usize, count: usize, metric: Metric, random: &mut Random) -> Case {
        let values = numbers(rows, dims, random);
        // queries: of the same kind, rows themselves, nothing at all
        let mut queries = Vec::with_capacity(count * dims);
        let alike = random.chance(0.5);
        for _ in 0..count {
            match random.below(8) {
                0..4 if rows > 0 => {
                    let row = random.below(rows);
                    queries.extend_from_slice(&values[row * dims..][..dims]);
                    if random.chance(0.5) {
                        let at = queries.len() - dims + random.below(dims);
                        queries[at] *= 1.25;
                    }
                }
                4 => queries.resize(queries.len() + dims, 0.0),
                _ if alike && rows > 0 => {
                    let (a, b) = (random.below(rows), random.below(rows));
                    queries.extend((0..dims).map(|at| 0.5 * values[a * dims + at] + 0.25 * values[b * dims + at]));
                }
                _ => queries.append(&mut numbers(1, dims, random)),
            }
        }
        queries.iter_mut().for_each(|q| *q = q.clamp(-1e18, 1e18));
        let density = random.pick(&[-1.0, -1.0, 0.0, 0.003, 0.05, 0.5, 0.9, 1.0]);
        let shared = random.chance(0.5);
        let masks = if density < 0.0 {
            Vec::new()
        } else {
            let masks = if shared { 1 } else { count };
            (0..masks).map(|_| Mask::from_fn(rows, |_| random.chance(density))).collect()
        };
        let leave_out = random.chance(0.3).then(|| {
            (0..count).map(|_| if random.chance(0.2) { u32::MAX } else { random.below(rows.max(1)) as u32 }).collect()
        });
        let k = match random.below(8) {
            0 => 1,
            1 => rows,
            2 => rows + 7,
            3 => 0,
            4 => rows / 2,
            _ => 1 + random.below(40),
        };
        let vectors = Vectors::new(values, dims).unwrap();
        Case { vectors, queries, metric, masks, shared, leave_out, k }
    }
}

/// Vectors of one of several kinds.
fn numbers(rows: usize, dims: usize, random: &mut Random) -> Vec<f32> {
    let kind = random.below(12);
    let scale = 10f64.powf(random.within(-5.0, 5.0));
    let few: Vec<f32> = (0..7 * dims).map(|_| random.within(-1.0, 1.0) as f32).collect();
    let mut values = Vec::with_capacity(rows * dims);
    for row in 0..rows {
        let copied = random.below(7);
        let outlier = random.chance(0.002);
        for dim in 0..dims {
            let even = random.within(-1.0, 1.0);
            let x = match kind {
                0 => even * scale,
                1 => random.within(0.0, 3.0).floor() - 1.0,       // many ties
                2 => f64::from(few[copied * dims + dim]) * scale, // many equal rows
                3 => 1000.0 + even,                               // far from the origin
                4 => 1e6 + (even * 4.0).round(),                  // so far that f32 cannot tell rows apart
                5 => even * 10f64.powf(random.within(-18.0, 18.0)), // over decades
                6 => even * 1e18,                                 // the largest
                7 => even * 1e-43,                                // subnormal
                8 if row % 3 == 0 => 0.0,                         // zero rows
                9 if outlier => even * 1e18,                      // a few absurd rows among sane ones
                10 if row % 2 == 0 => even * 1e-30,
                _ => f64::from(few[copied * dims + dim]) + 0.05 * even, // clusters
            };
            values.push(x as f32);
        }
    }
    values
}

/// The device gives what the oracle gives, and, within the distances of some of its rows, all up to them.
#[track_caller]
fn conforms(device: &Device, case: &Case, name: &str) {
    let name = format!(
        "{name}: {:?}, {} rows, {} components, {} queries, {} masks, k {}",
        case.metric,
        case.vectors.len(),
        case.vectors.dims(),
        case.count(),
        case.masks.len(),
        case.k
    );
    let truth = case.truth();
    let expected = |keep: &dyn Fn(usize, f64) -> bool| -> Places {
        truth
            .iter()
            .map(|all| {
                all.iter().enumerate().filter(|(at, n)| keep(*at, n.0)).map(|(_, n)| (n.0.to_bits(), n.1)).collect()
            })
            .collect()
    };
    let each: Vec<&Mask> = case.masks.iter().collect();
    let query = case.query(&each);
    let answer = device.nearest(&query).unwrap();
    assert_eq!(places(&answer.neighbours), expected(&|at, _| at < case.k), "{name}");
    assert_eq!(answer.note.is_none(), answer.device == device.name(), "{name}");
    let NearestQuery { vectors, queries, metric, masks, leave_out, k } = query;
    let some = truth[0].get(k.min(truth[0].len() / 2)).map_or(1.0, |n| n.0);
    for radius in [some, some.next_down(), 0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY] {
        let within = WithinQuery { vectors, queries, metric, masks, leave_out, radius };
        let found = device.within(&within).unwrap();
        assert_eq!(places(&found.neighbours), expected(&|_, d| d <= radius), "{name}, radius {radius:e}");
    }
}

#[test]
fn the_cpu_conforms() {
    for seed in 0..700 {
        conforms(&Device::cpu(), &Case::random(seed), &format!("seed {seed}"));
    }
}

#[test]
fn the_adapter_conforms() {
    for segment_rows in [Some(1000), None] {
        let Some(device) = adapter(segment_rows) else { return };
        for seed in 0..200 {
            conforms(&device, &Case::random(seed), &format!("{}, seed {seed}", device.name()));
        }
    }
}

/// Shapes of their own kernels: queries that a uniform buffer has no room for, and single queries by bytes.
#[test]
fn all_kernels_conform() {
    for segment_rows in [Some(1024), None] {
        let Some(device) = adapter(segment_rows) else { return };
        let mut random = Random::new(4242);
        for (rows, dims, count) in [(700, 521, 9), (130, 4100, 1), (130, 1030, 3), (9000, 130, 1), (20_000, 64, 1)] {
            for metric in Metric::ALL {
                let values = (0..rows * dims).map(|_| random.within(-1.0, 1.0) as f32).collect();
                let queries = (0..count * dims).map(|_| random.within(-1.0, 1.0) as f32).collect();
                let vectors = Vectors::new(values, dims).unwrap();
                let case = Case { vectors, queries, metric, masks: Vec::new(), shared: true, leave_out: None, k: 10 };
                conforms(&device, &case, "a kernel of its own");
            }
        }
    }
}

/// Searches that are the first of their vectors, from many tasks at once.
#[test]
fn first_searches_may_come_from_many_tasks() {
    use rayon::prelude::*;
    for device in [Some(Device::cpu()), adapter(None)].into_iter().flatten() {
        let vectors = Vectors::new((0..40_000 * 32u64).map(|at| (at * 7919 % 10_007) as f32).collect(), 32).unwrap();
        let answers: Vec<Places> = (0..16)
            .into_par_iter()
            .map(|_| {
                let queries = vectors.row(17);
                let (metric, masks) = (Metric::L2, Masks::All);
                let query = NearestQuery { vectors: &vectors, queries, metric, masks, leave_out: None, k: 3 };
                places(&device.nearest(&query).unwrap().neighbours)
            })
            .collect();
        assert!(answers.iter().all(|answer| answer == &answers[0] && answer[0][0].1 <= 17));
    }
}

/// Vectors that do not fit in the memory that a device may use come and go, and the answers are the same; the device says so.
#[test]
fn device_memory_may_be_smaller_than_the_data() {
    let options = OpenOptions { segment_rows: Some(256), memory_bytes: Some(100_000) };
    let Some(device) = adapter_with(options) else { return };
    assert_eq!((device.describe().held_bytes, device.describe().note), (Some(0), None));
    let mut random = Random::new(77);
    for metric in Metric::ALL {
        conforms(&device, &Case::of(2000, 40, 9, metric, &mut random), "short of memory");
    }
    let described = device.describe();
    assert!(described.held_bytes.is_some_and(|bytes| (1..=100_000).contains(&bytes)), "{described:?}");
    assert!(described.segments_copied_again.is_some_and(|count| count > 0), "{described:?}");
    assert!(described.note.is_some_and(|note| note.contains("smaller than the data")));
}

/// Batches above a hundred queries, of all metrics, with every kind of mask.
#[test]
fn large_batches_conform() {
    for (seed, metric) in (0..).zip(Metric::ALL.into_iter().cycle().take(12)) {
        let mut random = Random::new(5000 + seed);
        let (rows, dims, count) = (1 + random.below(1200), 1 + random.below(40), 1024 - random.below(900));
        conforms(&Device::cpu(), &Case::of(rows, dims, count, metric, &mut random), &format!("large batch {seed}"));
    }
}

#[test]
fn the_reference_is_what_the_documentation_says() {
    let mut random = Random::new(1);
    for _ in 0..2000 {
        let dims = 1 + random.below(40);
        let (x, q) = (numbers(1, dims, &mut random), numbers(1, dims, &mut random));
        for metric in Metric::ALL {
            assert_eq!(reference::distance(metric, &x, &q).to_bits(), distance(metric, &x, &q).to_bits(), "{metric:?}");
        }
    }
}

/// Large k: candidates are looked through many times.
#[test]
fn ten_thousand_neighbours_conform() {
    for (seed, metric) in (6000..).zip(Metric::ALL) {
        let mut random = Random::new(seed);
        let case = Case { k: 10_000, ..Case::of(40_000, 6, 3, metric, &mut random) };
        conforms(&Device::cpu(), &case, "large k");
    }
}

#[test]
fn ties_go_by_row_number() {
    let vectors = Vectors::new([0.3, -1.7, 2.5].repeat(30_000), 3).unwrap();
    let mask = Mask::from_fn(vectors.len(), |row| row % 3 == 1);
    for metric in Metric::ALL {
        for k in [1, 10, 333, 9_999, 10_001] {
            let queries = [1.0, 2.0, 3.0, 0.3, -1.7, 2.5];
            let masks = Masks::Shared(&mask);
            let query = NearestQuery { vectors: &vectors, queries: &queries, metric, masks, leave_out: None, k };
            for neighbours in Device::cpu().nearest(&query).unwrap().neighbours {
                let found: Vec<usize> = neighbours.iter().map(|n| n.row as usize).collect();
                assert_eq!(found, mask.iter_ones().take(k).collect::<Vec<_>>(), "{metric:?}, k {k}");
            }
        }
    }
}

#[test]
fn answers_do_not_depend_on_threads() {
    for seed in 7000..7016 {
        let mut random = Random::new(seed);
        let (rows, count) = (20_000 + random.below(20_000), 1 + random.below(40));
        let metric = random.pick(&Metric::ALL);
        let case = Case { k: 12, ..Case::of(rows, 24, count, metric, &mut random) };
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.ask(&Device::cpu()))
        };
        let one = with(1);
        for threads in [2, 3, 8] {
            assert_eq!(with(threads), one, "seed {seed}, {threads} threads");
        }
    }
}

#[test]
fn answers_do_not_depend_on_the_batch() {
    for seed in 8000..8060 {
        let case = Case::random(seed);
        let together = case.ask(&Device::cpu());
        let dims = case.vectors.dims();
        for (at, expected) in together.iter().enumerate() {
            let alone = Case {
                vectors: case.vectors.clone(),
                queries: case.queries[at * dims..][..dims].to_vec(),
                metric: case.metric,
                masks: case.masks.get(if case.shared { 0 } else { at }).cloned().into_iter().collect(),
                shared: true,
                leave_out: case.leave_out.as_ref().map(|rows| vec![rows[at]]),
                k: case.k,
            };
            assert_eq!(&alone.ask(&Device::cpu())[0], expected, "seed {seed}, query {at}");
        }
    }
}

/// The nearest of the whole are the nearest of the parts, merged.
#[test]
fn answers_do_not_depend_on_segments() {
    for seed in 8100..8160 {
        let mut random = Random::new(seed);
        let (rows, dims) = (1 + random.below(5000), 1 + random.below(40));
        let metric = random.pick(&Metric::ALL);
        let case = Case { masks: Vec::new(), leave_out: None, k: 20, ..Case::of(rows, dims, 5, metric, &mut random) };
        let at = random.below(rows);
        let part = |rows: std::ops::Range<usize>| {
            let values = case.vectors.values()[rows.start * dims..rows.end * dims].to_vec();
            let vectors = Vectors::new(values, dims).unwrap();
            let query = NearestQuery { vectors: &vectors, ..case.query(&[]) };
            let moved = |n: Neighbour| Neighbour { row: n.row + rows.start as u32, ..n };
            let found = Device::cpu().nearest(&query).unwrap().neighbours;
            found.into_iter().map(|of| of.into_iter().map(moved).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        let mut merged: Vec<Vec<Neighbour>> =
            part(0..at).into_iter().zip(part(at..rows)).map(|(a, b)| [a, b].concat()).collect();
        merged.iter_mut().for_each(|of| {
            of.sort_by(Neighbour::order);
            of.truncate(20);
        });
        assert_eq!(case.ask(&Device::cpu()), places(&merged), "seed {seed}");
    }
}

#[test]
fn all_neighbours_of_a_set_are_those_of_its_vectors() {
    let mut random = Random::new(11);
    let vectors = Vectors::new(numbers(2500, 5, &mut random), 5).unwrap();
    let others = Vectors::new(numbers(1025, 5, &mut random), 5).unwrap();
    let mask = Mask::from_fn(2500, |row| row % 5 != 0);
    for metric in Metric::ALL {
        for (of, itself) in [(&vectors, true), (&others, false)] {
            let query = AllNearest { vectors: &vectors, of, metric, mask: Some(&mask), k: 3 };
            let mut next = 0;
            Device::cpu()
                .all_nearest(&query, |first, answer| {
                    assert_eq!(first, next);
                    for (at, found) in answer.neighbours.iter().enumerate().step_by(7) {
                        let own = first + at;
                        let mut all: Vec<(f64, u32)> = mask
                            .iter_ones()
                            .filter(|&row| !(itself && row == own))
                            .map(|row| (distance(metric, vectors.row(row), of.row(own)), row as u32))
                            .collect();
                        all.sort_by(|a, b| a.partial_cmp(b).unwrap());
                        let found: Vec<(f64, u32)> = found.iter().map(|n| (n.distance, n.row)).collect();
                        assert_eq!(found, all[..3], "{metric:?}, vector {own}");
                    }
                    next += answer.neighbours.len();
                    Ok::<_, GpuError>(())
                })
                .unwrap();
            assert_eq!(next, of.len());
        }
    }
    let short = Vectors::new(vec![0.0; 4], 4).unwrap();
    let query = AllNearest { vectors: &vectors, of: &short, metric: Metric::L2, mask: None, k: 3 };
    let refused = Device::cpu().all_nearest(&query, |_, _| Ok::<_, GpuError>(()));
    assert!(matches!(refused, Err(GpuError::Dims { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Rows in another order are the same neighbours, up to the order of ties.
    #[test]
    fn the_order_of_rows_does_not_matter(seed in 10_000u64..1_000_000) {
        let mut random = Random::new(seed);
        let (rows, dims) = (1 + random.below(800), 1 + random.below(60));
        let metric = random.pick(&Metric::ALL);
        let case = Case { masks: Vec::new(), leave_out: None, k: 15, ..Case::of(rows, dims, 3, metric, &mut random) };
        let before = case.ask(&Device::cpu());
        let backwards: Vec<f32> = (0..rows).rev().flat_map(|row| case.vectors.row(row)).copied().collect();
        let turned = Case { vectors: Vectors::new(backwards, dims).unwrap(), queries: case.queries.clone(), masks: Vec::new(), ..case };
        let distances = |places: Places| places.into_iter().map(|of| of.into_iter().map(|n| n.0).collect::<Vec<_>>()).collect::<Vec<_>>();
        let (a, b) = (before, turned.ask(&Device::cpu()));
        prop_assert_eq!(distances(a), distances(b));
    }

    /// Asking for more never changes what came first.
    #[test]
    fn fewer_neighbours_are_the_first_of_more(seed in 10_000u64..1_000_000, k in 0usize..200) {
        let case = Case::random(seed % 2000 * 24 + 5);
        let all = Case { k: usize::MAX, ..case };
        let full = all.ask(&Device::cpu());
        let some = Case { k, ..all }.ask(&Device::cpu());
        for (some, full) in some.iter().zip(&full) {
            prop_assert_eq!(some, &full[..k.min(full.len())]);
        }
    }

    /// Any numbers at all are either refused or answered as the oracle answers.
    #[test]
    fn any_numbers_are_refused_or_answered(bits in prop::collection::vec(any::<u32>(), 4..80), of in 0usize..4) {
        let values: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        let values = &values[..values.len() / 4 * 4];
        let fine = |x: &f32| x.abs() <= 1e18;
        match Vectors::new(values.to_vec(), 4) {
            Err(GpuError::Component { at, dim, .. }) => prop_assert!(!fine(&values[at * 4 + dim])),
            Err(other) => prop_assert!(false, "{other}"),
            Ok(vectors) => {
                prop_assert!(values.iter().all(fine));
                let queries = values[..4].to_vec();
                let case = Case { vectors, queries, metric: Metric::ALL[of], masks: Vec::new(), shared: true, leave_out: None, k: 5 };
                conforms(&Device::cpu(), &case, "any numbers");
            }
        }
        // most bit patterns are out of range: the same numbers, brought into it
        let values: Vec<f32> = values.iter().map(|x| if fine(x) { *x } else { x.to_bits() as f32 * 1e-8 - 20.0 }).collect();
        let queries = values[..4].to_vec();
        let case = Case { vectors: Vectors::new(values, 4).unwrap(), queries, metric: Metric::ALL[of], masks: Vec::new(), shared: true, leave_out: None, k: 5 };
        conforms(&Device::cpu(), &case, "any numbers");
    }
}
