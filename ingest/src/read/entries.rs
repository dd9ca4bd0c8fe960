//! How do entries with named cells become a table? The headers are gathered first, then the rows are laid out.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::{BadRow, Chunk, Format, MAX_ROW_BYTES, ReadError, Row, RowsInMemory, Source, Table};

/// The most columns of a table.
pub(super) const MAX_COLUMNS: usize = 16_384;
/// Pieces of a chunk, and about how many bytes of them.
const CHUNK_PIECES: usize = 1024;
const CHUNK_BYTES: usize = 1 << 20;

/// Named cells.
pub(super) type Cells = Vec<(String, String)>;

/// One entry of a file, read.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// Where it is, from 1.
    pub(super) line: u64,
    /// Its cells.
    pub(super) cells: Cells,
    /// As it stands in the file.
    pub(super) raw: Option<Box<str>>,
}

/// One entry of a file, cut out and not yet read.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Where it begins, from 1.
    pub(super) line: u64,
    /// Its text.
    pub(super) text: String,
}

/// Cuts a file into entries.
pub(super) trait Pieces: Send {
    /// The next one.
    fn next_piece(&mut self) -> Option<Result<Piece, BadRow>>;
}

/// Reads one entry, its numbers with the decimal mark of the mapping; `None` for what is no row (headers of a stream,
/// comments).
pub(super) type Parse = fn(&str, char) -> Result<Option<Cells>, String>;

/// Column names in the order in which they were first seen.
#[derive(Default)]
pub(super) struct Columns {
    names: Vec<String>,
    known: HashSet<String>,
}

impl Columns {
    /// Takes the names of an entry in.
    pub(super) fn add(&mut self, cells: &Cells) -> Result<(), String> {
        for (name, _) in cells {
            let name = name.trim();
            if !self.known.contains(name) {
                if self.names.len() == MAX_COLUMNS {
                    return Err(format!("its rows have more than {MAX_COLUMNS} different columns together"));
                }
                self.known.insert(name.to_owned());
                self.names.push(name.to_owned());
            }
        }
        Ok(())
    }
}

/// Where the cells of a name go.
struct Positions {
    width: usize,
    of: HashMap<String, usize>,
}

impl Positions {
    fn new(names: &[String]) -> Positions {
        Positions { width: names.len(), of: names.iter().enumerate().map(|(i, n)| (n.clone(), i)).collect() }
    }

    fn lay(&self, cells: &Cells, row: &mut Row) -> Result<(), String> {
        let mut laid: Vec<Option<&str>> = vec![None; self.width];
        for (name, text) in cells {
            let Some(place) = self.of.get(name.trim()).and_then(|&i| laid.get_mut(i)) else {
                return Err(format!("the column `{}` was not there when the file was first read", name.trim()));
            };
            if place.replace(text).is_some() {
                return Err(format!("it has two values of `{}`", name.trim()));
            }
        }
        row.cells.clear();
        for cell in laid {
            row.cells.push_field(cell.unwrap_or_default());
        }
        Ok(())
    }
}

/// A table of entries that are in memory.
pub(super) fn in_memory(
    shown: String,
    name: String,
    format: Format,
    entries: Vec<Result<Entry, BadRow>>,
) -> Result<Table, ReadError> {
    let mut columns = Columns::default();
    for entry in entries.iter().flatten() {
        columns.add(&entry.cells).map_err(|why| ReadError::BadFile { path: PathBuf::from(&shown), why })?;
    }
    if columns.names.is_empty() {
        return Err(nothing(shown, entries.iter().find_map(|e| e.as_ref().err())));
    }
    let positions = Positions::new(&columns.names);
    let source = InMemory { entries: entries.into_iter(), positions };
    Table::new(shown, name, format, columns.names, Box::new(source))
}

struct InMemory {
    entries: std::vec::IntoIter<Result<Entry, BadRow>>,
    positions: Positions,
}

impl Source for InMemory {
    fn next_chunk(&mut self) -> Option<Box<dyn Chunk>> {
        let rows: Vec<Result<Row, BadRow>> = self
            .entries
            .by_ref()
            .take(CHUNK_PIECES)
            .map(|entry| {
                let entry = entry?;
                let mut row = Row { line: entry.line, ..Row::default() };
                match self.positions.lay(&entry.cells, &mut row) {
                    Ok(()) => {
                        row.raw = entry.raw;
                        Ok(row)
                    }
                    Err(why) => {
                        Err(BadRow { line: entry.line, why, raw: entry.raw.map(|raw| raw.into_string().into_bytes()) })
                    }
                }
            })
            .collect();
        (!rows.is_empty()).then(|| Box::new(RowsInMemory::new(rows)) as Box<dyn Chunk>)
    }
}

