//! What can be wrong with a formula, and its mend.

use super::Basis;
use thiserror::Error;

/// A text that is not a formula: what is wrong with it, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("formula {text:?}{}: {problem}", at.map(|at| format!(", character {at}")).unwrap_or_default())]
pub struct FormulaError {
    /// The text as given, cut after 80 characters.
    pub text: String,
    /// Position of the character at fault, counted from 1 in characters; none where the text as a whole is at fault.
    pub at: Option<usize>,
    /// What is wrong.
    pub problem: FormulaProblem,
}

impl FormulaError {
    pub(super) fn new(text: &str, at: Option<usize>, problem: FormulaProblem) -> FormulaError {
        let mut shown: String = text.chars().take(80).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        FormulaError { text: shown, at, problem }
    }
}

/// What is wrong with a formula. Each message ends with the mend.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum FormulaProblem {
    /// Nothing but spaces.
    #[error("it is empty; write a composition such as Fe2O3")]
    Empty,
    /// Every amount is zero.
    #[error("every amount is zero; at least one element must have an amount above zero")]
    NothingLeft,
    /// Longer than [`super::MAX_CHARACTERS`].
    #[error("it has more than 1000 characters; is this a formula?")]
    TooLong,
    /// More than [`super::MAX_DEPTH`] brackets inside each other.
    #[error("more than 32 brackets are open; multiply the inner ones out")]
    TooDeep,
    /// Letters that are no element symbol.
    #[error("'{symbol}' is not an element symbol; {mend}")]
    UnknownElement {
        /// The letters.
        symbol: String,
        /// What to write instead.
        mend: &'static str,
    },
    /// `D` or `T`.
    #[error(
        "'{symbol}' is an isotope of hydrogen, and compositions here do not tell isotopes apart; write H (H2O for D2O)"
    )]
    Isotope {
        /// `D` or `T`.
        symbol: char,
    },
    /// A date that a spreadsheet made out of a formula.
    #[error("a spreadsheet turned a formula into a date; {mend}, with the column formatted as text")]
    SpreadsheetDate {
        /// What was probably meant.
        mend: String,
    },
    /// A bracket that is never closed.
    #[error("the bracket '{open}' that opens here is never closed; add its '{close}'")]
    Unclosed {
        /// The opening bracket.
        open: char,
        /// The missing closing bracket.
        close: char,
    },
    /// A closing bracket that no bracket opened.
    #[error("'{close}' closes a bracket that was never opened; add its opening bracket or remove it")]
    Unopened {
        /// The closing bracket.
        close: char,
    },
    /// A closing bracket of another kind than the one that is open.
    #[error("'{close}' cannot close the '{open}' that was opened at character {opened_at}; use brackets of one kind")]
    Mismatched {
        /// The bracket that is open.
        open: char,
        /// Where it was opened, counted from 1.
        opened_at: usize,
        /// The bracket that was found.
        close: char,
    },
    /// Nothing inside brackets or beside a dot.
    #[error("there is no element here; write one or remove the empty bracket or dot")]
    EmptyGroup,
    /// A number that belongs to no element.
    #[error("this number belongs to no element; write each amount directly after its element (Fe70Ni30)")]
    NumberWithoutElement,
    /// A number between a space and a letter.
    #[error(
        "this number could belong to what is before or behind it; write CuO2Ni without the space or CuO·2Ni with a dot"
    )]
    AmbiguousNumber,
    /// An amount above [`super::MAX_AMOUNT`].
    #[error("an amount is above 1e9; write the composition in smaller numbers")]
    AmountTooLarge,
    /// Amounts whose digits do not fit exact arithmetic.
    #[error("the amounts have too many digits to be held exactly; round them to about ten digits")]
    TooManyDigits,
    /// A charge that no ion has.
    #[error("this is not a charge; write it at the end as 2+ or ^2-, and for an alloy such as Ti-6Al-4V say its basis")]
    Charge,
    /// A character that has no place in a formula.
    #[error("'{found}' has no meaning here; {mend}")]
    Unexpected {
        /// The character.
        found: char,
        /// What to write instead.
        mend: &'static str,
    },
    /// A fraction or percentage that is negative, infinite or not a number.
    #[error("the amount of {element} is {amount}; amounts are finite and not negative")]
    Amount {
        /// Symbol of the element.
        element: &'static str,
        /// The amount.
        amount: f64,
    },
    /// Fractions that do not sum to about one, or percentages that do not sum to about a hundred.
    #[error("the amounts sum to {sum}, but in {basis} they sum to {}; check for a missing element or another basis", basis.whole())]
    Sum {
        /// The sum of the amounts.
        sum: f64,
        /// The basis.
        basis: Basis,
    },
    /// No part, or more than one part, stands without an amount, and the amounts do not make up the whole.
    #[error("{0} parts have no amount; exactly one element, the balance, may stand without (Ti-6Al-4V)")]
    Balance(usize),
    /// The text names another basis than the one asked for.
    #[error("the text says {said}, but it was to be read in {basis}; state one basis")]
    Basis {
        /// What the text says.
        said: &'static str,
        /// The basis asked for.
        basis: Basis,
    },
    /// A part of a mixture whose own composition is not certain.
    #[error("an amount of '{part}' is ambiguous; write the amount of each element")]
    Part {
        /// The part.
        part: String,
    },
}
