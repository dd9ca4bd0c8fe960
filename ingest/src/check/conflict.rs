//! Does one source contradict itself? The same material, property and condition, values far apart.

use std::collections::HashMap;

use datasets::record::Record;

use super::Place;
use crate::mapping::Mapping;
use crate::report::{Code, Finding, Severity};

/// Values this many of their common deviations apart are a conflict.
const DEVIATIONS_APART: f64 = 8.0;

/// What one remembered value takes, with the room that a hash map leaves free.
const BYTES_EACH: usize = 80;

/// The values of a job so far, by material, property and condition, in bounded memory.
pub struct Conflicts {
    seen: HashMap<u64, Seen>,
    most: usize,
    /// Values that found no room; what follows is only compared with what is remembered.
    left_out: u64,
    key: Vec<u8>,
}

struct Seen {
    place: f64,
    sd: f64,
    value: f64,
    line: u64,
    file: u64,
}

impl Conflicts {
    /// Remembers as many values as fit into this memory, about.
    pub fn new(max_bytes: usize) -> Conflicts {
        Conflicts { seen: HashMap::new(), most: max_bytes / BYTES_EACH, left_out: 0, key: Vec::new() }
    }

    /// Values that were compared but not remembered because the memory was full.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Compares the values of an accepted record with those before it, flags what differs by far more than the
    /// deviations, and remembers them. `at` is the record's row.
    pub fn check(&mut self, record: &Record, mapping: &Mapping, at: Place<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let file = datasets::record::content_hash(at.file.as_bytes());
        for m in &record.measurements {
            let Some(property) = mapping.property(&m.property) else { continue };
            let place = property.axis.to_axis(m.value);
            if !place.is_finite() || !property.is_conceivable(m.value) {
                continue; // the bounds have said so
            }
            let sd = property.axis_sd(m.value, m.uncertainty, m.method.as_deref());
            self.key.clear();
            let mut add = |text: &str| {
                self.key.extend_from_slice(text.as_bytes());
                self.key.push(0x1f);
            };
            add(record.formula.as_deref().unwrap_or_default());
            add(record.smiles.as_deref().unwrap_or_default());
            // a formula is the material; a name is one only without it, but grades of one composition differ
            add(record.name.as_deref().unwrap_or_default());
            add(&m.property);
            add(m.method.as_deref().unwrap_or_default());
            for (name, text) in &m.conditions {
                add(name);
                add(text);
            }
            self.key.extend(record.space_group.unwrap_or(0).to_le_bytes());
            self.key.push(m.evidence as u8);
            self.key.extend(m.temperature_k.unwrap_or(f64::NAN).to_le_bytes());
            self.key.extend(m.pressure_pa.unwrap_or(f64::NAN).to_le_bytes());
            let key = datasets::record::content_hash(&self.key);
            match self.seen.get(&key) {
                Some(seen) => {
                    let apart = (seen.place - place).abs() / seen.sd.hypot(sd);
                    if apart > DEVIATIONS_APART {
                        let where_ = if seen.file == file { "" } else { " of another file" };
                        let why = format!(
                            "{} of {} {} here and of {} {} in row {}{where_}, for the same material and condition: \
                             {apart:.0} standard deviations apart",
                            property.name, m.value, property.unit, seen.value, property.unit, seen.line
                        );
                        let mend = "check both rows; state what differs (temperature, phase, direction, treatment) as a condition";
                        let value = m.value.to_string();
                        let cell = (None, Some(value.as_str()));
                        findings.push(at.finding(Severity::Flagged, Code::ConflictingValues, cell, why, mend));
                    }
                }
                None if self.seen.len() < self.most => {
                    self.seen.insert(key, Seen { place, sd, value: m.value, line: at.line, file });
                }
                None => self.left_out += 1,
            }
        }
        findings
    }
}
