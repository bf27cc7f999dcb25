//! The answer to an inner packet that belongs to nobody: destination unreachable, as a router would say
//! (RFC 792, RFC 4443 §3.1), so that programs fail at once instead of waiting.

use std::net::IpAddr;

use zerocopy::{FromZeros, IntoBytes};

use super::checksum::Sum;
use super::ip::{IPV4_HEADER, IpHeader, Ipv4Header, Ipv6Header};
use super::upper::{ICMP, ICMPV6, Part, UpperLayer};

/// Most bytes of the packet that are quoted: the answer then fits any path.
const MAX_QUOTE: usize = 512;
/// Type, code, checksum and four unused bytes.
const ICMP_HEADER: usize = 8;

/// The packet that tells the sender of `packet` that nobody is there. It comes from the address that was not
/// reached: one of our own would make the kernel refuse it as a forgery. `None` if there must be no answer: to
/// multicast, to another error, to a fragment, or from nowhere.
#[must_use]
pub fn unreachable(packet: &[u8]) -> Option<Vec<u8>> {
    let header = IpHeader::parse_fixed(packet)?;
    let silent = header.destination.is_multicast()
        || header.source.is_multicast()
        || header.source.is_unspecified()
        || is_error_or_fragment(packet)?;
    if silent {
        return None;
    }
    answer(&header, packet.get(..MAX_QUOTE).unwrap_or(packet))
}

/// Whether it is an error itself, or a fragment that does not tell.
fn is_error_or_fragment(packet: &[u8]) -> Option<bool> {
    let UpperLayer { protocol, at, part } = UpperLayer::of(packet)?;
    let is_error = match (protocol, packet.get(at)) {
        // Echo request and reply are the queries that are still in use.
        (ICMP, kind) => !matches!(kind, Some(0 | 8)),
        (ICMPV6, kind) => kind.is_none_or(|kind| *kind < 128),
        _ => false,
    };
    Some(is_error || part == Part::Later)
}

/// Host unreachable (type 3, code 1), or address unreachable (type 1, code 3).
fn answer(header: &IpHeader, quote: &[u8]) -> Option<Vec<u8>> {
    let len = ICMP_HEADER.saturating_add(quote.len()) as u16;
    let (mut packet, kind, sum) = match (header.destination, header.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = Ipv4Header {
                version_ihl: 0x45,
                tos: 0xc0,
                total_len: len.saturating_add(IPV4_HEADER as u16).into(),
                ttl: 64,
                protocol: ICMP,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv4Header::new_zeroed()
            };
            header.checksum = Sum::default().bytes(header.as_bytes()).checksum();
            (header.as_bytes().to_vec(), [3, 1], Sum::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                version_class_flow: [0x60, 0, 0, 0],
                payload_len: len.into(),
                next_header: ICMPV6,
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
            };
            let addresses = [from.octets(), to.octets()];
            let sum = Sum::default().pseudo_header(addresses.as_flattened(), ICMPV6, len);
            (header.as_bytes().to_vec(), [1, 3], sum)
        }
        _ => return None,
    };
    packet.extend(kind);
    packet.extend(sum.bytes(&kind).bytes(quote).checksum());
    packet.extend([0; ICMP_HEADER - 4]);
    packet.extend(quote);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp4(destination: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1];
        packet.extend(destination);
        packet.extend([0; 8]);
        packet
    }

    fn icmp6(destination: &str, icmp_type: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, ICMPV6, 64];
        for address in ["fd77::1", destination] {
            packet.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
        }
        packet.extend([icmp_type, 0, 0, 0, 0, 0, 0, 0]);
        packet
    }

    #[test]
    fn an_ipv4_packet_is_quoted_in_a_valid_answer() {
        let packet = udp4([10, 99, 0, 1]);
        let answer = unreachable(&packet).unwrap();
        let header = IpHeader::parse(&answer).unwrap();
        let addresses = (IpAddr::from([10, 99, 0, 1]), IpAddr::from([10, 77, 0, 1]));
        assert_eq!((header.source, header.destination), addresses);
        assert_eq!(answer[20..22], [3, 1]);
        assert_eq!(answer[28..], packet);
        assert!(Sum::default().bytes(&answer[..20]).verify());
        assert!(Sum::default().bytes(&answer[20..]).verify());
    }

    #[test]
    fn an_ipv6_packet_is_quoted_in_a_valid_answer() {
        let packet = icmp6("fd99::1", 128);
        let answer = unreachable(&packet).unwrap();
        assert_eq!(IpHeader::parse(&answer).unwrap().total_len, 40 + 8 + packet.len());
        assert_eq!(answer[40..42], [1, 3]);
        let pseudo_header = [0, 0, answer[4], answer[5], 0, 0, 0, ICMPV6];
        let sum = Sum::default().bytes(&answer[8..40]).bytes(&pseudo_header);
        assert!(sum.bytes(&answer[40..]).verify());
    }

    #[test]
    fn there_is_no_answer_to_multicast_errors_or_fragments() {
        assert_eq!(unreachable(&udp4([224, 0, 0, 1])), None);
        assert_eq!(unreachable(&icmp6("ff02::2", 133)), None);
        assert_eq!(unreachable(&icmp6("fd99::1", 1)), None);
        let mut fragment = udp4([10, 99, 0, 1]);
        fragment[7] = 1;
        assert_eq!(unreachable(&fragment), None);
        let mut error = udp4([10, 99, 0, 1]);
        (error[9], error[20]) = (ICMP, 3);
        assert_eq!(unreachable(&error), None);
        assert_eq!(unreachable(&[]), None);
    }
}
