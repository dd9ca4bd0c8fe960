//! Random hubs and random specs, each spec as JSON for the program and as plain numbers for the oracle.

use std::collections::BTreeSet;

use datasets::record::{Evidence, Measurement, Record};
use serde_json::{Value, json};

use crate::oracle::{Belief, Oracle, Population, is_log, on_axis, population, probability, shortfall};
use crate::world::{Qualify as _, Random, Write as _, record, value};

pub(crate) const KEYS: [&str; 10] = [
    "band_gap",
    "bulk_modulus",
    "density",
    "electrical_resistivity",
    "energy_above_hull",
    "formation_energy",
    "grain_size",
    "melting_temperature",
    "thermal_conductivity",
    "youngs_modulus",
];

const ELEMENTS: [&str; 16] =
    ["Ag", "Al", "As", "C", "Cd", "Co", "Fe", "Ga", "In", "Mg", "O", "Pb", "S", "Sb", "Si", "Zn"];

/// An alphabetical reduced formula of one to four elements.
fn formula(random: &mut Random) -> String {
    let n = random.pick(&[1, 2, 2, 2, 3, 3, 4]);
    let mut elements = BTreeSet::new();
    while elements.len() < n {
        elements.insert(random.pick(&ELEMENTS));
    }
    let mut amounts: Vec<usize> = (0..n).map(|_| random.pick(&[1, 1, 2, 3, 5, 7])).collect();
    amounts[0] = 1; // no common divisor
    let part = |(symbol, amount): (&&str, &usize)| match amount {
        1 => (*symbol).to_owned(),
        _ => format!("{symbol}{amount}"),
    };
    elements.iter().zip(&amounts).map(part).collect()
}

fn some_value(random: &mut Random, key: &str) -> f64 {
    let (lo, hi) = match key {
        "band_gap" => (-0.2, 6.0),
        "density" => (-0.1, 12.0),
        "energy_above_hull" => (-0.02, 1.0),
        "formation_energy" => (-5.2, 2.0),
        "melting_temperature" => (200.0, 4000.0),
        "bulk_modulus" | "youngs_modulus" => (0.5, 3.1),
        "electrical_resistivity" => (-8.0, 12.0),
        "grain_size" => (-3.2, 3.0),
        _ => (-1.0, 3.5),
    };
    let number = random.within(lo, hi);
    // few digits, so that many are the same
    if is_log(key) { format!("{:.1e}", 10f64.powf(number)).parse().unwrap() } else { (number * 20.0).round() / 20.0 }
}

fn measurement(random: &mut Random, key: &str) -> Measurement {
    let evidence = random.pick(&[
        Evidence::Measured,
        Evidence::Measured,
        Evidence::Computed,
        Evidence::Computed,
        Evidence::Computed,
        Evidence::Derived,
        Evidence::Predicted,
    ]);
    let mut m = value(key, some_value(random, key), evidence);
    if random.chance(0.4) {
        m = m.at(random.pick(&[77.0, 293.15, 298.15, 300.0, 306.0, 350.0, 500.0, 533.15, 900.0]));
    }
    if random.chance(0.2) {
        m = m.sd(random.pick(&[0.001, 0.02, 0.3]));
    }
    match random.below(4) {
        0 => m.by("DFT-PBE"),
        1 => m.by("a method of our own"),
        _ => m,
    }
}

/// A few values with a pressure, other conditions, or a bound.
fn stated(random: &mut Random, mut m: Measurement) -> Measurement {
    let mut says = |name: &str, text: &str| drop(m.conditions.insert(name.into(), text.into()));
    match random.below(10) {
        0 => says("direction", random.pick(&["[100]", "[111]"])),
        1 => {
            says("given", &format!("<{}", m.value * 2.0));
            says("censored", "<");
            m.given_value = Some(m.value * 2.0);
        }
        2 => m.pressure_pa = Some(random.pick(&[1e5, 2e9])),
        _ => {}
    }
    m
}

