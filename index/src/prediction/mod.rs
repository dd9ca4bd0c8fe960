//! What may be in the empty cells?
//!
//! Encoders ([`space::ensemble`]) have learned all properties at once; they come with the program, or are trained on the hub's
//! own values ([`train`]). On top of them each property is learned from the public values of a snapshot ([`model`]), and said of every
//! material with a formula, with an interval ([`column`]). What is said depends on the snapshot and the encoders alone, never on the
//! way to them; so after a commit only what has changed is said anew. Columns are made in the background or by `matgenome predict`, and
//! kept on disk.

pub mod column;
mod frame;
pub mod ground;
mod model;
mod models;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::array::Array as _;
use datasets::property::{Axis, Property};
use datasets::record::{Evidence, REFERENCE_TEMPERATURE_K, content_hash};
use ndarray::Array2;
use rayon::prelude::*;
use space::composition::Composition;
use space::encoder::Training;
use space::ensemble::{Ensemble, Said};
use space::predictor::{COVERED_DEVIATIONS, Predicted};

use crate::belief::{At, Belief, Beliefs, floor_sd};
use crate::columns::Subject;
use crate::embedding::{Latest, compose};
use crate::properties::fingerprint;
use crate::scope::{Scope, Viewer};
use crate::snapshot::Snapshot;
use column::{Column, Near, Places};
use ground::{Compositions, NONE};
pub use model::{Ground, Wanted};
use model::{Known, Model};
use models::Models;

/// The encoders that come with the program: `make model`.
static SHIPPED: &[u8] = include_bytes!("../../model/encoders.bin");

/// Encoders that have each not seen one fold of the compositions.
const FOLDS: usize = 3;

/// Materials that are said of in one go.
const BLOCK: usize = 16_384;

/// The measurement that stands for a belief that no measurement stands for.
pub const NO_PICK: u32 = u32::MAX;

/// Where a data directory keeps encoders of its own.
pub fn encoders_of(data_dir: &Path) -> PathBuf {
    data_dir.join("encoders.bin")
}

/// Trains encoders on all public values of a snapshot, in `steps` steps each. `watch` is told how much is done, 0 to 1, and the loss
/// of late, and ends it by `false`: then, and where there is nothing to learn, there are none.
pub fn train(snapshot: &Snapshot, steps: usize, watch: &mut dyn FnMut(f64, f32) -> bool) -> Option<Ensemble> {
    let compositions = snapshot.compositions();
    let tasks = ground::tasks(snapshot, compositions);
    if tasks.is_empty() {
        return None;
    }
    let training = Training { steps, ..Training::default() };
    Ensemble::train(&compositions.all, &tasks, FOLDS, &training, watch)
}

/// Predictions cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictionError {
    /// The encoders are to blame.
    #[error("{0}: {1}; remove the file, or train anew (`matgenome train`)")]
    Encoders(String, space::ensemble::NoEnsemble),
    /// A snapshot that no hub shows.
    #[error("a snapshot that no hub shows has no encoders")]
    NoHub,
    /// The disk is.
    #[error("predictions cannot be kept: {0}")]
    Io(#[from] std::io::Error),
    /// Somebody wanted it to end.
    #[error("stopped; what was predicted is kept")]
    Stopped,
}

/// The predictions of a data directory: encoders, models, and columns on disk.
#[derive(Debug)]
pub struct Predictions {
    folder: PathBuf,
    own_encoders: PathBuf,
    encoders: OnceLock<(Ensemble, u64)>,
    /// The learned space of late.
    pub(crate) latest: Latest,
    models: Models,
}

/// A property, learned from the values of a snapshot.
#[derive(Debug)]
pub struct Learned {
    /// What it was learned from.
    known: Known,
    fingerprint: u64,
    places: Places,
}

impl Learned {
    /// The materials that were learned from and are nearest to a composition, nearest first.
    pub fn nearest(&self, composition: &Composition, n: usize) -> Vec<Near> {
        self.places.nearest(&self.known.rows, composition, None, n)
    }
}

