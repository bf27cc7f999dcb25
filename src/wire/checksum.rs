//! The internet checksum (RFC 1071): of IPv4 headers, and of TCP and UDP with their pseudo-header.
//!
//! Words are summed in the byte order of the host: the folded sum, stored in that order, is the same bytes
//! (RFC 1071 §2 B).

/// A running one's complement sum.
///
/// Parts may be added in any order, as long as each starts at an even offset of what is summed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last byte counts as if a zero followed.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // Independent lanes, so that the compiler may use vector registers. 32-bit words cannot
        // overflow a 64-bit lane before 2^32 of them.
        let mut lanes = [0_u64; LANES];
        let (blocks, rest) = bytes.as_chunks::<{ 4 * LANES }>();
        for block in blocks {
            let (words, _) = block.as_chunks::<4>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = lane.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
            }
        }
        let (pairs, odd) = rest.as_chunks::<2>();
        let mut sum = self.0;
        for pair in pairs {
            sum = sum.wrapping_add(u64::from(u16::from_ne_bytes(*pair)));
        }
        if let [last] = odd {
            sum = sum.wrapping_add(u64::from(u16::from_ne_bytes([*last, 0])));
        }
        Self(lanes.iter().fold(sum, |sum, lane| sum.wrapping_add(*lane)))
    }

    /// Adds a 16-bit field that has this value in network byte order.
    #[must_use]
    pub fn word(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Takes back a 16-bit field that was among the summed bytes (RFC 1624 §3).
    #[must_use]
    pub fn without(self, value: u16) -> Self {
        self.word(!value)
    }

    /// Adds the pseudo-header of TCP or UDP (RFC 9293 §3.1, RFC 8200 §8.1); `addresses` are source and
    /// destination, 8 or 32 bytes as they stand in the IP header.
    #[must_use]
    pub fn pseudo_header(self, addresses: &[u8], protocol: u8, len: u16) -> Self {
        self.bytes(addresses).word(u16::from(protocol)).word(len)
    }

    /// The sum in 16 bits, as a field that awaits completion holds it.
    #[must_use]
    pub fn fold(self) -> [u8; 2] {
        self.folded().to_ne_bytes()
    }

    /// The complement of the sum: the checksum field's value, if that field counted as zero.
    #[must_use]
    pub fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// Like [`Sum::checksum`], but never zero, which in UDP means "no checksum" (RFC 768).
    #[must_use]
    pub fn nonzero_checksum(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        }
    }

    /// Whether the checksum among the summed bytes is right.
    #[must_use]
    pub fn verify(self) -> bool {
        self.folded() == 0xffff
    }

    fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16).wrapping_add(sum & 0xffff);
        }
        sum as u16
    }
}

const LANES: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §4.1, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), [0xdd, 0xf2]);
        assert_eq!(sum.checksum(), [0x22, 0x0d]);
    }

    #[test]
    fn a_field_taken_back_leaves_the_sum_without_it() {
        let with = Sum::default().word(0x1234).word(0xfedc).word(0x0007);
        assert_eq!(with.without(0xfedc).fold(), Sum::default().word(0x123b).fold());
    }

    #[test]
    fn an_ipv4_header_with_its_checksum_verifies() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert!(Sum::default().bytes(&header).verify());
        let mut broken = header;
        broken[3] ^= 1;
        assert!(!Sum::default().bytes(&broken).verify());
    }

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_ffff() {
        let sum = Sum::default().word(0xffff);
        assert_eq!(sum.checksum(), [0, 0]);
        assert_eq!(sum.nonzero_checksum(), [0xff, 0xff]);
    }

    proptest! {
        #[test]
        fn the_fast_sum_is_the_plain_sum(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(u16::from_be_bytes(Sum::default().bytes(&bytes).fold()), plain(&bytes));
        }

        #[test]
        fn parts_at_even_offsets_add_up(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..100,
        ) {
            let (a, b) = bytes.split_at((2 * at).min(bytes.len() & !1));
            prop_assert_eq!(Sum::default().bytes(b).bytes(a).fold(), Sum::default().bytes(&bytes).fold());
        }
    }
}
