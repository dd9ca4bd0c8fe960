//! The spec score of rows, and the best of them.

use super::select::{Chosen, Segment};
use super::shortlist::{self, BLOCK, Pass, Plan};
use super::{Commands, Failure, Memory, UNIFORM, Uniforms, WgpuDevice, layout, mask_bytes};
use crate::half::{self, Half};
use crate::kernel::{self, TargetParams};
use crate::segment::Form;
use crate::shader::{self, LANES, TARGETS};
use crate::{Hit, Mask, SpecQuery, cpu, topk};

/// Buffers of a query, kept for the next one.
#[derive(Default)]
pub(super) struct Scratch {
    scores: Vec<Option<wgpu::Buffer>>,
    masks: Vec<Option<Masked>>,
    /// Sums of rows between dispatches of one segment; of one row until a query has more targets than a dispatch takes.
    partial: Option<wgpu::Buffer>,
    /// What stands for a mask where there is none.
    nothing: Option<wgpu::Buffer>,
    uniforms: Option<wgpu::Buffer>,
}

/// A segment of a mask on the device, and what it is: queries often come again with other windows and the same mask.
struct Masked {
    id: u64,
    words: Vec<u64>,
    buffer: wgpu::Buffer,
}

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    base: u32,
    targets_used: u32,
    flags: u32,
    blocks: u32,
    stride: u32,
    first_row: u32,
    slot: u32,
    capacity: u32,
    pad: [u32; 3],
    targets: [TargetParams; TARGETS],
}

const MASKED: u32 = 1;
const FIRST_TARGETS: u32 = 2;
const LAST_TARGETS: u32 = 4;
const SAMPLED: u32 = 8;
const LISTED: u32 = 16;
/// Blocks of one dispatch.
const DISPATCH_BLOCKS: u32 = super::DISPATCH_ROWS / BLOCK;
/// Candidates beyond twice the wanted rows that are asked for at first, and the most that are asked for to be certain.
const FIRST_CANDIDATES: usize = 512;
const MOST_CANDIDATES: usize = 1 << 16;
/// What a row of a target costs, in multiplications.
const ROW_WORK: u64 = 16;

pub(super) fn pipeline(device: &wgpu::Device, form: Form) -> wgpu::ComputePipeline {
    let layout = layout(device, size_of::<Params>(), &[true, false, false, true, true, true, true, false]);
    super::pipeline(device, &shader::score(form), "score", &layout)
}

/// One dispatch.
struct Step {
    segment: usize,
    first_target: usize,
    uniform: u32,
    blocks: u32,
}

/// Which rows are scored, and by what.
#[derive(Clone, Copy)]
struct Scan<'a> {
    query: &'a SpecQuery<'a>,
    /// How many there are, of all devices.
    rows: usize,
    form: Form,
    /// By segment.
    masks: &'a [wgpu::Buffer],
}

/// Where the scores of a pass go.
#[derive(Clone, Copy)]
enum To<'a> {
    /// To each row's place, by segment.
    Places(&'a [wgpu::Buffer]),
    /// Into the list, whose state is in the first buffer.
    List(&'a wgpu::Buffer, &'a wgpu::Buffer),
}

/// The best of the candidates that half precision has found, by their scores in f32; `None` where others may be among the best, as
/// they cannot where the candidates are all rows that count.
fn decided(query: &SpecQuery, candidates: &[Hit], all: bool) -> Option<Vec<Hit>> {
    let rows: Vec<u32> = candidates.iter().map(|hit| hit.row).collect();
    let best = cpu::best_of(query, &rows);
    let certain = || {
        let (kth, last) = (best.get(query.k.checked_sub(1)?)?, candidates.last()?);
        Some(half::certain(kth.score, last.score, half::margin(query)))
    };
    (all || certain() == Some(true)).then_some(best)
}

