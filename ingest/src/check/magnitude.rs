//! Is the unit probably wrong? The values of a column against what the hub knows of the same materials.
//!
//! A unit is wrong for a column, not for a row. So a sample of each column is compared, and the column is suspect where
//! most of the materials that the hub knows fit by one and the same factor, and not as stated. A single value is suspect
//! only in a column that is sound, of a property that hardly differs between samples of one material, where several
//! values of the hub agree that it is a power of ten off: phases and treatments explain the rest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datasets::property::{Axis, Deviation, Property, dictionary};
use datasets::table::{Stated, Wanted};

use super::Places;
use super::noted::{Kind, Noted, Sampled, axis_sd};
use crate::report::{Code, Finding, Severity};

/// Materials that a column must share with the hub.
const FEWEST: usize = 5;
/// Share of them that must fit in the other unit.
const SHARE: f64 = 0.6;
/// A value of a suspect column is this many deviations from what is known, and fits within [`FITS`] in the other unit.
const OFF: f64 = 3.0;
const FITS: f64 = 2.0;
/// A single value is this many deviations from what is known.
const FAR: f64 = 6.0;
/// Values that must agree on a material before a single value is held against them.
const AGREEING: usize = 2;
/// Share of the materials that agree with the hub in a column whose single values are looked at.
const SOUND: f64 = 0.8;
/// Typical deviation, as a share of the value, of properties that hardly differ between samples.
const NARROW: f64 = 0.15;
/// Values of a suspect column that are listed.
const LISTED: usize = 100;
/// Values of one material and property that are remembered of the hub.
const MOST_KNOWN: usize = 16;
/// Methods whose deviations are remembered.
const MOST_METHODS: usize = 64;
/// Temperatures so near do not matter.
const NEAR_K: f64 = 50.0;
/// Temperature of a value that states none.
const ROOM_K: f64 = 298.15;

/// Factors between units that are mixed up, beside powers of ten: the word in the property's unit, factor, in words.
const FACTORS: [(&str, f64, &str); 7] = [
    ("eV", 1.0 / 96.485_332_12, "given in kJ/mol"),
    ("eV", 1.0 / 23.060_548, "given in kcal/mol"),
    ("eV", 27.211_386_245_988, "given in hartree"),
    ("eV", 13.605_693_122_994, "given in rydberg"),
    ("Pa", 6.894_757_293, "given in ksi for MPa, or psi for kPa"),
    ("Pa", 6.894_757_293e-3, "given in psi for MPa, or ksi for GPa"),
    ("Å^3", 0.148_184_711, "given in Bohr^3"),
];

/// What the hub knows of the materials of a sample.
#[derive(Debug, Default)]
pub struct Known {
    /// By material and place of the property in the dictionary.
    values: HashMap<(u64, u16), Vec<One>>,
    labels: HashMap<u64, Arc<str>>,
    pairs: HashSet<(u64, u16)>,
    /// Typical deviations of methods, by property.
    typical: Vec<(u16, Arc<str>, Option<Deviation>)>,
}

#[derive(Debug)]
struct One {
    place: f64,
    sd: f64,
    temperature_k: f64,
    dataset: Arc<str>,
}

/// What is believed of one material.
struct Belief<'k> {
    mean: f64,
    sd: f64,
    /// How many values there are that agree with each other; 0 where some do not.
    agreeing: usize,
    dataset: &'k str,
}

impl Known {
    /// Takes a value of the hub.
    pub fn add(&mut self, stated: &Stated) {
        let Some(index) = dictionary().index_of(&stated.property) else { return };
        let Some(property) = dictionary().by_index(index) else { return };
        let pair = (stated.material, index);
        if !self.pairs.contains(&pair) || !property.is_conceivable(stated.value) {
            return;
        }
        let typical = stated.method.as_ref().and_then(|method| self.typical(index, property, method));
        let place = property.axis.to_axis(stated.value);
        let sd = axis_sd(property, stated.value, stated.uncertainty, typical);
        let values = self.values.entry(pair).or_default();
        if values.len() < MOST_KNOWN && place.is_finite() {
            let temperature_k = stated.temperature_k.unwrap_or(ROOM_K);
            values.push(One { place, sd, temperature_k, dataset: Arc::clone(&stated.dataset) });
            self.labels.entry(stated.material).or_insert_with(|| Arc::clone(&stated.label));
        }
    }

    /// What datasets other than these say of a property of a material from a temperature up: logarithms of values, and who
    /// says them.
    pub(super) fn warm_places_of(
        &self,
        material: u64,
        index: u16,
        least_k: f64,
        own: &HashSet<String>,
    ) -> Vec<(f64, &str)> {
        let Some(property) = dictionary().by_index(index) else { return Vec::new() };
        let values = self.values.get(&(material, index)).into_iter().flatten();
        let values = values.filter(|one| one.temperature_k >= least_k && !own.contains(&*one.dataset));
        let logarithm = |one: &One| property.axis.from_axis(one.place).log10();
        values.map(|one| (logarithm(one), &*one.dataset)).filter(|(place, _)| place.is_finite()).collect()
    }

