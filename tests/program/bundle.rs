//! The hub that everyone gets: the bundle, loaded once by the program itself and shared by these tests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use datasets::bundled;
use datasets::table::Table;
use serde_json::Value;

use crate::program::{copy_folder, materials, run, run_with_input, text};
use crate::server::Server;

const REFERENCE: &str = r#"{
  "targets": [{"property": "band_gap", "min": 1.1, "max": 1.6, "unit": "eV"},
              {"property": "density", "max": 4, "unit": "g/cm^3"}],
  "evidence": "derived", "unknown": "require", "datasets": ["oqmd"], "limit": 50,
  "filter": "NOT elements HAS ANY \"Pb\",\"Cd\""}"#;

/// The data directory with the bundle in it, made by the first test that asks for it; others of the same program file
/// use it too, also from other processes. Never write into it.
pub fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let program = fs::metadata(env!("CARGO_BIN_EXE_matgenome")).unwrap();
        let built = program.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bundle");
        fs::create_dir_all(&root).unwrap();
        let lock = File::create(root.join("lock")).unwrap();
        lock.lock().unwrap();
        let place = root.join(format!("{built}-{}", program.len()));
        if !place.join("milliseconds").exists() {
            for old in fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
                fs::remove_dir_all(old).unwrap();
            }
            let data = place.join("data");
            fs::create_dir_all(&data).unwrap();
            let start = Instant::now();
            let loaded = run(&["datasets", "--json", "--data", text(&data)]);
            assert_eq!((loaded.code, loaded.err.as_str()), (Some(0), ""));
            fs::write(place.join("milliseconds"), start.elapsed().as_millis().to_string()).unwrap();
        }
        place.join("data")
    })
}

/// How long the first load took here, in milliseconds.
pub fn first_load_ms() -> u64 {
    fs::read_to_string(shared().with_file_name("milliseconds")).unwrap().parse().unwrap()
}

/// Records of each dataset, as the catalogue of the bundle states them.
pub fn catalogue() -> BTreeMap<String, u64> {
    let catalogue = bundled::catalogue().unwrap();
    assert!(!catalogue.dataset.is_empty(), "there is a bundle: run `make bundle`");
    catalogue.dataset.into_iter().map(|d| (d.terms.name, d.records)).collect()
}

/// Rows of each dataset that a table's log states.
pub fn counts(table: &Table) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for file in table.files().unwrap() {
        *counts.entry(file.dataset).or_default() += file.rows.unwrap() as u64;
    }
    counts
}

pub fn open(data: &Path) -> Option<Table> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Table::open(data)).unwrap()
}

fn suggest(spec: &str) -> Value {
    let arguments = ["suggest", "-", "--format", "json", "--data", text(shared())];
    let done = run_with_input(&arguments, spec.as_bytes());
    assert!(done.err.is_empty(), "{}", done.err);
    done.json()
}

#[test]
fn the_first_load_is_one_commit_with_the_counts_of_the_catalogue() {
    let table = open(shared()).unwrap();
    assert_eq!(table.version(), 1);
    assert_eq!(counts(&table), catalogue());
    let listed = run(&["datasets", "--json", "--data", text(shared())]).json();
    let bundled = bundled::catalogue().unwrap().dataset;
    assert_eq!(listed["datasets"].as_array().unwrap().len(), bundled.len());
    for dataset in bundled {
        let found =
            listed["datasets"].as_array().unwrap().iter().find(|d| d["name"] == dataset.terms.name.as_str()).unwrap();
        let numbers = ["records", "materials", "values"].map(|key| found[key].as_u64().unwrap());
        assert_eq!(numbers, [dataset.records, dataset.materials, dataset.values], "{}", dataset.terms.name);
        assert_eq!(found["licence"], dataset.terms.licence.as_str());
    }
    let history = run(&["history", "--json", "--data", text(shared())]).json();
    assert_eq!(history["commits"][0]["operation"], "load");
}

