//! The face of it all: who may see what, and moving on to the newest version.

use datasets::record::{Evidence, Record};
use datasets::table::Table;
use matgenome_index::hub::{Hub, HubError};
use matgenome_index::scope::Viewer;
use matgenome_index::spec::from_json;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{Write as _, ingest, measured, open, record, value, wait};

async fn hub_of(records: &[Record]) -> (TempDir, Hub) {
    let dir = tempfile::tempdir().unwrap();
    let mut table = Table::open_or_create(dir.path()).await.unwrap();
    ingest(&mut table, records, usize::MAX).await;
    let hub = open(dir.path()).await;
    (dir, hub)
}

fn public_records() -> Vec<Record> {
    let mut records = vec![
        record("lab/1").formula("AsGa").says(value("band_gap", 0.5, Evidence::Computed)).says(measured("density", 5.3)),
        record("lab/2").formula("AlSb").says(measured("band_gap", 1.6)),
        record("lab/3").formula("O2Ti").phase(136).name("Rutile").says(measured("band_gap", 3.0)),
        record("lab/4").name("Steel S235").class("alloy").says(measured("density", 7.85)),
        record("refs/1").formula("AlSb").says(measured("density", 4.26)),
    ];
    for (n, metal) in ["Ag", "Au", "Cu", "Fe", "Ni", "Pb", "Sn", "Zn"].into_iter().enumerate() {
        records.push(record(&format!("refs/m{n}")).formula(metal).says(measured("density", 5.0 + n as f64)));
    }
    records
}

fn private_records() -> Vec<Record> {
    let mut records = vec![
        // better evidence on a public material, and a material that nobody else knows
        record("vault/1").formula("AsGa").says(measured("band_gap", 1.42)),
        record("vault/2").formula("CdTe").says(measured("band_gap", 1.5)).says(measured("density", 5.85)),
        // other materials of public formulas and names
        record("vault/3").formula("O2Ti").phase(141).says(measured("band_gap", 3.2)),
        record("vault/4").formula("O2Ti").says(measured("band_gap", 3.1)),
        record("vault/5").formula("Mo").name("rutile"),
        record("vault/6").name("Steel S236"),
        record("vault/7").formula("AlSb").says(measured("density", 40.0)),
    ];
    // phases that would inherit public values
    for group in 1..40 {
        records.push(record(&format!("vault/p{group}")).formula("Zn").phase(group));
    }
    records
}

fn ask(hub: &Hub, spec: &Value, viewer: Viewer) -> Result<Value, String> {
    let spec = from_json(spec.to_string().as_bytes()).unwrap();
    let mut answer = hub.suggest(&spec, viewer).map_err(|e| e.to_string())?;
    assert!(answer.meta.took_ms >= 0.0 && !answer.meta.device.is_empty());
    (answer.meta.took_ms, answer.meta.version) = (0.0, 0);
    Ok(serde_json::to_value(answer).unwrap())
}

fn look(hub: &Hub, text: &str, viewer: Viewer) -> Result<Value, String> {
    let mut answer = hub.material(text, viewer, false).map_err(|e| e.to_string())?;
    answer.version = 0;
    Ok(serde_json::to_value(answer).unwrap())
}

