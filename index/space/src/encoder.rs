//! Vectors learned from all properties at once.
//!
//! A material is the set of its elements. Each element is a vector of its own plus what [`crate::elements`] says of it plus its
//! fraction; in rounds of attention, weighted by the fractions, each looks at the others (as CrabNet and Roost do:
//! doi:10.1038/s41524-021-00545-1, doi:10.1038/s41467-020-19964-7); their mean is the material's vector, from which every task is
//! read off by a line. A task is one property of one source, on its axis, standardised. What is known of one task teaches
//! the others.

use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;

use crate::composition::Composition;
use crate::elements::{COUNT, MAGPIE, MAGPIE_TABLE, MAT2VEC, MAT2VEC_TABLE};
use crate::random::Random;
use crate::tape::{Node, Segments, Tape};

/// Components of a token.
const WIDTH: usize = 96;
/// Of the layer between two rounds.
const HIDDEN: usize = 192;
const HEADS: usize = 4;
const ROUNDS: usize = 2;
/// Components of a material's vector.
pub const VECTOR: usize = 128;
/// Numbers about an element's share: fraction, its logarithm and root.
const SHARES: usize = 3;
const FEATURES: usize = MAGPIE + MAT2VEC;
/// Materials whose vectors are computed in one go.
const CHUNK: usize = 1024;

/// One property of one source, to be learned.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// Materials, by their places, with the values on the property's axis.
    pub labels: Vec<(u32, f32)>,
}

/// How long and how to train.
#[derive(Debug, Clone)]
pub struct Training {
    /// Steps.
    pub steps: usize,
    /// Materials a step.
    pub batch: usize,
    /// The highest learning rate.
    pub rate: f32,
    /// Weight decay of AdamW (doi:10.48550/arXiv.1711.05101).
    pub decay: f32,
    /// How much more often tasks of few labels are drawn: tasks are drawn by the power of their number of labels.
    pub power: f64,
    /// Where the random numbers start.
    pub seed: u64,
}

impl Default for Training {
    fn default() -> Training {
        Training { steps: 4000, batch: 512, rate: 2e-3, decay: 0.02, power: 0.35, seed: 1 }
    }
}

/// The standardisation of a task: `(value - middle) / spread`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Mean of the labels.
    pub middle: f32,
    /// Their mean deviation, above 0.
    pub spread: f32,
}

/// A task that was learned.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// Its name.
    pub name: String,
    /// How its values are standardised.
    pub scale: Scale,
    /// Number of its labels.
    pub labels: u32,
}

/// A trained network.
#[derive(Debug, Clone)]
pub struct Encoder {
    parameters: Vec<Array2<f32>>,
    /// What it has learned.
    pub tasks: Vec<Learned>,
    elements: Array2<f32>,
}

/// Where the parameters of a layer are.
struct Layout {
    round: usize,
    after: usize,
    heads: usize,
    count: usize,
}

/// embedding, features → width, shares → width, bias
const FIRST: usize = 4;
/// gain, query, key, value, out (weights and bias each but for the gain), gain, up, down
const PER_ROUND: usize = 14;
/// gain, weights, bias; gain, up, down
const PER_END: usize = 8;

const LAYOUT: Layout = Layout {
    round: FIRST,
    after: FIRST + ROUNDS * PER_ROUND,
    heads: FIRST + ROUNDS * PER_ROUND + PER_END,
    count: FIRST + ROUNDS * PER_ROUND + PER_END + 2,
};

impl Encoder {
    fn new(tasks: Vec<Learned>, seed: u64) -> Encoder {
        let mut random = Random::new(seed);
        let mut matrix = |rows: usize, columns: usize, scale: f64| {
            let deviation = scale / (rows as f64).sqrt();
            Array2::from_shape_simple_fn((rows, columns), || (random.normal() * deviation) as f32)
        };
        let bias = |columns: usize| Array2::zeros((1, columns));
        let gain = |columns: usize| Array2::ones((1, columns));
        let mut p = vec![matrix(COUNT, WIDTH, 0.3 * (COUNT as f64).sqrt()), matrix(FEATURES, WIDTH, 1.0)];
        p.extend([matrix(SHARES, WIDTH, 1.0), bias(WIDTH)]);
        for _ in 0..ROUNDS {
            p.push(gain(WIDTH));
            for _ in 0..3 {
                p.extend([matrix(WIDTH, WIDTH, 1.0), bias(WIDTH)]);
            }
            p.extend([matrix(WIDTH, WIDTH, 0.5), bias(WIDTH), gain(WIDTH)]);
            p.extend([matrix(WIDTH, HIDDEN, 1.0), bias(HIDDEN), matrix(HIDDEN, WIDTH, 0.5), bias(WIDTH)]);
        }
        p.extend([gain(WIDTH), matrix(WIDTH, VECTOR, 1.0), bias(VECTOR)]);
        p.extend([gain(VECTOR), matrix(VECTOR, 2 * VECTOR, 1.0), bias(2 * VECTOR), matrix(2 * VECTOR, VECTOR, 0.5)]);
        p.push(bias(VECTOR));
        p.extend([matrix(VECTOR, tasks.len(), 0.3), bias(tasks.len())]);
        debug_assert_eq!(p.len(), LAYOUT.count);
        Encoder { parameters: p, tasks, elements: element_features() }
    }

