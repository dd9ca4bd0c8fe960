//! Neighbours and substitutes: judged by naive code, the same on every device, and without a trace of what is hidden.

use std::collections::BTreeMap;

use datasets::formula::Formula;
use datasets::record::Record;
use datasets::structure::{Species, Structure};
use datasets::table::Table;
use gpu::Device;
use matgenome_index::embedding::Space;
use matgenome_index::hub::{Hub, HubError};
use matgenome_index::scope::Viewer;
use matgenome_index::similar::{SimilarAnswer, SimilarCandidate, SimilarSpec, SubstituteSpec, similar, substitute};
use matgenome_index::snapshot::Snapshot;
use matgenome_index::spec::read_json;
use serde_json::{Value, json};

use crate::world::{
    Random, Write as _, cubic, devices, ingest, measured, open, record, rock_salt, wait, world, zinc_blende,
};

fn spec(text: &Value) -> SimilarSpec {
    read_json(text.to_string().as_bytes()).unwrap()
}

fn ask(snapshot: &Snapshot, question: &Value, viewer: Viewer) -> Result<SimilarAnswer, HubError> {
    similar(snapshot, &Device::cpu(), &spec(question), viewer)
}

fn replace(snapshot: &Snapshot, question: &Value) -> Result<SimilarAnswer, HubError> {
    let spec: SubstituteSpec = read_json(question.to_string().as_bytes()).unwrap();
    substitute(snapshot, &Device::cpu(), &spec, Viewer::Public)
}

fn ids(answer: &SimilarAnswer) -> Vec<&str> {
    answer.candidates.iter().map(|c| c.material.as_str()).collect()
}

pub(crate) fn semiconductors() -> Vec<Record> {
    let mut records = Vec::new();
    for (formula, gap, density) in [
        ("AsGa", 1.42, 5.32),
        ("GaP", 2.26, 4.14),
        ("AlAs", 2.16, 3.72),
        ("AsIn", 0.36, 5.68),
        ("SeZn", 2.7, 5.27),
        ("ClNa", 8.5, 2.16),
        ("BrK", 7.4, 2.75),
        ("Si", 1.12, 2.33),
        ("Fe2O3", 2.1, 5.25),
    ] {
        let id = format!("lab/{formula}");
        records.push(record(&id).formula(formula).says(measured("band_gap", gap)).says(measured("density", density)));
    }
    records.push(record("lab/steel").name("Steel S235").says(measured("density", 7.85)));
    records.push(record("lab/rf").formula("Rf"));
    records.push(record("lab/phase").formula("AsGa").phase(216).says(measured("density", 5.3)));
    records
}

#[test]
fn known_neighbours_by_composition() {
    let world = world(&semiconductors());
    let answer = ask(&world.snapshot, &json!({"material": "GaAs", "limit": 5}), Viewer::Public).unwrap();
    assert_eq!(ids(&answer), ["AlAs", "AsIn", "GaP", "SeZn", "Si"]);
    let distances: Vec<f64> = answer.candidates.iter().map(|c| (c.distance * 1e4).round() / 1e4).collect();
    assert_eq!(distances[..4], [0.5, 0.5, 0.5, 5.0], "as the peer ElMD has them; ties by id");
    assert_eq!(answer.candidates[0].properties[0].record, "lab/AlAs", "values with their evidence");
    let meta = &answer.meta;
    // Rf has no place on the scale, the steel no formula, and GaAs and its phase are what was asked about
    assert_eq!((meta.searched, meta.matched_filter, meta.compared), (12, 12, 8));
    assert!(
        meta.exact && meta.asked.material.as_deref() == Some("AsGa") && meta.asked.formula.as_deref() == Some("GaAs")
    );
    // of a phase the other materials are neighbours, but not the formula whose values it has
    let phase = ask(&world.snapshot, &json!({"material": "GaAs:sg216", "limit": 20}), Viewer::Public).unwrap();
    assert!(!ids(&phase).contains(&"AsGa") && !ids(&phase).contains(&"AsGa:sg216"), "{:?}", ids(&phase));
    // a formula that nobody has seen, and one as an amount of others
    let new = ask(&world.snapshot, &json!({"formula": "Ga0.5In0.5As", "limit": 3}), Viewer::Public).unwrap();
    assert_eq!(ids(&new), ["AsGa", "AsGa:sg216", "AsIn"]);
    assert_eq!(new.meta.asked.material, None);
    let old = ask(&world.snapshot, &json!({"formula": "As2Ga2", "limit": 5}), Viewer::Public).unwrap();
    assert_eq!(ids(&old), ids(&answer));
    let none = ask(&world.snapshot, &json!({"material": "GaAs", "filter": "nelements = 9"}), Viewer::Public).unwrap();
    assert_eq!((none.candidates.len(), none.meta.compared), (0, 0));
}

