//! Extremely randomised trees (Geurts, Ernst, Wehenkel 2006, doi:10.1007/s10994-006-6226-1) that say what they would have said
//! of their own samples.
//!
//! Each tree leaves samples out: half of the trees a part of the groups (samples of one composition are a group, for they know
//! each other), the others whole clusters. What trees that have not seen a sample say of it tells how wrong the forest is nearby,
//! and away from what it knows. Numbers may be missing (NaN): at each split they go to one side.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// Numbers of samples, column by column.
#[derive(Debug, Clone)]
pub struct Columns {
    rows: usize,
    values: Vec<f32>,
}

impl Columns {
    /// `values` holds column after column of `rows` numbers each; `None` where they are no whole columns.
    pub fn new(rows: usize, values: Vec<f32>) -> Option<Columns> {
        (rows > 0 && values.len().is_multiple_of(rows)).then_some(Columns { rows, values })
    }

    /// Number of samples.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn count(&self) -> usize {
        self.values.len() / self.rows
    }

    /// One column.
    pub fn column(&self, at: usize) -> &[f32] {
        &self.values[at * self.rows..(at + 1) * self.rows]
    }

    /// The columns of rows that come one after the other, `count` numbers each; `None` where they are no whole rows.
    pub fn of_rows(rows: &[f32], count: usize) -> Option<Columns> {
        let n = rows.len() / count.max(1);
        let mut values = vec![0f32; rows.len()];
        values.par_chunks_exact_mut(n.max(1)).enumerate().for_each(|(column, out)| {
            out.iter_mut().zip(rows.chunks_exact(count)).for_each(|(out, row)| *out = row[column]);
        });
        if rows.len().is_multiple_of(count.max(1)) { Columns::new(n, values) } else { None }
    }
}

/// How a forest grows.
#[derive(Debug, Clone)]
pub struct Growth {
    /// Number of trees.
    pub trees: usize,
    /// The share of the columns that are tried at a split.
    pub tried: f64,
    /// Samples in a leaf, at least.
    pub leaf: usize,
    /// Samples that a tree grows on, at most.
    pub samples: usize,
    /// Where the random numbers start.
    pub seed: u64,
}

impl Default for Growth {
    fn default() -> Growth {
        Growth { trees: 120, tried: 0.2, leaf: 2, samples: 8_000, seed: 1 }
    }
}

/// Columns that are tried at a split, at least, where there are so many.
const FEWEST: usize = 4;
/// The share of groups, and of clusters, that a tree does not see.
const LEFT_OUT: f64 = 0.2;

#[derive(Debug, Clone, Copy)]
struct Branch {
    /// Threshold of the split, else the leaf's value.
    value: f32,
    /// Place of the child of smaller numbers; the other one follows.
    children: u32,
    /// Column of the split, [`LEAF`] at a leaf.
    column: u16,
    /// Whether missing numbers count as small.
    missing_low: bool,
}

const LEAF: u16 = u16::MAX;

/// Rows that go down all trees together, so that a tree is read once for all of them.
const BLOCK: usize = 512;
/// Rows whose way down a tree is walked step by step together.
const TOGETHER: usize = 8;

/// Trees, grown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Packed", try_from = "Packed")]
pub struct Forest {
    trees: Vec<Vec<Branch>>,
    columns: usize,
}

/// Trees without what follows from the order in which they have grown.
#[derive(Serialize, Deserialize)]
struct Packed {
    columns: usize,
    /// Of each branch 0 at a leaf, else 1 + 2 × column + (missing numbers count as small); and its value.
    trees: Vec<Vec<(u32, f32)>>,
}

impl From<Forest> for Packed {
    fn from(forest: Forest) -> Packed {
        let code = |branch: &Branch| match branch.column {
            LEAF => 0,
            column => 1 + 2 * u32::from(column) + u32::from(branch.missing_low),
        };
        let packed = |tree: &Vec<Branch>| tree.iter().map(|branch| (code(branch), branch.value)).collect();
        Packed { columns: forest.columns, trees: forest.trees.iter().map(packed).collect() }
    }
}

