//! Indices of merit against plain arithmetic over the oracle's beliefs.

use datasets::property::Axis;
use datasets::record::Evidence;
use gpu::Device;
use matgenome_index::merit::Merit;
use matgenome_index::scope::Viewer;
use matgenome_index::search;
use matgenome_index::spec::from_json;
use serde_json::json;

use crate::oracle::{Belief, Oracle, is_log, shortfall};
use crate::wishes::random_records;
use crate::world::{Write as _, measured, record, value, world};

const ALL: [&str; 4] = ["alpha", "beta", "gamma", "vault"];

/// What an index is worth for beliefs about its parts, on the linear axis.
type Formula = fn(&[f64]) -> f64;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-11 * a.abs().max(b.abs()).max(1e-3)
}

/// Σ (power · sd on the log axis)², and the mean on that axis.
fn product(factor: f64, powers: &[f64], parts: &[(&str, Belief)]) -> (f64, f64) {
    let (mut mean, mut variance) = (factor.log10(), 0.0);
    for (power, (key, b)) in powers.iter().zip(parts) {
        let sd = if is_log(key) { b.sd } else { b.sd / (b.value * std::f64::consts::LN_10) };
        mean += power * b.value.log10();
        variance += power * power * sd * sd;
    }
    (mean, variance.sqrt())
}

/// First order: half of what one deviation up and one down make of it.
fn general(formula: Formula, parts: &[(&str, Belief)]) -> (f64, f64) {
    let values: Vec<f64> = parts.iter().map(|(_, b)| b.value).collect();
    let mut variance = 0.0;
    for (i, (key, b)) in parts.iter().enumerate() {
        let moved = |by: f64| {
            let mut moved = values.clone();
            moved[i] = if is_log(key) { b.value * 10f64.powf(by) } else { b.value + by };
            formula(&moved)
        };
        variance += ((moved(b.sd) - moved(-b.sd)) / 2.0).powi(2);
    }
    (formula(&values), variance.sqrt())
}

#[test]
fn indices_of_random_materials() {
    let records = random_records(11, 2500);
    let world = world(&records);
    let oracle = Oracle::new(&records);
    let scope = world.snapshot.visible(Viewer::Owner);
    // parts in key order; powers where the index is a product of them, else its formula
    type Case = (&'static str, &'static [&'static str], Result<(f64, &'static [f64]), Formula>);
    let cases: [Case; 9] = [
        ("youngs_modulus^(1/2) / density", &["density", "youngs_modulus"], Ok((1.0, &[-1.0, 0.5]))),
        ("bulk_modulus*density", &["bulk_modulus", "density"], Ok((1.0, &[1.0, 1.0]))),
        ("3 * thermal_conductivity ^ 2 / (2*density)^-1", &["density", "thermal_conductivity"], Ok((6.0, &[1.0, 2.0]))),
        ("density", &["density"], Ok((1.0, &[1.0]))),
        ("density / density^3", &["density"], Ok((1.0, &[-2.0]))),
        ("band_gap * density", &["band_gap", "density"], Ok((1.0, &[1.0, 1.0]))),
        ("bulk_modulus - 10 * density", &["bulk_modulus", "density"], Err(|x| x[0] - 10.0 * x[1])),
        ("formation_energy + energy_above_hull", &["energy_above_hull", "formation_energy"], Err(|x| x[0] + x[1])),
        ("-youngs_modulus / (1 + density ^ 2)", &["density", "youngs_modulus"], Err(|x| -x[1] / (1.0 + x[0] * x[0]))),
    ];
    for (text, keys, meaning) in cases {
        let merit = Merit::parse(text, &world.snapshot, &scope).unwrap();
        assert_eq!(merit.properties, keys, "{text}");
        assert_eq!(merit.axis() == Axis::Log, meaning.is_ok(), "{text}");
        let found = merit.believed(&world.snapshot, &scope, false);
        let columns: Vec<_> = keys.iter().map(|key| oracle.column(&ALL, key, None)).collect();
        let mut known = 0;
        for row in 0..oracle.materials.len() {
            let name = format!("{text} of {}", oracle.materials[row].id);
            let parts: Option<Vec<(&str, Belief)>> =
                keys.iter().zip(&columns).map(|(key, column)| Some((*key, column[row]?))).collect();
            // a product of what may be zero or less has no logarithm
            let parts = parts.filter(|parts| meaning.is_err() || parts.iter().all(|(_, b)| b.value > 0.0));
            let found = found.get(row as u32, oracle.materials.len());
            assert_eq!(found.is_some(), parts.is_some(), "{name}");
            let (Some(found), Some(parts)) = (found, parts) else { continue };
            known += 1;
            let (mean, sd) = match meaning {
                Ok((factor, powers)) => product(factor, powers, &parts),
                Err(formula) => general(formula, &parts),
            };
            assert!(close(found.mean, mean), "{name}: {found:?}, {mean}");
            assert!((found.sd / sd.max(1e-4 * mean.abs()) - 1.0).abs() < 1e-9, "{name}: {found:?}, {sd}");
            let value = if meaning.is_ok() { 10f64.powf(mean) } else { mean };
            assert!(close(found.value, value), "{name}: {found:?}, {value}");
            let weakest = parts.iter().map(|(_, b)| b.evidence).min().unwrap();
            assert_eq!(found.evidence, weakest, "{name}");
            assert_eq!(found.inherited, parts.iter().any(|(_, b)| b.inherited), "{name}");
        }
        assert!(known > 50, "{text}: {known}");
    }
}

