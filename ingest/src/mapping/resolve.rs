//! What does a mapping mean, and can it be? Properties and units looked up, contradictions named.

use datasets::catalogue::DatasetInfo;
use datasets::element::Element;
use datasets::property::{Axis, Property, dictionary, intern};
use datasets::record::Evidence;
use datasets::unit::Unit;

use super::{
    Attribute, Defaults, Doubt, Fractions, Mapping, MappingFile, NewProperty, QuantitySource, ResolvedQuantity,
    ResolvedValue, Uncertainty, ValueColumn, When,
};
use crate::header;

/// Checks what the beginning of a mapping says; a dataset may be named later.
pub(super) fn check_beginning(file: &MappingFile, dataset: Option<&str>) -> Result<(), String> {
    if file.dataset.is_some() || dataset.is_some() {
        terms(file, dataset)?;
    }
    check_when("[record]", file.record.when.as_ref())?;
    check_read(file)
}

fn terms(file: &MappingFile, dataset: Option<&str>) -> Result<DatasetInfo, String> {
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
    Ok(terms)
}

fn check_read(file: &MappingFile) -> Result<(), String> {
    if let Some(separator) = file.read.separator.filter(|s| !s.is_ascii()) {
        return Err(format!("separator `{separator}` is not an ASCII character"));
    }
    if !matches!(file.read.decimal, '.' | ',') {
        return Err(format!("decimal mark `{}` must be `.` or `,`", file.read.decimal));
    }
    if let Some(mark) = file.read.thousands
        && (mark == file.read.decimal || mark.is_alphanumeric() || "+-−()".contains(mark))
    {
        return Err(format!("mark of thousands `{mark}` cannot be told from the rest of a number"));
    }
    Ok(())
}

pub(super) fn resolve(file: MappingFile, dataset: Option<&str>) -> Result<Mapping, String> {
    let mut terms = terms(&file, dataset)?;
    check_read(&file)?;
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
    if let Some(fractions) = &material.fractions {
        check_fractions(fractions)?;
    }
    check_when("[record]", file.record.when.as_ref())?;
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
        properties.push(intern(property.clone()).map_err(|e| {
            let why = e.to_string();
            let counts = if why.contains("unknown unit") { "; counts and ratios have unit = \"1\"" } else { "" };
            format!("[[property]] `{}`: {why}{counts}", new.key)
        })?);
        terms.properties.retain(|held| held.key != property.key);
        terms.properties.push(property);
    }
    if let Some(problem) = terms.problem() {
        return Err(problem);
    }
    let values = file
        .value
        .iter()
        .map(|v| resolve_value(v, &file.defaults, &terms.name, &properties))
        .collect::<Result<_, _>>()?;
    Ok(Mapping { dataset: terms, file, values, properties })
}

/// A condition on rows that lists nothing would leave out nothing, or all.
fn check_when(place: &str, when: Option<&When>) -> Result<(), String> {
    match when {
        Some(when) if when.one_of.is_empty() && when.not_in.is_empty() => Err(format!(
            "{place}: `when` of column `{}` lists no text: say which it may hold, in = [\"alloy\"], or may not, not_in = [...]",
            when.column
        )),
        _ => Ok(()),
    }
}