    /// Trains one on the tasks' labels, but for those of the materials that are held out. `watch` is told the step and the
    /// mean loss of the last hundred, and ends the training by `false`.
    pub fn train(
        compositions: &[Composition],
        tasks: &[Task],
        held_out: &(dyn Fn(u32) -> bool + Sync),
        training: &Training,
        watch: &mut dyn FnMut(usize, f32) -> bool,
    ) -> Encoder {
        let kept: Vec<Vec<(u32, f32)>> =
            tasks.iter().map(|task| task.labels.iter().copied().filter(|(at, _)| !held_out(*at)).collect()).collect();
        let scales: Vec<Scale> = kept.iter().map(|labels| Scale::of(labels)).collect();
        let learned =
            |at: usize| Learned { name: tasks[at].name.clone(), scale: scales[at], labels: kept[at].len() as u32 };
        let names = (0..tasks.len()).map(learned).collect();
        let mut encoder = Encoder::new(names, training.seed);
        let known = Known::new(compositions.len(), &kept, &scales);
        let shares: Vec<f64> = kept.iter().map(|labels| (labels.len() as f64).powf(training.power)).collect();
        let total: f64 = shares.iter().sum();
        if total == 0.0 {
            return encoder;
        }
        // labels of tasks with few of them count for more
        let weights: Vec<f32> = shares.iter().map(|share| (share / total) as f32 * tasks.len() as f32).collect();
        let mut random = Random::new(training.seed ^ 0xBEEF);
        let mut optimiser = Optimiser::new(&encoder.parameters);
        let mut average = encoder.parameters.clone();
        let threads = rayon::current_num_threads().clamp(1, training.batch / 32 + 1);
        let (mut loss, mut losses) = (0.0, 0);
        for step in 0..training.steps {
            let rows: Vec<(u32, usize)> = (0..training.batch)
                .map(|_| {
                    let mut place = random.unit() * total;
                    let mut task = shares
                        .iter()
                        .position(|share| {
                            place -= share;
                            place < 0.0
                        })
                        .unwrap_or(0);
                    while kept[task].is_empty() {
                        task = (task + 1) % kept.len();
                    }
                    (kept[task][random.below(kept[task].len())].0, task)
                })
                .collect();
            let parts: Vec<(Vec<Array2<f32>>, f32)> = rows
                .par_chunks(training.batch.div_ceil(threads))
                .map(|rows| encoder.gradients(compositions, rows, &known, &weights))
                .collect();
            let mut parts = parts.into_iter();
            let Some((mut gradients, first)) = parts.next() else { continue };
            loss += first;
            for (part, value) in parts {
                loss += value;
                gradients.iter_mut().zip(&part).for_each(|(sum, part)| *sum += part);
            }
            losses += 1;
            let scale = 1.0 / training.batch as f32;
            gradients.iter_mut().for_each(|g| *g *= scale);
            let at = step as f32 / training.steps as f32;
            let warm = (step as f32 / 200.0).min(1.0);
            let rate = training.rate * warm * (0.5 * (1.0 + (std::f32::consts::PI * at).cos())).max(0.002);
            optimiser.step(&mut encoder.parameters, &gradients, rate, training.decay);
            let keep = if step < 200 { 0.9 } else { 0.998 };
            average.par_iter_mut().zip(&encoder.parameters).for_each(|(average, now)| {
                average.zip_mut_with(now, |average, now| *average = keep * *average + (1.0 - keep) * now);
            });
            if (step + 1) % 100 == 0 {
                let go_on = watch(step + 1, loss / (losses * training.batch) as f32);
                (loss, losses) = (0.0, 0);
                if !go_on {
                    break;
                }
            }
        }
        encoder.parameters = average;
        encoder
    }

