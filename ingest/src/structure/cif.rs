//! CIF: cell, symmetry operators and atom sites of one data block.

use datasets::structure::{MAX_SITES, Species, Structure};

use super::symmetry::{Operator, expand, of_group};
use super::{Format, MAX_OPERATORS, StructureError, cut, element, inverse, lattice_of, species, times};

/// The tags that are read, lower case and with `_` for the `.` of newer dictionaries. What is not named here is passed over.
const TAGS: [&str; 23] = [
    "_cell_length_a",
    "_cell_length_b",
    "_cell_length_c",
    "_cell_angle_alpha",
    "_cell_angle_beta",
    "_cell_angle_gamma",
    "_symmetry_equiv_pos_as_xyz",
    "_space_group_symop_operation_xyz",
    "_symmetry_int_tables_number",
    "_space_group_it_number",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_hall",
    "_space_group_name_hall",
    "_atom_site_type_symbol",
    "_atom_site_label",
    "_atom_site_fract_x",
    "_atom_site_fract_y",
    "_atom_site_fract_z",
    "_atom_site_cartn_x",
    "_atom_site_cartn_y",
    "_atom_site_cartn_z",
    "_atom_site_occupancy",
];

fn fault(line: impl Into<Option<usize>>, what: impl Into<String>, mend: &'static str) -> StructureError {
    StructureError::new(Format::Cif, line, what, mend)
}

pub(super) fn parse(text: &str) -> Result<Structure, StructureError> {
    Block::read(text)?.structure()
}

/// A value with its line.
type Cell<'a> = (&'a str, usize);

/// The values of each tag of [`TAGS`].
struct Block<'a>([Vec<Cell<'a>>; TAGS.len()]);

