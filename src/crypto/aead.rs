//! Sealing and opening in place: ChaCha20-Poly1305 for handshakes and (as XChaCha20) for cookies, and the [`Cipher`] of
//! transport data.
//!
//! Handshakes use RustCrypto's implementation. Transport data uses that of AWS-LC, which takes a third of the time
//! and erases its key memory when freed; property tests hold the two against each other.
//! Every buffer given here ends with the 16 bytes of the tag.

use aws_lc_rs::aead::{
    AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce as BulkNonce, UnboundKey,
};
use chacha20poly1305::aead::consts::U16;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, XChaCha20Poly1305};

use super::cipher::Cipher;
use super::keys::KEY;

/// Bytes of a tag.
pub const TAG: usize = 16;

/// Seals all of `buffer` but its last 16 bytes, which become the tag, under a key used once: the nonce is zero.
pub(crate) fn seal_once(key: &[u8; KEY], aad: &[u8], buffer: &mut [u8]) {
    seal(&ChaCha20Poly1305::new(key.into()), &[0; 12].into(), aad, buffer);
}

/// Opens what [`seal_once`] sealed; `None` if it is not authentic.
pub(crate) fn open_once<'b>(
    key: &[u8; KEY],
    aad: &[u8],
    buffer: &'b mut [u8],
) -> Option<&'b mut [u8]> {
    open(&ChaCha20Poly1305::new(key.into()), &[0; 12].into(), aad, buffer)
}

/// Seals a cookie with XChaCha20-Poly1305 under a random nonce.
pub(crate) fn seal_cookie(key: &[u8; KEY], nonce: &[u8; 24], aad: &[u8], buffer: &mut [u8]) {
    seal(&XChaCha20Poly1305::new(key.into()), nonce.into(), aad, buffer);
}

/// Opens what [`seal_cookie`] sealed; `None` if it is not authentic.
pub(crate) fn open_cookie<'b>(
    key: &[u8; KEY],
    nonce: &[u8; 24],
    aad: &[u8],
    buffer: &'b mut [u8],
) -> Option<&'b mut [u8]> {
    open(&XChaCha20Poly1305::new(key.into()), nonce.into(), aad, buffer)
}

type Nonce<C> = chacha20poly1305::aead::Nonce<C>;

fn seal<C: AeadInOut<TagSize = U16>>(cipher: &C, nonce: &Nonce<C>, aad: &[u8], buffer: &mut [u8]) {
    let (text, tag) = buffer.split_last_chunk_mut::<TAG>().expect(ROOM_FOR_TAG);
    *tag = cipher
        .encrypt_inout_detached(nonce, aad, InOutBuf::from(text))
        .expect("no message of this protocol is too long for the cipher")
        .into();
}

fn open<'b, C: AeadInOut<TagSize = U16>>(
    cipher: &C,
    nonce: &Nonce<C>,
    aad: &[u8],
    buffer: &'b mut [u8],
) -> Option<&'b mut [u8]> {
    let (text, tag) = buffer.split_last_chunk_mut::<TAG>()?;
    let tag = (&*tag).into();
    cipher.decrypt_inout_detached(nonce, aad, InOutBuf::from(&mut *text), tag).ok()?;
    Some(text)
}

const ROOM_FOR_TAG: &str = "every buffer ends with room for the tag";

/// The key of one direction of a session; its nonce is the counter (paper §5.4.6), whatever the cipher.
pub struct TransportKey(LessSafeKey);

impl TransportKey {
    /// The key of `cipher` with these bytes.
    #[must_use]
    pub fn new(cipher: Cipher, key: &[u8; KEY]) -> Self {
        let algorithm = match cipher {
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Cipher::Aes256Gcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key).expect("keys of both ciphers have 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Seals all of `buffer` but its last 16 bytes, which become the tag. No counter may be used twice.
    ///
    /// # Panics
    /// If `buffer` has no room for the tag.
    pub fn seal(&self, counter: u64, buffer: &mut [u8]) {
        let (text, tag) = buffer.split_last_chunk_mut::<TAG>().expect(ROOM_FOR_TAG);
        let sealed = self
            .0
            .seal_in_place_separate_tag(nonce(counter), Aad::empty(), text)
            .expect("no datagram is too long for the cipher");
        tag.copy_from_slice(sealed.as_ref());
    }

    /// Opens what [`TransportKey::seal`] sealed; `None` if it is not authentic.
    #[must_use]
    pub fn open<'b>(&self, counter: u64, buffer: &'b mut [u8]) -> Option<&'b mut [u8]> {
        self.0.open_in_place(nonce(counter), Aad::empty(), buffer).ok()
    }
}

