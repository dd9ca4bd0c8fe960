//! What is a material made of, as a place on a scale of elements? See [`space::pettifor`].

use datasets::formula::Formula;
use gpu::{GpuError, Metric, Vectors};
use space::composition::Composition;
use space::pettifor;

use super::{Embedding, Encoder, rows_with_formula, written};
use crate::materials::Materials;

/// A formula as fractions of the atoms.
pub fn compose(formula: &Formula) -> Option<Composition> {
    Composition::new(formula.amounts().iter().map(|(element, amount)| (element.number(), *amount as f64)))
}

pub(super) fn embed(materials: &Materials) -> Result<Embedding, GpuError> {
    let on_scale = pettifor::SCALE.iter().fold(0u128, |bits, number| bits | 1 << number);
    let rows = rows_with_formula(materials, |bits| bits & !on_scale == 0);
    let values = written(materials, &rows, pettifor::COMPONENTS, pettifor::cumulate);
    let vectors = Vectors::new(values, pettifor::COMPONENTS)?;
    Ok(Embedding { vectors, rows, records: Vec::new(), metric: Metric::L1, unit: 1.0, encoder: Encoder::Pettifor })
}
