//! Bytes that survive a power cut: a local object store that reports a write as done only after `fsync` of the file
//! and of its folder.
//!
//! `object_store`'s own `LocalFileSystem` never calls `fsync`, so a committed log entry could be there after a power
//! cut while the Parquet file that it names is empty.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// A folder of the local disk as an object store whose writes are durable when they return.
#[derive(Debug)]
pub struct DurableLocal {
    inner: LocalFileSystem,
}

impl DurableLocal {
    /// A store over the whole local disk: paths are absolute.
    pub fn everywhere() -> Self {
        DurableLocal { inner: LocalFileSystem::new() }
    }

    /// A store over an existing folder.
    pub fn new(root: &FsPath) -> Result<Self> {
        Ok(DurableLocal { inner: LocalFileSystem::new_with_prefix(root)? })
    }

    async fn sync(&self, location: &Path) -> Result<()> {
        let path = self.inner.path_to_filesystem(location)?;
        blocking(move || {
            File::open(&path)?.sync_all()?;
            sync_parent(&path)
        })
        .await
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Durable{}", self.inner)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let wrap = |e: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "DurableLocal", source: e };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|e| wrap(Box::new(e))),
        Err(panicked) => Err(wrap(Box::new(panicked))),
    }
}

/// Makes the entry of `path` in its folder durable.
pub fn sync_parent(path: &FsPath) -> io::Result<()> {
    match path.parent() {
        // a bare name lies in the current folder
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Creates a folder and its missing parents, and makes each new entry durable.
pub fn create_dir_durably(path: &FsPath) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_dir_durably(parent)?;
    }
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    sync_parent(path)
}

/// Writes the whole content beside its place, syncs it, and then names it: by rename, or (`create`) by a hard link
/// that fails where the name is taken.
fn write_durably(path: &FsPath, payload: &PutPayload, create: bool) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        create_dir_durably(parent)?;
    }
    // `name#123` is what LocalFileSystem calls a staged upload and hides from listings
    let staged = {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        let mut name = path.as_os_str().to_owned();
        name.push(format!("#{}", high ^ low));
        PathBuf::from(name)
    };
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&staged)?;
        for part in payload.iter() {
            file.write_all(part)?;
        }
        file.sync_all()?;
        if create { fs::hard_link(&staged, path) } else { fs::rename(&staged, path) }
    })();
    if create || written.is_err() {
        // a leftover of a failed write is only a hidden file; the error that matters is `written`
        let _ = fs::remove_file(&staged);
    }
    written?;
    sync_parent(path)
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "`put_opts` with mode `PutMode::Update`".into(),
                    implementer: self.to_string(),
                });
            }
        };
        let path = self.inner.path_to_filesystem(location)?;
        let shown = location.to_string();
        let done = tokio::task::spawn_blocking(move || write_durably(&path, &payload, create)).await;
        match done {
            Ok(Ok(())) => Ok(PutResult { e_tag: None, version: None }),
            Ok(Err(e)) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: shown, source: Box::new(e) })
            }
            Ok(Err(e)) if e.kind() == io::ErrorKind::PermissionDenied => {
                Err(Error::PermissionDenied { path: shown, source: Box::new(e) })
            }
            Ok(Err(e)) => Err(Error::Generic { store: "DurableLocal", source: Box::new(e) }),
            Err(panicked) => Err(Error::Generic { store: "DurableLocal", source: Box::new(panicked) }),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let path = self.inner.path_to_filesystem(location)?;
        let parent = path.parent().map(FsPath::to_path_buf);
        blocking(move || parent.as_deref().map_or(Ok(()), create_dir_durably)).await?;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(DurableUpload { inner, path }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await?;
        self.sync(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        self.sync(to).await
    }
}

#[derive(Debug)]
struct DurableUpload {
    inner: Box<dyn MultipartUpload>,
    path: PathBuf,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.inner.complete().await?;
        let path = self.path.clone();
        blocking(move || {
            File::open(&path)?.sync_all()?;
            sync_parent(&path)
        })
        .await?;
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::TryStreamExt as _;
    use object_store::ObjectStoreExt as _;

    #[tokio::test]
    async fn writes_are_whole_and_create_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let store = DurableLocal::new(dir.path()).unwrap();
        let path = Path::from("a/b/entry.json");
        let create = PutOptions { mode: PutMode::Create, ..Default::default() };
        store.put_opts(&path, "one".into(), create.clone()).await.unwrap();
        let again = store.put_opts(&path, "two".into(), create).await.unwrap_err();
        assert!(matches!(again, Error::AlreadyExists { .. }), "{again}");
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "one");
        store.put(&path, "three".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "three");
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1, "staged files are gone: {listed:?}");
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn multipart_uploads_appear_only_when_complete() {
        let dir = tempfile::tempdir().unwrap();
        let store = DurableLocal::new(dir.path()).unwrap();
        let path = Path::from("big/file.parquet");
        let mut upload = store.put_multipart(&path).await.unwrap();
        upload.put_part("half".into()).await.unwrap();
        assert!(store.head(&path).await.is_err());
        upload.put_part(" done".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "half done");
    }
}
