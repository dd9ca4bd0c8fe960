//! Rows of data files → sorted columns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array as _, RecordBatch, StringArray};
use datasets::catalogue::DatasetInfo;
use datasets::columns::RecordColumns;
use datasets::property::Property;
use datasets::record::{CENSORED, Evidence, dataset_of, material_id};
use datasets::table::{Table, TableError};
use datasets::unit::Unit;

use super::Snapshot;
use super::merge::merge;
use crate::measurements::{Measurements, Named, Records};
use crate::properties::Own;
use crate::stated::{Stated, is_mark};
use crate::structures::{Reader, Structures};

/// Reads all records of the table and builds its snapshot. `progress` is told the rows read and the rows in all.
///
/// # Errors
/// A data file cannot be read, or is damaged.
pub async fn build(table: &Table, mut progress: impl FnMut(u64, u64)) -> Result<Snapshot, TableError> {
    let infos = table.datasets()?;
    let sources = table.files()?;
    let mut files = sources.clone();
    // files in an order that does not depend on when they were ingested: ids decide everything below
    files.sort_by(|a, b| (&a.dataset, &a.ids, &a.path).cmp(&(&b.dataset, &b.ids, &b.path)));
    let total: u64 = files.iter().map(|f| f.rows.unwrap_or_default() as u64).sum();
    let mut rows = Rows::new(&infos, None)?;
    let mut done = 0;
    for file in &files {
        for batch in table.batches(file).await? {
            done += batch.num_rows() as u64;
            rows.add(&batch)?;
            progress(done, total);
        }
    }
    let merged = merge(&Snapshot::empty(), Vec::new(), &rows.sorted(), table.version(), infos, sources);
    let merged = merged.map_err(|why| TableError::Corrupt { what: "the record table".into(), why: why.into() })?;
    Ok(merged.snapshot)
}

/// Some records as sorted columns, numbered among themselves.
pub(super) struct Part {
    /// Ids of the materials, ascending.
    pub(super) ids: StringArray,
    /// Names of the datasets, ascending.
    pub(super) datasets: Vec<String>,
    /// The records; `material` is a place in `ids`, `dataset` one in `datasets`.
    pub(super) records: Records,
    /// Their values. Words are ascending, and none is unused.
    pub(super) measurements: Measurements,
}

/// Records in the order of their reading.
#[derive(Default)]
pub(super) struct Rows<'a> {
    /// The datasets' own properties.
    own: Own,
    material_of: HashMap<String, u32>,
    records: Vec<Row>,
    values: Vec<Value>,
    /// What is stated beside some values; the entry is not known yet.
    stated: Vec<Stated>,
    properties: BTreeMap<String, u32>,
    words: Words,
    structures: Structures,
    reader: Reader<'a>,
}

struct Row {
    id: String,
    material: u32,
    space_group: i16,
    by_formula: bool,
    name: Option<String>,
    class: Option<String>,
}

struct Value {
    property: u32,
    record: u32,
    value: f64,
    sd: f64,
    temperature: f32,
    evidence: u8,
    method: u32,
    source: u32,
    /// Index into what is stated, `u32::MAX` where there is nothing.
    stated: u32,
}

/// Words in the order of their reading.
#[derive(Default)]
struct Words(HashMap<Arc<str>, u32>);

impl Words {
    fn number(&mut self, word: &str) -> u32 {
        let next = self.0.len() as u32;
        match self.0.get(word) {
            Some(number) => *number,
            None => *self.0.entry(word.into()).or_insert(next),
        }
    }
}

/// What is known about a property of a batch.
struct Known {
    index: u32,
    property: Option<&'static Property>,
}

