//! What the server is busy with, in numbers: `GET /metrics`, for Prometheus and what reads its form (OpenMetrics 1.0).

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use index::scope::Viewer;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::jobs::record::State as JobState;
use crate::state::AppState;

/// Ends of the classes of durations, in seconds.
const SECONDS: [f64; 11] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// What kind of request it was. Routes are patterns, so that there are few of them whatever is asked.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: String,
}

/// How it was answered.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// What is counted while requests are answered.
pub(crate) struct Metrics {
    answers: Family<Answered, Counter>,
    seconds: Family<Asked, Histogram, fn() -> Histogram>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        Metrics { answers: Family::default(), seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)) }
    }

    /// All numbers of this moment.
    fn text(&self, state: &AppState) -> String {
        let mut all = Registry::with_prefix("matgenome");
        all.register("build", "The program", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        all.register("http_requests", "Answers", self.answers.clone());
        let what = "Time from a request to the head of its answer";
        all.register_with_unit("http_request_duration", what, Unit::Seconds, self.seconds.clone());
        let gauge = |all: &mut Registry, name: &str, what: &str, value: i64| {
            all.register(name, what, ConstGauge::<i64>::new(value));
        };
        let hub = state.hub();
        gauge(&mut all, "ready", "1 once the data is loaded", i64::from(hub.is_ok()));
        if let Ok(hub) = hub {
            let snapshot = hub.snapshot();
            let public = snapshot.visible(Viewer::Public);
            gauge(&mut all, "table_version", "Version of the table that is searched", snapshot.version as i64);
            gauge(&mut all, "materials", "Public materials", snapshot.members(&public).count() as i64);
            let (ready, of) = hub.predicted(Viewer::Public);
            gauge(&mut all, "predicted_properties", "Public properties whose empty cells are predicted", ready as i64);
            gauge(&mut all, "predictable_properties", "Public properties that can be predicted", of as i64);
            let device = hub.device().describe();
            let named = vec![("name", device.name), ("kind", device.kind.to_owned()), ("driver", device.driver)];
            all.register("device", "The device that was opened", Info::new(named));
            let what = "1 while the device is lost and the CPU answers in its place";
            gauge(&mut all, "device_lost", what, i64::from(device.lost));
            let counter = |all: &mut Registry, name: &str, what: &str, value: u64| {
                all.register(name, what, ConstCounter::<u64>::new(value));
            };
            let what = "Searches that the CPU answered in place of the device";
            counter(&mut all, "device_searches_by_cpu", what, device.answered_by_cpu);
            let what = "Segments copied again to the device that had left its memory for others";
            counter(&mut all, "device_segments_copied_again", what, device.segments_copied_again.unwrap_or(0));
            let uploaded = ConstCounter::<u64>::new(device.uploaded_bytes.unwrap_or(0));
            let what = "Data copied to the device's memory";
            all.register_with_unit("device_uploaded", what, Unit::Bytes, uploaded);
            let held = ConstGauge::<i64>::new(device.held_bytes.unwrap_or(0) as i64);
            all.register_with_unit("device_held", "Data in the device's memory", Unit::Bytes, held);
        }
        if let Ok(jobs) = state.jobs() {
            let counted: Family<InState, Gauge> = Family::default();
            for state in JobState::ALL {
                counted.get_or_create(&InState { state: state.as_str() }).set(jobs.count(state) as i64);
            }
            all.register("ingest_jobs", "Ingest jobs that are kept, by state", counted);
        }
        let mut text = String::new();
        // writing to a string does not fail
        let _ = text::encode_registry(&mut text, &all);
        let mut process = Registry::with_prefix("process");
        if let Some(bytes) = resident() {
            process.register_with_unit(
                "resident_memory",
                "Memory of the process",
                Unit::Bytes,
                ConstGauge::<i64>::new(bytes),
            );
        }
        let _ = text::encode_registry(&mut text, &process);
        let _ = text::encode_eof(&mut text);
        text
    }
}

/// Bytes of memory that the process has, where the system says it.
#[cfg(target_os = "linux")]
fn resident() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: i64 = status.split_once("VmRSS:")?.1.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(not(target_os = "linux"))]
fn resident() -> Option<i64> {
    None
}

fn name_of(method: &Method) -> &'static str {
    const KNOWN: [Method; 7] =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    match KNOWN.iter().position(|known| known == method) {
        Some(at) => ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"][at],
        None => "other",
    }
}

/// Counts requests and times them.
pub(crate) async fn count(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let asked = Asked { method: name_of(request.method()), route };
    let start = Instant::now();
    let answer = next.run(request).await;
    state.metrics.seconds.get_or_create(&asked).observe(start.elapsed().as_secs_f64());
    let Asked { method, route } = asked;
    state.metrics.answers.get_or_create(&Answered { method, route, status: answer.status().as_u16() }).inc();
    answer
}

/// Numbers for a monitoring system: requests, device, data, jobs, memory.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"))
)]
pub(crate) async fn metrics(State(state): State<Arc<AppState>>) -> ([(HeaderName, HeaderValue); 1], String) {
    const FORM: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, FORM)], state.metrics.text(&state))
}
