//! Keys as people write them: 32 bytes in base64, erased when dropped, never printed when secret.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use x25519_dalek::StaticSecret;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::secret::{Secret, on_clean_stack};

/// Bytes of each key.
pub const KEY: usize = 32;

/// The static private key of a host; clamped where it is used, as X25519 does (RFC 7748 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateKey(Secret);

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
        on_clean_stack(|| PublicKey(x25519_dalek::PublicKey::from(&self.secret()).to_bytes()))
    }

    /// The X25519 product with `theirs`, or `None` if it is all zero: `theirs` has low order.
    #[must_use]
    pub(crate) fn diffie_hellman(&self, theirs: &PublicKey) -> Option<Secret> {
        let shared = self.secret().diffie_hellman(&x25519_dalek::PublicKey::from(theirs.0));
        shared.was_contributory().then(|| Secret::from(*shared.as_bytes()))
    }

    fn secret(&self) -> StaticSecret {
        StaticSecret::from(*self.0)
    }
}

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
                Zeroizing::new(BASE64_STANDARD.encode(&self.0[..]))
            }
        }
    };
}
base64_text!(PrivateKey);
base64_text!(PublicKey);
base64_text!(PresharedKey);

/// Made from bytes, and erased when dropped.
macro_rules! secret {
    ($key:ty) => {
        impl From<[u8; KEY]> for $key {
            fn from(bytes: [u8; KEY]) -> Self {
                Self(bytes.into())
            }
        }

        impl ZeroizeOnDrop for $key {}
    };
}
secret!(PrivateKey);
secret!(PresharedKey);

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
    use super::*;

    #[test]
    fn a_key_survives_its_text_form() {
        let key = PublicKey::from([7; KEY]);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.to_string().len(), 44);
        assert_eq!(format!("{key:?}"), format!("PublicKey({key})"));
    }

    #[test]
    fn a_key_made_here_has_the_bits_that_x25519_wants_set_and_cleared() {
        for (byte, first, last) in [(0x00, 0x00, 0x40), (0xff, 0xf8, 0x7f), (0x55, 0x50, 0x55)] {
            let PrivateKey(bytes) = &PrivateKey::clamped([byte; KEY]);
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
        let key = PrivateKey::clamped([0x5a; KEY]);
        assert_eq!(format!("{key:?}"), "PrivateKey(secret)");
        assert_eq!(format!("{:?}", PresharedKey::from([0x5a; KEY])), "PresharedKey(secret)");
    }

    #[test]
    fn public_key_and_product_are_those_of_rfc_7748() {
        let hex = |text: &str| -> [u8; KEY] {
            std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        };
        let bob = PrivateKey::from(hex(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ));
        let bob_public = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(bob.public_key().as_bytes(), &bob_public);
        let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        let alice_public = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        assert_eq!(*bob.diffie_hellman(&PublicKey::from(alice_public)).unwrap(), shared);
    }

    #[test]
    fn a_low_order_public_key_gives_no_product() {
        let key = PrivateKey::clamped([1; KEY]);
        assert!(key.diffie_hellman(&PublicKey::from([0; KEY])).is_none());
    }
}
