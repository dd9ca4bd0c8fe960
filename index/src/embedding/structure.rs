//! Where are the atoms of a material? See [`space::structure`].

use gpu::{GpuError, Metric, Vectors};
use space::structure::{COMPONENTS, UNIT};

use super::{Embedding, Encoder};
use crate::measurements::Records;

pub(super) fn embed(records: &Records) -> Result<Embedding, GpuError> {
    let known = &records.structures;
    Ok(Embedding {
        vectors: Vectors::new(known.values.clone(), COMPONENTS)?,
        rows: known.record.iter().map(|record| records.material[*record as usize]).collect(),
        records: known.record.clone(),
        metric: Metric::L2,
        unit: UNIT,
        encoder: Encoder::None,
    })
}
