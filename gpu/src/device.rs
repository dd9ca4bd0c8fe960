//! The only face of the crate to the outside: a device that answers, whatever happens to its hardware.

use std::sync::Arc;

use crate::adapter::{self, Choice};
use crate::cards::Cards;
use crate::error::joined;
use crate::exact::exact;
use crate::nearest::{Goal, Job};
use crate::reference::{self, F32_RELATIVE_ERROR};
use crate::wgpu_device::{Failure, WgpuDevice};
use crate::{
    AllNearest, Answer, Column, GpuError, Histogram, HistogramQuery, Hit, Metric, NearestAnswer, NearestQuery,
    Neighbour, SpecQuery, Vectors, WithinQuery, cpu, dense_cpu, histogram, processor, simd, topk,
};

/// How to open a device, beyond which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// The largest number of rows of one segment in device memory, rounded down to whole mask words; the device's own limit
    /// where there is none. Answers do not depend on it.
    pub segment_rows: Option<u32>,
    /// The most bytes of columns and vectors that are held in device memory; what was not used for the longest time leaves for
    /// what is needed, and columns that do not fit are held in half precision, which finds candidates for single precision to
    /// decide among. Without it, everything is held until the driver refuses, and somewhat less for a while afterwards. Answers
    /// do not depend on it.
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
    /// Bytes of columns and vectors that were copied to device memory; what was made there of older columns does not count. Begins
    /// anew when memory is freed. `None` for the CPU.
    pub uploaded_bytes: Option<u64>,
    /// Whether it, or one of several, is lost, and the CPU answers.
    pub lost: bool,
    /// Queries that the CPU has answered in its place.
    pub answered_by_cpu: u64,
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
    /// Why it is the CPU, where a GPU was asked for.
    note: Option<String>,
    gpus: Option<Arc<Cards>>,
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
            Choice::Named(name) => Ok(Device::of(Cards::open(&adapter::named(name)?, options, &[])?)),
            Choice::Auto => Ok(Device::auto(options)),
        }
    }

    /// The CPU.
    pub fn cpu() -> Device {
        Device::cpu_because(None)
    }

    fn auto(options: OpenOptions) -> Device {
        let mut refused = Vec::new();
        for adapters in adapter::real_gpus() {
            match Cards::open(&adapters, options, &refused) {
                Ok(cards) => return Device::of(cards),
                Err(error) => refused.push(error),
            }
        }
        let why = if refused.is_empty() { "there is no GPU".to_owned() } else { joined(&refused) };
        Device::cpu_because(Some(why))
    }

    fn cpu_because(note: Option<String>) -> Device {
        Device { inner: Arc::new(Inner { cpu_name: processor::name(), note, gpus: None }) }
    }

    fn of(cards: Cards) -> Device {
        Device { inner: Arc::new(Inner { cpu_name: processor::name(), note: None, gpus: Some(Arc::new(cards)) }) }
    }

    /// The device's name: the adapter's, or `CPU (model, threads, instruction set)`.
    pub fn name(&self) -> &str {
        self.inner.gpus.as_ref().map_or(&self.inner.cpu_name, |gpus| gpus.name())
    }

    /// Whether the CPU was opened, not a GPU.
    pub fn is_cpu(&self) -> bool {
        self.inner.gpus.is_none()
    }

    /// What the device is, why it was chosen, and whether it is lost at the moment. Waits for no query.
    pub fn describe(&self) -> DeviceReport {
        match &self.inner.gpus {
            None => DeviceReport {
                name: self.inner.cpu_name.clone(),
                kind: "CPU",
                backend: "cpu".to_owned(),
                driver: simd::level().to_owned(),
                max_binding_bytes: None,
                segment_rows: None,
                held_bytes: None,
                segments_copied_again: None,
                uploaded_bytes: None,
                lost: false,
                answered_by_cpu: 0,
                note: self.inner.note.clone(),
            },
            Some(gpus) => gpus.describe(),
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
        let (counts, note) = self.inner.answer(|gpu| gpu.histogram(query), histogram::sum, || histogram::on_cpu(query));
        Ok(histogram::answer(counts, self.answered_by(&note), note))
    }

    fn dense(&self, job: &Job) -> NearestAnswer {
        let merge = |parts| merged(job, parts);
        let (neighbours, note) = self.inner.answer(|gpu| gpu.dense(job), merge, || dense_cpu::answer(job));
        NearestAnswer { neighbours, device: self.answered_by(&note), note }
    }

    /// Copies columns to the device, so that the first query does not wait for it. Does nothing on the CPU.
    ///
    /// # Errors
    /// [`GpuError::Device`] where they do not fit or the device is lost; queries are answered all the same.
    pub fn warm_up(&self, columns: &[Arc<Column>]) -> Result<(), GpuError> {
        self.on_gpu(|gpu| gpu.load(columns))
    }

    /// Does something on each GPU, where there are any.
    fn on_gpu(&self, work: impl Fn(&WgpuDevice) -> Result<(), Failure> + Sync) -> Result<(), GpuError> {
        let Some(gpus) = &self.inner.gpus else { return Ok(()) };
        gpus.each(work).map(drop).map_err(|why| GpuError::Device { device: gpus.name().to_owned(), why })
    }

    /// Frees all memory on the device; columns are copied again when a query needs them. Does nothing on the CPU. Columns that
    /// were dropped are freed by the next query anyway.
    pub fn release(&self) {
        if let Some(gpus) = &self.inner.gpus {
            gpus.release();
        }
    }

    fn answered_by(&self, note: &Option<String>) -> String {
        if note.is_some() { self.inner.cpu_name.clone() } else { self.name().to_owned() }
    }
}

