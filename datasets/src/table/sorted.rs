//! Upserts of any size: records in id order, in pieces, so that memory is bounded whatever their number.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{BooleanArray, RecordBatch, StringArray};
use bytes::Bytes;
use deltalake::kernel::{Action, Add, Transaction};
use futures::StreamExt as _;

use super::files::{Effort, ROWS_PER_FILE, encode, encode_batch, read_ids};
use super::write::{Change, KEY_OF_DATASET, Outcome, TRIES, key_id, read_records};
use super::{CommitInfo, DataFile, Table, TableError};
use crate::catalogue::{DatasetInfo, Visibility};
use crate::columns::RecordColumns;
use crate::record::{Record, dataset_of};

/// Pieces that are encoded or written at a time, at most: bounds memory.
const PIECES_AT_A_TIME: usize = 4;

/// Records of one dataset in id order, each id once, cut into pieces of at most [`ROWS_PER_FILE`] rows. A piece may lie
/// on disk until it is read.
pub trait SortedRecords: Send + Sync {
    /// Smallest and largest id of each piece, in order.
    fn ranges(&self) -> Vec<(String, String)>;

    /// The rows of a piece, as [`crate::columns::file_schema`].
    ///
    /// # Errors
    /// It cannot be read back.
    fn read(&self, piece: usize) -> Result<RecordBatch, TableError>;
}

impl SortedRecords for Vec<RecordBatch> {
    fn ranges(&self) -> Vec<(String, String)> {
        self.iter().filter_map(|batch| RecordColumns::ids(batch).ok()).map(|ids| range_of(&ids)).collect()
    }

    fn read(&self, piece: usize) -> Result<RecordBatch, TableError> {
        self.get(piece).cloned().ok_or_else(|| TableError::Dataset(format!("there is no piece {piece}")))
    }
}

/// Records of which every value is of a property that is defined.
struct Defined {
    records: Arc<dyn SortedRecords>,
    terms: DatasetInfo,
}

impl SortedRecords for Defined {
    fn ranges(&self) -> Vec<(String, String)> {
        self.records.ranges()
    }

    fn read(&self, piece: usize) -> Result<RecordBatch, TableError> {
        let batch = self.records.read(piece)?;
        let own = |key: &&Arc<str>| key.contains(':') && self.terms.property(key).is_none();
        let properties = RecordColumns::properties(&batch)?;
        let Some(key) = properties.iter().find(own) else { return Ok(batch) };
        let columns = RecordColumns::read(&batch)?;
        let is_of = |row: &usize| {
            let span = columns.offsets[*row]..columns.offsets[*row + 1];
            span.into_iter().any(|i| columns.property.get(i).is_some_and(|word| word == key))
        };
        let id = (0..columns.len()).find(is_of).map_or("", |row| columns.id.value(row));
        Err(TableError::Dataset(format!(
            "record `{id}` has a value of `{key}`, which dataset `{}` does not define: state it among the dataset's properties",
            self.terms.name
        )))
    }
}

fn range_of(ids: &StringArray) -> (String, String) {
    use arrow::array::Array as _;
    match ids.len() {
        0 => Default::default(),
        n => (ids.value(0).to_owned(), ids.value(n - 1).to_owned()),
    }
}

/// The files that were written for pieces, with the rows of each piece that were known then.
type Written = HashMap<usize, (Vec<bool>, Add)>;

/// What a commit takes out and puts in.
#[derive(Default)]
struct Plan {
    added: Vec<Add>,
    rewritten: Vec<Add>,
    removed: Vec<DataFile>,
    terms: Vec<DatasetInfo>,
    /// Names of the datasets that change.
    changed: Vec<String>,
    change: Change,
}

/// What an upsert does to the files that are there.
#[derive(Default)]
struct Merged {
    removed: Vec<DataFile>,
    rewritten: Vec<Vec<Record>>,
    change: Change,
    /// For each piece the rows that are in the table already, whether or not they differ; `None` where there is none.
    known: HashMap<usize, Vec<bool>>,
}

