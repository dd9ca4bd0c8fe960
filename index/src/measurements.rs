//! All measurements of a snapshot as columns, sorted by (property, material, record).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::StringArray;
use serde::{Deserialize, Serialize};

use crate::materials::Label;
use crate::stated::Stated;
use crate::structures::Structures;

/// The measurements of a snapshot. Entry `i` of every column speaks of one value.
#[derive(Debug, Default)]
pub struct Measurements {
    /// Keys of the properties that have values, in the order of their ranges.
    pub properties: Vec<String>,
    /// The entries of property `p` are `starts[p]..starts[p + 1]`.
    pub starts: Vec<usize>,
    /// Row of the material, ascending within a property.
    pub material: Vec<u32>,
    /// Row of the record.
    pub record: Vec<u32>,
    /// The value in the dictionary's unit.
    pub value: Vec<f64>,
    /// Standard deviation on the property's axis; NaN where the value is outside the property's physical bounds and
    /// so is no evidence.
    pub sd: Vec<f64>,
    /// [`datasets::record::Evidence`] as a number.
    pub evidence: Vec<u8>,
    /// Temperature in K, NaN where not stated.
    pub temperature: Vec<f32>,
    /// Index into `words`, `u32::MAX` where there is no method.
    pub method: Vec<u32>,
    /// Index into `words`, `u32::MAX` where there is no source.
    pub source: Vec<u32>,
    /// What few values have beside these columns, ascending by entry.
    pub stated: Vec<Stated>,
    /// Methods, sources and conditions.
    pub words: Vec<Arc<str>>,
}

impl Measurements {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.value.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    /// The entries of a property, empty where the hub has no value of it.
    pub fn of_property(&self, key: &str) -> Range<usize> {
        match self.properties.iter().position(|p| p == key) {
            Some(p) => self.starts[p]..self.starts[p + 1],
            None => 0..0,
        }
    }

    /// The entries of one material within those of a property.
    pub fn of_material(&self, property: Range<usize>, material: u32) -> Range<usize> {
        let rows = &self.material[property.clone()];
        let low = rows.partition_point(|&m| m < material);
        let high = low + rows[low..].partition_point(|&m| m == material);
        property.start + low..property.start + high
    }

    /// What is stated beside a value, where there is something.
    pub fn stated(&self, entry: usize) -> Option<&Stated> {
        self.stated_within(entry..entry + 1).first()
    }

    /// What is stated beside the values of some entries.
    pub fn stated_within(&self, entries: Range<usize>) -> &[Stated] {
        let place = |entry: usize| self.stated.partition_point(|stated| (stated.entry as usize) < entry);
        &self.stated[place(entries.start)..place(entries.end)]
    }

    /// A method, a source, or conditions.
    pub fn word(&self, index: u32) -> Option<&Arc<str>> {
        self.words.get(index as usize)
    }
}

/// What a record calls its material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Row of the record.
    pub record: u32,
    /// A name or grade.
    pub name: Option<String>,
    /// A class.
    pub class: Option<String>,
}

/// The records of a snapshot, sorted by (material, id).
#[derive(Debug)]
pub struct Records {
    /// Record ids.
    pub id: StringArray,
    /// Row of the material that each speaks about, ascending.
    pub material: Vec<u32>,
    /// Index into the snapshot's datasets.
    pub dataset: Vec<u16>,
    /// Space group number as stated, 0 where none is.
    pub space_group: Vec<i16>,
    /// Whether the record states a formula.
    pub by_formula: Vec<bool>,
    /// The records that state a name or a class, ascending.
    pub named: Vec<Named>,
    /// The crystals that they state.
    pub structures: Structures,
}

impl Records {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.material.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.material.is_empty()
    }

    /// What a record calls its material.
    pub fn named(&self, record: u32) -> Option<&Named> {
        self.named.binary_search_by_key(&record, |named| named.record).ok().and_then(|at| self.named.get(at))
    }

    /// What the datasets call the materials, for [`Materials::new`](crate::materials::Materials::new).
    pub fn labels(&self) -> Vec<Label> {
        let label = |named: &Named| Label {
            row: self.material[named.record as usize],
            dataset: self.dataset[named.record as usize],
            name: named.name.clone(),
            class: named.class.clone(),
        };
        self.named.iter().map(label).collect()
    }

    /// The records of a material.
    pub fn of_material(&self, material: u32) -> Range<usize> {
        let low = self.material.partition_point(|&m| m < material);
        low..low + self.material[low..].partition_point(|&m| m == material)
    }
}
