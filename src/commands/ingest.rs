//! `matgenome ingest`: files in, one commit out.

use std::path::Path;
use std::time::{Duration, Instant};

use datasets::bundled;
use datasets::table::Table;
use ingest::job::{self, Done, Input, JobError, Phase, Request, Watch};
use ingest::mapping::{Given, Mapping};
use ingest::propose::Proposal;
use ingest::report::{Report, Severity};
use serde_json::{Value, json};

use crate::arguments::{Common, Ingest};
use crate::open::{self, Bar};
use crate::output::{Failure, print, print_json, table, thousands, write_file};

/// Exit code: done, and some rows were refused.
const REFUSED: u8 = 3;
/// Findings of each code that are shown as JSON.
const EXAMPLES: usize = 3;

impl From<JobError> for Failure {
    fn from(e: JobError) -> Failure {
        let code = match e {
            JobError::Cancelled => 130,
            // another file is to be given
            JobError::FileNotGiven(_) => 2,
            _ => 1,
        };
        Failure { code, ..Failure::new(e) }
    }
}

/// Reads, checks and commits; prints what happened.
pub async fn run(common: &Common, arguments: &Ingest) -> Result<u8, Failure> {
    let data_dir = open::data_dir(common)?;
    let files: Vec<Input> = arguments.files.iter().map(|path| Input::from(path.as_path())).collect();
    let given = match &arguments.mapping {
        Some(path) => Given::load(path, arguments.dataset.as_deref()).map_err(Failure::usage)?,
        None => Given::Beginning(Box::default()),
    };
    let mapping = match given {
        Given::Whole(_) if arguments.write_mapping.is_some() => {
            return Err(Failure::usage(
                "the mapping says all already: --write-mapping proposes one where none is given",
            ));
        }
        Given::Whole(_) if arguments.evidence.is_some() => {
            return Err(Failure::usage(
                "--evidence is for files without a whole mapping: say evidence in its [defaults]",
            ));
        }
        Given::Whole(mapping) => Some(*mapping),
        Given::Beginning(start) => {
            let proposal = job::propose(&files, &start, arguments.evidence)?;
            match (proposal, &arguments.write_mapping) {
                (None, Some(_)) => {
                    return Err(Failure::usage("exports of a hub need no mapping: ingest them as they are"));
                }
                (None, None) => None,
                (Some(proposal), Some(path)) => {
                    write_proposal(&proposal, path, arguments.dataset.as_deref())?;
                    return Ok(0);
                }
                (Some(proposal), None) => Some(use_proposal(proposal, arguments)?),
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
    let code = if done.report.rows_refused > 0 { REFUSED } else { 0 };
    if arguments.json {
        print_json(&document(&done, arguments.dry_run))?;
        return Ok(code);
    }
    show(&done.report)?;
    if let Some(line) = job::not_used(&done.not_used) {
        print(line)?;
    }
    for file in &done.refused {
        print(format!("refused rows are in {}: mend them, and ingest that file", file.display()))?;
    }
    let names = done.datasets.join(", ");
    match &done.outcome {
        _ if done.report.rows_read == 0 && done.report.rows_left_out > 0 => {
            print("`when` in [record] leaves all rows out: nothing to put in; nothing was changed")?
        }
        _ if done.report.rows_read == 0 => print("the files have no rows: nothing to put in; nothing was changed")?,
        _ if done.records == 0 => print("nothing to put in; nothing was changed")?,
        Some(outcome) if !outcome.committed && arguments.idempotency_key.is_some() => print(format!(
            "{names}: a job with the key `{}` was committed before, so nothing was done, and the records of these files are \
             not looked at; files of another content need a key of their own (still version {})",
            arguments.idempotency_key.as_deref().unwrap_or_default(),
            outcome.version
        ))?,
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
    Ok(code)
}

/// What became of a job, in the words of the web API.
fn document(done: &Done, dry_run: bool) -> Value {
    let outcome = done.outcome.as_ref();
    let report = &done.report;
    let findings: Vec<Value> = report
        .by_code()
        .map(|(code, severity, count)| {
            let same = report.findings.iter().filter(|f| (f.code, f.severity) == (code, severity));
            json!({"code": code, "severity": severity, "count": count, "examples": same.take(EXAMPLES).collect::<Vec<_>>()})
        })
        .collect();
    json!({
        "dataset": done.datasets.join(", "),
        "dry_run": dry_run,
        "rows": {
            "read": report.rows_read,
            "accepted": report.rows_accepted,
            "refused": report.rows_refused,
            "unchanged": report.rows_unchanged,
            "left_out": report.rows_left_out,
        },
        "records": outcome.map(|outcome| json!({
            "inserted": outcome.change.inserted,
            "updated": outcome.change.updated,
            "unchanged": outcome.change.unchanged,
        })),
        "findings": findings,
        "refused": done.refused,
        "not_used": done.not_used,
        "version": outcome.map(|outcome| outcome.version),
        "committed": outcome.is_some_and(|outcome| outcome.committed),
    })
}

/// Writes the proposed mapping down, and never over another file.
fn write_proposal(proposal: &Proposal, path: &Path, dataset: Option<&str>) -> Result<(), Failure> {
    if path.is_file() {
        return Err(Failure::usage(format!(
            "{} is there already: name another file for the proposed mapping, or remove it",
            path.display()
        )));
    }
    show_proposal(proposal)?;
    let text = proposal.to_toml(dataset).map_err(Failure::new)?;
    write_file(path, text.as_bytes())?;
    print(format!("wrote {}: look at it, mend it, and ingest with --mapping", path.display()))
}

/// The proposed mapping, with what was supposed: in a dry run the whole of it, else what is to be looked at.
fn use_proposal(proposal: Proposal, arguments: &Ingest) -> Result<Mapping, Failure> {
    let shown = arguments.dry_run && !arguments.json;
    if shown {
        show_proposal(&proposal)?;
    }
    let things = proposal.to_state.len();
    let (summary, to_check) = (proposal.summary(), proposal.to_check.clone());
    let mapping = proposal.into_mapping(arguments.dataset.as_deref()).map_err(|why| match (shown, things) {
        // said above
        (true, 1..) => Failure::usage(
            "the proposed mapping cannot be used before that is stated: write it with --write-mapping MAP.toml, mend it, and \
             ingest with --mapping MAP.toml",
        ),
        _ => Failure::usage(format!("{why}. A mapping to start from is written by --write-mapping MAP.toml")),
    })?;
    if arguments.json {
        return Ok(mapping);
    }
    if !shown {
        print(format!("no mapping says which column is what; taken were {summary}"))?;
        for line in &to_check {
            print(format!("to be checked: {line}"))?;
        }
    }
    Ok(mapping)
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
    for line in &proposal.to_check {
        print(format!("to be checked: {line}"))?;
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

/// Ctrl-C, or a scheduler's SIGTERM, ends the job with nothing half done.
async fn stop_at_interrupt(watch: Watch) {
    if told_to_end().await.is_ok() {
        watch.cancel();
    }
}

#[cfg(unix)]
async fn told_to_end() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn told_to_end() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
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
    if report.rows_left_out > 0 {
        print(format!("{} more rows are left out by `when` in [record]", thousands(report.rows_left_out)))?;
    }
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
