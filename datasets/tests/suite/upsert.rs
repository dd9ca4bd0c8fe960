//! Upsert, delete and point reads.

use std::collections::{BTreeMap, HashSet};

use datasets::catalogue::DatasetInfo;
use datasets::record::Record;
use datasets::table::{Change, ROWS_PER_FILE, Table, TableError};
use proptest::prelude::*;

use crate::hub::{Hub, batch, by_id, contents, ids, paths, record, rows, run};

fn change(inserted: u64, updated: u64, unchanged: u64) -> Change {
    Change { inserted, updated, unchanged, deleted: 0 }
}

#[tokio::test]
async fn a_new_folder_becomes_an_empty_table_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    assert!(Table::open(&deep).await.unwrap().is_none(), "nothing is there");
    assert!(!deep.exists(), "looking creates nothing");
    let made = Table::open_or_create(&deep).await.unwrap();
    assert_eq!((made.version(), made.files().unwrap().len()), (0, 0));
    assert!(made.datasets().unwrap().is_empty());
    let again = Table::open_or_create(&deep).await.unwrap();
    assert_eq!(again.version(), 0, "opening commits nothing");
    assert_eq!(again.location(), made.location());
}

#[tokio::test]
async fn upsert_inserts_updates_and_leaves_what_is_the_same() {
    let mut hub = Hub::new().await;
    let first = hub.put("lab", batch(0..10, 1.0)).await;
    assert_eq!((first.version, first.change, first.committed), (1, change(10, 0, 0), true));

    let same = hub.put("lab", batch(0..10, 1.0)).await;
    assert_eq!((same.version, same.change, same.committed), (1, change(0, 0, 10), false), "nothing to commit");

    let mut mixed = batch(5..8, 2.0);
    mixed.extend(batch(8..10, 1.0));
    mixed.extend(batch(10..14, 3.0));
    let third = hub.put("lab", mixed).await;
    assert_eq!((third.version, third.change, third.committed), (2, change(4, 3, 2), true));

    let mut want = by_id(batch(0..5, 1.0));
    want.extend(by_id(batch(5..8, 2.0)));
    want.extend(by_id(batch(8..10, 1.0)));
    want.extend(by_id(batch(10..14, 3.0)));
    assert_eq!(contents(&hub.table).await, want);
    assert_eq!(contents(&hub.again().await).await, want, "another process sees the same");
}

#[tokio::test]
async fn every_field_counts_as_a_difference() {
    let edits: [fn(&mut Record); 14] = [
        |r| r.name = Some("x".into()),
        |r| r.formula_given = None,
        |r| r.formula = Some("AlGa".into()),
        |r| r.space_group = None,
        |r| r.class = Some("alloy".into()),
        |r| drop(r.attributes.insert("a".into(), "b".into())),
        |r| r.measurements[0].uncertainty = None,
        |r| r.measurements[0].given_unit = Some("meV".into()),
        |r| r.measurements[0].method = None,
        |r| r.measurements[0].source = Some("doi:10.1000/2".into()),
        |r| r.measurements[0].temperature_k = Some(4.2),
        |r| r.measurements[0].pressure_pa = Some(1e9),
        |r| r.measurements[0].conditions.clear(),
        |r| r.measurements.clear(),
    ];
    let mut hub = Hub::new().await;
    for (n, edit) in edits.into_iter().enumerate() {
        let base = record("lab/1", n as f64);
        hub.put("lab", vec![base.clone()]).await;
        let mut edited = base;
        edit(&mut edited);
        let done = hub.put("lab", vec![edited.clone()]).await;
        assert_eq!(done.change, change(0, 1, 0), "edit {n}");
        assert_eq!(hub.table.record("lab/1").await.unwrap(), Some(edited), "edit {n}");
    }
}

