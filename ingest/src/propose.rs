//! Which column is what, most likely? From headers and some rows a whole mapping, to be looked at before it is used.

use std::collections::BTreeMap;

use datasets::element::Element;
use datasets::formula::Formula;
use datasets::property::{Property, dictionary};
use datasets::record::Evidence;
use datasets::unit::Unit;
use serde::Serialize;

use crate::header::{self, Header, plain};
use crate::mapping::{
    Attribute, Fractions, Mapping, MappingFile, QuantitySource, TextColumn, TextSource, Uncertainty, ValueColumn,
};
use crate::read::{ReadOptions, Row, Table};
use crate::value::{NumberFormat, read as read_cell};

/// Headers and first rows of a table.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The name that `file = ...` of a mapping means.
    pub name: String,
    /// The headers.
    pub headers: Vec<String>,
    /// Rows, as cells.
    pub rows: Vec<Vec<String>>,
}

impl Sample {
    /// Takes up to `rows` rows out of a table, which is read up to there.
    pub fn take(table: &mut Table, rows: usize) -> Sample {
        let mut sample = Sample { name: table.name.clone(), headers: table.headers().to_vec(), rows: Vec::new() };
        let mut row = Row::default();
        while sample.rows.len() < rows {
            let Some(mut chunk) = table.next_chunk() else { break };
            while sample.rows.len() < rows {
                match chunk.next_row(&mut row) {
                    Some(Ok(())) => sample.rows.push(row.cells.iter().map(str::to_owned).collect()),
                    Some(Err(_)) => {}
                    None => break,
                }
            }
        }
        sample
    }

    /// Whether the numbers of these columns sum to one or to a hundred in most rows; `Mn` and `Rg` may be elements, and
    /// a molar mass and a radius.
    fn are_shares(&self, columns: &[usize]) -> bool {
        let sum = |row: &Vec<String>| -> f64 {
            columns.iter().filter_map(|&at| row.get(at)?.trim().parse::<f64>().ok()).sum()
        };
        let whole = |sum: f64| (sum - 1.0).abs() < 0.05 || (sum - 100.0).abs() < 5.0;
        let shares = self.rows.iter().filter(|row| whole(sum(row))).count();
        shares * 2 > self.rows.len()
    }

    fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(move |row| row.get(column)).map(|cell| cell.trim()).filter(|cell| !cell.is_empty())
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
}

impl Proposal {
    /// The mapping, checked, if nothing must be stated first; `dataset` names the dataset.
    ///
    /// # Errors
    /// What is missing or cannot be, with the mend.
    pub fn into_mapping(self, dataset: Option<&str>) -> Result<Mapping, String> {
        match self.to_state.into_iter().next() {
            Some(missing) => Err(missing),
            None => Mapping::from_file(self.file, dataset, "(proposed)").map_err(|e| e.to_string()),
        }
    }

    /// Columns that could not be placed, with why.
    pub fn unplaced(&self) -> impl Iterator<Item = &ColumnProposal> {
        self.columns.iter().filter(|c| c.role == Role::Unplaced)
    }
}

