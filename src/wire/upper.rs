//! What an IP packet carries, as far as it is found right behind the IP header: nothing behind other extension headers of
//! IPv6 than that of fragments.

use std::net::SocketAddr;

use super::ip::{IPV6_HEADER, IpHeader};

/// The upper-layer header of an IP packet (RFC 8200 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer {
    /// Its protocol.
    pub protocol: u8,
    /// Where it begins in the packet, which may end before that.
    pub at: usize,
    /// How much of what it begins is in the packet.
    pub part: Part,
}

/// What a packet has of the one that its sender made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment; in IPv6 perhaps the only one.
    First,
    /// A later fragment: there is payload where the header would be.
    Later,
}

/// Protocol numbers of IP.
pub const ICMP: u8 = 1;
/// See [`ICMP`].
pub const TCP: u8 = 6;
/// See [`ICMP`].
pub const UDP: u8 = 17;
/// See [`ICMP`].
pub const ICMPV6: u8 = 58;
/// See [`ICMP`].
pub const SCTP: u8 = 132;
/// The extension header of fragments.
const FRAGMENT: u8 = 44;

impl UpperLayer {
    /// Looks for it in the packet that starts `packet`; `None` if that is no IP packet or ends before its header does.
    #[inline]
    #[must_use]
    pub fn of(packet: &[u8]) -> Option<Self> {
        Some(match packet {
            [first @ 0x45..=0x4f, _, _, _, _, _, f0, f1, _, protocol, ..] => Self {
                protocol: *protocol,
                at: usize::from(*first & 0xf) << 2,
                part: match (f0 & 0x20, u16::from_be_bytes([f0 & 0x1f, *f1])) {
                    (0, 0) => Part::Whole,
                    (_, offset) => Part::of_fragment(offset),
                },
            },
            [0x60..=0x6f, _, _, _, _, _, FRAGMENT, ..] => {
                let (_, rest) = packet.split_at_checked(IPV6_HEADER)?;
                let [protocol, _, o0, o1, _, _, _, _] = *rest.first_chunk()?;
                let part = Part::of_fragment(u16::from_be_bytes([o0, o1]) >> 3);
                Self { protocol, at: IPV6_HEADER + 8, part }
            }
            [0x60..=0x6f, _, _, _, _, _, protocol, ..] => {
                Self { protocol: *protocol, at: IPV6_HEADER, part: Part::Whole }
            }
            _ => return None,
        })
    }
}

impl Part {
    fn of_fragment(offset: u16) -> Self {
        if offset == 0 { Self::First } else { Self::Later }
    }
}

/// Whether the packet that starts `packet` is a UDP datagram to `to`, or the first fragment of one: the others do
/// not tell their port.
#[must_use]
pub fn is_udp_to(packet: &[u8], to: SocketAddr) -> bool {
    let is_for = |ip: IpHeader| ip.destination == to.ip();
    IpHeader::parse_fixed(packet).is_some_and(is_for) && udp_port(packet) == Some(to.port())
}

