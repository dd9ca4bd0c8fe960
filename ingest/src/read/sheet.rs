//! Rows out of workbooks: Excel and OpenDocument.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use calamine::{Data, ExcelDateTime, Ods, Range, Reader, Sheets, Xls, Xlsb, Xlsx};
use csv::StringRecord;

use super::input::{Input, MAX_DOCUMENT};
use super::tree::{marked, number_text};
use super::{Chunk, Format, Preface, ReadError, ReadOptions, Row, RowsInMemory, Source, Table, Tables, join_header};

/// Rows of a chunk.
const CHUNK_ROWS: usize = 4096;
/// A sheet with more cells is refused: two cells at its corners would make it fill memory.
const MAX_CELLS: u64 = 64 << 20;

type Workbook = Sheets<Cursor<Vec<u8>>>;

/// Opens a workbook: each sheet that is not empty is a table.
pub(super) fn open(input: &Input, format: Format, options: &ReadOptions) -> Result<Tables, ReadError> {
    let bytes = input.whole()?;
    if bytes.starts_with(b"PK") {
        check_zip(&bytes).map_err(|why| input.bad(why))?;
    }
    // the library trusts what it reads: a panic in it is a damaged file
    let opened = catch_unwind(AssertUnwindSafe(|| workbook(bytes, format)));
    let book = opened.map_err(|_| input.bad("the workbook is damaged"))?.map_err(|why| input.bad(why))?;
    let names = book.sheet_names();
    let wanted = match &options.sheet {
        None => names,
        Some(sheet) if names.contains(sheet) => vec![sheet.clone()],
        Some(sheet) => {
            return Err(input.bad(format!("there is no sheet `{sheet}`; there are {}", names.join(", "))));
        }
    };
    let several = wanted.len() > 1;
    let all = if several { wanted.join("`, `") } else { String::new() };
    let (input, options) = (input.clone(), options.clone());
    let mut book = book;
    let tables = wanted.into_iter().filter_map(move |sheet| {
        let read = catch_unwind(AssertUnwindSafe(|| book.worksheet_range(&sheet)));
        // values are there without formulas that cannot be read
        let formulas = catch_unwind(AssertUnwindSafe(|| book.worksheet_formula(&sheet).unwrap_or_default()));
        let formulas = formulas.unwrap_or_default();
        let shown = if several { format!("{}/{sheet}", input.shown) } else { input.shown.clone() };
        let name = if several { sheet.clone() } else { input.name.clone() };
        let bad = |why: String| Err(ReadError::BadFile { path: shown.clone().into(), why });
        match read {
            Err(_) => Some(bad("the sheet is damaged".to_owned())),
            Ok(Err(e)) => Some(bad(format!("the sheet cannot be read: {e}"))),
            // of several sheets an empty one is no mistake
            Ok(Ok(range)) if range.is_empty() && several => None,
            Ok(Ok(range)) => {
                let open = without_result(&range, &formulas);
                Some(table((range, open), sheet, shown, name, format, &options).map_err(|e| match e {
                    ReadError::BadHeader { path, why } if several => {
                        let why = format!("{why}; to read one sheet alone, say sheet in [read]: `{all}`");
                        ReadError::BadHeader { path, why }
                    }
                    other => other,
                }))
            }
        }
    });
    Ok(Box::new(tables))
}

fn workbook(bytes: Vec<u8>, format: Format) -> Result<Workbook, String> {
    let is_zip = bytes.starts_with(b"PK");
    let has = |part: &[u8]| memchr::memmem::find(&bytes, part).is_some();
    if format == Format::Ods || (is_zip && has(b"application/vnd.oasis.opendocument.spreadsheet")) {
        return Ods::new(Cursor::new(bytes)).map(Sheets::Ods).map_err(|e| format!("it is no ODS workbook: {e}"));
    }
    if is_zip && has(b"xl/workbook.bin") {
        return Xlsb::new(Cursor::new(bytes)).map(Sheets::Xlsb).map_err(|e| format!("it is no workbook: {e}"));
    }
    if is_zip {
        return Xlsx::new(Cursor::new(bytes)).map(Sheets::Xlsx).map_err(|e| format!("it is no workbook: {e}"));
    }
    Xls::new(Cursor::new(bytes)).map(Sheets::Xls).map_err(|e| format!("it is no workbook: {e}"))
}

