//! Is this one of our own exports? Then its records are read back as they were, without a mapping.
//!
//! A file is recognised by what `datasets::export` writes first: the metadata of Parquet, the header line of JSON Lines
//! and OPTIMADE JSON Lines, the exact columns of CSV. It is read in pieces: memory is bounded by one record, and one
//! record by [`MAX_RECORD_BYTES`]. Text formats may be compressed by gzip or zstd.

mod check;
mod columns;
mod table;
mod text;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use datasets::catalogue::DatasetInfo;
use datasets::export::{CSV_COLUMNS, FORMAT_VERSION, Format, Header, HeaderLine, OWN_HEADER};
use datasets::record::{Record, is_dataset_name};

/// Longest record of a text format, in bytes of the file.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

/// Bytes that tell whether a first line is worth reading whole.
const SNIFFED: usize = 1024;

/// A record that cannot be taken.
#[derive(Debug, Clone, PartialEq)]
pub struct BadRecord {
    /// Line of the file from 1; in Parquet the row from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
    /// The record as the file has it, to be mended: its line or lines (of Parquet the record as a line of JSON), cut at
    /// 64 KiB.
    pub raw: String,
}

/// One record of the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// It is as it must be.
    Record {
        /// Line of the file from 1 where it begins; in Parquet the row from 1.
        line: u64,
        /// The record.
        record: Box<Record>,
    },
    /// It is not.
    Refused(BadRecord),
}

/// A file of ours cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// The operating system, or the decompressor, says no.
    #[error("cannot read {file}: {why}")]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The header or the file's structure is damaged.
    #[error("{file} is damaged: {why}; export it again")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A later version wrote it.
    #[error(
        "{file} was exported in format {format}, and this program reads up to {FORMAT_VERSION}: take a newer matgenome"
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        format: u32,
    },
    /// One name was given for the records of several datasets.
    #[error("{file} holds the datasets {}, which one name cannot stand for; ingest it without --dataset", .names.join(", "))]
    SeveralDatasets {
        /// The file.
        file: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// That is no dataset name.
    #[error("`{0}` is no dataset name: use 1 to 64 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit")]
    Name(String),
}

/// What makes records of a file: line and record, or why not.
type Read1 = Result<Result<(u64, Record), BadRecord>, NativeError>;

trait Source: Send {
    fn next(&mut self) -> Option<Read1>;
}

/// The records of one export.
pub struct NativeReader {
    file: PathBuf,
    format: Format,
    terms: Vec<DatasetInfo>,
    source: Option<Box<dyn Source>>,
    /// The new name, and the old one as soon as it is known.
    rename: Option<(String, Option<String>)>,
}

impl std::fmt::Debug for NativeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NativeReader").field("file", &self.file).field("format", &self.format).finish_non_exhaustive()
    }
}

