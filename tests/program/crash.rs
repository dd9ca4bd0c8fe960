//! `kill -9` at any moment of the first load: the next start repairs or loads again by itself.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use datasets::bundled;

use crate::bundle::{catalogue, counts, first_load_ms, open};
use crate::program::{command, run, text};

/// Numbers that look random, the same for the same seed (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

pub fn seed() -> u64 {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("MATGENOME_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(now);
    eprintln!("seed: MATGENOME_SEED={seed}");
    seed
}

/// Three data directories, each killed four times while it is loaded, built and kept, and then left to finish.
#[test]
fn kill_9_at_any_moment_of_the_first_load() {
    let mut random = Random(seed());
    let whole = first_load_ms();
    let want = catalogue();
    let revision = bundled::catalogue().unwrap().revision;
    assert!(revision > 0);
    for directory in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        for kill in 0..4 {
            // the load itself is the first part of a start: half of the moments lie there
            let end = if random.below(2) == 0 { whole / 4 } else { whole };
            let moment = random.below(end);
            let mut child = command(&["datasets", "--data", text(data)])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(moment));
            child.kill().unwrap(); // SIGKILL
            let ended = child.wait_with_output().unwrap();
            let loaded = open(data).map(|table| (table.version(), counts(&table)));
            let files = fs::read_dir(data.join("snapshots")).map_or(0, Iterator::count);
            let version = loaded.as_ref().map(|(version, _)| *version);
            eprintln!("directory {directory}, kill {kill} after {moment} ms: version {version:?}, {files} snapshots");
            // either nothing is loaded or all is, and a start that had time to end ended well
            assert!(ended.status.code().is_none_or(|code| code == 0), "{}", String::from_utf8_lossy(&ended.stderr));
            match loaded {
                None => {}
                Some((0, counts)) => assert!(counts.is_empty(), "{counts:?}"),
                Some((version, counts)) => assert_eq!((version, &counts), (1, &want)),
            }
        }
        let next = run(&["datasets", "--json", "--data", text(data)]);
        assert_eq!(next.err, "", "the next start has nothing to complain of");
        let listed = next.json();
        let found = listed["datasets"].as_array().unwrap().iter();
        let found = found.map(|d| (d["name"].as_str().unwrap().to_owned(), d["records"].as_u64().unwrap())).collect();
        assert_eq!(want, found, "directory {directory}");
        assert_eq!(counts(&open(data).unwrap()), want);
        let said = run(&["doctor", "--data", text(data)]).text();
        assert!(said.contains("version 1") && said.contains("kept and sound"), "{said}");
    }
}
