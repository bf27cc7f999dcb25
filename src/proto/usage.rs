//! How much one key may seal or open. AES-GCM loses its margin with the number of blocks under a key; for ChaCha20-Poly1305 the
//! counter's limit comes first (RFC 9001 §6.6).

use super::constants::{REJECT_AFTER_BLOCKS, REKEY_AFTER_BLOCKS};
use crate::crypto::Cipher;
use crate::wire::transport::OVERHEAD;

/// Bytes of a block of AES.
const BLOCK: usize = 16;

/// Blocks under one key.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Beyond so many the next session is asked for.
    pub(crate) rekey: u64,
    /// There are never more.
    pub(crate) reject: u64,
}

impl Limits {
    pub(crate) fn of(cipher: Cipher) -> Self {
        match cipher {
            Cipher::ChaCha20Poly1305 => Self { rekey: u64::MAX, reject: u64::MAX },
            Cipher::Aes256Gcm => Self { rekey: REKEY_AFTER_BLOCKS, reject: REJECT_AFTER_BLOCKS },
        }
    }

    /// `used` blocks and `more`, if there may be so many.
    pub(crate) fn add(self, used: u64, more: u64) -> Option<u64> {
        used.checked_add(more).filter(|blocks| *blocks <= self.reject)
    }
}

/// The blocks that transport data of `len` bytes takes: those of its text, and one for the tag.
pub(crate) fn blocks(len: usize) -> u64 {
    (len.saturating_sub(OVERHEAD).div_ceil(BLOCK) as u64).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_takes_its_blocks_begun_and_one_for_the_tag() {
        for (text, expected) in [(0, 1), (1, 2), (16, 2), (17, 3), (1420, 90)] {
            assert_eq!(blocks(text + OVERHEAD), expected, "of {text} bytes");
        }
        assert_eq!(blocks(0), 1);
    }

    #[test]
    fn only_aes_has_a_limit_below_that_of_the_counter() {
        assert_eq!(Limits::of(Cipher::Aes256Gcm).add((1 << 36) - 2, 1), Some((1 << 36) - 1));
        assert_eq!(Limits::of(Cipher::Aes256Gcm).add((1 << 36) - 1, 1), None);
        assert_eq!(Limits::of(Cipher::ChaCha20Poly1305).add(1 << 36, 1), Some((1 << 36) + 1));
        assert_eq!(Limits::of(Cipher::ChaCha20Poly1305).add(u64::MAX, 1), None);
    }
}
