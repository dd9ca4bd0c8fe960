//! Rows out of FreeCAD material cards (`.FCMat`): one card, one row; a column is called as its key is.
//!
//! FreeCAD keeps the keys of all sections in one list, and moved some from section to section over the years, so
//! sections are no part of a column's name. The cell stays as it is, `7900 kg/m^3`, with its unit. Cards of FreeCAD
//! 0.22 and later are YAML; their models are read the same way.

use super::Format;
use super::document;
use super::entries::Cells;
use super::tree::Node;

/// The most keys of a card.
const MAX_KEYS: usize = 10_000;

/// The cells of a card.
pub(super) fn cells(text: &str) -> Result<Cells, String> {
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with(['#', ';']));
    match first {
        None => Err("the card is empty".to_owned()),
        Some(line) if line.starts_with('[') || line.contains('=') => from_ini(text),
        Some(_) => from_yaml(&document::parse(text, Format::FreecadCard)?),
    }
}

fn from_ini(text: &str) -> Result<Cells, String> {
    let mut cells: Cells = Vec::new();
    let mut known = std::collections::HashMap::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#', '[']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("line {} of the card is neither a section nor `key = value`", i + 1));
        };
        let (key, value) = (key.trim(), value.trim());
        match known.get(key) {
            None if cells.len() == MAX_KEYS => return Err(format!("the card has more than {MAX_KEYS} keys")),
            None => {
                known.insert(key, value);
                cells.push((key.to_owned(), value.to_owned()));
            }
            Some(&earlier) if earlier == value => {}
            Some(_) => return Err(format!("line {} of the card gives another value of `{key}`", i + 1)),
        }
    }
    if cells.is_empty() {
        return Err("the card has no keys".to_owned());
    }
    Ok(cells)
}

fn from_yaml(root: &Node) -> Result<Cells, String> {
    let Node::Map(sections) = root else { return Err("the card has no sections".to_owned()) };
    let mut cells: Cells = Vec::new();
    let mut put = |members: &Node, in_model: bool| -> Result<(), String> {
        let Node::Map(members) = members else { return Ok(()) };
        for (key, value) in members {
            // the identity of a model says nothing of the material
            if in_model && key == "UUID" {
                continue;
            }
            let text = value.scalar().unwrap_or_else(|| value.json());
            match cells.iter().find(|(k, _)| k == key) {
                None => cells.push((key.clone(), text)),
                Some((_, earlier)) if *earlier == text => {}
                Some(_) => return Err(format!("the card gives two values of `{key}`")),
            }
        }
        Ok(())
    };
    for (section, members) in sections {
        match (section.as_str(), members) {
            ("Models" | "AppearanceModels", Node::Map(models)) => {
                models.iter().try_for_each(|(_, model)| put(model, true))?;
            }
            _ => put(members, false)?,
        }
    }
    if cells.is_empty() {
        return Err("the card has no keys".to_owned());
    }
    Ok(cells)
}
