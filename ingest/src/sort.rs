//! Which rows speak of one record? The rows of a job, sorted by record id, with bounded memory.
//!
//! Chunks of rows become sorted [`Run`]s. When they fill their memory, all runs are merged into one that lies on disk.
//! In the end the ids are cut into ranges, and each range is merged by itself, on any thread: rows of one id are joined,
//! or reported as duplicates.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array as _, AsArray as _, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datasets::columns::{Numbering, RecordColumns, Rows, RowsBuilder};
use datasets::record::{Record, dataset_of};
use datasets::table::{ROWS_PER_FILE, SortedRecords, TableError};
use rayon::prelude::*;

/// Bytes of runs in memory; more go to disk.
const MEMORY_BYTES: usize = 384 << 20;
/// Bytes of rows that are merged at once.
const PIECE_BYTES: usize = 192 << 20;
/// Bytes of the texts of one batch: offsets are 32 bits.
const BATCH_BYTES: usize = 512 << 20;
/// Rows of a batch on disk.
const SPILL_ROWS: usize = 8_192;
/// Every so many rows of a run one id is kept, to cut the ids into equal ranges; from the middle of each stretch, since
/// the first ids of all runs lie close together.
const SAMPLE_EVERY: usize = 256;

/// A row of the job: the number of its file, and its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Number of the table in the job.
    pub table: u32,
    /// Line from 1.
    pub line: u64,
}

