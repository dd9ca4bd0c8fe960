//! The inner loops of the search among vectors, for whatever vector instructions the processor has.
//!
//! One query is compared with rows along their components: that runs at the speed of memory. Of a batch, each lane holds one
//! query and rows are broadcast; a tile of rows and queries stays in registers over all components. Rows are given as a list,
//! so what a mask leaves out costs nothing.

use pulp::{Arch, Scalar128b, Simd, WithSimd, bytemuck};

use crate::Vectors;
use crate::codes::{CodeQuery, Codes, STRIDE};

/// Rows as kernels see them; see [`crate::margin`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) dims: usize,
    pub(crate) scale: Option<&'a [f32]>,
    pub(crate) same_scale: f32,
    pub(crate) offset: &'a [f32],
    /// Sum differences (L1), not products.
    pub(crate) differences: bool,
}

impl Rows<'_> {
    #[inline(always)]
    fn scale(&self, row: u32) -> f32 {
        self.scale.map_or(self.same_scale, |scale| scale[row as usize])
    }

    #[inline(always)]
    fn row(&self, row: u32) -> &[f32] {
        &self.values[row as usize * self.dims..][..self.dims]
    }
}

/// What becomes of rows that come under a bound.
pub(crate) trait Sink {
    /// At least one place of the row is not above its bound: one place for each query of the tile. Bounds may be lowered.
    fn offer(&mut self, row: u32, places: &[f32], bounds: &mut [f32]);
}

/// An instruction set that this processor has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Level(Option<Arch>);

impl Level {
    /// The best one.
    pub(crate) fn best() -> Level {
        match Arch::new() {
            Arch::Scalar => Level(None),
            arch => Level(Some(arch)),
        }
    }

    /// All of them, the best one first.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Level> {
        let mut all = vec![Level::best()];
        #[cfg(target_arch = "x86_64")]
        if let (Some(Arch::V4(_)), Some(v3)) = (Level::best().0, pulp::x86::V3::try_new()) {
            all.push(Level(Some(Arch::V3(v3))));
        }
        if all[0].0.is_some() {
            all.push(Level(None));
        }
        all
    }

    /// Queries of one vector register.
    pub(crate) fn lanes(self) -> usize {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;
            fn with_simd<S: Simd>(self, _: S) -> usize {
                S::F32_LANES
            }
        }
        match self.0 {
            Some(arch) => arch.dispatch(Lanes),
            None => Scalar128b::F32_LANES,
        }
    }

    /// How many queries the next tile takes of `left`: one to three registers of them.
    pub(crate) fn tile_width(self, left: usize) -> usize {
        let lanes = self.lanes();
        left.div_ceil(lanes).min(3) * lanes
    }

    /// Compares the picked rows with one query.
    pub(crate) fn scan_one(self, rows: &Rows, picked: &[u32], query: &[f32], bound: &mut f32, sink: &mut impl Sink) {
        match self.0 {
            Some(arch) => arch.dispatch(One::<_, true> { rows, picked, query, bound, sink }),
            None => One::<_, false> { rows, picked, query, bound, sink }.with_simd(Scalar128b),
        }
    }

    /// How far rows are from a point, in their order: Σ|x - q|, or Σ(x - q)².
    pub(crate) fn probe(self, vectors: &Vectors, differences: bool, rows: &[u32], query: &[f32], out: &mut Vec<f32>) {
        match self.0 {
            Some(arch) => arch.dispatch(Probe::<true> { vectors, differences, rows, query, out }),
            None => Probe::<false> { vectors, differences, rows, query, out }.with_simd(Scalar128b),
        }
    }

    /// How far two points are apart, as [`Level::probe`] has it.
    pub(crate) fn apart(self, differences: bool, x: &[f32], q: &[f32]) -> f32 {
        match self.0 {
            Some(arch) => arch.dispatch(Apart::<true> { differences, x, q }),
            None => Apart::<false> { differences, x, q }.with_simd(Scalar128b),
        }
    }

    /// Which of the picked rows come under the bound by their codes.
    pub(crate) fn sift(
        self,
        rows: &Rows,
        codes: &Codes,
        picked: &[u32],
        query: &CodeQuery,
        bound: f32,
        passed: &mut Vec<u32>,
    ) {
        match self.0 {
            Some(arch) => arch.dispatch(Sift::<true> { rows, codes, picked, query, bound, passed }),
            None => Sift::<false> { rows, codes, picked, query, bound, passed }.with_simd(Scalar128b),
        }
    }

    /// Compares the picked rows with a tile of queries: `packed` holds, component after component, that of each query, and
    /// there is one bound for each; NaN where a lane has no query.
    pub(crate) fn scan_tile(
        self,
        rows: &Rows,
        picked: &[u32],
        packed: &[f32],
        bounds: &mut [f32],
        sink: &mut impl Sink,
    ) {
        match self.0 {
            Some(arch) => arch.dispatch(Tile::<_, true> { rows, picked, packed, bounds, sink }),
            None => Tile::<_, false> { rows, picked, packed, bounds, sink }.with_simd(Scalar128b),
        }
    }
}

