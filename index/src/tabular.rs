//! Candidates as a table: one row a candidate, a group of columns a target.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow::error::ArrowError;
use serde::Serialize;

use crate::candidate::{BeliefAnswer, Candidate, SuggestAnswer, Verdict};
use crate::screen::{ScreenAnswer, ScreenResult};
use crate::similar::{SimilarAnswer, SimilarCandidate};
use crate::stated::StatedAnswer;

/// The candidates as one batch. The columns of a target are named by its property: `band_gap`, `band_gap_unit`,
/// `band_gap_sd`, `band_gap_evidence`, `band_gap_verdict`, `band_gap_record`, `band_gap_stated` (see [`stated`]). Where candidates are to be like a material,
/// `like_distance` is how far they are, empty for those without a place in the space.
///
/// # Errors
/// None for an answer of this program; the columns would have to differ in length.
pub fn batch(answer: &SuggestAnswer) -> Result<RecordBatch, ArrowError> {
    let all = &answer.candidates;
    let text = |get: &dyn Fn(&Candidate) -> Option<String>| -> ArrayRef {
        Arc::new(all.iter().map(get).collect::<StringArray>())
    };
    let number = |get: &dyn Fn(&Candidate) -> Option<f64>| -> ArrayRef {
        Arc::new(all.iter().map(get).collect::<Float64Array>())
    };
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("rank".into(), Arc::new(UInt32Array::from_iter_values(all.iter().map(|c| c.rank as u32)))),
        ("material".into(), text(&|c| Some(c.material.clone()))),
        ("formula".into(), text(&|c| c.formula.clone())),
        ("name".into(), text(&|c| c.name.clone())),
        ("score".into(), number(&|c| Some(c.score))),
        ("probability".into(), number(&|c| Some(c.probability))),
        ("verdict".into(), text(&|c| Some(word(c.verdict).to_owned()))),
    ];
    let labels: Vec<&str> =
        all.first().map(|c| c.targets.iter().map(|t| t.property.as_str()).collect()).unwrap_or_default();
    for (i, label) in labels.iter().enumerate() {
        let again = labels[..i].iter().filter(|l| *l == label).count();
        let label = if again == 0 { (*label).to_owned() } else { format!("{label}#{}", again + 1) };
        columns.push((label.clone(), number(&|c| c.targets[i].value)));
        columns.push((format!("{label}_unit"), text(&|c| Some(c.targets[i].unit.clone()))));
        columns.push((format!("{label}_sd"), number(&|c| c.targets[i].sd)));
        columns.push((format!("{label}_evidence"), text(&|c| Some(c.targets[i].evidence.to_string()))));
        columns.push((format!("{label}_verdict"), text(&|c| Some(word(c.targets[i].verdict).to_owned()))));
        columns.push((format!("{label}_record"), text(&|c| c.targets[i].record.clone())));
        columns.push((format!("{label}_stated"), text(&|c| stated(c.targets[i].temperature_k, &c.targets[i].stated))));
    }
    if answer.meta.like.is_some() {
        columns.push(("like_distance".into(), number(&|c| c.like.as_ref()?.distance)));
    }
    columns.push(("datasets".into(), text(&|c| Some(c.datasets.join(" ")))));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
}

/// What is said of screened candidates: names of the columns, and the cells of each candidate. The columns of a property are named by
/// its key: `band_gap`, `band_gap_unit`, `band_gap_sd`, `band_gap_lower`, `band_gap_upper`, `band_gap_evidence`.
pub fn screened(answer: &ScreenAnswer) -> (Vec<String>, Vec<Vec<String>>) {
    let judged = answer.results.iter().any(|result| result.verdict.is_some());
    let mut keys: Vec<&str> = Vec::new();
    for key in answer.results.iter().flat_map(|result| result.properties.keys()) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let mut names: Vec<String> = Vec::new();
    names.extend(judged.then(|| ["verdict", "probability", "score"].map(String::from)).into_iter().flatten());
    for key in &keys {
        names.push((*key).to_owned());
        names.extend(["unit", "sd", "lower", "upper", "evidence"].map(|part| format!("{key}_{part}")));
    }
    names.push("error".into());
    let number = |x: Option<f64>| x.map_or_else(String::new, |x| x.to_string());
    let cells = |result: &ScreenResult| {
        let mut cells = Vec::new();
        if judged {
            cells.push(result.verdict.map_or_else(String::new, |verdict| word(verdict).to_owned()));
            cells.extend([number(result.probability), number(result.score)]);
        }
        for key in &keys {
            match result.properties.get(*key) {
                Some(v) => {
                    cells.extend([number(v.value), v.unit.clone(), number(v.sd), number(v.lower), number(v.upper)]);
                    cells.push(v.evidence.to_string());
                }
                None => cells.extend(std::iter::repeat_n(String::new(), 6)),
            }
        }
        cells.push(result.error.clone().unwrap_or_default());
        cells
    };
    (names, answer.results.iter().map(cells).collect())
}