#[test]
fn an_index_is_a_target_like_any_other() {
    let specimen = |id: &str, formula: &str, density: f64, modulus: f64, evidence| {
        record(id).formula(formula).says(measured("density", density)).says(value("youngs_modulus", modulus, evidence))
    };
    let world = world(&[
        specimen("lab/1", "Al", 2.7, 70.0, Evidence::Measured),
        specimen("lab/2", "Fe", 7.87, 211.0, Evidence::Measured),
        specimen("lab/3", "Mg", 1.74, 45.0, Evidence::Computed),
        record("lab/4").formula("Be").says(measured("youngs_modulus", 287.0)),
        record("lab/5").formula("Pb").says(measured("density", -11.3)).says(measured("youngs_modulus", 16.0)),
    ]);
    let snapshot = &world.snapshot;
    let resolve = |text: serde_json::Value| {
        from_json(text.to_string().as_bytes()).unwrap().resolve(snapshot, Viewer::Public).unwrap()
    };
    // E^(1/2)/ρ in GPa^(1/2) cm³/g: Mg 3.86, Al 3.10, Fe 1.85
    let index = "youngs_modulus^(1/2) / density";
    let spec = resolve(json!({"targets": [{"index": index, "goal": "maximize"}], "unknown": "require"}));
    let ids = |spec: &matgenome_index::spec::Resolved| -> Vec<String> {
        let page = search::rank(snapshot, &Device::cpu(), spec).unwrap().page;
        page.iter().map(|(_, row)| snapshot.materials.id.value(*row as usize).to_owned()).collect()
    };
    assert_eq!(ids(&spec), ["Mg", "Al", "Fe"]);
    // its evidence is that of its weakest part: Mg's modulus was computed only
    let measured_only =
        resolve(json!({"targets": [{"index": index, "min": 3.0}], "unknown": "require", "evidence": "measured"}));
    assert_eq!(ids(&measured_only), ["Al", "Fe"]);
    assert_eq!(search::passing(snapshot, &measured_only).each, [1]);
    let any = resolve(json!({"targets": [{"index": index, "min": 3.0}]}));
    assert_eq!(search::passing(snapshot, &any).each, [2]);
    // the score of Al to the window from 3.0 on, tolerance 0.5, on the logarithmic axis
    let spec = resolve(json!({"targets": [{"index": index, "min": 3.0, "tolerance": 0.5}], "unknown": "require"}));
    let page = search::rank(snapshot, &Device::cpu(), &spec).unwrap().page;
    let al = page.iter().find(|(_, row)| snapshot.materials.id.value(*row as usize) == "Al").unwrap();
    let (mean, lo) = ((70f64.sqrt() / 2.7).log10(), 3f64.log10());
    // both have 1 % and 5 % by the dictionary
    let sd = (0.5f64 * 0.05).hypot(0.01) / 10f64.ln();
    let expected = shortfall(mean, sd, lo, f64::INFINITY, 3.5f64.log10() - lo);
    assert!((al.0 / expected - 1.0).abs() < 1e-9, "{} {expected}", al.0);
    // spaces do not make it another index, and its answers are in the units of its parts
    let spaced = resolve(
        json!({"targets": [{"index": " youngs_modulus ^(1/2)/density", "goal": "maximize"}], "unknown": "require"}),
    );
    assert_eq!(ids(&spaced)[..3], ["Mg", "Al", "Fe"]);
    assert!(spaced.targets[0].unit.contains("GPa") && spaced.targets[0].unit.contains("g/cm^3"));
}
