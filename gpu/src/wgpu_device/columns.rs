//! Columns in device memory: in which precision, made there of an older column and what is new, or copied to it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::{Failure, WgpuDevice, nth};
use crate::Column;
use crate::segment::{Form, Key, ROW_BYTES, Residents, upload_column, upload_spans};

/// What a copy on the device costs, with what it takes to encode it, in rows that are copied to the device in that time.
pub(super) const COPY_ROWS: usize = 1024;

/// Rows of a segment that are on the device already.
struct Piece {
    /// Where they are, and at which row of it.
    buffer: wgpu::Buffer,
    from: usize,
    /// Which rows of the segment they are.
    to: Range<usize>,
}

impl WgpuDevice {
    /// Makes columns ready for queries.
    pub(crate) fn load(&self, columns: &[Arc<Column>]) -> Result<(), Failure> {
        self.with_memory(|memory| {
            let form = self.form(&memory.residents, columns.iter());
            for column in columns {
                for segment in 0..self.cut.segments(column.len()).count() {
                    self.column(&mut memory.residents, column, form, segment)?;
                }
            }
            self.wait(None)
        })
    }

    /// How to hold these columns: in half precision where others would have to leave for them otherwise.
    pub(super) fn form<'a>(&self, residents: &Residents, columns: impl Iterator<Item = &'a Arc<Column>>) -> Form {
        let budget = residents.budget();
        if budget == u64::MAX {
            return Form::Single;
        }
        let (mut seen, mut missing, mut halves) = (HashSet::new(), 0, 0);
        for column in columns.filter(|column| seen.insert(column.id())) {
            for (segment, (_, rows)) in self.cut.segments(column.len()).enumerate() {
                let held = |form| residents.bytes_of(Key::Column { id: column.id(), form, segment });
                halves += held(Form::Half);
                if held(Form::Single) == 0 {
                    missing += rows as u64 * ROW_BYTES;
                }
            }
        }
        let fits = residents.bytes() - halves + missing <= budget;
        if missing == 0 || fits { Form::Single } else { Form::Half }
    }

    /// The buffer of a segment of a column, made where it is not there.
    pub(super) fn column(
        &self,
        residents: &mut Residents,
        column: &Arc<Column>,
        form: Form,
        segment: usize,
    ) -> Result<wgpu::Buffer, Failure> {
        let key = Key::Column { id: column.id(), form, segment };
        if let Some(buffers) = residents.touch(key) {
            return Ok(buffers[0].clone());
        }
        let span = nth(self.cut, column.len(), segment)?;
        residents.remove(Key::Column { id: column.id(), form: form.other(), segment });
        // first of all: what leaves for this segment is no part of it
        self.make_room(residents, span.1 as u64 * form.row_bytes())?;
        let pieces = if form == Form::Single { self.pieces(residents, column, span) } else { None };
        let (buffer, uploaded) = match pieces {
            Some(pieces) => self.assembled(column, span, &pieces),
            None => {
                let buffer = upload_column(&self.device, &self.queue, column, form, span);
                let uploaded = buffer.size();
                (buffer, uploaded)
            }
        };
        residents.hold(key, column, vec![buffer.clone()], uploaded);
        Ok(buffer)
    }

    /// The rows of a segment that an older column has on the device, in order; `None` where it costs less to copy all to it.
    fn pieces(&self, residents: &Residents, column: &Column, (first, rows): (usize, usize)) -> Option<Vec<Piece>> {
        let shared = column.shared()?;
        let (held, end) = (self.cut.span(shared.rows), first + rows);
        let (mut pieces, mut reached, mut new, mut gaps) = (Vec::new(), 0, 0, 0);
        let mut gap = |to: usize, reached: usize| {
            new += to - reached;
            gaps += usize::from(to > reached);
        };
        let before = shared.runs.partition_point(|run| run.to + run.rows <= first);
        for run in shared.runs[before..].iter().take_while(|run| run.to < end) {
            // of the run, what is of this segment and of this device's share of the older column
            let mut at = first.saturating_sub(run.to).max(held.start.saturating_sub(run.from));
            let stop = run.rows.min(end - run.to).min(held.end.saturating_sub(run.from));
            while at < stop {
                let (segment, from, left) = self.cut.place(shared.rows, run.from + at);
                let count = left.min(stop - at);
                if count >= self.copy_rows
                    && let Some(buffer) = residents.peek(Key::Column { id: shared.id, form: Form::Single, segment })
                {
                    let to = run.to + at - first;
                    gap(to, reached);
                    reached = to + count;
                    pieces.push(Piece { buffer: buffer.clone(), from, to: to..reached });
                }
                at += count;
            }
        }
        gap(rows, reached);
        let pays = new + (pieces.len() + gaps) * self.copy_rows < rows;
        // what is new goes through a buffer of its own, which must not be large where memory is short
        (pays && 2 * new <= rows).then_some(pieces)
    }

    /// A segment made of pieces, with the rows in between copied to the device; how many bytes those are.
    fn assembled(&self, column: &Column, (first, rows): (usize, usize), pieces: &[Piece]) -> (wgpu::Buffer, u64) {
        let ends = pieces.iter().map(|piece| piece.to.end);
        let starts = pieces.iter().map(|piece| piece.to.start).chain([rows]);
        let gaps = std::iter::once(0).chain(ends).zip(starts).map(|(start, end)| start..end);
        let gaps: Vec<Range<usize>> = gaps.filter(|gap| !gap.is_empty()).collect();
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let buffer = self.create(rows as u64 * ROW_BYTES, usage);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut copy = |of: &wgpu::Buffer, from: usize, to: &Range<usize>| {
            let [from, at, bytes] = [from, to.start, to.len()].map(|rows| rows as u64 * ROW_BYTES);
            encoder.copy_buffer_to_buffer(of, from, &buffer, at, bytes);
        };
        pieces.iter().for_each(|piece| copy(&piece.buffer, piece.from, &piece.to));
        let mut uploaded = 0;
        if !gaps.is_empty() {
            let spans = gaps.iter().map(|gap| first + gap.start..first + gap.end);
            let new = upload_spans(&self.device, &self.queue, column, spans);
            uploaded = new.size();
            let mut from = 0;
            for gap in &gaps {
                copy(&new, from, gap);
                from += gap.len();
            }
        }
        self.queue.submit([encoder.finish()]);
        (buffer, uploaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wgpu_device::several::{noise, several};
    use crate::{Hit, Missing, Moves, Run, SpecQuery, Target, cpu, topk};

    /// Beliefs that differ from row to row, one in five without a value.
    fn beliefs(rows: usize, seed: usize) -> Vec<(f32, f32)> {
        let belief = |row: usize| {
            let at = noise(row + (seed << 32));
            ((at >> 40) as f32, if at.is_multiple_of(5) { -1.0 } else { (at % 1000) as f32 })
        };
        (0..rows).map(belief).collect()
    }

    fn column(beliefs: &[(f32, f32)], older: Option<(&Column, &Moves)>) -> Arc<Column> {
        let (mean, sd) = beliefs.iter().copied().unzip();
        match older {
            Some((older, moves)) => Column::following(mean, sd, older, moves).unwrap(),
            None => Column::new(mean, sd).unwrap(),
        }
    }

    /// Loads a column on all cards, and holds what they have of it against it, bit by bit. How many rows were copied to them.
    #[track_caller]
    fn loaded(cards: &[WgpuDevice], column: &Arc<Column>) -> u64 {
        let uploaded = || cards.iter().map(|card| card.holding().uploaded).sum::<u64>();
        let before = uploaded();
        let mut rows = 0;
        for card in cards {
            card.load(std::slice::from_ref(column)).unwrap();
            for (segment, (first, count)) in card.cut.segments(column.len()).enumerate() {
                let bytes = count as u64 * ROW_BYTES;
                let held = card.with_memory(|memory| {
                    let buffer = card.column(&mut memory.residents, column, Form::Single, segment)?;
                    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                    let read = card.create(bytes, usage);
                    let mut commands = card.commands();
                    commands.encoder().copy_buffer_to_buffer(&buffer, 0, &read, 0, bytes);
                    commands.submit()?;
                    card.read(&read, bytes)
                });
                let pair = |row: usize| [column.mean()[row].to_bits(), column.sd()[row].to_bits()];
                let right: Vec<u32> = (first..first + count).flat_map(pair).collect();
                assert!(held.unwrap() == right, "segment {segment} from row {first} is wrong");
                rows += count;
            }
        }
        assert_eq!(rows, column.len());
        (uploaded() - before) / ROW_BYTES
    }

    fn moves(runs: &[(usize, usize, usize)]) -> Moves {
        let mut moves = Moves::default();
        runs.iter().for_each(|&(from, to, rows)| moves.push(Run { from, to, rows }));
        moves
    }

    #[test]
    fn only_what_is_new_is_copied_to_the_device() {
        for cards in [1, 2, 3].map(|of| several(of, 640, None)).iter().filter(|cards| !cards.is_empty()) {
            let old = beliefs(10_000, 0);
            let new = beliefs(10_000, 1);
            let mut changed = old.clone();
            [0, 900, 901, 5000, 9999].into_iter().for_each(|row| changed[row] = new[row]);
            let all = moves(&[(0, 0, 99_999)]);
            // rows from a card's neighbour are new to it
            let borders = |moved: u64| (cards.len() as u64 - 1) * moved;
            for (name, beliefs, moves, copied) in [
                ("the same", old.clone(), moves(&[(0, 0, 10_000)]), 0),
                (
                    "three inserted",
                    [&old[..4000], &new[..3], &old[4000..]].concat(),
                    moves(&[(0, 0, 4000), (4000, 4003, 6000)]),
                    3,
                ),
                ("70 gone", [&old[..4000], &old[4070..]].concat(), moves(&[(0, 0, 4000), (4070, 4000, 5930)]), 0),
                ("five changed", changed, moves(&[(0, 0, 10_000)]), 5),
                ("250 appended", [&old[..], &new[..250]].concat(), moves(&[(0, 0, 10_000)]), 250),
            ] {
                let older = column(&old, None);
                assert_eq!(loaded(cards, &older), 10_000, "{name}");
                let newer = column(&beliefs, Some((&older, &moves)));
                let found = loaded(cards, &newer);
                assert!((copied..=copied + borders(256)).contains(&found), "{name}: {found} on {} cards", cards.len());
                // it needs the older one no more, and may be followed itself
                drop(older);
                assert_eq!(loaded(cards, &newer), 0, "{name}");
                assert_eq!(loaded(cards, &column(&beliefs, Some((&newer, &all)))), 0, "{name}");
            }
        }
    }

    /// What a commit may do to the rows: they come, go, change, are appended; and a hint that says so.
    fn edited(old: &[(f32, f32)], seed: usize) -> (Vec<(f32, f32)>, Moves) {
        let at = |what: usize, below: usize| (noise(seed * 1000 + what) % below as u64) as usize;
        let other = beliefs(3000, seed);
        let (mut new, mut moves, mut from) = (Vec::new(), Moves::default(), 0);
        for edit in 0..at(0, 12) {
            let run = at(3 * edit + 1, 700).min(old.len() - from);
            moves.push(Run { from, to: new.len(), rows: run });
            new.extend_from_slice(&old[from..from + run]);
            from += run;
            match at(3 * edit + 2, 4) {
                0 => new.extend_from_slice(&other[..at(3 * edit + 3, 300)]),
                1 => from = old.len().min(from + at(3 * edit + 3, 300)),
                2 => new.iter_mut().rev().step_by(97).take(9).for_each(|belief| *belief = other[edit]),
                _ => {}
            }
        }
        moves.push(Run { from, to: new.len(), rows: old.len() - from });
        new.extend_from_slice(&old[from..]);
        new.extend_from_slice(&other[..at(99, 200)]);
        if seed.is_multiple_of(7) {
            // a hint that is wrong: nothing is where it says
            moves = Moves::default();
            moves.push(Run { from: 1, to: 0, rows: old.len() });
        }
        (new, moves)
    }

    fn answers(cards: &[WgpuDevice], column: &Arc<Column>, k: usize) -> Vec<Hit> {
        let (lo, hi, missing) = (5e6, 6e6, Missing::Fill { mean: 4e6, sd: 1e3 });
        let targets = [Target { column: Arc::clone(column), lo, hi, inv_tolerance: 1e-6, weight: 1.0, missing }];
        let (query, rows) = (SpecQuery { targets: &targets, mask: None, k }, column.len());
        let order = |hit: &Hit| topk::key(hit.score.to_bits(), hit.row);
        let parts = cards.iter().map(|card| card.spec(&query, rows).unwrap()).collect();
        let found = topk::merged(parts, |a, b| order(a).cmp(&order(b)), k);
        let rows_of = |hits: &[Hit]| hits.iter().map(|hit| hit.row).collect::<std::collections::BTreeSet<u32>>();
        assert_eq!(rows_of(&found), rows_of(&cpu::spec(&query, rows)));
        found
    }

    #[test]
    fn histories_of_edits_leave_the_columns_that_they_say() {
        for (of, segment_rows, memory) in
            [(1, 64, None), (2, 64, None), (3, 640, None), (1, 640, Some(50_000)), (2, 192, Some(20_000))]
        {
            let cards = several(of, segment_rows, memory);
            if cards.is_empty() {
                return;
            }
            let (mut copied, mut rows) = (0, 0);
            for history in 0..4 {
                let mut beliefs = beliefs(2000 + 800 * history, history + 50);
                let mut held = column(&beliefs, None);
                loaded(&cards, &held);
                for edit in 0..7 {
                    let (edited, moves) = edited(&beliefs, 100 * history + edit + 1);
                    let newer = column(&edited, Some((&held, &moves)));
                    copied += loaded(&cards, &newer);
                    rows += newer.len() as u64;
                    if memory.is_none() {
                        let plain = column(&edited, None);
                        assert_eq!(answers(&cards, &newer, 40), answers(&cards, &plain, 40));
                    }
                    (beliefs, held) = (edited, newer);
                }
            }
            let part = copied as f64 / rows as f64;
            match memory {
                None => assert!(part < 0.5, "{part} of all rows were copied to {of} cards"),
                Some(memory) => {
                    assert!(cards.iter().all(|card| card.holding().bytes <= memory));
                    assert!(part > 0.5, "most of the older columns had left: {part}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_on_the_device_is_copied_to_it() {
        let [one, other] = [several(1, 640, None), several(1, 640, None)];
        if one.is_empty() {
            return;
        }
        let beliefs = beliefs(5000, 3);
        let all = moves(&[(0, 0, 5000)]);
        let older = column(&beliefs, None);
        let newer = column(&beliefs, Some((&older, &all)));
        loaded(&one, &older);
        // another device, as after a loss; one that was released; one that has forgotten what nobody holds
        assert_eq!(loaded(&other, &newer), 5000);
        one[0].release();
        assert_eq!(loaded(&one, &newer), 5000);
        let last = column(&beliefs, Some((&newer, &all)));
        drop(newer);
        assert_eq!(loaded(&one, &last), 5000);
        assert_eq!(one[0].segments_held(), 8, "nothing but the last one is held");
    }

    #[test]
    fn copies_that_cost_more_than_they_save_are_not_made() {
        let cards = several(1, 100_000, None);
        if cards.is_empty() {
            return;
        }
        let cards: Vec<WgpuDevice> =
            cards.into_iter().map(|card| WgpuDevice { copy_rows: COPY_ROWS, ..card }).collect();
        let old = beliefs(20_000, 4);
        let older = column(&old, None);
        loaded(&cards, &older);
        for (every, copied) in [(19_999, 2), (9_000, 3), (1_100, 20_000), (300, 20_000)] {
            let mut new = old.clone();
            new.iter_mut().step_by(every).for_each(|(mean, _)| *mean += 1.0);
            new[0] = (0.5, 0.5);
            let newer = column(&new, Some((&older, &moves(&[(0, 0, 20_000)]))));
            assert_eq!(loaded(&cards, &newer), copied, "every {every}th row is another");
        }
    }
}
