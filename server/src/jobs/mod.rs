//! Which jobs are there, and what is each at?
//!
//! Uploads become jobs ([`spool`]), jobs are run one at a time in order of arrival ([`runner`] says by what), and what is
//! known of each is kept on disk ([`record`]):
//!
//!     DATA/jobs/lock                     held by the server that runs the jobs of this data directory
//!     DATA/jobs/.upload-*                an upload under way; removed at the next start
//!     DATA/jobs/<id>/job.json            the job
//!     DATA/jobs/<id>/files/*             what was sent; removed when the job has ended
//!     DATA/jobs/<id>/report.jsonl, refused/*
//!
//! A job that a crash or a stop interrupted is run again. Its id is the key of its commit, so it changes the table once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use datasets::durable::{create_dir_durably, sync_parent};
use datasets::record::Evidence;
use tokio::sync::{Notify, watch};

pub mod record;
pub mod runner;
pub(crate) mod spool;

use crate::problem::Problem;
use record::{FileGiven, JobDocument, ProgressAnswer, Record, State};
use runner::{Done, Failure, Input, Run, Runner, Watch, Work};
use spool::Spool;

/// How often a job is begun before it is given up, where each time the server ended.
const ATTEMPTS: u32 = 3;

/// The most ended jobs that are kept.
const MAX_KEPT: usize = 1000;

/// How long a job that was told to end may take to do so when the server stops.
const UNWIND: Duration = Duration::from_secs(5);

/// Bounds of ingest over HTTP.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most bytes of one upload.
    pub max_upload_bytes: u64,
    /// The most uploads and waiting jobs at once.
    pub max_waiting: usize,
    /// How long nothing may arrive of an upload.
    pub upload_idle: Duration,
    /// How long ended jobs are kept.
    pub keep: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_upload_bytes: 4 << 30,
            max_waiting: 16,
            upload_idle: Duration::from_secs(60),
            keep: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// The jobs of a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// Another server has them.
    #[error("another server takes in the data of {0}; send to that one, or stop it and start this one again")]
    Elsewhere(PathBuf),
    /// The folder cannot be used.
    #[error("cannot use {path}: {why}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
}

/// What a request asks of its job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) dataset: Option<String>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) dry_run: bool,
    pub(crate) key: Option<String>,
}

/// What became of a wish to cancel.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// It waited, and will not run.
    AtOnce(Box<JobDocument>),
    /// It runs, and was told to end.
    Asked(Box<JobDocument>),
    /// It had ended; now it is forgotten.
    Forgotten,
}

/// The jobs of a data directory.
pub struct Jobs {
    folder: PathBuf,
    limits: Limits,
    runner: Arc<dyn Runner>,
    inner: Mutex<Inner>,
    /// Held by whoever makes or removes a job, disk and memory together.
    changing: Mutex<()>,
    wake: Notify,
    stopping: watch::Sender<bool>,
    idle: watch::Sender<bool>,
    _lock: File,
}

#[derive(Default)]
struct Inner {
    jobs: BTreeMap<String, Entry>,
    queue: VecDeque<String>,
    keys: HashMap<String, String>,
    uploads: usize,
    next: u64,
    /// The running job must end because the server does.
    cut_short: bool,
}

struct Entry {
    record: Record,
    watch: Option<Arc<dyn Watch>>,
    indexing: bool,
    cancelling: bool,
    changed: watch::Sender<()>,
}

impl Entry {
    fn new(record: Record) -> Entry {
        Entry { record, watch: None, indexing: false, cancelling: false, changed: watch::Sender::new(()) }
    }
}

impl Inner {
    fn document(&self, id: &str) -> Option<JobDocument> {
        let entry = self.jobs.get(id)?;
        let mut document = JobDocument::from(&entry.record);
        document.cancelling = entry.cancelling && !entry.record.state.is_ended();
        document.progress = entry.watch.as_ref().map(|watch| ProgressAnswer::of(watch.progress(), entry.indexing));
        if entry.record.state == State::Queued {
            let running = self.jobs.values().filter(|entry| entry.record.state == State::Running).count();
            document.ahead = self.queue.iter().position(|other| other == id).map(|ahead| ahead + running);
        }
        Some(document)
    }

