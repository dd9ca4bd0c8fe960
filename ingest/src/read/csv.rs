//! Rows out of separated values: cut at row ends on one thread, split into cells on any.

use std::io::{Cursor, Read};
use std::path::PathBuf;

use csv::StringRecord;
use memchr::{memchr, memchr2, memchr3, memrchr};

use super::Preface;
use super::{BadRow, Chunk, Encoding, Format, MAX_ROW_BYTES, ReadError, ReadOptions, Row, Source, Table, join_header};

/// Bytes of a chunk: some ten thousand rows.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of an unreadable row that are kept for the file of refused rows.
const RAW_BYTES: usize = 1 << 20;
/// Separators that are tried where none is said.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Opens separated values.
pub(super) fn open(
    reader: Box<dyn Read + Send>,
    shown: String,
    name: String,
    options: &ReadOptions,
) -> Result<Table, ReadError> {
    let bad = |why: String| ReadError::BadHeader { path: PathBuf::from(&shown), why };
    let mut text = Text::new(reader, options.encoding);
    let first = text.fill(CHUNK_BYTES).map_err(|why| ReadError::Unreadable { path: PathBuf::from(&shown), why })?;
    let mut bytes = first;
    let mut line = 1;
    let mut preface = Preface { needs_mark: text.decoder.is_some(), ..Preface::default() };
    for _ in 0..options.skip {
        let Some(end) = memchr(b'\n', &bytes) else {
            return Err(ReadError::NoHeader { path: PathBuf::from(&shown) });
        };
        preface.bytes.extend(bytes.drain(..=end));
        line += 1;
    }
    let separator = match options.separator {
        Some(separator) => separator as u8,
        None => sniff(&bytes),
    };
    let mut headers: Vec<String> = Vec::new();
    if options.header_rows > 0 {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
            .flexible(true)
            .from_reader(bytes.as_slice());
        for n in 0..options.header_rows {
            let mut cells = StringRecord::new();
            match reader.read_record(&mut cells) {
                Ok(true) => {}
                Ok(false) if n == 0 => return Err(ReadError::NoHeader { path: PathBuf::from(&shown) }),
                Ok(false) => return Err(bad(format!("there are fewer than {} header lines", options.header_rows))),
                Err(e) => return Err(bad(explain(&e))),
            }
            join_header(&mut headers, cells.iter());
        }
        let used = reader.position().byte() as usize;
        // a header that fills the whole first block was cut off there
        if used >= bytes.len() && bytes.len() >= CHUNK_BYTES {
            return Err(bad(format!("the header is longer than {} KiB", CHUNK_BYTES >> 10)));
        }
        line += count(&bytes[..used.min(bytes.len())]);
        preface.bytes.extend(bytes.drain(..used.min(bytes.len())));
    }
    if headers.iter().any(|header| header.contains('\0')) {
        return Err(bad(
            "it is no text, or text in UTF-16 without a mark: then say encoding = \"utf-16le\" in [read]".to_owned()
        ));
    }
    if !options.columns.is_empty() {
        if options.header_rows > 0 && headers.len() != options.columns.len() {
            return Err(bad(format!(
                "`columns` names {} columns and the file has {}",
                options.columns.len(),
                headers.len()
            )));
        }
        headers.clone_from(&options.columns);
    }
    let width = headers.len();
    preface.separator = Some(separator);
    let source = Splitter { text, rest: bytes, line, separator, width, chunk_bytes: CHUNK_BYTES, ended: false };
    Ok(Table::new(shown, name, Format::Csv, headers, Box::new(source))?.with_preface(preface))
}

