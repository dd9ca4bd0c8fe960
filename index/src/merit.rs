//! Indices of merit: a formula over property keys, such as `youngs_modulus^(1/2) / density`, as a property of its own.
//!
//! A product of powers is believed on the logarithmic axis, where its deviation follows exactly from those of its
//! parts; anything else on the linear axis, by first-order propagation of uncertainty (JCGM 100:2008, 5.1.2, with
//! one-deviation differences in place of derivatives).

use std::collections::BTreeMap;
use std::sync::Arc;

use datasets::property::{Axis, Property};
use datasets::record::Evidence;

use crate::belief::{Belief, Beliefs, floor_sd};
use crate::columns::Subject;
use crate::properties::own_key_at_start;
use crate::scope::Scope;
use crate::snapshot::Snapshot;

/// Characters of an index, at most.
const MAX_CHARACTERS: usize = 1_000;
/// Nesting of parentheses, at most.
const MAX_NESTING: usize = 32;

/// An index cannot be understood.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("index of merit, character {at}: {message}")]
pub struct MeritError {
    /// Character, from 1.
    pub at: usize,
    /// What is wrong, and the mend.
    pub message: String,
}

/// A parsed index of merit.
#[derive(Debug, Clone, PartialEq)]
pub struct Merit {
    tree: Tree,
    /// The same as a product of powers above zero, where it is one.
    monomial: Option<Monomial>,
    /// The properties that it uses, each once, in key order.
    pub properties: Vec<&'static str>,
    /// Their definitions, in the same order.
    definitions: Vec<&'static Property>,
    text: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Number(f64),
    Property(usize),
    Negative(Box<Tree>),
    Binary(char, Box<Tree>, Box<Tree>),
}

/// A product of powers: `factor · Π x_i^power_i`.
#[derive(Debug, Clone, PartialEq)]
struct Monomial {
    factor: f64,
    powers: BTreeMap<usize, f64>,
}

impl Merit {
    /// Reads an index of merit over the properties that a snapshot knows under a scope.
    ///
    /// # Errors
    /// Unknown property (with the closest), unbalanced parentheses, or no property at all.
    pub fn parse(text: &str, snapshot: &Snapshot, scope: &Scope) -> Result<Merit, MeritError> {
        if text.chars().count() > MAX_CHARACTERS {
            return Err(MeritError { at: MAX_CHARACTERS, message: format!("longer than {MAX_CHARACTERS} characters") });
        }
        let chars = text.chars().collect();
        let mut parser = Parser { chars, at: 0, properties: Vec::new(), depth: 0, snapshot, scope };
        let tree = parser.sum()?;
        parser.space();
        if parser.at < parser.chars.len() {
            return Err(parser.error("expected an operator (+ - * / ^) or the end"));
        }
        if parser.properties.is_empty() {
            return Err(MeritError { at: 1, message: "an index needs at least one property".into() });
        }
        // properties in key order, so that the same index written in another order is believed the same
        let mut order: Vec<usize> = (0..parser.properties.len()).collect();
        order.sort_by_key(|&i| &parser.properties[i].key);
        let mut rank = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            rank[old] = new;
        }
        let definitions: Vec<&'static Property> = order.iter().map(|&i| parser.properties[i]).collect();
        let tree = tree.renumber(&rank);
        Ok(Merit {
            monomial: tree.monomial().filter(|m| m.factor > 0.0),
            tree,
            properties: definitions.iter().map(|p| p.key.as_str()).collect(),
            definitions,
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    }

    /// The index as written, spaces tidied.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The axis on which it is believed.
    pub fn axis(&self) -> Axis {
        if self.monomial.is_some() { Axis::Log } else { Axis::Linear }
    }

    /// The unit, as the same formula over the properties' units.
    pub fn unit(&self) -> String {
        let units: Vec<String> = self.definitions.iter().map(|p| p.unit.clone()).collect();
        self.tree.unit(&units)
    }

    /// The beliefs about this index, for each material with a belief about every part of it; made at the first call and kept. Where it
    /// `predicts`, parts may be predicted.
    pub fn believed(&self, snapshot: &Snapshot, scope: &Scope, predicts: bool) -> Arc<Beliefs> {
        // a part may be predicted later: then the index is believed anew
        let ready = |p: &&'static Property| if predicts && snapshot.predicted(p).is_some() { '1' } else { '0' };
        let ready: String = self.definitions.iter().map(ready).collect();
        let predicts = ready.contains('1');
        let make = || {
            let known = self.beliefs(snapshot, scope, false);
            if !predicts {
                return Ok::<_, std::convert::Infallible>(known);
            }
            Ok(self.beliefs(snapshot, scope, true).with_population(known.population()))
        };
        let text = format!("{ready} {}", self.text);
        let beliefs = match snapshot.merits.get((scope.clone(), text.clone()), make) {
            Ok(beliefs) => beliefs,
            Err(never) => match never {},
        };
        snapshot.awaited.meet(|| Subject::Merit(scope.clone(), text), &beliefs);
        beliefs
    }

    /// Why no empty cell of the index is predicted, where none is.
    pub fn unpredicted(&self, snapshot: &Snapshot) -> Option<String> {
        self.definitions.iter().find_map(|p| Some(format!("{}: {}", p.key, snapshot.unpredicted(p, None)?)))
    }

    fn beliefs(&self, snapshot: &Snapshot, scope: &Scope, predicts: bool) -> Beliefs {
        let definitions = &self.definitions;
        let of = |p: &&'static Property| {
            if predicts { snapshot.believed(scope, p, None) } else { snapshot.beliefs(scope, p, None) }
        };
        let parts: Vec<_> = definitions.iter().map(of).collect();
        let Some(rarest) = parts.iter().min_by_key(|b| b.len()) else { return Beliefs::default() };
        let n = snapshot.materials.len();
        let mut beliefs = Beliefs::default();
        let mut known = Vec::with_capacity(parts.len());
        for &row in &rarest.row {
            known.clear();
            known.extend(parts.iter().map_while(|b| b.get(row, n)));
            if known.len() < parts.len() {
                continue;
            }
            if let Some(belief) = self.belief(&known) {
                beliefs.push(row, belief);
            }
        }
        beliefs
    }

