//! Approximate neighbours: a graph to walk along instead of looking at all vectors.
//!
//! A hierarchical navigable small world (Malkov and Yashunin 2020, DOI 10.1109/TPAMI.2018.2889473). `hnsw_rs` links it
//! ([`build`](mod@build)); the links are then kept flat, without an allocation each, and in a form that can be checked when it is read
//! back ([`file`]). The walk is our own, so that a filter can never empty it; it sees vectors as bytes ([`Sketch`]), and f64 decides among
//! those that it finds.
//!
//! A [`Graph`] holds links between keys, no vectors: it outlives the vectors that it was made of. Among later ones ([`Guide`]) those of
//! keys that it does not have, or that no walk finds, are looked at one by one, and keys that are gone are only passed through. Which spaces have
//! graphs, and when, is the business of [`crate::embedding`].

mod build;
mod file;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use gpu::{Neighbour, Probe, Sketch, Sketched};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A walk is worth it where this many can be answered for one that it keeps in mind.
const SPARE: usize = 200;

/// A walk that has looked at one in so many has lost its way: all are looked at instead.
const LOST_AFTER: usize = 4;

/// Where more than one in so many keys is not in the graph, or gone, it is stale.
const STALE: usize = 20;

/// Relative error of a distance in f32, amply: sums of terms that are not negative.
const F32_ERROR: f32 = 1e-3;

/// No place.
const NONE: u32 = u32::MAX;

/// How well a graph finds neighbours, measured when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Recall {
    /// Share of the true nearest neighbours that were found; others at the same distance count.
    pub share: f64,
    /// How many nearest neighbours were asked for.
    pub at: usize,
    /// Of how many materials.
    pub queries: usize,
}

/// Links between keys, each of which stands for what has one vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// What each node is; all different.
    keys: Vec<u64>,
    /// The links of each layer. The lowest holds all nodes.
    layers: Vec<Lists>,
    /// The node that walks begin at, in the highest layer.
    entry: u32,
    /// Nodes that a walk to them did not find, ascending.
    lost: Vec<u32>,
    /// How many of the nearest a walk keeps in mind.
    breadth: usize,
    recall: Recall,
}

/// A list of numbers for each node, one after the other in `all`: that of node `n` is at `starts[n]..starts[n + 1]`.
#[derive(Debug, Clone, PartialEq)]
struct Lists {
    starts: Vec<u32>,
    all: Vec<u32>,
}

impl Lists {
    fn of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.all[self.starts[node] as usize..self.starts[node + 1] as usize]
    }

    /// The places of each node, ascending: `of` says of which node each place is, `NONE` of none.
    fn places(of: &[u32], nodes: usize) -> Lists {
        let mut starts = vec![0u32; nodes + 1];
        of.iter().filter(|node| **node != NONE).for_each(|node| starts[*node as usize + 1] += 1);
        (0..nodes).for_each(|node| starts[node + 1] += starts[node]);
        let (mut next, mut all) = (starts.clone(), vec![0; starts[nodes] as usize]);
        for (at, node) in (0u32..).zip(of).filter(|(_, node)| **node != NONE) {
            let slot = &mut next[*node as usize];
            all[*slot as usize] = at;
            *slot += 1;
        }
        Lists { starts, all }
    }
}

/// Some nodes, a bit each.
#[derive(Debug)]
struct Marked(Vec<u64>);

impl Marked {
    fn none(nodes: usize) -> Marked {
        Marked(vec![0; nodes.div_ceil(64)])
    }

    fn has(&self, node: u32) -> bool {
        self.0[node as usize / 64] & 1u64 << (node % 64) != 0
    }

    fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Marks a node: whether it is the first time.
    fn first(&mut self, node: u32) -> bool {
        let (word, bit) = (&mut self.0[node as usize / 64], 1u64 << (node % 64));
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

/// A distance from a point, and a node: ordered by distance, then by node.
fn ranked(distance: u32, node: u32) -> u64 {
    u64::from(distance) << 32 | u64::from(node)
}

/// A walk along a graph, to a point.
struct Walk<'a> {
    graph: &'a Graph,
    /// The vectors of the nodes that are there.
    sketch: &'a Sketch,
    gone: &'a Marked,
    point: Sketched,
    nodes: Vec<u32>,
    distances: Vec<u32>,
}

impl<'a> Walk<'a> {
    fn new(graph: &'a Graph, sketch: &'a Sketch, gone: &'a Marked, to: &[f32]) -> Walk<'a> {
        Walk { graph, sketch, gone, point: sketch.point(to), nodes: Vec::new(), distances: Vec::new() }
    }

    /// Measures those of some nodes that are there.
    fn measure(&mut self, of: &[u32]) {
        self.nodes.clear();
        self.nodes.extend(of.iter().filter(|node| !self.gone.has(**node)));
        self.measure_nodes();
    }

    /// Measures the nodes that a node of the lowest layer leads to and that were not seen, through one that is gone at most.
    fn measure_unseen(&mut self, node: u32, seen: &mut Marked) {
        let lowest = &self.graph.layers[0];
        self.nodes.clear();
        for &way in lowest.of(node) {
            match seen.first(way) {
                true if !self.gone.has(way) => self.nodes.push(way),
                true => {
                    let is_new = |node: &&u32| !self.gone.has(**node) && seen.first(**node);
                    self.nodes.extend(lowest.of(way).iter().filter(is_new));
                }
                false => {}
            }
        }
        self.measure_nodes();
    }

    fn measure_nodes(&mut self) {
        self.distances.clear();
        self.sketch.measure(&self.point, &self.nodes, &mut self.distances);
    }

    /// The nodes nearest to the point among those that are `allowed`, at most `breadth` of them, in the order of their distances in
    /// the sketch. `None` where more than `most` nodes would have to be looked at.
    fn nearest(&mut self, entry: u32, breadth: usize, most: usize, allowed: impl Fn(u32) -> bool) -> Option<Vec<u32>> {
        let graph = self.graph;
        self.measure(&[entry]);
        let mut here = ranked(*self.distances.first()?, entry);
        for layer in graph.layers.iter().skip(1).rev() {
            loop {
                self.measure(layer.of(here as u32));
                let steps = self.distances.iter().zip(&self.nodes).map(|(distance, node)| ranked(*distance, *node));
                match steps.min() {
                    Some(next) if next < here => here = next,
                    _ => break,
                }
            }
        }
        let mut seen = Marked::none(graph.keys.len());
        let (mut ahead, mut found) = (BinaryHeap::new(), BinaryHeap::with_capacity(breadth + 1));
        let mut looked_at = 1;
        seen.first(here as u32);
        ahead.push(Reverse(here));
        if allowed(here as u32) {
            found.push(here);
        }
        while let Some(Reverse(next)) = ahead.pop() {
            let mut limit = if found.len() < breadth { u64::MAX } else { found.peek().copied().unwrap_or(u64::MAX) };
            if next > limit {
                break;
            }
            self.measure_unseen(next as u32, &mut seen);
            looked_at += self.nodes.len();
            if looked_at > most {
                return None;
            }
            for (distance, node) in self.distances.iter().zip(&self.nodes) {
                let one = ranked(*distance, *node);
                if one > limit {
                    continue;
                }
                ahead.push(Reverse(one));
                if allowed(*node) {
                    found.push(one);
                    if found.len() > breadth {
                        found.pop();
                    }
                    if found.len() == breadth {
                        limit = found.peek().copied().unwrap_or(u64::MAX);
                    }
                }
            }
        }
        Some(found.into_sorted_vec().into_iter().map(|one| one as u32).collect())
    }
}

/// A graph, fitted to vectors.
#[derive(Debug)]
pub struct Guide {
    graph: Arc<Graph>,
    probe: Probe,
    /// The first vector of each node.
    sketch: Sketch,
    gone: Marked,
    entry: u32,
    /// The vectors of each node.
    members: Lists,
    /// Vectors that no walk finds, ascending.
    apart: Vec<u32>,
}

impl Guide {
    /// Fits a graph to vectors, `keys` saying what each is. `None` where nothing of it is left.
    pub(crate) fn new(graph: Arc<Graph>, probe: Probe, keys: &[u64]) -> Option<Guide> {
        let nodes = graph.keys.len();
        let node_of: HashMap<u64, u32> = graph.keys.iter().copied().zip(0..).collect();
        let of: Vec<u32> = keys.par_iter().map(|key| node_of.get(key).copied().unwrap_or(NONE)).collect();
        let members = Lists::places(&of, nodes);
        let mut gone = Marked::none(nodes);
        (0..nodes as u32).filter(|node| members.of(*node).is_empty()).for_each(|node| _ = gone.first(node));
        let is_there = |node: u32| !gone.has(node);
        let entry = graph.entry_of(&is_there)?;
        let mut unreached = graph.lost.clone();
        if gone.count() > 0 {
            unreached.extend(graph.cut_off(entry, &is_there));
        }
        let unknown = (0u32..).zip(&of).filter(|(_, node)| **node == NONE).map(|(at, _)| at);
        let mut apart: Vec<u32> = unknown.chain(unreached.iter().flat_map(|node| members.of(*node)).copied()).collect();
        apart.sort_unstable();
        apart.dedup();
        let first: Vec<Option<u32>> = (0..nodes as u32).map(|node| members.of(node).first().copied()).collect();
        let sketch = Sketch::new(&probe, &first);
        Some(Guide { graph, probe, sketch, gone, entry, members, apart })
    }

