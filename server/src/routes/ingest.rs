//! `POST /v1/ingest`: a file becomes a job.

use std::io;
use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::multipart::Multipart;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest as _, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use datasets::catalogue::DatasetInfo;
use datasets::record::Evidence;
use futures::Stream;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::jobs::Asked;
use crate::jobs::record::JobDocument;
use crate::jobs::spool::{self, Spool};
use crate::problem::Problem;
use crate::state::AppState;
use crate::understood::Understood;

/// What [`ingest`] understands.
pub(crate) const UNDERSTOOD: Understood =
    Understood { parameters: &["dataset", "filename", "evidence", "dry_run"], forms: &["application/json"] };

/// The most characters of an idempotency key.
const MAX_KEY: usize = 255;

/// The most bytes of a form between two pieces of content: the heads of its parts.
const MAX_HEADS: usize = 1 << 20;

/// Parameters of an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct IngestParameters {
    /// Dataset to put the records into; needed where no mapping names it.
    dataset: Option<String>,
    /// Name of the file, where the body is the file itself. Its end tells the format.
    #[param(example = "lab.csv")]
    filename: Option<String>,
    /// Evidence of values where neither file nor mapping says it: `measured`, `computed`, `derived` or `predicted`.
    evidence: Option<String>,
    /// `true`: read and check, and write nothing.
    #[param(value_type = Option<bool>)]
    dry_run: Option<String>,
}

/// Files and how to read them.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(crate) struct IngestForm {
    /// The files; several parts may have this name.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// A mapping file (TOML): which column is what.
    mapping: Option<String>,
}

/// Takes a file in: answers with a job, which checks its rows and puts them into a dataset in one commit.
#[utoipa::path(
    post, path = "/v1/ingest", tag = "ingest", security(("ingest_token" = [])),
    params(
        IngestParameters,
        ("Idempotency-Key" = Option<String>, Header, description = "A word of your own: the same request with the same key is the same job, whatever was lost on the way")
    ),
    request_body(description = "The file as it is, or a form", content(
        (Vec<u8> = "application/octet-stream"), (IngestForm = "multipart/form-data")
    )),
    responses(
        (status = 200, body = JobDocument, description = "The job that the same request had made before"),
        (status = 202, body = JobDocument, description = "A new job", headers(("Location" = String, description = "Where the job is"))),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The request cannot be understood"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The ingest token is missing or wrong"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "This server takes no data in"),
        (status = 408, body = Problem, content_type = "application/problem+json", description = "The upload stalled"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The upload is too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "The body has a content encoding"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The mapping cannot be used, or the key was used for another job"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many jobs wait"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The data is being loaded, the server stops, or another one has the jobs"),
        (status = 507, body = Problem, content_type = "application/problem+json", description = "No space is left"),
    )
)]
pub(crate) async fn ingest(
    State(state): State<Arc<AppState>>,
    parameters: Result<Query<IngestParameters>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let jobs = state.jobs()?;
    let Query(parameters) = parameters.map_err(|why| bad_parameter(why.body_text()))?;
    let asked = asked(&parameters, request.headers())?;
    if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        let detail = "a `Content-Encoding` is not undone here: send the compressed file as it is, under its own name (lab.csv.gz)";
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-encoding",
            "Unsupported encoding",
            detail,
        ));
    }
    let mut spool = jobs.spool()?;
    let form = content_type(request.headers()).is_some_and(|given| given.starts_with("multipart/"));
    if form {
        if parameters.filename.is_some() {
            return Err(bad_parameter("`filename` is for a body that is the file; in a form each part has its own"));
        }
        take_form(&mut spool, request).await?;
    } else {
        let name = parameters.filename.unwrap_or_else(|| default_name(content_type(request.headers()), 0));
        spool.file(&name, request.into_body().into_data_stream(), || ()).await?;
    }
    if spool.is_empty() {
        let detail = "no file arrived: send it as the body, or as the part `file` of a form";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "no-file", "There is no file", detail));
    }
    if asked.dataset.is_none() && !spool.has_mapping() {
        return Err(bad_parameter("say which dataset the records go into: ?dataset=NAME"));
    }
    // goes on where the client leaves now: it may ask again by its key
    let admitted = tokio::task::spawn_blocking(move || jobs.admit(&spool, asked)).await;
    let (document, new) = admitted.map_err(|why| Problem::internal(&why))??;
    let location = HeaderValue::from_str(&document.links.this).map_err(|why| Problem::internal(&why))?;
    let status = if new { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, location)], Json(document)).into_response())
}