    fn gradients(
        &self,
        compositions: &[Composition],
        rows: &[(u32, usize)],
        known: &Known,
        weights: &[f32],
    ) -> (Vec<Array2<f32>>, f32) {
        let batch = Batch::of(rows.iter().map(|(row, _)| &compositions[*row as usize]));
        let mut tape = Tape::new(&self.parameters);
        let (_, out) = self.forward(&mut tape, &batch);
        let predicted = tape.value(out);
        let mut gradient = Array2::zeros(predicted.raw_dim());
        let mut loss = 0.0;
        for (at, &(row, drawn)) in rows.iter().enumerate() {
            for &(task, wanted) in known.of(row) {
                let task = task as usize;
                // what was drawn for the task counts fully, what comes along with it a little
                let weight = if task == drawn { 1.0 } else { 0.3 * weights[task].min(1.0) };
                let off = predicted[[at, task]] - wanted;
                // L1 with a round bottom
                let size = (off * off + 0.01).sqrt();
                loss += weight * (size - 0.1);
                gradient[[at, task]] = weight * off / size;
            }
        }
        let mut into: Vec<Array2<f32>> = self.parameters.iter().map(|p| Array2::zeros(p.raw_dim())).collect();
        tape.backward(out, gradient, &mut into);
        (into, loss)
    }

    /// The vectors, and the tasks read off them.
    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch) -> (Node, Node) {
        let features = tape.constant(self.elements.clone());
        let (own, of_features) = (tape.parameter(0), tape.parameter(1));
        let described = tape.product(features, of_features);
        let element = tape.sum(own, described);
        let mut x = tape.gather(element, Arc::clone(&batch.elements));
        let shares = tape.constant(batch.shares.clone());
        let shares = tape.linear(shares, 2, 3);
        x = tape.sum(x, shares);
        for round in 0..ROUNDS {
            let at = LAYOUT.round + round * PER_ROUND;
            let gain = tape.parameter(at);
            let normal = tape.norm(x, gain);
            let three = [1, 3, 5].map(|place| tape.linear(normal, at + place, at + place + 1));
            let seen = tape.attention(three, HEADS, &batch.logarithms, &batch.segments);
            let seen = tape.linear(seen, at + 7, at + 8);
            x = tape.sum(x, seen);
            x = between(tape, x, at + 9);
        }
        let gain = tape.parameter(LAYOUT.after);
        let normal = tape.norm(x, gain);
        let mean = tape.pool(normal, Arc::clone(&batch.fractions), &batch.segments);
        let mean = tape.linear(mean, LAYOUT.after + 1, LAYOUT.after + 2);
        let vector = between(tape, mean, LAYOUT.after + 3);
        let out = tape.linear(vector, LAYOUT.heads, LAYOUT.heads + 1);
        (vector, out)
    }

    /// The vectors of materials, [`VECTOR`] components each, and what is read off them for each task, on the tasks' axes.
    pub fn encode(&self, compositions: &[&Composition]) -> (Array2<f32>, Array2<f32>) {
        let parts: Vec<(Array2<f32>, Array2<f32>)> = compositions
            .par_chunks(CHUNK)
            .map(|chunk| {
                let batch = Batch::of(chunk.iter().copied());
                let mut tape = Tape::new(&self.parameters);
                let (vector, out) = self.forward(&mut tape, &batch);
                (tape.value(vector).clone(), tape.value(out).clone())
            })
            .collect();
        let mut vectors = Array2::zeros((compositions.len(), VECTOR));
        let mut out = Array2::zeros((compositions.len(), self.tasks.len()));
        for (at, (v, o)) in parts.into_iter().enumerate() {
            let rows = at * CHUNK..at * CHUNK + v.nrows();
            vectors.slice_axis_mut(Axis(0), rows.clone().into()).assign(&v);
            out.slice_axis_mut(Axis(0), rows.into()).assign(&o);
        }
        for (mut column, task) in out.columns_mut().into_iter().zip(&self.tasks) {
            column.mapv_inplace(|x| x * task.scale.spread + task.scale.middle);
        }
        (vectors, out)
    }

    /// The parameters, in their order.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = f32> + '_ {
        self.parameters.iter().flatten().copied()
    }

    /// A network of these tasks with parameters as [`Encoder::parameters`] gives them; `None` where there are too few of them.
    pub(crate) fn with_parameters(tasks: Vec<Learned>, parameters: &mut impl Iterator<Item = f32>) -> Option<Encoder> {
        let mut encoder = Encoder::new(tasks, 0);
        for slot in encoder.parameters.iter_mut().flatten() {
            *slot = parameters.next()?;
        }
        Some(encoder)
    }
}

