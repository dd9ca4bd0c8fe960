//! The spec score of rows, and the best of them.

use super::select::{Chosen, Segment};
use super::shortlist::{self, BLOCK, Pass, Plan};
use super::{Commands, Failure, Memory, UNIFORM, Uniforms, WgpuDevice, layout, mask_bytes};
use crate::kernel::{self, TargetParams};
use crate::shader::{self, LANES, TARGETS};
use crate::{Hit, Mask, SpecQuery, topk};

/// Buffers of a query, kept for the next one.
#[derive(Default)]
pub(super) struct Scratch {
    scores: Vec<Option<wgpu::Buffer>>,
    masks: Vec<Option<Masked>>,
    /// Sums of rows between dispatches of one segment; of one row until a query has more targets than a dispatch takes.
    partial: Option<wgpu::Buffer>,
    /// What stands for a mask where there is none.
    nothing: Option<wgpu::Buffer>,
    uniforms: Option<wgpu::Buffer>,
}

/// A segment of a mask on the device, and what it is: queries often come again with other windows and the same mask.
struct Masked {
    id: u64,
    words: Vec<u64>,
    buffer: wgpu::Buffer,
}

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    base: u32,
    targets_used: u32,
    flags: u32,
    blocks: u32,
    stride: u32,
    first_row: u32,
    slot: u32,
    capacity: u32,
    pad: [u32; 3],
    targets: [TargetParams; TARGETS],
}

const MASKED: u32 = 1;
const FIRST_TARGETS: u32 = 2;
const LAST_TARGETS: u32 = 4;
const SAMPLED: u32 = 8;
const LISTED: u32 = 16;
/// Blocks of one dispatch.
const DISPATCH_BLOCKS: u32 = super::DISPATCH_ROWS / BLOCK;
/// What a row of a target costs, in multiplications.
const ROW_WORK: u64 = 16;

pub(super) fn pipeline(device: &wgpu::Device) -> wgpu::ComputePipeline {
    let layout = layout(device, size_of::<Params>(), &[true, false, false, true, true, true, true, false]);
    super::pipeline(device, &shader::score(), "score", &layout)
}

/// One dispatch.
struct Step {
    segment: usize,
    first_target: usize,
    uniform: u32,
    blocks: u32,
}

/// Where the scores of a pass go.
#[derive(Clone, Copy)]
enum To<'a> {
    /// To each row's place, by segment.
    Places(&'a [wgpu::Buffer]),
    /// Into the list, whose state is in the first buffer.
    List(&'a wgpu::Buffer, &'a wgpu::Buffer),
}

impl WgpuDevice {
    /// The best of this device's share of the `rows` rows of a checked query. Where memory is short, everything is freed and it is
    /// tried once more.
    pub(crate) fn spec(&self, query: &SpecQuery, rows: usize) -> Result<Vec<Hit>, Failure> {
        self.with_memory(|memory| self.best(memory, query, rows))
    }

    fn best(&self, memory: &mut Memory, query: &SpecQuery, rows: usize) -> Result<Vec<Hit>, Failure> {
        let span = self.share.span(rows);
        let k = query.k.min(span.len());
        if k == 0 {
            return Ok(Vec::new());
        }
        if query.targets.len() > TARGETS {
            let rows = rows.min(self.cut.rows_per_segment() as usize) as u64;
            self.grown(&mut memory.spec.partial, 8 * rows, wgpu::BufferUsages::STORAGE);
        }
        let masks = self.masks(&mut memory.spec, query.mask, rows);
        let blocks: Vec<u32> = self.cut.segments(rows).map(|(_, rows)| (rows as u32).div_ceil(BLOCK)).collect();
        let allowed = query.mask.map_or(span.len() as u64, |mask| shortlist::guess(mask.words_of(span)));
        let mut keys = None;
        if let Some(plan) = Plan::new(&self.limits, &blocks, allowed, 1, k as u32) {
            keys = self.listed(memory, query, rows, &masks, &plan)?;
        }
        let keys = match keys {
            Some(keys) => keys,
            None => self.selected(memory, query, rows, &masks, k as u32)?,
        };
        let mut keys: Vec<u64> = keys.into_iter().map(|[bits, row]| topk::key(bits, row)).collect();
        keys.sort_unstable();
        Ok(keys.into_iter().map(topk::hit).collect())
    }

