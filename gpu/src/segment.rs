//! Data in device memory: cut into segments that fit one binding, kept while their owner lives and there is room.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::shader::BLOCK;
use crate::{Column, Metric, Vectors};

/// No segment is larger, whatever the device allows.
const LARGEST_SEGMENT_BYTES: u64 = 1 << 30;
/// Bytes of one row of a column in single precision: mean and sd.
pub(crate) const ROW_BYTES: u64 = 8;
/// Bytes of one piece of an upload.
const UPLOAD_BYTES: usize = 8 << 20;
/// So long it is taken for true that the driver has no more memory than it had.
const LEARNED_FOR: Duration = Duration::from_secs(600);
/// Segments that are known to have left.
const MOST_EVICTED: usize = 1 << 16;
/// Segments start at whole words of a mask.
const ROWS_PER_WORD: u32 = 64;

/// Which part of all rows a device holds: one of several equal ones, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Which of them, from 0.
    pub(crate) at: u32,
    /// How many there are.
    pub(crate) of: u32,
}

impl Share {
    /// All rows.
    pub(crate) const WHOLE: Share = Share { at: 0, of: 1 };

    /// Its rows of so many. Like segments, shares start at whole words of a mask.
    pub(crate) fn span(self, rows: usize) -> Range<usize> {
        let words = rows.div_ceil(ROWS_PER_WORD as usize) as u64;
        let end = |at: u32| (words * u64::from(at) / u64::from(self.of)) as usize * ROWS_PER_WORD as usize;
        end(self.at).min(rows)..end(self.at + 1).min(rows)
    }
}

/// How a device's share of the rows is cut into segments. Every buffer with an entry per row is cut the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    rows_per_segment: u32,
    share: Share,
}

impl Cut {
    /// What a device of these limits can bind of rows of so many bytes, or `wanted` rows where that is less (at least one word
    /// of a mask).
    pub(crate) fn new(limits: &wgpu::Limits, row_bytes: u64, wanted: Option<u32>, share: Share) -> Cut {
        let most = largest_binding(limits).min(LARGEST_SEGMENT_BYTES) / row_bytes;
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let rows = wanted.unwrap_or(most).min(most);
        Cut { rows_per_segment: (rows / ROWS_PER_WORD).max(1) * ROWS_PER_WORD, share }
    }

    pub(crate) fn rows_per_segment(&self) -> u32 {
        self.rows_per_segment
    }

    /// The rows, of so many, that lie in segments.
    pub(crate) fn span(&self, rows: usize) -> Range<usize> {
        self.share.span(rows)
    }

    /// The segment that holds a row of the span of so many, the row's place in it, and how many rows there are from there on.
    pub(crate) fn place(&self, rows: usize, row: usize) -> (usize, usize, usize) {
        let (step, span) = (self.rows_per_segment as usize, self.share.span(rows));
        let at = row - span.start;
        (at / step, at % step, (step - at % step).min(span.end - row))
    }

    /// The first row and the number of rows of each segment of the share of `rows` rows.
    pub(crate) fn segments(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (step, span) = (self.rows_per_segment as usize, self.share.span(rows));
        let end = span.end;
        span.step_by(step).map(move |first| (first, step.min(end - first)))
    }
}

/// The most bytes that a kernel sees at once.
pub(crate) fn largest_binding(limits: &wgpu::Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
}

/// How a device holds a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Mean and deviation in f32.
    Single,
    /// Both in f16, for candidates: see `half`.
    Half,
}

impl Form {
    /// Bytes of one row.
    pub(crate) fn row_bytes(self) -> u64 {
        match self {
            Form::Single => ROW_BYTES,
            Form::Half => ROW_BYTES / 2,
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Form {
        match self {
            Form::Single => Form::Half,
            Form::Half => Form::Single,
        }
    }
}

/// A segment of something that devices hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Column { id: u64, form: Form, segment: usize },
    Vectors { id: u64, metric: Metric, as_bytes: bool, segment: usize },
}

#[derive(Debug)]
struct Held {
    owner: Weak<dyn Any + Send + Sync>,
    buffers: Vec<wgpu::Buffer>,
    bytes: u64,
    used: u64,
}

/// The segments that a device holds: at most so many bytes, those that were used last.
#[derive(Debug)]
pub(crate) struct Residents {
    held: HashMap<Key, Held>,
    bytes: u64,
    given: u64,
    /// What may be held since the driver has refused more, and when that was.
    learned: Option<(u64, Instant)>,
    clock: u64,
    /// What has left for others.
    evicted: HashSet<Key>,
    again: u64,
    uploaded: u64,
}

impl Residents {
    pub(crate) fn new(budget: Option<u64>) -> Residents {
        Residents {
            held: HashMap::new(),
            bytes: 0,
            given: budget.unwrap_or(u64::MAX),
            learned: None,
            clock: 0,
            evicted: HashSet::new(),
            again: 0,
            uploaded: 0,
        }
    }

