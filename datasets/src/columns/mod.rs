//! Records as Arrow columns, and back.
//!
//! One row a record; its values are the list column `measurements`. In memory the words that repeat (property, unit,
//! evidence, method, source) are dictionary-encoded; on disk they are plain Parquet strings, so every reader of Delta
//! tables reads them.

mod rows;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Float64Array, MapArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Int16Type, Int32Type, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::record::{Evidence, Measurement, Record};

pub use rows::{Numbering, Rows, RowsBuilder};

/// Name of the partition column of the record table; it is a folder name, not a column of the files.
pub const DATASET: &str = "dataset";

fn map_type() -> DataType {
    let entries =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entries), false)), false)
}

fn measurement_fields(word: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("property", word.clone(), true),
        Field::new("value", DataType::Float64, true),
        Field::new("given_value", DataType::Float64, true),
        Field::new("given_unit", word.clone(), true),
        Field::new("uncertainty", DataType::Float64, true),
        Field::new("evidence", word.clone(), true),
        Field::new("method", word.clone(), true),
        Field::new("source", word.clone(), true),
        Field::new("temperature_k", DataType::Float64, true),
        Field::new("pressure_pa", DataType::Float64, true),
        Field::new("conditions", map_type(), true),
    ])
}

fn record_fields(word: &DataType) -> Vec<Field> {
    let element = Field::new("element", DataType::Struct(measurement_fields(word)), true);
    vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("formula_given", DataType::Utf8, true),
        Field::new("formula", DataType::Utf8, true),
        Field::new("space_group", DataType::Int16, true),
        Field::new("smiles", DataType::Utf8, true),
        Field::new("structure", DataType::Utf8, true),
        Field::new("class", word.clone(), true),
        Field::new("attributes", map_type(), true),
        Field::new("measurements", DataType::List(Arc::new(element)), true),
    ]
}

fn word_in_memory() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

static FILE_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(record_fields(&word_in_memory()))));

/// Columns of a data file, with repeating words dictionary-encoded.
pub fn file_schema() -> SchemaRef {
    FILE_SCHEMA.clone()
}

/// Columns of the table as every reader sees them, the partition column `dataset` first.
pub fn table_schema() -> Schema {
    let mut fields = vec![Field::new(DATASET, DataType::Utf8, true)];
    fields.extend(record_fields(&DataType::Utf8));
    Schema::new(fields)
}

/// Rows → one batch of [`file_schema`].
pub fn to_batch(records: &[Record]) -> Result<RecordBatch, ArrowError> {
    let mut builder = RowsBuilder::default();
    for record in records {
        builder.push(record)?;
    }
    builder.finish()?.to_batch()
}

/// A column of words: dictionary-encoded, or plain where another program wrote the file.
#[derive(Debug, Clone)]
pub struct Words {
    /// For each row the index of its word, or `u32::MAX` where null.
    keys: Vec<u32>,
    /// The distinct words (plain columns are interned).
    words: Vec<Arc<str>>,
}

impl Words {
    fn read(array: &ArrayRef) -> Result<Words, ArrowError> {
        if let Some(dictionary) = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>() {
            let values = dictionary.values().as_string_opt::<i32>().ok_or_else(|| wrong_type("word"))?;
            let words = (0..values.len()).map(|i| Arc::from(values.value(i))).collect();
            let keys = dictionary.keys().iter().map(|k| k.map_or(u32::MAX, |k| k as u32)).collect();
            return Ok(Words { keys, words });
        }
        let plain = array.as_string_opt::<i32>().ok_or_else(|| wrong_type("word"))?;
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut words = Vec::new();
        let keys = plain
            .iter()
            .map(|word| match word {
                None => u32::MAX,
                Some(word) => *known.entry(word).or_insert_with(|| {
                    words.push(Arc::from(word));
                    words.len() as u32 - 1
                }),
            })
            .collect();
        Ok(Words { keys, words })
    }

