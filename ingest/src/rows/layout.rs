//! Where do the mapping's columns stand in this file? Looked up once a table.

use std::sync::Arc;

use datasets::element::Element;
use datasets::formula::Basis;

use super::nuclide::Nuclide;
use super::{Composition, Share};
use super::{Condition, Derived, Deviations, IdPart, Layout, Text, Value};
use crate::mapping::{
    Attribute, Fractions, Mapping, ResolvedQuantity, ResolvedValue, TextSource, Uncertainty, ValueColumn, When,
};
use crate::read::{ReadError, Table};
use crate::value::NumberFormat;
use crate::{check, refused};

/// Looks columns up; in an optional place a column that is not there is none.
#[derive(Clone, Copy)]
struct Columns<'t> {
    table: &'t Table,
    optional: bool,
}

impl Columns<'_> {
    fn position(self, column: &str) -> Result<Option<usize>, ReadError> {
        match self.table.position(column) {
            Ok(position) => Ok(Some(position)),
            Err(_) if self.optional => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn find(self, column: Option<&String>) -> Result<Option<usize>, ReadError> {
        column.map_or(Ok(None), |c| self.position(c))
    }

    fn text(self, source: Option<&TextSource>) -> Result<Option<Text>, ReadError> {
        Ok(match source {
            None => None,
            Some(TextSource::Constant(text)) => Some(Text::Constant(Arc::from(text.as_str()))),
            Some(TextSource::Column(c)) => {
                self.position(&c.column)?.map(|position| Text::Column { position, prefix: c.prefix.clone() })
            }
        })
    }

    fn when<'a>(self, when: Option<&'a When>) -> Result<Option<(usize, &'a When)>, ReadError> {
        let found = |w: &'a When| Ok(self.position(&w.column)?.map(|position| (position, w)));
        when.map_or(Ok(None), found)
    }

    fn condition<'a>(self, quantity: Option<&'a ResolvedQuantity>) -> Result<Option<Condition<'a>>, ReadError> {
        let Some(quantity) = quantity else { return Ok(None) };
        let position = self.find(quantity.column.as_ref())?;
        // an optional column that is not there states nothing
        Ok((position.is_some() || quantity.constant.is_some()).then_some(Condition { quantity, position }))
    }
}

