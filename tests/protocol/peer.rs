//! The other end of a tunnel in a test's own hands. It follows the paper's formulas and keeps every secret that it meets, as
//! the end under test meets the same ones: so a test knows what to look for in that one's memory.

use std::time::Duration;

use crate::reference::{self, CONSTRUCTION, IDENTIFIER, Key, hash, kdf, public_key, seal};

/// A secret and what it is.
pub(crate) type Secret = (String, Key);

/// What this end knows from the start.
pub(crate) struct Peer {
    pub(crate) private: Key,
    /// The other end's static public key.
    pub(crate) other: Key,
    pub(crate) preshared: Key,
    /// Names the profile.
    pub(crate) identifier: &'static [u8],
    /// Handshakes so far: each has a number, and all that is chosen for it follows from that.
    handshakes: u8,
}

/// An initiation that waits for its response.
pub(crate) struct Initiated {
    number: u8,
    ephemeral: Key,
    state: State,
}

/// A session, and what its handshake went through.
pub(crate) struct Session {
    number: u8,
    /// The key to the other end.
    pub(crate) send: Key,
    receive: Key,
    /// The other end's index.
    pub(crate) index: u32,
    /// Messages sent so far.
    counter: u64,
    /// What is of no use once the handshake is over.
    pub(crate) passing: Vec<Secret>,
    /// The other end's ephemeral public key; the private one was in use just as long.
    pub(crate) ephemeral: Key,
}

impl Peer {
    pub(crate) fn new(private: Key, other: Key, preshared: Key) -> Self {
        Self { private, other, preshared, identifier: IDENTIFIER, handshakes: 0 }
    }

    /// The product of both static keys, which lasts as long as they do.
    pub(crate) fn static_static(&self) -> Key {
        product(&self.private, &self.other)
    }

    /// An initiation, newer than those before.
    pub(crate) fn initiate(&mut self) -> (Vec<u8>, Initiated) {
        let (number, ephemeral) = self.begin();
        let mut state = State::new(number, self.identifier, &self.other);
        state.mix_ephemeral(&public_key(&ephemeral));
        let key = state.mix_product("es", &product(&ephemeral, &self.other));
        let sealed_static = state.seal(&key, &public_key(&self.private));
        let key = state.mix_static(&self.static_static());
        let timestamp = reference::tai64n(Duration::from_secs(2_000_000_000 + u64::from(number)));
        let sealed_timestamp = state.seal(&key, &timestamp);
        let message = [
            &[1, 0, 0, 0][..],
            &u32::from(number).to_le_bytes(),
            &public_key(&ephemeral),
            &sealed_static,
            &sealed_timestamp,
        ]
        .concat();
        let signed = reference::signed(message, &self.other, None);
        (signed, Initiated { number, ephemeral, state })
    }

    /// Reads the response to `initiated`.
    pub(crate) fn complete(&self, initiated: Initiated, response: &[u8]) -> Session {
        let Initiated { number, ephemeral, mut state } = initiated;
        let theirs = response[12..44].try_into().unwrap();
        state.mix_ephemeral(&theirs);
        state.mix_product("ee", &product(&ephemeral, &theirs));
        state.mix_product("se", &product(&self.private, &theirs));
        let key = state.mix_preshared(&self.preshared);
        assert_eq!(state.seal(&key, &[]), response[44..60], "both ends went through the same");
        state.into_session(number, theirs, &response[4..8], true)
    }

    /// Answers the other end's initiation.
    pub(crate) fn answer(&mut self, initiation: &[u8]) -> (Vec<u8>, Session) {
        let (number, ephemeral) = self.begin();
        let theirs = initiation[8..40].try_into().unwrap();
        let mut state = State::new(number, self.identifier, &public_key(&self.private));
        state.mix_ephemeral(&theirs);
        state.mix_product("es", &product(&self.private, &theirs));
        state.mix_hash(&initiation[40..88]);
        state.mix_static(&self.static_static());
        state.mix_hash(&initiation[88..116]);
        state.mix_ephemeral(&public_key(&ephemeral));
        state.mix_product("ee", &product(&ephemeral, &theirs));
        state.mix_product("se", &product(&ephemeral, &self.other));
        let key = state.mix_preshared(&self.preshared);
        let sealed_nothing = state.seal(&key, &[]);
        let message = [
            &[2, 0, 0, 0][..],
            &u32::from(number).to_le_bytes(),
            &initiation[4..8],
            &public_key(&ephemeral),
            &sealed_nothing,
        ]
        .concat();
        let signed = reference::signed(message, &self.other, None);
        (signed, state.into_session(number, theirs, &initiation[4..8], false))
    }

