//! Refuses what would be passed over in silence: query parameters, and forms of answer that a route does not have.

use std::collections::HashSet;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;

/// What a route understands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Understood {
    /// Its query parameters.
    pub(crate) parameters: &'static [&'static str],
    /// The content types that it may answer with, the first of them the usual one.
    pub(crate) forms: &'static [&'static str],
}

impl Understood {
    /// No parameters, answers in JSON.
    pub(crate) const JSON: Understood = Understood { parameters: &[], forms: &["application/json"] };
    /// No parameters, any form.
    pub(crate) const ANY: Understood = Understood { parameters: &[], forms: &[] };

    fn allows(&self, accept: &str) -> bool {
        accept.split(',').filter_map(|range| range.split(';').next()).map(str::trim).any(|range| {
            range == "*/*"
                || self.forms.iter().any(|form| {
                    let kind = form.split('/').next().unwrap_or_default();
                    range.eq_ignore_ascii_case(form) || range.strip_suffix("/*").is_some_and(|given| given == kind)
                })
        })
    }
}

/// Lets requests through that ask for nothing that their route does not understand.
pub(crate) async fn only(State(understood): State<Understood>, request: Request, next: Next) -> Response {
    let mut seen = HashSet::new();
    for (name, _) in url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
        let detail = if understood.parameters.is_empty() {
            format!("`?{name}` is not understood: {} takes no query parameters", request.uri().path())
        } else if !understood.parameters.contains(&&*name) {
            let known = understood.parameters.join(", ");
            format!("`?{name}` is not understood: the parameters of {} are {known}", request.uri().path())
        } else if seen.contains(&name) {
            format!("`{name}` is given twice: give it once")
        } else {
            seen.insert(name);
            continue;
        };
        return Problem::new(StatusCode::BAD_REQUEST, "no-parameter", "No such parameter", detail).into_response();
    }
    let accept: Vec<&str> =
        request.headers().get_all(header::ACCEPT).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    let accept = accept.join(",");
    if !understood.forms.is_empty() && !accept.trim().is_empty() && !understood.allows(&accept) {
        let detail = format!("answers are `{}`", understood.forms.join("`, `"));
        return Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable", detail).into_response();
    }
    next.run(request).await
}
