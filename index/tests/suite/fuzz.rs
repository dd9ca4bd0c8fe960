//! Whatever is asked: an answer or an error, never a panic.

use gpu::Device;
use matgenome_index::filter::matching;
use matgenome_index::scope::Viewer;
use matgenome_index::search;
use matgenome_index::spec::from_json;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::wishes::random_records;
use crate::world::{World, to_blame, world};

const CASES: u32 = 1_500;

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() })
}

/// Pieces of filters over real fields in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "band_gap",
        "density",
        "nelements",
        "elements",
        "elements_ratios",
        "formula",
        "id",
        "name",
        "class",
        "datasets",
        "space_group",
        "chemical_formula_anonymous",
        "bandgap",
        "a.b",
        "AND",
        "OR",
        "NOT",
        "(",
        ")",
        "=",
        "!=",
        "<",
        ">=",
        "1",
        "-.5e3",
        "1e999",
        "\"x\"",
        "\"Fe\"",
        "\"GaAs\"",
        "\"\"",
        "TRUE",
        "HAS",
        "ALL",
        "ANY",
        "ONLY",
        "LENGTH",
        "IS",
        "KNOWN",
        "UNKNOWN",
        "STARTS",
        "ENDS",
        "WITH",
        "CONTAINS",
        ",",
        ":",
        "é",
        "\"",
    ]);
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.join(" "))
}

/// Well-formed filters over all fields, whatever their types.
fn filters() -> impl Strategy<Value = String> {
    let field = || {
        prop::sample::select(vec![
            "band_gap",
            "density",
            "grain_size",
            "nelements",
            "elements",
            "elements_ratios",
            "formula",
            "id",
            "name",
            "class",
            "datasets",
            "dataset",
            "space_group",
            "chemical_formula_anonymous",
            "chemical_formula_reduced",
            "nope",
        ])
    };
    let constant = || {
        prop::sample::select(vec![
            "1",
            "-2.5",
            "0",
            "1e999",
            "-1e999",
            "1e-400",
            "\"Fe\"",
            "\"O2Si\"",
            "\"Xx\"",
            "\"alloy\"",
            "\"\"",
            "\"((\"",
            "TRUE",
            "density",
        ])
    };
    let op = || prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (field(), op(), constant()).prop_map(|(f, op, c)| format!("{f} {op} {c}")),
        (constant(), op(), field()).prop_map(|(c, op, f)| format!("{c} {op} {f}")),
        (field(), prop::sample::select(vec!["HAS", "HAS ALL", "HAS ANY", "HAS ONLY"]), constant(), op())
            .prop_map(|(f, has, c, op)| format!("{f} {has} {op} {c}")),
        (field(), prop::sample::select(vec!["CONTAINS", "STARTS WITH", "ENDS WITH", "LENGTH", "LENGTH >"]), constant())
            .prop_map(|(f, word, c)| format!("{f} {word} {c}")),
        (field(), any::<bool>()).prop_map(|(f, known)| format!("{f} IS {}", if known { "KNOWN" } else { "UNKNOWN" })),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) AND ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) OR ({b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop::sample::select(vec![0.0, 1.0, -1.0, 0.5, 2.5, 40.0, 300.0, 1e4]).prop_map(Value::from),
        2 => prop::sample::select(vec![1e-300, 5e-324, 1e308, -1e308, 1e30, 1e31, 1e-20, 1e15, -0.0]).prop_map(Value::from),
        1 => (-1e3f64..1e3).prop_map(Value::from),
    ]
}

/// Targets of the right shape, with numbers of any size.
fn target() -> impl Strategy<Value = Value> {
    let subject = prop::sample::select(vec![
        json!({"property": "band_gap"}),
        json!({"property": "density"}),
        json!({"property": "thermal_conductivity"}),
        json!({"property": "melting_temperature"}),
        json!({"property": "surface_area"}), // of which the hub knows nothing
        json!({"index": "band_gap / density"}),
        json!({"index": "band_gap ^ 40 - 2 ^ density ^ 9"}),
        json!({"index": "0 * density"}),
        json!({"index": "density - density"}),
        json!({"index": "1e300 * density * 1e300"}),
    ]);
    let window = prop_oneof![
        number().prop_map(|x| json!({"min": x})),
        number().prop_map(|x| json!({"max": x})),
        (number(), number()).prop_map(|(a, b)| json!({"min": a, "max": b})),
        (number(), number()).prop_map(|(a, b)| json!({"min": a, "tolerance": b})),
        (number(), number()).prop_map(|(a, b)| json!({"value": a, "tolerance": b})),
        any::<bool>().prop_map(|most| json!({"goal": if most { "maximize" } else { "minimize" }})),
        (any::<bool>(), number(), number()).prop_map(
            |(most, a, b)| json!({"goal": if most { "maximize" } else { "minimize" }, "value": a, "tolerance": b})
        ),
    ];
    let more = prop_oneof![
        6 => Just(json!({})),
        1 => number().prop_map(|x| json!({"weight": x})),
        2 => prop::sample::select(vec!["eV", "keV", "meV", "kg/m^3", "K", "°C", "W/(m K)", "GPa", "%"]).prop_map(|unit| json!({"unit": unit})),
        1 => (number(), number()).prop_map(|(x, t)| json!({"at": {"temperature": {"value": x, "unit": "K", "tolerance": t}}})),
    ];
    (subject, window, more).prop_map(|(a, b, c)| {
        let parts = [a, b, c].into_iter().flat_map(|part| part.as_object().unwrap().clone());
        Value::Object(parts.collect())
    })
}