impl WgpuDevice {
    /// The best of this device's share of the `rows` rows of a checked query. Where the driver has no memory, everything is freed and
    /// it is tried once more. Where the device may not hold the columns in single precision, those in half precision find
    /// candidates, more and more of them until it is certain that the best are there; if it never is, single precision decides.
    pub(crate) fn spec(&self, query: &SpecQuery, rows: usize) -> Result<Vec<Hit>, Failure> {
        for wanted in self.wanted(query.k, self.share.span(rows).len()) {
            let (form, hits) = self.with_memory(|memory| {
                let form = self.form(&memory.residents, query.targets.iter().map(|target| &target.column));
                let k = if form == Form::Half { wanted } else { query.k };
                Ok((form, self.best(memory, &SpecQuery { k, ..*query }, rows, form)?))
            })?;
            if form == Form::Single {
                return Ok(hits);
            }
            if let Some(best) = decided(query, &hits, hits.len() < wanted) {
                return Ok(best);
            }
        }
        self.with_memory(|memory| self.best(memory, query, rows, Form::Single))
    }

    /// The best by the scores of columns in half precision.
    pub(crate) fn by_halves(&self, query: &SpecQuery, rows: usize) -> Result<Vec<Hit>, Failure> {
        self.with_memory(|memory| self.best(memory, query, rows, Form::Half))
    }

    /// How many candidates to ask for, again and again, of so many rows.
    fn wanted(&self, k: usize, rows: usize) -> impl Iterator<Item = usize> + use<> {
        // one more than there are: none is left out where fewer come
        let most = usize::try_from(self.most_keys()).unwrap_or(usize::MAX).min(rows + 1);
        let first = k.saturating_mul(2).saturating_add(FIRST_CANDIDATES);
        let more = std::iter::successors(Some(first), |&wanted| Some(wanted.saturating_mul(8)));
        let more = more.take_while(move |&wanted| wanted == first || wanted <= MOST_CANDIDATES);
        more.map(move |wanted| wanted.min(most)).filter(move |&wanted| wanted > k.min(rows))
    }

    fn best(&self, memory: &mut Memory, query: &SpecQuery, rows: usize, form: Form) -> Result<Vec<Hit>, Failure> {
        let span = self.share.span(rows);
        let k = query.k.min(span.len());
        if k == 0 {
            return Ok(Vec::new());
        }
        if query.targets.len() > TARGETS {
            let rows = rows.min(self.cut.rows_per_segment() as usize) as u64;
            self.grown(&mut memory.spec.partial, 8 * rows, wgpu::BufferUsages::STORAGE);
        }
        let masks = self.masks(&mut memory.spec, query.mask, rows);
        let blocks: Vec<u32> = self.cut.segments(rows).map(|(_, rows)| (rows as u32).div_ceil(BLOCK)).collect();
        let allowed = query.mask.map_or(span.len() as u64, |mask| shortlist::guess(mask.words_of(span)));
        let mut keys = None;
        let scan = Scan { query, rows, form, masks: &masks };
        if let Some(plan) = Plan::new(&self.limits, &blocks, allowed, 1, k as u32) {
            keys = self.listed(memory, &scan, &plan)?;
        }
        let keys = match keys {
            Some(keys) => keys,
            None => self.selected(memory, &scan, k as u32)?,
        };
        let mut keys: Vec<u64> = keys.into_iter().map(|[bits, row]| topk::key(bits, row)).collect();
        keys.sort_unstable();
        Ok(keys.into_iter().map(topk::hit).collect())
    }

    /// The k smallest keys by short lists; `None` where they do not suffice.
    fn listed(&self, memory: &mut Memory, scan: &Scan, plan: &Plan) -> Result<Option<Vec<[u32; 2]>>, Failure> {
        let mut commands = self.commands();
        let mut uniforms = Uniforms::new(&self.limits);
        let passes: Vec<Vec<Step>> =
            plan.passes.iter().map(|&pass| self.plan(&mut uniforms, scan, Some((pass, plan.capacity)))).collect();
        self.write_params(memory, &uniforms);
        let lists = self.shortlists(&mut memory.shortlist, &mut commands, plan)?;
        for (at, steps) in passes.iter().enumerate() {
            self.score(memory, &mut commands, scan, steps, To::List(&lists.lines, &lists.lists))?;
            self.shorten(&mut commands, plan, &lists, at)?;
        }
        let found = self.shortlisted(&mut memory.shortlist, commands, plan, &lists)?;
        Ok(found.and_then(|found| found.into_iter().next()))
    }

