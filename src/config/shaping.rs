//! What the keys of `[interface]` for limits and marks mean.

use super::error::Fault;
use super::rate::Rate;
use super::value::Value;
use crate::wire::mss::ClampMss;

const ACCEPTED_RATE: &str =
    r#"from 8 kbit/s to 100 Gbit/s, like "20 Mbit/s", "512k" or 20000000, in bits per second"#;
const ACCEPTED_CLAMP: &str = "true, false or a number from 536 to 65435";

/// How fast packets may go, and what is written on them on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shaping {
    /// The most that leaves, on the underlay.
    pub rate_limit_out: Option<Rate>,
    /// The most that is taken in, on the underlay.
    pub rate_limit_in: Option<Rate>,
    /// Whether the outer packet carries the DSCP of the inner one.
    pub copy_dscp: bool,
    /// What becomes of the MSS in TCP's SYN packets.
    pub clamp_mss: ClampMss,
}

/// The values as typed.
pub(super) struct ShapingValues<'i> {
    pub(super) rate_limit_out: Option<Value<'i>>,
    pub(super) rate_limit_in: Option<Value<'i>>,
    pub(super) copy_dscp: Option<Value<'i>>,
    pub(super) clamp_mss: Option<Value<'i>>,
}

impl Shaping {
    pub(super) fn resolve(values: ShapingValues<'_>) -> Result<Self, Fault> {
        Ok(Self {
            rate_limit_out: values.rate_limit_out.as_ref().map(rate).transpose()?,
            rate_limit_in: values.rate_limit_in.as_ref().map(rate).transpose()?,
            copy_dscp: values.copy_dscp.map_or(Ok(false), |value| value.boolean())?,
            clamp_mss: values.clamp_mss.map_or(Ok(ClampMss::default()), |value| clamp(&value))?,
        })
    }
}

/// Text with a unit, or bits per second.
fn rate(value: &Value<'_>) -> Result<Rate, Fault> {
    if let Some(text) = value.text() {
        return text.parse().map_err(|error| value.fault(error, ACCEPTED_RATE));
    }
    let accepted = |fault| Fault { accepted: ACCEPTED_RATE.to_owned(), ..fault };
    let bits = value.integer(0..=u64::MAX).map_err(accepted)?;
    Rate::from_bits_per_second(bits).ok_or_else(|| value.fault("is out of range", ACCEPTED_RATE))
}

fn clamp(value: &Value<'_>) -> Result<ClampMss, Fault> {
    match value.boolean() {
        Ok(true) => Ok(ClampMss::ToMtu),
        Ok(false) => Ok(ClampMss::Off),
        // The MSS of the least MTU (RFC 9293 §3.7.1), and of the largest.
        Err(_) => value
            .integer(536..=65_435)
            .map(ClampMss::To)
            .map_err(|fault| Fault { accepted: ACCEPTED_CLAMP.to_owned(), ..fault }),
    }
}
