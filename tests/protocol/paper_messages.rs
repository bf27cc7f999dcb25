//! Messages read as the paper writes them (§5.4.2, §5.4.7), with nothing of tunneld's: names, key derivation, nonces,
//! associated data and timestamp.

use blake2::digest::consts::U16;
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, XChaCha20Poly1305};
use hmac::{Mac, SimpleHmac};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::link::{Link, WALL_START, key, packet, secs};
use crate::paper::{INITIATION, mac2};

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Blake2s256::new(), |state, part| state.chain_update(part)).finalize().into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut state = <SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| Mac::update(&mut state, part));
    state.finalize().into_bytes().into()
}

/// KDF2 of the paper.
fn kdf2(key: &[u8], input: &[u8]) -> ([u8; 32], [u8; 32]) {
    let extracted = hmac(key, &[input]);
    let first = hmac(&extracted, &[&[1]]);
    (first, hmac(&extracted, &[&first, &[2]]))
}

fn open(key: [u8; 32], sealed: &[u8], aad: &[u8]) -> Vec<u8> {
    let (text, tag) = sealed.split_at(sealed.len() - 16);
    let (mut text, tag) = (text.to_vec(), tag.try_into().unwrap());
    ChaCha20Poly1305::new(&key.into())
        .decrypt_inout_detached(&[0; 12].into(), aad, text.as_mut_slice().into(), tag)
        .expect("it is authentic");
    text
}

#[test]
fn an_initiation_reads_as_the_paper_writes_it() {
    let mut link = Link::new();
    link.a_sends(&packet(1, 2, b"data"));
    let message = link.hold().remove(0).bytes;
    let ephemeral = <[u8; 32]>::try_from(&message[8..40]).unwrap();
    // X25519 clamps by itself.
    let ours = StaticSecret::from([2; 32]);
    let ours_public = PublicKey::from(&ours).to_bytes();

    let chain = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
    let state = hash(&[&chain, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]);
    let state = hash(&[&hash(&[&state, &ours_public]), &ephemeral]);
    let (chain, _) = kdf2(&chain, &ephemeral);
    let product = ours.diffie_hellman(&PublicKey::from(ephemeral));
    let (chain, secret) = kdf2(&chain, product.as_bytes());
    let theirs = open(secret, &message[40..88], &state);
    assert_eq!(theirs, key(1).public_key().as_bytes());

    let state = hash(&[&state, &message[40..88]]);
    let theirs = PublicKey::from(<[u8; 32]>::try_from(theirs).unwrap());
    let (_, secret) = kdf2(&chain, ours.diffie_hellman(&theirs).as_bytes());
    let timestamp = open(secret, &message[88..116], &state);
    // TAI64 as the kernel has it: 2^62 and ten seconds.
    let seconds = (1u64 << 62) + 10 + WALL_START.as_secs();
    assert_eq!(timestamp[..8], seconds.to_be_bytes());
    assert_eq!(timestamp[8..], [0; 4]);
}

#[test]
fn a_cookie_reply_reads_and_is_used_as_the_paper_writes_it() {
    let mut link = Link::new();
    link.b.queued = 4096;
    link.a_sends(&packet(1, 2, b"data"));
    let first = link.hold().remove(0);
    link.inject(&first);
    let reply = link.hold().remove(0);
    link.inject(&reply);

    let reply = &reply.bytes;
    assert_eq!(reply[4..8], first.bytes[4..8], "it names the sender of the message");
    let secret = hash(&[b"cookie--", key(2).public_key().as_bytes()]);
    let nonce = <[u8; 24]>::try_from(&reply[8..32]).unwrap().into();
    let (mut cookie, tag) = (reply[32..48].to_vec(), reply[48..64].try_into().unwrap());
    let mac1 = &first.bytes[116..132];
    XChaCha20Poly1305::new(&secret.into())
        .decrypt_inout_detached(&nonce, mac1, cookie.as_mut_slice().into(), tag)
        .expect("it is authentic");

    link.run(secs(6));
    let (_, second) = link.messages(link.a.address, INITIATION).remove(1);
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&cookie).unwrap();
    Mac::update(&mut mac, &second.bytes[..132]);
    assert_eq!(mac.finalize().into_bytes()[..], *mac2(&second.bytes));
}
