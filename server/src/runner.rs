//! Runs the jobs of the server by `ingest`, into the tables of its hub.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasets::table::{Table, TableError};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use index::hub::Hub;
use ingest::job::{self, JobError, Phase, Request};
use ingest::mapping::{Given, Mapping};
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
        let (data_dir, watch) = (self.data_dir.clone(), job::Watch::default());
        let running = watch.clone();
        Run { watch: Arc::new(JobWatch(watch)), work: Box::new(move || run(&data_dir, &work, &running)) }
    }

    fn publish(&self) -> BoxFuture<'_, Result<u64, String>> {
        async {
            self.hub.refresh().await.map_err(|why| why.to_string())?;
            Ok(self.hub.snapshot().version)
        }
        .boxed()
    }
}

struct JobWatch(job::Watch);

impl Watch for JobWatch {
    fn cancel(&self) {
        self.0.cancel();
    }

    fn progress(&self) -> Progress {
        let now = self.0.progress();
        Progress {
            phase: match now.phase {
                Phase::Waiting | Phase::Reading => "reading",
                Phase::Merging => "merging",
                Phase::Committing => "committing",
                Phase::Done => "done",
            },
            rows: now.rows,
            bytes_read: now.bytes_read,
            bytes_total: now.bytes_total,
            refused: now.refused,
            flagged: now.flagged,
            elapsed: now.elapsed,
        }
    }
}

/// The mapping that came with the job, or the beginning of one.
fn parse(mapping: Option<&str>, dataset: Option<&str>) -> Result<Given, String> {
    match mapping {
        Some(text) => Given::parse(text, dataset, "of the request").map_err(|why| why.to_string()),
        None => Ok(Given::Beginning(Box::default())),
    }
}

/// The mapping that came with the job, or else the one that headers and first rows propose, and what was supposed then.
fn mapping(work: &Work, files: &[job::Input]) -> Result<(Option<Mapping>, Option<String>), Failure> {
    let dataset = work.dataset.as_deref();
    let start = match parse(work.mapping.as_deref(), dataset).map_err(Failure::Refused)? {
        Given::Whole(mapping) => return Ok((Some(*mapping), None)),
        Given::Beginning(start) => start,
    };
    let proposal = job::propose(files, &start, work.evidence).map_err(job_failure)?;
    let Some(proposal) = proposal else { return Ok((None, None)) };
    let mut said = vec![format!("no mapping says which column is what; taken were {}", proposal.summary())];
    said.extend(proposal.to_check.iter().map(|line| format!("to be checked: {line}")));
    let mapping = proposal.into_mapping(dataset).map_err(|why| {
        Failure::Refused(format!("{why}. Send a mapping with the files, as the part `mapping` of a form"))
    })?;
    Ok((Some(mapping), Some(said.join(". "))))
}

fn run(data_dir: &Path, work: &Work, watch: &job::Watch) -> Result<Done, Failure> {
    let files: Vec<job::Input> =
        work.files.iter().map(|f| job::Input { path: f.path.clone(), shown: f.shown.clone() }).collect();
    let (mapping, note) = mapping(work, &files)?;
    let request = Request {
        mapping,
        files,
        dataset: work.dataset.clone(),
        key: Some(work.key.clone()),
        report: Some(work.report.clone()),
        refused: Some(work.refused.clone()),
    };
    let runtime = tokio::runtime::Handle::current();
    let mut table = runtime.block_on(Table::open_or_create(data_dir)).map_err(|why| job_failure(why.into()))?;
    let ran = if work.dry_run {
        runtime.block_on(job::check(Some(&table), &request, &table.scratch(), watch))
    } else {
        runtime.block_on(job::run(&mut table, &request, watch))
    };
    let ran = ran.map_err(job_failure)?;
    let mut done = done(&ran.datasets.join(", "), &ran.report);
    let said: Vec<String> = note.into_iter().chain(job::not_used(&ran.not_used)).collect();
    done.note = (!said.is_empty()).then(|| said.join(". "));
    if let Some(outcome) = ran.outcome {
        let change = outcome.change;
        done.records =
            Some(Records { inserted: change.inserted, updated: change.updated, unchanged: change.unchanged });
        (done.version, done.committed) = (Some(outcome.version), outcome.committed);
    }
    Ok(done)
}

fn done(dataset: &str, report: &Report) -> Done {
    let findings = report.by_code().map(|(code, severity, count)| {
        let same = report.findings.iter().filter(|f| (f.code, f.severity) == (code, severity));
        Findings {
            code: word(&code),
            severity: word(&severity),
            count,
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
            left_out: report.rows_left_out,
        },
        findings: findings.collect(),
        ..Done::default()
    }
}

/// The word by which a code or a severity is written.
fn word(what: &impl serde::Serialize) -> String {
    serde_json::to_value(what).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn full(why: &dyn std::fmt::Display) -> String {
    format!("the disk of the data directory takes no more ({why}); nothing was changed: free space, and send it again")
}

fn job_failure(why: JobError) -> Failure {
    match why {
        JobError::Cancelled => Failure::Cancelled,
        JobError::Write { path, why } if matches!(why.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            Failure::DiskFull(full(&format!("{}: {why}", path.display())))
        }
        why @ (JobError::Write { .. } | JobError::Sort(_) | JobError::Broken(_)) => Failure::Internal(why.to_string()),
        JobError::Table(why @ (TableError::Dataset(_) | TableError::Contended(_))) => Failure::Refused(why.to_string()),
        JobError::Table(TableError::NoSpace { why, .. }) => Failure::DiskFull(full(&why)),
        JobError::Table(why) => Failure::Internal(why.to_string()),
        why => Failure::Refused(why.to_string()),
    }
}
