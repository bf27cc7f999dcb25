//! The symmetric state of a handshake (Noise §5.2): what both ends have mixed into it so far, from which keys follow.

use crate::crypto::aead::{TAG, open_once, seal_once};
use crate::crypto::hash::{HASH, hash, kdf};
use crate::crypto::secret::Secret;
use crate::crypto::{PresharedKey, PublicKey};
use crate::wire::Profile;

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";

/// Chaining key and handshake hash of a handshake under way.
#[derive(Clone)]
pub(super) struct Symmetric {
    pub(super) chaining_key: Secret,
    pub(super) hash: Secret,
}

impl Symmetric {
    pub(super) fn new(profile: Profile) -> Self {
        let chaining_key = hash(&[CONSTRUCTION]);
        let hash = hash(&[&chaining_key, profile.identifier().as_bytes()]);
        Self { chaining_key: chaining_key.into(), hash: hash.into() }
    }

    /// The state before the first message to the host with key `responder`.
    pub(super) fn towards(&self, responder: &PublicKey) -> Self {
        let mut state = self.clone();
        state.mix_hash(responder.as_bytes());
        state
    }

    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        *self.hash = hash(&[&*self.hash, data]);
    }

    pub(super) fn mix_ephemeral(&mut self, ephemeral: &PublicKey) {
        [self.chaining_key] = kdf(&self.chaining_key, ephemeral.as_bytes());
        self.mix_hash(ephemeral.as_bytes());
    }

    pub(super) fn mix_key(&mut self, product: &[u8; HASH]) -> Secret {
        let [chaining_key, key] = kdf(&self.chaining_key, product);
        self.chaining_key = chaining_key;
        key
    }

    pub(super) fn mix_preshared(&mut self, preshared_key: &PresharedKey) -> Secret {
        let [chaining_key, temporary, key] = kdf(&self.chaining_key, preshared_key.as_bytes());
        self.chaining_key = chaining_key;
        self.mix_hash(&*temporary);
        key
    }

    /// Seals `text` into as many bytes and a tag.
    pub(super) fn seal<const SEALED: usize, const TEXT: usize>(
        &mut self,
        key: &Secret,
        text: &[u8; TEXT],
    ) -> [u8; SEALED] {
        const { assert!(SEALED == TEXT + TAG) };
        let mut sealed = [0; SEALED];
        *sealed.first_chunk_mut().expect("a tag is no less than nothing") = *text;
        seal_once(key, &*self.hash, &mut sealed);
        self.mix_hash(&sealed);
        sealed
    }

    /// Opens what [`Symmetric::seal`] sealed; `None` if it is not authentic.
    pub(super) fn open<const SEALED: usize, const TEXT: usize>(
        &mut self,
        key: &Secret,
        sealed: [u8; SEALED],
    ) -> Option<[u8; TEXT]> {
        let mut buffer = sealed;
        let text = open_once(key, &*self.hash, &mut buffer)?;
        let text = (&*text).try_into().ok()?;
        self.mix_hash(&sealed);
        Some(text)
    }

    /// The transport keys: initiator to responder, and back.
    pub(super) fn split(self) -> [Secret; 2] {
        kdf(&self.chaining_key, &[])
    }
}
