//! Rows out of structure files: CIF (a data block a row), POSCAR (a row) and XYZ (a frame a row).
//!
//! The text of each structure stands as it is in the column `structure`; what it means is said elsewhere.

use super::entries::{Cells, Lines, Piece, Pieces};
use super::{BadRow, MAX_ROW_BYTES};

/// Cuts a CIF at its data blocks.
pub(super) struct CifBlocks {
    lines: Lines,
    /// The head line of the next block.
    next: Option<(u64, String)>,
    ended: bool,
}

impl CifBlocks {
    pub(super) fn new(lines: Lines) -> CifBlocks {
        CifBlocks { lines, next: None, ended: false }
    }
}

fn is_head(line: &str) -> bool {
    line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data_"))
}

impl Pieces for CifBlocks {
    fn next_piece(&mut self) -> Option<Result<Piece, BadRow>> {
        if self.ended {
            return None;
        }
        let mut piece = self.next.take().map(|(line, text)| Piece { line, text });
        let mut in_text = false;
        let mut too_long = false;
        loop {
            let line = match self.lines.next_line() {
                None => {
                    self.ended = true;
                    break;
                }
                Some(Err(bad)) => {
                    // the rest of the block cannot be trusted; the next head line begins anew
                    let line = piece.take().map_or(bad.line, |p| p.line);
                    while let Some(next) = self.lines.next_line() {
                        if let Ok(text) = next
                            && is_head(&text)
                        {
                            self.next = Some((self.lines.line, text));
                            break;
                        }
                    }
                    self.ended = self.next.is_none();
                    return Some(Err(BadRow { line, ..bad }));
                }
                Some(Ok(line)) => line,
            };
            if line.starts_with(';') {
                in_text = !in_text;
            } else if !in_text && is_head(&line) {
                match piece {
                    None => {
                        piece = Some(Piece { line: self.lines.line, text: line });
                        continue;
                    }
                    Some(_) => {
                        self.next = Some((self.lines.line, line));
                        break;
                    }
                }
            }
            match &mut piece {
                Some(piece) if piece.text.len() + line.len() <= MAX_ROW_BYTES => piece.text.push_str(&line),
                Some(_) => too_long = true,
                None if line.trim().is_empty() || line.starts_with('#') => {}
                None => {
                    let why = "there is text before the first data_ line".to_owned();
                    let raw = Some(line.into_bytes());
                    return Some(Err(BadRow { line: self.lines.line, why, raw }));
                }
            }
        }
        let piece = piece?;
        Some(if too_long {
            let why = format!("the data block is longer than {} MiB", MAX_ROW_BYTES >> 20);
            Err(BadRow { line: piece.line, why, raw: None })
        } else {
            Ok(piece)
        })
    }
}

/// The cells of a data block: its name, every tag that has one value, and the text.
pub(super) fn cif(text: &str, _: char) -> Result<Option<Cells>, String> {
    let mut words = CifWords { rest: text, line_start: true };
    let mut cells: Cells = Vec::new();
    let mut in_loop = false;
    while let Some(word) = words.next() {
        match word? {
            Word::Bare(word) if is_head(word) => cells.push(("data".to_owned(), word[5..].to_owned())),
            Word::Bare(word) if word.eq_ignore_ascii_case("loop_") => in_loop = true,
            Word::Bare(word) if word.starts_with('_') => {
                if in_loop {
                    // the tags of a loop stand before its values
                    let mut seen_value = false;
                    loop {
                        let before = words.clone();
                        match words.next() {
                            None => break,
                            Some(Ok(Word::Bare(next))) if next.starts_with('_') && !seen_value => {}
                            Some(Ok(Word::Bare(next))) if next.starts_with('_') || is_keyword(next) => {
                                words = before;
                                break;
                            }
                            Some(Ok(_)) => seen_value = true,
                            Some(Err(why)) => return Err(why),
                        }
                    }
                    in_loop = false;
                    continue;
                }
                let value = match words.next() {
                    Some(Ok(Word::Bare("?" | "."))) => String::new(),
                    Some(Ok(Word::Bare(value))) if !value.starts_with('_') && !is_keyword(value) => value.to_owned(),
                    Some(Ok(Word::Text(value))) => value.trim().to_owned(),
                    Some(Err(why)) => return Err(why),
                    _ => return Err(format!("the tag {word} has no value")),
                };
                cells.push((word.to_owned(), value));
            }
            // frames of dictionaries, and values of which nobody knows the tag, are left to who reads the structure
            _ => {}
        }
    }
    if let Some((tag, _)) = cells.iter().find(|(tag, _)| tag == "structure") {
        return Err(format!("it has a tag {tag}"));
    }
    cells.push(("structure".to_owned(), text.to_owned()));
    Ok(Some(cells))
}

