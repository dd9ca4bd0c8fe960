//! Files in, one commit out: read in parallel, sorted by record id with bounded memory, committed as a whole.

mod compare;
mod watch;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datasets::catalogue::DatasetInfo;
use datasets::property::dictionary;
use datasets::record::{Evidence, Measurement, Record};
use datasets::table::{Outcome, SortedRecords, Table, TableError};

use crate::check::{Noted, Notes, Place, Places};
use crate::mapping::{Mapping, MappingFile};
use crate::native::{self, Item, NativeError, NativeReader};
use crate::propose::{self, Proposal, Sample};
use crate::read::{self, BadRow, BytesRead, Chunk, Format, ReadError, Row};
use crate::refused::{self, RefusedWriter};
use crate::report::{Code, Finding, Report, Severity};
use crate::rows::{Layout, Words};
use crate::sort::{Duplicate, Origin, Pieces, RunBuilder, SortError, Sorter};

pub use compare::check;
pub use watch::{Phase, Progress, Watch};

/// Why a job did not run. Whatever it was, the table is as it was.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A file cannot be read, or lacks a column.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An export cannot be read.
    #[error(transparent)]
    Export(#[from] NativeError),
    /// A file that is no export, and no mapping.
    #[error("{0} is no export of a hub: say which column is what with --mapping MAP.toml")]
    NoMapping(String),
    /// A `file` of the mapping is not among the files of the job.
    #[error("the mapping has values in `{0}`, and no file of that name was given")]
    FileNotGiven(String),
    /// A report or a file of refused rows cannot be written.
    #[error("cannot write {path}: {why}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: std::io::Error,
    },
    /// The rows cannot be sorted.
    #[error(transparent)]
    Sort(#[from] SortError),
    /// The table refused.
    #[error(transparent)]
    Table(#[from] TableError),
    /// It was cancelled.
    #[error("cancelled; nothing was changed")]
    Cancelled,
    /// A defect of the program.
    #[error("the job failed: {0}; nothing was changed")]
    Broken(String),
}

/// A file or folder of a job.
#[derive(Debug, Clone)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// How findings name it.
    pub shown: String,
}

impl From<&Path> for Input {
    fn from(path: &Path) -> Input {
        Input { path: path.to_owned(), shown: path.display().to_string() }
    }
}

/// What a job is asked to do.
#[derive(Debug, Clone)]
pub struct Request {
    /// The files, read in this order as one job.
    pub files: Vec<Input>,
    /// What their columns mean; files that a hub exported need none.
    pub mapping: Option<Mapping>,
    /// The dataset that records of an export go into, in place of their own.
    pub dataset: Option<String>,
    /// A word of the caller's own: a second job of the same word commits nothing.
    pub key: Option<String>,
    /// All findings are written there as JSON Lines.
    pub report: Option<PathBuf>,
    /// Refused rows are written into this folder, as files of the format that they came from.
    pub refused: Option<PathBuf>,
}

/// The accepted records of some files, and what was found in them. Nothing is committed yet.
pub struct Accepted {
    /// The records of each dataset, with its terms.
    pub sets: Vec<(DatasetInfo, Arc<Pieces>)>,
    /// What was refused or flagged.
    pub report: Report,
    /// The files of refused rows.
    pub refused: Vec<PathBuf>,
    /// Columns of the files that the mapping does not speak of, in the order of the files.
    pub not_used: Vec<String>,
    /// Where all findings are written.
    report_file: Option<PathBuf>,
    /// Where the rows stand.
    places: Places,
    /// What is compared with the hub.
    noted: Noted,
}

impl Accepted {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.sets.iter().map(|(_, records)| records.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }
}

/// What became of a job.
#[derive(Debug)]
pub struct Done {
    /// What was refused or flagged.
    pub report: Report,
    /// Number of records that were accepted.
    pub records: usize,
    /// The datasets that they are in.
    pub datasets: Vec<String>,
    /// The files of refused rows.
    pub refused: Vec<PathBuf>,
    /// Columns of the files that the mapping does not speak of, in the order of the files.
    pub not_used: Vec<String>,
    /// What was changed; `None` where there was nothing to put in.
    pub outcome: Option<Outcome>,
}

