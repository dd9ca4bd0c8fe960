//! The tree of a filter, and its canonical text.

use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};

/// A filter: what must be true of an entry for it to match.
///
/// Two filters are equal when they ask the same in the same order: positions ([`At`]) do not count, nor do redundant
/// parentheses, nor on which side of a comparison the constant stood.
///
/// `Display` prints the canonical text. For every tree that [`parse`](super::parse) returns, parsing that text gives an
/// equal tree, as long as it keeps within [`MAX_FILTER_BYTES`](super::MAX_FILTER_BYTES): it writes spaces, and so may
/// be longer than the text that was parsed. (A tree built by hand must also keep to names and texts that the grammar
/// can write, and to the bounds named below.)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Filter {
    /// All of these; from [`parse`](super::parse) at least two, and none of them an `And`.
    And(Vec<Filter>),
    /// At least one of these; from [`parse`](super::parse) at least two, and none of them an `Or`.
    Or(Vec<Filter>),
    /// Not this. (The specification: matches entries for which the comparison is false; mind unknown values.)
    Not(Box<Filter>),
    /// `band_gap > 1.5`, or `a > b`, property against property (optional in the specification).
    ///
    /// `1.5 < band_gap` is kept as `band_gap > 1.5`.
    Compare {
        /// The property on the left.
        left: Field,
        /// The operator; with `TRUE` or `FALSE` on the right only `=` and `!=`.
        op: Comparison,
        /// The constant or property on the right.
        right: Operand,
        /// Where the operator stands.
        at: At,
    },
    /// `5 < 7`: constant against constant (optional in the specification, and forbidden to be answered for two texts).
    Constants {
        /// The constant on the left.
        left: Constant,
        /// The operator; with `TRUE` or `FALSE` on either side only `=` and `!=`.
        op: Comparison,
        /// The constant on the right.
        right: Constant,
        /// Where the operator stands.
        at: At,
    },
    /// `chemical_formula_descriptive STARTS WITH "Si"`.
    Text {
        /// The property.
        field: Field,
        /// Where in the property's text the value is looked for.
        op: TextMatch,
        /// The value: by type a text, though the grammar admits a number, a boolean or a property (optional).
        value: Operand,
        /// Where the operator stands.
        at: At,
    },
    /// `elements HAS ALL "Si", "O"`, or zipped `elements:counts HAS ANY "H":6, "He":7` (optional).
    Has {
        /// The lists: one, or two and more if zipped, and then elements at the same place are looked at together.
        fields: Vec<Field>,
        /// How many of the values, or of the list's elements, must match.
        quantifier: Has,
        /// The values, at least one; each holds one value, or, if zipped, two and more.
        ///
        /// The grammar does not ask that a zipped value is as long as `fields`: that is for the evaluator to check.
        values: Vec<Vec<HasValue>>,
        /// Where the word `HAS` stands.
        at: At,
    },
    /// `elements LENGTH 3`, or `elements LENGTH >= 3` (optional): the number of elements of a list.
    Length {
        /// The list.
        field: Field,
        /// The operator, `=` where none is written.
        op: Comparison,
        /// The value: by type a whole number, though the grammar admits any constant or a property.
        value: Operand,
        /// Where the word `LENGTH` stands.
        at: At,
    },
    /// `band_gap IS KNOWN`, `band_gap IS UNKNOWN`.
    Known {
        /// The property.
        field: Field,
        /// `true` for `IS KNOWN`, `false` for `IS UNKNOWN`.
        known: bool,
        /// Where the word `IS` stands.
        at: At,
    },
    /// A property alone: `= TRUE` of a boolean property, `IS KNOWN` of any other (optional).
    Bare(Field),
}

/// Where something stands in the text of a filter: a byte offset from 0.
///
/// All positions are equal and hash alike, so that trees compare by what they ask, not by how it was written.
#[derive(Debug, Clone, Copy, Default)]
pub struct At(pub usize);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

impl Hash for At {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A property's name: one identifier, several for a nested name (`references.target.year`, optional), or the one key of a
/// dataset's own property (`my-lab:wear_rate`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Field {
    /// The identifiers between the dots, at least one.
    pub path: Vec<String>,
    /// Where the name begins.
    pub at: At,
}

/// What a property is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A constant.
    Constant(Constant),
    /// Another property (optional in the specification wherever it is not the only property of a comparison).
    Field(Field),
}

/// A constant in a filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Constant {
    /// `"Si"`; also a timestamp (RFC 3339), which the property's type decides.
    Text(String),
    /// `1.5`.
    Number(Number),
    /// `TRUE` or `FALSE`.
    Boolean(bool),
}

/// A number of a filter: its value and the text that it was written as.
///
/// Two numbers are equal when they are written alike, so that integers beyond 2^53 stay apart (and `1` and `1.0` too).
#[derive(Debug, Clone)]
pub struct Number {
    value: f64,
    text: String,
}

impl Number {
    /// The number that `text` writes in the filter language, `[+-]?(digits[.digits] | .digits)[e[+-]digits]`, or `None`
    /// if it writes none.
    pub fn new(text: &str) -> Option<Self> {
        // f64's own grammar is this one, and `inf` and `nan` besides
        if !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')) {
            return None;
        }
        let value = text.parse().ok()?;
        Some(Self { value, text: text.to_owned() })
    }

    /// The nearest `f64`: never NaN, infinite if the number lies beyond the range of `f64`.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The number as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// The operator with its sides exchanged: `5 < a` asks what `a > 5` asks.
    pub fn flipped(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }

    /// Whether the operator needs an order: all but `=` and `!=`.
    pub fn is_ordered(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }
}