impl TryFrom<Packed> for Forest {
    type Error = &'static str;

    fn try_from(packed: Packed) -> Result<Forest, &'static str> {
        let Packed { columns, trees } = packed;
        let trees = trees.iter().map(|tree| unpacked(tree, columns).ok_or("this is no tree"));
        Ok(Forest { trees: trees.collect::<Result<_, _>>()?, columns })
    }
}

/// A tree whose children are where [`grow_tree`] has put them; `None` where they are not all there.
fn unpacked(packed: &[(u32, f32)], columns: usize) -> Option<Vec<Branch>> {
    let leaf = |&(_, value): &(u32, f32)| Branch { column: LEAF, value, children: 0, missing_low: false };
    let mut tree: Vec<Branch> = packed.iter().map(leaf).collect();
    let (mut open, mut next) = (vec![0usize], 1usize);
    while let Some(at) = open.pop() {
        let (code, branch) = (packed.get(at)?.0, tree.get_mut(at)?);
        if code > 0 {
            let column = u16::try_from((code - 1) / 2).ok().filter(|column| usize::from(*column) < columns)?;
            (branch.column, branch.children) = (column, u32::try_from(next).ok()?);
            branch.missing_low = code.is_multiple_of(2);
            open.extend([next, next + 1]);
            next += 2;
        }
    }
    (next == tree.len()).then_some(tree)
}

/// What trees say of samples that they have not seen; NaN where all have.
#[derive(Debug, Clone)]
pub struct Unseen {
    /// Mean over the trees that leave the sample's group out.
    pub near: Vec<f32>,
    /// How much more its mean square error is than that of as many of them as the forest has trees.
    pub near_excess: Vec<f64>,
    /// The deviation of all trees, as it would be of a new sample that is like this one: some of them lack its cluster.
    pub near_spread: Vec<f32>,
    /// Mean over the trees that leave out the sample's cluster.
    pub far: Vec<f32>,
    /// These trees' deviation.
    pub far_spread: Vec<f32>,
}

impl Forest {
    /// Grows trees on samples with values, each of a group and of a cluster.
    pub fn grow(
        columns: &Columns,
        values: &[f32],
        groups: &[u32],
        clusters: &[u32],
        growth: &Growth,
    ) -> (Forest, Unseen) {
        let rows = values.len();
        let count = |of: &[u32]| of.iter().max().map_or(0, |most| *most as usize + 1);
        let (group_count, cluster_count) = (count(groups), count(clusters));
        let grown: Vec<(Vec<Branch>, Vec<bool>)> = (0..growth.trees)
            .into_par_iter()
            .map(|tree| {
                let mut random = Random::new(growth.seed.wrapping_mul(1_000_003).wrapping_add(tree as u64));
                let by_cluster = tree % 2 == 1 && cluster_count > 1;
                let (of, count) = if by_cluster { (clusters, cluster_count) } else { (groups, group_count) };
                let mut gone: Vec<bool> = (0..count).map(|_| random.unit() < LEFT_OUT).collect();
                if count > 1 {
                    // one at least stays, and one at least goes
                    let (go, stay) = (random.below(count), random.below(count - 1));
                    gone[go] = true;
                    gone[if stay >= go { stay + 1 } else { stay }] = false;
                }
                let out: Vec<bool> = of.iter().map(|of| count > 1 && gone[*of as usize]).collect();
                let mut samples: Vec<u32> = (0..rows as u32).filter(|row| !out[*row as usize]).collect();
                while samples.len() > growth.samples {
                    let gone = random.below(samples.len());
                    samples.swap_remove(gone);
                }
                (grow_tree(columns, values, samples, growth, &mut random), out)
            })
            .collect();
        let sums: Vec<[Sums; 2]> = (0..rows)
            .into_par_iter()
            .map(|row| {
                let mut sums = [Sums::default(); 2];
                for (tree, (branches, _)) in grown.iter().enumerate().filter(|(_, (_, out))| out[row]) {
                    let kind = usize::from(tree % 2 == 1 && cluster_count > 1);
                    sums[kind].add(descend(branches, |column| columns.column(column)[row]));
                }
                sums
            })
            .collect();
        let all = growth.trees as f64;
        let near_spread = |[near, far]: &[Sums; 2]| {
            if far.count == 0 {
                return near.square().sqrt() as f32;
            }
            let lack = f64::from(far.count) / all;
            // the means of few trees differ also by chance
            let between = (near.mean() - far.mean()).powi(2) - near.square_of_mean() - far.square_of_mean();
            let within = (1.0 - lack) * near.square() + lack * far.square();
            (within + lack * (1.0 - lack) * between.max(0.0)).sqrt() as f32
        };
        let near_excess = |[near, _]: &[Sums; 2]| (near.square_of_mean() - near.square() / all).max(0.0);
        let unseen = Unseen {
            near: sums.iter().map(|[near, _]| near.mean() as f32).collect(),
            near_excess: sums.iter().map(near_excess).collect(),
            near_spread: sums.iter().map(near_spread).collect(),
            far: sums.iter().map(|[_, far]| far.mean() as f32).collect(),
            far_spread: sums.iter().map(|[_, far]| far.square().sqrt() as f32).collect(),
        };
        let trees = grown.into_iter().map(|(branches, _)| branches).collect();
        (Forest { trees, columns: columns.count() }, unseen)
    }