    /// The belief that follows from those about its parts, in the order of [`Merit::properties`].
    pub fn belief(&self, known: &[Belief]) -> Option<Belief> {
        match &self.monomial {
            Some(monomial) => product(monomial, known, &self.definitions),
            None => general(&self.tree, known, &self.definitions),
        }
    }

    /// The definitions of its parts, in the order of [`Merit::properties`].
    pub fn definitions(&self) -> &[&'static Property] {
        &self.definitions
    }
}

fn product(monomial: &Monomial, known: &[Belief], definitions: &[&Property]) -> Option<Belief> {
    let mut mean = monomial.factor.log10();
    let mut variance = 0.0;
    for (&i, &power) in &monomial.powers {
        let (log_mean, log_sd) = match definitions[i].axis {
            Axis::Log => (known[i].mean, known[i].sd),
            Axis::Linear if known[i].value > 0.0 => {
                (known[i].value.log10(), known[i].sd / (known[i].value * std::f64::consts::LN_10))
            }
            Axis::Linear => return None,
        };
        mean += power * log_mean;
        variance += (power * log_sd).powi(2);
    }
    combine(known, mean, variance.sqrt(), Axis::Log.from_axis(mean))
}

fn general(tree: &Tree, known: &[Belief], definitions: &[&Property]) -> Option<Belief> {
    let values: Vec<f64> = known.iter().map(|b| b.value).collect();
    let mean = tree.value(&values);
    let mut variance = 0.0;
    for (i, belief) in known.iter().enumerate() {
        let moved = |by: f64| {
            let mut moved = values.clone();
            moved[i] = definitions[i].axis.from_axis(definitions[i].axis.to_axis(belief.value) + by);
            tree.value(&moved)
        };
        variance += ((moved(belief.sd) - moved(-belief.sd)) / 2.0).powi(2);
    }
    combine(known, mean, variance.sqrt(), mean)
}

fn combine(known: &[Belief], mean: f64, sd: f64, value: f64) -> Option<Belief> {
    // beyond these magnitudes a kernel's f32 could not hold it
    let usable = mean.abs() < 1e30 && sd < 1e30 && value.is_finite();
    usable.then(|| Belief {
        mean,
        sd: floor_sd(mean, sd),
        value,
        evidence: known.iter().map(|b| b.evidence).min().unwrap_or(Evidence::None),
        pick: known.first().map_or(0, |b| b.pick),
        count: known.iter().map(|b| b.count).min().unwrap_or(0),
        inherited: known.iter().any(|b| b.inherited),
    })
}

