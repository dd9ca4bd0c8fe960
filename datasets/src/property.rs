//! Which properties are there, in which unit, and how far may a value of each lie from the truth?
//!
//! The dictionary is one data file, `properties.toml`, built into the program. A [`Property`] says the unit in which the
//! hub keeps its values, the axis on which they are compared, and the typical deviation of a value, by method where
//! that is known. [`Dictionary::by_alias`] reads the headers of real files. What the dictionary lacks a dataset can bring
//! itself: [`Property::of_dataset`], [`intern`].

use crate::element::Element;
use crate::unit::Unit;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::OnceLock;

mod own;

pub use own::{Listed, MAX_DEFINITIONS, MAX_OWN_PROPERTIES, TooManyDefinitions, intern, problem, widest_bounds};

/// The text of the dictionary: `properties.toml`.
pub const SOURCE: &str = include_str!("../properties.toml");

/// How alike two words are, 0 to 1, for "did you mean".
pub fn similarity(a: &str, b: &str) -> f64 {
    0.5 * (strsim::jaro_winkler(a, b) + strsim::sorensen_dice(a, b))
}

/// The scale on which values of a property are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Values as they are.
    Linear,
    /// log10 of the values, for quantities that span decades.
    Log,
}

impl Axis {
    /// A value (in the dictionary's unit) on the axis; on a log axis NaN below 0 and -∞ at 0.
    pub fn to_axis(self, value: f64) -> f64 {
        match self {
            Axis::Linear => value,
            Axis::Log => value.log10(),
        }
    }

    /// The value (in the dictionary's unit) at a place on the axis.
    pub fn from_axis(self, place: f64) -> f64 {
        match self {
            Axis::Linear => place,
            Axis::Log => 10_f64.powf(place),
        }
    }
}

/// What an engineer usually wants of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Larger values.
    More,
    /// Smaller values.
    Less,
    /// It depends on the use.
    Neither,
}

/// A standard deviation, as a number in the property's unit or as a share of the value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deviation {
    /// In the property's unit.
    Absolute(f64),
    /// As a fraction of |value|.
    Relative(f64),
}

impl Deviation {
    /// The number, whichever kind it is.
    pub fn number(self) -> f64 {
        match self {
            Deviation::Absolute(number) | Deviation::Relative(number) => number,
        }
    }

    /// The standard deviation in the property's unit for a value in that unit.
    pub fn of(self, value: f64) -> f64 {
        match self {
            Deviation::Absolute(sd) => sd,
            Deviation::Relative(share) => share * value.abs(),
        }
    }
}

/// The typical deviation of values won by one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodDeviation {
    /// Functional, test or model ("DFT-PBE", "tensile test").
    pub method: String,
    /// Standard deviation of its values from the truth, the method's bias left out.
    #[serde(flatten)]
    pub deviation: Deviation,
}

/// An entry of the dictionary. Numbers are in [`Property::unit`] unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    /// Identifier in specs, filters and columns ("band_gap").
    pub key: String,
    /// Name in words ("Band gap").
    pub name: String,
    /// Symbol as the field writes it ("E_g").
    pub symbol: String,
    /// The unit in which values are kept, as chemists write it; "1" is dimensionless.
    pub unit: String,
    /// Field of properties ("electronic").
    pub group: String,
    /// Scale of comparison.
    pub axis: Axis,
    /// Least and greatest value that is physically conceivable, inclusive.
    pub bounds: [f64; 2],
    /// Usual direction of wishes.
    pub better: Better,
    /// Definition and conditions, one sentence.
    pub description: String,
    /// Column headers that mean this property.
    pub aliases: Vec<String>,
    /// Headers that mean another property unless their unit is of this one's dimension ("Cp (J/kg/K)").
    #[serde(default, skip_serializing)]
    pub aliases_with_unit: Vec<String>,
    /// Standard deviation of a value with no stated uncertainty.
    pub sd: Deviation,
    /// The same for known methods.
    #[serde(default)]
    pub methods: Vec<MethodDeviation>,
}

impl Property {
    /// Whether a value lies within the physical bounds, inclusive; never for NaN.
    pub fn is_conceivable(&self, value: f64) -> bool {
        (self.bounds[0]..=self.bounds[1]).contains(&value)
    }

