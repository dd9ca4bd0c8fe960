//! Files in, one commit out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use datasets::record::{Evidence, Record};
use datasets::table::{Outcome, Table, TableError};

use crate::check::Place;
use crate::mapping::Mapping;
use crate::read::{self, BadRow, BytesRead, ReadError, Row};
use crate::report::{Code, Finding, Report, Severity};
use crate::rows::{Layout, Words};

/// Why a job did not run.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A file cannot be read, or lacks a column; nothing was written.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A `file` of the mapping is not among the files of the job.
    #[error("the mapping has values in `{0}`, and no file of that name was given")]
    FileNotGiven(String),
    /// The table refused.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The records of some files and what was found in them.
#[derive(Debug)]
pub struct Accepted {
    /// The records, each id once.
    pub records: Vec<Record>,
    /// What was refused or flagged.
    pub report: Report,
}

/// How far a job is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The file that is read.
    pub file: &'a Path,
    /// Rows read so far, over all files.
    pub rows: u64,
}

/// Reads files by a mapping. Nothing is written.
///
/// # Errors
/// A file cannot be opened or lacks a column of the mapping. Trouble with single rows is in the report instead.
pub fn read_files(
    files: &[PathBuf],
    mapping: &Mapping,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Accepted, JobError> {
    let names: Vec<String> =
        files.iter().map(|f| f.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()).collect();
    for wanted in mapping.file.value.iter().filter_map(|v| v.file.as_ref()) {
        if !names.contains(wanted) {
            return Err(JobError::FileNotGiven(wanted.clone()));
        }
    }
    let mut job = Job { mapping, records: Vec::new(), rows_of: HashMap::new(), report: Report::default() };
    let mut words = Words::default();
    for path in files {
        let shown = path.display().to_string();
        for table in read::open(path, &shown, &mapping.file.read, &BytesRead::default())? {
            let mut table = table?;
            let layout = Layout::new(mapping, &table)?;
            let mut row = Row::default();
            while let Some(mut chunk) = table.next_chunk() {
                while let Some(read) = chunk.next_row(&mut row) {
                    job.report.rows_read += 1;
                    if job.report.rows_read.is_multiple_of(8192) {
                        progress(Progress { file: path, rows: job.report.rows_read });
                    }
                    match read {
                        Ok(()) => {
                            let place = Place { file: &table.shown, line: row.line };
                            match layout.record(&row, place, &mut words) {
                                Ok(made) => job.accept(made.record, made.findings, place),
                                Err(findings) => job.refuse(findings),
                            }
                        }
                        Err(BadRow { line, why, .. }) => {
                            let place = Place { file: &table.shown, line };
                            let mend =
                                "give the row as many cells as the header, and quote cells that hold the separator";
                            let code = Code::UnreadableRow;
                            job.refuse(vec![place.finding(Severity::Refused, code, (None, None), why, mend)]);
                        }
                    }
                }
            }
        }
        progress(Progress { file: path, rows: job.report.rows_read });
    }
    Ok(Accepted { records: job.records, report: job.report })
}

/// Commits what was read, in one atomic commit.
///
/// # Errors
/// The table cannot be written; then nothing was changed.
pub async fn commit(
    table: &mut Table,
    mapping: &Mapping,
    records: Vec<Record>,
    key: Option<&str>,
) -> Result<Outcome, JobError> {
    Ok(table.upsert(&mapping.dataset, records, key).await?)
}

struct Job<'a> {
    mapping: &'a Mapping,
    records: Vec<Record>,
    rows_of: HashMap<String, usize>,
    report: Report,
}

impl Job<'_> {
    fn refuse(&mut self, findings: Vec<Finding>) {
        self.report.rows_refused += 1;
        self.report.findings.extend(findings);
    }

    fn accept(&mut self, record: Record, findings: Vec<Finding>, place: Place<'_>) {
        let Some(&at) = self.rows_of.get(&record.id) else {
            self.rows_of.insert(record.id.clone(), self.records.len());
            self.records.push(record);
            self.report.rows_accepted += 1;
            self.report.findings.extend(findings);
            return;
        };
        let known = &mut self.records[at];
        // rows that name different materials are no parts of one record
        let same = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
        if self.mapping.file.record.join && same(&known.formula, &record.formula) {
            join(known, record);
            self.report.rows_accepted += 1;
            self.report.findings.extend(findings);
        } else if *known == record {
            self.report.rows_unchanged += 1;
            self.report.findings.push(place.finding(
                Severity::Flagged,
                Code::DuplicateRow,
                (None, Some(&record.id)),
                "an earlier row of this job is the same".into(),
                "nothing to do; remove one of them if they were meant to differ",
            ));
        } else {
            self.report.rows_refused += 1;
            self.report.findings.push(place.finding(
                Severity::Refused,
                Code::DuplicateId,
                (None, Some(&record.id)),
                format!("an earlier row of this job has the record id `{}` and other content", record.id),
                "name more columns in [record] id, or set join = true if such rows are of one material and belong together",
            ));
        }
    }
}

/// Adds the values of a later row to a record.
fn join(known: &mut Record, later: Record) {
    for measurement in later.measurements {
        // both rows may derive the same value; one is enough. Equal values that were measured are two measurements
        if measurement.evidence != Evidence::Derived || !known.measurements.contains(&measurement) {
            known.measurements.push(measurement);
        }
    }
    known.name = known.name.take().or(later.name);
    known.formula_given = known.formula_given.take().or(later.formula_given);
    known.formula = known.formula.take().or(later.formula);
    known.space_group = known.space_group.or(later.space_group);
    known.class = known.class.take().or(later.class);
    known.attributes.extend(later.attributes);
}
