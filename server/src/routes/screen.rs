//! `/v1/screen`: what may be said of formulas.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use index::scope::Viewer;
use index::screen::{self, MAX_WITH_NEIGHBOURS, ScreenAnswer, ScreenSpec};
use tokio_util::io::ReaderStream;

use super::{blocking_by, question_up_to};
use crate::problem::Problem;
use crate::screenings::ScreeningDocument;
use crate::state::AppState;

/// The largest question, bytes.
pub(crate) const MAX_BODY_BYTES: usize = 16 << 20;

/// Candidates that are answered at once, at most.
const AT_ONCE: usize = MAX_WITH_NEIGHBOURS;

/// What may be said of formulas, whether the hub holds them or not. Up to 1,000 candidates are answered at once, up to 100,000
/// by a screening that runs by itself: ask how far it is, then for its results.
#[utoipa::path(
    post, path = "/v1/screen", tag = "search", request_body = ScreenSpec,
    responses(
        (status = 200, body = ScreenAnswer),
        (status = 202, body = ScreeningDocument, description = "More than 1,000 candidates: it runs by itself", headers(("Location" = String, description = "Where it is"))),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The question cannot be answered"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many screenings run or wait"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The data is being loaded"),
    )
)]
pub(crate) async fn screen(
    State(state): State<Arc<AppState>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let spec: ScreenSpec = question_up_to(MAX_BODY_BYTES, body)?;
    if spec.candidates.len() <= AT_ONCE {
        let asked = move |hub: &index::hub::Hub| Ok(Json(hub.screen(&spec, Viewer::Public, &mut |_, _| true)?));
        return Ok(blocking_by(&state, &state.screens, asked).await?.into_response());
    }
    let hub = state.hub()?;
    screen::check(&hub.snapshot(), &spec, Viewer::Public)?;
    let document = state.screenings.start(hub, spec)?;
    let place = [(header::LOCATION, document.place().to_owned())];
    Ok((StatusCode::ACCEPTED, place, Json(document)).into_response())
}

/// A screening that runs by itself: what it is at, and how far.
#[utoipa::path(
    get, path = "/v1/screen/{id}", tag = "search", params(("id" = String, Path)),
    responses(
        (status = 200, body = ScreeningDocument),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such screening"),
    )
)]
pub(crate) async fn screening(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<ScreeningDocument>, Problem> {
    Ok(Json(state.screenings.get(&id)?.document()))
}

/// Ends a screening; removes one that has ended, with its results.
#[utoipa::path(
    delete, path = "/v1/screen/{id}", tag = "search", params(("id" = String, Path)),
    responses(
        (status = 200, body = ScreeningDocument, description = "It waited, and is cancelled"),
        (status = 202, body = ScreeningDocument, description = "It runs, and was told to end: `cancelled` after the property that it is at, or `done` where that was the last"),
        (status = 204, description = "It had ended, and is removed"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such screening"),
    )
)]
pub(crate) async fn cancel(State(state): State<Arc<AppState>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(match state.screenings.cancel(&id)? {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(document) if document.is_ended() => Json(document).into_response(),
        Some(document) => (StatusCode::ACCEPTED, Json(document)).into_response(),
    })
}

/// The results of a screening that has run by itself, in the form in which fewer candidates are answered at once.
#[utoipa::path(
    get, path = "/v1/screen/{id}/results", tag = "search", params(("id" = String, Path)),
    responses(
        (status = 200, body = ScreenAnswer),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such screening"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It has not ended, or it failed"),
    )
)]
pub(crate) async fn results(State(state): State<Arc<AppState>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let file = tokio::fs::File::from_std(state.screenings.get(&id)?.results()?);
    let pieces = ReaderStream::with_capacity(file, 1 << 16);
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response())
}
