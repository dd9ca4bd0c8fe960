//! Records as files for others: Parquet, CSV, JSON Lines and OPTIMADE JSON Lines, from which `ingest` makes equal records.
//!
//! [`Export`] reads a table in id order and gives the file piece by piece, so memory is bounded by a batch (Parquet: by a
//! row group). Equal records and terms give equal bytes, whatever data files they lie in. What the formats hold is
//! described in `docs/export.md`; `ingest::native` reads them.

mod csv;
mod optimade;
mod parquet;

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::catalogue::DatasetInfo;
use crate::record::Record;
use crate::table::{Ordered, Table, TableError};

pub use csv::{COLUMNS as CSV_COLUMNS, STATED as CSV_STATED};
pub use optimade::{ENTRY_TYPE, OWN_HEADER, OWN_RECORD};
pub use parquet::{DATASETS_KEY, FORMAT_KEY};

/// Version of the formats, in the header of each file; a reader refuses what is newer.
pub const FORMAT_VERSION: u32 = 1;

/// Records that are read and encoded at a time.
const BATCH: usize = 4096;

/// A file format of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// One row a record, values as a list of structs; the terms in the file's metadata.
    Parquet,
    /// One row a value; without the terms.
    Csv,
    /// The terms in the first line, then one record a line.
    JsonLines,
    /// Entries of type `structures` for OPTIMADE tools, with the record as an attribute of our own.
    OptimadeJsonLines,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 4] = [Format::Parquet, Format::Csv, Format::JsonLines, Format::OptimadeJsonLines];

    /// The word for it on the command line and in `?format=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
            Format::JsonLines => "jsonl",
            Format::OptimadeJsonLines => "optimade-jsonl",
        }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Parquet => "application/vnd.apache.parquet",
            Format::Csv => "text/csv; charset=utf-8",
            Format::JsonLines | Format::OptimadeJsonLines => "application/jsonl",
        }
    }

    /// Whether it is text.
    pub fn is_text(self) -> bool {
        self != Format::Parquet
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Format::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no export format: say parquet, csv, jsonl or optimade-jsonl"))
    }
}

/// Why an export stopped; what was written so far is no whole file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The table has no such dataset.
    #[error("there is no dataset `{name}`; {}", if .known.is_empty() { "there is none yet".to_owned() } else { format!("there are: {}", .known.join(", ")) })]
    NoDataset {
        /// The name asked for.
        name: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// A number of a record is not finite, which another program must have put there; no format but Parquet can say it.
    #[error("record `{id}` has a {what} that is no finite number; delete or replace the record, and export again")]
    NotFinite {
        /// The record.
        id: String,
        /// Which of its numbers.
        what: &'static str,
    },
    /// The table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A batch cannot be encoded.
    #[error("cannot encode the records: {0}")]
    Encode(String),
    /// The writer failed.
    #[error("cannot write the export: {0}")]
    Write(#[from] std::io::Error),
}

/// The header of our JSON Lines, which OPTIMADE JSON Lines carry too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT_VERSION`] of the writer.
    pub format: u32,
    /// The terms of the datasets that the records belong to.
    pub datasets: Vec<DatasetInfo>,
}

/// The first line of our JSON Lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeaderLine {
    /// What the file is.
    pub matgenome: Header,
}

/// The first number of a record that is not finite, by what it is.
pub fn not_finite(record: &Record) -> Option<&'static str> {
    let bad = |x: Option<f64>| x.is_some_and(|x| !x.is_finite());
    for m in &record.measurements {
        for (x, what) in [
            (Some(m.value), "value"),
            (m.given_value, "given value"),
            (m.uncertainty, "uncertainty"),
            (m.temperature_k, "temperature"),
            (m.pressure_pa, "pressure"),
        ] {
            if bad(x) {
                return Some(what);
            }
        }
    }
    let structure = record.structure.as_deref()?;
    let lattice = structure.lattice.iter().flatten();
    if lattice.chain(&structure.positions).flatten().any(|x| !x.is_finite()) {
        return Some("coordinate");
    }
    let occupancies = structure.species.iter().filter_map(|species| match species {
        crate::structure::Species::Element(_) => None,
        crate::structure::Species::Mixed(parts) => Some(parts),
    });
    occupancies.flatten().any(|(_, x)| !x.is_finite()).then_some("occupancy")
}

enum Encoder {
    Text(fn(&[Record], &mut Vec<u8>) -> Result<(), ExportError>, Vec<u8>),
    Parquet(Box<parquet::Writer>),
}

/// Batches of records → the bytes of one file.
pub struct Exporter(Encoder);

