//! Do these formulas meet a spec? Materials by formula, whether the hub holds them or not.
//!
//! What the hub knows of a formula comes first, by the same beliefs as a suggest's. What it does not know is predicted from the
//! composition, and from whatever else is known of the material. A verdict is `pass` or `fail` only on what is known.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datasets::formula::Formula;
use datasets::property::{Axis, Property};
use datasets::record::Evidence;
use gpu::normal::interval_probability;
use gpu::reference;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use space::composition::Composition;
use space::predictor::{COVERED_DEVIATIONS, Predicted};

use crate::belief::{Belief, Beliefs, floor_sd};
use crate::candidate::{NEIGHBOURS, ScreenValue, Verdict, native_sd};
use crate::embedding::compose;
use crate::hub::HubError;
use crate::prediction::{self, Ground, Learned, PredictionError, Predictions, Wanted};
use crate::scope::{Scope, Viewer};
use crate::search::Judge;
use crate::snapshot::Snapshot;
use crate::spec::{Resolved, Spec, SpecError, Subject, Target, Unknown};

/// Candidates of one question, at most.
pub const MAX_CANDIDATES: usize = 100_000;
/// Candidates up to which predictions name their neighbours.
pub const MAX_WITH_NEIGHBOURS: usize = 1_000;
/// Properties of one question, at most, besides those of the spec.
const MAX_PROPERTIES: usize = 64;

/// A question for what may be said of some formulas.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ScreenSpec {
    /// What is screened, 1 to 100,000; more than 1,000 are a job over HTTP.
    pub candidates: Vec<ScreenCandidate>,
    /// What they are to meet. Its `filter`, `like`, `limit` and `offset` choose among materials of the hub and are not for this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Spec>,
    /// Keys of properties whose values are wanted, besides those of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
}

/// A formula to be screened.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ScreenCandidate {
    /// As chemists write it: `TiN`, `Hf0.2Ta0.2Zr0.2Nb0.2Ti0.2C`. Either this or `composition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// Amounts by element symbol: `{"Ti": 0.9, "Al": 0.1}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub composition: Option<BTreeMap<String, f64>>,
}

/// What is said of the candidates.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScreenAnswer {
    /// How it was found.
    pub meta: ScreenMeta,
    /// One result a candidate, in their order.
    pub results: Vec<ScreenResult>,
}

/// How an answer was found.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScreenMeta {
    /// Version of the table whose values were used.
    pub version: u64,
    /// Milliseconds in the question, transport not counted.
    pub took_ms: f64,
    /// Candidates that the hub holds a material of.
    pub known: usize,
    /// Candidates that could not be read.
    pub errors: usize,
    /// Candidates by verdict, where there is a spec.
    pub verdicts: BTreeMap<Verdict, usize>,
}

/// What is said of one candidate.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScreenResult {
    /// As it was given.
    pub formula: String,
    /// Id of the material, where the hub holds one of this formula; null also where it holds several phases.
    pub material: Option<String>,
    /// `fail` where any target fails, else `unknown` where any is unknown, else `pass`; null without a spec.
    pub verdict: Option<Verdict>,
    /// Probability of meeting all windows, if targets were independent; null without a window.
    pub probability: Option<f64>,
    /// Expected squared distance to the spec in tolerances; null without a spec.
    pub score: Option<f64>,
    /// What is believed of each property and index, in the dictionary's unit.
    pub properties: BTreeMap<String, ScreenValue>,
    /// Why nothing is said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A candidate that could be read.
struct Read {
    /// Place among the candidates.
    at: usize,
    composition: Composition,
    /// Materials of the hub of this formula: the one that states no phase first, if there is one.
    rows: Vec<u32>,
}

/// One property of all candidates that could be read.
struct Said {
    property: &'static Property,
    beliefs: Vec<Option<Belief>>,
    /// How far the nearest known material is, of those that are predicted.
    distances: Vec<Option<f32>>,
    /// What it was learned from, where anything is predicted.
    learned: Arc<Option<Learned>>,
}

