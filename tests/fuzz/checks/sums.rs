//! Checksums of inner packets, judged and made without the code under test.

use crate::packets::sum;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Where the transport header of a whole packet starts, right after the IP header, and where in it the checksum is;
/// `None` if that is no TCP or UDP.
pub(crate) fn transport(packet: &[u8]) -> Option<(usize, usize)> {
    let (at, protocol) = match packet.first()? >> 4 {
        4 => (usize::from(packet[0] & 0xf) * 4, packet.get(9)?),
        6 => (40, packet.get(6)?),
        _ => return None,
    };
    let field = match *protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    (at >= 20 && packet.len() >= at + field + 2).then_some((at, field))
}

/// The sum of pseudo-header and all after the IP header.
fn transport_sum(packet: &[u8], at: usize) -> u16 {
    let pseudo_header = pseudo_header_sum(packet, packet.len() - at).to_be_bytes();
    sum(&[&pseudo_header, &packet[at..]].concat())
}

/// The sum of the pseudo-header of `len` bytes.
fn pseudo_header_sum(packet: &[u8], len: usize) -> u16 {
    let (addresses, protocol) = if packet[0] >> 4 == 6 {
        (&packet[8..40], packet[6])
    } else {
        (&packet[12..20], packet[9])
    };
    sum(&[addresses, &[0, protocol], &(len as u16).to_be_bytes()].concat())
}

/// Whether the checksum of the IPv4 header is right; IPv6 has none.
pub(crate) fn ip_fits(packet: &[u8]) -> bool {
    let header = usize::from(packet[0] & 0xf) * 4;
    packet[0] >> 4 != 4 || packet.get(..header).is_some_and(|header| sum(header) == 0xffff)
}

/// Whether the checksum of TCP or UDP is right.
pub(crate) fn transport_fits(packet: &[u8]) -> bool {
    transport(packet).is_none_or(|(at, _)| transport_sum(packet, at) == 0xffff)
}

/// Whether the checksum of an ICMP packet of either version, without options, is right.
pub(crate) fn icmp_fits(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        4 => sum(&packet[20..]) == 0xffff,
        _ => transport_sum(packet, 40) == 0xffff,
    }
}

/// Makes the checksums of a packet right, as far as it has any.
pub(crate) fn repair(packet: &mut [u8]) {
    let Some((at, field)) = transport(packet) else {
        return;
    };
    if packet[0] >> 4 == 4 {
        put(packet, 10, 0);
        put(packet, 10, !sum(&packet[..at]));
    }
    put(packet, at + field, 0);
    put(packet, at + field, !transport_sum(packet, at));
}

/// Leaves the checksum of TCP or UDP to the reader, as the kernel does: its field holds the sum of the pseudo-header.
pub(crate) fn leave_to_reader(packet: &mut [u8]) {
    if let Some((at, field)) = transport(packet) {
        let all = packet.len() - at;
        put(packet, at + field, pseudo_header_sum(packet, all));
    }
}

fn put(packet: &mut [u8], at: usize, field: u16) {
    packet[at..at + 2].copy_from_slice(&field.to_be_bytes());
}
