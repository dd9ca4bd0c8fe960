//! How does an upload get to disk? In pieces, into a folder that is a job only once it is complete.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use datasets::durable::sync_parent;
use futures::{Stream, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use xxhash_rust::xxh3::Xxh3;

use super::Jobs;
use super::record::FileGiven;
use crate::problem::Problem;

/// The most files of a job.
const MAX_FILES: usize = 1000;

/// The most bytes of a mapping.
pub(crate) const MAX_MAPPING: u64 = 1 << 20;

/// Bytes on their way to a job. Dropped before it is one, it leaves nothing.
pub(crate) struct Spool {
    jobs: Arc<Jobs>,
    folder: PathBuf,
    left: u64,
    /// The files, and the hash of each.
    pub(super) files: Vec<(FileGiven, u128)>,
    pub(super) mapping: Option<String>,
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.jobs.give_back_place();
        if let Err(why) = fs::remove_dir_all(&self.folder)
            && why.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove {}: {why}", self.folder.display());
        }
    }
}

impl Spool {
    /// A new folder under that of the jobs, whose place in the queue is taken.
    pub(super) fn new(jobs: Arc<Jobs>, folder: PathBuf) -> Result<Spool, Problem> {
        let left = jobs.limits.max_upload_bytes;
        let spool = Spool { jobs, folder, left, files: Vec::new(), mapping: None };
        fs::create_dir_all(inputs(&spool.folder)).map_err(|why| disk_problem(&why))?;
        Ok(spool)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes a file in.
    pub(crate) async fn file<E: Error + 'static>(
        &mut self,
        name: &str,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        mut arrived: impl FnMut(),
    ) -> Result<(), Problem> {
        checked_name(name)?;
        if self.files.iter().any(|(file, _)| file.name == name) {
            let detail = format!("two files have the name `{name}`: findings could not say which one they mean");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-filename", "A file's name cannot be taken", detail));
        }
        if self.files.len() == MAX_FILES {
            let detail = format!("a job has at most {MAX_FILES} files: send an archive (tar), or several jobs");
            return Err(too_large(detail));
        }
        let path = inputs(&self.folder).join(name);
        // at once: a request that is dropped while another thread makes the file would leave it
        let file = fs::File::create_new(&path).map_err(|why| disk_problem(&why))?;
        let file = tokio::fs::File::from_std(file);
        let mut out = tokio::io::BufWriter::with_capacity(1 << 18, file);
        let (mut body, mut hash, mut bytes) = (body, Xxh3::new(), 0_u64);
        while let Some(chunk) = self.next(&mut body).await? {
            arrived();
            self.count(chunk.len())?;
            hash.update(&chunk);
            bytes += chunk.len() as u64;
            out.write_all(&chunk).await.map_err(|why| disk_problem(&why))?;
        }
        out.flush().await.map_err(|why| disk_problem(&why))?;
        out.get_ref().sync_all().await.map_err(|why| disk_problem(&why))?;
        self.files.push((FileGiven { name: name.to_owned(), bytes }, hash.digest128()));
        Ok(())
    }

