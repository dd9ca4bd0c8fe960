//! Files in, one commit out: read in parallel, sorted by record id with bounded memory, committed as a whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datasets::catalogue::DatasetInfo;
use datasets::record::Record;
use datasets::table::{Outcome, SortedRecords, Table, TableError};

use crate::check::Place;
use crate::mapping::Mapping;
use crate::read::{self, BadRow, BytesRead, Chunk, ReadError, Row};
use crate::report::{Code, Finding, Report, Severity};
use crate::rows::{Layout, Words};
use crate::sort::{Duplicate, Origin, Pieces, SortError, SortedRun, Sorter, sort_run};

/// Why a job did not run. Whatever it was, the table is as it was.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A file cannot be read, or lacks a column.
    #[error(transparent)]
    Read(#[from] ReadError),
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
    /// What their columns mean.
    pub mapping: Mapping,
    /// A word of the caller's own: a second job of the same word commits nothing.
    pub key: Option<String>,
    /// All findings are written there as JSON Lines.
    pub report: Option<PathBuf>,
}

/// How far a job is, and the way to stop it. Clones watch the same job.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    phase: AtomicU8,
    rows: AtomicU64,
    refused: AtomicU64,
    flagged: AtomicU64,
    bytes: BytesRead,
    bytes_total: AtomicU64,
    cancelled: AtomicBool,
    started: Mutex<Option<Instant>>,
}

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It has not begun.
    Waiting,
    /// Rows are read and checked.
    Reading,
    /// Records are sorted and joined.
    Merging,
    /// Files are written and committed.
    Committing,
    /// It has ended.
    Done,
}

/// How far a job is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Rows read so far, over all files.
    pub rows: u64,
    /// Of these refused.
    pub refused: u64,
    /// Findings that refuse nothing.
    pub flagged: u64,
    /// Bytes of the files read so far.
    pub bytes_read: u64,
    /// Bytes of all files, 0 where that is not known.
    pub bytes_total: u64,
    /// Time since the job began.
    pub elapsed: Duration,
}

impl Watch {
    /// Stops the job as soon as it can; nothing is changed, unless the commit is made already.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let counters = &self.0;
        let started = *counters.started.lock().unwrap_or_else(PoisonError::into_inner);
        let phases = [Phase::Waiting, Phase::Reading, Phase::Merging, Phase::Committing, Phase::Done];
        Progress {
            phase: phases[usize::from(counters.phase.load(Ordering::Relaxed)).min(phases.len() - 1)],
            rows: counters.rows.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            flagged: counters.flagged.load(Ordering::Relaxed),
            bytes_read: counters.bytes.get(),
            bytes_total: counters.bytes_total.load(Ordering::Relaxed),
            elapsed: started.map(|s| s.elapsed()).unwrap_or_default(),
        }
    }

    fn enter(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
        let mut started = self.0.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.get_or_insert_with(Instant::now);
    }

    fn go_on(&self) -> Result<(), JobError> {
        if self.is_cancelled() { Err(JobError::Cancelled) } else { Ok(()) }
    }
}

/// The accepted records of some files, and what was found in them. Nothing is committed yet.
pub struct Accepted {
    /// The records of each dataset, with its terms.
    pub sets: Vec<(DatasetInfo, Arc<Pieces>)>,
    /// What was refused or flagged.
    pub report: Report,
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
    /// What was changed; `None` where there was nothing to put in.
    pub outcome: Option<Outcome>,
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
    let accepted = reading.await.map_err(|e| JobError::Broken(e.to_string()))??;
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
    let records = accepted.len();
    if accepted.is_empty() {
        return Ok(Done { report: accepted.report, records, outcome: None });
    }
    let sets: Vec<(DatasetInfo, Arc<dyn SortedRecords>)> =
        accepted.sets.into_iter().map(|(info, records)| (info, records as Arc<dyn SortedRecords>)).collect();
    let outcome = table.upsert_sorted(&sets, key).await?;
    Ok(Done { report: accepted.report, records, outcome: Some(outcome) })
}

/// Reads files by a mapping. Nothing is committed; what does not fit in memory lies in the folder `scratch`.
///
/// # Errors
/// A file cannot be opened or lacks a column of the mapping. Trouble with single rows is in the report instead.
pub fn read(request: &Request, scratch: &Path, watch: &Watch) -> Result<Accepted, JobError> {
    watch.enter(Phase::Reading);
    let bytes = |input: &Input| std::fs::metadata(&input.path).map_or(0, |m| if m.is_file() { m.len() } else { 0 });
    watch.0.bytes_total.store(request.files.iter().map(bytes).sum(), Ordering::Relaxed);
    let mapping = &request.mapping;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let gathering = Mutex::new(Gathering {
        sorter: Sorter::new(scratch),
        report: Reporter::create(request.report.as_deref())?,
        waiting: BTreeMap::new(),
        next: 0,
    });
    let (mut tables, mut names): (Vec<String>, Vec<String>) = Default::default();
    for input in &request.files {
        for table in read::open(&input.path, &input.shown, &mapping.file.read, &watch.0.bytes)? {
            let table = table?;
            let layout = Layout::new(mapping, &table)?;
            let job = TableJob {
                number: tables.len() as u32,
                shown: table.shown.clone(),
                layout,
                gathering: &gathering,
                watch,
            };
            tables.push(table.shown.clone());
            names.push(table.name.clone());
            job.run(table, threads)?;
        }
    }
    for wanted in mapping.file.value.iter().filter_map(|v| v.file.as_ref()) {
        if !names.contains(wanted) {
            return Err(JobError::FileNotGiven(wanted.clone()));
        }
    }
    let Gathering { sorter, mut report, .. } = gathering.into_inner().unwrap_or_else(PoisonError::into_inner);
    watch.enter(Phase::Merging);
    let sorted = sorter.finish(mapping.file.record.join, &|_, _| !watch.is_cancelled())?;
    let mut sorted = sorted.ok_or(JobError::Cancelled)?;
    sorted.duplicates.sort_by_key(|d| match d {
        Duplicate::Same(origin, _) | Duplicate::Other(origin, _) => *origin,
    });
    for duplicate in &sorted.duplicates {
        report.duplicate(duplicate, &tables)?;
    }
    let sets = sorted.pieces.by_dataset()?.into_iter().map(|(_, pieces)| (mapping.dataset.clone(), Arc::new(pieces)));
    Ok(Accepted { sets: sets.collect(), report: report.finish()? })
}