impl Exporter {
    /// Begins a file about these datasets.
    ///
    /// # Errors
    /// The header cannot be encoded.
    pub fn new(format: Format, datasets: &[DatasetInfo]) -> Result<Exporter, ExportError> {
        let header = Header { format: FORMAT_VERSION, datasets: datasets.to_vec() };
        let mut bytes = Vec::new();
        Ok(Exporter(match format {
            Format::Parquet => Encoder::Parquet(Box::new(parquet::Writer::new(&header)?)),
            Format::Csv => {
                csv::write_header(&mut bytes)?;
                Encoder::Text(csv::write, bytes)
            }
            Format::JsonLines => {
                json_line(&HeaderLine { matgenome: header }, &mut bytes)?;
                Encoder::Text(write_lines, bytes)
            }
            Format::OptimadeJsonLines => {
                optimade::write_header(header, &mut bytes)?;
                Encoder::Text(optimade::write, bytes)
            }
        }))
    }

    /// Adds records; to give equal files for equal records, callers hand them over in id order.
    ///
    /// # Errors
    /// A number is not finite, or encoding failed.
    pub fn write(&mut self, records: &[Record]) -> Result<(), ExportError> {
        for record in records {
            if let Some(what) = not_finite(record) {
                return Err(ExportError::NotFinite { id: record.id.clone(), what });
            }
        }
        match &mut self.0 {
            Encoder::Text(write, bytes) => write(records, bytes),
            Encoder::Parquet(writer) => writer.write(records),
        }
    }

    /// The bytes that are ready since the last call; may be none.
    pub fn take(&mut self) -> Vec<u8> {
        match &mut self.0 {
            Encoder::Text(_, bytes) => std::mem::take(bytes),
            Encoder::Parquet(writer) => writer.take(),
        }
    }

    /// Ends the file: its last bytes.
    ///
    /// # Errors
    /// Encoding failed.
    pub fn finish(self) -> Result<Vec<u8>, ExportError> {
        match self.0 {
            Encoder::Text(_, bytes) => Ok(bytes),
            Encoder::Parquet(writer) => writer.finish(),
        }
    }
}

/// Which records of the datasets are wanted.
pub type Wanted = Box<dyn Fn(&Record) -> bool + Send + Sync>;

/// An export in progress: pull [`Export::next`] until it is `None`.
pub struct Export {
    records: Ordered,
    wanted: Option<Wanted>,
    encoder: Option<Exporter>,
    read: u64,
    total: u64,
    written: u64,
}

impl Export {
    /// Begins an export of these datasets (each that the caller may see) at the version that `table` shows. `wanted`
    /// leaves records out, by their material for instance ([`Record::material_id`]). The terms of all datasets named are
    /// in the file.
    ///
    /// # Errors
    /// A dataset is not there.
    pub fn new(
        table: &Table,
        datasets: &[String],
        wanted: Option<Wanted>,
        format: Format,
    ) -> Result<Export, ExportError> {
        let known = table.datasets()?;
        if let Some(name) = datasets.iter().find(|name| !known.contains_key(*name)) {
            return Err(ExportError::NoDataset { name: name.clone(), known: known.into_keys().collect() });
        }
        let terms: Vec<DatasetInfo> = known.into_values().filter(|info| datasets.contains(&info.name)).collect();
        let files = table.files()?;
        let total = files.iter().filter(|f| datasets.contains(&f.dataset)).filter_map(|f| f.rows).sum::<usize>();
        Ok(Export {
            records: table.in_order(datasets)?,
            wanted,
            encoder: Some(Exporter::new(format, &terms)?),
            read: 0,
            total: total as u64,
            written: 0,
        })
    }

    /// The next bytes of the file, never empty; `None` after the last.
    ///
    /// # Errors
    /// The table cannot be read or a batch not encoded; the file is not whole then, and there is no going on.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ExportError> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(None) };
        loop {
            let mut batch = self.records.next_batch(BATCH).await?;
            if batch.is_empty() {
                let last = encoder.finish()?;
                return Ok((!last.is_empty()).then_some(last));
            }
            self.read += batch.len() as u64;
            if let Some(wanted) = &self.wanted {
                batch.retain(|record| wanted(record));
            }
            self.written += batch.len() as u64;
            encoder.write(&batch)?;
            let bytes = encoder.take();
            if !bytes.is_empty() {
                self.encoder = Some(encoder);
                return Ok(Some(bytes));
            }
        }
    }

    /// Records read so far, and in all (as the table's log counts them).
    pub fn progress(&self) -> (u64, u64) {
        (self.read, self.total)
    }

    /// Records written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes all that is left, and says how many records the file holds.
    ///
    /// # Errors
    /// As [`Export::next`], or the writer fails.
    pub async fn write_to(mut self, out: &mut (impl Write + Send)) -> Result<u64, ExportError> {
        while let Some(bytes) = self.next().await? {
            out.write_all(&bytes)?;
        }
        out.flush()?;
        Ok(self.written)
    }
}

fn json_line(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), ExportError> {
    serde_json::to_writer(&mut *out, value).map_err(|e| ExportError::Encode(e.to_string()))?;
    out.push(b'\n');
    Ok(())
}

fn write_lines(records: &[Record], out: &mut Vec<u8>) -> Result<(), ExportError> {
    records.iter().try_for_each(|record| json_line(record, out))
}