    fn enqueue(&mut self, record: Record) {
        if let Some(key) = &record.key {
            self.keys.insert(key.clone(), record.id.clone());
        }
        self.queue.push_back(record.id.clone());
        self.jobs.insert(record.id.clone(), Entry::new(record));
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn no_job(id: &str) -> Problem {
    let detail = format!("there is no job `{id}`: it was removed, or never was; /v1/jobs lists what there is");
    Problem::new(StatusCode::NOT_FOUND, "no-job", "No such job", detail)
}

impl Jobs {
    /// Opens the jobs of a data directory and goes on with those that had not ended. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// Another server has them, or the folder cannot be used.
    pub fn open(data_dir: &Path, limits: Limits, runner: Arc<dyn Runner>) -> Result<Arc<Jobs>, JobsError> {
        let folder = data_dir.join("jobs");
        let unusable = |why| JobsError::Folder { path: folder.clone(), why };
        create_dir_durably(&folder).map_err(unusable)?;
        let lock =
            File::options().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JobsError::Elsewhere(data_dir.to_owned())),
            Err(fs::TryLockError::Error(why)) => return Err(unusable(why)),
        }
        let inner = read_kept(&folder).map_err(unusable)?;
        let jobs = Arc::new(Jobs {
            limits,
            runner,
            inner: Mutex::new(inner),
            changing: Mutex::new(()),
            wake: Notify::new(),
            stopping: watch::Sender::new(false),
            idle: watch::Sender::new(false),
            _lock: lock,
            folder,
        });
        jobs.forget_old();
        tokio::spawn(Arc::clone(&jobs).work());
        Ok(jobs)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for an upload.
    pub(crate) fn spool(self: &Arc<Self>) -> Result<Spool, Problem> {
        self.open_for_more()?;
        {
            let mut inner = self.lock();
            if inner.queue.len() + inner.uploads >= self.limits.max_waiting {
                let detail = format!("{} jobs wait already: come again when some are done", self.limits.max_waiting);
                return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-jobs", "Too many jobs", detail));
            }
            inner.uploads += 1;
        }
        Spool::new(Arc::clone(self), self.folder.join(format!(".upload-{}", uuid::Uuid::new_v4().simple())))
    }

    fn give_back_place(&self) {
        self.lock().uploads -= 1;
    }

    fn open_for_more(&self) -> Result<(), Problem> {
        if *self.stopping.borrow() {
            let detail = "the server is stopping; nothing was taken in: send it again when it is back";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The server is stopping", detail));
        }
        Ok(())
    }

    /// Makes a job of an upload; or finds the one that the same request has made before (then `false`).
    pub(crate) fn admit(&self, spool: &Spool, asked: Asked) -> Result<(JobDocument, bool), Problem> {
        self.runner.check(spool.mapping.as_deref(), asked.dataset.as_deref()).map_err(|why| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-mapping", "The mapping cannot be used", why)
        })?;
        let parameters = format!("{:?} {:?} {}", asked.dataset, asked.evidence, asked.dry_run);
        let content = format!("{:032x}", spool.content(&parameters));
        let _one = self.change();
        self.open_for_more()?;
        let (id, order) = {
            let mut inner = self.lock();
            // a job that failed or was cancelled gives its key free, so that the same request may be tried again
            let known = asked.key.as_ref().and_then(|key| inner.keys.get(key)).and_then(|id| inner.jobs.get(id));
            let known =
                known.map(|entry| &entry.record).filter(|r| !matches!(r.state, State::Failed | State::Cancelled));
            if let Some(known) = known {
                if known.content != content {
                    let detail = format!(
                        "this `Idempotency-Key` was used for job {}, with another content or other parameters: \
                         use a new key for a new job",
                        known.id
                    );
                    let title = "The key was used for another job";
                    return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-conflict", title, detail));
                }
                let document = inner.document(&known.id.clone()).ok_or_else(|| no_job("?"))?;
                return Ok((document, false));
            }
            inner.next += 1;
            // the same request is the same job, also when nothing is left of the first: its commit has the id as its key
            let id = match &asked.key {
                Some(key) => format!("{:032x}", xxhash_rust::xxh3::xxh3_128(format!("{key}\0{content}").as_bytes())),
                None => uuid::Uuid::new_v4().simple().to_string(),
            };
            (id, inner.next)
        };
        let record = Record {
            id: id.clone(),
            order,
            content,
            key: asked.key,
            state: State::Queued,
            dataset: asked.dataset,
            evidence: asked.evidence,
            dry_run: asked.dry_run,
            mapping: spool.mapping.clone(),
            files: spool.files.iter().map(|(file, _)| file.clone()).collect(),
            created_ms: now_ms(),
            started_ms: None,
            ended_ms: None,
            attempts: 0,
            done: None,
            problem: None,
            note: None,
        };
        let home = self.folder.join(&id);
        let settled = record.write(spool.folder()).and_then(|()| self.remove(&home)).and_then(|()| spool.settle(&home));
        settled.map_err(|why| spool::disk_problem(&why))?;
        let document = {
            let mut inner = self.lock();
            inner.enqueue(record);
            inner.document(&id).ok_or_else(|| no_job(&id))?
        };
        self.wake.notify_one();
        Ok((document, true))
    }

