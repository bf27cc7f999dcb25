//! What becomes of a packet's ECN field inside (RFC 6040), told once more.

use tunneld::proto::Discard;
use tunneld::wire::Ecn;

use super::sums;

/// Hands the mark of the way outside in to `packet`, of which at least the fixed header is here, and keeps its checksum
/// as right or wrong as it was.
pub(crate) fn hand_in(packet: &mut [u8], outer: Ecn) -> Result<(), Discard> {
    let v4 = packet[0] >> 4 == 4;
    let (at, shift) = if v4 { (1, 0) } else { (1, 4) };
    let inner = packet[at] >> shift & 3;
    // RFC 6040 §4.2, by inner field, then by outer: not-ECT, ECT(1), ECT(0), CE.
    const DISCARD: u8 = 4;
    let table = [[0, 0, 0, DISCARD], [1, 1, 1, 3], [2, 1, 2, 3], [3, 3, 3, 3]];
    let ecn = table[usize::from(inner)][outer as usize];
    if ecn == DISCARD {
        return Err(Discard::CongestionMark);
    }
    if ecn != inner {
        let fits = sums::ip_fits(packet);
        packet[at] ^= (inner ^ ecn) << shift;
        if v4 {
            adjust(packet, inner, ecn);
        }
        assert_eq!(sums::ip_fits(packet), fits);
    }
    Ok(())
}

/// The checksum after the change of one field: one's complement, RFC 1624 §3.
fn adjust(packet: &mut [u8], before: u8, after: u8) {
    let checksum = u16::from_be_bytes([packet[10], packet[11]]);
    let old = u16::from_be_bytes([packet[0], packet[1] & !3 | before]);
    let new = u16::from_be_bytes([packet[0], packet[1] & !3 | after]);
    let words = [!checksum, !old, new].map(u16::to_be_bytes).concat();
    packet[10..12].copy_from_slice(&(!crate::packets::sum(&words)).to_be_bytes());
}
