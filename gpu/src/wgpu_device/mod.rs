//! One opened adapter: pipelines, memory, dispatch and read-back.

mod columns;
mod commands;
mod dense;
mod histogram;
mod places;
mod select;
#[cfg(test)]
mod several;
mod shortlist;
mod spec;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::adapter::{self, AdapterReport, block_on};
use crate::codes::Codes;
use crate::places::GRID_BYTES;
use crate::segment::{
    Cut, Form, Key, ROW_BYTES, Residents, Share, code_bytes, upload_codes, upload_vectors, vector_bytes,
};
use crate::shader::{BINS, HISTOGRAM_BINS, LANES};
use crate::{GpuError, Metric, Vectors};

use commands::{Commands, Uniforms};
use places::PlacesPipelines;
#[cfg(test)]
pub(crate) use places::places_kernels;
use select::{Scratch as SelectScratch, SelectPipelines};

/// Rows of one dispatch of a kernel that looks once at each: bounds both its time and its work groups (65,535 in one
/// dimension).
const DISPATCH_ROWS: u32 = 1 << 23;
/// A device that has not answered by then counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Storage buffers that the scoring kernel binds.
const STORAGE_BUFFERS: u32 = 8;
/// How long a thread asks a GPU again and again whether it has answered, before it sleeps until then: waking takes longer than
/// most queries do.
const SPIN: Duration = Duration::from_micros(500);
/// Why the device did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is gone: it must be opened again.
    Lost(String),
    /// It has no room for this query.
    OutOfMemory(String),
    /// The query is larger than what it can bind.
    TooLarge(String),
    /// It refused, or answered nonsense.
    Refused(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Lost(why) => write!(f, "lost ({why})"),
            Failure::OutOfMemory(why) => write!(f, "out of memory ({why})"),
            Failure::TooLarge(why) => write!(f, "has no room for this query ({why})"),
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
    score_halves: wgpu::ComputePipeline,
    histogram: wgpu::ComputePipeline,
    select: SelectPipelines,
    shorten: wgpu::ComputePipeline,
    places: PlacesPipelines,
    /// Whether it is a GPU, and no processor that acts as one: it computes while threads wait for it, and its work groups have
    /// memory of their own.
    is_gpu: bool,
    /// Whether batches are compared by grids.
    grids: bool,
    /// A copy of rows from one buffer to another takes as long as it takes to copy so many rows to the device.
    copy_rows: usize,
    /// The part of all rows that it holds and answers for.
    share: Share,
    /// The cut of columns.
    cut: Cut,
    segment_rows: Option<u32>,
    limits: wgpu::Limits,
    lost: Arc<Mutex<Option<String>>>,
    memory: Mutex<Memory>,
    holding: Mutex<Holding>,
}

/// What the device holds. One query at a time uses it.
struct Memory {
    residents: Residents,
    spec: spec::Scratch,
    select: SelectScratch,
    shortlist: shortlist::Scratch,
    dense: places::Scratch,
}

/// What a device holds of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Holding {
    /// Bytes held now.
    pub(crate) bytes: u64,
    /// How often a segment was copied again that had left for others.
    pub(crate) again: u64,
    /// Bytes that were copied to it.
    pub(crate) uploaded: u64,
    /// Whether columns are held in half precision.
    pub(crate) halves: bool,
}

