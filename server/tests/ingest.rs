//! Ingest over HTTP as a client sees it, with a runner that does what the test says.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::future::ready;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use matgenome_server::auth::Token;
use matgenome_server::jobs::runner::{Done, Failure, Findings, Progress, Records, Rows, Run, Runner, Watch, Work};
use matgenome_server::jobs::{Jobs, JobsError, Limits};
use matgenome_server::state::AppState;
use serde_json::Value;
use tower::ServiceExt as _;

const TOKEN: &str = "the-secret-of-the-lab-0001";

/// What a run of the fake is told.
type Step = Box<dyn FnOnce(&Work) -> Result<Done, Failure> + Send>;

/// Runs nothing until it is told what came out.
#[derive(Default)]
struct Fake {
    shared: Mutex<Shared>,
    told: Condvar,
}

#[derive(Default)]
struct Shared {
    steps: VecDeque<Step>,
    /// Key, names and content of what was run.
    seen: Vec<(String, Vec<(String, String)>)>,
    published: u64,
    unpublishable: bool,
    over: bool,
}

/// Ends the runs of a test that is over: the runtime waits for them.
struct Over(Arc<Fake>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner).over = true;
        self.0.told.notify_all();
    }
}

struct FakeWatch {
    fake: Arc<Fake>,
    cancelled: Mutex<bool>,
}

struct FakeRunner(Arc<Fake>);

impl Watch for FakeWatch {
    fn cancel(&self) {
        *self.cancelled.lock().unwrap() = true;
        let _shared = self.fake.shared.lock().unwrap();
        self.fake.told.notify_all();
    }

    fn progress(&self) -> Progress {
        let elapsed = Duration::from_secs(2);
        Progress { phase: "reading", rows: 50, bytes_read: 25, bytes_total: 100, refused: 1, flagged: 2, elapsed }
    }
}

impl Runner for FakeRunner {
    fn check(&self, mapping: Option<&str>, _: Option<&str>) -> Result<(), String> {
        if mapping == Some("rubbish") { Err("mapping, line 1: it is rubbish".into()) } else { Ok(()) }
    }

    fn prepare(&self, work: Work) -> Run {
        let watch = Arc::new(FakeWatch { fake: Arc::clone(&self.0), cancelled: Mutex::new(false) });
        let (fake, inside) = (Arc::clone(&self.0), Arc::clone(&watch));
        let job = move || {
            let files = work.files.iter().map(|f| (f.shown.clone(), std::fs::read_to_string(&f.path).unwrap()));
            let files = files.collect();
            let mut shared = fake.shared.lock().unwrap();
            shared.seen.push((work.key.clone(), files));
            let step = loop {
                if shared.over || *inside.cancelled.lock().unwrap() {
                    return Err(Failure::Cancelled);
                }
                match shared.steps.pop_front() {
                    Some(step) => break step,
                    None => shared = fake.told.wait(shared).unwrap(),
                }
            };
            drop(shared);
            step(&work)
        };
        Run { watch, work: Box::new(job) }
    }

    fn publish(&self) -> BoxFuture<'_, Result<u64, String>> {
        let mut shared = self.0.shared.lock().unwrap();
        shared.published += 1;
        ready(if shared.unpublishable { Err("no memory".into()) } else { Ok(7) }).boxed()
    }
}

impl Fake {
    fn tell(&self, step: impl FnOnce(&Work) -> Result<Done, Failure> + Send + 'static) {
        self.shared.lock().unwrap().steps.push_back(Box::new(step));
        self.told.notify_all();
    }

    /// Waits until so many runs have begun.
    async fn begun(&self, runs: usize) {
        while self.seen().len() < runs {
            tokio::task::yield_now().await;
        }
    }

    fn seen(&self) -> Vec<(String, Vec<(String, String)>)> {
        self.shared.lock().unwrap().seen.clone()
    }
}

