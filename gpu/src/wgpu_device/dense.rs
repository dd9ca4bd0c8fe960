//! Searches among vectors: kernels give the places of all rows, of which the lowest are candidates, and f64 decides.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::select::{Chosen, Segment};
use super::{Binding, Failure, Memory, UNIFORM, Uniforms, WgpuDevice, layout_of, mask_bytes, pipeline};
use crate::adapter;
use crate::codes::Codes;
use crate::dense_cpu::{cut, in_f64, measure, ordered, unordered};
use crate::margin::KernelQuery;
use crate::nearest::{Goal, Job};
use crate::segment::{ALWAYS, fours, largest_binding};
use crate::shader::{BLOCK, PlacesKernel, Sum, UNIFORM_FOURS};
use crate::{Masks, Metric, Neighbour};

/// Bytes of the places of all rows: bounds the queries that are answered at once.
const PLACES_BYTES: u64 = 256 << 20;
/// Multiplications of one dispatch: some 50 ms of a software driver, so far below what drivers end.
const DISPATCH_WORK: u64 = 1 << 28;
/// Rows asked for beyond which comparing every row in f64 is faster than asking again.
const ALL_FROM: usize = 16_384;
/// Keys of each query that a search within a distance has room for at first.
const WITHIN_ROOM: u32 = 1024;

/// The kernels for one query and for several: rows and queries that one invocation compares.
const ONE: (u32, u32) = (4, 1);
const MANY: (u32, u32) = (4, 8);

/// All kernels for vectors.
#[cfg(test)]
pub(crate) fn places_kernels() -> impl Iterator<Item = PlacesKernel> {
    let sums = [
        (Sum::Products, ONE),
        (Sum::Products, MANY),
        (Sum::Differences, ONE),
        (Sum::Differences, MANY),
        (Sum::Bytes, ONE),
    ];
    sums.into_iter()
        .flat_map(|(sum, (rows, queries))| [true, false].map(|uniform| PlacesKernel { sum, rows, queries, uniform }))
}

/// The kernels that were wanted so far; the self-test wants all that usual vectors want.
#[derive(Default)]
pub(super) struct PlacesPipelines(Mutex<HashMap<PlacesKernel, wgpu::ComputePipeline>>);

impl PlacesPipelines {
    /// Forgets all: one of them may not have been made.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn get(&self, device: &wgpu::Device, kernel: PlacesKernel) -> wgpu::ComputePipeline {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let _alone = adapter::alone();
            let params = Binding::Uniform { bytes: size_of::<Params>() as u64 };
            let queries = match kernel.uniform {
                true => Binding::Uniform { bytes: 16 * UNIFORM_FOURS as u64 },
                false => Binding::READ,
            };
            let layout = layout_of(
                device,
                &[params, Binding::READ, Binding::READ, queries, Binding::READ, Binding::READ, Binding::WRITE],
            );
            pipeline(device, &kernel.text(), "score", &layout)
        };
        made.entry(kernel).or_insert_with(make).clone()
    }
}

/// Buffers of a batch, kept for the next one.
#[derive(Default)]
pub(super) struct Scratch {
    places: Vec<Option<wgpu::Buffer>>,
    masks: Vec<Option<wgpu::Buffer>>,
    queries: Option<wgpu::Buffer>,
    uniform_queries: Option<wgpu::Buffer>,
    left_out: Option<wgpu::Buffer>,
    uniforms: Option<wgpu::Buffer>,
}

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    first_row: u32,
    first_block: u32,
    steps: u32,
    first_query: u32,
    queries: u32,
    stride: u32,
    flags: u32,
    mask_words: u32,
    length: f32,
    pad: [u32; 2],
}