impl Table {
    /// Puts records into datasets, as [`Table::upsert`] does, for any number of records. One atomic commit for all of
    /// them: data files are written as they are made, and become visible together.
    ///
    /// # Errors
    /// As [`Table::upsert`]; then nothing was changed.
    pub async fn upsert_sorted(
        &mut self,
        sets: &[(DatasetInfo, Arc<dyn SortedRecords>)],
        key: Option<&str>,
    ) -> Result<Outcome, TableError> {
        let ranges: Vec<Vec<(String, String)>> = sets.iter().map(|(_, records)| records.ranges()).collect();
        for ((dataset, _), ranges) in sets.iter().zip(&ranges) {
            if let Some(problem) = dataset.problem() {
                return Err(TableError::Dataset(problem));
            }
            // a piece without rows has no ids
            for id in ranges.iter().flat_map(|(min, max)| [min, max]).filter(|id| !id.is_empty()) {
                if dataset_of(id) != dataset.name {
                    return Err(TableError::Foreign { id: id.clone(), dataset: dataset.name.clone() });
                }
            }
        }
        let mut names: Vec<&str> = sets.iter().map(|(dataset, _)| dataset.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(TableError::Dataset(format!("dataset `{}` is there twice in one commit", twice[0])));
        }
        let transaction = |dataset: &DatasetInfo| Some(Transaction::new(key_id(&dataset.name, key?), KEY_OF_DATASET));
        let transactions: Vec<Transaction> = sets.iter().filter_map(|(dataset, _)| transaction(dataset)).collect();
        // files that a lost race left written: they serve again where the same rows are new
        let mut written: Vec<Written> = vec![HashMap::new(); sets.len()];
        for _ in 0..TRIES {
            self.refresh().await?;
            if let Some(key) = key
                && self.are_keys_used(sets, key).await?
            {
                return Ok(Outcome { version: self.version(), change: Change::default(), committed: false });
            }
            let mut plan = Plan::default();
            let planned = self.plan(sets, &ranges, &mut written, &mut plan).await;
            let fresh = |plan: &Plan, written: &[Written]| -> Vec<Add> {
                let kept = written.iter().flat_map(HashMap::values).map(|(_, add)| add.clone());
                plan.rewritten.iter().cloned().chain(kept).collect()
            };
            if let Err(e) = planned {
                self.take_back(&fresh(&plan, &written)).await;
                return Err(e);
            }
            if plan.changed.is_empty() && transactions.is_empty() {
                return Ok(Outcome { version: self.version(), change: plan.change, committed: false });
            }
            let info = CommitInfo {
                operation: "upsert".into(),
                datasets: plan.changed.clone(),
                inserted: plan.change.inserted,
                updated: plan.change.updated,
                deleted: 0,
            };
            let actions = plan.rewritten.iter().chain(&plan.added).cloned().map(Action::Add).collect();
            let done = self.commit(actions, &plan.removed, &plan.terms, &info, &transactions).await;
            match done {
                Ok(Some(version)) => return Ok(Outcome { version, change: plan.change, committed: true }),
                // rewritten rows were those of the version that lost
                Ok(None) => self.take_back(&plan.rewritten).await,
                Err(e) => {
                    if matches!(e, TableError::NoSpace { .. }) {
                        self.take_back(&fresh(&plan, &written)).await;
                    }
                    return Err(e);
                }
            }
        }
        Err(TableError::Contended(TRIES))
    }

    async fn are_keys_used(
        &self,
        sets: &[(DatasetInfo, Arc<dyn SortedRecords>)],
        key: &str,
    ) -> Result<bool, TableError> {
        for (dataset, _) in sets {
            if !self.is_key_used(&dataset.name, key).await? {
                return Ok(false);
            }
        }
        Ok(!sets.is_empty())
    }