impl From<Accepted> for Done {
    /// A job that commits nothing: a dry run.
    fn from(accepted: Accepted) -> Done {
        Done {
            records: accepted.len(),
            datasets: accepted.sets.iter().map(|(info, _)| info.name.clone()).collect(),
            refused: accepted.refused,
            not_used: accepted.not_used,
            report: accepted.report,
            outcome: None,
        }
    }
}

/// Reads files and puts their records into the table, in one atomic commit.
///
/// # Errors
/// See [`JobError`]; nothing was changed.
pub async fn run(table: &mut Table, request: &Request, watch: &Watch) -> Result<Done, JobError> {
    let scratch = table.scratch();
    let (asked, watching) = (request.clone(), watch.clone());
    // reading is long work for the processor: not on a thread that answers requests
    let reading = tokio::task::spawn_blocking(move || read(&asked, &scratch, &watching));
    let mut accepted = reading.await.map_err(|e| JobError::Broken(e.to_string()))??;
    accepted.compare(Some(table), watch).await?;
    let done = commit(table, accepted, request.key.as_deref(), watch).await;
    watch.enter(Phase::Done);
    done
}

/// Commits what was read, in one atomic commit.
///
/// # Errors
/// The table cannot be written, or the job was cancelled; then nothing was changed.
pub async fn commit(table: &mut Table, accepted: Accepted, key: Option<&str>, watch: &Watch) -> Result<Done, JobError> {
    watch.go_on()?;
    watch.enter(Phase::Committing);
    let records =
        |(info, records): &(DatasetInfo, Arc<Pieces>)| (info.clone(), Arc::clone(records) as Arc<dyn SortedRecords>);
    let sets: Vec<(DatasetInfo, Arc<dyn SortedRecords>)> = accepted.sets.iter().map(records).collect();
    let mut done = Done::from(accepted);
    if done.records > 0 {
        done.outcome = Some(table.upsert_sorted(&sets, key).await?);
    }
    Ok(done)
}

/// Rows of each table that a proposal looks at.
const SAMPLE_ROWS: usize = 200;

/// Proposes a mapping for files, from their headers and first rows, or completes one that says nothing of material and
/// values; `None` where all are exports, which need none.
///
/// # Errors
/// A file cannot be read.
pub fn propose(files: &[Input], start: &MappingFile, evidence: Option<Evidence>) -> Result<Option<Proposal>, JobError> {
    let mut samples = Vec::new();
    for input in files {
        if export_at(&input.path)?.is_some() {
            continue;
        }
        for table in read::open(&input.path, &input.shown, &start.read, &BytesRead::default())? {
            samples.push(Sample::take(&mut table?, SAMPLE_ROWS));
        }
    }
    Ok((!samples.is_empty()).then(|| propose::complete(&samples, start, evidence)))
}

