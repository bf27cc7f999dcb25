//! Which primitives, from which libraries. Everything secret is erased when dropped.
//!
//! | job | primitive | library |
//! |---|---|---|
//! | key agreement | X25519 | `aws-lc-rs` |
//! | hash, MAC, key derivation | BLAKE2s, HMAC of our own | `blake2` |
//! | handshake and cookie encryption | (X)ChaCha20-Poly1305 | `chacha20poly1305` |
//! | transport encryption | ChaCha20-Poly1305, or AES-256-GCM | `aws-lc-rs` |

pub(crate) mod aead;
mod cipher;
pub(crate) mod hash;
pub mod keys;
pub(crate) mod random;
pub(crate) mod secret;

pub use aead::{TAG, TransportKey};
pub use cipher::Cipher;
pub use keys::{PresharedKey, PrivateKey, PublicKey};
