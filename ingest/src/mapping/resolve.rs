//! What does a mapping mean, and can it be? Properties and units looked up, contradictions named.

use std::sync::{Mutex, PoisonError};

use datasets::catalogue::DatasetInfo;
use datasets::element::Element;
use datasets::property::{Axis, Better, Deviation, Property, dictionary};
use datasets::record::Evidence;
use datasets::unit::Unit;

use super::{
    Attribute, Defaults, Fractions, Mapping, MappingFile, NewProperty, QuantitySource, ResolvedQuantity, ResolvedValue,
    Uncertainty, ValueColumn,
};

pub(super) fn resolve(file: MappingFile, dataset: Option<&str>) -> Result<Mapping, String> {
    let mut terms = match (&file.dataset, dataset) {
        (Some(terms), _) => terms.clone(),
        (None, Some(name)) => DatasetInfo::unnamed_terms(name),
        (None, None) => return Err("no dataset is named: say --dataset NAME, or `[dataset] name = ...`".into()),
    };
    if let Some(name) = dataset {
        terms.name = name.to_owned();
    }
    if let Some(problem) = terms.problem() {
        return Err(problem);
    }
    if let Some(separator) = file.read.separator.filter(|s| !s.is_ascii()) {
        return Err(format!("separator `{separator}` is not an ASCII character"));
    }
    if !matches!(file.read.decimal, '.' | ',') {
        return Err(format!("decimal mark `{}` must be `.` or `,`", file.read.decimal));
    }
    let material = &file.material;
    let known_composition = [&material.formula, &material.structure, &material.smiles].iter().any(|c| c.is_some())
        || material.fractions.is_some();
    if !known_composition && material.name.is_none() {
        return Err(
            "nothing says which material a row speaks about: set formula, fractions or name in [material], or \
                    structure or smiles"
                .into(),
        );
    }
    if let Some(mark) = file.read.thousands
        && (mark == file.read.decimal || mark.is_alphanumeric() || "+-−()".contains(mark))
    {
        return Err(format!("mark of thousands `{mark}` cannot be told from the rest of a number"));
    }
    if let Some(fractions) = &material.fractions {
        check_fractions(fractions)?;
    }
    if material.formula.is_some() && material.fractions.is_some() {
        return Err("[material] has both `formula` and `fractions`: keep one".into());
    }
    if !known_composition && file.record.id.iter().any(|c| c == "@formula") {
        return Err("`@formula` in [record] id needs a formula: set formula or fractions in [material]".into());
    }
    if file.record.join && file.record.id.is_empty() {
        return Err("`join` needs `id`: rows are joined by it".into());
    }
    if file.value.is_empty() && material.structure.is_none() {
        return Err("there is no [[value]]: say which column holds which property".into());
    }
    if material.structure.is_some() && file.defaults.evidence.is_none() {
        return Err("[material] structure: say how the structures came to be: `[defaults] evidence = \"measured\"`, \
                    \"computed\" or \"derived\""
            .into());
    }
    for (name, attribute) in &file.attributes {
        if let Attribute::Table(table) = attribute
            && table.column.is_some() == table.prefix.is_some()
        {
            return Err(format!("[attributes] {name}: say either `column` or `prefix`"));
        }
    }
    let mut properties: Vec<&'static Property> = Vec::with_capacity(file.property.len());
    for new in &file.property {
        let property = dataset_property(new, &terms)?;
        if properties.iter().any(|p| p.key == property.key) {
            return Err(format!("[[property]] `{}` stands twice", new.key));
        }
        properties.push(property);
    }
    let values = file
        .value
        .iter()
        .map(|v| resolve_value(v, &file.defaults, &terms.name, &properties))
        .collect::<Result<_, _>>()?;
    Ok(Mapping { dataset: terms, file, values, properties })
}

fn check_fractions(fractions: &Fractions) -> Result<(), String> {
    if fractions.columns.is_empty() == fractions.prefix.is_none() {
        return Err("[material] fractions: say either `columns` or `prefix`".into());
    }
    if fractions.basis.is_some() == fractions.basis_column.is_some() {
        return Err("[material] fractions: say what the numbers are: basis = \"mass_fraction\", \"weight_percent\", \
                    \"atomic_fraction\" or \"atomic_percent\", or basis_column"
            .into());
    }
    if let Some(symbol) = &fractions.balance {
        if Element::from_symbol(symbol).is_none() {
            return Err(format!("[material] fractions: balance `{symbol}` is not an element's symbol"));
        }
        if fractions.normalise {
            return Err("[material] fractions: `balance` and `normalise` exclude each other".into());
        }
    }
    Ok(())
}

/// How many new properties one process may come to know; they live as long as it does.
const MOST_PROPERTIES: usize = 4096;

