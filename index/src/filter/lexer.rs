//! Characters to tokens, one at a time, so that errors come in the order of the text.

use super::parse::FilterError;
use super::tree::Comparison;
use crate::properties::own_key_at_start;

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    /// Byte offset of its first character.
    pub(super) at: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind<'t> {
    Name(&'t str),
    Text(String),
    Number(&'t str),
    Keyword(Keyword),
    Operator(Comparison),
    Open,
    Close,
    Dot,
    Comma,
    Colon,
    End,
}

/// The words of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    And,
    Or,
    Not,
    Is,
    Known,
    Unknown,
    Contains,
    Starts,
    Ends,
    With,
    Length,
    Has,
    All,
    Only,
    Any,
    True,
    False,
}

/// No word begins another, so a run of capitals (`ISKNOWNAND`, which the grammar admits) splits in one way only.
const KEYWORDS: [(&str, Keyword); 17] = [
    ("AND", Keyword::And),
    ("OR", Keyword::Or),
    ("NOT", Keyword::Not),
    ("IS", Keyword::Is),
    ("KNOWN", Keyword::Known),
    ("UNKNOWN", Keyword::Unknown),
    ("CONTAINS", Keyword::Contains),
    ("STARTS", Keyword::Starts),
    ("ENDS", Keyword::Ends),
    ("WITH", Keyword::With),
    ("LENGTH", Keyword::Length),
    ("HAS", Keyword::Has),
    ("ALL", Keyword::All),
    ("ONLY", Keyword::Only),
    ("ANY", Keyword::Any),
    ("TRUE", Keyword::True),
    ("FALSE", Keyword::False),
];

/// Words of other query languages, and of older versions of this one, with what to write instead.
const FOREIGN: [(&str, &str); 8] = [
    ("IN", "for a list of values write `HAS ANY`, or comparisons joined by OR"),
    ("LIKE", "write CONTAINS, STARTS WITH or ENDS WITH"),
    ("NULL", "for a missing value write IS UNKNOWN"),
    ("NONE", "write `NOT list HAS ANY ...`"),
    ("EXACTLY", "write `list HAS ALL ... AND list LENGTH n`"),
    ("BETWEEN", "write `x >= 1 AND x <= 2`"),
    ("XOR", "write it with AND, OR and NOT"),
    ("EXISTS", "write IS KNOWN"),
];

impl Keyword {
    /// The word as it is written.
    pub(super) fn word(self) -> &'static str {
        KEYWORDS.iter().find(|(_, keyword)| *keyword == self).map_or("", |(word, _)| word)
    }

    /// The keyword that `word` would be in capitals.
    pub(super) fn whatever_case(word: &str) -> Option<Self> {
        KEYWORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, keyword)| *keyword)
    }

    fn at_start_of(text: &str) -> Option<(&'static str, Self)> {
        KEYWORDS.iter().find(|(word, _)| text.starts_with(word)).copied()
    }
}

