//! VASP's POSCAR, versions 4 and 5.

use datasets::element::Element;
use datasets::structure::{MAX_SITES, Structure};

use super::{Format, Matrix, StructureError, cut, element, inverse, species, times};

fn fault(line: usize, what: impl Into<String>, mend: &'static str) -> StructureError {
    StructureError::new(Format::Poscar, line, what, mend)
}

/// Reads: comment; scale (negative: the volume; or three); lattice; symbols (version 5); counts; `Selective dynamics`; `Direct` or
/// `Cartesian`; a line for each site. Version 4 has its symbols behind the sites or in the comment. What follows is not read.
pub(super) fn parse(text: &str) -> Result<Structure, StructureError> {
    let mut lines = text.lines().zip(1..);
    let mut next = |what: &str| {
        lines
            .next()
            .ok_or_else(|| StructureError::new(Format::Poscar, None, format!("the text ends before {what}"), "add it"))
    };
    let (comment, _) = next("the comment")?;
    let (scale_text, scale_line) = next("the scale")?;
    let mut lattice: Matrix = [[0.0; 3]; 3];
    for vector in &mut lattice {
        let (text, line) = next("the lattice vectors")?;
        *vector = three(text).ok_or_else(|| fault(line, "this is no lattice vector", "write three numbers"))?;
    }
    let scale = scale(scale_text, &lattice)
        .ok_or_else(|| fault(scale_line, "this is no scale", "write one number that is not 0, or three above 0"))?;
    for vector in &mut lattice {
        *vector = [0, 1, 2].map(|axis| vector[axis] * scale[axis]);
    }

    let (mut text, mut line) = next("the counts of atoms")?;
    let mut named = None;
    if !text.trim_start().starts_with(|first: char| first.is_ascii_digit()) {
        // a pseudopotential's name may follow the symbol: Fe_pv, Fe/0f3a
        let symbols: Option<Vec<Element>> =
            text.split_whitespace().map(|word| element(word.split(['_', '/']).next()?, false)).collect();
        named = Some(symbols.ok_or_else(|| fault(line, "this names no elements", "write their symbols: Fe O"))?);
        (text, line) = next("the counts of atoms")?;
    }
    let counts: Option<Vec<usize>> = text
        .split_whitespace()
        .take_while(|word| !word.starts_with(['!', '#']))
        .map(|word| word.parse().ok().filter(|count| *count <= MAX_SITES))
        .collect();
    let counts = counts.filter(|counts| !counts.is_empty());
    let counts =
        counts.ok_or_else(|| fault(line, "these are no counts of atoms", "write one up to 20000 per element"))?;
    let sites = counts.iter().fold(0usize, |sum, count| sum.saturating_add(*count));
    if sites > MAX_SITES {
        return Err(fault(
            line,
            format!("there are {sites} sites, and at most {MAX_SITES} are read"),
            "give the primitive cell",
        ));
    }
    if named.as_ref().is_some_and(|named| named.len() != counts.len()) {
        return Err(fault(line, "there are not as many counts as elements", "write one count for each element"));
    }

    let (mut mode, mut mode_line) = next("`Direct` or `Cartesian`")?;
    let selective = mode.trim_start().starts_with(['S', 's']);
    if selective {
        (mode, mode_line) = next("`Direct` or `Cartesian`")?;
    }
    let cartesian = match mode.trim_start().bytes().next() {
        Some(b'C' | b'c' | b'K' | b'k') => true,
        Some(b'D' | b'd') => false,
        _ => {
            return Err(fault(
                mode_line,
                format!("'{}' is no kind of coordinates", cut(mode)),
                "write Direct or Cartesian",
            ));
        }
    };
    let to_fractions = inverse(&lattice).filter(|_| cartesian);
    if cartesian && to_fractions.is_none() {
        return Err(fault(3, "the lattice vectors lie in a plane", "check them"));
    }

    let (mut positions, mut labels) = (Vec::with_capacity(sites), Vec::new());
    for _ in 0..sites {
        let (text, line) = next("the last site")?;
        let position = three(text)
            .ok_or_else(|| fault(line, "this is no site", "write three numbers for each of the counted atoms"))?;
        positions.push(match &to_fractions {
            Some(inverse) => times([0, 1, 2].map(|axis| position[axis] * scale[axis]), inverse),
            None => position,
        });
        let label = text.split_whitespace().nth(if selective { 6 } else { 3 });
        labels.extend(label.and_then(|label| element(label, false)));
    }
    let in_comment = || {
        let symbols: Option<Vec<Element>> = comment.split_whitespace().map(|word| element(word, true)).collect();
        symbols.filter(|symbols| symbols.len() == counts.len())
    };
    let elements: Vec<Element> = match named {
        Some(named) => spread(&named, &counts),
        None if labels.len() == sites && sites > 0 => labels,
        None => {
            let mend = "write a line of symbols before the counts";
            let unnamed = || fault(line, "nothing says which elements are counted here", mend);
            spread(&in_comment().ok_or_else(unnamed)?, &counts)
        }
    };
    Ok(Structure { lattice: Some(lattice), species: elements.into_iter().map(species).collect(), positions })
}

fn spread(elements: &[Element], counts: &[usize]) -> Vec<Element> {
    elements.iter().zip(counts).flat_map(|(element, count)| std::iter::repeat_n(*element, *count)).collect()
}

fn three(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_whitespace();
    let mut next = || words.next()?.parse::<f64>().ok().filter(|number| number.is_finite());
    Some([next()?, next()?, next()?])
}

/// The factors of x, y and z.
fn scale(text: &str, lattice: &Matrix) -> Option<[f64; 3]> {
    if let Some(scale) = three(text) {
        return scale.iter().all(|factor| *factor > 0.0).then_some(scale);
    }
    let factor: f64 = text.split_whitespace().next()?.parse().ok()?;
    let factor = match factor < 0.0 {
        true => (-factor / datasets::structure::determinant(lattice).abs()).cbrt(),
        false => factor,
    };
    (factor.is_finite() && factor > 0.0).then_some([factor; 3])
}
