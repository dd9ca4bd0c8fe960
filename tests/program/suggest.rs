//! Forms of an answer on the command line.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Float64Type, UInt32Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::program::{Lab, SPEC, materials, run, text, tree};

fn column(batches: &[RecordBatch], name: &str) -> Vec<String> {
    let texts = batches.iter().flat_map(|b| {
        let column = b.column_by_name(name).unwrap().as_string::<i32>().clone();
        (0..column.len()).map(move |i| column.value(i).to_owned()).collect::<Vec<_>>()
    });
    texts.collect()
}

#[test]
fn every_form_holds_the_same_candidates() {
    let lab = Lab::filled();
    let before = tree(&lab.data());
    let answer = lab.suggest(SPEC, &["--format", "json"]).json();
    let want = materials(&answer);
    assert_eq!(want.len(), 8, "all with both values, after the filter: {want:?}");
    let scores: Vec<f64> =
        answer["candidates"].as_array().unwrap().iter().map(|c| c["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted() && scores.iter().all(|s| *s >= 0.0), "{scores:?}");

    let check = |batches: &[RecordBatch]| {
        assert_eq!(column(batches, "material"), want);
        let batch = &batches[0];
        assert_eq!(batch.column_by_name("rank").unwrap().as_primitive::<UInt32Type>().value(0), 1);
        let found: Vec<f64> = batch.column_by_name("score").unwrap().as_primitive::<Float64Type>().values().to_vec();
        assert_eq!(found, scores);
        assert_eq!(column(batches, "density_unit")[0], "kg/m^3", "in the unit of the spec");
        assert_eq!(column(batches, "band_gap_evidence")[0], "measured");
    };

    let arrow = lab.suggest(SPEC, &["--format", "arrow"]);
    assert_eq!(arrow.code, Some(0));
    let reader = arrow::ipc::reader::StreamReader::try_new(arrow.out.as_slice(), None).unwrap();
    check(&reader.collect::<Result<Vec<_>, _>>().unwrap());

    let file = lab.path("answer.parquet");
    let done = lab.suggest(SPEC, &["--format", "parquet", "--out", text(&file)]);
    assert_eq!((done.code, done.out.len()), (Some(0), 0), "{done:?}");
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&file).unwrap()).unwrap().build().unwrap();
    check(&reader.collect::<Result<Vec<_>, _>>().unwrap());

    let csv = lab.suggest(SPEC, &["--format", "csv"]).text();
    let lines: Vec<&str> = csv.lines().collect();
    assert!(
        lines[0].starts_with("rank,material,formula,name,score,probability,verdict,band_gap,band_gap_unit"),
        "{csv}"
    );
    assert_eq!(lines.len(), want.len() + 1);
    for (line, id) in lines[1..].iter().zip(&want) {
        assert_eq!(line.split(',').nth(1), Some(id.as_str()), "{line}");
    }

    let table = lab.suggest(SPEC, &[]).text();
    let rows: Vec<&str> = table.lines().filter(|line| line.contains(" pass ")).collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(
        table.contains("3 materials meet all targets") && table.contains("GaAs") && table.contains("[kg/m^3]"),
        "{table}"
    );

    // to a file, from a file: the same
    let (spec, out) = (lab.file("spec.json", SPEC), lab.path("answer.json"));
    let done = lab.run(&["suggest", text(&spec), "--format", "json", "--out", text(&out)]);
    assert_eq!((done.code, done.out.len()), (Some(0), 0), "{done:?}");
    let written: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(written["candidates"], answer["candidates"]);
    assert_eq!(tree(&lab.data()), before, "asking changes nothing");
}

