//! Which material does the row speak about? Formula, fractions, space group, structure, SMILES.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use datasets::element::Element;
use datasets::formula::{Basis, Formula, FormulaError, FormulaProblem};
use datasets::record::{Evidence, Measurement};
use datasets::structure::Structure;

use super::measure::is_bound;
use super::nuclide::{self, Nuclide};
use super::slip;
use super::{Composition, Layout, Share, Words, cut, is_wanted};
use crate::check::Place;
use crate::header::Ppm;
use crate::mapping::{BasisName, Derivation};
use crate::read::Row;
use crate::report::{Code, Finding, Severity};
use crate::value::Sense;
use crate::{smiles, structure, value};

/// Amounts that sum to less are no percentages with something missing.
const LEAST_PERCENT: f64 = 50.0;

/// What a structure says about its material.
pub(super) struct Described {
    pub(super) structure: Structure,
    pub(super) formula: Formula,
    pub(super) space_group: Option<i16>,
    /// Å³ per atom.
    pub(super) volume_per_atom: Option<f64>,
    /// g/cm³.
    pub(super) density: Option<f64>,
    /// The distance of two atoms that are too near to each other, Å.
    crowded: Option<f64>,
}

fn read_structure(text: &str) -> Result<Described, String> {
    let structure = structure::parse(text).map_err(|e| e.to_string())?;
    let said = structure::describe(&structure).map_err(|e| e.to_string())?;
    let (formula, space_group) = (said.formula, said.space_group);
    let structure::Description { volume_per_atom, density, crowded, .. } = said;
    Ok(Described { structure, formula, space_group, volume_per_atom, density, crowded })
}

/// Who the row speaks about.
#[derive(Default)]
pub(super) struct Identity {
    pub(super) formula: Option<Formula>,
    /// Whether the formula is that of the formula's own column.
    pub(super) stated: bool,
    pub(super) space_group: Option<i16>,
    pub(super) smiles: Option<String>,
    pub(super) described: Option<Described>,
}

