//! `matgenome export`: records as a file for others.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use datasets::durable::sync_parent;
use datasets::export::{Export, ExportError, Wanted};
use index::filter;
use index::scope::Viewer;

use crate::arguments::{self, Common};
use crate::open::{self, Bar};
use crate::output::{Failure, print, thousands};

/// Writes the records of a dataset, of the materials that match a filter, or both.
pub async fn run(common: &Common, asked: &arguments::Export) -> Result<u8, Failure> {
    let format = asked.format.into();
    let out = asked.out.as_deref().filter(|path| *path != Path::new("-"));
    if out.is_none() && !datasets::export::Format::is_text(format) {
        return Err(Failure::usage("a Parquet export goes to a file: name it with --out FILE"));
    }
    let hub = open::hub_to_list(common).await?;
    let snapshot = hub.snapshot();
    let wanted: Option<Wanted> = match &asked.filter {
        None => None,
        Some(text) => {
            let scope = snapshot.visible(Viewer::Owner);
            let mask = filter::matching(&snapshot, &scope, text).map_err(|e| Failure::usage(format!("filter: {e}")))?;
            let snapshot = snapshot.clone();
            Some(Box::new(move |record| {
                snapshot.materials.row(&record.material_id()).is_some_and(|row| mask.get(row as usize))
            }))
        }
    };
    let table = hub.table_at(asked.at.unwrap_or(snapshot.version)).await?;
    let names: Vec<String> = match &asked.dataset {
        Some(name) => vec![name.clone()],
        None => snapshot.datasets.iter().map(|d| d.info.name.clone()).collect(),
    };
    let export = Export::new(&table, &names, wanted, format).map_err(|e| match e {
        ExportError::NoDataset { .. } => Failure::usage(e),
        other => Failure::new(other),
    })?;
    tokio::select! {
        done = write(export, out) => done,
        _ = tokio::signal::ctrl_c() => Err(Failure { code: 130, ..Failure::new("stopped; no file was written") }),
    }
}

async fn write(mut export: Export, out: Option<&Path>) -> Result<u8, Failure> {
    let bar = Bar::new();
    let mut target = Target::open(out)?;
    while let Some(bytes) = export.next().await.map_err(Failure::new)? {
        match target.file.write_all(&bytes) {
            // a reader that went away (`| head`) is no failure
            Err(e) if out.is_none() && e.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            other => other.map_err(|e| target.failed(e))?,
        }
        let (read, total) = export.progress();
        bar.count(read, total, "exporting records");
        // between two batches Ctrl-C is heard
        tokio::task::yield_now().await;
    }
    bar.clear();
    target.finish()?;
    if let Some(path) = out {
        print(format!("{} records in {}", thousands(export.written()), path.display()))?;
    }
    Ok(0)
}

/// Where the bytes go: a file is written under another name beside its place, and takes its place when it is whole.
struct Target {
    file: Box<dyn Write + Send>,
    shown: String,
    /// The file beside, and its place.
    beside: Option<(PathBuf, PathBuf)>,
}

impl Target {
    fn open(out: Option<&Path>) -> Result<Target, Failure> {
        let Some(path) = out else {
            return Ok(Target { file: Box::new(io::stdout()), shown: "standard output".into(), beside: None });
        };
        let shown = path.display().to_string();
        let failed = |e: io::Error| Failure::new(format!("cannot write {shown}: {e}"));
        // a link is followed, and a device or pipe is written to as it is
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if place.exists() && !place.is_file() {
            let file = File::options().write(true).open(&place).map_err(failed)?;
            return Ok(Target { file: Box::new(BufWriter::new(file)), shown, beside: None });
        }
        let name = place.file_name().ok_or_else(|| Failure::usage(format!("{shown} names no file")))?;
        let beside = place.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        let file = File::create(&beside).map_err(failed)?;
        Ok(Target { file: Box::new(file), shown, beside: Some((beside, place)) })
    }

    fn failed(&self, e: io::Error) -> Failure {
        Failure::new(format!("cannot write {}: {e}", self.shown))
    }

    fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.file.flush();
        let placed = match &self.beside {
            None => flushed,
            Some((beside, place)) => flushed
                .and_then(|()| File::open(beside)?.sync_all())
                .and_then(|()| fs::rename(beside, place))
                .and_then(|()| sync_parent(place)),
        };
        placed.map_err(|e| self.failed(e))?;
        self.beside = None;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((beside, _)) = &self.beside {
            // half a file is of no use; where it cannot be removed, its name says so
            let _ = fs::remove_file(beside);
        }
    }
}