/// The port that a UDP datagram is for.
fn udp_port(packet: &[u8]) -> Option<u16> {
    let upper = UpperLayer::of(packet)?;
    let [_, _, p0, p1] = *packet.get(upper.at..)?.first_chunk()?;
    let is_told = upper.protocol == UDP && upper.part != Part::Later;
    is_told.then(|| u16::from_be_bytes([p0, p1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(packet: &[u8]) -> Option<(u8, usize, Part)> {
        UpperLayer::of(packet).map(|UpperLayer { protocol, at, part }| (protocol, at, part))
    }

    fn ipv4(ihl: u8, [f0, f1]: [u8; 2]) -> [u8; 10] {
        [0x40 | ihl, 0, 0, 0, 0, 0, f0, f1, 64, UDP]
    }

    fn ipv6(next: u8, behind: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6]) = (0x6a, next);
        packet.extend(behind);
        packet
    }

    #[test]
    fn it_is_right_behind_the_header_of_ipv4_and_its_options() {
        for ihl in 5..=15 {
            let expected = Some((UDP, usize::from(ihl) * 4, Part::Whole));
            assert_eq!(found(&ipv4(ihl, [0, 0])), expected);
        }
        for ihl in 0..5 {
            assert_eq!(found(&ipv4(ihl, [0, 0])), None, "no header is that short");
        }
    }

    #[test]
    fn fragments_of_ipv4_are_told_by_offset_and_more_to_come() {
        let part = |bits| found(&ipv4(5, bits)).unwrap().2;
        // "Don't fragment", and the bit that means nothing.
        assert_eq!([part([0x40, 0]), part([0x80, 0])], [Part::Whole; 2]);
        assert_eq!(part([0x20, 0]), Part::First);
        for later in [[0x20, 1], [0, 1], [0x10, 0], [0x01, 0]] {
            assert_eq!(part(later), Part::Later);
        }
    }

    #[test]
    fn in_ipv6_it_is_behind_the_fixed_header_or_that_of_a_fragment() {
        assert_eq!(found(&ipv6(TCP, &[])), Some((TCP, 40, Part::Whole)));
        let fragment = |o0, o1| found(&ipv6(FRAGMENT, &[UDP, 0, o0, o1, 0, 0, 0, 0]));
        for bits in [0, 1, 6] {
            assert_eq!(fragment(0, bits), Some((UDP, 48, Part::First)));
        }
        assert_eq!(fragment(0, 8), Some((UDP, 48, Part::Later)));
        assert_eq!(fragment(1, 0), Some((UDP, 48, Part::Later)));
        assert_eq!(found(&ipv6(FRAGMENT, &[UDP; 7])), None);
        // Another extension header: it is not known what is behind it.
        assert_eq!(found(&ipv6(0, &[TCP; 8])), Some((0, 40, Part::Whole)));
    }

    #[test]
    fn what_is_no_ip_packet_has_none() {
        for packet in [&[][..], &[0x45; 9], &[0x60; 6], &[0x55; 64], &[0x75; 64]] {
            assert_eq!(found(packet), None);
        }
    }

    /// A datagram to port 51820, in a packet to 10.0.0.2 or ::2.
    fn datagram(v6: bool) -> Vec<u8> {
        let mut packet = if v6 { ipv6(UDP, &[0; 24]) } else { ipv4(5, [0, 0]).to_vec() };
        packet.resize(if v6 { 64 } else { 28 }, 0);
        if v6 {
            packet[39] = 2;
            packet[42..44].copy_from_slice(&[0xca, 0x6c]);
        } else {
            packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
            packet[22..24].copy_from_slice(&[0xca, 0x6c]);
        }
        packet
    }

    #[test]
    fn a_datagram_of_ours_is_known_by_address_and_port() {
        let to = "10.0.0.2:51820".parse().unwrap();
        let mut packet = datagram(false);
        assert!(is_udp_to(&packet, to));
        assert!(!is_udp_to(&packet, "10.0.0.2:51821".parse().unwrap()));
        assert!(!is_udp_to(&packet, "10.0.0.3:51820".parse().unwrap()));
        assert!(!is_udp_to(&packet[..22], to));
        packet[6] = 0x20;
        assert!(is_udp_to(&packet, to), "a first fragment");
        packet[7] = 1;
        assert!(!is_udp_to(&packet, to), "a later one");
        (packet[6], packet[7], packet[9]) = (0, 0, 6);
        assert!(!is_udp_to(&packet, to));

        let to = "[::2]:51820".parse().unwrap();
        let mut packet = datagram(true);
        assert!(is_udp_to(&packet, to));
        (packet[6], packet[40], packet[42], packet[43]) = (44, 17, 0, 1);
        (packet[50], packet[51]) = (0xca, 0x6c);
        assert!(is_udp_to(&packet, to), "a first fragment");
        packet[43] = 8;
        assert!(!is_udp_to(&packet, to), "a later one");
        (packet[40], packet[43]) = (6, 0);
        assert!(!is_udp_to(&packet, to));
    }
}