/// Reads files by a mapping. Nothing is committed; what does not fit in memory lies in the folder `scratch`.
///
/// # Errors
/// A file cannot be opened or lacks a column of the mapping. Trouble with single rows is in the report instead.
pub fn read(request: &Request, scratch: &Path, watch: &Watch) -> Result<Accepted, JobError> {
    watch.enter(Phase::Reading);
    let bytes = |input: &Input| std::fs::metadata(&input.path).map_or(0, |m| if m.is_file() { m.len() } else { 0 });
    watch.will_read(request.files.iter().map(bytes).sum());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let gathering = Mutex::new(Gathering {
        sorter: Sorter::new(scratch),
        report: Reporter::create(request.report.as_deref())?,
        waiting: BTreeMap::new(),
        next: 0,
        refused: None,
        files: Vec::new(),
        noted: Noted::default(),
        places: Places::default(),
    });
    let mut terms: BTreeMap<String, DatasetInfo> = BTreeMap::new();
    let (mut names, mut not_used): (Vec<String>, Vec<String>) = Default::default();
    for input in &request.files {
        if let Some(mut reader) = export_at(&input.path)? {
            if let Some(name) = &request.dataset {
                reader = reader.rename(name)?;
            }
            terms.extend(reader.terms().iter().map(|info| (info.name.clone(), info.clone())));
            let number = lock(&gathering).places.add_table(input.shown.clone());
            read_export(reader, number, input, &gathering, watch)?;
            continue;
        }
        let mapping = request.mapping.as_ref().ok_or_else(|| JobError::NoMapping(input.shown.clone()))?;
        for table in read::open(&input.path, &input.shown, &mapping.file.read, watch.bytes())? {
            let table = table?;
            let layout = Layout::new(mapping, &table)?;
            for header in table.headers().iter().filter(|header| is_dropped(mapping, &table, header)) {
                if not_used.len() < MOST_NOT_USED && !not_used.contains(header) {
                    not_used.push(header.clone());
                }
            }
            if let Some(folder) = &request.refused {
                lock(&gathering).refused = Some(RefusedWriter::create(folder, &table));
            }
            let job = TableJob {
                number: lock(&gathering).places.add_table(table.shown.clone()),
                shown: table.shown.clone(),
                format: table.format,
                mapping,
                gathering: &gathering,
                watch,
                keeps_rows: request.refused.is_some(),
            };
            units_in_doubt(mapping, &table).into_iter().try_for_each(|doubt| lock(&gathering).report.finding(doubt))?;
            names.push(table.name.clone());
            job.run(table, &layout, threads)?;
            lock(&gathering).end_table()?;
        }
    }
    for wanted in request.mapping.iter().flat_map(|m| &m.file.value).filter_map(|v| v.file.as_ref()) {
        // a file of refused rows may be of one of the files alone
        if !names.iter().any(|name| refused::is_of(name, wanted) || refused::is_refused(name)) {
            return Err(JobError::FileNotGiven(wanted.clone()));
        }
    }
    let Gathering { sorter, mut report, mut files, mut noted, places, .. } =
        gathering.into_inner().unwrap_or_else(PoisonError::into_inner);
    watch.enter(Phase::Merging);
    let join = request.mapping.as_ref().is_some_and(|mapping| mapping.file.record.join);
    let sorted = sorter.finish(join, &|| !watch.is_cancelled())?;
    let mut sorted = sorted.ok_or(JobError::Cancelled)?;
    let origin = |duplicate: &Duplicate| match duplicate {
        Duplicate::Same(origin, _) | Duplicate::Other(origin, _) => *origin,
    };
    sorted.duplicates.sort_by_key(origin);
    for duplicate in &sorted.duplicates {
        report.duplicate(duplicate, &places)?;
    }
    let left_out: HashSet<Origin> =
        sorted.duplicates.iter().filter(|d| matches!(d, Duplicate::Other(..))).map(origin).collect();
    noted.without(&left_out);
    noted.conflicts(&places).into_iter().try_for_each(|finding| report.finding(finding))?;
    if let (false, Some(folder), Some(mapping)) = (left_out.is_empty(), &request.refused, &request.mapping) {
        files.extend(write_left_out(request, mapping, folder, &left_out)?);
    }
    let own = |name: &str| match &request.mapping {
        Some(mapping) if mapping.dataset.name == name => mapping.dataset.clone(),
        _ => DatasetInfo::unnamed_terms(name),
    };
    let sets = sorted.pieces.by_dataset()?.into_iter().map(|(name, pieces)| {
        let info = terms.get(&name).cloned().unwrap_or_else(|| own(&name));
        (info, Arc::new(pieces))
    });
    let (sets, report_file) = (sets.collect(), request.report.clone());
    Ok(Accepted { sets, report: report.finish()?, refused: files, not_used, report_file, places, noted })
}

/// Columns that are said not to be used, at most.
const MOST_NOT_USED: usize = 1_000;