/// A new property of the dataset as the dictionary would have it. The same definition gives the same property.
fn dataset_property(new: &NewProperty, dataset: &DatasetInfo) -> Result<&'static Property, String> {
    let key = &new.key;
    let context = |what: String| format!("[[property]] `{key}`: {what}");
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !(1..=64).contains(&key.len()) || !key.chars().all(is_key) {
        return Err(context("a key is 1 to 64 of a-z, 0-9 and _".into()));
    }
    if dictionary().get(key).is_some() {
        return Err(context("the dictionary has this property; use it, or choose another key".into()));
    }
    Unit::parse(&new.unit).map_err(|e| context(e.to_string()))?;
    let axis = new.axis.unwrap_or(match new.bounds {
        Some([low, _]) if low <= 0.0 => Axis::Linear,
        _ => Axis::Log,
    });
    let bounds = match (new.bounds, axis) {
        (Some(bounds), _) => bounds,
        (None, Axis::Log) => [1e-30, 1e30],
        (None, Axis::Linear) => {
            return Err(context(
                "a linear axis needs `bounds`, the least and greatest value that is conceivable".into(),
            ));
        }
    };
    let [low, high] = bounds;
    if !(low.is_finite() && high.is_finite() && low < high) {
        return Err(context(format!("bounds [{low}, {high}] are not an interval")));
    }
    if axis == Axis::Log && low <= 0.0 {
        return Err(context("a log axis needs a lower bound above 0; or say axis = \"linear\"".into()));
    }
    let sd = new.sd.unwrap_or(Deviation::Relative(0.05));
    if !(sd.number().is_finite() && sd.number() > 0.0) {
        return Err(context("sd must be above 0".into()));
    }
    let property = Property {
        key: format!("{}:{key}", dataset.name),
        name: new.name.clone().unwrap_or_else(|| key.replace('_', " ")),
        symbol: new.symbol.clone().unwrap_or_else(|| key.clone()),
        unit: new.unit.clone(),
        group: dataset.name.clone(),
        axis,
        bounds,
        better: new.better.unwrap_or(Better::Neither),
        description: new.description.clone().unwrap_or_default(),
        aliases: Vec::new(),
        aliases_with_unit: Vec::new(),
        sd,
        methods: Vec::new(),
    };
    static KNOWN: Mutex<Vec<&'static Property>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(same) = known.iter().find(|p| ***p == property) {
        return Ok(same);
    }
    if known.len() >= MOST_PROPERTIES {
        return Err(context(format!("more than {MOST_PROPERTIES} new properties; start the program anew")));
    }
    let property: &'static Property = Box::leak(Box::new(property));
    known.push(property);
    Ok(property)
}

fn resolve_value(
    value: &ValueColumn,
    defaults: &Defaults,
    dataset: &str,
    properties: &[&'static Property],
) -> Result<ResolvedValue, String> {
    let column = &value.column;
    let own = value.property.strip_prefix(dataset).and_then(|rest| rest.strip_prefix(':')).unwrap_or(&value.property);
    let own = |p: &&&'static Property| p.key.rsplit(':').next() == Some(own);
    let known = dictionary().get(&value.property).or_else(|| properties.iter().find(own).copied());
    let property = known.ok_or_else(|| {
        format!(
            "column `{column}`: there is no property `{}`; the closest are {}. A new one is made by [[property]]",
            value.property,
            dictionary().closest(&value.property, 3).join(", ")
        )
    })?;
    let wanted = Unit::parse(&property.unit).map_err(|e| format!("property `{}`: {e}", property.key))?;
    let unit = value.unit.as_deref().unwrap_or(&property.unit);
    let given = Unit::parse_for(unit, &wanted).map_err(|e| format!("column `{column}`: {e}"))?;
    let conversion = given.conversion_to(&wanted).map_err(|e| format!("column `{column}`: {e}"))?;
    let evidence = value.evidence.or(defaults.evidence).ok_or_else(|| {
        format!(
            "column `{column}`: say how the values came to be: evidence = \"measured\", \"computed\" or \"derived\""
        )
    })?;
    if !matches!(evidence, Evidence::Measured | Evidence::Computed | Evidence::Derived) {
        return Err(format!("column `{column}`: a record's evidence is measured, computed or derived, not {evidence}"));
    }
    let quantity = |own: &Option<QuantitySource>, default: &Option<QuantitySource>, unit: &str| {
        own.as_ref().or(default.as_ref()).map(|q| resolve_quantity(q, unit, column)).transpose()
    };
    let factor = value.factor.unwrap_or(1.0);
    if !factor.is_normal() {
        return Err(format!("column `{column}`: factor {factor} is no finite number other than 0"));
    }
    if let Some(Uncertainty::Constant(constant)) = &value.uncertainty {
        let good = |x: Option<f64>| x.is_none_or(|x| x.is_finite() && x > 0.0);
        let one = constant.value.is_some() != constant.relative.is_some();
        if !(one && good(constant.value) && good(constant.relative)) {
            return Err(format!(
                "column `{column}`: an uncertainty is a column, or has either `value` or `relative`, above 0"
            ));
        }
    }
    Ok(ResolvedValue {
        property,
        factor,
        wanted,
        given_unit: (unit != property.unit).then(|| unit.to_owned()),
        conversion,
        evidence,
        temperature: quantity(&value.temperature, &defaults.temperature, "K")?,
        pressure: quantity(&value.pressure, &defaults.pressure, "Pa")?,
    })
}

fn resolve_quantity(quantity: &QuantitySource, unit: &str, column: &str) -> Result<ResolvedQuantity, String> {
    let context = |e: datasets::unit::UnitError| format!("column `{column}`: {e}");
    let wanted = Unit::parse(unit).map_err(context)?;
    let conversion =
        Unit::parse_for(&quantity.unit, &wanted).and_then(|given| given.conversion_to(&wanted)).map_err(context)?;
    match (quantity.value, &quantity.column) {
        (Some(value), None) if value.is_finite() => {
            Ok(ResolvedQuantity { constant: Some(conversion.apply(value)), column: None, wanted, conversion })
        }
        (None, Some(name)) => Ok(ResolvedQuantity { constant: None, column: Some(name.clone()), wanted, conversion }),
        _ => Err(format!("column `{column}`: a condition has either `value` (a finite number) or `column`")),
    }
}
