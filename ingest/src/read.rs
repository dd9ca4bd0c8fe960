//! Rows out of a CSV file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
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
    /// 1 where lines end in CR LF: the csv crate counts a line when it reads the LF, at the start of the next row.
    late_lines: u64,
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
        let mut file = BufReader::with_capacity(1 << 20, file);
        let start = file.fill_buf().map_err(|why| ReadError::Unreadable { path: path.to_owned(), why })?;
        let first_end = start.iter().position(|&b| b == b'\n');
        let late_lines = u64::from(first_end.is_some_and(|at| at > 0 && start[at - 1] == b'\r'));
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
        Ok(Table { path: path.to_owned(), headers, positions, reader, late_lines })
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
        let mut cells = csv::StringRecord::new();
        match self.reader.read_record(&mut cells) {
            Ok(false) => None,
            Ok(true) => {
                let line = cells.position().map_or(0, csv::Position::line) + self.late_lines;
                if cells.len() == self.headers.len() {
                    Some(Ok(Row { line, cells }))
                } else {
                    let why = format!("{} cells where the header has {}", cells.len(), self.headers.len());
                    Some(Err((line, why)))
                }
            }
            Err(e) => {
                let line = e.position().map_or(0, csv::Position::line);
                match e.kind() {
                    // the reader cannot go on after an input error: say so once and end
                    csv::ErrorKind::Io(_) => {
                        self.reader = csv::ReaderBuilder::new().from_reader(Box::new(std::io::empty()));
                        Some(Err((line, format!("reading failed here: {e}"))))
                    }
                    _ => Some(Err((line, e.to_string()))),
                }
            }
        }
    }
}