/// One table of a job.
struct TableJob<'a> {
    number: u32,
    shown: String,
    layout: Layout<'a>,
    gathering: &'a Mutex<Gathering>,
    watch: &'a Watch,
}

/// What all threads put their results into.
struct Gathering {
    sorter: Sorter,
    report: Reporter,
    /// Findings of chunks that were done before an earlier one.
    waiting: BTreeMap<u64, Findings>,
    /// The chunk whose findings come next.
    next: u64,
}

/// What was found in one chunk.
#[derive(Default)]
struct Findings {
    rows: u64,
    refused: u64,
    findings: Vec<Finding>,
}

/// The rows of a table that are still to be read, with the number of the next chunk.
struct Feed {
    table: read::Table,
    next: u64,
}

impl TableJob<'_> {
    fn run(&self, table: read::Table, threads: usize) -> Result<(), JobError> {
        let first = self.gathering.lock().unwrap_or_else(PoisonError::into_inner).next;
        let mut feed = Feed { table, next: first };
        // small tables, of which there may be thousands, need no threads
        let Some(one) = feed.table.next_chunk() else { return Ok(()) };
        self.chunk(feed.next, one)?;
        feed.next += 1;
        let Some(two) = feed.table.next_chunk() else { return Ok(()) };
        let feed = Mutex::new((feed, Some(two)));
        let work = || -> Result<(), JobError> {
            loop {
                let (number, chunk) = {
                    let mut guard = feed.lock().unwrap_or_else(PoisonError::into_inner);
                    let (feed, ready) = &mut *guard;
                    let Some(chunk) = ready.take().or_else(|| feed.table.next_chunk()) else { return Ok(()) };
                    feed.next += 1;
                    (feed.next - 1, chunk)
                };
                self.chunk(number, chunk)?;
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
    fn chunk(&self, number: u64, mut chunk: Box<dyn Chunk>) -> Result<(), JobError> {
        self.watch.go_on()?;
        let mut found = Findings::default();
        let mut accepted: Vec<(Record, Origin)> = Vec::new();
        let mut words = Words::default();
        let mut row = Row::default();
        while let Some(read) = chunk.next_row(&mut row) {
            found.rows += 1;
            match read {
                Ok(()) => {
                    let place = Place { file: &self.shown, line: row.line };
                    match self.layout.record(&row, place, &mut words) {
                        Ok(made) => {
                            found.findings.extend(made.findings);
                            accepted.push((made.record, Origin { table: self.number, line: row.line }));
                        }
                        Err(findings) => {
                            found.refused += 1;
                            found.findings.extend(findings);
                        }
                    }
                }
                Err(BadRow { line, why, .. }) => {
                    let place = Place { file: &self.shown, line };
                    let mend = "give the row as many cells as the header, and quote cells that hold the separator";
                    let code = Code::UnreadableRow;
                    found.refused += 1;
                    found.findings.push(place.finding(Severity::Refused, code, (None, None), why, mend));
                }
            }
        }
        let run = sort_run(accepted)?;
        self.watch.0.rows.fetch_add(found.rows, Ordering::Relaxed);
        self.watch.0.refused.fetch_add(found.refused, Ordering::Relaxed);
        let flagged = found.findings.iter().filter(|f| f.severity == Severity::Flagged).count();
        self.watch.0.flagged.fetch_add(flagged as u64, Ordering::Relaxed);
        self.gather(number, found, run)
    }

    fn gather(&self, number: u64, found: Findings, run: SortedRun) -> Result<(), JobError> {
        let mut gathering = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        gathering.sorter.add(run)?;
        gathering.waiting.insert(number, found);
        loop {
            let next = gathering.next;
            let Some(found) = gathering.waiting.remove(&next) else { return Ok(()) };
            gathering.report.add(found)?;
            gathering.next += 1;
        }
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

    fn duplicate(&mut self, duplicate: &Duplicate, tables: &[String]) -> Result<(), JobError> {
        self.report.rows_accepted -= 1;
        let place = |origin: &Origin| Place {
            file: tables.get(origin.table as usize).map_or("", String::as_str),
            line: origin.line,
        };
        let finding = match duplicate {
            Duplicate::Same(origin, id) => {
                self.report.rows_unchanged += 1;
                place(origin).finding(
                    Severity::Flagged,
                    Code::DuplicateRow,
                    (None, Some(id)),
                    "an earlier row of this job is the same".into(),
                    "nothing to do; remove one of them if they were meant to differ",
                )
            }
            Duplicate::Other(origin, id) => {
                self.report.rows_refused += 1;
                place(origin).finding(
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