    /// The most bytes that may be held.
    pub(crate) fn budget(&self) -> u64 {
        self.budget_at(Instant::now())
    }

    fn budget_at(&self, now: Instant) -> u64 {
        match self.learned {
            Some((bytes, at)) if now.saturating_duration_since(at) < LEARNED_FOR => bytes.min(self.given),
            _ => self.given,
        }
    }

    /// The driver has refused some of what is held now, of which so many bytes were there before: for a while less will be held.
    pub(crate) fn learn(&mut self, before: u64) {
        if self.bytes > 0 {
            // buffers of answers need room as well. Where little was there it says little
            let bytes = (before - before / 8).max(self.bytes / 2);
            self.learned = Some((self.budget().min(bytes), Instant::now()));
        }
    }

    /// The buffers of a segment, where they are held.
    pub(crate) fn touch(&mut self, key: Key) -> Option<Vec<wgpu::Buffer>> {
        self.clock += 1;
        let held = self.held.get_mut(&key)?;
        held.used = self.clock;
        Some(held.buffers.clone())
    }

    /// The first buffer of a segment, where it is held, for something else than a query.
    pub(crate) fn peek(&self, key: Key) -> Option<&wgpu::Buffer> {
        self.held.get(&key)?.buffers.first()
    }

    /// Drops the segments that were not used for the longest time, until so many bytes fit. Whether it dropped any. More bytes
    /// than the budget are held where one segment alone is larger.
    pub(crate) fn make_room(&mut self, bytes: u64) -> bool {
        let (mut dropped, budget) = (false, self.budget());
        while self.bytes.saturating_add(bytes) > budget {
            let Some(oldest) = self.held.iter().min_by_key(|(_, held)| held.used).map(|(key, _)| *key) else { break };
            self.remove(oldest);
            self.evicted.insert(oldest);
            dropped = true;
        }
        dropped
    }

    /// Holds the buffers of a segment, for which so many bytes were copied to the device, for as long as its owner lives.
    pub(crate) fn hold<T: Any + Send + Sync>(
        &mut self,
        key: Key,
        owner: &Arc<T>,
        buffers: Vec<wgpu::Buffer>,
        uploaded: u64,
    ) {
        let owner: Weak<T> = Arc::downgrade(owner);
        let bytes = buffers.iter().map(wgpu::Buffer::size).sum();
        self.bytes += bytes;
        self.uploaded += uploaded;
        self.clock += 1;
        self.again += u64::from(self.evicted.remove(&key));
        self.held.insert(key, Held { owner, buffers, bytes, used: self.clock });
    }

    /// Drops a segment that is not needed any more.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(held) = self.held.remove(&key) {
            self.bytes -= held.bytes;
        }
    }

    /// Frees what nobody else holds any more.
    pub(crate) fn forget_dropped(&mut self) {
        let dropped = |held: &Held| held.owner.strong_count() == 0;
        let gone: Vec<Key> = self.held.iter().filter(|(_, held)| dropped(held)).map(|(key, _)| *key).collect();
        gone.into_iter().for_each(|key| self.remove(key));
        // of what is not held any more nothing can be said of its owner: a few keys that will not come again
        if self.evicted.len() > MOST_EVICTED {
            self.evicted.clear();
        }
    }

    /// Frees all, and counts anew.
    pub(crate) fn clear(&mut self) {
        *self = Residents { learned: self.learned, ..Residents::new(Some(self.given)) };
    }

    /// Bytes held now.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of a segment, 0 where it is not held.
    pub(crate) fn bytes_of(&self, key: Key) -> u64 {
        self.held.get(&key).map_or(0, |held| held.bytes)
    }

    /// Whether columns in half precision are held.
    pub(crate) fn has_halves(&self) -> bool {
        self.held.keys().any(|key| matches!(key, Key::Column { form: Form::Half, .. }))
    }

    /// How often a segment was copied again that had left for others.
    pub(crate) fn again(&self) -> u64 {
        self.again
    }

    /// How many bytes were copied to the device.
    pub(crate) fn uploaded(&self) -> u64 {
        self.uploaded
    }

    /// How many segments are held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
}

fn buffer(device: &wgpu::Device, label: &str, size: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}

