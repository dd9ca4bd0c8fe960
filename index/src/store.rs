//! A snapshot on disk: Arrow IPC files beside the tables, with checksums. A cache: whatever is wrong with it, it is
//! built anew.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    ArrayRef, AsArray as _, BooleanArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, RecordBatch,
    StringArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{Float32Type, Float64Type, Int16Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow::ipc::reader::FileDecoder;
use arrow::ipc::writer::FileWriter;
use arrow::ipc::{Block, convert::fb_to_schema, root_as_footer};
use datasets::catalogue::DatasetInfo;
use datasets::durable::sync_parent;
use datasets::table::DataFile;
use serde::{Deserialize, Serialize};
use space::structure::COMPONENTS;

use crate::materials::Materials;
use crate::measurements::{Measurements, Named, Records};
use crate::properties::{Own, fingerprint};
use crate::snapshot::Snapshot;
use crate::stated::Stated;
use crate::structures::Structures;

/// Counts up with every change of what the files mean.
const FORMAT: u32 = 5;

/// Why a kept snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("{0}")]
    Corrupt(String),
    /// It was written by another version of the program or of the dictionary.
    #[error("it was written by another version of the program")]
    Outdated,
}

impl From<arrow::error::ArrowError> for StoreError {
    fn from(e: arrow::error::ArrowError) -> Self {
        StoreError::Corrupt(e.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// Hash of the property dictionary and the datasets' own properties: beliefs depend on their deviations and bounds.
    dictionary: u64,
    version: u64,
    datasets: Vec<DatasetInfo>,
    properties: Vec<String>,
    starts: Vec<usize>,
    words: Vec<String>,
    /// What records call their materials.
    named: Vec<Named>,
    /// The data files of the table that it was made from.
    sources: Vec<DataFile>,
    /// File name, length and CRC-32 of its bytes.
    files: Vec<(String, u64, u32)>,
}

/// The folder of the snapshots of a data directory.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("snapshots")
}

fn name(version: u64) -> String {
    format!("v{version}")
}

/// Writes a snapshot: into a folder beside its place, synced, then renamed; older ones are removed.
///
/// # Errors
/// The disk refuses; the caller can do without the cache.
pub fn save(data_dir: &Path, snapshot: &Snapshot) -> Result<(), StoreError> {
    let folder = folder(data_dir);
    fs::create_dir_all(&folder)?;
    let place = folder.join(name(snapshot.version));
    // two hubs of one process may save the same version
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let save = SAVES.fetch_add(1, Ordering::Relaxed);
    let staging = folder.join(format!(".{}-{}-{save}", name(snapshot.version), std::process::id()));
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    fs::create_dir(&staging)?;
    let written = write_into(&staging, snapshot).and_then(|()| {
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        fs::rename(&staging, &place)?;
        Ok(sync_parent(&place)?)
    });
    if written.is_err() {
        let _ = fs::remove_dir_all(&staging);
    }
    written?;
    remove_others(&folder, &place);
    Ok(())
}

fn write_into(staging: &Path, snapshot: &Snapshot) -> Result<(), StoreError> {
    let m = &snapshot.materials;
    let elements: Vec<[u8; 16]> = m.elements.iter().map(|bits| bits.to_le_bytes()).collect();
    let materials: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(m.id.clone())),
        ("formula", Arc::new(m.formula.clone())),
        ("space_group", Arc::new(Int16Array::from(m.space_group.clone()))),
        ("elements", Arc::new(FixedSizeBinaryArray::new(16, Buffer::from_vec(elements.concat()), None))),
        ("parent", Arc::new(UInt32Array::from(m.parent.clone()))),
    ];
    let r = &snapshot.records;
    let records: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(r.id.clone())),
        ("material", Arc::new(UInt32Array::from(r.material.clone()))),
        ("dataset", Arc::new(UInt16Array::from(r.dataset.clone()))),
        ("space_group", Arc::new(Int16Array::from(r.space_group.clone()))),
        ("by_formula", Arc::new(BooleanArray::from(r.by_formula.clone()))),
    ];
    let v = &snapshot.measurements;
    let measurements: Vec<(&str, ArrayRef)> = vec![
        ("material", Arc::new(UInt32Array::from(v.material.clone()))),
        ("record", Arc::new(UInt32Array::from(v.record.clone()))),
        ("value", Arc::new(Float64Array::from(v.value.clone()))),
        ("sd", Arc::new(Float64Array::from(v.sd.clone()))),
        ("evidence", Arc::new(UInt8Array::from(v.evidence.clone()))),
        ("temperature", Arc::new(Float32Array::from(v.temperature.clone()))),
        ("method", Arc::new(UInt32Array::from(v.method.clone()))),
        ("source", Arc::new(UInt32Array::from(v.source.clone()))),
    ];
    let s = &r.structures;
    let bytes: Vec<u8> = s.values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let structures: Vec<(&str, ArrayRef)> = vec![
        ("record", Arc::new(UInt32Array::from(s.record.clone()))),
        ("text", Arc::new(UInt64Array::from(s.text.clone()))),
        ("fingerprint", Arc::new(FixedSizeBinaryArray::new(4 * COMPONENTS as i32, Buffer::from_vec(bytes), None))),
    ];
    let indices = |get: fn(&Stated) -> u32| Arc::new(v.stated.iter().map(|s| Some(get(s))).collect::<UInt32Array>());
    let numbers = |get: fn(&Stated) -> f64| Arc::new(v.stated.iter().map(|s| Some(get(s))).collect::<Float64Array>());
    let stated: Vec<(&str, ArrayRef)> = vec![
        ("entry", indices(|s| s.entry)),
        ("conditions", indices(|s| s.conditions)),
        ("pressure", numbers(|s| s.pressure)),
        ("bound", numbers(|s| s.bound)),
    ];
    let mut files = Vec::new();
    let parts = [
        ("materials", materials),
        ("records", records),
        ("measurements", measurements),
        ("stated", stated),
        ("structures", structures),
    ];
    for (file, columns) in parts {
        let batch = RecordBatch::try_from_iter(columns)?;
        let mut bytes = Vec::new();
        let mut writer = FileWriter::try_new(&mut bytes, &batch.schema())?;
        if batch.num_rows() > 0 {
            writer.write(&batch)?;
        }
        writer.finish()?;
        drop(writer);
        let file = format!("{file}.arrow");
        write_synced(&staging.join(&file), &bytes)?;
        files.push((file, bytes.len() as u64, crc32fast::hash(&bytes)));
    }
    let manifest = Manifest {
        format: FORMAT,
        dictionary: fingerprint(snapshot.datasets.iter().map(|d| &d.info)).map_err(io::Error::from)?,
        version: snapshot.version,
        datasets: snapshot.datasets.iter().map(|d| d.info.clone()).collect(),
        properties: v.properties.clone(),
        starts: v.starts.clone(),
        words: v.words.iter().map(ToString::to_string).collect(),
        named: r.named.clone(),
        sources: snapshot.files.clone(),
        files,
    };
    let text = serde_json::to_vec(&manifest).map_err(io::Error::from)?;
    let mut sealed = text.clone();
    sealed.extend_from_slice(format!("\n{:08x}\n", crc32fast::hash(&text)).as_bytes());
    write_synced(&staging.join("manifest.json"), &sealed)?;
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove_others(folder: &Path, keep: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let staging = entry.file_name().to_string_lossy().starts_with('.');
        // what another process is writing at this moment is younger than an hour
        let old =
            entry.metadata().and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|d| d.as_secs() > 3600));
        if path != keep && (!staging || old) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Reads the snapshot of a table version, if one is kept.
