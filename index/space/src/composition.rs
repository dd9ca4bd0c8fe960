//! What is in a material, as fractions of its atoms.

use crate::elements::COUNT;
use crate::random::Random;

/// Elements with their atomic fractions.
#[derive(Debug, Clone, PartialEq)]
pub struct Composition(Vec<(u8, f32)>);

impl Composition {
    /// From atomic numbers (1 to 118) and amounts of any scale. `None` where there is no amount above zero, one is not a
    /// finite number, or a number is no element's.
    pub fn new(amounts: impl IntoIterator<Item = (u8, f64)>) -> Option<Composition> {
        let mut parts: Vec<(u8, f64)> = amounts.into_iter().filter(|(_, amount)| *amount != 0.0).collect();
        parts.sort_by_key(|(number, _)| *number);
        parts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0.0 };
            same
        });
        let total: f64 = parts.iter().map(|(_, amount)| amount).sum();
        let sound = |(number, amount): &(u8, f64)| (1..=COUNT as u8).contains(number) && *amount > 0.0;
        let good = !parts.is_empty() && total.is_finite() && parts.iter().all(sound);
        good.then(|| Composition(parts.into_iter().map(|(number, amount)| (number, (amount / total) as f32)).collect()))
    }

    /// A number that is the same for what is the same composition to four digits, whatever the scale of its formula.
    pub fn key(&self) -> u64 {
        let mut key = 0;
        for (number, fraction) in &self.0 {
            let part = u64::from(*number) << 32 | (f64::from(*fraction) * 1e4).round() as u64;
            key = Random::new(key ^ part).bits();
        }
        key
    }

    /// The composition to four digits, none of its elements left out: the same for all that share a [`Composition::key`].
    pub fn rounded(&self) -> Composition {
        let amount = |fraction: f32| (f64::from(fraction) * 1e4).round().max(1.0);
        let total: f64 = self.0.iter().map(|(_, fraction)| amount(*fraction)).sum();
        Composition(self.0.iter().map(|(number, fraction)| (*number, (amount(*fraction) / total) as f32)).collect())
    }

    /// Atomic numbers, ascending, with the fractions of the atoms; these add up to 1.
    pub fn parts(&self) -> &[(u8, f32)] {
        &self.0
    }
}
