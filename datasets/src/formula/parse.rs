//! From text to a formula.

use super::decimal::Decimal;
use super::{Formula, FormulaError, FormulaProblem, MAX_CHARACTERS, MAX_DEPTH, greatest_common_divisor};
use crate::element::Element;
use std::str::FromStr;

/// A formula and what else its text said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The composition.
    pub formula: Formula,
    /// The charge of the unit as written, in elementary charges; none where the text states none.
    pub charge: Option<i32>,
}

/// Elements with their amounts as written, in the order of the text, repeated or not.
pub(super) type Terms = Vec<(Element, Decimal)>;

/// A problem with the index of the character where it is.
type Fault = (usize, FormulaProblem);

impl Formula {
    /// Reads a chemical formula, as [`Formula::parse_with_charge`] does, and drops a charge.
    pub fn parse(text: &str) -> Result<Formula, FormulaError> {
        match parse_plain(text.as_bytes()) {
            Some(formula) => Ok(formula),
            None => Formula::parse_with_charge(text).map(|parsed| parsed.formula),
        }
    }

    /// Reads a chemical formula with its charge. Amounts are exact decimals.
    ///
    /// - Brackets `()`, `[]`, `{}` nest up to 32 deep and take a multiplier; elements that occur twice are summed; zero amounts go.
    /// - Subscripts may be Unicode (₂). Spaces are free between elements; a number after a space belongs to the element before it
    ///   (`Fe 70 Ni 30`), and a number between a space and a letter is refused.
    /// - `·`, `•`, `*` and the like join parts, each with a multiplier in front: `CuSO4·5H2O`, `2H2O`. So does a `.` before a letter or
    ///   bracket (`CaO.SiO2`).
    /// - A `.` before a digit is a decimal point (`Al0.5CoCrFeNi`), except where what follows it is a number and `H2O` that end the
    ///   formula or its bracket, and what stands before it is not a lone 0: `CuSO4.5H2O` and `CaSO4.0.5H2O` are hydrates, while
    ///   `Li0.5H2O` holds half a lithium. A number and `H2O` after a space are a hydrate's by the same rule.
    /// - A polymer may be written by its repeat unit, as `-(CH2-O)n-`, `(C2H4)n` or `-(CH2)5-CO-NH-`: it begins and ends with a dash, or
    ///   ends with an `n` behind a bracket. Dashes and `=` inside are bonds, and an `n` behind a bracket says nothing.
    /// - A charge may end the formula: `SO4^2-`, `Fe³⁺`, `Na+`, `Fe+3`, `SO4--`. In `Fe3+` (one element) and `[Fe(CN)6]3-` (one bracket)
    ///   the digits are the charge; elsewhere the last of several digits is (`SO42-` is SO4 with 2-), and a single digit is a subscript
    ///   (`NH4+`).
    pub fn parse_with_charge(text: &str) -> Result<Parsed, FormulaError> {
        let (terms, charge) = read_terms(text)?;
        let formula = Formula::from_terms(&terms).map_err(|problem| FormulaError::new(text, None, problem))?;
        Ok(Parsed { formula, charge })
    }
}

impl FromStr for Formula {
    type Err = FormulaError;

    fn from_str(text: &str) -> Result<Formula, FormulaError> {
        Formula::parse(text)
    }
}

/// The terms as written, not summed, and the charge.
pub(super) fn read_terms(text: &str) -> Result<(Terms, Option<i32>), FormulaError> {
    let fail = |(at, problem): Fault| FormulaError::new(text, Some(at + 1), problem);
    check_text(text)?;
    let codes: Vec<u8> = text.chars().map(code).collect();
    if let Some(unit) = repeat_unit(&codes) {
        return Reader::new(text, &unit).read().map(|terms| (terms, None)).map_err(fail);
    }
    let (end, charge) = take_charge(&codes).map_err(fail)?;
    let terms = Reader::new(text, &codes[..end]).read().map_err(fail)?;
    Ok((terms, charge))
}