    /// The entry of the method table that speaks of the given method, the most specific one ("DFT-PBE (VASP)" is
    /// "DFT-PBE", "PBE" too).
    pub fn method_deviation(&self, method: &str) -> Option<Deviation> {
        let plain = |text: &str| {
            let letters = folded(text);
            letters.strip_prefix("dft").filter(|rest| !rest.is_empty()).map_or(letters.clone(), str::to_owned)
        };
        let given = plain(method);
        let known = self.methods.iter().filter(|entry| given.contains(&plain(&entry.method)));
        known.max_by_key(|entry| entry.method.len()).map(|entry| entry.deviation)
    }

    /// Standard deviation of a value on the property's axis (log10 for log axes: sd / (value · ln 10)): from the
    /// reported uncertainty (one standard deviation in the unit, used where finite and above 0), else the method's
    /// typical error, else the property's. Always finite and above 0, at least 1e-4 of the place on the axis and 1e-6
    /// of the bounds' width, so that no belief is infinitely sure. Bounds that are not stated ([`widest_bounds`]) have no
    /// width that says anything: then at least 1e-12, and 1 (a decade on a log axis) where the value has no place.
    pub fn axis_sd(&self, value: f64, uncertainty: Option<f64>, method: Option<&str>) -> f64 {
        let reported = uncertainty.filter(|sd| sd.is_finite() && *sd > 0.0).map(Deviation::Absolute);
        let deviation = reported.or_else(|| self.method_deviation(method?)).unwrap_or(self.sd);
        let sd = match self.axis {
            Axis::Linear => deviation.of(value),
            Axis::Log => match deviation {
                Deviation::Relative(share) => share / std::f64::consts::LN_10,
                Deviation::Absolute(sd) => sd / (value * std::f64::consts::LN_10),
            },
        };
        let place = self.axis.to_axis(value);
        let width = self.width();
        let floor =
            width.map_or(1e-12, |width| 1e-6 * width).max(if place.is_finite() { 1e-4 * place.abs() } else { 0.0 });
        if sd.is_finite() { sd.max(floor) } else { width.unwrap_or(1.0).max(floor) }
    }
}

/// All properties, in the order of the file; a property's index is its place in it.
#[derive(Debug)]
pub struct Dictionary {
    properties: Vec<Property>,
    by_key: HashMap<String, u16>,
    /// Folded header to property; one-letter headers keep their case.
    by_alias: HashMap<String, u16>,
    by_alias_with_unit: HashMap<String, Vec<u16>>,
}

#[derive(Deserialize)]
struct File {
    property: Vec<Property>,
}

/// The bundled dictionary.
///
/// # Panics
/// Where the `properties.toml` built into the program is malformed; a test of this module reads it.
#[allow(clippy::expect_used)] // the file is part of the program, not of anyone's input
pub fn dictionary() -> &'static Dictionary {
    static DICTIONARY: OnceLock<Dictionary> = OnceLock::new();
    DICTIONARY.get_or_init(|| Dictionary::parse(SOURCE).expect("the bundled properties.toml is well formed"))
}

impl Dictionary {
    /// Reads and checks a dictionary: unique keys and headers, units that parse, ordered bounds, deviations above 0.
    fn parse(text: &str) -> Result<Self, String> {
        let File { property: properties } = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut dictionary =
            Self { properties, by_key: HashMap::new(), by_alias: HashMap::new(), by_alias_with_unit: HashMap::new() };
        for (index, property) in dictionary.properties.iter().enumerate() {
            let index = u16::try_from(index).map_err(|_| "more than 65,535 properties".to_owned())?;
            let key = &property.key;
            check(key, property)?;
            if dictionary.by_key.insert(key.clone(), index).is_some() {
                return Err(format!("key {key} stands twice"));
            }
            for alias in property.aliases.iter().chain([key, &property.name]) {
                let earlier = dictionary.by_alias.insert(folded(alias), index).filter(|earlier| *earlier != index);
                if let Some(earlier) = earlier {
                    let earlier = &dictionary.properties[usize::from(earlier)].key;
                    return Err(format!("\"{alias}\" stands for both {earlier} and {key}"));
                }
            }
            for alias in &property.aliases_with_unit {
                dictionary.by_alias_with_unit.entry(folded(alias)).or_default().push(index);
            }
        }
        Ok(dictionary)
    }

    /// The property of this key, exactly as the dictionary spells it.
    pub fn get(&self, key: &str) -> Option<&Property> {
        self.by_index(self.index_of(key)?)
    }

    /// The place of a key in the dictionary.
    pub fn index_of(&self, key: &str) -> Option<u16> {
        self.by_key.get(key).copied()
    }

