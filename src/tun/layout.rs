//! Where the fields are that splitting and coalescing touch: the leaves at which IPv4 and IPv6, TCP and UDP differ.

use crate::wire::checksum::Sum;
use crate::wire::ip::{IPV4_HEADER, IPV6_HEADER};

/// The IP version of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// By the first nibble, with the fixed header and what follows it; `None` if that header is not all there.
    pub(crate) fn split(packet: &[u8]) -> Option<(Self, &[u8], &[u8])> {
        let family = match packet.first()? >> 4 {
            4 => Self::V4,
            6 => Self::V6,
            _ => return None,
        };
        let (fixed, rest) = packet.split_at_checked(family.fixed_header())?;
        Some((family, fixed, rest))
    }

    /// Bytes of the fixed header.
    pub(crate) fn fixed_header(self) -> usize {
        match self {
            Self::V4 => IPV4_HEADER,
            Self::V6 => IPV6_HEADER,
        }
    }

    /// Source and destination, back to back, of a packet that has its fixed header.
    pub(crate) fn addresses(self, packet: &[u8]) -> &[u8] {
        let range = match self {
            Self::V4 => 12..20,
            Self::V6 => 8..40,
        };
        packet.get(range).unwrap_or_default()
    }

    /// The protocol, or the type of the next header.
    pub(crate) fn protocol(self, packet: &[u8]) -> Option<u8> {
        let at = match self {
            Self::V4 => 9,
            Self::V6 => 6,
        };
        packet.get(at).copied()
    }

    /// Bytes of the header up to the transport header, or to the first extension header.
    pub(crate) fn header_len(self, packet: &[u8]) -> usize {
        match self {
            Self::V4 => packet.first().map_or(0, |first| usize::from(first & 0xf) << 2),
            Self::V6 => IPV6_HEADER,
        }
    }

    /// Writes the length of a packet of `total` bytes into its header; at most what the field can say.
    pub(crate) fn set_length(self, header: &mut [u8], total: usize) {
        let (at, len) = match self {
            Self::V4 => (IPV4_LENGTH, total),
            Self::V6 => (IPV6_LENGTH, total.saturating_sub(IPV6_HEADER)),
        };
        put(header, at, (len as u16).to_be_bytes());
    }
}

/// The transport protocols that have superpackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// By the protocol number of IP.
    pub(crate) fn of(protocol: u8) -> Option<Self> {
        match protocol {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// The protocol number of IP.
    pub(crate) fn protocol(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The header that starts `bytes`, options included, and the payload; `None` if it is not all there.
    pub(crate) fn split(self, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let (len, least) = match self {
            Self::Tcp => (usize::from(bytes.get(TCP_DATA_OFFSET)? >> 4) << 2, TCP_HEADER),
            Self::Udp => (UDP_HEADER, UDP_HEADER),
        };
        bytes.split_at_checked(len).filter(|_| len >= least)
    }

    /// Where the checksum stands in the header.
    pub(crate) fn checksum(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }

    /// The checksum field for this sum.
    pub(crate) fn finish(self, sum: Sum) -> [u8; 2] {
        match self {
            Self::Tcp => sum.checksum(),
            Self::Udp => sum.nonzero_checksum(),
        }
    }
}

/// Copies `field` to offset `at`, if it fits there.
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = field;
    }
}

/// The 16-bit field at offset `at`.
pub(crate) fn word_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_be_bytes(*field))
}

/// The 32-bit field at offset `at`.
pub(crate) fn long_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_be_bytes(*field))
}

/// IPv4: bytes of the whole packet.
pub(crate) const IPV4_LENGTH: usize = 2;
/// IPv4: identification.
pub(crate) const IPV4_ID: usize = 4;
/// IPv4: flags and fragment offset.
pub(crate) const IPV4_FRAGMENT: usize = 6;
/// IPv4: header checksum.
pub(crate) const IPV4_CHECKSUM: usize = 10;
/// IPv6: bytes after the fixed header.
pub(crate) const IPV6_LENGTH: usize = 4;

/// Bytes of a TCP header without options.
pub(crate) const TCP_HEADER: usize = 20;
/// TCP: sequence number.
pub(crate) const TCP_SEQUENCE: usize = 4;
/// TCP: acknowledgment number.
pub(crate) const TCP_ACK: usize = 8;
/// TCP: words of the header in the high nibble, reserved bits in the low one.
pub(crate) const TCP_DATA_OFFSET: usize = 12;
/// TCP: the eight flags.
pub(crate) const TCP_FLAGS: usize = 13;
/// TCP: window.
pub(crate) const TCP_WINDOW: usize = 14;
/// TCP: urgent pointer, then options.
pub(crate) const TCP_URGENT: usize = 18;

/// Bytes of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;
/// UDP: bytes of header and payload.
pub(crate) const UDP_LENGTH: usize = 4;

/// TCP flags.
pub(crate) const FIN: u8 = 0x01;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;
