//! Which datasets, whose, under which terms?

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::property::{self, MAX_OWN_PROPERTIES, Property};
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Properties of the dataset's own, beside those of the dictionary ([`Property::of_dataset`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
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
            properties: Vec::new(),
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
        if let Some(problem) = self.properties.iter().find_map(|property| property::problem(&self.name, property)) {
            return Some(problem);
        }
        let keys: BTreeSet<&str> = self.properties.iter().map(|property| property.key.as_str()).collect();
        if keys.len() < self.properties.len() {
            let twice = |key: &&str| self.properties.iter().filter(|p| p.key == **key).count() > 1;
            let key = keys.into_iter().find(twice).unwrap_or_default();
            return Some(format!("property `{key}` stands twice: give one of them another key"));
        }
        self.too_many()
    }

    /// The property of the dataset's own with this key.
    pub fn property(&self, key: &str) -> Option<&Property> {
        self.properties.iter().find(|property| property.key == key)
    }

    /// Why this entry cannot follow an older one of the same dataset, if so: stored values would change their meaning,
    /// or there would be too many properties.
    pub fn conflict_with(&self, older: &DatasetInfo) -> Option<String> {
        let axis = |property: &Property| if property.axis == property::Axis::Log { "log" } else { "linear" };
        let changed = self.properties.iter().find_map(|new| {
            let old = older.property(&new.key).filter(|old| !new.measures_like(old))?;
            Some(format!(
                "property `{}` is kept in {} on a {} axis, and cannot change to {} on a {} axis, because its stored \
                 values would change their meaning: keep unit and axis, or ingest under another key",
                new.key,
                old.unit,
                axis(old),
                new.unit,
                axis(new)
            ))
        });
        changed.or_else(|| self.clone().or(older).too_many())
    }

    fn too_many(&self) -> Option<String> {
        let count = self.properties.len();
        (count > MAX_OWN_PROPERTIES).then(|| {
            format!(
                "dataset `{}` would have {count} properties of its own; at most {MAX_OWN_PROPERTIES}: keep as \
                 attributes what nobody searches by, or divide the dataset",
                self.name
            )
        })
    }

    /// This entry with the empty fields of it taken from an older one, so that a later batch need not repeat the terms.
    /// Properties that are not named here stay; of one that is, this entry's definition counts.
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
        let kept = older.properties.iter().filter(|old| self.property(&old.key).is_none()).cloned();
        let mut properties: Vec<Property> = kept.collect();
        properties.append(&mut self.properties);
        // in one order, so that saying the same again changes nothing
        properties.sort_by(|a, b| a.key.cmp(&b.key));
        self.properties = properties;
        self
    }
}
