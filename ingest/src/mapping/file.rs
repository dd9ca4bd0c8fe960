//! What may stand in a mapping file: its tables and keys, as written.

use std::collections::BTreeMap;

use datasets::catalogue::DatasetInfo;
use datasets::formula::Basis;
use datasets::property::{Axis, Better, Deviation};
use datasets::record::Evidence;
use serde::{Deserialize, Serialize, Serializer};

use crate::read::ReadOptions;

/// A mapping as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingFile {
    /// Terms of the dataset; `--dataset` on the command line overrides the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetInfo>,
    /// How the files are read.
    #[serde(default, skip_serializing_if = "is_default", serialize_with = "without_defaults")]
    pub read: ReadOptions,
    /// How rows become records.
    #[serde(default, skip_serializing_if = "is_default")]
    pub record: RecordOptions,
    /// What the rows speak about.
    #[serde(default, skip_serializing_if = "is_default")]
    pub material: MaterialOptions,
    /// What holds for every value that does not say otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub defaults: Defaults,
    /// The value columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub value: Vec<ValueColumn>,
    /// Values that follow from others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derive: Vec<Derivation>,
    /// Columns kept as plain text with the record: name → column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
    /// New properties of this dataset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub property: Vec<NewProperty>,
}

/// How rows become records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordOptions {
    /// Columns whose texts, joined by `/`, are the source's id; `@formula` is the canonical reduced formula. Without
    /// it the id is a hash of the row's content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id: Vec<String>,
    /// Rows with one id, also of different files, make one record together.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub join: bool,
    /// Only rows in which another column holds one of these texts, or none of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
}

/// What the rows speak about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaterialOptions {
    /// The column with the formula.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// What the numbers of the formula are; atomic by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<BasisName>,
    /// Columns named by element symbols that hold the fractions; beside `formula`, of the rows without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fractions: Option<Fractions>,
    /// The column with the name or grade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The column with the space group, as a number or a symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space_group: Option<String>,
    /// The class of the materials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<TextSource>,
    /// The column with the text of a structure: CIF, POSCAR or JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structure: Option<String>,
    /// The column with the SMILES string of a molecule or repeat unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smiles: Option<String>,
    /// A file may lack some of these columns.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// The composition in one column an element.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fractions {
    /// Headers, each the symbol of an element or isotope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Beside `columns`, headers that are no symbols, with the element that each counts as: `Nb+Ta [%]` as `Nb`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub elements: BTreeMap<String, String>,
    /// Instead of `columns`: all columns of the file that begin so, with a symbol behind it (`elements.`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefixes>,
    /// What the numbers are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<BasisName>,
    /// Instead of `basis`: a column that says it for each row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis_column: Option<BasisColumn>,
    /// Whether the numbers are scaled so that they sum to the whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub normalise: bool,
    /// The element that makes up what is missing to the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<String>,
    /// Only in rows where another column holds one of these texts, or none of those; others go by their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
}

/// How columns begin: one text or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a prefix is a text, \"elements.\", or a list of texts")]
pub enum Prefixes {
    /// One beginning.
    One(String),
    /// Several beginnings.
    Several(Vec<String>),
}

impl Prefixes {
    /// The beginnings.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Prefixes::One(prefix) => std::slice::from_ref(prefix),
            Prefixes::Several(prefixes) => prefixes,
        }
    }
}

/// A column that says what the fractions of its row are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasisColumn {
    /// Its header.
    pub column: String,
    /// What its words mean (`ao = "atomic_fraction"`).
    pub words: BTreeMap<String, BasisName>,
}

/// Name of a composition basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "write a text that holds for all rows, \"alloy\", or a column, { column = \"Class\" }")]
pub enum TextSource {
    /// The same for all rows.
    Constant(String),
    /// In a column, with an optional prefix such as `doi:`.
    Column(TextColumn),
}

/// A column of texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextColumn {
    /// Its header.
    pub column: String,
    /// What is put before each text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// A quantity that is the same for all rows, or stands in a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantitySource {
    /// The same for all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// In this column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Its unit.
    pub unit: String,
}

/// What holds for every value that does not say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// How the values came to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Test standard, instrument or functional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// DOI or URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TextSource>,
    /// Temperature of the material.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<QuantitySource>,
    /// Pressure on the material.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<QuantitySource>,
    /// Other conditions: name → text or column; those of a value come on top.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, TextSource>,
}

/// One column of values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueColumn {
    /// Only in the file of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The header.
    pub column: String,
    /// Where the number is in a cell that holds a JSON array: `[0, 3]` is the fourth number of the first row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<usize>,
    /// Key of the property dictionary, or of a `[[property]]` of this mapping.
    pub property: String,
    /// The unit of the column; the dictionary's by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The column with the unit of each row; where it is empty, `unit` holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_column: Option<String>,
    /// The numbers are multiplied by this, to be in the unit (a header that says 10^-6/K: 1e-6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// Words that stand for numbers, in the unit of the column (`yes = 1`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub words: BTreeMap<String, f64>,
    /// Standard deviation: a column in the same unit, or a constant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<Uncertainty>,
    /// A file may lack the column.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Only in rows where another column holds one of these texts, or none of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// Overrides the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Overrides the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Overrides the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TextSource>,
    /// Overrides the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<QuantitySource>,
    /// Overrides the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<QuantitySource>,
    /// Other conditions: name → text or column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, TextSource>,
}

