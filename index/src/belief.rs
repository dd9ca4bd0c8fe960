//! Many measurements → one belief: mean and standard deviation on the property's axis, with its evidence.
//!
//! Of several measurements the best evidence counts; of those the ones nearest to the wanted temperature; of those the
//! numbers, and bounds (`<27`) only where there is no number; of those the median. Their spread goes into the standard
//! deviation. Temperatures are never averaged away; other conditions are not told apart.

use std::ops::Range;
use std::sync::OnceLock;

use datasets::property::Axis;
use datasets::record::{Evidence, REFERENCE_TEMPERATURE_K};

use gpu::Mask;

use crate::columns::DeviceColumns;
use crate::materials::Materials;
use crate::measurements::{Measurements, Records};

/// Measurements whose temperatures differ by less than this are at one condition, K. Wide enough for 20 °C, 25 °C and
/// 300 K, which tables use for "room temperature".
pub const SAME_TEMPERATURE_K: f64 = 8.0;

/// Temperatures are kept in f32: 373.15 K is kept as 373.1499939 K, and still is what was asked for by 373.15 K.
const ROUNDING_K: f64 = 1e-3;

/// The temperature that a target asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At {
    /// K.
    pub temperature: f64,
    /// Values further away than this, K, do not count as known.
    pub tolerance: f64,
}

/// One property of all materials of a scope, as beliefs. Only materials with a value have an entry.
#[derive(Debug, Default)]
pub struct Beliefs {
    /// Rows of the materials, ascending.
    pub row: Vec<u32>,
    /// Mean on the axis.
    pub mean: Vec<f64>,
    /// Standard deviation on the axis, above 0.
    pub sd: Vec<f64>,
    /// The belief's value in the dictionary's unit.
    pub value: Vec<f64>,
    /// Evidence as a number.
    pub evidence: Vec<u8>,
    /// The measurement that stands for the belief: the median, or the lower of the two middle ones.
    pub pick: Vec<u32>,
    /// How many measurements count in it.
    pub count: Vec<u32>,
    /// Whether it comes from the formula to which the phase belongs.
    pub inherited: Vec<bool>,
    population: OnceLock<Population>,
    place: OnceLock<Vec<u32>>,
    known: [OnceLock<Mask>; 5],
    pub(crate) device: DeviceColumns,
}

/// What is known of a property over all materials of a scope, on its axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Population {
    /// Median.
    pub median: f64,
    /// Robust spread: interquartile range / 1.349, or the standard deviation where that is 0, or 1.
    pub spread: f64,
    /// Smallest mean.
    pub min: f64,
    /// Largest mean.
    pub max: f64,
}

/// One belief.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Belief {
    /// Mean on the axis.
    pub mean: f64,
    /// Standard deviation on the axis.
    pub sd: f64,
    /// Value in the dictionary's unit.
    pub value: f64,
    /// What it rests on.
    pub evidence: Evidence,
    /// The measurement that stands for it, an entry of [`Measurements`].
    pub pick: u32,
    /// How many measurements count in it.
    pub count: u32,
    /// Whether it comes from the formula to which the phase belongs.
    pub inherited: bool,
}

/// The smallest standard deviation of a belief of this mean: 10⁻⁴ of it. Below that f32 kernels could not tell beliefs
/// apart, and no property here is known better.
pub fn floor_sd(mean: f64, sd: f64) -> f64 {
    sd.max(1e-4 * mean.abs()).max(1e-12)
}

impl Beliefs {
    /// Number of materials with a value.
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// Whether nobody has one.
    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    /// The belief of a material, where there is one. `materials` is the number of materials of the snapshot.
    pub fn get(&self, row: u32, materials: usize) -> Option<Belief> {
        let place = self.place.get_or_init(|| {
            let mut place = vec![u32::MAX; materials];
            for (i, &row) in self.row.iter().enumerate() {
                place[row as usize] = i as u32;
            }
            place
        });
        let i = *place.get(row as usize)?;
        (i != u32::MAX).then(|| self.entry(i as usize))
    }

    /// Entry `i`.
    pub fn entry(&self, i: usize) -> Belief {
        Belief {
            mean: self.mean[i],
            sd: self.sd[i],
            value: self.value[i],
            evidence: Evidence::from_u8(self.evidence[i]).unwrap_or(Evidence::None),
            pick: self.pick[i],
            count: self.count[i],
            inherited: self.inherited[i],
        }
    }

