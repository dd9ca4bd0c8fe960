//! Which spaces have graphs to walk along? See [`crate::hnsw`]; one is made when a space was asked about first.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gpu::{Device, Probe};
use rayon::prelude::*;

use super::{Embedding, EmbeddingError, Space};
use crate::hnsw::{Graph, Guide};
use crate::snapshot::Snapshot;

/// Vectors below which a look at all of them is as fast as a walk.
const WORTH: usize = 20_000;

/// The graphs of a data directory.
#[derive(Debug)]
pub struct Graphs {
    folder: PathBuf,
    spaces: [Mutex<State>; Space::ALL.len()],
    wanted: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the disk was looked at.
    is_read: bool,
    graph: Option<Arc<Graph>>,
    /// Whether somebody would be served by a new one.
    is_wanted: bool,
}

impl Graphs {
    /// The graphs of a data directory. Nothing is read yet.
    pub fn of(data_dir: &Path) -> Graphs {
        Graphs { folder: data_dir.join("graphs"), spaces: Default::default(), wanted: Default::default() }
    }

    fn place(&self, space: Space) -> PathBuf {
        self.folder.join(format!("{space}.graph"))
    }

    fn state(&self, space: Space) -> MutexGuard<'_, State> {
        // what is behind the lock is whole between any two statements
        self.spaces[space as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What leads to neighbours in a space of a snapshot without a look at all vectors, where there is a graph of it. Asks for one where
    /// there is none, or for a better one; questions that come meanwhile are answered without.
    pub(crate) fn guide(&self, snapshot: &Snapshot, space: Space, embedding: &Embedding) -> Option<Arc<Guide>> {
        // a graph is one of compositions
        let is_of_records = !embedding.records.is_empty();
        if is_of_records || embedding.vectors.len() < WORTH {
            return None;
        }
        if let Some(guide) = embedding.guide() {
            return Some(guide);
        }
        // who fits it holds the lock
        let mut state = self.spaces[space as usize].try_lock().ok()?;
        if !state.is_read {
            state.graph = self.read(snapshot, space);
            state.is_read = true;
        }
        let guide = state.graph.clone().and_then(|graph| fitted(graph, snapshot, embedding));
        if guide.as_ref().is_none_or(|guide| guide.is_stale()) && !state.is_wanted {
            state.is_wanted = true;
            self.wanted.notify_one();
        }
        guide
    }

    fn read(&self, snapshot: &Snapshot, space: Space) -> Option<Arc<Graph>> {
        let stamp = snapshot.embedding_stamp(space).ok()?;
        match Graph::load(&self.place(space), stamp) {
            Ok(graph) => graph.map(Arc::new),
            Err(why) => {
                tracing::warn!("the graph of the space of {space} is made anew: {why}");
                None
            }
        }
    }

    /// Resolves when a graph is wanted.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Makes the graphs that are wanted, of a snapshot, and keeps them on disk.
    ///
    /// # Errors
    /// The space cannot be made.
    pub fn make(&self, snapshot: &Snapshot, device: &Device) -> Result<(), EmbeddingError> {
        for space in Space::ALL {
            if self.state(space).is_wanted {
                let made = self.made(snapshot, space, device);
                let mut state = self.state(space);
                // where it failed, too: the next question of a snapshot without a guide asks again
                state.is_wanted = false;
                if let Some(graph) = made? {
                    (state.graph, state.is_read) = (Some(graph), true);
                }
            }
        }
        Ok(())
    }

    fn made(&self, snapshot: &Snapshot, space: Space, device: &Device) -> Result<Option<Arc<Graph>>, EmbeddingError> {
        let Some(embedding) = snapshot.embedding(space)? else { return Ok(None) };
        let Some(probe) = Probe::new(&embedding.vectors, embedding.metric) else { return Ok(None) };
        let Some(graph) = Graph::build(&probe, &keys(snapshot, &embedding), device)? else { return Ok(None) };
        let graph = Arc::new(graph);
        let stamp = snapshot.embedding_stamp(space)?;
        if let Err(why) = graph.save(&self.place(space), stamp) {
            tracing::warn!(
                "the graph of the space of {space} is not kept, so the next start will make it again: {why}"
            );
        }
        fitted(Arc::clone(&graph), snapshot, &embedding);
        Ok(Some(graph))
    }
}

/// Fits a graph to the vectors of a space of a snapshot, which keeps the guide.
fn fitted(graph: Arc<Graph>, snapshot: &Snapshot, embedding: &Embedding) -> Option<Arc<Guide>> {
    let probe = Probe::new(&embedding.vectors, embedding.metric)?;
    let guide = Arc::new(Guide::new(graph, probe, &keys(snapshot, embedding))?);
    embedding.guide_by(Arc::clone(&guide));
    Some(guide)
}

/// The composition of each vector.
fn keys(snapshot: &Snapshot, embedding: &Embedding) -> Vec<u64> {
    let compositions = snapshot.compositions();
    let keys: Vec<u64> = compositions.all.par_iter().map(|composition| composition.key()).collect();
    let key = |row: &u32| keys.get(compositions.of_row[*row as usize] as usize);
    // what has no composition is a node of its own
    embedding.rows.iter().map(|row| key(row).copied().unwrap_or(u64::from(*row))).collect()
}
