//! The rules of the product written down once more, naively, in f64 over plain records: what a belief is, what a score is,
//! who comes first. Of the program it uses only the data of the property dictionary.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use datasets::property::{Axis, Deviation, dictionary};
use datasets::record::{Evidence, Measurement, Record};

/// What is believed of one property of one material.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Belief {
    pub(crate) mean: f64,
    pub(crate) sd: f64,
    pub(crate) value: f64,
    pub(crate) evidence: Evidence,
    pub(crate) inherited: bool,
    pub(crate) count: usize,
    /// Where a bound says that the value is, on the axis.
    pub(crate) within: Option<(f64, f64)>,
}

/// One material and who speaks about it.
pub(crate) struct Material<'a> {
    pub(crate) id: String,
    pub(crate) elements: BTreeSet<String>,
    pub(crate) formula: Option<String>,
    pub(crate) records: Vec<&'a Record>,
    parent: Option<usize>,
}

pub(crate) type Column = Rc<Vec<Option<Belief>>>;
type Key = (String, String, Option<(u64, u64)>);

/// The records of a hub, by material in id order.
pub(crate) struct Oracle<'a> {
    pub(crate) materials: Vec<Material<'a>>,
    columns: RefCell<HashMap<Key, Column>>,
}

pub(crate) fn on_axis(key: &str, value: f64) -> f64 {
    if is_log(key) { value.log10() } else { value }
}

pub(crate) fn is_log(key: &str) -> bool {
    dictionary().get(key).unwrap().axis == Axis::Log
}

fn floored(mean: f64, sd: f64) -> f64 {
    sd.max(1e-4 * mean.abs()).max(1e-12)
}

/// One standard deviation of a measurement on its property's axis: what it reports, else its method's, else its
/// property's; `None` where its value is physically impossible.
fn deviation(m: &Measurement) -> Option<f64> {
    let property = dictionary().get(&m.property).unwrap();
    let [low, high] = property.bounds;
    if !(low <= m.value && m.value <= high) {
        return None;
    }
    let of_method = || {
        let method = m.method.as_deref()?;
        property.methods.iter().find(|known| known.method == method).map(|known| known.deviation)
    };
    let deviation = match m.uncertainty {
        Some(sd) => Deviation::Absolute(sd),
        None => of_method().unwrap_or(property.sd),
    };
    let absolute = match deviation {
        Deviation::Absolute(sd) => sd,
        Deviation::Relative(share) => share * m.value.abs(),
    };
    let log = property.axis == Axis::Log;
    let on_axis = |x: f64| if log { x.log10() } else { x };
    let sd = if log { absolute / (m.value * std::f64::consts::LN_10) } else { absolute };
    Some(sd.max(1e-6 * (on_axis(high) - on_axis(low))).max(1e-4 * on_axis(m.value).abs()))
}

