//! The places of vectors for queries: which kernel, with what, in which dispatches.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::shortlist::Pass;
use super::{Binding, Commands, Failure, Memory, UNIFORM, Uniforms, WgpuDevice, layout_of, mask_bytes, pipeline};
use crate::adapter;
use crate::margin::KernelQuery;
use crate::nearest::Job;
use crate::places::{PlacesKernel, Shape, Sum, UNIFORM_FOURS};
use crate::segment::fours;
use crate::shader::BLOCK;
use crate::{Masks, Metric};

/// Multiplications of one dispatch: see there.
const DISPATCH_WORK: u64 = super::commands::SUBMISSION_WORK;
/// Work groups of one dispatch in one dimension.
const DISPATCH_GROUPS: u32 = 65_535;

/// The kernels for one query, for up to 8 and for more: rows and queries that one invocation compares.
const TILES: [(u32, u32); 3] = [(4, 1), (4, 8), (4, 16)];
/// Steps of an iteration of a tile on a GPU.
const UNROLLED: u32 = 4;
/// The kernels for several queries on a GPU: for up to 16, up to 32, and more. On an H200, batches of 256 and 1,024 queries took a
/// tenth longer by (8, 4) and half as long again by (8, 8), which leave room for fewer work groups at once, and six to seven times
/// as long by tiles.
const GRIDS: [(u32, u32); 3] = [(8, 1), (8, 2), (4, 4)];

/// All kernels for vectors.
#[cfg(test)]
pub(crate) fn places_kernels() -> impl Iterator<Item = PlacesKernel> {
    let sums = [Sum::Products, Sum::Differences].into_iter();
    let tiles = sums.flat_map(|sum| TILES.map(|size| (sum, size))).chain([(Sum::Bytes, TILES[0])]);
    let tiles = tiles.flat_map(|(sum, (rows, queries))| {
        [(true, 1), (false, 1), (true, UNROLLED), (false, UNROLLED)].map(|(uniform, unrolled)| PlacesKernel {
            sum,
            rows,
            queries,
            shape: Shape::Tile { uniform, unrolled },
        })
    });
    let grids = [Sum::Products, Sum::Differences]
        .into_iter()
        .flat_map(|sum| GRIDS.map(|(rows, queries)| PlacesKernel { sum, rows, queries, shape: Shape::Grid }));
    tiles.chain(grids)
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
            let queries = match kernel.shape {
                Shape::Tile { uniform: true, .. } => Binding::Uniform { bytes: 16 * UNIFORM_FOURS as u64 },
                _ => Binding::READ,
            };
            let (read, write) = (Binding::READ, Binding::WRITE);
            let layout = layout_of(device, &[params, read, read, queries, read, read, write, write]);
            pipeline(device, &kernel.text(), "score", &layout)
        };
        made.entry(kernel).or_insert_with(make).clone()
    }
}

/// Buffers of a batch, kept for the next one.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) places: Vec<Option<wgpu::Buffer>>,
    /// What stands for the state of lists where there are none.
    pub(super) no_lines: Option<wgpu::Buffer>,
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
    blocks: u32,
    apart: u32,
    slot: u32,
    pad: [u32; 3],
}

const MASKED: u32 = 1;
const SAMPLED: u32 = 2;
const LISTED: u32 = 4;

/// Queries of a batch that go over the rows together.
#[derive(Clone, Copy)]
pub(super) struct Scan<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) queries: &'a [(usize, KernelQuery)],
    pub(super) by_bytes: bool,
}

/// Which rows are looked at, and where their places go.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// All rows, each to its own place of each query.
    Places,
    /// Those of a pass, into lists of so many places.
    List(Pass, u32),
}

struct Dispatch {
    segment: usize,
    offsets: Vec<u32>,
    groups: [u32; 2],
    work: u64,
}

/// What is ready to be run.
pub(super) struct Places {
    pipeline: wgpu::ComputePipeline,
    groups: Vec<wgpu::BindGroup>,
    /// Of each way.
    dispatches: Vec<Vec<Dispatch>>,
}

impl Places {
    /// Encodes one of the ways.
    pub(super) fn run(&self, commands: &mut Commands, way: usize) -> Result<(), Failure> {
        for Dispatch { segment, offsets, groups, work } in &self.dispatches[way] {
            commands.run(&self.pipeline, &self.groups[*segment], offsets, *groups, *work)?;
        }
        Ok(())
    }
}

