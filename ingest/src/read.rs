//! Rows out of a CSV file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::mapping::ReadOptions;

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
    /// The header cannot be read.
    #[error("{path}, header: {why}")]
    BadHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong.
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

/// One row with the line it begins on.
#[derive(Debug)]
pub struct Row {
    /// Line of the file, from 1.
    pub line: u64,
    /// The cells, in header order.
    pub cells: csv::StringRecord,
}

/// A CSV file with its header read.
pub struct Table {
    path: PathBuf,
    headers: Vec<String>,
    positions: HashMap<String, usize>,
    reader: csv::Reader<Box<dyn Read>>,
}

impl Table {
    /// Opens a file and reads its header line. A byte-order mark is passed over.
    ///
    /// # Errors
    /// The file cannot be opened, or has no readable header with distinct names.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Table, ReadError> {
        let file = File::open(path).map_err(|why| ReadError::Unreadable { path: path.to_owned(), why })?;
        if file.metadata().is_ok_and(|m| m.is_dir()) {
            let why = std::io::Error::other("it is a folder; name the files in it");
            return Err(ReadError::Unreadable { path: path.to_owned(), why });
        }
        let file = LineEnds { inner: BufReader::with_capacity(1 << 20, file), last: None };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(options.separator as u8)
            .flexible(true)
            .from_reader(Box::new(file) as Box<dyn Read>);
        let header =
            reader.headers().map_err(|e| ReadError::BadHeader { path: path.to_owned(), why: e.to_string() })?;
        let headers: Vec<String> = header.iter().map(|h| h.trim_start_matches('\u{feff}').trim().to_owned()).collect();
        if headers.is_empty() {
            return Err(ReadError::NoHeader { path: path.to_owned() });
        }
        let mut positions = HashMap::new();
        for (i, name) in headers.iter().enumerate() {
            if positions.insert(name.clone(), i).is_some() {
                let why = format!("two columns are called `{name}`");
                return Err(ReadError::BadHeader { path: path.to_owned(), why });
            }
        }
        Ok(Table { path: path.to_owned(), headers, positions, reader })
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
            path: self.path.clone(),
            column: column.to_owned(),
            columns: self.headers.iter().map(|h| format!("`{h}`")).collect::<Vec<_>>().join(", "),
        })
    }

    /// The next row, `None` at the end; an error is that of one row, and reading can go on.
    pub fn next_row(&mut self) -> Option<Result<Row, (u64, String)>> {
        let mut cells = csv::ByteRecord::new();
        let read = self.reader.read_byte_record(&mut cells);
        // every row ends with a line end, and the reader stands behind it; before a row it may stand before empty lines
        let lines_inside = cells.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        let line = self.reader.position().line().saturating_sub(1 + lines_inside);
        match read {
            Ok(false) => None,
            Ok(true) if cells.len() != self.headers.len() => {
                Some(Err((line, format!("{} cells where the header has {}", cells.len(), self.headers.len()))))
            }
            Ok(true) => match csv::StringRecord::from_byte_record(cells) {
                Ok(cells) => Some(Ok(Row { line, cells })),
                Err(e) => Some(Err((line, format!("not UTF-8: {e}")))),
            },
            Err(e) => {
                // the reader cannot go on after an input error: say so once and end
                self.reader = csv::ReaderBuilder::new().from_reader(Box::new(std::io::empty()));
                Some(Err((line, format!("reading failed here: {e}"))))
            }
        }
    }
}

/// Line ends of any system as `\n`, also after the last line: the CSV reader counts only these.
struct LineEnds<R> {
    inner: R,
    /// The last byte that was read, `None` before the first and after the line end that ends the last line.
    last: Option<u8>,
}

impl<R: BufRead> Read for LineEnds<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let mut written = 0;
        while written == 0 && !out.is_empty() {
            let bytes = self.inner.fill_buf()?;
            if bytes.is_empty() {
                if self.last.take().is_some_and(|last| last != b'\n' && last != b'\r') {
                    out[0] = b'\n';
                    written = 1;
                }
                break;
            }
            let taken = bytes.len().min(out.len());
            for &byte in &bytes[..taken] {
                let second_of_two = byte == b'\n' && self.last == Some(b'\r');
                self.last = Some(byte);
                if !second_of_two {
                    out[written] = if byte == b'\r' { b'\n' } else { byte };
                    written += 1;
                }
            }
            self.inner.consume(taken);
        }
        Ok(written)
    }
}