/// Writes pieces one after the other; an empty submission hands each over, so that staging memory does not pile up.
fn write<T: bytemuck::NoUninit>(queue: &wgpu::Queue, to: &wgpu::Buffer, pieces: impl Iterator<Item = Vec<T>>) {
    let mut at = 0;
    for piece in pieces {
        let bytes: &[u8] = bytemuck::cast_slice(&piece);
        queue.write_buffer(to, at, bytes);
        queue.submit([]);
        at += bytes.len() as u64;
    }
}

/// A segment of a column in a form.
pub(crate) fn upload_column(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    column: &Column,
    form: Form,
    (first, rows): (usize, usize),
) -> wgpu::Buffer {
    if form == Form::Half {
        return upload_halves(device, queue, column, (first, rows));
    }
    upload_spans(device, queue, column, std::iter::once(first..first + rows))
}

fn upload_halves(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    column: &Column,
    (first, rows): (usize, usize),
) -> wgpu::Buffer {
    const AT_ONCE: usize = UPLOAD_BYTES / 4;
    let half = column.half();
    let to = buffer(device, "column in half precision", rows as u64 * Form::Half.row_bytes());
    let words = |start: usize| {
        let span = first + start..first + rows.min(start + AT_ONCE);
        let pairs = column.mean()[span.clone()].iter().zip(&column.sd()[span]);
        pairs.map(|(&mean, &sd)| half.word(mean, sd)).collect::<Vec<u32>>()
    };
    write(queue, &to, (0..rows).step_by(AT_ONCE).map(words));
    to
}

/// Some stretches of rows of a column, one after the other: mean and sd of each row.
pub(crate) fn upload_spans(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    column: &Column,
    spans: impl Iterator<Item = Range<usize>> + Clone,
) -> wgpu::Buffer {
    const AT_ONCE: usize = UPLOAD_BYTES / ROW_BYTES as usize;
    let rows: usize = spans.clone().map(|span| span.len()).sum();
    let to = buffer(device, "column", rows as u64 * ROW_BYTES);
    let of_span = |span: Range<usize>| {
        let end = span.end;
        span.step_by(AT_ONCE).map(move |start| start..end.min(start + AT_ONCE))
    };
    let mut parts = spans.flat_map(of_span);
    let pieces = std::iter::from_fn(|| {
        let mut piece: Vec<[f32; 2]> = Vec::new();
        while piece.len() < AT_ONCE
            && let Some(part) = parts.next()
        {
            let pairs = column.mean()[part.clone()].iter().zip(&column.sd()[part]);
            piece.extend(pairs.map(|(&mean, &sd)| [mean, sd]));
        }
        (!piece.is_empty()).then_some(piece)
    });
    write(queue, &to, pieces);
    to
}

/// Fours of components of a vector.
pub(crate) fn fours(dims: usize) -> usize {
    dims.div_ceil(4)
}

/// Bytes of the components of one row of vectors.
pub(crate) fn vector_bytes(dims: usize) -> u64 {
    16 * fours(dims) as u64
}

/// On a device the offset of rows that are always candidates: below every other place, and finite, since shaders need not know
/// infinity.
pub(crate) const ALWAYS: f32 = -2e38;

/// A segment of vectors: their values in blocks (see places.wgsl), and scale and offset of each row.
pub(crate) fn upload_vectors(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    vectors: &Vectors,
    metric: Metric,
    (first, rows): (usize, usize),
) -> Vec<wgpu::Buffer> {
    let (dims, terms) = (vectors.dims(), vectors.terms(metric));
    let values = terms.values(vectors.values());
    let row = |row: usize| &values[row * dims..][..dims];
    let to = upload_blocks(device, queue, fours(dims), row, 0f32, (first, rows));
    let of_rows = buffer(device, "terms of vectors", rows as u64 * 8);
    let pair = |row: usize| {
        let scale = terms.scale().map_or(terms.same_scale(), |scale| scale[row]);
        [scale, terms.offset()[row].max(ALWAYS)]
    };
    upload_rows(queue, &of_rows, pair, (first, rows));
    vec![to, of_rows]
}

/// A segment of vectors as bytes, and scale, offset and width of each row; [`upload_vectors`] for L1, which has none.
pub(crate) fn upload_codes(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    vectors: &Vectors,
    metric: Metric,
    (first, rows): (usize, usize),
) -> Vec<wgpu::Buffer> {
    let terms = vectors.terms(metric);
    let Some(codes) = terms.codes(vectors.values(), vectors.dims()) else {
        return upload_vectors(device, queue, vectors, metric, (first, rows));
    };
    let words: &[u32] =
        &bytemuck::pod_collect_to_vec::<i8, u32>(&codes.codes[first * codes.stride..][..rows * codes.stride]);
    let of_row = codes.stride / 4;
    let row = |row: usize| &words[(row - first) * of_row..][..of_row];
    let to = upload_blocks(device, queue, codes.stride / 16, row, 0u32, (first, rows));
    let of_rows = buffer(device, "terms of bytes", rows as u64 * 16);
    let four = |row: usize| [codes.scale[row], terms.offset()[row].max(ALWAYS), codes.width[row], 0.0];
    upload_rows(queue, &of_rows, four, (first, rows));
    vec![to, of_rows]
}