    /// The word of a row.
    pub fn get(&self, row: usize) -> Option<&Arc<str>> {
        self.words.get(*self.keys.get(row)? as usize)
    }

    /// For each row the index into [`Words::words`], `u32::MAX` where null.
    pub fn keys(&self) -> &[u32] {
        &self.keys
    }

    /// The distinct words.
    pub fn words(&self) -> &[Arc<str>] {
        &self.words
    }
}

fn wrong_type(column: &str) -> ArrowError {
    ArrowError::SchemaError(format!("column `{column}` of the record table has an unexpected type"))
}

/// One batch of the record table with its columns at hand.
#[derive(Debug)]
pub struct RecordColumns {
    /// Record ids.
    pub id: StringArray,
    /// Names.
    pub name: StringArray,
    /// Formulas as written by the source.
    pub formula_given: StringArray,
    /// Canonical reduced formulas.
    pub formula: StringArray,
    /// Space group numbers.
    pub space_group: arrow::array::Int16Array,
    /// SMILES strings.
    pub smiles: StringArray,
    structure: StringArray,
    /// Classes.
    pub class: Words,
    /// The first measurement of each record, and one past the last of all: `len() + 1` offsets.
    pub offsets: Vec<usize>,
    /// Property keys, one a measurement.
    pub property: Words,
    /// Values in the dictionary's unit.
    pub value: Float64Array,
    /// Standard deviations in the dictionary's unit.
    pub uncertainty: Float64Array,
    /// Evidence words.
    pub evidence: Words,
    /// Methods.
    pub method: Words,
    /// Sources.
    pub source: Words,
    /// Temperatures, K.
    pub temperature_k: Float64Array,
    /// Pressures, Pa.
    pub pressure_pa: Float64Array,
    /// Values as given, where their unit is not the dictionary's, and the numbers of bounds.
    pub given_value: Float64Array,
    /// Units as given, where they are not the dictionary's.
    pub given_unit: Words,
    attributes: MapArray,
    conditions: MapArray,
}

impl RecordColumns {
    /// Only the ids of a batch.
    ///
    /// # Errors
    /// There is no column of ids.
    pub fn ids(batch: &RecordBatch) -> Result<StringArray, ArrowError> {
        let column = batch.column_by_name("id").ok_or_else(|| missing("id"))?;
        column.as_string_opt::<i32>().cloned().ok_or_else(|| wrong_type("id"))
    }

    /// The keys of the properties of a batch that [`to_batch`] or [`Rows::to_batch`] made, each once.
    ///
    /// # Errors
    /// There is no column of properties.
    pub(crate) fn properties(batch: &RecordBatch) -> Result<Vec<Arc<str>>, ArrowError> {
        let list = batch.column_by_name("measurements").and_then(|column| column.as_list_opt::<i32>());
        let values = list.and_then(|list| list.values().as_struct_opt()).ok_or_else(|| missing("measurements"))?;
        let words = values.column_by_name("property").ok_or_else(|| missing("property"))?;
        match words.as_any().downcast_ref::<DictionaryArray<Int32Type>>() {
            Some(words) => Ok(Words::read(words.values())?.words),
            None => Ok(Words::read(words)?.words),
        }
    }