    /// The materials of which there is a belief of at least this evidence, of `materials` in all.
    pub fn known(&self, evidence: Evidence, materials: usize) -> &Mask {
        self.known[evidence as usize].get_or_init(|| {
            let mut mask = Mask::none(materials);
            for (&row, &e) in self.row.iter().zip(&self.evidence) {
                if e >= evidence as u8 {
                    mask.set(row as usize, true);
                }
            }
            mask
        })
    }

    /// Median, spread and range over all materials.
    pub fn population(&self) -> Population {
        *self.population.get_or_init(|| {
            let mut means = self.mean.clone();
            let least = means.iter().copied().min_by(f64::total_cmp);
            let Some((min, max)) = least.zip(means.iter().copied().max_by(f64::total_cmp)) else {
                return Population { median: 0.0, spread: 1.0, min: 0.0, max: 0.0 };
            };
            let mut at = |q: f64| {
                let place = ((means.len() - 1) as f64 * q).round() as usize;
                *means.select_nth_unstable_by(place, f64::total_cmp).1
            };
            let median = at(0.5);
            let mut spread = (at(0.75) - at(0.25)) / 1.349;
            if spread <= 0.0 {
                let n = self.mean.len() as f64;
                let mean = self.mean.iter().sum::<f64>() / n;
                spread = (self.mean.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
            }
            Population { median, spread: if spread > 0.0 { floor_sd(median, spread) } else { 1.0 }, min, max }
        })
    }

    /// The same, where the population is another one: what is predicted says nothing of it.
    pub(crate) fn with_population(mut self, population: Population) -> Beliefs {
        self.population = OnceLock::from(population);
        self
    }

    /// The same beliefs where materials have other rows (`u32::MAX`: gone) and the property's measurements, none of
    /// them changed, begin at another place. `None` where a material with a belief is gone.
    pub(crate) fn moved(&self, rows: &[u32], from: usize, to: usize) -> Option<Beliefs> {
        let row: Vec<u32> = self.row.iter().map(|&row| rows[row as usize]).collect();
        if row.contains(&u32::MAX) {
            return None;
        }
        Some(Beliefs {
            row,
            mean: self.mean.clone(),
            sd: self.sd.clone(),
            value: self.value.clone(),
            evidence: self.evidence.clone(),
            pick: self.pick.iter().map(|&pick| (pick as usize - from + to) as u32).collect(),
            count: self.count.clone(),
            inherited: self.inherited.clone(),
            population: self.population.clone(),
            ..Beliefs::default()
        })
    }

    /// Adds a belief; rows must come in ascending order.
    pub(crate) fn push(&mut self, row: u32, belief: Belief) {
        self.row.push(row);
        self.mean.push(belief.mean);
        self.sd.push(belief.sd);
        self.value.push(belief.value);
        self.evidence.push(belief.evidence as u8);
        self.pick.push(belief.pick);
        self.count.push(belief.count);
        self.inherited.push(belief.inherited);
    }
}

/// Where beliefs are made from.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// All measurements.
    pub measurements: &'a Measurements,
    /// The records that they are of.
    pub records: &'a Records,
    /// The materials.
    pub materials: &'a Materials,
    /// For each dataset whether it may count.
    pub counts: &'a [bool],
}

