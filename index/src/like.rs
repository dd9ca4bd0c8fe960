//! How much does likeness to a material count in a spec?
//!
//! Likeness is one more wish of the score: the distance to the named material, in a space of [`crate::embedding`], is wanted to be 0.
//! Distances are a column as beliefs are, with deviations of 0, so that devices, filters, pages and the exact order treat them as any
//! other column. They require nothing: verdicts, probabilities and what passes are those of the targets.

use std::sync::Arc;

use datasets::formula::Formula;
use datasets::property::Property;
use datasets::record::Evidence;
use gpu::Mask;
use gpu::reference::Window;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::asked::{Asked, Subjected, subject};
use crate::belief::{Belief, Beliefs};
use crate::embedding::{Embedding, Space};
use crate::hub::HubError;
use crate::prediction::NO_PICK;
use crate::scope::{Scope, Viewer};
use crate::search::Scorer;
use crate::similar::{self, KNOWN, OTHER_SPACES};
use crate::snapshot::Snapshot;
use crate::spec::{self, Resolved, SpecError, TOLERANCES, Unknown};

/// Which material the candidates are to be like, and how much that counts.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LikeSpec {
    /// A material of the hub (id, formula or name), or a formula that the hub has never seen. It is no candidate itself.
    pub material: String,
    /// The space in which the distance is measured.
    #[serde(default)]
    pub by: Space,
    /// How much it counts beside the targets, 1 by default; 10⁻⁶ to 10⁶.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The distance that costs 1, in the unit of the space; by default the median over all materials that have a place in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
}

/// Likeness to a material, in the terms of the score.
#[derive(Debug)]
pub struct Like {
    /// The space.
    pub by: Space,
    /// What it is likeness to.
    pub asked: Asked,
    /// The distances of the materials of the scope that have a place in the space, as means without a deviation.
    pub distances: Arc<Beliefs>,
    /// Up to 0, with the distance that costs 1 and the weight.
    pub window: Window,
    /// Rows that are no candidates because they are what is asked about.
    pub(crate) own: Vec<u32>,
    embedding: Option<Arc<Embedding>>,
}

/// What likeness was asked for.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LikeMeta {
    /// The space.
    pub by: Space,
    /// What its distance is.
    pub metric: String,
    /// The material that candidates are to be like.
    pub asked: Asked,
    /// The distance that costs 1.
    pub tolerance: f64,
    /// Of the materials that match the filter, those that have a place in the space.
    pub compared: usize,
}

/// How far a candidate is from the material that it is to be like.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LikeAnswer {
    /// The distance; null where the candidate has no place in the space.
    pub distance: Option<f64>,
    /// The space.
    pub by: Space,
    /// Id of the material, or the formula where it is none of the hub.
    pub to: String,
    /// In the space of structures: the record that states the one compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structure: Option<String>,
}

impl LikeSpec {
    /// Finds the material and measures the distances of all others.
    ///
    /// # Errors
    /// [`HubError::Spec`] with a pointer below `/like`; others where the space cannot be made.
    pub(crate) fn resolve(&self, snapshot: &Snapshot, viewer: Viewer, scope: &Scope) -> Result<Like, HubError> {
        let weight = spec::weight(self.weight, "/like")?;
        if let Some(tolerance) = self.tolerance.filter(|t| !TOLERANCES.contains(t)) {
            let message = format!("{tolerance} is not within {:e} to {:e}", TOLERANCES.start(), TOLERANCES.end());
            return Err(SpecError::new("/like/tolerance", message).into());
        }
        let mut subject = self.subject(snapshot, viewer).map_err(blame)?;
        let embedding = snapshot.embedding(self.by)?;
        let distances = self.distances(snapshot, scope, &mut subject, embedding.as_deref()).map_err(blame)?;
        let tolerance = self.tolerance.unwrap_or_else(|| typical(&distances));
        let mut asked = subject.asked(snapshot, scope);
        let stated = |embedding: &Embedding| embedding.structure(snapshot, scope, subject.row?);
        asked.structure = embedding.as_deref().and_then(stated);
        Ok(Like {
            by: self.by,
            asked,
            distances,
            window: Window { lo: f64::NEG_INFINITY, hi: 0.0, inv_tolerance: 1.0 / tolerance, weight },
            own: subject.own,
            embedding,
        })
    }

    /// What it is to be like: a material of the hub, or else a formula.
    fn subject(&self, snapshot: &Snapshot, viewer: Viewer) -> Result<Subjected, HubError> {
        let text = self.material.as_str();
        let found = match subject(snapshot, viewer, Some(text), None) {
            Err(HubError::NoMaterial { .. }) if Formula::parse(text).is_ok() => {
                subject(snapshot, viewer, None, Some(text))
            }
            found => found,
        };
        Ok(Subjected { pointer: "/like/material", ..found? })
    }

