//! Searches among vectors: kernels give the places of all rows, of which the lowest are candidates, and f64 decides.

use rayon::prelude::*;

use super::places::{Scan, Way};
use super::select::{Chosen, Segment};
use super::shortlist::{self, Plan};
use super::{Failure, Memory, WgpuDevice};
use crate::codes::Codes;
use crate::dense_cpu::{cut, in_f64, measure, ordered, unordered};
use crate::margin::KernelQuery;
use crate::nearest::{Goal, Job};
use crate::segment::{ALWAYS, fours, largest_binding};
use crate::{Mask, Masks, Metric, Neighbour};

/// Bytes of the places of all rows: bounds the queries that are answered at once.
const PLACES_BYTES: u64 = 256 << 20;
/// Rows asked for beyond which comparing every row in f64 is faster than asking again.
const ALL_FROM: usize = 16_384;
/// Keys of each query that a search within a distance has room for at first.
const WITHIN_ROOM: u32 = 1024;

/// What is wanted of the places of each query.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// So many of the lowest.
    Lowest(u32),
    /// All up to a bound of each.
    UpTo(&'a [f32]),
}

/// Places and rows.
type Candidates = Vec<(f32, u32)>;

impl WgpuDevice {
    /// The answer to a checked batch from this device's share of the rows. Where memory is short, everything is freed and it is
    /// tried once more.
    pub(crate) fn dense(&self, job: &Job) -> Result<Vec<Vec<Neighbour>>, Failure> {
        self.dense_with(job, Codes::pay(job.vectors.values().len(), job.vectors.dims()))
    }

    /// The answer, for a single query by bytes first or not.
    pub(crate) fn dense_with(&self, job: &Job, bytes: bool) -> Result<Vec<Vec<Neighbour>>, Failure> {
        let mut neighbours = vec![Vec::new(); job.count()];
        let span = self.share.span(job.vectors.len());
        if job.goal == Goal::Nearest(0) || span.is_empty() {
            return Ok(neighbours);
        }
        let terms = job.vectors.terms(job.metric);
        if bytes {
            // not while the device's memory is locked: threads that make them may take up another search meanwhile
            terms.codes(job.vectors.values(), job.vectors.dims());
        }
        let mut forms = Vec::with_capacity(job.count());
        let made: Vec<Option<KernelQuery>> =
            (0..job.count()).into_par_iter().with_min_len(16).map(|at| terms.query(job.query(at))).collect();
        for (at, form) in made.into_iter().enumerate() {
            match form {
                Some(form) => forms.push((at, form)),
                None => neighbours[at] = in_f64(job, at, span.clone()),
            }
        }
        match job.goal {
            Goal::Nearest(k) => self.nearest(job, k, bytes && job.metric != Metric::L1, forms, &mut neighbours)?,
            Goal::Within(radius) => {
                let bounds: Vec<f32> = forms.iter().map(|(_, form)| form.bound(form.value(radius))).collect();
                let found =
                    self.with_memory(|memory| self.candidates(memory, job, &forms, Wanted::UpTo(&bounds), false))?;
                for ((at, _), found) in forms.iter().zip(found) {
                    neighbours[*at] = decided(job, *at, &found);
                }
            }
        }
        Ok(neighbours)
    }

