//! What is remembered of the values of a job, to be compared with each other and with the hub?
//!
//! Threads that read rows take [`Notes`] of a chunk; [`Noted`] gathers them in the order of the file, in bounded memory.

use std::collections::HashSet;
use std::sync::Arc;

use datasets::property::{Deviation, Property};
use datasets::record::{Evidence, GIVEN, Measurement, Record, content_hash, dataset_of, material_key};
use datasets::structure::Species;

use crate::rows::is_bound;
use crate::sort::Origin;

/// Bytes of values that are compared with each other; what comes later is not compared.
const MOST_BYTES: usize = 96 << 20;
/// Values of each kind that are compared with the hub.
const SAMPLED_OF_KIND: u32 = 20_000;
/// The same in one of the first chunks of a job, and in a later one: all of a small file, and a spread of a large one.
const SAMPLED_OF_CHUNK: [u32; 2] = [4_096, 128];
/// The first chunks.
const FIRST_CHUNKS: u64 = 4;
/// Values of all kinds that are compared with the hub.
const MOST_SAMPLED: usize = 200_000;
/// Columns of values that are told apart.
const MOST_COLUMNS: usize = 1 << 10;
/// Kinds of values of one chunk, and of a job.
const MOST_KINDS: usize = 1 << 12;

/// Values of one column: one property, method, evidence and unit.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    key: Arc<str>,
    /// `None` where nothing is known of the property that would allow a comparison.
    pub(super) property: Option<&'static Property>,
    method: Option<Arc<str>>,
    /// The typical deviation of the method, where it is known.
    typical: Option<Deviation>,
    evidence: Evidence,
    pub(super) given_unit: Option<Arc<str>>,
    pub(super) column: Option<Box<str>>,
    /// Of property, method and evidence.
    hash: u64,
    sampled: u32,
}

impl Kind {
    /// Each column has a text of its own for its property, so `as_written` takes only values of the same column.
    fn is_of(&self, m: &Measurement, as_written: bool) -> bool {
        let same = |a: &Option<Arc<str>>, b: &Option<Arc<str>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (None, None) => true,
            _ => false,
        };
        (Arc::ptr_eq(&self.key, &m.property) || (!as_written && self.key == m.property))
            && self.evidence == m.evidence
            && same(&self.method, &m.method)
            && same(&self.given_unit, &m.given_unit)
    }

    /// A value on the property's axis, and its deviation there.
    pub(super) fn on_axis(&self, property: &Property, value: f64, stated: Option<f64>) -> (f64, f64) {
        (property.axis.to_axis(value), axis_sd(property, value, stated, self.typical))
    }

    fn same(&self, other: &Kind) -> bool {
        self.key == other.key
            && self.evidence == other.evidence
            && self.method == other.method
            && self.given_unit == other.given_unit
            && self.column == other.column
    }
}

/// A value that is compared with others of the job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    /// Of all that must be equal for two values to speak of one thing.
    pub(super) key: u64,
    pub(super) value: f32,
    /// NaN where none is stated.
    pub(super) sd: f32,
    line: u32,
    table: u16,
    pub(super) kind: u16,
}

impl Value {
    pub(super) fn origin(&self) -> Origin {
        Origin { table: u32::from(self.table), line: u64::from(self.line) }
    }
}

/// A value that is compared with the hub.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampled {
    pub(super) material: u64,
    pub(super) value: f64,
    /// As the source gave it.
    pub(super) given: f64,
    pub(super) sd: Option<f64>,
    pub(super) temperature_k: Option<f64>,
    pub(super) origin: Origin,
    pub(super) kind: u16,
}

