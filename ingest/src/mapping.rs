//! Which column is what: a mapping file in TOML, checked whole before the first row is read.

use std::collections::BTreeMap;
use std::path::Path;

use datasets::catalogue::DatasetInfo;
use datasets::formula::Basis;
use datasets::property::{Property, dictionary};
use datasets::record::Evidence;
use datasets::unit::{Conversion, Unit};
use serde::Deserialize;

use crate::read::ReadOptions;

/// A mapping file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// The file cannot be read.
    #[error("cannot read the mapping {path}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        why: std::io::Error,
    },
    /// It is no TOML, or has a key that does not exist.
    #[error("mapping {path}: {why}")]
    Syntax {
        /// The file.
        path: String,
        /// What the parser says, with line and column.
        why: String,
    },
    /// It asks for something that cannot be.
    #[error("mapping {path}: {what}")]
    Meaning {
        /// The file.
        path: String,
        /// What, and how to mend it.
        what: String,
    },
}

/// A mapping as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingFile {
    /// Terms of the dataset; `--dataset` on the command line overrides the name.
    pub dataset: Option<DatasetInfo>,
    /// How the files are read.
    #[serde(default)]
    pub read: ReadOptions,
    /// How rows become records.
    #[serde(default)]
    pub record: RecordOptions,
    /// What the rows speak about.
    #[serde(default)]
    pub material: MaterialOptions,
    /// What holds for every value that does not say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// The value columns.
    #[serde(default)]
    pub value: Vec<ValueColumn>,
    /// Values that follow from others.
    #[serde(default)]
    pub derive: Vec<Derivation>,
    /// Columns kept as plain text with the record: name → column.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// How rows become records.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordOptions {
    /// Columns whose texts, joined by `/`, are the source's id; `@formula` is the canonical reduced formula. Without
    /// it the id is a hash of the row's content.
    pub id: Vec<String>,
    /// Rows with one id, also of different files, make one record together.
    pub join: bool,
}

/// What the rows speak about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaterialOptions {
    /// The column with the formula.
    pub formula: Option<String>,
    /// What the numbers of the formula are; atomic by default.
    pub basis: Option<BasisName>,
    /// Columns named by element symbols that hold the fractions.
    pub fractions: Option<Fractions>,
    /// The column with the name or grade.
    pub name: Option<String>,
    /// The column with the space group's number.
    pub space_group: Option<String>,
    /// The class of the materials.
    pub class: Option<TextSource>,
}

/// The composition in one column an element.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fractions {
    /// Headers, each an element symbol.
    pub columns: Vec<String>,
    /// What the numbers are.
    pub basis: BasisName,
}

/// Name of a composition basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BasisName {
    /// Parts of atoms.
    AtomicFraction,
    /// Percent of atoms.
    AtomicPercent,
    /// Parts of mass.
    MassFraction,
    /// Percent of mass.
    WeightPercent,
}

impl From<BasisName> for Basis {
    fn from(name: BasisName) -> Basis {
        match name {
            BasisName::AtomicFraction => Basis::AtomicFraction,
            BasisName::AtomicPercent => Basis::AtomicPercent,
            BasisName::MassFraction => Basis::MassFraction,
            BasisName::WeightPercent => Basis::WeightPercent,
        }
    }
}

/// A text that is the same for all rows, or stands in a column.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum TextSource {
    /// The same for all rows.
    Constant(String),
    /// In a column, with an optional prefix such as `doi:`.
    Column(TextColumn),
}

/// A column of texts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextColumn {
    /// Its header.
    pub column: String,
    /// What is put before each text.
    #[serde(default)]
    pub prefix: String,
}

/// A quantity that is the same for all rows, or stands in a column.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantitySource {
    /// The same for all rows.
    pub value: Option<f64>,
    /// In this column.
    pub column: Option<String>,
    /// Its unit.
    pub unit: String,
}