    /// The k smallest keys by scores of all rows.
    fn selected(&self, memory: &mut Memory, scan: &Scan, k: u32) -> Result<Vec<[u32; 2]>, Failure> {
        let spans: Vec<(usize, usize)> = self.cut.segments(scan.rows).collect();
        memory.spec.scores.resize_with(spans.len().max(memory.spec.scores.len()), || None);
        let of_segment = |(&(_, rows), slot): (&(usize, usize), _)| {
            self.grown(slot, 4 * rows as u64, wgpu::BufferUsages::STORAGE).clone()
        };
        let scores: Vec<wgpu::Buffer> = spans.iter().zip(&mut memory.spec.scores).map(of_segment).collect();
        let mut commands = self.commands();
        let mut uniforms = Uniforms::new(&self.limits);
        let steps = self.plan(&mut uniforms, scan, None);
        self.write_params(memory, &uniforms);
        self.score(memory, &mut commands, scan, &steps, To::Places(&scores))?;
        let segments: Vec<Segment> = spans
            .iter()
            .zip(&scores)
            .map(|(&(first, rows), scores)| Segment { first_row: first as u32, rows: rows as u32, scores })
            .collect();
        self.select_smallest(&mut memory.select, &mut commands, &segments, 1, k, None)?;
        let Chosen { counts, mut keys } = self.chosen(&mut memory.select, commands, 1, k)?;
        if counts[0] > k {
            return Err(Failure::Refused(format!("it selected {} rows instead of {k}", counts[0])));
        }
        keys.truncate(counts[0] as usize);
        Ok(keys)
    }

    /// Encodes the steps of a pass.
    fn score(
        &self,
        memory: &mut Memory,
        commands: &mut Commands,
        scan: &Scan,
        steps: &[Step],
        to: To,
    ) -> Result<(), Failure> {
        let &Scan { query, masks, form, .. } = scan;
        let pipeline = match form {
            Form::Single => &self.score,
            Form::Half => &self.score_halves,
        };
        let small = wgpu::BufferUsages::STORAGE;
        let partial = self.grown(&mut memory.spec.partial, 8, small).clone();
        let params = self.grown(&mut memory.spec.uniforms, 0, UNIFORM).clone();
        for step in steps {
            let targets = &query.targets[step.first_target..query.targets.len().min(step.first_target + TARGETS)];
            let mut held = Vec::with_capacity(TARGETS);
            for target in targets {
                held.push(self.column(&mut memory.residents, &target.column, form, step.segment)?);
            }
            // bindings that no target uses still need a buffer
            held.resize(TARGETS, held[0].clone());
            let (scores, lines) = match to {
                // one that may be written, and is not
                To::Places(scores) => (&scores[step.segment], &partial),
                To::List(lines, list) => (list, lines),
            };
            let bound = [&masks[step.segment], scores, &partial].into_iter().chain(&held).chain([lines]);
            let group = self.group(pipeline, &params, size_of::<Params>(), bound);
            let work = u64::from(step.blocks * BLOCK) * targets.len() as u64 * ROW_WORK;
            commands.run(pipeline, &group, &[step.uniform], [(step.blocks * BLOCK).div_ceil(LANES), 1], work)?;
        }
        Ok(())
    }

    /// The segments of the mask, written where they are not there.
    fn masks(&self, scratch: &mut Scratch, mask: Option<&Mask>, rows: usize) -> Vec<wgpu::Buffer> {
        let spans: Vec<(usize, usize)> = self.cut.segments(rows).collect();
        let Some(mask) = mask else {
            let nothing = self.grown(&mut scratch.nothing, 16, wgpu::BufferUsages::STORAGE);
            return vec![nothing.clone(); spans.len()];
        };
        scratch.masks.resize_with(spans.len().max(scratch.masks.len()), || None);
        let of_segment = |(&(first, rows), slot): (&(usize, usize), &mut Option<Masked>)| {
            let words = mask.words_of(first..first + rows);
            if let Some(held) = slot.as_mut()
                && (held.id == mask.id() || held.words == words)
            {
                held.id = mask.id();
                return held.buffer.clone();
            }
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
            let mut buffer = slot.take().map(|held| held.buffer);
            let buffer = self.grown(&mut buffer, 8 * words.len() as u64, usage).clone();
            self.queue.write_buffer(&buffer, 0, &mask_bytes(words));
            *slot = Some(Masked { id: mask.id(), words: words.to_vec(), buffer: buffer.clone() });
            buffer
        };
        spans.iter().zip(&mut scratch.masks).map(of_segment).collect()
    }

