//! Extremely randomised trees (Geurts, Ernst, Wehenkel 2006, doi:10.1007/s10994-006-6226-1) that say what they would have said
//! of their own samples.
//!
//! Each tree leaves samples out: half of the trees a part of all, the others whole clusters. What trees that have not seen a
//! sample say of it tells how wrong the forest is nearby, and away from what it knows. Numbers may be missing (NaN): at each
//! split they go to one side.

use rayon::prelude::*;

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
        Growth { trees: 200, tried: 0.34, leaf: 2, samples: 40_000, seed: 1 }
    }
}

/// The share of samples, and of clusters, that a tree does not see.
const LEFT_OUT: f64 = 0.2;

#[derive(Debug, Clone, Copy)]
struct Branch {
    /// Column of the split, `u32::MAX` at a leaf.
    column: u32,
    /// Threshold of the split, else the leaf's value.
    value: f32,
    /// Place of the child of smaller numbers; the other one follows.
    children: u32,
    /// Whether missing numbers count as small.
    missing_low: bool,
}

/// Trees, grown.
#[derive(Debug, Clone)]
pub struct Forest {
    trees: Vec<Vec<Branch>>,
    columns: usize,
}

/// What trees say of samples that they have not seen; NaN where all have.
#[derive(Debug, Clone)]
pub struct Unseen {
    /// Mean over the trees that leave single samples out.
    pub near: Vec<f32>,
    /// The trees' deviation.
    pub near_spread: Vec<f32>,
    /// Mean over the trees that leave out the sample's cluster.
    pub far: Vec<f32>,
    /// The trees' deviation.
    pub far_spread: Vec<f32>,
}

impl Forest {
    /// Grows trees on samples with values, each of a cluster.
    pub fn grow(columns: &Columns, values: &[f32], clusters: &[u32], growth: &Growth) -> (Forest, Unseen) {
        let rows = values.len();
        let groups = clusters.iter().max().map_or(0, |most| *most as usize + 1);
        let grown: Vec<(Vec<Branch>, Vec<bool>)> = (0..growth.trees)
            .into_par_iter()
            .map(|tree| {
                let mut random = Random::new(growth.seed.wrapping_mul(1_000_003).wrapping_add(tree as u64));
                let by_cluster = tree % 2 == 1 && groups > 1;
                let out: Vec<bool> = if by_cluster {
                    let mut gone: Vec<bool> = (0..groups).map(|_| random.unit() < LEFT_OUT).collect();
                    // one at least stays, and one at least goes
                    let (go, stay) = (random.below(groups), random.below(groups - 1));
                    gone[go] = true;
                    gone[if stay >= go { stay + 1 } else { stay }] = false;
                    clusters.iter().map(|cluster| gone[*cluster as usize]).collect()
                } else {
                    (0..rows).map(|_| random.unit() < LEFT_OUT).collect()
                };
                let mut samples: Vec<u32> = (0..rows as u32).filter(|row| !out[*row as usize]).collect();
                while samples.len() > growth.samples {
                    let gone = random.below(samples.len());
                    samples.swap_remove(gone);
                }
                (grow_tree(columns, values, samples, growth, &mut random), out)
            })
            .collect();
        let mut trees = Vec::with_capacity(grown.len());
        let mut sums = vec![[[0f64; 3]; 2]; rows];
        for (tree, (branches, out)) in grown.into_iter().enumerate() {
            let kind = usize::from(tree % 2 == 1 && groups > 1);
            let said: Vec<(usize, f32)> = (0..rows)
                .into_par_iter()
                .filter(|&row| out[row])
                .map(|row| (row, descend(&branches, |column| columns.column(column)[row])))
                .collect();
            for (row, said) in said {
                let sums = &mut sums[row][kind];
                let said = f64::from(said);
                sums[0] += 1.0;
                sums[1] += said;
                sums[2] += said * said;
            }
            trees.push(branches);
        }
        let mean = |kind: usize| {
            let said = sums.iter().map(|sums| sums[kind]);
            let pairs = said.map(|[n, sum, squares]| {
                let mean = sum / n;
                (mean as f32, (squares / n - mean * mean).max(0.0).sqrt() as f32)
            });
            pairs.unzip::<f32, f32, Vec<f32>, Vec<f32>>()
        };
        let ((near, near_spread), (far, far_spread)) = (mean(0), mean(1));
        (Forest { trees, columns: columns.count() }, Unseen { near, near_spread, far, far_spread })
    }

