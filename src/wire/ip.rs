//! Of an inner packet only what a tunnel must know: version, length, addresses and ECN.

use std::net::IpAddr;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::Sum;

/// The ECN field of an IP header (RFC 3168 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable.
    #[default]
    NotEct = 0,
    /// ECN-capable, ECT(1).
    Ect1 = 1,
    /// ECN-capable, ECT(0).
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

impl Ecn {
    /// The field in the low two bits of an IPv4 TOS or IPv6 traffic class byte.
    #[must_use]
    pub fn from_tos(tos: u8) -> Self {
        match tos & 0b11 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

/// What the IP header of an inner packet says, checked against the bytes that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Bytes of the packet by its own header.
    pub total_len: usize,
    /// Sender; tells the version too.
    pub source: IpAddr,
    /// Receiver, of the same family as `source`.
    pub destination: IpAddr,
    /// The inner ECN field.
    pub ecn: Ecn,
    /// The inner DSCP, 6 bits.
    pub dscp: u8,
}

/// Why bytes are not an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotIp {
    /// The first nibble is neither 4 nor 6, or the bytes end before the fixed header does.
    Version,
    /// The header's length field says more than is there, or less than a header.
    Length,
}

/// The IPv4 header without options (RFC 791 §3.1).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Ipv4Header {
    pub(super) version_ihl: u8,
    pub(super) tos: u8,
    pub(super) total_len: U16,
    pub(super) id: U16,
    pub(super) flags_fragment: U16,
    pub(super) ttl: u8,
    pub(super) protocol: u8,
    pub(super) checksum: [u8; 2],
    pub(super) source: [u8; 4],
    pub(super) destination: [u8; 4],
}

/// The fixed IPv6 header (RFC 8200 §3).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Ipv6Header {
    pub(super) version_class_flow: [u8; 4],
    pub(super) payload_len: U16,
    pub(super) next_header: u8,
    pub(super) hop_limit: u8,
    pub(super) source: [u8; 16],
    pub(super) destination: [u8; 16],
}

/// Bytes of an IPv4 header without options.
pub const IPV4_HEADER: usize = size_of::<Ipv4Header>();
/// Bytes of the fixed IPv6 header.
pub const IPV6_HEADER: usize = size_of::<Ipv6Header>();
const _: () = assert!(IPV4_HEADER == 20 && IPV6_HEADER == 40);

impl IpHeader {
    /// Reads the fixed header of the packet that starts `packet`; bytes after its length are allowed.
    ///
    /// # Errors
    /// [`NotIp`] if the version is unknown or the length field cannot be true.
    pub fn parse(packet: &[u8]) -> Result<Self, NotIp> {
        let header = Self::parse_fixed(packet).ok_or(NotIp::Version)?;
        let least = if header.source.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
        if (least..=packet.len()).contains(&header.total_len) {
            Ok(header)
        } else {
            Err(NotIp::Length)
        }
    }

    /// Reads the fixed header without asking whether its length is true; `None` if it is not there.
    #[must_use]
    pub fn parse_fixed(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Ipv4Header::ref_from_prefix(packet).ok().map(|(header, _)| Self::of_v4(header)),
            6 => Ipv6Header::ref_from_prefix(packet).ok().map(|(header, _)| Self::of_v6(header)),
            _ => None,
        }
    }

    fn of_v4(header: &Ipv4Header) -> Self {
        Self {
            total_len: usize::from(header.total_len.get()),
            source: header.source.into(),
            destination: header.destination.into(),
            ecn: Ecn::from_tos(header.tos),
            dscp: header.tos >> 2,
        }
    }

    fn of_v6(header: &Ipv6Header) -> Self {
        let [version_class, class_flow, ..] = header.version_class_flow;
        Self {
            total_len: usize::from(header.payload_len.get()).saturating_add(IPV6_HEADER),
            source: header.source.into(),
            destination: header.destination.into(),
            ecn: Ecn::from_tos(class_flow >> 4),
            dscp: ((version_class & 0xf) << 2) | (class_flow >> 6),
        }
    }
}

/// The ECN field of an inner packet after decapsulation (RFC 6040 §4.2): congestion met on the underlay
/// is passed on to the receiver of the inner packet. `None`: discard the packet, for only that tells its sender of
/// congestion.
#[must_use]
pub fn decapsulate(inner: Ecn, outer: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::NotEct, _) => Some(Ecn::NotEct),
        (Ecn::Ce, _) | (_, Ecn::Ce) => Some(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
        (inner, _) => Some(inner),
    }
}

