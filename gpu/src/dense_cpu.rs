//! The CPU twin of the search among vectors: one pass over the rows for all queries of a batch, and f64 has the last word.
//!
//! Threads take blocks of rows that fit the second-level cache, and compare each block with all queries, tile by tile. A row
//! becomes a candidate of a query where its place does not exceed the query's bound (see [`crate::margin`]); bounds fall as
//! candidates come in. Where many rows lie so near together that f32 cannot tell them apart, f64 decides on the way, so
//! that memory stays bounded.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::codes::{CodeQuery, Codes};
use crate::dense_simd::{Level, Rows, Sink};
use crate::margin::{KernelQuery, Terms};
use crate::nearest::{Goal, Job};
use crate::{Masks, Neighbour, reference};

/// Bytes of the rows of one block.
const BLOCK_BYTES: usize = 256 << 10;
/// Rows of the first block of a thread: few, so that there is a bound early.
const FIRST_ROWS: usize = 64;
/// Multiplications below which one thread does it all.
const ALONE_BELOW: usize = 1 << 19;
/// Bytes of candidates that one thread may hold: bounds the queries of one pass where k is large.
const CANDIDATE_BYTES: usize = 64 << 20;

/// The answer to a checked batch.
pub(crate) fn answer(job: &Job) -> Vec<Vec<Neighbour>> {
    answer_with(job, Level::best(), Codes::pay(job.vectors.values().len(), job.vectors.dims()))
}

/// The answer by a choice of instructions, single queries by codes first or not.
fn answer_with(job: &Job, level: Level, codes: bool) -> Vec<Vec<Neighbour>> {
    let count = job.count();
    if job.goal == Goal::Nearest(0) || job.vectors.is_empty() {
        return vec![Vec::new(); count];
    }
    let terms = job.vectors.terms(job.metric);
    let forms: Vec<Option<KernelQuery>> =
        (0..count).into_par_iter().with_min_len(16).map(|at| terms.query(job.query(at))).collect();
    let mut neighbours = vec![Vec::new(); count];
    let mut with_form = Vec::with_capacity(count);
    for (at, form) in forms.into_iter().enumerate() {
        match form {
            Some(form) => with_form.push((at, form)),
            None => neighbours[at] = in_f64(job, at, 0..job.vectors.len()),
        }
    }
    let at_once = match job.goal {
        Goal::Nearest(k) => (CANDIDATE_BYTES / (16 * full(k))).max(1),
        Goal::Within(_) => count,
    };
    for queries in with_form.chunks(at_once) {
        let pass = Pass::new(job, terms, level, queries, codes);
        for (found, (at, _)) in pass.run().into_iter().zip(queries) {
            neighbours[*at] = found;
        }
    }
    neighbours
}

/// Every allowed row of a span in f64: for queries that have no kernel form.
pub(crate) fn in_f64(job: &Job, query: usize, span: Range<usize>) -> Vec<Neighbour> {
    const CHUNK: usize = 4096;
    let mut neighbours = (0..span.len().div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| {
            let first = span.start + chunk * CHUNK;
            let rows = first as u32..span.end.min(first + CHUNK) as u32;
            let allowed: Vec<u32> = rows.filter(|&row| job.allows(query, row)).collect();
            let mut found = Vec::new();
            measure(job, query, &allowed, &mut found);
            cut(&mut found, job.goal);
            found
        })
        .reduce(Vec::new, |mut a, mut b| {
            a.append(&mut b);
            cut(&mut a, job.goal);
            a
        });
    neighbours.sort_unstable_by(Neighbour::order);
    neighbours
}

/// The distances of rows from a query, in f64.
pub(crate) fn measure(job: &Job, query: usize, rows: &[u32], to: &mut Vec<Neighbour>) {
    const N: usize = 8;
    let q = job.query(query);
    let (groups, rest) = rows.as_chunks::<N>();
    for group in groups {
        let distances = reference::distances(job.metric, group.map(|row| job.vectors.row(row as usize)), q);
        to.extend(group.iter().zip(distances).map(|(&row, distance)| Neighbour { distance, row }));
    }
    to.extend(
        rest.iter()
            .map(|&row| Neighbour { distance: reference::distance(job.metric, job.vectors.row(row as usize), q), row }),
    );
}

