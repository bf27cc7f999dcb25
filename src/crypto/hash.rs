//! BLAKE2s as hash, keyed MAC, HMAC, and the key derivation built on it (WireGuard paper §5.4).

use blake2::Blake2s256;
use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, KeyInit, Update};
use zeroize::Zeroizing;

use super::secret::Secret;

/// Bytes of a hash.
pub(crate) const HASH: usize = 32;

/// Bytes of a block of BLAKE2s.
const BLOCK: usize = 64;

/// HASH: BLAKE2s-256 of the parts, one after the other.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; HASH] {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

/// MAC: keyed BLAKE2s with 16 bytes of output; `key` has at most 32 bytes.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut state = <Blake2sMac<U16> as KeyInit>::new_from_slice(key)
        .expect("every key of this protocol has 16 or 32 bytes");
    for part in parts {
        Update::update(&mut state, part);
    }
    state.finalize_fixed().into()
}

/// KDFn: HKDF over HMAC-BLAKE2s with `key` as the salt; `N` outputs, numbered in a byte.
pub(crate) fn kdf<const N: usize>(key: &[u8; HASH], input: &[u8]) -> [Secret; N] {
    const { assert!(N <= 255) };
    let extracted = hmac(key, &[input]);
    let mut previous: Option<Secret> = None;
    let mut number = 0_u8;
    std::array::from_fn(|_| {
        number = number.wrapping_add(1);
        let first = previous.as_ref().map_or(&[][..], |previous| &**previous);
        let output = hmac(&extracted, &[first, &[number]]);
        previous = Some(output.clone());
        output
    })
}

/// HMAC (RFC 2104), written out so that the padded key and what it makes are erased.
fn hmac(key: &[u8; HASH], parts: &[&[u8]]) -> Secret {
    let pad = |with: u8| {
        let mut pad = Zeroizing::new([with; BLOCK]);
        pad.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        pad
    };
    let digest = |pad: &[u8; BLOCK], parts: &[&[u8]]| {
        let mut state = Blake2s256::new_with_prefix(pad);
        parts.iter().for_each(|part| Digest::update(&mut state, part));
        let mut output = Secret::zero();
        FixedOutput::finalize_into(state, (&mut *output).into());
        output
    };
    let inner = digest(&pad(0x36), parts);
    digest(&pad(0x5c), &[&*inner])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_hash_is_blake2s_of_rfc_7693() {
        assert_eq!(
            hex(&hash(&[b"a", b"bc"])),
            "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
        );
    }

    #[test]
    fn the_mac_depends_on_key_and_message() {
        let base = mac(&[1; 32], &[b"message"]);
        assert_eq!(base, mac(&[1; 32], &[b"mess", b"age"]));
        assert_ne!(base, mac(&[2; 32], &[b"message"]));
        assert_ne!(base, mac(&[1; 16], &[b"message"]));
        assert_ne!(base, mac(&[1; 32], &[b"massage"]));
    }

    #[test]
    fn longer_derivations_start_like_shorter_ones() {
        let [one] = kdf::<1>(&[3; HASH], b"input");
        let [first, second] = kdf::<2>(&[3; HASH], b"input");
        let [again, second_again, third] = kdf::<3>(&[3; HASH], b"input");
        assert_eq!((&one, &second), (&first, &second_again));
        assert_eq!(first, again);
        assert_ne!(second, third);
    }
}
