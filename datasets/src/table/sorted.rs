//! Upserts of any size: records in id order, in pieces, so that memory is bounded whatever their number.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, StringArray};
use bytes::Bytes;
use deltalake::kernel::{Action, Add, Transaction};
use rayon::prelude::*;

use super::files::{Effort, ROWS_PER_FILE, checked_path, encode, encode_batch, read_ids};
use super::write::{Change, Outcome, TRIES, read_records};
use super::{CommitInfo, DataFile, Table, TableError};
use crate::catalogue::{DatasetInfo, Visibility};
use crate::columns::RecordColumns;
use crate::record::{Record, dataset_of};

/// Pieces that are encoded at a time: bounds memory, and keeps all cores busy.
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

fn range_of(ids: &StringArray) -> (String, String) {
    use arrow::array::Array as _;
    match ids.len() {
        0 => Default::default(),
        n => (ids.value(0).to_owned(), ids.value(n - 1).to_owned()),
    }
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
            for id in ranges.iter().flat_map(|(min, max)| [min, max]) {
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
        let transaction = key.map(|key| Transaction::new(format!("matgenome:upsert:{key}"), 1));
        // files that a lost race left written: they serve again where the same rows are new
        let mut written: Vec<HashMap<usize, (Vec<bool>, Add)>> = vec![HashMap::new(); sets.len()];
        for _ in 0..TRIES {
            self.refresh().await?;
            if let Some(done) = self.already(transaction.as_ref()).await? {
                return Ok(done);
            }
            let held = self.datasets()?;
            let (mut actions, mut removed, mut new_terms) = (vec![], vec![], vec![]);
            let (mut changed, mut change) = (vec![], Change::default());
            for (((dataset, records), ranges), written) in sets.iter().zip(&ranges).zip(&mut written) {
                let mut terms = held.get(&dataset.name).map_or_else(|| dataset.clone(), |old| dataset.clone().or(old));
                terms.visibility = terms.visibility.or(Some(Visibility::Public));
                let before = (actions.len(), removed.len(), new_terms.len());
                new_terms.extend((held.get(&dataset.name) != Some(&terms)).then_some(terms));
                let merged = self.merge(&dataset.name, ranges, records).await?;
                for rows in &merged.rewritten {
                    let bytes = encode(rows, Effort::Quick)?;
                    actions.push(Action::Add(self.write_part(&dataset.name, bytes).await?));
                }
                let adds = self.add_new(&dataset.name, ranges.len(), records, merged.known, written).await?;
                change.inserted += adds.iter().map(rows_of).sum::<u64>();
                change.updated += merged.change.updated;
                change.unchanged += merged.change.unchanged;
                removed.extend(merged.removed);
                actions.extend(adds.into_iter().map(Action::Add));
                if before != (actions.len(), removed.len(), new_terms.len()) {
                    changed.push(dataset.name.clone());
                }
            }
            if changed.is_empty() {
                return Ok(Outcome { version: self.version(), change, committed: false });
            }
            let info = CommitInfo {
                operation: "upsert".into(),
                datasets: changed,
                inserted: change.inserted,
                updated: change.updated,
                deleted: 0,
            };
            let done = self.commit(actions, &removed, &new_terms, &info, transaction.as_slice()).await?;
            if let Some(version) = done {
                return Ok(Outcome { version, change, committed: true });
            }
        }
        Err(TableError::Contended(TRIES))
    }

    /// Writes the rows that are not known, some pieces at a time.
    async fn add_new(
        &self,
        dataset: &str,
        pieces: usize,
        records: &Arc<dyn SortedRecords>,
        mut known: HashMap<usize, Vec<bool>>,
        written: &mut HashMap<usize, (Vec<bool>, Add)>,
    ) -> Result<Vec<Add>, TableError> {
        let mut adds = Vec::new();
        let pieces: Vec<(usize, Vec<bool>)> =
            (0..pieces).map(|piece| (piece, known.remove(&piece).unwrap_or_default())).collect();
        let is_written = |(piece, known): &(usize, Vec<bool>)| written.get(piece).is_some_and(|(k, _)| k == known);
        let (again, todo): (Vec<_>, Vec<_>) = pieces.into_iter().partition(is_written);
        adds.extend(again.iter().filter_map(|(piece, _)| written.get(piece)).map(|(_, add)| add.clone()));
        for wave in todo.chunks(PIECES_AT_A_TIME) {
            let (wave, source) = (wave.to_vec(), Arc::clone(records));
            let encoded = blocking(move || {
                let encode = |(piece, known): (usize, Vec<bool>)| {
                    Ok::<_, TableError>((piece, new_rows(source.as_ref(), piece, &known)?, known))
                };
                wave.into_par_iter().map(encode).collect::<Result<Vec<_>, _>>()
            })
            .await??;
            let puts = encoded.into_iter().filter_map(|(piece, bytes, known)| Some((piece, bytes?, known)));
            let puts = puts.map(|(piece, bytes, known)| async move {
                Ok::<_, TableError>((piece, known, self.write_part(dataset, bytes).await?))
            });
            for (piece, known, add) in futures::future::try_join_all(puts).await? {
                adds.push(add.clone());
                written.insert(piece, (known, add));
            }
        }
        Ok(adds)
    }

    async fn write_part(&self, dataset: &str, bytes: Bytes) -> Result<Add, TableError> {
        let path = checked_path(dataset, &format!("part-{}", uuid::Uuid::new_v4()), &bytes);
        self.write_file(dataset, path, bytes).await
    }

    /// Compares the records with the files of the dataset whose ids they may share.
    async fn merge(
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
                    e @ TableError::Corrupt { .. } => e,
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
