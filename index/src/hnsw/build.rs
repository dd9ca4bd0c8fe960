//! Links compositions by `hnsw_rs`, and sees how well they are found.
//!
//! Known of `hnsw_rs` 0.3.5, and kept away from: it panics on NaN distances (vectors are finite here), ends the process on more than
//! 256 links or a bad file (constants, and files of our own), loses points with pruned links kept (never asked for), and leaves some
//! points that no search finds: these are linked again here.

use std::collections::HashMap;
use std::time::Instant;

use gpu::{Device, GpuError, Mask, Masks, NearestQuery, Probe, Sketch};
use hnsw_rs::prelude::{Distance, Hnsw};
use rayon::prelude::*;

use super::{Graph, Lists, Marked, Recall, Walk};

/// Links of a node in the layers above the lowest; there it has twice as many.
const LINKS: usize = 12;

/// The nearest that are kept in mind while a node is linked.
const BREADTH: usize = 48;

/// Layers, at most: 16 is the most of `hnsw_rs`.
const LAYERS: usize = 16;

/// Nodes that are linked one after the other, before threads link the others between them.
const ALONE: usize = 2_000;

/// Neighbours that are asked for to see how many are found.
const AT: usize = 10;

/// Materials whose neighbours are asked for.
const QUERIES: usize = 400;

/// The recall that is aimed at.
const WANTED: f64 = 0.99;

/// Walks keep this many of the nearest in mind: the first that gives the wanted recall.
const BREADTHS: [usize; 6] = [24, 32, 48, 64, 128, 256];

/// The nearest that a walk to a node keeps in mind when the lowest layer is linked anew.
const NEAR: usize = 48;

/// Links of a node of the lowest layer, at most.
const LOWEST_LINKS: usize = 24;

/// A link is left out where one that is kept leads this much nearer to it: a little more than nearer, so that some ways are left
/// when nodes go.
const SLACK: f32 = 1.2;

/// Nearest nodes that a node that was not found is linked from.
const RELINKED: usize = 4;

/// How far two nodes are apart, for `hnsw_rs`, to which a point is the number of a node.
struct Apart<'a>(&'a Sketch);

impl Distance<u32> for Apart<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        self.0.apart(a[0], b[0]) as f32
    }
}

/// What a graph is made over.
struct Field<'a> {
    probe: &'a Probe,
    /// The row of each node.
    rows: &'a [u32],
    sketch: &'a Sketch,
    /// None of the nodes.
    gone: Marked,
}

impl Field<'_> {
    fn vector(&self, node: u32) -> &[f32] {
        self.probe.row(self.rows[node as usize])
    }

    /// How far two nodes are apart; not negative.
    fn apart(&self, a: u32, b: u32) -> f32 {
        self.probe.apart(self.rows[a as usize], self.rows[b as usize])
    }

    fn walk<'a>(&'a self, graph: &'a Graph, to: &[f32]) -> Walk<'a> {
        Walk::new(graph, self.sketch, &self.gone, to)
    }
}

/// The layers of a graph over nodes, linked in an order, the lowest first; and where walks begin.
fn link(sketch: &Sketch, order: &[u32]) -> (Vec<Lists>, u32) {
    let nodes = order.len();
    let hnsw: Hnsw<'_, u32, Apart<'_>> = Hnsw::new(LINKS, nodes, LAYERS, BREADTH, Apart(sketch));
    let insert = |node: &u32| hnsw.insert_slice((std::slice::from_ref(node), *node as usize));
    let (alone, others) = order.split_at(ALONE.min(order.len()));
    alone.iter().for_each(insert);
    others.par_iter().for_each(insert);
    let points = hnsw.get_point_indexation();
    let highest = points.get_max_level_observed() as usize;
    let mut level = vec![0u8; nodes];
    let mut links = vec![vec![Vec::new(); nodes]; highest + 1];
    let mut entry = 0;
    for layer in 0..=highest {
        for point in points.get_layer_iterator(layer) {
            let node = point.get_origin_id();
            (level[node], entry) = (layer as u8, node as u32);
            for (to, of_layer) in links.iter_mut().zip(point.get_neighborhood_id()).take(layer + 1) {
                to[node] = of_layer.iter().map(|neighbour| neighbour.d_id as u32).collect();
            }
        }
    }
    let flat = |(layer, of_nodes): (usize, Vec<Vec<u32>>)| {
        let mut flat = Lists { starts: vec![0], all: Vec::new() };
        for of_node in of_nodes {
            flat.all.extend(of_node.into_iter().filter(|node| usize::from(level[*node as usize]) >= layer));
            flat.starts.push(flat.all.len() as u32);
        }
        flat
    };
    (links.into_iter().enumerate().map(flat).collect(), entry)
}

