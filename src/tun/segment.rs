//! A packet as the device gives it, and its splitting into segments.
//!
//! The kernel hands over TCP and UDP of one flow as one superpacket: one set of headers, the payload of all
//! segments back to back, and checksums left to the reader. Splitting is what the kernel's own segmentation
//! does (`tcp_gso_segment`, `__udp_gso_segment`).

use super::layout::{
    CWR, FIN, Family, IPV4_CHECKSUM, IPV4_ID, IPV4_LENGTH, PSH, TCP_FLAGS, TCP_HEADER,
    TCP_SEQUENCE, Transport, UDP_LENGTH, long_at, put, word_at,
};
use super::virtio::{GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, VirtioNetHdr};
use crate::wire::checksum::Sum;
use crate::wire::ip::{IpHeader, NotIp, Superpacket};

/// A packet or superpacket in the buffer it was read into.
///
/// [`IpHeader::parse`] of its [`header`](Superpacket::header) succeeds; checksums of what
/// [`write_segment`](Superpacket::write_segment) writes are complete.
#[derive(Clone, Copy, Debug)]
pub struct TunPacket<'a> {
    bytes: &'a [u8],
    split: Option<Split>,
}

/// Why a packet cannot be taken as the device gave it. Discard it and go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than the virtio header.
    #[error("shorter than its virtio header")]
    Short,
    /// Not an IP packet.
    #[error("not an IP packet ({0:?})")]
    NotIp(NotIp),
    /// A superpacket of a kind that was not asked for.
    #[error("a superpacket of unknown type {0:#04x}")]
    GsoType(u8),
    /// A superpacket with segments of no bytes.
    #[error("a superpacket of empty segments")]
    GsoSize,
    /// Headers and virtio header contradict each other, or the bytes end before the headers do.
    #[error("headers that contradict the virtio header")]
    Headers,
    /// The checksum would have to be written outside of the packet.
    #[error("a checksum outside of the packet")]
    Checksum,
}

impl<'a> TunPacket<'a> {
    /// Takes the packet that follows `header`; any input is fine. The checksum of a single packet is
    /// completed in place, and bytes after the packet's own length are left off.
    ///
    /// # Errors
    /// [`Malformed`], if what was read makes no sense.
    pub fn parse(header: &VirtioNetHdr, packet: &'a mut [u8]) -> Result<Self, Malformed> {
        let ip = IpHeader::parse(packet).map_err(Malformed::NotIp)?;
        let bytes = packet.get_mut(..ip.total_len).ok_or(Malformed::NotIp(NotIp::Length))?;
        if header.gso_kind() != GSO_NONE {
            let split = Some(Split::new(header, bytes)?);
            return Ok(Self { bytes, split });
        }
        if header.needs_csum() {
            complete_checksum(header, bytes)?;
        }
        Ok(Self { bytes, split: None })
    }
}

impl Superpacket for TunPacket<'_> {
    fn header(&self) -> &[u8] {
        self.bytes
    }

    fn count(&self) -> usize {
        self.split.map_or(1, |split| split.count)
    }

    fn segment_size(&self) -> usize {
        match self.split {
            Some(split) if split.count > 1 => split.headers + split.gso_size,
            _ => self.bytes.len(),
        }
    }

    fn last_size(&self) -> usize {
        match self.split {
            Some(split) => self.bytes.len() - (split.count - 1) * split.gso_size,
            None => self.bytes.len(),
        }
    }

    fn write_segment(&self, index: usize, out: &mut [u8]) {
        match &self.split {
            Some(split) => split.write(self.bytes, index, out),
            None => out.copy_from_slice(self.bytes),
        }
    }
}

