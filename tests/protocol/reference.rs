//! The formulas of the WireGuard paper (§5.4) and of docs/protocol.md once more, sharing no code with `src`; HMAC and the key derivation are
//! spelled out. What the core's bytes are measured against.

use std::time::Duration;

use aes_gcm::Aes256Gcm;
use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, KeyInit as _, Update};
use blake2::{Blake2s256, Blake2sMac};
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, XChaCha20Poly1305};

pub const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
pub const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

pub type Key = [u8; 32];

pub fn hash(parts: &[&[u8]]) -> Key {
    Blake2s256::digest(parts.concat()).into()
}

pub fn mac(key: &[u8], input: &[u8]) -> [u8; 16] {
    let mut state = Blake2sMac::<U16>::new_from_slice(key).unwrap();
    Update::update(&mut state, input);
    state.finalize_fixed().into()
}

/// HMAC of RFC 2104: the hash's block is 64 bytes, and every key here is shorter.
pub fn hmac(key: &Key, input: &[u8]) -> Key {
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let inner = hash(&[&block.map(|byte| byte ^ 0x36), input]);
    hash(&[&block.map(|byte| byte ^ 0x5c), &inner])
}

/// KDF3; KDF1 and KDF2 are its first outputs.
pub fn kdf(key: &Key, input: &[u8]) -> [Key; 3] {
    let secret = hmac(key, input);
    let one = hmac(&secret, &[1]);
    let two = hmac(&secret, &[&one[..], &[2]].concat());
    let three = hmac(&secret, &[&two[..], &[3]].concat());
    [one, two, three]
}

pub fn public_key(private: &Key) -> Key {
    x25519_dalek::x25519(*private, x25519_dalek::X25519_BASEPOINT_BYTES)
}

pub fn mac1(receiver: &Key, before: &[u8]) -> [u8; 16] {
    mac(&hash(&[b"mac1----", receiver]), before)
}

pub fn seal(key: &Key, counter: u64, text: &[u8], aad: &[u8]) -> Vec<u8> {
    let mut sealed = text.to_vec();
    let tag = ChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(&nonce(counter).into(), aad, InOutBuf::from(&mut sealed[..]))
        .unwrap();
    sealed.extend(tag);
    sealed
}

pub fn seal_aes(key: &Key, counter: u64, text: &[u8]) -> Vec<u8> {
    let mut sealed = text.to_vec();
    let tag = Aes256Gcm::new(key.into())
        .encrypt_inout_detached(&nonce(counter).into(), &[], InOutBuf::from(&mut sealed[..]))
        .unwrap();
    sealed.extend(tag);
    sealed
}

/// Four zeros and the counter.
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

pub fn seal_cookie(receiver: &Key, nonce: [u8; 24], cookie: &[u8; 16], mac1: &[u8]) -> Vec<u8> {
    let mut sealed = cookie.to_vec();
    let tag = XChaCha20Poly1305::new(&hash(&[b"cookie--", receiver]).into())
        .encrypt_inout_detached(&nonce.into(), mac1, InOutBuf::from(&mut sealed[..]))
        .unwrap();
    sealed.extend(tag);
    sealed
}

/// All that both ends of one handshake know and choose.
#[derive(Clone, Copy, Debug)]
pub struct Transcript {
    pub identifier: &'static [u8],
    pub initiator: Key,
    pub responder: Key,
    pub preshared: Key,
    pub initiator_ephemeral: Key,
    pub responder_ephemeral: Key,
    pub initiator_index: u32,
    pub responder_index: u32,
    pub timestamp: [u8; 12],
}

/// The messages of a handshake without their MACs, and the keys it ends with.
pub struct Outcome {
    pub initiation: Vec<u8>,
    pub response: Vec<u8>,
    /// From initiator to responder, and back.
    pub transport: [Key; 2],
}

impl Transcript {
    /// Follows §5.4.2, §5.4.3 and §5.4.5 line by line; `c` is the chaining key and `h` the hash.
    pub fn outcome(&self) -> Outcome {
        let dh = |private, public| x25519_dalek::x25519(private, public);
        let responder_public = public_key(&self.responder);
        let initiator_public = public_key(&self.initiator);
        let c = hash(&[CONSTRUCTION]);
        let h = hash(&[&hash(&[&c, self.identifier]), &responder_public]);

        let ephemeral = public_key(&self.initiator_ephemeral);
        let [c, ..] = kdf(&c, &ephemeral);
        let h = hash(&[&h, &ephemeral]);
        let [c, k, _] = kdf(&c, &dh(self.initiator_ephemeral, responder_public));
        let sealed_static = seal(&k, 0, &initiator_public, &h);
        let h = hash(&[&h, &sealed_static]);
        let [c, k, _] = kdf(&c, &dh(self.initiator, responder_public));
        let sealed_timestamp = seal(&k, 0, &self.timestamp, &h);
        let h = hash(&[&h, &sealed_timestamp]);
        let initiation = [
            &[1, 0, 0, 0][..],
            &self.initiator_index.to_le_bytes(),
            &ephemeral,
            &sealed_static,
            &sealed_timestamp,
        ]
        .concat();

        let answer = public_key(&self.responder_ephemeral);
        let [c, ..] = kdf(&c, &answer);
        let h = hash(&[&h, &answer]);
        let [c, ..] = kdf(&c, &dh(self.responder_ephemeral, ephemeral));
        let [c, ..] = kdf(&c, &dh(self.responder_ephemeral, initiator_public));
        let [c, t, k] = kdf(&c, &self.preshared);
        let h = hash(&[&h, &t]);
        let sealed_nothing = seal(&k, 0, &[], &h);
        let response = [
            &[2, 0, 0, 0][..],
            &self.responder_index.to_le_bytes(),
            &self.initiator_index.to_le_bytes(),
            &answer,
            &sealed_nothing,
        ]
        .concat();
        let [there, back, _] = kdf(&c, &[]);
        Outcome { initiation, response, transport: [there, back] }
    }
}

/// `message` with mac1, and mac2 of all of it if there is a cookie.
pub fn signed(mut message: Vec<u8>, receiver: &Key, cookie: Option<[u8; 16]>) -> Vec<u8> {
    message.extend(mac1(receiver, &message));
    message.extend(cookie.map_or([0; 16], |cookie| mac(&cookie, &message)));
    message
}

/// Transport data (§5.4.6) of a packet already padded.
pub fn transport_data(key: &Key, receiver: u32, counter: u64, padded: &[u8]) -> Vec<u8> {
    transport_message(receiver, counter, seal(key, counter, padded, &[]))
}

/// The same, sealed already.
pub fn transport_message(receiver: u32, counter: u64, sealed: Vec<u8>) -> Vec<u8> {
    let mut message = vec![4, 0, 0, 0];
    message.extend(receiver.to_le_bytes());
    message.extend(counter.to_le_bytes());
    message.extend(sealed);
    message
}

/// TAI64N of wall time `unix` with the kernel's base and rounding to 2^24 ns.
pub fn tai64n(unix: Duration) -> [u8; 12] {
    let mut timestamp = [0; 12];
    timestamp[..8].copy_from_slice(&(0x4000_0000_0000_000a + unix.as_secs()).to_be_bytes());
    timestamp[8..].copy_from_slice(&((unix.subsec_nanos() >> 24) << 24).to_be_bytes());
    timestamp
}