/// A job that put in what it was sent, with a finding and a refused row.
fn done(work: &Work) -> Result<Done, Failure> {
    std::fs::write(&work.report, "{\"row\":2}\n{\"row\":3}\n").unwrap();
    std::fs::create_dir(&work.refused).unwrap();
    std::fs::write(work.refused.join("lab é.csv"), "a,b\nx,y\n").unwrap();
    let example = serde_json::json!({"row": 2, "code": "bad_number"});
    Ok(Done {
        note: None,
        dataset: work.dataset.clone().unwrap_or_else(|| "named-by-mapping".into()),
        rows: Rows { read: 3, accepted: 2, refused: 1, unchanged: 0, left_out: 0 },
        findings: vec![Findings {
            code: "bad_number".into(),
            severity: "refused".into(),
            count: 1,
            examples: vec![example],
        }],
        records: (!work.dry_run).then_some(Records { inserted: 2, updated: 0, unchanged: 0 }),
        version: (!work.dry_run).then_some(7),
        committed: !work.dry_run,
    })
}

struct Lab {
    data: PathBuf,
    fake: Arc<Fake>,
    jobs: Arc<Jobs>,
    app: Router,
    over: Over,
    _folder: Option<tempfile::TempDir>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {:?}", self.status, self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn problem(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:matgenome:problem:{kind}"), "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

fn lab() -> Lab {
    lab_with(Limits::default())
}

fn lab_with(limits: Limits) -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let lab = open(folder.path(), limits).unwrap();
    Lab { _folder: Some(folder), ..lab }
}

fn open(data: &Path, limits: Limits) -> Result<Lab, JobsError> {
    let fake = Arc::new(Fake::default());
    let jobs = Jobs::open(data, limits, Arc::new(FakeRunner(Arc::clone(&fake))))?;
    let state = AppState::loading(Some(Token::new(TOKEN, "a test").unwrap()));
    state.ready_to_ingest(Ok(Arc::clone(&jobs)));
    let app = matgenome_server::app(state);
    let over = Over(Arc::clone(&fake));
    Ok(Lab { data: data.to_owned(), fake, jobs, app, over, _folder: None })
}

