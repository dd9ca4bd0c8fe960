//! Screenings of many formulas, which take longer than a request should.
//!
//! They change nothing, so whoever may search may ask for them, and who has the id of one sees it. They are run one at a time in
//! order of arrival, beside searches and ingest. All of them end with the server; their results lie in temporary files.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use index::hub::{Hub, HubError};
use index::prediction::PredictionError;
use index::scope::Viewer;
use index::screen::{ScreenMeta, ScreenSpec};
use serde::Serialize;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::jobs::now_ms;
use crate::jobs::record::State;
use crate::problem::Problem;

/// Screenings that run or wait, at most.
const MAX_WAITING: usize = 8;
/// Ended ones that are kept, at most, and how long.
const MAX_KEPT: usize = 8;
const KEEP: Duration = Duration::from_secs(3600);

/// A screening that runs by itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ScreeningDocument {
    /// Its id.
    id: String,
    /// What it is at.
    state: State,
    /// Number of candidates.
    candidates: usize,
    /// Properties that are done.
    done: usize,
    /// Properties that are asked about, once it runs.
    of: usize,
    /// When it was taken, milliseconds since 1970.
    created_ms: i64,
    /// When it was begun.
    started_ms: Option<i64>,
    /// When it ended.
    ended_ms: Option<i64>,
    /// How its results were found, once it is done.
    meta: Option<ScreenMeta>,
    /// Why it failed.
    problem: Option<Problem>,
    /// Where its parts are.
    links: ScreeningLinks,
}

/// Where the parts of a screening are.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ScreeningLinks {
    /// The screening.
    #[serde(rename = "self")]
    this: String,
    /// Its results, once it is done.
    results: String,
}

impl ScreeningDocument {
    /// Where it is.
    pub(crate) fn place(&self) -> &str {
        &self.links.this
    }

    /// Whether nothing more will happen.
    pub(crate) fn is_ended(&self) -> bool {
        self.state.is_ended()
    }
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Screening {
    id: String,
    candidates: usize,
    created_ms: i64,
    cancelled: AtomicBool,
    done: AtomicUsize,
    of: AtomicUsize,
    course: Mutex<Course>,
}

#[derive(Debug)]
struct Course {
    state: State,
    /// While it waits.
    question: Option<ScreenSpec>,
    started_ms: Option<i64>,
    ended: Option<(i64, Instant)>,
    meta: Option<ScreenMeta>,
    problem: Option<Problem>,
    results: Option<NamedTempFile>,
}

impl Screening {
    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now.
    pub(crate) fn document(&self) -> ScreeningDocument {
        let course = self.course();
        let this = format!("/v1/screen/{}", self.id);
        ScreeningDocument {
            id: self.id.clone(),
            state: course.state,
            candidates: self.candidates,
            done: self.done.load(Ordering::Relaxed),
            of: self.of.load(Ordering::Relaxed),
            created_ms: self.created_ms,
            started_ms: course.started_ms,
            ended_ms: course.ended.map(|(ms, _)| ms),
            meta: course.meta.clone(),
            problem: course.problem.clone(),
            links: ScreeningLinks { results: format!("{this}/results"), this },
        }
    }

    /// Its results, as a synchronous screening answers them; they can be read to their end also where it is removed meanwhile.
    pub(crate) fn results(&self) -> Result<File, Problem> {
        let course = self.course();
        let results = course.results.as_ref().ok_or_else(|| {
            let id = &self.id;
            let detail = match course.state {
                State::Queued | State::Running => {
                    format!("screening {id} has not ended; /v1/screen/{id} says how far it is")
                }
                _ => format!("screening {id} has no results; /v1/screen/{id} says why"),
            };
            Problem::new(StatusCode::CONFLICT, "no-results", "No results", detail)
        })?;
        results.reopen().map_err(|why| Problem::internal(&format!("the results of a screening cannot be read: {why}")))
    }

    /// What is asked, if it is still wanted.
    fn begin(&self) -> Option<ScreenSpec> {
        let mut course = self.course();
        let question = course.question.take()?;
        (course.state, course.started_ms) = (State::Running, Some(now_ms()));
        Some(question)
    }

    fn end(&self, outcome: Result<(ScreenMeta, NamedTempFile), Failure>) {
        let mut course = self.course();
        course.ended = Some((now_ms(), Instant::now()));
        match outcome {
            Ok((meta, results)) => {
                self.done.store(self.of.load(Ordering::Relaxed), Ordering::Relaxed);
                (course.state, course.meta, course.results) = (State::Done, Some(meta), Some(results));
            }
            Err(Failure::Cancelled) => course.state = State::Cancelled,
            Err(Failure::Problem(problem)) => (course.state, course.problem) = (State::Failed, Some(problem)),
        }
    }

