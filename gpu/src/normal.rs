//! The normal distribution, in f64.
//!
//! Tails are computed without cancellation: far from the mean, results keep their relative accuracy until they underflow.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// From here on the upper tail is taken from a continued fraction, below from `erfc`.
const FRACTION_FROM: f64 = 3.0;

/// The density of the standard normal distribution at `x`.
pub fn pdf(x: f64) -> f64 {
    libm::exp(-0.5 * x * x) / libm::sqrt(2.0 * PI)
}

/// P(Z <= x) of the standard normal distribution, with relative accuracy in the lower tail.
pub fn cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// P(lo <= X <= hi) for X ~ Normal(`mean`, `sd`); either side may be infinite, `sd` may be zero, all in one unit.
///
/// Returns 0 where `lo > hi`.
pub fn interval_probability(mean: f64, sd: f64, lo: f64, hi: f64) -> f64 {
    if lo > hi {
        return 0.0;
    }
    if sd <= 0.0 {
        return if lo <= mean && mean <= hi { 1.0 } else { 0.0 };
    }
    let (a, b) = ((lo - mean) / sd, (hi - mean) / sd);
    // both limits on one side of the mean: subtract the small tails, not two numbers near one
    let p = if a > 0.0 { cdf(-a) - cdf(-b) } else { cdf(b) - cdf(a) };
    p.clamp(0.0, 1.0)
}

/// E[max(Y, 0)²] for Y ~ Normal(`m`, `sd`), in the square of their unit; `sd` may be zero, `m` may be -∞ (then it is 0).
///
/// The closed form is (m² + sd²) Φ(m/sd) + m sd φ(m/sd). For m <= 0 its terms cancel, so with z = |m|/sd and
/// G(z) = E[max(Z - z, 0)²] of a standard normal Z this computes sd² G(z) for m <= 0, and m² + sd² (1 - G(z)) for m > 0.
/// G is twice the second repeated integral of the tail: a continued fraction of positive terms (Abramowitz and Stegun
/// 7.2.5 and 26.2.14). Relative error below 1e-12 wherever the result is a normal number. Never negative, never NaN
/// for arguments that are not.
pub fn expected_squared_excess(m: f64, sd: f64) -> f64 {
    if m == f64::NEG_INFINITY {
        return 0.0;
    }
    if sd <= 0.0 {
        let excess = m.max(0.0);
        return excess * excess;
    }
    let g = squared_excess_of_standard(m.abs() / sd);
    // grouped so that an overflowing square never meets a zero
    if m > 0.0 { m * m + sd * sd * (1.0 - g) } else { sd * (sd * g) }
}

/// G(z) = E[max(Z - z, 0)²] of a standard normal Z, for z >= 0.
fn squared_excess_of_standard(z: f64) -> f64 {
    if z < FRACTION_FROM {
        return (1.0 + z * z) * cdf(-z) - z * pdf(z);
    }
    // I(-1) = φ, I(0) = Q, I(n) = (I(n-2) - z I(n-1)) / n, G = 2 I(2); with r(n) = I(n)/I(n-1) that is
    // r(n-1) = 1/(z + n r(n)), stable downwards. 44 terms reach 1e-15 at z = 3, 16 are enough from z = 8.
    let terms = if z < 8.0 { 44 } else { 16 };
    let mut r = 2.0 / (z + libm::sqrt(z * z + 4.0 * f64::from(terms + 1)));
    let mut product = 1.0;
    for n in (1..=terms).rev() {
        r = 1.0 / (z + f64::from(n) * r);
        if n <= 3 {
            product *= r;
        }
    }
    2.0 * pdf(z) * product
}

