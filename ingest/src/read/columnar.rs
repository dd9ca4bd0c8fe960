//! Rows out of Parquet and Arrow IPC (Feather): batch by batch.
//!
//! The decoders trust what they read: lengths that a file states are checked against the file before they are used, and
//! a panic of a decoder is caught and said to be a damaged file.

use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeListArray, LargeBinaryArray, LargeListArray,
    ListArray, MapArray, RecordBatch, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Float64Type, SchemaRef};
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::entries::MAX_COLUMNS;
use super::input::{Input, Seekable};
use super::tree::{marked, number_text, write_text};
use super::{BadRow, Chunk, Format, ReadError, ReadOptions, Row, RowsInMemory, Source, Table};

/// Rows of a batch.
const BATCH: usize = 8192;
/// Structs and lists inside each other are followed so deep.
const MAX_DEPTH: usize = 16;
/// A column of a row group, or a message, that states more bytes is refused.
const MAX_PART: i64 = 2 << 30;

/// The schema, the batches, and how many rows there must be, where the file says so.
type Opened = (SchemaRef, Batches, Option<u64>);
type Batches = Box<dyn Iterator<Item = Result<RecordBatch, String>> + Send>;

/// Opens Parquet or Arrow IPC.
pub(super) fn open(input: &Input, format: Format, options: &ReadOptions) -> Result<Table, ReadError> {
    let seekable = input.seekable()?;
    let opened = catch_unwind(AssertUnwindSafe(|| match (format, seekable) {
        (Format::Parquet, Seekable::File(file)) => parquet(file),
        (Format::Parquet, Seekable::Memory(bytes)) => parquet(bytes::Bytes::from(bytes)),
        (_, Seekable::File(file)) => arrow_ipc(BufReader::new(file)),
        (_, Seekable::Memory(bytes)) => arrow_ipc(Cursor::new(bytes)),
    }));
    let (schema, batches, rows) =
        opened.map_err(|_| input.bad("the file is damaged"))?.map_err(|why| input.bad(why))?;
    let mut headers = Vec::new();
    for field in schema.fields() {
        names(field.name(), field.data_type(), 0, &mut headers);
        if headers.len() > MAX_COLUMNS {
            return Err(input.bad(format!("it has more than {MAX_COLUMNS} columns")));
        }
    }
    let source = BatchRows { batches: Some(batches), line: 1, rows, decimal: options.decimal };
    Table::new(input.shown.clone(), input.name.clone(), format, headers, Box::new(source))
}

fn parquet<R: parquet::file::reader::ChunkReader + 'static>(file: R) -> Result<Opened, String> {
    let length = file.len();
    let damaged = |e: &dyn std::fmt::Display| format!("it is no Parquet file, or damaged: {e}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(&e))?;
    let metadata = builder.metadata();
    let mut rows: i64 = 0;
    for group in metadata.row_groups() {
        rows = rows
            .checked_add(group.num_rows())
            .filter(|_| group.num_rows() >= 0)
            .ok_or_else(|| damaged(&"the footer states an impossible number of rows"))?;
        for column in group.columns() {
            let from = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let (size, unpacked) = (column.compressed_size(), column.uncompressed_size());
            let inside = from >= 0 && size >= 0 && from.checked_add(size).is_some_and(|end| end as u64 <= length);
            if !inside || !(0..=MAX_PART).contains(&unpacked) || column.num_values() < 0 {
                return Err(damaged(
                    &"the footer states sizes that do not fit into the file, or a column of more than 2 GiB in one row group",
                ));
            }
            if column.column_descr().max_rep_level() == 0 && column.num_values() != group.num_rows() {
                return Err(damaged(&"the footer contradicts itself about the number of rows"));
            }
            // no encoding makes so many values of so few bytes, nulls and repeats aside
            if unpacked > 0 && column.num_values() / 100_000 > unpacked {
                return Err(damaged(&"the footer states more values than the pages can hold"));
            }
        }
    }
    if metadata.file_metadata().num_rows() != rows {
        return Err(damaged(&"the footer contradicts itself about the number of rows"));
    }
    let schema = builder.schema().clone();
    let reader = builder.with_batch_size(BATCH).build().map_err(|e| damaged(&e))?;
    Ok((schema, Box::new(reader.map(|batch| batch.map_err(|e| e.to_string()))), Some(rows as u64)))
}