/// Keeps what the goal wants, in no order.
pub(crate) fn cut(found: &mut Vec<Neighbour>, goal: Goal) {
    match goal {
        Goal::Nearest(k) if k < found.len() => {
            found.select_nth_unstable_by(k, Neighbour::order);
            found.truncate(k);
        }
        Goal::Nearest(_) => {}
        Goal::Within(radius) => found.retain(|neighbour| neighbour.distance <= radius),
    }
}

/// Candidates of one query beyond which they are looked through.
fn full(k: usize) -> usize {
    2 * k + 48
}

/// Queries that are answered by one pass over the rows, as all threads see them.
struct Pass<'a> {
    job: &'a Job<'a>,
    terms: &'a Terms,
    rows: Rows<'a>,
    level: Level,
    queries: &'a [(usize, KernelQuery)],
    tiles: Vec<Tile<'a>>,
    /// Of a single query: rows are sifted by their codes first.
    codes: Option<(&'a Codes, CodeQuery)>,
    /// The lowest bounds that any thread has found, as [`ordered`] numbers. They only save work, so nothing depends on when
    /// they are seen.
    bounds: Vec<AtomicU32>,
    next: AtomicUsize,
}

/// Queries that a kernel takes at once.
struct Tile<'a> {
    first: usize,
    count: usize,
    /// One query: its components. Several: see [`Level::scan_tile`].
    packed: std::borrow::Cow<'a, [f32]>,
    width: usize,
}

/// What one thread has found of one query.
#[derive(Default, Clone)]
struct Found {
    /// Places and rows.
    candidates: Vec<(f32, u32)>,
    /// Rows that f64 has looked at: at most k.
    measured: Vec<Neighbour>,
}

