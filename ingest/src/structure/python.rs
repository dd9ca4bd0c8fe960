//! Objects as Python prints them: `{'a': [1, None, u'x']}`.

use serde_json::{Map, Number, Value};

/// The most brackets inside each other.
const MAX_DEPTH: usize = 64;

/// What is wrong, and the byte at which.
pub(super) type Fault = (usize, String);

/// Reads dictionaries, lists, tuples, strings, numbers, `None`, `True`, `False`; numbers that are not finite become null. JSON is
/// understood too.
pub(super) fn parse(text: &str) -> Result<Value, Fault> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.blank();
    if reader.at < text.len() { Err((reader.at, "something follows the object".into())) } else { Ok(value) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn fault<T>(&self, what: &str) -> Result<T, Fault> {
        Err((self.at, what.to_owned()))
    }

    /// Calls itself at most [`MAX_DEPTH`] times.
    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        if depth > MAX_DEPTH {
            return self.fault("more than 64 brackets are open");
        }
        self.blank();
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                let mut map = Map::new();
                loop {
                    self.blank();
                    if self.take(b'}') {
                        return Ok(Value::Object(map));
                    }
                    let Value::String(key) = self.value(depth + 1)? else { return self.fault("a key is no text") };
                    self.blank();
                    if !self.take(b':') {
                        return self.fault("a ':' is missing");
                    }
                    map.insert(key, self.value(depth + 1)?);
                    self.blank();
                    if !self.take(b',') && self.peek() != Some(b'}') {
                        return self.fault("a ',' or '}' is missing");
                    }
                }
            }
            Some(open @ (b'[' | b'(')) => {
                let close = if open == b'[' { b']' } else { b')' };
                self.at += 1;
                let mut list = Vec::new();
                loop {
                    self.blank();
                    if self.take(close) {
                        return Ok(Value::Array(list));
                    }
                    list.push(self.value(depth + 1)?);
                    self.blank();
                    if !self.take(b',') && self.peek() != Some(close) {
                        return self.fault("a ',' or the end of a list is missing");
                    }
                }
            }
            Some(b'\'' | b'"') => self.string(),
            Some(b'u' | b'U') if matches!(self.text.as_bytes().get(self.at + 1), Some(b'\'' | b'"')) => {
                self.at += 1;
                self.string()
            }
            Some(_) => self.word(),
            None => self.fault("the object ends too early"),
        }
    }

    fn word(&mut self) -> Result<Value, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
        let word = rest.get(..rest.find(|c| !is_part(c)).unwrap_or(rest.len())).unwrap_or_default();
        let value = match word {
            "None" | "null" | "nan" | "NaN" | "inf" | "-inf" | "Infinity" | "-Infinity" => Value::Null,
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            _ => match (word.parse::<i64>(), word.parse::<f64>()) {
                (Ok(whole), _) => Value::Number(whole.into()),
                (_, Ok(number)) => Number::from_f64(number).map_or(Value::Null, Value::Number),
                _ => return self.fault("this is no value"),
            },
        };
        self.at += word.len();
        Ok(value)
    }

    fn string(&mut self) -> Result<Value, Fault> {
        let quote = if self.peek() == Some(b'"') { '"' } else { '\'' };
        let start = self.at;
        let mut chars = self.text.get(self.at + 1..).unwrap_or_default().char_indices();
        let mut text = String::new();
        while let Some((offset, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at = start + 1 + offset + 1;
                    return Ok(Value::String(text));
                }
                '\\' => {
                    let escape = chars.next().map(|(_, escape)| escape);
                    let mut code = |digits: usize| {
                        let number: Option<u32> = (0..digits).try_fold(0u32, |sum, _| {
                            Some((sum << 4) | chars.next().and_then(|(_, c)| c.to_digit(16))?)
                        });
                        number.map(|number| char::from_u32(number).unwrap_or('\u{fffd}'))
                    };
                    match escape {
                        Some('n') => text.push('\n'),
                        Some('t') => text.push('\t'),
                        Some('r') => text.push('\r'),
                        Some('\n') => {}
                        Some('x') => text.extend(code(2)),
                        Some('u') => text.extend(code(4)),
                        Some('U') => text.extend(code(8)),
                        Some(other) => text.push(other),
                        None => {}
                    }
                }
                c => text.push(c),
            }
        }
        self.fault("a text that opens here is never closed")
    }
}