/// To the public a hub with private datasets is the hub without them: in every answer, and in every error.
#[test]
fn private_datasets_leave_no_trace() {
    wait(async {
        let all = [public_records(), private_records()].concat();
        let (_dir, hub) = hub_of(&all).await;
        let (_other, without) = hub_of(&public_records()).await;
        for spec in [
            json!({"targets": [{"property": "band_gap", "min": 1.1, "max": 1.6}]}),
            json!({"targets": [{"property": "band_gap", "goal": "maximize"}], "evidence": "measured"}),
            json!({"targets": [{"property": "density", "goal": "maximize"}], "unknown": "require"}),
            json!({"targets": [{"property": "density", "value": 5.0, "tolerance": 0.3}], "unknown": "ignore"}),
            json!({"targets": [{"property": "density", "min": 6.0}, {"property": "band_gap", "max": 2.0}]}),
            json!({"targets": [{"index": "band_gap / density", "goal": "minimize"}]}),
            json!({"targets": [{"property": "band_gap", "min": 1}], "filter": "datasets HAS \"vault\""}),
            json!({"targets": [{"property": "band_gap", "min": 1}], "filter": "datasets LENGTH > 1"}),
            json!({"targets": [{"property": "band_gap", "min": 1}], "filter": "band_gap IS KNOWN AND NOT band_gap < 1"}),
            json!({"targets": [{"property": "band_gap", "min": 1}], "filter": "id = \"CdTe\" OR formula = \"CdTe\""}),
            json!({"targets": [{"property": "band_gap", "min": 1}], "datasets": ["lab"]}),
            json!({"targets": [{"property": "band_gap", "min": 1}], "datasets": ["vault"]}),
            json!({"targets": [{"property": "band_gap", "min": 1}], "datasets": ["lab", "vault"]}),
            json!({"targets": [{"property": "band_gap", "min": 1}], "datasets": ["vaults"]}),
        ] {
            assert_eq!(ask(&hub, &spec, Viewer::Public), ask(&without, &spec, Viewer::Public), "{spec}");
        }
        for text in [
            "AsGa",
            "GaAs",
            "gaas",
            "AlSb",
            "CdTe",
            "TeCd",
            "cdte",
            "O2Ti",
            "TiO2",
            "tio2",
            "O2Ti:sg141",
            "O2Ti:sg136",
            "rutile",
            "Mo",
            "Steel S235",
            "Steel S236",
            "Steel S237",
            "steel-s236",
            "Zn",
            "Zn:sg7",
            "Rutil",
            "vault-1",
        ] {
            assert_eq!(look(&hub, text, Viewer::Public), look(&without, text, Viewer::Public), "{text}");
        }
        for id in ["vault/1", "vault/2", "vault/99", "vaults/1", "vault", ""] {
            let error = hub.record(id, Viewer::Public).await.unwrap_err().to_string();
            assert_eq!(error, without.record(id, Viewer::Public).await.unwrap_err().to_string(), "{id}");
            assert!(error.contains("there is no record"), "{error}");
        }

        // the owner sees it all
        let gap = |viewer| {
            look(&hub, "GaAs", viewer).unwrap()["properties"]
                .as_array()
                .unwrap()
                .iter()
                .find(|p| p["property"] == "band_gap")
                .unwrap()
                .clone()
        };
        assert_eq!(gap(Viewer::Owner)["value"], 1.42);
        assert_eq!(gap(Viewer::Owner)["evidence"], "measured");
        assert_eq!(gap(Viewer::Owner)["values"].as_array().unwrap().len(), 2);
        assert_eq!(gap(Viewer::Public)["value"], 0.5);
        assert_eq!(gap(Viewer::Public)["values"].as_array().unwrap().len(), 1);
        assert_eq!(look(&hub, "CdTe", Viewer::Owner).unwrap()["datasets"], json!(["vault"]));
        assert!(look(&hub, "rutile", Viewer::Owner).unwrap_err().contains("may mean"));
        assert_eq!(
            hub.record("vault/2", Viewer::Owner).await.unwrap(),
            all[all.iter().position(|r| r.id == "vault/2").unwrap()]
        );
        assert!(matches!(hub.record("vault/99", Viewer::Owner).await, Err(HubError::NoRecord(id)) if id == "vault/99"));
        let spec = json!({"targets": [{"property": "band_gap", "min": 1.45, "max": 1.55}], "datasets": ["vault"]});
        let answer = ask(&hub, &spec, Viewer::Owner).unwrap();
        assert_eq!(answer["candidates"][0]["material"], "CdTe");
        assert_eq!(answer["meta"]["searched"], 46);
        // a value beyond the bounds of density is shown, with the reason why it does not count
        let density = &look(&hub, "AlSb", Viewer::Owner).unwrap()["properties"][0];
        assert_eq!((&density["property"], &density["value"]), (&json!("density"), &json!(4.26)));
        let flags: Vec<bool> = density["values"].as_array().unwrap().iter().map(|v| v["flag"].is_string()).collect();
        assert_eq!(flags, [false, true]);
    });
}

