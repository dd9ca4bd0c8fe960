//! What did a source say? Records, their measurements, and the material they speak about.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::structure::Structure;

/// The reference condition of a belief: 298.15 K.
pub const REFERENCE_TEMPERATURE_K: f64 = 298.15;

/// The condition that holds the mark of a value that the source states as a bound.
pub const CENSORED: &str = "censored";

/// The marks of bounds: the true value is below the first two, above the others.
pub const BOUND_MARKS: [&str; 4] = ["<", "≤", ">", "≥"];

/// The condition that holds the text of a bound (`<5`), a range (`5-7`) or an approximation (`~5`).
pub const GIVEN: &str = "given";

/// How a value came to be, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Evidence {
    /// Nothing is known.
    None = 0,
    /// Said by a model of the hub.
    Predicted = 1,
    /// Calculated from other values of the same record by a definition (density from volume).
    Derived = 2,
    /// Calculated by physics (density-functional theory, molecular dynamics...).
    Computed = 3,
    /// Measured on a sample.
    Measured = 4,
}

impl Evidence {
    /// All levels, weakest first; the index is the numeric value.
    pub const ALL: [Evidence; 5] =
        [Evidence::None, Evidence::Predicted, Evidence::Derived, Evidence::Computed, Evidence::Measured];

    /// The word used in tables, specs and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Evidence::None => "none",
            Evidence::Predicted => "predicted",
            Evidence::Derived => "derived",
            Evidence::Computed => "computed",
            Evidence::Measured => "measured",
        }
    }

    /// The level with this numeric value.
    pub fn from_u8(value: u8) -> Option<Evidence> {
        Evidence::ALL.get(usize::from(value)).copied()
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Evidence {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Evidence::ALL
            .into_iter()
            .find(|e| e.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no evidence: say measured, computed, derived or predicted"))
    }
}

/// One value of one property in a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Key of the property dictionary.
    pub property: Arc<str>,
    /// The value in the dictionary's unit.
    pub value: f64,
    /// The value as the source gave it, where its unit is not the dictionary's, or where the source gave a bound (`<5`, the
    /// condition `censored`) and `value` is what is believed of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_value: Option<f64>,
    /// The unit as the source gave it, where it is not the dictionary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_unit: Option<Arc<str>>,
    /// One standard deviation, in the dictionary's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<f64>,
    /// How the value came to be.
    pub evidence: Evidence,
    /// Test standard, instrument or functional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Arc<str>>,
    /// DOI (`doi:10...`) or URL of this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Arc<str>>,
    /// Temperature of the material, K.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_k: Option<f64>,
    /// Pressure on the material, Pa.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure_pa: Option<f64>,
    /// Other conditions as stated (direction, atmosphere, load...).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, String>,
}

/// What one source says about one material.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// `<dataset>/<source id>`: unique in the hub, the key of every upsert.
    pub id: String,
    /// The grade's or material's name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The formula as the source wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formula_given: Option<String>,
    /// The canonical reduced formula (alphabetical, integers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// International number of the space group (1 - 230), where the phase is stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space_group: Option<i16>,
    /// The molecule or repeat unit as a SMILES string, where the material is known by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smiles: Option<String>,
    /// Where the atoms are, where the source states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structure: Option<Arc<Structure>>,
    /// Class of the material as stated (`alloy`, `polymer`, ...).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Arc<str>>,
    /// Whatever else the source states about the sample (microstructure, processing, reference title...).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// The values, in the order of the source.
    pub measurements: Vec<Measurement>,
}

impl Record {
    /// The dataset this record belongs to: what stands before the first `/` of its id.
    pub fn dataset(&self) -> &str {
        dataset_of(&self.id)
    }

    /// The id of the material this record speaks about.
    pub fn material_id(&self) -> String {
        let smiles = self.smiles.as_deref();
        material_id(self.formula.as_deref(), self.space_group, smiles, self.name.as_deref(), &self.id)
    }
}

