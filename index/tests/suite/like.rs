//! Likeness in a spec: the score with the distance in it by naive code, on every device, and without a trace of what is hidden.

use std::collections::BTreeMap;
use std::sync::Arc;

use datasets::record::Record;
use gpu::Device;
use gpu::normal::expected_squared_excess;
use matgenome_index::candidate::{self, SuggestAnswer};
use matgenome_index::embedding::Space;
use matgenome_index::hub::HubError;
use matgenome_index::prediction::Predictions;
use matgenome_index::scope::Viewer;
use matgenome_index::screen::{ScreenSpec, screen};
use matgenome_index::similar::{SimilarSpec, similar};
use matgenome_index::snapshot::Snapshot;
use matgenome_index::spec::{from_json, read_json};
use matgenome_index::{search, tabular};
use serde_json::{Value, json};

use crate::similar::{crystals, semiconductors};
use crate::world::{Random, Write as _, devices, measured, record, to_blame, world};

fn suggest(snapshot: &Snapshot, device: &Device, spec: &Value, viewer: Viewer) -> Result<SuggestAnswer, HubError> {
    let spec = from_json(spec.to_string().as_bytes())?.resolve(snapshot, viewer)?;
    let ranking = search::rank(snapshot, device, &spec)?;
    let passing = search::passing(snapshot, &spec);
    Ok(candidate::answer(snapshot, &spec, ranking, &passing, 0.0))
}

fn ask(snapshot: &Snapshot, spec: &Value) -> SuggestAnswer {
    suggest(snapshot, &Device::cpu(), spec, Viewer::Public).unwrap_or_else(|e| panic!("{e}: {spec}"))
}

fn ids(answer: &SuggestAnswer) -> Vec<&str> {
    answer.candidates.iter().map(|c| c.material.as_str()).collect()
}

fn scores(answer: &SuggestAnswer) -> BTreeMap<String, f64> {
    answer.candidates.iter().map(|c| (c.material.clone(), c.score)).collect()
}

/// The distances that `similar` finds.
fn distances(snapshot: &Snapshot, material: &str, by: Space) -> BTreeMap<String, f64> {
    let question = json!({"material": material, "by": by.name(), "limit": 1000}).to_string();
    let spec: SimilarSpec = read_json(question.as_bytes()).unwrap();
    let found = similar(snapshot, &Device::cpu(), &spec, Viewer::Public).unwrap();
    found.candidates.into_iter().map(|c| (c.material, c.distance)).collect()
}

/// Median and robust spread, by the places that are nearest.
fn population(distances: &BTreeMap<String, f64>) -> (f64, f64) {
    let mut sorted: Vec<f64> = distances.values().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    (at(0.5), (at(0.75) - at(0.25)) / 1.349)
}

/// Compounds of some elements, most with a density, some with a gap.
fn compounds(seed: u64) -> Vec<Record> {
    let mut random = Random::new(seed);
    let mut known: BTreeMap<String, Record> = BTreeMap::new();
    while known.len() < 150 {
        let mut symbols = ["Na", "Fe", "Al", "Ga", "Si", "As", "O", "Cl"];
        random.shuffle(&mut symbols);
        let parts = symbols[..1 + random.below(3)].iter().map(|symbol| format!("{symbol}{}", 1 + random.below(4)));
        let written = datasets::formula::Formula::parse(&parts.collect::<String>()).unwrap();
        let formula = written.reduced();
        let mut record = record(&format!("lab/{formula}")).formula(&formula);
        if random.chance(0.8) {
            record = record.says(measured("density", random.within(1.0, 9.0)));
        }
        if random.chance(0.5) {
            record = record.says(measured("band_gap", random.within(0.1, 6.0)));
        }
        known.insert(formula, record);
    }
    known.into_values().collect()
}

