//! What may a value be, and how sure is that? One property, from samples of it.
//!
//! Four voices are blended: what an encoder reads off its vector, trees that correct it, trees over all that is known of a sample, and
//! the samples that are most like it. The blend is the middle of those that are least wrong about samples that
//! nobody has seen.
//!
//! Intervals are conformal (Vovk, Gammerman, Shafer 2005, doi:10.1007/b106715; Papadopoulos, Gammerman, Vovk 2008): how
//! wrong the blend is of a sample, over how wrong it should be by the deviation of its trees and by its distance to the nearest known
//! sample, has a quantile. It is taken from samples left out one composition at a time, and widened away from what is known so that
//! it also holds for samples left out cluster by cluster.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::blend::{Blend, Few, Voices, best_blend};
use crate::forest::{Columns, Forest, Growth, Unseen};
use crate::random::Random;
use crate::ridge::Ridge;

/// The share of true values that intervals are to hold.
pub const COVERED: f64 = 0.9;
/// Standard deviations of a normal distribution to the end of such an interval.
pub const COVERED_DEVIATIONS: f64 = 1.644_853_626_951_472_6;
/// Samples that are enough to say anything.
pub const FEWEST: usize = 16;
/// Samples to which distances are taken, at most.
const REFERENCES: usize = 1_500;
/// Clusters that are left out, at most, and samples of each at least.
const CLUSTERS: usize = 12;
const PER_CLUSTER: usize = 8;
/// Samples up to which those that are alike are heard: beyond, trees and encoder know as much, and it would take long.
const ALIKE_UP_TO: usize = 10_000;
/// How wide intervals are near to what is known, over those that hold known materials as if they were not known, where encoders speak:
/// of a known material one of them speaks, which has learned nothing of its composition; of a new one all do, and they may know other
/// properties of it. The more they are heard, the more that is. With encoders of 8,000 steps intervals of this width hold 89 to 93 of 100 values of each of
/// the eight validation files of the benchmark of CrabNet, 90 in the mean. How far the encoders are apart about new compositions, over their error,
/// says by how much all together err less in the mean, but not where nine of ten errors end.
fn all_encoders(share: f32) -> f64 {
    0.92 - 0.2 * f64::from(share)
}
/// What of the mean square error of the one encoder that has not seen a sample is only that it is one of four. How far the four are apart on
/// other compositions, over it, is 0.06 to 0.31; but that differs with what else a hub holds, and weighs voices worse.
const ONE_OF_ALL: f64 = 0.2;
/// Queries whose distances are computed in one go.
const BLOCK: usize = 512;

/// Samples of one property.
#[derive(Debug, Clone)]
pub struct Samples {
    /// What is known of them, column by column.
    pub columns: Columns,
    /// What an encoder that has not seen their values says of them, on the property's axis.
    pub heads: Option<Vec<f32>>,
    /// Their values on the property's axis.
    pub values: Vec<f32>,
    /// Their compositions, numbered from 0: samples of one composition know each other.
    pub groups: Vec<u32>,
    /// Where they are, one row a sample, any number of columns: for distances and clusters.
    pub places: Array2<f32>,
}

/// What is said of a material.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    /// On the property's axis.
    pub mean: f32,
    /// Half the width of the interval that holds the true value with a probability of [`COVERED`].
    pub half: f32,
    /// How far the nearest known sample is, in standard deviations of the places of all samples.
    pub distance: f32,
}

/// A material to say something of: rows of what is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The same columns as those of the samples, one row a material.
    pub rows: &'a [f32],
    /// What the encoders say, where the samples have heads.
    pub heads: Option<&'a [f32]>,
    /// The places, one row a material.
    pub places: ArrayView2<'a, f32>,
}

/// A property, learned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Predictor {
    plain: Forest,
    rest: Option<Forest>,
    alike: Option<Ridge>,
    blend: Blend,
    scale: Scale,
    standard: Standard,
    references: References,
}

/// How the property is said of its own samples, as if they were not known.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Each sample with its composition left out.
    pub near: Vec<Predicted>,
    /// Each sample with its cluster left out; where there is one cluster only, as `near`.
    pub far: Vec<Predicted>,
}

