//! Rows out of JSON, JSON Lines, TOML and YAML.
//!
//! Nested objects become columns with dotted names. Arrays of texts and numbers become one cell, joined by `; `; other
//! arrays stand in their cell as compact JSON. The whole entry is the row's `raw`.
//!
//! What the rows of a document are:
//! - the elements of an array of objects;
//! - the members of an object whose members are all objects; the key becomes the column `@key`. Where such a member has
//!   a `name`, every table below it that also has a `name` is a row of its own (`@key` is then its dotted path, and
//!   `@parent` the key of the row above). It takes over nothing from the row above: the composition of a grade is not
//!   that of the pure metal under which it is filed;
//! - the elements of the only array of objects of an object;
//! - else the object itself.

use super::entries::{self, Cells, Entry, Lines, Parse, Piece, Pieces};
use super::input::Input;
use super::tree::Node;
use super::{BadRow, Format, ReadError, ReadOptions, Table};

/// Objects inside objects are flattened so deep; below, they are JSON text.
const MAX_DEPTH: usize = 16;
/// Members of an OPTIMADE entry that only the structure is made of.
const SITES: [&str; 4] = ["lattice_vectors", "cartesian_site_positions", "species_at_sites", "species"];

/// Opens a JSON, TOML or YAML document.
pub(super) fn open(input: &Input, format: Format, options: &ReadOptions) -> Result<Table, ReadError> {
    let text = input.text()?;
    let root = match parse(&text, format) {
        Ok(root) => root,
        // lines of JSON under a name that says only JSON
        Err(_) if format == Format::Json && options.format.is_none() && begins_with_entries(&text) => {
            return open_lines(input, Format::JsonLines, options);
        }
        Err(why) => return Err(input.bad(why)),
    };
    drop(text);
    let (rows, format) = rows(&root, format, options).map_err(|why| input.bad(why))?;
    entries::in_memory(input.shown.clone(), input.name.clone(), format, rows)
}

fn begins_with_entries(text: &str) -> bool {
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| parse(line, Format::Json).is_ok())
}

/// Reads a document.
pub(super) fn parse(text: &str, format: Format) -> Result<Node, String> {
    match format {
        Format::Toml => toml::from_str(text).map_err(|e| format!("it is no TOML: {}", e.to_string().trim_end())),
        Format::Yaml | Format::RefractiveIndex | Format::FreecadCard => {
            serde_saphyr::from_str(text).map_err(|e| format!("it is no YAML: {e}"))
        }
        _ => serde_json::from_str(text).map_err(|e| format!("it is no JSON: {e}")),
    }
}

type Rows = Vec<Result<Entry, BadRow>>;

fn rows(root: &Node, format: Format, options: &ReadOptions) -> Result<(Rows, Format), String> {
    let decimal = options.decimal;
    let pointed = match options.rows.as_deref() {
        Some(pointer) => follow(root, pointer)?,
        None => root,
    };
    let list = match pointed {
        Node::List(items) => items.as_slice(),
        Node::Map(members) => {
            if pointed.get("@class").is_some() {
                return Ok((vec![Ok(entry(pointed, 1, decimal))], Format::Pymatgen));
            }
            if let (Some(data), true) = (pointed.get("data"), pointed.get("meta").is_some())
                && matches!(data, Node::List(_) | Node::Map(_))
            {
                let data = match data {
                    Node::List(items) => items.as_slice(),
                    other => std::slice::from_ref(other),
                };
                return Ok((elements(data, decimal), Format::Optimade));
            }
            if options.rows.is_none()
                && let Some((key, list)) = members.iter().find_map(|(k, v)| Some((k, objects(v)?)))
            {
                if members.len() > 1 {
                    return Err(format!(
                        "it is one object with an array of objects in `{key}`; say where the rows are: \
                         rows = \"/{key}\" in [read], or rows = \"\" if the whole object is one row"
                    ));
                }
                return Ok((elements(list, decimal), kind_of(list, format)));
            }
            let keyed = !members.is_empty() && members.iter().all(|(_, v)| matches!(v, Node::Map(_)));
            // a single table may as well be a row that has one group of values; a pointer to "" says so
            if keyed && options.rows.as_deref() != Some("") {
                let mut out = Vec::new();
                for (key, member) in members {
                    named(member, key, None, (0, decimal), &mut out);
                }
                return Ok((out, format));
            }
            return Ok((vec![Ok(entry(pointed, 1, decimal))], format));
        }
        _ => return Err("there is neither an object nor an array of objects".to_owned()),
    };
    Ok((elements(list, decimal), kind_of(list, format)))
}