/// A column of a snapshot, or that there is none yet.
pub(crate) type Columns = Mutex<HashMap<String, Option<Arc<Column>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // what is behind these locks is whole between any two statements
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Predictions {
    /// The predictions of a data directory. Nothing is read yet.
    pub fn of(data_dir: &Path) -> Predictions {
        let folder = column::folder(data_dir);
        Predictions {
            models: Models::of(&folder),
            folder,
            own_encoders: encoders_of(data_dir),
            encoders: OnceLock::new(),
            latest: Latest::default(),
        }
    }

    /// The encoders of the data directory, else those of the program; and a number that tells them apart.
    ///
    /// # Errors
    /// The data directory's are damaged, or of another version of the program.
    fn encoders(&self) -> Result<&(Ensemble, u64), PredictionError> {
        if let Some(known) = self.encoders.get() {
            return Ok(known);
        }
        let own = match std::fs::read(&self.own_encoders) {
            Ok(own) => Some(own),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(e.into()),
        };
        let (bytes, of) = match &own {
            Some(own) => (own.as_slice(), self.own_encoders.display().to_string()),
            None => (SHIPPED, "the encoders of the program".to_owned()),
        };
        let ensemble = Ensemble::from_bytes(bytes).map_err(|e| PredictionError::Encoders(of, e))?;
        Ok(self.encoders.get_or_init(|| (ensemble, content_hash(bytes))))
    }

    /// Where compositions are in the learned space: one row each, [`space::encoder::VECTOR`] components.
    ///
    /// # Errors
    /// There are no encoders.
    pub fn vectors(&self, compositions: &[&Composition]) -> Result<Array2<f32>, PredictionError> {
        // what is one composition to a snapshot has one vector, whichever of its formulas came first
        let rounded: Vec<Composition> = compositions.iter().map(|composition| composition.rounded()).collect();
        Ok(self.encoders()?.0.vectors(&rounded.iter().collect::<Vec<_>>()))
    }

    /// A number that tells the encoders apart.
    ///
    /// # Errors
    /// There are no encoders.
    pub(crate) fn print(&self) -> Result<u64, PredictionError> {
        Ok(self.encoders()?.1)
    }

    /// A number that tells apart what whole columns are made from.
    fn stamp(&self, snapshot: &Snapshot) -> Result<u64, PredictionError> {
        if let Some(known) = snapshot.stamp.get() {
            return Ok(*known);
        }
        let mut bytes = self.encoders()?.1.to_le_bytes().to_vec();
        bytes.extend(model::FORMAT.to_le_bytes());
        let dictionary = fingerprint(snapshot.datasets.iter().map(|d| &d.info)).map_err(std::io::Error::from)?;
        bytes.extend(dictionary.to_le_bytes());
        // visibility decides what is learned from
        for dataset in &snapshot.datasets {
            bytes.extend(dataset.info.name.as_bytes());
            bytes.push(u8::from(dataset.info.is_public()));
        }
        bytes.extend(serde_json::to_vec(&snapshot.files).map_err(std::io::Error::from)?);
        Ok(*snapshot.stamp.get_or_init(|| content_hash(&bytes)))
    }

    /// What all that is learned of a snapshot shares.
    ///
    /// # Errors
    /// There are no encoders.
    pub fn ground<'a>(&'a self, snapshot: &'a Snapshot) -> Result<Ground<'a>, PredictionError> {
        Ok(Ground::new(snapshot, self.encoders()?))
    }

    /// What is learned of a property; learned now where it is not known, and kept. `None` where there is too little to learn from.
    pub fn learn(&self, ground: &Ground<'_>, property: &Property) -> Arc<Option<Learned>> {
        let make = || {
            let known = Known::of(ground, property);
            let fingerprint = known.fingerprint(ground, property);
            let learned = self.model(ground, property, &known, fingerprint).map(|_| {
                let places = Places::of(&ground.snapshot.materials, &known.rows);
                Learned { known, fingerprint, places }
            });
            Ok::<_, std::convert::Infallible>(learned)
        };
        match ground.snapshot.learned.get(property.key.clone(), make) {
            Ok(learned) => learned,
            Err(never) => match never {},
        }
    }

    /// What is said of materials, on the property's axis, from what the encoders say of them.
    pub fn say(
        &self,
        learned: &Learned,
        ground: &Ground<'_>,
        property: &Property,
        said: &Said,
        wanted: &[Wanted<'_>],
    ) -> Vec<Predicted> {
        // it was learned before, and is again should it be lost
        let model = self.model(ground, property, &learned.known, learned.fingerprint);
        model.map_or_else(Vec::new, |model| model.say(ground, property, said, wanted))
    }

    fn model(&self, ground: &Ground<'_>, property: &Property, known: &Known, fingerprint: u64) -> Option<Arc<Model>> {
        self.models.get(&property.key, fingerprint, || Model::fit(ground, property, known, fingerprint))
    }

    /// The column of a property that is kept on disk, if it is of this snapshot.
    fn load(&self, snapshot: &Snapshot, property: &Property) -> Option<Arc<Column>> {
        if !self.keeps(snapshot, property) {
            return None;
        }
        let kept = column::load(&self.folder, &property.key)?;
        (kept.column.mean.len() == snapshot.materials.len()).then(|| Arc::new(kept.column))
    }

    /// Whether a column of this snapshot is kept on disk.
    fn keeps(&self, snapshot: &Snapshot, property: &Property) -> bool {
        let of = column::stamp_of(&self.folder, &property.key);
        of.is_some_and(|of| self.stamp(snapshot).is_ok_and(|stamp| stamp == of))
    }

    /// Makes the columns of some properties ready, or of all: takes those that are kept, and says the others. `watch` is told how
    /// many properties are ready, of how many, and ends it by `false`.
    ///
    /// # Errors
    /// There are no encoders, the disk refuses, or it was ended.
    pub fn make(
        &self,
        snapshot: &Snapshot,
        properties: &[&'static Property],
        watch: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<(), PredictionError> {
        let wanted: Vec<&'static Property> =
            properties.iter().copied().filter(|p| snapshot.predicted(p).is_none()).collect();
        let total = properties.len();
        let mut done = total - wanted.len();
        if !watch(done, total) {
            return Err(PredictionError::Stopped);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let stamp = self.stamp(snapshot)?;
        let ground = self.ground(snapshot)?;
        let materials = &snapshot.materials;
        let prints: Vec<u64> = (0..materials.len())
            .into_par_iter()
            .map(|row| ground.frame.print(materials.id.value(row), row as u32))
            .collect();
        column::save_rows(&self.folder, stamp, &prints)?;
        let mut making = Making { predictions: self, ground, prints, older: HashMap::new(), said: None };
        for property in wanted {
            let known = Known::of(&making.ground, property);
            let print = known.fingerprint(&making.ground, property);
            let column = making.column(property, &known, print, &mut || watch(done, total))?;
            if let Some(column) = column {
                column::save(&self.folder, &property.key, stamp, print, &column)?;
                snapshot.put_predicted(property, Arc::new(column));
            }
            done += 1;
            if !watch(done, total) {
                return Err(PredictionError::Stopped);
            }
        }
        Ok(())
    }

    /// After all columns of a snapshot are made: what only older ones needed is let go.
    pub fn tidy(&self, snapshot: &Snapshot) {
        if let Ok(stamp) = self.stamp(snapshot) {
            column::remove_other_rows(&self.folder, stamp);
        }
    }
}

/// What columns are made with.
struct Making<'a> {
    predictions: &'a Predictions,
    ground: Ground<'a>,
    /// What tells the materials apart.
    prints: Vec<u64>,
    /// Where they were in columns of older stamps.
    older: HashMap<u64, Option<HashMap<u64, u32>>>,
    /// What the encoders say of all compositions, once it is needed.
    said: Option<Said>,
}

impl Making<'_> {
    /// One column: what an older one says of materials that have not changed, and the rest anew.
    fn column(
        &mut self,
        property: &Property,
        known: &Known,
        print: u64,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Column>, PredictionError> {
        let of_row = &self.ground.compositions.of_row;
        let n = of_row.len();
        let (mut mean, mut half) = (vec![f32::NAN; n], vec![f32::NAN; n]);
        let folder = &self.predictions.folder;
        let kept = column::load(folder, &property.key).filter(|kept| kept.fingerprint == print);
        let places = kept.as_ref().and_then(|kept| {
            let load = || column::load_rows(folder, kept.stamp);
            self.older.entry(kept.stamp).or_insert_with(load).as_ref()
        });
        let mut missing: Vec<u32> = (0..n as u32).filter(|row| of_row[*row as usize] != NONE).collect();
        if let (Some(kept), Some(places)) = (&kept, places) {
            missing.retain(|&row| {
                let row = row as usize;
                let Some(&old) = places.get(&self.prints[row]) else { return true };
                let old = old as usize;
                let Some(value) = kept.column.mean.get(old).filter(|mean| mean.is_finite()) else { return true };
                (mean[row], half[row]) = (*value, kept.column.half[old]);
                false
            });
        }
        if !missing.is_empty() {
            let Some(model) = self.predictions.model(&self.ground, property, known, print) else {
                return Ok(None);
            };
            if self.said.is_none() && missing.len() > n / 8 {
                self.said = Some(self.ground.ensemble.say(&self.ground.compositions.all.iter().collect::<Vec<_>>()));
            }
            for rows in missing.chunks(BLOCK) {
                if !goes_on() {
                    return Err(PredictionError::Stopped);
                }
                for (row, said) in rows.iter().zip(self.say(&model, property, rows)) {
                    (mean[*row as usize], half[*row as usize]) = (said.mean, said.half);
                }
            }
        }
        Ok(Some(Column::new(mean, half, known.rows.clone())))
    }

    fn say(&self, model: &Model, property: &Property, rows: &[u32]) -> Vec<Predicted> {
        let ground = &self.ground;
        let wanted = |said: usize, row: &u32| Wanted { composition: ground.composition(*row), row: Some(*row), said };
        if let Some(said) = &self.said {
            let of_row = &ground.compositions.of_row;
            let wanted: Vec<Wanted<'_>> = rows.iter().map(|row| wanted(of_row[*row as usize] as usize, row)).collect();
            return model.say(ground, property, said, &wanted);
        }
        let wanted: Vec<Wanted<'_>> = rows.iter().enumerate().map(|(said, row)| wanted(said, row)).collect();
        let said = ground.encode(&wanted.iter().map(|one| one.composition).collect::<Vec<_>>());
        model.say(ground, property, &said, &wanted)
    }
}

/// The bounds of a property on its axis.
fn ends(property: &Property) -> [f64; 2] {
    match property.axis {
        // bounds of a logarithmic property may begin at 0
        Axis::Log => property.bounds.map(|bound| if bound > 0.0 { bound.log10() } else { f64::NEG_INFINITY }),
        Axis::Linear => property.bounds,
    }
}

/// The ends of an interval of `half` a width about a place on the axis, as values within the property's bounds.
pub fn interval(property: &Property, mean: f64, half: f64) -> [f64; 2] {
    let [least, most] = ends(property);
    [mean - half, mean + half].map(|place| property.axis.from_axis(place.clamp(least, most)))
}

/// A prediction as a belief.
pub fn belief(property: &Property, mean: f32, half: f32) -> Belief {
    let mean = f64::from(mean);
    Belief {
        mean,
        sd: floor_sd(mean, f64::from(half) / COVERED_DEVIATIONS),
        value: property.axis.from_axis(mean),
        evidence: Evidence::Predicted,
        pick: NO_PICK,
        count: 0,
        inherited: false,
    }
}

impl Snapshot {
    /// The compositions of the materials.
    pub fn compositions(&self) -> &Compositions {
        self.compositions.get_or_init(|| Compositions::of(self))
    }

    /// The properties that can be predicted for a viewer: those with enough values.
    pub fn predictable(&self, viewer: Viewer) -> Vec<&'static Property> {
        let visible = self.visible(viewer);
        self.properties(&visible).filter(|p| self.is_taught(p)).collect()
    }

    /// Whether there are values of enough formulas to learn from. What is private is not counted.
    fn is_taught(&self, property: &Property) -> bool {
        if self.measurements.of_property(&property.key).is_empty() {
            return false;
        }
        let known = self.beliefs(&ground::scope_of(self, property), property, None);
        let formulas = known.row.iter().map(|row| *row as usize).filter(|row| self.materials.formula.is_valid(*row));
        let mut different = HashSet::new();
        // no more than are needed
        formulas.map(|row| self.materials.formula.value(row)).any(|formula| {
            different.insert(formula);
            different.len() >= space::predictor::FEWEST
        })
    }

    /// What is said of a property of all materials; `None` where nothing is said, or not yet.
    pub fn predicted(&self, property: &Property) -> Option<Arc<Column>> {
        if let Some(known) = lock(&self.predicted).get(&property.key) {
            return known.clone();
        }
        // made without the lock: reading a column takes a while
        let found = self.predictions.get()?.load(self, property);
        lock(&self.predicted).entry(property.key.clone()).or_insert(found).clone()
    }

    /// Whether a property is predicted; nothing is read for it but the first line of a file.
    pub fn is_predicted(&self, property: &Property) -> bool {
        let known = lock(&self.predicted).get(&property.key).map(Option::is_some);
        known.unwrap_or_else(|| self.predictions.get().is_some_and(|kept| kept.keeps(self, property)))
    }

    fn put_predicted(&self, property: &Property, column: Arc<Column>) {
        lock(&self.predicted).insert(property.key.clone(), Some(column));
    }

    /// Takes encoders and predictions from there; what a hub shows does so already.
    pub fn predict_by(&self, predictions: Arc<Predictions>) {
        // a snapshot belongs to one hub
        let _ = self.predictions.set(predictions);
    }

    /// Why no empty cell of a property is predicted, where none is.
    pub fn unpredicted(&self, property: &Property, at: Option<At>) -> Option<String> {
        if !holds(at) {
            return Some("predictions are of 298.15 K, and it is asked at another temperature".to_owned());
        }
        if self.predicted(property).is_some() {
            return None;
        }
        Some(if self.is_taught(property) {
            "not predicted yet: a server does it in the background, else `matgenome predict`".to_owned()
        } else {
            format!("too little to learn from: values of {} compositions are needed", space::predictor::FEWEST)
        })
    }

    /// The beliefs about a property under a scope, with predictions in the empty cells where they are ready.
    pub fn believed(&self, scope: &Scope, property: &Property, at: Option<At>) -> Arc<Beliefs> {
        let known = self.beliefs(scope, property, at);
        let Some(column) = holds(at).then(|| self.predicted(property)).flatten() else { return known };
        let at_bits = at.map(|at| (at.temperature.to_bits(), at.tolerance.to_bits()));
        let key = (scope.clone(), property.key.clone(), at_bits);
        let make = || Ok::<_, std::convert::Infallible>(filled(&known, property, &column));
        let beliefs = match self.believed.get(key.clone(), make) {
            Ok(beliefs) => beliefs,
            Err(never) => match never {},
        };
        self.awaited.meet(|| Subject::Believed(key), &beliefs);
        beliefs
    }

    /// The known materials on which a prediction rests first of all: the nearest ones that were learned from.
    pub fn nearest_known(&self, property: &Property, row: u32, n: usize) -> Vec<Near> {
        let of = self.materials.parsed(row as usize).as_ref().and_then(compose);
        let (Some(column), Some(of)) = (self.predicted(property), of) else { return Vec::new() };
        column.nearest(&self.materials, &of, Some(row), n)
    }
}

/// Whether predictions, which are of the reference condition, are of what is asked.
pub fn holds(at: Option<At>) -> bool {
    at.is_none_or(|at| (at.temperature - REFERENCE_TEMPERATURE_K).abs() <= at.tolerance)
}

/// Known beliefs, and predicted ones in between.
fn filled(known: &Beliefs, property: &Property, column: &Column) -> Beliefs {
    let mut beliefs = Beliefs::default();
    let mut next = 0;
    for (row, (mean, half)) in (0u32..).zip(column.mean.iter().zip(&column.half)) {
        if known.row.get(next) == Some(&row) {
            beliefs.push(row, known.entry(next));
            next += 1;
        } else if mean.is_finite() {
            beliefs.push(row, belief(property, *mean, *half));
        }
    }
    beliefs.with_population(known.population())
}
