//! Where are the atoms of a crystal, seen from its atoms? A fingerprint that two crystals share if they have one structure type.
//!
//! Average minimum distances: the mean over the atoms of the distance to the first, second, ... nearest neighbour (Widdowson, Mosca,
//! Pulido, Cooper and Kurlin, MATCH 87, 529 (2022), doi:10.46793/match.87-3.529W). They know nothing of axes, origin or cell, and where
//! all atoms move by at most ε none changes by more than 2 ε. Taken over neighbours of any kind they cannot tell rock salt from simple
//! cubic, so they are taken three times: of any kind, of the atom's own element, and of others.
//!
//! Lengths are in units of the cube root of the volume per atom, so a structure type is at one place whatever its lattice constant. A
//! neighbour beyond [`CUTOFF`] counts as at it, which is also where there is none.
//!
//! A site counts as its occupancy: the first neighbour is the mean over the first whole atom, and so on. So an ordered crystal has
//! the distances of the paper, and one whose occupancies change by little has others by little.

/// Neighbours of each kind.
pub const NEIGHBOURS: usize = 32;
/// The distance beyond which no neighbour is looked for, in cube roots of the volume per atom; 113 atoms are within it on average.
pub const CUTOFF: f64 = 3.0;
/// Components of a fingerprint: the distances of each kind, and the size.
pub const COMPONENTS: usize = 3 * NEIGHBOURS + 1;
/// The Euclidean distance of two fingerprints times this is the root mean square difference of their neighbours' distances, in cube
/// roots of the volume per atom, where these are of one size.
pub const UNIT: f64 = 0.10206207261596577;
/// The distance of two crystals of one structure type, by the ratio of their lattice constants: this for a factor of e. So those of
/// the same size come first, and no size outweighs a structure.
pub const SIZE: f64 = 0.01;

/// Images of one site that are looked at, at most: in a lattice with more of them within [`CUTOFF`] atoms would lie upon each other.
const MOST_IMAGES: f64 = 1e5;
/// Pairs of sites and images that are looked at, at most: a tenth of a second. Enough for some 3,000 sites.
const MOST_PAIRS: f64 = 3e7;
/// Neighbours within [`CUTOFF`], at most.
const MOST_NEIGHBOURS: usize = 4096;
/// Rounds in which a basis is made shorter; a few are enough but for basis vectors that are nearly parallel.
const ROUNDS: usize = 100;

type Vector = [f64; 3];

/// A site of a crystal.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Fractions of the lattice vectors.
    pub position: Vector,
    /// Atomic numbers of the elements on it, with their occupancies.
    pub species: Vec<(u8, f64)>,
}

/// The fingerprint of a crystal with these lattice vectors (one a row, Å). `None` for what is none: no volume, no atom, numbers that are
/// not finite, atoms upon each other; and for more than some 3,000 sites.
pub fn fingerprint(lattice: &[Vector; 3], sites: &[Site]) -> Option<[f32; COMPONENTS]> {
    let of_site: Vec<f64> = sites.iter().map(|site| site.species.iter().map(|(_, share)| share).sum()).collect();
    let atoms: f64 = of_site.iter().sum();
    let length = (determinant(lattice).abs() / atoms).cbrt();
    let sound = |site: &Site| site.position.iter().all(|x| x.is_finite()) && site.species.iter().all(|(_, s)| *s > 0.0);
    if !(length.is_normal() && atoms.is_normal() && sites.iter().all(sound)) {
        return None;
    }
    let given = lattice.map(|vector| vector.map(|x| x / length));
    let cell = reduced(given);
    let inverse = inverse(&cell);
    // how many layers of cells the cutoff reaches
    let reach = inverse.map(|normal| CUTOFF * dot(&normal, &normal).sqrt());
    let (n, images) = (sites.len() as f64, reach.iter().map(|reach| 2.0 * reach + 1.0).product::<f64>());
    // also where one is no number
    if !(images <= MOST_IMAGES && n * n * images <= MOST_PAIRS) {
        return None;
    }
    let wrapped = |x: f64| x - x.floor();
    let places: Vec<Vector> = sites
        .iter()
        .map(|site| inverse.map(|normal| wrapped(dot(&combine(&site.position.map(wrapped), &given), &normal))))
        .collect();
    let mut means = [[CUTOFF; NEIGHBOURS]; 3];
    let mut near: Vec<(f64, usize)> = Vec::new();
    for (i, site) in sites.iter().enumerate() {
        near.clear();
        for (j, place) in places.iter().enumerate() {
            let apart = minus(place, &places[i], 1.0);
            neighbours(&cell, &reach, &apart, i == j, |square| near.push((square, j)));
            if near.len() > MOST_NEIGHBOURS {
                return None;
            }
        }
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        near.iter_mut().for_each(|(distance, _)| *distance = distance.sqrt());
        for &(element, share) in &site.species {
            let same = |j: usize| {
                let own = sites[j].species.iter().filter(|(other, _)| *other == element);
                own.map(|(_, share)| share).sum::<f64>()
            };
            let [any, own, other] = &mut means;
            let near = || near.iter().copied();
            count(any, share / atoms, near().map(|(distance, j)| (distance, of_site[j])));
            count(own, share / atoms, near().map(|(distance, j)| (distance, same(j))));
            count(other, share / atoms, near().map(|(distance, j)| (distance, of_site[j] - same(j))));
        }
    }
    let mut out = [(SIZE / UNIT * length.ln()) as f32; COMPONENTS];
    out.iter_mut().zip(means.as_flattened()).for_each(|(slot, mean)| *slot = *mean as f32);
    Some(out)
}

