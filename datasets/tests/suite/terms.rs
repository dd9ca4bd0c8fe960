//! The terms of datasets: kept with the records, in the same commit.

use datasets::catalogue::{DatasetInfo, Visibility};
use datasets::property::{Axis, Deviation, MAX_OWN_PROPERTIES, Property};

use crate::hub::{Hub, batch, record};

fn full(name: &str) -> DatasetInfo {
    DatasetInfo {
        name: name.into(),
        title: "Gaps of \"quoted\" things, µ".into(),
        contributor: "A lab".into(),
        licence: "CC-BY-4.0".into(),
        citation: "Someone, J. Mat. 1, 1 (2020)\nsecond line".into(),
        origin: "https://example.org/x?a=b&c=d".into(),
        visibility: Some(Visibility::Private),
        properties: Vec::new(),
    }
}

#[tokio::test]
async fn terms_are_kept_with_the_records_in_one_commit() {
    let mut hub = Hub::new().await;
    let done = hub.table.upsert(&full("lab"), batch(0..2, 1.0), None).await.unwrap();
    assert_eq!(done.version, 1, "records and terms together");
    assert_eq!(hub.again().await.datasets().unwrap()["lab"], full("lab"));
    let before = hub.table.at(0).await.unwrap();
    assert!(before.datasets().unwrap().is_empty() && before.files().unwrap().is_empty());
    let after = hub.table.at(1).await.unwrap();
    assert_eq!((after.datasets().unwrap().len(), after.files().unwrap().len()), (1, 1));
}

#[tokio::test]
async fn empty_fields_keep_what_was_said_before_and_new_words_replace_it() {
    let mut hub = Hub::new().await;
    hub.table.upsert(&full("lab"), batch(0..1, 1.0), None).await.unwrap();

    let bare = DatasetInfo::unnamed_terms("lab");
    let later = hub.table.upsert(&bare, batch(1..2, 1.0), None).await.unwrap();
    assert!(later.committed);
    assert_eq!(hub.table.datasets().unwrap()["lab"], full("lab"));

    let new = DatasetInfo { licence: "CC0-1.0".into(), ..bare.clone() };
    hub.table.upsert(&new, batch(2..3, 1.0), None).await.unwrap();
    assert_eq!(hub.table.datasets().unwrap()["lab"], DatasetInfo { licence: "CC0-1.0".into(), ..full("lab") });
}

#[tokio::test]
async fn terms_that_change_alone_are_a_commit_and_terms_that_do_not_are_none() {
    let mut hub = Hub::new().await;
    let plain = DatasetInfo::unnamed_terms("lab");
    hub.table.upsert(&plain, batch(0..2, 1.0), None).await.unwrap();
    let filled = DatasetInfo { licence: "MIT".into(), ..plain.clone() };
    let done = hub.table.upsert(&filled, batch(0..2, 1.0), None).await.unwrap();
    assert_eq!((done.version, done.committed, done.change.unchanged), (2, true, 2));
    let none = hub.table.upsert(&filled, Vec::new(), None).await.unwrap();
    assert_eq!((none.version, none.committed), (2, false));
    let none = hub.table.upsert(&plain, batch(0..2, 1.0), None).await.unwrap();
    assert_eq!((none.version, none.committed), (2, false), "saying less changes nothing");
}

#[tokio::test]
async fn a_refused_batch_leaves_the_terms_as_they_were() {
    let mut hub = Hub::new().await;
    let plain = DatasetInfo::unnamed_terms("lab");
    hub.table.upsert(&plain, batch(0..2, 1.0), None).await.unwrap();
    hub.table.upsert(&full("lab"), vec![record("other/1", 1.0)], None).await.unwrap_err();
    let kept = DatasetInfo { visibility: Some(Visibility::Public), ..plain };
    assert_eq!(hub.again().await.datasets().unwrap()["lab"], kept);
    assert_eq!(hub.again().await.version(), 1);
}

#[tokio::test]
async fn a_private_dataset_stays_private_until_it_is_said_to_be_public() {
    let mut hub = Hub::new().await;
    let plain = DatasetInfo::unnamed_terms("lab");
    let mut visible = Vec::new();
    for said in [Some(Visibility::Private), None, Some(Visibility::Public), None] {
        let terms = DatasetInfo { visibility: said, ..plain.clone() };
        hub.table.upsert(&terms, batch(0..2, 1.0), None).await.unwrap();
        visible.push(hub.table.datasets().unwrap()["lab"].is_public());
    }
    assert_eq!(visible, [false, false, true, true]);
    hub.put("other", vec![record("other/1", 1.0)]).await;
    assert!(hub.table.datasets().unwrap()["other"].is_public(), "public where nothing is said");
}

#[tokio::test]
async fn datasets_do_not_mix() {
    let mut hub = Hub::new().await;
    // names of which one begins the other, in name and in id range
    for name in ["lab", "lab2", "lab.2", "lab-2"] {
        let terms = DatasetInfo { title: format!("of {name}"), ..full(name) };
        hub.table.upsert(&terms, vec![record(&format!("{name}/1"), 1.0)], None).await.unwrap();
    }
    let known = hub.table.datasets().unwrap();
    assert_eq!(known.keys().collect::<Vec<_>>(), ["lab", "lab-2", "lab.2", "lab2"]);
    for (name, terms) in &known {
        assert_eq!(terms.title, format!("of {name}"));
        let id = format!("{name}/1");
        assert_eq!(hub.table.record(&id).await.unwrap().unwrap().dataset(), name);
    }
    assert_eq!(hub.table.files().unwrap().iter().filter(|f| f.dataset == "lab").count(), 1);
}

