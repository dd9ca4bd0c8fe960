//! Data sent in over HTTP, to the whole program.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::http::{self, Answer, try_request};
use crate::program::{Lab, command, text};
use crate::server::{Server, poll};

const TOKEN: &str = "a-secret-of-the-lab-4711";

/// A server that takes data in, with the token in a file.
fn serve(lab: &Lab) -> Server {
    let token = lab.file("token", TOKEN);
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    Server::ready(&lab.data(), &["--no-bundled", "--ingest-token-file", text(&token)])
}

fn ask(server: &Server, method: &str, path: &str) -> Answer {
    try_request(&server.address, method, path, &[&format!("Authorization: Bearer {TOKEN}")], None).unwrap()
}

fn form(lab: &Lab, rows: &str) -> String {
    let mapping = std::fs::read_to_string(lab.path("map.toml")).unwrap();
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"more.csv\"\r\n\r\n{rows}\r\n\
         --b\r\nContent-Disposition: form-data; name=\"mapping\"\r\n\r\n{mapping}\r\n--b--\r\n"
    )
}

fn upload(lab: &Lab, server: &Server, rows: &str, more: &str, key: &str) -> Answer {
    let headers = [
        format!("Authorization: Bearer {TOKEN}"),
        "Content-Type: multipart/form-data; boundary=b".into(),
        format!("Idempotency-Key: {key}"),
    ];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let path = format!("/v1/ingest?dataset=lab{more}");
    try_request(&server.address, "POST", &path, &headers, Some(form(lab, rows).as_bytes())).unwrap()
}

/// Listens to a job until it ends.
fn ended(server: &Server, job: &str) -> (String, Value) {
    let events = ask(server, "GET", &format!("{job}/events")).text();
    let last = events.trim_end().rsplit("\n\n").find(|event| event.contains("event:")).unwrap().to_owned();
    let field = |name: &str| last.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    (field("event:"), serde_json::from_str(&field("data:")).unwrap())
}

#[test]
fn what_is_sent_is_searchable_when_its_job_is_done() {
    let lab = Lab::filled();
    let server = serve(&lab);
    let rows = "run,formula,gap,rho,note\n50,ZnO,3.3,5.61,\n51,Unobtainium,1,1,\n";
    let dry = upload(&lab, &server, rows, "&dry_run=true", "dry");
    let (event, job) = ended(&server, dry.header("location").unwrap());
    assert_eq!((event.as_str(), &job["version"], &job["rows"]["read"]), ("done", &Value::Null, &2.into()), "{job}");
    server.get("/v1/materials/ZnO").problem(404);

    let taken = upload(&lab, &server, rows, "", "run-50");
    assert_eq!(taken.status, 202, "{}", taken.text());
    let place = taken.header("location").unwrap().to_owned();
    let (event, job) = ended(&server, &place);
    assert_eq!((event.as_str(), &job["version"], &job["committed"]), ("done", &2.into(), &true.into()), "{job}");
    let shown = server.get("/v1/materials/ZnO").json();
    assert_eq!(shown["version"], 2, "without a moment between");
    assert_eq!(job["rows"], serde_json::json!({"read": 2, "accepted": 1, "refused": 1, "unchanged": 0, "left_out": 0}));
    assert_eq!(job["findings"][0]["examples"][0]["file"], "more.csv", "{job}");
    let report = ask(&server, "GET", &format!("{place}/report")).text();
    assert_eq!(report.lines().count(), 1, "{report}");
    assert!(!report.contains(text(&lab.data())), "no path of the server: {report}");

    let again = upload(&lab, &server, rows, "", "run-50");
    assert_eq!((again.status, again.header("location")), (200, Some(place.as_str())));
    upload(&lab, &server, "run,formula,gap,rho,note\n52,ZnS,3.5,4,\n", "", "run-50").problem(422);
    assert!(server.stop("TERM").success());

    // the next server knows the job; and where it has forgotten it, the table does not
    let server = serve(&lab);
    assert_eq!(upload(&lab, &server, rows, "", "run-50").header("location"), Some(place.as_str()));
    assert_eq!(ask(&server, "DELETE", &place).status, 204);
    let again = upload(&lab, &server, rows, "", "run-50");
    assert_eq!(again.header("location"), Some(place.as_str()));
    let (_, job) = ended(&server, &place);
    assert_eq!((&job["version"], &job["committed"]), (&2.into(), &false.into()), "{job}");
    assert_eq!(server.get("/v1/history").json()["commits"].as_array().unwrap().len(), 3);
}

