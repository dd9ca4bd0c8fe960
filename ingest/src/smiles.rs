//! Which atoms does a SMILES text name?
//!
//! OpenSMILES 1.0: the organic subset with its implicit hydrogens, bracket atoms, bonds, branches, ring closures, dots and `*`, which is
//! an attachment point: the open end of a polymer's repeat unit. Atoms are counted; stereochemistry is read over, and whether aromatic
//! atoms can be given double bonds is not looked at.

use datasets::element::Element;
use datasets::formula::Formula;
use thiserror::Error;

/// The longest text that is read, in bytes.
pub const MAX_BYTES: usize = 20_000;
/// The most branches that may be open at one place.
pub const MAX_DEPTH: usize = 1_000;

/// What a SMILES text says of the composition.
#[derive(Debug, Clone, PartialEq)]
pub struct Molecule {
    /// The composition, reduced as all formulas are (benzene is CH). Of a polymer: that of its repeat unit.
    pub formula: Formula,
    /// How many atoms of each element there are, hydrogens included, by atomic number.
    pub atoms: Vec<(Element, u64)>,
    /// Charge in units of the elementary charge.
    pub charge: i64,
    /// How many `*` there are.
    pub attachment_points: usize,
    /// How many parts dots separate.
    pub parts: usize,
}

impl Molecule {
    /// Whether this is the repeat unit of a polymer: at least two attachment points.
    pub fn is_polymer(&self) -> bool {
        self.attachment_points >= 2
    }

    /// Mean molar mass in g/mol with the atomic masses of [`Element::atomic_mass`]; stated isotopes do not count.
    pub fn molar_mass(&self) -> f64 {
        self.atoms.iter().map(|&(element, count)| element.atomic_mass() * count as f64).sum()
    }
}

/// A text that is not SMILES: what is wrong with it, where, and how to mend it.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("SMILES {text:?}, character {at}: {what}; {mend}")]
pub struct SmilesError {
    /// The text as given, cut after 80 characters.
    pub text: String,
    /// Position of the character at fault, counted from 1.
    pub at: usize,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: &'static str,
}

/// Counts the atoms of a SMILES text, implicit hydrogens included.
///
/// # Errors
/// The text is not SMILES, holds no atoms, or is larger than [`MAX_BYTES`] or [`MAX_DEPTH`] allow.
pub fn formula(text: &str) -> Result<Molecule, SmilesError> {
    let trimmed = text.trim();
    let before = if trimmed.is_empty() { 0 } else { text.len() - text.trim_start().len() };
    let shown = |at: usize, (what, mend): (String, &'static str)| {
        let mut cut: String = text.chars().take(80).collect();
        if cut.len() < text.len() {
            cut.push('…');
        }
        let at = text.get(..before + at).map_or(at, |before| before.chars().count()) + 1;
        SmilesError { text: cut, at, what, mend }
    };
    if trimmed.is_empty() {
        return Err(shown(0, ("it is empty".into(), "write a molecule such as CCO")));
    }
    if trimmed.len() > MAX_BYTES {
        return Err(shown(0, (format!("it has {} bytes", trimmed.len()), "at most 20000 are read; is this SMILES?")));
    }
    let mut reader = Reader::new(trimmed.as_bytes());
    let molecule = reader.read().and_then(|()| reader.count());
    molecule.map_err(|fault| shown(reader.fault_at.unwrap_or(reader.at), fault))
}

