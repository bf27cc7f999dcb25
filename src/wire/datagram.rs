//! Where a datagram goes and how many of one size leave together: what the core and the underlay agree on.

use std::fmt;
use std::net::SocketAddr;

use super::ip::{Ecn, IPV4_HEADER, IPV6_HEADER};

/// Where the peer is now, and the local address it addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// The sticky source: the local address and port to send from; `None` leaves the choice to the underlay.
    pub source: Option<SocketAddr>,
}

impl Endpoint {
    /// The endpoint at `remote`, with the source left to the underlay.
    #[must_use]
    pub fn new(remote: SocketAddr) -> Self {
        Self { remote, source: None }
    }

    /// Bytes of the IP and the UDP header of each datagram to or from there.
    #[must_use]
    pub fn header_len(&self) -> usize {
        if self.remote.is_ipv4() { IPV4_HEADER + UDP_HEADER } else { IPV6_HEADER + UDP_HEADER }
    }

    /// The same endpoint without its sticky source.
    #[must_use]
    pub fn without_source(self) -> Self {
        Self { source: None, ..self }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.remote.fmt(f)
    }
}

/// The layout of datagrams that lie back to back: `count` of them, all of `stride` bytes but the
/// last, which has `last` bytes (1 to `stride`). One such run leaves with one UDP GSO send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Bytes of each datagram but the last.
    pub stride: usize,
    /// Datagrams in the run; at least one.
    pub count: usize,
    /// Bytes of the last datagram.
    pub last: usize,
    /// The ECN field all of them carry outside.
    pub ecn: Ecn,
    /// The DSCP all of them carry outside, 6 bits.
    pub dscp: u8,
}

impl Run {
    /// The run of a single datagram of `len` bytes.
    #[must_use]
    pub fn single(len: usize, ecn: Ecn) -> Self {
        Self { stride: len, count: 1, last: len, ecn, dscp: 0 }
    }

    /// The TOS or traffic class byte all of them carry outside.
    #[must_use]
    pub fn tos(&self) -> u8 {
        (self.dscp << 2) | self.ecn as u8
    }

    /// Bytes of the whole run.
    #[must_use]
    pub fn total(&self) -> usize {
        self.count.saturating_sub(1).saturating_mul(self.stride).saturating_add(self.last)
    }
}

/// Takes runs of datagrams to the peer's endpoint, in order.
pub trait DatagramSink {
    /// Lends `run.total()` bytes, of any content, which the caller fills whole: the run counts as sent once
    /// this sink is asked for the next one, or flushed by its owner. `run` has at most [`MAX_RUN_COUNT`]
    /// datagrams and [`MAX_RUN_BYTES`] bytes.
    fn reserve(&mut self, run: Run) -> &mut [u8];
}

const UDP_HEADER: usize = 8;

/// Most datagrams in a run. Linux before 6.9 takes 64 segments in one UDP GSO send, but counts up to 48 bytes of IP
/// and UDP headers as data: with the 32 bytes that transport data has at least, two segments' worth.
pub const MAX_RUN_COUNT: usize = 62;

/// Most bytes in a run: the largest UDP payload over IPv4.
pub const MAX_RUN_BYTES: usize = 65_507;
