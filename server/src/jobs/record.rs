//! What is kept of a job, and how does it look from outside?

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use datasets::durable::sync_parent;
use datasets::record::Evidence;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::runner::{Done, Findings, Progress, Records, Rows};
use crate::problem::Problem;

/// The name of the record in the folder of its job.
const FILE: &str = "job.json";

/// The most bytes of a kept record.
const MAX_BYTES: u64 = 16 << 20;

/// What a job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for the jobs before it.
    Queued,
    /// It runs.
    Running,
    /// Its records are searchable.
    Done,
    /// It failed; nothing was changed.
    Failed,
    /// It was cancelled; nothing was changed.
    Cancelled,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] = [State::Queued, State::Running, State::Done, State::Failed, State::Cancelled];

    /// Whether nothing more will happen.
    pub fn is_ended(self) -> bool {
        matches!(self, State::Done | State::Failed | State::Cancelled)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }
}

/// A file of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileGiven {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// What is kept of a job on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    /// Order of arrival.
    pub(crate) order: u64,
    /// Hash of all that was sent.
    pub(crate) content: String,
    pub(crate) key: Option<String>,
    pub(crate) state: State,
    pub(crate) dataset: Option<String>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) dry_run: bool,
    pub(crate) mapping: Option<String>,
    pub(crate) files: Vec<FileGiven>,
    pub(crate) created_ms: i64,
    pub(crate) started_ms: Option<i64>,
    pub(crate) ended_ms: Option<i64>,
    /// How often it was begun and not put back.
    pub(crate) attempts: u32,
    pub(crate) done: Option<Done>,
    pub(crate) problem: Option<Problem>,
    pub(crate) note: Option<String>,
}

impl Record {
    /// Reads the record of a job's folder.
    pub(crate) fn read(folder: &Path) -> io::Result<Record> {
        let file = File::open(folder.join(FILE))?;
        if file.metadata()?.len() > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
        serde_json::from_reader(io::BufReader::new(file)).map_err(io::Error::from)
    }

    /// Writes the record into its job's folder, whole or not at all, and so that it survives a power cut.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let (path, staged) = (folder.join(FILE), folder.join("job.json.new"));
        let mut file = File::create(&staged)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&staged, &path)?;
        sync_parent(&path)
    }
}

/// How far a job is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProgressAnswer {
    /// `reading`, `merging`, `committing`, `indexing` (the new records become searchable) or `done`.
    pub phase: String,
    /// Rows read so far.
    pub rows: u64,
    /// Rows read in a second, on average.
    pub rows_per_s: f64,
    /// Bytes read of the files.
    pub bytes_read: u64,
    /// Bytes of the files.
    pub bytes_total: u64,
    /// Share of the bytes that is read, 0 to 1.
    pub share: f64,
    /// Rows refused so far.
    pub refused: u64,
    /// Findings so far that only flag.
    pub flagged: u64,
    /// Seconds since the start.
    pub elapsed_s: f64,
    /// Seconds until all is read, if it goes on as it did; absent where that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_s: Option<f64>,
}

impl ProgressAnswer {
    pub(crate) fn of(progress: Progress, indexing: bool) -> ProgressAnswer {
        let elapsed_s = progress.elapsed.as_secs_f64();
        let share = match progress.bytes_total {
            0 => 0.0,
            total => (progress.bytes_read as f64 / total as f64).min(1.0),
        };
        let remaining = elapsed_s * (1.0 - share) / share;
        ProgressAnswer {
            phase: if indexing { "indexing" } else { progress.phase }.to_owned(),
            rows: progress.rows,
            rows_per_s: if elapsed_s > 0.0 { progress.rows as f64 / elapsed_s } else { 0.0 },
            bytes_read: progress.bytes_read,
            bytes_total: progress.bytes_total,
            share,
            refused: progress.refused,
            flagged: progress.flagged,
            elapsed_s,
            remaining_s: (progress.phase == "reading" && remaining.is_finite()).then_some(remaining),
        }
    }
}

/// Where the parts of a job are.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Links {
    /// The job.
    #[serde(rename = "self")]
    pub this: String,
    /// Its progress as server-sent events.
    pub events: String,
    /// Its findings as JSON Lines, once it has ended.
    pub report: String,
    /// The files of its refused rows, once it has ended.
    pub refused: String,
}

/// A job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobDocument {
    /// Its id.
    pub id: String,
    /// What it is at.
    pub state: State,
    /// Whether it was asked to end, and has not yet.
    pub cancelling: bool,
    /// Number of jobs that are run before it, where it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<usize>,
    /// The dataset that its records go into; absent until it is read from the mapping, where the request did not name it.
    pub dataset: Option<String>,
    /// The evidence of values where neither file nor mapping says it.
    #[schema(value_type = Option<String>)]
    pub evidence: Option<Evidence>,
    /// Whether it writes nothing.
    pub dry_run: bool,
    /// Its files.
    pub files: Vec<FileGiven>,
    /// When it was taken, milliseconds since 1970.
    pub created_ms: i64,
    /// When it was begun.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// How far it is, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressAnswer>,
    /// Its rows, once it is done.
    pub rows: Option<Rows>,
    /// The records that it changed, once it is done; absent in a dry run.
    pub records: Option<Records>,
    /// Its findings by code, with the first of each as examples, once it is done.
    pub findings: Vec<Findings>,
    /// Version of the table that has its records, once it is done.
    pub version: Option<u64>,
    /// Whether it made a commit; not where nothing changed, or where an earlier run of it had made the commit.
    pub committed: bool,
    /// Why it failed.
    pub problem: Option<Problem>,
    /// What else is to be said of it, such as what the columns were taken for where no mapping said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where its parts are.
    pub links: Links,
}

fn notes(first: Option<&str>, second: Option<&str>) -> Option<String> {
    let all: Vec<&str> = first.into_iter().chain(second).collect();
    (!all.is_empty()).then(|| all.join(". "))
}

impl From<&Record> for JobDocument {
    fn from(record: &Record) -> JobDocument {
        let this = format!("/v1/jobs/{}", record.id);
        let done = record.done.as_ref();
        JobDocument {
            id: record.id.clone(),
            state: record.state,
            cancelling: false,
            ahead: None,
            dataset: done.map(|done| done.dataset.clone()).or_else(|| record.dataset.clone()),
            evidence: record.evidence,
            dry_run: record.dry_run,
            files: record.files.clone(),
            created_ms: record.created_ms,
            started_ms: record.started_ms,
            ended_ms: record.ended_ms,
            progress: None,
            rows: done.map(|done| done.rows),
            records: done.and_then(|done| done.records),
            findings: done.map(|done| done.findings.clone()).unwrap_or_default(),
            version: done.and_then(|done| done.version),
            committed: done.is_some_and(|done| done.committed),
            problem: record.problem.clone(),
            note: notes(done.and_then(|done| done.note.as_deref()), record.note.as_deref()),
            links: Links {
                events: format!("{this}/events"),
                report: format!("{this}/report"),
                refused: format!("{this}/refused"),
                this,
            },
        }
    }
}
