//! The answer, with its evidence: candidates of a spec, and all that is known of one material.

use std::collections::BTreeMap;

use arrow::array::Array as _;
use datasets::property::{Axis, Property, dictionary};
use datasets::record::Evidence;
use rayon::prelude::*;
use serde::Serialize;
use space::predictor::COVERED_DEVIATIONS;

use crate::belief::Belief;
use crate::like::{LikeAnswer, LikeMeta};
use crate::prediction::column::Near;
use crate::prediction::ground::scope_of;
use crate::prediction::{self, NO_PICK};
use crate::scope::Scope;
use crate::search::{Judge, Passing, Ranking};
use crate::snapshot::Snapshot;
use crate::spec::{Resolved, Subject, Target, Unknown};
use crate::stated::StatedAnswer;

/// Whether a target, or the whole spec, is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Met, on the asked evidence.
    Pass,
    /// Missed, on the asked evidence.
    Fail,
    /// There is no value of the asked evidence.
    Unknown,
}

/// The answer to a spec.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SuggestAnswer {
    /// How it was found.
    pub meta: Meta,
    /// The candidates, best first.
    pub candidates: Vec<Candidate>,
}

/// How an answer was found.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Meta {
    /// Version of the table that was searched.
    pub version: u64,
    /// The device that searched.
    pub device: String,
    /// Why it was not the chosen one, where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether the candidates are exactly the best ones.
    pub exact: bool,
    /// Materials with a record in the datasets that were asked.
    pub searched: usize,
    /// Of those, materials that match the filter, without the one that they are to be like.
    pub matched_filter: usize,
    /// Milliseconds in the search, transport not counted.
    pub took_ms: f64,
    /// Materials, after the filter, that meet each target alone on the asked evidence, by property key or index; and
    /// `all` targets together.
    pub passing: BTreeMap<String, usize>,
    /// Targets whose empty cells count as drawn from the property's population, because nothing is predicted of them: why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unpredicted: BTreeMap<String, String>,
    /// The likeness that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<LikeMeta>,
}

/// One candidate.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Candidate {
    /// 1 is the best.
    pub rank: usize,
    /// Id of the material.
    pub material: String,
    /// The formula as chemists write it; null for materials known by name only.
    pub formula: Option<String>,
    /// The alphabetical reduced formula, as in OPTIMADE.
    pub chemical_formula_reduced: Option<String>,
    /// A name or grade, where a record gives one.
    pub name: Option<String>,
    /// Expected squared distance to the spec in tolerances; 0 is certainly inside.
    pub score: f64,
    /// Probability of meeting all windows, if targets were independent.
    pub probability: f64,
    /// `fail` where any target fails, else `unknown` where any is unknown, else `pass`.
    pub verdict: Verdict,
    /// What is believed of each target, in the order of the spec.
    pub targets: Vec<TargetAnswer>,
    /// How far it is from the material that it is to be like, where the spec says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<LikeAnswer>,
    /// What is known of its stability; computed compounds may be hypothetical.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stability: BTreeMap<String, f64>,
    /// The records that speak about it.
    pub records: Vec<String>,
    /// Their datasets.
    pub datasets: Vec<String>,
}

/// What is believed of one target of a candidate.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TargetAnswer {
    /// The property key, or the index as written.
    pub property: String,
    /// The belief's value; the population's median where nothing is known and `unknown` is `predict`.
    pub value: Option<f64>,
    /// Unit of `value` and `sd`: the target's, else the dictionary's.
    pub unit: String,
    /// One standard deviation of the belief.
    pub sd: Option<f64>,
    /// What the belief rests on.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub evidence: Evidence,
    /// Test standard or functional of the value.
    pub method: Option<String>,
    /// Temperature of the value in K, where the source states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_k: Option<f64>,
    /// What the source states beside the value.
    #[serde(flatten)]
    pub stated: StatedAnswer,
    /// Whether the target is met.
    pub verdict: Verdict,
    /// Probability of meeting the window; null for goals.
    pub probability: Option<f64>,
    /// The record that the value is from.
    pub record: Option<String>,
    /// DOI or URL of the value.
    pub source: Option<String>,
    /// How many measurements the belief rests on.
    pub measurements: u32,
    /// Whether the value is that of the formula, not of this phase.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inherited: bool,
    /// For predicted values: the nearest materials with a known value that was learned from.
    pub neighbours: Vec<Neighbour>,
}

