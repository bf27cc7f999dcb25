//! The ten bytes that precede each packet on a device opened with `IFF_VNET_HDR`, in the byte order of the host.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct virtio_net_hdr` of `linux/virtio_net.h`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct VirtioNetHdr {
    /// `NEEDS_CSUM` or nothing.
    pub flags: u8,
    /// One of the `GSO_` constants, perhaps with `GSO_ECN`.
    pub gso_type: u8,
    /// Bytes of all headers, as far as the writer knows: a hint, wrong for forwarded packets.
    pub hdr_len: u16,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// Where summing starts: the offset of the transport header.
    pub csum_start: u16,
    /// Where the checksum goes, counted from `csum_start`.
    pub csum_offset: u16,
}

impl VirtioNetHdr {
    /// Reads the header from the start of what the device gave; `None` if it is shorter.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::read_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// The `GSO_` constant, without the ECN bit.
    #[must_use]
    pub fn gso_kind(&self) -> u8 {
        self.gso_type & !GSO_ECN
    }

    /// The header as it would be without the first `len` bytes of the packet; `None` if summing starts within them.
    pub(crate) fn without_link(self, len: usize) -> Option<Self> {
        let len = u16::try_from(len).ok()?;
        let csum_start = match self.needs_csum() {
            true => self.csum_start.checked_sub(len)?,
            false => self.csum_start,
        };
        Some(Self { csum_start, ..self })
    }

    /// Whether the checksum is left for the reader to complete.
    #[must_use]
    pub fn needs_csum(&self) -> bool {
        self.flags & NEEDS_CSUM != 0
    }
}

/// Bytes of [`VirtioNetHdr`].
pub const VIRTIO_HEADER: usize = size_of::<VirtioNetHdr>();
const _: () = assert!(VIRTIO_HEADER == 10);

/// The header of a packet with nothing left to do.
pub(crate) const PLAIN: [u8; VIRTIO_HEADER] = [0; VIRTIO_HEADER];

/// Flag: the checksum field holds the sum of the pseudo-header only.
pub const NEEDS_CSUM: u8 = 1;
/// A single packet.
pub const GSO_NONE: u8 = 0;
/// TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// TCP over IPv6.
pub(crate) const GSO_TCPV6: u8 = 4;
/// UDP over either.
pub const GSO_UDP_L4: u8 = 5;
/// Added to a TCP type whose first segment carries CWR.
pub(crate) const GSO_ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_ten_bytes_in_the_order_of_the_host() {
        let header = VirtioNetHdr {
            flags: NEEDS_CSUM,
            gso_type: GSO_TCPV4 | GSO_ECN,
            hdr_len: 52,
            gso_size: 1368,
            csum_start: 20,
            csum_offset: 16,
        };
        let mut expected = vec![1, 0x81];
        for field in [52u16, 1368, 20, 16] {
            expected.extend(field.to_ne_bytes());
        }
        assert_eq!(header.as_bytes(), expected);
        assert_eq!(VirtioNetHdr::parse(&expected), Some(header));
        assert_eq!(header.gso_kind(), GSO_TCPV4);
        assert!(header.needs_csum());
    }

    #[test]
    fn fewer_than_ten_bytes_are_no_header() {
        assert_eq!(VirtioNetHdr::parse(&[0; 9]), None);
        assert_eq!(VirtioNetHdr::parse(&[0; 11]), Some(VirtioNetHdr::default()));
    }
}