#[test]
fn the_score_with_a_distance_by_brute_force_on_every_device() {
    let devices = devices();
    for seed in 0..3 {
        let mut random = Random::new(100 + seed);
        let mut records = compounds(seed);
        // what has no formula has no place in most spaces, and shares a density
        records.push(record("lab/steel").name("Steel").says(measured("density", 7.85)));
        records.push(record("lab/resin").name("Resin").says(measured("hardness_vickers", 2.0)));
        records.push(record("lab/asked").formula("AlAs2Ga").says(measured("density", 4.6)));
        let world = world(&records);
        let snapshot = &world.snapshot;
        for by in Space::ALL.into_iter().filter(|by| *by != Space::Structure) {
            let near = distances(snapshot, "AlGaAs2", by);
            let (median, spread) = population(&near);
            for unknown in ["predict", "require", "ignore"] {
                let weights = (random.pick(&[0.01, 0.3, 1.0, 20.0]), random.pick(&[1.0, 3.0]));
                let tolerance = random.chance(0.5).then(|| random.within(0.1, 10.0));
                let mut spec = json!({
                    "targets": [{"property": "density", "min": 2.0, "max": 3.0, "tolerance": 1.5, "weight": weights.1}],
                    "like": {"material": "AlGaAs2", "by": by.name(), "weight": weights.0},
                    "unknown": unknown, "limit": 1000,
                });
                if let Some(tolerance) = tolerance {
                    spec["like"]["tolerance"] = json!(tolerance);
                }
                if random.chance(0.5) {
                    spec["filter"] = json!("NOT elements HAS \"Na\" OR nelements IS UNKNOWN");
                }
                let without = |unknown: &str| {
                    let mut spec = spec.clone();
                    (spec["like"], spec["unknown"]) = (Value::Null, json!(unknown));
                    ask(snapshot, &spec)
                };
                let (all, by_target) = (without("predict"), scores(&without(unknown)));
                let unit = tolerance.unwrap_or(median);
                let mut expected: Vec<(f64, &str)> = Vec::new();
                for id in ids(&all).into_iter().filter(|id| *id != "AlAs2Ga") {
                    let target = by_target.get(id).map(|score| (weights.1, *score));
                    let far = match (near.get(id), unknown) {
                        (Some(distance), _) => Some((weights.0, (distance / unit).powi(2))),
                        (None, "predict") => Some((weights.0, expected_squared_excess(median, spread) / (unit * unit))),
                        (None, _) => None,
                    };
                    if unknown == "require" && (target.is_none() || far.is_none()) {
                        continue;
                    }
                    let counted: Vec<(f64, f64)> = target.into_iter().chain(far).collect();
                    let weight: f64 = counted.iter().map(|(weight, _)| weight).sum();
                    if weight > 0.0 {
                        let score = counted.iter().map(|(weight, cost)| weight * cost).sum::<f64>() / weight;
                        expected.push((score, id));
                    }
                }
                expected.sort_by(|a, b| a.partial_cmp(b).unwrap());
                let found = ask(snapshot, &spec);
                assert_eq!(found.candidates.len(), expected.len(), "{seed} {spec}");
                for (candidate, (score, id)) in found.candidates.iter().zip(&expected) {
                    let same = (candidate.score - score).abs() <= 1e-9 * score.max(1e-9);
                    assert!(same, "{seed} {spec}: {} {} is not {id} {score}", candidate.material, candidate.score);
                    let like = candidate.like.as_ref().unwrap();
                    assert_eq!(
                        like.distance,
                        near.get(&candidate.material).copied(),
                        "{seed} {spec}: as `similar` has it"
                    );
                    assert_eq!((like.by, like.to.as_str()), (by, "AlAs2Ga"));
                }
                let meta = found.meta.like.as_ref().unwrap();
                assert!((meta.tolerance - unit).abs() <= 1e-12 * unit, "{seed} {spec}: {}", meta.tolerance);
                // likeness requires nothing
                let met = |answer: &SuggestAnswer| {
                    let of = |c: &candidate::Candidate| (c.material.clone(), (c.probability.to_bits(), c.verdict));
                    answer.candidates.iter().map(of).collect::<BTreeMap<_, _>>()
                };
                let truth = met(&all);
                if unknown == "predict" {
                    assert!(met(&found).iter().all(|(id, met)| truth[id] == *met), "{seed} {spec}");
                }
                assert_eq!(found.meta.matched_filter + 1, all.meta.matched_filter, "{seed} {spec}: without itself");
                assert_eq!(found.meta.passing, all.meta.passing, "{seed} {spec}: 4.6 g/cm³ does not pass");
                let exact = |answer: &SuggestAnswer| -> Vec<(String, u64)> {
                    answer.candidates.iter().map(|c| (c.material.clone(), c.score.to_bits())).collect()
                };
                for device in &devices {
                    let there = suggest(snapshot, device, &spec, Viewer::Public).unwrap();
                    assert_eq!((there.meta.device.as_str(), &there.meta.note), (device.name(), &None));
                    assert_eq!(exact(&there), exact(&found), "{seed} {spec} on {}", device.name());
                }
                let mut pages = Vec::new();
                for offset in (0..expected.len()).step_by(40) {
                    (spec["limit"], spec["offset"]) = (json!(40), json!(offset));
                    pages.extend(exact(&ask(snapshot, &spec)));
                }
                assert_eq!(pages, exact(&found), "{seed} {spec}: pages add up");
            }
        }
    }
}

