//! HTTP: parses, calls, renders. Nothing is computed about materials here.
//!
//! [`app`] is the router with all routes, [`serve`] runs it until it is told to stop, [`openapi`] is its description,
//! [`problem`] the one form of its errors.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use index::hub::{Hub, HubError};
use index::prediction::PredictionError;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::trace::TraceLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

pub mod auth;
pub mod jobs;
mod metrics;
pub mod problem;
mod routes;
pub mod runner;
mod screenings;
pub mod state;
mod understood;

use problem::Problem;
use state::AppState;
use understood::Understood;

/// The largest body of a request that is no upload, bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// How often the server looks whether the log has a next version.
const FOLLOW: Duration = Duration::from_millis(100);

/// After how many such looks the log is read in any case: entries of long ago may have been cleaned away.
const READ_AFTER: u32 = 100;

/// How long running requests may go on after the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "matgenome",
        description = "Which materials could meet a target spec, how sure is that, and on whose evidence?",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem)),
    modifiers(&WithToken)
)]
struct ApiDoc;

/// Describes the ingest token.
struct WithToken;

impl utoipa::Modify for WithToken {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        api.components.get_or_insert_default().add_security_scheme("ingest_token", scheme);
    }
}

/// Routes that understand the same.
fn group(understood: Understood, routes: OpenApiRouter<Arc<AppState>>) -> OpenApiRouter<Arc<AppState>> {
    routes.route_layer(from_fn_with_state(understood, understood::only))
}

fn documented(state: &Arc<AppState>) -> OpenApiRouter<Arc<AppState>> {
    let operations = OpenApiRouter::new()
        .routes(routes!(routes::healthz))
        .routes(routes!(routes::readyz))
        .routes(routes!(metrics::metrics));
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .merge(group(Understood::JSON, look_ups()))
        .merge(group(routes::MATERIAL_UNDERSTOOD, OpenApiRouter::new().routes(routes!(routes::material))))
        .merge(group(routes::export::UNDERSTOOD, OpenApiRouter::new().routes(routes!(routes::export::export))))
        .merge(trusted(state))
        .merge(operations)
}

fn look_ups() -> OpenApiRouter<Arc<AppState>> {
    // 100,000 formulas are more than other questions
    let screenings = OpenApiRouter::new()
        .routes(routes!(routes::screen::screen))
        .layer(DefaultBodyLimit::max(routes::screen::MAX_BODY_BYTES));
    OpenApiRouter::new()
        .routes(routes!(routes::suggest))
        .routes(routes!(routes::similar))
        .routes(routes!(routes::substitute))
        .merge(screenings)
        .routes(routes!(routes::screen::screening, routes::screen::cancel))
        .routes(routes!(routes::screen::results))
        .routes(routes!(routes::record))
        .routes(routes!(routes::properties))
        .routes(routes!(routes::datasets))
        .routes(routes!(routes::dataset))
        .routes(routes!(routes::history))
        // a record's id holds a slash, which clients may leave as it is
        .route("/v1/records/{dataset}/{*rest}", get(record_by_parts))
}

/// What needs the ingest token.
fn trusted(state: &Arc<AppState>) -> OpenApiRouter<Arc<AppState>> {
    let new = || OpenApiRouter::new();
    let (ingest, events, report) =
        (routes::ingest::UNDERSTOOD, routes::jobs::EVENTS_UNDERSTOOD, routes::jobs::REPORT_UNDERSTOOD);
    // an upload has a limit of its own
    let upload = new().routes(routes!(routes::ingest::ingest)).layer(DefaultBodyLimit::disable());
    let documents = new()
        .routes(routes!(routes::jobs::list))
        .routes(routes!(routes::jobs::job, routes::jobs::cancel))
        .routes(routes!(routes::jobs::refused));
    group(ingest, upload)
        .merge(group(Understood::JSON, documents))
        .merge(group(events, new().routes(routes!(routes::jobs::events))))
        .merge(group(report, new().routes(routes!(routes::jobs::report))))
        .merge(group(Understood::ANY, new().routes(routes!(routes::jobs::refused_file))))
        .route_layer(from_fn_with_state(Arc::clone(state), auth::required))
}

/// The description of the API, OpenAPI 3.1.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented(&AppState::loading(None)).split_for_parts().1
}

/// All routes.
pub fn app(state: Arc<AppState>) -> Router {
    let (router, api) = documented(&state).split_for_parts();
    router
        .merge(SwaggerUi::new("/docs").url("/openapi.json", api))
        .route("/", get(|| async { Redirect::temporary("/docs/") }))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(errors_in_one_form))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| -> Response {
            Problem::internal(&"a request handler panicked").into_response()
        }))
        .layer(CompressionLayer::new())
        // failures are logged where they are made; headers are not logged
        .layer(TraceLayer::new_for_http().on_failure(()))
        .layer(from_fn_with_state(Arc::clone(&state), metrics::count))
        .layer(from_fn(auth::hide))
        .with_state(state)
}

