//! Seeded random queries, and the devices to ask them of.

use std::sync::Arc;

use matgenome_gpu::{Choice, Column, Device, Hit, Mask, Missing, OpenOptions, SpecQuery, Target, adapters, reference};

/// splitmix64: small, seeded, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn within(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit()
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// A query with what it borrows.
pub(crate) struct Case {
    pub(crate) rows: usize,
    pub(crate) targets: Vec<Target>,
    pub(crate) mask: Option<Mask>,
    pub(crate) k: usize,
}

impl Case {
    pub(crate) fn query(&self) -> SpecQuery<'_> {
        SpecQuery { targets: &self.targets, mask: self.mask.as_ref(), k: self.k }
    }

    pub(crate) fn random(seed: u64) -> Case {
        let mut random = Random::new(seed);
        let rows = match random.below(20) {
            0..6 => 1 + random.below(70),
            6..14 => 1 + random.below(3000),
            14..19 => 1 + random.below(20_000),
            _ => 60_000 + random.below(30_000),
        };
        Case::of(rows, &mut random)
    }

    pub(crate) fn of(rows: usize, random: &mut Random) -> Case {
        let count = random.pick(&[1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 9, 17]);
        let targets: Vec<Target> = (0..count).map(|_| target(rows, random)).collect();
        let density = random.pick(&[-1.0, -1.0, 0.0, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0]);
        let mask = (density >= 0.0).then(|| match random.below(3) {
            // runs of rows, so that whole words and blocks are left out
            0 => {
                let run = 1 + random.below(5000);
                let offset = random.below(run);
                Mask::from_fn(rows, |row| ((row + offset) / run) as f64 * 0.377 % 1.0 < density)
            }
            _ => Mask::from_fn(rows, |_| random.chance(density)),
        });
        let k = match random.below(6) {
            0 => 1,
            1 => rows,
            2 => rows + random.below(100),
            3 => 10_000,
            _ => 1 + random.below(150),
        };
        Case { rows, targets, mask, k }
    }
}

/// Values of one of several kinds, on scales from 1e-6 to 1e6.
fn target(rows: usize, random: &mut Random) -> Target {
    let scale = 10f64.powf(random.within(-6.0, 6.0));
    let kind = random.below(5);
    let missing_share = random.pick(&[0.0, 0.1, 0.5, 0.95]);
    let sd_kind = random.below(5);
    let offset = random.pick(&[0.0, 0.0, 100.0]);
    let (mean, sd): (Vec<f32>, Vec<f32>) = (0..rows)
        .map(|_| {
            let x = match kind {
                0 => random.within(-1.0, 1.0),                       // even
                1 => random.within(-9.0, 9.0).exp2() / 100.0,        // over decades
                2 => (random.within(0.0, 4.0)).floor(),              // few values, many ties
                3 => (0..6).map(|_| random.within(-1.0, 1.0)).sum(), // a bell
                _ => 0.5,                                            // all alike
            };
            let deviation = match sd_kind {
                0 => 0.0,
                1 => 0.05,
                2 => random.within(0.0, 0.5),
                3 => 10f64.powf(random.within(-4.0, 1.0)),
                _ => random.pick(&[0.0, 0.01, 0.3]),
            };
            if random.chance(missing_share) {
                (f32::NAN, -1.0)
            } else {
                (((x + offset) * scale) as f32, (deviation * scale) as f32)
            }
        })
        .unzip();
    let column = Column::new(mean, sd).unwrap();
    let a = random.within(-1.5, 3.0) + offset;
    let width = random.pick(&[0.0, 0.1, 1.0, 4.0]);
    let (lo, hi) = match random.below(8) {
        0..3 => (a, f64::INFINITY),
        3..6 => (f64::NEG_INFINITY, a),
        6 if random.chance(0.3) => (f64::NEG_INFINITY, f64::INFINITY),
        _ => (a, a + width),
    };
    let missing = if random.chance(0.5) {
        Missing::Ignore
    } else {
        Missing::Fill {
            mean: ((random.within(-1.0, 2.0) + offset) * scale) as f32,
            sd: (random.pick(&[0.0, 0.5, 2.0]) * scale) as f32,
        }
    };
    Target {
        column: Arc::clone(&column),
        lo: (lo * scale) as f32,
        hi: (hi * scale) as f32,
        inv_tolerance: (random.within(0.3, 3.0) / scale) as f32,
        weight: 10f64.powf(random.within(-1.0, 1.0)) as f32,
        missing,
    }
}

/// The device's f32 answer is ordered, complete, and within its bounds; its exact answer is the reference's, row for row.
#[track_caller]
pub(crate) fn conforms(device: &Device, case: &Case, name: &str) {
    let query = case.query();
    let answer = device.spec(&query).unwrap();
    assert_eq!((answer.device.as_str(), &answer.note), (device.name(), &None), "{name}");
    let allowed = |row: usize| case.mask.as_ref().is_none_or(|mask| mask.get(row));
    let counted = (0..case.rows).filter(|&row| allowed(row) && reference::score(&case.targets, row).is_some()).count();
    assert_eq!(answer.hits.len(), counted.min(case.k), "{name}");
    for pair in answer.hits.windows(2) {
        assert!(place(&pair[0]) < place(&pair[1]), "{name}: {pair:?}");
    }
    for hit in &answer.hits {
        assert!(allowed(hit.row as usize), "{name}: {hit:?} is masked");
        let truth = reference::score(&case.targets, hit.row as usize).expect("a hit counts");
        let error = (f64::from(hit.score) - truth).abs();
        assert!(error <= reference::F32_RELATIVE_ERROR * truth + 4e-20, "{name}: {hit:?}, f64 {truth:e}");
        assert!(error <= 4e-6 * truth.max(1.0), "{name}: {hit:?}, f64 {truth:e}");
        assert!(truth != 0.0 || hit.score == 0.0, "{name}: {hit:?} is inside");
    }
    let exact = device.exact(&query).unwrap();
    assert_eq!(exact.hits, reference::rank(&query), "{name}");
    assert_eq!((exact.device.as_str(), exact.note), (device.name(), None), "{name}");
}

/// The order of hits.
pub(crate) fn place(hit: &Hit) -> (u32, u32) {
    (hit.score.to_bits(), hit.row)
}

/// The first adapter that there is, software ones included, cut into segments of `segment_rows`.
pub(crate) fn adapter(segment_rows: Option<u32>) -> Option<Device> {
    adapter_with(OpenOptions { segment_rows, ..OpenOptions::default() })
}

/// The first adapter that there is, software ones included.
///
/// Without one the test is skipped, loudly; it fails where `MATGENOME_REQUIRE_GPU=1` asks for one.
pub(crate) fn adapter_with(options: OpenOptions) -> Option<Device> {
    let Some(first) = adapters().into_iter().next() else {
        assert!(
            std::env::var("MATGENOME_REQUIRE_GPU").as_deref() != Ok("1"),
            "MATGENOME_REQUIRE_GPU=1, but there is no Vulkan, Metal or DX12 adapter"
        );
        eprintln!("SKIPPED: no Vulkan, Metal or DX12 adapter; nothing of the GPU side was tested");
        return None;
    };
    Some(Device::open_with(&Choice::Named(first.name), options).unwrap())
}
