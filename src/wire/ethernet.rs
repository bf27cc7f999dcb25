//! Ethernet frames: addresses, and where the payload starts behind VLAN tags (IEEE 802.3, 802.1Q, 802.1ad).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Layer;

impl Layer {
    /// Where the IP packet starts in `bytes`; `None` if they have none. Of a packet only the fixed header need be
    /// there, and nothing is said of its length.
    #[must_use]
    pub fn ip_at(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Ip => Some(0),
            Self::Ethernet => {
                let header = FrameHeader::parse(bytes)?;
                let version = bytes.get(header.len)? >> 4;
                let is_ip = matches!((header.ether_type, version), (IPV4, 4) | (IPV6, 6));
                is_ip.then_some(header.len)
            }
        }
    }
}

/// The address of a station, or of a group of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it is that of a group: multicast or broadcast.
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it is that of one station.
    #[must_use]
    pub fn is_station(self) -> bool {
        !self.is_group() && self != Self([0; 6])
    }

    /// Whether it is one of those that bridges do not forward: 01:80:c2:00:00:00 to 0f (IEEE 802.1Q §8.6.3).
    #[must_use]
    pub fn is_link_local(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six pairs of hexadecimal digits with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not six pairs of hexadecimal digits with colons between them")]
pub struct NotMac;

impl FromStr for Mac {
    type Err = NotMac;

    fn from_str(text: &str) -> Result<Self, NotMac> {
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or(NotMac)?;
            let is_hex = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| is_hex).ok_or(NotMac)?;
        }
        if pairs.next().is_none() { Ok(Self(bytes)) } else { Err(NotMac) }
    }
}

/// The header of a frame, with up to two VLAN tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Receiver.
    pub destination: Mac,
    /// Sender.
    pub source: Mac,
    /// Bytes of the header: 14, 18 or 22.
    pub len: usize,
    /// What follows it; with three tags, the type of the third.
    pub ether_type: u16,
}

impl FrameHeader {
    /// Reads the header that starts `frame`; `None` if the bytes end before it does.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (destination, rest) = frame.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        let (ether_type, mut rest) = rest.split_first_chunk()?;
        let (mut len, mut ether_type) = (FRAME_HEADER, u16::from_be_bytes(*ether_type));
        while len < MAX_FRAME_HEADER && matches!(ether_type, VLAN | SERVICE_VLAN) {
            let ([_, _, high, low], after) = rest.split_first_chunk()?;
            (rest, ether_type) = (after, u16::from_be_bytes([*high, *low]));
            len = len.saturating_add(VLAN_TAG);
        }
        Some(Self { destination: Mac(*destination), source: Mac(*source), len, ether_type })
    }
}

/// Bytes of the header of a frame without tags.
pub const FRAME_HEADER: usize = 14;
/// Bytes of a VLAN tag.
pub const VLAN_TAG: usize = 4;
/// Bytes of the longest header: two tags.
pub const MAX_FRAME_HEADER: usize = FRAME_HEADER + 2 * VLAN_TAG;

/// Types of what follows.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with these bytes behind its two addresses.
    fn frame(rest: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], rest].concat()
    }

    #[test]
    fn the_payload_starts_behind_up_to_two_tags() {
        let cases: [(&[u8], usize, u16); 6] = [
            (&[0x08, 0x00], 14, IPV4),
            (&[0x81, 0, 0, 10, 0x86, 0xdd], 18, IPV6),
            (&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 10, 0x08, 0x00], 22, IPV4),
            (&[0x81, 0, 0, 7, 0x81, 0, 0, 10, 0x08, 0x06], 22, 0x0806),
            (&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 10, 0x81, 0, 0, 3, 0x08, 0x00], 22, VLAN),
            // A length, as 802.3 has it.
            (&[0x00, 0x26], 14, 0x26),
        ];
        for (rest, len, ether_type) in cases {
            let frame = frame(rest);
            let header = FrameHeader::parse(&frame).unwrap();
            assert_eq!((header.len, header.ether_type), (len, ether_type), "{rest:x?}");
            assert_eq!(header.destination.to_string(), "02:00:00:00:00:01");
            assert_eq!(header.source.to_string(), "02:00:00:00:00:02");
        }
    }

    #[test]
    fn a_frame_must_have_all_of_the_header_that_it_says_it_has() {
        let whole = frame(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 10, 0x08, 0x00]);
        for len in 0..22 {
            assert_eq!(FrameHeader::parse(&whole[..len]), None, "{len} bytes");
        }
        assert!(FrameHeader::parse(&whole).is_some());
        assert_eq!(FrameHeader::parse(&frame(&[0x81, 0, 0, 10])), None);
        assert_eq!(FrameHeader::parse(&frame(&[8])), None);
    }

    #[test]
    fn an_ip_packet_is_where_the_type_and_the_version_say_so() {
        let ip_at = |rest: &[u8]| Layer::Ethernet.ip_at(&frame(rest));
        assert_eq!(ip_at(&[0x08, 0x00, 0x45]), Some(14));
        assert_eq!(ip_at(&[0x81, 0, 0, 1, 0x86, 0xdd, 0x60]), Some(18));
        for rest in [&[0x08, 0x00, 0x60][..], &[0x86, 0xdd, 0x45], &[0x08, 0x06, 0x45], &[8, 0]] {
            assert_eq!(ip_at(rest), None, "{rest:x?}");
        }
        assert_eq!(Layer::Ip.ip_at(&[]), Some(0));
    }

    #[test]
    fn an_address_is_six_pairs_of_digits_and_nothing_else() {
        assert_eq!("02:00:5E:aa:00:ff".parse(), Ok(Mac([2, 0, 0x5e, 0xaa, 0, 0xff])));
        for text in [
            "",
            "02:00:5e:aa:00",
            "02:00:5e:aa:00:ff:01",
            "2:0:5e:aa:0:ff",
            "+2:00:5e:aa:00:ff",
            "02-00-5e-aa-00-ff",
            "02:00:5e:aa:00:fg",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(NotMac), "{text}");
        }
    }

    #[test]
    fn groups_and_what_bridges_keep_are_known_by_their_address() {
        let mac = |text: &str| text.parse::<Mac>().unwrap();
        assert!(mac("ff:ff:ff:ff:ff:ff").is_group() && mac("01:00:5e:00:00:01").is_group());
        assert!(!mac("02:00:00:00:00:01").is_group());
        assert!(mac("02:00:00:00:00:01").is_station());
        assert!(!mac("01:00:5e:00:00:01").is_station() && !mac("00:00:00:00:00:00").is_station());
        assert!(
            mac("01:80:c2:00:00:00").is_link_local() && mac("01:80:c2:00:00:0f").is_link_local()
        );
        assert!(!mac("01:80:c2:00:00:10").is_link_local());
        assert!(!mac("01:80:c2:00:01:00").is_link_local());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_none(bytes: Vec<u8>) {
            if let Some(header) = FrameHeader::parse(&bytes) {
                prop_assert!(header.len <= bytes.len());
            }
            let _ = Layer::Ethernet.ip_at(&bytes);
        }
    }
}
