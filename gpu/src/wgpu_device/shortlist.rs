//! Short lists of candidates: a sample of the rows gives each query a cut, larger samples lower it, and at last a pass over all rows
//! keeps hardly more keys than are wanted. Nothing is written for other rows, and nothing is read a second time.
//!
//! Every cut is the k-th smallest of keys of rows, so no key of the k smallest is above it, whatever the sample. A list that
//! overflows costs nothing but a worse cut, except at last: then the keys are selected among all (see `select`).

use super::{Binding, Commands, Failure, UNIFORM, Uniforms, WgpuDevice, layout_of, pipeline};
use crate::segment::largest_binding;
use crate::shader::{self, BINS, LANES};

/// Places of one list: the fewest, and the most.
const CAPACITY: (u32, u32) = (4096, 16_384);
/// A list is at least so many times longer than what is wanted of it.
const ROOM: u32 = 8;
/// Bytes of all lists of a batch.
const LISTS_BYTES: u64 = 128 << 20;
/// Words of a mask that are looked at to guess how many rows it allows.
const GUESSED_FROM: usize = 4096;
/// Rows of a block: passes go from block to block.
pub(super) const BLOCK: u32 = 64;

const FIRST: u32 = 1;
const LAST: u32 = 2;
const EMPTY: u32 = 4;
const KEY_BYTES: u64 = 8;

pub(super) fn shorten_pipeline(device: &wgpu::Device) -> wgpu::ComputePipeline {
    let params = Binding::Uniform { bytes: size_of::<Params>() as u64 };
    let layout = layout_of(device, &[params, Binding::WRITE, Binding::READ, Binding::WRITE]);
    pipeline(device, &shader::shortlist(), "shorten", &layout)
}

/// Buffers of short lists, kept for the next ones.
#[derive(Default)]
pub(super) struct Scratch {
    lines: Option<wgpu::Buffer>,
    lists: Option<wgpu::Buffer>,
    chosen: Option<wgpu::Buffer>,
    answer: Option<wgpu::Buffer>,
    uniforms: Option<wgpu::Buffer>,
}

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    capacity: u32,
    given: u32,
    k: u32,
    flags: u32,
    lanes: u32,
    bins_per_lane: u32,
    pad: [u32; 2],
}

/// What the shader knows of a query's list: four words.
const LINE_BYTES: u64 = 16;

/// One look at rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    /// Every so many blocks of 64 rows.
    pub(super) stride: u32,
    /// Keys lie at places of their own, all of them; else one after the other, those up to the cut.
    pub(super) sampled: bool,
}

/// In which passes rows are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) passes: Vec<Pass>,
    /// Places of one list.
    pub(super) capacity: u32,
    /// Keys of the first pass, where it is a sample.
    given: u32,
    queries: u32,
    k: u32,
}

impl Plan {
    /// The passes over segments of so many blocks, of whose rows about `allowed` count for each query; `None` where short lists do
    /// not pay or do not fit.
    pub(super) fn new(limits: &wgpu::Limits, blocks: &[u32], allowed: u64, queries: u32, k: u32) -> Option<Plan> {
        let most = largest_binding(limits).min(LISTS_BYTES) / KEY_BYTES / u64::from(queries.max(1));
        let capacity = u64::from(64 * k.min(CAPACITY.1)).next_power_of_two();
        let capacity = capacity.clamp(u64::from(CAPACITY.0), u64::from(CAPACITY.1)).min(most) as u32;
        if k == 0 || u64::from(k) * u64::from(ROOM) > u64::from(capacity) {
            return None;
        }
        let positions = |stride: u32| blocks.iter().map(|&of| u64::from(of.div_ceil(stride)) * u64::from(BLOCK)).sum();
        let rows: u64 = positions(1);
        let allowed = allowed.clamp(1, rows.max(1));
        let most_blocks = blocks.iter().copied().max().unwrap_or(0);
        // where few rows count, places of their own would be mostly empty
        let sampled = rows <= u64::from(capacity) || 2 * allowed >= rows;
        let mut first = match sampled {
            true => rows.div_ceil(u64::from(capacity)),
            // a guess, so with some room
            false => (allowed + allowed / 4).div_ceil(u64::from(capacity)),
        }
        .max(1) as u32;
        while sampled && positions(first) > u64::from(capacity) {
            if first > most_blocks {
                return None;
            }
            first += first.div_ceil(8);
        }
        // keys that the last pass keeps, by the cut of a sample of every `stride`-th block: k times `stride`
        let growth = (capacity / (4 * k)).max(2);
        let mut passes = vec![Pass { stride: 1, sampled: false }];
        let mut stride = 1;
        while first > 2 * stride * growth {
            stride *= growth;
            passes.push(Pass { stride, sampled: false });
        }
        if first > 1 {
            passes.push(Pass { stride: first, sampled });
        } else {
            passes[0].sampled = sampled;
        }
        passes.reverse();
        let given = if sampled { positions(first) as u32 } else { 0 };
        Some(Plan { passes, capacity, given, queries, k })
    }

