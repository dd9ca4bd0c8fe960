//! What is wanted, in dictionary units: the spec as users write it, and as the score needs it.

use std::sync::Arc;

use datasets::property::{Axis, Property};
use datasets::record::Evidence;
use datasets::unit::{Conversion, Unit, UnitError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::belief::{At, Beliefs};
use crate::hub::HubError;
use crate::like::{Like, LikeSpec};
use crate::merit::Merit;
use crate::scope::{Scope, Viewer};
use crate::snapshot::Snapshot;

/// Targets of one spec, at most.
pub const MAX_TARGETS: usize = gpu::MAX_TARGETS;
/// Candidates of one answer, at most.
pub const MAX_LIMIT: usize = 1_000;
/// Candidates that can be paged through, at most (offset + limit).
pub const MAX_DEPTH: usize = 10_000;
/// How far from the asked temperature a value may be measured and still count, K, unless the target says otherwise.
pub const DEFAULT_TEMPERATURE_TOLERANCE_K: f64 = 50.0;

/// What may cost 1: devices tell apart what lies between.
pub(crate) const TOLERANCES: std::ops::RangeInclusive<f64> = 1e-15..=1e15;

/// A target spec, as users write it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What is wanted, at most 64 targets, `like` counted; at least one, or else `like`.
    #[serde(default)]
    pub targets: Vec<TargetSpec>,
    /// Which material the candidates are to be like, and how much that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<LikeSpec>,
    /// Which materials may be candidates, in the OPTIMADE filter language over material fields and property keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// What an empty cell counts as.
    #[serde(default)]
    pub unknown: Unknown,
    /// The least evidence that counts as known.
    #[serde(default = "default_evidence")]
    #[cfg_attr(feature = "openapi", schema(value_type = EvidenceLevel, default = "derived"))]
    pub evidence: Evidence,
    /// Only records of these datasets count; all that the caller may see by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datasets: Option<Vec<String>>,
    /// Number of candidates, 1 to 1,000.
    #[serde(default = "default_limit")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000, default = 20))]
    pub limit: usize,
    /// Number of candidates to pass over first; `offset + limit` is at most 10,000.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 10000, default = 0))]
    pub offset: usize,
}

fn default_evidence() -> Evidence {
    Evidence::Derived
}

pub(crate) fn default_limit() -> usize {
    20
}

/// Levels of evidence that a spec may ask for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum EvidenceLevel {
    /// Measured on a sample.
    Measured,
    /// Calculated by physics.
    Computed,
    /// Follows from other values of the record.
    Derived,
    /// Said by a model of the hub.
    Predicted,
}

/// What an empty cell counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// As the best that the hub can say: where it can say nothing, the property's population.
    #[default]
    Predict,
    /// The material is left out where a target lacks the asked evidence.
    Require,
    /// The target does not count for that material; materials for which no target counts are left out.
    Ignore,
}

/// One target: a window, a value with its tolerance, or a goal; on a property or an index of merit.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TargetSpec {
    /// Key of the property dictionary, or of a dataset's own property: `my-lab:wear_rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// An index of merit instead: `youngs_modulus^(1/2) / density`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Lower end of the window, inclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Upper end of the window, inclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The middle of a window of ± `tolerance`; with `goal`, the value that counts as the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// With `value`: half the window. Else: how far outside the window costs 1; by default the property's robust spread
    /// over the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// As high or as low as the hub knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// Unit of the numbers; the dictionary's by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How much the target counts, 1 by default; 10⁻⁶ to 10⁶.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The condition at which the value is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Conditions>,
}

/// Which end of a property is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// As high as possible.
    Maximize,
    /// As low as possible.
    Minimize,
}

/// Conditions of a target.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The temperature at which the value is wanted.
    pub temperature: Quantity,
}

/// A number with its unit.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// The number.
    pub value: f64,
    /// Its unit, `K` or `°C`.
    pub unit: String,
    /// Values measured further away than this do not count as known; 50 K by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
}

/// A spec that cannot be answered: where, what, and the mend.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct SpecError {
    /// JSON pointer to the part of the spec that is to blame.
    pub pointer: String,
    /// What is wrong, and the mend.
    pub message: String,
    /// The closest names that exist, where a name was unknown.
    pub closest: Vec<String>,
}

impl SpecError {
    pub(crate) fn new(pointer: impl Into<String>, message: impl Into<String>) -> SpecError {
        SpecError { pointer: pointer.into(), message: message.into(), closest: Vec::new() }
    }

