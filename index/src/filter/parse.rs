//! Tokens to a tree, by recursive descent: one function for each rule of the specification's grammar.
//!
//! Only parentheses recurse (the grammar admits no `NOT NOT`), so [`MAX_NESTING`] bounds the stack, of parsing and of
//! whatever walks or drops the tree.

use super::lexer::{Keyword, Kind, Lexer, Token, shortened};
use super::tree::{At, Comparison, Constant, Field, Filter, Has, HasValue, Number, Operand, Test, TextMatch};

/// The longest filter that is read, in bytes.
pub const MAX_FILTER_BYTES: usize = 65_536;

/// How many parentheses may be open at once. A `NOT` can only repeat with parentheses between, so it is bounded too.
pub const MAX_NESTING: usize = 64;

/// How many comparisons a filter may hold; in a list of values (`HAS ALL "Si", "O"`) each value counts as one.
pub const MAX_TERMS: usize = 4_096;

/// Why a text is not a filter: the place, what was found there, what was expected, and the mend where it is plain.
///
/// In HTTP this is a `400 Bad Request`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {character}: {message}")]
pub struct FilterError {
    /// Byte offset in the text, from 0.
    pub at: usize,
    /// The same place as a reader counts: the first character is 1.
    pub character: usize,
    /// What is wrong; characters that it names are counted from 1.
    pub message: String,
}

impl FilterError {
    /// An error at byte `at` of the filter `text`.
    pub fn new(text: &str, at: usize, message: impl Into<String>) -> Self {
        Self { at, character: character_number(text, at), message: message.into() }
    }
}

fn character_number(text: &str, at: usize) -> usize {
    text.char_indices().take_while(|(offset, _)| *offset < at).count() + 1
}

/// Reads a filter in the OPTIMADE filter language, optional parts included (v1.2 and v1.3 have the same grammar).
///
/// # Errors
///
/// [`FilterError`] if the text is not in the language or beyond a limit ([`MAX_FILTER_BYTES`], [`MAX_NESTING`],
/// [`MAX_TERMS`]). Never panics.
pub fn parse(text: &str) -> Result<Filter, FilterError> {
    if text.len() > MAX_FILTER_BYTES {
        let message = format!(
            "the filter is {} bytes long: at most {MAX_FILTER_BYTES} are read; split it in several",
            text.len()
        );
        return Err(FilterError::new(text, text.floor_char_boundary(MAX_FILTER_BYTES), message));
    }
    let mut lexer = Lexer::new(text);
    let current = lexer.token()?;
    let mut parser = Parser { text, lexer, current, last_name: None, nesting: 0, terms: 0 };
    let filter = parser.expression()?;
    match parser.current.kind {
        Kind::End => Ok(filter),
        _ => Err(parser.unexpected(Expected::MoreOrEnd)),
    }
}

/// What the grammar admits at some place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Comparison,
    Value,
    Name,
    Operator,
    OperatorAfterConstant,
    KnownOrUnknown,
    HasAfterZip,
    NextZippedValue,
    MoreOrEnd,
    MoreOrClose,
}

