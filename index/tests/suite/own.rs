//! Properties of datasets' own: asked like any other, and only where their dataset is seen.

use datasets::catalogue::DatasetInfo;
use datasets::property::{Axis, Deviation, Property};
use datasets::record::Record;
use datasets::table::Table;
use gpu::Device;
use matgenome_index::candidate::{self, SuggestAnswer};
use matgenome_index::filter::matching;
use matgenome_index::merit::Merit;
use matgenome_index::properties::fingerprint;
use matgenome_index::scope::Viewer;
use matgenome_index::snapshot::{self, Snapshot};
use matgenome_index::spec::{SpecError, from_json};
use matgenome_index::{search, store};
use serde_json::json;

use crate::world::{World, Write as _, measured, record, terms, to_blame, wait};

fn wear(dataset: &str) -> Property {
    Property::of_dataset(dataset, "scar_wear", "Wear rate", "mm^3/m", Axis::Log)
}

fn infos() -> Vec<(DatasetInfo, Vec<Record>)> {
    let with = |name: &str, properties| DatasetInfo { properties, ..terms(name) };
    let key = Property {
        bounds: [0.0, 100.0],
        sd: Deviation::Absolute(0.5),
        ..Property::of_dataset("a.b_c-1", "key", "", "MPa", Axis::Linear)
    };
    let worn = |id: &str, formula: &str, rate: f64| {
        record(id).formula(formula).says(measured(&format!("{}:scar_wear", id.split('/').next().unwrap()), rate))
    };
    vec![
        (
            with("my-lab", vec![wear("my-lab")]),
            vec![
                worn("my-lab/1", "AsGa", 1e-6).says(measured("density", 5.0)),
                worn("my-lab/2", "AlSb", 1e-5).says(measured("density", 4.0)),
                worn("my-lab/3", "Cu", 1e-3),
                record("my-lab/4").formula("Fe").says(measured("density", 7.8)),
            ],
        ),
        (
            with("a.b_c-1", vec![key]),
            vec![
                record("a.b_c-1/1").formula("AsGa").says(measured("a.b_c-1:key", 3.0)),
                record("a.b_c-1/2").formula("Cu").says(measured("a.b_c-1:key", 500.0)),
            ],
        ),
        (
            with("vault", vec![wear("vault"), Property::of_dataset("vault", "hidden", "", "1", Axis::Linear)]),
            vec![worn("vault/1", "CdTe", 5.0), record("vault/2").formula("AsGa").says(measured("vault:hidden", 2.0))],
        ),
    ]
}

fn lab() -> World {
    let dir = tempfile::tempdir().unwrap();
    let (table, snapshot) = wait(async {
        let mut table = Table::open_or_create(dir.path()).await.unwrap();
        for (info, records) in infos() {
            table.upsert(&info, records, None).await.unwrap();
        }
        let snapshot = snapshot::build(&table, |_, _| {}).await.unwrap();
        (table, snapshot)
    });
    World { dir, table, snapshot }
}

fn ask(snapshot: &Snapshot, viewer: Viewer, spec: serde_json::Value) -> Result<SuggestAnswer, SpecError> {
    let spec = from_json(spec.to_string().as_bytes())?.resolve(snapshot, viewer).map_err(to_blame)?;
    let ranking = search::rank(snapshot, &Device::cpu(), &spec).unwrap();
    let passing = search::passing(snapshot, &spec);
    Ok(candidate::answer(snapshot, &spec, ranking, &passing, 0.0))
}

fn ids(answer: &SuggestAnswer) -> Vec<&str> {
    answer.candidates.iter().map(|c| c.material.as_str()).collect()
}