#[tokio::test]
async fn of_several_records_with_one_id_the_last_counts() {
    let mut hub = Hub::new().await;
    let done = hub.put("lab", vec![record("lab/1", 1.0), record("lab/2", 5.0), record("lab/1", 2.0)]).await;
    assert_eq!(done.change, change(2, 0, 0));
    assert_eq!(contents(&hub.table).await, by_id([record("lab/1", 2.0), record("lab/2", 5.0)]));
    // the same as what is there, after something else: still the same
    let done = hub.put("lab", vec![record("lab/1", 9.0), record("lab/1", 2.0)]).await;
    assert_eq!((done.change, done.committed), (change(0, 0, 1), false));
}

#[tokio::test]
async fn an_idempotency_key_works_once_and_survives_a_restart() {
    let mut hub = Hub::new().await;
    let lab = DatasetInfo::unnamed_terms("lab");
    let first = hub.table.upsert(&lab, batch(0..3, 1.0), Some("run-42")).await.unwrap();
    assert_eq!((first.version, first.committed), (1, true));
    let again = hub.table.upsert(&lab, batch(0..3, 7.0), Some("run-42")).await.unwrap();
    assert_eq!((again.version, again.change, again.committed), (1, Change::default(), false));
    let mut other = hub.again().await;
    let elsewhere = other.upsert(&lab, batch(0..3, 7.0), Some("run-42")).await.unwrap();
    assert_eq!((elsewhere.version, elsewhere.committed), (1, false));
    assert_eq!(contents(&hub.table).await, by_id(batch(0..3, 1.0)));
    let new_key = other.upsert(&lab, batch(0..3, 7.0), Some("run-43")).await.unwrap();
    assert_eq!((new_key.version, new_key.change), (2, change(0, 3, 0)));
    // a key of an older commit stays used, also after later commits
    let late = other.upsert(&lab, batch(0..3, 1.0), Some("run-42")).await.unwrap();
    assert!(!late.committed);
    assert_eq!(contents(&other).await, by_id(batch(0..3, 7.0)));
}

#[tokio::test]
async fn keys_with_odd_characters_are_keys_like_others() {
    let mut hub = Hub::new().await;
    let lab = DatasetInfo::unnamed_terms("lab");
    for (n, key) in ["", " ", "a/b", "\"quoted\"", "µ\n2", "x".repeat(5000).as_str()].into_iter().enumerate() {
        let done = hub.table.upsert(&lab, batch(0..1, n as f64), Some(key)).await.unwrap();
        assert!(done.committed, "{key:?}");
        let again = hub.table.upsert(&lab, batch(0..1, -1.0), Some(key)).await.unwrap();
        assert!(!again.committed, "{key:?}");
    }
}

#[tokio::test]
async fn delete_takes_out_what_is_there_and_only_that() {
    let mut hub = Hub::new().await;
    hub.put("lab", batch(0..5, 1.0)).await;
    hub.put("lab", batch(10..15, 1.0)).await;
    hub.put("other", vec![record("other/001", 1.0)]).await;
    let untouched: Vec<String> = paths(&hub.table);

    let none = hub.table.delete("lab", &ids(&["lab/007", "lab/zzz", "other/001"])).await.unwrap();
    assert_eq!((none.version, none.committed, none.change.deleted), (3, false, 0));
    assert_eq!(paths(&hub.table), untouched);

    let some = hub.table.delete("lab", &ids(&["lab/001", "lab/003", "lab/zzz"])).await.unwrap();
    assert_eq!((some.version, some.committed, some.change.deleted), (4, true, 2));
    assert_eq!(hub.table.record("lab/001").await.unwrap(), None);
    let left: Vec<String> = contents(&hub.table).await.into_keys().collect();
    let want = ["000", "002", "004", "010", "011", "012", "013", "014"].map(|n| format!("lab/{n}"));
    assert_eq!(left, [&want[..], &["other/001".to_owned()]].concat());

    let all: HashSet<String> = want.into_iter().collect();
    let rest = hub.table.delete("lab", &all).await.unwrap();
    assert_eq!(rest.change.deleted, 8);
    assert_eq!(contents(&hub.table).await.len(), 1, "the other dataset stays");
    let back = hub.put("lab", batch(0..2, 1.0)).await;
    assert_eq!(back.change, change(2, 0, 0), "what was deleted is new again");
}

