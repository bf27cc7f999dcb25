//! Keys as people write them: 32 bytes in base64, erased when dropped, never printed when secret.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::secret::{Secret, on_clean_stack};

/// Bytes of each key.
pub const KEY: usize = 32;

/// The private key of a host or a handshake; clamped where it is used, as X25519 does (RFC 7748 §5). All its clones are one
/// place in memory, which the library erases with the last of them.
#[derive(Clone, Debug)]
pub struct PrivateKey(Arc<agreement::PrivateKey>);

/// The static public key of a host.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; KEY]);

/// The secret that both ends may share on top of their key pairs; all zero if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresharedKey(Secret);

/// Why text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64 at all.
    #[error("not base64")]
    Base64,
    /// Base64 of another number of bytes.
    #[error("base64 of {0} bytes, not {KEY}")]
    Length(usize),
}

impl PrivateKey {
    /// The key with these bytes, clamped as `wg genkey` does when it makes one.
    #[must_use]
    pub fn clamped(mut bytes: [u8; KEY]) -> Self {
        bytes[0] &= 248;
        bytes[31] = (bytes[31] & 127) | 64;
        Self::from(bytes)
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let public = self.0.compute_public_key().expect("it was computed with the key");
        PublicKey(public.as_ref().try_into().expect("it has 32 bytes"))
    }

    /// The X25519 product with `theirs`, or `None` if it is all zero: `theirs` has low order.
    #[must_use]
    pub(crate) fn diffie_hellman(&self, theirs: &PublicKey) -> Option<Secret> {
        let theirs = UnparsedPublicKey::new(&X25519, theirs.0);
        let secret = |product: &[u8]| product.try_into().map(<[u8; KEY]>::into).map_err(drop);
        agree(&self.0, theirs, (), secret).ok()
    }

    fn as_bytes(&self) -> Zeroizing<Vec<u8>> {
        let bytes: Curve25519SeedBin = self.0.as_be_bytes().expect("an X25519 key has its bytes");
        Zeroizing::new(bytes.as_ref().to_vec())
    }
}

impl From<[u8; KEY]> for PrivateKey {
    fn from(bytes: [u8; KEY]) -> Self {
        let bytes = Secret::from(bytes);
        let key = on_clean_stack(|| agreement::PrivateKey::from_private_key(&X25519, &*bytes));
        Self(Arc::new(key.expect("any 32 bytes are a key")))
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.public_key() == other.public_key()
    }
}

impl Eq for PrivateKey {}

impl ZeroizeOnDrop for PrivateKey {}

impl PublicKey {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY] {
        &self.0
    }
}

impl From<[u8; KEY]> for PublicKey {
    fn from(bytes: [u8; KEY]) -> Self {
        Self(bytes)
    }
}

impl PresharedKey {
    /// Its bytes.
    #[must_use]
    pub(crate) fn as_bytes(&self) -> &[u8; KEY] {
        &self.0
    }
}

impl From<[u8; KEY]> for PresharedKey {
    fn from(bytes: [u8; KEY]) -> Self {
        Self(bytes.into())
    }
}

impl ZeroizeOnDrop for PresharedKey {}

impl Default for PresharedKey {
    /// No preshared key: all zero.
    fn default() -> Self {
        Self(Secret::zero())
    }
}

