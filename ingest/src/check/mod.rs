//! Is this value believable? Each check makes a finding; a refusal takes the whole row out.

mod conflict;
mod contradiction;
mod magnitude;
mod noted;
mod step;

use std::collections::HashMap;

use datasets::property::Property;

use crate::report::{Code, Finding, Severity};
use crate::sort::Origin;

pub use contradiction::{combinations, may_contradict};
pub use magnitude::Known;
pub use noted::{Noted, Notes, WhatIs};

/// Where a finding is made.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The file as named by the caller.
    pub file: &'a str,
    /// Line from 1.
    pub line: u64,
}

impl Place<'_> {
    /// A finding at this place.
    pub fn finding(
        &self,
        severity: Severity,
        code: Code,
        (column, value): (Option<&str>, Option<&str>),
        explanation: String,
        mend: &str,
    ) -> Finding {
        Finding {
            file: self.file.to_owned(),
            row: self.line,
            column: column.map(str::to_owned),
            value: value.map(str::to_owned),
            code,
            severity,
            explanation,
            mend: mend.to_owned(),
        }
    }
}

/// Where the rows of a job stand, for findings that are made after their rows are gone.
#[derive(Debug, Default)]
pub struct Places {
    tables: Vec<String>,
    /// Rows that are a file of their own in a folder or archive, by the name of that file.
    members: HashMap<Origin, Box<str>>,
}

/// Rows that are remembered by the name of their file; a finding in a later one names folder and row.
const MOST_MEMBERS: usize = 1 << 18;

impl Places {
    /// Takes the name of the next table, and says its number.
    pub fn add_table(&mut self, shown: String) -> u32 {
        self.tables.push(shown);
        self.tables.len() as u32 - 1
    }

    /// Takes rows that are a file of their own.
    pub fn add_members(&mut self, members: impl IntoIterator<Item = (Origin, Box<str>)>) {
        let room = MOST_MEMBERS.saturating_sub(self.members.len());
        self.members.extend(members.into_iter().take(room));
    }

    /// The file and line of a row.
    pub fn of(&self, origin: Origin) -> Place<'_> {
        match self.members.get(&origin) {
            Some(file) => Place { file, line: 1 },
            None => Place { line: origin.line, ..self.of_table(origin.table) },
        }
    }

    /// The beginning of a table.
    pub fn of_table(&self, number: u32) -> Place<'_> {
        Place { file: self.tables.get(number as usize).map_or("", String::as_str), line: 1 }
    }
}

/// Flags a value outside the property's physical bounds.
pub fn bounds(place: Place<'_>, property: &Property, value: f64, column: &str, text: &str) -> Option<Finding> {
    let (min, max) = (property.bounds[0], property.bounds[1]);
    (!(min..=max).contains(&value)).then(|| {
        place.finding(
            Severity::Flagged,
            Code::OutOfBounds,
            (Some(column), Some(text)),
            format!(
                "{} of {}{} is outside its physical bounds {} to {}: kept in the record, not counted as evidence",
                property.name,
                shown(value),
                if property.unit == "1" { String::new() } else { format!(" {}", property.unit) },
                shown(min),
                shown(max)
            ),
            "check the value and its unit at the source; ingest the corrected row to replace it",
        )
    })
}

/// A number without a row of zeros.
fn shown(x: f64) -> String {
    if x == 0.0 || (1e-4..1e7).contains(&x.abs()) { format!("{x}") } else { format!("{x:e}") }
}
