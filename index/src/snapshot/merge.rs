//! An old snapshot, less some of its records, and some new records → a new snapshot, by merging sorted columns.
//!
//! Everything is numbered by its place in a sorted order, so the outcome depends on the records alone, and not on the
//! way to them: a snapshot built at once and one that came about commit by commit are the same, column by column.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array as _, MutableArrayData, StringArray};
use datasets::catalogue::DatasetInfo;
use datasets::formula::Formula;
use datasets::table::DataFile;
use rayon::prelude::*;

use super::Snapshot;
use super::build::Part;
use crate::materials::Materials;
use crate::measurements::{Measurements, Named, Records};
use crate::scope::{Scope, Viewer};
use crate::stated::Stated;

/// No row.
const NONE: u32 = u32::MAX;

/// Stretches of two columns, in the order in which they make up a third one.
#[derive(Default)]
pub(super) struct Runs(Vec<(Side, Range<usize>)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

impl Runs {
    fn push(&mut self, side: Side, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some((last, run)) if *last == side && run.end == range.start => run.end = range.end,
            _ => self.0.push((side, range)),
        }
    }

    /// A stretch of the old column without the rows that do not stay.
    fn push_old(&mut self, range: Range<usize>, stays: Option<&dyn Fn(usize) -> bool>) {
        match stays {
            None => self.push(Side::Old, range),
            Some(stays) => range.filter(|&row| stays(row)).for_each(|row| self.push(Side::Old, row..row + 1)),
        }
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(_, run)| run.len()).sum()
    }

    /// Where the rows of the old column go, in runs; as many as are of use.
    pub(super) fn moves(&self) -> gpu::Moves {
        let (mut moves, mut to) = (gpu::Moves::default(), 0);
        for (side, run) in &self.0 {
            if *side == Side::Old {
                moves.push(gpu::Run { from: run.start, to, rows: run.len() });
            }
            if moves.are_too_many() {
                break;
            }
            to += run.len();
        }
        moves
    }

    /// Where each row of the old and the new column goes.
    fn places(&self, old: usize, new: usize) -> (Vec<u32>, Vec<u32>) {
        let (mut of_old, mut of_new, mut next) = (vec![NONE; old], vec![NONE; new], 0u32);
        for (side, run) in &self.0 {
            let places = if *side == Side::Old { &mut of_old } else { &mut of_new };
            for place in &mut places[run.clone()] {
                *place = next;
                next += 1;
            }
        }
        (of_old, of_new)
    }

    fn take<T: Copy>(&self, old: &[T], new: &[T]) -> Vec<T> {
        let mut out = Vec::with_capacity(self.len());
        for (side, run) in &self.0 {
            out.extend_from_slice(if *side == Side::Old { &old[run.clone()] } else { &new[run.clone()] });
        }
        out
    }

    /// The same of columns of row numbers, which are translated.
    fn take_rows(&self, (old, of_old): (&[u32], &[u32]), (new, of_new): (&[u32], &[u32])) -> Vec<u32> {
        let mut out = Vec::with_capacity(self.len());
        for (side, run) in &self.0 {
            let (rows, places) = if *side == Side::Old { (old, of_old) } else { (new, of_new) };
            out.extend(rows[run.clone()].iter().map(|&row| places.get(row as usize).copied().unwrap_or(NONE)));
        }
        out
    }

    /// The same of what few rows have, with words that are translated.
    fn take_stated(
        &self,
        (old, of_old): (&Measurements, &[u32]),
        (new, of_new): (&Measurements, &[u32]),
    ) -> Vec<Stated> {
        let (mut out, mut next) = (Vec::new(), 0);
        for (side, run) in &self.0 {
            let (values, words) = if *side == Side::Old { (old, of_old) } else { (new, of_new) };
            out.extend(values.stated_within(run.clone()).iter().map(|stated| Stated {
                entry: (stated.entry as usize - run.start + next) as u32,
                conditions: words.get(stated.conditions as usize).copied().unwrap_or(NONE),
                ..*stated
            }));
            next += run.len();
        }
        out
    }

    fn take_text(&self, old: &StringArray, new: &StringArray) -> Result<StringArray, &'static str> {
        let (old, new) = (old.to_data(), new.to_data());
        let mut out = MutableArrayData::new(vec![&old, &new], false, self.len());
        for (side, run) in &self.0 {
            out.try_extend(usize::from(*side == Side::New), run.start, run.end)
                .map_err(|_| "its ids are more text than one column holds, 2 GiB")?;
        }
        Ok(StringArray::from(out.freeze()))
    }
}

