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

use crate::candidate::{self, Identity, MaterialAnswer, SuggestAnswer};
use crate::embedding::{EmbeddingError, Graphs};
use crate::materials::Resolved;
use crate::prediction::{PredictionError, Predictions};
use crate::scope::{Scope, Viewer};
use crate::screen::{self, ScreenAnswer, ScreenSpec};
use crate::search;
use crate::similar::{self, SimilarAnswer, SimilarSpec, SubstituteSpec};
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
    #[error("`{text}` may mean {}: say which", .known.join(", "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// Their ids.
        ids: Vec<String>,
        /// The ids, and what each material is known by.
        known: Vec<String>,
    },
    /// There is no such record.
    #[error("there is no record `{0}`")]
    NoRecord(String),
    /// Nothing can be predicted.
    #[error(transparent)]
    Prediction(#[from] PredictionError),
}

impl From<EmbeddingError> for HubError {
    fn from(e: EmbeddingError) -> HubError {
        match e {
            EmbeddingError::Vectors(e) => e.into(),
            EmbeddingError::Encoders(e) => e.into(),
        }
    }
}

impl HubError {
    /// Several materials, of these ids, answer to a text.
    pub(crate) fn ambiguous(snapshot: &Snapshot, scope: &Scope, text: &str, ids: Vec<String>) -> HubError {
        let known = ids.iter().map(|id| match snapshot.materials.row(id) {
            Some(row) => known_by(&candidate::identity(snapshot, scope, row), text),
            None => id.clone(),
        });
        HubError::Ambiguous { text: text.to_owned(), known: known.collect(), ids }
    }
}

/// A material's id, formula and name as far as they say more than the text that was asked for, and who speaks of it.
fn known_by(material: &Identity, text: &str) -> String {
    let id = &material.material;
    let new = |word: &&String| !word.eq_ignore_ascii_case(text) && *word != id;
    let mut known: Vec<String> =
        [&material.formula, &material.name].into_iter().flatten().filter(new).cloned().collect();
    known.extend(match material.records.len() {
        0 => None,
        1 => material.records.first().cloned(),
        n if material.datasets.len() > 2 => Some(format!("{n} records of {} datasets", material.datasets.len())),
        n => Some(format!("{n} records of {}", material.datasets.join(" and "))),
    });
    if known.is_empty() { id.clone() } else { format!("{id} ({})", known.join("; ")) }
}

fn hint(closest: &[String]) -> String {
    if closest.is_empty() { String::new() } else { format!("; the closest are {}", closest.join(", ")) }
}

