//! Can these values of one record all be true?

use datasets::record::Measurement;

use super::Place;
use crate::report::{Code, Finding, Severity};
use crate::rows::is_bound;

/// The first is never above the second, for one material under one condition.
const ORDERED: [(&str, &str); 8] = [
    ("yield_strength", "tensile_strength"),
    ("plastic_elongation", "elongation"),
    ("solidus_temperature", "melting_temperature"),
    ("melting_temperature", "boiling_temperature"),
    ("solidus_temperature", "boiling_temperature"),
    ("glass_transition_temperature", "melting_temperature"),
    ("band_gap", "direct_band_gap"),
    ("electronic_dielectric_constant", "dielectric_constant"),
];

const MODULI: [&str; 4] = ["youngs_modulus", "shear_modulus", "bulk_modulus", "poissons_ratio"];

/// Two moduli that a third contradicts by more than this share are flagged; real materials are somewhat anisotropic.
const MODULI_TOLERANCE: f64 = 0.25;

/// Whether values of these properties can contradict each other at all; the check is left out where not.
pub fn may_contradict<'k>(keys: impl Iterator<Item = &'k str>) -> bool {
    let keys: Vec<&str> = keys.collect();
    let has = |key: &str| keys.contains(&key);
    ORDERED.iter().any(|(low, high)| has(low) && has(high))
        || MODULI.iter().filter(|key| has(key)).count() >= 3
        || (has("porosity") && has("relative_density"))
}

/// Flags values of one record that cannot all be true: a yield strength above the tensile strength, moduli and Poisson
/// ratio that do not belong together, a porosity beside a relative density that do not make 100 %.
pub fn combinations(place: Place<'_>, measurements: &[Measurement]) -> Vec<Finding> {
    // a bound leaves room for all on its side
    let sharp: Vec<&Measurement> = measurements.iter().filter(|m| !is_bound(m)).collect();
    let measurements = sharp.as_slice();
    let mut findings = Vec::new();
    let mut flag = |explanation: String| {
        let mend = "check the values, their units and their columns at the source; all of them are kept";
        let code = Code::ImpossibleCombination;
        findings.push(place.finding(Severity::Flagged, code, (None, None), explanation, mend));
    };
    for (low, high) in ORDERED {
        for a in measurements.iter().copied().filter(|m| &*m.property == low) {
            let above = |b: &&Measurement| &*b.property == high && comparable(a, b) && a.value > b.value + slack(a, b);
            if let Some(b) = measurements.iter().copied().find(above) {
                flag(format!("{low} of {} is above {high} of {}", a.value, b.value));
            }
        }
    }
    for porosity in measurements.iter().copied().filter(|m| &*m.property == "porosity") {
        let other = |m: &&Measurement| &*m.property == "relative_density" && comparable(porosity, m);
        if let Some(dense) = measurements.iter().copied().find(other)
            && (porosity.value + dense.value - 100.0).abs() > 5.0
        {
            flag(format!(
                "porosity of {} % and relative density of {} % do not make 100 %",
                porosity.value, dense.value
            ));
        }
    }
    if let Some(why) = moduli(measurements) {
        flag(why);
    }
    findings
}

/// Same conditions and the same kind of evidence.
fn comparable(a: &Measurement, b: &Measurement) -> bool {
    let near = |x: Option<f64>, y: Option<f64>| match (x, y) {
        (Some(x), Some(y)) => (x - y).abs() <= 1e-6 * x.abs().max(y.abs()),
        (None, None) => true,
        _ => false,
    };
    near(a.temperature_k, b.temperature_k)
        && near(a.pressure_pa, b.pressure_pa)
        && a.evidence == b.evidence
        && a.method == b.method
        && a.conditions == b.conditions
}

/// What rounding and the stated uncertainties allow.
fn slack(a: &Measurement, b: &Measurement) -> f64 {
    let stated = a.uncertainty.unwrap_or(0.0).hypot(b.uncertainty.unwrap_or(0.0));
    (3.0 * stated).max(0.01 * a.value.abs().max(b.value.abs()))
}

fn moduli(measurements: &[&Measurement]) -> Option<String> {
    let first = MODULI.iter().find_map(|key| measurements.iter().copied().find(|m| &*m.property == *key))?;
    let of =
        |key: &str| measurements.iter().copied().find(|m| &*m.property == key && comparable(first, m)).map(|m| m.value);
    let [e, g, k, nu] = MODULI.map(of);
    let positive = |x: Option<f64>| x.is_none_or(|x| x > 0.0);
    if !(positive(e) && positive(g) && positive(k)) {
        return None; // the bounds have said so
    }
    let apart = |found: f64, expected: f64| {
        !expected.is_finite() || (found - expected).abs() > MODULI_TOLERANCE * found.abs().max(expected.abs())
    };
    match (e, g, k, nu) {
        (Some(e), Some(g), _, Some(nu)) if apart(e, 2.0 * g * (1.0 + nu)) => Some(format!(
            "Young's modulus {e}, shear modulus {g} GPa and Poisson's ratio {nu}: E = 2G(1 + ν) gives {:.4} GPa",
            2.0 * g * (1.0 + nu)
        )),
        (Some(e), None, Some(k), Some(nu)) if apart(e, 3.0 * k * (1.0 - 2.0 * nu)) => Some(format!(
            "Young's modulus {e}, bulk modulus {k} GPa and Poisson's ratio {nu}: E = 3K(1 - 2ν) gives {:.4} GPa",
            3.0 * k * (1.0 - 2.0 * nu)
        )),
        (None, Some(g), Some(k), Some(nu)) => {
            let expected = (3.0 * k - 2.0 * g) / (2.0 * (3.0 * k + g));
            ((nu - expected).abs() > 0.1).then(|| {
                format!(
                    "bulk modulus {k}, shear modulus {g} GPa and Poisson's ratio {nu}: K and G give ν = {expected:.4}"
                )
            })
        }
        (Some(e), Some(g), Some(k), _) if apart(e, 9.0 * k * g / (3.0 * k + g)) => Some(format!(
            "Young's modulus {e}, shear modulus {g} and bulk modulus {k} GPa: E = 9KG/(3K + G) gives {:.4} GPa",
            9.0 * k * g / (3.0 * k + g)
        )),
        _ => None,
    }
}