impl<'a> Rows<'a> {
    /// No rows yet, of these datasets; `known` are fingerprints that need not be made again.
    pub(super) fn new(
        infos: &BTreeMap<String, DatasetInfo>,
        known: Option<&'a Structures>,
    ) -> Result<Rows<'a>, TableError> {
        let own = Own::of(infos.values()).map_err(|why| TableError::Dataset(why.to_string()))?;
        Ok(Rows { own, reader: Reader::new(known), ..Rows::default() })
    }

    /// Takes in the rows of a batch.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        let columns = RecordColumns::read(batch)?;
        let known: Vec<Known> = columns
            .property
            .words()
            .iter()
            .map(|key| {
                let next = self.properties.len() as u32;
                let index = *self.properties.entry(key.to_string()).or_insert(next);
                Known { index, property: self.own.definition(key) }
            })
            .collect();
        let mut local = |words: &[Arc<str>]| -> Vec<u32> { words.iter().map(|word| self.words.number(word)).collect() };
        let (methods, sources) = (local(columns.method.words()), local(columns.source.words()));
        let evidence: Vec<u8> = columns
            .evidence
            .words()
            .iter()
            .map(|word| word.parse::<Evidence>().unwrap_or(Evidence::None) as u8)
            .collect();
        let first = self.records.len();
        for (row, text, values) in self.reader.read(&columns) {
            self.structures.push((first + row) as u32, text, &values);
        }
        for row in 0..columns.len() {
            let text = |array: &StringArray| array.is_valid(row).then(|| array.value(row).to_owned());
            let formula = columns.formula.is_valid(row).then(|| columns.formula.value(row));
            let name = text(&columns.name);
            let smiles = text(&columns.smiles);
            let space_group = columns.space_group.is_valid(row).then(|| columns.space_group.value(row));
            let id = columns.id.value(row);
            let material = material_id(formula, space_group, smiles.as_deref(), name.as_deref(), id);
            let next = self.material_of.len() as u32;
            let material = *self.material_of.entry(material).or_insert(next);
            let record = self.records.len() as u32;
            self.records.push(Row {
                id: id.to_owned(),
                material,
                space_group: space_group.unwrap_or_default(),
                by_formula: formula.is_some(),
                // a molecule without a name is called by its SMILES
                name: name.or(smiles),
                class: columns.class.get(row).map(ToString::to_string),
            });
            for i in columns.offsets[row]..columns.offsets[row + 1] {
                let key = columns.property.keys()[i];
                let Some(known) = known.get(key as usize) else { continue };
                let value = columns.value.value(i);
                let method = columns.method.get(i).map(|m| &**m);
                let uncertainty = columns.uncertainty.is_valid(i).then(|| columns.uncertainty.value(i));
                let number = |index: &[u32], key: u32| index.get(key as usize).copied().unwrap_or(u32::MAX);
                let temperature = &columns.temperature_k;
                let stated = stated_beside(&columns, i, known.property, &mut self.words);
                self.stated.extend(stated);
                self.values.push(Value {
                    property: known.index,
                    record,
                    value,
                    sd: known.property.map_or(f64::NAN, |p| usable_sd(p, value, uncertainty, method)),
                    temperature: if temperature.is_valid(i) { temperature.value(i) as f32 } else { f32::NAN },
                    evidence: evidence.get(columns.evidence.keys()[i] as usize).copied().unwrap_or_default(),
                    method: number(&methods, columns.method.keys()[i]),
                    source: number(&sources, columns.source.keys()[i]),
                    stated: if stated.is_some() { self.stated.len() as u32 - 1 } else { u32::MAX },
                });
            }
        }
        Ok(())
    }

    /// The records by (material id, record id), the values by (property, record); the values of one record keep their
    /// order.
    pub(super) fn sorted(self) -> Part {
        let mut ids: Vec<(String, u32)> = self.material_of.into_iter().collect();
        ids.sort_unstable();
        let mut row_of = vec![0u32; ids.len()];
        for (row, (_, read)) in ids.iter().enumerate() {
            row_of[*read as usize] = row as u32;
        }
        let mut read = self.records;
        let mut order: Vec<u32> = (0..read.len() as u32).collect();
        let key = |place: u32| {
            let row = &read[place as usize];
            (row_of[row.material as usize], row.id.as_str())
        };
        order.sort_by(|&a, &b| key(a).cmp(&key(b)));
        let mut place_of = vec![0u32; order.len()];
        for (place, &read) in order.iter().enumerate() {
            place_of[read as usize] = place as u32;
        }
        let names: BTreeSet<&str> = read.iter().map(|row| dataset_of(&row.id)).collect();
        let datasets: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let dataset = |row: &Row| datasets.partition_point(|name| name.as_str() < dataset_of(&row.id)) as u16;
        let rows = || order.iter().map(|&place| &read[place as usize]);
        let mut records = Records {
            id: StringArray::from_iter_values(rows().map(|row| row.id.as_str())),
            material: rows().map(|row| row_of[row.material as usize]).collect(),
            dataset: rows().map(dataset).collect(),
            space_group: rows().map(|row| row.space_group).collect(),
            by_formula: rows().map(|row| row.by_formula).collect(),
            named: Vec::new(),
            structures: Structures::default().merged(&[], &self.structures, &place_of),
        };
        for (record, &place) in order.iter().enumerate() {
            let row = &mut read[place as usize];
            if row.name.is_some() || row.class.is_some() {
                records.named.push(Named { record: record as u32, name: row.name.take(), class: row.class.take() });
            }
        }

        // words and properties are numbered in order, without those that no value has
        let mut used = vec![false; self.words.0.len()];
        let mut counts = vec![0usize; self.properties.len()];
        for value in &self.values {
            counts[value.property as usize] += 1;
            for word in [value.method, value.source] {
                if let Some(used) = used.get_mut(word as usize) {
                    *used = true;
                }
            }
        }
        for stated in &self.stated {
            if let Some(used) = used.get_mut(stated.conditions as usize) {
                *used = true;
            }
        }
        let mut words: Vec<(Arc<str>, u32)> = self.words.0.into_iter().filter(|(_, w)| used[*w as usize]).collect();
        words.sort_unstable();
        let mut word_of = vec![u32::MAX; used.len()];
        for (place, (_, word)) in words.iter().enumerate() {
            word_of[*word as usize] = place as u32;
        }
        let (mut rank, mut properties, mut starts) = (vec![0u32; counts.len()], Vec::new(), vec![0usize]);
        for (key, index) in self.properties {
            let count = counts[index as usize];
            if count > 0 {
                rank[index as usize] = properties.len() as u32;
                starts.push(starts[properties.len()] + count);
                properties.push(key);
            }
        }
        let mut values = self.values;
        for value in &mut values {
            value.property = rank[value.property as usize];
            value.record = place_of[value.record as usize];
        }
        values.sort_by_key(|v| (v.property, v.record));
        let word = |word: u32| word_of.get(word as usize).copied().unwrap_or(u32::MAX);
        let stated = |(entry, value): (usize, &Value)| {
            let stated = self.stated.get(value.stated as usize)?;
            Some(Stated { entry: entry as u32, conditions: word(stated.conditions), ..*stated })
        };
        let measurements = Measurements {
            properties,
            starts,
            material: values.iter().map(|v| records.material[v.record as usize]).collect(),
            record: values.iter().map(|v| v.record).collect(),
            value: values.iter().map(|v| v.value).collect(),
            sd: values.iter().map(|v| v.sd).collect(),
            evidence: values.iter().map(|v| v.evidence).collect(),
            temperature: values.iter().map(|v| v.temperature).collect(),
            method: values.iter().map(|v| word(v.method)).collect(),
            source: values.iter().map(|v| word(v.source)).collect(),
            stated: values.iter().enumerate().filter_map(stated).collect(),
            words: words.into_iter().map(|(word, _)| word).collect(),
        };
        let ids = StringArray::from_iter_values(ids.into_iter().map(|(id, _)| id));
        Part { ids, datasets, records, measurements }
    }
}

