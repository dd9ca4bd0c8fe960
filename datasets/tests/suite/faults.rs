//! A store that fails: at each of its operations, cleanly, in the middle, or after it was done. Whatever happens, the
//! table is as before or as after, and the same command again brings it to the end exactly once.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datasets::bundled;
use datasets::catalogue::DatasetInfo;
use datasets::durable::DurableLocal;
use datasets::record::Record;
use datasets::table::{Change, Outcome, Table, TableError};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path as StorePath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result as StoreResult,
};

use crate::hub::{Hub, batch, contents, copy_folder, files_below, ids, record};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing is done.
    Clean,
    /// Half of the bytes arrive under the name, and stay.
    Torn,
    /// All is done, and the answer is an error.
    Lost,
    /// As clean, by the operating system: the disk is full.
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Write,
    Read,
}

/// Wraps a store; the n-th write or read fails.
#[derive(Debug)]
struct FaultyStore {
    inner: DurableLocal,
    faults: Vec<(Side, u32, Kind)>,
    writes: AtomicU32,
    reads: AtomicU32,
    hit: Mutex<Vec<String>>,
    /// Whether log entries were among what was torn.
    tore_entry: Mutex<bool>,
}

impl FaultyStore {
    fn new(faults: Vec<(Side, u32, Kind)>) -> Arc<FaultyStore> {
        Arc::new(FaultyStore {
            inner: DurableLocal::everywhere(),
            faults,
            writes: AtomicU32::new(0),
            reads: AtomicU32::new(0),
            hit: Mutex::new(Vec::new()),
            tore_entry: Mutex::new(false),
        })
    }

    fn next(&self, side: Side, what: &str) -> Option<Kind> {
        let counter = if side == Side::Write { &self.writes } else { &self.reads };
        let n = counter.fetch_add(1, Ordering::SeqCst);
        let kind = self.faults.iter().find(|(s, at, _)| *s == side && *at == n).map(|(_, _, kind)| *kind)?;
        self.hit.lock().unwrap().push(format!("{side:?} {n} {kind:?}: {what}"));
        Some(kind)
    }

    fn hits(&self) -> Vec<String> {
        self.hit.lock().unwrap().clone()
    }
}