    /// The same passes for so many of the queries.
    pub(super) fn of(&self, queries: u32) -> Plan {
        Plan { queries, ..self.clone() }
    }
}

/// About how many rows a mask allows.
pub(super) fn guess(words: &[u64]) -> u64 {
    let step = words.len().div_ceil(GUESSED_FROM).max(1);
    words.iter().step_by(step).map(|word| u64::from(word.count_ones())).sum::<u64>() * step as u64
}

/// Short lists of queries, on their way.
pub(super) struct Shortlists {
    /// What scoring kernels write to: the state of each query's list, and the lists.
    pub(super) lines: wgpu::Buffer,
    pub(super) lists: wgpu::Buffer,
    chosen: wgpu::Buffer,
    group: wgpu::BindGroup,
    /// Parameters of what follows each pass, after those of what comes before all.
    params: Vec<u32>,
}

impl WgpuDevice {
    /// Makes ready for the passes of a plan.
    pub(super) fn shortlists(
        &self,
        scratch: &mut Scratch,
        commands: &mut Commands,
        plan: &Plan,
    ) -> Result<Shortlists, Failure> {
        let (q, k) = (u64::from(plan.queries), u64::from(plan.k));
        let storage = wgpu::BufferUsages::STORAGE;
        let from = storage | wgpu::BufferUsages::COPY_SRC;
        let lines = self.grown(&mut scratch.lines, q * LINE_BYTES, from).clone();
        let lists = self.grown(&mut scratch.lists, q * u64::from(plan.capacity) * KEY_BYTES, storage).clone();
        let chosen = self.grown(&mut scratch.chosen, q * k * KEY_BYTES, from).clone();
        let mut uniforms = Uniforms::new(&self.limits);
        let common = Params {
            capacity: plan.capacity,
            k: plan.k,
            lanes: LANES,
            bins_per_lane: BINS / LANES,
            ..Params::default()
        };
        let mut params = vec![uniforms.push(&Params { flags: FIRST | EMPTY, ..common })];
        for at in 0..plan.passes.len() {
            let first = if at == 0 && plan.passes[0].sampled { FIRST } else { 0 };
            let last = if at + 1 == plan.passes.len() { LAST } else { 0 };
            let given = if plan.passes[at].sampled { plan.given } else { 0 };
            params.push(uniforms.push(&Params { given, flags: first | last, ..common }));
        }
        let buffer = self.grown(&mut scratch.uniforms, uniforms.bytes.len() as u64, UNIFORM).clone();
        self.queue.write_buffer(&buffer, 0, &uniforms.bytes);
        let bound = [&lines, &lists, &chosen];
        let group = self.group(&self.shorten, &buffer, size_of::<Params>(), bound.into_iter());
        let shortlists = Shortlists { lines, lists, chosen, group, params };
        if !plan.passes[0].sampled {
            commands.run(&self.shorten, &shortlists.group, &shortlists.params[..1], [plan.queries, 1], 0)?;
        }
        Ok(shortlists)
    }

