//! One cell of a value column → one measurement.

use std::collections::BTreeMap;
use std::sync::Arc;

use datasets::property::Property;
use datasets::record::{CENSORED, GIVEN, Measurement};
use datasets::unit::{Conversion, Unit};

use super::{Condition, Deviations, Layout, Value, Words, cut, is_wanted};
use crate::check::{Place, bounds};
use crate::read::{Row, marked};
use crate::report::{Code, Finding, Severity};
use crate::value::{self, Reading, Sense};

impl Layout<'_> {
    pub(super) fn is_null(&self, text: &str) -> bool {
        text.is_empty() || self.mapping.file.read.null.iter().any(|null| null == text)
    }

    pub(super) fn bad_number(
        &self,
        place: Place<'_>,
        column: &str,
        text: &str,
        why: Option<&value::Unreadable>,
    ) -> Finding {
        let text = &*cut(text);
        let cell = (Some(column), Some(text));
        if value::looks_like_date(text) {
            return a_date(place, column, text);
        }
        let general = "write a number, leave the cell empty, or list the word under `null` in [read]";
        let explanation = match why {
            Some(why) => format!("`{text}` is not a finite number: {}", why.why),
            None => format!("`{text}` is not a finite number"),
        };
        let mend = match why.and_then(|why| why.mend) {
            Some(own) => format!("{own}; or list the word under `null` in [read]"),
            None => general.to_owned(),
        };
        place.finding(Severity::Refused, Code::BadNumber, cell, explanation, &mend)
    }

    /// A number without uncertainty, bound or unit (an amount, a standard deviation).
    pub(super) fn plain_number(&self, place: Place<'_>, column: &str, text: &str) -> Result<f64, Finding> {
        if let Some(value) = self.numbers.plain(text) {
            return Ok(value);
        }
        let reading =
            value::read(text, self.numbers).map_err(|why| self.bad_number(place, column, text, Some(&why)))?;
        match reading {
            Reading { value, sd: None, sense: Sense::Exact, unit: None } => Ok(value),
            _ => Err(self.bad_number(place, column, text, None)),
        }
    }

    /// Adds the measurement of a cell, and what was noticed; nothing where the cell says nothing.
    pub(super) fn measurement(
        &self,
        value: &Value<'_>,
        row: &Row,
        place: Place<'_>,
        words: &mut Words,
        (measurements, noticed): (&mut Vec<Measurement>, &mut Vec<Finding>),
    ) -> Result<(), Finding> {
        let cell = |position: usize| row.cells.get(position).unwrap_or_default().trim();
        let text = cell(value.position);
        let word = value.words.get(text).copied();
        if (word.is_none() && self.is_null(text)) || !is_wanted(value.when, row) {
            return Ok(());
        }
        let picked = match value.at {
            [] => None,
            // a word is the number that it stands for
            _ if word.is_some() => None,
            at => Some(number_at(text, at, self.numbers.decimal).map_err(|why| {
                let mend = "correct `at` of the [[value]], or the cell";
                let why = format!("`{}`: {why}", cut(text));
                let cell = (Some(value.header), Some(&*cut(text)));
                place.finding(Severity::Refused, Code::BadNumber, cell, why, mend)
            })?),
        };
        let text = picked.as_deref().unwrap_or(text);
        if picked.is_some() && self.is_null(text) {
            return Ok(());
        }
        let what = value.what;
        let reading = match word.or_else(|| self.numbers.plain(text)) {
            Some(number) => Reading { value: number, sd: None, sense: Sense::Exact, unit: None },
            None => value::read(text, self.numbers).map_err(|why| {
                let mut finding = self.bad_number(place, value.header, text, Some(&why));
                if !value.words.is_empty() {
                    finding.mend = format!("list the word under `words` of the [[value]]; or {}", finding.mend);
                }
                finding
            })?,
        };
        // `200 ± 10 %` of what is no share itself: the deviation is
        let reading = match reading {
            Reading { sd: Some(sd), unit: Some("%"), .. }
                if words.conversion("%", what.property, &what.wanted).is_err() =>
            {
                Reading { sd: Some(sd / 100.0 * reading.value.abs()), unit: None, ..reading }
            }
            other => other,
        };
        // the unit of the cell, else that of the row, else that of the column
        let stated = match (reading.unit, value.unit_column) {
            (Some(unit), _) => Some((unit, value.header)),
            (None, Some((position, column))) => Some((cell(position), column)).filter(|(unit, _)| !self.is_null(unit)),
            (None, None) => None,
        };
        let (conversion, given_unit) = match stated {
            None => (what.conversion, value.given_unit.clone()),
            Some((unit, column)) => {
                let conversion = words.conversion(unit, what.property, &what.wanted);
                let conversion = conversion
                    .map_err(|why| bad_unit(place, column, cell_or(unit, text, column, value.header), why))?;
                (conversion, (unit != what.property.unit).then(|| words.get("", unit)))
            }
        };
        // a unit in the cell is what is meant, whatever the header's factor, and a word stands for a number in the unit
        let factor = if word.is_some() || reading.unit.is_some() { 1.0 } else { what.factor };
        let (given, given_sd) = if factor == 1.0 {
            (reading.value, reading.sd)
        } else {
            (reading.value * factor, reading.sd.map(|sd| sd * factor.abs()))
        };
        // also a number that only its unit takes beyond all numbers is none
        let finite = |x: f64, column: &str, text: &str| {
            if x.is_finite() { Ok(x) } else { Err(self.bad_number(place, column, text, None)) }
        };
        let converted = finite(conversion.apply(given), value.header, text)?;
        let own_sd =
            given_sd.map(|sd| finite(conversion.apply_to_difference(sd).abs(), value.header, text)).transpose()?;
        // 0 says that none was determined
        let own_sd = own_sd.filter(|sd| *sd > 0.0);
        let of_column = match value.deviations {
            Deviations::Column(position, column) if !self.is_null(cell(position)) => {
                let text = cell(position);
                let sd = self.plain_number(place, column, text)?;
                if sd < 0.0 {
                    return Err(negative_deviation(place, column, text));
                }
                // a unit that a cell states is that of its value; the deviations are in the unit of their column
                let (conversion, factor) = match reading.unit.is_some() && what.states_unit {
                    true => (what.conversion, what.factor),
                    false => (conversion, factor),
                };
                Some(finite(conversion.apply_to_difference(sd * factor).abs(), column, text)?).filter(|sd| *sd > 0.0)
            }
            _ => None,
        };
        let uncertainty = match value.deviations {
            _ if of_column.is_some() => of_column,
            _ if own_sd.is_some() => own_sd,
            Deviations::Absolute(sd) => Some(sd),
            Deviations::Relative(share) => Some(finite(share * converted.abs(), value.header, text)?),
            Deviations::Column(..) | Deviations::None => None,
        };
        let mut conditions: BTreeMap<String, String> = BTreeMap::new();
        for (name, source) in &value.conditions {
            if let Some(text) = source.get(self, row, words) {
                conditions.insert((*name).to_owned(), text.to_string());
            }
        }
        let (meant, uncertainty) = match reading.sense {
            Sense::Exact => (converted, uncertainty),
            sense => {
                // a conversion that turns the direction around does not occur: units have scales above 0
                let (meant, sd) = as_meant(sense, text, converted, uncertainty, what.property, &mut conditions);
                (meant, Some(sd))
            }
        };
        measurements.push(Measurement {
            property: Arc::clone(&value.property),
            value: meant,
            // of a bound the number itself is kept here, whatever its unit
            given_value: (!conversion.is_identity() || meant != converted).then_some(given),
            given_unit,
            uncertainty,
            evidence: what.evidence,
            method: value.method.clone(),
            source: value.source.as_ref().and_then(|s| s.get(self, row, words)),
            temperature_k: self.condition(value.temperature.as_ref(), row, place, &mut conditions)?,
            pressure_pa: self.condition(value.pressure.as_ref(), row, place, &mut conditions)?,
            conditions,
        });
        noticed.extend(bounds(place, what.property, converted, value.header, text));
        Ok(())
    }

    fn condition(
        &self,
        condition: Option<&Condition<'_>>,
        row: &Row,
        place: Place<'_>,
        conditions: &mut BTreeMap<String, String>,
    ) -> Result<Option<f64>, Finding> {
        let Some(Condition { quantity, position }) = condition else { return Ok(None) };
        let Some(position) = *position else { return Ok(quantity.constant) };
        let text = row.cells.get(position).unwrap_or_default().trim();
        if self.is_null(text) {
            return Ok(None);
        }
        if quantity.is_temperature && value::is_room_temperature(text) {
            return Ok(Some(value::ROOM_TEMPERATURE_K));
        }
        let column = quantity.column.as_deref().unwrap_or_default();
        let reading = match self.numbers.plain(text) {
            Some(value) => Reading { value, sd: None, sense: Sense::Exact, unit: None },
            None => value::read(text, self.numbers).map_err(|why| self.bad_number(place, column, text, Some(&why)))?,
        };
        if matches!(reading.sense, Sense::Below(_) | Sense::Above(_)) {
            return Err(self.bad_number(place, column, text, None));
        }
        if reading.sense != Sense::Exact || reading.sd.is_some() {
            let name = if quantity.is_temperature { "temperature_given" } else { "pressure_given" };
            conditions.insert(name.to_owned(), text.to_owned());
        }
        let conversion = match reading.unit {
            None => quantity.conversion,
            Some(unit) => convert(unit, &quantity.wanted).map_err(|why| bad_unit(place, column, text, why))?,
        };
        let converted = conversion.apply(reading.value);
        if quantity.is_temperature && converted < 0.0 {
            let why = format!("a temperature of {text} is below absolute zero");
            let mend = "correct the cell, or the unit of the temperature in the mapping; leave the cell empty or list the \
                        word under `null` in [read] where it means that none was stated";
            return Err(place.finding(Severity::Refused, Code::BadNumber, (Some(column), Some(text)), why, mend));
        }
        if converted.is_finite() { Ok(Some(converted)) } else { Err(self.bad_number(place, column, text, None)) }
    }
}

