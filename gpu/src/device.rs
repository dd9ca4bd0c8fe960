//! The only face of the crate to the outside: a device that answers, whatever happens to its hardware.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::adapter::{self, Choice};
use crate::exact::exact;
use crate::nearest::Job;
use crate::reference::{self, F32_RELATIVE_ERROR};
use crate::wgpu_device::{Failure, WgpuDevice};
use crate::{
    AllNearest, Answer, Column, GpuError, Histogram, HistogramQuery, Hit, Metric, NearestAnswer, NearestQuery,
    SpecQuery, Vectors, WithinQuery, cpu, dense_cpu, histogram, selftest, simd,
};

/// How long a lost device is left alone after a failed attempt to open it again.
const REST: Duration = Duration::from_secs(10);

/// How to open a device, beyond which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// The largest number of rows of one segment in device memory, rounded down to whole mask words; the device's own limit
    /// where there is none. Answers do not depend on it.
    pub segment_rows: Option<u32>,
    /// The most bytes of columns and vectors that are held in device memory; what was not used for the longest time leaves for
    /// what is needed. Without it, everything is held until the driver refuses. Answers do not depend on it.
    pub memory_bytes: Option<u64>,
}

/// What a device is, for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// Its name, as answers give it.
    pub name: String,
    /// `CPU`, or the adapter's kind.
    pub kind: &'static str,
    /// `cpu`, `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// The driver and its version, or the CPU's instruction set.
    pub driver: String,
    /// The largest part of a buffer that a kernel sees at once, in bytes; `None` for the CPU.
    pub max_binding_bytes: Option<u64>,
    /// Rows of one segment in device memory; `None` for the CPU.
    pub segment_rows: Option<u32>,
    /// Bytes of columns and vectors in device memory; `None` for the CPU.
    pub held_bytes: Option<u64>,
    /// How often a segment was copied again that had left device memory for others; `None` for the CPU.
    pub segments_copied_again: Option<u64>,
    /// Why this device was chosen over others, or what is wrong with it now.
    pub note: Option<String>,
}

/// The exact answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactAnswer {
    /// The k best rows as (f64 score, row number), in that order.
    pub hits: Vec<(f64, u32)>,
    /// The device that searched.
    pub device: String,
    /// Why it was not the device that was opened, where it was not.
    pub note: Option<String>,
}

/// A device that answers queries. Cheap to clone, and may be used from many threads.
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

struct Inner {
    cpu_name: String,
    /// Why Auto came to this device, where it was not the first it tried.
    note: Option<String>,
    gpu: Option<Gpu>,
}

struct Gpu {
    name: String,
    /// As it was when it was opened first.
    report: DeviceReport,
    options: OpenOptions,
    slot: Mutex<Slot>,
}

enum Slot {
    Ready(Arc<WgpuDevice>),
    /// Lost, and not to be opened before then.
    Lost {
        why: String,
        retry: Instant,
    },
    /// Lost, and being opened again by a thread.
    Opening {
        why: String,
    },
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Device").field(&self.name()).finish()
    }
}

impl Device {
    /// Opens a device, and has it answer golden queries before it is trusted.
    ///
    /// [`Choice::Auto`] takes the first real GPU that passes, else the CPU; the reason is in [`Device::describe`].
    ///
    /// # Errors
    /// For [`Choice::Named`]: [`GpuError::NoAdapter`] where no adapter's name contains it, [`GpuError::Device`] where it does
    /// not open, [`GpuError::SelfTest`] where it answers wrongly.
    pub fn open(choice: &Choice) -> Result<Device, GpuError> {
        Device::open_with(choice, OpenOptions::default())
    }

    /// Opens a device with options.
    ///
    /// # Errors
    /// As for [`Device::open`].
    pub fn open_with(choice: &Choice, options: OpenOptions) -> Result<Device, GpuError> {
        match choice {
            Choice::Cpu => Ok(Device::cpu()),
            Choice::Named(name) => Ok(Device::of(open_gpu(&adapter::named(name)?, options)?, options, None)),
            Choice::Auto => Ok(Device::auto(options)),
        }
    }

    /// The CPU.
    pub fn cpu() -> Device {
        Device::cpu_because(None)
    }

