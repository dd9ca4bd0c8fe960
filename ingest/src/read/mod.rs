//! Which rows are in this file? Every format becomes tables of text cells under headers.
//!
//! [`open`] looks at a path and gives its [`Table`]s: one for a plain file, several for an archive, a folder or a
//! workbook. A table hands out its rows in [`Chunk`]s, so that several threads can work on one file; memory is bounded
//! by the chunks, whatever the size of the file.

mod card;
mod columnar;
mod container;
mod csv;
mod detect;
pub mod dispersion;
mod document;
mod entries;
mod input;
mod refractive;
mod sheet;
mod structures;
mod tree;

pub(crate) use tree::marked;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::csv::StringRecord;
use serde::{Deserialize, Serialize};

/// The longest row, bytes. A longer one is refused, and reading goes on behind it.
pub const MAX_ROW_BYTES: usize = 64 << 20;

/// How the files are read: the `[read]` table of a mapping.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadOptions {
    /// The format; by the name and the first bytes of the file where it is not said.
    pub format: Option<Format>,
    /// Cell separator, one ASCII character; the one that splits the header best where it is not said.
    pub separator: Option<char>,
    /// Words that mean "no value"; only the empty cell by default, because `NaN` is sodium nitride.
    pub null: Vec<String>,
    /// The decimal mark of numbers: `.` or `,`.
    pub decimal: char,
    /// The mark between groups of three digits; none where it is not said.
    pub thousands: Option<char>,
    /// Encoding of text; UTF-8 (or by the byte-order mark) where it is not said.
    pub encoding: Option<Encoding>,
    /// Lines before the header that are passed over.
    pub skip: usize,
    /// Header lines; the names of a column's lines are joined by ` / `. With 0, `columns` names them.
    pub header_rows: usize,
    /// Names of the columns, in place of those of the file.
    pub columns: Vec<String>,
    /// The sheet of a workbook; all sheets where it is not said.
    pub sheet: Option<String>,
    /// Where the rows are in a JSON, YAML or TOML document, as a JSON pointer (`/entries`).
    pub rows: Option<String>,
    /// Columns that are left out: names, or patterns with `*`.
    pub ignore: Vec<String>,
    /// Only members of an archive or files of a folder whose path ends so (`.yml`, `nk/Malitson.yml`).
    pub members: Vec<String>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            format: None,
            separator: None,
            null: vec![String::new()],
            decimal: '.',
            thousands: None,
            encoding: None,
            skip: 0,
            header_rows: 1,
            columns: Vec::new(),
            sheet: None,
            rows: None,
            ignore: Vec::new(),
            members: Vec::new(),
        }
    }
}

