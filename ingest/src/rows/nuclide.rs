//! Which element or isotope does a symbol name? Isotopes count as their element, by their own mass.

use datasets::element::Element;
use datasets::formula::{Basis, Formula, FormulaError};

/// Masses of light isotopes in u (AME2020); those of others are their mass numbers within a thousandth.
const LIGHT: [(&str, u16, f64); 10] = [
    ("H", 1, 1.007_825),
    ("H", 2, 2.014_102),
    ("H", 3, 3.016_049),
    ("He", 3, 3.016_029),
    ("He", 4, 4.002_603),
    ("Li", 6, 6.015_123),
    ("Li", 7, 7.016_003),
    ("Be", 9, 9.012_183),
    ("B", 10, 10.012_937),
    ("B", 11, 11.009_305),
];

/// An element, or one of its isotopes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Nuclide {
    pub(super) element: Element,
    /// Mass of the isotope in u; none of the element as it is found.
    mass: Option<f64>,
}

impl From<Element> for Nuclide {
    fn from(element: Element) -> Nuclide {
        Nuclide { element, mass: None }
    }
}

impl Nuclide {
    /// Reads `U`, `U235`, `U-235`, `235U`, `D` or `T`.
    pub(super) fn from_symbol(text: &str) -> Option<Nuclide> {
        if let Some(element) = Element::from_symbol(text) {
            return Some(Nuclide::from(element));
        }
        let (symbol, number) = match text {
            "D" => ("H", "2"),
            "T" => ("H", "3"),
            _ => {
                let letters = text.trim_start_matches(|c: char| c.is_ascii_digit());
                let leading = &text[..text.len() - letters.len()];
                let symbol = letters.trim_end_matches(|c: char| c.is_ascii_digit());
                let trailing = &letters[symbol.len()..];
                if leading.is_empty() == trailing.is_empty() {
                    return None;
                }
                (symbol.trim_matches('-'), if leading.is_empty() { trailing } else { leading })
            }
        };
        let element = Element::from_symbol(symbol)?;
        let number: u16 = number.parse().ok().filter(|_| number.len() <= 3)?;
        let protons = u16::from(element.number());
        // from hydrogen 1 and 3 to the heaviest, which have fewer than three neutrons for two protons
        if number < protons || number > 3 * protons {
            return None;
        }
        let light = LIGHT.iter().find(|(of, n, _)| *of == symbol && *n == number);
        Some(Nuclide { element, mass: Some(light.map_or(f64::from(number), |(_, _, mass)| *mass)) })
    }
}

/// The composition of shares in a basis.
///
/// # Errors
/// As [`Formula::from_fractions`].
pub(super) fn formula(parts: &[(Nuclide, f64)], basis: Basis) -> Result<Formula, FormulaError> {
    let shares: Vec<(Element, f64)> = parts.iter().map(|(nuclide, share)| (nuclide.element, *share)).collect();
    let made = Formula::from_fractions(&shares, basis)?;
    if !basis.is_by_mass() || parts.iter().all(|(nuclide, _)| nuclide.mass.is_none()) {
        return Ok(made);
    }
    let atoms = |(nuclide, share): &(Nuclide, f64)| {
        (nuclide.element, share / nuclide.mass.unwrap_or_else(|| nuclide.element.atomic_mass()))
    };
    let mut atoms: Vec<(Element, f64)> = parts.iter().map(atoms).collect();
    let sum: f64 = atoms.iter().map(|(_, atoms)| atoms).sum();
    atoms.iter_mut().for_each(|(_, atoms)| *atoms /= sum);
    Formula::from_fractions(&atoms, Basis::AtomicFraction)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_elements_and_isotopes() {
        for (text, symbol, mass) in [
            ("U", "U", None),
            ("U235", "U", Some(235.0)),
            ("Pu-239", "Pu", Some(239.0)),
            ("10B", "B", Some(10.012_937)),
            ("D", "H", Some(2.014_102)),
            ("H2", "H", Some(2.014_102)),
        ] {
            let read = Nuclide::from_symbol(text).unwrap();
            assert_eq!((read.element.symbol(), read.mass), (symbol, mass), "{text}");
        }
        for text in ["", "235", "Xx235", "Fe2", "H4", "U1000", "2U235", "Steel", "-", "Ü2"] {
            assert_eq!(Nuclide::from_symbol(text), None, "{text}");
        }
    }

    #[test]
    fn isotopes_count_by_their_own_mass() {
        let part = |symbol, share| (Nuclide::from_symbol(symbol).unwrap(), share);
        let heavy_water = formula(&[part("D", 0.201_136_6), part("O", 0.798_863_4)], Basis::MassFraction).unwrap();
        assert!((heavy_water.atomic_fraction(Element::HYDROGEN) - 2.0 / 3.0).abs() < 2e-6, "{heavy_water:?}");
    }
}
