//! What may be in the empty cells?

pub mod ground;

use std::path::{Path, PathBuf};

use space::encoder::Training;
use space::ensemble::Ensemble;

use crate::snapshot::Snapshot;
use ground::Compositions;

/// Where a data directory keeps encoders of its own.
pub fn encoders_of(data_dir: &Path) -> PathBuf {
    data_dir.join("encoders.bin")
}

/// Encoders that have each not seen one fold of the compositions.
const FOLDS: usize = 3;

/// Trains encoders on all public values of a snapshot, in `steps` steps each. `watch` is told how much is done, 0 to 1, and the loss
/// of late, and ends it by `false`: then, and where there is nothing to learn, there are none.
pub fn train(snapshot: &Snapshot, steps: usize, watch: &mut dyn FnMut(f64, f32) -> bool) -> Option<Ensemble> {
    let compositions = Compositions::of(snapshot);
    let tasks = ground::tasks(snapshot, &compositions);
    if tasks.is_empty() {
        return None;
    }
    let training = Training { steps, ..Training::default() };
    Ensemble::train(&compositions.all, &tasks, FOLDS, &training, watch)
}
