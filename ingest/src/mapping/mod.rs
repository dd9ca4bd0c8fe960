//! Which column is what: a mapping in TOML ([`file`]), checked whole before the first row is read ([`resolve`]).

pub mod file;
mod resolve;

use std::path::Path;

use datasets::catalogue::DatasetInfo;
use datasets::property::{Property, dictionary};
use datasets::record::Evidence;
use datasets::unit::{Conversion, Unit};

pub use file::*;

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

/// A checked mapping: everything that can be known before the first row is known to be right.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Terms of the dataset.
    pub dataset: DatasetInfo,
    /// The file as written.
    pub file: MappingFile,
    /// One for each `value` entry, in order.
    pub values: Vec<ResolvedValue>,
    /// The new properties of the dataset, in order.
    pub properties: Vec<&'static Property>,
}

/// What a `value` entry means.
#[derive(Debug, Clone)]
pub struct ResolvedValue {
    /// The property.
    pub property: &'static Property,
    /// The property's unit.
    pub wanted: Unit,
    /// Column unit → dictionary unit.
    pub conversion: Conversion,
    /// Numbers are multiplied by this to be in the column's unit; 1 where nothing is said.
    pub factor: f64,
    /// Whether the mapping states the unit of the column.
    pub states_unit: bool,
    /// Where headers and the mapping say different units.
    pub doubts: Vec<Doubt>,
    /// The unit as written, where it is not the dictionary's.
    pub given_unit: Option<String>,
    /// Evidence of the values.
    pub evidence: Evidence,
    /// Temperature unit → K.
    pub temperature: Option<ResolvedQuantity>,
    /// Pressure unit → Pa.
    pub pressure: Option<ResolvedQuantity>,
}

/// A column whose header says another unit than the mapping, which is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The column.
    pub column: String,
    /// What each says.
    pub why: String,
    /// What to do where the header is right.
    pub mend: String,
}

/// A quantity with its unit resolved.
#[derive(Debug, Clone)]
pub struct ResolvedQuantity {
    /// The same for all rows, already converted.
    pub constant: Option<f64>,
    /// In this column.
    pub column: Option<String>,
    /// The unit of the condition in a record: K or Pa.
    pub wanted: Unit,
    /// Unit → K or Pa.
    pub conversion: Conversion,
    /// Whether it is a temperature, which is never below absolute zero.
    pub is_temperature: bool,
}

/// A mapping file as it was given.
#[derive(Debug, Clone)]
pub enum Given {
    /// A whole mapping.
    Whole(Box<Mapping>),
    /// One that says nothing of the material and of values, but how files are read, say: a proposal completes it.
    Beginning(Box<MappingFile>),
}

impl Given {
    /// Reads a mapping file, whole or the beginning of one, and checks what it says.
    ///
    /// # Errors
    /// As [`Mapping::load`].
    pub fn load(path: &Path, dataset: Option<&str>) -> Result<Given, MappingError> {
        Given::parse(&read(path)?, dataset, &path.display().to_string())
    }

    /// Checks the text of a mapping, whole or the beginning of one; `shown` names it in errors.
    ///
    /// # Errors
    /// As [`Mapping::load`].
    pub fn parse(text: &str, dataset: Option<&str>, shown: &str) -> Result<Given, MappingError> {
        let file = parse(text, shown)?;
        if !file.is_beginning() {
            return Mapping::from_file(file, dataset, shown).map(|mapping| Given::Whole(Box::new(mapping)));
        }
        let checked = resolve::check_beginning(&file, dataset);
        checked.map_err(|what| MappingError::Meaning { path: shown.to_owned(), what })?;
        Ok(Given::Beginning(Box::new(file)))
    }
}

fn read(path: &Path) -> Result<String, MappingError> {
    std::fs::read_to_string(path).map_err(|why| MappingError::Unreadable { path: path.display().to_string(), why })
}

fn parse(text: &str, shown: &str) -> Result<MappingFile, MappingError> {
    toml::from_str(text)
        .map_err(|e| MappingError::Syntax { path: shown.to_owned(), why: e.to_string().trim_end().to_owned() })
}

impl Mapping {
    /// Reads and checks a mapping file.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or means something impossible; the message names the place and the mend.
    pub fn load(path: &Path, dataset: Option<&str>) -> Result<Mapping, MappingError> {
        Mapping::parse(&read(path)?, dataset, &path.display().to_string())
    }

    /// Checks the text of a mapping; `shown` names it in errors.
    ///
    /// # Errors
    /// As [`Mapping::load`].
    pub fn parse(text: &str, dataset: Option<&str>, shown: &str) -> Result<Mapping, MappingError> {
        Mapping::from_file(parse(text, shown)?, dataset, shown)
    }

    /// Checks a mapping that is already in memory, such as a proposed one; `shown` names it in errors.
    ///
    /// # Errors
    /// It means something impossible; the message names the place and the mend.
    pub fn from_file(file: MappingFile, dataset: Option<&str>, shown: &str) -> Result<Mapping, MappingError> {
        resolve::resolve(file, dataset).map_err(|what| MappingError::Meaning { path: shown.to_owned(), what })
    }

    /// The property of a measurement of this job: of the dictionary, or new in this dataset.
    pub fn property(&self, key: &str) -> Option<&'static Property> {
        dictionary().get(key).or_else(|| self.properties.iter().copied().find(|p| p.key == key))
    }
}
