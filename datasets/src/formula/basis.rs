//! Compositions by fractions and percentages, as alloys are given.

use super::decimal::Decimal;
use super::parse::{Terms, check_text, read_terms};
use super::{Formula, FormulaError, FormulaProblem};
use crate::element::Element;
use std::fmt;

/// What the numbers of an alloy's composition are shares of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// Shares of the atoms; they sum to 1.
    AtomicFraction,
    /// Shares of the atoms in percent; they sum to 100.
    AtomicPercent,
    /// Shares of the mass; they sum to 1.
    MassFraction,
    /// Shares of the mass in percent; they sum to 100.
    WeightPercent,
}

impl Basis {
    /// What the shares sum to: 1 or 100.
    pub fn whole(self) -> f64 {
        if self.is_percent() { 100.0 } else { 1.0 }
    }

    /// Whether the shares are of the mass, not of the atoms.
    pub fn is_by_mass(self) -> bool {
        matches!(self, Basis::MassFraction | Basis::WeightPercent)
    }

    fn is_percent(self) -> bool {
        matches!(self, Basis::AtomicPercent | Basis::WeightPercent)
    }

    /// Refuses a sum further than 5 % from the whole.
    fn check_sum(self, sum: f64) -> Result<(), FormulaProblem> {
        let tolerance = 1e-9;
        let share = sum / self.whole();
        let near = (0.95 - tolerance..=1.05 + tolerance).contains(&share);
        if near { Ok(()) } else { Err(FormulaProblem::Sum { sum, basis: self }) }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Basis::AtomicFraction => "atomic fractions",
            Basis::AtomicPercent => "atomic percent",
            Basis::MassFraction => "mass fractions",
            Basis::WeightPercent => "weight percent",
        })
    }
}

impl Formula {
    /// From numeric columns, one share an element; an element may occur twice, and zeros are dropped.
    ///
    /// Shares of the mass are divided by the atomic masses, and all are normalised to sum to 1.
    ///
    /// - Shares that are whole numbers of d atoms, as far as their digits go, **are** those numbers: 0.666667 H and 0.333333 O are
    ///   H₂O. d is at most 60, for two elements by mass at most 15, so that hardly an arbitrary mixture falls on one. Of n in d atoms,
    ///   n may be off by n × 10⁻⁵ + d × 10⁻⁶, by mass by n × 2 × 10⁻⁴ + d × 10⁻⁶, because tables of atomic masses differ. An
    ///   element below one atom in d never counts as none.
    /// - All others are **rounded to 10⁻⁶ of the atoms**, so that numbers with the noise of floating point give one composition; a
    ///   share below 5 × 10⁻⁷ is lost.
    ///
    /// Errors: a share that is negative or not finite, and a sum outside 0.95 to 1.05 (95 to 105 in percent).
    pub fn from_fractions(shares: &[(Element, f64)], basis: Basis) -> Result<Formula, FormulaError> {
        compose(shares, basis).map_err(|problem| {
            let text: Vec<String> = shares.iter().map(|(element, share)| format!("{element} {share}")).collect();
            FormulaError::new(&text.join(", "), None, problem)
        })
    }

    /// Reads an alloy whose numbers are shares in the stated basis.
    ///
    /// - Dashes: `Ti-6Al-4V`, `Fe-Cr18-Ni10`, `70Fe-30Ni`. The one part without an amount is the balance. In a basis by mass a part may be
    ///   a compound of a non-metal (`WC-12Co`, `ZrO2-8Y2O3`).
    /// - A formula: `Fe70Ni30`, `Fe 70 Ni 30`; or shares before the elements, with spaces: `70Fe 30Ni`.
    /// - `wt%`, `mass%`, `at.%` or `%` may end the text, also in brackets, and must agree with the basis.
    ///
    /// Shares of atoms stay exact decimals. Shares of mass are converted, and rounded, as by [`Formula::from_fractions`]. The sum must
    /// lie in 0.95 to 1.05 (95 to 105 in percent).
    pub fn parse_with_basis(text: &str, basis: Basis) -> Result<Formula, FormulaError> {
        let whole_text = |problem| FormulaError::new(text, None, problem);
        check_text(text)?;
        let body = strip_note(text, basis).map_err(whole_text)?;
        let parts = split_parts(body);
        let terms = match parts.as_slice() {
            [_] => {
                let moved = |error: FormulaError| {
                    FormulaError::new(text, error.at.map(|at| at + offset_in(text, body)), error.problem)
                };
                read_terms(body).map_err(moved)?.0
            }
            _ => read_parts(text, &parts, basis)?,
        };
        if basis.is_by_mass() {
            let shares: Vec<(Element, f64)> = terms.iter().map(|&(element, share)| (element, share.to_f64())).collect();
            return compose(&shares, basis).map_err(whole_text);
        }
        let sum = terms.iter().map(|(_, share)| share.to_f64()).sum();
        basis.check_sum(sum).and_then(|()| Formula::from_terms(&terms)).map_err(whole_text)
    }
}

