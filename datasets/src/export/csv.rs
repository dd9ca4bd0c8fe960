//! CSV: one row a value, the record's own columns repeated.

use std::borrow::Cow;
use std::collections::BTreeMap;

use csv::ByteRecord;

use super::ExportError;
use crate::record::{Measurement, Record};

/// The columns. The first nine are the record's, the others the value's.
pub const COLUMNS: [&str; 20] = [
    "id",
    "name",
    "formula_given",
    "formula",
    "space_group",
    "smiles",
    "class",
    "structure",
    "attributes",
    "property",
    "value",
    "given_value",
    "given_unit",
    "uncertainty",
    "evidence",
    "method",
    "source",
    "temperature_k",
    "pressure_pa",
    "conditions",
];

/// What stands before a text that is empty or begins with this sign, since an empty cell says that nothing is stated.
pub const STATED: char = '\\';

fn text(text: Option<&str>) -> Cow<'_, str> {
    match text {
        None => "".into(),
        Some(text) if text.is_empty() || text.starts_with(STATED) => format!("{STATED}{text}").into(),
        Some(text) => text.into(),
    }
}

/// The shortest text that reads back as the same number.
fn number(x: Option<f64>) -> String {
    x.map(|x| format!("{x:?}")).unwrap_or_default()
}

fn json(map: &BTreeMap<String, String>) -> Result<String, ExportError> {
    if map.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(map).map_err(|e| ExportError::Encode(e.to_string()))
}

fn failed(e: csv::Error) -> ExportError {
    ExportError::Encode(e.to_string())
}

pub(super) fn write_header(out: &mut Vec<u8>) -> Result<(), ExportError> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(COLUMNS).map_err(failed)?;
    Ok(writer.flush()?)
}

pub(super) fn write(records: &[Record], out: &mut Vec<u8>) -> Result<(), ExportError> {
    let mut writer = csv::Writer::from_writer(out);
    let mut row = ByteRecord::new();
    for record in records {
        let space_group = record.space_group.map(|n| n.to_string()).unwrap_or_default();
        let structure = record.structure.as_deref().map(serde_json::to_string).transpose();
        let mut structure = structure.map_err(|e| ExportError::Encode(e.to_string()))?.unwrap_or_default();
        let attributes = json(&record.attributes)?;
        let values =
            if record.measurements.is_empty() { vec![None] } else { record.measurements.iter().map(Some).collect() };
        for value in values {
            row.clear();
            for cell in [
                &text(Some(&record.id)),
                &text(record.name.as_deref()),
                &text(record.formula_given.as_deref()),
                &text(record.formula.as_deref()),
                &Cow::Borrowed(space_group.as_str()),
                &text(record.smiles.as_deref()),
                &text(record.class.as_deref()),
                &Cow::Borrowed(structure.as_str()),
                &Cow::Borrowed(attributes.as_str()),
            ] {
                row.push_field(cell.as_bytes());
            }
            push_value(value, &mut row)?;
            writer.write_byte_record(&row).map_err(failed)?;
            // it can be long, and the rows of a record stand together: once is enough
            structure.clear();
        }
    }
    Ok(writer.flush()?)
}

fn push_value(value: Option<&Measurement>, row: &mut ByteRecord) -> Result<(), ExportError> {
    let Some(m) = value else {
        (0..11).for_each(|_| row.push_field(b""));
        return Ok(());
    };
    for cell in [
        text(Some(&m.property)),
        number(Some(m.value)).into(),
        number(m.given_value).into(),
        text(m.given_unit.as_deref()),
        number(m.uncertainty).into(),
        m.evidence.as_str().into(),
        text(m.method.as_deref()),
        text(m.source.as_deref()),
        number(m.temperature_k).into(),
        number(m.pressure_pa).into(),
        json(&m.conditions)?.into(),
    ] {
        row.push_field(cell.as_bytes());
    }
    Ok(())
}
