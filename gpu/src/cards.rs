//! GPUs of one make, each with its share of all rows: opened, asked together, and opened again when one is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::joined;
use crate::segment::Share;
use crate::wgpu_device::{Failure, Holding, WgpuDevice};
use crate::{DeviceReport, GpuError, HistogramQuery, OpenOptions, SpecQuery, adapter, selftest};

/// How long a lost card is left alone after a failed attempt to open it again.
const REST: Duration = Duration::from_secs(10);

/// GPUs of one make.
pub(crate) struct Cards {
    /// The name of each.
    make: String,
    /// As they were when they were opened first; its name is that of all of them together.
    report: DeviceReport,
    options: OpenOptions,
    slots: Vec<Mutex<Slot>>,
    /// Queries that the CPU has answered in their place.
    by_cpu: AtomicU64,
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

impl Cards {
    /// Opens the adapters of one make that pass their self-test. `before` says why others were not taken.
    ///
    /// # Errors
    /// None does: why the last does not.
    pub(crate) fn open(
        adapters: &[wgpu::Adapter],
        options: OpenOptions,
        before: &[GpuError],
    ) -> Result<Cards, GpuError> {
        let (mut opened, mut refused) = (Vec::new(), before.to_vec());
        for adapter in adapters {
            match open(adapter, options) {
                Ok(card) => opened.push(card),
                Err(error) => {
                    tracing::warn!(%error, "device refused");
                    refused.push(error);
                }
            }
        }
        let note = (!refused.is_empty()).then(|| joined(&refused));
        let none = GpuError::NoAdapter { wanted: String::new(), found: Vec::new() };
        Cards::of(opened, options, note).ok_or_else(|| refused.pop().unwrap_or(none))
    }

    /// Shares all rows among opened cards; `None` where there are none.
    pub(crate) fn of(opened: Vec<WgpuDevice>, options: OpenOptions, note: Option<String>) -> Option<Cards> {
        let first = opened.first()?;
        let (adapter, of) = (first.report().clone(), opened.len() as u32);
        let report = DeviceReport {
            name: if of == 1 { adapter.name.clone() } else { format!("{of} × {}", adapter.name) },
            kind: adapter.kind,
            backend: adapter.backend,
            driver: adapter.driver,
            max_binding_bytes: Some(adapter.max_binding_bytes),
            segment_rows: Some(first.segment_rows()),
            held_bytes: Some(0),
            segments_copied_again: Some(0),
            uploaded_bytes: Some(0),
            lost: false,
            answered_by_cpu: 0,
            note,
        };
        let slot = |(at, mut card): (u32, WgpuDevice)| {
            card.take(Share { at, of });
            Mutex::new(Slot::Ready(Arc::new(card)))
        };
        let slots = (0..of).zip(opened).map(slot).collect();
        Some(Cards { make: adapter.name, report, options, slots, by_cpu: AtomicU64::new(0) })
    }

    /// The name of all of them together.
    pub(crate) fn name(&self) -> &str {
        &self.report.name
    }

    /// What they are now. Waits for no query.
    pub(crate) fn describe(&self) -> DeviceReport {
        let mut report = self.report.clone();
        let (mut all, mut lost) = (Holding::default(), None);
        for at in 0..self.slots.len() {
            match &*self.slot(at) {
                Slot::Ready(ready) => {
                    let Holding { bytes, again, uploaded, halves } = ready.holding();
                    all.halves |= halves;
                    all.bytes += bytes;
                    all.again += again;
                    all.uploaded += uploaded;
                }
                Slot::Lost { why, .. } | Slot::Opening { why } => {
                    lost = Some(format!("{} {why}; the CPU answers", self.make));
                }
            }
        }
        (report.held_bytes, report.uploaded_bytes) = (Some(all.bytes), Some(all.uploaded));
        report.segments_copied_again = Some(all.again);
        (report.lost, report.answered_by_cpu) = (lost.is_some(), self.by_cpu.load(Ordering::Relaxed));
        if lost.is_some() {
            report.note = lost;
        } else if let Some(short) = short(all) {
            report.note = Some(report.note.map_or(short.clone(), |note| format!("{note}; {short}")));
        }
        report
    }

    /// What each answers from its share of the rows; or why they do not, and the CPU must.
    pub(crate) fn answer<T: Send>(
        self: &Arc<Cards>,
        work: impl Fn(&WgpuDevice) -> Result<T, Failure> + Sync,
    ) -> Result<Vec<T>, String> {
        self.each(work).map_err(|why| {
            self.by_cpu.fetch_add(1, Ordering::Relaxed);
            format!("{} {why}", self.make)
        })
    }

    /// Does something on all cards at once; or why one of them could not.
    pub(crate) fn each<T: Send>(
        self: &Arc<Cards>,
        work: impl Fn(&WgpuDevice) -> Result<T, Failure> + Sync,
    ) -> Result<Vec<T>, String> {
        let on_one = |(at, card): (usize, Arc<WgpuDevice>)| {
            work(&card).map_err(|failure| {
                let why = failure.to_string();
                self.fail(at, &card, &failure);
                why
            })
        };
        // all are asked, so that all that are lost are opened again
        let ready: Vec<Result<_, String>> = (0..self.slots.len()).map(|at| Ok((at, self.ready(at)?))).collect();
        let mut ready = ready.into_iter().collect::<Result<Vec<_>, String>>()?;
        let last = ready.pop();
        std::thread::scope(|scope| {
            let others: Vec<_> = ready.into_iter().map(|one| scope.spawn(|| on_one(one))).collect();
            let last = last.map(on_one);
            let joined = |other: std::thread::ScopedJoinHandle<'_, Result<T, String>>| {
                other.join().unwrap_or_else(|_| Err("failed (its thread gave up)".to_owned()))
            };
            others.into_iter().map(joined).chain(last).collect()
        })
    }