#[test]
fn known_neighbours_by_descriptors_and_properties() {
    let world = world(&semiconductors());
    let by = |space: &str| json!({"material": "GaAs", "by": space, "limit": 3});
    let near = ask(&world.snapshot, &by("descriptors"), Viewer::Public).unwrap();
    assert!(ids(&near).iter().all(|id| ["AlAs", "AsIn", "GaP", "SeZn"].contains(id)), "{:?}", ids(&near));
    let near = ask(&world.snapshot, &by("properties"), Viewer::Public).unwrap();
    assert_eq!(ids(&near)[0], "Fe2O3", "a gap of 2.1 eV and 5.25 g/cm³");
    assert_eq!(near.meta.properties.len(), 2);
    assert_eq!(near.candidates[0].shared, Some(2));
    // the steel shares the density: it is compared, and its unknown gap is that of the population
    assert_eq!(near.meta.compared, 9);
}

#[test]
fn a_substitute_holds_none_of_the_elements() {
    let world = world(&semiconductors());
    let answer = replace(&world.snapshot, &json!({"material": "GaAs", "without": ["As", "Ga"]})).unwrap();
    assert_eq!(ids(&answer), ["Fe2O3", "SeZn", "Si", "BrK", "ClNa"], "and none of unknown composition");
    let kept = replace(&world.snapshot, &json!({"formula": "GaAs", "without": ["Fe"], "keep": ["density"]})).unwrap();
    assert_eq!(kept.meta.properties.len(), 1);
    assert_eq!(ids(&kept)[0], "SeZn", "5.27 of 5.32 g/cm³");
}

