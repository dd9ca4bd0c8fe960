//! Which properties does a dataset bring itself, and when may they be kept?
//!
//! A quantity that the dictionary does not have becomes a property of the dataset that measures it: its key is
//! `<dataset>:<snake_case>` (`my-lab:wear_rate`), its definition is kept with the dataset's terms
//! ([`crate::catalogue::DatasetInfo::properties`]). What is after the `:` may be a key of the dictionary too, for a quantity
//! that has the same name and is not the same: `wear_rate` alone is the dictionary's, always.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Serialize;

use super::{Axis, Better, Deviation, Property, check};
use crate::unit::Unit;

/// Properties of one dataset's own, at most.
pub const MAX_OWN_PROPERTIES: usize = 256;

/// Distinct definitions that one process keeps, at most: [`intern`] never gives their memory back. At some 10 kB for the
/// longest that [`problem`] admits, that is 320 MB at the very worst, and a few MB in practice.
pub const MAX_DEFINITIONS: usize = 32_768;

/// Bytes of the part of a key after the `:`, at most.
const MAX_KEY: usize = 64;
/// Bytes of a name, alias, symbol, group, unit or method, at most.
const MAX_WORD: usize = 128;
/// Aliases and methods of one property, at most.
const MAX_WORDS: usize = 32;
/// Bytes of a description, at most.
const MAX_DESCRIPTION: usize = 1_000;

/// Standard deviation of a value with no stated uncertainty, where nothing is known of the method.
const DEFAULT_SD: Deviation = Deviation::Relative(0.05);

/// The bounds that stand for "not bounded": on a linear axis ±1e30, because the kernels compare in f32; on a log axis
/// 1e-300 to 1e300. An end that lies there says nothing about the property (see [`Property::axis_sd`]).
pub const fn widest_bounds(axis: Axis) -> [f64; 2] {
    match axis {
        Axis::Linear => [-1e30, 1e30],
        Axis::Log => [1e-300, 1e300],
    }
}

impl Property {
    /// A property of a dataset's own, `dataset:key`, with what a contributor need not say: no symbol, description or
    /// alias, bounds as wide as can be ([`widest_bounds`]), no preferred direction, 5 % of the value as the deviation. An
    /// empty `name` is the key in words. Change the fields at will; [`crate::catalogue::DatasetInfo::problem`] checks it.
    pub fn of_dataset(dataset: &str, key: &str, name: &str, unit: &str, axis: Axis) -> Property {
        Property {
            key: format!("{dataset}:{key}"),
            name: if name.is_empty() { key.replace('_', " ") } else { name.to_owned() },
            symbol: String::new(),
            unit: unit.to_owned(),
            group: "dataset".to_owned(),
            axis,
            bounds: widest_bounds(axis),
            better: Better::Neither,
            description: String::new(),
            aliases: Vec::new(),
            aliases_with_unit: Vec::new(),
            sd: DEFAULT_SD,
            methods: Vec::new(),
        }
    }

    /// The dataset whose own property this is; `None` for a property of the dictionary.
    pub fn dataset(&self) -> Option<&str> {
        self.key.split_once(':').map(|(dataset, _)| dataset)
    }

    /// The key without the dataset: `wear_rate` of `my-lab:wear_rate`.
    pub fn short_key(&self) -> &str {
        self.key.split_once(':').map_or(self.key.as_str(), |(_, key)| key)
    }

    /// Width of the bounds on the axis; `None` where an end is not stated.
    pub(super) fn width(&self) -> Option<f64> {
        let ([low, high], [lowest, highest]) = (self.bounds, widest_bounds(self.axis));
        let stated = low > lowest && high < highest;
        stated.then(|| self.axis.to_axis(high) - self.axis.to_axis(low))
    }

    /// Whether numbers of one mean the same as numbers of the other: the same axis, and units that are one.
    pub fn measures_like(&self, other: &Property) -> bool {
        let same_unit = || {
            let (mine, theirs) = (Unit::parse(&self.unit).ok()?, Unit::parse(&other.unit).ok()?);
            let there = mine.conversion_to(&theirs).ok()?;
            Some(there.apply(0.0) == 0.0 && there.apply(1.0) == 1.0)
        };
        self.axis == other.axis && (self.unit == other.unit || same_unit().unwrap_or_default())
    }
}