/// How wide intervals are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Scale {
    /// Powers of the spread and of the distance.
    powers: [f64; 2],
    /// What is added to spread and distance, so that none is 0.
    floors: [f64; 2],
    /// The quantile near to what is known.
    near: f64,
    /// How much wider far from it.
    widening: f64,
    /// Logarithms of the distances that are near and far.
    from: f64,
    to: f64,
}

impl Scale {
    fn shape(&self, spread: f64, distance: f64) -> f64 {
        (self.powers[0] * (spread + self.floors[0]).ln() + self.powers[1] * (distance + self.floors[1]).ln()).exp()
    }

    fn widened(&self, distance: f64) -> f64 {
        let at = ((distance + self.floors[1]).ln() - self.from) / (self.to - self.from).max(1e-6);
        1.0 + at.clamp(0.0, 1.0) * (self.widening - 1.0)
    }

    fn half(&self, spread: f32, distance: f32) -> f32 {
        let (spread, distance) = (f64::from(spread), f64::from(distance));
        (self.near * self.shape(spread, distance) * self.widened(distance)) as f32
    }

    /// From what was wrong (absolute), with spread and distance of each: near samples, then far ones.
    fn fit(near: &[[f64; 3]], far: &[[f64; 3]]) -> Scale {
        let all = || near.iter().chain(far);
        let typical = |of: usize| median(all().map(|case| case[of]).collect()).max(1e-9);
        let floors = [0.1 * typical(1), 0.1 * typical(2)];
        let least = 0.05 * typical(0);
        let of = |case: &[f64; 3]| [(case[1] + floors[0]).ln(), (case[2] + floors[1]).ln(), (case[0] + least).ln()];
        let powers = slopes(&all().map(of).collect::<Vec<_>>());
        let logarithm = |cases: &[[f64; 3]]| median(cases.iter().map(|case| (case[2] + floors[1]).ln()).collect());
        let (from, to) = (logarithm(near), logarithm(far));
        let mut scale = Scale { powers, floors, near: 1.0, widening: 1.0, from, to: to.max(from + 0.1) };
        let wrong = |cases: &[[f64; 3]], scale: &Scale, widened: &dyn Fn(f64) -> f64| {
            quantile(cases.iter().map(|case| case[0] / scale.shape(case[1], case[2]) / widened(case[2])).collect())
        };
        // far samples say how much wider; near ones then how wide
        for _ in 0..4 {
            scale.near = wrong(near, &scale, &|distance| scale.widened(distance));
            scale.widening = (wrong(far, &scale, &|_| 1.0) / scale.near).clamp(1.0, 10.0);
        }
        scale.near = wrong(near, &scale, &|distance| scale.widened(distance));
        scale
    }
}

/// The conformal quantile: of n numbers the ⌈0.9 (n + 1)⌉-th.
fn quantile(mut numbers: Vec<f64>) -> f64 {
    let n = numbers.len();
    if n == 0 {
        return 1.0;
    }
    let place = ((COVERED * (n as f64 + 1.0)).ceil() as usize).clamp(1, n) - 1;
    numbers.select_nth_unstable_by(place, f64::total_cmp).1.max(1e-12)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    if numbers.is_empty() {
        return 0.0;
    }
    let middle = numbers.len() / 2;
    *numbers.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Least squares of the third number on the first two, with slopes that are not negative.
fn slopes(cases: &[[f64; 3]]) -> [f64; 2] {
    let n = cases.len().max(1) as f64;
    let mean = |of: usize| cases.iter().map(|case| case[of]).sum::<f64>() / n;
    let means = [mean(0), mean(1), mean(2)];
    let product =
        |a: usize, b: usize| cases.iter().map(|case| (case[a] - means[a]) * (case[b] - means[b])).sum::<f64>() / n;
    let (aa, bb, ab) = (product(0, 0) + 1e-3, product(1, 1) + 1e-3, product(0, 1));
    let (ay, by) = (product(0, 2), product(1, 2));
    let determinant = aa * bb - ab * ab;
    let both = [(ay * bb - by * ab) / determinant, (by * aa - ay * ab) / determinant];
    let slopes = match both {
        [a, b] if a >= 0.0 && b >= 0.0 => both,
        [a, _] if a < 0.0 => [0.0, by / bb],
        _ => [ay / aa, 0.0],
    };
    slopes.map(|slope| slope.clamp(0.0, 2.0))
}

/// Brings places to one scale: that of the samples.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Standard {
    mean: Vec<f32>,
    scale: Vec<f32>,
}