/// Says what a value is: its property, and the header of its column where it stands in one.
pub type WhatIs<'a> = &'a dyn Fn(&Measurement) -> (Option<&'static Property>, Option<String>);

/// What is noted of one chunk.
#[derive(Debug, Default)]
pub struct Notes {
    kinds: Vec<Kind>,
    values: Vec<Value>,
    sampled: Vec<Sampled>,
    left_out: u64,
    /// Values of each kind that are sampled; those of a later chunk where nothing is said.
    most_sampled: Option<u32>,
    buffer: Vec<u8>,
    source: Option<(Arc<str>, u64)>,
    dataset: (String, u64),
}

impl Notes {
    /// For a chunk, by its number in the job from 0.
    pub fn of_chunk(number: u64) -> Notes {
        let [first, later] = SAMPLED_OF_CHUNK;
        Notes { most_sampled: Some(if number < FIRST_CHUNKS { first } else { later }), ..Notes::default() }
    }

    /// Notes the values of an accepted record. With `own_ids`, computed values of records with different ids speak of
    /// different things: the source has chosen ids, and its entries of one composition may be different phases.
    pub fn note(&mut self, record: &Record, at: Origin, own_ids: bool, what_is: WhatIs<'_>) {
        let (mut about, mut id) = (None, None);
        let mut material = None;
        let most_sampled = self.most_sampled.unwrap_or(SAMPLED_OF_CHUNK[1]);
        for m in &record.measurements {
            if m.evidence <= Evidence::Derived || !m.value.is_finite() {
                continue; // it follows from others
            }
            let Some(number) = self.kind(m, what_is) else {
                self.left_out += 1;
                continue;
            };
            let kind = &mut self.kinds[usize::from(number)];
            let Some(property) = kind.property.filter(|property| property.is_conceivable(m.value)) else {
                continue; // the bounds have said so
            };
            if is_bound(m) {
                continue; // it says where the value is not; what is within may be anywhere
            }
            if kind.sampled < most_sampled && !property.key.contains(':') && m.value != 0.0 {
                let material = *material.get_or_insert_with(|| {
                    material_key(record.formula.as_deref(), record.smiles.as_deref(), record.name.as_deref())
                });
                if let Some(material) = material {
                    kind.sampled += 1;
                    self.sampled.push(Sampled {
                        material,
                        value: m.value,
                        given: m.given_value.unwrap_or(m.value),
                        sd: m.uncertainty,
                        temperature_k: m.temperature_k,
                        origin: at,
                        kind: number,
                    });
                }
            }
            let mut key = kind.hash;
            let (Ok(line), Ok(table)) = (u32::try_from(at.line), u16::try_from(at.table)) else {
                self.left_out += 1;
                continue;
            };
            let about = *about.get_or_insert_with(|| self.about(record, own_ids));
            key = mixed(key, about);
            if own_ids && m.evidence != Evidence::Measured {
                key = mixed(key, *id.get_or_insert_with(|| content_hash(record.id.as_bytes())));
            }
            if let Some(source) = &m.source {
                key = mixed(key, self.source(source));
            }
            for number in [m.temperature_k, m.pressure_pa] {
                key = mixed(key, number.map_or(1, f64::to_bits));
            }
            for (name, text) in &m.conditions {
                // the text of a range is not what tells two samples apart
                if name != GIVEN {
                    key = mixed(mixed(key, content_hash(name.as_bytes())), content_hash(text.as_bytes()));
                }
            }
            let sd = m.uncertainty.map_or(f32::NAN, |sd| sd as f32);
            self.values.push(Value { key, value: m.value as f32, sd, line, table, kind: number });
        }
    }

    /// To be called when the chunk has ended.
    pub fn end(&mut self) {
        // shrinking in place would keep most of the room that it grew to
        self.values = self.values.as_slice().to_vec();
        self.buffer = Vec::new();
        self.source = None;
    }

    fn kind(&mut self, m: &Measurement, what_is: WhatIs<'_>) -> Option<u16> {
        let find = |as_written| self.kinds.iter().position(|kind| kind.is_of(m, as_written));
        if let Some(known) = find(true) {
            return u16::try_from(known).ok();
        }
        if let Some(known) = find(false)
            && (self.kinds[known].column.is_none() || self.kinds.len() >= MOST_COLUMNS)
        {
            return u16::try_from(known).ok();
        }
        if self.kinds.len() >= MOST_KINDS {
            return None;
        }
        let (property, column) = what_is(m);
        let hash = mixed(content_hash(m.property.as_bytes()), m.evidence as u64);
        let hash = mixed(hash, m.method.as_ref().map_or(0, |method| content_hash(method.as_bytes())));
        self.kinds.push(Kind {
            key: Arc::clone(&m.property),
            property,
            method: m.method.clone(),
            typical: property.and_then(|property| property.method_deviation(m.method.as_deref()?)),
            evidence: m.evidence,
            given_unit: m.given_unit.clone(),
            column: column.map(String::into_boxed_str),
            hash,
            sampled: 0,
        });
        u16::try_from(self.kinds.len() - 1).ok()
    }

    /// A hash of what the record speaks about, with all that may tell it from others of the same composition.
    fn about(&mut self, record: &Record, own_ids: bool) -> u64 {
        let plain = content_hash(record.formula.as_deref().unwrap_or_default().as_bytes());
        let plain = mixed(plain, self.dataset(&record.id));
        if record.smiles.is_none()
            && record.name.is_none()
            && record.attributes.is_empty()
            && record.space_group.is_none()
            && (own_ids || record.structure.is_none())
        {
            return plain;
        }
        let buffer = &mut self.buffer;
        buffer.clear();
        let mut add = |text: &str| {
            buffer.extend_from_slice(text.as_bytes());
            buffer.push(0x1f);
        };
        for text in [&record.smiles, &record.name] {
            add(text.as_deref().unwrap_or_default());
        }
        for (name, text) in &record.attributes {
            add(name);
            add(text);
        }
        buffer.extend_from_slice(&record.space_group.unwrap_or(0).to_le_bytes());
        if let Some(structure) = record.structure.as_ref().filter(|_| !own_ids) {
            let numbers = structure.lattice.iter().flatten().chain(&structure.positions).flatten();
            buffer.extend(numbers.flat_map(|x| x.to_le_bytes()));
            for species in &structure.species {
                match species {
                    Species::Element(symbol) => buffer.extend_from_slice(symbol.as_bytes()),
                    Species::Mixed(parts) => {
                        buffer.extend(
                            parts.iter().flat_map(|(symbol, share)| {
                                symbol.bytes().chain(share.to_le_bytes()).collect::<Vec<_>>()
                            }),
                        );
                    }
                }
            }
        }
        mixed(plain, content_hash(buffer))
    }

    /// A hash of the dataset of a record, which is mostly that of the record before.
    fn dataset(&mut self, id: &str) -> u64 {
        let (known, hash) = &self.dataset;
        if id.strip_prefix(known.as_str()).is_none_or(|rest| !rest.starts_with('/')) {
            let dataset = dataset_of(id);
            self.dataset = (dataset.to_owned(), content_hash(dataset.as_bytes()));
            return self.dataset.1;
        }
        *hash
    }

    fn source(&mut self, source: &Arc<str>) -> u64 {
        match &self.source {
            Some((known, hash)) if Arc::ptr_eq(known, source) => *hash,
            _ => {
                let hash = content_hash(source.as_bytes());
                self.source = Some((Arc::clone(source), hash));
                hash
            }
        }
    }
}

/// The deviation of a value on the property's axis; `typical` is that of its method.
pub(super) fn axis_sd(property: &Property, value: f64, stated: Option<f64>, typical: Option<Deviation>) -> f64 {
    let stated = stated.filter(|sd| sd.is_finite() && *sd > 0.0);
    property.axis_sd(value, stated.or_else(|| typical.map(|typical| typical.of(value))), None)
}

fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b.rotate_left(32) ^ 0xd1b5_4a32_d192_ed03);
    (product as u64) ^ ((product >> 64) as u64)
}

