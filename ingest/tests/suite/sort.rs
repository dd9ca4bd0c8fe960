//! What does not fit in memory is sorted on disk, to the same records.

use std::collections::BTreeMap;
use std::path::Path;

use datasets::columns::RecordColumns;
use datasets::record::Record;
use datasets::table::SortedRecords as _;
use ingest::sort::{Duplicate, Origin, RunBuilder, SortedRun, Sorter};

fn record(id: u64, note: u64) -> Record {
    Record {
        id: format!("{}/{id:05}", if id.is_multiple_of(3) { "lab" } else { "other" }),
        name: None,
        formula_given: None,
        formula: None,
        space_group: None,
        smiles: None,
        structure: None,
        class: None,
        attributes: BTreeMap::from([(format!("note {note}"), note.to_string())]),
        measurements: Vec::new(),
    }
}

/// The records of each dataset, and the duplicates in the order of their rows.
fn sorted(sorter: Sorter, join: bool) -> (Vec<(String, Vec<Record>)>, Vec<Duplicate>) {
    let mut sorted = sorter.finish(join, &|| true).unwrap().unwrap();
    sorted.duplicates.sort_by_key(|d| match d {
        Duplicate::Same(origin, _) | Duplicate::Other(origin, _) => *origin,
    });
    let sets = sorted.pieces.by_dataset().unwrap().into_iter().map(|(name, pieces)| {
        let mut records = Vec::new();
        for (piece, (min, max)) in pieces.ranges().iter().enumerate() {
            let columns = RecordColumns::read(&pieces.read(piece).unwrap()).unwrap();
            assert_eq!((columns.id.value(0), columns.id.value(columns.len() - 1)), (min.as_str(), max.as_str()));
            records.extend((0..columns.len()).map(|row| columns.record(row)));
        }
        assert!(records.windows(2).all(|pair| pair[0].id < pair[1].id), "{name}");
        (name, records)
    });
    (sets.collect(), sorted.duplicates)
}

fn sorted_run(rows: impl Iterator<Item = (Record, Origin)>) -> SortedRun {
    let mut run = RunBuilder::default();
    rows.for_each(|(record, origin)| run.push(&record, origin).unwrap());
    run.finish().unwrap()
}

/// Twenty runs of rows, of which every third id comes twice, with other content or the same.
fn fill(mut sorter: Sorter) -> Sorter {
    for run in 0..20 {
        let rows = (0..1_000).map(|n| {
            let row = run * 1_000 + n;
            let id = (row * 7_919) % 15_000;
            (record(id, if row.is_multiple_of(2) { id } else { row }), Origin { table: 0, line: row })
        });
        sorter.add(sorted_run(rows)).unwrap();
    }
    sorter
}

#[test]
fn rows_on_disk_become_the_records_that_rows_in_memory_become() {
    let folder = tempfile::tempdir().unwrap();
    let scratch: &Path = folder.path();
    for join in [false, true] {
        let (want, duplicates) = sorted(fill(Sorter::new(scratch)), join);
        assert_eq!(want.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["lab", "other"]);
        assert_eq!(want.iter().map(|(_, records)| records.len()).sum::<usize>(), 15_000);
        assert_eq!(duplicates.len(), if join { 0 } else { 5_000 });
        // one run, some runs, and nearly all of them in memory at a time
        for memory in [1, 1 << 20, 3 << 20] {
            // in one range, and in many of about a hundred rows
            for piece in [usize::MAX, 20_000] {
                let sorter = fill(Sorter::with_memory(scratch, memory, piece));
                assert_eq!(sorted(sorter, join), (want.clone(), duplicates.clone()), "{memory} {piece}");
            }
        }
    }
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0, "files on disk have no name");
}

#[test]
fn a_sort_that_is_told_to_stop_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut sorter = Sorter::with_memory(folder.path(), 1, usize::MAX);
    for run in 0..2 {
        let rows = (0..60_000).map(|n| (record(run * 60_000 + n, 0), Origin { table: 0, line: n }));
        sorter.add(sorted_run(rows)).unwrap();
    }
    assert!(sorter.finish(false, &|| false).unwrap().is_none());
}

#[test]
fn all_rows_may_speak_of_one_record() {
    let folder = tempfile::tempdir().unwrap();
    for (memory, join) in [(1 << 30, false), (1 << 30, true), (1 << 20, false)] {
        let mut sorter = Sorter::with_memory(folder.path(), memory, usize::MAX);
        for run in 0..7 {
            let rows = (0..10_000).map(|n| (record(3, 1), Origin { table: 0, line: run * 10_000 + n }));
            sorter.add(sorted_run(rows)).unwrap();
        }
        let (sets, duplicates) = sorted(sorter, join);
        assert_eq!((sets.len(), sets[0].1.len()), (1, 1));
        assert_eq!(duplicates.len(), if join { 0 } else { 69_999 });
    }
}

#[test]
fn short_runs_are_cut_into_ranges_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut sorter = Sorter::with_memory(folder.path(), 1 << 20, 50_000);
    for run in 0..400 {
        let rows = (0..50).map(|n| {
            let row = run * 50 + n;
            (record(row * 7_919 % 20_000, row % 3), Origin { table: 0, line: row })
        });
        sorter.add(sorted_run(rows)).unwrap();
    }
    let done = sorter.finish(false, &|| true).unwrap().unwrap();
    let sets = done.pieces.by_dataset().unwrap();
    let pieces: usize = sets.iter().map(|(_, pieces)| pieces.ranges().len()).sum();
    assert!(pieces > 10, "{pieces} pieces");
    let records =
        sets.iter().flat_map(|(_, pieces)| (0..pieces.ranges().len()).map(|n| pieces.read(n).unwrap().num_rows()));
    assert_eq!(records.sum::<usize>(), 20_000);
}