fn objects(node: &Node) -> Option<&[Node]> {
    match node {
        Node::List(items) if !items.is_empty() && items.iter().all(|i| matches!(i, Node::Map(_))) => Some(items),
        _ => None,
    }
}

fn kind_of(list: &[Node], format: Format) -> Format {
    match list.first() {
        Some(first) if first.get("@class").is_some() => Format::Pymatgen,
        Some(first) if is_optimade(first) => Format::Optimade,
        _ => format,
    }
}

fn is_optimade(node: &Node) -> bool {
    matches!(node.get("attributes"), Some(Node::Map(_))) && matches!(node.get("type"), Some(Node::Text(_)))
}

fn elements(list: &[Node], decimal: char) -> Rows {
    let place = |i: usize| i as u64 + 1;
    let read = |(i, item): (usize, &Node)| match item {
        Node::Map(_) => Ok(entry(item, place(i), decimal)),
        other => Err(BadRow {
            line: place(i),
            why: "this element of the array is not an object".to_owned(),
            raw: Some(other.json().into_bytes()),
        }),
    };
    list.iter().enumerate().map(read).collect()
}

fn follow<'a>(root: &'a Node, pointer: &str) -> Result<&'a Node, String> {
    let mut node = root;
    if pointer.is_empty() {
        return Ok(node);
    }
    let Some(path) = pointer.strip_prefix('/') else {
        return Err(format!("rows = \"{pointer}\" in [read] must begin with `/`, as in \"/entries\""));
    };
    for step in path.split('/') {
        let step = step.replace("~1", "/").replace("~0", "~");
        let next = match node {
            Node::Map(_) => node.get(&step),
            Node::List(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => None,
        };
        node = next.ok_or_else(|| {
            let there = match node {
                Node::Map(members) => members.iter().take(20).map(|(k, _)| format!("`{k}`")).collect::<Vec<_>>(),
                Node::List(items) => vec![format!("an array of {}", items.len())],
                _ => vec!["a single value".to_owned()],
            };
            format!("rows = \"{pointer}\" in [read]: there is no `{step}`; there is {}", there.join(", "))
        })?;
    }
    Ok(node)
}

/// A row for a member of an object of objects, and for each named table below it.
fn named(node: &Node, key: &str, parent: Option<&str>, (depth, decimal): (usize, char), out: &mut Rows) {
    let line = out.len() as u64 + 1;
    let mut own = vec![("@key".to_owned(), Node::Text(key.to_owned()))];
    if let Some(parent) = parent {
        own.push(("@parent".to_owned(), Node::Text(parent.to_owned())));
    }
    let has_name = node.get("name").is_some_and(|n| n.scalar().is_some());
    let mut below = Vec::new();
    if let Node::Map(members) = node {
        for (name, value) in members {
            let is_row = has_name && depth < MAX_DEPTH && value.get("name").is_some_and(|n| n.scalar().is_some());
            if is_row {
                below.push((name, value));
            } else {
                own.push((name.clone(), value.clone()));
            }
        }
    }
    out.push(Ok(entry(&Node::Map(own), line, decimal)));
    for (name, value) in below {
        named(value, &format!("{key}.{name}"), Some(key), (depth + 1, decimal), out);
    }
}

fn entry(node: &Node, line: u64, decimal: char) -> Entry {
    Entry { line, cells: cells(node, decimal), raw: Some(node.json().into_boxed_str()) }
}