    /// Frees all memory of those that are not lost.
    pub(crate) fn release(&self) {
        for at in 0..self.slots.len() {
            // the slot is not held meanwhile: a query may take long
            let ready = match &*self.slot(at) {
                Slot::Ready(ready) => ready.clone(),
                Slot::Lost { .. } | Slot::Opening { .. } => continue,
            };
            ready.release();
        }
    }

    fn slot(&self, at: usize) -> MutexGuard<'_, Slot> {
        self.slots[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A card, or why it is not there at the moment; then somebody is opening it, or it rests.
    fn ready(self: &Arc<Cards>, at: usize) -> Result<Arc<WgpuDevice>, String> {
        let mut slot = self.slot(at);
        let why = match &*slot {
            Slot::Ready(ready) => return Ok(ready.clone()),
            Slot::Opening { why } => return Err(why.clone()),
            Slot::Lost { why, retry } if Instant::now() < *retry => return Err(why.clone()),
            Slot::Lost { why, .. } => why.clone(),
        };
        let cards = Arc::downgrade(self);
        let started = std::thread::Builder::new().name("device".to_owned()).spawn(move || reopen(&cards, at));
        *slot = match started {
            Ok(_) => Slot::Opening { why: why.clone() },
            Err(_) => Slot::Lost { why: why.clone(), retry: Instant::now() + REST },
        };
        Err(why)
    }

    /// A lost card leaves its slot, unless another one has taken it meanwhile.
    fn fail(&self, at: usize, card: &Arc<WgpuDevice>, failure: &Failure) {
        let mut slot = self.slot(at);
        if let (Failure::Lost(_), Slot::Ready(ready)) = (failure, &*slot)
            && Arc::ptr_eq(ready, card)
        {
            *slot = Slot::Lost { why: failure.to_string(), retry: Instant::now() };
        }
    }

    /// A card that is not lost.
    #[cfg(test)]
    pub(crate) fn card(&self, at: usize) -> Option<Arc<WgpuDevice>> {
        match &*self.slot(at) {
            Slot::Ready(ready) => Some(ready.clone()),
            Slot::Lost { .. } | Slot::Opening { .. } => None,
        }
    }
}

/// What comes of it where device memory is smaller than the data.
fn short(all: Holding) -> Option<String> {
    let what = match (all.halves, all.again > 0) {
        (false, false) => return None,
        (true, false) => "columns are held in half precision",
        (false, true) => "some is copied again for each query",
        (true, true) => "columns are held in half precision, and some is copied again for each query",
    };
    Some(format!("device memory is smaller than the data: {what}"))
}

/// Opens a lost card again, on a thread of its own. Where it is gone, another one of its make takes its share as well.
fn reopen(cards: &Weak<Cards>, at: usize) {
    let asked = |cards: Arc<Cards>| {
        let share = Share { at: at as u32, of: cards.slots.len() as u32 };
        (cards.make.clone(), cards.options, share)
    };
    let Some((make, options, share)) = cards.upgrade().map(asked) else { return };
    let opened = adapter::named(&make).and_then(|adapters| {
        let mut tried = Err(GpuError::NoAdapter { wanted: make, found: Vec::new() });
        for adapter in adapters.iter().cycle().skip(at).take(adapters.len()) {
            tried = open(adapter, options);
            if tried.is_ok() {
                break;
            }
        }
        tried
    });
    let Some(cards) = cards.upgrade() else { return };
    *cards.slot(at) = match opened {
        Ok(mut card) => {
            card.take(share);
            Slot::Ready(Arc::new(card))
        }
        Err(error) => Slot::Lost { why: format!("lost ({error})"), retry: Instant::now() + REST },
    };
}

/// Opens an adapter, and has it answer golden queries.
pub(crate) fn open(adapter: &wgpu::Adapter, options: OpenOptions) -> Result<WgpuDevice, GpuError> {
    let card = WgpuDevice::open(adapter, options.segment_rows, options.memory_bytes)?;
    let spec = |query: &SpecQuery| {
        let rows = query.targets.first().map_or(0, |target| target.column.len());
        card.spec(query, rows)
    };
    let candidates =
        |query: &SpecQuery| card.by_halves(query, query.targets.first().map_or(0, |target| target.column.len()));
    selftest::run(spec)
        .and_then(|()| selftest::run_half(candidates))
        .and_then(|()| selftest::run_dense(|job, bytes| card.dense_with(job, bytes)))
        .and_then(|()| selftest::run_histogram(|query: &HistogramQuery| card.histogram(query)))
        .map_err(|why| GpuError::SelfTest { device: card.report().name.clone(), why })?;
    card.release();
    Ok(card)
}
