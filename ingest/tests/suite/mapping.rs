//! Mappings: what is wrong with one is said before the first row is read.

use std::path::Path;

use ingest::job::JobError;
use ingest::mapping::{Mapping, MappingError};
use proptest::prelude::*;
use serde::Deserialize;

use crate::job::{GAP, mapping, try_read};

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default = "lab")]
    dataset: String,
    mapping: String,
    words: Vec<String>,
}

fn lab() -> String {
    "lab".into()
}

#[test]
fn a_bad_mapping_is_an_error_that_says_where_what_and_the_mend() {
    let cases: Cases = toml::from_str(include_str!("../cases/mapping_errors.toml")).unwrap();
    assert!(cases.case.len() > 20);
    for case in cases.case {
        let dataset = Some(case.dataset.as_str()).filter(|name| !name.is_empty());
        let Err(error) = Mapping::parse(&case.mapping, dataset, "map.toml") else {
            panic!("{}: was taken", case.name);
        };
        let text = error.to_string();
        for word in &case.words {
            assert!(text.contains(word.as_str()), "{}: no `{word}` in: {text}", case.name);
        }
        assert!(text.starts_with("mapping map.toml: "), "{}: {text}", case.name);
    }
}

#[test]
fn the_command_line_names_the_dataset_and_the_mapping_keeps_its_terms() {
    let text = format!("dataset = {{ name = \"theirs\", licence = \"MIT\", visibility = \"private\" }}\n{GAP}");
    let theirs = Mapping::parse(&text, None, "m").unwrap().dataset;
    assert_eq!((theirs.name.as_str(), theirs.licence.as_str()), ("theirs", "MIT"));
    let mine = Mapping::parse(&text, Some("mine"), "m").unwrap().dataset;
    assert_eq!((mine.name.as_str(), mine.licence.as_str()), ("mine", "MIT"));
    assert!(!mine.is_public() && !theirs.is_public());
}

#[test]
fn a_mapping_that_is_not_there_or_no_text_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.toml");
    let error = Mapping::load(&path, None).unwrap_err();
    assert!(matches!(error, MappingError::Unreadable { .. }));
    assert!(error.to_string().contains("cannot read the mapping") && error.to_string().contains("map.toml"));
    std::fs::write(&path, b"\xff\xfe\x00").unwrap();
    assert!(Mapping::load(&path, None).unwrap_err().to_string().contains("map.toml"));
    assert!(Mapping::load(folder.path(), None).is_err(), "a folder");
}

#[test]
fn the_mappings_of_the_bundle_are_all_usable() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/bundled/mappings");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let mapping = Mapping::load(&path, None).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), mapping.dataset.name);
        let terms = &mapping.dataset;
        for text in [&terms.title, &terms.contributor, &terms.licence, &terms.citation, &terms.origin] {
            assert!(!text.is_empty(), "{}: terms are missing", path.display());
        }
        count += 1;
    }
    assert!(count >= 5, "{count} mappings");
}

#[test]
fn columns_and_files_that_are_not_there_stop_the_job_and_are_named() {
    let cases = [
        (GAP.replace("\"gap\"", "\"Gap\""), "formula,gap\nGaAs,1.4\n", ["no column `Gap`", "`formula`, `gap`"]),
        (GAP.replace("formula = \"formula\"", "name = \"grade\""), "formula,gap\nGaAs,1\n", ["`grade`", "data.csv"]),
        (format!("{GAP}uncertainty = \"sd\"\n"), "formula,gap\nGaAs,1\n", ["`sd`", "data.csv"]),
        (
            format!("{GAP}when = {{ column = \"test\", in = [\"T\"] }}\n"),
            "formula,gap\nGaAs,1\n",
            ["`test`", "data.csv"],
        ),
        (
            format!("{GAP}temperature = {{ column = \"T\", unit = \"K\" }}\n"),
            "formula,gap\nSi,1\n",
            ["`T`", "data.csv"],
        ),
        (format!("{GAP}conditions = {{ d = {{ column = \"dir\" }} }}\n"), "formula,gap\nSi,1\n", ["`dir`", "data.csv"]),
        (format!("{GAP}[attributes]\nnote = \"remark\"\n"), "formula,gap\nSi,1\n", ["`remark`", "data.csv"]),
        (format!("[record]\nid = [\"no\"]\n{GAP}"), "formula,gap\nSi,1\n", ["`no`", "data.csv"]),
        (
            format!("{GAP}file = \"gaps.csv\"\n"),
            "formula,gap\nSi,1\n",
            ["values in `gaps.csv`", "no file of that name"],
        ),
    ];
    for (text, data, words) in cases {
        let error = try_read(&mapping(&text), &[("data.csv", data.as_bytes())]).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "no `{word}` in: {error}");
        }
    }
}

#[test]
fn fraction_columns_must_be_elements() {
    let text = GAP
        .replace("formula = \"formula\"", "fractions = { columns = [\"Fe\", \"Steel\"], basis = \"mass_fraction\" }");
    let error = try_read(&mapping(&text), &[("data.csv", b"Fe,Steel,gap\n1,0,1\n")]).unwrap_err();
    assert!(error.to_string().contains("`Steel` is not an element's symbol"), "{error}");
    assert!(matches!(error, JobError::Read(_)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No text panics, and every error names the mapping.
    #[test]
    fn any_text_is_a_mapping_or_an_error(text in "\\PC*", tail in "[a-z\\[\\]\"= .\n]{0,60}") {
        for text in [text, format!("{GAP}{tail}")] {
            if let Err(error) = Mapping::parse(&text, Some("lab"), "map.toml") {
                prop_assert!(error.to_string().contains("map.toml"));
            }
        }
    }
}