#[test]
fn errors_say_where_what_and_the_mend() {
    let mut records = semiconductors();
    records.push(record("lab/bare").formula("CuO"));
    records.push(record("lab/r").formula("O2Ti").phase(136));
    records.push(record("lab/a").formula("O2Ti").phase(141).name("Anatase"));
    records.push(record("refs/a").formula("O2Ti").phase(141));
    let world = world(&records);
    let refused = |found: Result<SimilarAnswer, HubError>| match found {
        Err(HubError::Spec(e)) => (e.pointer.clone(), e.message.clone()),
        Err(HubError::NoMaterial { text, .. }) => ("no material".to_owned(), text),
        Err(HubError::Ambiguous { ids, .. }) => ("ambiguous".to_owned(), ids.join(" ")),
        other => panic!("{other:?}"),
    };
    for (question, pointer, word) in [
        (json!({}), "", "material"),
        (json!({"material": "GaAs", "formula": "GaAs"}), "/formula", "either"),
        (json!({"material": "Unobtainium"}), "no material", "Unobtainium"),
        (json!({"material": "TiO2"}), "ambiguous", "O2Ti:sg136"),
        (json!({"formula": "Xx2"}), "/formula", "Xx"),
        (json!({"material": "Steel S235"}), "/material", "needs a formula"),
        (json!({"formula": "RfO2"}), "/formula", "lawrencium"),
        (json!({"formula": "AlN", "by": "properties"}), "/formula", "composition"),
        (json!({"material": "CuO", "by": "properties"}), "/material", "no known value"),
        (json!({"formula": "TiO2", "by": "properties"}), "ambiguous", "O2Ti:sg141"),
        (json!({"material": "GaAs", "limit": 0}), "/limit", "1000"),
        (json!({"material": "GaAs", "filter": "bandgap > 1"}), "/filter", "band_gap"),
        (json!({"material": "GaAs", "datasets": ["labs"]}), "/datasets/0", "lab"),
    ] {
        let (found, message) = refused(ask(&world.snapshot, &question, Viewer::Public));
        assert!(found == pointer && message.contains(word), "{question}: {found} {message}");
    }
    assert_eq!(
        ask(&world.snapshot, &json!({"material": "TiO2"}), Viewer::Public).unwrap_err().to_string(),
        "`TiO2` may mean O2Ti:sg136 (lab/r), O2Ti:sg141 (Anatase; 2 records of lab and refs): say which"
    );
    for (question, pointer, word) in [
        (json!({"material": "GaAs", "without": []}), "/without", "similar"),
        (json!({"material": "GaAs", "without": ["As", "ga"]}), "/without/1", "Ga"),
        (json!({"material": "GaAs", "without": ["As"], "keep": ["bandgap"]}), "/keep/0", "band_gap"),
        (json!({"material": "GaAs", "without": ["As"], "keep": ["hardness_vickers"]}), "/keep/0", "it has "),
        (json!({"material": "GaAs", "without": ["As"], "keep": []}), "/keep", "leave it out"),
        (json!({"material": "CuO", "without": ["Cu"]}), "/material", "ingest"),
        (json!({"formula": "AlN", "without": ["Al"]}), "/formula", "NOT elements HAS ANY \"Al\""),
    ] {
        let (found, message) = refused(replace(&world.snapshot, &question));
        assert!(found == pointer && message.contains(word), "{question}: {found} {message}");
    }
    for (text, pointer) in [
        (r#"{"material": "GaAs", "by": "colour"}"#, "/by"),
        (r#"{"material": "GaAs", "metric": "l2"}"#, "/metric"),
        (r#"{"material": 3}"#, "/material"),
    ] {
        assert_eq!(read_json::<SimilarSpec>(text.as_bytes()).unwrap_err().pointer, pointer, "{text}");
    }
}

/// To the public a hub with private datasets is the hub without them.
#[test]
fn private_datasets_leave_no_trace() {
    let private = vec![
        record("vault/1").formula("AsGa").says(measured("band_gap", 3.0)),
        record("vault/2").formula("AlAs2Ga").says(measured("band_gap", 1.42)).says(measured("density", 5.32)),
        record("vault/3").formula("AsGa").phase(186),
        record("vault/4").formula("Og2Cs9"),
        record("vault/5").formula("CuO").says(measured("density", 6.3)),
        // to four digits the same composition as a public one
        record("vault/6").formula("BSi30000"),
    ];
    let public =
        [semiconductors(), vec![record("lab/bare").formula("CuO"), record("lab/doped").formula("BSi40000")]].concat();
    let (with, without) = (world(&[public.clone(), private].concat()), world(&public));
    let told = |answer: Result<SimilarAnswer, HubError>| {
        let mut answer = answer.map_err(|e| e.to_string())?;
        answer.meta.version = 0;
        Ok::<_, String>(serde_json::to_value(answer).unwrap())
    };
    for space in Space::ALL {
        for named in
            [json!("GaAs"), json!("CuO"), json!("AlGaAs2"), json!("GaAs:sg186"), json!("GaAs:sg216"), json!("BSi40000")]
        {
            let question = json!({"material": named, "by": space.name(), "limit": 50});
            let (a, b) = (&with.snapshot, &without.snapshot);
            assert_eq!(told(ask(a, &question, Viewer::Public)), told(ask(b, &question, Viewer::Public)), "{question}");
        }
        for formula in ["GaAs", "AlGaAs2", "InP"] {
            let question = json!({"formula": formula, "by": space.name(), "limit": 50});
            let (a, b) = (&with.snapshot, &without.snapshot);
            assert_eq!(told(ask(a, &question, Viewer::Public)), told(ask(b, &question, Viewer::Public)), "{question}");
        }
    }
    let question = json!({"material": "GaAs", "without": ["O"]});
    assert_eq!(told(replace(&with.snapshot, &question)), told(replace(&without.snapshot, &question)));
    let owner = ask(&with.snapshot, &json!({"material": "GaAs", "limit": 1}), Viewer::Owner).unwrap();
    assert_eq!(ids(&owner), ["AlAs2Ga"], "the owner sees it");
}

/// The places of elements that this test uses, on the modified Pettifor scale, by hand.
const PLACES: [(&str, f64); 8] =
    [("Na", 10.0), ("Fe", 70.0), ("Al", 77.0), ("Ga", 78.0), ("Si", 84.0), ("As", 89.0), ("O", 96.0), ("Cl", 100.0)];

/// The work of moving shares along a line: from both ends of two sorted lists, bit by bit.
fn mover(a: &Formula, b: &Formula) -> f64 {
    let line = |formula: &Formula| {
        let of = |symbol: &str| PLACES.iter().find(|(known, _)| *known == symbol).unwrap().1;
        let mut line: Vec<(f64, f64)> = formula.fractions().map(|(e, share)| (of(e.symbol()), share)).collect();
        line.sort_by(|a, b| a.0.total_cmp(&b.0));
        line
    };
    let (mut a, mut b, mut work) = (line(a), line(b), 0.0);
    while let (Some(from), Some(to)) = (a.last_mut(), b.last_mut()) {
        let moved = from.1.min(to.1);
        work += moved * (from.0 - to.0).abs();
        (from.1, to.1) = (from.1 - moved, to.1 - moved);
        a.retain(|(_, share)| *share > 1e-12);
        b.retain(|(_, share)| *share > 1e-12);
    }
    work
}

#[test]
fn random_hubs_and_filters_by_brute_force_on_every_device() {
    let devices = devices();
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut known: BTreeMap<String, (f64, Option<f64>)> = BTreeMap::new();
        for _ in 0..120 {
            let parts: Vec<String> = (0..1 + random.below(3))
                .map(|_| format!("{}{}", random.pick(&PLACES).0, 1 + random.below(4)))
                .collect();
            let formula = Formula::parse(&parts.concat()).unwrap().reduced();
            let gap = random.chance(0.6).then(|| random.within(0.1, 6.0));
            known.insert(formula, (random.within(1.0, 9.0), gap));
        }
        let records = known.iter().map(|(formula, (density, gap))| {
            let record = record(&format!("lab/{formula}")).formula(formula).says(measured("density", *density));
            match gap {
                Some(gap) => record.says(measured("band_gap", *gap)),
                None => record,
            }
        });
        let records: Vec<Record> = records.collect();
        let world = world(&records);
        let all: Vec<&String> = known.keys().collect();
        let asked = random.pick(&all).clone();
        let least = random.within(1.0, 6.0);
        let fits = |formula: &str| *formula != asked && known[formula].0 > least;
        let filter = format!("density > {least}");
        let question = json!({"material": asked, "filter": filter, "limit": 15});
        let parsed = Formula::parse(&asked).unwrap();
        let mut want: Vec<(f64, &str)> = known
            .keys()
            .filter(|formula| fits(formula))
            .map(|formula| (mover(&parsed, &Formula::parse(formula).unwrap()), formula.as_str()))
            .collect();
        want.sort_by(|a, b| ((a.0 * 1e4).round(), a.1).partial_cmp(&((b.0 * 1e4).round(), b.1)).unwrap());
        let found = ask(&world.snapshot, &question, Viewer::Public).unwrap();
        assert_eq!(found.meta.compared, want.len());
        assert!(found.candidates.is_sorted_by(|a, b| (a.distance, &a.material) <= (b.distance, &b.material)));
        for (candidate, (distance, _)) in found.candidates.iter().zip(&want) {
            assert!((candidate.distance - distance).abs() < 1e-3, "{seed} {asked}: {candidate:?} {distance}");
            let own = mover(&parsed, &Formula::parse(&candidate.material).unwrap());
            assert!((candidate.distance - own).abs() < 1e-3, "{seed} {candidate:?} {own}");
        }
        for space in Space::ALL.into_iter().filter(|space| *space != Space::Structure) {
            let question = json!({"material": asked, "by": space.name(), "filter": filter, "limit": 15});
            let answers: Vec<Vec<(String, u64)>> = devices
                .iter()
                .map(|device| {
                    let found = similar(&world.snapshot, device, &spec(&question), Viewer::Public).unwrap();
                    assert_eq!((found.meta.device.as_str(), &found.meta.note), (device.name(), &None));
                    assert!(found.candidates.iter().all(|c| fits(&c.material)), "{seed} {space}");
                    found.candidates.into_iter().map(|c| (c.material, c.distance.to_bits())).collect()
                })
                .collect();
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{seed} {space}");
        }
    }
}

/// The distance by properties is the root of the mean expected squared difference in spreads, from the beliefs themselves.
#[test]
fn the_distance_by_properties_is_as_documented() {
    let world = world(&semiconductors());
    let snapshot = &world.snapshot;
    let scope = snapshot.visible(Viewer::Public);
    let answer = ask(snapshot, &json!({"material": "ZnSe", "by": "properties"}), Viewer::Public).unwrap();
    assert_eq!(answer.candidates.len(), 10);
    let asked = snapshot.materials.row("SeZn").unwrap();
    for candidate in &answer.candidates {
        let row = snapshot.materials.row(&candidate.material).unwrap();
        let terms = ["band_gap", "density"].map(|key| {
            let beliefs = snapshot.beliefs(&scope, snapshot.property(key, &scope).unwrap(), None);
            let (population, n) = (beliefs.population(), snapshot.materials.len());
            let wanted = beliefs.get(asked, n).unwrap().mean;
            let (mean, sd) = beliefs.get(row, n).map_or((population.median, population.spread), |b| (b.mean, b.sd));
            ((mean - wanted).powi(2) + sd.powi(2)) / population.spread.powi(2)
        });
        let want = ((terms[0] + terms[1]) / 2.0).sqrt();
        assert!((candidate.distance - want).abs() < 1e-9, "{candidate:?}: {want}");
    }
}

/// In the learned space 1 is the root mean square distance of two public materials, a formula that the hub does not know is where it
/// would be if it did, and private materials do not move the scale.
#[test]
fn the_learned_space_is_as_documented() {
    let mut records = semiconductors();
    records.retain(|record| record.formula.is_some());
    let with = world(&records);
    let ends = |snapshot: &Snapshot| {
        let formulas: Vec<String> = snapshot.materials.id.iter().flatten().map(str::to_owned).collect();
        let question = |id: &String| json!({"material": id, "by": "learned", "limit": 1000});
        let answers = formulas.iter().map(|id| ask(snapshot, &question(id), Viewer::Public).unwrap());
        answers.map(|answer| answer.candidates).collect::<Vec<_>>()
    };
    let all = ends(&with.snapshot);
    let n = all.len() as f64;
    let squares: f64 = all.iter().flatten().map(|c| c.distance.powi(2)).sum();
    assert!((squares / (n * n) - 1.0).abs() < 1e-3, "{}", squares / (n * n));
    let near = |snapshot: &Snapshot, question: serde_json::Value| -> Vec<(String, f64)> {
        let answer = ask(snapshot, &question, Viewer::Public).unwrap();
        answer.candidates.into_iter().map(|c| (c.material, c.distance)).collect()
    };
    let known = near(&with.snapshot, json!({"material": "GaAs", "by": "learned", "limit": 5}));
    records.retain(|record| record.formula.as_deref() != Some("AsGa"));
    let without = world(&records);
    let unknown = near(&without.snapshot, json!({"formula": "GaAs", "by": "learned", "limit": 5}));
    let ids = |found: &[(String, f64)]| found.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&known), ids(&unknown), "{known:?} {unknown:?}");
    // the scale is another one where a material less is known, and no distance changes by more than that
    let ratios: Vec<f64> = known.iter().zip(&unknown).map(|(a, b)| a.1 / b.1).collect();
    assert!(ratios.iter().all(|ratio| (ratio / ratios[0] - 1.0).abs() < 1e-4), "{ratios:?}");
}

