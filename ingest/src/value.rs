//! What does this cell say? One text → a number with its uncertainty, its bound and its unit.
//!
//! Read are plain numbers (`12.3`, `1.2e-5`, `1.2×10^-5`), uncertainties (`12.3 ± 0.4`, `12.3(4)`, `1.234(12)e5`), ranges
//! (`5-7`, `5 to 7`), bounds (`<5`, `≥100`), approximations (`~5`, `ca. 5`), and a unit behind any of them (`12.3 GPa`).
//! What can be read in two ways is refused, never guessed.

/// How numbers are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberFormat {
    /// The decimal mark, `.` or `,`.
    pub decimal: char,
    /// The mark between groups of three digits, where the mapping states one.
    pub thousands: Option<char>,
}

/// The longest cell that is read as a value, bytes.
pub const LONGEST: usize = 200;

/// In what sense the number is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sense {
    /// The value itself.
    Exact,
    /// About this value: `~5`, `ca. 5`.
    About,
    /// The middle of a range; the uncertainty is half its width over √3, as of a uniform distribution.
    Range,
    /// The true value is below (`<`, `≤`): the number is an upper bound.
    Below(&'static str),
    /// The true value is above (`>`, `≥`): the number is a lower bound.
    Above(&'static str),
}

/// A cell, understood. Value and uncertainty are in the cell's own unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading<'a> {
    /// The number; the middle of a range.
    pub value: f64,
    /// One standard deviation, where the cell states one.
    pub sd: Option<f64>,
    /// In what sense.
    pub sense: Sense,
    /// The unit as it stands in the cell.
    pub unit: Option<&'a str>,
}

/// Why a cell cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unreadable {
    /// What is wrong.
    pub why: String,
    /// How to mend it, where it is known better than in general.
    pub mend: Option<&'static str>,
}

fn unreadable(why: impl Into<String>) -> Unreadable {
    Unreadable { why: why.into(), mend: None }
}

impl NumberFormat {
    /// Numbers with a decimal point.
    pub const POINT: NumberFormat = NumberFormat { decimal: '.', thousands: None };

    /// A plain number and nothing else: the way of nearly all cells.
    pub fn plain(self, text: &str) -> Option<f64> {
        if self.decimal != '.' || self.thousands.is_some() {
            return None;
        }
        let bytes = text.as_bytes();
        let first = bytes.iter().find(|b| !matches!(b, b'+' | b'-'))?;
        // "inf" and "nan" are numbers for the parser and not for us
        if !(first.is_ascii_digit() || *first == b'.') {
            return None;
        }
        text.parse::<f64>().ok().filter(|x| x.is_finite())
    }
}