/// What is stated beside a value, in an entry that is to be found.
fn stated_beside(columns: &RecordColumns, i: usize, property: Option<&Property>, words: &mut Words) -> Option<Stated> {
    let conditions = columns.conditions(i);
    let pressure = columns.pressure_pa.is_valid(i).then(|| columns.pressure_pa.value(i));
    if conditions.is_empty() && pressure.is_none() {
        return None;
    }
    let bound = conditions.get(CENSORED).filter(|mark| is_mark(mark)).and_then(|_| bound(columns, i, property?));
    let text = (!conditions.is_empty()).then(|| serde_json::to_string(&conditions).ok()).flatten();
    Some(Stated {
        entry: u32::MAX,
        conditions: text.map_or(u32::MAX, |text| words.number(&text)),
        pressure: pressure.unwrap_or(f64::NAN),
        bound: bound.unwrap_or(f64::NAN),
    })
}

/// The number of a bound in the dictionary's unit: as given, since the value is what is believed of it.
fn bound(columns: &RecordColumns, i: usize, property: &Property) -> Option<f64> {
    if !columns.given_value.is_valid(i) {
        return Some(columns.value.value(i));
    }
    let given = columns.given_value.value(i);
    let Some(unit) = columns.given_unit.get(i) else { return Some(given) };
    let wanted = Unit::parse(&property.unit).ok()?;
    let conversion = Unit::parse_for(unit, &wanted).and_then(|unit| unit.conversion_to(&wanted)).ok()?;
    Some(conversion.apply(given))
}

/// The deviation of a value on its property's axis, NaN where the value is physically impossible.
fn usable_sd(property: &Property, value: f64, uncertainty: Option<f64>, method: Option<&str>) -> f64 {
    if (property.bounds[0]..=property.bounds[1]).contains(&value) {
        property.axis_sd(value, uncertainty, method)
    } else {
        f64::NAN
    }
}
