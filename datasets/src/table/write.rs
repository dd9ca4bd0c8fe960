//! Commits: upsert, delete, and the load of whole data files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, MetadataExt as _, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use object_store::ObjectStoreExt as _;
use object_store::path::Path as StorePath;

use super::files::{Effort, ROWS_PER_FILE, checked_path, encode, footer, read_ids, read_parquet};
use super::log::{CommitId, Entry, entry};
use super::{CommitInfo, DATASET_KEY, DataFile, Table, TableError, commit_metadata};
use crate::catalogue::DatasetInfo;
use crate::columns::{DATASET, RecordColumns, to_batch};
use crate::record::{Record, dataset_of};

/// How often a commit that lost the race is planned again.
pub(super) const TRIES: usize = 50;

/// What a write did.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The table's version afterwards.
    pub version: u64,
    /// What was changed; all counts zero where nothing was.
    pub change: Change,
    /// Whether a commit was made. None is made where a commit with the same idempotency key is there already, or where
    /// nothing changes and there is no key to remember.
    pub committed: bool,
}

/// Rows changed by a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Records that were not there before.
    pub inserted: u64,
    /// Records that replaced a different one with the same id.
    pub updated: u64,
    /// Records that are there already, the same in every value.
    pub unchanged: u64,
    /// Records taken out.
    pub deleted: u64,
}

/// Application ids of idempotency keys begin with this.
const KEY_PREFIX: &str = "matgenome:upsert:";
/// Transaction version of a key that counts in its own dataset.
pub(super) const KEY_OF_DATASET: i64 = 2;
/// Transaction version of a key as written by 0.1, which counted in all datasets. The number tells the two apart where
/// an old key looks like a dataset and a new key.
const KEY_OF_ALL: i64 = 1;

pub(super) fn key_id(dataset: &str, key: &str) -> String {
    format!("{KEY_PREFIX}{dataset}:{key}")
}

/// The files that a commit takes out and puts in.
#[derive(Default)]
struct Plan {
    removed: Vec<DataFile>,
    added: Vec<Vec<Record>>,
    change: Change,
}

impl Table {
    /// Puts records into a dataset: new ids are inserted, known ids replaced where anything differs. One atomic commit.
    ///
    /// `key` is the caller's idempotency key: a second call with the same key and dataset commits nothing, whatever was
    /// written in between. It is kept in the log, also where nothing changed: then the commit holds nothing else.
    /// Of several records with one id the last counts. The dataset's terms are kept with the records; empty fields keep
    /// their older values.
    ///
    /// # Errors
    /// A record of another dataset, a bad dataset name, a property of the dataset's own that cannot be kept or that would
    /// change the meaning of stored values ([`DatasetInfo::conflict_with`]), a value of such a property that nothing
    /// defines, or a failure of the store; then nothing was changed, but for [`TableError::Unknown`].
    pub async fn upsert(
        &mut self,
        dataset: &DatasetInfo,
        records: Vec<Record>,
        key: Option<&str>,
    ) -> Result<Outcome, TableError> {
        for record in &records {
            if record.dataset() != dataset.name {
                return Err(TableError::Foreign { id: record.id.clone(), dataset: dataset.name.clone() });
            }
        }
        let by_id: BTreeMap<String, Record> = records.into_iter().map(|record| (record.id.clone(), record)).collect();
        let sorted: Vec<Record> = by_id.into_values().collect();
        let pieces = sorted.chunks(ROWS_PER_FILE).map(to_batch).collect::<Result<Vec<_>, _>>()?;
        self.upsert_sorted(&[(dataset.clone(), Arc::new(pieces))], key).await
    }

    /// Takes records out of a dataset; ids that are not there are passed over. One atomic commit.
    pub async fn delete(&mut self, dataset: &str, ids: &HashSet<String>) -> Result<Outcome, TableError> {
        for _ in 0..TRIES {
            self.refresh().await?;
            let mut plan = Plan::default();
            for file in self.files()?.into_iter().filter(|f| f.dataset == dataset) {
                if !ids.iter().any(|id| file.may_hold(id)) {
                    continue;
                }
                let bytes = self.fetch(&file).await?;
                if !read_ids(bytes.clone()).map_err(|e| file.damaged(e))?.iter().any(|id| ids.contains(id)) {
                    continue;
                }
                let rows = read_records(bytes).map_err(|e| file.damaged(e))?;
                let before = rows.len();
                let kept: Vec<Record> = rows.into_iter().filter(|r| !ids.contains(&r.id)).collect();
                plan.change.deleted += (before - kept.len()) as u64;
                plan.added.extend(kept.chunks(ROWS_PER_FILE).map(<[Record]>::to_vec));
                plan.removed.push(file);
            }
            if plan.removed.is_empty() {
                return Ok(Outcome { version: self.version(), change: plan.change, committed: false });
            }
            let parts = self.write_parts(dataset, &plan.added).await?;
            let info = CommitInfo {
                operation: "delete".into(),
                datasets: vec![dataset.to_owned()],
                deleted: plan.change.deleted,
                ..Default::default()
            };
            if let Some(version) = self.commit_parts(parts, &plan.removed, &[], &info, &[]).await? {
                return Ok(Outcome { version, change: plan.change, committed: true });
            }
        }
        Err(TableError::Contended(TRIES))
    }