/// A table of entries that are cut out of a stream; the stream is opened twice, first for the headers.
pub(super) fn streamed(
    shown: String,
    name: String,
    format: Format,
    first: &mut dyn Pieces,
    again: Box<dyn Pieces>,
    (parse, decimal): (Parse, char),
) -> Result<Table, ReadError> {
    let mut columns = Columns::default();
    let mut failed = None;
    while let Some(piece) = first.next_piece() {
        match piece {
            Ok(piece) => match parse(&piece.text, decimal) {
                Ok(Some(cells)) => {
                    columns.add(&cells).map_err(|why| ReadError::BadFile { path: PathBuf::from(&shown), why })?;
                }
                Ok(None) => {}
                Err(why) if failed.is_none() => failed = Some(BadRow { line: piece.line, why, raw: None }),
                Err(_) => {}
            },
            Err(bad) if failed.is_none() => failed = Some(BadRow { raw: None, ..bad }),
            Err(_) => {}
        }
    }
    if columns.names.is_empty() {
        return Err(nothing(shown, failed.as_ref()));
    }
    let positions = Arc::new(Positions::new(&columns.names));
    let source = Streamed { pieces: again, positions, parse, decimal };
    Table::new(shown, name, format, columns.names, Box::new(source))
}

fn nothing(shown: String, failed: Option<&BadRow>) -> ReadError {
    let why = match failed {
        Some(bad) => format!("no row of it can be read; the first: place {}: {}", bad.line, bad.why),
        None => "there is no row in it".to_owned(),
    };
    ReadError::BadFile { path: PathBuf::from(shown), why }
}

struct Streamed {
    pieces: Box<dyn Pieces>,
    positions: Arc<Positions>,
    parse: Parse,
    decimal: char,
}

impl Source for Streamed {
    fn next_chunk(&mut self) -> Option<Box<dyn Chunk>> {
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while pieces.len() < CHUNK_PIECES && bytes < CHUNK_BYTES {
            let Some(piece) = self.pieces.next_piece() else { break };
            bytes += piece.as_ref().map_or(0, |p| p.text.len());
            pieces.push(piece);
        }
        (!pieces.is_empty()).then(|| {
            let positions = Arc::clone(&self.positions);
            Box::new(PieceChunk { pieces: pieces.into_iter(), positions, parse: self.parse, decimal: self.decimal })
                as Box<dyn Chunk>
        })
    }
}

struct PieceChunk {
    pieces: std::vec::IntoIter<Result<Piece, BadRow>>,
    positions: Arc<Positions>,
    parse: Parse,
    decimal: char,
}

impl Chunk for PieceChunk {
    fn next_row(&mut self, row: &mut Row) -> Option<Result<(), BadRow>> {
        loop {
            let piece = match self.pieces.next()? {
                Ok(piece) => piece,
                Err(bad) => return Some(Err(bad)),
            };
            let laid = match (self.parse)(&piece.text, self.decimal) {
                Ok(None) => continue,
                Ok(Some(cells)) => self.positions.lay(&cells, row),
                Err(why) => Err(why),
            };
            return Some(match laid {
                Ok(()) => {
                    row.line = piece.line;
                    row.raw = Some(piece.text.into_boxed_str());
                    Ok(())
                }
                Err(why) => Err(BadRow { line: piece.line, why, raw: Some(piece.text.into_bytes()) }),
            });
        }
    }
}

/// Lines of a text file, each within [`MAX_ROW_BYTES`].
pub(super) struct Lines {
    reader: std::io::BufReader<Box<dyn std::io::Read + Send>>,
    /// The number of the line given out last.
    pub(super) line: u64,
    ended: bool,
}

impl Lines {
    pub(super) fn new(reader: Box<dyn std::io::Read + Send>) -> Lines {
        Lines { reader: std::io::BufReader::with_capacity(1 << 18, reader), line: 0, ended: false }
    }

    /// The next line with its end, as text.
    pub(super) fn next_line(&mut self) -> Option<Result<String, BadRow>> {
        if self.ended {
            return None;
        }
        let mut bytes = Vec::new();
        let mut too_long = false;
        loop {
            use std::io::BufRead;
            let block = match self.reader.fill_buf() {
                Ok(block) => block,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    self.ended = true;
                    let raw = (!bytes.is_empty()).then_some(bytes);
                    return Some(Err(BadRow { line: self.line + 1, why: format!("reading failed here: {e}"), raw }));
                }
            };
            if block.is_empty() {
                self.ended = true;
                if bytes.is_empty() && !too_long {
                    return None;
                }
                break;
            }
            let end = memchr::memchr(b'\n', block).map(|end| end + 1);
            let part = &block[..end.unwrap_or(block.len())];
            if bytes.len() + part.len() > MAX_ROW_BYTES {
                too_long = true;
                bytes.truncate(1 << 20);
                bytes.shrink_to_fit();
            }
            if !too_long {
                bytes.extend_from_slice(part);
            }
            let used = part.len();
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        self.line += 1;
        if too_long {
            let why = format!("the line is longer than {} MiB", MAX_ROW_BYTES >> 20);
            return Some(Err(BadRow { line: self.line, why, raw: Some(bytes) }));
        }
        if self.line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        Some(String::from_utf8(bytes).map_err(|e| BadRow {
            line: self.line,
            why: "the text is not UTF-8".to_owned(),
            raw: Some(e.into_bytes()),
        }))
    }
}