/// After a commit the learned space is that of a hub made at once, bit for bit, though vectors are taken over.
#[test]
fn the_learned_space_does_not_depend_on_the_way_to_it() {
    let records = semiconductors();
    let (before, after) = records.split_at(records.len() / 2);
    let dir = tempfile::tempdir().unwrap();
    let told = |hub: &Hub| -> Vec<(String, u64)> {
        let question = spec(&json!({"formula": "AlGaAs2", "by": "learned", "limit": 50}));
        let answer = hub.similar(&question, Viewer::Public).unwrap();
        answer.candidates.into_iter().map(|c| (c.material, c.distance.to_bits())).collect()
    };
    wait(async {
        let mut table = Table::open_or_create(dir.path()).await.unwrap();
        ingest(&mut table, before, usize::MAX).await;
        let hub = open(dir.path()).await;
        let first = told(&hub);
        ingest(&mut table, after, usize::MAX).await;
        hub.refresh().await.unwrap();
        let second = told(&hub);
        assert!(first.len() < second.len());
        assert_eq!(second, told(&open(dir.path()).await));
    });
}

#[test]
fn a_graph_answers_most_of_it_and_the_exact_answer_is_there() {
    // 21,000 compositions of three elements
    let elements = ["Al", "Co", "Cr", "Cu", "Fe", "Mn", "Ni", "Ti", "V", "Zn"];
    let formula = |at: usize| {
        let (a, b, c) = (at % 10, (at / 10 + at) % 10, (at / 100 + 2 * at) % 10);
        let (x, y) = (1 + at / 7 % 31, 1 + at / 217 % 37);
        format!("{}{x}{}{y}{}{}", elements[a], elements[b], elements[c], 1 + at / 8000 % 5)
    };
    let records: Vec<Record> = (0..30_000).map(|at| record(&format!("lab/{at}")).formula(&formula(at))).collect();
    let mut world = world(&records);
    let compositions = world.snapshot.compositions().all.len();
    assert!(compositions > 20_000, "{compositions}");
    wait(async {
        let hub = open(world.dir.path()).await;
        let ask = |exact: bool, formula: &str| {
            let question = json!({"formula": formula, "limit": 10, "exact": exact});
            hub.similar(&spec(&question), Viewer::Public).unwrap()
        };
        let first = ask(false, "Fe2Ni3Cr");
        assert!(first.meta.exact && first.meta.recall.is_none(), "nobody waits for a graph");
        tokio::time::timeout(std::time::Duration::from_secs(1), hub.wants_graphs()).await.unwrap();
        hub.make_graphs().unwrap();
        let asked = ["Fe2Ni3Cr", "AlTi3", "CuZn", "V2Mn5Co", "Ni3Al", "Cr7Fe3Ti2"];
        let (mut hits, mut all) = (0, 0);
        for formula in asked {
            let (walked, exact) = (ask(false, formula), ask(true, formula));
            assert!(exact.meta.exact && exact.meta.recall.is_none());
            assert!(!walked.meta.exact && walked.meta.recall.unwrap().share > 0.98, "{:?}", walked.meta.recall);
            assert_eq!(walked.meta.compared, exact.meta.compared);
            let farthest = exact.candidates[9].distance;
            hits += walked.candidates.iter().filter(|found| found.distance <= farthest).count();
            all += exact.candidates.len();
        }
        assert!(100 * hits >= 95 * all, "{hits} of {all}");
        // what few materials pass is looked at one by one
        let filter = json!({"formula": "Ni3Al", "filter": "elements HAS ALL \"Al\",\"Ti\",\"V\""});
        assert!(hub.similar(&spec(&filter), Viewer::Public).unwrap().meta.exact);
        // new materials are found at once, by the graph of before
        ingest(&mut world.table, &[record("lab/new").formula("Fe2Ni3CrAg0.01")], 1).await;
        assert!(hub.refresh().await.unwrap());
        let after = ask(false, "Fe2Ni3Cr");
        assert!(!after.meta.exact);
        assert_eq!(ids(&after)[0], "Fe2Ni3CrAg0.01");
    });
    wait(async {
        // the next start takes it from the disk
        let hub = open(world.dir.path()).await;
        let question = spec(&json!({"formula": "Ni3Al"}));
        assert!(!hub.similar(&question, Viewer::Public).unwrap().meta.exact);
        let path = world.dir.path().join("graphs/composition.graph");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1000] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let hub = open(world.dir.path()).await;
        assert!(hub.similar(&question, Viewer::Public).unwrap().meta.exact, "damaged: as if there were none");
        tokio::time::timeout(std::time::Duration::from_secs(1), hub.wants_graphs()).await.unwrap();
    });
}

