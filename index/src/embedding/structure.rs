//! Where are the atoms of a material? See [`space::structure`].

use gpu::{GpuError, Metric, Vectors};
use space::structure::{COMPONENTS, UNIT};

use super::{Embedding, Encoder};
use crate::snapshot::Snapshot;

pub(super) fn embed(snapshot: &Snapshot) -> Result<Embedding, GpuError> {
    let (records, known) = (&snapshot.records, &snapshot.records.structures);
    let vectors = Vectors::new(known.values.clone(), COMPONENTS)?;
    let rows = known.record.iter().map(|record| records.material[*record as usize]).collect();
    let embedding = Embedding::new(vectors, rows, (Metric::L2, UNIT), Encoder::None, &snapshot.materials);
    Ok(Embedding { records: known.record.clone(), ..embedding })
}
