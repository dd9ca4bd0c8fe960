//! What goes out comes in again: every format of an export gives back equal records.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use datasets::bundled;
use datasets::catalogue::{DatasetInfo, Visibility};
use datasets::export::{Export, Exporter, Format};
use datasets::formula::Formula;
use datasets::record::{Evidence, Measurement, Record};
use datasets::structure::{Species, Structure};
use datasets::table::Table;
use ingest::native::{self, Item, NativeError, NativeReader};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn terms(name: &str) -> DatasetInfo {
    DatasetInfo {
        title: "Gaps, \"dirty\"\nones".into(),
        licence: "CC0-1.0".into(),
        citation: "Müller, 2026".into(),
        visibility: Some(Visibility::Private),
        ..DatasetInfo::unnamed_terms(name)
    }
}

fn bytes(format: Format, datasets: &[DatasetInfo], records: &[Record]) -> Vec<u8> {
    let mut exporter = Exporter::new(format, datasets).unwrap();
    let mut bytes = exporter.take();
    for chunk in records.chunks(2) {
        exporter.write(chunk).unwrap();
        bytes.extend(exporter.take());
    }
    bytes.extend(exporter.finish().unwrap());
    bytes
}

fn open(folder: &Path, bytes: &[u8]) -> Result<Option<NativeReader>, NativeError> {
    let path = folder.join("export");
    fs::write(&path, bytes).unwrap();
    native::open(&path)
}

/// The records, and why others were refused.
fn read(reader: NativeReader) -> (Vec<Record>, Vec<(u64, String)>) {
    let (mut records, mut refused) = (Vec::new(), Vec::new());
    for item in reader {
        match item.unwrap() {
            Item::Record { record, .. } => records.push(*record),
            Item::Refused(bad) => {
                assert!(!bad.raw.is_empty(), "{bad:?}");
                refused.push((bad.line, bad.why));
            }
        }
    }
    (records, refused)
}

/// Equal in every bit: `==` holds -0.0 for 0.0.
#[track_caller]
fn same(a: &[Record], b: &[Record], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a, b, "{what}");
        assert_eq!(format!("{a:?}"), format!("{b:?}"), "{what}");
    }
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |x| x.is_finite()),
        Just(-0.0),
        Just(5e-324),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE / 3.0),
        Just(0.1 + 0.2),
        Just(1e15),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        Just(String::new()),
        Just("\\".into()),
        Just("\\\\N, \"quoted\"\r\nline\ttab\u{feff}\u{2028}µ\0".into()),
        Just("null".into()),
        Just(" 1.0 ".into()),
    ]
}

fn word() -> impl Strategy<Value = Option<Arc<str>>> {
    proptest::option::of(text().prop_map(Arc::from))
}

fn map() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn measurement() -> impl Strategy<Value = Measurement> {
    let property = prop_oneof![Just("band_gap"), Just("density"), Just("lab:wear_rate")];
    let evidence = prop_oneof![Just(Evidence::Measured), Just(Evidence::Computed), Just(Evidence::Derived)];
    let given = (proptest::option::of(number()), word());
    let uncertainty = proptest::option::of(number().prop_map(f64::abs));
    let at = (proptest::option::of(number()), proptest::option::of(number()));
    (property, number(), given, uncertainty, evidence, word(), word(), at, map()).prop_map(
        |(property, value, given, uncertainty, evidence, method, source, at, conditions)| Measurement {
            property: property.into(),
            value,
            given_value: given.0,
            given_unit: given.1,
            uncertainty,
            evidence,
            method,
            source,
            temperature_k: at.0,
            pressure_pa: at.1,
            conditions,
        },
    )
}

fn structure() -> impl Strategy<Value = Structure> {
    let place = || [number(), number(), number()];
    let species = prop_oneof![
        Just(Species::Element("Ga".into())),
        (text(), 0.0..=1.0).prop_map(|(part, share)| Species::Mixed(vec![(part, share), ("Fe".into(), 0.25)])),
        Just(Species::Mixed(Vec::new())),
    ];
    (proptest::option::of([place(), place(), place()]), vec((species, place()), 0..4)).prop_map(|(lattice, sites)| {
        let (species, positions) = sites.into_iter().unzip();
        Structure { lattice, species, positions }
    })
}