pub(crate) fn crystals() -> Vec<Record> {
    let of = |id: &str, formula: &str, phase: i16| record(id).formula(formula).phase(phase);
    let primitive = Structure {
        lattice: Some([[0.0, 2.72, 2.72], [2.72, 0.0, 2.72], [2.72, 2.72, 0.0]]),
        species: vec![Species::Element("Zn".into()), Species::Element("S".into())],
        positions: vec![[0.0; 3], [0.25; 3]],
    };
    let perovskite = |a: &str, b: &str, length: f64| {
        let oxygen = [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]].map(|place| ("O", place));
        cubic(length, &[&[(a, [0.0; 3]), (b, [0.5; 3])], &oxygen[..]].concat())
    };
    let molecule = Structure { lattice: None, ..primitive.clone() };
    vec![
        of("lab/nacl", "ClNa", 225).crystal(rock_salt("Na", "Cl", 5.64)),
        record("lab/salt").formula("ClNa").says(measured("density", 2.16)),
        of("lab/mgo", "MgO", 225).crystal(rock_salt("Mg", "O", 4.21)).says(measured("density", 3.6)),
        of("lab/nabr", "BrNa", 225).crystal(rock_salt("Na", "Br", 5.97)),
        of("lab/gaas", "AsGa", 216).crystal(zinc_blende("Ga", "As", 5.65)),
        of("lab/alas", "AlAs", 216).crystal(zinc_blende("Al", "As", 5.66)),
        of("lab/blende", "SZn", 216).crystal(primitive),
        of("lab/si", "Si", 227).crystal(zinc_blende("Si", "Si", 5.43)),
        of("lab/cscl", "ClCs", 221).crystal(cubic(4.12, &[("Cs", [0.0; 3]), ("Cl", [0.5; 3])])),
        of("lab/sto", "O3SrTi", 221).crystal(perovskite("Sr", "Ti", 3.905)),
        of("lab/bto", "BaO3Ti", 221).crystal(perovskite("Ba", "Ti", 4.0)),
        // two phases of one formula
        of("lab/zno1", "OZn", 216).crystal(zinc_blende("Zn", "O", 4.6)),
        of("lab/zno2", "OZn", 225).crystal(rock_salt("Zn", "O", 4.3)),
        record("lab/molecule").formula("H2O").crystal(molecule),
        record("lab/bare").formula("CuO").says(measured("density", 6.3)),
    ]
}

