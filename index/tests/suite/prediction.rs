//! Predictions: marked, named after their neighbours, the same whatever the way to them, and blind to what is hidden.

use std::path::Path;

use datasets::property::{Axis, Property, dictionary};
use datasets::record::{Evidence, Record};
use datasets::table::Table;
use matgenome_index::candidate::Verdict;
use matgenome_index::hub::{Hub, HubError};
use matgenome_index::prediction::{PredictionError, encoders_of};
use matgenome_index::scope::Viewer;
use matgenome_index::screen::{ScreenAnswer, ScreenSpec};
use matgenome_index::spec::{Unknown, from_json, read_json};
use serde_json::{Value, json};

use crate::world::{Write as _, ingest, measured, open, record, terms, value, wait};

const METALS: [&str; 20] = [
    "Al", "Ca", "Co", "Cr", "Cu", "Fe", "Hf", "Mg", "Mn", "Mo", "Nb", "Ni", "Sc", "Ta", "Ti", "V", "W", "Y", "Zn", "Zr",
];
const OTHERS: [&str; 6] = ["B", "C", "N", "O", "P", "S"];

/// Compounds of a metal and another element: all have a density, all but those of manganese a hardness that follows the metal.
fn compounds(dataset: &str) -> Vec<Record> {
    let mut records = Vec::new();
    for (i, metal) in METALS.iter().enumerate() {
        for (j, other) in OTHERS.iter().enumerate() {
            // canonical formulas are in alphabetical order
            let formula = if metal < other { format!("{metal}{other}") } else { format!("{other}{metal}") };
            let id = format!("{dataset}/{formula}");
            let density = measured("density", 3.0 + 0.3 * i as f64 + 0.1 * j as f64);
            let mut one = record(&id).formula(&formula).says(density);
            if *metal != "Mn" {
                one = one.says(measured("hardness_vickers", 300.0 + 60.0 * i as f64 + 200.0 * j as f64));
            }
            records.push(one);
        }
    }
    records
}

async fn filled(dir: &Path, records: &[Record]) -> Hub {
    let mut table = Table::open_or_create(dir).await.unwrap();
    ingest(&mut table, records, usize::MAX).await;
    open(dir).await
}

fn predict(hub: &Hub) {
    hub.predict(None, &mut |_, _| true).unwrap();
}

fn property(key: &str) -> &'static Property {
    dictionary().get(key).unwrap()
}

fn column(hub: &Hub, key: &str) -> Vec<(String, u32, u32)> {
    let snapshot = hub.snapshot();
    let column = snapshot.predicted(property(key)).unwrap();
    let ids = snapshot.materials.id.iter().map(|id| id.unwrap().to_owned());
    ids.zip(column.mean.iter().zip(&column.half))
        .map(|(id, (mean, half))| (id, mean.to_bits(), half.to_bits()))
        .collect()
}

fn screen(hub: &Hub, question: &Value, viewer: Viewer) -> Result<ScreenAnswer, HubError> {
    let question: ScreenSpec = read_json(question.to_string().as_bytes()).unwrap();
    hub.screen(&question, viewer, &mut |_, _| true)
}