/// What holds for every value that does not say otherwise.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// How the values came to be.
    pub evidence: Option<Evidence>,
    /// Test standard, instrument or functional.
    pub method: Option<String>,
    /// DOI or URL.
    pub source: Option<TextSource>,
    /// Temperature of the material.
    pub temperature: Option<QuantitySource>,
    /// Pressure on the material.
    pub pressure: Option<QuantitySource>,
}

/// One column of values.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueColumn {
    /// Only in the file of this name.
    pub file: Option<String>,
    /// The header.
    pub column: String,
    /// Key of the property dictionary.
    pub property: String,
    /// The unit of the column; the dictionary's by default.
    pub unit: Option<String>,
    /// Column with the standard deviation, in the same unit.
    pub uncertainty: Option<String>,
    /// Only in rows where another column holds one of these texts.
    pub when: Option<When>,
    /// Overrides the default.
    pub evidence: Option<Evidence>,
    /// Overrides the default.
    pub method: Option<String>,
    /// Overrides the default.
    pub source: Option<TextSource>,
    /// Overrides the default.
    pub temperature: Option<QuantitySource>,
    /// Overrides the default.
    pub pressure: Option<QuantitySource>,
    /// Other conditions: name → text or column.
    #[serde(default)]
    pub conditions: BTreeMap<String, TextSource>,
}

/// A condition on a row.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The column that is looked at.
    pub column: String,
    /// The texts that it may hold.
    #[serde(rename = "in")]
    pub one_of: Vec<String>,
}

/// A value that follows from others of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Derivation {
    /// Density from formula and volume per atom: mean atomic mass / volume.
    DensityFromVolume,
}

/// A checked mapping: everything that can be known before the first row is known to be right.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Terms of the dataset.
    pub dataset: DatasetInfo,
    /// The file as written.
    pub file: MappingFile,
    /// One for each `value` entry, in order.
    pub values: Vec<ResolvedValue>,
}

/// What a `value` entry means.
#[derive(Debug, Clone)]
pub struct ResolvedValue {
    /// The property.
    pub property: &'static Property,
    /// Column unit → dictionary unit.
    pub conversion: Conversion,
    /// The unit as written, where it is not the dictionary's.
    pub given_unit: Option<String>,
    /// Evidence of the values.
    pub evidence: Evidence,
    /// Temperature unit → K.
    pub temperature: Option<ResolvedQuantity>,
    /// Pressure unit → Pa.
    pub pressure: Option<ResolvedQuantity>,
}

/// A quantity with its unit resolved.
#[derive(Debug, Clone)]
pub struct ResolvedQuantity {
    /// The same for all rows, already converted.
    pub constant: Option<f64>,
    /// In this column.
    pub column: Option<String>,
    /// Unit → K or Pa.
    pub conversion: Conversion,
}

impl Mapping {
    /// Reads and checks a mapping file.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or means something impossible; the message names the place and the mend.
    pub fn load(path: &Path, dataset: Option<&str>) -> Result<Mapping, MappingError> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|why| MappingError::Unreadable { path: shown.clone(), why })?;
        Mapping::parse(&text, dataset, &shown)
    }

    /// Checks the text of a mapping; `shown` names it in errors.
    ///
    /// # Errors
    /// As [`Mapping::load`].
    pub fn parse(text: &str, dataset: Option<&str>, shown: &str) -> Result<Mapping, MappingError> {
        let file: MappingFile = toml::from_str(text)
            .map_err(|e| MappingError::Syntax { path: shown.to_owned(), why: e.to_string().trim_end().to_owned() })?;
        resolve(file, dataset).map_err(|what| MappingError::Meaning { path: shown.to_owned(), what })
    }
}

