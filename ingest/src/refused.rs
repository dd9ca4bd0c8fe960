//! Which rows are to be mended? Refused rows, as a file of the format that they came from.
//!
//! Separated values keep their separator and header lines; documents become JSON Lines of their entries; workbooks become
//! `.xlsx` with every cell as text; Parquet and Arrow become Parquet of text columns; CIF and XYZ stand one after the
//! other in one file; cards, pages and POSCAR files are files of their own in a folder.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;

use crate::read::{BadRow, Format, Preface, Row, Table};

/// Rows of a batch of the Parquet file.
const BATCH: usize = 4096;
/// Names that are tried before giving up.
const MAX_NAMES: usize = 10_000;

/// Writes the refused rows of one table. No file is made before the first row.
pub struct RefusedWriter {
    folder: PathBuf,
    name: String,
    format: Format,
    headers: Vec<String>,
    preface: Preface,
    out: Option<Out>,
    files: Vec<PathBuf>,
    /// Rows that cannot be written, because nothing of them could be read.
    lost: u64,
}

enum Out {
    Text(BufWriter<File>),
    Files(PathBuf),
    Book(Box<rust_xlsxwriter::Workbook>, u32),
    Parquet(Box<ArrowWriter<File>>, Arc<Schema>, Vec<Vec<String>>),
}

impl RefusedWriter {
    /// For the rows of `table`; files go into `folder`, which is made when needed.
    pub fn create(folder: &Path, table: &Table) -> RefusedWriter {
        RefusedWriter {
            folder: folder.to_owned(),
            name: safe_name(&table.name),
            format: table.format,
            headers: table.headers().to_vec(),
            preface: table.preface().clone(),
            out: None,
            files: Vec::new(),
            lost: 0,
        }
    }

    /// Rows that could not be written, because nothing of them could be read.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes a row that was read and refused.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn row(&mut self, row: &Row) -> std::io::Result<()> {
        let cells: Vec<&str> = row.cells.iter().collect();
        let separator = self.preface.separator.unwrap_or(b',');
        let own_name = self.own_name(row);
        match self.out()? {
            Out::Book(book, next) => {
                write_cells(book, *next, &cells)?;
                *next += 1;
                Ok(())
            }
            Out::Parquet(writer, schema, waiting) => {
                waiting.push(cells.iter().map(|c| (*c).to_owned()).collect());
                if waiting.len() == BATCH { flush(writer, schema, waiting) } else { Ok(()) }
            }
            Out::Text(out) => match &row.raw {
                Some(raw) => whole_line(out, raw.as_bytes()),
                None => {
                    let mut line = csv::WriterBuilder::new().delimiter(separator).from_writer(out);
                    line.write_record(&cells).map_err(std::io::Error::other)?;
                    line.flush()
                }
            },
            Out::Files(folder) => {
                let raw = row.raw.as_deref().unwrap_or_default();
                let path = folder.join(own_name);
                write_own(&path, raw.as_bytes())
            }
        }
    }

    /// Writes a row that could not be read, as it stands in the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn bad_row(&mut self, row: &BadRow) -> std::io::Result<()> {
        let Some(raw) = row.raw.as_deref() else {
            self.lost += 1;
            return Ok(());
        };
        let own_name = format!("{}{}", row.line, self.ending());
        match self.out()? {
            Out::Text(out) => whole_line(out, raw),
            Out::Files(folder) => write_own(&folder.join(own_name), raw),
            Out::Book(book, next) => {
                // the readers of sheets hand over such a row as separated values
                let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(raw);
                let mut cells = csv::StringRecord::new();
                reader.read_record(&mut cells).map_err(std::io::Error::other)?;
                write_cells(book, *next, &cells.iter().collect::<Vec<_>>())?;
                *next += 1;
                Ok(())
            }
            Out::Parquet(..) => {
                self.lost += 1;
                Ok(())
            }
        }
    }

    /// Ends the file. Returns what was made: nothing if no row was refused.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> std::io::Result<Vec<PathBuf>> {
        match self.out.take() {
            None | Some(Out::Files(_)) => {}
            Some(Out::Text(mut out)) => out.flush()?,
            Some(Out::Book(mut book, _)) => {
                let bytes = book.save_to_buffer().map_err(std::io::Error::other)?;
                if let Some(path) = self.files.first() {
                    std::fs::write(path, bytes)?;
                }
            }
            Some(Out::Parquet(mut writer, schema, mut waiting)) => {
                flush(&mut writer, &schema, &mut waiting)?;
                writer.close().map_err(std::io::Error::other)?;
            }
        }
        Ok(self.files)
    }

    fn ending(&self) -> &'static str {
        match self.format {
            Format::Csv => ".csv",
            Format::Json | Format::JsonLines | Format::Toml | Format::Yaml | Format::Pymatgen | Format::Optimade => {
                ".jsonl"
            }
            Format::Excel | Format::Ods => ".xlsx",
            Format::Parquet | Format::Arrow => ".parquet",
            Format::FreecadCard => ".FCMat",
            Format::RefractiveIndex => ".yml",
            Format::Cif => ".cif",
            Format::Poscar => ".vasp",
            Format::Xyz => ".xyz",
        }
    }

    /// Where a row that is a file goes: under its name in the archive, without anything that leads elsewhere.
    fn own_name(&self, row: &Row) -> String {
        let at = self.headers.iter().position(|h| h == "@file");
        let path = at.and_then(|at| row.cells.get(at)).unwrap_or_default();
        let parts: Vec<&str> = path.split(['/', '\\']).filter(|p| !p.is_empty() && !p.starts_with('.')).collect();
        match parts.is_empty() {
            true => format!("{}{}", row.line, self.ending()),
            false => parts.join("/"),
        }
    }

    fn out(&mut self) -> std::io::Result<&mut Out> {
        if self.out.is_none() {
            self.out = Some(self.begin()?);
        }
        self.out.as_mut().ok_or_else(|| std::io::Error::other("no file of refused rows"))
    }

    fn begin(&mut self) -> std::io::Result<Out> {
        std::fs::create_dir_all(&self.folder).map_err(|e| at(&self.folder, e))?;
        let stem = self.name.strip_suffix(self.ending()).unwrap_or(&self.name).to_owned();
        if matches!(self.format, Format::FreecadCard | Format::RefractiveIndex | Format::Poscar) {
            let path = self.fresh(&stem, "", |path| std::fs::create_dir(path))?.0;
            return Ok(Out::Files(path));
        }
        let make = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
        let (_, file) = self.fresh(&stem, self.ending(), make)?;
        Ok(match self.format {
            Format::Excel | Format::Ods => {
                let mut book = Box::new(rust_xlsxwriter::Workbook::new());
                let mut next = self.preface.first_row.unwrap_or(1).saturating_sub(1) as u32;
                let sheet = book.add_worksheet();
                if let Some(name) = &self.preface.sheet {
                    // Excel has rules of its own for names; a sheet of another program may break them, and needs none
                    let _ = sheet.set_name(name);
                }
                for row in &self.preface.rows {
                    write_cells(&mut book, next, &row.iter().map(String::as_str).collect::<Vec<_>>())?;
                    next += 1;
                }
                Out::Book(book, next)
            }
            Format::Parquet | Format::Arrow => {
                let fields: Vec<Field> = self.headers.iter().map(|h| Field::new(h, DataType::Utf8, false)).collect();
                let schema = Arc::new(Schema::new(fields));
                let writer = ArrowWriter::try_new(file, Arc::clone(&schema), None).map_err(std::io::Error::other)?;
                Out::Parquet(Box::new(writer), schema, Vec::new())
            }
            _ => {
                let mut out = BufWriter::new(file);
                if self.preface.needs_mark {
                    out.write_all("\u{feff}".as_bytes())?;
                }
                out.write_all(&self.preface.bytes)?;
                Out::Text(out)
            }
        })
    }

    /// A file or folder that was not there before.
    fn fresh<T>(
        &mut self,
        stem: &str,
        ending: &str,
        make: impl Fn(&Path) -> std::io::Result<T>,
    ) -> std::io::Result<(PathBuf, T)> {
        for n in 1..=MAX_NAMES {
            let number = if n == 1 { String::new() } else { format!("-{n}") };
            let path = self.folder.join(format!("{stem}.refused{number}{ending}"));
            match make(&path) {
                Ok(made) => {
                    self.files.push(path.clone());
                    return Ok((path, made));
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(at(&path, e)),
            }
        }
        Err(std::io::Error::other(format!("{MAX_NAMES} files of refused rows are there already; remove some")))
    }
}

