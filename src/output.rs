//! What is printed: failures in one line, tables for people, files.

use std::fmt;
use std::io::Write;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use index::stated::StatedAnswer;

/// A command failed: one line for people, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(message: impl fmt::Display) -> Failure {
        // one line, whatever the cause has to say
        let message = message.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Failure { message, code: 1 }
    }

    /// Wrong usage, exit code 2.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure { code: 2, ..Failure::new(message) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<index::hub::HubError> for Failure {
    fn from(e: index::hub::HubError) -> Failure {
        Failure::new(e)
    }
}

impl From<datasets::table::TableError> for Failure {
    fn from(e: datasets::table::TableError) -> Failure {
        Failure::new(e)
    }
}

/// Characters of a line where a table goes to a file or a pipe.
const WIDTH_OF_FILES: u16 = 160;

/// A table for people.
pub fn table<'a>(headers: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH_OF_FILES);
    }
    table.set_header(headers.into_iter().collect::<Vec<_>>());
    table
}

/// Prints to standard output; a reader that went away (`| head`) is no failure.
pub fn print(text: impl fmt::Display) -> Result<(), Failure> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// Prints bytes to standard output.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| Failure::new(format!("cannot write to standard output: {e}"))),
    }
}

/// Prints a document as JSON.
pub fn print_json(document: &impl serde::Serialize) -> Result<(), Failure> {
    print(serde_json::to_string_pretty(document).map_err(Failure::new)?)
}

/// Writes a file.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))
}

/// A number with as many digits as people read.
pub fn short(x: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    let magnitude = x.abs().log10().floor();
    if !(-4.0..6.0).contains(&magnitude) {
        return format!("{x:.3e}");
    }
    let decimals = (3.0 - magnitude).clamp(0.0, 8.0) as usize;
    let text = format!("{x:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Conditions of a value, as `2 GPa, direction [100]`.
pub fn conditions(stated: &StatedAnswer) -> String {
    let others = stated.conditions.iter().map(|(name, text)| format!("{name} {text}"));
    stated.pressure_pa.map(pascals).into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

fn pascals(pressure: f64) -> String {
    let scales = [(1e9, "GPa"), (1e6, "MPa"), (1e3, "kPa")];
    let (scale, unit) = scales.into_iter().find(|(scale, _)| pressure.abs() >= *scale).unwrap_or((1.0, "Pa"));
    format!("{} {unit}", short(pressure / scale))
}

/// The bound that a source stated, as ` (stated as <27)`.
pub fn stated_as(stated: &StatedAnswer) -> Option<String> {
    let (mark, bound) = stated.qualifier.as_ref().zip(stated.bound)?;
    Some(format!(" (stated as {mark}{})", short(bound)))
}

/// A temperature with hundredths: 298.15 K is not 298.1 K.
pub fn kelvins(t: f64) -> String {
    let text = format!("{t:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number with its thousands apart.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let cases =
            [(0.0, "0"), (1.6, "1.6"), (3.99961, "4"), (22698109.58, "2.270e7"), (0.00012, "0.00012"), (174.0, "174")];
        for (x, shown) in cases {
            assert_eq!(short(x), shown);
        }
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(42), "42");
    }

    #[test]
    fn failures_are_one_line() {
        assert_eq!(Failure::new("a\n  b").to_string(), "a b");
    }
}