    fn auto(options: OpenOptions) -> Device {
        let mut refused = Vec::new();
        for adapter in adapter::real_gpus() {
            match open_gpu(&adapter, options) {
                Ok(gpu) => {
                    return Device::of(gpu, options, (!refused.is_empty()).then(|| refused.join("; ")));
                }
                Err(error) => {
                    tracing::warn!(%error, "device refused");
                    refused.push(error.to_string());
                }
            }
        }
        let why = if refused.is_empty() { "there is no GPU".to_owned() } else { refused.join("; ") };
        Device::cpu_because(Some(why))
    }

    fn cpu_because(note: Option<String>) -> Device {
        Device { inner: Arc::new(Inner { cpu_name: cpu_name(), note, gpu: None }) }
    }

    fn of(gpu: WgpuDevice, options: OpenOptions, note: Option<String>) -> Device {
        let adapter = gpu.report();
        let report = DeviceReport {
            name: adapter.name.clone(),
            kind: adapter.kind,
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            max_binding_bytes: Some(adapter.max_binding_bytes),
            segment_rows: Some(gpu.segment_rows()),
            held_bytes: Some(0),
            segments_copied_again: Some(0),
            note: note.clone(),
        };
        let gpu = Gpu { name: report.name.clone(), report, options, slot: Mutex::new(Slot::Ready(Arc::new(gpu))) };
        Device { inner: Arc::new(Inner { cpu_name: cpu_name(), note, gpu: Some(gpu) }) }
    }

    /// The device's name: the adapter's, or `CPU (model, threads, instruction set)`.
    pub fn name(&self) -> &str {
        self.inner.gpu.as_ref().map_or(&self.inner.cpu_name, |gpu| &gpu.name)
    }

    /// Whether the CPU was opened, not a GPU.
    pub fn is_cpu(&self) -> bool {
        self.inner.gpu.is_none()
    }

    /// What the device is, why it was chosen, and whether it is lost at the moment.
    pub fn describe(&self) -> DeviceReport {
        match &self.inner.gpu {
            None => DeviceReport {
                name: self.inner.cpu_name.clone(),
                kind: "CPU",
                backend: "cpu".to_owned(),
                driver: simd::level().to_owned(),
                max_binding_bytes: None,
                segment_rows: None,
                held_bytes: None,
                segments_copied_again: None,
                note: self.inner.note.clone(),
            },
            Some(gpu) => match &*gpu.slot() {
                Slot::Ready(ready) => {
                    // of the last query: this waits for none
                    let holding = ready.holding();
                    let (held_bytes, segments_copied_again) = (Some(holding.bytes), Some(holding.again));
                    let short = "device memory is smaller than the data: some is copied again for each query";
                    let note = match (&gpu.report.note, holding.again > 0) {
                        (Some(note), true) => Some(format!("{note}; {short}")),
                        (None, true) => Some(short.to_owned()),
                        (note, false) => note.clone(),
                    };
                    DeviceReport { held_bytes, segments_copied_again, note, ..gpu.report.clone() }
                }
                Slot::Lost { why, .. } | Slot::Opening { why } => {
                    DeviceReport { note: Some(format!("{why}; the CPU answers")), ..gpu.report.clone() }
                }
            },
        }
    }

    /// The k best rows by f32 score, ordered by (score, row number): the same for any number of threads or segments. Scores
    /// saturate near 1e36.
    ///
    /// Where a GPU fails, the CPU answers, and the answer says so in its device and note. A lost GPU is opened again in the
    /// background.
    ///
    /// # Errors
    /// Those of [`SpecQuery::check`]; the hardware causes none.
    pub fn spec(&self, query: &SpecQuery) -> Result<Answer, GpuError> {
        let rows = query.check()?;
        let (hits, note) = self.inner.hits(query, rows);
        Ok(Answer { hits, device: self.answered_by(&note), note })
    }

    /// The k best rows by the f64 score of [`crate::reference`] over the query's own columns; see [`Device::exact_by`].
    ///
    /// # Errors
    /// Those of [`SpecQuery::check`]; the hardware causes none.
    pub fn exact(&self, query: &SpecQuery) -> Result<ExactAnswer, GpuError> {
        query.check()?;
        self.exact_by(query, F32_RELATIVE_ERROR, |row| reference::score(query.targets, row as usize))
    }