/// A new snapshot, and how its materials came about.
pub(super) struct Merged {
    pub(super) snapshot: Snapshot,
    pub(super) materials: Runs,
}

/// Merges; `gone` has one flag for each record of `old`, or is empty where all stay.
///
/// # Errors
/// What is there cannot be merged, but must be built anew: why.
pub(super) fn merge(
    old: &Snapshot,
    mut gone: Vec<bool>,
    part: &Part,
    version: u64,
    infos: BTreeMap<String, DatasetInfo>,
    files: Vec<DataFile>,
) -> Result<Merged, &'static str> {
    let (om, or, ov) = (&old.materials, &old.records, &old.measurements);
    let (pr, pv) = (&part.records, &part.measurements);
    gone.resize(or.len(), false);
    // where each material of the part is in the old order, or would be
    let at: Vec<Result<u32, u32>> =
        (0..part.ids.len()).into_par_iter().map(|row| om.place(part.ids.value(row))).collect();
    let same = unchanged(old, &mut gone, part, &at);
    let leaves = gone.contains(&true);

    // materials
    let mut stays = vec![!leaves; om.len()];
    let mut touched_old = vec![false; om.len()];
    if leaves {
        for (&material, &gone) in or.material.iter().zip(&gone) {
            let flags = if gone { &mut touched_old } else { &mut stays };
            flags[material as usize] = true;
        }
    }
    let mut live = vec![false; part.ids.len()];
    for (&material, &same) in pr.material.iter().zip(&same) {
        if !same {
            live[material as usize] = true;
            if let Ok(row) = at[material as usize] {
                stays[row as usize] = true;
                touched_old[row as usize] = true;
            }
        }
    }
    let stays_material = |row: usize| stays[row];
    let stays_material: Option<&dyn Fn(usize) -> bool> = if leaves { Some(&stays_material) } else { None };
    let (mut runs, mut next) = (Runs::default(), 0);
    for (j, at) in at.iter().enumerate() {
        if let (Err(place), true) = (at, live[j]) {
            runs.push_old(next..*place as usize, stays_material);
            next = *place as usize;
            runs.push(Side::New, j..j + 1);
        }
    }
    runs.push_old(next..om.len(), stays_material);
    let material_runs = runs;
    let (row_of_old, mut row_of_new) = material_runs.places(om.len(), part.ids.len());
    for (row, at) in row_of_new.iter_mut().zip(&at) {
        if let Ok(old) = at {
            *row = row_of_old[*old as usize];
        }
    }

    // records
    let mut inserts = vec![0usize; pr.len()];
    for (j, insert) in inserts.iter_mut().enumerate().filter(|(j, _)| !same[*j]) {
        *insert = match at[pr.material[j] as usize] {
            Err(row) => or.material.partition_point(|&material| material < row),
            Ok(row) => {
                let range = or.of_material(row);
                let id = pr.id.value(j);
                let place = lower_bound(range.clone(), |r| or.id.value(r) < id);
                if place < range.end && or.id.value(place) == id && !gone[place] {
                    return Err("a record id is there twice");
                }
                place
            }
        };
    }
    let stays_record = |record: usize| !gone[record];
    let stays_record: Option<&dyn Fn(usize) -> bool> = if leaves { Some(&stays_record) } else { None };
    let (mut runs, mut next) = (Runs::default(), 0);
    for (j, &insert) in inserts.iter().enumerate().filter(|(j, _)| !same[*j]) {
        runs.push_old(next..insert, stays_record);
        next = insert;
        runs.push(Side::New, j..j + 1);
    }
    runs.push_old(next..or.len(), stays_record);
    let record_runs = runs;
    let (record_of_old, record_of_new) = record_runs.places(or.len(), pr.len());

    // datasets: those of the terms, and those of records
    let mut infos = infos;
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut counts = vec![0usize; old.datasets.len()];
    or.dataset.iter().zip(&gone).filter(|(_, gone)| !**gone).for_each(|(&d, _)| counts[usize::from(d)] += 1);
    used.extend(old.datasets.iter().zip(counts).filter(|(_, n)| *n > 0).map(|(d, _)| d.info.name.as_str()));
    used.extend(
        pr.dataset.iter().zip(&same).filter(|(_, s)| !**s).map(|(&d, _)| part.datasets[usize::from(d)].as_str()),
    );
    for name in used {
        infos.entry(name.to_owned()).or_insert_with(|| DatasetInfo::unnamed_terms(name));
    }
    let index: HashMap<&str, u32> = infos.keys().enumerate().map(|(i, name)| (name.as_str(), i as u32)).collect();
    let index = |name: &str| index.get(name).copied().unwrap_or(NONE);
    let dataset_of_old: Vec<u32> = old.datasets.iter().map(|d| index(&d.info.name)).collect();
    let dataset_of_new: Vec<u32> = part.datasets.iter().map(|name| index(name)).collect();
    let wide = |datasets: &[u16]| datasets.iter().map(|&d| u32::from(d)).collect::<Vec<u32>>();
    let dataset = record_runs.take_rows((&wide(&or.dataset), &dataset_of_old), (&wide(&pr.dataset), &dataset_of_new));
    let stay = |named: &[Named], places: &[u32]| -> Vec<Named> {
        let moved = named.iter().map(|n| Named { record: places[n.record as usize], ..n.clone() });
        moved.filter(|n| n.record != NONE).collect()
    };
    let mut named = stay(&or.named, &record_of_old);
    named.extend(stay(&pr.named, &record_of_new));
    named.sort_by_key(|n| n.record);
    let records = Records {
        id: record_runs.take_text(&or.id, &pr.id)?,
        material: record_runs.take_rows((&or.material, &row_of_old), (&pr.material, &row_of_new)),
        dataset: dataset.into_iter().map(|d| d as u16).collect(),
        space_group: record_runs.take(&or.space_group, &pr.space_group),
        by_formula: record_runs.take(&or.by_formula, &pr.by_formula),
        named,
        structures: or.structures.merged(&record_of_old, &pr.structures, &record_of_new),
    };

    // which materials of the new snapshot have a record that came or went
    let mut touched = vec![false; material_runs.len()];
    let all_rows = row_of_old.iter().zip(&touched_old).chain(row_of_new.iter().zip(&live));
    all_rows.filter(|(row, touched)| **touched && **row != NONE).for_each(|(&row, _)| touched[row as usize] = true);
    let materials = materials(old, part, &live, &material_runs, &row_of_old, &touched, &records)?;

    let arrived = row_of_new.iter().zip(&at).filter(|(row, at)| at.is_err() && **row != NONE);
    materials.carry(om, &row_of_old, arrived.map(|(&row, _)| row));
    let values = values(old, part, &same, &inserts, &gone, leaves);
    let words = words(ov, pv, &values.runs);
    let property = Measurements {
        material: Vec::new(),
        record: values.runs.take_rows((&ov.record, &record_of_old), (&pv.record, &record_of_new)),
        value: values.runs.take(&ov.value, &pv.value),
        sd: values.runs.take(&ov.sd, &pv.sd),
        evidence: values.runs.take(&ov.evidence, &pv.evidence),
        temperature: values.runs.take(&ov.temperature, &pv.temperature),
        method: values.runs.take_rows((&ov.method, &words.of_old), (&pv.method, &words.of_new)),
        source: values.runs.take_rows((&ov.source, &words.of_old), (&pv.source, &words.of_new)),
        stated: values.runs.take_stated((ov, &words.of_old), (pv, &words.of_new)),
        words: words.words,
        properties: values.properties,
        starts: values.starts,
    };
    let material = property.record.par_iter().map(|&r| records.material[r as usize]).collect();
    let measurements = Measurements { material, ..property };
    let next = Snapshot::new(version, materials, records, measurements, infos.into_values().collect(), files);
    carry_beliefs(old, &next, &row_of_old, &touched, &values.untouched);
    Ok(Merged { snapshot: next, materials: material_runs })
}