/// Reads a cell; the text is trimmed before.
///
/// # Errors
/// The text is no number, or one that can be read in two ways.
pub fn read(text: &str, format: NumberFormat) -> Result<Reading<'_>, Unreadable> {
    let text = text.trim();
    if let Some(value) = format.plain(text) {
        return Ok(Reading { value, sd: None, sense: Sense::Exact, unit: None });
    }
    if text.len() > LONGEST {
        return Err(unreadable(format!("the text is longer than {LONGEST} bytes")));
    }
    if ["#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"].contains(&text) {
        return Err(Unreadable {
            why: "it is an error of the spreadsheet".into(),
            mend: Some("mend the formula in the spreadsheet, or leave the cell empty"),
        });
    }
    let (sense, rest) = sense_of(text);
    let mut at = Cursor { text: rest.trim_start(), format };
    let mut reading = at.quantity(sense)?;
    let unit = at.text.trim();
    if !unit.is_empty() {
        let begins = unit.chars().next().unwrap_or(' ');
        let glued = at.text.len() == unit.len();
        // `3.4e-6 1/K`: a unit that is one over another
        let behind = unit.strip_prefix("1/").unwrap_or_default().trim_start();
        let inverse = !glued && behind.starts_with(|c: char| c.is_alphabetic() || "°Ω(%".contains(c));
        // `1e`, `1.2.3`, `1,234`, `1 2`: the rest of a number that is none
        let of_a_number = begins.is_ascii_digit() || ".,;:_+-−'±~<>=?!\"#&*".contains(begins);
        if of_a_number && !inverse {
            return Err(rest_of_a_number(text, unit, format));
        }
        if glued && unit.chars().all(|c| c.is_ascii_digit() || "oO".contains(c)) {
            return Err(Unreadable { why: "it has a letter O".into(), mend: Some("write 0 where a zero is meant") });
        }
        if glued && (unit.eq_ignore_ascii_case("e") || unit.starts_with(['x', 'X', '×'])) {
            return Err(unreadable("the power of ten is not finished"));
        }
        if !unit.chars().any(|c| c.is_alphabetic() || "%‰°Ω$€£¥".contains(c)) {
            return Err(rest_of_a_number(text, unit, format));
        }
        // `200 (MPa)`, `200 [MPa]`
        let inner = |open, close| unit.strip_prefix(open).and_then(|u: &str| u.strip_suffix(close));
        let bare = inner('(', ')').or_else(|| inner('[', ']')).filter(|u| !u.contains(['(', ')', '[', ']']));
        reading.unit = Some(bare.map_or(unit, str::trim));
    }
    if reading.value.is_finite() && reading.sd.is_none_or(|sd| sd.is_finite() && sd >= 0.0) {
        Ok(reading)
    } else {
        Err(unreadable("the number is too large to be kept"))
    }
}

fn rest_of_a_number(text: &str, rest: &str, format: NumberFormat) -> Unreadable {
    let comma = text.bytes().filter(|b| *b == b',').count();
    if rest.starts_with(',') && comma > 0 {
        return Unreadable {
            why: "a comma may be a decimal mark or a mark of thousands".into(),
            mend: Some("say decimal = \",\" or thousands = \",\" in [read], or write the number with a point"),
        };
    }
    let behind = rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    let is_point = rest.starts_with('.') && format.decimal == ',';
    if is_point && (behind != 3 || text.trim_start_matches(['<', '>', '-', '~', ' ']).starts_with('0')) {
        return Unreadable {
            why: "it has a point, and numbers of this file have a decimal comma".into(),
            mend: Some("write it with a comma"),
        };
    }
    if rest.starts_with('.') {
        return Unreadable {
            why: "a second point, or a point beside a decimal comma, may be a mark of thousands".into(),
            mend: Some("say thousands = \".\" in [read] where it is one, or write the number without it"),
        };
    }
    let groups = rest.split([' ', '\u{a0}', '\u{202f}']);
    if groups.clone().all(|group| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit())) {
        return Unreadable {
            why: "a blank may be a mark of thousands".into(),
            mend: Some("say thousands = \" \" in [read] where it is one, or write the number without it"),
        };
    }
    unreadable(format!("`{}` is left over", rest.chars().take(40).collect::<String>()))
}

fn sense_of(text: &str) -> (Sense, &str) {
    const MARKS: [(&str, Sense); 20] = [
        ("<=", Sense::Below("≤")),
        ("=<", Sense::Below("≤")),
        ("≤", Sense::Below("≤")),
        ("⩽", Sense::Below("≤")),
        ("<", Sense::Below("<")),
        (">=", Sense::Above("≥")),
        ("=>", Sense::Above("≥")),
        ("≥", Sense::Above("≥")),
        ("⩾", Sense::Above("≥")),
        (">", Sense::Above(">")),
        ("~", Sense::About),
        ("≈", Sense::About),
        ("∼", Sense::About),
        ("ca.", Sense::About),
        ("ca ", Sense::About),
        ("c. ", Sense::About),
        ("approx.", Sense::About),
        ("approximately ", Sense::About),
        ("about ", Sense::About),
        ("around ", Sense::About),
    ];
    let found = MARKS.iter().find_map(|(mark, sense)| {
        let start = text.get(..mark.len())?;
        start.eq_ignore_ascii_case(mark).then(|| (*sense, &text[mark.len()..]))
    });
    found.unwrap_or((Sense::Exact, text))
}

