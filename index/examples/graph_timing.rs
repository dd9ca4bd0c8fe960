//! How soon does a walk along a graph find neighbours, beside a look at all vectors? For `benches/similar.py`.
//!
//!     graph_timing DATA SPACE VECTORS
//!
//! Makes the graph of a space of a data directory, or takes the one that is kept, writes one vector a composition to the file VECTORS
//! (f32, little-endian) and prints one JSON line.
#![allow(clippy::print_stdout)]

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use gpu::{Device, Masks, NearestQuery};
use matgenome_index::embedding::Space;
use matgenome_index::hub::Hub;
use matgenome_index::scope::Viewer;
use matgenome_index::similar::SimilarSpec;
use rayon::prelude::*;

const K: usize = 10;
const QUERIES: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, space, to] = arguments.as_slice() else { return Err("graph_timing DATA SPACE VECTORS".into()) };
    let space: Space = space.parse()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let hub = runtime.block_on(Hub::open(Path::new(data), Device::cpu(), true, &mut |_| {}))?;
    let question = SimilarSpec { formula: Some("GaAs".into()), by: space, limit: K, ..SimilarSpec::default() };
    hub.similar(&question, Viewer::Public)?;
    let start = Instant::now();
    hub.make_graphs()?;
    let made_s = start.elapsed().as_secs_f64();
    let snapshot = hub.snapshot();
    let embedding = snapshot.embedding(space)?.ok_or("a space without vectors")?;
    let guide = embedding.guide().ok_or("there are too few vectors for a graph")?;
    let vectors = &embedding.vectors;
    let (mut known, mut mask) = (HashSet::new(), gpu::Mask::none(vectors.len()));
    let mut bytes = Vec::new();
    for (at, row) in embedding.rows.iter().enumerate() {
        if known.insert(snapshot.compositions().of_row[*row as usize]) {
            mask.set(at, true);
            bytes.extend(vectors.row(at).iter().flat_map(|x| x.to_le_bytes()));
        }
    }
    std::fs::write(to, bytes)?;
    let distinct: Vec<usize> = mask.iter_ones().collect();
    let asked: Vec<usize> = distinct.iter().copied().step_by((distinct.len() / QUERIES).max(1)).take(QUERIES).collect();
    let exact = |at: usize| {
        let (query, masks) = (vectors.row(at), Masks::Shared(&mask));
        let query = NearestQuery { vectors, queries: query, metric: embedding.metric, masks, leave_out: None, k: K };
        hub.device().nearest(&query).map(|answer| answer.neighbours.into_iter().flatten().collect::<Vec<_>>())
    };
    let walk = |at: usize| guide.nearest(vectors.row(at), K, |row| mask.get(row as usize));
    exact(asked[0])?;
    let start = Instant::now();
    let truth = asked.iter().map(|at| exact(*at)).collect::<Result<Vec<_>, _>>()?;
    let exact_s = start.elapsed().as_secs_f64();
    asked.iter().for_each(|at| drop(walk(*at)));
    let start = Instant::now();
    let found: Vec<_> = asked.iter().map(|at| walk(*at).unwrap_or_default()).collect();
    let one_s = start.elapsed().as_secs_f64();
    let start = Instant::now();
    asked.par_iter().for_each(|at| drop(walk(*at)));
    let all_s = start.elapsed().as_secs_f64();
    let hits = found.iter().zip(&truth).map(|(found, truth)| {
        let farthest = truth.last().map_or(0.0, |one| one.distance);
        found.iter().filter(|one| one.distance <= farthest).count()
    });
    let recall = hits.sum::<usize>() as f64 / (K * asked.len()) as f64;
    let n = asked.len() as f64;
    println!(
        "{}",
        serde_json::json!({
            "vectors": distinct.len(), "dims": vectors.dims(), "bytes": 4 * distinct.len() * vectors.dims() + guide.bytes(), "made_s": made_s, "threads": rayon::current_num_threads(),
            "exact_qps": n / exact_s, "walk_qps_one_thread": n / one_s, "walk_qps": n / all_s, "recall": recall,
            "stated_recall": guide.recall(),
        })
    );
    Ok(())
}