/// How to split a superpacket: what is the same for all segments, found once.
#[derive(Clone, Copy, Debug)]
struct Split {
    family: Family,
    transport: Transport,
    /// Offset of the transport header.
    transport_at: usize,
    /// Bytes of all headers. The virtio header's own figure is wrong for forwarded packets.
    headers: usize,
    gso_size: usize,
    count: usize,
    /// Of the IPv4 header without length, ID and checksum.
    ip_sum: Sum,
    /// Of pseudo-header and transport header without the fields that change.
    transport_sum: Sum,
}

impl Split {
    fn new(header: &VirtioNetHdr, bytes: &[u8]) -> Result<Self, Malformed> {
        let family = Family::of(bytes).ok_or(Malformed::NotIp(NotIp::Version))?;
        let transport = match (header.gso_kind(), family) {
            (GSO_TCPV4, Family::V4) | (GSO_TCPV6, Family::V6) => Transport::Tcp,
            (GSO_UDP_L4, _) => Transport::Udp,
            (GSO_TCPV4 | GSO_TCPV6, _) => return Err(Malformed::Headers),
            _ => return Err(Malformed::GsoType(header.gso_type)),
        };
        let transport_at = transport_offset(header, family, transport, bytes)?;
        let after_ip = bytes.get(transport_at..).ok_or(Malformed::Headers)?;
        let transport_header = transport.header_len(after_ip).ok_or(Malformed::Headers)?;
        let headers = transport_at + transport_header;
        let gso_size = usize::from(header.gso_size);
        if gso_size == 0 {
            return Err(Malformed::GsoSize);
        }
        Ok(Self {
            family,
            transport,
            transport_at,
            headers,
            gso_size,
            count: (bytes.len() - headers).div_ceil(gso_size).max(1),
            ip_sum: ip_sum(family, &bytes[..transport_at]),
            transport_sum: pseudo_header_sum(family, transport, transport_at, bytes)
                .bytes(&constant_part(transport, &after_ip[..transport_header])),
        })
    }

    fn write(&self, bytes: &[u8], index: usize, out: &mut [u8]) {
        let (headers, payload) = bytes.split_at(self.headers);
        let start = index.saturating_mul(self.gso_size).min(payload.len());
        let end = start.saturating_add(self.gso_size).min(payload.len());
        let payload = &payload[start..end];
        let total = out.len();

        let (out_headers, out_payload) = out.split_at_mut(self.headers);
        out_headers.copy_from_slice(headers);
        out_payload.copy_from_slice(payload);
        let (ip, transport) = out_headers.split_at_mut(self.transport_at);
        self.write_ip(ip, index, total);
        let len = (total - self.transport_at) as u16;
        let sum = self.transport_sum.word(len).bytes(payload);
        let sum = match self.transport {
            Transport::Tcp => sum.bytes(&self.write_tcp(transport, index, start)),
            Transport::Udp => {
                put(transport, UDP_LENGTH, len.to_be_bytes());
                sum.word(len)
            }
        };
        put(transport, self.transport.checksum(), self.transport.finish(sum));
    }

    fn write_ip(&self, ip: &mut [u8], index: usize, total: usize) {
        self.family.set_length(ip, total);
        if self.family == Family::V4 {
            let id = word_at(ip, IPV4_ID).unwrap_or_default().wrapping_add(index as u16);
            put(ip, IPV4_ID, id.to_be_bytes());
            let sum = self.ip_sum.word(total as u16).word(id);
            put(ip, IPV4_CHECKSUM, sum.checksum());
        }
    }

    /// Sets sequence number and flags of the segment that starts `start` bytes into the payload; returns them
    /// for the sum.
    fn write_tcp(&self, tcp: &mut [u8], index: usize, start: usize) -> [u8; 6] {
        let sequence =
            long_at(tcp, TCP_SEQUENCE).unwrap_or_default().wrapping_add(start as u32).to_be_bytes();
        put(tcp, TCP_SEQUENCE, sequence);
        let mut flags = tcp.get(TCP_FLAGS).copied().unwrap_or_default();
        if index > 0 {
            flags &= !CWR;
        }
        if index + 1 < self.count {
            flags &= !(FIN | PSH);
        }
        put(tcp, TCP_FLAGS, [flags]);
        let [s0, s1, s2, s3] = sequence;
        // The flags are the second byte of their word.
        [s0, s1, s2, s3, 0, flags]
    }
}

