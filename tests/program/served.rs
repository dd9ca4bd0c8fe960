//! The server as a client sees it.

use std::io::Write as _;

use serde_json::Value;

use crate::failures::bad_specs;
use crate::http::{self, try_request};
use crate::program::{Lab, SPEC, materials, tree};
use crate::server::{Server, poll};

fn serve(lab: &Lab) -> Server {
    Server::ready(&lab.data(), &["--no-bundled"])
}

#[test]
fn operations_and_documentation() {
    let lab = Lab::filled();
    let server = serve(&lab);
    for path in ["/healthz", "/readyz"] {
        let health = server.get(path).json();
        assert_eq!((health["status"].as_str(), health["version"].as_u64()), (Some("ok"), Some(1)), "{path}");
        assert_eq!(health["materials"], 10);
        assert!(!health["device"].as_str().unwrap().is_empty());
    }
    let description = server.get("/openapi.json");
    assert_eq!((description.status, description.header("content-type")), (200, Some("application/json")));
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(committed).unwrap()).unwrap();
    assert_eq!(description.json(), committed, "what is served is what is committed");

    let home = server.get("/");
    assert!((300..400).contains(&home.status) && home.header("location") == Some("/docs/"), "{home:?}");
    assert!((300..400).contains(&server.get("/docs").status));
    let page = server.get("/docs/");
    assert_eq!(page.status, 200);
    let html = page.text();
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("src=\"//"), "{html}");
    let mut parts = 0;
    for attribute in ["src=\"", "href=\""] {
        for link in html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
            let part = server.get(&format!("/docs/{}", link.trim_start_matches("./")));
            assert!(part.status == 200 && !part.body.is_empty(), "{link}: {}", part.status);
            parts += 1;
        }
    }
    assert!(parts >= 3, "{html}");
}

#[test]
fn metrics_count_what_was_asked_and_say_what_is_there() {
    let lab = Lab::filled();
    let server = serve(&lab);
    let numbers = |text: &str| -> std::collections::HashMap<String, f64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, x)| (name.to_owned(), x.parse().unwrap()))
            .collect()
    };
    for id in ["GaAs", "Si", "unobtainium"] {
        server.get(&format!("/v1/materials/{id}"));
    }
    server.get("/v1/nothing/of/the/kind");
    let spec = r#"{"targets": [{"property": "band_gap", "min": 1}]}"#;
    assert_eq!(server.post("/v1/suggest", spec.as_bytes()).status, 200);
    let answer = server.get("/metrics");
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(form)));
    let text = answer.text();
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    let found = numbers(&text);
    let asked = |method: &str, route: &str, status: u16| {
        let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        found.get(&format!("matgenome_http_requests_total{{{labels}}}")).copied()
    };
    assert_eq!(asked("GET", "/v1/materials/{id}", 200), Some(2.0), "{text}");
    assert_eq!(asked("GET", "/v1/materials/{id}", 404), Some(1.0));
    assert_eq!(asked("GET", "none", 404), Some(1.0));
    assert_eq!(asked("POST", "/v1/suggest", 200), Some(1.0));
    let timed = "matgenome_http_request_duration_seconds_count{method=\"POST\",route=\"/v1/suggest\"}";
    assert_eq!(found.get(timed), Some(&1.0));
    let zero = ["device_lost", "device_uploaded_bytes_total"].map(|name| (name, 0.0));
    for (name, value) in [("ready", 1.0), ("table_version", 1.0), ("materials", 10.0)].into_iter().chain(zero) {
        assert_eq!(found.get(&format!("matgenome_{name}")), Some(&value), "{name}");
    }
    let device = server.get("/healthz").json()["device"].as_str().unwrap().to_owned();
    assert!(text.contains(&format!("matgenome_device_info{{name=\"{device}\"")), "{text}");
    if cfg!(target_os = "linux") {
        assert!(found["process_resident_memory_bytes"] > 1e6);
    }
}

