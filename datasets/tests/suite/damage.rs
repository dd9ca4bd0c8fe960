//! Files that are damaged, missing or left over: a clear error that names them, or the state before; never a panic.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use datasets::catalogue::DatasetInfo;
use datasets::columns::RecordColumns;
use datasets::table::{Table, TableError};

use crate::hub::{Hub, batch, by_id, contents, files_below, ids, paths, record, run};

/// Runs work on a runtime of its own and says what it panicked with, if it did.
fn catch<T>(work: impl Future<Output = T>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(|| run(work))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
    })
}

/// A table of two datasets and three data files, the middle one to be damaged.
fn table_with_victim() -> (Hub, PathBuf, String) {
    run(async {
        let mut hub = Hub::new().await;
        hub.put("lab", batch(0..40, 1.0)).await;
        let before = paths(&hub.table);
        hub.put("lab", batch(40..80, 2.0)).await;
        let victim = paths(&hub.table).into_iter().find(|p| !before.contains(p)).unwrap();
        hub.put("other", vec![record("other/1", 1.0)]).await;
        (Hub { table: hub.again().await, folder: hub.folder }, hub.table.location().join(&victim), victim)
    })
}

/// All that is read of a table, as the index reads it.
async fn read_all(folder: &Path) -> Result<usize, TableError> {
    let Some(table) = Table::open(folder).await? else { return Ok(0) };
    let mut rows = 0;
    for file in table.files()? {
        for batch in table.batches(&file).await? {
            let columns = RecordColumns::read(&batch)?;
            let records: Vec<_> = (0..columns.len()).map(|row| columns.record(row)).collect();
            rows += records.len();
        }
    }
    Ok(rows)
}

#[test]
fn a_truncated_data_file_is_an_error_that_names_it() {
    let (mut hub, path, name) = table_with_victim();
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 4, 8, whole.len() / 2, whole.len() - 8, whole.len() - 4, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let file = hub.table.files().unwrap().into_iter().find(|f| f.path == name).unwrap();
        let attempts = [
            ("batches", catch(async { hub.table.batches(&file).await.map(drop) })),
            ("record", catch(async { hub.table.record("lab/050").await.map(drop) })),
            ("upsert", {
                let mut table = hub.table.clone();
                catch(async move {
                    table.upsert(&DatasetInfo::unnamed_terms("lab"), batch(50..51, 9.0), None).await.map(drop)
                })
            }),
            ("delete", {
                let mut table = hub.table.clone();
                catch(async move { table.delete("lab", &ids(&["lab/050"])).await.map(drop) })
            }),
        ];
        for (what, done) in attempts {
            let error = done.unwrap_or_else(|panic| panic!("{what}, {length} bytes left: panic: {panic}")).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, TableError::Corrupt { .. }), "{what}, {length} bytes left: {error:?}");
            assert!(text.contains(&name) && text.contains("is damaged"), "{what}, {length} bytes left: {text}");
        }
    }
    // the rest of the table is as it was, and can be written
    run(async {
        assert!(hub.table.record("lab/001").await.unwrap().is_some());
        assert!(hub.table.record("other/1").await.unwrap().is_some());
        assert!(hub.put("lab", batch(0..1, 5.0)).await.committed);
    });
    fs::write(&path, whole).unwrap();
    assert_eq!(run(read_all(hub.folder.path())).unwrap(), 81, "a file restored from a copy is whole again");
}