#[test]
fn empty_cells_are_predicted_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    wait(async {
        let mut records = compounds("lab");
        let known = records.clone().into_iter().filter(|record| record.measurements.len() == 2);
        // some phases have values of their own, others have their hardness from the formula
        records.extend(known.enumerate().map(|(i, mut phase)| {
            phase.id.push_str("-phase");
            phase.space_group = Some(if i % 2 == 0 { 225 } else { 186 });
            phase.measurements.iter_mut().for_each(|one| one.value *= 1.01);
            phase.measurements.retain(|one| i % 2 == 0 || &*one.property == "density");
            phase
        }));
        let hub = filled(dir.path(), &records).await;
        let spec = json!({"targets": [{"property": "hardness_vickers", "min": 500}], "filter": "elements HAS \"Mn\""});
        let mut spec = from_json(spec.to_string().as_bytes()).unwrap();
        let before = hub.suggest(&spec, Viewer::Public).unwrap();
        assert!(before.meta.unpredicted["hardness_vickers"].contains("not predicted yet"), "{:?}", before.meta);
        assert!(before.candidates.iter().all(|c| c.targets[0].evidence == Evidence::None));

        predict(&hub);
        let snapshot = hub.snapshot();
        let samples = &snapshot.predicted(property("hardness_vickers")).unwrap().samples;
        let of = |space_group: i16| {
            let groups = &snapshot.materials.space_group;
            samples.iter().filter(|row| groups[**row as usize] == space_group).count()
        };
        let formulas = (METALS.len() - 1) * OTHERS.len();
        assert_eq!([of(0), of(225), of(186)], [formulas, formulas / 2, 0], "what phases inherit is no sample");
        let after = hub.suggest(&spec, Viewer::Public).unwrap();
        assert!(after.meta.unpredicted.is_empty());
        assert_eq!(after.candidates.len(), OTHERS.len());
        for candidate in &after.candidates {
            let target = &candidate.targets[0];
            assert_eq!((target.evidence, target.verdict), (Evidence::Predicted, Verdict::Unknown));
            assert_eq!((target.record.as_deref(), target.measurements), (None, 0));
            assert!(target.value.unwrap() > 200.0 && target.sd.unwrap() > 0.0, "{target:?}");
            assert_eq!(target.neighbours.len(), 3, "{target:?}");
            assert!(target.neighbours.is_sorted_by(|a, b| a.distance <= b.distance));
            let formulas: std::collections::BTreeSet<_> = target.neighbours.iter().map(|near| &near.formula).collect();
            assert_eq!(formulas.len(), 3, "phases of one formula are one neighbour: {target:?}");
            for near in &target.neighbours {
                assert!(!near.material.contains("Mn") && (300.0..=3000.0).contains(&near.value), "{near:?}");
            }
        }
        // what holds little of the other element's effect must not look like what holds much
        let said = |other: &str| {
            let of = after
                .candidates
                .iter()
                .find(|c| c.material == format!("{}Mn", other) || c.material == format!("Mn{other}"));
            of.unwrap().targets[0].value.unwrap()
        };
        assert!(
            said("S") > said("B"),
            "sulphides are the hardest here, borides the softest: {} {}",
            said("S"),
            said("B")
        );
        assert_eq!(after.meta.passing["all"], 0, "what is predicted never passes");

        for refuses in [Unknown::Require, Unknown::Ignore] {
            spec.unknown = refuses;
            assert!(hub.suggest(&spec, Viewer::Public).unwrap().candidates.is_empty(), "{refuses:?}");
        }
        // asked for, it counts
        (spec.unknown, spec.evidence) = (Unknown::Require, Evidence::Predicted);
        assert_eq!(hub.suggest(&spec, Viewer::Public).unwrap().candidates.len(), OTHERS.len());

        // indices of merit take what is predicted of their parts
        let index = json!({"targets": [{"index": "hardness_vickers / density", "goal": "maximize"}], "filter": "elements HAS \"Mn\""});
        let answer = hub.suggest(&from_json(index.to_string().as_bytes()).unwrap(), Viewer::Public).unwrap();
        assert!(
            answer
                .candidates
                .iter()
                .all(|c| c.targets[0].evidence == Evidence::Predicted && c.targets[0].value.is_some())
        );

        // predictions are of room temperature
        let hot = json!({"targets": [{"property": "hardness_vickers", "min": 500, "at": {"temperature": {"value": 900, "unit": "K"}}}]});
        let answer = hub.suggest(&from_json(hot.to_string().as_bytes()).unwrap(), Viewer::Public).unwrap();
        assert!(answer.meta.unpredicted["hardness_vickers"].contains("temperature"));
        assert!(answer.candidates.iter().all(|c| c.targets[0].evidence == Evidence::None));
    });
}

