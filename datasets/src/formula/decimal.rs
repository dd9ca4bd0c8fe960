//! Exact decimal amounts.

use super::{FormulaProblem, MAX_AMOUNT};

/// A decimal number that is not negative: `mantissa / 10^places`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) mantissa: u128,
    pub(super) places: u32,
}

impl Decimal {
    pub(super) const ONE: Decimal = Decimal::whole(1);

    pub(super) const fn whole(mantissa: u128) -> Decimal {
        Decimal { mantissa, places: 0 }
    }

    /// From digits before and behind the point. Either may be empty, and both hold digits only.
    pub(super) fn from_digits(before: &[u8], behind: &[u8]) -> Result<Decimal, FormulaProblem> {
        let kept = behind.len() - behind.iter().rev().take_while(|&&digit| digit == b'0').count();
        let mut mantissa = 0u128;
        for digit in before {
            mantissa = mantissa * 10 + u128::from(digit - b'0');
            if mantissa > MAX_AMOUNT {
                return Err(FormulaProblem::AmountTooLarge);
            }
        }
        for digit in &behind[..kept] {
            let shifted = mantissa.checked_mul(10).and_then(|shifted| shifted.checked_add(u128::from(digit - b'0')));
            mantissa = shifted.ok_or(FormulaProblem::TooManyDigits)?;
        }
        Decimal { mantissa, places: kept as u32 }.checked()
    }

    pub(super) fn times(self, other: Decimal) -> Result<Decimal, FormulaProblem> {
        let mantissa = self.mantissa.checked_mul(other.mantissa).ok_or(FormulaProblem::TooManyDigits)?;
        Decimal { mantissa, places: self.places + other.places }.checked()
    }

    pub(super) fn plus(self, other: Decimal) -> Result<Decimal, FormulaProblem> {
        let places = self.places.max(other.places);
        let sum = self.scaled_to(places)?.checked_add(other.scaled_to(places)?).ok_or(FormulaProblem::TooManyDigits)?;
        Ok(Decimal { mantissa: sum, places })
    }

    /// The difference, none where it is not above zero.
    pub(super) fn minus(self, other: Decimal) -> Result<Option<Decimal>, FormulaProblem> {
        let places = self.places.max(other.places);
        let difference = self.scaled_to(places)?.checked_sub(other.scaled_to(places)?);
        Ok(difference.filter(|&mantissa| mantissa > 0).map(|mantissa| Decimal { mantissa, places }))
    }

    /// The number times `10^places`.
    pub(super) fn scaled_to(self, places: u32) -> Result<u128, FormulaProblem> {
        let factor = 10u128.checked_pow(places.saturating_sub(self.places));
        factor.and_then(|factor| self.mantissa.checked_mul(factor)).ok_or(FormulaProblem::TooManyDigits)
    }

    pub(super) fn to_f64(self) -> f64 {
        self.mantissa as f64 / 10f64.powi(self.places as i32)
    }

    fn checked(mut self) -> Result<Decimal, FormulaProblem> {
        while self.places > 0 && self.mantissa.is_multiple_of(10) {
            self.mantissa /= 10;
            self.places -= 1;
        }
        match 10u128.checked_pow(self.places).and_then(|one| one.checked_mul(MAX_AMOUNT)) {
            Some(limit) if self.mantissa > limit => Err(FormulaProblem::AmountTooLarge),
            Some(_) => Ok(self),
            None => Err(FormulaProblem::TooManyDigits),
        }
    }
}