    /// Whether a new graph would serve better.
    pub(crate) fn is_stale(&self) -> bool {
        (self.gone.count() + self.apart.len()) * STALE > self.graph.keys.len()
    }

    /// How well it finds neighbours.
    pub fn recall(&self) -> Recall {
        self.graph.recall
    }

    /// Bytes of memory that it takes beside the vectors, about.
    pub fn bytes(&self) -> usize {
        let lists = self.graph.layers.iter().chain([&self.members]);
        let numbers: usize = lists.map(|list| list.starts.len() + list.all.len()).sum();
        8 * self.graph.keys.len() + 4 * (numbers + self.apart.len()) + self.sketch.bytes()
    }

    /// Whether a walk to the `k` nearest of `allowed` vectors is faster than a look at all of these.
    pub fn pays(&self, allowed: usize, k: usize) -> bool {
        allowed >= SPARE * self.breadth(k) && LOST_AFTER * allowed >= self.members.all.len()
    }

    fn breadth(&self, k: usize) -> usize {
        self.graph.breadth.max(2 * k)
    }

    /// The vectors nearest to a point among the allowed ones, at most `k`, by their distance in f64; most likely the nearest of all,
    /// as [`Guide::recall`] says. `None` where the walk lost its way.
    pub fn nearest(&self, query: &[f32], k: usize, allowed: impl Fn(u32) -> bool) -> Option<Vec<Neighbour>> {
        let graph = &*self.graph;
        let members = |node: u32| self.members.of(node);
        let mut walk = Walk::new(graph, &self.sketch, &self.gone, query);
        let most = graph.keys.len() / LOST_AFTER;
        let is_allowed = |node: u32| members(node).iter().any(|at| allowed(*at));
        let nodes = walk.nearest(self.entry, self.breadth(k), most, is_allowed)?;
        let of_nodes = nodes.into_iter().flat_map(members);
        let mut rows: Vec<u32> = of_nodes.chain(&self.apart).copied().filter(|at| allowed(*at)).collect();
        rows.sort_unstable();
        rows.dedup();
        // f64 decides among those that f32 cannot tell from the k nearest
        let mut near = Vec::with_capacity(rows.len());
        self.probe.measure(query, &rows, &mut near);
        if k < near.len() {
            let mut sorted = near.clone();
            let farthest = *sorted.select_nth_unstable_by(k, f32::total_cmp).1 * (1.0 + F32_ERROR);
            rows = rows.into_iter().zip(near).filter(|(_, near)| *near <= farthest).map(|(row, _)| row).collect();
        }
        let measured = |row: u32| Neighbour { distance: self.probe.distance(query, row), row };
        let mut found: Vec<Neighbour> = rows.into_iter().map(measured).collect();
        found.sort_unstable_by(Neighbour::order);
        found.truncate(k);
        Some(found)
    }
}

impl Graph {
    /// A node that is there, as high up as possible.
    fn entry_of(&self, is_there: &impl Fn(u32) -> bool) -> Option<u32> {
        if is_there(self.entry) {
            return Some(self.entry);
        }
        let nodes = 0..self.keys.len() as u32;
        let in_layer = |layer: &Lists| nodes.clone().find(|node| is_there(*node) && !layer.of(*node).is_empty());
        self.layers.iter().rev().find_map(in_layer).or_else(|| nodes.clone().find(|node| is_there(*node)))
    }

    /// The nodes that are there and that no links of the lowest layer lead to.
    fn cut_off(&self, entry: u32, is_there: &impl Fn(u32) -> bool) -> Vec<u32> {
        let mut seen = Marked::none(self.keys.len());
        let mut ahead = vec![entry];
        seen.first(entry);
        while let Some(node) = ahead.pop() {
            ahead.extend(self.layers[0].of(node).iter().filter(|next| is_there(**next) && seen.first(**next)));
        }
        (0..self.keys.len() as u32).filter(|node| is_there(*node) && seen.first(*node)).collect()
    }
}