fn between(tape: &mut Tape<'_>, x: Node, at: usize) -> Node {
    let gain = tape.parameter(at);
    let normal = tape.norm(x, gain);
    let up = tape.linear(normal, at + 1, at + 2);
    let up = tape.silu(up);
    let down = tape.linear(up, at + 3, at + 4);
    tape.sum(x, down)
}

impl Scale {
    fn of(labels: &[(u32, f32)]) -> Scale {
        let n = labels.len().max(1) as f64;
        let middle = labels.iter().map(|(_, x)| f64::from(*x)).sum::<f64>() / n;
        let spread = labels.iter().map(|(_, x)| (f64::from(*x) - middle).abs()).sum::<f64>() / n;
        Scale { middle: middle as f32, spread: if spread > 0.0 { spread as f32 } else { 1.0 } }
    }
}

/// What is known of each material, standardised.
struct Known {
    starts: Vec<u32>,
    labels: Vec<(u16, f32)>,
}

impl Known {
    fn new(materials: usize, kept: &[Vec<(u32, f32)>], scales: &[Scale]) -> Known {
        let mut starts = vec![0u32; materials + 1];
        kept.iter().flatten().for_each(|(row, _)| starts[*row as usize + 1] += 1);
        for at in 0..materials {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut labels = vec![(0u16, 0f32); kept.iter().map(Vec::len).sum()];
        for ((task, of), scale) in kept.iter().enumerate().zip(scales) {
            for &(row, value) in of {
                let slot = &mut next[row as usize];
                // far outliers teach nothing more than that they are far
                labels[*slot as usize] = (task as u16, ((value - scale.middle) / scale.spread).clamp(-12.0, 12.0));
                *slot += 1;
            }
        }
        Known { starts, labels }
    }

    fn of(&self, row: u32) -> &[(u16, f32)] {
        &self.labels[self.starts[row as usize] as usize..self.starts[row as usize + 1] as usize]
    }
}

/// Materials as the network sees them.
struct Batch {
    elements: Arc<[usize]>,
    fractions: Arc<[f32]>,
    logarithms: Vec<f32>,
    shares: Array2<f32>,
    segments: Segments,
}

impl Batch {
    fn of<'c>(compositions: impl Iterator<Item = &'c Composition>) -> Batch {
        let (mut elements, mut fractions, mut segments) = (Vec::new(), Vec::new(), Vec::<Range<usize>>::new());
        for composition in compositions {
            let from = elements.len();
            for &(number, fraction) in composition.parts() {
                elements.push(usize::from(number) - 1);
                fractions.push(fraction);
            }
            segments.push(from..elements.len());
        }
        let logarithms: Vec<f32> = fractions.iter().map(|f: &f32| f.max(1e-6).ln()).collect();
        let mut shares = Array2::zeros((fractions.len(), SHARES));
        for ((mut row, &f), &logarithm) in shares.rows_mut().into_iter().zip(&fractions).zip(&logarithms) {
            row.assign(&Array1::from_vec(vec![2.0 * f - 1.0, 0.5 * logarithm + 0.6, 2.0 * f.sqrt() - 1.2]));
        }
        Batch { elements: elements.into(), fractions: fractions.into(), logarithms, shares, segments: segments.into() }
    }
}

/// The element tables, standardised over the elements.
fn element_features() -> Array2<f32> {
    let mut features = Array2::zeros((COUNT, FEATURES));
    for (at, mut row) in features.rows_mut().into_iter().enumerate() {
        let number = at as u8 + 1;
        let known = MAGPIE_TABLE.of(number).iter().chain(MAT2VEC_TABLE.of(number));
        row.iter_mut().zip(known).for_each(|(slot, x)| *slot = *x);
    }
    for mut column in features.columns_mut() {
        let mean = column.sum() / COUNT as f32;
        let deviation = (column.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / COUNT as f32).sqrt().max(1e-6);
        column.mapv_inplace(|x| ((x - mean) / deviation).clamp(-4.0, 4.0));
    }
    features
}

/// AdamW with gradients cut at a norm of 1.
struct Optimiser {
    first: Vec<Array2<f32>>,
    second: Vec<Array2<f32>>,
    steps: i32,
}

