//! Where are the atoms? A crystal or molecule with its sites, kept with the record that states it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::element::Element;
use crate::formula::{Formula, FormulaError, U_PER_CUBIC_ANGSTROM_IN_G_PER_CM3};

/// The most sites of a structure.
pub const MAX_SITES: usize = 20_000;
/// The longest JSON text that is read as a structure, in bytes; one of [`MAX_SITES`] rounded sites is shorter.
pub const MAX_JSON_BYTES: usize = 4 << 20;
/// The smallest volume of a cell in Å³; an atom takes up more, also at the highest pressures.
pub const MIN_VOLUME_A3: f64 = 0.1;
/// The largest component of a lattice vector, and of a position, whichever its unit.
pub const MAX_COORDINATE: f64 = 1e6;
/// The smallest occupancy, which is also the step in which they are counted.
pub const MIN_OCCUPANCY: f64 = 1e-6;
/// How far the occupancies of a site may sum above 1, as sources round them.
pub const OCCUPANCY_TOLERANCE: f64 = 0.01;
/// Steps to 1: positions and lattice vectors are rounded to 1e-7.
const COORDINATE_STEPS: f64 = 1e7;
/// Steps to 1: occupancies are counted in steps of 1e-6.
const OCCUPANCY_STEPS: f64 = 1e6;

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

/// What is wrong with a structure. Each message ends with the mend. Sites are counted from 1.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum StructureProblem {
    /// The JSON text is longer than [`MAX_JSON_BYTES`].
    #[error("the text has {0} bytes, and at most 4194304 are read; give the primitive cell")]
    TooLong(usize),
    /// Not the JSON of a structure.
    #[error("this is not a structure: {0}; write `lattice`, `species` and `positions`")]
    Json(String),
    /// No site.
    #[error("it has no sites; give at least one atom")]
    Empty,
    /// More than [`MAX_SITES`] sites.
    #[error("it has {0} sites, and at most 20000 are kept; give the primitive cell")]
    TooManySites(usize),
    /// As many species as positions are needed.
    #[error("it has {species} species and {positions} positions; give one of each for every site")]
    Lengths {
        /// How many species.
        species: usize,
        /// How many positions.
        positions: usize,
    },
    /// A number that is not finite or above [`MAX_COORDINATE`].
    #[error("a coordinate of {place} is {value}; give finite numbers up to 1e6")]
    Coordinate {
        /// `site 3` or `lattice vector 1`.
        place: String,
        /// The number.
        value: f64,
    },
    /// Lattice vectors that lie (nearly) in a plane.
    #[error("the lattice vectors span {0} Å³, less than 0.1; check them and the scale")]
    Volume(f64),
    /// Not a symbol of the periodic table.
    #[error("site {site}: '{symbol}' is not an element symbol; write it as in the periodic table (Fe, and H for D)")]
    Element {
        /// The site.
        site: usize,
        /// What stands there.
        symbol: String,
    },
    /// A share of a site that is not in [`MIN_OCCUPANCY`] to 1, or shares that sum to more.
    #[error(
        "site {site}: the occupancy is {occupancy}; an occupancy, and their sum on a site, is above 0 and at most 1"
    )]
    Occupancy {
        /// The site.
        site: usize,
        /// The occupancy or sum; 0 for a site with nothing on it.
        occupancy: f64,
    },
    /// Occupancies too small to be counted.
    #[error(transparent)]
    Formula(#[from] FormulaError),
}

impl Species {
    /// The symbols with their occupancies.
    pub fn shares(&self) -> impl Iterator<Item = (&str, f64)> {
        let (one, several) = match self {
            Species::Element(symbol) => (Some((symbol.as_str(), 1.0)), &[][..]),
            Species::Mixed(shares) => (None, shares.as_slice()),
        };
        one.into_iter().chain(several.iter().map(|(symbol, share)| (symbol.as_str(), *share)))
    }

    /// From symbols with occupancies; one that is always there is written as its symbol alone.
    pub fn from_shares(mut shares: Vec<(String, f64)>) -> Species {
        match shares.as_mut_slice() {
            [(symbol, occupancy)] if *occupancy == 1.0 => Species::Element(std::mem::take(symbol)),
            _ => Species::Mixed(shares),
        }
    }
}