/// Why this cannot be a property of the dataset's own, if so: what is wrong, and the mend.
pub fn problem(dataset: &str, property: &Property) -> Option<String> {
    let key = &property.key;
    let short = property.short_key();
    let is_short = short.len() <= MAX_KEY
        && short.starts_with(|c: char| c.is_ascii_lowercase())
        && short.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if property.dataset() != Some(dataset) || !is_short {
        return Some(format!(
            "`{key}` cannot be the key of a property of dataset `{dataset}`: write `{dataset}:` and up to {MAX_KEY} of \
             a-z, 0-9 and `_`, beginning with a letter"
        ));
    }
    let words = [&property.name, &property.symbol, &property.unit, &property.group];
    let methods = property.methods.iter().map(|entry| &entry.method);
    let mut words = words.into_iter().chain(&property.aliases).chain(methods);
    if let Some(long) = words.find(|word| word.len() > MAX_WORD) {
        let start: String = long.chars().take(20).collect();
        return Some(format!("property `{key}`: \"{start}…\" is longer than {MAX_WORD} bytes"));
    }
    if property.description.len() > MAX_DESCRIPTION {
        return Some(format!("property `{key}`: the description is longer than {MAX_DESCRIPTION} bytes"));
    }
    if property.aliases.len() > MAX_WORDS || property.methods.len() > MAX_WORDS {
        return Some(format!("property `{key}`: more than {MAX_WORDS} aliases or methods"));
    }
    if property.name.trim().is_empty() {
        return Some(format!("property `{key}`: the name is empty"));
    }
    if !property.aliases_with_unit.is_empty() {
        return Some(format!("property `{key}`: `aliases_with_unit` is for the dictionary only; use `aliases`"));
    }
    let ([low, high], [lowest, highest]) = (property.bounds, widest_bounds(property.axis));
    if !(low >= lowest && high <= highest) {
        return Some(format!(
            "property `{key}`: bounds [{low:e}, {high:e}] lie beyond [{lowest:e}, {highest:e}]; choose another unit"
        ));
    }
    check(short, property).err().map(|why| format!("property {why}"))
}

/// A property as lists show it: `dataset` is there where it is a dataset's own.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Listed<'a> {
    /// The definition.
    #[serde(flatten)]
    pub property: &'a Property,
    /// The dataset that brings it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<&'a str>,
}

impl<'a> From<&'a Property> for Listed<'a> {
    fn from(property: &'a Property) -> Self {
        Listed { property, dataset: property.dataset() }
    }
}

/// More definitions than one process can keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process has seen {MAX_DEFINITIONS} definitions of properties of datasets' own, and takes no more: restart it"
)]
pub struct TooManyDefinitions;

/// The definition, kept for as long as the process lives: once for each distinct one, however often it is asked for.
///
/// The dictionary's definitions live as long as the process, and everything that holds a property holds it so. A
/// dataset's definitions come and change with commits, and are few, small ([`problem`] bounds each) and change seldom:
/// keeping them all is cheaper than counting who still holds one. [`MAX_DEFINITIONS`] bounds what that can cost.
///
/// # Errors
/// The bound is reached.
pub fn intern(property: Property) -> Result<&'static Property, TooManyDefinitions> {
    static KEPT: OnceLock<Mutex<Kept>> = OnceLock::new();
    // a panic while the lock is held cannot leave it half changed
    let mut kept = KEPT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    kept.intern(property, MAX_DEFINITIONS)
}

#[derive(Default)]
struct Kept {
    by_key: HashMap<String, Vec<&'static Property>>,
    count: usize,
}

impl Kept {
    fn intern(&mut self, property: Property, most: usize) -> Result<&'static Property, TooManyDefinitions> {
        if let Some(known) = self.by_key.get(&property.key).and_then(|same| same.iter().find(|p| ***p == property)) {
            return Ok(known);
        }
        if self.count >= most {
            return Err(TooManyDefinitions);
        }
        let leaked: &'static Property = Box::leak(Box::new(property));
        self.by_key.entry(leaked.key.clone()).or_default().push(leaked);
        self.count += 1;
        Ok(leaked)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::property::dictionary;

    fn wear() -> Property {
        Property::of_dataset("my-lab", "wear_rate", "", "mm^3/m", Axis::Log)
    }

    #[test]
    fn the_defaults_can_be_kept() {
        for axis in [Axis::Linear, Axis::Log] {
            let property = Property::of_dataset("a.b_c-1", "x2", "", "1", axis);
            assert_eq!(problem("a.b_c-1", &property), None);
            assert_eq!((property.dataset(), property.short_key()), (Some("a.b_c-1"), "x2"));
            let text = serde_json::to_string(&property).unwrap();
            assert_eq!(serde_json::from_str::<Property>(&text).unwrap(), property, "{text}");
        }
        assert_eq!(wear().name, "wear rate");
        assert_eq!((dictionary().get("density").unwrap().dataset(), wear().short_key()), (None, "wear_rate"));
    }