/// Why rows cannot be sorted.
#[derive(Debug, thiserror::Error)]
pub enum SortError {
    /// The scratch folder.
    #[error(
        "cannot use the scratch folder {folder}: {why}; free some space there, and run the same command again: nothing was changed"
    )]
    Scratch {
        /// The folder.
        folder: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
    /// The columns.
    #[error("rows cannot be sorted: {0}")]
    Columns(#[from] ArrowError),
}

/// Sorted rows in memory.
struct Run {
    rows: Rows,
    origins: Vec<Origin>,
    /// The first and the last of the origins.
    span: (Origin, Origin),
    bytes: usize,
}

impl Run {
    fn new(rows: Rows, origins: Vec<Origin>) -> Run {
        let none = Origin { table: 0, line: 0 };
        let span = origins.iter().fold(None, |span: Option<(Origin, Origin)>, &origin| {
            Some(span.map_or((origin, origin), |(first, last)| (first.min(origin), last.max(origin))))
        });
        let bytes = rows.bytes() + size_of::<Origin>() * origins.capacity();
        Run { rows, origins, span: span.unwrap_or((none, none)), bytes }
    }

    /// One past the last row with an id before `to`.
    fn end_at(&self, to: Option<&str>) -> usize {
        to.map_or(self.rows.len(), |to| self.first_at(Some(to)))
    }

    /// The first row with an id from `id` on.
    fn first_at(&self, id: Option<&str>) -> usize {
        let Some(id) = id else { return 0 };
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.rows.id(middle) < id { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// A sorted batch on disk.
struct Spilled {
    file: Arc<ScratchFile>,
    at: u64,
    length: usize,
    min: String,
    max: String,
}

/// The rows of a job on their way to be sorted.
pub struct Sorter {
    scratch: PathBuf,
    runs: Vec<Run>,
    bytes: usize,
    spilled: Vec<Spilled>,
    samples: Vec<String>,
    rows: usize,
    /// Bytes of all runs, in memory and on disk.
    all_bytes: usize,
    memory: usize,
    piece_bytes: usize,
}

/// What became of rows with one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duplicate {
    /// The row is the same as an earlier one.
    Same(Origin, String),
    /// The row says something else than an earlier one, and is left out.
    Other(Origin, String),
}

/// The records of a job in id order, each id once.
pub struct Sorted {
    /// Pieces of at most [`ROWS_PER_FILE`] records.
    pub pieces: Pieces,
    /// Rows that were passed over or left out, in no order.
    pub duplicates: Vec<Duplicate>,
}

impl Sorter {
    /// Runs that do not fit in memory go into the folder `scratch`.
    pub fn new(scratch: &Path) -> Sorter {
        Sorter {
            scratch: scratch.to_owned(),
            runs: Vec::new(),
            bytes: 0,
            spilled: Vec::new(),
            samples: Vec::new(),
            rows: 0,
            all_bytes: 0,
            memory: MEMORY_BYTES,
            piece_bytes: PIECE_BYTES,
        }
    }

    /// The same with other bounds on the memory of all rows, and of those that are merged at once, for tests.
    pub fn with_memory(scratch: &Path, bytes: usize, piece_bytes: usize) -> Sorter {
        Sorter { memory: bytes, piece_bytes, ..Sorter::new(scratch) }
    }

    /// Adds a run made by a [`RunBuilder`].
    ///
    /// # Errors
    /// The scratch folder is full.
    pub fn add(&mut self, run: SortedRun) -> Result<(), SortError> {
        let SortedRun(run) = run;
        if run.rows.is_empty() {
            return Ok(());
        }
        // counted over all runs, since a run may have fewer rows than lie between two samples
        let first = (SAMPLE_EVERY + SAMPLE_EVERY / 2 - self.rows % SAMPLE_EVERY) % SAMPLE_EVERY;
        self.samples.extend((first..run.rows.len()).step_by(SAMPLE_EVERY).map(|row| run.rows.id(row).to_owned()));
        self.rows += run.rows.len();
        self.bytes += run.bytes;
        self.all_bytes += run.bytes;
        self.runs.push(run);
        if self.bytes > self.memory { self.spill() } else { Ok(()) }
    }

    /// Merges the runs in memory into one on disk.
    fn spill(&mut self) -> Result<(), SortError> {
        let folder = self.scratch.clone();
        let failed = |why| SortError::Scratch { folder: folder.clone(), why };
        let file = Arc::new(ScratchFile::new(&folder).map_err(failed)?);
        let runs = std::mem::take(&mut self.runs);
        let rows = runs.iter().map(|r| r.rows.len()).sum::<usize>();
        let cuts = cuts(self.samples.clone(), rows.div_ceil(SPILL_ROWS * 16).max(1));
        self.bytes = 0;
        let (mut at, mut batches) = (0u64, Vec::new());
        for range in ranges(&cuts).collect::<Vec<_>>().chunks(rayon::current_num_threads()) {
            let made = range
                .par_iter()
                .map(|&(from, to)| {
                    let mut runs: Vec<&Run> = runs.iter().collect();
                    runs.sort_by_key(|run| run.span);
                    let places = places(&runs, from, to);
                    places.chunks(SPILL_ROWS).map(|rows| spilled_batch(&runs, rows)).collect::<Result<Vec<_>, _>>()
                })
                .collect::<Result<Vec<_>, ArrowError>>()?;
            for (bytes, min, max) in made.into_iter().flatten() {
                file.write(at, &bytes).map_err(failed)?;
                batches.push((at, bytes.len(), min, max));
                at += bytes.len() as u64;
            }
        }
        let batches = batches.into_iter();
        self.spilled.extend(batches.map(|(at, length, min, max)| Spilled {
            file: Arc::clone(&file),
            at,
            length,
            min,
            max,
        }));
        Ok(())
    }

    /// Joins the rows of each id (`join`), or finds the duplicates. `go_on` is asked before each
    /// part of the work; `None` where it says no.
    ///
    /// # Errors
    /// The scratch folder is full or cannot be read.
    pub fn finish(self, join: bool, go_on: &dyn Fn() -> bool) -> Result<Option<Sorted>, SortError> {
        let on_disk = !self.spilled.is_empty();
        let mut sorted = Sorted { pieces: Pieces::new(&self.scratch, on_disk), duplicates: Vec::new() };
        if self.rows == 0 {
            return Ok(Some(sorted));
        }
        let per_record = self.rows_of_a_record()?;
        // a piece is a file, and no more than some bytes: threads hold one each
        let of_row = self.all_bytes as f64 / self.rows as f64;
        let rows_per_piece =
            (ROWS_PER_FILE as f64 * 0.95 * per_record).min(self.piece_bytes as f64 / of_row.max(1.0)).max(1.0);
        let bounds = cuts(self.samples.clone(), self.rows.div_ceil(rows_per_piece as usize));
        let ranges: Vec<(Option<&str>, Option<&str>)> = ranges(&bounds).collect();
        let threads = rayon::current_num_threads();
        for range in ranges.chunks(threads) {
            if !go_on() {
                return Ok(None);
            }
            let made = range.par_iter().map(|&(from, to)| self.merge(from, to, join)).collect::<Result<Vec<_>, _>>()?;
            for merged in made {
                sorted.pieces.extend(merged.pieces)?;
                sorted.duplicates.extend(merged.duplicates);
            }
        }
        Ok(Some(sorted))
    }

    /// How many rows make a record, on average: counted in the first of the ranges that hold a file's rows.
    fn rows_of_a_record(&self) -> Result<f64, SortError> {
        let first = cuts(self.samples.clone(), self.rows.div_ceil(ROWS_PER_FILE));
        let Some(end) = first.first() else { return Ok(1.0) };
        let loaded = self.loaded(None, Some(end))?;
        let runs: Vec<&Run> = self.runs.iter().chain(&loaded).collect();
        let places = places(&runs, None, Some(end));
        let id_of = |place: &Place| runs[place.run as usize].rows.id(place.row as usize);
        let records = places.chunk_by(|a, b| a.is_of(b, &id_of)).count();
        // no row lies below the first cut where it is the smallest id
        Ok((places.len() as f64 / records.max(1) as f64).max(1.0))
    }

    /// The batches on disk with ids from `from` to before `to`.
    fn loaded(&self, from: Option<&str>, to: Option<&str>) -> Result<Vec<Run>, SortError> {
        self.spilled
            .iter()
            .filter(|s| from.is_none_or(|from| s.max.as_str() >= from) && to.is_none_or(|to| s.min.as_str() < to))
            .map(|spilled| self.load(spilled))
            .collect()
    }

    /// The records with ids from `from` to before `to`.
    fn merge(&self, from: Option<&str>, to: Option<&str>, join: bool) -> Result<Merged, SortError> {
        let loaded = self.loaded(from, to)?;
        let mut runs: Vec<&Run> = self.runs.iter().chain(&loaded).collect();
        runs.sort_by_key(|run| run.span);
        let sources: Vec<&Rows> = runs.iter().map(|run| &run.rows).collect();
        let places = places(&runs, from, to);
        let (mut pieces, mut duplicates) = (Vec::new(), Vec::new());
        let values: usize = runs.iter().map(|run| run.rows.values_in(run.first_at(from), run.end_at(to))).sum();
        let room = || RowsBuilder::with_capacity(places.len().min(ROWS_PER_FILE), values, 0);
        let mut builder = room();
        let mut numberings = vec![Numbering::default(); runs.len()];
        let mut group: Vec<(usize, usize)> = Vec::new();
        let formula_of = |(run, row): (usize, usize)| sources[run].formula(row);
        let id_of = |place: &Place| runs[place.run as usize].rows.id(place.row as usize);
        for rows in places.chunk_by(|a, b| a.is_of(b, &id_of)) {
            group.clear();
            let mut formula = None;
            for place in rows {
                let part = (place.run as usize, place.row as usize);
                if group.is_empty() {
                    formula = formula_of(part);
                    group.push(part);
                    continue;
                }
                let origin = runs[part.0].origins[part.1];
                // rows that name different materials are no parts of one record
                let new = formula_of(part);
                if join && (formula.is_none() || new.is_none() || formula == new) {
                    formula = formula.or(new);
                    group.push(part);
                } else if sources[group[0].0].record(group[0].1) == sources[part.0].record(part.1) {
                    duplicates.push(Duplicate::Same(origin, id_of(place).to_owned()));
                } else {
                    duplicates.push(Duplicate::Other(origin, id_of(place).to_owned()));
                }
            }
            builder.push_joined(&sources, &mut numberings, &group)?;
            if builder.len() == ROWS_PER_FILE || builder.text_bytes() > BATCH_BYTES {
                pieces.push(std::mem::replace(&mut builder, room()).finish()?);
                numberings = vec![Numbering::default(); runs.len()];
            }
        }
        if !builder.is_empty() {
            pieces.push(builder.finish()?);
        }
        Ok(Merged { pieces, duplicates })
    }

    fn load(&self, spilled: &Spilled) -> Result<Run, SortError> {
        let batch = spilled.file.read(spilled.at, spilled.length).map_err(|e| e.into_sort_error(&self.scratch))?;
        let wrong = || ArrowError::SchemaError("a spilled batch lacks its origins".into());
        let tables =
            batch.column_by_name("table").and_then(|c| c.as_primitive_opt::<UInt32Type>()).ok_or_else(wrong)?;
        let lines = batch.column_by_name("line").and_then(|c| c.as_primitive_opt::<UInt64Type>()).ok_or_else(wrong)?;
        let origins =
            tables.values().iter().zip(lines.values()).map(|(&table, &line)| Origin { table, line }).collect();
        Ok(Run::new(Rows::read(&batch)?, origins))
    }
}

/// The records of a range of ids.
struct Merged {
    pieces: Vec<Rows>,
    duplicates: Vec<Duplicate>,
}

/// Records and the rows that they come from, sorted by id.
pub struct SortedRun(Run);

/// The records of a chunk on their way to be a [`SortedRun`].
#[derive(Default)]
pub struct RunBuilder {
    rows: RowsBuilder,
    origins: Vec<Origin>,
}

impl RunBuilder {
    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Adds a record, with the row that it comes from; rows come in their order.
    ///
    /// # Errors
    /// The record cannot be written as columns.
    pub fn push(&mut self, record: &Record, origin: Origin) -> Result<(), SortError> {
        self.rows.push(record)?;
        self.origins.push(origin);
        Ok(())
    }

    /// Sorts them. The builder is empty then.
    ///
    /// # Errors
    /// The columns do not fit together, which would be a defect here.
    pub fn finish(&mut self) -> Result<SortedRun, SortError> {
        let origins = std::mem::take(&mut self.origins);
        let rows = std::mem::take(&mut self.rows).finish()?;
        // the next chunk is much like this one
        self.origins.reserve(origins.len());
        self.rows = RowsBuilder::like(&rows);
        let skip = shared_bytes((0..rows.len()).map(|row| rows.id(row)));
        let mut order: Vec<(Prefix, u32)> =
            (0..rows.len()).map(|row| (Prefix::new(rows.id(row), skip), row as u32)).collect();
        let id = |row: u32| rows.id(row as usize);
        sort_by_prefix(&mut order, |(prefix, _)| *prefix, Prefix::is_whole, |(_, i), (_, j)| id(*i).cmp(id(*j)));
        let order: Vec<u32> = order.into_iter().map(|(_, row)| row).collect();
        let origins = order.iter().map(|&row| origins[row as usize]).collect();
        Ok(SortedRun(Run::new(rows.taken(order)?, origins)))
    }
}

/// The first bytes of an id behind what all ids share, as a number in their order: it decides most comparisons.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Prefix([u64; 2]);

impl Prefix {
    const BYTES: usize = size_of::<u128>();

    fn new(id: &str, skip: usize) -> Prefix {
        let rest = id.as_bytes().get(skip..).unwrap_or_default();
        let mut first = [0; Prefix::BYTES];
        let n = rest.len().min(Prefix::BYTES);
        first[..n].copy_from_slice(&rest[..n]);
        // a byte of zero looks like the end, so what follows one is left to the whole id
        if let Some(zero) = memchr::memchr(0, &rest[..n]) {
            first[zero..].fill(0);
            first[Prefix::BYTES - 1] = 1;
        }
        let number = u128::from_be_bytes(first);
        Prefix([(number >> 64) as u64, number as u64])
    }

    fn number(self) -> u128 {
        u128::from(self.0[0]) << 64 | u128::from(self.0[1])
    }

    /// Whether the id ends within.
    fn is_whole(self) -> bool {
        self.0[1] as u8 == 0
    }
}

/// Sorts by prefix, and those whose prefix does not decide by `others`. Comparing numbers alone is several times quicker
/// than asking for all of the order at once.
fn sort_by_prefix<T: Copy>(
    things: &mut [T],
    prefix: impl Fn(&T) -> Prefix,
    decides: impl Fn(Prefix) -> bool,
    mut others: impl FnMut(&T, &T) -> Ordering,
) {
    things.sort_by_key(|thing| prefix(thing).number());
    for alike in things.chunk_by_mut(|a, b| prefix(a) == prefix(b)) {
        if alike.len() > 1 && !decides(prefix(&alike[0])) {
            alike.sort_by(&mut others);
        }
    }
}

/// Where a row is among runs.
#[derive(Clone, Copy)]
struct Place {
    prefix: Prefix,
    run: u32,
    row: u32,
}

impl Place {
    fn is_of<'a>(&self, other: &Place, id: &impl Fn(&Place) -> &'a str) -> bool {
        self.prefix == other.prefix && (self.prefix.is_whole() || id(self) == id(other))
    }
}

/// The rows of runs with ids from `from` to before `to`, in the order of id and origin. The runs are in the order of
/// their first origins.
fn places(runs: &[&Run], from: Option<&str>, to: Option<&str>) -> Vec<Place> {
    // all ids of one dataset begin alike, and those between two ids like both
    let filled = runs.iter().filter(|run| !run.rows.is_empty());
    let ends = filled.flat_map(|run| [0, run.rows.len() - 1].map(|row| run.rows.id(row)));
    let skip = shared_bytes(ends);
    let spans: Vec<_> = runs.iter().map(|run| run.first_at(from)..run.end_at(to)).collect();
    let mut places = Vec::with_capacity(spans.iter().map(ExactSizeIterator::len).sum());
    for (number, (run, span)) in runs.iter().zip(spans).enumerate() {
        places.extend(span.map(|row| Place {
            prefix: Prefix::new(run.rows.id(row), skip),
            run: number as u32,
            row: row as u32,
        }));
    }
    let id = |place: &Place| runs[place.run as usize].rows.id(place.row as usize);
    let origin = |place: &Place| runs[place.run as usize].origins[place.row as usize];
    // rows of one id lie in the order of their origins in a run
    let by_run = runs.windows(2).all(|pair| pair[0].span.1 < pair[1].span.0);
    // each run is in order already: the sort finds that, and merges them
    sort_by_prefix(
        &mut places,
        |place| place.prefix,
        |prefix| by_run && prefix.is_whole(),
        |a, b| {
            let by_id = id(a).cmp(id(b));
            if by_run { by_id } else { by_id.then_with(|| origin(a).cmp(&origin(b))) }
        },
    );
    places
}

/// How many bytes all these texts begin with.
fn shared_bytes<'a>(mut texts: impl Iterator<Item = &'a str>) -> usize {
    let Some(first) = texts.next() else { return 0 };
    let shared =
        |length: usize, text: &str| first.bytes().take(length).zip(text.bytes()).take_while(|(a, b)| a == b).count();
    texts.fold(first.len(), shared)
}

/// Ids that cut the sampled ones into `parts` equal ranges.
fn cuts(mut samples: Vec<String>, parts: usize) -> Vec<String> {
    samples.sort_unstable();
    let mut cuts: Vec<String> = (1..parts).filter_map(|n| samples.get(n * samples.len() / parts).cloned()).collect();
    cuts.dedup();
    cuts
}

/// The ranges between cuts, from nothing to nothing.
fn ranges(cuts: &[String]) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
    let ends = cuts.iter().map(|cut| Some(cut.as_str()));
    std::iter::once(None).chain(ends.clone()).zip(ends.chain(std::iter::once(None)))
}

