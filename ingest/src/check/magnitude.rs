//! Is the unit probably wrong? The value against what is known of the material.

use datasets::property::Property;
use datasets::record::{Evidence, Record};

use super::Place;
use crate::mapping::Mapping;
use crate::report::{Code, Finding, Severity};

/// What the hub knows of materials, from at least three values that agree.
pub trait Known {
    /// Mean and standard deviation on the property's axis (log10 for log axes); none where too little is known.
    fn belief(&self, material_id: &str, property: &str) -> Option<(f64, f64)>;
}

/// A value must be this many deviations from what is known, and fit within [`FITS`] in the other unit.
const FAR: f64 = 6.0;
const FITS: f64 = 2.0;

/// Factors between units that are mixed up, beside powers of ten: the word in the property's unit, factor, in words.
const FACTORS: [(&str, f64, &str); 6] = [
    ("eV", 1.0 / 96.485_332_12, "kJ/mol"),
    ("eV", 1.0 / 23.060_548, "kcal/mol"),
    ("eV", 27.211_386_245_988, "hartree"),
    ("eV", 13.605_693_122_994, "rydberg"),
    ("Pa", 6.894_757_293, "psi for kPa, or ksi for MPa"),
    ("Å^3", 0.148_184_711, "Bohr^3"),
];

/// Flags values that lie far from what is known of the material, and fit it by a power of ten or in another unit.
pub fn suspect_unit(place: Place<'_>, record: &Record, mapping: &Mapping, known: &dyn Known) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut material = None;
    for m in record.measurements.iter().filter(|m| m.evidence != Evidence::Derived) {
        let Some(property) = mapping.property(&m.property) else { continue };
        if m.value == 0.0 || !m.value.is_finite() || m.conditions.contains_key("censored") {
            continue;
        }
        let material = material.get_or_insert_with(|| record.material_id());
        let Some((mean, sd)) = known.belief(material, &m.property) else { continue };
        let apart = |value: f64| {
            let own = property.axis_sd(value, m.uncertainty, m.method.as_deref());
            let apart = (property.axis.to_axis(value) - mean).abs() / own.hypot(sd);
            if apart.is_nan() { f64::INFINITY } else { apart }
        };
        if !mean.is_finite() || sd.is_nan() || sd < 0.0 || apart(m.value) <= FAR {
            continue;
        }
        if let Some((factor, words)) = other_unit(property, m.value, &apart) {
            let why = format!(
                "{} of {} {} is far from {:.4} {}, which is known of {material}; {words} it would be {:.4}",
                property.name,
                m.value,
                property.unit,
                property.axis.from_axis(mean),
                property.unit,
                m.value * factor
            );
            let value = m.value.to_string();
            let mend = "check the unit of the column in the mapping and at the source; the value is kept";
            let cell = (None, Some(value.as_str()));
            findings.push(place.finding(Severity::Flagged, Code::SuspectUnit, cell, why, mend));
        }
    }
    findings
}

/// The factor that brings the value closest to what is known, if any does.
fn other_unit(property: &Property, value: f64, apart: &dyn Fn(f64) -> f64) -> Option<(f64, String)> {
    let tens = (-6..=6).filter(|n| *n != 0).map(|n| (10_f64.powi(n), format!("times 10^{n}")));
    let units = FACTORS.iter().filter(|(of, ..)| property.unit.contains(of));
    let units = units.map(|(_, factor, words)| (*factor, format!("if it was given in {words}")));
    let fitting = tens.chain(units).filter(|(factor, _)| apart(value * factor) <= FITS);
    fitting.min_by(|a, b| apart(value * a.0).total_cmp(&apart(value * b.0)))
}
