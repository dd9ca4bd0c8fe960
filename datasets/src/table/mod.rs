//! Which records are there, at which version? The record table: one Delta table, partitioned by dataset.
//!
//! Good for: whole-dataset reads, point reads by record id, atomic and idempotent upserts, time travel.
//! Bad at: anything that needs more than one table in one commit.
//!
//! The terms of the datasets live in the table's own metadata, so records and terms change in one commit. Every commit
//! is made against exactly one version (no blind retries): a writer that lost the race reads the winner first, so two
//! upserts of one record id can never leave two rows.

mod files;
mod known;
mod log;
mod ordered;
mod sorted;
mod upgrade;
mod upkeep;
mod verify;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::catalogue::DatasetInfo;
use crate::columns::{DATASET, RecordColumns, table_schema};
use crate::durable::{DurableLocal, create_dir_durably};
use crate::record::{Record, dataset_of};

pub use files::{DataFile, Effort, ROWS_PER_FILE, encode, read_parquet};
pub use known::{AsItIs, Stated, Wanted};
pub use ordered::Ordered;
pub use sorted::SortedRecords;
pub use upkeep::{Cleaned, Compacted};
pub use write::{Change, Outcome};

pub(crate) use files::writer_properties;

/// Prefix of the table properties that hold the datasets' terms, one JSON document each.
const DATASET_KEY: &str = "matgenome.dataset.";
/// Key of our entry in a commit's info.
const COMMIT_KEY: &str = "matgenome";

/// What can go wrong with the record table, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The folder cannot be used.
    #[error("cannot use the data directory {path}: {why}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        why: std::io::Error,
    },
    /// Something stored is not what it must be.
    #[error("{what} is damaged: {why}; restore it from a copy, or move the data directory away and ingest again")]
    Corrupt {
        /// Which file or entry.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The version asked for is not kept.
    #[error("there is no version {asked} of the table: the newest is {newest}")]
    NoSuchVersion {
        /// The version asked for.
        asked: u64,
        /// The newest one.
        newest: u64,
    },
    /// A dataset's name or terms cannot be taken.
    #[error("{0}")]
    Dataset(String),
    /// A record names another dataset than the one it is written to.
    #[error("record `{id}` does not belong to dataset `{dataset}`")]
    Foreign {
        /// The record.
        id: String,
        /// The dataset.
        dataset: String,
    },
    /// The newest log entry was cut off while it was written. Never on a local disk, where entries appear whole.
    #[error(
        "{entry} is cut off after {bytes} bytes. It is the newest entry and no writer was told that it is committed: \
         move this file away and run the same command again"
    )]
    CutOff {
        /// The log entry.
        entry: String,
        /// Bytes that are there.
        bytes: usize,
    },
    /// The disk is full; nothing was changed.
    #[error(
        "no space left on the disk of {path} ({why}): free some and run the same command again; the table is as before"
    )]
    NoSpace {
        /// Folder of the table.
        path: PathBuf,
        /// What the operating system says.
        why: String,
    },
    /// The store failed while a commit was made, and again when it was asked what became of it.
    #[error(
        "it is not known whether the commit went through ({commit}; then {look}): when the disk or the network is well, \
         run the same command again; records that are there already are not put in twice"
    )]
    Unknown {
        /// Why the commit seems to have failed.
        commit: String,
        /// Why the log could not be read afterwards.
        look: String,
    },
    /// Other writers were faster too many times.
    #[error("the table changed {0} times while this commit was made; nothing was written: try again")]
    Contended(usize),
    /// The store failed.
    #[error("the record table cannot be read or written: {0}")]
    Delta(#[from] DeltaTableError),
    /// Reading or writing Parquet failed.
    #[error("Parquet: {0}")]
    Parquet(#[from] deltalake::parquet::errors::ParquetError),
    /// Columns are not those of a record table.
    #[error("Arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] object_store::Error),
}

/// One commit, as `history` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Commit {
    /// Table version that the commit made.
    pub version: u64,
    /// Milliseconds since 1970, UTC.
    pub timestamp_ms: Option<i64>,
    /// What was done.
    #[serde(flatten)]
    pub what: CommitInfo,
}

/// What one commit did, as kept in its commit info.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommitInfo {
    /// `create`, `upsert`, `delete`, `load`, `compact` or `upgrade`.
    pub operation: String,
    /// The datasets that it touched.
    #[serde(default)]
    pub datasets: Vec<String>,
    /// Records that were not there before.
    #[serde(default)]
    pub inserted: u64,
    /// Records that replaced an older one.
    #[serde(default)]
    pub updated: u64,
    /// Records taken out.
    #[serde(default)]
    pub deleted: u64,
}

