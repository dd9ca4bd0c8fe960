//! A hub: the tables of a data directory, the snapshot of their newest version, and the device that searches it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use datasets::bundled;
use datasets::property::Property;
use datasets::record::Record;
use datasets::table::{Commit, Table, TableError};
use gpu::{Device, GpuError};
use rayon::prelude::*;
use tokio::sync::Mutex;

use crate::candidate::{self, MaterialAnswer, SuggestAnswer};
use crate::materials::Resolved;
use crate::scope::Viewer;
use crate::search;
use crate::snapshot::{self, Snapshot};
use crate::spec::{Spec, SpecError};
use crate::store;

/// What a hub is busy with while it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The bundled datasets go into an empty data directory.
    LoadingBundle,
    /// Records are read into a new snapshot: done, in all.
    Building(u64, u64),
    /// The snapshot is written to disk.
    Saving,
    /// Done.
    Ready,
}

/// A hub cannot answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The spec is to blame.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The tables are.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The device is.
    #[error(transparent)]
    Device(#[from] GpuError),
    /// There is no such material.
    #[error("there is no material `{text}`{}", hint(.closest))]
    NoMaterial {
        /// What was asked for.
        text: String,
        /// The closest ids.
        closest: Vec<String>,
    },
    /// Several materials answer to that.
    #[error("`{text}` may mean {}: say which", .ids.join(", "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// There is no such record.
    #[error("there is no record `{0}`")]
    NoRecord(String),
}

fn hint(closest: &[String]) -> String {
    if closest.is_empty() { String::new() } else { format!("; the closest are {}", closest.join(", ")) }
}

/// The tables of a data directory, ready to be searched.
pub struct Hub {
    data_dir: PathBuf,
    table: Mutex<Table>,
    /// Held while the hub moves on, so that it never goes back.
    moving: Mutex<()>,
    snapshot: RwLock<Arc<Snapshot>>,
    device: Device,
}