    /// Bytes of memory that the trees take.
    pub fn bytes(&self) -> usize {
        self.trees.iter().map(|tree| tree.len() * size_of::<Branch>()).sum()
    }

    /// Number of columns that the trees look at.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// What the trees say of samples, one after the other in `rows`, [`Forest::columns`] numbers each: mean and deviation.
    pub fn predict(&self, rows: &[f32]) -> Vec<(f32, f32)> {
        let blocks = rows.par_chunks(BLOCK * self.columns.max(1));
        blocks
            .flat_map_iter(|block| {
                let mut sums = vec![Sums::default(); block.len() / self.columns.max(1)];
                let (whole, rest) = block.split_at(block.len() - block.len() % (TOGETHER * self.columns.max(1)));
                for tree in &self.trees {
                    let (of_whole, of_rest) = sums.split_at_mut(whole.len() / self.columns.max(1));
                    let together = whole.chunks_exact(TOGETHER * self.columns);
                    for (sums, rows) in of_whole.chunks_exact_mut(TOGETHER).zip(together) {
                        let said = descend_together(tree, rows, self.columns);
                        sums.iter_mut().zip(said).for_each(|(sums, said)| sums.add(said));
                    }
                    for (sums, row) in of_rest.iter_mut().zip(rest.chunks_exact(self.columns)) {
                        sums.add(descend(tree, |column| row[column]));
                    }
                }
                sums.into_iter().map(|sums| (sums.mean() as f32, sums.square().sqrt() as f32))
            })
            .collect()
    }
}

/// What some trees say of one sample.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: u32,
    sum: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, said: f32) {
        let said = f64::from(said);
        self.count += 1;
        self.sum += said;
        self.squares += said * said;
    }

    /// NaN of no trees.
    fn mean(self) -> f64 {
        self.sum / f64::from(self.count)
    }

    /// The mean square deviation of a tree, however few they are: of one alone 0, of none NaN.
    fn square(self) -> f64 {
        let (n, mean) = (f64::from(self.count), self.mean());
        let square = (self.squares / n - mean * mean).max(0.0) * n / (n - 1.0).max(1.0);
        if self.count == 0 { f64::NAN } else { square }
    }

    /// That of the mean of all of them.
    fn square_of_mean(self) -> f64 {
        self.square() / f64::from(self.count)
    }
}

fn descend(tree: &[Branch], number: impl Fn(usize) -> f32) -> f32 {
    let mut at = 0;
    loop {
        let branch = tree[at];
        if branch.column == LEAF {
            return branch.value;
        }
        let x = number(usize::from(branch.column));
        let low = if x.is_nan() { branch.missing_low } else { x <= branch.value };
        at = branch.children as usize + usize::from(!low);
    }
}