impl Layout<'_> {
    /// The material of a row; what is wrong goes into the findings.
    pub(super) fn identity(
        &self,
        row: &Row,
        place: Place<'_>,
        refused: &mut Vec<Finding>,
        flagged: &mut Vec<Finding>,
    ) -> Identity {
        let mut identity = Identity::default();
        match self.stated_formula(row, place, flagged) {
            Ok((formula, stated)) => (identity.formula, identity.stated) = (formula, stated),
            Err(finding) => refused.push(finding),
        }
        match self.stated_space_group(row, place) {
            Ok(number) => identity.space_group = number,
            Err(finding) => refused.push(finding),
        }
        let cell = |position: Option<usize>| position.and_then(|p| self.cell(row, p));
        if let Some(text) = cell(self.smiles) {
            identity.smiles = Some(text.to_owned());
            if identity.formula.is_none() && self.structure.is_none() {
                match smiles::formula(text) {
                    Ok(molecule) => identity.formula = Some(molecule.formula),
                    Err(why) => {
                        let why = why.to_string();
                        let column = self.mapping.file.material.smiles.as_deref();
                        let mend = "correct the SMILES string, or map a column with the formula";
                        refused.push(place.finding(
                            Severity::Refused,
                            Code::BadSmiles,
                            (column, Some(text)),
                            why,
                            mend,
                        ));
                    }
                }
            }
        }
        if let Some(text) = cell(self.structure) {
            let column = self.mapping.file.material.structure.as_deref();
            let shown: String = text.chars().take(200).collect();
            match read_structure(text) {
                Ok(described) => {
                    flagged.extend(described.crowded.map(|apart| {
                        let why =
                            format!("two atoms of the structure are {apart:.2} Å apart: no two atoms can be so near");
                        let mend = "check positions, lattice and units of length at the source; the structure is kept";
                        place.finding(Severity::Flagged, Code::BadStructure, (column, None), why, mend)
                    }));
                    flagged.extend(mismatch(&identity, &described).map(|why| {
                        let mend = "check which of the columns is right; the columns are kept, beside the structure";
                        place.finding(Severity::Flagged, Code::StructureMismatch, (column, None), why, mend)
                    }));
                    if identity.formula.is_none() {
                        identity.formula = Some(described.formula.clone());
                    }
                    identity.space_group = identity.space_group.or(described.space_group);
                    identity.described = Some(described);
                }
                Err(why) => {
                    let mend = "mend the text of the structure, or leave the cell empty";
                    refused.push(place.finding(
                        Severity::Refused,
                        Code::BadStructure,
                        (column, Some(&shown)),
                        why,
                        mend,
                    ));
                }
            }
        }
        identity
    }

    /// What the formula (then `true`) or the columns of elements say; a cell without a formula leaves it to the columns.
    fn stated_formula(
        &self,
        row: &Row,
        place: Place<'_>,
        flagged: &mut Vec<Finding>,
    ) -> Result<(Option<Formula>, bool), Finding> {
        if let Some(text) = self.formula.and_then(|position| row.cells.get(position)).map(str::trim) {
            let column = self.mapping.file.material.formula.as_deref().unwrap_or_default();
            match self.read_formula(text) {
                Ok(formula) => {
                    flagged.extend(slip::look_at(place, column, text, &formula)?);
                    return Ok((Some(formula), true));
                }
                // a word that means no value, unless it is a formula: `NaN` is sodium nitride
                Err(_) if self.is_null(text) => {}
                Err(why) => return Err(bad_formula(place, column, text, why.to_string())),
            }
        }
        match &self.composition {
            Some(composition) if is_wanted(composition.when, row) => {
                Ok((self.formula_of_columns(composition, row, place, flagged)?, false))
            }
            _ => Ok((None, false)),
        }
    }

    fn read_formula(&self, text: &str) -> Result<Formula, FormulaError> {
        let pointed = (self.numbers.decimal == ',').then(|| decimal_points(text)).flatten();
        let text = pointed.as_deref().unwrap_or(text);
        match self.mapping.file.material.basis {
            None | Some(BasisName::AtomicFraction) => Formula::parse(text),
            Some(basis @ BasisName::AtomicPercent) => {
                Formula::parse_with_basis(text, basis.into()).or_else(|why| match why.problem {
                    // far from any percentage: the ratio of atoms is written as a formula, `CoCrFeNi`
                    FormulaProblem::Sum { sum, .. } if sum < LEAST_PERCENT => Formula::parse(text).map_err(|_| why),
                    _ => Err(why),
                })
            }
            Some(basis) => Formula::parse_with_basis(text, basis.into()),
        }
    }

    fn formula_of_columns(
        &self,
        composition: &Composition<'_>,
        row: &Row,
        place: Place<'_>,
        flagged: &mut Vec<Finding>,
    ) -> Result<Option<Formula>, Finding> {
        let stated = composition.stated;
        let mut parts: Vec<(Nuclide, f64)> = Vec::with_capacity(composition.shares.len() + 1);
        let mut rest_of: Option<&Share> = None;
        let mut supposed = Vec::new();
        for share in &composition.shares {
            let Some(text) = self.cell(row, share.position) else { continue };
            if !value::is_balance(text) {
                let (number, is_bound) = self.share_of(composition, share, text, row, place)?;
                supposed.extend(is_bound.then(|| format!("{} {number}", share.nuclide.element)));
                parts.push((share.nuclide, number));
                continue;
            }
            if let Some(other) = rest_of.replace(share) {
                let why = format!("{} and {} make up the rest", other.nuclide.element, share.nuclide.element);
                let cell = (Some(&*share.header), Some(text));
                let mend = "write the share of one of them";
                return Err(place.finding(Severity::Refused, Code::BadNumber, cell, why, mend));
            }
        }
        if parts.is_empty() {
            flagged.extend(rest_of.map(|share| {
                let why = "only the rest is stated, and no share that it is the rest of: the row goes without its composition";
                let mend = "write the shares of the other elements, or the share of this one";
                let cell = (Some(&*share.header), row.cells.get(share.position));
                place.finding(Severity::Flagged, Code::BadFormula, cell, why.to_owned(), mend)
            }));
            return Ok(None);
        }
        let untold = |part: &&Share| !has(&parts, part.nuclide.element) && self.cell(row, part.position).is_some();
        if let Some(part) = composition.parts.iter().find(untold) {
            let (column, element) = (&*part.header, part.nuclide.element);
            let why = format!(
                "`{column}` is not the share of {element}, and no other column is: the row goes without its composition"
            );
            let mend = "add a column with the share, such as the nominal one, under the same prefix";
            let cell = (Some(column), row.cells.get(part.position));
            flagged.push(place.finding(Severity::Flagged, Code::BadFormula, cell, why, mend));
            return Ok(None);
        }
        let basis = self.basis(composition, row, place)?;
        let sum: f64 = parts.iter().map(|(_, share)| share).sum();
        if stated.normalise && sum > 0.0 && sum.is_finite() {
            for (_, share) in &mut parts {
                *share *= basis.whole() / sum;
            }
        }
        let rest = basis.whole() - sum;
        // a row may say itself what makes up the rest, or state the share of that element
        let balance = rest_of.map(|share| share.nuclide.element).or(composition.balance);
        if let Some(element) = balance.filter(|element| !has(&parts, *element)) {
            if rest < 0.0 {
                let why = format!("the fractions sum to {sum}, and leave nothing for the balance {element}");
                return Err(bad_fractions(place, &parts, why));
            }
            parts.push((Nuclide::from(element), rest));
        }
        let formula = nuclide::formula(&parts, basis).map_err(|e| bad_fractions(place, &parts, e.to_string()))?;
        if !supposed.is_empty() {
            let why =
                format!("of a share that is only bounded half of what it may be is supposed: {}", supposed.join(", "));
            let mend = "write the share where it is known; a bound alone moves the others a little";
            flagged.push(place.finding(Severity::Flagged, Code::BoundedShare, (Some("composition"), None), why, mend));
        }
        Ok(Some(formula))
    }

    /// The share of an element in the numbers of the composition (`12.5`, `12-13`, `<0.03`, `500 ppm`, `0.05 wt%`), and
    /// whether it was only bounded: then it is the middle of what it may be.
    fn share_of(
        &self,
        composition: &Composition<'_>,
        share: &Share,
        text: &str,
        row: &Row,
        place: Place<'_>,
    ) -> Result<(f64, bool), Finding> {
        if let Some(number) = self.numbers.plain(text).filter(|_| share.ppm.is_none()) {
            return Ok((number, false));
        }
        // `max. 0.03`, `0.25 max`
        let words = ["max.", "max", "Max."];
        let most = words.iter().find_map(|word| text.strip_prefix(word).or_else(|| text.strip_suffix(word)));
        let most = most.map(str::trim);
        let bad = |why: value::Unreadable| self.bad_number(place, &share.header, text, Some(&why));
        let mut reading = value::read(most.unwrap_or(text), self.numbers).map_err(bad)?;
        if most.is_some() && reading.sense == Sense::Exact {
            reading.sense = Sense::Below("≤");
        }
        let basis = self.basis(composition, row, place)?;
        let whole = basis.whole();
        let by_mass = basis.is_by_mass();
        let factor = match reading.unit {
            None if matches!((share.ppm, by_mass), (Some(Ppm::Mass), false) | (Some(Ppm::Atoms), true)) => {
                let why = "the header says of what the numbers are parts per million, and the other shares are of another whole";
                let mend = Some("convert the column, or list it under ignore in [read]");
                return Err(bad(value::Unreadable { why: why.into(), mend }));
            }
            None if share.ppm.is_some() => whole / 1e6,
            None => 1.0,
            Some(unit) => {
                let plain: String = unit.chars().filter(|c| !". ".contains(*c)).collect::<String>().to_lowercase();
                match plain.as_str() {
                    "%" => whole / 100.0,
                    "wt%" | "mass%" | "w%" | "ma%" | "gew%" if by_mass => whole / 100.0,
                    "at%" | "mol%" if !by_mass => whole / 100.0,
                    "ppm" => whole / 1e6,
                    "wtppm" | "ppmw" | "wppm" if by_mass => whole / 1e6,
                    "atppm" | "ppma" | "appm" if !by_mass => whole / 1e6,
                    _ => {
                        let why = format!("`{unit}` is no share of what the numbers of the composition are shares of");
                        let mend = Some("write the number in the unit of the column, in % or in ppm");
                        return Err(bad(value::Unreadable { why, mend }));
                    }
                }
            }
        };
        let number = reading.value * factor;
        Ok(match reading.sense {
            Sense::Below(_) => (number / 2.0, true),
            Sense::Above(_) if number <= whole => ((number + whole) / 2.0, true),
            Sense::Above(_) | Sense::Exact | Sense::About | Sense::Range => (number, false),
        })
    }

    fn basis(&self, composition: &Composition<'_>, row: &Row, place: Place<'_>) -> Result<Basis, Finding> {
        if let Some(basis) = composition.basis {
            return Ok(basis);
        }
        let (text, column) = match &composition.basis_column {
            Some((position, basis)) => {
                let text = row.cells.get(*position).unwrap_or_default().trim();
                if let Some(name) = basis.words.get(text) {
                    return Ok((*name).into());
                }
                (text, Some(basis.column.as_str()))
            }
            None => ("", None),
        };
        let why = format!("`{text}` does not say what the fractions are");
        let mend = "list the word under `words` of basis_column: ao = \"atomic_fraction\"";
        Err(place.finding(Severity::Refused, Code::BadFormula, (column, Some(text)), why, mend))
    }

    fn stated_space_group(&self, row: &Row, place: Place<'_>) -> Result<Option<i16>, Finding> {
        let Some(text) = self.space_group.and_then(|p| row.cells.get(p)).map(str::trim) else { return Ok(None) };
        if self.is_null(text) {
            return Ok(None);
        }
        space_group(text).map(Some).ok_or_else(|| {
            place.finding(
                Severity::Refused,
                Code::BadSpaceGroup,
                (self.mapping.file.material.space_group.as_deref(), Some(text)),
                format!("`{text}` is no space group number or symbol"),
                "write the international number, 1 to 230, or the symbol, such as Fm-3m or P 2_1/c",
            )
        })
    }

    /// Adds what follows from the structure and from other values.
    pub(super) fn derive(
        &self,
        identity: &Identity,
        row: &Row,
        measurements: &mut Vec<Measurement>,
        words: &mut Words,
    ) {
        if let Some(described) = &identity.described {
            let computed = self.mapping.file.defaults.evidence == Some(Evidence::Computed);
            let of = if computed { &self.derived.from_computed_volume } else { &self.derived.from_volume };
            let source = self.structure_source.as_ref().and_then(|s| s.get(self, row, words));
            let values = [
                (&self.derived.volume_per_atom, described.volume_per_atom),
                (&self.derived.density, described.density),
            ];
            for (property, value) in values {
                let Some(value) = value.map(to_24_bits).filter(|v| v.is_finite() && *v > 0.0) else { continue };
                if !measurements.iter().any(|m| m.property == *property) {
                    let method = if property == &self.derived.density { of } else { &self.derived.from_structure };
                    measurements.push(derived(property, value, method, source.clone()));
                }
            }
        }
        for derivation in &self.mapping.file.derive {
            let value = match derivation {
                Derivation::DensityFromVolume => self.density_from_volume(identity, measurements),
                Derivation::YoungsModulusFromModuli => self.youngs_modulus_from_moduli(measurements),
            };
            measurements.extend(value);
        }
    }

    fn density_from_volume(&self, identity: &Identity, measurements: &[Measurement]) -> Option<Measurement> {
        let formula = identity.formula.as_ref()?;
        let volume = |m: &&Measurement| {
            &*m.property == "volume_per_atom" && m.value > 0.0 && identity.described.is_none() && !is_bound(m)
        };
        let volume = measurements.iter().find(volume)?;
        let value = to_24_bits(formula.density_from_volume(volume.value));
        let method = match volume.evidence {
            Evidence::Computed => &self.derived.from_computed_volume,
            _ => &self.derived.from_volume,
        };
        let mut density = derived(&self.derived.density, value, method, volume.source.clone());
        density.temperature_k = volume.temperature_k;
        density.pressure_pa = volume.pressure_pa;
        value.is_finite().then_some(density)
    }

    /// E = 9KG / (3K + G), of an isotropic material; a row that states E keeps it.
    fn youngs_modulus_from_moduli(&self, measurements: &[Measurement]) -> Option<Measurement> {
        let of = |key: &str| measurements.iter().find(|m| &*m.property == key && !is_bound(m));
        let (bulk, shear) = (of("bulk_modulus")?, of("shear_modulus")?);
        let same = bulk.temperature_k == shear.temperature_k
            && bulk.pressure_pa == shear.pressure_pa
            && bulk.conditions == shear.conditions;
        if !same || of("youngs_modulus").is_some() || bulk.value <= 0.0 || shear.value <= 0.0 {
            return None;
        }
        let value = to_24_bits(9.0 * bulk.value * shear.value / (3.0 * bulk.value + shear.value));
        let source = bulk.source.clone().filter(|source| shear.source.as_ref() == Some(source));
        let mut youngs = derived(&self.derived.youngs_modulus, value, &self.derived.from_moduli, source);
        youngs.temperature_k = bulk.temperature_k;
        youngs.pressure_pa = bulk.pressure_pa;
        youngs.conditions.clone_from(&bulk.conditions);
        value.is_finite().then_some(youngs)
    }
}