    pub(crate) fn closest(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> SpecError {
        self.closest = names.into_iter().map(Into::into).collect();
        self
    }
}

/// A spec from JSON text.
///
/// # Errors
/// The text is no JSON, or not a spec; the pointer says where.
pub fn from_json(text: &[u8]) -> Result<Spec, SpecError> {
    read_json(text)
}

/// A question of any kind from JSON text.
///
/// # Errors
/// The text is no JSON, or no such question; the pointer says where.
pub fn read_json<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, SpecError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let spec: T = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let pointer = pointer_of(e.path());
        SpecError::new(pointer, e.into_inner().to_string())
    })?;
    json.end().map_err(|e| SpecError::new("", e.to_string()))?;
    Ok(spec)
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let part = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(format!("/{index}")),
        Segment::Map { key } => Some(format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
        Segment::Enum { variant } => Some(format!("/{variant}")),
        Segment::Unknown => None,
    };
    path.iter().filter_map(part).collect()
}

/// What a target is about.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A property of the dictionary or of a dataset's own.
    Property(&'static Property),
    /// An index of merit.
    Index(Box<Merit>),
}

impl Subject {
    /// The axis of its beliefs.
    pub fn axis(&self) -> Axis {
        match self {
            Subject::Property(property) => property.axis,
            Subject::Index(merit) => merit.axis(),
        }
    }

    /// The property key, or the index as written.
    pub fn label(&self) -> &str {
        match self {
            Subject::Property(property) => &property.key,
            Subject::Index(merit) => merit.text(),
        }
    }
}

/// A target, in the terms of the score.
#[derive(Debug, Clone)]
pub struct Target {
    /// What it is about.
    pub subject: Subject,
    /// Its beliefs under the query's scope.
    pub beliefs: Arc<Beliefs>,
    /// The window on the axis, the tolerance and the weight.
    pub window: gpu::reference::Window,
    /// Whether the window is a requirement; a goal ranks and requires nothing.
    pub required: bool,
    /// The unit that answers are given in.
    pub unit: String,
    /// Dictionary unit → that unit.
    pub shown: Option<Conversion>,
    /// The temperature that it is asked at.
    pub at: Option<At>,
    /// Why no empty cell is predicted, where they are to be and none is.
    pub unpredicted: Option<String>,
}

/// A spec, checked and resolved against a snapshot.
#[derive(Debug)]
pub struct Resolved {
    /// The targets, in the order of the spec.
    pub targets: Vec<Target>,
    /// Likeness to a material.
    pub like: Option<Like>,
    /// The datasets that may count.
    pub scope: Scope,
    /// Materials that may be candidates: of the scope, matching the filter, and not the one that they are to be like.
    pub mask: gpu::Mask,
    /// What an empty cell counts as.
    pub unknown: Unknown,
    /// The least evidence that counts as known.
    pub evidence: Evidence,
    /// Number of candidates.
    pub limit: usize,
    /// Candidates to pass over.
    pub offset: usize,
    /// Materials of the scope.
    pub searched: usize,
}

impl Spec {
    /// Checks the spec and resolves it against a snapshot.
    ///
    /// # Errors
    /// [`HubError::Spec`], with a pointer to the part that is to blame; others where the space of `like` cannot be made.
    pub fn resolve(&self, snapshot: &Snapshot, viewer: Viewer) -> Result<Resolved, HubError> {
        self.check()?;
        let scope = scope(snapshot, viewer, self.datasets.as_deref())?;
        let (mut mask, searched) = candidates(snapshot, &scope, self.filter.as_deref())?;
        let targets = self
            .targets
            .par_iter()
            .enumerate()
            .map(|(i, target)| target.resolve(i, snapshot, &scope, self))
            .collect::<Result<_, _>>()?;
        let like = self.like.as_ref().map(|like| like.resolve(snapshot, viewer, &scope)).transpose()?;
        like.iter().flat_map(|like| &like.own).for_each(|row| mask.set(*row as usize, false));
        Ok(Resolved {
            targets,
            like,
            scope,
            mask,
            unknown: self.unknown,
            evidence: self.evidence,
            limit: self.limit,
            offset: self.offset,
            searched,
        })
    }

