//! What may be tidied without changing a record? Small data files become large sorted ones, and files that no version
//! names are removed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use deltalake::kernel::{Action, Add};
use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path as StorePath;

use super::files::{Effort, ROWS_PER_FILE, encode, read_ids};
use super::write::{TRIES, read_records};
use super::{CommitInfo, DataFile, Table, TableError, log};
use crate::columns::DATASET;
use crate::record::Record;

/// What [`Table::clean_orphans`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Files removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What [`Table::compact`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// The version that it made, or the present one where there was nothing to do.
    pub version: u64,
    /// Data files of the dataset before.
    pub before: usize,
    /// Data files of the dataset afterwards.
    pub after: usize,
    /// Records of the dataset.
    pub records: u64,
    /// Whether a commit was made.
    pub committed: bool,
}

/// A data file and what it really holds.
struct Held {
    file: DataFile,
    first: String,
    last: String,
    rows: usize,
    in_order: bool,
}

/// Which files to take out, and the id ranges of the files to put in.
struct Layout {
    old: Vec<Held>,
    new: Vec<(String, String)>,
    before: usize,
    records: u64,
}

impl Table {
    /// Puts the records of a dataset into files of [`ROWS_PER_FILE`] in id order, in one commit that changes no record.
    ///
    /// Files that are so already stay. Older versions stay readable: the old files are kept. Memory: the ids of the
    /// dataset, and the records of two files. A writer that commits meanwhile is no hindrance unless it rewrites one
    /// of the same files; then the work begins again.
    ///
    /// # Errors
    /// A data file is damaged, an id is there twice, or the store failed; then nothing was changed.
    pub async fn compact(&mut self, dataset: &str) -> Result<Compacted, TableError> {
        let info =
            CommitInfo { operation: "compact".into(), datasets: vec![dataset.to_owned()], ..CommitInfo::default() };
        for _ in 0..TRIES {
            self.refresh().await?;
            let layout = self.plan_compaction(dataset).await?;
            let mut report = Compacted {
                version: self.version(),
                before: layout.before,
                after: layout.before,
                records: layout.records,
                committed: false,
            };
            if layout.old.is_empty() {
                return Ok(report);
            }
            let parts = self.merge(dataset, &layout).await?;
            let removed: Vec<DataFile> = layout.old.iter().map(|held| held.file.clone()).collect();
            if let Some(version) = self.swap(&parts, &removed, &info).await? {
                report.after = layout.before - removed.len() + parts.len();
                return Ok(Compacted { version, committed: true, ..report });
            }
        }
        Err(TableError::Contended(TRIES))
    }