/// The record table at one version.
#[derive(Debug, Clone)]
pub struct Table {
    delta: DeltaTable,
    location: PathBuf,
    disk: Arc<dyn ObjectStore>,
}

impl Table {
    /// Opens the table in `data_dir`, and creates folder and table where they are missing. A table of an older version
    /// of the program gets the columns that it lacks, by one commit of the operation `upgrade`.
    ///
    /// # Errors
    /// The folder cannot be made or written ([`TableError::Folder`]), or the log is damaged.
    pub async fn open_or_create(data_dir: &Path) -> Result<Table, TableError> {
        Table::open_or_create_with(data_dir, Arc::new(DurableLocal::everywhere())).await
    }

    /// As [`Table::open_or_create`], over a store of the caller's. Its paths are those of the disk from the root on; it
    /// must create a file that is not there in one step, or not at all ([`object_store::PutMode::Create`]), and report
    /// a write as done only when it is durable.
    ///
    /// # Errors
    /// As [`Table::open_or_create`].
    pub async fn open_or_create_with(data_dir: &Path, disk: Arc<dyn ObjectStore>) -> Result<Table, TableError> {
        let folder = |why| TableError::Folder { path: data_dir.to_owned(), why };
        create_dir_durably(data_dir).map_err(folder)?;
        let data_dir = data_dir.canonicalize().map_err(folder)?;
        if let Some(mut table) = Table::open_with(&data_dir, Arc::clone(&disk)).await? {
            table.upgrade().await?;
            return Ok(table);
        }
        let location = data_dir.join("records");
        create_dir_durably(&location).map_err(|why| TableError::Folder { path: location.clone(), why })?;
        let schema: StructType = (&table_schema()).try_into_kernel()?;
        let info = CommitInfo { operation: "create".into(), ..Default::default() };
        let created = CreateBuilder::new()
            .with_log_store(builder(&location, &disk)?.build_storage()?)
            .with_table_name("records")
            .with_comment("matgenome: one row a record, its values in `measurements`")
            .with_columns(schema.fields().cloned())
            .with_partition_columns([DATASET])
            .with_save_mode(SaveMode::Ignore)
            // no retries: another process that creates it in the same moment has created it for both
            .with_commit_properties(
                CommitProperties::default().with_metadata(commit_metadata(&info)).with_max_retries(0),
            )
            .await;
        match (Table::open_with(&data_dir, disk).await, created) {
            (Ok(Some(table)), _) => Ok(table),
            (Err(cut @ TableError::CutOff { .. }), _) => Err(cut),
            (_, Err(e)) => Err(TableError::from(e).explained(&location)),
            (opened, Ok(_)) => opened?.ok_or_else(|| TableError::Corrupt {
                what: location.display().to_string(),
                why: "the table was created and is not there".into(),
            }),
        }
    }

    /// Opens the table in `data_dir` if there is one.
    ///
    /// # Errors
    /// The log is damaged or cannot be read.
    pub async fn open(data_dir: &Path) -> Result<Option<Table>, TableError> {
        Table::open_with(data_dir, Arc::new(DurableLocal::everywhere())).await
    }

    /// As [`Table::open`], over a store of the caller's: see [`Table::open_or_create_with`].
    ///
    /// # Errors
    /// As [`Table::open`].
    pub async fn open_with(data_dir: &Path, disk: Arc<dyn ObjectStore>) -> Result<Option<Table>, TableError> {
        let location = data_dir.join("records");
        if !location.join("_delta_log").is_dir() {
            return Ok(None);
        }
        let location = location.canonicalize().map_err(|why| TableError::Folder { path: location.clone(), why })?;
        match builder(&location, &disk)?.load().await {
            Ok(delta) => Ok(Some(Table { delta, location, disk })),
            Err(DeltaTableError::NotATable(_)) => Ok(None),
            Err(e) => {
                let store = builder(&location, &disk)?.build_storage()?.object_store(None);
                Err(log::what_is_cut_off(store.as_ref()).await.unwrap_or_else(|| e.into()))
            }
        }
    }

    /// The version this value shows.
    pub fn version(&self) -> u64 {
        self.delta.version().unwrap_or_default()
    }

    /// The folder of the table.
    pub fn location(&self) -> &Path {
        &self.location
    }

    /// The folder beside the table for files that live as long as a job.
    pub fn scratch(&self) -> PathBuf {
        self.location.with_file_name("scratch")
    }

