//! The bundle: what comes with the program, loaded once, whole, and repaired where a load was interrupted.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use datasets::bundled::{self, Catalogue};
use datasets::columns::RecordColumns;
use datasets::property::dictionary;
use datasets::record::{is_dataset_name, material_id};
use datasets::table::Table;

use crate::hub::{Hub, copy_folder, files_below, paths, record};

fn catalogue() -> Catalogue {
    let catalogue = bundled::catalogue().unwrap();
    assert!(catalogue.revision > 0 && !catalogue.dataset.is_empty(), "there is a bundle: run `make bundle`");
    catalogue
}

/// Rows of each dataset, as the log counts them.
fn counts(table: &Table) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for file in table.files().unwrap() {
        *counts.entry(file.dataset).or_default() += file.rows.unwrap() as u64;
    }
    counts
}

fn want() -> BTreeMap<String, u64> {
    catalogue().dataset.into_iter().map(|d| (d.terms.name, d.records)).collect()
}

#[test]
fn the_catalogue_states_the_terms_of_every_dataset() {
    let catalogue = catalogue();
    for dataset in &catalogue.dataset {
        let terms = &dataset.terms;
        assert!(is_dataset_name(&terms.name), "{}", terms.name);
        for (what, text) in [
            ("title", &terms.title),
            ("contributor", &terms.contributor),
            ("licence", &terms.licence),
            ("citation", &terms.citation),
            ("origin", &terms.origin),
        ] {
            assert!(!text.trim().is_empty(), "{} has no {what}", terms.name);
        }
        assert!(dataset.records > 0 && dataset.materials > 0 && dataset.values > 0 && !dataset.files.is_empty());
    }
    let names: Vec<&str> = catalogue.dataset.iter().map(|d| d.terms.name.as_str()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "each once: {names:?}");
    for wanted in [
        "oqmd",
        "materials_project",
        "mp_transport",
        "elastic_tensor",
        "high_entropy_alloys",
        "alloy_sustainability",
        "engineering",
        "pnnl",
        "nasa_outgassing",
        "organics",
        "refractiveindex_info",
        "elements",
    ] {
        assert!(names.contains(&wanted), "{wanted} is not in {names:?}");
    }
}

#[test]
fn the_bundle_is_at_most_20_mb_and_its_files_are_those_of_the_catalogue() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundled");
    let mut found = BTreeSet::new();
    let mut bytes = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".parquet") {
            bytes += entry.metadata().unwrap().len();
            found.insert(name);
        }
    }
    let named: BTreeSet<String> = catalogue().dataset.into_iter().flat_map(|d| d.files).collect();
    assert_eq!(found, named);
    assert!(bytes <= 20_000_000, "{bytes} bytes");
}

#[tokio::test]
async fn what_is_loaded_is_what_the_catalogue_says() {
    let mut hub = Hub::new().await;
    assert!(bundled::is_wanted(&hub.table).await.unwrap());
    let done = bundled::load(&mut hub.table).await.unwrap();
    let total: u64 = catalogue().dataset.iter().map(|d| d.records).sum();
    assert_eq!((done.version, done.committed, done.change.inserted), (1, true, total), "one commit");
    assert_eq!(counts(&hub.table), want());

    let mut formulas: HashSet<String> = HashSet::new();
    let datasets = hub.table.datasets().unwrap();
    for dataset in catalogue().dataset {
        let name = &dataset.terms.name;
        assert_eq!(&datasets[name], &dataset.terms);
        let (mut records, mut values) = (0u64, 0u64);
        let mut seen: HashSet<String> = HashSet::new();
        let mut materials: HashSet<String> = HashSet::new();
        for file in hub.table.files().unwrap().iter().filter(|f| f.dataset == *name) {
            let (min, max) = file.ids.clone().unwrap();
            for batch in hub.table.batches(file).await.unwrap() {
                let columns = RecordColumns::read(&batch).unwrap();
                for word in columns.property.words() {
                    let known = dictionary().get(word).is_some() || dataset.terms.property(word).is_some();
                    assert!(known, "{name}: there is no property {word}");
                }
                let evidence: Vec<&str> = columns.evidence.words().iter().map(|w| &**w).collect();
                assert!(evidence.iter().all(|e| ["measured", "computed", "derived"].contains(e)), "{evidence:?}");
                assert!(columns.value.iter().all(|v| v.is_some_and(f64::is_finite)), "{name}: a value is no number");
                for row in 0..columns.len() {
                    let id = columns.id.value(row);
                    assert!(min.as_str() <= id && id <= max.as_str(), "{id} is outside {min} to {max}");
                    assert_eq!(datasets::record::dataset_of(id), name);
                    let record = columns.record(row);
                    assert!(!record.measurements.is_empty(), "{id} has no value");
                    let formula = record.formula.as_deref();
                    let smiles = record.smiles.as_deref();
                    materials.insert(material_id(formula, record.space_group, smiles, record.name.as_deref(), id));
                    formulas.extend(record.formula);
                    assert!(seen.insert(id.to_owned()), "{id} is there twice");
                    values += record.measurements.len() as u64;
                    records += 1;
                }
            }
        }
        assert_eq!((records, values), (dataset.records, dataset.values), "{name}");
        assert_eq!(materials.len() as u64, dataset.materials, "{name}");
    }
    assert!(formulas.len() >= 391_000, "{} distinct reduced formulas", formulas.len());

    // the density of rock salt follows from its volume, and is marked so
    let salt = hub.table.record("oqmd/ClNa").await.unwrap().unwrap();
    let density = salt.measurements.iter().find(|m| &*m.property == "density").unwrap();
    assert_eq!(density.evidence.as_str(), "derived");
    assert!((1.9..2.4).contains(&density.value), "{density:?}");
}

