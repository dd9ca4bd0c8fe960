//! What does the server ask of ingest? The one place where the two meet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datasets::record::Evidence;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A file of a job.
#[derive(Debug, Clone)]
pub struct Input {
    /// Where it lies.
    pub path: PathBuf,
    /// How it is named in findings.
    pub shown: String,
}

/// A job to run.
#[derive(Debug, Clone)]
pub struct Work {
    /// The files.
    pub files: Vec<Input>,
    /// A mapping file's text.
    pub mapping: Option<String>,
    /// The dataset, where the request names it.
    pub dataset: Option<String>,
    /// The evidence of values where neither file nor mapping says it.
    pub evidence: Option<Evidence>,
    /// The commit carries this key: a second run of the job changes nothing.
    pub key: String,
    /// Read and check, and write nothing.
    pub dry_run: bool,
    /// Where the findings go, as JSON Lines.
    pub report: PathBuf,
    /// The folder for files of refused rows; made by the job if it has any.
    pub refused: PathBuf,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// `reading`, `merging`, `committing` or `done`.
    pub phase: &'static str,
    /// Rows read.
    pub rows: u64,
    /// Bytes read of the files.
    pub bytes_read: u64,
    /// Bytes of the files.
    pub bytes_total: u64,
    /// Rows refused.
    pub refused: u64,
    /// Findings that only flag.
    pub flagged: u64,
    /// Time since the start.
    pub elapsed: Duration,
}

/// The rows of a job; `read == accepted + refused + unchanged`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rows {
    /// Rows read.
    pub read: u64,
    /// Rows that are in a record.
    pub accepted: u64,
    /// Rows that are not.
    pub refused: u64,
    /// Rows that said nothing new.
    pub unchanged: u64,
    /// Rows that `when` in `[record]` leaves out; they are not among those read.
    #[serde(default)]
    pub left_out: u64,
}

/// The records that a job changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Records {
    /// Records that were not there before.
    pub inserted: u64,
    /// Records that replaced a different one of the same id.
    pub updated: u64,
    /// Records that are there already, the same in every value.
    pub unchanged: u64,
}

/// The findings of one code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Findings {
    /// The code.
    pub code: String,
    /// `refused` or `flagged`.
    pub severity: String,
    /// How many.
    pub count: u64,
    /// The first of them.
    #[schema(value_type = Vec<Object>)]
    pub examples: Vec<serde_json::Value>,
}

/// What a job did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The dataset that the records went into.
    pub dataset: String,
    /// The rows.
    pub rows: Rows,
    /// Findings, by code.
    pub findings: Vec<Findings>,
    /// The records; none where nothing was to be written (a dry run, no records).
    pub records: Option<Records>,
    /// The table's version afterwards, where it was written to.
    pub version: Option<u64>,
    /// Whether this run made the commit: not where nothing changed, or an earlier run of the job had made it.
    pub committed: bool,
    /// What was supposed of the files, where no mapping said it.
    #[serde(default)]
    pub note: Option<String>,
}

/// Why a job did not do it. The table is as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It was cancelled.
    Cancelled,
    /// The files, the mapping or the dataset are to blame: what, where and the mend.
    Refused(String),
    /// No space is left.
    DiskFull(String),
    /// The hub is to blame.
    Internal(String),
}

/// A running job, from outside.
pub trait Watch: Send + Sync {
    /// Asks it to end soon, with nothing changed; a commit that is under way may still be made.
    fn cancel(&self);
    /// How far it is.
    fn progress(&self) -> Progress;
}

/// A job that may begin.
pub struct Run {
    /// How far it is.
    pub watch: Arc<dyn Watch>,
    /// The job itself; runs on a thread of its own.
    pub work: Box<dyn FnOnce() -> Result<Done, Failure> + Send>,
}

/// Runs jobs.
pub trait Runner: Send + Sync + 'static {
    /// Why a mapping cannot be used, if so; asked before the job is taken.
    ///
    /// # Errors
    /// What is wrong, where, and the mend.
    fn check(&self, mapping: Option<&str>, dataset: Option<&str>) -> Result<(), String>;

    /// Makes a job ready to run.
    fn prepare(&self, work: Work) -> Run;

    /// Makes what was committed searchable; the version that is served from then on.
    fn publish(&self) -> BoxFuture<'_, Result<u64, String>>;
}