#[test]
fn predictions_do_not_depend_on_the_way_to_them() {
    let (way, once) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    wait(async {
        let all = compounds("lab");
        let hub = filled(way.path(), &all[..80]).await;
        predict(&hub);
        let first = column(&hub, "density");
        // new materials, and a value of an old one that changes
        let mut table = Table::open_or_create(way.path()).await.unwrap();
        ingest(&mut table, &all[80..], usize::MAX).await;
        let other =
            record("lab/AlN").formula("AlN").says(measured("density", 3.7)).says(measured("hardness_vickers", 900.0));
        ingest(&mut table, std::slice::from_ref(&other), usize::MAX).await;
        assert!(hub.refresh().await.unwrap());
        assert!(hub.snapshot().predicted(property("density")).is_none(), "not of this version yet");
        predict(&hub);
        assert_ne!(column(&hub, "density"), first);

        let mut records: Vec<Record> = all.iter().filter(|r| r.id != "lab/AlN").cloned().collect();
        records.push(other);
        let fresh = filled(once.path(), &records).await;
        predict(&fresh);
        for key in ["density", "hardness_vickers"] {
            assert_eq!(column(&hub, key), column(&fresh, key), "{key}");
        }

        // a hub that is opened again has them at once
        let again = open(way.path()).await;
        assert_eq!(again.predicted(Viewer::Owner), (2, 2));
        assert_eq!(column(&again, "density"), column(&hub, "density"));
        // what is damaged is not taken, and made anew
        let place = way.path().join("predictions/density.column");
        let mut bytes = std::fs::read(&place).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&place, bytes).unwrap();
        let again = open(way.path()).await;
        assert!(again.snapshot().predicted(property("density")).is_none());
        drop(again);
        let again = open(way.path()).await;
        predict(&again);
        assert_eq!(column(&again, "density"), column(&hub, "density"));
    });
}

#[test]
fn a_new_material_alone_is_said_by_what_is_learned_already() {
    let dir = tempfile::tempdir().unwrap();
    wait(async {
        let hub = filled(dir.path(), &compounds("lab")).await;
        predict(&hub);
        let before = column(&hub, "hardness_vickers");
        let mut table = Table::open_or_create(dir.path()).await.unwrap();
        let new = record("lab/new").formula("Mn2N").says(value("melting_temperature", 1500.0, Evidence::Measured));
        ingest(&mut table, &[new], usize::MAX).await;
        assert!(hub.refresh().await.unwrap());
        predict(&hub);
        let mut after = column(&hub, "hardness_vickers");
        let own = after.iter().position(|(id, _, _)| id == "Mn2N").unwrap();
        assert!(f32::from_bits(after.remove(own).1).is_finite());
        assert_eq!(after, before, "what was learned from has not changed");
    });
}

#[test]
fn what_is_learned_is_kept_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("predictions/hardness_vickers.model");
    let question =
        json!({"candidates": [{"formula": "Mn2N"}, {"formula": "TiMn"}], "properties": ["hardness_vickers"]});
    let said = |hub: &Hub| {
        let results = screen(hub, &question, Viewer::Public).unwrap().results;
        serde_json::to_value(results).unwrap()
    };
    wait(async {
        let hub = filled(dir.path(), &compounds("lab")).await;
        let first = said(&hub);
        let kept = std::fs::read(&place).unwrap();
        let written = || std::fs::metadata(&place).unwrap().modified().unwrap();
        let at = written();
        drop(hub);
        assert_eq!(said(&open(dir.path()).await), first);
        assert_eq!(written(), at, "it was read, not learned again");
        // damaged, of other values, or gone: learned again, to the same bytes
        let mut damaged = kept.clone();
        damaged[kept.len() / 2] ^= 1;
        for broken in [Some(damaged), Some(kept[..kept.len() / 3].to_vec()), Some(Vec::new()), None] {
            match broken {
                Some(bytes) => std::fs::write(&place, bytes).unwrap(),
                None => std::fs::remove_file(&place).unwrap(),
            }
            assert_eq!(said(&open(dir.path()).await), first);
            assert_eq!(std::fs::read(&place).unwrap(), kept);
        }
    });
}

#[test]
fn what_is_private_teaches_nobody_else() {
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    wait(async {
        let mut records = compounds("lab");
        let fresh = filled(without.path(), &records).await;
        predict(&fresh);
        // private materials with a property that only they have, and private values of materials that are public
        for (i, other) in
            ["Ag", "Cd", "In", "Pd", "Pt", "Rh", "Ru", "Sn", "Te", "Sb", "Se", "Tl", "Pb", "Bi", "Hg", "Ir", "Os", "Re"]
                .iter()
                .enumerate()
        {
            let formula = if "Au" < *other { format!("Au{other}") } else { format!("{other}Au") };
            let gap = measured("band_gap", 0.1 * i as f64);
            records
                .push(record(&format!("vault/{formula}")).formula(&formula).says(gap).says(measured("density", 15.0)));
        }
        records.extend(compounds("vault").into_iter().map(|mut record| {
            record.measurements.iter_mut().for_each(|m| m.value *= 3.0);
            record
        }));
        let hub = filled(with.path(), &records).await;
        predict(&hub);
        for key in ["density", "hardness_vickers"] {
            let mut seen = column(&hub, key);
            seen.retain(|(id, _, _)| !id.contains("Au"));
            assert_eq!(seen, column(&fresh, key), "{key}");
        }
        assert_eq!(hub.predicted(Viewer::Public), fresh.predicted(Viewer::Public));
    });
}