#[tokio::test]
async fn a_second_load_does_nothing() {
    let mut hub = Hub::new().await;
    bundled::load(&mut hub.table).await.unwrap();
    let before = files_below(hub.folder.path());
    assert!(!bundled::is_wanted(&hub.table).await.unwrap());
    let again = bundled::load(&mut hub.table).await.unwrap();
    assert_eq!((again.version, again.committed, again.change.inserted), (1, false, 0));
    assert_eq!(files_below(hub.folder.path()), before);
    assert!(!bundled::is_wanted(&hub.again().await).await.unwrap());
}

#[tokio::test]
async fn an_interrupted_load_is_completed_by_the_next() {
    let mut hub = Hub::new().await;
    let empty = tempfile::tempdir().unwrap();
    copy_folder(hub.folder.path(), empty.path());
    bundled::load(&mut hub.table).await.unwrap();
    let data: Vec<_> = files_below(hub.table.location()).into_iter().filter(|p| !p.starts_with(hub.log())).collect();
    assert!(data.len() >= catalogue().dataset.len());

    // as after kill -9: some data files whole, one half and still staged, no commit
    for written in [1, data.len() / 2, data.len()] {
        let crashed = tempfile::tempdir().unwrap();
        copy_folder(empty.path(), crashed.path());
        for (n, path) in data.iter().take(written).enumerate() {
            let target = crashed.path().join(path.strip_prefix(hub.folder.path().canonicalize().unwrap()).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(path, &target).unwrap();
            if n + 1 == written {
                let bytes = fs::read(path).unwrap();
                let mut staged = target.into_os_string();
                staged.push("#4711");
                fs::write(staged, &bytes[..bytes.len() / 2]).unwrap();
            }
        }
        let mut table = Table::open_or_create(crashed.path()).await.unwrap();
        assert!(table.files().unwrap().is_empty(), "what was not committed is not seen");
        assert!(bundled::is_wanted(&table).await.unwrap());
        assert!(bundled::load(&mut table).await.unwrap().committed);
        assert_eq!(counts(&table), want());
        assert_eq!(paths(&table), paths(&hub.table), "the files of the first try are used, not doubled");
    }
}

#[tokio::test]
async fn what_a_user_deleted_is_not_loaded_again() {
    let mut hub = Hub::new().await;
    bundled::load(&mut hub.table).await.unwrap();
    let smallest = catalogue().dataset.into_iter().min_by_key(|d| d.records).unwrap();
    let name = smallest.terms.name.as_str();
    let mut ids = HashSet::new();
    for file in hub.table.files().unwrap().iter().filter(|f| f.dataset == name) {
        for batch in hub.table.batches(file).await.unwrap() {
            let columns = RecordColumns::read(&batch).unwrap();
            ids.extend((0..columns.len()).map(|row| columns.id.value(row).to_owned()));
        }
    }
    assert_eq!(hub.table.delete(name, &ids).await.unwrap().change.deleted, smallest.records);
    let mut again = hub.again().await;
    assert!(!bundled::is_wanted(&again).await.unwrap());
    assert!(!bundled::load(&mut again).await.unwrap().committed);
    assert_eq!(counts(&again).get(name), None);
}

#[tokio::test]
async fn a_hub_that_began_without_the_bundle_stays_without() {
    let mut hub = Hub::new().await;
    hub.put("lab", vec![record("lab/1", 1.0)]).await;
    assert!(!bundled::is_wanted(&hub.table).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_load_at_once_load_once() {
    let hub = Hub::new().await;
    let loads: Vec<_> = (0..3)
        .map(|_| {
            let mut table = hub.table.clone();
            tokio::spawn(async move { bundled::load(&mut table).await.map(|_| table.version()) })
        })
        .collect();
    for load in loads {
        assert_eq!(load.await.unwrap().unwrap(), 1);
    }
    let table = hub.again().await;
    assert_eq!(table.version(), 1);
    assert_eq!(counts(&table), want());
}