/// Columns of a table for which the mapping states another unit than their header, each finding once.
fn units_in_doubt(mapping: &Mapping, table: &read::Table) -> Vec<Finding> {
    let place = Place { file: &table.shown, line: 1 };
    let mut found: Vec<Finding> = Vec::new();
    let here = mapping.file.value.iter().zip(&mapping.values);
    let here = here.filter(|(v, _)| v.file.as_ref().is_none_or(|file| refused::is_of(&table.name, file)));
    for doubt in here.flat_map(|(_, what)| &what.doubts) {
        if table.position(&doubt.column).is_err() {
            continue;
        }
        let cell = (Some(&*doubt.column), None);
        let finding = place.finding(Severity::Flagged, Code::SuspectUnit, cell, doubt.why.clone(), &doubt.mend);
        // of a default that several values have
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    found
}

/// Whether nothing of a column goes into the records; not where the structure says it too, or the reader made it.
fn is_dropped(mapping: &Mapping, table: &read::Table, header: &str) -> bool {
    let in_structure = mapping.file.material.structure.is_some() && table.format.says_in_structure(header);
    !header.is_empty() && !header.starts_with('@') && !in_structure && !mapping.file.names_column(header)
}

/// Columns in one line, the first of them where they are many; none where there is none.
pub fn not_used(columns: &[String]) -> Option<String> {
    let several = if columns.len() == 1 { "column" } else { "columns" };
    (!columns.is_empty()).then(|| format!("not used: {several} {}", read::listed(columns)))
}

/// The export that a file is; `None` for other files, and for folders.
fn export_at(path: &Path) -> Result<Option<NativeReader>, JobError> {
    Ok(if path.is_dir() { None } else { native::open(path)? })
}

/// Reads an export: its records need no mapping.
fn read_export(
    reader: NativeReader,
    number: u32,
    input: &Input,
    gathering: &Mutex<Gathering>,
    watch: &Watch,
) -> Result<(), JobError> {
    let (mut found, mut run) = (Findings::default(), RunBuilder::default());
    found.notes = Notes::of_chunk(lock(gathering).next);
    let end = |mut found: Findings, run: &mut RunBuilder| -> Result<(), JobError> {
        found.notes.end();
        watch.go_on()?;
        watch.count(found.rows, found.refused, &found.findings);
        let run = run.finish()?;
        let mut gathering = lock(gathering);
        gathering.sorter.add(run)?;
        let next = gathering.next;
        gathering.waiting.insert(next, found);
        gathering.flush()
    };
    for item in reader {
        found.rows += 1;
        match item? {
            Item::Record { line, record } => {
                let origin = Origin { table: number, line };
                found.notes.note(&record, origin, true, &|m| (dictionary().get(&m.property), None));
                run.push(&record, origin)?;
            }
            Item::Refused(bad) => {
                let place = Place { file: &input.shown, line: bad.line };
                let mend = "export it anew, or mend this record in the file";
                let finding =
                    place.finding(Severity::Refused, Code::UnreadableRow, (None, None), bad.why.clone(), mend);
                found.refused += 1;
                found.findings.push(finding);
            }
        }
        if found.rows == EXPORT_ROWS {
            end(std::mem::take(&mut found), &mut run)?;
        }
    }
    end(found, &mut run)
}

/// Records of an export that are sorted at a time.
const EXPORT_ROWS: u64 = 16_384;

/// Writes the rows that were left out because an earlier row has their id: they are read again to find them.
fn write_left_out(
    request: &Request,
    mapping: &Mapping,
    folder: &Path,
    rows: &HashSet<Origin>,
) -> Result<Vec<PathBuf>, JobError> {
    let failed = |why| JobError::Write { path: folder.to_owned(), why };
    let (mut number, mut files) = (0, Vec::new());
    for input in &request.files {
        if export_at(&input.path)?.is_some() {
            number += 1;
            continue;
        }
        for table in read::open(&input.path, &input.shown, &mapping.file.read, &BytesRead::default())? {
            let mut table = table?;
            let mut writer = RefusedWriter::create(folder, &table);
            let mut row = Row::default();
            let wanted = rows.iter().any(|origin| origin.table == number);
            while let Some(mut chunk) = table.next_chunk().filter(|_| wanted) {
                while let Some(read) = chunk.next_row(&mut row) {
                    if read.is_ok() && rows.contains(&Origin { table: number, line: row.line }) {
                        writer.row(&row).map_err(failed)?;
                    }
                }
            }
            files.extend(writer.finish().map_err(failed)?);
            number += 1;
        }
    }
    Ok(files)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One table of a job.
struct TableJob<'a> {
    number: u32,
    shown: String,
    format: Format,
    mapping: &'a Mapping,
    gathering: &'a Mutex<Gathering>,
    watch: &'a Watch,
    /// Whether refused rows are written to a file.
    keeps_rows: bool,
}

/// What all threads put their results into.
struct Gathering {
    sorter: Sorter,
    report: Reporter,
    /// Findings of chunks that were done before an earlier one.
    waiting: BTreeMap<u64, Findings>,
    /// The chunk whose findings come next.
    next: u64,
    /// Takes the refused rows of the table that is read.
    refused: Option<RefusedWriter>,
    /// Files of refused rows that are done.
    files: Vec<PathBuf>,
    noted: Noted,
    places: Places,
}

/// What was found in one chunk.
#[derive(Default)]
struct Findings {
    rows: u64,
    /// Rows that the mapping does not ask for.
    left_out: u64,
    refused: u64,
    findings: Vec<Finding>,
    refused_rows: Vec<Result<Row, BadRow>>,
    notes: Notes,
    /// Rows that are a file of their own.
    members: Vec<(Origin, Box<str>)>,
}

impl Gathering {
    /// Reports the chunks that are next in order.
    fn flush(&mut self) -> Result<(), JobError> {
        while let Some(mut found) = self.waiting.remove(&self.next) {
            if let Some(writer) = &mut self.refused {
                for row in std::mem::take(&mut found.refused_rows) {
                    let written = match row {
                        Ok(row) => writer.row(&row),
                        Err(bad) => writer.bad_row(&bad),
                    };
                    written.map_err(|why| JobError::Write { path: "the file of refused rows".into(), why })?;
                }
            }
            self.noted.take(std::mem::take(&mut found.notes));
            self.places.add_members(std::mem::take(&mut found.members));
            self.report.add(found)?;
            self.next += 1;
        }
        Ok(())
    }

    /// Ends the file of refused rows of a table.
    fn end_table(&mut self) -> Result<(), JobError> {
        let Some(writer) = self.refused.take() else { return Ok(()) };
        let files = writer.finish();
        self.files.extend(files.map_err(|why| JobError::Write { path: "the file of refused rows".into(), why })?);
        Ok(())
    }
}

/// What a thread uses again from chunk to chunk.
#[derive(Default)]
struct Room {
    words: Words,
    row: Row,
    record: Record,
    run: RunBuilder,
}

/// The rows of a table that are still to be read, with the number of the next chunk.
struct Feed {
    table: read::Table,
    next: u64,
    /// Chunks that were read already, the next one last.
    ready: Vec<Box<dyn Chunk>>,
}

impl TableJob<'_> {
    fn run(&self, table: read::Table, layout: &Layout<'_>, threads: usize) -> Result<(), JobError> {
        let first = lock(self.gathering).next;
        let mut feed = Feed { table, next: first, ready: Vec::new() };
        // small tables, of which there may be thousands, need no threads
        let Some(one) = feed.table.next_chunk() else { return Ok(()) };
        let Some(two) = feed.table.next_chunk() else {
            return self.chunk(layout, &mut Room::default(), first, one);
        };
        feed.ready = vec![two, one];
        let feed = Mutex::new(feed);
        let held = || feed.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || -> Result<(), JobError> {
            let layout = Layout::new(self.mapping, &held().table)?;
            let mut room = Room::default();
            loop {
                let (number, chunk) = {
                    let mut feed = held();
                    let Some(chunk) = feed.ready.pop().or_else(|| feed.table.next_chunk()) else { return Ok(()) };
                    feed.next += 1;
                    (feed.next - 1, chunk)
                };
                self.chunk(&layout, &mut room, number, chunk)?;
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mine = work();
            let others = others.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err(JobError::Broken("a thread that reads rows panicked".into())))
            });
            others.fold(mine, |sum, one| sum.and(one))
        })
    }

    /// Reads the rows of a chunk.
    fn chunk(
        &self,
        layout: &Layout<'_>,
        room: &mut Room,
        number: u64,
        mut chunk: Box<dyn Chunk>,
    ) -> Result<(), JobError> {
        self.watch.go_on()?;
        let mut found = Findings { notes: Notes::of_chunk(number), ..Findings::default() };
        let Room { words, record, run, row } = room;
        let own_ids = layout.has_own_ids();
        let what_is = |m: &Measurement| (layout.property(m), layout.column_of(m).map(str::to_owned));
        while let Some(read) = chunk.next_row(row) {
            if read.is_ok() && !layout.wants(row) {
                found.left_out += 1;
                continue;
            }
            found.rows += 1;
            match read {
                Ok(()) => {
                    let place = Place { file: &self.shown, line: row.line };
                    match layout.record(row, place, words, record, &mut found.findings) {
                        Ok(()) => {
                            let origin = Origin { table: self.number, line: row.line };
                            found.notes.note(record, origin, own_ids, &what_is);
                            run.push(record, origin)?;
                            let member = layout.member(row, &self.shown);
                            found.members.extend(member.map(|name| (origin, name.into_boxed_str())));
                        }
                        Err(findings) => {
                            found.refused += 1;
                            found.findings.extend(findings);
                            if self.keeps_rows {
                                found.refused_rows.push(Ok(row.clone()));
                            }
                        }
                    }
                }
                Err(bad) => {
                    let (line, why) = (bad.line, bad.why.clone());
                    if self.keeps_rows {
                        found.refused_rows.push(Err(bad));
                    }
                    let place = Place { file: &self.shown, line };
                    let mend = match &why {
                        why if why.contains("UTF-8") => {
                            "correct the letters of the row, or state the encoding of the file"
                        }
                        _ if self.format == Format::JsonLines => {
                            "write one JSON object a line, with numbers that JSON has (no NaN), and each key once"
                        }
                        why if why.starts_with("cell ") => "save the workbook with its results, and ingest it again",
                        _ => "give the row as many cells as the header, and quote cells that hold the separator",
                    };
                    let code = Code::UnreadableRow;
                    found.refused += 1;
                    found.findings.push(place.finding(Severity::Refused, code, (None, None), why, mend));
                }
            }
        }
        found.notes.end();
        let run = run.finish()?;
        self.watch.count(found.rows, found.refused, &found.findings);
        let mut gathering = lock(self.gathering);
        gathering.sorter.add(run)?;
        gathering.waiting.insert(number, found);
        gathering.flush()
    }
}