#[test]
fn known_neighbours_by_structure() {
    let world = world(&crystals());
    let by = |material: &str| json!({"material": material, "by": "structure"});
    let near = |material: &str| ask(&world.snapshot, &by(material), Viewer::Public).unwrap();
    // first the same type, of these the one of nearest size
    let salt = near("NaCl");
    assert_eq!(ids(&salt)[..3], ["BrNa:sg225", "OZn:sg225", "MgO:sg225"]);
    assert!(salt.candidates[2].distance < 0.01 && salt.candidates[3].distance > 0.05, "{:?}", salt.candidates);
    assert_eq!((salt.meta.compared, salt.meta.matched_filter, salt.candidates.len()), (11, 15, 11));
    // what was compared is said: the formula stands for its only phase with a structure
    assert_eq!(salt.meta.asked.material.as_deref(), Some("ClNa:sg225"));
    assert_eq!(salt.meta.asked.structure.as_deref(), Some("lab/nacl"));
    assert_eq!(salt.candidates[2].structure.as_deref(), Some("lab/mgo"));
    assert_eq!(ids(&near("GaAs:sg216"))[..3], ["AlAs:sg216", "SZn:sg216", "OZn:sg216"]);
    assert_eq!(ids(&near("SrTiO3"))[0], "BaO3Ti:sg221");
    let formula = json!({"formula": "NaCl", "by": "structure"});
    assert_eq!(ids(&ask(&world.snapshot, &formula, Viewer::Public).unwrap()), ids(&salt));
    // the same on every device
    for device in devices() {
        let found = similar(&world.snapshot, &device, &spec(&by("NaCl")), Viewer::Public).unwrap();
        assert_eq!(ids(&found), ids(&salt));
    }
    for (question, word) in [
        (by("CuO"), "where the atoms"),
        (by("H2O"), "where the atoms"),
        (json!({"formula": "LiF", "by": "structure"}), "where the atoms"),
    ] {
        match ask(&world.snapshot, &question, Viewer::Public) {
            Err(HubError::Spec(e)) => {
                assert!(e.message.contains(word) && e.message.contains("ingest"), "{}", e.message)
            }
            other => panic!("{question}: {other:?}"),
        }
    }
    match ask(&world.snapshot, &by("ZnO"), Viewer::Public) {
        Err(HubError::Ambiguous { ids, .. }) => assert_eq!(ids, ["OZn:sg216", "OZn:sg225"]),
        other => panic!("{other:?}"),
    }
}