/// A known material near to one of which something is predicted.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Neighbour {
    /// Its id.
    pub material: String,
    /// The formula as chemists write it.
    pub formula: Option<String>,
    /// Its known value, in the unit of the prediction.
    pub value: f64,
    /// How far it is: Euclidean, in standard deviations of the known materials' descriptors.
    pub distance: f64,
}

/// Neighbours that a prediction names.
pub const NEIGHBOURS: usize = 3;

/// The known materials on which a prediction rests first of all, with their values by `shown`.
pub(crate) fn neighbours(
    snapshot: &Snapshot,
    property: &Property,
    near: &[Near],
    shown: impl Fn(f64) -> f64,
) -> Vec<Neighbour> {
    let known = snapshot.beliefs(&scope_of(snapshot, property), property, None);
    let materials = &snapshot.materials;
    let neighbour = |near: &Near| {
        let belief = known.get(near.row, materials.len())?;
        Some(Neighbour {
            material: materials.id.value(near.row as usize).to_owned(),
            formula: materials.display(near.row as usize),
            value: shown(belief.value),
            distance: f64::from(near.distance),
        })
    };
    near.iter().filter_map(neighbour).collect()
}

/// What is believed of one property.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScreenValue {
    /// The value; null where nothing can be said.
    pub value: Option<f64>,
    /// Lower end of the interval that holds the true value in 90 of 100 cases.
    pub lower: Option<f64>,
    /// Upper end.
    pub upper: Option<f64>,
    /// One standard deviation.
    pub sd: Option<f64>,
    /// Unit of these.
    pub unit: String,
    /// What it rests on.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub evidence: Evidence,
    /// The record that a known value is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// For predicted values: how far the nearest known material is, in standard deviations of the known materials' descriptors; beyond
    /// 1,000 candidates the nearest of 1,500 of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    /// For predicted values: the nearest materials with a known value.
    pub neighbours: Vec<Neighbour>,
}

impl ScreenValue {
    /// A belief, with the materials near to it where it is predicted.
    pub(crate) fn of(snapshot: &Snapshot, property: &Property, belief: &Belief, near: &[Near]) -> ScreenValue {
        let [lower, upper] = prediction::interval(property, belief.mean, COVERED_DEVIATIONS * belief.sd);
        let record = |pick: u32| {
            let record = snapshot.measurements.record[pick as usize];
            snapshot.records.id.value(record as usize).to_owned()
        };
        ScreenValue {
            value: Some(belief.value),
            lower: Some(lower.min(belief.value)),
            upper: Some(upper.max(belief.value)),
            sd: Some(native_sd(property.axis, belief.value, belief.sd)),
            unit: property.unit.clone(),
            evidence: belief.evidence,
            record: (belief.pick != NO_PICK).then(|| record(belief.pick)),
            distance: near.first().map(|near| f64::from(near.distance)),
            neighbours: neighbours(snapshot, property, near, |x| x),
        }
    }

    pub(crate) fn nothing(unit: String) -> ScreenValue {
        ScreenValue {
            value: None,
            lower: None,
            upper: None,
            sd: None,
            unit,
            evidence: Evidence::None,
            record: None,
            distance: None,
            neighbours: Vec::new(),
        }
    }
}