///
/// # Errors
/// It is damaged or outdated: build it anew.
pub fn load(data_dir: &Path, version: u64) -> Result<Option<Snapshot>, StoreError> {
    let place = folder(data_dir).join(name(version));
    if !place.is_dir() {
        return Ok(None);
    }
    let manifest = read_manifest(&place)?;
    if manifest.version != version {
        return Err(StoreError::Corrupt(format!("it says that it is of version {}", manifest.version)));
    }
    let mut batches = Vec::new();
    for (file, length, crc) in &manifest.files {
        let bytes = fs::read(place.join(file))?;
        if bytes.len() as u64 != *length || crc32fast::hash(&bytes) != *crc {
            return Err(StoreError::Corrupt(format!("{file} does not have the checksum it was written with")));
        }
        batches.push(read_ipc(Buffer::from_vec(bytes))?);
    }
    let [materials, records, measurements, stated, structures] = batches.as_slice() else {
        return Err(StoreError::Corrupt("it does not name five files".into()));
    };
    let snapshot = assemble(&manifest, materials, records, measurements, stated, structures)?;
    Ok(Some(snapshot))
}

/// Reads the newest snapshot kept of a version before this one, if there is any.
///
/// # Errors
/// It is damaged or outdated: build it anew.
pub fn load_older(data_dir: &Path, version: u64) -> Result<Option<Snapshot>, StoreError> {
    let Ok(entries) = fs::read_dir(folder(data_dir)) else { return Ok(None) };
    let kept = entries.flatten().filter_map(|e| e.file_name().to_str()?.strip_prefix('v')?.parse::<u64>().ok());
    match kept.filter(|kept| *kept < version).max() {
        Some(kept) => load(data_dir, kept),
        None => Ok(None),
    }
}

