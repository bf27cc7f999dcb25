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

/// The two messages that carry a sender index after the type, and mac1 and mac2 at their end.
pub trait Maced: IntoBytes + FromBytes + KnownLayout + Immutable {
    /// The sender index.
    fn sender(&self) -> u32 {
        let ([_type, sender], _) = <[U32; 2]>::ref_from_prefix(self.as_bytes()).expect(LONGER);
        sender.get()
    }
    /// The part that mac1 covers.
    fn before_mac1(&self) -> &[u8] {
        self.before_mac2().split_last_chunk::<MAC>().expect(LONGER).0
    }
    /// The part that mac2 covers.
    fn before_mac2(&self) -> &[u8] {
        self.as_bytes().split_last_chunk::<MAC>().expect(LONGER).0
    }
    /// mac1 as sent.
    fn mac1(&self) -> &[u8; MAC] {
        self.before_mac2().last_chunk().expect(LONGER)
    }
    /// mac2 as sent.
    fn mac2(&self) -> &[u8; MAC] {
        self.as_bytes().last_chunk().expect(LONGER)
    }
    /// Writes mac1.
    fn set_mac1(&mut self, mac: [u8; MAC]) {
        let (before_mac2, _) = self.as_mut_bytes().split_last_chunk_mut::<MAC>().expect(LONGER);
        *before_mac2.last_chunk_mut().expect(LONGER) = mac;
    }
    /// Writes mac2.
    fn set_mac2(&mut self, mac: [u8; MAC]) {
        *self.as_mut_bytes().last_chunk_mut().expect(LONGER) = mac;
    }
}

const LONGER: &str = "both messages are longer";

impl Maced for Initiation {}
impl Maced for Response {}

/// Bytes of mac1, and of mac2.
const MAC: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn check<M: Maced>(sender: impl Fn(&M) -> u32, macs: impl Fn(&M) -> [[u8; MAC]; 2]) {
        let mut bytes = [7; 148];
        bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
        let (mut message, _) = M::read_from_prefix(&bytes).unwrap();
        message.set_mac1([8; MAC]);
        message.set_mac2([9; MAC]);
        assert_eq!((message.sender(), sender(&message)), (0x0403_0201, 0x0403_0201));
        assert_eq!([*message.mac1(), *message.mac2()], [[8; MAC], [9; MAC]]);
        assert_eq!(macs(&message), [[8; MAC], [9; MAC]]);
        assert_eq!(message.before_mac1().len() + 2 * MAC, size_of::<M>());
        assert_eq!(message.before_mac2().len() + MAC, size_of::<M>());
    }

    #[test]
    fn sender_and_macs_stand_where_the_fields_do() {
        check::<Initiation>(|message| message.sender.get(), |message| [message.mac1, message.mac2]);
        check::<Response>(|message| message.sender.get(), |message| [message.mac1, message.mac2]);
    }
}
