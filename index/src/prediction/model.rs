//! What is learned of one property, and what it says.

use datasets::property::Property;
use datasets::record::content_hash;
use ndarray::{Array2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use space::composition::Composition;
use space::descriptors::{DESCRIPTORS, PLACES, places};
use space::ensemble::{Ensemble, Said};
use space::forest::{Columns, Growth};
use space::predictor::{Asked, Predicted, Predictor, Samples};

use super::ends;
use super::frame::{Frame, Shown};
use super::ground::{Compositions, NONE, scope_of};
use crate::snapshot::Snapshot;

/// Counts up with every change of what is said of the same values.
pub(super) const FORMAT: u32 = 6;
/// Samples of one property, at most, and of one composition.
const SAMPLES: usize = 12_000;
const OF_ONE: usize = 4;
/// Samples from which on leaves are larger: so many trees of so many leaves would only take memory.
const MANY: usize = 8_000;
/// Materials whose numbers are written in one go.
const BLOCK: usize = 4_096;

/// A property, learned.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Model {
    /// Changes with whatever it was learned from.
    pub(super) fingerprint: u64,
    predictor: Predictor,
    /// Place among the encoders' tasks.
    task: Option<usize>,
    shown: Shown,
}

/// The samples of a property: materials (rows, ascending) with their values on the axis.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) rows: Vec<u32>,
    values: Vec<f32>,
    /// What is looked at beside the composition.
    shown: Shown,
}

impl Known {
    /// The known values of a property that are learned from: of one composition a few, of very many materials some, whichever
    /// the hashes of their ids choose, so that a new record changes little of the choice. What phases have from their material without a
    /// phase is its observation alone.
    pub(super) fn of(ground: &Ground<'_>, property: &Property) -> Known {
        let (snapshot, compositions) = (ground.snapshot, ground.compositions);
        let beliefs = snapshot.beliefs(&scope_of(snapshot, property), property, None);
        let hash = |row: u32| content_hash(snapshot.materials.id.value(row as usize).as_bytes());
        let mut known: Vec<(u32, u64, u32, f32)> = (0..beliefs.len())
            .into_par_iter()
            .filter(|i| !beliefs.inherited[*i])
            .map(|i| {
                let row = beliefs.row[i];
                (compositions.of_row[row as usize], hash(row), row, beliefs.mean[i] as f32)
            })
            .filter(|(composition, _, _, mean)| *composition != NONE && mean.is_finite())
            .collect();
        known.par_sort_unstable_by_key(|(composition, hash, row, _)| (*composition, *hash, *row));
        let mut chosen: Vec<(u64, u32, f32)> = known
            .chunk_by(|a, b| a.0 == b.0)
            .flat_map(|one| one.iter().take(OF_ONE).map(|(_, hash, row, mean)| (*hash, *row, *mean)))
            .collect();
        if chosen.len() > SAMPLES {
            chosen.select_nth_unstable_by_key(SAMPLES, |(hash, row, _)| (*hash, *row));
            chosen.truncate(SAMPLES);
        }
        chosen.sort_unstable_by_key(|(_, row, _)| *row);
        let (rows, values) = chosen.into_iter().map(|(_, row, mean)| (row, mean)).unzip();
        Known { rows, values, shown: ground.frame.shown(&property.key, &beliefs) }
    }

    /// A number that changes with whatever is learned from.
    pub(super) fn fingerprint(&self, ground: &Ground<'_>, property: &Property) -> u64 {
        let ids = &ground.snapshot.materials.id;
        let prints: Vec<[u64; 2]> = self
            .rows
            .par_iter()
            .zip(&self.values)
            .map(|(row, value)| [ground.frame.print(ids.value(*row as usize), *row), u64::from(value.to_bits())])
            .collect();
        let mut bytes = serde_json::to_vec(property).unwrap_or_default();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(ground.encoders.to_le_bytes());
        bytes.extend(self.shown.iter().map(|shown| u8::from(*shown)));
        prints.iter().flatten().for_each(|print| bytes.extend(print.to_le_bytes()));
        content_hash(&bytes)
    }
}

/// What all models of a snapshot share.
pub struct Ground<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) compositions: &'a Compositions,
    pub(super) frame: Frame,
    pub(super) ensemble: &'a Ensemble,
    /// Tells the encoders apart.
    pub(super) encoders: u64,
}