    /// The k best rows by an f64 score of the caller's: [`Device::spec`] for somewhat more rows, these scored by `score`,
    /// and repeated for more rows until no other row can belong to them. The same on every device.
    ///
    /// `score` gives `None` where a row does not count. The f32 score of the query is within the relative `error` of it
    /// (at least [`F32_RELATIVE_ERROR`]; more where the columns are themselves rounded), and 0 where it is 0.
    ///
    /// # Errors
    /// Those of [`SpecQuery::check`]; the hardware causes none.
    pub fn exact_by(
        &self,
        query: &SpecQuery,
        error: f64,
        score: impl Fn(u32) -> Option<f64> + Sync,
    ) -> Result<ExactAnswer, GpuError> {
        let rows = query.check()?;
        let mut note = None;
        let certain = |kth, last| reference::certain(kth, last, error);
        let hits = exact(query.k, rows, query.mask, score, certain, |wanted| {
            let (hits, why) = self.inner.hits(&SpecQuery { k: wanted, ..*query }, rows);
            note = note.take().or(why);
            Ok::<_, GpuError>(hits)
        })?;
        Ok(ExactAnswer { hits, device: self.answered_by(&note), note })
    }

    /// The k vectors nearest to each query, by the f64 distance of [`reference::distance`], ordered by (distance, row number):
    /// the same on every device and for any number of threads.
    ///
    /// Where a GPU does not answer, the CPU does, and the answer says so in its device and note.
    ///
    /// # Errors
    /// Those of [`NearestQuery::check`]; the hardware causes none.
    pub fn nearest(&self, query: &NearestQuery) -> Result<NearestAnswer, GpuError> {
        query.job().map(|job| self.dense(&job))
    }

    /// All vectors within a distance of each query, ordered and computed as by [`Device::nearest`].
    ///
    /// # Errors
    /// Those of [`WithinQuery::check`]; the hardware causes none.
    pub fn within(&self, query: &WithinQuery) -> Result<NearestAnswer, GpuError> {
        query.job().map(|job| self.dense(&job))
    }

    /// The k vectors nearest to each vector of another set, or of the same, where no row is its own neighbour. `take` is
    /// given the answers in batches, each with the number of its first vector; it may end the work by an error.
    ///
    /// # Errors
    /// Those of [`NearestQuery::check`], [`GpuError::Dims`] where the two sets differ in their number of components, and what
    /// `take` gives.
    pub fn all_nearest<E: From<GpuError>>(
        &self,
        query: &AllNearest,
        mut take: impl FnMut(usize, NearestAnswer) -> Result<(), E>,
    ) -> Result<(), E> {
        let (dims, values) = (query.vectors.dims(), query.of.dims());
        if dims != values {
            return Err(GpuError::Dims { what: "one of the other vectors", values, dims }.into());
        }
        for first in (0..query.len()).step_by(crate::MAX_QUERIES) {
            let end = query.len().min(first + crate::MAX_QUERIES);
            let own: Vec<u32> = (first as u32..end as u32).collect();
            take(first, self.nearest(&query.batch(first, &own))?)?;
        }
        Ok(())
    }

    /// Makes ready what searches by this metric need of the vectors, so that the first one does not wait for it.
    ///
    /// # Errors
    /// [`GpuError::Device`] where they do not fit or the device is lost; queries are answered all the same.
    pub fn load_vectors(&self, vectors: &Arc<Vectors>, metric: Metric) -> Result<(), GpuError> {
        vectors.prepare(metric);
        self.on_gpu(|gpu| gpu.load_vectors(vectors, metric))
    }

    /// How the means of a column are distributed among edges: the same on every device.
    ///
    /// # Errors
    /// Those of [`HistogramQuery::check`]; the hardware causes none.
    pub fn histogram(&self, query: &HistogramQuery) -> Result<Histogram, GpuError> {
        query.check()?;
        let (counts, note) = self.inner.answer(|gpu| gpu.histogram(query), || histogram::on_cpu(query));
        Ok(histogram::answer(counts, self.answered_by(&note), note))
    }

