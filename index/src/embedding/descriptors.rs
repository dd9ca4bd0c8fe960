//! What are the elements of a material like, standardised over the hub? See [`space::descriptors`].

use gpu::{GpuError, Metric, Vectors};
use rayon::prelude::*;
use space::composition::Composition;
use space::descriptors::{DESCRIPTORS, describe};

use super::{Embedding, Encoder, rows_with_formula, written};
use crate::scope::Viewer;
use crate::snapshot::Snapshot;

/// Standard deviations beyond which a descriptor counts as this many: a rare element must not outweigh all else.
pub const CLIP: f32 = 5.0;

/// Materials that are summed at once; fixed, so that sums do not depend on threads.
const CHUNK: usize = 4096;

/// How descriptors are brought to one scale: (x - mean) / standard deviation, within ± [`CLIP`], without those that are the same in
/// all materials.
#[derive(Debug, Clone, PartialEq)]
pub struct Standard {
    /// The descriptors that are left, ascending.
    columns: Vec<usize>,
    mean: Vec<f32>,
    scale: Vec<f32>,
}

impl Standard {
    /// From all descriptors of some materials, one after the other; `counts` says which of them are typical.
    fn of(values: &[f32], counts: &(impl Fn(usize) -> bool + Sync)) -> Standard {
        let sums = |term: &(dyn Fn(usize, f64) -> f64 + Sync)| -> (Vec<f64>, f64) {
            let parts: Vec<(Vec<f64>, f64)> = values
                .par_chunks(CHUNK * DESCRIPTORS)
                .enumerate()
                .map(|(chunk, values)| {
                    let (mut sums, mut n) = (vec![0f64; DESCRIPTORS], 0.0);
                    for (at, row) in values.chunks_exact(DESCRIPTORS).enumerate() {
                        if counts(chunk * CHUNK + at) {
                            n += 1.0;
                            let places = sums.iter_mut().zip(row).enumerate();
                            places.for_each(|(column, (sum, x))| *sum += term(column, f64::from(*x)));
                        }
                    }
                    (sums, n)
                })
                .collect();
            parts.into_iter().fold((vec![0.0; DESCRIPTORS], 0.0), |(mut all, n), (sums, m)| {
                all.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
                (all, n + m)
            })
        };
        let (sum, n) = sums(&|_, x| x);
        let mean: Vec<f64> = sum.iter().map(|sum| sum / f64::max(n, 1.0)).collect();
        let (squares, _) = sums(&|column, x| (x - mean[column]).powi(2));
        let sd = |column: usize| (squares[column] / f64::max(n, 1.0)).sqrt();
        let varies = |column: &usize| sd(*column) > 1e-5 * mean[*column].abs().max(1e-3);
        let columns: Vec<usize> = (0..DESCRIPTORS).filter(varies).collect();
        Standard {
            mean: columns.iter().map(|&column| mean[column] as f32).collect(),
            scale: columns.iter().map(|&column| (1.0 / sd(column)) as f32).collect(),
            columns,
        }
    }

    /// Components of a vector, at least one: in a hub where all materials are alike it says nothing.
    pub fn dims(&self) -> usize {
        self.columns.len().max(1)
    }

    /// Writes the vector of a composition; `out` has [`Standard::dims`] places.
    pub fn write(&self, composition: &Composition, out: &mut [f32]) {
        let mut all = [0f32; DESCRIPTORS];
        describe(composition, &mut all);
        self.reduce(&all, out);
    }

    fn reduce(&self, all: &[f32], out: &mut [f32]) {
        let terms = self.columns.iter().zip(self.mean.iter().zip(&self.scale));
        for (slot, (&column, (mean, scale))) in out.iter_mut().zip(terms) {
            *slot = ((all[column] - mean) * scale).clamp(-CLIP, CLIP);
        }
    }
}

pub(super) fn embed(snapshot: &Snapshot) -> Result<Embedding, GpuError> {
    let materials = &snapshot.materials;
    let rows = rows_with_formula(materials, |_| true);
    let all = written(materials, &rows, DESCRIPTORS, |composition, out| {
        describe(composition, out);
        Some(())
    });
    // whoever asks, private materials do not move the scale; where there are only these, nobody else sees any distance
    let public = snapshot.members(&snapshot.visible(Viewer::Public));
    let none = !rows.iter().any(|row| public.get(*row as usize));
    let standard = Standard::of(&all, &|at| none || public.get(rows[at] as usize));
    let dims = standard.dims();
    let mut values = vec![0f32; rows.len() * dims];
    let pairs = values.par_chunks_exact_mut(dims).zip(all.par_chunks_exact(DESCRIPTORS));
    pairs.for_each(|(out, all)| standard.reduce(all, out));
    let vectors = Vectors::new(values, dims)?;
    Ok(Embedding {
        vectors,
        rows,
        records: Vec::new(),
        metric: Metric::L2,
        unit: 1.0,
        encoder: Encoder::Descriptors(standard),
    })
}