/// `FromStr`, and base64 text out by name for secrets: they have no `Display`.
macro_rules! base64_text {
    ($key:ty) => {
        impl FromStr for $key {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                let bytes =
                    Zeroizing::new(BASE64_STANDARD.decode(text).map_err(|_| KeyError::Base64)?);
                <[u8; KEY]>::try_from(bytes.as_slice())
                    .map(Self::from)
                    .map_err(|_| KeyError::Length(bytes.len()))
            }
        }

        impl $key {
            /// The key in base64; for a secret one, the only way it becomes text.
            #[must_use]
            pub fn to_base64(&self) -> Zeroizing<String> {
                Zeroizing::new(BASE64_STANDARD.encode(self.as_bytes()))
            }
        }
    };
}
base64_text!(PrivateKey);
base64_text!(PublicKey);
base64_text!(PresharedKey);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_survives_its_text_form() {
        let key = PublicKey::from([7; KEY]);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.to_string().len(), 44);
        assert_eq!(format!("{key:?}"), format!("PublicKey({key})"));
        let key = PrivateKey::from([7; KEY]);
        assert_eq!(key.to_base64().parse(), Ok(key.clone()));
        assert_ne!(PrivateKey::from([9; KEY]), key);
    }

    #[test]
    fn a_key_made_here_has_the_bits_that_x25519_wants_set_and_cleared() {
        for (byte, first, last) in [(0x00, 0x00, 0x40), (0xff, 0xf8, 0x7f), (0x55, 0x50, 0x55)] {
            let bytes = PrivateKey::clamped([byte; KEY]).as_bytes();
            assert_eq!((bytes[0], bytes[1], bytes[31]), (first, byte, last), "of {byte:#04x}");
        }
    }

    #[test]
    fn text_that_is_no_key_says_why() {
        assert_eq!("?".parse::<PrivateKey>(), Err(KeyError::Base64));
        assert_eq!("AAAA".parse::<PrivateKey>(), Err(KeyError::Length(3)));
        assert_eq!("".parse::<PresharedKey>(), Err(KeyError::Length(0)));
    }

    #[test]
    fn secrets_are_never_shown() {
        let shown = format!("{:?}", PrivateKey::clamped([0x5a; KEY]));
        assert_eq!(shown, "PrivateKey(PrivateKey { algorithm: Algorithm { curve: Curve25519 } })");
        assert_eq!(format!("{:?}", PresharedKey::from([0x5a; KEY])), "PresharedKey(secret)");
    }

    fn hex(text: &str) -> [u8; KEY] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    fn product(private: [u8; KEY], public: [u8; KEY]) -> Option<[u8; KEY]> {
        PrivateKey::from(private).diffie_hellman(&public.into()).map(|product| *product)
    }

    /// RFC 7748 §6.1.
    #[test]
    fn public_key_and_product_are_those_of_rfc_7748() {
        let bob = hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let bob_public = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(PrivateKey::from(bob).public_key().as_bytes(), &bob_public);
        let alice_public = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(product(bob, alice_public), Some(shared));
    }

    /// RFC 7748 §5.2. The second has the top bit of the public key set, which does not count.
    #[test]
    fn products_are_those_of_rfc_7748() {
        for [private, public, shared] in [
            [
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ],
            [
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ],
        ] {
            assert_eq!(product(hex(private), hex(public)), Some(hex(shared)));
        }
    }

    /// RFC 7748 §5.2.
    #[test]
    fn products_of_products_are_those_of_rfc_7748() {
        let mut private = std::array::from_fn(|i| if i == 0 { 9 } else { 0 });
        let mut public = private;
        for number in 1..=1000 {
            let last = private;
            private = product(private, public).unwrap();
            public = last;
            let expected = match number {
                1 => "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
                1000 => "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51",
                _ => continue,
            };
            assert_eq!(private, hex(expected), "after {number}");
        }
    }

    /// RFC 7748 §5: a public key is taken modulo 2^255 - 19, and its top bit does not count.
    #[test]
    fn a_public_key_that_is_too_large_counts_as_its_remainder() {
        for small in 2..19 {
            let mut one = [0; KEY];
            one[0] = small;
            let mut large = [0xff; KEY];
            (large[0], large[31]) = (0xed + small, 0x7f);
            let expected = product([7; KEY], one).unwrap();
            for mut same in [one, large] {
                assert_eq!(product([7; KEY], same), Some(expected));
                same[31] |= 0x80;
                assert_eq!(product([7; KEY], same), Some(expected));
            }
        }
    }

    /// All of them: https://cr.yp.to/ecdh.html#validate, each with the top bit set too.
    #[test]
    fn a_low_order_public_key_gives_no_product() {
        for low in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let mut low = hex(low);
            assert_eq!(product([1; KEY], low), None, "{low:02x?}");
            low[31] |= 0x80;
            assert_eq!(product([1; KEY], low), None, "{low:02x?}");
        }
    }

    proptest! {
        #[test]
        fn both_implementations_of_x25519_agree(private: [u8; KEY], public: [u8; KEY]) {
            let reference = x25519_dalek::x25519(private, public);
            prop_assert_eq!(product(private, public), Some(reference));
            let reference = x25519_dalek::x25519(private, x25519_dalek::X25519_BASEPOINT_BYTES);
            prop_assert_eq!(PrivateKey::from(private).public_key().0, reference);
        }
    }
}