    /// Asks for somewhat more rows than are wanted, and for more yet where no bound shows that these are enough. A single query
    /// asks by bytes first, for yet more, since they tell less apart.
    fn nearest(
        &self,
        job: &Job,
        k: usize,
        bytes: bool,
        mut asked: Vec<(usize, KernelQuery)>,
        neighbours: &mut [Vec<Neighbour>],
    ) -> Result<(), Failure> {
        let span = self.share.span(job.vectors.len());
        let rows = span.len();
        let usual = (k + k / 2 + 32).min(rows);
        let mut by_bytes = bytes && asked.len() == 1 && 8 * k + 256 <= ALL_FROM;
        let mut wanted = if by_bytes { (8 * k + 256).min(rows) } else { usual };
        while !asked.is_empty() {
            if wanted > ALL_FROM.max(2 * k + 32) {
                asked.iter().for_each(|(at, _)| neighbours[*at] = in_f64(job, *at, span.clone()));
                return Ok(());
            }
            let found = self
                .with_memory(|memory| self.candidates(memory, job, &asked, Wanted::Lowest(wanted as u32), by_bytes))?;
            let decided: Vec<(usize, KernelQuery, Vec<Neighbour>, bool)> = asked
                .into_par_iter()
                .zip(found)
                .with_min_len(8)
                .map(|((at, form), mut found)| {
                    let last = found.iter().map(|(place, _)| *place).max_by(f32::total_cmp);
                    let all = found.len() < wanted || wanted == rows;
                    let best = nearest_of(job, at, k, &form, &mut found);
                    let certain = all
                        || match (best.get(k - 1), last) {
                            (Some(kth), Some(last)) => form.bound(form.value(kth.distance)) < last,
                            _ => false,
                        };
                    (at, form, best, certain)
                })
                .collect();
            asked = Vec::new();
            for (at, form, best, certain) in decided {
                if certain { neighbours[at] = best } else { asked.push((at, form)) }
            }
            wanted = if by_bytes { usual } else { (8 * wanted).min(rows) };
            by_bytes = false;
        }
        Ok(())
    }

    /// The candidates of each query, in no order.
    fn candidates(
        &self,
        memory: &mut Memory,
        job: &Job,
        queries: &[(usize, KernelQuery)],
        wanted: Wanted,
        by_bytes: bool,
    ) -> Result<Vec<Candidates>, Failure> {
        let rows = self.share.span(job.vectors.len()).len() as u64;
        if let Wanted::Lowest(k) = wanted
            && let Some(plan) = self.passes(job, queries, k)
        {
            let at_once = self.queries_bound(job.vectors.dims());
            let mut found = Vec::with_capacity(queries.len());
            for queries in queries.chunks(at_once) {
                let plan = plan.of(queries.len() as u32);
                match self.nearest_listed(memory, job, queries, &plan, by_bytes)? {
                    Some(mut listed) => found.append(&mut listed),
                    None => break,
                }
            }
            if found.len() == queries.len() {
                return Ok(found);
            }
        }
        let segment = rows.min(u64::from(self.vector_cut(job.vectors.dims()).rows_per_segment()));
        let k = match wanted {
            Wanted::Lowest(k) => k,
            Wanted::UpTo(_) => WITHIN_ROOM.min(rows as u32),
        };
        let at_once = (PLACES_BYTES / (4 * rows))
            .min(largest_binding(&self.limits) / (4 * segment))
            .min(self.most_keys() / u64::from(k.max(1)))
            .min(self.queries_bound(job.vectors.dims()) as u64)
            .max(1) as usize;
        let at_once = if at_once > 8 { at_once / 8 * 8 } else { at_once };
        let mut found = Vec::with_capacity(queries.len());
        for (at, queries) in queries.chunks(at_once).enumerate() {
            let wanted = match wanted {
                Wanted::Lowest(k) => Wanted::Lowest(k),
                Wanted::UpTo(bounds) => Wanted::UpTo(&bounds[at * at_once..][..queries.len()]),
            };
            found.append(&mut self.nearest_selected(memory, job, queries, wanted, k, by_bytes)?);
        }
        Ok(found)
    }

    /// How many queries can be bound at once.
    fn queries_bound(&self, dims: usize) -> usize {
        let bytes = 16 * fours(dims).next_multiple_of(4) as u64;
        (largest_binding(&self.limits) / bytes / 128 * 128).max(1) as usize
    }