/// What the parts of a zip file really unpack to, before anything else unpacks them.
fn check_zip(bytes: &[u8]) -> Result<(), String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("it is damaged: {e}"))?;
    let mut total = 0;
    for i in 0..archive.len() {
        let part = archive.by_index(i).map_err(|e| format!("it is damaged: {e}"))?;
        let left = MAX_DOCUMENT + 1 - total;
        total +=
            std::io::copy(&mut part.take(left), &mut std::io::sink()).map_err(|e| format!("it is damaged: {e}"))?;
        if total > MAX_DOCUMENT {
            return Err(format!(
                "unpacked it is larger than {} MiB; save the sheet as CSV, which may be of any size",
                MAX_DOCUMENT >> 20
            ));
        }
    }
    Ok(())
}

/// Formulas whose result is not in the file, the first of each row, by row and column of the sheet from 0.
type WithoutResult = BTreeMap<u32, (u32, String)>;

/// Cells that hold a formula and no result, as programs write them that do not calculate: nothing can be said of their row.
fn without_result(range: &Range<Data>, formulas: &Range<String>) -> WithoutResult {
    let (row0, column0) = formulas.start().unwrap_or_default();
    let mut found = WithoutResult::new();
    for (row, column, formula) in formulas.used_cells().filter(|(.., formula)| !formula.is_empty()) {
        let at = (row0.saturating_add(row as u32), column0.saturating_add(column as u32));
        if matches!(range.get_value(at), None | Some(Data::Empty)) {
            found.entry(at.0).or_insert_with(|| (at.1, formula.chars().take(60).collect()));
        }
    }
    found
}

fn table(
    (range, open): (Range<Data>, WithoutResult),
    sheet: String,
    shown: String,
    name: String,
    format: Format,
    options: &ReadOptions,
) -> Result<Table, ReadError> {
    let path = || std::path::PathBuf::from(&shown);
    let (height, width) = range.get_size();
    if height as u64 * width as u64 > MAX_CELLS {
        let why = format!("the sheet spans {height} rows and {width} columns; save the part that holds data as CSV");
        return Err(ReadError::BadFile { path: path(), why });
    }
    let first_row = u64::from(range.start().map_or(0, |(row, _)| row)) + 1;
    // a header is no number, whatever it looks like
    let texts = |row: &[Data]| row.iter().map(|data| cell(data, '.')).collect::<Vec<String>>();
    let empty = |row: &[Data]| row.iter().all(|c| matches!(c, Data::Empty));
    let mut rows = range.rows().enumerate().map(|(i, row)| (first_row + i as u64, row)).peekable();
    let mut preface = Preface { sheet: Some(sheet), ..Preface::default() };
    while rows.next_if(|(line, row)| *line <= options.skip as u64 || empty(row)).is_some() {}
    let mut headers = Vec::new();
    for n in 0..options.header_rows {
        let Some((line, row)) = rows.next() else {
            return Err(match n {
                0 => ReadError::NoHeader { path: path() },
                _ => ReadError::BadHeader {
                    path: path(),
                    why: format!("there are fewer than {} header rows", options.header_rows),
                },
            });
        };
        let row = texts(row);
        join_header(&mut headers, row.iter().map(String::as_str));
        preface.rows.push(row);
        preface.first_row.get_or_insert(line);
    }
    let named = headers.iter().filter(|name| !name.is_empty()).count();
    let filled = |row: &[Data]| row.iter().filter(|c| !matches!(c, Data::Empty)).count();
    let below = rows.clone().map(|(_, row)| filled(row)).find(|count| *count > 0);
    if named == 1 && below.is_some_and(|count| count > 1) && options.columns.is_empty() {
        let title = headers.iter().find(|name| !name.is_empty()).cloned().unwrap_or_default();
        let why = format!(
            "its header row has one name, `{title}`, and the next row more cells: where it is a title, say skip = {}, the rows \
             up to the header, in [read] (a mapping with [read] alone is enough: --mapping MAP.toml)",
            preface.first_row.unwrap_or(1)
        );
        return Err(ReadError::BadHeader { path: path(), why });
    }
    while headers.last().is_some_and(String::is_empty) {
        headers.pop();
    }
    if !options.columns.is_empty() {
        if options.header_rows > 0 && headers.len() != options.columns.len() {
            let why = format!("`columns` names {} columns and the sheet has {}", options.columns.len(), headers.len());
            return Err(ReadError::BadHeader { path: path(), why });
        }
        headers.clone_from(&options.columns);
    }
    let width = headers.len();
    let next = rows.peek().map_or(first_row + height as u64, |(line, _)| *line);
    drop(rows);
    let source = SheetRows { range, open, first_row, next, width, decimal: options.decimal };
    Ok(Table::new(shown, name, format, headers, Box::new(source))?.with_preface(preface))
}

