//! Which packets may be coalesced with others of their flow, and what the rest do to the order in it.

use std::net::IpAddr;
use std::ops::Range;

use super::Offloads;
use super::layout::{
    ACK, ECE, Family, IPV4_CHECKSUM, IPV4_FRAGMENT, IPV4_ID, PSH, TCP_ACK, TCP_DATA_OFFSET,
    TCP_FLAGS, TCP_SEQUENCE, TCP_URGENT, TCP_WINDOW, Transport, UDP_LENGTH, long_at, put, word_at,
};
use super::virtio::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VirtioNetHdr};
use crate::wire::checksum::Sum;
use crate::wire::ethernet::MAX_FRAME_HEADER;
use crate::wire::ip::{IPV4_HEADER, IpHeader};
use crate::wire::upper::ICMPV6;

/// What keeps the order of its packets: one direction of one connection.
///
/// The ports come first: they tell most flows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowKey {
    ports: [u8; 4],
    protocol: u8,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// May extend what is open of its flow, or be extended.
    Candidate(Candidate),
    /// Written as it is; its place among other packets does not matter.
    Passes,
    /// Written as it is, and after what its flow has so far.
    Seals(FlowKey),
    /// Like [`Verdict::Seals`], but the ports cannot be told: of all flows between its addresses.
    SealsAddresses,
}

/// The shape of a packet that may be coalesced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) key: FlowKey,
    pub(crate) family: Family,
    pub(crate) transport: Transport,
    /// Offset of the transport header in the packet.
    pub(crate) transport_at: usize,
    /// Bytes of all headers of the packet.
    pub(crate) headers: usize,
    /// Bytes of the payload; at least one.
    pub(crate) payload: usize,
    /// TCP: of the first payload byte.
    sequence: u32,
    /// TCP: that payload should be handed on at once.
    pub(crate) push: bool,
}

impl Verdict {
    /// Judges a packet of exactly `ip.total_len` bytes.
    pub(crate) fn of(packet: &[u8], ip: &IpHeader, offloads: Offloads) -> Self {
        let Some((family, fixed, rest)) = Family::split(packet) else {
            return Self::Passes;
        };
        let protocol = family.protocol(fixed).unwrap_or_default();
        let Some(transport) = Transport::of(protocol) else {
            return match (family, protocol) {
                (Family::V4, _) | (Family::V6, ICMPV6) => Self::Passes,
                // An extension header, behind which may be any flow.
                (Family::V6, _) => Self::SealsAddresses,
            };
        };
        if !offloads.cover(transport) {
            return Self::Passes;
        }
        let Some((header, payload)) = transport.split(rest) else {
            return Self::SealsAddresses;
        };
        if family == Family::V4 && !is_whole_and_without_options(fixed) {
            return Self::SealsAddresses;
        }
        let candidate = Candidate {
            key: FlowKey::new(header, protocol, ip),
            family,
            transport,
            transport_at: fixed.len(),
            headers: fixed.len().saturating_add(header.len()),
            payload: payload.len(),
            sequence: 0,
            push: false,
        };
        if packet.len() > MAX_PACKET {
            return Self::Seals(candidate.key);
        }
        Self::of_transport(header, rest.len(), candidate)
    }

    /// Judges by the transport header of a packet that has `len` bytes from there on.
    fn of_transport(header: &[u8], len: usize, candidate: Candidate) -> Self {
        match candidate.transport {
            Transport::Tcp => {
                let word = word_at(header, TCP_DATA_OFFSET).unwrap_or_default();
                let [offset, flags] = word.to_be_bytes();
                let reserved = offset & 0xf;
                if flags & ACK == 0 || flags & !(ACK | PSH | ECE) != 0 || reserved != 0 {
                    return Self::Seals(candidate.key);
                }
                // A pure acknowledgment may be overtaken: what has news for the receiver, differs in
                // acknowledgment or window, and is therefore not merged with what came before it.
                if candidate.payload == 0 {
                    return Self::Passes;
                }
                Self::Candidate(Candidate {
                    sequence: long_at(header, TCP_SEQUENCE).unwrap_or_default(),
                    push: flags & PSH != 0,
                    ..candidate
                })
            }
            Transport::Udp => {
                let whole = word_at(header, UDP_LENGTH).map(usize::from) == Some(len);
                // Without a checksum it would come out with one.
                let unsummed = word_at(header, candidate.transport.checksum()) == Some(0);
                if !whole || candidate.payload == 0 || unsummed {
                    return Self::Seals(candidate.key);
                }
                Self::Candidate(candidate)
            }
        }
    }
}

impl Candidate {
    /// Whether `next`, of the same flow, continues a run of `count` packets with `payload` bytes of payload in
    /// all that starts with this one.
    pub(crate) fn continued_by(
        &self,
        next: &Self,
        [first, second]: [&[u8]; 2],
        count: usize,
        payload: usize,
    ) -> bool {
        next.headers == self.headers
            && next.payload <= self.payload
            && self.headers.saturating_add(payload).saturating_add(next.payload) <= MAX_PACKET
            && self.same_ip(first, second, count)
            && self.same_transport(next, first, second, payload)
    }

