//! The k smallest keys (score bits, row number) of each query, or all up to a cut.

use super::{Commands, DISPATCH_ROWS, Failure, UNIFORM, Uniforms, WgpuDevice, layout, pipeline};
use crate::segment::largest_binding;
use crate::shader::{self, BINS, DIGITS, LANES, STEPS};
use crate::topk::LEFT_OUT;

pub(super) struct SelectPipelines {
    count: wgpu::ComputePipeline,
    choose: wgpu::ComputePipeline,
    collect: wgpu::ComputePipeline,
}

impl SelectPipelines {
    pub(super) fn new(device: &wgpu::Device) -> SelectPipelines {
        let layout = layout(device, size_of::<Params>(), &[true, false, false, false, false]);
        let text = shader::select();
        let [count, choose, collect] =
            ["count", "choose", "collect"].map(|entry| pipeline(device, &text, entry, &layout));
        SelectPipelines { count, choose, collect }
    }
}

/// Buffers of a selection, kept for the next one.
#[derive(Default)]
pub(super) struct Scratch {
    histogram: Option<wgpu::Buffer>,
    states: Option<wgpu::Buffer>,
    counts: Option<wgpu::Buffer>,
    keys: Option<wgpu::Buffer>,
    answer: Option<wgpu::Buffer>,
    uniforms: Option<wgpu::Buffer>,
}

/// The scores of a segment's rows, query after query.
pub(super) struct Segment<'a> {
    pub(super) first_row: u32,
    pub(super) rows: u32,
    pub(super) scores: &'a wgpu::Buffer,
}

/// What was selected, in no order.
pub(super) struct Chosen {
    /// How many keys there are for each query: more than k where a given cut lets more through.
    pub(super) counts: Vec<u32>,
    /// k places for each query, of which the first of its count are filled.
    pub(super) keys: Vec<[u32; 2]>,
}

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
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
    stride: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct State {
    prefix: u32,
    decided: u32,
    needed: u32,
    done: u32,
    score_cut: u32,
    row_cut: u32,
}

const ON_ROWS: u32 = 1;
const FIRST_DIGIT: u32 = 2;
const LAST_OF_SCORE: u32 = 4;
const KEY_BYTES: u64 = 8;
/// What a look at a key costs, in multiplications.
const KEY_WORK: u64 = 8;

enum Kernel {
    Count,
    Choose,
    Collect,
}

struct Step {
    kernel: Kernel,
    segment: usize,
    uniform: u32,
    groups: [u32; 2],
}

impl WgpuDevice {
    /// How many keys of all queries together a selection can hold.
    pub(super) fn most_keys(&self) -> u64 {
        largest_binding(&self.limits) / KEY_BYTES
    }

    /// Encodes the selection of the k smallest keys of each query, or, where `cuts` are given, of all keys whose score bits do
    /// not exceed the query's cut (of which k are kept).
    pub(super) fn select_smallest(
        &self,
        scratch: &mut Scratch,
        commands: &mut Commands,
        segments: &[Segment],
        queries: u32,
        k: u32,
        cuts: Option<&[u32]>,
    ) -> Result<(), Failure> {
        let all = u64::from(queries) * u64::from(k);
        if all > self.most_keys() {
            return Err(Failure::TooLarge(format!("it cannot hold {all} answers")));
        }
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let from = storage | wgpu::BufferUsages::COPY_SRC;
        let q = u64::from(queries);
        let histogram = self.grown(&mut scratch.histogram, 4 * q * u64::from(BINS), storage).clone();
        let states = self.grown(&mut scratch.states, q * size_of::<State>() as u64, storage).clone();
        let counts = self.grown(&mut scratch.counts, 4 * q, from).clone();
        let keys = self.grown(&mut scratch.keys, all * KEY_BYTES, from).clone();
        let mut uniforms = Uniforms::new(&self.limits);
        let steps = plan(&mut uniforms, segments, queries, k, cuts.is_some());
        let params = self.grown(&mut scratch.uniforms, uniforms.bytes.len() as u64, UNIFORM).clone();
        self.queue.write_buffer(&params, 0, &uniforms.bytes);
        let encoder = commands.encoder();
        encoder.clear_buffer(&counts, 0, None);
        match cuts {
            Some(cuts) => {
                let state = |&cut: &u32| State { done: 1, score_cut: cut, row_cut: LEFT_OUT, ..State::default() };
                let given: Vec<State> = cuts.iter().map(state).collect();
                self.queue.write_buffer(&states, 0, bytemuck::cast_slice(&given));
            }
            None => {
                encoder.clear_buffer(&states, 0, None);
                encoder.clear_buffer(&histogram, 0, None);
            }
        }
        let SelectPipelines { count, choose, collect } = &self.select;
        let groups: Vec<wgpu::BindGroup> = segments
            .iter()
            .map(|segment| {
                let bound = [segment.scores, &histogram, &states, &counts, &keys];
                self.group(count, &params, size_of::<Params>(), bound.into_iter())
            })
            .collect();
        for step in &steps {
            let pipeline = match step.kernel {
                Kernel::Count => count,
                Kernel::Choose => choose,
                Kernel::Collect => collect,
            };
            let work = u64::from(step.groups[0]) * u64::from(step.groups[1]) * u64::from(LANES * STEPS) * KEY_WORK;
            commands.run(pipeline, &groups[step.segment], &[step.uniform], step.groups, work)?;
        }
        Ok(())
    }

