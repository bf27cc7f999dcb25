//! Inner packets that are told apart: each has a number, and all its bytes follow from that. Where frames cross, each is in one.

use tunneld::wire::Layer;
use tunneld::wire::ethernet::FRAME_HEADER;

use crate::host::packet;
use crate::scenario::Side;

/// Bytes of the shortest: an IPv4 header and the number.
pub const SHORTEST: usize = 20 + 8;
/// Stations of each side.
pub const STATIONS: u64 = 3;

/// Packet `number`, of `len` bytes, as `side`'s device hands it over.
pub fn numbered(layer: Layer, side: Side, number: u64, len: usize) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.extend((SHORTEST..len).map(|at| (at as u64 ^ number) as u8));
    let (from, to) = match side {
        Side::A => (1, 2),
        Side::B => (2, 1),
    };
    let packet = packet(from, to, &payload);
    match layer {
        Layer::Ip => packet,
        Layer::Ethernet => {
            let receiver = match number % 5 {
                0 => [0xff; 6],
                1 => [0x01, 0x80, 0xc2, 0, 0, 0x0e],
                _ => [2, 0, 0, 0, to, 0],
            };
            let sender = [2, 0, 0, 0, from, station(number)];
            [&receiver[..], &sender, &[8, 0], &packet].concat()
        }
    }
}

/// Which of the stations sends packet `number`.
pub fn station(number: u64) -> u8 {
    (number % STATIONS) as u8
}

/// The number in `packet`, if it is long enough to have one.
pub fn number(layer: Layer, packet: &[u8]) -> Option<u64> {
    let before = match layer {
        Layer::Ip => 0,
        Layer::Ethernet => FRAME_HEADER,
    };
    let bytes = packet.get(before + 20..before + SHORTEST)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}
