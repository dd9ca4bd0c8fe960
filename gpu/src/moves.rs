//! Where are the rows of one column in another?

/// Rows that stay together: those of a column from `from` on are those of a newer one from `to` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first of them in the older column.
    pub from: usize,
    /// The first of them in the newer column.
    pub to: usize,
    /// How many there are.
    pub rows: usize,
}

/// Where the rows of a column are in a newer one: runs in the order of both. A row of no run is gone, or new.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moves(Vec<Run>);

impl Moves {
    /// With more runs than this, rows have moved too much to be followed: what comes of them is not worth its memory.
    pub const MOST: usize = 4096;

    /// Adds a run. One that does not come after those before it, in both columns, is left out.
    pub fn push(&mut self, run: Run) {
        let Run { from, to, rows } = run;
        if rows == 0 || from.checked_add(rows).is_none() || to.checked_add(rows).is_none() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if from < last.from + last.rows || to < last.to + last.rows => {}
            Some(last) if from == last.from + last.rows && to == last.to + last.rows => last.rows += rows,
            _ => self.0.push(run),
        }
    }

    /// The runs, in order; none next to another that it could be one with.
    pub fn runs(&self) -> &[Run] {
        &self.0
    }

    /// True where no row is in the newer column.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are more than [`Moves::MOST`] runs.
    pub fn are_too_many(&self) -> bool {
        self.0.len() > Moves::MOST
    }

    /// Where the rows are after these moves and then others.
    pub fn then(&self, next: &Moves) -> Moves {
        let mut both = Moves::default();
        let mut others = next.0.iter().peekable();
        for run in &self.0 {
            let end = run.to + run.rows;
            while let Some(&&other) = others.peek() {
                let start = run.to.max(other.from);
                let stop = end.min(other.from + other.rows);
                if start < stop {
                    let (from, to) = (run.from + (start - run.to), other.to + (start - other.from));
                    both.push(Run { from, to, rows: stop - start });
                }
                if other.from + other.rows > end {
                    break;
                }
                others.next();
            }
        }
        both
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moves(runs: &[(usize, usize, usize)]) -> Moves {
        let mut moves = Moves::default();
        runs.iter().for_each(|&(from, to, rows)| moves.push(Run { from, to, rows }));
        moves
    }

    #[test]
    fn runs_are_in_order_and_as_few_as_can_be() {
        assert_eq!(moves(&[(0, 5, 2), (2, 7, 3), (9, 10, 1)]), moves(&[(0, 5, 5), (9, 10, 1)]));
        // none, back in one column, back in the other, beyond all numbers
        let odd = [(3, 4, 0), (4, 20, 1), (9, 8, 1), (usize::MAX, 30, 1), (30, usize::MAX, 1)];
        assert_eq!(moves(&[&[(0, 0, 6), (8, 8, 1)], &odd[..]].concat()), moves(&[(0, 0, 6), (8, 8, 1)]));
        assert!(moves(&odd[..1]).is_empty() && !moves(&odd[..2]).is_empty());
    }

    /// From which rows of an old column those of a new one come: some are left out, some new ones are put in between.
    fn some() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
        prop::collection::vec((0usize..4, 0usize..4, 1usize..9), 0..12).prop_map(|steps| {
            let (mut from, mut to) = (0, 0);
            let run = |(gone, new, rows)| {
                let run = (from + gone, to + new, rows);
                (from, to) = (run.0 + rows, run.1 + rows);
                run
            };
            steps.into_iter().map(run).collect()
        })
    }

    fn place(moves: &Moves, row: usize) -> Option<usize> {
        let run = moves.runs().iter().find(|run| (run.from..run.from + run.rows).contains(&row))?;
        Some(run.to + (row - run.from))
    }

    proptest! {
        #[test]
        fn one_after_the_other_is_both(first in some(), second in some()) {
            let (first, second) = (moves(&first), moves(&second));
            let both = first.then(&second);
            for row in 0..200 {
                prop_assert_eq!(place(&both, row), place(&first, row).and_then(|row| place(&second, row)));
            }
            prop_assert_eq!(&moves(&both.runs().iter().map(|r| (r.from, r.to, r.rows)).collect::<Vec<_>>()), &both);
        }
    }
}
