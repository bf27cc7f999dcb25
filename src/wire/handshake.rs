//! The three handshake messages, byte for byte (WireGuard paper §5.4.2, §5.4.3, §5.4.7).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::crypto::aead::TAG;

/// First message of a handshake: 148 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Initiation {
    /// [`MessageType::Initiation`](super::MessageType), with the three reserved bytes.
    pub message_type: U32,
    /// The initiator's index for this handshake.
    pub sender: U32,
    /// The initiator's ephemeral public key.
    pub ephemeral: [u8; 32],
    /// The initiator's static public key, sealed.
    pub static_key: [u8; 32 + TAG],
    /// TAI64N timestamp, sealed.
    pub timestamp: [u8; 12 + TAG],
    /// MAC of all before it, keyed by the responder's public key.
    pub mac1: [u8; 16],
    /// MAC of all before it, keyed by a cookie; zero without one.
    pub mac2: [u8; 16],
}

/// Answer to an initiation: 92 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Response {
    /// [`MessageType::Response`](super::MessageType), with the three reserved bytes.
    pub message_type: U32,
    /// The responder's index for this handshake.
    pub sender: U32,
    /// The initiator's index, from the initiation.
    pub receiver: U32,
    /// The responder's ephemeral public key.
    pub ephemeral: [u8; 32],
    /// Nothing, sealed: proves that both derived the same keys.
    pub empty: [u8; TAG],
    /// MAC of all before it, keyed by the initiator's public key.
    pub mac1: [u8; 16],
    /// MAC of all before it, keyed by a cookie; zero without one.
    pub mac2: [u8; 16],
}

/// What a host under load answers instead of a handshake: 64 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct CookieReply {
    /// [`MessageType::CookieReply`](super::MessageType), with the three reserved bytes.
    pub message_type: U32,
    /// The sender index of the message this answers.
    pub receiver: U32,
    /// Random nonce.
    pub nonce: [u8; 24],
    /// The cookie, sealed.
    pub cookie: [u8; 16 + TAG],
}

const _: () = assert!(size_of::<Initiation>() == 148);
const _: () = assert!(size_of::<Response>() == 92);
const _: () = assert!(size_of::<CookieReply>() == 64);

/// The two messages that carry mac1 and mac2 at their end.
pub trait Maced: IntoBytes + FromBytes + KnownLayout + Immutable {
    /// The part that mac1 covers.
    fn before_mac1(&self) -> &[u8] {
        let bytes = self.as_bytes();
        &bytes[..bytes.len() - 32]
    }
    /// The part that mac2 covers.
    fn before_mac2(&self) -> &[u8] {
        let bytes = self.as_bytes();
        &bytes[..bytes.len() - 16]
    }
    /// The sender index.
    fn sender(&self) -> u32;
    /// mac1 as sent.
    fn mac1(&self) -> &[u8; 16];
    /// mac2 as sent.
    fn mac2(&self) -> &[u8; 16];
    /// Both, to be written.
    fn macs_mut(&mut self) -> (&mut [u8; 16], &mut [u8; 16]);
}

macro_rules! maced {
    ($message:ty) => {
        impl Maced for $message {
            fn sender(&self) -> u32 {
                self.sender.get()
            }
            fn mac1(&self) -> &[u8; 16] {
                &self.mac1
            }
            fn mac2(&self) -> &[u8; 16] {
                &self.mac2
            }
            fn macs_mut(&mut self) -> (&mut [u8; 16], &mut [u8; 16]) {
                (&mut self.mac1, &mut self.mac2)
            }
        }
    };
}
maced!(Initiation);
maced!(Response);