impl<'a> Pass<'a> {
    fn new(
        job: &'a Job<'a>,
        terms: &'a Terms,
        level: Level,
        queries: &'a [(usize, KernelQuery)],
        codes: bool,
    ) -> Pass<'a> {
        let rows = Rows {
            values: terms.values(job.vectors.values()),
            dims: job.vectors.dims(),
            scale: terms.scale(),
            same_scale: terms.same_scale(),
            offset: terms.offset(),
            differences: job.metric == crate::Metric::L1,
        };
        let mut tiles = Vec::new();
        let mut first = 0;
        while first < queries.len() {
            let left = queries.len() - first;
            let width = if left == 1 { 1 } else { level.tile_width(left) };
            let count = left.min(width);
            let packed = match &queries[first..first + count] {
                [(_, one)] if width == 1 => (&one.components[..]).into(),
                several => pack(several, rows.dims, width).into(),
            };
            tiles.push(Tile { first, count, packed, width });
            first += count;
        }
        let codes = match queries {
            [(_, one)] if codes => {
                terms.codes(job.vectors.values(), rows.dims).map(|codes| (codes, codes.query(&one.components)))
            }
            _ => None,
        };
        let bound = |query: &KernelQuery| match job.goal {
            Goal::Nearest(_) => f32::INFINITY,
            Goal::Within(radius) => query.bound(query.value(radius)),
        };
        let bounds = queries.iter().map(|(_, query)| AtomicU32::new(ordered(bound(query)))).collect();
        Pass { job, terms, rows, level, queries, tiles, codes, bounds, next: AtomicUsize::new(0) }
    }

    fn run(&self) -> Vec<Vec<Neighbour>> {
        let work = self.job.vectors.len().saturating_mul(self.rows.dims).saturating_mul(self.queries.len());
        let threads = if work < ALONE_BELOW { 1 } else { rayon::current_num_threads() };
        let found: Vec<Vec<Found>> =
            (0..threads).into_par_iter().with_max_len(1).map(|_| self.thread(threads)).collect();
        (0..self.queries.len())
            .into_par_iter()
            .with_min_len(4)
            .map(|at| self.finish(at, found.iter().map(|found| &found[at])))
            .collect()
    }

    /// Takes blocks of rows until there are none left.
    fn thread(&self, threads: usize) -> Vec<Found> {
        let mut found = vec![Found::default(); self.queries.len()];
        let rows = self.job.vectors.len();
        let most = (BLOCK_BYTES / (4 * self.rows.dims)).min(rows / (4 * threads)).max(FIRST_ROWS);
        let mut step = FIRST_ROWS;
        let mut picked = Vec::new();
        let mut sifting = self.codes.is_some();
        let mut passed = Vec::new();
        loop {
            let start = self.next.fetch_add(step, Ordering::Relaxed);
            if start >= rows {
                return found;
            }
            let end = rows.min(start + step);
            if !matches!(self.job.masks, Masks::Each(_)) {
                self.pick(start, end, &self.tiles[0], &mut picked);
            }
            for tile in &self.tiles {
                if matches!(self.job.masks, Masks::Each(_)) {
                    self.pick(start, end, tile, &mut picked);
                }
                let found = &mut found[tile.first..][..tile.count];
                match &self.codes {
                    Some((codes, query)) if sifting => {
                        let bound = unordered(self.bounds[tile.first].load(Ordering::Relaxed));
                        passed.clear();
                        self.level.sift(&self.rows, codes, &picked, query, bound, &mut passed);
                        self.scan(tile, &passed, found);
                        // where codes tell little apart, they are only in the way
                        sifting = bound == f32::INFINITY || SIFTED * passed.len() <= picked.len();
                    }
                    _ => self.scan(tile, &picked, found),
                }
            }
            step = (2 * step).min(most);
        }
    }

    /// The rows of a block that may be answered to any query of the tile.
    fn pick(&self, start: usize, end: usize, tile: &Tile, picked: &mut Vec<u32>) {
        picked.clear();
        let words = start / 64..end.div_ceil(64);
        let mut pick = |at: usize, mut word: u64| {
            if at == start / 64 {
                word &= u64::MAX << (start % 64);
            }
            if at == end / 64 {
                word &= (1 << (end % 64)) - 1;
            }
            picked.extend(crate::mask::ones(word).map(|bit| (at * 64 + bit) as u32));
        };
        match self.job.masks {
            Masks::All => picked.extend(start as u32..end as u32),
            Masks::Shared(mask) => words.for_each(|at| pick(at, mask.words()[at])),
            Masks::Each(masks) => {
                let queries = &self.queries[tile.first..][..tile.count];
                words
                    .for_each(|at| pick(at, queries.iter().fold(0, |any, (query, _)| any | masks[*query].words()[at])));
            }
        }
    }

    fn scan(&self, tile: &Tile, picked: &[u32], found: &mut [Found]) {
        let shared = &self.bounds[tile.first..][..tile.count];
        let mut bounds = [f32::NAN; MOST_LANES];
        for (bound, shared) in bounds.iter_mut().zip(shared) {
            *bound = unordered(shared.load(Ordering::Relaxed));
        }
        let before = bounds;
        let bounds = &mut bounds[..tile.width];
        let mut sink = Candidates { pass: self, tile, found };
        if tile.width == 1 {
            self.level.scan_one(&self.rows, picked, &tile.packed, &mut bounds[0], &mut sink);
        } else {
            self.level.scan_tile(&self.rows, picked, &tile.packed, bounds, &mut sink);
        }
        for ((bound, before), shared) in bounds.iter().zip(before).zip(shared) {
            if *bound < before {
                shared.fetch_min(ordered(*bound), Ordering::Relaxed);
            }
        }
    }

    /// Lowers the bound by what was found, and drops the candidates above it. Where nearly all stay, f64 measures them.
    fn look_through(&self, at: usize, k: usize, found: &mut Found, bound: &mut f32) {
        *bound = bound.min(self.bound_of(at, k, found));
        found.candidates.retain(|(place, _)| place <= bound);
        if found.candidates.len() > full(k) - (k + 48) / 3 {
            self.measure(at, found);
            cut(&mut found.measured, self.job.goal);
            *bound = bound.min(self.bound_of(at, k, found));
        }
    }

    /// The bound that follows from what was found.
    fn bound_of(&self, at: usize, k: usize, found: &Found) -> f32 {
        let query = &self.queries[at].1;
        let uppers = found.candidates.iter().map(|&(place, row)| self.terms.upper(query, place, row));
        let values = found.measured.iter().map(|neighbour| query.value(neighbour.distance));
        let mut highest: Vec<f64> = uppers.chain(values).collect();
        if highest.len() < k {
            return f32::INFINITY;
        }
        query.bound(*highest.select_nth_unstable_by(k - 1, f64::total_cmp).1)
    }

    fn measure(&self, at: usize, found: &mut Found) {
        let rows: Vec<u32> = found.candidates.drain(..).map(|(_, row)| row).collect();
        measure(self.job, self.queries[at].0, &rows, &mut found.measured);
    }

    /// The neighbours of one query, from what all threads found.
    fn finish<'f>(&self, at: usize, of_threads: impl Iterator<Item = &'f Found>) -> Vec<Neighbour> {
        let mut found = Found::default();
        for of_thread in of_threads {
            found.candidates.extend_from_slice(&of_thread.candidates);
            found.measured.extend_from_slice(&of_thread.measured);
        }
        if let Goal::Nearest(k) = self.job.goal {
            let bound = unordered(self.bounds[at].load(Ordering::Relaxed)).min(self.bound_of(at, k, &found));
            found.candidates.retain(|&(place, _)| place <= bound);
        }
        self.measure(at, &mut found);
        cut(&mut found.measured, self.job.goal);
        found.measured.sort_unstable_by(Neighbour::order);
        found.measured
    }
}

