//! Many measurements, one belief: the rules one by one, and all of them against the oracle.

use datasets::property::dictionary;
use datasets::record::{Evidence, Measurement, Record};
use matgenome_index::belief::{At, Belief};
use matgenome_index::scope::{Scope, Viewer};

use crate::oracle::{self, Oracle};
use crate::wishes::{KEYS, random_records};
use crate::world::{Qualify as _, World, Write as _, measured, record, value, world};

fn scope_of(world: &World, datasets: &[&str]) -> Scope {
    Scope(world.snapshot.datasets.iter().map(|d| datasets.contains(&d.info.name.as_str())).collect())
}

fn belief(world: &World, scope: &Scope, id: &str, key: &str, at: Option<At>) -> Option<Belief> {
    let snapshot = &world.snapshot;
    let row = snapshot.materials.row(id).unwrap_or_else(|| panic!("no material {id}"));
    snapshot.beliefs(scope, dictionary().get(key).unwrap(), at).get(row, snapshot.materials.len())
}

fn record_of(world: &World, belief: &Belief) -> String {
    let record = world.snapshot.measurements.record[belief.pick as usize];
    world.snapshot.records.id.value(record as usize).to_owned()
}

/// A hub of one material, one record a measurement: `lab/0`, `lab/1`, ...
fn of(measurements: Vec<Measurement>) -> World {
    let records: Vec<Record> = measurements
        .into_iter()
        .enumerate()
        .map(|(i, m)| record(&format!("lab/{i}")).formula("AsGa").says(m))
        .collect();
    world(&records)
}

fn gap(world: &World, at: Option<At>) -> Option<Belief> {
    belief(world, &world.snapshot.visible(Viewer::Public), "AsGa", "band_gap", at)
}

#[test]
fn each_rule_alone() {
    use Evidence::{Computed, Derived, Measured, Predicted};
    let eg = |x: f64, evidence| value("band_gap", x, evidence);
    type Expected = Option<(f64, Evidence, u32, &'static str)>;
    let cases: Vec<(&str, Vec<Measurement>, Expected)> = vec![
        (
            "measured before all others",
            vec![eg(0.5, Computed), eg(1.4, Measured), eg(0.6, Derived)],
            Some((1.4, Measured, 1, "lab/1")),
        ),
        (
            "computed before derived",
            vec![eg(0.6, Derived), eg(0.5, Computed), eg(9.0, Predicted)],
            Some((0.5, Computed, 1, "lab/1")),
        ),
        ("derived before predicted", vec![eg(9.0, Predicted), eg(0.6, Derived)], Some((0.6, Derived, 1, "lab/1"))),
        ("predicted where there is nothing else", vec![eg(9.0, Predicted)], Some((9.0, Predicted, 1, "lab/0"))),
        (
            "better evidence far away before worse evidence nearby",
            vec![eg(1.4, Measured).at(900.0), eg(0.5, Computed)],
            Some((1.4, Measured, 1, "lab/0")),
        ),
        (
            "nearest to 298.15 K",
            vec![eg(1.0, Measured).at(600.0), eg(1.2, Measured).at(350.0), eg(1.5, Measured).at(77.0)],
            Some((1.2, Measured, 1, "lab/1")),
        ),
        (
            "no stated temperature is the reference",
            vec![eg(1.2, Measured).at(350.0), eg(1.4, Measured)],
            Some((1.4, Measured, 1, "lab/1")),
        ),
        (
            "room temperatures are one condition",
            vec![eg(1.4, Measured).at(300.0), eg(1.1, Measured).at(293.15), eg(1.2, Measured)],
            Some((1.2, Measured, 3, "lab/2")),
        ),
        (
            "median, not mean, of an odd number",
            vec![eg(1.0, Measured), eg(24.0, Measured), eg(1.5, Measured)],
            Some((1.5, Measured, 3, "lab/2")),
        ),
        (
            "median of an even number: the middle of the two",
            vec![eg(1.0, Measured), eg(24.0, Measured), eg(2.0, Measured), eg(1.5, Measured)],
            Some((1.75, Measured, 4, "lab/3")),
        ),
        (
            "values beyond the bounds never count",
            vec![eg(-0.5, Measured), eg(26.0, Measured), eg(0.5, Computed)],
            Some((0.5, Computed, 1, "lab/2")),
        ),
        ("the bounds themselves do", vec![eg(0.0, Measured), eg(25.0, Measured)], Some((12.5, Measured, 2, "lab/0"))),
        ("nothing but the impossible is nothing", vec![eg(-0.5, Measured)], None),
        ("nor is what is no number", vec![eg(f64::NAN, Measured), eg(f64::INFINITY, Measured)], None),
        ("another property says nothing", vec![measured("density", 5.3)], None),
    ];
    for (what, measurements, expected) in cases {
        let world = of(measurements);
        let found = gap(&world, None);
        let seen = found.map(|b| (b.value, b.evidence, b.count, record_of(&world, &b)));
        assert_eq!(seen.as_ref().map(|s| (s.0, s.1, s.2, s.3.as_str())), expected, "{what}");
        assert!(found.is_none_or(|b| b.sd > 0.0 && !b.inherited), "{what}");
    }
}

#[test]
fn deviations() {
    let sd = |measurements| gap(&of(measurements), None).unwrap().sd;
    let eg = || measured("band_gap", 1.5);
    let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-12, "{a} is not {b}");
    close(sd(vec![eg().sd(0.03).by("DFT-PBE")]), 0.03);
    close(sd(vec![eg().by("DFT-PBE")]), 0.4);
    close(sd(vec![eg().by("an unheard-of method")]), 0.2);
    close(sd(vec![eg()]), 0.2);
    // nobody is infinitely sure, and nobody is unsure because zero was written for "not stated"
    close(sd(vec![eg().sd(0.0)]), 0.2);
    close(sd(vec![eg().sd(f64::NAN)]), 0.2);
    close(sd(vec![eg().sd(1e-30)]), 1.5e-4);
    assert!(sd(vec![measured("band_gap", 0.0).sd(1e-300)]) > 0.0);
    // the spread of the sources adds to their own deviation: here ± 0.3 about the median
    close(sd(vec![measured("band_gap", 1.2).sd(0.1), measured("band_gap", 1.8).sd(0.1)]), 0.1f64.hypot(0.3));
    let agreed = sd(vec![eg().sd(0.1), eg().sd(0.1), eg().sd(0.1)]);
    let spread = sd(vec![measured("band_gap", 0.5).sd(0.1), eg().sd(0.1), measured("band_gap", 2.5).sd(0.1)]);
    close(agreed, 0.1);
    assert!(spread > 0.8);
    // on a logarithmic axis, in decades
    let world = of(vec![measured("thermal_conductivity", 46.0).sd(4.6)]);
    let scope = world.snapshot.visible(Viewer::Public);
    let k = belief(&world, &scope, "AsGa", "thermal_conductivity", None).unwrap();
    close(k.sd, 0.1 / 10f64.ln());
    close(k.mean, 46f64.log10());
    assert_eq!(k.value, 46.0);
    let world = of(vec![measured("thermal_conductivity", 10.0), measured("thermal_conductivity", 1000.0)]);
    let k = belief(&world, &world.snapshot.visible(Viewer::Public), "AsGa", "thermal_conductivity", None).unwrap();
    close(k.value, 100.0);
}

