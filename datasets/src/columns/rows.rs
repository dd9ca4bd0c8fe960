//! Rows between a source and a data file, in little memory: columns that are empty take none, and what repeats over the
//! values of a column of a source (property, unit, evidence, method, source, conditions of the test) is kept once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Float64Builder, Int16Array, Int16Builder, Int32Array, ListArray,
    MapArray, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder, StructArray, UInt32Array,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;

use super::{RecordColumns, Words, file_schema, map_type, measurement_fields, read_map, word_in_memory};
use crate::record::{Evidence, Measurement, Record};

/// What a value is a value of, and how it came to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    property: Arc<str>,
    given_unit: Option<Arc<str>>,
    evidence: Evidence,
    method: Option<Arc<str>>,
    source: Option<Arc<str>>,
    /// The bits of the numbers: equal and hashable.
    temperature_k: Option<u64>,
    pressure_pa: Option<u64>,
}

impl Kind {
    fn of(m: &Measurement) -> Kind {
        Kind {
            property: Arc::clone(&m.property),
            given_unit: m.given_unit.clone(),
            evidence: m.evidence,
            method: m.method.clone(),
            source: m.source.clone(),
            temperature_k: m.temperature_k.map(f64::to_bits),
            pressure_pa: m.pressure_pa.map(f64::to_bits),
        }
    }

    /// Whether it is the kind of this measurement, by the addresses of its words: quick, and true of rows that share
    /// their words.
    fn shares(&self, m: &Measurement) -> bool {
        let same = |a: &Option<Arc<str>>, b: &Option<Arc<str>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(&self.property, &m.property)
            && same(&self.given_unit, &m.given_unit)
            && self.evidence == m.evidence
            && same(&self.method, &m.method)
            && same(&self.source, &m.source)
            && self.temperature_k == m.temperature_k.map(f64::to_bits)
            && self.pressure_pa == m.pressure_pa.map(f64::to_bits)
    }
}

/// Things that repeat, numbered in the order in which they came.
#[derive(Debug)]
struct Numbered<T> {
    things: Vec<T>,
    number: HashMap<T, u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Numbered { things: Vec::new(), number: HashMap::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn number_of(&mut self, thing: &T) -> u32 {
        match self.number.get(thing) {
            Some(number) => *number,
            None => {
                let number = self.things.len() as u32;
                self.things.push(thing.clone());
                self.number.insert(thing.clone(), number);
                number
            }
        }
    }
}

/// Parts of a record beyond which their values are looked up, not compared with all others.
const MANY_PARTS: usize = 16;

/// No word, or a number that is not found yet.
const NONE: u32 = u32::MAX;

/// A column in the making that takes no memory while it is empty.
#[derive(Debug, Default)]
struct Sparse<B> {
    empty: usize,
    builder: Option<B>,
}

/// Builders that can be filled up with empty cells.
trait Fill: Default {
    fn fill(&mut self, cells: usize);
}

impl Fill for StringBuilder {
    fn fill(&mut self, cells: usize) {
        self.append_nulls(cells);
    }
}

impl Fill for Float64Builder {
    fn fill(&mut self, cells: usize) {
        self.append_nulls(cells);
    }
}

impl Fill for Int16Builder {
    fn fill(&mut self, cells: usize) {
        self.append_nulls(cells);
    }
}

/// A column of maps from text to text.
#[derive(Debug)]
struct Maps(MapBuilder<StringBuilder, StringBuilder>);

impl Default for Maps {
    fn default() -> Self {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        Maps(MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()))
    }
}

impl Fill for Maps {
    fn fill(&mut self, cells: usize) {
        // keys and values are as long as each other: this cannot fail
        let _ = self.0.append_nulls(cells);
    }
}

impl<B: Fill> Sparse<B> {
    fn builder(&mut self) -> &mut B {
        self.builder.get_or_insert_with(|| {
            let mut builder = B::default();
            builder.fill(self.empty);
            builder
        })
    }

    fn push_none(&mut self) {
        match &mut self.builder {
            Some(builder) => builder.fill(1),
            None => self.empty += 1,
        }
    }
}