/// [`descend`] for [`TOGETHER`] rows, step by step: while the next branch of one is fetched, that of another is.
fn descend_together(tree: &[Branch], rows: &[f32], columns: usize) -> [f32; TOGETHER] {
    let mut at = [0usize; TOGETHER];
    loop {
        let mut ended = true;
        for (lane, at) in at.iter_mut().enumerate() {
            let branch = tree[*at];
            let is_leaf = branch.column == LEAF;
            // a leaf looks at any number, and stays
            let x = rows[lane * columns + if is_leaf { 0 } else { usize::from(branch.column) }];
            let low = (x <= branch.value) | (x.is_nan() & branch.missing_low);
            let next = branch.children as usize + usize::from(!low);
            *at = if is_leaf { *at } else { next };
            ended &= is_leaf;
        }
        if ended {
            return at.map(|at| tree[at].value);
        }
    }
}

/// Sums that do not wait for each other.
const LANES: usize = 8;

/// How many numbers are at most the threshold, and the sum of their values.
fn below(numbers: &[f32], values: &[f32], threshold: f32) -> (usize, f64) {
    let (mut counts, mut sums) = ([0u32; LANES], [0f32; LANES]);
    let (mut count, mut sum) = (0usize, 0f64);
    for (numbers, values) in numbers.chunks(LANES * 64).zip(values.chunks(LANES * 64)) {
        let (whole, rest) = (numbers.chunks_exact(LANES), numbers.chunks_exact(LANES).remainder());
        let (of_whole, of_rest) = (values.chunks_exact(LANES), values.chunks_exact(LANES).remainder());
        for (numbers, values) in whole.zip(of_whole) {
            for lane in 0..LANES {
                let is = numbers[lane] <= threshold;
                counts[lane] += u32::from(is);
                sums[lane] += if is { values[lane] } else { 0.0 };
            }
        }
        for (number, value) in rest.iter().zip(of_rest) {
            let is = *number <= threshold;
            counts[0] += u32::from(is);
            sums[0] += if is { *value } else { 0.0 };
        }
        count += counts.iter().sum::<u32>() as usize;
        sum += sums.iter().map(|sum| f64::from(*sum)).sum::<f64>();
        (counts, sums) = ([0; LANES], [0.0; LANES]);
    }
    (count, sum)
}

