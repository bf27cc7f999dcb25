//! The MSS option of TCP's SYN packets, lowered so that segments fit into the tunnel (RFC 9293 §3.7.1).
//!
//! Where path-MTU discovery fails behind an end, TCP would send segments that nobody forwards. Each end announces in
//! its SYN the largest segment it takes; whoever forwards the SYN may lower that.

use super::checksum::Sum;
use super::ip::{IPV4_HEADER, IPV6_HEADER};
use super::upper::{Part, TCP, UpperLayer};

/// To what the MSS in TCP's SYN packets is lowered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClampMss {
    /// To what fits the device's MTU.
    #[default]
    ToMtu,
    /// To nothing: it stays.
    Off,
    /// To this many bytes, at least one.
    To(u16),
}

/// The largest MSS that may be announced, by the version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MssLimit {
    v4: u16,
    v6: u16,
}

impl MssLimit {
    /// Segments that fit packets of `mtu` bytes, headers without options (RFC 6691).
    #[must_use]
    pub fn of_mtu(mtu: usize) -> Self {
        let of = |ip: usize| {
            u16::try_from(mtu.saturating_sub(ip.saturating_add(TCP_HEADER))).unwrap_or(u16::MAX)
        };
        Self { v4: of(IPV4_HEADER), v6: of(IPV6_HEADER) }
    }

    /// This many bytes with either version.
    #[must_use]
    pub fn fixed(bytes: u16) -> Self {
        Self { v4: bytes, v6: bytes }
    }
}

/// Lowers the MSS that `packet`, one IP packet without anything behind it, announces, and keeps the checksum of TCP
/// as right or wrong as it was (RFC 1624 §3). Nothing else changes, and nothing at all in fragments, behind IPv6
/// extension headers, and in what is no SYN.
#[inline]
pub fn clamp(packet: &mut [u8], limit: MssLimit) {
    let Some(UpperLayer { protocol: TCP, at, part: Part::Whole }) = UpperLayer::of(packet) else {
        return;
    };
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let limit = if is_v4 { limit.v4 } else { limit.v6 };
    if let Some(tcp) = packet.get_mut(at..)
        && tcp.get(FLAGS).is_some_and(|flags| flags & SYN != 0)
    {
        clamp_options(tcp, limit);
    }
}

/// Walks the options as far as they make sense.
#[cold]
fn clamp_options(tcp: &mut [u8], limit: u16) {
    let header = tcp.get(DATA_OFFSET).map_or(0, |byte| usize::from(byte >> 4) << 2);
    let mut at = TCP_HEADER;
    while at < header.min(tcp.len()) {
        let (kind, len) = match tcp.get(at..header) {
            Some([END, ..]) => return,
            Some([NO_OPERATION, ..]) => (NO_OPERATION, 1),
            Some([kind, len @ 2..=255, ..]) => (*kind, usize::from(*len)),
            _ => return,
        };
        let next = at.saturating_add(len);
        if next > header {
            return;
        }
        if (kind, len) == (MSS, MSS_LENGTH) {
            lower(tcp, at.saturating_add(2), limit);
        }
        at = next;
    }
}

/// Lowers the 16-bit field at `at` to `limit`.
fn lower(tcp: &mut [u8], at: usize, limit: u16) {
    let Some(field) = tcp.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
        return;
    };
    let before = u16::from_be_bytes(*field);
    if before <= limit {
        return;
    }
    *field = limit.to_be_bytes();
    // A field at an odd offset counts with its bytes exchanged (RFC 1071 §2 B).
    let as_summed = |word: u16| if at.is_multiple_of(2) { word } else { word.swap_bytes() };
    if let Some(checksum) = tcp.get_mut(CHECKSUM..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        let sum = Sum::default().without(u16::from_be_bytes(*checksum));
        *checksum = sum.without(as_summed(before)).word(as_summed(limit)).checksum();
    }
}

