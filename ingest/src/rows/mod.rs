//! Rows to records: a [`Layout`] knows where a file's columns stand and makes a record of each row.

mod layout;
mod material;
mod measure;
mod nuclide;
mod slip;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use datasets::element::Element;
use datasets::formula::{Basis, Formula};
use datasets::property::Property;
use datasets::record::{Measurement, Record};
use datasets::unit::Conversion;

use crate::check::{self, Place};
use crate::header::Ppm;
use crate::mapping::{BasisColumn, Fractions, Mapping, ResolvedQuantity, ResolvedValue, When};
use crate::read::Row;
use crate::report::{Code, Finding, Severity};
use crate::value::NumberFormat;
use nuclide::Nuclide;

pub(crate) use material::decimal_points;
pub use material::space_group;
pub(crate) use measure::is_bound;

/// The columns of one file, by position: what the mapping says, looked up once. Threads are quicker with one each.
pub struct Layout<'a> {
    mapping: &'a Mapping,
    numbers: NumberFormat,
    when: Option<(usize, &'a When)>,
    formula: Option<usize>,
    composition: Option<Composition<'a>>,
    name: Option<usize>,
    space_group: Option<usize>,
    structure: Option<usize>,
    smiles: Option<usize>,
    class: Option<Text>,
    structure_source: Option<Text>,
    id: Vec<IdPart>,
    /// Whether the values can contradict each other at all.
    combinations: bool,
    derived: Derived,
    values: Vec<Value<'a>>,
    attributes: Vec<(String, usize)>,
    /// The column with the file that a row comes from, where a table is made of several.
    member: Option<usize>,
}