/// The number at a place of a JSON array, as text; empty where there is null.
fn number_at(text: &str, at: &[usize], decimal: char) -> Result<String, String> {
    let document: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("it is no array: {e}"))?;
    let mut found = &document;
    for index in at {
        found = found.get(index).ok_or_else(|| format!("there is nothing at {at:?}, counted from 0"))?;
    }
    match found {
        serde_json::Value::Null => Ok(String::new()),
        serde_json::Value::Number(number) => Ok(marked(number.to_string(), decimal)),
        serde_json::Value::String(text) => Ok(text.trim().to_owned()),
        _ => Err(format!("at {at:?} there is no number")),
    }
}

/// The text of the finding: the cell that holds the unit.
fn cell_or<'t>(unit: &'t str, text: &'t str, column: &str, header: &str) -> &'t str {
    if column == header { text } else { unit }
}

fn a_date(place: Place<'_>, column: &str, text: &str) -> Finding {
    let text = &*cut(text);
    let why = format!("`{text}` is not a finite number: a spreadsheet made a date of it");
    let mend = "format the column as text before typing, and enter the value again";
    place.finding(Severity::Refused, Code::BadNumber, (Some(column), Some(text)), why, mend)
}

fn bad_unit(place: Place<'_>, column: &str, text: &str, why: String) -> Finding {
    if value::looks_like_date(text) {
        return a_date(place, column, text);
    }
    if text.trim_end_matches(['.', ')']).ends_with("min") {
        let mend = "write ≥27 for what is at least 27, and else a unit of the property";
        return place.finding(Severity::Refused, Code::BadUnit, (Some(column), Some(&cut(text))), why, mend);
    }
    let mend =
        "write a unit of the property, such as the dictionary's (`matgenome properties`), or correct the mapping";
    place.finding(Severity::Refused, Code::BadUnit, (Some(column), Some(&cut(text))), why, mend)
}