fn nonce(counter: u64) -> BulkNonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    BulkNonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use aes_gcm::Aes256Gcm;
    use proptest::prelude::*;

    use super::*;

    /// Transport data as RustCrypto seals it.
    fn reference_seal(cipher: Cipher, key: &[u8; KEY], counter: u64, buffer: &mut [u8]) {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        match cipher {
            Cipher::ChaCha20Poly1305 => {
                seal(&ChaCha20Poly1305::new(key.into()), &nonce.into(), &[], buffer);
            }
            Cipher::Aes256Gcm => seal(&Aes256Gcm::new(key.into()), &nonce.into(), &[], buffer),
        }
    }

    proptest! {
        #[test]
        fn both_implementations_of_each_cipher_agree(
            cipher in prop::sample::select(&Cipher::ALL),
            key: [u8; KEY],
            counter: u64,
            text in proptest::collection::vec(any::<u8>(), 0..3000),
        ) {
            let mut ours = text.clone();
            ours.resize(text.len() + TAG, 0);
            let mut reference = ours.clone();
            TransportKey::new(cipher, &key).seal(counter, &mut ours);
            reference_seal(cipher, &key, counter, &mut reference);
            prop_assert_eq!(&ours, &reference);
            let opened = TransportKey::new(cipher, &key).open(counter, &mut ours).map(|text| text.to_vec());
            prop_assert_eq!(opened, Some(text));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let mut sealed = *b"the text and its                ";
        seal_once(&[7; KEY], b"aad", &mut sealed);
        assert!(open_once(&[7; KEY], b"aad", &mut sealed.clone()).is_some());
        assert!(open_once(&[7; KEY], b"add", &mut sealed.clone()).is_none());
        assert!(open_once(&[8; KEY], b"aad", &mut sealed.clone()).is_none());
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open_once(&[7; KEY], b"aad", &mut flipped).is_none());
        }
    }

    #[test]
    fn what_one_cipher_seals_no_other_key_counter_or_cipher_opens() {
        let key = |cipher, byte| TransportKey::new(cipher, &[byte; KEY]);
        for (cipher, other) in Cipher::ALL.into_iter().zip(Cipher::ALL.into_iter().rev()) {
            let mut sealed = *b"the text and its                ";
            key(cipher, 7).seal(1, &mut sealed);
            assert!(key(cipher, 7).open(1, &mut sealed.clone()).is_some());
            assert!(key(cipher, 7).open(2, &mut sealed.clone()).is_none());
            assert!(key(cipher, 8).open(1, &mut sealed.clone()).is_none());
            assert!(key(other, 7).open(1, &mut sealed.clone()).is_none());
            for bit in 0..sealed.len() * 8 {
                let mut flipped = sealed;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(key(cipher, 7).open(1, &mut flipped).is_none());
            }
        }
    }

    #[test]
    fn a_cookie_opens_only_with_its_nonce_and_aad() {
        let mut sealed = [9; 32];
        seal_cookie(&[1; KEY], &[2; 24], &[3; 16], &mut sealed);
        let opened = open_cookie(&[1; KEY], &[2; 24], &[3; 16], &mut sealed.clone())
            .map(|text| text.to_vec());
        assert_eq!(opened, Some(vec![9; 16]));
        assert!(open_cookie(&[1; KEY], &[3; 24], &[3; 16], &mut sealed.clone()).is_none());
        assert!(open_cookie(&[1; KEY], &[2; 24], &[4; 16], &mut sealed.clone()).is_none());
    }

    #[test]
    fn what_is_shorter_than_a_tag_does_not_open() {
        for len in 0..TAG {
            for cipher in Cipher::ALL {
                let key = TransportKey::new(cipher, &[0; KEY]);
                assert!(key.open(0, &mut vec![0; len]).is_none());
            }
            assert!(open_once(&[0; KEY], &[], &mut vec![0; len]).is_none());
        }
    }
}
