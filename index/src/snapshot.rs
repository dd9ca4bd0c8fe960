//! Everything of one table version, ready to be searched. Immutable; readers share it.
//!
//! A snapshot is a cache of the tables: it can always be built anew ([`build`]), and is kept on disk ([`crate::store`])
//! only so that the next start is fast.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array as _, RecordBatch, StringArray, StringBuilder};
use datasets::catalogue::DatasetInfo;
use datasets::columns::RecordColumns;
use datasets::formula::Formula;
use datasets::property::Property;
use datasets::record::{Evidence, dataset_of, material_id};
use datasets::table::{Table, TableError};

use crate::belief::{At, Beliefs, Ground};
use crate::materials::{Label, Materials};
use crate::measurements::{Measurements, Records};
use crate::properties::Own;
use crate::scope::{Scope, Viewer};

/// A dataset of the snapshot, with its counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Its terms.
    pub info: DatasetInfo,
    /// Number of records.
    pub records: u64,
    /// Number of distinct materials.
    pub materials: u64,
    /// Number of values.
    pub values: u64,
}

type BeliefKey = (Scope, String, Option<(u64, u64)>);

/// Everything of one table version.
#[derive(Debug)]
pub struct Snapshot {
    /// The table version.
    pub version: u64,
    /// The materials.
    pub materials: Materials,
    /// The records.
    pub records: Records,
    /// Their values.
    pub measurements: Measurements,
    /// The datasets, by name.
    pub datasets: Vec<Dataset>,
    /// The datasets' own properties.
    pub(crate) own: Own,
    beliefs: Cache<BeliefKey, Beliefs>,
    members: Cache<Scope, gpu::Mask>,
    pub(crate) filters: Cache<(Scope, String), gpu::Mask>,
    pub(crate) merits: Cache<(Scope, String), Beliefs>,
}

/// Computed once for each key, and dropped all together when there are too many.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    kept: Mutex<HashMap<K, Arc<V>>>,
    limit: usize,
}

