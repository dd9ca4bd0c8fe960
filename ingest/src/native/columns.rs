//! Parquet: one row a record.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, AsArray as _};
use datasets::columns::RecordColumns;
use datasets::export::{DATASETS_KEY, FORMAT_KEY, FORMAT_VERSION, Header};
use datasets::record::Record;
use datasets::structure::Structure;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::{BadRecord, NativeError, Read1, Source, check, checked};

/// The records of a batch; one that is no good with the reason.
type Decoded = Vec<Result<Record, (String, Record)>>;

/// Rows decoded at a time.
const ROWS: usize = 1024;

/// The records of the rows.
pub(super) struct Rows {
    file: PathBuf,
    reader: ParquetRecordBatchReader,
    decoded: std::vec::IntoIter<Result<Record, (String, Record)>>,
    row: u64,
}

/// The decoder is made for honest files, and panics at some of the others.
fn guarded<T>(file: &Path, work: impl FnOnce() -> T) -> Result<T, NativeError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| damaged(file, "its columns cannot be decoded"))
}

fn damaged(file: &Path, why: impl ToString) -> NativeError {
    NativeError::Damaged { file: file.to_owned(), why: why.to_string() }
}

/// The header and the rows; `None` where another program wrote the file, or where it is no Parquet at all.
pub(super) fn open(path: &Path, file: File) -> Result<Option<(Header, Rows)>, NativeError> {
    // files of others are for another reader, whatever is wrong with them
    let Ok(Ok(builder)) = guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file)) else { return Ok(None) };
    let value = |key: &str| {
        let entries = builder.metadata().file_metadata().key_value_metadata()?;
        entries.iter().find(|entry| entry.key == key)?.value.clone()
    };
    let Some(format) = value(FORMAT_KEY) else { return Ok(None) };
    let format = format.parse().map_err(|_| damaged(path, format!("its metadata has `{format}` for {FORMAT_KEY}")))?;
    if format > FORMAT_VERSION {
        return Err(NativeError::Newer { file: path.to_owned(), format });
    }
    let terms = value(DATASETS_KEY).unwrap_or_default();
    let datasets = serde_json::from_str(&terms).map_err(|e| damaged(path, format!("metadata {DATASETS_KEY}: {e}")))?;
    let header = Header { format, datasets };
    checked(path, &header)?;
    let reader = guarded(path, || builder.with_batch_size(ROWS).build())?.map_err(|e| damaged(path, e))?;
    Ok(Some((header, Rows { file: path.to_owned(), reader, decoded: Vec::new().into_iter(), row: 0 })))
}

impl Rows {
    fn decode(&mut self) -> Option<Result<Decoded, NativeError>> {
        let file = &self.file;
        let reader = &mut self.reader;
        let work = || {
            let batch = reader.next()?;
            Some(batch.and_then(|batch| {
                let columns = RecordColumns::read(&batch)?;
                let structures = batch.column_by_name("structure").and_then(|column| column.as_string_opt::<i32>());
                Ok((0..columns.len())
                    .map(|row| {
                        let record = columns.record(row);
                        let text = structures.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row));
                        // the columns leave out what they cannot read
                        match text.map(serde_json::from_str::<Structure>) {
                            Some(Err(e)) => Err((format!("the JSON in `structure`: {e}"), record)),
                            _ => Ok(record),
                        }
                    })
                    .collect())
            }))
        };
        match guarded(file, work) {
            Ok(None) => None,
            Ok(Some(decoded)) => Some(decoded.map_err(|e| damaged(file, e))),
            Err(e) => Some(Err(e)),
        }
    }
}

impl Source for Rows {
    fn next(&mut self) -> Option<Read1> {
        loop {
            if let Some(made) = self.decoded.next() {
                self.row += 1;
                let line = self.row;
                return Some(Ok(made.map(|record| (line, record)).map_err(|(why, record)| BadRecord {
                    line,
                    why,
                    raw: check::raw(&record),
                })));
            }
            match self.decode()? {
                Ok(decoded) => self.decoded = decoded.into_iter(),
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
