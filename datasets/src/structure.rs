//! Where are the atoms? A crystal or molecule with its sites, kept with the record that states it.

use serde::{Deserialize, Serialize};

/// The atoms of a crystal (with a lattice) or of a molecule (without).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Structure {
    /// Lattice vectors in Å, one a row; `None` for a molecule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lattice: Option<[[f64; 3]; 3]>,
    /// The species of each site: a symbol, or several with their occupancies (`[["Fe", 0.5], ["Ni", 0.5]]`).
    pub species: Vec<Species>,
    /// The place of each site: fractions of the lattice vectors, or Å where there is no lattice.
    pub positions: Vec<[f64; 3]>,
}

/// What sits on a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Species {
    /// One element, always there.
    Element(String),
    /// Elements with the shares of the sites that they take; what is missing to 1 is vacant.
    Mixed(Vec<(String, f64)>),
}
