//! Records, and rows of other batches, become a batch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, DictionaryArray, Float64Array, Float64Builder, Int16Builder, Int32Array, ListArray, MapArray,
    MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;

use super::{RecordColumns, Words, file_schema, map_type, measurement_fields, read_map, word_in_memory};
use crate::record::{Evidence, Record};

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
