//! What does the log itself say? One entry at a time: whose it is, and whether it is whole.

use std::error::Error;
use std::io;

use futures::TryStreamExt as _;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::TableError;

/// Key of a commit's own id in its commit info.
const ID_KEY: &str = "matgenomeCommit";

/// The id of one attempt to commit.
pub(super) struct CommitId(String);

impl CommitId {
    pub(super) fn new() -> CommitId {
        CommitId(uuid::Uuid::new_v4().to_string())
    }

    pub(super) fn metadata(&self) -> (String, serde_json::Value) {
        (ID_KEY.to_owned(), self.0.clone().into())
    }
}

/// What stands at a version of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    None,
    /// The commit with this id.
    Ours,
    /// Another commit.
    Others,
}

/// Whose commit a version is.
pub(super) async fn entry(store: &dyn ObjectStore, version: u64, id: &CommitId) -> Result<Entry, TableError> {
    let path = StorePath::from(format!("_delta_log/{version:020}.json"));
    let bytes = match store.get(&path).await {
        Ok(found) => found.bytes().await?,
        Err(object_store::Error::NotFound { .. }) => return Ok(Entry::None),
        Err(e) => return Err(e.into()),
    };
    if !is_whole(&bytes) {
        return Err(TableError::CutOff { entry: path.to_string(), bytes: bytes.len() });
    }
    let info = commit_info(&bytes).map_err(|e| TableError::Corrupt { what: path.to_string(), why: e.to_string() })?;
    let ours = info.is_some_and(|info| info.get(ID_KEY).and_then(|found| found.as_str()) == Some(id.0.as_str()));
    Ok(if ours { Entry::Ours } else { Entry::Others })
}

/// The commit info of a log entry: one of its lines.
pub(super) fn commit_info(entry: &[u8]) -> serde_json::Result<Option<serde_json::Value>> {
    for action in serde_json::Deserializer::from_slice(entry).into_iter::<serde_json::Value>() {
        if let Some(info) = action?.get_mut("commitInfo") {
            return Ok(Some(info.take()));
        }
    }
    Ok(None)
}

fn is_whole(entry: &[u8]) -> bool {
    !entry.is_empty()
        && serde_json::Deserializer::from_slice(entry).into_iter::<serde::de::IgnoredAny>().all(|action| action.is_ok())
}

/// The versions of the log with the paths of their entries, newest first.
pub(super) async fn entries(store: &dyn ObjectStore) -> object_store::Result<Vec<(u64, StorePath)>> {
    let listed: Vec<_> = store.list(Some(&StorePath::from("_delta_log"))).try_collect().await?;
    let version_of = |path: &StorePath| path.filename()?.strip_suffix(".json")?.parse::<u64>().ok();
    let mut entries: Vec<_> =
        listed.into_iter().filter_map(|meta| Some((version_of(&meta.location)?, meta.location))).collect();
    entries.sort_unstable_by(|a, b| b.cmp(a));
    Ok(entries)
}

/// Where the log cannot be read: the newest entry, if that is because it ends in the middle.
pub(super) async fn what_is_cut_off(store: &dyn ObjectStore) -> Option<TableError> {
    let (_, path) = entries(store).await.ok()?.into_iter().next()?;
    let bytes = store.get(&path).await.ok()?.bytes().await.ok()?;
    // an entry that is damaged in the middle is another matter: its writer may have been told that it is committed
    let ends_early = bytes.is_empty()
        || serde_json::Deserializer::from_slice(&bytes)
            .into_iter::<serde::de::IgnoredAny>()
            .find_map(Result::err)
            .is_some_and(|e| e.is_eof());
    ends_early.then(|| TableError::CutOff { entry: path.to_string(), bytes: bytes.len() })
}

/// What the operating system says where the cause of an error is that no more can be written.
pub(super) fn no_space(error: &TableError) -> Option<String> {
    let full = |e: &io::Error| {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(e.kind(), StorageFull | QuotaExceeded | FileTooLarge).then(|| e.to_string())
    };
    if let TableError::Folder { why, .. } = error {
        return full(why);
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return full(found);
        }
        cause = error.source();
    }
    None
}
