//! What the kernel is to let pass during a flood: what the core wants of the underlay.

use std::net::IpAddr;

/// Which datagrams pass; all others the kernel discards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Where the peer is and where else it may be: all that comes from there passes, over IPv6 from the first 64 bits of it.
    pub peers: Vec<IpAddr>,
    /// The receiver indices of our sessions: transport data of strangers that is for none of them does not pass.
    pub indices: Vec<u32>,
    /// Of strangers' transport data for our sessions.
    pub data: Chance,
    /// Of strangers' handshake messages.
    pub handshakes: Chance,
}

/// How likely a datagram passes, in 2^-32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance(pub u32);

impl Chance {
    /// All but one of four billion pass.
    pub const ALL: Self = Self(u32::MAX);
}