// The digits of the constants below are those of the high-precision computation, more than an f64 holds.
#[cfg(test)]
#[allow(clippy::excessive_precision)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, truth: f64, relative: f64) {
        assert!((found - truth).abs() <= relative * truth.abs(), "{found:e} is not {truth:e}");
    }

    // The constants of these tests were computed with mpmath at 50 digits.
    #[test]
    fn expected_squared_excess_matches_high_precision() {
        for (m, sd, truth) in [
            (0.0, 1.0, 0.5),
            (1.0, 1.0, 1.924660216656229247),
            (-1.0, 1.0, 0.075339783343770753032),
            (-2.5, 1.0, 0.0011993223779556365552),
            (-2.499, 1.0, 0.0012033368678256388248),
            (-5.0, 1.0, 1.9343295187553163976e-8),
            (-8.0, 1.0, 1.8075064471458499252e-17),
            (-9.0, 1.0, 2.6287143194699956594e-21),
            (3.0, 1.0, 9.9997965649195130763),
            (12.0, 1.0, 145.0),
            (-12.0, 2.0, 1.9378306982047313582e-10),
            (-0.001, 0.5, 0.12460155745363710025),
            (1e6, 1e-3, 1000000000000.000001),
            (-30.0, 3.0, 1.3076349261407822646e-24),
            (-37.0, 1.0, 8.3342176294277234055e-303),
            (250.0, 100.0, 72488.006776220443634),
            (-1e-9, 1e-9, 7.5339783343770753032e-20),
        ] {
            near(expected_squared_excess(m, sd), truth, 1e-12);
        }
    }

    #[test]
    fn the_two_forms_of_the_tail_meet() {
        let below = squared_excess_of_standard(FRACTION_FROM - 1e-13);
        near(below, squared_excess_of_standard(FRACTION_FROM), 2e-12);
        near(squared_excess_of_standard(8.0 - 1e-14), squared_excess_of_standard(8.0), 1e-12);
    }

    #[test]
    fn without_deviation_it_is_the_squared_distance() {
        for (m, truth) in [(3.0, 9.0), (0.0, 0.0), (-3.0, 0.0), (1e18, 1e36), (f64::NEG_INFINITY, 0.0)] {
            assert_eq!(expected_squared_excess(m, 0.0), truth);
        }
    }

    #[test]
    fn extremes_are_numbers_and_not_negative() {
        let extremes = [0.0, 1e-300, 1e-30, 1e-9, 1.0, 1e18, 1e100, 1e200, f64::MAX];
        for m in extremes.iter().flat_map(|&m| [m, -m]).chain([f64::INFINITY, f64::NEG_INFINITY]) {
            for sd in extremes {
                let found = expected_squared_excess(m, sd);
                assert!(found >= 0.0, "m {m:e} sd {sd:e} gives {found}");
            }
        }
    }

    #[test]
    fn cdf_and_pdf_match_high_precision() {
        for (x, cdf_truth, pdf_truth) in [
            (0.0, 0.5, 0.39894228040143267794),
            (1.0, 0.84134474606854294859, 0.2419707245191433498),
            (-1.0, 0.15865525393145705141, 0.2419707245191433498),
            (2.0, 0.9772498680518207928, 0.053990966513188051951),
            (-5.0, 2.8665157187919391167e-7, 1.4867195147342977079e-6),
            (-10.0, 7.619853024160526066e-24, 7.6945986267064193463e-23),
            (-30.0, 4.9067139271481870595e-198, 1.473646134878547519e-196),
            (0.5, 0.69146246127401310364, 0.35206532676429947777),
        ] {
            near(cdf(x), cdf_truth, 1e-13);
            near(pdf(x), pdf_truth, 1e-13);
        }
    }

    #[test]
    fn interval_probability_matches_high_precision() {
        for (mean, sd, lo, hi, truth) in [
            (0.0, 1.0, -1.0, 1.0, 0.68268949213708589717),
            (0.0, 1.0, 5.0, 6.0, 2.8566498423415621353e-7),
            (10.0, 2.0, f64::NEG_INFINITY, 0.0, 2.8665157187919391167e-7),
            (1.5, 0.25, 1.0, f64::INFINITY, 0.9772498680518207928),
            (0.0, 1.0, -9.0, -8.0, 6.2198319858658302829e-16),
            (0.0, 1.0, 8.0, 9.0, 6.2198319858658302829e-16),
            (0.0, 1.0, f64::NEG_INFINITY, f64::INFINITY, 1.0),
        ] {
            near(interval_probability(mean, sd, lo, hi), truth, 1e-12);
        }
        assert_eq!(interval_probability(2.0, 0.0, 2.0, 3.0), 1.0);
        assert_eq!(interval_probability(1.9, 0.0, 2.0, 3.0), 0.0);
        assert_eq!(interval_probability(0.0, 1.0, 2.0, 1.0), 0.0);
    }
}