/// Of several structures of a material the first counts, by record id, of those in the scope.
#[test]
fn a_structure_counts_where_its_dataset_does() {
    let of = |id: &str, formula: &str| record(id).formula(formula).phase(225);
    let public = vec![
        of("lab/1", "ClNa").crystal(rock_salt("Na", "Cl", 5.64)),
        of("lab/2", "MgO").crystal(zinc_blende("Mg", "O", 4.2)),
        of("lab/3", "MgO").crystal(rock_salt("Mg", "O", 4.2)),
        of("lab/4", "FLi"),
        of("more/5", "BrK").crystal(rock_salt("K", "Br", 6.6)),
    ];
    let private = vec![
        of("another/1", "MgO").crystal(rock_salt("Mg", "O", 4.2)),
        of("vault/1", "FLi").crystal(rock_salt("Li", "F", 4.03)),
        of("vault/2", "BrK").crystal(zinc_blende("K", "Br", 6.6)),
        of("vault/3", "ClNa").crystal(zinc_blende("Na", "Cl", 5.64)),
    ];
    let told = |snapshot: &Snapshot, question: Value, viewer: Viewer| -> Vec<(String, String, bool)> {
        let answer = ask(snapshot, &question, viewer).unwrap();
        let told = |c: SimilarCandidate| (c.material, c.structure.unwrap(), c.distance < 0.01);
        answer.candidates.into_iter().map(told).collect()
    };
    let salt = || json!({"material": "NaCl", "by": "structure"});
    let (with, without) = (world(&[public.clone(), private[1..].to_vec()].concat()), world(&public));
    let seen = told(&with.snapshot, salt(), Viewer::Public);
    let line = |material: &str, record: &str, near: bool| (material.to_owned(), record.to_owned(), near);
    assert_eq!(seen, [line("BrK:sg225", "more/5", true), line("MgO:sg225", "lab/2", false)]);
    assert_eq!(seen, told(&without.snapshot, salt(), Viewer::Public));
    assert!(ask(&with.snapshot, &json!({"material": "LiF", "by": "structure"}), Viewer::Public).is_err());
    let owner = told(&with.snapshot, salt(), Viewer::Owner);
    assert_eq!(owner.len(), 3);
    assert!(owner.contains(&line("FLi:sg225", "vault/1", true)), "{owner:?}");
    // the caller's own choice of datasets
    let mut chosen = salt();
    chosen["datasets"] = json!(["lab", "vault"]);
    let chosen = told(&with.snapshot, chosen, Viewer::Owner);
    assert!(chosen.contains(&line("BrK:sg225", "vault/2", false)), "{chosen:?}");
    let all = world(&[public, private].concat());
    assert!(told(&all.snapshot, salt(), Viewer::Public).contains(&line("MgO:sg225", "another/1", true)));
}

/// A structure is searched as soon as the version that brings it is shown.
#[test]
fn a_new_structure_is_searchable_after_its_commit() {
    let records = crystals();
    let dir = tempfile::tempdir().unwrap();
    wait(async {
        let mut table = Table::open_or_create(dir.path()).await.unwrap();
        ingest(&mut table, &records[..3], usize::MAX).await;
        let hub = open(dir.path()).await;
        let near = |hub: &Hub| {
            let question = spec(&json!({"material": "NaCl", "by": "structure"}));
            let answer = hub.similar(&question, Viewer::Public).unwrap();
            let told = |c: SimilarCandidate| (c.material, c.distance.to_bits());
            answer.candidates.into_iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(near(&hub).len(), 1);
        ingest(&mut table, &records[3..], usize::MAX).await;
        hub.refresh().await.unwrap();
        assert_eq!(near(&hub).len(), 11);
        assert_eq!(near(&hub), near(&open(dir.path()).await), "and kept on disk");
    });
}