struct Cursor<'a> {
    text: &'a str,
    format: NumberFormat,
}

/// A number with the decimals that it was written with.
#[derive(Clone, Copy)]
struct Plain {
    value: f64,
    decimals: i32,
}

impl<'a> Cursor<'a> {
    fn quantity(&mut self, sense: Sense) -> Result<Reading<'a>, Unreadable> {
        // (12.3 ± 0.4)×10^5 GPa
        let bracketed = self.text.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        if let Some((inner, behind)) = bracketed {
            let mut within = Cursor { text: inner.trim(), format: self.format };
            let mut reading = within.quantity(sense)?;
            if !within.text.trim().is_empty() {
                return Err(unreadable(format!("`{}` is left over in the brackets", within.text.trim())));
            }
            self.text = behind;
            let power = self.power()?;
            reading.value *= power;
            reading.sd = reading.sd.map(|sd| sd * power);
            return Ok(reading);
        }
        let (first, sd) = self.number_with_digits_in_brackets()?;
        let exact = |value, sd| Reading { value, sd, sense, unit: None };
        let rest = self.text.trim_start();
        if let Some(rest) = ["±", "+/-", "+-", "+/−"].iter().find_map(|mark| rest.strip_prefix(mark)) {
            if sd.is_some() {
                return Err(unreadable("two uncertainties are stated"));
            }
            self.text = rest.trim_start();
            let (second, none) = self.number_with_digits_in_brackets()?;
            if none.is_some() || second.value < 0.0 {
                return Err(unreadable("the uncertainty behind ± is no plain number"));
            }
            return Ok(exact(first.value, Some(second.value)));
        }
        let marks = ["...", "..", "…", "–", "—", "-", "−"];
        let to =
            rest.strip_prefix("to ").or_else(|| rest.strip_prefix("bis ")).filter(|_| rest.len() < self.text.len());
        let Some(rest) = to.or_else(|| marks.iter().find_map(|mark| rest.strip_prefix(mark))) else {
            return Ok(exact(first.value, sd));
        };
        let mut behind = Cursor { text: rest.trim_start(), format: self.format };
        if !behind.text.starts_with(|c: char| c.is_ascii_digit() || "+-−.,".contains(c)) {
            return Ok(exact(first.value, sd)); // what is left over is told by the caller
        }
        let (second, second_sd) = behind.number_with_digits_in_brackets()?;
        self.text = behind.text;
        if sd.is_some() || second_sd.is_some() || sense != Sense::Exact {
            return Err(unreadable("a range with a bound or an uncertainty has no single meaning"));
        }
        if second.value <= first.value {
            return Err(unreadable("it looks like a range, but its second number is not the larger one"));
        }
        let (low, high) = (first.value, second.value);
        let half = high / 2.0 - low / 2.0;
        Ok(Reading { value: low + half, sd: Some(half / 3.0_f64.sqrt()), sense: Sense::Range, unit: None })
    }

    /// `1.234(12)e5`: the number, and the standard uncertainty in its last digits.
    fn number_with_digits_in_brackets(&mut self) -> Result<(Plain, Option<f64>), Unreadable> {
        let whole = self.text;
        let mut number = self.mantissa()?;
        // `1.4 (2)` too
        let inner = self.text.trim_start().strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let digits = inner.filter(|(inner, _)| {
            !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b',')
        });
        let mut sd = None;
        if let Some((digits, rest)) = digits {
            let mut within = Cursor { text: digits, format: self.format };
            let own = within.mantissa()?;
            if !within.text.is_empty() {
                return Err(unreadable("the digits in brackets are no number"));
            }
            sd = Some(if own.decimals > 0 { own.value } else { own.value * 10_f64.powi(-number.decimals) });
            self.text = rest;
        }
        let before = self.text;
        let power = self.power()?;
        if sd.is_none() && self.text.len() < before.len() {
            // `1.2e-5` is parsed as one number, exact to the last bit
            let written = &whole[..whole.len() - self.text.len()];
            number.value = exact_number(written, self.format).unwrap_or(number.value * power);
        } else {
            number.value *= power;
        }
        Ok((number, sd.map(|sd| sd * power)))
    }

    /// Sign, digits, decimal mark; exactly as written.
    fn mantissa(&mut self) -> Result<Plain, Unreadable> {
        let NumberFormat { decimal, thousands } = self.format;
        let mut plain = String::with_capacity(self.text.len().min(32));
        let mut rest = self.text;
        if let Some(behind) = rest.strip_prefix(['-', '−', '–']) {
            plain.push('-');
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix('+') {
            rest = behind;
        }
        let (mut digits, mut decimals, mut marked, mut group) = (0, 0, false, None);
        for (at, c) in rest.char_indices() {
            if c.is_ascii_digit() {
                plain.push(c);
                digits += 1;
                decimals += i32::from(marked);
                group = group.map(|n| n + 1);
            } else if c == decimal && !marked {
                if group.is_some_and(|n| n != 3) {
                    return Err(unreadable("a mark of thousands does not stand before three digits"));
                }
                (marked, group) = (true, None);
                plain.push('.');
            } else if Some(c) == thousands && !marked && digits > 0 && group.is_none_or(|n| n == 3) {
                let three = rest[at + c.len_utf8()..].bytes().take_while(u8::is_ascii_digit).count();
                if group.is_none() && plain.trim_start_matches('-').starts_with('0') {
                    return Err(Unreadable {
                        why: "no number with a mark of thousands begins with 0".into(),
                        mend: Some("write it with the decimal mark of the file"),
                    });
                }
                if three != 3 || (group.is_none() && digits > 3) {
                    return Err(unreadable("a mark of thousands does not stand before three digits"));
                }
                group = Some(0);
            } else {
                rest = &rest[at..];
                return self.finish(plain, rest, digits, decimals);
            }
        }
        self.finish(plain, "", digits, decimals)
    }

    fn finish(&mut self, plain: String, rest: &'a str, digits: usize, decimals: i32) -> Result<Plain, Unreadable> {
        if digits == 0 {
            return Err(unreadable("it begins with no number"));
        }
        self.text = rest;
        let value = plain.parse::<f64>().map_err(|_| unreadable("it begins with no number"))?;
        Ok(Plain { value, decimals })
    }

    /// `e5`, `×10^5`, `x10-5`, `·10⁵`; 1 where there is none.
    fn power(&mut self) -> Result<f64, Unreadable> {
        let rest = self.text;
        if let Some(behind) = rest.strip_prefix(['e', 'E']) {
            let signed = behind.strip_prefix(['+', '-', '−']).unwrap_or(behind);
            if signed.starts_with(|c: char| c.is_ascii_digit()) {
                let (exponent, rest) = exponent(behind)?;
                self.text = rest;
                return Ok(10_f64.powi(exponent));
            }
            return Ok(1.0);
        }
        let trimmed = rest.trim_start();
        let times = ["×", "x", "X", "·", "*", "⋅"].iter().find_map(|mark| trimmed.strip_prefix(mark));
        let Some(behind) = times.and_then(|t| t.trim_start().strip_prefix("10")) else { return Ok(1.0) };
        let behind = behind.strip_prefix("**").or_else(|| behind.strip_prefix('^')).unwrap_or(behind);
        let wrapped = behind.strip_prefix('{').and_then(|b| b.split_once('}'));
        let (exponent, rest) = match wrapped {
            Some((inner, rest)) => (exponent(inner)?.0, rest),
            None => exponent(behind)?,
        };
        self.text = rest;
        Ok(10_f64.powi(exponent))
    }
}

