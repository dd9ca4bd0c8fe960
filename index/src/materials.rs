//! What do the records speak about? The materials of a snapshot, by row number; rows are in id order.

use std::sync::OnceLock;

use arrow::array::{Array as _, StringArray};
use datasets::element::Element;
use datasets::formula::Formula;
use datasets::record::content_hash;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::scope::Scope;

/// The materials of a snapshot. A material's row number is its place in id order, so ties of a ranking that are broken
/// by row number are broken by id.
#[derive(Debug)]
pub struct Materials {
    /// Ids, ascending.
    pub id: StringArray,
    /// Canonical reduced formula, null for materials known by name only.
    pub formula: StringArray,
    /// Space group number, 0 where no phase is stated.
    pub space_group: Vec<i16>,
    /// Bit `z` is set where the element of atomic number `z` is in the material; 0 where there is no formula.
    pub elements: Vec<u128>,
    /// Row of the material without a phase that this phase belongs to, `u32::MAX` where there is none.
    pub parent: Vec<u32>,
    /// What datasets call the materials, by row.
    pub labels: Vec<Label>,
    /// Lower-case names, sorted, with the place of their label.
    names: Vec<(String, usize)>,
    /// Hashes of lower-case spellings, ascending, with the row that is spelled so.
    lower: OnceLock<Vec<(u64, u32)>>,
}

/// What a dataset calls a material.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Label {
    /// Row of the material.
    pub row: u32,
    /// Index into the snapshot's datasets.
    pub dataset: u16,
    /// A name or grade.
    pub name: Option<String>,
    /// A class.
    pub class: Option<String>,
}

/// What a user's word for a material means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// This row.
    Row(u32),
    /// Several rows (their ids): say which.
    Ambiguous(Vec<String>),
    /// None; the closest ids.
    Unknown(Vec<String>),
}