#[tokio::test]
async fn a_record_of_another_dataset_is_refused_and_nothing_is_written() {
    let mut hub = Hub::new().await;
    for id in ["other/1", "lab2/1", "lab", "/1", ""] {
        let error = hub.try_put("lab", vec![record("lab/1", 1.0), record(id, 1.0)]).await;
        match error.map(|done| done.committed) {
            Err(TableError::Foreign { id: named, dataset }) => {
                assert_eq!((named.as_str(), dataset.as_str()), (id, "lab"))
            }
            // `lab` alone reads as a record of `lab` without a source id
            Ok(_) if id == "lab" => {}
            other => panic!("{id}: {other:?}"),
        }
    }
    let left: Vec<String> = contents(&hub.table).await.into_keys().filter(|id| !id.starts_with("lab")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn bad_dataset_names_are_refused_with_the_rule() {
    let mut hub = Hub::new().await;
    for name in ["", "My Lab", "LAB", "-x", ".hidden", "..", "a/b", "a\\b", "ä", "a=b", "a%2Fb", &"x".repeat(65)] {
        let error = hub.try_put(name, Vec::new()).await.unwrap_err();
        assert!(matches!(&error, TableError::Dataset(_)), "{name}: {error:?}");
        let text = error.to_string();
        assert!(text.contains("is no dataset name: use 1 to 64 of a-z"), "{name}: {text}");
    }
    assert_eq!(hub.table.version(), 0, "nothing was written");
    for name in ["a", "0", "my-lab", "a.b_c-1", &"x".repeat(64)] {
        hub.put(name, vec![record(&format!("{name}/1"), 1.0)]).await;
        assert!(hub.table.record(&format!("{name}/1")).await.unwrap().is_some(), "{name}");
    }
}

#[tokio::test]
async fn point_reads_find_any_record_in_any_file() {
    let mut hub = Hub::new().await;
    for (n, range) in [0..40, 100..140, 20..60, 90..95].into_iter().enumerate() {
        hub.put("lab", batch(range, n as f64)).await;
    }
    // ids that sort oddly, are long, or hold what paths and JSON treat specially
    let odd = ["lab/", "lab//", "lab/../x", "lab/a b", "lab/%2F", "lab/\"q\"", "lab/ä", "lab/\u{10FFFF}", "lab/\\"];
    let long = [format!("lab/{}", "y".repeat(500)), format!("lab/{}z", "y".repeat(500))];
    let special: Vec<&str> = odd.into_iter().chain(long.iter().map(String::as_str)).collect();
    hub.put("lab", special.iter().map(|id| record(id, 8.0)).collect()).await;
    assert!(hub.table.files().unwrap().len() > 3);

    let all = contents(&hub.table).await;
    assert_eq!(all.len(), 60 + 40 + 5 + special.len());
    let again = hub.again().await;
    for (id, record) in &all {
        assert_eq!(again.record(id).await.unwrap().as_ref(), Some(record), "{id:?}");
    }
    for absent in ["lab/061", "lab/0", "lab/zzzz", "lab", "other/001", "", "/", "lab/001 "] {
        assert_eq!(again.record(absent).await.unwrap(), None, "{absent:?}");
    }
    let same = hub.put("lab", all.values().cloned().collect()).await;
    assert_eq!((same.committed, same.change.unchanged), (false, all.len() as u64));
}

#[tokio::test]
async fn an_upsert_rewrites_only_the_files_that_it_touches() {
    let mut hub = Hub::new().await;
    let mut of = Vec::new();
    for range in [0..10, 10..20, 20..30] {
        let before = paths(&hub.table);
        hub.put("lab", batch(range, 1.0)).await;
        of.push(paths(&hub.table).into_iter().find(|p| !before.contains(p)).unwrap());
    }
    hub.put("other", vec![record("other/015", 1.0)]).await;
    let before = paths(&hub.table);

    hub.put("lab", batch(14..16, 2.0)).await;
    let after = paths(&hub.table);
    let gone: Vec<&String> = before.iter().filter(|p| !after.contains(p)).collect();
    assert_eq!(gone, [&of[1]], "only the file that held them goes");
    assert_eq!(after.len(), before.len());
    for file in hub.table.files().unwrap() {
        let (min, max) = file.ids.clone().unwrap();
        assert!(min <= max && file.rows.unwrap() > 0 && file.size > 0, "{file:?}");
        assert_eq!(file.path.split('/').next(), Some(format!("dataset={}", file.dataset).as_str()));
    }

    // an append beside what is there takes nothing out
    hub.put("lab", batch(30..33, 1.0)).await;
    let appended = paths(&hub.table);
    assert!(after.iter().all(|p| appended.contains(p)) && appended.len() == after.len() + 1);

    // the same values again, among new ones, take nothing out either
    let mut mixed = batch(0..10, 1.0);
    mixed.extend(batch(40..41, 1.0));
    hub.put("lab", mixed).await;
    let mixed = paths(&hub.table);
    assert!(appended.iter().all(|p| mixed.contains(p)) && mixed.len() == appended.len() + 1);
}

#[tokio::test]
async fn the_first_and_the_last_id_of_a_file_are_known_in_whole() {
    let mut hub = Hub::new().await;
    let ids = ["a", "\u{10ffff}"].map(|text| format!("lab/{}", text.repeat(100)));
    hub.put("lab", ids.iter().map(|id| record(id, 1.0)).collect()).await;
    let files = hub.table.files().unwrap();
    assert_eq!(files[0].ids, Some((ids[0].clone(), ids[1].clone())));
}

#[tokio::test]
async fn a_large_batch_makes_several_files_in_id_order() {
    let mut hub = Hub::new().await;
    let count = ROWS_PER_FILE as u32 + 100;
    let records: Vec<Record> = (0..count).rev().map(|n| record(&format!("lab/{n:06}"), 1.0)).collect();
    assert_eq!(hub.put("lab", records).await.change, change(u64::from(count), 0, 0));
    let mut spans: Vec<(String, String)> = hub.table.files().unwrap().into_iter().map(|f| f.ids.unwrap()).collect();
    spans.sort();
    assert_eq!(spans.len(), 2);
    assert!(spans[0].1 < spans[1].0, "files do not overlap: {spans:?}");
    assert!(hub.table.record("lab/065600").await.unwrap().is_some());
    let done = hub.put("lab", vec![record("lab/000007", 2.0)]).await;
    assert_eq!(done.change, change(0, 1, 0));
    assert_eq!(rows(&hub.table).await.len(), count as usize);
}

#[derive(Debug, Clone)]
enum Step {
    Upsert(Vec<(u8, u8)>),
    Delete(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let upsert = prop::collection::vec((0u8..24, 0u8..3), 0..12).prop_map(Step::Upsert);
    let delete = prop::collection::vec(0u8..24, 0..6).prop_map(Step::Delete);
    prop::collection::vec(prop_oneof![3 => upsert, 1 => delete], 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is written and deleted, the table is what a map would be, and counts what a map would count.
    #[test]
    fn the_table_is_a_map(steps in steps()) {
        run(async {
            let mut hub = Hub::new().await;
            let mut model: BTreeMap<String, Record> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Upsert(rows) => {
                        let rows: Vec<Record> =
                            rows.into_iter().map(|(n, v)| record(&format!("lab/{n:03}"), f64::from(v))).collect();
                        let mut want = Change::default();
                        for (id, row) in by_id(rows.clone()) {
                            match model.insert(id, row.clone()) {
                                None => want.inserted += 1,
                                Some(old) if old != row => want.updated += 1,
                                Some(_) => want.unchanged += 1,
                            }
                        }
                        assert_eq!(hub.put("lab", rows).await.change, want);
                    }
                    Step::Delete(numbers) => {
                        let wanted: HashSet<String> = numbers.iter().map(|n| format!("lab/{n:03}")).collect();
                        let before = model.len();
                        model.retain(|id, _| !wanted.contains(id));
                        let done = hub.table.delete("lab", &wanted).await.unwrap();
                        assert_eq!(done.change.deleted, (before - model.len()) as u64);
                    }
                }
                assert_eq!(contents(&hub.table).await, model);
            }
        });
    }
}
