//! The road of a lab's file on the command line: ingest, look, ask, ingest again.

use serde_json::Value;

use crate::program::{Lab, SPEC, materials, text, tree};

#[test]
fn a_file_goes_in_and_is_found() {
    let lab = Lab::filled();

    let datasets = lab.run(&["datasets", "--json"]).json();
    let [dataset] = datasets["datasets"].as_array().unwrap().as_slice() else { panic!("{datasets}") };
    for (key, want) in [
        ("name", Value::from("lab")),
        ("records", 10.into()),
        ("materials", 10.into()),
        ("values", 19.into()),
        ("licence", "CC0-1.0".into()),
        ("contributor", "A lab".into()),
        ("citation", "A lab, 2026".into()),
        ("visibility", "public".into()),
    ] {
        assert_eq!(dataset[key], want, "{key}");
    }
    let table = lab.run(&["datasets"]).text();
    assert!(table.contains("lab") && table.contains("CC0-1.0") && table.contains("10"), "{table}");

    for word in ["AsGa", "GaAs", "Ga1As1", "gaas", "Ga2As2"] {
        let shown = lab.run(&["show", word, "--json"]).json();
        assert_eq!((shown["material"].as_str(), shown["formula"].as_str()), (Some("AsGa"), Some("GaAs")), "{word}");
        assert_eq!(shown["records"], serde_json::json!(["lab/1"]));
        let gap = shown["properties"].as_array().unwrap().iter().find(|p| p["property"] == "band_gap").unwrap();
        assert_eq!((gap["value"].as_f64(), gap["unit"].as_str()), (Some(1.42), Some("eV")));
        assert!(gap["sd"].as_f64().unwrap() > 0.0);
        assert_eq!(gap["values"][0]["source"], "doi:10.1000/gaps");
        assert_eq!(gap["values"][0]["evidence"], "measured");
    }
    let shown = lab.run(&["show", "GaAs"]).text();
    assert!(shown.contains("band_gap") && shown.contains("1.42") && shown.contains("lab/1"), "{shown}");

    let history = lab.run(&["history", "--json"]).json();
    let commits: Vec<(i64, &str)> = history["commits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["version"].as_i64().unwrap(), c["operation"].as_str().unwrap()))
        .collect();
    assert_eq!(commits, [(1, "upsert"), (0, "create")]);
    let shown = lab.run(&["history"]).text();
    assert!(shown.contains("upsert") && shown.contains("lab"), "{shown}");

    let answer = lab.suggest(SPEC, &["--format", "json"]).json();
    assert_eq!(answer["meta"]["searched"], 10);
    assert_eq!(answer["meta"]["matched_filter"], 8);
    assert_eq!(answer["meta"]["version"], 1);
    // Si, InP and AlSb lie in the gap's window and under 5 g/cm³; GaAs is too dense
    assert_eq!(answer["meta"]["passing"], serde_json::json!({"all": 3, "band_gap": 4, "density": 5}));
}

#[test]
fn ingesting_again_is_an_upsert() {
    let lab = Lab::filled();
    let before = tree(&lab.data());
    let again = lab.ingest(&std::fs::read_to_string(lab.path("rows.csv")).unwrap(), &[]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(
        again.text().contains("0 records new, 0 updated, 10 unchanged; nothing to commit, still version 1"),
        "{}",
        again.text()
    );
    assert_eq!(tree(&lab.data()), before);

    let changed = lab.ingest("run,formula,gap,rho,note\n1,GaAs,1.43,5.32,\n2,Si,1.12,2.33,\n11,ZnO,3.3,5.61,\n", &[]);
    assert!(
        changed.text().contains("1 records new, 1 updated, 1 unchanged; committed as version 2"),
        "{}",
        changed.text()
    );
    let shown = lab.run(&["show", "GaAs", "--json"]).json();
    let gap = shown["properties"].as_array().unwrap().iter().find(|p| p["property"] == "band_gap").unwrap();
    assert_eq!((gap["value"].as_f64(), shown["version"].as_u64()), (Some(1.43), Some(2)), "the new value alone");
    assert_eq!(gap["values"].as_array().unwrap().len(), 1);
    assert_eq!(lab.run(&["datasets", "--json"]).json()["datasets"][0]["records"], 11);

    // the older version is still there, and one record can be looked at
    let export = |more: &[&str]| lab.run(&[&["export", "lab", "--format", "csv"], more].concat()).text();
    let (old, new) = (export(&["--at", "1"]), export(&[]));
    assert!(old.contains("1.42") && !old.contains("ZnO"), "{old}");
    assert!(new.contains("1.43") && new.contains("ZnO"), "{new}");
    assert_eq!(lab.run(&["export", "lab", "--format", "csv", "--at", "9"]).code, Some(1));
    let id = old.lines().find(|line| line.contains("1.42")).unwrap().split(',').next().unwrap();
    let record = lab.run(&["show", id]).json();
    assert_eq!((record["id"].as_str(), record["measurements"][0]["value"].as_f64()), (Some(id), Some(1.43)));
    lab.run(&["show", "lab/none"]).failed(1, &["there is no material `lab/none`"]);
}

#[test]
fn refused_rows_are_reported_and_the_rest_is_taken() {
    let lab = Lab::empty();
    let report = lab.path("report.jsonl");
    let rows = "run,formula,gap,rho,note\n1,GaAs,1.42,5.32,\n2,2-Feb,1,1,\n3,Si,abc,,\n4,Ge,-7,,\n5,InP\n6,NaN,1.5,,\n";
    let done = lab.ingest(rows, &["--report", text(&report)]);
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(done.err.is_empty(), "{}", done.err);
    let out = done.text();
    assert!(out.contains("6 rows read = 3 accepted + 3 refused + 0 unchanged; 1 values flagged"), "{out}");
    let findings: Vec<Value> =
        std::fs::read_to_string(&report).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<(u64, &str, &str)> = findings
        .iter()
        .map(|f| (f["row"].as_u64().unwrap(), f["code"].as_str().unwrap(), f["severity"].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            (3, "bad_formula", "refused"),
            (4, "bad_number", "refused"),
            (5, "out_of_bounds", "flagged"),
            (6, "unreadable_row", "refused")
        ]
    );
    // the flagged value is kept and does not count
    let shown = lab.run(&["show", "Ge", "--json"]).json();
    let gap = &shown["properties"][0];
    assert_eq!((gap["property"].as_str(), gap["value"].is_null()), (Some("band_gap"), true), "{gap}");
    assert!(gap["values"][0]["flag"].as_str().unwrap().contains("not counted"));
    assert_eq!(lab.run(&["show", "NNa", "--json"]).json()["formula"], "NaN");
}

#[test]
fn a_dry_run_writes_nothing() {
    let lab = Lab::empty();
    let done = lab.ingest("run,formula,gap,rho,note\n1,GaAs,1.42,5.32,\n", &["--dry-run"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.text().contains("dry run: 1 records would go into `lab`"), "{}", done.text());
    assert!(tree(&lab.data()).is_empty());
}

#[test]
fn an_idempotency_key_works_once() {
    let lab = Lab::empty();
    let first = lab.ingest("run,formula,gap,rho,note\n1,GaAs,1.42,5.32,\n", &["--idempotency-key", "job 7"]);
    assert!(first.text().contains("committed as version 1"), "{}", first.text());
    let again = lab.ingest("run,formula,gap,rho,note\n1,GaAs,9,5.32,\n", &["--idempotency-key", "job 7"]);
    assert_eq!(again.code, Some(0));
    let said = again.text();
    for words in ["a job with the key `job 7` was committed before", "nothing was done", "still version 1"] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(materials(&lab.suggest(SPEC, &["--format", "json", "--limit", "5"]).json_of(4)), ["AsGa"]);
}

#[test]
fn datasets_have_names_of_their_own() {
    let lab = Lab::filled();
    let done = lab.ingest("run,formula,gap,rho,note\n1,ZnO,3.3,5.61,\n", &["--dataset", "other-lab"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let datasets = lab.run(&["datasets", "--json"]).json();
    let names: Vec<&str> =
        datasets["datasets"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["lab", "other-lab"]);
    let only = SPEC.replace("\"filter\"", "\"datasets\": [\"other-lab\"], \"filter\"");
    let answer = lab.suggest(&only, &["--format", "json"]).json_of(4);
    assert_eq!((answer["meta"]["searched"].as_u64(), answer["meta"]["passing"]["all"].as_u64()), (Some(1), Some(0)));
}

impl crate::program::Ended {
    /// The document of a command that ended with this code.
    #[track_caller]
    fn json_of(&self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{}", self.err);
        serde_json::from_slice(&self.out).unwrap()
    }
}