    fn dense(&self, job: &Job) -> NearestAnswer {
        let (neighbours, note) = self.inner.answer(|gpu| gpu.dense(job), || dense_cpu::answer(job));
        NearestAnswer { neighbours, device: self.answered_by(&note), note }
    }

    /// Copies columns to the device, so that the first query does not wait for it. Does nothing on the CPU.
    ///
    /// # Errors
    /// [`GpuError::Device`] where they do not fit or the device is lost; queries are answered all the same.
    pub fn warm_up(&self, columns: &[Arc<Column>]) -> Result<(), GpuError> {
        self.on_gpu(|gpu| gpu.load(columns))
    }

    /// Does something on the GPU, where there is one.
    fn on_gpu(&self, work: impl FnOnce(&WgpuDevice) -> Result<(), Failure>) -> Result<(), GpuError> {
        let Some(gpu) = &self.inner.gpu else { return Ok(()) };
        let failed = |why: String| GpuError::Device { device: gpu.name.clone(), why };
        let ready = self.inner.ready(gpu).map_err(failed)?;
        work(&ready).map_err(|failure| {
            let why = failure.to_string();
            gpu.fail(&ready, failure);
            failed(why)
        })
    }

    /// Frees all memory on the device; columns are copied again when a query needs them. Does nothing on the CPU. Columns that
    /// were dropped are freed by the next query anyway.
    pub fn release(&self) {
        let Some(gpu) = &self.inner.gpu else { return };
        // the slot is not held meanwhile: a query may take long
        let ready = match &*gpu.slot() {
            Slot::Ready(ready) => ready.clone(),
            Slot::Lost { .. } | Slot::Opening { .. } => return,
        };
        ready.release();
    }

    fn answered_by(&self, note: &Option<String>) -> String {
        if note.is_some() { self.inner.cpu_name.clone() } else { self.name().to_owned() }
    }
}

impl Inner {
    /// The answer, and why the CPU gave it where the GPU should have.
    fn answer<T>(
        self: &Arc<Inner>,
        on_gpu: impl FnOnce(&WgpuDevice) -> Result<T, Failure>,
        on_cpu: impl FnOnce() -> T,
    ) -> (T, Option<String>) {
        let Some(gpu) = &self.gpu else { return (on_cpu(), None) };
        let why = match self.ready(gpu) {
            Err(why) => why,
            Ok(ready) => match on_gpu(&ready) {
                Ok(answer) => return (answer, None),
                Err(failure) => {
                    let why = format!("{} {failure}", gpu.name);
                    gpu.fail(&ready, failure);
                    why
                }
            },
        };
        tracing::warn!(%why, "the CPU answers");
        (on_cpu(), Some(format!("{why}; the CPU answered")))
    }

    fn hits(self: &Arc<Inner>, query: &SpecQuery, rows: usize) -> (Vec<Hit>, Option<String>) {
        self.answer(|gpu| gpu.spec(query, rows), || cpu::spec(query, rows))
    }

    /// The opened device, or why there is none at the moment; then somebody is opening it, or it rests.
    fn ready(self: &Arc<Inner>, gpu: &Gpu) -> Result<Arc<WgpuDevice>, String> {
        let mut slot = gpu.slot();
        let why = match &*slot {
            Slot::Ready(ready) => return Ok(ready.clone()),
            Slot::Opening { why } => return Err(why.clone()),
            Slot::Lost { why, retry } if Instant::now() < *retry => return Err(why.clone()),
            Slot::Lost { why, .. } => why.clone(),
        };
        let inner = Arc::downgrade(self);
        let started = std::thread::Builder::new().name("device".to_owned()).spawn(move || reopen(&inner));
        *slot = match started {
            Ok(_) => Slot::Opening { why: why.clone() },
            Err(_) => Slot::Lost { why: why.clone(), retry: Instant::now() + REST },
        };
        Err(why)
    }
}