    /// The columns of a batch.
    ///
    /// # Errors
    /// A column is missing or has another type.
    pub fn read(batch: &RecordBatch) -> Result<RecordColumns, ArrowError> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| missing(name));
        let text = |name: &str| -> Result<StringArray, ArrowError> {
            column(name)?.as_string_opt::<i32>().cloned().ok_or_else(|| wrong_type(name))
        };
        // tables of older versions of the program lack these
        let optional = |name: &str| match batch.column_by_name(name) {
            Some(_) => text(name),
            None => Ok(StringArray::new_null(batch.num_rows())),
        };
        let list = column("measurements")?.as_list_opt::<i32>().ok_or_else(|| wrong_type("measurements"))?;
        let values = list.values().as_struct_opt().ok_or_else(|| wrong_type("measurements"))?;
        let inner = |name: &str| values.column_by_name(name).ok_or_else(|| missing(name));
        let number = |name: &str| -> Result<Float64Array, ArrowError> {
            inner(name)?.as_primitive_opt().cloned().ok_or_else(|| wrong_type(name))
        };
        Ok(RecordColumns {
            id: text("id")?,
            name: text("name")?,
            formula_given: text("formula_given")?,
            formula: text("formula")?,
            space_group: column("space_group")?
                .as_primitive_opt::<Int16Type>()
                .cloned()
                .ok_or_else(|| wrong_type("space_group"))?,
            smiles: optional("smiles")?,
            structure: optional("structure")?,
            class: Words::read(column("class")?)?,
            offsets: list.offsets().iter().map(|&o| o as usize).collect(),
            property: Words::read(inner("property")?)?,
            value: number("value")?,
            uncertainty: number("uncertainty")?,
            evidence: Words::read(inner("evidence")?)?,
            method: Words::read(inner("method")?)?,
            source: Words::read(inner("source")?)?,
            temperature_k: number("temperature_k")?,
            pressure_pa: number("pressure_pa")?,
            given_value: number("given_value")?,
            given_unit: Words::read(inner("given_unit")?)?,
            attributes: column("attributes")?.as_map_opt().cloned().ok_or_else(|| wrong_type("attributes"))?,
            conditions: inner("conditions")?.as_map_opt().cloned().ok_or_else(|| wrong_type("conditions"))?,
        })
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    /// The structure of a record, as the text that [`Structure::from_json`](crate::structure::Structure::from_json) reads.
    pub fn structure(&self, row: usize) -> Option<&str> {
        self.structure.is_valid(row).then(|| self.structure.value(row))
    }

    /// One row as a record.
    pub fn record(&self, row: usize) -> Record {
        let text = |array: &StringArray| array.is_valid(row).then(|| array.value(row).to_owned());
        let span = self.offsets[row]..self.offsets[row + 1];
        Record {
            id: self.id.value(row).to_owned(),
            name: text(&self.name),
            formula_given: text(&self.formula_given),
            formula: text(&self.formula),
            space_group: self.space_group.is_valid(row).then(|| self.space_group.value(row)),
            smiles: text(&self.smiles),
            // what our own writer put there
            structure: text(&self.structure).and_then(|text| serde_json::from_str(&text).ok()).map(Arc::new),
            class: self.class.get(row).cloned(),
            attributes: read_map(&self.attributes, row),
            measurements: span.map(|i| self.measurement(i)).collect(),
        }
    }

    fn measurement(&self, i: usize) -> Measurement {
        let number = |array: &Float64Array| array.is_valid(i).then(|| array.value(i));
        Measurement {
            property: self.property.get(i).cloned().unwrap_or_else(|| Arc::from("")),
            value: number(&self.value).unwrap_or(f64::NAN),
            given_value: number(&self.given_value),
            given_unit: self.given_unit.get(i).cloned(),
            uncertainty: number(&self.uncertainty),
            evidence: self.evidence.get(i).and_then(|e| e.parse().ok()).unwrap_or(Evidence::None),
            method: self.method.get(i).cloned(),
            source: self.source.get(i).cloned(),
            temperature_k: number(&self.temperature_k),
            pressure_pa: number(&self.pressure_pa),
            conditions: read_map(&self.conditions, i),
        }
    }

    /// The conditions of a measurement beside temperature and pressure.
    pub fn conditions(&self, i: usize) -> BTreeMap<&str, &str> {
        texts(&self.conditions, i)
    }
}

fn missing(column: &str) -> ArrowError {
    ArrowError::SchemaError(format!("the record table lacks the column `{column}`"))
}

