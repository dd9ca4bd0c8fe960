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

use crate::belief::Beliefs;
use crate::scope::Viewer;
use crate::snapshot::Snapshot;

/// Compositions with a value that make a property a broad one.
const BROAD: u32 = 5_000;

/// How the materials of a snapshot become numbers.
pub(super) struct Frame {
    materials: usize,
    tasks: Vec<String>,
    /// Places of the broad tasks, with what is known of them.
    broad: Vec<(usize, Arc<Beliefs>)>,
}

impl Frame {
    pub(super) fn new(snapshot: &Snapshot, learned: &[Learned]) -> Frame {
        let scope = snapshot.visible(Viewer::Public);
        let broad = learned.iter().enumerate().filter(|(_, task)| task.labels >= BROAD).filter_map(|(at, task)| {
            let property = snapshot.property(&task.name, &scope)?;
            Some((at, snapshot.beliefs(&scope, property, None)))
        });
        let broad = broad.collect();
        Frame { materials: snapshot.materials.len(), tasks: learned.iter().map(|t| t.name.clone()).collect(), broad }
    }

    /// The place of a property among the tasks.
    pub(super) fn task(&self, key: &str) -> Option<usize> {
        self.tasks.iter().position(|task| task == key)
    }

    /// Numbers of one material.
    pub(super) fn width(&self) -> usize {
        DESCRIPTORS + self.tasks.len() + 2 * self.broad.len()
    }

    fn given<'f>(&'f self, row: Option<u32>) -> impl Iterator<Item = (usize, f32)> + 'f {
        self.broad.iter().map(move |(task, beliefs)| {
            let belief = row.and_then(|row| beliefs.get(row, self.materials));
            (*task, belief.map_or(f32::NAN, |belief| belief.mean as f32))
        })
    }

    /// Writes the numbers of a material of a composition, in the hub or not, of which the property of place `own` is to be said.
    pub(super) fn write(
        &self,
        composition: &Composition,
        unseen: ArrayView1<'_, f32>,
        row: Option<u32>,
        own: Option<usize>,
        out: &mut [f32],
    ) {
        let (described, rest) = out.split_at_mut(DESCRIPTORS);
        describe(composition, described);
        let (heads, given) = rest.split_at_mut(self.tasks.len());
        heads.iter_mut().zip(unseen).for_each(|(slot, said)| *slot = *said);
        for (two, (task, known)) in given.chunks_exact_mut(2).zip(self.given(row)) {
            let known = if own == Some(task) { f32::NAN } else { known };
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