/// The cells of an object; numbers have this decimal mark.
pub(super) fn cells(node: &Node, decimal: char) -> Cells {
    let mut out = Vec::new();
    let Node::Map(members) = node else { return out };
    if let (true, Some(Node::Map(attributes))) = (is_optimade(node), node.get("attributes")) {
        for (key, value) in members.iter().filter(|(key, _)| key == "id" || key == "type") {
            flatten(key, value, (0, decimal), &mut out);
        }
        for (key, value) in attributes.iter().filter(|(key, _)| !SITES.contains(&key.as_str())) {
            // an attribute may not take the place of the entry's own id
            let key = if key == "id" || key == "type" { format!("attributes.{key}") } else { key.clone() };
            flatten(&key, value, (0, decimal), &mut out);
        }
        let has_sites =
            SITES[..3].iter().all(|s| matches!(node.get("attributes").and_then(|a| a.get(s)), Some(Node::List(_))));
        if has_sites {
            out.push(("structure".to_owned(), Node::Map(attributes.clone()).json()));
        }
        return out;
    }
    let class = node.get("@class").and_then(Node::as_text);
    let is_structure = class.is_some() && matches!(node.get("sites"), Some(Node::List(_)));
    for (key, value) in members {
        match key.as_str() {
            "sites" | "lattice" if is_structure => {}
            "structure" | "molecule" if matches!(value, Node::Map(_)) => {
                out.push(("structure".to_owned(), value.json()));
            }
            _ => flatten(key, value, (0, decimal), &mut out),
        }
    }
    if is_structure {
        out.push(("structure".to_owned(), node.json()));
    }
    out
}

fn flatten(name: &str, value: &Node, (depth, decimal): (usize, char), out: &mut Cells) {
    match value {
        Node::Map(members) if depth < MAX_DEPTH && !members.is_empty() => {
            for (key, value) in members {
                flatten(&format!("{name}.{key}"), value, (depth + 1, decimal), out);
            }
        }
        Node::List(items) => {
            let scalars: Option<Vec<String>> = items.iter().map(|item| item.cell(decimal)).collect();
            let cell = match scalars {
                Some(texts) => texts.join("; "),
                None => value.json(),
            };
            out.push((name.to_owned(), cell));
        }
        Node::Map(members) if members.is_empty() => out.push((name.to_owned(), String::new())),
        other => out.push((name.to_owned(), other.cell(decimal).unwrap_or_else(|| other.json()))),
    }
}

/// Opens JSON Lines: any size, one line at a time.
pub(super) fn open_lines(input: &Input, format: Format, options: &ReadOptions) -> Result<Table, ReadError> {
    let mut first = JsonLines(Lines::new(input.silent_reader()?));
    let mut format = format;
    // the first line that is a row says whose lines these are
    for _ in 0..16 {
        match first.next_piece() {
            Some(Ok(piece)) => match parse(&piece.text, Format::Json) {
                Ok(node) if node.get("@class").is_some() => format = Format::Pymatgen,
                Ok(node) if is_optimade(&node) || node.get("x-optimade").is_some() => format = Format::Optimade,
                Ok(_) | Err(_) => {}
            },
            _ => break,
        }
    }
    let mut first = JsonLines(Lines::new(input.silent_reader()?));
    let again = Box::new(JsonLines(Lines::new(input.reader()?)));
    let parse: Parse = if format == Format::Optimade { optimade_line } else { json_line };
    entries::streamed(input.shown.clone(), input.name.clone(), format, &mut first, again, (parse, options.decimal))
}

fn json_line(text: &str, decimal: char) -> Result<Option<Cells>, String> {
    let node = parse(text, Format::Json)?;
    match node {
        Node::Map(_) => Ok(Some(cells(&node, decimal))),
        _ => Err("this line is not an object".to_owned()),
    }
}

fn optimade_line(text: &str, decimal: char) -> Result<Option<Cells>, String> {
    let node = parse(text, Format::Json)?;
    let is_data = is_optimade(&node);
    let told = node.get("type").and_then(Node::as_text);
    let header = node.get("x-optimade").is_some() || node.get("meta").is_some() || matches!(told, Some("info"));
    match node {
        Node::Map(_) if !is_data && (header || told.is_none() && node.get("properties").is_some()) => Ok(None),
        Node::Map(_) if told == Some("info") => Ok(None),
        Node::Map(_) => Ok(Some(cells(&node, decimal))),
        _ => Err("this line is not an object".to_owned()),
    }
}

struct JsonLines(Lines);

impl Pieces for JsonLines {
    fn next_piece(&mut self) -> Option<Result<Piece, BadRow>> {
        loop {
            return Some(match self.0.next_line()? {
                Ok(text) if text.trim().is_empty() => continue,
                Ok(mut text) => {
                    text.truncate(text.trim_end().len());
                    Ok(Piece { line: self.0.line, text })
                }
                Err(bad) => Err(bad),
            });
        }
    }
}