/// The dataset of a record id.
pub fn dataset_of(record_id: &str) -> &str {
    record_id.split_once('/').map_or(record_id, |(dataset, _)| dataset)
}

/// The material's id: `formula`, `formula:sgN` where a phase is stated, `formula:mol-HASH` for a molecule or polymer
/// known by its SMILES (isomers have one formula and are different materials), the slug of the name where there is no
/// formula, and the record's own id as a slug where there is neither.
pub fn material_id(
    formula: Option<&str>,
    space_group: Option<i16>,
    smiles: Option<&str>,
    name: Option<&str>,
    record_id: &str,
) -> String {
    match (formula, space_group, smiles, name) {
        (Some(formula), Some(number), _, _) => format!("{formula}:sg{number}"),
        (Some(formula), None, Some(smiles), _) => format!("{formula}:mol-{:016x}", content_hash(smiles.as_bytes())),
        (Some(formula), None, None, _) => formula.to_owned(),
        (None, _, _, Some(name)) if !slug(name).is_empty() => slug(name),
        (None, _, _, _) => slug(record_id),
    }
}

/// A hash of the material without its phase, for comparisons over all sources: of formula and SMILES, or of the slug of
/// the name where there is no formula; none where there is neither.
pub fn material_key(formula: Option<&str>, smiles: Option<&str>, name: Option<&str>) -> Option<u64> {
    match (formula, smiles, name) {
        (Some(formula), None, _) => Some(content_hash(formula.as_bytes())),
        (Some(formula), Some(smiles), _) => {
            Some(content_hash(formula.as_bytes()).rotate_left(1) ^ content_hash(smiles.as_bytes()))
        }
        (None, _, Some(name)) => Some(slug(name)).filter(|slug| !slug.is_empty()).map(|s| content_hash(s.as_bytes())),
        (None, _, None) => None,
    }
}

/// A URL-safe lower-case slug: letters and digits kept, everything between them one `-`.
pub fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

/// A stable 64-bit hash of a row's content, for sources without ids of their own (XXH3).
pub fn content_hash(content: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(content)
}

/// Whether this is a dataset name: 1 - 64 of `a-z 0-9 . _ -`, beginning with a letter or digit.
pub fn is_dataset_name(text: &str) -> bool {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&text.len())
        && text.chars().all(ok)
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_ordered_from_nothing_to_measured() {
        assert!(Evidence::Measured > Evidence::Computed && Evidence::Computed > Evidence::Derived);
        assert!(Evidence::Derived > Evidence::Predicted && Evidence::Predicted > Evidence::None);
        for level in Evidence::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
            assert_eq!(Evidence::from_u8(level as u8), Some(level));
        }
        assert!("guessed".parse::<Evidence>().is_err());
    }

    #[test]
    fn material_ids_are_url_safe_and_stable() {
        assert_eq!(material_id(Some("AsGa"), None, None, Some("x"), "d/1"), "AsGa");
        assert_eq!(material_id(Some("AsGa"), Some(216), None, None, "d/1"), "AsGa:sg216");
        let (a, b) = (Some("CCO"), Some("COC"));
        let id = |smiles| material_id(Some("C2H6O"), None, smiles, None, "d/1");
        assert!(id(a).starts_with("C2H6O:mol-") && id(a) != id(b), "{}", id(a));
        assert_eq!(material_id(None, None, None, Some("Steel (S235JR)"), "d/1"), "steel-s235jr");
        assert_eq!(material_id(None, None, None, Some("!!"), "my-lab/Probe 1"), "my-lab-probe-1");
    }

    #[test]
    fn dataset_names() {
        for good in ["oqmd", "my-lab", "a.b_c-1", "2026"] {
            assert!(is_dataset_name(good), "{good}");
        }
        for bad in ["", "My", "-a", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(!is_dataset_name(bad), "{bad}");
        }
    }
}
