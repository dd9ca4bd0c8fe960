//! What was refused or flagged, and why: one finding a line.

use std::collections::BTreeMap;

use serde::Serialize;

/// What became of the row or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The row is not in the hub.
    Refused,
    /// The row is in the hub; look at it.
    Flagged,
}

/// What kind of trouble: stable words that scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A line of the file could not be split into cells.
    UnreadableRow,
    /// The formula cannot be understood.
    BadFormula,
    /// A cell that must hold a number does not.
    BadNumber,
    /// A share of an element that is only bounded (`<0.03`): half of what it may be is supposed.
    BoundedShare,
    /// A unit that is not understood, or measures another quantity.
    BadUnit,
    /// A space group that is neither 1 to 230 nor a symbol of one.
    BadSpaceGroup,
    /// A structure that cannot be read.
    BadStructure,
    /// A SMILES string that cannot be read.
    BadSmiles,
    /// Formula, space group and structure of the row contradict each other.
    StructureMismatch,
    /// The row names no material and has no id.
    NoIdentity,
    /// No column of the mapping holds a value in this row.
    NoValue,
    /// The value lies outside what is physically possible; kept in the record, never counted as evidence.
    OutOfBounds,
    /// Values of one record that cannot all be true.
    ImpossibleCombination,
    /// Values of one material and condition that differ by far more than their deviations.
    ConflictingValues,
    /// The value fits what is known of the material in another unit, or by a power of ten.
    SuspectUnit,
    /// Values that were not compared with others, because there are too many or the hub cannot be read.
    NotCompared,
    /// Two rows of the job have the same record id.
    DuplicateId,
    /// Two rows of the job are the same in everything.
    DuplicateRow,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The file, as named by the caller.
    pub file: String,
    /// The line of the file on which the row begins; the first line is 1.
    pub row: u64,
    /// The column's header, where one column is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The cell's text, or the whole row where no single cell is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What kind of trouble.
    pub code: Code,
    /// What became of it.
    pub severity: Severity,
    /// What is wrong.
    pub explanation: String,
    /// How to mend it.
    pub mend: String,
}

/// Findings of each code and severity that are kept in a [`Report`]; the file of findings has all.
const EXAMPLES: u64 = 1_000;

/// The whole report of a job. `rows_read == rows_accepted + rows_refused + rows_unchanged`, always; rows that `[record] when`
/// leaves out are none of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Rows found in the files, headers aside.
    pub rows_read: u64,
    /// Rows that are in a record of this job.
    pub rows_accepted: u64,
    /// Rows that are not.
    pub rows_refused: u64,
    /// Rows that said nothing new (the same row again).
    pub rows_unchanged: u64,
    /// Rows that `[record] when` leaves out; they are not among those read.
    pub rows_left_out: u64,
    /// The first findings of each code, in file and row order.
    pub findings: Vec<Finding>,
    #[serde(skip)]
    counts: BTreeMap<(Code, Severity), u64>,
}

impl Report {
    /// Counts a finding, and keeps it if it is among the first of its code.
    pub fn add(&mut self, finding: Finding) {
        let count = self.counts.entry((finding.code, finding.severity)).or_default();
        *count += 1;
        if *count <= EXAMPLES {
            self.findings.push(finding);
        }
    }

    /// Number of findings of a severity.
    pub fn count(&self, severity: Severity) -> u64 {
        self.counts.iter().filter(|((_, s), _)| *s == severity).map(|(_, n)| n).sum()
    }

    /// Number of findings of each code, in code order.
    pub fn by_code(&self) -> impl Iterator<Item = (Code, Severity, u64)> {
        self.counts.iter().map(|((code, severity), n)| (*code, *severity, *n))
    }
}
