//! Our side of every handshake with the peer: which initiations of ours may still be answered, which of the
//! peer's are new, and the MACs on what we send.

use std::collections::VecDeque;
use std::time::Duration;

use super::Parameters;
use super::constants::{INITIATION_INTERVAL, MAX_JITTER, REKEY_TIMEOUT};
use super::cookie::CookieJar;
use super::discard::Discard;
use super::noise::{Identity, SentInitiation, SessionKeys};
use super::time::{Instant, Now};
use super::timestamp::{Timestamp, Timestamps};
use crate::crypto::PublicKey;
use crate::crypto::random::Random;
use crate::wire::{CookieReply, Initiation, Profile, Response};

/// Initiations of ours that may still be answered: the last one, and the one before it for a path that takes
/// longer than the time between two.
const MAX_OUTSTANDING: usize = 2;
/// How long each of them may be answered.
const RESPONSE_TIME: Duration =
    Duration::from_millis(2 * (REKEY_TIMEOUT.as_millis() + MAX_JITTER.as_millis()) as u64);

/// Makes and reads the handshake messages of one tunnel.
pub(crate) struct Handshakes {
    identity: Identity,
    jar: CookieJar,
    timestamps: Timestamps,
    /// With the time they were sent; the newest is last.
    outstanding: VecDeque<(Instant, SentInitiation)>,
    greatest_timestamp: Option<Timestamp>,
    last_consumed: Option<Instant>,
}

impl Handshakes {
    pub(crate) fn new(parameters: &Parameters) -> Self {
        let identity = Identity::new(
            parameters.profile,
            parameters.private_key.clone(),
            parameters.public_key,
            parameters.preshared_key.clone(),
        );
        Self {
            jar: CookieJar::new(identity.peer()),
            identity,
            timestamps: Timestamps::after(parameters.last_timestamp),
            outstanding: VecDeque::with_capacity(MAX_OUTSTANDING),
            greatest_timestamp: None,
            last_consumed: None,
        }
    }

    /// Is what `parameters` say from now on. If a static key or the profile is another one, whatever was under way is forgotten;
    /// but the same two hosts go on with their timestamps.
    pub(crate) fn reconfigure(&mut self, parameters: &Parameters) {
        let ours = parameters.private_key.public_key();
        let same_hosts = ours == *self.public_key() && parameters.public_key == *self.peer();
        if same_hosts && parameters.profile == self.profile() {
            self.identity.set_preshared_key(parameters.preshared_key.clone());
            return;
        }
        let new = Self::new(parameters);
        if same_hosts {
            self.identity = new.identity;
            self.forget();
        } else {
            *self = new;
        }
    }

    pub(crate) fn profile(&self) -> Profile {
        self.identity.profile()
    }

    /// The greatest timestamp of the peer's initiations.
    pub(crate) fn greatest_timestamp(&self) -> Option<Timestamp> {
        self.greatest_timestamp
    }

    /// Refuses initiations that are not newer than this.
    pub(crate) fn accept_only_after(&mut self, timestamp: Timestamp) {
        self.greatest_timestamp = Some(timestamp);
    }

    pub(crate) fn peer(&self) -> &PublicKey {
        self.identity.peer()
    }

    /// The newest timestamp we sent, as a time since 1970.
    pub(crate) fn last_timestamp(&self) -> Option<Duration> {
        self.timestamps.last()
    }

    /// Our static public key.
    pub(crate) fn public_key(&self) -> &PublicKey {
        self.identity.public_key()
    }

    /// An initiation to send, with an index that is not in `used`; the ones before it may still be answered.
    pub(crate) fn initiate(
        &mut self,
        now: Now,
        random: &mut Random,
        used: &[u32],
    ) -> Result<Initiation, Discard> {
        let index = self.unused_index(random, used);
        let timestamp = self.timestamps.next(now.unix);
        let (mut message, initiation) = self
            .identity
            .create_initiation(random, index, &timestamp)
            .ok_or(Discard::LowOrderKey)?;
        self.jar.sign(now.boot, &mut message);
        if self.outstanding.len() == MAX_OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back((now.boot, initiation));
        Ok(message)
    }

