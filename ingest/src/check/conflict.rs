//! Does one source contradict itself? The same material, property and condition, values far apart.

use std::collections::BTreeMap;

use super::Places;
use super::noted::{Kind, Noted, Value};
use crate::report::{Code, Finding, Severity};

/// Values this many of their common deviations apart are a conflict.
const DEVIATIONS_APART: f64 = 8.0;
/// A column with at least so many conflicts, and with this share of all values that say again what an earlier row says,
/// does not tell its entries apart: that is one finding.
const SYSTEMATIC: (usize, f64) = (20, 0.05);

/// A value, the one that it is held against, and their distance in deviations.
type Conflict = (Value, Value, f64);

/// What a value is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Other {
    /// The same column in another row.
    Row,
    /// Another column of the same row, by its kind.
    Column(u16),
}

#[derive(Default)]
struct Compared {
    /// Values that were compared with an earlier one.
    repeats: usize,
    conflicts: Vec<Conflict>,
}

impl Compared {
    fn add(&mut self, value: &Value, other: &Value, apart: f64) {
        self.repeats += 1;
        if apart > DEVIATIONS_APART {
            self.conflicts.push((*value, *other, apart));
        }
    }
}

impl Noted {
    /// Flags values of one material, property and condition that differ by far more than their deviations, and says if
    /// there were too many values to compare them all. Of two values the later one is flagged, of more those far from
    /// the middle one. The values are given up.
    pub fn conflicts(&mut self, places: &Places) -> Vec<Finding> {
        let mut values = repeated(&std::mem::take(&mut self.values));
        values.sort_unstable_by_key(|value| (value.key, value.origin(), value.kind));
        let mut of_kind: BTreeMap<(u16, Other), Compared> = BTreeMap::new();
        for group in values.chunk_by(|a, b| a.key == b.key) {
            let mut columns = false;
            for row in group.chunk_by(|a, b| a.origin() == b.origin()) {
                let Some((first, others)) = row.split_first() else { continue };
                columns |= !others.is_empty();
                for other in others {
                    let compared = of_kind.entry((other.kind, Other::Column(first.kind))).or_default();
                    compared.add(other, first, self.apart(first, other));
                }
            }
            if columns {
                // several columns say this property: each is compared with itself in other rows
                let mut group = group.to_vec();
                group.sort_by_key(|value| value.kind);
                group.chunk_by(|a, b| a.kind == b.kind).for_each(|rows| self.rows(rows, &mut of_kind));
            } else {
                self.rows(group, &mut of_kind);
            }
        }
        let mut findings = Vec::new();
        for ((number, other_is), Compared { repeats, mut conflicts }) in of_kind {
            let Some(kind) = self.kinds.get(usize::from(number)) else { continue };
            conflicts.sort_by_key(|(value, ..)| value.origin());
            let other = match other_is {
                Other::Row => None,
                Other::Column(other) => self.kinds.get(usize::from(other)),
            };
            let share = conflicts.len() as f64 / repeats as f64;
            let of = match conflicts.first() {
                Some(first) if conflicts.len() >= SYSTEMATIC.0 && share > SYSTEMATIC.1 => {
                    let counts = (conflicts.len(), repeats);
                    findings.push((first.0.origin(), Said { kind, other, places }.systematic(first, counts)));
                    continue;
                }
                _ => Said { kind, other, places },
            };
            findings.extend(conflicts.iter().map(|conflict| (conflict.0.origin(), of.single(conflict))));
        }
        findings.sort_by_key(|(origin, _)| *origin);
        let mut findings: Vec<Finding> = findings.into_iter().map(|(_, finding)| finding).collect();
        if self.left_out > 0 {
            let why = format!(
                "the job has more values than are compared with each other: the last {} were not",
                self.left_out
            );
            let mend = "nothing to do, unless conflicting values are expected: then ingest the files in several jobs";
            let at = places.of_table(0);
            findings.push(at.finding(Severity::Flagged, Code::NotCompared, (None, None), why, mend));
        }
        findings
    }

    /// Compares values of one thing in several rows.
    fn rows(&self, group: &[Value], of_kind: &mut BTreeMap<(u16, Other), Compared>) {
        let Some((first, rest)) = group.split_first().filter(|(_, rest)| !rest.is_empty()) else { return };
        let all_equal = rest.iter().all(|value| value.value.to_bits() == first.value.to_bits());
        let reference = if all_equal || rest.len() == 1 { *first } else { middle(group) };
        // all but the one that the others are compared with
        for value in group.iter().filter(|value| value.origin() != reference.origin()) {
            let compared = of_kind.entry((value.kind, Other::Row)).or_default();
            compared.repeats += 1;
            let apart = self.apart(&reference, value);
            if apart > DEVIATIONS_APART {
                compared.conflicts.push((*value, reference, apart));
            }
        }
    }

