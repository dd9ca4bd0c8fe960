//! `matgenome serve`: the web API.

use std::sync::Arc;

use server::state::AppState;
use tokio::net::TcpListener;

use crate::arguments::Common;
use crate::open;
use crate::output::Failure;

/// Serves until it is told to stop (Ctrl-C, SIGTERM).
pub async fn run(common: &Common, listen: &str) -> Result<u8, Failure> {
    open::data_dir(common)?;
    // the port first: one that is taken must be said before minutes of loading
    let listener = TcpListener::bind(listen).await.map_err(|e| {
        Failure::new(format!("cannot listen on {listen}: {e}; name another address with --listen 127.0.0.1:PORT"))
    })?;
    let address = listener.local_addr().map_err(Failure::new)?;
    eprintln!("matgenome: loading; http://{address}/readyz says when it is done");
    let state = AppState::loading();
    let serving = tokio::spawn(server::serve(listener, Arc::clone(&state), stop()));
    let hub = tokio::select! {
        hub = open::hub(common) => Arc::new(hub?),
        () = stop() => return Ok(0),
    };
    // before the first question, so that it is answered as fast as the others
    tokio::task::block_in_place(|| hub.warm_up());
    let snapshot = hub.snapshot();
    eprintln!(
        "matgenome: serving {} materials, version {}, on {}: http://{address}/docs/",
        crate::output::thousands(snapshot.materials.len() as u64),
        snapshot.version,
        hub.device().name()
    );
    drop(snapshot);
    state.ready(Arc::clone(&hub));
    tokio::spawn(server::follow(hub));
    serving.await.map_err(Failure::new)?.map_err(Failure::new)?;
    Ok(0)
}

/// Resolves at Ctrl-C or SIGTERM.
async fn stop() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => {
                tokio::select! {
                    _ = interrupted => {}
                    _ = terminated.recv() => {}
                }
            }
            Err(_) => drop(interrupted.await),
        }
    }
    #[cfg(not(unix))]
    drop(interrupted.await);
}