async fn record_by_parts(
    state: axum::extract::State<Arc<AppState>>,
    axum::extract::Path((dataset, rest)): axum::extract::Path<(String, String)>,
) -> Response {
    routes::record(state, axum::extract::Path(format!("{dataset}/{rest}"))).await.into_response()
}

/// Errors that the framework or the documentation page answers by themselves, in the form of ours.
async fn errors_in_one_form(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answer = next.run(request).await;
    let (status, headers) = (answer.status(), answer.headers());
    let is_problem = headers.get(header::CONTENT_TYPE).is_some_and(|form| form == "application/problem+json");
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let allow = headers.get(header::ALLOW).cloned();
    let problem = match status {
        StatusCode::NOT_FOUND => no_such_path(uri).await,
        StatusCode::METHOD_NOT_ALLOWED => wrong_method(method, uri).await,
        status if status.is_server_error() => Problem::internal(&format!("{method} {uri}: {status}")),
        status => {
            let detail = "the request cannot be understood; /docs says how to ask";
            Problem::new(status, "bad-request", "Bad request", detail)
        }
    };
    let mut answer = problem.into_response();
    answer.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
    answer
}

async fn no_such_path(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}; /docs lists what there is", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "no-path", "No such path", detail)
}

async fn wrong_method(method: axum::http::Method, uri: Uri) -> Problem {
    let detail = format!("{} cannot be asked by {method}; /docs says how", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "Method not allowed", detail)
}

/// Serves until `stop` resolves, then lets running requests and the running job end for some seconds.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    state: Arc<AppState>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    let serving = axum::serve(listener, app(Arc::clone(&state))).with_graceful_shutdown(async move {
        stop.await;
        let _ = stopping.send(true);
    });
    let mut told = stopped.clone();
    let requests = async {
        tokio::select! {
            done = serving => done,
            // idle connections that a client keeps open must not keep the server
            () = async {
                let _ = told.wait_for(|stopping| *stopping).await;
                tokio::time::sleep(GRACE).await;
            } => Ok(()),
        }
    };
    let work = async {
        let _ = stopped.wait_for(|stopping| *stopping).await;
        if let Ok(jobs) = state.jobs() {
            jobs.stop(GRACE).await;
        }
    };
    tokio::join!(requests, work).0
}

/// Predicts what is not known, in the background: of every version that is shown, unless a newer one is there first.
pub async fn predict(hub: Arc<Hub>) {
    let Some(threads) = background("predictions") else { return };
    let mut versions = hub.versions();
    loop {
        versions.mark_unchanged();
        let (predicting, threads) = (Arc::clone(&hub), Arc::clone(&threads));
        let work = move || threads.install(|| predicting.predict(None, &mut |_, _| true));
        match tokio::task::spawn_blocking(work).await {
            // a newer version is there, or will be: the older one's predictions are not wanted any more
            Ok(Ok(()) | Err(HubError::Prediction(PredictionError::Stopped))) => {}
            Ok(Err(why)) => tracing::warn!("nothing is predicted: {why}"),
            Err(why) => tracing::error!("nothing is predicted: {why}"),
        }
        if versions.changed().await.is_err() {
            return;
        }
    }
}

/// Makes the graphs that questions for similar materials want, in the background.
pub async fn link(hub: Arc<Hub>) {
    let Some(threads) = background("graphs") else { return };
    loop {
        hub.wants_graphs().await;
        let (linking, threads) = (Arc::clone(&hub), Arc::clone(&threads));
        match tokio::task::spawn_blocking(move || threads.install(|| linking.make_graphs())).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::warn!("all vectors are looked at for each question: {why}"),
            Err(why) => tracing::error!("all vectors are looked at for each question: {why}"),
        }
    }
}

/// Threads of their own for work in the background: no task of those that answer and follow waits in a queue behind it.
fn background(name: &'static str) -> Option<Arc<rayon::ThreadPool>> {
    let threads = rayon::ThreadPoolBuilder::new().thread_name(|_| name.into()).start_handler(|_| give_way());
    let threads = threads.build().inspect_err(|why| tracing::error!("no {name}: {why}"));
    threads.ok().map(Arc::new)
}

/// Takes the processor only where nobody else wants it.
fn give_way() {
    // one thread on Linux, the whole process elsewhere
    #[cfg(target_os = "linux")]
    if let Err(why) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19) {
        tracing::debug!("predictions are made at the usual priority: {why}");
    }
}

/// Follows the tables: what any process commits is served soon after.
pub async fn follow(hub: Arc<Hub>) {
    let mut looks = 0;
    loop {
        tokio::time::sleep(FOLLOW).await;
        looks += 1;
        if looks < READ_AFTER && !hub.is_behind() {
            continue;
        }
        looks = 0;
        match hub.refresh().await {
            Ok(true) => tracing::info!("serving version {}", hub.snapshot().version),
            Ok(false) => {}
            Err(why) => tracing::warn!("cannot look for newer data: {why}"),
        }
    }
}
