//! What is known of an element?
//!
//! Symbol, name, atomic mass and electronegativity of the 118 elements, from `elements.csv` beside this crate's manifest
//! (mendeleev 1.3.0, MIT).

use std::fmt;
use std::sync::LazyLock;

const COUNT: usize = 118;
const TEXT: &str = include_str!("../elements.csv");

/// A chemical element, known by its atomic number (1 to 118). Ordered by atomic number. Isotopes are not told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element(u8);

impl Element {
    /// Hydrogen.
    pub const HYDROGEN: Element = Element(1);
    /// Carbon.
    pub const CARBON: Element = Element(6);
    /// Nitrogen.
    pub const NITROGEN: Element = Element(7);
    /// Oxygen.
    pub const OXYGEN: Element = Element(8);

    /// The element with this symbol, spelled as in the periodic table (`Fe`, not `FE` or `fe`). `D` and `T` are not elements.
    #[inline]
    pub fn from_symbol(symbol: &str) -> Option<Element> {
        match *symbol.as_bytes() {
            [first] => Element::from_letters(first, None),
            [first, second] => Element::from_letters(first, Some(second)),
            _ => None,
        }
    }

    /// The element with this atomic number.
    pub fn from_number(number: u8) -> Option<Element> {
        (1..=COUNT as u8).contains(&number).then_some(Element(number))
    }

    /// Every element, by atomic number.
    pub fn all() -> impl ExactSizeIterator<Item = Element> + DoubleEndedIterator + Clone {
        (0..COUNT).map(|below| Element(below as u8 + 1))
    }

    /// Atomic number, 1 to 118.
    #[inline]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Symbol, such as `Fe`.
    #[inline]
    pub fn symbol(self) -> &'static str {
        self.row().symbol
    }

    /// English name, such as `Iron`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Atomic mass in u: the standard atomic weight, or the mass of the longest-lived isotope where there is none (mendeleev 1.3.0,
    /// `atomic_weight`).
    #[inline]
    pub fn atomic_mass(self) -> f64 {
        self.row().atomic_mass_u
    }

    /// Electronegativity on Pauling's scale, none where it is not tabulated (mendeleev 1.3.0, `en_pauling`).
    pub fn electronegativity(self) -> Option<f64> {
        self.row().electronegativity
    }

    /// The element whose symbol has this first letter and, where there is one, this second letter.
    #[inline]
    pub(crate) fn from_letters(first: u8, second: Option<u8>) -> Option<Element> {
        match TABLE.by_letters.get(letters_index(first, second)?) {
            Some(&number) if number > 0 => Some(Element(number)),
            _ => None,
        }
    }

    /// Place of the symbol in the alphabetical order of all symbols, from 0.
    #[inline]
    pub(crate) fn alphabetical_rank(self) -> u8 {
        self.row().alphabetical_rank
    }

    #[inline]
    fn row(self) -> &'static Row {
        &TABLE.rows[usize::from(self.0) - 1]
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.symbol())
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

#[derive(Clone, Copy)]
struct Row {
    symbol: &'static str,
    name: &'static str,
    atomic_mass_u: f64,
    electronegativity: Option<f64>,
    alphabetical_rank: u8,
}

struct Table {
    rows: [Row; COUNT],
    /// Atomic number by [`letters_index`], 0 where there is no such symbol.
    by_letters: [u8; 26 * 27],
}

#[allow(clippy::expect_used, reason = "the table is compiled in, and a unit test reads every row of it")]
static TABLE: LazyLock<Table> = LazyLock::new(|| read_table(TEXT).expect("elements.csv holds 118 well-formed rows"));

#[inline]
fn letters_index(first: u8, second: Option<u8>) -> Option<usize> {
    let row = first.wrapping_sub(b'A');
    let column = second.map_or(0, |letter| letter.wrapping_sub(b'a').saturating_add(1));
    (row < 26 && column < 27).then_some(usize::from(row) * 27 + usize::from(column))
}

fn read_table(text: &'static str) -> Option<Table> {
    let blank = Row { symbol: "", name: "", atomic_mass_u: 0.0, electronegativity: None, alphabetical_rank: 0 };
    let mut table = Table { rows: [blank; COUNT], by_letters: [0; 26 * 27] };
    let mut lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    for (row, number) in table.rows.iter_mut().zip(1u8..) {
        let mut cells = lines.next()?.split(',');
        if cells.next()?.parse() != Ok(number) {
            return None;
        }
        row.symbol = cells.next()?;
        row.name = cells.next()?;
        row.atomic_mass_u = cells.next()?.parse().ok()?;
        row.electronegativity = match cells.next()? {
            "" => None,
            cell => Some(cell.parse().ok()?),
        };
        let index = letters_index(*row.symbol.as_bytes().first()?, row.symbol.as_bytes().get(1).copied())?;
        table.by_letters[index] = number;
    }
    // `letters_index` grows in alphabetical order
    let alphabetical: Vec<u8> = table.by_letters.iter().copied().filter(|&number| number > 0).collect();
    for (&number, rank) in alphabetical.iter().zip(0u8..) {
        table.rows[usize::from(number) - 1].alphabetical_rank = rank;
    }
    (alphabetical.len() == COUNT && lines.next().is_none()).then_some(table)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_found_by_its_symbol_and_number() {
        assert_eq!(Element::all().len(), 118);
        for element in Element::all() {
            assert_eq!(Element::from_symbol(element.symbol()), Some(element));
            assert_eq!(Element::from_number(element.number()), Some(element));
            assert!(element.atomic_mass() > 1.0 && !element.name().is_empty());
        }
        for wrong in ["", "D", "T", "FE", "fe", "Xx", "Fee", "é", "F ", "{a", "A`", "A{", "A\u{0}"] {
            assert_eq!(Element::from_symbol(wrong), None, "{wrong:?}");
        }
        assert_eq!(Element::from_number(0), None);
        assert_eq!(Element::from_number(119), None);
    }

    #[test]
    fn the_alphabetical_rank_orders_symbols() {
        let mut elements: Vec<Element> = Element::all().collect();
        elements.sort_by_key(|element| element.alphabetical_rank());
        assert!(elements.windows(2).all(|pair| pair[0].symbol() < pair[1].symbol()));
    }

    #[test]
    fn values_are_those_of_the_table() {
        let iron = Element::from_symbol("Fe").unwrap();
        assert_eq!((iron.number(), iron.name()), (26, "Iron"));
        assert_eq!(iron.atomic_mass(), 55.845);
        assert_eq!(iron.electronegativity(), Some(1.83));
        assert_eq!(Element::from_symbol("Eu").unwrap().electronegativity(), None);
        assert_eq!(format!("{iron} {iron:?} {iron:>3}"), "Fe Fe  Fe");
        assert_eq!(Element::HYDROGEN.symbol(), "H");
        assert_eq!(Element::CARBON.symbol(), "C");
        assert_eq!(Element::NITROGEN.symbol(), "N");
        assert_eq!(Element::OXYGEN.symbol(), "O");
    }
}
