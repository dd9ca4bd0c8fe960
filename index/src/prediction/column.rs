//! What is said of one property of all materials, and how it is kept on disk.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use datasets::durable::sync_parent;
use ndarray::{Array2, ArrayView1};
use serde::{Deserialize, Serialize};
use space::composition::Composition;
use space::descriptors::{DESCRIPTORS, describe};
use space::predictor::Standard;

use super::model::places_of;
use crate::embedding::compose;
use crate::materials::Materials;

/// Counts up with every change of the files.
const FORMAT: u32 = 1;
/// The first line of a file is shorter.
const LINE: u64 = 512;

/// What is said of one property of all materials of a snapshot.
#[derive(Debug)]
pub struct Column {
    /// By row, on the property's axis; NaN where nothing can be said.
    pub mean: Vec<f32>,
    /// By row, half of the width of the 90 % interval.
    pub half: Vec<f32>,
    /// Rows of the materials that were learned from, ascending.
    pub samples: Vec<u32>,
    places: OnceLock<Places>,
}

/// A known material, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// Its row.
    pub row: u32,
    /// Euclidean distance, in standard deviations of the samples' descriptors.
    pub distance: f32,
}

impl Column {
    pub(super) fn new(mean: Vec<f32>, half: Vec<f32>, samples: Vec<u32>) -> Column {
        Column { mean, half, samples, places: OnceLock::new() }
    }

    /// The known materials that are nearest to a composition, nearest first, at most `n`; of the material `leave` none is itself.
    pub fn nearest(&self, materials: &Materials, of: &Composition, leave: Option<u32>, n: usize) -> Vec<Near> {
        self.places.get_or_init(|| Places::of(materials, &self.samples)).nearest(&self.samples, of, leave, n)
    }
}

/// Where the samples of a property are among each other.
#[derive(Debug)]
pub(super) struct Places {
    standard: Standard,
    places: Array2<f32>,
}

/// Samples at one place, at most, in most cases.
const SHARING: usize = 8;

impl Places {
    /// Of the materials of some rows, all of them with a formula.
    pub(super) fn of(materials: &Materials, samples: &[u32]) -> Places {
        let mut described = vec![0f32; samples.len() * DESCRIPTORS];
        for (out, row) in described.chunks_exact_mut(DESCRIPTORS).zip(samples) {
            if let Some(composition) = materials.parsed(*row as usize).as_ref().and_then(compose) {
                describe(&composition, out);
            }
        }
        let places = places_of(&described, DESCRIPTORS);
        let standard = Standard::of(&places);
        let places = standard.apply(places.view());
        Places { standard, places }
    }

