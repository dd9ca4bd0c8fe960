//! `matgenome similar` and `matgenome substitute`: materials that are like one.

use datasets::formula::Formula;
use index::candidate::BeliefAnswer;
use index::embedding::Space;
use index::hub::{Hub, HubError};
use index::scope::Viewer;
use index::similar::{SimilarAnswer, SimilarSpec, SubstituteSpec};
use index::tabular;

use crate::arguments::{Common, Similar, Substitute, TextFormat};
use crate::open;
use crate::output::{Failure, print_bytes, short, table, thousands};

/// Properties that a table for people has room for.
const COLUMNS: usize = 5;

/// Prints the neighbours of a material.
pub async fn similar(common: &Common, arguments: &Similar) -> Result<u8, Failure> {
    let hub = open::hub(common).await?;
    let (material, formula) = subject(&hub, &arguments.material);
    let spec = SimilarSpec {
        material,
        formula,
        by: arguments.by,
        filter: arguments.filter.clone(),
        datasets: None,
        limit: arguments.limit,
        exact: arguments.exact,
    };
    print(&hub.similar(&spec, Viewer::Owner).map_err(refused)?, arguments.format)
}

/// Prints what could stand in for a material.
pub async fn substitute(common: &Common, arguments: &Substitute) -> Result<u8, Failure> {
    let hub = open::hub(common).await?;
    let (material, formula) = subject(&hub, &arguments.material);
    let spec = SubstituteSpec {
        material,
        formula,
        without: arguments.without.clone(),
        keep: (!arguments.keep.is_empty()).then(|| arguments.keep.clone()),
        filter: arguments.filter.clone(),
        datasets: None,
        limit: arguments.limit,
    };
    print(&hub.substitute(&spec, Viewer::Owner).map_err(refused)?, arguments.format)
}

/// A text is a material of the hub, or else a formula that it has never seen.
fn subject(hub: &Hub, text: &str) -> (Option<String>, Option<String>) {
    let text = text.to_owned();
    let new = !hub.knows(&text, Viewer::Owner) && Formula::parse(&text).is_ok();
    if new { (None, Some(text)) } else { (Some(text), None) }
}

/// What a flag says wrongly is wrong usage; that something is not in the hub is no answer.
fn refused(error: HubError) -> Failure {
    match error {
        HubError::Spec(e) if matches!(e.pointer.as_str(), "/material" | "/formula") => Failure::new(e.message),
        HubError::Spec(e) => {
            let flag = e.pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
            Failure::usage(format!("--{flag}: {}", e.message))
        }
        other => other.into(),
    }
}

fn print(answer: &SimilarAnswer, format: TextFormat) -> Result<u8, Failure> {
    let mut bytes = Vec::new();
    match format {
        TextFormat::Table => bytes = people(answer).into_bytes(),
        TextFormat::Json => {
            bytes = serde_json::to_vec_pretty(answer).map_err(Failure::new)?;
            bytes.push(b'\n');
        }
        TextFormat::Csv => {
            let batch = tabular::neighbours(answer).map_err(Failure::new)?;
            arrow::csv::Writer::new(&mut bytes).write(&batch).map_err(Failure::new)?;
        }
    }
    print_bytes(&bytes)?;
    Ok(0)
}

fn people(answer: &SimilarAnswer) -> String {
    let meta = &answer.meta;
    let searched = format!(
        "{} materials compared by {} ({}), of {} that match and {} searched\n",
        thousands(meta.compared as u64),
        meta.by,
        meta.metric,
        thousands(meta.matched_filter as u64),
        thousands(meta.searched as u64)
    );
    if answer.candidates.is_empty() {
        return format!("no neighbours: {searched}");
    }
    // the asked material's own properties, else those that come first
    let mut keys: Vec<(&str, &str)> = meta.properties.iter().map(|p| (p.property.as_str(), p.unit.as_str())).collect();
    for p in answer.candidates.iter().flat_map(|c| &c.properties) {
        if !keys.iter().any(|(key, _)| *key == p.property) {
            keys.push((&p.property, &p.unit));
        }
    }
    let more = keys.len().saturating_sub(COLUMNS);
    keys.truncate(COLUMNS);
    let by_properties = meta.by == Space::Properties;
    let mut header: Vec<String> = ["#", "material", "distance"].map(String::from).to_vec();
    header.extend(by_properties.then(|| "shared".to_owned()));
    header.extend(keys.iter().map(|(key, unit)| format!("{key} [{unit}]")));
    header.push("datasets".into());
    let mut shown = table(["#"]);
    shown.set_header(header);
    let cells = |properties: &[BeliefAnswer]| -> Vec<String> {
        let cell = |key: &str| properties.iter().find(|p| p.property == key).map_or_else(|| "–".to_owned(), value);
        keys.iter().map(|(key, _)| cell(key)).collect()
    };
    if by_properties {
        let asked = meta.asked.formula.as_ref().or(meta.asked.material.as_ref()).cloned().unwrap_or_default();
        let mut row = vec![String::new(), asked, "asked".into(), meta.properties.len().to_string()];
        row.extend(cells(&meta.properties));
        row.push(String::new());
        shown.add_row(row);
    }
    for c in &answer.candidates {
        let material = c.formula.as_ref().unwrap_or(&c.material);
        let which = c.material.split_once(':').map_or(String::new(), |(_, which)| format!(":{which}"));
        let name = c.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
        let mut row = vec![c.rank.to_string(), format!("{material}{which}{name}"), short(c.distance)];
        row.extend(c.shared.map(|shared| shared.to_string()));
        row.extend(cells(&c.properties));
        row.push(c.datasets.join(", "));
        shown.add_row(row);
    }
    let rest = match (more, by_properties) {
        (0, _) => String::new(),
        (n, true) => format!("{n} more properties were compared: --format json or csv has them all\n"),
        (n, false) => format!("values of {n} more properties: --format json or csv\n"),
    };
    format!(
        "{shown}\n{searched}{rest}version {}, {:.1} ms on {}{}\n",
        meta.version,
        meta.took_ms,
        meta.device,
        meta.note.as_ref().map(|n| format!(" ({n})")).unwrap_or_default()
    )
}

fn value(p: &BeliefAnswer) -> String {
    format!("{} ± {}", short(p.value), short(p.sd))
}