/// Writes `ecn` into the header of the IP packet that starts `packet`, and keeps an IPv4 header checksum
/// as right or wrong as it was (RFC 1624 §3). What is no IP packet stays as it is.
pub fn set_ecn(packet: &mut [u8], ecn: Ecn) {
    let ecn = ecn as u8;
    match packet.first().map(|first| first >> 4) {
        Some(4) => {
            let Ok((header, _)) = Ipv4Header::mut_from_prefix(packet) else {
                return;
            };
            let before = header.tos;
            header.tos = (before & !0b11) | ecn;
            let sum = Sum::default().without(u16::from_be_bytes(header.checksum));
            let sum = sum.without(u16::from(before)).word(u16::from(header.tos));
            header.checksum = sum.checksum();
        }
        Some(6) => {
            if let Ok((header, _)) = Ipv6Header::mut_from_prefix(packet) {
                let [_, class_flow, ..] = &mut header.version_class_flow;
                *class_flow = (*class_flow & !(0b11 << 4)) | (ecn << 4);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(total_len: u16, room: usize) -> Vec<u8> {
        let mut packet = vec![0; room];
        packet[0] = 0x45;
        packet[1] = 0b10;
        packet[2..4].copy_from_slice(&total_len.to_be_bytes());
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        packet
    }

    fn ipv6(payload_len: u16, room: usize) -> Vec<u8> {
        let mut packet = vec![0; room];
        packet[0] = 0x60;
        packet[1] = 0b0011 << 4;
        packet[4..6].copy_from_slice(&payload_len.to_be_bytes());
        packet[23] = 1;
        packet[39] = 2;
        packet
    }

    #[test]
    fn an_ipv4_header_tells_length_addresses_and_ecn() {
        let header = IpHeader::parse(&ipv4(24, 32)).unwrap();
        assert_eq!(header.total_len, 24);
        assert_eq!(header.source, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(header.destination, IpAddr::from([10, 0, 0, 2]));
        assert_eq!(header.ecn, Ecn::Ect0);
    }

    #[test]
    fn an_ipv6_header_tells_length_addresses_and_ecn() {
        let header = IpHeader::parse(&ipv6(8, 48)).unwrap();
        assert_eq!(header.total_len, 48);
        assert_eq!(header.source, "::1".parse::<IpAddr>().unwrap());
        assert_eq!(header.destination, "::2".parse::<IpAddr>().unwrap());
        assert_eq!(header.ecn, Ecn::Ce);
    }

    #[test]
    fn the_dscp_is_the_six_bits_before_ecn() {
        let (mut v4, mut v6) = (ipv4(24, 32), ipv6(8, 48));
        v4[1] = 0b1011_1001;
        (v6[0], v6[1]) = (0x6b, 0b1001_1111);
        for packet in [v4, v6] {
            let header = IpHeader::parse(&packet).unwrap();
            assert_eq!((header.dscp, header.ecn), (46, Ecn::Ect1));
        }
    }

    #[test]
    fn lengths_that_cannot_be_true_are_refused() {
        assert_eq!(IpHeader::parse(&ipv4(19, 32)), Err(NotIp::Length));
        assert_eq!(IpHeader::parse(&ipv4(33, 32)), Err(NotIp::Length));
        assert_eq!(IpHeader::parse(&ipv6(9, 48)), Err(NotIp::Length));
    }

    #[test]
    fn what_is_not_ip_is_refused() {
        for version in [0, 5, 7, 15] {
            let mut packet = ipv4(20, 20);
            packet[0] = version << 4 | 5;
            assert_eq!(IpHeader::parse(&packet), Err(NotIp::Version));
        }
        assert_eq!(IpHeader::parse(&[]), Err(NotIp::Version));
        assert_eq!(IpHeader::parse(&ipv4(20, 20)[..19]), Err(NotIp::Version));
        assert_eq!(IpHeader::parse(&ipv6(0, 40)[..39]), Err(NotIp::Version));
    }

    const ALL_ECN: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce];

    #[test]
    fn decapsulation_is_the_table_of_rfc_6040() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        // Figure 4: rows are the inner field, columns the outer one, both in the order of ALL_ECN
        let table = [
            [Some(NotEct), Some(NotEct), Some(NotEct), None],
            [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)],
            [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)],
            [Some(Ce), Some(Ce), Some(Ce), Some(Ce)],
        ];
        for (inner, row) in ALL_ECN.into_iter().zip(table) {
            for (outer, expected) in ALL_ECN.into_iter().zip(row) {
                assert_eq!(decapsulate(inner, outer), expected, "{inner:?} in {outer:?}");
            }
        }
    }

    #[test]
    fn an_ipv4_header_keeps_a_right_checksum_under_any_ecn() {
        for identification in 0..=u16::MAX {
            let mut packet = ipv4(20, 20);
            packet[1] = 0b1011_1000;
            packet[4..6].copy_from_slice(&identification.to_be_bytes());
            let checksum = Sum::default().bytes(&packet).checksum();
            packet[10..12].copy_from_slice(&checksum);
            for ecn in ALL_ECN {
                let before = packet.clone();
                set_ecn(&mut packet, ecn);
                assert_eq!(IpHeader::parse(&packet).unwrap().ecn, ecn);
                assert!(Sum::default().bytes(&packet).verify(), "{identification} {ecn:?}");
                assert_eq!(packet[1] & !0b11, 0b1011_1000);
                assert_eq!(packet[2..10], before[2..10]);
                assert_eq!(packet[12..], before[12..]);
            }
        }
    }

    #[test]
    fn an_ipv6_header_changes_in_two_bits_only() {
        for ecn in ALL_ECN {
            let mut packet = ipv6(0, 40);
            packet[0] = 0x6f;
            packet[1] = 0xff;
            let mut expected = packet.clone();
            expected[1] = 0b1100_1111 | (ecn as u8) << 4;
            set_ecn(&mut packet, ecn);
            assert_eq!(packet, expected);
            assert_eq!(IpHeader::parse(&packet).unwrap().ecn, ecn);
        }
    }

    #[test]
    fn what_is_no_ip_packet_keeps_its_bytes() {
        for packet in [vec![], vec![0x45; 19], vec![0x60; 39], vec![0x55; 64]] {
            let mut changed = packet.clone();
            set_ecn(&mut changed, Ecn::Ce);
            assert_eq!(changed, packet);
        }
    }
}