/// A signed exponent, also in superscripts, and what follows.
fn exponent(text: &str) -> Result<(i32, &str), Unreadable> {
    let mut digits = String::new();
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        match c {
            '-' | '−' | '⁻' if at == 0 => digits.push('-'),
            '+' | '⁺' if at == 0 => {}
            '0'..='9' => digits.push(c),
            '⁰' | '⁴'..='⁹' => digits.extend(char::from_digit(c as u32 - '⁰' as u32, 10)),
            '¹' => digits.push('1'),
            '²' => digits.push('2'),
            '³' => digits.push('3'),
            _ => {
                end = at;
                break;
            }
        }
    }
    let exponent = digits.parse::<i32>().ok().filter(|e| e.abs() <= 400);
    exponent
        .map(|e| (e, &text[end..]))
        .ok_or_else(|| unreadable("the power of ten is not finished, or beyond all numbers"))
}

/// The number as the standard parser reads it, after its marks are made plain.
fn exact_number(written: &str, format: NumberFormat) -> Option<f64> {
    let mut plain = String::with_capacity(written.len());
    let mut power = false;
    for c in written.trim().chars() {
        match c {
            '×' | 'x' | 'X' | '·' | '*' | '⋅' if !power => {
                plain.push('e');
                power = true;
            }
            '×' | '*' | '^' | '{' | '}' | ' ' => {}
            '−' | '⁻' => plain.push('-'),
            '⁺' => plain.push('+'),
            '¹' => plain.push('1'),
            '²' => plain.push('2'),
            '³' => plain.push('3'),
            '⁰' | '⁴'..='⁹' => plain.extend(char::from_digit(c as u32 - '⁰' as u32, 10)),
            c if c == format.decimal => plain.push('.'),
            c if Some(c) == format.thousands => {}
            c => plain.push(c),
        }
    }
    if power {
        // `1.2×10^-5` has become `1.2e10-5`
        let (mantissa, rest) = plain.split_once('e')?;
        plain = format!("{mantissa}e{}", rest.strip_prefix("10")?);
    }
    plain.parse::<f64>().ok().filter(|x| x.is_finite())
}