/// The tables of a data directory, ready to be searched.
pub struct Hub {
    data_dir: PathBuf,
    table: Mutex<Table>,
    snapshot: Arc<RwLock<Arc<Snapshot>>>,
    device: Device,
    predictions: Arc<Predictions>,
    graphs: Arc<Graphs>,
    /// Held while the hub moves on, so that no older snapshot comes after a newer one.
    moving: Mutex<()>,
    /// Told of every new snapshot.
    moved: tokio::sync::watch::Sender<u64>,
    /// Starts the task that warms and keeps the newest of them, one at a time.
    keeper: std::sync::Once,
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
        let snapshot = open_snapshot(data_dir, &device, &table, progress).await?;
        progress(Progress::Ready);
        let predictions = Arc::new(Predictions::of(data_dir));
        snapshot.predict_by(Arc::clone(&predictions));
        let graphs = Arc::new(Graphs::of(data_dir));
        snapshot.walk_by(Arc::clone(&graphs));
        Ok(Hub {
            data_dir: data_dir.to_owned(),
            table: Mutex::new(table),
            snapshot: Arc::new(RwLock::new(Arc::new(snapshot))),
            device,
            predictions,
            graphs,
            moving: Mutex::new(()),
            moved: tokio::sync::watch::Sender::new(0),
            keeper: std::sync::Once::new(),
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

    /// Whether the log has the version after the one that is shown. One look at the disk; who follows the tables asks
    /// this often, and [`Hub::refresh`] where it is so.
    pub fn is_behind(&self) -> bool {
        let entry = format!("records/_delta_log/{:020}.json", self.snapshot().version + 1);
        self.data_dir.join(entry).exists()
    }

    /// Moves on to the newest version of the tables; says whether there was one. Reads what the commits have changed,
    /// and all records only where that cannot be told. The snapshot is warmed and kept on disk afterwards, in the
    /// background.
    ///
    /// # Errors
    /// The tables cannot be read; the hub goes on with the snapshot that it has.
    pub async fn refresh(&self) -> Result<bool, HubError> {
        let _moving = self.moving.lock().await;
        let table = {
            let mut table = self.table.lock().await;
            table.refresh().await?;
            table.clone()
        };
        let old = self.snapshot();
        if table.version() <= old.version {
            return Ok(false);
        }
        // long work for the processor: not on a thread that answers requests
        let runtime = tokio::runtime::Handle::current();
        let device = self.device.clone();
        let making = move || runtime.block_on(next_snapshot(&device, &old, &table, &mut |_| {}));
        let next = tokio::task::spawn_blocking(making)
            .await
            .map_err(|e| TableError::Corrupt { what: "the new snapshot".into(), why: e.to_string() })??;
        let version = next.version;
        next.predict_by(Arc::clone(&self.predictions));
        next.walk_by(Arc::clone(&self.graphs));
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        self.warm_and_keep(version);
        Ok(true)
    }

    /// Has the newest snapshot warmed and written to disk by one task in the background: versions that it did not come
    /// to while it was busy are passed over.
    fn warm_and_keep(&self, version: u64) {
        self.keeper.call_once(|| {
            let mut moved = self.moved.subscribe();
            let (data_dir, shown) = (self.data_dir.clone(), Arc::clone(&self.snapshot));
            let device = self.device.clone();
            tokio::spawn(async move {
                // ends with the hub
                while moved.changed().await.is_ok() {
                    let snapshot = Arc::clone(&shown.read().unwrap_or_else(PoisonError::into_inner));
                    let (data_dir, device) = (data_dir.clone(), device.clone());
                    let keeping = move || {
                        warm_up(&snapshot);
                        if let Err(why) = snapshot.renew_columns(&device) {
                            tracing::warn!("columns are made at the first query: {why}");
                        }
                        keep(&data_dir, &snapshot);
                    };
                    if let Err(why) = tokio::task::spawn_blocking(keeping).await {
                        tracing::warn!("the snapshot is not kept: {why}");
                    }
                }
            });
        });
        self.moved.send_replace(version);
    }

    /// The predictions of the data directory.
    pub fn predictions(&self) -> &Predictions {
        &self.predictions
    }

    /// Told of every version that is shown from now on.
    pub fn versions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Predicts what is not predicted yet of these properties, or of all, for the newest snapshot. `watch` is told how many are
    /// ready, of how many, and ends it by `false`; it also ends where a newer snapshot is there.
    ///
    /// # Errors
    /// There are no encoders, the disk refuses, or it was ended ([`PredictionError::Stopped`]).
    pub fn predict(
        &self,
        properties: Option<&[&'static Property]>,
        watch: &mut (dyn FnMut(usize, usize) -> bool + Send),
    ) -> Result<(), HubError> {
        let snapshot = self.snapshot();
        let all = snapshot.predictable(Viewer::Owner);
        let mut goes_on = |done, total| self.snapshot().version == snapshot.version && watch(done, total);
        self.predictions.make(&snapshot, properties.unwrap_or(&all), &mut goes_on)?;
        if properties.is_none() {
            self.predictions.tidy(&snapshot);
        }
        Ok(())
    }

    /// Resolves when a question has come that a graph would answer sooner; see [`Hub::make_graphs`].
    pub async fn wants_graphs(&self) {
        self.graphs.wanted().await;
    }

    /// Makes the graphs that are wanted, for the newest snapshot.
    ///
    /// # Errors
    /// Vectors cannot be made.
    pub fn make_graphs(&self) -> Result<(), HubError> {
        Ok(self.graphs.make(&self.snapshot(), &self.device)?)
    }

    /// How many properties are predicted, of how many that can be for a viewer.
    pub fn predicted(&self, viewer: Viewer) -> (usize, usize) {
        let snapshot = self.snapshot();
        let all = snapshot.predictable(viewer);
        (all.iter().filter(|property| snapshot.is_predicted(property)).count(), all.len())
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

    /// Answers which materials are like one.
    ///
    /// # Errors
    /// The question is to blame ([`HubError::Spec`], [`HubError::NoMaterial`], [`HubError::Ambiguous`]).
    pub fn similar(&self, spec: &SimilarSpec, viewer: Viewer) -> Result<SimilarAnswer, HubError> {
        let start = Instant::now();
        let mut answer = similar::similar(&self.snapshot(), &self.device, spec, viewer)?;
        answer.meta.took_ms = start.elapsed().as_secs_f64() * 1e3;
        Ok(answer)
    }

    /// Answers which materials could stand in for one.
    ///
    /// # Errors
    /// The question is to blame ([`HubError::Spec`], [`HubError::NoMaterial`], [`HubError::Ambiguous`]).
    pub fn substitute(&self, spec: &SubstituteSpec, viewer: Viewer) -> Result<SimilarAnswer, HubError> {
        let start = Instant::now();
        let mut answer = similar::substitute(&self.snapshot(), &self.device, spec, viewer)?;
        answer.meta.took_ms = start.elapsed().as_secs_f64() * 1e3;
        Ok(answer)
    }

    /// Answers what may be said of some formulas. `watch` is told how many properties are done, of how many, and ends it by `false`.
    ///
    /// # Errors
    /// The question is to blame ([`HubError::Spec`]), or nothing can be predicted ([`HubError::Prediction`]).
    pub fn screen(
        &self,
        question: &ScreenSpec,
        viewer: Viewer,
        watch: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<ScreenAnswer, HubError> {
        let start = Instant::now();
        let mut answer = screen::screen(&self.snapshot(), &self.predictions, question, viewer, watch)?;
        answer.meta.took_ms = start.elapsed().as_secs_f64() * 1e3;
        Ok(answer)
    }

    /// Whether a text means one or several materials that a viewer may see.
    pub fn knows(&self, text: &str, viewer: Viewer) -> bool {
        let snapshot = self.snapshot();
        let scope = snapshot.visible(viewer);
        !matches!(snapshot.materials.resolve(text, &snapshot.members(&scope), &scope), Resolved::Unknown(_))
    }

    /// All that is known of the material that a text means: an id, a formula or a name; with `predicted` also what is predicted of it.
    ///
    /// # Errors
    /// No material, or several, answer to it.
    pub fn material(&self, text: &str, viewer: Viewer, predicted: bool) -> Result<MaterialAnswer, HubError> {
        let snapshot = self.snapshot();
        let scope = snapshot.visible(viewer);
        let none = |closest| HubError::NoMaterial { text: text.to_owned(), closest };
        match snapshot.materials.resolve(text, &snapshot.members(&scope), &scope) {
            Resolved::Row(row) => {
                let mut answer = candidate::material(&snapshot, &scope, row).ok_or_else(|| none(Vec::new()))?;
                answer.predicted = predicted.then(|| candidate::predicted(&snapshot, &scope, row));
                Ok(answer)
            }
            Resolved::Ambiguous(ids) => Err(HubError::ambiguous(&snapshot, &scope, text, ids)),
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
    snapshot.materials.warm_up();
    let known = snapshot.measurements.properties.iter().filter_map(|key| snapshot.property(key, &scope));
    let mut known: Vec<&Property> = known.collect();
    // the dictionary's first; more than the snapshot keeps beliefs of would push each other out
    known.sort_by_key(|property| property.dataset().is_some());
    known.truncate(WARM);
    known.into_par_iter().for_each(|property| {
        snapshot.beliefs(&scope, property, None).population();
    });
}

/// The kept snapshot of the table's version, or one made from an older one that is kept, or a new one.
async fn open_snapshot(
    data_dir: &Path,
    device: &Device,
    table: &Table,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Snapshot, TableError> {
    let warn = |why| tracing::warn!("the kept snapshot is built anew: {why}");
    let files = table.files()?;
    match store::load(data_dir, table.version()) {
        Ok(Some(snapshot)) if snapshot.files == files => return Ok(snapshot),
        // the data directory was emptied and filled again
        Ok(Some(_)) => tracing::warn!("the kept snapshot is of other data files: it is built anew"),
        Ok(None) => {}
        Err(why) => warn(why),
    }
    let older = store::load_older(data_dir, table.version()).unwrap_or_else(|why| {
        warn(why);
        None
    });
    let snapshot = match older {
        Some(older) => next_snapshot(device, &older, table, progress).await?,
        None => snapshot::build(table, |done, total| progress(Progress::Building(done, total))).await?,
    };
    progress(Progress::Saving);
    keep(data_dir, &snapshot);
    Ok(snapshot)
}

/// The snapshot of the table's version: extended from another one, or built where that cannot be done.
async fn next_snapshot(
    device: &Device,
    old: &Snapshot,
    table: &Table,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Snapshot, TableError> {
    match snapshot::extend_for(device, old, table).await {
        Ok(next) => Ok(next),
        Err(why) => {
            tracing::warn!("all records are read again for version {}: {why}", table.version());
            snapshot::build(table, |done, total| progress(Progress::Building(done, total))).await
        }
    }
}

fn keep(data_dir: &Path, snapshot: &Snapshot) {
    if let Err(why) = store::save(data_dir, snapshot) {
        tracing::warn!("the snapshot is not kept, so the next start will build it again: {why}");
    }
}
