//! Any bytes as a table under a mapping that uses what a mapping can say: read = accepted + refused + unchanged, and no panic.
//! A zero byte parts a mapping of the fuzzer's own from its table.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use ingest::job::{Input, Request, Watch, read};
use ingest::mapping::Mapping;
use libfuzzer_sys::fuzz_target;

const MAPPING: &str = r#"
derive = ["density_from_volume"]
[dataset]
name = "fuzz"
title = "Fuzz"
contributor = "Fuzz"
licence = "CC0-1.0"
citation = "Fuzz"
visibility = "public"
[read]
null = ["NaN", "-"]
[record]
id = ["a"]
[material]
formula = "a"
name = "b"
space_group = "c"
class = { column = "d" }
[defaults]
evidence = "measured"
temperature = { column = "c", unit = "°C" }
[[value]]
column = "d"
property = "band_gap"
unit = "eV"
uncertainty = "c"
when = { column = "b", in = ["x", ""] }
[[value]]
column = "c"
property = "volume_per_atom"
unit = "nm^3/atom"
conditions = { b = { column = "b" } }
[attributes]
all = "d"
"#;

#[allow(clippy::expect_used, reason = "a fuzzer that cannot begin must say so")]
static KNOWN: LazyLock<Mapping> =
    LazyLock::new(|| Mapping::parse(MAPPING, None, "fuzz.toml").expect("the mapping of the fuzzer is valid"));
#[allow(clippy::expect_used, reason = "a fuzzer that cannot begin must say so")]
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    let (mapping, table) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => {
            let text = String::from_utf8_lossy(&bytes[..at]);
            match Mapping::parse(&text, Some("fuzz"), "fuzz.toml") {
                Ok(mapping) => (mapping, &bytes[at + 1..]),
                Err(_) => return,
            }
        }
        None => (KNOWN.clone(), bytes),
    };
    let path = FOLDER.path().join("table.csv");
    if std::fs::write(&path, table).is_err() {
        return;
    }
    let files = vec![Input::from(Path::new(&path))];
    let request = Request { files, mapping: Some(mapping), dataset: None, key: None, report: None, refused: None };
    if let Ok(accepted) = read(&request, FOLDER.path(), &Watch::default()) {
        let report = &accepted.report;
        let counted = report.rows_accepted + report.rows_refused + report.rows_unchanged;
        assert_eq!(report.rows_read, counted, "a row is not accounted for");
        assert!(accepted.len() as u64 <= report.rows_accepted, "more records than rows");
    }
});
