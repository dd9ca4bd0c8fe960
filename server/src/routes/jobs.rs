//! `/v1/jobs`: what became of what was sent.

use std::convert::Infallible;
use std::io;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

use crate::jobs::record::{JobDocument, ProgressAnswer, State as JobState};
use crate::jobs::{self, Cancelled, Jobs};
use crate::problem::Problem;
use crate::state::AppState;
use crate::understood::Understood;

/// What [`events`] understands.
pub(crate) const EVENTS_UNDERSTOOD: Understood = Understood { parameters: &[], forms: &["text/event-stream"] };

/// What [`report`] understands.
pub(crate) const REPORT_UNDERSTOOD: Understood = Understood { parameters: &[], forms: &["application/x-ndjson"] };

/// Time between two events of progress.
const BEAT: Duration = Duration::from_millis(250);

/// The jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobList {
    /// The jobs, the newest first, without their findings.
    jobs: Vec<JobDocument>,
}

/// Data of an event `progress`.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProgressEvent {
    /// Id of the job.
    id: String,
    /// What it is at.
    state: JobState,
    /// Number of jobs before it, where it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<usize>,
    /// How far it is, where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressAnswer>,
}

/// The files of refused rows.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusedFiles {
    /// The files.
    files: Vec<RefusedFile>,
}

/// A file of refused rows: mend it, and send it again.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusedFile {
    /// Its name.
    name: String,
    /// Its length.
    bytes: u64,
    /// Where it is.
    href: String,
}

/// The jobs, the newest first.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "ingest", security(("ingest_token" = [])),
    responses(
        (status = 200, body = JobList),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The ingest token is missing or wrong"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "This server takes no data in"),
    )
)]
pub(crate) async fn list(State(state): State<Arc<AppState>>) -> Result<Json<JobList>, Problem> {
    Ok(Json(JobList { jobs: state.jobs()?.list() }))
}

/// One job: what it is at, how far, and what it found.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "ingest", params(("id" = String, Path)), security(("ingest_token" = [])),
    responses(
        (status = 200, body = JobDocument),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The ingest token is missing or wrong"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job"),
    )
)]
pub(crate) async fn job(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<JobDocument>, Problem> {
    Ok(Json(state.jobs()?.document(&id)?))
}

/// Ends a job with nothing changed; removes one that has ended, with its report.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "ingest", params(("id" = String, Path)), security(("ingest_token" = [])),
    responses(
        (status = 200, body = JobDocument, description = "It waited, and is cancelled"),
        (status = 202, body = JobDocument, description = "It runs, and was told to end: `cancelled` in a moment, or `done` where its commit was under way"),
        (status = 204, description = "It had ended, and is removed"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The ingest token is missing or wrong"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job"),
    )
)]
pub(crate) async fn cancel(State(state): State<Arc<AppState>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let jobs = state.jobs()?;
    let cancelled = tokio::task::spawn_blocking(move || jobs.cancel(&id)).await;
    Ok(match cancelled.map_err(|why| Problem::internal(&why))?? {
        Cancelled::AtOnce(document) => Json(document).into_response(),
        Cancelled::Asked(document) => (StatusCode::ACCEPTED, Json(document)).into_response(),
        Cancelled::Forgotten => StatusCode::NO_CONTENT.into_response(),
    })
}

