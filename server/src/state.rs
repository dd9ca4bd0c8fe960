//! What all requests share.

use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use index::hub::Hub;
use tokio::sync::Semaphore;

use crate::auth::Token;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::screenings::Screenings;

/// What all requests share: the hub and the jobs, once they are open.
pub struct AppState {
    hub: OnceLock<Arc<Hub>>,
    jobs: OnceLock<Result<Arc<Jobs>, String>>,
    token: Option<Token>,
    pub(crate) metrics: Metrics,
    pub(crate) searches: Semaphore,
    /// Screening may first have to learn, which takes seconds: it must not keep searches waiting.
    pub(crate) screens: Semaphore,
    /// So must making the vectors of a space not: who asks in one that is not made waits here.
    pub(crate) spaces: Semaphore,
    /// Screenings that run by themselves, for their number of formulas.
    pub(crate) screenings: Screenings,
}

impl AppState {
    /// A state without a hub: requests that need one are told to come again. Without a token nothing is taken in.
    pub fn loading(token: Option<Token>) -> Arc<AppState> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (hub, jobs) = (OnceLock::new(), OnceLock::new());
        Arc::new(AppState {
            hub,
            jobs,
            token,
            metrics: Metrics::new(),
            searches: Semaphore::new(cores),
            screens: Semaphore::new(1),
            screenings: Screenings::new(),
            spaces: Semaphore::new(1),
        })
    }

    /// From now on requests are answered by this hub.
    pub fn ready(&self, hub: Arc<Hub>) {
        // the first hub stays: a server serves one data directory
        let _ = self.hub.set(hub);
    }

    /// From now on these jobs take data in; or none do, for a reason that callers are told.
    pub fn ready_to_ingest(&self, jobs: Result<Arc<Jobs>, String>) {
        let _ = self.jobs.set(jobs);
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    pub(crate) fn hub(&self) -> Result<Arc<Hub>, Problem> {
        self.hub.get().cloned().ok_or_else(loading)
    }

    pub(crate) fn jobs(&self) -> Result<Arc<Jobs>, Problem> {
        self.jobs
            .get()
            .ok_or_else(loading)?
            .clone()
            .map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-ingest", "Nothing can be taken in", why))
    }
}

fn loading() -> Problem {
    let detail = "the data is being loaded; ask /readyz, or come again in a second";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "loading", "Not ready yet", detail)
}