fn lower_bound(range: Range<usize>, less: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if less(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// For each record of the part whether the old snapshot has it just so. Those are taken off what is gone: a rewritten
/// file brings tens of thousands of records that nobody changed.
fn unchanged(old: &Snapshot, gone: &mut [bool], part: &Part, at: &[Result<u32, u32>]) -> Vec<bool> {
    let (or, ov, pr, pv) = (&old.records, &old.measurements, &part.records, &part.measurements);
    if !gone.contains(&true) {
        return vec![false; pr.len()];
    }
    let twin_of = |j: usize| -> u32 {
        let Ok(row) = at[pr.material[j] as usize] else { return NONE };
        let (range, id) = (or.of_material(row), pr.id.value(j));
        let r = lower_bound(range.clone(), |r| or.id.value(r) < id);
        let alike = r < range.end
            && gone[r]
            && or.id.value(r) == id
            && or.space_group[r] == pr.space_group[j]
            && or.by_formula[r] == pr.by_formula[j]
            && or.structures.text_of(r as u32) == pr.structures.text_of(j as u32)
            && match (or.named(r as u32), pr.named(j as u32)) {
                (Some(a), Some(b)) => a.name == b.name && a.class == b.class,
                (a, b) => a.is_none() && b.is_none(),
            };
        if alike { r as u32 } else { NONE }
    };
    let twins: Vec<u32> = (0..pr.len()).into_par_iter().map(twin_of).collect();
    let count = |records: &[u32], of: usize| {
        let mut counts = vec![0u32; of];
        records.iter().for_each(|&record| counts[record as usize] += 1);
        counts
    };
    let (old_counts, new_counts) = rayon::join(|| count(&ov.record, or.len()), || count(&pv.record, pr.len()));
    let mut same: Vec<bool> =
        twins.iter().zip(&new_counts).map(|(&twin, &n)| twin != NONE && old_counts[twin as usize] == n).collect();
    let words: Vec<u32> =
        pv.words.iter().map(|w| ov.words.binary_search(w).map_or(NONE - 1, |place| place as u32)).collect();
    let word = |word: u32| words.get(word as usize).copied().unwrap_or(NONE);
    let alike = |o: Option<&Stated>, n: Option<&Stated>| match (o, n) {
        (Some(o), Some(n)) => {
            o.conditions == word(n.conditions)
                && o.pressure.to_bits() == n.pressure.to_bits()
                && o.bound.to_bits() == n.bound.to_bits()
        }
        (o, n) => o.is_none() && n.is_none(),
    };
    let equal = |o: usize, n: usize| {
        ov.value[o].to_bits() == pv.value[n].to_bits()
            && ov.sd[o].to_bits() == pv.sd[n].to_bits()
            && ov.temperature[o].to_bits() == pv.temperature[n].to_bits()
            && ov.evidence[o] == pv.evidence[n]
            && ov.method[o] == word(pv.method[n])
            && ov.source[o] == word(pv.source[n])
            && alike(ov.stated(o), pv.stated(n))
    };
    // with equal counts, a record is the same if each of its values is the n-th of its property in both
    let differing = |p: usize| -> Vec<u32> {
        let range = ov.of_property(&pv.properties[p]);
        let (mut o, mut last, mut found) = (range.start, NONE, Vec::new());
        for n in pv.starts[p]..pv.starts[p + 1] {
            let record = pv.record[n];
            let twin = twins[record as usize];
            if twin == NONE {
                continue;
            }
            if record != last {
                while o < range.end && ov.record[o] < twin {
                    o += 1;
                }
                last = record;
            }
            if o < range.end && ov.record[o] == twin && equal(o, n) {
                o += 1;
            } else {
                found.push(record);
            }
        }
        found
    };
    let differing: Vec<Vec<u32>> = (0..pv.properties.len()).into_par_iter().map(differing).collect();
    differing.iter().flatten().for_each(|&record| same[record as usize] = false);
    for (&twin, _) in twins.iter().zip(&same).filter(|(_, same)| **same) {
        gone[twin as usize] = false;
    }
    same
}

fn materials(
    old: &Snapshot,
    part: &Part,
    live: &[bool],
    runs: &Runs,
    row_of_old: &[u32],
    touched: &[bool],
    records: &Records,
) -> Result<Materials, &'static str> {
    let om = &old.materials;
    let mut by_formula = vec![false; part.ids.len()];
    for (&material, &is) in part.records.material.iter().zip(&part.records.by_formula) {
        by_formula[material as usize] |= is;
    }
    // the id of a material that is known by its formula begins with it
    let formula = |j: usize| {
        let id = part.ids.value(j);
        by_formula[j].then(|| id.split_once(':').map_or(id, |(formula, _)| formula))
    };
    let new_formula: StringArray = (0..part.ids.len()).map(formula).collect();
    let bits = |j: usize| {
        let parsed = formula(j).filter(|_| live[j]).and_then(|f| Formula::parse(f).ok());
        parsed.map_or(0, |f| f.element_bits())
    };
    let is_new: Vec<usize> =
        runs.0.iter().filter(|(side, _)| *side == Side::New).flat_map(|(_, run)| run.clone()).collect();
    let mut new_elements = vec![0u128; part.ids.len()];
    let parsed: Vec<u128> = is_new.par_iter().map(|&j| bits(j)).collect();
    is_new.iter().zip(parsed).for_each(|(&j, bits)| new_elements[j] = bits);

    let id = runs.take_text(&om.id, &part.ids)?;
    let formula = runs.take_text(&om.formula, &new_formula)?;
    let mut space_group = runs.take(&om.space_group, &vec![0i16; part.ids.len()]);
    let elements = runs.take(&om.elements, &new_elements);
    let no_parent = vec![NONE; part.ids.len()];
    let mut parent = runs.take_rows((&om.parent, row_of_old), (&no_parent, &[]));

    // what the records of a material say of it together: a formula if any does, the phase that the last one states
    for row in (0..touched.len()).filter(|&row| touched[row]) {
        let own = records.of_material(row as u32);
        if records.by_formula[own.clone()].contains(&true) != formula.is_valid(row) {
            return Err("a material is known by a formula to one source, and by that very text as a name to another");
        }
        space_group[row] = records.space_group[own].last().copied().unwrap_or_default();
    }
    let rows: Vec<usize> = (0..touched.len()).filter(|&row| touched[row]).collect();
    let find = |text: &str| {
        let place = lower_bound(0..id.len(), |row| id.value(row) < text);
        if place < id.len() && id.value(place) == text { place as u32 } else { NONE }
    };
    let parent_of = |&row: &usize| {
        let is_phase = space_group[row] != 0 && formula.is_valid(row);
        if is_phase { find(formula.value(row)) } else { NONE }
    };
    let parents: Vec<u32> = rows.par_iter().map(parent_of).collect();
    rows.iter().zip(parents).for_each(|(&row, of)| parent[row] = of);
    if !om.is_empty() {
        // phases that were there before their formula
        let mut adopted = Vec::new();
        for &j in &is_new {
            let prefix = format!("{}:", part.ids.value(j));
            let mut row = lower_bound(0..id.len(), |row| id.value(row) < prefix.as_str());
            while row < id.len() && id.value(row).starts_with(&prefix) {
                if space_group[row] != 0 && formula.is_valid(row) && formula.value(row) == part.ids.value(j) {
                    adopted.push((row, find(part.ids.value(j))));
                }
                row += 1;
            }
        }
        adopted.into_iter().for_each(|(row, of)| parent[row] = of);
    }
    Ok(Materials::new(id, formula, space_group, elements, parent, records.labels()))
}

struct Values {
    properties: Vec<String>,
    starts: Vec<usize>,
    runs: Runs,
    /// Properties whose values are all as they were: key, their first place before and now.
    untouched: HashMap<String, (usize, usize)>,
}

fn values(old: &Snapshot, part: &Part, same: &[bool], inserts: &[usize], gone: &[bool], leaves: bool) -> Values {
    let (ov, pv) = (&old.measurements, &part.measurements);
    let keys: BTreeSet<&String> = ov.properties.iter().chain(&pv.properties).collect();
    let keys: Vec<&String> = keys.into_iter().collect();
    let merged = |key: &&String| -> (Runs, usize, bool) {
        let (old, new) = (ov.of_property(key), pv.of_property(key));
        let stays = |i: usize| !gone[ov.record[i] as usize];
        let stays: Option<&dyn Fn(usize) -> bool> = if leaves { Some(&stays) } else { None };
        let (mut runs, mut next, mut added) = (Runs::default(), old.start, false);
        for i in new.filter(|&i| !same[pv.record[i] as usize]) {
            let insert = inserts[pv.record[i] as usize];
            let place = next + ov.record[next..old.end].partition_point(|&record| (record as usize) < insert);
            runs.push_old(next..place, stays);
            next = place;
            runs.push(Side::New, i..i + 1);
            added = true;
        }
        runs.push_old(next..old.end, stays);
        let untouched = !added && runs.len() == old.len();
        (runs, old.start, untouched)
    };
    let merged: Vec<(Runs, usize, bool)> = keys.par_iter().map(merged).collect();
    let (mut properties, mut starts, mut runs) = (Vec::new(), vec![0], Runs::default());
    let mut untouched = HashMap::new();
    let mut end = 0;
    for (key, (own, before, same)) in keys.into_iter().zip(merged) {
        let length = own.len();
        if length == 0 {
            continue;
        }
        if same {
            untouched.insert(key.clone(), (before, end));
        }
        own.0.into_iter().for_each(|(side, run)| runs.push(side, run));
        end += length;
        properties.push(key.clone());
        starts.push(end);
    }
    Values { properties, starts, runs, untouched }
}

struct Words {
    words: Vec<Arc<str>>,
    of_old: Vec<u32>,
    of_new: Vec<u32>,
}

/// The words that values have, in order.
fn words(old: &Measurements, new: &Measurements, runs: &Runs) -> Words {
    let (mut used_old, mut used_new) = (vec![false; old.words.len()], vec![false; new.words.len()]);
    for (side, run) in &runs.0 {
        let (values, used) = if *side == Side::Old { (old, &mut used_old) } else { (new, &mut used_new) };
        let conditions = values.stated_within(run.clone()).iter().map(|stated| &stated.conditions);
        for &word in values.method[run.clone()].iter().chain(&values.source[run.clone()]).chain(conditions) {
            if let Some(used) = used.get_mut(word as usize) {
                *used = true;
            }
        }
    }
    let mut words: BTreeSet<&Arc<str>> = BTreeSet::new();
    for (of, used) in [(old, &used_old), (new, &used_new)] {
        words.extend(of.words.iter().zip(used).filter(|(_, used)| **used).map(|(word, _)| word));
    }
    let words: Vec<Arc<str>> = words.into_iter().cloned().collect();
    let places = |of: &Measurements| -> Vec<u32> {
        of.words.iter().map(|word| words.binary_search(word).map_or(NONE, |place| place as u32)).collect()
    };
    Words { of_old: places(old), of_new: places(new), words }
}

/// Beliefs that nothing has changed are kept: those about a property whose values are as they were, where no phase
/// that inherits one came or went.
fn carry_beliefs(
    old: &Snapshot,
    next: &Snapshot,
    rows: &[u32],
    touched: &[bool],
    untouched: &HashMap<String, (usize, usize)>,
) {
    let parent = &next.materials.parent;
    let phases: Vec<usize> = (0..touched.len()).filter(|&row| touched[row] && parent[row] != NONE).collect();
    let m = &next.measurements;
    let inherits = |key: &str| {
        let range = m.of_property(key);
        phases.par_iter().any(|&row| !m.of_material(range.clone(), parent[row]).is_empty())
    };
    let affected: HashMap<&str, bool> = untouched.keys().map(|key| (key.as_str(), inherits(key))).collect();
    let moved: Vec<_> = old
        .beliefs
        .all()
        .into_par_iter()
        .filter(|((_, key, _), _)| affected.get(key.as_str()) == Some(&false))
        .filter_map(|(key, beliefs)| {
            let (from, to) = untouched.get(&key.1)?;
            Some((key, Arc::new(beliefs.moved(rows, *from, *to)?)))
        })
        .collect();
    for ((scope, key, at), beliefs) in moved {
        for scope in next.scopes_after(old, &scope) {
            next.beliefs.put((scope, key.clone(), at), Arc::clone(&beliefs));
        }
    }
}

impl Snapshot {
    /// Under which scopes a scope of the snapshot before goes on: the same datasets by name, and for one that saw all (or all that
    /// is public) also the datasets that are new.
    pub(crate) fn scopes_after(&self, old: &Snapshot, scope: &Scope) -> Vec<Scope> {
        let named = |name: &str| old.datasets.iter().position(|d| d.info.name == name).map(|d| scope.0[d]);
        let by_name = Scope(self.datasets.iter().map(|d| named(&d.info.name).unwrap_or(false)).collect());
        let known = |seen: &Scope| {
            self.datasets.iter().zip(&seen.0).all(|(d, &seen)| named(&d.info.name).is_none_or(|was| was == seen))
        };
        let views = [Viewer::Public, Viewer::Owner].map(|viewer| (old.visible(viewer), self.visible(viewer)));
        let views = views.into_iter().filter(|(before, now)| before == scope && known(now) && *now != by_name);
        let mut scopes: Vec<Scope> = views.map(|(_, now)| now).collect();
        scopes.dedup();
        scopes.push(by_name);
        scopes
    }
}
