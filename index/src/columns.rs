//! Beliefs as columns of a device, and those of the snapshot before, of which a device makes the next ones.
//!
//! After a commit most rows of a column are what they were, at most some places further on. A GPU that holds the old column
//! makes the new one of it, and only what has changed is copied there. So the old one lives until the new one is made, or until
//! nobody has asked for it for some commits. A CPU has nothing to copy: there no old column is kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use datasets::record::Evidence;
use gpu::{Column, Device, GpuError, Moves};

use crate::belief::Beliefs;
use crate::scope::Scope;
use crate::snapshot::{BeliefKey, Snapshot};

/// Commits after which an old column that nobody asks for is given up.
const MOST_IDLE: u8 = 8;

/// A column of an older snapshot, and where its rows are now.
#[derive(Debug, Clone)]
pub(crate) struct Older {
    column: Arc<Column>,
    moves: Arc<Moves>,
    /// Commits since somebody has asked for it or for what came of it.
    idle: u8,
}

/// The columns of some beliefs: one for each evidence that a query may ask for.
#[derive(Debug, Default)]
pub(crate) struct DeviceColumns([Slot; 5]);

#[derive(Debug, Default)]
struct Slot {
    made: OnceLock<Arc<Column>>,
    /// Whether a query has asked for it.
    asked: AtomicBool,
    older: Mutex<Option<Older>>,
}

/// The beliefs that columns are of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// About a property, as known.
    Known(BeliefKey),
    /// With predictions in the empty cells.
    Believed(BeliefKey),
    /// About an index of merit.
    Merit(Scope, String),
}