impl Standard {
    /// The scale of these samples.
    pub fn of(places: &Array2<f32>) -> Standard {
        let n = places.nrows().max(1) as f64;
        let (mut mean, mut scale) = (Vec::new(), Vec::new());
        for column in places.columns() {
            let middle = column.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
            let deviation = (column.iter().map(|x| (f64::from(*x) - middle).powi(2)).sum::<f64>() / n).sqrt();
            mean.push(middle as f32);
            // what is the same in all samples: any other number is far away, but not endlessly
            scale.push((1.0 / deviation.max(0.02 * middle.abs()).max(1e-3)) as f32);
        }
        Standard { mean, scale }
    }

    /// Places on the scale.
    pub fn apply(&self, places: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut out = places.to_owned();
        for mut row in out.rows_mut() {
            let terms = row.iter_mut().zip(self.mean.iter().zip(&self.scale));
            terms.for_each(|(x, (mean, scale))| *x = ((*x - mean) * scale).clamp(-8.0, 8.0));
        }
        out
    }
}

/// Known samples to which distances are taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct References {
    places: Array2<f32>,
    squares: Vec<f32>,
    /// Group and cluster of each.
    of: Vec<[u32; 2]>,
}

impl References {
    fn of(places: &Array2<f32>, groups: &[u32], clusters: &[u32]) -> References {
        let mut chosen: Vec<usize> = (0..places.nrows()).collect();
        let mut random = Random::new(17);
        while chosen.len() > REFERENCES {
            let gone = random.below(chosen.len());
            chosen.swap_remove(gone);
        }
        let places = places.select(Axis(0), &chosen);
        let squares = places.rows().into_iter().map(|row| row.dot(&row)).collect();
        let of = chosen.iter().map(|at| [groups[*at], clusters[*at]]).collect();
        References { places, squares, of }
    }

    /// The distance of each row to the nearest reference that `counts`, given the row and the reference's group and cluster.
    fn nearest(&self, places: ArrayView2<'_, f32>, counts: impl Fn(usize, [u32; 2]) -> bool + Sync) -> Vec<f32> {
        let blocks: Vec<usize> = (0..places.nrows()).step_by(BLOCK).collect();
        let distances = blocks.into_par_iter().flat_map_iter(|from| {
            let block = places.slice(ndarray::s![from..(from + BLOCK).min(places.nrows()), ..]);
            let products = block.dot(&self.places.t());
            let of_row = |(at, row): (usize, ndarray::ArrayView1<'_, f32>)| {
                let square = row.dot(&row);
                let terms = products.row(at).into_iter().zip(&self.squares).zip(&self.of);
                let nearest = terms
                    .filter(|(_, of)| counts(from + at, **of))
                    .map(|((product, reference), _)| square + reference - 2.0 * product)
                    .fold(f32::INFINITY, f32::min);
                // where none counts, all that is known is the sample itself
                if nearest.is_finite() { nearest.max(0.0).sqrt() } else { (places.ncols() as f32).sqrt() }
            };
            block.rows().into_iter().enumerate().map(of_row).collect::<Vec<f32>>()
        });
        distances.collect()
    }
}