    /// The passes of short lists, where they pay.
    fn passes(&self, job: &Job, queries: &[(usize, KernelQuery)], k: u32) -> Option<Plan> {
        let span = self.share.span(job.vectors.len());
        let cut = self.vector_cut(job.vectors.dims());
        let blocks: Vec<u32> =
            cut.segments(job.vectors.len()).map(|(_, rows)| (rows as u32).div_ceil(shortlist::BLOCK)).collect();
        let guess = |mask: &Mask| shortlist::guess(mask.words_of(span.clone()));
        let allowed = match job.masks {
            Masks::All => span.len() as u64,
            Masks::Shared(mask) => guess(mask),
            Masks::Each(masks) => queries.iter().map(|(at, _)| guess(masks[*at])).min().unwrap_or(0),
        };
        Plan::new(&self.limits, &blocks, allowed, queries.len() as u32, k)
    }

    /// The candidates by short lists; `None` where they do not suffice.
    fn nearest_listed(
        &self,
        memory: &mut Memory,
        job: &Job,
        queries: &[(usize, KernelQuery)],
        plan: &Plan,
        by_bytes: bool,
    ) -> Result<Option<Vec<Candidates>>, Failure> {
        let mut commands = self.commands();
        let lists = self.shortlists(&mut memory.shortlist, &mut commands, plan)?;
        let scan = Scan { job, queries, by_bytes };
        let ways: Vec<Way> = plan.passes.iter().map(|&pass| Way::List(pass, plan.capacity)).collect();
        let places = self.places(memory, &scan, &ways, |_, _| lists.lists.clone(), &lists.lines)?;
        for pass in 0..ways.len() {
            places.run(&mut commands, pass)?;
            self.shorten(&mut commands, plan, &lists, pass)?;
        }
        let found = self.shortlisted(&mut memory.shortlist, commands, plan, &lists)?;
        let candidates = |keys: Vec<[u32; 2]>| keys.into_iter().map(|[bits, row]| (unordered(bits), row)).collect();
        Ok(found.map(|found| found.into_iter().map(candidates).collect()))
    }

    /// The candidates by the places of all rows.
    fn nearest_selected(
        &self,
        memory: &mut Memory,
        job: &Job,
        queries: &[(usize, KernelQuery)],
        wanted: Wanted,
        mut k: u32,
        by_bytes: bool,
    ) -> Result<Vec<Candidates>, Failure> {
        let count = queries.len() as u32;
        let cut = self.vector_cut(job.vectors.dims());
        let spans: Vec<(usize, usize)> = cut.segments(job.vectors.len()).collect();
        let mut commands = self.commands();
        let mut slots = std::mem::take(&mut memory.dense.places);
        slots.resize_with(spans.len().max(slots.len()), || None);
        let of_segment = |(&(_, rows), slot): (&(usize, usize), _)| {
            self.grown(slot, 4 * rows as u64 * u64::from(count), wgpu::BufferUsages::STORAGE).clone()
        };
        let places: Vec<wgpu::Buffer> = spans.iter().zip(&mut slots).map(of_segment).collect();
        memory.dense.places = slots;
        let scan = Scan { job, queries, by_bytes };
        let no_lines = self.grown(&mut memory.dense.no_lines, 16, wgpu::BufferUsages::STORAGE).clone();
        self.places(memory, &scan, &[Way::Places], |segment, _| places[segment].clone(), &no_lines)?
            .run(&mut commands, 0)?;
        let keys: Option<Vec<u32>> = match wanted {
            Wanted::Lowest(_) => None,
            // rows that are always candidates lie at ALWAYS, or a little away from it
            Wanted::UpTo(bounds) => Some(bounds.iter().map(|bound| ordered(bound.max(0.5 * ALWAYS))).collect()),
        };
        let segments: Vec<Segment> = spans
            .iter()
            .zip(&places)
            .map(|(&(first, rows), scores)| Segment { first_row: first as u32, rows: rows as u32, scores })
            .collect();
        loop {
            self.select_smallest(&mut memory.select, &mut commands, &segments, count, k, keys.as_deref())?;
            let Chosen { counts, keys } = self.chosen(&mut memory.select, commands, count, k)?;
            let most = counts.iter().copied().max().unwrap_or(0);
            if most > k {
                if matches!(wanted, Wanted::Lowest(_)) {
                    return Err(Failure::Refused(format!("it selected {most} rows instead of {k}")));
                }
                // the places are still there
                k = most;
                commands = self.commands();
                continue;
            }
            return Ok(counts
                .iter()
                .zip(keys.chunks(k.max(1) as usize))
                .map(|(&count, keys)| {
                    keys.iter().take(count as usize).map(|&[bits, row]| (unordered(bits), row)).collect()
                })
                .collect());
        }
    }
}