    /// What can be said without a look at the hub.
    fn check(&self) -> Result<(), SpecError> {
        let (targets, likes) = (self.targets.len(), usize::from(self.like.is_some()));
        if targets + likes == 0 {
            return Err(SpecError::new("/targets", "a spec needs at least one target, or `like`"));
        }
        if targets + likes > MAX_TARGETS {
            let and = if likes == 0 { "" } else { " and `like`" };
            return Err(SpecError::new("/targets", format!("{targets} targets{and}; at most {MAX_TARGETS}")));
        }
        if !(1..=MAX_LIMIT).contains(&self.limit) {
            return Err(SpecError::new("/limit", format!("{} is not within 1 to {MAX_LIMIT}", self.limit)));
        }
        if self.offset.saturating_add(self.limit) > MAX_DEPTH {
            let message = format!("offset + limit is beyond {MAX_DEPTH}: narrow the spec by a filter");
            return Err(SpecError::new("/offset", message));
        }
        if self.evidence == Evidence::None {
            return Err(SpecError::new(
                "/evidence",
                "`none` is no evidence: say measured, computed, derived or predicted",
            ));
        }
        Ok(())
    }
}

/// How much the part of a spec at `pointer` counts.
pub(crate) fn weight(given: Option<f64>, pointer: &str) -> Result<f64, SpecError> {
    let weight = given.unwrap_or(1.0);
    if (1e-6..=1e6).contains(&weight) {
        return Ok(weight);
    }
    Err(SpecError::new(format!("{pointer}/weight"), format!("{weight} is not within 1e-6 to 1e6")))
}

/// The materials of a scope that match a filter, and how many the scope has.
///
/// # Errors
/// The filter is to blame.
pub(crate) fn candidates(
    snapshot: &Snapshot,
    scope: &Scope,
    filter: Option<&str>,
) -> Result<(gpu::Mask, usize), SpecError> {
    let mut mask = (*snapshot.members(scope)).clone();
    let searched = mask.count();
    if let Some(text) = filter.filter(|text| !text.trim().is_empty()) {
        let matching =
            crate::filter::matching(snapshot, scope, text).map_err(|e| SpecError::new("/filter", e.to_string()))?;
        mask.and(&matching).map_err(|e| SpecError::new("/filter", e.to_string()))?;
    }
    Ok((mask, searched))
}

/// The scope of some named datasets, all visible ones where none is named.
///
/// # Errors
/// A name that is not there, or that the viewer may not see: the two look the same.
pub fn scope(snapshot: &Snapshot, viewer: Viewer, names: Option<&[String]>) -> Result<Scope, SpecError> {
    let visible = snapshot.visible(viewer);
    let Some(names) = names else { return Ok(visible) };
    if names.is_empty() {
        return Err(SpecError::new(
            "/datasets",
            "an empty list leaves nothing to search: name a dataset, or leave it out",
        ));
    }
    let mut scope = Scope(vec![false; visible.0.len()]);
    for (i, name) in names.iter().enumerate() {
        let found = snapshot.datasets.iter().position(|d| d.info.name == *name).filter(|&d| visible.0[d]);
        let Some(d) = found else {
            let mut known: Vec<&str> = snapshot
                .datasets
                .iter()
                .zip(&visible.0)
                .filter(|(_, v)| **v)
                .map(|(d, _)| d.info.name.as_str())
                .collect();
            known.sort_by(|a, b| {
                let closeness = |x: &str| datasets::property::similarity(x, name);
                closeness(b).total_cmp(&closeness(a)).then(a.cmp(b))
            });
            known.truncate(3);
            let message = format!("there is no dataset `{name}`; the closest are {}", known.join(", "));
            return Err(SpecError::new(format!("/datasets/{i}"), message).closest(known));
        };
        scope.0[d] = true;
    }
    Ok(scope)
}