/// Neighbours as one batch. The columns of a property are named by its key: `band_gap`, `band_gap_unit`, `band_gap_sd`,
/// `band_gap_evidence`, `band_gap_record`, `band_gap_stated` (see [`stated`]); empty where the neighbour has no known value.
///
/// # Errors
/// None for an answer of this program; the columns would have to differ in length.
pub fn neighbours(answer: &SimilarAnswer) -> Result<RecordBatch, ArrowError> {
    let all = &answer.candidates;
    let text = |get: &dyn Fn(&SimilarCandidate) -> Option<String>| -> ArrayRef {
        Arc::new(all.iter().map(get).collect::<StringArray>())
    };
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("rank".into(), Arc::new(UInt32Array::from_iter_values(all.iter().map(|c| c.rank as u32)))),
        ("material".into(), text(&|c| Some(c.material.clone()))),
        ("formula".into(), text(&|c| c.formula.clone())),
        ("name".into(), text(&|c| c.name.clone())),
        ("distance".into(), Arc::new(Float64Array::from_iter_values(all.iter().map(|c| c.distance)))),
    ];
    if !answer.meta.properties.is_empty() {
        let shared = all.iter().map(|c| c.shared.map(|n| n as u32));
        columns.push(("shared".into(), Arc::new(shared.collect::<UInt32Array>())));
    }
    if all.iter().any(|c| c.structure.is_some()) {
        columns.push(("structure".into(), text(&|c| c.structure.clone())));
    }
    let mut keys: Vec<&str> = answer.meta.properties.iter().map(|p| p.property.as_str()).collect();
    for p in all.iter().flat_map(|c| &c.properties) {
        if !keys.contains(&p.property.as_str()) {
            keys.push(&p.property);
        }
    }
    for key in keys {
        fn of<'a>(c: &'a SimilarCandidate, key: &str) -> Option<&'a BeliefAnswer> {
            c.properties.iter().find(|p| p.property == key)
        }
        let number = |get: &dyn Fn(&BeliefAnswer) -> f64| -> ArrayRef {
            Arc::new(all.iter().map(|c| of(c, key).map(get)).collect::<Float64Array>())
        };
        columns.push((key.to_owned(), number(&|p| p.value)));
        columns.push((format!("{key}_unit"), text(&|c| of(c, key).map(|p| p.unit.clone()))));
        columns.push((format!("{key}_sd"), number(&|p| p.sd)));
        columns.push((format!("{key}_evidence"), text(&|c| of(c, key).map(|p| p.evidence.to_string()))));
        columns.push((format!("{key}_record"), text(&|c| of(c, key).map(|p| p.record.clone()))));
        columns.push((format!("{key}_stated"), text(&|c| of(c, key).and_then(|p| stated(p.temperature_k, &p.stated)))));
    }
    columns.push(("datasets".into(), text(&|c| Some(c.datasets.join(" ")))));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
}

/// What a source states beside a value, as the JSON object that it is in other answers: temperature, pressure, other
/// conditions, a bound. None where it states nothing.
fn stated(temperature_k: Option<f64>, beside: &StatedAnswer) -> Option<String> {
    #[derive(Serialize)]
    struct Beside<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        temperature_k: Option<f64>,
        #[serde(flatten)]
        beside: &'a StatedAnswer,
    }
    let text = serde_json::to_string(&Beside { temperature_k, beside }).ok()?;
    (text != "{}").then_some(text)
}

/// The word of a verdict.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
    }
}