impl Graph {
    /// A graph over vectors, `keys` saying what each is: a node for each key. `None` where there is none.
    ///
    /// # Errors
    /// Those of [`Device::nearest`].
    pub(crate) fn build(probe: &Probe, keys: &[u64], device: &Device) -> Result<Option<Graph>, GpuError> {
        let start = Instant::now();
        let mut nodes: Vec<(u64, u32)> = keys.iter().copied().zip(0..).collect();
        nodes.sort_unstable();
        nodes.dedup_by_key(|(key, _)| *key);
        if nodes.is_empty() {
            return Ok(None);
        }
        // numbered as their vectors are, so that what is near lies near in memory too
        nodes.sort_unstable_by_key(|(_, row)| *row);
        let (keys, rows): (Vec<u64>, Vec<u32>) = nodes.into_iter().unzip();
        // keys are as good as random: neighbours do not come together, so that far links form
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        order.sort_unstable_by_key(|node| keys[*node as usize]);
        let sketch = Sketch::new(probe, &rows.iter().copied().map(Some).collect::<Vec<_>>());
        let (layers, entry) = link(&sketch, &order);
        let recall = Recall { share: 0.0, at: AT, queries: 0 };
        let mut graph = Graph { keys, layers, entry, lost: Vec::new(), breadth: BREADTHS[0], recall };
        let field = Field { probe, rows: &rows, sketch: &sketch, gone: Marked::none(rows.len()) };
        graph.relink(&field);
        let linked = start.elapsed();
        let found_again = graph.find_all(&field);
        graph.measure_recall(&field, device)?;
        tracing::info!(
            "{} points linked in {:.1} s and looked up in {:.1} s: {found_again} linked again, {} lost, recall {:.4} at breadth {}",
            rows.len(),
            linked.as_secs_f64(),
            (start.elapsed() - linked).as_secs_f64(),
            graph.lost.len(),
            graph.recall.share,
            graph.breadth,
        );
        Ok(Some(graph))
    }

    /// Links the lowest layer anew. `hnsw_rs` keeps of the links back to a node the shortest alone, all into its own cluster; here those
    /// that a walk finds, those that were there and those that lead back are chosen from alike, each only where no link that is kept
    /// leads nearer to it (the second pass of Vamana, Subramanya et al. 2019, with the choice of Malkov and Yashunin).
    fn relink(&mut self, field: &Field<'_>) {
        let nodes = 0..self.keys.len() as u32;
        let choose = |node: u32, mut others: Vec<u32>| {
            others.sort_unstable();
            others.dedup();
            let away = |other: u32| (other != node).then(|| (field.apart(node, other), other));
            let mut near: Vec<(f32, u32)> = others.into_iter().filter_map(away).collect();
            near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let mut chosen: Vec<u32> = Vec::with_capacity(LOWEST_LINKS);
            for (away, one) in near {
                if chosen.iter().all(|other| SLACK * field.apart(one, *other) > away) {
                    chosen.push(one);
                    if chosen.len() == LOWEST_LINKS {
                        break;
                    }
                }
            }
            chosen
        };
        let forth: Vec<Vec<u32>> = nodes
            .clone()
            .into_par_iter()
            .map(|node| {
                let mut walk = field.walk(self, field.vector(node));
                let mut others = walk.nearest(self.entry, NEAR, usize::MAX, |_| true).unwrap_or_default();
                others.extend(self.layers[0].of(node));
                choose(node, others)
            })
            .collect();
        let ends: Vec<u32> = forth.iter().flatten().copied().collect();
        let from: Vec<u32> = nodes.clone().zip(&forth).flat_map(|(node, to)| to.iter().map(move |_| node)).collect();
        let back = Lists::places(&ends, self.keys.len());
        let both: Vec<Vec<u32>> = nodes
            .into_par_iter()
            .map(|node| {
                let mut others = forth[node as usize].clone();
                others.extend(back.of(node).iter().map(|place| from[*place as usize]));
                others.sort_unstable();
                others.dedup();
                if others.len() > LOWEST_LINKS { choose(node, others) } else { others }
            })
            .collect();
        let mut flat = Lists { starts: vec![0], all: Vec::new() };
        for to in both {
            flat.all.extend(to);
            flat.starts.push(flat.all.len() as u32);
        }
        self.layers[0] = flat;
    }