fn read_manifest(place: &Path) -> Result<Manifest, StoreError> {
    let sealed = fs::read(place.join("manifest.json"))?;
    let corrupt = || StoreError::Corrupt("manifest.json does not have the checksum it was written with".into());
    let body = sealed.len().checked_sub(10).ok_or_else(corrupt)?;
    let (text, seal) = sealed.split_at(body);
    if seal != format!("\n{:08x}\n", crc32fast::hash(text)).as_bytes() {
        return Err(corrupt());
    }
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    if value["format"] != FORMAT {
        return Err(StoreError::Outdated);
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    if manifest.dictionary != fingerprint(&manifest.datasets).map_err(io::Error::from)? {
        return Err(StoreError::Outdated);
    }
    Own::of(&manifest.datasets).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    Ok(manifest)
}

/// The one batch of an IPC file, its columns sharing the file's bytes.
fn read_ipc(bytes: Buffer) -> Result<RecordBatch, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("an Arrow file {what}"));
    let tail = bytes.len().checked_sub(10).ok_or_else(|| corrupt("is too short"))?;
    let footer_length =
        arrow::ipc::reader::read_footer_length(bytes[tail..].try_into().map_err(|_| corrupt("is too short"))?)?;
    let start = tail.checked_sub(footer_length).ok_or_else(|| corrupt("has no footer"))?;
    let footer = root_as_footer(&bytes[start..tail]).map_err(|e| corrupt(&e.to_string()))?;
    let schema = fb_to_schema(footer.schema().ok_or_else(|| corrupt("has no schema"))?);
    let decoder = FileDecoder::new(Arc::new(schema.clone()), footer.version());
    let Some(block) = footer.recordBatches().and_then(|b| (!b.is_empty()).then(|| *b.get(0))) else {
        return Ok(RecordBatch::new_empty(Arc::new(schema)));
    };
    let block: Block = block;
    let length = block.bodyLength() as usize + block.metaDataLength() as usize;
    let data = bytes.slice_with_length(block.offset() as usize, length);
    decoder.read_record_batch(&block, &data)?.ok_or_else(|| corrupt("has no batch"))
}