    fn same_ip(&self, first: &[u8], second: &[u8], count: usize) -> bool {
        let same = |range: Range<usize>| first.get(range.clone()) == second.get(range);
        match self.family {
            // Version, TOS byte; flags, TTL. The ID of a packet that is never fragmented means nothing
            // (RFC 6864 §4.1).
            Family::V4 => {
                let id = |packet| word_at(packet, IPV4_ID).unwrap_or_default();
                let is_atomic = word_at(first, IPV4_FRAGMENT) == Some(IPV4_DF);
                same(0..2)
                    && same(IPV4_FRAGMENT..10)
                    && (is_atomic || id(second) == id(first).wrapping_add(count as u16))
            }
            // Version, traffic class, flow label; next header, hop limit.
            Family::V6 => same(0..4) && same(6..8),
        }
    }

    fn same_transport<'p>(
        &self,
        next: &Self,
        first: &'p [u8],
        second: &'p [u8],
        payload: usize,
    ) -> bool {
        if self.transport == Transport::Udp {
            return true;
        }
        let header = |packet: &'p [u8]| packet.get(self.transport_at..self.headers);
        let (Some(first), Some(second)) = (header(first), header(second)) else {
            return false;
        };
        let same = |range: Range<usize>| first.get(range.clone()) == second.get(range);
        let flags = |header: &[u8]| header.get(TCP_FLAGS).map(|flags| flags & !PSH);
        next.sequence == self.sequence.wrapping_add(payload as u32)
            && same(TCP_ACK..TCP_FLAGS)
            && flags(first) == flags(second)
            && same(TCP_WINDOW..TCP_WINDOW + 2)
            && first.get(TCP_URGENT..) == second.get(TCP_URGENT..)
    }

    /// Whether the checksums are right. Those of a superpacket are made anew: a wrong one must not come out
    /// right.
    pub(crate) fn verify(&self, packet: &[u8]) -> bool {
        let (ip, transport) = packet.split_at(self.transport_at);
        let ip_fits = match self.family {
            Family::V4 => Sum::default().bytes(ip).verify(),
            Family::V6 => true,
        };
        ip_fits && self.pseudo_header(packet, packet.len()).bytes(transport).verify()
    }

    /// The sum of the pseudo-header of a packet with the addresses of `packet` and `total` bytes.
    pub(crate) fn pseudo_header(&self, packet: &[u8], total: usize) -> Sum {
        let len = total.saturating_sub(self.transport_at) as u16;
        let addresses = self.family.addresses(packet);
        Sum::default().pseudo_header(addresses, self.transport.protocol(), len)
    }

    /// The virtio header of a superpacket that starts with this packet, behind `link` bytes of a frame's header.
    pub(crate) fn virtio_header(&self, link: usize) -> VirtioNetHdr {
        let gso_type = match (self.transport, self.family) {
            (Transport::Tcp, Family::V4) => GSO_TCPV4,
            (Transport::Tcp, Family::V6) => GSO_TCPV6,
            (Transport::Udp, _) => GSO_UDP_L4,
        };
        VirtioNetHdr {
            flags: NEEDS_CSUM,
            gso_type,
            // The kernel allocates so many linear bytes (`tun_alloc_skb`): zero would mean all.
            hdr_len: link.saturating_add(self.headers) as u16,
            gso_size: self.payload as u16,
            csum_start: link.saturating_add(self.transport_at) as u16,
            csum_offset: self.transport.checksum() as u16,
        }
    }

    /// Makes `headers`, those of the first packet, those of the whole, which has so many bytes of payload. The
    /// checksum field is left with the sum of the pseudo-header, as [`NEEDS_CSUM`] says.
    pub(crate) fn complete_headers(&self, payload: usize, headers: &mut [u8]) {
        let total = self.headers.saturating_add(payload);
        let partial = self.pseudo_header(headers, total).fold();
        let (ip, transport) = headers.split_at_mut(self.transport_at);
        self.family.set_length(ip, total);
        if self.family == Family::V4 {
            put(ip, IPV4_CHECKSUM, [0; 2]);
            let sum = Sum::default().bytes(ip);
            put(ip, IPV4_CHECKSUM, sum.checksum());
        }
        match self.transport {
            Transport::Tcp => {
                if let Some(flags) = transport.get_mut(TCP_FLAGS).filter(|_| self.push) {
                    *flags |= PSH;
                }
            }
            Transport::Udp => {
                let len = total.saturating_sub(self.transport_at) as u16;
                put(transport, UDP_LENGTH, len.to_be_bytes());
            }
        }
        put(transport, self.transport.checksum(), partial);
    }
}

impl FlowKey {
    fn new(transport_header: &[u8], protocol: u8, ip: &IpHeader) -> Self {
        Self {
            ports: transport_header.first_chunk().copied().unwrap_or_default(),
            protocol,
            source: ip.source,
            destination: ip.destination,
        }
    }
}

fn is_whole_and_without_options(packet: &[u8]) -> bool {
    packet.first() == Some(&(0x40 | (IPV4_HEADER as u8 / 4)))
        && word_at(packet, IPV4_FRAGMENT).is_some_and(|fragment| fragment & !IPV4_DF == 0)
}

/// Bytes of the largest headers: a frame's, IPv6 without extensions, TCP with all options.
pub(crate) const MAX_HEADERS: usize = MAX_FRAME_HEADER + 40 + 60;
/// Most bytes of a superpacket: what the IPv4 length field can say.
const MAX_PACKET: usize = 65_535;
/// "Don't fragment", in the word with the fragment offset.
const IPV4_DF: u16 = 0x4000;