    /// Takes a mapping in.
    pub(crate) async fn mapping<E: Error + 'static>(
        &mut self,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        mut arrived: impl FnMut(),
    ) -> Result<(), Problem> {
        if self.mapping.is_some() {
            let detail = "there are two `mapping` parts: send one";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-part", "A part cannot be taken", detail));
        }
        let (mut body, mut text) = (body, Vec::new());
        while let Some(chunk) = self.next(&mut body).await? {
            arrived();
            self.count(chunk.len())?;
            text.extend_from_slice(&chunk);
            if text.len() as u64 > MAX_MAPPING {
                return Err(too_large(format!("a mapping is at most {} KiB", MAX_MAPPING >> 10)));
            }
        }
        let text = String::from_utf8(text).map_err(|why| {
            let detail = format!("the mapping is no UTF-8 text: {why}");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-mapping", "The mapping cannot be used", detail)
        })?;
        self.mapping = Some(text);
        Ok(())
    }

    /// The next piece, if it comes in time.
    async fn next<T, E: Error + 'static>(
        &self,
        body: &mut (impl Stream<Item = Result<T, E>> + Unpin),
    ) -> Result<Option<T>, Problem> {
        self.in_time(body.next()).await?.transpose().map_err(|why| broken(&why))
    }

    /// Waits for what a client sends, not for ever.
    pub(crate) async fn in_time<T>(&self, next: impl Future<Output = T>) -> Result<T, Problem> {
        let idle = self.jobs.limits.upload_idle;
        tokio::time::timeout(idle, next).await.map_err(|_| {
            let detail =
                format!("nothing arrived for {} seconds; nothing was taken in: send it again", idle.as_secs_f64());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "upload-stalled", "The upload stalled", detail)
        })
    }

    /// Whether no file, or only empty ones, arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.iter().all(|(file, _)| file.bytes == 0)
    }

    /// Whether a mapping arrived.
    pub(crate) fn has_mapping(&self) -> bool {
        self.mapping.is_some()
    }

    fn count(&mut self, bytes: usize) -> Result<(), Problem> {
        self.left = self.left.checked_sub(bytes as u64).ok_or_else(|| {
            let most = self.jobs.limits.max_upload_bytes;
            too_large(format!(
                "an upload is at most {most} bytes here (--max-upload): compress it, or send it in parts"
            ))
        })?;
        Ok(())
    }

    /// Hash of all that was sent, with the parameters, which decide what is done with it.
    pub(super) fn content(&self, parameters: &str) -> u128 {
        let mut hash = Xxh3::new();
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(parameters.as_bytes());
        add(self.mapping.as_deref().map_or(&[0][..], str::as_bytes));
        for (file, content) in &self.files {
            add(file.name.as_bytes());
            add(&file.bytes.to_le_bytes());
            add(&content.to_le_bytes());
        }
        hash.digest128()
    }

    /// Makes the folder the one of a job: complete or not there, also after a power cut.
    pub(super) fn settle(&self, home: &Path) -> io::Result<()> {
        fs::File::open(inputs(&self.folder))?.sync_all()?;
        fs::File::open(&self.folder)?.sync_all()?;
        fs::rename(&self.folder, home)?;
        sync_parent(home)
    }
}

/// The folder of a job's files.
pub(super) fn inputs(folder: &Path) -> PathBuf {
    folder.join("files")
}

/// A body that ended early or is no multipart form.
pub(crate) fn broken(why: &(dyn Error + 'static)) -> Problem {
    // the outermost says little: "failed to read stream"
    let mut cause = why;
    for _ in 0..16 {
        let Some(deeper) = cause.source() else { break };
        cause = deeper;
    }
    let (why, cause) = (why.to_string(), cause.to_string());
    let cause = if why.contains(&cause) { String::new() } else { format!(": {cause}") };
    let detail = format!("the upload cannot be read, and nothing was taken in: {why}{cause}");
    Problem::new(StatusCode::BAD_REQUEST, "bad-body", "The body cannot be read", detail)
}

fn too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
}

/// A file cannot be written.
pub(crate) fn disk_problem(why: &io::Error) -> Problem {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    if matches!(why.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
        let detail = format!(
            "the disk of the data directory takes no more ({why}); nothing was taken in: free space, and send it again"
        );
        return disk_full(detail);
    }
    Problem::internal(&format!("an upload cannot be kept: {why}"))
}

/// The disk is full.
pub(crate) fn disk_full(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", "No space is left", detail)
}

/// Refuses names that mean another place, or that a file system cannot take.
fn checked_name(name: &str) -> Result<(), Problem> {
    let why = if name.is_empty() || name == "." || name == ".." {
        "it is no name"
    } else if name.len() > 200 {
        "it is over 200 bytes long"
    } else if name.chars().any(|c| c.is_control() || "/\\:*?\"<>|".contains(c)) {
        "it holds one of / \\ : * ? \" < > | or a control character"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(60).collect();
    let detail =
        format!("`{}` cannot be a file's name here: {why}; send the plain name, such as lab.csv", shown.escape_debug());
    Err(Problem::new(StatusCode::BAD_REQUEST, "bad-filename", "A file's name cannot be taken", detail))
}