fn grow_tree(
    columns: &Columns,
    values: &[f32],
    mut samples: Vec<u32>,
    growth: &Growth,
    random: &mut Random,
) -> Vec<Branch> {
    let leaf = |value: f32| Branch { column: LEAF, value, children: 0, missing_low: false };
    let mut tree = vec![leaf(0.0)];
    let mut open = vec![(0usize, 0usize, samples.len())];
    let tried = ((columns.count() as f64 * growth.tried).ceil() as usize)
        .clamp(columns.count().clamp(1, FEWEST), columns.count().max(1));
    let mut order: Vec<usize> = (0..columns.count().min(usize::from(LEAF))).collect();
    let (mut numbers, mut wanted) = (Vec::<f32>::new(), Vec::<f32>::new());
    while let Some((at, from, to)) = open.pop() {
        let own = &mut samples[from..to];
        let n = own.len().max(1) as f64;
        let mean = (own.iter().map(|row| f64::from(values[*row as usize])).sum::<f64>() / n) as f32;
        tree[at] = leaf(mean);
        if own.len() < 2 * growth.leaf || own.iter().all(|row| values[*row as usize] == values[own[0] as usize]) {
            continue;
        }
        wanted.clear();
        wanted.extend(own.iter().map(|row| values[*row as usize] - mean));
        // squares of the sums over their numbers: the larger, the purer the sides
        let mut best: Option<(f64, usize, f32, bool)> = None;
        let mut left = tried;
        for place in 0..order.len() {
            if left == 0 {
                break;
            }
            let other = place + random.below(order.len() - place);
            order.swap(place, other);
            let column = columns.column(order[place]);
            numbers.clear();
            numbers.extend(own.iter().map(|row| column[*row as usize]));
            let (mut least, mut most, mut missing) = (f32::INFINITY, f32::NEG_INFINITY, 0usize);
            for x in &numbers {
                missing += usize::from(x.is_nan());
                least = least.min(*x);
                most = most.max(*x);
            }
            if least >= most && (missing == 0 || missing == own.len()) {
                // all alike: does not count as tried
                continue;
            }
            left -= 1;
            let threshold = if least < most {
                let threshold = least + (most - least) * random.unit() as f32;
                if threshold < most { threshold } else { least }
            } else {
                least
            };
            // where numbers do not differ, being missing does
            let missing_low = least < most && random.unit() < 0.5;
            let (mut low, mut low_sum) = below(&numbers, &wanted, threshold);
            if missing > 0 && missing_low {
                low += missing;
                let missing = numbers.iter().zip(&wanted).filter(|(x, _)| x.is_nan());
                low_sum += missing.map(|(_, y)| f64::from(*y)).sum::<f64>();
            }
            let high = own.len() - low;
            if low < growth.leaf || high < growth.leaf {
                continue;
            }
            // the values are about their mean: what is not in one side is the other's, negative
            let gain = low_sum * low_sum / low as f64 + low_sum * low_sum / high as f64;
            if best.is_none_or(|(most, ..)| gain > most) {
                best = Some((gain, order[place], threshold, missing_low));
            }
        }
        let Some((_, split, threshold, missing_low)) = best else { continue };
        let column = columns.column(split);
        let is_low = |row: u32| {
            let x = column[row as usize];
            if x.is_nan() { missing_low } else { x <= threshold }
        };
        let mut middle = 0;
        for place in 0..own.len() {
            if is_low(own[place]) {
                own.swap(place, middle);
                middle += 1;
            }
        }
        let children = tree.len();
        tree.push(leaf(0.0));
        tree.push(leaf(0.0));
        tree[at] = Branch { column: split as u16, value: threshold, children: children as u32, missing_low };
        // what is packed relies on this order
        open.push((children, from, from + middle));
        open.push((children + 1, from + middle, to));
    }
    tree.shrink_to_fit();
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rows: usize) -> (Columns, Vec<f32>, Vec<u32>) {
        let mut random = Random::new(11);
        let mut values: Vec<f32> = (0..4 * rows).map(|_| random.unit() as f32).collect();
        let wanted = (0..rows).map(|row| 3.0 * values[row] + (6.0 * values[rows + row]).sin()).collect();
        // a tenth of the first column is not known
        (0..rows).step_by(10).for_each(|row| values[row] = f32::NAN);
        let clusters = (0..rows).map(|row| (values[2 * rows + row] * 8.0) as u32).collect();
        (Columns::new(rows, values).unwrap_or(Columns { rows: 1, values: Vec::new() }), wanted, clusters)
    }

    #[test]
    fn trees_learn_and_say_so_only_of_what_they_have_not_seen() {
        let (columns, wanted, clusters) = samples(1500);
        let groups: Vec<u32> = (0..1500).collect();
        let (forest, unseen) = Forest::grow(&columns, &wanted, &groups, &clusters, &Growth::default());
        let known = |row: &usize| !row.is_multiple_of(10);
        let error = |said: &dyn Fn(usize) -> f32| {
            let rows: Vec<usize> = (0..1500).filter(known).collect();
            rows.iter().map(|&row| (said(row) - wanted[row]).abs()).sum::<f32>() / rows.len() as f32
        };
        let numbers = |row: usize| (0..4).map(|column| columns.column(column)[row]).collect::<Vec<f32>>();
        let (seen, near) = (error(&|row| forest.predict(&numbers(row))[0].0), error(&|row| unseen.near[row]));
        let mean = wanted.iter().sum::<f32>() / 1500.0;
        let nothing = error(&|_| mean);
        assert!(near < 0.25 * nothing, "{near} of {nothing}");
        assert!(seen < near, "samples that trees have seen are said better: {seen}, {near}");
        assert!(unseen.far.iter().all(|said| said.is_finite()) && forest.predict(&[f32::NAN; 4])[0].0.is_finite());
    }

    /// Intervals are as wide for new samples as errors of known ones say only if both are measured by the same deviation.
    #[test]
    fn trees_differ_as_much_about_known_samples_as_about_new_ones() {
        let (columns, wanted, _) = samples(3000);
        let known: Vec<f32> = (0..4).flat_map(|column| columns.column(column)[..1500].to_vec()).collect();
        let Some(known) = Columns::new(1500, known) else { panic!("1500 rows") };
        let groups: Vec<u32> = (0..1500).collect();
        let rows: Vec<f32> = (4 * 1500..4 * 3000).map(|at| columns.column(at % 4)[at / 4]).collect();
        let mean = |spreads: &mut dyn Iterator<Item = f32>| spreads.map(f64::from).sum::<f64>() / 1500.0;
        // clusters that matter: what trees say of one that they lack is another thing
        for parts in [0.0, 0.3, 2.0] {
            let clusters: Vec<u32> = wanted[..1500].iter().map(|value| ((value + 2.0) * parts) as u32).collect();
            let (forest, unseen) = Forest::grow(&known, &wanted[..1500], &groups, &clusters, &Growth::default());
            let of_new = mean(&mut forest.predict(&rows).into_iter().map(|(_, spread)| spread));
            let ratio = mean(&mut unseen.near_spread.iter().copied()) / of_new;
            assert!((0.93..1.05).contains(&ratio), "{parts}: {ratio}");
        }
    }

    #[test]
    fn the_same_seed_grows_the_same_trees() {
        let (columns, wanted, clusters) = samples(200);
        let groups: Vec<u32> = (0..200).collect();
        let growth = Growth { trees: 20, ..Growth::default() };
        let say = || Forest::grow(&columns, &wanted, &groups, &clusters, &growth).0.predict(&[0.3, 0.4, 0.5, 0.6]);
        assert_eq!(say(), say());
    }

    /// Also rows that are no whole number of those that go down together, and numbers that are missing.
    #[test]
    fn rows_that_go_down_together_arrive_where_each_does_alone() {
        let (columns, wanted, clusters) = samples(300);
        let groups: Vec<u32> = (0..300).collect();
        let growth = Growth { trees: 20, ..Growth::default() };
        let forest = Forest::grow(&columns, &wanted, &groups, &clusters, &growth).0;
        for count in [1, 7, 8, 61, 300] {
            let rows: Vec<f32> = (0..4 * count).map(|at| columns.column(at % 4)[at / 4]).collect();
            let alone: Vec<(f32, f32)> = rows.chunks_exact(4).flat_map(|row| forest.predict(row)).collect();
            assert_eq!(forest.predict(&rows), alone);
        }
    }

    #[test]
    fn packed_trees_say_the_same_and_others_are_no_trees() {
        let (columns, wanted, clusters) = samples(400);
        let groups: Vec<u32> = (0..400).collect();
        let growth = Growth { trees: 20, ..Growth::default() };
        let forest = Forest::grow(&columns, &wanted, &groups, &clusters, &growth).0;
        let back = Forest::try_from(Packed::from(forest.clone()));
        let rows: Vec<f32> = (0..400)
            .flat_map(|row| (0..4).map(move |column| (column, row)))
            .map(|(c, r)| columns.column(c)[r])
            .collect();
        assert_eq!(back.as_ref().map(|back| back.predict(&rows)), Ok(forest.predict(&rows)));
        assert_eq!(back.map(|back| back.bytes()), Ok(forest.bytes()));
        for broken in [
            vec![],
            vec![(1, 0.0)],
            vec![(1, 0.0), (0, 0.0)],
            vec![(0, 0.0), (0, 0.0), (0, 0.0)],
            vec![(9, 0.0), (0, 0.0), (0, 0.0)],
            vec![(u32::MAX, 0.0), (0, 0.0), (0, 0.0)],
        ] {
            assert!(Forest::try_from(Packed { columns: 4, trees: vec![broken.clone()] }).is_err(), "{broken:?}");
        }
    }
}