    /// The samples that are nearest to a composition, nearest first, at most `n`, without `leave`; of samples at one place, such as
    /// the phases of a formula, the first.
    pub(super) fn nearest(&self, samples: &[u32], of: &Composition, leave: Option<u32>, n: usize) -> Vec<Near> {
        let mut described = [0f32; DESCRIPTORS];
        describe(of, &mut described);
        let place = self.standard.apply(places_of(&described, DESCRIPTORS).view());
        let place = place.row(0);
        let square = |row: ArrayView1<'_, f32>| row.iter().zip(place).map(|(x, y)| (x - y).powi(2)).sum::<f32>();
        let distances = self.places.rows().into_iter().map(square).zip(0..);
        let mut near: Vec<(f32, usize)> = distances.filter(|(_, at)| leave != Some(samples[*at])).collect();
        // samples are in the order of their rows
        let order = |a: &(f32, usize), b: &(f32, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        let mut some = (SHARING * n).min(near.len());
        loop {
            if some < near.len() {
                near.select_nth_unstable_by(some, order);
            }
            near[..some].sort_unstable_by(order);
            let mut distinct: Vec<(f32, usize)> = Vec::with_capacity(n);
            for one in &near[..some] {
                let is_there = |kept: &(f32, usize)| self.places.row(kept.1) == self.places.row(one.1);
                if distinct.len() < n && !distinct.iter().any(is_there) {
                    distinct.push(*one);
                }
            }
            if distinct.len() == n || some == near.len() {
                let near = distinct.into_iter();
                return near.map(|(square, at)| Near { row: samples[at], distance: square.sqrt() }).collect();
            }
            some = (2 * some).min(near.len());
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    /// Of the snapshot.
    stamp: u64,
    /// Of what was learned from.
    fingerprint: u64,
    rows: usize,
    samples: usize,
}

/// A column as it was kept.
pub(super) struct Kept {
    pub(super) stamp: u64,
    pub(super) fingerprint: u64,
    pub(super) column: Column,
}

/// The folder of the predictions of a data directory.
pub(super) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("predictions")
}

fn place(folder: &Path, key: &str) -> PathBuf {
    // keys of datasets' own properties hold a colon, which not every file system takes
    folder.join(format!("{}.column", key.replace(':', "@")))
}

/// Writes a column in place of the one before.
pub(super) fn save(folder: &Path, key: &str, stamp: u64, fingerprint: u64, column: &Column) -> io::Result<()> {
    let head = Head { format: FORMAT, stamp, fingerprint, rows: column.mean.len(), samples: column.samples.len() };
    let numbers = column.mean.iter().chain(&column.half).map(|x| x.to_bits()).chain(column.samples.iter().copied());
    write(&place(folder, key), &head, numbers.flat_map(u32::to_le_bytes))
}

/// Of which snapshot the column is that is kept of a property: its first line alone is read.
pub(super) fn stamp_of(folder: &Path, key: &str) -> Option<u64> {
    head_of(&place(folder, key)).map(|head| head.stamp)
}

fn head_of(place: &Path) -> Option<Head> {
    let mut line = String::new();
    BufReader::new(fs::File::open(place).ok()?.take(LINE)).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok().filter(|head: &Head| head.format == FORMAT)
}

/// Writes what is learned of a property in place of what was.
pub(super) fn save_model(folder: &Path, key: &str, fingerprint: u64, model: &[u8]) -> io::Result<()> {
    let head = Head { format: FORMAT, stamp: 0, fingerprint, rows: 0, samples: 0 };
    write(&place(folder, key).with_extension("model"), &head, model.iter().copied())
}

/// What is kept of a property that was learned from what this fingerprint tells apart.
pub(super) fn load_model(folder: &Path, key: &str, fingerprint: u64) -> Option<Vec<u8>> {
    let place = place(folder, key).with_extension("model");
    head_of(&place).filter(|head| head.fingerprint == fingerprint)?;
    let (head, bytes) = read(&place)?;
    (head.fingerprint == fingerprint).then_some(bytes)
}

/// The column that is kept of a property. `None` where there is none; what is damaged or of another version is removed.
pub(super) fn load(folder: &Path, key: &str) -> Option<Kept> {
    let place = place(folder, key);
    let (head, bytes) = read(&place)?;
    let numbers: Vec<u32> =
        bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    if numbers.len() != 2 * head.rows + head.samples {
        return None;
    }
    let floats = |range: std::ops::Range<usize>| numbers[range].iter().map(|bits| f32::from_bits(*bits)).collect();
    let samples = numbers[2 * head.rows..].to_vec();
    if samples.iter().any(|row| *row as usize >= head.rows) {
        return None;
    }
    let column = Column::new(floats(0..head.rows), floats(head.rows..2 * head.rows), samples);
    Some(Kept { stamp: head.stamp, fingerprint: head.fingerprint, column })
}

fn rows_place(folder: &Path, stamp: u64) -> PathBuf {
    folder.join(format!("{stamp:016x}.rows"))
}

/// Writes what tells materials apart, by row: a column of the same stamp can be carried over by it.
pub(super) fn save_rows(folder: &Path, stamp: u64, prints: &[u64]) -> io::Result<()> {
    let head = Head { format: FORMAT, stamp, fingerprint: 0, rows: prints.len(), samples: 0 };
    write(&rows_place(folder, stamp), &head, prints.iter().flat_map(|print| print.to_le_bytes()))
}

/// Where each material, by what tells it apart, was in the columns of a stamp.
pub(super) fn load_rows(folder: &Path, stamp: u64) -> Option<HashMap<u64, u32>> {
    let (head, bytes) = read(&rows_place(folder, stamp))?;
    let eight = |chunk: &[u8]| chunk.try_into().map(u64::from_le_bytes).unwrap_or_default();
    let prints = bytes.chunks_exact(8).map(eight);
    (bytes.len() == 8 * head.rows).then(|| prints.zip(0u32..).collect())
}

/// Removes what tells the materials of other stamps apart.
pub(super) fn remove_other_rows(folder: &Path, stamp: u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().map(|entry| entry.path()) {
        if entry.extension().is_some_and(|e| e == "rows") && entry != rows_place(folder, stamp) {
            let _ = fs::remove_file(entry);
        }
    }
}

fn write(place: &Path, head: &Head, bytes: impl Iterator<Item = u8>) -> io::Result<()> {
    let mut all = serde_json::to_vec(head).map_err(io::Error::from)?;
    all.push(b'\n');
    all.extend(bytes);
    let sum = crc32fast::hash(&all);
    all.extend(sum.to_le_bytes());
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder)?;
    }
    // who reads sees the old file or the new one
    let staging = place.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = fs::File::create(&staging)?;
    let written = file.write_all(&all).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&staging, place));
    if written.is_err() {
        let _ = fs::remove_file(&staging);
    }
    written?;
    sync_parent(place)
}

fn read(place: &Path) -> Option<(Head, Vec<u8>)> {
    let mut bytes = fs::read(place).ok()?;
    let sound = || -> Option<(Head, usize)> {
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        let end = body.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&body[..end]).ok()?;
        (crc32fast::hash(body) == u32::from_le_bytes(*sum) && head.format == FORMAT).then_some((head, end))
    };
    let Some((head, end)) = sound() else {
        tracing::warn!("{} is damaged or of another version: it is made anew", place.display());
        let _ = fs::remove_file(place);
        return None;
    };
    bytes.truncate(bytes.len() - 4);
    bytes.drain(..=end);
    Some((head, bytes))
}
