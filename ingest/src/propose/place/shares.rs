//! Which columns are the shares of elements, and of what?

use datasets::element::Element;

use super::{MUST_BALANCE, NUMBERS, One};
use crate::header::{self, plain};
use crate::mapping::{BasisName, Fractions, MappingFile};
use crate::propose::Role;
use crate::value::{NumberFormat, is_balance, read as read_cell};

const SHARE_ASTRAY: &str = "what its header says is the share of an element, beside other shares, and its cells are no numbers as the file is \
     read: check decimal and thousands in [read], or the cells, and name it in columns of [material.fractions]; or list it under ignore in [read]";

impl One<'_> {
    /// Columns of numbers that are headed by the symbols of elements, with what their headers say of the shares.
    fn shares(&self) -> Vec<(usize, Element, Option<BasisName>)> {
        let share = |at: usize| {
            let (symbol, basis) = header::share_of(&self.table.headers[at])?;
            let element = Element::from_symbol(symbol)?;
            let good = |cell: &str| is_balance(cell) || read_cell(cell, self.numbers).is_ok();
            let is_free = !self.roles.contains_key(&at) && header::ppm(&self.table.headers[at]).is_none();
            (is_free && self.share(at, good) > 0.8).then_some((at, element, basis))
        };
        (0..self.table.headers.len()).filter_map(share).collect()
    }

    /// Shares of elements that make up a whole, or leave a stated rest. Says whether there are any.
    pub(super) fn place_shares(&mut self, file: &mut MappingFile) -> bool {
        let shares = self.shares();
        let mut stated: Vec<BasisName> = shares.iter().filter_map(|(.., basis)| *basis).collect();
        stated.dedup();
        let rest = |(at, ..): &&(usize, Element, Option<BasisName>)| self.filled(*at).any(is_balance);
        let rests: Vec<_> = shares.iter().filter(rest).collect();
        if shares.len() < 2 || stated.len() > 1 {
            return false;
        }
        let columns: Vec<usize> = shares.iter().map(|(at, ..)| *at).collect();
        let whole = self.table.whole(&columns, self.numbers);
        // each row says it where there are several
        let balance = rests.first().filter(|_| rests.len() == 1).map(|(_, element, _)| *element);
        let mut basis = stated.first().copied();
        if whole.is_none() && rests.is_empty() {
            return false;
        }
        let mut why = "the header is an element's symbol".to_owned();
        let fraction = match basis {
            Some(BasisName::WeightPercent) => Some(BasisName::MassFraction),
            Some(BasisName::AtomicPercent) => Some(BasisName::AtomicFraction),
            _ => None,
        };
        if let (true, true, None) = (fraction.is_some(), whole == Some(1.0), balance) {
            basis = fraction;
            why.push_str("; it says percent, and the shares sum to 1, as of cells that a spreadsheet shows in percent: fractions are supposed, check it");
        }
        for (n, (at, element, _)) in shares.iter().enumerate() {
            match balance {
                Some(rest) if rest == *element => {
                    self.set(*at, Role::Fraction, &format!("the rest: balance = \"{}\"", rest.symbol()));
                }
                _ if n == 0 => self.set(*at, Role::Fraction, &why),
                _ => self.set(*at, Role::Fraction, "the header is an element's symbol"),
            }
        }
        file.material.fractions = Some(Fractions {
            columns: columns.iter().map(|at| self.table.headers[*at].clone()).collect(),
            basis,
            balance: balance.map(|element| element.symbol().to_owned()),
            ..Fractions::default()
        });
        self.ask_for_other_shares(file);
        true
    }

    /// Columns beside shares of elements that are headed by an element, too: those in ppm join them, whatever property they
    /// are as well, and those without numbers are asked about.
    fn ask_for_other_shares(&mut self, file: &mut MappingFile) {
        let headers = &self.table.headers;
        for (at, header) in headers.iter().enumerate() {
            let is_free = !self.roles.contains_key(&at) && self.filled(at).next().is_some();
            let Some((symbol, basis)) = header::share_of(header).filter(|_| is_free) else { continue };
            // `No` is a number, and `P` may be a phase
            let says = basis.is_some() || header.contains('%') || header::ppm(header).is_some();
            let comma = NumberFormat { decimal: ',', thousands: None };
            let number = |cell: &str| read_cell(cell, NumberFormat::POINT).is_ok() || read_cell(cell, comma).is_ok();
            if NUMBERS.contains(&plain(header).as_str()) || !(says || self.share(at, number) > 0.5) {
                continue;
            }
            let Some(fractions) = &mut file.material.fractions else { return };
            if Element::from_symbol(symbol).is_none() || fractions.columns.contains(header) {
                continue;
            }
            if header::ppm(header).is_some() && self.is_number(at) {
                fractions.columns.push(header.clone());
                if header::read(header).property.is_none() {
                    self.set(at, Role::Fraction, "the header is an element's symbol");
                }
            } else if !self.is_number(at) {
                self.astray.insert(at, SHARE_ASTRAY);
                self.set(at, Role::Unplaced, SHARE_ASTRAY);
            }
        }
    }

    /// Shares of elements, as their headers say, that do not make up a whole: what makes up the rest is to be stated.
    pub(super) fn place_parts(&mut self, file: &mut MappingFile) {
        let shares: Vec<_> = self.shares().into_iter().filter(|(.., basis)| basis.is_some()).collect();
        let Some((first, _, basis)) = shares.first().copied() else { return };
        if shares.len() < 2 || shares.iter().any(|(.., other)| *other != basis) {
            return;
        }
        for (at, ..) in &shares {
            self.set(*at, Role::Fraction, "the header is an element's symbol");
        }
        let why = format!(
            "the shares of the elements sum to less than the whole: {MUST_BALANCE}\"Fe\", the element that makes up the rest, \
             in [material.fractions]"
        );
        self.set(first, Role::Fraction, &why);
        file.material.fractions = Some(Fractions {
            columns: shares.iter().map(|(at, ..)| self.table.headers[*at].clone()).collect(),
            basis,
            ..Fractions::default()
        });
        self.ask_for_other_shares(file);
    }
}