fn like() -> impl Strategy<Value = Value> {
    let by = prop::sample::select(vec!["composition", "descriptors", "properties", "structure"]);
    let known = prop::sample::select(vec!["Grade 3", "GaAs", "SiO2", "Al0.3Ga0.7As", "NaCl", "Fe2O3", "Unobtainium"])
        .prop_map(str::to_owned);
    let material = prop_oneof![7 => known, 1 => any::<String>()];
    (material, by, prop::option::weighted(0.2, number()), prop::option::weighted(0.2, number()))
        .prop_map(|(material, by, weight, tolerance)| json!({"material": material, "by": by, "weight": weight, "tolerance": tolerance}))
}

fn specs() -> impl Strategy<Value = Value> {
    let unknown = prop::sample::select(vec!["predict", "require", "ignore"]);
    let evidence = prop::sample::select(vec!["measured", "computed", "derived", "predicted"]);
    let limit = prop::sample::select(vec![1, 20, 1000]);
    let targets = prop::collection::vec(target(), 1..4);
    (targets, prop::option::weighted(0.2, like()), unknown, evidence, limit, prop::option::of(filters())).prop_map(
        |(targets, like, unknown, evidence, limit, filter)| {
            let mut spec = json!({"targets": targets, "unknown": unknown, "evidence": evidence, "limit": limit});
            if let Some(like) = like {
                spec["like"] = like;
            }
            if let Some(filter) = filter {
                spec["filter"] = json!(filter);
            }
            spec
        },
    )
}

/// Documents of any shape that happen to use the words of specs.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["band_gap", "maximize", "predict", "measured", "eV", "", "K"]).prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "targets",
        "property",
        "index",
        "min",
        "max",
        "value",
        "tolerance",
        "goal",
        "unit",
        "weight",
        "at",
        "temperature",
        "filter",
        "unknown",
        "evidence",
        "datasets",
        "limit",
        "offset",
        "like",
        "",
    ]);
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

/// The spec is refused with a pointer, or every step of its road works.
fn walk(world: &World, text: &[u8]) -> Result<bool, TestCaseError> {
    let snapshot = &world.snapshot;
    let resolved = from_json(text).and_then(|spec| spec.resolve(snapshot, Viewer::Owner).map_err(to_blame));
    let resolved = match resolved {
        Ok(resolved) => resolved,
        Err(error) => {
            prop_assert!(error.pointer.is_empty() || error.pointer.starts_with('/'), "{}", error);
            prop_assert!(!error.message.is_empty());
            return Ok(false);
        }
    };
    let ranking = search::rank(snapshot, &Device::cpu(), &resolved);
    prop_assert!(ranking.is_ok(), "it was taken and could not be ranked: {:?}", ranking);
    let ranking = ranking.unwrap();
    prop_assert!(ranking.page.windows(2).all(|w| w[0].0 < w[1].0 || (w[0].0 == w[1].0 && w[0].1 < w[1].1)));
    prop_assert!(ranking.page.iter().all(|(score, _)| *score >= 0.0));
    let passing = search::passing(snapshot, &resolved);
    prop_assert!(passing.each.iter().all(|each| *each >= passing.all));
    let answer = matgenome_index::candidate::answer(snapshot, &resolved, ranking, &passing, 0.0);
    prop_assert!(answer.candidates.iter().all(|c| (0.0..=1.0).contains(&c.probability)));
    prop_assert!(serde_json::to_vec(&answer).is_ok());
    prop_assert!(matgenome_index::tabular::batch(&answer).is_ok_and(|b| b.num_rows() == answer.candidates.len()));
    Ok(true)
}

#[test]
fn no_filter_and_no_spec_panics() {
    let world = world(&random_records(4, 120));
    let scope = world.snapshot.visible(Viewer::Owner);
    let mut matched = 0;
    let run = |filter: String, matched: &mut u32| match matching(&world.snapshot, &scope, &filter) {
        Ok(mask) => {
            *matched += 1;
            prop_assert_eq!(mask.len(), world.snapshot.materials.len());
            Ok(())
        }
        Err(error) => {
            prop_assert!(filter.is_char_boundary(error.at) && !error.message.is_empty(), "{}", error);
            Ok(())
        }
    };
    let cell = std::cell::Cell::new(0);
    let with = |filter: String| {
        let mut n = cell.get();
        let result = run(filter, &mut n);
        cell.set(n);
        result
    };
    runner().run(&any::<String>(), with).unwrap();
    runner().run(&pieces(), with).unwrap();
    runner().run(&filters(), with).unwrap();
    matched += cell.get();
    assert!(matched > CASES / 30, "{matched} filters were good ones");

    let good = std::cell::Cell::new(0);
    let walks = |spec: Value| {
        let walked = walk(&world, spec.to_string().as_bytes())?;
        good.set(good.get() + u32::from(walked));
        Ok(())
    };
    runner().run(&specs(), walks).unwrap();
    runner().run(&documents(), walks).unwrap();
    runner().run(&any::<Vec<u8>>(), |bytes| walk(&world, &bytes).map(drop)).unwrap();
    assert!(good.get() > CASES / 20, "{} specs were good ones", good.get());
}
