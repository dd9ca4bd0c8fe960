//! `matgenome ingest`: files in, one commit out.

use std::fs::File;
use std::io::BufWriter;
use std::time::Instant;

use datasets::bundled;
use datasets::table::Table;
use ingest::job;
use ingest::mapping::Mapping;
use ingest::report::{Report, Severity};

use crate::arguments::{Common, Ingest};
use crate::open::{self, Bar};
use crate::output::{Failure, print, thousands};

/// Exit code: done, and some rows were refused.
const REFUSED: u8 = 3;

/// Reads, checks and commits; prints what happened.
pub async fn run(common: &Common, arguments: &Ingest) -> Result<u8, Failure> {
    let data_dir = open::data_dir(common)?;
    let mapping = Mapping::load(&arguments.mapping, arguments.dataset.as_deref()).map_err(Failure::usage)?;
    let start = Instant::now();
    let bar = Bar::new();
    let accepted = job::read_files(&arguments.files, &mapping, &mut |progress| {
        bar.count(progress.rows, 0, "rows read");
    });
    bar.clear();
    let accepted = accepted.map_err(Failure::new)?;
    let report = &accepted.report;
    if let Some(path) = &arguments.report {
        let file = File::create(path).map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))?;
        report
            .write_json_lines(BufWriter::new(file))
            .map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))?;
    }
    show(report)?;
    let records = accepted.records.len();
    if records == 0 {
        print(format!("{}: nothing to put in; nothing was changed", mapping.dataset.name))?;
    } else if arguments.dry_run {
        print(format!("dry run: {} records would go into `{}`", thousands(records as u64), mapping.dataset.name))?;
    } else {
        let mut hub = Table::open_or_create(&data_dir).await?;
        if !common.no_bundled && bundled::is_wanted(&hub).await? {
            bundled::load(&mut hub).await?;
        }
        let key = arguments.idempotency_key.as_deref();
        let done = job::commit(&mut hub, &mapping, accepted.records, key).await.map_err(Failure::new)?;
        let change = done.change;
        print(format!(
            "{}: {} records new, {} updated, {} unchanged; {} version {} ({:.1} s)",
            mapping.dataset.name,
            thousands(change.inserted),
            thousands(change.updated),
            thousands(change.unchanged),
            if done.committed { "committed as" } else { "nothing to commit, still" },
            done.version,
            start.elapsed().as_secs_f64()
        ))?;
    }
    Ok(if report.rows_refused > 0 { REFUSED } else { 0 })
}

fn show(report: &Report) -> Result<(), Failure> {
    print(format!(
        "{} rows read = {} accepted + {} refused + {} unchanged; {} values flagged",
        thousands(report.rows_read),
        thousands(report.rows_accepted),
        thousands(report.rows_refused),
        thousands(report.rows_unchanged),
        thousands(report.count(Severity::Flagged) as u64),
    ))?;
    if report.findings.is_empty() {
        return Ok(());
    }
    for (code, severity, count) in report.by_code() {
        let Some(first) = report.findings.iter().find(|f| (f.code, f.severity) == (code, severity)) else { continue };
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        print(format!(
            "{} {} {}, first at {}:{}: {}; {}",
            thousands(count as u64),
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
