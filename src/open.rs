//! Opens the hub of a data directory, with progress on a terminal.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use gpu::{Choice, Device, OpenOptions};
use index::hub::{Hub, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::Common;
use crate::output::{Failure, thousands};

/// The data directory of a command: the one named, which must be there, or the platform's, which is made.
pub fn data_dir(common: &Common) -> Result<PathBuf, Failure> {
    if let Some(named) = &common.data {
        if !named.exists() {
            let shown = named.display();
            return Err(Failure::new(format!(
                "there is no data directory {shown}; make it (mkdir -p {shown}), or name another with --data"
            )));
        }
        if !named.is_dir() {
            return Err(Failure::new(format!("{} is not a directory; name one with --data", named.display())));
        }
        return Ok(named.clone());
    }
    let dirs = directories::ProjectDirs::from("", "", "matgenome");
    let dirs =
        dirs.ok_or_else(|| Failure::new("this user has no home directory; name a data directory with --data"))?;
    Ok(dirs.data_dir().to_owned())
}

/// The device that a command asks for.
pub fn device(common: &Common) -> Result<Device, Failure> {
    let choice: Choice = match common.device.parse() {
        Ok(choice) => choice,
        Err(never) => match never {},
    };
    let memory_bytes = common.device_memory.map(|mib| u64::from(mib) << 20);
    Device::open_with(&choice, OpenOptions { memory_bytes, ..OpenOptions::default() }).map_err(Failure::new)
}

/// Opens the hub for commands that search nothing; no GPU is looked for.
pub async fn hub_to_list(common: &Common) -> Result<Hub, Failure> {
    open(common, Device::cpu()).await
}

/// Opens the hub; Ctrl-C stops it with nothing half done, because every commit is whole.
pub async fn hub(common: &Common) -> Result<Hub, Failure> {
    open(common, device(common)?).await
}

async fn open(common: &Common, device: Device) -> Result<Hub, Failure> {
    let data_dir = data_dir(common)?;
    let bar = Bar::new();
    let opened = {
        let mut show = |progress| bar.show(progress);
        let opening = Hub::open(&data_dir, device, !common.no_bundled, &mut show);
        tokio::select! {
            opened = opening => opened,
            _ = tokio::signal::ctrl_c() => return Err(Failure { code: 130, ..Failure::new("stopped; nothing is half done") }),
        }
    };
    bar.clear();
    Ok(opened?)
}

/// A progress bar on a terminal, none elsewhere.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar that is not shown yet.
    pub fn new() -> Bar {
        if !std::io::stderr().is_terminal() {
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar(bar)
    }

    /// Shows how far the opening of a hub is.
    pub fn show(&self, progress: Progress) {
        match progress {
            Progress::LoadingBundle => self.0.set_message("loading the bundled datasets"),
            Progress::Building(done, total) => self.count(done, total, "reading records"),
            Progress::Saving => self.0.set_message("keeping the snapshot"),
            Progress::Ready => self.clear(),
        }
    }

    /// Shows a count; `total` 0 where it is not known.
    pub fn count(&self, done: u64, total: u64, what: &'static str) {
        if total > 0 && self.0.length() != Some(total) {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} ({per_sec}, {eta})");
            self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.0.set_length(total);
        }
        self.0.set_message(what);
        self.0.set_position(done);
    }

    /// Shows how much of the files is read, and how fast.
    pub fn bytes(&self, done: u64, total: u64, rows: u64, elapsed: Duration) {
        let per_second = rows as f64 / elapsed.as_secs_f64().max(1e-3);
        if total > 0 && self.0.length() != Some(total) {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} % ({eta} left)");
            self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.0.set_length(total);
        }
        self.0.set_message(format!("{} rows read, {}/s", thousands(rows), thousands(per_second as u64)));
        self.0.set_position(done.min(total));
    }

    /// Says what is done now, where nothing can be counted.
    pub fn say(&self, what: &'static str) {
        self.0.set_style(ProgressStyle::default_spinner());
        self.0.set_message(what);
    }

    /// Takes the bar off the terminal.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