fn injected(kind: Kind) -> Error {
    let source: Box<dyn std::error::Error + Send + Sync> = match kind {
        Kind::Full => Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
        _ => "injected".into(),
    };
    Error::Generic { store: "FaultyStore", source }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, at: &StorePath, payload: PutPayload, opts: PutOptions) -> StoreResult<PutResult> {
        match self.next(Side::Write, &format!("put {at}")) {
            None => self.inner.put_opts(at, payload, opts).await,
            Some(kind @ (Kind::Clean | Kind::Full)) => Err(injected(kind)),
            Some(Kind::Torn) => {
                let whole: Vec<u8> = payload.iter().flat_map(|part| part.iter().copied()).collect();
                let half = whole[..whole.len() / 2].to_vec();
                // through the same mode: a name that is taken stays as it is
                self.inner.put_opts(at, half.into(), opts).await?;
                if at.as_ref().contains("_delta_log/") && at.as_ref().ends_with(".json") {
                    *self.tore_entry.lock().unwrap() = true;
                }
                Err(injected(Kind::Torn))
            }
            Some(Kind::Lost) => {
                self.inner.put_opts(at, payload, opts).await?;
                Err(injected(Kind::Lost))
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &StorePath,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        match self.next(Side::Write, &format!("multipart {at}")) {
            None => self.inner.put_multipart_opts(at, opts).await,
            Some(kind) => Err(injected(kind)),
        }
    }

    async fn get_opts(&self, at: &StorePath, options: GetOptions) -> StoreResult<GetResult> {
        match self.next(Side::Read, &format!("get {at}")) {
            None => self.inner.get_opts(at, options).await,
            Some(kind) => Err(injected(kind)),
        }
    }

    async fn get_ranges(&self, at: &StorePath, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        match self.next(Side::Read, &format!("get ranges {at}")) {
            None => self.inner.get_ranges(at, ranges).await,
            Some(kind) => Err(injected(kind)),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<StorePath>>,
    ) -> BoxStream<'static, StoreResult<StorePath>> {
        match self.next(Side::Write, "delete") {
            None => self.inner.delete_stream(locations),
            Some(Kind::Lost) => {
                self.inner.delete_stream(locations).then(|_| async { Err(injected(Kind::Lost)) }).boxed()
            }
            Some(kind) => locations.map(move |_| Err(injected(kind))).boxed(),
        }
    }

    fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        match self.next(Side::Read, "list") {
            None => self.inner.list(prefix),
            Some(kind) => futures::stream::iter([Err(injected(kind))]).boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&StorePath>,
        offset: &StorePath,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        match self.next(Side::Read, "list") {
            None => self.inner.list_with_offset(prefix, offset),
            Some(kind) => futures::stream::iter([Err(injected(kind))]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> StoreResult<ListResult> {
        match self.next(Side::Read, "list") {
            None => self.inner.list_with_delimiter(prefix).await,
            Some(kind) => Err(injected(kind)),
        }
    }

    async fn copy_opts(&self, from: &StorePath, to: &StorePath, options: CopyOptions) -> StoreResult<()> {
        match self.next(Side::Write, "copy") {
            None => self.inner.copy_opts(from, to, options).await,
            Some(kind) => Err(injected(kind)),
        }
    }

    async fn rename_opts(&self, from: &StorePath, to: &StorePath, options: RenameOptions) -> StoreResult<()> {
        match self.next(Side::Write, "rename") {
            None => self.inner.rename_opts(from, to, options).await,
            Some(kind) => Err(injected(kind)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Insert,
    InsertWithKey,
    UpdateWithKey,
    Update,
    Delete,
    Terms,
    KeyAlone,
    Compact,
}

const OPERATIONS: [Operation; 9] = [
    Operation::Create,
    Operation::Insert,
    Operation::InsertWithKey,
    Operation::UpdateWithKey,
    Operation::Update,
    Operation::Delete,
    Operation::Terms,
    Operation::KeyAlone,
    Operation::Compact,
];

fn lab() -> DatasetInfo {
    DatasetInfo::unnamed_terms("lab")
}

impl Operation {
    async fn run(self, table: &mut Table) -> Result<Outcome, TableError> {
        let key = Some("the job");
        match self {
            Operation::Create => Ok(Outcome { version: table.version(), change: Change::default(), committed: false }),
            Operation::Insert => table.upsert(&lab(), batch(100..110, 5.0), None).await,
            Operation::InsertWithKey => table.upsert(&lab(), batch(100..110, 5.0), key).await,
            // rows of both files, and new ones
            Operation::Update => table.upsert(&lab(), batch(15..45, 5.0), None).await,
            Operation::UpdateWithKey => table.upsert(&lab(), batch(15..45, 5.0), key).await,
            Operation::Delete => table.delete("lab", &ids(&["lab/003", "lab/025"])).await,
            Operation::Terms => {
                let mut terms = lab();
                terms.title = "Other words".into();
                table.upsert(&terms, Vec::new(), None).await
            }
            Operation::KeyAlone => table.upsert(&lab(), batch(0..5, 1.0), key).await,
            Operation::Compact => {
                let done = table.compact("lab").await?;
                Ok(Outcome { version: done.version, change: Change::default(), committed: done.committed })
            }
        }
    }
}

/// What a reader may see.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    records: BTreeMap<String, Record>,
    terms: BTreeMap<String, DatasetInfo>,
}

async fn seen(table: &Table) -> Seen {
    Seen { records: contents(table).await, terms: table.datasets().unwrap() }
}

/// A folder with two data files of one dataset, and one of another.
async fn base() -> Hub {
    let mut hub = Hub::new().await;
    hub.put("lab", batch(0..20, 1.0)).await;
    hub.put("lab", batch(20..40, 2.0)).await;
    hub.put("other", vec![record("other/1", 1.0)]).await;
    hub
}

/// One trial: a copy of the base, faults, a look, the same command again. Returns what was hit.
async fn trial(base: &Path, operation: Operation, faults: Vec<(Side, u32, Kind)>, after: &Seen) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let said = format!("{operation:?} {faults:?}");
    let create = operation == Operation::Create;
    if !create {
        copy_folder(base, folder.path());
    }
    let before = match Table::open(folder.path()).await.unwrap() {
        Some(table) => seen(&table).await,
        None => Seen { records: BTreeMap::new(), terms: BTreeMap::new() },
    };
    let base_version = if create { 0 } else { 3 };
    let store = FaultyStore::new(faults);
    let disk: Arc<dyn ObjectStore> = store.clone();
    let done = async {
        let opened = match create {
            true => Table::open_or_create_with(folder.path(), disk).await.map(Some),
            false => Table::open_with(folder.path(), disk).await,
        };
        let mut table = opened?.expect("a fault does not hide a table");
        operation.run(&mut table).await
    }
    .await;
    let hits = store.hits();
    let said =
        format!("{said}, hit {hits:?}, said {}", done.as_ref().map_or_else(ToString::to_string, |o| format!("{o:?}")));
    if hits.is_empty() {
        assert!(done.is_ok(), "no fault and no success: {said}");
    }
    if hits.iter().any(|hit| hit.contains("Full: put")) && hits.len() == 1 && !hits[0].contains("checkpoint") {
        let full = done.as_ref().expect_err("written on a full disk").to_string();
        assert!(full.contains("no space left on the disk of") && full.contains("run the same command again"), "{said}");
        let left = files_below(folder.path());
        let new: Vec<_> = left.iter().filter(|f| !base.join(f.strip_prefix(folder.path()).unwrap()).exists()).collect();
        assert!(create || new.is_empty(), "left on a full disk: {new:?}; {said}");
    }

    // a store that tears a log entry leaves a table that says so, and how to mend it
    if *store.tore_entry.lock().unwrap() {
        let cut = Table::open(folder.path()).await.map(|_| ()).expect_err(&said);
        assert!(done.is_err(), "{said}");
        let TableError::CutOff { entry, .. } = &cut else { panic!("{cut}; {said}") };
        let text = cut.to_string();
        assert!(text.contains("move this file away") && text.contains(entry), "{text}");
        let path = folder.path().join("records").join(entry);
        std::fs::rename(&path, folder.path().join("moved-away")).unwrap();
    }

    let opened = Table::open(folder.path()).await.unwrap_or_else(|e| panic!("{e}; {said}"));
    let now = match &opened {
        Some(table) => seen(table).await,
        None => Seen { records: BTreeMap::new(), terms: BTreeMap::new() },
    };
    assert!(now == before || now == *after, "half of a commit is seen: {said}");
    if let Ok(outcome) = &done {
        assert!(now == *after, "acknowledged and not there: {said}");
        assert_eq!(opened.as_ref().unwrap().version(), outcome.version, "{said}");
    }

    let mut table = Table::open_or_create(folder.path()).await.unwrap();
    let there = table.version();
    let again = operation.run(&mut table).await.unwrap_or_else(|e| panic!("{e}; {said}"));
    assert_eq!(seen(&table).await, *after, "after the same command again: {said}");
    assert_eq!(
        table.history().await.unwrap().len() as u64,
        base_version + 1 + u64::from(!create),
        "one commit: {said}"
    );
    if there > base_version {
        assert!(!again.committed, "applied twice: {said}");
    }
    assert_eq!(table.verify().await.unwrap(), Vec::<String>::new(), "{said}");
    // what the faults left is no longer there after cleaning, and no version misses anything
    table.clean_orphans(Duration::ZERO).await.unwrap();
    assert_eq!(table.verify().await.unwrap(), Vec::<String>::new(), "{said}");
    assert_eq!(seen(&table.at(if create { 0 } else { 3 }).await.unwrap()).await, before, "{said}");
    let named: HashSet<String> = named_by_log(folder.path());
    for file in files_below(&folder.path().join("records")) {
        let name = file.strip_prefix(folder.path().join("records").canonicalize().unwrap_or_default());
        let name = name.or_else(|_| file.strip_prefix(folder.path().join("records"))).unwrap();
        let name = name.to_str().unwrap();
        assert!(name.starts_with("_delta_log/") || named.contains(name), "{name} is left over: {said}");
    }
    hits
}

fn named_by_log(folder: &Path) -> HashSet<String> {
    let mut named = HashSet::new();
    for entry in
        files_below(&folder.join("records/_delta_log")).iter().filter(|f| f.extension().is_some_and(|e| e == "json"))
    {
        for line in std::fs::read_to_string(entry).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            for kind in ["add", "remove"] {
                named.extend(action[kind]["path"].as_str().map(str::to_owned));
            }
        }
    }
    named
}

async fn after(base: &Path, operation: Operation) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    if operation != Operation::Create {
        copy_folder(base, folder.path());
    }
    let mut table = Table::open_or_create(folder.path()).await.unwrap();
    operation.run(&mut table).await.unwrap();
    seen(&table).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_every_operation_fails_in_every_way() {
    let base = base().await;
    for operation in OPERATIONS {
        let after = after(base.folder.path(), operation).await;
        for kind in [Kind::Clean, Kind::Torn, Kind::Lost, Kind::Full] {
            let mut n = 0;
            while !trial(base.folder.path(), operation, vec![(Side::Write, n, kind)], &after).await.is_empty() {
                n += 1;
            }
            assert!(n >= 1, "{operation:?} writes something");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_of_every_operation_fails() {
    let base = base().await;
    for operation in OPERATIONS {
        let after = after(base.folder.path(), operation).await;
        let mut n = 0;
        while !trial(base.folder.path(), operation, vec![(Side::Read, n, Kind::Clean)], &after).await.is_empty() {
            n += 1;
        }
        assert!(n >= 2, "{operation:?} reads something");
    }
}

/// Numbers that look random (SplitMix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_faults_in_one_operation() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut state = std::env::var("MATGENOME_SEED").ok().and_then(|t| t.parse().ok()).unwrap_or(now);
    eprintln!("seed: MATGENOME_SEED={state}");
    let base = base().await;
    let mut both = 0;
    for _ in 0..120 {
        let operation = OPERATIONS[(random(&mut state) % 9) as usize];
        let after = after(base.folder.path(), operation).await;
        let kinds = [Kind::Clean, Kind::Torn, Kind::Lost];
        let mut faults = Vec::new();
        faults.push((Side::Write, (random(&mut state) % 4) as u32, kinds[(random(&mut state) % 3) as usize]));
        if random(&mut state).is_multiple_of(2) {
            faults.push((Side::Write, (random(&mut state) % 5) as u32, kinds[(random(&mut state) % 3) as usize]));
        } else {
            faults.push((Side::Read, (random(&mut state) % 40) as u32, Kind::Clean));
        }
        both += usize::from(trial(base.folder.path(), operation, faults, &after).await.len() > 1);
    }
    assert!(both > 0, "two faults were never hit in one operation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_fails_does_not_undo_its_commit() {
    let mut hub = Hub::new().await;
    while hub.table.version() < 98 {
        let n = hub.table.version() as u32;
        hub.put("lab", batch(n % 7..n % 7 + 1, f64::from(n))).await;
    }
    // entry 99 is followed by a checkpoint
    for kind in [Kind::Clean, Kind::Lost] {
        for n in 0.. {
            let folder = tempfile::tempdir().unwrap();
            copy_folder(hub.folder.path(), folder.path());
            let store = FaultyStore::new(vec![(Side::Write, n, kind)]);
            let mut table = Table::open_with(folder.path(), store.clone()).await.unwrap().unwrap();
            let done = table.upsert(&lab(), batch(50..52, 1.0), None).await;
            let hits = store.hits();
            if n >= 2 || kind == Kind::Lost && n == 1 {
                assert_eq!(done.unwrap().version, 99, "committed is committed: {hits:?}");
            }
            let mut again = Table::open(folder.path()).await.unwrap().unwrap();
            again.upsert(&lab(), batch(50..52, 1.0), None).await.unwrap();
            assert_eq!(again.version(), 99, "{hits:?}");
            assert_eq!(contents(&again).await.len(), 9);
            if hits.is_empty() {
                assert!(n >= 3, "a checkpoint is written");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_of_the_bundle_fails_anywhere() {
    let count = FaultyStore::new(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let mut table = Table::open_or_create_with(folder.path(), count.clone()).await.unwrap();
    let created = count.writes.load(Ordering::SeqCst);
    bundled::load(&mut table).await.unwrap();
    let (last, rows) = (count.writes.load(Ordering::SeqCst) - 1, table.files().unwrap());
    for (n, kind) in [
        (created, Kind::Torn),
        (created + 1, Kind::Clean),
        ((created + last) / 2, Kind::Torn),
        (last - 1, Kind::Full),
        (last, Kind::Clean),
        (last, Kind::Torn),
        (last, Kind::Lost),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = FaultyStore::new(vec![(Side::Write, n, kind)]);
        let mut table = Table::open_or_create_with(folder.path(), store.clone()).await.unwrap();
        let done = bundled::load(&mut table).await;
        assert_eq!(store.hits().len(), 1);
        assert_eq!(done.is_ok(), (n, kind) == (last, Kind::Lost), "{n} {kind:?}: {done:?}");
        if (n, kind) == (last, Kind::Torn) {
            let Err(TableError::CutOff { entry, .. }) = done else { panic!("{done:?}") };
            std::fs::remove_file(table.location().join(entry)).unwrap();
        }
        let mut again = Table::open(folder.path()).await.unwrap().unwrap();
        assert!(again.version() == 1 || again.files().unwrap().is_empty(), "nothing or all");
        bundled::load(&mut again).await.unwrap();
        let found = again.files().unwrap();
        assert_eq!(again.version(), 1);
        let names = |files: &[datasets::table::DataFile]| files.iter().map(|f| f.path.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&rows));
        assert_eq!(files_below(again.location()).len(), files_below(table.location()).len());
        for file in found.iter().take(3) {
            again.batches(file).await.unwrap();
        }
    }
}

#[tokio::test]
async fn entries_appear_whole_on_the_local_disk() {
    let hub = base().await;
    let disk = DurableLocal::new(hub.table.location()).unwrap();
    // a staged entry, as a writer leaves it that is killed in the middle, has another name and is not seen
    let staged = hub.log().join("00000000000000000004.json#123");
    std::fs::write(&staged, b"{\"commitInfo\":{\"ti").unwrap();
    let mut table = hub.again().await;
    assert_eq!(table.version(), 3);
    let taken = StorePath::from("_delta_log/00000000000000000003.json");
    let mode = PutOptions { mode: object_store::PutMode::Create, ..Default::default() };
    let before = disk.get(&taken).await.unwrap().bytes().await.unwrap();
    disk.put_opts(&taken, "{".into(), mode).await.expect_err("the name is taken");
    assert_eq!(disk.get(&taken).await.unwrap().bytes().await.unwrap(), before);
    assert!(table.upsert(&lab(), batch(7..8, 9.0), None).await.unwrap().committed);
    assert_eq!(table.clean_orphans(Duration::from_secs(3600)).await.unwrap().files, 0, "it may be a running writer's");
    let cleaned = table.clean_orphans(Duration::ZERO).await.unwrap();
    assert_eq!((cleaned.files, cleaned.bytes), (1, 18));
    assert!(!staged.exists());
}

#[tokio::test]
async fn orphans_are_removed_and_nothing_that_a_version_names() {
    let mut hub = base().await;
    hub.table.upsert(&lab(), batch(0..40, 7.0), None).await.unwrap();
    hub.table.delete("other", &ids(&["other/1"])).await.unwrap();
    let folder = hub.table.location().join("dataset=lab");
    let orphan = folder.join("part-never-named-0123456789abcdef.parquet");
    let foreign = folder.join("mine.parquet");
    std::fs::write(&orphan, b"12345").unwrap();
    std::fs::write(&foreign, b"12345").unwrap();
    assert_eq!(hub.table.clean_orphans(Duration::from_secs(86_400)).await.unwrap().files, 0, "too young");
    // a handle that shows an old version knows the newer files too
    let old = hub.table.at(1).await.unwrap();
    let cleaned = old.clean_orphans(Duration::ZERO).await.unwrap();
    assert_eq!((cleaned.files, cleaned.bytes), (1, 5));
    assert!(!orphan.exists() && foreign.exists());
    for version in 0..=hub.table.version() {
        let table = hub.table.at(version).await.unwrap();
        assert_eq!(table.verify().await.unwrap(), Vec::<String>::new(), "version {version}");
    }
}

#[tokio::test]
async fn a_key_is_kept_where_nothing_changed_and_counts_in_its_dataset() {
    let mut hub = base().await;
    let first = hub.table.upsert(&lab(), batch(0..20, 1.0), Some("monday")).await.unwrap();
    assert_eq!((first.version, first.committed, first.change.unchanged), (4, true, 20));
    hub.put("lab", batch(0..20, 8.0)).await;
    let retry = hub.again().await.upsert(&lab(), batch(0..20, 1.0), Some("monday")).await.unwrap();
    assert_eq!((retry.version, retry.committed), (5, false), "a retry does not bring the old content back");
    let other = DatasetInfo::unnamed_terms("other");
    for key in ["monday", "lab:monday"] {
        let done = hub.table.upsert(&other, vec![record("other/2", key.len() as f64)], Some(key)).await.unwrap();
        assert!(done.committed, "{key}: keys of one dataset are nothing to another");
    }
}

#[tokio::test]
async fn a_key_of_an_older_program_counts() {
    let mut hub = base().await;
    hub.table.upsert(&lab(), batch(60..61, 1.0), Some("new")).await.unwrap();
    let entry = std::fs::read_to_string(hub.log_entry(4)).unwrap();
    let old =
        entry.replace("matgenome:upsert:lab:new", "matgenome:upsert:old").replace("\"version\":2", "\"version\":1");
    assert!(old.contains("\"appId\":\"matgenome:upsert:old\",\"version\":1"), "{old}");
    std::fs::write(hub.log_entry(4), old).unwrap();
    let mut table = hub.again().await;
    for dataset in ["lab", "other"] {
        let rows = vec![record(&format!("{dataset}/99"), 1.0)];
        let done = table.upsert(&DatasetInfo::unnamed_terms(dataset), rows, Some("old")).await.unwrap();
        assert!(!done.committed, "{dataset}");
    }
    assert!(table.upsert(&lab(), batch(61..62, 1.0), Some("new")).await.unwrap().committed);
}

#[tokio::test]
async fn compaction_changes_files_and_no_record() {
    let mut hub = base().await;
    for n in (0..30).rev() {
        hub.put("lab", vec![record(&format!("lab/{:03}", n * 3 + 100), f64::from(n))]).await;
    }
    let before = seen(&hub.table).await;
    let version = hub.table.version();
    let mut reader = hub.again().await;
    let done = hub.table.compact("lab").await.unwrap();
    assert_eq!((done.before, done.after, done.records, done.version), (32, 1, 70, version + 1));
    assert_eq!(seen(&hub.table).await, before);
    assert_eq!(hub.table.files().unwrap().len(), 2, "the other dataset's file stays");
    let entry = std::fs::read_to_string(hub.log_entry(version + 1)).unwrap();
    assert!(entry.contains("\"dataChange\":false") && !entry.contains("\"dataChange\":true"), "{entry}");
    let again = hub.table.compact("lab").await.unwrap();
    assert_eq!((again.committed, again.version, again.after), (false, version + 1, 1), "nothing left to do");
    // a reader of the older version reads on
    assert_eq!(seen(&reader).await, before);
    reader.refresh().await.unwrap();
    assert_eq!(seen(&reader).await, before);
    assert_eq!(hub.table.verify().await.unwrap(), Vec::<String>::new());
    assert!(hub.table.upsert(&lab(), batch(3..4, 77.0), None).await.unwrap().committed);
}

#[tokio::test]
async fn what_is_wrong_is_named_by_verify() {
    let hub = base().await;
    assert_eq!(hub.table.verify().await.unwrap(), Vec::<String>::new());
    // an id twice: a second log entry that names a copy of a data file under another name
    let file = hub.table.files().unwrap().into_iter().find(|f| f.dataset == "lab").unwrap();
    let (stem, hash) = file.path.rsplit_once('-').unwrap();
    let copy = format!("{stem}x-{hash}");
    std::fs::copy(hub.table.location().join(&file.path), hub.table.location().join(&copy)).unwrap();
    let first =
        std::fs::read_to_string(hub.log_entry(1)).unwrap() + &std::fs::read_to_string(hub.log_entry(2)).unwrap();
    let add =
        first.lines().find(|l| l.contains("\"add\"") && l.contains(&file.path)).unwrap().replace(&file.path, &copy);
    std::fs::write(hub.log_entry(4), add + "\n").unwrap();
    let table = hub.again().await;
    let defects = table.verify().await.unwrap();
    assert_eq!(defects.len(), 20, "{defects:?}");
    assert!(defects.iter().all(|d| d.contains("is there twice") && d.contains(&copy)), "{defects:?}");
    let refused = hub.again().await.compact("lab").await.unwrap_err().to_string();
    assert!(refused.contains("is there twice"), "{refused}");
    // a flipped byte, and a file that is gone
    let path = hub.table.location().join(&file.path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_file(hub.table.location().join(&copy)).unwrap();
    let defects = hub.again().await.verify().await.unwrap();
    assert_eq!(defects.len(), 2, "{defects:?}");
    assert!(
        defects.iter().any(|d| d.contains("checksum")) && defects.iter().any(|d| d.contains("not there")),
        "{defects:?}"
    );
}
