//! Rows as bytes: what walks along a graph see of them.
//!
//! A walk measures some hundred rows that lie anywhere in memory, and waits for each. As bytes they are about a quarter as much to wait for; which
//! of those that it finds are the nearest, [`Probe`] decides.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::{Metric, Probe};

/// Bytes of a line, which is fetched as one.
const LINE: usize = 64;

/// Numbers that are summed side by side.
const LANES: usize = 32;

/// Rows that are looked at to see how far components reach, about.
const SAMPLED: usize = 4_096;

/// What lies farther from the middle than all but one in so many components is cut off there.
const CUT_OFF: usize = 10_000;

#[repr(align(64))]
#[derive(Debug, Clone, Copy)]
struct Line([u8; LINE]);

/// Some rows of a set of vectors as bytes, numbered from 0. All components have one step, so that distances are about those of the
/// rows; they are counted in steps, by [`Metric::L2`] in squares of them.
#[derive(Debug, Clone)]
pub struct Sketch {
    arch: Arch,
    differences: bool,
    /// Lines of a row.
    lines: usize,
    rows: Vec<Line>,
    middle: Vec<f32>,
    /// Steps in one.
    steps: f64,
}

/// A point as [`Sketch`] sees it.
#[derive(Debug, Clone)]
pub struct Sketched(Vec<Line>);

impl Sketch {
    /// Of these rows, in their order; they must exist. `None` keeps a number free: what is measured of it means nothing.
    pub fn new(probe: &Probe, rows: &[Option<u32>]) -> Sketch {
        let dims = probe.vectors().dims();
        let sampled: Vec<&[f32]> =
            rows.iter().flatten().step_by(rows.len() / SAMPLED + 1).map(|row| probe.row(*row)).collect();
        // the median: a few that are far away do not move it
        let median = |component: usize| {
            let mut all: Vec<f32> = sampled.iter().map(|row| row[component]).collect();
            let half = all.len() / 2;
            if all.is_empty() { 0.0 } else { *all.select_nth_unstable_by(half, f32::total_cmp).1 }
        };
        let middle: Vec<f32> = (0..dims).into_par_iter().map(median).collect();
        let away = |row: &&[f32]| -> Vec<f64> {
            row.iter().zip(&middle).map(|(x, middle)| (f64::from(*x) - f64::from(*middle)).abs()).collect()
        };
        let mut reach: Vec<f64> = sampled.iter().flat_map(away).collect();
        let place = (reach.len() - reach.len() / CUT_OFF).saturating_sub(1);
        let most = reach.iter().copied().fold(0.0, f64::max);
        let reach = if reach.is_empty() { 0.0 } else { *reach.select_nth_unstable_by(place, f64::total_cmp).1 };
        // where hardly any component differs, those that do
        let reach = if reach > 0.0 { reach } else { most };
        let mut sketch = Sketch {
            arch: Arch::new(),
            differences: probe.metric() == Metric::L1,
            lines: dims.div_ceil(LINE),
            rows: Vec::new(),
            middle,
            steps: if reach > 0.0 { 127.0 / reach } else { 0.0 },
        };
        let mut lines = vec![Line([0; LINE]); rows.len() * sketch.lines];
        lines
            .par_chunks_exact_mut(sketch.lines.max(1))
            .zip(rows)
            .with_min_len(1024)
            .filter_map(|(to, row)| row.map(|row| (to, row)))
            .for_each(|(to, row)| sketch.write(probe.row(row), to));
        sketch.rows = lines;
        sketch
    }

    /// A point as it is measured.
    ///
    /// # Panics
    /// It has fewer or more components than the vectors.
    pub fn point(&self, of: &[f32]) -> Sketched {
        assert_eq!(of.len(), self.middle.len(), "a point has as many components as the vectors");
        let mut lines = vec![Line([0; LINE]); self.lines];
        self.write(of, &mut lines);
        Sketched(lines)
    }

    fn write(&self, of: &[f32], to: &mut [Line]) {
        for ((at, x), middle) in of.iter().enumerate().zip(&self.middle) {
            // to the nearest of 1 to 255: 128 is the middle
            let steps = (f64::from(*x) - f64::from(*middle)) * self.steps;
            to[at / LINE].0[at % LINE] = (steps + 128.5).clamp(1.0, 255.0) as u8;
        }
    }

    /// Appends about how far each of some rows is from a point.
    ///
    /// # Panics
    /// A row does not exist.
    pub fn measure(&self, point: &Sketched, rows: &[u32], to: &mut Vec<u32>) {
        self.arch.dispatch(Measure { sketch: self, point: &point.0, rows, to });
    }

    /// About how far two rows are apart; they must exist.
    pub fn apart(&self, a: u32, b: u32) -> u32 {
        self.arch.dispatch(Apart { differences: self.differences, a: self.row(a), b: self.row(b) })
    }

    /// Bytes of memory that it takes, about.
    pub fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice())
    }

    #[inline(always)]
    fn row(&self, row: u32) -> &[Line] {
        &self.rows[row as usize * self.lines..][..self.lines]
    }
}

