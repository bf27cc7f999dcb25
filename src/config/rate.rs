//! A rate in bits per second, as people write it.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Bits per second, from 8 kbit/s to 100 Gbit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZeroU64);

/// Not a rate that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Not a number with a unit.
    #[error("is not a rate")]
    Form,
    /// Too low or too high.
    #[error("is out of range")]
    Range,
}

impl Rate {
    const LEAST: u64 = 8_000;
    const GREATEST: u64 = 100_000_000_000;

    /// This many bits per second; `None` if that is out of range.
    #[must_use]
    pub fn from_bits_per_second(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits)
            .filter(|bits| (Self::LEAST..=Self::GREATEST).contains(&bits.get()))
            .map(Self)
    }

    /// In bits per second.
    #[must_use]
    pub fn bits_per_second(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for Rate {
    type Err = RateError;

    /// A decimal number, a unit and, if one likes, `/s`: `20 Mbit/s`, `1.5Gbit`, `512k`.
    fn from_str(text: &str) -> Result<Self, RateError> {
        let text = text.strip_suffix("/s").unwrap_or(text);
        let text = text.strip_suffix("bit").unwrap_or(text);
        let (number, zeros) = UNITS
            .into_iter()
            .find_map(|(unit, zeros)| Some((text.strip_suffix(unit)?, zeros)))
            .unwrap_or((text, 0));
        let bits = decimal(number.strip_suffix(' ').unwrap_or(number), zeros)?;
        Self::from_bits_per_second(bits).ok_or(RateError::Range)
    }
}

impl fmt::Display for Rate {
    /// In the largest unit that needs no decimals: what is shown can be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(unit, zeros): (char, u32)| {
            let scale = 10_u64.checked_pow(zeros)?;
            let number = self.bits_per_second().checked_div(scale)?;
            (number.checked_mul(scale)? == self.bits_per_second()).then_some((number, unit))
        };
        match UNITS.into_iter().find_map(whole) {
            Some((number, unit)) => write!(f, "{number} {unit}bit/s"),
            None => write!(f, "{} bit/s", self.0),
        }
    }
}

/// Each with the zeros it stands for, the largest first.
const UNITS: [(char, u32); 3] = [('G', 9), ('M', 6), ('k', 3)];

/// Digits, perhaps with a point among them and as many behind it as there are zeros, which they take the place of.
fn decimal(text: &str, zeros: u32) -> Result<u64, RateError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let has_point = text.contains('.');
    if !are_digits(whole) || !are_digits(fraction) || (has_point && fraction.len() > zeros as usize)
    {
        return Err(RateError::Form);
    }
    let digits = fraction.len() as u32;
    let number = |text: &str| text.parse::<u64>().map_err(|_| RateError::Range);
    let scaled = |number: u64, zeros: u32| number.checked_mul(10_u64.checked_pow(zeros)?);
    let whole = scaled(number(whole)?, zeros).ok_or(RateError::Range)?;
    let fraction = scaled(number(fraction)?, zeros.saturating_sub(digits));
    fraction.and_then(|fraction| whole.checked_add(fraction)).ok_or(RateError::Range)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_a_number_with_a_unit() {
        for (text, bits) in [
            ("20 Mbit/s", 20_000_000),
            ("20Mbit/s", 20_000_000),
            ("20 Mbit", 20_000_000),
            ("20M", 20_000_000),
            ("512 kbit/s", 512_000),
            ("512k", 512_000),
            ("1 Gbit/s", 1_000_000_000),
            ("1.5 Gbit/s", 1_500_000_000),
            ("0.000008 Gbit", 8_000),
            ("9600", 9_600),
            ("9600 bit/s", 9_600),
            ("100G", 100_000_000_000),
        ] {
            assert_eq!(text.parse().map(Rate::bits_per_second), Ok(bits), "{text}");
        }
    }

    #[test]
    fn what_may_mean_something_else_is_no_rate() {
        for text in [
            "",
            "M",
            " 20M",
            "20  M",
            "20M ",
            "20 MB/s",
            "20 Mb",
            "20 Mbps",
            "20 mbit",
            "20 Kbit",
            "-1M",
            "+1M",
            "1e6",
            "1,5M",
            ".5M",
            "5.M",
            "1.5",
            "1.2345 kbit/s",
            "1.5.5M",
            "fast",
            "20Mbit/s/s",
            "٣M",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::Form), "{text:?}");
        }
    }

    #[test]
    fn rates_beyond_the_limits_are_refused() {
        for text in [
            "0",
            "7999",
            "100.000000001G",
            "101 Gbit/s",
            "99999999999999999999",
            "18446744073709551615G",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::Range), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_is_read(number in 1..=99_999_u64, zeros in 0..=6_u32) {
            if let Some(rate) = Rate::from_bits_per_second(number * 10_u64.pow(zeros)) {
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9. kMGbit/s]{0,12}") {
            let _ = text.parse::<Rate>();
        }
    }
}