#[test]
fn look_ups() {
    let lab = Lab::filled();
    let server = serve(&lab);
    let properties = server.get("/v1/properties").json();
    assert!(properties["properties"].as_array().unwrap().len() >= 60);
    let datasets = server.get("/v1/datasets").json();
    assert_eq!((datasets["version"].as_u64(), datasets["datasets"][0]["records"].as_u64()), (Some(1), Some(10)));
    assert_eq!(server.get("/v1/datasets/lab").json(), datasets["datasets"][0]);
    let history = server.get("/v1/history").json();
    assert_eq!((history["version"].as_u64(), history["commits"][0]["version"].as_u64()), (Some(1), Some(1)));
    assert_eq!(history["commits"].as_array().unwrap().len(), 2);

    for id in ["AsGa", "GaAs", "gaas", "Ga%41s"] {
        assert_eq!(server.get(&format!("/v1/materials/{id}")).json()["material"], "AsGa", "{id}");
    }
    let shown = lab.run(&["show", "GaAs", "--json"]).json();
    assert_eq!(server.get("/v1/materials/GaAs").json(), shown, "the command line says the same");

    let record = server.get("/v1/records/lab%2F1");
    assert_eq!(record.json()["attributes"]["note"], "wafer, polished");
    assert_eq!((record.json()["dataset"].as_str(), record.json()["material"].as_str()), (Some("lab"), Some("AsGa")));
    assert_eq!(server.get("/v1/records/lab/1").json(), record.json(), "its slash as it is");
    let head = try_request(&server.address, "HEAD", "/healthz", &[], None);
    assert_eq!(head.map(|a| a.status).unwrap_or(200), 200);
}