impl Hub {
    /// Opens a data directory: creates it where it is missing, loads the bundled datasets where it is empty (and
    /// `with_bundle`), and takes the kept snapshot or builds it.
    ///
    /// # Errors
    /// The directory or its tables cannot be used.
    pub async fn open(
        data_dir: &Path,
        device: Device,
        with_bundle: bool,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Hub, HubError> {
        let mut table = Table::open_or_create(data_dir).await?;
        if with_bundle && bundled::is_wanted(&table).await? {
            progress(Progress::LoadingBundle);
            bundled::load(&mut table).await?;
        }
        let snapshot = open_snapshot(data_dir, &table, progress).await?;
        progress(Progress::Ready);
        Ok(Hub {
            data_dir: data_dir.to_owned(),
            table: Mutex::new(table),
            moving: Mutex::new(()),
            snapshot: RwLock::new(Arc::new(snapshot)),
            device,
        })
    }

    /// The snapshot of this moment; it stays as it is while the hub moves on.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The device that searches.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Moves on to the newest version of the tables; says whether there was one.
    ///
    /// # Errors
    /// The tables cannot be read; the hub goes on with the snapshot that it has.
    pub async fn refresh(&self) -> Result<bool, HubError> {
        let _one = self.moving.lock().await;
        let table = {
            let mut table = self.table.lock().await;
            table.refresh().await?;
            table.clone()
        };
        if table.version() == self.snapshot().version {
            return Ok(false);
        }
        // building is long work for the processor: not on a thread that answers requests
        let (data_dir, runtime) = (self.data_dir.clone(), tokio::runtime::Handle::current());
        let building = move || {
            let next = runtime.block_on(open_snapshot(&data_dir, &table, &mut |_| {}))?;
            warm_up(&next);
            Ok::<_, TableError>(next)
        };
        let next = tokio::task::spawn_blocking(building)
            .await
            .map_err(|e| TableError::Corrupt { what: "the new snapshot".into(), why: e.to_string() })??;
        let next = Arc::new(next);
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }

    /// Makes the public beliefs ahead of the first question about them.
    pub fn warm_up(&self) {
        warm_up(&self.snapshot());
    }

    /// Answers a spec.
    ///
    /// # Errors
    /// The spec is to blame ([`HubError::Spec`]).
    pub fn suggest(&self, spec: &Spec, viewer: Viewer) -> Result<SuggestAnswer, HubError> {
        let start = Instant::now();
        let snapshot = self.snapshot();
        let resolved = spec.resolve(&snapshot, viewer)?;
        let ranking = search::rank(&snapshot, &self.device, &resolved)?;
        let passing = search::passing(&snapshot, &resolved);
        let mut answer = candidate::answer(&snapshot, &resolved, ranking, &passing, 0.0);
        answer.meta.took_ms = start.elapsed().as_secs_f64() * 1e3;
        Ok(answer)
    }

    /// All that is known of the material that a text means: an id, a formula or a name.
    ///
    /// # Errors
    /// No material, or several, answer to it.
    pub fn material(&self, text: &str, viewer: Viewer) -> Result<MaterialAnswer, HubError> {
        let snapshot = self.snapshot();
        let scope = snapshot.visible(viewer);
        let none = |closest| HubError::NoMaterial { text: text.to_owned(), closest };
        match snapshot.materials.resolve(text, &snapshot.members(&scope), &scope) {
            Resolved::Row(row) => candidate::material(&snapshot, &scope, row).ok_or_else(|| none(Vec::new())),
            Resolved::Ambiguous(ids) => Err(HubError::Ambiguous { text: text.to_owned(), ids }),
            Resolved::Unknown(closest) => Err(none(closest)),
        }
    }

    /// One record as it was contributed.
    ///
    /// # Errors
    /// There is none of that id, or none that the viewer may see.
    pub async fn record(&self, id: &str, viewer: Viewer) -> Result<Record, HubError> {
        let snapshot = self.snapshot();
        let dataset = datasets::record::dataset_of(id);
        let visible = snapshot.visible(viewer);
        let seen = snapshot.datasets.iter().position(|d| d.info.name == dataset).is_some_and(|d| visible.0[d]);
        let found = if seen { self.table.lock().await.clone().record(id).await? } else { None };
        found.ok_or_else(|| HubError::NoRecord(id.to_owned()))
    }

    /// The table at a version, such as that of a snapshot.
    ///
    /// # Errors
    /// The version is not kept, or the table cannot be read.
    pub async fn table_at(&self, version: u64) -> Result<Table, HubError> {
        let table = self.table.lock().await.clone();
        Ok(if table.version() == version { table } else { table.at(version).await? })
    }

    /// The commits of the table, newest first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn history(&self) -> Result<Vec<Commit>, HubError> {
        let table = self.table.lock().await.clone();
        Ok(table.history().await?)
    }
}

/// Properties whose beliefs are made ahead, at most: fewer than a snapshot keeps.
const WARM: usize = 200;

fn warm_up(snapshot: &Snapshot) {
    let scope = snapshot.visible(Viewer::Public);
    snapshot.members(&scope);
    let known = snapshot.measurements.properties.iter().filter_map(|key| snapshot.property(key, &scope));
    let mut known: Vec<&Property> = known.collect();
    // the dictionary's first; more than the snapshot keeps beliefs of would push each other out
    known.sort_by_key(|property| property.dataset().is_some());
    known.truncate(WARM);
    known.into_par_iter().for_each(|property| {
        snapshot.beliefs(&scope, property, None).population();
    });
}

async fn open_snapshot(
    data_dir: &Path,
    table: &Table,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Snapshot, TableError> {
    match store::load(data_dir, table.version()) {
        Ok(Some(snapshot)) => return Ok(snapshot),
        Ok(None) => {}
        Err(why) => tracing::warn!("the kept snapshot is built anew: {why}"),
    }
    let snapshot = snapshot::build(table, |done, total| progress(Progress::Building(done, total))).await?;
    progress(Progress::Saving);
    if let Err(why) = store::save(data_dir, &snapshot) {
        tracing::warn!("the snapshot is not kept, so the next start will build it again: {why}");
    }
    Ok(snapshot)
}
