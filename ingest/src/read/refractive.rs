//! Rows out of refractiveindex.info pages: n and k at 589 nm and 1550 nm, by the page's table or formula.
//!
//! A value stands only where the page covers the wavelength: between two points of a table (on the line between them)
//! or inside the range that is stated for a formula. Nothing is extrapolated. Pages of n₂ alone have empty cells.

use datasets::formula::Formula;

use super::Format;
use super::dispersion::index;
use super::document;
use super::entries::Cells;
use super::tree::{Node, number_text};

/// The wavelengths of the columns: name and µm.
const WAVELENGTHS: [(&str, f64); 2] = [("589nm", 0.589), ("1550nm", 1.55)];
/// The most points of a page.
const MAX_POINTS: usize = 1 << 20;

/// What a file of the database holds.
pub(super) enum Page {
    /// Optical data.
    Data(Cells),
    /// Names of the material whose folder it lies in.
    About(Vec<String>),
    /// An index of pages, which says nothing of a material.
    Catalogue,
}

/// The folder that stands for the material, and the page: `main/SiO2/nk/Malitson.yml` → (`SiO2`, `Malitson`).
pub(super) fn material(path: &str) -> (&str, &str) {
    let mut parts = path.rsplit(['/', '\\']);
    let file = parts.next().unwrap_or_default();
    let page = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let folder = parts.find(|folder| !matches!(*folder, "nk" | "n2" | "n" | "k")).unwrap_or_default();
    (folder, page)
}

/// Reads a file of the database; `path` ends with the material's folder, `nk` and the page's name.
pub(super) fn page(text: &str, path: &str) -> Result<Page, String> {
    let root = document::parse(text, Format::RefractiveIndex)?;
    let Some(data) = root.get("DATA") else {
        if let Some(Node::List(names)) = root.get("NAMES") {
            return Ok(Page::About(names.iter().filter_map(Node::scalar).map(|n| without_tags(&n)).collect()));
        }
        let is_shelf = |node: &Node| node.get("SHELF").is_some();
        return match &root {
            Node::List(items) if items.first().is_some_and(is_shelf) => Ok(Page::Catalogue),
            _ => Err("it has neither DATA nor NAMES".to_owned()),
        };
    };
    let Node::List(parts) = data else { return Err("DATA is not a list".to_owned()) };
    let parts: Vec<Part> = parts.iter().map(part).collect::<Result<_, _>>()?;
    let (folder, page) = material(path);
    let formula = if Formula::parse(folder).is_ok() { folder } else { "" };
    let mut cells: Cells = vec![
        ("material".into(), folder.to_owned()),
        ("formula".into(), formula.to_owned()),
        ("page".into(), page.to_owned()),
    ];
    for (name, wavelength) in WAVELENGTHS {
        let n = first(&parts, |part| part.n(wavelength))?;
        let k = first(&parts, |part| part.k(wavelength))?;
        cells.push((format!("n_{name}"), n.map(number_text).unwrap_or_default()));
        cells.push((format!("k_{name}"), k.map(number_text).unwrap_or_default()));
    }
    let ends = parts.iter().filter(|part| !matches!(part, Part::Other)).filter_map(Part::range);
    let range = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let text = |key: &str| root.get(key).and_then(Node::scalar).map(|t| without_tags(&t)).unwrap_or_default();
    let references = root.get("REFERENCES").and_then(Node::scalar).unwrap_or_default();
    let temperature = root.get("CONDITIONS").and_then(|c| c.get("temperature")).and_then(Node::scalar);
    cells.extend([
        ("wavelength_min_um".to_owned(), range.map(|r| number_text(r.0)).unwrap_or_default()),
        ("wavelength_max_um".to_owned(), range.map(|r| number_text(r.1)).unwrap_or_default()),
        ("temperature_K".to_owned(), temperature.unwrap_or_default()),
        ("doi".to_owned(), doi(&references).unwrap_or_default()),
        ("references".to_owned(), text("REFERENCES")),
        ("comments".to_owned(), text("COMMENTS")),
    ]);
    // the other conditions, flattened, under their own names
    let mut conditions = Cells::new();
    if let Some(node @ Node::Map(_)) = root.get("CONDITIONS") {
        conditions = document::cells(node, '.');
    }
    let others = conditions.into_iter().filter(|(key, _)| key != "temperature");
    cells.extend(others.map(|(key, value)| (format!("conditions.{key}"), value)));
    Ok(Page::Data(cells))
}