/// Refuses what is empty, too long or a date.
pub(super) fn check_text(text: &str) -> Result<(), FormulaError> {
    let problem = if text.len() > MAX_CHARACTERS && text.chars().count() > MAX_CHARACTERS {
        FormulaProblem::TooLong
    } else if text.trim().is_empty() {
        FormulaProblem::Empty
    } else if let Some(mend) = spreadsheet_date(text) {
        FormulaProblem::SpreadsheetDate { mend }
    } else {
        return Ok(());
    };
    Err(FormulaError::new(text, None, problem))
}

/// Symbols and integers alone, such as `Au1Fe1Sn2`: what nearly all tables hold. None for everything else, errors too.
fn parse_plain(text: &[u8]) -> Option<Formula> {
    const MOST: usize = 12;
    if text.len() > MAX_CHARACTERS {
        return None;
    }
    let mut held = [(Element::HYDROGEN, 0u64); MOST];
    let mut ranks = [0u8; MOST];
    let mut count = 0;
    let mut at = 0;
    while at < text.len() {
        let second = text.get(at + 1).copied().filter(u8::is_ascii_lowercase);
        let element = Element::from_letters(text[at], second)?;
        at += 1 + usize::from(second.is_some());
        let digits_from = at;
        let mut amount = 0u64;
        while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
            amount = amount * 10 + u64::from(digit);
            at += 1;
            if at - digits_from > 9 {
                return None;
            }
        }
        if at == digits_from {
            amount = 1;
        } else if amount == 0 {
            continue;
        }
        let rank = element.alphabetical_rank();
        let mut place = count;
        while place > 0 && ranks[place - 1] > rank {
            place -= 1;
        }
        if place > 0 && ranks[place - 1] == rank {
            held[place - 1].1 += amount;
            continue;
        }
        if count == MOST {
            return None;
        }
        held.copy_within(place..count, place + 1);
        ranks.copy_within(place..count, place + 1);
        held[place] = (element, amount);
        ranks[place] = rank;
        count += 1;
    }
    let held = &mut held[..count];
    let mut divisor = held.first()?.1;
    for &(_, amount) in &held[1..] {
        if divisor == 1 {
            break;
        }
        // amounts of at most 1000 digits in all sum to far below 2^64
        divisor = greatest_common_divisor(divisor.into(), amount.into()) as u64;
    }
    if divisor > 1 {
        held.iter_mut().for_each(|(_, amount)| *amount /= divisor);
    }
    Some(Formula { amounts: Box::from(&*held) })
}

const SUPERSCRIPT_ZERO: u8 = 0x80;
const SUPERSCRIPT_NINE: u8 = 0x89;
const SUPERSCRIPT_PLUS: u8 = 0x8A;
const SUPERSCRIPT_MINUS: u8 = 0x8B;
const UNKNOWN: u8 = 0xFF;

/// One byte a character: ASCII as it is, other ways of writing the same as ASCII, superscripts from 0x80.
fn code(character: char) -> u8 {
    match character {
        '\0'..='\x7f' if !character.is_ascii_whitespace() => character as u8,
        '₀'..='₉' => b'0' + (character as u32 - '₀' as u32) as u8,
        'ₙ' => b'n',
        '·' | '•' | '∙' | '⋅' | '・' | '‧' | '×' => b'*',
        '⁰' | '⁴'..='⁹' => SUPERSCRIPT_ZERO + (character as u32 - '⁰' as u32) as u8,
        '¹' => SUPERSCRIPT_ZERO + 1,
        '²' => SUPERSCRIPT_ZERO + 2,
        '³' => SUPERSCRIPT_ZERO + 3,
        '⁺' => SUPERSCRIPT_PLUS,
        '⁻' => SUPERSCRIPT_MINUS,
        '−' | '–' | '‐' | '‑' => b'-',
        '\u{feff}' | '\u{200b}' => b' ',
        _ if character.is_whitespace() => b' ',
        _ => UNKNOWN,
    }
}

