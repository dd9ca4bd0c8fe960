//! The disk is full in the middle of an ingest: a clear error, the table as before, nothing left, and the same command
//! goes through once there is space.

use std::path::Path;
use std::process::Command;

use crate::program::{Lab, run, text, tree};

/// A small file system in memory, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, said aloud, where this user may not mount one.
    fn new(kilobytes: u32) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kilobytes}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs", text(folder.path())]).output();
        match mounted {
            Ok(done) if done.status.success() => Some(SmallDisk(folder)),
            other => {
                eprintln!("SKIPPED: no small file system can be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Rows that hardly compress: many, each with words of its own.
fn rows(count: u32, salt: u32) -> String {
    let mut csv = String::from("run,formula,gap,rho,note\n");
    let mut state = u64::from(salt) << 32 | 1;
    for n in 0..count {
        let mut word = String::new();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word += &format!("{state:016x}");
        }
        csv += &format!("{n},Si,1.{n:05},2.3,{word}\n");
    }
    csv
}

fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    let mut block = vec![7u8; 64 << 10];
    while !block.is_empty() {
        match file.write(&block) {
            Ok(0) | Err(_) => block.truncate(block.len() / 2),
            Ok(_) => {}
        }
    }
}

#[test]
fn an_ingest_on_a_full_disk_changes_nothing_and_goes_through_later() {
    let Some(disk) = SmallDisk::new(4096) else { return };
    let lab = Lab::empty();
    let data = disk.0.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let map = lab.path("map.toml");
    let small = lab.file("small.csv", &rows(200, 1));
    let large = lab.file("large.csv", &rows(9000, 2));
    let ingest = |file: &Path, key: &str| {
        let arguments = ["ingest", text(file), "--mapping", text(&map), "--data", text(&data), "--no-bundled"];
        run(&[&arguments[..], &["--idempotency-key", key]].concat())
    };
    let filler = disk.0.path().join("filler");
    let first = ingest(&small, "small");
    assert_eq!(first.code, Some(0), "{first:?}");

    // space for some of it: the data file is cut off in the middle. Then for none at all
    fill(&filler);
    let file = std::fs::OpenOptions::new().write(true).open(&filler).unwrap();
    file.set_len(file.metadata().unwrap().len() - (150 << 10)).unwrap();
    drop(file);
    for round in 0..4 {
        if round == 2 {
            fill(&filler);
        }
        let before = tree(&data);
        let full = ingest(&large, "large");
        assert_eq!(full.code, Some(1), "{full:?}");
        assert!(
            full.err.contains("no space left on the disk of") && full.err.contains("run the same command again"),
            "{}",
            full.err
        );
        assert_eq!(full.err.lines().count(), 1, "{}", full.err);
        assert_eq!(tree(&data), before, "the table is as before, and nothing is left");
    }
    let verified = run(&["verify", "--data", text(&data)]);
    assert!(verified.text().contains("200 records"), "{verified:?}");

    std::fs::remove_file(&filler).unwrap();
    let after = ingest(&large, "large");
    assert_eq!(after.code, Some(0), "{after:?}");
    assert!(after.text().contains("8,800 records new, 200 updated, 0 unchanged; committed as version 2"), "{after:?}");
    let again = ingest(&large, "large");
    assert!(again.text().contains("still version 2"), "{again:?}");
    assert!(run(&["verify", "--data", text(&data)]).text().contains("9,000 records"));
}

#[test]
fn a_new_data_directory_on_a_full_disk() {
    let Some(disk) = SmallDisk::new(1024) else { return };
    let lab = Lab::empty();
    let data = disk.0.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(data.join("records")).unwrap();
    let filler = disk.0.path().join("filler");
    fill(&filler);
    let (rows, map) = (lab.path("rows.csv"), lab.path("map.toml"));
    let arguments = ["ingest", text(&rows), "--mapping", text(&map), "--data", text(&data), "--no-bundled"];
    let full = run(&arguments);
    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(full.err.contains("no space left on the disk of"), "{}", full.err);
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(run(&arguments).code, Some(0));
    let verified = run(&["verify", "--data", text(&data)]);
    assert!(verified.text().contains("10 records"), "{verified:?}");
}