impl Inner {
    /// The answer, and why the CPU gave it where the GPU should have. Of several GPUs each answers for its share of the rows.
    fn answer<T: Send>(
        &self,
        on_gpu: impl Fn(&WgpuDevice) -> Result<T, Failure> + Sync,
        merge: impl FnOnce(Vec<T>) -> T,
        on_cpu: impl FnOnce() -> T,
    ) -> (T, Option<String>) {
        let Some(gpus) = &self.gpus else { return (on_cpu(), None) };
        match gpus.answer(on_gpu) {
            Ok(mut parts) if parts.len() == 1 => (parts.remove(0), None),
            Ok(parts) => (merge(parts), None),
            Err(why) => {
                tracing::warn!(%why, "the CPU answers");
                (on_cpu(), Some(format!("{why}; the CPU answered")))
            }
        }
    }

    fn hits(&self, query: &SpecQuery, rows: usize) -> (Vec<Hit>, Option<String>) {
        let order = |hit: &Hit| topk::key(hit.score.to_bits(), hit.row);
        let merge = |parts| topk::merged(parts, |a, b| order(a).cmp(&order(b)), query.k);
        self.answer(|gpu| gpu.spec(query, rows), merge, || cpu::spec(query, rows))
    }
}

/// The answer to a batch from those of shares of the rows.
fn merged(job: &Job, parts: Vec<Vec<Vec<Neighbour>>>) -> Vec<Vec<Neighbour>> {
    let k = match job.goal {
        Goal::Nearest(k) => k,
        Goal::Within(_) => usize::MAX,
    };
    let mut of_query: Vec<Vec<Vec<Neighbour>>> = vec![Vec::new(); job.count()];
    parts.into_iter().for_each(|part| of_query.iter_mut().zip(part).for_each(|(of_query, part)| of_query.push(part)));
    of_query.into_iter().map(|parts| topk::merged(parts, Neighbour::order, k)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::cards;
    use crate::segment::Share;
    use crate::{Mask, Missing, Target};

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
        card(device, 0).expect("not ready")
    }

    fn card(device: &Device, at: usize) -> Option<Arc<WgpuDevice>> {
        device.inner.gpus.as_ref().unwrap().card(at)
    }

    /// The first adapter, as if it were several cards.
    fn several(count: u32) -> Option<Device> {
        let first = adapter()?;
        let adapters = adapter::named(first.name()).unwrap();
        let options = OpenOptions { segment_rows: Some(20_000), ..OpenOptions::default() };
        let opened = (0..count).map(|_| cards::open(&adapters[0], options).unwrap()).collect();
        Cards::of(opened, options, None).map(Device::of)
    }

    fn noise(at: usize) -> f32 {
        let mut x = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x ^ (x >> 31)) as u32 as f32 / u32::MAX as f32
    }

    /// Every kernel, from fewer rows than there are cards to several segments of each, with ties, masks and more wanted than there are.
    #[test]
    fn several_cards_answer_as_one() {
        let (Some(device), cpu) = (several(3), Device::cpu()) else { return };
        assert!(device.name().starts_with("3 × "), "{}", device.name());
        for (case, rows) in [1, 64, 130, 1_000, 20_011, 90_001].into_iter().enumerate() {
            let number = |at: usize| if case % 2 == 0 { (noise(at) * 8.0).floor() } else { noise(at) };
            let target = |of: usize| Target {
                column: Column::new(
                    (0..rows).map(|row| number(row + of)).collect(),
                    (0..rows).map(|row| if noise(row * 3 + of) < 0.2 { -1.0 } else { noise(row + 7) * 0.3 }).collect(),
                )
                .unwrap(),
                lo: 0.7,
                hi: 0.9,
                inv_tolerance: 2.0,
                weight: 1.0 + of as f32,
                missing: if of == 1 { Missing::Ignore } else { Missing::Fill { mean: 0.5, sd: 1.0 } },
            };
            let targets: Vec<Target> = (0..6).map(target).collect();
            let vectors = Vectors::new((0..rows * 5).map(|at| number(at + 31)).collect(), 5).unwrap();
            let queries: Vec<f32> = (0..9 * 5).map(|at| number(at * 101 + 77)).collect();
            // all that one of the cards has is left out
            let last = Mask::from_fn(rows, |row| row * 3 >= 2 * rows && noise(row) < 0.6);
            let some = Mask::from_fn(rows, |row| noise(row + 1) < 0.5);
            for mask in [None, Some(&last), Some(&some)] {
                for k in [1, 40, 5_000] {
                    for targets in [&targets[..2], &targets[..]] {
                        let query = SpecQuery { targets, mask, k };
                        let found = device.exact(&query).unwrap();
                        assert_eq!(found.hits, cpu.exact(&query).unwrap().hits, "{rows} rows, k {k}");
                        assert_eq!((found.device.as_str(), found.note), (device.name(), None));
                    }
                    for metric in Metric::ALL {
                        let masks = mask.map_or(crate::Masks::All, crate::Masks::Shared);
                        let (vectors, queries) = (&vectors, &queries[..if k == 40 { 45 } else { 5 }]);
                        let query = NearestQuery { vectors, queries, metric, masks, leave_out: None, k };
                        let found = device.nearest(&query).unwrap().neighbours;
                        assert_eq!(found, cpu.nearest(&query).unwrap().neighbours, "{rows} rows, {metric:?}, k {k}");
                    }
                }
                let radius = 0.6;
                let masks = mask.map_or(crate::Masks::All, crate::Masks::Shared);
                let within = WithinQuery {
                    vectors: &vectors,
                    queries: &queries,
                    metric: Metric::L2,
                    masks,
                    leave_out: None,
                    radius,
                };
                assert_eq!(device.within(&within).unwrap().neighbours, cpu.within(&within).unwrap().neighbours);
                let histogram = HistogramQuery { column: &targets[0].column, mask, edges: &[0.1, 0.5, 3.0] };
                let found = device.histogram(&histogram).unwrap();
                assert_eq!(Histogram { device: cpu.name().to_owned(), ..found }, cpu.histogram(&histogram).unwrap());
            }
        }
        assert_eq!(device.describe().note, None);
    }

    #[test]
    fn one_lost_card_of_several_is_opened_again_for_its_share() {
        let Some(device) = several(2) else { return };
        let targets = [target(1000)];
        let query = SpecQuery { targets: &targets, mask: None, k: 5 };
        let before = device.spec(&query).unwrap();
        card(&device, 1).unwrap().lose();
        let lost = device.spec(&query).unwrap();
        assert!(lost.note.is_some_and(|note| note.contains("lost")) && lost.hits == before.hits);
        let patience = Instant::now() + Duration::from_secs(60);
        while device.spec(&query).unwrap().note.is_some() {
            assert!(Instant::now() < patience, "it never came back");
            std::thread::yield_now();
        }
        assert_eq!(device.spec(&query).unwrap(), before);
        assert_eq!(card(&device, 1).unwrap().share(), Share { at: 1, of: 2 });
        device.warm_up(&[targets[0].column.clone()]).unwrap();
        assert_eq!((card(&device, 0).unwrap().segments_held(), card(&device, 1).unwrap().segments_held()), (1, 1));
        assert_eq!(device.describe().held_bytes, Some(8_000), "each holds its share alone");
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
                if let Some(ready) = card(&device, 0) {
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