/// Clusters of places by k-means (Lloyd 1982, doi:10.1109/TIT.1982.1056489); the first centres are far from each other.
fn clusters(places: &Array2<f32>) -> Vec<u32> {
    let n = places.nrows();
    let k = (n / PER_CLUSTER).clamp(1, CLUSTERS);
    let off = |row: ndarray::ArrayView1<'_, f32>, centre: &[f32]| -> f32 {
        row.iter().zip(centre).map(|(x, y)| (x - y).powi(2)).sum()
    };
    let mut centres: Vec<Vec<f32>> = vec![places.mean_axis(Axis(0)).map(|mean| mean.to_vec()).unwrap_or_default()];
    let mut random = Random::new(23);
    let mut nearest = vec![f32::INFINITY; n];
    while centres.len() <= k {
        // drawn by the squared distance to the centres before it (k-means++); the mean was only the first of them
        let last = &centres[centres.len() - 1];
        nearest.iter_mut().zip(places.rows()).for_each(|(near, row)| *near = near.min(off(row, last)));
        let total: f64 = nearest.iter().map(|x| f64::from(*x)).sum();
        let mut place = random.unit() * total;
        let drawn = nearest.iter().position(|x| {
            place -= f64::from(*x);
            place < 0.0
        });
        centres.push(places.row(drawn.unwrap_or(0)).to_vec());
    }
    centres.remove(0);
    let mut of = vec![0u32; n];
    for _ in 0..12 {
        of = (0..n)
            .into_par_iter()
            .map(|at| {
                let of_centre = |(k, centre): (usize, &Vec<f32>)| (off(places.row(at), centre), k as u32);
                let nearest = centres.iter().enumerate().map(of_centre);
                nearest.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0, |(_, k)| k)
            })
            .collect();
        let mut sums = vec![(0f64, vec![0f64; places.ncols()]); centres.len()];
        for (row, k) in places.rows().into_iter().zip(&of) {
            let (count, sum) = &mut sums[*k as usize];
            *count += 1.0;
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        for (centre, (count, sum)) in centres.iter_mut().zip(sums).filter(|(_, (count, _))| *count > 0.0) {
            centre.iter_mut().zip(sum).for_each(|(centre, sum)| *centre = (sum / count) as f32);
        }
    }
    of
}

impl Predictor {
    /// Learns; `None` where there are fewer than [`FEWEST`] compositions, or all values are the same.
    pub fn fit(samples: &Samples, growth: &Growth) -> Option<(Predictor, Checked)> {
        let values = &samples.values;
        let n = values.len();
        let different = samples.groups.iter().collect::<std::collections::HashSet<_>>().len();
        if different < FEWEST || values.iter().all(|x| *x == values[0]) {
            return None;
        }
        let standard = Standard::of(&samples.places);
        let places = standard.apply(samples.places.view());
        let clusters = clusters(&places);
        let references = References::of(&places, &samples.groups, &clusters);
        let (plain, of_plain) = Forest::grow(&samples.columns, values, &samples.groups, &clusters, growth);
        let rest = samples.heads.as_ref().map(|heads| {
            let rest: Vec<f32> = values.iter().zip(heads).map(|(value, head)| value - head).collect();
            let growth = Growth { seed: growth.seed.wrapping_add(1), ..growth.clone() };
            Forest::grow(&samples.columns, &rest, &samples.groups, &clusters, &growth)
        });
        let (rest, of_rest) = rest.unzip();
        let alike = (n <= ALIKE_UP_TO).then(|| {
            let seed = growth.seed.wrapping_add(2);
            Ridge::fit(&samples.columns, values, &samples.groups, &clusters, seed)
        });
        let (alike, of_alike) = alike.unzip();
        let voices = |at: usize, far: bool| Voices {
            plain: if far { of_plain.far[at] } else { of_plain.near[at] },
            alike: of_alike.as_ref().map_or(f32::NAN, |said| if far { said.far[at] } else { said.near[at] }),
            head: samples.heads.as_ref().map_or(f32::NAN, |heads| heads[at]),
            rest: of_rest.as_ref().map_or(f32::NAN, |said| if far { said.far[at] } else { said.near[at] }),
        };
        // trees by chance may all have seen a sample
        let is_seen = |at: &usize| {
            of_plain.near[*at].is_finite() && of_rest.as_ref().is_none_or(|said| said.near[*at].is_finite())
        };
        let seen: Vec<usize> = (0..n).filter(is_seen).collect();
        let near_distance = references.nearest(places.view(), |at, [group, _]| group != samples.groups[at]);
        let blend = {
            let mean =
                |of: &dyn Fn(usize) -> f64| seen.iter().map(|at| of(*at)).sum::<f64>() / seen.len().max(1) as f64;
            let of_trees = |said: &Unseen| mean(&|at| said.near_excess[at]);
            let square = |heads: &Vec<f32>| mean(&|at| f64::from(heads[at] - values[at]).powi(2));
            let few = Few {
                plain: of_trees(&of_plain),
                rest: of_rest.as_ref().map_or(0.0, of_trees),
                head: ONE_OF_ALL * samples.heads.as_ref().map_or(0.0, square),
            };
            let cases: Vec<(f32, Voices)> = seen.iter().map(|&at| (values[at], voices(at, false))).collect();
            best_blend(&cases, [alike.is_some(), rest.is_some()], few)
        };
        let spread = |at: usize, far: bool| {
            let rest = of_rest.as_ref().map(|said| if far { said.far_spread[at] } else { said.near_spread[at] });
            blend.spread(if far { of_plain.far_spread[at] } else { of_plain.near_spread[at] }, rest)
        };
        let far_distance = references.nearest(places.view(), |at, [_, cluster]| cluster != clusters[at]);
        let near = |at: usize| (blend.mix(voices(at, false)), spread(at, false), near_distance[at]);
        let far = |at: usize| {
            let mean = blend.mix(voices(at, true));
            if mean.is_finite() { (mean, spread(at, true), far_distance[at]) } else { near(at) }
        };
        let cases = |of: &dyn Fn(usize) -> (f32, f32, f32)| -> Vec<[f64; 3]> {
            let case = |at: &usize| {
                let (mean, spread, distance) = of(*at);
                [(mean - values[*at]).abs(), spread, distance].map(f64::from)
            };
            seen.iter().map(case).filter(|case| case.iter().all(|x| x.is_finite())).collect()
        };
        let mut scale = Scale::fit(&cases(&near), &cases(&far));
        let said = |of: &dyn Fn(usize) -> (f32, f32, f32)| -> Vec<Predicted> {
            let one = |at: usize| {
                let (mean, spread, distance) = of(at);
                // a sample that every tree has seen is said by the encoder, or not better than by its own value
                let mean = if mean.is_finite() { mean } else { values[at] };
                let spread = if spread.is_finite() { spread } else { 0.0 };
                Predicted { mean, half: scale.half(spread, distance), distance }
            };
            (0..n).map(one).collect()
        };
        let checked = Checked { near: said(&near), far: said(&far) };
        if rest.is_some() {
            // not so far from all that is known, where they agree also if all of them are wrong
            let narrower = all_encoders(blend.head);
            scale.near *= narrower;
            scale.widening /= narrower;
        }
        Some((Predictor { plain, rest, alike, blend, scale, standard, references }, checked))
    }

