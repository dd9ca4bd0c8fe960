//! Which atoms follow from an asymmetric unit?

use std::collections::HashMap;

use datasets::structure::{MAX_SITES, OCCUPANCY_TOLERANCE, Species, Structure};
use moyo::data::{HallSymbolEntry, Setting, hall_symbol_entry, operations_from_number};

use super::{Matrix, inverse, times};

/// Images of one site that are nearer than this, in Å, are one atom: sources round special positions.
const SAME_IMAGE_A: f64 = 0.05;
/// Sites that are nearer than this, in Å, share their place.
const SAME_PLACE_A: f64 = 0.01;
/// The most images, one for each site and operator.
const MAX_IMAGES: usize = 4_000_000;
/// The most distances that are looked at; a real structure needs a tenth.
const MAX_DISTANCES: u64 = 20_000_000;
/// The most atoms in one box of about half an Å.
const MAX_IN_BOX: usize = 256;
const BOX_A: f64 = 0.5;

/// What is wrong, and the mend.
pub(super) type Fault = (String, &'static str);

/// A symmetry operator on fractions of the lattice vectors: each new coordinate from the old ones, and a shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Operator {
    pub(super) rotation: Matrix,
    pub(super) shift: [f64; 3],
}

impl Operator {
    /// Reads `-x+1/2, y, z-0.25`.
    pub(super) fn parse(text: &str) -> Option<Operator> {
        let mut operator = Operator { rotation: [[0.0; 3]; 3], shift: [0.0; 3] };
        if text.len() > 200 {
            return None;
        }
        let mut parts = text.split(',');
        for (row, shift) in operator.rotation.iter_mut().zip(&mut operator.shift) {
            (*row, *shift) = coordinate(parts.next()?)?;
        }
        let whole = datasets::structure::determinant(&operator.rotation).abs();
        (parts.next().is_none() && (whole - 1.0).abs() < 1e-9).then_some(operator)
    }

    fn apply(&self, p: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|i| {
            let row = self.rotation[i];
            let moved = row[0] * p[0] + row[1] * p[1] + row[2] * p[2] + self.shift[i];
            let wrapped = moved - moved.floor();
            // what is a rounding error below 1 is 0
            if wrapped > 1.0 - 1e-9 { 0.0 } else { wrapped }
        })
    }

    /// Whether it leaves lengths and angles of the lattice as they are.
    fn fits(&self, lattice: &Matrix) -> bool {
        let dot = |u: [f64; 3], v: [f64; 3]| u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
        let columns = [0, 1, 2].map(|j| times([0, 1, 2].map(|i| self.rotation[i][j]), lattice));
        let size = lattice.iter().map(|v| dot(*v, *v)).fold(0.0, f64::max);
        (0..3).all(|i| (0..3).all(|j| (dot(columns[i], columns[j]) - dot(lattice[i], lattice[j])).abs() <= 5e-3 * size))
    }
}

/// `-x+1/2`: factors of x, y, z and the shift.
fn coordinate(text: &str) -> Option<([f64; 3], f64)> {
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let (mut factors, mut shift, mut at) = ([0.0; 3], 0.0, 0);
    while at < text.len() {
        let sign = match text.get(at) {
            Some(b'-') => -1.0,
            Some(b'+') => 1.0,
            _ if at == 0 => 1.0,
            _ => return None,
        };
        at += usize::from(matches!(text.get(at), Some(b'-' | b'+')));
        let end =
            text.get(at..)?.iter().position(|b| matches!(b, b'+' | b'-')).map_or(text.len(), |length| at + length);
        let term = std::str::from_utf8(text.get(at..end)?).ok()?.to_ascii_lowercase();
        at = end;
        let axis = term.find(['x', 'y', 'z']);
        let number =
            axis.map_or(term.clone(), |axis| format!("{}{}", &term[..axis], &term[axis + 1..]).replace('*', ""));
        let value = match number.split_once('/') {
            Some(("", below)) if axis.is_some() => 1.0 / below.parse::<f64>().ok()?,
            Some((above, below)) => above.parse::<f64>().ok()? / below.parse::<f64>().ok()?,
            None if number.is_empty() && axis.is_some() => 1.0,
            None => number.parse().ok()?,
        };
        if !(-100.0..=100.0).contains(&value) {
            return None;
        }
        match axis.and_then(|axis| term.as_bytes().get(axis)) {
            Some(letter) => *factors.get_mut(usize::from(letter - b'x'))? += sign * value,
            None => shift += sign * value,
        }
    }
    Some((factors, shift))
}

