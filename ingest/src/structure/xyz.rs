//! XYZ: a molecule; extended XYZ (`Lattice="..."`): a crystal.

use datasets::element::Element;
use datasets::structure::{MAX_SITES, Structure};

use super::{Format, Matrix, StructureError, cut, element, inverse, species, times};

fn fault(line: usize, what: impl Into<String>, mend: &'static str) -> StructureError {
    StructureError::new(Format::Xyz, line, what, mend)
}

/// Reads one frame: the count, the comment, a line for each atom.
pub(super) fn parse(text: &str) -> Result<Structure, StructureError> {
    let mut lines = text.lines();
    let count = lines.next().and_then(|line| line.trim().parse::<usize>().ok()).filter(|count| *count <= MAX_SITES);
    let count = count.ok_or_else(|| fault(1, "this is no count of atoms", "write a number up to 20000"))?;
    let comment = lines.next().ok_or_else(|| fault(2, "the comment line is missing", "add it, it may be empty"))?;
    let lattice = match value_of(comment, "lattice") {
        Some(text) => {
            Some(lattice(text).ok_or_else(|| fault(2, "this is no lattice", "write nine numbers: Lattice=\"...\""))?)
        }
        None => None,
    };
    let periodic =
        value_of(comment, "pbc").is_none_or(|pbc| pbc.split_whitespace().any(|word| word.starts_with(['T', 't', '1'])));
    let lattice = lattice.filter(|_| periodic);
    let to_fractions = match &lattice {
        Some(lattice) => {
            Some(inverse(lattice).ok_or_else(|| fault(2, "the lattice vectors lie in a plane", "check them"))?)
        }
        None => None,
    };
    let columns = match value_of(comment, "properties") {
        Some(text) => columns(text)
            .ok_or_else(|| fault(2, "Properties names no species or no pos", "write Properties=species:S:1:pos:R:3"))?,
        None => (0, 1),
    };

    let (mut kinds, mut positions) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for line in 3..count + 3 {
        let text =
            lines.next().ok_or_else(|| fault(line, format!("there are fewer than {count} atoms"), "mend the count"))?;
        let words: Vec<&str> = text.split_whitespace().take(1 + columns.0.max(columns.1 + 2)).collect();
        let word = words.get(columns.0).copied().unwrap_or_default();
        let kind = word.parse().ok().and_then(Element::from_number).or_else(|| element(word, false));
        kinds.push(kind.ok_or_else(|| fault(line, format!("'{}' is no element", cut(word)), "write a symbol"))?);
        let number = |axis: usize| words.get(columns.1 + axis)?.parse::<f64>().ok().filter(|number| number.is_finite());
        let (Some(x), Some(y), Some(z)) = (number(0), number(1), number(2)) else {
            return Err(fault(line, "this is no position", "write three numbers in Å"));
        };
        positions.push(to_fractions.as_ref().map_or([x, y, z], |inverse| times([x, y, z], inverse)));
    }
    if lines.any(|line| !line.trim().is_empty()) {
        return Err(fault(count + 3, "more follows the last atom", "mend the count, or give one frame alone"));
    }
    Ok(Structure { lattice, species: kinds.into_iter().map(species).collect(), positions })
}

/// The value of a key in the comment, without its quotes.
fn value_of<'a>(comment: &'a str, key: &str) -> Option<&'a str> {
    // lowering ASCII letters keeps every byte where it was
    let lowered = comment.to_ascii_lowercase();
    let wanted = format!("{key}=");
    let mut found = lowered.match_indices(&wanted).map(|(at, _)| at);
    let at = found.find(|at| *at == 0 || lowered.as_bytes().get(at - 1).is_some_and(u8::is_ascii_whitespace))?;
    let rest = comment.get(at + wanted.len()..)?;
    let close = match rest.chars().next()? {
        quote @ ('"' | '\'') => quote,
        '{' => '}',
        '[' => ']',
        _ => return rest.split_whitespace().next(),
    };
    rest.get(1..)?.split(close).next()
}

fn lattice(text: &str) -> Option<Matrix> {
    let mut numbers = text.split([' ', '\t', ',', '[', ']']).filter(|word| !word.is_empty());
    let mut lattice = [[0.0; 3]; 3];
    for number in lattice.iter_mut().flatten() {
        *number = numbers.next()?.parse().ok().filter(|number: &f64| number.is_finite())?;
    }
    numbers.next().is_none().then_some(lattice)
}

/// In which columns the species and the first coordinate are.
fn columns(text: &str) -> Option<(usize, usize)> {
    let parts: Vec<&str> = text.split(':').collect();
    let (mut kind, mut position, mut column) = (None, None, 0usize);
    for part in parts.chunks_exact(3) {
        let width: usize = part.get(2)?.parse().ok().filter(|width| *width <= 1_000)?;
        match part.first()?.to_ascii_lowercase().as_str() {
            "species" | "element" => kind = Some(column),
            "z" | "numbers" => kind = kind.or(Some(column)),
            "pos" | "positions" if width == 3 => position = Some(column),
            _ => {}
        }
        column = column.saturating_add(width).min(100_000);
    }
    kind.zip(position)
}
