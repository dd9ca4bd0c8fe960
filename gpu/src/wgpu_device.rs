//! One opened adapter: pipelines, memory, dispatch and read-back.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use crate::adapter::{self, AdapterReport, block_on};
use crate::kernel::{self, TargetParams};
use crate::segment::{Columns, Cut};
use crate::shader::{BINS, DIGITS, LANES, STEPS, TARGETS};
use crate::topk;
use crate::{Column, GpuError, Hit, SpecQuery, shader};

/// Rows of one dispatch: bounds both its time and its work groups (65,535 in one dimension).
const DISPATCH_ROWS: u32 = 1 << 23;
/// A device that has not answered by then counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Storage buffers that the scoring kernel binds.
const STORAGE_BUFFERS: u32 = 7;

/// Why the device did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is gone: it must be opened again.
    Lost(String),
    /// It has no room for this query.
    OutOfMemory(String),
    /// It refused, or answered nonsense.
    Refused(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Lost(why) => write!(f, "lost ({why})"),
            Failure::OutOfMemory(why) => write!(f, "out of memory ({why})"),
            Failure::Refused(why) => write!(f, "failed ({why})"),
        }
    }
}

/// An adapter that is ready for queries.
pub(crate) struct WgpuDevice {
    report: AdapterReport,
    device: wgpu::Device,
    queue: wgpu::Queue,
    score: wgpu::ComputePipeline,
    count: wgpu::ComputePipeline,
    choose: wgpu::ComputePipeline,
    collect: wgpu::ComputePipeline,
    cut: Cut,
    limits: wgpu::Limits,
    lost: Arc<Mutex<Option<String>>>,
    memory: Mutex<Memory>,
}

/// What the device holds. One query at a time uses it.
#[derive(Default)]
struct Memory {
    columns: Columns,
    scratch: Option<Scratch>,
}