/// Reads tokens off a text.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// Capitals before this offset are known to be keywords.
    words_to: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, words_to: 0 }
    }

    /// An error at byte `at` of the text.
    pub(super) fn error(&self, at: usize, message: impl Into<String>) -> FilterError {
        FilterError::new(self.text, at, message)
    }

    /// The next token; [`Kind::End`] for ever once the text is used up.
    pub(super) fn token(&mut self) -> Result<Token<'t>, FilterError> {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c));
        let at = self.at;
        let kind = match self.byte(0) {
            None => Kind::End,
            Some(b'(') => self.punctuation(Kind::Open),
            Some(b')') => self.punctuation(Kind::Close),
            Some(b',') => self.punctuation(Kind::Comma),
            Some(b':') => self.punctuation(Kind::Colon),
            Some(b'.') if !self.byte(1).is_some_and(|byte| byte.is_ascii_digit()) => self.punctuation(Kind::Dot),
            Some(b'"') => self.string()?,
            Some(b'=' | b'!' | b'<' | b'>') => self.operator()?,
            Some(b'0'..=b'9' | b'.' | b'+' | b'-') => self.number()?,
            Some(b'a'..=b'z' | b'_') => {
                self.skip(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
                Kind::Name(self.since(at))
            }
            Some(b'A'..=b'Z') => self.keyword()?,
            Some(_) => return Err(self.stray()),
        };
        Ok(Token { kind, at })
    }

    /// Where the key of a dataset's own property ends that begins at byte `at`, if one does.
    pub(super) fn own_key(&self, at: usize) -> Option<usize> {
        own_key_at_start(self.text.as_bytes().get(at..)?).map(|length| at + length)
    }

    /// Reads on from byte `at`.
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn since(&self, start: usize) -> &'t str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.byte(0).is_some_and(&wanted) {
            self.at += 1;
        }
    }

    fn punctuation(&mut self, kind: Kind<'t>) -> Kind<'t> {
        self.at += 1;
        kind
    }

    fn operator(&mut self) -> Result<Kind<'t>, FilterError> {
        let (op, length) = match (self.byte(0), self.byte(1)) {
            (Some(b'='), Some(b'=')) => return Err(self.error(self.at, "`==` is not an operator: equality is `=`")),
            (Some(b'='), Some(b'<')) => return Err(self.error(self.at, "`=<` is not an operator: write `<=`")),
            (Some(b'='), Some(b'>')) => return Err(self.error(self.at, "`=>` is not an operator: write `>=`")),
            (Some(b'<'), Some(b'>')) => return Err(self.error(self.at, "`<>` is not an operator: write `!=`")),
            (Some(b'='), Some(b'~')) => {
                return Err(self.error(self.at, "`=~` is not an operator: write CONTAINS, STARTS WITH or ENDS WITH"));
            }
            (Some(b'!'), Some(b'=')) => (Comparison::NotEqual, 2),
            (Some(b'!'), _) => return Err(self.error(self.at, "`!` alone is not an operator: write `!=` or NOT")),
            (Some(b'<'), Some(b'=')) => (Comparison::LessOrEqual, 2),
            (Some(b'>'), Some(b'=')) => (Comparison::GreaterOrEqual, 2),
            (Some(b'<'), _) => (Comparison::Less, 1),
            (Some(b'>'), _) => (Comparison::Greater, 1),
            _ => (Comparison::Equal, 1),
        };
        self.at += length;
        Ok(Kind::Operator(op))
    }

    fn number(&mut self) -> Result<Kind<'t>, FilterError> {
        let start = self.at;
        if matches!(self.byte(0), Some(b'+' | b'-')) {
            self.at += 1;
        }
        let digits = |lexer: &mut Self| {
            let from = lexer.at;
            lexer.skip(|byte| byte.is_ascii_digit());
            lexer.at > from
        };
        let whole = digits(self);
        let mut fraction = false;
        if self.byte(0) == Some(b'.') {
            self.at += 1;
            fraction = digits(self);
        }
        if !whole && !fraction {
            let sign = self.text.get(start..=start).unwrap_or_default();
            return Err(self.error(
                start,
                format!(
                    "found `{sign}`, which only stands before the digits of a number (the language has no arithmetic)"
                ),
            ));
        }
        if matches!(self.byte(0), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.byte(1), Some(b'+' | b'-')));
            if self.byte(1 + sign).is_some_and(|byte| byte.is_ascii_digit()) {
                self.at += 1 + sign;
                digits(self);
            }
        }
        let number = self.since(start);
        // a name never follows a number, so this is one thing badly written; a keyword may (`a=1AND b=2`)
        if self.byte(0).is_some_and(|byte| matches!(byte, b'a'..=b'z' | b'_')) {
            // but the name of a dataset may begin with a digit: `2d-lab:x`
            if let Some(end) = self.own_key(start) {
                self.at = end;
                return Ok(Kind::Name(self.since(start)));
            }
            self.skip(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let word = shortened(self.since(start));
            return Err(self.error(
                start,
                format!(
                    "`{word}` is neither a number nor a property name: an exponent needs digits (1e5), a number has no \
                     unit, and a name begins with a lower-case letter or `_`"
                ),
            ));
        }
        Ok(Kind::Number(number))
    }

    fn string(&mut self) -> Result<Kind<'t>, FilterError> {
        let open = self.at;
        let mut value = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, character)) = characters.next() {
            match character {
                '"' => {
                    self.at = open + offset + 1;
                    return Ok(Kind::Text(value));
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                    _ => {
                        let message = "in a text `\\` stands only before `\"` or another `\\`: for the backslash \
                                       itself write `\\\\`";
                        return Err(self.error(open + offset, message));
                    }
                },
                '\t' | '\n' | '\r' | '\u{0b}' | '\u{0c}' => value.push(character),
                _ if character.is_ascii_control() => {
                    let message = format!("a text holds no control characters: found U+{:04X}", character as u32);
                    return Err(self.error(open + offset, message));
                }
                _ => value.push(character),
            }
        }
        Err(self.error(open, "the text opened here is not closed: expected another `\"`"))
    }

    fn keyword(&mut self) -> Result<Kind<'t>, FilterError> {
        if self.at >= self.words_to {
            let capitals = self.rest().bytes().take_while(u8::is_ascii_uppercase).count();
            let mut run = self.rest().get(..capitals).unwrap_or_default();
            while let Some((word, _)) = Keyword::at_start_of(run) {
                run = run.get(word.len()..).unwrap_or_default();
            }
            if !run.is_empty() {
                return Err(self.not_a_word());
            }
            self.words_to = self.at + capitals;
        }
        match Keyword::at_start_of(self.rest()) {
            Some((word, keyword)) => {
                self.at += word.len();
                Ok(Kind::Keyword(keyword))
            }
            None => Err(self.not_a_word()),
        }
    }

    /// The error for a word with capitals that is no keyword: `And`, `Si`, `bandGap`, `LIKE`.
    fn not_a_word(&self) -> FilterError {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let before = self.text.get(..self.at).unwrap_or_default();
        let name = before.len() - before.bytes().rev().take_while(is_word).count();
        let within_name = before.as_bytes().get(name).is_some_and(|byte| matches!(byte, b'a'..=b'z' | b'_'));
        let start = if within_name { name } else { self.at };
        let from_start = self.text.get(start..).unwrap_or_default();
        let word = from_start.get(..from_start.bytes().take_while(is_word).count()).unwrap_or_default();
        let shown = shortened(word);
        let message = if within_name {
            format!("`{shown}` is not a property name: names have lower-case letters, digits and `_` only")
        } else if let Some(keyword) = Keyword::whatever_case(word) {
            format!("found `{shown}`: keywords are upper case: {}", keyword.word())
        } else if let Some((_, mend)) = FOREIGN.iter().find(|(foreign, _)| foreign.eq_ignore_ascii_case(word)) {
            format!("`{shown}` is not a keyword: {mend}")
        } else {
            format!("`{shown}` is neither a keyword nor a property name: a text stands in double quotes, \"{shown}\"")
        };
        self.error(start, message)
    }

    /// The error for a character that begins no token.
    fn stray(&self) -> FilterError {
        let mut characters = self.rest().chars();
        let character = characters.next().unwrap_or_default();
        let mend = match character {
            '\'' | '‘' | '’' | '‚' | '“' | '”' | '„' | '«' | '»' | '`' => {
                "a text stands in double quotes: \"Si\""
            }
            '&' => "write AND",
            '|' => "write OR",
            '~' => "write CONTAINS, STARTS WITH or ENDS WITH, and NOT to negate",
            '≠' => "write !=",
            '≤' | '⩽' => "write <=",
            '≥' | '⩾' => "write >=",
            '−' | '–' | '—' => "the minus sign of a number is `-`",
            '[' | ']' | '{' | '}' => "lists are written without brackets: HAS ALL \"Si\", \"O\"",
            '%' => "is the filter still URL-encoded?",
            '*' | '/' | '^' => "the language has no arithmetic and no wildcards",
            ';' => "a filter is one expression: join comparisons with AND or OR",
            _ => "it may stand only within a text, in double quotes",
        };
        let shown = if character.is_control() || character.is_whitespace() {
            format!("U+{:04X}", character as u32)
        } else {
            format!("`{character}`")
        };
        self.error(self.at, format!("found {shown}: {mend}"))
    }
}

/// `text`, cut to what an error message can hold.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    let visible = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    let mut shown: String = text.chars().take(SHOWN).map(visible).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
