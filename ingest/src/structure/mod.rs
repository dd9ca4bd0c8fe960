//! Which structure does a text hold?
//!
//! [`parse`] finds out what the text of one structure is and reads it: CIF ([`cif`]), POSCAR ([`poscar`]), XYZ and extended XYZ
//! ([`xyz`]), and objects in JSON or as Python prints them ([`object`]): pymatgen's, OPTIMADE's and the structure of a record.
//! [`describe`] says what follows from a structure.
//!
//! Sites are kept in the order of the source and are not wrapped into the cell, but for CIF, whose symmetry operators are applied.
//! Coordinates are rounded as by [`Structure::rounded`].

mod cif;
mod describe;
mod object;
mod poscar;
mod python;
mod symmetry;
#[cfg(test)]
mod tests;
mod xyz;

use std::borrow::Cow;
use std::fmt;

use datasets::element::Element;
use datasets::structure::{Species, Structure};

pub use describe::{Description, MAX_SYMMETRY_SITES, SYMPREC_A, describe};

/// The longest text that is read, in bytes.
pub const MAX_BYTES: usize = 8 << 20;
/// The most symmetry operators that a CIF may list: those of a face-centred cubic cell, times eight for a larger cell.
pub const MAX_OPERATORS: usize = 192 * 8;

/// What the text of a structure can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Crystallographic Information File.
    Cif,
    /// VASP's POSCAR, versions 4 and 5.
    Poscar,
    /// XYZ, plain or extended.
    Xyz,
    /// JSON, or an object as Python prints it.
    Object,
    /// Not known.
    Unknown,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Cif => "CIF",
            Format::Poscar => "POSCAR",
            Format::Xyz => "XYZ",
            Format::Object => "JSON structure",
            Format::Unknown => "structure",
        })
    }
}

/// A text that is not a structure: what is wrong with it, where, and how to mend it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{format}{}: {what}{}{mend}", line.map(|line| format!(", line {line}")).unwrap_or_default(), if mend.is_empty() { "" } else { "; " })]
pub struct StructureError {
    /// What the text was read as.
    pub format: Format,
    /// The line at fault, counted from 1; none where the text as a whole is at fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// How to mend it; empty where `what` says so.
    pub mend: Cow<'static, str>,
}

impl StructureError {
    fn new(
        format: Format,
        line: impl Into<Option<usize>>,
        what: impl Into<String>,
        mend: impl Into<Cow<'static, str>>,
    ) -> StructureError {
        StructureError { format, line: line.into(), what: what.into(), mend: mend.into() }
    }
}

