//! Tables of the first version of the program, which had no columns for SMILES strings and structures.

use std::collections::HashMap;
use std::path::Path;

use datasets::bundled;
use datasets::catalogue::DatasetInfo;
use datasets::columns::{table_schema, to_batch};
use datasets::record::Record;
use datasets::table::Table;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, StructType};
use deltalake::operations::create::CreateBuilder;
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::arrow::arrow_writer::ArrowWriterOptions;
use deltalake::protocol::{DeltaOperation, SaveMode};

use crate::hub::{batch, contents, record};

const OLD_COLUMNS: [&str; 9] =
    ["dataset", "id", "name", "formula_given", "formula", "space_group", "class", "attributes", "measurements"];

/// A table as the first version made it, and a commit with these records of the dataset `lab`.
async fn old_table(folder: &Path, records: &[Record]) {
    let location = folder.join("records");
    std::fs::create_dir_all(location.join("dataset=lab")).unwrap();
    let schema = table_schema();
    let places: Vec<usize> = OLD_COLUMNS.iter().map(|name| schema.index_of(name).unwrap()).collect();
    let schema: StructType = (&schema.project(&places).unwrap()).try_into_kernel().unwrap();
    let table = CreateBuilder::new()
        .with_location(url::Url::from_directory_path(&location).unwrap().to_string())
        .with_columns(schema.fields().cloned())
        .with_partition_columns(["dataset"])
        .await
        .unwrap();
    if records.is_empty() {
        return;
    }
    let whole = to_batch(records).unwrap();
    let places: Vec<usize> = OLD_COLUMNS[1..].iter().map(|name| whole.schema().index_of(name).unwrap()).collect();
    let old = whole.project(&places).unwrap();
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), old.schema(), options).unwrap();
    writer.write(&old).unwrap();
    let bytes = writer.into_inner().unwrap();
    std::fs::write(location.join("dataset=lab/part-old.parquet"), &bytes).unwrap();
    let add = Add {
        path: "dataset=lab/part-old.parquet".into(),
        partition_values: HashMap::from([("dataset".to_owned(), Some("lab".to_owned()))]),
        size: bytes.len() as i64,
        data_change: true,
        ..Default::default()
    };
    let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
    CommitBuilder::from(CommitProperties::default())
        .with_actions(vec![Action::Add(add)])
        .build(Some(table.snapshot().unwrap().snapshot()), table.log_store(), operation)
        .await
        .unwrap();
}

/// The names of the columns that the newest metadata of the log states.
fn columns(table: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for version in 0..=table.version() {
        let entry = table.location().join(format!("_delta_log/{version:020}.json"));
        for line in std::fs::read_to_string(entry).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(schema) = action["metaData"]["schemaString"].as_str() {
                let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
                let fields = schema["fields"].as_array().unwrap();
                found = fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect();
            }
        }
    }
    found
}

fn by_id(records: Vec<Record>) -> std::collections::BTreeMap<String, Record> {
    records.into_iter().map(|r| (r.id.clone(), r)).collect()
}

#[tokio::test]
async fn a_table_of_the_first_version_gets_its_columns_and_keeps_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let old = batch(0..5, 1.5);
    old_table(folder.path(), &old).await;
    let before = Table::open(folder.path()).await.unwrap().unwrap();
    assert_eq!((before.version(), columns(&before)), (1, OLD_COLUMNS.map(String::from).to_vec()));

    let mut table = Table::open_or_create(folder.path()).await.unwrap();
    assert_eq!(table.version(), 2);
    let mut now = columns(&table);
    now.sort();
    let mut wanted: Vec<String> = table_schema().fields().iter().map(|f| f.name().clone()).collect();
    wanted.sort();
    assert_eq!(now, wanted);
    let history = table.history().await.unwrap();
    assert_eq!(history[0].what.operation, "upgrade");
    assert_eq!((history[0].what.inserted, history[0].what.deleted), (0, 0));
    assert_eq!(contents(&table).await, by_id(old.clone()), "old files are read");
    assert_eq!(table.record("lab/003").await.unwrap().as_ref(), Some(&old[3]));
    assert_eq!(Table::open_or_create(folder.path()).await.unwrap().version(), 2, "once");

    // into old files, with the new columns
    let molecule = Record { smiles: Some("CCO".into()), ..record("lab/003", 9.0) };
    let done = table.upsert(&DatasetInfo::unnamed_terms("lab"), vec![molecule.clone()], None).await.unwrap();
    assert_eq!((done.version, done.change.updated, done.change.inserted), (3, 1, 0));
    let mut expected = by_id(old.clone());
    expected.insert(molecule.id.clone(), molecule);
    assert_eq!(contents(&table).await, expected);
    assert_eq!(columns(&table).len(), wanted.len());
    for version in [1, 2] {
        assert_eq!(contents(&table.at(version).await.unwrap()).await, by_id(old.clone()), "version {version}");
    }
    assert!(contents(&table.at(0).await.unwrap()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_that_open_it_at_once_one_commits() {
    let folder = tempfile::tempdir().unwrap();
    old_table(folder.path(), &batch(0..3, 1.0)).await;
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let path = folder.path().to_owned();
            tokio::spawn(async move { Table::open_or_create(&path).await.unwrap().version() })
        })
        .collect();
    for opened in opening {
        assert_eq!(opened.await.unwrap(), 2);
    }
    let table = Table::open(folder.path()).await.unwrap().unwrap();
    let operations: Vec<String> = table.history().await.unwrap().into_iter().map(|c| c.what.operation).collect();
    assert_eq!(operations.iter().filter(|o| *o == "upgrade").count(), 1, "{operations:?}");
    assert_eq!(contents(&table).await, by_id(batch(0..3, 1.0)));
}

#[tokio::test]
async fn an_empty_one_still_wants_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    old_table(folder.path(), &[]).await;
    let table = Table::open_or_create(folder.path()).await.unwrap();
    assert_eq!(table.version(), 1);
    assert!(bundled::is_wanted(&table).await.unwrap());
}