fn convert(unit: &str, wanted: &Unit) -> Result<Conversion, String> {
    Unit::parse_for(unit, wanted).and_then(|given| given.conversion_to(wanted)).map_err(|e| e.to_string())
}

/// What is believed of a bound, a range or an approximation: value and deviation. The text stays among the conditions, and
/// the deviation is so wide that the number never looks like a measured one. For an approximation it is a tenth of the
/// number, at least two of the property's own deviations; for a bound see [`within`].
fn as_meant(
    sense: Sense,
    text: &str,
    value: f64,
    stated: Option<f64>,
    property: &Property,
    conditions: &mut BTreeMap<String, String>,
) -> (f64, f64) {
    conditions.insert(GIVEN.into(), text.to_owned());
    let usual = property.sd.of(value);
    let [low, high] = property.bounds;
    let wide = |sd: f64| if sd > 0.0 && sd.is_finite() { sd } else { (high - low) / 10.0 };
    let widest = wide(stated.unwrap_or(0.0).max(value.abs()).max(10.0 * usual));
    match sense {
        Sense::Below(mark) | Sense::Above(mark) => {
            conditions.insert(CENSORED.into(), mark.to_owned());
            within(matches!(sense, Sense::Below(_)), value, widest, property.bounds)
        }
        Sense::About => (value, wide(stated.unwrap_or((0.1 * value.abs()).max(2.0 * usual)))),
        Sense::Range | Sense::Exact => (value, wide(stated.unwrap_or(usual))),
    }
}