/// A job as server-sent events: `progress` about four times a second, at last `done`, `failed` or `cancelled` with the
/// job. Whoever comes late gets the state of that moment at once.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "ingest", params(("id" = String, Path)), security(("ingest_token" = [])),
    responses(
        (status = 200, body = ProgressEvent, content_type = "text/event-stream"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The ingest token is missing or wrong"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job"),
    )
)]
pub(crate) async fn events(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let jobs = state.jobs()?;
    let follow = Follow { changes: jobs.changes(&id)?, stops: jobs.stops(), jobs, id, last: None };
    let events = stream::unfold(Some(follow), |follow| async move {
        let mut follow = follow?;
        let (event, more) = follow.next().await?;
        Some((Ok(event), more.then_some(follow)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// A listener to a job.
struct Follow {
    jobs: Arc<Jobs>,
    id: String,
    changes: watch::Receiver<()>,
    stops: watch::Receiver<bool>,
    /// What was said last.
    last: Option<String>,
}

impl Follow {
    /// The next event, and whether more may follow; `None` where the job was removed or the server stops.
    async fn next(&mut self) -> Option<(Event, bool)> {
        loop {
            if self.last.is_some() {
                tokio::select! {
                    // whoever waits for the end hears of it at once
                    changed = self.changes.changed() => changed.ok()?,
                    _ = self.stops.wait_for(|stopping| *stopping) => return None,
                    () = tokio::time::sleep(BEAT) => {}
                }
            }
            let job = self.jobs.document(&self.id).ok()?;
            if job.state.is_ended() {
                let event = Event::default().event(job.state.as_str()).json_data(&job).ok()?;
                return Some((event, false));
            }
            let progress = ProgressEvent { id: job.id, state: job.state, ahead: job.ahead, progress: job.progress };
            let text = serde_json::to_string(&progress).ok()?;
            if self.last.as_ref() != Some(&text) {
                let event = Event::default().event("progress").data(&text);
                self.last = Some(text);
                return Some((event, true));
            }
        }
    }
}

/// What a job found, one finding a line.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/report", tag = "ingest", params(("id" = String, Path)), security(("ingest_token" = [])),
    responses(
        (status = 200, body = String, content_type = "application/x-ndjson"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The ingest token is missing or wrong"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job, or it left no report"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The job has not ended"),
    )
)]
pub(crate) async fn report(State(state): State<Arc<AppState>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let (folder, job) = state.jobs()?.ended(&id)?;
    let form = HeaderValue::from_static("application/x-ndjson");
    match send(&folder.join("report.jsonl")).await {
        Ok(body) => Ok(([(header::CONTENT_TYPE, form)], body).into_response()),
        Err(why) if why.kind() == io::ErrorKind::NotFound && job == JobState::Done => {
            Ok(([(header::CONTENT_TYPE, form)], "").into_response())
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let detail = format!("job {id} {} before it had a report; the job itself says why", job.as_str());
            Err(Problem::new(StatusCode::NOT_FOUND, "no-report", "No report", detail))
        }
        Err(why) => Err(Problem::internal(&format!("the report of job {id} cannot be read: {why}"))),
    }
}

/// The files of a job's refused rows, in the form in which they came: to be mended and sent again.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/refused", tag = "ingest", params(("id" = String, Path)), security(("ingest_token" = [])),
    responses(
        (status = 200, body = RefusedFiles),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The ingest token is missing or wrong"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The job has not ended"),
    )
)]
pub(crate) async fn refused(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<RefusedFiles>, Problem> {
    let (folder, _) = state.jobs()?.ended(&id)?;
    let files = refused_of(&folder, &id)?.into_iter().map(|(name, bytes)| {
        let escaped: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let href = format!("/v1/jobs/{id}/refused/{}", escaped.replace('+', "%20"));
        RefusedFile { name, bytes, href }
    });
    Ok(Json(RefusedFiles { files: files.collect() }))
}

/// One file of refused rows.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/refused/{name}", tag = "ingest", params(("id" = String, Path), ("name" = String, Path)),
    security(("ingest_token" = [])),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The ingest token is missing or wrong"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job or file"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The job has not ended"),
    )
)]
pub(crate) async fn refused_file(
    State(state): State<Arc<AppState>>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (folder, _) = state.jobs()?.ended(&id)?;
    // only names of the listing are opened
    let found = refused_of(&folder, &id)?.into_iter().any(|(known, _)| known == name);
    if !found {
        let detail = format!("job {id} has no such file of refused rows; /v1/jobs/{id}/refused lists what it has");
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-refused", "No such file", detail));
    }
    let sent = send(&folder.join("refused").join(&name)).await;
    let body = sent.map_err(|why| Problem::internal(&format!("the refused rows of job {id} cannot be read: {why}")))?;
    let escaped: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let attachment = format!("attachment; filename*=UTF-8''{}", escaped.replace('+', "%20"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&attachment).map_err(|why| Problem::internal(&why))?),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, body).into_response())
}

fn refused_of(folder: &FsPath, id: &str) -> Result<Vec<(String, u64)>, Problem> {
    let files = jobs::refused_files(folder);
    let files =
        files.map_err(|why| Problem::internal(&format!("the refused rows of job {id} cannot be listed: {why}")))?;
    Ok(files.into_iter().map(|file| (file.name, file.bytes)).collect())
}

async fn send(path: &FsPath) -> io::Result<Body> {
    Ok(Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::open(path).await?, 1 << 16)))
}