impl<'a> Ground<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, (ensemble, encoders): &'a (Ensemble, u64)) -> Ground<'a> {
        let compositions = snapshot.compositions();
        let frame = Frame::new(snapshot, compositions, ensemble.tasks());
        Ground { snapshot, compositions, frame, ensemble, encoders: *encoders }
    }

    pub(super) fn composition(&self, row: u32) -> &'a Composition {
        &self.compositions.all[self.compositions.of_row[row as usize] as usize]
    }

    /// What the encoders say of compositions.
    pub fn encode(&self, compositions: &[&Composition]) -> Said {
        self.ensemble.say(compositions)
    }
}

/// A material that something is to be said of.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What is in it.
    pub composition: &'a Composition,
    /// Its row, where the hub has it.
    pub row: Option<u32>,
    /// Its place in what the encoders say.
    pub said: usize,
}

impl Model {
    /// Learns; `None` where there is too little to learn from.
    pub(super) fn fit(ground: &Ground<'_>, property: &Property, known: &Known, fingerprint: u64) -> Option<Model> {
        if known.rows.len() < space::predictor::FEWEST {
            return None;
        }
        let task = ground.frame.task(&property.key);
        let of: Vec<&Composition> = known.rows.iter().map(|row| ground.composition(*row)).collect();
        let said = ground.encode(&of);
        let wanted = of.iter().zip(&known.rows).enumerate();
        let wanted: Vec<Wanted<'_>> =
            wanted.map(|(said, (composition, row))| Wanted { composition, row: Some(*row), said }).collect();
        let rows = rows_of(ground, &said, &wanted, &known.shown);
        let mut numbers = std::collections::HashMap::new();
        let groups = known.rows.iter().map(|row| {
            let next = numbers.len() as u32;
            *numbers.entry(ground.compositions.of_row[*row as usize]).or_insert(next)
        });
        let samples = Samples {
            groups: groups.collect(),
            columns: Columns::of_rows(&rows, ground.frame.width())?,
            heads: task.map(|task| said.unseen.column(task).to_vec()),
            values: known.values.clone(),
            places: places_of(&rows, ground.frame.width()),
        };
        drop(rows);
        let leaf = if known.rows.len() > MANY { 4 } else { 2 };
        let (predictor, _) = Predictor::fit(&samples, &Growth { leaf, ..Growth::default() })?;
        Some(Model { fingerprint, predictor, task, shown: known.shown.clone() })
    }

    /// As bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // numbers and lists of them: there is nothing in it that could not be written
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From [`Model::to_bytes`]; `None` where these are none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Model> {
        postcard::from_bytes(bytes).ok()
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.predictor.bytes()
    }

    /// What is said of materials, on the property's axis and within its bounds.
    pub(super) fn say(
        &self,
        ground: &Ground<'_>,
        property: &Property,
        said: &Said,
        wanted: &[Wanted<'_>],
    ) -> Vec<Predicted> {
        let block = |wanted: &[Wanted<'_>]| {
            let rows = rows_of(ground, said, wanted, &self.shown);
            let heads: Option<Vec<f32>> =
                self.task.map(|task| wanted.iter().map(|one| said.mean[[one.said, task]]).collect());
            let places = places_of(&rows, ground.frame.width());
            self.predictor.predict(&Asked { rows: &rows, heads: heads.as_deref(), places: places.view() })
        };
        let [least, most] = ends(property);
        let within = |said: Predicted| Predicted { mean: f64::from(said.mean).clamp(least, most) as f32, ..said };
        wanted.chunks(BLOCK).flat_map(block).map(within).collect()
    }
}

/// The numbers of materials, one row each.
fn rows_of(ground: &Ground<'_>, said: &Said, wanted: &[Wanted<'_>], shown: &Shown) -> Vec<f32> {
    let width = ground.frame.width();
    let mut rows = vec![0f32; wanted.len() * width];
    rows.par_chunks_exact_mut(width).zip(wanted).for_each(|(out, one)| {
        ground.frame.write(one.composition, said.unseen.index_axis(Axis(0), one.said), one.row, shown, out);
    });
    rows
}

/// The places of materials whose numbers begin with their descriptors.
pub(super) fn places_of(rows: &[f32], width: usize) -> Array2<f32> {
    let mut out = Array2::zeros((rows.len() / width, PLACES));
    for (mut place, row) in out.rows_mut().into_iter().zip(rows.chunks_exact(width)) {
        place.iter_mut().zip(places(&row[..DESCRIPTORS])).for_each(|(slot, x)| *slot = x);
    }
    out
}
