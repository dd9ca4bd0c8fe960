//! What the elements of a material are like: Magpie's statistics (Ward et al. 2016, doi:10.1038/npjcompumats.2016.28).
//!
//! Of each of the 22 properties of [`crate::elements`]: least, greatest, range, mean, mean deviation, and that of the most
//! frequent element (mode); of the fractions the number of elements and the p-norms for p = 2, 3, 5, 7, 10; shares of s, p, d
//! and f electrons among the valence electrons; and the greatest and the mean ionic character by electronegativities.

use crate::composition::Composition;
use crate::elements::{MAGPIE, MAGPIE_TABLE};

const NORMS: [i32; 5] = [2, 3, 5, 7, 10];
/// Columns of Magpie's table.
const ELECTRONEGATIVITY: usize = 7;
const VALENCE: std::ops::Range<usize> = 8..12;

/// Numbers of one material.
pub const DESCRIPTORS: usize = 6 * MAGPIE + 1 + NORMS.len() + 4 + 2;

/// Numbers that say where a material is: the mean and the mean deviation of each property.
pub const PLACES: usize = 2 * MAGPIE;

/// Where a material of these descriptors is among others.
pub fn places(described: &[f32]) -> impl Iterator<Item = f32> + '_ {
    described[..6 * MAGPIE].chunks_exact(6).flat_map(|six| [six[3], six[4]])
}

/// Writes the descriptors of a material, not standardised; `out` has [`DESCRIPTORS`] places.
pub fn describe(composition: &Composition, out: &mut [f32]) {
    let parts = composition.parts();
    let rows: Vec<(&[f32], f32)> = parts.iter().map(|&(number, f)| (MAGPIE_TABLE.of(number), f)).collect();
    let most = parts.iter().map(|&(_, f)| f).fold(0.0, f32::max);
    let (statistics, rest) = out.split_at_mut(6 * MAGPIE);
    for (column, six) in statistics.chunks_exact_mut(6).enumerate() {
        let values = || rows.iter().map(|(row, f)| (row[column], *f));
        let least = values().map(|(x, _)| x).fold(f32::INFINITY, f32::min);
        let greatest = values().map(|(x, _)| x).fold(f32::NEG_INFINITY, f32::max);
        let mean: f32 = values().map(|(x, f)| x * f).sum();
        let deviation: f32 = values().map(|(x, f)| (x - mean).abs() * f).sum();
        let mode = values().filter(|(_, f)| *f >= most - 1e-6).map(|(x, _)| x).fold(f32::INFINITY, f32::min);
        six.copy_from_slice(&[least, greatest, greatest - least, mean, deviation, mode]);
    }
    let mut rest = rest.iter_mut();
    let mut push = |x: f32| {
        if let Some(slot) = rest.next() {
            *slot = x;
        }
    };
    push(parts.len() as f32);
    for p in NORMS {
        push(parts.iter().map(|(_, f)| f.powi(p)).sum::<f32>().powf(1.0 / p as f32));
    }
    let shell = |column: usize| rows.iter().map(|(row, f)| row[column] * f).sum::<f32>();
    let all: f32 = VALENCE.map(shell).sum();
    VALENCE.for_each(|column| push(if all > 0.0 { shell(column) / all } else { 0.0 }));
    let ionic = |a: &[f32], b: &[f32]| 1.0 - (-0.25 * (a[ELECTRONEGATIVITY] - b[ELECTRONEGATIVITY]).powi(2)).exp();
    let pairs = || rows.iter().flat_map(|a| rows.iter().map(move |b| (ionic(a.0, b.0), a.1 * b.1)));
    push(pairs().map(|(x, _)| x).fold(0.0, f32::max));
    push(pairs().map(|(x, f)| x * f).sum());
}
