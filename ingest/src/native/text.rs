//! JSON Lines and OPTIMADE JSON Lines: one record a line.

use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use datasets::export::ENTRY_TYPE;
use datasets::record::Record;
use serde::Deserialize;

use super::{BadRecord, MAX_RECORD_BYTES, NativeError, Read1, Source, check};

/// A line that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// It is in [`Lines::text`].
    Whole,
    /// Only its start is: it is longer than a record may be.
    TooLong,
}

/// Lines of bounded length.
pub(super) struct Lines {
    input: Box<dyn BufRead + Send>,
    text: Vec<u8>,
    number: u64,
}

impl Lines {
    pub(super) fn new(input: Box<dyn BufRead + Send>) -> Lines {
        Lines { input, text: Vec::new(), number: 0 }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn next_line(&mut self) -> io::Result<Option<Line>> {
        self.text.clear();
        self.number += 1;
        let most = MAX_RECORD_BYTES as u64 + 1;
        if (&mut self.input).take(most).read_until(b'\n', &mut self.text)? == 0 {
            return Ok(None);
        }
        if self.text.last() == Some(&b'\n') {
            self.text.pop();
            return Ok(Some(Line::Whole));
        }
        if self.text.len() <= MAX_RECORD_BYTES {
            return Ok(Some(Line::Whole));
        }
        self.input.skip_until(b'\n')?;
        Ok(Some(Line::TooLong))
    }
}

/// The records of the lines.
pub(super) struct Records {
    file: PathBuf,
    lines: Lines,
    optimade: bool,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(rename = "_matgenome_record")]
    record: Record,
}

impl Records {
    pub(super) fn new(file: &Path, lines: Lines, optimade: bool) -> Records {
        Records { file: file.to_owned(), lines, optimade }
    }
}

impl Source for Records {
    fn next(&mut self) -> Option<Read1> {
        loop {
            let read = match self.lines.next_line() {
                Ok(None) => return None,
                Ok(Some(read)) => read,
                Err(why) => return Some(Err(NativeError::Io { file: self.file.clone(), why })),
            };
            let line = self.lines.number;
            let text = self.lines.text();
            let made = match read {
                Line::TooLong => Err(format!("the line is longer than {} MiB", MAX_RECORD_BYTES >> 20)),
                Line::Whole if text.iter().all(u8::is_ascii_whitespace) => continue,
                Line::Whole if self.optimade => match entry(text) {
                    Ok(None) => continue,
                    Ok(Some(record)) => Ok(record),
                    Err(why) => Err(why),
                },
                Line::Whole => serde_json::from_slice::<Record>(text).map_err(|e| unreadable(&e)),
            };
            return Some(Ok(made.map(|record| (line, record)).map_err(|why| BadRecord {
                line,
                why,
                raw: check::cut(text),
            })));
        }
    }
}

fn unreadable(e: &serde_json::Error) -> String {
    format!("the line is no record: {e}")
}

/// The record of an entry; `None` for the descriptions of entries.
fn entry(text: &[u8]) -> Result<Option<Record>, String> {
    let entry: Entry = serde_json::from_slice(text).map_err(|e| unreadable(&e))?;
    match (entry.kind.as_str(), entry.attributes) {
        ("info", None) => Ok(None),
        (ENTRY_TYPE, Some(Attributes { record })) if record.id == entry.id => Ok(Some(record)),
        (ENTRY_TYPE, Some(Attributes { record })) => {
            Err(format!("the entry's id `{}` is not that of its record, `{}`", entry.id, record.id))
        }
        (ENTRY_TYPE, None) => Err("the entry has no attributes".into()),
        (other, _) => Err(format!("entries of type `{other}` hold no records")),
    }
}
