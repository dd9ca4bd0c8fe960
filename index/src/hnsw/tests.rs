//! Walks beside a look at all vectors.
#![allow(clippy::unwrap_used)]

use super::*;
use gpu::{Device, Metric, Vectors};

const DIMS: usize = 12;

/// Points in clusters, the same at each call.
fn points(n: usize) -> Vec<f32> {
    let noise = |seed: usize| {
        let bits = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((bits ^ (bits >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f32 / (1 << 24) as f32
    };
    (0..n * DIMS).map(|at| 4.0 * noise(at % DIMS + 31 * (at / DIMS % 17)) + noise(at + 1_000_000)).collect()
}

fn probe(values: Vec<f32>, metric: Metric) -> Probe {
    Probe::new(&Vectors::new(values, DIMS).unwrap(), metric).unwrap()
}

/// Keys in no order.
fn keys(n: usize) -> Vec<u64> {
    (1..=n as u64).map(|at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect()
}

/// The nearest allowed vectors, by a look at all.
fn all(probe: &Probe, query: &[f32], k: usize, allowed: impl Fn(u32) -> bool) -> Vec<Neighbour> {
    let rows = (0..probe.vectors().len() as u32).filter(|row| allowed(*row));
    let mut all: Vec<Neighbour> = rows.map(|row| Neighbour { distance: probe.distance(query, row), row }).collect();
    all.sort_unstable_by(Neighbour::order);
    all.truncate(k);
    all
}

/// The share of the true neighbours that are found, over many queries, and how many walks lost their way.
fn recall(guide: &Guide, allowed: impl Fn(u32) -> bool + Copy) -> (f64, usize) {
    let (mut hits, mut wanted, mut lost) = (0, 0, 0);
    let probe = &guide.probe;
    for at in (0..probe.vectors().len() as u32).step_by(37) {
        let query: Vec<f32> = probe.row(at).iter().map(|x| x + 0.05).collect();
        let truth = all(probe, &query, 10, allowed);
        let Some(found) = guide.nearest(&query, 10, allowed) else {
            lost += 1;
            continue;
        };
        assert!(found.windows(2).all(|pair| pair[0].order(&pair[1]).is_lt()), "in order, none twice");
        assert!(found.iter().all(|one| allowed(one.row)));
        hits += found.iter().filter(|one| truth.contains(one)).count();
        wanted += truth.len();
    }
    (f64::from(hits as u32) / f64::from(wanted as u32), lost)
}

#[test]
fn walks_find_the_nearest_and_respect_filters() {
    for metric in [Metric::L1, Metric::L2] {
        let probe = probe(points(4000), metric);
        let graph = Graph::build(&probe, &keys(4000), &Device::cpu()).unwrap().unwrap();
        assert!(graph.recall.share >= 0.99 && graph.recall.queries == 400, "{:?}", graph.recall);
        assert!(graph.lost.len() < 10, "{:?}", graph.lost);
        let guide = Guide::new(Arc::new(graph), probe.clone(), &keys(4000)).unwrap();
        assert!(!guide.is_stale());
        let (share, lost) = recall(&guide, |_| true);
        assert!(share >= 0.97 && lost == 0, "{share} {lost}");
        let (share, lost) = recall(&guide, |row| row % 2 == 0);
        assert!(share >= 0.97 && lost == 0, "{share} {lost}");
        // some clusters alone: from the others the way may be too long
        let (share, lost) = recall(&guide, |row| row % 17 < 3);
        assert!(share >= 0.97 && lost < 100, "{share} {lost}");
        // what hardly anything passes is no walk
        assert!(!guide.pays(1000, 500) && guide.pays(1_000_000, 10));
        assert!(guide.nearest(probe.row(0), 10, |row| row == 1).is_none(), "it lost its way");
    }
}

#[test]
fn a_graph_serves_what_came_after_it() {
    let before = probe(points(3000), Metric::L2);
    let graph = Arc::new(Graph::build(&before, &keys(3000), &Device::cpu()).unwrap().unwrap());
    // a third is gone, the entry with it; 100 are new, and every composition that is left has two materials
    let entry = graph.keys[graph.entry as usize];
    let (values, known) = (points(3100), keys(3100));
    let stays = |at: usize| at >= 3000 || (!at.is_multiple_of(3) && known[at] != entry);
    let left: Vec<usize> = (0..3100).filter(|at| stays(*at)).flat_map(|at| [at, at]).collect();
    let after = probe(left.iter().flat_map(|at| &values[at * DIMS..][..DIMS]).copied().collect(), Metric::L2);
    let keys: Vec<u64> = left.iter().map(|at| known[*at]).collect();
    let guide = Guide::new(Arc::clone(&graph), after.clone(), &keys).unwrap();
    assert!(guide.is_stale(), "a third is gone");
    let (share, lost) = recall(&guide, |_| true);
    assert!(share >= 0.97 && lost == 0, "{share} {lost}");
    let new = after.row(left.len() as u32 - 1);
    let found = guide.nearest(new, 2, |_| true).unwrap();
    let last = left.len() as u32 - 1;
    assert_eq!(found.iter().map(|one| one.row).collect::<Vec<_>>(), [last - 1, last], "the new one and its twin");
    // nothing of it is left
    let other: Vec<u64> = (0..left.len() as u64).collect();
    assert!(Guide::new(graph, after, &other).is_none());
}

#[test]
fn nodes_that_no_walk_finds_are_looked_at_one_by_one() {
    let probe = probe(points(500), Metric::L2);
    let mut graph = Graph::build(&probe, &keys(500), &Device::cpu()).unwrap().unwrap();
    let lost = (graph.entry + 1) % 500;
    // no link leads there
    for layer in &mut graph.layers {
        layer.all.iter_mut().filter(|to| **to == lost).for_each(|to| *to = graph.entry);
    }
    let row = keys(500).iter().position(|key| *key == graph.keys[lost as usize]).unwrap();
    let nearest = |graph: Graph| {
        let guide = Guide::new(Arc::new(graph), probe.clone(), &keys(500)).unwrap();
        guide.nearest(probe.row(row as u32), 1, |_| true).unwrap()[0].row as usize
    };
    assert_ne!(nearest(Graph { lost: Vec::new(), ..graph.clone() }), row);
    assert_eq!(nearest(Graph { lost: vec![lost], ..graph }), row);
}