/// Tells the squared distance to each image, within [`CUTOFF`], of what lies `apart` (in fractions of the cell); a site is no neighbour
/// of itself.
fn neighbours(cell: &[Vector; 3], reach: &Vector, apart: &Vector, is_itself: bool, mut tell: impl FnMut(f64)) {
    let layers = |axis: usize| {
        let (first, last) = (-reach[axis] - apart[axis], reach[axis] - apart[axis]);
        (first.ceil() as i64..=last.floor() as i64).map(move |layer| layer as f64 + apart[axis])
    };
    for x in layers(0) {
        for y in layers(1) {
            for z in layers(2) {
                let way = combine(&[x, y, z], cell);
                let square = dot(&way, &way);
                if square < CUTOFF * CUTOFF && !(is_itself && [x, y, z] == [0.0; 3]) {
                    tell(square);
                }
            }
        }
    }
}

/// Brings the means, which began at [`CUTOFF`], nearer for what one atom sees: neighbours by distance, with how much of an atom each is.
fn count(means: &mut [f64; NEIGHBOURS], weight: f64, near: impl Iterator<Item = (f64, f64)>) {
    let mut seen = 0.0;
    for (distance, share) in near {
        let end = f64::min(seen + share, NEIGHBOURS as f64);
        while seen < end {
            let slot = seen as usize;
            let next = f64::min(end, (slot + 1) as f64);
            means[slot] -= weight * (next - seen) * (CUTOFF - distance);
            seen = next;
        }
    }
}

/// Short vectors that span the same lattice, so that few of its cells are within a distance.
fn reduced(mut lattice: [Vector; 3]) -> [Vector; 3] {
    let shortened = |long: Vector, by: &Vector| minus(&long, by, (dot(&long, by) / dot(by, by)).round());
    for _ in 0..ROUNDS {
        lattice.sort_by(|a, b| dot(a, a).total_cmp(&dot(b, b)));
        let [a, b, c] = lattice;
        let before = dot(&b, &b) + dot(&c, &c);
        let b = shortened(b, &a);
        let mut c = shortened(shortened(c, &b), &a);
        // pairs may be short where all three nearly add up to nothing
        for (x, y) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
            let other = minus(&minus(&c, &a, x), &b, y);
            if dot(&other, &other) < dot(&c, &c) {
                c = other;
            }
        }
        lattice = [a, b, c];
        if dot(&b, &b) + dot(&c, &c) >= (1.0 - 1e-9) * before {
            break;
        }
    }
    lattice
}

/// The normals of the cell's faces: their products with a place are its fractions of the lattice vectors.
fn inverse(lattice: &[Vector; 3]) -> [Vector; 3] {
    let [a, b, c] = lattice;
    let volume = determinant(lattice);
    [cross(b, c), cross(c, a), cross(a, b)].map(|normal| normal.map(|x| x / volume))
}

fn determinant([a, b, c]: &[Vector; 3]) -> f64 {
    dot(a, &cross(b, c))
}

fn combine(amounts: &Vector, [a, b, c]: &[Vector; 3]) -> Vector {
    let [x, y, z] = amounts;
    [0, 1, 2].map(|axis| x * a[axis] + y * b[axis] + z * c[axis])
}

