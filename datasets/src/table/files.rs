//! The data files of the table: Parquet bytes, their id ranges, and how they are read.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::error::ArrowError;
use bytes::Bytes;
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter,
};
use deltalake::parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use deltalake::parquet::basic::{Compression, Encoding, ZstdLevel};
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use deltalake::parquet::file::statistics::Statistics;
use deltalake::parquet::schema::types::ColumnPath;
use object_store::ObjectStoreExt as _;
use object_store::path::Path as StorePath;
use serde::{Deserialize, Serialize};

use super::{Table, TableError};
use crate::columns::{DATASET, file_schema, to_batch};
use crate::record::{Record, content_hash};

/// Rows of a data file as our writer makes them; an upsert rewrites whole files.
pub const ROWS_PER_FILE: usize = 65_536;

/// Rows of one batch when a file is read.
const ROWS_PER_BATCH: usize = 16_384;

/// One live data file of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Path under the table's folder.
    pub path: String,
    /// The dataset (partition) it belongs to.
    pub dataset: String,
    /// Number of rows, where the log says so.
    pub rows: Option<usize>,
    /// Bytes.
    pub size: u64,
    /// Smallest and largest record id, where the log says so.
    pub ids: Option<(String, String)>,
}

impl DataFile {
    /// Whether this id can be in the file.
    pub fn may_hold(&self, id: &str) -> bool {
        self.ids.as_ref().is_none_or(|(min, max)| min.as_str() <= id && id <= max.as_str())
    }

    /// What went wrong with its content, with its name.
    pub(super) fn damaged(&self, why: impl ToString) -> TableError {
        TableError::Corrupt { what: self.path.clone(), why: why.to_string() }
    }
}

impl Table {
    /// The live data files, in path order.
    ///
    /// # Errors
    /// The table's state is not loaded or cannot be understood.
    pub fn files(&self) -> Result<Vec<DataFile>, TableError> {
        let mut files: Vec<DataFile> = self
            .delta
            .snapshot()?
            .log_data()
            .iter()
            .map(|view| {
                let stats = view.stats().and_then(|s| serde_json::from_str::<serde_json::Value>(&s).ok());
                let text = |key: &str| stats.as_ref()?.get(key)?.get("id")?.as_str().map(str::to_owned);
                DataFile {
                    path: view.path().into_owned(),
                    dataset: view.partition_values_map().remove(DATASET).flatten().unwrap_or_default(),
                    rows: view.num_records(),
                    size: view.size().max(0) as u64,
                    ids: text("minValues").zip(text("maxValues")),
                }
            })
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// The record ids of a data file, also of one that a later commit has taken out, while it is on disk.
    ///
    /// # Errors
    /// The file is gone or damaged.
    pub async fn ids(&self, file: &DataFile) -> Result<Vec<String>, TableError> {
        read_ids(self.fetch(file).await?).map_err(|e| file.damaged(e))
    }

    /// The bytes of a data file.
    pub(super) async fn fetch(&self, file: &DataFile) -> Result<Bytes, TableError> {
        let path = StorePath::parse(&file.path).map_err(|e| file.damaged(e))?;
        match self.store().get(&path).await {
            Ok(found) => {
                let bytes = found.bytes().await?;
                if bytes.len() as u64 != file.size {
                    return Err(file.damaged(format!("it has {} bytes, and {} by the log", bytes.len(), file.size)));
                }
                // Parquet pages have no checksums here, and decoders trust what they read
                if checksum_in(&file.path).is_some_and(|checksum| checksum != content_hash(&bytes)) {
                    return Err(file.damaged("its bytes do not have the checksum in its name"));
                }
                Ok(bytes)
            }
            Err(object_store::Error::NotFound { .. }) => {
                Err(file.damaged("the log names this file and it is not there"))
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// The path of a data file of ours: its name ends with the checksum (XXH3) of its bytes.
pub(super) fn checked_path(dataset: &str, name: &str, bytes: &[u8]) -> String {
    format!("{DATASET}={dataset}/{name}-{:016x}.parquet", content_hash(bytes))
}

/// The checksum in a data file's name, where there is one; files of other programs have none.
fn checksum_in(path: &str) -> Option<u64> {
    let (_, digits) = path.strip_suffix(".parquet")?.rsplit_once('-')?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// How hard data files are compressed: quickly while somebody waits, well where they are kept for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For commits.
    Quick,
    /// For the bundle and for compaction.
    Thorough,
}

/// Records → the bytes of one data file.
///
/// # Errors
/// Encoding failed.
pub fn encode(records: &[Record], effort: Effort) -> Result<Bytes, TableError> {
    let mut writer = writer(effort)?;
    for chunk in records.chunks(8192) {
        writer.write(&to_batch(chunk)?)?;
    }
    Ok(Bytes::from(writer.into_inner()?))
}

/// A batch of [`file_schema`] → the bytes of one data file.
///
/// # Errors
/// Encoding failed.
pub(super) fn encode_batch(batch: &RecordBatch) -> Result<Bytes, TableError> {
    let mut writer = writer(Effort::Quick)?;
    writer.write(batch)?;
    Ok(Bytes::from(writer.into_inner()?))
}

fn writer(effort: Effort) -> Result<ArrowWriter<Vec<u8>>, TableError> {
    // without the embedded Arrow schema other readers see plain strings, not our in-memory dictionaries
    let properties = writer_properties(effort)?.build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    Ok(ArrowWriter::try_new_with_options(Vec::new(), file_schema(), options)?)
}

/// How the columns of records are encoded and compressed.
pub(crate) fn writer_properties(effort: Effort) -> Result<WriterPropertiesBuilder, TableError> {
    let level = ZstdLevel::try_new(if effort == Effort::Quick { 1 } else { 9 })?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROWS_PER_FILE))
        .set_statistics_enabled(EnabledStatistics::None)
        // the first and the last id of a file, whole: they say which files a record may lie in
        .set_statistics_truncate_length(None);
    // a reader may pass over files by these; values of all properties stand in one column, whose bounds say nothing
    for column in ["id", "formula", "space_group", "class"] {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::Page);
    }
    // values and identities hardly repeat, so a dictionary is a loss: the bytes of numbers compress in planes, and
    // sorted texts by what they share with the one before
    for (encoding, columns) in [
        (Encoding::BYTE_STREAM_SPLIT, ["measurements.list.element.value", "measurements.list.element.given_value"]),
        (Encoding::DELTA_BYTE_ARRAY, ["id", "formula"]),
        (Encoding::DELTA_BYTE_ARRAY, ["formula_given", "name"]),
        (Encoding::DELTA_BYTE_ARRAY, ["smiles", "structure"]),
    ] {
        for column in columns {
            let path = ColumnPath::from(column.split('.').map(String::from).collect::<Vec<_>>());
            properties =
                properties.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding);
        }
    }
    Ok(properties)
}

pub(super) fn reader(bytes: Bytes) -> Result<ParquetRecordBatchReaderBuilder<Bytes>, TableError> {
    let options = ArrowReaderOptions::new().with_schema(file_schema());
    let ours = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options);
    // a file that another program wrote may have more columns or plain words: read it as it is
    Ok(match ours {
        Ok(builder) => builder,
        Err(_) => ParquetRecordBatchReaderBuilder::try_new(bytes)?,
    })
}

