//! What does a column header say? The property, the unit, and hints of how the values came to be.

use datasets::property::{Property, dictionary};
use datasets::record::Evidence;
use datasets::unit::Unit;

use crate::mapping::BasisName;
use crate::value::{ROOM_TEMPERATURE_K, is_room_temperature};

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

/// Bytes of a header beyond which no unit is looked for: each break in it is a try.
const LONGEST_HEADER: usize = 300;

/// Brackets around units, temperatures and remarks.
const BRACKETS: [(char, char); 2] = [('(', ')'), ('[', ']')];

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
        let property = dictionary().by_alias(&without).or_else(|| dictionary().by_alias(&bare));
        if let Some(property) = property {
            found.property = Some(property);
            // another line may state the rest
            let (whole, elsewhere) = without_temperature(header);
            found.temperature_k = temperature.or(elsewhere);
            found.unit = unit_in(&without, property).or_else(|| unit_in(&whole, property));
            return found;
        }
    }
    found
}

/// The header without the temperature that it states, and the temperature in K: `kappa_300K`, `Rm (20 °C)`,
/// `YS (MPa, 650 °C)`, `E [GPa] at RT`.
fn without_temperature(header: &str) -> (String, Option<f64>) {
    let parts: Vec<&str> = header.split('_').collect();
    let kelvin = |part: &str| part.strip_suffix('K').and_then(|n| n.parse::<f64>().ok()).filter(is_of_a_test);
    if let Some(at) = parts.iter().position(|part| kelvin(part).is_some()) {
        let rest: Vec<&str> = parts.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, p)| *p).collect();
        return (rest.join("_"), kelvin(parts[at]));
    }
    if header.len() > LONGEST_HEADER {
        return (header.to_owned(), None);
    }
    // what stands behind a comma in the last brackets, the brackets themselves, and what stands behind `at`
    // of the same length, so that places in it are places in the header
    let lower = header.to_ascii_lowercase();
    let ends = header.trim_end();
    let inside = BRACKETS.into_iter().find_map(|(open, close)| {
        let start = ends.strip_suffix(close)?.rfind(open)?;
        Some((start, ends.len() - 1))
    });
    if let Some((start, end)) = inside {
        let inner = &ends[start + 1..end];
        if let Some(found) = temperature(inner) {
            return (ends[..start].trim_end().to_owned(), Some(found));
        }
        // `Rm (300 °C) [MPa]`
        let before = ends[..start].trim_end();
        let two = BRACKETS.into_iter().find_map(|(open, close)| before.strip_suffix(close)?.rsplit_once(open));
        if let Some((bare, Some(found))) = two.map(|(bare, inner)| (bare, temperature(inner))) {
            return (format!("{} {}", bare.trim_end(), &ends[start..]), Some(found));
        }
        if let Some((before, behind)) = inner.rsplit_once([',', ';'])
            && let Some(found) = temperature(behind)
        {
            return (format!("{}{}{}", &ends[..=start], before.trim_end(), &ends[end..]), Some(found));
        }
    }
    // before a unit in brackets too: `YS at 650 °C [MPa]`
    for end in [Some(header.len()), inside.map(|(start, _)| start)].into_iter().flatten() {
        if let Some((at, mark)) =
            [" at ", " @ ", ", "].iter().filter_map(|mark| Some((lower[..end].rfind(mark)?, *mark))).max()
            && let Some(found) = temperature(&header[at + mark.len()..end])
        {
            let rest = format!("{} {}", header[..at].trim_end(), &header[end..]);
            return (rest.trim_end().to_owned(), Some(found));
        }
    }
    (header.to_owned(), None)
}

/// Temperatures of tests, K.
fn is_of_a_test(kelvin: &f64) -> bool {
    (1.0..5000.0).contains(kelvin)
}

/// A temperature in K, as a header states it: `20 °C`, `at 300 K`, `RT`.
fn temperature(text: &str) -> Option<f64> {
    let text = text.trim();
    let text = ["at ", "@", "T = ", "T="].iter().find_map(|mark| text.strip_prefix(mark)).unwrap_or(text).trim();
    if is_room_temperature(text) {
        return Some(ROOM_TEMPERATURE_K);
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || ".-−".contains(c)))?;
    let number = text[..end].replace('−', "-").parse::<f64>().ok()?;
    let kelvin = match text[end..].trim() {
        "K" => number,
        // `at 1C` is the rate of a battery
        "C" if number.abs() < 15.0 => return None,
        "C" | "°C" | "℃" | "ºC" | "degC" | "deg C" | "Celsius" => number + 273.15,
        "°F" | "degF" => (number + 459.67) / 1.8,
        _ => return None,
    };
    Some(kelvin).filter(is_of_a_test)
}

/// The unit at the end of a header, where it fits the property.
pub fn unit_in(header: &str, property: &Property) -> Option<String> {
    let wanted = Unit::parse(&property.unit).ok()?;
    fitting_unit(header, &wanted)
}