    fn begin(&mut self) -> (u8, Key) {
        self.handshakes += 1;
        (self.handshakes, hash(&[b"ephemeral", &[self.handshakes]]))
    }
}

impl Session {
    /// Both transport keys.
    pub(crate) fn keys(&self) -> Vec<Secret> {
        let named = |way| format!("the key {way} of session {}", self.number);
        vec![(named("to it"), self.send), (named("from it"), self.receive)]
    }

    /// The next message of transport data, around a packet already padded.
    pub(crate) fn seal(&mut self, padded: &[u8]) -> Vec<u8> {
        self.counter += 1;
        reference::transport_data(&self.send, self.index, self.counter - 1, padded)
    }

    /// Whether a datagram is transport data of this session.
    pub(crate) fn is_ours(&self, datagram: &[u8]) -> bool {
        datagram.starts_with(&[4, 0, 0, 0])
            && datagram[4..8] == u32::from(self.number).to_le_bytes()
    }
}

/// Chaining key and hash of a handshake, and the secrets so far.
struct State {
    number: u8,
    chaining_key: Key,
    hash: Key,
    passing: Vec<Secret>,
}

impl State {
    fn new(number: u8, identifier: &[u8], responder: &Key) -> Self {
        let chaining_key = hash(&[CONSTRUCTION]);
        let start = hash(&[&chaining_key, identifier]);
        Self { number, chaining_key, hash: hash(&[&start, responder]), passing: Vec::new() }
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    /// Public so far.
    fn mix_ephemeral(&mut self, ephemeral: &Key) {
        [self.chaining_key, ..] = kdf(&self.chaining_key, ephemeral);
        self.mix_hash(ephemeral);
    }

    /// Mixes in what is of no use once the handshake is over; the key that follows.
    fn mix_product(&mut self, name: &str, product: &Key) -> Key {
        self.pass(format!("the product {name}"), *product);
        let [_, key, _] = self.mix(name, product);
        key
    }

    fn mix_static(&mut self, product: &Key) -> Key {
        let [_, key, _] = self.mix("ss", product);
        key
    }

    fn mix_preshared(&mut self, preshared: &Key) -> Key {
        let [_, temporary, key] = self.mix("psk", preshared);
        self.mix_hash(&temporary);
        self.pass("the key after psk".to_owned(), key);
        key
    }

    fn mix(&mut self, token: &str, input: &Key) -> [Key; 3] {
        let keys = kdf(&self.chaining_key, input);
        self.chaining_key = keys[0];
        self.pass(format!("the chaining key after {token}"), keys[0]);
        self.pass(format!("the second key after {token}"), keys[1]);
        keys
    }

    fn pass(&mut self, name: String, key: Key) {
        self.passing.push((format!("{name} of handshake {}", self.number), key));
    }

    fn seal(&mut self, key: &Key, text: &[u8]) -> Vec<u8> {
        let sealed = seal(key, 0, text, &self.hash);
        self.mix_hash(&sealed);
        sealed
    }

    fn into_session(self, number: u8, ephemeral: Key, index: &[u8], initiator: bool) -> Session {
        let [there, back, _] = kdf(&self.chaining_key, &[]);
        let (send, receive) = if initiator { (there, back) } else { (back, there) };
        let index = u32::from_le_bytes(index.try_into().unwrap());
        let passing = self.passing;
        Session { number, send, receive, index, counter: 0, passing, ephemeral }
    }
}

fn product(private: &Key, public: &Key) -> Key {
    x25519_dalek::x25519(*private, *public)
}
