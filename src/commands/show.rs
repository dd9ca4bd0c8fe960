//! `matgenome show`: all that is known of one material, or one record.

use std::collections::BTreeMap;

use index::candidate::ScreenValue;
use index::hub::{Hub, HubError};
use index::scope::Viewer;

use crate::arguments::Common;
use crate::open;
use crate::output::{Failure, conditions, kelvins, print, print_json, short, stated_as, table};

/// Shows a material or a record.
pub async fn run(common: &Common, material: &str, predicted: bool, json: bool) -> Result<u8, Failure> {
    let hub = open::hub_to_list(common).await?;
    let answer = match hub.material(material, Viewer::Owner, predicted) {
        Ok(answer) => answer,
        Err(unknown @ HubError::NoMaterial { .. }) if material.contains('/') => {
            // `my-lab/W-02`: one record, as it was contributed
            let record = hub.record(material, Viewer::Owner).await;
            print_json(&record.map_err(|e| if matches!(e, HubError::NoRecord(_)) { unknown } else { e })?)?;
            return Ok(0);
        }
        Err(other) => return Err(other.into()),
    };
    if json {
        print_json(&answer)?;
        return Ok(0);
    }
    let names = [answer.formula.clone(), answer.name.clone()].into_iter().flatten().collect::<Vec<_>>().join(", ");
    print(format!("{} ({names})", answer.material))?;
    let details = [
        answer.class.as_ref().map(|class| format!("class: {class}")),
        answer.space_group.map(|n| format!("space group: {n}")),
        (!answer.elements.is_empty()).then(|| format!("elements: {}", answer.elements.join(" "))),
        Some(format!("datasets: {}", answer.datasets.join(", "))),
    ];
    for line in details.into_iter().flatten() {
        print(line)?;
    }
    let mut values = answer.properties.iter().flat_map(|property| &property.values);
    let has_conditions = values.any(|value| !conditions(&value.stated).is_empty());
    let mut header = vec!["property", "belief", "value", "evidence", "method", "T [K]"];
    header.extend(has_conditions.then_some("conditions"));
    header.push("record");
    let mut shown = table(header);
    for property in &answer.properties {
        let belief = match (property.value, property.sd) {
            (Some(value), Some(sd)) => format!("{} ± {} {}", short(value), short(sd), property.unit),
            _ => "none".into(),
        };
        for (i, value) in property.values.iter().enumerate() {
            let once = |text: &str| if i == 0 { text.to_owned() } else { String::new() };
            let flag = value.flag.as_ref().map_or("", |_| " (not counted)");
            // a range in the unit of its source, which need not be this one
            let given = || value.stated.given.as_ref().map(|given| format!(" (given {given})"));
            let stated = stated_as(&value.stated).or_else(given);
            let mut row = vec![
                once(&property.property),
                once(&belief),
                format!("{}{}{flag}", short(value.value), stated.unwrap_or_default()),
                value.evidence.to_string(),
                value.method.clone().unwrap_or_default(),
                value.temperature_k.map(kelvins).unwrap_or_default(),
            ];
            row.extend(has_conditions.then(|| conditions(&value.stated)));
            row.push(value.record.clone());
            shown.add_row(row);
        }
    }
    print(shown)?;
    if let Some(predicted) = &answer.predicted {
        print_predicted(&hub, predicted)?;
    }
    Ok(0)
}

/// What is predicted, as a table, and whether that is all.
fn print_predicted(hub: &Hub, predicted: &BTreeMap<String, ScreenValue>) -> Result<(), Failure> {
    let mut shown = table(["predicted", "value", "90 % interval", "nearest known materials"]);
    for (key, said) in predicted {
        let number = |x: Option<f64>| x.map(short).unwrap_or_default();
        let near = said.neighbours.iter().map(|n| {
            let name = n.formula.as_deref().unwrap_or(&n.material);
            format!("{name} {}", short(n.value))
        });
        shown.add_row([
            key.clone(),
            format!("{} {}", number(said.value), said.unit),
            format!("{} to {}", number(said.lower), number(said.upper)),
            near.collect::<Vec<_>>().join(", "),
        ]);
    }
    print(shown)?;
    let (ready, of) = hub.predicted(Viewer::Owner);
    if ready < of {
        print(format!("{ready} of {of} properties are predicted: `matgenome predict` does the others"))?;
    }
    Ok(())
}
