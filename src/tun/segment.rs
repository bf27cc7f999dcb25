//! A packet as the device gives it, and its splitting into segments.
//!
//! The kernel hands over TCP and UDP of one flow as one superpacket: one set of headers, the payload of all
//! segments back to back, and checksums left to the reader. Splitting is what the kernel's own segmentation
//! does (`tcp_gso_segment`, `__udp_gso_segment`).

use super::layout::{
    CWR, FIN, Family, IPV4_CHECKSUM, IPV4_ID, IPV4_LENGTH, PSH, TCP_FLAGS, TCP_SEQUENCE, Transport,
    UDP_LENGTH, long_at, put, word_at,
};
use super::virtio::{GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, VirtioNetHdr};
use crate::wire::Layer;
use crate::wire::Superpacket;
use crate::wire::checksum::Sum;
use crate::wire::ethernet::FrameHeader;
use crate::wire::ip::{IpHeader, NotIp};

/// A packet or superpacket, or a frame of either, in the buffer it was read into.
///
/// [`IpHeader::parse`] of a packet's [`header`](Superpacket::header) succeeds, and so does [`FrameHeader::parse`] of a
/// frame's; checksums of what [`write_segment`](Superpacket::write_segment) writes are complete.
#[derive(Clone, Copy, Debug)]
pub struct TunPacket<'a> {
    bytes: &'a [u8],
    /// Bytes before the IP header: the header of a frame that is split.
    ip_at: usize,
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
    /// Not an Ethernet frame.
    #[error("shorter than the header of its frame")]
    NotFrame,
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
            let split = Some(Split::new(header, bytes, usize::MAX)?);
            return Ok(Self { bytes, ip_at: 0, split });
        }
        if header.needs_csum() {
            complete_checksum(header, bytes)?;
        }
        Ok(Self { bytes, ip_at: 0, split: None })
    }

    /// Takes the frame that follows `header`; any input is fine. The checksum of a single frame is completed in place.
    /// A superpacket of TCP is split so that no frame has more than `longest` bytes, if that leaves room for data: as a
    /// stream it may be cut anywhere.
    ///
    /// # Errors
    /// [`Malformed`], if what was read makes no sense.
    pub fn parse_frame(
        header: &VirtioNetHdr,
        frame: &'a mut [u8],
        longest: usize,
    ) -> Result<Self, Malformed> {
        FrameHeader::parse(frame).ok_or(Malformed::NotFrame)?;
        if header.gso_kind() == GSO_NONE && !header.needs_csum() {
            return Ok(Self { bytes: frame, ip_at: 0, split: None });
        }
        let ip_at = Layer::Ethernet.ip_at(frame).ok_or(Malformed::NotIp(NotIp::Version))?;
        let header = &header.without_link(ip_at).ok_or(Malformed::Checksum)?;
        if header.gso_kind() == GSO_NONE {
            complete_checksum(header, frame.get_mut(ip_at..).unwrap_or_default())?;
            return Ok(Self { bytes: frame, ip_at: 0, split: None });
        }
        let packet = frame.get(ip_at..).unwrap_or_default();
        let ip = IpHeader::parse(packet).map_err(Malformed::NotIp)?;
        let bytes = frame.get(..ip_at.saturating_add(ip.total_len));
        let bytes = bytes.ok_or(Malformed::NotIp(NotIp::Length))?;
        let packet = bytes.get(ip_at..).unwrap_or_default();
        let split = Some(Split::new(header, packet, longest.saturating_sub(ip_at))?);
        Ok(Self { bytes, ip_at, split })
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
            Some(split) if split.count > 1 => {
                self.ip_at.saturating_add(split.headers).saturating_add(split.gso_size)
            }
            _ => self.bytes.len(),
        }
    }

    fn last_size(&self) -> usize {
        self.split.map_or(self.bytes.len(), |split| self.ip_at.saturating_add(split.last_size))
    }

    fn write_segment(&self, index: usize, out: &mut [u8]) {
        match &self.split {
            Some(split) => {
                let (link, packet) = self.bytes.split_at(self.ip_at);
                let (out_link, out) = out.split_at_mut(self.ip_at);
                out_link.copy_from_slice(link);
                split.write(packet, index, out);
            }
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
    /// Bytes of the last segment.
    last_size: usize,
    /// Of the IPv4 header without length, ID and checksum.
    ip_sum: Sum,
    /// Of pseudo-header and transport header without the fields that change.
    transport_sum: Sum,
}

impl Split {
    /// Of the packet in `bytes`; segments of TCP have at most `longest` bytes, if any data fits in there.
    fn new(header: &VirtioNetHdr, bytes: &[u8], longest: usize) -> Result<Self, Malformed> {
        let (family, ..) = Family::split(bytes).ok_or(Malformed::NotIp(NotIp::Version))?;
        let transport = match (header.gso_kind(), family) {
            (GSO_TCPV4, Family::V4) | (GSO_TCPV6, Family::V6) => Transport::Tcp,
            (GSO_UDP_L4, _) => Transport::Udp,
            (GSO_TCPV4 | GSO_TCPV6, _) => return Err(Malformed::Headers),
            _ => return Err(Malformed::GsoType(header.gso_type)),
        };
        let transport_at = transport_offset(header, family, transport, bytes)?;
        let (ip, after_ip) = bytes.split_at_checked(transport_at).ok_or(Malformed::Headers)?;
        let (transport_header, payload) = transport.split(after_ip).ok_or(Malformed::Headers)?;
        let headers = ip.len().saturating_add(transport_header.len());
        let gso_size = match (usize::from(header.gso_size), longest.saturating_sub(headers)) {
            (0, _) => return Err(Malformed::GsoSize),
            (size, room @ 1..) if transport == Transport::Tcp => size.min(room),
            (size, _) => size,
        };
        let mut payloads = payload.chunks(gso_size);
        Ok(Self {
            family,
            transport,
            transport_at,
            headers,
            gso_size,
            count: payloads.len().max(1),
            last_size: payloads
                .next_back()
                .map_or(headers, |last| headers.saturating_add(last.len())),
            ip_sum: ip_sum(family, ip),
            transport_sum: constant_sum(
                transport,
                transport_header,
                pseudo_header_sum(family, transport, ip, after_ip),
            ),
        })
    }

    fn write(&self, bytes: &[u8], index: usize, out: &mut [u8]) {
        let (headers, payload) = bytes.split_at(self.headers);
        let payload = payload.chunks(self.gso_size).nth(index).unwrap_or_default();
        let total = out.len();

        let (out_headers, out_payload) = out.split_at_mut(self.headers);
        out_headers.copy_from_slice(headers);
        out_payload.copy_from_slice(payload);
        let (ip, transport) = out_headers.split_at_mut(self.transport_at);
        self.write_ip(ip, index, total);
        let len = total.saturating_sub(self.transport_at) as u16;
        let sum = self.transport_sum.word(len).bytes(payload);
        let sum = match self.transport {
            Transport::Tcp => sum.bytes(&self.write_tcp(transport, index)),
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

    /// Sets sequence number and flags of segment `index`; returns them for the sum.
    fn write_tcp(&self, tcp: &mut [u8], index: usize) -> [u8; 6] {
        let first = long_at(tcp, TCP_SEQUENCE).unwrap_or_default();
        let before = (index as u32).wrapping_mul(self.gso_size as u32);
        let sequence = first.wrapping_add(before).to_be_bytes();
        put(tcp, TCP_SEQUENCE, sequence);
        let mut flags = tcp.get(TCP_FLAGS).copied().unwrap_or_default();
        if index > 0 {
            flags &= !CWR;
        }
        if index.saturating_add(1) < self.count {
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
    let end_of_ip = family.header_len(bytes);
    let at = match header.needs_csum() {
        true => usize::from(header.csum_start),
        false => end_of_ip,
    };
    let behind_extensions = family == Family::V6 && at > end_of_ip;
    let protocol_fits = behind_extensions || family.protocol(bytes) == Some(transport.protocol());
    let offset_fits = behind_extensions || (at == end_of_ip && end_of_ip >= family.fixed_header());
    if protocol_fits && offset_fits && at <= bytes.len() { Ok(at) } else { Err(Malformed::Headers) }
}

/// Of the pseudo-header without its length.
fn pseudo_header_sum(family: Family, transport: Transport, ip: &[u8], after_ip: &[u8]) -> Sum {
    if ip.len() > family.fixed_header() && family == Family::V6 {
        // With a routing header the destination there is not the one in the sum (RFC 8200 §8.1). The
        // kernel knew which: it left the sum, with the whole length, in the checksum field.
        let partial = word_at(after_ip, transport.checksum()).unwrap_or_default();
        return Sum::default().word(partial).without(after_ip.len() as u16);
    }
    Sum::default().pseudo_header(family.addresses(ip), transport.protocol(), 0)
}

fn ip_sum(family: Family, ip: &[u8]) -> Sum {
    match family {
        Family::V4 => without(Sum::default().bytes(ip), ip, &[IPV4_LENGTH, IPV4_ID, IPV4_CHECKSUM]),
        Family::V6 => Sum::default(),
    }
}

/// Adds to `sum` what is the same in the transport headers of all segments.
fn constant_sum(transport: Transport, header: &[u8], sum: Sum) -> Sum {
    let sum = without(sum.bytes(header), header, &[transport.checksum()]);
    match transport {
        Transport::Tcp => {
            let flags = header.get(TCP_FLAGS).copied().unwrap_or_default();
            without(sum, header, &[TCP_SEQUENCE, TCP_SEQUENCE + 2]).without(u16::from(flags))
        }
        Transport::Udp => without(sum, header, &[UDP_LENGTH]),
    }
}

/// Takes the words of `header` at these offsets back from `sum`.
fn without(sum: Sum, header: &[u8], offsets: &[usize]) -> Sum {
    offsets.iter().filter_map(|at| word_at(header, *at)).fold(sum, Sum::without)
}

/// What the kernel does for a device without checksum offload (`skb_checksum_help`).
fn complete_checksum(header: &VirtioNetHdr, bytes: &mut [u8]) -> Result<(), Malformed> {
    let (family, ..) = Family::split(bytes).ok_or(Malformed::NotIp(NotIp::Version))?;
    let start = usize::from(header.csum_start);
    if start < family.fixed_header() {
        return Err(Malformed::Checksum);
    }
    let summed = bytes.get_mut(start..).ok_or(Malformed::Checksum)?;
    let checksum = Sum::default().bytes(summed).nonzero_checksum();
    let field = summed.get_mut(usize::from(header.csum_offset)..);
    *field.and_then(|rest| rest.first_chunk_mut()).ok_or(Malformed::Checksum)? = checksum;
    Ok(())
}

#[cfg(test)]
mod tests;