impl Tree {
    fn renumber(self, rank: &[usize]) -> Tree {
        match self {
            Tree::Number(x) => Tree::Number(x),
            Tree::Property(i) => Tree::Property(rank[i]),
            Tree::Negative(inner) => Tree::Negative(Box::new(inner.renumber(rank))),
            Tree::Binary(op, a, b) => Tree::Binary(op, Box::new(a.renumber(rank)), Box::new(b.renumber(rank))),
        }
    }

    fn value(&self, values: &[f64]) -> f64 {
        match self {
            Tree::Number(x) => *x,
            Tree::Property(i) => values[*i],
            Tree::Negative(inner) => -inner.value(values),
            Tree::Binary(op, a, b) => {
                let (a, b) = (a.value(values), b.value(values));
                match op {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    '/' => a / b,
                    _ => libm::pow(a, b),
                }
            }
        }
    }

    fn constant(&self) -> Option<f64> {
        match self {
            Tree::Number(x) => Some(*x),
            Tree::Property(_) => None,
            Tree::Negative(inner) => inner.constant().map(|x| -x),
            Tree::Binary(_, a, b) => a.constant().and(b.constant()).map(|_| self.value(&[])),
        }
    }

    fn monomial(&self) -> Option<Monomial> {
        match self {
            Tree::Number(factor) => Some(Monomial { factor: *factor, powers: BTreeMap::new() }),
            Tree::Property(i) => Some(Monomial { factor: 1.0, powers: BTreeMap::from([(*i, 1.0)]) }),
            Tree::Negative(inner) => inner.monomial().map(|m| Monomial { factor: -m.factor, ..m }),
            Tree::Binary(op @ ('*' | '/'), a, b) => {
                let (mut a, b) = (a.monomial()?, b.monomial()?);
                let sign = if *op == '*' { 1.0 } else { -1.0 };
                a.factor *= if *op == '*' { b.factor } else { 1.0 / b.factor };
                for (i, power) in b.powers {
                    *a.powers.entry(i).or_default() += sign * power;
                }
                Some(a)
            }
            Tree::Binary('^', base, power) => {
                let (base, power) = (base.monomial()?, power.constant()?);
                let powers = base.powers.into_iter().map(|(i, p)| (i, p * power)).collect();
                Some(Monomial { factor: libm::pow(base.factor, power), powers })
            }
            Tree::Binary(..) => {
                let factor = self.constant()?;
                Some(Monomial { factor, powers: BTreeMap::new() })
            }
        }
    }

    fn unit(&self, units: &[String]) -> String {
        match self {
            Tree::Number(x) => x.to_string(),
            Tree::Property(i) => format!("({})", units[*i]),
            Tree::Negative(inner) => inner.unit(units),
            Tree::Binary(op, a, b) => {
                let part = |tree: &Tree| match tree {
                    Tree::Binary(..) => format!("({})", tree.unit(units)),
                    _ => tree.unit(units),
                };
                format!("{} {op} {}", part(a), part(b))
            }
        }
    }
}

struct Parser<'s> {
    chars: Vec<char>,
    at: usize,
    properties: Vec<&'static Property>,
    depth: usize,
    snapshot: &'s Snapshot,
    scope: &'s Scope,
}