fn spilled_batch(runs: &[&Run], rows: &[Place]) -> Result<(Vec<u8>, String, String), ArrowError> {
    let sources: Vec<&Rows> = runs.iter().map(|run| &run.rows).collect();
    let mut numberings = vec![Numbering::default(); runs.len()];
    let mut builder = RowsBuilder::default();
    for place in rows {
        builder.push_joined(&sources, &mut numberings, &[(place.run as usize, place.row as usize)])?;
    }
    let batch = builder.finish()?.to_batch()?;
    let origins = || rows.iter().map(|place| runs[place.run as usize].origins[place.row as usize]);
    let ids = RecordColumns::ids(&batch)?;
    let (min, max) = (ids.value(0).to_owned(), ids.value(ids.len() - 1).to_owned());
    let mut fields: Vec<FieldRef> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("table", DataType::UInt32, false)));
    fields.push(Arc::new(Field::new("line", DataType::UInt64, false)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(UInt32Array::from_iter_values(origins().map(|o| o.table))));
    columns.push(Arc::new(UInt64Array::from_iter_values(origins().map(|o| o.line))));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    Ok((ipc(&batch)?, min, max))
}

fn ipc(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

/// A file without a name in the scratch folder: it is gone with the process, however that ends.
struct ScratchFile(Mutex<File>);

enum ScratchError {
    Io(io::Error),
    Arrow(ArrowError),
}

impl From<io::Error> for ScratchError {
    fn from(e: io::Error) -> Self {
        ScratchError::Io(e)
    }
}

impl From<ArrowError> for ScratchError {
    fn from(e: ArrowError) -> Self {
        ScratchError::Arrow(e)
    }
}

impl ScratchError {
    fn into_sort_error(self, folder: &Path) -> SortError {
        match self {
            ScratchError::Io(why) => SortError::Scratch { folder: folder.to_owned(), why },
            ScratchError::Arrow(e) => e.into(),
        }
    }
}

impl ScratchFile {
    fn new(folder: &Path) -> io::Result<ScratchFile> {
        std::fs::create_dir_all(folder)?;
        Ok(ScratchFile(Mutex::new(tempfile::tempfile_in(folder)?)))
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    }

    fn read(&self, at: u64, length: usize) -> Result<RecordBatch, ScratchError> {
        let mut bytes = vec![0; length];
        {
            let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut bytes)?;
        }
        let mut reader = StreamReader::try_new(bytes.as_slice(), None)?;
        let batch = reader.next().ok_or_else(|| ArrowError::IpcError("a batch on disk is empty".into()))?;
        Ok(batch?)
    }
}