#[test]
fn a_target_on_it_has_units_a_log_axis_and_its_own_deviation() {
    let world = lab();
    let target = |property: &str| json!({"targets": [{"property": property, "max": 2e-8, "unit": "cm^3/m"}], "unknown": "require"});
    let answer = ask(&world.snapshot, Viewer::Public, target("my-lab:scar_wear")).unwrap();
    // both deep inside: no shortfall that a number could hold, so by id
    assert_eq!(ids(&answer), ["AlSb", "AsGa", "Cu"]);
    assert_eq!((answer.meta.passing["my-lab:scar_wear"], answer.meta.passing["all"]), (2, 2));
    let first = &answer.candidates[1].targets[0];
    assert_eq!((first.property.as_str(), first.unit.as_str()), ("my-lab:scar_wear", "cm^3/m"));
    assert!((first.value.unwrap() / 1e-9 - 1.0).abs() < 1e-9, "{first:?}");
    assert!((first.sd.unwrap() / (0.05 * 1e-9) - 1.0).abs() < 1e-9, "5 % of the value: {first:?}");
    // the score of Cu: 3 - log10(2e-5 / 1e-6) decades beyond the end, in robust spreads of the population;
    // the quartiles of -6, -5, -3 are the values nearest to them, -5 and -3
    let (spread, sd) = (2.0 / 1.349, 0.05 / std::f64::consts::LN_10);
    let beyond = 3.0 - 20f64.log10();
    let expected = (beyond * beyond + sd * sd) / (spread * spread);
    assert!((answer.candidates[2].score / expected - 1.0).abs() < 1e-6, "{} {expected}", answer.candidates[2].score);
    // without its dataset: one that the caller may see has it
    let short = ask(&world.snapshot, Viewer::Public, target("scar_wear")).unwrap();
    assert_eq!(json!(short.candidates), json!(answer.candidates));
    assert!(short.meta.passing.contains_key("my-lab:scar_wear"));
    // and two for the owner, who must say which, or whose datasets leave one
    let error = ask(&world.snapshot, Viewer::Owner, target("scar_wear")).unwrap_err();
    assert_eq!((error.pointer.as_str(), error.closest.len()), ("/targets/0/property", 2));
    assert!(error.message.contains("my-lab:scar_wear") && error.message.contains("vault:scar_wear"), "{error}");
    let mut of_vault = target("scar_wear");
    of_vault["datasets"] = json!(["vault"]);
    assert_eq!(ids(&ask(&world.snapshot, Viewer::Owner, of_vault).unwrap()), ["CdTe"]);
    let pressure = json!({"targets": [{"property": "my-lab:scar_wear", "max": 1, "unit": "GPa"}]});
    assert_eq!(ask(&world.snapshot, Viewer::Public, pressure).unwrap_err().pointer, "/targets/0/unit");
}

#[test]
fn goals_and_what_is_unknown_go_as_for_any_property() {
    let world = lab();
    let asked = |unknown: &str, more: &[&str]| {
        let mut targets = vec![json!({"property": "my-lab:scar_wear", "goal": "minimize"})];
        targets.extend(more.iter().map(|p| json!({"property": p, "min": 0})));
        ask(&world.snapshot, Viewer::Public, json!({"targets": targets, "unknown": unknown})).unwrap()
    };
    assert_eq!(ids(&asked("require", &[])), ["AsGa", "AlSb", "Cu"]);
    assert_eq!(ids(&asked("ignore", &[])), ["AsGa", "AlSb", "Cu"]);
    let predicted = asked("predict", &[]);
    assert_eq!(predicted.candidates.len(), 4);
    let iron = predicted.candidates.iter().find(|c| c.material == "Fe").unwrap();
    assert!((iron.targets[0].value.unwrap() / 1e-5 - 1.0).abs() < 1e-9, "the population's median: {iron:?}");
    assert_eq!(ids(&asked("require", &["a.b_c-1:key"])), ["AsGa"], "500 MPa lies beyond the bounds and never counts");
    let scope = world.snapshot.visible(Viewer::Public);
    let copper = world.snapshot.materials.row("Cu").unwrap();
    let shown = candidate::material(&world.snapshot, &scope, copper).unwrap();
    let keys: Vec<&str> = shown.properties.iter().map(|p| p.property.as_str()).collect();
    assert_eq!(keys, ["a.b_c-1:key", "my-lab:scar_wear"]);
    assert!(shown.properties[0].values[0].flag.is_some() && shown.properties[0].value.is_none());
    assert_eq!((shown.properties[1].name.as_str(), shown.properties[1].value), ("Wear rate", Some(1e-3)));
}