    fn distances(
        &self,
        snapshot: &Snapshot,
        scope: &Scope,
        subject: &mut Subjected,
        embedding: Option<&Embedding>,
    ) -> Result<Arc<Beliefs>, HubError> {
        // errors come before what is kept: it is kept of questions that have an answer
        let asked = match embedding {
            Some(embedding) => Where::At(embedding, subject.vector(snapshot, scope, self.by, embedding)?),
            None => Where::With(similar::compared(snapshot, scope, subject, None, OTHER_SPACES)?),
        };
        let mut others = (*snapshot.members(scope)).clone();
        subject.own.iter().for_each(|row| others.set(*row as usize, false));
        let key = (scope.clone(), self.by, subject.key());
        snapshot.likes.get(key, || match &asked {
            Where::At(embedding, vector) => by_vectors(snapshot, scope, embedding, vector, &others),
            Where::With(values) => by_properties(snapshot, scope, values, others),
        })
    }
}

/// Where the material is.
enum Where<'a> {
    /// At a vector of an embedding.
    At(&'a Embedding, Vec<f32>),
    /// Where it has these values.
    With(Vec<(&'static Property, Belief)>),
}

fn by_vectors(
    snapshot: &Snapshot,
    scope: &Scope,
    embedding: &Embedding,
    vector: &[f32],
    others: &Mask,
) -> Result<Beliefs, HubError> {
    let far = embedding.vectors.distances(embedding.metric, vector)?;
    let placed = embedding.mask(others, |record| snapshot.sees(scope, record as usize));
    Ok(column(placed.iter_ones().map(|at| (embedding.rows[at], far[at] * embedding.unit))))
}

fn by_properties(
    snapshot: &Snapshot,
    scope: &Scope,
    values: &[(&'static Property, Belief)],
    mut others: Mask,
) -> Result<Beliefs, HubError> {
    let (targets, shares) = similar::exactly(snapshot, scope, values)?;
    others.and(&shares)?;
    let rows: Vec<u32> = others.iter_ones().map(|row| row as u32).collect();
    let spec = Resolved {
        targets,
        like: None,
        scope: scope.clone(),
        searched: rows.len(),
        mask: others,
        unknown: Unknown::Predict,
        evidence: KNOWN,
        limit: 1,
        offset: 0,
    };
    let scorer = Scorer::new(snapshot, &spec);
    let far: Vec<(u32, f64)> = rows.par_iter().filter_map(|row| Some((*row, scorer.score(*row)?.sqrt()))).collect();
    Ok(column(far.into_iter()))
}

/// Distances as a column of the score. They are computed, so whatever evidence is asked for is there.
fn column(distances: impl Iterator<Item = (u32, f64)>) -> Beliefs {
    let mut column = Beliefs::default();
    for (row, distance) in distances {
        let evidence = Evidence::Measured;
        let far =
            Belief { mean: distance, sd: 0.0, value: distance, evidence, pick: NO_PICK, count: 0, inherited: false };
        column.push(row, far);
    }
    column
}

/// The distance that half of all materials are within; their spread where half of them are at the same place.
fn typical(distances: &Beliefs) -> f64 {
    let population = distances.population();
    let typical = if population.median > 0.0 { population.median } else { population.spread };
    typical.clamp(*TOLERANCES.start(), *TOLERANCES.end())
}

/// In a spec the material that nobody knows is where the blame is.
fn blame(error: HubError) -> HubError {
    let message = error.to_string();
    let closest = match error {
        HubError::NoMaterial { closest, .. } => closest,
        HubError::Ambiguous { ids, .. } => ids,
        other => return other,
    };
    SpecError::new("/like/material", message).closest(closest).into()
}

impl Like {
    /// What was asked for, and of how many materials of a mask the distance is known.
    pub(crate) fn meta(&self, snapshot: &Snapshot, mask: &Mask) -> LikeMeta {
        let known = self.distances.known(Evidence::None, snapshot.materials.len());
        LikeMeta {
            by: self.by,
            metric: self.by.metric().to_owned(),
            asked: self.asked.clone(),
            tolerance: 1.0 / self.window.inv_tolerance,
            compared: known.iter_ones().filter(|row| mask.get(*row)).count(),
        }
    }

    /// How far a material is.
    pub(crate) fn answer(&self, snapshot: &Snapshot, scope: &Scope, row: u32) -> LikeAnswer {
        LikeAnswer {
            distance: self.distances.get(row, snapshot.materials.len()).map(|far| far.value),
            by: self.by,
            to: self.asked.material.as_ref().or(self.asked.formula.as_ref()).cloned().unwrap_or_default(),
            structure: self.embedding.as_ref().and_then(|embedding| embedding.structure(snapshot, scope, row)),
        }
    }
}
