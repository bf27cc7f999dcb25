//! What the WireGuard paper and the Linux kernel say, written down once more: the code is not tested against itself.

use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use tunneld::crypto::PublicKey;

use crate::host::{millis, secs};

pub const REKEY_AFTER_TIME: Duration = secs(120);
pub const REJECT_AFTER_TIME: Duration = secs(180);
pub const REKEY_TIMEOUT: Duration = secs(5);
pub const KEEPALIVE_TIMEOUT: Duration = secs(10);
/// The kernel's MAX_TIMER_HANDSHAKES allows one retry more than 90 / 5.
pub const INITIATIONS_OF_A_HANDSHAKE: usize = 20;
pub const MOST_JITTER: Duration = millis(333);
pub const REKEY_ON_RECEIVE: Duration = secs(165);
pub const SILENCE: Duration = secs(15);
pub const ERASE_AFTER: Duration = secs(540);
pub const INITIATIONS_APART: Duration = millis(20);
pub const COOKIE_USED_FOR: Duration = secs(115);
pub const COOKIE_SECRET_LASTS: Duration = secs(120);
pub const STAGED: usize = 128;
pub const WINDOW: u64 = 8128;

pub const INITIATION: u8 = 1;
pub const RESPONSE: u8 = 2;
pub const COOKIE_REPLY: u8 = 3;
pub const DATA: u8 = 4;
/// Bytes that transport data has more than its padded packet.
pub const OVERHEAD: usize = 32;

/// The public keys of low order (https://cr.yp.to/ecdh.html), little-endian: 0, 1, two of order 8, p-1, p, p+1.
pub const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

pub fn low_order() -> impl Iterator<Item = [u8; 32]> {
    let byte = |hex: &str, i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
    LOW_ORDER.into_iter().map(move |hex| std::array::from_fn(|i| byte(hex, i)))
}

/// Writes the mac1 that anyone can make who knows the receiver's public key (paper §5.4.4).
pub fn sign(message: &mut [u8], receiver: &PublicKey) {
    let key = Blake2s256::new().chain_update(b"mac1----").chain_update(receiver.as_bytes());
    let at = message.len() - 32;
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&key.finalize()).unwrap();
    Update::update(&mut mac, &message[..at]);
    message[at..at + 16].copy_from_slice(&mac.finalize_fixed());
}

/// The mac2 of a handshake message.
pub fn mac2(message: &[u8]) -> &[u8] {
    &message[message.len() - 16..]
}

/// The four bytes at `at`, as an index.
pub fn index(message: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(message[at..at + 4].try_into().unwrap())
}

/// The counter of transport data.
pub fn counter(data: &[u8]) -> u64 {
    u64::from_le_bytes(data[8..16].try_into().unwrap())
}