struct Measure<'a> {
    sketch: &'a Sketch,
    point: &'a [Line],
    rows: &'a [u32],
    to: &'a mut Vec<u32>,
}

impl WithSimd for Measure<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Measure { sketch, point, rows, to } = self;
        // rows lie anywhere in memory: all are asked for before the first is needed
        let touched = rows.iter().flat_map(|row| sketch.row(*row));
        std::hint::black_box(touched.fold(0, |all, line| all ^ line.0[0]));
        to.extend(rows.iter().map(|row| lines_apart(sketch.differences, sketch.row(*row), point)));
    }
}

struct Apart<'a> {
    differences: bool,
    a: &'a [Line],
    b: &'a [Line],
}

impl WithSimd for Apart<'_> {
    type Output = u32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> u32 {
        lines_apart(self.differences, self.a, self.b)
    }
}

/// Σ|a - b|, or Σ(a - b)²: loops over arrays, which the compiler turns into the instructions of the level that this is inlined into.
#[inline(always)]
fn lines_apart(differences: bool, a: &[Line], b: &[Line]) -> u32 {
    let lines = a.iter().zip(b);
    if differences {
        lines.map(|(a, b)| a.0.iter().zip(b.0).map(|(a, b)| u32::from(a.abs_diff(b))).sum::<u32>()).sum()
    } else {
        lines.map(|(a, b)| squares(a, b)).fold(0, u32::saturating_add)
    }
}

#[inline(always)]
fn squares(a: &Line, b: &Line) -> u32 {
    let mut sums = [0i32; LANES];
    let halves = a.0.as_chunks::<LANES>().0.iter().zip(b.0.as_chunks::<LANES>().0);
    for (a, b) in halves {
        for lane in 0..LANES {
            let off = i16::from(a[lane]) - i16::from(b[lane]);
            sums[lane] += i32::from(off) * i32::from(off);
        }
    }
    sums.iter().sum::<i32>().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vectors;

    fn probe(dims: usize, metric: Metric, of: impl Fn(usize) -> f32) -> Probe {
        Probe::new(&Vectors::new((0..300 * dims).map(of).collect(), dims).unwrap(), metric).unwrap()
    }

    #[test]
    fn distances_are_about_those_of_the_rows() {
        for dims in [1, 12, 63, 64, 65, 103, 128, 200] {
            let value = |at: usize| ((at * 7919 + dims) % 1009) as f32 / 50.0 - 3.0;
            for metric in [Metric::L1, Metric::L2] {
                let probe = probe(dims, metric, value);
                let rows: Vec<Option<u32>> = (0..300).rev().map(Some).collect();
                let sketch = Sketch::new(&probe, &rows);
                let mut found = vec![7];
                let point = sketch.point(probe.row(299 - 5));
                sketch.measure(&point, &[0, 5, 299], &mut found);
                assert_eq!(found, [7, sketch.apart(5, 0), 0, sketch.apart(299, 5)]);
                let steps = sketch.steps;
                for (a, b) in [(0, 1), (5, 299), (17, 100)] {
                    let truth = steps * probe.distance(probe.row(299 - a), 299 - b);
                    let about = f64::from(sketch.apart(a, b));
                    let about = if metric == Metric::L2 { about.sqrt() } else { about };
                    // each component is off by half a step on either side
                    let most = if metric == Metric::L2 { (dims as f64).sqrt() } else { dims as f64 };
                    assert!((about - truth).abs() <= most, "{metric:?} {dims}: {about} for {truth}");
                }
            }
        }
    }

    #[test]
    fn any_finite_vectors_have_a_sketch() {
        let all_same = probe(3, Metric::L2, |_| 2.5);
        let sketch = Sketch::new(&all_same, &[Some(0), Some(1)]);
        assert_eq!(sketch.apart(0, 1), 0);
        let far = probe(2, Metric::L2, |at| if at % 3 == 0 { 1e18 } else { -1e18 });
        let sketch = Sketch::new(&far, &[0, 1, 2].map(Some));
        assert!(sketch.apart(0, 1) > 30_000);
        let mut found = Vec::new();
        sketch.measure(&sketch.point(&[f32::MAX, f32::NAN]), &[0, 1, 2], &mut found);
        assert_eq!(found.len(), 3);
        assert!(Sketch::new(&far, &[]).rows.is_empty());
        // one that is far away does not take the steps of the others
        let outlier = probe(64, Metric::L1, |at| if at == 0 { 1e6 } else { (at % 7) as f32 });
        let sketch = Sketch::new(&outlier, &(0..300).map(Some).collect::<Vec<_>>());
        assert!(sketch.apart(1, 2) > 100);
        // nor does one that is not among them
        let sketch = Sketch::new(&outlier, &(0..300).map(|row| (row > 290).then_some(row)).collect::<Vec<_>>());
        assert!(sketch.apart(295, 296) > 100);
        // what differs in one component alone is told apart
        let one = probe(128, Metric::L2, |at| if at == 128 * 150 { 1.0 } else { 0.5 });
        let sketch = Sketch::new(&one, &(0..300).map(Some).collect::<Vec<_>>());
        assert!(sketch.apart(149, 150) > 10_000 && sketch.apart(0, 1) == 0);
    }
}