async fn send(app: &Router, request: Request<Body>) -> Answer {
    let answer = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {TOKEN}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

impl Lab {
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        send(&self.app, request(method, path, headers, body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    async fn upload(&self, more: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.ask("POST", &format!("/v1/ingest?dataset=lab{more}"), headers, body).await
    }

    /// Takes a file in, and gives the path of its job.
    async fn job(&self, content: &str) -> String {
        let answer = self.upload("&filename=lab.csv", &[], content.to_owned()).await;
        assert_eq!(answer.status, 202, "{:?}", answer.body);
        answer.header("location").to_owned()
    }

    /// Reads events until one of this name comes whose data has this state; all that came.
    async fn until(&self, job: &str, state: &str) -> Vec<(String, Value)> {
        let answer = self.app.clone().oneshot(request("GET", &format!("{job}/events"), &[], "")).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let (mut body, mut text, mut events) = (answer.into_body().into_data_stream(), String::new(), Vec::new());
        while let Some(piece) = body.next().await {
            text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            while let Some((event, rest)) = text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let (Some(name), Some(data)) = (field("event:"), field("data:")) {
                    let data: Value = serde_json::from_str(data).unwrap();
                    let found = data["state"] == state;
                    events.push((name.to_owned(), data));
                    if found {
                        return events;
                    }
                }
                text = rest.to_owned();
            }
        }
        panic!("{job} never was {state}: {events:?}");
    }

    /// Names in the folder of the jobs, aside from the lock and what is being removed.
    fn left(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.data.join("jobs")).unwrap().map(|e| e.unwrap().file_name());
        names
            .filter_map(|name| name.into_string().ok())
            .filter(|name| name != "lock" && !name.starts_with(".gone-"))
            .collect()
    }

    /// Stops, as the server does, and opens the same directory again.
    async fn restart(self, limits: Limits) -> Lab {
        self.jobs.stop(Duration::ZERO).await;
        let Lab { data, fake, jobs, app, over, _folder } = self;
        drop((fake, jobs, app, over));
        // the worker lets go of the lock a moment after it says that it is idle
        loop {
            match open(&data, limits.clone()) {
                Ok(lab) => return Lab { _folder, ..lab },
                Err(JobsError::Elsewhere(_)) => tokio::task::yield_now().await,
                Err(why) => panic!("{why}"),
            }
        }
    }
}

const ROUTES: [(&str, &str); 7] = [
    ("POST", "/v1/ingest?dataset=lab"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/1"),
    ("DELETE", "/v1/jobs/1"),
    ("GET", "/v1/jobs/1/events"),
    ("GET", "/v1/jobs/1/report"),
    ("GET", "/v1/jobs/1/refused"),
];

#[tokio::test]
async fn nothing_is_taken_in_without_a_token() {
    let app = matgenome_server::app(AppState::loading(None));
    for (method, path) in ROUTES {
        let detail = send(&app, request(method, path, &[], "x")).await.problem(403, "ingest-off");
        assert!(detail.contains("--ingest-token-file") && detail.contains("MATGENOME_INGEST_TOKEN"), "{detail}");
    }
}

#[tokio::test]
async fn the_token_is_asked_for_and_never_told() {
    let log = Log::default();
    let (writer, lab) = (log.clone(), lab());
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::TRACE);
    let _logging = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());
    let wrong = ["", "Bearer", "Bearer ", "Basic dGhlOnNlY3JldA==", "Bearer the-secret-of-the-lab-0002", TOKEN];
    for (method, path) in ROUTES {
        for header in wrong {
            let request = Request::builder().method(method).uri(path).header("authorization", header);
            let answer = send(&lab.app, request.body(Body::from("x")).unwrap()).await;
            answer.problem(401, "no-token");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            assert!(!String::from_utf8_lossy(&answer.body).contains("secret"), "{:?}", answer.body);
        }
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        send(&lab.app, request).await.problem(401, "no-token");
        let twice = lab.ask(method, path, &[("authorization", "Bearer x")], "x").await;
        twice.problem(401, "no-token");
    }
    assert!(lab.left().is_empty(), "{:?}", lab.left());
    let lower = Request::builder().uri("/v1/jobs").header("authorization", format!("bearer {TOKEN}"));
    assert_eq!(send(&lab.app, lower.body(Body::empty()).unwrap()).await.status, 200);
    lab.job("a,b\n").await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("/v1/jobs"), "the log was kept: {log}");
    assert!(!log.contains("secret"), "{log}");
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_file_becomes_a_job_and_the_job_says_all() {
    let lab = lab();
    let answer = lab.upload("&filename=lab.csv&evidence=measured", &[], "a,b\n1,2\n").await;
    assert_eq!(answer.status, 202);
    let job = answer.header("location").to_owned();
    let document = answer.json();
    assert_eq!(document["links"]["self"], job);
    assert!(["queued", "running"].contains(&document["state"].as_str().unwrap()));
    assert_eq!(document["files"], serde_json::json!([{"name": "lab.csv", "bytes": 8}]));
    assert_eq!(document["evidence"], "measured");

    let events = lab.until(&job, "running").await;
    let (name, running) = events.last().unwrap();
    assert_eq!(name, "progress");
    let progress = &running["progress"];
    for (key, value) in [("rows", 50.0), ("rows_per_s", 25.0), ("share", 0.25), ("remaining_s", 6.0)] {
        assert_eq!(progress[key].as_f64(), Some(value), "{key} of {progress}");
    }
    for part in ["report", "refused", "refused/lab.csv"] {
        lab.get(&format!("{job}/{part}")).await.problem(409, "job-not-ended");
    }

    let fake = Arc::clone(&lab.fake);
    let before = move || fake.shared.lock().unwrap().published;
    assert_eq!(before(), 0);
    lab.fake.tell(done);
    let events = lab.until(&job, "done").await;
    assert_eq!(before(), 1, "its records are searchable before it says done");
    let (name, document) = events.last().unwrap();
    assert_eq!(name, "done");
    assert_eq!(lab.get(&job).await.json(), *document);
    assert_eq!((document["version"].as_u64(), document["committed"].as_bool()), (Some(7), Some(true)));
    assert_eq!(
        document["rows"],
        serde_json::json!({"read": 3, "accepted": 2, "refused": 1, "unchanged": 0, "left_out": 0})
    );
    assert_eq!(document["records"]["inserted"], 2);
    assert_eq!(document["findings"][0]["examples"][0]["code"], "bad_number");
    // whoever comes late hears the end at once
    assert_eq!(lab.until(&job, "done").await.len(), 1);

    let report = lab.get(&format!("{job}/report")).await;
    assert_eq!(
        (report.header("content-type"), &report.body[..]),
        ("application/x-ndjson", &b"{\"row\":2}\n{\"row\":3}\n"[..])
    );
    let refused = lab.get(&format!("{job}/refused")).await.json();
    assert_eq!(refused["files"][0]["name"], "lab é.csv");
    let file = lab.get(refused["files"][0]["href"].as_str().unwrap()).await;
    assert_eq!((file.status, &file.body[..]), (200, &b"a,b\nx,y\n"[..]));
    for name in ["lab.csv", "..%2Fjob.json", "..%2Freport.jsonl", "%2Fetc%2Fpasswd", "%00"] {
        lab.get(&format!("{job}/refused/{name}")).await.problem(404, "no-refused");
    }
    let list = lab.get("/v1/jobs").await.json();
    assert_eq!((list["jobs"].as_array().unwrap().len(), &list["jobs"][0]["id"]), (1, &document["id"]));

    assert_eq!(lab.ask("DELETE", &job, &[], "").await.status, 204);
    lab.get(&job).await.problem(404, "no-job");
    lab.ask("DELETE", &job, &[], "").await.problem(404, "no-job");
    assert!(lab.left().is_empty(), "{:?}", lab.left());
}

