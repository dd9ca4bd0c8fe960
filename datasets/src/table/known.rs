//! What does the table say of some materials? Their values of some properties, read without the other columns.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int32Type};
use arrow::error::ArrowError;
use bytes::Bytes;
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{ArrowPredicateFn, RowFilter};
use deltalake::parquet::schema::types::SchemaDescriptor;
use rayon::prelude::*;

use super::files::{DataFile, ROWS_PER_FILE, reader};
use super::{Table, TableError};
use crate::record::{Evidence, material_key};

/// Columns that name the material.
const NAMING: [&str; 3] = ["formula", "smiles", "name"];
/// Parts of a measurement that are read.
const MEASURED: [&str; 6] = ["property", "value", "uncertainty", "evidence", "method", "temperature_k"];

/// A hasher for keys that are hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = crate::record::content_hash(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What is asked of the table.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Materials by their [`material_key`].
    pub materials: HashSet<u64, BuildHasherDefault<AsItIs>>,
    /// Keys of properties.
    pub properties: BTreeSet<String>,
    /// Names of datasets.
    pub datasets: BTreeSet<String>,
}

/// One value of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Stated {
    /// The dataset.
    pub dataset: Arc<str>,
    /// The material by its [`material_key`].
    pub material: u64,
    /// Its formula, or its name where it has none.
    pub label: Arc<str>,
    /// Key of the property.
    pub property: Arc<str>,
    /// The value in the property's unit.
    pub value: f64,
    /// One standard deviation in the property's unit.
    pub uncertainty: Option<f64>,
    /// How it came to be.
    pub evidence: Evidence,
    /// Test standard, instrument or functional.
    pub method: Option<Arc<str>>,
    /// Temperature of the material, K.
    pub temperature_k: Option<f64>,
}

impl Table {
    /// Hands the values of the wanted materials and properties to `each`, file by file in path order. Where the wanted
    /// datasets have more than `most_rows` records, only every n-th file is read. Memory is bounded by some files.
    ///
    /// # Errors
    /// A data file cannot be read, or is damaged.
    pub async fn stated(
        &self,
        wanted: &Arc<Wanted>,
        most_rows: usize,
        each: &mut (dyn FnMut(Stated) + Send),
    ) -> Result<(), TableError> {
        let mut files = self.files()?;
        files.retain(|file| wanted.datasets.contains(&file.dataset));
        let rows: usize = files.iter().map(|file| file.rows.unwrap_or(ROWS_PER_FILE)).sum();
        let every = rows.div_ceil(most_rows.max(1)).max(1);
        let files: Vec<DataFile> = files.into_iter().step_by(every).collect();
        for group in files.chunks(rayon::current_num_threads()) {
            let mut fetched = Vec::with_capacity(group.len());
            for file in group {
                fetched.push((file.clone(), self.fetch(file).await?));
            }
            let asked = Arc::clone(wanted);
            // long work for the processor: not on a thread that answers requests
            let reading = tokio::task::spawn_blocking(move || -> Result<Vec<Vec<Stated>>, TableError> {
                let read = |(file, bytes): (DataFile, Bytes)| {
                    read_stated(bytes, &file.dataset, &asked).map_err(|e| file.damaged(e))
                };
                fetched.into_par_iter().map(read).collect()
            });
            let read = reading.await.map_err(|e| TableError::Dataset(format!("reading the table failed: {e}")))??;
            read.into_iter().flatten().for_each(&mut *each);
        }
        Ok(())
    }
}

fn read_stated(bytes: Bytes, dataset: &str, wanted: &Arc<Wanted>) -> Result<Vec<Stated>, TableError> {
    let builder = reader(bytes)?;
    let schema = builder.parquet_schema();
    let naming = leaves(schema, |path| matches!(path, [column] if NAMING.contains(&column.as_str())));
    let all = leaves(schema, |path| match path {
        [column] => NAMING.contains(&column.as_str()),
        // `measurements.list.element.value`; conditions have parts of their own
        [column, _, _, part] => column == "measurements" && MEASURED.contains(&part.as_str()),
        _ => false,
    });
    let asked = Arc::clone(wanted);
    let is_wanted = move |batch: RecordBatch| {
        let naming = Naming::of(&batch)?;
        let wanted = |row| Some(naming.key(row).is_some_and(|key| asked.materials.contains(&key)));
        Ok(BooleanArray::from_iter((0..batch.num_rows()).map(wanted)))
    };
    let filter = RowFilter::new(vec![Box::new(ArrowPredicateFn::new(naming, is_wanted))]);
    let dataset: Arc<str> = Arc::from(dataset);
    let mut found = Vec::new();
    for batch in builder.with_projection(all).with_row_filter(filter).build()? {
        stated_in(&batch?, &dataset, wanted, &mut found)?;
    }
    Ok(found)
}