/// Answers what may be said of some formulas. `watch` is told how many properties are done, of how many, and ends it by `false`.
///
/// # Errors
/// The question is to blame ([`HubError::Spec`]), or nothing can be predicted.
pub fn screen(
    snapshot: &Snapshot,
    predictions: &Predictions,
    question: &ScreenSpec,
    viewer: Viewer,
    watch: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<ScreenAnswer, HubError> {
    let count = question.candidates.len();
    let (spec, scope, properties) = understood(snapshot, question, viewer)?;
    let seen = snapshot.members(&scope);
    let read: Vec<Result<Read, String>> = question
        .candidates
        .par_iter()
        .enumerate()
        .map(|(at, candidate)| {
            let formula = candidate.parse()?;
            let composition = compose(&formula).ok_or("the formula holds no atoms")?;
            let materials = &snapshot.materials;
            let reduced = formula.reduced();
            let rows = materials.row(&reduced).into_iter().chain(materials.below(&reduced));
            Ok(Read { at, composition, rows: rows.filter(|row| seen.get(*row as usize)).collect() })
        })
        .collect();
    let mut results: Vec<ScreenResult> = question.candidates.iter().map(ScreenCandidate::unsaid).collect();
    let mut sound = Vec::with_capacity(read.len());
    for (result, read) in results.iter_mut().zip(read) {
        match read {
            Ok(read) => sound.push(read),
            Err(why) => result.error = Some(why),
        }
    }
    let unknown = question.spec.as_ref().map_or(Unknown::Predict, |spec| spec.unknown);
    let predicts = unknown == Unknown::Predict || !question.properties.is_empty();
    let mut asking = Asking { snapshot, predictions, scope: &scope, read: &sound, predicts, ground: None };
    let mut said: Vec<Said> = Vec::new();
    for (done, property) in properties.iter().enumerate() {
        if !watch(done, properties.len()) {
            return Err(PredictionError::Stopped.into());
        }
        said.push(asking.say(property)?);
    }
    let names_neighbours = count <= MAX_WITH_NEIGHBOURS;
    let places: HashMap<&str, usize> =
        said.iter().enumerate().map(|(at, said)| (said.property.key.as_str(), at)).collect();
    let judges: Vec<Judge<'_>> =
        spec.iter().flat_map(|spec| &spec.targets).map(|target| Judge::new(snapshot, target)).collect();
    let whole = sound.par_iter().enumerate().map(|(i, read)| {
        let mut result = results[read.at].clone();
        result.material = match read.rows.as_slice() {
            [one] => Some(*one),
            [first, ..] if snapshot.materials.space_group[*first as usize] == 0 => Some(*first),
            _ => None,
        }
        .map(|row| snapshot.materials.id.value(row as usize).to_owned());
        for of in &said {
            result.properties.insert(of.property.key.clone(), value(snapshot, of, read, i, names_neighbours));
        }
        if let Some(spec) = &spec {
            let believed = |property: &Property| said[places[property.key.as_str()]].beliefs[i];
            judge(snapshot, (spec, &judges), unknown, &believed, &mut result);
        }
        result
    });
    for (read, result) in sound.iter().zip(whole.collect::<Vec<_>>()) {
        results[read.at] = result;
    }
    let mut verdicts = BTreeMap::new();
    results.iter().filter_map(|result| result.verdict).for_each(|verdict| *verdicts.entry(verdict).or_insert(0) += 1);
    Ok(ScreenAnswer {
        meta: ScreenMeta {
            version: snapshot.version,
            took_ms: 0.0,
            known: sound.iter().filter(|read| !read.rows.is_empty()).count(),
            errors: results.iter().filter(|result| result.error.is_some()).count(),
            verdicts,
        },
        results,
    })
}

/// Whether a question can be answered: formulas that cannot be read are errors of their own results.
///
/// # Errors
/// The question is to blame.
pub fn check(snapshot: &Snapshot, question: &ScreenSpec, viewer: Viewer) -> Result<(), HubError> {
    understood(snapshot, question, viewer).map(|_| ())
}

/// The spec in the terms of the score, whose evidence may count, and all properties that are asked about.
fn understood(
    snapshot: &Snapshot,
    question: &ScreenSpec,
    viewer: Viewer,
) -> Result<(Option<Resolved>, Scope, Vec<&'static Property>), HubError> {
    let count = question.candidates.len();
    if !(1..=MAX_CANDIDATES).contains(&count) {
        let message = format!("{count} candidates; give 1 to {MAX_CANDIDATES}");
        return Err(SpecError::new("/candidates", message).into());
    }
    let (spec, scope) = wanted(snapshot, question, viewer)?;
    let properties = properties(snapshot, question, spec.as_ref(), &scope)?;
    Ok((spec, scope, properties))
}

/// The spec in the terms of the score, and whose evidence may count.
fn wanted(snapshot: &Snapshot, question: &ScreenSpec, viewer: Viewer) -> Result<(Option<Resolved>, Scope), HubError> {
    let Some(spec) = &question.spec else { return Ok((None, snapshot.visible(viewer))) };
    if spec.filter.is_some() {
        let message = "a filter chooses among the materials of the hub: leave it out, or ask `suggest`";
        return Err(SpecError::new("/spec/filter", message).into());
    }
    if spec.like.is_some() {
        let message = "likeness ranks the materials of the hub: leave `like` out, or ask `suggest`";
        return Err(SpecError::new("/spec/like", message).into());
    }
    // empty cells are filled here, formula by formula
    let known = Spec { unknown: Unknown::Require, ..spec.clone() };
    let under_spec = |e: HubError| match e {
        HubError::Spec(e) => SpecError { pointer: format!("/spec{}", e.pointer), ..e }.into(),
        other => other,
    };
    let resolved = known.resolve(snapshot, viewer).map_err(under_spec)?;
    let scope = resolved.scope.clone();
    Ok((Some(resolved), scope))
}

/// All properties that are asked about, each once: those of the spec, then the others.
fn properties(
    snapshot: &Snapshot,
    question: &ScreenSpec,
    spec: Option<&Resolved>,
    scope: &Scope,
) -> Result<Vec<&'static Property>, SpecError> {
    if spec.is_none() && question.properties.is_empty() {
        return Err(SpecError::new("", "say what is wanted: a `spec`, or the keys of `properties`"));
    }
    if question.properties.len() > MAX_PROPERTIES {
        let message = format!("{} properties; at most {MAX_PROPERTIES}", question.properties.len());
        return Err(SpecError::new("/properties", message));
    }
    let of_spec = spec.iter().flat_map(|spec| &spec.targets).flat_map(|target| match &target.subject {
        Subject::Property(property) => vec![*property],
        Subject::Index(merit) => merit.definitions().to_vec(),
    });
    let mut all: Vec<&'static Property> = of_spec.collect();
    for (i, key) in question.properties.iter().enumerate() {
        let found = snapshot.find_property(key.trim(), scope);
        all.push(found.map_err(|e| SpecError::new(format!("/properties/{i}"), e.message).closest(e.closest))?);
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|property| seen.insert(property.key.as_str()));
    Ok(all)
}

