//! Everything of one table version, ready to be searched. Immutable; readers share it.
//!
//! A snapshot is a cache of the tables: it can always be built anew ([`build`](build())), and is kept on disk
//! ([`crate::store`]) only so that the next start is fast. After a commit it is made from the one before
//! ([`extend`](extend())), and is then exactly what `build` would give.

mod build;
mod extend;
mod merge;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::StringArray;
use datasets::catalogue::DatasetInfo;
use datasets::property::Property;
use datasets::table::DataFile;

use crate::belief::{At, Beliefs, Ground};
use crate::columns::{Awaited, Subject};
use crate::embedding::{Embeddings, Graphs, Space};
use crate::materials::Materials;
use crate::measurements::{Measurements, Records};
use crate::prediction::ground::Compositions;
use crate::prediction::{Columns, Learned, Predictions};
use crate::properties::Own;
use crate::scope::{Scope, Viewer};
use crate::structures::Structures;

pub use build::build;
pub(crate) use extend::extend_for;
pub use extend::{NotExtended, extend};

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

/// A scope, a property's key, and the temperature that is asked for with its tolerance, as bits.
pub(crate) type BeliefKey = (Scope, String, Option<(u64, u64)>);

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
    /// The data files that the records are from, in path order.
    pub files: Vec<DataFile>,
    /// The datasets' own properties.
    pub(crate) own: Own,
    beliefs: Cache<BeliefKey, Beliefs>,
    members: Cache<Scope, gpu::Mask>,
    pub(crate) filters: Cache<(Scope, String), gpu::Mask>,
    pub(crate) merits: Cache<(Scope, String), Beliefs>,
    pub(crate) likes: Cache<(Scope, Space, String), Beliefs>,
    pub(crate) embeddings: Embeddings,
    pub(crate) graphs: OnceLock<Arc<Graphs>>,
    pub(crate) compositions: OnceLock<Compositions>,
    pub(crate) predictions: OnceLock<Arc<Predictions>>,
    pub(crate) predicted: Columns,
    pub(crate) stamp: OnceLock<u64>,
    pub(crate) learned: Cache<String, Option<Learned>>,
    pub(crate) believed: Cache<BeliefKey, Beliefs>,
    pub(crate) awaited: Awaited,
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

    fn all(&self) -> Vec<(K, Arc<V>)>
    where
        K: Clone,
    {
        self.lock().iter().map(|(key, made)| (key.clone(), Arc::clone(made))).collect()
    }

    fn put(&self, key: K, made: Arc<V>) {
        let mut kept = self.lock();
        if kept.len() < self.limit {
            kept.insert(key, made);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, Arc<V>>> {
        // a panic while the lock is held cannot leave the map half changed
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// One without a record, from which others are merged.
    pub(crate) fn empty() -> Snapshot {
        let none = || StringArray::new_null(0);
        let materials = Materials::new(none(), none(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let records = Records {
            id: none(),
            material: Vec::new(),
            dataset: Vec::new(),
            space_group: Vec::new(),
            by_formula: Vec::new(),
            named: Vec::new(),
            structures: Structures::default(),
        };
        let measurements = Measurements { starts: vec![0], ..Measurements::default() };
        Snapshot::new(0, materials, records, measurements, Vec::new(), Vec::new())
    }

    /// Puts the parts together.
    pub fn new(
        version: u64,
        materials: Materials,
        records: Records,
        measurements: Measurements,
        infos: Vec<DatasetInfo>,
        files: Vec<DataFile>,
    ) -> Snapshot {
        // `build`, `extend` and the store have done this before, so it cannot fail here
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
            files,
            own,
            beliefs: Cache::new(256),
            members: Cache::new(64),
            filters: Cache::new(64),
            merits: Cache::new(32),
            // each holds all materials
            likes: Cache::new(8),
            embeddings: Embeddings::default(),
            graphs: OnceLock::new(),
            compositions: OnceLock::new(),
            predictions: OnceLock::new(),
            predicted: Columns::default(),
            stamp: OnceLock::new(),
            learned: Cache::new(64),
            // each holds all materials
            believed: Cache::new(24),
            awaited: Awaited::default(),
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
        let beliefs = match self.beliefs.get(key.clone(), make) {
            Ok(beliefs) => beliefs,
            Err(never) => match never {},
        };
        self.awaited.meet(|| Subject::Known(key), &beliefs);
        beliefs
    }

    /// All beliefs that are made of late.
    pub(crate) fn kept_beliefs(&self) -> Vec<(Subject, Arc<Beliefs>)> {
        let known = self.beliefs.all().into_iter().map(|(key, beliefs)| (Subject::Known(key), beliefs));
        let believed = self.believed.all().into_iter().map(|(key, beliefs)| (Subject::Believed(key), beliefs));
        let merits =
            self.merits.all().into_iter().map(|((scope, text), beliefs)| (Subject::Merit(scope, text), beliefs));
        known.chain(believed).chain(merits).collect()
    }

    /// Whether the beliefs about a property under a scope are made already.
    pub fn keeps_beliefs(&self, scope: &Scope, property: &Property) -> bool {
        self.beliefs.lock().contains_key(&(scope.clone(), property.key.clone(), None))
    }

    /// Whether a record's dataset is in the scope.
    pub fn sees(&self, scope: &Scope, record: usize) -> bool {
        scope.0[usize::from(self.records.dataset[record])]
    }
}
