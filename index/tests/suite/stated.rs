//! What a source states beside a value is said with it: pressure and other conditions, and that it is a bound or a range.

use datasets::record::{Evidence, Measurement};
use matgenome_index::scope::Viewer;
use matgenome_index::spec::from_json;
use serde_json::{Value, json};

use crate::world::{Qualify as _, Write as _, ingest, measured, open, record, wait};

fn with(mut m: Measurement, conditions: &[(&str, &str)]) -> Measurement {
    m.conditions.extend(conditions.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
    m
}

/// `<27` MPa as it is ingested, beside a bound in other units, a range, and a condition that only looks like a mark.
fn strengths() -> Vec<Measurement> {
    let below = |value, given| Measurement { given_value: Some(given), ..measured("yield_strength", value) };
    let marked = |m, mark, text| with(m, &[("censored", mark), ("given", text)]);
    let single = with(below(13.5, 27.0).sd(13.5).at(298.0), &[("direction", "[100]")]);
    vec![
        Measurement { pressure_pa: Some(2e9), ..marked(single, "<", "<27") },
        Measurement { given_unit: Some("GPa".into()), ..marked(below(4000.0, 2.0).sd(2000.0), "≥", ">=2 GPa") },
        with(measured("yield_strength", 6.0).at(900.0), &[("given", "5-7")]),
        with(measured("yield_strength", 7.0).at(900.0), &[("censored", "by the contributor")]),
        measured("yield_strength", 8.0).at(900.0),
    ]
}

/// What an answer says beside the value.
fn beside(answer: &Value) -> Value {
    let keys = ["pressure_pa", "conditions", "qualifier", "bound", "given"];
    keys.iter().filter_map(|key| Some(((*key).to_owned(), answer.get(key)?.clone()))).collect()
}

#[test]
fn what_is_stated_beside_a_value_is_said_with_it() {
    wait(async {
        let dir = tempfile::tempdir().unwrap();
        let mut table = datasets::table::Table::open_or_create(dir.path()).await.unwrap();
        let records = strengths().into_iter().enumerate();
        let records: Vec<_> = records
            .map(|(i, m)| record(&format!("lab/{i}")).formula(["Cu", "Ni", "Pb", "Sn", "Zn"][i]).says(m))
            .collect();
        ingest(&mut table, &records, usize::MAX).await;
        let first = json!({"pressure_pa": 2e9, "conditions": {"direction": "[100]"}, "qualifier": "<", "bound": 27.0, "given": "<27"});
        let expected = [
            ("Cu", first.clone()),
            ("Ni", json!({"qualifier": "≥", "bound": 2000.0, "given": ">=2 GPa"})),
            ("Pb", json!({"given": "5-7"})),
            ("Sn", json!({"conditions": {"censored": "by the contributor"}})),
            ("Zn", json!({})),
        ];
        // built from the table, and then from the disk
        for _ in 0..2 {
            let hub = open(dir.path()).await;
            for (material, said) in &expected {
                let shown = serde_json::to_value(hub.material(material, Viewer::Public, false).unwrap()).unwrap();
                assert_eq!(beside(&shown["properties"][0]["values"][0]), *said, "{material}");
            }
            // a candidate's bound is in the unit of its value
            let spec = br#"{"targets": [{"property": "yield_strength", "max": 1, "unit": "GPa"}], "filter": "elements HAS \"Cu\""}"#;
            let answer = hub.suggest(&from_json(spec).unwrap(), Viewer::Public).unwrap();
            let target = serde_json::to_value(&answer.candidates[0].targets[0]).unwrap();
            assert_eq!(
                (&target["unit"], &target["value"], &target["bound"]),
                (&json!("GPa"), &json!(0.0135), &json!(0.027))
            );
            assert_eq!(beside(&target)["conditions"], first["conditions"]);
        }
    });
}

/// A bound beside numbers of the same evidence says nothing of the value; alone it is all that is known, whatever is
/// known by less evidence.
#[test]
fn numbers_come_before_bounds() {
    wait(async {
        let dir = tempfile::tempdir().unwrap();
        let mut table = datasets::table::Table::open_or_create(dir.path()).await.unwrap();
        let bound = || {
            let m = Measurement { given_value: Some(27.0), ..measured("yield_strength", 13.5) };
            with(m.sd(13.5), &[("censored", "<"), ("given", "<27")])
        };
        let number = |value| measured("yield_strength", value);
        let computed = Measurement { evidence: Evidence::Computed, ..number(90.0) };
        let values = [
            ("Cu", vec![bound(), number(30.0), number(30.0)], 30.0, 2),
            ("Ni", vec![bound(), bound()], 13.5, 2),
            ("Zn", vec![bound(), computed], 13.5, 1),
            // the number was measured hot, the bound at room temperature
            ("Pb", vec![bound(), number(8.0).at(900.0)], 13.5, 1),
        ];
        let mut records = Vec::new();
        for (formula, values, ..) in &values {
            let of =
                |(i, m): (usize, &Measurement)| record(&format!("lab/{formula}{i}")).formula(formula).says(m.clone());
            records.extend(values.iter().enumerate().map(of));
        }
        ingest(&mut table, &records, usize::MAX).await;
        let hub = open(dir.path()).await;
        let spec = br#"{"targets": [{"property": "yield_strength", "min": 1}], "unknown": "require"}"#;
        let answer = hub.suggest(&from_json(spec).unwrap(), Viewer::Public).unwrap();
        assert_eq!(answer.candidates.len(), values.len());
        for candidate in &answer.candidates {
            let target = serde_json::to_value(&candidate.targets[0]).unwrap();
            let (_, _, value, count) = values.iter().find(|(formula, ..)| *formula == candidate.material).unwrap();
            assert_eq!(
                (&target["value"], &target["measurements"]),
                (&json!(value), &json!(count)),
                "{}",
                candidate.material
            );
        }
    });
}

/// A bound passes and fails by all that it allows; a belief of several directions names them all.
#[test]
fn verdicts_of_bounds_and_conditions_of_several_values() {
    wait(async {
        let dir = tempfile::tempdir().unwrap();
        let mut table = datasets::table::Table::open_or_create(dir.path()).await.unwrap();
        let above = || {
            let m = Measurement { given_value: Some(1400.0), ..measured("yield_strength", 2800.0) };
            with(m.sd(1400.0), &[("censored", ">"), ("given", ">1400")])
        };
        let along = |direction, value| with(measured("yield_strength", value), &[("direction", direction)]);
        let records = [
            record("lab/0").formula("W").says(above()),
            record("lab/1").formula("Ti").says(along("L", 905.0)),
            record("lab/2").formula("Ti").says(along("T", 895.0)),
            record("lab/3").formula("Ti").says(measured("yield_strength", 900.0)),
        ];
        ingest(&mut table, &records, usize::MAX).await;
        let hub = open(dir.path()).await;
        let ask = |window: &str| {
            let spec = format!("{{\"targets\": [{{\"property\": \"yield_strength\", {window}}}]}}");
            serde_json::to_value(hub.suggest(&from_json(spec.as_bytes()).unwrap(), Viewer::Public).unwrap()).unwrap()
        };
        for (window, verdict, passing) in [
            ("\"min\": 1300", "pass", 1),
            ("\"min\": 1500", "unknown", 0),
            ("\"max\": 1300", "fail", 1),
            ("\"max\": 3000", "unknown", 1),
        ] {
            let answer = ask(window);
            let of = |id: &str| {
                let found = answer["candidates"].as_array().unwrap().iter().find(|c| c["material"] == id).cloned();
                found.unwrap_or_else(|| panic!("{window}: {answer}"))
            };
            assert_eq!(of("W")["targets"][0]["verdict"], verdict, "{window}");
            assert_eq!(answer["meta"]["passing"]["all"], passing, "{window}");
            assert_eq!(of("Ti")["targets"][0]["conditions"], json!({"direction": "L; T; not stated"}), "{window}");
        }
    });
}