    /// Moves on to the newest version; says whether there was one.
    pub async fn refresh(&mut self) -> Result<bool, TableError> {
        let before = self.version();
        if let Err(e) = self.delta.update_state().await {
            return Err(log::what_is_cut_off(self.store().as_ref()).await.unwrap_or_else(|| e.into()));
        }
        Ok(self.version() != before)
    }

    /// The same table at an older version.
    pub async fn at(&self, version: u64) -> Result<Table, TableError> {
        let newest = self.version();
        if version > newest {
            return Err(TableError::NoSuchVersion { asked: version, newest });
        }
        let delta = builder(&self.location, &self.disk)?.with_version(version).load().await?;
        Ok(Table { delta, location: self.location.clone(), disk: Arc::clone(&self.disk) })
    }

    /// The datasets and their terms.
    ///
    /// # Errors
    /// An entry of the table's metadata cannot be read.
    pub fn datasets(&self) -> Result<BTreeMap<String, DatasetInfo>, TableError> {
        let mut found = BTreeMap::new();
        for (key, text) in self.delta.snapshot()?.metadata().configuration() {
            if let Some(name) = key.strip_prefix(DATASET_KEY) {
                let info = serde_json::from_str(text)
                    .map_err(|e| TableError::Corrupt { what: format!("table property `{key}`"), why: e.to_string() })?;
                found.insert(name.to_owned(), info);
            }
        }
        Ok(found)
    }

    /// The commits up to this version, newest first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn history(&self) -> Result<Vec<Commit>, TableError> {
        let store = self.store();
        let mut entries = log::entries(store.as_ref()).await?;
        entries.retain(|(version, _)| *version <= self.version());
        let mut commits = Vec::with_capacity(entries.len());
        for (version, path) in entries {
            let bytes = store.get(&path).await?.bytes().await?;
            let info = log::commit_info(&bytes)
                .map_err(|e| TableError::Corrupt { what: path.to_string(), why: e.to_string() })?
                .unwrap_or_default();
            let ours = info.get(COMMIT_KEY).and_then(|ours| serde_json::from_value(ours.clone()).ok());
            let operation = info.get("operation").and_then(|operation| operation.as_str()).unwrap_or("unknown");
            commits.push(Commit {
                version,
                timestamp_ms: info.get("timestamp").and_then(serde_json::Value::as_i64),
                what: ours.unwrap_or_else(|| CommitInfo { operation: operation.to_lowercase(), ..Default::default() }),
            });
        }
        Ok(commits)
    }

    /// One record by its id.
    ///
    /// # Errors
    /// A data file cannot be read.
    pub async fn record(&self, id: &str) -> Result<Option<Record>, TableError> {
        let dataset = dataset_of(id);
        for file in self.files()?.into_iter().filter(|f| f.dataset == dataset && f.may_hold(id)) {
            let bytes = self.fetch(&file).await?;
            for batch in files::read_rows_with_id(bytes, id).map_err(|e| file.damaged(e))? {
                let columns = RecordColumns::read(&batch).map_err(|e| file.damaged(e))?;
                if let Some(row) = (0..columns.len()).find(|&row| columns.id.value(row) == id) {
                    return Ok(Some(columns.record(row)));
                }
            }
        }
        Ok(None)
    }

    /// All batches of one data file.
    pub async fn batches(&self, file: &DataFile) -> Result<Vec<RecordBatch>, TableError> {
        read_parquet(self.fetch(file).await?).map_err(|e| file.damaged(e))
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        self.delta.object_store()
    }
}

impl TableError {
    /// With a full disk said in plain words.
    fn explained(self, location: &Path) -> TableError {
        match log::no_space(&self) {
            Some(why) if !matches!(self, TableError::NoSpace { .. }) => {
                TableError::NoSpace { path: location.to_owned(), why }
            }
            _ => self,
        }
    }
}

fn builder(location: &Path, disk: &Arc<dyn ObjectStore>) -> Result<DeltaTableBuilder, TableError> {
    let url = Url::from_directory_path(location).map_err(|()| TableError::Folder {
        path: location.to_owned(),
        why: std::io::Error::other("not an absolute path"),
    })?;
    Ok(DeltaTableBuilder::from_url(url.clone())?.with_storage_backend(Arc::clone(disk), url))
}

fn commit_metadata(info: &CommitInfo) -> [(String, serde_json::Value); 1] {
    [(COMMIT_KEY.to_owned(), serde_json::json!(info))]
}
