//! Which flow a packet belongs to, as far as queueing needs to know.

use std::hash::{Hash as _, Hasher};

use super::ip::IpHeader;
use super::upper::{Part, SCTP, TCP, UDP, UpperLayer};

/// Feeds `hasher` with what all packets of a flow have in common: addresses, protocol, and the ports of TCP, UDP and
/// SCTP. Fragments and what lies behind extension headers have no ports: they are told apart by the rest alone. What is
/// no IP packet feeds it with nothing.
pub fn hash_flow(packet: &[u8], hasher: &mut impl Hasher) {
    let Some(IpHeader { source, destination, .. }) = IpHeader::parse_fixed(packet) else {
        return;
    };
    (source, destination).hash(hasher);
    let Some(UpperLayer { protocol, at, part }) = UpperLayer::of(packet) else {
        return;
    };
    hasher.write_u8(protocol);
    if matches!(protocol, TCP | UDP | SCTP)
        && part == Part::Whole
        && let Some(ports) = packet.get(at..).and_then(|upper| upper.first_chunk::<4>())
    {
        hasher.write(ports);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    fn flow(packet: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hash_flow(packet, &mut hasher);
        hasher.finish()
    }

    /// A packet of this version and protocol whose bytes else are all alike.
    fn packet(version: u8, protocol: u8) -> Vec<u8> {
        let mut packet = vec![0x11; 80];
        packet[0] = if version == 4 { 0x45 } else { 0x60 };
        if version == 4 {
            packet[6..8].fill(0);
        }
        packet[if version == 4 { 9 } else { 6 }] = protocol;
        packet
    }

    fn is_told_apart_by(packet: &[u8], at: usize) -> bool {
        let mut other = packet.to_vec();
        other[at] ^= 0x80;
        flow(packet) != flow(&other)
    }

    #[test]
    fn addresses_and_ports_tell_flows_apart_and_nothing_else_does() {
        for (version, addresses, ports) in [(4, 12..20, 20..24), (6, 8..40, 40..44)] {
            for protocol in [TCP, UDP, SCTP] {
                let packet = packet(version, protocol);
                // Neither TOS nor length, ID and time to live; and a changed version is another one.
                let rest = (1..4).chain(ports.end..packet.len());
                assert!(
                    addresses.clone().chain(ports.clone()).all(|at| is_told_apart_by(&packet, at))
                );
                assert!(!rest.into_iter().any(|at| is_told_apart_by(&packet, at)));
            }
            let icmp = packet(version, 1);
            assert!(addresses.clone().all(|at| is_told_apart_by(&icmp, at)));
            assert!(!ports.clone().any(|at| is_told_apart_by(&icmp, at)), "it has no ports");
        }
        assert_ne!(flow(&packet(4, TCP)), flow(&packet(4, UDP)));
    }

    #[test]
    fn the_fragments_of_a_packet_are_one_flow() {
        let fragment = |f0, f1| {
            let mut packet = packet(4, UDP);
            (packet[6], packet[7], packet[20]) = (f0, f1, f1);
            packet
        };
        assert_eq!(flow(&fragment(0x20, 0)), flow(&fragment(0x20, 7)));
        assert_eq!(flow(&fragment(0x20, 0)), flow(&fragment(0, 9)), "the last one");
        assert!(!is_told_apart_by(&fragment(0x20, 0), 21));
    }

    #[test]
    fn ports_behind_ipv4_options_are_found() {
        let mut packet = packet(4, TCP);
        packet[0] = 0x46;
        assert!(!is_told_apart_by(&packet, 20));
        assert!(is_told_apart_by(&packet, 24));
    }

    #[test]
    fn what_is_no_ip_packet_is_one_flow() {
        let none = flow(&[]);
        assert_eq!(flow(&[0x45; 19]), none);
        assert_eq!(flow(&[0x60; 39]), none);
        assert_eq!(flow(&[0x55; 80]), none);
        assert_ne!(flow(&packet(4, TCP)[..20]), none, "with no room for ports");
    }
}
