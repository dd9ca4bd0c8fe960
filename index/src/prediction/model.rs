//! What is learned of one property, and what it says.

use datasets::property::Property;
use datasets::record::content_hash;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use space::composition::Composition;
use space::descriptors::{DESCRIPTORS, PLACES, places};
use space::ensemble::{Ensemble, Said};
use space::forest::{Columns, Growth};
use space::predictor::{Asked, Checked, Predicted, Predictor, Samples};

use super::frame::{Frame, Shown};
use super::ground::{Compositions, NONE, scope_of};
use crate::snapshot::Snapshot;

/// Counts up with every change of what is said of the same values.
const FORMAT: u32 = 1;
/// Samples of one property, at most, and of one composition.
const SAMPLES: usize = 12_000;
const OF_ONE: usize = 4;
/// Samples from which on leaves are larger: so many trees of so many leaves would only take memory.
const MANY: usize = 8_000;
/// Materials whose numbers are written in one go.
const BLOCK: usize = 4_096;

/// A property, learned from a snapshot.
#[derive(Debug)]
pub struct Model {
    /// Changes with whatever it was learned from.
    pub fingerprint: u64,
    /// How it does on its own samples.
    pub checked: Checked,
    /// What the samples' values are, on the axis.
    pub values: Vec<f32>,
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
    /// the hashes of their ids choose, so that a new record changes little of the choice.
    pub(super) fn of(snapshot: &Snapshot, ground: &Ground<'_>, property: &Property) -> Known {
        let compositions = ground.compositions;
        let beliefs = snapshot.beliefs(&scope_of(snapshot, property), property, None);
        let hash = |row: u32| content_hash(snapshot.materials.id.value(row as usize).as_bytes());
        let mut known: Vec<(u32, u64, u32, f32)> = (0..beliefs.len())
            .into_par_iter()
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
    pub(super) fn fingerprint(&self, snapshot: &Snapshot, frame: &Frame, property: &Property, ensemble: u64) -> u64 {
        let prints: Vec<[u64; 2]> = self
            .rows
            .par_iter()
            .zip(&self.values)
            .map(|(row, value)| {
                [frame.print(snapshot.materials.id.value(*row as usize), *row), u64::from(value.to_bits())]
            })
            .collect();
        let mut bytes = serde_json::to_vec(property).unwrap_or_default();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(ensemble.to_le_bytes());
        bytes.extend(self.shown.iter().map(|shown| u8::from(*shown)));
        prints.iter().flatten().for_each(|print| bytes.extend(print.to_le_bytes()));
        content_hash(&bytes)
    }
}

/// What all models of a snapshot share.
pub(super) struct Ground<'a> {
    pub(super) compositions: &'a Compositions,
    pub(super) frame: Frame,
    pub(super) ensemble: &'a Ensemble,
}

impl<'a> Ground<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, compositions: &'a Compositions, ensemble: &'a Ensemble) -> Ground<'a> {
        Ground { compositions, frame: Frame::new(snapshot, compositions, ensemble.tasks()), ensemble }
    }

    /// What the encoders say of the compositions of some materials, one row a material.
    fn say(&self, rows: &[u32]) -> Said {
        let of: Vec<&Composition> = rows.iter().map(|row| self.composition(*row)).collect();
        self.ensemble.say(&of)
    }

    fn composition(&self, row: u32) -> &Composition {
        &self.compositions.all[self.compositions.of_row[row as usize] as usize]
    }
}

/// Materials that something is to be said of.
pub(super) struct Wanted<'a> {
    pub(super) compositions: &'a [&'a Composition],
    /// Their rows, where the hub has them.
    pub(super) rows: &'a [Option<u32>],
    /// What the encoders say of them.
    pub(super) unseen: ArrayView2<'a, f32>,
    pub(super) mean: ArrayView2<'a, f32>,
}

impl Model {
    /// Learns; `None` where there is too little to learn from.
    pub(super) fn fit(ground: &Ground<'_>, property: &Property, known: &Known, fingerprint: u64) -> Option<Model> {
        if known.rows.len() < space::predictor::FEWEST {
            return None;
        }
        let task = ground.frame.task(&property.key);
        let said = ground.say(&known.rows);
        let width = ground.frame.width();
        let mut rows = vec![0f32; known.rows.len() * width];
        rows.par_chunks_exact_mut(width).enumerate().for_each(|(at, out)| {
            let row = known.rows[at];
            ground.frame.write(
                ground.composition(row),
                said.unseen.index_axis(Axis(0), at),
                Some(row),
                &known.shown,
                out,
            );
        });
        let mut numbers = std::collections::HashMap::new();
        let groups = known.rows.iter().map(|row| {
            let next = numbers.len() as u32;
            *numbers.entry(ground.compositions.of_row[*row as usize]).or_insert(next)
        });
        let samples = Samples {
            groups: groups.collect(),
            columns: Columns::of_rows(&rows, width)?,
            heads: task.map(|task| said.unseen.column(task).to_vec()),
            values: known.values.clone(),
            places: places_of(&rows, width),
        };
        drop(rows);
        let leaf = if known.rows.len() > MANY { 4 } else { 2 };
        let (predictor, checked) = Predictor::fit(&samples, &Growth { leaf, ..Growth::default() })?;
        Some(Model { fingerprint, checked, values: samples.values, predictor, task, shown: known.shown.clone() })
    }

    /// What is said of materials, on the property's axis.
    pub(super) fn say(&self, ground: &Ground<'_>, wanted: &Wanted<'_>) -> Vec<Predicted> {
        let width = ground.frame.width();
        let mut said = Vec::with_capacity(wanted.rows.len());
        for from in (0..wanted.rows.len()).step_by(BLOCK) {
            let to = (from + BLOCK).min(wanted.rows.len());
            let mut rows = vec![0f32; (to - from) * width];
            rows.par_chunks_exact_mut(width).enumerate().for_each(|(at, out)| {
                let at = from + at;
                let unseen = wanted.unseen.index_axis(Axis(0), at);
                ground.frame.write(wanted.compositions[at], unseen, wanted.rows[at], &self.shown, out);
            });
            let heads: Option<Vec<f32>> = self.task.map(|task| wanted.mean.slice(ndarray::s![from..to, task]).to_vec());
            let places = places_of(&rows, width);
            said.extend(self.predictor.predict(&Asked { rows: &rows, heads: heads.as_deref(), places: places.view() }));
        }
        said
    }
}

/// The places of materials whose numbers begin with their descriptors.
pub(super) fn places_of(rows: &[f32], width: usize) -> Array2<f32> {
    let mut out = Array2::zeros((rows.len() / width, PLACES));
    for (mut place, row) in out.rows_mut().into_iter().zip(rows.chunks_exact(width)) {
        place.iter_mut().zip(places(&row[..DESCRIPTORS])).for_each(|(slot, x)| *slot = x);
    }
    out
}