/// Formats that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Separated values: comma, semicolon, tab or bar.
    Csv,
    /// A JSON document.
    Json,
    /// JSON, one object a line.
    JsonLines,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
    /// Excel workbooks: `.xlsx`, `.xlsb`, `.xls`.
    Excel,
    /// OpenDocument spreadsheets.
    Ods,
    /// Parquet.
    Parquet,
    /// Arrow IPC, file or stream; Feather version 2.
    Arrow,
    /// FreeCAD material cards, `.FCMat`.
    FreecadCard,
    /// Pages of refractiveindex.info.
    RefractiveIndex,
    /// CIF.
    Cif,
    /// POSCAR, CONTCAR and `.vasp`.
    Poscar,
    /// XYZ and extended XYZ.
    Xyz,
    /// JSON of pymatgen: structures, molecules and computed entries.
    Pymatgen,
    /// OPTIMADE: JSON responses and JSON Lines.
    Optimade,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 16] = [
        Format::Csv,
        Format::Json,
        Format::JsonLines,
        Format::Toml,
        Format::Yaml,
        Format::Excel,
        Format::Ods,
        Format::Parquet,
        Format::Arrow,
        Format::FreecadCard,
        Format::RefractiveIndex,
        Format::Cif,
        Format::Poscar,
        Format::Xyz,
        Format::Pymatgen,
        Format::Optimade,
    ];

    /// Whether its numbers are numbers, not texts.
    pub fn is_typed(self) -> bool {
        use Format::{Arrow, Excel, Json, JsonLines, Ods, Optimade, Parquet, Pymatgen, Toml, Yaml};
        matches!(self, Json | JsonLines | Toml | Yaml | Excel | Ods | Parquet | Arrow | Pymatgen | Optimade)
    }

    /// Whether a column of it says what the text of the structure of its row says too.
    pub fn says_in_structure(self, header: &str) -> bool {
        match self {
            Format::Cif | Format::Poscar => true,
            Format::Xyz => matches!(header, "Lattice" | "Properties" | "pbc" | "comment"),
            // properties of a provider begin with `_`
            Format::Optimade => !header.starts_with('_'),
            Format::Pymatgen => header.starts_with('@') || header.starts_with("composition.") || header == "charge",
            _ => false,
        }
    }

    /// Its name in a mapping.
    pub fn name(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Json => "json",
            Format::JsonLines => "json_lines",
            Format::Toml => "toml",
            Format::Yaml => "yaml",
            Format::Excel => "excel",
            Format::Ods => "ods",
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
            Format::FreecadCard => "freecad_card",
            Format::RefractiveIndex => "refractive_index",
            Format::Cif => "cif",
            Format::Poscar => "poscar",
            Format::Xyz => "xyz",
            Format::Pymatgen => "pymatgen",
            Format::Optimade => "optimade",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Encodings of text files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Encoding {
    /// UTF-8.
    #[serde(rename = "utf-8")]
    Utf8,
    /// Latin-1, in its superset Windows-1252.
    #[serde(rename = "latin-1")]
    Latin1,
    /// UTF-16, little endian.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, big endian.
    #[serde(rename = "utf-16be")]
    Utf16Be,
}

/// A file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: std::io::Error,
    },
    /// It has no header line.
    #[error("{path} has no header line")]
    NoHeader {
        /// The file.
        path: PathBuf,
    },
    /// The header, or what stands for it in another format, cannot be read.
    #[error("{path}, header: {why}")]
    BadHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file is not what its format must be, or is larger than what can be read safely.
    #[error("{path}: {why}")]
    BadFile {
        /// The file, with the member of an archive or the sheet of a workbook.
        path: PathBuf,
        /// What is wrong, and the mend.
        why: String,
    },
    /// A column of the mapping is not in the file.
    #[error(
        "{path} has no column `{column}`; its columns are {columns}. Mend the mapping, or name the file it is in by `file = ...`"
    )]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What there is.
        columns: String,
    },
}

/// One row.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Where it begins: the line of a text file, the row of a sheet, or the place of an entry, from 1.
    pub line: u64,
    /// The cells, in header order. A row of another format may have empty cells where it says nothing.
    pub cells: StringRecord,
    /// The row as it stands in the file, where the cells alone do not say it (JSON, CIF ...): what is written to the
    /// file of refused rows.
    pub raw: Option<Box<str>>,
}

/// A row that cannot be read.
#[derive(Debug, Clone)]
pub struct BadRow {
    /// Where it begins, from 1.
    pub line: u64,
    /// Why.
    pub why: String,
    /// The bytes of the row, cut where they are very long.
    pub raw: Option<Vec<u8>>,
}

/// Some successive rows of a table. It may be read on another thread than the one that got it.
pub trait Chunk: Send {
    /// Puts the next row in place of `row`'s content; `None` at the end. After an error reading goes on.
    fn next_row(&mut self, row: &mut Row) -> Option<Result<(), BadRow>>;
}

/// What hands out the chunks of a table, in order.
pub trait Source: Send {
    /// The next chunk, `None` at the end. What cannot be read is an error row of a chunk.
    fn next_chunk(&mut self) -> Option<Box<dyn Chunk>>;
}

/// A chunk of rows that are in memory.
pub struct RowsInMemory(std::vec::IntoIter<Result<Row, BadRow>>);

impl RowsInMemory {
    /// A chunk of these rows.
    pub fn new(rows: Vec<Result<Row, BadRow>>) -> RowsInMemory {
        RowsInMemory(rows.into_iter())
    }
}

impl Chunk for RowsInMemory {
    fn next_row(&mut self, row: &mut Row) -> Option<Result<(), BadRow>> {
        self.0.next().map(|read| read.map(|next| *row = next))
    }
}

/// A table of text cells with its headers read.
pub struct Table {
    /// The file and, in an archive, the member, as findings name it.
    pub shown: String,
    /// The name that `file = ...` of a mapping means: without folders.
    pub name: String,
    /// The format that it was read as.
    pub format: Format,
    headers: Vec<String>,
    positions: HashMap<String, usize>,
    source: Box<dyn Source>,
    preface: Preface,
}

