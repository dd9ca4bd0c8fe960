//! How far is one composition from another? The element mover's distance on the modified Pettifor scale.
//!
//! The scale puts the elements in a line so that neighbours replace each other in crystals: Glawe, Sanna, Gross and Marques,
//! New J. Phys. 18, 093011 (2016), doi:10.1088/1367-2630/18/9/093011. The distance is the least work that makes one composition of
//! another: each share of the atoms times the places that it moves (Hargreaves et al., Chem. Mater. 32, 10610 (2020),
//! doi:10.1021/acs.chemmater.0c03381). On a line that work is the L1 distance of the cumulative shares, so a material is the vector
//! of its cumulative shares along the scale.

use crate::composition::Composition;
use crate::elements::COUNT;

/// Places of the scale.
pub const PLACES: usize = 103;

/// Components of a vector: the cumulative share of the last place is 1 for all.
pub const COMPONENTS: usize = PLACES - 1;

/// Atomic numbers along the scale, from helium to hydrogen.
pub const SCALE: [u8; PLACES] = [
    2, 10, 18, 36, 54, 86, 87, 55, 37, 19, 11, 3, 88, 56, 38, 20, 63, 70, 71, 69, 39, 68, 67, 66, 65, 64, 62, 61, 60,
    59, 58, 57, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103, 21, 40, 72, 22, 73, 41, 23, 24, 42, 74,
    75, 43, 76, 44, 77, 45, 78, 46, 79, 47, 29, 28, 27, 26, 25, 12, 30, 48, 80, 4, 13, 31, 49, 81, 82, 50, 32, 14, 5,
    6, 7, 15, 33, 51, 83, 84, 52, 34, 16, 8, 85, 53, 35, 17, 9, 1,
];

const NOWHERE: u8 = u8::MAX;

/// The place of each atomic number, from 1 on.
const PLACE: [u8; COUNT + 1] = {
    let mut place = [NOWHERE; COUNT + 1];
    let mut at = 0;
    while at < PLACES {
        place[SCALE[at] as usize] = at as u8;
        at += 1;
    }
    place
};

/// The place of an element on the scale, from 0 on. `None` for the elements beyond lawrencium (103), of which nobody knows enough
/// compounds to have one.
pub fn place(number: u8) -> Option<usize> {
    PLACE.get(usize::from(number)).filter(|place| **place != NOWHERE).map(|place| usize::from(*place))
}

/// Writes the cumulative shares of the atoms along the scale; `out` has [`COMPONENTS`] places. `None` where an element has no
/// place on it; then `out` is not touched.
pub fn cumulate(composition: &Composition, out: &mut [f32]) -> Option<()> {
    let mut shares = [0f64; PLACES];
    for &(number, share) in composition.parts() {
        shares[place(number)?] += f64::from(share);
    }
    let mut sum = 0.0;
    for (slot, share) in out.iter_mut().zip(shares) {
        sum += share;
        *slot = sum.min(1.0) as f32;
    }
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn distance(a: &[(u8, f64)], b: &[(u8, f64)]) -> f64 {
        let vector = |parts: &[(u8, f64)]| {
            let mut out = [0f32; COMPONENTS];
            cumulate(&Composition::new(parts.iter().copied()).unwrap(), &mut out).unwrap();
            out
        };
        vector(a).iter().zip(vector(b)).map(|(x, y)| f64::from((x - y).abs())).sum()
    }

    #[test]
    fn the_scale_has_each_element_once() {
        let mut numbers = SCALE.to_vec();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=103).collect::<Vec<u8>>());
        assert_eq!((place(2), place(1), place(26), place(104), place(0)), (Some(0), Some(102), Some(70), None, None));
    }

    /// By the PyPI package ElMD 0.5.15, `metric="mod_petti"`.
    #[test]
    fn distances_are_those_of_the_peer() {
        let (ga, al, p, arsenic, indium, o) = (31, 13, 15, 33, 49, 8);
        let gaas = [(ga, 1.0), (arsenic, 1.0)];
        for (a, b, known) in [
            (&gaas[..], &[(al, 1.0), (arsenic, 1.0)][..], 0.5),
            (&gaas, &[(ga, 1.0), (p, 1.0)], 0.5),
            (&gaas, &[(indium, 1.0), (arsenic, 1.0)], 0.5),
            (&gaas, &[(30, 1.0), (34, 1.0)], 5.0),
            (&[(11, 1.0), (17, 1.0)], &[(19, 1.0), (35, 1.0)], 1.0),
            (&[(14, 1.0), (o, 2.0)], &[(al, 2.0), (o, 3.0)], 3.6),
            (&[(38, 1.0), (22, 1.0), (o, 3.0)], &[(56, 1.0), (22, 1.0), (o, 3.0)], 0.2),
            (&[(40, 3.0), (al, 1.0), (7, 1.0)], &[(20, 1.0), (22, 1.0), (o, 3.0)], 22.2),
        ] {
            assert!((distance(a, b) - known).abs() < 1e-5, "{a:?} {b:?}: {}", distance(a, b));
            assert_eq!(distance(a, b), distance(b, a));
        }
    }

    #[test]
    fn what_is_beyond_the_scale_has_no_vector() {
        let mut out = [7.0; COMPONENTS];
        assert_eq!(cumulate(&Composition::new([(104, 1.0), (8, 2.0)]).unwrap(), &mut out), None);
        assert!(out.iter().all(|x| *x == 7.0));
    }
}
