//! Exports and commits of several datasets: equal hubs give equal files, and many datasets change in one commit.

use std::sync::Arc;

use datasets::catalogue::DatasetInfo;
use datasets::columns::to_batch;
use datasets::export::{Export, ExportError, Format};
use datasets::record::Record;
use datasets::table::{Outcome, SortedRecords, Table, TableError};

use crate::hub::{Hub, batch, contents, paths, record, run};

async fn file(table: &Table, datasets: &[&str], format: Format) -> Vec<u8> {
    let names: Vec<String> = datasets.iter().map(|&name| name.to_owned()).collect();
    let mut bytes = Vec::new();
    Export::new(table, &names, None, format).unwrap().write_to(&mut bytes).await.unwrap();
    bytes
}

async fn in_order(table: &Table, datasets: &[&str]) -> Vec<Record> {
    let names: Vec<String> = datasets.iter().map(|&name| name.to_owned()).collect();
    let mut records = table.in_order(&names).unwrap();
    let mut all = Vec::new();
    loop {
        let next = records.next_batch(7).await.unwrap();
        if next.is_empty() {
            return all;
        }
        all.extend(next);
    }
}

#[test]
fn equal_records_give_equal_files_whatever_files_they_lie_in() {
    run(async {
        let (mut one, mut other) = (Hub::new().await, Hub::new().await);
        one.put("lab", batch(0..100, 1.0)).await;
        one.put("lab-b", vec![record("lab-b/1", 2.0)]).await;
        // in pieces that overlap, out of order, with an update
        other.put("lab-b", vec![record("lab-b/1", 2.0)]).await;
        other.put("lab", batch(0..100, 1.0).into_iter().step_by(3).collect()).await;
        other.put("lab", batch(40..60, 5.0)).await;
        other.put("lab", batch(0..100, 1.0).into_iter().rev().collect()).await;
        assert_ne!(paths(&one.table).len(), paths(&other.table).len());
        for format in Format::ALL {
            let (a, b) = (
                file(&one.table, &["lab", "lab-b"], format).await,
                file(&other.table, &["lab", "lab-b"], format).await,
            );
            assert!(a == b, "{format}: {} and {} bytes", a.len(), b.len());
        }
        // by the bytes of the id: `-` comes before `/`
        let ids: Vec<String> = in_order(&other.table, &["lab", "lab-b"]).await.into_iter().map(|r| r.id).collect();
        assert!(ids.is_sorted() && ids.len() == 101 && ids[0] == "lab-b/1", "{ids:?}");
        let mine = in_order(&other.table, &["lab"]).await;
        assert_eq!(mine, batch(0..100, 1.0));
    });
}

#[test]
fn only_what_is_wanted_is_written() {
    run(async {
        let mut hub = Hub::new().await;
        hub.put("lab", batch(0..10, 1.0)).await;
        let none = Export::new(&hub.table, &["nowhere".into()], None, Format::Csv).err().unwrap();
        assert!(matches!(&none, ExportError::NoDataset { known, .. } if known == &["lab"]), "{none}");
        let mut bytes = Vec::new();
        let wanted = Box::new(|r: &Record| r.id == "lab/003");
        let export = Export::new(&hub.table, &["lab".into()], Some(wanted), Format::JsonLines).unwrap();
        assert_eq!(export.write_to(&mut bytes).await.unwrap(), 1);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(serde_json::from_str::<Record>(text.lines().last().unwrap()).unwrap(), record("lab/003", 1.0));
    });
}

#[test]
fn a_number_that_json_cannot_say_stops_the_export() {
    run(async {
        let mut hub = Hub::new().await;
        hub.put("lab", vec![record("lab/1", f64::NAN)]).await;
        for format in Format::ALL {
            let export = Export::new(&hub.table, &["lab".into()], None, format).unwrap();
            let failed = export.write_to(&mut Vec::new()).await.unwrap_err().to_string();
            assert!(failed.contains("`lab/1` has a value that is no finite number"), "{failed}");
        }
    });
}

async fn upsert_many(
    table: &mut Table,
    sets: Vec<(DatasetInfo, Vec<Record>)>,
    key: Option<&str>,
) -> Result<Outcome, TableError> {
    let pieces = |records: Vec<Record>| -> Arc<dyn SortedRecords> { Arc::new(vec![to_batch(&records).unwrap()]) };
    let sets: Vec<_> = sets.into_iter().map(|(info, records)| (info, pieces(records))).collect();
    table.upsert_sorted(&sets, key).await
}

#[test]
fn several_datasets_change_in_one_commit_or_not_at_all() {
    run(async {
        let mut hub = Hub::new().await;
        let terms = DatasetInfo::unnamed_terms;
        let both =
            || vec![(terms("a"), vec![record("a/1", 1.0)]), (terms("b"), vec![record("b/1", 1.0), record("b/2", 1.0)])];
        let done = upsert_many(&mut hub.table, both(), Some("key")).await.unwrap();
        assert_eq!((done.version, done.committed, done.change.inserted), (1, true, 3));
        assert_eq!(contents(&hub.table).await.len(), 3);
        let names: Vec<String> = hub.table.datasets().unwrap().into_keys().collect();
        assert_eq!(names, ["a", "b"]);
        let commit = hub.table.history().await.unwrap().remove(0);
        assert_eq!((commit.what.datasets, commit.what.inserted), (vec!["a".to_owned(), "b".to_owned()], 3));
        // the same again, by key and by content
        for key in [Some("key"), None] {
            let again = upsert_many(&mut hub.table, both(), key).await.unwrap();
            assert!(!again.committed && again.version == 1);
        }
        // only what changed is named
        let mut changed = both();
        changed[1].1[0] = record("b/1", 2.0);
        let done = upsert_many(&mut hub.table, changed, None).await.unwrap();
        assert_eq!((done.change.updated, done.change.unchanged), (1, 2));
        assert_eq!(hub.table.history().await.unwrap()[0].what.datasets, ["b"]);
        // one foreign record, or one name twice, and nothing is written
        let mut foreign = both();
        foreign[1].1.push(record("c/1", 1.0));
        foreign[0].1.push(record("a/9", 1.0));
        assert!(matches!(upsert_many(&mut hub.table, foreign, None).await, Err(TableError::Foreign { .. })));
        let twice = vec![(terms("a"), vec![record("a/9", 1.0)]), (terms("a"), vec![])];
        assert!(matches!(upsert_many(&mut hub.table, twice, None).await, Err(TableError::Dataset(_))));
        assert_eq!((hub.table.version(), contents(&hub.table).await.len()), (2, 3));
    });
}