#[tokio::test]
async fn failures_are_said_and_change_nothing_else() {
    let lab = lab();
    for (failure, status, kind) in [
        (Failure::Refused("lab.csv has no column `gap`".into()), 422, "ingest-refused"),
        (Failure::DiskFull("full".into()), 507, "disk-full"),
        (Failure::Internal("the table is damaged in a secret place".into()), 500, "internal"),
    ] {
        let job = lab.job("a\n").await;
        lab.fake.tell(move |_| Err(failure));
        let (name, document) = lab.until(&job, "failed").await.pop().unwrap();
        assert_eq!((name.as_str(), &document["problem"]["status"]), ("failed", &Value::from(status)));
        assert_eq!(document["problem"]["type"], format!("urn:matgenome:problem:{kind}"));
        assert!(!document.to_string().contains("secret place"), "that is for the log");
        lab.get(&format!("{job}/report")).await.problem(404, "no-report");
    }
    let job = lab.job("a\n").await;
    lab.fake.tell(|_| panic!("a defect"));
    assert_eq!(lab.until(&job, "failed").await.pop().unwrap().1["problem"]["status"], 500);
    // what cannot be searched yet is done all the same, and says so
    lab.fake.shared.lock().unwrap().unpublishable = true;
    let job = lab.job("a\n").await;
    lab.fake.tell(done);
    let (_, document) = lab.until(&job, "done").await.pop().unwrap();
    assert!(document["note"].as_str().unwrap().contains("cannot be searched yet"), "{document}");
    // a dry run has no version
    let answer = lab.upload("&dry_run=true", &[], "a\n").await;
    lab.fake.tell(done);
    let (_, document) = lab.until(answer.header("location"), "done").await.pop().unwrap();
    assert_eq!((&document["dry_run"], &document["version"]), (&Value::from(true), &Value::Null));
}

#[tokio::test]
async fn a_key_makes_one_job_also_after_a_restart() {
    let lab = lab();
    let key = [("idempotency-key", "run-42")];
    let first = lab.upload("", &key, "a\n1\n").await;
    assert_eq!(first.status, 202);
    let again = lab.upload("", &key, "a\n1\n").await;
    assert_eq!((again.status, again.header("location")), (200, first.header("location")));
    for (more, content) in [("", "a\n2\n"), ("&dry_run=true", "a\n1\n"), ("&evidence=computed", "a\n1\n")] {
        lab.upload(more, &key, content).await.problem(422, "idempotency-conflict");
    }
    lab.fake.tell(done);
    lab.until(first.header("location"), "done").await;
    let lab = lab.restart(Limits::default()).await;
    let again = lab.upload("", &key, "a\n1\n").await;
    assert_eq!((again.status, again.header("location")), (200, first.header("location")));
    assert_eq!(again.json()["state"], "done");
    lab.upload("", &key, "a\n2\n").await.problem(422, "idempotency-conflict");
    // forgotten, it is run again under the same key of its commit, so it changes nothing twice
    assert_eq!(lab.ask("DELETE", first.header("location"), &[], "").await.status, 204);
    let again = lab.upload("", &key, "a\n1\n").await;
    assert_eq!((again.status, again.header("location")), (202, first.header("location")));
    assert_eq!(lab.upload("", &[("idempotency-key", "run-43")], "a\n1\n").await.status, 202);
    assert!(lab.left().len() == 2, "{:?}", lab.left());
    for bad in ["", " ", &"k".repeat(256)] {
        lab.upload("", &[("idempotency-key", bad)], "a\n").await.problem(400, "bad-parameter");
    }
}