fn compose(shares: &[(Element, f64)], basis: Basis) -> Result<Formula, FormulaProblem> {
    const STEPS: f64 = 1e6;
    if shares.is_empty() {
        return Err(FormulaProblem::Empty);
    }
    if let Some(&(element, amount)) = shares.iter().find(|(_, share)| !share.is_finite() || *share < 0.0) {
        return Err(FormulaProblem::Amount { element: element.symbol(), amount });
    }
    basis.check_sum(shares.iter().map(|(_, share)| share).sum())?;
    let by_atoms = |&(element, share): &(Element, f64)| {
        let atoms = if basis.is_by_mass() { share / element.atomic_mass() } else { share };
        (element, atoms)
    };
    // summed by element first, so that the order of the columns cannot change the rounding of a repeated one
    let mut atoms: Vec<(Element, f64)> = shares.iter().map(by_atoms).collect();
    atoms.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    atoms.dedup_by(|next, held| {
        let same = next.0 == held.0;
        if same {
            held.1 += next.1;
        }
        same
    });
    atoms.retain(|(_, atoms)| *atoms > 0.0);
    let sum: f64 = atoms.iter().map(|(_, atoms)| atoms).sum();
    let shares: Vec<f64> = atoms.iter().map(|(_, atoms)| atoms / sum).collect();
    if let Some(whole) = whole_atoms(&shares, basis.is_by_mass()) {
        let terms = atoms.iter().zip(whole).map(|(&(element, _), n)| (element, Decimal::whole(n)));
        return Formula::from_terms(&terms.collect::<Vec<_>>());
    }
    let steps = |atoms: f64| Decimal::whole((atoms / sum * STEPS).round() as u128);
    let terms: Vec<(Element, Decimal)> = atoms.iter().map(|&(element, atoms)| (element, steps(atoms))).collect();
    Formula::from_terms(&terms)
}

/// Shares of the atoms that sum to 1 → how many atoms of each there are in the smallest unit that has whole numbers of them; none where
/// the shares are those of no small unit. The bounds are those of [`Formula::from_fractions`].
fn whole_atoms(shares: &[f64], by_mass: bool) -> Option<Vec<u128>> {
    let (most, relative) = match (by_mass, shares.len()) {
        (false, _) => (60, 1e-5),
        (true, 0..=2) => (15, 2e-4),
        (true, _) => (60, 2e-4),
    };
    (1..=most).map(f64::from).find_map(|unit| {
        let whole = |share: &f64| {
            let atoms = (share * unit).round();
            let near = atoms >= 1.0 && (share * unit - atoms).abs() <= relative * atoms + 1e-6 * unit;
            near.then_some(atoms as u128)
        };
        shares.iter().map(whole).collect()
    })
}

/// The text without the basis that it names at its end.
fn strip_note(text: &str, basis: Basis) -> Result<&str, FormulaProblem> {
    // the longest first; by mass, by atoms, or either
    const NOTES: [(&str, Option<bool>); 16] = [
        ("weight%", Some(true)),
        ("weight %", Some(true)),
        ("mass%", Some(true)),
        ("mass %", Some(true)),
        ("wt.%", Some(true)),
        ("wt. %", Some(true)),
        ("wt%", Some(true)),
        ("wt %", Some(true)),
        ("atomic%", Some(false)),
        ("atomic %", Some(false)),
        ("at.%", Some(false)),
        ("at. %", Some(false)),
        ("at%", Some(false)),
        ("at %", Some(false)),
        ("mol%", Some(false)),
        ("%", None),
    ];
    let trimmed = text.trim();
    let (inner, bracketed) = match (trimmed.strip_suffix(')'), trimmed.strip_suffix(']')) {
        (Some(inner), _) => (inner, Some('(')),
        (_, Some(inner)) => (inner, Some('[')),
        _ => (trimmed, None),
    };
    // lowering ASCII letters keeps every byte where it was
    let lowered = inner.to_ascii_lowercase();
    let Some((note, by_mass)) = NOTES.into_iter().find(|(note, _)| lowered.ends_with(note)) else { return Ok(trimmed) };
    let wrong_kind = by_mass.is_some_and(|by_mass| by_mass != basis.is_by_mass());
    if wrong_kind || !basis.is_percent() {
        return Err(FormulaProblem::Basis { said: note, basis });
    }
    let body = inner.get(..inner.len() - note.len()).unwrap_or_default().trim_end().trim_end_matches([',', ';']);
    Ok(match bracketed {
        Some(open) => body.strip_suffix(open).unwrap_or(body).trim_end(),
        None => body,
    })
}