/// Components between two touches of a row: two cache lines, which are fetched together.
const TOUCH: usize = 32;

/// Components of one step of a tile.
const STEP: usize = 8;

struct One<'a, K, const FUSED: bool> {
    rows: &'a Rows<'a>,
    picked: &'a [u32],
    query: &'a [f32],
    bound: &'a mut f32,
    sink: &'a mut K,
}

impl<K: Sink, const FUSED: bool> WithSimd for One<'_, K, FUSED> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.rows.differences { self.run::<S, true>(simd) } else { self.run::<S, false>(simd) }
    }
}

impl<K: Sink, const FUSED: bool> One<'_, K, FUSED> {
    #[inline(always)]
    fn run<S: Simd, const DIFFERENCES: bool>(self, simd: S) {
        let One { rows, picked, query, bound, sink } = self;
        for &row in picked {
            let sum = row_sum::<S, Plain<FUSED, DIFFERENCES>>(simd, rows.row(row), query);
            let place = sum * rows.scale(row) + rows.offset[row as usize];
            if place <= *bound {
                sink.offer(row, &[place], std::slice::from_mut(bound));
            }
        }
    }
}

/// What a component adds to the sum of a row.
trait Term {
    fn add<S: Simd>(simd: S, x: S::f32s, q: S::f32s, sum: S::f32s) -> S::f32s;
}

/// x q, or |x - q|.
struct Plain<const FUSED: bool, const DIFFERENCES: bool>;

impl<const FUSED: bool, const DIFFERENCES: bool> Term for Plain<FUSED, DIFFERENCES> {
    #[inline(always)]
    fn add<S: Simd>(simd: S, x: S::f32s, q: S::f32s, sum: S::f32s) -> S::f32s {
        add_term::<S, FUSED, DIFFERENCES>(simd, x, q, sum)
    }
}

/// (x - q)².
struct Squares<const FUSED: bool>;

impl<const FUSED: bool> Term for Squares<FUSED> {
    #[inline(always)]
    fn add<S: Simd>(simd: S, x: S::f32s, q: S::f32s, sum: S::f32s) -> S::f32s {
        let difference = simd.sub_f32s(x, q);
        multiply_add::<S, FUSED>(simd, difference, difference, sum)
    }
}

/// The sum of the terms of a row, with four running sums a lane.
#[inline(always)]
fn row_sum<S: Simd, T: Term>(simd: S, x: &[f32], q: &[f32]) -> f32 {
    let ((x, x_rest), (q, q_rest)) = (S::as_simd_f32s(x), S::as_simd_f32s(q));
    let ((x_fours, x_ones), (q_fours, q_ones)) = (x.as_chunks::<4>(), q.as_chunks::<4>());
    let mut sums = [simd.splat_f32s(0.0); 4];
    for (x, q) in x_fours.iter().zip(q_fours) {
        for at in 0..4 {
            sums[at] = T::add(simd, x[at], q[at], sums[at]);
        }
    }
    for ((&x, &q), sum) in x_ones.iter().zip(q_ones).zip(&mut sums) {
        *sum = T::add(simd, x, q, *sum);
    }
    if !x_rest.is_empty() {
        let (x, q) = (simd.partial_load_f32s(x_rest), simd.partial_load_f32s(q_rest));
        sums[3] = T::add(simd, x, q, sums[3]);
    }
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3])))
}

#[inline(always)]
fn add_term<S: Simd, const FUSED: bool, const DIFFERENCES: bool>(
    simd: S,
    x: S::f32s,
    q: S::f32s,
    sum: S::f32s,
) -> S::f32s {
    if DIFFERENCES {
        simd.add_f32s(sum, simd.abs_f32s(simd.sub_f32s(x, q)))
    } else {
        multiply_add::<S, FUSED>(simd, x, q, sum)
    }
}

/// a b + c, fused where that is one instruction.
#[inline(always)]
fn multiply_add<S: Simd, const FUSED: bool>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    if FUSED { simd.mul_add_f32s(a, b, c) } else { simd.add_f32s(simd.mul_f32s(a, b), c) }
}

struct Probe<'a, const FUSED: bool> {
    vectors: &'a Vectors,
    differences: bool,
    rows: &'a [u32],
    query: &'a [f32],
    out: &'a mut Vec<f32>,
}