fn minus(a: &Vector, b: &Vector, times: f64) -> Vector {
    [0, 1, 2].map(|axis| a[axis] - times * b[axis])
}

fn dot(a: &Vector, b: &Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: &Vector, b: &Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CUBE: [Vector; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    const FACES: [Vector; 4] = [[0.0; 3], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]];

    fn site(element: u8, position: Vector) -> Site {
        Site { position, species: vec![(element, 1.0)] }
    }

    fn cubic(a_angstrom: f64) -> [Vector; 3] {
        CUBE.map(|vector| vector.map(|x| x * a_angstrom))
    }

    /// Face-centred atoms of each element, moved along the diagonal of the cube.
    fn face_centred(atoms: &[(u8, f64)]) -> Vec<Site> {
        let of = |&(element, by): &(u8, f64)| FACES.map(|position| site(element, position.map(|x| x + by)));
        atoms.iter().flat_map(of).collect()
    }

    fn print(lattice: &[Vector; 3], sites: &[Site]) -> [f32; COMPONENTS] {
        fingerprint(lattice, sites).unwrap()
    }

    fn distance(a: &[f32; COMPONENTS], b: &[f32; COMPONENTS]) -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt() * UNIT
    }

    fn widest(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from((x - y).abs())).fold(0.0, f64::max)
    }

    #[test]
    fn distances_of_rock_salt_are_those_of_its_shells() {
        let salt = print(&cubic(5.64), &face_centred(&[(11, 0.0), (17, 0.5)]));
        // eight atoms a cube: its half is the unit
        let (mut any, mut own, mut other) = (Vec::new(), Vec::new(), Vec::new());
        for (square, count) in [(1, 6), (2, 12), (3, 8), (4, 6), (5, 24), (6, 24)] {
            any.extend(vec![f64::from(square).sqrt(); count]);
            let kind = if square % 2 == 0 { &mut own } else { &mut other };
            kind.extend(vec![f64::from(square).sqrt(); count]);
        }
        for (block, known) in [any, own, other].iter().enumerate() {
            for (slot, known) in known.iter().take(NEIGHBOURS).enumerate() {
                assert!((f64::from(salt[block * NEIGHBOURS + slot]) - known).abs() < 1e-6, "{block} {slot}");
            }
        }
        assert!((f64::from(salt[COMPONENTS - 1]) * UNIT - SIZE * 2.82f64.ln()).abs() < 1e-7);
        assert!((UNIT - 1.0 / (3.0 * NEIGHBOURS as f64).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn structure_types_are_apart_and_isotypes_together() {
        let salt = |a: f64, one: u8, other: u8| print(&cubic(a), &face_centred(&[(one, 0.0), (other, 0.5)]));
        let blende = |a: f64, one: u8, other: u8| print(&cubic(a), &face_centred(&[(one, 0.0), (other, 0.25)]));
        let types = [
            ("rock salt", salt(5.64, 11, 17)),
            ("zinc blende", blende(5.65, 31, 33)),
            ("diamond", blende(5.43, 14, 14)),
            ("caesium chloride", print(&cubic(4.12), &[site(55, [0.0; 3]), site(17, [0.5; 3])])),
            ("simple cubic", print(&cubic(3.34), &[site(84, [0.0; 3])])),
            ("body-centred", print(&cubic(2.87), &[site(26, [0.0; 3]), site(26, [0.5; 3])])),
            ("face-centred", print(&cubic(3.61), &face_centred(&[(29, 0.0)]))),
            ("fluorite", print(&cubic(5.46), &face_centred(&[(20, 0.0), (9, 0.25), (9, 0.75)]))),
        ];
        for (i, (one, a)) in types.iter().enumerate() {
            for (other, b) in &types[..i] {
                assert!(distance(a, b) > 0.05, "{one} and {other}: {}", distance(a, b));
            }
        }
        for (a, b) in [(&types[0].1, salt(4.21, 12, 8)), (&types[1].1, blende(6.48, 48, 52))] {
            assert!(distance(a, &b) < 0.004, "{}", distance(a, &b));
        }
        let (near, far) = (distance(&types[0].1, &salt(5.5, 3, 35)), distance(&types[0].1, &salt(4.21, 12, 8)));
        assert!(near < far && near > 0.0, "of one type the same size comes first: {near} {far}");
    }

    #[test]
    fn a_primitive_cell_is_the_conventional_one() {
        let half = 5.64 / 2.0;
        let primitive = [[0.0, half, half], [half, 0.0, half], [half, half, 0.0]];
        let a = print(&primitive, &[site(11, [0.0; 3]), site(17, [0.5; 3])]);
        assert!(widest(&a, &print(&cubic(5.64), &face_centred(&[(11, 0.0), (17, 0.5)]))) < 1e-6);
        // and by vectors that are nearly parallel
        let [x, y, z] = primitive;
        let y = minus(&y, &x, -1234.0);
        let z = minus(&minus(&z, &x, 778.0), &y, -4322.0);
        assert!(widest(&a, &print(&[x, y, z], &[site(11, [0.0; 3]), site(17, [-1.5, 3.5, 2.5])])) < 1e-4);
    }

    #[test]
    fn a_random_alloy_has_the_neighbours_of_its_lattice_by_share() {
        let mixed = |share: f64| {
            let species = vec![(26, share), (28, 1.0 - share)];
            let sites = FACES.map(|position| Site { position, species: species.clone() });
            print(&cubic(3.6), &sites)
        };
        let pure = print(&cubic(3.6), &face_centred(&[(28, 0.0)]));
        let alloy = mixed(0.5);
        assert!(widest(&alloy[..NEIGHBOURS], &pure[..NEIGHBOURS]) < 1e-6);
        // half of the twelve first neighbours are of the own element
        let first = pure[0];
        assert!(alloy[NEIGHBOURS..NEIGHBOURS + 6].iter().all(|x| (x - first).abs() < 1e-6));
        assert!(alloy[NEIGHBOURS + 6] > first + 0.1);
        assert!(distance(&mixed(1e-6), &pure) < 1e-4 && distance(&mixed(0.5), &mixed(0.501)) < 1e-2);
    }

    #[test]
    fn what_is_no_crystal_or_too_large_has_none() {
        let one = [site(29, [0.0; 3])];
        assert!(fingerprint(&cubic(3.0), &one).is_some());
        for (lattice, sites) in [
            (cubic(3.0), vec![]),
            (cubic(0.0), one.to_vec()),
            (cubic(f64::NAN), one.to_vec()),
            (cubic(f64::INFINITY), one.to_vec()),
            (cubic(1e200), one.to_vec()),
            ([CUBE[0], CUBE[0], CUBE[1]], one.to_vec()),
            (cubic(3.0), vec![site(29, [f64::NAN, 0.0, 0.0])]),
            (cubic(3.0), vec![Site { position: [0.0; 3], species: vec![] }]),
            (cubic(3.0), vec![Site { position: [0.0; 3], species: vec![(29, -1.0)] }]),
            (cubic(3.0), vec![Site { position: [0.0; 3], species: vec![(29, f64::NAN)] }]),
            // a needle: thousands of atoms in a row
            ([[1e6, 0.0, 0.0], [0.0, 1e-3, 0.0], [0.0, 0.0, 1.0]], one.to_vec()),
            // a heap of atoms in one corner
            (cubic(100.0), (0..5000).map(|i| site(29, [f64::from(i) * 1e-6, 0.0, 0.0])).collect()),
            (cubic(100.0), (0..20_000).map(|i| site(29, [f64::from(i) / 2e4, 0.3, 0.7])).collect()),
        ] {
            assert_eq!(fingerprint(&lattice, &sites), None, "{lattice:?} {} sites", sites.len());
        }
        // upon each other, but few
        let twice = [site(29, [0.0; 3]), site(29, [0.0; 3])];
        assert_eq!(print(&cubic(3.0), &twice)[0], 0.0);
    }

    fn crystals() -> impl Strategy<Value = ([Vector; 3], Vec<Site>)> {
        let vector = || prop::array::uniform3(-1.0..1.0f64);
        let lattice = prop::array::uniform3(vector()).prop_map(|skew| {
            [0, 1, 2].map(|i| [0, 1, 2].map(|j| 4.0 * (if i == j { 1.5 } else { 0.0 } + 0.5 * skew[i][j])))
        });
        let species = prop::sample::select(vec![
            vec![(8, 1.0)],
            vec![(26, 1.0)],
            vec![(26, 0.5), (28, 0.5)],
            vec![(8, 0.3)],
            vec![(57, 0.7), (38, 0.3)],
        ]);
        let site = (vector(), species).prop_map(|(position, species)| Site { position, species });
        (lattice, prop::collection::vec(site, 1..7))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn axes_origin_and_order_do_not_matter(
            (lattice, sites) in crystals(),
            angles in prop::array::uniform3(0.0..6.3f64),
            shift in prop::array::uniform3(-3.0..3.0f64),
        ) {
            let turned = lattice.map(|vector| {
                [0, 1, 2].iter().fold(vector, |v, &axis| {
                    let (sin, cos) = angles[axis].sin_cos();
                    let (j, k) = ((axis + 1) % 3, (axis + 2) % 3);
                    let mut out = v;
                    (out[j], out[k]) = (cos * v[j] - sin * v[k], sin * v[j] + cos * v[k]);
                    out
                })
            });
            let moved = |site: &Site| Site { position: minus(&site.position, &shift, -1.0), ..site.clone() };
            let other: Vec<Site> = sites.iter().rev().map(moved).collect();
            prop_assert!(widest(&print(&lattice, &sites), &print(&turned, &other)) < 1e-5);
        }

        #[test]
        fn the_choice_of_the_cell_does_not_matter(
            (lattice, sites) in crystals(),
            times in prop::array::uniform3(1..3usize),
            steps in prop::collection::vec((0..3usize, 1..3usize, -3..4i32), 0..6),
        ) {
            let wide = [0, 1, 2].map(|i| lattice[i].map(|x| x * times[i] as f64));
            let mut more: Vec<Site> = Vec::new();
            for x in 0..times[0] {
                for y in 0..times[1] {
                    for z in 0..times[2] {
                        let cell = [x, y, z];
                        let placed = |site: &Site| Site {
                            position: [0, 1, 2].map(|i| (site.position[i] + cell[i] as f64) / times[i] as f64),
                            ..site.clone()
                        };
                        more.extend(sites.iter().map(placed));
                    }
                }
            }
            // other vectors of the same lattice: whole numbers of one are added to another
            let (mut basis, mut places) = (wide, more);
            for (to, by, n) in steps {
                let from = (to + by) % 3;
                basis[to] = minus(&basis[to], &basis[from], f64::from(n));
                places.iter_mut().for_each(|site| site.position[from] += f64::from(n) * site.position[to]);
            }
            prop_assert!(widest(&print(&lattice, &sites), &print(&basis, &places)) < 1e-5);
        }

        #[test]
        fn what_moves_by_little_changes_by_little(
            (lattice, sites) in crystals(),
            ways in prop::collection::vec(prop::array::uniform3(-1.0..1.0f64), 6),
            step in 0.0..0.3f64,
        ) {
            let moved = |(site, way): (&Site, &Vector)| Site {
                position: minus(&site.position, way, -step / dot(&combine(way, &lattice), &combine(way, &lattice)).sqrt()),
                ..site.clone()
            };
            let other: Vec<Site> = sites.iter().zip(&ways).map(moved).collect();
            let atoms: f64 = sites.iter().flat_map(|site| &site.species).map(|(_, share)| share).sum();
            let length = (determinant(&lattice).abs() / atoms).cbrt();
            let (a, b) = (print(&lattice, &sites), print(&lattice, &other));
            prop_assert!(widest(&a, &b) <= 2.0 * step / length + 1e-5, "{} {}", widest(&a, &b), 2.0 * step / length);
        }

        #[test]
        fn no_cell_is_too_wild(
            lattice in prop::array::uniform3(prop::array::uniform3(prop_oneof![
                -10.0..10.0f64, -1e6..1e6f64, Just(0.0), Just(1e-300), Just(f64::MAX), Just(f64::NAN), Just(f64::INFINITY)
            ])),
            positions in prop::collection::vec(
                prop::array::uniform3(prop_oneof![-1.0..1.0f64, -1e300..1e300f64, Just(0.0), Just(f64::NAN)]), 0..20
            ),
            share in prop_oneof![Just(1.0), Just(1e-6), Just(0.0), Just(1e300)],
        ) {
            let of = |position: &Vector| Site { position: *position, species: vec![(8, share), (26, 1.0)] };
            let sites: Vec<Site> = positions.iter().map(of).collect();
            if let Some(print) = fingerprint(&lattice, &sites) {
                prop_assert!(print.iter().all(|x| x.is_finite()));
            }
        }
    }
}