fn arrow_ipc<R: Read + Seek + Send + 'static>(mut file: R) -> Result<Opened, String> {
    let damaged = |e: &dyn std::fmt::Display| format!("it is no Arrow file, or damaged: {e}");
    let length = file.seek(SeekFrom::End(0)).map_err(|e| damaged(&e))?;
    file.rewind().map_err(|e| damaged(&e))?;
    let mut magic = [0; 6];
    file.read_exact(&mut magic).map_err(|e| damaged(&e))?;
    if &magic == b"ARROW1" {
        check_footer(&mut file, length).map_err(|e| damaged(&e))?;
        file.rewind().map_err(|e| damaged(&e))?;
        let reader = FileReader::try_new(file, None).map_err(|e| damaged(&e))?;
        let schema = reader.schema();
        return Ok((schema, Box::new(reader.map(|batch| batch.map_err(|e| e.to_string()))), None));
    }
    file.rewind().map_err(|e| damaged(&e))?;
    check_stream(&mut file, length).map_err(|e| damaged(&e))?;
    file.rewind().map_err(|e| damaged(&e))?;
    let reader = StreamReader::try_new(file, None).map_err(|e| damaged(&e))?;
    let schema = reader.schema();
    Ok((schema, Box::new(reader.map(|batch| batch.map_err(|e| e.to_string()))), None))
}

/// The blocks that the footer of an Arrow file names must lie in the file.
fn check_footer<R: Read + Seek>(file: &mut R, length: u64) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    let end = length.checked_sub(10).ok_or("it is too short")?;
    file.seek(SeekFrom::Start(end)).map_err(text)?;
    let mut tail = [0; 10];
    file.read_exact(&mut tail).map_err(text)?;
    if &tail[4..] != b"ARROW1" {
        return Err("it does not end as an Arrow file does; it may be cut off".to_owned());
    }
    let size = i32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let size = u64::try_from(size).ok().filter(|size| *size <= end).ok_or("the footer's length is impossible")?;
    file.seek(SeekFrom::Start(end - size)).map_err(text)?;
    let mut footer = Vec::new();
    file.by_ref().take(size).read_to_end(&mut footer).map_err(text)?;
    let footer = arrow::ipc::root_as_footer(&footer).map_err(|e| e.to_string())?;
    for block in [footer.recordBatches(), footer.dictionaries()].into_iter().flatten().flatten() {
        let (from, head, body) = (block.offset(), i64::from(block.metaDataLength()), block.bodyLength());
        let inside = from >= 0
            && head >= 0
            && (0..=MAX_PART).contains(&body)
            && from.checked_add(head).and_then(|n| n.checked_add(body)).is_some_and(|n| n as u64 <= length);
        if !inside {
            return Err("the footer names a block that is not in the file, or larger than 2 GiB".to_owned());
        }
        file.seek(SeekFrom::Start(from as u64)).map_err(text)?;
        check_message(file, length)?;
    }
    Ok(())
}

/// The messages of an Arrow stream must lie in the file.
fn check_stream<R: Read + Seek>(file: &mut R, length: u64) -> Result<(), String> {
    while check_message(file, length)? {}
    Ok(())
}

/// Reads the head of a message and passes over its body; false at the end of the stream.
fn check_message<R: Read + Seek>(file: &mut R, length: u64) -> Result<bool, String> {
    let text = |e: std::io::Error| e.to_string();
    let mut word = Vec::new();
    file.by_ref().take(4).read_to_end(&mut word).map_err(text)?;
    if word.is_empty() {
        return Ok(false);
    }
    if word == [0xff; 4] {
        word.clear();
        file.by_ref().take(4).read_to_end(&mut word).map_err(text)?;
    }
    let size: [u8; 4] = word.as_slice().try_into().map_err(|_| "it is cut off")?;
    let size = i32::from_le_bytes(size);
    if size == 0 {
        return Ok(false);
    }
    let mut head = Vec::new();
    let size = u64::try_from(size).map_err(|_| "a message has an impossible length")?;
    file.by_ref().take(size).read_to_end(&mut head).map_err(text)?;
    if head.len() as u64 != size {
        return Err("it is cut off".to_owned());
    }
    let message = arrow::ipc::root_as_message(&head).map_err(|e| e.to_string())?;
    let body = message.bodyLength();
    let begins = file.stream_position().map_err(text)?;
    let inside = (0..=MAX_PART).contains(&body) && begins.checked_add(body as u64).is_some_and(|end| end <= length);
    if !inside {
        return Err(
            "a message states a length that is not in the file, or more than 2 GiB; it may be cut off".to_owned()
        );
    }
    let batch = message.header_as_record_batch().or(message.header_as_dictionary_batch().and_then(|d| d.data()));
    if let Some(batch) = batch
        && batch.compression().is_some()
    {
        for buffer in batch.buffers().into_iter().flatten() {
            check_unpacked(file, begins, body, buffer.offset(), buffer.length())?;
        }
    }
    file.seek(SeekFrom::Start(begins + body as u64)).map_err(text)?;
    Ok(true)
}