    fn apart(&self, a: &Value, b: &Value) -> f64 {
        let on_axis = |value: &Value| {
            let kind = self.kinds.get(usize::from(value.kind))?;
            let property = kind.property?;
            let stated = (!value.sd.is_nan()).then_some(f64::from(value.sd));
            Some(kind.on_axis(property, f64::from(value.value), stated))
        };
        let (Some((a, a_sd)), Some((b, b_sd))) = (on_axis(a), on_axis(b)) else { return 0.0 };
        let apart = (a - b).abs() / a_sd.hypot(b_sd);
        if apart.is_nan() { 0.0 } else { apart }
    }
}

/// The values whose key occurs more than once, and a few others.
fn repeated(values: &[Vec<Value>]) -> Vec<Value> {
    let count: usize = values.iter().map(Vec::len).sum();
    let slots = (count.saturating_mul(8)).next_power_of_two().max(64);
    let (mut once, mut again) = (vec![0u64; slots / 64], vec![0u64; slots / 64]);
    let slot = |value: &Value| {
        let slot = value.key as usize & (slots - 1);
        (slot / 64, 1u64 << (slot % 64))
    };
    for value in values.iter().flatten() {
        let (word, bit) = slot(value);
        again[word] |= once[word] & bit;
        once[word] |= bit;
    }
    let is_again = |value: &&Value| {
        let (word, bit) = slot(value);
        again[word] & bit != 0
    };
    values.iter().flatten().filter(is_again).copied().collect()
}

/// The value in the middle, of equal ones the first.
fn middle(group: &[Value]) -> Value {
    let mut sorted = group.to_vec();
    sorted.sort_by(|a, b| a.value.total_cmp(&b.value).then(a.origin().cmp(&b.origin())));
    sorted[(sorted.len() - 1) / 2]
}

/// What is compared with what, and how to say it.
struct Said<'s> {
    kind: &'s Kind,
    /// The kind of the other column of the same row.
    other: Option<&'s Kind>,
    places: &'s Places,
}

impl Said<'_> {
    fn words(&self) -> (&str, &str) {
        self.kind.property.map_or(("", ""), |p| (p.name.as_str(), p.unit.as_str()))
    }

    /// Where the other value stands.
    fn there(&self, value: &Value, other: &Value) -> String {
        let (here, there) = (self.places.of(value.origin()), self.places.of(other.origin()));
        match self.other {
            Some(Kind { column: Some(column), .. }) => format!("column `{column}` of the same row"),
            Some(_) => "the same row".into(),
            None if here.file == there.file => format!("row {}", there.line),
            None => format!("row {} of {}", there.line, there.file),
        }
    }

    fn finding(&self, value: &Value, why: String, mend: &str) -> Finding {
        let text = value.value.to_string();
        let cell = (self.kind.column.as_deref(), Some(text.as_str()));
        self.places.of(value.origin()).finding(Severity::Flagged, Code::ConflictingValues, cell, why, mend)
    }

    fn single(&self, (value, other, apart): &Conflict) -> Finding {
        let ((name, unit), there) = (self.words(), self.there(value, other));
        let why = format!(
            "{name} of {} {unit} here and of {} {unit} in {there}, for the same material and condition: {apart:.0} \
             standard deviations apart",
            value.value, other.value
        );
        let mend = match self.other {
            Some(_) => COLUMNS,
            None => "check both rows; state what differs (temperature, phase, direction, treatment) as a condition",
        };
        self.finding(value, why, mend)
    }

    fn systematic(&self, (value, other, _): &Conflict, (conflicts, repeats): (usize, usize)) -> Finding {
        let ((name, unit), there) = (self.words(), self.there(value, other));
        let example = format!("{} {unit} here, and {} {unit} in {there}", value.value, other.value);
        let far = format!("by more than {DEVIATIONS_APART} standard deviations");
        match self.other {
            Some(_) => {
                let why = format!(
                    "two columns say {name} of the same material and condition, and differ {far} in {conflicts} of \
                     {repeats} rows, the first time in this: {example}"
                );
                self.finding(value, why, COLUMNS)
            }
            None => {
                let why = format!(
                    "{conflicts} of the {repeats} values of {name} that are of the same material and condition as \
                     another row differ {far}, the first time in this: {example}. No column of the mapping tells these \
                     rows apart"
                );
                let mend = "map what differs: the phase (space_group or structure in [material]), the treatment or \
                            direction (conditions, [attributes]), or the entry ([record] id)";
                self.finding(value, why, mend)
            }
        }
    }
}

const COLUMNS: &str = "state in the mapping what tells the columns apart (method, evidence, temperature, conditions), or map \
                       one of them to another property";
