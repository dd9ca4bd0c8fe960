//! After a commit a GPU makes its columns of those that it has, and answers as if all had been copied to it.

use std::collections::HashSet;

use datasets::record::Record;
use gpu::{Choice, Device, OpenOptions};
use matgenome_index::candidate::Candidate;
use matgenome_index::hub::Hub;
use matgenome_index::scope::Viewer;
use matgenome_index::spec::from_json;

use crate::world::{Write as _, devices, ingest, measured, open, record, wait, world};

const MATERIALS: usize = 12_000;
/// Bytes of a column on a device.
const COLUMN: u64 = 8 * MATERIALS as u64;

fn material(n: usize) -> Record {
    let of = |times: usize| (n * times % 10_007) as f64 / 1000.0;
    let one = record(&format!("lab/{n:05}")).name(&format!("alloy {n:05}")).says(measured("density", 1.0 + of(7919)));
    if n.is_multiple_of(3) { one.says(measured("band_gap", of(104_729))) } else { one }
}

/// The answers to some specs, without what differs from hub to hub.
fn answers(hub: &Hub) -> Vec<String> {
    let specs = [
        r#"{"targets": [{"property": "band_gap", "min": 2, "max": 3}, {"property": "density", "max": 2}], "limit": 40}"#,
        r#"{"targets": [{"property": "density", "min": 12.5}], "unknown": "ignore", "limit": 20}"#,
        r#"{"targets": [{"index": "band_gap / density", "min": 4}], "limit": 20}"#,
    ];
    let answer = |spec: &&str| {
        let answer = hub.suggest(&from_json(spec.as_bytes()).unwrap(), Viewer::Public).unwrap();
        assert!(answer.meta.note.is_none(), "{:?}", answer.meta.note);
        let of = |c: &Candidate| (c.material.clone(), c.score.to_bits());
        format!("{:?}", answer.candidates.iter().map(of).collect::<Vec<_>>())
    };
    specs.iter().map(answer).collect()
}

#[test]
fn a_commit_of_a_few_records_copies_a_few_rows_to_a_gpu() {
    let Some(device) = devices().into_iter().find(|device| !device.is_cpu()) else { return };
    after_commits(&device, Some(COLUMN / 100));
    assert_eq!(device.describe().note, None);
}

/// Memory for one of three columns, and none that could be followed for long.
#[test]
fn a_gpu_that_is_short_of_memory_answers_the_same() {
    let Some(device) = devices().into_iter().find(|device| !device.is_cpu()) else { return };
    // with room for the rows that are put in
    let memory = COLUMN + 800;
    let options = OpenOptions { memory_bytes: Some(memory), ..OpenOptions::default() };
    let device = Device::open_with(&Choice::Named(device.name().to_owned()), options).unwrap();
    after_commits(&device, None);
    let described = device.describe();
    assert!(described.held_bytes.is_some_and(|bytes| bytes <= memory), "{described:?}");
    assert!(described.note.is_some_and(|note| note.contains("half precision")));
}

/// Answers a few specs after each of a few commits as the CPU does, and copies so many bytes to the device each time at most.
fn after_commits(device: &Device, most: Option<u64>) {
    let uploaded = |device: &Device| device.describe().uploaded_bytes.unwrap();
    let mut world = world(&(0..MATERIALS).map(material).collect::<Vec<_>>());
    wait(async {
        let hub = Hub::open(world.dir.path(), device.clone(), false, &mut |_| {}).await.unwrap();
        let before = answers(&hub);
        assert!(uploaded(device) >= COLUMN, "{}", uploaded(device));
        let mut last = before;
        for step in 0..5 {
            let so_far = uploaded(device);
            let better = |id: &str, name: &str| {
                record(id)
                    .name(name)
                    .says(measured("density", 1.5))
                    .says(measured("band_gap", 2.5 + f64::from(step) / 50.0))
            };
            match step {
                // in the middle of all others, so that half of the rows move
                0 => ingest(&mut world.table, &[better("new/0", "alloy 06000 b")], 9).await,
                // another value for one that is there
                1 => ingest(&mut world.table, &[better("lab/03000", "alloy 03000")], 9).await,
                2 => {
                    let gone = HashSet::from(["lab/00000".to_owned(), "new/0".to_owned()]);
                    for dataset in ["lab", "new"] {
                        world.table.delete(dataset, &gone).await.unwrap();
                    }
                }
                // first and last of all, in several commits at once
                3 => ingest(&mut world.table, &[better("new/1", "aaa"), better("new/2", "zzz")], 1).await,
                // of a property that nobody asks for: rows move, and no value has changed
                _ => {
                    ingest(
                        &mut world.table,
                        &[record("new/3").name("alloy 05000 b").says(measured("hardness_vickers", 3e9))],
                        9,
                    )
                    .await
                }
            }
            assert!(hub.refresh().await.unwrap());
            let now = answers(&hub);
            assert_eq!(now, answers(&open(world.dir.path()).await), "step {step}");
            assert!(step == 4 || now != last, "step {step} changes the answers");
            let copied = uploaded(device) - so_far;
            assert!(most.is_none_or(|most| copied <= most), "step {step}: {copied} bytes were copied");
            last = now;
        }
    });
}