/// The bytes of a data file → batches of the record table.
///
/// # Errors
/// The bytes are not Parquet, or lie.
pub fn read_parquet(bytes: Bytes) -> Result<Vec<RecordBatch>, TableError> {
    let batches = reader(bytes)?.with_batch_size(ROWS_PER_BATCH).build()?;
    Ok(batches.collect::<Result<_, ArrowError>>()?)
}

/// The bytes of a data file → its batches, decoded one after the other.
pub(super) fn read_in_batches(bytes: Bytes, rows: usize) -> Result<ParquetRecordBatchReader, TableError> {
    Ok(reader(bytes)?.with_batch_size(rows).build()?)
}

/// Only the ids of a data file.
pub(super) fn read_ids(bytes: Bytes) -> Result<Vec<String>, TableError> {
    let builder = reader(bytes)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["id"]);
    let mut ids = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let column = batch.column(0).as_string_opt::<i32>();
        let column = column.ok_or_else(|| ArrowError::SchemaError("column `id` of a data file is not text".into()))?;
        ids.extend(column.iter().flatten().map(str::to_owned));
    }
    Ok(ids)
}

/// The rows with one id: the id column is read first, the others only where it matches.
pub(super) fn read_rows_with_id(bytes: Bytes, id: &str) -> Result<Vec<RecordBatch>, TableError> {
    let builder = reader(bytes)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["id"]);
    let wanted = id.to_owned();
    let matches = ArrowPredicateFn::new(mask, move |batch: RecordBatch| {
        let column = batch.column(0).as_string_opt::<i32>();
        let column = column.ok_or_else(|| ArrowError::SchemaError("column `id` is not text".into()))?;
        Ok(BooleanArray::from_iter((0..column.len()).map(|row| Some(column.value(row) == wanted))))
    });
    let batches = builder.with_row_filter(RowFilter::new(vec![Box::new(matches)])).build()?;
    Ok(batches.collect::<Result<_, ArrowError>>()?)
}

/// Rows and id range of a data file, from its footer.
pub(super) fn footer(bytes: &Bytes) -> Result<(usize, Option<(String, String)>), TableError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?;
    let metadata = Arc::clone(builder.metadata());
    let rows = metadata.file_metadata().num_rows().max(0) as usize;
    let mut range: Option<(String, String)> = None;
    for group in metadata.row_groups() {
        let Some(column) = group.columns().iter().find(|c| c.column_path().string() == "id") else {
            return Ok((rows, None));
        };
        let Some(Statistics::ByteArray(stats)) = column.statistics() else { return Ok((rows, None)) };
        let text = |bytes: Option<&[u8]>| bytes.and_then(|b| std::str::from_utf8(b).ok()).map(str::to_owned);
        let (Some(min), Some(max)) = (text(stats.min_bytes_opt()), text(stats.max_bytes_opt())) else {
            return Ok((rows, None));
        };
        if !(stats.min_is_exact() && stats.max_is_exact()) {
            return Ok((rows, None));
        }
        range = Some(match range {
            None => (min, max),
            Some((low, high)) => (low.min(min), high.max(max)),
        });
    }
    Ok((rows, range))
}
