//! Which material is a question about, and where is it in a space?

use datasets::formula::Formula;
use serde::Serialize;

use crate::embedding::{Embedding, Encoder, Space, compose};
use crate::hub::HubError;
use crate::materials::Resolved as Named;
use crate::scope::{Scope, Viewer};
use crate::snapshot::Snapshot;
use crate::spec::SpecError;

/// The material that was asked about.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Asked {
    /// Its id; null for a formula that the hub does not know.
    pub material: Option<String>,
    /// The formula as chemists write it.
    pub formula: Option<String>,
    /// A name or grade.
    pub name: Option<String>,
    /// In the space of structures: the record that states the one compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structure: Option<String>,
}

/// What was asked about, found in the hub.
pub(crate) struct Subjected {
    /// Where a query names it: `/material` or `/formula`.
    pub(crate) pointer: &'static str,
    /// As the query names it.
    pub(crate) text: String,
    /// Its row; none for a formula that the hub does not know, or knows several phases of.
    pub(crate) row: Option<u32>,
    /// Rows that are no neighbours because they are it.
    pub(crate) own: Vec<u32>,
    pub(crate) formula: Option<Formula>,
}

/// Finds what a question is about: a material of the hub, or else a formula.
///
/// # Errors
/// [`HubError::NoMaterial`], [`HubError::Ambiguous`], or [`HubError::Spec`] where the formula is none or not one of the two is given.
pub(crate) fn subject(
    snapshot: &Snapshot,
    viewer: Viewer,
    material: Option<&str>,
    formula: Option<&str>,
) -> Result<Subjected, HubError> {
    let materials = &snapshot.materials;
    let visible = snapshot.visible(viewer);
    let seen = snapshot.members(&visible);
    match (material, formula) {
        (Some(text), None) => {
            let row = match materials.resolve(text, &seen, &visible) {
                Named::Row(row) => row,
                Named::Ambiguous(ids) => return Err(HubError::ambiguous(snapshot, &visible, text, ids)),
                Named::Unknown(closest) => return Err(HubError::NoMaterial { text: text.to_owned(), closest }),
            };
            let parent = materials.parent[row as usize];
            let mut own = vec![row];
            if parent != u32::MAX {
                own.push(parent);
            } else if materials.space_group[row as usize] == 0 {
                let below = materials.below(materials.id.value(row as usize));
                own.extend(below.filter(|phase| materials.parent[*phase as usize] == row));
            }
            let formula = materials.parsed(row as usize);
            Ok(Subjected { pointer: "/material", text: text.to_owned(), row: Some(row), own, formula })
        }
        (None, Some(text)) => {
            let formula = Formula::parse(text).map_err(|e| SpecError::new("/formula", e.to_string()))?;
            let reduced = formula.reduced();
            let mut own: Vec<u32> = materials.row(&reduced).into_iter().chain(materials.below(&reduced)).collect();
            own.retain(|row| seen.get(*row as usize));
            let row = match own.as_slice() {
                [one] => Some(*one),
                [first, ..] if materials.id.value(*first as usize) == reduced => Some(*first),
                _ => None,
            };
            Ok(Subjected { pointer: "/formula", text: text.to_owned(), row, own, formula: Some(formula) })
        }
        (None, None) => {
            Err(SpecError::new("", "say which `material` of the hub, or which `formula`, is asked about").into())
        }
        (Some(_), Some(_)) => Err(SpecError::new("/formula", "give either a `material` or a `formula`").into()),
    }
}

impl Subjected {
    /// What it is, as answers say it.
    pub(crate) fn asked(&self, snapshot: &Snapshot, visible: &Scope) -> Asked {
        let materials = &snapshot.materials;
        Asked {
            material: self.row.map(|row| materials.id.value(row as usize).to_owned()),
            formula: self.formula.as_ref().map(Formula::display),
            name: self.row.and_then(|row| materials.name(row as usize, visible)).map(str::to_owned),
            structure: None,
        }
    }

    /// What tells it from all else that may be asked about: its rows, or the formula as it was written.
    pub(crate) fn key(&self) -> String {
        self.row.map_or_else(|| self.text.clone(), |row| format!("row {row} of {:?}", self.own))
    }

    /// The row that has a place in a space: its own, or for a formula that of its only phase with one.
    fn placed(
        &self,
        snapshot: &Snapshot,
        scope: &Scope,
        is_placed: impl Fn(u32) -> bool,
    ) -> Result<Option<u32>, HubError> {
        let materials = &snapshot.materials;
        if let Some(row) = self.row.filter(|row| materials.space_group[*row as usize] != 0 || is_placed(*row)) {
            return Ok(Some(row));
        }
        match self.own.iter().copied().filter(|row| is_placed(*row)).collect::<Vec<_>>().as_slice() {
            [] => Ok(self.row),
            [one] => Ok(Some(*one)),
            several => Err(self.ambiguous(snapshot, scope, several)),
        }
    }

    pub(crate) fn ambiguous(&self, snapshot: &Snapshot, scope: &Scope, rows: &[u32]) -> HubError {
        let ids = rows.iter().take(30).map(|row| snapshot.materials.id.value(*row as usize).to_owned()).collect();
        HubError::ambiguous(snapshot, scope, &self.text, ids)
    }

    pub(crate) fn refuse(&self, message: impl Into<String>) -> HubError {
        SpecError::new(self.pointer, message).into()
    }

    /// Its vector in a space. Where vectors are of records, a formula comes to stand for its only phase with one.
    ///
    /// # Errors
    /// It has no place there ([`HubError::Spec`]), or several of its phases have ([`HubError::Ambiguous`]).
    pub(crate) fn vector(
        &mut self,
        snapshot: &Snapshot,
        scope: &Scope,
        space: Space,
        embedding: &Embedding,
    ) -> Result<Vec<f32>, HubError> {
        let place = |row: u32| embedding.place(row, |record| snapshot.sees(scope, record as usize));
        if matches!(embedding.encoder, Encoder::None) {
            self.row = self.placed(snapshot, scope, |row| place(row).is_some())?;
        }
        if let Some(at) = self.row.and_then(place) {
            return Ok(embedding.vectors.row(at).to_vec());
        }
        let composition = self.formula.as_ref().and_then(compose);
        let encoded = composition.map(|own| embedding.encoder.encode(&own)).transpose()?.flatten();
        encoded.ok_or_else(|| {
            self.refuse(format!("`{}` has no place in the space of {space}, which needs {}", self.text, space.needs()))
        })
    }
}
