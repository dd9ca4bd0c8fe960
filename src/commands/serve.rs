//! `matgenome serve`: the web API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use index::hub::Hub;
use server::auth::Token;
use server::jobs::{Jobs, Limits};
use server::runner::HubRunner;
use server::state::AppState;
use tokio::net::TcpListener;

use crate::arguments::{Common, Serve};
use crate::open;
use crate::output::Failure;

/// The environment variable with the ingest token.
const TOKEN: &str = "MATGENOME_INGEST_TOKEN";

/// Serves until it is told to stop (Ctrl-C, SIGTERM).
pub async fn run(common: &Common, arguments: &Serve) -> Result<u8, Failure> {
    let (listen, data_dir) = (&arguments.listen, open::data_dir(common)?);
    let token = token(arguments.ingest_token_file.as_deref())?;
    let takes_in = token.is_some();
    // the port first: one that is taken must be said before minutes of loading
    let listener = TcpListener::bind(listen).await.map_err(|e| {
        Failure::new(format!("cannot listen on {listen}: {e}; name another address with --listen 127.0.0.1:PORT"))
    })?;
    let address = listener.local_addr().map_err(Failure::new)?;
    eprintln!("matgenome: loading; http://{address}/readyz says when it is done");
    let state = AppState::loading(token);
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
    // ready is only who can also take data in
    if takes_in {
        state.ready_to_ingest(jobs(&data_dir, arguments, Arc::clone(&hub)));
    }
    state.ready(Arc::clone(&hub));
    if !arguments.no_predictions {
        tokio::spawn(server::predict(Arc::clone(&hub)));
    }
    tokio::spawn(server::link(Arc::clone(&hub)));
    tokio::spawn(server::follow(hub));
    serving.await.map_err(Failure::new)?.map_err(Failure::new)?;
    Ok(0)
}

/// The token of a file, or of the environment. It is no argument, because every user of the machine sees those.
fn token(file: Option<&Path>) -> Result<Option<Token>, Failure> {
    if let Some(file) = file {
        let (token, open_to_all) = Token::from_file(file).map_err(Failure::usage)?;
        if open_to_all {
            let shown = file.display();
            eprintln!("matgenome: every user of this machine may read the ingest token: chmod o-r {shown}");
        }
        return Ok(Some(token));
    }
    let Some(text) = std::env::var_os(TOKEN) else { return Ok(None) };
    // a name without a value is how shells and service files say that there is none
    if text.is_empty() {
        return Ok(None);
    }
    Token::new(&text.to_string_lossy(), TOKEN).map(Some).map_err(Failure::usage)
}

/// Opens the jobs, or says why it takes nothing in: searches are answered all the same.
fn jobs(data_dir: &Path, arguments: &Serve, hub: Arc<Hub>) -> Result<Arc<Jobs>, String> {
    let limits = Limits {
        max_upload_bytes: arguments.max_upload,
        keep: Duration::from_secs(u64::from(arguments.keep_jobs) * 24 * 3600),
        ..Limits::default()
    };
    let opened = Jobs::open(data_dir, limits, Arc::new(HubRunner::new(data_dir, hub)));
    opened.map_err(|why| {
        eprintln!("matgenome: nothing is taken in over HTTP: {why}");
        why.to_string()
    })
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
