//! The handshake, `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s` (WireGuard paper §5.4):
//!
//! ```text
//! <- s
//! ...
//! -> e, es, s, ss, {t}
//! <- e, ee, se, psk, {}
//! ```
//!
//! The Identifier is that of the [`Profile`]: ends of different profiles cannot read a word of each other.
//!
//! Each function follows a message token by token. States and keys are erased when dropped, and a state is
//! consumed by the step that needs it last.

use subtle::ConstantTimeEq;

use super::discard::Discard;
use super::timestamp::Timestamp;
use crate::crypto::hash::HASH;
use crate::crypto::random::Random;
use crate::crypto::secret::Secret;
use crate::crypto::{PresharedKey, PrivateKey, PublicKey};
use crate::wire::{Initiation, MessageType, Profile, Response};
use symmetric::Symmetric;

/// Who we are and who the peer is: all that lasts longer than a handshake.
pub(crate) struct Identity {
    profile: Profile,
    private_key: PrivateKey,
    public_key: PublicKey,
    peer: PublicKey,
    preshared_key: PresharedKey,
    /// The product of both static keys; `None` if the peer's has low order: then no handshake succeeds.
    static_static: Option<Secret>,
    /// The state in which every handshake of the profile begins.
    start: Symmetric,
}

/// Our initiation that waits for its response.
pub(crate) struct SentInitiation {
    index: u32,
    ephemeral: PrivateKey,
    state: Symmetric,
}

/// The peer's initiation, authentic, to be answered.
pub(crate) struct ReceivedInitiation {
    peer_index: u32,
    peer_ephemeral: PublicKey,
    /// When the peer says it was made.
    pub(crate) timestamp: Timestamp,
    state: Symmetric,
}

/// What a handshake leaves: the keys of a session and both ends' index for it.
pub(crate) struct SessionKeys {
    pub(crate) profile: Profile,
    pub(crate) local_index: u32,
    pub(crate) peer_index: u32,
    pub(crate) send: Secret,
    pub(crate) receive: Secret,
}

impl Identity {
    pub(crate) fn new(
        profile: Profile,
        private_key: PrivateKey,
        peer: PublicKey,
        preshared_key: PresharedKey,
    ) -> Self {
        let public_key = private_key.public_key();
        let static_static = private_key.diffie_hellman(&peer);
        let start = Symmetric::new(profile);
        Self { profile, private_key, public_key, peer, preshared_key, static_static, start }
    }