fn explain(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => {
            "the text is not UTF-8: say encoding = \"latin-1\" in [read], which reads Latin-1 and Windows-1252, as Excel writes \
             them, or save the file as UTF-8"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

/// The separator that occurs most in the first line, outside quotes.
fn sniff(bytes: &[u8]) -> u8 {
    let mut counts = [0usize; SEPARATORS.len()];
    let mut quoted = false;
    for &byte in bytes {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted && counts.iter().any(|&n| n > 0) => break,
            byte if !quoted => {
                if let Some(i) = SEPARATORS.iter().position(|&s| s == byte) {
                    counts[i] += 1;
                }
            }
            _ => {}
        }
    }
    // of equals the earlier one
    let best = (0..SEPARATORS.len()).rev().max_by_key(|&i| counts[i]).unwrap_or_default();
    SEPARATORS[best]
}

fn count(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Text of a file as UTF-8 bytes (unchecked where the file says that it is UTF-8) with line ends of one byte.
struct Text {
    reader: Box<dyn Read + Send>,
    decoder: Option<encoding_rs::Decoder>,
    said: Option<Encoding>,
    started: bool,
    /// The last byte was a carriage return, already given out as a line end.
    after_return: bool,
    ended: bool,
    last: Option<u8>,
    error: Option<std::io::Error>,
}

impl Text {
    fn new(reader: Box<dyn Read + Send>, said: Option<Encoding>) -> Text {
        Text { reader, decoder: None, said, started: false, after_return: false, ended: false, last: None, error: None }
    }

    /// About `wanted` bytes more, fewer only at the end; the last line ends with a line end.
    fn fill(&mut self, wanted: usize) -> std::io::Result<Vec<u8>> {
        if let Some(error) = self.error.take() {
            self.ended = true;
            return Err(error);
        }
        let mut raw = Vec::new();
        if self.ended {
            return Ok(raw);
        }
        // room for the line end that a file may lack
        raw.reserve_exact(wanted + 1);
        match self.reader.by_ref().take(wanted as u64).read_to_end(&mut raw) {
            Ok(n) => self.ended = n < wanted,
            // what was read before the failure is given out first
            Err(e) if !raw.is_empty() => self.error = Some(e),
            Err(e) => {
                self.ended = true;
                return Err(e);
            }
        }
        if !self.started {
            self.started = true;
            let by_mark = encoding_rs::Encoding::for_bom(&raw).map(|(encoding, _)| encoding);
            let said = self.said.map(|said| match said {
                Encoding::Utf8 => encoding_rs::UTF_8,
                Encoding::Latin1 => encoding_rs::WINDOWS_1252,
                Encoding::Utf16Le => encoding_rs::UTF_16LE,
                Encoding::Utf16Be => encoding_rs::UTF_16BE,
            });
            self.decoder =
                by_mark.or(said).filter(|e| *e != encoding_rs::UTF_8).map(encoding_rs::Encoding::new_decoder);
            if self.decoder.is_none() && raw.starts_with(b"\xef\xbb\xbf") {
                raw.drain(..3);
            }
        }
        let decoded = match &mut self.decoder {
            None => raw,
            Some(decoder) => {
                let room = decoder.max_utf8_buffer_length(raw.len()).unwrap_or(raw.len() * 3 + 16);
                let mut text = String::with_capacity(room);
                let _ = decoder.decode_to_string(&raw, &mut text, self.ended);
                text.into_bytes()
            }
        };
        let mut out = self.line_ends(decoded);
        if self.ended && self.last.is_some_and(|last| last != b'\n') {
            out.push(b'\n');
            self.last = Some(b'\n');
        }
        Ok(out)
    }

    /// Each line end as one byte, in place.
    fn line_ends(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let Some(&last) = bytes.last() else { return bytes };
        let (mut from, mut to) = (usize::from(self.after_return && bytes[0] == b'\n'), 0);
        self.after_return = last == b'\r';
        if from > 0 || memchr(b'\r', &bytes).is_some() {
            while let Some(length) = memchr(b'\r', &bytes[from..]) {
                let end = from + length;
                bytes.copy_within(from..end, to);
                bytes[to + length] = b'\n';
                to += length + 1;
                from = end + 1 + usize::from(bytes.get(end + 1) == Some(&b'\n'));
            }
            bytes.copy_within(from.., to);
            bytes.truncate(to + bytes.len() - from);
        }
        self.last = bytes.last().copied().or(self.last);
        bytes
    }
}

/// Cuts text at the ends of rows.
struct Splitter {
    text: Text,
    /// What was read and not given out.
    rest: Vec<u8>,
    /// The line on which `rest` begins.
    line: u64,
    separator: u8,
    width: usize,
    /// Bytes of a chunk.
    chunk_bytes: usize,
    ended: bool,
}

impl Source for Splitter {
    fn next_chunk(&mut self) -> Option<Box<dyn Chunk>> {
        if self.ended {
            return None;
        }
        let mut cutter = Cutter { separator: self.separator, at: 0, quoted: false, field_starts: true, last_end: None };
        loop {
            cutter.scan(&self.rest);
            if let Some(end) = cutter.last_end.filter(|_| self.rest.len() >= self.chunk_bytes) {
                return Some(self.give(end, None));
            }
            if cutter.last_end.is_none() && self.rest.len() > MAX_ROW_BYTES {
                return Some(Box::new(self.skip_row()));
            }
            match self.text.fill(self.chunk_bytes) {
                Ok(more) if more.is_empty() => {
                    self.ended = true;
                    // a quote that is open at the end belongs to the last row
                    let whole = self.rest.len();
                    return (whole > 0).then(|| self.give(whole, None));
                }
                Ok(more) if self.rest.is_empty() => self.rest = more,
                Ok(more) => self.rest.extend_from_slice(&more),
                Err(e) => {
                    self.ended = true;
                    let end = cutter.last_end.unwrap_or_default();
                    let lines = count(&self.rest[..end]);
                    let line = self.line + lines;
                    let raw = Some(self.rest.split_off(end)).filter(|raw| !raw.is_empty());
                    return Some(self.give(end, Some(BadRow { line, why: format!("reading failed here: {e}"), raw })));
                }
            }
        }
    }
}

impl Splitter {
    /// The rows up to `end`; trouble behind them comes last.
    fn give(&mut self, end: usize, failed: Option<BadRow>) -> Box<dyn Chunk> {
        let rest = self.rest.split_off(end);
        let bytes = std::mem::replace(&mut self.rest, rest);
        let line = self.line;
        self.line += count(&bytes);
        let (separator, width) = (self.separator, self.width);
        if !separator.is_ascii() || memchr(b'"', &bytes).is_some() {
            return Box::new(CsvChunk { failed, ..CsvChunk::new(bytes, line, separator, width) });
        }
        match String::from_utf8(bytes) {
            Ok(text) => Box::new(BareChunk { text, separator, at: 0, line, width, failed }),
            // row by row, to say which are bad
            Err(bad) => Box::new(CsvChunk { failed, ..CsvChunk::new(bad.into_bytes(), line, separator, width) }),
        }
    }

    /// Passes over a row that is too long, up to the next line end.
    fn skip_row(&mut self) -> CsvChunk {
        let line = self.line;
        let mut raw = std::mem::take(&mut self.rest);
        self.line += count(&raw);
        raw.truncate(RAW_BYTES);
        let mut failed = String::new();
        loop {
            match self.text.fill(CHUNK_BYTES) {
                Ok(more) if more.is_empty() => self.ended = true,
                Ok(mut more) => {
                    let Some(end) = memchr(b'\n', &more) else { continue };
                    self.rest = more.split_off(end + 1);
                    self.line += 1;
                }
                Err(e) => {
                    self.ended = true;
                    failed = format!(". Reading failed behind: {e}");
                }
            }
            break;
        }
        let why = format!(
            "the row is longer than {} MiB: is a quote not closed? The line end after them counts as its end{failed}",
            MAX_ROW_BYTES >> 20
        );
        let mut chunk = CsvChunk::new(Vec::new(), line, self.separator, self.width);
        chunk.failed = Some(BadRow { line, why, raw: Some(raw) });
        chunk
    }
}

/// Finds the ends of rows: line ends outside quoted cells. A quote opens a cell only where the cell begins with it.
struct Cutter {
    separator: u8,
    at: usize,
    quoted: bool,
    field_starts: bool,
    last_end: Option<usize>,
}

impl Cutter {
    fn scan(&mut self, bytes: &[u8]) {
        if !self.quoted && memchr(b'"', &bytes[self.at..]).is_none() {
            if let Some(end) = memrchr(b'\n', &bytes[self.at..]) {
                self.last_end = Some(self.at + end + 1);
            }
            self.field_starts = bytes.last().is_none_or(|b| *b == self.separator || *b == b'\n');
            self.at = bytes.len();
            return;
        }
        while self.at < bytes.len() {
            if self.quoted {
                let Some(quote) = memchr(b'"', &bytes[self.at..]) else {
                    self.at = bytes.len();
                    return;
                };
                // two quotes are one inside the cell: the second opens it again
                self.at += quote + 1;
                self.quoted = false;
                self.field_starts = bytes.get(self.at) == Some(&b'"');
                if self.at == bytes.len() {
                    // the next block may begin with the second quote
                    self.field_starts = true;
                }
                continue;
            }
            if self.field_starts && bytes[self.at] == b'"' {
                self.quoted = true;
                self.at += 1;
                continue;
            }
            self.field_starts = false;
            let Some(next) = memchr3(b'\n', self.separator, b'"', &bytes[self.at..]) else {
                self.at = bytes.len();
                return;
            };
            let byte = bytes[self.at + next];
            if byte == b'"' {
                // a quote inside a bare cell is a character like others
                let rest = &bytes[self.at + next..];
                let Some(end) = memchr2(b'\n', self.separator, rest) else {
                    self.at = bytes.len();
                    return;
                };
                self.end_cell(bytes, self.at + next + end);
            } else {
                self.end_cell(bytes, self.at + next);
            }
        }
    }

    fn end_cell(&mut self, bytes: &[u8], at: usize) {
        if bytes[at] == b'\n' {
            self.last_end = Some(at + 1);
        }
        self.at = at + 1;
        self.field_starts = true;
    }
}

/// Whole rows of text without quotes, not yet split into cells: each separator ends a cell.
struct BareChunk {
    text: String,
    separator: u8,
    at: usize,
    line: u64,
    width: usize,
    failed: Option<BadRow>,
}

impl Chunk for BareChunk {
    fn next_row(&mut self, row: &mut Row) -> Option<Result<(), BadRow>> {
        let bytes = self.text.as_bytes();
        // empty lines are no rows
        while bytes.get(self.at) == Some(&b'\n') {
            self.at += 1;
            self.line += 1;
        }
        if self.at == bytes.len() {
            return self.failed.take().map(Err);
        }
        (row.line, row.raw) = (self.line, None);
        row.cells.clear();
        let (start, mut cell) = (self.at, self.at);
        let end = loop {
            let byte = bytes.get(self.at).copied().unwrap_or(b'\n');
            if byte == self.separator || byte == b'\n' {
                row.cells.push_field(&self.text[cell..self.at]);
                if byte == b'\n' {
                    break self.at;
                }
                cell = self.at + 1;
            }
            self.at += 1;
        };
        self.at = bytes.len().min(end + 1);
        self.line += 1;
        if row.cells.len() == self.width {
            return Some(Ok(()));
        }
        let raw = &bytes[start..self.at];
        let raw = Some(raw[..raw.len().min(RAW_BYTES)].to_vec());
        Some(Err(BadRow { line: row.line, why: wrong_width(row.cells.len(), self.width), raw }))
    }
}

fn wrong_width(cells: usize, width: usize) -> String {
    format!("{cells} cells where the header has {width}")
}

/// Whole rows, not yet split into cells.
struct CsvChunk {
    reader: csv::Reader<Cursor<Vec<u8>>>,
    bytes_before: u64,
    first_line: u64,
    width: usize,
    failed: Option<BadRow>,
}

impl CsvChunk {
    fn new(bytes: Vec<u8>, first_line: u64, separator: u8, width: usize) -> CsvChunk {
        let reader = csv::ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
            .flexible(true)
            .from_reader(Cursor::new(bytes));
        CsvChunk { reader, bytes_before: 0, first_line, width, failed: None }
    }

    fn raw(&self) -> Option<Vec<u8>> {
        let bytes = self.reader.get_ref().get_ref();
        let (from, to) = (self.bytes_before as usize, self.reader.position().byte() as usize);
        let raw = bytes.get(from..to.min(bytes.len()))?;
        Some(raw[..raw.len().min(RAW_BYTES)].to_vec())
    }
}

impl Chunk for CsvChunk {
    fn next_row(&mut self, row: &mut Row) -> Option<Result<(), BadRow>> {
        self.bytes_before = self.reader.position().byte();
        let line_before = self.reader.position().line();
        let read = self.reader.read_record(&mut row.cells);
        row.raw = None;
        // before a row the reader may stand before empty lines, which it passes over
        let rest = self.reader.get_ref().get_ref().get(self.bytes_before as usize..).unwrap_or_default();
        let empty = rest.iter().take_while(|byte| **byte == b'\n').count() as u64;
        let line = self.first_line + line_before - 1 + empty;
        match read {
            Ok(false) => self.failed.take().map(Err),
            Ok(true) => {
                row.line = line;
                if row.cells.len() == self.width {
                    return Some(Ok(()));
                }
                let why = wrong_width(row.cells.len(), self.width);
                Some(Err(BadRow { line: row.line, why, raw: self.raw() }))
            }
            Err(e) => {
                let raw = self.raw();
                Some(Err(BadRow { line, why: explain(&e), raw }))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = Vec<(u64, Result<Vec<String>, usize>)>;

    fn by_chunks(text: &str, chunk_bytes: usize) -> Read {
        let text = Text::new(Box::new(Cursor::new(text.as_bytes().to_vec())), None);
        let mut source =
            Splitter { text, rest: Vec::new(), line: 1, separator: b',', width: 2, chunk_bytes, ended: false };
        let mut out = Vec::new();
        while let Some(mut chunk) = source.next_chunk() {
            let mut row = Row::default();
            while let Some(read) = chunk.next_row(&mut row) {
                out.push(match read {
                    Ok(()) => (row.line, Ok(row.cells.iter().map(str::to_owned).collect())),
                    Err(bad) => (bad.line, Err(bad.why.split(' ').next().unwrap().parse().unwrap())),
                });
            }
        }
        out
    }

    fn at_once(text: &str) -> Read {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let read = |record: csv::Result<StringRecord>| {
            let record = record.unwrap();
            let from = record.position().unwrap().byte() as usize;
            let begins = from + text[from..].bytes().take_while(|b| *b == b'\n').count();
            let line = count(&text.as_bytes()[..begins]) + 1;
            let cells: Vec<String> = record.iter().map(str::to_owned).collect();
            (line, if cells.len() == 2 { Ok(cells) } else { Err(cells.len()) })
        };
        reader.records().map(read).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn chunks_of_any_size_give_the_rows_of_the_whole(text in "[ab,\"\n]{0,40}", chunk_bytes in 1_usize..12) {
            let text = format!("{text}\n");
            prop_assert_eq!(by_chunks(&text, chunk_bytes), at_once(&text));
        }
    }
}
