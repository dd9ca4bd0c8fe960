//! Hubs made of records, in a folder that goes with the test.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use datasets::catalogue::{DatasetInfo, Visibility};
use datasets::record::{Evidence, Measurement, Record};
use datasets::structure::{Species, Structure};
use datasets::table::Table;
use gpu::{Choice, Device, adapters};
use matgenome_index::hub::{Hub, HubError};
use matgenome_index::prediction::Predictions;
use matgenome_index::snapshot::{self, Snapshot};
use matgenome_index::spec::SpecError;
use tempfile::TempDir;

/// A data directory with its tables and the snapshot of their newest version.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) table: Table,
    pub(crate) snapshot: Snapshot,
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(future)
}

/// Datasets beside "vault" are public.
pub(crate) fn terms(name: &str) -> DatasetInfo {
    let visibility = if name == "vault" { Visibility::Private } else { Visibility::Public };
    DatasetInfo { visibility: Some(visibility), ..DatasetInfo::unnamed_terms(name) }
}

/// Puts records into their datasets, in the order given, `batch` records a commit at most.
pub(crate) async fn ingest(table: &mut Table, records: &[Record], batch: usize) {
    for part in records.chunks(batch) {
        let mut of: BTreeMap<&str, Vec<Record>> = BTreeMap::new();
        for record in part {
            of.entry(record.dataset()).or_default().push(record.clone());
        }
        for (name, records) in of {
            table.upsert(&terms(name), records, None).await.unwrap();
        }
    }
}

/// A data directory that holds these records.
pub(crate) fn world(records: &[Record]) -> World {
    world_in_batches(records, usize::MAX)
}

pub(crate) fn world_in_batches(records: &[Record], batch: usize) -> World {
    let dir = tempfile::tempdir().unwrap();
    let (table, snapshot) = wait(async {
        let mut table = Table::open_or_create(dir.path()).await.unwrap();
        ingest(&mut table, records, batch).await;
        let snapshot = snapshot::build(&table, |_, _| {}).await.unwrap();
        snapshot.predict_by(Arc::new(Predictions::of(dir.path())));
        (table, snapshot)
    });
    World { dir, table, snapshot }
}

pub(crate) async fn open(data_dir: &Path) -> Hub {
    Hub::open(data_dir, Device::cpu(), false, &mut |_| {}).await.unwrap()
}

/// What of a spec is to blame.
#[track_caller]
pub(crate) fn to_blame(error: HubError) -> SpecError {
    match error {
        HubError::Spec(error) => error,
        other => panic!("not the spec: {other}"),
    }
}

/// The CPU, and the first adapter that there is, software ones included. Without one its part is skipped, loudly; that
/// is a failure where `MATGENOME_REQUIRE_GPU=1` asks for one.
pub(crate) fn devices() -> Vec<Device> {
    let mut devices = vec![Device::cpu()];
    let names: Vec<String> = adapters().into_iter().map(|adapter| adapter.name).collect();
    match names.iter().find(|name| name.contains("llvmpipe")).or(names.first()) {
        Some(name) => devices.push(Device::open(&Choice::Named(name.clone())).unwrap()),
        None => {
            assert!(
                std::env::var("MATGENOME_REQUIRE_GPU").as_deref() != Ok("1"),
                "MATGENOME_REQUIRE_GPU=1, but there is no Vulkan, Metal or DX12 adapter"
            );
            eprintln!("SKIPPED: no Vulkan, Metal or DX12 adapter; only the CPU was tested");
        }
    }
    devices
}

/// A record in the making; `formula` takes the canonical spelling.
pub(crate) fn record(id: &str) -> Record {
    Record {
        id: id.into(),
        name: None,
        formula_given: None,
        formula: None,
        space_group: None,
        smiles: None,
        structure: None,
        class: None,
        attributes: BTreeMap::new(),
        measurements: Vec::new(),
    }
}

pub(crate) trait Write: Sized {
    fn formula(self, formula: &str) -> Self;
    fn phase(self, number: i16) -> Self;
    fn name(self, name: &str) -> Self;
    fn class(self, class: &str) -> Self;
    fn says(self, measurement: Measurement) -> Self;
    fn crystal(self, structure: Structure) -> Self;
}

impl Write for Record {
    fn formula(mut self, formula: &str) -> Self {
        self.formula = Some(formula.into());
        self
    }
    fn phase(mut self, number: i16) -> Self {
        self.space_group = Some(number);
        self
    }
    fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }
    fn class(mut self, class: &str) -> Self {
        self.class = Some(class.into());
        self
    }
    fn says(mut self, measurement: Measurement) -> Self {
        self.measurements.push(measurement);
        self
    }
    fn crystal(mut self, structure: Structure) -> Self {
        self.structure = Some(Arc::new(structure));
        self
    }
}

/// A cubic crystal: elements with their places in the cell.
pub(crate) fn cubic(a_angstrom: f64, sites: &[(&str, [f64; 3])]) -> Structure {
    Structure {
        lattice: Some([[a_angstrom, 0.0, 0.0], [0.0, a_angstrom, 0.0], [0.0, 0.0, a_angstrom]]),
        species: sites.iter().map(|(symbol, _)| Species::Element((*symbol).into())).collect(),
        positions: sites.iter().map(|(_, position)| *position).collect(),
    }
}

/// Two face-centred lattices, moved against each other along the diagonal of the cube.
fn face_centred(one: &str, other: &str, a_angstrom: f64, by: f64) -> Structure {
    let places = [[0.0; 3], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]];
    let moved = places.map(|place| (other, place.map(|x| x + by)));
    cubic(a_angstrom, &[places.map(|place| (one, place)), moved].concat())
}

pub(crate) fn rock_salt(one: &str, other: &str, a_angstrom: f64) -> Structure {
    face_centred(one, other, a_angstrom, 0.5)
}

pub(crate) fn zinc_blende(one: &str, other: &str, a_angstrom: f64) -> Structure {
    face_centred(one, other, a_angstrom, 0.25)
}

pub(crate) fn value(property: &str, value: f64, evidence: Evidence) -> Measurement {
    Measurement {
        property: property.into(),
        value,
        given_value: None,
        given_unit: None,
        uncertainty: None,
        evidence,
        method: None,
        source: None,
        temperature_k: None,
        pressure_pa: None,
        conditions: BTreeMap::new(),
    }
}

pub(crate) fn measured(property: &str, number: f64) -> Measurement {
    value(property, number, Evidence::Measured)
}

pub(crate) trait Qualify: Sized {
    fn at(self, kelvin: f64) -> Self;
    fn sd(self, sd: f64) -> Self;
    fn by(self, method: &str) -> Self;
}

impl Qualify for Measurement {
    fn at(mut self, kelvin: f64) -> Self {
        self.temperature_k = Some(kelvin);
        self
    }
    fn sd(mut self, sd: f64) -> Self {
        self.uncertainty = Some(sd);
        self
    }
    fn by(mut self, method: &str) -> Self {
        self.method = Some(method.into());
        self
    }
}

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

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