/// Sifting by codes goes on while it leaves at most one in this many rows.
const SIFTED: usize = 4;
/// Queries of the widest tile.
const MOST_LANES: usize = 64;

/// Component after component, that of each query; 0 where a lane has none.
fn pack(queries: &[(usize, KernelQuery)], dims: usize, width: usize) -> Vec<f32> {
    let mut packed = vec![0.0; dims * width];
    for (lane, (_, query)) in queries.iter().enumerate() {
        for (at, &component) in query.components.iter().enumerate() {
            packed[at * width + lane] = component;
        }
    }
    packed
}

/// Gathers the candidates of one tile.
struct Candidates<'a, 'f> {
    pass: &'a Pass<'a>,
    tile: &'a Tile<'a>,
    found: &'f mut [Found],
}

impl Sink for Candidates<'_, '_> {
    fn offer(&mut self, row: u32, places: &[f32], bounds: &mut [f32]) {
        for (lane, found) in self.found.iter_mut().enumerate() {
            let at = self.tile.first + lane;
            if places[lane] <= bounds[lane] && self.pass.job.allows(self.pass.queries[at].0, row) {
                found.candidates.push((places[lane], row));
                if let Goal::Nearest(k) = self.pass.job.goal
                    && found.candidates.len() >= full(k)
                {
                    self.pass.look_through(at, k, found, &mut bounds[lane]);
                }
            }
        }
    }
}

/// A number that orders like the f32, which is not NaN.
pub(crate) fn ordered(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

pub(crate) fn unordered(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mask, Metric, Vectors};

    #[test]
    fn ordered_numbers_order_like_floats() {
        let floats = [f32::NEG_INFINITY, -1e30, -1.0, -1e-45, 0.0, 1e-45, 2.0, f32::INFINITY];
        assert!(floats.map(ordered).is_sorted());
        assert_eq!(floats.map(|x| unordered(ordered(x))), floats);
    }

    fn noise(at: usize) -> f32 {
        let mut x = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }

    /// Every instruction set gives the same answers, for tiles of all widths and all remainders of components.
    #[test]
    fn answers_do_not_depend_on_the_instruction_set() {
        let levels = Level::all();
        assert!(levels.iter().all(|level| MOST_LANES >= level.tile_width(usize::MAX)));
        for dims in [1, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64, 100, 129, 300] {
            let vectors = Vectors::new((0..2111 * dims).map(noise).collect(), dims).unwrap();
            let mask = Mask::from_fn(vectors.len(), |row| noise(row * 7) < 0.1);
            for count in [1, 2, 5, 17, 40] {
                let queries: Vec<f32> = (0..count * dims).map(|at| noise(at + 99_999_999)).collect();
                for (metric, masks) in
                    Metric::ALL.into_iter().flat_map(|m| [(m, Masks::All), (m, Masks::Shared(&mask))])
                {
                    let goal = Goal::Nearest(9);
                    let job = Job { vectors: &vectors, queries: &queries, metric, masks, leave_out: None, goal };
                    let truth: Vec<_> = (0..count).map(|at| in_f64(&job, at, 0..vectors.len())).collect();
                    for (&level, codes) in levels.iter().flat_map(|level| [(level, false), (level, true)]) {
                        let found = answer_with(&job, level, codes);
                        assert_eq!(found, truth, "{level:?} {metric:?} dims {dims} queries {count} codes {codes}");
                    }
                }
            }
        }
    }
}