/// Best evidence, then the phase's own, then nearest in temperature, then numbers before bounds, then the median.
fn believe(key: &str, own: &[&Measurement], formula: &[&Measurement], at: Option<(f64, f64)>) -> Option<Belief> {
    let wanted = at.map_or(298.15, |(kelvin, _)| kelvin);
    let mut all: Vec<(&Measurement, f64, f64, bool)> = Vec::new();
    for (list, inherited) in [(own, false), (formula, true)] {
        for &m in list.iter().filter(|m| *m.property == *key) {
            let Some(sd) = deviation(m) else { continue };
            let away = (m.temperature_k.unwrap_or(298.15) - wanted).abs();
            if at.is_none_or(|(_, tolerance)| away <= tolerance + 1e-9) {
                all.push((m, sd, away, inherited));
            }
        }
    }
    let best = all.iter().map(|(m, ..)| m.evidence).max()?;
    all.retain(|(m, ..)| m.evidence == best);
    let inherited = all.iter().all(|(.., inherited)| *inherited);
    all.retain(|(.., i)| *i == inherited);
    let kelvins = |m: &Measurement| m.temperature_k.unwrap_or(298.15);
    let mut near: Vec<(f64, f64)> = all.iter().map(|(m, _, away, _)| (*away, kelvins(m))).collect();
    near.sort_by(|a, b| a.partial_cmp(b).unwrap());
    // 20 °C, 25 °C and 300 K are one condition, 8 K wide
    all.retain(|(m, ..)| (kelvins(m) - near[0].1).abs() <= 8.0);
    if all.iter().any(|(m, ..)| !m.conditions.contains_key("censored")) {
        all.retain(|(m, ..)| !m.conditions.contains_key("censored"));
    }
    all.sort_by(|a, b| a.0.value.total_cmp(&b.0.value));
    let n = all.len();
    let places: Vec<f64> = all.iter().map(|(m, ..)| on_axis(key, m.value)).collect();
    let (mean, value) = if n % 2 == 1 {
        (places[n / 2], all[n / 2].0.value)
    } else {
        let mean = (places[n / 2 - 1] + places[n / 2]) / 2.0;
        (mean, if is_log(key) { 10f64.powf(mean) } else { mean })
    };
    let of_sources = all.iter().map(|(_, sd, ..)| sd * sd).sum::<f64>() / n as f64;
    let between = places.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64;
    let sd = floored(mean, (of_sources + between).sqrt());
    let [low, high] = dictionary().get(key).unwrap().bounds;
    let picked = all[(n - 1) / 2].0;
    let bound = picked.conditions.get("censored").and(picked.given_value).map(|bound| bound.min(high));
    // only bounds above occur in these worlds
    let within = bound.map(|bound| (on_axis(key, low), on_axis(key, bound)));
    Some(Belief { mean, sd, value, evidence: best, inherited, count: n, within })
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(records: &'a [Record]) -> Oracle<'a> {
        let mut of: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
        for record in records {
            of.entry(record.material_id()).or_default().push(record);
        }
        let ids: Vec<String> = of.keys().cloned().collect();
        let materials = of
            .into_iter()
            .map(|(id, mut records)| {
                records.sort_by(|a, b| a.id.cmp(&b.id));
                let formula = records.iter().find_map(|r| r.formula.clone());
                let phase = records.iter().any(|r| r.space_group.is_some() && r.formula.is_some());
                let parent = formula.as_ref().filter(|_| phase).and_then(|f| ids.binary_search(f).ok());
                Material { elements: formula.as_deref().map(symbols).unwrap_or_default(), id, formula, records, parent }
            })
            .collect();
        Oracle { materials, columns: RefCell::default() }
    }

    pub(crate) fn is_member(&self, row: usize, scope: &[&str]) -> bool {
        self.materials[row].records.iter().any(|r| scope.contains(&r.dataset()))
    }

    /// What the datasets of a scope call the class of a material.
    pub(crate) fn class(&self, row: usize, scope: &[&str]) -> Option<&str> {
        let counted = self.materials[row].records.iter().filter(|r| scope.contains(&r.dataset()));
        counted.filter_map(|r| r.class.as_deref()).min()
    }

    fn said(&self, row: usize, scope: &[&str]) -> Vec<&Measurement> {
        let counted = self.materials[row].records.iter().filter(|r| scope.contains(&r.dataset()));
        counted.flat_map(|r| &r.measurements).collect()
    }

    /// What is believed of a property of each material, under a scope: nothing of those that the scope does not know.
    pub(crate) fn column(&self, scope: &[&str], key: &str, at: Option<(f64, f64)>) -> Column {
        let name = (scope.join(" "), key.to_owned(), at.map(|(t, d)| (t.to_bits(), d.to_bits())));
        if let Some(known) = self.columns.borrow().get(&name) {
            return known.clone();
        }
        let believed = |row: usize| {
            let parent = self.materials[row].parent.map(|p| self.said(p, scope)).unwrap_or_default();
            self.is_member(row, scope).then(|| believe(key, &self.said(row, scope), &parent, at)).flatten()
        };
        let column: Column = Rc::new((0..self.materials.len()).map(believed).collect());
        self.columns.borrow_mut().insert(name, column.clone());
        column
    }
}

/// The elements of a formula without brackets.
fn symbols(formula: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut letters = formula.chars().peekable();
    while let Some(c) = letters.next() {
        if c.is_ascii_uppercase() {
            let mut symbol = c.to_string();
            symbol.extend(letters.next_if(char::is_ascii_lowercase));
            found.insert(symbol);
        }
    }
    found
}

/// Median, robust spread, least and greatest of a property's beliefs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Population {
    pub(crate) median: f64,
    pub(crate) spread: f64,
}

