//! Inner packets that are told apart: each has a number, and all its bytes follow from that.

use crate::host::packet;
use crate::scenario::Side;

/// Bytes of the shortest: an IPv4 header and the number.
pub const SHORTEST: usize = 20 + 8;

/// Packet `number`, of `len` bytes, as `side`'s device hands it over.
pub fn numbered(side: Side, number: u64, len: usize) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.extend((SHORTEST..len).map(|at| (at as u64 ^ number) as u8));
    let (from, to) = match side {
        Side::A => (1, 2),
        Side::B => (2, 1),
    };
    packet(from, to, &payload)
}

/// The number in `packet`, if it is long enough to have one.
pub fn number(packet: &[u8]) -> Option<u64> {
    packet.get(20..SHORTEST).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
}
