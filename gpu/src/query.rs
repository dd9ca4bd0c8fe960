//! What is asked, in numbers.

use std::sync::Arc;

use crate::{Column, GpuError, Mask};

/// The largest number of targets of one query.
pub const MAX_TARGETS: usize = 64;

/// Tolerances lie between this number and its inverse.
const SMALLEST_TOLERANCE: f32 = 1e-18;

/// The largest ratio of two weights of one query.
const WEIGHT_RATIO: f32 = 1e12;

/// What a row counts as, for a target of whose property it has no value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Missing {
    /// As a row with this belief, in the column's unit.
    Fill {
        /// The mean.
        mean: f32,
        /// The standard deviation, at least 0.
        sd: f32,
    },
    /// As a row that this target does not speak of: its weight is 0 there.
    Ignore,
}

/// One wish: a window on one column.
#[derive(Debug, Clone)]
pub struct Target {
    /// The column that the window is on.
    pub column: Arc<Column>,
    /// The lower end, in the column's unit; -∞ leaves it open.
    pub lo: f32,
    /// The upper end, in the column's unit; +∞ leaves it open.
    pub hi: f32,
    /// One over the tolerance, in one over the column's unit; within 1e-18 and 1e18.
    pub inv_tolerance: f32,
    /// How much it counts, above 0; the weights of a query lie within a factor of 1e12.
    pub weight: f32,
    /// What rows without a value count as.
    pub missing: Missing,
}

/// A query: the `k` rows nearest to all windows.
#[derive(Debug, Clone, Copy)]
pub struct SpecQuery<'a> {
    /// 1 to [`MAX_TARGETS`] targets, their columns of one length.
    pub targets: &'a [Target],
    /// The rows that may be answered; all where there is none.
    pub mask: Option<&'a Mask>,
    /// How many rows are wanted; more than there are is allowed.
    pub k: usize,
}

impl SpecQuery<'_> {
    /// Checks the query, and returns its number of rows.
    ///
    /// # Errors
    /// [`GpuError::TargetCount`], [`GpuError::Target`] or [`GpuError::Length`], naming the first number that is not usable.
    pub fn check(&self) -> Result<usize, GpuError> {
        if self.targets.is_empty() || self.targets.len() > MAX_TARGETS {
            return Err(GpuError::TargetCount { found: self.targets.len() });
        }
        let rows = self.targets[0].column.len();
        let heaviest = self.targets.iter().map(|t| t.weight).filter(|weight| weight.is_finite()).fold(0.0, f32::max);
        for (at, target) in self.targets.iter().enumerate() {
            if target.column.len() != rows {
                return Err(GpuError::Length { what: "column", expected: rows, found: target.column.len() });
            }
            check_target(at, target, heaviest)?;
        }
        match self.mask {
            Some(mask) if mask.len() != rows => {
                Err(GpuError::Length { what: "mask", expected: rows, found: mask.len() })
            }
            _ => Ok(rows),
        }
    }
}

fn check_target(at: usize, target: &Target, heaviest: f32) -> Result<(), GpuError> {
    let refuse = |what, value, why| Err(GpuError::Target { target: at, what, value, why });
    let Target { lo, hi, inv_tolerance, weight, .. } = *target;
    if lo.is_nan() || lo == f32::INFINITY {
        return refuse("lower end", lo, "is not a number below infinity");
    }
    if hi.is_nan() || hi == f32::NEG_INFINITY {
        return refuse("upper end", hi, "is not a number above minus infinity");
    }
    if lo > hi {
        return refuse("lower end", lo, "is above the upper end");
    }
    if !(SMALLEST_TOLERANCE..=1.0 / SMALLEST_TOLERANCE).contains(&inv_tolerance) {
        return refuse("inverse tolerance", inv_tolerance, "is not within 1e-18 and 1e18");
    }
    if !(weight > 0.0 && weight.is_finite()) {
        return refuse("weight", weight, "is not a finite number above 0");
    }
    if weight < heaviest / WEIGHT_RATIO {
        return refuse("weight", weight, "is more than a factor of 1e12 below the largest");
    }
    if let Missing::Fill { mean, sd } = target.missing {
        if !(-Column::LIMIT..=Column::LIMIT).contains(&mean) {
            return refuse("fill mean", mean, "is not a finite number of magnitude at most 1e30");
        }
        if !(0.0..=Column::LIMIT).contains(&sd) {
            return refuse("fill sd", sd, "is not a number within 0 and 1e30");
        }
    }
    Ok(())
}

/// One answered row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Its score in f32, at least 0, smaller is better; see [`crate::reference`] for the exact one.
    pub score: f32,
    /// Its row number.
    pub row: u32,
}

/// The answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The k best rows, ordered by (score, row number); fewer where fewer rows count.
    pub hits: Vec<Hit>,
    /// The device that computed it.
    pub device: String,
    /// Why it was not the device that was opened, where it was not.
    pub note: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(rows: usize) -> Target {
        Target {
            column: Column::new(vec![1.0; rows], vec![0.1; rows]).unwrap(),
            lo: 0.0,
            hi: f32::INFINITY,
            inv_tolerance: 1.0,
            weight: 1.0,
            missing: Missing::Ignore,
        }
    }

    #[test]
    fn queries_are_checked() {
        let good = target(3);
        let check = |targets: &[Target]| SpecQuery { targets, mask: None, k: 1 }.check();
        assert_eq!(check(std::slice::from_ref(&good)), Ok(3));
        assert_eq!(check(&[]), Err(GpuError::TargetCount { found: 0 }));
        assert_eq!(check(&vec![good.clone(); 65]), Err(GpuError::TargetCount { found: 65 }));
        assert!(matches!(check(&[good.clone(), target(4)]), Err(GpuError::Length { what: "column", .. })));
        let mask = Mask::all(4);
        let masked = SpecQuery { targets: std::slice::from_ref(&good), mask: Some(&mask), k: 1 };
        assert!(matches!(masked.check(), Err(GpuError::Length { what: "mask", .. })));
        type Spoil = fn(&mut Target);
        let spoils: [(&str, Spoil); 13] = [
            ("lower end", |t| t.lo = f32::NAN),
            ("lower end", |t| t.lo = f32::INFINITY),
            ("upper end", |t| t.hi = f32::NEG_INFINITY),
            ("lower end", |t| (t.lo, t.hi) = (2.0, 1.0)),
            ("inverse tolerance", |t| t.inv_tolerance = 0.0),
            ("inverse tolerance", |t| t.inv_tolerance = f32::NAN),
            ("weight", |t| t.weight = 0.0),
            ("weight", |t| t.weight = f32::INFINITY),
            ("weight", |t| t.weight = f32::NAN),
            ("weight", |t| t.weight = 1e-13),
            ("fill mean", |t| t.missing = Missing::Fill { mean: f32::NAN, sd: 1.0 }),
            ("fill sd", |t| t.missing = Missing::Fill { mean: 0.0, sd: -1.0 }),
            ("fill sd", |t| t.missing = Missing::Fill { mean: 0.0, sd: f32::NAN }),
        ];
        for (name, spoil) in spoils {
            let mut bad = target(3);
            spoil(&mut bad);
            match check(&[good.clone(), bad]) {
                Err(GpuError::Target { target: 1, what, .. }) => assert_eq!(what, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
