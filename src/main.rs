//! matgenome: the command line. Parses arguments, calls a crate, prints.
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

mod arguments;
mod commands;
mod open;
mod output;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::output::Failure;

fn main() -> ExitCode {
    without_display();
    let arguments = Arguments::parse();
    start_log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&Failure::new(format!("cannot start: {e}"))),
    };
    let done = runtime.block_on(run(arguments));
    // background work, such as following the tables, must not keep the program
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => fail(&failure),
    }
}

async fn run(arguments: Arguments) -> Result<u8, Failure> {
    let common = &arguments.common;
    match arguments.command {
        Command::Serve(serve) => commands::serve::run(common, &serve).await,
        Command::Ingest(ingest) => commands::ingest::run(common, &ingest).await,
        Command::Suggest { spec, limit, format, out } => {
            commands::suggest::run(common, &spec, limit, format, out.as_deref()).await
        }
        Command::Similar(similar) => commands::similar::similar(common, &similar).await,
        Command::Substitute(substitute) => commands::similar::substitute(common, &substitute).await,
        Command::Screen(screen) => commands::screen::run(common, &screen).await,
        Command::Predict { properties } => commands::predict::run(common, &properties).await,
        Command::Show { material, predicted, json } => commands::show::run(common, &material, predicted, json).await,
        Command::Properties { search, json } => commands::list::properties(common, search.as_deref(), json).await,
        Command::Datasets { json } => commands::list::datasets(common, json).await,
        Command::History { json } => commands::list::history(common, json).await,
        Command::Export(export) => commands::export::run(common, &export).await,
        Command::Doctor => commands::doctor::run(common).await,
        Command::Compact { older_than_hours } => commands::compact::run(common, older_than_hours).await,
        Command::Verify => commands::verify::run(common).await,
        Command::Train { steps, out } => commands::train::run(common, steps, out.as_deref()).await,
        Command::Bundle { out } => commands::bundle::run(common, &out).await,
    }
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("matgenome: {failure}");
    ExitCode::from(failure.code)
}

/// Mesa's device-select layer asks the display which GPU drives it, and complains on standard error where there is no
/// display. Here is none to ask.
#[allow(unsafe_code)]
fn without_display() {
    let has = |name| std::env::var_os(name).is_some();
    if !has("WAYLAND_DISPLAY") && !has("DISPLAY") && !has("NODEVICE_SELECT") {
        // SAFETY: the first statement of `main`; no other thread exists that could read the environment
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// Snapshots are large arrays, made on whatever thread is free and soon replaced. glibc keeps what they leave behind: a server
/// under load held twice what it used. jemalloc gives it back a second later.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc reads its settings here, and then in the environment (`_RJEM_MALLOC_CONF`): one heap a processor instead of its usual four.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
// SAFETY: the name and the type, a pointer to a text that ends in 0, are jemalloc's
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static SETTINGS: &[u8; 80] = b"percpu_arena:percpu,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn start_log() {
    use tracing_subscriber::EnvFilter;
    // Delta's own reports of lost races are answered by our retries, and what moyo says of a cell is in no row's report
    let quiet = || EnvFilter::new("warn,deltalake_core=off,buoyant_kernel=off,wgpu_core=error,wgpu_hal=off,moyo=off");
    let filter = EnvFilter::try_from_env("MATGENOME_LOG").unwrap_or_else(|_| quiet());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
