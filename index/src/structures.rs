//! Where are the atoms? The crystals that records state, as fingerprints (see [`space::structure`]).

use std::collections::HashMap;
use std::sync::OnceLock;

use datasets::columns::RecordColumns;
use datasets::element::Element;
use datasets::record::content_hash;
use datasets::structure::{Species, Structure};
use rayon::prelude::*;
use space::structure::{COMPONENTS, Site};

/// The fingerprints of the records' structures. Molecules and what else has none are left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Structures {
    /// Row of the record that states each, ascending.
    pub record: Vec<u32>,
    /// Hash of its text.
    pub text: Vec<u64>,
    /// The fingerprints, one after the other, [`COMPONENTS`] numbers each.
    pub values: Vec<f32>,
}

impl Structures {
    /// Number of fingerprints.
    pub fn len(&self) -> usize {
        self.record.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.record.is_empty()
    }

    /// The hash of the text that a record states.
    pub(crate) fn text_of(&self, record: u32) -> Option<u64> {
        self.record.binary_search(&record).ok().map(|at| self.text[at])
    }

    pub(crate) fn push(&mut self, record: u32, text: u64, values: &[f32]) {
        self.record.push(record);
        self.text.push(text);
        self.values.extend_from_slice(values);
    }

    fn of(&self, at: usize) -> &[f32] {
        &self.values[at * COMPONENTS..][..COMPONENTS]
    }

    /// These and others by their new rows, `u32::MAX` for records that are gone.
    pub(crate) fn merged(&self, rows: &[u32], others: &Structures, rows_of_others: &[u32]) -> Structures {
        let mut all: Vec<(u32, &Structures, usize)> = Vec::with_capacity(self.len() + others.len());
        for (of, rows) in [(self, rows), (others, rows_of_others)] {
            all.extend(of.record.iter().zip(0..).map(|(record, at)| (rows[*record as usize], of, at)));
        }
        all.retain(|(row, ..)| *row != u32::MAX);
        all.sort_by_key(|(row, ..)| *row);
        let mut merged = Structures::default();
        all.into_iter().for_each(|(row, of, at)| merged.push(row, of.text[at], of.of(at)));
        merged
    }
}

/// Makes fingerprints; those of texts that an older snapshot has are taken from there.
#[derive(Debug, Default)]
pub(crate) struct Reader<'a> {
    old: Option<&'a Structures>,
    places: OnceLock<HashMap<u64, usize>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(old: Option<&'a Structures>) -> Reader<'a> {
        Reader { old, places: OnceLock::new() }
    }

    /// The fingerprints of a batch: row, hash of the text, components.
    pub(crate) fn read(&self, columns: &RecordColumns) -> Vec<(usize, u64, Vec<f32>)> {
        let texts: Vec<(usize, &str)> =
            (0..columns.len()).filter_map(|row| Some((row, columns.structure(row)?))).collect();
        let made = |&(row, text): &(usize, &str)| {
            let hash = content_hash(text.as_bytes());
            let values = self.known(hash).or_else(|| fingerprint(text).map(Vec::from))?;
            Some((row, hash, values))
        };
        texts.par_iter().filter_map(made).collect()
    }

    fn known(&self, hash: u64) -> Option<Vec<f32>> {
        let old = self.old?;
        let places = self.places.get_or_init(|| old.text.iter().copied().zip(0..).collect());
        places.get(&hash).map(|at| old.of(*at).to_vec())
    }
}

fn fingerprint(text: &str) -> Option<[f32; COMPONENTS]> {
    let structure = Structure::from_json(text).ok()?;
    let site = |(species, position): (&Species, &[f64; 3])| {
        let parts = species.shares().map(|(symbol, share)| Some((Element::from_symbol(symbol)?.number(), share)));
        Some(Site { position: *position, species: parts.collect::<Option<_>>()? })
    };
    let sites: Option<Vec<Site>> = structure.species.iter().zip(&structure.positions).map(site).collect();
    space::structure::fingerprint(&structure.lattice?, &sites?)
}