    fn typical(&mut self, index: u16, property: &Property, method: &Arc<str>) -> Option<Deviation> {
        let known = |of: &&(u16, Arc<str>, _)| of.0 == index && (Arc::ptr_eq(&of.1, method) || of.1 == *method);
        if let Some((.., deviation)) = self.typical.iter().find(known) {
            return *deviation;
        }
        let deviation = property.method_deviation(method);
        if self.typical.len() < MOST_METHODS {
            self.typical.push((index, Arc::clone(method), deviation));
        }
        deviation
    }

    /// What is believed of the material of a value: by other datasets, or else by the dataset's own older version.
    fn belief(&self, property: &'static Property, value: &Sampled, own: &HashSet<String>) -> Option<Belief<'_>> {
        let all = self.values.get(&(value.material, dictionary().index_of(&property.key)?))?;
        let temperature = value.temperature_k.unwrap_or(ROOM_K);
        let mut near: Vec<&One> = all.iter().filter(|one| (one.temperature_k - temperature).abs() <= NEAR_K).collect();
        if near.iter().any(|one| !own.contains(&*one.dataset)) {
            near.retain(|one| !own.contains(&*one.dataset));
        }
        near.sort_by(|a, b| a.place.total_cmp(&b.place));
        let middle = *near.get(near.len().checked_sub(1)? / 2)?;
        let mut off: Vec<f64> = near.iter().map(|one| (one.place - middle.place).abs()).collect();
        off.sort_by(f64::total_cmp);
        let agree = off.last().is_some_and(|off| *off <= FITS * middle.sd);
        let agreeing = if agree { near.len() } else { 0 };
        // of two values the distance, of more the usual one
        let spread = off.get(off.len() / 2).copied().unwrap_or_default();
        Some(Belief { mean: middle.place, sd: middle.sd.hypot(spread), agreeing, dataset: &middle.dataset })
    }
}

impl Noted {
    /// What to ask of a table, where there is anything to compare; `datasets` are those that may be asked.
    pub fn wanted(&self, datasets: impl IntoIterator<Item = String>) -> Option<(Wanted, Known)> {
        let (mut wanted, mut known) = (Wanted::default(), Known::default());
        wanted.datasets.extend(datasets);
        for value in &self.sampled {
            let Some(property) = self.property(value) else { continue };
            wanted.materials.insert(value.material);
            if !wanted.properties.contains(&property.key) {
                wanted.properties.insert(property.key.clone());
            }
            known.pairs.extend(dictionary().index_of(&property.key).map(|index| (value.material, index)));
        }
        (!wanted.materials.is_empty() && !wanted.datasets.is_empty()).then_some((wanted, known))
    }

    fn kind(&self, value: &Sampled) -> Option<&Kind> {
        self.kinds.get(usize::from(value.kind))
    }

    fn property(&self, value: &Sampled) -> Option<&'static Property> {
        self.kind(value)?.property
    }

    /// Flags columns whose unit is probably wrong, with some of the values of the sample that say so, and single values that are
    /// a power of ten off. `own` are the datasets of the job: what the hub has of them counts only where no other knows
    /// the material.
    pub fn suspects(&self, known: &Known, own: &HashSet<String>, places: &Places) -> Vec<Finding> {
        let mut columns: BTreeMap<u16, Vec<Compared<'_>>> = BTreeMap::new();
        for value in &self.sampled {
            let Some(property) = self.property(value) else { continue };
            let Some(belief) = known.belief(property, value, own) else { continue };
            let Some(kind) = self.kind(value) else { continue };
            let compared = Compared { kind, property, value, belief };
            if compared.says_something() {
                columns.entry(value.kind).or_default().push(compared);
            }
        }
        let mut findings = Vec::new();
        for column in columns.into_values() {
            match suspect_column(&column) {
                Some(factor) => {
                    let fits: Vec<&Compared<'_>> = column.iter().filter(|value| value.is_in(factor.0)).collect();
                    findings.extend(fits.first().map(|first| {
                        first.column(&factor, (distinct(fits.iter().copied()), distinct(&column)), known, places)
                    }));
                    findings.extend(fits.iter().take(LISTED).map(|value| value.single(&factor, known, places)));
                }
                None if is_sound(&column) => findings.extend(
                    column.iter().filter_map(|value| Some(value.single(&value.power_of_ten()?, known, places))),
                ),
                None => {}
            }
        }
        findings
    }
}

/// A value of the job beside what the hub knows.
struct Compared<'s> {
    kind: &'s Kind,
    property: &'static Property,
    value: &'s Sampled,
    belief: Belief<'s>,
}

/// A factor with the words for it.
type Factor = (f64, String);