/// Reads the text of one structure, in whichever format it is. Line breaks written as `\n`, as some tables hold them, are understood.
///
/// # Errors
/// The text is no structure or none that can be kept ([`Structure::check`]), holds several, or is longer than [`MAX_BYTES`].
pub fn parse(text: &str) -> Result<Structure, StructureError> {
    if text.len() > MAX_BYTES {
        let what = format!("the text has {} bytes, and at most {MAX_BYTES} are read", text.len());
        return Err(StructureError::new(Format::Unknown, None, what, "give one structure, as its primitive cell"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.trim_start().chars().next();
    let escaped = !text.trim().contains('\n') && text.contains("\\n") && first != Some('{');
    let text =
        if escaped { Cow::Owned(text.replace("\\r\\n", "\n").replace("\\n", "\n")) } else { Cow::Borrowed(text) };
    let format = sniff(&text);
    let structure = match format {
        Format::Object => object::parse(&text),
        Format::Cif => cif::parse(&text),
        Format::Poscar => poscar::parse(&text),
        Format::Xyz => xyz::parse(&text),
        Format::Unknown => {
            let mend = "write CIF, POSCAR, XYZ, or JSON of pymatgen or OPTIMADE";
            Err(StructureError::new(format, None, "this is the text of no structure that is known here", mend))
        }
    }?;
    let structure = structure.rounded();
    structure.check().map_err(|problem| StructureError::new(format, None, problem.to_string(), ""))?;
    Ok(structure)
}

/// What the text looks like.
fn sniff(text: &str) -> Format {
    if text.trim_start().starts_with('{') {
        return Format::Object;
    }
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().trim();
    let second = lines.next().unwrap_or_default();
    let numbers = |line: &str| line.split_whitespace().map_while(|word| word.parse::<f64>().ok()).count();
    // before CIF, for the comment of a POSCAR may be anything
    if matches!(numbers(second), 1 | 3) && lines.take(3).filter(|line| numbers(line) >= 3).count() == 3 {
        return Format::Poscar;
    }
    let is_cif = |line: &str| {
        let line = line.trim_start();
        let starts = |word: &str| line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        starts("data_") || starts("_cell") || starts("loop_") || starts("_atom_site") || starts("_symmetry")
    };
    if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit()) {
        return Format::Xyz;
    }
    if text.lines().any(is_cif) { Format::Cif } else { Format::Unknown }
}

/// The element of a symbol with what sources write behind it: `Fe3+`, `O2-`, `Fe1A`, `FE`, `Fe_pv`. `D` and `T` are hydrogen.
/// In a `label`, two capitals are one element and more (`CA1` is carbon).
fn element(text: &str, label: bool) -> Option<Element> {
    let letters = text.trim().as_bytes();
    let first = letters.first().filter(|first| first.is_ascii_alphabetic())?.to_ascii_uppercase();
    let second = letters.get(1).copied().filter(u8::is_ascii_alphabetic);
    let third = letters.get(2).is_some_and(u8::is_ascii_alphabetic);
    let symbol = |second: Option<u8>| {
        let bytes = [first, second.unwrap_or_default().to_ascii_lowercase()];
        match std::str::from_utf8(bytes.get(..1 + usize::from(second.is_some()))?).ok()? {
            "D" | "T" => Some(Element::HYDROGEN),
            symbol => Element::from_symbol(symbol),
        }
    };
    let one_first = second.is_some_and(|second| second.is_ascii_uppercase()) && (label || third);
    match second {
        None => symbol(None),
        Some(_) if one_first => symbol(None).or_else(|| symbol(second)),
        Some(_) => symbol(second).or_else(|| symbol(None).filter(|_| label || third)),
    }
}

/// A species of one element.
fn species(element: Element) -> Species {
    Species::Element(element.symbol().to_owned())
}

/// `text` cut for a message.
fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

type Matrix = [[f64; 3]; 3];

/// Lattice vectors, one a row, from lengths (Å) and angles (°): a along x, b in the xy plane. None where no cell has these angles.
fn lattice_of(lengths: [f64; 3], angles: [f64; 3]) -> Option<Matrix> {
    let [a, b, c] = lengths;
    let cosine = |angle: f64| if angle == 90.0 { 0.0 } else { angle.to_radians().cos() };
    let [ca, cb, cg] = angles.map(cosine);
    let sg = (1.0 - cg * cg).sqrt();
    let cy = (ca - cb * cg) / sg;
    let cz = (1.0 - cb * cb - cy * cy).sqrt();
    let lattice = [[a, 0.0, 0.0], [b * cg, b * sg, 0.0], [c * cb, c * cy, c * cz]];
    let valid = angles.iter().all(|angle| *angle > 0.0 && *angle < 180.0) && lengths.iter().all(|length| *length > 0.0);
    (valid && lattice.iter().flatten().all(|number| number.is_finite()) && cz > 0.0).then_some(lattice)
}

/// What turns Cartesian positions (rows, Å) into fractions of the lattice vectors; none where these lie in a plane.
fn inverse(m: &Matrix) -> Option<Matrix> {
    let determinant = datasets::structure::determinant(m);
    let minor = |r: [usize; 2], c: [usize; 2]| m[r[0]][c[0]] * m[r[1]][c[1]] - m[r[0]][c[1]] * m[r[1]][c[0]];
    const OTHERS: [[usize; 2]; 3] = [[1, 2], [0, 2], [0, 1]];
    let mut inverse = [[0.0; 3]; 3];
    for (i, row) in inverse.iter_mut().enumerate() {
        for (j, number) in row.iter_mut().enumerate() {
            let sign = if (i + j) % 2 == 0 { 1.0 } else { -1.0 };
            *number = sign * minor(OTHERS[j], OTHERS[i]) / determinant;
        }
    }
    inverse.iter().flatten().all(|number| number.is_finite()).then_some(inverse)
}

/// The row vector times the matrix.
fn times(v: [f64; 3], m: &Matrix) -> [f64; 3] {
    [0, 1, 2].map(|j| v[0] * m[0][j] + v[1] * m[1][j] + v[2] * m[2][j])
}