const MASKED: u32 = 1;

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
    /// The answer to a checked batch. Where memory is short, everything is freed and it is tried once more.
    pub(crate) fn dense(&self, job: &Job) -> Result<Vec<Vec<Neighbour>>, Failure> {
        self.dense_with(job, Codes::pay(job.vectors.values().len(), job.vectors.dims()))
    }

    /// The answer, for a single query by bytes first or not.
    pub(crate) fn dense_with(&self, job: &Job, bytes: bool) -> Result<Vec<Vec<Neighbour>>, Failure> {
        let mut neighbours = vec![Vec::new(); job.count()];
        if job.goal == Goal::Nearest(0) || job.vectors.is_empty() {
            return Ok(neighbours);
        }
        let terms = job.vectors.terms(job.metric);
        if bytes {
            // not while the device's memory is locked: threads that make them may take up another search meanwhile
            terms.codes(job.vectors.values(), job.vectors.dims());
        }
        let mut forms = Vec::with_capacity(job.count());
        for (at, neighbours) in neighbours.iter_mut().enumerate() {
            match terms.query(job.query(at)) {
                Some(form) => forms.push((at, form)),
                None => *neighbours = in_f64(job, at),
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
        let rows = job.vectors.len();
        let usual = (k + k / 2 + 32).min(rows);
        let mut by_bytes = bytes && asked.len() == 1 && 8 * k + 256 <= ALL_FROM;
        let mut wanted = if by_bytes { (8 * k + 256).min(rows) } else { usual };
        while !asked.is_empty() {
            if wanted > ALL_FROM.max(2 * k + 32) {
                asked.iter().for_each(|(at, _)| neighbours[*at] = in_f64(job, *at));
                return Ok(());
            }
            let found = self
                .with_memory(|memory| self.candidates(memory, job, &asked, Wanted::Lowest(wanted as u32), by_bytes))?;
            let mut doubtful = Vec::new();
            for ((at, form), found) in asked.into_iter().zip(found) {
                let best = decided(job, at, &found);
                let last = found.iter().map(|(place, _)| *place).max_by(f32::total_cmp);
                let certain = found.len() < wanted
                    || wanted == rows
                    || match (best.get(k - 1), last) {
                        (Some(kth), Some(last)) => form.bound(form.value(kth.distance)) < last,
                        _ => false,
                    };
                if certain { neighbours[at] = best } else { doubtful.push((at, form)) }
            }
            asked = doubtful;
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
        let rows = job.vectors.len() as u64;
        let segment = rows.min(u64::from(self.vector_cut(job.vectors.dims()).rows_per_segment()));
        let k = match wanted {
            Wanted::Lowest(k) => k,
            Wanted::UpTo(_) => WITHIN_ROOM.min(rows as u32),
        };
        let at_once = (PLACES_BYTES / (4 * rows))
            .min(largest_binding(&self.limits) / (4 * segment))
            .min(self.most_keys() / u64::from(k.max(1)))
            .min(largest_binding(&self.limits) / (16 * fours(job.vectors.dims()).next_multiple_of(4) as u64) / 8 * 8)
            .max(1) as usize;
        let at_once = if at_once > 8 { at_once / 8 * 8 } else { at_once };
        let mut found = Vec::with_capacity(queries.len());
        for (at, queries) in queries.chunks(at_once).enumerate() {
            let wanted = match wanted {
                Wanted::Lowest(k) => Wanted::Lowest(k),
                Wanted::UpTo(bounds) => Wanted::UpTo(&bounds[at * at_once..][..queries.len()]),
            };
            found.append(&mut self.batch(memory, job, queries, wanted, k, by_bytes)?);
        }
        Ok(found)
    }

    fn batch(
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
        self.places(memory, &mut commands, job, queries, &spans, by_bytes)?;
        let keys: Option<Vec<u32>> = match wanted {
            Wanted::Lowest(_) => None,
            // rows that are always candidates lie at ALWAYS, or a little away from it
            Wanted::UpTo(bounds) => Some(bounds.iter().map(|bound| ordered(bound.max(0.5 * ALWAYS))).collect()),
        };
        loop {
            let segments: Vec<Segment> = spans
                .iter()
                .zip(&memory.dense.places)
                .filter_map(|(&(first, rows), places)| {
                    Some(Segment { first_row: first as u32, rows: rows as u32, scores: places.as_ref()? })
                })
                .collect();
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

    /// Encodes the places of all rows for some queries.
    fn places(
        &self,
        memory: &mut Memory,
        commands: &mut super::Commands,
        job: &Job,
        queries: &[(usize, KernelQuery)],
        spans: &[(usize, usize)],
        by_bytes: bool,
    ) -> Result<(), Failure> {
        let Memory { residents, dense: scratch, .. } = memory;
        let dims = job.vectors.dims();
        let (rows, tile) = if queries.len() == 1 { ONE } else { MANY };
        let codes = if by_bytes { job.vectors.terms(job.metric).codes(job.vectors.values(), dims) } else { None };
        let sum = match (codes, job.metric) {
            (Some(_), _) => Sum::Bytes,
            (None, Metric::L1) => Sum::Differences,
            (None, _) => Sum::Products,
        };
        let mut kernel = PlacesKernel { sum, rows, queries: tile, uniform: false };
        let steps = fours(dims).div_ceil(kernel.fours_of_step());
        let fours = steps * kernel.fours_of_step();
        kernel.uniform = fours * tile as usize <= UNIFORM_FOURS;
        let pipeline = &self.places.get(&self.device, kernel);

        // query by query; each tile begins where a uniform binding may
        let of_tile = if kernel.uniform { UNIFORM_FOURS } else { fours * tile as usize } * 4;
        let mut components = vec![0f32; queries.len().div_ceil(tile as usize) * of_tile];
        for (queries, to) in queries.chunks(tile as usize).zip(components.chunks_exact_mut(of_tile)) {
            for ((_, query), to) in queries.iter().zip(to.chunks_exact_mut(fours * 4)) {
                to[..dims].copy_from_slice(&query.components);
            }
        }
        let length = codes.map_or(0.0, |codes| codes.query(&queries[0].1.components).length);
        let left_out: Vec<u32> =
            queries.iter().map(|(at, _)| job.leave_out.map_or(u32::MAX, |rows| rows[*at])).collect();
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let written = |slot: &mut Option<wgpu::Buffer>, bytes: &[u8], usage| {
            let buffer = self.grown(slot, bytes.len() as u64, usage).clone();
            self.queue.write_buffer(&buffer, 0, bytes);
            buffer
        };
        let components = match kernel.uniform {
            true => written(&mut scratch.uniform_queries, bytemuck::cast_slice(&components), UNIFORM),
            false => written(&mut scratch.queries, bytemuck::cast_slice(&components), storage),
        };
        let left_out = written(&mut scratch.left_out, bytemuck::cast_slice(&left_out), storage);

        // every dispatch is a tile of queries, and as many blocks as its work allows
        let block_work = u64::from(BLOCK) * 4 * fours as u64 * u64::from(tile);
        let blocks_at_once = ((DISPATCH_WORK / block_work).clamp(1, 65_535) as u32 / kernel.rows).max(1) * kernel.rows;
        let mut uniforms = Uniforms::new(&self.limits);
        let mut dispatches: Vec<Vec<([u32; 2], u32)>> = Vec::new();
        for &(first, rows) in spans {
            let mut of_segment = Vec::new();
            let blocks = (rows as u32).div_ceil(BLOCK);
            for first_query in (0..queries.len() as u32).step_by(tile as usize) {
                for first_block in (0..blocks).step_by(blocks_at_once as usize) {
                    let uniform = uniforms.push(&Params {
                        rows: rows as u32,
                        first_row: first as u32,
                        first_block,
                        steps: steps as u32,
                        first_query,
                        queries: (queries.len() as u32 - first_query).min(tile),
                        stride: rows as u32,
                        flags: if matches!(job.masks, Masks::All) { 0 } else { MASKED },
                        mask_words: if matches!(job.masks, Masks::Each(_)) {
                            (rows as u32).div_ceil(64) * 2
                        } else {
                            0
                        },
                        length,
                        pad: [0; 2],
                    });
                    let groups = (blocks - first_block).min(blocks_at_once).div_ceil(kernel.rows);
                    of_segment.push(([uniform, first_query / tile * 4 * of_tile as u32], groups));
                }
            }
            dispatches.push(of_segment);
        }
        let params = written(&mut scratch.uniforms, &uniforms.bytes, UNIFORM);
        scratch.places.resize_with(spans.len().max(scratch.places.len()), || None);
        scratch.masks.resize_with(spans.len().max(scratch.masks.len()), || None);
        for (segment, (&(first, rows), dispatches)) in spans.iter().zip(&dispatches).enumerate() {
            let bits = match job.masks {
                Masks::All => vec![0; 16],
                Masks::Shared(mask) => mask_bytes(&mask.words()[first / 64..(first + rows).div_ceil(64)]),
                Masks::Each(masks) => queries
                    .iter()
                    .flat_map(|(at, _)| mask_bytes(&masks[*at].words()[first / 64..(first + rows).div_ceil(64)]))
                    .collect(),
            };
            let mask = written(&mut scratch.masks[segment], &bits, storage);
            let bytes = 4 * rows as u64 * queries.len() as u64;
            let places = self.grown(&mut scratch.places[segment], bytes, wgpu::BufferUsages::STORAGE).clone();
            let [values, terms] = self.vectors(residents, job.vectors, job.metric, codes.is_some(), segment)?;
            let part = |buffer, bytes| {
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: 0,
                    size: wgpu::BufferSize::new(bytes),
                })
            };
            let queries = match kernel.uniform {
                true => part(&components, 4 * of_tile as u64),
                false => components.as_entire_binding(),
            };
            let group = self.group_of(
                pipeline,
                [
                    part(&params, size_of::<Params>() as u64),
                    values.as_entire_binding(),
                    terms.as_entire_binding(),
                    queries,
                    mask.as_entire_binding(),
                    left_out.as_entire_binding(),
                    places.as_entire_binding(),
                ],
            );
            for (offsets, groups) in dispatches {
                let offsets = if kernel.uniform { &offsets[..] } else { &offsets[..1] };
                commands.run(pipeline, &group, offsets, [*groups, 1]);
                commands.submit()?;
            }
        }
        Ok(())
    }
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
