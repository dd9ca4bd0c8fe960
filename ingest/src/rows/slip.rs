//! Slips of the hand in formulas, which are formulas of other materials.

use std::ops::Range;

use datasets::formula::Formula;

use super::cut;
use crate::check::Place;
use crate::report::{Code, Finding, Severity};

/// Looks at a formula as it was written and read; what may be meant otherwise is flagged.
///
/// # Errors
/// What is certainly not meant so.
pub(super) fn look_at(
    place: Place<'_>,
    column: &str,
    text: &str,
    formula: &Formula,
) -> Result<Option<Finding>, Finding> {
    if text.contains('0') && !is_padded(text, formula) {
        if let Some(meant) = zero_for_oxygen(text, formula) {
            return Err(zero_finding(place, column, text, formula, &meant));
        }
        if has_stray_zero(text, formula) {
            return Err(stray_zero(place, column, text, formula));
        }
    }
    Ok(capitals(place, column, text, formula))
}

/// Where the runs of digits of a text are.
fn numbers(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut end = 0;
    text.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).filter_map(move |run| {
        let start = end;
        end += run.len();
        run[0].is_ascii_digit().then_some(start..end)
    })
}

/// What a formula was probably meant to be in which a zero stands for the letter O: `Fe203`, `Si02`, `BaTi03`, `Al2(S04)3`,
/// `Na20`. Where oxygen is stated, zeros are zeros.
fn zero_for_oxygen(text: &str, formula: &Formula) -> Option<String> {
    // of these `X20` is rather the oxide than twenty atoms
    const MONOVALENT: [&str; 6] = ["H", "Li", "Na", "K", "Rb", "Cs"];
    if formula.elements().any(|element| element.symbol() == "O") {
        return None;
    }
    let alone = formula.nelements() == 1;
    let bytes = text.as_bytes();
    let mut meant = String::with_capacity(text.len());
    let (mut copied, mut found) = (0, false);
    for Range { start, end } in numbers(text) {
        let number = &text[start..end];
        let is_amount = start > 0 && (bytes[start - 1].is_ascii_alphabetic() || bytes[start - 1] == b')');
        let is_whole = is_amount && bytes.get(end).is_none_or(|b| *b != b'.' && *b != b',');
        let oxide = match number.as_bytes() {
            _ if !is_whole => None,
            // `Si02`
            [b'0', b'1'..=b'9', ..] => Some(format!("O{}", &number[1..])),
            // `Fe203`, `Y3Fe5012`
            [b'2'..=b'9', b'0', b'2'..=b'9'] => Some(format!("{}O{}", &number[..1], &number[2..])),
            [b'2'..=b'9', b'0', b'1', _] if !alone => Some(format!("{}O{}", &number[..1], &number[2..])),
            [b'2', b'0'] if alone && end == bytes.len() && MONOVALENT.contains(&&text[..start]) => {
                Some("2O".to_owned())
            }
            _ => None,
        };
        found |= oxide.is_some();
        meant.push_str(&text[copied..start]);
        meant.push_str(oxide.as_deref().unwrap_or(number));
        copied = end;
    }
    meant.push_str(&text[copied..]);
    found.then_some(meant).filter(|meant| Formula::parse(meant).is_ok())
}

/// Whether an amount of a formula is zeros in a way that nobody means: `Te00`, `Sb001`, `0.O1`, or a 0 that leaves one element
/// of several (`GaAs0`, `Fe2O0`). The end of a series, `Al0CoCrFeNi`, is what it is.
fn has_stray_zero(text: &str, formula: &Formula) -> bool {
    let bytes = text.as_bytes();
    let symbols = bytes.iter().filter(|b| b.is_ascii_uppercase()).count();
    let mut zero = false;
    for Range { start, end } in numbers(text) {
        let number = &bytes[start..end];
        let behind_letter = start > 0 && bytes[start - 1].is_ascii_alphabetic();
        let pointed = matches!(bytes.get(end), Some(b'.' | b','));
        let letter_o = pointed
            && bytes.get(end + 1) == Some(&b'O')
            && number == b"0"
            && bytes.get(end + 2).is_some_and(u8::is_ascii_digit);
        if behind_letter && (letter_o || (!pointed && number.starts_with(b"00"))) {
            return true;
        }
        zero |= behind_letter && !pointed && number == b"0";
    }
    // `Cu0Ni100` is the end of a series
    let ends_so = text.ends_with('0') || formula.elements().any(|element| element.symbol() == "O");
    zero && ends_so && symbols > 1 && formula.nelements() == 1
}

/// Whether each amount has as many digits, as programs pad them: `Ti90Al06V04`, `Fe208Cr192Ni600`.
fn is_padded(text: &str, formula: &Formula) -> bool {
    let wide = numbers(text).filter(|number| number.len() >= 2).count();
    formula.nelements() > 1 && wide >= formula.nelements()
}

/// A formula in capitals alone whose letters are symbols of other elements in pairs: `SIC` is C, I and S, and SiC is meant.
fn capitals(place: Place<'_>, column: &str, text: &str, formula: &Formula) -> Option<Finding> {
    // pairs that hardly a compound writes as two symbols side by side; `CO2`, `HF`, `CS2`, `NH4I` and `YB2` are compounds
    const PAIRS: [&str; 6] = ["SI", "NI", "CU", "NB", "HFO", "HFC"];
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        return None;
    }
    let letters: Vec<&str> = text.split(|c: char| !c.is_ascii_uppercase()).filter(|run| !run.is_empty()).collect();
    // `CO3O4`: oxygen twice, side by side
    let twice = letters.windows(2).any(|two| two[0] == "CO" && two[1] == "O");
    if !twice && !letters.iter().any(|run| PAIRS.iter().any(|pair| run.contains(pair))) {
        return None;
    }
    let why = format!("`{}` is written in capitals alone, and read as {}", cut(text), formula.reduced());
    let mend = "write symbols of two letters with a small one (SiC, NiO, CuO); the row is kept as it was read";
    Some(place.finding(Severity::Flagged, Code::BadFormula, (Some(column), Some(&*cut(text))), why, mend))
}

fn stray_zero(place: Place<'_>, column: &str, text: &str, formula: &Formula) -> Finding {
    let shown = cut(text);
    let why = format!("`{shown}` has an amount of zeros: as it stands it is {}", formula.reduced());
    let mend = "write each amount as a number above 0, and leave out elements that are not there";
    place.finding(Severity::Refused, Code::BadFormula, (Some(column), Some(&*shown)), why, mend)
}

fn zero_finding(place: Place<'_>, column: &str, text: &str, formula: &Formula, meant: &str) -> Finding {
    let why = format!(
        "`{}` has a zero where the letter O or a point may be meant: as it stands it is {}, without oxygen",
        cut(text),
        formula.reduced()
    );
    let mend = format!(
        "write {meant} where it is the oxide, 0.25 for 025 where a point was lost, and else the amount without a leading zero: {}",
        formula.reduced()
    );
    place.finding(Severity::Refused, Code::BadFormula, (Some(column), Some(&*cut(text))), why, &mend)
}
