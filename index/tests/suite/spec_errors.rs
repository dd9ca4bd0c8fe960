//! Specs that cannot be answered: `cases/spec_errors.toml`.

use matgenome_index::scope::Viewer;
use matgenome_index::spec::from_json;
use serde::Deserialize;

use crate::world::{Write as _, measured, record, to_blame, world};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    error: Vec<Case>,
    good: Vec<Good>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    spec: String,
    pointer: String,
    word: String,
    #[serde(default)]
    closest: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Good {
    spec: String,
}

#[test]
fn errors_point_to_what_is_wrong() {
    let cases: Cases = toml::from_str(include_str!("../cases/spec_errors.toml")).unwrap();
    let world = world(&[
        record("lab/1").formula("AsGa").says(measured("band_gap", 1.42)).says(measured("density", 5.3)),
        record("my-lab/1").formula("AlSb").says(measured("band_gap", 1.6)),
        record("vault/1").formula("CdTe").says(measured("band_gap", 1.5)),
    ]);
    let resolve = |text: &str| {
        from_json(text.as_bytes()).and_then(|spec| spec.resolve(&world.snapshot, Viewer::Public).map_err(to_blame))
    };
    let mut wrong = Vec::new();
    for Case { spec, pointer, word, closest } in &cases.error {
        match resolve(spec) {
            Ok(_) => wrong.push(format!("{spec}: taken")),
            Err(e) => {
                if e.pointer != *pointer || !e.message.contains(word.as_str()) {
                    wrong.push(format!("{spec}: {:?} {:?}, expected {pointer:?} with {word:?}", e.pointer, e.message));
                }
                if let Some(name) = closest
                    && !(e.closest.contains(name) && e.message.contains(name))
                {
                    wrong.push(format!("{spec}: {:?} are closest, expected {name}", e.closest));
                }
            }
        }
    }
    for Good { spec } in &cases.good {
        if let Err(e) = resolve(spec) {
            wrong.push(format!("{spec}: {e}"));
        }
    }
    // too long to be written into the file
    let targets = |n| format!(r#"{{"targets": [{}]}}"#, vec![r#"{"property": "density", "max": 3}"#; n].join(","));
    if let Err(e) = resolve(&targets(64)) {
        wrong.push(format!("64 targets: {e}"));
    }
    match resolve(&targets(65)) {
        Err(e) if e.pointer == "/targets" && e.message.contains("64") => {}
        other => wrong.push(format!("65 targets: {:?}", other.map(drop))),
    }
    let deep = format!(r#"{{"targets": [{{"property": "density", "max": 3}}], "filter": "{}"}}"#, "(".repeat(10_000));
    match resolve(&deep) {
        Err(e) if e.pointer == "/filter" && e.message.contains("parentheses") => {}
        other => wrong.push(format!("a filter nested 10,000 deep: {:?}", other.map(drop))),
    }
    let nested = format!(r#"{{"targets": {}"#, "[".repeat(10_000));
    if resolve(&nested).is_ok() {
        wrong.push("10,000 brackets".to_owned());
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.error.len() + cases.good.len() + 4,
        wrong.join("\n")
    );
}