/// Puts an answer together.
pub fn answer(
    snapshot: &Snapshot,
    spec: &Resolved,
    ranking: Ranking,
    passing: &Passing,
    took_ms: f64,
) -> SuggestAnswer {
    let mut counts = BTreeMap::from([("all".to_owned(), passing.all)]);
    for (target, &count) in spec.targets.iter().zip(&passing.each) {
        let label = target.subject.label();
        let again = (2..).map(|n| format!("{label}#{n}"));
        let key = std::iter::once(label.to_owned()).chain(again).find(|key| !counts.contains_key(key));
        counts.extend(key.map(|key| (key, count)));
    }
    let judges: Vec<Judge<'_>> = spec.targets.iter().map(|target| Judge::new(snapshot, target)).collect();
    let candidates = ranking
        .page
        .iter()
        .enumerate()
        .map(|(i, &(score, row))| candidate(snapshot, (spec, &judges), spec.offset + i + 1, score, row))
        .collect();
    SuggestAnswer {
        meta: Meta {
            version: snapshot.version,
            device: ranking.device,
            note: ranking.note,
            exact: true,
            searched: spec.searched,
            matched_filter: spec.mask.count(),
            took_ms,
            passing: counts,
            unpredicted: spec
                .targets
                .iter()
                .filter_map(|t| Some((t.subject.label().to_owned(), t.unpredicted.clone()?)))
                .collect(),
            like: spec.like.as_ref().map(|like| like.meta(snapshot, &spec.mask)),
        },
        candidates,
    }
}