impl Gpu {
    fn slot(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lost device leaves its slot, unless another one has taken it meanwhile.
    fn fail(&self, device: &Arc<WgpuDevice>, failure: Failure) {
        let mut slot = self.slot();
        if let (Failure::Lost(_), Slot::Ready(ready)) = (&failure, &*slot)
            && Arc::ptr_eq(ready, device)
        {
            *slot = Slot::Lost { why: format!("{} {failure}", self.name), retry: Instant::now() };
        }
    }
}

/// Opens a lost device again, on a thread of its own.
fn reopen(inner: &Weak<Inner>) {
    let Some((name, options)) =
        inner.upgrade().and_then(|inner| inner.gpu.as_ref().map(|gpu| (gpu.name.clone(), gpu.options)))
    else {
        return;
    };
    let opened = adapter::named(&name).and_then(|adapter| open_gpu(&adapter, options));
    let Some(inner) = inner.upgrade() else { return };
    let Some(gpu) = &inner.gpu else { return };
    *gpu.slot() = match opened {
        Ok(opened) => Slot::Ready(Arc::new(opened)),
        Err(error) => Slot::Lost { why: format!("{name} lost ({error})"), retry: Instant::now() + REST },
    };
}

fn open_gpu(adapter: &wgpu::Adapter, options: OpenOptions) -> Result<WgpuDevice, GpuError> {
    let device = WgpuDevice::open(adapter, options.segment_rows, options.memory_bytes)?;
    let spec = |query: &SpecQuery| {
        let rows = query.targets.first().map_or(0, |target| target.column.len());
        device.spec(query, rows)
    };
    selftest::run(spec)
        .and_then(|()| selftest::run_dense(|job, bytes| device.dense_with(job, bytes)))
        .and_then(|()| selftest::run_histogram(|query| device.histogram(query)))
        .map_err(|why| GpuError::SelfTest { device: device.report().name.clone(), why })?;
    device.release();
    Ok(device)
}

fn cpu_name() -> String {
    let threads = rayon::current_num_threads();
    let plural = if threads == 1 { "" } else { "s" };
    format!("CPU ({}, {threads} thread{plural}, {})", cpu_model(), simd::level())
}

/// The processor's own name, where it can be asked.
#[cfg(target_arch = "x86_64")]
fn cpu_model() -> String {
    use std::arch::x86_64::__cpuid;

    const FIRST: u32 = 0x8000_0002;
    const LAST: u32 = 0x8000_0004;
    if __cpuid(0x8000_0000).eax < LAST {
        return std::env::consts::ARCH.to_owned();
    }
    let bytes: Vec<u8> = (FIRST..=LAST)
        .map(__cpuid)
        .flat_map(|part| [part.eax, part.ebx, part.ecx, part.edx])
        .flat_map(u32::to_le_bytes)
        .take_while(|&byte| byte != 0)
        .collect();
    let name = String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() { std::env::consts::ARCH.to_owned() } else { name }
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_model() -> String {
    std::env::consts::ARCH.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Missing, Target};

    fn adapter() -> Option<Device> {
        let Some(first) = crate::adapters().into_iter().next() else {
            assert!(std::env::var("MATGENOME_REQUIRE_GPU").as_deref() != Ok("1"), "there is no adapter");
            #[allow(clippy::print_stderr)]
            {
                eprintln!("SKIPPED: no Vulkan, Metal or DX12 adapter");
            }
            return None;
        };
        Some(Device::open(&Choice::Named(first.name)).unwrap())
    }

    fn target(rows: usize) -> Target {
        let column = Column::new((0..rows).map(|row| row as f32).collect(), vec![0.5; rows]).unwrap();
        Target { column, lo: 7.0, hi: 9.0, inv_tolerance: 1.0, weight: 1.0, missing: Missing::Ignore }
    }

    fn opened(device: &Device) -> Arc<WgpuDevice> {
        match &*device.inner.gpu.as_ref().unwrap().slot() {
            Slot::Ready(ready) => ready.clone(),
            _ => panic!("not ready"),
        }
    }

    #[test]
    fn a_lost_device_is_answered_for_by_the_cpu_and_comes_back() {
        let Some(device) = adapter() else { return };
        let targets = [target(1000)];
        let query = SpecQuery { targets: &targets, mask: None, k: 5 };
        let before = device.spec(&query).unwrap();
        assert_eq!((before.device.as_str(), &before.note), (device.name(), &None));
        opened(&device).lose();
        let lost = device.spec(&query).unwrap();
        assert_eq!(lost.hits.iter().map(|hit| hit.row).collect::<Vec<_>>(), [8, 7, 9, 6, 10]);
        assert!(lost.device.starts_with("CPU ("), "{lost:?}");
        assert!(lost.note.as_ref().is_some_and(|note| note.contains("lost")), "{lost:?}");
        let described = device.describe();
        assert!(described.note.is_some(), "{described:?}");
        // each call may find it still being opened; there is no other way to wait for it than to ask
        let patience = Instant::now() + Duration::from_secs(60);
        while device.spec(&query).unwrap().note.is_some() {
            assert!(Instant::now() < patience, "it never came back");
            std::thread::yield_now();
        }
        assert_eq!(device.spec(&query).unwrap(), before);
        assert_eq!(device.describe().note, None);
    }

    /// Four threads ask while the device is lost again and again: every answer is right, whoever gave it.
    #[test]
    fn a_device_that_is_lost_under_load_fails_no_query() {
        let Some(device) = adapter() else { return };
        let targets = [target(3000)];
        let vectors = Vectors::new((0..3000).map(|at| (at * 7919 % 3001) as f32).collect(), 3).unwrap();
        let spec = SpecQuery { targets: &targets, mask: None, k: 5 };
        let queries = [5.0, 900.0, 2000.0, 17.0, 3.0, 2.5];
        let nearest = NearestQuery {
            vectors: &vectors,
            queries: &queries,
            metric: Metric::L2,
            masks: crate::Masks::All,
            leave_out: None,
            k: 20,
        };
        let edges = [10.0, 500.0];
        let histogram = HistogramQuery { column: &targets[0].column, mask: None, edges: &edges };
        let cpu = Device::cpu();
        let right = (
            cpu.exact(&spec).unwrap().hits,
            cpu.nearest(&nearest).unwrap().neighbours,
            cpu.histogram(&histogram).unwrap().bins,
        );
        let done = std::sync::atomic::AtomicBool::new(false);
        let (by_gpu, by_cpu) = (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let hits = device.exact(&spec).unwrap();
                        let neighbours = device.nearest(&nearest).unwrap();
                        let counts = device.histogram(&histogram).unwrap();
                        let counter = if neighbours.note.is_none() { &by_gpu } else { &by_cpu };
                        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        assert_eq!((hits.hits, neighbours.neighbours, counts.bins), right.clone());
                    }
                });
            }
            let patience = Instant::now() + Duration::from_secs(120);
            let wait_for = |what: &dyn Fn() -> bool| {
                while !what() && Instant::now() < patience {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            for _ in 0..3 {
                let before = by_gpu.load(std::sync::atomic::Ordering::Relaxed);
                wait_for(&|| by_gpu.load(std::sync::atomic::Ordering::Relaxed) > before + 3);
                if let Slot::Ready(ready) = &*device.inner.gpu.as_ref().unwrap().slot() {
                    ready.lose();
                }
                let before = by_cpu.load(std::sync::atomic::Ordering::Relaxed);
                wait_for(&|| by_cpu.load(std::sync::atomic::Ordering::Relaxed) > before);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(Instant::now() < patience, "it was not lost, or never came back");
        });
        assert!(by_gpu.into_inner() >= 9 && by_cpu.into_inner() >= 3);
    }

    #[test]
    fn columns_are_held_while_they_live() {
        let Some(device) = adapter() else { return };
        let gpu = opened(&device);
        assert_eq!(gpu.segments_held(), 0, "nothing is left of the self-test");
        let (one, two) = (target(100), target(100));
        device.warm_up(&[one.column.clone(), two.column.clone(), one.column.clone()]).unwrap();
        assert_eq!(gpu.segments_held(), 2);
        drop(two);
        device.spec(&SpecQuery { targets: std::slice::from_ref(&one), mask: None, k: 1 }).unwrap();
        assert_eq!(gpu.segments_held(), 1);
        device.release();
        assert_eq!(gpu.segments_held(), 0);
        let answer = device.spec(&SpecQuery { targets: std::slice::from_ref(&one), mask: None, k: 1 }).unwrap();
        assert_eq!((answer.hits[0].row, answer.note), (8, None));
    }
}
