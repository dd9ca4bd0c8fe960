//! Golden queries that a device must answer before it is used: wrong drivers answer quickly and without an error.

use std::sync::Arc;

use crate::exact::exact;
use crate::nearest::{Goal, Job};
use crate::{
    Column, HistogramQuery, Hit, Mask, Masks, Metric, Missing, Neighbour, SpecQuery, Target, Vectors, dense_cpu,
    reference,
};

const ROWS: usize = 20_011;

/// Asks a device queries whose answers are known from the f64 reference; says which one was wrong.
pub(crate) fn run<E: std::fmt::Display>(mut spec: impl FnMut(&SpecQuery) -> Result<Vec<Hit>, E>) -> Result<(), String> {
    let mask = Mask::from_fn(ROWS, |row| noise(row, 0) < 0.5);
    let ties = targets(1, |row, _| ((noise(row, 1) * 4.0).floor(), 0.0))?;
    let few = targets(3, belief)?;
    let many = targets(6, belief)?;
    for (name, targets, mask, k) in
        [("ties", &ties, None, 500), ("few targets", &few, Some(&mask), 37), ("many targets", &many, Some(&mask), 3000)]
    {
        let query = SpecQuery { targets, mask, k };
        let counted = reference::rank(&SpecQuery { k: ROWS, ..query }).len();
        let mut wrong = None;
        let score = |row: u32| reference::score(targets, row as usize);
        let certain = |kth, last| reference::certain(kth, last, reference::F32_RELATIVE_ERROR);
        let found = exact(k, ROWS, mask, score, certain, |wanted| {
            let query = SpecQuery { k: wanted, ..query };
            let hits = spec(&query).map_err(|e| e.to_string())?;
            wrong = wrong.take().or_else(|| wrong_hit(&query, counted, &hits));
            Ok::<_, String>(hits)
        })
        .map_err(|why| format!("{name}: {why}"))?;
        if let Some(why) = wrong {
            return Err(format!("{name}: {why}"));
        }
        if found != reference::rank(&query) {
            return Err(format!("{name}: the {k} best rows are not those of the reference"));
        }
    }
    Ok(())
}

/// Asks a device for candidates by columns in half precision; says which score is not that of what it should have read.
pub(crate) fn run_half<E: std::fmt::Display>(
    mut ask: impl FnMut(&SpecQuery) -> Result<Vec<Hit>, E>,
) -> Result<(), String> {
    let mask = Mask::from_fn(ROWS, |row| noise(row, 0) < 0.5);
    for (count, mask, k) in [(1, None, 500), (3, Some(&mask), 37), (6, Some(&mask), 9000)] {
        // none of its numbers is an f16
        let targets = targets(count, |row, at| {
            let (mean, sd) = belief(row, at);
            (1e3 + mean, sd)
        })?;
        let targets: Vec<Target> =
            targets.into_iter().map(|target| Target { lo: 1e3 + target.lo, hi: 1e3 + target.hi, ..target }).collect();
        let read = read(&targets)?;
        let hits = ask(&SpecQuery { targets: &targets, mask, k }).map_err(|e| format!("half precision: {e}"))?;
        let query = SpecQuery { targets: &read, mask, k };
        let counted = reference::rank(&SpecQuery { k: ROWS, ..query }).len();
        if let Some(why) = wrong_hit(&query, counted, &hits) {
            return Err(format!("half precision: {why}"));
        }
    }
    Ok(())
}

/// The targets on what a device reads of their columns in half precision.
fn read(targets: &[Target]) -> Result<Vec<Target>, String> {
    let read = targets.iter().map(|target| {
        let (column, half) = (&target.column, target.column.half());
        let beliefs = column.mean().iter().zip(column.sd()).map(|(&mean, &sd)| half.belief(half.word(mean, sd)));
        let (mean, sd) = beliefs.unzip();
        Ok(Target { column: Column::new(mean, sd).map_err(|e| e.to_string())?, ..target.clone() })
    });
    read.collect()
}