impl TargetSpec {
    fn resolve(&self, i: usize, snapshot: &Snapshot, scope: &Scope, spec: &Spec) -> Result<Target, SpecError> {
        let here = |part: &str| format!("/targets/{i}{part}");
        let subject = self.subject(i, snapshot, scope)?;
        let (unit, conversion, shown) = self.unit(i, &subject)?;
        let number = |value: Option<f64>, part: &str| match value {
            Some(x) if !x.is_finite() => Err(SpecError::new(here(part), "is not a finite number")),
            other => Ok(other),
        };
        let (min, max) = (number(self.min, "/min")?, number(self.max, "/max")?);
        let (value, tolerance) = (number(self.value, "/value")?, number(self.tolerance, "/tolerance")?);
        let weight = weight(self.weight, &here(""))?;
        if tolerance.is_some_and(|t| t <= 0.0) {
            return Err(SpecError::new(here("/tolerance"), "must be above 0"));
        }
        let at = self.at(i, &subject)?;
        let predicts = spec.unknown == Unknown::Predict || spec.evidence == Evidence::Predicted;
        let beliefs = match &subject {
            Subject::Property(property) if predicts => snapshot.believed(scope, property, at),
            Subject::Property(property) => snapshot.beliefs(scope, property, at),
            Subject::Index(merit) => merit.believed(snapshot, scope, predicts),
        };
        let unpredicted = || match &subject {
            Subject::Property(property) => snapshot.unpredicted(property, at),
            Subject::Index(merit) => merit.unpredicted(snapshot),
        };
        let unpredicted = predicts.then(unpredicted).flatten();
        let axis = subject.axis();
        // a number of the spec, in the dictionary's unit
        let native = |x: f64| conversion.as_ref().map_or(x, |c| c.apply(x));
        let on_axis = |x: f64, part: &str| -> Result<f64, SpecError> {
            let x = native(x);
            if axis == Axis::Log && x <= 0.0 {
                return Err(SpecError::new(here(part), format!("{} is above 0 by nature", subject.label())));
            }
            Ok(axis.to_axis(x))
        };
        let population = beliefs.population();
        let (mut lo, mut hi) = (f64::NEG_INFINITY, f64::INFINITY);
        let mut required = true;
        let mut scale = None;
        match (self.goal, value) {
            (None, Some(middle)) => {
                if min.is_some() || max.is_some() {
                    return Err(SpecError::new(
                        here("/value"),
                        "give either `value` with `tolerance`, or `min` and `max`",
                    ));
                }
                let Some(tolerance) = tolerance else {
                    return Err(SpecError::new(here("/value"), "needs a `tolerance`: how far from it is still good"));
                };
                // an end below zero of a property that is above zero by nature leaves that side open
                let low = decimal(middle - tolerance);
                lo = if axis == Axis::Log && native(low) <= 0.0 { lo } else { on_axis(low, "/value")? };
                hi = on_axis(decimal(middle + tolerance), "/value")?;
                let middle = on_axis(middle, "/value")?;
                scale = Some(if lo.is_finite() { (hi - lo) / 2.0 } else { hi - middle });
            }
            (None, None) => {
                if min.is_none() && max.is_none() {
                    return Err(SpecError::new(
                        here(""),
                        "a target needs `min`, `max`, `value` with `tolerance`, or a `goal`",
                    ));
                }
                if let Some(x) = min {
                    lo = on_axis(x, "/min")?;
                }
                if let Some(x) = max {
                    hi = on_axis(x, "/max")?;
                }
                if lo > hi {
                    return Err(SpecError::new(here("/min"), "`min` is above `max`: exchange them"));
                }
                if let (Some(tolerance), Some(end)) = (tolerance, min.or(max)) {
                    scale = Some((on_axis(end + tolerance, "/tolerance")? - on_axis(end, "/tolerance")?).abs());
                }
            }
            (Some(goal), best) => {
                if min.is_some() || max.is_some() {
                    return Err(SpecError::new(here("/goal"), "give either a `goal`, or `min` and `max`"));
                }
                required = false;
                let known = best_known(&beliefs, goal, spec.evidence);
                let best = best.map(|x| on_axis(x, "/value")).transpose()?.or(known).unwrap_or(population.median);
                match goal {
                    Goal::Maximize => lo = best,
                    Goal::Minimize => hi = best,
                }
                if let Some(tolerance) = tolerance {
                    let best = axis.from_axis(best);
                    let step = conversion.as_ref().map_or(tolerance, |c| c.apply_to_difference(tolerance));
                    scale = Some((axis.to_axis(best + step) - axis.to_axis(best)).abs());
                }
            }
        }
        let tolerance = scale.unwrap_or(population.spread);
        if !TOLERANCES.contains(&tolerance) {
            return Err(SpecError::new(here("/tolerance"), "is too small or too large to be told apart"));
        }
        // an end that overflowed on its way to the dictionary's unit is not an open one
        let usable = |end: f64, open: f64| end == open || end.abs() <= 1e30;
        if !usable(lo, f64::NEG_INFINITY) || !usable(hi, f64::INFINITY) {
            return Err(SpecError::new(here(""), "is beyond 1e30 in the dictionary's unit"));
        }
        let window = gpu::reference::Window { lo, hi, inv_tolerance: 1.0 / tolerance, weight };
        Ok(Target { subject, beliefs, window, required, unit, shown, at, unpredicted })
    }