fn is_keyword(word: &str) -> bool {
    let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
    is("loop_")
        || is("stop_")
        || is("global_")
        || is_head(word)
        || word.get(..5).is_some_and(|w| w.eq_ignore_ascii_case("save_"))
}

enum Word<'a> {
    /// Without quotes.
    Bare(&'a str),
    /// Quoted, or between lines that begin with a semicolon.
    Text(&'a str),
}

/// The words of a CIF, comments aside.
#[derive(Clone)]
struct CifWords<'a> {
    rest: &'a str,
    line_start: bool,
}

impl<'a> Iterator for CifWords<'a> {
    type Item = Result<Word<'a>, String>;

    fn next(&mut self) -> Option<Result<Word<'a>, String>> {
        loop {
            if self.line_start && self.rest.starts_with(';') {
                let inside = &self.rest[1..];
                let Some(end) = inside.find("\n;") else {
                    self.rest = "";
                    return Some(Err("a text that a semicolon opens is not closed".to_owned()));
                };
                self.rest = &inside[end + 2..];
                self.line_start = false;
                return Some(Ok(Word::Text(&inside[..end])));
            }
            let first = self.rest.chars().next()?;
            match first {
                '\n' => self.line_start = true,
                c if c.is_whitespace() => self.line_start = false,
                '#' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                    continue;
                }
                quote @ ('\'' | '"') => {
                    self.line_start = false;
                    let line = self.rest.find('\n').unwrap_or(self.rest.len());
                    let inside = &self.rest[1..line];
                    // a quote ends the text only before white space
                    let closes = |at: &usize| inside[at + 1..].chars().next().is_none_or(char::is_whitespace);
                    let Some(end) = inside.match_indices(quote).map(|(at, _)| at).find(closes) else {
                        self.rest = &self.rest[line..];
                        return Some(Err(format!("a quote is not closed: {quote}{}", cut(inside))));
                    };
                    self.rest = &self.rest[end + 2..];
                    return Some(Ok(Word::Text(&inside[..end])));
                }
                _ => {
                    self.line_start = false;
                    let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
                    let (word, rest) = self.rest.split_at(end);
                    self.rest = rest;
                    return Some(Ok(Word::Bare(word)));
                }
            }
            self.rest = &self.rest[first.len_utf8()..];
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The cells of a POSCAR: its comment and the text.
pub(super) fn poscar(text: &str) -> Result<Option<Cells>, String> {
    let comment = text.lines().next().unwrap_or_default().trim();
    if text.trim().is_empty() {
        return Err("the file is empty".to_owned());
    }
    Ok(Some(vec![("comment".to_owned(), comment.to_owned()), ("structure".to_owned(), text.to_owned())]))
}

/// Cuts an XYZ file at its frames.
pub(super) struct XyzFrames {
    lines: Lines,
    /// The count line of a frame that was found while looking for it.
    next: Option<String>,
}

impl XyzFrames {
    pub(super) fn new(lines: Lines) -> XyzFrames {
        XyzFrames { lines, next: None }
    }
}

impl Pieces for XyzFrames {
    fn next_piece(&mut self) -> Option<Result<Piece, BadRow>> {
        let head = match self.next.take() {
            Some(head) => head,
            None => loop {
                match self.lines.next_line()? {
                    Ok(line) if line.trim().is_empty() => {}
                    Ok(line) => break line,
                    Err(bad) => return Some(Err(bad)),
                }
            },
        };
        let line = self.lines.line;
        let Ok(atoms) = head.trim().parse::<usize>() else {
            // to the next line that may begin a frame
            while let Some(next) = self.lines.next_line() {
                if let Ok(next) = next
                    && next.trim().parse::<usize>().is_ok()
                {
                    self.next = Some(next);
                    break;
                }
            }
            let why = format!("a frame begins with its number of atoms, not with `{}`", cut(head.trim()));
            return Some(Err(BadRow { line, why, raw: Some(head.into_bytes()) }));
        };
        let mut text = head;
        for n in 0..=atoms {
            match self.lines.next_line() {
                Some(Ok(next)) if text.len() + next.len() <= MAX_ROW_BYTES => text.push_str(&next),
                Some(Ok(_)) => {
                    let why = format!("the frame is longer than {} MiB", MAX_ROW_BYTES >> 20);
                    return Some(Err(BadRow { line, why, raw: None }));
                }
                Some(Err(bad)) => return Some(Err(BadRow { line, ..bad })),
                None => {
                    let why = format!("the file ends after {} of {atoms} atoms", n.saturating_sub(1));
                    return Some(Err(BadRow { line, why, raw: Some(text.into_bytes()) }));
                }
            }
        }
        Some(Ok(Piece { line, text }))
    }
}

/// The cells of a frame: `key=value` of its second line, or that line as `comment`, and the text.
pub(super) fn xyz(text: &str, _: char) -> Result<Option<Cells>, String> {
    let comment = text.lines().nth(1).unwrap_or_default().trim();
    let mut cells = pairs(comment)?;
    if cells.is_empty() {
        cells.push(("comment".to_owned(), comment.to_owned()));
    }
    if cells.iter().any(|(key, _)| key == "structure") {
        return Err("its second line has a key `structure`".to_owned());
    }
    cells.push(("structure".to_owned(), text.to_owned()));
    Ok(Some(cells))
}

/// `key=value`, where a value with blanks stands in quotes or brackets. A word alone is a key that is true. A line
/// without any `=` is a comment and has no pairs.
fn pairs(line: &str) -> Result<Cells, String> {
    let mut cells = Cells::new();
    if !line.contains('=') {
        return Ok(cells);
    }
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(value) = after.strip_prefix('=') else {
            cells.push((key.to_owned(), "true".to_owned()));
            rest = after.trim_start();
            continue;
        };
        let close = match value.chars().next() {
            Some('"') => Some('"'),
            Some('\'') => Some('\''),
            Some('{') => Some('}'),
            Some('[') => Some(']'),
            _ => None,
        };
        if let Some(close) = close {
            let nested = close == ']';
            let inside = &value[1..];
            let mut depth = 1_usize;
            let end = inside.char_indices().find(|(_, c)| {
                if nested && *c == '[' {
                    depth += 1;
                } else if *c == close {
                    depth -= 1;
                }
                depth == 0
            });
            let Some((end, _)) = end else { return Err(format!("the value of `{key}` is not closed")) };
            let text = if nested { &value[..end + 2] } else { &inside[..end] };
            cells.push((key.to_owned(), text.trim().to_owned()));
            rest = inside[end + 1..].trim_start();
        } else {
            let end = value.find(char::is_whitespace).unwrap_or(value.len());
            cells.push((key.to_owned(), value[..end].to_owned()));
            rest = value[end..].trim_start();
        }
    }
    Ok(cells)
}
