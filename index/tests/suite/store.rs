//! A snapshot on disk: it comes back as it was, or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use gpu::Device;
use matgenome_index::candidate;
use matgenome_index::scope::Viewer;
use matgenome_index::snapshot::{self, Snapshot};
use matgenome_index::spec::from_json;
use matgenome_index::{search, store};
use serde_json::{Value, json};

use crate::wishes::random_records;
use crate::world::{Random, Write as _, ingest, measured, open, record, rock_salt, wait, world};

fn specs() -> Vec<Value> {
    vec![
        json!({"targets": [{"property": "band_gap", "min": 1.1, "max": 1.6}, {"property": "density", "max": 5}]}),
        json!({"targets": [{"property": "thermal_conductivity", "goal": "maximize"}], "unknown": "require"}),
        json!({"targets": [{"index": "bulk_modulus / density", "goal": "maximize"}], "filter": "elements HAS \"O\""}),
        json!({"targets": [{"property": "grain_size", "max": 3}], "datasets": ["alpha"], "evidence": "measured",
               "filter": "class = \"alloy\" OR name IS KNOWN OR space_group > 100", "unknown": "ignore"}),
    ]
}

/// All that can be asked: the answers to some specs, and all that is known of every material.
fn answers(snapshot: &Snapshot) -> Vec<Value> {
    let mut all: Vec<Value> = specs()
        .iter()
        .map(|spec| {
            let resolved = from_json(spec.to_string().as_bytes()).unwrap().resolve(snapshot, Viewer::Owner).unwrap();
            let ranking = search::rank(snapshot, &Device::cpu(), &resolved).unwrap();
            assert!(!ranking.page.is_empty(), "{spec}");
            let passing = search::passing(snapshot, &resolved);
            serde_json::to_value(candidate::answer(snapshot, &resolved, ranking, &passing, 0.0)).unwrap()
        })
        .collect();
    let scope = snapshot.visible(Viewer::Owner);
    for row in 0..snapshot.materials.len() as u32 {
        all.push(serde_json::to_value(candidate::material(snapshot, &scope, row).unwrap()).unwrap());
    }
    all
}

fn files_of(place: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 6, "{files:?}");
    files
}

/// The manifest with something changed, under a seal that fits.
fn reseal(manifest: &Path, change: impl FnOnce(&mut Value)) {
    let sealed = fs::read(manifest).unwrap();
    let mut text: Value = serde_json::from_slice(&sealed[..sealed.len() - 10]).unwrap();
    change(&mut text);
    let text = text.to_string();
    fs::write(manifest, format!("{text}\n{:08x}\n", crc32fast::hash(text.as_bytes()))).unwrap();
}

#[test]
fn it_comes_back_as_it_was_or_is_built_anew() {
    let mut records = random_records(5, 400);
    records.push(record("alpha/salt").formula("ClNa").phase(225).crystal(rock_salt("Na", "Cl", 5.64)));
    let world = world(&records);
    let (dir, version) = (world.dir.path(), world.table.version());
    let truth = answers(&world.snapshot);
    assert!(store::load(dir, version).unwrap().is_none(), "nothing is kept yet");

    store::save(dir, &world.snapshot).unwrap();
    let loaded = store::load(dir, version).unwrap().unwrap();
    assert_eq!(loaded.version, version);
    assert_eq!(loaded.datasets, world.snapshot.datasets);
    assert_eq!(loaded.records.structures, world.snapshot.records.structures);
    assert_eq!(loaded.records.structures.len(), 1);
    assert_eq!(answers(&loaded), truth);
    // in place of itself, too
    store::save(dir, &loaded).unwrap();
    assert_eq!(answers(&store::load(dir, version).unwrap().unwrap()), truth);
    assert!(store::load(dir, version + 1).unwrap().is_none(), "another version's is not kept");

    let place = store::folder(dir).join(format!("v{version}"));
    let random = &mut Random::new(3);
    let unusable = |what: &str| match std::panic::catch_unwind(|| store::load(dir, version)) {
        Ok(Ok(Some(_))) => panic!("{what}: it was taken"),
        Ok(Ok(None) | Err(_)) => {}
        Err(_) => panic!("{what}: it panicked"),
    };
    let rebuilt = |what: &str| {
        unusable(what);
        let hub = wait(open(dir));
        assert_eq!(answers(&hub.snapshot()), truth, "{what}");
        assert_eq!(answers(&store::load(dir, version).unwrap().unwrap()), truth, "{what}: it is kept again");
    };
    for file in files_of(&place) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let good = fs::read(&file).unwrap();
        let places: Vec<usize> = (0..200).map(|_| random.below(good.len())).collect();
        for at in places.into_iter().chain([0, good.len() - 1, good.len() - 2]) {
            let mut bad = good.clone();
            bad[at] ^= 1 << random.below(8);
            fs::write(&file, &bad).unwrap();
            unusable(&format!("{name}, byte {at}"));
        }
        for length in [0, 1, 9, 10, 11, good.len() / 2, good.len() - 1] {
            fs::write(&file, &good[..length]).unwrap();
            unusable(&format!("{name}, cut to {length}"));
        }
        fs::write(&file, [&good[..], b"\n"].concat()).unwrap();
        unusable(&format!("{name} with a byte more"));
        rebuilt(&name);
        fs::remove_file(&file).unwrap();
        rebuilt(&format!("{name} is missing"));
    }
    let manifest = place.join("manifest.json");
    reseal(&manifest, |_| {});
    assert_eq!(answers(&store::load(dir, version).unwrap().unwrap()), truth, "the seal of this test is a good one");
    reseal(&manifest, |m| m["format"] = json!(m["format"].as_u64().unwrap() + 1));
    assert!(matches!(store::load(dir, version), Err(store::StoreError::Outdated)));
    rebuilt("another format");
    reseal(&manifest, |m| m["dictionary"] = json!(1));
    assert!(matches!(store::load(dir, version), Err(store::StoreError::Outdated)));
    rebuilt("another dictionary");
    reseal(&manifest, |m| m["version"] = json!(version + 5));
    rebuilt("another version");
    fs::remove_dir_all(&place).unwrap();
    fs::write(&place, b"not a folder").unwrap();
    unusable("a file in its place");
    assert_eq!(answers(&wait(open(dir)).snapshot()), truth, "a file in its place");
}

