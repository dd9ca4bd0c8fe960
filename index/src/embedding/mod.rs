//! A material as a vector: which spaces are there, and where is each material in them?
//!
//! [`Space`] is the list of all; whoever adds one adds it there, and the compiler names the other places. Vectors depend on the
//! snapshot alone, never on who asks: what they need of other materials (standardisation) they take from the public ones, so that
//! nothing private shines through. They are made when a space is asked for first, and kept with the snapshot.

mod composition;
mod descriptors;
mod graphs;
mod learned;
mod structure;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use gpu::{GpuError, Mask, Metric, Vectors};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use space::composition::Composition;

use crate::hnsw::Guide;
use crate::materials::Materials;
use crate::prediction::{PredictionError, Predictions};
use crate::scope::Scope;
use crate::snapshot::Snapshot;

pub use composition::compose;
pub use descriptors::{CLIP, Standard};
pub use graphs::Graphs;
pub use learned::Latest;

/// In which space are materials near each other?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Cumulative shares of the atoms along the modified Pettifor scale, by L1: the places that each share of the atoms moves.
    #[default]
    Composition,
    /// Magpie's statistics over the elements, standardised over the public materials, by L2.
    Descriptors,
    /// What is believed of the properties, in spreads: the root of the mean expected squared difference.
    Properties,
    /// Vectors that a network has learned from all public properties at once, by L2: 1 is the distance of two random materials.
    Learned,
    /// Where the atoms of the crystal are, whatever the elements: average minimum distances of neighbours, by L2.
    Structure,
}

impl Space {
    /// All of them.
    pub const ALL: [Space; 5] =
        [Space::Composition, Space::Descriptors, Space::Properties, Space::Learned, Space::Structure];

    /// Its name in queries.
    pub fn name(self) -> &'static str {
        match self {
            Space::Composition => "composition",
            Space::Descriptors => "descriptors",
            Space::Properties => "properties",
            Space::Learned => "learned",
            Space::Structure => "structure",
        }
    }

    /// What its distance is, in few words.
    pub fn metric(self) -> &'static str {
        match self {
            Space::Composition => "element mover's distance, places on the modified Pettifor scale",
            Space::Descriptors => "Euclidean, standard deviations of Magpie's descriptors",
            Space::Properties => "root mean expected squared difference, spreads of the properties",
            Space::Learned => "Euclidean in the learned space, distances of two random materials",
            Space::Structure => "root mean square difference of neighbour distances, cube roots of the volume per atom",
        }
    }

    /// What a material must have to be in it.
    pub fn needs(self) -> &'static str {
        match self {
            Space::Composition => "a formula of elements up to lawrencium",
            Space::Descriptors | Space::Learned => "a formula",
            Space::Properties => "a known value",
            Space::Structure => {
                "a record that says where the atoms of its crystal are: contribute one (`ingest`), or ask by composition"
            }
        }
    }
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Space {
    type Err = String;

    fn from_str(text: &str) -> Result<Space, String> {
        Space::ALL.into_iter().find(|space| space.name() == text).ok_or_else(|| {
            let names = Space::ALL.map(Space::name).join(", ");
            format!("there is no space `{text}`: write one of {names}")
        })
    }
}

/// How a composition becomes a vector.
#[derive(Debug)]
pub enum Encoder {
    /// By the modified Pettifor scale.
    Pettifor,
    /// By standardised descriptors.
    Descriptors(Standard),
    /// By the network that has learned from all properties.
    Learned(Arc<Predictions>),
    /// There is none: a composition does not say it.
    None,
}

