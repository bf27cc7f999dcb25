//! What is due when (WireGuard paper §6). Control tells what it did, the data threads tell facts; only this
//! room decides what follows and when.
//!
//! - *retransmit*: an initiation was not answered for [`REKEY_TIMEOUT`];
//! - *postponed handshake*: one was wanted sooner after the last than is allowed;
//! - *passive keepalive*: data was received and nothing sent for [`KEEPALIVE_TIMEOUT`];
//! - *silence*: data was sent and nothing heard for [`SILENCE_TIMEOUT`];
//! - *persistent keepalive*: nothing went either way for the interval the user set;
//! - *race*: the initiation under way goes to the next address ([`search`](super::search));
//! - *return*: the first endpoint is called while another serves ([`search`](super::search));
//! - *erase*: no session began for [`ERASE_AFTER_TIME`];
//! - *flood*: strangers are kept out, and what came is to be looked at: of [`super::flood`], not of this room.

use std::time::Duration;

use super::constants::{
    ERASE_AFTER_TIME, KEEPALIVE_TIMEOUT, MAX_INITIATIONS, MAX_JITTER, REKEY_TIMEOUT,
    SILENCE_TIMEOUT,
};
use super::shared::{Facts, Since};
use super::time::Instant;
use crate::crypto::random::Random;

/// The name of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the list above says it")]
pub enum Timer {
    Retransmit,
    PostponedHandshake,
    PassiveKeepalive,
    Silence,
    PersistentKeepalive,
    Race,
    Return,
    Erase,
    Flood,
}

/// The deadlines that do not follow from facts alone.
pub(crate) struct Timers {
    retransmit: Option<Instant>,
    /// Initiations of the handshake under way.
    initiations: u32,
    /// When we last sent an initiation or a response.
    last_handshake: Option<Instant>,
    postponed: bool,
    /// A handshake is to begin though a session serves.
    demanded: bool,
    erase: Option<Instant>,
    persistent: Option<Duration>,
    /// From when the persistent interval counts if nothing went either way since.
    persistent_from: Option<Instant>,
    silence_jitter: Duration,
    passive_keepalive: Look,
    silence: Look,
}

/// When to look after something owed. It stays though the debt ends, as in a flow it begins again at once: the
/// data threads need not wake control for a debt that it looks after in time anyway.
#[derive(Default)]
struct Look(Option<Instant>);

impl Look {
    /// The next look: exact while something is owed, maybe in vain otherwise.
    fn next(&mut self, since: &Since, time: Duration) -> Option<Instant> {
        if let Some(began) = since.watch(self.0.is_some()) {
            self.0 = Some(began + time);
        }
        self.0
    }

    /// Whether it is owed for `time`; the debt is then dealt with.
    fn due(&mut self, now: Instant, since: &Since, time: Duration) -> bool {
        self.0 = None;
        let due = since.began().is_some_and(|began| began + time <= now);
        if due {
            since.clear();
        }
        due
    }
}

impl Timers {
    pub(crate) fn new(persistent: Option<Duration>) -> Self {
        Self {
            retransmit: None,
            initiations: 0,
            last_handshake: None,
            postponed: false,
            demanded: false,
            erase: None,
            persistent,
            persistent_from: None,
            silence_jitter: Duration::ZERO,
            passive_keepalive: Look::default(),
            silence: Look::default(),
        }
    }