/// Records about `materials` materials or so: formulas, their phases and grades; in four datasets, one of them private;
/// a third of them told again, word for word, of another material.
pub(crate) fn random_records(seed: u64, materials: usize) -> Vec<Record> {
    let (random, beside) = (&mut Random::new(seed), &mut Random::new(seed + 1_000_000));
    let mut records: Vec<Record> = Vec::new();
    for n in 0..materials {
        let dataset = random.pick(&["alpha", "alpha", "beta", "beta", "gamma", "vault"]);
        let mut new = record(&format!("{dataset}/{:05}-{n}", random.below(100_000)));
        new = match random.below(10) {
            0 => new.name(&format!("Grade {n}")),
            1 | 2 if n > 10 => {
                let known = records[random.below(n)].formula.clone().unwrap_or_else(|| formula(random));
                new.formula(&known).phase(random.pick(&[62, 186, 216, 225]))
            }
            3 if n > 10 => new.formula(&records[random.below(n)].formula.clone().unwrap_or_else(|| formula(random))),
            _ => new.formula(&formula(random)),
        };
        if random.chance(0.3) {
            new = new.class(random.pick(&["alloy", "ceramic", "semiconductor"]));
        }
        if n > 10 && random.chance(0.33) {
            new.measurements = records[random.below(n)].measurements.clone();
        } else {
            for _ in 0..random.below(9) {
                let key = random.pick(&KEYS);
                new = new.says(stated(beside, measurement(random, key)));
            }
        }
        records.push(new);
    }
    records
}