    /// Reads an initiation of the peer and answers it with an index that is not in `used`.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        random: &mut Random,
        used: &[u32],
        message: &Initiation,
    ) -> Result<(Response, SessionKeys), Discard> {
        let initiation = self.identity.consume_initiation(message)?;
        if self.greatest_timestamp.is_some_and(|greatest| initiation.timestamp <= greatest) {
            return Err(Discard::InitiationReplayed);
        }
        if self.last_consumed.is_some_and(|last| now.since(last) < INITIATION_INTERVAL) {
            return Err(Discard::InitiationFlood);
        }
        self.greatest_timestamp = Some(initiation.timestamp);
        self.last_consumed = Some(now);
        let index = self.unused_index(random, used);
        let (mut response, keys) = self.identity.create_response(random, index, initiation)?;
        self.jar.sign(now, &mut response);
        Ok((response, keys))
    }

    /// Reads the response to an initiation of ours; that one and those before it are then done with. A response
    /// that took too long is refused: somebody may have held it back.
    pub(crate) fn complete(
        &mut self,
        now: Instant,
        message: &Response,
    ) -> Result<SessionKeys, Discard> {
        self.outstanding.retain(|(sent, _)| now.since(*sent) < RESPONSE_TIME);
        let receiver = message.receiver.get();
        let (position, (_, initiation)) = self
            .outstanding
            .iter()
            .enumerate()
            .find(|(_, (_, initiation))| initiation.index() == receiver)
            .ok_or(Discard::NothingOutstanding)?;
        let keys = self.identity.consume_response(initiation, message)?;
        self.outstanding.drain(..=position);
        Ok(keys)
    }

    /// Keeps the cookie of a reply to what we sent last.
    pub(crate) fn keep_cookie(&mut self, now: Instant, reply: &CookieReply) -> Result<(), Discard> {
        self.jar.consume(now, reply)
    }

    /// No initiation of ours may be answered any more.
    pub(crate) fn forget(&mut self) {
        self.outstanding.clear();
    }

    fn unused_index(&self, random: &mut Random, used: &[u32]) -> u32 {
        loop {
            let index = random.u32();
            let outstanding = self.outstanding.iter().any(|(_, sent)| sent.index() == index);
            if !outstanding && !used.contains(&index) {
                return index;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{PresharedKey, PrivateKey};

    #[test]
    fn an_index_that_is_in_use_is_not_given_out_again() {
        let mut handshakes = Handshakes::new(&Parameters {
            profile: Profile::default(),
            private_key: PrivateKey::clamped([1; 32]),
            public_key: PrivateKey::clamped([2; 32]).public_key(),
            preshared_key: PresharedKey::default(),
            allowed_ips: Vec::new(),
            addresses: Vec::new(),
            routed: Vec::new(),
            endpoints: Vec::new(),
            last_timestamp: None,
            persistent_keepalive: None,
            mtu: 1420,
            frames: Default::default(),
        });
        // The same numbers are drawn each time.
        let random = || Random::new(&[7; 32]);
        let first = handshakes.unused_index(&mut random(), &[]);
        assert_ne!(handshakes.unused_index(&mut random(), &[first]), first, "of a session");
        let unix = Duration::from_secs(1_700_000_000);
        let now = Now { boot: Instant::from_nanos(1), unix };
        for _ in 0..2 {
            handshakes.initiate(now, &mut random(), &[]).unwrap();
        }
        let outstanding: Vec<_> =
            handshakes.outstanding.iter().map(|(_, sent)| sent.index()).collect();
        assert_ne!(outstanding[0], outstanding[1], "of an initiation");
    }
}