fn bad_formula(place: Place<'_>, column: &str, text: &str, why: String) -> Finding {
    let mend = "write the formula with element symbols and amounts, such as Fe2O3 or Al0.5CoCrFeNi";
    let shown = cut(text);
    let cell = (Some(column), Some(&*shown));
    if !value::looks_like_date(text) {
        return place.finding(Severity::Refused, Code::BadFormula, cell, why, mend);
    }
    let why = if why.contains("date") { why } else { format!("{why}: a spreadsheet made a date of it") };
    let mend = format!("format the column as text before typing; {mend}");
    place.finding(Severity::Refused, Code::BadFormula, cell, why, &mend)
}

fn has(parts: &[(Nuclide, f64)], element: Element) -> bool {
    parts.iter().any(|(nuclide, _)| nuclide.element == element)
}

fn bad_fractions(place: Place<'_>, parts: &[(Nuclide, f64)], why: String) -> Finding {
    let cells: Vec<String> = parts.iter().map(|(nuclide, share)| format!("{} {share}", nuclide.element)).collect();
    let mend = "check the shares of the elements and what they are shares of: `basis` in [material.fractions]";
    let cell = (Some("composition"), Some(cells.join(", ")));
    place.finding(Severity::Refused, Code::BadFormula, (cell.0, cell.1.as_deref()), why, mend)
}