#[test]
fn a_property_of_a_dataset_s_own_is_predicted_for_whoever_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    wait(async {
        let mut table = Table::open_or_create(dir.path()).await.unwrap();
        ingest(&mut table, &compounds("lab"), usize::MAX).await;
        let wear = Property::of_dataset("vault", "pin_wear", "", "mm^3/(N m)", Axis::Log);
        let info = datasets::catalogue::DatasetInfo { properties: vec![wear], ..terms("vault") };
        let own = |(i, r): (usize, &Record)| {
            let rate = 1e-6 * 1.1f64.powi((i / OTHERS.len()) as i32);
            record(&r.id.replace("lab/", "vault/"))
                .formula(r.formula.as_ref().unwrap())
                .says(measured("vault:pin_wear", rate))
        };
        let records: Vec<Record> = compounds("lab").iter().enumerate().filter(|(i, _)| i % 3 != 0).map(own).collect();
        table.upsert(&info, records, None).await.unwrap();
        let hub = open(dir.path()).await;
        predict(&hub);
        let question = json!({"candidates": [{"formula": "TiC0.5N0.5"}], "properties": ["pin_wear"]});
        let answer = screen(&hub, &question, Viewer::Owner).unwrap();
        let said = &answer.results[0].properties["vault:pin_wear"];
        assert_eq!(said.evidence, Evidence::Predicted);
        assert!((1e-6..1e-5).contains(&said.value.unwrap()), "{said:?}");
        let refused = screen(&hub, &question, Viewer::Public).unwrap_err();
        assert!(refused.to_string().contains("there is no property"), "{refused}");
        let suggest = json!({"targets": [{"property": "vault:pin_wear", "max": 1e-5}], "datasets": ["lab", "vault"], "limit": 200});
        let answer = hub.suggest(&from_json(suggest.to_string().as_bytes()).unwrap(), Viewer::Owner).unwrap();
        let predicted = answer.candidates.iter().filter(|c| c.targets[0].evidence == Evidence::Predicted).count();
        assert_eq!(predicted, 40, "a third of the compounds has no wear rate");
    });
}

