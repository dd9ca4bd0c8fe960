//! A document as a tree: JSON, TOML and YAML look the same from here on.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};

/// A value, with the members of objects in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A number, as its shortest text.
    Number(String),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Node>),
    /// An object.
    Map(Vec<(String, Node)>),
}

/// The shortest text that reads back to the same number; whole numbers without a point.
pub(super) fn number_text(x: f64) -> String {
    let size = x.abs();
    if x.is_nan() {
        // not `NaN`, which is sodium nitride
        "nan".to_owned()
    } else if x == 0.0 || (1e-5..1e16).contains(&size) || x.is_infinite() {
        format!("{x}")
    } else {
        format!("{x:e}")
    }
}

/// The text of a number with the decimal mark of the mapping, so that it is read back as the number that it is, whatever
/// the marks of the texts beside it. A number never has a mark of thousands.
pub(crate) fn marked(number: String, decimal: char) -> String {
    if decimal == '.' { number } else { number.replace('.', &decimal.to_string()) }
}

impl Node {
    /// A member of an object.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match self {
            Node::Map(members) => members.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text of a text.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The cell of a value that has no parts; numbers with this decimal mark.
    pub(super) fn cell(&self, decimal: char) -> Option<String> {
        match self {
            Node::Number(text) => Some(marked(text.clone(), decimal)),
            other => other.scalar(),
        }
    }

    /// The text of a value that has no parts.
    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Node::Null => Some(String::new()),
            Node::Bool(b) => Some(b.to_string()),
            Node::Number(text) | Node::Text(text) => Some(text.clone()),
            Node::List(_) | Node::Map(_) => None,
        }
    }

    /// Compact JSON.
    pub(super) fn json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    // as deep as the parsers let a document be
    fn write_json(&self, out: &mut String) {
        match self {
            Node::Null => out.push_str("null"),
            Node::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            // JSON has no such numbers
            Node::Number(text) if matches!(text.as_str(), "nan" | "inf" | "-inf") => write_text(text, out),
            Node::Number(text) => out.push_str(text),
            Node::Text(text) => write_text(text, out),
            Node::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Node::Map(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

/// Writes a JSON string.
pub(super) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, b: bool) -> Result<Node, E> {
        Ok(Node::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }

    fn visit_i128<E>(self, n: i128) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }

    fn visit_u128<E>(self, n: u128) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Node, E> {
        Ok(Node::Number(number_text(x)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members: Vec<(String, Node)> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            members.push((key, map.next_value()?));
        }
        // how TOML hands over its dates, and JSON its numbers where they keep their digits
        if let [(key, Node::Text(text))] = members.as_slice() {
            match key.as_str() {
                "$__toml_private_datetime" => return Ok(Node::Text(text.clone())),
                "$serde_json::private::Number" => return Ok(Node::Number(text.clone())),
                _ => {}
            }
        }
        Ok(Node::Map(members))
    }
}

/// A key; YAML has numbers there too.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let node = Node::deserialize(deserializer)?;
        node.scalar().map(Key).ok_or_else(|| serde::de::Error::custom("a key must be a text"))
    }
}