    /// The property at a place in the dictionary.
    pub fn by_index(&self, index: u16) -> Option<&Property> {
        self.properties.get(usize::from(index))
    }

    /// All properties in the order of their indices.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Property> {
        self.properties.iter()
    }

    /// How many properties there are.
    pub fn len(&self) -> usize {
        self.properties.len()
    }

    /// Whether there is no property at all.
    pub fn is_empty(&self) -> bool {
        self.properties.is_empty()
    }

    /// The keys that someone who wrote `text` may have meant, at most `n`, best first ("bandgap_energy": band_gap).
    pub fn closest(&self, text: &str, n: usize) -> Vec<&str> {
        closest(self.iter(), text, n)
    }

    /// The property that a column header means, whatever its case, punctuation, LaTeX, subscripts, words such as
    /// "PROPERTY:" or "Exp." before it, and unit after it ("PROPERTY: Exp. Density (g/cm$^3$)", "Cₚ", "band_gap_eV").
    /// The unit decides where a header has two meanings ("Cp (J/kg/K)"), and a header that is spelled as a chemical
    /// element ("Sn", "K") counts only with a unit of the property; else it would be a composition.
    pub fn by_alias(&self, header: &str) -> Option<&Property> {
        let header = strip_lead(header.trim());
        let split = split_unit(header).map(|(name, unit)| (strip_lead(name), unit));
        if let Some((name, unit)) = split
            && Unit::parse(unit).is_ok()
        {
            return self.lookup(name, Some(unit));
        }
        if let Some(property) = self.lookup(header, None) {
            return Some(property); // brackets that are part of the name: "IC (Total)"
        }
        if let Some((name, unit)) = split {
            return self.lookup(name, Some(unit));
        }
        // a unit at the end without brackets: "yield_strength_MPa", "energy eV per atom"
        let breaks = header.char_indices().filter(|(_, c)| "_ ,".contains(*c));
        let ends: Vec<usize> = breaks.map(|(at, _)| at).collect();
        ends.iter().rev().find_map(|&end| {
            let (name, unit) = (&header[..end], header[end + 1..].replace("per_", "/"));
            // "eV_/atom" and, without "per", "g_cm3" for g/cm3
            [unit.replace('_', " "), unit.replacen('_', "/", 1).replace('_', " ")].iter().find_map(|unit| {
                let property = self.lookup(name, Some(unit))?;
                fits(property, unit).then_some(property)
            })
        })
    }

    fn lookup(&self, name: &str, unit: Option<&str>) -> Option<&Property> {
        let name = name.strip_suffix("_value").unwrap_or(name);
        let folded = folded(name);
        let main = self.by_alias.get(&folded).and_then(|&index| self.by_index(index));
        let Some(unit) = unit else {
            return main.filter(|_| Element::from_symbol(name).is_none());
        };
        let fitting = |property: &&Property| fits(property, unit);
        let others = || self.by_alias_with_unit.get(&folded)?.iter().find_map(|&i| self.by_index(i).filter(fitting));
        main.filter(fitting).or_else(others).or(main.filter(|_| Element::from_symbol(name).is_none()))
    }
}