fn resolve(file: MappingFile, dataset: Option<&str>) -> Result<Mapping, String> {
    let mut terms = match (&file.dataset, dataset) {
        (Some(terms), _) => terms.clone(),
        (None, Some(name)) => DatasetInfo::unnamed_terms(name),
        (None, None) => return Err("no dataset is named: say --dataset NAME, or `[dataset] name = ...`".into()),
    };
    if let Some(name) = dataset {
        terms.name = name.to_owned();
    }
    if let Some(problem) = terms.problem() {
        return Err(problem);
    }
    if let Some(separator) = file.read.separator.filter(|s| !s.is_ascii()) {
        return Err(format!("separator `{separator}` is not an ASCII character"));
    }
    if !matches!(file.read.decimal, '.' | ',') {
        return Err(format!("decimal mark `{}` must be `.` or `,`", file.read.decimal));
    }
    let material = &file.material;
    if material.formula.is_none() && material.fractions.is_none() && material.name.is_none() {
        return Err(
            "nothing says which material a row speaks about: set formula, fractions or name in [material]".into()
        );
    }
    if material.formula.is_some() && material.fractions.is_some() {
        return Err("[material] has both `formula` and `fractions`: keep one".into());
    }
    if material.formula.is_none() && material.fractions.is_none() && file.record.id.iter().any(|c| c == "@formula") {
        return Err("`@formula` in [record] id needs a formula: set formula or fractions in [material]".into());
    }
    if file.record.join && file.record.id.is_empty() {
        return Err("`join` needs `id`: rows are joined by it".into());
    }
    if file.value.is_empty() {
        return Err("there is no [[value]]: say which column holds which property".into());
    }
    let values = file.value.iter().map(|v| resolve_value(v, &file.defaults)).collect::<Result<_, _>>()?;
    Ok(Mapping { dataset: terms, file, values })
}

fn resolve_value(value: &ValueColumn, defaults: &Defaults) -> Result<ResolvedValue, String> {
    let column = &value.column;
    let property = dictionary().get(&value.property).ok_or_else(|| {
        format!(
            "column `{column}`: there is no property `{}`; the closest are {}",
            value.property,
            dictionary().closest(&value.property, 3).join(", ")
        )
    })?;
    let wanted = Unit::parse(&property.unit).map_err(|e| format!("property `{}`: {e}", property.key))?;
    let unit = value.unit.as_deref().unwrap_or(&property.unit);
    let given = Unit::parse_for(unit, &wanted).map_err(|e| format!("column `{column}`: {e}"))?;
    let conversion = given.conversion_to(&wanted).map_err(|e| format!("column `{column}`: {e}"))?;
    let evidence = value.evidence.or(defaults.evidence).ok_or_else(|| {
        format!(
            "column `{column}`: say how the values came to be: evidence = \"measured\", \"computed\" or \"derived\""
        )
    })?;
    if !matches!(evidence, Evidence::Measured | Evidence::Computed | Evidence::Derived) {
        return Err(format!("column `{column}`: a record's evidence is measured, computed or derived, not {evidence}"));
    }
    let quantity = |own: &Option<QuantitySource>, default: &Option<QuantitySource>, unit: &str| {
        own.as_ref().or(default.as_ref()).map(|q| resolve_quantity(q, unit, column)).transpose()
    };
    Ok(ResolvedValue {
        property,
        given_unit: (unit != property.unit).then(|| unit.to_owned()),
        conversion,
        evidence,
        temperature: quantity(&value.temperature, &defaults.temperature, "K")?,
        pressure: quantity(&value.pressure, &defaults.pressure, "Pa")?,
    })
}

fn resolve_quantity(quantity: &QuantitySource, unit: &str, column: &str) -> Result<ResolvedQuantity, String> {
    let context = |e: datasets::unit::UnitError| format!("column `{column}`: {e}");
    let wanted = Unit::parse(unit).map_err(context)?;
    let conversion =
        Unit::parse_for(&quantity.unit, &wanted).and_then(|given| given.conversion_to(&wanted)).map_err(context)?;
    match (quantity.value, &quantity.column) {
        (Some(value), None) if value.is_finite() => {
            Ok(ResolvedQuantity { constant: Some(conversion.apply(value)), column: None, conversion })
        }
        (None, Some(name)) => Ok(ResolvedQuantity { constant: None, column: Some(name.clone()), conversion }),
        _ => Err(format!("column `{column}`: a condition has either `value` (a finite number) or `column`")),
    }
}