/// The operators of a space group known by names only. Of several settings the lattice decides, where it can.
pub(super) fn of_group(
    number: Option<i32>,
    hm: Option<&str>,
    hall: Option<&str>,
    lattice: &Matrix,
) -> Result<Vec<Operator>, Fault> {
    const MEND: &str = "list the symmetry operators (_space_group_symop_operation_xyz)";
    let said = || {
        let number = number.map(|number| format!("number {number}"));
        let names = [hall.map(super::cut), hm.map(super::cut), number];
        names.into_iter().flatten().collect::<Vec<String>>().join(", ")
    };
    let (wanted_hm, wanted_hall) = (hm.map(plain), hall.map(plain));
    let (wanted_name, wanted_setting) =
        match wanted_hm.as_deref().map(|name| name.split_once(':').unwrap_or((name, ""))) {
            Some((name, setting)) => (Some(name), Some(setting).filter(|setting| !setting.is_empty())),
            None => (None, None),
        };
    let is_meant = |entry: &HallSymbolEntry| {
        if let Some(hall) = &wanted_hall {
            return plain(entry.hall_symbol) == *hall;
        }
        let by_number = number.is_none_or(|number| entry.number == number);
        let by_name = wanted_name.is_none_or(|name| plain(entry.hm_short) == name || is_full_name(entry, name));
        // setting `s` of old files is `1`, `z` is `2`, as PowderCell and SHELX write them
        let by_setting = wanted_setting.is_none_or(|setting| {
            let setting = match setting {
                "s" => "1",
                "z" => "2",
                other => other,
            };
            entry.setting.to_ascii_lowercase() == setting
        });
        by_number && by_name && by_setting
    };
    let mut found: Vec<(HallSymbolEntry, Vec<Operator>)> = Vec::new();
    for entry in (1..=530).filter_map(hall_symbol_entry).filter(is_meant) {
        let operators = operators_of(entry.hall_number).filter(|operators| operators.iter().all(|o| o.fits(lattice)));
        found.extend(operators.map(|operators| (entry, operators)));
    }
    // the short name in the database is that of the standard setting, so one that names this very setting goes first
    let names_this = |entry: &HallSymbolEntry| wanted_name.is_some_and(|name| is_full_name(entry, name));
    if found.iter().any(|(entry, _)| names_this(entry)) {
        found.retain(|(entry, _)| names_this(entry));
    }
    match found.len() {
        1 => Ok(found.swap_remove(0).1),
        0 => Err((format!("the space group ({}) has no setting that is known here and fits the cell", said()), MEND)),
        _ => {
            let settings: Vec<&str> = found.iter().take(8).map(|(entry, _)| entry.hall_symbol).collect();
            let what = format!(
                "the space group ({}) has several settings that fit the cell ({})",
                said(),
                settings.join(" | ")
            );
            Err((what, MEND))
        }
    }
}

/// A name of a space group without what sources write differently.
fn plain(name: &str) -> String {
    let kept = name.chars().filter(|c| !c.is_whitespace() && !matches!(c, '_' | '(' | ')'));
    kept.collect::<String>().to_ascii_lowercase()
}

/// Whether this is the full name of the setting (`P 1 2_1/n 1`), or, where it is monoclinic, that name without its ones (`P 2_1/n`).
fn is_full_name(entry: &HallSymbolEntry, name: &str) -> bool {
    let short = || entry.hm_full.split_whitespace().filter(|word| *word != "1").collect::<String>();
    plain(entry.hm_full) == name || ((3..=15).contains(&entry.number) && plain(&short()) == name)
}

fn operators_of(hall_number: i32) -> Option<Vec<Operator>> {
    let operations = operations_from_number(1, Setting::HallNumber(hall_number), false).ok()?;
    let operator = |operation: &moyo::base::Operation| {
        let rotation = [0, 1, 2].map(|i| [0, 1, 2].map(|j| f64::from(operation.rotation[(i, j)])));
        Operator { rotation, shift: [0, 1, 2].map(|i| operation.translation[i]) }
    };
    Some(operations.iter().map(operator).collect())
}

/// All atoms of the cell: the images of each site by each operator, each once. Sites that share their place become one: different
/// elements, or shares of one element, together; a site that is given twice once.
pub(super) fn expand(sites: Structure, operators: &[Operator]) -> Result<Structure, Fault> {
    let Some(lattice) = sites.lattice else { return Ok(sites) };
    if sites.positions.len().saturating_mul(operators.len()) > MAX_IMAGES {
        return Err(("there are too many sites for so many operators".into(), "give each symmetric site once"));
    }
    let mut places = Places::new(&lattice)?;
    for (species, position) in sites.species.into_iter().zip(sites.positions) {
        let mut images: Vec<[f64; 3]> = Vec::new();
        for operator in operators {
            let image = operator.apply(position);
            places.spend(images.len())?;
            if !images.iter().any(|held| distance(*held, image, &lattice) < SAME_IMAGE_A) {
                images.push(image);
            }
        }
        for image in images {
            places.add(&species, image)?;
        }
    }
    Ok(Structure { lattice: Some(lattice), species: places.species, positions: places.positions })
}