fn assemble(
    manifest: &Manifest,
    materials: &RecordBatch,
    records: &RecordBatch,
    measurements: &RecordBatch,
    stated: &RecordBatch,
    structures: &RecordBatch,
) -> Result<Snapshot, StoreError> {
    let elements = column(materials, "elements")?;
    let elements = elements.as_fixed_size_binary_opt().ok_or_else(|| wrong("elements"))?;
    let bits = |bytes: Option<&[u8]>| bytes.and_then(|b| b.try_into().ok()).map_or(0, u128::from_le_bytes);
    let fingerprints = column(structures, "fingerprint")?;
    let fingerprints = fingerprints.as_fixed_size_binary_opt().ok_or_else(|| wrong("fingerprint"))?;
    let floats = fingerprints.value_data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let structures = Structures {
        record: numbers::<UInt32Type>(structures, "record")?,
        text: numbers::<UInt64Type>(structures, "text")?,
        values: floats.collect(),
    };
    let by_formula = column(records, "by_formula")?.as_boolean_opt().ok_or_else(|| wrong("by_formula"))?;
    let records = Records {
        id: text(records, "id")?,
        material: numbers::<UInt32Type>(records, "material")?,
        dataset: numbers::<UInt16Type>(records, "dataset")?,
        space_group: numbers::<Int16Type>(records, "space_group")?,
        by_formula: by_formula.values().iter().collect(),
        named: manifest.named.clone(),
        structures,
    };
    let length = records.len() as u32;
    if records.named.iter().any(|n| n.record >= length) || !records.named.is_sorted_by_key(|n| n.record) {
        return Err(StoreError::Corrupt("it names records that it does not have".into()));
    }
    let materials = Materials::new(
        text(materials, "id")?,
        text(materials, "formula")?,
        numbers::<Int16Type>(materials, "space_group")?,
        elements.iter().map(bits).collect(),
        numbers::<UInt32Type>(materials, "parent")?,
        records.labels(),
    );
    let measurements = Measurements {
        properties: manifest.properties.clone(),
        starts: manifest.starts.clone(),
        material: numbers::<UInt32Type>(measurements, "material")?,
        record: numbers::<UInt32Type>(measurements, "record")?,
        value: numbers::<Float64Type>(measurements, "value")?,
        sd: numbers::<Float64Type>(measurements, "sd")?,
        evidence: numbers::<UInt8Type>(measurements, "evidence")?,
        temperature: numbers::<Float32Type>(measurements, "temperature")?,
        method: numbers::<UInt32Type>(measurements, "method")?,
        source: numbers::<UInt32Type>(measurements, "source")?,
        stated: read_stated(stated)?,
        words: manifest.words.iter().map(|w| Arc::from(w.as_str())).collect(),
    };
    check(manifest, &materials, &records, &measurements)?;
    Ok(Snapshot::new(
        manifest.version,
        materials,
        records,
        measurements,
        manifest.datasets.clone(),
        manifest.sources.clone(),
    ))
}

fn read_stated(batch: &RecordBatch) -> Result<Vec<Stated>, StoreError> {
    let (entry, conditions) = (numbers::<UInt32Type>(batch, "entry")?, numbers::<UInt32Type>(batch, "conditions")?);
    let (pressure, bound) = (numbers::<Float64Type>(batch, "pressure")?, numbers::<Float64Type>(batch, "bound")?);
    let rows = entry.into_iter().zip(conditions).zip(pressure).zip(bound);
    Ok(rows.map(|(((entry, conditions), pressure), bound)| Stated { entry, conditions, pressure, bound }).collect())
}

/// Every number that is used as a place lies where it must.
fn check(manifest: &Manifest, m: &Materials, r: &Records, v: &Measurements) -> Result<(), StoreError> {
    let good = r.material.iter().all(|&row| (row as usize) < m.len())
        && r.dataset.iter().all(|&d| usize::from(d) < manifest.datasets.len())
        && v.material.iter().all(|&row| (row as usize) < m.len())
        && v.record.iter().all(|&row| (row as usize) < r.material.len())
        && r.structures.record.is_sorted_by(|a, b| a < b)
        && r.structures.record.last().is_none_or(|&record| (record as usize) < r.len())
        && r.structures.values.len() == r.structures.len() * COMPONENTS
        && r.structures.values.iter().all(|x| x.is_finite())
        && v.starts.len() == v.properties.len() + 1
        && v.starts.is_sorted()
        && v.starts.last().is_none_or(|&end| end == v.len())
        && v.stated.is_sorted_by(|a, b| a.entry < b.entry)
        && v.stated.last().is_none_or(|last| (last.entry as usize) < v.len())
        && m.labels.iter().all(|l| (l.row as usize) < m.len() && usize::from(l.dataset) < manifest.datasets.len());
    if good { Ok(()) } else { Err(StoreError::Corrupt("its parts do not fit together".into())) }
}

fn wrong(name: &str) -> StoreError {
    StoreError::Corrupt(format!("column {name} has another type"))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, StoreError> {
    batch.column_by_name(name).ok_or_else(|| StoreError::Corrupt(format!("column {name} is missing")))
}

fn text(batch: &RecordBatch, name: &str) -> Result<StringArray, StoreError> {
    column(batch, name)?.as_string_opt::<i32>().cloned().ok_or_else(|| wrong(name))
}

fn numbers<T: arrow::datatypes::ArrowPrimitiveType>(
    batch: &RecordBatch,
    name: &str,
) -> Result<Vec<T::Native>, StoreError> {
    let column = column(batch, name)?.as_primitive_opt::<T>().ok_or_else(|| wrong(name))?;
    Ok(column.values().to_vec())
}