/// The repeat unit of a polymer with blanks for its bonds and its `n`; none where the text is not written as one.
fn repeat_unit(codes: &[u8]) -> Option<Vec<u8>> {
    let first = codes.iter().position(|&code| code != b' ')?;
    let last = codes.iter().rposition(|&code| code != b' ')?;
    let follows = |at: usize| codes[at + 1..].iter().find(|&&code| code != b' ');
    let before_number = |at: usize| follows(at).is_some_and(u8::is_ascii_digit);
    let repeats = |at: usize| codes[at] == b'n' && at > 0 && matches!(codes[at - 1], b')' | b']' | b'}');
    let between_dashes = first < last && codes[first] == b'-' && codes[last] == b'-';
    if !between_dashes && !repeats(last) {
        return None;
    }
    // a bond before a number would make an amount of it, and stays what it is: an error
    let is_silent = |at: usize| (matches!(codes[at], b'-' | b'=') || repeats(at)) && !before_number(at);
    Some((0..codes.len()).map(|at| if is_silent(at) { b' ' } else { codes[at] }).collect())
}

/// The charge that ends the formula, and where the formula without it ends.
fn take_charge(codes: &[u8]) -> Result<(usize, Option<i32>), Fault> {
    let end = codes.len() - codes.iter().rev().take_while(|&&code| code == b' ').count();
    let codes = &codes[..end];
    let digits_before = |end: usize| codes[..end].iter().rev().take_while(|code| code.is_ascii_digit()).count();
    let superscripts =
        codes.iter().rev().take_while(|&code| (SUPERSCRIPT_ZERO..=SUPERSCRIPT_MINUS).contains(code)).count();
    if superscripts > 0 {
        let plain: Vec<u8> = codes[end - superscripts..].iter().map(plain_digit_or_sign).collect();
        return Ok((end - superscripts, Some(charge_value(&plain, end - superscripts)?)));
    }
    if let Some(caret) = codes.iter().rposition(|&code| code == b'^') {
        let inner = &codes[caret + 1..];
        let inner = inner.strip_prefix(b"{").and_then(|inner| inner.strip_suffix(b"}")).unwrap_or(inner);
        return Ok((caret, Some(charge_value(inner, caret)?)));
    }
    let is_sign = |code: &u8| matches!(code, b'+' | b'-');
    let Some(&last) = codes.last() else { return Ok((end, None)) };
    if !is_sign(&last) {
        // Fe+3
        let sign = end - digits_before(end);
        let lone = sign > 0 && codes.iter().filter(|code| is_sign(code)).count() == 1 && is_sign(&codes[sign - 1]);
        return if lone { Ok((sign - 1, Some(charge_value(&codes[sign - 1..], sign - 1)?))) } else { Ok((end, None)) };
    }
    let signs = codes.iter().rev().take_while(|&&code| code == last).count();
    let head = end - signs;
    let digits = if signs > 1 { 0 } else { digits_before(head) };
    let body = &codes[..head - digits];
    let mut taken = match body {
        _ if digits == 0 || body.last() == Some(&b'.') => 0,
        [first, rest @ ..] if first.is_ascii_uppercase() && rest.iter().all(u8::is_ascii_lowercase) => 1,
        _ if is_one_bracket(body) => digits,
        // a subscript of 1 is not written
        _ => usize::from(digits > 1 && codes[head - digits..head - 1] != *b"1"),
    };
    if taken > 0 && codes[head - taken] == b'0' {
        taken = 0;
    }
    let start = head - taken;
    Ok((start, Some(charge_value(&codes[start..], start)?)))
}

fn plain_digit_or_sign(code: &u8) -> u8 {
    match *code {
        SUPERSCRIPT_ZERO..=SUPERSCRIPT_NINE => b'0' + (code - SUPERSCRIPT_ZERO),
        SUPERSCRIPT_PLUS => b'+',
        SUPERSCRIPT_MINUS => b'-',
        other => other,
    }
}

/// Whether the bracket that opens the text closes at its end.
fn is_one_bracket(codes: &[u8]) -> bool {
    let mut depth = 0usize;
    for (at, code) in codes.iter().enumerate() {
        match code {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at > 0 && at + 1 == codes.len();
        }
    }
    false
}

