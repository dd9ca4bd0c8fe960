//! Which column is what, most likely? From headers and some rows a whole mapping, to be looked at before it is used:
//! [`place`] finds the place of each column, [`write`] writes the mapping down with what is to be known of it.

mod place;
mod write;

use std::collections::BTreeMap;

use datasets::formula::Formula;
use datasets::record::Evidence;
use serde::Serialize;

use crate::header::plain;
use crate::mapping::{Mapping, MappingFile, TextSource};
use crate::read::{Format, ReadOptions, Row, Table};
use crate::value::{NumberFormat, read as read_cell};
use place::One;

/// Headers and first rows of a table.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The name that `file = ...` of a mapping means.
    pub name: String,
    /// The format that it was read as, where a file was read.
    pub format: Option<Format>,
    /// The headers.
    pub headers: Vec<String>,
    /// Rows, as cells.
    pub rows: Vec<Vec<String>>,
    /// Why the first row that cannot be read cannot be.
    pub unread: Option<String>,
}

impl Sample {
    /// Takes up to `rows` rows out of a table, which is read up to there.
    pub fn take(table: &mut Table, rows: usize) -> Sample {
        let (name, format) = (table.name.clone(), Some(table.format));
        let mut sample = Sample { name, format, headers: table.headers().to_vec(), ..Sample::default() };
        let mut row = Row::default();
        while sample.rows.len() < rows {
            let Some(mut chunk) = table.next_chunk() else { break };
            while sample.rows.len() < rows {
                match chunk.next_row(&mut row) {
                    Some(Ok(())) => sample.rows.push(row.cells.iter().map(str::to_owned).collect()),
                    Some(Err(bad)) => {
                        sample.unread.get_or_insert_with(|| format!("row {}: {}", bad.line, bad.why));
                    }
                    None => break,
                }
            }
        }
        sample
    }

    /// To what the numbers of these columns sum in most rows, 1 or 100, if they do; `Mn` and `Rg` may be elements, and a
    /// molar mass and a radius.
    fn whole(&self, columns: &[usize], numbers: NumberFormat) -> Option<f64> {
        let number = |cell: &String| read_cell(cell, numbers).ok().map(|reading| reading.value);
        let sum = |row: &Vec<String>| -> f64 { columns.iter().filter_map(|&at| number(row.get(at)?)).sum() };
        [1.0, 100.0].into_iter().find(|whole| {
            let near = |row: &&Vec<String>| (sum(row) - whole).abs() < 0.05 * whole;
            self.rows.iter().filter(near).count() * 2 > self.rows.len()
        })
    }

    fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(move |row| row.get(column)).map(|cell| cell.trim()).filter(|cell| !cell.is_empty())
    }

    /// Whether a column says what the text of the structure of its row says too.
    fn is_in_structure(&self, header: &str) -> bool {
        self.format.is_some_and(|format| format.says_in_structure(header))
    }
}

/// What a column is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The formula.
    Formula,
    /// The name or grade.
    Name,
    /// The id of the row.
    Id,
    /// The share of an element.
    Fraction,
    /// The space group.
    SpaceGroup,
    /// The text of a structure.
    Structure,
    /// A SMILES string.
    Smiles,
    /// The DOI or URL.
    Source,
    /// The class of the material.
    Class,
    /// Values of a property.
    Value,
    /// Standard deviations of another column.
    Uncertainty,
    /// Units of another column.
    Unit,
    /// Temperature, pressure or another condition.
    Condition,
    /// Text kept with the record.
    Attribute,
    /// Nothing that is known.
    Unplaced,
}

/// What is proposed for one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnProposal {
    /// The file.
    pub file: String,
    /// The header.
    pub column: String,
    /// What it is taken for.
    pub role: Role,
    /// Key of the property, for values.
    pub property: Option<String>,
    /// Its unit.
    pub unit: Option<String>,
    /// Why, and what to check.
    pub why: String,
    /// Some cells.
    pub samples: Vec<String>,
}

/// A mapping to start from.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The mapping.
    pub file: MappingFile,
    /// What each column was taken for, in order.
    pub columns: Vec<ColumnProposal>,
    /// What must be stated before the mapping can be used, with the mend.
    pub to_state: Vec<String>,
    /// What is to be looked at before it is used: suppositions, and columns that are not used.
    pub to_check: Vec<String>,
}

impl Proposal {
    /// The mapping, checked, if nothing must be stated first; `dataset` names the dataset.
    ///
    /// # Errors
    /// What is missing or cannot be, with the mend.
    pub fn into_mapping(self, dataset: Option<&str>) -> Result<Mapping, String> {
        match self.to_state.as_slice() {
            [] => Mapping::from_file(self.file, dataset, "(proposed)").map_err(|e| e.to_string()),
            [one] => Err(one.clone()),
            several => {
                let numbered = several.iter().enumerate().map(|(n, what)| format!("({}) {what}", n + 1));
                Err(format!("{} things are to be stated: {}", several.len(), numbered.collect::<Vec<_>>().join("; ")))
            }
        }
    }