impl Table {
    /// A table; header names are trimmed.
    ///
    /// # Errors
    /// There is no header, or two columns have one name.
    pub fn new(
        shown: String,
        name: String,
        format: Format,
        headers: impl IntoIterator<Item = String>,
        source: Box<dyn Source>,
    ) -> Result<Table, ReadError> {
        let headers: Vec<String> = headers.into_iter().map(|h| h.trim().to_owned()).collect();
        let path = PathBuf::from(&shown);
        if headers.is_empty() {
            return Err(ReadError::NoHeader { path });
        }
        let mut positions = HashMap::new();
        for (i, name) in headers.iter().enumerate() {
            if positions.insert(name.clone(), i).is_some() {
                let why = match name.is_empty() {
                    true => "two columns have no name: where a title stands above the header, say skip = 1, the lines before \
                             the header, in [read] (a mapping with [read] alone is enough: --mapping MAP.toml); else name all columns by `columns` in [read]"
                        .to_owned(),
                    false => format!(
                        "two columns are called `{name}`: rename one in the file, or name all columns by `columns` in [read]"
                    ),
                };
                return Err(ReadError::BadHeader { path, why });
            }
        }
        Ok(Table { shown, name, format, headers, positions, source, preface: Preface::default() })
    }

    /// With what stands before the rows.
    pub(crate) fn with_preface(mut self, preface: Preface) -> Table {
        self.preface = preface;
        self
    }

    /// What stands before the rows.
    pub(crate) fn preface(&self) -> &Preface {
        &self.preface
    }

    /// The header's names, trimmed.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The position of a column.
    ///
    /// # Errors
    /// The file has no such column.
    pub fn position(&self, column: &str) -> Result<usize, ReadError> {
        self.positions.get(column).copied().ok_or_else(|| ReadError::NoColumn {
            path: PathBuf::from(&self.shown),
            column: column.to_owned(),
            columns: listed(&self.headers),
        })
    }

    /// The next rows, `None` at the end.
    pub fn next_chunk(&mut self) -> Option<Box<dyn Chunk>> {
        self.source.next_chunk()
    }
}

/// How many bytes of the files were read so far; shared with what reports progress.
#[derive(Debug, Clone, Default)]
pub struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    /// Bytes so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Some more were read.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The tables of a path, one after the other.
pub type Tables = Box<dyn Iterator<Item = Result<Table, ReadError>> + Send>;

/// Opens a file or folder. `shown` is how findings name it; `read` counts the bytes of the file that were read.
///
/// # Errors
/// It cannot be opened, or is nothing that is understood; the message says what is.
pub fn open(path: &Path, shown: &str, options: &ReadOptions, read: &BytesRead) -> Result<Tables, ReadError> {
    let unreadable = |why| ReadError::Unreadable { path: path.to_owned(), why };
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if about.is_dir() {
        return Ok(container::folder(path, shown, options, read));
    }
    container::tables(input::Input::file(path.to_owned(), shown.to_owned(), read)?, options, 0)
}

/// A reader that counts.
struct Counted<R> {
    inner: R,
    read: BytesRead,
}

impl<R: std::io::Read> std::io::Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(out)?;
        self.read.add(n as u64);
        Ok(n)
    }
}

/// What stands before the rows of a table, for the file of refused rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Preface {
    /// Cell separator of separated values.
    pub(crate) separator: Option<u8>,
    /// The lines up to the first row, as UTF-8.
    pub(crate) bytes: Vec<u8>,
    /// The file said an encoding that is not UTF-8: a byte-order mark must say that a copy is.
    pub(crate) needs_mark: bool,
    /// The header rows of a sheet, and the row of the sheet on which they begin.
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) first_row: Option<u64>,
    /// The name of the sheet.
    pub(crate) sheet: Option<String>,
}

/// Headers in a message: not too many, each in one line.
pub(crate) fn listed(headers: &[String]) -> String {
    const MOST: usize = 30;
    let shown = |header: &String| {
        let mut text: String = header.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        if text.len() < header.len() {
            text.push('…');
        }
        format!("`{text}`")
    };
    let mut names: Vec<String> = headers.iter().take(MOST).map(shown).collect();
    if headers.len() > MOST {
        names.push(format!("and {} more", headers.len() - MOST));
    }
    names.join(", ")
}

/// Joins a header line to those above it: the names of a column are joined by ` / `.
fn join_header<'a>(headers: &mut Vec<String>, cells: impl Iterator<Item = &'a str>) {
    for (i, cell) in cells.enumerate() {
        let cell = cell.trim_start_matches('\u{feff}').trim();
        match headers.get_mut(i) {
            None => headers.push(cell.to_owned()),
            Some(above) if above.is_empty() => *above = cell.to_owned(),
            Some(above) if !cell.is_empty() && above != cell => above.extend([" / ", cell]),
            Some(_) => {}
        }
    }
}
