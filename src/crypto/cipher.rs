//! The ciphers that transport data can be sealed with.

use std::fmt;

/// A cipher for transport data; handshakes are always sealed with the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cipher {
    /// ChaCha20-Poly1305 (RFC 8439): WireGuard's, fast on every processor.
    #[default]
    ChaCha20Poly1305,
    /// AES-256-GCM (NIST SP 800-38D): faster where the processor has instructions for it.
    Aes256Gcm,
}

impl Cipher {
    /// Every cipher, the default first.
    pub const ALL: [Self; 2] = [Self::ChaCha20Poly1305, Self::Aes256Gcm];

    /// Its name in the configuration and in handshakes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