/// The k nearest of the candidates of a query, by f64. Once k of the lowest are measured, those that are certainly farther need not
/// be.
fn nearest_of(job: &Job, query: usize, k: usize, form: &KernelQuery, candidates: &mut Candidates) -> Vec<Neighbour> {
    if k < candidates.len() {
        candidates.select_nth_unstable_by(k - 1, |a, b| a.0.total_cmp(&b.0));
        let (first, rest) = candidates.split_at(k);
        let mut neighbours = decided(job, query, first);
        if let Some(kth) = neighbours.last() {
            let bound = form.bound(form.value(kth.distance));
            let doubtful: Vec<u32> = rest.iter().filter(|(place, _)| *place <= bound).map(|(_, row)| *row).collect();
            measure(job, query, &doubtful, &mut neighbours);
        }
        cut(&mut neighbours, job.goal);
        neighbours.sort_unstable_by(Neighbour::order);
        return neighbours;
    }
    decided(job, query, candidates)
}

/// What f64 makes of the candidates of a query.
fn decided(job: &Job, query: usize, candidates: &[(f32, u32)]) -> Vec<Neighbour> {
    let rows: Vec<u32> = candidates.iter().map(|(_, row)| *row).collect();
    let mut neighbours = Vec::with_capacity(rows.len());
    measure(job, query, &rows, &mut neighbours);
    cut(&mut neighbours, job.goal);
    neighbours.sort_unstable_by(Neighbour::order);
    neighbours
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Vectors, adapter, dense_cpu};

    fn noise(at: usize) -> f32 {
        let mut x = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Every grid and every kind of pass: batches of sizes around those of grids, rows and components that fill no slab or block,
    /// sets that are their own sample, that have one and that have several, in one segment and in many, with masks of few and
    /// many rows, and many equal vectors.
    #[test]
    fn grids_and_samples_answer_as_the_cpu() {
        let Some(first) = adapter::enumerate().into_iter().next() else {
            assert!(std::env::var("MATGENOME_REQUIRE_GPU").as_deref() != Ok("1"), "there is no adapter");
            return;
        };
        let device = WgpuDevice::open(&first, Some(30_016), None).unwrap().with_grids();
        for (case, (rows, dims)) in [(700, 5), (9_001, 77), (120_001, 3), (70_001, 18)].into_iter().enumerate() {
            let number = |at: usize| if case == 2 { (noise(at) * 20.0).floor() } else { noise(at) - 0.5 };
            let vectors = Vectors::new((0..rows * dims).map(number).collect(), dims).unwrap();
            let few = Mask::from_fn(rows, |row| noise(row + case) < 0.01);
            let many = Mask::from_fn(rows, |row| noise(row + case) < 0.8);
            for (count, metric) in [(2, Metric::L1), (16, Metric::L2), (31, Metric::Cosine), (70, Metric::L2)] {
                let queries: Vec<f32> = (0..count * dims).map(|at| number(at + 9_000_001)).collect();
                let each: Vec<&Mask> = (0..count).map(|at| if at % 3 == 0 { &few } else { &many }).collect();
                for masks in [Masks::All, Masks::Shared(&few), Masks::Each(&each)] {
                    let left_out: Vec<u32> = (0..count as u32).map(|at| at * 5).collect();
                    let (leave_out, goal) = (Some(&left_out[..]), Goal::Nearest(9));
                    let job = Job { vectors: &vectors, queries: &queries, metric, masks, leave_out, goal };
                    let found = device.dense_with(&job, false).unwrap();
                    assert_eq!(found, dense_cpu::answer(&job), "{rows} rows, {dims} components, {count} {metric:?}");
                }
            }
        }
    }
}
