//! Records as Arrow columns, and back.
//!
//! One row a record; its values are the list column `measurements`. In memory the words that repeat (property, unit,
//! evidence, method, source) are dictionary-encoded; on disk they are plain Parquet strings, so every reader of Delta
//! tables reads them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, Float64Builder, Int16Builder, Int32Array, ListArray,
    MapArray, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int16Type, Int32Type, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::record::{Evidence, Measurement, Record};

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

fn map_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

fn append_map(
    builder: &mut MapBuilder<StringBuilder, StringBuilder>,
    map: &BTreeMap<String, String>,
) -> Result<(), ArrowError> {
    for (key, value) in map {
        builder.keys().append_value(key);
        builder.values().append_value(value);
    }
    builder.append(!map.is_empty())
}

/// Rows → one batch of [`file_schema`].
pub fn to_batch(records: &[Record]) -> Result<RecordBatch, ArrowError> {
    let mut builder = BatchBuilder::default();
    for record in records {
        builder.push(record)?;
    }
    builder.finish()
}

/// A column of words in the making: each distinct word once, and for each row the number of its word.
#[derive(Default)]
struct WordsBuilder {
    keys: Vec<i32>,
    words: Vec<Arc<str>>,
    number: HashMap<Arc<str>, i32>,
    /// The words that came last, by address: rows share theirs.
    recent: [Option<(Arc<str>, i32)>; 4],
    oldest: usize,
}

/// A word that is not there.
const NO_WORD: i32 = -1;

impl WordsBuilder {
    fn number_of(&mut self, word: &Arc<str>) -> i32 {
        let same = |known: &&(Arc<str>, i32)| Arc::ptr_eq(&known.0, word);
        if let Some((_, number)) = self.recent.iter().flatten().find(same) {
            return *number;
        }
        let number = match self.number.get(word) {
            Some(number) => *number,
            None => {
                let number = self.words.len() as i32;
                self.words.push(Arc::clone(word));
                self.number.insert(Arc::clone(word), number);
                number
            }
        };
        self.recent[self.oldest] = Some((Arc::clone(word), number));
        self.oldest = (self.oldest + 1) % self.recent.len();
        number
    }

    fn push(&mut self, word: Option<&Arc<str>>) {
        let key = word.map_or(NO_WORD, |word| self.number_of(word));
        self.keys.push(key);
    }

    fn finish(self) -> Result<ArrayRef, ArrowError> {
        let nulls = NullBuffer::from_iter(self.keys.iter().map(|&key| key != NO_WORD));
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let keys: Vec<i32> = self.keys.into_iter().map(|key| key.max(0)).collect();
        let words = if self.words.is_empty() { vec![Arc::from("")] } else { self.words };
        let words = StringArray::from_iter_values(words);
        Ok(Arc::new(DictionaryArray::try_new(Int32Array::new(keys.into(), nulls), Arc::new(words))?))
    }
}

/// The words of one batch under the numbers that a builder gives them, found when first needed.
#[derive(Default, Clone)]
struct Renumbered(Vec<i32>);

impl Renumbered {
    fn push(&mut self, to: &mut WordsBuilder, from: &Words, row: usize) {
        let Some(word) = from.get(row) else { return to.keys.push(NO_WORD) };
        if self.0.is_empty() {
            self.0 = vec![NO_WORD; from.words.len()];
        }
        let known = &mut self.0[from.keys[row] as usize];
        if *known == NO_WORD {
            *known = to.number_of(word);
        }
        to.keys.push(*known);
    }
}

/// How the words of one batch are numbered in a [`BatchBuilder`]; one for each pair of batch and builder.
#[derive(Default, Clone)]
pub struct Numbering {
    class: Renumbered,
    property: Renumbered,
    given_unit: Renumbered,
    evidence: Renumbered,
    method: Renumbered,
    source: Renumbered,
}

/// A batch of [`file_schema`] in the making, from records or from the rows of other batches.
pub struct BatchBuilder {
    id: StringBuilder,
    name: StringBuilder,
    formula_given: StringBuilder,
    formula: StringBuilder,
    space_group: Int16Builder,
    smiles: StringBuilder,
    structure: StringBuilder,
    class: WordsBuilder,
    attributes: MapBuilder<StringBuilder, StringBuilder>,
    lengths: Vec<usize>,
    property: WordsBuilder,
    value: Float64Builder,
    given_value: Float64Builder,
    given_unit: WordsBuilder,
    uncertainty: Float64Builder,
    evidence: WordsBuilder,
    method: WordsBuilder,
    source: WordsBuilder,
    temperature_k: Float64Builder,
    pressure_pa: Float64Builder,
    conditions: MapBuilder<StringBuilder, StringBuilder>,
    evidence_words: [Arc<str>; 5],
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder {
            id: StringBuilder::new(),
            name: StringBuilder::new(),
            formula_given: StringBuilder::new(),
            formula: StringBuilder::new(),
            space_group: Int16Builder::new(),
            smiles: StringBuilder::new(),
            structure: StringBuilder::new(),
            class: WordsBuilder::default(),
            attributes: map_builder(),
            lengths: Vec::new(),
            property: WordsBuilder::default(),
            value: Float64Builder::new(),
            given_value: Float64Builder::new(),
            given_unit: WordsBuilder::default(),
            uncertainty: Float64Builder::new(),
            evidence: WordsBuilder::default(),
            method: WordsBuilder::default(),
            source: WordsBuilder::default(),
            temperature_k: Float64Builder::new(),
            pressure_pa: Float64Builder::new(),
            conditions: map_builder(),
            evidence_words: Evidence::ALL.map(|level| Arc::from(level.as_str())),
        }
    }
}

