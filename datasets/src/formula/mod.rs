//! What is in this material?
//!
//! A [`Formula`] is an exact composition: which elements, in which ratio. It is read from text with [`Formula::parse`], from alloy
//! columns with [`Formula::from_fractions`] and from alloy designations with [`Formula::parse_with_basis`].

mod basis;
mod decimal;
mod error;
mod parse;
#[cfg(test)]
mod tests;
mod write;

pub use basis::Basis;
pub use error::{FormulaError, FormulaProblem};
pub use parse::Parsed;

use crate::element::Element;
use decimal::Decimal;

/// The longest text that is read as a formula, in characters.
pub const MAX_CHARACTERS: usize = 1_000;
/// The most brackets that may be open at one place.
pub const MAX_DEPTH: usize = 32;
/// The largest amount, as written or after multiplication by a bracket's or a dot's multiplier.
pub const MAX_AMOUNT: u128 = 1_000_000_000;
/// One u per cubic angstrom in g/cm³ (CODATA 2018: 1 u = 1.66053907e-24 g).
pub const U_PER_CUBIC_ANGSTROM_IN_G_PER_CM3: f64 = 1.66053907;

/// An exact composition: elements with their amounts as integers without a common divisor.
///
/// Two formulas are equal, and hash equally, where their ratios are equal: `Si2O4` is `SiO2`, and `Al0.5CoCrFeNi` is `AlCo2Cr2Fe2Ni2`.
/// The amounts as written are not kept. The order of formulas compares elements (by atomic number, in the alphabetical order in which
/// the formula holds them) and amounts; it is total and stable, and has no chemical meaning.
///
/// It holds at least one element, every amount is above zero, and each fits in 64 bits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Formula {
    /// Alphabetical by symbol.
    amounts: Box<[(Element, u64)]>,
}

impl Formula {
    /// The elements with their integer amounts in the reduced formula, alphabetical by symbol.
    #[inline]
    pub fn amounts(&self) -> &[(Element, u64)] {
        &self.amounts
    }

    /// The elements, alphabetical by symbol.
    pub fn elements(&self) -> impl ExactSizeIterator<Item = Element> + '_ {
        self.amounts.iter().map(|&(element, _)| element)
    }

    /// How many different elements there are.
    #[inline]
    pub fn nelements(&self) -> usize {
        self.amounts.len()
    }

    /// Whether the element is in the material.
    pub fn contains(&self, element: Element) -> bool {
        self.elements().any(|held| held == element)
    }

    /// The elements as bits: bit n is set where the element of atomic number n is in the material.
    pub fn element_bits(&self) -> u128 {
        self.elements().fold(0, |bits, element| bits | 1 << element.number())
    }

    /// How many atoms the reduced formula holds.
    pub fn natoms(&self) -> u128 {
        self.amounts.iter().map(|&(_, amount)| u128::from(amount)).sum()
    }

    /// Share of the atoms that are of this element, 0 to 1; 0 where the element is not in the material.
    pub fn atomic_fraction(&self, element: Element) -> f64 {
        let amount = self.amounts.iter().find(|&&(held, _)| held == element).map_or(0, |&(_, amount)| amount);
        amount as f64 / self.natoms() as f64
    }

    /// The elements with their shares of the atoms, which sum to 1, alphabetical by symbol.
    pub fn fractions(&self) -> impl ExactSizeIterator<Item = (Element, f64)> + '_ {
        let natoms = self.natoms() as f64;
        self.amounts.iter().map(move |&(element, amount)| (element, amount as f64 / natoms))
    }

    /// The elements with their shares of the mass, which sum to 1, alphabetical by symbol.
    pub fn mass_fractions(&self) -> impl ExactSizeIterator<Item = (Element, f64)> + '_ {
        let mass = self.molar_mass();
        self.amounts.iter().map(move |&(element, amount)| (element, amount as f64 * element.atomic_mass() / mass))
    }

    /// Mass of the reduced formula unit in u, which is its molar mass in g/mol.
    pub fn molar_mass(&self) -> f64 {
        self.amounts.iter().map(|&(element, amount)| amount as f64 * element.atomic_mass()).sum()
    }

    /// Mean mass of an atom in u.
    pub fn mean_atomic_mass(&self) -> f64 {
        self.molar_mass() / self.natoms() as f64
    }

    /// Density in g/cm³ of a material of this composition whose atoms take up `volume_a3_per_atom` Å³ each, as cell volumes over the
    /// number of atoms: mean atomic mass (u) / volume (Å³) × 1.66053907.
    pub fn density_from_volume(&self, volume_a3_per_atom: f64) -> f64 {
        self.mean_atomic_mass() / volume_a3_per_atom * U_PER_CUBIC_ANGSTROM_IN_G_PER_CM3
    }

    /// From whole amounts in any order; an element may occur twice, and zeros are dropped.
    ///
    /// # Errors
    /// Every amount is zero, or the reduced sums do not fit 64 bits.
    pub fn from_amounts(amounts: &[(Element, u64)]) -> Result<Formula, FormulaError> {
        let whole = |&(element, amount): &(Element, u64)| (element, Decimal::whole(u128::from(amount)));
        let terms: Vec<(Element, Decimal)> = amounts.iter().map(whole).collect();
        Formula::from_terms(&terms).map_err(|problem| {
            let text: Vec<String> = amounts.iter().map(|(element, amount)| format!("{element}{amount}")).collect();
            FormulaError::new(&text.join(" "), None, problem)
        })
    }

    /// From exact amounts in any order, elements repeated or not.
    fn from_terms(terms: &[(Element, Decimal)]) -> Result<Formula, FormulaProblem> {
        let places = terms.iter().map(|(_, amount)| amount.places).max().unwrap_or(0);
        let mut sums: Vec<(Element, u128)> = Vec::with_capacity(terms.len());
        for &(element, amount) in terms {
            let scaled = amount.scaled_to(places)?;
            match sums.iter_mut().find(|(held, _)| *held == element) {
                Some((_, sum)) => *sum = sum.checked_add(scaled).ok_or(FormulaProblem::TooManyDigits)?,
                None => sums.push((element, scaled)),
            }
        }
        sums.retain(|&(_, sum)| sum > 0);
        sums.sort_unstable_by_key(|&(element, _)| element.alphabetical_rank());
        let divisor = sums.iter().fold(0, |divisor, &(_, sum)| greatest_common_divisor(divisor, sum));
        if divisor == 0 {
            return Err(FormulaProblem::NothingLeft);
        }
        let amounts: Result<Box<[_]>, _> =
            sums.iter().map(|&(element, sum)| u64::try_from(sum / divisor).map(|amount| (element, amount))).collect();
        Ok(Formula { amounts: amounts.map_err(|_| FormulaProblem::TooManyDigits)? })
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