/// A space cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    /// Vectors that are no finite numbers, which would be a defect here.
    #[error(transparent)]
    Vectors(#[from] GpuError),
    /// There is no network.
    #[error(transparent)]
    Encoders(#[from] PredictionError),
}

impl Encoder {
    /// The number of components.
    pub fn dims(&self) -> usize {
        match self {
            Encoder::Pettifor => space::pettifor::COMPONENTS,
            Encoder::Descriptors(standard) => standard.dims(),
            Encoder::Learned(_) => space::encoder::VECTOR,
            Encoder::None => 0,
        }
    }

    /// The vector of a composition; `None` where it has no place in the space.
    ///
    /// # Errors
    /// The network that makes it is gone.
    pub fn encode(&self, composition: &Composition) -> Result<Option<Vec<f32>>, EmbeddingError> {
        let mut vector = vec![0.0; self.dims()];
        match self {
            Encoder::Pettifor if space::pettifor::cumulate(composition, &mut vector).is_none() => return Ok(None),
            Encoder::Pettifor => {}
            Encoder::None => return Ok(None),
            Encoder::Descriptors(standard) => standard.write(composition, &mut vector),
            Encoder::Learned(predictions) => {
                vector.iter_mut().zip(&predictions.vectors(&[composition])?).for_each(|(slot, x)| *slot = *x)
            }
        }
        Ok(Some(vector))
    }
}

/// Where the materials of a snapshot are in one space.
#[derive(Debug)]
pub struct Embedding {
    /// One vector a material that has one, or one a record.
    pub vectors: Arc<Vectors>,
    /// Row of the material of each vector, ascending: ties by vector are ties by id.
    pub rows: Vec<u32>,
    /// Row of the record that each vector is from, ascending. Of a material's the first in the scope counts. Empty where vectors are
    /// of materials.
    pub records: Vec<u32>,
    /// What near means.
    pub metric: Metric,
    /// What the metric is multiplied by, to be a distance of the space.
    pub unit: f64,
    /// Makes the vector of a formula that nobody has seen.
    pub encoder: Encoder,
    /// The materials that have a vector.
    placed: Mask,
    guide: RwLock<Option<Arc<Guide>>>,
}

impl Embedding {
    fn new(
        vectors: Arc<Vectors>,
        rows: Vec<u32>,
        (metric, unit): (Metric, f64),
        encoder: Encoder,
        materials: &Materials,
    ) -> Embedding {
        let mut placed = Mask::none(materials.len());
        rows.iter().for_each(|row| placed.set(*row as usize, true));
        Embedding { vectors, rows, records: Vec::new(), metric, unit, encoder, placed, guide: RwLock::default() }
    }

    /// The materials of a mask that have a vector.
    ///
    /// # Errors
    /// The mask is one of other materials.
    pub fn placed(&self, materials: &Mask) -> Result<Mask, GpuError> {
        let mut placed = self.placed.clone();
        placed.and(materials)?;
        Ok(placed)
    }

    /// What leads to neighbours without a look at all vectors, where there is a graph of them.
    pub fn guide(&self) -> Option<Arc<Guide>> {
        self.guide.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn guide_by(&self, guide: Arc<Guide>) {
        *self.guide.write().unwrap_or_else(PoisonError::into_inner) = Some(guide);
    }

    /// The vectors that belong to the materials of a mask; `sees` says which records are in the scope.
    pub fn mask(&self, materials: &Mask, sees: impl Fn(u32) -> bool + Sync) -> Mask {
        if self.records.is_empty() && self.rows.len() == materials.len() {
            return materials.clone();
        }
        let counts = |at: usize| self.records.is_empty() || self.place(self.rows[at], &sees) == Some(at);
        Mask::partition(self.rows.len(), |at| Some(materials.get(self.rows[at] as usize) && counts(at))).0
    }

    /// The record that states what a material is compared by, where vectors are of records.
    pub(crate) fn structure(&self, snapshot: &Snapshot, scope: &Scope, row: u32) -> Option<String> {
        let place = self.place(row, |record| snapshot.sees(scope, record as usize))?;
        Some(snapshot.records.id.value(*self.records.get(place)? as usize).to_owned())
    }

    /// Which vector is that of a material.
    pub fn place(&self, row: u32, sees: impl Fn(u32) -> bool) -> Option<usize> {
        let first = self.rows.partition_point(|other| *other < row);
        let own = (first..self.rows.len()).take_while(|at| self.rows[*at] == row);
        own.into_iter().find(|at| self.records.get(*at).is_none_or(|record| sees(*record)))
    }
}

/// The embeddings of a snapshot that somebody has asked for.
#[derive(Debug, Default)]
pub struct Embeddings {
    kept: [Mutex<Option<Arc<Embedding>>>; Space::ALL.len()],
}

impl Embeddings {
    fn slot(&self, space: Space) -> std::sync::MutexGuard<'_, Option<Arc<Embedding>>> {
        // a panic while one is made leaves the slot empty
        self.kept[space as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// Whether the vectors of a space are made; those of a space that needs none always are.
    pub fn has_embedding(&self, space: Space) -> bool {
        // who makes them holds the lock
        let is_made = || self.embeddings.kept[space as usize].try_lock().is_ok_and(|slot| slot.is_some());
        space == Space::Properties || is_made()
    }

    /// A number that changes with what the vectors of a space mean.
    ///
    /// # Errors
    /// There are no encoders.
    fn embedding_stamp(&self, space: Space) -> Result<u64, PredictionError> {
        match space {
            Space::Learned => self.predictions.get().ok_or(PredictionError::NoHub)?.print(),
            Space::Composition | Space::Descriptors | Space::Structure | Space::Properties => Ok(0),
        }
    }

    /// Takes graphs from there; what a hub shows does so already.
    pub fn walk_by(&self, graphs: Arc<Graphs>) {
        // a snapshot belongs to one hub
        let _ = self.graphs.set(graphs);
    }

    /// The vectors of a space, made at the first call and kept; who comes meanwhile waits for them, because they are large. `None`
    /// for spaces that are no set of vectors ([`Space::Properties`]).
    ///
    /// # Errors
    /// [`Space::Learned`] needs encoders; short of a defect there is no other, since vectors are finite numbers.
    pub fn embedding(&self, space: Space) -> Result<Option<Arc<Embedding>>, EmbeddingError> {
        let mut slot = self.embeddings.slot(space);
        if let Some(kept) = &*slot {
            return Ok(Some(Arc::clone(kept)));
        }
        let made = match space {
            Space::Composition => composition::embed(&self.materials)?,
            Space::Descriptors => descriptors::embed(self)?,
            Space::Learned => learned::embed(self)?,
            Space::Structure => structure::embed(self)?,
            Space::Properties => return Ok(None),
        };
        let made = Arc::new(made);
        *slot = Some(Arc::clone(&made));
        Ok(Some(made))
    }
}

/// The rows of the materials with a formula that `wanted` takes, by its bits of elements.
fn rows_with_formula(materials: &Materials, wanted: impl Fn(u128) -> bool) -> Vec<u32> {
    let rows = materials.elements.iter().zip(0u32..);
    rows.filter(|(bits, _)| **bits != 0 && wanted(**bits)).map(|(_, row)| row).collect()
}

/// What `write` says of the materials of some rows, all of them with a formula, `dims` numbers each.
fn written(
    materials: &Materials,
    rows: &[u32],
    dims: usize,
    write: impl Fn(&Composition, &mut [f32]) -> Option<()> + Sync,
) -> Vec<f32> {
    let mut values = vec![0f32; rows.len() * dims];
    values.par_chunks_exact_mut(dims).zip(rows).with_min_len(1024).for_each(|(out, row)| {
        let composition = materials.parsed(*row as usize).as_ref().and_then(compose);
        let done = composition.and_then(|composition| write(&composition, out));
        debug_assert!(done.is_some(), "a canonical formula is one");
    });
    values
}