impl Expected {
    fn words(self) -> &'static str {
        match self {
            Self::Comparison => "a comparison such as `nelements = 3`",
            Self::Value => "a value: a text in double quotes, a number, TRUE, FALSE or a property name",
            Self::Name => "a property name",
            Self::Operator => {
                "an operator: = != < <= > >=, CONTAINS, STARTS WITH, ENDS WITH, HAS, LENGTH, IS KNOWN or IS UNKNOWN"
            }
            Self::OperatorAfterConstant => "an operator after the value: = != < <= > or >=",
            Self::KnownOrUnknown => "KNOWN or UNKNOWN after IS",
            Self::HasAfterZip => "HAS, which alone may follow lists joined by `:`",
            Self::NextZippedValue => "`:` and the value for the next list",
            Self::MoreOrEnd => "AND, OR or the end of the filter",
            Self::MoreOrClose => "AND, OR or `)`",
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    current: Token<'t>,
    /// The token before the current one, if that was a name: `chemical formula`, `a HAS any "x"`.
    last_name: Option<(&'t str, usize)>,
    nesting: usize,
    terms: usize,
}

impl<'t> Parser<'t> {
    /// `Expression = ExpressionClause, [ OR, Expression ]`
    fn expression(&mut self) -> Result<Filter, FilterError> {
        let mut parts = vec![self.clause()?];
        while self.take(Keyword::Or)? {
            parts.push(self.clause()?);
        }
        Ok(Filter::any(parts))
    }

    /// `ExpressionClause = ExpressionPhrase, [ AND, ExpressionClause ]`
    fn clause(&mut self) -> Result<Filter, FilterError> {
        let mut parts = vec![self.phrase()?];
        while self.take(Keyword::And)? {
            parts.push(self.phrase()?);
        }
        Ok(Filter::all(parts))
    }

    /// `ExpressionPhrase = [ NOT ], ( Comparison | OpeningBrace, Expression, ClosingBrace )`
    fn phrase(&mut self) -> Result<Filter, FilterError> {
        if !self.take(Keyword::Not)? {
            return self.phrase_without_not();
        }
        if self.current.kind == Kind::Keyword(Keyword::Not) {
            return Err(self.error(self.current.at, "NOT does not follow NOT: leave out both, or write NOT (NOT ...)"));
        }
        Ok(Filter::Not(Box::new(self.phrase_without_not()?)))
    }

    fn phrase_without_not(&mut self) -> Result<Filter, FilterError> {
        match self.current.kind {
            _ if self.own_key().is_some() => self.property_first(),
            Kind::Open => self.group(),
            Kind::Name(_) => self.property_first(),
            Kind::Text(_) | Kind::Number(_) | Kind::Keyword(Keyword::True | Keyword::False) => self.constant_first(),
            Kind::End if self.text.trim().is_empty() => {
                Err(self.error(0, format!("the filter is empty: expected {}", Expected::Comparison.words())))
            }
            _ => Err(self.unexpected(Expected::Comparison)),
        }
    }

    fn group(&mut self) -> Result<Filter, FilterError> {
        let open = self.current.at;
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.error(open, format!("more than {MAX_NESTING} parentheses are open here")));
        }
        self.advance()?;
        let inner = self.expression()?;
        match self.current.kind {
            Kind::Close => {
                self.advance()?;
                self.nesting -= 1;
            }
            Kind::End => {
                let opened = character_number(self.text, open);
                let message = format!("the parenthesis opened at character {opened} is not closed: expected `)`");
                return Err(self.error(self.current.at, message));
            }
            _ => return Err(self.unexpected(Expected::MoreOrClose)),
        }
        if matches!(self.current.kind, Kind::Operator(_)) {
            let message = "what stands in parentheses is true or false, not a value: it is not compared; to negate it \
                           write NOT (...)";
            return Err(self.error(self.current.at, message));
        }
        Ok(inner)
    }

    /// `ConstantFirstComparison = OrderedConstant, ValueOpRhs | UnorderedConstant, ValueEqRhs`
    fn constant_first(&mut self) -> Result<Filter, FilterError> {
        self.count_term()?;
        let constant = self.constant()?;
        let at = At(self.current.at);
        let Kind::Operator(op) = self.current.kind else {
            return Err(self.unexpected(Expected::OperatorAfterConstant));
        };
        if op.is_ordered() && matches!(constant, Constant::Boolean(_)) {
            return Err(self.unordered(at));
        }
        self.advance()?;
        Ok(match self.compared_with(op)? {
            Operand::Field(left) => Filter::Compare { left, op: op.flipped(), right: Operand::Constant(constant), at },
            Operand::Constant(right) => Filter::Constants { left: constant, op, right, at },
        })
    }

