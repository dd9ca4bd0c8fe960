//! Time travel and history.

use datasets::catalogue::DatasetInfo;
use datasets::table::{CommitInfo, Table, TableError};

use crate::hub::{Hub, batch, by_id, contents, ids, record};

#[tokio::test]
async fn every_version_can_be_read_as_it_was() {
    let mut hub = Hub::new().await;
    let mut kept = vec![contents(&hub.table).await];
    for n in 0..4u32 {
        hub.put("lab", batch(n * 2..n * 2 + 5, f64::from(n))).await;
        kept.push(contents(&hub.table).await);
    }
    hub.table.delete("lab", &ids(&["lab/000", "lab/005"])).await.unwrap();
    kept.push(contents(&hub.table).await);
    for (version, want) in kept.iter().enumerate() {
        let then = hub.table.at(version as u64).await.unwrap();
        assert_eq!(then.version(), version as u64);
        assert_eq!(&contents(&then).await, want, "version {version}");
    }
    let gone = hub.table.at(4).await.unwrap().record("lab/005").await.unwrap();
    assert!(gone.is_some() && hub.table.record("lab/005").await.unwrap().is_none());
    let error = hub.table.at(99).await.unwrap_err();
    assert!(matches!(error, TableError::NoSuchVersion { asked: 99, newest: 5 }), "{error:?}");
}

#[tokio::test]
async fn history_says_what_each_commit_did() {
    let mut hub = Hub::new().await;
    hub.put("lab", batch(0..10, 1.0)).await;
    let mut mixed = batch(8..10, 2.0);
    mixed.extend(batch(10..13, 2.0));
    hub.put("lab", mixed).await;
    hub.put("lab", batch(0..3, 1.0)).await; // nothing new: no commit
    hub.put("other", vec![record("other/1", 1.0)]).await;
    hub.table.delete("lab", &ids(&["lab/000", "lab/001"])).await.unwrap();

    let info = |operation: &str, datasets: &[&str], inserted, updated, deleted| CommitInfo {
        operation: operation.into(),
        datasets: datasets.iter().map(|d| (*d).to_owned()).collect(),
        inserted,
        updated,
        deleted,
    };
    let want = [
        (4, info("delete", &["lab"], 0, 0, 2)),
        (3, info("upsert", &["other"], 1, 0, 0)),
        (2, info("upsert", &["lab"], 3, 2, 0)),
        (1, info("upsert", &["lab"], 10, 0, 0)),
        (0, info("create", &[], 0, 0, 0)),
    ];
    for table in [hub.table.clone(), hub.again().await] {
        let history = table.history().await.unwrap();
        let found: Vec<(u64, CommitInfo)> = history.iter().map(|c| (c.version, c.what.clone())).collect();
        assert_eq!(found, want);
        let times: Vec<i64> = history.iter().map(|c| c.timestamp_ms.unwrap()).collect();
        assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    }
}

#[tokio::test]
async fn history_of_an_older_version_ends_there() {
    let mut hub = Hub::new().await;
    for n in 0..3 {
        hub.put("lab", batch(0..2, f64::from(n))).await;
    }
    let then = hub.table.at(1).await.unwrap();
    let versions: Vec<u64> = then.history().await.unwrap().iter().map(|c| c.version).collect();
    assert_eq!(versions, [1, 0]);
}

#[tokio::test]
async fn a_handle_stays_at_its_version_until_it_is_refreshed() {
    let mut hub = Hub::new().await;
    hub.put("lab", batch(0..2, 1.0)).await;
    let mut reader = hub.again().await;
    hub.put("lab", batch(0..2, 2.0)).await;
    assert_eq!(contents(&reader).await, by_id(batch(0..2, 1.0)), "old files stay readable");
    assert!(reader.refresh().await.unwrap());
    assert_eq!(contents(&reader).await, by_id(batch(0..2, 2.0)));
    assert!(!reader.refresh().await.unwrap());
}

#[tokio::test]
async fn more_than_a_hundred_commits_keep_records_terms_keys_and_history() {
    // beyond a hundred commits the log gets a checkpoint, and is read from there
    let mut hub = Hub::new().await;
    let lab = DatasetInfo { licence: "MIT".into(), ..DatasetInfo::unnamed_terms("lab") };
    let commits = 105;
    for n in 0..commits {
        let key = format!("key-{n}");
        hub.table.upsert(&lab, batch(n % 7..n % 7 + 2, f64::from(n)), Some(&key)).await.unwrap();
    }
    let log = std::fs::read_dir(hub.log()).unwrap();
    let checkpoints = log.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("checkpoint")).count();
    assert!(checkpoints > 0, "the log has a checkpoint");
    let mut again = Table::open_or_create(hub.folder.path()).await.unwrap();
    assert_eq!(again.version(), u64::from(commits));
    assert_eq!(contents(&again).await, contents(&hub.table).await);
    assert_eq!(again.datasets().unwrap()["lab"].licence, "MIT");
    for n in [0, 50, 99, 100, 104] {
        let done = again.upsert(&lab, batch(0..1, -1.0), Some(&format!("key-{n}"))).await.unwrap();
        assert!(!done.committed, "key-{n} was used");
    }
    let history = again.history().await.unwrap();
    assert_eq!(history.len(), commits as usize + 1);
    assert!(history.iter().rev().zip(0u64..).all(|(commit, version)| commit.version == version));
    assert_eq!(contents(&again.at(3).await.unwrap()).await.len(), 4);
}
