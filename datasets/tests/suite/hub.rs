//! A table in a folder of its own, and records to put into it.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::path::{Path, PathBuf};

use datasets::catalogue::DatasetInfo;
use datasets::columns::RecordColumns;
use datasets::record::{Evidence, Measurement, Record};
use datasets::table::{Outcome, Table, TableError};

/// Runs a future on a runtime of its own, as one thread of a program would.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub struct Hub {
    // the folder lives as long as the hub
    pub folder: tempfile::TempDir,
    pub table: Table,
}

impl Hub {
    pub async fn new() -> Hub {
        let folder = tempfile::tempdir().unwrap();
        let table = Table::open_or_create(folder.path()).await.unwrap();
        Hub { folder, table }
    }

    pub async fn put(&mut self, dataset: &str, records: Vec<Record>) -> Outcome {
        self.table.upsert(&DatasetInfo::unnamed_terms(dataset), records, None).await.unwrap()
    }

    pub async fn try_put(&mut self, dataset: &str, records: Vec<Record>) -> Result<Outcome, TableError> {
        self.table.upsert(&DatasetInfo::unnamed_terms(dataset), records, None).await
    }

    /// A second handle, as another process would have.
    pub async fn again(&self) -> Table {
        Table::open(self.folder.path()).await.unwrap().unwrap()
    }

    pub fn log(&self) -> PathBuf {
        self.table.location().join("_delta_log")
    }

    pub fn log_entry(&self, version: u64) -> PathBuf {
        self.log().join(format!("{version:020}.json"))
    }
}

/// A record with one value; equal numbers give equal records.
pub fn record(id: &str, value: f64) -> Record {
    Record {
        id: id.to_owned(),
        name: None,
        formula_given: Some("GaAs".into()),
        formula: Some("AsGa".into()),
        space_group: Some(216),
        smiles: None,
        structure: None,
        class: None,
        attributes: BTreeMap::from([("batch".into(), "7".into())]),
        measurements: vec![Measurement {
            property: "band_gap".into(),
            value,
            given_value: None,
            given_unit: None,
            uncertainty: Some(0.01),
            evidence: Evidence::Measured,
            method: Some("ellipsometry".into()),
            source: Some("doi:10.1000/1".into()),
            temperature_k: Some(293.15),
            pressure_pa: None,
            conditions: BTreeMap::from([("direction".into(), "[100]".into())]),
        }],
    }
}

/// `lab/000`, `lab/001`... in a range, all with one value.
pub fn batch(range: std::ops::Range<u32>, value: f64) -> Vec<Record> {
    range.map(|n| record(&format!("lab/{n:03}"), value)).collect()
}

pub fn ids(ids: &[&str]) -> HashSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// All rows of a table; a record id that is there twice is there twice.
pub async fn rows(table: &Table) -> Vec<Record> {
    let mut rows = Vec::new();
    for file in table.files().unwrap() {
        for batch in table.batches(&file).await.unwrap() {
            let columns = RecordColumns::read(&batch).unwrap();
            rows.extend((0..columns.len()).map(|row| columns.record(row)));
        }
    }
    rows
}

/// All records by id; panics where an id is there twice.
pub async fn contents(table: &Table) -> BTreeMap<String, Record> {
    let mut found = BTreeMap::new();
    for record in rows(table).await {
        let id = record.id.clone();
        assert!(found.insert(record.id.clone(), record).is_none(), "two rows have the id {id}");
    }
    found
}

pub fn by_id(records: impl IntoIterator<Item = Record>) -> BTreeMap<String, Record> {
    records.into_iter().map(|r| (r.id.clone(), r)).collect()
}

/// Paths of the live data files.
pub fn paths(table: &Table) -> Vec<String> {
    table.files().unwrap().into_iter().map(|f| f.path).collect()
}

/// All files below a folder, by path relative to it.
pub fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in files_below(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(path, target).unwrap();
    }
}