    /// The k smallest keys by short lists; `None` where they do not suffice.
    fn listed(
        &self,
        memory: &mut Memory,
        query: &SpecQuery,
        rows: usize,
        masks: &[wgpu::Buffer],
        plan: &Plan,
    ) -> Result<Option<Vec<[u32; 2]>>, Failure> {
        let mut commands = self.commands();
        let mut uniforms = Uniforms::new(&self.limits);
        let passes: Vec<Vec<Step>> = plan
            .passes
            .iter()
            .map(|&pass| self.plan(&mut uniforms, query, rows, Some((pass, plan.capacity))))
            .collect();
        self.write_params(memory, &uniforms);
        let lists = self.shortlists(&mut memory.shortlist, &mut commands, plan)?;
        for (at, steps) in passes.iter().enumerate() {
            self.score(memory, &mut commands, query, steps, masks, To::List(&lists.lines, &lists.lists))?;
            self.shorten(&mut commands, plan, &lists, at)?;
        }
        let found = self.shortlisted(&mut memory.shortlist, commands, plan, &lists)?;
        Ok(found.and_then(|found| found.into_iter().next()))
    }

    /// The k smallest keys by scores of all rows.
    fn selected(
        &self,
        memory: &mut Memory,
        query: &SpecQuery,
        rows: usize,
        masks: &[wgpu::Buffer],
        k: u32,
    ) -> Result<Vec<[u32; 2]>, Failure> {
        let spans: Vec<(usize, usize)> = self.cut.segments(rows).collect();
        memory.spec.scores.resize_with(spans.len().max(memory.spec.scores.len()), || None);
        let of_segment = |(&(_, rows), slot): (&(usize, usize), _)| {
            self.grown(slot, 4 * rows as u64, wgpu::BufferUsages::STORAGE).clone()
        };
        let scores: Vec<wgpu::Buffer> = spans.iter().zip(&mut memory.spec.scores).map(of_segment).collect();
        let mut commands = self.commands();
        let mut uniforms = Uniforms::new(&self.limits);
        let steps = self.plan(&mut uniforms, query, rows, None);
        self.write_params(memory, &uniforms);
        self.score(memory, &mut commands, query, &steps, masks, To::Places(&scores))?;
        let segments: Vec<Segment> = spans
            .iter()
            .zip(&scores)
            .map(|(&(first, rows), scores)| Segment { first_row: first as u32, rows: rows as u32, scores })
            .collect();
        self.select_smallest(&mut memory.select, &mut commands, &segments, 1, k, None)?;
        let Chosen { counts, mut keys } = self.chosen(&mut memory.select, commands, 1, k)?;
        if counts[0] > k {
            return Err(Failure::Refused(format!("it selected {} rows instead of {k}", counts[0])));
        }
        keys.truncate(counts[0] as usize);
        Ok(keys)
    }

    /// Encodes the steps of a pass.
    fn score(
        &self,
        memory: &mut Memory,
        commands: &mut Commands,
        query: &SpecQuery,
        steps: &[Step],
        masks: &[wgpu::Buffer],
        to: To,
    ) -> Result<(), Failure> {
        let small = wgpu::BufferUsages::STORAGE;
        let partial = self.grown(&mut memory.spec.partial, 8, small).clone();
        let params = self.grown(&mut memory.spec.uniforms, 0, UNIFORM).clone();
        for step in steps {
            let targets = &query.targets[step.first_target..query.targets.len().min(step.first_target + TARGETS)];
            let mut held = Vec::with_capacity(TARGETS);
            for target in targets {
                held.push(self.column(&mut memory.residents, &target.column, step.segment)?);
            }
            // bindings that no target uses still need a buffer
            held.resize(TARGETS, held[0].clone());
            let (scores, lines) = match to {
                // one that may be written, and is not
                To::Places(scores) => (&scores[step.segment], &partial),
                To::List(lines, list) => (list, lines),
            };
            let bound = [&masks[step.segment], scores, &partial].into_iter().chain(&held).chain([lines]);
            let group = self.group(&self.score, &params, size_of::<Params>(), bound);
            let work = u64::from(step.blocks * BLOCK) * targets.len() as u64 * ROW_WORK;
            commands.run(&self.score, &group, &[step.uniform], [(step.blocks * BLOCK).div_ceil(LANES), 1], work)?;
        }
        Ok(())
    }