    /// Bytes of memory that it takes, about.
    pub fn bytes(&self) -> usize {
        let alike = self.alike.as_ref().map_or(0, Ridge::bytes);
        self.plain.bytes() + self.rest.as_ref().map_or(0, Forest::bytes) + alike + 4 * self.references.places.len()
    }

    /// What is said of materials.
    pub fn predict(&self, asked: &Asked<'_>) -> Vec<Predicted> {
        let plain = self.plain.predict(asked.rows);
        let rest = self.rest.as_ref().map(|rest| rest.predict(asked.rows));
        let alike = self.alike.as_ref().map(|alike| alike.predict(asked.rows));
        let places = self.standard.apply(asked.places);
        let distance = self.references.nearest(places.view(), |_, _| true);
        let one = |at: usize| {
            let rest = rest.as_ref().map(|rest| rest[at]);
            let voices = Voices {
                plain: plain[at].0,
                alike: alike.as_ref().map_or(f32::NAN, |alike| alike[at]),
                head: asked.heads.map_or(f32::NAN, |heads| heads[at]),
                rest: rest.map_or(f32::NAN, |(rest, _)| rest),
            };
            let spread = self.blend.spread(plain[at].1, rest.map(|(_, spread)| spread));
            Predicted {
                mean: self.blend.mix(voices),
                half: self.scale.half(spread, distance[at]),
                distance: distance[at],
            }
        };
        (0..plain.len()).map(one).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Values that depend on three of four numbers, with noise that grows with one of them.
    fn samples(n: usize, seed: u64, heads: bool) -> Samples {
        let mut random = Random::new(seed);
        let rows: Vec<[f32; 4]> = (0..n).map(|_| [0; 4].map(|_: i32| random.unit() as f32)).collect();
        let values: Vec<f32> = rows
            .iter()
            .map(|[a, b, c, _]| 4.0 * a + (5.0 * b).sin() + (0.05 + 0.5 * c) * random.normal() as f32)
            .collect();
        let head = |[a, ..]: &[f32; 4]| 4.0 * a + 0.3;
        Samples {
            columns: Columns::of_rows(&rows.concat(), 4).unwrap(),
            heads: heads.then(|| rows.iter().map(head).collect()),
            values,
            groups: (0..n as u32).collect(),
            places: Array2::from_shape_vec((n, 4), rows.concat()).unwrap(),
        }
    }

    fn rows(samples: &Samples) -> Vec<f32> {
        samples.places.iter().copied().collect()
    }

    #[test]
    fn nine_of_ten_intervals_hold_what_was_never_seen() {
        for heads in [false, true] {
            let (known, unseen) = (samples(1500, 1, heads), samples(2000, 2, heads));
            let (predictor, checked) = Predictor::fit(&known, &Growth::default()).unwrap();
            let rows = rows(&unseen);
            let asked = Asked { rows: &rows, heads: unseen.heads.as_deref(), places: unseen.places.view() };
            let said = predictor.predict(&asked);
            let held = |said: &[Predicted], values: &[f32]| {
                let inside = said.iter().zip(values).filter(|(said, value)| (said.mean - **value).abs() <= said.half);
                inside.count() as f64 / values.len() as f64
            };
            let (near, far, new) =
                (held(&checked.near, &known.values), held(&checked.far, &known.values), held(&said, &unseen.values));
            // here all encoders say what one says, so that intervals for all of them are too narrow
            let least = if heads { 0.82 } else { 0.87 };
            assert!((0.88..0.93).contains(&near) && far > 0.86 && (least..0.94).contains(&new), "{near} {far} {new}");
            let wrong = |of: &dyn Fn(usize) -> f32| {
                unseen.values.iter().enumerate().map(|(at, value)| f64::from((of(at) - value).abs())).sum::<f64>()
                    / 2000.0
            };
            let mean = known.values.iter().sum::<f32>() / 1500.0;
            assert!(wrong(&|at| said[at].mean) < 0.4 * wrong(&|_| mean));
        }
    }

    /// A voice that is not there is not heard, however the shares of the others add up.
    #[test]
    fn without_encoder_or_alike_samples_all_is_said() {
        for (n, heads) in [(40, false), (200, false), (200, true)] {
            let known = samples(n, 7, heads);
            let (predictor, checked) = Predictor::fit(&known, &Growth::default()).unwrap();
            let blend = predictor.blend;
            assert!(
                (blend.plain + blend.alike + blend.head - 1.0).abs() < 1e-5 && (heads || blend.head == 0.0),
                "{blend:?}"
            );
            let rows = rows(&known);
            let asked = Asked { rows: &rows, heads: known.heads.as_deref(), places: known.places.view() };
            let said = predictor.predict(&asked).into_iter().chain(checked.near).chain(checked.far);
            assert!(said.into_iter().all(|said| said.mean.is_finite() && said.half > 0.0));
        }
    }

    #[test]
    fn far_from_what_is_known_intervals_are_wider() {
        let known = samples(800, 3, false);
        let (predictor, _) = Predictor::fit(&known, &Growth::default()).unwrap();
        let ask = |x: f32| {
            let rows = [x; 4];
            let places = Array2::from_shape_vec((1, 4), rows.to_vec()).unwrap();
            predictor.predict(&Asked { rows: &rows, heads: None, places: places.view() })[0]
        };
        let (inside, outside) = (ask(0.5), ask(3.0));
        assert!(outside.distance > 3.0 * inside.distance && outside.half > inside.half, "{inside:?} {outside:?}");
    }

    #[test]
    fn too_little_teaches_nothing() {
        assert!(Predictor::fit(&samples(FEWEST - 1, 4, false), &Growth::default()).is_none());
        assert!(Predictor::fit(&samples(FEWEST, 4, false), &Growth::default()).is_some());
        let same = Samples { values: vec![3.0; 50], ..samples(50, 5, false) };
        assert!(Predictor::fit(&same, &Growth::default()).is_none());
        let one = Samples { groups: vec![0; 50], ..samples(50, 5, false) };
        assert!(Predictor::fit(&one, &Growth::default()).is_none());
    }
}