impl<'a> Block<'a> {
    /// Reads the first data block that has atoms; a second is refused.
    fn read(text: &'a str) -> Result<Block<'a>, StructureError> {
        let mut block = Block(Default::default());
        let mut tokens = Tokens { text, at: 0, line: 1 };
        let mut pending = tokens.next()?;
        while let Some(token) = pending {
            pending = match token {
                Token::Data(line) => {
                    if block.has_atoms() {
                        if Block::more_atoms(&mut tokens)? {
                            let mend = "give one structure alone";
                            return Err(fault(line, "a second data block with atoms begins here", mend));
                        }
                        break;
                    }
                    block = Block(Default::default());
                    tokens.next()?
                }
                Token::Tag(tag, line) => match tokens.next()? {
                    Some(Token::Value(value, line)) => {
                        block.keep(index_of(tag), (value, line));
                        tokens.next()?
                    }
                    _ => {
                        return Err(fault(
                            line,
                            format!("{} has no value", cut(tag)),
                            "write it, or ? where it is not known",
                        ));
                    }
                },
                Token::Loop(line) => block.read_loop(&mut tokens, line)?,
                Token::Value(value, line) => {
                    let what = format!("'{}' belongs to no tag", cut(value));
                    return Err(fault(line, what, "quote texts that hold spaces"));
                }
            };
        }
        Ok(block)
    }

    /// Reads a loop and gives the token behind it.
    fn read_loop(&mut self, tokens: &mut Tokens<'a>, line: usize) -> Result<Option<Token<'a>>, StructureError> {
        let (mut columns, mut wanted) = (0usize, Vec::new());
        let mut token = tokens.next()?;
        while let Some(Token::Tag(tag, _)) = token {
            if let Some(index) = index_of(tag).filter(|index| wanted.iter().all(|(_, held)| held != index)) {
                wanted.push((columns, index));
            }
            columns += 1;
            token = tokens.next()?;
        }
        if columns == 0 {
            return Err(fault(line, "this loop has no tags", "name its columns"));
        }
        let mut at = 0;
        while let Some(Token::Value(value, line)) = token {
            for &(_, index) in wanted.iter().filter(|(column, _)| *column == at) {
                self.keep(Some(index), (value, line));
                let (held, limit) =
                    (self.0[index].len(), if TAGS[index].ends_with("xyz") { MAX_OPERATORS } else { MAX_SITES });
                if held > limit {
                    let what = format!("more than {limit} values of {}", TAGS[index]);
                    return Err(fault(line, what, "give one structure with each site and operator once"));
                }
            }
            at = (at + 1) % columns;
            token = tokens.next()?;
        }
        if at != 0 {
            let what = format!("the loop that begins here has {columns} columns, and {at} values in its last row");
            return Err(fault(line, what, "complete the row, and quote texts that hold spaces"));
        }
        Ok(token)
    }

    fn keep(&mut self, index: Option<usize>, cell: Cell<'a>) {
        if let Some(values) = index.and_then(|index| self.0.get_mut(index)) {
            values.push(cell);
        }
    }

    fn has_atoms(&self) -> bool {
        !self.all("_atom_site_fract_x").is_empty() || !self.all("_atom_site_cartn_x").is_empty()
    }

    /// Whether atoms follow, in any block.
    fn more_atoms(tokens: &mut Tokens<'a>) -> Result<bool, StructureError> {
        while let Some(token) = tokens.next()? {
            if let Token::Tag(tag, _) = token
                && index_of(tag).is_some_and(|index| matches!(TAGS[index], "_atom_site_fract_x" | "_atom_site_cartn_x"))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn all(&self, tag: &str) -> &[Cell<'a>] {
        TAGS.iter().position(|known| *known == tag).map_or(&[], |index| &self.0[index])
    }

    fn text(&self, tags: [&str; 2]) -> Option<Cell<'a>> {
        tags.iter().find_map(|tag| self.all(tag).first().copied()).filter(|(text, _)| !is_missing(text))
    }

    fn cell(&self) -> Result<Option<[[f64; 3]; 3]>, StructureError> {
        let mut numbers = [0.0; 6];
        let mut line = 0;
        for (number, tag) in numbers.iter_mut().zip(TAGS) {
            let Some(&(text, at)) = self.all(tag).first() else {
                if tag == TAGS[0] {
                    return Ok(None);
                }
                return Err(fault(None, format!("{tag} is missing"), "give all six lengths and angles of the cell"));
            };
            line = at;
            *number =
                number_of(text).ok_or_else(|| fault(at, format!("{tag} is '{}'", cut(text)), "write a number"))?;
        }
        let [a, b, c, alpha, beta, gamma] = numbers;
        let lattice = lattice_of([a, b, c], [alpha, beta, gamma]);
        lattice.map(Some).ok_or_else(|| fault(line, "no cell has these lengths and angles", "check them"))
    }

    fn operators(&self, lattice: &[[f64; 3]; 3]) -> Result<Vec<Operator>, StructureError> {
        let listed = match self.all("_space_group_symop_operation_xyz") {
            [] => self.all("_symmetry_equiv_pos_as_xyz"),
            listed => listed,
        };
        let read = |&(text, line): &Cell<'_>| {
            let mend = "write it as -x+1/2, y, z";
            Operator::parse(text).ok_or_else(|| fault(line, format!("'{}' is no symmetry operator", cut(text)), mend))
        };
        if !listed.iter().all(|(text, _)| is_missing(text)) {
            return listed.iter().map(read).collect();
        }
        let number = self.text(["_space_group_it_number", "_symmetry_int_tables_number"]);
        let hm = self.text(["_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m"]);
        let hall = self.text(["_space_group_name_hall", "_symmetry_space_group_name_hall"]);
        let line = hm.or(number).or(hall).map(|(_, line)| line);
        let parsed = match number {
            Some((text, line)) => {
                let known = text.parse::<i32>().ok().filter(|number| (1..=230).contains(number));
                Some(known.ok_or_else(|| {
                    fault(line, format!("'{}' is no number of a space group", cut(text)), "write 1 to 230")
                })?)
            }
            None => None,
        };
        if line.is_none() {
            return Err(fault(
                None,
                "neither symmetry operators nor a space group are given",
                "list the operators; x, y, z where all atoms are listed",
            ));
        }
        of_group(parsed, hm.map(|(text, _)| text), hall.map(|(text, _)| text), lattice)
            .map_err(|(what, mend)| fault(line, what, mend))
    }

    fn structure(&self) -> Result<Structure, StructureError> {
        if !self.has_atoms() {
            return Err(fault(None, "there are no atom sites", "give _atom_site_fract_x, _y and _z"));
        }
        let lattice = self.cell()?;
        let fractions = ["_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z"].map(|tag| self.all(tag));
        let cartesian = ["_atom_site_cartn_x", "_atom_site_cartn_y", "_atom_site_cartn_z"].map(|tag| self.all(tag));
        let by_fractions = !fractions[0].is_empty();
        let [x, y, z] = if by_fractions { fractions } else { cartesian };
        if y.len() != x.len() || z.len() != x.len() {
            return Err(fault(
                x.first().map(|(_, line)| *line),
                "a coordinate of the atom sites is missing",
                "give x, y and z",
            ));
        }
        if by_fractions && lattice.is_none() {
            return Err(fault(
                None,
                "atoms have fractional coordinates, and there is no cell",
                "give _cell_length_a and the rest",
            ));
        }
        let to_fractions = lattice.as_ref().and_then(inverse).filter(|_| !by_fractions);
        let (symbols, labels) = (self.all("_atom_site_type_symbol"), self.all("_atom_site_label"));
        let occupancies = self.all("_atom_site_occupancy");
        let mut sites = Structure { lattice, species: Vec::new(), positions: Vec::new() };
        for (index, (&(_, line), (y, z))) in x.iter().zip(y.iter().zip(z)).enumerate() {
            let known = |cells: &[Cell<'a>]| cells.get(index).map(|(text, _)| *text).filter(|text| !is_missing(text));
            let (symbol, label) = (known(symbols), known(labels));
            let name = symbol.or(label).unwrap_or_default();
            let element = symbol.and_then(|symbol| element(symbol, false)).or_else(|| element(label?, true));
            let element = element.ok_or_else(|| {
                fault(
                    line,
                    format!("'{}' names no element", cut(name)),
                    "write _atom_site_type_symbol as in the periodic table",
                )
            })?;
            let number = |text: &str| {
                number_of(text).ok_or_else(|| {
                    fault(
                        line,
                        format!("the coordinate '{}' of {} is no number", cut(text), cut(name)),
                        "write it, or take the site out",
                    )
                })
            };
            let position = [number(x[index].0)?, number(y.0)?, number(z.0)?];
            sites.positions.push(to_fractions.as_ref().map_or(position, |inverse| times(position, inverse)));
            let occupancy = match known(occupancies) {
                Some(text) => {
                    number_of(text).filter(|share| *share > 0.0 && *share <= 1.0 + 1e-9).ok_or_else(|| {
                        fault(
                            line,
                            format!("the occupancy of {} is '{}'", cut(name), cut(text)),
                            "write a number above 0 and at most 1",
                        )
                    })?
                }
                None => 1.0,
            };
            sites.species.push(match occupancy < 1.0 {
                true => Species::Mixed(vec![(element.symbol().to_owned(), occupancy)]),
                false => species(element),
            });
        }
        match lattice {
            Some(lattice) => expand(sites, &self.operators(&lattice)?).map_err(|(what, mend)| fault(None, what, mend)),
            None => Ok(sites),
        }
    }
}

fn index_of(tag: &str) -> Option<usize> {
    if tag.len() > 40 {
        return None;
    }
    let plain = tag.to_ascii_lowercase().replace('.', "_");
    TAGS.iter().position(|known| *known == plain)
}

fn is_missing(text: &str) -> bool {
    matches!(text, "?" | "." | "")
}

/// A number with or without its standard uncertainty: `1.234(5)`.
fn number_of(text: &str) -> Option<f64> {
    let number = match text.split_once('(') {
        Some((number, uncertainty)) => {
            let digits = uncertainty.strip_suffix(')')?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(number)?
        }
        None => text,
    };
    number.parse().ok().filter(|number: &f64| number.is_finite())
}

#[derive(Clone, Copy)]
enum Token<'a> {
    /// `data_name`.
    Data(usize),
    Loop(usize),
    Tag(&'a str, usize),
    Value(&'a str, usize),
}

struct Tokens<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Result<Option<Token<'a>>, StructureError> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                None => return Ok(None),
                Some(b'\n') => self.line += 1,
                Some(b'#') => {
                    let rest = bytes.get(self.at..).unwrap_or_default();
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    continue;
                }
                Some(byte) if byte.is_ascii_whitespace() => {}
                Some(_) => break,
            }
            self.at += 1;
        }
        let (start, line) = (self.at, self.line);
        let rest = bytes.get(start..).unwrap_or_default();
        let at_line_start = start == 0 || bytes.get(start - 1) == Some(&b'\n');
        if at_line_start && rest.first() == Some(&b';') {
            let Some(length) = memchr::memmem::find(rest, b"\n;") else {
                return Err(fault(
                    line,
                    "the text that begins with ; is never closed",
                    "end it by a line that begins with ;",
                ));
            };
            let text = self.text.get(start + 1..start + length).unwrap_or_default();
            self.line += text.bytes().filter(|byte| *byte == b'\n').count() + 1;
            self.at = start + length + 2;
            return Ok(Some(Token::Value(text.trim(), line)));
        }
        if let Some(&quote @ (b'\'' | b'"')) = rest.first() {
            let end_of_line = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let closes = |at: &usize| rest.get(at + 1).is_none_or(u8::is_ascii_whitespace);
            let on_line = rest.get(1..end_of_line).unwrap_or_default();
            let Some(end) = memchr::memchr_iter(quote, on_line).map(|at| at + 1).find(closes) else {
                return Err(fault(
                    line,
                    "a quoted text is not closed on its line",
                    "close it, or put it between lines of ;",
                ));
            };
            self.at = start + end + 1;
            return Ok(Some(Token::Value(self.text.get(start + 1..start + end).unwrap_or_default(), line)));
        }
        let length = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        self.at = start + length;
        let word = self.text.get(start..self.at).unwrap_or_default();
        let starts = |with: &str| word.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
        Ok(Some(match word {
            _ if word.starts_with('_') => Token::Tag(word, line),
            _ if word.eq_ignore_ascii_case("loop_") => Token::Loop(line),
            _ if starts("data_") => Token::Data(line),
            _ if starts("save_") || word.eq_ignore_ascii_case("stop_") || word.eq_ignore_ascii_case("global_") => {
                return Err(fault(line, format!("'{}' is not for structures", cut(word)), "give a plain data block"));
            }
            _ => Token::Value(word, line),
        }))
    }
}
