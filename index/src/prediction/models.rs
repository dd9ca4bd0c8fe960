//! The properties that are learned: those of late in memory, all on disk, so that nothing is learned twice.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::model::Model;
use super::{column, lock};

/// Bytes of models in memory, at most, short of one that is larger: a model of many samples takes some 10 MiB.
const MEMORY: usize = 128 << 20;

/// The models of a data directory.
#[derive(Debug)]
pub(super) struct Models {
    folder: PathBuf,
    recent: Mutex<Recent<Model>>,
}

/// What was used last, in that order: no more bytes than there is room for, short of one alone that takes more.
#[derive(Debug)]
struct Recent<T> {
    held: VecDeque<Held<T>>,
    room: usize,
}

#[derive(Debug)]
struct Held<T> {
    key: String,
    fingerprint: u64,
    bytes: usize,
    of: Arc<T>,
}

impl<T> Recent<T> {
    fn new(room: usize) -> Recent<T> {
        Recent { held: VecDeque::new(), room }
    }

    fn take(&mut self, key: &str, fingerprint: u64) -> Option<Arc<T>> {
        let at = self.held.iter().position(|held| held.key == key && held.fingerprint == fingerprint)?;
        let held = self.held.remove(at)?;
        let of = Arc::clone(&held.of);
        self.held.push_back(held);
        Some(of)
    }

    /// One takes the place of another of its key.
    fn put(&mut self, new: Held<T>) {
        self.held.retain(|held| held.key != new.key);
        self.held.push_back(new);
        let mut bytes: usize = self.held.iter().map(|held| held.bytes).sum();
        while bytes > self.room && self.held.len() > 1 {
            bytes -= self.held.pop_front().map_or(0, |gone| gone.bytes);
        }
    }
}

impl Models {
    /// The models that are kept in a folder. Nothing is read yet.
    pub(super) fn of(folder: &Path) -> Models {
        Models { folder: folder.to_owned(), recent: Mutex::new(Recent::new(MEMORY)) }
    }

    /// The model of a property that was learned from what this fingerprint tells apart; learned now where none is kept. `None` where
    /// nothing can be learned.
    pub(super) fn get(&self, key: &str, fingerprint: u64, learn: impl FnOnce() -> Option<Model>) -> Option<Arc<Model>> {
        if let Some(model) = lock(&self.recent).take(key, fingerprint) {
            return Some(model);
        }
        let kept = column::load_model(&self.folder, key, fingerprint);
        let model = match kept.and_then(|bytes| Model::from_bytes(&bytes)) {
            Some(model) => model,
            None => {
                let model = learn()?;
                if let Err(why) = column::save_model(&self.folder, key, fingerprint, &model.to_bytes()) {
                    tracing::warn!("what is learned of {key} is not kept, and will be learned again: {why}");
                }
                model
            }
        };
        let (bytes, of) = (model.bytes(), Arc::new(model));
        let model = Arc::clone(&of);
        lock(&self.recent).put(Held { key: key.to_owned(), fingerprint, bytes, of });
        Some(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays() {
        let mut recent = Recent::new(300);
        let put = |recent: &mut Recent<()>, key: &str, fingerprint, bytes| {
            recent.put(Held { key: key.to_owned(), fingerprint, bytes, of: Arc::new(()) });
        };
        for (key, fingerprint) in [("a", 1), ("b", 2), ("c", 3)] {
            put(&mut recent, key, fingerprint, 100);
        }
        assert!(recent.take("a", 1).is_some() && recent.take("a", 9).is_none() && recent.take("x", 1).is_none());
        put(&mut recent, "d", 4, 100);
        assert!(recent.take("b", 2).is_none(), "it was not used for the longest time");
        put(&mut recent, "a", 5, 100);
        assert!(recent.take("a", 1).is_none(), "another one has taken its place");
        assert!(recent.take("a", 5).is_some() && recent.take("c", 3).is_some() && recent.take("d", 4).is_some());
        put(&mut recent, "e", 6, 1000);
        assert!(recent.take("e", 6).is_some() && recent.held.len() == 1, "one alone may be larger than the room");
    }
}
