//! Exact answers from f32 devices: ask for a few more rows than wanted, score again in f64 those that may belong to the best,
//! and ask for more until no row that was left out can.

use rayon::prelude::*;

use crate::{Hit, Mask, reference};

/// Rows asked for beyond which scoring every row in f64 is faster than asking again.
const ALL_FROM: usize = 16_384;

/// The k best of `rows` rows by f64 score, ordered by (score, row number).
///
/// `score` is the f64 score of a row, `None` where the row does not count. `ask` answers with the best rows by f32 score, as
/// many as it is asked for. `certain` says, of the f64 score of the last wanted row and the f32 score of the last row that
/// was answered, whether no other row can belong to the best. Asks again, for eight times as many rows, while it cannot say
/// so, and at last scores all rows that `mask` allows.
pub(crate) fn exact<E>(
    k: usize,
    rows: usize,
    mask: Option<&Mask>,
    score: impl Fn(u32) -> Option<f64> + Sync,
    certain: impl Fn(f64, f32) -> bool,
    mut ask: impl FnMut(usize) -> Result<Vec<Hit>, E>,
) -> Result<Vec<(f64, u32)>, E> {
    let k = k.min(rows);
    let mut wanted = (2 * k + 128).min(rows);
    let mut ranked = loop {
        if wanted > ALL_FROM.max(4 * k) {
            let allowed: Vec<u32> = match mask {
                Some(mask) => mask.iter_ones().map(|row| row as u32).collect(),
                None => (0..rows as u32).collect(),
            };
            break rank(&allowed, &score);
        }
        let hits = ask(wanted)?;
        let (ranked, certain) = decide(&hits, k, &score, &certain);
        let all_there = hits.len() < wanted || wanted == rows;
        if all_there || certain {
            break ranked;
        }
        wanted = wanted.saturating_mul(8).min(rows);
    };
    ranked.truncate(k);
    Ok(ranked)
}

/// The hits that may be among the k best, ranked, and whether no other row can be. Hits come in the order of their f32 scores, so
/// those after the first that is certainly worse than k others need no f64 score.
fn decide(
    hits: &[Hit],
    k: usize,
    score: &(impl Fn(u32) -> Option<f64> + Sync),
    certain: &impl Fn(f64, f32) -> bool,
) -> (Vec<(f64, u32)>, bool) {
    let rows = |hits: &[Hit]| hits.iter().map(|hit| hit.row).collect::<Vec<u32>>();
    let (first, rest) = hits.split_at(k.min(hits.len()));
    let mut ranked = rank(&rows(first), score);
    let doubtful = match ranked.last() {
        Some(kth) if ranked.len() == k => rest.partition_point(|hit| !certain(kth.0, hit.score)),
        _ => rest.len(),
    };
    ranked.append(&mut rank(&rows(&rest[..doubtful]), score));
    ranked.par_sort_unstable_by(reference::order);
    let sure = match (k.checked_sub(1).and_then(|at| ranked.get(at)), hits.last()) {
        (Some(kth), Some(last)) => doubtful < rest.len() || certain(kth.0, last.score),
        _ => k == 0,
    };
    (ranked, sure)
}

fn rank(rows: &[u32], score: &(impl Fn(u32) -> Option<f64> + Sync)) -> Vec<(f64, u32)> {
    let scored = rows.par_iter().with_min_len(512).filter_map(|&row| Some((score(row)?, row)));
    let mut ranked: Vec<(f64, u32)> = scored.collect();
    ranked.par_sort_unstable_by(reference::order);
    ranked
}