/// The report in the making: counts and examples in memory, every finding in the file.
struct Reporter {
    report: Report,
    file: Option<(PathBuf, BufWriter<File>)>,
}

impl Reporter {
    fn create(path: Option<&Path>) -> Result<Reporter, JobError> {
        let create = |path: &Path| match File::create(path) {
            Ok(file) => Ok((path.to_owned(), BufWriter::new(file))),
            Err(why) => Err(JobError::Write { path: path.to_owned(), why }),
        };
        Ok(Reporter { report: Report::default(), file: path.map(create).transpose()? })
    }

    fn add(&mut self, found: Findings) -> Result<(), JobError> {
        self.report.rows_read += found.rows;
        self.report.rows_left_out += found.left_out;
        self.report.rows_refused += found.refused;
        self.report.rows_accepted += found.rows - found.refused;
        found.findings.into_iter().try_for_each(|finding| self.finding(finding))
    }

    fn finding(&mut self, finding: Finding) -> Result<(), JobError> {
        if let Some((path, file)) = &mut self.file {
            let written = serde_json::to_writer(&mut *file, &finding).map_err(std::io::Error::from);
            let written = written.and_then(|()| file.write_all(b"\n"));
            written.map_err(|why| JobError::Write { path: path.clone(), why })?;
        }
        self.report.add(finding);
        Ok(())
    }

    fn duplicate(&mut self, duplicate: &Duplicate, places: &Places) -> Result<(), JobError> {
        self.report.rows_accepted -= 1;
        let finding = match duplicate {
            Duplicate::Same(origin, id) => {
                self.report.rows_unchanged += 1;
                places.of(*origin).finding(
                    Severity::Flagged,
                    Code::DuplicateRow,
                    (None, Some(id)),
                    "an earlier row of this job is the same".into(),
                    "nothing to do; remove one of them if they were meant to differ",
                )
            }
            Duplicate::Other(origin, id) => {
                self.report.rows_refused += 1;
                places.of(*origin).finding(
                    Severity::Refused,
                    Code::DuplicateId,
                    (None, Some(id)),
                    format!("an earlier row of this job has the record id `{id}` and other content"),
                    "name more columns in [record] id, or set join = true if such rows are of one material and belong together",
                )
            }
        };
        self.finding(finding)
    }

    fn finish(mut self) -> Result<Report, JobError> {
        if let Some((path, file)) = &mut self.file {
            file.flush().map_err(|why| JobError::Write { path: path.clone(), why })?;
        }
        Ok(self.report)
    }
}