/// An error that names its place.
fn at(path: &Path, e: std::io::Error) -> std::io::Error {
    std::io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

/// The name of a table as part of a file's name.
fn safe_name(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "._- ".contains(c) { c } else { '_' };
    name.chars().map(safe).collect::<String>().trim_matches('.').to_owned()
}

/// What stands before `.refused` and behind it, of the name of a file of refused rows (`lab.refused-2.csv`).
fn parts_of_refused(name: &str) -> Option<(&str, &str)> {
    let (stem, rest) = name.rsplit_once(".refused")?;
    let number = rest.strip_prefix('-').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let ending = match number {
        Some(ending) if ending.len() + 1 < rest.len() => ending,
        Some(_) => return None,
        None => rest,
    };
    (ending.is_empty() || ending.starts_with('.')).then_some((stem, ending))
}

/// Whether a table holds refused rows, by its name.
pub(crate) fn is_refused(name: &str) -> bool {
    parts_of_refused(name).is_some()
}

/// Whether a table is the one of a name, or holds refused rows of it.
pub(crate) fn is_of(name: &str, wanted: &str) -> bool {
    if name == wanted {
        return true;
    }
    let wanted = safe_name(wanted);
    let mut name = name;
    // refused rows may be refused again
    while let Some((stem, ending)) = parts_of_refused(name) {
        if stem == wanted || wanted.strip_suffix(ending) == Some(stem) {
            return true;
        }
        name = stem;
    }
    false
}

fn whole_line(out: &mut impl Write, raw: &[u8]) -> std::io::Result<()> {
    out.write_all(raw)?;
    if raw.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") }
}

fn write_own(path: &Path, raw: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, raw)
}

fn write_cells(book: &mut rust_xlsxwriter::Workbook, row: u32, cells: &[&str]) -> std::io::Result<()> {
    let sheet = book.worksheet_from_index(0).map_err(std::io::Error::other)?;
    for (column, cell) in cells.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
        let column = u16::try_from(column).map_err(std::io::Error::other)?;
        sheet.write_string(row, column, *cell).map_err(std::io::Error::other)?;
    }
    Ok(())
}

fn flush(writer: &mut ArrowWriter<File>, schema: &Arc<Schema>, waiting: &mut Vec<Vec<String>>) -> std::io::Result<()> {
    if waiting.is_empty() {
        return Ok(());
    }
    let column = |i: usize| {
        let texts = waiting.iter().map(|row| row.get(i).map_or("", String::as_str));
        Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
    };
    let columns = (0..schema.fields().len()).map(column).collect();
    let batch = RecordBatch::try_new(Arc::clone(schema), columns).map_err(std::io::Error::other)?;
    waiting.clear();
    writer.write(&batch).map_err(std::io::Error::other)
}
