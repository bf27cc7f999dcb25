//! Transport data: a 16-byte header, the sealed packet, a 16-byte tag (WireGuard paper §5.4.6).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::datagram::MAX_RUN_BYTES;
use crate::crypto::aead::TAG;

/// What precedes the sealed packet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct TransportHeader {
    /// [`MessageType::TransportData`](super::MessageType), with the three reserved bytes.
    pub message_type: U32,
    /// The receiver's index for the session.
    pub receiver: U32,
    /// The counter: the nonce of this packet.
    pub counter: U64,
}

/// Bytes of [`TransportHeader`].
pub const HEADER: usize = size_of::<TransportHeader>();
const _: () = assert!(HEADER == 16);

/// Bytes that transport data has more than the padded packet in it: header and tag.
pub const OVERHEAD: usize = HEADER + TAG;

/// Bytes of the largest packet that one datagram carries; padding never exceeds the MTU.
pub const MAX_MTU: u32 = (MAX_RUN_BYTES - OVERHEAD) as u32;

/// Bytes of the packet once padded with zeros to a multiple of 16, but never beyond `mtu` on account of
/// the padding (paper §5.4.6). Nothing, the keepalive, stays nothing.
#[must_use]
fn padded(len: usize, mtu: usize) -> usize {
    len.next_multiple_of(16).min(mtu.max(len))
}

/// Bytes of transport data that carries a packet of `len` bytes.
#[must_use]
pub fn datagram_len(len: usize, mtu: usize) -> usize {
    padded(len, mtu).saturating_add(OVERHEAD)
}

/// Where the padded packet lies in transport data: between header and tag.
#[must_use]
pub fn text_mut(datagram: &mut [u8]) -> Option<&mut [u8]> {
    let (text, _tag) = datagram.get_mut(HEADER..)?.split_last_chunk_mut::<TAG>()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_reaches_the_next_sixteen_but_not_past_the_mtu() {
        let cases = [(0, 0), (1, 16), (16, 16), (17, 32), (1409, 1420), (1420, 1420), (1500, 1500)];
        for (len, expected) in cases {
            assert_eq!(padded(len, 1420), expected, "of {len} bytes");
        }
    }
}