fn record() -> impl Strategy<Value = Record> {
    let formula = prop_oneof![
        Just(None),
        Just(Some("AsGa".to_owned())),
        Just(Some(Formula::parse("Al0.3CoCrFeNi").unwrap().reduced())),
    ];
    let material = (proptest::option::of(text()), proptest::option::of(text()), formula);
    let known_by = (proptest::option::of(1i16..=230), proptest::option::of(text()), word());
    let structure = proptest::option::of(structure().prop_map(Arc::new));
    (material, known_by, structure, map(), vec(measurement(), 0..4), text()).prop_map(
        |(material, known_by, structure, attributes, measurements, id)| Record {
            id: format!("lab/1{id}"),
            name: material.0,
            formula_given: material.1,
            formula: material.2,
            space_group: known_by.0,
            smiles: known_by.1,
            structure,
            class: known_by.2,
            attributes,
            measurements,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_record_comes_back_from_every_format(records in btree_map(any::<u16>(), record(), 1..5)) {
        let folder = tempfile::tempdir().unwrap();
        let with_id = |(n, mut record): (u16, Record)| { record.id = format!("{}-{n}", record.id); record };
        let records: Vec<Record> = records.into_iter().map(with_id).collect();
        for format in Format::ALL {
            let reader = open(folder.path(), &bytes(format, &[terms("lab")], &records)).unwrap().unwrap();
            assert_eq!(reader.format(), format);
            let stated = if format == Format::Csv { vec![] } else { vec![terms("lab")] };
            assert_eq!(reader.terms(), stated);
            let (back, refused) = read(reader);
            assert_eq!(refused, [], "{format}");
            same(&back, &records, format.as_str());
        }
    }

    #[test]
    fn no_damage_makes_a_reader_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        for format in Format::ALL {
            let mut damaged = bytes(format, &[terms("lab")], &few());
            let at = at.index(damaged.len());
            if cut { damaged.truncate(at) } else { damaged[at] = byte }
            if let Ok(Some(reader)) = open(folder.path(), &damaged) {
                assert!(reader.count() <= 2 * few().len() + 1);
            }
        }
    }
}

fn few() -> Vec<Record> {
    let one = |n: u32, value: f64| Record {
        id: format!("lab/{n}"),
        name: None,
        formula_given: Some("GaAs".into()),
        formula: Some("AsGa".into()),
        space_group: None,
        smiles: None,
        structure: Some(Arc::new(Structure {
            lattice: Some([[4.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 6.0]]),
            species: vec![Species::Element("Ga".into()), Species::Mixed(vec![("As".into(), 0.75)])],
            positions: vec![[0.0, 0.0, 0.0], [0.5, 0.5, 0.25]],
        })),
        class: None,
        attributes: BTreeMap::new(),
        measurements: ["band_gap", "lab:wear_rate"]
            .map(|key| Measurement {
                property: key.into(),
                value,
                given_value: None,
                given_unit: None,
                uncertainty: None,
                evidence: Evidence::Measured,
                method: None,
                source: None,
                temperature_k: None,
                pressure_pa: None,
                conditions: BTreeMap::new(),
            })
            .to_vec(),
    };
    (1..=5).map(|n| one(n, f64::from(n))).collect()
}

#[test]
fn compressed_text_is_read_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Csv, Format::JsonLines, Format::OptimadeJsonLines] {
        let plain = bytes(format, &[terms("lab")], &few());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        for packed in [gzip.finish().unwrap(), zstd::encode_all(plain.as_slice(), 1).unwrap()] {
            let reader = open(folder.path(), &packed).unwrap().unwrap();
            assert_eq!(read(reader), (few(), vec![]), "{format}");
        }
    }
}