    /// The next deadline and its name. Where it follows from a fact, the fact is watched from now on.
    pub(crate) fn next(&mut self, facts: &Facts) -> Option<(Instant, Timer)> {
        let after = |since: Option<Instant>, time, timer| since.map(|since| (since + time, timer));
        let owing = self.passive_keepalive.next(&facts.owing_reply, KEEPALIVE_TIMEOUT);
        let silence = self.silence_timeout();
        let silence = self.silence.next(&facts.awaiting_reply, silence);
        let postponed = self.last_handshake.filter(|_| self.postponed);
        [
            self.retransmit.map(|at| (at, Timer::Retransmit)),
            after(postponed, REKEY_TIMEOUT, Timer::PostponedHandshake),
            owing.map(|at| (at, Timer::PassiveKeepalive)),
            silence.map(|at| (at, Timer::Silence)),
            self.persistent.and_then(|interval| {
                let from = self.persistent_from.max(facts.last_traversal());
                after(from, interval, Timer::PersistentKeepalive)
            }),
            self.erase.map(|at| (at, Timer::Erase)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether an initiation may be sent now; if not, it is postponed.
    pub(crate) fn may_initiate(&mut self, now: Instant) -> bool {
        self.postponed = self.too_soon(now);
        !self.postponed
    }

    /// Whether the last initiation or response is too young for another initiation.
    pub(crate) fn too_soon(&self, now: Instant) -> bool {
        self.last_handshake.is_some_and(|last| now.since(last) < REKEY_TIMEOUT)
    }

    /// Whether the link is never to stay quiet.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.persistent.is_some()
    }

    /// The persistent interval.
    pub(crate) fn persistent_keepalive(&self) -> Option<Duration> {
        self.persistent
    }

    /// Sets the persistent interval, which begins now.
    pub(crate) fn set_persistent_keepalive(&mut self, now: Instant, interval: Option<Duration>) {
        self.persistent = interval;
        self.persistent_from = Some(now);
    }

    /// Whether an initiation of ours waits for its response.
    pub(crate) fn handshake_under_way(&self) -> bool {
        self.retransmit.is_some()
    }

    /// An initiation was sent: the first of a handshake, or one more.
    pub(crate) fn initiation_sent(&mut self, now: Instant, random: &mut Random) {
        self.initiations = self.initiations.saturating_add(1);
        self.last_handshake = Some(now);
        self.postponed = false;
        self.demanded = false;
        self.retransmit = Some(now + REKEY_TIMEOUT + jitter(random));
    }

    /// Whether initiations were sent of a handshake that is neither complete nor given up.
    pub(crate) fn handshake_begun(&self) -> bool {
        self.initiations > 0
    }

    /// A handshake is to begin as soon as it may, though a session serves.
    pub(crate) fn demand_handshake(&mut self) {
        self.demanded = true;
    }

    /// Whether such a handshake has still to begin.
    pub(crate) fn handshake_is_demanded(&self) -> bool {
        self.demanded
    }

    /// What was postponed is not needed any more.
    pub(crate) fn handshake_not_needed(&mut self) {
        self.postponed = false;
    }

    /// A handshake message was sent that nobody needs to answer: a response, or a call to see whether somebody is there.
    pub(crate) fn message_sent(&mut self, now: Instant) {
        self.last_handshake = Some(now);
    }

    /// A session began.
    pub(crate) fn session_derived(&mut self, now: Instant) {
        self.erase = Some(now + ERASE_AFTER_TIME);
    }

    /// A handshake completed: the peer has proved that it holds the session too.
    pub(crate) fn handshake_complete(&mut self, random: &mut Random) {
        self.retransmit = None;
        self.postponed = false;
        self.demanded = false;
        self.initiations = 0;
        self.silence_jitter = jitter(random);
    }

    /// The initiation was not answered: how many there were if another is to be sent, `None` if the
    /// handshake is given up.
    pub(crate) fn retransmit_due(&mut self, now: Instant) -> Option<u32> {
        self.retransmit = None;
        if self.initiations < MAX_INITIATIONS {
            return Some(self.initiations);
        }
        self.initiations = 0;
        self.erase.get_or_insert(now + ERASE_AFTER_TIME);
        None
    }

    fn silence_timeout(&self) -> Duration {
        SILENCE_TIMEOUT.saturating_add(self.silence_jitter)
    }

    /// Whether received data has waited long enough for an answer; a keepalive answers all that came so far.
    pub(crate) fn passive_keepalive_due(&mut self, now: Instant, facts: &Facts) -> bool {
        self.passive_keepalive.due(now, &facts.owing_reply, KEEPALIVE_TIMEOUT)
    }

    /// Whether the peer was silent too long.
    pub(crate) fn silence_due(&mut self, now: Instant, facts: &Facts, random: &mut Random) -> bool {
        let timeout = self.silence_timeout();
        let due = self.silence.due(now, &facts.awaiting_reply, timeout);
        if due {
            self.silence_jitter = jitter(random);
        }
        due
    }

    /// The persistent interval begins anew.
    pub(crate) fn persistent_keepalive_sent(&mut self, now: Instant) {
        self.persistent_from = Some(now);
    }

    /// The sessions are erased.
    pub(crate) fn sessions_erased(&mut self) {
        self.erase = None;
    }

    /// Everything is erased.
    pub(crate) fn erased(&mut self) {
        *self = Self {
            last_handshake: self.last_handshake,
            persistent_from: self.persistent_from,
            ..Self::new(self.persistent)
        };
    }
}

fn jitter(random: &mut Random) -> Duration {
    const MILLIS: u32 = MAX_JITTER.as_millis() as u32 + 1;
    Duration::from_millis((random.u32() % MILLIS).into())
}