/// Whether a cell says that an element makes up the rest of a composition: `Rest`, `bal.`.
pub fn is_balance(text: &str) -> bool {
    const WORDS: [&str; 9] = ["rest", "bal", "balance", "balanced", "remainder", "rem", "base", "basis", "restlich"];
    let text = text.trim().trim_end_matches('.');
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Room temperature in K, as a cell says it in a word.
pub const ROOM_TEMPERATURE_K: f64 = 298.15;

/// Whether a cell means room temperature: `RT`, `room temperature`.
pub fn is_room_temperature(text: &str) -> bool {
    const WORDS: [&str; 7] =
        ["rt", "r.t.", "room temperature", "room temp.", "room temp", "raumtemperatur", "ambient temperature"];
    let text = text.trim();
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a spreadsheet made a date of what stood here: `2-Feb`, `Feb-02`, `2026-02-02`, `02/02/2026`.
pub fn looks_like_date(text: &str) -> bool {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let text = text.trim();
    if text.len() > 30 || !text.is_ascii() {
        return false;
    }
    // the time of a timestamp says nothing here
    let day = text.split(['T', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = day.split(['-', '/', '.']).collect();
    let number = |part: &str| part.parse::<u32>().ok().filter(|_| (1..=4).contains(&part.len()));
    let month = |part: &str| {
        part.get(..3).is_some_and(|start| MONTHS.contains(&start.to_ascii_lowercase().as_str())) && part.len() <= 9
    };
    match parts.as_slice() {
        [a, b] => (number(a).is_some() && month(b)) || (month(a) && number(b).is_some()),
        [a, b, c] => {
            let named = number(a).is_some() && month(b) && number(c).is_some();
            let numbers = [a, b, c].map(|p| number(p));
            let [Some(x), Some(y), Some(z)] = numbers else { return named };
            let is_year = |text: &str, n: u32| text.len() == 4 && (1900..=2200).contains(&n);
            let small = |n: u32| (1..=31).contains(&n);
            (is_year(a, x) && small(y) && small(z)) || (is_year(c, z) && small(x) && small(y))
        }
        _ => false,
    }
}