/// The composition in one column an element.
struct Composition<'a> {
    stated: &'a Fractions,
    when: Option<(usize, &'a When)>,
    shares: Vec<Share>,
    /// Columns such as `composition.Si.max` that say more about an element.
    parts: Vec<Share>,
    basis: Option<Basis>,
    basis_column: Option<(usize, &'a BasisColumn)>,
    balance: Option<Element>,
}

/// A column with the share of an element or isotope.
struct Share {
    nuclide: Nuclide,
    header: Box<str>,
    position: usize,
    /// Where the numbers are parts per million, as the header says.
    ppm: Option<Ppm>,
}

enum IdPart {
    Formula,
    Column(usize),
}

/// A text from the mapping or from a column.
enum Text {
    Constant(Arc<str>),
    Column { position: usize, prefix: String },
}

/// Where standard deviations come from, in the property's unit where constant.
enum Deviations<'a> {
    None,
    Column(usize, &'a str),
    Absolute(f64),
    Relative(f64),
}

struct Value<'a> {
    what: &'a ResolvedValue,
    property: Arc<str>,
    header: &'a str,
    position: usize,
    unit_column: Option<(usize, &'a str)>,
    deviations: Deviations<'a>,
    words: &'a BTreeMap<String, f64>,
    /// The place of the number in an array.
    at: &'a [usize],
    when: Option<(usize, &'a When)>,
    given_unit: Option<Arc<str>>,
    method: Option<Arc<str>>,
    source: Option<Text>,
    temperature: Option<Condition<'a>>,
    pressure: Option<Condition<'a>>,
    conditions: Vec<(&'a str, Text)>,
}

struct Condition<'a> {
    quantity: &'a ResolvedQuantity,
    position: Option<usize>,
}

/// The words of values that follow from others. Each layout has its own: threads that share a word wait for each other
/// to count its users.
struct Derived {
    density: Arc<str>,
    volume_per_atom: Arc<str>,
    youngs_modulus: Arc<str>,
    from_moduli: Arc<str>,
    from_structure: Arc<str>,
    from_volume: Arc<str>,
    from_computed_volume: Arc<str>,
}

impl Default for Derived {
    /// As the dictionary names them, for the deviations of such values.
    fn default() -> Self {
        Derived {
            density: Arc::from("density"),
            volume_per_atom: Arc::from("volume_per_atom"),
            youngs_modulus: Arc::from("youngs_modulus"),
            from_moduli: Arc::from("derived from bulk and shear modulus"),
            from_structure: Arc::from("from the structure"),
            from_volume: Arc::from("derived from volume"),
            from_computed_volume: Arc::from("derived from DFT volume"),
        }
    }
}

impl Text {
    fn get(&self, layout: &Layout<'_>, row: &Row, words: &mut Words) -> Option<Arc<str>> {
        match self {
            Text::Constant(text) => Some(Arc::clone(text)),
            Text::Column { position, prefix } => layout.cell(row, *position).map(|cell| words.get(prefix, cell)),
        }
    }
}

/// Repeating texts and units, kept once; one for each thread.
#[derive(Default)]
pub struct Words {
    texts: HashMap<String, Arc<str>>,
    units: Vec<(&'static Property, Box<str>, Conversion)>,
    buffer: String,
}

/// Distinct texts kept; more of them do not repeat.
const MOST_WORDS: usize = 1 << 16;

impl Words {
    fn get(&mut self, prefix: &str, text: &str) -> Arc<str> {
        self.buffer.clear();
        self.buffer.push_str(prefix);
        self.buffer.push_str(text);
        if let Some(known) = self.texts.get(&self.buffer) {
            return Arc::clone(known);
        }
        if self.texts.len() >= MOST_WORDS {
            self.texts.clear();
        }
        let new: Arc<str> = Arc::from(self.buffer.as_str());
        self.texts.insert(self.buffer.clone(), Arc::clone(&new));
        new
    }
}

impl Layout<'_> {
    /// Whether `[record] when` takes this row.
    pub fn wants(&self, row: &Row) -> bool {
        is_wanted(self.when, row)
    }

    /// The text of a cell; none where it is empty or one of the words that mean no value.
    fn cell<'r>(&self, row: &'r Row, position: usize) -> Option<&'r str> {
        row.cells.get(position).map(str::trim).filter(|text| !self.is_null(text))
    }

    /// One row → one record, which takes the place of `record`; what is noticed joins `flagged`.
    ///
    /// # Errors
    /// All that is wrong with the row, at once; the record means nothing then.
    pub fn record(
        &self,
        row: &Row,
        place: Place<'_>,
        words: &mut Words,
        record: &mut Record,
        flagged: &mut Vec<Finding>,
    ) -> Result<(), Vec<Finding>> {
        let member = self.member(row, place.file);
        // such a row begins its file
        let place = member.as_deref().map_or(place, |file| Place { file, line: 1 });
        let mut refused = Vec::new();
        let (before, known) = (flagged.len(), std::mem::take(&mut record.measurements));
        let identity = self.identity(row, place, &mut refused, flagged);
        let text = |position: Option<usize>| position.and_then(|p| self.cell(row, p)).map(str::to_owned);
        let name = text(self.name);
        let mut measurements = known;
        measurements.clear();
        for value in &self.values {
            let made = self.measurement(value, row, place, words, (&mut measurements, flagged));
            // a bad cell that several values need is said once
            refused.extend(made.err().filter(|finding| !refused.contains(finding)));
        }
        if measurements.is_empty() && refused.is_empty() && identity.described.is_none() {
            let why = "no value column of the mapping holds anything in this row".to_owned();
            let mend = "fill in a value, or map the column that holds one";
            refused.push(place.finding(Severity::Refused, Code::NoValue, (None, None), why, mend));
        }
        if identity.formula.is_none() && name.is_none() && identity.smiles.is_none() && refused.is_empty() {
            let why = "the row names no material".to_owned();
            let mend = "fill in the formula or the name";
            refused.push(place.finding(Severity::Refused, Code::NoIdentity, (None, None), why, mend));
        }
        if !refused.is_empty() {
            flagged.truncate(before);
            return Err(refused);
        }
        self.derive(&identity, row, &mut measurements, words);
        if self.combinations && measurements.len() > 1 {
            flagged.extend(check::combinations(place, &measurements));
        }
        let reduced = identity.formula.as_ref().map(Formula::reduced);
        let given = self.formula.and_then(|position| row.cells.get(position)).unwrap_or_default().trim();
        let given = if identity.stated { given } else { "" };
        // a text that only writes the canonical formula out, ones and all, says nothing more than it
        let says_no_more = given.is_empty()
            || reduced.as_deref() == Some(given)
            || identity.formula.as_ref().is_some_and(|formula| material::is_written_out(formula, given));
        let formula_given = (!says_no_more).then(|| given.to_owned());
        let attributes: BTreeMap<String, String> =
            self.attributes.iter().filter_map(|(key, position)| Some((key.clone(), text(Some(*position))?))).collect();
        record.id.clear();
        record.id.push_str(&self.mapping.dataset.name);
        record.id.push('/');
        if !self.write_source_id(row, reduced.as_deref(), &mut record.id) {
            let why = format!("the columns of the record id ({}) are empty", self.mapping.file.record.id.join(", "));
            let mend = "fill in one of them, or name other columns in [record] id";
            flagged.truncate(before);
            return Err(vec![place.finding(Severity::Refused, Code::NoIdentity, (None, None), why, mend)]);
        }
        record.name = name;
        record.formula_given = formula_given;
        record.formula = reduced;
        record.space_group = identity.space_group;
        record.smiles = identity.smiles;
        record.structure = identity.described.map(|described| Arc::new(described.structure));
        record.class = self.class.as_ref().and_then(|c| c.get(self, row, words));
        record.attributes = attributes;
        record.measurements = measurements;
        Ok(())
    }

    /// The header of the column that a value of a record of this file stands in; none for derived values.
    pub fn column_of(&self, m: &Measurement) -> Option<&str> {
        let is_of =
            |v: &&Value<'_>| *v.property == *m.property && v.what.evidence == m.evidence && v.method == m.method;
        let mut columns = self.values.iter().filter(is_of);
        let first = columns.next()?;
        if columns.next().is_none() {
            return Some(first.header);
        }
        // several columns of one property: each has a text of its own
        self.values.iter().find(|v| Arc::ptr_eq(&v.property, &m.property)).map(|v| v.header)
    }

    /// The file that a row comes from, where the table is made of several.
    pub fn member(&self, row: &Row, table: &str) -> Option<String> {
        self.member.and_then(|at| row.cells.get(at)).map(|member| format!("{table}/{member}"))
    }

    /// Whether the source has ids of its own: a column of the record id that is not the formula.
    pub fn has_own_ids(&self) -> bool {
        self.id.iter().any(|part| matches!(part, IdPart::Column(_)))
    }

    /// The property of a value of this file.
    pub fn property(&self, m: &Measurement) -> Option<&'static Property> {
        self.mapping.property(&m.property)
    }

    /// Writes what tells the row from others of its dataset; `false` where that is nothing.
    fn write_source_id(&self, row: &Row, reduced: Option<&str>, id: &mut String) -> bool {
        if self.id.is_empty() {
            // cells are joined by a character that no cell of a CSV file means anything by
            let joined = row.cells.iter().collect::<Vec<_>>().join("\u{1f}");
            // writing to a String cannot fail
            let _ = write!(id, "{:016x}", datasets::record::content_hash(joined.as_bytes()));
            return true;
        }
        let start = id.len();
        for (at, part) in self.id.iter().enumerate() {
            if at > 0 {
                id.push('/');
            }
            id.push_str(match part {
                IdPart::Formula => reduced.unwrap_or_default(),
                IdPart::Column(position) => self.cell(row, *position).unwrap_or_default(),
            });
        }
        id[start..].bytes().any(|byte| byte != b'/')
    }
}

/// A cell as a message shows it.
fn cut(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Whether a condition takes the row.
fn is_wanted(when: Option<(usize, &When)>, row: &Row) -> bool {
    when.is_none_or(|(position, when)| when.takes(row.cells.get(position).unwrap_or_default().trim()))
}
