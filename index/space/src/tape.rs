//! Small differentiable matrices: what a network of a few layers needs, and no more.
//!
//! A tape holds the values of one pass; [`Tape::backward`] walks it back and gives the gradients of the parameters. Rows are
//! tokens (elements of materials) or materials; a material's tokens are consecutive.

use std::ops::Range;
use std::sync::Arc;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, Axis};

use crate::exp;

/// A place on the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node(usize);

/// Which rows belong to which material.
pub(crate) type Segments = Arc<[Range<usize>]>;

const EPSILON: f32 = 1e-5;

enum Op {
    Constant,
    Parameter(usize),
    /// Rows of another node.
    Gather(Node, Arc<[usize]>),
    Product(Node, Node),
    Sum(Node, Node),
    /// Adds a single row to each row.
    Shift(Node, Node),
    /// x · sigmoid(x)
    Silu(Node),
    /// Rows of mean 0 and deviation 1, times a row of gains; with the deviations' inverses.
    Norm(Node, Node, Array1<f32>),
    Attention(Attention),
    /// Sums of the rows of each segment, times weights.
    Pool(Node, Arc<[f32]>, Segments),
}

struct Attention {
    query: Node,
    key: Node,
    value: Node,
    heads: usize,
    segments: Segments,
    /// For each segment, head and query the weights of its keys.
    weights: Vec<f32>,
}

/// The values of one pass.
pub(crate) struct Tape<'a> {
    parameters: &'a [Array2<f32>],
    ops: Vec<Op>,
    values: Vec<Array2<f32>>,
}