#[test]
fn the_token_is_seen_nowhere() {
    let lab = Lab::filled();
    let token = lab.file("token", TOKEN);
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let data = lab.data();
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--no-bundled",
        "--data",
        text(&data),
        "--ingest-token-file",
        text(&token),
    ];
    let mut loud = command(&arguments);
    loud.env("MATGENOME_LOG", "trace").env("MATGENOME_INGEST_TOKEN", "of-the-environment-0815");
    let server = Server::run(loud);
    poll("/readyz", || (server.get("/readyz").status == 200).then_some(()));
    assert_eq!(ask(&server, "GET", "/v1/jobs").status, 200, "the file wins");
    let wrong = ["Authorization: Bearer of-the-environment-0815"];
    let refused = try_request(&server.address, "GET", "/v1/jobs", &wrong, None).unwrap();
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
    assert!(!refused.problem(401).to_string().contains("0815"));
    let said = poll("the request in the log", || {
        let said = server.said().join("\n");
        said.contains("/v1/jobs").then_some(said)
    });
    assert!(said.contains("chmod o-r"), "everyone may read the file");
    if let Ok(line) = std::fs::read_to_string(format!("/proc/{}/cmdline", server.id())) {
        assert!(!line.contains("secret"), "{line}");
    }
    // the whole of it: four digits may be of any time
    for secret in [TOKEN, "of-the-environment-0815"] {
        let line = said.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{line:?}");
    }
}

#[test]
fn bad_tokens_and_no_token() {
    let lab = Lab::filled();
    let file = lab.file("token", "short");
    let path = text(&file);
    lab.run(&["serve", "--listen", "127.0.0.1:0", "--ingest-token-file", path]).failed(2, &["16", path]);
    let none = format!("{path}-not-there");
    lab.run(&["serve", "--listen", "127.0.0.1:0", "--ingest-token-file", &none]).failed(2, &[&none]);
    let server = Server::ready(&lab.data(), &["--no-bundled"]);
    let problem = upload(&lab, &server, "a\n", "", "k").problem(403);
    assert!(problem["detail"].as_str().unwrap().contains("--ingest-token-file"), "{problem}");
    assert!(!lab.data().join("jobs").exists());
}

#[test]
fn an_upload_that_ends_early_leaves_nothing_and_a_listener_does_not_keep_the_server() {
    let lab = Lab::filled();
    let server = serve(&lab);
    let jobs = lab.data().join("jobs");
    let count = || std::fs::read_dir(&jobs).unwrap().count();
    let mut half = http::connect(&server.address);
    let head = format!(
        "POST /v1/ingest?dataset=lab&filename=a.csv HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: 1000000\r\n\r\nrun,formula\n"
    );
    half.write_all(head.as_bytes()).unwrap();
    poll("the upload on disk", || (count() == 2).then_some(()));
    drop(half);
    poll("the end of the upload", || (count() == 1).then_some(()));
    assert!(server.stop("TERM").success());
}

#[test]
fn a_file_without_a_mapping_is_placed_aloud_and_completes_the_beginning_of_one() {
    let lab = Lab::filled();
    let server = serve(&lab);
    let send = |path: &str, body: &str| {
        let authorized = format!("Authorization: Bearer {TOKEN}");
        try_request(&server.address, "POST", path, &[&authorized], Some(body.as_bytes())).unwrap()
    };
    let rows = "Sample,Composition (at%),Density [g/cm3]\nW-1,CoCrFeNi,8.2\nW-2,CoCrNi,n/a\nW-3,FeNi,8.1\n";
    let path = "/v1/ingest?dataset=wear&filename=wear.csv&evidence=measured";
    let (event, job) = ended(&server, send(path, rows).header("location").unwrap());
    assert_eq!((event.as_str(), &job["rows"]["accepted"]), ("done", &2.into()), "{job}");
    let note = job["note"].as_str().unwrap();
    assert!(note.contains("`Composition (at%)`: formula") && note.contains("`n/a` stands among numbers"), "{note}");
    // numbers without a place stop the job
    let (event, job) = ended(
        &server,
        send(path, &rows.replace("Sample", "wear of ball").replace("W-", "4")).header("location").unwrap(),
    );
    let detail = job["problem"]["detail"].as_str().unwrap();
    assert_eq!(event, "failed", "{job}");
    assert!(detail.contains("`wear of ball`") && detail.contains("part `mapping`"), "{detail}");
    // what is to be said of the file alone is the beginning of a mapping
    let form = |mapping: &str| {
        let german = "Probe;Zusammensetzung / composition;Density [g/cm3]\nG-1;CoCrFeNi;8,2\nG-2;FeNi;8,1\n";
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"german.csv\"\r\n\r\n{german}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"mapping\"\r\n\r\n{mapping}\r\n--b--\r\n"
        )
    };
    let send = |mapping: &str| {
        let headers = [&*format!("Authorization: Bearer {TOKEN}"), "Content-Type: multipart/form-data; boundary=b"];
        let path = "/v1/ingest?dataset=german&evidence=measured";
        try_request(&server.address, "POST", path, &headers, Some(form(mapping).as_bytes())).unwrap()
    };
    let (event, job) = ended(&server, send("[read]\ndecimal = \",\"\n").header("location").unwrap());
    assert_eq!((event.as_str(), &job["rows"]["accepted"]), ("done", &2.into()), "{job}");
    let refused = send("[read]\ndecimal = \"x\"\n");
    assert_eq!(refused.problem(422)["type"].as_str().map(|kind| kind.ends_with("bad-mapping")), Some(true));
}
