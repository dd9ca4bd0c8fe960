//! What does "W/mK" mean? Units as they stand in headers and cells, and exact conversion between them.
//!
//! Every atom of a unit (`GPa`, `mol`, `Å`) is resolved by UCUM (`octofhir-ucum`) or by the table of the field's own
//! spellings (`ALIASES`); the grammar around the atoms is the field's: LaTeX, Unicode superscripts, `g cm-3`,
//! `W/m-K`, `MPa√m`. Where UCUM and the field differ, the field's habit is taken: all that follows a solidus up to the
//! next one is in the denominator (`W/m.K` is W/(m·K)).
//!
//! UCUM counts the mole as a number and knows neither atoms, currencies nor hardness scales. Here each of them is a
//! `Kind`, a dimension of its own, so that J/mol never becomes J, nor HV a pressure.

mod spellings;
mod text;

#[cfg(test)]
mod tests;

use octofhir_ucum::Number;
use std::collections::HashMap;

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use spellings::{closest_units, named_dimensions};
use text::{clean, shortened, understand};

/// What can be wrong with a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text is no unit that we know.
    #[error("unknown unit \"{text}\"{}", did_you_mean(closest))]
    Unknown {
        /// The text as given.
        text: String,
        /// Known units spelled like it, closest first.
        closest: Vec<String>,
    },
    /// The unit measures another quantity than the wanted one.
    #[error("{}", wrong_dimension(given, wanted, given_dimension, wanted_dimension))]
    WrongDimension {
        /// The unit as given.
        given: String,
        /// The unit that was wanted.
        wanted: String,
        /// What the given unit measures ("pressure").
        given_dimension: String,
        /// What the wanted unit measures ("energy").
        wanted_dimension: String,
    },
    /// The dimensions agree, or seem to, but no fixed factor leads from one unit to the other.
    #[error("{given} does not convert to {wanted}: {why}")]
    NotConvertible {
        /// The unit as given.
        given: String,
        /// The unit that was wanted.
        wanted: String,
        /// The reason, and what would help.
        why: String,
    },
}

fn did_you_mean(closest: &[String]) -> String {
    if closest.is_empty() { String::new() } else { format!("; did you mean {}?", closest.join(", ")) }
}

const NO_DIMENSION: &str = "dimensionless number";

fn wrong_dimension(given: &str, wanted: &str, given_dimension: &str, wanted_dimension: &str) -> String {
    let given = if given.trim().is_empty() { "a value without unit" } else { given };
    let article = if given_dimension.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let unit_of = if wanted_dimension == NO_DIMENSION { "a " } else { "a unit of " };
    format!("{given} is {article} {given_dimension}; expected {unit_of}{wanted_dimension} such as {wanted}")
}

