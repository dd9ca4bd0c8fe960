//! The committed description of the API is the one that the server gives. `MATGENOME_UPDATE=1` writes it anew.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

#[test]
fn the_committed_description_is_that_of_the_server() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi.json");
    let mut now = serde_json::to_string_pretty(&matgenome_server::openapi()).unwrap();
    now.push('\n');
    if std::env::var_os("MATGENOME_UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = now.lines().zip(committed.lines()).position(|(a, b)| a != b);
    let first = differs.unwrap_or_else(|| now.lines().count().min(committed.lines().count()));
    assert!(
        now == committed,
        "openapi.json differs from the server's description from line {} on: run this test with MATGENOME_UPDATE=1 and \
         commit the file\n  server:    {:?}\n  committed: {:?}",
        first + 1,
        now.lines().nth(first),
        committed.lines().nth(first)
    );
}

#[test]
fn every_route_states_its_answers_and_errors() {
    let document = serde_json::to_value(matgenome_server::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/suggest",
        "/v1/similar",
        "/v1/substitute",
        "/v1/materials/{id}",
        "/v1/records/{id}",
        "/v1/properties",
        "/v1/datasets",
        "/v1/datasets/{name}",
        "/v1/history",
        "/v1/ingest",
        "/v1/jobs",
        "/v1/jobs/{id}",
        "/v1/jobs/{id}/events",
        "/v1/jobs/{id}/report",
        "/v1/jobs/{id}/refused",
        "/v1/jobs/{id}/refused/{name}",
        "/healthz",
        "/readyz",
    ] {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["responses"]["200"].is_object(), "{method} {path} states no answer");
            let words = operation["summary"].as_str().or(operation["description"].as_str()).unwrap_or_default();
            assert!(!words.is_empty(), "{method} {path} says nothing");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                if status.starts_with(['4', '5']) {
                    assert!(answer["content"]["application/problem+json"].is_object(), "{method} {path} {status}");
                }
            }
        }
    }
}
