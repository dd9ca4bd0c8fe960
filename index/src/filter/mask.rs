//! Tree → bit mask: which materials match?
//!
//! A property that a material does not have is *unknown*, and a comparison with it is neither true nor false: it does
//! not match, and its `NOT` does not match either (three-valued logic, as SQL has it). `IS KNOWN` and `IS UNKNOWN` ask
//! about just that. Property values are those of the beliefs under the query's scope, in the dictionary's units.

use arrow::array::{Array as _, StringArray};
use datasets::element::Element;
use datasets::formula::Formula;
use datasets::property::Property;
use gpu::Mask;

use super::{At, Comparison, Constant, Field, Filter, FilterError, Has, HasValue, Operand, Test, TextMatch, parse};
use crate::scope::Scope;
use crate::snapshot::Snapshot;

/// The material fields that a filter may ask about, beside the keys of properties.
pub const FIELDS: [&str; 13] = [
    "id",
    "formula",
    "chemical_formula_reduced",
    "chemical_formula_descriptive",
    "chemical_formula_anonymous",
    "name",
    "class",
    "elements",
    "nelements",
    "elements_ratios",
    "space_group",
    "datasets",
    "dataset",
];

/// The materials that match a filter under a scope; kept for the next call.
///
/// # Errors
/// The text is no filter, names no known field, or asks a field what it cannot be asked; with the position.
pub fn matching(snapshot: &Snapshot, scope: &Scope, text: &str) -> Result<std::sync::Arc<Mask>, FilterError> {
    let filter = parse(text)?;
    let key = (scope.clone(), filter.to_string());
    snapshot.filters.get(key, || Evaluator { snapshot, scope, text }.evaluate(&filter).map(|tri| tri.yes))
}

/// For each material: true, false, or neither (unknown).
struct Tri {
    yes: Mask,
    no: Mask,
}

impl Tri {
    fn not(self) -> Tri {
        Tri { yes: self.no, no: self.yes }
    }
}

struct Evaluator<'a> {
    snapshot: &'a Snapshot,
    scope: &'a Scope,
    text: &'a str,
}

enum Kind {
    Id,
    /// Compared as a formula: `GaAs` equals `AsGa`.
    Formula,
    Reduced,
    Descriptive,
    Anonymous,
    Name,
    Class,
    Elements,
    Nelements,
    Ratios,
    SpaceGroup,
    Datasets,
    Property(&'static Property),
}

impl Evaluator<'_> {
    fn rows(&self) -> usize {
        self.snapshot.materials.len()
    }