/// `2+`, `+2`, `+` or `++` as a number.
fn charge_value(codes: &[u8], at: usize) -> Result<i32, Fault> {
    const LARGEST: i32 = 20;
    let fault = (at, FormulaProblem::Charge);
    let (sign, digits) = match codes {
        [digits @ .., sign @ (b'+' | b'-')] if digits.iter().all(u8::is_ascii_digit) => (*sign, digits),
        [sign @ (b'+' | b'-'), digits @ ..] if digits.iter().all(u8::is_ascii_digit) => (*sign, digits),
        [sign @ (b'+' | b'-'), rest @ ..] if rest.iter().all(|code| code == sign) && rest.len() < LARGEST as usize => {
            return Ok(if *sign == b'+' { codes.len() as i32 } else { -(codes.len() as i32) });
        }
        _ => return Err(fault),
    };
    let mut value = 0;
    for digit in digits {
        value = value * 10 + i32::from(digit - b'0');
        if value > LARGEST {
            return Err(fault);
        }
    }
    let value = if digits.is_empty() { 1 } else { value };
    Ok(if sign == b'+' { value } else { -value })
}

struct Bracket {
    open: u8,
    at: usize,
    first_term: usize,
    part: Part,
}

/// What is joined by dots: a multiplier and terms.
struct Part {
    multiplier: Decimal,
    multiplier_at: usize,
    first_term: usize,
}

