//! Is one value a thousand times too large or too small? MPa written as GPa, a share written for percent.
//!
//! A cell in another unit than its column is found without knowing the material: against other values of the same
//! material, whatever their conditions, and else against the rest of its column. Both must lie close together, and the
//! value must fit them after the step; so a property that ranges over decades is never held against itself.

use std::collections::{BTreeMap, HashSet};

use datasets::property::{Axis, Deviation, Property, dictionary};

use super::Places;
use super::magnitude::{Known, short};
use super::noted::{Noted, Sampled};
use crate::report::{Code, Finding, Severity};

/// Typical deviation, as a share of the value, beyond which samples of one material differ by decades.
const WIDEST: f64 = 0.12;
/// Decades between units that are mixed up: kPa, MPa and GPa, g and kg, mm and m.
const STEPS: [f64; 3] = [3.0, 6.0, 9.0];
/// The step between a share and percent.
const PERCENT: f64 = 2.0;
/// Decades within which values of one material agree.
const AGREE: f64 = 0.5;
/// The same of two values, of which neither is known to be right.
const AGREE_OF_TWO: f64 = 0.35;
/// Below this temperature properties change by decades, K.
const COLD_K: f64 = 150.0;
/// Decades around the middle in which most values of a column lie.
const CORE: f64 = 1.0;
/// Decades without any value between those astray and the others, and the same of percentages.
const GAP: f64 = 1.3;
const GAP_OF_PERCENT: f64 = 0.7;
/// Share of a column's values that may be astray; one always.
const ASTRAY: f64 = 0.1;
/// Decades that a value may lie beside its column after the step.
const MARGIN: f64 = 0.1;
/// The step between GPa and the numbers of Vickers and Brinell hardness, kgf/mm²: a factor of 102.
const HARDNESS: f64 = 2.008_5;
/// Share of a column's values that must be in its core.
const MOST: f64 = 0.8;
/// Values of which a column must have a core.
const FEWEST: usize = 8;
/// Values of one job that are listed.
const LISTED: usize = 1_000;

/// What a value was held against.
enum Beside {
    /// Another value of the material, in the job or in a dataset of the hub.
    Same(f64, String),
    /// The middle of its column.
    Column(f64),
}

impl Noted {
    /// Flags single values that are probably in another unit than they are taken for, but those flagged already.
    pub fn steps(
        &self,
        known: Option<&Known>,
        own: &HashSet<String>,
        places: &Places,
        flagged: &[Finding],
    ) -> Vec<Finding> {
        let mut said: HashSet<(String, u64, Option<String>)> =
            flagged.iter().map(|f| (f.file.clone(), f.row, f.column.clone())).collect();
        let mut columns: BTreeMap<u16, Vec<&Sampled>> = BTreeMap::new();
        let mut materials: BTreeMap<(u16, u64), Vec<&Sampled>> = BTreeMap::new();
        for value in &self.sampled {
            let Some(property) = self.property_of(value) else { continue };
            let Some(index) = dictionary().index_of(&property.key) else { continue };
            if value.temperature_k.is_some_and(|kelvin| kelvin < COLD_K) {
                continue;
            }
            columns.entry(value.kind).or_default().push(value);
            if is_percentage(property) {
                continue;
            }
            materials.entry((index, value.material)).or_default().push(value);
        }
        let middles: BTreeMap<u16, f64> = columns.iter().map(|(kind, values)| (*kind, middle(values))).collect();
        let mut found: Vec<(&Sampled, f64, Beside)> = Vec::new();
        for ((index, material), values) in &materials {
            let hub = known.map(|known| known.warm_places_of(*material, *index, COLD_K, own)).unwrap_or_default();
            self.of_material(values, &hub, &middles, &mut found, places);
        }
        for values in columns.values() {
            self.of_column(values, &mut found);
        }
        found.sort_by_key(|(value, ..)| (value.origin, value.kind));
        let findings = found.into_iter().map(|found| self.step_finding(found, places));
        findings.filter(|f| said.insert((f.file.clone(), f.row, f.column.clone()))).take(LISTED).collect()
    }

