//! One job in a few lines: files by name, a mapping, and what comes out.

use std::path::PathBuf;

use datasets::columns::RecordColumns;
use datasets::record::{Measurement, Record};
use datasets::table::SortedRecords as _;
use ingest::job::{self, Input, JobError, Request, Watch};
use ingest::mapping::Mapping;
use ingest::report::{Code, Finding, Report, Severity};

/// A mapping of `formula` and one value column `gap` in eV; more tables may follow.
pub const GAP: &str = r#"
[material]
formula = "formula"
[defaults]
evidence = "measured"
[[value]]
column = "gap"
property = "band_gap"
"#;

pub fn mapping(text: &str) -> Mapping {
    Mapping::parse(text, Some("lab"), "map.toml").unwrap_or_else(|e| panic!("{e}"))
}

/// What a job accepted, its records in id order.
#[derive(Debug)]
pub struct Accepted {
    pub records: Vec<Record>,
    pub report: Report,
}

/// Reads files by a mapping, as a job does before its commit.
pub fn read_paths(paths: &[PathBuf], mapping: &Mapping) -> Result<Accepted, JobError> {
    let scratch = tempfile::tempdir().unwrap();
    let report = scratch.path().join("report.jsonl");
    let request = Request {
        files: paths.iter().map(|path| Input::from(path.as_path())).collect(),
        mapping: Some(mapping.clone()),
        dataset: None,
        key: None,
        report: Some(report.clone()),
        refused: None,
    };
    let accepted = job::read(&request, scratch.path(), &Watch::default())?;
    let mut records = Vec::new();
    for (_, pieces) in &accepted.sets {
        for piece in 0..pieces.ranges().len() {
            let columns = RecordColumns::read(&pieces.read(piece).unwrap()).unwrap();
            records.extend((0..columns.len()).map(|row| columns.record(row)));
        }
    }
    assert_eq!(records.len(), accepted.len());
    let lines = std::fs::read_to_string(report).unwrap();
    assert!(lines.lines().count() >= accepted.report.findings.len());
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    Ok(Accepted { records, report: accepted.report })
}

/// Reads files of these names and contents.
pub fn try_read(mapping: &Mapping, files: &[(&str, &[u8])]) -> Result<Accepted, JobError> {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = files
        .iter()
        .map(|(name, bytes)| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        })
        .collect();
    let done = read_paths(&paths, mapping);
    if let Ok(accepted) = &done {
        balanced(accepted);
    }
    done
}

/// The law of every report: each row read is accepted, refused or unchanged, and what is not accepted has a finding.
pub fn balanced(accepted: &Accepted) {
    let report = &accepted.report;
    let sum = report.rows_accepted + report.rows_refused + report.rows_unchanged;
    assert_eq!(report.rows_read, sum, "{report:?}");
    assert!(report.count(Severity::Refused) >= report.rows_refused, "{report:?}");
    assert!(accepted.records.len() as u64 <= report.rows_accepted, "{report:?}");
    let mut ids: Vec<&str> = accepted.records.iter().map(|r| r.id.as_str()).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|w| w[0] != w[1]), "each id once: {ids:?}");
    for record in &accepted.records {
        assert_eq!(record.dataset(), "lab");
        assert!(record.measurements.iter().all(|m| m.value.is_finite()), "{record:?}");
    }
    for finding in &report.findings {
        assert!(!finding.explanation.is_empty() && !finding.mend.is_empty(), "{finding:?}");
    }
}

pub fn read(mapping: &Mapping, text: &str) -> Accepted {
    try_read(mapping, &[("data.csv", text.as_bytes())]).unwrap_or_else(|e| panic!("{e}"))
}

/// The one record of a job without findings.
pub fn one(mapping: &Mapping, text: &str) -> Record {
    let accepted = read(mapping, text);
    assert!(accepted.report.findings.is_empty(), "{:?}", accepted.report);
    let [record] = accepted.records.try_into().unwrap();
    record
}

/// The one measurement of the one record.
pub fn value(mapping: &Mapping, text: &str) -> Measurement {
    let [measurement] = one(mapping, text).measurements.try_into().unwrap();
    measurement
}

/// Rows accepted, refused, unchanged.
pub fn counts(accepted: &Accepted) -> (u64, u64, u64) {
    let report = &accepted.report;
    (report.rows_accepted, report.rows_refused, report.rows_unchanged)
}

pub fn codes(accepted: &Accepted) -> Vec<Code> {
    accepted.report.findings.iter().map(|f| f.code).collect()
}

/// The only finding.
pub fn finding(accepted: &Accepted) -> &Finding {
    let [finding] = accepted.report.findings.as_slice() else { panic!("{:?}", accepted.report) };
    finding
}