    pub(crate) fn profile(&self) -> Profile {
        self.profile
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// For handshakes whose response is made or comes from now on.
    pub(crate) fn set_preshared_key(&mut self, key: PresharedKey) {
        self.preshared_key = key;
    }

    pub(crate) fn peer(&self) -> &PublicKey {
        &self.peer
    }

    /// Our initiation, its MACs left open; `None` if the peer's key has low order.
    pub(crate) fn create_initiation(
        &self,
        random: &mut Random,
        index: u32,
        timestamp: &Timestamp,
    ) -> Option<(Initiation, SentInitiation)> {
        let mut state = self.start.towards(&self.peer);
        // e
        let ephemeral = PrivateKey::clamped(*random.secret());
        let ephemeral_public = ephemeral.public_key();
        state.mix_ephemeral(&ephemeral_public);
        // es
        let key = state.mix_key(&*ephemeral.diffie_hellman(&self.peer)?);
        // s
        let static_key = state.seal(&key, self.public_key.as_bytes());
        // ss
        let key = state.mix_key(self.static_static.as_ref()?);
        // {t}
        let timestamp = state.seal(&key, timestamp);
        let message = Initiation {
            message_type: MessageType::Initiation.into(),
            sender: index.into(),
            ephemeral: *ephemeral_public.as_bytes(),
            static_key,
            timestamp,
            mac1: [0; 16],
            mac2: [0; 16],
        };
        Some((message, SentInitiation { index, ephemeral, state }))
    }

    /// Reads the peer's initiation; whether its timestamp is new is for the caller to say.
    pub(crate) fn consume_initiation(
        &self,
        message: &Initiation,
    ) -> Result<ReceivedInitiation, Discard> {
        let mut state = self.start.towards(&self.public_key);
        // e
        let peer_ephemeral = PublicKey::from(message.ephemeral);
        state.mix_ephemeral(&peer_ephemeral);
        // es
        let product = self.private_key.diffie_hellman(&peer_ephemeral);
        let key = state.mix_key(&*product.ok_or(Discard::LowOrderKey)?);
        // s
        let peer: [u8; HASH] =
            state.open(&key, message.static_key).ok_or(Discard::InitiationNotAuthentic)?;
        if !bool::from(peer.ct_eq(self.peer.as_bytes())) {
            return Err(Discard::UnknownPeer);
        }
        // ss
        let product = self.static_static.as_ref().ok_or(Discard::LowOrderKey)?;
        let key = state.mix_key(product);
        // {t}
        let timestamp =
            state.open(&key, message.timestamp).ok_or(Discard::InitiationNotAuthentic)?;
        Ok(ReceivedInitiation {
            peer_index: message.sender.get(),
            peer_ephemeral,
            timestamp,
            state,
        })
    }

    /// Our response, its MACs left open, and the session it begins.
    pub(crate) fn create_response(
        &self,
        random: &mut Random,
        index: u32,
        initiation: ReceivedInitiation,
    ) -> Result<(Response, SessionKeys), Discard> {
        let ReceivedInitiation { peer_index, peer_ephemeral, mut state, .. } = initiation;
        // e
        let ephemeral = PrivateKey::clamped(*random.secret());
        let ephemeral_public = ephemeral.public_key();
        state.mix_ephemeral(&ephemeral_public);
        // ee
        state.mix_key(&*ephemeral.diffie_hellman(&peer_ephemeral).ok_or(Discard::LowOrderKey)?);
        // se
        state.mix_key(&*ephemeral.diffie_hellman(&self.peer).ok_or(Discard::LowOrderKey)?);
        // psk
        let key = state.mix_preshared(&self.preshared_key);
        // {}
        let empty = state.seal(&key, &[]);
        let message = Response {
            message_type: MessageType::Response.into(),
            sender: index.into(),
            receiver: peer_index.into(),
            ephemeral: *ephemeral_public.as_bytes(),
            empty,
            mac1: [0; 16],
            mac2: [0; 16],
        };
        let [receive, send] = state.split();
        let profile = self.profile;
        Ok((message, SessionKeys { profile, local_index: index, peer_index, send, receive }))
    }

    /// Reads the response to `initiation`, which stays valid if the response is not authentic.
    pub(crate) fn consume_response(
        &self,
        initiation: &SentInitiation,
        message: &Response,
    ) -> Result<SessionKeys, Discard> {
        let mut state = initiation.state.clone();
        // e
        let peer_ephemeral = PublicKey::from(message.ephemeral);
        state.mix_ephemeral(&peer_ephemeral);
        // ee
        let product = initiation.ephemeral.diffie_hellman(&peer_ephemeral);
        state.mix_key(&*product.ok_or(Discard::LowOrderKey)?);
        // se
        let product = self.private_key.diffie_hellman(&peer_ephemeral);
        state.mix_key(&*product.ok_or(Discard::LowOrderKey)?);
        // psk
        let key = state.mix_preshared(&self.preshared_key);
        // {}
        let [] = state.open(&key, message.empty).ok_or(Discard::ResponseNotAuthentic)?;
        let [send, receive] = state.split();
        let peer_index = message.sender.get();
        let (profile, local_index) = (self.profile, initiation.index);
        Ok(SessionKeys { profile, local_index, peer_index, send, receive })
    }
}

impl SentInitiation {
    /// The sender index it carries.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }
}

mod symmetric;
#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::ZeroizeOnDrop;

    const STAMP: Timestamp = [1; 12];

    fn identity(ours: u8, theirs: PublicKey) -> Identity {
        let private = PrivateKey::clamped([ours; 32]);
        Identity::new(Profile::default(), private, theirs, PresharedKey::default())
    }

    fn ends() -> (Identity, Identity) {
        let public = |number| PrivateKey::clamped([number; 32]).public_key();
        (identity(1, public(2)), identity(2, public(1)))
    }

    fn zero() -> PublicKey {
        PublicKey::from([0; 32])
    }