fn check_fractions(fractions: &Fractions) -> Result<(), String> {
    check_when("[material.fractions]", fractions.when.as_ref())?;
    if fractions.prefix.as_ref().is_some_and(|prefix| prefix.as_slice().is_empty()) {
        return Err("[material] fractions: `prefix` lists no text".into());
    }
    if (fractions.columns.is_empty() && fractions.elements.is_empty()) == fractions.prefix.is_none() {
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

/// A new property of the dataset, with what is not said as [`Property::of_dataset`] has it.
fn dataset_property(new: &NewProperty, dataset: &DatasetInfo) -> Result<Property, String> {
    let axis = new.axis.unwrap_or(match new.bounds {
        Some([low, _]) if low > 0.0 => Axis::Log,
        _ => Axis::Linear,
    });
    let name = new.name.as_deref().unwrap_or_default();
    let mut property = Property::of_dataset(&dataset.name, &new.key, name, &new.unit, axis);
    if let Some(symbol) = &new.symbol {
        property.symbol.clone_from(symbol);
    }
    if let Some(bounds) = new.bounds {
        property.bounds = bounds;
    }
    if let Some(better) = new.better {
        property.better = better;
    }
    if let Some(description) = &new.description {
        property.description.clone_from(description);
    }
    if let Some(sd) = new.sd {
        property.sd = sd;
    }
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
    let (general, own) = (dictionary().get(&value.property), properties.iter().find(own).copied());
    if let (Some(general), Some(own)) = (general, own) {
        return Err(format!(
            "column `{column}`: both the dictionary and [[property]] have `{}`: write property = \"{}\" for the dataset's \
             own, or take the [[property]] out for the dictionary's, which is in {}",
            general.key, own.key, general.unit
        ));
    }
    let property = general.or(own).ok_or_else(|| {
        let mut closest: Vec<&str> = properties.iter().map(|p| p.key.as_str()).collect();
        closest.extend(dictionary().closest(&value.property, 3));
        format!(
            "column `{column}`: there is no property `{}`; the closest are {}. A new one is made by [[property]]",
            value.property,
            closest.join(", ")
        )
    })?;
    check_when(&format!("column `{column}`"), value.when.as_ref())?;
    if let Some((word, _)) = value.words.iter().find(|(_, number)| !number.is_finite()) {
        return Err(format!("column `{column}`: the word `{word}` stands for no finite number"));
    }
    let wanted = Unit::parse(&property.unit).map_err(|e| format!("property `{}`: {e}", property.key))?;
    let unit = value.unit.as_deref().unwrap_or(&property.unit);
    let given = Unit::parse_for(unit, &wanted).map_err(|e| format!("column `{column}`: {e}"))?;
    let conversion = given.conversion_to(&wanted).map_err(|e| format!("column `{column}`: {e}"))?;
    let mut doubts = Vec::new();
    if value.factor.is_none() && value.unit_column.is_none() {
        match other_unit(column, unit, &wanted) {
            Some(stated)
                if value.unit.is_none()
                    && Unit::parse_for(&stated, &wanted).is_ok_and(|unit| unit.conversion_to(&wanted).is_ok()) =>
            {
                return Err(format!(
                    "column `{column}`: its header says {stated}, and the mapping states no unit, which means {}: say unit = \"{stated}\", \
                     or unit = \"{}\" where the header is wrong",
                    property.unit, property.unit
                ));
            }
            Some(stated) => doubts.push(Doubt {
                column: column.clone(),
                why: format!(
                    "the header says {stated}, and the mapping {unit}: the values of {} are taken in {unit}",
                    property.key
                ),
                mend: format!(
                    "say unit = \"{stated}\" in its [[value]] where the header is right, or correct its property"
                ),
            }),
            None => {}
        }
    }
    if let Some(Uncertainty::Column(deviation)) = &value.uncertainty
        && let Some(stated) = other_unit(deviation, unit, &wanted).filter(|stated| stated != "%")
        && header::uncertainty_of(&stated).is_none()
    {
        doubts.push(Doubt {
            column: deviation.clone(),
            why: format!("the header says {stated}, and deviations are taken in the unit of their values, {unit}"),
            mend: format!("give both columns one unit, or map the values by unit = \"{stated}\" and a factor"),
        });
    }
    let of_conditions = [(&value.temperature, &defaults.temperature, "K"), (&value.pressure, &defaults.pressure, "Pa")];
    for (own, default, unit) in of_conditions {
        let Some(QuantitySource { column: Some(column), unit: taken, .. }) = own.as_ref().or(default.as_ref()) else {
            continue;
        };
        let of_quantity = Unit::parse(unit).map_err(|e| format!("column `{column}`: {e}"))?;
        if let Some(stated) = other_unit(column, taken, &of_quantity) {
            doubts.push(Doubt {
                column: column.clone(),
                why: format!("the header says {stated}, and the mapping {taken}: the condition is taken in {taken}"),
                mend: format!("say unit = \"{stated}\" where the header is right"),
            });
        }
    }
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
        if let Some(relative) = constant.relative.filter(|share| *share > 1.0) {
            let percent = relative / 100.0;
            return Err(format!(
                "column `{column}`: relative = {relative} is {relative} times the value; {relative} % is relative = {percent}"
            ));
        }
    }
    Ok(ResolvedValue {
        property,
        factor,
        wanted,
        doubts,
        states_unit: value.unit.is_some(),
        given_unit: (unit != property.unit).then(|| unit.to_owned()),
        conversion,
        evidence,
        temperature: quantity(&value.temperature, &defaults.temperature, "K")?,
        pressure: quantity(&value.pressure, &defaults.pressure, "Pa")?,
    })
}

/// The unit that a header states, where that is not the one that its numbers are taken in: another scale of the quantity, a
/// power of ten beside its brackets, or another quantity.
fn other_unit(header: &str, taken: &str, wanted: &Unit) -> Option<String> {
    let meant = |unit: &str| {
        let conversion = Unit::parse_for(unit, wanted).ok()?.conversion_to(wanted).ok()?;
        Some((conversion.apply(0.0), conversion.apply(1.0)))
    };
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs().max(b.abs());
    let taken_as = meant(taken)?;
    // what stands behind a stroke or in brackets; `T_c` and `zt_300` state no unit
    let stated = header::stated_unit(header)?;
    let first = stated.split([',', ';']).next().unwrap_or_default().trim();
    for stated in
        [stated, first].into_iter().filter(|stated| stated.contains(|c: char| c.is_alphabetic() || "%°Ω".contains(c)))
    {
        let Some(says) = meant(stated) else { continue };
        if !(near(says.0, taken_as.0) && near(says.1, taken_as.1)) {
            return Some(stated.to_owned());
        }
        // `sigma x10^-3 (S/cm)`
        let before = header::without_bracket(header).0;
        let power = [" 10^", " ×10", " x10", " *10", " ·10"].iter().find_map(|mark| before.find(mark));
        return power.map(|at| format!("{} {stated}", before[at..].trim()));
    }
    // `E (GPa)` of a temperature; a letter in brackets may be a direction, and another line a symbol (`Figure of Merit / zT`)
    let first = header::without_bracket(header).1?.split([',', ';']).next().unwrap_or_default().trim();
    let is_unit = first == "%" || first.contains('/') || first.chars().filter(|c| c.is_alphabetic()).count() > 1;
    (is_unit && Unit::parse(first).is_ok_and(|unit| unit.conversion_to(wanted).is_err())).then(|| first.to_owned())
}

fn resolve_quantity(quantity: &QuantitySource, unit: &str, column: &str) -> Result<ResolvedQuantity, String> {
    let context = |e: datasets::unit::UnitError| format!("column `{column}`: {e}");
    let wanted = Unit::parse(unit).map_err(context)?;
    let conversion =
        Unit::parse_for(&quantity.unit, &wanted).and_then(|given| given.conversion_to(&wanted)).map_err(context)?;
    let is_temperature = unit == "K";
    match (quantity.value, &quantity.column) {
        (Some(value), None) if is_temperature && conversion.apply(value) < 0.0 => {
            Err(format!("column `{column}`: a temperature of {value} {} is below absolute zero", quantity.unit))
        }
        (Some(value), None) if value.is_finite() => Ok(ResolvedQuantity {
            constant: Some(conversion.apply(value)),
            column: None,
            wanted,
            conversion,
            is_temperature,
        }),
        (None, Some(name)) => {
            Ok(ResolvedQuantity { constant: None, column: Some(name.clone()), wanted, conversion, is_temperature })
        }
        _ => Err(format!("column `{column}`: a condition has either `value` (a finite number) or `column`")),
    }
}
