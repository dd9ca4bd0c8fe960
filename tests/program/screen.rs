//! Predicting and screening, as a lab does it.

use serde_json::Value;

use crate::program::{Lab, command, text};
use crate::server::{Server, poll};

const METALS: [&str; 12] = ["Al", "Cr", "Fe", "Hf", "Mo", "Nb", "Ni", "Ta", "Ti", "V", "W", "Zr"];

/// A lab with nitrides, carbides and borides, of which those of zirconium have no density.
fn lab() -> Lab {
    let lab = Lab::empty();
    let mut rows = String::from("run,formula,gap,rho,note\n");
    for (i, metal) in METALS.iter().enumerate() {
        for (j, other) in ["N", "C", "B"].iter().enumerate() {
            let density =
                if *metal == "Zr" { String::new() } else { (4.0 + 0.8 * i as f64 + 0.3 * j as f64).to_string() };
            rows.push_str(&format!("{metal}{other},{metal}{other},{},{density},\n", 0.1 + 0.1 * j as f64));
        }
    }
    let done = lab.ingest(&rows, &[]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    lab
}

fn rows(csv: &str) -> Vec<Vec<&str>> {
    csv.lines().map(|line| line.split(',').collect()).collect()
}

#[test]
fn a_file_of_formulas_comes_back_with_what_is_said_of_them() {
    let lab = lab();
    let at = |name: &str| lab.folder.path().join(name);
    std::fs::write(at("c.csv"), "no,Formula\n1,TiN\n2,ZrN\n3,Ti0.5Zr0.5N\n4,2-Feb\n").unwrap();
    std::fs::write(at("spec.json"), r#"{"targets": [{"property": "density", "max": 30}]}"#).unwrap();
    let (candidates, spec, out) = (at("c.csv"), at("spec.json"), at("out.csv"));
    let arguments = ["screen", text(&candidates), "--spec", text(&spec), "--property", "band_gap", "--out", text(&out)];
    let done = lab.run(&arguments);
    assert_eq!((done.code, done.text().as_str()), (Some(0), ""), "{}", done.err);
    let written = std::fs::read_to_string(&out).unwrap();
    let rows = rows(&written);
    let column =
        |name: &str| rows[0].iter().position(|own| *own == name).unwrap_or_else(|| panic!("{name} in {:?}", rows[0]));
    let (verdict, evidence, error) = (column("verdict"), column("density_evidence"), column("error"));
    assert_eq!((column("no"), column("Formula"), rows.len()), (0, 1, 5), "the own columns come first");
    assert_eq!((rows[1][verdict], rows[1][evidence]), ("pass", "measured"));
    for predicted in [2, 3] {
        let row = &rows[predicted];
        assert_eq!((row[verdict], row[evidence]), ("unknown", "predicted"), "{row:?}");
        let number = |name: &str| row[column(name)].parse::<f64>().unwrap();
        assert!(number("density_lower") < number("density") && number("density") < number("density_upper"));
        assert!(number("probability") > 0.9);
    }
    assert!(rows[4][error].contains("2-Feb") && rows[4][verdict].is_empty(), "{:?}", rows[4]);

    // the same as a document; and an exit code for scripts where nothing can meet the spec
    let json = lab.run(&["screen", text(&candidates), "--property", "density", "--format", "json"]).json();
    assert_eq!(json["results"][1]["properties"]["density"]["neighbours"].as_array().unwrap().len(), 3);
    std::fs::write(at("known.csv"), "formula\nTiN\nWC\n").unwrap();
    std::fs::write(at("spec.json"), r#"{"targets": [{"property": "density", "min": 29}]}"#).unwrap();
    let none = lab.run(&["screen", text(&at("known.csv")), "--spec", text(&spec)]);
    assert_eq!(none.code, Some(4), "{}", none.err);
    assert!(none.text().contains("2 fail"), "{}", none.text());

    for (file, words) in [("a,b\n1,2\n", "--formula"), ("formula\n", "no row"), ("", "no column")] {
        std::fs::write(at("bad.csv"), file).unwrap();
        lab.run(&["screen", text(&at("bad.csv")), "--property", "density"]).failed(2, &[words]);
    }
    lab.run(&["screen", text(&candidates)]).failed(2, &["spec"]);
    lab.run(&["screen", text(&candidates), "--property", "densitty"]).failed(2, &["density"]);
    lab.run(&["screen", text(&candidates), "--formula", "x", "--property", "density"]).failed(2, &["no column x"]);
}

#[test]
fn predictions_made_ahead_are_in_every_answer() {
    let lab = lab();
    let spec = r#"{"targets": [{"property": "density", "min": 1}], "filter": "elements HAS \"Zr\""}"#;
    let ask = || lab.suggest(spec, &["--format", "json"]);
    let json = |ended: crate::program::Ended| -> Value { serde_json::from_slice(&ended.out).unwrap() };
    let before = json(ask());
    assert!(before["meta"]["unpredicted"]["density"].as_str().unwrap().contains("matgenome predict"), "{before}");
    let done = lab.run(&["predict"]);
    assert_eq!((done.code, done.text().as_str()), (Some(0), "2 properties are predicted\n"), "{}", done.err);
    let after = json(ask());
    assert_eq!(after["meta"].get("unpredicted"), None);
    let target = &after["candidates"][0]["targets"][0];
    assert_eq!((target["evidence"].as_str(), target["verdict"].as_str()), (Some("predicted"), Some("unknown")));
    assert!(
        target["neighbours"][0]["value"].is_number() && target["neighbours"][0]["distance"].is_number(),
        "{target}"
    );
    // and of one material, where it is asked for, what is not known
    let shown = lab.run(&["show", "ZrN", "--predicted", "--json"]).json();
    let predicted = shown["predicted"].as_object().unwrap();
    assert_eq!(predicted.keys().collect::<Vec<_>>(), ["density"], "its band gap is known");
    assert_eq!(predicted["density"]["neighbours"].as_array().unwrap().len(), 3);
    let table = lab.run(&["show", "ZrN", "--predicted"]).text();
    assert!(table.contains("90 % interval") && table.contains("density"), "{table}");
    assert_eq!(lab.run(&["show", "ZrN", "--json"]).json().get("predicted"), None);
    lab.run(&["predict", "densitty"]).failed(2, &["density"]);
}

#[test]
fn a_server_predicts_in_the_background_and_screens() {
    let lab = lab();
    let mut serving = command(&["serve", "--listen", "127.0.0.1:0", "--no-bundled", "--data", text(&lab.data())]);
    serving.env_remove("MATGENOME_NO_PREDICTIONS");
    let server = Server::run(serving);
    poll("predictions", || {
        let health = server.get("/healthz").json();
        (health["predicted"]["ready"] == 2 && health["predicted"]["of"] == 2).then_some(())
    });
    let question = br#"{"candidates": [{"formula": "TiN"}, {"formula": "ZrN"}, {"formula": "?"}],
        "spec": {"targets": [{"property": "density", "min": 1}]}}"#;
    let answer = server.post("/v1/screen", question);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let results = answer.json()["results"].clone();
    assert_eq!(results[0]["properties"]["density"]["evidence"], "measured");
    assert_eq!(results[1]["properties"]["density"]["evidence"], "predicted");
    assert!(results[2]["error"].is_string());
    let shown = server.get("/v1/materials/ZrN?predicted=true").json();
    assert_eq!(shown["predicted"]["density"]["value"], results[1]["properties"]["density"]["value"]);
    assert_eq!(shown["predicted"].as_object().unwrap().len(), 1);
    server.get("/v1/materials/ZrN?predicted=perhaps").problem(400);
    for (body, status, pointer) in [
        (r#"{"candidates": [{"formula": "TiN"}], "properties": ["x"]}"#, 422, "/properties/0"),
        (r#"{"candidates": [{"formula": "TiN", "x": 1}]}"#, 422, "/candidates/0/x"),
    ] {
        let refused = server.post("/v1/screen", body.as_bytes());
        assert_eq!((refused.status, refused.json()["pointer"].as_str()), (status, Some(pointer)), "{}", refused.text());
    }
}

/// A question with more candidates than are answered at once runs by itself.
#[test]
fn a_server_screens_many_formulas_by_itself() {
    let lab = lab();
    let server = Server::ready(&lab.data(), &["--no-bundled"]);
    let formulas = |n: usize| -> Vec<String> { (1..=n).map(|n| format!(r#"{{"formula": "Ti{n}N"}}"#)).collect() };
    let question = |n: usize, properties: &str| {
        format!(r#"{{"candidates": [{}], "properties": ["{properties}"]}}"#, formulas(n).join(","))
    };
    let refused = server.post("/v1/screen", question(2000, "densitty").as_bytes()).problem(422);
    assert_eq!((refused["pointer"].as_str(), refused["closest"][0].as_str()), (Some("/properties/0"), Some("density")));
    let refused = server.post("/v1/screen", question(100_001, "density").as_bytes()).problem(422);
    assert_eq!(refused["pointer"], "/candidates");

    let taken = server.post("/v1/screen", question(1200, "density").as_bytes());
    assert_eq!(taken.status, 202, "{}", taken.text());
    let document = taken.json();
    let (place, results) = (document["links"]["self"].clone(), document["links"]["results"].clone());
    let (place, results) = (place.as_str().unwrap(), results.as_str().unwrap());
    let ended = poll("the screening", || {
        let now = server.get(place).json();
        (now["state"] != "queued" && now["state"] != "running").then_some(now)
    });
    assert_eq!((&ended["state"], &ended["done"], &ended["of"]), (&"done".into(), &1.into(), &1.into()), "{ended}");
    let many = server.get(results).json();
    assert_eq!(many["results"].as_array().unwrap().len(), 1200);
    assert_eq!((&many["meta"], &many["meta"]["known"]), (&ended["meta"], &1.into()));
    let few = server.post("/v1/screen", question(3, "density").as_bytes()).json();
    for at in 0..3 {
        let [many, few] = [&many, &few].map(|of| of["results"][at]["properties"]["density"].clone());
        assert_eq!((&many["value"], &many["sd"]), (&few["value"], &few["sd"]));
    }

    assert_eq!(server.delete(place).status, 204);
    for gone in [place, results, "/v1/screen/none"] {
        server.get(gone).problem(404);
    }
    server.delete(place).problem(404);
}
