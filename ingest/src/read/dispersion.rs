//! What is the refractive index at this wavelength? The dispersion formulas of refractiveindex.info.
//!
//! Numbers and coefficients as in M. N. Polyanskiy, "Dispersion formulas", refractiveindex.info (and Sci. Data 11, 94
//! (2024), doi:10.1038/s41597-023-02898-2); wavelengths in µm.

/// The index by formula `number`, 1 to 9, with the coefficients as the page lists them. Coefficients that are left out
/// are zero. `None` where the formula gives no real number.
pub fn index(number: u8, coefficients: &[f64], wavelength_um: f64) -> Option<f64> {
    let c = |i: usize| coefficients.get(i - 1).copied().unwrap_or_default();
    let l = wavelength_um;
    let l2 = l * l;
    // pairs of coefficients from the n-th on
    let pairs = |from: usize| {
        let rest = coefficients.get(from - 1..).unwrap_or_default();
        rest.chunks(2).map(|pair| (pair[0], pair.get(1).copied().unwrap_or_default())).collect::<Vec<(f64, f64)>>()
    };
    let n = match number {
        // Sellmeier
        1 => (1.0 + c(1) + pairs(2).iter().map(|(a, b)| a * l2 / (l2 - b * b)).sum::<f64>()).sqrt(),
        // Sellmeier-2
        2 => (1.0 + c(1) + pairs(2).iter().map(|(a, b)| a * l2 / (l2 - b)).sum::<f64>()).sqrt(),
        // polynomial
        3 => (c(1) + pairs(2).iter().map(|(a, b)| a * l.powf(*b)).sum::<f64>()).sqrt(),
        // RefractiveIndex.INFO
        4 => {
            let resonance = |i: usize| match c(i) {
                0.0 => 0.0,
                strength => strength * l.powf(c(i + 1)) / (l2 - c(i + 2).powf(c(i + 3))),
            };
            (c(1) + resonance(2) + resonance(6) + pairs(10).iter().map(|(a, b)| a * l.powf(*b)).sum::<f64>()).sqrt()
        }
        // Cauchy
        5 => c(1) + pairs(2).iter().map(|(a, b)| a * l.powf(*b)).sum::<f64>(),
        // gases
        6 => 1.0 + c(1) + pairs(2).iter().map(|(a, b)| a / (b - 1.0 / l2)).sum::<f64>(),
        // Herzberger
        7 => {
            let near = 1.0 / (l2 - 0.028);
            c(1) + c(2) * near + c(3) * near * near + c(4) * l2 + c(5) * l2 * l2 + c(6) * l2 * l2 * l2
        }
        // retro
        8 => {
            let ratio = c(1) + c(2) * l2 / (l2 - c(3)) + c(4) * l2;
            ((1.0 + 2.0 * ratio) / (1.0 - ratio)).sqrt()
        }
        // exotic
        9 => {
            let away = l - c(5);
            (c(1) + c(2) / (l2 - c(3)) + c(4) * away / (away * away + c(6))).sqrt()
        }
        _ => return None,
    };
    n.is_finite().then_some(n)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::index;

    #[track_caller]
    fn close(got: Option<f64>, want: f64) {
        assert!((got.unwrap() - want).abs() < 2e-4, "{got:?} and {want}");
    }

    #[test]
    fn known_indices_come_out() {
        // Malitson 1965: fused silica, n_d 1.45846, 1.4440 at 1.55 µm
        let silica = [0.0, 0.696_166_3, 0.068_404_3, 0.407_942_6, 0.116_241_4, 0.897_479_4, 9.896_161];
        close(index(1, &silica, 0.5876), 1.45846);
        close(index(1, &silica, 1.55), 1.44402);
        // the same with squared resonances
        let squared: Vec<f64> =
            silica.iter().enumerate().map(|(i, c)| if i > 0 && i % 2 == 0 { c * c } else { *c }).collect();
        close(index(2, &squared, 0.5876), 1.45846);
        // Schott BK7, n_d 1.5168
        let bk7 = [0.0, 1.039_612_12, 0.006_000_698_67, 0.231_792_344, 0.020_017_914_4, 1.010_469_45, 103.560_653];
        close(index(2, &bk7, 0.5876), 1.5168);
        // Malitson and Dodge 1972: sapphire, ordinary ray, 1.7682 at 0.5876 µm
        let sapphire = [0.0, 1.431_349_3, 0.072_663_1, 0.650_547_13, 0.119_324_2, 5.341_402_1, 18.028_251];
        close(index(1, &sapphire, 0.5876), 1.7682);
        // the coefficients of Edwards and Ochoa 1980 for silicon, worked out by hand at 8 µm
        close(index(7, &[3.41983, 0.159906, -0.123109, 1.26878e-6, -1.95104e-9], 8.0), 3.4224);
        // those of Schröter 1931 for silver bromide, by hand: (n² − 1)/(n² + 2) = 0.577209
        close(index(8, &[0.452505, 0.09939, 0.070537, -0.000150], 0.589), 2.25737);
        // Ciddor 1996: air, 1.000277 at 0.589 µm
        let air = index(6, &[0.0, 0.057_921_05, 238.0185, 0.001_679_17, 57.362], 0.589).unwrap();
        assert!((air - 1.000_276_9).abs() < 1e-6, "{air}");
        // by hand: 1 + 1.43241 · 0.346921/(0.346921 − 0.015252) = 2.498283
        close(index(4, &[1.0, 1.432_41, 2.0, 0.123_5, 2.0], 0.589), 1.5806);
        // by hand: 2 + 0.01/λ² and its root, 1/(1 − 0.5), and one exotic term
        close(index(5, &[2.0, 0.01, -2.0], 0.5), 2.04);
        close(index(3, &[4.0, 0.01, -2.0], 0.5), 4.04_f64.sqrt());
        close(index(9, &[2.0, 0.5, 0.25, 1.0, 0.5, 0.25], 1.0), (2.0 + 0.5 / 0.75 + 0.5 / 0.5_f64).sqrt());
    }

    #[test]
    fn what_is_not_real_is_nothing() {
        assert_eq!(index(1, &[-5.0], 1.0), None);
        assert_eq!(index(1, &[0.0, 1.0, 1.0], 1.0), None);
        assert_eq!(index(10, &[1.0], 1.0), None);
        assert_eq!(index(5, &[], 1.0), Some(0.0));
    }
}