/// Buffers of a query, kept for the next one.
struct Scratch {
    rows: usize,
    scores: Vec<wgpu::Buffer>,
    masks: Vec<wgpu::Buffer>,
    /// Sums of rows between dispatches of one segment; of one row until a query has more targets than a dispatch takes.
    partial: wgpu::Buffer,
    histogram: wgpu::Buffer,
    state: wgpu::Buffer,
    found: wgpu::Buffer,
    answer: wgpu::Buffer,
    uniforms: wgpu::Buffer,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ScoreParams {
    rows: u32,
    base: u32,
    targets_used: u32,
    flags: u32,
    targets: [TargetParams; TARGETS],
}

const MASKED: u32 = 1;
const FIRST_TARGETS: u32 = 2;
const LAST_TARGETS: u32 = 4;

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct SelectParams {
    rows: u32,
    base: u32,
    first_row: u32,
    steps: u32,
    shift: u32,
    bins: u32,
    phase: u32,
    k: u32,
    lanes: u32,
    bins_per_lane: u32,
    pad: [u32; 2],
}

const ON_ROWS: u32 = 1;
const FIRST_DIGIT: u32 = 2;
const LAST_OF_SCORE: u32 = 4;

/// Bytes of `found` before its keys.
const FOUND_HEADER: u64 = 8;
const KEY_BYTES: u64 = 8;
const STATE_BYTES: u64 = 24;

impl WgpuDevice {
    /// Opens an adapter. `segment_rows` bounds the segments further than the device does.
    pub(crate) fn open(adapter: &wgpu::Adapter, segment_rows: Option<u32>) -> Result<WgpuDevice, GpuError> {
        let report = adapter::report(adapter);
        let refuse = |why: String| GpuError::Device { device: report.name.clone(), why };
        let limits = adapter.limits();
        if limits.max_storage_buffers_per_shader_stage < STORAGE_BUFFERS
            || limits.max_compute_invocations_per_workgroup < LANES
            || limits.max_compute_workgroup_storage_size < 4 * (BINS + LANES)
        {
            return Err(refuse("its limits are too low for the kernels".to_owned()));
        }
        let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("matgenome"),
            required_features: wgpu::Features::empty(),
            required_limits: limits.clone(),
            ..Default::default()
        }))
        .map_err(|e| refuse(e.to_string()))?;
        let lost = Arc::new(Mutex::new(None));
        let note = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            let mut note = note.lock().unwrap_or_else(PoisonError::into_inner);
            note.get_or_insert_with(|| format!("{reason:?}: {message}"));
        });
        // errors outside of a query's scopes, for example while memory is freed, must not end the process
        device.on_uncaptured_error(Arc::new(|error: wgpu::Error| tracing::warn!(%error, "device error")));

        let built = guarded(&device, || {
            let score = pipeline(&device, &shader::score(), "score", &score_layout(&device));
            let layout = select_layout(&device);
            let select = shader::select();
            let [count, choose, collect] =
                ["count", "choose", "collect"].map(|e| pipeline(&device, &select, e, &layout));
            Ok((score, count, choose, collect))
        });
        let (score, count, choose, collect) = built.map_err(|failure| refuse(failure.to_string()))?;
        let cut = Cut::new(&limits, segment_rows);
        let memory = Mutex::default();
        Ok(WgpuDevice { report, device, queue, score, count, choose, collect, cut, limits, lost, memory })
    }

    pub(crate) fn report(&self) -> &AdapterReport {
        &self.report
    }

    pub(crate) fn segment_rows(&self) -> u32 {
        self.cut.rows_per_segment()
    }

    /// The answer to a checked query of `rows` rows. Where memory is short, everything is freed and it is tried once more.
    pub(crate) fn spec(&self, query: &SpecQuery, rows: usize) -> Result<Vec<Hit>, Failure> {
        self.with_memory(|memory| self.answer(memory, query, rows))
    }

    /// Uploads columns.
    pub(crate) fn load(&self, columns: &[Arc<Column>]) -> Result<(), Failure> {
        self.with_memory(|memory| {
            for column in columns {
                memory.columns.get(&self.device, &self.queue, self.cut, column);
            }
            self.wait(None)
        })
    }

    /// Frees all columns and buffers.
    pub(crate) fn release(&self) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Memory::default();
    }

    fn with_memory<T>(&self, mut work: impl FnMut(&mut Memory) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.columns.forget_dropped();
        let mut attempt = || {
            self.check_lost()?;
            let result = guarded(&self.device, || work(&mut memory));
            // what is said of a lost device explains more than the errors that follow from it
            let result = self.check_lost().and(result);
            if result.is_err() {
                // buffers that were refused must not be used again
                memory.columns.clear();
                memory.scratch = None;
            }
            result
        };
        match attempt() {
            Err(Failure::OutOfMemory(_)) => attempt(),
            result => result,
        }
    }

    fn check_lost(&self) -> Result<(), Failure> {
        match &*self.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Err(Failure::Lost(why.clone())),
            None => Ok(()),
        }
    }

    fn answer(&self, memory: &mut Memory, query: &SpecQuery, rows: usize) -> Result<Vec<Hit>, Failure> {
        let k = query.k.min(rows);
        if k == 0 {
            return Ok(Vec::new());
        }
        let found_bytes = FOUND_HEADER + k as u64 * KEY_BYTES;
        if found_bytes > self.limits.max_storage_buffer_binding_size.min(self.limits.max_buffer_size) {
            return Err(Failure::Refused(format!("it cannot hold {k} answers")));
        }
        let scratch = match memory.scratch.take() {
            Some(scratch) if scratch.rows >= rows => memory.scratch.insert(scratch),
            _ => memory.scratch.insert(self.scratch(rows)),
        };
        self.grow(&mut scratch.found, found_bytes);
        self.grow(&mut scratch.answer, found_bytes);
        if query.targets.len() > TARGETS {
            let rows = rows.min(self.cut.rows_per_segment() as usize) as u64;
            self.grow(&mut scratch.partial, 8 * rows);
        }
        if let Some(mask) = query.mask {
            for ((first, rows), buffer) in self.cut.segments(rows).zip(&scratch.masks) {
                let words = &mask.words()[first / 64..(first + rows).div_ceil(64)];
                self.queue.write_buffer(buffer, 0, &mask_bytes(words));
            }
        }
        let mut plan = Plan::new(self.limits.min_uniform_buffer_offset_alignment);
        self.plan_scores(&mut plan, query, rows);
        self.plan_selection(&mut plan, rows, k as u32);
        self.grow(&mut scratch.uniforms, plan.uniforms.len() as u64);
        self.queue.write_buffer(&scratch.uniforms, 0, &plan.uniforms);
        for columns in query.targets.iter().map(|target| &target.column) {
            memory.columns.get(&self.device, &self.queue, self.cut, columns);
        }
        self.submit(&plan, query, &mut memory.columns, scratch, found_bytes)?;
        self.read(scratch, k, found_bytes)
    }

    fn submit(
        &self,
        plan: &Plan,
        query: &SpecQuery,
        columns: &mut Columns,
        scratch: &Scratch,
        found_bytes: u64,
    ) -> Result<(), Failure> {
        let mut encoder = self.encoder();
        encoder.clear_buffer(&scratch.histogram, 0, None);
        encoder.clear_buffer(&scratch.state, 0, None);
        encoder.clear_buffer(&scratch.found, 0, Some(FOUND_HEADER));
        let mut segment = 0;
        for step in &plan.scores {
            if step.segment != segment {
                // each submission is one segment's work: drivers end what takes too long
                self.queue.submit([encoder.finish()]);
                encoder = self.encoder();
                segment = step.segment;
            }
            let group = self.score_group(query, columns, scratch, step);
            run(&mut encoder, &self.score, &group, step);
        }
        let groups: Vec<wgpu::BindGroup> =
            scratch.scores.iter().map(|scores| self.select_group(scratch, scores)).collect();
        for step in &plan.selection {
            let pipeline = match step.kernel {
                Kernel::Score | Kernel::Count => &self.count,
                Kernel::Choose => &self.choose,
                Kernel::Collect => &self.collect,
            };
            run(&mut encoder, pipeline, &groups[step.segment], step);
        }
        encoder.copy_buffer_to_buffer(&scratch.found, 0, &scratch.answer, 0, found_bytes);
        self.queue.submit([encoder.finish()]);
        Ok(())
    }

    fn read(&self, scratch: &Scratch, k: usize, found_bytes: u64) -> Result<Vec<Hit>, Failure> {
        let (told, hear) = mpsc::channel();
        scratch.answer.map_async(wgpu::MapMode::Read, 0..found_bytes, move |result| {
            let _ = told.send(result);
        });
        self.wait(None)?;
        hear.try_recv()
            .map_err(|_| Failure::Refused("its answer never became readable".to_owned()))?
            .map_err(|e| Failure::Refused(e.to_string()))?;
        let keys = {
            let view = scratch.answer.get_mapped_range(0..found_bytes).map_err(|e| Failure::Refused(e.to_string()))?;
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(&view[..]);
            let count = words[0] as usize;
            if count > k {
                Err(Failure::Refused(format!("it selected {count} rows instead of {k}")))
            } else {
                let mut keys: Vec<u64> =
                    words[2..].chunks_exact(2).take(count).map(|w| topk::key(w[0], w[1])).collect();
                keys.sort_unstable();
                Ok(keys)
            }
        };
        scratch.answer.unmap();
        Ok(keys?.into_iter().map(topk::hit).collect())
    }

    fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), Failure> {
        match self.device.poll(wgpu::PollType::Wait { submission_index, timeout: Some(PATIENCE) }) {
            Ok(_) => Ok(()),
            Err(e) => Err(Failure::Lost(e.to_string())),
        }
    }

    fn plan_scores(&self, plan: &mut Plan, query: &SpecQuery, rows: usize) {
        let params = kernel::params(query);
        let masked = if query.mask.is_some() { MASKED } else { 0 };
        for (segment, (_, rows)) in self.cut.segments(rows).enumerate() {
            for (at, targets) in params.chunks(TARGETS).enumerate() {
                let first = if at == 0 { FIRST_TARGETS } else { 0 };
                let last = if (at + 1) * TARGETS >= params.len() { LAST_TARGETS } else { 0 };
                let mut score = ScoreParams {
                    rows: rows as u32,
                    base: 0,
                    targets_used: targets.len() as u32,
                    flags: masked | first | last,
                    targets: [TargetParams::default(); TARGETS],
                };
                score.targets[..targets.len()].copy_from_slice(targets);
                for base in (0..rows as u32).step_by(DISPATCH_ROWS as usize) {
                    let groups = (rows as u32 - base).min(DISPATCH_ROWS).div_ceil(LANES);
                    let uniform = plan.uniform(&ScoreParams { base, ..score });
                    let first_target = at * TARGETS;
                    plan.scores.push(Step { kernel: Kernel::Score, segment, first_target, uniform, groups });
                }
            }
        }
    }

    fn plan_selection(&self, plan: &mut Plan, rows: usize, k: u32) {
        let common =
            SelectParams { steps: STEPS, k, lanes: LANES, bins_per_lane: BINS / LANES, ..SelectParams::default() };
        for on_rows in [0, ON_ROWS] {
            for (at, (shift, bins)) in DIGITS.into_iter().enumerate() {
                let first = if on_rows == 0 && at == 0 { FIRST_DIGIT } else { 0 };
                let last = if on_rows == 0 && at + 1 == DIGITS.len() { LAST_OF_SCORE } else { 0 };
                let digit = SelectParams { shift, bins, phase: on_rows | first | last, ..common };
                self.plan_over_rows(plan, Kernel::Count, rows, digit);
                let uniform = plan.uniform(&digit);
                plan.selection.push(Step { kernel: Kernel::Choose, segment: 0, first_target: 0, uniform, groups: 1 });
            }
        }
        self.plan_over_rows(plan, Kernel::Collect, rows, common);
    }

    fn plan_over_rows(&self, plan: &mut Plan, kernel: Kernel, rows: usize, params: SelectParams) {
        for (segment, (first_row, rows)) in self.cut.segments(rows).enumerate() {
            let (first_row, rows) = (first_row as u32, rows as u32);
            for base in (0..rows).step_by(DISPATCH_ROWS as usize) {
                let groups = (rows - base).min(DISPATCH_ROWS).div_ceil(LANES * STEPS);
                let uniform = plan.uniform(&SelectParams { rows, base, first_row, ..params });
                plan.selection.push(Step { kernel, segment, first_target: 0, uniform, groups });
            }
        }
    }

    fn score_group(&self, query: &SpecQuery, columns: &mut Columns, scratch: &Scratch, step: &Step) -> wgpu::BindGroup {
        let targets = &query.targets[step.first_target..query.targets.len().min(step.first_target + TARGETS)];
        let mut held: Vec<wgpu::Buffer> = targets
            .iter()
            .map(|target| columns.get(&self.device, &self.queue, self.cut, &target.column)[step.segment].clone())
            .collect();
        // bindings that no target uses still need a buffer
        held.resize(TARGETS, held[0].clone());
        let bound = [&scratch.masks[step.segment], &scratch.scores[step.segment], &scratch.partial];
        self.group(&self.score, &scratch.uniforms, size_of::<ScoreParams>(), bound.into_iter().chain(&held))
    }

    fn select_group(&self, scratch: &Scratch, scores: &wgpu::Buffer) -> wgpu::BindGroup {
        let bound = [scores, &scratch.histogram, &scratch.state, &scratch.found];
        self.group(&self.count, &scratch.uniforms, size_of::<SelectParams>(), bound.into_iter())
    }

    fn group<'a>(
        &self,
        pipeline: &wgpu::ComputePipeline,
        uniforms: &'a wgpu::Buffer,
        uniform_bytes: usize,
        buffers: impl Iterator<Item = &'a wgpu::Buffer>,
    ) -> wgpu::BindGroup {
        let uniform = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: uniforms,
            offset: 0,
            size: wgpu::BufferSize::new(uniform_bytes as u64),
        });
        let resources = std::iter::once(uniform).chain(buffers.map(wgpu::Buffer::as_entire_binding));
        let entries: Vec<_> =
            resources.enumerate().map(|(at, resource)| wgpu::BindGroupEntry { binding: at as u32, resource }).collect();
        let layout = &pipeline.get_bind_group_layout(0);
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    fn scratch(&self, rows: usize) -> Scratch {
        let segments = || self.cut.segments(rows).map(|(_, rows)| rows as u64);
        Scratch {
            rows,
            scores: segments().map(|rows| self.buffer(4 * rows, wgpu::BufferUsages::empty())).collect(),
            masks: segments().map(|rows| self.buffer(rows.div_ceil(64) * 8, wgpu::BufferUsages::COPY_DST)).collect(),
            partial: self.buffer(8, wgpu::BufferUsages::empty()),
            histogram: self.buffer(4 * u64::from(BINS), wgpu::BufferUsages::COPY_DST),
            state: self.buffer(STATE_BYTES, wgpu::BufferUsages::COPY_DST),
            found: self.buffer(FOUND_HEADER + KEY_BYTES, wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC),
            answer: self.create(FOUND_HEADER, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            uniforms: self.create(256, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST),
        }
    }

    fn buffer(&self, size: u64, more: wgpu::BufferUsages) -> wgpu::Buffer {
        self.create(size, wgpu::BufferUsages::STORAGE | more)
    }

    fn create(&self, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    }

    fn grow(&self, buffer: &mut wgpu::Buffer, size: u64) {
        if buffer.size() < size {
            *buffer = self.create(size, buffer.usage());
        }
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Loses the device, as a driver would.
    #[cfg(test)]
    pub(crate) fn lose(&self) {
        self.device.destroy();
        let _ = self.device.poll(wgpu::PollType::Poll);
    }

    /// How many columns the device holds.
    #[cfg(test)]
    pub(crate) fn columns_held(&self) -> usize {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.columns.forget_dropped();
        memory.columns.len()
    }
}

#[derive(Clone, Copy)]
enum Kernel {
    Score,
    Count,
    Choose,
    Collect,
}

/// One dispatch.
struct Step {
    kernel: Kernel,
    segment: usize,
    first_target: usize,
    /// Where its parameters lie.
    uniform: u32,
    groups: u32,
}

/// All dispatches of a query, and their parameters.
struct Plan {
    uniforms: Vec<u8>,
    align: usize,
    scores: Vec<Step>,
    selection: Vec<Step>,
}

impl Plan {
    fn new(align: u32) -> Plan {
        Plan { uniforms: Vec::new(), align: align.max(16) as usize, scores: Vec::new(), selection: Vec::new() }
    }

    fn uniform<T: bytemuck::Pod>(&mut self, params: &T) -> u32 {
        let at = self.uniforms.len();
        self.uniforms.extend_from_slice(bytemuck::bytes_of(params));
        self.uniforms.resize(self.uniforms.len().next_multiple_of(self.align), 0);
        at as u32
    }
}

fn run(encoder: &mut wgpu::CommandEncoder, pipeline: &wgpu::ComputePipeline, group: &wgpu::BindGroup, step: &Step) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, group, &[step.uniform]);
    pass.dispatch_workgroups(step.groups, 1, 1);
}

