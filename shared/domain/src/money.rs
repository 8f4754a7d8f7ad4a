//! Money as whole pico-dollars, with exact sums and exact text.
//!
//! Micro-dollars per million tokens times tokens are pico-dollars, so pricing never divides. Prices
//! of tokens are in `price`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, iter, ops, str};

/// Decimal places.
const PLACES: usize = 12;

/// One dollar.
const DOLLAR: i128 = 1_000_000_000_000;

/// An amount of US dollars in units of 10⁻¹² dollars.
///
/// As text and in JSON it is a decimal string with exactly twelve places. The operators saturate at
/// ±1.7 × 10²⁶ dollars, far beyond any real amount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PicoUsd(i128);

impl PicoUsd {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// The largest amount.
    pub const MAX: Self = Self(i128::MAX);

    /// Makes an amount from pico-dollars.
    pub const fn new(pico: i128) -> Self {
        Self(pico)
    }

    /// Makes an amount from whole micro-dollars.
    pub const fn from_micros(micros: u64) -> Self {
        // A u64 times a million always fits into an i128.
        Self(micros as i128 * 1_000_000)
    }

    /// The cost of `tokens` at `micros_per_million` micro-dollars per million tokens. The product
    /// is exactly the number of pico-dollars.
    pub(crate) fn from_tokens(micros_per_million: u64, tokens: u64) -> Self {
        let pico = u128::from(micros_per_million) * u128::from(tokens);
        Self(i128::try_from(pico).unwrap_or(i128::MAX))
    }

    /// The number of pico-dollars.
    pub const fn pico(self) -> i128 {
        self.0
    }

    /// The sum; `None` if it is out of range.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` if it is out of range.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum, or the end of the range.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or the end of the range.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The amount times `numerator / denominator`. Fractions of a pico-dollar are rounded away from
    /// zero, so that a bill is never too low. A denominator of 0 counts as 1.
    #[must_use]
    pub fn scale(self, numerator: u32, denominator: u32) -> Self {
        let product = self.0.saturating_mul(i128::from(numerator));
        let divisor = i128::from(denominator.max(1));
        let rest = product % divisor;
        Self(product / divisor + rest.signum())
    }
}

impl ops::Add for PicoUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl ops::AddAssign for PicoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = self.saturating_add(other);
    }
}

impl ops::Sub for PicoUsd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}

impl iter::Sum for PicoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, ops::Add::add)
    }
}

impl fmt::Display for PicoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (size, dollar) = (self.0.unsigned_abs(), DOLLAR.unsigned_abs());
        write!(f, "{sign}{}.{:0PLACES$}", size / dollar, size % dollar)
    }
}

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseMoneyError {
    /// It is not a decimal number.
    #[error("expected US dollars as a decimal number such as 12.50")]
    Form,
    /// It has more than twelve decimal places.
    #[error("an amount has at most 12 digits after the point")]
    TooFine,
    /// It is out of range.
    #[error("the amount is too large")]
    TooLarge,
}

impl str::FromStr for PicoUsd {
    type Err = ParseMoneyError;

    /// Reads `-?digits(.digits)?` with at most twelve digits after the point.
    fn from_str(text: &str) -> Result<Self, ParseMoneyError> {
        let (negative, size) = match text.strip_prefix('-') {
            Some(size) => (true, size),
            None => (false, text),
        };
        let (integer_part, fraction) = match size.split_once('.') {
            Some((_, "")) => return Err(ParseMoneyError::Form),
            Some(parts) => parts,
            None => (size, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if integer_part.is_empty() || !all_digits(integer_part) || !all_digits(fraction) {
            return Err(ParseMoneyError::Form);
        }
        if fraction.len() > PLACES {
            return Err(ParseMoneyError::TooFine);
        }
        let padding = iter::repeat_n(b'0', PLACES - fraction.len());
        let sign = if negative { -1 } else { 1 };
        integer_part
            .bytes()
            .chain(fraction.bytes())
            .chain(padding)
            .try_fold(0_i128, |pico, digit| {
                pico.checked_mul(10)?.checked_add(sign * i128::from(digit - b'0'))
            })
            .map(Self)
            .ok_or(ParseMoneyError::TooLarge)
    }
}

impl Serialize for PicoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PicoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MoneyVisitor;
        impl de::Visitor<'_> for MoneyVisitor {
            type Value = PicoUsd;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount as a decimal string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PicoUsd, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(MoneyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_parsed_and_formatted() {
        let check = |text: &str, pico: i128, exact: &str| {
            let amount: PicoUsd = text.parse().unwrap();
            assert_eq!((amount.pico(), amount.to_string()), (pico, exact.to_owned()), "{text}");
        };
        check("0", 0, "0.000000000000");
        check("-0", 0, "0.000000000000");
        check("1", 1_000_000_000_000, "1.000000000000");
        check("007.50", 7_500_000_000_000, "7.500000000000");
        check("0.000000000001", 1, "0.000000000001");
        check("-12.000000000034", -12_000_000_000_034, "-12.000000000034");
        check(
            "170141183460469231731687303.715884105727",
            i128::MAX,
            "170141183460469231731687303.715884105727",
        );
        check(
            "-170141183460469231731687303.715884105728",
            i128::MIN,
            "-170141183460469231731687303.715884105728",
        );
    }

    #[test]
    fn invalid_amounts_are_refused() {
        let check =
            |text: &str, reason| assert_eq!(text.parse::<PicoUsd>(), Err(reason), "{text:?}");
        for text in ["", ".", "1.", ".5", "+1", "1e3", " 1", "1,0", "--1", "1.2.3", "$1", "٣", "-"]
        {
            check(text, ParseMoneyError::Form);
        }
        check("0.0000000000001", ParseMoneyError::TooFine);
        check("170141183460469231731687303.715884105728", ParseMoneyError::TooLarge);
    }

    #[test]
    fn amount_is_a_json_string() {
        let amount = PicoUsd::new(1_500_000_000_000);
        assert_eq!(serde_json::to_string(&amount).unwrap(), r#""1.500000000000""#);
        assert_eq!(serde_json::from_str::<PicoUsd>(r#""1.5""#).unwrap(), amount);
        assert!(serde_json::from_str::<PicoUsd>("1.5").is_err());
    }

    #[test]
    fn token_cost_is_exact() {
        // One token at 0.125 USD per million is 0.000000125 USD.
        assert_eq!(PicoUsd::from_tokens(125_000, 1).to_string(), "0.000000125000");
        assert_eq!(PicoUsd::from_tokens(u64::MAX, u64::MAX), PicoUsd::MAX);
        assert_eq!(PicoUsd::from_micros(10_000).to_string(), "0.010000000000");
    }

    #[test]
    fn scaling_rounds_away_from_zero() {
        assert_eq!(PicoUsd::new(10).scale(11, 10), PicoUsd::new(11));
        assert_eq!(PicoUsd::new(1).scale(11, 10), PicoUsd::new(2));
        assert_eq!(PicoUsd::new(-1).scale(1, 2), PicoUsd::new(-1));
        assert_eq!(PicoUsd::new(3).scale(2, 0), PicoUsd::new(6));
    }

    proptest! {
        #[test]
        fn amounts_survive_a_round_trip(pico: i128) {
            let amount = PicoUsd::new(pico);
            prop_assert_eq!(amount.to_string().parse::<PicoUsd>(), Ok(amount));
        }

        #[test]
        fn arbitrary_text_does_not_panic(text in "\\PC*") {
            let _ = text.parse::<PicoUsd>();
        }
    }
}
