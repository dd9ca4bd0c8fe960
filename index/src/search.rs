//! The road of a suggest: mask → kernel → exact order.
//!
//! The device ranks in f32 and returns a few more rows than are wanted; these are scored again in f64, which alone
//! decides. Where the device's last row is not clearly worse than the last wanted one, more rows are asked for, and at
//! last all rows are scored in f64. So an answer never depends on the device.

use datasets::record::Evidence;
use gpu::reference::{self, Window};
use gpu::{Device, GpuError, Mask, Missing, SpecQuery};
use rayon::prelude::*;

use crate::belief::Beliefs;
use crate::snapshot::Snapshot;
use crate::spec::{Resolved, Subject, Target, Unknown};
use crate::stated::Bounds;

/// How much an f32 score may differ from the f64 score, relatively. The kernels themselves are within
/// [`reference::F32_RELATIVE_ERROR`]; rounding means, deviations ([`crate::belief::floor_sd`] keeps them above 10⁻⁴ of
/// the mean) and window ends to f32 adds up to 1.3 % deep in a tail. Distances ([`crate::like`]) have no deviation, but their
/// window ends at 0, where nothing cancels.
const ERROR: f64 = 0.03;

/// Candidates in order, and how they were found.
#[derive(Debug)]
pub struct Ranking {
    /// (score, row), best first: the page asked for.
    pub page: Vec<(f64, u32)>,
    /// The device that searched.
    pub device: String,
    /// Why it was not the chosen one, where it was not.
    pub note: Option<String>,
    /// Rows that were scored.
    pub matched: usize,
}

/// What passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passing {
    /// Materials that meet all targets.
    pub all: usize,
    /// Materials that meet each target alone, in the order of the spec.
    pub each: Vec<usize>,
}

/// Ranks the candidates of a spec.
///
/// # Errors
/// The device refuses the query; it cannot for a resolved spec, short of a defect.
pub fn rank(snapshot: &Snapshot, device: &Device, spec: &Resolved) -> Result<Ranking, GpuError> {
    let mut mask = spec.mask.clone();
    let scorer = Scorer::new(snapshot, spec);
    if spec.unknown == Unknown::Require {
        for (beliefs, _) in &scorer.wishes {
            mask.and(beliefs.known(spec.evidence, snapshot.materials.len()))?;
        }
    }
    let matched = mask.count();
    let mut ranking = Ranking { page: Vec::new(), device: device.name().to_owned(), note: None, matched };
    if matched == 0 {
        return Ok(ranking);
    }
    let query = SpecQuery { targets: &scorer.device_targets(device)?, mask: Some(&mask), k: spec.offset + spec.limit };
    let answer = device.exact_by(&query, ERROR, |row| scorer.score(row))?;
    ranking.device = answer.device;
    ranking.note = answer.note;
    ranking.page = answer.hits.into_iter().skip(spec.offset).collect();
    Ok(ranking)
}

/// Counts the materials, after the filter, whose beliefs lie in the windows on the asked evidence.
pub fn passing(snapshot: &Snapshot, spec: &Resolved) -> Passing {
    let meeting = |target: &Target| {
        let mut passes = Mask::none(snapshot.materials.len());
        let beliefs = &target.beliefs;
        let judge = Judge::new(snapshot, target);
        for i in 0..beliefs.len() {
            let row = beliefs.row[i] as usize;
            let meets = || judge.meets(beliefs.mean[i], beliefs.pick[i]) == Some(true);
            if beliefs.evidence[i] >= spec.evidence as u8 && spec.mask.get(row) && meets() {
                passes.set(row, true);
            }
        }
        passes
    };
    let each: Vec<Mask> = spec.targets.par_iter().map(meeting).collect();
    let mut all = spec.mask.clone();
    for passes in &each {
        // both have one bit a material
        let _ = all.and(passes);
    }
    Passing { all: all.count(), each: each.iter().map(Mask::count).collect() }
}

