//! `matgenome suggest`: candidates for a target spec.

use std::io::Read as _;
use std::path::Path;

use datasets::record::{REFERENCE_TEMPERATURE_K, dataset_of};
use index::belief::SAME_TEMPERATURE_K;
use index::candidate::{Candidate, SuggestAnswer, TargetAnswer};
use index::scope::Viewer;
use index::{spec, tabular};

use crate::arguments::{Common, Format};
use crate::open;
use crate::output::{Failure, conditions, kelvins, print_bytes, short, stated_as, table, thousands, write_file};

/// Exit code: nothing in the hub meets the spec.
const NOTHING_MEETS: u8 = 4;

/// Answers a spec.
pub async fn run(
    common: &Common,
    path: &Path,
    limit: Option<usize>,
    format: Format,
    out: Option<&Path>,
) -> Result<u8, Failure> {
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut text).map(drop)
    } else {
        std::fs::read(path).map(|bytes| text = bytes)
    };
    read.map_err(|e| Failure::usage(format!("cannot read the spec {}: {e}", path.display())))?;
    let mut spec = spec::from_json(&text).map_err(|e| Failure::usage(format!("spec {}: {e}", path.display())))?;
    if let Some(limit) = limit {
        spec.limit = limit;
    }
    if out.is_none() && format == Format::Parquet {
        return Err(Failure::usage("a Parquet answer goes to a file: name it with --out FILE"));
    }
    let hub = open::hub(common).await?;
    let answer = hub.suggest(&spec, Viewer::Owner).map_err(|e| match e {
        index::hub::HubError::Spec(e) => Failure::usage(format!("spec {}: {e}", path.display())),
        other => other.into(),
    })?;
    let bytes = render(&answer, format)?;
    match out {
        Some(path) => write_file(path, &bytes)?,
        None => print_bytes(&bytes)?,
    }
    let passing = answer.meta.passing.get("all").copied().unwrap_or_default();
    Ok(if passing == 0 { NOTHING_MEETS } else { 0 })
}

fn render(answer: &SuggestAnswer, format: Format) -> Result<Vec<u8>, Failure> {
    let batch = || tabular::batch(answer).map_err(Failure::new);
    let mut bytes = Vec::new();
    match format {
        Format::Table => bytes = people(answer).into_bytes(),
        Format::Json => {
            bytes = serde_json::to_vec_pretty(answer).map_err(Failure::new)?;
            bytes.push(b'\n');
        }
        Format::Csv => arrow::csv::Writer::new(&mut bytes).write(&batch()?).map_err(Failure::new)?,
        Format::Arrow => {
            let batch = batch()?;
            let mut writer =
                arrow::ipc::writer::StreamWriter::try_new(&mut bytes, &batch.schema()).map_err(Failure::new)?;
            writer.write(&batch).and_then(|()| writer.finish()).map_err(Failure::new)?;
        }
        Format::Parquet => {
            let batch = batch()?;
            let mut writer =
                parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).map_err(Failure::new)?;
            writer.write(&batch).map_err(Failure::new)?;
            writer.close().map_err(Failure::new)?;
        }
    }
    Ok(bytes)
}

