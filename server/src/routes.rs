//! The routes under `/v1` and the operations: each parses, calls the hub, and renders.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use datasets::catalogue::DatasetInfo;
use datasets::property::Listed;
use datasets::record::Record;
use datasets::table::Commit;
use index::candidate::{MaterialAnswer, SuggestAnswer};
use index::hub::{Hub, HubError};
use index::scope::Viewer;
use index::similar::{SimilarAnswer, SimilarSpec, SubstituteSpec};
use index::snapshot::{Dataset, Snapshot};
use index::spec::{self, Spec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;
use crate::state::AppState;
use crate::understood::Understood;

pub(crate) mod export;
pub(crate) mod ingest;
pub(crate) mod jobs;
pub(crate) mod screen;

/// The properties that can be asked about.
#[derive(Serialize, ToSchema)]
pub(crate) struct Properties {
    /// Version of the table.
    version: u64,
    /// The properties, in the order of the dictionary; then those of datasets' own, with their `dataset`.
    #[schema(value_type = Vec<Object>)]
    properties: Vec<Listed<'static>>,
}

/// The catalogue.
#[derive(Serialize, ToSchema)]
pub(crate) struct Datasets {
    /// Version of the table.
    version: u64,
    /// The datasets that the caller may see, by name.
    datasets: Vec<DatasetAnswer>,
}

/// A dataset, its terms and counts.
#[derive(Serialize, ToSchema)]
pub(crate) struct DatasetAnswer {
    /// Its terms.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    info: DatasetInfo,
    /// Number of records.
    records: u64,
    /// Number of distinct materials.
    materials: u64,
    /// Number of values.
    values: u64,
}

impl From<&Dataset> for DatasetAnswer {
    fn from(d: &Dataset) -> Self {
        DatasetAnswer { info: d.info.clone(), records: d.records, materials: d.materials, values: d.values }
    }
}

/// A record as it was contributed.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordAnswer {
    /// Version of the table.
    version: u64,
    /// Its dataset.
    dataset: String,
    /// Id of the material that it speaks about.
    material: String,
    /// The record.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    record: Record,
}

/// The commits.
#[derive(Serialize, ToSchema)]
pub(crate) struct History {
    /// Version of the table that is served.
    version: u64,
    /// The commits, newest first.
    #[schema(value_type = Vec<Object>)]
    commits: Vec<Commit>,
}

/// State of the server.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `loading` until the data is there.
    status: &'static str,
    /// Version of the program.
    program: &'static str,
    /// Version of the table, once it is loaded.
    version: Option<u64>,
    /// The device that searches.
    device: Option<String>,
    /// Why it was chosen, or what is wrong with it now: lost, or with less memory than the data.
    device_note: Option<String>,
    /// Number of materials that everyone may see.
    materials: Option<usize>,
    /// Properties whose empty cells are predicted, of those that can be.
    predicted: Option<Predicted>,
}

/// How far predictions are.
#[derive(Serialize, ToSchema)]
pub(crate) struct Predicted {
    /// Properties that are predicted.
    ready: usize,
    /// Properties that can be.
    of: usize,
}

async fn blocking<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce(&Hub) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    blocking_by(state, &state.searches, work).await
}

async fn blocking_by<T: Send + 'static>(
    state: &AppState,
    permits: &Semaphore,
    work: impl FnOnce(&Hub) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let hub = state.hub()?;
    // all use all cores: a few at a time are faster than all at once
    let permit = permits.acquire().await.map_err(|e| Problem::internal(&e))?;
    let done = tokio::task::spawn_blocking(move || work(&hub)).await;
    drop(permit);
    done.map_err(|e| Problem::internal(&e))?
}

/// Candidates for a target spec.
#[utoipa::path(
    post, path = "/v1/suggest", tag = "search", request_body = Spec,
    responses(
        (status = 200, body = SuggestAnswer),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The spec cannot be answered"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The data is being loaded"),
    )
)]
pub(crate) async fn suggest(
    State(state): State<Arc<AppState>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<SuggestAnswer>, Problem> {
    let spec: Spec = question(body)?;
    let snapshot = state.hub()?.snapshot();
    let is_made = spec.like.as_ref().is_none_or(|like| snapshot.has_embedding(like.by));
    let permits = if is_made { &state.searches } else { &state.spaces };
    blocking_by(&state, permits, move |hub| Ok(Json(hub.suggest(&spec, Viewer::Public)?))).await
}

/// The question that a body asks.
fn question<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    question_up_to(crate::MAX_BODY_BYTES, body)
}

