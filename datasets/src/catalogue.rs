//! Which datasets, whose, under which terms?

use serde::{Deserialize, Serialize};

use crate::record::is_dataset_name;

/// Who may see a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everyone.
    #[default]
    Public,
    /// Its contributor only.
    Private,
}

/// The terms of a dataset: kept in the table's metadata, in the same commit as the records that they cover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetInfo {
    /// The name, first part of every record id.
    pub name: String,
    /// A title for people.
    #[serde(default)]
    pub title: String,
    /// Who contributed it.
    #[serde(default)]
    pub contributor: String,
    /// Licence, as an SPDX expression where there is one; empty where none was stated.
    #[serde(default)]
    pub licence: String,
    /// How to cite it.
    #[serde(default)]
    pub citation: String,
    /// Where it came from (URL or package).
    #[serde(default)]
    pub origin: String,
    /// Who may see it; `None` leaves it as it was, and a new dataset public.
    #[serde(default)]
    pub visibility: Option<Visibility>,
}

impl DatasetInfo {
    /// A dataset with a name and no stated terms.
    pub fn unnamed_terms(name: &str) -> Self {
        DatasetInfo {
            name: name.to_owned(),
            title: String::new(),
            contributor: String::new(),
            licence: String::new(),
            citation: String::new(),
            origin: String::new(),
            visibility: None,
        }
    }

    /// Whether everyone may see it.
    pub fn is_public(&self) -> bool {
        self.visibility.unwrap_or_default() == Visibility::Public
    }

    /// Why this entry cannot be kept, if so.
    pub fn problem(&self) -> Option<String> {
        if !is_dataset_name(&self.name) {
            return Some(format!(
                "`{}` is no dataset name: use 1 to 64 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit",
                self.name
            ));
        }
        None
    }

    /// This entry with the empty fields of it taken from an older one, so that a later batch need not repeat the terms.
    pub fn or(mut self, older: &DatasetInfo) -> Self {
        let fill = |mine: &mut String, theirs: &String| {
            if mine.is_empty() {
                mine.clone_from(theirs);
            }
        };
        fill(&mut self.title, &older.title);
        fill(&mut self.contributor, &older.contributor);
        fill(&mut self.licence, &older.licence);
        fill(&mut self.citation, &older.citation);
        fill(&mut self.origin, &older.origin);
        self.visibility = self.visibility.or(older.visibility);
        self
    }
}