/// A condition on a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The column that is looked at.
    pub column: String,
    /// The texts that it may hold, all but those of `not_in` where none is listed; `*` stands for any characters.
    #[serde(rename = "in", default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
    /// The texts that it may not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_in: Vec<String>,
}

impl When {
    /// Whether a cell of the column is as it must be.
    pub fn takes(&self, cell: &str) -> bool {
        let among = |texts: &[String]| texts.iter().any(|text| is_like(cell, text));
        (self.one_of.is_empty() || among(&self.one_of)) && !among(&self.not_in)
    }
}

/// Is a text as the pattern says? `*` stands for any characters, or none.
pub(crate) fn is_like(text: &str, pattern: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut left) = text.strip_prefix(begin) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    true
}

/// A value that follows from others of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Derivation {
    /// Density from formula and volume per atom: mean atomic mass / volume.
    DensityFromVolume,
    /// Young's modulus from bulk modulus K and shear modulus G of one row: 9KG / (3K + G).
    YoungsModulusFromModuli,
}

/// Where the standard deviation of a value comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "an uncertainty is the header of a column, \"sd\", or { value = 0.5 } in the unit of the column, or { relative = 0.05 }"
)]
pub enum Uncertainty {
    /// A column, in the unit of the value.
    Column(String),
    /// The same for all rows.
    Constant(ConstantUncertainty),
}

/// A standard deviation that is the same for all rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConstantUncertainty {
    /// In the unit of the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// As a fraction of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<f64>,
}

/// A text kept with the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "an attribute is the header of a column, or { column = \"note\", optional = true }, or { prefix = \"vis.\" }"
)]
pub enum Attribute {
    /// From a column that every file has.
    Column(String),
    /// From a column that may be missing, or from all columns that begin so.
    Table(AttributeColumns),
}

/// Columns of an attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeColumns {
    /// The header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// A file may lack the column.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// All columns whose headers begin so; each is kept as `NAME.REST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A property that the dictionary does not have, for this dataset only: `<dataset>:<key>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProperty {
    /// Its key, in `a-z 0-9 _`.
    pub key: String,
    /// Name in words; that of the key by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Symbol; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// The unit in which values are kept.
    pub unit: String,
    /// `log` where the lower bound is above 0, else `linear`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axis: Option<Axis>,
    /// Least and greatest value that is conceivable; as wide as the axis allows by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<[f64; 2]>,
    /// Usual direction of wishes; neither by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better: Option<Better>,
    /// Definition, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Standard deviation of a value without one; 5 % by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd: Option<Deviation>,
}

impl MappingFile {
    /// Whether it says nothing of the material and of values: then a proposal completes it.
    pub fn is_beginning(&self) -> bool {
        is_default(&self.material) && self.value.is_empty()
    }

    /// Whether any table of the mapping speaks of the column of this header, `ignore` in [read] too.
    pub fn names_column(&self, header: &str) -> bool {
        let is = |column: &String| column == header;
        let some = |column: &Option<String>| column.as_ref().is_some_and(is);
        let text = |text: &TextSource| matches!(text, TextSource::Column(of) if of.column == header);
        let quantity = |of: &Option<QuantitySource>| of.as_ref().is_some_and(|of| some(&of.column));
        let when = |when: &Option<When>| when.as_ref().is_some_and(|when| when.column == header);
        let under = |prefix: &String| header.starts_with(prefix.as_str());
        let (material, defaults) = (&self.material, &self.defaults);
        let in_material =
            [&material.formula, &material.name, &material.space_group, &material.structure, &material.smiles]
                .into_iter()
                .any(some)
                || material.class.as_ref().is_some_and(text);
        let in_fractions = material.fractions.as_ref().is_some_and(|fractions| {
            fractions.columns.iter().chain(fractions.elements.keys()).any(is)
                || fractions.prefix.iter().flat_map(|prefix| prefix.as_slice()).any(under)
                || fractions.basis_column.as_ref().is_some_and(|of| of.column == header)
                || when(&fractions.when)
        });
        let in_value = |value: &ValueColumn| {
            value.column == header
                || some(&value.unit_column)
                || matches!(&value.uncertainty, Some(Uncertainty::Column(of)) if of == header)
                || when(&value.when)
                || value.source.as_ref().is_some_and(text)
                || quantity(&value.temperature)
                || quantity(&value.pressure)
                || value.conditions.values().any(text)
        };
        let in_attribute = |attribute: &Attribute| match attribute {
            Attribute::Column(column) => column == header,
            Attribute::Table(table) => some(&table.column) || table.prefix.as_ref().is_some_and(under),
        };
        self.read.ignore.iter().any(|pattern| is_like(header, pattern))
            || self.record.id.iter().any(is)
            || when(&self.record.when)
            || in_material
            || in_fractions
            || defaults.source.as_ref().is_some_and(text)
            || quantity(&defaults.temperature)
            || quantity(&defaults.pressure)
            || defaults.conditions.values().any(text)
            || self.value.iter().any(in_value)
            || self.attributes.values().any(in_attribute)
    }

    /// The mapping as a TOML text, defaults left out.
    ///
    /// # Errors
    /// Something in it has no form in TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn without_defaults<S: Serializer>(options: &ReadOptions, to: S) -> Result<S::Ok, S::Error> {
    let table = |options: &ReadOptions| toml::Table::try_from(options).map_err(serde::ser::Error::custom);
    let (mut given, usual) = (table(options)?, table(&ReadOptions::default())?);
    given.retain(|key, value| usual.get(key) != Some(value));
    given.serialize(to)
}