impl BatchBuilder {
    /// Number of rows so far.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Its structure cannot be written as JSON.
    pub fn push(&mut self, record: &Record) -> Result<(), ArrowError> {
        let structure = record.structure.as_ref().map(|s| serde_json::to_string(&**s)).transpose();
        let structure = structure.map_err(|e| ArrowError::ExternalError(Box::new(e)))?;
        self.id.append_value(&record.id);
        self.name.append_option(record.name.as_deref());
        self.formula_given.append_option(record.formula_given.as_deref());
        self.formula.append_option(record.formula.as_deref());
        self.space_group.append_option(record.space_group);
        self.smiles.append_option(record.smiles.as_deref());
        self.structure.append_option(structure);
        self.class.push(record.class.as_ref());
        append_map(&mut self.attributes, &record.attributes)?;
        self.lengths.push(record.measurements.len());
        for m in &record.measurements {
            self.property.push(Some(&m.property));
            self.value.append_value(m.value);
            self.given_value.append_option(m.given_value);
            self.given_unit.push(m.given_unit.as_ref());
            self.uncertainty.append_option(m.uncertainty);
            self.evidence.push(self.evidence_words.get(m.evidence as usize));
            self.method.push(m.method.as_ref());
            self.source.push(m.source.as_ref());
            self.temperature_k.append_option(m.temperature_k);
            self.pressure_pa.append_option(m.pressure_pa);
            append_map(&mut self.conditions, &m.conditions)?;
        }
        Ok(())
    }

    /// Adds a record that is made of rows of other batches (`sources[part.0]`, row `part.1`): identity from the first
    /// that states it, the values of all in order, but for a derived value that is there already. The attributes of a
    /// later row win. `numberings` holds one entry for each source, for this builder alone.
    ///
    /// # Errors
    /// A map cannot be written.
    pub fn push_joined(
        &mut self,
        sources: &[&RecordColumns],
        numberings: &mut [Numbering],
        parts: &[(usize, usize)],
    ) -> Result<(), ArrowError> {
        let Some(&(first, row)) = parts.first() else { return Ok(()) };
        self.id.append_value(sources[first].id.value(row));
        let text = |column: fn(&RecordColumns) -> &StringArray| {
            parts.iter().find_map(|&(from, row)| {
                let column = column(sources[from]);
                column.is_valid(row).then(|| column.value(row))
            })
        };
        self.name.append_option(text(|c| &c.name));
        self.formula_given.append_option(text(|c| &c.formula_given));
        self.formula.append_option(text(|c| &c.formula));
        let number = |&(from, row): &(usize, usize)| {
            let column = &sources[from].space_group;
            column.is_valid(row).then(|| column.value(row))
        };
        self.space_group.append_option(parts.iter().find_map(number));
        self.smiles.append_option(text(|c| &c.smiles));
        self.structure.append_option(text(|c| &c.structure));
        match parts.iter().find(|&&(from, row)| sources[from].class.get(row).is_some()) {
            Some(&(from, row)) => numberings[from].class.push(&mut self.class, &sources[from].class, row),
            None => self.class.keys.push(NO_WORD),
        }
        let mut attributes = BTreeMap::new();
        for &(from, row) in parts {
            attributes.extend(read_map(&sources[from].attributes, row));
        }
        append_map(&mut self.attributes, &attributes)?;
        let mut length = 0;
        for (at, &(from, row)) in parts.iter().enumerate() {
            let columns = sources[from];
            for i in columns.offsets[row]..columns.offsets[row + 1] {
                // two rows may derive the same value; one is enough. Equal values that were measured are two
                if at > 0 && columns.is_derived(i) {
                    let held = |&(other, row): &(usize, usize)| {
                        let other = sources[other];
                        (other.offsets[row]..other.offsets[row + 1]).any(|j| {
                            other.property.get(j) == columns.property.get(i)
                                && other.measurement(j) == columns.measurement(i)
                        })
                    };
                    if parts[..at].iter().any(held) {
                        continue;
                    }
                }
                self.push_measurement(columns, i, &mut numberings[from])?;
                length += 1;
            }
        }
        self.lengths.push(length);
        Ok(())
    }