    /// All jobs, the newest first, without their findings.
    pub(crate) fn list(&self) -> Vec<JobDocument> {
        let inner = self.lock();
        let mut ids: Vec<(u64, &String)> = inner.jobs.iter().map(|(id, entry)| (entry.record.order, id)).collect();
        ids.sort_unstable_by_key(|(order, _)| std::cmp::Reverse(*order));
        let documents = ids.into_iter().filter_map(|(_, id)| inner.document(id));
        documents.map(|document| JobDocument { findings: Vec::new(), ..document }).collect()
    }

    /// How many jobs are in a state.
    pub(crate) fn count(&self, state: State) -> usize {
        self.lock().jobs.values().filter(|entry| entry.record.state == state).count()
    }

    /// One job.
    pub(crate) fn document(&self, id: &str) -> Result<JobDocument, Problem> {
        self.lock().document(id).ok_or_else(|| no_job(id))
    }

    /// Fires when a job changes its state.
    pub(crate) fn changes(&self, id: &str) -> Result<watch::Receiver<()>, Problem> {
        self.lock().jobs.get(id).map(|entry| entry.changed.subscribe()).ok_or_else(|| no_job(id))
    }

    /// Fires when the server stops.
    pub(crate) fn stops(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// The folder of a job that has ended.
    pub(crate) fn ended(&self, id: &str) -> Result<(PathBuf, State), Problem> {
        let state = self.lock().jobs.get(id).map(|entry| entry.record.state).ok_or_else(|| no_job(id))?;
        if !state.is_ended() {
            let detail = format!("job {id} is {}; this is there when it has ended", state.as_str());
            return Err(Problem::new(StatusCode::CONFLICT, "job-not-ended", "The job has not ended", detail));
        }
        Ok((self.folder.join(id), state))
    }

    /// Ends a job, or forgets it where it has ended.
    pub(crate) fn cancel(&self, id: &str) -> Result<Cancelled, Problem> {
        let _one = self.change();
        let mut inner = self.lock();
        let entry = inner.jobs.get_mut(id).ok_or_else(|| no_job(id))?;
        match entry.record.state {
            State::Running => {
                entry.cancelling = true;
                if let Some(watch) = &entry.watch {
                    watch.cancel();
                }
                entry.changed.send_replace(());
                inner.document(id).map(|d| Cancelled::Asked(Box::new(d))).ok_or_else(|| no_job(id))
            }
            State::Queued => {
                let mut record = entry.record.clone();
                // from here on the worker does not find it
                inner.queue.retain(|other| other != id);
                drop(inner);
                (record.state, record.ended_ms) = (State::Cancelled, Some(now_ms()));
                self.settle_end(record);
                self.document(id).map(|d| Cancelled::AtOnce(Box::new(d)))
            }
            State::Done | State::Failed | State::Cancelled => {
                drop(inner);
                self.forget(id).map_err(|why| Problem::internal(&format!("job {id} cannot be removed: {why}")))?;
                Ok(Cancelled::Forgotten)
            }
        }
    }

    /// Begins no more jobs, gives the running one some time to end, and puts it back where it does not; returns when
    /// nothing runs. What is put back is run at the next start.
    pub async fn stop(&self, grace: Duration) {
        self.stopping.send_replace(true);
        let mut idle = self.idle.subscribe();
        if tokio::time::timeout(grace, idle.wait_for(|idle| *idle)).await.is_ok() {
            return;
        }
        {
            let mut inner = self.lock();
            inner.cut_short = true;
            inner.jobs.values().filter_map(|entry| entry.watch.as_ref()).for_each(|watch| watch.cancel());
        }
        if tokio::time::timeout(UNWIND, idle.wait_for(|idle| *idle)).await.is_err() {
            tracing::warn!("a job did not end in time; it is run again at the next start");
        }
    }

    async fn work(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        while !*stopping.borrow_and_update() {
            let this = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || this.begin()).await {
                Ok(Some((id, run))) => self.run(id, run).await,
                Ok(None) => tokio::select! {
                    () = self.wake.notified() => {}
                    _ = stopping.changed() => {}
                },
                Err(why) => tracing::error!("a job cannot be begun: {why}"),
            }
        }
        self.idle.send_replace(true);
    }