#[test]
fn private_names_of_public_materials_leave_no_trace() {
    wait(async {
        let private = vec![record("vault/1").formula("AlSb").name("Project Falcon").class("secret")];
        let (_dir, hub) = hub_of(&[public_records(), private].concat()).await;
        let (_other, without) = hub_of(&public_records()).await;
        for text in ["AlSb", "Project Falcon", "Project Falcom"] {
            assert_eq!(look(&hub, text, Viewer::Public), look(&without, text, Viewer::Public), "{text}");
        }
        for filter in ["name IS KNOWN", "class = \"secret\""] {
            let spec = json!({"targets": [{"property": "band_gap", "min": 1}], "filter": filter});
            assert_eq!(ask(&hub, &spec, Viewer::Public), ask(&without, &spec, Viewer::Public), "{spec}");
        }
    });
}

#[test]
fn a_hub_follows_the_commits_of_others() {
    wait(async {
        let (dir, hub) = hub_of(&public_records()).await;
        assert!(!hub.refresh().await.unwrap(), "nothing new");
        let before = hub.snapshot();
        let spec = json!({"targets": [{"property": "band_gap", "min": 1.3, "max": 1.5}]});
        let first = |hub: &Hub| ask(hub, &spec, Viewer::Public).unwrap()["candidates"][0]["material"].clone();
        assert_eq!(first(&hub), "AlSb");

        let mut other = Table::open_or_create(dir.path()).await.unwrap();
        ingest(&mut other, &[record("new-lab/1").formula("InP").says(measured("band_gap", 1.4))], 9).await;
        assert_eq!(first(&hub), "AlSb", "until it is told to look");
        assert!(hub.refresh().await.unwrap());
        assert!(!hub.refresh().await.unwrap());
        assert_eq!(hub.snapshot().version, other.version());
        assert_eq!(first(&hub), "InP");
        assert!(hub.material("InP", Viewer::Public, false).is_ok());
        assert!(hub.record("new-lab/1", Viewer::Public).await.is_ok());
        // who held the older snapshot still has it
        assert!(before.materials.row("InP").is_none());

        // a record that is taken back is gone, and one that is told anew is believed anew
        let correction = record("lab/2").formula("AlSb").says(measured("band_gap", 1.45));
        ingest(&mut other, &[correction], 9).await;
        other.delete("new-lab", &["new-lab/1".to_owned()].into()).await.unwrap();
        assert!(hub.refresh().await.unwrap());
        assert_eq!(first(&hub), "AlSb");
        assert!(matches!(hub.material("InP", Viewer::Owner, false), Err(HubError::NoMaterial { .. })));
        let history = hub.history().await.unwrap();
        assert_eq!(history[0].version, hub.snapshot().version);
        assert_eq!(history[0].what.operation, "delete");
    });
}

#[test]
fn a_new_snapshot_is_kept_whoever_else_listens() {
    wait(async {
        let (dir, hub) = hub_of(&public_records()).await;
        let _listens = hub.versions();
        let mut table = datasets::table::Table::open_or_create(dir.path()).await.unwrap();
        let new = [record("lab/new").formula("Ge").says(measured("density", 5.32))];
        crate::world::ingest(&mut table, &new, usize::MAX).await;
        assert!(hub.refresh().await.unwrap());
        let place = dir.path().join(format!("snapshots/v{}", hub.snapshot().version));
        for _ in 0..1000 {
            if place.is_dir() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{} is not there", place.display());
    });
}