/// The bytes of a mask as the shader reads it: u32 words, the lowest rows first.
fn mask_bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).flat_map(u32::to_ne_bytes).collect()
}

fn pipeline(device: &wgpu::Device, text: &str, entry: &str, layout: &wgpu::BindGroupLayout) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(entry),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(entry),
        bind_group_layouts: &[Some(layout)],
        immediate_size: 0,
    });
    let constants: &[(&str, f64)] = if entry == "score" { &[("WORKGROUP", LANES as f64)] } else { &[] };
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(entry),
        layout: Some(&layout),
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
        cache: None,
    })
}

fn score_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    layout(device, size_of::<ScoreParams>(), &[true, false, false, true, true, true, true])
}

fn select_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    layout(device, size_of::<SelectParams>(), &[true, false, false, false])
}

/// Parameters at 0, then storage buffers, read-only or not.
fn layout(device: &wgpu::Device, uniform_bytes: usize, read_only: &[bool]) -> wgpu::BindGroupLayout {
    let entry = |binding: u32, ty, has_dynamic_offset, min_binding_size| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size },
        count: None,
    };
    let uniform = entry(0, wgpu::BufferBindingType::Uniform, true, wgpu::BufferSize::new(uniform_bytes as u64));
    let storage = read_only
        .iter()
        .zip(1..)
        .map(|(&read_only, binding)| entry(binding, wgpu::BufferBindingType::Storage { read_only }, false, None));
    let entries: Vec<_> = std::iter::once(uniform).chain(storage).collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}

/// Runs work on a device so that whatever the driver or wgpu says becomes a [`Failure`].
fn guarded<T>(device: &wgpu::Device, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory]
            .map(|filter| device.push_error_scope(filter));
        let result = work();
        // scopes are popped in reverse order, so that want of memory is seen before what follows from it
        let mut errors: Vec<wgpu::Error> = scopes.into_iter().rev().filter_map(|scope| block_on(scope.pop())).collect();
        if errors.is_empty() {
            return result;
        }
        Err(match errors.swap_remove(0) {
            wgpu::Error::OutOfMemory { source } => Failure::OutOfMemory(source.to_string()),
            wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                Failure::Refused(description)
            }
        })
    }));
    caught.unwrap_or_else(|_| Err(Failure::Lost("the driver's library gave up".to_owned())))
}