/// Asks a device for neighbours that are known from the f64 reference, by bytes first or not; says which are wrong.
pub(crate) fn run_dense<E: std::fmt::Display>(
    mut ask: impl FnMut(&Job, bool) -> Result<Vec<Vec<Neighbour>>, E>,
) -> Result<(), String> {
    const DIMS: usize = 77;
    const VECTORS: usize = 2_011;
    let values = (0..VECTORS * DIMS).map(|at| noise(at, 40) - 0.5).collect();
    let vectors = Vectors::new(values, DIMS).map_err(|e| e.to_string())?;
    let mask = Mask::from_fn(VECTORS, |row| noise(row, 41) < 0.5);
    let queries: Vec<f32> = (0..11 * DIMS).map(|at| noise(at, 42) - 0.5).collect();
    for (metric, count) in Metric::ALL.into_iter().flat_map(|metric| [(metric, 1), (metric, 11)]) {
        let queries = &queries[..count * DIMS];
        for (masks, k, bytes) in [(Masks::All, 7, false), (Masks::Shared(&mask), 300, false), (Masks::All, 5, true)] {
            let goal = Goal::Nearest(k);
            let job = Job { vectors: &vectors, queries, metric, masks, leave_out: None, goal };
            let found = ask(&job, bytes).map_err(|e| format!("{metric:?}: {e}"))?;
            let wrong = (0..count).find(|&at| found.get(at) != Some(&dense_cpu::in_f64(&job, at, 0..VECTORS)));
            if let Some(at) = wrong {
                return Err(format!("{metric:?}: the {k} neighbours of vector {at} are not those of the reference"));
            }
        }
    }
    Ok(())
}

/// Asks a device for a histogram that the CPU can make; says whether it is wrong.
pub(crate) fn run_histogram<E: std::fmt::Display>(
    ask: impl FnOnce(&HistogramQuery) -> Result<Vec<u32>, E>,
) -> Result<(), String> {
    let (mean, sd) = (0..ROWS).map(|row| belief(row, 9)).unzip();
    let column = Column::new(mean, sd).map_err(|e| e.to_string())?;
    let mask = Mask::from_fn(ROWS, |row| noise(row, 43) < 0.5);
    let query = HistogramQuery { column: &column, mask: Some(&mask), edges: &[0.5, 1.0, 1.75, 3.0] };
    match ask(&query).map_err(|e| format!("histogram: {e}"))? == crate::histogram::on_cpu(&query) {
        true => Ok(()),
        false => Err("histogram: the counts are not those of the CPU".to_owned()),
    }
}

/// A hit that is missing of the `counted` rows, that is out of order, or whose score is not the f64 one within the bound.
fn wrong_hit(query: &SpecQuery, counted: usize, hits: &[Hit]) -> Option<String> {
    if hits.len() != query.k.min(counted) {
        return Some(format!("there are {} rows instead of {}", hits.len(), query.k.min(counted)));
    }
    let ordered = hits.windows(2).all(|pair| (pair[0].score, pair[0].row) < (pair[1].score, pair[1].row));
    if !ordered {
        return Some("the rows are not in order".to_owned());
    }
    hits.iter().find_map(|hit| {
        let truth = reference::score(query.targets, hit.row as usize)?;
        let near = (f64::from(hit.score) - truth).abs() <= reference::F32_RELATIVE_ERROR * truth + 4e-20;
        (!near).then(|| format!("row {} scores {:e} instead of {truth:e}", hit.row, hit.score))
    })
}