impl<'a> Layout<'a> {
    /// Looks the mapping's columns up in a file.
    ///
    /// # Errors
    /// The file lacks a column that the mapping names for it.
    pub fn new(mapping: &'a Mapping, table: &Table) -> Result<Layout<'a>, ReadError> {
        let file = &mapping.file;
        let all = Columns { table, optional: false };
        let material = Columns { table, optional: file.material.optional };
        let id = file.record.id.iter().map(|column| match column.as_str() {
            "@formula" => Ok(IdPart::Formula),
            _ => table.position(column).map(IdPart::Column),
        });
        let mut values = Vec::with_capacity(mapping.values.len());
        for (column, what) in file.value.iter().zip(&mapping.values) {
            if column.file.as_ref().is_none_or(|file| refused::is_of(&table.name, file)) {
                values.extend(value(mapping, column, what, table)?);
            }
        }
        let mut attributes = Vec::with_capacity(file.attributes.len());
        for (name, attribute) in &file.attributes {
            match attribute {
                Attribute::Column(column) => attributes.push((name.clone(), table.position(column)?)),
                Attribute::Table(columns) => {
                    let place = Columns { table, optional: columns.optional };
                    if let Some(position) = place.find(columns.column.as_ref())? {
                        attributes.push((name.clone(), position));
                    }
                    let Some(prefix) = &columns.prefix else { continue };
                    let under = table.headers().iter().enumerate();
                    let under =
                        under.filter_map(|(at, header)| Some((format!("{name}.{}", header.strip_prefix(prefix)?), at)));
                    attributes.extend(under);
                }
            }
        }
        Ok(Layout {
            mapping,
            numbers: NumberFormat { decimal: file.read.decimal, thousands: file.read.thousands },
            when: all.when(file.record.when.as_ref())?,
            formula: material.find(file.material.formula.as_ref())?,
            composition: file.material.fractions.as_ref().map(|stated| composition(stated, material)).transpose()?,
            name: material.find(file.material.name.as_ref())?,
            space_group: material.find(file.material.space_group.as_ref())?,
            structure: material.find(file.material.structure.as_ref())?,
            smiles: material.find(file.material.smiles.as_ref())?,
            class: material.text(file.material.class.as_ref())?,
            structure_source: material.text(file.defaults.source.as_ref())?,
            id: id.collect::<Result<_, _>>()?,
            combinations: check::may_contradict(mapping.values.iter().map(|v| v.property.key.as_str())),
            derived: Derived::default(),
            values,
            attributes,
            member: table.position("@file").ok(),
        })
    }
}

fn composition<'a>(stated: &'a Fractions, columns: Columns<'_>) -> Result<Composition<'a>, ReadError> {
    let nuclide = |symbol: &str, column: &str| {
        // `Fe`, and `Fe [wt%]`
        let stripped = || crate::header::share_of(symbol).and_then(|(symbol, _)| Nuclide::from_symbol(symbol));
        Nuclide::from_symbol(symbol).or_else(stripped).ok_or_else(|| ReadError::BadHeader {
            path: columns.table.shown.clone().into(),
            why: format!(
                "fraction column `{column}` is not an element's symbol; where it is the share of one, say elements = {{ \"{column}\" = \"Nb\" }} \
                 in [material.fractions]"
            ),
        })
    };
    let share = |nuclide: Nuclide, header: &str, position: usize| Share {
        nuclide,
        header: header.into(),
        position,
        ppm: crate::header::ppm(header),
    };
    let (mut shares, mut parts) = (Vec::new(), Vec::new());
    for column in &stated.columns {
        let nuclide = nuclide(column, column)?;
        shares.extend(columns.position(column)?.map(|position| share(nuclide, column, position)));
    }
    for (column, symbol) in &stated.elements {
        let nuclide = nuclide(symbol, column)?;
        shares.extend(columns.position(column)?.map(|position| share(nuclide, column, position)));
    }
    for prefix in stated.prefix.iter().flat_map(|prefix| prefix.as_slice()) {
        let before = shares.len();
        for (position, header) in columns.table.headers().iter().enumerate() {
            let Some(symbol) = header.strip_prefix(prefix.as_str()) else { continue };
            match symbol.split_once('.') {
                None => shares.push(share(nuclide(symbol, header)?, header, position)),
                Some((symbol, "nominal")) => shares.push(share(nuclide(symbol, header)?, header, position)),
                Some((symbol, _)) => parts.push(share(nuclide(symbol, header)?, header, position)),
            }
        }
        if shares.len() == before && !columns.optional {
            return Err(ReadError::NoColumn {
                path: columns.table.shown.clone().into(),
                column: format!("{prefix}ELEMENT"),
                columns: crate::read::listed(columns.table.headers()),
            });
        }
    }
    Ok(Composition {
        stated,
        when: columns.when(stated.when.as_ref())?,
        shares,
        parts,
        basis: stated.basis.map(Basis::from),
        basis_column: match &stated.basis_column {
            Some(basis) => columns.position(&basis.column)?.map(|position| (position, basis)),
            None => None,
        },
        balance: stated.balance.as_deref().and_then(Element::from_symbol),
    })
}

/// A value column of this file; none where it is optional and not there.
fn value<'a>(
    mapping: &'a Mapping,
    column: &'a ValueColumn,
    what: &'a ResolvedValue,
    table: &Table,
) -> Result<Option<Value<'a>>, ReadError> {
    let place = Columns { table, optional: column.optional };
    let Some(position) = place.position(&column.column)? else { return Ok(None) };
    let defaults = &mapping.file.defaults;
    let deviations = match &column.uncertainty {
        None => Deviations::None,
        Some(Uncertainty::Column(name)) => {
            place.position(name)?.map_or(Deviations::None, |position| Deviations::Column(position, name))
        }
        Some(Uncertainty::Constant(constant)) => match (constant.value, constant.relative) {
            (Some(sd), _) => Deviations::Absolute(what.conversion.apply_to_difference(sd).abs()),
            (None, Some(share)) => Deviations::Relative(share),
            (None, None) => Deviations::None,
        },
    };
    let mut conditions = Vec::new();
    let own = defaults.conditions.iter().filter(|(name, _)| !column.conditions.contains_key(*name));
    for (name, source) in own.chain(&column.conditions) {
        conditions.extend(place.text(Some(source))?.map(|text| (name.as_str(), text)));
    }
    Ok(Some(Value {
        what,
        property: Arc::from(what.property.key.as_str()),
        header: &column.column,
        position,
        unit_column: match &column.unit_column {
            Some(name) => place.position(name)?.map(|position| (position, name.as_str())),
            None => None,
        },
        deviations,
        words: &column.words,
        at: &column.at,
        when: place.when(column.when.as_ref())?,
        given_unit: what.given_unit.as_deref().map(Arc::from),
        method: column.method.as_ref().or(defaults.method.as_ref()).map(|m| Arc::from(m.as_str())),
        source: place.text(column.source.as_ref().or(defaults.source.as_ref()))?,
        temperature: place.condition(what.temperature.as_ref())?,
        pressure: place.condition(what.pressure.as_ref())?,
        conditions,
    }))
}
