//! mac1, mac2 and cookies (WireGuard paper §5.4.4, §5.4.7): proof that a sender knows our public key, and
//! under load that it also receives at the address it sends from.

use std::net::{IpAddr, SocketAddr};

use subtle::ConstantTimeEq;

use super::constants::{COOKIE_LATENCY, COOKIE_TIME};
use super::discard::Discard;
use super::time::Instant;
use crate::crypto::PublicKey;
use crate::crypto::aead::{open_cookie, seal_cookie};
use crate::crypto::hash::{HASH, hash, mac};
use crate::crypto::random::Random;
use crate::crypto::secret::Secret;
use crate::wire::{CookieReply, Maced, MessageType};

type Mac = [u8; 16];

/// The two keys that follow from the public key of whoever a message is for.
struct MacKeys {
    mac1: [u8; HASH],
    cookie: [u8; HASH],
}

impl MacKeys {
    fn new(receiver: &PublicKey) -> Self {
        Self {
            mac1: hash(&[b"mac1----", receiver.as_bytes()]),
            cookie: hash(&[b"cookie--", receiver.as_bytes()]),
        }
    }
}

/// Our side: checks what arrives and gives out cookies.
pub(crate) struct CookieChecker {
    keys: MacKeys,
    /// What cookies are made from, and since when.
    secret: Option<(Secret, Instant)>,
}

impl CookieChecker {
    pub(crate) fn new(ours: &PublicKey) -> Self {
        Self { keys: MacKeys::new(ours), secret: None }
    }

    /// Whether the sender knows our public key.
    pub(crate) fn mac1_is_valid(&self, message: &impl Maced) -> bool {
        mac(&self.keys.mac1, &[message.before_mac1()]).ct_eq(message.mac1()).into()
    }

    /// Whether the sender at `source` holds the cookie we gave that address and port.
    pub(crate) fn mac2_is_valid(
        &self,
        now: Instant,
        message: &impl Maced,
        source: SocketAddr,
    ) -> bool {
        self.current_secret(now).is_some_and(|secret| {
            let cookie = cookie(secret, source);
            mac(&cookie, &[message.before_mac2()]).ct_eq(message.mac2()).into()
        })
    }

    /// The cookie reply to `message` from `source`.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        random: &mut Random,
        message: &impl Maced,
        source: SocketAddr,
    ) -> CookieReply {
        if self.current_secret(now).is_none() {
            self.secret = Some((random.secret(), now));
        }
        let secret = self.current_secret(now).expect("it was just renewed");
        let nonce = random.bytes();
        let mut sealed = [0; 32];
        sealed[..16].copy_from_slice(&cookie(secret, source));
        seal_cookie(&self.keys.cookie, &nonce, message.mac1(), &mut sealed);
        CookieReply {
            message_type: MessageType::CookieReply.into(),
            receiver: message.sender().into(),
            nonce,
            cookie: sealed,
        }
    }

    fn current_secret(&self, now: Instant) -> Option<&Secret> {
        let (secret, since) = self.secret.as_ref()?;
        (now.since(*since) < COOKIE_TIME).then_some(secret)
    }
}

fn cookie(secret: &Secret, source: SocketAddr) -> Mac {
    let port = source.port().to_be_bytes();
    match source.ip() {
        IpAddr::V4(address) => mac(&**secret, &[&address.octets(), &port]),
        IpAddr::V6(address) => mac(&**secret, &[&address.octets(), &port]),
    }
}

/// The peer's side: signs what we send, with the cookie it gave us.
pub(crate) struct CookieJar {
    keys: MacKeys,
    /// The cookie and when it came.
    cookie: Option<(Mac, Instant)>,
    /// Sender index and mac1 of the last message, until a cookie reply answers it.
    outstanding: Option<(u32, Mac)>,
}

impl CookieJar {
    pub(crate) fn new(peer: &PublicKey) -> Self {
        Self { keys: MacKeys::new(peer), cookie: None, outstanding: None }
    }

    /// Writes both MACs into `message`, which is about to be sent.
    pub(crate) fn sign(&mut self, now: Instant, message: &mut impl Maced) {
        let mac1 = mac(&self.keys.mac1, &[message.before_mac1()]);
        message.set_mac1(mac1);
        self.outstanding = Some((message.sender(), mac1));
        if let Some((cookie, since)) = &self.cookie
            && now.since(*since) < COOKIE_TIME.saturating_sub(COOKIE_LATENCY)
        {
            message.set_mac2(mac(cookie, &[message.before_mac2()]));
        }
    }