/// The keys of those properties that someone who wrote `text` may have meant, at most `n`, best first.
pub fn closest<'a>(properties: impl IntoIterator<Item = &'a Property>, text: &str, n: usize) -> Vec<&'a str> {
    let wanted = folded(text);
    let likeness = |name: &str| {
        let name = folded(name);
        if name == wanted {
            return 2.0;
        }
        if name.chars().count() < 3 {
            return 0.0;
        }
        similarity(&wanted, &name)
    };
    let mut scored: Vec<(f64, &str)> = properties
        .into_iter()
        .map(|property| {
            let names = [property.short_key(), &property.key, &property.name].into_iter();
            let names = names.chain(property.aliases.iter().map(String::as_str));
            (names.map(likeness).fold(0.0, f64::max), property.key.as_str())
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().filter(|(score, _)| *score > 0.3).take(n).map(|(_, key)| key).collect()
}

/// What a property must satisfy by itself; `snake` is its key, without the dataset where it has one.
fn check(snake: &str, property: &Property) -> Result<(), String> {
    let Property { key, bounds: [low, high], .. } = property;
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if snake.is_empty() || !snake.chars().all(is_key) {
        return Err(format!("key {key} is not snake case"));
    }
    Unit::parse(&property.unit).map_err(|error| format!("{key}: {error}"))?;
    if !(low.is_finite() && high.is_finite() && low < high) {
        return Err(format!("{key}: bounds [{low}, {high}] are not an interval"));
    }
    if property.axis == Axis::Log && *low <= 0.0 {
        return Err(format!("{key}: a log axis needs a lower bound above 0"));
    }
    let mut deviations = property.methods.iter().map(|entry| entry.deviation).chain([property.sd]);
    if !deviations.all(|deviation| deviation.number().is_finite() && deviation.number() > 0.0) {
        return Err(format!("{key}: a deviation is not above 0"));
    }
    Ok(())
}

/// Whether the text is a unit of the property's dimension.
fn fits(property: &Property, unit: &str) -> bool {
    let Ok(wanted) = Unit::parse(&property.unit) else { return false };
    let given =
        if wanted.dimension_name() == "temperature" { Unit::parse_temperature(unit) } else { Unit::parse(unit) };
    given.is_ok_and(|given| given.conversion_to(&wanted).is_ok())
}

/// Words before a property's name that say where a value comes from, not what it is.
const LEADS: [&str; 13] = [
    "property:",
    "reference:",
    "exp.",
    "exp",
    "experimental",
    "calculated",
    "calc.",
    "calc",
    "computed",
    "measured",
    "predicted",
    "target:",
    "avg.",
];

fn strip_lead(header: &str) -> &str {
    let mut header = header.trim();
    while let Some(rest) = LEADS.iter().find_map(|lead| {
        let start = header.get(..lead.len()).filter(|start| start.eq_ignore_ascii_case(lead))?;
        let rest = &header[start.len()..];
        (start.ends_with([':', '.']) || rest.starts_with([' ', '_'])).then(|| rest.trim_start_matches([' ', '_']))
    }) {
        header = rest;
    }
    header
}

/// Name and unit of a header with a bracket at its end, or with the unit after a comma, slash or "in".
fn split_unit(header: &str) -> Option<(&str, &str)> {
    let header = header.trim_end_matches(['_', ' ', '*']);
    if let Some(close) = header.chars().last().filter(|c| ")]".contains(*c)) {
        let mut depth = 0;
        for (at, c) in header.char_indices().rev() {
            depth += i32::from(c == close) - i32::from(c == if close == ')' { '(' } else { '[' });
            if depth == 0 {
                return Some((&header[..at], &header[at + 1..header.len() - 1]));
            }
        }
    }
    [", ", " / ", " in "].iter().find_map(|separator| {
        let (name, unit) = header.split_once(separator)?;
        Unit::parse(unit).is_ok().then_some((name, unit))
    })
}

/// A header for comparison: lower case, letters and digits only, Greek letters by name, subscripts plain. A single
/// letter keeps its case, since K and k, S and s are different quantities.
fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.replace("\\mathrm", "").chars() {
        match c {
            '₀'..='₉' => out.extend(char::from_digit(c as u32 - '₀' as u32, 10)),
            'ₐ' => out.push('a'),
            'ₑ' => out.push('e'),
            'ₕ' => out.push('h'),
            'ₖ' => out.push('k'),
            'ₗ' => out.push('l'),
            'ₘ' => out.push('m'),
            'ₙ' => out.push('n'),
            'ₚ' => out.push('p'),
            'ₛ' => out.push('s'),
            'ₜ' => out.push('t'),
            'ᵥ' => out.push('v'),
            'ₓ' => out.push('x'),
            'é' => out.push('e'),
            'ü' => out.push('u'),
            '²' => out.push('2'),
            '³' => out.push('3'),
            '%' => out.push_str("percent"),
            c if c.is_ascii_alphanumeric() => out.push(c),
            c => out.push_str(greek(c)),
        }
    }
    if out.chars().count() > 1 { out.to_lowercase() } else { out }
}

fn greek(letter: char) -> &'static str {
    match letter {
        'α' => "alpha",
        'β' => "beta",
        'γ' => "gamma",
        'δ' | 'Δ' => "delta",
        'ε' | 'ϵ' => "epsilon",
        'η' => "eta",
        'θ' | 'Θ' => "theta",
        'κ' => "kappa",
        'λ' => "lambda",
        'µ' | 'μ' => "mu",
        'ν' => "nu",
        'ρ' => "rho",
        'σ' => "sigma",
        'τ' => "tau",
        'φ' | 'ϕ' | 'Φ' => "phi",
        'χ' => "chi",
        'ω' => "omega",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