/// The unit at the end of a header that converts to the wanted one: in brackets, behind a comma, `in`, or an underline.
pub fn fitting_unit(header: &str, wanted: &Unit) -> Option<String> {
    let header = header.trim_end_matches(['_', ' ', '*']);
    if header.len() > LONGEST_HEADER {
        return None;
    }
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
        if rest.trim_start().starts_with('/') {
            return None; // the next break is the stroke itself
        }
        let rest = rest.strip_prefix("in ").unwrap_or(rest);
        let per = rest.replace("_per_", "/").replace(" per ", "/").replace("per_", "1/").replace('_', " ");
        fits(rest).or_else(|| fits(&per)).or_else(|| fits(&rest.replacen('_', "/", 1).replace('_', " ")))
    })
}

/// What a header says of an uncertainty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// The header of what it is the uncertainty of, with its unit where it stands before the word; empty where the
    /// header does not say it, or where the numbers are no single standard deviation (`2σ`).
    pub of: String,
    /// Whether the header can mean nothing else. `s`, `σ` and `Δ` are also symbols.
    pub sure: bool,
}

/// Words for an uncertainty, in lower case.
const DEVIATIONS: [&str; 30] = [
    "std",
    "std.",
    "sd",
    "s.d.",
    "stdev",
    "st.dev.",
    "stddev",
    "std dev",
    "std_dev",
    "std.dev.",
    "std. dev.",
    "standard deviation",
    "standard_deviation",
    "standard error",
    "standardabweichung",
    "stabw",
    "err",
    "err.",
    "error",
    "errors",
    "fehler",
    "messfehler",
    "unc",
    "unc.",
    "uncertainty",
    "unsicherheit",
    "messunsicherheit",
    "±",
    "+/-",
    "1σ",
];
/// Words that may be an uncertainty.
const PERHAPS: [&str; 3] = ["s", "σ", "sigma"];
/// What stands between a word and the rest of a header.
const BETWEEN: [char; 9] = ['_', ' ', '/', '-', '.', ',', ':', ';', '|'];

/// Of what a column is the uncertainty, if its header says so (`density_std`, `u(density)`, `Seebeck / σ (µV/K)`,
/// `uncertainty of density`).
pub fn uncertainty_of(header: &str) -> Option<Deviation> {
    let text = header.trim();
    let found = |of: &str, sure: bool| {
        let of = of.trim_matches(|c| BETWEEN.contains(&c)).to_owned();
        Some(Deviation { of, sure })
    };
    // `u(density) [g/cm3]`; a letter with a blank before its brackets is a symbol with a unit
    if let Some((word, rest)) = text.split_once('(')
        && let Some((inner, behind)) = rest.split_once(')')
        && !inner.is_empty()
    {
        let lower = word.to_lowercase();
        let plain_word = DEVIATIONS.contains(&lower.trim_end()) && Unit::parse(inner).is_err();
        if plain_word || lower == "u" {
            return found(&format!("{inner}{behind}"), true);
        }
        if PERHAPS.contains(&lower.as_str()) || lower == "δ" {
            return found(&format!("{inner}{behind}"), false);
        }
    }
    let (core, inner) = without_bracket(text);
    let is_word = |part: &str| DEVIATIONS.contains(&part.trim().to_lowercase().as_str());
    let is_twice = |part: &str| part.contains("2σ") || part.contains("3σ");
    if text.split(['(', '[', '/', ' ', '_', ',']).any(is_twice) {
        return found("", true);
    }
    if inner.is_some_and(|inner| inner.split([',', ';']).any(is_word)) {
        return found(core, true);
    }
    // one of several header lines
    let lines: Vec<&str> = core.split(" / ").map(str::trim).collect();
    if let (true, Some(at)) = (lines.len() > 1, lines.iter().position(|line| is_perhaps(without_bracket(line).0))) {
        let others: Vec<&str> = lines.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, line)| *line).collect();
        return found(&others.join(" / "), is_word(without_bracket(lines[at]).0));
    }
    if is_word(core) {
        return found("", true);
    }
    for (word, sure) in DEVIATIONS.iter().map(|word| (*word, true)).chain([("σ", false), ("sigma", false)]) {
        let count = word.chars().count();
        let is_mark = !word.contains(char::is_alphabetic);
        let ends = core.char_indices().rev().nth(count - 1).filter(|(at, _)| core[*at..].to_lowercase() == word);
        if let Some((at, _)) = ends
            && (is_mark || core[..at].ends_with(BETWEEN))
        {
            return found(&core[..at], sure || word == "sigma" && core[..at].ends_with('_'));
        }
        let begins = core.char_indices().nth(count).filter(|(at, _)| core[..*at].to_lowercase() == word);
        if let Some((at, _)) = begins
            && (is_mark || core[at..].starts_with(BETWEEN))
        {
            let rest = core[at..].trim_matches(|c| BETWEEN.contains(&c));
            let rest =
                ["of ", "in ", "der ", "des ", "von "].iter().find_map(|of| rest.strip_prefix(of)).unwrap_or(rest);
            return found(rest, sure);
        }
    }
    let difference = ["Δ", "delta "].iter().find_map(|mark| core.strip_prefix(mark));
    difference.and_then(|of| found(of, false)).filter(|deviation| !deviation.of.is_empty())
}