/// A formula with decimal commas, `Al5Co23,75`, with points; none where no comma stands between digits.
pub(crate) fn decimal_points(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let is_mark = |at: usize| bytes[at] == b',' && at > 0 && digit(at - 1) && digit(at + 1);
    if !(0..bytes.len()).any(is_mark) {
        return None;
    }
    Some(text.char_indices().map(|(at, c)| if is_mark(at) { '.' } else { c }).collect())
}

fn derived(property: &Arc<str>, value: f64, method: &Arc<str>, source: Option<Arc<str>>) -> Measurement {
    Measurement {
        property: Arc::clone(property),
        value,
        given_value: None,
        given_unit: None,
        uncertainty: None,
        evidence: Evidence::Derived,
        method: Some(Arc::clone(method)),
        source,
        temperature_k: None,
        pressure_pa: None,
        conditions: BTreeMap::new(),
    }
}

/// Rounds to 24 significant bits (7 digits): a derived value has no more digits than what it follows from, and the
/// zero bits take no room in a file.
fn to_24_bits(value: f64) -> f64 {
    f64::from(value as f32)
}

fn mismatch(identity: &Identity, described: &Described) -> Option<String> {
    if let Some(formula) = &identity.formula
        && formula.reduced() != described.formula.reduced()
    {
        return Some(format!(
            "the structure is of {}, the row says {}",
            described.formula.reduced(),
            formula.reduced()
        ));
    }
    match (identity.space_group, described.space_group) {
        (Some(stated), Some(found)) if stated != found => {
            Some(format!("the structure has space group {found}, the row says {stated}"))
        }
        _ => None,
    }
}