/// What UCUM counts as a plain number, or not at all, and we keep apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Mole,
    Atom,
    Cell,
    FormulaUnit,
    Molecule,
    Co2e,
    Co2,
    /// A hardness scale by its symbol.
    Hardness(&'static str),
    /// A currency by its ISO 4217 code.
    Currency(&'static str),
    /// What a fraction is a fraction of: mass, atoms, moles, volume.
    Fraction(&'static str),
    /// A logarithmic or arbitrary scale of UCUM by its code.
    Scale(&'static str),
}

impl Kind {
    fn symbol(self) -> &'static str {
        match self {
            Kind::Mole => "mol",
            Kind::Atom => "atom",
            Kind::Cell => "cell",
            Kind::FormulaUnit => "f.u.",
            Kind::Molecule => "molecule",
            Kind::Co2e => "CO2e",
            Kind::Co2 => "CO2",
            Kind::Hardness(symbol) | Kind::Currency(symbol) | Kind::Fraction(symbol) | Kind::Scale(symbol) => symbol,
        }
    }
}

/// Exponents are kept in sixths, so that MPa·m^(1/2) and cube roots have a place.
const ONE: i32 = 6;

/// A unit's meaning: a value v in it is v · factor + offset in UCUM's base units (m, s, g, rad, K, C, cd).
#[derive(Debug, Clone, PartialEq)]
struct Meaning {
    factor: Number,
    /// Kelvins at 0, for a temperature scale standing alone.
    offset: Number,
    /// Exponents of the base units, in sixths.
    dimension: [i32; 7],
    /// Exponents of the kinds, in sixths; sorted, none zero.
    kinds: Vec<(Kind, i32)>,
}

impl Meaning {
    fn number(factor: Number) -> Self {
        Self { factor, offset: Number::ZERO, dimension: [0; 7], kinds: Vec::new() }
    }

    fn pow(&self, sixths: i32) -> Option<Self> {
        if sixths == ONE {
            return Some(self.clone());
        }
        let scaled = |exponent: i32| {
            let product = exponent.checked_mul(sixths).filter(|p| p % ONE == 0 && p.abs() <= 100 * ONE * ONE)?;
            Some(product / ONE)
        };
        let mut dimension = [0; 7];
        for (to, from) in dimension.iter_mut().zip(self.dimension) {
            *to = scaled(from)?;
        }
        let kinds = self.kinds.iter().map(|&(kind, e)| Some((kind, scaled(e)?))).collect::<Option<_>>()?;
        Some(Self { factor: power(self.factor, sixths)?, offset: Number::ZERO, dimension, kinds })
    }

    fn times(&self, other: &Self) -> Option<Self> {
        let mut dimension = self.dimension;
        for (to, from) in dimension.iter_mut().zip(other.dimension) {
            *to += from;
        }
        let mut kinds = self.kinds.clone();
        for &(kind, e) in &other.kinds {
            match kinds.iter_mut().find(|(k, _)| *k == kind) {
                Some((_, sum)) => *sum += e,
                None => kinds.push((kind, e)),
            }
        }
        kinds.retain(|&(_, e)| e != 0);
        kinds.sort();
        Some(Self { factor: self.factor.checked_mul(other.factor)?, offset: Number::ZERO, dimension, kinds })
    }

    fn exponent_of(&self, kind: Kind) -> i32 {
        self.kinds.iter().find(|(k, _)| *k == kind).map_or(0, |&(_, e)| e)
    }

    /// "kJ/(mol atoms)" is per mole of atoms: a number of atoms.
    fn with_moles_of_atoms_counted(mut self) -> Option<Self> {
        let (moles, atoms) = (self.exponent_of(Kind::Mole), self.exponent_of(Kind::Atom));
        if moles != 0 && moles == atoms {
            let avogadro = Number::parse("6.02214076e23")?;
            self.factor = self.factor.checked_mul(power(avogadro, moles)?)?;
            self.kinds.retain(|(kind, _)| *kind != Kind::Mole);
        }
        Some(self)
    }

    fn measures_same(&self, other: &Self) -> bool {
        self.dimension == other.dimension && self.kinds == other.kinds
    }
}

/// `base^(sixths/6)`: exact for integer powers and for roots of fitting powers of ten.
fn power(base: Number, sixths: i32) -> Option<Number> {
    if sixths % ONE == 0 {
        return base.checked_powi(sixths / ONE);
    }
    let (digits, exponent) = base.to_integer_and_exponent();
    if digits == 1
        && let Some(product) = exponent.checked_mul(sixths).filter(|p| p % ONE == 0)
    {
        return Some(Number::power_of_ten(product / ONE));
    }
    Number::from_f64(base.to_f64().powf(f64::from(sixths) / f64::from(ONE)))
}

/// A unit as somebody wrote it, understood. Cheap to clone.
///
/// ```ignore
/// let given = Unit::parse("kg/m³")?;
/// let density = given.conversion_to(&Unit::parse("g/cm^3")?)?.apply(4000.0); // 4.0
/// ```
#[derive(Debug, Clone)]
pub struct Unit {
    text: Arc<str>,
    meaning: Arc<Meaning>,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

type Cache = RwLock<HashMap<String, Result<Unit, UnitError>>>;

/// Distinct texts kept; a file that brings more than this has no units but noise in its unit column.
const CACHE_SIZE: usize = 4096;

fn cache() -> &'static Cache {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    CACHE.get_or_init(Cache::default)
}

/// Longer texts are prose.
const LONGEST: usize = 120;

impl Unit {
    /// Understands a unit in UCUM or in any habit of the field ("g/cm$^3$", "W/mK", "µΩ·cm", "at.%", "eV/atom");
    /// an empty text and "-" are dimensionless. "C" is the coulomb and "F" the farad, see [`Unit::parse_temperature`].
    ///
    /// # Errors
    /// [`UnitError::Unknown`], with the closest known units.
    pub fn parse(text: &str) -> Result<Unit, UnitError> {
        if let Some(known) = cache().read().unwrap_or_else(PoisonError::into_inner).get(text) {
            return known.clone();
        }
        let unit = match (text.len() <= LONGEST).then(|| understand(text)).flatten() {
            Some(meaning) => Ok(Unit { text: text.into(), meaning: Arc::new(meaning) }),
            None => Err(UnitError::Unknown { text: shortened(text), closest: closest_units(text) }),
        };
        if text.len() <= LONGEST {
            let mut cache = cache().write().unwrap_or_else(PoisonError::into_inner);
            if cache.len() >= CACHE_SIZE {
                cache.clear();
            }
            cache.insert(text.to_owned(), unit.clone());
        }
        unit
    }

    /// Understands the unit of what is known to be a temperature: "C" is a degree Celsius here, "F" a degree
    /// Fahrenheit, "k" a kelvin.
    ///
    /// # Errors
    /// [`UnitError::Unknown`]; [`UnitError::WrongDimension`] for a unit of anything else than a temperature.
    pub fn parse_temperature(text: &str) -> Result<Unit, UnitError> {
        let spelled = match clean(text).trim_matches(['(', ')', '[', ']', ' ']) {
            "C" | "c" | "deg" | "°" => "°C",
            "F" | "f" => "°F",
            "k" => "K",
            _ => text,
        };
        let (unit, kelvin) = (Unit::parse(spelled)?, Unit::parse("K")?);
        if !unit.meaning.measures_same(&kelvin.meaning) {
            return Err(unit.wrong_dimension_for(&kelvin));
        }
        Ok(Unit { text: text.into(), meaning: unit.meaning })
    }

    /// Reads a unit of which is known what it must convert to: `C` is a degree Celsius where a temperature is wanted,
    /// and a coulomb elsewhere.
    ///
    /// # Errors
    /// As [`Unit::parse`].
    pub fn parse_for(text: &str, wanted: &Unit) -> Result<Unit, UnitError> {
        if wanted.dimension_name() == "temperature" { Unit::parse_temperature(text) } else { Unit::parse(text) }
    }

    /// The conversion of values in this unit to values in `target`.
    ///
    /// # Errors
    /// [`UnitError::WrongDimension`] where the units measure different quantities, [`UnitError::NotConvertible`] where
    /// they seem to measure the same but no fixed factor exists (J/mol and J, HV and GPa, wt.% and at.%, USD and EUR).
    pub fn conversion_to(&self, target: &Unit) -> Result<Conversion, UnitError> {
        let (from, to) = (&*self.meaning, &*target.meaning);
        if !from.measures_same(to) && !self.is_fraction_of_unstated_basis_of(target) {
            return Err(match self.why_not(target) {
                Some(why) => UnitError::NotConvertible { given: self.to_string(), wanted: target.to_string(), why },
                None => self.wrong_dimension_for(target),
            });
        }
        Conversion::between(from, to).ok_or_else(|| UnitError::NotConvertible {
            given: self.to_string(),
            wanted: target.to_string(),
            why: "the factor between them is out of range".into(),
        })
    }

    /// Whether both units mean the same, however they are written ("W/mK" and "W m^-1 K^-1").
    pub fn is_same(&self, other: &Unit) -> bool {
        self.meaning == other.meaning
    }

    /// What the unit measures, in words where there is one ("energy", "pressure", "density"), else its dimension in
    /// base units ("quantity of dimension L2.M").
    pub fn dimension_name(&self) -> String {
        let known = named_dimensions().iter().find(|(_, meaning)| meaning.measures_same(&self.meaning));
        if let Some((name, _)) = known {
            return (*name).to_owned();
        }
        let symbols = ["L", "T", "M", "A", "C", "Q", "F"].into_iter().zip(self.meaning.dimension);
        let kinds = self.meaning.kinds.iter().map(|&(kind, e)| (kind.symbol(), e));
        let parts: Vec<String> = symbols
            .chain(kinds)
            .filter(|(_, e)| *e != 0)
            .map(|(symbol, e)| match e {
                ONE => symbol.to_owned(),
                e if e % ONE == 0 => format!("{symbol}{}", e / ONE),
                e => format!("{symbol}^({e}/{ONE})"),
            })
            .collect();
        format!("quantity of dimension {}", parts.join("."))
    }

    fn wrong_dimension_for(&self, wanted: &Unit) -> UnitError {
        UnitError::WrongDimension {
            given: self.to_string(),
            wanted: wanted.to_string(),
            given_dimension: self.dimension_name(),
            wanted_dimension: wanted.dimension_name(),
        }
    }

    /// "ppm" may stand where "wppm" is meant; but wt.% never for at.%.
    fn is_fraction_of_unstated_basis_of(&self, other: &Unit) -> bool {
        let basis = |unit: &Unit| match unit.meaning.kinds[..] {
            [] => Some(None),
            [(Kind::Fraction(basis), ONE)] => Some(Some(basis)),
            _ => None,
        };
        self.meaning.dimension == [0; 7]
            && other.meaning.dimension == [0; 7]
            && matches!((basis(self), basis(other)), (Some(None), Some(_)) | (Some(_), Some(None)))
    }

    /// Why units of the same UCUM dimension do not convert; none where the dimensions differ and nothing is to explain.
    fn why_not(&self, target: &Unit) -> Option<String> {
        let (from, to) = (&*self.meaning, &*target.meaning);
        let differing: Vec<Kind> = (from.kinds.iter().chain(&to.kinds))
            .map(|&(kind, _)| kind)
            .filter(|&kind| from.exponent_of(kind) != to.exponent_of(kind))
            .collect();
        let pressure_or_number =
            |m: &Meaning| m.dimension == [0; 7] || m.dimension == [-ONE, -2 * ONE, ONE, 0, 0, 0, 0];
        let has = |test: fn(&Kind) -> bool| differing.iter().any(test);
        if has(|k| matches!(k, Kind::Hardness(_))) && pressure_or_number(from) && pressure_or_number(to) {
            return Some(
                "hardness scales are measured by different indents; tables between scales, or from hardness to \
                 strength, hold for one class of steels only"
                    .into(),
            );
        }
        if from.dimension != to.dimension {
            return None;
        }
        if has(|k| matches!(k, Kind::Currency(_))) {
            let both = !from.kinds.is_empty() && !to.kinds.is_empty();
            return both.then(|| "exchange rates change from day to day; convert before, and say the date".into());
        }
        if has(|k| matches!(k, Kind::Fraction(_))) {
            return Some(
                "one is a fraction of mass, the other of atoms, moles or volume; that needs the composition".into(),
            );
        }
        if has(|k| matches!(k, Kind::Co2e | Kind::Co2)) {
            return Some(
                "CO2 equivalents count other greenhouse gases too, and are not a plain mass; write kg CO2e/kg".into(),
            );
        }
        if has(|k| matches!(k, Kind::Atom)) && has(|k| matches!(k, Kind::Mole)) {
            return Some(
                "plain mol counts formula units, not atoms; write kJ/(mol atoms) if it is per mole of atoms".into(),
            );
        }
        if has(|k| matches!(k, Kind::Mole)) {
            return Some("one is per mole (or in moles), the other is not; that needs the amount of substance".into());
        }
        if has(|k| matches!(k, Kind::Atom | Kind::Cell | Kind::FormulaUnit | Kind::Molecule)) {
            return Some(
                "they count per atom, per cell or per formula unit; that needs the number of atoms in the formula"
                    .into(),
            );
        }
        Some("they are on scales of their own".into())
    }
}

/// A linear conversion of values: scale and offset, applied so that short decimal factors give correctly rounded results.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conversion {
    before: f64,
    numerator: f64,
    denominator: f64,
    after: f64,
}

impl Conversion {
    /// The conversion that changes nothing.
    pub const IDENTITY: Conversion = Conversion { before: 0.0, numerator: 1.0, denominator: 1.0, after: 0.0 };

    fn between(from: &Meaning, to: &Meaning) -> Option<Self> {
        let ratio = from.factor.checked_div(to.factor)?;
        let (numerator, denominator) = fraction(ratio).or_else(|| {
            // 5/9 has no short decimal, 9/5 has
            fraction(Number::ONE.checked_div(ratio)?).map(|(n, d)| (d, n))
        })?;
        let rise = from.offset.checked_sub(to.offset)?;
        let (before, after) = (rise.checked_div(from.factor)?, rise.checked_div(to.factor)?);
        // 459.67 or 255.372...: the shorter of the two is the exact one
        let digits = |n: Number| Number::from_f64(n.to_f64()).map(|n| n.to_integer_and_exponent().0.unsigned_abs());
        let (before, after) =
            if digits(before) < digits(after) { (before, Number::ZERO) } else { (Number::ZERO, after) };
        let conversion = Self { before: before.to_f64(), numerator, denominator, after: after.to_f64() };
        conversion.scale().is_finite().then_some(conversion)
    }

    /// The value in the target unit.
    pub fn apply(&self, value: f64) -> f64 {
        (value + self.before) * self.numerator / self.denominator + self.after
    }

    /// A difference, an uncertainty or a tolerance in the target unit: scaled only, the zero point does not count.
    pub fn apply_to_difference(&self, difference: f64) -> f64 {
        difference * self.numerator / self.denominator
    }

    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        *self == Conversion::IDENTITY
    }

    /// Target units per given unit.
    pub fn scale(&self) -> f64 {
        self.numerator / self.denominator
    }
}

/// Numerator and denominator, both exact in f64 where the number is a short decimal; else its nearest f64 over 1.
fn fraction(ratio: Number) -> Option<(f64, f64)> {
    const EXACT: u128 = 1 << 53;
    let (digits, exponent) = ratio.to_integer_and_exponent();
    let short = digits.unsigned_abs() < EXACT && exponent.abs() <= 22;
    if short {
        let ten = 10_f64.powi(exponent.abs());
        return Some(if exponent < 0 { (digits as f64, ten) } else { (digits as f64 * ten, 1.0) });
    }
    let inverse = Number::ONE.checked_div(ratio)?;
    let (digits, exponent) = inverse.to_integer_and_exponent();
    if digits.unsigned_abs() < EXACT && exponent.abs() <= 22 {
        return None; // the inverse is the short one
    }
    let value = ratio.to_f64();
    (value.is_finite() && value != 0.0).then_some((value, 1.0))
}
