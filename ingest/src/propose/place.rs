//! Where does each column of a table belong? By its header first, then by its cells.

mod shares;

use std::collections::BTreeMap;

use datasets::element::Element;
use datasets::formula::{Basis, Formula};
use datasets::property::{Property, dictionary};
use datasets::record::Evidence;
use datasets::unit::Unit;

use super::{Role, Sample};
use crate::header::{self, Deviation, Header, bare, plain};
use crate::mapping::{
    Attribute, AttributeColumns, BasisName, Fractions, MappingFile, Prefixes, QuantitySource, TextColumn, TextSource,
    Uncertainty, ValueColumn, is_like,
};
use crate::read::Format;
use crate::rows::decimal_points;
use crate::value::{NumberFormat, is_room_temperature, read as read_cell};

/// Words of a reason that ask the user to look at a supposition.
pub(super) const CHECK: &str = "check it";
/// Words of a reason without which the column cannot be used.
pub(super) const MUST_STATE: &str = "state the unit";
/// How the reason of a column begins that is called as a formula is, and holds none.
pub(super) const NO_FORMULAS: &str = "its cells are no formulas";

/// Words of a reason without which the composition cannot be used.
pub(super) const MUST_BALANCE: &str = "say balance = ";
/// Why a column is left out.
pub(super) const IGNORED: &str = "left out, as ignore in [read] says";

/// Why a column has no place beside the structure.
pub(super) const IN_STRUCTURE: &str = "the structure says it too";

/// Share of the cells of a column that must be within physical bounds in the unit that is supposed.
const MOST_INSIDE: f64 = 0.9;

/// Headers of columns with the direction of a test.
const DIRECTION: [&str; 8] = [
    "direction",
    "orientation",
    "testdirection",
    "loadingdirection",
    "specimenorientation",
    "richtung",
    "prüfrichtung",
    "probenlage",
];

/// Headers of columns that number the rows, or name what was tested.
const NUMBERS: [&str; 16] = [
    "sample",
    "sampleid",
    "samplename",
    "sampleno",
    "specimen",
    "specimenid",
    "specimenno",
    "probe",
    "probenr",
    "run",
    "runid",
    "no",
    "nr",
    "number",
    "index",
    "row",
];

const NUMBERS_ASTRAY: &str = "numbers that have no place: map them by [[value]], with [[property]] where the dictionary has no such \
                              property, keep them in [attributes], or list them under ignore in [read]: write the mapping with \
                              --write-mapping MAP.toml, mend it, and ingest with --mapping MAP.toml";
const DEVIATION_ASTRAY: &str = "what looks like the uncertainty of another column, and none of the values is known to be that column: name it by \
     uncertainty = \"...\" in the [[value]] of its column (one standard deviation, in the unit of the values), map it by a \
     [[value]] of its own where it is none, or list it under ignore in [read]";
const SCALE_ASTRAY: &str = "numbers of another quantity or scale than its property has, as the brackets of the header say: map it by [[value]], \
     with [[property]] and its unit where the dictionary has no such property, or with unit = \"...\" where the brackets say something else";
const COUNT_ASTRAY: &str = "small whole numbers under a header that ends in n, and look like counts of measurements: check it, and map \
                            it by [[value]] where it is a property, keep it in [attributes], or list it under ignore in [read]";
const CONDITION_ASTRAY: &str =
    "what looks like a condition, and states no unit: map it as temperature or pressure in [defaults], with its unit";
const COMMAS_ASTRAY: &str = "numbers with a comma: say decimal = \",\" in [read], or thousands = \",\" where it stands between \
                             groups of three digits (--mapping with [read] alone is completed by a proposal)";
const MIXED_ASTRAY: &str =
    "numbers beside other words: list those that mean no value under null in [read], or map the column";

/// Role, property, unit and why.
type Placed = (Role, Option<String>, Option<String>, String);

/// One table, and what its columns were taken for so far.
pub(super) struct One<'t> {
    table: &'t Sample,
    numbers: NumberFormat,
    /// Words that mean no value.
    nulls: Vec<String>,
    pub(super) roles: BTreeMap<usize, Placed>,
    /// Why a column that is called as a formula is taken for none.
    no_formulas: BTreeMap<usize, String>,
    /// Columns that look like something that cannot be used as it is, and what is to be done about it.
    astray: BTreeMap<usize, &'static str>,
    /// Whether id and source are stated already.
    keeps: (bool, bool),
}