#[test]
fn filters_and_indices_of_merit_name_it() {
    let world = lab();
    let snapshot = &world.snapshot;
    let scope = snapshot.visible(Viewer::Public);
    for (filter, ids) in [
        ("my-lab:scar_wear < 1e-4", &["AlSb", "AsGa"][..]),
        ("1e-4<my-lab:scar_wear", &["Cu"]),
        ("NOT my-lab:scar_wear < 1e-4 OR a.b_c-1:key>=3", &["AsGa", "Cu"]),
        ("a.b_c-1:key IS KNOWN AND density > 1", &["AsGa"]),
        ("scar_wear", &["AlSb", "AsGa", "Cu"]),
        ("key = 3 AND datasets HAS \"my-lab\"", &["AsGa"]),
        ("my-lab:scar_wear >= my-lab:scar_wear", &["AlSb", "AsGa", "Cu"]),
    ] {
        let mask = matching(snapshot, &scope, filter).unwrap();
        let found: Vec<&str> = mask.iter_ones().map(|row| snapshot.materials.id.value(row)).collect();
        assert_eq!(found, ids, "{filter}");
    }
    for (filter, at, word) in [
        ("my-lab:scar_wea > 1", 1, "my-lab:scar_wear"),
        ("density > my-lab:scar_wear", 9, "only properties of one unit"),
        ("my-lab:scar_wear HAS 1", 18, "is not a list"),
        ("my-lab:scar_wear = \"x\"", 18, "is a number"),
    ] {
        let error = matching(snapshot, &scope, filter).unwrap_err();
        assert!(error.character == at && error.message.contains(word), "{filter}: {error}");
    }

    let index = |text: &str| Merit::parse(text, snapshot, &scope);
    let merit = index("2*my-lab:scar_wear / density").unwrap();
    assert_eq!((merit.properties.as_slice(), merit.axis()), (&["density", "my-lab:scar_wear"][..], Axis::Log));
    assert!(merit.unit().contains("mm^3/m") && merit.unit().contains("g/cm^3"), "{}", merit.unit());
    let beliefs = merit.believed(snapshot, &scope, false);
    let gallium = snapshot.materials.row("AsGa").unwrap();
    let value = beliefs.get(gallium, snapshot.materials.len()).unwrap().value;
    assert!((value / (2.0 * 1e-6 / 5.0) - 1.0).abs() < 1e-9, "{value}");
    assert_eq!(index("scar_wear/density").unwrap().properties, merit.properties);
    assert_eq!(index("density -my-lab:scar_wear").unwrap().axis(), Axis::Linear);
    assert_eq!(index("a.b_c-1:key-1 * density").unwrap().properties, ["a.b_c-1:key", "density"]);
    for (text, at, word) in [
        ("density-my-lab:scar_wear", 1, "spaces around"),
        ("my-lab - density", 1, "no property `my`"),
        ("density*my-lab:scar_wea", 9, "my-lab:scar_wear"),
        ("my-lab: scar_wear", 1, "no property `my`"),
        ("density:wear", 1, "no property `density:wear`"),
    ] {
        let error = index(text).unwrap_err();
        assert!(error.at == at && error.message.contains(word), "{text}: {error}");
    }
    let answer = ask(
        snapshot,
        Viewer::Public,
        json!({"targets": [{"index": "my-lab:scar_wear / density", "goal": "minimize"}], "unknown": "require"}),
    );
    assert_eq!(ids(&answer.unwrap()), ["AsGa", "AlSb"]);
}

