//! A formula as text.

use super::Formula;
use crate::element::Element;
use std::fmt::{self, Write as _};

/// Non-metals and metalloids in the order in which formulas name them, after all metals: the sequence of IUPAC's nomenclature of
/// inorganic chemistry (B, Si, C, Sb, As, P, N, H, Te, Se, S, At, I, Br, Cl, O, F), with Ge beside Si, and Si before B (SiB6). By atomic number.
const NON_METALS: [u8; 18] = [
    14, 32, 5, 6, // Si Ge B C
    51, 33, 15, 7, 1, // Sb As P N H
    52, 34, 16, // Te Se S
    85, 53, 35, 17, 8, 9, // At I Br Cl O F
];

impl Formula {
    /// The canonical reduced formula: symbols in alphabetical order, integer amounts without a common divisor, 1 left out (`AsGa`,
    /// `O2Si`, `AlCo2Cr2Fe2Ni2`). OPTIMADE's `chemical_formula_reduced`.
    pub fn reduced(&self) -> String {
        let mut text = String::with_capacity(4 * self.amounts.len());
        for &(element, amount) in &self.amounts {
            push(&mut text, element.symbol(), amount);
        }
        text
    }

    /// The formula as chemists write it: `GaAs`, `SiO2`, `Al0.333CrFeCoNi`. [`Formula::parse`] reads it back exactly.
    ///
    /// Order: with carbon and hydrogen Hill's (C, H, then alphabetical). Otherwise metals by rising electronegativity (Pauling), then
    /// the non-metals in IUPAC's sequence, in which electronegativity mostly rises too (`PtAs2`, `MoSi2`, `NH3`, `H2O`, `OF2`), with H
    /// before Sb, As, P, N and C where oxygen makes it an acid (`HNO3`). Ties are alphabetical. Elements of unknown electronegativity
    /// come last, but for the lanthanides and actinides among them, which stand where their neighbours stand (`Eu2O3`).
    ///
    /// Amounts: the integers of the reduced formula where none is above 100, otherwise decimals, scaled by a power of ten so that the
    /// largest lies in 1 to 10.
    pub fn display(&self) -> String {
        let mut ordered = self.amounts.to_vec();
        if !(self.contains(Element::CARBON) && self.contains(Element::HYDROGEN)) {
            let acid = self.contains(Element::HYDROGEN) && self.contains(Element::OXYGEN);
            ordered.sort_by(|&(a, _), &(b, _)| place(a, acid).total_cmp(&place(b, acid)));
        } else {
            ordered.sort_by_key(|&(element, _)| match element {
                Element::CARBON => 0,
                Element::HYDROGEN => 1,
                _ => 2,
            });
        }
        let largest = ordered.iter().map(|&(_, amount)| amount).max().unwrap_or(1);
        let mut text = String::with_capacity(4 * ordered.len());
        if largest <= 100 {
            for (element, amount) in ordered {
                push(&mut text, element.symbol(), amount);
            }
        } else {
            let places = largest.ilog10();
            for (element, amount) in ordered {
                text.push_str(element.symbol());
                push_decimal(&mut text, amount, places);
            }
        }
        text
    }

    /// The anonymous formula: `A2B` for H2O, amounts in descending order. OPTIMADE's `chemical_formula_anonymous`.
    pub fn anonymous(&self) -> String {
        let mut amounts: Vec<u64> = self.amounts.iter().map(|&(_, amount)| amount).collect();
        amounts.sort_unstable_by(|a, b| b.cmp(a));
        let mut text = String::with_capacity(3 * amounts.len());
        for (index, amount) in amounts.into_iter().enumerate() {
            text.push((b'A' + (index % 26) as u8) as char);
            if index >= 26 {
                text.push((b'a' + (index / 26 - 1) as u8) as char);
            }
            push(&mut text, "", amount);
        }
        text
    }
}

impl fmt::Display for Formula {
    /// As [`Formula::display`] writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.display())
    }
}

impl fmt::Debug for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Formula({})", self.reduced())
    }
}

/// Where the element stands in a formula without carbon and hydrogen both: metals by electronegativity (0 to 5), then non-metals
/// (10 and up), then the unknown.
fn place(element: Element, acid: bool) -> f64 {
    if let Some(index) = NON_METALS.iter().position(|&number| number == element.number()) {
        return if acid && element == Element::HYDROGEN { 12.5 } else { 10.0 + index as f64 };
    }
    match (element.electronegativity(), element.number()) {
        (Some(electronegativity), _) => electronegativity,
        (None, 57..=71) => 1.2,
        (None, 89..=103) => 1.3,
        (None, _) => 100.0,
    }
}

fn push(text: &mut String, symbol: &str, amount: u64) {
    text.push_str(symbol);
    match amount {
        1 => {}
        2..=9 => text.push((b'0' + amount as u8) as char),
        // writing to a String cannot fail
        _ => {
            let _ = write!(text, "{amount}");
        }
    }
}

/// Appends `amount / 10^places`, nothing where that is 1.
fn push_decimal(text: &mut String, amount: u64, places: u32) {
    let one = 10u64.pow(places);
    if amount == one {
        return;
    }
    let _ = write!(text, "{}", amount / one);
    if !amount.is_multiple_of(one) {
        let _ = write!(text, ".{:0width$}", amount % one, width = places as usize);
        text.truncate(text.trim_end_matches('0').len());
    }
}
