//! Several writers of one table: no row is lost, none is there twice.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Barrier;

use datasets::catalogue::DatasetInfo;
use datasets::record::Record;
use datasets::table::{Outcome, Table};

use crate::hub::{Hub, batch, contents, record, run};

const WRITERS: u32 = 4;
const ROUNDS: u32 = 10;

/// What one write did, so that all of them can be played again in the order of their versions.
struct Done {
    outcome: Outcome,
    rows: Vec<Record>,
    deleted: HashSet<String>,
}

/// Rows of one round of a writer: ids that other writers write too, and one of its own.
fn rows_of(writer: u32, round: u32) -> Vec<Record> {
    let value = f64::from(writer * 1000 + round);
    let mut rows: Vec<Record> =
        (0..6).map(|n| record(&format!("lab/{:03}", (writer + round * 3 + n * 2) % 20), value)).collect();
    rows.push(record(&format!("lab/own-{writer}-{round}"), value));
    rows
}

async fn write(mut table: Table, writer: u32) -> Vec<Done> {
    let lab = DatasetInfo::unnamed_terms("lab");
    let mut done = Vec::new();
    for round in 0..ROUNDS {
        let rows = rows_of(writer, round);
        let outcome = table.upsert(&lab, rows.clone(), Some(&format!("{writer}-{round}"))).await.unwrap();
        done.push(Done { outcome, rows, deleted: HashSet::new() });
        if round % 4 == 3 {
            let deleted: HashSet<String> = HashSet::from([format!("lab/{:03}", (writer * 5 + round) % 20)]);
            let outcome = table.delete("lab", &deleted).await.unwrap();
            done.push(Done { outcome, rows: Vec::new(), deleted });
        }
    }
    done
}

/// The end is what one writer would have made of the same writes, in the order of their versions.
async fn check(folder: &Path, mut all: Vec<Done>) {
    all.retain(|done| done.outcome.committed);
    all.sort_by_key(|done| done.outcome.version);
    let versions: Vec<u64> = all.iter().map(|done| done.outcome.version).collect();
    assert_eq!(versions, (1..=all.len() as u64).collect::<Vec<_>>(), "one commit a version, and no other commits");

    let table = Table::open(folder).await.unwrap().unwrap();
    let mut model: BTreeMap<String, Record> = BTreeMap::new();
    for done in &all {
        let mut change = datasets::table::Change::default();
        for row in &done.rows {
            match model.insert(row.id.clone(), row.clone()) {
                None => change.inserted += 1,
                Some(old) if &old != row => change.updated += 1,
                Some(_) => change.unchanged += 1,
            }
        }
        for id in &done.deleted {
            change.deleted += u64::from(model.remove(id).is_some());
        }
        assert_eq!(done.outcome.change, change, "counts of version {}", done.outcome.version);
    }
    assert_eq!(contents(&table).await, model);
    for writer in 0..WRITERS {
        for round in 0..ROUNDS {
            assert!(model.contains_key(&format!("lab/own-{writer}-{round}")), "no batch is lost");
        }
    }
    let history = table.history().await.unwrap();
    assert_eq!(history.len(), all.len() + 1);
}

#[test]
fn threads_with_a_runtime_each() {
    let folder = tempfile::tempdir().unwrap();
    let start = Barrier::new(WRITERS as usize);
    let all: Vec<Done> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (start, path) = (&start, folder.path());
                scope.spawn(move || {
                    start.wait();
                    // each creates the table too, where it is the first
                    run(async { write(Table::open_or_create(path).await.unwrap(), writer).await })
                })
            })
            .collect();
        writers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    run(check(folder.path(), all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_of_one_runtime() {
    let hub = Hub::new().await;
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(hub.table.clone(), writer))).collect();
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await.unwrap());
    }
    check(hub.folder.path(), all).await;
}

#[tokio::test]
async fn a_handle_that_fell_behind_writes_onto_the_newest_version() {
    let mut hub = Hub::new().await;
    hub.put("lab", batch(0..4, 1.0)).await;
    let mut behind = hub.again().await;
    hub.put("lab", batch(2..6, 2.0)).await;
    let done = behind.upsert(&DatasetInfo::unnamed_terms("lab"), batch(3..8, 3.0), None).await.unwrap();
    assert_eq!((done.version, done.change.inserted, done.change.updated), (3, 2, 3));
    let values: Vec<f64> = contents(&behind).await.values().map(|r| r.measurements[0].value).collect();
    assert_eq!(values, [1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_in_many_hands_commits_once() {
    let hub = Hub::new().await;
    let writers: Vec<_> = (0..6)
        .map(|n| {
            let mut table = hub.table.clone();
            tokio::spawn(async move {
                let rows = batch(0..3, f64::from(n));
                table.upsert(&DatasetInfo::unnamed_terms("lab"), rows, Some("the one")).await.unwrap().committed
            })
        })
        .collect();
    let mut committed = Vec::new();
    for writer in writers {
        committed.push(writer.await.unwrap());
    }
    let table = hub.again().await;
    assert_eq!(table.version(), 1, "one commit");
    assert_eq!(committed.iter().filter(|c| **c).count(), 1, "one of them made it: {committed:?}");
    let values: HashSet<u64> = contents(&table).await.values().map(|r| r.measurements[0].value.to_bits()).collect();
    assert_eq!(values.len(), 1, "the rows are those of one of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_always_see_whole_batches() {
    let hub = Hub::new().await;
    let mut writer = hub.table.clone();
    let mut reader = hub.table.clone();
    let writing = tokio::spawn(async move {
        for n in 0..20u32 {
            writer.upsert(&DatasetInfo::unnamed_terms("lab"), batch(0..30, f64::from(n)), None).await.unwrap();
        }
    });
    while !writing.is_finished() {
        reader.refresh().await.unwrap();
        let seen = contents(&reader).await;
        let values: HashSet<u64> = seen.values().map(|r| r.measurements[0].value.to_bits()).collect();
        assert!(seen.is_empty() || (seen.len() == 30 && values.len() == 1), "half a batch: {} rows", seen.len());
    }
    writing.await.unwrap();
}
