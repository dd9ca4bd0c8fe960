//! Vectors as bytes: a quarter of the memory to read, to pass over rows that are certainly too far.
//!
//! Each row x' (see [`crate::margin`]) is a scale times whole numbers c within -127 and 127, and what is left, e = x' - scale c,
//! is known exactly while they are made. For a query p the true Σ x' p differs from scale Σ c p by at most |e| |p|. So with
//!
//! ```text
//! width = |e| + γ(d + 16) (|x'| + |e|)        for cosine times 1/|x|, as the scale is
//! place = scale Σ c p + (offset - width |p|)
//! ```
//!
//! this place, too, bounds the value from below: V >= place - slack. The second term of the width covers the roundings of the sum
//! (|scale c| <= |x'| + |e|) and of the products; the last additions have room in the c S of the offset and the slack.
//!
//! Rows that come under the bound by this place are compared again in f32, so nothing else changes.

use rayon::prelude::*;

use crate::margin::{UNIT, gamma, norm, up};

/// Codes of a row are rounded up to a multiple of this, by zeros.
pub(crate) const STRIDE: usize = 16;
/// Vectors of fewer components are not worth it.
const FEWEST_DIMS: usize = 32;
/// Nor are sets that the caches hold anyway, in bytes of f32.
const FEWEST_BYTES: usize = 4 << 20;

/// The rows of a set of vectors as bytes.
#[derive(Debug)]
pub(crate) struct Codes {
    pub(crate) stride: usize,
    pub(crate) codes: Vec<i8>,
    pub(crate) scale: Vec<f32>,
    pub(crate) width: Vec<f32>,
}

/// A query as it is compared with codes.
#[derive(Debug)]
pub(crate) struct CodeQuery {
    /// p, with zeros up to the stride.
    pub(crate) components: Vec<f32>,
    /// |p|, rounded up.
    pub(crate) length: f32,
}

impl Codes {
    /// Whether codes make a search among as many values faster.
    pub(crate) fn pay(values: usize, dims: usize) -> bool {
        dims >= FEWEST_DIMS && 4 * values >= FEWEST_BYTES
    }

    /// The codes of rows x', whose sums are multiplied by `scale`.
    pub(crate) fn new(values: &[f32], dims: usize, scale: Option<&[f32]>) -> Codes {
        let stride = dims.next_multiple_of(STRIDE);
        let error = gamma(dims + 16);
        let rows = values.len() / dims;
        let mut codes = vec![0; rows * stride];
        let (scale, width) = codes
            .par_chunks_exact_mut(stride)
            .zip(values.par_chunks_exact(dims))
            .enumerate()
            .with_min_len(256)
            .map(|(row, (codes, x))| {
                let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
                let step = largest / 127.0;
                let inverse = if step > 0.0 { 1.0 / f64::from(step) } else { 0.0 };
                let mut left = 0.0;
                for (code, &x) in codes.iter_mut().zip(x) {
                    // rounds to nearest, and saturates
                    *code = ((f64::from(x) * inverse).round() as i8).max(-127);
                    left += (f64::from(x) - f64::from(step) * f64::from(*code)).powi(2);
                }
                let left = left.sqrt();
                let width = left + error * (norm(x) + left);
                let more = scale.map_or(1.0, |scale| f64::from(scale[row]));
                ((f64::from(step) * more) as f32, up(width * more * (1.0 + 8.0 * UNIT)))
            })
            .unzip();
        Codes { stride, codes, scale, width }
    }

    /// A query by its components p.
    pub(crate) fn query(&self, components: &[f32]) -> CodeQuery {
        let length = up(norm(components) * (1.0 + UNIT));
        let mut components = components.to_vec();
        components.resize(self.stride, 0.0);
        CodeQuery { components, length }
    }
}