impl Optimiser {
    fn new(parameters: &[Array2<f32>]) -> Optimiser {
        let zeros = || parameters.iter().map(|p| Array2::zeros(p.raw_dim())).collect::<Vec<_>>();
        Optimiser { first: zeros(), second: zeros(), steps: 0 }
    }

    fn step(&mut self, parameters: &mut [Array2<f32>], gradients: &[Array2<f32>], rate: f32, decay: f32) {
        const MOMENTUM: f32 = 0.9;
        const MEMORY: f32 = 0.98;
        self.steps += 1;
        let norm = gradients.iter().flatten().map(|g| g * g).sum::<f32>().sqrt();
        let cut = if norm.is_finite() { (1.0 / norm).min(1.0) } else { 0.0 };
        let (a, b) = (1.0 - MOMENTUM.powi(self.steps), 1.0 - MEMORY.powi(self.steps));
        let moments = self.first.par_iter_mut().zip(&mut self.second);
        parameters.par_iter_mut().zip(gradients).zip(moments).for_each(|((parameter, gradient), (first, second))| {
            // gains, biases and the single rows are not drawn to 0
            let decay = if parameter.nrows() > 1 { decay * rate } else { 0.0 };
            let moments = first.iter_mut().zip(second.iter_mut());
            for ((p, g), (first, second)) in parameter.iter_mut().zip(gradient).zip(moments) {
                let g = g * cut;
                *first = MOMENTUM * *first + (1.0 - MOMENTUM) * g;
                *second = MEMORY * *second + (1.0 - MEMORY) * g * g;
                *p -= rate * (*first / a) / ((*second / b).sqrt() + 1e-8) + decay * *p;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Vec<Composition> {
        let of = |a: u8, b: u8, n: u32| Composition::new([(a, f64::from(n)), (b, 1.0)]);
        (1..60)
            .flat_map(|a| [(a, a + 11, 1), (a, a + 23, 2), (a, a + 5, 3)])
            .filter_map(|(a, b, n)| of(a, b, n))
            .collect()
    }

    fn error(compositions: &[Composition], out: &Array2<f32>, wanted: impl Fn(&Composition) -> f32) -> f32 {
        let each = compositions.iter().zip(out.column(0)).map(|(c, said)| (wanted(c) - said).abs());
        each.sum::<f32>() / compositions.len() as f32
    }

    #[test]
    fn what_is_held_out_is_not_learned_and_the_rest_is() {
        let compositions = pairs();
        // the mean atomic number, which elements' tables hold
        let number = |c: &Composition| c.parts().iter().map(|(z, f)| f32::from(*z) * f).sum::<f32>();
        let labels = |lie: f32| {
            let of = |(at, c): (usize, &Composition)| (at as u32, number(c) + if at % 4 == 0 { lie } else { 0.0 });
            compositions.iter().enumerate().map(of).collect()
        };
        let training = Training { steps: 300, batch: 64, ..Training::default() };
        let train = |lie: f32| {
            let task = Task { name: "number".to_owned(), labels: labels(lie) };
            Encoder::train(&compositions, &[task], &|row| row % 4 == 0, &training, &mut |_, _| true)
        };
        let of: Vec<&Composition> = compositions.iter().collect();
        let (vectors, out) = train(0.0).encode(&of);
        assert_eq!((vectors.nrows(), vectors.ncols(), out.ncols()), (compositions.len(), VECTOR, 1));
        let off = error(&compositions, &out, number);
        assert!(off < 3.0, "the mean atomic number, 1 to 80, is off by {off}");
        // whatever is said of the materials that are held out changes nothing
        assert_eq!(train(1000.0).encode(&of).1, out);
    }

    #[test]
    fn the_order_of_materials_changes_nothing() {
        let compositions = pairs();
        let encoder = Encoder::new(
            vec![Learned { name: "a".to_owned(), scale: Scale { middle: 2.0, spread: 3.0 }, labels: 1 }],
            5,
        );
        let forth: Vec<&Composition> = compositions.iter().collect();
        let back: Vec<&Composition> = compositions.iter().rev().collect();
        let (a, b) = (encoder.encode(&forth).0, encoder.encode(&back).0);
        for (row, other) in a.rows().into_iter().zip(b.rows().into_iter().rev()) {
            assert!(row.iter().zip(other).all(|(x, y)| (x - y).abs() < 1e-4));
        }
    }
}