/// Columns of the snapshot before, of beliefs that this one has not made yet.
#[derive(Debug, Default)]
pub(crate) struct Awaited(Mutex<HashMap<Subject, Vec<(usize, Older)>>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // a panic while a lock is held cannot leave what it guards half changed
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Beliefs {
    /// The beliefs as a column for a device: one row a material; cells of less than the asked evidence are empty.
    ///
    /// # Errors
    /// A belief is beyond what a column holds; none is, short of a defect.
    pub(crate) fn column(&self, device: &Device, materials: usize, least: Evidence) -> Result<Arc<Column>, GpuError> {
        // where all cells are of enough evidence the column is the one of no condition
        let weakest = self.evidence.iter().min().copied().unwrap_or_default();
        let slot = if weakest >= least as u8 { 0 } else { least as usize };
        self.device.0[slot].asked.store(true, Ordering::Relaxed);
        self.slot(slot, device, materials)
    }

    fn slot(&self, at: usize, device: &Device, materials: usize) -> Result<Arc<Column>, GpuError> {
        let slot = &self.device.0[at];
        if let Some(column) = slot.made.get() {
            return Ok(Arc::clone(column));
        }
        let (mut mean, mut sd) = (vec![0f32; materials], vec![-1f32; materials]);
        for i in 0..self.len() {
            if self.evidence[i] >= at as u8 {
                let row = self.row[i] as usize;
                mean[row] = self.mean[i] as f32;
                sd[row] = self.sd[i] as f32;
            }
        }
        let older = lock(&slot.older).clone();
        let column = match &older {
            Some(Older { column, moves, .. }) => Column::following(mean, sd, column, moves)?,
            None => Column::new(mean, sd)?,
        };
        let column = Arc::clone(slot.made.get_or_init(|| column));
        if older.is_some() {
            // while the old one is there. Where the device cannot, the query hears of it
            if let Err(why) = device.warm_up(std::slice::from_ref(&column)) {
                tracing::debug!(%why, "a column is not made of the one before");
            }
            *lock(&slot.older) = None;
        }
        Ok(column)
    }

    /// Takes over what there is of them from before.
    fn follow(&self, older: &[(usize, Older)]) {
        for (slot, older) in older {
            let slot = &self.device.0[*slot];
            if slot.made.get().is_none() {
                *lock(&slot.older) = Some(older.clone());
            }
        }
    }

    /// Makes the columns that were asked for before the last commit, on the device too.
    fn renew(&self, device: &Device, materials: usize) -> Result<(), GpuError> {
        for (at, slot) in self.device.0.iter().enumerate() {
            let fresh = lock(&slot.older).as_ref().is_some_and(|older| older.idle == 0);
            if fresh && slot.made.get().is_none() {
                self.slot(at, device, materials)?;
            }
        }
        Ok(())
    }

    /// What the next snapshot may make its columns of.
    fn left(&self, moves: &Arc<Moves>) -> Vec<(usize, Older)> {
        let of_slot = |(at, slot): (usize, &Slot)| {
            let older = match slot.made.get() {
                Some(column) => {
                    let idle = u8::from(!slot.asked.load(Ordering::Relaxed));
                    Some(Older { column: Arc::clone(column), moves: Arc::clone(moves), idle })
                }
                None => lock(&slot.older).as_ref().and_then(|older| older.moved(moves)),
            };
            Some((at, older?))
        };
        self.device.0.iter().enumerate().filter_map(of_slot).collect()
    }
}

impl Older {
    /// After one more commit; `None` where nobody seems to want it any more, or too much has moved.
    fn moved(&self, moves: &Moves) -> Option<Older> {
        let idle = self.idle + 1;
        let moves = self.moves.then(moves);
        let worth = idle <= MOST_IDLE && !moves.is_empty() && !moves.are_too_many();
        worth.then(|| Older { column: Arc::clone(&self.column), moves: Arc::new(moves), idle })
    }
}

impl Subject {
    fn scope(&self) -> &Scope {
        match self {
            Subject::Known((scope, ..)) | Subject::Believed((scope, ..)) | Subject::Merit(scope, _) => scope,
        }
    }

    fn under(mut self, other: Scope) -> Subject {
        match &mut self {
            Subject::Known((scope, ..)) | Subject::Believed((scope, ..)) | Subject::Merit(scope, _) => *scope = other,
        }
        self
    }
}

impl Awaited {
    /// Gives beliefs the columns that wait for them.
    pub(crate) fn meet(&self, subject: impl FnOnce() -> Subject, beliefs: &Beliefs) {
        let mut waiting = lock(&self.0);
        if !waiting.is_empty()
            && let Some(older) = waiting.remove(&subject())
        {
            beliefs.follow(&older);
        }
    }
}

impl Snapshot {
    /// Takes over the columns of the snapshot before, whose materials have moved so.
    pub(crate) fn follow(&self, old: &Snapshot, moves: Moves) {
        if moves.is_empty() || moves.are_too_many() {
            return;
        }
        let moves = Arc::new(moves);
        let mut left: Vec<(Subject, Vec<(usize, Older)>)> =
            old.kept_beliefs().into_iter().map(|(subject, beliefs)| (subject, beliefs.left(&moves))).collect();
        left.extend(lock(&old.awaited.0).iter().map(|(subject, older)| {
            let moved = older.iter().filter_map(|(slot, older)| Some((*slot, older.moved(&moves)?)));
            (subject.clone(), moved.collect())
        }));
        let made: HashMap<Subject, Arc<Beliefs>> = self.kept_beliefs().into_iter().collect();
        let mut waiting = lock(&self.awaited.0);
        for (subject, older) in left.into_iter().filter(|(_, older)| !older.is_empty()) {
            for scope in self.scopes_after(old, subject.scope()) {
                let subject = subject.clone().under(scope);
                match made.get(&subject) {
                    Some(beliefs) => beliefs.follow(&older),
                    None => drop(waiting.insert(subject, older.clone())),
                }
            }
        }
    }

    /// Makes the columns that were asked for before the last commit, where their beliefs are made.
    ///
    /// # Errors
    /// A belief is beyond what a column holds.
    pub(crate) fn renew_columns(&self, device: &Device) -> Result<(), GpuError> {
        let kept = self.kept_beliefs();
        kept.iter().try_for_each(|(_, beliefs)| beliefs.renew(device, self.materials.len()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::belief::Belief;
    use gpu::Run;

    fn beliefs() -> Beliefs {
        let mut beliefs = Beliefs::default();
        for row in 0..500 {
            let (mean, evidence) = (f64::from(row), Evidence::Measured);
            beliefs.push(row, Belief { mean, sd: 0.5, value: mean, evidence, pick: row, count: 1, inherited: false });
        }
        beliefs
    }

    fn key() -> (Scope, String) {
        (Scope(Vec::new()), "1 a / b".to_owned())
    }

    fn kept(snapshot: &Snapshot) -> Arc<Beliefs> {
        let made = snapshot.merits.get(key(), || Ok::<_, std::convert::Infallible>(beliefs()));
        let beliefs = made.unwrap_or_else(|never| match never {});
        snapshot.awaited.meet(|| Subject::Merit(Scope(Vec::new()), key().1), &beliefs);
        beliefs
    }

    /// The snapshot after one more commit, in front of whose rows one is put.
    fn next(old: &Snapshot) -> Snapshot {
        let (next, mut moves) = (Snapshot::empty(), Moves::default());
        moves.push(Run { from: 0, to: 1, rows: 600 });
        next.follow(old, moves);
        next
    }

    fn older(beliefs: &Beliefs) -> Option<Older> {
        lock(&beliefs.device.0[0].older).clone()
    }

    #[test]
    fn an_old_column_goes_when_the_next_one_is_made_of_it() {
        let first = Snapshot::empty();
        let column = kept(&first).column(&Device::cpu(), 600, Evidence::None).unwrap();
        let second = next(&first);
        drop(first);
        let beliefs = kept(&second);
        let waiting = older(&beliefs).unwrap();
        assert!(Arc::ptr_eq(&waiting.column, &column) && waiting.idle == 0);
        drop((waiting, second));
        assert_eq!(Arc::strong_count(&column), 2, "the beliefs still have it");
        beliefs.column(&Device::cpu(), 600, Evidence::None).unwrap();
        assert!(older(&beliefs).is_none());
        assert_eq!(Arc::strong_count(&column), 1);
    }

    #[test]
    fn a_column_that_nobody_asks_for_is_given_up_after_some_commits() {
        let mut snapshot = Snapshot::empty();
        let column = kept(&snapshot).column(&Device::cpu(), 600, Evidence::None).unwrap();
        for commit in 1..=12u8 {
            snapshot = next(&snapshot);
            let alive = Arc::strong_count(&column) > 1;
            assert_eq!(alive, commit <= MOST_IDLE + 1, "after {commit} commits");
        }
        // what came of it is asked for in between: it is followed through all commits before
        let mut snapshot = Snapshot::empty();
        drop(kept(&snapshot).column(&Device::cpu(), 600, Evidence::None));
        for commit in 1..=12 {
            snapshot = next(&snapshot);
            if commit % 4 == 0 {
                let waiting = older(&kept(&snapshot)).unwrap();
                assert_eq!(waiting.moves.runs(), [Run { from: 0, to: 4, rows: 597 }]);
                kept(&snapshot).column(&Device::cpu(), 600, Evidence::None).unwrap();
            }
        }
    }

    #[test]
    fn only_what_was_asked_for_is_made_ahead() {
        let first = Snapshot::empty();
        kept(&first).column(&Device::cpu(), 600, Evidence::None).unwrap();
        let second = next(&first);
        let made = |snapshot: &Snapshot| kept(snapshot).device.0[0].made.get().is_some();
        assert!(!made(&second));
        kept(&second).renew(&Device::cpu(), 600).unwrap();
        assert!(made(&second));
        // nobody has asked for it since
        let third = next(&second);
        assert!(older(&kept(&third)).is_some());
        kept(&third).renew(&Device::cpu(), 600).unwrap();
        assert!(!made(&third));
    }

    #[test]
    fn rows_that_moved_too_much_are_not_followed() {
        let first = Snapshot::empty();
        kept(&first).column(&Device::cpu(), 600, Evidence::None).unwrap();
        let mut moves = Moves::default();
        (0..=Moves::MOST).for_each(|at| moves.push(Run { from: 2 * at, to: at, rows: 1 }));
        for moves in [moves, Moves::default()] {
            let second = Snapshot::empty();
            second.follow(&first, moves);
            assert!(older(&kept(&second)).is_none());
        }
    }
}
