//! Which packets may be coalesced with others of their flow, and what the rest do to the order in it.

use std::net::IpAddr;

use super::Offloads;
use super::layout::{
    ACK, ECE, Family, IPV4_CHECKSUM, IPV4_FRAGMENT, IPV4_ID, PSH, TCP_ACK, TCP_DATA_OFFSET,
    TCP_FLAGS, TCP_SEQUENCE, TCP_URGENT, TCP_WINDOW, Transport, UDP_LENGTH, long_at, put, word_at,
};
use super::virtio::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VirtioNetHdr};
use crate::wire::checksum::Sum;
use crate::wire::ip::{IPV4_HEADER, IpHeader};

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
    /// Offset of the transport header.
    pub(crate) transport_at: usize,
    /// Bytes of all headers.
    pub(crate) headers: usize,
    /// Bytes of the payload; at least one.
    pub(crate) payload: usize,
    /// TCP: of the first payload byte.
    sequence: u32,
    /// TCP: that payload should be handed on at once.
    pub(crate) push: bool,
    /// UDP over IPv4: the sender left the checksum out.
    unsummed: bool,
}

impl Verdict {
    /// Judges a packet of exactly `ip.total_len` bytes.
    pub(crate) fn of(packet: &[u8], ip: &IpHeader, offloads: Offloads) -> Self {
        let Some(family) = Family::of(packet) else {
            return Self::Passes;
        };
        let protocol = packet[family.protocol()];
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
        let transport_at = family.fixed_header();
        let Some(headers) = transport.header_len(&packet[transport_at..]) else {
            return Self::SealsAddresses;
        };
        if family == Family::V4 && !is_whole_and_without_options(packet) {
            return Self::SealsAddresses;
        }
        Self::of_transport(
            packet,
            Candidate {
                key: FlowKey::new(&packet[transport_at..], protocol, ip),
                family,
                transport,
                transport_at,
                headers: transport_at + headers,
                payload: packet.len() - transport_at - headers,
                sequence: 0,
                push: false,
                unsummed: false,
            },
        )
    }

    fn of_transport(packet: &[u8], candidate: Candidate) -> Self {
        let header = &packet[candidate.transport_at..];
        if packet.len() > MAX_PACKET {
            return Self::Seals(candidate.key);
        }
        match candidate.transport {
            Transport::Tcp => {
                let flags = header[TCP_FLAGS];
                let reserved = header[TCP_DATA_OFFSET] & 0xf;
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
                let whole = word_at(header, UDP_LENGTH).map(usize::from) == Some(header.len());
                let unsummed = word_at(header, candidate.transport.checksum()) == Some(0);
                if !whole || candidate.payload == 0 || (unsummed && candidate.family == Family::V6)
                {
                    return Self::Seals(candidate.key);
                }
                Self::Candidate(Candidate { unsummed, ..candidate })
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
            && next.unsummed == self.unsummed
            && self.headers + payload + next.payload <= MAX_PACKET
            && self.same_ip(first, second, count)
            && self.same_transport(next, first, second, payload)
    }

    fn same_ip(&self, first: &[u8], second: &[u8], count: usize) -> bool {
        let same = |range: std::ops::Range<usize>| first.get(range.clone()) == second.get(range);
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

    fn same_transport(&self, next: &Self, first: &[u8], second: &[u8], payload: usize) -> bool {
        if self.transport == Transport::Udp {
            return true;
        }
        let at = self.transport_at;
        let same = |from: usize, to: usize| first.get(from..to) == second.get(from..to);
        let flags = |packet: &[u8]| packet.get(at + TCP_FLAGS).map(|flags| flags & !PSH);
        next.sequence == self.sequence.wrapping_add(payload as u32)
            && same(at + TCP_ACK, at + TCP_FLAGS)
            && flags(first) == flags(second)
            && same(at + TCP_WINDOW, at + TCP_WINDOW + 2)
            && same(at + TCP_URGENT, self.headers)
    }

    /// Whether the checksums are right. Those of a superpacket are made anew: a wrong one must not come out
    /// right.
    pub(crate) fn verify(&self, packet: &[u8]) -> bool {
        let (ip, transport) = packet.split_at(self.transport_at);
        let ip_fits = match self.family {
            Family::V4 => Sum::default().bytes(ip).verify(),
            Family::V6 => true,
        };
        ip_fits
            && (self.unsummed || self.pseudo_header(packet, packet.len()).bytes(transport).verify())
    }

    /// The sum of the pseudo-header of a packet with the addresses of `packet` and `total` bytes.
    pub(crate) fn pseudo_header(&self, packet: &[u8], total: usize) -> Sum {
        let len = (total - self.transport_at) as u16;
        Sum::default().pseudo_header(
            &packet[self.family.addresses()],
            self.transport.protocol(),
            len,
        )
    }

    /// The virtio header of a superpacket that starts with this packet.
    pub(crate) fn virtio_header(&self) -> VirtioNetHdr {
        let gso_type = match (self.transport, self.family) {
            (Transport::Tcp, Family::V4) => GSO_TCPV4,
            (Transport::Tcp, Family::V6) => GSO_TCPV6,
            (Transport::Udp, _) => GSO_UDP_L4,
        };
        VirtioNetHdr {
            flags: NEEDS_CSUM,
            gso_type,
            // The kernel allocates so many linear bytes (`tun_alloc_skb`): zero would mean all.
            hdr_len: self.headers as u16,
            gso_size: self.payload as u16,
            csum_start: self.transport_at as u16,
            csum_offset: self.transport.checksum() as u16,
        }
    }

    /// The headers of the whole, with so many bytes of payload: of the first packet, with the lengths of all
    /// and the last one's PSH. The checksum field is left with the sum of the pseudo-header, as
    /// [`NEEDS_CSUM`] says.
    pub(crate) fn write_headers(&self, [first, last]: [&[u8]; 2], payload: usize, out: &mut [u8]) {
        out.copy_from_slice(&first[..self.headers]);
        let total = self.headers + payload;
        self.family.set_length(out, total);
        if self.family == Family::V4 {
            put(out, IPV4_CHECKSUM, [0; 2]);
            let sum = Sum::default().bytes(&out[..self.transport_at]);
            put(out, IPV4_CHECKSUM, sum.checksum());
        }
        let partial = self.pseudo_header(first, total).fold();
        let transport = &mut out[self.transport_at..];
        match self.transport {
            Transport::Tcp => transport[TCP_FLAGS] |= last[self.transport_at + TCP_FLAGS] & PSH,
            Transport::Udp => {
                let len = (total - self.transport_at) as u16;
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
    packet[0] == (0x40 | (IPV4_HEADER as u8 / 4))
        && word_at(packet, IPV4_FRAGMENT).is_some_and(|fragment| fragment & !IPV4_DF == 0)
}

/// Bytes of the largest headers: IPv6 without extensions, TCP with all options.
pub(crate) const MAX_HEADERS: usize = 40 + 60;
/// Most bytes of a superpacket: what the IPv4 length field can say.
const MAX_PACKET: usize = 65_535;
/// "Don't fragment", in the word with the fragment offset.
const IPV4_DF: u16 = 0x4000;
const ICMPV6: u8 = 58;