    /// `PropertyFirstComparison = Property, [ ValueOpRhs | KnownOpRhs | FuzzyStringOpRhs | SetOpRhs | SetZipOpRhs |
    /// LengthOpRhs ]`
    fn property_first(&mut self) -> Result<Filter, FilterError> {
        self.count_term()?;
        let field = self.subject()?;
        let at = At(self.current.at);
        match self.current.kind {
            Kind::Colon => self.zipped(field),
            Kind::Operator(op) => {
                self.advance()?;
                Ok(Filter::Compare { left: field, op, right: self.compared_with(op)?, at })
            }
            Kind::Keyword(Keyword::Contains | Keyword::Starts | Keyword::Ends) => {
                let op = self.text_match()?;
                Ok(Filter::Text { field, op, value: self.value()?, at })
            }
            Kind::Keyword(Keyword::Has) => self.has(vec![field]),
            Kind::Keyword(Keyword::Length) => {
                self.advance()?;
                let op = self.comparison()?.unwrap_or(Comparison::Equal);
                Ok(Filter::Length { field, op, value: self.value()?, at })
            }
            Kind::Keyword(Keyword::Is) => {
                self.advance()?;
                let known = match self.current.kind {
                    Kind::Keyword(Keyword::Known) => true,
                    Kind::Keyword(Keyword::Unknown) => false,
                    _ => return Err(self.unexpected(Expected::KnownOrUnknown)),
                };
                self.advance()?;
                Ok(Filter::Known { field, known, at })
            }
            Kind::Keyword(Keyword::And | Keyword::Or) | Kind::Close | Kind::End => Ok(Filter::Bare(field)),
            _ => Err(self.unexpected(Expected::Operator)),
        }
    }

    /// `PropertyZipAddon = Colon, Property, { Colon, Property }`, and the `HAS` that follows it.
    fn zipped(&mut self, first: Field) -> Result<Filter, FilterError> {
        let mut fields = vec![first];
        while self.current.kind == Kind::Colon {
            self.advance()?;
            fields.push(self.field()?);
        }
        if self.current.kind == Kind::Keyword(Keyword::Has) {
            self.has(fields)
        } else {
            Err(self.unexpected(Expected::HasAfterZip))
        }
    }

    /// `SetOpRhs` and `SetZipOpRhs`, from `HAS` on.
    fn has(&mut self, fields: Vec<Field>) -> Result<Filter, FilterError> {
        let at = At(self.current.at);
        self.advance()?;
        let quantifier = match self.current.kind {
            Kind::Keyword(Keyword::All) => Has::All,
            Kind::Keyword(Keyword::Any) => Has::Any,
            Kind::Keyword(Keyword::Only) => Has::Only,
            _ => Has::One,
        };
        if quantifier != Has::One {
            self.advance()?;
        }
        let zipped = fields.len() > 1;
        let mut values = vec![self.zipped_values(zipped)?];
        while self.current.kind == Kind::Comma {
            if quantifier == Has::One {
                let message = "HAS takes one value: for several write HAS ALL (each of them) or HAS ANY (one of them)";
                return Err(self.mended(self.current.at, message));
            }
            self.advance()?;
            self.count_term()?;
            values.push(self.zipped_values(zipped)?);
        }
        Ok(Filter::Has { fields, quantifier, values, at })
    }

    /// `ValueZip = ValueListEntry, Colon, ValueListEntry, { Colon, ValueListEntry }`, or one entry alone if not zipped.
    fn zipped_values(&mut self, zipped: bool) -> Result<Vec<HasValue>, FilterError> {
        let mut values = vec![self.has_value()?];
        if !zipped && self.current.kind == Kind::Colon {
            let message = "values joined by `:` are for lists joined by `:`, as in `elements:ratios HAS \"Si\":0.5`";
            return Err(self.error(self.current.at, message));
        }
        if zipped && self.current.kind != Kind::Colon {
            return Err(self.unexpected(Expected::NextZippedValue));
        }
        while self.current.kind == Kind::Colon {
            self.advance()?;
            self.count_term()?;
            values.push(self.has_value()?);
        }
        Ok(values)
    }

    /// `ValueListEntry = Value | ValueEqRhs | ValueRelCompRhs | FuzzyStringOpRhs`
    fn has_value(&mut self) -> Result<HasValue, FilterError> {
        let at = At(self.current.at);
        match self.current.kind {
            Kind::Open => {
                Err(self.error(at.0, "the values of a list stand without parentheses: HAS ALL \"Si\", \"O\""))
            }
            Kind::Keyword(Keyword::Contains | Keyword::Starts | Keyword::Ends) => {
                let op = self.text_match()?;
                Ok(HasValue { test: Test::Text(op), value: self.listed_value()?, at })
            }
            _ => {
                let op = self.comparison()?.unwrap_or(Comparison::Equal);
                self.ordered_only(op)?;
                Ok(HasValue { test: Test::Compare(op), value: self.listed_value()?, at })
            }
        }
    }

