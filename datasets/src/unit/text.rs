//! From text: the grammar around the atoms of a unit.

use octofhir_ucum::{Case, Number, lookup_unit};

use super::spellings::{alias, longest_alias_at, simple};
use super::{Meaning, ONE, power};

/// LaTeX commands, longest first where one begins another.
const LATEX: [(&str, &str); 22] = [
    ("\\mathrm", ""),
    ("\\mathit", ""),
    ("\\text", ""),
    ("\\rm", ""),
    ("\\left", ""),
    ("\\right", ""),
    ("^\\circ", "°"),
    ("^{\\circ}", "°"),
    ("\\circ", "°"),
    ("\\degree", "°"),
    ("\\AA", "Å"),
    ("\\angstrom", "Å"),
    ("\\Omega", "Ω"),
    ("\\cdot", "·"),
    ("\\times", "·"),
    ("\\micro", "µ"),
    ("\\mu", "µ"),
    ("\\sqrt", "√"),
    ("\\%", "%"),
    ("\\,", " "),
    ("\\;", " "),
    ("sqrt", "√"),
];

/// The text without LaTeX and Unicode spellings: superscripts as `^n`, `u` for micro, `Ohm`, `Ao` for ångström.
pub(super) fn clean(text: &str) -> String {
    let mut text = text.trim().replace("A\u{30a}", "Å");
    let is_latex = text.contains(['\\', '$']);
    for (latex, plain) in LATEX {
        if text.contains(latex) {
            text = text.replace(latex, plain);
        }
    }
    if text.matches('$').count().is_multiple_of(2) {
        text = text.replace('$', "");
    }
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 8);
    let (mut in_superscript, mut after_micro) = (false, false);
    for (i, &c) in chars.iter().enumerate() {
        let next_is_letter = chars.get(i + 1).is_some_and(|c| c.is_alphabetic());
        let superscript = match c {
            '⁰' => Some('0'),
            '¹' => Some('1'),
            '²' => Some('2'),
            '³' => Some('3'),
            '⁴'..='⁹' => char::from_digit(c as u32 - '⁴' as u32 + 4, 10),
            '⁻' => Some('-'),
            _ => None,
        };
        if let Some(c) = superscript {
            if !in_superscript {
                out.push('^');
            }
            out.push(c);
            in_superscript = true;
            continue;
        }
        in_superscript = false;
        if std::mem::replace(&mut after_micro, matches!(c, 'µ' | 'μ')) && c.is_whitespace() {
            continue; // "$\mu m$"
        }
        match c {
            'µ' | 'μ' => out.push('u'),
            'Å' | '\u{212b}' => out.push_str("Ao"),
            'Ω' | '\u{2126}' => out.push_str(if next_is_letter { "Ohm·" } else { "Ohm" }),
            '℃' => out.push_str("°C"),
            '℉' => out.push_str("°F"),
            'º' | '˚' => out.push('°'),
            '½' => out.push_str("^(1/2)"),
            '−' | '–' | '—' | '‐' | '‑' => out.push('-'),
            '⋅' | '×' | '∙' | '•' | '∗' => out.push('·'),
            '∕' | '⁄' | '÷' => out.push('/'),
            '₀' => out.push('0'),
            '₂' => out.push('2'),
            'ₑ' => out.push_str("_e"),
            c if c.is_whitespace() || c == '~' => out.push(' '),
            c => out.push(c),
        }
    }
    // LaTeX braces after ^ and _ ("cm^{-3}", "m_{e}"); other braces are UCUM annotations
    out = out.replace("^ ", "^").replace("√{", "√({");
    for opener in ["^{", "_{", "({"] {
        while let Some(start) = out.find(opener) {
            let Some(length) = out[start..].find('}') else { break };
            let inner = out[start + 2..start + length].trim().to_owned();
            let inner = match opener {
                "^{" => format!("^({inner})"),
                "_{" => format!("_{inner}"),
                _ => format!("({inner})"),
            };
            out.replace_range(start..=start + length, &inner);
        }
    }
    if is_latex { out.replace('{', "(").replace('}', ")") } else { out }
}

pub(super) fn shortened(text: &str) -> String {
    if text.chars().count() <= 60 { text.to_owned() } else { text.chars().take(57).chain("...".chars()).collect() }
}