/// The belief that a bound leaves: on the allowed side, and the bound is one deviation away, so that `<27` meets no target
/// from 27 up. `widest` is the deviation, or less where the physical bounds leave less room; of what is never negative
/// `<27` is 13.5 ± 13.5. A bound that is impossible itself stays as it is, and never counts.
fn within(is_below: bool, bound: f64, widest: f64, [low, high]: [f64; 2]) -> (f64, f64) {
    if !(low..=high).contains(&bound) {
        return (bound, widest);
    }
    let room = match is_below {
        true if low >= 0.0 && bound / 2.0 >= low => bound / 2.0,
        true if low >= 0.0 => (bound - low) / 2.0,
        true => widest.min(bound - low),
        false => widest.min(high - bound),
    };
    let mean = if is_below { bound - room } else { bound + room };
    // nothing is left beside the bound: it is the value
    if room > 0.0 && mean != bound && mean.is_finite() { (mean, room) } else { (bound, widest) }
}

fn negative_deviation(place: Place<'_>, column: &str, text: &str) -> Finding {
    let why = format!("`{}` is a standard deviation below 0", cut(text));
    let mend =
        "write it without the sign, leave the cell empty, or name another column as uncertainty of the [[value]]";
    place.finding(Severity::Refused, Code::BadNumber, (Some(column), Some(&*cut(text))), why, mend)
}

/// Whether a value is a bound (`<5`), not a number of its own.
pub(crate) fn is_bound(m: &Measurement) -> bool {
    m.conditions.contains_key(CENSORED)
}

impl Words {
    /// The conversion of a unit that stands in a cell; found once for each unit and property.
    fn conversion(&mut self, unit: &str, property: &'static Property, wanted: &Unit) -> Result<Conversion, String> {
        let known = self.units.iter().find(|(of, text, _)| std::ptr::eq(*of, property) && **text == *unit);
        if let Some((_, _, conversion)) = known {
            return Ok(*conversion);
        }
        let conversion = convert(unit, wanted)?;
        if self.units.len() < 64 {
            self.units.push((property, unit.into(), conversion));
        }
        Ok(conversion)
    }
}
