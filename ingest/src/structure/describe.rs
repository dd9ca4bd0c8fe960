//! What follows from a structure?

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use datasets::element::Element;
use datasets::formula::Formula;
use datasets::structure::{Species, Structure, StructureProblem};
use moyo::MoyoDataset;
use moyo::base::{Cell, Lattice, Position};

/// How far atoms may be off their symmetric places, in Å, as is the habit of pymatgen.
pub const SYMPREC_A: f64 = 0.01;
/// The most sites for which the space group is searched, since the time grows with their square.
pub const MAX_SYMMETRY_SITES: usize = 1_000;

/// No two atoms are nearer than this, Å: the bond of H2 has 0.74.
const NEAREST_A: f64 = 0.5;

/// What follows from a structure.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// What it is made of, weighted by the occupancies.
    pub formula: Formula,
    /// Number of the space group in the International Tables, 1 to 230, by `moyo` with [`SYMPREC_A`]. None for a molecule, above
    /// [`MAX_SYMMETRY_SITES`], and where the search fails (as for atoms on top of each other).
    pub space_group: Option<i16>,
    /// Volume over atoms in Å³/atom; none for a molecule.
    pub volume_per_atom: Option<f64>,
    /// Density in g/cm³; none for a molecule.
    pub density: Option<f64>,
    /// The least distance in Å of two atoms that are always there, where no two atoms can be so near (0.5 Å); not looked
    /// for above [`MAX_SYMMETRY_SITES`].
    pub crowded: Option<f64>,
}

/// Derives formula, space group, volume per atom and density.
///
/// # Errors
/// What [`Structure::check`] refuses.
pub fn describe(structure: &Structure) -> Result<Description, StructureProblem> {
    structure.check()?;
    Ok(Description {
        formula: structure.formula()?,
        space_group: space_group(structure),
        volume_per_atom: structure.volume_per_atom(),
        density: structure.density_g_cm3(),
        crowded: crowded(structure),
    })
}

fn crowded(structure: &Structure) -> Option<f64> {
    let whole = |(_, species): &(&[f64; 3], &Species)| matches!(species, Species::Element(_));
    let sites: Vec<[f64; 3]> =
        structure.positions.iter().zip(&structure.species).filter(whole).map(|(position, _)| *position).collect();
    if sites.len() > MAX_SYMMETRY_SITES {
        return None;
    }
    let apart = |one: &[f64; 3], other: &[f64; 3]| {
        let step = [0, 1, 2].map(|i| one[i] - other[i]);
        let step = match structure.lattice {
            Some(lattice) => {
                let step = step.map(|x| x - x.round());
                [0, 1, 2].map(|i| (0..3).map(|j| step[j] * lattice[j][i]).sum::<f64>())
            }
            None => step,
        };
        step.iter().map(|x| x * x).sum::<f64>().sqrt()
    };
    let pairs = sites.iter().enumerate().flat_map(|(at, one)| sites[at + 1..].iter().map(|other| apart(one, other)));
    pairs.min_by(f64::total_cmp).filter(|least| *least < NEAREST_A)
}

fn space_group(structure: &Structure) -> Option<i16> {
    let lattice = structure.lattice?;
    if structure.positions.len() > MAX_SYMMETRY_SITES {
        return None;
    }
    let numbers = site_types(&structure.species);
    let positions = structure.positions.iter().map(|&[x, y, z]| Position::new(x, y, z)).collect();
    let cell = Cell::new(Lattice::from_basis(lattice), positions, numbers);
    // moyo 0.22 unwraps in its search; a structure that it cannot take has no space group then, rather than ending the job. It owns
    // all that it touches, so nothing is left half changed.
    let found = catch_unwind(AssertUnwindSafe(|| MoyoDataset::with_default(&cell, SYMPREC_A)));
    let number = i16::try_from(found.ok()?.ok()?.number).ok()?;
    (1..=230).contains(&number).then_some(number)
}

/// The atomic number of a site with one element that is always there; each other combination is a type of its own, above 118.
fn site_types(species: &[Species]) -> Vec<i32> {
    let mut mixtures: HashMap<Vec<(&str, u64)>, i32> = HashMap::new();
    let mut numbers = Vec::with_capacity(species.len());
    for species in species {
        numbers.push(match species {
            Species::Element(symbol) => Element::from_symbol(symbol).map_or(0, |element| i32::from(element.number())),
            Species::Mixed(_) => {
                let steps = |(symbol, share): (_, f64)| (symbol, (share * 1e6).round() as u64);
                let mut shares: Vec<(&str, u64)> = species.shares().map(steps).collect();
                shares.sort_unstable();
                let next = 119 + mixtures.len() as i32;
                *mixtures.entry(shares).or_insert(next)
            }
        });
    }
    numbers
}