#[test]
fn every_form_shows_how_like_a_material_candidates_are() {
    let lab = Lab::filled();
    let spec = SPEC.replace("\"filter\"", "\"like\": {\"material\": \"GaAs\", \"weight\": 1e6}, \"filter\"");
    let answer = lab.suggest(&spec, &["--format", "json"]).json();
    let candidates = answer["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 7, "without GaAs itself");
    let distances: Vec<f64> = candidates.iter().map(|c| c["like"]["distance"].as_f64().unwrap()).collect();
    assert!(distances.is_sorted() && distances[0] > 0.0, "it is all that counts: {distances:?}");
    assert_eq!(candidates[0]["like"]["by"], "composition");
    assert_eq!(candidates[0]["like"]["to"], "AsGa");
    assert_eq!(answer["meta"]["like"]["asked"]["formula"], "GaAs");
    let near = lab.run(&["similar", "GaAs", "--format", "json"]).json();
    let near = near["candidates"].as_array().unwrap();
    for candidate in candidates {
        let there = near.iter().find(|c| c["material"] == candidate["material"]).unwrap();
        assert_eq!(there["distance"], candidate["like"]["distance"]);
    }
    let csv = lab.suggest(&spec, &["--format", "csv"]).text();
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let column = rows.headers().unwrap().iter().position(|name| name == "like_distance").unwrap();
    let told: Vec<f64> = rows.records().map(|row| row.unwrap()[column].parse().unwrap()).collect();
    assert_eq!(told, distances);
    let table = lab.suggest(&spec, &[]).text();
    assert!(table.contains("distance to GaAs") && table.contains("costs 1; 7 that match have a place"), "{table}");
    // the table of likeness alone
    let alone = lab.suggest("{\"like\": {\"material\": \"GaAs\"}}", &[]);
    assert_eq!(alone.code, Some(0));
    assert!(alone.text().contains("9 that match the filter and 10 searched"), "{}", alone.text());
    assert!(!alone.text().contains("targets"), "{}", alone.text());
}

#[test]
fn limits_and_pages() {
    let lab = Lab::filled();
    let all = materials(&lab.suggest(SPEC, &["--format", "json"]).json());
    for limit in [1, 3, 8, 1000] {
        let found = materials(&lab.suggest(SPEC, &["--format", "json", "--limit", &limit.to_string()]).json());
        assert_eq!(found, all[..limit.min(all.len())], "limit {limit}");
    }
    let paged = SPEC.replace("\"filter\"", "\"limit\": 2, \"offset\": 3, \"filter\"");
    let page = lab.suggest(&paged, &["--format", "json"]).json();
    assert_eq!(materials(&page), all[3..5]);
    assert_eq!(page["candidates"][0]["rank"], 4);
    let beyond = SPEC.replace("\"filter\"", "\"offset\": 100, \"filter\"");
    assert!(materials(&lab.suggest(&beyond, &["--format", "json"]).json()).is_empty());
}

#[test]
fn nothing_that_meets_the_spec_is_code_4_and_still_an_answer() {
    let lab = Lab::filled();
    let spec = "{\"targets\": [{\"property\": \"band_gap\", \"min\": 20}]}";
    for format in ["table", "json", "csv", "arrow"] {
        let done = lab.suggest(spec, &["--format", format]);
        assert_eq!((done.code, done.err.as_str()), (Some(4), ""), "{format}");
        assert!(!done.out.is_empty(), "{format}: the nearest are shown");
    }
    let none = "{\"targets\": [{\"property\": \"band_gap\", \"min\": 1}], \"filter\": \"nelements = 50\"}";
    for format in ["table", "json", "csv", "arrow"] {
        let done = lab.suggest(none, &["--format", format]);
        assert_eq!((done.code, done.err.as_str()), (Some(4), ""), "{format}");
    }
    let out = lab.path("none.parquet");
    assert_eq!(lab.suggest(none, &["--format", "parquet", "--out", text(&out)]).code, Some(4));
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&out).unwrap()).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    // also where the hub holds nothing at all
    let empty = Lab::empty();
    let done = empty.suggest(spec, &[]);
    assert_eq!((done.code, done.err.as_str()), (Some(4), ""));
    assert!(done.text().contains("no candidates: 0 materials searched"), "{}", done.text());
}

#[test]
fn units_of_the_spec_do_not_change_the_order() {
    let lab = Lab::filled();
    let a = lab.suggest(SPEC, &["--format", "json"]).json();
    let other = SPEC
        .replace("\"min\": 1.1, \"max\": 1.6, \"unit\": \"eV\"", "\"min\": 1100, \"max\": 1600, \"unit\": \"meV\"")
        .replace("\"max\": 5000, \"unit\": \"kg/m^3\"", "\"max\": 5");
    assert_ne!(other, SPEC);
    assert_eq!(materials(&lab.suggest(&other, &["--format", "json"]).json()), materials(&a));
}

#[test]
fn lists_that_need_no_data() {
    let listed = run(&["properties", "--json"]).json();
    let listed = listed["properties"].as_array().unwrap();
    assert!(listed.len() >= 60);
    assert!(listed.iter().all(|p| p["key"].is_string() && p["unit"].is_string() && p["axis"].is_string()));
    let found = run(&["properties", "gap"]).text();
    assert!(found.contains("band_gap") && !found.contains("viscosity"), "{found}");
    assert_eq!(run(&["--version"]).text().trim(), format!("matgenome {}", env!("CARGO_PKG_VERSION")));
    let help = run(&["--help"]).text();
    for word in ["serve", "ingest", "suggest", "show", "properties", "datasets", "history", "doctor", "Exit codes"] {
        assert!(help.contains(word), "{word} is not in the help");
    }
}

#[test]
fn doctor_says_the_machine_the_device_and_the_data_and_changes_nothing() {
    let lab = Lab::empty();
    let said = lab.run(&["doctor"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for word in ["program", "machine", "cpu", "gpu", "takes", "empty; the first command fills it"] {
        assert!(said.text().contains(word), "no {word}: {}", said.text());
    }
    assert!(tree(&lab.data()).is_empty());
    let lab = Lab::filled();
    let before = tree(&lab.data());
    let said = lab.run(&["doctor"]).text();
    assert!(said.contains("version 1, 10 records in 1 files") && said.contains("kept and sound"), "{said}");
    assert_eq!(tree(&lab.data()), before);
    // a damaged snapshot is said, and built anew by the next command
    let manifest = lab.data().join("snapshots/v1/manifest.json");
    std::fs::write(&manifest, "{").unwrap();
    let said = lab.run(&["doctor"]).text();
    assert!(said.contains("will be built anew"), "{said}");
    assert_eq!(materials(&lab.suggest(SPEC, &["--format", "json"]).json()).len(), 8);
    assert!(lab.run(&["doctor"]).text().contains("kept and sound"));
}
