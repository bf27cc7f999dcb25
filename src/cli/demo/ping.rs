//! Ping, without the program: echo requests over a raw socket, and what answers them.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::host::Host;
use super::wait::{LOOK, Watch, now};
use crate::wire::checksum::Sum;

/// How many round trips are measured each way.
const TRIPS: u16 = 20;

/// The bytes after the header of an echo request; as many as `ping` sends.
const PAYLOAD: usize = 56;

/// Type, code, checksum, identifier and sequence number: RFC 792 and RFC 4443 §4.1.
const HEADER: usize = 8;

const MESSAGE: usize = HEADER + PAYLOAD;

/// Asks until the first answer comes, and says how long that took.
pub(super) fn first_answer(
    host: &Host,
    destination: IpAddr,
    watch: &Arc<Watch>,
) -> Result<Duration> {
    let watch = Arc::clone(watch);
    host.run(move || {
        let began = now();
        let mut pinger = Pinger::new(destination)?;
        watch.until(&format!("{destination} answers"), || {
            pinger.send()?;
            pinger.answered()
        })?;
        Ok(began.elapsed())
    })
}

/// Round trips, one after the other; all must be answered.
pub(super) fn round_trips(
    host: &Host,
    destination: IpAddr,
    watch: &Arc<Watch>,
) -> Result<Vec<Duration>> {
    let watch = Arc::clone(watch);
    host.run(move || {
        let mut pinger = Pinger::new(destination)?;
        (0..TRIPS)
            .map(|_| {
                let began = now();
                pinger.send()?;
                watch.until(&format!("{destination} answers"), || pinger.answered())?;
                Ok(began.elapsed())
            })
            .collect()
    })
}

/// A conversation of echo requests and replies with one address.
struct Pinger {
    socket: Socket,
    v4: bool,
    sequence: u16,
}

impl Pinger {
    fn new(destination: IpAddr) -> Result<Self> {
        let (domain, protocol) = match destination {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket =
            Socket::new(domain, Type::RAW, Some(protocol)).context("cannot make a raw socket")?;
        socket.set_read_timeout(Some(LOOK))?;
        socket
            .connect(&SocketAddr::new(destination, 0).into())
            .with_context(|| format!("no way to {destination}"))?;
        Ok(Self { socket, v4: destination.is_ipv4(), sequence: 0 })
    }

    /// Sends the next request.
    fn send(&mut self) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = message(if self.v4 { 8 } else { 128 }, self.sequence, self.v4);
        self.socket.send(&request).context("cannot send an echo request")?;
        Ok(())
    }

    /// Whether the answer to the last request came; other messages are passed over.
    fn answered(&mut self) -> Result<Option<()>> {
        let mut packet = [0; 2048];
        let Ok(n) = (&self.socket).read(&mut packet) else {
            return Ok(None);
        };
        // Of IPv4 a raw socket shows the header of the packet too, of IPv6 it does not.
        let header = if self.v4 { usize::from(packet[0] & 15) * 4 } else { 0 };
        let reply = message(if self.v4 { 0 } else { 129 }, self.sequence, self.v4);
        let seen = packet[..n].get(header..).unwrap_or_default();
        // The kernel writes and checks the checksum of ICMPv6; that of ICMP is in `reply`.
        let same = seen.len() == MESSAGE
            && seen[..2] == reply[..2]
            && (!self.v4 || seen[2..4] == reply[2..4])
            && seen[4..] == reply[4..];
        Ok(same.then_some(()))
    }
}

/// An echo message of this type. Its identifier is 0: nothing else pings here.
fn message(kind: u8, sequence: u16, checksummed: bool) -> [u8; MESSAGE] {
    let mut message = [0x5a; MESSAGE];
    message[..HEADER].fill(0);
    message[0] = kind;
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    if checksummed {
        let checksum = Sum::default().bytes(&message).checksum();
        message[2..4].copy_from_slice(&checksum);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::skip;

    #[test]
    fn the_checksum_of_a_message_is_right() {
        for sequence in [0, 1, 0xffff] {
            assert!(Sum::default().bytes(&message(8, sequence, true)).verify());
        }
    }

    #[test]
    fn the_loopback_address_answers() {
        for address in ["127.0.0.1", "::1"] {
            let mut pinger = match Pinger::new(address.parse().unwrap()) {
                Ok(pinger) => pinger,
                Err(error) => {
                    skip("the_loopback_address_answers", format_args!("{address}: {error:#}"));
                    continue;
                }
            };
            pinger.send().unwrap();
            // The socket sees its own request as well.
            assert!((0..8).any(|_| pinger.answered().unwrap().is_some()));
        }
    }
}