    /// Writes the files of a commit against the version that `self` shows.
    async fn plan(
        &self,
        sets: &[(DatasetInfo, Arc<dyn SortedRecords>)],
        ranges: &[Vec<(String, String)>],
        written: &mut [Written],
        plan: &mut Plan,
    ) -> Result<(), TableError> {
        let held = self.datasets()?;
        for (((dataset, records), ranges), written) in sets.iter().zip(ranges).zip(written) {
            let old = held.get(&dataset.name);
            if let Some(problem) = old.and_then(|old| dataset.conflict_with(old)) {
                return Err(TableError::Dataset(problem));
            }
            // `or` also orders the properties, so that saying the same again is no change
            let mut terms = dataset.clone().or(old.unwrap_or(&DatasetInfo::unnamed_terms(&dataset.name)));
            terms.visibility = terms.visibility.or(Some(Visibility::Public));
            let is_changed = held.get(&dataset.name) != Some(&terms);
            let before = (plan.added.len(), plan.rewritten.len());
            let checked: Arc<dyn SortedRecords> =
                Arc::new(Defined { records: Arc::clone(records), terms: terms.clone() });
            let records = &checked;
            let merged = self.compare_files(&dataset.name, ranges, records).await?;
            for rows in &merged.rewritten {
                let part = self.write_part(&dataset.name, encode(rows, Effort::Quick)?).await?;
                plan.rewritten.push(part);
            }
            let adds = self.add_new(&dataset.name, ranges.len(), records, merged.known, written).await?;
            plan.change.inserted += adds.iter().map(rows_of).sum::<u64>();
            plan.change.updated += merged.change.updated;
            plan.change.unchanged += merged.change.unchanged;
            plan.removed.extend(merged.removed);
            plan.added.extend(adds);
            if is_changed || before != (plan.added.len(), plan.rewritten.len()) {
                plan.changed.push(dataset.name.clone());
            }
            plan.terms.extend(is_changed.then_some(terms));
        }
        Ok(())
    }

    /// Writes the rows that are not known, some pieces at a time.
    async fn add_new(
        &self,
        dataset: &str,
        pieces: usize,
        records: &Arc<dyn SortedRecords>,
        mut known: HashMap<usize, Vec<bool>>,
        written: &mut Written,
    ) -> Result<Vec<Add>, TableError> {
        let mut adds = Vec::new();
        let pieces: Vec<(usize, Vec<bool>)> =
            (0..pieces).map(|piece| (piece, known.remove(&piece).unwrap_or_default())).collect();
        let is_written = |(piece, known): &(usize, Vec<bool>)| written.get(piece).is_some_and(|(k, _)| k == known);
        let (again, todo): (Vec<_>, Vec<_>) = pieces.into_iter().partition(is_written);
        adds.extend(again.iter().filter_map(|(piece, _)| written.get(piece)).map(|(_, add)| add.clone()));
        let is_failed = AtomicBool::new(false);
        let todo = todo.into_iter().take_while(|_| !is_failed.load(Ordering::Relaxed));
        let work = todo.map(|(piece, known)| {
            let source = Arc::clone(records);
            async move {
                let encode = move || (new_rows(source.as_ref(), piece, &known), known);
                let (bytes, known) = blocking(encode).await?;
                let add = match bytes? {
                    Some(bytes) => Some(self.write_part(dataset, bytes).await?),
                    None => None,
                };
                Ok::<_, TableError>((piece, known, add))
            }
        });
        // one more than there are cores: while one waits for the disk, the others are encoded
        let at_a_time = (rayon::current_num_threads() + 1).min(PIECES_AT_A_TIME);
        let mut work = futures::stream::iter(work).buffered(at_a_time);
        // those on the way are waited for, so that what was written is known also where one failed
        let mut failed = None;
        while let Some(done) = work.next().await {
            match done {
                // of a version that was overtaken: these rows are known now
                Ok((piece, _, None)) => {
                    if let Some((_, old)) = written.remove(&piece) {
                        self.take_back(&[old]).await;
                    }
                }
                Ok((piece, known, Some(add))) => {
                    adds.push(add.clone());
                    if let Some((_, old)) = written.insert(piece, (known, add)) {
                        self.take_back(&[old]).await;
                    }
                }
                Err(e) => {
                    is_failed.store(true, Ordering::Relaxed);
                    failed = failed.or(Some(e));
                }
            }
        }
        failed.map_or(Ok(adds), Err)
    }