#[test]
fn a_new_name_stands_for_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let file = bytes(format, &[terms("lab")], &few());
        let reader = open(folder.path(), &file).unwrap().unwrap().rename("elsewhere").unwrap();
        assert!(reader.terms().iter().all(|info| info.name == "elsewhere" && info.licence == "CC0-1.0"));
        let (back, refused) = read(reader);
        assert_eq!(refused, []);
        let ids: Vec<&str> = back.iter().map(|r| r.id.as_str()).collect();
        assert_eq!(ids, ["elsewhere/1", "elsewhere/2", "elsewhere/3", "elsewhere/4", "elsewhere/5"], "{format}");
        assert_eq!(&*back[0].measurements[1].property, "elsewhere:wear_rate");
        let named = open(folder.path(), &file).unwrap().unwrap().rename("No Name");
        assert!(matches!(named, Err(NativeError::Name(_))));
    }
    let two = bytes(Format::JsonLines, &[terms("lab"), terms("other")], &few());
    let refused = open(folder.path(), &two).unwrap().unwrap().rename("x").unwrap_err();
    assert!(refused.to_string().contains("lab, other"), "{refused}");
}

#[test]
fn a_bad_record_is_refused_with_its_line_and_the_others_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let lines = String::from_utf8(bytes(Format::JsonLines, &[terms("lab")], &few())).unwrap();
    for (from, to, why) in [
        ("\"id\":\"lab/2\"", "\"id\":\"lab\"", "no record id"),
        ("\"id\":\"lab/2\"", "\"id\":\"foreign/2\"", "names no dataset `foreign`"),
        ("\"formula\":\"AsGa\"", "\"formula\":\"GaAs\"", "canonical form, `AsGa`"),
        ("\"formula\":\"AsGa\"", "\"formula\":\"Qq\"", "formula:"),
        ("\"band_gap\"", "\"band_gab\"", "band_gap"),
        ("\"measured\"", "\"predicted\"", "evidence"),
        ("\"measured\"", "\"guessed\"", "no record"),
        ("\"value\":2.0", "\"value\":1e999", "no record"),
        ("\"value\":2.0", "\"value\":null", "no record"),
        ("\"formula\":", "\"space_group\":231,\"formula\":", "space group 231"),
        ("[[0.0,0.0,0.0],", "[", "1 positions and 2 species"),
        ("0.75", "1.75", "occupancy"),
        ("{", "[", "no record"),
    ] {
        let mut edited: Vec<String> = lines.lines().map(str::to_owned).collect();
        assert!(edited[2].contains(from), "{from}: {}", edited[2]);
        edited[2] = edited[2].replacen(from, to, 1);
        let (back, refused) = read(open(folder.path(), edited.join("\n").as_bytes()).unwrap().unwrap());
        assert_eq!(back.len(), 4, "{to}");
        let [(3, said)] = refused.as_slice() else { panic!("{to}: {refused:?}") };
        assert!(said.contains(why), "{to}: {said}");
    }
}

#[test]
fn rows_of_one_record_stand_or_fall_together() {
    let folder = tempfile::tempdir().unwrap();
    let rows = String::from_utf8(bytes(Format::Csv, &[], &few())).unwrap();
    for (from, to, why) in [
        ("2.0,,,,measured", "2.0,,,,", "evidence"),
        ("2.0,,,,measured", "two,,,,measured", "`two` in `value`"),
        ("2.0,,,,measured", "NaN,,,,measured", "finite"),
        ("lab/2,", "lab/2,another name", "differ in `name`"),
        ("lab:wear_rate", "", "no property"),
        (",lab:wear_rate", "", "19 cells"),
    ] {
        let mut edited: Vec<String> = rows.lines().map(str::to_owned).collect();
        assert!(edited[4].contains(from), "{from}: {}", edited[4]);
        edited[4] = edited[4].replacen(from, to, 1);
        let (back, refused) = read(open(folder.path(), edited.join("\n").as_bytes()).unwrap().unwrap());
        assert_eq!(back.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["lab/1", "lab/3", "lab/4", "lab/5"]);
        let [(4, said)] = refused.as_slice() else { panic!("{to}: {refused:?}") };
        assert!(said.contains(why), "{to}: {said}");
    }
}