    /// An operator, if one stands here.
    fn comparison(&mut self) -> Result<Option<Comparison>, FilterError> {
        let Kind::Operator(op) = self.current.kind else { return Ok(None) };
        self.advance()?;
        Ok(Some(op))
    }

    /// `CONTAINS | STARTS, [ WITH ] | ENDS, [ WITH ]`, where one of them is known to stand.
    fn text_match(&mut self) -> Result<TextMatch, FilterError> {
        let op = match self.current.kind {
            Kind::Keyword(Keyword::Starts) => TextMatch::Starts,
            Kind::Keyword(Keyword::Ends) => TextMatch::Ends,
            _ => TextMatch::Contains,
        };
        self.advance()?;
        if op != TextMatch::Contains {
            self.take(Keyword::With)?;
        }
        Ok(op)
    }

    /// The `Value` after `=` and `!=`, the `OrderedValue` after the others.
    fn compared_with(&mut self, op: Comparison) -> Result<Operand, FilterError> {
        self.ordered_only(op)?;
        self.value()
    }

    fn ordered_only(&self, op: Comparison) -> Result<(), FilterError> {
        if op.is_ordered() && matches!(self.current.kind, Kind::Keyword(Keyword::True | Keyword::False)) {
            return Err(self.unordered(At(self.current.at)));
        }
        Ok(())
    }

    /// `Value = UnorderedConstant | OrderedConstant | Property`
    fn value(&mut self) -> Result<Operand, FilterError> {
        if self.own_key().is_some() {
            return Ok(Operand::Field(self.subject()?));
        }
        self.listed_value()
    }

    /// A value in a list, where a `:` joins values.
    fn listed_value(&mut self) -> Result<Operand, FilterError> {
        match self.current.kind {
            Kind::Name(_) => Ok(Operand::Field(self.field()?)),
            _ => Ok(Operand::Constant(self.constant()?)),
        }
    }

    fn constant(&mut self) -> Result<Constant, FilterError> {
        let constant = match &mut self.current.kind {
            Kind::Text(text) => Some(Constant::Text(std::mem::take(text))),
            Kind::Number(text) => Number::new(text).map(Constant::Number),
            Kind::Keyword(Keyword::True) => Some(Constant::Boolean(true)),
            Kind::Keyword(Keyword::False) => Some(Constant::Boolean(false)),
            _ => None,
        };
        match constant {
            Some(constant) => {
                self.advance()?;
                Ok(constant)
            }
            None => Err(self.unexpected(Expected::Value)),
        }
    }

    /// Where the key of a dataset's own property ends, `my-lab:wear_rate`, if one stands here: the one thing that is
    /// read beyond the grammar. What the grammar admits stays what it is: `a:b HAS ...` are two lists.
    fn own_key(&self) -> Option<usize> {
        if !matches!(self.current.kind, Kind::Name(_) | Kind::Number(_)) {
            return None;
        }
        let end = self.lexer.own_key(self.current.at)?;
        let (key, rest) = (self.text.get(self.current.at..end)?, self.text.get(end..)?.trim_ascii_start());
        let of_grammar = !key.contains('-') && (rest.starts_with("HAS") || rest.starts_with([':', '.']));
        (!of_grammar).then_some(end)
    }

    /// The property that is asked about: of OPTIMADE's grammar, or a dataset's own.
    fn subject(&mut self) -> Result<Field, FilterError> {
        let at = self.current.at;
        let Some(end) = self.own_key() else { return self.field() };
        let path = vec![self.text.get(at..end).unwrap_or_default().to_owned()];
        self.lexer.go_to(end);
        self.advance()?;
        Ok(Field { path, at: At(at) })
    }

    /// `Property = Identifier, { Dot, Identifier }`
    fn field(&mut self) -> Result<Field, FilterError> {
        let at = At(self.current.at);
        let mut path = Vec::with_capacity(1);
        loop {
            let Kind::Name(name) = self.current.kind else {
                return Err(self.unexpected(Expected::Name));
            };
            path.push(name.to_owned());
            self.advance()?;
            if self.current.kind != Kind::Dot {
                return Ok(Field { path, at });
            }
            self.advance()?;
        }
    }

    fn advance(&mut self) -> Result<(), FilterError> {
        self.last_name = match self.current.kind {
            Kind::Name(name) => Some((name, self.current.at)),
            _ => None,
        };
        self.current = self.lexer.token()?;
        Ok(())
    }