/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;
/// Words of the header, in the high nibble.
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const SYN: u8 = 0x02;
/// Kinds of options.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const MSS_LENGTH: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TO_1420: MssLimit = MssLimit { v4: 1380, v6: 1360 };

    /// A TCP packet with these flags and options, in IPv4 with `ip_options` words of options or in IPv6, its checksum
    /// right.
    fn packet(v6: bool, ip_options: u8, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let header = (TCP_HEADER + options.len()).next_multiple_of(4);
        let mut tcp = vec![0x5a; TCP_HEADER];
        tcp[DATA_OFFSET] = (header as u8 / 4) << 4;
        tcp[FLAGS] = flags;
        tcp.extend_from_slice(options);
        tcp.resize(header, NO_OPERATION);
        tcp.extend_from_slice(payload);
        let len = tcp.len() as u16;
        let mut packet = if v6 {
            let mut ip = vec![0x60, 0, 0, 0, 0, 0, TCP, 64];
            ip[4..6].copy_from_slice(&len.to_be_bytes());
            ip.extend([0xfd; 32]);
            ip
        } else {
            let ip_header = 20 + 4 * u16::from(ip_options);
            let mut ip = vec![0x45 + ip_options, 0, 0, 0, 0, 0, 0x40, 0, 64, TCP, 0, 0];
            ip[2..4].copy_from_slice(&(ip_header + len).to_be_bytes());
            ip.extend([10; 8]);
            ip.resize(ip_header.into(), 1);
            ip
        };
        let sum = tcp_sum(&packet, &{
            tcp[CHECKSUM..CHECKSUM + 2].fill(0);
            tcp.clone()
        });
        tcp[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.checksum());
        packet.extend(tcp);
        packet
    }

    fn tcp_sum(ip: &[u8], tcp: &[u8]) -> Sum {
        let addresses = if ip[0] >> 4 == 4 { &ip[12..20] } else { &ip[8..40] };
        Sum::default().pseudo_header(addresses, TCP, tcp.len() as u16).bytes(tcp)
    }

    fn tcp_at(packet: &[u8]) -> usize {
        if packet[0] >> 4 == 4 { usize::from(packet[0] & 0xf) * 4 } else { 40 }
    }

    fn mss(value: u16) -> [u8; 4] {
        let [high, low] = value.to_be_bytes();
        [MSS, 4, high, low]
    }

    /// Clamps to an MTU of 1420.
    fn clamped(before: &[u8]) -> Vec<u8> {
        let mut after = before.to_vec();
        clamp(&mut after, TO_1420);
        after
    }

    #[test]
    fn an_mtu_leaves_room_for_both_headers() {
        assert_eq!(MssLimit::of_mtu(1420), TO_1420);
        assert_eq!(MssLimit::of_mtu(10), MssLimit { v4: 0, v6: 0 });
        assert_eq!(MssLimit::of_mtu(usize::MAX), MssLimit { v4: u16::MAX, v6: u16::MAX });
    }

    #[test]
    fn the_mss_of_a_syn_and_of_its_answer_is_lowered_and_the_checksum_stays_right() {
        for (v6, ip_options, limit) in [(false, 0, 1380_u16), (false, 10, 1380), (true, 0, 1360)] {
            for flags in [SYN, SYN | 0x10] {
                for padding in 0..4 {
                    let options = [&[NO_OPERATION; 3][..padding], &mss(1460)].concat();
                    let before = packet(v6, ip_options, flags, &options, b"fast open");
                    let after = clamped(&before);
                    let (ip, tcp) = after.split_at(tcp_at(&after));
                    let at = TCP_HEADER + padding + 2;
                    assert_eq!(tcp[at..at + 2], limit.to_be_bytes());
                    assert!(tcp_sum(ip, tcp).verify(), "{padding}");
                }
            }
        }
    }

    #[test]
    fn an_mss_is_never_raised() {
        for v6 in [false, true] {
            let limit = if v6 { TO_1420.v6 } else { TO_1420.v4 };
            for value in [0, 536, limit - 1, limit] {
                let before = packet(v6, 0, SYN, &mss(value), &[]);
                assert_eq!(clamped(&before), before);
            }
        }
    }

    #[test]
    fn what_is_no_plain_syn_keeps_its_bytes() {
        let syn = packet(false, 0, SYN, &mss(1460), &[]);
        let change = |at: usize, byte: u8| {
            let mut packet = syn.clone();
            packet[at] = byte;
            packet
        };
        let v6 = packet(true, 0, SYN, &mss(1460), &[]);
        let mut behind_extension = v6.clone();
        behind_extension[6] = 60;
        for (what, packet) in [
            ("no SYN", packet(false, 0, 0x10, &mss(1460), &[])),
            ("UDP", change(9, 17)),
            ("a first fragment", change(6, 0x20)),
            ("a later fragment", change(7, 1)),
            ("a header that is too short", change(0, 0x44)),
            ("another version", change(0, 0x75)),
            ("an extension header", behind_extension),
            ("nothing", vec![]),
        ] {
            assert_eq!(clamped(&packet), packet, "{what}");
        }
        assert_ne!(clamped(&syn), syn);
        assert_ne!(clamped(&v6), v6);
    }

    #[test]
    fn options_that_make_no_sense_end_the_walk() {
        for options in [
            [&[END, 0, 0, 0][..], &mss(1460)].concat(),
            [&[9, 0, 1, 1][..], &mss(1460)].concat(),
            [&[9, 1, 1, 1][..], &mss(1460)].concat(),
            [&[9, 200, 1, 1][..], &mss(1460)].concat(),
            vec![1, 1, 1, MSS],
            vec![1, 1, MSS, 4],
            vec![1, MSS, 4, 0xff],
            vec![1, MSS, 3, 0xff],
        ] {
            let before = packet(false, 0, SYN, &options, &[0xff; 20]);
            assert_eq!(clamped(&before), before, "{options:?}");
        }
        // Every end of the bytes, whatever the header says of its length.
        let whole = packet(false, 0, SYN, &mss(1460), &[]);
        for len in 0..whole.len() {
            assert_eq!(clamped(&whole[..len]), whole[..len]);
        }
    }

    proptest! {
        #[test]
        fn only_an_mss_and_the_checksum_change_and_it_stays_right(
            v6: bool, ip_options in 0..10_u8, flags: u8,
            options in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(2), Just(4), any::<u8>()], 0..=40),
            payload in proptest::collection::vec(any::<u8>(), 0..40),
            mtu in 576..9000_usize,
        ) {
            let before = packet(v6, ip_options, flags, &options, &payload);
            let mut after = before.clone();
            let limit = MssLimit::of_mtu(mtu);
            clamp(&mut after, limit);
            let at = tcp_at(&before);
            let (ip, tcp) = after.split_at(at);
            prop_assert!(tcp_sum(ip, tcp).verify());
            if flags & SYN == 0 {
                prop_assert_eq!(&after, &before);
            }
            let limit = if v6 { limit.v6 } else { limit.v4 };
            let header = usize::from(tcp[DATA_OFFSET] >> 4) * 4;
            let mut place = 0;
            while place < after.len() {
                let in_checksum = (at + CHECKSUM..at + CHECKSUM + 2).contains(&place);
                if before[place] == after[place] || in_checksum {
                    place += 1;
                    continue;
                }
                // A changed field lies among the options: behind a kind of MSS and its length, larger before.
                let field = if after[place - 2..place] == [MSS, 4] { place } else { place - 1 };
                prop_assert_eq!(&after[field - 2..field], &[MSS, 4]);
                prop_assert!((at + TCP_HEADER + 2..=at + header - 2).contains(&field));
                let word = |bytes: &[u8]| u16::from_be_bytes([bytes[field], bytes[field + 1]]);
                prop_assert!(word(&before) > limit);
                prop_assert_eq!(word(&after), limit);
                place = field + 2;
            }
        }

        #[test]
        fn any_bytes_are_taken(mut bytes: Vec<u8>, first in prop_oneof![0x40..0x50_u8, 0x60..0x70_u8]) {
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            for at in [6, 9] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = TCP;
                }
            }
            let len = bytes.len();
            clamp(&mut bytes, MssLimit::of_mtu(576));
            prop_assert_eq!(bytes.len(), len);
        }
    }
}
