//! What has all that is known of properties taught about a composition? See [`space::encoder`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gpu::{Metric, Vectors};
use space::encoder::VECTOR;

use super::{Embedding, EmbeddingError, Encoder};
use crate::prediction::PredictionError;
use crate::scope::Viewer;
use crate::snapshot::Snapshot;

/// The vectors that were made last: a new snapshot takes those of the compositions that it shares with the one before.
#[derive(Debug, Default)]
pub struct Latest(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    vectors: Arc<Vectors>,
    /// Which of them is that of a composition, by [`space::composition::Composition::key`].
    places: HashMap<u64, u32>,
}

pub(super) fn embed(snapshot: &Snapshot) -> Result<Embedding, EmbeddingError> {
    let predictions = snapshot.predictions.get().ok_or(PredictionError::NoHub)?;
    let compositions = snapshot.compositions();
    let of_row = &compositions.of_row;
    let rows: Vec<u32> = (0u32..).zip(of_row).filter(|(_, at)| **at != u32::MAX).map(|(row, _)| row).collect();
    let keys: Vec<u64> = compositions.all.iter().map(|composition| composition.key()).collect();
    // held to the end: who comes meanwhile would make the same
    let mut latest = predictions.latest.0.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = |at: usize| -> Option<&[f32]> {
        let kept = latest.as_ref()?;
        kept.places.get(&keys[at]).map(|place| kept.vectors.row(*place as usize))
    };
    let new: Vec<usize> = (0..keys.len()).filter(|at| kept(*at).is_none()).collect();
    let made = predictions.vectors(&new.iter().map(|at| &compositions.all[*at]).collect::<Vec<_>>())?;
    let made_of: HashMap<usize, usize> = new.into_iter().enumerate().map(|(place, at)| (at, place)).collect();
    let (mut values, mut places) = (Vec::with_capacity(rows.len() * VECTOR), HashMap::with_capacity(keys.len()));
    for (place, row) in (0u32..).zip(&rows) {
        let at = of_row[*row as usize] as usize;
        match made_of.get(&at) {
            Some(made_at) => values.extend(made.row(*made_at)),
            None => values.extend(kept(at).into_iter().flatten()),
        }
        places.insert(keys[at], place);
    }
    let vectors = Vectors::new(values, VECTOR)?;
    *latest = Some(Kept { vectors: Arc::clone(&vectors), places });
    let public = snapshot.members(&snapshot.visible(Viewer::Public));
    let is_public = |at: &usize| public.get(rows[*at] as usize);
    // where all is private, nobody else sees any distance
    let none = !(0..rows.len()).any(|at| is_public(&at));
    let unit = unit(&vectors, || (0..rows.len()).filter(|at| none || is_public(at)));
    Ok(Embedding {
        vectors,
        rows,
        records: Vec::new(),
        metric: Metric::L2,
        unit,
        encoder: Encoder::Learned(Arc::clone(predictions)),
    })
}

/// One over the root mean square distance of two of these vectors.
fn unit<I: Iterator<Item = usize>>(vectors: &Vectors, places: impl Fn() -> I) -> f64 {
    let n = places().count().max(1) as f64;
    let mut mean = [0f64; VECTOR];
    for at in places() {
        mean.iter_mut().zip(vectors.row(at)).for_each(|(sum, x)| *sum += f64::from(*x) / n);
    }
    let square = |at: usize| -> f64 {
        let terms = mean.iter().zip(vectors.row(at));
        terms.map(|(mean, x)| (f64::from(*x) - mean).powi(2)).sum()
    };
    let apart = (2.0 * places().map(square).sum::<f64>() / n).sqrt();
    // one composition alone is at no distance from others
    if apart > 0.0 { 1.0 / apart } else { 1.0 }
}