    #[test]
    fn what_cannot_be_kept_is_named_with_the_mend() {
        type Change = fn(&mut Property);
        let cases: [(Change, &str); 19] = [
            (|p| p.key = "wear_rate".into(), "write `my-lab:`"),
            (|p| p.key = "other:wear_rate".into(), "write `my-lab:`"),
            (|p| p.key = "my-lab:Wear".into(), "a-z"),
            (|p| p.key = "my-lab:2nd".into(), "beginning with a letter"),
            (|p| p.key = "my-lab:".into(), "beginning with a letter"),
            (|p| p.key = "my-lab:a:b".into(), "a-z"),
            (|p| p.key = format!("my-lab:{}", "a".repeat(65)), "64"),
            (|p| p.unit = "furlong/m".into(), "furlong"),
            (|p| p.bounds = [1.0, 1.0], "not an interval"),
            (|p| p.bounds = [f64::NAN, 1.0], "beyond"),
            (|p| p.bounds = [0.0, 1.0], "beyond"),
            (|p| (p.axis, p.bounds) = (Axis::Linear, [0.0, 1e31]), "another unit"),
            (|p| p.sd = Deviation::Relative(0.0), "deviation"),
            (|p| p.sd = Deviation::Absolute(f64::INFINITY), "deviation"),
            (|p| p.name = " ".into(), "name is empty"),
            (|p| p.name = "é".repeat(65), "longer than 128"),
            (|p| p.description = "x".repeat(1_001), "description"),
            (|p| p.aliases = vec!["x".into(); 33], "32 aliases"),
            (|p| p.aliases_with_unit = vec!["x".into()], "dictionary only"),
        ];
        for (change, word) in cases {
            let mut property = wear();
            change(&mut property);
            let problem = problem("my-lab", &property).unwrap_or_default();
            assert!(problem.contains(word), "{property:?}: {problem}");
        }
    }

    #[test]
    fn without_stated_bounds_a_deviation_follows_the_value_alone() {
        let log = wear();
        assert_eq!(log.axis_sd(1e-7, None, None), 0.05 / std::f64::consts::LN_10);
        assert_eq!(log.axis_sd(0.0, Some(1.0), None), 1.0, "no place on the axis: a decade");
        let linear = Property { axis: Axis::Linear, bounds: widest_bounds(Axis::Linear), ..wear() };
        assert_eq!(linear.axis_sd(-40.0, None, None), 2.0);
        assert_eq!(linear.axis_sd(40.0, Some(0.3), None), 0.3);
        assert_eq!(linear.axis_sd(0.0, None, None), 1e-12, "a share of nothing is nothing, and still above 0");
        // one stated end does not make a width either
        let above = Property { bounds: [0.0, 1e30], ..linear.clone() };
        assert_eq!(above.axis_sd(40.0, None, None), 2.0);
        // both do
        let both = Property { bounds: [0.0, 1e6], ..linear.clone() };
        assert_eq!(both.axis_sd(0.0, None, None), 1.0);
        for property in [log, linear, above, both] {
            for value in [0.0, -1.0, 1e-300, 1e300, f64::NAN, f64::INFINITY, property.bounds[0], property.bounds[1]] {
                for uncertainty in [None, Some(1e-300), Some(1e300), Some(-1.0)] {
                    let sd = property.axis_sd(value, uncertainty, None);
                    assert!(sd > 0.0 && sd.is_finite(), "{property:?} {value} {uncertainty:?}: {sd}");
                }
            }
        }
    }

    #[test]
    fn units_that_are_one_measure_alike() {
        let with = |unit: &str| Property { unit: unit.into(), ..wear() };
        assert!(with("g/cm^3").measures_like(&with("g/cm3")));
        assert!(!with("g/cm^3").measures_like(&with("kg/m^3")) && !with("K").measures_like(&with("°C")));
        assert!(!wear().measures_like(&Property { axis: Axis::Linear, ..wear() }));
    }

    #[test]
    fn a_definition_is_kept_once_and_no_more_than_the_bound() {
        let mut kept = Kept::default();
        let first = kept.intern(wear(), 2).unwrap();
        assert!(std::ptr::eq(first, kept.intern(wear(), 2).unwrap()));
        let other = Property { sd: Deviation::Relative(0.1), ..wear() };
        let second = kept.intern(other.clone(), 2).unwrap();
        assert_eq!(*second, other);
        assert_eq!(kept.intern(Property { sd: Deviation::Relative(0.2), ..wear() }, 2), Err(TooManyDefinitions));
        assert!(std::ptr::eq(first, kept.intern(wear(), 2).unwrap()), "what is kept is still there");
        assert!(std::ptr::eq(intern(wear()).unwrap(), intern(wear()).unwrap()));
    }
}