fn targets(count: usize, belief: impl Fn(usize, usize) -> (f32, f32)) -> Result<Vec<Target>, String> {
    (0..count)
        .map(|at| {
            let (mean, sd) = (0..ROWS).map(|row| belief(row, at)).unzip();
            let column = Column::new(mean, sd).map_err(|e| e.to_string())?;
            let (lo, hi) = [(1.0, f32::INFINITY), (f32::NEG_INFINITY, 1.5), (0.5, 2.5)][at % 3];
            let missing = if at % 2 == 0 { Missing::Fill { mean: 2.0, sd: 0.7 } } else { Missing::Ignore };
            Ok(Target { column: Arc::clone(&column), lo, hi, inv_tolerance: 1.25, weight: 1.0 + at as f32, missing })
        })
        .collect()
}

fn belief(row: usize, at: usize) -> (f32, f32) {
    let (mean, sd) = (noise(row, 3 * at + 2), noise(row, 3 * at + 3));
    (4.0 * mean, if noise(row, 3 * at + 4) < 0.1 { -1.0 } else { sd * sd })
}

/// A number in [0, 1) from a row and a stream: splitmix64.
fn noise(row: usize, stream: usize) -> f32 {
    let mut x = (row as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add((stream as u64) << 32);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 40) as f32 / (1u64 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(query: &SpecQuery) -> Result<Vec<Hit>, String> {
        Ok(crate::cpu::spec(query, ROWS))
    }

    #[test]
    fn the_cpu_twin_passes() {
        assert_eq!(run(cpu), Ok(()));
    }

    #[test]
    fn wrong_neighbours_and_counts_are_found() {
        let right = |job: &Job, _| Ok::<_, String>(dense_cpu::answer(job));
        assert_eq!(run_dense(right), Ok(()));
        let wrong = |job: &Job, bytes| {
            right(job, bytes).map(|mut found| {
                let last = found.len() - 1;
                found[last].swap(3, 4);
                found
            })
        };
        assert_eq!(run_dense(wrong), Err("L2: the 7 neighbours of vector 0 are not those of the reference".to_owned()));
        assert_eq!(run_dense(|_, _| Err("broken")), Err("L2: broken".to_owned()));
        let counted = |query: &HistogramQuery| Ok::<_, String>(crate::histogram::on_cpu(query));
        assert_eq!(run_histogram(counted), Ok(()));
        let moved = |query: &HistogramQuery| {
            counted(query).map(|mut counts| {
                counts[1] += 1;
                counts[2] -= 1;
                counts
            })
        };
        assert!(run_histogram(moved).is_err());
    }

    #[test]
    fn what_is_read_otherwise_in_half_precision_is_found() {
        let right = |query: &SpecQuery| cpu(&SpecQuery { targets: &read(query.targets)?, ..*query });
        assert_eq!(run_half(right), Ok(()));
        // the columns as they are, one row for another, an offset that is left out
        assert!(run_half(cpu).is_err_and(|why| why.starts_with("half precision: ")));
        let moved = |query: &SpecQuery| {
            right(query).map(|mut hits| {
                hits.iter_mut().for_each(|hit| hit.row ^= 1);
                hits
            })
        };
        assert!(run_half(moved).is_err());
        let shifted = |query: &SpecQuery| {
            let mut targets = read(query.targets)?;
            targets.iter_mut().for_each(|target| (target.lo, target.hi) = (target.lo + 1002.0, target.hi + 1002.0));
            cpu(&SpecQuery { targets: &targets, ..*query })
        };
        assert!(run_half(shifted).is_err());
    }

    #[test]
    fn wrong_devices_are_found() {
        type Fault = fn(&mut Vec<Hit>);
        let faults: [Fault; 4] = [
            |hits| hits.swap(0, 1),
            |hits| hits[3].score *= 1.01,
            |hits| {
                hits.remove(2);
            },
            |hits| hits[0].row ^= 1,
        ];
        for fault in faults {
            let faulty = |query: &SpecQuery| {
                cpu(query).map(|mut hits| {
                    fault(&mut hits);
                    hits
                })
            };
            assert!(run(faulty).is_err());
        }
        assert_eq!(run(|_| Err("broken")), Err("ties: broken".to_owned()));
    }
}