type Fault = (String, &'static str);

#[derive(Clone, Copy)]
struct Atom {
    /// None for `*`.
    element: Option<Element>,
    aromatic: bool,
    /// Hydrogens as stated in brackets; none outside brackets, where they follow from the bonds.
    hydrogens: Option<u8>,
    /// Orders of its bonds, an aromatic bond counted as 1.
    bonds: u32,
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the fault is, where that is not `at`.
    fault_at: Option<usize>,
    atoms: Vec<Atom>,
    /// The atom that the next bonds to.
    last: Option<usize>,
    /// The bond that was written before the next atom, with its place.
    bond: Option<(u8, usize)>,
    /// The atoms at which the open branches began, with their places.
    branches: Vec<(usize, usize)>,
    /// Open ring bonds by number: atom, bond as written, place.
    rings: Vec<Option<(usize, Option<u8>, usize)>>,
    charge: i64,
    parts: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Reader<'a> {
        let rings = vec![None; 100];
        let (atoms, branches) = (Vec::new(), Vec::new());
        Reader { text, at: 0, fault_at: None, atoms, last: None, bond: None, branches, rings, charge: 0, parts: 1 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn read(&mut self) -> Result<(), Fault> {
        while let Some(byte) = self.peek() {
            match byte {
                b'-' | b'=' | b'#' | b'$' | b':' | b'/' | b'\\' => {
                    if self.bond.is_some() || self.last.is_none() {
                        return Err(("this bond begins at no atom".into(), "write one bond between two atoms"));
                    }
                    self.bond = Some((byte, self.at));
                    self.at += 1;
                }
                b'(' => {
                    let Some(last) = self.last.filter(|_| self.bond.is_none()) else {
                        return Err(("a branch begins at no atom".into(), "write the bond inside the brackets: C(=O)"));
                    };
                    if self.branches.len() == MAX_DEPTH {
                        return Err(("more than 1000 branches are open".into(), "write the longest chain first"));
                    }
                    self.branches.push((last, self.at));
                    self.at += 1;
                    if self.peek() == Some(b')') {
                        return Err(("the branch is empty".into(), "remove the brackets"));
                    }
                }
                b')' => {
                    self.no_bond_open()?;
                    let Some((last, _)) = self.branches.pop() else {
                        return Err(("this closes a branch that was never opened".into(), "remove it or add its ("));
                    };
                    self.last = Some(last);
                    self.at += 1;
                }
                b'.' => {
                    self.no_bond_open()?;
                    if self.last.is_none() {
                        return Err(("no atom stands before the dot".into(), "remove the dot"));
                    }
                    self.last = None;
                    self.parts += 1;
                    self.at += 1;
                }
                b'0'..=b'9' | b'%' => self.ring()?,
                b'[' => {
                    let atom = self.bracket()?;
                    self.add(atom)?;
                }
                _ => {
                    let start = self.at;
                    let atom = self.organic()?;
                    self.add(atom).inspect_err(|_| self.fault_at = Some(start))?;
                }
            }
        }
        self.no_bond_open()?;
        if self.last.is_none() {
            return Err(("no atom stands behind the dot".into(), "remove the dot"));
        }
        if let Some(&(_, at)) = self.branches.last() {
            self.fault_at = Some(at);
            return Err(("the branch that opens here is never closed".into(), "add its )"));
        }
        if let Some((number, (_, _, at))) = self.rings.iter().enumerate().find_map(|(n, ring)| Some((n, (*ring)?))) {
            self.fault_at = Some(at);
            return Err((format!("the ring {number} that opens here is never closed"), "write its number again"));
        }
        Ok(())
    }

    fn no_bond_open(&mut self) -> Result<(), Fault> {
        match self.bond {
            None => Ok(()),
            Some((_, at)) => {
                self.fault_at = Some(at);
                Err(("this bond ends at no atom".into(), "write the atom behind it or remove it"))
            }
        }
    }

    fn add(&mut self, atom: Atom) -> Result<(), Fault> {
        let new = self.atoms.len();
        self.atoms.push(atom);
        match self.last {
            Some(last) => {
                let bond = self.bond.take().map(|(bond, _)| bond);
                self.connect(last, new, bond);
            }
            None if self.bond.is_some() => return self.no_bond_open(),
            None => {}
        }
        self.last = Some(new);
        Ok(())
    }

    fn connect(&mut self, one: usize, other: usize, bond: Option<u8>) {
        for atom in [one, other] {
            if let Some(atom) = self.atoms.get_mut(atom) {
                atom.bonds += order(bond);
            }
        }
    }

    fn ring(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let fault = |this: &mut Self, what: &str, mend| {
            this.fault_at = Some(start);
            Err((what.to_owned(), mend))
        };
        let number = if self.take(b'%') {
            let digits = self.text.get(self.at..self.at + 2).filter(|d| d.iter().all(u8::is_ascii_digit));
            let Some(&[tens, ones]) = digits else {
                return fault(self, "two digits must follow %", "number rings from 0 to 99");
            };
            self.at += 2;
            usize::from(tens - b'0') * 10 + usize::from(ones - b'0')
        } else {
            let digit = self.peek().map_or(0, |digit| usize::from(digit.saturating_sub(b'0')));
            self.at += 1;
            digit
        };
        let Some(here) = self.last else {
            return fault(self, "this ring number stands behind no atom", "write it directly behind an atom");
        };
        let bond = self.bond.take().map(|(bond, _)| bond);
        let Some(slot) = self.rings.get_mut(number) else {
            return fault(self, "the ring number is above 99", "number rings from 0 to 99");
        };
        match slot.take() {
            None => *slot = Some((here, bond, start)),
            Some((there, _, _)) if there == here => {
                return fault(self, "the ring closes on its own atom", "close it at another atom");
            }
            Some((there, opened, _)) => {
                if opened.is_some() && bond.is_some() && order(opened) != order(bond) {
                    return fault(self, "the ring opens and closes with different bonds", "write its bond once");
                }
                self.connect(there, here, opened.or(bond));
            }
        }
        Ok(())
    }

    /// An atom outside brackets.
    fn organic(&mut self) -> Result<Atom, Fault> {
        let bare = |element, aromatic| Atom { element, aromatic, hydrogens: None, bonds: 0 };
        if self.take(b'*') {
            return Ok(bare(None, false));
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let (symbol, aromatic) = match rest {
            [b'C', b'l', ..] => ("Cl", false),
            [b'B', b'r', ..] => ("Br", false),
            [b'B', ..] => ("B", false),
            [b'C', ..] => ("C", false),
            [b'N', ..] => ("N", false),
            [b'O', ..] => ("O", false),
            [b'P', ..] => ("P", false),
            [b'S', ..] => ("S", false),
            [b'F', ..] => ("F", false),
            [b'I', ..] => ("I", false),
            [b'b', ..] => ("B", true),
            [b'c', ..] => ("C", true),
            [b'n', ..] => ("N", true),
            [b'o', ..] => ("O", true),
            [b'p', ..] => ("P", true),
            [b's', ..] => ("S", true),
            _ => return Err(self.unexpected()),
        };
        self.at += symbol.len();
        Ok(bare(Element::from_symbol(symbol), aromatic))
    }

    fn unexpected(&self) -> Fault {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = String::from_utf8_lossy(rest.get(..rest.len().min(4)).unwrap_or_default());
        let found = found.chars().next().unwrap_or(' ');
        let mend = match found {
            '>' => "this is a reaction; write one molecule",
            '{' | '}' => "this is BigSMILES; write the repeat unit with * at both ends: *CC*",
            c if c.is_whitespace() => "keep the SMILES alone in its cell",
            c if c.is_ascii_alphabetic() => {
                "atoms other than B, C, N, O, P, S, F, Cl, Br, I stand in brackets: [Si], [Na+]"
            }
            _ => "remove it",
        };
        (format!("'{found}' has no meaning here"), mend)
    }

    /// An atom in brackets: isotope, symbol, chirality, hydrogens, charge, class.
    fn bracket(&mut self) -> Result<Atom, Fault> {
        let start = self.at;
        self.at += 1;
        self.number(4)?;
        let (element, aromatic) = self.symbol()?;
        while self.take(b'@') {}
        if matches!(self.text.get(self.at..), Some([b'T', b'H' | b'B', ..] | [b'A', b'L', ..] | [b'S', b'P', ..]))
            || matches!(self.text.get(self.at..), Some([b'O', b'H', ..]))
        {
            self.at += 2;
            self.number(2)?;
        }
        let hydrogens = match self.take(b'H') {
            true => self.number(1)?.unwrap_or(1),
            false => 0,
        };
        for (sign, unit) in [(b'+', 1), (b'-', -1)] {
            if self.take(sign) {
                let mut charge = self.number(2)?;
                while charge.is_none_or(|charge| charge < 15) && self.take(sign) {
                    charge = Some(charge.unwrap_or(1) + 1);
                }
                self.charge += unit * i64::from(charge.unwrap_or(1));
            }
        }
        if self.take(b':') {
            self.number(9)?;
        }
        if !self.take(b']') {
            if self.peek().is_none() {
                self.fault_at = Some(start);
                return Err(("the bracket that opens here is never closed".into(), "add its ]"));
            }
            return Err(("this has no place in brackets".into(), "write isotope, symbol, @, H and charge: [13CH3+]"));
        }
        Ok(Atom { element, aromatic, hydrogens: Some(hydrogens as u8), bonds: 0 })
    }

    /// Up to so many digits.
    fn number(&mut self, digits: usize) -> Result<Option<u32>, Fault> {
        let start = self.at;
        let mut number = 0u32;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            if self.at - start == digits {
                return Err((format!("the number has more than {digits} digits"), "check it"));
            }
            number = number * 10 + u32::from(digit - b'0');
            self.at += 1;
        }
        Ok((self.at > start).then_some(number))
    }

    fn symbol(&mut self) -> Result<(Option<Element>, bool), Fault> {
        if self.take(b'*') {
            return Ok((None, false));
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let aromatic: &[(&[u8], &str)] = &[
            (b"se", "Se"),
            (b"as", "As"),
            (b"te", "Te"),
            (b"si", "Si"),
            (b"b", "B"),
            (b"c", "C"),
            (b"n", "N"),
            (b"o", "O"),
            (b"p", "P"),
            (b"s", "S"),
        ];
        if let Some((letters, symbol)) = aromatic.iter().find(|(letters, _)| rest.starts_with(letters)) {
            self.at += letters.len();
            return Ok((Element::from_symbol(symbol), true));
        }
        for length in [2, 1] {
            let symbol = rest.get(..length).and_then(|letters| std::str::from_utf8(letters).ok());
            if let Some(element) = symbol.and_then(Element::from_symbol) {
                self.at += length;
                return Ok((Some(element), false));
            }
        }
        Err(("no element symbol stands here".into(), "write it as in the periodic table ([2H] for deuterium)"))
    }

    fn count(&mut self) -> Result<Molecule, Fault> {
        let mut counts = [0u64; 119];
        for atom in &self.atoms {
            counts[1] += u64::from(atom.hydrogens.map_or_else(|| implicit_hydrogens(atom), u32::from));
            if let Some(element) = atom.element {
                counts[usize::from(element.number())] += 1;
            }
        }
        let atoms: Vec<(Element, u64)> =
            Element::all().map(|e| (e, counts[usize::from(e.number())])).filter(|(_, count)| *count > 0).collect();
        let Ok(formula) = Formula::from_amounts(&atoms) else {
            self.fault_at = Some(0);
            return Err(("it holds no atoms".into(), "write the atoms between the attachment points: *CC*"));
        };
        let attachment_points = self.atoms.iter().filter(|atom| atom.element.is_none()).count();
        Ok(Molecule { formula, atoms, charge: self.charge, attachment_points, parts: self.parts })
    }
}

/// The order of a bond as written. An aromatic bond counts as 1, for an aromatic atom has one bond more in all.
fn order(bond: Option<u8>) -> u32 {
    match bond {
        Some(b'=') => 2,
        Some(b'#') => 3,
        Some(b'$') => 4,
        _ => 1,
    }
}

/// The hydrogens of an atom outside brackets: those that fill it up to its next normal valence (OpenSMILES 1.0, 3.1.5). Of an aromatic
/// atom one bond goes to the ring, and only its lowest valence is filled.
fn implicit_hydrogens(atom: &Atom) -> u32 {
    let valences: &[u32] = match atom.element.map(Element::symbol) {
        Some("B") => &[3],
        Some("C") => &[4],
        Some("N" | "P") => &[3, 5],
        Some("O") => &[2],
        Some("S") => &[2, 4, 6],
        Some("F" | "Cl" | "Br" | "I") => &[1],
        _ => &[],
    };
    if atom.aromatic {
        return valences.first().map_or(0, |valence| valence.saturating_sub(atom.bonds + 1));
    }
    valences.iter().find(|valence| **valence >= atom.bonds).map_or(0, |valence| valence - atom.bonds)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn atoms(text: &str) -> String {
        formula(text).unwrap().atoms.iter().map(|(element, count)| format!("{element}{count}")).collect()
    }

    #[test]
    fn hydrogens_fill_the_valences() {
        for (text, expected) in [
            ("C", "H4C1"),
            ("CCO", "H6C2O1"),
            ("C=C", "H4C2"),
            ("C#N", "H1C1N1"),
            ("c1ccccc1", "H6C6"),
            ("C1=CC=CC=C1", "H6C6"),
            ("c1ccc2ccccc2c1", "H8C10"),
            ("c1ccncc1", "H5C5N1"),
            ("c1cc[nH]c1", "H5C4N1"),
            ("Cn1cccc1", "H7C5N1"),
            ("c1ccoc1", "H4C4O1"),
            ("c1ccsc1", "H4C4S1"),
            ("O=c1cc[nH]cc1", "H5C5N1O1"),
            ("c1ccccc1-c1ccccc1", "H10C12"),
            ("CS(=O)(=O)C", "H6C2O2S1"),
            ("CS(C)=O", "H6C2O1S1"),
            ("C[N+](=O)[O-]", "H3C1N1O2"),
            ("CN(=O)=O", "H3C1N1O2"),
            ("OP(=O)(O)O", "H3O4P1"),
            ("FC(F)(Cl)Br", "C1F2Cl1Br1"),
            ("[Na+].[Cl-]", "Na1Cl1"),
            ("[13CH4]", "H4C1"),
            ("[2H]O[2H]", "H2O1"),
            ("N[C@@H](C)C(=O)O", "H7C3N1O2"),
            ("F/C=C\\F", "H2C2F2"),
            ("C%12CCCCC%12", "H12C6"),
            ("C1CC=1", "H4C3"),
            ("C=1CC1", "H4C3"),
            ("[Fe+3]", "Fe1"),
            ("[Co@OH12H2--:7]", "H2Co1"),
            ("*CC*", "H4C2"),
            ("[*]CC([*])c1ccccc1", "H8C8"),
            ("[se]1cccc1", "H4C4Se1"),
            ("C0CC0", "H6C3"),
            ("  CC ", "H6C2"),
        ] {
            assert_eq!(atoms(text), expected, "{text}");
        }
    }

    #[test]
    fn charges_parts_and_attachment_points_are_counted() {
        let salt = formula("[Ca++].[Cl-].[Cl-1]").unwrap();
        assert_eq!((salt.charge, salt.parts, salt.attachment_points, salt.is_polymer()), (0, 3, 0, false));
        assert_eq!(formula("[Fe+3]").unwrap().charge, 3);
        let styrene = formula("*CC(*)c1ccccc1").unwrap();
        assert!(styrene.is_polymer() && styrene.attachment_points == 2);
        assert_eq!(styrene.formula, Formula::parse("C8H8").unwrap());
        assert!((styrene.molar_mass() - 104.152).abs() < 2e-3);
        assert!(!formula("*CC").unwrap().is_polymer());
    }

    #[test]
    fn faults_have_a_place_and_a_mend() {
        for (text, at, said) in [
            ("", 1, "empty"),
            ("   ", 1, "empty"),
            ("CC(C", 3, "never closed"),
            ("CC)C", 3, "never opened"),
            ("C()C", 3, "branch is empty"),
            ("C1CC", 2, "ring 1 that opens here"),
            ("C11", 3, "own atom"),
            ("C=1CC#1", 7, "different bonds"),
            ("C=", 2, "ends at no atom"),
            ("C=.C", 2, "ends at no atom"),
            ("C==C", 3, "begins at no atom"),
            ("=C", 1, "begins at no atom"),
            ("(C)", 1, "begins at no atom"),
            ("C.", 3, "behind the dot"),
            (".C", 1, "before the dot"),
            ("1C", 1, "behind no atom"),
            ("C%1", 2, "two digits"),
            ("[CH4", 1, "never closed"),
            ("[Xx]", 2, "no element symbol"),
            ("[C?]", 3, "no place in brackets"),
            ("[12345C]", 6, "more than 4 digits"),
            ("CC ethanol", 3, "alone in its cell"),
            ("CCSi", 4, "in brackets: [Si]"),
            ("C>>C", 2, "reaction"),
            ("Cé", 2, "'é' has no meaning"),
            ("**", 1, "no atoms"),
        ] {
            let error = formula(text).unwrap_err();
            assert_eq!(error.at, at, "{error}");
            assert!(error.to_string().contains(said), "{error}");
        }
        assert!(formula(&"C".repeat(MAX_BYTES + 1)).unwrap_err().what.contains("20001 bytes"));
        assert!(formula(&"C(".repeat(MAX_DEPTH + 1)).unwrap_err().what.contains("1000 branches"));
        assert_eq!(formula(&"C".repeat(MAX_BYTES)).unwrap().atoms[1].1, MAX_BYTES as u64);
    }
}