struct SheetRows {
    range: Range<Data>,
    /// Formulas without results in rows that are still to come.
    open: WithoutResult,
    first_row: u64,
    /// The row of the sheet that comes next.
    next: u64,
    width: usize,
    /// The mark with which numbers are written.
    decimal: char,
}

impl Source for SheetRows {
    fn next_chunk(&mut self) -> Option<Box<dyn Chunk>> {
        let from = (self.next - self.first_row) as usize;
        let rows = self.range.rows().skip(from).take(CHUNK_ROWS);
        let mut out = Vec::new();
        let mut seen = 0;
        for row in rows {
            let line = self.next + seen;
            seen += 1;
            if let Some((column, formula)) = u32::try_from(line - 1).ok().and_then(|row| self.open.remove(&row)) {
                // the formula stays in its place, so that the row is refused again until it is mended
                let first_column = self.range.start().map_or(0, |(_, column)| column);
                let mut cells: Vec<String> = row.iter().map(|data| cell(data, self.decimal)).collect();
                let place = column.saturating_sub(first_column) as usize;
                if let Some(cell) = cells.get_mut(place) {
                    *cell = format!("={formula}");
                }
                let raw = Some(as_csv(&cells));
                out.push(Err(super::BadRow { line, why: no_result(line, column, &formula), raw }));
                continue;
            }
            if row.iter().all(|c| matches!(c, Data::Empty)) {
                continue;
            }
            let mut cells = StringRecord::new();
            row.iter().take(self.width).for_each(|c| cells.push_field(&cell(c, self.decimal)));
            while cells.len() < self.width {
                cells.push_field("");
            }
            let beyond = row.iter().skip(self.width).map(|c| cell(c, self.decimal)).find(|text| !text.is_empty());
            out.push(match beyond {
                None => Ok(Row { line, cells, raw: None }),
                Some(text) => Err(super::BadRow {
                    line,
                    why: format!("the cell `{text}` stands to the right of the last header"),
                    raw: Some(texts_as_csv(row, self.decimal)),
                }),
            });
        }
        self.next += seen;
        if (seen as usize) < CHUNK_ROWS {
            // rows of such formulas alone, below all others
            let below = std::mem::take(&mut self.open).split_off(&u32::try_from(self.next - 1).unwrap_or(u32::MAX));
            for (row, (column, formula)) in below {
                let line = u64::from(row) + 1;
                out.push(Err(super::BadRow { line, why: no_result(line, column, &formula), raw: None }));
            }
        }
        (seen > 0 || !out.is_empty()).then(|| Box::new(RowsInMemory::new(out)) as Box<dyn Chunk>)
    }
}

fn no_result(line: u64, column: u32, formula: &str) -> String {
    let mut letters = String::new();
    let mut left = u64::from(column) + 1;
    while left > 0 {
        letters.insert(0, char::from(b'A' + ((left - 1) % 26) as u8));
        left = (left - 1) / 26;
    }
    format!(
        "cell {letters}{line} holds a formula (={formula}) and no result: open the workbook in a spreadsheet program and save it, \
         or write the number"
    )
}

fn texts_as_csv(row: &[Data], decimal: char) -> Vec<u8> {
    as_csv(&row.iter().map(|data| cell(data, decimal)).collect::<Vec<_>>())
}

fn as_csv(cells: &[String]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // writing to memory does not fail
    let _ = writer.write_record(cells);
    writer.into_inner().unwrap_or_default()
}

/// The text of a cell; a number has this decimal mark.
fn cell(data: &Data, decimal: char) -> String {
    match data {
        Data::Empty => String::new(),
        Data::Int(n) => n.to_string(),
        Data::Float(x) => marked(number_text(*x), decimal),
        Data::String(text) => text.clone(),
        Data::Bool(b) => b.to_string(),
        Data::DateTime(at) => date(at),
        Data::DateTimeIso(text) | Data::DurationIso(text) => text.clone(),
        Data::Error(e) => e.to_string(),
    }
}

/// ISO 8601. A formula that the program took for a date is seen to be one, and never comes out as a number.
fn date(at: &ExcelDateTime) -> String {
    if at.is_duration() {
        return format!("PT{}S", number_text((at.as_f64() * 86_400_000.0).round() / 1000.0));
    }
    let (year, month, day, hour, minute, second, milli) = at.to_ymd_hms_milli();
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if (hour, minute, second, milli) != (0, 0, 0, 0) {
        text.push_str(&format!("T{hour:02}:{minute:02}:{second:02}"));
    }
    text
}