    fn push_measurement(
        &mut self,
        from: &RecordColumns,
        i: usize,
        numbering: &mut Numbering,
    ) -> Result<(), ArrowError> {
        let number = |array: &Float64Array| array.is_valid(i).then(|| array.value(i));
        numbering.property.push(&mut self.property, &from.property, i);
        self.value.append_option(number(&from.value));
        self.given_value.append_option(number(&from.given_value));
        numbering.given_unit.push(&mut self.given_unit, &from.given_unit, i);
        self.uncertainty.append_option(number(&from.uncertainty));
        numbering.evidence.push(&mut self.evidence, &from.evidence, i);
        numbering.method.push(&mut self.method, &from.method, i);
        numbering.source.push(&mut self.source, &from.source, i);
        self.temperature_k.append_option(number(&from.temperature_k));
        self.pressure_pa.append_option(number(&from.pressure_pa));
        if from.conditions.is_null(i) {
            self.conditions.append(false)
        } else {
            append_map(&mut self.conditions, &read_map(&from.conditions, i))
        }
    }

    /// The batch.
    ///
    /// # Errors
    /// The columns do not fit together, which would be a defect here.
    pub fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let fields = measurement_fields(&word_in_memory());
        let values: Vec<ArrayRef> = vec![
            self.property.finish()?,
            Arc::new(self.value.finish()),
            Arc::new(self.given_value.finish()),
            self.given_unit.finish()?,
            Arc::new(self.uncertainty.finish()),
            self.evidence.finish()?,
            self.method.finish()?,
            self.source.finish()?,
            Arc::new(self.temperature_k.finish()),
            Arc::new(self.pressure_pa.finish()),
            Arc::new(as_map_type(self.conditions.finish())?),
        ];
        let values = StructArray::try_new(fields.clone(), values, None)?;
        let element = Arc::new(Field::new("element", DataType::Struct(fields), true));
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let measurements = ListArray::try_new(element, offsets, Arc::new(values), None)?;
        RecordBatch::try_new(
            file_schema(),
            vec![
                Arc::new(self.id.finish()),
                Arc::new(self.name.finish()),
                Arc::new(self.formula_given.finish()),
                Arc::new(self.formula.finish()),
                Arc::new(self.space_group.finish()),
                Arc::new(self.smiles.finish()),
                Arc::new(self.structure.finish()),
                self.class.finish()?,
                Arc::new(as_map_type(self.attributes.finish())?),
                Arc::new(measurements),
            ],
        )
    }
}

/// The builder's map with the field names and nullability of [`map_type`].
fn as_map_type(map: MapArray) -> Result<MapArray, ArrowError> {
    let DataType::Map(field, ordered) = map_type() else { unreachable!("map_type is a map") };
    let DataType::Struct(entry_fields) = field.data_type() else { unreachable!("map entries are structs") };
    let (_, offsets, entries, nulls, _) = map.into_parts();
    let entries = StructArray::try_new(entry_fields.clone(), entries.columns().to_vec(), None)?;
    MapArray::try_new(field, offsets, entries, nulls, ordered)
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
    given_value: Float64Array,
    given_unit: Words,
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

    fn is_derived(&self, i: usize) -> bool {
        self.evidence.get(i).is_some_and(|word| &**word == Evidence::Derived.as_str())
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
}

fn missing(column: &str) -> ArrowError {
    ArrowError::SchemaError(format!("the record table lacks the column `{column}`"))
}

fn read_map(map: &MapArray, row: usize) -> BTreeMap<String, String> {
    if map.is_null(row) {
        return BTreeMap::new();
    }
    let entries = map.value(row);
    let (Some(keys), Some(values)) =
        (entries.column(0).as_string_opt::<i32>(), entries.column(1).as_string_opt::<i32>())
    else {
        return BTreeMap::new();
    };
    keys.iter()
        .zip(values.iter())
        .filter_map(|(k, v)| Some((k?.to_owned(), v.unwrap_or_default().to_owned())))
        .collect()
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

        // and through the columns of another batch, whose words have other numbers
        let mut builder = BatchBuilder::default();
        let mut other = records[0].clone();
        other.measurements[0].property = "hardness_vickers".into();
        other.class = Some("ceramic".into());
        builder.push(&other).unwrap();
        let mut numberings = [Numbering::default()];
        for row in [1, 0, 0] {
            builder.push_joined(&[&columns], &mut numberings, &[(0, row)]).unwrap();
        }
        let again = RecordColumns::read(&builder.finish().unwrap()).unwrap();
        let want = [&other, &records[1], &records[0], &records[0]];
        assert_eq!((0..4).map(|row| again.record(row)).collect::<Vec<_>>(), want.map(Clone::clone));
    }
}