    /// The property of a value for which a step is looked for: percentages, and what hardly differs between samples.
    fn property_of(&self, value: &Sampled) -> Option<&'static Property> {
        let property = self.kinds.get(usize::from(value.kind))?.property?;
        let narrow = matches!(property.sd, Deviation::Relative(share) if share <= WIDEST);
        let may = is_percentage(property) || (narrow && is_of_solids(property));
        (may && value.value > 0.0).then_some(property)
    }

    /// Values of one material: the odd one out, or of two the one that is further from its column.
    fn of_material<'s>(
        &'s self,
        values: &[&'s Sampled],
        hub: &[(f64, &str)],
        middles: &BTreeMap<u16, f64>,
        found: &mut Vec<(&'s Sampled, f64, Beside)>,
        places: &Places,
    ) {
        let mut all: Vec<f64> = values.iter().map(|value| value.value.log10()).collect();
        all.extend(hub.iter().map(|(place, _)| *place));
        if all.len() < 2 {
            return;
        }
        let there = |value: &Sampled| {
            let place = places.of(value.origin);
            format!("row {} of {}", place.line, place.file)
        };
        if let ([a, b], []) = (values, hub) {
            let apart = |value: &Sampled| {
                let middle = middles.get(&value.kind).copied().unwrap_or(f64::NAN);
                (value.value.log10() - middle).abs()
            };
            let (odd, other) = if apart(a) > apart(b) { (a, b) } else { (b, a) };
            if let Some(step) = step(odd.value.log10(), other.value.log10(), AGREE_OF_TWO) {
                found.push((*odd, step, Beside::Same(other.value, there(other))));
            }
            return;
        }
        all.sort_by(f64::total_cmp);
        let centre = all[(all.len() - 1) / 2];
        let near = all.iter().filter(|place| (**place - centre).abs() <= AGREE).count();
        let enough = if all.len() == 2 { 1 } else { (all.len() * 3).div_ceil(5) };
        if near < enough {
            return;
        }
        // one value of the hub is held against one of the job, and never the other way round
        let centre = match (values, hub) {
            ([_], [(place, _)]) => *place,
            _ => centre,
        };
        let tolerance = if all.len() == 2 { AGREE_OF_TWO } else { AGREE };
        let of_hub = hub.iter().find(|(place, _)| (*place - centre).abs() <= AGREE);
        let of_job = values.iter().find(|other| (other.value.log10() - centre).abs() <= AGREE);
        for value in values {
            let Some(step) = step(value.value.log10(), centre, tolerance) else { continue };
            let beside = match (of_job, of_hub) {
                (Some(other), _) => Beside::Same(other.value, there(other)),
                (None, Some((place, dataset))) => Beside::Same(10_f64.powf(*place), format!("`{dataset}`")),
                (None, None) => continue,
            };
            found.push((*value, step, beside));
        }
    }

    /// Values of one column: those far from the others, which fit among them after a step.
    fn of_column<'s>(&'s self, values: &[&'s Sampled], found: &mut Vec<(&'s Sampled, f64, Beside)>) {
        let Some(property) = values.first().and_then(|value| self.property_of(value)) else { return };
        let centre = middle(values);
        let core: Vec<f64> =
            values.iter().map(|value| value.value.log10()).filter(|place| (place - centre).abs() <= CORE).collect();
        if values.len() < FEWEST || (core.len() as f64) < MOST * values.len() as f64 {
            return;
        }
        let low = core.iter().copied().fold(f64::INFINITY, f64::min);
        let high = core.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (gap, steps) = match property.unit.as_str() {
            "%" => (GAP_OF_PERCENT, &[PERCENT][..]),
            "HV" | "HBW" => (GAP, &[HARDNESS, STEPS[0]][..]),
            _ => (GAP, &STEPS[..]),
        };
        let most = ((ASTRAY * values.len() as f64) as usize).max(1);
        let mut sorted = values.to_vec();
        sorted.sort_by(|a, b| a.value.total_cmp(&b.value));
        let place = |value: &Sampled| value.value.log10();
        let breaks = |two: &[&Sampled]| place(two[1]) - place(two[0]) >= gap;
        // few values below a gap, and few above one
        let below = sorted.windows(2).take(most).rposition(breaks).map_or(0, |at| at + 1);
        let above = sorted.windows(2).rev().take(most).rposition(breaks).map_or(0, |at| at + 1);
        let astray = sorted.iter().take(below).map(|value| (*value, 1.0));
        let astray = astray.chain(sorted.iter().rev().take(above).map(|value| (*value, -1.0)));
        for (value, towards) in astray {
            let fits = |step: &&f64| (low - MARGIN..=high + MARGIN).contains(&(place(value) + towards * **step));
            if let Some(step) = steps.iter().find(fits) {
                found.push((value, towards * step, Beside::Column(10_f64.powf(centre))));
            }
        }
    }

    fn step_finding(&self, (value, step, beside): (&Sampled, f64, Beside), places: &Places) -> Finding {
        let kind = self.kinds.get(usize::from(value.kind));
        let property = kind.and_then(|kind| kind.property);
        let (name, unit) = property.map_or(("", ""), |property| (property.name.as_str(), property.unit.as_str()));
        let factor = 10_f64.powf(step.abs()).round();
        let word = if step > 0.0 { "small" } else { "large" };
        let why = match beside {
            Beside::Same(other, there) => format!(
                "{name} of {} {unit} is about {factor} times too {word} beside {} {unit} of the same material in {there}",
                value.value,
                short(other)
            ),
            Beside::Column(middle) => format!(
                "{name} of {} {unit} is far from the rest of its column, about {} {unit}, and fits in if it is {factor} times \
                 {}",
                value.value,
                short(middle),
                if step > 0.0 { "as large" } else { "smaller" }
            ),
        };
        let text = value.given.to_string();
        let cell = (kind.and_then(|kind| kind.column.as_deref()), Some(text.as_str()));
        let mend = "check the value and its unit at the source, and write the unit into the cell where it is another one; the \
                    value is kept";
        places.of(value.origin).finding(Severity::Flagged, Code::SuspectUnit, cell, why, mend)
    }
}

/// Strengths, moduli and hardness, and what is thermal and does not change by decades with temperature. Densities of gases are a
/// thousandth of others, and viscosities and contents of impurities range over decades.
fn is_of_solids(property: &Property) -> bool {
    const THERMAL: [&str; 6] = [
        "thermal_conductivity",
        "thermal_diffusivity",
        "thermal_expansion",
        "volumetric_thermal_expansion",
        "heat_capacity",
        "specific_heat",
    ];
    (property.group == "mechanical" && property.axis == Axis::Log && property.unit != "1")
        || THERMAL.contains(&property.key.as_str())
}

/// A share of 1 may be written for a percentage, and no thousandth of it.
fn is_percentage(property: &Property) -> bool {
    property.unit == "%"
}

/// The middle of the logarithms of values.
fn middle(values: &[&Sampled]) -> f64 {
    let mut places: Vec<f64> = values.iter().map(|value| value.value.log10()).collect();
    places.sort_by(f64::total_cmp);
    places.get(places.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The decades that lead from a place to one that agrees with another, where they are those between units.
fn step(from: f64, to: f64, tolerance: f64) -> Option<f64> {
    let apart = to - from;
    STEPS.iter().find(|step| (apart.abs() - **step).abs() <= tolerance).map(|step| step.copysign(apart))
}