    /// Keeps the cookie of a reply to the message we sent last. Nothing is sent again on account of it.
    pub(crate) fn consume(&mut self, now: Instant, reply: &CookieReply) -> Result<(), Discard> {
        let (_, mac1) = self
            .outstanding
            .filter(|(index, _)| *index == reply.receiver.get())
            .ok_or(Discard::NothingOutstanding)?;
        let mut sealed = reply.cookie;
        let cookie = open_cookie(&self.keys.cookie, &reply.nonce, &mac1, &mut sealed)
            .and_then(|cookie| (&*cookie).try_into().ok())
            .ok_or(Discard::CookieNotAuthentic)?;
        self.cookie = Some((cookie, now));
        self.outstanding = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use zerocopy::FromZeros;

    use super::*;
    use crate::crypto::PrivateKey;
    use crate::testing::instructions;
    use crate::wire::Initiation;

    const START: Instant = Instant::from_nanos(1_000_000_000);
    const SOURCE: &str = "192.0.2.1:51820";

    fn ours() -> PublicKey {
        PrivateKey::clamped([1; 32]).public_key()
    }

    fn seconds(seconds: f64) -> Instant {
        START + std::time::Duration::from_secs_f64(seconds)
    }

    /// A message signed by a sender that got a cookie at the start.
    fn signed(checker: &mut CookieChecker, jar: &mut CookieJar) -> Initiation {
        let mut message = Initiation::new_zeroed();
        jar.sign(START, &mut message);
        let mut random = Random::new(&[3; HASH]);
        let reply = checker.reply(START, &mut random, &message, SOURCE.parse().unwrap());
        jar.consume(START, &reply).unwrap();
        jar.sign(START, &mut message);
        message
    }

    #[test]
    fn mac1_is_valid_only_for_the_receiver_and_unchanged() {
        let mut message = Initiation::new_zeroed();
        CookieJar::new(&ours()).sign(START, &mut message);
        assert!(CookieChecker::new(&ours()).mac1_is_valid(&message));
        let other = PrivateKey::clamped([2; 32]).public_key();
        assert!(!CookieChecker::new(&other).mac1_is_valid(&message));
        message.mac1[15] ^= 1;
        assert!(!CookieChecker::new(&ours()).mac1_is_valid(&message));
    }

    #[test]
    fn mac2_is_valid_for_one_address_and_port_and_message() {
        let (mut checker, mut jar) = (CookieChecker::new(&ours()), CookieJar::new(&ours()));
        let mut message = signed(&mut checker, &mut jar);
        assert!(checker.mac2_is_valid(START, &message, SOURCE.parse().unwrap()));
        for other in ["192.0.2.1:51821", "192.0.2.2:51820", "[::ffff:192.0.2.1]:51820"] {
            assert!(!checker.mac2_is_valid(START, &message, other.parse().unwrap()));
        }
        message.mac1[0] ^= 1;
        assert!(!checker.mac2_is_valid(START, &message, SOURCE.parse().unwrap()));
    }

    #[test]
    fn before_any_cookie_was_given_out_no_mac2_is_valid() {
        let message = Initiation::new_zeroed();
        assert!(!CookieChecker::new(&ours()).mac2_is_valid(
            START,
            &message,
            SOURCE.parse().unwrap()
        ));
    }

    #[test]
    fn the_secret_of_cookies_is_changed_after_120_seconds() {
        let (mut checker, mut jar) = (CookieChecker::new(&ours()), CookieJar::new(&ours()));
        let source = SOURCE.parse().unwrap();
        let message = signed(&mut checker, &mut jar);
        assert!(checker.mac2_is_valid(seconds(119.9), &message, source));
        assert!(!checker.mac2_is_valid(seconds(120.0), &message, source));
        let mut random = Random::new(&[4; HASH]);
        checker.reply(seconds(121.0), &mut random, &message, source);
        assert!(!checker.mac2_is_valid(seconds(121.0), &message, source));
    }

    #[test]
    fn a_cookie_signs_for_115_seconds() {
        let (mut checker, mut jar) = (CookieChecker::new(&ours()), CookieJar::new(&ours()));
        signed(&mut checker, &mut jar);
        for (age, expected) in [(114.9, true), (115.0, false)] {
            let mut message = Initiation::new_zeroed();
            jar.sign(seconds(age), &mut message);
            assert_eq!(message.mac2 != [0; 16], expected, "at {age} s");
        }
    }

    #[test]
    fn a_wrong_mac_takes_as_many_instructions_as_the_right_one() {
        let (mut checker, mut jar) = (CookieChecker::new(&ours()), CookieJar::new(&ours()));
        let right = signed(&mut checker, &mut jar);
        let wrong_in = |byte: usize| {
            let mut message = right;
            message.mac1[byte] ^= 1;
            message.mac2[byte] ^= 1;
            message
        };
        let messages = [right, wrong_in(0), wrong_in(7), wrong_in(15)];
        let source = SOURCE.parse().unwrap();
        let test =
            concat!(module_path!(), "::a_wrong_mac_takes_as_many_instructions_as_the_right_one");
        let counts = instructions(test, &messages, |message| {
            black_box(checker.mac1_is_valid(message));
            black_box(checker.mac2_is_valid(START, message, source));
        });
        assert_eq!(counts, vec![counts[0]; messages.len()]);
    }
}
