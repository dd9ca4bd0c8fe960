//! Runs the jobs of the server by `ingest`, into the tables of its hub.

use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use datasets::table::{Table, TableError};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use index::hub::Hub;
use ingest::job::{self, JobError};
use ingest::mapping::Mapping;
use ingest::report::Report;

use crate::jobs::runner::{Done, Failure, Findings, Progress, Records, Rows, Run, Runner, Watch, Work};

/// Findings of each code that a job shows as examples.
const EXAMPLES: usize = 3;

/// Runs jobs into the tables of a hub.
pub struct HubRunner {
    data_dir: PathBuf,
    hub: Arc<Hub>,
}

impl HubRunner {
    /// A runner for the hub of a data directory.
    pub fn new(data_dir: &Path, hub: Arc<Hub>) -> HubRunner {
        HubRunner { data_dir: data_dir.to_owned(), hub }
    }
}

impl Runner for HubRunner {
    fn check(&self, mapping: Option<&str>, dataset: Option<&str>) -> Result<(), String> {
        parse(mapping, dataset).map(drop)
    }

    fn prepare(&self, work: Work) -> Run {
        let watch = Arc::new(JobWatch::new(&work));
        let (data_dir, running) = (self.data_dir.clone(), Arc::clone(&watch));
        Run { watch, work: Box::new(move || run(&data_dir, &work, &running)) }
    }

    fn publish(&self) -> BoxFuture<'_, Result<u64, String>> {
        async {
            self.hub.refresh().await.map_err(|why| why.to_string())?;
            Ok(self.hub.snapshot().version)
        }
        .boxed()
    }
}

struct JobWatch {
    start: Instant,
    phase: AtomicU64,
    rows: AtomicU64,
    bytes: u64,
    cancelled: AtomicBool,
}

const PHASES: [&str; 3] = ["reading", "committing", "done"];

impl JobWatch {
    fn new(work: &Work) -> JobWatch {
        let length = |path: &Path| path.metadata().map_or(0, |about| about.len());
        JobWatch {
            start: Instant::now(),
            phase: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            bytes: work.files.iter().map(|file| length(&file.path)).sum(),
            cancelled: AtomicBool::new(false),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Failure::Cancelled) } else { Ok(()) }
    }
}

impl Watch for JobWatch {
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn progress(&self) -> Progress {
        let phase = self.phase.load(Ordering::Relaxed);
        Progress {
            phase: usize::try_from(phase).ok().and_then(|phase| PHASES.get(phase)).copied().unwrap_or("done"),
            rows: self.rows.load(Ordering::Relaxed),
            bytes_read: if phase == 0 { 0 } else { self.bytes },
            bytes_total: self.bytes,
            refused: 0,
            flagged: 0,
            elapsed: self.start.elapsed(),
        }
    }
}

fn parse(mapping: Option<&str>, dataset: Option<&str>) -> Result<Mapping, String> {
    let text = mapping.ok_or("send a mapping too, as the part `mapping` of a form: it says which column is what")?;
    Mapping::parse(text, dataset, "mapping").map_err(|why| why.to_string())
}

fn run(data_dir: &Path, work: &Work, watch: &JobWatch) -> Result<Done, Failure> {
    watch.check()?;
    let mapping = parse(work.mapping.as_deref(), work.dataset.as_deref()).map_err(Failure::Refused)?;
    let files: Vec<PathBuf> = work.files.iter().map(|file| file.path.clone()).collect();
    let accepted = job::read_files(&files, &mapping, &mut |progress| {
        watch.rows.store(progress.rows, Ordering::Relaxed);
    });
    let mut accepted = accepted.map_err(job_failure)?;
    for finding in &mut accepted.report.findings {
        if let Some(file) = work.files.iter().find(|file| finding.file == file.path.display().to_string()) {
            finding.file.clone_from(&file.shown);
        }
    }
    let file = File::create(&work.report).map_err(|why| io_failure(&why))?;
    accepted.report.write_json_lines(BufWriter::new(file)).map_err(|why| io_failure(&why))?;
    let mut done = done(&mapping.dataset.name, &accepted.report);
    watch.check()?;
    watch.phase.store(1, Ordering::Relaxed);
    if !work.dry_run && !accepted.records.is_empty() {
        let committed = tokio::runtime::Handle::current().block_on(async {
            let mut table = Table::open_or_create(data_dir).await?;
            job::commit(&mut table, &mapping, accepted.records, Some(&work.key)).await
        });
        let outcome = committed.map_err(job_failure)?;
        let change = outcome.change;
        done.records =
            Some(Records { inserted: change.inserted, updated: change.updated, unchanged: change.unchanged });
        (done.version, done.committed) = (Some(outcome.version), outcome.committed);
    }
    watch.phase.store(2, Ordering::Relaxed);
    Ok(done)
}

fn done(dataset: &str, report: &Report) -> Done {
    let findings = report.by_code().into_iter().map(|(code, severity, count)| {
        let same = report.findings.iter().filter(|f| (f.code, f.severity) == (code, severity));
        Findings {
            code: word(&code),
            severity: word(&severity),
            count: count as u64,
            examples: same.take(EXAMPLES).filter_map(|finding| serde_json::to_value(finding).ok()).collect(),
        }
    });
    Done {
        dataset: dataset.to_owned(),
        rows: Rows {
            read: report.rows_read,
            accepted: report.rows_accepted,
            refused: report.rows_refused,
            unchanged: report.rows_unchanged,
        },
        findings: findings.collect(),
        ..Done::default()
    }
}

/// The word by which a code or a severity is written.
fn word(what: &impl serde::Serialize) -> String {
    serde_json::to_value(what).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn io_failure(why: &std::io::Error) -> Failure {
    match why.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Failure::DiskFull(full(why)),
        _ => Failure::Internal(why.to_string()),
    }
}

fn full(why: &dyn std::fmt::Display) -> String {
    format!("the disk of the data directory takes no more ({why}); nothing was changed: free space, and send it again")
}

fn job_failure(why: JobError) -> Failure {
    match why {
        JobError::Table(why @ (TableError::Dataset(_) | TableError::Contended(_))) => Failure::Refused(why.to_string()),
        JobError::Table(why) if disk_is_full(&why) => Failure::DiskFull(full(&why)),
        JobError::Table(why) => Failure::Internal(why.to_string()),
        why => Failure::Refused(why.to_string()),
    }
}

/// Whether an error, or what caused it, is a full disk.
fn disk_is_full(why: &TableError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(why);
    // the depth of causes is small; the bound is for a circle
    for _ in 0..32 {
        let Some(error) = cause else { return false };
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