impl<'t> One<'t> {
    /// With the words that mean no value, the columns that are left out, and whether id and source are stated already.
    pub(super) fn new(
        table: &'t Sample,
        numbers: NumberFormat,
        (nulls, ignore): (&[String], &[String]),
        keeps: (bool, bool),
    ) -> One<'t> {
        let left_out = |(_, header): &(usize, &String)| ignore.iter().any(|pattern| is_like(header, pattern));
        let left_out = table.headers.iter().enumerate().filter(left_out);
        let roles = left_out.map(|(at, _)| (at, (Role::Unplaced, None, None, IGNORED.to_owned()))).collect();
        One {
            table,
            numbers,
            nulls: nulls.to_vec(),
            roles,
            no_formulas: BTreeMap::new(),
            astray: BTreeMap::new(),
            keeps,
        }
    }

    /// The cells of a column that say something.
    fn filled(&self, at: usize) -> impl Iterator<Item = &'t str> {
        let table = self.table;
        table.cells(at).filter(|cell| !self.nulls.iter().any(|null| null == cell))
    }

    fn set(&mut self, at: usize, role: Role, why: &str) {
        self.roles.insert(at, (role, None, None, why.to_owned()));
    }

    /// Share of the filled cells for which the test holds; 0 without cells.
    fn share(&self, at: usize, test: impl Fn(&str) -> bool) -> f64 {
        let (mut all, mut good) = (0.0, 0.0);
        for cell in self.filled(at).take(300) {
            all += 1.0;
            good += f64::from(u8::from(test(cell)));
        }
        if all > 0.0 { good / all } else { 0.0 }
    }

    fn is_number(&self, at: usize) -> bool {
        self.share(at, |cell| read_cell(cell, self.numbers).is_ok()) > 0.8
    }

    /// Whether the cells of a column that counts or names rows are numbers in their order from 0 or 1.
    fn numbers_rows(&self, at: usize) -> bool {
        let name = plain(&self.table.headers[at]);
        let counts = |(n, cell): (usize, &str)| cell.parse::<usize>().is_ok_and(|x| x == n || x == n + 1);
        let named = name.is_empty() || name.starts_with("unnamed") || name == "slno" || name == "id";
        (named || NUMBERS.contains(&name.as_str()))
            && self.table.rows.len() >= 3
            && self.table.cells(at).count() == self.table.rows.len()
            && self.table.cells(at).enumerate().all(counts)
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

    pub(super) fn place(&mut self, file: &mut MappingFile, several: bool) {
        self.place_material(file);
        self.place_values(file, several);
        self.place_rest(file);
    }

    fn place_material(&mut self, file: &mut MappingFile) {
        let headers = &self.table.headers;
        let column = |at: usize| Some(headers[at].clone());
        let prefixes: Vec<String> = headers
            .iter()
            .filter_map(|h| h.rsplit_once('.').filter(|(_, s)| Element::from_symbol(s).is_some()))
            .map(|(prefix, _)| format!("{prefix}."))
            .collect();
        let under = |prefix: &str| {
            let of = |h: &String| h.strip_prefix(prefix).is_some_and(|s| Element::from_symbol(s).is_some());
            (0..headers.len()).filter(|at| of(&headers[*at])).collect::<Vec<usize>>()
        };
        // one alone is `Sl.No`, the number of a row; `elastic.K` and `elastic.C` sum to no whole
        let prefix = prefixes.iter().find(|prefix| {
            let columns = under(prefix);
            let words = plain(prefix);
            let named = ["composition", "element", "fraction", "stoich", "formula"].iter().any(|w| words.contains(w));
            columns.len() >= 2 && (named || self.table.whole(&columns, self.numbers).is_some())
        });
        let prefix = prefix.cloned();
        if self.place_shares(file) {
        } else if let Some(prefix) = prefix {
            under(&prefix)
                .iter()
                .for_each(|at| self.set(*at, Role::Fraction, "the last part of the header is an element's symbol"));
            file.material.fractions = Some(Fractions { prefix: Some(Prefixes::One(prefix)), ..Fractions::default() });
        } else {
            self.place_formula(file);
            if file.material.formula.is_none() {
                self.place_parts(file);
            }
        }
        let text = |one: &Self, at: usize| !one.is_number(at);
        for (words, role) in [
            (&["smiles", "molsmiles"][..], Role::Smiles),
            (&["cif", "poscar", "structure"][..], Role::Structure),
            (&["spacegroup#", "spacegroupnumber", "spacegroup", "sgnumber", "spg"][..], Role::SpaceGroup),
            (&["id", "materialid", "mpid", "entryid", "monomerid", "molcode", "identifier"][..], Role::Id),
            (&NUMBERS[..], Role::Id),
            (
                &[
                    "name",
                    "materialname",
                    "tradename",
                    "grade",
                    "material",
                    "alloy",
                    "designation",
                    "werkstoff",
                    "legierung",
                    "bezeichnung",
                    "key",
                    "",
                ][..],
                Role::Name,
            ),
            (&["doi", "referencedoi", "source", "url"][..], Role::Source),
            (&["class", "materialclass", "polymerclass", "kindofmaterial", "family"][..], Role::Class),
        ] {
            let good = |at: usize| match role {
                Role::Structure => self.share(at, |c| c.len() > 60) > 0.5,
                Role::SpaceGroup => self.share(at, |c| crate::rows::space_group(c).is_some()) > 0.8,
                Role::Id => {
                    // a row that is there twice, word for word, is one
                    let mut rows: Vec<&Vec<String>> = self.table.rows.iter().collect();
                    rows.sort_unstable();
                    rows.dedup();
                    let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.trim());
                    let mut cells: Vec<&str> = cells.filter(|cell| !cell.is_empty()).collect();
                    let count = cells.len();
                    cells.sort_unstable();
                    cells.dedup();
                    let counted = words == &NUMBERS[..] && self.numbers_rows(at);
                    count > 0 && cells.len() == count && count == rows.len() && !counted
                }
                // `@class` of a Python object is what the object is
                Role::Class => text(self, at) && !headers[at].contains('@'),
                Role::Source => {
                    self.share(at, |c| c.starts_with("10.") || c.starts_with("http") || c.starts_with("doi:")) > 0.8
                }
                _ => text(self, at),
            };
            let stated = match role {
                Role::Id => self.keeps.0 || self.roles.values().any(|(role, ..)| *role == Role::Id),
                Role::Source => self.keeps.1,
                _ => false,
            };
            let Some(at) = self.find(words, good).filter(|_| !stated) else { continue };
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
        if let (true, Some(at)) = (file.record.id.is_empty(), headers.iter().position(|h| h == "@file")) {
            let mut files: Vec<&str> = self.table.cells(at).collect();
            files.sort_unstable();
            if files.windows(2).all(|two| two[0] != two[1]) {
                file.record.id = vec![headers[at].clone()];
                self.set(at, Role::Id, "the file that the row is from");
            }
        }
        if file.material.structure.is_some() && file.material.fractions.take().is_some() {
            // the structure says it
            for (role, _, _, why) in self.roles.values_mut().filter(|(role, ..)| *role == Role::Fraction) {
                (*role, *why) = (Role::Unplaced, IN_STRUCTURE.to_owned());
            }
        }
    }

    fn place_formula(&mut self, file: &mut MappingFile) {
        const FORMULA: [&str; 15] = [
            "formula",
            "prettyformula",
            "chemicalformula",
            "truecomposition",
            "composition",
            "reducedcomposition",
            "compound",
            "summenformel",
            "formel",
            "zusammensetzung",
            "verbindung",
            "alloy",
            "legierung",
            "symbol",
            "#element",
        ];
        let reads = |basis: Option<BasisName>, cell: &str| {
            let pointed = (self.numbers.decimal == ',').then(|| decimal_points(cell)).flatten();
            let cell = pointed.as_deref().unwrap_or(cell);
            match basis {
                None => Formula::parse(cell),
                Some(basis) => Formula::parse_with_basis(cell, Basis::from(basis)),
            }
        };
        // what the header states; shares of atoms are read without it too
        let basis_of = |at: usize| {
            let stated = header::basis(&self.table.headers[at]);
            let by_atoms = matches!(stated, Some(BasisName::AtomicPercent | BasisName::AtomicFraction));
            let good = |basis: Option<BasisName>| self.share(at, |cell| reads(basis, cell).is_ok()) > 0.6;
            if (stated.is_none() || by_atoms) && good(None) { Some(None) } else { good(stated).then_some(stated) }
        };
        if let Some(at) = self.find(&FORMULA, |at| basis_of(at).is_some()) {
            file.material.formula = Some(self.table.headers[at].clone());
            file.material.basis = basis_of(at).flatten();
            self.set(at, Role::Formula, "by its name; its cells read as formulas");
            return;
        }
        let bad = |at: usize| {
            let stated = header::basis(&self.table.headers[at]);
            self.filled(at).find_map(|cell| reads(stated, cell).err())
        };
        if let Some(at) = self.find(&FORMULA, |at| !self.is_number(at) && bad(at).is_some()) {
            let why = bad(at).map(|why| why.to_string()).unwrap_or_default();
            let mend = "where they are formulas, set formula and basis in [material]";
            self.no_formulas.insert(at, format!("{NO_FORMULAS}; the first: {why}; {mend}"));
        }
    }

    fn place_values(&mut self, file: &mut MappingFile, several: bool) {
        let headers = &self.table.headers;
        let conditions = self.conditions();
        let first = file.value.len();
        let uncertain = self.uncertain();
        for at in 0..headers.len() {
            if self.roles.contains_key(&at) || uncertain.iter().any(|(column, _)| *column == at) {
                continue;
            }
            let name = &headers[at];
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
            let is_without = said.unit.is_none() && property.unit != "1" && !self.states_units(at);
            if is_without && header::is_of_another_scale(name) {
                self.astray.insert(at, SCALE_ASTRAY);
                self.set(at, Role::Unplaced, SCALE_ASTRAY);
                continue;
            }
            if self.counts(at) {
                self.astray.insert(at, COUNT_ASTRAY);
                self.set(at, Role::Unplaced, COUNT_ASTRAY);
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
            let in_percent =
                unit.as_deref() == Some("%") || (unit.is_none() && property.unit == "%" && name.contains('%'));
            let why = match in_percent && self.is_below_one(at) {
                true => format!(
                    "{why}; its numbers are all at most 1, as of cells that a spreadsheet shows in percent (0.98 as 98 %): \
                     where it is so say factor = 100 in its [[value]], {CHECK}"
                ),
                false => why,
            };
            // nor does a temperature at which something happens
            let depends = !matches!(property.group.as_str(), "physical" | "sustainability" | "processing")
                && property.unit != "K";
            let temperature =
                said.temperature_k.map(|t| QuantitySource { value: Some(t), column: None, unit: "K".into() });
            file.value.push(ValueColumn {
                file: several.then(|| self.table.name.clone()),
                column: name.clone(),
                at: Vec::new(),
                property: property.key.clone(),
                unit: unit.clone(),
                unit_column: unit_column.map(|u| headers[u].clone()),
                factor: None,
                words: BTreeMap::new(),
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
        for (at, deviation) in uncertain {
            let own: Vec<usize> = (first..file.value.len()).filter(|n| file.value[*n].uncertainty.is_none()).collect();
            let is_of = |same: &dyn Fn(&ValueColumn) -> bool| {
                let mut found = own.iter().copied().filter(|n| same(&file.value[*n]));
                found.next().filter(|_| found.next().is_none())
            };
            let of = &deviation.of;
            let property = header::read(of).property.map(|property| property.key.as_str());
            let value = is_of(&|v| plain(&v.column) == plain(of))
                .or_else(|| is_of(&|v| bare(&v.column) == bare(of) || v.property == *of))
                .or_else(|| is_of(&|v| Some(v.property.as_str()) == property))
                .filter(|n| !of.is_empty() && self.has_unit_of(at, &file.value[*n]));
            let Some(n) = value else {
                self.astray.insert(at, DEVIATION_ASTRAY);
                self.set(at, Role::Unplaced, DEVIATION_ASTRAY);
                continue;
            };
            let value = &mut file.value[n];
            value.uncertainty = Some(Uncertainty::Column(headers[at].clone()));
            let why = format!("standard deviation of `{}`", value.column);
            self.set(at, Role::Uncertainty, &why);
        }
    }

    /// Columns of numbers that are the uncertainty of others, by their headers. `s`, `σ` and `Δ` are symbols of properties
    /// too: they count where another column is what they are of, or where only the rest of the header names a property.
    fn uncertain(&self) -> Vec<(usize, Deviation)> {
        let headers = &self.table.headers;
        let free = |at: usize| !self.roles.contains_key(&at) && self.is_number(at);
        let property = |header: &str| header::read(header).property.map(|property| property.key.as_str());
        let is = |at: usize, deviation: &Deviation| {
            if deviation.sure {
                return true;
            }
            let of = property(&deviation.of);
            let is_it = |other: usize| {
                let header = &headers[other];
                other != at
                    && free(other)
                    && header::uncertainty_of(header).is_none_or(|it| !it.sure && it.of != deviation.of)
                    && (bare(header) == bare(&deviation.of) || (of.is_some() && property(header) == of))
            };
            let lines = headers[at].split(" / ");
            let same = lines.filter(|line| of.is_some() && dictionary().by_alias(line).map(|p| p.key.as_str()) == of);
            let is_symbol = dictionary().by_alias(&headers[at]).is_some() || same.count() > 1;
            (0..headers.len()).any(is_it) || (!is_symbol && property(&headers[at]).is_some())
        };
        let found = (0..headers.len()).filter(|at| free(*at));
        let found = found.filter_map(|at| Some((at, header::uncertainty_of(&headers[at])?)));
        found.filter(|(at, deviation)| is(*at, deviation)).collect()
    }

    /// Whether the header of a deviation states the unit of the values, or none.
    fn has_unit_of(&self, at: usize, value: &ValueColumn) -> bool {
        let Some(stated) = header::stated_unit(&self.table.headers[at]) else { return true };
        let Some(property) = dictionary().get(&value.property) else { return true };
        let scale = |unit: &str| {
            let wanted = Unit::parse(&property.unit).ok()?;
            Some(Unit::parse_for(unit, &wanted).ok()?.conversion_to(&wanted).ok()?.scale())
        };
        let given = value.unit.as_deref().unwrap_or(&property.unit);
        match (scale(stated), scale(given)) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * b.abs(),
            // what is no unit of the property may be a word, and else another unit, such as %
            _ => stated != "%" && (Unit::parse(stated).is_err() || header::uncertainty_of(stated).is_some()),
        }
    }

    /// Whether a column looks like the counts of measurements behind the values of another one: `Seebeck / n`.
    fn counts(&self, at: usize) -> bool {
        let mut words = self.table.headers[at].split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let last = words.next_back();
        let small = |cell: &str| {
            read_cell(cell, self.numbers).is_ok_and(|r| (1.0..=1000.0).contains(&r.value) && r.value.fract() == 0.0)
        };
        words.next().is_some() && matches!(last, Some("n" | "N")) && self.filled(at).all(small)
    }

    fn is_below_one(&self, at: usize) -> bool {
        let numbers = self.filled(at).filter_map(|c| read_cell(c, self.numbers).ok()).map(|r| r.value.abs());
        let most = numbers.fold(0.0, f64::max);
        most > 0.0 && most <= 1.0
    }

    /// Temperature, pressure and direction columns.
    fn conditions(&mut self) -> Conditions {
        let mut found = Conditions::default();
        let number = |one: &Self, at: usize| one.is_number(at);
        const TEMPERATURE: [&str; 6] = ["testtemperature", "temperature", "temperatur", "prüftemperatur", "t", "temp"];
        for (words, wanted) in [(&TEMPERATURE[..], "K"), (&["pressure", "press", "p"][..], "Pa")] {
            let Ok(wanted_unit) = Unit::parse(wanted) else { continue };
            let headers = &self.table.headers;
            // `P [ppm]` is a share of phosphorus
            let of_another = |header: &str| {
                let stated = header::stated_unit(header).filter(|stated| !is_condition(stated, words));
                stated.is_some_and(|unit| {
                    let fits = Unit::parse_for(unit, &wanted_unit).is_ok_and(|u| u.conversion_to(&wanted_unit).is_ok());
                    !fits && (Unit::parse(unit).is_ok() || unit.contains('%') || unit.starts_with("pp"))
                })
            };
            let room = |cell: &str| wanted == "K" && is_room_temperature(cell);
            let stated = |cell: &str| read_cell(cell, self.numbers).is_ok() || room(cell);
            let fits = |at: &usize| {
                let is_named = headers[*at].split(" / ").any(|part| is_condition(part, words));
                !self.roles.contains_key(at)
                    && is_named
                    && !of_another(&headers[*at])
                    && header::uncertainty_of(&headers[*at]).is_none_or(|deviation| !deviation.sure)
                    && self.share(*at, stated) > 0.8
            };
            let Some(at) = (0..headers.len()).find(fits) else { continue };
            let name = headers[at].clone();
            // of two header lines the second may be the unit: `T / °C`
            let unit = name.split(" / ").find_map(|part| header::fitting_unit(part, &wanted_unit));
            let unit = unit.or_else(|| header::fitting_unit(&name, &wanted_unit));
            let many = self.share(at, |c| room(c) || read_cell(c, self.numbers).is_ok_and(|r| r.value >= 200.0)) > 0.8;
            let unit = unit.or_else(|| (wanted == "K" && many).then(|| "K".to_owned()));
            let Some(unit) = unit else {
                self.astray.insert(at, CONDITION_ASTRAY);
                self.set(at, Role::Unplaced, CONDITION_ASTRAY);
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
        for (words, name) in [(&DIRECTION[..], "direction"), (&["typeoftest", "testtype", "prüfart"][..], "test")] {
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
            self.filled(at).filter_map(|c| read_cell(c, self.numbers).ok()).map(|r| r.value).collect();
        let share_inside = |unit: &str| {
            let wanted = Unit::parse(&property.unit).ok()?;
            let conversion = Unit::parse_for(unit, &wanted).ok()?.conversion_to(&wanted).ok()?;
            let good = numbers.iter().filter(|x| property.is_conceivable(conversion.apply(**x))).count();
            Some(good as f64 / numbers.len() as f64)
        };
        // where the unit is none, nothing can be said
        let share = share_inside(&property.unit).unwrap_or(1.0);
        if share >= MOST_INSIDE {
            return (None, format!("{from}; it states no unit, the dictionary's is supposed: check it"));
        }
        match USUAL.into_iter().find(|unit| share_inside(unit).is_some_and(|share| share >= MOST_INSIDE)) {
            Some(unit) => (
                Some(unit.to_owned()),
                format!(
                    "{from}; it states no unit, and {} would put the cells out of bounds: {unit} is supposed, check it",
                    property.unit
                ),
            ),
            None if share > 0.5 => (
                None,
                format!(
                    "{from}; it states no unit, the dictionary's is supposed, in which {:.0} % of the cells are out of bounds: check it",
                    100.0 * (1.0 - share)
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
            let taken = self.roles.contains_key(&at) || self.stray(at).is_some() || self.numbers_rows(at);
            if taken || !short || name.is_empty() || file.attributes.contains_key(name) {
                continue;
            }
            let column = AttributeColumns { column: Some(name.clone()), optional: true, prefix: None };
            file.attributes.insert(name.clone(), Attribute::Table(column));
            let why = self.no_formulas.remove(&at).unwrap_or_else(|| "text that is kept with the record".to_owned());
            self.set(at, Role::Attribute, &why);
        }
    }

    /// What is to be done about a column of numbers that has no place; none where it holds none.
    pub(super) fn stray(&self, at: usize) -> Option<&'static str> {
        let comma = NumberFormat { decimal: ',', thousands: Some('.') };
        let typed = self.table.format.is_some_and(Format::is_typed);
        // a typed number beside texts with a decimal comma is the number that it is
        let number = |c: &str| read_cell(c, comma).is_ok() || (typed && NumberFormat::POINT.plain(c).is_some());
        if let Some(mend) = self.astray.get(&at) {
            Some(mend)
        } else if self.numbers_rows(at) {
            None
        } else if self.is_number(at) {
            Some(NUMBERS_ASTRAY)
        } else if self.numbers.decimal == '.'
            && self.share(at, number) > 0.8
            && self.filled(at).any(|c| c.contains(','))
        {
            Some(COMMAS_ASTRAY)
        } else if self.share(at, |c| read_cell(c, self.numbers).is_ok()) > 0.5 {
            Some(MIXED_ASTRAY)
        } else {
            None
        }
    }

    /// Whether the first row holds the units of the columns below: none of its cells is a number, and those of columns
    /// of numbers are units.
    pub(super) fn has_row_of_units(&self) -> bool {
        let Some((first, rest)) = self.table.rows.split_first().filter(|(_, rest)| !rest.is_empty()) else {
            return false;
        };
        let number = |cell: &str| read_cell(cell, self.numbers).is_ok_and(|reading| reading.unit.is_none());
        let mut units = 0;
        for at in 0..self.table.headers.len() {
            let Some(cell) = first.get(at).map(|cell| cell.trim()).filter(|cell| !cell.is_empty()) else { continue };
            let below = rest.iter().filter_map(|row| row.get(at)).filter(|cell| number(cell)).count();
            // `1` is the unit of what has none
            let is_plain = number(cell) && cell != "1";
            if below * 5 < rest.len() * 4 {
                continue;
            }
            if is_plain {
                return false;
            }
            units += usize::from(cell != "1" && Unit::parse(cell).is_ok());
        }
        units > 0
    }

    pub(super) fn unplaced(&self, at: usize) -> Placed {
        let name = &self.table.headers[at];
        let why = if self.table.cells(at).next().is_none() {
            "no cell of the first rows holds anything".to_owned()
        } else if let Some(mend) = self.astray.get(&at) {
            format!("it holds {mend}")
        } else if self.numbers_rows(at) {
            "it numbers the rows; name it in [record] id where no other file of the dataset has these numbers"
                .to_owned()
        } else if self.is_number(at) {
            let closest = dictionary().closest(name, 3).join(", ");
            format!(
                "no property has this name; the closest are: {closest}. Map it by [[value]], or make a [[property]] of it"
            )
        } else if let Some(mend) = self.stray(at) {
            format!("it holds {mend}")
        } else {
            "its cells are neither numbers nor short texts".to_owned()
        };
        (Role::Unplaced, None, None, why)
    }
}

/// Whether a header says the condition by one of these words, beside words such as `test` and a unit: `Test T (C)`.
fn is_condition(header: &str, words: &[&str]) -> bool {
    const BESIDE: [&str; 14] = [
        "test",
        "testing",
        "tests",
        "measurement",
        "measured",
        "measuring",
        "meas",
        "at",
        "of",
        "sample",
        "specimen",
        "deg",
        "degree",
        "degrees",
    ];
    const UNITS: [&str; 14] =
        ["c", "k", "f", "degc", "degk", "degf", "celsius", "kelvin", "pa", "kpa", "mpa", "gpa", "bar", "atm"];
    let header = header.rsplit(": ").next().unwrap_or(header);
    let header = header.split(['(', '[']).next().unwrap_or_default().to_lowercase();
    let parts: Vec<&str> = header.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    // `T of k` is the temperature of one column
    if parts.windows(2).any(|two| two[0] == "of" && !BESIDE.contains(&two[1])) {
        return false;
    }
    let mut named = false;
    let known = parts.iter().enumerate().all(|(n, part)| {
        let is_word = words.contains(part);
        named |= is_word;
        // a unit stands behind the word
        is_word || BESIDE.contains(part) || (n > 0 && named && UNITS.contains(part))
    });
    known && named
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
    // `Composition (at%)`
    let bare =
        header.trim_end().strip_suffix([')', ']']).and_then(|h| h.rsplit_once(['(', '['])).map(|(bare, _)| plain(bare));
    names.extend(bare.filter(|bare| !bare.is_empty()));
    for part in header.split(" / ") {
        names.push(plain(part));
        names.extend(part.rsplit_once(": ").map(|(_, last)| plain(last)));
        names.extend(part.rsplit_once('.').map(|(_, last)| plain(last)).filter(|last| !last.is_empty()));
    }
    names
}
