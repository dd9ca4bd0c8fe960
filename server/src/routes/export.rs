//! `GET /v1/export`: a dataset as a file.

use std::str::FromStr as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use datasets::export::{Export, Format};
use futures::stream;
use index::spec;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth;
use crate::problem::Problem;
use crate::state::AppState;
use crate::understood::Understood;

/// What [`export`] understands; its form is said by `format`.
pub(crate) const UNDERSTOOD: Understood = Understood { parameters: &["dataset", "format"], forms: &[] };

/// Which dataset, in which form.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportParameters {
    /// The dataset.
    dataset: String,
    /// `parquet`, `csv`, `jsonl` or `optimade-jsonl`.
    format: String,
}

/// All records of a dataset as a file; private datasets for whoever has the ingest token.
#[utoipa::path(
    get, path = "/v1/export", tag = "look up", params(ExportParameters), security((), ("ingest_token" = [])),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "A parameter cannot be taken"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The token is wrong"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such dataset"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The data is being loaded"),
    )
)]
pub(crate) async fn export(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    parameters: Result<Query<ExportParameters>, QueryRejection>,
) -> Result<Response, Response> {
    let viewer = auth::viewer(&state, &headers)?;
    let bad = |why: String| {
        Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", "A parameter cannot be taken", why).into_response()
    };
    let Query(parameters) = parameters.map_err(|why| bad(why.body_text()))?;
    let format = Format::from_str(&parameters.format).map_err(|why| bad(why.to_string()))?;
    let hub = state.hub().map_err(Problem::into_response)?;
    let snapshot = hub.snapshot();
    let names = [parameters.dataset];
    spec::scope(&snapshot, viewer, Some(&names)).map_err(|e| {
        let none = Problem::new(StatusCode::NOT_FOUND, "no-dataset", "No such dataset", e.message);
        Problem { closest: e.closest, ..none }.into_response()
    })?;
    let internal = |why: &dyn std::fmt::Display| Problem::internal(why).into_response();
    let table = hub.table_at(snapshot.version).await.map_err(|why| internal(&why))?;
    let export = Export::new(&table, &names, None, format).map_err(|why| internal(&why))?;
    // an export that breaks off ends the connection, so that no client takes a part for the whole
    let pieces = stream::try_unfold(export, |mut export| async move {
        let next = export.next().await.inspect_err(|why| tracing::error!("an export broke off: {why}"))?;
        Ok::<_, datasets::export::ExportError>(next.map(|bytes| (bytes, export)))
    });
    let name = format!("attachment; filename=\"{}.{}\"", names[0], format.as_str().replace("optimade-", "optimade."));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(format.media_type())),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&name).map_err(|why| internal(&why))?),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
