//! What comes with the program? The bundled datasets, as Parquet files inside the binary.
//!
//! The files and their catalogue are made by `matgenome bundle` from the committed mapping files in
//! `bundled/mappings` (see `make bundle`), never by hand.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::catalogue::DatasetInfo;
use crate::table::{Outcome, Table, TableError};

mod files {
    include!(concat!(env!("OUT_DIR"), "/bundled_files.rs"));
}

/// The catalogue of the bundle: `bundled/catalogue.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Counts up with every change of the bundle; a hub that holds an older one is brought up to date.
    pub revision: i64,
    /// The datasets.
    #[serde(default)]
    pub dataset: Vec<BundledDataset>,
}

/// One bundled dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundledDataset {
    /// Number of records.
    pub records: u64,
    /// Number of distinct materials.
    pub materials: u64,
    /// Number of values.
    pub values: u64,
    /// The Parquet files, in order.
    pub files: Vec<String>,
    /// Name, licence, citation and the other terms.
    pub terms: DatasetInfo,
}

/// The catalogue that the program carries.
///
/// # Errors
/// It cannot be read: a defect of the build.
pub fn catalogue() -> Result<Catalogue, TableError> {
    toml::from_str(include_str!("../bundled/catalogue.toml"))
        .map_err(|e| TableError::Corrupt { what: "the bundled catalogue".into(), why: e.to_string() })
}

/// Whether this table still lacks bundled datasets that it should hold: it is new, or it holds an older bundle.
pub async fn is_wanted(table: &Table) -> Result<bool, TableError> {
    let catalogue = catalogue()?;
    let names: Vec<&str> = catalogue.dataset.iter().map(|d| d.terms.name.as_str()).collect();
    if names.is_empty() || table.is_loaded(&names, catalogue.revision).await? {
        return Ok(false);
    }
    // nobody has written to it: it was created, and perhaps brought up to date
    let is_new = match table.version() {
        0 => true,
        1 => table.history().await?.first().is_some_and(|commit| commit.what.operation == "upgrade"),
        _ => false,
    };
    if is_new {
        return Ok(true);
    }
    for name in names {
        if table.is_loaded(&[name], i64::MIN).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the bundled datasets into the table, in one commit; does nothing where they are there.
pub async fn load(table: &mut Table) -> Result<Outcome, TableError> {
    let catalogue = catalogue()?;
    let mut datasets = Vec::new();
    for dataset in catalogue.dataset {
        let bytes = |name: &String| {
            files::FILES.iter().find(|(known, _)| known == name).map(|(_, bytes)| Bytes::from_static(bytes)).ok_or_else(
                || TableError::Corrupt { what: format!("bundled file {name}"), why: "it is not in the program".into() },
            )
        };
        let files = dataset.files.iter().map(bytes).collect::<Result<Vec<_>, _>>()?;
        datasets.push((dataset.terms, files));
    }
    table.load(&datasets, catalogue.revision).await
}