/// The question that a body of at most `limit` bytes asks.
fn question_up_to<T: DeserializeOwned>(limit: usize, body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("a question is at most {} KiB", limit >> 10);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
        }
        _ => Problem::new(StatusCode::BAD_REQUEST, "bad-body", "The body cannot be read", e.body_text()),
    })?;
    if let Err(e) = serde_json::from_slice::<serde::de::IgnoredAny>(&body) {
        let detail = format!("{e}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-json", "The body is no JSON", detail));
    }
    Ok(spec::read_json(&body)?)
}

/// A problem with a question about one material: where the body names it is where the blame is.
fn about_material(error: HubError, by_formula: bool) -> Problem {
    let named = matches!(error, HubError::NoMaterial { .. } | HubError::Ambiguous { .. });
    let mut problem = Problem::from(error);
    if named {
        problem.pointer = Some(if by_formula { "/formula" } else { "/material" }.to_owned());
    }
    problem
}

/// Materials that are like one.
#[utoipa::path(
    post, path = "/v1/similar", tag = "search", request_body = SimilarSpec,
    responses(
        (status = 200, body = SimilarAnswer),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No material, or several, answer to that"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The question cannot be answered"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The data is being loaded"),
    )
)]
pub(crate) async fn similar(
    State(state): State<Arc<AppState>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<SimilarAnswer>, Problem> {
    let spec: SimilarSpec = question(body)?;
    let is_made = state.hub()?.snapshot().has_embedding(spec.by);
    let permits = if is_made { &state.searches } else { &state.spaces };
    let asked =
        move |hub: &Hub| hub.similar(&spec, Viewer::Public).map_err(|e| about_material(e, spec.material.is_none()));
    blocking_by(&state, permits, move |hub| asked(hub).map(Json)).await
}

/// Materials that could stand in for one, without some elements.
#[utoipa::path(
    post, path = "/v1/substitute", tag = "search", request_body = SubstituteSpec,
    responses(
        (status = 200, body = SimilarAnswer),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No material, or several, answer to that"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The question cannot be answered"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The data is being loaded"),
    )
)]
pub(crate) async fn substitute(
    State(state): State<Arc<AppState>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<SimilarAnswer>, Problem> {
    let spec: SubstituteSpec = question(body)?;
    let asked =
        move |hub: &Hub| hub.substitute(&spec, Viewer::Public).map_err(|e| about_material(e, spec.material.is_none()));
    blocking(&state, move |hub| asked(hub).map(Json)).await
}

/// What [`material`] understands.
pub(crate) const MATERIAL_UNDERSTOOD: Understood = Understood { parameters: &["predicted"], ..Understood::JSON };

/// What is wanted of a material beside what is known.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MaterialParameters {
    /// `true`: also what is predicted of the properties that nothing is known of.
    #[serde(default)]
    predicted: bool,
}