#[test]
fn files_of_others_are_not_ours_and_newer_ones_say_so() {
    let folder = tempfile::tempdir().unwrap();
    for other in [
        "",
        "id,name\n1,x\n",
        "{\"id\": 1}\n",
        "{\"x-optimade\": {\"meta\": {\"api_version\": \"1.1.0\"}}}\n",
        "{\"title\": \"matgenome\", \"matgenome\": 3}\n",
        "PAR1 and no more",
        "\u{1f}\u{8b}no gzip",
    ] {
        assert!(matches!(open(folder.path(), other.as_bytes()), Ok(None)), "{other}");
    }
    let newer = "{\"matgenome\":{\"format\":2,\"datasets\":[]}}\n";
    let said = open(folder.path(), newer.as_bytes()).unwrap_err().to_string();
    assert!(said.contains("format 2"), "{said}");
    let damaged = "{\"matgenome\":{\"format\":1,\"datasets\":[{\"name\":\"A b\"}]}}\n";
    assert!(open(folder.path(), damaged.as_bytes()).unwrap_err().to_string().contains("`A b` is no dataset name"));
}

#[test]
fn a_line_without_end_takes_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("export");
    let long = vec![b'x'; (64 << 20) + (1 << 20)];
    let few = few();
    let mut lines = bytes(Format::JsonLines, &[terms("lab")], &few);
    lines.extend(&long);
    lines.push(b'\n');
    lines.extend(serde_json::to_vec(&few[0]).unwrap());
    fs::write(&path, &lines).unwrap();
    let (back, refused) = read(native::open(&path).unwrap().unwrap());
    assert_eq!((back.len(), refused.len()), (6, 1));
    assert!(refused[0].1.contains("longer than 64 MiB"));
    let mut rows = bytes(Format::Csv, &[], &few);
    rows.extend(b"\"");
    rows.extend(&long);
    rows.extend(b"\n");
    fs::write(&path, &rows).unwrap();
    let stopped = native::open(&path).unwrap().unwrap().find_map(Result::err).unwrap();
    assert!(stopped.to_string().contains("a row is longer"), "{stopped}");
}

#[test]
fn everything_that_comes_with_the_program_goes_out_and_in_again() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut table = runtime.block_on(Table::open_or_create(&folder.path().join("hub"))).unwrap();
    runtime.block_on(bundled::load(&mut table)).unwrap();
    let datasets = table.datasets().unwrap();
    let names: Vec<String> = datasets.keys().cloned().collect();
    let total: u64 = bundled::catalogue().unwrap().dataset.iter().map(|d| d.records).sum();
    std::thread::scope(|scope| {
        for format in Format::ALL {
            let (table, names, datasets, folder) = (&table, &names, &datasets, folder.path());
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let path = folder.join(format.as_str());
                let export = Export::new(table, names, None, format).unwrap();
                let mut out = BufWriter::new(File::create(&path).unwrap());
                assert_eq!(runtime.block_on(export.write_to(&mut out)).unwrap(), total);
                let reader = native::open(&path).unwrap().unwrap();
                if format != Format::Csv {
                    assert_eq!(reader.terms(), datasets.values().cloned().collect::<Vec<_>>());
                }
                let mut want = table.in_order(names).unwrap();
                let mut batch = Vec::new().into_iter();
                let mut count = 0;
                let mut last = String::new();
                for item in reader {
                    let Item::Record { record, line } = item.unwrap() else { panic!("{format}") };
                    let next = batch.next().unwrap_or_else(|| {
                        batch = runtime.block_on(want.next_batch(1000)).unwrap().into_iter();
                        batch.next().unwrap()
                    });
                    assert_eq!(*record, next, "{format}, line {line}");
                    assert!(last < next.id, "{last} and {}", next.id);
                    last = next.id;
                    count += 1;
                }
                assert_eq!(count, total, "{format}");
                fs::remove_file(path).unwrap();
            });
        }
    });
}