    /// Number of columns that the trees look at.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// What the trees say of a sample with these numbers: mean and deviation.
    pub fn predict(&self, numbers: &[f32]) -> (f32, f32) {
        let (mut sum, mut squares) = (0f64, 0f64);
        for tree in &self.trees {
            let said = f64::from(descend(tree, |column| numbers[column]));
            sum += said;
            squares += said * said;
        }
        let n = self.trees.len().max(1) as f64;
        let mean = sum / n;
        (mean as f32, (squares / n - mean * mean).max(0.0).sqrt() as f32)
    }
}

fn descend(tree: &[Branch], number: impl Fn(usize) -> f32) -> f32 {
    let mut at = 0;
    loop {
        let branch = tree[at];
        if branch.column == u32::MAX {
            return branch.value;
        }
        let x = number(branch.column as usize);
        let low = if x.is_nan() { branch.missing_low } else { x <= branch.value };
        at = branch.children as usize + usize::from(!low);
    }
}

fn grow_tree(
    columns: &Columns,
    values: &[f32],
    mut samples: Vec<u32>,
    growth: &Growth,
    random: &mut Random,
) -> Vec<Branch> {
    let leaf = |value: f32| Branch { column: u32::MAX, value, children: 0, missing_low: false };
    let mut tree = vec![leaf(0.0)];
    let mut open = vec![(0usize, 0usize, samples.len())];
    let tried = ((columns.count() as f64 * growth.tried).ceil() as usize).clamp(1, columns.count().max(1));
    let mut order: Vec<usize> = (0..columns.count()).collect();
    while let Some((at, from, to)) = open.pop() {
        let own = &mut samples[from..to];
        let n = own.len().max(1) as f64;
        let sum: f64 = own.iter().map(|row| f64::from(values[*row as usize])).sum();
        tree[at] = leaf((sum / n) as f32);
        if own.len() < 2 * growth.leaf || own.iter().all(|row| values[*row as usize] == values[own[0] as usize]) {
            continue;
        }
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
            let (mut least, mut most, mut missing) = (f32::INFINITY, f32::NEG_INFINITY, 0usize);
            for row in own.iter() {
                let x = column[*row as usize];
                missing += usize::from(x.is_nan());
                least = least.min(x);
                most = most.max(x);
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
            let (mut low, mut low_sum) = (0usize, 0f64);
            for row in own.iter() {
                let x = column[*row as usize];
                if if x.is_nan() { missing_low } else { x <= threshold } {
                    low += 1;
                    low_sum += f64::from(values[*row as usize]);
                }
            }
            let high = own.len() - low;
            if low < growth.leaf || high < growth.leaf {
                continue;
            }
            let high_sum = sum - low_sum;
            let gain = low_sum * low_sum / low as f64 + high_sum * high_sum / high as f64;
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
        tree[at] = Branch { column: split as u32, value: threshold, children: children as u32, missing_low };
        open.push((children, from, from + middle));
        open.push((children + 1, from + middle, to));
    }
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
        let (forest, unseen) = Forest::grow(&columns, &wanted, &clusters, &Growth::default());
        let known = |row: &usize| !row.is_multiple_of(10);
        let error = |said: &dyn Fn(usize) -> f32| {
            let rows: Vec<usize> = (0..1500).filter(known).collect();
            rows.iter().map(|&row| (said(row) - wanted[row]).abs()).sum::<f32>() / rows.len() as f32
        };
        let numbers = |row: usize| (0..4).map(|column| columns.column(column)[row]).collect::<Vec<f32>>();
        let (seen, near) = (error(&|row| forest.predict(&numbers(row)).0), error(&|row| unseen.near[row]));
        let mean = wanted.iter().sum::<f32>() / 1500.0;
        let nothing = error(&|_| mean);
        assert!(near < 0.25 * nothing, "{near} of {nothing}");
        assert!(seen < near, "samples that trees have seen are said better: {seen}, {near}");
        assert!(unseen.far.iter().all(|said| said.is_finite()) && forest.predict(&[f32::NAN; 4]).0.is_finite());
    }

    #[test]
    fn the_same_seed_grows_the_same_trees() {
        let (columns, wanted, clusters) = samples(200);
        let growth = Growth { trees: 20, ..Growth::default() };
        let say = || Forest::grow(&columns, &wanted, &clusters, &growth).0.predict(&[0.3, 0.4, 0.5, 0.6]);
        assert_eq!(say(), say());
    }
}
