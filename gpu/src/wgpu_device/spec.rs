//! The spec score of all rows, and the best of them.

use super::select::{Chosen, Segment};
use super::{Failure, Memory, UNIFORM, Uniforms, WgpuDevice, layout, mask_bytes};
use crate::kernel::{self, TargetParams};
use crate::shader::{self, LANES, TARGETS};
use crate::{Hit, SpecQuery, topk};

/// Buffers of a query, kept for the next one.
pub(super) struct Scratch {
    rows: usize,
    scores: Vec<wgpu::Buffer>,
    masks: Vec<wgpu::Buffer>,
    /// Sums of rows between dispatches of one segment; of one row until a query has more targets than a dispatch takes.
    partial: wgpu::Buffer,
    uniforms: Option<wgpu::Buffer>,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    base: u32,
    targets_used: u32,
    flags: u32,
    targets: [TargetParams; TARGETS],
}

const MASKED: u32 = 1;
const FIRST_TARGETS: u32 = 2;
const LAST_TARGETS: u32 = 4;

pub(super) fn pipeline(device: &wgpu::Device) -> wgpu::ComputePipeline {
    let layout = layout(device, size_of::<Params>(), &[true, false, false, true, true, true, true]);
    super::pipeline(device, &shader::score(), "score", &layout)
}

/// One dispatch.
struct Step {
    segment: usize,
    first_target: usize,
    uniform: u32,
    groups: u32,
}

impl WgpuDevice {
    /// The answer to a checked query of `rows` rows. Where memory is short, everything is freed and it is tried once more.
    pub(crate) fn spec(&self, query: &SpecQuery, rows: usize) -> Result<Vec<Hit>, Failure> {
        self.with_memory(|memory| self.best(memory, query, rows))
    }

    fn best(&self, memory: &mut Memory, query: &SpecQuery, rows: usize) -> Result<Vec<Hit>, Failure> {
        let k = query.k.min(rows);
        if k == 0 {
            return Ok(Vec::new());
        }
        let scratch = match memory.spec.take() {
            Some(scratch) if scratch.rows >= rows => memory.spec.insert(scratch),
            _ => memory.spec.insert(self.spec_scratch(rows)),
        };
        if query.targets.len() > TARGETS {
            let rows = rows.min(self.cut.rows_per_segment() as usize) as u64;
            if scratch.partial.size() < 8 * rows {
                scratch.partial = self.buffer(8 * rows, wgpu::BufferUsages::empty());
            }
        }
        if let Some(mask) = query.mask {
            for ((first, rows), buffer) in self.cut.segments(rows).zip(&scratch.masks) {
                let words = &mask.words()[first / 64..(first + rows).div_ceil(64)];
                self.queue.write_buffer(buffer, 0, &mask_bytes(words));
            }
        }
        let mut uniforms = Uniforms::new(&self.limits);
        let steps = self.plan(&mut uniforms, query, rows);
        let buffer = self.grown(&mut scratch.uniforms, uniforms.bytes.len() as u64, UNIFORM).clone();
        self.queue.write_buffer(&buffer, 0, &uniforms.bytes);
        let mut commands = self.commands();
        for step in &steps {
            let targets = &query.targets[step.first_target..query.targets.len().min(step.first_target + TARGETS)];
            let mut held = Vec::with_capacity(TARGETS);
            for target in targets {
                held.push(self.column(&mut memory.residents, &target.column, step.segment)?);
            }
            // bindings that no target uses still need a buffer
            held.resize(TARGETS, held[0].clone());
            let bound = [&scratch.masks[step.segment], &scratch.scores[step.segment], &scratch.partial];
            let group = self.group(&self.score, &buffer, size_of::<Params>(), bound.into_iter().chain(&held));
            commands.run(&self.score, &group, &[step.uniform], [step.groups, 1]);
            commands.submit()?;
        }
        let segments: Vec<Segment> = self
            .cut
            .segments(rows)
            .zip(&scratch.scores)
            .map(|((first, rows), scores)| Segment { first_row: first as u32, rows: rows as u32, scores })
            .collect();
        self.select_smallest(&mut memory.select, &mut commands, &segments, 1, k as u32, None)?;
        let Chosen { counts, keys } = self.chosen(&mut memory.select, commands, 1, k as u32)?;
        if counts[0] as usize > k {
            return Err(Failure::Refused(format!("it selected {} rows instead of {k}", counts[0])));
        }
        let mut keys: Vec<u64> =
            keys.iter().take(counts[0] as usize).map(|&[bits, row]| topk::key(bits, row)).collect();
        keys.sort_unstable();
        Ok(keys.into_iter().map(topk::hit).collect())
    }

    fn plan(&self, uniforms: &mut Uniforms, query: &SpecQuery, rows: usize) -> Vec<Step> {
        let params = kernel::params(query);
        let masked = if query.mask.is_some() { MASKED } else { 0 };
        let mut steps = Vec::new();
        for (segment, (_, rows)) in self.cut.segments(rows).enumerate() {
            for (at, targets) in params.chunks(TARGETS).enumerate() {
                let first = if at == 0 { FIRST_TARGETS } else { 0 };
                let last = if (at + 1) * TARGETS >= params.len() { LAST_TARGETS } else { 0 };
                let mut score = Params {
                    rows: rows as u32,
                    base: 0,
                    targets_used: targets.len() as u32,
                    flags: masked | first | last,
                    targets: [TargetParams::default(); TARGETS],
                };
                score.targets[..targets.len()].copy_from_slice(targets);
                for base in (0..rows as u32).step_by(super::DISPATCH_ROWS as usize) {
                    let groups = (rows as u32 - base).min(super::DISPATCH_ROWS).div_ceil(LANES);
                    let uniform = uniforms.push(&Params { base, ..score });
                    steps.push(Step { segment, first_target: at * TARGETS, uniform, groups });
                }
            }
        }
        steps
    }

    fn spec_scratch(&self, rows: usize) -> Scratch {
        let segments = || self.cut.segments(rows).map(|(_, rows)| rows as u64);
        Scratch {
            rows,
            scores: segments().map(|rows| self.buffer(4 * rows, wgpu::BufferUsages::empty())).collect(),
            masks: segments().map(|rows| self.buffer(rows.div_ceil(64) * 8, wgpu::BufferUsages::COPY_DST)).collect(),
            partial: self.buffer(8, wgpu::BufferUsages::empty()),
            uniforms: None,
        }
    }
}