impl Ground<'_> {
    /// The beliefs about one property under a scope, at a temperature where one is asked for.
    pub fn beliefs(&self, key: &str, axis: Axis, at: Option<At>) -> Beliefs {
        let property = self.measurements.of_property(key);
        let mut beliefs = Beliefs::default();
        let mut group: Vec<Entry> = Vec::new();
        let stated = self.measurements.stated_within(property.clone());
        let is_bound = |entry: &Entry| {
            let found = stated.binary_search_by_key(&entry.index, |stated| stated.entry);
            found.is_ok_and(|at| !stated[at].bound.is_nan())
        };
        let mut rows = self.rows(property.clone());
        // phases have entries of their own, or inherit
        let phases: Vec<u32> = (0..self.materials.len() as u32)
            .filter(|&row| self.materials.parent[row as usize] != u32::MAX)
            .filter(|&row| {
                let parent = self.materials.parent[row as usize];
                !self.measurements.of_material(property.clone(), parent).is_empty()
            })
            .collect();
        if !phases.is_empty() {
            rows.extend(phases);
            rows.sort_unstable();
            rows.dedup();
        }
        let mut next = property.start;
        for row in rows {
            group.clear();
            while next < property.end && self.measurements.material[next] < row {
                next += 1;
            }
            let own = next..self.end_of(next, property.end, row);
            next = own.end;
            self.collect(own, false, at, &mut group);
            let parent = self.materials.parent[row as usize];
            // a phase that the scope has no record of is no material there, so it inherits nothing
            if parent != u32::MAX && self.is_member(row) {
                self.collect(self.measurements.of_material(property.clone(), parent), true, at, &mut group);
            }
            if let Some(belief) = merge(&mut group, axis, is_bound) {
                beliefs.push(row, belief);
            }
        }
        beliefs
    }

    fn is_member(&self, row: u32) -> bool {
        self.records.of_material(row).any(|r| self.counts[usize::from(self.records.dataset[r])])
    }

    fn rows(&self, property: Range<usize>) -> Vec<u32> {
        let mut rows = self.measurements.material[property].to_vec();
        rows.dedup();
        rows
    }

    fn end_of(&self, start: usize, end: usize, row: u32) -> usize {
        let mut i = start;
        while i < end && self.measurements.material[i] == row {
            i += 1;
        }
        i
    }

    fn collect(&self, entries: Range<usize>, inherited: bool, at: Option<At>, group: &mut Vec<Entry>) {
        let m = self.measurements;
        for i in entries {
            let dataset = self.records.dataset[m.record[i] as usize];
            if m.sd[i].is_nan() || !self.counts[usize::from(dataset)] {
                continue;
            }
            let temperature = f64::from(m.temperature[i]);
            // a value without a stated temperature is taken to be at the reference condition
            let temperature = if temperature.is_nan() { REFERENCE_TEMPERATURE_K } else { temperature };
            let wanted = at.map_or(REFERENCE_TEMPERATURE_K, |at| at.temperature);
            let distance = (temperature - wanted).abs();
            if at.is_some_and(|at| distance > at.tolerance + ROUNDING_K) {
                continue;
            }
            let evidence = m.evidence[i];
            let (value, sd) = (m.value[i], m.sd[i]);
            group.push(Entry { evidence, temperature, distance, value, sd, index: i as u32, inherited });
        }
    }
}

struct Entry {
    evidence: u8,
    temperature: f64,
    distance: f64,
    value: f64,
    sd: f64,
    index: u32,
    inherited: bool,
}

fn merge(group: &mut Vec<Entry>, axis: Axis, is_bound: impl Fn(&Entry) -> bool) -> Option<Belief> {
    if let [only] = group.as_slice() {
        let mean = axis.to_axis(only.value);
        return Some(Belief {
            mean,
            sd: floor_sd(mean, only.sd),
            value: only.value,
            evidence: Evidence::from_u8(only.evidence)?,
            pick: only.index,
            count: 1,
            inherited: only.inherited,
        });
    }
    let best = group.iter().map(|e| e.evidence).max()?;
    group.retain(|e| e.evidence == best);
    // what a phase itself is known by comes before what its formula is known by
    if group.iter().any(|e| !e.inherited) {
        group.retain(|e| !e.inherited);
    }
    // of two equally near ones, below and above what is wanted, the colder: they are not one condition
    let place = |e: &Entry| (e.distance, e.temperature);
    let nearer = |a: (f64, f64), b: (f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
    let (_, nearest) = group.iter().map(place).min_by(|a, b| nearer(*a, *b))?;
    group.retain(|e| (e.temperature - nearest).abs() <= SAME_TEMPERATURE_K);
    // a bound says where the value is not; beside a number it adds nothing that the number does not say
    if !group.iter().all(&is_bound) {
        group.retain(|e| !is_bound(e));
    }
    group.sort_unstable_by(|a, b| a.value.total_cmp(&b.value).then(a.index.cmp(&b.index)));
    let n = group.len();
    let (low, high) = (&group[(n - 1) / 2], &group[n / 2]);
    let mean = (axis.to_axis(low.value) + axis.to_axis(high.value)) / 2.0;
    let value = if low.value == high.value { low.value } else { axis.from_axis(mean) };
    let count = n as f64;
    let own = group.iter().map(|e| e.sd * e.sd).sum::<f64>() / count;
    let spread = group.iter().map(|e| (axis.to_axis(e.value) - mean).powi(2)).sum::<f64>() / count;
    Some(Belief {
        mean,
        sd: floor_sd(mean, (own + spread).sqrt()),
        value,
        evidence: Evidence::from_u8(best)?,
        pick: low.index,
        count: n as u32,
        inherited: low.inherited,
    })
}