/// Where in a text another is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextMatch {
    /// `CONTAINS`: anywhere.
    Contains,
    /// `STARTS`, `STARTS WITH`: at its beginning.
    Starts,
    /// `ENDS`, `ENDS WITH`: at its end.
    Ends,
}

/// How many must match in a `HAS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Has {
    /// `HAS`: at least one element of the list matches the one value.
    One,
    /// `HAS ALL`: for each value, at least one element matches.
    All,
    /// `HAS ANY`: at least one element matches at least one value.
    Any,
    /// `HAS ONLY`: every element matches at least one value (optional in the specification).
    Only,
}

/// One value of a `HAS`, with the test that an element must pass against it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HasValue {
    /// The test: equality where none is written; any other is optional in the specification.
    pub test: Test,
    /// The value; a property is optional in the specification.
    pub value: Operand,
    /// Where the value, or the test before it, begins.
    pub at: At,
}

/// A test of one element of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Test {
    /// A comparison, `< 3`.
    Compare(Comparison),
    /// A search in a text, `STARTS WITH "S"`.
    Text(TextMatch),
}

impl Filter {
    /// All of `parts`, as one filter: nested `And`s become one, and one part alone stays as it is.
    pub(super) fn all(parts: Vec<Filter>) -> Filter {
        flatten(parts, Filter::And, |part| match part {
            Filter::And(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// At least one of `parts`, as one filter: nested `Or`s become one, and one part alone stays as it is.
    pub(super) fn any(parts: Vec<Filter>) -> Filter {
        flatten(parts, Filter::Or, |part| match part {
            Filter::Or(inner) => Ok(inner),
            other => Err(other),
        })
    }

    fn is_compound(&self) -> bool {
        matches!(self, Self::And(_) | Self::Or(_) | Self::Not(_))
    }
}

fn flatten(
    parts: Vec<Filter>,
    join: fn(Vec<Filter>) -> Filter,
    open: fn(Filter) -> Result<Vec<Filter>, Filter>,
) -> Filter {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match open(part) {
            Ok(inner) => flat.extend(inner),
            Err(single) => flat.push(single),
        }
    }
    match flat.pop() {
        Some(only) if flat.is_empty() => only,
        Some(last) => {
            flat.push(last);
            join(flat)
        }
        None => join(flat),
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(parts) => {
                write_joined(f, parts, " AND ", |part, f| grouped(part, matches!(part, Self::And(_) | Self::Or(_)), f))
            }
            Self::Or(parts) => write_joined(f, parts, " OR ", |part, f| grouped(part, matches!(part, Self::Or(_)), f)),
            Self::Not(inner) => {
                f.write_str("NOT ")?;
                grouped(inner, inner.is_compound(), f)
            }
            Self::Compare { left, op, right, .. } => write!(f, "{left} {op} {right}"),
            Self::Constants { left, op, right, .. } => write!(f, "{left} {op} {right}"),
            Self::Text { field, op, value, .. } => write!(f, "{field} {op} {value}"),
            Self::Has { fields, quantifier, values, .. } => {
                write_joined(f, fields, ":", fmt::Display::fmt)?;
                write!(f, " {quantifier} ")?;
                write_joined(f, values, ", ", |zipped, f| write_joined(f, zipped, ":", fmt::Display::fmt))
            }
            Self::Length { field, op: Comparison::Equal, value, .. } => write!(f, "{field} LENGTH {value}"),
            Self::Length { field, op, value, .. } => write!(f, "{field} LENGTH {op} {value}"),
            Self::Known { field, known: true, .. } => write!(f, "{field} IS KNOWN"),
            Self::Known { field, known: false, .. } => write!(f, "{field} IS UNKNOWN"),
            Self::Bare(field) => field.fmt(f),
        }
    }
}

fn grouped(filter: &Filter, parentheses: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if parentheses { write!(f, "({filter})") } else { fmt::Display::fmt(filter, f) }
}

fn write_joined<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    between: &str,
    write: impl Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            f.write_str(between)?;
        }
        write(item, f)?;
    }
    Ok(())
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_joined(f, &self.path, ".", fmt::Display::fmt)
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(constant) => constant.fmt(f),
            Self::Field(field) => field.fmt(f),
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => {
                f.write_str("\"")?;
                for character in text.chars() {
                    if matches!(character, '"' | '\\') {
                        f.write_char('\\')?;
                    }
                    f.write_char(character)?;
                }
                f.write_str("\"")
            }
            Self::Number(number) => f.write_str(number.text()),
            Self::Boolean(true) => f.write_str("TRUE"),
            Self::Boolean(false) => f.write_str("FALSE"),
        }
    }
}

impl fmt::Display for HasValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.test {
            Test::Compare(Comparison::Equal) => self.value.fmt(f),
            Test::Compare(op) => write!(f, "{op} {}", self.value),
            Test::Text(op) => write!(f, "{op} {}", self.value),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contains => "CONTAINS",
            Self::Starts => "STARTS WITH",
            Self::Ends => "ENDS WITH",
        })
    }
}

impl fmt::Display for Has {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "HAS",
            Self::All => "HAS ALL",
            Self::Any => "HAS ANY",
            Self::Only => "HAS ONLY",
        })
    }
}