#[test]
fn without_targets_the_order_is_that_of_similar() {
    let world = world(&[semiconductors(), crystals()].concat());
    for by in Space::ALL {
        let material = if by == Space::Structure { "NaCl" } else { "GaAs" };
        let question = json!({"material": material, "by": by.name(), "limit": 1000}).to_string();
        let spec: SimilarSpec = read_json(question.as_bytes()).unwrap();
        let near = similar(&world.snapshot, &Device::cpu(), &spec, Viewer::Public).unwrap();
        for unknown in ["require", "ignore"] {
            let like = json!({"like": {"material": material, "by": by.name()}, "unknown": unknown, "limit": 1000});
            let found = ask(&world.snapshot, &like);
            let told: Vec<(&str, Option<f64>, Option<&str>)> = found
                .candidates
                .iter()
                .map(|c| (c.material.as_str(), c.like.as_ref()))
                .map(|(id, like)| (id, like.unwrap().distance, like.unwrap().structure.as_deref()))
                .collect();
            let near_told: Vec<(&str, Option<f64>, Option<&str>)> = near
                .candidates
                .iter()
                .map(|c| (c.material.as_str(), Some(c.distance), c.structure.as_deref()))
                .collect();
            assert_eq!(told, near_told, "{by} {unknown}");
            let meta = found.meta.like.unwrap();
            assert_eq!((meta.compared, meta.metric), (near.meta.compared, near.meta.metric.clone()), "{by}");
            assert_eq!(json!(meta.asked), json!(near.meta.asked), "{by}");
            assert_eq!(found.meta.passing.len(), 1, "{by}: nothing is required");
        }
    }
}