    fn write_params(&self, memory: &mut Memory, uniforms: &Uniforms) {
        let buffer = self.grown(&mut memory.spec.uniforms, uniforms.bytes.len() as u64, UNIFORM);
        self.queue.write_buffer(buffer, 0, &uniforms.bytes);
    }

    /// The dispatches over all rows, or those of a pass with a list of so many places.
    fn plan(&self, uniforms: &mut Uniforms, scan: &Scan, pass: Option<(Pass, u32)>) -> Vec<Step> {
        let &Scan { query, rows, form, .. } = scan;
        let mut params = kernel::params(query);
        if form == Form::Half {
            for (params, target) in params.iter_mut().zip(query.targets) {
                let Half { scale, offset, .. } = *target.column.half();
                (params.scale, params.offset) = (scale, offset);
            }
        }
        let masked = if query.mask.is_some() { MASKED } else { 0 };
        let (stride, listed, capacity) = match pass {
            None => (1, 0, 0),
            Some((Pass { stride, sampled }, capacity)) => (stride, if sampled { SAMPLED } else { LISTED }, capacity),
        };
        let mut steps = Vec::new();
        let mut slot = 0;
        for (segment, (first_row, rows)) in self.cut.segments(rows).enumerate() {
            let blocks = (rows as u32).div_ceil(BLOCK).div_ceil(stride);
            for (at, targets) in params.chunks(TARGETS).enumerate() {
                let first = if at == 0 { FIRST_TARGETS } else { 0 };
                let last = if (at + 1) * TARGETS >= params.len() { LAST_TARGETS } else { 0 };
                let mut score = Params {
                    rows: rows as u32,
                    targets_used: targets.len() as u32,
                    flags: masked | first | last | listed,
                    stride,
                    first_row: first_row as u32,
                    capacity,
                    ..Params::default()
                };
                score.targets[..targets.len()].copy_from_slice(targets);
                for from in (0..blocks).step_by(DISPATCH_BLOCKS as usize) {
                    let blocks = (blocks - from).min(DISPATCH_BLOCKS);
                    let slot = slot + from * BLOCK;
                    let uniform = uniforms.push(&Params { base: from * stride, blocks, slot, ..score });
                    steps.push(Step { segment, first_target: at * TARGETS, uniform, blocks });
                }
            }
            slot += blocks * BLOCK;
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::exact;
    use crate::wgpu_device::several::{noise, several};
    use crate::{Column, Missing, Target, reference};

    const ROWS: usize = 30_000;

    fn unit(at: usize) -> f32 {
        (noise(at) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A window of a usual spec: one tolerance is about what the values differ by, one value in four is missing.
    fn target(seed: usize) -> Target {
        let number = |row: usize, of: usize| unit((seed * 7 + of) * ROWS + row);
        let bell = |row: usize| (0..4).map(|of| number(row, of)).sum::<f32>() - 2.0;
        let scale = 10f32.powi(seed as i32 % 13 - 6);
        let offset = [0.0, 10.0, -3.0][seed % 3];
        let sd = |row: usize| if number(row, 4) < 0.25 { -1.0 } else { (0.01 + 0.2 * number(row, 5)) * scale };
        let column =
            Column::new((0..ROWS).map(|row| (bell(row) + offset) * scale).collect(), (0..ROWS).map(sd).collect());
        let (lo, hi) = [(0.9, f32::INFINITY), (f32::NEG_INFINITY, -0.8), (0.3, 0.4), (2.5, 3.0)][seed % 4];
        Target {
            column: column.unwrap(),
            lo: (lo + offset) * scale,
            hi: (hi + offset) * scale,
            inv_tolerance: 1.7 / scale,
            weight: 1.0 + number(seed, 6),
            missing: if seed.is_multiple_of(2) {
                Missing::Ignore
            } else {
                Missing::Fill { mean: offset * scale, sd: 0.6 * scale }
            },
        }
    }

    /// The best rows of all cards together, by their exact scores.
    fn best(cards: &[WgpuDevice], query: &SpecQuery) -> Vec<(f64, u32)> {
        let score = |row: u32| reference::score(query.targets, row as usize);
        let certain = |kth, last| reference::certain(kth, last, reference::F32_RELATIVE_ERROR);
        let found = exact(query.k, ROWS, query.mask, score, certain, |wanted| {
            let query = SpecQuery { k: wanted, ..*query };
            let order = |hit: &Hit| topk::key(hit.score.to_bits(), hit.row);
            let parts = cards.iter().map(|card| card.spec(&query, ROWS)).collect::<Result<_, _>>()?;
            Ok::<_, Failure>(topk::merged(parts, |a, b| order(a).cmp(&order(b)), wanted))
        });
        found.unwrap()
    }

    #[test]
    fn half_precision_decides_what_is_usually_asked() {
        let cards = several(1, 1 << 20, None);
        let [card] = &cards[..] else { return };
        let mut at_once = 0;
        for seed in 0..40 {
            let targets: Vec<Target> = (0..1 + seed % 6).map(|at| target(seed * 11 + at)).collect();
            let query = SpecQuery { targets: &targets, mask: None, k: 168 };
            let wanted = card.wanted(query.k, ROWS).next().unwrap();
            let hits = card.by_halves(&SpecQuery { k: wanted, ..query }, ROWS).unwrap();
            assert_eq!(hits.len(), wanted);
            if let Some(best) = decided(&query, &hits, false) {
                assert_eq!(best, cpu::spec(&query, ROWS), "seed {seed}");
                at_once += 1;
            }
        }
        assert!(at_once >= 36, "{at_once} of 40 were decided by the first candidates");
    }

    /// Cards that may hold nothing answer for their shares, and together as one.
    #[test]
    fn cards_that_are_short_of_memory_answer_as_one() {
        let cards = several(3, 4096, Some(1));
        if cards.is_empty() {
            return;
        }
        for seed in 0..6 {
            let targets: Vec<Target> = (0..1 + seed).map(|at| target(500 + seed * 11 + at)).collect();
            let mask = Mask::from_fn(ROWS, |row| unit(row + 99) < 0.6);
            for (k, mask) in [(1, None), (150, Some(&mask)), (ROWS, None)] {
                let query = SpecQuery { targets: &targets, mask, k };
                assert_eq!(best(&cards, &query), reference::rank(&query), "seed {seed}, k {k}");
            }
        }
        assert!(cards.iter().any(|card| card.holding().halves));
    }

    /// Without a limit of the user's, what was held when the driver refused more is one.
    #[test]
    fn what_a_driver_refuses_is_learned() {
        let cards = several(1, 4096, None);
        let [card] = &cards[..] else { return };
        let targets: Vec<Target> = (0..4).map(target).collect();
        let ask = |targets: &[Target]| {
            let query = SpecQuery { targets, mask: None, k: 20 };
            assert_eq!(best(&cards, &query), reference::rank(&query));
            card.holding()
        };
        let column = 8 * ROWS as u64;
        let before = ask(&targets);
        assert_eq!((before.bytes, before.halves), (4 * column, false));
        let refused = card.with_memory(|_| Err::<(), _>(Failure::OutOfMemory("not enough".to_owned())));
        assert!(matches!(refused, Err(Failure::OutOfMemory(_))));
        assert_eq!(card.holding().bytes, 0);
        let after = ask(&targets);
        assert_eq!((after.bytes, after.halves), (2 * column, true));
        // three columns fit as they are, and take the place of what was read from half precision
        let some = ask(&targets[..3]);
        assert_eq!((some.bytes, some.halves), (3 * column + column / 2, true));
        // then it is full, and what comes new is held in half precision
        let full = ask(&[target(20)]);
        assert_eq!((full.bytes, full.halves), (3 * column + column / 2, true));
    }
}