#[test]
fn an_asked_temperature() {
    let eg = |x: f64, kelvin: f64| measured("band_gap", x).at(kelvin);
    let world = of(vec![eg(1.52, 0.0), eg(1.51, 77.0), eg(1.42, 298.15), eg(1.40, 373.15), eg(1.3, 500.0)]);
    let at = |temperature, tolerance| gap(&world, Some(At { temperature, tolerance })).map(|b| b.value);
    assert_eq!(gap(&world, None).unwrap().value, 1.42);
    assert_eq!(at(77.0, 50.0), Some(1.51));
    assert_eq!(at(500.0, 50.0), Some(1.3));
    assert_eq!(at(420.0, 50.0), Some(1.40));
    assert_eq!(at(440.0, 50.0), None, "nothing within 50 K of 440 K");
    assert_eq!(at(440.0, 60.0), Some(1.3));
    assert_eq!(at(440.0, 1e4), Some(1.3), "the nearest, however much is tolerated");
    assert_eq!(at(350.0, 150.0), Some(1.40));
    assert_eq!(at(500.0, 0.0), Some(1.3));
    assert_eq!(at(373.15, 0.0), Some(1.40), "just what was asked for");
    assert_eq!(at(298.15, 0.0), Some(1.42));
    assert_eq!(at(323.15, 25.0), Some(1.42), "the tolerance is inclusive");
    assert_eq!(at(423.15, 50.0), Some(1.40));
    // as far on either side is not one condition: nothing is averaged, and the colder counts
    let sides = of(vec![eg(1.3, 310.0), eg(1.5, 290.0), eg(1.51, 291.0)]);
    let at = |temperature| gap(&sides, Some(At { temperature, tolerance: 50.0 })).map(|b| (b.value, b.count));
    assert_eq!((at(300.0), at(302.0)), (Some((1.505, 2)), Some((1.3, 1))));
    assert_eq!(gap(&sides, None).map(|b| (b.value, b.count)), Some((1.505, 2)), "291 K and 290 K");
    // the source said 298.15 K, so do we
    let snapshot = &world.snapshot;
    let answer = matgenome_index::candidate::material(snapshot, &snapshot.visible(Viewer::Public), 0).unwrap();
    let told: Vec<Option<f64>> = answer.properties[0].values.iter().map(|v| v.temperature_k).collect();
    assert_eq!(told, [0.0, 77.0, 298.15, 373.15, 500.0].map(Some));
    // without a stated temperature a value is at the reference, and not at 600 K
    let world = of(vec![measured("band_gap", 1.42)]);
    let at = |temperature| gap(&world, Some(At { temperature, tolerance: 50.0 }));
    assert!(at(310.0).is_some() && at(600.0).is_none());
}

