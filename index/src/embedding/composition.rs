//! What is a material made of, as a place on a scale of elements? See [`space::pettifor`].

use datasets::formula::Formula;
use gpu::{GpuError, Metric, Vectors};
use rayon::prelude::*;
use space::composition::Composition;
use space::pettifor;

use super::{Embedding, Encoder, rows_with_formula};
use crate::materials::Materials;

/// A formula as fractions of the atoms.
pub fn compose(formula: &Formula) -> Option<Composition> {
    Composition::new(formula.amounts().iter().map(|(element, amount)| (element.number(), *amount as f64)))
}

pub(super) fn embed(materials: &Materials) -> Result<Embedding, GpuError> {
    let on_scale = pettifor::SCALE.iter().fold(0u128, |bits, number| bits | 1 << number);
    let rows = rows_with_formula(materials, |bits| bits & !on_scale == 0);
    let mut values = vec![0f32; rows.len() * pettifor::COMPONENTS];
    values.par_chunks_exact_mut(pettifor::COMPONENTS).zip(&rows).with_min_len(1024).for_each(|(out, row)| {
        let composition = materials.parsed(*row as usize).as_ref().and_then(compose);
        let written = composition.and_then(|composition| pettifor::cumulate(&composition, out));
        debug_assert!(written.is_some(), "a canonical formula is one");
    });
    let vectors = Vectors::new(values, pettifor::COMPONENTS)?;
    Ok(Embedding { vectors, rows, metric: Metric::L1, encoder: Encoder::Pettifor })
}
