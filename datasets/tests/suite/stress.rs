//! Two writers and four readers at once, a few seconds, or as long as `MATGENOME_STRESS_SECONDS` says. Readers see whole
//! commits only, and never an older version after a newer one; at the end nothing is lost and nothing is there twice.
//!
//! Every row says in its attributes which write made it and how many rows that write had. Row ids of one write are a
//! group: a write replaces a whole group, or takes it out, so at each version every group is whole and of one write.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datasets::catalogue::DatasetInfo;
use datasets::record::Record;
use datasets::table::{Outcome, Table};

use crate::hub::{contents, record, run};

const WRITERS: u64 = 2;
const READERS: u64 = 4;
/// Groups that both writers write.
const GROUPS: u64 = 12;

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The rows of a group, always the same ids, in the words of one write.
fn rows(group: u64, write: &str, value: f64) -> Vec<Record> {
    // 3 to 14 rows, spread so that the id ranges of files overlap
    let size = 3 + group;
    (0..size)
        .map(|n| {
            let mut row = record(&format!("lab/{n:03}-{group:02}"), value);
            row.attributes.insert("group".into(), group.to_string());
            row.attributes.insert("write".into(), write.to_owned());
            row.attributes.insert("size".into(), size.to_string());
            row
        })
        .collect()
}

/// Panics unless each group is whole and of one write. Says which write each group shows.
fn check_whole(records: &BTreeMap<String, Record>, version: u64) -> BTreeMap<u64, String> {
    let mut groups: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in records.values() {
        groups.entry(record.attributes["group"].parse().unwrap()).or_default().push(record);
    }
    let mut shown = BTreeMap::new();
    for (group, rows) in groups {
        let writes: HashSet<&str> = rows.iter().map(|r| r.attributes["write"].as_str()).collect();
        let values: HashSet<u64> = rows.iter().map(|r| r.measurements[0].value.to_bits()).collect();
        assert_eq!((writes.len(), values.len()), (1, 1), "group {group} at version {version} is of several writes");
        assert_eq!(
            rows[0].attributes["size"],
            rows.len().to_string(),
            "group {group} at version {version} is not whole"
        );
        shown.insert(group, rows[0].attributes["write"].clone());
    }
    shown
}

struct Done {
    outcome: Outcome,
    group: u64,
    /// `None`: the group was taken out.
    write: Option<String>,
}

async fn writer(folder: &Path, number: u64, seed: u64, stop: &AtomicBool) -> Vec<Done> {
    let mut table = Table::open_or_create(folder).await.unwrap();
    let lab = DatasetInfo::unnamed_terms("lab");
    let mut state = seed ^ (number << 56);
    let mut all = Vec::new();
    for round in 0u64.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let group = random(&mut state) % GROUPS;
        match random(&mut state) % 10 {
            0 | 1 => {
                let ids = rows(group, "", 0.0).into_iter().map(|r| r.id).collect();
                let outcome = table.delete("lab", &ids).await.unwrap();
                all.push(Done { outcome, group, write: None });
            }
            2 if number == 0 => {
                table.compact("lab").await.unwrap();
                table.clean_orphans(Duration::from_secs(60)).await.unwrap();
            }
            _ => {
                let write = format!("{number}-{round}");
                let value = (number * 1_000_000 + round) as f64;
                let key = (round % 3 == 0).then_some(write.as_str());
                let outcome = table.upsert(&lab, rows(group, &write, value), key).await.unwrap();
                if let Some(key) = key.filter(|_| round % 6 == 0) {
                    let again = table.upsert(&lab, rows(group, &write, value), Some(key)).await.unwrap();
                    assert!(!again.committed, "a key counts once");
                }
                all.push(Done { outcome, group, write: Some(write) });
            }
        }
        // a key of its own each, for ever: that no write is lost is seen at the end
        if round % 5 == 4 {
            let mut mine = record(&format!("own/{number}-{round}"), round as f64);
            mine.attributes.clear();
            table.upsert(&DatasetInfo::unnamed_terms("own"), vec![mine], None).await.unwrap();
        }
    }
    all
}

async fn lab_of(table: &Table) -> BTreeMap<String, Record> {
    let mut records = contents(table).await;
    records.retain(|_, r| r.dataset() == "lab");
    records
}

async fn reader(folder: &Path, number: u64, stop: &AtomicBool, looks: &AtomicU64) {
    let mut table = Table::open(folder).await.unwrap().unwrap();
    let mut version = table.version();
    while !stop.load(Ordering::SeqCst) {
        if number.is_multiple_of(2) {
            table.refresh().await.unwrap();
        } else {
            table = Table::open(folder).await.unwrap().unwrap();
        }
        assert!(table.version() >= version, "version {} after version {version}", table.version());
        version = table.version();
        check_whole(&lab_of(&table).await, version);
        looks.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn two_writers_and_four_readers() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let from = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = from("MATGENOME_SEED").unwrap_or(now);
    let seconds = from("MATGENOME_STRESS_SECONDS").unwrap_or(4);
    eprintln!("seed: MATGENOME_SEED={seed}, {seconds} s");
    let folder = tempfile::tempdir().unwrap();
    run(Table::open_or_create(folder.path())).unwrap();
    let (stop, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds);
    let all: Vec<Vec<Done>> = std::thread::scope(|scope| {
        let (path, stop, looks) = (folder.path(), &stop, &looks);
        let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || run(writer(path, n, seed, stop)))).collect();
        let readers: Vec<_> = (0..READERS).map(|n| scope.spawn(move || run(reader(path, n, stop, looks)))).collect();
        // a thread that failed ends the others too
        while Instant::now() < end
            && !writers.iter().any(|w| w.is_finished())
            && !readers.iter().any(|r| r.is_finished())
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|r| r.join().unwrap());
        writers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    run(async {
        let table = Table::open(folder.path()).await.unwrap().unwrap();
        let (version, looked) = (table.version(), looks.load(Ordering::SeqCst));
        eprintln!("{version} versions, {looked} looks of readers");
        assert!(version >= 5 && looked >= 8, "too little happened to say anything");
        // the writes in the order of their versions give the end
        let mut done: Vec<&Done> = all.iter().flatten().filter(|d| d.outcome.committed).collect();
        done.sort_by_key(|d| d.outcome.version);
        assert!(done.windows(2).all(|w| w[0].outcome.version < w[1].outcome.version), "one commit a version");
        let mut model: BTreeMap<u64, String> = BTreeMap::new();
        let mut at: BTreeMap<u64, BTreeMap<u64, String>> = BTreeMap::new();
        for d in &done {
            match &d.write {
                Some(write) => model.insert(d.group, write.clone()),
                None => model.remove(&d.group),
            };
            at.insert(d.outcome.version, model.clone());
        }
        assert_eq!(check_whole(&lab_of(&table).await, version), model);
        // and so does each version on the way, or some of them where there are many
        for (version, model) in at.iter().step_by(1 + at.len() / 50) {
            let old = table.at(*version).await.unwrap();
            assert_eq!(&check_whole(&lab_of(&old).await, *version), model, "version {version}");
        }
        assert_eq!(table.verify().await.unwrap(), Vec::<String>::new());
        let own = contents(&table).await.into_values().filter(|r| r.dataset() == "own").count();
        let history = table.history().await.unwrap();
        let commits = history.iter().filter(|c| c.what.datasets == ["own"] && c.what.inserted == 1).count();
        assert_eq!(own, commits, "each acknowledged row once");
        assert_eq!(history.len() as u64, version + 1);
    });
}