#[tokio::test]
async fn a_job_that_failed_may_be_tried_again_by_its_key() {
    let lab = lab();
    let key = [("idempotency-key", "run-42")];
    let first = lab.upload("", &key, "a\n1\n").await;
    lab.fake.tell(|_| Err(Failure::DiskFull("full".into())));
    lab.until(first.header("location"), "failed").await;
    let again = lab.upload("", &key, "a\n1\n").await;
    assert_eq!((again.status, again.header("location")), (202, first.header("location")));
    lab.fake.tell(done);
    lab.until(first.header("location"), "done").await;
    assert_eq!(lab.fake.seen()[0], lab.fake.seen()[1], "the same files, the same key");
}

#[tokio::test]
async fn jobs_go_on_after_a_stop_and_after_a_crash() {
    let lab = lab();
    let (first, second) = (lab.job("a\n1\n").await, lab.job("a\n2\n").await);
    lab.until(&first, "running").await;
    assert_eq!(lab.get(&second).await.json()["ahead"], 1);
    lab.fake.begun(1).await;
    // what a crash at this moment leaves
    let crashed = tempfile::tempdir().unwrap();
    copy(&lab.data, crashed.path());
    std::fs::create_dir(crashed.path().join("jobs/.upload-half")).unwrap();
    let run = lab.fake.seen();

    let lab = lab.restart(Limits::default()).await;
    let after_crash = open(crashed.path(), Limits::default()).unwrap();
    assert!(after_crash.left().iter().all(|name| !name.starts_with('.')), "{:?}", after_crash.left());
    for lab in [lab, after_crash] {
        lab.fake.tell(done);
        lab.fake.tell(done);
        lab.until(&first, "done").await;
        lab.until(&second, "done").await;
        let seen = lab.fake.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], run[0], "the same content under the same key");
        assert_eq!(seen[1].1, [("lab.csv".to_owned(), "a\n2\n".to_owned())], "in order of arrival");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = {
            let e = entry.unwrap();
            (e.path(), to.join(e.file_name()))
        };
        if path.is_dir() { copy(&path, &to) } else { std::fs::copy(&path, &to).map(drop).unwrap() }
    }
}

#[tokio::test]
async fn a_job_that_ends_the_server_is_not_tried_for_ever() {
    let mut lab = lab();
    let job = lab.job("a\n").await;
    for _ in 0..3 {
        lab.until(&job, "running").await;
        let crashed = tempfile::tempdir().unwrap();
        copy(&lab.data, crashed.path());
        // the fake of before goes on in its own folder
        lab.fake.tell(done);
        let next = open(crashed.path(), Limits::default()).unwrap();
        lab = Lab { _folder: Some(crashed), ..next };
    }
    let (_, document) = lab.until(&job, "failed").await.pop().unwrap();
    assert!(document["problem"]["detail"].as_str().unwrap().contains("3 times"), "{document}");
    assert!(lab.fake.seen().is_empty());
}

#[tokio::test]
async fn jobs_are_cancelled() {
    let lab = lab();
    let (first, second) = (lab.job("a\n1\n").await, lab.job("a\n2\n").await);
    lab.until(&first, "running").await;
    let queued = lab.ask("DELETE", &second, &[], "").await;
    assert_eq!((queued.status, queued.json()["state"].as_str()), (200, Some("cancelled")));
    let running = lab.ask("DELETE", &first, &[], "").await;
    assert_eq!((running.status, running.json()["cancelling"].as_bool()), (202, Some(true)));
    let (name, document) = lab.until(&first, "cancelled").await.pop().unwrap();
    assert_eq!((name.as_str(), &document["version"]), ("cancelled", &Value::Null));
    assert_eq!(lab.fake.seen().len(), 1, "the second never ran");
    let lab = lab.restart(Limits::default()).await;
    for job in [&first, &second] {
        assert_eq!(lab.get(job).await.json()["state"], "cancelled", "it is not run at the next start");
        assert_eq!(lab.ask("DELETE", job, &[], "").await.status, 204);
    }
}

