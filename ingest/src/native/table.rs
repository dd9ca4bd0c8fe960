//! CSV: one row a value; rows that follow each other and have one id are one record.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv::ByteRecord;
use datasets::export::{CSV_COLUMNS, CSV_STATED};
use datasets::record::{Measurement, Record};

use super::{BadRecord, MAX_RECORD_BYTES, NativeError, Read1, Source, check};

/// Columns of the record; those after it are of the value.
const OF_RECORD: usize = 9;
const PROPERTY: usize = 9;

/// Fails where one row takes more bytes than a record may, so that the parser's memory is bounded.
struct Guard {
    input: Box<dyn BufRead + Send>,
    since_row: Arc<AtomicUsize>,
}

impl Read for Guard {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(into)?;
        if self.since_row.fetch_add(n, Ordering::Relaxed) > MAX_RECORD_BYTES {
            return Err(io::Error::other(format!(
                "a row is longer than {} MiB; a quote may not be closed",
                MAX_RECORD_BYTES >> 20
            )));
        }
        Ok(n)
    }
}

/// The rows of one record as read so far.
struct Group {
    line: u64,
    rows: Vec<ByteRecord>,
    bytes: usize,
    too_long: bool,
}

/// The records of the rows.
pub(super) struct Rows {
    file: PathBuf,
    reader: csv::Reader<Guard>,
    since_row: Arc<AtomicUsize>,
    begun: Option<Group>,
    ended: bool,
}

impl Rows {
    pub(super) fn new(file: &Path, input: Box<dyn BufRead + Send>) -> Rows {
        let since_row = Arc::new(AtomicUsize::new(0));
        let guard = Guard { input, since_row: Arc::clone(&since_row) };
        let reader = csv::ReaderBuilder::new().flexible(true).from_reader(guard);
        Rows { file: file.to_owned(), reader, since_row, begun: None, ended: false }
    }
}

impl Source for Rows {
    fn next(&mut self) -> Option<Read1> {
        while !self.ended {
            let mut row = ByteRecord::new();
            match self.reader.read_byte_record(&mut row) {
                Ok(true) => {}
                Ok(false) => {
                    self.ended = true;
                    break;
                }
                Err(e) => {
                    self.ended = true;
                    let why = match e.into_kind() {
                        csv::ErrorKind::Io(why) => why,
                        other => io::Error::other(format!("{other:?}")),
                    };
                    return Some(Err(NativeError::Io { file: self.file.clone(), why }));
                }
            }
            self.since_row.store(0, Ordering::Relaxed);
            let line = row.position().map_or(0, csv::Position::line);
            let id = row.get(0).unwrap_or_default();
            let size = row.as_slice().len();
            if let Some(group) = &mut self.begun
                && group.rows.first().and_then(|first| first.get(0)) == Some(id)
            {
                group.bytes += size;
                group.too_long |= group.bytes > MAX_RECORD_BYTES;
                if !group.too_long {
                    group.rows.push(row);
                }
                continue;
            }
            let next = Group { line, bytes: size, too_long: false, rows: vec![row] };
            if let Some(group) = self.begun.replace(next) {
                return Some(Ok(finish(&group)));
            }
        }
        self.begun.take().map(|group| Ok(finish(&group)))
    }
}

fn finish(group: &Group) -> Result<(u64, Record), BadRecord> {
    let made = if group.too_long {
        Err(format!("its rows are longer than {} MiB", MAX_RECORD_BYTES >> 20))
    } else {
        record(&group.rows)
    };
    made.map(|record| (group.line, record)).map_err(|why| {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &group.rows {
            // into memory, which takes rows of any length
            let _ = writer.write_byte_record(row);
        }
        BadRecord { line: group.line, why, raw: check::cut(&writer.into_inner().unwrap_or_default()) }
    })
}

/// The cells of a row by column.
struct Cells<'a>(&'a ByteRecord);

impl<'a> Cells<'a> {
    fn text(&self, column: usize) -> Result<&'a str, String> {
        let cell = self.0.get(column).unwrap_or_default();
        std::str::from_utf8(cell).map_err(|_| format!("`{}` is not in UTF-8", CSV_COLUMNS[column]))
    }

    /// An empty cell says nothing; [`CSV_STATED`] stands before a text that is empty or begins with it.
    fn word(&self, column: usize) -> Result<Option<&'a str>, String> {
        let cell = self.text(column)?;
        Ok((!cell.is_empty()).then(|| cell.strip_prefix(CSV_STATED).unwrap_or(cell)))
    }

    fn owned(&self, column: usize) -> Result<Option<String>, String> {
        Ok(self.word(column)?.map(str::to_owned))
    }

    fn parsed<T: std::str::FromStr>(&self, column: usize) -> Result<Option<T>, String> {
        let cell = self.text(column)?;
        if cell.is_empty() {
            return Ok(None);
        }
        cell.parse().map(Some).map_err(|_| format!("`{cell}` in `{}` is no number of its kind", CSV_COLUMNS[column]))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<Option<T>, String> {
        let cell = self.text(column)?;
        if cell.is_empty() {
            return Ok(None);
        }
        serde_json::from_str(cell).map(Some).map_err(|e| format!("the JSON in `{}`: {e}", CSV_COLUMNS[column]))
    }

    fn map(&self, column: usize) -> Result<BTreeMap<String, String>, String> {
        Ok(self.json(column)?.unwrap_or_default())
    }
}

fn record(rows: &[ByteRecord]) -> Result<Record, String> {
    let Some(first) = rows.first() else { return Err("no row".into()) };
    let mut measurements = Vec::with_capacity(rows.len());
    for row in rows {
        if row.len() != CSV_COLUMNS.len() {
            return Err(format!("a row has {} cells, and {} columns are named", row.len(), CSV_COLUMNS.len()));
        }
        for column in 1..OF_RECORD {
            if !row[column].is_empty() && row[column] != first[column] {
                return Err(format!("its rows differ in `{}`", CSV_COLUMNS[column]));
            }
        }
        match measurement(&Cells(row))? {
            Some(measurement) => measurements.push(measurement),
            None if rows.len() == 1 => {}
            None => return Err("a row has no property".into()),
        }
    }
    let cells = Cells(first);
    Ok(Record {
        id: cells.owned(0)?.unwrap_or_default(),
        name: cells.owned(1)?,
        formula_given: cells.owned(2)?,
        formula: cells.owned(3)?,
        space_group: cells.parsed(4)?,
        smiles: cells.owned(5)?,
        class: cells.word(6)?.map(Arc::from),
        structure: cells.json(7)?,
        attributes: cells.map(8)?,
        measurements,
    })
}

fn measurement(cells: &Cells<'_>) -> Result<Option<Measurement>, String> {
    let Some(property) = cells.word(PROPERTY)? else {
        return match (PROPERTY + 1..CSV_COLUMNS.len()).find(|&column| !cells.0[column].is_empty()) {
            Some(column) => Err(format!("a row has no property, and something in `{}`", CSV_COLUMNS[column])),
            None => Ok(None),
        };
    };
    Ok(Some(Measurement {
        property: property.into(),
        value: cells.parsed(10)?.ok_or_else(|| format!("`{property}` has no value"))?,
        given_value: cells.parsed(11)?,
        given_unit: cells.word(12)?.map(Arc::from),
        uncertainty: cells.parsed(13)?,
        evidence: cells.text(14)?.parse()?,
        method: cells.word(15)?.map(Arc::from),
        source: cells.word(16)?.map(Arc::from),
        temperature_k: cells.parsed(17)?,
        pressure_pa: cells.parsed(18)?,
        conditions: cells.map(19)?,
    }))
}
