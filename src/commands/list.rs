//! `matgenome properties`, `datasets` and `history`: what there is.

use datasets::catalogue::DatasetInfo;
use datasets::property::{Axis, Listed as ListedProperty, Property, dictionary};
use datasets::table::Table;
use serde::Serialize;

use crate::arguments::Common;
use crate::open;
use crate::output::{Failure, print, print_json, table, thousands};

/// Lists the property dictionary, and the own properties of the datasets where there are any.
pub async fn properties(common: &Common, search: Option<&str>, json: bool) -> Result<u8, Failure> {
    let records = Table::open(&open::data_dir(common)?).await?;
    let datasets = records.map(|records| records.datasets()).transpose()?.unwrap_or_default();
    let own = datasets.values().flat_map(|info| &info.properties);
    let search = search.unwrap_or_default().to_lowercase();
    let wanted = |p: &&Property| [&p.key, &p.name, &p.group].iter().any(|text| text.to_lowercase().contains(&search));
    let found: Vec<&Property> = dictionary().iter().chain(own).filter(wanted).collect();
    if json {
        let found: Vec<ListedProperty<'_>> = found.into_iter().map(ListedProperty::from).collect();
        print_json(&serde_json::json!({ "properties": found }))?;
        return Ok(0);
    }
    let mut shown = table(["key", "name", "symbol", "unit", "axis", "group"]);
    for p in &found {
        let axis = if p.axis == Axis::Log { "log" } else { "linear" };
        shown.add_row([&p.key, &p.name, &p.symbol, &p.unit, axis, &p.group]);
    }
    print(shown)?;
    Ok(0)
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    info: &'a DatasetInfo,
    records: u64,
    materials: u64,
    values: u64,
}

/// Lists the datasets.
pub async fn datasets(common: &Common, json: bool) -> Result<u8, Failure> {
    let snapshot = open::hub_to_list(common).await?.snapshot();
    if json {
        let listed: Vec<Listed<'_>> = snapshot
            .datasets
            .iter()
            .map(|d| Listed { info: &d.info, records: d.records, materials: d.materials, values: d.values })
            .collect();
        print_json(&serde_json::json!({ "version": snapshot.version, "datasets": listed }))?;
        return Ok(0);
    }
    let mut shown = table(["name", "title", "records", "materials", "values", "licence", "contributor"]);
    for d in &snapshot.datasets {
        shown.add_row([
            d.info.name.clone(),
            d.info.title.clone(),
            thousands(d.records),
            thousands(d.materials),
            thousands(d.values),
            d.info.licence.clone(),
            d.info.contributor.clone(),
        ]);
    }
    print(shown)?;
    Ok(0)
}

/// Lists the commits.
pub async fn history(common: &Common, json: bool) -> Result<u8, Failure> {
    let commits = open::hub_to_list(common).await?.history().await?;
    if json {
        print_json(&serde_json::json!({ "commits": commits }))?;
        return Ok(0);
    }
    let mut shown = table(["version", "when (UTC)", "what", "datasets", "new", "updated", "deleted"]);
    for commit in commits {
        let when = commit.timestamp_ms.and_then(chrono::DateTime::from_timestamp_millis);
        shown.add_row([
            commit.version.to_string(),
            when.map(|t| t.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default(),
            commit.what.operation,
            commit.what.datasets.join(", "),
            thousands(commit.what.inserted),
            thousands(commit.what.updated),
            thousands(commit.what.deleted),
        ]);
    }
    print(shown)?;
    Ok(0)
}