    fn error<T>(&self, at: At, message: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError::new(self.text, at.0, message))
    }

    fn evaluate(&self, filter: &Filter) -> Result<Tri, FilterError> {
        match filter {
            Filter::And(parts) => self.fold(parts, |all, next| {
                join(&mut all.yes, &next.yes, Mask::and);
                join(&mut all.no, &next.no, Mask::or);
            }),
            Filter::Or(parts) => self.fold(parts, |any, next| {
                join(&mut any.yes, &next.yes, Mask::or);
                join(&mut any.no, &next.no, Mask::and);
            }),
            Filter::Not(inner) => Ok(self.evaluate(inner)?.not()),
            Filter::Compare { left, op, right, at } => match right {
                Operand::Constant(constant) => self.compare(left, *op, constant, *at),
                Operand::Field(right) => self.compare_fields(left, *op, right, *at),
            },
            Filter::Constants { left, op, right, at } => {
                let holds = match (left, right) {
                    (Constant::Number(a), Constant::Number(b)) => ordered(a.value(), *op, b.value()),
                    (Constant::Boolean(a), Constant::Boolean(b)) => (a == b) == (*op == Comparison::Equal),
                    _ => {
                        return self
                            .error(*at, "two constants can be compared only where both are numbers or booleans");
                    }
                };
                Ok(self.tri(|_| Some(holds)))
            }
            Filter::Text { field, op, value, at } => {
                let Operand::Constant(Constant::Text(wanted)) = value else {
                    return self.error(*at, "CONTAINS, STARTS and ENDS need a text in double quotes");
                };
                let holds = |text: &str| match op {
                    TextMatch::Contains => text.contains(wanted.as_str()),
                    TextMatch::Starts => text.starts_with(wanted.as_str()),
                    TextMatch::Ends => text.ends_with(wanted.as_str()),
                };
                self.texts(field, *at, holds)
            }
            Filter::Has { fields, quantifier, values, at } => match fields.as_slice() {
                [field] => self.has(field, *quantifier, values, *at),
                _ => self.error(*at, "lists zipped by `:` are not supported: ask for each list alone"),
            },
            Filter::Length { field, op, value, at } => {
                let Operand::Constant(Constant::Number(number)) = value else {
                    return self.error(*at, "LENGTH needs a whole number");
                };
                let (op, number) = (*op, number.value());
                match self.kind(field)? {
                    Kind::Elements | Kind::Ratios => {
                        let m = &self.snapshot.materials;
                        Ok(self.tri(|row| m.nelements(row).map(|n| ordered(f64::from(n), op, number))))
                    }
                    Kind::Datasets => Ok(self.tri(|row| {
                        let distinct: std::collections::BTreeSet<usize> = self.datasets_of(row).collect();
                        Some(ordered(distinct.len() as f64, op, number))
                    })),
                    _ => self.error(*at, format!("`{}` is not a list: it has no LENGTH", name(field))),
                }
            }
            Filter::Known { field, known, .. } => {
                let mask = self.known(field)?;
                Ok(self.tri(|row| Some(mask.get(row) == *known)))
            }
            Filter::Bare(field) => {
                let mask = self.known(field)?;
                Ok(self.tri(|row| Some(mask.get(row))))
            }
        }
    }

    fn fold(&self, parts: &[Filter], mut join: impl FnMut(&mut Tri, &Tri)) -> Result<Tri, FilterError> {
        let Some((first, rest)) = parts.split_first() else { return Ok(self.tri(|_| Some(true))) };
        let mut folded = self.evaluate(first)?;
        for part in rest {
            join(&mut folded, &self.evaluate(part)?);
        }
        Ok(folded)
    }

    fn tri(&self, holds: impl Fn(usize) -> Option<bool> + Sync) -> Tri {
        let (yes, no) = Mask::partition(self.rows(), holds);
        Tri { yes, no }
    }

    fn kind(&self, field: &Field) -> Result<Kind, FilterError> {
        let [word] = field.path.as_slice() else {
            return self.error(field.at, format!("`{}`: nested fields are not supported", name(field)));
        };
        Ok(match word.as_str() {
            "id" => Kind::Id,
            "formula" => Kind::Formula,
            "chemical_formula_reduced" => Kind::Reduced,
            "chemical_formula_descriptive" => Kind::Descriptive,
            "chemical_formula_anonymous" => Kind::Anonymous,
            "name" => Kind::Name,
            "class" => Kind::Class,
            "elements" => Kind::Elements,
            "nelements" => Kind::Nelements,
            "elements_ratios" => Kind::Ratios,
            "space_group" => Kind::SpaceGroup,
            "datasets" | "dataset" => Kind::Datasets,
            key => match self.snapshot.find_property(key, self.scope) {
                Ok(property) => Kind::Property(property),
                Err(none) => {
                    let mut near: Vec<&str> =
                        FIELDS.into_iter().filter(|known| datasets::property::similarity(known, key) > 0.8).collect();
                    let also_fields = !near.is_empty();
                    near.extend(&none.closest);
                    near.truncate(3);
                    let message = match key {
                        "true" | "false" => format!("`{key}`: booleans are upper case, {}", key.to_uppercase()),
                        _ if also_fields => format!("there is no field `{key}`; the closest are {}", near.join(", ")),
                        _ => none.message,
                    };
                    return self.error(field.at, message);
                }
            },
        })
    }

    fn compare(&self, field: &Field, op: Comparison, constant: &Constant, at: At) -> Result<Tri, FilterError> {
        let m = &self.snapshot.materials;
        match (self.kind(field)?, constant) {
            (Kind::Nelements, Constant::Number(n)) => {
                let n = n.value();
                Ok(self.tri(|row| m.nelements(row).map(|have| ordered(f64::from(have), op, n))))
            }
            (Kind::SpaceGroup, Constant::Number(n)) => {
                let n = n.value();
                Ok(self.tri(|row| (m.space_group[row] != 0).then(|| ordered(f64::from(m.space_group[row]), op, n))))
            }
            (Kind::Property(property), Constant::Number(n)) => Ok(self.property(property, op, n.value())),
            (Kind::Formula, Constant::Text(text)) if !op.is_ordered() => {
                let wanted = match Formula::parse(text) {
                    Ok(formula) => formula.reduced(),
                    Err(e) => return self.error(at, e.to_string()),
                };
                Ok(self.column(&m.formula, |have| (have == wanted) == (op == Comparison::Equal)))
            }
            (Kind::Datasets, Constant::Text(wanted)) if !op.is_ordered() => {
                let set = self.datasets_where(|have| have == wanted);
                Ok(self.tri(|row| Some(self.datasets_of(row).any(|d| set[d]) == (op == Comparison::Equal))))
            }
            (Kind::Elements | Kind::Ratios, _) => {
                self.error(at, format!("`{}` is a list: ask it with HAS, HAS ALL, HAS ANY or LENGTH", name(field)))
            }
            (Kind::Nelements | Kind::SpaceGroup | Kind::Property(_), _) => {
                self.error(at, format!("`{}` is a number: compare it with a number, without quotes", name(field)))
            }
            (_, Constant::Text(wanted)) => self.texts(field, at, |have| ordered(have, op, wanted)),
            _ => self.error(at, format!("`{}` is a text: compare it with a text in double quotes", name(field))),
        }
    }

    fn compare_fields(&self, left: &Field, op: Comparison, right: &Field, at: At) -> Result<Tri, FilterError> {
        let (Kind::Property(a), Kind::Property(b)) = (self.kind(left)?, self.kind(right)?) else {
            return self.error(at, "two fields can be compared only where both are properties");
        };
        if a.unit != b.unit {
            return self.error(
                at,
                format!(
                    "`{}` is in {} and `{}` in {}: only properties of one unit can be compared",
                    a.key, a.unit, b.key, b.unit
                ),
            );
        }
        let (a, b) = (self.snapshot.beliefs(self.scope, a, None), self.snapshot.beliefs(self.scope, b, None));
        let n = self.rows();
        Ok(self.tri(|row| Some(ordered(a.get(row as u32, n)?.value, op, b.get(row as u32, n)?.value))))
    }

    fn property(&self, property: &'static Property, op: Comparison, number: f64) -> Tri {
        let beliefs = self.snapshot.beliefs(self.scope, property, None);
        let mut tri = Tri { yes: Mask::none(self.rows()), no: Mask::none(self.rows()) };
        for (&row, &value) in beliefs.row.iter().zip(&beliefs.value) {
            let side = if ordered(value, op, number) { &mut tri.yes } else { &mut tri.no };
            side.set(row as usize, true);
        }
        tri
    }

    fn column(&self, column: &StringArray, holds: impl Fn(&str) -> bool + Sync) -> Tri {
        self.tri(|row| column.is_valid(row).then(|| holds(column.value(row))))
    }

    fn texts(&self, field: &Field, at: At, holds: impl Fn(&str) -> bool + Sync) -> Result<Tri, FilterError> {
        let m = &self.snapshot.materials;
        Ok(match self.kind(field)? {
            Kind::Id => self.column(&m.id, holds),
            Kind::Reduced => self.column(&m.formula, holds),
            Kind::Name => self.tri(|row| m.name(row, self.scope).map(&holds)),
            Kind::Class => self.tri(|row| m.class(row, self.scope).map(&holds)),
            Kind::Formula | Kind::Descriptive => self.tri(|row| m.display(row).map(|text| holds(&text))),
            Kind::Anonymous => self.tri(|row| m.parsed(row).map(|formula| holds(&formula.anonymous()))),
            Kind::Datasets => {
                let set = self.datasets_where(holds);
                self.tri(|row| Some(self.datasets_of(row).any(|d| set[d])))
            }
            Kind::Elements | Kind::Ratios => {
                return self
                    .error(at, format!("`{}` is a list: ask it with HAS, HAS ALL, HAS ANY or LENGTH", name(field)));
            }
            Kind::Nelements | Kind::SpaceGroup | Kind::Property(_) => {
                return self.error(at, format!("`{}` is a number, not a text", name(field)));
            }
        })
    }

    fn has(&self, field: &Field, quantifier: Has, values: &[Vec<HasValue>], at: At) -> Result<Tri, FilterError> {
        let single = |zipped: &Vec<HasValue>| match zipped.as_slice() {
            [one] => Ok(one.clone()),
            _ => self.error(at, "lists zipped by `:` are not supported: ask for each list alone"),
        };
        let values: Vec<HasValue> = values.iter().map(single).collect::<Result<_, _>>()?;
        let m = &self.snapshot.materials;
        match self.kind(field)? {
            Kind::Elements => {
                // the bits of the elements that pass each value's test
                let passing: Vec<u128> = values.iter().map(|v| self.element_bits(v)).collect::<Result<_, _>>()?;
                let any = passing.iter().fold(0, |all, bits| all | bits);
                Ok(self.tri(|row| {
                    let have = m.elements[row];
                    (have != 0).then(|| match quantifier {
                        Has::One | Has::Any => have & any != 0,
                        Has::All => passing.iter().all(|bits| have & bits != 0),
                        Has::Only => have & !any == 0,
                    })
                }))
            }
            Kind::Ratios => {
                let tests: Vec<(Comparison, f64)> =
                    values.iter().map(|v| self.number_test(v)).collect::<Result<_, _>>()?;
                let passes = |ratio: f64, (op, number): &(Comparison, f64)| ordered(ratio, *op, *number);
                Ok(self.tri(|row| {
                    let ratios: Vec<f64> = m.parsed(row)?.fractions().map(|(_, x)| x).collect();
                    Some(match quantifier {
                        Has::One | Has::Any => ratios.iter().any(|&x| tests.iter().any(|t| passes(x, t))),
                        Has::All => tests.iter().all(|t| ratios.iter().any(|&x| passes(x, t))),
                        Has::Only => ratios.iter().all(|&x| tests.iter().any(|t| passes(x, t))),
                    })
                }))
            }
            Kind::Datasets => {
                let passing: Vec<Vec<bool>> = values.iter().map(|v| self.dataset_test(v)).collect::<Result<_, _>>()?;
                Ok(self.tri(|row| {
                    Some(match quantifier {
                        Has::One | Has::Any => self.datasets_of(row).any(|d| passing.iter().any(|set| set[d])),
                        Has::All => passing.iter().all(|set| self.datasets_of(row).any(|d| set[d])),
                        Has::Only => self.datasets_of(row).all(|d| passing.iter().any(|set| set[d])),
                    })
                }))
            }
            _ => self.error(
                at,
                format!("`{}` is not a list: HAS asks lists (elements, elements_ratios, datasets)", name(field)),
            ),
        }
    }

    fn element_bits(&self, value: &HasValue) -> Result<u128, FilterError> {
        let Operand::Constant(Constant::Text(text)) = &value.value else {
            return self.error(value.at, "an element is a text in double quotes, such as \"Fe\"");
        };
        if matches!(value.test, Test::Compare(Comparison::Equal | Comparison::NotEqual))
            && Element::from_symbol(text).is_none()
        {
            return self.error(value.at, format!("`{text}` is not an element's symbol"));
        }
        let passes = |symbol: &str| passes_text(symbol, value.test, text);
        Ok(crate::materials::element_bits(Element::all().filter(|e| passes(e.symbol()))))
    }

    fn dataset_test(&self, value: &HasValue) -> Result<Vec<bool>, FilterError> {
        let Operand::Constant(Constant::Text(text)) = &value.value else {
            return self.error(value.at, "a dataset is a text in double quotes, such as \"oqmd\"");
        };
        Ok(self.datasets_where(|name| passes_text(name, value.test, text)))
    }

    fn number_test(&self, value: &HasValue) -> Result<(Comparison, f64), FilterError> {
        match (value.test, &value.value) {
            (Test::Compare(op), Operand::Constant(Constant::Number(n))) => Ok((op, n.value())),
            _ => self.error(value.at, "a ratio is compared with a number"),
        }
    }

    fn datasets_where(&self, holds: impl Fn(&str) -> bool + Sync) -> Vec<bool> {
        self.snapshot.datasets.iter().map(|d| holds(&d.info.name)).collect()
    }

    /// The datasets of the scope with a record of this material, one entry a record.
    fn datasets_of(&self, row: usize) -> impl Iterator<Item = usize> {
        let records = self.snapshot.records.of_material(row as u32);
        records.map(|r| usize::from(self.snapshot.records.dataset[r])).filter(|&d| self.scope.0[d])
    }

    fn known(&self, field: &Field) -> Result<Mask, FilterError> {
        let m = &self.snapshot.materials;
        let n = self.rows();
        Ok(match self.kind(field)? {
            Kind::Id | Kind::Datasets => Mask::all(n),
            Kind::Formula
            | Kind::Reduced
            | Kind::Descriptive
            | Kind::Anonymous
            | Kind::Elements
            | Kind::Nelements
            | Kind::Ratios => Mask::from_fn(n, |row| m.elements[row] != 0),
            Kind::Name => Mask::from_fn(n, |row| m.name(row, self.scope).is_some()),
            Kind::Class => Mask::from_fn(n, |row| m.class(row, self.scope).is_some()),
            Kind::SpaceGroup => Mask::from_fn(n, |row| m.space_group[row] != 0),
            Kind::Property(property) => {
                let mut mask = Mask::none(n);
                for &row in &self.snapshot.beliefs(self.scope, property, None).row {
                    mask.set(row as usize, true);
                }
                mask
            }
        })
    }
}

fn join(mask: &mut Mask, other: &Mask, how: fn(&mut Mask, &Mask) -> Result<(), gpu::GpuError>) {
    // all masks of one evaluation have the snapshot's length
    debug_assert_eq!(mask.len(), other.len());
    let _ = how(mask, other);
}

fn name(field: &Field) -> String {
    field.path.join(".")
}

fn ordered<T: PartialOrd>(a: T, op: Comparison, b: T) -> bool {
    match op {
        Comparison::Equal => a == b,
        Comparison::NotEqual => a != b,
        Comparison::Less => a < b,
        Comparison::LessOrEqual => a <= b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
    }
}

fn passes_text(have: &str, test: Test, wanted: &str) -> bool {
    match test {
        Test::Compare(op) => ordered(have, op, wanted),
        Test::Text(TextMatch::Contains) => have.contains(wanted),
        Test::Text(TextMatch::Starts) => have.starts_with(wanted),
        Test::Text(TextMatch::Ends) => have.ends_with(wanted),
    }
}