    /// Columns that could not be placed, with why.
    pub fn unplaced(&self) -> impl Iterator<Item = &ColumnProposal> {
        self.columns.iter().filter(|c| c.role == Role::Unplaced)
    }

    /// What the columns were taken for, in one line.
    pub fn summary(&self) -> String {
        let placed = self.columns.iter().filter(|c| c.role != Role::Unplaced).map(|c| {
            let role = match (&c.property, &c.unit) {
                (Some(property), Some(unit)) => format!("{property} in {unit}"),
                (Some(property), None) => property.clone(),
                _ => write::word(c.role),
            };
            format!("`{}`: {role}", write::one_line(&c.column))
        });
        write::listed(placed, "; ")
    }
}

/// Proposes a mapping for the tables of one job. `evidence` is what the user said of the values.
pub fn propose(tables: &[Sample], read: &ReadOptions, evidence: Option<Evidence>) -> Proposal {
    complete(tables, &MappingFile { read: read.clone(), ..MappingFile::default() }, evidence)
}

/// Completes the beginning of a mapping, which says nothing of the material and of values; what it says is kept.
pub fn complete(tables: &[Sample], start: &MappingFile, evidence: Option<Evidence>) -> Proposal {
    let mut file = start.clone();
    file.defaults.evidence = file.defaults.evidence.or(evidence);
    let numbers = NumberFormat { decimal: file.read.decimal, thousands: file.read.thousands };
    let (mut columns, mut to_state, mut to_check) = (Vec::new(), Vec::new(), Vec::new());
    let nulls = words_for_no_value(tables, numbers, &file.read.null);
    if !nulls.is_empty() {
        let shown: Vec<String> = nulls.iter().map(|word| format!("`{word}`")).collect();
        to_check.push(format!("{} stands among numbers and is taken for no value: null in [read]", shown.join(", ")));
        file.read.null.extend(nulls);
    }
    // the column of numbers that has no place, by what is to be done about it
    let mut astray: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let keeps = (!start.record.id.is_empty(), start.defaults.source.is_some());
    let mut first_to_name: BTreeMap<&'static str, (&str, String)> = BTreeMap::new();
    for table in tables {
        let before = naming(&file);
        if let (true, Some(why)) = (table.rows.is_empty(), &table.unread) {
            to_state.push(format!("no row of {} can be read; {why}", table.name));
        }
        let mut one = One::new(table, numbers, (&file.read.null, &file.read.ignore), keeps);
        one.place(&mut file, tables.len() > 1);
        for ((key, columns), (_, earlier)) in naming(&file).into_iter().zip(before) {
            let Some(columns) = columns.filter(|columns| earlier.as_ref() != Some(columns)) else { continue };
            match first_to_name.get(key) {
                Some((first, theirs)) => to_state.push(format!(
                    "{key} stands in {theirs} of {first}, and in {columns} of {}: one mapping has one place for it; ingest \
                     the files one by one, or give the columns one name",
                    table.name
                )),
                None => {
                    first_to_name.insert(key, (&table.name, columns));
                }
            }
        }
        if one.has_row_of_units() {
            to_state.push(format!(
                "the first row of {} holds units: say header_rows = 2 in [read], so that it belongs to the header",
                table.name
            ));
        }
        for (at, column) in table.headers.iter().enumerate() {
            let (role, property, unit, mut why) = one.roles.remove(&at).unwrap_or_else(|| one.unplaced(at));
            let said_twice = role == Role::Unplaced && (table.is_in_structure(column) || why == place::IN_STRUCTURE);
            if said_twice {
                why = place::IN_STRUCTURE.to_owned();
            }
            let shown = format!("`{}`", write::one_line(column));
            if role == Role::Unplaced {
                match one.stray(at) {
                    _ if said_twice || why == place::IGNORED => {}
                    Some(mend) => astray.entry(mend).or_default().push(shown),
                    None => to_check.push(format!("column {shown} is not used: {why}")),
                }
            } else if why.contains(place::MUST_STATE) || why.contains(place::MUST_BALANCE) {
                to_state.push(format!("column {shown}: {why}"));
            } else if why.contains(place::CHECK) {
                to_check.push(format!("column {shown}: {why}"));
            }
            let samples = table.cells(at).take(3).map(|c| c.chars().take(40).collect()).collect();
            columns.push(ColumnProposal {
                file: table.name.clone(),
                column: column.clone(),
                role,
                property,
                unit,
                why,
                samples,
            });
        }
    }
    for (mend, names) in astray {
        let several = if names.len() == 1 { "column" } else { "columns" };
        to_state.push(format!("{several} {}: {mend}", write::listed(names.into_iter(), ", ")));
    }
    if tables.len() > 1 {
        // an id that only some of the files have is none of the job
        let everywhere = |column: &String| tables.iter().all(|table| table.headers.contains(column));
        if start.record.id.is_empty() && !file.record.id.iter().all(everywhere) {
            file.record.id.clear();
        }
        if file.record.id.is_empty() && file.material.formula.is_some() {
            file.record.id = vec!["@formula".into()];
            file.record.join = true;
        }
    }
    // a column of one file need not be in the others
    let lacks = |column: &String| tables.iter().any(|table| !table.headers.contains(column));
    let material = &file.material;
    let placed = [&material.formula, &material.name, &material.space_group, &material.structure, &material.smiles];
    let class = match &material.class {
        Some(TextSource::Column(class)) => Some(&class.column),
        _ => None,
    };
    if placed.into_iter().flatten().chain(class).any(lacks) {
        file.material.optional = true;
    }
    if let Some(TextSource::Column(source)) = &file.defaults.source
        && start.defaults.source.is_none()
        && lacks(&source.column)
    {
        to_check.push(format!(
            "column `{}` is not used as the source, which other files lack: state source in the [[value]] that it holds for",
            source.column
        ));
        file.defaults.source = None;
    }
    state_what_is_missing(&file, &columns, &mut to_state);
    if file.record.id.is_empty() {
        to_check.push(
            "no column is taken for the id of a row: a row that is corrected later becomes a second record; name columns in \
             [record] id where some tell rows apart"
                .into(),
        );
    }
    Proposal { file, columns, to_state, to_check }
}