/// A compressed buffer begins with its length when unpacked.
fn check_unpacked<R: Read + Seek>(file: &mut R, begins: u64, body: i64, offset: i64, size: i64) -> Result<(), String> {
    if size == 0 {
        return Ok(());
    }
    let inside = offset >= 0 && size >= 8 && offset.checked_add(size).is_some_and(|end| end <= body);
    if !inside {
        return Err("a buffer is not in its message".to_owned());
    }
    file.seek(SeekFrom::Start(begins + offset as u64)).map_err(|e| e.to_string())?;
    let mut stated = [0; 8];
    file.read_exact(&mut stated).map_err(|e| e.to_string())?;
    match i64::from_le_bytes(stated) {
        -1 | 0..=MAX_PART => Ok(()),
        _ => Err("a compressed buffer states an impossible length".to_owned()),
    }
}

/// Headers of a column: a struct is flattened.
fn names(name: &str, kind: &DataType, depth: usize, out: &mut Vec<String>) {
    match kind {
        DataType::Struct(fields) if depth < MAX_DEPTH && !fields.is_empty() && out.len() <= MAX_COLUMNS => {
            fields.iter().for_each(|f: &std::sync::Arc<Field>| {
                names(&format!("{name}.{}", f.name()), f.data_type(), depth + 1, out);
            });
        }
        _ => out.push(name.to_owned()),
    }
}

struct BatchRows {
    batches: Option<Batches>,
    line: u64,
    /// How many rows there must be.
    rows: Option<u64>,
    /// The mark with which numbers are written.
    decimal: char,
}

impl Source for BatchRows {
    fn next_chunk(&mut self) -> Option<Box<dyn Chunk>> {
        let batches = self.batches.as_mut()?;
        let why = match catch_unwind(AssertUnwindSafe(|| batches.next())) {
            Ok(None) => {
                self.batches = None;
                let found = self.line - 1;
                let said = self.rows.filter(|rows| *rows != found)?;
                let why = format!("the footer says {said} rows, and there are {found}; the file is damaged");
                return Some(Box::new(RowsInMemory::new(vec![Err(BadRow { line: self.line, why, raw: None })])));
            }
            Ok(Some(Ok(batch))) => {
                let first = self.line;
                self.line += batch.num_rows() as u64;
                match catch_unwind(AssertUnwindSafe(|| BatchChunk::new(&batch, first, self.decimal))) {
                    Ok(Ok(chunk)) => return Some(Box::new(chunk)),
                    Ok(Err(why)) => why,
                    Err(_) => "a column is damaged".to_owned(),
                }
            }
            Ok(Some(Err(why))) => why,
            Err(_) => "the decoder failed".to_owned(),
        };
        // behind a failure nothing can be trusted
        self.batches = None;
        let why = format!("the file is damaged here, and nothing behind can be read: {why}");
        Some(Box::new(RowsInMemory::new(vec![Err(BadRow { line: self.line, why, raw: None })])))
    }
}

struct BatchChunk {
    columns: Vec<ArrayRef>,
    rows: usize,
    at: usize,
    first: u64,
    decimal: char,
}

impl BatchChunk {
    fn new(batch: &RecordBatch, first: u64, decimal: char) -> Result<BatchChunk, String> {
        let mut columns = Vec::new();
        for column in batch.columns() {
            flatten(column, 0, &mut columns)?;
        }
        Ok(BatchChunk { columns, rows: batch.num_rows(), at: 0, first, decimal })
    }
}

fn flatten(column: &ArrayRef, depth: usize, out: &mut Vec<ArrayRef>) -> Result<(), String> {
    match column.data_type() {
        DataType::Struct(fields) if depth < MAX_DEPTH && !fields.is_empty() => {
            let Some(parts) = column.as_any().downcast_ref::<StructArray>() else {
                return Err("a struct column is damaged".to_owned());
            };
            for i in 0..fields.len() {
                // with the nulls of the whole put on its parts
                let part = arrow::array::make_array(part_with_nulls(parts, i)?);
                flatten(&part, depth + 1, out)?;
            }
            Ok(())
        }
        DataType::Dictionary(_, values) => {
            let plain = cast(column, values).map_err(|e| e.to_string())?;
            flatten(&plain, depth + 1, out)
        }
        _ => {
            out.push(column.clone());
            Ok(())
        }
    }
}

fn part_with_nulls(parts: &StructArray, i: usize) -> Result<arrow::array::ArrayData, String> {
    let part = parts.column(i).to_data();
    if *part.data_type() == DataType::Null {
        return Ok(part);
    }
    let nulls = arrow::buffer::NullBuffer::union(parts.nulls(), part.nulls());
    part.into_builder().nulls(nulls).build().map_err(|e| e.to_string())
}