    async fn plan_compaction(&self, dataset: &str) -> Result<Layout, TableError> {
        let mut held = Vec::new();
        let mut ids = Vec::new();
        for file in self.files()?.into_iter().filter(|f| f.dataset == dataset) {
            let found = read_ids(self.fetch(&file).await?).map_err(|e| file.damaged(e))?;
            held.push(Held {
                first: found.iter().min().cloned().unwrap_or_default(),
                last: found.iter().max().cloned().unwrap_or_default(),
                rows: found.len(),
                in_order: found.is_sorted(),
                file,
            });
            ids.extend(found);
        }
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|w| w[0] == w[1]) {
            return Err(TableError::Corrupt {
                what: format!("dataset `{dataset}`"),
                why: format!("record `{}` is there twice (matgenome verify names the files)", twice[0]),
            });
        }
        let mut new: Vec<(String, String, usize)> = ids
            .chunks(ROWS_PER_FILE)
            .filter_map(|chunk| Some((chunk.first()?.clone(), chunk.last()?.clone(), chunk.len())))
            .collect();
        let before = held.len();
        // a file that holds exactly one of the ranges, in order, stays
        let is_new =
            |h: &Held, n: &(String, String, usize)| h.in_order && h.rows == n.2 && h.first == n.0 && h.last == n.1;
        let kept: HashSet<String> =
            held.iter().filter(|h| new.iter().any(|n| is_new(h, n))).map(|h| h.file.path.clone()).collect();
        new.retain(|n| !held.iter().any(|h| is_new(h, n)));
        held.retain(|h| !kept.contains(&h.file.path));
        let new = new.into_iter().map(|(first, last, _)| (first, last)).collect();
        Ok(Layout { old: held, new, before, records: ids.len() as u64 })
    }

    async fn merge(&self, dataset: &str, layout: &Layout) -> Result<Vec<Add>, TableError> {
        let mut parts = Vec::with_capacity(layout.new.len());
        for (first, last) in &layout.new {
            match self.merge_range(dataset, &layout.old, first, last).await {
                Ok(part) => parts.push(part),
                Err(e) => {
                    self.take_back(&parts).await;
                    return Err(e);
                }
            }
        }
        Ok(parts)
    }

    async fn merge_range(&self, dataset: &str, old: &[Held], first: &str, last: &str) -> Result<Add, TableError> {
        let mut rows: Vec<Record> = Vec::new();
        for held in old.iter().filter(|h| h.first.as_str() <= last && first <= h.last.as_str()) {
            let all = read_records(self.fetch(&held.file).await?).map_err(|e| held.file.damaged(e))?;
            rows.extend(all.into_iter().filter(|r| first <= r.id.as_str() && r.id.as_str() <= last));
        }
        rows.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut part = self.write_part(dataset, encode(&rows, Effort::Thorough)?).await?;
        part.data_change = false;
        Ok(part)
    }

    /// Commits the new files in place of the old ones. `None`: another writer took one of the old ones away.
    async fn swap(
        &mut self,
        parts: &[Add],
        removed: &[DataFile],
        info: &CommitInfo,
    ) -> Result<Option<u64>, TableError> {
        for _ in 0..TRIES {
            let live: HashSet<String> = self.files()?.into_iter().map(|f| f.path).collect();
            if !removed.iter().all(|f| live.contains(&f.path)) {
                break;
            }
            let actions = parts.iter().cloned().map(Action::Add).collect();
            match self.commit(actions, removed, &[], info, &[]).await {
                Ok(Some(version)) => return Ok(Some(version)),
                Ok(None) => {}
                Err(e) => {
                    if matches!(e, TableError::NoSpace { .. }) {
                        self.take_back(parts).await;
                    }
                    return Err(e);
                }
            }
            if let Err(e) = self.refresh().await {
                self.take_back(parts).await;
                return Err(e);
            }
        }
        self.take_back(parts).await;
        Ok(None)
    }

    /// Removes the data files that no kept version names, and staged files, that are older than `older_than`: what
    /// writers left that were killed, or that failed.
    ///
    /// A running writer has files that no version names yet, so give at least as long as the longest job takes from its
    /// first file to its commit; a day is good. Files of other names than ours are never touched.
    ///
    /// # Errors
    /// The log cannot be read in full (then nothing is removed), or a file cannot be removed.
    pub async fn clean_orphans(&self, older_than: Duration) -> Result<Cleaned, TableError> {
        let store = self.store();
        let now = chrono::Utc::now();
        let age = chrono::TimeDelta::from_std(older_than).unwrap_or(chrono::TimeDelta::MAX);
        let is_old = |modified: chrono::DateTime<chrono::Utc>| now.signed_duration_since(modified) >= age;
        // first the files and then the log: a commit in between is seen
        let listed: Vec<_> = store.list(None).try_collect().await?;
        let candidates: Vec<_> =
            listed.into_iter().filter(|meta| is_ours(meta.location.as_ref()) && is_old(meta.last_modified)).collect();
        let mut cleaned = Cleaned::default();
        if !candidates.is_empty() {
            let named = self.named_files().await?;
            for meta in candidates.iter().filter(|meta| !named.contains(meta.location.as_ref())) {
                // a load that writes the same content again makes it young
                if !store.head(&meta.location).await.is_ok_and(|now| is_old(now.last_modified)) {
                    continue;
                }
                match store.delete(&meta.location).await {
                    Ok(()) => {}
                    Err(object_store::Error::NotFound { .. }) => continue,
                    Err(e) => return Err(e.into()),
                }
                cleaned.files += 1;
                cleaned.bytes += meta.size;
            }
        }
        for (path, bytes) in staged(&self.location, older_than)? {
            if std::fs::remove_file(&path).is_ok() {
                cleaned.files += 1;
                cleaned.bytes += bytes;
            }
        }
        Ok(cleaned)
    }

    /// Every data file that a kept version names: what any kept log entry puts in or takes out, and what is live.
    /// What a checkpoint names is one of these: it is live now, or an entry after the checkpoint takes it out.
    async fn named_files(&self) -> Result<HashSet<String>, TableError> {
        let store = self.store();
        let mut newest = self.clone();
        newest.refresh().await?;
        let mut named: HashSet<String> = newest.files()?.into_iter().map(|f| f.path).collect();
        for (_, path) in log::entries(store.as_ref()).await? {
            let bytes = match store.get(&path).await {
                Ok(found) => found.bytes().await?,
                // old entries are cleaned up behind a checkpoint
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(e) => return Err(e.into()),
            };
            for action in serde_json::Deserializer::from_slice(&bytes).into_iter::<serde_json::Value>() {
                let action = action.map_err(|e| TableError::Corrupt { what: path.to_string(), why: e.to_string() })?;
                for kind in ["add", "remove"] {
                    let Some(name) = action.get(kind).and_then(|a| a.get("path")).and_then(|p| p.as_str()) else {
                        continue;
                    };
                    // as the log writes it, and with its escapes undone
                    named.insert(name.to_owned());
                    if let Ok(plain) = StorePath::from_url_path(name) {
                        named.insert(plain.to_string());
                    }
                }
            }
        }
        Ok(named)
    }
}

/// Whether this is the name of a data file that our writer makes.
fn is_ours(path: &str) -> bool {
    let Some((folder, name)) = path.split_once('/') else { return false };
    folder.strip_prefix(DATASET).is_some_and(|rest| rest.starts_with('='))
        && (name.starts_with("part-") || name.starts_with("bundled-"))
        && name.ends_with(".parquet")
        && !name.contains('/')
}

/// Staged files (`name#123`) in the table's folders that are older than this, with their bytes. Listings hide them.
fn staged(table: &Path, older_than: Duration) -> Result<Vec<(PathBuf, u64)>, TableError> {
    let failed = |path: &Path, why| TableError::Folder { path: path.to_owned(), why };
    let mut found = Vec::new();
    for folder in std::fs::read_dir(table).map_err(|e| failed(table, e))? {
        let folder = folder.map_err(|e| failed(table, e))?.path();
        let ours = folder.file_name().and_then(|n| n.to_str()).is_some_and(|name| {
            name == "_delta_log" || name.strip_prefix(DATASET).is_some_and(|rest| rest.starts_with('='))
        });
        if !ours || !folder.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&folder).map_err(|e| failed(&folder, e))? {
            let entry = entry.map_err(|e| failed(&folder, e))?;
            let name = entry.file_name();
            let is_staged = name
                .to_str()
                .and_then(|name| name.rsplit_once('#'))
                .is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
            // a file that went away in the meantime is none
            let Ok(meta) = entry.metadata() else { continue };
            let age = meta.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            if is_staged && meta.is_file() && age.is_some_and(|age| age >= older_than) {
                found.push((entry.path(), meta.len()));
            }
        }
    }
    Ok(found)
}