#[test]
fn a_private_datasets_properties_are_not_there_for_others() {
    let world = lab();
    let snapshot = &world.snapshot;
    let (public, owner) = (snapshot.visible(Viewer::Public), snapshot.visible(Viewer::Owner));
    assert!(
        snapshot.property("vault:hidden", &owner).is_some() && snapshot.property("vault:hidden", &public).is_none()
    );
    let keys = |scope| -> Vec<&str> {
        snapshot.properties(scope).filter(|p| p.dataset().is_some()).map(|p| p.key.as_str()).collect()
    };
    assert_eq!(keys(&public), ["a.b_c-1:key", "my-lab:scar_wear"]);
    assert_eq!(keys(&owner), ["a.b_c-1:key", "my-lab:scar_wear", "vault:hidden", "vault:scar_wear"]);
    // asked for by its very name, or nearly, it is as if it had never been
    for asked in ["vault:hidden", "hidden", "vault:hiddn", "vault:scar_wear"] {
        let spec = json!({"targets": [{"property": asked, "min": 0}]});
        let by_spec = ask(snapshot, Viewer::Public, spec).unwrap_err();
        let by_filter = matching(snapshot, &public, &format!("{asked} > 0")).unwrap_err().message;
        let by_index = Merit::parse(asked, snapshot, &public).unwrap_err().message;
        for said in [by_spec.message, by_spec.closest.join(" "), by_filter, by_index] {
            assert!(!said.replacen(asked, "", 1).contains("hidden") && !said.contains("CdTe"), "{asked}: {said}");
            assert!(!said.replacen(asked, "", 1).contains("vault"), "{asked}: {said}");
        }
    }
    let near = ask(snapshot, Viewer::Owner, json!({"targets": [{"property": "vault:hiddn", "min": 0}]})).unwrap_err();
    assert!(near.closest.contains(&"vault:hidden".to_owned()), "{near}");
    let gallium = snapshot.materials.row("AsGa").unwrap();
    let shown = |scope| serde_json::to_string(&candidate::material(snapshot, scope, gallium).unwrap()).unwrap();
    assert!(!shown(&public).contains("vault") && shown(&owner).contains("vault:hidden"));
    // a key of the dictionary is the dictionary's, whatever datasets have
    let density = Property::of_dataset("my-lab", "density", "", "1", Axis::Linear);
    let info = DatasetInfo { properties: vec![density], ..terms("my-lab") };
    let mut world = lab();
    let next = wait(async {
        world.table.upsert(&info, Vec::new(), None).await.unwrap();
        snapshot::build(&world.table, |_, _| {}).await.unwrap()
    });
    assert_eq!(next.find_property("density", &public).unwrap().unit, "g/cm^3");
    assert_eq!(next.find_property("my-lab:density", &public).unwrap().unit, "1");
    // a query over other datasets does not know it either
    let narrow = json!({"targets": [{"property": "my-lab:scar_wear", "max": 1}], "datasets": ["a.b_c-1"]});
    assert_eq!(ask(snapshot, Viewer::Owner, narrow).unwrap_err().pointer, "/targets/0/property");
}

#[test]
fn it_is_kept_on_disk_and_a_changed_deviation_counts() {
    let mut world = lab();
    let dir = world.dir.path().to_owned();
    store::save(&dir, &world.snapshot).unwrap();
    let loaded = store::load(&dir, world.snapshot.version).unwrap().unwrap();
    let spec = json!({"targets": [{"property": "my-lab:scar_wear", "max": 1e-5}], "unknown": "require"});
    let answer = |snapshot: &Snapshot| ask(snapshot, Viewer::Public, spec.clone()).unwrap().candidates;
    assert_eq!(json!(answer(&loaded)), json!(answer(&world.snapshot)));

    let unsure = Property { sd: Deviation::Relative(0.5), ..wear("my-lab") };
    let info = DatasetInfo { properties: vec![unsure], ..terms("my-lab") };
    let next = wait(async {
        world.table.upsert(&info, Vec::new(), None).await.unwrap();
        snapshot::build(&world.table, |_, _| {}).await.unwrap()
    });
    let sd = |snapshot: &Snapshot| answer(snapshot)[0].targets[0].sd.unwrap();
    assert!((sd(&next) / sd(&world.snapshot) - 10.0).abs() < 1e-9);
    let hash = |snapshot: &Snapshot| fingerprint(snapshot.datasets.iter().map(|d| &d.info)).unwrap();
    assert_eq!(hash(&loaded), hash(&world.snapshot));
    assert_ne!(hash(&next), hash(&world.snapshot));
}