impl<K: std::hash::Hash + Eq, V> Cache<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        Cache { kept: Mutex::new(HashMap::new()), limit }
    }

    pub(crate) fn get<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        if let Some(found) = self.lock().get(&key) {
            return Ok(Arc::clone(found));
        }
        // made without the lock: two callers may do the same work, neither waits for another's
        let made = Arc::new(make()?);
        let mut kept = self.lock();
        if kept.len() >= self.limit {
            kept.clear();
        }
        Ok(Arc::clone(kept.entry(key).or_insert(made)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, Arc<V>>> {
        // a panic while the lock is held cannot leave the map half changed
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// Puts the parts together.
    pub fn new(
        version: u64,
        materials: Materials,
        records: Records,
        measurements: Measurements,
        infos: Vec<DatasetInfo>,
    ) -> Snapshot {
        // `build` and the store have done this before, so it cannot fail here
        let own = Own::of(&infos).unwrap_or_else(|why| {
            tracing::error!("{why}");
            Own::default()
        });
        let mut datasets: Vec<Dataset> =
            infos.into_iter().map(|info| Dataset { info, records: 0, materials: 0, values: 0 }).collect();
        let mut last = vec![u32::MAX; datasets.len()];
        for (&material, &dataset) in records.material.iter().zip(&records.dataset) {
            let d = usize::from(dataset);
            datasets[d].records += 1;
            if last[d] != material {
                datasets[d].materials += 1;
                last[d] = material;
            }
        }
        for &record in &measurements.record {
            datasets[usize::from(records.dataset[record as usize])].values += 1;
        }
        Snapshot {
            version,
            materials,
            records,
            measurements,
            datasets,
            own,
            beliefs: Cache::new(256),
            members: Cache::new(64),
            filters: Cache::new(64),
            merits: Cache::new(32),
        }
    }

    /// The datasets that a viewer may see.
    pub fn visible(&self, viewer: Viewer) -> Scope {
        let open = |d: &Dataset| viewer == Viewer::Owner || d.info.is_public();
        Scope(self.datasets.iter().map(open).collect())
    }

    /// The materials with a record in the scope.
    pub fn members(&self, scope: &Scope) -> Arc<gpu::Mask> {
        let made = self.members.get(scope.clone(), || {
            let mut mask = gpu::Mask::none(self.materials.len());
            for (&material, &dataset) in self.records.material.iter().zip(&self.records.dataset) {
                if scope.0[usize::from(dataset)] {
                    mask.set(material as usize, true);
                }
            }
            Ok::<_, std::convert::Infallible>(mask)
        });
        match made {
            Ok(mask) => mask,
            Err(never) => match never {},
        }
    }

    /// Where beliefs under a scope are made from.
    pub fn ground<'a>(&'a self, scope: &'a Scope) -> Ground<'a> {
        Ground {
            measurements: &self.measurements,
            records: &self.records,
            materials: &self.materials,
            counts: &scope.0,
        }
    }

    /// The beliefs about a property under a scope, made at the first call and kept.
    pub fn beliefs(&self, scope: &Scope, property: &Property, at: Option<At>) -> Arc<Beliefs> {
        let key = (scope.clone(), property.key.clone(), at.map(|a| (a.temperature.to_bits(), a.tolerance.to_bits())));
        let make = || Ok::<_, std::convert::Infallible>(self.ground(scope).beliefs(&property.key, property.axis, at));
        match self.beliefs.get(key, make) {
            Ok(beliefs) => beliefs,
            Err(never) => match never {},
        }
    }

    /// Whether a record's dataset is in the scope.
    pub fn sees(&self, scope: &Scope, record: usize) -> bool {
        scope.0[usize::from(self.records.dataset[record])]
    }
}

/// Reads all records of the table and builds its snapshot. `progress` is told the rows read and the rows in all.
///
/// # Errors
/// A data file cannot be read, or is damaged.
pub async fn build(table: &Table, mut progress: impl FnMut(u64, u64)) -> Result<Snapshot, TableError> {
    let infos = table.datasets()?;
    let mut files = table.files()?;
    // files in an order that does not depend on when they were ingested: ids decide everything below
    files.sort_by(|a, b| (&a.dataset, &a.ids, &a.path).cmp(&(&b.dataset, &b.ids, &b.path)));
    let total: u64 = files.iter().map(|f| f.rows.unwrap_or_default() as u64).sum();
    let own = Own::of(infos.values()).map_err(|why| TableError::Dataset(why.to_string()))?;
    let mut builder = Builder { own, ..Builder::default() };
    let mut done = 0;
    for file in &files {
        for batch in table.batches(file).await? {
            done += batch.num_rows() as u64;
            builder.add(&batch)?;
            progress(done, total);
        }
    }
    Ok(builder.finish(table.version(), infos))
}

#[derive(Default)]
struct Builder {
    /// The datasets' own properties.
    own: Own,
    material_of: HashMap<String, u32>,
    materials: Vec<Draft>,
    record_ids: Vec<String>,
    record_material: Vec<u32>,
    /// (property, record) in front of its columns
    values: Vec<Value>,
    properties: BTreeMap<String, u32>,
    words: HashMap<Arc<str>, u32>,
    /// What records call their materials: record, name, class.
    labels: Vec<(u32, Option<String>, Option<String>)>,
}

#[derive(Default)]
struct Draft {
    formula: Option<String>,
    space_group: i16,
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
}

/// What is known about a property of a batch.
struct Known {
    index: u32,
    property: Option<&'static Property>,
}

impl Builder {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
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
        let mut local = |words: &[Arc<str>]| -> Vec<u32> {
            let mut index = |word: &Arc<str>| {
                let next = self.words.len() as u32;
                *self.words.entry(Arc::clone(word)).or_insert(next)
            };
            words.iter().map(&mut index).collect()
        };
        let (methods, sources) = (local(columns.method.words()), local(columns.source.words()));
        let evidence: Vec<u8> = columns
            .evidence
            .words()
            .iter()
            .map(|word| word.parse::<Evidence>().unwrap_or(Evidence::None) as u8)
            .collect();
        for row in 0..columns.len() {
            let text = |array: &StringArray| array.is_valid(row).then(|| array.value(row).to_owned());
            let formula = text(&columns.formula);
            let name = text(&columns.name);
            let smiles = text(&columns.smiles);
            let space_group = columns.space_group.is_valid(row).then(|| columns.space_group.value(row));
            let id = columns.id.value(row);
            let material = self.material(
                material_id(formula.as_deref(), space_group, smiles.as_deref(), name.as_deref(), id),
                Draft { formula, space_group: space_group.unwrap_or_default() },
            );
            let record = self.record_ids.len() as u32;
            let class = columns.class.get(row).map(ToString::to_string);
            // a molecule without a name is called by its SMILES
            let name = name.or(smiles);
            if name.is_some() || class.is_some() {
                self.labels.push((record, name, class));
            }
            self.record_ids.push(id.to_owned());
            self.record_material.push(material);
            for i in columns.offsets[row]..columns.offsets[row + 1] {
                let key = columns.property.keys()[i];
                let Some(known) = known.get(key as usize) else { continue };
                let value = columns.value.value(i);
                let method = columns.method.get(i).map(|m| &**m);
                let uncertainty = columns.uncertainty.is_valid(i).then(|| columns.uncertainty.value(i));
                let number = |index: &[u32], key: u32| index.get(key as usize).copied().unwrap_or(u32::MAX);
                let temperature = &columns.temperature_k;
                self.values.push(Value {
                    property: known.index,
                    record,
                    value,
                    sd: known.property.map_or(f64::NAN, |p| usable_sd(p, value, uncertainty, method)),
                    temperature: if temperature.is_valid(i) { temperature.value(i) as f32 } else { f32::NAN },
                    evidence: evidence.get(columns.evidence.keys()[i] as usize).copied().unwrap_or_default(),
                    method: number(&methods, columns.method.keys()[i]),
                    source: number(&sources, columns.source.keys()[i]),
                });
            }
        }
        Ok(())
    }

    fn material(&mut self, id: String, seen: Draft) -> u32 {
        let next = self.materials.len() as u32;
        let row = *self.material_of.entry(id).or_insert(next);
        if row == next {
            self.materials.push(Draft::default());
        }
        let draft = &mut self.materials[row as usize];
        draft.formula = draft.formula.take().or(seen.formula);
        draft.space_group = seen.space_group;
        row
    }

    fn finish(self, version: u64, infos: BTreeMap<String, DatasetInfo>) -> Snapshot {
        let mut infos = infos;
        for id in &self.record_ids {
            let dataset = dataset_of(id);
            if !infos.contains_key(dataset) {
                infos.insert(dataset.to_owned(), DatasetInfo::unnamed_terms(dataset));
            }
        }
        let dataset_index: HashMap<&str, u16> =
            infos.keys().enumerate().map(|(i, name)| (name.as_str(), i as u16)).collect();

        // materials in id order
        let mut ids: Vec<(String, u32)> = self.material_of.into_iter().collect();
        ids.sort_unstable();
        let mut new_row = vec![0u32; ids.len()];
        for (row, (_, old)) in ids.iter().enumerate() {
            new_row[*old as usize] = row as u32;
        }
        let (mut id, mut formula) = (StringBuilder::new(), StringBuilder::new());
        let (mut space_group, mut elements, mut parent) = (Vec::new(), Vec::new(), Vec::new());
        for (text, old) in &ids {
            let draft = &self.materials[*old as usize];
            id.append_value(text);
            formula.append_option(draft.formula.as_deref());
            space_group.push(draft.space_group);
            let parsed = draft.formula.as_deref().and_then(|f| Formula::parse(f).ok());
            elements.push(parsed.map_or(0, |f| f.element_bits()));
            let of = (draft.space_group != 0).then_some(draft.formula.as_ref()).flatten();
            let of = of.and_then(|f| ids.binary_search_by(|(id, _)| id.as_str().cmp(f)).ok());
            parent.push(of.map_or(u32::MAX, |p| p as u32));
        }
        let row_of = |record: u32| new_row[self.record_material[record as usize] as usize];
        let dataset_of_record =
            |record: u32| dataset_index.get(dataset_of(&self.record_ids[record as usize])).copied().unwrap_or(0);
        let labels = self.labels.into_iter().map(|(record, name, class)| Label {
            row: row_of(record),
            dataset: dataset_of_record(record),
            name,
            class,
        });
        let materials = Materials::new(id.finish(), formula.finish(), space_group, elements, parent, labels.collect());

        // records by (material, id)
        let mut order: Vec<u32> = (0..self.record_ids.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| {
            row_of(a).cmp(&row_of(b)).then_with(|| self.record_ids[a as usize].cmp(&self.record_ids[b as usize]))
        });
        let mut new_record = vec![0u32; order.len()];
        for (row, &old) in order.iter().enumerate() {
            new_record[old as usize] = row as u32;
        }
        let record_id = |&old: &u32| self.record_ids[old as usize].as_str();
        let records = Records {
            id: StringArray::from_iter_values(order.iter().map(record_id)),
            material: order.iter().map(|&old| row_of(old)).collect(),
            dataset: order.iter().map(|&old| dataset_of_record(old)).collect(),
        };

        // values by (property in key order, material, record); the values of one record keep their order
        let mut property_rank = vec![0u32; self.properties.len()];
        for (rank, old) in self.properties.values().enumerate() {
            property_rank[*old as usize] = rank as u32;
        }
        let mut values = self.values;
        for value in &mut values {
            value.property = property_rank[value.property as usize];
            value.record = new_record[value.record as usize];
        }
        values.sort_by_key(|v| (v.property, v.record));
        let mut starts = vec![0usize; self.properties.len() + 1];
        for value in &values {
            starts[value.property as usize + 1] += 1;
        }
        for p in 1..starts.len() {
            starts[p] += starts[p - 1];
        }
        let mut words: Vec<(Arc<str>, u32)> = self.words.into_iter().collect();
        words.sort_unstable_by_key(|(_, index)| *index);
        let measurements = Measurements {
            properties: self.properties.into_keys().collect(),
            starts,
            material: values.iter().map(|v| records.material[v.record as usize]).collect(),
            record: values.iter().map(|v| v.record).collect(),
            value: values.iter().map(|v| v.value).collect(),
            sd: values.iter().map(|v| v.sd).collect(),
            evidence: values.iter().map(|v| v.evidence).collect(),
            temperature: values.iter().map(|v| v.temperature).collect(),
            method: values.iter().map(|v| v.method).collect(),
            source: values.iter().map(|v| v.source).collect(),
            words: words.into_iter().map(|(word, _)| word).collect(),
        };
        Snapshot::new(version, materials, records, measurements, infos.into_values().collect())
    }
}

/// The deviation of a value on its property's axis, NaN where the value is physically impossible.
fn usable_sd(property: &Property, value: f64, uncertainty: Option<f64>, method: Option<&str>) -> f64 {
    if (property.bounds[0]..=property.bounds[1]).contains(&value) {
        property.axis_sd(value, uncertainty, method)
    } else {
        f64::NAN
    }
}