impl WgpuDevice {
    /// Makes ready to compute the places of rows in some ways; `to` is where those of a segment go, of so many rows.
    pub(super) fn places(
        &self,
        memory: &mut Memory,
        scan: &Scan,
        ways: &[Way],
        to: impl Fn(usize, usize) -> wgpu::Buffer,
        lines: &wgpu::Buffer,
    ) -> Result<Places, Failure> {
        let Memory { residents, dense: scratch, .. } = memory;
        let Scan { job, queries, by_bytes } = *scan;
        let dims = job.vectors.dims();
        let codes = if by_bytes { job.vectors.terms(job.metric).codes(job.vectors.values(), dims) } else { None };
        let sum = match (codes, job.metric) {
            (Some(_), _) => Sum::Bytes,
            (None, Metric::L1) => Sum::Differences,
            (None, _) => Sum::Products,
        };
        let kernel = self.kernel(sum, dims, queries.len());
        let steps = fours(dims).div_ceil(kernel.fours_of_step());
        let pipeline = self.places.get(&self.device, kernel);

        let of_tile = tile_numbers(kernel, steps);
        let components = packed(kernel, steps, of_tile, queries);
        let length = codes.map_or(0.0, |codes| codes.query(&queries[0].1.components).length);
        let left_out: Vec<u32> =
            queries.iter().map(|(at, _)| job.leave_out.map_or(u32::MAX, |rows| rows[*at])).collect();
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let written = |slot: &mut Option<wgpu::Buffer>, bytes: &[u8], usage| {
            let buffer = self.grown(slot, bytes.len() as u64, usage).clone();
            self.queue.write_buffer(&buffer, 0, bytes);
            buffer
        };
        let uniform = matches!(kernel.shape, Shape::Tile { uniform: true, .. });
        let components = match uniform {
            true => written(&mut scratch.uniform_queries, bytemuck::cast_slice(&components), UNIFORM),
            false => written(&mut scratch.queries, bytemuck::cast_slice(&components), storage),
        };
        let left_out = written(&mut scratch.left_out, bytemuck::cast_slice(&left_out), storage);

        let spans: Vec<(usize, usize)> = self.vector_cut(dims).segments(job.vectors.len()).collect();
        let mut uniforms = Uniforms::new(&self.limits);
        let masks = |rows: u32| match job.masks {
            Masks::All => (0, 0),
            Masks::Shared(_) => (MASKED, 0),
            Masks::Each(_) => (MASKED, rows.div_ceil(64) * 2),
        };
        let mut dispatches = Vec::with_capacity(ways.len());
        for way in ways {
            let (apart, flags, list) = match *way {
                Way::Places => (1, 0, None),
                Way::List(pass, capacity) => (pass.stride, if pass.sampled { SAMPLED } else { LISTED }, Some(capacity)),
            };
            let mut slot = 0;
            let mut of_way = Vec::new();
            for (segment, &(first, rows)) in spans.iter().enumerate() {
                let rows = rows as u32;
                let (masked, mask_words) = masks(rows);
                let blocks = rows.div_ceil(BLOCK).div_ceil(apart);
                let params = Params {
                    rows,
                    first_row: first as u32,
                    steps: steps as u32,
                    stride: list.unwrap_or(rows),
                    flags: masked | flags,
                    mask_words,
                    length,
                    apart,
                    ..Params::default()
                };
                for part in parts(kernel, steps, blocks, queries.len() as u32) {
                    let uniform_at = uniforms.push(&Params {
                        first_block: part.first_block * apart,
                        blocks: part.blocks,
                        first_query: part.first_query,
                        queries: part.queries,
                        slot: slot + part.first_block * BLOCK,
                        ..params
                    });
                    let mut offsets = vec![uniform_at];
                    if uniform {
                        offsets.push(part.first_query / kernel.queries * 4 * of_tile as u32);
                    }
                    of_way.push(Dispatch { segment, offsets, groups: part.groups, work: part.work });
                }
                slot += blocks * BLOCK;
            }
            dispatches.push(of_way);
        }
        let params = written(&mut scratch.uniforms, &uniforms.bytes, UNIFORM);
        scratch.masks.resize_with(spans.len().max(scratch.masks.len()), || None);
        let mut groups = Vec::with_capacity(spans.len());
        for (segment, &(first, rows)) in spans.iter().enumerate() {
            let words = first / 64..(first + rows).div_ceil(64);
            let mask = &mut scratch.masks[segment];
            let mask = match job.masks {
                Masks::All => written(mask, &[0; 16], storage),
                Masks::Shared(shared) => written(mask, &mask_bytes(&shared.words()[words]), storage),
                Masks::Each(masks) => {
                    let of_query = |(at, _): &(usize, _)| &masks[*at].words()[words.clone()];
                    let each: Vec<u64> = queries.iter().flat_map(of_query).copied().collect();
                    written(mask, &mask_bytes(&each), storage)
                }
            };
            let [values, terms] = self.vectors(residents, job.vectors, job.metric, codes.is_some(), segment)?;
            let part = |buffer, bytes| {
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: 0,
                    size: wgpu::BufferSize::new(bytes),
                })
            };
            let queries = match uniform {
                true => part(&components, 4 * of_tile as u64),
                false => components.as_entire_binding(),
            };
            groups.push(self.group_of(
                &pipeline,
                [
                    part(&params, size_of::<Params>() as u64),
                    values.as_entire_binding(),
                    terms.as_entire_binding(),
                    queries,
                    mask.as_entire_binding(),
                    left_out.as_entire_binding(),
                    to(segment, rows).as_entire_binding(),
                    lines.as_entire_binding(),
                ],
            ));
        }
        Ok(Places { pipeline, groups, dispatches })
    }

    fn kernel(&self, sum: Sum, dims: usize, queries: usize) -> PlacesKernel {
        if queries > 1 && sum != Sum::Bytes && self.grids {
            let grids = GRIDS.map(|(rows, queries)| PlacesKernel { sum, rows, queries, shape: Shape::Grid });
            let fits = |kernel: &PlacesKernel| queries <= kernel.queries_at_once() as usize;
            return grids.into_iter().find(fits).unwrap_or(grids[GRIDS.len() - 1]);
        }
        let fits = |(_, tile): &(u32, u32)| queries <= *tile as usize;
        let (rows, tile) = TILES.into_iter().find(fits).unwrap_or(TILES[TILES.len() - 1]);
        let unrolled = if self.grids { UNROLLED } else { 1 };
        let mut kernel = PlacesKernel { sum, rows, queries: tile, shape: Shape::Tile { uniform: false, unrolled } };
        let fours = fours(dims).next_multiple_of(kernel.fours_of_step());
        kernel.shape = Shape::Tile { uniform: fours * tile as usize <= UNIFORM_FOURS, unrolled };
        kernel
    }
}

