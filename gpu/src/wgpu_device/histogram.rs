//! How many rows lie between which edges.

use super::{DISPATCH_ROWS, Failure, Memory, UNIFORM, Uniforms, WgpuDevice, layout, mask_bytes};
use crate::histogram::{HistogramQuery, flushed};
use crate::segment::Form;
use crate::shader::{self, LANES, STEPS};

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    base: u32,
    edges: u32,
    flags: u32,
    steps: u32,
    lanes: u32,
    pad: [u32; 2],
}

const MASKED: u32 = 1;
/// What a row costs, in multiplications.
const ROW_WORK: u64 = 16;

pub(super) fn pipeline(device: &wgpu::Device) -> wgpu::ComputePipeline {
    let layout = layout(device, size_of::<Params>(), &[true, true, true, false]);
    super::pipeline(device, &shader::histogram(), "histogram", &layout)
}

impl WgpuDevice {
    /// The counts of all bins of a checked query.
    pub(crate) fn histogram(&self, query: &HistogramQuery) -> Result<Vec<u32>, Failure> {
        self.with_memory(|memory| self.counts(memory, query))
    }

    fn counts(&self, memory: &mut Memory, query: &HistogramQuery) -> Result<Vec<u32>, Failure> {
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let bytes = 4 * (query.edges.len() as u64 + 2);
        let edges = self.create(4 * query.edges.len().max(4) as u64, storage);
        let known: Vec<f32> = query.edges.iter().map(|&edge| flushed(edge)).collect();
        self.queue.write_buffer(&edges, 0, bytemuck::cast_slice(&known));
        let counts = self.create(bytes, storage | wgpu::BufferUsages::COPY_SRC);
        let answer = self.create(bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let mut commands = self.commands();
        commands.encoder().clear_buffer(&counts, 0, None);
        for (segment, (first, rows)) in self.cut.segments(query.column.len()).enumerate() {
            let column = self.column(&mut memory.residents, query.column, Form::Single, segment)?;
            let words = query.mask.map(|mask| mask_bytes(mask.words_of(first..first + rows)));
            let bits = words.as_deref().unwrap_or(&[0; 16]);
            let mask = self.create(bits.len() as u64, storage);
            self.queue.write_buffer(&mask, 0, bits);
            let mut uniforms = Uniforms::new(&self.limits);
            let mut steps = Vec::new();
            for base in (0..rows as u32).step_by(DISPATCH_ROWS as usize) {
                let flags = if query.mask.is_some() { MASKED } else { 0 };
                let (rows, edges) = (rows as u32, query.edges.len() as u32);
                let params = Params { rows, base, edges, flags, steps: STEPS, lanes: LANES, pad: [0; 2] };
                steps.push((uniforms.push(&params), (rows - base).min(DISPATCH_ROWS).div_ceil(LANES * STEPS)));
            }
            let params = self.create(uniforms.bytes.len() as u64, UNIFORM);
            self.queue.write_buffer(&params, 0, &uniforms.bytes);
            let bound = [&column, &mask, &edges, &counts];
            let group = self.group(&self.histogram, &params, size_of::<Params>(), bound.into_iter());
            for (uniform, groups) in steps {
                commands.run(
                    &self.histogram,
                    &group,
                    &[uniform],
                    [groups, 1],
                    u64::from(groups * LANES * STEPS) * ROW_WORK,
                )?;
            }
        }
        commands.encoder().copy_buffer_to_buffer(&counts, 0, &answer, 0, bytes);
        commands.submit()?;
        self.read(&answer, bytes)
    }
}