pub(crate) fn population(column: &[Option<Belief>]) -> Population {
    let mut means: Vec<f64> = column.iter().flatten().map(|b| b.mean).collect();
    means.sort_by(f64::total_cmp);
    if means.is_empty() {
        return Population { median: 0.0, spread: 1.0 };
    }
    let quantile = |q: f64| means[((means.len() - 1) as f64 * q).round() as usize];
    let median = quantile(0.5);
    let mut spread = (quantile(0.75) - quantile(0.25)) / 1.349;
    if spread == 0.0 {
        let centre = means.iter().sum::<f64>() / means.len() as f64;
        spread = (means.iter().map(|x| (x - centre) * (x - centre)).sum::<f64>() / means.len() as f64).sqrt();
    }
    Population { median, spread: if spread == 0.0 { 1.0 } else { floored(median, spread) } }
}

pub(crate) fn pdf(z: f64) -> f64 {
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

pub(crate) fn cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// Nodes and weights of 16-point Gauss-Legendre quadrature on [0, 1], by Newton's method on the Legendre polynomial.
fn gauss() -> &'static [(f64, f64)] {
    static NODES: std::sync::OnceLock<Vec<(f64, f64)>> = std::sync::OnceLock::new();
    NODES.get_or_init(|| {
        const N: usize = 16;
        let node = |i: usize| {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (N as f64 + 0.5)).cos();
            let mut slope = 0.0;
            for _ in 0..50 {
                let (mut before, mut p) = (1.0, x);
                for k in 2..=N {
                    let k = k as f64;
                    (before, p) = (p, ((2.0 * k - 1.0) * x * p - (k - 1.0) * before) / k);
                }
                slope = N as f64 * (x * p - before) / (x * x - 1.0);
                x -= p / slope;
            }
            ((x + 1.0) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope))
        };
        (0..N).map(node).collect()
    })
}

/// E[max(Y, 0)²] of Y ~ Normal(m, sd): the closed form of the product; deep in the lower tail, where its terms cancel, the
/// integral that it comes from, φ(z)/z³ ∫ u² exp(-u - u²/2z²) du.
pub(crate) fn excess(m: f64, sd: f64) -> f64 {
    let z = m / sd;
    if z > -2.0 {
        return (m * m + sd * sd) * cdf(z) + m * sd * pdf(z);
    }
    let z = -z;
    if z > 12.0 {
        return 0.0; // 1e-35 of sd² and less
    }
    const PANEL: f64 = 4.0;
    let integrand = |u: f64| u * u * (-u - u * u / (2.0 * z * z)).exp();
    let integral: f64 = (0..12)
        .map(|panel| gauss().iter().map(|(x, w)| w * PANEL * integrand((panel as f64 + x) * PANEL)).sum::<f64>())
        .sum();
    sd * sd * pdf(z) / (z * z * z) * integral
}

/// The expected squared distance to a window in squared tolerances; below 1e-20 a material is certainly inside.
pub(crate) fn shortfall(mean: f64, sd: f64, lo: f64, hi: f64, tolerance: f64) -> f64 {
    let mut sum = 0.0;
    if lo.is_finite() {
        sum += excess(lo - mean, sd);
    }
    if hi.is_finite() {
        sum += excess(mean - hi, sd);
    }
    let shortfall = sum / (tolerance * tolerance);
    if shortfall < 1e-20 { 0.0 } else { shortfall }
}

pub(crate) fn probability(mean: f64, sd: f64, lo: f64, hi: f64) -> f64 {
    cdf((hi - mean) / sd) - cdf((lo - mean) / sd)
}

#[test]
fn the_oracle_knows_published_values() {
    // the second moment of a half normal, and the tail integral at z = 3 and 9 from 40-digit arithmetic
    assert!((excess(0.0, 2.0) - 2.0).abs() < 1e-15);
    let by_parts = |z: f64| (1.0 + z * z) * cdf(-z) - z * pdf(z);
    for z in [1.0, 1.9, 2.1, 3.0, 4.0] {
        assert!((excess(-z, 1.0) / by_parts(z) - 1.0).abs() < 1e-10, "{z}");
    }
    // far out 2 φ(z) / z³ (1 - 6/z² + 45/z⁴ - 420/z⁶ + ...)
    let z = 11.0f64;
    let series = 2.0 * pdf(z) / z.powi(3) * (1.0 - 6.0 / z.powi(2) + 45.0 / z.powi(4) - 420.0 / z.powi(6));
    assert!((excess(-z, 1.0) / series - 1.0).abs() < 1e-4);
}
