//! Which properties does a snapshot know, and for whom? Those of the dictionary, and the datasets' own.
//!
//! A dataset's own property exists only where the dataset is in the scope: elsewhere it is neither found nor hinted at.

use std::collections::HashMap;

use datasets::catalogue::DatasetInfo;
use datasets::property::{self, Property, TooManyDefinitions, dictionary};

use crate::scope::Scope;
use crate::snapshot::Snapshot;

/// The datasets' own properties.
#[derive(Debug, Default)]
pub struct Own {
    /// (index of the dataset, definition), by dataset, then key.
    all: Vec<(usize, &'static Property)>,
    by_key: HashMap<&'static str, usize>,
}

impl Own {
    /// The own properties of these datasets, in the order of the snapshot's.
    ///
    /// # Errors
    /// The process has seen too many definitions ([`property::intern`]).
    pub fn of<'a>(infos: impl IntoIterator<Item = &'a DatasetInfo>) -> Result<Own, TooManyDefinitions> {
        let mut own = Own::default();
        for (dataset, info) in infos.into_iter().enumerate() {
            // what is kept was checked when it was put in; a key of another dataset would open that one's scope
            for property in info.properties.iter().filter(|p| p.dataset() == Some(info.name.as_str())) {
                let property = property::intern(property.clone())?;
                own.by_key.insert(&property.key, own.all.len());
                own.all.push((dataset, property));
            }
        }
        Ok(own)
    }

    /// The definition of a key, of the dictionary or of any dataset: for what is stored, whoever may see it.
    pub fn definition(&self, key: &str) -> Option<&'static Property> {
        dictionary().get(key).or_else(|| self.by_key.get(key).map(|&at| self.all[at].1))
    }

    fn seen<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'static Property> + 'a {
        self.all.iter().filter(|(dataset, _)| scope.0[*dataset]).map(|(_, property)| *property)
    }
}

/// A hash of all definitions that beliefs depend on: the dictionary's text, and the datasets' own.
pub fn fingerprint<'a>(infos: impl IntoIterator<Item = &'a DatasetInfo>) -> serde_json::Result<u64> {
    let mut text = property::SOURCE.as_bytes().to_vec();
    for property in infos.into_iter().flat_map(|info| &info.properties) {
        text.extend(serde_json::to_vec(property)?);
    }
    Ok(datasets::record::content_hash(&text))
}

/// There is no such property, or several.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct NoProperty {
    /// What is wrong, and the mend.
    pub message: String,
    /// The closest keys, or those that may be meant.
    pub closest: Vec<&'static str>,
}

impl Snapshot {
    /// The property of this key: the dictionary's, or that of a dataset in the scope.
    pub fn property(&self, key: &str, scope: &Scope) -> Option<&'static Property> {
        if let Some(known) = dictionary().get(key) {
            return Some(known);
        }
        let (dataset, property) = self.own.all[*self.own.by_key.get(key)?];
        scope.0[dataset].then_some(property)
    }

    /// All properties under a scope: those of the dictionary in its order, then the datasets' own by dataset and key.
    pub fn properties<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'static Property> + 'a {
        dictionary().iter().chain(self.own.seen(scope))
    }

    /// The property that a user's word means: a key, or a dataset's own without its dataset (`wear_rate` for
    /// `my-lab:wear_rate`) where no other dataset of the scope has one of that name.
    ///
    /// # Errors
    /// None is meant, with the closest keys; or several, with all of them.
    pub fn find_property(&self, word: &str, scope: &Scope) -> Result<&'static Property, NoProperty> {
        if let Some(known) = self.property(word, scope) {
            return Ok(known);
        }
        let same: Vec<&'static Property> = self.own.seen(scope).filter(|p| p.short_key() == word).collect();
        match same.as_slice() {
            [one] => Ok(*one),
            [] => {
                let closest = self.closest_properties(word, scope, 3);
                let minus = match word.split_once(':') {
                    Some((dataset, _)) if dataset.contains('-') => "; write a minus with spaces around it",
                    _ => "",
                };
                let message = format!("there is no property `{word}`; the closest are {}{minus}", closest.join(", "));
                Err(NoProperty { message, closest })
            }
            several => {
                let closest: Vec<&'static str> = several.iter().map(|p| p.key.as_str()).collect();
                let message = format!("`{word}` may mean {}: say which", closest.join(", "));
                Err(NoProperty { message, closest })
            }
        }
    }

    /// The keys that someone who wrote `text` may have meant, at most `n`, best first.
    pub fn closest_properties(&self, text: &str, scope: &Scope, n: usize) -> Vec<&'static str> {
        property::closest(self.properties(scope), text, n)
    }
}

/// How many bytes at the start of a text are the key of a dataset's own property, if it begins with one: what a
/// dataset's name may hold, `:`, then a letter and what a key may hold. The two small languages read keys by this. Looks
/// no further than a name may be long.
pub fn own_key_at_start(text: &[u8]) -> Option<usize> {
    let in_name = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let in_key = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    let name = text.iter().take(65).take_while(|byte| in_name(byte)).count();
    if !(1..=64).contains(&name) || matches!(text.first(), Some(b'.' | b'_' | b'-')) || text.get(name) != Some(&b':') {
        return None;
    }
    let rest = text.get(name + 1..)?;
    let key = rest.iter().take_while(|byte| in_key(byte)).count();
    rest.first().is_some_and(u8::is_ascii_lowercase).then_some(name + 1 + key)
}