fn first(parts: &[Part], value: impl Fn(&Part) -> Result<Option<f64>, String>) -> Result<Option<f64>, String> {
    for part in parts {
        if let Some(found) = value(part)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// One of the things that a page lists under DATA.
enum Part {
    /// Wavelength, n and k, in order of wavelength; a page may have only one of the two.
    Table { points: Vec<[f64; 3]>, n: Option<usize>, k: Option<usize> },
    /// A dispersion formula and where it holds.
    Formula { number: u8, coefficients: Vec<f64>, range: (f64, f64) },
    /// Something else: n₂.
    Other,
}

impl Part {
    fn range(&self) -> Option<(f64, f64)> {
        match self {
            Part::Table { points, .. } => Some((points.first()?[0], points.last()?[0])),
            Part::Formula { range, .. } => Some(*range),
            Part::Other => None,
        }
    }

    fn n(&self, wavelength: f64) -> Result<Option<f64>, String> {
        match self {
            Part::Table { points, n: Some(at), .. } => Ok(between(points, *at, wavelength)),
            Part::Formula { number, coefficients, range } if (range.0..=range.1).contains(&wavelength) => {
                match index(*number, coefficients, wavelength) {
                    Some(n) => Ok(Some(n)),
                    None => Err(format!("formula {number} gives no real number at {wavelength} µm")),
                }
            }
            _ => Ok(None),
        }
    }

    fn k(&self, wavelength: f64) -> Result<Option<f64>, String> {
        match self {
            Part::Table { points, k: Some(at), .. } => Ok(between(points, *at, wavelength)),
            _ => Ok(None),
        }
    }
}

fn between(points: &[[f64; 3]], column: usize, wavelength: f64) -> Option<f64> {
    let after = points.partition_point(|p| p[0] < wavelength);
    let right = points.get(after)?;
    if right[0] == wavelength {
        return Some(right[column]);
    }
    let left = points.get(after.checked_sub(1)?)?;
    let share = (wavelength - left[0]) / (right[0] - left[0]);
    Some(left[column] + share * (right[column] - left[column]))
}

fn part(node: &Node) -> Result<Part, String> {
    let kind = node.get("type").and_then(Node::as_text).ok_or("an entry of DATA has no type")?;
    let numbers = |key: &str| -> Result<Vec<f64>, String> {
        let text = node.get(key).and_then(Node::scalar).ok_or_else(|| format!("`{kind}` has no {key}"))?;
        text.split_whitespace()
            .map(|word| finite(word).ok_or_else(|| format!("{key}: `{word}` is no number")))
            .collect()
    };
    match kind.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["formula", number] => {
            let number = number.parse().ok().filter(|n| (1..=9).contains(n));
            let number = number.ok_or_else(|| format!("`{kind}`: the formulas are 1 to 9"))?;
            let range = numbers("wavelength_range").or_else(|e| numbers("range").map_err(|_| e))?;
            let [from, to] = range.as_slice() else { return Err("the range of a formula has two ends".to_owned()) };
            Ok(Part::Formula { number, coefficients: numbers("coefficients")?, range: (*from, *to) })
        }
        ["tabulated", columns @ ("nk" | "n" | "k")] => {
            let text = node.get("data").and_then(Node::as_text).ok_or_else(|| format!("`{kind}` has no data"))?;
            let mut points = Vec::new();
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                let words: Option<Vec<f64>> = line.split_whitespace().map(finite).collect();
                let words = words.filter(|w| w.len() == columns.len() + 1);
                let words = words.ok_or_else(|| format!("`{line}` is not a wavelength with {columns}"))?;
                if points.len() == MAX_POINTS {
                    return Err(format!("it has more than {MAX_POINTS} points"));
                }
                points.push([words[0], words[1], words.get(2).copied().unwrap_or_default()]);
            }
            points.sort_by(|a, b| a[0].total_cmp(&b[0]));
            let (n, k) = match *columns {
                "nk" => (Some(1), Some(2)),
                "n" => (Some(1), None),
                _ => (None, Some(1)),
            };
            Ok(Part::Table { points, n, k })
        }
        _ => Ok(Part::Other),
    }
}

fn finite(word: &str) -> Option<f64> {
    word.parse::<f64>().ok().filter(|x| x.is_finite())
}

/// The first DOI of the references.
fn doi(references: &str) -> Option<String> {
    let at = references.find("doi.org/")? + "doi.org/".len();
    let rest = references.get(at..)?;
    let end = rest.find(['"', '<', '>', '\'']).or_else(|| rest.find(char::is_whitespace)).unwrap_or(rest.len());
    let doi = rest[..end].split_whitespace().next()?;
    (doi.starts_with("10.")).then(|| doi.to_owned())
}

/// The text without HTML tags, on one line.
fn without_tags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        out.push_str(&rest[..open]);
        // a mark of comparison opens no tag
        let tag = rest[open..]
            .find('>')
            .filter(|_| rest[open + 1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/'));
        match tag {
            Some(close) => rest = &rest[open + close + 1..],
            None => {
                out.push('<');
                rest = &rest[open + 1..];
            }
        }
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}