    /// Looks every node up; those that a walk does not find are linked from where it ended, and looked up again. How many these are.
    fn find_all(&mut self, field: &Field<'_>) -> usize {
        let all: Vec<u32> = (0..self.keys.len() as u32).collect();
        let missed = self.missed(field, &all);
        let mut more: HashMap<u32, Vec<u32>> = HashMap::new();
        for (node, near) in &missed {
            near.iter().take(RELINKED).for_each(|from| more.entry(*from).or_default().push(*node));
        }
        let lowest = &self.layers[0];
        let mut flat = Lists { starts: vec![0], all: Vec::with_capacity(lowest.all.len() + RELINKED * missed.len()) };
        for node in all {
            flat.all.extend(lowest.of(node));
            flat.all.extend(more.get(&node).into_iter().flatten());
            flat.starts.push(flat.all.len() as u32);
        }
        self.layers[0] = flat;
        let again: Vec<u32> = missed.iter().map(|(node, _)| *node).collect();
        self.lost = self.missed(field, &again).into_iter().map(|(node, _)| node).collect();
        missed.len()
    }

    /// Which of some nodes a walk to them does not find, ascending, each with where the walk ended.
    fn missed(&self, field: &Field<'_>, nodes: &[u32]) -> Vec<(u32, Vec<u32>)> {
        let look_up = |node: &u32| {
            let near = field.walk(self, field.vector(*node)).nearest(self.entry, self.breadth, usize::MAX, |_| true)?;
            (!near.contains(node)).then_some((*node, near))
        };
        nodes.par_iter().filter_map(look_up).collect()
    }

    /// Finds the breadth that gives the wanted recall, and says what it gives.
    fn measure_recall(&mut self, field: &Field<'_>, device: &Device) -> Result<(), GpuError> {
        let &Field { probe, rows, .. } = field;
        let asked: Vec<u32> = (0..rows.len() as u32).step_by((rows.len() / QUERIES).max(1)).take(QUERIES).collect();
        let queries: Vec<f32> = asked.iter().flat_map(|node| field.vector(*node)).copied().collect();
        // one vector a composition, as the nodes are
        let mut mask = Mask::none(probe.vectors().len());
        rows.iter().for_each(|row| mask.set(*row as usize, true));
        let leave_out: Vec<u32> = asked.iter().map(|node| rows[*node as usize]).collect();
        let exact = device.nearest(&NearestQuery {
            vectors: probe.vectors(),
            queries: &queries,
            metric: probe.metric(),
            masks: Masks::Shared(&mask),
            leave_out: Some(&leave_out),
            k: AT,
        })?;
        for breadth in BREADTHS {
            let hits = asked.par_iter().zip(&exact.neighbours).map(|(node, exact)| {
                let query = field.vector(*node);
                let mut walk = field.walk(self, query);
                let found = walk.nearest(self.entry, breadth, usize::MAX, |other| other != *node).unwrap_or_default();
                let farthest = exact.last().map_or(0.0, |neighbour| neighbour.distance);
                let distance = |node: &u32| probe.distance(query, rows[*node as usize]);
                found.iter().filter(|node| distance(node) <= farthest).count().min(exact.len())
            });
            let (hits, all) = (hits.sum::<usize>(), exact.neighbours.iter().map(Vec::len).sum::<usize>());
            self.breadth = breadth;
            self.recall = Recall { share: hits as f64 / all.max(1) as f64, at: AT, queries: asked.len() };
            if self.recall.share >= WANTED {
                break;
            }
        }
        Ok(())
    }
}