impl ScreenCandidate {
    /// A candidate of a formula.
    pub fn of(formula: impl Into<String>) -> ScreenCandidate {
        ScreenCandidate { formula: Some(formula.into()), composition: None }
    }

    fn parse(&self) -> Result<Formula, String> {
        let written;
        let text = match (&self.formula, &self.composition) {
            (Some(formula), None) => formula,
            (None, Some(_)) => {
                written = self.written();
                &written
            }
            _ => return Err("give either a `formula` or a `composition`".to_owned()),
        };
        Formula::parse(text.trim()).map_err(|e| e.to_string())
    }

    /// A composition written as a formula.
    fn written(&self) -> String {
        self.composition.iter().flatten().map(|(symbol, amount)| format!("{symbol}{amount}")).collect()
    }

    fn unsaid(&self) -> ScreenResult {
        ScreenResult {
            formula: self.formula.clone().unwrap_or_else(|| self.written()),
            material: None,
            verdict: None,
            probability: None,
            score: None,
            properties: BTreeMap::new(),
            error: None,
        }
    }
}

/// What properties of the candidates are asked with.
struct Asking<'a> {
    snapshot: &'a Snapshot,
    predictions: &'a Predictions,
    scope: &'a Scope,
    read: &'a [Read],
    predicts: bool,
    /// What predictions rest on, with what the encoders say of the candidates; once it is needed.
    ground: Option<(Ground<'a>, space::ensemble::Said)>,
}