impl<'a> Tape<'a> {
    pub(crate) fn new(parameters: &'a [Array2<f32>]) -> Tape<'a> {
        Tape { parameters, ops: Vec::new(), values: Vec::new() }
    }

    pub(crate) fn value(&self, node: Node) -> &Array2<f32> {
        match self.ops[node.0] {
            Op::Parameter(at) => &self.parameters[at],
            _ => &self.values[node.0],
        }
    }

    fn push(&mut self, op: Op, value: Array2<f32>) -> Node {
        self.ops.push(op);
        self.values.push(value);
        Node(self.ops.len() - 1)
    }

    pub(crate) fn constant(&mut self, value: Array2<f32>) -> Node {
        self.push(Op::Constant, value)
    }

    pub(crate) fn parameter(&mut self, at: usize) -> Node {
        self.push(Op::Parameter(at), Array2::zeros((0, 0)))
    }

    pub(crate) fn gather(&mut self, of: Node, rows: Arc<[usize]>) -> Node {
        let value = self.value(of).select(Axis(0), &rows);
        self.push(Op::Gather(of, rows), value)
    }

    pub(crate) fn product(&mut self, a: Node, b: Node) -> Node {
        let value = self.value(a).dot(self.value(b));
        self.push(Op::Product(a, b), value)
    }

    pub(crate) fn sum(&mut self, a: Node, b: Node) -> Node {
        let value = self.value(a) + self.value(b);
        self.push(Op::Sum(a, b), value)
    }

    pub(crate) fn shift(&mut self, a: Node, row: Node) -> Node {
        let value = self.value(a) + self.value(row);
        self.push(Op::Shift(a, row), value)
    }

    /// `a · weights + bias`
    pub(crate) fn linear(&mut self, a: Node, weights: usize, bias: usize) -> Node {
        let (weights, bias) = (self.parameter(weights), self.parameter(bias));
        let product = self.product(a, weights);
        self.shift(product, bias)
    }

    pub(crate) fn silu(&mut self, a: Node) -> Node {
        let mut value = self.value(a).clone();
        exp::silu(value.as_slice_mut().unwrap_or_default());
        self.push(Op::Silu(a), value)
    }

    pub(crate) fn norm(&mut self, a: Node, gain: Node) -> Node {
        let x = self.value(a);
        let mut value = x.clone();
        let columns = x.ncols() as f32;
        let mut inverse = Array1::zeros(x.nrows());
        for (mut row, inverse) in value.rows_mut().into_iter().zip(&mut inverse) {
            let mean = row.sum() / columns;
            row -= mean;
            *inverse = 1.0 / (row.iter().map(|x| x * x).sum::<f32>() / columns + EPSILON).sqrt();
            row *= *inverse;
        }
        let gain_row = self.value(gain);
        let value = value * gain_row;
        self.push(Op::Norm(a, gain, inverse), value)
    }

    /// Within each segment every row looks at every row; `bias` is added to the logits of a key.
    pub(crate) fn attention(
        &mut self,
        [query, key, value]: [Node; 3],
        heads: usize,
        bias: &[f32],
        segments: &Segments,
    ) -> Node {
        let (q, k, v) = (self.value(query), self.value(key), self.value(value));
        let width = q.ncols() / heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut out = Array2::zeros(q.raw_dim());
        let mut weights = Vec::with_capacity(segments.iter().map(|s| s.len() * s.len() * heads).sum());
        for segment in segments.iter() {
            for head in 0..heads {
                let columns = head * width..(head + 1) * width;
                for i in segment.clone() {
                    let from = weights.len();
                    let qi = &row(q, i)[columns.clone()];
                    for j in segment.clone() {
                        weights.push(scale * dot(qi, &row(k, j)[columns.clone()]) + bias[j]);
                    }
                    softmax(&mut weights[from..]);
                    for (j, &weight) in segment.clone().zip(&weights[from..]) {
                        add_scaled(&mut row_mut(&mut out, i)[columns.clone()], weight, &row(v, j)[columns.clone()]);
                    }
                }
            }
        }
        let attention = Attention { query, key, value, heads, segments: Arc::clone(segments), weights };
        self.push(Op::Attention(attention), out)
    }

    pub(crate) fn pool(&mut self, a: Node, weights: Arc<[f32]>, segments: &Segments) -> Node {
        let x = self.value(a);
        let mut out = Array2::zeros((segments.len(), x.ncols()));
        for (at, segment) in segments.iter().enumerate() {
            for i in segment.clone() {
                add_scaled(row_mut(&mut out, at), weights[i], row(x, i));
            }
        }
        self.push(Op::Pool(a, weights, Arc::clone(segments)), out)
    }

    /// Gradients of the parameters, given that of one node; `into` has the parameters' shapes and is added to.
    pub(crate) fn backward(mut self, from: Node, gradient: Array2<f32>, into: &mut [Array2<f32>]) {
        let mut gradients: Vec<Option<Array2<f32>>> = self.ops.iter().map(|_| None).collect();
        gradients[from.0] = Some(gradient);
        for at in (0..=from.0).rev() {
            let Some(g) = gradients[at].take() else { continue };
            let op = std::mem::replace(&mut self.ops[at], Op::Constant);
            match op {
                Op::Constant => {}
                Op::Parameter(parameter) => into[parameter] += &g,
                Op::Gather(of, rows) => {
                    let slot = self.slot(&mut gradients, of);
                    for (from, &to) in rows.iter().enumerate() {
                        add_scaled(row_mut(slot, to), 1.0, row(&g, from));
                    }
                }
                Op::Product(a, b) => {
                    let (va, vb) = (self.value(a), self.value(b));
                    if self.wanted(a) {
                        let mut slot = take(&mut gradients, a, va);
                        general_mat_mul(1.0, &g, &vb.t(), 1.0, &mut slot);
                        gradients[a.0] = Some(slot);
                    }
                    let mut slot = take(&mut gradients, b, vb);
                    general_mat_mul(1.0, &va.t(), &g, 1.0, &mut slot);
                    gradients[b.0] = Some(slot);
                }
                Op::Sum(a, b) => {
                    *self.slot(&mut gradients, a) += &g;
                    *self.slot(&mut gradients, b) += &g;
                }
                Op::Shift(a, b) => {
                    *self.slot(&mut gradients, b) += &g.sum_axis(Axis(0)).insert_axis(Axis(0));
                    *self.slot(&mut gradients, a) += &g;
                }
                Op::Silu(a) => {
                    let x = self.value(a);
                    let mut slot = take(&mut gradients, a, x);
                    let (g, x) = (g.as_slice().unwrap_or_default(), x.as_slice().unwrap_or_default());
                    exp::silu_back(slot.as_slice_mut().unwrap_or_default(), g, x);
                    gradients[a.0] = Some(slot);
                }
                Op::Norm(a, gain, inverse) => self.norm_back(&mut gradients, at, &g, (a, gain), &inverse),
                Op::Attention(attention) => self.attention_back(&mut gradients, &g, &attention),
                Op::Pool(a, weights, segments) => {
                    let slot = self.slot(&mut gradients, a);
                    for (at, segment) in segments.iter().enumerate() {
                        for i in segment.clone() {
                            add_scaled(row_mut(slot, i), weights[i], row(&g, at));
                        }
                    }
                }
            }
        }
    }

    fn norm_back(
        &self,
        gradients: &mut [Option<Array2<f32>>],
        at: usize,
        g: &Array2<f32>,
        (a, gain): (Node, Node),
        inverse: &Array1<f32>,
    ) {
        let gains = self.value(gain);
        let x = self.value(a);
        let mut gain_slot = take(gradients, gain, gains);
        let mut slot = take(gradients, a, x);
        let columns = x.ncols() as f32;
        let gains = gains.as_slice().unwrap_or_default();
        let out = &self.values[at];
        let mut normal = vec![0.0; x.ncols()];
        for r in 0..x.nrows() {
            let (g, out) = (row(g, r), row(out, r));
            // what was normalised, from the output: gains are never 0 at the start, and 0 / 0 is caught
            for ((n, o), gain) in normal.iter_mut().zip(out).zip(gains) {
                *n = if *gain == 0.0 { 0.0 } else { o / gain };
            }
            let gain_row = row_mut(&mut gain_slot, 0);
            let (mut mean, mut along) = (0.0, 0.0);
            for c in 0..x.ncols() {
                gain_row[c] += g[c] * normal[c];
                mean += g[c] * gains[c];
                along += g[c] * gains[c] * normal[c];
            }
            let (mean, along) = (mean / columns, along / columns);
            let slot = row_mut(&mut slot, r);
            for c in 0..x.ncols() {
                slot[c] += inverse[r] * (g[c] * gains[c] - mean - normal[c] * along);
            }
        }
        gradients[gain.0] = Some(gain_slot);
        gradients[a.0] = Some(slot);
    }

    fn attention_back(&self, gradients: &mut [Option<Array2<f32>>], g: &Array2<f32>, attention: &Attention) {
        let Attention { query, key, value, heads, segments, weights } = attention;
        let (q, k, v) = (self.value(*query), self.value(*key), self.value(*value));
        let [mut dq, mut dk, mut dv] =
            [(*query, q), (*key, k), (*value, v)].map(|(node, of)| take(gradients, node, of));
        let width = q.ncols() / heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut from = 0;
        let mut towards = Vec::new();
        for segment in segments.iter() {
            for head in 0..*heads {
                let columns = head * width..(head + 1) * width;
                for i in segment.clone() {
                    let own = &weights[from..from + segment.len()];
                    from += segment.len();
                    let gi = &row(g, i)[columns.clone()];
                    towards.clear();
                    for (j, &weight) in segment.clone().zip(own) {
                        towards.push(dot(gi, &row(v, j)[columns.clone()]));
                        add_scaled(&mut row_mut(&mut dv, j)[columns.clone()], weight, gi);
                    }
                    let mean: f32 = towards.iter().zip(own).map(|(t, w)| t * w).sum();
                    for ((j, &weight), towards) in segment.clone().zip(own).zip(&towards) {
                        let logit = scale * weight * (towards - mean);
                        add_scaled(&mut row_mut(&mut dq, i)[columns.clone()], logit, &row(k, j)[columns.clone()]);
                        add_scaled(&mut row_mut(&mut dk, j)[columns.clone()], logit, &row(q, i)[columns.clone()]);
                    }
                }
            }
        }
        gradients[query.0] = Some(dq);
        gradients[key.0] = Some(dk);
        gradients[value.0] = Some(dv);
    }

    fn wanted(&self, node: Node) -> bool {
        !matches!(self.ops[node.0], Op::Constant)
    }

    fn slot<'g>(&self, gradients: &'g mut [Option<Array2<f32>>], node: Node) -> &'g mut Array2<f32> {
        gradients[node.0].get_or_insert_with(|| Array2::zeros(self.value(node).raw_dim()))
    }
}

