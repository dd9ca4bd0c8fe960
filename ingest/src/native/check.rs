//! Is this a record of a hub? Its shape, not whether its values are believable.

use datasets::export::not_finite;
use datasets::formula::Formula;
use datasets::property::dictionary;
use datasets::record::{Evidence, Record, is_dataset_name};
use datasets::structure::Species;

/// Where the text of a refused record is cut.
const RAW_BYTES: usize = 64 << 10;

/// Text of a refused record, cut.
pub(super) fn cut(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(RAW_BYTES)]).into_owned()
}

/// A refused record as a line of JSON, cut.
pub(super) fn raw(record: &Record) -> String {
    cut(&serde_json::to_vec(record).unwrap_or_default())
}

/// Says what is wrong with a record.
pub(super) fn record(record: &Record) -> Result<(), String> {
    match record.id.split_once('/') {
        Some((dataset, id)) if is_dataset_name(dataset) && !id.is_empty() => {}
        _ => return Err(format!("`{}` is no record id: it must be <dataset>/<id of the source>", record.id)),
    }
    if let Some(formula) = &record.formula {
        let parsed = Formula::parse(formula).map_err(|e| format!("formula: {e}"))?;
        let reduced = parsed.reduced();
        if reduced != *formula {
            return Err(format!("formula `{formula}` is not in its canonical form, `{reduced}`"));
        }
    }
    if let Some(number) = record.space_group.filter(|number| !(1..=230).contains(number)) {
        return Err(format!("there is no space group {number}: they go from 1 to 230"));
    }
    if let Some(what) = not_finite(record) {
        return Err(format!("a {what} is no finite number"));
    }
    if let Some(structure) = &record.structure {
        let (species, positions) = (structure.species.len(), structure.positions.len());
        if species != positions {
            return Err(format!("the structure has {positions} positions and {species} species"));
        }
        let is_share = |part: &(String, f64)| (0.0..=1.0).contains(&part.1);
        if structure.species.iter().any(|s| matches!(s, Species::Mixed(parts) if !parts.iter().all(is_share))) {
            return Err("an occupancy of the structure is not within 0 to 1".into());
        }
    }
    for m in &record.measurements {
        if !is_property(&m.property) {
            let closest = dictionary().closest(&m.property, 3).join(", ");
            return Err(format!("there is no property `{}`; the closest are {closest}", m.property));
        }
        if !matches!(m.evidence, Evidence::Measured | Evidence::Computed | Evidence::Derived) {
            return Err(format!(
                "`{}` is no evidence that a record can have: say measured, computed or derived",
                m.evidence
            ));
        }
        if m.uncertainty.is_some_and(|sd| sd < 0.0) {
            return Err(format!("the uncertainty of `{}` is negative", m.property));
        }
    }
    Ok(())
}

/// A key of the dictionary, or `<dataset>:<key>`, a property of that dataset.
fn is_property(key: &str) -> bool {
    let of_dataset =
        || key.split_once(':').is_some_and(|(dataset, key)| is_dataset_name(dataset) && is_dataset_name(key));
    dictionary().get(key).is_some() || of_dataset()
}