impl<'a> Asking<'a> {
    /// One property of all candidates: known, or else predicted.
    fn say(&mut self, property: &'static Property) -> Result<Said, HubError> {
        let (snapshot, read) = (self.snapshot, self.read);
        let known = snapshot.beliefs(self.scope, property, None);
        let beliefs = read.par_iter().map(|read| of_phases(&known, &read.rows, snapshot)).collect();
        let distances = vec![None; read.len()];
        let mut all = Said { property, beliefs, distances, learned: Arc::new(None) };
        let missing: Vec<usize> = (0..read.len()).filter(|i| all.beliefs[*i].is_none()).collect();
        if missing.is_empty() || !self.predicts {
            return Ok(all);
        }
        let (ground, encoded) = match &mut self.ground {
            Some(ground) => ground,
            none => {
                let ground = self.predictions.ground(snapshot)?;
                let encoded = ground.encode(&read.iter().map(|read| &read.composition).collect::<Vec<_>>());
                none.insert((ground, encoded))
            }
        };
        all.learned = self.predictions.learn(ground, property);
        if let Some(learned) = all.learned.as_ref() {
            let wanted = |i: &usize| Wanted {
                composition: &read[*i].composition,
                row: read[*i].rows.first().copied(),
                said: *i,
            };
            let said = self.predictions.say(
                learned,
                ground,
                property,
                encoded,
                &missing.iter().map(wanted).collect::<Vec<_>>(),
            );
            for (i, Predicted { mean, half, distance }) in missing.into_iter().zip(said) {
                all.beliefs[i] = Some(prediction::belief(property, mean, half));
                all.distances[i] = Some(distance);
            }
        }
        Ok(all)
    }
}

/// What is believed of a formula: what is said of it, else of its phases on the best evidence, by the median.
fn of_phases(known: &Beliefs, rows: &[u32], snapshot: &Snapshot) -> Option<Belief> {
    let materials = &snapshot.materials;
    let mut found: Vec<Belief> = Vec::new();
    for row in rows {
        let Some(belief) = known.get(*row, materials.len()) else { continue };
        if materials.space_group[*row as usize] == 0 && found.is_empty() {
            return Some(belief);
        }
        found.push(belief);
    }
    let best = found.iter().map(|belief| belief.evidence).max()?;
    found.retain(|belief| belief.evidence == best);
    found.sort_by(|a, b| a.mean.total_cmp(&b.mean).then(a.pick.cmp(&b.pick)));
    let n = found.len() as f64;
    let middle = found[(found.len() - 1) / 2];
    let own = found.iter().map(|belief| belief.sd.powi(2)).sum::<f64>() / n;
    let spread = found.iter().map(|belief| (belief.mean - middle.mean).powi(2)).sum::<f64>() / n;
    Some(Belief {
        sd: floor_sd(middle.mean, (own + spread).sqrt()),
        count: found.iter().map(|b| b.count).sum(),
        ..middle
    })
}