#[test]
fn formulas_are_screened_whether_the_hub_holds_them_or_not() {
    let dir = tempfile::tempdir().unwrap();
    wait(async {
        let mut records = compounds("lab");
        // two phases that disagree
        for (phase, hardness) in [(194, 1000.0), (225, 1200.0)] {
            let one = record(&format!("lab/Ti3N-{phase}")).formula("NTi3").phase(phase);
            records.push(one.says(measured("hardness_vickers", hardness)));
        }
        let hub = filled(dir.path(), &records).await;
        let question = json!({
            "candidates": [{"formula": "TiN"}, {"formula": "MnN"}, {"formula": "Ti3N"}, {"formula": "2-Feb"}, {"composition": {"Ti": 0.5, "Zr": 0.5, "N": 1}}, {}],
            "spec": {"targets": [{"property": "hardness_vickers", "min": 1}, {"index": "hardness_vickers / density", "goal": "maximize"}]},
            "properties": ["density"]
        });
        let answer = screen(&hub, &question, Viewer::Public).unwrap();
        let [known, lacking, phases, bad, new, empty] = answer.results.as_slice() else { panic!("{answer:?}") };
        assert_eq!((known.material.as_deref(), known.verdict), (Some("NTi"), Some(Verdict::Pass)));
        let said = &known.properties["hardness_vickers"];
        assert_eq!((said.evidence, said.record.as_deref()), (Evidence::Measured, Some("lab/NTi")));
        assert_eq!(known.properties["density"].evidence, Evidence::Measured);
        assert!(known.properties["hardness_vickers / density"].value.is_some());

        assert_eq!((lacking.material.as_deref(), lacking.verdict), (Some("MnN"), Some(Verdict::Unknown)));
        let said = &lacking.properties["hardness_vickers"];
        assert_eq!((said.evidence, said.neighbours.len(), said.record.as_deref()), (Evidence::Predicted, 3, None));
        assert!(said.lower < said.value && said.value < said.upper && said.distance.is_some(), "{said:?}");
        assert!(lacking.probability.unwrap() > 0.9, "{lacking:?}");

        assert_eq!(phases.material, None, "which phase is not said");
        let said = &phases.properties["hardness_vickers"];
        assert_eq!((said.evidence, said.value), (Evidence::Measured, Some(1000.0)));
        assert!(said.sd.unwrap() > 90.0, "the phases' spread: {said:?}");

        assert!(bad.error.as_ref().unwrap().contains("2-Feb") && bad.properties.is_empty() && bad.verdict.is_none());
        assert_eq!((new.material.as_deref(), new.error.as_deref()), (None, None));
        assert_eq!(new.properties["density"].evidence, Evidence::Predicted);
        assert!(empty.error.as_ref().unwrap().contains("formula"));
        assert_eq!((answer.meta.known, answer.meta.errors), (3, 2));

        // what is refused to be predicted stays unknown
        let mut strict = question.clone();
        strict["spec"]["unknown"] = json!("require");
        strict["properties"] = json!([]);
        let answer = screen(&hub, &strict, Viewer::Public).unwrap();
        assert_eq!(answer.results[1].properties["hardness_vickers"].evidence, Evidence::None);
        assert_eq!((answer.results[1].verdict, answer.results[1].probability), (Some(Verdict::Unknown), None));

        for (wrong, pointer) in [
            (json!({"candidates": [], "properties": ["density"]}), "/candidates"),
            (json!({"candidates": [{"formula": "TiN"}]}), ""),
            (json!({"candidates": [{"formula": "TiN"}], "properties": ["densitty"]}), "/properties/0"),
            (json!({"candidates": [{"formula": "TiN"}], "spec": {"targets": []}}), "/spec/targets"),
            (
                json!({"candidates": [{"formula": "TiN"}], "spec": {"targets": [{"property": "density", "min": 1}], "filter": "nelements=2"}}),
                "/spec/filter",
            ),
        ] {
            match screen(&hub, &wrong, Viewer::Public).unwrap_err() {
                HubError::Spec(e) => assert_eq!(e.pointer, pointer, "{wrong}"),
                other => panic!("{other}"),
            }
        }
    });
}

#[test]
fn encoders_of_a_directory_s_own_are_taken_or_refused_aloud() {
    let dir = tempfile::tempdir().unwrap();
    wait(async {
        let hub = filled(dir.path(), &compounds("lab")).await;
        let snapshot = hub.snapshot();
        let trained = matgenome_index::prediction::train(&snapshot, 40, &mut |_, _| true).unwrap();
        let learned: Vec<&str> = trained.tasks().iter().map(|task| task.name.as_str()).collect();
        assert_eq!(learned, ["density", "hardness_vickers"]);
        assert!(matgenome_index::prediction::train(&snapshot, 200, &mut |_, _| false).is_none());
        predict(&hub);
        let shipped = column(&hub, "density");

        std::fs::write(encoders_of(dir.path()), trained.to_bytes()).unwrap();
        let own = open(dir.path()).await;
        assert!(own.snapshot().predicted(property("density")).is_none(), "made by other encoders");
        predict(&own);
        assert_ne!(column(&own, "density"), shipped);

        std::fs::write(encoders_of(dir.path()), b"nothing").unwrap();
        let damaged = open(dir.path()).await;
        let refused = damaged.predict(None, &mut |_, _| true).unwrap_err();
        assert!(matches!(refused, HubError::Prediction(PredictionError::Encoders(..))), "{refused}");
        assert!(refused.to_string().contains("encoders.bin"), "{refused}");
    });
}

#[test]
fn predicting_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    wait(async {
        let hub = filled(dir.path(), &compounds("lab")).await;
        let stopped = hub.predict(None, &mut |done, _| done == 0).unwrap_err();
        assert!(matches!(stopped, HubError::Prediction(PredictionError::Stopped)), "{stopped}");
        assert_eq!(hub.predicted(Viewer::Owner).0, 1, "what was predicted is kept");
    });
}
