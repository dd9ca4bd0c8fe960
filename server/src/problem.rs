//! Errors as RFC 9457 problem details: the one place where they are made.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use datasets::table::TableError;
use index::hub::HubError;
use index::spec::SpecError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A problem (`application/problem+json`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem; a stable name that scripts may rely on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, and the mend.
    pub detail: String,
    /// JSON pointer to the part of the body that is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The closest names that exist, where a name was unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closest: Vec<String>,
}

impl Problem {
    /// A problem without a pointer.
    pub fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:matgenome:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            pointer: None,
            closest: Vec::new(),
        }
    }

    /// Something went wrong that is not the caller's fault. What it was goes to the log, not to the caller.
    pub fn internal(what: &dyn std::fmt::Display) -> Problem {
        tracing::error!("{what}");
        let detail = "the hub failed on this request; the log of the server says why";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        let wait = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some("1"),
            StatusCode::TOO_MANY_REQUESTS => Some("5"),
            _ => None,
        };
        response.headers_mut().extend(wait.map(|wait| (header::RETRY_AFTER, HeaderValue::from_static(wait))));
        response
    }
}

impl From<SpecError> for Problem {
    fn from(error: SpecError) -> Problem {
        Problem {
            pointer: Some(error.pointer),
            closest: error.closest,
            ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-spec", "The spec cannot be answered", error.message)
        }
    }
}

impl From<HubError> for Problem {
    fn from(error: HubError) -> Problem {
        match error {
            HubError::Spec(spec) => spec.into(),
            HubError::NoMaterial { ref closest, .. } => Problem {
                closest: closest.clone(),
                ..Problem::new(StatusCode::NOT_FOUND, "no-material", "No such material", error.to_string())
            },
            HubError::Ambiguous { ref ids, .. } => Problem {
                closest: ids.clone(),
                ..Problem::new(StatusCode::NOT_FOUND, "ambiguous-material", "Several materials", error.to_string())
            },
            HubError::NoRecord(_) => {
                Problem::new(StatusCode::NOT_FOUND, "no-record", "No such record", error.to_string())
            }
            HubError::Table(TableError::NoSuchVersion { .. }) => {
                Problem::new(StatusCode::NOT_FOUND, "no-version", "No such version", error.to_string())
            }
            other => Problem::internal(&other),
        }
    }
}
