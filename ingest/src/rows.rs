//! Rows to records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datasets::element::Element;
use datasets::formula::Formula;
use datasets::record::{Evidence, Measurement, Record};

use crate::check::{Place, bounds};
use crate::mapping::{BasisName, Derivation, Mapping, ResolvedQuantity, ResolvedValue, TextSource};
use crate::read::{ReadError, Row, Table};
use crate::report::{Code, Finding, Severity};

/// The columns of one file, by position: what the mapping says, looked up once.
pub struct Layout<'a> {
    mapping: &'a Mapping,
    formula: Option<usize>,
    fractions: Vec<(Element, usize)>,
    name: Option<usize>,
    space_group: Option<usize>,
    class: Option<Text>,
    id: Vec<IdPart>,
    values: Vec<Value<'a>>,
    attributes: Vec<(&'a str, usize)>,
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

struct Value<'a> {
    what: &'a ResolvedValue,
    property: Arc<str>,
    header: &'a str,
    position: usize,
    uncertainty: Option<(usize, &'a str)>,
    when: Option<(usize, &'a [String])>,
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

impl Text {
    fn of(source: &TextSource, table: &Table) -> Result<Text, ReadError> {
        Ok(match source {
            TextSource::Constant(text) => Text::Constant(Arc::from(text.as_str())),
            TextSource::Column(c) => Text::Column { position: table.position(&c.column)?, prefix: c.prefix.clone() },
        })
    }

    fn get(&self, row: &Row, words: &mut Words) -> Option<Arc<str>> {
        match self {
            Text::Constant(text) => Some(Arc::clone(text)),
            Text::Column { position, prefix } => {
                let cell = row.cells.get(*position).unwrap_or_default().trim();
                (!cell.is_empty()).then(|| words.get(prefix, cell))
            }
        }
    }
}

/// Repeating texts, kept once.
#[derive(Default)]
pub struct Words(HashMap<String, Arc<str>>);

impl Words {
    fn get(&mut self, prefix: &str, text: &str) -> Arc<str> {
        let full = format!("{prefix}{text}");
        Arc::clone(self.0.entry(full).or_insert_with_key(|k| Arc::from(k.as_str())))
    }
}

/// A record made from one row, and what was noticed on the way.
pub struct Made {
    /// The record.
    pub record: Record,
    /// Flagged findings.
    pub findings: Vec<Finding>,
}

impl<'a> Layout<'a> {
    /// Looks the mapping's columns up in a file.
    ///
    /// # Errors
    /// The file lacks a column that the mapping names for it.
    pub fn new(mapping: &'a Mapping, table: &Table) -> Result<Layout<'a>, ReadError> {
        let find = |column: &Option<String>| column.as_ref().map(|c| table.position(c)).transpose();
        let file = &mapping.file;
        let fractions = file.material.fractions.iter().flat_map(|f| &f.columns).map(|column| {
            let element = Element::from_symbol(column).ok_or_else(|| ReadError::BadHeader {
                path: table.shown.clone().into(),
                why: format!("fraction column `{column}` is not an element's symbol"),
            })?;
            Ok((element, table.position(column)?))
        });
        let id = file.record.id.iter().map(|part| match part.as_str() {
            "@formula" => Ok(IdPart::Formula),
            column => table.position(column).map(IdPart::Column),
        });
        let own_values = file.value.iter().zip(&mapping.values);
        let values = own_values.filter(|(v, _)| v.file.as_deref().is_none_or(|f| f == table.name)).map(|(v, what)| {
            let condition = |quantity: &'a Option<ResolvedQuantity>| {
                let place = |q: &'a ResolvedQuantity| Ok(Condition { quantity: q, position: find(&q.column)? });
                quantity.as_ref().map(place).transpose()
            };
            let source = v.source.as_ref().or(file.defaults.source.as_ref());
            let method = v.method.as_ref().or(file.defaults.method.as_ref());
            Ok(Value {
                what,
                property: Arc::from(what.property.key.as_str()),
                header: &v.column,
                position: table.position(&v.column)?,
                uncertainty: v.uncertainty.as_ref().map(|c| Ok((table.position(c)?, c.as_str()))).transpose()?,
                when: v.when.as_ref().map(|w| Ok((table.position(&w.column)?, w.one_of.as_slice()))).transpose()?,
                given_unit: what.given_unit.as_deref().map(Arc::from),
                method: method.map(|m| Arc::from(m.as_str())),
                source: source.map(|s| Text::of(s, table)).transpose()?,
                temperature: condition(&what.temperature)?,
                pressure: condition(&what.pressure)?,
                conditions: v
                    .conditions
                    .iter()
                    .map(|(name, text)| Ok((name.as_str(), Text::of(text, table)?)))
                    .collect::<Result<_, ReadError>>()?,
            })
        });
        Ok(Layout {
            mapping,
            formula: find(&file.material.formula)?,
            fractions: fractions.collect::<Result<_, _>>()?,
            name: find(&file.material.name)?,
            space_group: find(&file.material.space_group)?,
            class: file.material.class.as_ref().map(|c| Text::of(c, table)).transpose()?,
            id: id.collect::<Result<_, _>>()?,
            values: values.collect::<Result<_, _>>()?,
            attributes: file
                .attributes
                .iter()
                .map(|(name, column)| Ok((name.as_str(), table.position(column)?)))
                .collect::<Result<_, ReadError>>()?,
        })
    }

    /// One row → one record, or the findings for which it is refused.
    pub fn record(&self, row: &Row, place: Place<'_>, words: &mut Words) -> Result<Made, Vec<Finding>> {
        let mut refused = Vec::new();
        let mut flagged = Vec::new();
        let formula = self.formula(row, place).unwrap_or_else(|finding| {
            refused.push(finding);
            None
        });
        let space_group = self.space_group(row, place).unwrap_or_else(|finding| {
            refused.push(finding);
            None
        });
        let text = |position: Option<usize>| {
            position.and_then(|p| row.cells.get(p)).map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned)
        };
        let name = text(self.name);
        let mut measurements = Vec::with_capacity(self.values.len() + 1);
        for value in &self.values {
            match self.measurement(value, row, place, words) {
                Ok(Some((measurement, finding))) => {
                    measurements.push(measurement);
                    flagged.extend(finding);
                }
                Ok(None) => {}
                Err(finding) => refused.push(finding),
            }
        }
        if measurements.is_empty() && refused.is_empty() {
            let why = "no value column of the mapping holds anything in this row".to_owned();
            let mend = "fill in a value, or map the column that holds one";
            refused.push(place.finding(Severity::Refused, Code::NoValue, (None, None), why, mend));
        }
        if formula.is_none() && name.is_none() && refused.is_empty() {
            let why = "the row names no material".to_owned();
            let mend = "fill in the formula or the name";
            refused.push(place.finding(Severity::Refused, Code::NoIdentity, (None, None), why, mend));
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        if let Some(formula) = &formula {
            self.derive(formula, &mut measurements);
        }
        let formula_given = self
            .formula
            .and_then(|position| row.cells.get(position))
            .map(|given| given.trim().to_owned())
            .filter(|given| !given.is_empty());
        let reduced = formula.as_ref().map(Formula::reduced);
        // a text that only writes the canonical formula out, ones and all, says nothing more than it
        let formula_given = formula_given.filter(|given| {
            reduced.as_ref() != Some(given) && formula.as_ref().is_none_or(|f| written_out(f) != *given)
        });
        let attributes: BTreeMap<String, String> = self
            .attributes
            .iter()
            .filter_map(|(key, position)| Some(((*key).to_owned(), text(Some(*position))?)))
            .collect();
        let source_id = self.source_id(row, reduced.as_deref());
        if source_id.split('/').all(str::is_empty) {
            let why = format!("the columns of the record id ({}) are empty", self.mapping.file.record.id.join(", "));
            let mend = "fill in one of them, or name other columns in [record] id";
            return Err(vec![place.finding(Severity::Refused, Code::NoIdentity, (None, None), why, mend)]);
        }
        let record = Record {
            id: format!("{}/{source_id}", self.mapping.dataset.name),
            name,
            formula_given,
            formula: reduced,
            space_group,
            smiles: None,
            structure: None,
            class: self.class.as_ref().and_then(|c| c.get(row, words)),
            attributes,
            measurements,
        };
        Ok(Made { record, findings: flagged })
    }

    fn formula(&self, row: &Row, place: Place<'_>) -> Result<Option<Formula>, Finding> {
        let refuse = |column: &str, text: &str, why: String| {
            let mend = "write the formula with element symbols and amounts, such as Fe2O3 or Al0.5CoCrFeNi";
            place.finding(Severity::Refused, Code::BadFormula, (Some(column), Some(text)), why, mend)
        };
        if let Some(position) = self.formula {
            let text = row.cells.get(position).unwrap_or_default().trim();
            if text.is_empty() {
                return Ok(None);
            }
            let parsed = match self.mapping.file.material.basis {
                None | Some(BasisName::AtomicFraction) => Formula::parse(text),
                Some(basis) => Formula::parse_with_basis(text, basis.into()),
            };
            let column = self.mapping.file.material.formula.as_deref().unwrap_or_default();
            return parsed.map(Some).map_err(|e| refuse(column, text, e.to_string()));
        }
        let Some(fractions) = &self.mapping.file.material.fractions else { return Ok(None) };
        let mut parts = Vec::with_capacity(self.fractions.len());
        for (element, position) in &self.fractions {
            let text = row.cells.get(*position).unwrap_or_default().trim();
            if !self.is_null(text) {
                let amount = self.number(text).ok_or_else(|| self.bad_number(place, element.symbol(), text))?;
                parts.push((*element, amount));
            }
        }
        if parts.is_empty() {
            return Ok(None);
        }
        Formula::from_fractions(&parts, fractions.basis.into())
            .map(Some)
            .map_err(|e| refuse("composition", &row.cells.iter().collect::<Vec<_>>().join(" "), e.to_string()))
    }

    fn space_group(&self, row: &Row, place: Place<'_>) -> Result<Option<i16>, Finding> {
        let Some(text) = self.space_group.and_then(|p| row.cells.get(p)).map(str::trim) else { return Ok(None) };
        if self.is_null(text) {
            return Ok(None);
        }
        match text.parse::<i16>() {
            Ok(number) if (1..=230).contains(&number) => Ok(Some(number)),
            _ => Err(place.finding(
                Severity::Refused,
                Code::BadSpaceGroup,
                (self.mapping.file.material.space_group.as_deref(), Some(text)),
                format!("`{text}` is no space group number"),
                "write the international number, 1 to 230",
            )),
        }
    }

    fn is_null(&self, text: &str) -> bool {
        text.is_empty() || self.mapping.file.read.null.iter().any(|null| null == text)
    }

    fn number(&self, text: &str) -> Option<f64> {
        let parsed = match self.mapping.file.read.decimal {
            // a point beside a decimal comma would be a mark of thousands: it is not guessed
            ',' if text.contains('.') => return None,
            ',' => text.replace(',', ".").parse::<f64>(),
            _ => text.parse::<f64>(),
        };
        parsed.ok().filter(|x| x.is_finite())
    }

    fn bad_number(&self, place: Place<'_>, column: &str, text: &str) -> Finding {
        place.finding(
            Severity::Refused,
            Code::BadNumber,
            (Some(column), Some(text)),
            format!("`{text}` is not a finite number"),
            "write a number, leave the cell empty, or list the word under `null` in [read]",
        )
    }

    fn measurement(
        &self,
        value: &Value<'_>,
        row: &Row,
        place: Place<'_>,
        words: &mut Words,
    ) -> Result<Option<(Measurement, Option<Finding>)>, Finding> {
        let cell = |position: usize| row.cells.get(position).unwrap_or_default().trim();
        let text = cell(value.position);
        if self.is_null(text) {
            return Ok(None);
        }
        if let Some((position, one_of)) = value.when
            && !one_of.iter().any(|wanted| wanted == cell(position))
        {
            return Ok(None);
        }
        // also a number that only its unit takes beyond all numbers is none
        let number = |text: &str, column: &str, convert: &dyn Fn(f64) -> f64| {
            let given = self.number(text).map(|given| (given, convert(given)));
            given.filter(|(_, converted)| converted.is_finite()).ok_or_else(|| self.bad_number(place, column, text))
        };
        let (given, converted) = number(text, value.header, &|x| value.what.conversion.apply(x))?;
        let uncertainty = match value.uncertainty {
            Some((position, column)) if !self.is_null(cell(position)) => {
                let scaled = |x| value.what.conversion.apply_to_difference(x).abs();
                Some(number(cell(position), column, &scaled)?.1)
            }
            _ => None,
        };
        let condition = |condition: &Option<Condition<'_>>| -> Result<Option<f64>, Finding> {
            let Some(condition) = condition else { return Ok(None) };
            let Some(position) = condition.position else { return Ok(condition.quantity.constant) };
            let text = cell(position);
            if self.is_null(text) {
                return Ok(None);
            }
            let column = condition.quantity.column.as_deref().unwrap_or_default();
            Ok(Some(number(text, column, &|x| condition.quantity.conversion.apply(x))?.1))
        };
        let measurement = Measurement {
            property: Arc::clone(&value.property),
            value: converted,
            given_value: (!value.what.conversion.is_identity()).then_some(given),
            given_unit: value.given_unit.clone(),
            uncertainty,
            evidence: value.what.evidence,
            method: value.method.clone(),
            source: value.source.as_ref().and_then(|s| s.get(row, words)),
            temperature_k: condition(&value.temperature)?,
            pressure_pa: condition(&value.pressure)?,
            conditions: value
                .conditions
                .iter()
                .filter_map(|(name, text)| Some(((*name).to_owned(), text.get(row, words)?.to_string())))
                .collect(),
        };
        let finding = bounds(place, value.what.property, converted, value.header, text);
        Ok(Some((measurement, finding)))
    }

    fn derive(&self, formula: &Formula, measurements: &mut Vec<Measurement>) {
        for Derivation::DensityFromVolume in &self.mapping.file.derive {
            let Some(volume) = measurements.iter().find(|m| &*m.property == "volume_per_atom" && m.value > 0.0) else {
                continue;
            };
            let value = to_24_bits(formula.density_from_volume(volume.value));
            if !value.is_finite() {
                continue;
            }
            let density = Measurement {
                property: Arc::from("density"),
                value,
                given_value: None,
                given_unit: None,
                uncertainty: None,
                evidence: Evidence::Derived,
                // as the dictionary names it, for the deviation of such values
                method: Some(Arc::from(match volume.evidence {
                    Evidence::Computed => "derived from DFT volume",
                    _ => "derived from volume",
                })),
                source: volume.source.clone(),
                temperature_k: volume.temperature_k,
                pressure_pa: volume.pressure_pa,
                conditions: BTreeMap::new(),
            };
            measurements.push(density);
        }
    }

    fn source_id(&self, row: &Row, reduced: Option<&str>) -> String {
        if self.id.is_empty() {
            // cells are joined by a character that no cell of a CSV file means anything by
            let joined = row.cells.iter().collect::<Vec<_>>().join("\u{1f}");
            return format!("{:016x}", datasets::record::content_hash(joined.as_bytes()));
        }
        let parts = self.id.iter().map(|part| match part {
            IdPart::Formula => reduced.unwrap_or_default(),
            IdPart::Column(position) => row.cells.get(*position).unwrap_or_default().trim(),
        });
        parts.collect::<Vec<_>>().join("/")
    }
}

/// The canonical formula with every amount written, `Mo3Nb1`.
fn written_out(formula: &Formula) -> String {
    formula.amounts().iter().map(|(element, amount)| format!("{element}{amount}")).collect()
}

/// Rounds to 24 significant bits (7 digits): a derived value has no more digits than what it follows from, and the
/// zero bits take no room in a file.
fn to_24_bits(value: f64) -> f64 {
    f64::from(value as f32)
}