/// Numbers from one tile of queries to the next.
fn tile_numbers(kernel: PlacesKernel, steps: usize) -> usize {
    match kernel.shape {
        // each begins where a uniform binding may
        Shape::Tile { uniform: true, .. } => UNIFORM_FOURS * 4,
        _ => steps * kernel.fours_of_step() * 4 * kernel.queries_at_once() as usize,
    }
}

/// The components of queries as a kernel reads them: of a tile query by query, of a grid step by step.
fn packed(kernel: PlacesKernel, steps: usize, of_tile: usize, queries: &[(usize, KernelQuery)]) -> Vec<f32> {
    let at_once = kernel.queries_at_once() as usize;
    let of_query = steps * kernel.fours_of_step() * 4;
    let mut components = vec![0f32; queries.len().div_ceil(at_once) * of_tile];
    for (queries, to) in queries.chunks(at_once).zip(components.chunks_exact_mut(of_tile)) {
        for (at, (_, query)) in queries.iter().enumerate() {
            match kernel.shape {
                Shape::Tile { .. } => to[at * of_query..][..query.components.len()].copy_from_slice(&query.components),
                Shape::Grid => {
                    for (step, four) in query.components.chunks(4).enumerate() {
                        to[(step * at_once + at) * 4..][..four.len()].copy_from_slice(four);
                    }
                }
            }
        }
    }
    components
}

/// A part of a pass over one segment.
struct Part {
    first_block: u32,
    blocks: u32,
    first_query: u32,
    queries: u32,
    groups: [u32; 2],
    work: u64,
}

/// A pass over so many blocks, in dispatches of bounded work: of a tile of queries each, or of all queries in a grid.
fn parts(kernel: PlacesKernel, steps: usize, blocks: u32, queries: u32) -> Vec<Part> {
    let (of_group, at_once) = (kernel.blocks(), kernel.queries_at_once());
    let queries_of = if kernel.shape == Shape::Grid { queries } else { at_once };
    let tiles = queries_of.div_ceil(at_once);
    let block_work =
        u64::from(BLOCK) * 4 * (steps * kernel.fours_of_step()) as u64 * u64::from(tiles) * u64::from(at_once);
    let groups_at_once =
        ((DISPATCH_WORK / block_work) / u64::from(of_group)).clamp(1, u64::from(DISPATCH_GROUPS)) as u32;
    let mut parts = Vec::new();
    for first_query in (0..queries).step_by(queries_of as usize) {
        for first_block in (0..blocks).step_by((groups_at_once * of_group) as usize) {
            let blocks = (blocks - first_block).min(groups_at_once * of_group);
            let groups = blocks.div_ceil(of_group);
            let queries = (queries - first_query).min(queries_of);
            parts.push(Part {
                first_block,
                blocks,
                first_query,
                queries,
                groups: if kernel.shape == Shape::Grid { [tiles, groups] } else { [groups, 1] },
                work: block_work * u64::from(blocks),
            });
        }
    }
    parts
}