impl Structure {
    /// Reads the JSON text that a record keeps, and checks it.
    ///
    /// # Errors
    /// A text longer than [`MAX_JSON_BYTES`], other JSON, and what [`Structure::check`] refuses.
    pub fn from_json(text: &str) -> Result<Structure, StructureProblem> {
        if text.len() > MAX_JSON_BYTES {
            return Err(StructureProblem::TooLong(text.len()));
        }
        let structure: Structure =
            serde_json::from_str(text).map_err(|error| StructureProblem::Json(error.to_string()))?;
        structure.check()?;
        Ok(structure)
    }

    /// Whether this can be a structure: a species and a position for each of 1 to [`MAX_SITES`] sites, finite numbers, a lattice that
    /// spans at least [`MIN_VOLUME_A3`], known elements, and occupancies from [`MIN_OCCUPANCY`] that sum to at most 1 (by [`OCCUPANCY_TOLERANCE`]).
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), StructureProblem> {
        let (species, positions) = (self.species.len(), self.positions.len());
        if species != positions {
            return Err(StructureProblem::Lengths { species, positions });
        }
        if species == 0 {
            return Err(StructureProblem::Empty);
        }
        if species > MAX_SITES {
            return Err(StructureProblem::TooManySites(species));
        }
        check_numbers(&self.positions, "site")?;
        if let Some(lattice) = &self.lattice {
            check_numbers(lattice, "lattice vector")?;
            let volume = determinant(lattice).abs();
            if volume < MIN_VOLUME_A3 {
                return Err(StructureProblem::Volume(volume));
            }
        }
        for (species, site) in self.species.iter().zip(1..) {
            let mut sum = 0.0;
            for (symbol, occupancy) in species.shares() {
                if Element::from_symbol(symbol).is_none() {
                    return Err(StructureProblem::Element { site, symbol: symbol.chars().take(20).collect() });
                }
                if !(MIN_OCCUPANCY..=1.0).contains(&occupancy) {
                    return Err(StructureProblem::Occupancy { site, occupancy });
                }
                sum += occupancy;
            }
            if !(sum > 0.0 && sum <= 1.0 + OCCUPANCY_TOLERANCE + 1e-9) {
                return Err(StructureProblem::Occupancy { site, occupancy: sum });
            }
        }
        Ok(())
    }

    /// What it is made of, weighted by the occupancies. The sum of each element's occupancies is rounded to 1e-6, so the formula is
    /// exact where occupancies are decimals of up to six places.
    ///
    /// # Errors
    /// What is no element, an occupancy out of [`MIN_OCCUPANCY`] to 1, and an empty structure.
    pub fn formula(&self) -> Result<Formula, StructureProblem> {
        let amounts = self.amounts()?;
        let steps = |sum: f64| (sum * OCCUPANCY_STEPS).round() as u64;
        let counted: Vec<(Element, u64)> = amounts.into_iter().map(|(element, sum)| (element, steps(sum))).collect();
        Ok(Formula::from_amounts(&counted)?)
    }

    /// How many atoms it holds, weighted by the occupancies.
    pub fn atoms(&self) -> f64 {
        self.species.iter().flat_map(Species::shares).map(|(_, occupancy)| occupancy).sum()
    }

    /// Volume of the cell in Å³; none for a molecule.
    pub fn volume_a3(&self) -> Option<f64> {
        self.lattice.as_ref().map(|lattice| determinant(lattice).abs())
    }

    /// Volume of the cell over its atoms, weighted by the occupancies, in Å³/atom; none for a molecule or without atoms.
    pub fn volume_per_atom(&self) -> Option<f64> {
        let volume = self.volume_a3()? / self.atoms();
        (volume.is_finite() && volume > 0.0).then_some(volume)
    }

    /// Mass of the cell over its volume in g/cm³; none for a molecule, and where an element is not known.
    pub fn density_g_cm3(&self) -> Option<f64> {
        let mass: f64 = self.amounts().ok()?.iter().map(|(element, sum)| element.atomic_mass() * sum).sum();
        let density = mass / self.volume_a3()? * U_PER_CUBIC_ANGSTROM_IN_G_PER_CM3;
        (density.is_finite() && density > 0.0).then_some(density)
    }

    /// With lattice vectors (Å) and positions rounded to 1e-7 and occupancies to 1e-6: no source knows more digits, and the text gets
    /// short. Positions are not wrapped into the cell.
    pub fn rounded(mut self) -> Structure {
        let round = |number: &mut f64, steps: f64| *number = (*number * steps).round() / steps + 0.0;
        for vector in self.lattice.iter_mut().flatten().chain(&mut self.positions) {
            vector.iter_mut().for_each(|number| round(number, COORDINATE_STEPS));
        }
        for species in &mut self.species {
            if let Species::Mixed(shares) = species {
                // what is too little stays as it is, to be refused
                shares
                    .iter_mut()
                    .filter(|(_, share)| *share >= MIN_OCCUPANCY)
                    .for_each(|(_, s)| round(s, OCCUPANCY_STEPS));
            }
        }
        self
    }

    /// The elements with the sums of their occupancies, by atomic number.
    fn amounts(&self) -> Result<Vec<(Element, f64)>, StructureProblem> {
        let mut sums = [0.0; 119];
        for (species, site) in self.species.iter().zip(1..) {
            for (symbol, occupancy) in species.shares() {
                let Some(element) = Element::from_symbol(symbol) else {
                    return Err(StructureProblem::Element { site, symbol: symbol.chars().take(20).collect() });
                };
                if !(MIN_OCCUPANCY..=1.0).contains(&occupancy) {
                    return Err(StructureProblem::Occupancy { site, occupancy });
                }
                sums[usize::from(element.number())] += occupancy;
            }
        }
        let amounts: Vec<(Element, f64)> =
            Element::all().map(|e| (e, sums[usize::from(e.number())])).filter(|(_, sum)| *sum > 0.0).collect();
        if amounts.is_empty() { Err(StructureProblem::Empty) } else { Ok(amounts) }
    }
}