fn candidate(
    snapshot: &Snapshot,
    (spec, judges): (&Resolved, &[Judge<'_>]),
    rank: usize,
    score: f64,
    row: u32,
) -> Candidate {
    let targets = spec.targets.iter().zip(judges);
    let targets: Vec<TargetAnswer> = targets.map(|target| target_answer(snapshot, spec, target, row)).collect();
    let verdict = |wanted: Verdict| targets.iter().any(|t| t.verdict == wanted);
    let Identity { material, formula, chemical_formula_reduced, name, records, datasets } =
        identity(snapshot, &spec.scope, row);
    Candidate {
        rank,
        material,
        formula,
        chemical_formula_reduced,
        name,
        score,
        probability: targets.iter().filter_map(|t| t.probability).product(),
        verdict: match () {
            () if verdict(Verdict::Fail) => Verdict::Fail,
            () if verdict(Verdict::Unknown) => Verdict::Unknown,
            () => Verdict::Pass,
        },
        targets,
        like: spec.like.as_ref().map(|like| like.answer(snapshot, &spec.scope, row)),
        stability: stability(snapshot, &spec.scope, row),
        records,
        datasets,
    }
}

fn target_answer(
    snapshot: &Snapshot,
    spec: &Resolved,
    (target, judge): (&Target, &Judge<'_>),
    row: u32,
) -> TargetAnswer {
    let axis = target.subject.axis();
    let belief = target.beliefs.get(row, snapshot.materials.len());
    let known = belief.is_some_and(|b| b.evidence >= spec.evidence);
    let counts = spec.unknown != Unknown::Ignore || known;
    let (mean, sd, value) = match &belief {
        Some(b) => (b.mean, b.sd, Some(b.value)),
        None => {
            let population = target.beliefs.population();
            let shown = (spec.unknown == Unknown::Predict).then(|| axis.from_axis(population.median));
            (population.median, population.spread, shown)
        }
    };
    let window = &target.window;
    let probability = (target.required && counts)
        .then(|| gpu::normal::interval_probability(mean, sd, window.lo, window.hi).clamp(0.0, 1.0));
    let shown = |x: f64| target.shown.as_ref().map_or(x, |c| c.apply(x));
    let native_sd = |value: f64| {
        let sd = native_sd(axis, value, sd);
        target.shown.as_ref().map_or(sd, |c| c.apply_to_difference(sd).abs())
    };
    let measurements = &snapshot.measurements;
    let single = matches!(target.subject, Subject::Property(_));
    let pick = belief.filter(|b| single && b.pick != NO_PICK).map(|b| b.pick as usize);
    let predicted = belief.is_some_and(|b| b.evidence == Evidence::Predicted);
    let word = |index: u32| measurements.word(index).map(ToString::to_string);
    TargetAnswer {
        property: target.subject.label().to_owned(),
        value: value.map(shown),
        unit: target.unit.clone(),
        sd: value.map(native_sd),
        evidence: belief.map_or(Evidence::None, |b| b.evidence),
        method: pick.and_then(|i| word(measurements.method[i])),
        temperature_k: pick.and_then(|i| kelvins(measurements.temperature[i])),
        stated: match (&target.subject, belief) {
            (Subject::Property(property), Some(belief)) if pick.is_some() => {
                StatedAnswer::of_belief(snapshot, &spec.scope, property, &belief, row, shown)
            }
            _ => StatedAnswer::default(),
        },
        verdict: match () {
            () if !known => Verdict::Unknown,
            () => match judge.meets(mean, belief.map_or(NO_PICK, |b| b.pick)) {
                Some(true) => Verdict::Pass,
                Some(false) => Verdict::Fail,
                None => Verdict::Unknown,
            },
        },
        probability,
        record: pick.map(|i| snapshot.records.id.value(measurements.record[i] as usize).to_owned()),
        source: pick.and_then(|i| word(measurements.source[i])),
        measurements: belief.map_or(0, |b| b.count),
        inherited: belief.is_some_and(|b| b.inherited),
        neighbours: match &target.subject {
            Subject::Property(property) if predicted => {
                neighbours(snapshot, property, &snapshot.nearest_known(property, row, NEIGHBOURS), shown)
            }
            _ => Vec::new(),
        },
    }
}

/// A kept temperature with the digits that it was given with; `None` where it was not stated.
fn kelvins(kept: f32) -> Option<f64> {
    kept.to_string().parse().ok().filter(|t: &f64| !t.is_nan())
}

/// A deviation on the axis as one of the value: first order on the logarithmic axis.
pub(crate) fn native_sd(axis: Axis, value: f64, sd: f64) -> f64 {
    match axis {
        Axis::Linear => sd,
        Axis::Log => (value * std::f64::consts::LN_10 * sd).abs(),
    }
}

/// What is believed of one property of one material.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BeliefAnswer {
    /// The property key.
    pub property: String,
    /// The belief's value at the reference condition.
    pub value: f64,
    /// Unit of `value` and `sd`.
    pub unit: String,
    /// One standard deviation of the belief.
    pub sd: f64,
    /// What the belief rests on.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub evidence: Evidence,
    /// Test standard or functional of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Temperature of the value in K, where the source states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_k: Option<f64>,
    /// What the source states beside the value.
    #[serde(flatten)]
    pub stated: StatedAnswer,
    /// The record that the value is from.
    pub record: String,
    /// DOI or URL of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether the value is that of the formula, not of this phase.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inherited: bool,
}

/// A belief with its evidence.
pub(crate) fn belief_answer(snapshot: &Snapshot, property: &Property, belief: &Belief) -> BeliefAnswer {
    let v = &snapshot.measurements;
    let pick = belief.pick as usize;
    let word = |index: u32| v.word(index).map(ToString::to_string);
    BeliefAnswer {
        property: property.key.clone(),
        value: belief.value,
        unit: property.unit.clone(),
        sd: native_sd(property.axis, belief.value, belief.sd),
        evidence: belief.evidence,
        method: word(v.method[pick]),
        temperature_k: kelvins(v.temperature[pick]),
        stated: StatedAnswer::of(v, pick, |x| x),
        record: snapshot.records.id.value(v.record[pick] as usize).to_owned(),
        source: word(v.source[pick]),
        inherited: belief.inherited,
    }
}

/// Which material is it, and who speaks of it?
pub(crate) struct Identity {
    pub(crate) material: String,
    pub(crate) formula: Option<String>,
    pub(crate) chemical_formula_reduced: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) records: Vec<String>,
    pub(crate) datasets: Vec<String>,
}

/// The material of a row under a scope.
pub(crate) fn identity(snapshot: &Snapshot, scope: &Scope, row: u32) -> Identity {
    let m = &snapshot.materials;
    let at = row as usize;
    let (records, datasets) = records_of(snapshot, scope, row);
    Identity {
        material: m.id.value(at).to_owned(),
        formula: m.display(at),
        chemical_formula_reduced: m.formula.is_valid(at).then(|| m.formula.value(at).to_owned()),
        name: m.name(at, scope).map(str::to_owned),
        records,
        datasets,
    }
}

fn records_of(snapshot: &Snapshot, scope: &Scope, row: u32) -> (Vec<String>, Vec<String>) {
    let records = snapshot.records.of_material(row).filter(|&r| snapshot.sees(scope, r));
    let (mut ids, mut datasets) = (Vec::new(), Vec::new());
    for r in records {
        ids.push(snapshot.records.id.value(r).to_owned());
        let name = &snapshot.datasets[usize::from(snapshot.records.dataset[r])].info.name;
        if !datasets.contains(name) {
            datasets.push(name.clone());
        }
    }
    (ids, datasets)
}

pub(crate) fn stability(snapshot: &Snapshot, scope: &Scope, row: u32) -> BTreeMap<String, f64> {
    let n = snapshot.materials.len();
    ["energy_above_hull", "formation_energy"]
        .into_iter()
        .filter_map(|key| {
            let belief = snapshot.beliefs(scope, dictionary().get(key)?, None).get(row, n)?;
            Some((key.to_owned(), belief.value))
        })
        .collect()
}

/// All that is known of one material.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MaterialAnswer {
    /// Version of the table.
    pub version: u64,
    /// Its id.
    pub material: String,
    /// The formula as chemists write it.
    pub formula: Option<String>,
    /// The alphabetical reduced formula.
    pub chemical_formula_reduced: Option<String>,
    /// A name or grade.
    pub name: Option<String>,
    /// Its class.
    pub class: Option<String>,
    /// International number of the space group, where the phase is stated.
    pub space_group: Option<i16>,
    /// Its elements.
    pub elements: Vec<String>,
    /// What is believed and known of each property: in dictionary order, then those of the datasets' own.
    pub properties: Vec<PropertyAnswer>,
    /// What is predicted, of properties that nothing is known of; where it was asked for, and as far as it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted: Option<BTreeMap<String, ScreenValue>>,
    /// The records that speak about it.
    pub records: Vec<String>,
    /// Their datasets.
    pub datasets: Vec<String>,
}