    /// Compares the records with the files of the dataset whose ids they may share.
    async fn compare_files(
        &self,
        dataset: &str,
        ranges: &[(String, String)],
        records: &Arc<dyn SortedRecords>,
    ) -> Result<Merged, TableError> {
        let mut merged = Merged::default();
        for file in self.files()?.into_iter().filter(|f| f.dataset == dataset) {
            let meets = |(min, max): &(String, String)| match &file.ids {
                Some((low, high)) => min <= high && low <= max,
                None => true,
            };
            let pieces: Vec<usize> = (0..ranges.len()).filter(|&piece| meets(&ranges[piece])).collect();
            if pieces.is_empty() {
                continue;
            }
            let bytes = self.fetch(&file).await?;
            let source = Arc::clone(records);
            let (file, found) = blocking(move || {
                let found = compare(bytes, source.as_ref(), &pieces).map_err(|e| match e {
                    e @ (TableError::Corrupt { .. } | TableError::Dataset(_)) => e,
                    other => file.damaged(other),
                });
                (file, found)
            })
            .await?;
            let Some(found) = found? else { continue };
            for (piece, known) in found.known {
                match merged.known.get_mut(&piece) {
                    Some(before) => before.iter_mut().zip(known).for_each(|(b, k)| *b |= k),
                    None => drop(merged.known.insert(piece, known)),
                }
            }
            merged.change.unchanged += found.unchanged;
            merged.change.updated += found.updated;
            if let Some(rows) = found.rewritten {
                merged.rewritten.extend(rows.chunks(ROWS_PER_FILE).map(<[Record]>::to_vec));
                merged.removed.push(file);
            }
        }
        Ok(merged)
    }
}

/// What the records say of one file of the table.
struct Compared {
    known: HashMap<usize, Vec<bool>>,
    unchanged: u64,
    updated: u64,
    /// The rows of the file with the new content, where any differs.
    rewritten: Option<Vec<Record>>,
}

fn compare(bytes: Bytes, records: &dyn SortedRecords, pieces: &[usize]) -> Result<Option<Compared>, TableError> {
    let ids = read_ids(bytes.clone())?;
    let held: HashSet<&str> = ids.iter().map(String::as_str).collect();
    let mut compared = Compared { known: HashMap::new(), unchanged: 0, updated: 0, rewritten: None };
    let mut news: HashMap<String, Record> = HashMap::new();
    for &piece in pieces {
        let columns = RecordColumns::read(&records.read(piece)?)?;
        let known: Vec<bool> = (0..columns.len()).map(|row| held.contains(columns.id.value(row))).collect();
        let rows = known.iter().enumerate().filter(|(_, known)| **known).map(|(row, _)| columns.record(row));
        news.extend(rows.map(|record| (record.id.clone(), record)));
        if known.contains(&true) {
            compared.known.insert(piece, known);
        }
    }
    if news.is_empty() {
        return Ok(None);
    }
    let mut rows = read_records(bytes)?;
    for row in &mut rows {
        match news.remove(&row.id) {
            Some(new) if new != *row => {
                *row = new;
                compared.updated += 1;
            }
            Some(_) => compared.unchanged += 1,
            None => {}
        }
    }
    compared.rewritten = (compared.updated > 0).then_some(rows);
    Ok(Some(compared))
}

/// The bytes of a data file of the rows that are not known, `None` where all are.
fn new_rows(records: &dyn SortedRecords, piece: usize, known: &[bool]) -> Result<Option<Bytes>, TableError> {
    let batch = records.read(piece)?;
    if known.is_empty() {
        return (batch.num_rows() > 0).then(|| encode_batch(&batch)).transpose();
    }
    if !known.contains(&false) {
        return Ok(None);
    }
    let mask = BooleanArray::from_iter(known.iter().map(|known| Some(!known)));
    encode_batch(&arrow::compute::filter_record_batch(&batch, &mask)?).map(Some)
}

fn rows_of(add: &Add) -> u64 {
    let stats = add.stats.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    stats.and_then(|stats| stats["numRecords"].as_u64()).unwrap_or_default()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TableError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| TableError::Corrupt { what: "a piece of the job".into(), why: e.to_string() })
}