struct Reader<'a> {
    text: &'a str,
    codes: &'a [u8],
    at: usize,
    terms: Terms,
    brackets: Vec<Bracket>,
    part: Part,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, codes: &'a [u8]) -> Reader<'a> {
        let part = Part { multiplier: Decimal::ONE, multiplier_at: 0, first_term: 0 };
        Reader { text, codes, at: 0, terms: Vec::with_capacity(8), brackets: Vec::new(), part }
    }

    fn read(mut self) -> Result<Terms, Fault> {
        self.open_part()?;
        while let Some(&code) = self.codes.get(self.at) {
            match code {
                b'A'..=b'Z' => self.element()?,
                b' ' => self.at += 1,
                b'(' | b'[' | b'{' => self.open_bracket(code)?,
                b')' | b']' | b'}' => self.close_bracket(code)?,
                b'*' => self.next_part()?,
                b'.' if self.codes.get(self.at + 1) == Some(&b'.') => return Err((self.at + 1, self.unexpected())),
                b'.' if !self.digit_at(self.at + 1) || self.hydrate_at(self.at + 1) => self.next_part()?,
                b'0'..=b'9' if self.hydrate_at(self.at) => {
                    self.close_part()?;
                    self.open_part()?;
                }
                b'0'..=b'9' => return Err((self.at, FormulaProblem::NumberWithoutElement)),
                _ => return Err((self.at, self.unexpected())),
            }
        }
        self.close_part()?;
        match self.brackets.last() {
            Some(bracket) => {
                let (open, close) = (bracket.open as char, closing(bracket.open) as char);
                Err((bracket.at, FormulaProblem::Unclosed { open, close }))
            }
            None => Ok(self.terms),
        }
    }

    fn element(&mut self) -> Result<(), Fault> {
        let small = self.codes[self.at + 1..].iter().take_while(|code| code.is_ascii_lowercase()).count();
        let letters = &self.codes[self.at..=self.at + small];
        let element = match *letters {
            [first] => Element::from_letters(first, None),
            [first, second] => Element::from_letters(first, Some(second)),
            _ => None,
        };
        let Some(element) = element else { return Err((self.at, unknown_element(letters))) };
        self.at += letters.len();
        let amount = self.subscript()?.unwrap_or(Decimal::ONE);
        self.terms.push((element, amount));
        Ok(())
    }

    fn open_bracket(&mut self, open: u8) -> Result<(), Fault> {
        if self.brackets.len() == MAX_DEPTH {
            return Err((self.at, FormulaProblem::TooDeep));
        }
        let first_term = self.terms.len();
        let inner = Part { multiplier: Decimal::ONE, multiplier_at: self.at, first_term };
        let part = std::mem::replace(&mut self.part, inner);
        self.brackets.push(Bracket { open, at: self.at, first_term, part });
        self.at += 1;
        self.open_part()
    }

    fn close_bracket(&mut self, close: u8) -> Result<(), Fault> {
        let Some(bracket) = self.brackets.pop() else {
            return Err((self.at, FormulaProblem::Unopened { close: close as char }));
        };
        if close != closing(bracket.open) {
            let (open, close) = (bracket.open as char, close as char);
            return Err((self.at, FormulaProblem::Mismatched { open, opened_at: bracket.at + 1, close }));
        }
        self.close_part()?;
        self.part = bracket.part;
        let at = self.at;
        self.at += 1;
        match self.subscript()? {
            Some(multiplier) => self.multiply(bracket.first_term, multiplier, at),
            None => Ok(()),
        }
    }

    fn next_part(&mut self) -> Result<(), Fault> {
        self.close_part()?;
        self.at += 1;
        self.open_part()
    }

    fn open_part(&mut self) -> Result<(), Fault> {
        self.at += self.spaces_at(self.at);
        let at = self.at;
        let multiplier = self.number(false)?.unwrap_or(Decimal::ONE);
        self.part = Part { multiplier, multiplier_at: at, first_term: self.terms.len() };
        Ok(())
    }

    fn close_part(&mut self) -> Result<(), Fault> {
        let Part { multiplier, multiplier_at, first_term } = self.part;
        if first_term == self.terms.len() {
            let stray_number = self.codes.get(multiplier_at).is_some_and(u8::is_ascii_digit);
            return Err(match stray_number {
                true => (multiplier_at, FormulaProblem::NumberWithoutElement),
                false if self.codes.is_empty() => (0, FormulaProblem::Empty),
                false => (self.at.min(self.codes.len() - 1), FormulaProblem::EmptyGroup),
            });
        }
        self.multiply(first_term, multiplier, multiplier_at)
    }

    fn multiply(&mut self, first_term: usize, multiplier: Decimal, at: usize) -> Result<(), Fault> {
        if multiplier != Decimal::ONE {
            for (_, amount) in &mut self.terms[first_term..] {
                *amount = amount.times(multiplier).map_err(|problem| (at, problem))?;
            }
        }
        Ok(())
    }

    /// The amount behind an element or bracket, with or without a space before it.
    fn subscript(&mut self) -> Result<Option<Decimal>, Fault> {
        let spaces = self.spaces_at(self.at);
        if spaces == 0 {
            return self.number(true);
        }
        let number_at = self.at + spaces;
        if !self.digit_at(number_at) || self.hydrate_at(number_at) {
            return Ok(None);
        }
        self.at = number_at;
        let amount = self.number(true)?;
        match self.codes.get(self.at) {
            Some(b'A'..=b'Z' | b'(' | b'[' | b'{') => Err((number_at, FormulaProblem::AmbiguousNumber)),
            _ => Ok(amount),
        }
    }

    /// A decimal number, none where there is none. As a subscript it ends before a hydrate's dot.
    fn number(&mut self, subscript: bool) -> Result<Option<Decimal>, Fault> {
        let start = self.at;
        let dot = start + self.digits_at(start);
        let before = &self.codes[start..dot];
        let hydrate = subscript && before != b"0" && self.hydrate_at(dot + 1);
        let behind = match self.codes.get(dot) {
            Some(b'.') if !hydrate => &self.codes[dot + 1..dot + 1 + self.digits_at(dot + 1)],
            _ => &[],
        };
        if before.is_empty() && behind.is_empty() {
            return Ok(None);
        }
        self.at = if behind.is_empty() { dot } else { dot + 1 + behind.len() };
        Decimal::from_digits(before, behind).map(Some).map_err(|problem| (start, problem))
    }

    /// Whether a number and `H2O` follow, and end the formula or its bracket.
    fn hydrate_at(&self, start: usize) -> bool {
        let mut at = start + self.digits_at(start);
        if at == start {
            return false;
        }
        if self.codes.get(at) == Some(&b'.') {
            let digits = self.digits_at(at + 1);
            if digits == 0 {
                return false;
            }
            at += 1 + digits;
        }
        at += self.spaces_at(at);
        let rest = &self.codes[at..];
        let waters: [&[u8]; 4] = [b"H2O", b"(H2O)", b"[H2O]", b"OH2"];
        let Some(water) = waters.into_iter().find(|water| rest.starts_with(water)) else { return false };
        at += water.len();
        at += self.spaces_at(at);
        matches!(self.codes.get(at), None | Some(b')' | b']' | b'}'))
    }

    fn digit_at(&self, at: usize) -> bool {
        self.codes.get(at).is_some_and(u8::is_ascii_digit)
    }

    fn digits_at(&self, at: usize) -> usize {
        self.codes.get(at..).unwrap_or_default().iter().take_while(|code| code.is_ascii_digit()).count()
    }

    fn spaces_at(&self, at: usize) -> usize {
        self.codes.get(at..).unwrap_or_default().iter().take_while(|&&code| code == b' ').count()
    }

    fn unexpected(&self) -> FormulaProblem {
        let code = self.codes[self.at];
        let found = self.text.chars().nth(self.at).unwrap_or(char::REPLACEMENT_CHARACTER);
        let mend = match code {
            b'a'..=b'z' => {
                let letters: Vec<u8> =
                    self.codes[self.at..].iter().copied().take_while(u8::is_ascii_lowercase).take(12).collect();
                let mend =
                    "a symbol begins with a capital letter (NaCl, not nacl), and a variable such as x must be a number";
                return FormulaProblem::UnknownElement { symbol: String::from_utf8_lossy(&letters).into_owned(), mend };
            }
            b'-' | b'+' => {
                "a charge stands at the end, parts are joined by '·', and an alloy such as Ti-6Al-4V needs a basis"
            }
            b',' => "the decimal mark is a point, and elements that share a site need an amount each (Mg0.9Fe0.1)",
            b'.' => "a number has one decimal point; join parts by '·'",
            b'/' => "write the parts of a mixture as one composition, or join them by '·' with their multipliers",
            b'%' => "for an alloy in percent say its basis",
            b'_' | b'$' | b'\\' => "write plain subscripts, without markup (Fe2O3)",
            SUPERSCRIPT_ZERO..=SUPERSCRIPT_MINUS | b'^' => "a superscript is a charge, and stands at the end",
            _ => "a formula holds element symbols, numbers, brackets and dots",
        };
        FormulaProblem::Unexpected { found, mend }
    }
}