#[tokio::test]
async fn bounds_are_kept_and_nothing_is_left_of_what_was_not_taken() {
    let limits =
        Limits { max_upload_bytes: 1000, max_waiting: 1, upload_idle: Duration::from_millis(20), ..Limits::default() };
    let lab = lab_with(limits);
    let detail = lab.upload("", &[], "x".repeat(1001)).await.problem(413, "too-large");
    assert!(detail.contains("1000 bytes") && detail.contains("--max-upload"), "{detail}");
    let piece = || Ok::<_, io::Error>(Bytes::from_static(b"a,b\n"));
    let broken = stream::iter([piece(), Err(io::Error::other("the client left"))]);
    lab.upload("", &[], Body::from_stream(broken)).await.problem(400, "bad-body");
    let stalled = stream::iter([piece()]).chain(stream::pending());
    lab.upload("", &[], Body::from_stream(stalled)).await.problem(408, "upload-stalled");
    // the client leaves: its request is dropped where it waits
    let stalled = Body::from_stream(stream::iter([piece()]).chain(stream::pending()));
    let mut left = Box::pin(lab.upload("", &[], stalled));
    assert!((&mut left).now_or_never().is_none());
    drop(left);
    for (body, kind) in [("", "no-file")] {
        lab.upload("", &[], body).await.problem(400, kind);
    }
    lab.upload("", &[("content-encoding", "gzip")], "x").await.problem(415, "content-encoding");
    assert!(lab.left().is_empty(), "{:?}", lab.left());

    let first = lab.job("a\n1\n").await;
    lab.until(&first, "running").await;
    let second = lab.job("a\n2\n").await;
    let answer = lab.upload("", &[], "a\n3\n").await;
    answer.problem(429, "too-many-jobs");
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(lab.left().len(), 2, "{:?}", lab.left());
    lab.fake.tell(done);
    lab.fake.tell(done);
    lab.until(&second, "done").await;
    lab.job("a\n3\n").await;
}

#[tokio::test]
async fn large_uploads_pass_the_limit_of_other_bodies() {
    let lab = lab();
    let rows = "1,2,3,4,5,6,7\n".repeat(300_000);
    assert!(rows.len() > 4 * matgenome_server::MAX_BODY_BYTES);
    let _job = lab.job(&rows).await;
    lab.fake.begun(1).await;
    assert_eq!(lab.fake.seen()[0].1[0].1, rows);
    let form = form(&[("file", Some("lab.csv"), &rows)]);
    assert_eq!(lab.upload("", &FORM, form).await.status, 202);
}

const FORM: [(&str, &str); 1] = [("content-type", "multipart/form-data; boundary=x-y-z")];

fn form(parts: &[(&str, Option<&str>, &str)]) -> String {
    let mut text = String::new();
    for (name, file, content) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        text.push_str(&format!(
            "--x-y-z\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n"
        ));
    }
    text + "--x-y-z--\r\n"
}