fn people(answer: &SuggestAnswer) -> String {
    let meta = &answer.meta;
    let Some(first) = answer.candidates.first() else {
        return format!(
            "no candidates: {} materials searched, {} match the filter\n",
            thousands(meta.searched as u64),
            thousands(meta.matched_filter as u64)
        );
    };
    let mut shown = table(["#", "material", "score", "probability", "verdict"]);
    let mut header: Vec<String> = ["#", "material", "score", "probability", "verdict"].map(String::from).to_vec();
    header.extend(first.targets.iter().map(|t| format!("{} [{}]", t.property, t.unit)));
    let like = meta.like.as_ref().map(|like| {
        let asked = &like.asked;
        (called(asked.formula.as_ref(), asked.material.as_deref().unwrap_or_default(), None), like)
    });
    header.extend(like.iter().map(|(to, _)| format!("distance to {to}")));
    header.push("evidence".into());
    let has_conditions = answer.candidates.iter().flat_map(|c| &c.targets).any(|t| !beside(t).is_empty());
    header.extend(has_conditions.then(|| "conditions".into()));
    shown.set_header(header);
    for c in &answer.candidates {
        let mut row = vec![
            c.rank.to_string(),
            called(c.formula.as_ref(), &c.material, c.name.as_ref()),
            short(c.score),
            short(c.probability),
            tabular::word(c.verdict).to_owned(),
        ];
        row.extend(c.targets.iter().map(value));
        row.extend(c.like.iter().map(|like| like.distance.map_or_else(|| "–".into(), short)));
        let mut evidence: Vec<String> = c.targets.iter().map(|t| t.evidence.to_string()).collect();
        evidence.dedup();
        let mut datasets: Vec<&str> = c.targets.iter().filter_map(|t| t.record.as_deref()).map(dataset_of).collect();
        datasets.sort_unstable();
        datasets.dedup();
        row.push(if c.targets.is_empty() {
            c.datasets.join(", ")
        } else {
            format!("{} ({})", evidence.join(", "), datasets.join(", "))
        });
        row.extend(has_conditions.then(|| all_conditions(c)));
        shown.add_row(row);
    }
    let alone: Vec<String> = meta
        .passing
        .iter()
        .filter(|(key, _)| *key != "all")
        .map(|(key, n)| format!("{key} {}", thousands(*n as u64)))
        .collect();
    let likeness = like.map_or(String::new(), |(to, like)| {
        format!(
            "distance to {to} by {} ({}): {} costs 1; {} that match have a place\n",
            like.by,
            like.metric,
            short(like.tolerance),
            thousands(like.compared as u64)
        )
    });
    let meeting = if alone.is_empty() {
        String::new()
    } else {
        let all = thousands(meta.passing.get("all").copied().unwrap_or_default() as u64);
        format!("{all} materials meet all targets (alone: {}), of ", alone.join(", "))
    };
    format!(
        "{shown}\n{meeting}{} that match the filter and {} searched\n{likeness}\
         version {}, {:.1} ms on {}{}\n",
        thousands(meta.matched_filter as u64),
        thousands(meta.searched as u64),
        meta.version,
        meta.took_ms,
        meta.device,
        meta.note.as_ref().map(|n| format!(" ({n})")).unwrap_or_default()
    )
}

/// What people call a material: a phase, or a molecule among isomers, is told from others by what stands behind the formula in its id.
fn called(formula: Option<&String>, id: &str, name: Option<&String>) -> String {
    let which = id.split_once(':').map_or(String::new(), |(_, which)| format!(":{which}"));
    let name = name.map_or(String::new(), |name| format!(" ({name})"));
    format!("{}{which}{name}", formula.map_or(id, String::as_str))
}

fn value(target: &TargetAnswer) -> String {
    // what is believed of several values was stated by none of them
    let stated = if target.measurements == 1 { stated_as(&target.stated).unwrap_or_default() } else { String::new() };
    match (target.value, target.sd) {
        (Some(value), Some(sd)) => format!("{} ± {}{stated}", short(value), short(sd)),
        _ => "–".into(),
    }
}

/// The conditions of a value; the temperature where it is not that of a room.
fn beside(target: &TargetAnswer) -> String {
    let elsewhere = |t: &f64| (t - REFERENCE_TEMPERATURE_K).abs() > SAME_TEMPERATURE_K;
    let temperature = target.temperature_k.filter(elsewhere).map(|t| format!("{} K", kelvins(t)));
    let others = Some(conditions(&target.stated)).filter(|text| !text.is_empty());
    temperature.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

/// The conditions of a candidate's values; with their properties, where these have different ones.
fn all_conditions(candidate: &Candidate) -> String {
    let mut texts: Vec<(String, Vec<&str>)> = Vec::new();
    for target in &candidate.targets {
        let text = beside(target);
        match texts.iter_mut().find(|(known, _)| *known == text) {
            Some((_, properties)) => properties.push(&target.property),
            None if text.is_empty() => {}
            None => texts.push((text, vec![&target.property])),
        }
    }
    if let [(text, _)] = texts.as_slice() {
        return text.clone();
    }
    texts.iter().map(|(text, properties)| format!("{}: {text}", properties.join(", "))).collect::<Vec<_>>().join("; ")
}