/// What is noted of a job.
#[derive(Debug)]
pub struct Noted {
    pub(super) kinds: Vec<Kind>,
    pub(super) values: Vec<Vec<Value>>,
    pub(super) sampled: Vec<Sampled>,
    held: usize,
    most: usize,
    /// Values that found no room to be compared with others of the job.
    pub(super) left_out: u64,
}

impl Default for Noted {
    fn default() -> Noted {
        Noted::new(MOST_BYTES)
    }
}

impl Noted {
    /// Remembers as many values as fit into so many bytes.
    pub fn new(most_bytes: usize) -> Noted {
        Noted {
            kinds: Vec::new(),
            values: Vec::new(),
            sampled: Vec::new(),
            held: 0,
            most: most_bytes / size_of::<Value>(),
            left_out: 0,
        }
    }

    /// Takes the notes of the next chunk; chunks come in the order of the files, so that what is left out follows from
    /// the files alone.
    pub fn take(&mut self, notes: Notes) {
        let Notes { kinds, mut values, sampled, left_out, .. } = notes;
        self.left_out += left_out;
        let numbers: Vec<Option<u16>> = kinds.into_iter().map(|kind| self.number_of(kind)).collect();
        let number = |kind: u16| numbers.get(usize::from(kind)).copied().flatten();
        if numbers.iter().enumerate().any(|(at, number)| number.map(usize::from) != Some(at)) {
            values.retain_mut(|value| {
                let found = number(value.kind);
                value.kind = found.unwrap_or_default();
                found.is_some()
            });
        }
        let room = self.most - self.held;
        if values.len() > room {
            self.left_out += (values.len() - room) as u64;
            values.truncate(room);
        }
        self.held += values.len();
        self.values.push(values);
        for mut value in sampled {
            let Some(number) = number(value.kind) else { continue };
            let kind = &mut self.kinds[usize::from(number)];
            if kind.sampled < SAMPLED_OF_KIND && self.sampled.len() < MOST_SAMPLED {
                kind.sampled += 1;
                value.kind = number;
                self.sampled.push(value);
            }
        }
    }

    fn number_of(&mut self, kind: Kind) -> Option<u16> {
        if let Some(known) = self.kinds.iter().position(|known| known.same(&kind)) {
            return u16::try_from(known).ok();
        }
        if self.kinds.len() >= MOST_KINDS {
            return None;
        }
        self.kinds.push(Kind { sampled: 0, ..kind });
        u16::try_from(self.kinds.len() - 1).ok()
    }

    /// Rows that are in no record have no say.
    pub(crate) fn without(&mut self, rows: &HashSet<Origin>) {
        if rows.is_empty() {
            return;
        }
        self.values.iter_mut().for_each(|values| values.retain(|value| !rows.contains(&value.origin())));
        self.sampled.retain(|value| !rows.contains(&value.origin));
    }
}
