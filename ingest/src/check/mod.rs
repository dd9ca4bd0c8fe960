//! Is this value believable? Each check makes a finding; a refusal takes the whole row out.

mod conflict;
mod contradiction;
mod magnitude;
mod noted;

use datasets::property::Property;

use crate::report::{Code, Finding, Severity};

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
