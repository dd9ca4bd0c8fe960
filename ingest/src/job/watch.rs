//! How far is a job, and is it to stop?

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::JobError;
use crate::read::BytesRead;
use crate::report::{Finding, Severity};

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

    pub(super) fn enter(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
        let mut started = self.0.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.get_or_insert_with(Instant::now);
    }

    /// The files have so many bytes.
    pub(super) fn will_read(&self, bytes: u64) {
        self.0.bytes_total.store(bytes, Ordering::Relaxed);
    }

    /// Counts the bytes that are read.
    pub(super) fn bytes(&self) -> &BytesRead {
        &self.0.bytes
    }

    /// Some more rows were read, and this was found in them.
    pub(super) fn count(&self, rows: u64, refused: u64, findings: &[Finding]) {
        self.0.rows.fetch_add(rows, Ordering::Relaxed);
        self.0.refused.fetch_add(refused, Ordering::Relaxed);
        let flagged = findings.iter().filter(|f| f.severity == Severity::Flagged).count();
        self.0.flagged.fetch_add(flagged as u64, Ordering::Relaxed);
    }

    pub(super) fn go_on(&self) -> Result<(), JobError> {
        if self.is_cancelled() { Err(JobError::Cancelled) } else { Ok(()) }
    }
}