    fn take(&mut self, keyword: Keyword) -> Result<bool, FilterError> {
        let found = self.current.kind == Kind::Keyword(keyword);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn count_term(&mut self) -> Result<(), FilterError> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            let message = format!("the filter holds more than {MAX_TERMS} comparisons; split it in several");
            return Err(self.error(self.current.at, message));
        }
        Ok(())
    }

    fn error(&self, at: usize, message: impl Into<String>) -> FilterError {
        self.lexer.error(at, message)
    }

    fn unordered(&self, at: At) -> FilterError {
        self.error(at.0, "TRUE and FALSE have no order: they are compared with = and != only")
    }

    /// The error with the given message, unless a keyword in lower case just before is the likelier cause.
    fn mended(&self, at: usize, message: impl Into<String>) -> FilterError {
        let misspelt = |name| Keyword::whatever_case(name);
        let here = match self.current.kind {
            Kind::Name(name) => misspelt(name).map(|keyword| (name, keyword, self.current.at)),
            _ => None,
        };
        let before = || self.last_name.and_then(|(name, at)| misspelt(name).map(|keyword| (name, keyword, at)));
        match here.or_else(before) {
            Some((name, keyword, at)) => {
                self.error(at, format!("found `{name}`: keywords are upper case: {}", keyword.word()))
            }
            None => self.error(at, message),
        }
    }

    /// The error for a current token that cannot stand where it does.
    fn unexpected(&self, expected: Expected) -> FilterError {
        let found = match &self.current.kind {
            Kind::Name(name) => format!("the name `{}`", shortened(name)),
            Kind::Text(text) => format!("the text \"{}\"", shortened(text)),
            Kind::Number(number) => format!("the number {}", shortened(number)),
            Kind::Keyword(keyword) => format!("the keyword {}", keyword.word()),
            Kind::Operator(op) => format!("`{op}`"),
            Kind::Open => "`(`".to_owned(),
            Kind::Close => "`)`".to_owned(),
            Kind::Dot => "`.`".to_owned(),
            Kind::Comma => "`,`".to_owned(),
            Kind::Colon => "`:`".to_owned(),
            Kind::End => "the end of the filter".to_owned(),
        };
        let mut message = format!("found {found}, expected {}", expected.words());
        if let Some(mend) = self.mend(expected) {
            message.push_str(" (");
            message.push_str(mend);
            message.push(')');
        }
        self.mended(self.current.at, message)
    }

    /// What to write instead, where the mistake is a common one.
    fn mend(&self, expected: Expected) -> Option<&'static str> {
        use Keyword as K;
        Some(match (expected, &self.current.kind) {
            (Expected::Operator, Kind::Name(_)) => "a property name holds no spaces",
            (Expected::Operator, Kind::Keyword(K::Known | K::Unknown)) => "write IS KNOWN or IS UNKNOWN",
            (Expected::Operator, Kind::Keyword(K::Not)) => "NOT stands before the property",
            (Expected::KnownOrUnknown, Kind::Keyword(K::Not)) => {
                "for IS NOT KNOWN write IS UNKNOWN, for IS NOT UNKNOWN write IS KNOWN"
            }
            (Expected::KnownOrUnknown, Kind::Keyword(K::True | K::False)) => "write = TRUE or = FALSE",
            (Expected::Comparison, Kind::Keyword(K::Has | K::Length | K::Is | K::Contains | K::Starts | K::Ends)) => {
                "it stands after the property name"
            }
            (
                Expected::OperatorAfterConstant,
                Kind::Keyword(K::Has | K::Length | K::Is | K::Contains | K::Starts | K::Ends),
            ) => "write the property on its left, the value on its right",
            (Expected::MoreOrEnd | Expected::MoreOrClose, Kind::Operator(_)) => {
                "comparisons do not chain: for 1 < x < 5 write x > 1 AND x < 5"
            }
            (Expected::MoreOrEnd | Expected::MoreOrClose, Kind::Comma) => {
                "several values need HAS ALL or HAS ANY; the decimal sign of a number is a point"
            }
            (Expected::MoreOrEnd, Kind::Close) => "no parenthesis is open here",
            _ => return None,
        })
    }
}