impl Materials {
    /// Collects the columns; `labels` are sorted here.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        id: StringArray,
        formula: StringArray,
        space_group: Vec<i16>,
        elements: Vec<u128>,
        parent: Vec<u32>,
        mut labels: Vec<Label>,
    ) -> Materials {
        labels.sort();
        labels.dedup();
        let named = labels.iter().enumerate().filter_map(|(at, label)| Some((label.name.as_ref()?.to_lowercase(), at)));
        let mut names: Vec<(String, usize)> = named.collect();
        names.sort();
        Materials { id, formula, space_group, elements, parent, labels, names, lower: OnceLock::new() }
    }

    /// Number of materials.
    pub fn len(&self) -> usize {
        self.id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    /// The row of an exact id.
    pub fn row(&self, id: &str) -> Option<u32> {
        self.place(id).ok()
    }

    /// The row of an exact id, or else the row before which it would be.
    pub(crate) fn place(&self, id: &str) -> Result<u32, u32> {
        let (mut low, mut high) = (0, self.id.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.id.value(middle).cmp(id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle as u32),
            }
        }
        Err(low as u32)
    }

    /// Number of elements of a material; `None` where there is no formula.
    pub fn nelements(&self, row: usize) -> Option<u32> {
        (self.elements[row] != 0).then(|| self.elements[row].count_ones())
    }

    /// The material's formula, parsed.
    pub fn parsed(&self, row: usize) -> Option<Formula> {
        self.formula.is_valid(row).then(|| Formula::parse(self.formula.value(row)).ok()).flatten()
    }

    /// The formula as chemists write it.
    pub fn display(&self, row: usize) -> Option<String> {
        self.parsed(row).map(|f| f.display())
    }

    fn labels_of(&self, row: usize, scope: &Scope) -> impl Iterator<Item = &Label> {
        let first = self.labels.partition_point(|label| (label.row as usize) < row);
        let own = self.labels[first..].iter().take_while(move |label| label.row as usize == row);
        own.filter(|label| scope.0[usize::from(label.dataset)])
    }

    /// The name of a material under a scope: of several the first in the alphabet.
    pub fn name(&self, row: usize, scope: &Scope) -> Option<&str> {
        self.labels_of(row, scope).filter_map(|label| label.name.as_deref()).min()
    }

    /// The class of a material under a scope: of several the first in the alphabet.
    pub fn class(&self, row: usize, scope: &Scope) -> Option<&str> {
        self.labels_of(row, scope).filter_map(|label| label.class.as_deref()).min()
    }

    /// Finds the material that a user's text means: an id, a formula in any order and spelling, or a name. Materials
    /// that are not `seen`, and names of datasets that are not in the scope, might as well not be there.
    pub fn resolve(&self, text: &str, seen: &gpu::Mask, scope: &Scope) -> Resolved {
        let is_seen = |row: &u32| seen.get(*row as usize);
        let text = text.trim();
        if let Some(row) = self.row(text).filter(is_seen) {
            return Resolved::Row(row);
        }
        let (formula, phase) = text.split_once(':').map_or((text, ""), |(f, p)| (f, p));
        if let Ok(parsed) = Formula::parse(formula) {
            let id = if phase.is_empty() { parsed.reduced() } else { format!("{}:{phase}", parsed.reduced()) };
            if let Some(row) = self.row(&id).filter(is_seen) {
                return Resolved::Row(row);
            }
            let phases: Vec<u32> = self.phases(&parsed.reduced()).into_iter().filter(is_seen).collect();
            if phase.is_empty() && !phases.is_empty() {
                return match phases.as_slice() {
                    [one] => Resolved::Row(*one),
                    several => {
                        Resolved::Ambiguous(several.iter().map(|&r| self.id.value(r as usize).to_owned()).collect())
                    }
                };
            }
        }
        let lower = text.to_lowercase();
        let first = self.names.partition_point(|(name, _)| name.as_str() < lower.as_str());
        let labels = self.names[first..].iter().take_while(|(n, _)| *n == lower).map(|(_, at)| &self.labels[*at]);
        let mut named: Vec<u32> =
            labels.filter(|l| scope.0[usize::from(l.dataset)]).map(|l| l.row).filter(is_seen).collect();
        named.dedup();
        match named.as_slice() {
            [] => {}
            [one] => return Resolved::Row(*one),
            several => {
                return Resolved::Ambiguous(several.iter().map(|&r| self.id.value(r as usize).to_owned()).collect());
            }
        }
        let spelled: Vec<u32> = self.by_lower_case(&lower).filter(is_seen).take(10).collect();
        match spelled.as_slice() {
            [] => Resolved::Unknown(self.closest(&lower, seen, scope)),
            [one] => Resolved::Row(*one),
            several => Resolved::Ambiguous(several.iter().map(|&r| self.id.value(r as usize).to_owned()).collect()),
        }
    }

    /// The rows whose ids are this text, a colon, and more: phases and molecules of a formula.
    pub fn below(&self, text: &str) -> impl Iterator<Item = u32> + '_ {
        let prefix = format!("{text}:");
        let first = match self.place(&prefix) {
            Ok(row) | Err(row) => row,
        };
        (first..self.len() as u32).take_while(move |row| self.id.value(*row as usize).starts_with(&prefix))
    }

    fn phases(&self, formula: &str) -> Vec<u32> {
        let prefix = format!("{formula}:sg");
        (1..=230).filter_map(|n| self.row(&format!("{prefix}{n}"))).collect()
    }

    /// Lower-case spellings of a material: its id, and its formula as chemists write it.
    fn spellings(&self, row: usize) -> Vec<String> {
        let mut found = vec![self.id.value(row).to_lowercase()];
        if let Some(shown) = self.display(row) {
            let shown = shown.to_lowercase();
            if !found.contains(&shown) && self.space_group[row] == 0 {
                found.push(shown);
            }
        }
        found
    }

    /// The rows that are spelled so, ascending.
    fn by_lower_case<'a>(&'a self, lower: &'a str) -> impl Iterator<Item = u32> + 'a {
        let known = self.spelled();
        let hash = content_hash(lower.as_bytes());
        let first = known.partition_point(|(known, _)| *known < hash);
        let same = known[first..].iter().take_while(move |(known, _)| *known == hash).map(|(_, row)| *row);
        same.filter(move |&row| self.spellings(row as usize).iter().any(|text| text == lower))
    }

    fn hashes(&self, row: usize) -> impl Iterator<Item = (u64, u32)> {
        self.spellings(row).into_iter().map(move |text| (content_hash(text.as_bytes()), row as u32))
    }

    fn spelled(&self) -> &[(u64, u32)] {
        self.lower.get_or_init(|| {
            let mut known: Vec<(u64, u32)> =
                (0..self.len()).into_par_iter().flat_map_iter(|row| self.hashes(row)).collect();
            known.par_sort_unstable();
            known
        })
    }

    /// Makes what is only needed to read a user's words, ahead of the first of them.
    pub fn warm_up(&self) {
        self.spelled();
    }

    /// Takes over what was made to read a user's words: `rows` says where the materials of `old` are now (`u32::MAX`:
    /// nowhere), `new` which ones were not there.
    pub(crate) fn carry(&self, old: &Materials, rows: &[u32], new: impl Iterator<Item = u32>) {
        let Some(known) = old.lower.get() else { return };
        let moved = known.iter().map(|&(hash, row)| (hash, rows[row as usize])).filter(|(_, row)| *row != u32::MAX);
        let mut carried: Vec<(u64, u32)> = moved.collect();
        carried.extend(new.flat_map(|row| self.hashes(row as usize)));
        // two or more ascending runs, which a stable sort merges
        carried.sort();
        // nobody else has this value yet
        let _ = self.lower.set(carried);
    }

    fn closest(&self, lower: &str, seen: &gpu::Mask, scope: &Scope) -> Vec<String> {
        // names are few and worth a fuzzy look; for formulas the materials of the same elements are what is meant
        let mut near: Vec<(f64, &str)> = self
            .names
            .iter()
            .map(|(name, at)| (name, &self.labels[*at]))
            .filter(|(_, label)| scope.0[usize::from(label.dataset)] && seen.get(label.row as usize))
            .map(|(name, label)| {
                // `Ti-6Al-4V` of `Ti-6Al-4V (Grade 5)`
                let begins = lower.len() > 2 && name.starts_with(lower);
                let similarity = if begins { 1.0 } else { datasets::property::similarity(name, lower) };
                (similarity, self.id.value(label.row as usize))
            })
            .filter(|(similarity, _)| *similarity > 0.7)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        near.dedup_by(|a, b| a.1 == b.1);
        near.into_iter().take(3).map(|(_, id)| id.to_owned()).collect()
    }
}

/// The bits of some elements.
pub fn element_bits(elements: impl IntoIterator<Item = Element>) -> u128 {
    elements.into_iter().fold(0, |bits, element| bits | 1 << element.number())
}
