//! How much is each voice heard, and how much better are all of them than the few that have not seen a sample?

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// All voices together err by so much at least of what few of them do.
const LEAST_TOGETHER: f64 = 0.6;
/// Blends that err up to so much more than the best are as good as it.
const AS_GOOD: f64 = 1.015;

/// Shares of the voices: trees, samples that are alike, the encoder, and the trees that correct it, whose share is a part of its own.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Blend {
    pub(crate) plain: f32,
    pub(crate) alike: f32,
    pub(crate) head: f32,
    pub(crate) rest: f32,
}

/// What the voices say of one sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voices {
    pub(crate) plain: f32,
    pub(crate) alike: f32,
    pub(crate) head: f32,
    pub(crate) rest: f32,
}

impl Blend {
    const TREES: Blend = Blend { plain: 1.0, alike: 0.0, head: 0.0, rest: 0.0 };

    pub(crate) fn mix(self, said: Voices) -> f32 {
        let parts =
            [(self.plain, said.plain), (self.alike, said.alike), (self.head, said.head), (self.rest, said.rest)];
        // what is not heard may be no number
        parts.iter().filter(|(share, _)| *share > 0.0).map(|(share, said)| share * said).sum()
    }

    /// The deviation of the trees, which says something even where they are not heard.
    pub(crate) fn spread(self, plain: f32, rest: Option<f32>) -> f32 {
        let Some(rest) = rest else { return plain };
        let of_trees = self.plain + self.head;
        if of_trees > 0.0 { (self.plain * plain + self.head * rest) / of_trees } else { plain }
    }
}

/// What of the mean square error of a sample's check is only that few voices are heard: one encoder, and the trees that have not seen
/// the sample. Of a new material all are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Few {
    pub(crate) plain: f64,
    pub(crate) rest: f64,
    pub(crate) head: f64,
}

impl Few {
    pub(crate) fn of(self, blend: Blend) -> f64 {
        let share = |share: f32| f64::from(share * share);
        share(blend.plain) * self.plain + share(blend.rest) * self.rest + share(blend.head) * self.head
    }
}

/// The blend of the least mean error when all voices are heard, of the values and what was said of them. Whether there are samples that
/// are alike, and an encoder.
pub(crate) fn best_blend(cases: &[(f32, Voices)], [alike, encoder]: [bool; 2], few: Few) -> Blend {
    let tried = (0..=if alike { 10 } else { 0 }).flat_map(|alike| {
        // without an encoder all that is left is the trees'
        let plain = if encoder { 0..=10 - alike } else { 10 - alike..=10 - alike };
        plain.flat_map(move |plain| {
            let head = 10 - alike - plain;
            (0..=head).map(move |rest| [plain, alike, head, rest].map(|tenths| tenths as f32 / 10.0))
        })
    });
    let tried: Vec<Blend> = tried.map(|[plain, alike, head, rest]| Blend { plain, alike, head, rest }).collect();
    let wrong = |blend: &Blend| -> f64 {
        let off = |(value, said): &(f32, Voices)| f64::from(blend.mix(*said) - value);
        let (error, square) = cases.iter().map(off).fold((0.0, 0.0), |(e, s), off| (e + off.abs(), s + off * off));
        let square = (square / cases.len().max(1) as f64).max(f64::MIN_POSITIVE);
        error * (1.0 - few.of(*blend) / square).max(LEAST_TOGETHER.powi(2)).sqrt()
    };
    let tried: Vec<(f64, Blend)> = tried.into_par_iter().map(|blend| (wrong(&blend), blend)).collect();
    let least = tried.iter().map(|(wrong, _)| *wrong).fold(f64::INFINITY, f64::min);
    // many are as good: their middle is safer than the one that chance prefers
    let good: Vec<Blend> =
        tried.iter().filter(|(wrong, _)| *wrong <= AS_GOOD * least).map(|(_, blend)| *blend).collect();
    if good.is_empty() {
        return Blend::TREES;
    }
    let middle = |of: fn(&Blend) -> f32| good.iter().map(of).sum::<f32>() / good.len() as f32;
    Blend {
        plain: middle(|blend| blend.plain),
        alike: middle(|blend| blend.alike),
        head: middle(|blend| blend.head),
        rest: middle(|blend| blend.rest),
    }
}