impl<const FUSED: bool> WithSimd for Probe<'_, FUSED> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Probe { vectors, differences, rows, query, out } = self;
        let query = &query[..vectors.dims()];
        // rows lie anywhere in memory: all are asked for before the first is needed
        let touched = rows.iter().flat_map(|row| vectors.row(*row as usize).iter().step_by(TOUCH));
        std::hint::black_box(touched.fold(0, |all, x| all ^ x.to_bits()));
        out.extend(rows.iter().map(|row| row_apart::<S, FUSED>(simd, differences, vectors.row(*row as usize), query)));
    }
}

struct Apart<'a, const FUSED: bool> {
    differences: bool,
    x: &'a [f32],
    q: &'a [f32],
}

impl<const FUSED: bool> WithSimd for Apart<'_, FUSED> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        row_apart::<S, FUSED>(simd, self.differences, self.x, self.q)
    }
}

/// Σ|x - q|, or Σ(x - q)².
#[inline(always)]
fn row_apart<S: Simd, const FUSED: bool>(simd: S, differences: bool, x: &[f32], q: &[f32]) -> f32 {
    if differences { row_sum::<S, Plain<FUSED, true>>(simd, x, q) } else { row_sum::<S, Squares<FUSED>>(simd, x, q) }
}

struct Sift<'a, const FUSED: bool> {
    rows: &'a Rows<'a>,
    codes: &'a Codes,
    picked: &'a [u32],
    query: &'a CodeQuery,
    bound: f32,
    passed: &'a mut Vec<u32>,
}

impl<const FUSED: bool> WithSimd for Sift<'_, FUSED> {
    type Output = ();

    /// Loops over arrays, which the compiler turns into the instructions of the level that this is inlined into.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Sift { rows, codes, picked, query, bound, passed } = self;
        let (query_parts, _) = query.components.as_chunks::<STRIDE>();
        for &row in picked {
            let at = row as usize;
            let (parts, _) = codes.codes[at * codes.stride..][..codes.stride].as_chunks::<STRIDE>();
            let mut sums = [[0f32; STRIDE]; 2];
            let (pairs, last) = parts.as_chunks::<2>();
            let (query_pairs, query_last) = query_parts.as_chunks::<2>();
            for (pair, query) in pairs.iter().zip(query_pairs) {
                for side in 0..2 {
                    add_codes::<FUSED>(&pair[side], &query[side], &mut sums[side]);
                }
            }
            for (part, query) in last.iter().zip(query_last) {
                add_codes::<FUSED>(part, query, &mut sums[0]);
            }
            let [mut sum, other] = sums;
            for lane in 0..STRIDE {
                sum[lane] += other[lane];
            }
            let mut width = STRIDE / 2;
            while width > 0 {
                for lane in 0..width {
                    sum[lane] += sum[lane + width];
                }
                width /= 2;
            }
            let place = sum[0] * codes.scale[at] + (rows.offset[at] - codes.width[at] * query.length);
            if place <= bound {
                passed.push(row);
            }
        }
    }
}

#[inline(always)]
fn add_codes<const FUSED: bool>(codes: &[i8; STRIDE], query: &[f32; STRIDE], sums: &mut [f32; STRIDE]) {
    for lane in 0..STRIDE {
        let code = f32::from(codes[lane]);
        sums[lane] = if FUSED { code.mul_add(query[lane], sums[lane]) } else { sums[lane] + code * query[lane] };
    }
}

struct Tile<'a, K, const FUSED: bool> {
    rows: &'a Rows<'a>,
    picked: &'a [u32],
    packed: &'a [f32],
    bounds: &'a mut [f32],
    sink: &'a mut K,
}

impl<K: Sink, const FUSED: bool> WithSimd for Tile<'_, K, FUSED> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // rows of a tile: its sums, the queries and a row fill the registers
        match (S::REGISTER_COUNT >= 32, self.bounds.len() / S::F32_LANES, self.rows.differences) {
            (true, 1, false) => self.run::<S, 10, 1, false>(simd),
            (true, 2, false) => self.run::<S, 12, 2, false>(simd),
            (true, _, false) => self.run::<S, 8, 3, false>(simd),
            (true, 1, true) => self.run::<S, 10, 1, true>(simd),
            (true, 2, true) => self.run::<S, 12, 2, true>(simd),
            (true, _, true) => self.run::<S, 8, 3, true>(simd),
            (false, 1, false) => self.run::<S, 8, 1, false>(simd),
            (false, 2, false) => self.run::<S, 6, 2, false>(simd),
            (false, _, false) => self.run::<S, 4, 3, false>(simd),
            (false, 1, true) => self.run::<S, 8, 1, true>(simd),
            (false, 2, true) => self.run::<S, 5, 2, true>(simd),
            (false, _, true) => self.run::<S, 3, 3, true>(simd),
        }
    }
}