/// One property of one material: the belief and the values it rests on.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PropertyAnswer {
    /// The property key.
    pub property: String,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The belief's value at the reference condition; null where no value is usable.
    pub value: Option<f64>,
    /// One standard deviation.
    pub sd: Option<f64>,
    /// What the belief rests on.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub evidence: Evidence,
    /// Whether it is that of the formula, not of this phase.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inherited: bool,
    /// All values, with their provenance.
    pub values: Vec<ValueAnswer>,
}

/// One value with its provenance.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValueAnswer {
    /// The value in the property's unit.
    pub value: f64,
    /// How it came to be.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub evidence: Evidence,
    /// Test standard or functional.
    pub method: Option<String>,
    /// Temperature in K, where stated.
    pub temperature_k: Option<f64>,
    /// What the source states beside the value.
    #[serde(flatten)]
    pub stated: StatedAnswer,
    /// The record it is in.
    pub record: String,
    /// DOI or URL.
    pub source: Option<String>,
    /// Why it does not count as evidence, where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
}

/// All that is known of a material under a scope; `None` where the scope has no record of it.
pub fn material(snapshot: &Snapshot, scope: &Scope, row: u32) -> Option<MaterialAnswer> {
    let m = &snapshot.materials;
    let at = row as usize;
    let (records, datasets) = records_of(snapshot, scope, row);
    if records.is_empty() {
        return None;
    }
    // only a dataset that speaks of the material, or of its formula, can have a value of its own property
    let parent = m.parent[at];
    let formula = if parent == u32::MAX { Vec::new() } else { records_of(snapshot, scope, parent).1 };
    let speaks = |name: &str| datasets.iter().chain(&formula).any(|dataset| dataset == name);
    let known = snapshot.properties(scope).filter(|p| p.dataset().is_none_or(speaks));
    let properties = known.filter_map(|p| property_answer(snapshot, scope, p, row)).collect();
    Some(MaterialAnswer {
        version: snapshot.version,
        material: m.id.value(at).to_owned(),
        formula: m.display(at),
        chemical_formula_reduced: m.formula.is_valid(at).then(|| m.formula.value(at).to_owned()),
        name: m.name(at, scope).map(str::to_owned),
        class: m.class(at, scope).map(str::to_owned),
        space_group: (m.space_group[at] != 0).then_some(m.space_group[at]),
        elements: m.parsed(at).map(|f| f.elements().map(|e| e.symbol().to_owned()).collect()).unwrap_or_default(),
        properties,
        predicted: None,
        records,
        datasets,
    })
}

