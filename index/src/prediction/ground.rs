//! What do predictions rest on? The public materials with a formula, their compositions and values.

use std::collections::HashMap;

use datasets::property::Property;
use rayon::prelude::*;
use space::composition::Composition;
use space::encoder::Task;

use crate::embedding::compose;
use crate::scope::{Scope, Viewer};
use crate::snapshot::Snapshot;

/// A task needs values of so many compositions.
const TASK: usize = 100;

/// No place.
pub(super) const NONE: u32 = u32::MAX;

/// The compositions of a snapshot's materials, each once.
#[derive(Debug)]
pub struct Compositions {
    /// The compositions, in the order of the first row of each.
    pub all: Vec<Composition>,
    /// For each material the place of its composition, `u32::MAX` where it has no formula.
    pub of_row: Vec<u32>,
}

impl Compositions {
    /// Of all materials.
    pub fn of(snapshot: &Snapshot) -> Compositions {
        let materials = &snapshot.materials;
        let parsed: Vec<Option<Composition>> = (0..materials.len())
            .into_par_iter()
            .with_min_len(1024)
            .map(|row| materials.parsed(row).as_ref().and_then(compose))
            .collect();
        let mut places: HashMap<u64, u32> = HashMap::new();
        let (mut all, mut of_row) = (Vec::new(), Vec::with_capacity(parsed.len()));
        for composition in parsed {
            of_row.push(composition.map_or(NONE, |composition| {
                *places.entry(composition.key()).or_insert_with(|| {
                    all.push(composition);
                    all.len() as u32 - 1
                })
            }));
        }
        Compositions { all, of_row }
    }
}

/// The scope whose values teach of a property: what everyone may see, and for a dataset's own property that dataset.
pub fn scope_of(snapshot: &Snapshot, property: &Property) -> Scope {
    let mut scope = snapshot.visible(Viewer::Public);
    if let Some(own) = property.dataset()
        && let Some(at) = snapshot.datasets.iter().position(|d| d.info.name == own)
    {
        scope.0[at] = true;
    }
    scope
}

/// What encoders learn: for each public property with enough values, by composition the median on the property's axis.
pub fn tasks(snapshot: &Snapshot, compositions: &Compositions) -> Vec<Task> {
    let scope = snapshot.visible(Viewer::Public);
    let properties: Vec<&Property> = snapshot.properties(&scope).collect();
    let task = |property: &&Property| {
        let beliefs = snapshot.beliefs(&scope, property, None);
        let places = beliefs.row.iter().map(|row| compositions.of_row[*row as usize]);
        let mut known: Vec<(u32, f64)> =
            places.zip(beliefs.mean.iter().copied()).filter(|(at, x)| *at != NONE && x.is_finite()).collect();
        known.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let groups = known.chunk_by(|a, b| a.0 == b.0);
        let labels: Vec<(u32, f32)> = groups.map(|group| (group[0].0, median(group) as f32)).collect();
        (labels.len() >= TASK).then(|| Task { name: property.key.clone(), labels })
    };
    properties.par_iter().filter_map(task).collect()
}

/// The median of values in ascending order.
fn median(sorted: &[(u32, f64)]) -> f64 {
    let n = sorted.len();
    (sorted[(n - 1) / 2].1 + sorted[n / 2].1) / 2.0
}