    /// Puts whole Parquet files of whole datasets in, each dataset in place of what it held, all in one commit.
    ///
    /// `revision` makes it idempotent: a dataset that was loaded at this revision or a later one is passed over, also
    /// where its records were deleted since. A load that was interrupted leaves no trace that a reader would see.
    pub(crate) async fn load(
        &mut self,
        datasets: &[(DatasetInfo, Vec<Bytes>)],
        revision: i64,
    ) -> Result<Outcome, TableError> {
        for _ in 0..TRIES {
            self.refresh().await?;
            let mut info = CommitInfo { operation: "load".into(), ..Default::default() };
            let (mut actions, mut removed, mut terms, mut transactions) = (vec![], vec![], vec![], vec![]);
            for (dataset, files) in datasets {
                let app = format!("matgenome:bundled:{}", dataset.name);
                if self.transaction_version(&app).await?.is_some_and(|loaded| loaded >= revision) {
                    continue;
                }
                for (n, bytes) in files.iter().enumerate() {
                    // the content names the file, so an interrupted load leaves nothing that the next one does not use
                    let path = checked_path(&dataset.name, &format!("bundled-{n:02}"), bytes);
                    let add = self.write_file(&dataset.name, path, bytes.clone()).await?;
                    info.inserted += footer(bytes)?.0 as u64;
                    actions.push(Action::Add(add));
                }
                removed.extend(self.files()?.into_iter().filter(|f| f.dataset == dataset.name));
                info.datasets.push(dataset.name.clone());
                terms.push(dataset.clone());
                transactions.push(Transaction::new(app, revision));
            }
            let change = Change { inserted: info.inserted, ..Default::default() };
            if terms.is_empty() {
                return Ok(Outcome { version: self.version(), change, committed: false });
            }
            if let Some(version) = self.commit(actions, &removed, &terms, &info, &transactions).await? {
                return Ok(Outcome { version, change, committed: true });
            }
        }
        Err(TableError::Contended(TRIES))
    }