/// Proposes a mapping for the tables of one job. `evidence` is what the user said of the values.
pub fn propose(tables: &[Sample], read: &ReadOptions, evidence: Option<Evidence>) -> Proposal {
    let mut file = MappingFile { read: read.clone(), ..MappingFile::default() };
    file.defaults.evidence = evidence;
    let (mut columns, mut to_state) = (Vec::new(), Vec::new());
    let mut first_to_name: BTreeMap<&'static str, (&str, String)> = BTreeMap::new();
    for table in tables {
        let before = naming(&file);
        let mut one = One {
            table,
            numbers: NumberFormat { decimal: read.decimal, thousands: read.thousands },
            roles: BTreeMap::new(),
        };
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
        for (at, column) in table.headers.iter().enumerate() {
            let (role, property, unit, why) = one.roles.remove(&at).unwrap_or_else(|| one.unplaced(at));
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
    if tables.len() > 1 && file.record.id.is_empty() && file.material.formula.is_some() {
        file.record.id = vec!["@formula".into()];
        file.record.join = true;
    }
    if file.value.iter().any(|v| v.evidence.is_none()) && evidence.is_none() {
        to_state.push(
            "the files do not say how the values came to be: say --evidence measured, computed or derived".into(),
        );
    }
    let material = &file.material;
    if file.material.fractions.as_ref().is_some_and(|f| f.basis.is_none()) {
        to_state.push(
            "the element columns do not say whether they are of mass or of atoms: set basis in [material.fractions]"
                .into(),
        );
    }
    if [&material.formula, &material.name, &material.structure, &material.smiles].iter().all(|c| c.is_none())
        && material.fractions.is_none()
    {
        to_state.push("no column names the material: set formula, fractions or name in [material]".into());
    }
    if file.value.is_empty() && material.structure.is_none() {
        to_state
            .push("no column holds values of a known property: add [[value]], with [[property]] for new ones".into());
    }
    Proposal { file, columns, to_state }
}

/// The columns that say what a row speaks about, of which a mapping has one each for all tables.
fn naming(file: &MappingFile) -> [(&'static str, Option<String>); 7] {
    let column = |column: &Option<String>| column.as_ref().map(|column| format!("`{column}`"));
    let material = &file.material;
    let fractions = material.fractions.as_ref().map(|fractions| match &fractions.prefix {
        Some(prefix) => format!("`{prefix}...`"),
        None => format!("`{}`", fractions.columns.join("`, `")),
    });
    let id = (!file.record.id.is_empty()).then(|| format!("`{}`", file.record.id.join("`, `")));
    [
        ("the formula", column(&material.formula)),
        ("the composition", fractions),
        ("the name", column(&material.name)),
        ("the space group", column(&material.space_group)),
        ("the structure", column(&material.structure)),
        ("the SMILES string", column(&material.smiles)),
        ("the id of the record", id),
    ]
}

type Placed = (Role, Option<String>, Option<String>, String);

struct One<'t> {
    table: &'t Sample,
    numbers: NumberFormat,
    roles: BTreeMap<usize, Placed>,
}

impl One<'_> {
    fn set(&mut self, at: usize, role: Role, why: &str) {
        self.roles.insert(at, (role, None, None, why.to_owned()));
    }

    /// Share of the filled cells for which the test holds; 0 without cells.
    fn share(&self, at: usize, test: impl Fn(&str) -> bool) -> f64 {
        let (mut all, mut good) = (0.0, 0.0);
        for cell in self.table.cells(at).take(300) {
            all += 1.0;
            good += f64::from(u8::from(test(cell)));
        }
        if all > 0.0 { good / all } else { 0.0 }
    }

    fn is_number(&self, at: usize) -> bool {
        self.share(at, |cell| read_cell(cell, self.numbers).is_ok()) > 0.8
    }

    /// The free column whose header is one of these words, the first word first; of two header lines or a dotted path
    /// one part is enough.
    fn find(&self, words: &[&str], good: impl Fn(usize) -> bool) -> Option<usize> {
        let names: Vec<Vec<String>> = self.table.headers.iter().map(|h| parts(h)).collect();
        words.iter().find_map(|word| {
            (0..names.len())
                .find(|at| !self.roles.contains_key(at) && names[*at].iter().any(|n| n == word) && good(*at))
        })
    }

    fn place(&mut self, file: &mut MappingFile, several: bool) {
        self.place_material(file);
        self.place_values(file, several);
        self.place_rest(file);
    }

    fn place_material(&mut self, file: &mut MappingFile) {
        let headers = &self.table.headers;
        let column = |at: usize| Some(headers[at].clone());
        let symbols: Vec<usize> = (0..headers.len())
            .filter(|at| Element::from_symbol(&headers[*at]).is_some() && self.is_number(*at))
            .collect();
        let prefixes: Vec<String> = headers
            .iter()
            .filter_map(|h| h.rsplit_once('.').filter(|(_, s)| Element::from_symbol(s).is_some()))
            .map(|(prefix, _)| format!("{prefix}."))
            .collect();
        // one alone is `Sl.No`, the number of a row
        let prefix = prefixes.iter().find(|p| prefixes.iter().filter(|q| q == p).count() >= 2).cloned();
        if symbols.len() >= 2 && self.table.are_shares(&symbols) {
            let names = symbols.iter().map(|at| headers[*at].clone()).collect();
            file.material.fractions = Some(Fractions { columns: names, ..Fractions::default() });
            symbols.iter().for_each(|at| self.set(*at, Role::Fraction, "the header is an element's symbol"));
        } else if let Some(prefix) = prefix {
            let of = |h: &String| h.strip_prefix(&prefix).is_some_and(|s| Element::from_symbol(s).is_some());
            let under: Vec<usize> = (0..headers.len()).filter(|at| of(&headers[*at])).collect();
            under
                .iter()
                .for_each(|at| self.set(*at, Role::Fraction, "the last part of the header is an element's symbol"));
            file.material.fractions = Some(Fractions { prefix: Some(prefix), ..Fractions::default() });
        } else {
            const FORMULA: [&str; 10] = [
                "formula",
                "prettyformula",
                "chemicalformula",
                "truecomposition",
                "composition",
                "reducedcomposition",
                "compound",
                "alloy",
                "symbol",
                "#element",
            ];
            let parses = |at: usize| self.share(at, |c| Formula::parse(c).is_ok()) > 0.6;
            if let Some(at) = self.find(&FORMULA, parses) {
                file.material.formula = column(at);
                self.set(at, Role::Formula, "by its name; its cells read as formulas");
            }
        }
        let text = |one: &Self, at: usize| !one.is_number(at);
        for (words, role) in [
            (&["smiles", "molsmiles"][..], Role::Smiles),
            (&["cif", "poscar", "structure"][..], Role::Structure),
            (&["spacegroup#", "spacegroupnumber", "spacegroup", "sgnumber", "spg"][..], Role::SpaceGroup),
            (&["id", "materialid", "mpid", "entryid", "sampleid", "monomerid", "molcode", "identifier"][..], Role::Id),
            (
                &["name", "materialname", "tradename", "grade", "material", "alloy", "designation", "key", ""][..],
                Role::Name,
            ),
            (&["doi", "referencedoi", "source", "url"][..], Role::Source),
            (&["class", "materialclass", "polymerclass", "kindofmaterial", "family"][..], Role::Class),
        ] {
            let good = |at: usize| match role {
                Role::Structure => self.share(at, |c| c.len() > 60) > 0.5,
                Role::SpaceGroup => self.share(at, |c| crate::rows::space_group(c).is_some()) > 0.8,
                Role::Id => {
                    let mut cells: Vec<&str> = self.table.cells(at).collect();
                    let count = cells.len();
                    cells.sort_unstable();
                    cells.dedup();
                    count > 0 && cells.len() == count && count == self.table.rows.len()
                }
                Role::Source => {
                    self.share(at, |c| c.starts_with("10.") || c.starts_with("http") || c.starts_with("doi:")) > 0.8
                }
                _ => text(self, at),
            };
            let Some(at) = self.find(words, good) else { continue };
            let material = &mut file.material;
            match role {
                Role::Smiles => material.smiles = column(at),
                Role::Structure => material.structure = column(at),
                Role::SpaceGroup => material.space_group = column(at),
                Role::Id => file.record.id = vec![headers[at].clone()],
                Role::Name => material.name = column(at),
                Role::Class => material.class = Some(of_column(&headers[at], "")),
                _ => {
                    let bare = self.share(at, |c| c.starts_with("10.")) > 0.9;
                    file.defaults.source = Some(of_column(&headers[at], if bare { "doi:" } else { "" }));
                }
            }
            self.set(at, role, "by its name and its cells");
        }
    }

    fn place_values(&mut self, file: &mut MappingFile, several: bool) {
        let headers = &self.table.headers;
        let conditions = self.conditions();
        let mut uncertain = Vec::new();
        for at in 0..headers.len() {
            if self.roles.contains_key(&at) {
                continue;
            }
            let name = &headers[at];
            if let Some(base) = header::uncertainty_of(name) {
                uncertain.push((at, base.to_owned()));
                continue;
            }
            let mut said = header::read(name);
            let mut from = "by its header";
            if said.property.is_none() && matches!(plain(name).as_str(), "target" | "value" | "y") {
                let stem = self.table.name.split('.').next().unwrap_or_default();
                said = header::read(stem);
                from = "by the name of the file";
            }
            let Header { property: Some(property), .. } = said else { continue };
            if !self.is_number(at) {
                continue;
            }
            let unit_header =
                name.strip_suffix("value").map_or_else(|| format!("{name}_unit"), |stem| format!("{stem}unit"));
            let unit_column = headers.iter().position(|h| *h == unit_header);
            let (unit, why) = match (&said.unit, unit_column) {
                (_, Some(_)) => (None, format!("{from}; the unit stands in a column")),
                (Some(unit), None) => (Some(unit.clone()), from.to_owned()),
                (None, None) if property.unit == "1" || self.states_units(at) => (None, from.to_owned()),
                (None, None) => self.supposed_unit(at, property, from),
            };
            let why = match (said.evidence, said.method) {
                (Some(Evidence::Computed), None) => format!(
                    "{why}; computed, as the header says: state evidence = \"derived\" where it follows from other values"
                ),
                _ => why,
            };
            let depends = !matches!(property.group.as_str(), "physical" | "sustainability" | "processing");
            let temperature =
                said.temperature_k.map(|t| QuantitySource { value: Some(t), column: None, unit: "K".into() });
            file.value.push(ValueColumn {
                file: several.then(|| self.table.name.clone()),
                column: name.clone(),
                property: property.key.clone(),
                unit: unit.clone(),
                unit_column: unit_column.map(|u| headers[u].clone()),
                factor: None,
                uncertainty: None,
                optional: false,
                when: None,
                evidence: said.evidence,
                method: said.method.map(str::to_owned),
                source: None,
                temperature: temperature.or_else(|| conditions.temperature.clone().filter(|_| depends)),
                pressure: conditions.pressure.clone().filter(|_| depends),
                conditions: if depends { conditions.other.clone() } else { BTreeMap::new() },
            });
            let shown = unit.unwrap_or_else(|| property.unit.clone());
            self.roles.insert(at, (Role::Value, Some(property.key.clone()), Some(shown), why));
            if let Some(u) = unit_column {
                self.set(u, Role::Unit, "the unit of the column beside it");
            }
        }
        for (at, base) in uncertain {
            let Some(value) = file.value.iter_mut().find(|v| plain(&v.column) == plain(&base) || v.property == base)
            else {
                continue;
            };
            value.uncertainty = Some(Uncertainty::Column(headers[at].clone()));
            let why = format!("standard deviation of `{}`", value.column);
            self.set(at, Role::Uncertainty, &why);
        }
    }

    /// Temperature, pressure and direction columns.
    fn conditions(&mut self) -> Conditions {
        let mut found = Conditions::default();
        let number = |one: &Self, at: usize| one.is_number(at);
        const TEMPERATURE: [&str; 7] =
            ["testtemperature", "temperature", "measurementtemperature", "t", "temp", "tk", "tc"];
        for (words, wanted) in [(&TEMPERATURE[..], "K"), (&["pressure", "press", "p"][..], "Pa")] {
            let Ok(wanted_unit) = Unit::parse(wanted) else { continue };
            let stripped = |h: &str| {
                let last = h.rsplit(": ").next().unwrap_or(h);
                last.split(['(', '[']).next().map(plain).unwrap_or_default()
            };
            let headers = &self.table.headers;
            let fits = |at: &usize| {
                let parts = headers[*at].split(" / ").map(&stripped).collect::<Vec<_>>();
                !self.roles.contains_key(at) && parts.iter().any(|p| words.contains(&p.as_str())) && number(self, *at)
            };
            let Some(at) = (0..headers.len()).find(fits) else { continue };
            let name = headers[at].clone();
            let unit = name.split(" / ").find_map(|part| header::fitting_unit(part, &wanted_unit));
            let many = self.share(at, |c| c.parse::<f64>().is_ok_and(|t| t >= 200.0)) > 0.8;
            let unit = unit.or_else(|| (wanted == "K" && many).then(|| "K".to_owned()));
            let Some(unit) = unit else {
                self.set(
                    at,
                    Role::Unplaced,
                    "it looks like a condition, and states no unit: map it as temperature or pressure",
                );
                continue;
            };
            let source = QuantitySource { value: None, column: Some(name), unit: unit.clone() };
            if wanted == "K" {
                found.temperature = Some(source)
            } else {
                found.pressure = Some(source)
            }
            self.roles.insert(at, (Role::Condition, None, Some(unit), "the condition of the values".into()));
        }
        for (words, name) in
            [(&["direction", "orientation"][..], "direction"), (&["typeoftest", "testtype"][..], "test")]
        {
            if let Some(at) = self.find(words, |at| !number(self, at)) {
                found.other.insert(name.into(), of_column(&self.table.headers[at], ""));
                self.set(at, Role::Condition, "the condition of the values");
            }
        }
        found
    }

    fn states_units(&self, at: usize) -> bool {
        self.share(at, |c| read_cell(c, self.numbers).is_ok_and(|r| r.unit.is_some())) > 0.8
    }

    /// The unit of a column that states none: the dictionary's, unless only another one keeps the cells within bounds.
    fn supposed_unit(&self, at: usize, property: &Property, from: &str) -> (Option<String>, String) {
        const USUAL: [&str; 12] =
            ["Pa", "kPa", "MPa", "GPa", "kg/m^3", "g/cm^3", "K", "°C", "eV/atom", "kJ/mol", "S/m", "V/K"];
        let numbers: Vec<f64> =
            self.table.cells(at).filter_map(|c| read_cell(c, self.numbers).ok()).map(|r| r.value).collect();
        let inside = |unit: &str| {
            let wanted = Unit::parse(&property.unit).ok()?;
            let conversion = Unit::parse_for(unit, &wanted).ok()?.conversion_to(&wanted).ok()?;
            let good = numbers.iter().filter(|x| property.is_conceivable(conversion.apply(**x))).count();
            Some(good * 10 >= numbers.len() * 9)
        };
        if inside(&property.unit).unwrap_or(true) {
            return (None, format!("{from}; it states no unit, the dictionary's is supposed: check it"));
        }
        match USUAL.into_iter().find(|unit| inside(unit) == Some(true)) {
            Some(unit) => (
                Some(unit.to_owned()),
                format!(
                    "{from}; it states no unit, and {} would put the cells out of bounds: {unit} is supposed, check it",
                    property.unit
                ),
            ),
            None => (
                None,
                format!(
                    "{from}; it states no unit, and most cells are out of bounds in {}: state the unit",
                    property.unit
                ),
            ),
        }
    }

    /// Short texts stay with the record.
    fn place_rest(&mut self, file: &mut MappingFile) {
        for (at, name) in self.table.headers.iter().enumerate() {
            let short = self.share(at, |c| c.len() <= 200) > 0.95;
            if self.roles.contains_key(&at) || self.is_number(at) || !short || name.is_empty() {
                continue;
            }
            file.attributes.insert(
                name.clone(),
                Attribute::Table(crate::mapping::AttributeColumns {
                    column: Some(name.clone()),
                    optional: true,
                    prefix: None,
                }),
            );
            self.set(at, Role::Attribute, "text that is kept with the record");
        }
    }

    fn unplaced(&self, at: usize) -> Placed {
        let name = &self.table.headers[at];
        let why = if self.table.cells(at).next().is_none() {
            "no cell of the first rows holds anything".to_owned()
        } else if !self.is_number(at) {
            "its cells are neither numbers nor short texts".to_owned()
        } else {
            let closest = dictionary().closest(name, 3).join(", ");
            format!(
                "no property has this name; the closest are: {closest}. Map it by [[value]], or make a [[property]] of it"
            )
        };
        (Role::Unplaced, None, None, why)
    }
}

#[derive(Default)]
struct Conditions {
    temperature: Option<QuantitySource>,
    pressure: Option<QuantitySource>,
    other: BTreeMap<String, TextSource>,
}

fn of_column(column: &str, prefix: &str) -> TextSource {
    TextSource::Column(TextColumn { column: column.to_owned(), prefix: prefix.to_owned() })
}

/// The names under which a header may be known: whole, of either header line, behind a lead such as `REFERENCE:`, and
/// the last part of a dotted path.
fn parts(header: &str) -> Vec<String> {
    let mut names = vec![plain(header)];
    for part in header.split(" / ") {
        names.push(plain(part));
        names.extend(part.rsplit_once(": ").map(|(_, last)| plain(last)));
        names.extend(part.rsplit_once('.').map(|(_, last)| plain(last)).filter(|last| !last.is_empty()));
    }
    names
}