/// What is predicted of a material for a scope, of the properties that nothing is known of.
pub fn predicted(snapshot: &Snapshot, scope: &Scope, row: u32) -> BTreeMap<String, ScreenValue> {
    let properties: Vec<&Property> = snapshot.properties(scope).collect();
    let said = |property: &&Property| {
        let column = snapshot.predicted(property)?;
        let (mean, half) = (*column.mean.get(row as usize)?, *column.half.get(row as usize)?);
        if !mean.is_finite() || snapshot.beliefs(scope, property, None).get(row, snapshot.materials.len()).is_some() {
            return None;
        }
        let near = snapshot.nearest_known(property, row, NEIGHBOURS);
        let value = ScreenValue::of(snapshot, property, &prediction::belief(property, mean, half), &near);
        Some((property.key.clone(), value))
    };
    properties.par_iter().filter_map(said).collect()
}

fn property_answer(snapshot: &Snapshot, scope: &Scope, property: &Property, row: u32) -> Option<PropertyAnswer> {
    let v = &snapshot.measurements;
    let entries = v.of_property(&property.key);
    let mut rows = vec![row];
    let parent = snapshot.materials.parent[row as usize];
    rows.extend((parent != u32::MAX).then_some(parent));
    let entries = rows.into_iter().flat_map(|row| v.of_material(entries.clone(), row));
    let values: Vec<ValueAnswer> = entries
        .filter(|&i| snapshot.sees(scope, v.record[i] as usize))
        .map(|i| ValueAnswer {
            value: v.value[i],
            evidence: Evidence::from_u8(v.evidence[i]).unwrap_or(Evidence::None),
            method: v.word(v.method[i]).map(ToString::to_string),
            temperature_k: kelvins(v.temperature[i]),
            stated: StatedAnswer::of(v, i, |x| x),
            record: snapshot.records.id.value(v.record[i] as usize).to_owned(),
            source: v.word(v.source[i]).map(ToString::to_string),
            flag: v.sd[i].is_nan().then(|| "outside the physical bounds of the property: not counted".to_owned()),
        })
        .collect();
    if values.is_empty() {
        return None;
    }
    let belief = snapshot.beliefs(scope, property, None).get(row, snapshot.materials.len());
    Some(PropertyAnswer {
        property: property.key.clone(),
        name: property.name.clone(),
        unit: property.unit.clone(),
        value: belief.map(|b| b.value),
        sd: belief.map(|b| native_sd(property.axis, b.value, b.sd)),
        evidence: belief.map_or(Evidence::None, |b| b.evidence),
        inherited: belief.is_some_and(|b| b.inherited),
        values,
    })
}