    /// Whether each of these bundled datasets was loaded at this revision.
    pub(crate) async fn is_loaded(&self, names: &[&str], revision: i64) -> Result<bool, TableError> {
        for name in names {
            let loaded = self.transaction_version(&format!("matgenome:bundled:{name}")).await?;
            if loaded.is_none_or(|loaded| loaded < revision) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn transaction_version(&self, app: &str) -> Result<Option<i64>, TableError> {
        Ok(self.delta.snapshot()?.transaction_version(self.delta.log_store().as_ref(), app).await?)
    }

    /// Whether a commit to this dataset with this idempotency key is in the log.
    pub(super) async fn is_key_used(&self, dataset: &str, key: &str) -> Result<bool, TableError> {
        if self.transaction_version(&key_id(dataset, key)).await?.is_some_and(|v| v >= KEY_OF_DATASET) {
            return Ok(true);
        }
        let of_all = self.transaction_version(&format!("{KEY_PREFIX}{key}")).await?;
        Ok(of_all == Some(KEY_OF_ALL))
    }

    /// Writes one data file for each chunk; all of them, or none that stays.
    async fn write_parts(&self, dataset: &str, chunks: &[Vec<Record>]) -> Result<Vec<Add>, TableError> {
        let mut parts = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            match self.write_part(dataset, encode(chunk, Effort::Quick)?).await {
                Ok(part) => parts.push(part),
                Err(e) => {
                    self.take_back(&parts).await;
                    return Err(e);
                }
            }
        }
        Ok(parts)
    }

    /// Writes one data file; no commit names it yet.
    pub(super) async fn write_part(&self, dataset: &str, bytes: Bytes) -> Result<Add, TableError> {
        let path = checked_path(dataset, &format!("part-{}", uuid::Uuid::new_v4()), &bytes);
        let written = self.write_file(dataset, path.clone(), bytes).await;
        if written.is_err() {
            self.take_back_paths(&[path]).await;
        }
        written
    }

    /// Removes files that were written for a commit that is certainly not made.
    pub(super) async fn take_back(&self, parts: &[Add]) {
        self.take_back_paths(&parts.iter().map(|part| part.path.clone()).collect::<Vec<_>>()).await;
    }

    async fn take_back_paths(&self, paths: &[String]) {
        for path in paths {
            let Ok(location) = StorePath::parse(path) else { continue };
            // what cannot be removed now is an orphan that no version names: `clean_orphans` takes it later
            if let Err(e) = self.store().delete(&location).await
                && !matches!(e, object_store::Error::NotFound { .. })
            {
                tracing::debug!(%path, "a file of a commit that was not made stays for now: {e}");
            }
        }
    }

    /// Commits files of [`Table::write_part`], and takes them back where the commit is certainly not made.
    pub(super) async fn commit_parts(
        &mut self,
        parts: Vec<Add>,
        removed: &[DataFile],
        terms: &[DatasetInfo],
        info: &CommitInfo,
        transactions: &[Transaction],
    ) -> Result<Option<u64>, TableError> {
        let actions = parts.iter().cloned().map(Action::Add).collect();
        let done = self.commit(actions, removed, terms, info, transactions).await;
        if matches!(done, Ok(None) | Err(TableError::NoSpace { .. })) {
            self.take_back(&parts).await;
        }
        done
    }

    async fn write_file(&self, dataset: &str, path: String, bytes: Bytes) -> Result<Add, TableError> {
        let (rows, ids) = footer(&bytes)?;
        let size = bytes.len() as i64;
        let mut stats = serde_json::json!({ "numRecords": rows });
        if let Some((min, max)) = ids {
            stats["minValues"] = serde_json::json!({ "id": min });
            stats["maxValues"] = serde_json::json!({ "id": max });
            stats["nullCount"] = serde_json::json!({ "id": 0 });
        }
        let location =
            StorePath::parse(&path).map_err(|e| TableError::Corrupt { what: path.clone(), why: e.to_string() })?;
        if let Err(e) = self.store().put(&location, bytes.into()).await {
            return Err(TableError::from(e).explained(self.location()));
        }
        Ok(Add {
            path,
            partition_values: HashMap::from([(DATASET.to_owned(), Some(dataset.to_owned()))]),
            size,
            modification_time: chrono::Utc::now().timestamp_millis(),
            data_change: true,
            stats: Some(stats.to_string()),
            ..Default::default()
        })
    }

    /// Commits against exactly the version that `self` shows. `None`: another writer was first, and nothing was changed.
    ///
    /// A response may be lost after the commit went through, and what follows a commit (a checkpoint) may fail: each
    /// commit carries an id of its own, and after any error the log says whether it is there.
    pub(super) async fn commit(
        &mut self,
        mut actions: Vec<Action>,
        removed: &[DataFile],
        terms: &[DatasetInfo],
        info: &CommitInfo,
        transactions: &[Transaction],
    ) -> Result<Option<u64>, TableError> {
        let state = self.delta.snapshot()?.clone();
        // a commit that only puts the same records into other files says so
        let data_change = !actions.iter().any(|action| matches!(action, Action::Add(add) if !add.data_change));
        for view in state.log_data().iter() {
            if removed.iter().any(|f| f.path == view.path()) {
                actions.push(Action::Remove(view.remove_action(data_change)));
            }
        }
        if !terms.is_empty() {
            let mut metadata = state.metadata().clone();
            for dataset in terms {
                let text = serde_json::to_string(dataset).map_err(|e| TableError::Dataset(e.to_string()))?;
                metadata = metadata
                    .add_config_key(format!("{DATASET_KEY}{}", dataset.name), text)
                    .map_err(DeltaTableError::from)?;
            }
            actions.push(Action::Metadata(metadata));
        }
        let operation =
            DeltaOperation::Write { mode: SaveMode::Append, partition_by: Some(vec![DATASET.into()]), predicate: None };
        let id = CommitId::new();
        let properties = CommitProperties::default()
            .with_metadata(commit_metadata(info).into_iter().chain([id.metadata()]))
            .with_application_transactions(transactions.to_vec())
            .with_max_retries(0);
        let before = state.version();
        let done = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(state.snapshot()), self.delta.log_store(), operation)
            .await;
        let error = match done {
            Ok(done) => {
                self.delta.state = Some(done.snapshot());
                return Ok(Some(done.version()));
            }
            Err(error) => TableError::from(error).explained(self.location()),
        };
        let wanted = before + 1;
        match entry(self.store().as_ref(), wanted, &id).await {
            Ok(Entry::Ours) => {
                // the commit stands, whatever comes now: every write and every look at the newest version refreshes
                if let Err(e) = self.refresh().await {
                    tracing::debug!("version {wanted} is committed and not loaded yet: {e}");
                }
                Ok(Some(wanted))
            }
            Ok(Entry::Others) => Ok(None),
            Ok(Entry::None) => Err(error),
            Err(cut @ TableError::CutOff { .. }) => Err(cut),
            Err(look) => Err(TableError::Unknown { commit: error.to_string(), look: look.to_string() }),
        }
    }
}

pub(super) fn read_records(bytes: Bytes) -> Result<Vec<Record>, TableError> {
    let mut records = Vec::new();
    for batch in read_parquet(bytes)? {
        let columns = RecordColumns::read(&batch)?;
        records.extend((0..columns.len()).map(|row| columns.record(row)));
    }
    debug_assert!(records.windows(2).all(|w| dataset_of(&w[0].id) == dataset_of(&w[1].id)));
    Ok(records)
}
