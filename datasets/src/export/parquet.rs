//! Parquet: the columns of the record table and `dataset`, one row a record, the terms in the file's metadata.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StringDictionaryBuilder};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use deltalake::parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use deltalake::parquet::file::metadata::KeyValue;

use super::{ExportError, Header};
use crate::columns::{DATASET, file_schema, to_batch};
use crate::record::Record;
use crate::table::{Effort, writer_properties};

/// Metadata key of the format's version.
pub const FORMAT_KEY: &str = "matgenome.format";
/// Metadata key of the datasets' terms, a JSON array.
pub const DATASETS_KEY: &str = "matgenome.datasets";

/// A row group ends when its encoded columns take this many bytes, or by the number of rows of a data file.
const ROW_GROUP_BYTES: usize = 32 << 20;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) struct Writer {
    schema: SchemaRef,
    writer: ArrowWriter<Sink>,
    sink: Sink,
}

impl Writer {
    pub(super) fn new(header: &Header) -> Result<Writer, ExportError> {
        let word = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let mut fields = vec![Arc::new(Field::new(DATASET, word, false))];
        fields.extend(file_schema().fields().iter().cloned());
        let schema = Arc::new(Schema::new(fields));
        let terms = serde_json::to_string(&header.datasets).map_err(failed)?;
        let metadata = vec![
            KeyValue::new(FORMAT_KEY.to_owned(), header.format.to_string()),
            KeyValue::new(DATASETS_KEY.to_owned(), terms),
        ];
        let properties = writer_properties(Effort::Quick)?.set_key_value_metadata(Some(metadata)).build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let sink = Sink::default();
        let writer = ArrowWriter::try_new_with_options(sink.clone(), Arc::clone(&schema), options).map_err(failed)?;
        Ok(Writer { schema, writer, sink })
    }

    pub(super) fn write(&mut self, records: &[Record]) -> Result<(), ExportError> {
        if records.is_empty() {
            return Ok(());
        }
        let batch = to_batch(records).map_err(failed)?;
        let mut dataset = StringDictionaryBuilder::<Int32Type>::new();
        for record in records {
            dataset.append_value(record.dataset());
        }
        let mut columns: Vec<ArrayRef> = vec![Arc::new(dataset.finish())];
        columns.extend(batch.columns().iter().cloned());
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(failed)?;
        self.writer.write(&batch).map_err(failed)?;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES {
            self.writer.flush().map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        self.sink.take()
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, ExportError> {
        self.writer.close().map_err(failed)?;
        Ok(self.sink.take())
    }
}

fn failed(e: impl ToString) -> ExportError {
    ExportError::Encode(e.to_string())
}