impl Parser<'_> {
    fn error(&self, message: &str) -> MeritError {
        MeritError { at: self.at + 1, message: message.to_owned() }
    }

    fn space(&mut self) {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, one_of: &[char]) -> Option<char> {
        self.space();
        let next = *self.chars.get(self.at)?;
        one_of.contains(&next).then(|| {
            self.at += 1;
            next
        })
    }

    fn sum(&mut self) -> Result<Tree, MeritError> {
        let mut left = self.product()?;
        while let Some(op) = self.take(&['+', '-']) {
            left = Tree::Binary(op, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Tree, MeritError> {
        let mut left = self.power()?;
        while let Some(op) = self.take(&['*', '/']) {
            left = Tree::Binary(op, Box::new(left), Box::new(self.power()?));
        }
        Ok(left)
    }

    fn power(&mut self) -> Result<Tree, MeritError> {
        if self.take(&['-']).is_some() {
            return Ok(Tree::Negative(Box::new(self.nested(Parser::power)?)));
        }
        let base = self.atom()?;
        if self.take(&['^']).is_some() {
            let power = self.nested(Parser::power)?;
            return Ok(Tree::Binary('^', Box::new(base), Box::new(power)));
        }
        Ok(base)
    }

    fn nested<T>(&mut self, parse: fn(&mut Self) -> Result<T, MeritError>) -> Result<T, MeritError> {
        if self.depth >= MAX_NESTING {
            // at the character just read
            return Err(MeritError { at: self.at, message: format!("nested deeper than {MAX_NESTING}") });
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn atom(&mut self) -> Result<Tree, MeritError> {
        self.space();
        let start = self.at;
        let Some(&first) = self.chars.get(self.at) else {
            return Err(self.error("expected a property, a number or `(`, found the end"));
        };
        if first == '(' {
            self.at += 1;
            let inner = self.nested(Parser::sum)?;
            return match self.take(&[')']) {
                Some(_) => Ok(inner),
                None => Err(MeritError { at: start + 1, message: "this `(` is never closed".into() }),
            };
        }
        // before numbers, because the name of a dataset may begin with a digit
        if let Some(length) = self.own_key() {
            self.at += length;
            return self.property(start);
        }
        if first.is_ascii_digit() || first == '.' {
            while self.chars.get(self.at).is_some_and(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E')) {
                self.at += 1;
            }
            let text: String = self.chars[start..self.at].iter().collect();
            return match text.parse::<f64>() {
                Ok(x) if x.is_finite() => Ok(Tree::Number(x)),
                _ => Err(MeritError { at: start + 1, message: format!("`{text}` is not a number") }),
            };
        }
        if first.is_ascii_alphabetic() || first == '_' {
            while self.chars.get(self.at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_') {
                self.at += 1;
            }
            return self.property(start);
        }
        Err(self.error(&format!("`{first}` is unexpected: write property keys, numbers, + - * / ^ and parentheses")))
    }

    /// How many characters from here on are the key of a dataset's own property, if one stands here: all that a
    /// dataset's name may hold up to a `:`, so a minus before such a key needs a space.
    fn own_key(&self) -> Option<usize> {
        let ascii = self.chars[self.at..].iter().map_while(|c| u8::try_from(*c).ok().filter(u8::is_ascii));
        own_key_at_start(&ascii.collect::<Vec<u8>>())
    }

    /// The property whose name was read, from `start` to here.
    fn property(&mut self, start: usize) -> Result<Tree, MeritError> {
        let key: String = self.chars[start..self.at].iter().collect();
        let property = self
            .snapshot
            .find_property(&key, self.scope)
            .map_err(|e| MeritError { at: start + 1, message: e.message })?;
        let known = self.properties.iter().position(|known| known.key == property.key);
        let index = known.unwrap_or_else(|| {
            self.properties.push(property);
            self.properties.len() - 1
        });
        Ok(Tree::Property(index))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {

    use super::*;

    /// Over the dictionary alone.
    fn parse(text: &str) -> Result<Merit, MeritError> {
        let snapshot = Snapshot::empty();
        Merit::parse(text, &snapshot, &Scope(vec![]))
    }

    #[test]
    fn products_of_powers_are_logarithmic() {
        for (text, axis) in [
            ("youngs_modulus^(1/2) / density", Axis::Log),
            ("2 * bulk_modulus * density^-1", Axis::Log),
            ("bulk_modulus + shear_modulus", Axis::Linear),
            ("-density", Axis::Linear),
            ("band_gap^density", Axis::Linear),
        ] {
            assert_eq!(parse(text).unwrap().axis(), axis, "{text}");
        }
    }

    #[test]
    fn values_follow_the_usual_precedence() {
        let merit = parse("bulk_modulus - 2 * density ^ 2 ^ 0.5 / 4").unwrap();
        assert_eq!(merit.properties, ["bulk_modulus", "density"]);
        let expected = 100.0 - 2.0 * 9f64.powf(2f64.powf(0.5)) / 4.0;
        assert!((merit.tree.value(&[100.0, 9.0]) - expected).abs() < 1e-12);
    }

    #[test]
    fn errors_say_where() {
        for (text, at, word) in [
            ("", 1, "end"),
            ("2 + 3", 1, "property"),
            ("density /", 10, "end"),
            ("(density", 1, "closed"),
            ("density density", 9, "operator"),
            ("bulk_modulos / density", 1, "bulk_modulus"),
            ("density $ 2", 9, "operator"),
            (&"(".repeat(500), 33, "deeper"),
            (&"-".repeat(900), 33, "deeper"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
            assert!(error.message.contains(word), "{text}: {error}");
        }
    }
}