/// All that is known of a material, with its provenance.
#[utoipa::path(
    get, path = "/v1/materials/{id}", tag = "look up",
    params(("id" = String, Path, description = "Id, formula in any order, or name"), MaterialParameters),
    responses((status = 200, body = MaterialAnswer), (status = 400, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn material(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    parameters: Result<Query<MaterialParameters>, QueryRejection>,
) -> Result<Json<MaterialAnswer>, Problem> {
    let Query(MaterialParameters { predicted }) = parameters.map_err(|why| {
        Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", "A parameter cannot be taken", why.body_text())
    })?;
    blocking(&state, move |hub| Ok(Json(hub.material(&id, Viewer::Public, predicted)?))).await
}

/// One record as it was contributed.
#[utoipa::path(
    get, path = "/v1/records/{id}", tag = "look up",
    params(("id" = String, Path, description = "`<dataset>/<source id>`, its `/` written `%2F` or as it is")),
    responses((status = 200, body = RecordAnswer), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn record(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<RecordAnswer>, Problem> {
    let hub = state.hub()?;
    let record = hub.record(&id, Viewer::Public).await?;
    let (dataset, material) = (record.dataset().to_owned(), record.material_id());
    Ok(Json(RecordAnswer { version: hub.snapshot().version, dataset, material, record }))
}

/// The property dictionary, and the properties of datasets' own.
#[utoipa::path(
    get, path = "/v1/properties", tag = "look up",
    responses(
        (status = 200, body = Properties),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The data is being loaded"),
    )
)]
pub(crate) async fn properties(State(state): State<Arc<AppState>>) -> Result<Json<Properties>, Problem> {
    let snapshot = state.hub()?.snapshot();
    let properties = snapshot.properties(&snapshot.visible(Viewer::Public)).map(Listed::from).collect();
    Ok(Json(Properties { version: snapshot.version, properties }))
}

/// The datasets, their terms and counts.
#[utoipa::path(get, path = "/v1/datasets", tag = "look up", responses((status = 200, body = Datasets)))]
pub(crate) async fn datasets(State(state): State<Arc<AppState>>) -> Result<Json<Datasets>, Problem> {
    let snapshot = state.hub()?.snapshot();
    let visible = snapshot.visible(Viewer::Public);
    let seen = snapshot.datasets.iter().zip(&visible.0).filter(|(_, seen)| **seen);
    Ok(Json(Datasets { version: snapshot.version, datasets: seen.map(|(d, _)| d.into()).collect() }))
}

/// One dataset, its terms and counts.
#[utoipa::path(
    get, path = "/v1/datasets/{name}", tag = "look up", params(("name" = String, Path)),
    responses((status = 200, body = DatasetAnswer), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn dataset(
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
) -> Result<Json<DatasetAnswer>, Problem> {
    let snapshot = state.hub()?.snapshot();
    let scope = spec::scope(&snapshot, Viewer::Public, Some(&[name])).map_err(|e| Problem {
        closest: e.closest,
        ..Problem::new(StatusCode::NOT_FOUND, "no-dataset", "No such dataset", e.message)
    })?;
    let found = snapshot.datasets.iter().zip(&scope.0).find(|(_, named)| **named);
    found.map(|(d, _)| Json(d.into())).ok_or_else(|| Problem::internal(&"a scope without a dataset"))
}

/// The commits of the table, newest first.
#[utoipa::path(get, path = "/v1/history", tag = "look up", responses((status = 200, body = History)))]
pub(crate) async fn history(State(state): State<Arc<AppState>>) -> Result<Json<History>, Problem> {
    let hub = state.hub()?;
    let snapshot = hub.snapshot();
    let visible = snapshot.visible(Viewer::Public);
    let hidden: Vec<&str> = snapshot
        .datasets
        .iter()
        .zip(&visible.0)
        .filter(|(_, seen)| !**seen)
        .map(|(d, _)| d.info.name.as_str())
        .collect();
    let mut commits = hub.history().await?;
    commits.retain(|c| !c.what.datasets.iter().any(|name| hidden.contains(&name.as_str())));
    Ok(Json(History { version: snapshot.version, commits }))
}

/// Whether the process is alive; says the device.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = Health)))]
pub(crate) async fn healthz(State(state): State<Arc<AppState>>) -> Json<Health> {
    Json(health(&state))
}

/// Whether searches are answered.
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Health), (status = 503, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn readyz(State(state): State<Arc<AppState>>) -> Result<Json<Health>, Problem> {
    state.hub()?;
    Ok(Json(health(&state)))
}

fn health(state: &AppState) -> Health {
    let hub = state.hub().ok();
    let snapshot = hub.as_ref().map(|hub| hub.snapshot());
    let public = |s: &Snapshot| s.members(&s.visible(Viewer::Public)).count();
    Health {
        status: if hub.is_some() { "ok" } else { "loading" },
        program: env!("CARGO_PKG_VERSION"),
        version: snapshot.as_ref().map(|s| s.version),
        device: hub.as_ref().map(|hub| hub.device().name().to_owned()),
        device_note: hub.as_ref().and_then(|hub| hub.device().describe().note),
        materials: snapshot.as_deref().map(public),
        predicted: hub.as_ref().map(|hub| hub.predicted(Viewer::Public)).map(|(ready, of)| Predicted { ready, of }),
    }
}