fn texts(map: &MapArray, row: usize) -> BTreeMap<&str, &str> {
    let offsets = map.value_offsets();
    let entries = offsets[row] as usize..offsets[row + 1] as usize;
    if map.is_null(row) || entries.is_empty() {
        return BTreeMap::new();
    }
    let (Some(keys), Some(values)) = (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>()) else {
        return BTreeMap::new();
    };
    let value = |i: usize| if values.is_valid(i) { values.value(i) } else { "" };
    entries.filter(|&i| keys.is_valid(i)).map(|i| (keys.value(i), value(i))).collect()
}

fn read_map(map: &MapArray, row: usize) -> BTreeMap<String, String> {
    texts(map, row).into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::structure::{Species, Structure};

    pub(crate) fn sample() -> Vec<Record> {
        let full = Record {
            id: "lab/1".into(),
            name: Some("Ti-6Al-4V".into()),
            formula_given: Some("Ga1As1".into()),
            formula: Some("AsGa".into()),
            space_group: Some(216),
            smiles: Some("[Ga]#[As]".into()),
            structure: Some(Arc::new(Structure {
                lattice: Some([[0.0, 2.8, 2.8], [2.8, 0.0, 2.8], [2.8, 2.8, 0.1 + 0.2]]),
                species: vec![Species::Element("Ga".into()), Species::Mixed(vec![("As".into(), 0.9)])],
                positions: vec![[0.0, 0.0, 0.0], [0.25, 0.25, 1.0 / 3.0]],
            })),
            class: Some("alloy".into()),
            attributes: BTreeMap::from([("processing".into(), "cast".into()), ("título".into(), "µ".into())]),
            measurements: vec![
                Measurement {
                    property: "density".into(),
                    value: 5.317,
                    given_value: Some(5317.0),
                    given_unit: Some("kg/m^3".into()),
                    uncertainty: Some(0.01),
                    evidence: Evidence::Measured,
                    method: Some("ASTM B311".into()),
                    source: Some("doi:10.1000/1".into()),
                    temperature_k: Some(293.15),
                    pressure_pa: Some(101_325.0),
                    conditions: BTreeMap::from([("direction".into(), "[100]".into())]),
                },
                Measurement {
                    property: "band_gap".into(),
                    value: 1.42,
                    given_value: None,
                    given_unit: None,
                    uncertainty: None,
                    evidence: Evidence::Derived,
                    method: None,
                    source: None,
                    temperature_k: None,
                    pressure_pa: None,
                    conditions: BTreeMap::new(),
                },
            ],
        };
        let bare = Record {
            id: "lab/2".into(),
            name: None,
            formula_given: None,
            formula: None,
            space_group: None,
            smiles: None,
            structure: None,
            class: None,
            attributes: BTreeMap::new(),
            measurements: Vec::new(),
        };
        vec![full, bare]
    }

    #[test]
    fn records_survive_the_way_through_columns() {
        let records = sample();
        let columns = RecordColumns::read(&to_batch(&records).unwrap()).unwrap();
        assert_eq!(columns.len(), 2);
        assert_eq!((0..2).map(|row| columns.record(row)).collect::<Vec<_>>(), records);

        // and through other rows, whose words have other numbers
        let rows = Rows::read(&to_batch(&records).unwrap()).unwrap();
        assert_eq!((0..2).map(|row| rows.record(row)).collect::<Vec<_>>(), records);
        let mut builder = RowsBuilder::default();
        let mut other = records[0].clone();
        other.measurements[0].property = "hardness_vickers".into();
        other.class = Some("ceramic".into());
        builder.push(&other).unwrap();
        let mut numberings = [Numbering::default()];
        for row in [1, 0, 0] {
            builder.push_joined(&[&rows], &mut numberings, &[(0, row)]).unwrap();
        }
        let again = builder.finish().unwrap();
        let want = [&other, &records[1], &records[0], &records[0]].map(Clone::clone);
        assert_eq!((0..4).map(|row| again.record(row)).collect::<Vec<_>>(), want);
        let again = RecordColumns::read(&again.to_batch().unwrap()).unwrap();
        assert_eq!((0..4).map(|row| again.record(row)).collect::<Vec<_>>(), want);
    }
}
