//! Commits: upsert, delete, and the load of whole data files.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake::kernel::{Action, Add, MetadataExt as _, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use object_store::ObjectStoreExt as _;
use object_store::path::Path as StorePath;

use super::files::{ROWS_PER_FILE, checked_path, encode, footer, read_ids, read_parquet};
use super::{CommitInfo, DATASET_KEY, DataFile, Table, TableError, commit_metadata};
use crate::catalogue::{DatasetInfo, Visibility};
use crate::columns::{DATASET, RecordColumns};
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
    /// Whether a commit was made. None is made where nothing changes, or where a commit with the same idempotency key
    /// is there already.
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
    /// `key` is the caller's idempotency key: a second call with the same key commits nothing. Of several records with
    /// one id the last counts. The dataset's terms are kept with the records; empty fields keep their older values.
    ///
    /// # Errors
    /// A record of another dataset, a bad dataset name, or a failure of the store; then nothing was changed.
    pub async fn upsert(
        &mut self,
        dataset: &DatasetInfo,
        records: Vec<Record>,
        key: Option<&str>,
    ) -> Result<Outcome, TableError> {
        if let Some(problem) = dataset.problem() {
            return Err(TableError::Dataset(problem));
        }
        let mut incoming: BTreeMap<String, Record> = BTreeMap::new();
        for record in records {
            if record.dataset() != dataset.name {
                return Err(TableError::Foreign { id: record.id, dataset: dataset.name.clone() });
            }
            incoming.insert(record.id.clone(), record);
        }
        let transaction = key.map(|key| Transaction::new(format!("matgenome:upsert:{key}"), 1));
        for _ in 0..TRIES {
            self.refresh().await?;
            if let Some(done) = self.already(transaction.as_ref()).await? {
                return Ok(done);
            }
            let plan = self.plan_upsert(&dataset.name, &incoming).await?;
            let known = self.datasets()?;
            let mut terms = known.get(&dataset.name).map_or_else(|| dataset.clone(), |old| dataset.clone().or(old));
            terms.visibility = terms.visibility.or(Some(Visibility::Public));
            let new_terms = (known.get(&dataset.name) != Some(&terms)).then_some(terms);
            if plan.added.is_empty() && plan.removed.is_empty() && new_terms.is_none() {
                return Ok(Outcome { version: self.version(), change: plan.change, committed: false });
            }
            let mut actions: Vec<Action> = Vec::new();
            for chunk in &plan.added {
                let bytes = encode(chunk)?;
                let path = checked_path(&dataset.name, &format!("part-{}", uuid::Uuid::new_v4()), &bytes);
                actions.push(Action::Add(self.write_file(&dataset.name, path, bytes).await?));
            }
            let info = CommitInfo {
                operation: "upsert".into(),
                datasets: vec![dataset.name.clone()],
                inserted: plan.change.inserted,
                updated: plan.change.updated,
                deleted: 0,
            };
            let done = self.commit(actions, &plan.removed, new_terms.as_slice(), &info, transaction.as_slice()).await?;
            if let Some(version) = done {
                return Ok(Outcome { version, change: plan.change, committed: true });
            }
        }
        Err(TableError::Contended(TRIES))
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
                plan.added.extend((!kept.is_empty()).then_some(kept));
                plan.removed.push(file);
            }
            if plan.removed.is_empty() {
                return Ok(Outcome { version: self.version(), change: plan.change, committed: false });
            }
            let mut actions: Vec<Action> = Vec::new();
            for chunk in &plan.added {
                let bytes = encode(chunk)?;
                let path = checked_path(dataset, &format!("part-{}", uuid::Uuid::new_v4()), &bytes);
                actions.push(Action::Add(self.write_file(dataset, path, bytes).await?));
            }
            let info = CommitInfo {
                operation: "delete".into(),
                datasets: vec![dataset.to_owned()],
                deleted: plan.change.deleted,
                ..Default::default()
            };
            if let Some(version) = self.commit(actions, &plan.removed, &[], &info, &[]).await? {
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

    async fn already(&self, transaction: Option<&Transaction>) -> Result<Option<Outcome>, TableError> {
        let Some(transaction) = transaction else { return Ok(None) };
        let seen = self.transaction_version(&transaction.app_id).await?;
        Ok(seen.map(|_| Outcome { version: self.version(), change: Change::default(), committed: false }))
    }

    async fn plan_upsert(&self, dataset: &str, incoming: &BTreeMap<String, Record>) -> Result<Plan, TableError> {
        let mut plan = Plan::default();
        let mut known: HashSet<String> = HashSet::new();
        for file in self.files()?.into_iter().filter(|f| f.dataset == dataset) {
            let touched = match &file.ids {
                Some((min, max)) => incoming.range::<String, _>(min..=max).next().is_some(),
                None => true,
            };
            if !touched {
                continue;
            }
            let bytes = self.fetch(&file).await?;
            let ids = read_ids(bytes.clone()).map_err(|e| file.damaged(e))?;
            let found: Vec<String> = ids.into_iter().filter(|id| incoming.contains_key(id)).collect();
            if found.is_empty() {
                continue;
            }
            let mut rows = read_records(bytes).map_err(|e| file.damaged(e))?;
            let mut updated = 0;
            for row in &mut rows {
                match incoming.get(&row.id) {
                    Some(new) if new != row => {
                        *row = new.clone();
                        updated += 1;
                    }
                    Some(_) => plan.change.unchanged += 1,
                    None => {}
                }
            }
            known.extend(found);
            plan.change.updated += updated;
            if updated > 0 {
                plan.added.extend(rows.chunks(ROWS_PER_FILE).map(<[Record]>::to_vec));
                plan.removed.push(file);
            }
        }
        let new: Vec<Record> = incoming.values().filter(|r| !known.contains(&r.id)).cloned().collect();
        plan.change.inserted = new.len() as u64;
        plan.added.extend(new.chunks(ROWS_PER_FILE).map(<[Record]>::to_vec));
        Ok(plan)
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
        self.store().put(&location, bytes.into()).await?;
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

    /// Commits against exactly the version that `self` shows. `None`: another writer was first.
    pub(super) async fn commit(
        &mut self,
        mut actions: Vec<Action>,
        removed: &[DataFile],
        terms: &[DatasetInfo],
        info: &CommitInfo,
        transactions: &[Transaction],
    ) -> Result<Option<u64>, TableError> {
        let state = self.delta.snapshot()?.clone();
        for view in state.log_data().iter() {
            if removed.iter().any(|f| f.path == view.path()) {
                actions.push(Action::Remove(view.remove_action(true)));
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
        let properties = CommitProperties::default()
            .with_metadata(commit_metadata(info))
            .with_application_transactions(transactions.to_vec())
            .with_max_retries(0);
        let before = state.version();
        let done = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(state.snapshot()), self.delta.log_store(), operation)
            .await;
        match done {
            Ok(done) => {
                self.refresh().await?;
                Ok(Some(done.version()))
            }
            Err(error) => {
                self.refresh().await?;
                let lost_race = matches!(
                    error,
                    DeltaTableError::VersionAlreadyExists(_)
                        | DeltaTableError::Transaction {
                            source: TransactionError::MaxCommitAttempts(_) | TransactionError::CommitConflict(_)
                        }
                );
                // before all else: a writer that lost to another one with the same key has committed nothing
                if lost_race && self.version() > before {
                    return Ok(None);
                }
                // a response may be lost after the commit went through: our transaction in the log decides
                if let [first, ..] = transactions
                    && self.transaction_version(&first.app_id).await?.is_some_and(|v| v >= first.version)
                {
                    return Ok(Some(self.version()));
                }
                Err(error.into())
            }
        }
    }
}

fn read_records(bytes: Bytes) -> Result<Vec<Record>, TableError> {
    let mut records = Vec::new();
    for batch in read_parquet(bytes)? {
        let columns = RecordColumns::read(&batch)?;
        records.extend((0..columns.len()).map(|row| columns.record(row)));
    }
    debug_assert!(records.windows(2).all(|w| dataset_of(&w[0].id) == dataset_of(&w[1].id)));
    Ok(records)
}