impl<K: Sink, const FUSED: bool> Tile<'_, K, FUSED> {
    #[inline(always)]
    fn run<S: Simd, const R: usize, const Q: usize, const DIFFERENCES: bool>(self, simd: S) {
        let Tile { rows, picked, packed, bounds, sink } = self;
        let (groups, rest) = picked.as_chunks::<R>();
        let (packed, _) = S::as_simd_f32s(packed).0.as_chunks::<Q>();
        for group in groups {
            tile::<S, K, R, Q, FUSED, DIFFERENCES>(simd, rows, group, R, packed, bounds, sink);
        }
        if let Some(&last) = rest.last() {
            let mut group = [last; R];
            group[..rest.len()].copy_from_slice(rest);
            tile::<S, K, R, Q, FUSED, DIFFERENCES>(simd, rows, &group, rest.len(), packed, bounds, sink);
        }
    }
}

/// One tile; only the first `real` rows are offered.
#[inline(always)]
fn tile<S: Simd, K: Sink, const R: usize, const Q: usize, const FUSED: bool, const DIFFERENCES: bool>(
    simd: S,
    rows: &Rows,
    group: &[u32; R],
    real: usize,
    packed: &[[S::f32s; Q]],
    bounds: &mut [f32],
    sink: &mut K,
) {
    // steps of a fixed number of components, so that bounds are checked once a step
    let (steps, packed_rest) = packed[..rows.dims].as_chunks::<STEP>();
    let mut x = [rows.row(group[0]).as_chunks::<STEP>(); R];
    for r in 1..R {
        x[r] = rows.row(group[r]).as_chunks::<STEP>();
    }
    let mut sums = [[simd.splat_f32s(0.0); Q]; R];
    for (step, q) in steps.iter().enumerate() {
        let mut now = [&x[0].0[step]; R];
        for r in 1..R {
            now[r] = &x[r].0[step];
        }
        for at in 0..STEP {
            for r in 0..R {
                let x = simd.splat_f32s(now[r][at]);
                for c in 0..Q {
                    sums[r][c] = add_term::<S, FUSED, DIFFERENCES>(simd, x, q[at][c], sums[r][c]);
                }
            }
        }
    }
    for (at, q) in packed_rest.iter().enumerate() {
        for r in 0..R {
            let x = simd.splat_f32s(x[r].1[at]);
            for c in 0..Q {
                sums[r][c] = add_term::<S, FUSED, DIFFERENCES>(simd, x, q[c], sums[r][c]);
            }
        }
    }
    let under = |sums: &[S::f32s; Q], bounds: &[f32]| {
        let (bounds, _) = S::as_simd_f32s(bounds).0.as_chunks::<Q>();
        let mut under = simd.less_than_or_equal_f32s(sums[0], bounds[0][0]);
        for c in 1..Q {
            under = simd.or_m32s(under, simd.less_than_or_equal_f32s(sums[c], bounds[0][c]));
        }
        under
    };
    let mut any = None;
    for r in 0..R {
        let (scale, offset) = (rows.scale(group[r]), rows.offset[group[r] as usize]);
        let (scale, offset) = (simd.splat_f32s(scale), simd.splat_f32s(offset));
        for sum in &mut sums[r] {
            *sum = multiply_add::<S, FUSED>(simd, *sum, scale, offset);
        }
        let under = under(&sums[r], bounds);
        any = Some(any.map_or(under, |any| simd.or_m32s(any, under)));
    }
    if any.is_some_and(|any| is_any::<S>(any)) {
        // a copy, so that the sums themselves need no address and stay in registers
        let sums = sums;
        offer::<S, K, R, Q>(&sums, group, real, bounds, sink);
    }
}

#[inline(never)]
fn offer<S: Simd, K: Sink, const R: usize, const Q: usize>(
    sums: &[[S::f32s; Q]; R],
    group: &[u32; R],
    real: usize,
    bounds: &mut [f32],
    sink: &mut K,
) {
    for (sums, &row) in sums[..real].iter().zip(group) {
        let places: &[f32] = bytemuck::cast_slice(sums);
        if places.iter().zip(&*bounds).any(|(place, bound)| place <= bound) {
            sink.offer(row, places, bounds);
        }
    }
}

#[inline(always)]
fn is_any<S: Simd>(mask: S::m32s) -> bool {
    bytemuck::bytes_of(&mask).iter().fold(0, |any, byte| any | byte) != 0
}