impl Chunk for BatchChunk {
    fn next_row(&mut self, row: &mut Row) -> Option<Result<(), BadRow>> {
        if self.at == self.rows {
            return None;
        }
        let (at, line) = (self.at, self.first + self.at as u64);
        self.at += 1;
        row.line = line;
        row.raw = None;
        row.cells.clear();
        let (columns, decimal) = (&self.columns, self.decimal);
        let filled = catch_unwind(AssertUnwindSafe(|| {
            for column in columns {
                row.cells.push_field(&cell(column, at, decimal)?);
            }
            Ok(())
        }));
        let why = match filled {
            Ok(Ok(())) => return Some(Ok(())),
            Ok(Err(why)) => why,
            Err(_) => "a value is damaged".to_owned(),
        };
        Some(Err(BadRow { line, why, raw: None }))
    }
}

/// The text of a value; a number has this decimal mark.
fn cell(column: &ArrayRef, at: usize, decimal: char) -> Result<String, String> {
    if column.is_null(at) || *column.data_type() == DataType::Null {
        return Ok(String::new());
    }
    let number = |x: f64| Ok(marked(number_text(x), decimal));
    let bytes = |bytes: &[u8]| {
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
        })
    };
    match column.data_type() {
        DataType::Utf8 => Ok(column.as_string::<i32>().value(at).to_owned()),
        DataType::LargeUtf8 => Ok(column.as_string::<i64>().value(at).to_owned()),
        DataType::Float64 => number(column.as_primitive::<Float64Type>().value(at)),
        // the shortest text of the short number, not of its neighbour among the long ones
        DataType::Float32 => {
            let x = column.as_primitive::<Float32Type>().value(at);
            number(if x.is_finite() { x.to_string().parse().unwrap_or(f64::from(x)) } else { f64::from(x) })
        }
        DataType::Float16 => number(column.as_primitive::<Float16Type>().value(at).to_f64()),
        DataType::Binary => match column.as_any().downcast_ref::<BinaryArray>() {
            Some(array) => bytes(array.value(at)),
            None => Err("a value is damaged".to_owned()),
        },
        DataType::LargeBinary => match column.as_any().downcast_ref::<LargeBinaryArray>() {
            Some(array) => bytes(array.value(at)),
            None => Err("a value is damaged".to_owned()),
        },
        kind if kind.is_nested() => {
            let mut out = String::new();
            json(column, at, 0, &mut out)?;
            Ok(out)
        }
        _ => {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(|e| e.to_string())?;
            let text = formatter.value(at).try_to_string().map_err(|e| e.to_string())?;
            Ok(if column.data_type().is_numeric() { marked(text, decimal) } else { text })
        }
    }
}

/// A value as JSON.
fn json(column: &ArrayRef, at: usize, depth: usize, out: &mut String) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("its values are nested more than {MAX_DEPTH} deep"));
    }
    if column.is_null(at) || *column.data_type() == DataType::Null {
        out.push_str("null");
        return Ok(());
    }
    let any = column.as_any();
    let list = if let Some(list) = any.downcast_ref::<ListArray>() {
        Some(list.value(at))
    } else if let Some(list) = any.downcast_ref::<LargeListArray>() {
        Some(list.value(at))
    } else if let Some(list) = any.downcast_ref::<FixedSizeListArray>() {
        Some(list.value(at))
    } else {
        any.downcast_ref::<MapArray>().map(|map| std::sync::Arc::new(map.value(at)) as ArrayRef)
    };
    if let Some(items) = list {
        out.push('[');
        for i in 0..items.len() {
            if i > 0 {
                out.push(',');
            }
            json(&items, i, depth + 1, out)?;
        }
        out.push(']');
        return Ok(());
    }
    if let Some(parts) = any.downcast_ref::<StructArray>() {
        out.push('{');
        for (i, (name, part)) in parts.column_names().iter().zip(parts.columns()).enumerate() {
            if i > 0 {
                out.push(',');
            }
            write_text(name, out);
            out.push(':');
            json(part, at, depth + 1, out)?;
        }
        out.push('}');
        return Ok(());
    }
    if let DataType::Dictionary(_, values) = column.data_type() {
        let one = cast(&column.slice(at, 1), values).map_err(|e| e.to_string())?;
        return json(&one, 0, depth + 1, out);
    }
    if column.data_type().is_nested() {
        return Err(format!("values of the type {} are not understood", column.data_type()));
    }
    let text = cell(column, at, '.')?;
    let bare =
        column.data_type().is_numeric() && text.parse::<f64>().is_ok_and(f64::is_finite) || any.is::<BooleanArray>();
    if bare {
        out.push_str(&text);
    } else {
        write_text(&text, out);
    }
    Ok(())
}