/// Signed volume that three vectors span.
pub fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

fn check_numbers(vectors: &[[f64; 3]], kind: &str) -> Result<(), StructureProblem> {
    for (vector, number) in vectors.iter().zip(1..) {
        if let Some(&value) = vector.iter().find(|value| !(-MAX_COORDINATE..=MAX_COORDINATE).contains(*value)) {
            return Err(StructureProblem::Coordinate { place: format!("{kind} {number}"), value });
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn salt() -> Structure {
        let a = 5.6402;
        let corners = [[0.0; 3], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]];
        let shifted = corners.map(|[x, y, z]| [x + 0.5, y, z]);
        let species = |symbol: &str| vec![Species::Element(symbol.to_owned()); 4];
        Structure {
            lattice: Some([[a, 0.0, 0.0], [0.0, a, 0.0], [0.0, 0.0, a]]),
            species: [species("Na"), species("Cl")].concat(),
            positions: [corners, shifted].concat(),
        }
    }

    fn refused(change: impl FnOnce(&mut Structure)) -> String {
        let mut structure = salt();
        change(&mut structure);
        structure.check().unwrap_err().to_string()
    }

    #[test]
    fn rock_salt_has_its_formula_volume_and_density() {
        let salt = salt();
        salt.check().unwrap();
        assert_eq!(salt.formula().unwrap(), Formula::parse("NaCl").unwrap());
        assert!((salt.volume_a3().unwrap() - 179.4252).abs() < 1e-3);
        assert!((salt.volume_per_atom().unwrap() - 22.42815).abs() < 1e-4);
        // 2.163 g/cm³ at 298 K (CRC Handbook)
        assert!((salt.density_g_cm3().unwrap() - 2.163).abs() < 2e-3, "{:?}", salt.density_g_cm3());
    }

    #[test]
    fn occupancies_weigh_atoms_and_stay_exact_decimals() {
        let mut alloy = salt();
        let third = 1.0 / 3.0;
        for site in 0..3 {
            alloy.species[site] = Species::Mixed(vec![("Na".into(), third), ("K".into(), third)]);
        }
        alloy.species[3] = Species::Mixed(vec![("Na".into(), 0.1), ("K".into(), 0.2)]);
        alloy.check().unwrap();
        assert_eq!(alloy.formula().unwrap(), Formula::parse("Na1.1K1.2Cl4").unwrap());
        assert!((alloy.atoms() - 6.3).abs() < 1e-12);
        assert!((alloy.volume_per_atom().unwrap() - 179.4252 / 6.3).abs() < 1e-3);
    }

    #[test]
    fn a_molecule_has_a_formula_and_no_volume() {
        let mut molecule = salt();
        molecule.lattice = None;
        molecule.check().unwrap();
        assert_eq!(molecule.formula().unwrap(), Formula::parse("NaCl").unwrap());
        assert_eq!((molecule.volume_a3(), molecule.volume_per_atom(), molecule.density_g_cm3()), (None, None, None));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        assert!(refused(|s| drop(s.species.pop())).contains("7 species and 8 positions"));
        assert!(refused(|s| (s.species, s.positions) = (vec![], vec![])).contains("no sites"));
        assert!(refused(|s| s.positions[1][2] = f64::NAN).contains("site 2 is NaN"));
        assert!(refused(|s| s.lattice = Some([[1e7, 0.0, 0.0]; 3])).contains("lattice vector 1 is 10000000"));
        assert!(refused(|s| s.lattice = Some([[1.0, 0.0, 0.0]; 3])).contains("span 0 Å³"));
        assert!(refused(|s| s.species[4] = Species::Element("Xx".into())).contains("site 5: 'Xx'"));
        assert!(refused(|s| s.species[0] = Species::Mixed(vec![])).contains("site 1: the occupancy is 0"));
        assert!(refused(|s| s.species[0] = Species::Mixed(vec![("Na".into(), -0.5)])).contains("is -0.5"));
        assert!(refused(|s| s.species[0] = Species::Mixed(vec![("Na".into(), 1e-7)])).contains("is 0.0000001"));
        let over = vec![("Na".to_owned(), 0.9), ("K".to_owned(), 0.2)];
        assert!(refused(|s| s.species[0] = Species::Mixed(over)).contains("is 1.1"));
        let many = |s: &mut Structure| {
            s.species = vec![Species::Element("H".into()); MAX_SITES + 1];
            s.positions = vec![[0.0; 3]; MAX_SITES + 1];
        };
        assert!(refused(many).contains("20001 sites"));
    }

    #[test]
    fn rounding_makes_the_text_short_and_keeps_it_the_same_when_read_again() {
        let mut structure = salt();
        structure.positions[0] = [1.0 / 3.0, -1e-12, 1.5];
        structure.species[0] = Species::Mixed(vec![("Na".into(), 2.0 / 3.0)]);
        let rounded = structure.rounded();
        assert_eq!(rounded.positions[0], [0.3333333, 0.0, 1.5]);
        assert!(rounded.positions[0][1].is_sign_positive());
        let text = serde_json::to_string(&rounded).unwrap();
        assert!(
            text.contains(r#""species":[[["Na",0.666667]],"Na""#) && text.contains("[0.3333333,0.0,1.5]"),
            "{text}"
        );
        assert_eq!(Structure::from_json(&text).unwrap(), rounded);
        assert_eq!(rounded.clone().rounded(), rounded);
    }

    #[test]
    fn other_text_is_not_a_structure() {
        for (text, said) in [
            ("{", "EOF"),
            (r#"{"species":["H"],"positions":[[0,0,0]],"x":1}"#, "unknown field"),
            (r#"{"species":["H"],"positions":[[0,0]]}"#, "length 2"),
            (r#"{"species":["H"],"positions":[]}"#, "1 species and 0 positions"),
        ] {
            let error = Structure::from_json(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let long = " ".repeat(MAX_JSON_BYTES + 1);
        assert_eq!(Structure::from_json(&long), Err(StructureProblem::TooLong(MAX_JSON_BYTES + 1)));
    }
}