/// To the nearest image, in Å, for distances that are short against the cell.
fn distance(one: [f64; 3], other: [f64; 3], lattice: &Matrix) -> f64 {
    let between = [0, 1, 2].map(|i| {
        let step = one[i] - other[i];
        step - step.round()
    });
    times(between, lattice).iter().map(|number| number * number).sum::<f64>().sqrt()
}

/// Atoms by boxes, so that those nearby are found without a look at all.
struct Places {
    lattice: Matrix,
    boxes: [i64; 3],
    by_box: HashMap<[i64; 3], Vec<usize>>,
    species: Vec<Species>,
    positions: Vec<[f64; 3]>,
    /// How many distances may still be looked at.
    left: u64,
}

impl Places {
    fn spend(&mut self, distances: usize) -> Result<(), Fault> {
        let left = self.left.checked_sub(distances as u64);
        self.left =
            left.ok_or_else(|| ("too many images lie near each other".to_owned(), "give each symmetric site once"))?;
        Ok(())
    }

    fn new(lattice: &Matrix) -> Result<Places, Fault> {
        let inverse =
            inverse(lattice).ok_or_else(|| ("the lattice vectors lie in a plane".to_owned(), "check the cell"))?;
        // the distance of the planes between which the cell lies is one over the length of the reciprocal vector
        let boxes = [0, 1, 2].map(|j| {
            let reciprocal = inverse.iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt();
            ((1.0 / reciprocal / BOX_A) as i64).clamp(1, 1 << 22)
        });
        let (species, positions) = (Vec::new(), Vec::new());
        Ok(Places { lattice: *lattice, boxes, by_box: HashMap::new(), species, positions, left: MAX_DISTANCES })
    }

    fn add(&mut self, species: &Species, position: [f64; 3]) -> Result<(), Fault> {
        let home = [0, 1, 2].map(|i| ((position[i] * self.boxes[i] as f64) as i64).clamp(0, self.boxes[i] - 1));
        let mut seen: Vec<[i64; 3]> = Vec::with_capacity(27);
        for step in 0..27 {
            let steps = [step % 3 - 1, step / 3 % 3 - 1, step / 9 - 1];
            let neighbour = [0, 1, 2].map(|i| (home[i] + steps[i]).rem_euclid(self.boxes[i]));
            if seen.contains(&neighbour) {
                continue;
            }
            seen.push(neighbour);
            let held = self.by_box.get(&neighbour).map_or(&[][..], Vec::as_slice);
            let near = |site: &&usize| distance(self.positions[**site], position, &self.lattice) < SAME_PLACE_A;
            let (count, found) = (held.len(), held.iter().find(near).copied());
            self.spend(count)?;
            if let Some(site) = found {
                // to join them costs about as much as to look at so many distances
                self.spend(10 + 10 * self.species[site].shares().count())?;
                join(&mut self.species[site], species);
                return Ok(());
            }
        }
        if self.positions.len() == MAX_SITES {
            return Err((format!("the cell has more than {MAX_SITES} sites"), "give the primitive cell"));
        }
        let held = self.by_box.entry(home).or_default();
        if held.len() == MAX_IN_BOX {
            return Err((format!("more than {MAX_IN_BOX} atoms lie within one Å"), "check cell and coordinates"));
        }
        held.push(self.positions.len());
        self.species.push(species.clone());
        self.positions.push(position);
        Ok(())
    }
}

/// Puts what shares a place together.
fn join(held: &mut Species, more: &Species) {
    let mut shares: Vec<(String, f64)> = held.shares().map(|(symbol, share)| (symbol.to_owned(), share)).collect();
    let sum: f64 = shares
        .iter()
        .chain(more.shares().map(|(s, o)| (s.to_owned(), o)).collect::<Vec<_>>().iter())
        .map(|(_, o)| o)
        .sum();
    // the same again, where there is no room for it, was listed twice
    let known = more.shares().all(|(symbol, _)| shares.iter().any(|(held, _)| held == symbol));
    if known && sum > 1.0 + OCCUPANCY_TOLERANCE {
        return;
    }
    for (symbol, occupancy) in more.shares() {
        match shares.iter_mut().find(|(held, _)| held == symbol) {
            Some((_, sum)) => *sum = (*sum + occupancy).min(1.0),
            None => shares.push((symbol.to_owned(), occupancy)),
        }
    }
    *held = Species::from_shares(shares);
}