fn bad_parameter(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", "A parameter cannot be taken", detail)
}

fn asked(parameters: &IngestParameters, headers: &HeaderMap) -> Result<Asked, Problem> {
    if let Some(why) = parameters.dataset.as_deref().and_then(|name| DatasetInfo::unnamed_terms(name).problem()) {
        return Err(bad_parameter(why));
    }
    let evidence = match parameters.evidence.as_deref() {
        None => None,
        Some(text) => match Evidence::from_str(text).map_err(bad_parameter)? {
            Evidence::None => return Err(bad_parameter("`evidence` is measured, computed, derived or predicted")),
            evidence => Some(evidence),
        },
    };
    let dry_run = match parameters.dry_run.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(bad_parameter("`dry_run` is true or false")),
    };
    let mut keys = headers.get_all("idempotency-key").iter();
    let key = match (keys.next(), keys.next()) {
        (None, _) => None,
        (Some(key), None) => {
            let text = key.to_str().unwrap_or_default().trim();
            if text.is_empty() || text.len() > MAX_KEY {
                return Err(bad_parameter(format!("an `Idempotency-Key` has 1 to {MAX_KEY} characters of ASCII")));
            }
            Some(text.to_owned())
        }
        (Some(_), Some(_)) => return Err(bad_parameter("there are several `Idempotency-Key` headers: send one")),
    };
    Ok(Asked { dataset: parameters.dataset.clone(), evidence, dry_run, key })
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

/// The name of a file that came without one: by its content type, where that says what it is.
fn default_name(content_type: Option<&str>, at: usize) -> String {
    let kind = content_type.and_then(|given| given.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    let end = match kind.as_str() {
        "text/csv" => ".csv",
        "text/tab-separated-values" => ".tsv",
        "application/json" => ".json",
        "application/x-ndjson" | "application/jsonl" => ".jsonl",
        "application/vnd.apache.parquet" => ".parquet",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => ".xlsx",
        "chemical/x-cif" => ".cif",
        _ => "",
    };
    let number = if at == 0 { String::new() } else { format!("-{}", at + 1) };
    format!("upload{number}{end}")
}

async fn take_form(spool: &mut Spool, request: Request) -> Result<(), Problem> {
    let (parts, body) = request.into_parts();
    let unread = Arc::new(AtomicUsize::new(0));
    let sips = Sips { body: body.into_data_stream(), unread: Arc::clone(&unread), rest: false };
    let request = Request::from_parts(parts, Body::from_stream(sips));
    let mut form = Multipart::from_request(request, &()).await.map_err(|why| spool::broken(&why))?;
    let mut files = 0;
    let arrived = || unread.store(0, Ordering::Relaxed);
    loop {
        let next = spool.in_time(form.next_field()).await?;
        let Some(part) = next.map_err(|why| spool::broken(&why))? else { return Ok(()) };
        arrived();
        match part.name() {
            Some("file") => {
                let name = part.file_name().map(str::to_owned);
                let name = name.unwrap_or_else(|| default_name(part.content_type(), files));
                files += 1;
                spool.file(&name, part, arrived).await?;
            }
            Some("mapping") => spool.mapping(part, arrived).await?,
            other => {
                let shown: String = other.unwrap_or_default().chars().take(60).collect();
                let detail =
                    format!("`{}` is no part of this form: its parts are `file` and `mapping`", shown.escape_debug());
                return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-part", "A part cannot be taken", detail));
            }
        }
    }
}

/// A body that is read in sips. The reader of forms takes all that is there into memory, and any length of a head; so
/// here nothing more is there after each piece, until it has looked at that one, and heads have a bound.
struct Sips {
    body: BodyDataStream,
    unread: Arc<AtomicUsize>,
    rest: bool,
}

impl Stream for Sips {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rest) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = ready!(Pin::new(&mut self.body).poll_next(cx));
        let Some(piece) = next else { return Poll::Ready(None) };
        let piece = piece.map_err(io::Error::other)?;
        self.rest = true;
        if self.unread.fetch_add(piece.len(), Ordering::Relaxed) > MAX_HEADS {
            return Poll::Ready(Some(Err(io::Error::other("the head of a part is too long"))));
        }
        Poll::Ready(Some(Ok(piece)))
    }
}