/// The columns that say what a row speaks about, of which a mapping has one each for all tables.
fn naming(file: &MappingFile) -> [(&'static str, Option<String>); 9] {
    let column = |column: &Option<String>| column.as_ref().map(|column| format!("`{column}`"));
    let material = &file.material;
    let fractions = material.fractions.as_ref().map(|fractions| match &fractions.prefix {
        Some(prefix) => format!("`{}...`", prefix.as_slice().join("...`, `")),
        None => format!("`{}`", fractions.columns.join("`, `")),
    });
    let of_texts = |texts: &Option<TextSource>| match texts {
        Some(TextSource::Column(texts)) => Some(format!("`{}`", texts.column)),
        _ => None,
    };
    let id = (!file.record.id.is_empty()).then(|| format!("`{}`", file.record.id.join("`, `")));
    [
        ("the formula", column(&material.formula)),
        ("the composition", fractions),
        ("the name", column(&material.name)),
        ("the space group", column(&material.space_group)),
        ("the structure", column(&material.structure)),
        ("the SMILES string", column(&material.smiles)),
        ("the id of the record", id),
        ("the class", of_texts(&material.class)),
        ("the source", of_texts(&file.defaults.source)),
    ]
}

fn state_what_is_missing(file: &MappingFile, columns: &[ColumnProposal], to_state: &mut Vec<String>) {
    if file.value.iter().any(|v| v.evidence.is_none()) && file.defaults.evidence.is_none() {
        to_state.push(
            "the files do not say how the values came to be: say --evidence measured, computed or derived (over HTTP \
             ?evidence=), or evidence in [defaults]"
                .into(),
        );
    }
    let material = &file.material;
    if material.fractions.as_ref().is_some_and(|f| f.basis.is_none()) {
        to_state.push(
            "the element columns do not say whether they are of mass or of atoms: set basis in [material.fractions]"
                .into(),
        );
    }
    if [&material.formula, &material.name, &material.structure, &material.smiles].iter().all(|c| c.is_none())
        && material.fractions.is_none()
    {
        let nearly = columns.iter().find(|c| c.why.starts_with(place::NO_FORMULAS));
        let nearly = nearly.map(|c| format!("; `{}`: {}", write::one_line(&c.column), c.why)).unwrap_or_default();
        to_state.push(format!("no column names the material: set formula, fractions or name in [material]{nearly}"));
    }
    if file.value.is_empty() && material.structure.is_none() {
        to_state
            .push("no column holds values of a known property: add [[value]], with [[property]] for new ones".into());
    }
}

/// Words that people write for "no value" and that stand in columns of numbers here, but those that are stated already
/// and those that are a formula (`NaN`).
fn words_for_no_value(tables: &[Sample], numbers: NumberFormat, stated: &[String]) -> Vec<String> {
    const WORDS: [&str; 16] = [
        "na",
        "nan",
        "none",
        "null",
        "nil",
        "nd",
        "nr",
        "notavailable",
        "notmeasured",
        "notdetermined",
        "notreported",
        "unknown",
        "missing",
        "tbd",
        "keinewert",
        "ka",
    ];
    let means_none = |cell: &str| {
        let dashes = !cell.is_empty() && cell.chars().all(|c| "-–—−?*.".contains(c));
        (dashes || WORDS.contains(&plain(cell).as_str())) && Formula::parse(cell).is_err()
    };
    let mut found: Vec<String> = Vec::new();
    for table in tables {
        for at in 0..table.headers.len() {
            let (words, others): (Vec<&str>, Vec<&str>) = table.cells(at).partition(|cell| means_none(cell));
            let numeric = others.iter().filter(|cell| read_cell(cell, numbers).is_ok()).count();
            // most of what is no such word is a number
            if words.is_empty() || numeric == 0 || numeric * 5 < others.len() * 4 {
                continue;
            }
            for word in words {
                if !stated.iter().chain(&found).any(|known| known == word) && found.len() < 16 {
                    found.push(word.to_owned());
                }
            }
        }
    }
    found
}
