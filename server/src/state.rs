//! What all requests share.

use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use index::hub::Hub;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// What all requests share: the hub, once it is open.
pub struct AppState {
    hub: OnceLock<Arc<Hub>>,
    pub(crate) searches: Semaphore,
}

impl AppState {
    /// A state without a hub: requests that need one are told to come again.
    pub fn loading() -> Arc<AppState> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(AppState { hub: OnceLock::new(), searches: Semaphore::new(cores) })
    }

    /// From now on requests are answered by this hub.
    pub fn ready(&self, hub: Arc<Hub>) {
        // the first hub stays: a server serves one data directory
        let _ = self.hub.set(hub);
    }

    pub(crate) fn hub(&self) -> Result<Arc<Hub>, Problem> {
        self.hub.get().cloned().ok_or_else(|| {
            let detail = "the data is being loaded; ask /readyz, or come again in a second";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "loading", "Not ready yet", detail)
        })
    }
}