fn take(gradients: &mut [Option<Array2<f32>>], node: Node, like: &Array2<f32>) -> Array2<f32> {
    gradients[node.0].take().unwrap_or_else(|| Array2::zeros(like.raw_dim()))
}

fn row(of: &Array2<f32>, at: usize) -> &[f32] {
    let columns = of.ncols();
    // all are made here, in standard layout
    &of.as_slice().unwrap_or_default()[at * columns..(at + 1) * columns]
}

fn row_mut(of: &mut Array2<f32>, at: usize) -> &mut [f32] {
    let columns = of.ncols();
    &mut of.as_slice_mut().unwrap_or_default()[at * columns..(at + 1) * columns]
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    // sums that do not wait for each other
    const LANES: usize = 8;
    let ((of_a, a), (of_b, b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0f32; LANES];
    for (a, b) in of_a.iter().zip(of_b) {
        (0..LANES).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    sums.iter().sum::<f32>() + a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>()
}

fn add_scaled(to: &mut [f32], scale: f32, from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += scale * from;
    }
}

fn softmax(logits: &mut [f32]) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = exp::exp(*logit - most);
        sum += *logit;
    }
    logits.iter_mut().for_each(|weight| *weight /= sum);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// A pass through every operation → the sum of its output times fixed weights, and the gradients.
    fn pass(parameters: &[Array2<f32>]) -> (f64, Vec<Array2<f32>>) {
        let segments: Segments = vec![0..2, 2..3, 3..6].into();
        let bias = [0.1, -0.3, 0.2, 0.0, -0.5, 0.4];
        let mut tape = Tape::new(parameters);
        let table = tape.parameter(0);
        let x = tape.gather(table, vec![0, 2, 1, 1, 3, 0].into());
        let gain = tape.parameter(1);
        let normal = tape.norm(x, gain);
        let three = [2, 4, 6].map(|at| tape.linear(normal, at, at + 1));
        let seen = tape.attention(three, 2, &bias, &segments);
        let x = tape.sum(x, seen);
        let x = tape.silu(x);
        let out = tape.pool(x, vec![0.5, 0.5, 1.0, 0.2, 0.3, 0.5].into(), &segments);
        let weights =
            Array2::from_shape_fn(tape.value(out).raw_dim(), |(r, c)| (r as f32 - 1.0) * 0.7 + c as f32 * 0.3);
        let sum = tape.value(out).iter().zip(&weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        let mut gradients: Vec<Array2<f32>> = parameters.iter().map(|p| Array2::zeros(p.raw_dim())).collect();
        tape.backward(out, weights, &mut gradients);
        (sum, gradients)
    }

    #[test]
    fn gradients_are_those_of_small_differences() {
        let mut random = Random::new(3);
        let mut matrix = |rows, columns| Array2::from_shape_simple_fn((rows, columns), || random.normal() as f32 * 0.6);
        let mut parameters = vec![matrix(4, 4), matrix(1, 4)];
        for _ in 0..3 {
            parameters.extend([matrix(4, 4), matrix(1, 4)]);
        }
        let (_, gradients) = pass(&parameters);
        for which in 0..parameters.len() {
            for at in 0..parameters[which].len() {
                let mut moved = |by: f32| {
                    let kept = parameters[which].as_slice().unwrap()[at];
                    parameters[which].as_slice_mut().unwrap()[at] = kept + by;
                    let sum = pass(&parameters).0;
                    parameters[which].as_slice_mut().unwrap()[at] = kept;
                    sum
                };
                let slope = (moved(2e-3) - moved(-2e-3)) / 4e-3;
                let found = f64::from(gradients[which].as_slice().unwrap()[at]);
                assert!((slope - found).abs() < 2e-3 * (1.0 + slope.abs()), "{which}, {at}: {found}, not {slope}");
            }
        }
    }
}