#[test]
fn weights_decide_between_the_target_and_the_likeness() {
    let world = world(&semiconductors());
    let order = |weight: f64, more: Value| {
        let mut spec = json!({
            "targets": [{"property": "band_gap", "min": 2.5, "max": 2.6, "tolerance": 1.0}],
            "like": {"material": "GaAs", "weight": weight}, "unknown": "require",
        });
        more.as_object().unwrap().iter().for_each(|(key, value)| spec["like"][key] = value.clone());
        ids(&ask(&world.snapshot, &spec)).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(order(1e-6, json!({}))[..3], ["SeZn", "GaP", "AlAs"], "2.7, 2.26 and 2.16 eV");
    assert_eq!(order(1e3, json!({}))[..4], ["GaP", "AlAs", "AsIn", "SeZn"], "0.5, 0.5, 0.5 and 5 places");
    // the same by the distance that costs 1
    assert_eq!(order(1.0, json!({"tolerance": 1e6}))[..3], ["SeZn", "GaP", "AlAs"]);
    assert_eq!(order(1.0, json!({"tolerance": 0.01}))[..4], ["GaP", "AlAs", "AsIn", "SeZn"]);
    // a formula that nobody has seen, and then GaAs is a candidate; in the space that is named, else that of compositions
    let new = order(1e3, json!({"material": "Ga0.5In0.5As"}));
    assert_eq!(new[0], "AsGa");
    let descriptors = order(1e3, json!({"by": "descriptors"}));
    assert!(["AlAs", "AsIn", "GaP"].contains(&descriptors[0].as_str()), "{descriptors:?}");
    // of a phase the formula is no candidate either, and the other way round
    for material in ["GaAs", "GaAs:sg216", "gaas"] {
        let found = ask(&world.snapshot, &json!({"like": {"material": material}, "limit": 100}));
        assert!(ids(&found).iter().all(|id| !id.starts_with("AsGa")), "{material}: {:?}", ids(&found));
    }
}

/// Of crystals few have a structure: a material without one counts as a typical one, is left out, or is scored by the targets.
#[test]
fn what_has_no_place_is_unknown() {
    let world = world(&[crystals(), semiconductors()].concat());
    let snapshot = &world.snapshot;
    let spec = |unknown: &str, weight: f64| {
        json!({
            "targets": [{"property": "density", "max": 3.0, "tolerance": 1.0}],
            "like": {"material": "NaCl", "by": "structure", "weight": weight}, "unknown": unknown, "limit": 100,
        })
    };
    let far = |answer: &SuggestAnswer| -> BTreeMap<String, Option<f64>> {
        answer.candidates.iter().map(|c| (c.material.clone(), c.like.as_ref().unwrap().distance)).collect()
    };
    let predicted = ask(snapshot, &spec("predict", 1e6));
    let distances = far(&predicted);
    assert_eq!((distances["MgO:sg225"].is_some(), distances["CuO"]), (true, None));
    assert!(!distances.contains_key("ClNa") && !distances.contains_key("ClNa:sg225"), "NaCl itself");
    let place = |id: &str| ids(&predicted).iter().position(|other| *other == id).unwrap();
    assert!(place("MgO:sg225") < place("CuO"), "the same type comes before what nobody knows");
    assert!(place("CuO") < place("Si:sg227"), "and that before what is known to be otherwise");
    let required = far(&ask(snapshot, &spec("require", 1.0)));
    assert!(required.values().all(Option::is_some) && required.contains_key("MgO:sg225"), "{required:?}");
    let ignored = ask(snapshot, &spec("ignore", 1e6));
    let bare = ignored.candidates.iter().find(|c| c.material == "BrK").unwrap();
    assert_eq!(
        bare.score,
        ask(
            snapshot,
            &json!({
                "targets": [{"property": "density", "max": 3.0, "tolerance": 1.0}], "filter": "formula = \"KBr\"",
            })
        )
        .candidates[0]
            .score,
        "by the density alone"
    );
    let batch = tabular::batch(&predicted).unwrap();
    let column = batch.column_by_name("like_distance").unwrap();
    assert!(column.null_count() > 0 && column.null_count() < batch.num_rows());
    let plain = ask(snapshot, &json!({"targets": [{"property": "density", "max": 3.0}]}));
    assert!(tabular::batch(&plain).unwrap().column_by_name("like_distance").is_none());
}

#[test]
fn only_the_datasets_asked_count() {
    let of = |id: &str, formula: &str| record(id).formula(formula).says(measured("density", 4.0));
    let world = world(&[
        of("lab/1", "AsGa"),
        of("lab/2", "GaP").says(measured("band_gap", 2.26)),
        of("lab/3", "ClNa"),
        of("more/4", "AlAs").says(measured("band_gap", 2.0)),
        of("more/5", "AsGa").says(measured("band_gap", 1.4)),
    ]);
    let like = |by: &str, datasets: Value| json!({"like": {"material": "GaAs", "by": by}, "datasets": datasets});
    let lab = ask(&world.snapshot, &like("composition", json!(["lab"])));
    assert_eq!(ids(&lab), ["GaP", "ClNa"]);
    // half of the others are within it
    assert_eq!(lab.meta.like.unwrap().tolerance, lab.candidates[1].like.as_ref().unwrap().distance.unwrap());
    let more = ask(&world.snapshot, &like("properties", json!(["more"])));
    assert_eq!(ids(&more), ["AlAs"]);
    let both = ask(&world.snapshot, &like("properties", Value::Null));
    let gap = |answer: &SuggestAnswer| answer.candidates.iter().find(|c| c.material == "AlAs").unwrap().like.clone();
    assert_ne!(gap(&both).unwrap().distance, gap(&more).unwrap().distance, "spreads are those of the datasets");
}

#[test]
fn errors_say_where_what_and_the_mend() {
    let mut records = semiconductors();
    records.push(record("lab/r").formula("O2Ti").phase(136));
    records.push(record("lab/a").formula("O2Ti").phase(141).name("Anatase"));
    records.push(record("lab/bare").formula("CuO"));
    let world = world(&records);
    for (like, pointer, word) in [
        (json!({"material": "Unobtainium"}), "/like/material", "there is no material `Unobtainium`"),
        (json!({"material": ""}), "/like/material", "there is no material"),
        (json!({"material": "steel s325"}), "/like/material", "steel-s235"),
        (json!({"material": "TiO2"}), "/like/material", "O2Ti:sg136 (lab/r), O2Ti:sg141 (Anatase; lab/a): say which"),
        (json!({"material": "Steel S235"}), "/like/material", "needs a formula"),
        (json!({"material": "RfO2"}), "/like/material", "lawrencium"),
        (json!({"material": "GaAs", "by": "structure"}), "/like/material", "where the atoms of its crystal are"),
        (json!({"material": "CuO", "by": "properties"}), "/like/material", "ask by composition"),
        (json!({"material": "AlN", "by": "properties"}), "/like/material", "ask by composition"),
        (json!({"material": "GaAs", "weight": 0}), "/like/weight", "1e-6 to 1e6"),
        (json!({"material": "GaAs", "tolerance": 0}), "/like/tolerance", "1e-15 to 1e15"),
        (json!({"material": "GaAs", "tolerance": -3}), "/like/tolerance", "-3 is not"),
        (json!({"material": "GaAs", "by": "smell"}), "/like/by", "descriptors"),
        (json!({"material": "GaAs", "formula": "GaAs"}), "/like/formula", "expected one of `material`"),
        (json!({"by": "structure"}), "/like", "missing field `material`"),
        (json!("GaAs"), "/like", "struct LikeSpec"),
    ] {
        let spec = json!({"targets": [{"property": "density", "max": 4}], "like": like});
        let error = to_blame(suggest(&world.snapshot, &Device::cpu(), &spec, Viewer::Public).unwrap_err());
        assert!(error.pointer == pointer && error.message.contains(word), "{spec}: {error}");
    }
    let targets =
        |n: usize| json!({"targets": vec![json!({"property": "density", "max": 4}); n], "like": {"material": "GaAs"}});
    assert!(suggest(&world.snapshot, &Device::cpu(), &targets(63), Viewer::Public).is_ok());
    let error = to_blame(suggest(&world.snapshot, &Device::cpu(), &targets(64), Viewer::Public).unwrap_err());
    assert_eq!(error.to_string(), "/targets: 64 targets and `like`; at most 64");
    // formulas that are screened are not ranked
    let question = json!({"candidates": [{"formula": "GaAs"}], "spec": targets(1)}).to_string();
    let question: ScreenSpec = read_json(question.as_bytes()).unwrap();
    let predictions = Arc::new(Predictions::of(world.dir.path()));
    let error = screen(&world.snapshot, &predictions, &question, Viewer::Public, &mut |_, _| true).unwrap_err();
    let error = to_blame(error);
    assert!(error.pointer == "/spec/like" && error.message.contains("suggest"), "{error}");
}

/// To the public a hub with private datasets is the hub without them, also after their owner has asked.
#[test]
fn private_datasets_leave_no_trace() {
    let private = vec![
        record("vault/1").formula("AsGa").says(measured("band_gap", 3.0)),
        record("vault/2").formula("AlAs2Ga").says(measured("band_gap", 1.42)).says(measured("density", 5.32)),
        record("vault/3").name("Wonder").says(measured("density", 5.3)),
        record("vault/4").formula("ClNa").phase(225).crystal(crate::world::zinc_blende("Na", "Cl", 5.64)),
    ];
    let public = [semiconductors(), crystals()].concat();
    let (with, without) = (world(&[public.clone(), private].concat()), world(&public));
    for by in Space::ALL {
        for material in ["GaAs", "AlGaAs2", "Wonder", "NaCl", "MgO"] {
            let spec = json!({
                "targets": [{"property": "density", "max": 4.0}],
                "like": {"material": material, "by": by.name()}, "limit": 100,
            });
            let told = |snapshot: &Snapshot, viewer: Viewer| {
                let mut answer = suggest(snapshot, &Device::cpu(), &spec, viewer).map_err(|e| e.to_string())?;
                answer.meta.version = 0;
                Ok::<_, String>(serde_json::to_value(answer).unwrap())
            };
            let owner = told(&with.snapshot, Viewer::Owner);
            assert_eq!(told(&with.snapshot, Viewer::Public), told(&without.snapshot, Viewer::Public), "{spec}");
            assert_eq!(told(&with.snapshot, Viewer::Owner), owner, "{spec}: and what was kept is the caller's own");
        }
    }
    let wonder = json!({"like": {"material": "Wonder", "by": "properties"}});
    assert!(suggest(&with.snapshot, &Device::cpu(), &wonder, Viewer::Owner).is_ok(), "the owner sees it");
}