impl Compared<'_> {
    fn apart(&self, factor: f64) -> f64 {
        let value = self.value.value * factor;
        let sd = self.value.sd.map(|sd| sd * factor.abs());
        let (place, own) = self.kind.on_axis(self.property, value, sd);
        let apart = (place - self.belief.mean).abs() / own.hypot(self.belief.sd);
        if apart.is_nan() { f64::INFINITY } else { apart }
    }

    /// On a linear axis a value near 0 fits in every unit.
    fn says_something(&self) -> bool {
        self.property.axis == Axis::Log || self.belief.mean.abs() > OFF * self.belief.sd
    }

    fn is_in(&self, factor: f64) -> bool {
        self.apart(1.0) > OFF && self.apart(factor) <= FITS
    }

    fn power_of_ten(&self) -> Option<Factor> {
        let narrow = matches!(self.property.sd, Deviation::Relative(share) if share <= NARROW);
        let may =
            narrow && self.property.axis == Axis::Log && self.belief.agreeing >= AGREEING && self.apart(1.0) > FAR;
        let fitting = tens().filter(|(factor, _)| may && self.apart(*factor) <= FITS);
        fitting.min_by(|a, b| self.apart(a.0).total_cmp(&self.apart(b.0)))
    }

    fn known(&self, known: &Known) -> String {
        let label = known.labels.get(&self.value.material).map_or("this material", |label| label);
        let mean = self.property.axis.from_axis(self.belief.mean);
        format!("{} {} of {label} in `{}`", short(mean), self.property.unit, self.belief.dataset)
    }

    fn given(&self) -> String {
        let unit = self.kind.given_unit.as_deref().unwrap_or(&self.property.unit);
        format!("{} {unit}", self.value.given)
    }

    fn column(&self, factor: &Factor, (fits, all): (usize, usize), known: &Known, places: &Places) -> Finding {
        let why = format!(
            "the unit of the whole column is probably wrong: {} agrees with the hub for {fits} of {all} materials if it \
             is {}, and not as it stands; the first is {} here beside {}",
            self.property.name,
            factor.1,
            self.given(),
            self.known(known)
        );
        let mend = "correct `unit` of this column in the mapping, or state the `factor` that its numbers are to be \
                    multiplied by; where the unit is right, state what differs (temperature, doping, method) as a condition; \
                    all values are kept";
        self.finding(why, mend, places)
    }

    fn single(&self, factor: &Factor, known: &Known, places: &Places) -> Finding {
        let why = format!(
            "{} of {} is far from {}, and agrees with it if it is {}",
            self.property.name,
            self.given(),
            self.known(known),
            factor.1
        );
        self.finding(
            why,
            "check the unit of the column in the mapping, and the value at the source; it is kept",
            places,
        )
    }

    fn finding(&self, why: String, mend: &str, places: &Places) -> Finding {
        let text = self.value.given.to_string();
        let cell = (self.kind.column.as_deref(), Some(text.as_str()));
        places.of(self.value.origin).finding(Severity::Flagged, Code::SuspectUnit, cell, why, mend)
    }
}

fn tens() -> impl Iterator<Item = Factor> {
    (-9..=9).filter(|n| *n != 0).map(|n| (10_f64.powi(n), format!("multiplied by 10^{n}")))
}

/// The factor by which most materials of a column fit, where they do not as stated.
fn suspect_column(column: &[Compared<'_>]) -> Option<Factor> {
    let all = distinct(column);
    let property = column.first()?.property;
    let enough = |some: usize| some as f64 >= SHARE * all as f64;
    if all < FEWEST || !enough(distinct(column.iter().filter(|value| value.apart(1.0) > OFF))) {
        return None;
    }
    let units = FACTORS.iter().filter(|(of, ..)| property.unit.contains(of));
    let units = units.map(|(_, factor, words)| (*factor, (*words).to_owned()));
    let scored = tens().chain(units).map(|factor| {
        let fits = distinct(column.iter().filter(|value| value.is_in(factor.0)));
        let mut apart: Vec<f64> = column.iter().map(|value| value.apart(factor.0)).collect();
        apart.sort_by(f64::total_cmp);
        (fits, apart.get(apart.len() / 2).copied().unwrap_or(f64::INFINITY), factor)
    });
    let (fits, _, factor) = scored.max_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))?;
    let as_stated = distinct(column.iter().filter(|value| value.apart(1.0) <= OFF));
    (enough(fits) && fits > as_stated).then_some(factor)
}

/// Whether the hub agrees with most of a column as it stands.
fn is_sound(column: &[Compared<'_>]) -> bool {
    let (agree, all) = (distinct(column.iter().filter(|value| value.apart(1.0) <= OFF)), distinct(column));
    all >= FEWEST && agree as f64 >= SOUND * all as f64
}

/// How many materials there are.
fn distinct<'c>(values: impl IntoIterator<Item = &'c Compared<'c>>) -> usize {
    values.into_iter().map(|value| value.value.material).collect::<HashSet<_>>().len()
}

/// Four digits of a number.
pub(super) fn short(x: f64) -> String {
    if x != 0.0 && !(1e-3..1e6).contains(&x.abs()) {
        return format!("{x:.3e}");
    }
    let places = (3 - x.abs().max(1e-3).log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{x:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