/// The meaning of a text, or none.
pub(super) fn understand(text: &str) -> Option<Meaning> {
    let text = clean(text);
    let mut text = text.trim_matches([' ', '_']);
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'))
        && !inner.contains(['[', ']'])
        && lookup_unit(text, Case::Sensitive).is_none()
    {
        text = inner.trim(); // "[GPa]", but not "[psi]"
    }
    if matches!(text, "" | "-" | "1" | "()" | "(-)") {
        return Some(Meaning::number(Number::ONE));
    }
    let chars: Vec<char> = text.chars().collect();
    let mut parser = Parser { chars: &chars, at: 0, depth: 0 };
    let meaning = parser.expression()?;
    if parser.at < chars.len() {
        return None;
    }
    let meaning = meaning.with_moles_of_atoms_counted()?;
    meaning.factor.to_f64().is_normal().then_some(meaning)
}

struct Parser<'a> {
    chars: &'a [char],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn is_digit(&self, ahead: usize) -> bool {
        self.peek(ahead).is_some_and(|c| c.is_ascii_digit())
    }

    /// Takes the string if it comes next.
    fn take(&mut self, wanted: &str) -> bool {
        let found = wanted.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c));
        if found {
            self.at += wanted.chars().count();
        }
        found
    }

    /// Terms joined by products and solidi, up to the end or a closing parenthesis.
    fn expression(&mut self) -> Option<Meaning> {
        let mut product: Option<Meaning> = None;
        let mut below = false;
        loop {
            let (mut solidus, mut joined) = (false, false);
            while let Some(c) = self.peek(0) {
                match c {
                    ' ' | '_' => {}
                    '/' if !solidus => solidus = true,
                    '·' | '*' | '.' | '-' if !joined && !solidus => joined = true,
                    'p' if self.peek(1) == Some('e') && self.peek(2) == Some('r') && self.peek(3) == Some(' ') => {
                        solidus = true;
                        self.at += 2;
                    }
                    _ => break,
                }
                self.at += 1;
            }
            if matches!(self.peek(0), None | Some(')')) {
                return if solidus || joined { None } else { product };
            }
            if joined && product.is_none() && self.peek(0).is_none_or(|c| !c.is_ascii_digit()) {
                return None;
            }
            below |= solidus;
            let (mut term, own_sign) = self.term(below.then_some(product.as_ref()).flatten())?;
            if below && (solidus || !own_sign) {
                term = term.pow(-ONE)?; // "J/g K^-1": a negative exponent after a space already says so
            }
            product = Some(match product {
                None => term,
                Some(product) => product.times(&term)?,
            });
        }
    }

    /// One atom, number, annotation or parenthesis with its exponent; and whether that exponent is negative.
    fn term(&mut self, above: Option<&Meaning>) -> Option<(Meaning, bool)> {
        if self.take("√") {
            let (term, negative) = self.term(above)?;
            return Some((term.pow(ONE / 2)?, negative));
        }
        let (base, earlier) = if self.take("(") {
            self.depth += 1;
            if self.depth > 8 {
                return None;
            }
            let inner = self.expression()?;
            self.depth -= 1;
            (self.take(")").then_some(inner)?, None)
        } else if self.take("{") {
            (self.annotation()?, None)
        } else if self.is_digit(0) {
            let number = self.number()?;
            let exponent = self.exponent_of_number(number)?;
            return Some((Meaning::number(power(number, exponent)?), exponent < 0));
        } else {
            self.atom(above)?
        };
        let exponent = self.exponent()?;
        let base = match exponent {
            // a cubed ampere is an ångström that was typed on a keyboard
            18 | -18 if self.is_lone_a() => alias("Ao")?,
            _ => base,
        };
        let powered = base.pow(exponent)?;
        Some((
            match earlier {
                Some(earlier) => earlier.times(&powered)?,
                None => powered,
            },
            exponent < 0,
        ))
    }

    /// Whether the term just read is "A" with an exponent of 3.
    fn is_lone_a(&self) -> bool {
        let read = &self.chars[..self.at];
        let exponent = read.iter().rev().take_while(|c| c.is_ascii_digit() || "^*-()".contains(**c)).count();
        let before = &read[..read.len() - exponent];
        before.last() == Some(&'A') && !before.len().checked_sub(2).is_some_and(|i| before[i].is_alphanumeric())
    }

    fn annotation(&mut self) -> Option<Meaning> {
        let length = self.chars[self.at..].iter().position(|&c| c == '}')?;
        let text: String = self.chars[self.at..self.at + length].iter().collect();
        self.at += length + 1;
        // as UCUM: an annotation that we do not know has no meaning
        Some(alias(text.trim()).unwrap_or_else(|| Meaning::number(Number::ONE)))
    }

    fn number(&mut self) -> Option<Number> {
        let start = self.at;
        while self.is_digit(0) || (self.peek(0) == Some('.') && self.is_digit(1)) {
            self.at += 1;
        }
        let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
        if matches!(self.peek(0), Some('e' | 'E')) && self.is_digit(1 + signed) {
            self.at += 1 + signed;
            while self.is_digit(0) {
                self.at += 1;
            }
        }
        Number::parse(&self.chars[start..self.at].iter().collect::<String>()).filter(|n| !n.is_zero())
    }

    /// "10^-6", UCUM's "10*-6", and "10-6" as in tables; sixths.
    fn exponent_of_number(&mut self, number: Number) -> Option<i32> {
        let signed = |at: usize| usize::from(matches!(self.peek(at), Some('+' | '-')));
        let is_ten = number == Number::from_i64(10);
        if self.peek(0) == Some('^') || (self.peek(0) == Some('-') && self.is_digit(1) && is_ten) {
            return self.exponent();
        }
        if self.peek(0) == Some('*') && self.is_digit(1 + signed(1)) && is_ten {
            self.at += 1;
            return self.exponent();
        }
        Some(ONE)
    }

    /// "^3", "^-1", "^(1/2)", "**2", "3", "-1", "1/2" directly after an atom; sixths, 6 where there is none.
    fn exponent(&mut self) -> Option<i32> {
        let marked = self.take("^") || self.take("**");
        let in_parentheses = marked && self.take("(");
        let start = self.at;
        let negative = match self.peek(0) {
            Some('-') if self.is_digit(1) => true,
            Some('+') if self.is_digit(1) => false,
            _ if self.is_digit(0) => {
                self.at = start;
                false
            }
            _ => return (!marked).then_some(ONE),
        };
        if !self.is_digit(0) {
            self.at += 1;
        }
        let digits = |parser: &mut Self| {
            let start = parser.at;
            while parser.is_digit(0) || (marked && parser.peek(0) == Some('.') && parser.is_digit(1)) {
                parser.at += 1;
            }
            parser.chars[start..parser.at].iter().collect::<String>().parse::<f64>().ok()
        };
        let mut value = digits(self)?;
        if self.peek(0) == Some('/') && matches!(self.peek(1), Some('2' | '3')) && !self.is_digit(2) {
            self.at += 1;
            value /= digits(self)?;
        }
        if in_parentheses && !self.take(")") {
            return None;
        }
        let sixths = (value * f64::from(ONE)).round();
        let exact = (value * f64::from(ONE) - sixths).abs() < 1e-9 && sixths <= f64::from(400 * ONE);
        exact.then_some(if negative { -(sixths as i32) } else { sixths as i32 })
    }

    /// One atom. Two written as one word ("Pas", "mAh", "kgK") give the first apart: an exponent belongs to the second.
    fn atom(&mut self, above: Option<&Meaning>) -> Option<(Meaning, Option<Meaning>)> {
        let rest: String = self.chars[self.at..].iter().collect();
        let word_end = rest
            .char_indices()
            .find(|&(i, c)| !(c.is_alphabetic() || "_%'€$".contains(c) || (c == '°' && i == 0)))
            .map_or(rest.len(), |(i, _)| i);
        let bracketed = rest[word_end..].starts_with('[').then(|| rest[word_end..].find(']')).flatten();
        let word_end = bracketed.map_or(word_end, |close| word_end + close + 1);
        let word = rest.get(..word_end)?;
        if let Some(name) = longest_alias_at(&rest).filter(|name| name.len() >= word.len()) {
            self.at += name.chars().count();
            return Some((alias(name)?, None));
        }
        if word.is_empty() {
            return None;
        }
        // "J/(g_K)": underscores for spaces, but not in UCUM's "cal_th"
        let word = if simple(word).is_none() { word.split('_').next().unwrap_or(word) } else { word };
        self.at += word.chars().count();
        let per_power = above.is_some_and(|m| m.dimension == [2 * ONE, -3 * ONE, ONE, 0, 0, 0, 0]);
        if word == "mK" && per_power {
            return Some((simple("K")?, Some(simple("m")?))); // nobody divides a power by millikelvins
        }
        if let Some(known) = simple(word) {
            return Some((known, None));
        }
        ["cm", "mm", "K", "m", "s", "h"].into_iter().find_map(|second| {
            let first = word.strip_suffix(second)?;
            Some((simple(second)?, Some(simple(first)?)))
        })
    }
}
