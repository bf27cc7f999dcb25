//! Which primitives, from which libraries.

pub mod keys;

pub use keys::{PresharedKey, PrivateKey, PublicKey};