fn leaves(schema: &SchemaDescriptor, takes: impl Fn(&[String]) -> bool) -> ProjectionMask {
    let taken = schema.columns().iter().enumerate().filter(|(_, column)| takes(column.path().parts()));
    ProjectionMask::leaves(schema, taken.map(|(at, _)| at).collect::<Vec<_>>())
}

fn stated_in(
    batch: &RecordBatch,
    dataset: &Arc<str>,
    wanted: &Wanted,
    found: &mut Vec<Stated>,
) -> Result<(), ArrowError> {
    let naming = Naming::of(batch)?;
    let Some(list) = batch.column_by_name("measurements").and_then(|c| c.as_list_opt::<i32>()) else {
        return Err(wrong("measurements"));
    };
    let values = list.values().as_struct_opt().ok_or_else(|| wrong("measurements"))?;
    let part = |name: &'static str| values.column_by_name(name).ok_or_else(|| wrong(name));
    let numbers = |name: &'static str| -> Result<&Float64Array, ArrowError> {
        part(name)?.as_primitive_opt::<Float64Type>().ok_or_else(|| wrong(name))
    };
    let property = Texts::of(part("property")?, "property")?;
    let (value, uncertainty, temperature) = (numbers("value")?, numbers("uncertainty")?, numbers("temperature_k")?);
    let (evidence, method) = (Texts::of(part("evidence")?, "evidence")?, Texts::of(part("method")?, "method")?);
    let number = |of: &Float64Array, at: usize| of.is_valid(at).then(|| of.value(at));
    let mut words = Words::default();
    for row in 0..batch.num_rows() {
        let Some(material) = naming.key(row) else { continue };
        let mut label: Option<Arc<str>> = None;
        let offsets = list.value_offsets();
        for at in offsets[row] as usize..offsets[row + 1] as usize {
            let Some(key) = property.get(at).filter(|key| wanted.properties.contains(*key)) else { continue };
            let Some(value) = number(value, at) else { continue };
            found.push(Stated {
                dataset: Arc::clone(dataset),
                material,
                label: Arc::clone(label.get_or_insert_with(|| Arc::from(naming.label(row)))),
                property: words.get(key),
                value,
                uncertainty: number(uncertainty, at),
                evidence: evidence.get(at).and_then(|word| word.parse().ok()).unwrap_or(Evidence::None),
                method: method.get(at).map(|word| words.get(word)),
                temperature_k: number(temperature, at),
            });
        }
    }
    Ok(())
}

/// Repeating words, each kept once.
#[derive(Default)]
struct Words(HashSet<Arc<str>>);

impl Words {
    fn get(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.0.get(word) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(word);
        self.0.insert(Arc::clone(&new));
        new
    }
}

/// The columns that name materials; a table of an older program, or of another one, may lack some.
struct Naming<'a>([Option<Texts<'a>>; 3]);

impl<'a> Naming<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Naming<'a>, ArrowError> {
        let mut columns = [None, None, None];
        for (column, name) in columns.iter_mut().zip(NAMING) {
            *column = batch.column_by_name(name).map(|array| Texts::of(array, name)).transpose()?;
        }
        Ok(Naming(columns))
    }

    fn texts(&self, row: usize) -> [Option<&'a str>; 3] {
        [0, 1, 2].map(|column| self.0[column].as_ref().and_then(|texts| texts.get(row)))
    }

    fn key(&self, row: usize) -> Option<u64> {
        let [formula, smiles, name] = self.texts(row);
        material_key(formula, smiles, name)
    }

    fn label(&self, row: usize) -> &'a str {
        let [formula, _, name] = self.texts(row);
        formula.or(name).unwrap_or_default()
    }
}

/// A column of texts, dictionary-encoded or plain.
struct Texts<'a> {
    keys: Option<&'a arrow::array::Int32Array>,
    words: &'a StringArray,
}

impl<'a> Texts<'a> {
    fn of(array: &'a ArrayRef, name: &'static str) -> Result<Texts<'a>, ArrowError> {
        let (keys, words) = match array.as_dictionary_opt::<Int32Type>() {
            Some(dictionary) => (Some(dictionary.keys()), dictionary.values()),
            None => (None, array),
        };
        Ok(Texts { keys, words: words.as_string_opt::<i32>().ok_or_else(|| wrong(name))? })
    }

    fn get(&self, row: usize) -> Option<&'a str> {
        let at = match self.keys {
            Some(keys) => keys.is_valid(row).then(|| keys.value(row) as usize)?,
            None => row,
        };
        (at < self.words.len() && self.words.is_valid(at)).then(|| self.words.value(at))
    }
}

fn wrong(column: &str) -> ArrowError {
    ArrowError::SchemaError(format!("column `{column}` of the record table is missing or has an unexpected type"))
}