fn is_perhaps(part: &str) -> bool {
    let lower = part.trim().to_lowercase();
    DEVIATIONS.contains(&lower.as_str()) || lower == "sigma" || PERHAPS.contains(&part.trim())
}

/// A header without the brackets at its end, and what is in them.
pub fn without_bracket(header: &str) -> (&str, Option<&str>) {
    let text = header.trim();
    for (open, close) in BRACKETS {
        if let Some(inside) = text.strip_suffix(close)
            && let Some((before, inner)) = inside.split_once(open)
            && !before.trim().is_empty()
        {
            return (before.trim(), Some(inner.trim()));
        }
    }
    (text, None)
}

/// The name in a header, without the brackets at its end and without units in later header lines.
pub fn bare(header: &str) -> String {
    let (core, _) = without_bracket(header);
    let mut lines = core.split(" / ").map(str::trim);
    let first = lines.next().unwrap_or_default();
    let others = lines.filter(|line| Unit::parse(line).is_err());
    plain(&std::iter::once(first).chain(others).collect::<Vec<_>>().join(" "))
}

/// The text where a header states a unit: in its brackets, or as its last line.
pub fn stated_unit(header: &str) -> Option<&str> {
    let line = header.rsplit_once(" / ").map(|(_, line)| line.trim());
    without_bracket(header).1.or(line).filter(|unit| !unit.is_empty())
}

/// Scales of hardness other than the one that a column is taken for, as they stand in brackets.
const SCALES: [&str; 12] = ["HB", "HBS", "HBW", "HRA", "HRB", "HRC", "HRF", "HK", "HV", "HL", "Shore", "IRHD"];

/// Whether a header whose unit is not understood has a unit or a scale in its brackets all the same: `(kN)`, `(HRB)`.
pub fn is_of_another_scale(header: &str) -> bool {
    let Some(said) = without_bracket(header).1 else { return false };
    let first = said.split([',', ';']).next().unwrap_or_default().trim();
    let is_scale = first.split(' ').next().is_some_and(|word| SCALES.contains(&word));
    is_scale || first.contains('/') || Unit::parse(first).is_ok()
}

/// What the header says of the numbers of a composition: `Composition (wt%)`.
pub fn basis(header: &str) -> Option<BasisName> {
    let text: String =
        header.chars().filter(|c| c.is_alphanumeric() || *c == '%').flat_map(char::to_lowercase).collect();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["wt%", "weight%", "mass%", "weightpercent", "masspercent", "gew%", "masse%", "ma%"]) {
        Some(BasisName::WeightPercent)
    } else if has(&["at%", "atomic%", "atom%", "mol%", "mole%", "atomicpercent"]) {
        Some(BasisName::AtomicPercent)
    } else if has(&["massfraction", "weightfraction", "wtfraction"]) {
        Some(BasisName::MassFraction)
    } else if has(&["atomicfraction", "molefraction", "molarfraction"]) {
        Some(BasisName::AtomicFraction)
    } else {
        None
    }
}

/// The symbol at the beginning of the header of a column of shares, and what is said of the shares: `C`, `C [wt%]`,
/// `Fe wt.%`, `Cr (%)`. Whether it is a symbol is not asked.
pub fn share_of(header: &str) -> Option<(&str, Option<BasisName>)> {
    let header = header.trim();
    let end = header.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(header.len());
    let (symbol, rest) = header.split_at(end);
    let said = basis(rest);
    let percent = rest.chars().all(|c| "[]()% /_".contains(c));
    (!symbol.is_empty() && (said.is_some() || percent || ppm(header).is_some())).then_some((symbol, said))
}

/// Of what the numbers of a share are parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ppm {
    /// Of what the other shares are of.
    Same,
    /// Of the mass.
    Mass,
    /// Of the atoms.
    Atoms,
}

/// Whether the header of a share says that its numbers are parts per million: `N [ppm]`, `O (wt.ppm)`, `Nb+Ta ppm`.
pub fn ppm(header: &str) -> Option<Ppm> {
    let unit = without_bracket(header).1.or_else(|| header.trim().rsplit_once([' ', '_']).map(|(_, last)| last))?;
    let plain: String = unit.chars().filter(|c| c.is_ascii_alphabetic()).collect();
    match plain.to_ascii_lowercase().as_str() {
        "ppm" => Some(Ppm::Same),
        "wtppm" | "ppmw" | "wppm" | "massppm" => Some(Ppm::Mass),
        "atppm" | "ppma" | "appm" => Some(Ppm::Atoms),
        _ => None,
    }
}

/// Header for comparison with words: lower case, letters and digits only.
pub fn plain(header: &str) -> String {
    header.chars().filter(|c| c.is_alphanumeric() || *c == '#').flat_map(char::to_lowercase).collect()
}
