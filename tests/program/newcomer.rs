//! The first hour of somebody new: files without a mapping, the beginnings of one, files of refused rows.

use crate::program::{Ended, Lab, command, text};

const WEAR: &str = "Sample,Composition (at%),YS (MPa),Density [g/cm3],Test T (C)\n\
                    W-1,CoCrFeNi,310,8.2,25\nW-2,CoCrFeNi,210,8.2,600\nW-3,Al0.5CoCrFeNi,402,7.7,25\n";

/// A mapping of two files.
const TWO: &str = "record = { id = [\"n\"], join = true }\nmaterial = { formula = \"f\" }\ndefaults = { evidence = \"measured\" }\n\
                   [[value]]\nfile = \"a.csv\"\ncolumn = \"gap\"\nproperty = \"band_gap\"\n\
                   [[value]]\nfile = \"b.csv\"\ncolumn = \"rho\"\nproperty = \"density\"\n";

#[test]
fn a_file_without_a_mapping_is_placed_aloud() {
    let lab = Lab::empty();
    let file = lab.file("wear.csv", WEAR);
    let arguments = ["ingest", text(&file), "--evidence", "measured", "--dataset", "wear"];
    let done = lab.run(&arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    let said = done.text();
    for words in [
        "no mapping says which column is what",
        "`Sample`: id",
        "`Composition (at%)`: formula",
        "`YS (MPa)`: yield_strength in MPa",
        "`Test T (C)`: condition",
        "3 records new",
    ] {
        assert!(said.contains(words), "no {words} in: {said}");
    }
    let shown = lab.run(&["show", "CoCrFeNi", "--json"]).json();
    let strength = shown["properties"].as_array().unwrap().iter().find(|p| p["property"] == "yield_strength").unwrap();
    let mut kelvin: Vec<f64> =
        strength["values"].as_array().unwrap().iter().map(|v| v["temperature_k"].as_f64().unwrap().round()).collect();
    kelvin.sort_by(f64::total_cmp);
    assert_eq!(kelvin, [298.0, 873.0], "25 and 600 °C are two conditions: {strength}");
    // a corrected cell replaces its record
    lab.file("wear.csv", &WEAR.replace("310", "320"));
    assert!(lab.run(&arguments).text().contains("0 records new, 1 updated, 2 unchanged"));
}

#[test]
fn conditions_and_bounds_are_shown_with_their_values() {
    let lab = Lab::empty();
    let file =
        lab.file("load.csv", "id,formula,YS,T,p,axis\n1,Cu,<27,25,2,[100]\n2,Ni,5-7,600,,[111]\n3,Zn,150,25,,\n");
    let map = lab.file(
        "load.toml",
        "record = { id = [\"id\"] }\nmaterial = { formula = \"formula\" }\ndefaults = { evidence = \"measured\" }\n\
         [[value]]\ncolumn = \"YS\"\nproperty = \"yield_strength\"\nunit = \"MPa\"\n\
         temperature = { column = \"T\", unit = \"°C\" }\npressure = { column = \"p\", unit = \"GPa\" }\n\
         conditions = { direction = { column = \"axis\" } }\n",
    );
    let done = lab.run(&["ingest", text(&file), "--mapping", text(&map), "--dataset", "load"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    for (material, words) in [
        ("Cu", vec!["13.5 (stated as <27)", "298.15", "2 GPa, direction [100]"]),
        ("Ni", vec!["6 (given 5-7)", "873.15", "direction [111]"]),
    ] {
        let shown = lab.run(&["show", material]).text();
        words.iter().for_each(|word| assert!(shown.contains(word), "no {word} in: {shown}"));
    }
    let bare = lab.run(&["show", "Zn"]).text();
    assert!(!bare.contains("conditions"), "a column of nothing: {bare}");
    let spec = r#"{"targets": [{"property": "yield_strength", "max": 1, "unit": "GPa"}]}"#;
    let answer = lab.suggest(spec, &[]).text();
    for words in ["0.0135 ± 0.0135 (stated as <0.027)", "2 GPa, direction [100]", "873.15 K, direction [111]"] {
        assert!(answer.contains(words), "no {words} in: {answer}");
    }
    let csv = lab.suggest(spec, &["--format", "csv"]).text();
    assert!(csv.lines().next().is_some_and(|header| header.contains(",yield_strength_stated,")), "{csv}");
    let bound = r#""qualifier"":""<"",""bound"":0.027,""given"":""<27""#;
    for words in [bound, r#""pressure_pa"":2000000000.0"#, r#"{""temperature_k"":873.15,"#] {
        assert_eq!(csv.lines().filter(|line| line.contains(words)).count(), 1, "{words} in: {csv}");
    }
}

#[test]
fn numbers_without_a_place_are_not_dropped_without_a_word() {
    let lab = Lab::empty();
    let file = lab.file("wear.csv", &WEAR.replace("Test T (C)", "my wear rate (mm3/Nm)"));
    let mut arguments = vec!["ingest", text(&file), "--evidence", "measured", "--dataset", "wear"];
    lab.run(&arguments).failed(2, &["`my wear rate (mm3/Nm)`", "have no place", "--write-mapping"]);
    arguments.push("--dry-run");
    let dry = lab.run(&arguments);
    assert_eq!(dry.code, Some(2), "{dry:?}");
    assert!(dry.text().contains("to be stated: column `my wear rate (mm3/Nm)`"), "{}", dry.text());
    assert!(!dry.err.contains("wear rate"), "said once: {}", dry.err);
}

#[test]
fn a_proposal_is_written_with_comments_and_never_over_a_file() {
    let lab = Lab::empty();
    let file = lab.file("wear.csv", &WEAR.replace("Test T (C)", "wear of ball"));
    let map = lab.path("wear.toml");
    let arguments = ["ingest", text(&file), "--dataset", "wear", "--write-mapping", text(&map)];
    assert_eq!(lab.run(&arguments).code, Some(0));
    let written = std::fs::read_to_string(&map).unwrap();
    for words in
        ["[dataset]\nname = \"wear\"", "# to be stated: ", "`wear of ball`", "# licence", "[material]", "id = ["]
    {
        assert!(written.contains(words), "no {words} in: {written}");
    }
    lab.run(&arguments).failed(2, &["wear.toml is there already"]);
    assert_eq!(std::fs::read_to_string(&map).unwrap(), written);
    // with what was to be stated it is a mapping
    std::fs::write(&map, format!("{written}\n[defaults]\nevidence = \"measured\"\n")).unwrap();
    let done = lab.run(&["ingest", text(&file), "--mapping", text(&map)]);
    assert_eq!(done.code, Some(0), "{done:?}\n{written}");
    lab.run(&["ingest", text(&file), "--mapping", text(&map), "--evidence", "measured"]).failed(2, &["--evidence"]);
    let other = lab.path("other.toml");
    lab.run(&["ingest", text(&file), "--mapping", text(&map), "--write-mapping", text(&other)])
        .failed(2, &["--write-mapping"]);
}

#[test]
fn the_beginning_of_a_mapping_is_completed() {
    let lab = Lab::empty();
    let german = "Prüfbericht 7\nProbe;Zusammensetzung / composition;Yield strength [MPa];Density [g/cm3]\n\
                  A-1;Al5Co23,75Cr23,75Fe23,75Ni23,75;612,5;7,71\nA-2;CoCrFeNi;n/a;8,21\n";
    let file = lab.file("german.csv", german);
    let start = lab.file("start.toml", "[read]\ndecimal = \",\"\nskip = 1\n[defaults]\nevidence = \"measured\"\n");
    let arguments = ["ingest", text(&file), "--mapping", text(&start), "--dataset", "german"];
    let done = lab.run(&arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    let said = done.text();
    for words in ["`n/a` stands among numbers", "density in g/cm3", "2 records new"] {
        assert!(said.contains(words), "no {words} in: {said}");
    }
    let map = lab.path("whole.toml");
    assert_eq!(lab.run(&[&arguments[..], &["--write-mapping", text(&map)]].concat()).code, Some(0));
    let written = std::fs::read_to_string(&map).unwrap();
    assert!(written.contains("skip = 1") && written.contains("\"n/a\"") && written.contains("evidence"), "{written}");
    let again = lab.run(&["ingest", text(&file), "--mapping", text(&map)]);
    assert!(again.text().contains("0 records new, 0 updated, 2 unchanged"), "{again:?}");
    // without the decimal comma the numbers would be texts, and the program says what is to be said
    let bare = lab.file("bare.toml", "[read]\nskip = 1\n");
    lab.run(&["ingest", text(&file), "--mapping", text(&bare), "--dataset", "german", "--evidence", "measured"])
        .failed(2, &["`Density [g/cm3]`", "decimal = \",\""]);
}

#[test]
fn refused_rows_of_one_of_several_files_can_be_ingested_when_they_are_mended() {
    let lab = Lab::empty();
    let a = lab.file("a.csv", "n,f,gap\n1,Si,1.1\n2,GaAs,wide\n");
    let b = lab.file("b.csv", "n,f,rho\n1,Si,2.33\n");
    let (map, refused) = (lab.file("two.toml", TWO), lab.path("refused"));
    let done = lab.run(&[
        "ingest",
        text(&a),
        text(&b),
        "--mapping",
        text(&map),
        "--dataset",
        "two",
        "--refused",
        text(&refused),
    ]);
    assert_eq!(done.code, Some(3), "{done:?}");
    let rest = refused.join("a.refused.csv");
    let mended = std::fs::read_to_string(&rest).unwrap().replace("wide", "1.42");
    std::fs::write(&rest, mended).unwrap();
    let done = lab.run(&["ingest", text(&rest), "--mapping", text(&map), "--dataset", "two"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.text().contains("1 records new"), "{}", done.text());
    // a whole file that is missing is still an error, and one of the mapping
    lab.run(&["ingest", text(&a), "--mapping", text(&map), "--dataset", "two"]).failed(2, &["`b.csv`"]);
}

#[test]
fn an_export_may_have_a_bare_name() {
    let lab = Lab::filled();
    let data = lab.data();
    for (format, name) in [("csv", "all.csv"), ("parquet", "all.parquet"), ("jsonl", "all.jsonl")] {
        let mut command =
            command(&["export", "lab", "--format", format, "--out", name, "--no-bundled", "--data", text(&data)]);
        let done = Ended::of(command.current_dir(lab.folder.path()));
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(lab.path(name).metadata().unwrap().len() > 100, "{name}");
    }
}

#[test]
fn a_file_that_is_no_text_of_this_encoding_fails_as_a_whole() {
    let lab = Lab::empty();
    let path = lab.path("latin.csv");
    std::fs::write(&path, b"formula,gap (eV),Pr\xfcfer\nSi,1.1,M\xfcller\n").unwrap();
    let arguments = ["ingest", text(&path), "--evidence", "measured", "--dataset", "x"];
    lab.run(&arguments).failed(1, &["latin.csv", "header", "encoding = \"latin-1\"", "Windows-1252"]);
    let start = lab.file("start.toml", "[read]\nencoding = \"latin-1\"\n");
    let done = lab.run(&[&arguments[..], &["--mapping", text(&start)]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    std::fs::write(&path, b"f\x00o\x00,\x00g\x00\n\x00S\x00,\x001\x00\n").unwrap();
    lab.run(&arguments).failed(1, &["no text", "utf-16le"]);
}

#[test]
fn scripts_get_what_became_of_a_job_as_json() {
    let lab = Lab::empty();
    let (map, refused) = (lab.path("map.toml"), lab.path("refused"));
    let rows = lab.file("more.csv", "run,formula,gap,rho,note\n1,GaAs,1.42,5.32,\n2,Xx,1,1,\n");
    let arguments = ["ingest", text(&rows), "--mapping", text(&map), "--refused", text(&refused), "--json"];
    let dry = lab.run(&[&arguments[..], &["--dry-run"]].concat());
    let of = |done: &Ended| -> serde_json::Value {
        assert_eq!(done.code, Some(3), "{done:?}");
        serde_json::from_slice(&done.out).unwrap()
    };
    let dry = of(&dry);
    assert_eq!(
        (dry["dry_run"].as_bool(), dry["committed"].as_bool(), dry["version"].is_null()),
        (Some(true), Some(false), true)
    );
    let done = of(&lab.run(&arguments));
    assert_eq!(
        done["rows"],
        serde_json::json!({"read": 2, "accepted": 1, "refused": 1, "unchanged": 0, "left_out": 0})
    );
    assert_eq!((done["dataset"].as_str(), done["records"]["inserted"].as_u64()), (Some("lab"), Some(1)));
    assert_eq!((done["version"].as_u64(), done["committed"].as_bool()), (Some(1), Some(true)));
    assert_eq!(done["findings"][0]["code"], "bad_formula");
    assert_eq!(done["findings"][0]["examples"][0]["row"], 3);
    let file = done["refused"][0].as_str().unwrap();
    assert!(std::fs::read_to_string(file).unwrap().contains("2,Xx,1,1"), "{file}");
}

#[test]
fn columns_that_a_mapping_does_not_mention_are_named() {
    let lab = Lab::empty();
    let rows = "run,formula,gap,rho,note,operator,photo\n1,GaAs,1.42,5.32,,me,a.png\n";
    let done = lab.ingest(rows, &[]);
    assert!(done.text().contains("not used: columns `operator`, `photo`"), "{done:?}");
    assert_eq!(lab.ingest(rows, &["--json"]).json()["not_used"], serde_json::json!(["operator", "photo"]));
    let map = std::fs::read_to_string(lab.path("map.toml")).unwrap();
    lab.file("map.toml", &format!("{map}\n[read]\nignore = [\"operator\", \"ph*\"]\n"));
    assert!(!lab.ingest(rows, &[]).text().contains("not used"));
}

#[test]
fn a_bound_meets_no_target_beyond_it() {
    let lab = Lab::empty();
    lab.ingest("run,formula,gap,rho,note\n1,GaAs,<2,5.32,\n2,Si,>3,2.33,\n", &[]);
    for window in ["\"min\": 2", "\"max\": 3"] {
        let spec = format!("{{\"targets\": [{{\"property\": \"band_gap\", {window}, \"unit\": \"eV\"}}]}}");
        let answer = lab.suggest(&spec, &["--format", "json"]).json();
        assert_eq!(answer["meta"]["passing"]["all"], 1, "{window}: {answer}");
    }
}