fn closing(open: u8) -> u8 {
    match open {
        b'(' => b')',
        b'[' => b']',
        _ => b'}',
    }
}

fn unknown_element(letters: &[u8]) -> FormulaProblem {
    let mend = match letters {
        b"D" => return FormulaProblem::Isotope { symbol: 'D' },
        b"T" => return FormulaProblem::Isotope { symbol: 'T' },
        [_] => "the second letter of a symbol is small (NaCl, not NACL)",
        [_, _] => "write symbols as in the periodic table (Fe, Co, Cl)",
        _ => "a symbol has one or two letters, and names are not formulas",
    };
    FormulaProblem::UnknownElement {
        symbol: String::from_utf8_lossy(&letters[..letters.len().min(12)]).into_owned(),
        mend,
    }
}

/// What to write for a text that is a date (`2-Feb`, `Feb-02`, `2-Feb-24`, `2024-02-02`), none where it is not one.
fn spreadsheet_date(text: &str) -> Option<String> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    if text.len() > 40 || !text.contains(['-', '/', ' ']) {
        return None;
    }
    let tokens: Vec<&str> = text.split(['-', '/', ' ', ',', '.']).filter(|token| !token.is_empty()).collect();
    let is_number = |token: &&str| token.len() <= 4 && token.bytes().all(|byte| byte.is_ascii_digit());
    let month = tokens.iter().position(|token| MONTHS.contains(&token.to_ascii_lowercase().as_str()));
    let numbers = tokens.iter().filter(|token| is_number(token)).count();
    let Some(month) = month else {
        let separated = text.contains(['-', '/']) && !text.contains('.');
        return (separated && tokens.len() == 3 && numbers == 3).then(|| "write the formula again".to_owned());
    };
    if !matches!(tokens.len(), 2 | 3) || numbers + 1 != tokens.len() {
        return None;
    }
    let day = tokens.iter().filter(|token| is_number(token)).find_map(|token| token.parse::<u16>().ok())?;
    let stem = match tokens[month].to_ascii_lowercase().as_str() {
        "feb" => "FeB",
        "sep" => "SeP",
        "nov" => "NoV",
        _ => return Some("write the formula again".to_owned()),
    };
    Some(if day == 1 { format!("write {stem}") } else { format!("write {stem}{day}") })
}