    /// The segments of the mask, written where they are not there.
    fn masks(&self, scratch: &mut Scratch, mask: Option<&Mask>, rows: usize) -> Vec<wgpu::Buffer> {
        let spans: Vec<(usize, usize)> = self.cut.segments(rows).collect();
        let Some(mask) = mask else {
            let nothing = self.grown(&mut scratch.nothing, 16, wgpu::BufferUsages::STORAGE);
            return vec![nothing.clone(); spans.len()];
        };
        scratch.masks.resize_with(spans.len().max(scratch.masks.len()), || None);
        let of_segment = |(&(first, rows), slot): (&(usize, usize), &mut Option<Masked>)| {
            let words = mask.words_of(first..first + rows);
            if let Some(held) = slot.as_mut()
                && (held.id == mask.id() || held.words == words)
            {
                held.id = mask.id();
                return held.buffer.clone();
            }
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
            let mut buffer = slot.take().map(|held| held.buffer);
            let buffer = self.grown(&mut buffer, 8 * words.len() as u64, usage).clone();
            self.queue.write_buffer(&buffer, 0, &mask_bytes(words));
            *slot = Some(Masked { id: mask.id(), words: words.to_vec(), buffer: buffer.clone() });
            buffer
        };
        spans.iter().zip(&mut scratch.masks).map(of_segment).collect()
    }

    fn write_params(&self, memory: &mut Memory, uniforms: &Uniforms) {
        let buffer = self.grown(&mut memory.spec.uniforms, uniforms.bytes.len() as u64, UNIFORM);
        self.queue.write_buffer(buffer, 0, &uniforms.bytes);
    }

    /// The dispatches over all rows, or those of a pass with a list of so many places.
    fn plan(&self, uniforms: &mut Uniforms, query: &SpecQuery, rows: usize, pass: Option<(Pass, u32)>) -> Vec<Step> {
        let params = kernel::params(query);
        let masked = if query.mask.is_some() { MASKED } else { 0 };
        let (stride, listed, capacity) = match pass {
            None => (1, 0, 0),
            Some((Pass { stride, sampled }, capacity)) => (stride, if sampled { SAMPLED } else { LISTED }, capacity),
        };
        let mut steps = Vec::new();
        let mut slot = 0;
        for (segment, (first_row, rows)) in self.cut.segments(rows).enumerate() {
            let blocks = (rows as u32).div_ceil(BLOCK).div_ceil(stride);
            for (at, targets) in params.chunks(TARGETS).enumerate() {
                let first = if at == 0 { FIRST_TARGETS } else { 0 };
                let last = if (at + 1) * TARGETS >= params.len() { LAST_TARGETS } else { 0 };
                let mut score = Params {
                    rows: rows as u32,
                    targets_used: targets.len() as u32,
                    flags: masked | first | last | listed,
                    stride,
                    first_row: first_row as u32,
                    capacity,
                    ..Params::default()
                };
                score.targets[..targets.len()].copy_from_slice(targets);
                for from in (0..blocks).step_by(DISPATCH_BLOCKS as usize) {
                    let blocks = (blocks - from).min(DISPATCH_BLOCKS);
                    let slot = slot + from * BLOCK;
                    let uniform = uniforms.push(&Params { base: from * stride, blocks, slot, ..score });
                    steps.push(Step { segment, first_target: at * TARGETS, uniform, blocks });
                }
            }
            slot += blocks * BLOCK;
        }
        steps
    }
}