fn with(properties: Vec<Property>) -> DatasetInfo {
    DatasetInfo { properties, ..DatasetInfo::unnamed_terms("lab") }
}

fn own(key: &str) -> Property {
    Property::of_dataset("lab", key, "", "mm^3/m", Axis::Log)
}

#[tokio::test]
async fn properties_of_a_dataset_are_kept_with_its_terms_and_may_grow() {
    let mut hub = Hub::new().await;
    let mut worn = record("lab/1", 1.0);
    worn.measurements[0].property = "lab:wear_rate".into();
    let first = with(vec![own("wear_rate")]);
    let done = hub.table.upsert(&first, vec![worn.clone()], None).await.unwrap();
    assert_eq!(done.version, 1, "records and definition together");
    assert_eq!(hub.again().await.datasets().unwrap()["lab"].properties, [own("wear_rate")]);
    // saying the same, or nothing, changes nothing
    for again in [first.clone(), with(Vec::new())] {
        assert!(!hub.table.upsert(&again, vec![worn.clone()], None).await.unwrap().committed);
    }
    // another property joins, in whatever order they are named, and the first is told more of
    let better =
        Property { name: "Wear".into(), sd: Deviation::Relative(0.2), aliases: vec!["w".into()], ..own("wear_rate") };
    hub.table.upsert(&with(vec![better.clone(), own("friction")]), Vec::new(), None).await.unwrap();
    assert_eq!(hub.again().await.datasets().unwrap()["lab"].properties, [own("friction"), better.clone()]);
    let same = with(vec![better, own("friction")]);
    assert!(!hub.table.upsert(&same, Vec::new(), None).await.unwrap().committed);
    // the older version has the older definition
    assert_eq!(hub.table.at(1).await.unwrap().datasets().unwrap()["lab"].properties, [own("wear_rate")]);
}

#[tokio::test]
async fn a_property_never_changes_the_meaning_of_stored_values() {
    let mut hub = Hub::new().await;
    hub.table.upsert(&with(vec![own("wear_rate")]), batch(0..2, 1.0), None).await.unwrap();
    let unit = Property { unit: "m^3/m".into(), ..own("wear_rate") };
    let axis = Property::of_dataset("lab", "wear_rate", "", "mm^3/m", Axis::Linear);
    for changed in [unit, axis] {
        let error = hub.table.upsert(&with(vec![changed]), batch(0..3, 2.0), None).await.unwrap_err().to_string();
        assert!(error.contains("lab:wear_rate") && error.contains("another key"), "{error}");
    }
    assert_eq!((hub.again().await.version(), hub.table.datasets().unwrap()["lab"].properties.len()), (1, 1));
    // another spelling of the unit is the same unit
    let spelt = Property { unit: "mm3/m".into(), ..own("wear_rate") };
    assert!(hub.table.upsert(&with(vec![spelt]), Vec::new(), None).await.unwrap().committed);
}

#[tokio::test]
async fn properties_that_cannot_be_kept_leave_everything_as_it_was() {
    let mut hub = Hub::new().await;
    let many = |from: usize, to: usize| with((from..to).map(|n| own(&format!("p{n}"))).collect());
    let foreign = Property::of_dataset("other", "x", "", "1", Axis::Log);
    for (bad, word) in [
        (with(vec![foreign]), "write `lab:`"),
        (with(vec![own("x"), own("x")]), "stands twice"),
        (many(0, MAX_OWN_PROPERTIES + 1), "at most 256"),
    ] {
        let error = hub.table.upsert(&bad, batch(0..2, 1.0), None).await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(hub.again().await.version(), 0);
    hub.table.upsert(&many(0, 200), batch(0..2, 1.0), None).await.unwrap();
    let error = hub.table.upsert(&many(200, 257), Vec::new(), None).await.unwrap_err().to_string();
    assert!(error.contains("257") && error.contains("at most 256"), "{error}");
    hub.table.upsert(&many(150, 256), Vec::new(), None).await.unwrap();
    assert_eq!(hub.table.datasets().unwrap()["lab"].properties.len(), 256);
}

#[tokio::test]
async fn a_value_of_a_property_that_nothing_defines_is_refused() {
    let mut hub = Hub::new().await;
    let mut worn = record("lab/1", 1.0);
    worn.measurements[0].property = "lab:wear_rate".into();
    let error = hub.table.upsert(&with(vec![own("other")]), vec![worn.clone()], None).await.unwrap_err().to_string();
    assert!(error.contains("lab/1") && error.contains("`lab:wear_rate`"), "{error}");
    // defined by an earlier job is defined
    hub.table.upsert(&with(vec![own("wear_rate")]), Vec::new(), None).await.unwrap();
    hub.table.upsert(&with(Vec::new()), vec![worn], None).await.unwrap();
}
