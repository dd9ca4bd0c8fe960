//! Exact answers from f32 devices: ask for a few more rows than wanted, score them again in f64, and ask for more until no
//! row that was left out can belong to the best.

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
        let found: Vec<u32> = hits.iter().map(|hit| hit.row).collect();
        let ranked = rank(&found, &score);
        let all_there = hits.len() < wanted || wanted == rows;
        let certain = match (k.checked_sub(1).and_then(|at| ranked.get(at)), hits.last()) {
            (Some(kth), Some(last)) => certain(kth.0, last.score),
            _ => k == 0,
        };
        if all_there || certain {
            break ranked;
        }
        wanted = wanted.saturating_mul(8).min(rows);
    };
    ranked.truncate(k);
    Ok(ranked)
}

fn rank(rows: &[u32], score: &(impl Fn(u32) -> Option<f64> + Sync)) -> Vec<(f64, u32)> {
    let scored = rows.par_iter().with_min_len(512).filter_map(|&row| Some((score(row)?, row)));
    let mut ranked: Vec<(f64, u32)> = scored.collect();
    ranked.par_sort_unstable_by(reference::order);
    ranked
}