impl Sparse<StringBuilder> {
    fn push(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.builder().append_value(text),
            None => self.push_none(),
        }
    }

    fn finish(self) -> Option<StringArray> {
        self.builder.map(|mut builder| builder.finish())
    }
}

impl Sparse<Float64Builder> {
    fn push(&mut self, number: Option<f64>) {
        match number {
            Some(number) => self.builder().append_value(number),
            None => self.push_none(),
        }
    }

    fn finish(self) -> Option<Float64Array> {
        self.builder.map(|mut builder| builder.finish())
    }
}

impl Sparse<Int16Builder> {
    fn push(&mut self, number: Option<i16>) {
        match number {
            Some(number) => self.builder().append_value(number),
            None => self.push_none(),
        }
    }
}

impl Sparse<Maps> {
    fn push(&mut self, map: &BTreeMap<String, String>) -> Result<(), ArrowError> {
        if map.is_empty() {
            self.push_none();
            return Ok(());
        }
        let Maps(builder) = self.builder();
        for (key, value) in map {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        builder.append(true)
    }

    fn finish(self) -> Result<Option<MapArray>, ArrowError> {
        self.builder.map(|Maps(mut builder)| as_map_type(builder.finish())).transpose()
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

/// Rows of records; a column that no row fills is not there.
#[derive(Debug)]
pub struct Rows {
    id: StringArray,
    name: Option<StringArray>,
    formula_given: Option<StringArray>,
    formula: Option<StringArray>,
    space_group: Option<Int16Array>,
    smiles: Option<StringArray>,
    structure: Option<StringArray>,
    /// For each row the number of its class, or [`NONE`].
    class: Vec<u32>,
    classes: Vec<Arc<str>>,
    attributes: Option<MapArray>,
    /// The first value of each row, and one past the last of all.
    offsets: Vec<i32>,
    kind: Vec<u32>,
    kinds: Vec<Kind>,
    value: Vec<f64>,
    given_value: Option<Float64Array>,
    uncertainty: Option<Float64Array>,
    conditions: Option<MapArray>,
}

fn text(column: &Option<StringArray>, row: usize) -> Option<&str> {
    column.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

fn number(column: &Option<Float64Array>, row: usize) -> Option<f64> {
    column.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

fn map(column: &Option<MapArray>, row: usize) -> BTreeMap<String, String> {
    column.as_ref().map(|column| read_map(column, row)).unwrap_or_default()
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    /// The record id of a row.
    pub fn id(&self, row: usize) -> &str {
        self.id.value(row)
    }

    /// The canonical reduced formula of a row.
    pub fn formula(&self, row: usize) -> Option<&str> {
        text(&self.formula, row)
    }

    /// How many values the rows from one to before another hold.
    pub fn values_in(&self, from: usize, to: usize) -> usize {
        (self.offsets[to] - self.offsets[from]).max(0) as usize
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let texts = [&self.name, &self.formula_given, &self.formula, &self.smiles, &self.structure];
        let texts = texts.into_iter().flatten().map(|column| column.get_array_memory_size()).sum::<usize>();
        let maps = [&self.attributes, &self.conditions].into_iter().flatten();
        let numbers = [&self.given_value, &self.uncertainty].into_iter().flatten();
        self.id.get_array_memory_size()
            + texts
            + maps.map(|column| column.get_array_memory_size()).sum::<usize>()
            + numbers.map(|column| column.get_array_memory_size()).sum::<usize>()
            + self.space_group.as_ref().map_or(0, |column| column.get_array_memory_size())
            + 4 * (self.class.capacity() + self.offsets.capacity() + self.kind.capacity())
            + 8 * self.value.capacity()
            + size_of::<Kind>() * self.kinds.capacity()
    }

    /// One row as a record.
    pub fn record(&self, row: usize) -> Record {
        let text = |column| text(column, row).map(str::to_owned);
        Record {
            id: self.id.value(row).to_owned(),
            name: text(&self.name),
            formula_given: text(&self.formula_given),
            formula: text(&self.formula),
            space_group: self.space_group(row),
            smiles: text(&self.smiles),
            // what our own writer put there
            structure: text(&self.structure).and_then(|text| serde_json::from_str(&text).ok()).map(Arc::new),
            class: self.classes.get(self.class[row] as usize).cloned(),
            attributes: map(&self.attributes, row),
            measurements: self.span(row).map(|i| self.measurement(i)).collect(),
        }
    }

    fn space_group(&self, row: usize) -> Option<i16> {
        self.space_group.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }

    fn span(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    fn kind(&self, i: usize) -> &Kind {
        &self.kinds[self.kind[i] as usize]
    }

    fn measurement(&self, i: usize) -> Measurement {
        let kind = self.kind(i);
        Measurement {
            property: Arc::clone(&kind.property),
            value: self.value[i],
            given_value: number(&self.given_value, i),
            given_unit: kind.given_unit.clone(),
            uncertainty: number(&self.uncertainty, i),
            evidence: kind.evidence,
            method: kind.method.clone(),
            source: kind.source.clone(),
            temperature_k: kind.temperature_k.map(f64::from_bits),
            pressure_pa: kind.pressure_pa.map(f64::from_bits),
            conditions: map(&self.conditions, i),
        }
    }

    /// Whether a value is the same as one of other rows, with all that is said of it.
    fn is_same(&self, i: usize, other: &Rows, j: usize) -> bool {
        self.kind(i) == other.kind(j)
            && self.value[i] == other.value[j]
            && number(&self.given_value, i) == number(&other.given_value, j)
            && number(&self.uncertainty, i) == number(&other.uncertainty, j)
            && map(&self.conditions, i) == map(&other.conditions, j)
    }

    /// The rows with these numbers, in this order.
    ///
    /// # Errors
    /// There is no such row.
    pub fn taken(self, rows: Vec<u32>) -> Result<Rows, ArrowError> {
        fn taken<A: Array + Clone + 'static>(column: Option<A>, rows: &UInt32Array) -> Result<Option<A>, ArrowError> {
            let Some(column) = column else { return Ok(None) };
            let taken = take(&column, rows, None)?;
            let taken = taken.as_any().downcast_ref::<A>().cloned();
            taken.map(Some).ok_or_else(|| ArrowError::ComputeError("a column changed its type".into()))
        }
        let span = |row: u32| self.offsets[row as usize]..self.offsets[row as usize + 1];
        let mut offsets = Vec::with_capacity(rows.len() + 1);
        offsets.push(0);
        let mut values = Vec::with_capacity(self.value.len());
        for &row in &rows {
            values.extend(span(row).map(|i| i as u32));
            offsets.push(values.len() as i32);
        }
        let kind = values.iter().map(|&i| self.kind[i as usize]).collect();
        let value = values.iter().map(|&i| self.value[i as usize]).collect();
        let class = rows.iter().map(|&row| self.class[row as usize]).collect();
        let (rows, values) = (UInt32Array::from(rows), UInt32Array::from(values));
        Ok(Rows {
            id: taken(Some(self.id), &rows)?.unwrap_or_else(|| StringArray::new_null(0)),
            name: taken(self.name, &rows)?,
            formula_given: taken(self.formula_given, &rows)?,
            formula: taken(self.formula, &rows)?,
            space_group: taken(self.space_group, &rows)?,
            smiles: taken(self.smiles, &rows)?,
            structure: taken(self.structure, &rows)?,
            class,
            classes: self.classes,
            attributes: taken(self.attributes, &rows)?,
            offsets,
            kind,
            kinds: self.kinds,
            value,
            given_value: taken(self.given_value, &values)?,
            uncertainty: taken(self.uncertainty, &values)?,
            conditions: taken(self.conditions, &values)?,
        })
    }

    /// The rows of a batch of [`file_schema`] that this program wrote.
    ///
    /// # Errors
    /// A column is missing or has another type.
    pub fn read(batch: &RecordBatch) -> Result<Rows, ArrowError> {
        let columns = RecordColumns::read(batch)?;
        let mut kinds = Numbered::default();
        // equal numbers of words are equal kinds: most rows need no text
        let mut known: HashMap<[u64; 7], u32> = HashMap::new();
        let bits = |array: &Float64Array, i: usize| array.is_valid(i).then(|| array.value(i).to_bits());
        let key = |words: &Words, i: usize| u64::from(words.keys()[i]);
        let kind = (0..columns.value.len()).map(|i| {
            let (temperature_k, pressure_pa) = (bits(&columns.temperature_k, i), bits(&columns.pressure_pa, i));
            let words = [
                key(&columns.property, i) | key(&columns.evidence, i) << 32,
                key(&columns.given_unit, i) | u64::from(temperature_k.is_some()) << 32,
                key(&columns.method, i) | u64::from(pressure_pa.is_some()) << 32,
                key(&columns.source, i),
                temperature_k.unwrap_or(0),
                pressure_pa.unwrap_or(0),
                0,
            ];
            *known.entry(words).or_insert_with(|| kinds.number_of(&Kind::of(&columns.measurement(i))))
        });
        let kind = kind.collect();
        fn held<A: Array + Clone>(column: &A) -> Option<A> {
            (column.null_count() < column.len()).then(|| column.clone())
        }
        Ok(Rows {
            name: held(&columns.name),
            formula_given: held(&columns.formula_given),
            formula: held(&columns.formula),
            space_group: held(&columns.space_group),
            smiles: held(&columns.smiles),
            structure: held(&columns.structure),
            class: columns.class.keys().to_vec(),
            classes: columns.class.words().to_vec(),
            attributes: held(&columns.attributes),
            offsets: columns.offsets.iter().map(|&offset| offset as i32).collect(),
            kind,
            kinds: kinds.things,
            value: columns.value.values().to_vec(),
            given_value: held(&columns.given_value),
            uncertainty: held(&columns.uncertainty),
            conditions: held(&columns.conditions),
            id: columns.id,
        })
    }

    /// The batch of [`file_schema`].
    ///
    /// # Errors
    /// The columns do not fit together, which would be a defect here.
    pub fn to_batch(&self) -> Result<RecordBatch, ArrowError> {
        let (mut of_rows, mut of_values) = (Empty::new(self.id.len()), Empty::new(self.value.len()));
        let fields = measurement_fields(&word_in_memory());
        let measured: Vec<ArrayRef> = vec![
            self.word(&mut of_values, |kind| Some(&kind.property))?,
            Arc::new(Float64Array::new(self.value.clone().into(), None)),
            of_values.unless(&self.given_value, &DataType::Float64),
            self.word(&mut of_values, |kind| kind.given_unit.as_ref())?,
            of_values.unless(&self.uncertainty, &DataType::Float64),
            self.evidence()?,
            self.word(&mut of_values, |kind| kind.method.as_ref())?,
            self.word(&mut of_values, |kind| kind.source.as_ref())?,
            self.number(&mut of_values, |kind| kind.temperature_k),
            self.number(&mut of_values, |kind| kind.pressure_pa),
            of_values.unless(&self.conditions, &map_type()),
        ];
        let measured = StructArray::try_new(fields.clone(), measured, None)?;
        let element = Arc::new(Field::new("element", DataType::Struct(fields), true));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets.clone()));
        let measurements = ListArray::try_new(element, offsets, Arc::new(measured), None)?;
        RecordBatch::try_new(
            file_schema(),
            vec![
                Arc::new(self.id.clone()),
                of_rows.unless(&self.name, &DataType::Utf8),
                of_rows.unless(&self.formula_given, &DataType::Utf8),
                of_rows.unless(&self.formula, &DataType::Utf8),
                of_rows.unless(&self.space_group, &DataType::Int16),
                of_rows.unless(&self.smiles, &DataType::Utf8),
                of_rows.unless(&self.structure, &DataType::Utf8),
                dictionary(self.class.clone(), self.classes.clone())?,
                of_rows.unless(&self.attributes, &map_type()),
                Arc::new(measurements),
            ],
        )
    }

    /// The column of a word of the kinds.
    fn word(&self, empty: &mut Empty, of: fn(&Kind) -> Option<&Arc<str>>) -> Result<ArrayRef, ArrowError> {
        let mut words = Numbered::default();
        let numbers: Vec<u32> =
            self.kinds.iter().map(|kind| of(kind).map_or(NONE, |word| words.number_of(word))).collect();
        if words.things.is_empty() {
            return Ok(empty.column(&word_in_memory()));
        }
        dictionary(self.kind.iter().map(|&kind| numbers[kind as usize]).collect(), words.things)
    }

    fn evidence(&self) -> Result<ArrayRef, ArrowError> {
        let words = Evidence::ALL.map(|level| Arc::from(level.as_str()));
        let numbers: Vec<u32> = self.kinds.iter().map(|kind| kind.evidence as u32).collect();
        dictionary(self.kind.iter().map(|&kind| numbers[kind as usize]).collect(), words.to_vec())
    }

    /// The column of a number of the kinds.
    fn number(&self, empty: &mut Empty, of: fn(&Kind) -> Option<u64>) -> ArrayRef {
        if self.kinds.iter().all(|kind| of(kind).is_none()) {
            return empty.column(&DataType::Float64);
        }
        let numbers = self.kind.iter().map(|&kind| of(&self.kinds[kind as usize]).map(f64::from_bits));
        Arc::new(Float64Array::from_iter(numbers))
    }
}

/// Columns without a value, one of each type: all empty columns of a batch share its memory.
struct Empty {
    cells: usize,
    columns: Vec<ArrayRef>,
}

impl Empty {
    fn new(cells: usize) -> Empty {
        Empty { cells, columns: Vec::new() }
    }

    fn column(&mut self, kind: &DataType) -> ArrayRef {
        if let Some(known) = self.columns.iter().find(|column| column.data_type() == kind) {
            return Arc::clone(known);
        }
        let new = new_null_array(kind, self.cells);
        self.columns.push(Arc::clone(&new));
        new
    }

    /// The column, or an empty one where there is none.
    fn unless<A: Array + Clone + 'static>(&mut self, column: &Option<A>, kind: &DataType) -> ArrayRef {
        column.as_ref().map_or_else(|| self.column(kind), |column| Arc::new(column.clone()))
    }
}

/// A column of words by their numbers.
fn dictionary(mut numbers: Vec<u32>, words: Vec<Arc<str>>) -> Result<ArrayRef, ArrowError> {
    let is_full = !numbers.contains(&NONE);
    let nulls = (!is_full).then(|| NullBuffer::from_iter(numbers.iter().map(|&number| number != NONE)));
    if !is_full {
        numbers.iter_mut().filter(|number| **number == NONE).for_each(|number| *number = 0);
    }
    let words = if words.is_empty() { vec![Arc::from("")] } else { words };
    let keys: Vec<i32> = numbers.into_iter().map(|number| number as i32).collect();
    Ok(Arc::new(DictionaryArray::try_new(
        Int32Array::new(keys.into(), nulls),
        Arc::new(StringArray::from_iter_values(words)),
    )?))
}

/// How the kinds and classes of some rows are numbered in a [`RowsBuilder`]; one for each pair of rows and builder.
#[derive(Debug, Default, Clone)]
pub struct Numbering {
    kinds: Vec<u32>,
    classes: Vec<u32>,
}

/// Rows in the making, from records or from other rows.
#[derive(Debug)]
pub struct RowsBuilder {
    id: StringBuilder,
    name: Sparse<StringBuilder>,
    formula_given: Sparse<StringBuilder>,
    formula: Sparse<StringBuilder>,
    space_group: Sparse<Int16Builder>,
    smiles: Sparse<StringBuilder>,
    structure: Sparse<StringBuilder>,
    class: Vec<u32>,
    classes: Numbered<Arc<str>>,
    attributes: Sparse<Maps>,
    offsets: Vec<i32>,
    kind: Vec<u32>,
    kinds: Numbered<Kind>,
    /// For each kind the one that came after it, and that of the value before: rows of a source repeat their order.
    after: Vec<u32>,
    last: u32,
    value: Vec<f64>,
    given_value: Sparse<Float64Builder>,
    uncertainty: Sparse<Float64Builder>,
    conditions: Sparse<Maps>,
    text_bytes: usize,
}

impl Default for RowsBuilder {
    fn default() -> Self {
        RowsBuilder::with_capacity(0, 0, 0)
    }
}

impl RowsBuilder {
    /// With room for so many rows, values, and bytes of ids.
    pub fn with_capacity(rows: usize, values: usize, id_bytes: usize) -> RowsBuilder {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        let formula = (rows > 0).then(|| StringBuilder::with_capacity(rows, id_bytes));
        RowsBuilder {
            id: StringBuilder::with_capacity(rows, id_bytes),
            name: Sparse::default(),
            formula_given: Sparse::default(),
            formula: Sparse { empty: 0, builder: formula },
            space_group: Sparse::default(),
            smiles: Sparse::default(),
            structure: Sparse::default(),
            class: Vec::with_capacity(rows),
            classes: Numbered::default(),
            attributes: Sparse::default(),
            offsets,
            kind: Vec::with_capacity(values),
            kinds: Numbered::default(),
            after: Vec::new(),
            last: NONE,
            value: Vec::with_capacity(values),
            given_value: Sparse::default(),
            uncertainty: Sparse::default(),
            conditions: Sparse::default(),
            text_bytes: 0,
        }
    }

    /// With room for as many rows and values as other rows hold.
    pub fn like(rows: &Rows) -> RowsBuilder {
        RowsBuilder::with_capacity(rows.len(), rows.value.len(), rows.id.value_data().len())
    }

    /// Number of rows so far.
    pub fn len(&self) -> usize {
        self.class.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.class.is_empty()
    }

    /// Bytes of the longest texts so far: structures, attributes and conditions.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Its structure cannot be written as JSON, or there are more than 2^31 values.
    pub fn push(&mut self, record: &Record) -> Result<(), ArrowError> {
        let structure = record.structure.as_ref().map(|s| serde_json::to_string(&**s)).transpose();
        let structure = structure.map_err(|e| ArrowError::ExternalError(Box::new(e)))?;
        self.id.append_value(&record.id);
        self.name.push(record.name.as_deref());
        self.formula_given.push(record.formula_given.as_deref());
        self.formula.push(record.formula.as_deref());
        self.space_group.push(record.space_group);
        self.smiles.push(record.smiles.as_deref());
        self.structure.push(structure.as_deref());
        self.class.push(record.class.as_ref().map_or(NONE, |class| self.classes.number_of(class)));
        self.attributes.push(&record.attributes)?;
        for m in &record.measurements {
            let kind = self.kind_of(m);
            self.kind.push(kind);
            self.value.push(m.value);
            self.given_value.push(m.given_value);
            self.uncertainty.push(m.uncertainty);
            self.conditions.push(&m.conditions)?;
        }
        self.end_row()
    }

    fn kind_of(&mut self, m: &Measurement) -> u32 {
        let expected = self.after.get(self.last as usize).copied().unwrap_or(NONE);
        let number = match self.kinds.things.get(expected as usize) {
            Some(kind) if kind.shares(m) => expected,
            _ => self.kinds.number_of(&Kind::of(m)),
        };
        self.after.resize(self.kinds.things.len(), NONE);
        if let Some(after) = self.after.get_mut(self.last as usize) {
            *after = number;
        }
        self.last = number;
        number
    }

    fn end_row(&mut self) -> Result<(), ArrowError> {
        let end = i32::try_from(self.value.len());
        self.offsets.push(end.map_err(|_| ArrowError::OffsetOverflowError(self.value.len()))?);
        Ok(())
    }

    /// Adds a record that is made of other rows (`sources[part.0]`, row `part.1`): identity from the first that states
    /// it, the values of all in order, but for a derived value that is there already. The attributes of a later row win.
    /// `numberings` holds one entry for each source, for this builder alone.
    ///
    /// # Errors
    /// There are more than 2^31 values.
    pub fn push_joined(
        &mut self,
        sources: &[&Rows],
        numberings: &mut [Numbering],
        parts: &[(usize, usize)],
    ) -> Result<(), ArrowError> {
        let Some(&(first, row)) = parts.first() else { return Ok(()) };
        self.id.append_value(sources[first].id.value(row));
        let stated = |column: fn(&Rows) -> &Option<StringArray>| {
            parts.iter().find_map(|&(from, row)| text(column(sources[from]), row))
        };
        self.name.push(stated(|rows| &rows.name));
        self.formula_given.push(stated(|rows| &rows.formula_given));
        self.formula.push(stated(|rows| &rows.formula));
        self.space_group.push(parts.iter().find_map(|&(from, row)| sources[from].space_group(row)));
        self.smiles.push(stated(|rows| &rows.smiles));
        let structure = stated(|rows| &rows.structure);
        self.structure.push(structure);
        self.text_bytes += structure.map_or(0, str::len);
        let class = parts.iter().find(|&&(from, row)| sources[from].class[row] != NONE);
        self.class.push(class.map_or(NONE, |&(from, row)| {
            let number = sources[from].class[row];
            renumber(&mut numberings[from].classes, &sources[from].classes, number, &mut self.classes)
        }));
        let mut attributes = BTreeMap::new();
        for &(from, row) in parts.iter().filter(|&&(from, _)| sources[from].attributes.is_some()) {
            attributes.extend(map(&sources[from].attributes, row));
        }
        self.text_bytes += attributes.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        self.attributes.push(&attributes)?;
        // of many parts: where each value stands that is held already
        let mut held: HashMap<u64, Vec<(usize, usize)>> = HashMap::new();
        let many = parts.len() > MANY_PARTS;
        for (at, &(from, row)) in parts.iter().enumerate() {
            let rows = sources[from];
            for i in rows.span(row) {
                // zero and minus zero are equal
                let bits = (rows.value[i] + 0.0).to_bits();
                // two rows may derive the same value; one is enough. Equal values that were measured are two
                if at > 0 && rows.kind(i).evidence == Evidence::Derived {
                    let same = |&(other, j): &(usize, usize)| rows.is_same(i, sources[other], j);
                    let of_part = |&(other, row): &(usize, usize)| sources[other].span(row).any(|j| same(&(other, j)));
                    let is_held = match many {
                        true => held.get(&bits).is_some_and(|values| values.iter().any(same)),
                        false => parts[..at].iter().any(of_part),
                    };
                    if is_held {
                        continue;
                    }
                }
                if many {
                    held.entry(bits).or_default().push((from, i));
                }
                let kind = renumber(&mut numberings[from].kinds, &rows.kinds, rows.kind[i], &mut self.kinds);
                self.kind.push(kind);
                self.value.push(rows.value[i]);
                self.given_value.push(number(&rows.given_value, i));
                self.uncertainty.push(number(&rows.uncertainty, i));
                match &rows.conditions {
                    Some(column) if column.is_valid(i) => {
                        let conditions = read_map(column, i);
                        self.text_bytes += conditions.iter().map(|(key, text)| key.len() + text.len()).sum::<usize>();
                        self.conditions.push(&conditions)?;
                    }
                    _ => self.conditions.push_none(),
                }
            }
        }
        self.end_row()
    }

    /// The rows.
    ///
    /// # Errors
    /// The columns do not fit together, which would be a defect here.
    pub fn finish(mut self) -> Result<Rows, ArrowError> {
        Ok(Rows {
            id: self.id.finish(),
            name: self.name.finish(),
            formula_given: self.formula_given.finish(),
            formula: self.formula.finish(),
            space_group: self.space_group.builder.map(|mut builder| builder.finish()),
            smiles: self.smiles.finish(),
            structure: self.structure.finish(),
            class: self.class,
            classes: self.classes.things,
            attributes: self.attributes.finish()?,
            offsets: self.offsets,
            kind: self.kind,
            kinds: self.kinds.things,
            value: self.value,
            given_value: self.given_value.finish(),
            uncertainty: self.uncertainty.finish(),
            conditions: self.conditions.finish()?,
        })
    }
}

/// The number that a thing of other rows has here; found once for each thing.
fn renumber<T: Clone + Eq + std::hash::Hash>(
    known: &mut Vec<u32>,
    things: &[T],
    number: u32,
    to: &mut Numbered<T>,
) -> u32 {
    if known.is_empty() {
        known.resize(things.len(), NONE);
    }
    let held = &mut known[number as usize];
    if *held == NONE {
        *held = to.number_of(&things[number as usize]);
    }
    *held
}