/// The parts between dashes, or between spaces where shares stand before the elements.
fn split_parts(body: &str) -> Vec<&str> {
    let dash = ['-', '−', '–', '‐', '‑'];
    if body.contains(dash) {
        body.split(dash).map(str::trim).collect()
    } else if body.starts_with(|first: char| first.is_ascii_digit()) && body.contains(' ') {
        body.split_whitespace().collect()
    } else {
        vec![body]
    }
}

/// The terms of a designation: each part a share with an element, but for the balance.
fn read_parts(text: &str, parts: &[&str], basis: Basis) -> Result<Terms, FormulaError> {
    let whole_text = |problem| FormulaError::new(text, None, problem);
    let mut read = Vec::with_capacity(parts.len());
    let mut sum = Decimal::whole(0);
    for part in parts {
        let (share, formula) = read_part(text, part)?;
        if let Some(share) = share {
            sum = sum.plus(share).map_err(whole_text)?;
        }
        read.push((share, formula));
    }
    let without = read.iter().filter(|(share, _)| share.is_none()).count();
    let whole = Decimal::whole(basis.whole() as u128);
    let balance = match without {
        0 => Decimal::whole(0),
        1 => whole
            .minus(sum)
            .map_err(whole_text)?
            .ok_or_else(|| whole_text(FormulaProblem::Sum { sum: sum.to_f64(), basis }))?,
        more => return Err(whole_text(FormulaProblem::Balance(more))),
    };
    let mut terms = Vec::with_capacity(read.len());
    for ((share, formula), part) in read.iter().zip(parts) {
        let share = share.unwrap_or(balance);
        match formula.amounts() {
            [(element, _)] => terms.push((*element, share)),
            _ if basis.is_by_mass() && formula.elements().any(forms_compounds) => {
                for (element, mass_fraction) in formula.mass_fractions() {
                    // shares of mass are rounded to 1e-6 in the end; 1e-12 here does not show
                    let scaled = Decimal { mantissa: (mass_fraction * 1e12).round() as u128, places: 12 };
                    terms.push((element, share.times(scaled).map_err(whole_text)?));
                }
            }
            _ => return Err(whole_text(FormulaProblem::Part { part: (*part).to_owned() })),
        }
    }
    Ok(terms)
}

/// A share, where one is stated, and what it is of: `6Al`, `6 % Al`, `Al6` or `Ti`.
fn read_part(text: &str, part: &str) -> Result<(Option<Decimal>, Formula), FormulaError> {
    let offset = offset_in(text, part);
    let moved = |error: FormulaError, by: usize| {
        FormulaError::new(text, Some(error.at.map_or(offset + 1, |at| at + offset + by)), error.problem)
    };
    let number_length = part.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, rest) = part.split_at(number_length);
    let named = rest.trim_start_matches([' ', '%']);
    let by = number.len() + rest.chars().count() - named.chars().count();
    if number.is_empty() {
        let (terms, _) = read_terms(named.trim_end_matches([' ', '%'])).map_err(|error| moved(error, by))?;
        let formula =
            Formula::from_terms(&terms).map_err(|problem| moved(FormulaError::new(text, None, problem), 0))?;
        let stated = part.ends_with(|last: char| last.is_ascii_digit() || last == '%');
        return Ok(match terms.as_slice() {
            [(_, share)] if stated => (Some(*share), formula),
            _ => (None, formula),
        });
    }
    let (before, behind) = number.split_once('.').unwrap_or((number, ""));
    let digits_only = !behind.contains('.') && number != ".";
    let share = match digits_only {
        true => Decimal::from_digits(before.as_bytes(), behind.as_bytes()),
        false => Err(FormulaProblem::NumberWithoutElement),
    };
    let share = share.map_err(|problem| FormulaError::new(text, Some(offset + 1), problem))?;
    if named.is_empty() {
        return Err(FormulaError::new(text, Some(offset + 1), FormulaProblem::NumberWithoutElement));
    }
    let formula = Formula::parse(named).map_err(|error| moved(error, by))?;
    Ok((Some(share), formula))
}

/// How many characters of `text` stand before `part`, which is a slice of it.
fn offset_in(text: &str, part: &str) -> usize {
    let bytes = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    text.get(..bytes).map_or(0, |before| before.chars().count())
}

/// Whether the element makes compounds of fixed composition with metals, which an alloy designation may name as a part.
fn forms_compounds(element: Element) -> bool {
    matches!(element.symbol(), "H" | "B" | "C" | "N" | "O" | "F" | "Si" | "P" | "S" | "Cl")
}