    /// Encodes what follows a pass: cuts are lowered, or the k smallest keys are copied.
    pub(super) fn shorten(
        &self,
        commands: &mut Commands,
        plan: &Plan,
        lists: &Shortlists,
        pass: usize,
    ) -> Result<(), Failure> {
        let work = u64::from(plan.queries) * u64::from(plan.capacity);
        commands.run(&self.shorten, &lists.group, &lists.params[pass + 1..pass + 2], [plan.queries, 1], work)
    }

    /// Submits everything, waits, and reads the k smallest keys of each query, in no order; fewer where fewer rows count. `None`
    /// where a list overflowed.
    pub(super) fn shortlisted(
        &self,
        scratch: &mut Scratch,
        mut commands: Commands,
        plan: &Plan,
        lists: &Shortlists,
    ) -> Result<Option<Vec<Vec<[u32; 2]>>>, Failure> {
        let (q, k) = (u64::from(plan.queries), u64::from(plan.k));
        let bytes = q * (LINE_BYTES + k * KEY_BYTES);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let answer = self.grown(&mut scratch.answer, bytes, usage).clone();
        let encoder = commands.encoder();
        encoder.copy_buffer_to_buffer(&lists.lines, 0, &answer, 0, q * LINE_BYTES);
        encoder.copy_buffer_to_buffer(&lists.chosen, 0, &answer, q * LINE_BYTES, q * k * KEY_BYTES);
        commands.submit()?;
        let words = self.read(&answer, bytes)?;
        let (lines, keys) = words.split_at((q * LINE_BYTES / 4) as usize);
        let last_is_sample = plan.passes.last().is_some_and(|pass| pass.sampled);
        let mut found = Vec::with_capacity(plan.queries as usize);
        for (&[count, _, _, chosen], keys) in
            lines.as_chunks::<4>().0.iter().zip(keys.as_chunks::<2>().0.chunks(k as usize))
        {
            if !last_is_sample && count > plan.capacity {
                return Ok(None);
            }
            if chosen > plan.k {
                return Err(Failure::Refused(format!("it chose {chosen} rows instead of {k}")));
            }
            found.push(keys[..chosen as usize].to_vec());
        }
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(blocks: &[u32], allowed: u64, queries: u32, k: u32) -> Option<Vec<(u32, bool)>> {
        let plan = Plan::new(&wgpu::Limits::defaults(), blocks, allowed, queries, k)?;
        assert!(plan.given <= plan.capacity, "{plan:?}");
        Some(plan.passes.iter().map(|pass| (pass.stride, pass.sampled)).collect())
    }

    #[test]
    fn passes_grow_from_a_sample_to_all_rows() {
        // few rows are their own sample
        assert_eq!(plan(&[1], 5, 1, 20), Some(vec![(1, true)]));
        assert_eq!(plan(&[60, 4], 4096, 1, 20), Some(vec![(1, true)]));
        // one sample, then all; then larger samples in between
        assert_eq!(plan(&[5_338], 341_608, 1, 168), Some(vec![(21, true), (1, false)]));
        assert_eq!(plan(&[156_250], 10_000_000, 1, 168), Some(vec![(611, true), (24, false), (1, false)]));
        // few rows that count are listed from the first
        assert_eq!(plan(&[156_250], 8_000, 1, 168), Some(vec![(1, false)]));
        assert_eq!(plan(&[156_250], 100_000, 1, 168), Some(vec![(8, false), (1, false)]));
        // too many are wanted, or too many segments hold too few
        assert_eq!(plan(&[156_250], 10_000_000, 1, 3000), None);
        assert_eq!(plan(&[1; 1000], 64_000, 1, 168), None);
    }

    #[test]
    fn a_guess_is_near_the_count() {
        assert_eq!(guess(&[]), 0);
        assert_eq!(guess(&[u64::MAX, 1]), 65);
        let words: Vec<u64> = (0..100_000).map(|at| if at % 3 == 0 { u64::MAX } else { 0 }).collect();
        let guessed = guess(&words) as f64;
        assert!((guessed / (64.0 * 100_000.0 / 3.0) - 1.0).abs() < 0.1, "{guessed}");
    }
}