    fn run(&self, hub: &Hub, question: &ScreenSpec) -> Result<(ScreenMeta, NamedTempFile), Failure> {
        let mut watch = |done: usize, of: usize| {
            self.done.store(done, Ordering::Relaxed);
            self.of.store(of, Ordering::Relaxed);
            !self.cancelled.load(Ordering::Relaxed)
        };
        let answer = hub.screen(question, Viewer::Public, &mut watch).map_err(|error| match error {
            HubError::Prediction(PredictionError::Stopped) => Failure::Cancelled,
            other => Failure::Problem(other.into()),
        })?;
        let mut file = NamedTempFile::new()?;
        let mut out = BufWriter::new(&mut file);
        serde_json::to_writer(&mut out, &answer).map_err(std::io::Error::from)?;
        out.flush()?;
        drop(out);
        Ok((answer.meta, file))
    }
}

enum Failure {
    Cancelled,
    Problem(Problem),
}

impl From<std::io::Error> for Failure {
    fn from(why: std::io::Error) -> Failure {
        Failure::Problem(Problem::internal(&format!("the results of a screening cannot be written: {why}")))
    }
}

/// All of a server.
#[derive(Debug)]
pub(crate) struct Screenings {
    /// In order of arrival.
    all: Mutex<Vec<Arc<Screening>>>,
    running: Arc<Semaphore>,
}

impl Screenings {
    pub(crate) fn new() -> Screenings {
        Screenings { all: Mutex::default(), running: Arc::new(Semaphore::new(1)) }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Screening>>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = 0;
        // from the newest on
        for at in (0..all.len()).rev() {
            let Some((_, ended)) = all[at].course().ended else { continue };
            kept += 1;
            if kept > MAX_KEPT || ended.elapsed() > KEEP {
                all.remove(at);
            }
        }
        all
    }

    /// Takes one that can be answered, and runs it when those before it have ended.
    pub(crate) fn start(&self, hub: Arc<Hub>, question: ScreenSpec) -> Result<ScreeningDocument, Problem> {
        let screening = {
            let mut all = self.all();
            if all.iter().filter(|one| one.course().ended.is_none()).count() >= MAX_WAITING {
                let detail = format!("{MAX_WAITING} screenings run or wait already: come again when some are done");
                let title = "Too many screenings";
                return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-screenings", title, detail));
            }
            let screening = Arc::new(Screening {
                id: uuid::Uuid::new_v4().simple().to_string(),
                candidates: question.candidates.len(),
                created_ms: now_ms(),
                cancelled: AtomicBool::new(false),
                done: AtomicUsize::new(0),
                of: AtomicUsize::new(0),
                course: Mutex::new(Course {
                    state: State::Queued,
                    question: Some(question),
                    started_ms: None,
                    ended: None,
                    meta: None,
                    problem: None,
                    results: None,
                }),
            });
            all.push(Arc::clone(&screening));
            screening
        };
        let (document, running) = (screening.document(), Arc::clone(&self.running));
        tokio::spawn(async move {
            // waiting ends only with the server
            let Ok(_permit) = running.acquire().await else { return };
            let Some(question) = screening.begin() else { return };
            let of = Arc::clone(&screening);
            let outcome = tokio::task::spawn_blocking(move || of.run(&hub, &question)).await;
            screening.end(outcome.unwrap_or_else(|why| Err(Failure::Problem(Problem::internal(&why)))));
        });
        Ok(document)
    }

    /// One of them.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<Screening>, Problem> {
        let found = self.all().iter().find(|one| one.id == id).cloned();
        found.ok_or_else(|| {
            let detail = format!(
                "there is no screening {id}; results are kept for an hour, of the last {MAX_KEPT}, and not over a restart"
            );
            Problem::new(StatusCode::NOT_FOUND, "no-screening", "No such screening", detail)
        })
    }

    /// Ends one, or forgets one that has ended, which gives `None`.
    pub(crate) fn cancel(&self, id: &str) -> Result<Option<ScreeningDocument>, Problem> {
        let screening = self.get(id)?;
        {
            let mut course = screening.course();
            screening.cancelled.store(true, Ordering::Relaxed);
            // what was asked may be large, and its turn may be far off
            if course.question.take().is_some() {
                (course.state, course.ended) = (State::Cancelled, Some((now_ms(), Instant::now())));
            } else if course.ended.is_some() {
                drop(course);
                self.all().retain(|one| one.id != id);
                return Ok(None);
            }
        }
        Ok(Some(screening.document()))
    }
}
