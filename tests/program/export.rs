//! `matgenome export`: files for others, as a shell sees them.

use std::fs;

use datasets::record::Record;
use ingest::native::{self, Item};

use crate::program::{Lab, text};

fn records(path: &std::path::Path) -> Vec<Record> {
    let reader = native::open(path).unwrap().unwrap();
    let record = |item| match item {
        Ok(Item::Record { record, .. }) => *record,
        other => panic!("{other:?}"),
    };
    reader.map(record).collect()
}

#[test]
fn a_dataset_a_filter_or_both_go_into_a_file_of_any_format() {
    let lab = Lab::filled();
    let mut all = Vec::new();
    for format in ["parquet", "csv", "jsonl", "optimade-jsonl"] {
        let path = lab.path(format);
        let done = lab.run(&["export", "lab", "--format", format, "--out", text(&path)]);
        assert!(done.text().starts_with("10 records in "), "{done:?}");
        let found = records(&path);
        assert!(found.len() == 10 && (all.is_empty() || all == found), "{format}");
        all = found;
    }
    let path = lab.path("some.jsonl");
    for dataset in [&["lab"][..], &[]] {
        let ask = [&["export"], dataset, &["--filter", "elements HAS \"Ga\"", "--format", "jsonl"]].concat();
        assert_eq!(lab.run(&[&ask[..], &["--out", text(&path)]].concat()).code, Some(0));
        let formulas: Vec<String> = records(&path).into_iter().filter_map(|r| r.formula).collect();
        assert_eq!(formulas, ["AsGa", "GaN"]);
        assert_eq!(lab.run(&ask).out, fs::read(&path).unwrap(), "standard output");
    }
    let left: Vec<_> = fs::read_dir(lab.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
}

#[test]
fn what_cannot_be_exported_is_said_in_one_line() {
    let lab = Lab::filled();
    let out = lab.file("kept", "as it was");
    let export = |more: &[&str]| lab.run(&[&["export"], more].concat());
    export(&["nowhere", "--format", "csv", "--out", text(&out)]).failed(2, &["no dataset `nowhere`", "lab"]);
    export(&["lab", "--format", "parquet"]).failed(2, &["--out"]);
    export(&["--filter", "band_gap >", "--format", "csv", "--out", text(&out)]).failed(2, &["filter"]);
    export(&["lab", "--format", "csv", "--out", text(&lab.path("no/such/folder"))]).failed(1, &["cannot write"]);
    assert_eq!(export(&["--format", "csv"]).code, Some(2));
    assert_eq!(fs::read_to_string(&out).unwrap(), "as it was");
}
