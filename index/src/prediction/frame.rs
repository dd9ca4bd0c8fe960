//! What is known of a material, as the numbers that trees look at.
//!
//! Its descriptors, what the encoder that has not seen it says of each task, and the public values of the broad properties (those that
//! very many materials have a value of), as they are and as how far the encoder is off. What is not known is NaN.

use std::sync::Arc;

use datasets::record::content_hash;
use ndarray::ArrayView1;
use space::composition::Composition;
use space::descriptors::{DESCRIPTORS, describe};
use space::encoder::Learned;

use super::ground::{Compositions, NONE};
use crate::belief::Beliefs;
use crate::scope::Viewer;
use crate::snapshot::Snapshot;

/// Compositions with a value that make a property a broad one.
const BROAD: u32 = 5_000;

/// A broad property is looked at for another one where it is known of so large a share of the materials that lack the other one, over
/// its share among those that have it. What is always measured together, such as two moduli, would teach what is not there where it
/// is needed.
const WHERE_NEEDED: f64 = 0.5;

/// Which of the broad properties are looked at for one property.
pub(super) type Shown = Vec<bool>;

/// How the materials of a snapshot become numbers.
pub(super) struct Frame {
    materials: usize,
    /// Public materials that have a composition.
    composed: usize,
    tasks: Vec<String>,
    /// Places of the broad tasks, with what is known of them.
    broad: Vec<(usize, Arc<Beliefs>)>,
}

impl Frame {
    pub(super) fn new(snapshot: &Snapshot, compositions: &Compositions, learned: &[Learned]) -> Frame {
        let scope = snapshot.visible(Viewer::Public);
        let broad = learned.iter().enumerate().filter(|(_, task)| task.labels >= BROAD).filter_map(|(at, task)| {
            let property = snapshot.property(&task.name, &scope)?;
            Some((at, snapshot.beliefs(&scope, property, None)))
        });
        let broad = broad.collect();
        // what is private must not decide what is looked at
        let public = snapshot.members(&scope);
        let is_composed = |row: &usize| compositions.of_row[*row] != NONE && public.get(*row);
        let composed = (0..compositions.of_row.len()).filter(is_composed).count();
        Frame {
            materials: snapshot.materials.len(),
            composed,
            tasks: learned.iter().map(|t| t.name.clone()).collect(),
            broad,
        }
    }

    /// The place of a property among the tasks.
    pub(super) fn task(&self, key: &str) -> Option<usize> {
        self.tasks.iter().position(|task| task == key)
    }

    /// Numbers of one material.
    pub(super) fn width(&self) -> usize {
        DESCRIPTORS + self.tasks.len() + 2 * self.broad.len()
    }

    /// Which broad properties are looked at for the property `key`, of which this is known.
    pub(super) fn shown(&self, key: &str, known: &Beliefs) -> Shown {
        let (have, lack) = (known.len() as f64, self.composed.saturating_sub(known.len()) as f64);
        let shown = |(task, broad): &(usize, Arc<Beliefs>)| {
            let both = known.row.iter().filter(|row| broad.get(**row, self.materials).is_some()).count();
            let elsewhere = (broad.len() - both) as f64 / lack.max(1.0);
            self.tasks[*task] != key && elsewhere >= WHERE_NEEDED * both as f64 / have.max(1.0)
        };
        self.broad.iter().map(shown).collect()
    }

    fn given<'f>(&'f self, row: Option<u32>) -> impl Iterator<Item = (usize, f32)> + 'f {
        self.broad.iter().map(move |(task, beliefs)| {
            let belief = row.and_then(|row| beliefs.get(row, self.materials));
            (*task, belief.map_or(f32::NAN, |belief| belief.mean as f32))
        })
    }

    /// Writes the numbers of a material of a composition, in the hub or not, with the broad properties that are `shown`.
    pub(super) fn write(
        &self,
        composition: &Composition,
        unseen: ArrayView1<'_, f32>,
        row: Option<u32>,
        shown: &Shown,
        out: &mut [f32],
    ) {
        let (described, rest) = out.split_at_mut(DESCRIPTORS);
        describe(composition, described);
        let (heads, given) = rest.split_at_mut(self.tasks.len());
        heads.iter_mut().zip(unseen).for_each(|(slot, said)| *slot = *said);
        for ((two, (task, known)), shown) in given.chunks_exact_mut(2).zip(self.given(row)).zip(shown) {
            let known = if *shown { known } else { f32::NAN };
            two.copy_from_slice(&[known, known - unseen[task]]);
        }
    }

    /// A number that changes with what is known of a material.
    pub(super) fn print(&self, id: &str, row: u32) -> u64 {
        let mut bytes = id.as_bytes().to_vec();
        self.given(Some(row)).for_each(|(_, known)| bytes.extend(known.to_bits().to_le_bytes()));
        content_hash(&bytes)
    }
}