impl WgpuDevice {
    /// Opens an adapter. `segment_rows` bounds the segments further than the device does, `memory` the bytes of data that are
    /// held.
    pub(crate) fn open(
        adapter: &wgpu::Adapter,
        segment_rows: Option<u32>,
        memory: Option<u64>,
    ) -> Result<WgpuDevice, GpuError> {
        let report = adapter::report(adapter);
        let is_gpu = report.kind != adapter::SOFTWARE;
        let refuse = |why: String| GpuError::Device { device: report.name.clone(), why };
        let limits = adapter.limits();
        if limits.max_storage_buffers_per_shader_stage < STORAGE_BUFFERS
            || limits.max_compute_invocations_per_workgroup < LANES
            || limits.max_compute_workgroup_storage_size < (4 * (BINS + LANES + 16).max(HISTOGRAM_BINS)).max(GRID_BYTES)
        {
            return Err(refuse("its limits are too low for the kernels".to_owned()));
        }
        let alone = adapter::alone();
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
            let scores = [Form::Single, Form::Half].map(|form| spec::pipeline(&device, form));
            let shorten = shortlist::shorten_pipeline(&device);
            Ok((scores, histogram::pipeline(&device), SelectPipelines::new(&device), shorten))
        });
        drop(alone);
        let ([score, score_halves], histogram, select, shorten) =
            built.map_err(|failure| refuse(failure.to_string()))?;
        let cut = Cut::new(&limits, ROW_BYTES, segment_rows, Share::WHOLE);
        let memory = Mutex::new(Memory {
            residents: Residents::new(memory),
            spec: spec::Scratch::default(),
            select: SelectScratch::default(),
            shortlist: shortlist::Scratch::default(),
            dense: places::Scratch::default(),
        });
        Ok(WgpuDevice {
            report,
            device,
            queue,
            score,
            score_halves,
            histogram,
            select,
            shorten,
            places: PlacesPipelines::default(),
            is_gpu,
            grids: is_gpu,
            copy_rows: columns::COPY_ROWS,
            share: Share::WHOLE,
            cut,
            segment_rows,
            limits,
            lost,
            memory,
            holding: Mutex::default(),
        })
    }

    pub(crate) fn report(&self) -> &AdapterReport {
        &self.report
    }

    /// Answers for a share of the rows from now on.
    pub(crate) fn take(&mut self, share: Share) {
        self.share = share;
        self.cut = Cut::new(&self.limits, ROW_BYTES, self.segment_rows, share);
    }

    /// The part of all rows that it answers for.
    #[cfg(test)]
    pub(crate) fn share(&self) -> Share {
        self.share
    }

    pub(crate) fn segment_rows(&self) -> u32 {
        self.cut.rows_per_segment()
    }

    /// Uploads vectors, with what a metric needs of them.
    pub(crate) fn load_vectors(&self, vectors: &Arc<Vectors>, metric: Metric) -> Result<(), Failure> {
        self.with_memory(|memory| {
            for segment in 0..self.vector_cut(vectors.dims()).segments(vectors.len()).count() {
                self.vectors(&mut memory.residents, vectors, metric, false, segment)?;
                if metric != Metric::L1 && Codes::pay(vectors.values().len(), vectors.dims()) {
                    self.vectors(&mut memory.residents, vectors, metric, true, segment)?;
                }
            }
            self.wait(None)
        })
    }

    /// Frees all data and buffers.
    pub(crate) fn release(&self) {
        let mut memory = self.memory();
        memory.clear();
        self.note_holding(&memory);
    }

    /// What was held after the last query; waits for none.
    pub(crate) fn holding(&self) -> Holding {
        *self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_holding(&self, memory: &Memory) {
        let Memory { residents, .. } = memory;
        let holding = Holding {
            bytes: residents.bytes(),
            again: residents.again(),
            uploaded: residents.uploaded(),
            halves: residents.has_halves(),
        };
        *self.holding.lock().unwrap_or_else(PoisonError::into_inner) = holding;
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_memory<T>(&self, mut work: impl FnMut(&mut Memory) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut memory = self.memory();
        memory.residents.forget_dropped();
        let mut attempt = || {
            self.check_lost()?;
            let before = memory.residents.bytes();
            let result = guarded(&self.device, || work(&mut memory));
            if matches!(result, Err(Failure::Refused(_))) {
                // a lost device says so only when it is polled after its last work, and what it refuses now asks for no poll
                let _ = guarded(&self.device, || {
                    let _ = self.device.poll(wgpu::PollType::Poll);
                    Ok(())
                });
            }
            // what is said of a lost device explains more than the errors that follow from it
            let result = self.check_lost().and(result);
            if matches!(result, Err(Failure::OutOfMemory(_))) {
                memory.residents.learn(before);
            }
            if !matches!(result, Ok(_) | Err(Failure::TooLarge(_))) {
                // buffers and kernels that were refused must not be used again
                memory.clear();
                self.places.clear();
            }
            self.note_holding(&memory);
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

    /// Values and terms of a segment of vectors, as numbers or as bytes, uploaded where they are not there.
    fn vectors(
        &self,
        residents: &mut Residents,
        vectors: &Arc<Vectors>,
        metric: Metric,
        as_bytes: bool,
        segment: usize,
    ) -> Result<[wgpu::Buffer; 2], Failure> {
        let key = Key::Vectors { id: vectors.id(), metric, as_bytes, segment };
        let buffers = match residents.touch(key) {
            Some(buffers) => buffers,
            None => {
                let span = nth(self.vector_cut(vectors.dims()), vectors.len(), segment)?;
                let upload = if as_bytes { upload_codes } else { upload_vectors };
                let bytes =
                    if as_bytes { code_bytes(vectors.dims()) } else { vector_bytes(vectors.dims()) + ROW_BYTES };
                self.make_room(residents, span.1 as u64 * bytes)?;
                let buffers = upload(&self.device, &self.queue, vectors, metric, span);
                let uploaded = buffers.iter().map(wgpu::Buffer::size).sum();
                residents.hold(key, vectors, buffers.clone(), uploaded);
                buffers
            }
        };
        Ok([buffers[0].clone(), buffers[1].clone()])
    }

    fn vector_cut(&self, dims: usize) -> Cut {
        Cut::new(&self.limits, vector_bytes(dims), self.segment_rows, self.share)
    }

    /// Evicts what was not used for the longest time. What is dropped is free when the device has ended what uses it.
    fn make_room(&self, residents: &mut Residents, bytes: u64) -> Result<(), Failure> {
        if residents.make_room(bytes) { self.wait(None) } else { Ok(()) }
    }

    fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), Failure> {
        match self.device.poll(wgpu::PollType::Wait { submission_index, timeout: Some(PATIENCE) }) {
            Ok(_) => Ok(()),
            Err(e) => Err(Failure::Lost(e.to_string())),
        }
    }

    /// The first bytes of a buffer that can be mapped, in words.
    fn read(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u32>, Failure> {
        let (told, hear) = mpsc::channel();
        buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            let _ = told.send(result);
        });
        let asked = Instant::now();
        let mut heard = hear.try_recv();
        while self.is_gpu && heard.is_err() && asked.elapsed() < SPIN {
            // what it says of a lost device, it says again below
            let _ = self.device.poll(wgpu::PollType::Poll);
            heard = hear.try_recv();
            std::thread::yield_now();
        }
        if heard.is_err() {
            self.wait(None)?;
            heard = hear.try_recv();
        }
        heard
            .map_err(|_| Failure::Refused("its answer never became readable".to_owned()))?
            .map_err(|e| Failure::Refused(e.to_string()))?;
        let words = {
            let view = buffer.get_mapped_range(0..bytes).map_err(|e| Failure::Refused(e.to_string()))?;
            bytemuck::pod_collect_to_vec(&view[..])
        };
        buffer.unmap();
        Ok(words)
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
        self.group_of(pipeline, std::iter::once(uniform).chain(buffers.map(wgpu::Buffer::as_entire_binding)))
    }

    fn group_of<'a>(
        &self,
        pipeline: &wgpu::ComputePipeline,
        resources: impl IntoIterator<Item = wgpu::BindingResource<'a>>,
    ) -> wgpu::BindGroup {
        let entry = |(at, resource)| wgpu::BindGroupEntry { binding: at as u32, resource };
        let entries: Vec<_> = resources.into_iter().enumerate().map(entry).collect();
        let layout = &pipeline.get_bind_group_layout(0);
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    fn create(&self, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    }

    /// A buffer of at least this size: the one that is there, or a new one.
    fn grown<'a>(&self, slot: &'a mut Option<wgpu::Buffer>, size: u64, usage: wgpu::BufferUsages) -> &'a wgpu::Buffer {
        match slot.take() {
            Some(buffer) if buffer.size() >= size => slot.insert(buffer),
            _ => slot.insert(self.create(size.max(16), usage)),
        }
    }

    fn commands(&self) -> Commands<'_> {
        Commands::new(self)
    }

    /// Compares batches by grids, whatever the device is.
    #[cfg(test)]
    pub(crate) fn with_grids(self) -> WgpuDevice {
        WgpuDevice { grids: true, ..self }
    }

    /// Copies rows from an older column, however few they are.
    #[cfg(test)]
    pub(crate) fn with_cheap_copies(self) -> WgpuDevice {
        WgpuDevice { copy_rows: 1, ..self }
    }

    /// Loses the device, as a driver would.
    #[cfg(test)]
    pub(crate) fn lose(&self) {
        self.device.destroy();
        let _ = self.device.poll(wgpu::PollType::Poll);
    }

    /// How many segments the device holds.
    #[cfg(test)]
    pub(crate) fn segments_held(&self) -> usize {
        let mut memory = self.memory();
        memory.residents.forget_dropped();
        memory.residents.len()
    }
}