#[test]
fn scopes_and_phases() {
    let eg = |x, evidence| value("band_gap", x, evidence);
    let world = world(&[
        record("a/1").formula("AsGa").says(eg(1.4, Evidence::Computed)).says(measured("density", 5.3)),
        record("b/1").formula("AsGa").says(eg(1.42, Evidence::Measured)),
        record("b/2").formula("AsGa").phase(216).says(eg(1.5, Evidence::Measured)),
        record("c/3").formula("AsGa").phase(186).says(eg(0.9, Evidence::Computed)),
        record("c/4").formula("AsGa").phase(225),
        record("c/5").formula("AlSb").phase(216),
    ]);
    let about = |datasets: &[&str], id: &str, key: &str| {
        let found = belief(&world, &scope_of(&world, datasets), id, key, None);
        found.map(|b| (b.value, b.evidence, b.inherited))
    };
    let all = &["a", "b", "c"][..];
    use Evidence::{Computed, Measured};
    assert_eq!(about(all, "AsGa", "band_gap"), Some((1.42, Measured, false)));
    assert_eq!(about(&["a"], "AsGa", "band_gap"), Some((1.4, Computed, false)));
    assert_eq!(about(&["c"], "AsGa", "band_gap"), None);
    // its own value wins, where it has none it has the formula's
    assert_eq!(about(all, "AsGa:sg216", "band_gap"), Some((1.5, Measured, false)));
    assert_eq!(about(all, "AsGa:sg216", "density"), Some((5.3, Measured, true)));
    assert_eq!(about(all, "AsGa:sg225", "band_gap"), Some((1.42, Measured, true)));
    assert_eq!(about(&["a", "c"], "AsGa:sg225", "band_gap"), Some((1.4, Computed, true)));
    // of equal evidence the phase's own, though better evidence comes first even when inherited
    assert_eq!(about(&["a", "c"], "AsGa:sg186", "band_gap"), Some((0.9, Computed, false)));
    assert_eq!(about(all, "AsGa:sg186", "band_gap"), Some((1.42, Measured, true)));
    // inheritance goes from the formula to the phase only, and not between formulas
    assert_eq!(about(&["c"], "AsGa:sg225", "band_gap"), None);
    assert_eq!(about(all, "AlSb:sg216", "band_gap"), None);
    // a phase that a scope has no record of is no material there
    assert_eq!(about(&["a"], "AsGa:sg225", "band_gap"), None);
    let seen = |datasets: &[&str]| {
        let snapshot = &world.snapshot;
        snapshot.beliefs(&scope_of(&world, datasets), dictionary().get("band_gap").unwrap(), None).len()
    };
    assert_eq!((seen(&["a"]), seen(&["a", "c"]), seen(all)), (1, 3, 4));
}

#[test]
fn thousands_of_random_records() {
    let records = random_records(7, 1500);
    let world = world(&records);
    let oracle = Oracle::new(&records);
    let ids: Vec<&str> = oracle.materials.iter().map(|m| m.id.as_str()).collect();
    let materials = &world.snapshot.materials;
    assert_eq!((0..materials.len()).map(|row| materials.id.value(row)).collect::<Vec<_>>(), ids);
    let (mut compared, mut inherited) = (0, 0);
    for scope in [&["alpha", "beta", "gamma", "vault"][..], &["alpha"], &["beta", "gamma"]] {
        for at in [None, Some((500.0, 60.0)), Some((293.15, 0.0))] {
            for key in KEYS {
                let expected = oracle.column(scope, key, at);
                let at = at.map(|(temperature, tolerance)| At { temperature, tolerance });
                let property = dictionary().get(key).unwrap();
                let found = world.snapshot.beliefs(&scope_of(&world, scope), property, at);
                assert!(found.row.is_sorted() && found.sd.iter().all(|sd| *sd > 0.0), "{key}");
                for (row, expected) in expected.iter().enumerate() {
                    let found = found.get(row as u32, ids.len());
                    let name = format!("{key} of {} in {scope:?} at {at:?}: {found:?}, {expected:?}", ids[row]);
                    assert_eq!(found.is_some(), expected.is_some(), "{name}");
                    let (Some(found), Some(expected)) = (found, expected) else { continue };
                    compared += 1;
                    inherited += usize::from(expected.inherited);
                    assert_eq!((found.mean, found.evidence), (expected.mean, expected.evidence), "{name}");
                    assert!((found.sd / expected.sd - 1.0).abs() < 1e-12, "{name}");
                    assert!((found.value - expected.value).abs() <= 1e-12 * expected.value.abs(), "{name}");
                    assert_eq!((found.inherited, found.count as usize), (expected.inherited, expected.count), "{name}");
                }
                let expected = oracle::population(&expected);
                let found = found.population();
                assert_eq!(found.median, expected.median, "{key}");
                assert!((found.spread / expected.spread - 1.0).abs() < 1e-12, "{key}");
            }
        }
    }
    assert!(compared > 5_000 && inherited > 100, "{compared} {inherited}");
}
