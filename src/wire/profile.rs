//! The profile: which protocol both ends speak, as the handshake binds it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::piece;
use crate::crypto::Cipher;

/// What both ends must have chosen alike. Nothing of it is negotiated: where they differ, no handshake succeeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// WireGuard, version 1, to the byte.
    #[default]
    WireGuard,
    /// The same handshake and framing, with options that WireGuard has not.
    Tunneld {
        /// What transport data is sealed with.
        cipher: Cipher,
        /// What transport data carries.
        layer: Layer,
    },
}

/// What transport data carries, and the device gives and takes; in JSON it has its name in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    /// IP packets (layer 3).
    #[default]
    #[serde(rename = "tun")]
    Ip,
    /// Ethernet frames (layer 2), without preamble and check sequence.
    #[serde(rename = "tap")]
    Ethernet,
}

impl Layer {
    /// Its name in the configuration, and the kind of the devices that carry it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "tun",
            Self::Ethernet => "tap",
        }
    }
}

impl Profile {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WireGuard => "wireguard",
            Self::Tunneld { .. } => "tunneld",
        }
    }

    /// What transport data is sealed with.
    #[must_use]
    pub fn cipher(self) -> Cipher {
        match self {
            Self::WireGuard => Cipher::ChaCha20Poly1305,
            Self::Tunneld { cipher, .. } => cipher,
        }
    }

    /// What transport data carries.
    #[must_use]
    pub fn layer(self) -> Layer {
        match self {
            Self::WireGuard => Layer::Ip,
            Self::Tunneld { layer, .. } => layer,
        }
    }

    /// Whether `text`, what was sealed in transport data, is a control frame: it begins with no version of IP, and as no
    /// [piece] of an Ethernet frame.
    #[must_use]
    pub fn is_control(self, text: &[u8]) -> bool {
        let first = text.first().copied().unwrap_or_default();
        match self {
            Self::WireGuard => false,
            Self::Tunneld { layer: Layer::Ip, .. } => !matches!(first >> 4, 4 | 6),
            Self::Tunneld { layer: Layer::Ethernet, .. } => !piece::is_kind(first),
        }
    }

    /// The Identifier of the handshake (WireGuard paper §5.4): one for each choice of all options. Other options, or another
    /// meaning of these, need another one.
    #[must_use]
    pub fn identifier(self) -> &'static str {
        use Cipher::{Aes256Gcm, ChaCha20Poly1305};
        use Layer::{Ethernet, Ip};
        match self {
            Self::WireGuard => "WireGuard v1 zx2c4 Jason@zx2c4.com",
            Self::Tunneld { cipher, layer } => match (cipher, layer) {
                (ChaCha20Poly1305, Ip) => "tunneld v1 chacha20-poly1305 ip control",
                (Aes256Gcm, Ip) => "tunneld v1 aes-256-gcm ip control",
                (ChaCha20Poly1305, Ethernet) => "tunneld v1 chacha20-poly1305 ethernet control",
                (Aes256Gcm, Ethernet) => "tunneld v1 aes-256-gcm ethernet control",
            },
        }
    }
}

/// In words: its name, and the options that the name leaves open.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WireGuard => f.write_str(self.name()),
            Self::Tunneld { cipher, layer: Layer::Ip } => write!(f, "{}, {cipher}", self.name()),
            Self::Tunneld { cipher, layer: Layer::Ethernet } => {
                write!(f, "{}, {cipher}, ethernet", self.name())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_one_name_everywhere() {
        for (layer, name) in [(Layer::Ip, "tun"), (Layer::Ethernet, "tap")] {
            assert_eq!((layer.name(), serde_json::to_value(layer).unwrap()), (name, name.into()));
        }
    }
}