/// Where the transport header starts. Only `csum_start` tells it behind IPv6 extension headers.
fn transport_offset(
    header: &VirtioNetHdr,
    family: Family,
    transport: Transport,
    bytes: &[u8],
) -> Result<usize, Malformed> {
    let end_of_ip = match family {
        Family::V4 => usize::from(bytes[0] & 0xf) * 4,
        Family::V6 => family.fixed_header(),
    };
    let at = match header.needs_csum() {
        true => usize::from(header.csum_start),
        false => end_of_ip,
    };
    let behind_extensions = family == Family::V6 && at > end_of_ip;
    let protocol_fits =
        behind_extensions || bytes.get(family.protocol()) == Some(&transport.protocol());
    let offset_fits = behind_extensions || (at == end_of_ip && end_of_ip >= family.fixed_header());
    if protocol_fits && offset_fits && at <= bytes.len() { Ok(at) } else { Err(Malformed::Headers) }
}

/// Of the pseudo-header without its length.
fn pseudo_header_sum(
    family: Family,
    transport: Transport,
    transport_at: usize,
    bytes: &[u8],
) -> Sum {
    if transport_at > family.fixed_header() && family == Family::V6 {
        // With a routing header the destination there is not the one in the sum (RFC 8200 §8.1). The
        // kernel knew which: it left the sum, with the whole length, in the checksum field.
        let field = transport_at + transport.checksum();
        let partial = word_at(bytes, field).unwrap_or_default();
        let len = (bytes.len() - transport_at) as u16;
        return Sum::default().word(partial).word(!len);
    }
    Sum::default().pseudo_header(&bytes[family.addresses()], transport.protocol(), 0)
}

fn ip_sum(family: Family, ip: &[u8]) -> Sum {
    match family {
        Family::V4 => Sum::default()
            .bytes(&ip[..IPV4_LENGTH])
            .bytes(&ip[IPV4_ID + 2..IPV4_CHECKSUM])
            .bytes(&ip[IPV4_CHECKSUM + 2..]),
        Family::V6 => Sum::default(),
    }
}

/// The transport header with zeros for what differs between segments.
fn constant_part(transport: Transport, header: &[u8]) -> [u8; MAX_TCP_HEADER] {
    let mut part = [0; MAX_TCP_HEADER];
    part[..header.len()].copy_from_slice(header);
    put(&mut part, transport.checksum(), [0; 2]);
    match transport {
        Transport::Tcp => {
            put(&mut part, TCP_SEQUENCE, [0; 4]);
            put(&mut part, TCP_FLAGS, [0]);
        }
        Transport::Udp => put(&mut part, UDP_LENGTH, [0; 2]),
    }
    part
}

/// What the kernel does for a device without checksum offload (`skb_checksum_help`).
fn complete_checksum(header: &VirtioNetHdr, bytes: &mut [u8]) -> Result<(), Malformed> {
    let family = Family::of(bytes).ok_or(Malformed::NotIp(NotIp::Version))?;
    let start = usize::from(header.csum_start);
    let field = start + usize::from(header.csum_offset);
    if start < family.fixed_header() || field + 2 > bytes.len() {
        return Err(Malformed::Checksum);
    }
    let sum = Sum::default().bytes(&bytes[start..]);
    put(bytes, field, sum.nonzero_checksum());
    Ok(())
}

/// Bytes of a TCP header with all the options that fit.
const MAX_TCP_HEADER: usize = 60;
const _: () = assert!(MAX_TCP_HEADER > TCP_HEADER);

#[cfg(test)]
mod tests;
