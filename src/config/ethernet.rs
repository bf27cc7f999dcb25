//! What the values of `[interface]` mean that are for frames: `mode = "tap"`.

use super::Ethernet;
use super::device_name::named;
use super::error::Fault;
use super::value::Value;
use crate::wire::ethernet::Mac;

const ACCEPTED_MODE: &str = r#""tun" for IP packets or "tap" for Ethernet frames"#;
const ACCEPTED_MAC: &str = r#"the address of one station, like "02:00:5e:10:00:01""#;
const ACCEPTED_BRIDGE: &str = r#"the name of a bridge, like "br0""#;

/// The keys that are for frames only.
pub(super) struct EthernetValues<'i> {
    pub(super) mac: Option<Value<'i>>,
    pub(super) promisc: Option<Value<'i>>,
    pub(super) bridge: Option<Value<'i>>,
    pub(super) mac_limit: Option<Value<'i>>,
    pub(super) broadcast_limit: Option<Value<'i>>,
    pub(super) link_local_frames: Option<Value<'i>>,
}

impl EthernetValues<'_> {
    /// Gives the values their meaning: `None` if packets cross, and then none of them may be there.
    pub(super) fn resolve(self, mode: Option<Value<'_>>) -> Result<Option<Ethernet>, Fault> {
        let frames = mode.map_or(Ok(false), |value| match value.text() {
            Some("tun") => Ok(false),
            Some("tap") => Ok(true),
            _ => Err(value.fault("is no mode", ACCEPTED_MODE)),
        })?;
        if !frames {
            return self.refuse().map(|()| None);
        }
        Ok(Some(Ethernet {
            mac: self.mac.map(|value| mac(&value)).transpose()?,
            promisc: self.promisc.map_or(Ok(false), |value| value.boolean())?,
            bridge: self.bridge.map(|value| named(&value, ACCEPTED_BRIDGE)).transpose()?,
            mac_limit: self.mac_limit.map_or(Ok(4096), |value| value.integer(1..=65_536))?,
            broadcast_limit: self
                .broadcast_limit
                .map_or(Ok(5000), |value| value.integer(0..=1_000_000))?,
            link_local_frames: self.link_local_frames.map_or(Ok(true), |value| value.boolean())?,
        }))
    }

    fn refuse(self) -> Result<(), Fault> {
        let Self { mac, promisc, bridge, mac_limit, broadcast_limit, link_local_frames } = self;
        let all = [mac, promisc, bridge, mac_limit, broadcast_limit, link_local_frames];
        match all.into_iter().flatten().next() {
            None => Ok(()),
            Some(value) => {
                Err(value.fault("is for Ethernet frames", r#"mode = "tap" beside it, or nothing"#))
            }
        }
    }
}

fn mac(value: &Value<'_>) -> Result<Mac, Fault> {
    let text = value.expect_text(ACCEPTED_MAC)?;
    mac_address(text).map_err(|(problem, accepted)| value.fault(problem, accepted))
}

/// An address that a device can have.
///
/// # Errors
/// What is wrong with it, and what would be accepted.
pub(crate) fn mac_address(text: &str) -> Result<Mac, (String, &'static str)> {
    let mac: Result<Mac, _> = text.parse();
    let mac = mac.map_err(|error| (format!("is {error}"), ACCEPTED_MAC))?;
    let problem = "is not the address of one station".to_owned();
    if mac.is_station() { Ok(mac) } else { Err((problem, ACCEPTED_MAC)) }
}