#[test]
fn a_sealed_manifest_that_lies_is_refused() {
    let world = world(&random_records(6, 60));
    let (dir, version) = (world.dir.path(), world.table.version());
    store::save(dir, &world.snapshot).unwrap();
    let manifest = store::folder(dir).join(format!("v{version}")).join("manifest.json");
    let good = fs::read(&manifest).unwrap();
    type Lie = fn(&mut Value);
    let lies: [(&str, Lie); 8] = [
        ("no datasets", |m| m["datasets"] = json!([])),
        ("a property more", |m| m["properties"].as_array_mut().unwrap().push(json!("x"))),
        ("starts beyond the end", |m| *m["starts"].as_array_mut().unwrap().last_mut().unwrap() = json!(1_000_000)),
        ("starts that go back", |m| m["starts"][1] = json!(1_000_000)),
        ("a name of no record", |m| m["named"] = json!([{"record": 4_000_000, "name": "ghost", "class": null}])),
        ("three files", |m| drop(m["files"].as_array_mut().unwrap().pop())),
        ("files in another order", |m| m["files"].as_array_mut().unwrap().reverse()),
        ("a field is missing", |m| drop(m.as_object_mut().unwrap().remove("words"))),
    ];
    for (what, lie) in lies {
        reseal(&manifest, lie);
        let loaded = std::panic::catch_unwind(|| store::load(dir, version));
        assert!(matches!(loaded, Ok(Err(_))), "{what}");
        fs::write(&manifest, &good).unwrap();
    }
    assert!(store::load(dir, version).unwrap().is_some());
}

#[test]
fn older_versions_go() {
    let mut world = world(&[record("lab/1").formula("AsGa").says(measured("band_gap", 1.42))]);
    let dir = world.dir.path().to_owned();
    store::save(&dir, &world.snapshot).unwrap();
    // what a program that was killed left behind, and what another one writes at this moment
    fs::create_dir(store::folder(&dir).join(".v9-123")).unwrap();
    let first = world.snapshot.version;
    let second = wait(async {
        ingest(&mut world.table, &[record("lab/2").formula("AlSb")], 9).await;
        snapshot::build(&world.table, |_, _| {}).await.unwrap()
    });
    assert!(second.version > first);
    store::save(&dir, &second).unwrap();
    let mut kept: Vec<String> =
        fs::read_dir(store::folder(&dir)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    kept.sort();
    assert_eq!(kept, [".v9-123".to_owned(), format!("v{}", second.version)]);
    assert!(store::load(&dir, first).unwrap().is_none());
    assert_eq!(store::load(&dir, second.version).unwrap().unwrap().materials.len(), 2);
}

#[test]
fn a_hub_without_records_is_kept_too() {
    let world = world(&[]);
    let (dir, version) = (world.dir.path(), world.table.version());
    store::save(dir, &world.snapshot).unwrap();
    let loaded = store::load(dir, version).unwrap().unwrap();
    assert_eq!((loaded.materials.len(), loaded.measurements.len()), (0, 0));
    let spec = from_json(br#"{"targets": [{"property": "density", "goal": "minimize"}]}"#).unwrap();
    let resolved = spec.resolve(&loaded, Viewer::Owner).unwrap();
    assert!(search::rank(&loaded, &Device::cpu(), &resolved).unwrap().page.is_empty());
    assert_eq!(search::passing(&loaded, &resolved).all, 0);
}