#[test]
fn record_ids_with_slashes_and_other_characters() {
    let lab = Lab::empty();
    let done = lab.ingest("run,formula,gap,rho,note\na/b/c,GaAs,1.42,,\nx y+z%,Si,1.1,,\nµ?#,Ge,0.67,,\n", &[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let server = serve(&lab);
    for (path, id) in [
        ("lab/a/b/c", "lab/a/b/c"),
        ("lab%2Fa%2Fb%2Fc", "lab/a/b/c"),
        ("lab/a%2Fb/c", "lab/a/b/c"),
        ("lab%2Fx%20y+z%25", "lab/x y+z%"),
        ("lab/%C2%B5%3F%23", "lab/µ?#"),
    ] {
        let answer = server.get(&format!("/v1/records/{path}"));
        assert_eq!((answer.status, answer.json()["id"].as_str()), (200, Some(id)), "{path}");
    }
}

#[test]
fn the_same_spec_gives_the_same_candidates_here_and_on_the_command_line() {
    let lab = Lab::filled();
    let server = serve(&lab);
    for spec in [
        SPEC.to_owned(),
        SPEC.replace("require", "ignore"),
        SPEC.replace("require", "predict"),
        "{\"targets\": [{\"property\": \"density\", \"goal\": \"minimize\"}], \"limit\": 4}".into(),
        "{\"targets\": [{\"index\": \"band_gap / density\", \"goal\": \"maximize\"}]}".into(),
        "{\"targets\": [{\"property\": \"band_gap\", \"value\": 1.4, \"tolerance\": 0.2}], \"offset\": 2}".into(),
        SPEC.replace("\"filter\"", "\"like\": {\"material\": \"GaAs\", \"weight\": 0.3}, \"filter\""),
        "{\"like\": {\"material\": \"Ga0.5In0.5As\", \"by\": \"descriptors\"}}".into(),
    ] {
        let here = server.post("/v1/suggest", spec.as_bytes());
        assert_eq!((here.status, here.header("content-type")), (200, Some("application/json")));
        let there = lab.suggest(&spec, &["--format", "json"]).json();
        let here = here.json();
        assert_eq!(here["candidates"], there["candidates"], "{spec}");
        for key in ["version", "device", "exact", "searched", "matched_filter", "passing", "like"] {
            assert_eq!(here["meta"][key], there["meta"][key], "{key}");
        }
    }
}

#[test]
fn similar_materials_and_substitutes() {
    let lab = Lab::filled();
    let server = serve(&lab);
    let similar = server.post("/v1/similar", br#"{"formula": "GaAs", "by": "composition", "limit": 4}"#);
    assert_eq!((similar.status, similar.header("content-type")), (200, Some("application/json")));
    let similar = similar.json();
    assert!(!materials(&similar).contains(&"AsGa".to_owned()), "{similar}");
    let distances: Vec<f64> =
        similar["candidates"].as_array().unwrap().iter().map(|c| c["distance"].as_f64().unwrap()).collect();
    assert!(distances.is_sorted() && distances[0] > 0.0, "{distances:?}");
    let there = lab.run(&["similar", "GaAs", "--limit", "4", "--format", "json"]).json();
    assert_eq!(there["candidates"], similar["candidates"], "the command line says the same");
    let substitute =
        server.post("/v1/substitute", br#"{"material": "CdTe", "without": ["Cd", "Te"], "keep": ["band_gap"]}"#);
    let substitute = substitute.json();
    assert_eq!(materials(&substitute)[0], "AsGa", "{substitute}");
    let there = lab.run(&["substitute", "CdTe", "--without", "Cd,Te", "--keep", "band_gap", "--format", "json"]).json();
    assert_eq!(there["candidates"], substitute["candidates"]);

    for (path, body, status, kind, pointer) in [
        ("similar", r#"{"material": "GaAz"}"#, 404, "no-material", "/material"),
        ("similar", r#"{"formula": "Ga("}"#, 422, "bad-spec", "/formula"),
        ("similar", r#"{"formula": "GaAs", "by": "smell"}"#, 422, "bad-spec", "/by"),
        ("similar", r#"{"formula": "GaAs", "nearest": 3}"#, 422, "bad-spec", "/nearest"),
        ("substitute", r#"{"material": "CdTe"}"#, 422, "bad-spec", ""),
        ("substitute", r#"{"material": "CdTe", "without": ["Qq"]}"#, 422, "bad-spec", "/without/0"),
        ("substitute", r#"{"material": "CdTe", "without": ["Te"], "keep": ["bandgap"]}"#, 422, "bad-spec", "/keep/0"),
        ("substitute", r#"{"formula": "AlN", "without": ["Al"]}"#, 422, "bad-spec", "/formula"),
    ] {
        let problem = server.post(&format!("/v1/{path}"), body.as_bytes()).problem(status);
        assert_eq!(problem["type"], format!("urn:matgenome:problem:{kind}"), "{body}: {problem}");
        assert_eq!(problem["pointer"], pointer, "{body}: {problem}");
    }
    assert_eq!(server.post("/v1/similar", b"{").problem(400)["type"], "urn:matgenome:problem:bad-json");
}

#[test]
fn similar_on_the_command_line() {
    let lab = Lab::filled();
    let table = lab.run(&["similar", "InGaAs2", "--limit", "2"]);
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(
        table.text().contains("GaAs") && table.text().contains("10 materials compared by composition"),
        "{table:?}"
    );
    let csv = lab.run(&["similar", "Si", "--by", "properties", "--format", "csv"]).text();
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("rank,material,formula,name,distance,shared,density,density_unit"), "{csv}");
    assert_eq!(lines.len(), 10);
    lab.run(&["similar", "Unobtainium"]).failed(1, &["Unobtainium"]);
    let refused = lab.run(&["similar", "GaAs", "--by", "smell"]);
    assert!(refused.code == Some(2) && refused.err.contains("composition, descriptors"), "{refused:?}");
    lab.run(&["substitute", "GaAs", "--without", "Xy"]).failed(2, &["--without", "Xy"]);
    lab.run(&["substitute", "GaAs", "--without", "As", "--keep", "bandgap"]).failed(2, &["--keep", "band_gap"]);
    lab.run(&["substitute", "AlN", "--without", "Al"]).failed(1, &["no known value", "similar"]);
}

#[test]
fn every_error_is_a_problem_document() {
    let lab = Lab::filled();
    let server = serve(&lab);
    for (name, spec, pointer, words) in bad_specs() {
        let answer = server.post("/v1/suggest", spec.as_bytes());
        let not_json = serde_json::from_str::<serde::de::IgnoredAny>(&spec).is_err();
        let problem = answer.problem(if not_json { 400 } else { 422 });
        eprintln!("{name}: {}", problem.to_string().chars().take(300).collect::<String>());
        if !not_json {
            let found = problem["pointer"].as_str().unwrap();
            assert!(found.starts_with(pointer), "{name}: {found}, not {pointer}");
            for word in words {
                assert!(problem.to_string().contains(word), "{name}: no `{word}` in {problem}");
            }
        }
    }
    let unknown =
        server.post("/v1/suggest", b"{\"targets\": [{\"property\": \"bandgap_energy\", \"min\": 1}]}").problem(422);
    assert_eq!(unknown["type"], "urn:matgenome:problem:bad-spec");
    assert_eq!(unknown["pointer"], "/targets/0/property");
    assert!(unknown["closest"].as_array().unwrap().contains(&"band_gap".into()), "{unknown}");
    let unit =
        server.post("/v1/suggest", b"{\"targets\": [{\"property\": \"band_gap\", \"min\": 1, \"unit\": \"ev\"}]}");
    if unit.status != 200 {
        assert!(unit.problem(422)["detail"].as_str().unwrap().contains("eV"));
    }

    for path in [
        "/nothing",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/materials",
        "/v1/materials/",
        "/v1/materials/Unobtainium42",
        "/v1/materials/a/b",
        "/v1/records",
        "/v1/records/",
        "/v1/records/lab",
        "/v1/records/lab/99",
        "/v1/records/lab%2F99",
        "/v1/records/other/1",
        "/v1/datasets/lap",
        "/docs/nothing.js",
        "/openapi.yaml",
        "/%00",
    ] {
        eprintln!("{path}");
        let problem = server.get(path).problem(404);
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{path}: {problem}");
    }
    assert_eq!(server.get("/v1/datasets/lap").problem(404)["closest"], serde_json::json!(["lab"]));
    for path in ["/v1/materials/%FF", "/v1/records/%FF", "/v1/records/lab/%FF", "/v1/datasets/%FF%FE"] {
        eprintln!("{path}");
        let answer = server.get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        answer.problem(answer.status);
    }
    for (method, path) in [
        ("GET", "/v1/suggest"),
        ("PUT", "/v1/suggest"),
        ("DELETE", "/v1/materials/GaAs"),
        ("POST", "/v1/datasets"),
        ("POST", "/healthz"),
        ("PATCH", "/v1/records/lab%2F1"),
        ("DELETE", "/v1/records/lab/1"),
        ("POST", "/openapi.json"),
        ("POST", "/docs/"),
        ("POST", "/"),
    ] {
        let answer = try_request(&server.address, method, path, &[], Some(b"{}")).unwrap();
        eprintln!("{method} {path}");
        answer.problem(405);
        assert!(answer.header("allow").is_some(), "{method} {path}: which methods are there?");
    }
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_body_of_100_mb_is_refused_and_the_server_lives() {
    let lab = Lab::filled();
    let mut server = serve(&lab);
    let start = b"{\"targets\": \"";
    let mut body = vec![b'x'; 100 << 20];
    body[..start.len()].copy_from_slice(start);
    match try_request(&server.address, "POST", "/v1/suggest", &[], Some(&body)) {
        Ok(answer) => drop(answer.problem(413)),
        Err(e) => eprintln!("the connection was closed: {e}"),
    }
    // just above the limit the answer is always read
    let problem = server.post("/v1/suggest", &body[..(1 << 20) + 1]).problem(413);
    assert!(problem["detail"].as_str().unwrap().contains("1024 KiB"), "{problem}");
    assert_eq!(server.post("/v1/suggest", &body[..1 << 20]).status, 400, "at the limit it is read");

    // without a length, in chunks
    let mut stream = http::connect(&server.address);
    let head =
        "POST /v1/suggest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"100000\r\n".as_slice(), &body[..1 << 20], b"\r\n"].concat();
    let sent = (0..100).try_for_each(|_| stream.write_all(&chunk)).and_then(|()| stream.write_all(b"0\r\n\r\n"));
    match http::read(stream) {
        Ok(answer) => drop(answer.problem(413)),
        Err(e) => eprintln!("the connection was closed: {e} ({sent:?})"),
    }
    // a length that is a lie, and a request that never ends, cost only their own connection
    let mut liar = http::connect(&server.address);
    liar.write_all(b"POST /v1/suggest HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n{").unwrap();
    let mut slow = http::connect(&server.address);
    slow.write_all(b"POST /v1/suggest HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{").unwrap();
    let mut rubbish = http::connect(&server.address);
    rubbish.write_all(b"\0\x01\x02 rubbish\r\n\r\n").unwrap();
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.post("/v1/suggest", SPEC.as_bytes()).status, 200);
    assert!(server.is_running());
    drop((liar, slow, rubbish));
}

#[test]
fn signals_stop_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let lab = Lab::filled();
        let server = serve(&lab);
        let before = tree(&lab.data());
        // a client that keeps its connection open does not keep the server
        let mut idle = http::connect(&server.address);
        idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let status = server.stop(signal);
        assert_eq!(status.code(), Some(0), "SIG{signal}: {status:?}");
        assert_eq!(tree(&lab.data()), before);
        drop(idle);
    }
}

#[test]
fn what_is_ingested_beside_it_is_served_without_a_restart() {
    let lab = Lab::filled();
    let server = serve(&lab);
    server.get("/v1/materials/ZnO").problem(404);
    for (version, gap) in [(2, 3.3), (3, 3.4)] {
        let done = lab.ingest(&format!("run,formula,gap,rho,note\n50,ZnO,{gap},5.61,\n"), &[]);
        assert_eq!(done.code, Some(0), "{done:?}");
        poll("the new version", || (server.get("/healthz").json()["version"] == version).then_some(()));
        let shown = server.get("/v1/materials/ZnO").json();
        let value = shown["properties"].as_array().unwrap().iter().find(|p| p["property"] == "band_gap").unwrap();
        assert_eq!((value["value"].as_f64(), shown["version"].as_u64()), (Some(gap), Some(version)));
        assert_eq!(server.get("/v1/records/lab/50").json()["measurements"][0]["value"].as_f64(), Some(gap));
    }
    let spec = "{\"targets\": [{\"property\": \"band_gap\", \"min\": 3.35, \"max\": 3.45}], \"limit\": 1}";
    assert_eq!(server.post("/v1/suggest", spec.as_bytes()).json()["candidates"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/v1/history").json()["commits"].as_array().unwrap().len(), 4);
}

#[test]
fn private_datasets_are_not_served() {
    let lab = Lab::filled();
    let map = std::fs::read_to_string(lab.path("map.toml")).unwrap();
    lab.file("map.toml", &map.replace("name = \"lab\"", "name = \"secret\"\nvisibility = \"private\""));
    assert_eq!(lab.ingest("run,formula,gap,rho,note\n1,ZnTe,2.26,6.3,\n2,GaAs,99,5.3,\n", &[]).code, Some(0));
    let server = serve(&lab);
    let datasets = server.get("/v1/datasets").json();
    assert_eq!(datasets["datasets"].as_array().unwrap().len(), 1, "{datasets}");
    server.get("/v1/datasets/secret").problem(404);
    server.get("/v1/materials/ZnTe").problem(404);
    server.get("/v1/records/secret/1").problem(404);
    let shown = server.get("/v1/materials/GaAs").json();
    assert_eq!(shown["records"], serde_json::json!(["lab/1"]));
    let commits = server.get("/v1/history").json();
    assert!(!commits.to_string().contains("secret"), "{commits}");
    let spec = "{\"targets\": [{\"property\": \"band_gap\", \"min\": 0}], \"limit\": 100}";
    let answer = server.post("/v1/suggest", spec.as_bytes()).json();
    assert!(!answer.to_string().contains("secret") && !materials(&answer).contains(&"TeZn".to_owned()));
    assert_eq!(answer["meta"]["searched"], 10);
    let named = "{\"targets\": [{\"property\": \"band_gap\", \"min\": 0}], \"datasets\": [\"secret\"]}";
    let problem = server.post("/v1/suggest", named.as_bytes()).problem(422);
    assert!(!problem["closest"].to_string().contains("secret"), "{problem}");
    // the owner's own command line sees it
    assert_eq!(lab.run(&["show", "ZnTe", "--json"]).json()["records"], serde_json::json!(["secret/1"]));
}

#[test]
fn many_clients_at_once_get_the_same_answer() {
    let lab = Lab::filled();
    let server = serve(&lab);
    let want = materials(&server.post("/v1/suggest", SPEC.as_bytes()).json());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(materials(&server.post("/v1/suggest", SPEC.as_bytes()).json()), want);
                }
            });
        }
    });
}