/// Whether the text is the canonical formula with every amount written, `Mo3Nb1`.
pub(super) fn is_written_out(formula: &Formula, text: &str) -> bool {
    let mut rest = text;
    for &(element, amount) in formula.amounts() {
        let Some(behind) = rest.strip_prefix(element.symbol()) else { return false };
        let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = behind.split_at(digits);
        if number.starts_with('0') || number.parse() != Ok(amount) {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

/// The number of a space group by its number or its Hermann-Mauguin symbol, short or full, in any setting (`225`,
/// `Fm-3m`, `F m -3 m`, `P2_1/c`, `P 1 21/c 1`).
pub fn space_group(text: &str) -> Option<i16> {
    let number = text.strip_suffix(".0").unwrap_or(text);
    if let Ok(number) = number.parse::<i16>() {
        return Some(number).filter(|n| (1..=230).contains(n));
    }
    if text.len() > 40 {
        return None;
    }
    static SYMBOLS: OnceLock<HashMap<String, i16>> = OnceLock::new();
    let symbols = SYMBOLS.get_or_init(|| {
        let mut symbols = HashMap::new();
        for entry in (1..=530).filter_map(moyo::data::hall_symbol_entry) {
            for symbol in [entry.hm_short, entry.hm_full] {
                if let Ok(number) = i16::try_from(entry.number) {
                    symbols.entry(plain_symbol(symbol)).or_insert(number);
                }
            }
        }
        symbols
    });
    let plain = plain_symbol(text);
    let overbar = || symbols.get(&plain.replacen("m3", "m-3", 1)).copied();
    symbols.get(&plain).copied().or_else(overbar)
}

/// A symbol without spaces, underscores and settings behind a colon.
fn plain_symbol(symbol: &str) -> String {
    let symbol = symbol.split(':').next().unwrap_or_default();
    let kept = symbol.chars().filter(|c| !c.is_whitespace() && !"_$'\"{}".contains(*c));
    kept.map(|c| if "−–¯".contains(c) { '-' } else { c }).collect()
}