    fn subject(&self, i: usize, snapshot: &Snapshot, scope: &Scope) -> Result<Subject, SpecError> {
        match (&self.property, &self.index) {
            (Some(key), None) => snapshot
                .find_property(key, scope)
                .map(Subject::Property)
                .map_err(|e| SpecError::new(format!("/targets/{i}/property"), e.message).closest(e.closest)),
            (None, Some(text)) => Merit::parse(text, snapshot, scope)
                .map(|merit| Subject::Index(Box::new(merit)))
                .map_err(|e| SpecError::new(format!("/targets/{i}/index"), e.to_string())),
            _ => Err(SpecError::new(format!("/targets/{i}"), "a target is on either a `property` or an `index`")),
        }
    }

    /// The unit of answers, the way of the spec's numbers to the dictionary's unit, and the way back.
    #[allow(clippy::type_complexity)]
    fn unit(&self, i: usize, subject: &Subject) -> Result<(String, Option<Conversion>, Option<Conversion>), SpecError> {
        let refuse = |e: UnitError| {
            let closest = match &e {
                UnitError::Unknown { closest, .. } => closest.clone(),
                _ => Vec::new(),
            };
            SpecError::new(format!("/targets/{i}/unit"), e.to_string()).closest(closest)
        };
        match (subject, &self.unit) {
            (Subject::Property(property), None) => Ok((property.unit.clone(), None, None)),
            (Subject::Property(property), Some(text)) => {
                let wanted = Unit::parse(&property.unit).map_err(refuse)?;
                let given = Unit::parse_for(text, &wanted).map_err(refuse)?;
                let there = given.conversion_to(&wanted).map_err(refuse)?;
                let back = wanted.conversion_to(&given).map_err(refuse)?;
                Ok((text.clone(), Some(there), Some(back)))
            }
            (Subject::Index(merit), None) => Ok((merit.unit(), None, None)),
            (Subject::Index(merit), Some(_)) => {
                let message = format!("an index is in the dictionary's units, {}: leave `unit` out", merit.unit());
                Err(SpecError::new(format!("/targets/{i}/unit"), message))
            }
        }
    }

    fn at(&self, i: usize, subject: &Subject) -> Result<Option<At>, SpecError> {
        let Some(conditions) = &self.at else { return Ok(None) };
        let pointer = format!("/targets/{i}/at/temperature");
        if matches!(subject, Subject::Index(_)) {
            return Err(SpecError::new(
                pointer,
                "an index of merit cannot be asked at a temperature: ask its properties",
            ));
        }
        let quantity = &conditions.temperature;
        let to_kelvin = Unit::parse("K")
            .and_then(|kelvin| Unit::parse_for(&quantity.unit, &kelvin)?.conversion_to(&kelvin))
            .map_err(|e| SpecError::new(format!("{pointer}/unit"), e.to_string()))?;
        let temperature = to_kelvin.apply(quantity.value);
        if !(0.0..=1e5).contains(&temperature) {
            return Err(SpecError::new(format!("{pointer}/value"), "is not a temperature between 0 and 100,000 K"));
        }
        let tolerance = match quantity.tolerance {
            None => DEFAULT_TEMPERATURE_TOLERANCE_K,
            Some(t) if t >= 0.0 && t.is_finite() => to_kelvin.apply_to_difference(t),
            Some(_) => return Err(SpecError::new(format!("{pointer}/tolerance"), "must be 0 or more")),
        };
        Ok(Some(At { temperature, tolerance }))
    }
}

/// The nearest number of 15 digits: 1.3 - 0.1 is meant to be 1.2, and ends of windows are inclusive.
fn decimal(x: f64) -> f64 {
    format!("{x:.14e}").parse().unwrap_or(x)
}

/// The best mean on the axis that is known with the asked evidence.
fn best_known(beliefs: &Beliefs, goal: Goal, evidence: Evidence) -> Option<f64> {
    let known =
        beliefs.mean.iter().zip(&beliefs.evidence).filter(|(_, e)| **e >= evidence as u8).map(|(mean, _)| *mean);
    match goal {
        Goal::Maximize => known.max_by(f64::total_cmp),
        Goal::Minimize => known.min_by(f64::total_cmp),
    }
}