/// Says whether beliefs meet a target.
pub struct Judge<'a> {
    target: &'a Target,
    /// Bounds among the values; none where the target is an index of merit.
    bounds: Option<Bounds>,
}

impl<'a> Judge<'a> {
    /// For one target.
    pub fn new(snapshot: &Snapshot, target: &'a Target) -> Judge<'a> {
        let bounds = match &target.subject {
            Subject::Property(property) if target.required => Some(Bounds::of(&snapshot.measurements, property)),
            _ => None,
        };
        Judge { target, bounds: bounds.filter(|bounds| !bounds.is_empty()) }
    }

    /// Whether a mean on the axis, which rests on a value, meets the target; `None` where a bound leaves it open. A goal
    /// has no window to miss.
    pub fn meets(&self, mean: f64, pick: u32) -> Option<bool> {
        let window = [self.target.window.lo, self.target.window.hi];
        match &self.bounds {
            _ if !self.target.required => Some(true),
            None => Some((window[0]..=window[1]).contains(&mean)),
            Some(bounds) => bounds.meets(mean, pick, window),
        }
    }
}

/// The f64 score of single rows.
pub struct Scorer<'a> {
    materials: usize,
    spec: &'a Resolved,
    /// What is wanted, in an order that does not depend on how the spec was written, so that sums are the same to the last bit.
    wishes: Vec<(&'a Beliefs, &'a Window)>,
}

impl<'a> Scorer<'a> {
    /// A scorer for a spec.
    pub fn new(snapshot: &Snapshot, spec: &'a Resolved) -> Scorer<'a> {
        let mut targets: Vec<&Target> = spec.targets.iter().collect();
        targets.sort_by(|a, b| {
            let numbers = |w: &Window| [w.lo, w.hi, w.inv_tolerance, w.weight];
            let mut by_numbers = numbers(&a.window).into_iter().zip(numbers(&b.window)).map(|(x, y)| x.total_cmp(&y));
            a.subject
                .label()
                .cmp(b.subject.label())
                .then_with(|| by_numbers.find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal))
        });
        let targets = targets.into_iter().map(|target| (&*target.beliefs, &target.window));
        let like = spec.like.iter().map(|like| (&*like.distances, &like.window));
        Scorer { materials: snapshot.materials.len(), spec, wishes: targets.chain(like).collect() }
    }

    /// The score of a row; `None` where no target counts for it.
    pub fn score(&self, row: u32) -> Option<f64> {
        let (mut sum, mut weights) = (0.0, 0.0);
        for (beliefs, window) in &self.wishes {
            let belief = beliefs.get(row, self.materials);
            let (mean, sd) = match (belief, self.spec.unknown) {
                (Some(b), Unknown::Ignore) if b.evidence < self.spec.evidence => continue,
                (Some(b), _) => (b.mean, b.sd),
                (None, Unknown::Ignore) => continue,
                (None, _) => {
                    let population = beliefs.population();
                    (population.median, population.spread)
                }
            };
            sum += window.weight * reference::shortfall_squared(mean, sd, window);
            weights += window.weight;
        }
        (weights > 0.0).then(|| sum / weights)
    }

    fn device_targets(&self, device: &Device) -> Result<Vec<gpu::Target>, GpuError> {
        self.wishes.iter().map(|(beliefs, window)| self.device_target(device, beliefs, window)).collect()
    }

    fn device_target(&self, device: &Device, beliefs: &Beliefs, window: &Window) -> Result<gpu::Target, GpuError> {
        let ignore = self.spec.unknown == Unknown::Ignore;
        let least = if ignore { self.spec.evidence } else { Evidence::None };
        let population = beliefs.population();
        Ok(gpu::Target {
            column: beliefs.column(device, self.materials, least)?,
            lo: window.lo as f32,
            hi: window.hi as f32,
            inv_tolerance: window.inv_tolerance as f32,
            weight: window.weight as f32,
            missing: if ignore {
                Missing::Ignore
            } else {
                Missing::Fill { mean: population.median as f32, sd: population.spread as f32 }
            },
        })
    }
}