#[tokio::test]
async fn forms_bring_several_files_and_a_mapping() {
    let lab = lab();
    let sent =
        form(&[("file", Some("a.csv"), "a\n1\n"), ("mapping", None, "[dataset]"), ("file", Some("b.csv"), "b\n")]);
    let answer = lab.ask("POST", "/v1/ingest", &FORM, sent).await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    lab.fake.tell(|work| {
        assert_eq!(work.mapping.as_deref(), Some("[dataset]"));
        done(work)
    });
    let (_, document) = lab.until(answer.header("location"), "done").await.pop().unwrap();
    assert_eq!(document["dataset"], "named-by-mapping");
    let want = [("a.csv", "a\n1\n"), ("b.csv", "b\n")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(lab.fake.seen()[0].1, want);
    let before = lab.left().len();

    let file = ("file", Some("a.csv"), "a\n");
    for (parts, status, kind, words) in [
        (vec![file, file], 400, "bad-filename", "two files"),
        (vec![file, ("mapping", None, "rubbish")], 422, "bad-mapping", "line 1"),
        (vec![file, ("mapping", None, "x"), ("mapping", None, "x")], 400, "bad-part", "two `mapping`"),
        (vec![file, ("data", None, "x")], 400, "bad-part", "`data`"),
        (vec![("file", Some("../../evil.csv"), "a\n")], 400, "bad-filename", "plain name"),
        (vec![("file", Some(".."), "a\n")], 400, "bad-filename", "plain name"),
        (vec![("mapping", None, "[dataset]")], 400, "no-file", "part `file`"),
        (vec![("mapping", None, &"x".repeat((1 << 20) + 1))], 413, "too-large", "1024 KiB"),
        (vec![(&"n".repeat(3 << 20), None, "x")], 400, "bad-body", "too long"),
    ] {
        // in pieces, as a network brings it
        let pieces: Vec<_> =
            form(&parts).into_bytes().chunks(1 << 16).map(Bytes::copy_from_slice).map(Ok::<_, io::Error>).collect();
        let detail = lab.upload("", &FORM, Body::from_stream(stream::iter(pieces))).await.problem(status, kind);
        assert!(detail.contains(words), "no `{words}` in {detail}");
    }
    lab.upload("", &FORM, "no form").await.problem(400, "bad-body");
    lab.upload("", &[("content-type", "multipart/form-data")], "no boundary").await.problem(400, "bad-body");
    lab.upload("&filename=a.csv", &FORM, form(&[file])).await.problem(400, "bad-parameter");
    lab.ask("POST", "/v1/ingest", &FORM, form(&[file])).await.problem(400, "bad-parameter");
    assert_eq!(lab.left().len(), before, "{:?}", lab.left());
}

#[tokio::test]
async fn only_what_is_understood() {
    let lab = lab();
    for (query, kind) in [
        ("dataset=lab&fielname=a.csv", "no-parameter"),
        ("dataset=lab&dataset=lab2", "no-parameter"),
        ("dataset=../lab", "bad-parameter"),
        ("dataset=", "bad-parameter"),
        ("", "bad-parameter"),
        ("dataset=lab&evidence=seen", "bad-parameter"),
        ("dataset=lab&evidence=none", "bad-parameter"),
        ("dataset=lab&dry_run=yes", "bad-parameter"),
        ("dataset=lab&filename=a%2Fb.csv", "bad-filename"),
        ("dataset=lab&filename=%00", "bad-filename"),
    ] {
        let detail = lab.ask("POST", &format!("/v1/ingest?{query}"), &[], "a\n").await.problem(400, kind);
        assert!(detail.len() > 10, "{detail}");
    }
    let job = lab.job("a\n").await;
    lab.get(&format!("{job}?verbose=1")).await.problem(400, "no-parameter");
    lab.get("/v1/properties?group=x").await.problem(400, "no-parameter");
    for (path, accept, status) in [
        ("", "text/html", 406),
        ("", "application/json", 200),
        ("", "text/html, */*;q=0.1", 200),
        ("/events", "application/json", 406),
        ("/report", "text/csv", 406),
        ("/report", "application/x-ndjson", 409),
        ("/report", "application/*", 409),
        ("/refused/a.csv", "text/csv", 409),
    ] {
        let answer = lab.ask("GET", &format!("{job}{path}"), &[("accept", accept)], "").await;
        assert_eq!(answer.status, status, "{path} {accept}");
    }
    let listening = request("GET", &format!("{job}/events"), &[("accept", "text/event-stream")], "");
    assert_eq!(lab.app.clone().oneshot(listening).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn jobs_belong_to_one_server_and_grow_old() {
    let lab = lab();
    let why = open(&lab.data, Limits::default()).err().unwrap();
    assert!(matches!(why, JobsError::Elsewhere(_)), "{why}");
    let state = AppState::loading(Some(Token::new(TOKEN, "a test").unwrap()));
    state.ready_to_ingest(Err(why.to_string()));
    let other = matgenome_server::app(state);
    send(&other, request("GET", "/v1/jobs", &[], "")).await.problem(503, "no-ingest");
    let loading = matgenome_server::app(AppState::loading(Some(Token::new(TOKEN, "a test").unwrap())));
    send(&loading, request("POST", "/v1/ingest?dataset=lab", &[], "x")).await.problem(503, "loading");

    let job = lab.job("a\n").await;
    lab.fake.tell(done);
    lab.until(&job, "done").await;
    let lab = lab.restart(Limits { keep: Duration::ZERO, ..Limits::default() }).await;
    lab.get(&job).await.problem(404, "no-job");
    assert!(lab.left().is_empty(), "{:?}", lab.left());
    lab.jobs.stop(Duration::ZERO).await;
    lab.upload("", &[], "a\n").await.problem(503, "stopping");
}