fn value(snapshot: &Snapshot, said: &Said, read: &Read, i: usize, names_neighbours: bool) -> ScreenValue {
    let property = said.property;
    let Some(belief) = said.beliefs[i] else { return ScreenValue::nothing(property.unit.clone()) };
    let near = match said.learned.as_ref() {
        Some(learned) if names_neighbours && belief.evidence == Evidence::Predicted => {
            learned.nearest(&read.composition, NEIGHBOURS)
        }
        _ => Vec::new(),
    };
    let value = ScreenValue::of(snapshot, property, &belief, &near);
    ScreenValue { distance: value.distance.or(said.distances[i].map(f64::from)), ..value }
}

/// Score, probability and verdict of one candidate, and the values of indices of merit.
fn judge(
    snapshot: &Snapshot,
    (spec, judges): (&Resolved, &[Judge<'_>]),
    unknown: Unknown,
    believed: &dyn Fn(&Property) -> Option<Belief>,
    result: &mut ScreenResult,
) {
    let (mut sum, mut weights, mut probability) = (0.0, 0.0, None);
    let (mut fails, mut unclear) = (false, false);
    for (target, judge) in spec.targets.iter().zip(judges) {
        let belief = match &target.subject {
            Subject::Property(property) => believed_at(snapshot, target, believed(property), &result.material),
            Subject::Index(merit) => {
                let parts: Option<Vec<Belief>> = merit.definitions().iter().map(|p| believed(p)).collect();
                let belief = parts.and_then(|parts| merit.belief(&parts));
                result.properties.insert(merit.text().to_owned(), of_index(belief, merit.axis(), merit.unit()));
                belief
            }
        };
        let known = belief.filter(|belief| belief.evidence >= spec.evidence);
        let counts = match unknown {
            Unknown::Predict => true,
            Unknown::Require | Unknown::Ignore => known.is_some(),
        };
        match known {
            Some(belief) => match judge.meets(belief.mean, belief.pick) {
                Some(true) => {}
                Some(false) => fails = true,
                None => unclear = true,
            },
            None if unknown == Unknown::Ignore => {}
            None => unclear = true,
        }
        if !counts {
            continue;
        }
        let population = target.beliefs.population();
        let (mean, sd) = belief.map_or((population.median, population.spread), |belief| (belief.mean, belief.sd));
        sum += target.window.weight * reference::shortfall_squared(mean, sd, &target.window);
        weights += target.window.weight;
        if target.required {
            let meets = interval_probability(mean, sd, target.window.lo, target.window.hi).clamp(0.0, 1.0);
            probability = Some(probability.unwrap_or(1.0) * meets);
        }
    }
    result.score = (weights > 0.0).then(|| sum / weights);
    result.probability = probability;
    result.verdict = Some(match () {
        () if fails => Verdict::Fail,
        () if unclear => Verdict::Unknown,
        () => Verdict::Pass,
    });
}

/// What is believed of a target's property where it is asked at a temperature: what is known there, and of a prediction only that it
/// is of the reference condition.
fn believed_at(
    snapshot: &Snapshot,
    target: &Target,
    belief: Option<Belief>,
    material: &Option<String>,
) -> Option<Belief> {
    let Some(at) = target.at else { return belief };
    let row = material.as_ref().and_then(|id| snapshot.materials.row(id));
    let known = row.and_then(|row| target.beliefs.get(row, snapshot.materials.len()));
    known.or_else(|| belief.filter(|belief| belief.evidence == Evidence::Predicted && prediction::holds(Some(at))))
}

fn of_index(belief: Option<Belief>, axis: Axis, unit: String) -> ScreenValue {
    let Some(belief) = belief else { return ScreenValue::nothing(unit) };
    let end = |deviations: f64| axis.from_axis(belief.mean + deviations * belief.sd);
    ScreenValue {
        value: Some(belief.value),
        lower: Some(end(-COVERED_DEVIATIONS).min(belief.value)),
        upper: Some(end(COVERED_DEVIATIONS).max(belief.value)),
        sd: Some(native_sd(axis, belief.value, belief.sd)),
        evidence: belief.evidence,
        ..ScreenValue::nothing(unit)
    }
}