    /// Takes the next job.
    fn begin(&self) -> Option<(String, Run)> {
        let _one = self.change();
        loop {
            let mut record = {
                let mut inner = self.lock();
                let id = inner.queue.pop_front()?;
                let Some(entry) = inner.jobs.get(&id) else { continue };
                entry.record.clone()
            };
            let folder = self.folder.join(&record.id);
            if record.attempts >= ATTEMPTS {
                let detail = format!("the server ended {ATTEMPTS} times while it ran this job: it is not tried again");
                record.problem =
                    Some(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail));
                (record.state, record.ended_ms) = (State::Failed, Some(now_ms()));
                self.settle_end(record);
                continue;
            }
            (record.state, record.started_ms) = (State::Running, Some(now_ms()));
            record.attempts += 1;
            let leftovers =
                self.remove(&folder.join("refused")).and_then(|()| remove_file(&folder.join("report.jsonl")));
            if let Err(why) = leftovers.and_then(|()| record.write(&folder)) {
                record.problem = Some(spool::disk_problem(&why));
                (record.state, record.ended_ms) = (State::Failed, Some(now_ms()));
                self.settle_end(record);
                continue;
            }
            let inputs = spool::inputs(&folder);
            let run = self.runner.prepare(Work {
                files: record
                    .files
                    .iter()
                    .map(|f| Input { path: inputs.join(&f.name), shown: f.name.clone() })
                    .collect(),
                mapping: record.mapping.clone(),
                dataset: record.dataset.clone(),
                evidence: record.evidence,
                key: format!("job:{}", record.id),
                dry_run: record.dry_run,
                report: folder.join("report.jsonl"),
                refused: folder.join("refused"),
            });
            let id = record.id.clone();
            let mut inner = self.lock();
            if inner.cut_short {
                run.watch.cancel();
            }
            let entry = inner.jobs.get_mut(&id)?;
            entry.record = record;
            entry.watch = Some(Arc::clone(&run.watch));
            entry.changed.send_replace(());
            return Some((id, run));
        }
    }

    async fn run(self: &Arc<Self>, id: String, run: Run) {
        let outcome = tokio::task::spawn_blocking(run.work).await;
        let outcome = outcome.unwrap_or_else(|why| Err(Failure::Internal(format!("job {id} ended unasked: {why}"))));
        let mut note = None;
        if let Ok(done) = &outcome
            && done.version.is_some()
        {
            if let Some(entry) = self.lock().jobs.get_mut(&id) {
                entry.indexing = true;
            }
            // `done` promises that the records are found
            if let Err(why) = self.runner.publish().await {
                tracing::error!("the records of job {id} are kept, and cannot be searched yet: {why}");
                note =
                    Some("the records are kept, and cannot be searched yet; the log of the server says why".to_owned());
            }
        }
        let this = Arc::clone(self);
        let ended = tokio::task::spawn_blocking(move || {
            this.end(&id, outcome, note);
            this.forget_old();
        });
        if let Err(why) = ended.await {
            tracing::error!("the end of a job cannot be kept: {why}");
        }
    }

    fn end(&self, id: &str, outcome: Result<Done, Failure>, note: Option<String>) {
        let _one = self.change();
        let (mut record, asked) = {
            let inner = self.lock();
            let Some(entry) = inner.jobs.get(id) else { return };
            (entry.record.clone(), entry.cancelling)
        };
        let fail = |status, kind: &str, title: &str, detail| {
            (State::Failed, None, Some(Problem::new(status, kind, title, detail)))
        };
        (record.state, record.done, record.problem) = match outcome {
            Ok(done) => (State::Done, Some(done), None),
            Err(Failure::Cancelled) if asked => (State::Cancelled, None, None),
            // the server stops: at the next start it is run again
            Err(Failure::Cancelled) => (State::Queued, None, None),
            Err(Failure::Refused(why)) => {
                fail(StatusCode::UNPROCESSABLE_ENTITY, "ingest-refused", "The files cannot be taken in", why)
            }
            Err(Failure::DiskFull(why)) => (State::Failed, None, Some(spool::disk_full(why))),
            Err(Failure::Internal(why)) => (State::Failed, None, Some(Problem::internal(&format!("job {id}: {why}")))),
        };
        record.note = note;
        if record.state == State::Queued {
            record.attempts -= 1;
            record.started_ms = None;
            self.keep(&record);
            let mut inner = self.lock();
            inner.queue.push_front(id.to_owned());
            self.replace(&mut inner, record);
            return;
        }
        record.ended_ms = Some(now_ms());
        self.settle_end(record);
    }

    /// Keeps the record of a job that has ended, says so, and removes what was sent.
    fn settle_end(&self, record: Record) {
        self.keep(&record);
        let inputs = spool::inputs(&self.folder.join(&record.id));
        self.replace(&mut self.lock(), record);
        if let Err(why) = self.remove(&inputs) {
            tracing::warn!("cannot remove {}: {why}", inputs.display());
        }
    }

    fn keep(&self, record: &Record) {
        if let Err(why) = record.write(&self.folder.join(&record.id)) {
            // memory has it; after a restart the job is run once more, and its key keeps it from changing anything
            tracing::error!("what became of job {} cannot be kept: {why}", record.id);
        }
    }

    fn replace(&self, inner: &mut Inner, record: Record) {
        if let Some(entry) = inner.jobs.get_mut(&record.id) {
            (entry.record, entry.watch, entry.indexing) = (record, None, false);
            entry.changed.send_replace(());
        }
    }

    fn forget_old(&self) {
        let _one = self.change();
        let mut ended: Vec<(i64, String)> = {
            let inner = self.lock();
            let ended = inner.jobs.values().filter_map(|entry| Some((entry.record.ended_ms?, entry.record.id.clone())));
            ended.collect()
        };
        ended.sort_unstable();
        let oldest = now_ms().saturating_sub(i64::try_from(self.limits.keep.as_millis()).unwrap_or(i64::MAX));
        let surplus = ended.len().saturating_sub(MAX_KEPT);
        for (at, (ended_ms, id)) in ended.iter().enumerate() {
            if (at < surplus || *ended_ms <= oldest)
                && let Err(why) = self.forget(id)
            {
                tracing::warn!("job {id} is old and cannot be removed: {why}");
            }
        }
    }

    /// Forgets a job that has ended; the caller has [`Self::change`].
    fn forget(&self, id: &str) -> io::Result<()> {
        self.remove(&self.folder.join(id))?;
        let mut inner = self.lock();
        if let Some(entry) = inner.jobs.remove(id)
            && let Some(key) = entry.record.key
            && inner.keys.get(&key).is_some_and(|owner| owner == id)
        {
            inner.keys.remove(&key);
        }
        Ok(())
    }

    /// Removes a folder if it is there: first its name, so that no half of it is found after a crash.
    fn remove(&self, folder: &Path) -> io::Result<()> {
        let gone = self.folder.join(format!(".gone-{}", uuid::Uuid::new_v4().simple()));
        match fs::rename(folder, &gone) {
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(why) => return Err(why),
        }
        sync_parent(folder)?;
        fs::remove_dir_all(gone)
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

/// Reads the jobs that a folder has; what had not ended waits again.
fn read_kept(folder: &Path) -> io::Result<Inner> {
    let mut inner = Inner::default();
    let mut records: Vec<Record> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            tracing::info!("removing {}, which a stop left over", path.display());
            fs::remove_dir_all(&path)?;
            continue;
        }
        match Record::read(&path) {
            Ok(record) if record.id == *name => records.push(record),
            Ok(record) => tracing::warn!("{} is passed over: it has the record of job {}", path.display(), record.id),
            Err(why) => {
                tracing::warn!("{} is passed over, its record cannot be read: {why}; remove it", path.display())
            }
        }
    }
    records.sort_unstable_by_key(|record| record.order);
    for mut record in records {
        inner.next = inner.next.max(record.order);
        if record.state.is_ended() {
            let inputs = spool::inputs(&folder.join(&record.id));
            if inputs.exists() {
                fs::remove_dir_all(&inputs)?;
            }
            // of two jobs with one key the later one holds it
            if let Some(key) = &record.key {
                inner.keys.insert(key.clone(), record.id.clone());
            }
            inner.jobs.insert(record.id.clone(), Entry::new(record));
        } else {
            record.state = State::Queued;
            inner.enqueue(record);
        }
    }
    Ok(inner)
}

/// The files of refused rows of a job, by name.
pub(crate) fn refused_files(folder: &Path) -> io::Result<Vec<FileGiven>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(folder.join("refused")) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(files),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            files.push(FileGiven { name, bytes: entry.metadata()?.len() });
        }
    }
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}