#[test]
fn the_reference_query_finds_594_materials_and_605_with_lead_and_cadmium() {
    let answer = suggest(REFERENCE);
    assert_eq!(answer["meta"]["passing"]["all"], 594);
    assert_eq!((answer["meta"]["exact"].as_bool(), answer["candidates"].as_array().unwrap().len()), (Some(true), 50));
    for candidate in answer["candidates"].as_array().unwrap() {
        assert_eq!(
            (candidate["verdict"].as_str(), &candidate["datasets"]),
            (Some("pass"), &serde_json::json!(["oqmd"]))
        );
        for target in candidate["targets"].as_array().unwrap() {
            assert!(["computed", "derived"].contains(&target["evidence"].as_str().unwrap()), "{target}");
            assert!(target["record"].as_str().unwrap().starts_with("oqmd/") && target["sd"].as_f64().unwrap() > 0.0);
        }
    }
    let with_all = REFERENCE.replace(",\n  \"filter\": \"NOT elements HAS ANY \\\"Pb\\\",\\\"Cd\\\"\"", "");
    assert_ne!(with_all, REFERENCE);
    assert_eq!(suggest(&with_all)["meta"]["passing"]["all"], 605);

    // the same through HTTP
    let server = Server::ready(shared(), &[]);
    for spec in
        [REFERENCE, &with_all, &REFERENCE.replace("require", "predict").replace("\"limit\": 50", "\"limit\": 300")]
    {
        let here = server.post("/v1/suggest", spec.as_bytes()).json();
        let there = suggest(spec);
        assert_eq!(here["candidates"], there["candidates"]);
        assert_eq!(here["meta"]["passing"], there["meta"]["passing"]);
    }
    // pages add up, and each record of an answer can be asked for
    let pages: Vec<String> = (0..5)
        .flat_map(|page| {
            let spec = REFERENCE.replace("\"limit\": 50", &format!("\"limit\": 10, \"offset\": {}", page * 10));
            materials(&server.post("/v1/suggest", spec.as_bytes()).json())
        })
        .collect();
    assert_eq!(pages, materials(&answer));
    let record = answer["candidates"][0]["targets"][0]["record"].as_str().unwrap();
    let found = server.get(&format!("/v1/records/{}", record.replace('/', "%2F"))).json();
    assert!(found["measurements"].to_string().contains("band_gap"), "{found}");
}

#[test]
fn a_second_start_loads_nothing() {
    let before: Vec<_> = files(shared());
    assert_eq!(run(&["show", "GaAs", "--json", "--data", text(shared())]).json()["material"], "AsGa");
    let said = run(&["doctor", "--data", text(shared())]).text();
    assert!(said.contains("version 1") && said.contains("kept and sound"), "{said}");
    assert_eq!(files(shared()), before);
}

fn files(data: &Path) -> Vec<PathBuf> {
    crate::program::tree(data).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn a_batch_beside_the_bundle_leaves_it_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    copy_folder(&shared().join("records"), &data.join("records"));
    let lab = crate::program::Lab::empty();
    let (rows, map) = (lab.path("rows.csv"), lab.path("map.toml"));
    let done = run(&["ingest", text(&rows), "--mapping", text(&map), "--data", text(&data)]);
    assert!(done.text().contains("10 records new"), "{done:?}");
    let mut want = catalogue();
    want.insert("lab".into(), 10);
    assert_eq!(counts(&open(&data).unwrap()), want);
    peers(&data, &want);
}

/// Polars, the `deltalake` package and DuckDB count the same rows of the same datasets. They are in the Python that
/// `MATGENOME_PYTHON` names; `make test` makes one.
fn peers(data: &Path, want: &BTreeMap<String, u64>) {
    let Some(python) = std::env::var_os("MATGENOME_PYTHON") else {
        eprintln!("SKIPPED: MATGENOME_PYTHON names no Python with polars, deltalake and duckdb; `make test` does");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers.py");
    let done = Command::new(&python).arg(script).arg(data.join("records")).output();
    let done = done.unwrap_or_else(|e| panic!("{}: {e}", python.display()));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let found: BTreeMap<String, BTreeMap<String, u64>> = serde_json::from_slice(&done.stdout).unwrap();
    for peer in ["polars", "deltalake", "duckdb"] {
        assert_eq!(found.get(peer), Some(want), "{peer}");
    }
}
