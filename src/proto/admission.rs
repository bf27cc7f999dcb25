//! Which handshake messages are worth a key exchange (WireGuard paper §5.3): those with a valid mac1; under load
//! only those of a source that proved its address with a cookie and keeps to its rate.

use std::net::SocketAddr;

use super::cookie::CookieChecker;
use super::discard::Discard;
use super::load::{LoadDetector, RateLimiter, Source};
use super::time::Instant;
use crate::crypto::PublicKey;
use crate::crypto::random::Random;
use crate::wire::{CookieReply, Endpoint, Maced};

/// Our side's gate for handshake messages.
pub(crate) struct Admission {
    checker: CookieChecker,
    load: LoadDetector,
    limiter: RateLimiter,
}

/// Why a message may not pass, and the cookie its sender gets to come back with, if any.
pub(crate) type Refusal = (Discard, Option<CookieReply>);

impl Admission {
    pub(crate) fn new(ours: &PublicKey) -> Self {
        Self {
            checker: CookieChecker::new(ours),
            load: LoadDetector::default(),
            limiter: RateLimiter::default(),
        }
    }

    /// Whether `message` may pass, with `queued` more waiting behind it. `peer` is where the peer is, if that is known.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        random: &mut Random,
        from: Endpoint,
        peer: Option<SocketAddr>,
        message: &impl Maced,
        queued: usize,
    ) -> Result<(), Refusal> {
        if !self.checker.mac1_is_valid(message) {
            return Err((Discard::Mac1, None));
        }
        if !self.load.under_load(now, queued) {
            return Ok(());
        }
        if !self.checker.mac2_is_valid(now, message, from.remote) {
            let cookie = self.checker.reply(now, random, message, from.remote);
            return Err((Discard::CookieRequired, Some(cookie)));
        }
        let source = Source::of(from.remote, peer);
        if !self.limiter.allow(now, source) {
            return Err((Discard::RateLimited, None));
        }
        Ok(())
    }
}