#[test]
fn a_file_that_is_longer_than_the_log_says_is_damaged() {
    let (hub, path, name) = table_with_victim();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"PAR1");
    fs::write(&path, bytes).unwrap();
    let error = run(read_all(hub.folder.path())).unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn a_flipped_byte_anywhere_is_an_error_that_names_the_file() {
    let (hub, path, name) = table_with_victim();
    let whole = fs::read(&path).unwrap();
    for (at, bits) in (0..whole.len()).step_by(3).zip([0x01, 0x80, 0xff].into_iter().cycle()) {
        let mut bytes = whole.clone();
        bytes[at] ^= bits;
        fs::write(&path, &bytes).unwrap();
        let table = hub.table.clone();
        let read = catch(async move { table.record("lab/050").await });
        let read = read.unwrap_or_else(|panic| panic!("byte {at} ^ {bits:#x}: panic: {panic}"));
        let error = read.expect_err("other values without an error");
        assert!(matches!(&error, TableError::Corrupt { what, .. } if *what == name), "byte {at}: {error}");
    }
    let bytes = [&whole[..100], &[whole[100] ^ 4], &whole[101..]].concat();
    fs::write(&path, bytes).unwrap();
    let error = run(read_all(hub.folder.path())).unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn rubbish_in_place_of_a_data_file_is_an_error_that_names_it() {
    let (hub, path, name) = table_with_victim();
    let size = fs::metadata(&path).unwrap().len() as usize;
    let mut lying = vec![0u8; size];
    lying[..4].copy_from_slice(b"PAR1");
    lying[size - 4..].copy_from_slice(b"PAR1");
    lying[size - 8..size - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    for rubbish in [vec![0u8; size], vec![0xff; size], b"a,b\n1,2\n".repeat(size / 8 + 1), lying] {
        fs::write(&path, &rubbish).unwrap();
        let error = catch(read_all(hub.folder.path())).unwrap().unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
    }
}

#[test]
fn a_missing_data_file_is_corrupt() {
    let (mut hub, path, name) = table_with_victim();
    fs::remove_file(&path).unwrap();
    run(async {
        let error = hub.table.record("lab/050").await.unwrap_err();
        assert!(matches!(&error, TableError::Corrupt { what, .. } if *what == name), "{error:?}");
        assert!(error.to_string().contains("restore it from a copy"), "{error}");
        let error = hub.try_put("lab", batch(50..51, 9.0)).await.unwrap_err();
        assert!(matches!(error, TableError::Corrupt { .. }), "{error:?}");
        assert_eq!(hub.again().await.version(), 3, "nothing was committed");
        assert!(hub.table.record("lab/001").await.unwrap().is_some(), "other files are read");
    });
}

#[test]
fn a_torn_last_log_entry_is_an_error_or_the_version_before() {
    let (hub, _, _) = table_with_victim();
    let entry = hub.log_entry(3);
    let whole = fs::read(&entry).unwrap();
    let lines: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i).collect();
    let mut lengths = vec![0, 1, 2, whole.len() / 3, whole.len() / 2, whole.len() - 2];
    lengths.extend(lines.iter().flat_map(|&end| [end, end + 1]));
    lengths.extend((0..whole.len()).step_by(97));
    for length in lengths {
        fs::write(&entry, &whole[..length]).unwrap();
        let read = catch(read_all(hub.folder.path())).unwrap_or_else(|panic| panic!("{length} bytes left: {panic}"));
        match read {
            // without the whole entry its one record is not there; what was there before is
            Ok(rows) => assert!(rows == 80 || rows == 81, "{length} bytes left: {rows} rows"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        let mut behind = hub.table.clone();
        catch(async move { behind.refresh().await.map(drop) }).unwrap().ok();
    }
}

#[test]
fn a_log_entry_of_rubbish_never_panics() {
    let (hub, _, _) = table_with_victim();
    for version in [0, 2, 3] {
        let entry = hub.log_entry(version);
        let whole = fs::read(&entry).unwrap();
        for rubbish in [&b"\0\0\0\0"[..], b"{", b"null\n", b"[]\n", b"{\"add\":{}}\n", b"{\"add\":7}\n", b"\xff\xfe\n"]
        {
            fs::write(&entry, rubbish).unwrap();
            let read = catch(read_all(hub.folder.path()));
            assert!(read.is_ok(), "version {version}, {rubbish:?}: panic: {read:?}");
        }
        fs::remove_file(&entry).unwrap();
        let read = catch(read_all(hub.folder.path()));
        assert!(read.is_ok(), "version {version} gone: panic: {read:?}");
        fs::write(&entry, whole).unwrap();
    }
    assert_eq!(run(read_all(hub.folder.path())).unwrap(), 81);
}

#[test]
fn terms_that_are_no_json_are_an_error_that_names_the_property() {
    let (hub, _, _) = table_with_victim();
    let entry = hub.log_entry(3);
    let text = fs::read_to_string(&entry).unwrap();
    let broken = text.replace("\"matgenome.dataset.other\":\"{", "\"matgenome.dataset.other\":\"!{");
    assert_ne!(broken, text);
    fs::write(&entry, broken).unwrap();
    run(async {
        let error = hub.again().await.datasets().unwrap_err();
        assert!(error.to_string().contains("table property `matgenome.dataset.other` is damaged"), "{error}");
    });
}

#[test]
fn leftovers_of_interrupted_writes_are_passed_over() {
    run(async {
        let mut hub = Hub::new().await;
        hub.put("lab", batch(0..10, 1.0)).await;
        let data = hub.table.location().join(paths(&hub.table).remove(0));
        // a staged log entry, a staged data file, and a data file that no commit names
        fs::write(hub.log().join("00000000000000000002.json#12345"), b"{\"half").unwrap();
        fs::write(data.with_file_name("part-0.parquet#987"), b"PAR1half").unwrap();
        fs::copy(&data, data.with_file_name("part-never-committed.parquet")).unwrap();
        fs::write(data.with_file_name("part-empty.parquet"), b"").unwrap();
        fs::create_dir(hub.table.location().join("dataset=ghost")).unwrap();

        let mut again = Table::open_or_create(hub.folder.path()).await.unwrap();
        assert_eq!(again.version(), 1);
        assert_eq!(contents(&again).await, by_id(batch(0..10, 1.0)));
        let done = again.upsert(&DatasetInfo::unnamed_terms("lab"), batch(0..1, 2.0), None).await.unwrap();
        assert_eq!(done.version, 2);
        assert_eq!(contents(&hub.again().await).await.len(), 10);
    });
}

#[test]
fn a_folder_without_a_commit_is_made_anew() {
    // a process that died between making the folders and the first commit
    for folders in ["records", "records/_delta_log"] {
        run(async {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join(folders)).unwrap();
            assert!(Table::open(folder.path()).await.unwrap().is_none(), "{folders}");
            let table = Table::open_or_create(folder.path()).await.unwrap();
            assert_eq!(table.version(), 0);
        });
    }
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("records/_delta_log");
        fs::create_dir_all(&log).unwrap();
        fs::write(log.join("00000000000000000000.json#55"), b"{\"commitInfo\"").unwrap();
        let table = Table::open_or_create(folder.path()).await.unwrap();
        assert_eq!(table.version(), 0);
    });
}

#[test]
fn a_file_in_place_of_a_folder_is_an_error_that_names_it() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data");
        fs::write(&file, b"hello").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = Table::open_or_create(&path).await.unwrap_err();
            assert!(matches!(error, TableError::Folder { .. }), "{error:?}");
            assert!(error.to_string().contains(&file.display().to_string()), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"hello");

        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("records"), b"").unwrap();
        let error = Table::open_or_create(&taken).await.unwrap_err();
        assert!(error.to_string().contains("records"), "{error}");
        assert_eq!(files_below(&taken).len(), 1, "nothing was made");
    });
}