/// Bytes of one row of vectors as bytes: its codes, and its terms.
pub(crate) fn code_bytes(dims: usize) -> u64 {
    dims.next_multiple_of(crate::codes::STRIDE) as u64 + 16
}

/// Rows of `steps` times four words of 4 bytes each, in blocks.
fn upload_blocks<'v, T: bytemuck::Pod>(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    steps: usize,
    row: impl Fn(usize) -> &'v [T],
    zero: T,
    (first, rows): (usize, usize),
) -> wgpu::Buffer {
    let block = BLOCK as usize;
    let blocks = rows.div_ceil(block);
    let to = buffer(device, "vectors", (blocks * block * steps * 16) as u64);
    let at_once = (UPLOAD_BYTES / (block * steps * 16)).max(1);
    let piece = |start: usize| {
        let mut piece = vec![zero; (blocks - start).min(at_once) * block * steps * 4];
        for (at, of_block) in piece.chunks_exact_mut(block * steps * 4).enumerate() {
            let from = (start + at) * block;
            for lane in 0..block.min(rows - from) {
                for (step, four) in row(first + from + lane).chunks(4).enumerate() {
                    of_block[(step * block + lane) * 4..][..four.len()].copy_from_slice(four);
                }
            }
        }
        piece
    };
    write(queue, &to, (0..blocks).step_by(at_once).map(piece));
    to
}

/// A few numbers of each row.
fn upload_rows<const N: usize>(
    queue: &wgpu::Queue,
    to: &wgpu::Buffer,
    numbers: impl Fn(usize) -> [f32; N],
    (first, rows): (usize, usize),
) {
    let at_once = UPLOAD_BYTES / (4 * N);
    let piece =
        |start: usize| (first + start..first + rows.min(start + at_once)).flat_map(&numbers).collect::<Vec<f32>>();
    write(queue, to, (0..rows).step_by(at_once).map(piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_every_row_once_and_start_at_whole_words() {
        let limits = wgpu::Limits::defaults();
        for (wanted, rows) in [(None, 5), (Some(1), 200), (Some(64), 128), (Some(1000), 5000), (Some(u32::MAX), 7)] {
            for of in [1, 2, 3, 8] {
                let mut next = 0;
                for at in 0..of {
                    let cut = Cut::new(&limits, ROW_BYTES, wanted, Share { at, of });
                    assert_eq!(cut.share.span(rows).start.min(next), next, "shares are in order");
                    for (first, count) in cut.segments(rows) {
                        assert_eq!((first, first % 64), (next, 0));
                        assert!(count >= 1 && count <= cut.rows_per_segment() as usize);
                        next += count;
                    }
                    for (segment, (first, count)) in cut.segments(rows).enumerate() {
                        let places = [0, count / 2, count - 1].map(|at| (at, cut.place(rows, first + at)));
                        assert!(places.iter().all(|&(at, place)| place == (segment, at, count - at)), "{places:?}");
                    }
                }
                assert_eq!(next, rows);
            }
        }
        assert_eq!(Cut::new(&limits, ROW_BYTES, None, Share::WHOLE).rows_per_segment(), (128 << 20) / 8);
    }

    #[test]
    fn what_was_held_is_a_budget_for_a_while() {
        let mut residents = Residents::new(None);
        residents.learn(0);
        assert_eq!(residents.budget(), u64::MAX, "nothing was held: that says nothing");
        residents.bytes = 30_000;
        residents.learn(800);
        assert_eq!(residents.budget(), 15_000, "half of it may fit");
        residents.bytes = 9000;
        residents.learn(8000);
        assert_eq!(residents.budget(), 7000);
        residents.bytes = 80_000;
        residents.learn(80_000);
        assert_eq!(residents.budget(), 7000, "it has not grown since");
        residents.clear();
        let now = Instant::now();
        assert_eq!((residents.budget_at(now), residents.budget_at(now + 2 * LEARNED_FOR)), (7000, u64::MAX));
        let given = Residents { learned: residents.learned, ..Residents::new(Some(100)) };
        assert_eq!((given.budget_at(now), given.budget_at(now + 2 * LEARNED_FOR)), (100, 100));
    }
}