/// Sorted batches, each id once, in memory or on disk.
pub struct Pieces {
    scratch: PathBuf,
    on_disk: Option<(Arc<ScratchFile>, u64)>,
    pieces: Vec<Piece>,
    wants_disk: bool,
}

struct Piece {
    min: String,
    max: String,
    rows: usize,
    place: PiecePlace,
}

enum PiecePlace {
    Memory(Box<Rows>),
    Disk(Arc<ScratchFile>, u64, usize),
}

impl Pieces {
    fn new(scratch: &Path, wants_disk: bool) -> Pieces {
        Pieces { scratch: scratch.to_owned(), on_disk: None, pieces: Vec::new(), wants_disk }
    }

    /// Adds pieces that are not empty.
    fn extend(&mut self, pieces: Vec<Rows>) -> Result<(), SortError> {
        for piece in pieces {
            let rows = piece.len();
            let (min, max) = (piece.id(0).to_owned(), piece.id(rows - 1).to_owned());
            let place = if self.wants_disk {
                let failed = |why| SortError::Scratch { folder: self.scratch.clone(), why };
                let (file, at) = match self.on_disk.take() {
                    Some(open) => open,
                    None => (Arc::new(ScratchFile::new(&self.scratch).map_err(failed)?), 0),
                };
                let bytes = ipc(&piece.to_batch()?)?;
                file.write(at, &bytes).map_err(failed)?;
                self.on_disk = Some((Arc::clone(&file), at + bytes.len() as u64));
                PiecePlace::Disk(file, at, bytes.len())
            } else {
                PiecePlace::Memory(Box::new(piece))
            };
            self.pieces.push(Piece { min, max, rows, place });
        }
        Ok(())
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.rows).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The pieces of each dataset, which follow one another in id order.
    ///
    /// # Errors
    /// A piece cannot be read back, or cut.
    pub fn by_dataset(self) -> Result<Vec<(String, Pieces)>, SortError> {
        let mut sets: Vec<(String, Pieces)> = Vec::new();
        let (scratch, wants_disk) = (self.scratch.clone(), self.wants_disk);
        let mut add = |dataset: &str, piece: Result<Piece, Rows>| -> Result<(), SortError> {
            if sets.last().is_none_or(|(last, _)| last != dataset) {
                sets.push((dataset.to_owned(), Pieces::new(&scratch, wants_disk)));
            }
            let Some((_, pieces)) = sets.last_mut() else { return Ok(()) };
            match piece {
                Ok(whole) => pieces.pieces.push(whole),
                Err(cut) => pieces.extend(vec![cut])?,
            }
            Ok(())
        };
        for piece in self.pieces {
            let (first, last) = (dataset_of(&piece.min).to_owned(), dataset_of(&piece.max).to_owned());
            if first == last {
                add(&first, Ok(piece))?;
                continue;
            }
            let rows = match piece.place {
                PiecePlace::Memory(rows) => *rows,
                PiecePlace::Disk(file, at, length) => {
                    Rows::read(&file.read(at, length).map_err(|e| e.into_sort_error(&scratch))?)?
                }
            };
            let numbers: Vec<usize> = (0..rows.len()).collect();
            for same in numbers.chunk_by(|&a, &b| dataset_of(rows.id(a)) == dataset_of(rows.id(b))) {
                let mut cut = RowsBuilder::with_capacity(same.len(), 0, 0);
                let mut numbering = [Numbering::default()];
                same.iter().try_for_each(|&row| cut.push_joined(&[&rows], &mut numbering, &[(0, row)]))?;
                add(dataset_of(rows.id(same[0])), Err(cut.finish()?))?;
            }
        }
        Ok(sets)
    }
}

impl Piece {
    fn read(&self) -> Result<RecordBatch, ScratchError> {
        match &self.place {
            PiecePlace::Memory(rows) => Ok(rows.to_batch()?),
            PiecePlace::Disk(file, at, length) => file.read(*at, *length),
        }
    }
}

impl SortedRecords for Pieces {
    fn ranges(&self) -> Vec<(String, String)> {
        self.pieces.iter().map(|piece| (piece.min.clone(), piece.max.clone())).collect()
    }

    fn read(&self, piece: usize) -> Result<RecordBatch, TableError> {
        let Some(piece) = self.pieces.get(piece) else {
            return Err(ArrowError::InvalidArgumentError(format!("there is no piece {piece}")).into());
        };
        piece.read().map_err(|e| match e {
            ScratchError::Io(why) => TableError::Folder { path: self.scratch.clone(), why },
            ScratchError::Arrow(e) => e.into(),
        })
    }
}