    /// Submits everything, waits, and reads what was selected.
    pub(super) fn chosen(
        &self,
        scratch: &mut Scratch,
        mut commands: Commands,
        queries: u32,
        k: u32,
    ) -> Result<Chosen, Failure> {
        let counted = (4 * u64::from(queries)).next_multiple_of(KEY_BYTES);
        let all = u64::from(queries) * u64::from(k);
        let bytes = counted + all * KEY_BYTES;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let answer = self.grown(&mut scratch.answer, bytes, usage).clone();
        let (Some(counts), Some(keys)) = (&scratch.counts, &scratch.keys) else {
            return Err(Failure::Refused("nothing was selected".to_owned()));
        };
        commands.encoder().copy_buffer_to_buffer(counts, 0, &answer, 0, 4 * u64::from(queries));
        commands.encoder().copy_buffer_to_buffer(keys, 0, &answer, counted, all * KEY_BYTES);
        commands.submit()?;
        let words = self.read(&answer, bytes)?;
        let (counts, rest) = words.split_at(counted as usize / 4);
        let keys = rest.as_chunks::<2>().0.to_vec();
        Ok(Chosen { counts: counts[..queries as usize].to_vec(), keys })
    }
}

fn plan(uniforms: &mut Uniforms, segments: &[Segment], queries: u32, k: u32, cut_is_given: bool) -> Vec<Step> {
    let common = Params { steps: STEPS, k, lanes: LANES, bins_per_lane: BINS / LANES, ..Params::default() };
    let mut steps = Vec::new();
    if !cut_is_given {
        for on_rows in [0, ON_ROWS] {
            for (at, (shift, bins)) in DIGITS.into_iter().enumerate() {
                let first = if on_rows == 0 && at == 0 { FIRST_DIGIT } else { 0 };
                let last = if on_rows == 0 && at + 1 == DIGITS.len() { LAST_OF_SCORE } else { 0 };
                let digit = Params { shift, bins, phase: on_rows | first | last, ..common };
                over_rows(&mut steps, uniforms, segments, queries, digit, || Kernel::Count);
                let uniform = uniforms.push(&digit);
                steps.push(Step { kernel: Kernel::Choose, segment: 0, uniform, groups: [queries, 1] });
            }
        }
    }
    over_rows(&mut steps, uniforms, segments, queries, common, || Kernel::Collect);
    steps
}

fn over_rows(
    steps: &mut Vec<Step>,
    uniforms: &mut Uniforms,
    segments: &[Segment],
    queries: u32,
    params: Params,
    kernel: impl Fn() -> Kernel,
) {
    let at_once = (DISPATCH_ROWS / queries).max(LANES * STEPS) / (LANES * STEPS) * (LANES * STEPS);
    for (at, &Segment { first_row, rows, .. }) in segments.iter().enumerate() {
        for base in (0..rows).step_by(at_once as usize) {
            let groups = (rows - base).min(at_once).div_ceil(LANES * STEPS);
            let uniform = uniforms.push(&Params { rows, base, first_row, stride: rows, ..params });
            steps.push(Step { kernel: kernel(), segment: at, uniform, groups: [groups, queries] });
        }
    }
}