    #[test]
    fn both_ends_derive_the_same_keys_crosswise() {
        let (a, b) = ends();
        let mut random = Random::new(&[9; HASH]);
        let (message, sent) = a.create_initiation(&mut random, 7, &STAMP).unwrap();
        let received = b.consume_initiation(&message).unwrap();
        assert_eq!(received.timestamp, STAMP);
        let (response, theirs) = b.create_response(&mut random, 8, received).unwrap();
        let ours = a.consume_response(&sent, &response).unwrap();
        assert_eq!((&ours.send, &ours.receive), (&theirs.receive, &theirs.send));
        assert_ne!(ours.send, ours.receive);
        assert_eq!((ours.local_index, ours.peer_index), (7, 8));
        assert_eq!((theirs.local_index, theirs.peer_index), (8, 7));
    }

    /// A zero product of the tokens es and ss on the way out, of es on the way in.
    #[test]
    fn an_initiation_with_a_zero_product_is_neither_made_nor_read() {
        let mut random = Random::new(&[9; HASH]);
        assert!(identity(1, zero()).create_initiation(&mut random, 7, &STAMP).is_none());

        let (a, b) = ends();
        let (mut message, _) = a.create_initiation(&mut random, 7, &STAMP).unwrap();
        message.ephemeral = [0; 32];
        assert_eq!(b.consume_initiation(&message).err(), Some(Discard::LowOrderKey));
    }

    /// A zero product of ss on the way in: the message is good up to there, and names a static key of zero.
    #[test]
    fn an_initiation_of_a_static_key_of_zero_is_not_read() {
        let b = identity(2, zero());
        let mut state = Symmetric::new(Profile::default()).towards(b.public_key());
        let ephemeral = PrivateKey::clamped([5; 32]);
        state.mix_ephemeral(&ephemeral.public_key());
        let key = state.mix_key(&ephemeral.diffie_hellman(b.public_key()).unwrap());
        let static_key = state.seal(&key, zero().as_bytes());
        let key = state.mix_key(&[0; 32]);
        let message = Initiation {
            message_type: MessageType::Initiation.into(),
            sender: 7.into(),
            ephemeral: *ephemeral.public_key().as_bytes(),
            static_key,
            timestamp: state.seal(&key, &STAMP),
            mac1: [0; 16],
            mac2: [0; 16],
        };
        assert_eq!(b.consume_initiation(&message).err(), Some(Discard::LowOrderKey));
    }

    /// Zero products of ee, then of se, on the way out.
    #[test]
    fn a_response_with_a_zero_product_is_not_made() {
        let mut random = Random::new(&[9; HASH]);
        let (a, b) = ends();
        let (message, _) = a.create_initiation(&mut random, 7, &STAMP).unwrap();
        let mut received = b.consume_initiation(&message).unwrap();
        received.peer_ephemeral = zero();
        let made = b.create_response(&mut random, 8, received);
        assert_eq!(made.err(), Some(Discard::LowOrderKey));

        let received = b.consume_initiation(&message).unwrap();
        let made = identity(2, zero()).create_response(&mut random, 8, received);
        assert_eq!(made.err(), Some(Discard::LowOrderKey));
    }

    /// Zero products of ee and se on the way in: both come from the peer's ephemeral key.
    #[test]
    fn a_response_with_a_zero_product_is_not_read() {
        let mut random = Random::new(&[9; HASH]);
        let (a, b) = ends();
        let (message, sent) = a.create_initiation(&mut random, 7, &STAMP).unwrap();
        let received = b.consume_initiation(&message).unwrap();
        let (mut response, _) = b.create_response(&mut random, 8, received).unwrap();
        response.ephemeral = [0; 32];
        assert_eq!(a.consume_response(&sent, &response).err(), Some(Discard::LowOrderKey));
    }

    #[test]
    fn what_a_handshake_holds_is_erased_when_dropped() {
        fn erased<T: ZeroizeOnDrop>(_: &T) {}
        let (a, b) = ends();
        let mut random = Random::new(&[9; HASH]);
        let (message, sent) = a.create_initiation(&mut random, 7, &STAMP).unwrap();
        let Symmetric { chaining_key, hash } = &sent.state;
        erased(chaining_key);
        erased(hash);
        erased(&sent.ephemeral);
        erased(a.static_static.as_ref().unwrap());
        erased(&a.private_key);
        erased(&a.preshared_key);
        let received = b.consume_initiation(&message).unwrap();
        let (_, SessionKeys { send, receive, .. }) =
            b.create_response(&mut random, 8, received).unwrap();
        erased(&send);
        erased(&receive);
        erased(&a.private_key.diffie_hellman(&a.peer).unwrap());
    }
}