/// A filter, as a text and as three-valued logic over plain data.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Number(&'static str, &'static str, f64),
    Known(&'static str, bool),
    HasAny(Vec<&'static str>),
    HasAll(Vec<&'static str>),
    HasOnly(Vec<&'static str>),
    Elements(&'static str, usize),
    Class(&'static str),
    Dataset(&'static str),
}

fn compare(a: f64, op: &str, b: f64) -> bool {
    match op {
        "=" => a == b,
        "!=" => a != b,
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        ">=" => a >= b,
        _ => panic!("{op}"),
    }
}

impl Condition {
    fn random(random: &mut Random, depth: usize) -> Condition {
        let ops = ["=", "!=", "<", "<=", ">", ">="];
        let some = |random: &mut Random| (0..=random.below(4)).map(|_| random.pick(&ELEMENTS)).collect::<Vec<_>>();
        let inner = |random: &mut Random| Box::new(Condition::random(random, depth + 1));
        match random.below(if depth < 3 { 17 } else { 11 }) {
            0..3 => {
                let key = random.pick(&KEYS);
                Condition::Number(key, random.pick(&ops), some_value(random, key))
            }
            3 => Condition::Known(random.pick(&KEYS), random.chance(0.5)),
            4 | 5 => Condition::HasAny(some(random)),
            6 => Condition::HasAll(some(random)[..1].to_vec()),
            7 => Condition::HasOnly(some(random)),
            8 => Condition::Elements(random.pick(&ops), 1 + random.below(4)),
            9 => Condition::Class(random.pick(&["alloy", "ceramic", "nothing"])),
            10 => Condition::Dataset(random.pick(&["alpha", "gamma", "vault"])),
            11 | 12 => Condition::And(inner(random), inner(random)),
            13 | 14 => Condition::Or(inner(random), inner(random)),
            _ => Condition::Not(inner(random)),
        }
    }

    pub(crate) fn text(&self) -> String {
        let list = |symbols: &[&str]| symbols.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
        match self {
            Condition::And(a, b) => format!("({}) AND ({})", a.text(), b.text()),
            Condition::Or(a, b) => format!("({}) OR ({})", a.text(), b.text()),
            Condition::Not(inner) => format!("NOT ({})", inner.text()),
            Condition::Number(key, op, x) => format!("{key} {op} {x}"),
            Condition::Known(key, known) => format!("{key} IS {}", if *known { "KNOWN" } else { "UNKNOWN" }),
            Condition::HasAny(symbols) => format!("elements HAS ANY {}", list(symbols)),
            Condition::HasAll(symbols) => format!("elements HAS ALL {}", list(symbols)),
            Condition::HasOnly(symbols) => format!("elements HAS ONLY {}", list(symbols)),
            Condition::Elements(op, n) => format!("nelements {op} {n}"),
            Condition::Class(class) => format!("class = \"{class}\""),
            Condition::Dataset(name) => format!("datasets HAS \"{name}\""),
        }
    }

    /// True, false, or neither, for the material of a row.
    fn holds(&self, oracle: &Oracle, scope: &[&str], row: usize) -> Option<bool> {
        let m = &oracle.materials[row];
        let of_formula = |holds: bool| m.formula.is_some().then_some(holds);
        let has = |symbol: &&str| m.elements.contains(*symbol);
        match self {
            Condition::And(a, b) => match (a.holds(oracle, scope, row), b.holds(oracle, scope, row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Condition::Or(a, b) => match (a.holds(oracle, scope, row), b.holds(oracle, scope, row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Condition::Not(inner) => inner.holds(oracle, scope, row).map(|holds| !holds),
            Condition::Number(key, op, x) => oracle.column(scope, key, None)[row].map(|b| compare(b.value, op, *x)),
            Condition::Known(key, known) => Some(oracle.column(scope, key, None)[row].is_some() == *known),
            Condition::HasAny(symbols) => of_formula(symbols.iter().any(has)),
            Condition::HasAll(symbols) => of_formula(symbols.iter().all(has)),
            Condition::HasOnly(symbols) => of_formula(m.elements.iter().all(|have| symbols.contains(&have.as_str()))),
            Condition::Elements(op, n) => of_formula(compare(m.elements.len() as f64, op, *n as f64)),
            Condition::Class(class) => oracle.class(row, scope).map(|have| have == *class),
            Condition::Dataset(name) => {
                Some(scope.contains(name) && m.records.iter().any(|record| record.dataset() == *name))
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Window {
    Between { min: Option<f64>, max: Option<f64>, tolerance: Option<f64> },
    Around { middle: f64, tolerance: f64 },
    Goal { most: bool, best: Option<f64>, tolerance: Option<f64> },
}

/// One target: its numbers are in the dictionary's unit.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    key: &'static str,
    window: Window,
    weight: Option<f64>,
    at: Option<(f64, f64)>,
    /// Another unit, and how many of it make one of the dictionary's.
    unit: Option<(&'static str, f64)>,
}

/// A spec.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    pub(crate) wishes: Vec<Wish>,
    pub(crate) filter: Option<Condition>,
    unknown: &'static str,
    evidence: Evidence,
    datasets: Option<Vec<&'static str>>,
    pub(crate) owner: bool,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
}

/// What the oracle says of a wish: window, tolerance and weight on the axis, and the beliefs.
pub(crate) struct Meant {
    pub(crate) key: &'static str,
    pub(crate) lo: f64,
    pub(crate) hi: f64,
    tolerance: f64,
    weight: f64,
    pub(crate) column: crate::oracle::Column,
    pub(crate) population: Population,
    pub(crate) required: bool,
}

/// What the oracle says of a spec.
pub(crate) struct Truth {
    /// (score, row), all that may be candidates, best first.
    pub(crate) ranked: Vec<(f64, usize)>,
    pub(crate) passing_each: Vec<usize>,
    pub(crate) passing_all: usize,
    pub(crate) searched: usize,
    pub(crate) matched_filter: usize,
    pub(crate) meant: Vec<Meant>,
}

impl Wish {
    fn random(random: &mut Random, oracle: &Oracle, scope: &[&str]) -> Wish {
        let key = random.pick(&KEYS);
        let known: Vec<f64> = oracle.column(scope, key, None).iter().flatten().map(|b| b.value).collect();
        let unit = match key {
            "band_gap" => Some(("meV", 1e3)),
            "density" => Some(("kg/m^3", 1e3)),
            "bulk_modulus" => Some(("MPa", 1e3)),
            _ => None,
        }
        .filter(|_| random.chance(0.3));
        // often an end lies on a value: bounds are inclusive; a unit's rounding would blur that
        let end = |random: &mut Random| {
            let on = if known.is_empty() { 1.0 } else { random.pick(&known) };
            let moved = if unit.is_some() || random.chance(0.4) { 1.0 + random.within(0.001, 0.1) } else { 1.0 };
            on * moved
        };
        let (a, b) = (end(random), end(random));
        let tolerance = (a.abs() + 0.1) * random.within(0.02, 0.6);
        let window = match random.below(8) {
            0 | 1 => Window::Between { min: Some(a), max: None, tolerance: None },
            2 | 3 => Window::Between { min: None, max: Some(b), tolerance: None },
            4 => Window::Between { min: Some(a.min(b)), max: Some(a.max(b)), tolerance: None },
            5 => Window::Between { min: Some(a.min(b)), max: Some(a.max(b)), tolerance: Some(tolerance) },
            6 => Window::Around { middle: a, tolerance: if is_log(key) { tolerance * 2.0 } else { tolerance } },
            _ => Window::Goal {
                most: random.chance(0.5),
                best: random.chance(0.3).then_some(a),
                tolerance: random.chance(0.3).then_some(tolerance),
            },
        };
        let weight = random.chance(0.6).then(|| random.pick(&[0.01, 0.5, 1.0, 2.0, 30.0, 1000.0]));
        let at =
            random.chance(0.2).then(|| random.pick(&[(300.0, 50.0), (500.0, 50.0), (500.0, 20.0), (900.0, 400.0)]));
        Wish { key, window, weight, at, unit }
    }

    fn json(&self) -> Value {
        let there = self.unit.map_or(1.0, |(_, factor)| factor);
        let mut target = json!({"property": self.key});
        let mut put = |name: &str, number: Option<f64>| {
            if let Some(number) = number {
                target[name] = json!(number * there);
            }
        };
        match self.window {
            Window::Between { min, max, tolerance } => {
                put("min", min);
                put("max", max);
                put("tolerance", tolerance);
            }
            Window::Around { middle, tolerance } => {
                put("value", Some(middle));
                put("tolerance", Some(tolerance));
            }
            Window::Goal { most, best, tolerance } => {
                put("value", best);
                put("tolerance", tolerance);
                target["goal"] = json!(if most { "maximize" } else { "minimize" });
            }
        }
        if let Some(weight) = self.weight {
            target["weight"] = json!(weight);
        }
        if let Some((kelvin, tolerance)) = self.at {
            target["at"] = match tolerance {
                50.0 => json!({"temperature": {"value": kelvin, "unit": "K"}}),
                _ => json!({"temperature": {"value": kelvin - 273.15, "unit": "°C", "tolerance": tolerance}}),
            };
        }
        if let Some((unit, _)) = self.unit {
            target["unit"] = json!(unit);
        }
        target
    }

    fn meant(&self, oracle: &Oracle, scope: &[&str], evidence: Evidence) -> Meant {
        let column = oracle.column(scope, self.key, self.at);
        let population = population(&column);
        let place = |x: f64| on_axis(self.key, x);
        let (mut lo, mut hi, mut tolerance) = (f64::NEG_INFINITY, f64::INFINITY, population.spread);
        match self.window {
            Window::Between { min, max, tolerance: given } => {
                lo = min.map_or(lo, place);
                hi = max.map_or(hi, place);
                if let Some(given) = given {
                    let end = min.or(max).unwrap();
                    tolerance = place(end + given) - place(end);
                }
            }
            Window::Around { middle, tolerance: half } => {
                // ends have 15 digits, as a person would write them
                let written = |x: f64| format!("{x:.14e}").parse::<f64>().unwrap();
                hi = place(written(middle + half));
                if !is_log(self.key) || middle > half {
                    lo = place(written(middle - half));
                }
                tolerance = if lo.is_finite() { (hi - lo) / 2.0 } else { hi - place(middle) };
            }
            Window::Goal { most, best, tolerance: given } => {
                let known = column.iter().flatten().filter(|b| b.evidence >= evidence).map(|b| b.mean);
                let known = if most { known.max_by(f64::total_cmp) } else { known.min_by(f64::total_cmp) };
                let best = best.map(place).or(known).unwrap_or(population.median);
                *if most { &mut lo } else { &mut hi } = best;
                if let Some(given) = given {
                    tolerance = if is_log(self.key) { (10f64.powf(best) + given).log10() - best } else { given };
                }
            }
        }
        let required = !matches!(self.window, Window::Goal { .. });
        Meant { key: self.key, lo, hi, tolerance, weight: self.weight.unwrap_or(1.0), column, population, required }
    }
}

impl Meant {
    /// Whether a belief lies in the window on the asked evidence; a goal has no window to miss. A bound meets it by all
    /// that it allows, misses it by all, and else leaves it open.
    pub(crate) fn meets(&self, belief: &Belief) -> Option<bool> {
        match belief.within {
            _ if !self.required => Some(true),
            None => Some(self.lo <= belief.mean && belief.mean <= self.hi),
            Some((low, high)) if self.lo <= low && high <= self.hi => Some(true),
            Some((low, high)) if high <= self.lo || self.hi <= low => Some(false),
            Some(_) => None,
        }
    }

    /// Mean and deviation that count for a row.
    pub(crate) fn counted(&self, row: usize) -> (f64, f64) {
        self.column[row].map_or((self.population.median, self.population.spread), |b| (b.mean, b.sd))
    }

    pub(crate) fn probability(&self, row: usize) -> f64 {
        let (mean, sd) = self.counted(row);
        probability(mean, sd, self.lo, self.hi)
    }
}

impl Wishes {
    pub(crate) fn random(random: &mut Random, oracle: &Oracle) -> Wishes {
        let owner = random.chance(0.5);
        let datasets = match random.below(5) {
            0 => Some(vec!["beta"]),
            1 => Some(vec!["gamma", "alpha"]),
            2 if owner => Some(vec!["vault", "beta"]),
            _ => None,
        };
        let evidence = random.pick(&[
            Evidence::Derived,
            Evidence::Derived,
            Evidence::Computed,
            Evidence::Measured,
            Evidence::Predicted,
        ]);
        let mut wishes = Wishes {
            wishes: Vec::new(),
            filter: random.chance(0.5).then(|| Condition::random(random, 0)),
            unknown: random.pick(&["predict", "predict", "require", "ignore"]),
            evidence,
            datasets,
            owner,
            limit: random.pick(&[1, 20, 150, 1000]),
            offset: random.pick(&[0, 0, 0, 37, 1200]),
        };
        let scope = wishes.scope();
        wishes.wishes =
            (0..random.pick(&[1, 1, 2, 2, 3, 4, 7])).map(|_| Wish::random(random, oracle, &scope)).collect();
        wishes
    }

    pub(crate) fn scope(&self) -> Vec<&'static str> {
        let mut scope = match (&self.datasets, self.owner) {
            (Some(names), _) => names.clone(),
            (None, true) => vec!["alpha", "beta", "gamma", "vault"],
            (None, false) => vec!["alpha", "beta", "gamma"],
        };
        scope.sort_unstable();
        scope
    }

    pub(crate) fn json(&self) -> Value {
        let mut spec = json!({
            "targets": self.wishes.iter().map(Wish::json).collect::<Vec<_>>(),
            "unknown": self.unknown,
            "evidence": self.evidence,
            "limit": self.limit,
            "offset": self.offset,
        });
        if let Some(filter) = &self.filter {
            spec["filter"] = json!(filter.text());
        }
        if let Some(names) = &self.datasets {
            spec["datasets"] = json!(names);
        }
        spec
    }

    /// Whether a belief is known, as far as this spec goes.
    pub(crate) fn knows(&self, belief: &Option<Belief>) -> bool {
        belief.is_some_and(|b| b.evidence >= self.evidence)
    }

    pub(crate) fn ignores(&self) -> bool {
        self.unknown == "ignore"
    }

    pub(crate) fn predicts(&self) -> bool {
        self.unknown == "predict"
    }

    pub(crate) fn truth(&self, oracle: &Oracle) -> Truth {
        let scope = self.scope();
        let rows = 0..oracle.materials.len();
        let members: Vec<usize> = rows.filter(|&row| oracle.is_member(row, &scope)).collect();
        let matches =
            |row: &usize| self.filter.as_ref().is_none_or(|filter| filter.holds(oracle, &scope, *row) == Some(true));
        let matched: Vec<usize> = members.iter().copied().filter(matches).collect();
        let meant: Vec<Meant> = self.wishes.iter().map(|wish| wish.meant(oracle, &scope, self.evidence)).collect();
        // added up in key order, so that rounding does not depend on how the spec was written
        let mut in_order: Vec<&Meant> = meant.iter().collect();
        in_order.sort_by(|a, b| {
            let numbers = |m: &Meant| [m.lo, m.hi, 1.0 / m.tolerance, m.weight];
            a.key.cmp(b.key).then_with(|| numbers(a).partial_cmp(&numbers(b)).unwrap())
        });
        let passes =
            |m: &Meant, row: usize| self.knows(&m.column[row]) && m.meets(&m.column[row].unwrap()) == Some(true);
        let mut ranked: Vec<(f64, usize)> = matched
            .iter()
            .filter(|&&row| self.unknown != "require" || meant.iter().all(|m| self.knows(&m.column[row])))
            .filter_map(|&row| {
                let counts = |m: &&&Meant| !self.ignores() || self.knows(&m.column[row]);
                let (mut sum, mut weights) = (0.0, 0.0);
                for m in in_order.iter().filter(counts) {
                    let (mean, sd) = m.counted(row);
                    sum += m.weight * shortfall(mean, sd, m.lo, m.hi, m.tolerance);
                    weights += m.weight;
                }
                (weights > 0.0).then_some((sum / weights, row))
            })
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Truth {
            ranked,
            passing_each: meant.iter().map(|m| matched.iter().filter(|&&row| passes(m, row)).count()).collect(),
            passing_all: matched.iter().filter(|&&row| meant.iter().all(|m| passes(m, row))).count(),
            searched: members.len(),
            matched_filter: matched.len(),
            meant,
        }
    }
}
