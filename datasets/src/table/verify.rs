//! Is the table what it must be? Every live data file read in full.

use std::collections::{BTreeMap, HashMap};

use super::files::{read_ids, read_parquet};
use super::{DataFile, Table, TableError};
use crate::columns::RecordColumns;
use crate::record::{content_hash, dataset_of};

/// Defects of one file that are named; a file that is wrong throughout would name each of its rows.
const DEFECTS_OF_A_FILE: usize = 20;

impl Table {
    /// Checks every live data file at this version: that it is there, with the size of the log and the checksum of its
    /// name, that its columns can be read, that its rows are as many as the log says, lie in the id range of the log and
    /// in id order, and belong to the dataset; that no id is there twice in a dataset; that each dataset has terms.
    ///
    /// Returns one line a defect, in the order of the files. Memory: 16 bytes a record.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn verify(&self) -> Result<Vec<String>, TableError> {
        let mut defects = Vec::new();
        let known = match self.datasets() {
            Ok(known) => known,
            Err(e) => {
                defects.push(e.to_string());
                BTreeMap::new()
            }
        };
        for (name, terms) in &known {
            if let Some(problem) = terms.problem() {
                defects.push(format!("terms of dataset `{name}`: {problem}"));
            }
        }
        let files = self.files()?;
        let mut names: Vec<&str> = files.iter().map(|f| f.dataset.as_str()).collect();
        names.dedup();
        for name in names {
            if !known.contains_key(name) {
                defects.push(format!("dataset `{name}` has records and no terms"));
            }
            // hash of an id -> the file that holds it
            let mut seen: HashMap<u64, usize> = HashMap::new();
            for (at, file) in files.iter().enumerate().filter(|(_, f)| f.dataset == name) {
                let ids = match self.check_file(file, &mut defects).await {
                    Ok(ids) => ids,
                    Err(e) => {
                        defects.push(e.to_string());
                        continue;
                    }
                };
                let mut twice: Vec<(String, usize)> = Vec::new();
                for id in ids {
                    if let Some(earlier) = seen.insert(content_hash(id.as_bytes()), at)
                        && twice.len() < DEFECTS_OF_A_FILE
                    {
                        twice.push((id, earlier));
                    }
                }
                for (id, earlier) in twice {
                    // two ids may have one hash: look
                    let copies = |ids: Vec<String>| ids.iter().filter(|other| **other == id).count();
                    let held = copies(read_ids(self.fetch(&files[earlier]).await?)?);
                    if held > usize::from(earlier == at) {
                        let earlier = &files[earlier].path;
                        defects.push(format!("record `{id}` is there twice: in {earlier} and in {}", file.path));
                    }
                }
            }
        }
        Ok(defects)
    }

    /// The ids of a file, and what is wrong with it that leaves it readable.
    async fn check_file(&self, file: &DataFile, defects: &mut Vec<String>) -> Result<Vec<String>, TableError> {
        let mut ids: Vec<String> = Vec::new();
        for batch in read_parquet(self.fetch(file).await?).map_err(|e| file.damaged(e))? {
            let columns = RecordColumns::read(&batch).map_err(|e| file.damaged(e))?;
            for row in 0..columns.len() {
                ids.push(columns.record(row).id);
            }
        }
        let mut found: Vec<String> = Vec::new();
        if file.rows.is_some_and(|rows| rows != ids.len()) {
            found.push(format!("it has {} records, and {} by the log", ids.len(), file.rows.unwrap_or_default()));
        }
        if !ids.is_sorted() {
            found.push("its records are not in id order (matgenome compact puts them so)".into());
        }
        for id in &ids {
            if dataset_of(id) != file.dataset {
                found.push(format!("record `{id}` does not belong to dataset `{}`", file.dataset));
            }
            if !file.may_hold(id) {
                found.push(format!("record `{id}` is not in the id range of the log, so looking for it misses it"));
            }
            if found.len() >= DEFECTS_OF_A_FILE {
                break;
            }
        }
        defects.extend(found.into_iter().map(|why| format!("{}: {why}", file.path)));
        Ok(ids)
    }
}
