//! `matgenome ingest`: files in, one commit out.

use std::path::Path;
use std::time::{Duration, Instant};

use datasets::bundled;
use datasets::table::Table;
use ingest::job::{self, Done, Input, JobError, Phase, Request, Watch};
use ingest::mapping::Mapping;
use ingest::propose::Proposal;
use ingest::read::ReadOptions;
use ingest::report::{Report, Severity};

use crate::arguments::{Common, Ingest};
use crate::open::{self, Bar};
use crate::output::{Failure, print, table, thousands, write_file};

/// Exit code: done, and some rows were refused.
const REFUSED: u8 = 3;

impl From<JobError> for Failure {
    fn from(e: JobError) -> Failure {
        let code = if matches!(e, JobError::Cancelled) { 130 } else { 1 };
        Failure { code, ..Failure::new(e) }
    }
}

/// Reads, checks and commits; prints what happened.
pub async fn run(common: &Common, arguments: &Ingest) -> Result<u8, Failure> {
    let data_dir = open::data_dir(common)?;
    let files: Vec<Input> = arguments.files.iter().map(|path| Input::from(path.as_path())).collect();
    let mapping = match &arguments.mapping {
        Some(path) => Some(Mapping::load(path, arguments.dataset.as_deref()).map_err(Failure::usage)?),
        None => {
            let proposal = job::propose(&files, &ReadOptions::default(), arguments.evidence)?;
            match (proposal, &arguments.write_mapping) {
                (None, Some(_)) => {
                    return Err(Failure::usage("exports of a hub need no mapping: ingest them as they are"));
                }
                (None, None) => None,
                (Some(proposal), Some(path)) => {
                    show_proposal(&proposal)?;
                    let text = proposal.file.to_toml().map_err(Failure::new)?;
                    write_file(path, text.as_bytes())?;
                    print(format!("wrote {}: look at it, mend it, and ingest with --mapping", path.display()))?;
                    return Ok(0);
                }
                (Some(proposal), None) => {
                    if arguments.dry_run {
                        show_proposal(&proposal)?;
                    }
                    Some(proposal.into_mapping(arguments.dataset.as_deref()).map_err(Failure::usage)?)
                }
            }
        }
    };
    let start = Instant::now();
    let request = Request {
        files,
        mapping,
        dataset: arguments.dataset.clone(),
        key: arguments.idempotency_key.clone(),
        report: arguments.report.clone(),
        refused: arguments.refused.clone(),
    };
    let watch = Watch::default();
    let showing = tokio::spawn(show_progress(watch.clone()));
    let stopping = tokio::spawn(stop_at_interrupt(watch.clone()));
    let done = work(common, &data_dir, arguments.dry_run, request, watch).await;
    showing.abort();
    stopping.abort();
    let done = done?;
    show(&done.report)?;
    for file in &done.refused {
        print(format!("refused rows are in {}: mend them, and ingest that file", file.display()))?;
    }
    let names = done.datasets.join(", ");
    match &done.outcome {
        _ if done.records == 0 => print("nothing to put in; nothing was changed")?,
        None => print(format!("dry run: {} records would go into `{names}`", thousands(done.records as u64)))?,
        Some(outcome) => print(format!(
            "{names}: {} records new, {} updated, {} unchanged; {} version {} ({:.1} s)",
            thousands(outcome.change.inserted),
            thousands(outcome.change.updated),
            thousands(outcome.change.unchanged),
            if outcome.committed { "committed as" } else { "nothing to commit, still" },
            outcome.version,
            start.elapsed().as_secs_f64()
        ))?,
    }
    Ok(if done.report.rows_refused > 0 { REFUSED } else { 0 })
}

/// Shows what each column was taken for.
fn show_proposal(proposal: &Proposal) -> Result<(), Failure> {
    let mut shown = table(["column", "taken for", "property", "unit", "why", "samples"]);
    for column in &proposal.columns {
        let role = serde_json::json!(column.role).as_str().unwrap_or_default().replace('_', " ");
        shown.add_row([
            column.column.clone(),
            role,
            column.property.clone().unwrap_or_default(),
            column.unit.clone().unwrap_or_default(),
            column.why.clone(),
            column.samples.join(" | "),
        ]);
    }
    print(shown)?;
    for missing in &proposal.to_state {
        print(format!("to be stated: {missing}"))?;
    }
    Ok(())
}

async fn work(
    common: &Common,
    data_dir: &Path,
    dry_run: bool,
    request: Request,
    watch: Watch,
) -> Result<Done, Failure> {
    if dry_run {
        let table = Table::open(data_dir).await?;
        return Ok(job::check(table.as_ref(), &request, &std::env::temp_dir(), &watch).await?);
    }
    let mut table = Table::open_or_create(data_dir).await?;
    if !common.no_bundled && bundled::is_wanted(&table).await? {
        bundled::load(&mut table).await?;
    }
    Ok(job::run(&mut table, &request, &watch).await?)
}

/// Ctrl-C ends the job with nothing half done.
async fn stop_at_interrupt(watch: Watch) {
    if tokio::signal::ctrl_c().await.is_ok() {
        watch.cancel();
    }
}

/// Shows how far the job is, on a terminal.
async fn show_progress(watch: Watch) {
    let bar = Bar::new();
    loop {
        let progress = watch.progress();
        match progress.phase {
            Phase::Waiting => {}
            Phase::Reading => bar.bytes(progress.bytes_read, progress.bytes_total, progress.rows, progress.elapsed),
            Phase::Merging => bar.say("sorting and joining records"),
            Phase::Committing => bar.say("writing and committing"),
            Phase::Done => break bar.clear(),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn show(report: &Report) -> Result<(), Failure> {
    print(format!(
        "{} rows read = {} accepted + {} refused + {} unchanged; {} values flagged",
        thousands(report.rows_read),
        thousands(report.rows_accepted),
        thousands(report.rows_refused),
        thousands(report.rows_unchanged),
        thousands(report.count(Severity::Flagged)),
    ))?;
    for (code, severity, count) in report.by_code() {
        let Some(first) = report.findings.iter().find(|f| (f.code, f.severity) == (code, severity)) else { continue };
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        print(format!(
            "{} {} {}, first at {}:{}: {}; {}",
            thousands(count),
            word(serde_json::json!(severity)),
            word(serde_json::json!(code)),
            first.file,
            first.row,
            first.explanation,
            first.mend
        ))?;
    }
    Ok(())
}
