//! What does a column header say? The property, the unit, and hints of how the values came to be.

use datasets::property::{Property, dictionary};
use datasets::record::Evidence;
use datasets::unit::Unit;

/// A header, understood as far as it can be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    /// The property of the dictionary.
    pub property: Option<&'static Property>,
    /// The unit as the header writes it, where it fits the property.
    pub unit: Option<String>,
    /// Whether the header says that the values are measured or computed.
    pub evidence: Option<Evidence>,
    /// The method that the header names, as the dictionary writes it.
    pub method: Option<&'static str>,
    /// The temperature in K that the header states (`thermal_conductivity_300K`).
    pub temperature_k: Option<f64>,
}

/// Words of a header, the method that they mean, and the evidence of it.
const HINTS: [(&str, Option<&str>, Evidence); 16] = [
    ("exp", None, Evidence::Measured),
    ("expt", None, Evidence::Measured),
    ("experimental", None, Evidence::Measured),
    ("measured", None, Evidence::Measured),
    ("calc", None, Evidence::Computed),
    ("calculated", None, Evidence::Computed),
    ("computed", None, Evidence::Computed),
    ("mbj", Some("DFT-mBJ"), Evidence::Computed),
    ("optb88vdw", Some("DFT-optB88vdW"), Evidence::Computed),
    ("pbe", Some("DFT-PBE"), Evidence::Computed),
    ("hse", Some("DFT-HSE06"), Evidence::Computed),
    ("dfpt", Some("DFPT"), Evidence::Computed),
    ("dft", Some("DFT"), Evidence::Computed),
    ("md", Some("MD"), Evidence::Computed),
    ("ael", Some("AFLOW AEL"), Evidence::Computed),
    ("agl", Some("AFLOW AGL"), Evidence::Computed),
];

/// Understands a header; of two header lines joined by ` / ` either may name the property, and of a dotted path
/// (`mechanical.density_value`) the last part.
pub fn read(header: &str) -> Header {
    let mut found = Header::default();
    let lower = header.to_lowercase();
    let words = || lower.split(|c: char| !c.is_alphanumeric());
    for (word, method, evidence) in HINTS {
        if words().any(|w| w == word) && found.evidence.is_none() {
            (found.evidence, found.method) = (Some(evidence), method);
        }
    }
    let mut ways = vec![header.to_owned()];
    let lines: Vec<&str> = header.split(" / ").map(str::trim).collect();
    if lines.len() == 2 {
        ways.extend(lines.iter().map(|line| (*line).to_owned()));
    }
    if let Some((_, last)) = header.rsplit_once('.').filter(|(_, last)| !last.is_empty() && !last.contains(' ')) {
        ways.push(last.to_owned());
    }
    for way in ways {
        let bare = way.strip_suffix("_value").unwrap_or(&way).to_owned();
        let (without, temperature) = without_temperature(&bare);
        // words in camel case are one for the dictionary, which folds case and blanks
        let property = dictionary().by_alias(&bare).map(|p| (p, None));
        let property = property.or_else(|| Some((dictionary().by_alias(&without)?, temperature)));
        if let Some((property, _)) = property {
            found.property = Some(property);
            found.temperature_k = temperature;
            found.unit = unit_in(&without, property);
            return found;
        }
    }
    found
}

/// The header without a part such as `300K`, and the temperature.
fn without_temperature(header: &str) -> (String, Option<f64>) {
    let parts: Vec<&str> = header.split('_').collect();
    let kelvin =
        |part: &str| part.strip_suffix('K').and_then(|n| n.parse::<f64>().ok()).filter(|t| (1.0..5000.0).contains(t));
    match parts.iter().position(|part| kelvin(part).is_some()) {
        Some(at) => {
            let rest: Vec<&str> = parts.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, p)| *p).collect();
            (rest.join("_"), kelvin(parts[at]))
        }
        None => (header.to_owned(), None),
    }
}

/// The unit at the end of a header, where it fits the property.
pub fn unit_in(header: &str, property: &Property) -> Option<String> {
    let wanted = Unit::parse(&property.unit).ok()?;
    fitting_unit(header, &wanted)
}

/// The unit at the end of a header that converts to the wanted one: in brackets, behind a comma, `in`, or an underline.
pub fn fitting_unit(header: &str, wanted: &Unit) -> Option<String> {
    let header = header.trim_end_matches(['_', ' ', '*']);
    let fits = |unit: &str| {
        let unit = unit.trim();
        let good = Unit::parse_for(unit, wanted).is_ok_and(|given| given.conversion_to(wanted).is_ok());
        (good && !unit.is_empty()).then(|| unit.to_owned())
    };
    for (open, close) in [('[', ']'), ('(', ')')] {
        if header.ends_with(close) {
            let starts = header.char_indices().filter(|(_, c)| *c == open);
            if let Some(unit) = starts.filter_map(|(at, _)| fits(&header[at + 1..header.len() - 1])).next() {
                return Some(unit);
            }
        }
    }
    let breaks = header.char_indices().filter(|(_, c)| "_ ,/".contains(*c)).map(|(at, _)| at);
    breaks.into_iter().find_map(|at| {
        let rest = &header[at + 1..];
        let rest = rest.strip_prefix("in ").unwrap_or(rest);
        let per = rest.replace("_per_", "/").replace(" per ", "/").replace("per_", "1/").replace('_', " ");
        fits(rest).or_else(|| fits(&per)).or_else(|| fits(&rest.replacen('_', "/", 1).replace('_', " ")))
    })
}

/// Of what a column is the uncertainty, if its header says so (`density_std`, `uncertainty of density`).
pub fn uncertainty_of(header: &str) -> Option<&str> {
    const ENDS: [&str; 13] = [
        "_std",
        "_sd",
        "_err",
        "_error",
        "_unc",
        "_uncertainty",
        "_stdev",
        "_sigma",
        " error",
        " std",
        " sd",
        " uncertainty",
        " ±",
    ];
    const STARTS: [&str; 7] =
        ["uncertainty of ", "error of ", "standard deviation of ", "± ", "sd of ", "std of ", "std "];
    let strip = |text: &str, from_end: bool| -> Option<usize> {
        let part =
            if from_end { header.get(header.len().checked_sub(text.len())?..)? } else { header.get(..text.len())? };
        part.eq_ignore_ascii_case(text).then_some(text.len())
    };
    let end = ENDS.iter().find_map(|e| Some(&header[..header.len() - strip(e, true)?]));
    end.or_else(|| STARTS.iter().find_map(|s| Some(&header[strip(s, false)?..])))
        .map(str::trim)
        .filter(|t| !t.is_empty())
}

/// Header for comparison with words: lower case, letters and digits only.
pub fn plain(header: &str) -> String {
    header.chars().filter(|c| c.is_alphanumeric() || *c == '#').flat_map(char::to_lowercase).collect()
}
