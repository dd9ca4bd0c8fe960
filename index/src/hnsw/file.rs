//! A graph on disk. A cache: whatever is wrong with it, it is made anew.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use datasets::durable::sync_parent;
use serde::{Deserialize, Serialize};

use super::{Graph, Lists, Recall};

/// Counts up with every change of what a file means, of what the vectors of a space are, or of how walks see them.
const FORMAT: u32 = 2;

/// Walks keep so many in mind at most.
const MAX_BREADTH: usize = 4096;

/// Why a kept graph cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GraphFileError {
    /// The disk failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("{path}: {why}")]
    Corrupt { path: PathBuf, why: &'static str },
}

/// The first line. What follows, in little-endian numbers: the keys (64 bits), and of 32 bits each the starts and links of every layer
/// and the lost nodes; then the CRC-32 of all before it.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    stamp: u64,
    nodes: u32,
    /// Of each layer, the lowest first.
    links: Vec<u32>,
    lost: u32,
    entry: u32,
    breadth: usize,
    recall: Recall,
}

fn read(bytes: &[u8], stamp: u64) -> Result<Option<Graph>, &'static str> {
    const SHORT: &str = "it is shorter than it says";
    let (sealed, seal) = bytes.split_last_chunk::<4>().ok_or(SHORT)?;
    if crc32fast::hash(sealed) != u32::from_le_bytes(*seal) {
        return Err("it does not have the checksum it was written with");
    }
    let line = sealed.iter().position(|byte| *byte == b'\n').ok_or(SHORT)?;
    let (head, rest) = (&sealed[..line], &sealed[line + 1..]);
    let form: serde_json::Value = serde_json::from_slice(head).map_err(|_| "its first line is no JSON")?;
    if form["format"] != FORMAT {
        return Ok(None);
    }
    let head: Head = serde_json::from_value(form).map_err(|_| "its first line is another one's")?;
    if head.stamp != stamp {
        return Ok(None);
    }
    let mut rest = rest;
    let mut take = |n: usize| {
        let (taken, left) = rest.split_at_checked(n)?;
        rest = left;
        Some(taken)
    };
    let nodes = head.nodes as usize;
    let (keys, _) = take(8 * nodes).ok_or(SHORT)?.as_chunks();
    let keys: Vec<u64> = keys.iter().map(|key| u64::from_le_bytes(*key)).collect();
    let mut numbers = |n: usize| -> Result<Vec<u32>, &'static str> {
        let (numbers, _) = take(4 * n).ok_or(SHORT)?.as_chunks();
        Ok(numbers.iter().map(|number| u32::from_le_bytes(*number)).collect())
    };
    let layer = |links: &u32| Ok(Lists { starts: numbers(nodes + 1)?, all: numbers(*links as usize)? });
    let layers: Vec<Lists> = head.links.iter().map(layer).collect::<Result<_, &str>>()?;
    let lost = numbers(head.lost as usize)?;
    if !rest.is_empty() {
        return Err("it is longer than it says");
    }
    let graph = Graph { keys, layers, entry: head.entry, lost, breadth: head.breadth, recall: head.recall };
    if graph.is_sound() { Ok(Some(graph)) } else { Err("its parts do not fit together") }
}

impl Graph {
    /// Writes it: beside its place, synced, then renamed.
    pub(crate) fn save(&self, place: &Path, stamp: u64) -> Result<(), GraphFileError> {
        let head = Head {
            format: FORMAT,
            stamp,
            nodes: self.keys.len() as u32,
            links: self.layers.iter().map(|layer| layer.all.len() as u32).collect(),
            lost: self.lost.len() as u32,
            entry: self.entry,
            breadth: self.breadth,
            recall: self.recall,
        };
        let mut bytes = serde_json::to_vec(&head).map_err(io::Error::from)?;
        bytes.push(b'\n');
        bytes.extend(self.keys.iter().flat_map(|key| key.to_le_bytes()));
        let layers = self.layers.iter().flat_map(|layer| [&layer.starts, &layer.all]);
        for numbers in layers.chain([&self.lost]) {
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        // another process may write the same
        let staging = place.with_extension(format!("{}.tmp", std::process::id()));
        let write = || {
            let mut file = File::create(&staging)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&staging, place)?;
            sync_parent(place)
        };
        Ok(write().inspect_err(|_| drop(fs::remove_file(&staging)))?)
    }

    /// Reads one, if one is kept and is of this stamp.
    pub(crate) fn load(place: &Path, stamp: u64) -> Result<Option<Graph>, GraphFileError> {
        let bytes = match fs::read(place) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        read(&bytes, stamp).map_err(|why| GraphFileError::Corrupt { path: place.to_owned(), why })
    }

    /// Every number that is used as a place lies where it must.
    fn is_sound(&self) -> bool {
        let nodes = self.keys.len();
        let are_nodes = |numbers: &[u32]| numbers.iter().all(|node| (*node as usize) < nodes);
        let is_sound = |layer: &Lists| {
            let ends = layer.starts.last().is_some_and(|end| *end as usize == layer.all.len());
            layer.starts.len() == nodes + 1 && layer.starts.is_sorted() && ends && are_nodes(&layer.all)
        };
        let mut keys = self.keys.clone();
        keys.sort_unstable();
        (1..=MAX_BREADTH).contains(&self.breadth)
            && !self.layers.is_empty()
            && self.layers.iter().all(is_sound)
            && are_nodes(&[self.entry])
            && are_nodes(&self.lost)
            && keys.windows(2).all(|pair| pair[0] < pair[1])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        let lowest = Lists { starts: vec![0, 2, 3, 4], all: vec![1, 2, 0, 0] };
        let upper = Lists { starts: vec![0, 0, 1, 1], all: vec![1] };
        let recall = Recall { share: 0.995, at: 10, queries: 400 };
        Graph { keys: vec![7, u64::MAX, 3], layers: vec![lowest, upper], entry: 1, lost: vec![2], breadth: 32, recall }
    }

    #[test]
    fn what_is_saved_is_read_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("graphs");
        let path = folder.join("composition.graph");
        assert_eq!(Graph::load(&path, 9).unwrap(), None);
        graph().save(&path, 9).unwrap();
        assert_eq!(Graph::load(&path, 9).unwrap(), Some(graph()));
        assert_eq!(Graph::load(&path, 8).unwrap(), None, "of other vectors");
        assert_eq!(Graph::load(&folder.join("learned.graph"), 9).unwrap(), None);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            assert!(Graph::load(&path, 9).is_err(), "byte {at} flipped");
            fs::write(&path, &good[..at]).unwrap();
            assert!(Graph::load(&path, 9).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused_although_their_checksum_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let damages: [fn(&mut Graph); 8] = [
            |graph| graph.entry = 3,
            |graph| graph.lost = vec![3],
            |graph| graph.layers[0].all[0] = 3,
            |graph| graph.layers[0].starts[1] = 4,
            |graph| graph.layers[1].starts[3] = 0,
            |graph| graph.layers.clear(),
            |graph| graph.keys[0] = 3,
            |graph| graph.breadth = 0,
        ];
        for (at, damage) in damages.into_iter().enumerate() {
            let mut graph = graph();
            damage(&mut graph);
            let path = folder.path().join("composition.graph");
            graph.save(&path, 9).unwrap();
            assert!(Graph::load(&path, 9).is_err(), "damage {at}");
        }
    }
}
