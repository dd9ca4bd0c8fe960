//! What has a commit changed? From the snapshot of one version to that of another by their difference alone.

use std::collections::HashSet;

use datasets::property::Property;
use datasets::table::{DataFile, Table, TableError};
use gpu::Device;
use rayon::prelude::*;

use super::Snapshot;
use super::build::Rows;
use super::merge::{Merged, merge};

/// Why a snapshot must be built anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotExtended {
    /// A data file cannot be read; one that was taken out may be gone.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The records of a file that was taken out are not those of the snapshot.
    #[error("the snapshot has {found} of the {expected} records that were taken out or written again")]
    Unknown {
        /// Records of these ids in the snapshot.
        found: usize,
        /// Records in the files.
        expected: usize,
    },
    /// What is there cannot be merged.
    #[error("{0}")]
    Unmergeable(&'static str),
}

/// The snapshot of the table's version, made from that of another version of it: exactly what
/// [`build`](super::build()) gives. Only the data files that are new are read, and of those that were taken out the
/// ids. Beliefs that nothing has changed are carried over.
///
/// # Errors
/// The difference cannot be told, or a file not be read: build it.
pub async fn extend(old: &Snapshot, table: &Table) -> Result<Snapshot, NotExtended> {
    Ok(extended(old, table).await?.snapshot)
}

/// The same; on a GPU the columns of the old snapshot are followed by the new ones.
pub(crate) async fn extend_for(device: &Device, old: &Snapshot, table: &Table) -> Result<Snapshot, NotExtended> {
    let Merged { snapshot, materials } = extended(old, table).await?;
    if !device.is_cpu() {
        snapshot.follow(old, materials.moves());
    }
    Ok(snapshot)
}

async fn extended(old: &Snapshot, table: &Table) -> Result<Merged, NotExtended> {
    let infos = table.datasets()?;
    let files = table.files()?;
    // deviations and bounds of a definition are in the values already
    let redefined = old.datasets.iter().filter_map(|d| Some((d, infos.get(&d.info.name)?))).any(|(before, now)| {
        let other = |p: &Property| {
            now.property(&p.key).is_none_or(|q| (&q.sd, &q.methods, &q.bounds) != (&p.sd, &p.methods, &p.bounds))
        };
        before.info.properties.iter().any(other)
    });
    if redefined {
        return Err(NotExtended::Unmergeable("a dataset has defined a property of its own anew"));
    }
    let paths = |files: &[DataFile]| files.iter().map(|f| f.path.clone()).collect::<HashSet<String>>();
    let (before, now) = (paths(&old.files), paths(&files));
    let mut ids: Vec<String> = Vec::new();
    for file in old.files.iter().filter(|f| !now.contains(&f.path)) {
        ids.extend(table.ids(file).await?);
    }
    let mut gone = Vec::new();
    if !ids.is_empty() {
        let taken: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let records = &old.records;
        gone = (0..records.len()).into_par_iter().map(|r| taken.contains(records.id.value(r))).collect::<Vec<bool>>();
        let found = gone.iter().filter(|gone| **gone).count();
        if found != ids.len() || taken.len() != ids.len() {
            return Err(NotExtended::Unknown { found, expected: ids.len() });
        }
    }
    let mut added: Vec<&DataFile> = files.iter().filter(|f| !before.contains(&f.path)).collect();
    added.sort_by(|a, b| (&a.dataset, &a.ids, &a.path).cmp(&(&b.dataset, &b.ids, &b.path)));
    let mut rows = Rows::new(&infos, Some(&old.records.structures))?;
    for file in added {
        for batch in table.batches(file).await? {
            rows.add(&batch)?;
        }
    }
    let part = rows.sorted();
    merge(old, gone, &part, table.version(), infos, files).map_err(NotExtended::Unmergeable)
}
