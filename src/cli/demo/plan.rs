//! Who has which address and key: the two ends of the demonstration's tunnel, made fresh for each run.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use zeroize::Zeroizing;

use crate::crypto::{PresharedKey, PrivateKey};
use crate::daemon::entropy::entropy;

/// The device of the tunnel, on either host.
pub(super) const DEVICE: &str = "tun0";

/// The underlay addresses of host a and host b.
pub(super) const UNDERLAY: [Ipv4Addr; 2] =
    [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];

/// The length of the underlay's prefix.
pub(super) const UNDERLAY_PREFIX: u8 = 24;

/// The inner IPv4 addresses of host a and host b.
pub(super) const INNER_V4: [Ipv4Addr; 2] =
    [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)];

/// The inner IPv6 addresses of host a and host b.
pub(super) const INNER_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2)];

/// The UDP port of both daemons.
const PORT: u16 = 51820;

/// The keys of one run.
pub(super) struct Plan {
    keys: [PrivateKey; 2],
    preshared: PresharedKey,
}

impl Plan {
    /// Fresh keys.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            keys: [PrivateKey::clamped(*entropy()?), PrivateKey::clamped(*entropy()?)],
            preshared: PresharedKey::from(*entropy()?),
        })
    }

    /// The configuration of host 0 or 1.
    pub(super) fn config(&self, this: usize) -> Zeroizing<String> {
        let other = 1 - this;
        Zeroizing::new(format!(
            r#"[interface]
name = "{DEVICE}"
addresses = ["{}/30", "{}/64"]
private_key = "{}"
listen_port = {PORT}

[peer]
public_key = "{}"
preshared_key = "{}"
endpoint = "{}:{PORT}"
"#,
            INNER_V4[this],
            INNER_V6[this],
            *self.keys[this].to_base64(),
            self.keys[other].public_key(),
            *self.preshared.to_base64(),
            UNDERLAY[other],
        ))
    }
}
