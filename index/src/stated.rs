//! What does a source state beside a value? Pressure and other conditions, and the bound or range that stands in place of a number.

use std::collections::{BTreeMap, BTreeSet};

use datasets::property::Property;
use datasets::record::{BOUND_MARKS, CENSORED, GIVEN, REFERENCE_TEMPERATURE_K};
use serde::Serialize;

use crate::belief::{Belief, SAME_TEMPERATURE_K};
use crate::measurements::Measurements;
use crate::scope::Scope;
use crate::snapshot::Snapshot;

/// Different conditions behind a belief that are told.
const MOST_STATED: usize = 16;
/// The text of a condition that some of the values behind a belief do not state.
const NOT_STATED: &str = "not stated";

/// What is stated beside one of the few values that have something.
#[derive(Debug, Clone, Copy)]
pub struct Stated {
    /// Entry of the value in [`Measurements`].
    pub entry: u32,
    /// Index into the words of the conditions, a JSON object of texts; `u32::MAX` where there are none.
    pub conditions: u32,
    /// Pressure in Pa, NaN where not stated.
    pub pressure: f64,
    /// The bound in the dictionary's unit, NaN where the value is none.
    pub bound: f64,
}

/// What a source states beside a value.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatedAnswer {
    /// Pressure in Pa.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure_pa: Option<f64>,
    /// Other conditions (direction, atmosphere, load...), name to text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, String>,
    /// `<`, `≤`, `>` or `≥` where the source states a bound: the value is what is believed of it, not what was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
    /// The bound, in the unit of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// A bound, a range (`5-7`) or an approximation (`~5`) as the source wrote it, in the unit of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
}

impl StatedAnswer {
    /// What is stated beside a value; `shown` brings numbers to the unit of the answer.
    pub(crate) fn of(measurements: &Measurements, entry: usize, shown: impl Fn(f64) -> f64) -> StatedAnswer {
        let Some(stated) = measurements.stated(entry) else { return StatedAnswer::default() };
        let text = measurements.word(stated.conditions);
        let mut conditions: BTreeMap<String, String> =
            text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let is_bound = conditions.get(CENSORED).is_some_and(|mark| is_mark(mark));
        let qualifier = if is_bound { conditions.remove(CENSORED) } else { None };
        let number = |x: f64| (!x.is_nan()).then_some(x);
        StatedAnswer {
            pressure_pa: number(stated.pressure),
            given: conditions.remove(GIVEN),
            qualifier,
            bound: number(stated.bound).map(shown),
            conditions,
        }
    }

    /// What the sources state beside the values that count in a belief; a condition in which they differ has all its texts.
    pub(crate) fn of_belief(
        snapshot: &Snapshot,
        scope: &Scope,
        property: &Property,
        belief: &Belief,
        row: u32,
        shown: impl Fn(f64) -> f64,
    ) -> StatedAnswer {
        let m = &snapshot.measurements;
        let mut answer = StatedAnswer::of(m, belief.pick as usize, shown);
        if belief.count < 2 {
            return answer;
        }
        let of = if belief.inherited { snapshot.materials.parent[row as usize] } else { row };
        let kelvin = |entry: usize| {
            let stated = f64::from(m.temperature[entry]);
            if stated.is_nan() { REFERENCE_TEMPERATURE_K } else { stated }
        };
        let there = kelvin(belief.pick as usize);
        let is_bound = |entry: usize| m.stated(entry).is_some_and(|stated| !stated.bound.is_nan());
        let counts = |entry: &usize| {
            m.evidence[*entry] == belief.evidence as u8
                && !m.sd[*entry].is_nan()
                && (kelvin(*entry) - there).abs() <= SAME_TEMPERATURE_K
                && snapshot.sees(scope, m.record[*entry] as usize)
                && is_bound(*entry) == is_bound(belief.pick as usize)
        };
        let others = m.of_material(m.of_property(&property.key), of).filter(counts);
        // conditions are kept once a text
        let mut seen = BTreeSet::new();
        let distinct =
            others.filter(|&entry| seen.insert(m.stated(entry).map_or(u32::MAX, |stated| stated.conditions)));
        let stated: Vec<_> =
            distinct.take(MOST_STATED).map(|entry| StatedAnswer::of(m, entry, |x| x).conditions).collect();
        let names: BTreeSet<&String> = stated.iter().flat_map(BTreeMap::keys).collect();
        for name in names {
            let texts: BTreeSet<&str> =
                stated.iter().map(|one| one.get(name).map_or(NOT_STATED, String::as_str)).collect();
            answer.conditions.insert(name.clone(), texts.into_iter().collect::<Vec<_>>().join("; "));
        }
        answer
    }
}

impl Stated {
    /// Where the true value may lie on the property's axis, of a bound: `<27` is anything from the least that is conceivable.
    fn allowed(&self, measurements: &Measurements, property: &Property) -> Option<Allowed> {
        if self.bound.is_nan() {
            return None;
        }
        let conditions: BTreeMap<String, String> =
            serde_json::from_str(measurements.word(self.conditions)?).unwrap_or_default();
        let mark = conditions.get(CENSORED)?;
        let is_below = mark.starts_with(['<', '≤']);
        let [least, most] = property.bounds;
        let (low, high) = if is_below { (least, self.bound.min(most)) } else { (self.bound.max(least), most) };
        Some(Allowed {
            entry: self.entry,
            ends: [low, high].map(|end| property.axis.to_axis(end)),
            is_closed: mark.starts_with(['≤', '≥']),
        })
    }
}

/// The bounds among the values of one property, for verdicts: a bound passes where all that it allows does, fails where
/// nothing does, and says nothing else.
pub struct Bounds {
    /// Ascending by entry.
    allowed: Vec<Allowed>,
}

/// Where a value may lie of which a bound is known.
struct Allowed {
    /// Entry of the value.
    entry: u32,
    /// On the axis.
    ends: [f64; 2],
    /// Whether the bound itself is allowed.
    is_closed: bool,
}

impl Bounds {
    /// Those of a property.
    pub fn of(measurements: &Measurements, property: &Property) -> Bounds {
        let stated = measurements.stated_within(measurements.of_property(&property.key));
        Bounds { allowed: stated.iter().filter_map(|one| one.allowed(measurements, property)).collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty()
    }

    /// Whether a belief that rests on a value lies in a window, by its mean, and where the value is a bound by all that it
    /// allows; `None` where that is partly within.
    pub fn meets(&self, mean: f64, pick: u32, [lo, hi]: [f64; 2]) -> Option<bool> {
        let Ok(at) = self.allowed.binary_search_by_key(&pick, |allowed| allowed.entry) else {
            return Some((lo..=hi).contains(&mean));
        };
        let Allowed { ends: [low, high], is_closed, .. } = self.allowed[at];
        let beside = high < lo || low > hi || (!is_closed && (high == lo || low == hi));
        match (lo <= low && high <= hi, beside) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

/// Whether a text is the mark of a bound.
pub(crate) fn is_mark(text: &str) -> bool {
    BOUND_MARKS.contains(&text)
}
