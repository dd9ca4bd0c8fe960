//! Filters and what they match: `cases/filters.toml`.

use datasets::record::{Evidence, Record};
use matgenome_index::filter::matching;
use matgenome_index::scope::Viewer;
use serde::Deserialize;

use crate::world::{Write as _, measured, record, value, world};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
    error: Vec<Error>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    filter: String,
    ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Error {
    filter: String,
    /// Character, from 1.
    at: usize,
    word: String,
}

/// The hub that the head of the case file describes.
fn records() -> Vec<Record> {
    let computed = |key: &str, x: f64| value(key, x, Evidence::Computed);
    vec![
        record("lab/1")
            .formula("AsGa")
            .name("Gallium arsenide")
            .class("semiconductor")
            .says(measured("band_gap", 1.42)),
        record("ref/1").formula("AsGa").says(measured("density", 5.32)).says(computed("band_gap", 0.5)),
        record("lab/2").formula("AsGa").phase(216).says(computed("energy_above_hull", 0.0)),
        record("lab/3")
            .formula("AlSb")
            .class("semiconductor")
            .says(computed("band_gap", 1.6))
            .says(computed("direct_band_gap", 2.3)),
        record("ref/2")
            .formula("O2Si")
            .name("Quartz")
            .class("oxide")
            .says(measured("band_gap", 8.9))
            .says(measured("density", 2.65)),
        record("ref/3").formula("Fe2O3").class("oxide").says(measured("band_gap", 2.1)).says(measured("density", 5.24)),
        record("ref/4").formula("PbS").says(measured("band_gap", 0.41)).says(measured("direct_band_gap", 0.41)),
        record("ref/5")
            .formula("C")
            .phase(227)
            .name("Diamond")
            .says(measured("band_gap", 5.5))
            .says(measured("density", 3.51)),
        record("lab/4").formula("Cu").says(measured("density", 8.96)).says(measured("band_gap", 0.0)),
        record("lab/5")
            .name("Steel \"S235\"")
            .class("alloy")
            .says(measured("density", 7.85))
            .says(measured("youngs_modulus", 210.0)),
        record("lab/6").formula("Al2FeO4"),
        record("ref/6").formula("Al2FeO4").says(measured("density", -4.0)),
    ]
}

#[test]
fn filters_match_what_they_say() {
    let cases: Cases = toml::from_str(include_str!("../cases/filters.toml")).unwrap();
    let world = world(&records());
    let snapshot = &world.snapshot;
    let scope = snapshot.visible(Viewer::Owner);
    let mut wrong = Vec::new();
    for Case { filter, ids } in &cases.case {
        // the hub holds one answer: the second time it comes from memory
        for again in [false, true] {
            let found = matching(snapshot, &scope, filter).map(|mask| {
                mask.iter_ones().map(|row| snapshot.materials.id.value(row).to_owned()).collect::<Vec<_>>()
            });
            match found {
                Ok(found) if found == *ids => {}
                Ok(found) => {
                    wrong.push(format!("{filter}\n    gives    {found:?}\n    expected {ids:?} (again: {again})"))
                }
                Err(e) => wrong.push(format!("{filter}\n    {e}")),
            }
        }
    }
    for Error { filter, at, word } in &cases.error {
        match matching(snapshot, &scope, filter) {
            Ok(mask) => wrong.push(format!("{filter}\n    matches {}", mask.count())),
            Err(e) if e.character == *at && e.message.contains(word.as_str()) => {}
            Err(e) => wrong.push(format!("{filter}\n    {e}\n    expected character {at} with {word:?}")),
        }
    }
    let big = format!("band_gap > {}1", " ".repeat(70_000));
    let terms = vec!["id"; 5_000].join(" OR ");
    for (filter, word) in [(big, "bytes"), (terms, "comparisons"), ("(".repeat(10_000), "parentheses")] {
        match matching(snapshot, &scope, &filter) {
            Err(e) if e.message.contains(word) => {}
            other => wrong.push(format!("{word}: {:?}", other.map(|mask| mask.count()))),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.case.len() + cases.error.len(), wrong.join("\n"));
    assert!(cases.case.len() > 100 && cases.error.len() > 30);
}

#[test]
fn a_filter_sees_with_the_eyes_of_its_scope() {
    let world = world(&records());
    let snapshot = &world.snapshot;
    let ids = |datasets: &[&str], filter: &str| -> Vec<String> {
        let scope = matgenome_index::scope::Scope(
            snapshot.datasets.iter().map(|d| datasets.contains(&d.info.name.as_str())).collect(),
        );
        let mask = matching(snapshot, &scope, filter).unwrap();
        mask.iter_ones().map(|row| snapshot.materials.id.value(row).to_owned()).collect()
    };
    assert_eq!(ids(&["lab", "ref"], "band_gap > 1 AND band_gap < 1.5"), ["AsGa", "AsGa:sg216"]);
    assert_eq!(ids(&["lab"], "band_gap > 1 AND band_gap < 1.5"), ["AsGa", "AsGa:sg216"]);
    assert_eq!(ids(&["ref"], "band_gap > 0.45 AND band_gap < 1.5"), ["AsGa"]);
    assert_eq!(ids(&["ref"], "datasets HAS \"lab\""), [""; 0]);
    assert_eq!(ids(&["lab"], "datasets HAS ANY \"lab\", \"ref\" AND formula = \"GaAs\""), ["AsGa", "AsGa:sg216"]);
    assert_eq!(ids(&["lab", "ref"], "datasets LENGTH 2"), ["Al2FeO4", "AsGa"]);
    assert_eq!(ids(&["lab"], "datasets LENGTH 2"), [""; 0]);
}
