//! Bytes on the wire, and the words that rooms use of them. Nothing here knows a key, a clock or a socket.
//!
//! | type | message | bytes |
//! |---|---|---|
//! | 1 | [`Initiation`] | 148 |
//! | 2 | [`Response`] | 92 |
//! | 3 | [`CookieReply`] | 64 |
//! | 4 | transport data: [`TransportHeader`], sealed packet, tag | 32 or more |
//!
//! The type byte is followed by three reserved zero bytes; both are read as one little-endian `u32`.

pub mod checksum;
pub mod datagram;
pub mod ethernet;
pub mod flow;
pub mod handshake;
pub mod icmp;
pub mod ip;
pub mod mss;
pub(crate) mod offload;
pub mod piece;
pub mod profile;
pub mod screen;
pub mod superpacket;
pub mod transport;
pub mod upper;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

pub use datagram::{DatagramSink, Endpoint, Run};
pub use handshake::{CookieReply, Initiation, Maced, Response};
pub use ip::{Ecn, IpHeader};
pub(crate) use offload::Offload;
pub use profile::{Layer, Profile};
pub use screen::{Chance, Screen};
pub use superpacket::Superpacket;
pub use transport::TransportHeader;

/// The first four bytes of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the table above says it")]
pub enum MessageType {
    Initiation = 1,
    Response = 2,
    CookieReply = 3,
    TransportData = 4,
}

impl From<MessageType> for U32 {
    fn from(message_type: MessageType) -> Self {
        Self::new(message_type as u32)
    }
}

/// A handshake message by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table above says it")]
pub enum Handshake {
    Initiation(Initiation),
    Response(Response),
    CookieReply(CookieReply),
}

/// A datagram whose type and length are those of a message (paper §5.4.2 to §5.4.7).
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// One of the three handshake messages.
    Handshake(Handshake),
    /// Transport data, whole, still sealed: header, ciphertext, tag; at least 32 bytes.
    TransportData(&'a mut [u8]),
}

/// Why a datagram is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The first four bytes name no message.
    Type,
    /// The length is not that of its type.
    Length,
}

impl<'a> Message<'a> {
    /// Tells which message a datagram is by its first four bytes and its length; any input is fine.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    pub fn parse(datagram: &'a mut [u8]) -> Result<Self, Malformed> {
        const TRANSPORT_DATA: u32 = MessageType::TransportData as u32;
        match datagram.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) {
            Some(TRANSPORT_DATA) if datagram.len() >= transport::OVERHEAD => {
                Ok(Message::TransportData(datagram))
            }
            Some(TRANSPORT_DATA) => Err(Malformed::Length),
            _ => Handshake::parse(datagram).map(Message::Handshake),
        }
    }
}

impl Handshake {
    /// The message as it goes into a datagram.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Initiation(message) => message.as_bytes(),
            Self::Response(message) => message.as_bytes(),
            Self::CookieReply(message) => message.as_bytes(),
        }
    }

    /// Reads a handshake message; any input is fine.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        const INITIATION: u32 = MessageType::Initiation as u32;
        const RESPONSE: u32 = MessageType::Response as u32;
        const COOKIE_REPLY: u32 = MessageType::CookieReply as u32;
        fn exact<T: FromBytes>(datagram: &[u8]) -> Result<T, Malformed> {
            T::read_from_bytes(datagram).map_err(|_| Malformed::Length)
        }
        match datagram.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) {
            Some(INITIATION) => exact(datagram).map(Self::Initiation),
            Some(RESPONSE) => exact(datagram).map(Self::Response),
            Some(COOKIE_REPLY) => exact(datagram).map(Self::CookieReply),
            _ => Err(Malformed::Type),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn typed(first: u8, len: usize) -> Vec<u8> {
        let mut datagram = vec![0; len];
        if let Some(byte) = datagram.first_mut() {
            *byte = first;
        }
        datagram
    }

    #[test]
    fn each_message_has_its_exact_length() {
        for (message_type, right) in [(1, 148), (2, 92), (3, 64)] {
            for len in 4..300 {
                let mut datagram = typed(message_type, len);
                let parsed = Message::parse(&mut datagram);
                if len == right {
                    assert!(matches!(parsed, Ok(Message::Handshake(_))));
                } else {
                    assert_eq!(parsed, Err(Malformed::Length), "type {message_type}, {len} bytes");
                }
            }
        }
    }

    #[test]
    fn transport_data_has_at_least_header_and_tag() {
        assert_eq!(Message::parse(&mut typed(4, 31)), Err(Malformed::Length));
        assert!(matches!(Message::parse(&mut typed(4, 32)), Ok(Message::TransportData(_))));
        assert!(matches!(Message::parse(&mut typed(4, 65_507)), Ok(Message::TransportData(_))));
    }

    #[test]
    fn reserved_bytes_must_be_zero() {
        for (message_type, len) in [(1, 148), (2, 92), (3, 64), (4, 32)] {
            for reserved in 1..4 {
                let mut datagram = typed(message_type, len);
                datagram[reserved] = 1;
                assert_eq!(Message::parse(&mut datagram), Err(Malformed::Type));
            }
        }
    }

    #[test]
    fn other_types_and_short_datagrams_are_no_message() {
        for message_type in [0, 5, 255] {
            assert_eq!(Message::parse(&mut typed(message_type, 148)), Err(Malformed::Type));
        }
        for len in 0..4 {
            assert_eq!(Message::parse(&mut typed(1, len)), Err(Malformed::Type));
        }
    }

    proptest! {
        #[test]
        fn writing_and_reading_a_message_are_inverses(
            which in 0..3usize,
            mut bytes in proptest::collection::vec(any::<u8>(), 148),
        ) {
            let (message_type, len) = [(1, 148), (2, 92), (3, 64)][which];
            bytes.truncate(len);
            bytes[..4].copy_from_slice(&[message_type, 0, 0, 0]);
            let message = Handshake::parse(&bytes).unwrap();
            prop_assert_eq!(message.as_bytes(), &bytes);
            prop_assert_eq!(Handshake::parse(message.as_bytes()), Ok(message));
        }

        #[test]
        fn any_datagram_is_a_message_or_none(mut bytes: Vec<u8>, first in 0..6u8) {
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            let _ = Message::parse(&mut bytes);
        }
    }
}
