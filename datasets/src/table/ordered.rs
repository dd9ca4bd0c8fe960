//! Which records are there, in id order? The data files of some datasets, merged as they are read.
//!
//! Only the files whose id ranges overlap are open at the same time, so memory is bounded by them, not by the table.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::files::{DataFile, read_ids, read_in_batches, read_parquet};
use super::{Table, TableError};
use crate::columns::RecordColumns;
use crate::record::Record;

/// Rows that are decoded at a time, of each open file.
const ROWS_DECODED: usize = 1024;

/// The records of some datasets of one table version, by record id.
pub struct Ordered {
    table: Table,
    /// Files not yet opened; the one that begins first is last.
    waiting: Vec<DataFile>,
    open: BinaryHeap<Reverse<Head>>,
}

impl Table {
    /// All records of these datasets in the order of their ids (bytes of the text), whatever files they lie in.
    ///
    /// # Errors
    /// The table's state cannot be understood.
    pub fn in_order(&self, datasets: &[String]) -> Result<Ordered, TableError> {
        let mut waiting = self.files()?;
        waiting.retain(|file| datasets.contains(&file.dataset));
        let first = |file: &DataFile| file.ids.as_ref().map(|(min, _)| min.clone()).unwrap_or_default();
        waiting.sort_by_cached_key(|file| Reverse((first(file), file.path.clone())));
        Ok(Ordered { table: self.clone(), waiting, open: BinaryHeap::new() })
    }
}

impl Ordered {
    /// The next records, at most so many; none at the end. The batches depend on the records alone, not on the files.
    ///
    /// # Errors
    /// A data file cannot be read, or is damaged.
    pub async fn next_batch(&mut self, most: usize) -> Result<Vec<Record>, TableError> {
        let mut batch = Vec::new();
        while batch.len() < most {
            while self.waiting.last().is_some_and(|file| self.may_come_next(file)) {
                if let Some(file) = self.waiting.pop() {
                    let rows = Rows::open(&self.table, file).await?;
                    self.put_back(rows)?;
                }
            }
            let Some(Reverse(head)) = self.open.pop() else { break };
            batch.push(head.record);
            self.put_back(head.rest)?;
        }
        Ok(batch)
    }

    fn may_come_next(&self, file: &DataFile) -> bool {
        match (self.open.peek(), &file.ids) {
            (Some(Reverse(head)), Some((min, _))) => *min <= head.record.id,
            _ => true,
        }
    }

    fn put_back(&mut self, mut rest: Rows) -> Result<(), TableError> {
        if let Some(record) = rest.next()? {
            self.open.push(Reverse(Head { record, rest }));
        }
        Ok(())
    }
}

/// The next record of a file, and what comes after it.
struct Head {
    record: Record,
    rest: Rows,
}

impl Head {
    fn key(&self) -> (&str, &str) {
        (&self.record.id, &self.rest.file.path)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// The rows of one file by id.
struct Rows {
    file: DataFile,
    /// `None` where all rows are decoded already.
    reader: Option<ParquetRecordBatchReader>,
    decoded: VecDeque<Record>,
}

impl Rows {
    async fn open(table: &Table, file: DataFile) -> Result<Rows, TableError> {
        let bytes = table.fetch(&file).await?;
        let ids = read_ids(bytes.clone()).map_err(|e| file.damaged(e))?;
        if ids.is_sorted() {
            let reader = read_in_batches(bytes, ROWS_DECODED).map_err(|e| file.damaged(e))?;
            return Ok(Rows { file, reader: Some(reader), decoded: VecDeque::new() });
        }
        // another program wrote it, in an order of its own
        let mut records = Vec::with_capacity(ids.len());
        for batch in read_parquet(bytes).map_err(|e| file.damaged(e))? {
            let columns = RecordColumns::read(&batch).map_err(|e| file.damaged(e))?;
            records.extend((0..columns.len()).map(|row| columns.record(row)));
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Rows { file, reader: None, decoded: records.into() })
    }

    fn next(&mut self) -> Result<Option<Record>, TableError> {
        while self.decoded.is_empty() {
            let Some(batch) = self.reader.as_mut().and_then(Iterator::next) else { return Ok(None) };
            let batch = batch.map_err(|e| self.file.damaged(e))?;
            let columns = RecordColumns::read(&batch).map_err(|e| self.file.damaged(e))?;
            self.decoded.extend((0..columns.len()).map(|row| columns.record(row)));
        }
        Ok(self.decoded.pop_front())
    }
}