impl Memory {
    fn clear(&mut self) {
        self.residents.clear();
        self.spec = spec::Scratch::default();
        self.select = SelectScratch::default();
        self.shortlist = shortlist::Scratch::default();
        self.dense = places::Scratch::default();
    }
}

fn nth(cut: Cut, rows: usize, segment: usize) -> Result<(usize, usize), Failure> {
    cut.segments(rows).nth(segment).ok_or_else(|| Failure::Refused("there is no such segment".to_owned()))
}

const UNIFORM: wgpu::BufferUsages = wgpu::BufferUsages::UNIFORM.union(wgpu::BufferUsages::COPY_DST);

/// The bytes of a mask as the shader reads it: u32 words, the lowest rows first. Where the lowest byte comes first, they lie so.
fn mask_bytes(words: &[u64]) -> Cow<'_, [u8]> {
    match cfg!(target_endian = "little") {
        true => Cow::Borrowed(bytemuck::cast_slice(words)),
        false => {
            words.iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).flat_map(u32::to_ne_bytes).collect()
        }
    }
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
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(entry),
        layout: Some(&layout),
        module: &module,
        entry_point: Some(entry),
        // no kernel reads workgroup memory that it has not written
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    })
}

/// What is bound.
#[derive(Clone, Copy)]
enum Binding {
    /// Parameters of a dispatch, at an offset of its own.
    Uniform {
        bytes: u64,
    },
    Storage {
        read_only: bool,
    },
}

impl Binding {
    const READ: Binding = Binding::Storage { read_only: true };
    const WRITE: Binding = Binding::Storage { read_only: false };
}

/// Parameters at 0, then storage buffers, read-only or not.
fn layout(device: &wgpu::Device, uniform_bytes: usize, read_only: &[bool]) -> wgpu::BindGroupLayout {
    let params = Binding::Uniform { bytes: uniform_bytes as u64 };
    let storage = read_only.iter().map(|&read_only| Binding::Storage { read_only });
    layout_of(device, &std::iter::once(params).chain(storage).collect::<Vec<_>>())
}

fn layout_of(device: &wgpu::Device, bindings: &[Binding]) -> wgpu::BindGroupLayout {
    let entry = |(binding, &bound): (usize, &Binding)| {
        let (ty, has_dynamic_offset, min_binding_size) = match bound {
            Binding::Uniform { bytes } => (wgpu::BufferBindingType::Uniform, true, wgpu::BufferSize::new(bytes)),
            Binding::Storage { read_only } => (wgpu::BufferBindingType::Storage { read_only }, false, None),
        };
        wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size },
            count: None,
        }
    };
    let entries: Vec<_> = bindings.iter().enumerate().map(entry).collect();
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