/// Opens a file if it is one of our exports; `None` where it is any other file.
///
/// # Errors
/// It cannot be opened; or it is an export, and its header is damaged or of a newer program.
pub fn open(path: &Path) -> Result<Option<NativeReader>, NativeError> {
    let failed = |why| NativeError::Io { file: path.to_owned(), why };
    let mut file = File::open(path).map_err(failed)?;
    let mut magic = Vec::new();
    (&file).take(4).read_to_end(&mut magic).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let input: Box<dyn BufRead + Send> = match magic.as_slice() {
        b"PAR1" => {
            let Some((header, source)) = columns::open(path, file)? else { return Ok(None) };
            return Ok(Some(NativeReader::new(path, Format::Parquet, header, Box::new(source))));
        }
        [0x1f, 0x8b, ..] => Box::new(BufReader::with_capacity(1 << 16, flate2::read::MultiGzDecoder::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            Box::new(BufReader::with_capacity(1 << 16, zstd::Decoder::new(file).map_err(failed)?))
        }
        _ => Box::new(BufReader::with_capacity(1 << 16, file)),
    };
    open_text(path, input)
}

/// As [`open`], for a text format that is read from anywhere; `file` is its name in errors.
///
/// # Errors
/// As [`open`].
pub fn open_text(file: &Path, mut input: Box<dyn BufRead + Send>) -> Result<Option<NativeReader>, NativeError> {
    let failed = |why| NativeError::Io { file: file.to_owned(), why };
    let damaged = |why: String| NativeError::Damaged { file: file.to_owned(), why };
    let mut start = Vec::new();
    // a decompressor may fail here: then it is no export, and the reader of others' files says what is wrong with it
    match (&mut input).take(SNIFFED as u64).read_to_end(&mut start) {
        Ok(_) => {}
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => return Ok(None),
        Err(e) => return Err(failed(e)),
    }
    let head = String::from_utf8_lossy(&start).into_owned();
    let head = head.trim_start_matches('\u{feff}');
    let is_ours = head.starts_with('{') && (head.contains("\"matgenome\"") || head.contains("\"x-optimade\""));
    let whole: Box<dyn BufRead + Send> = Box::new(io::Cursor::new(start.clone()).chain(input));
    if is_ours {
        let mut lines = text::Lines::new(whole);
        let first = match lines.next_line().map_err(failed)? {
            Some(text::Line::Whole) => lines.text().to_vec(),
            _ => return Ok(None),
        };
        let Some((header, format)) = header_of(&first).map_err(damaged)? else { return Ok(None) };
        checked(file, &header)?;
        let source = text::Records::new(file, lines, format == Format::OptimadeJsonLines);
        return Ok(Some(NativeReader::new(file, format, header, Box::new(source))));
    }
    let first = head.lines().next().unwrap_or_default();
    let is_csv = first.split(',').map(|cell| cell.trim_matches('"')).eq(CSV_COLUMNS);
    Ok(is_csv.then(|| {
        let header = Header { format: FORMAT_VERSION, datasets: Vec::new() };
        NativeReader::new(file, Format::Csv, header, Box::new(table::Rows::new(file, whole)))
    }))
}

/// The header of a first line; `None` where the line is of another program.
fn header_of(line: &[u8]) -> Result<Option<(Header, Format)>, String> {
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(line) else { return Ok(None) };
    if let Some(own) = value.pointer_mut(&format!("/x-optimade/meta/{OWN_HEADER}")) {
        let header = serde_json::from_value(own.take()).map_err(|e| format!("its header: {e}"))?;
        return Ok(Some((header, Format::OptimadeJsonLines)));
    }
    if value.get("matgenome").and_then(|own| own.get("format")).is_none() {
        return Ok(None);
    }
    let header: HeaderLine = serde_json::from_value(value).map_err(|e| format!("its header: {e}"))?;
    Ok(Some((header.matgenome, Format::JsonLines)))
}

fn checked(file: &Path, header: &Header) -> Result<(), NativeError> {
    if header.format > FORMAT_VERSION {
        return Err(NativeError::Newer { file: file.to_owned(), format: header.format });
    }
    match header.datasets.iter().find_map(DatasetInfo::problem) {
        Some(why) => Err(NativeError::Damaged { file: file.to_owned(), why }),
        None => Ok(()),
    }
}

impl NativeReader {
    fn new(file: &Path, format: Format, header: Header, source: Box<dyn Source>) -> NativeReader {
        NativeReader { file: file.to_owned(), format, terms: header.datasets, source: Some(source), rename: None }
    }

    /// The format of the file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The terms of the file's datasets; none in CSV, which has no place for them.
    pub fn terms(&self) -> &[DatasetInfo] {
        &self.terms
    }

    /// Gives the records, and their dataset's terms, another dataset name. CSV does not say beforehand how many datasets
    /// it holds: there records of a second one are refused.
    ///
    /// # Errors
    /// The file holds several datasets, or that is no name.
    pub fn rename(mut self, name: &str) -> Result<NativeReader, NativeError> {
        if !is_dataset_name(name) {
            return Err(NativeError::Name(name.to_owned()));
        }
        if self.terms.len() > 1 {
            let names = self.terms.into_iter().map(|info| info.name).collect();
            return Err(NativeError::SeveralDatasets { file: self.file, names });
        }
        let old = self.terms.first_mut().map(|info| std::mem::replace(&mut info.name, name.to_owned()));
        self.rename = Some((name.to_owned(), old));
        Ok(self)
    }

    fn accept(&mut self, record: &mut Record) -> Result<(), String> {
        check::record(record)?;
        let dataset = record.dataset();
        let Some((new, old)) = &mut self.rename else {
            if !self.terms.is_empty() && self.terms.iter().all(|info| info.name != dataset) {
                return Err(format!("the header of the file names no dataset `{dataset}`"));
            }
            return Ok(());
        };
        let old = old.get_or_insert_with(|| dataset.to_owned());
        if old != dataset {
            return Err(format!(
                "it belongs to `{dataset}` and not, as others of the file, to `{old}`, which `{new}` stands for"
            ));
        }
        let prefix = format!("{old}:");
        for m in &mut record.measurements {
            if let Some(key) = m.property.strip_prefix(&prefix) {
                m.property = format!("{new}:{key}").into();
            }
        }
        record.id = format!("{new}{}", &record.id[old.len()..]);
        Ok(())
    }
}

impl Iterator for NativeReader {
    type Item = Result<Item, NativeError>;

    /// The next record; after an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        let read = self.source.as_mut()?.next();
        if !matches!(read, Some(Ok(_))) {
            self.source = None;
        }
        Some(read?.map(|read| match read {
            Ok((line, mut record)) => match self.accept(&mut record) {
                Ok(()) => Item::Record { line, record: Box::new(record) },
                Err(why) => Item::Refused(BadRecord { line, why, raw: check::raw(&record) }),
            },
            Err(bad) => Item::Refused(bad),
        }))
    }
}
