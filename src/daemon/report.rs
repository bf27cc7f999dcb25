//! What a person is told: one line for each event, with its reason and what to look at. Every line follows from
//! our own timers or from what is authentic; what strangers send is told at most once a minute, on our own clock;
//! that a flood of it began and ended, at most every ten seconds.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::crypto::PublicKey;
use crate::proto::{Discard, Event, Instant, Role, Stats};
use crate::wire::Endpoint;

/// Lines of one kind in [`QUOTA_TIME`]; more are counted and told later.
const QUOTA: u32 = 10;
const QUOTA_TIME: Duration = Duration::from_secs(10);
/// Least time between two lines on what arrives while there is no link.
const STRANGERS_INTERVAL: Duration = Duration::from_secs(60);

/// Turns events into lines.
pub(super) struct Report {
    ours: PublicKey,
    up: bool,
    /// The peer was told to be silent, or not to answer: that it is back is worth telling too.
    in_doubt: bool,
    /// Handshakes given up one after the other.
    given_up: u32,
    moves: Quota,
    paths: Quota,
    unconfirmed: Quota,
    looping: Quota,
    /// The counters when the link last came up, or at the start.
    baseline: [u64; HINTS.len()],
    strangers_told: Option<Instant>,
}

/// The discards that hint at a wrong configuration, and what to do.
const HINTS: [(Discard, &str); 4] = [
    (
        Discard::ResponseNotAuthentic,
        "the peer answers, but its answer does not decrypt: preshared_key must be the same on both ends",
    ),
    (
        Discard::UnknownPeer,
        "somebody calls with another key than [peer] public_key: is it the peer's?",
    ),
    (
        Discard::InitiationNotAuthentic,
        "somebody who knows our public key calls, and the call does not decrypt: [peer] profile and cipher must be the same on \
         both ends",
    ),
    (
        Discard::Mac1,
        "handshakes arrive that are meant for another key: the other end's [peer] public_key must be ours",
    ),
];

impl Report {
    pub(super) fn new(ours: PublicKey) -> Self {
        Self {
            ours,
            up: false,
            in_doubt: false,
            given_up: 0,
            moves: Quota::default(),
            paths: Quota::default(),
            unconfirmed: Quota::default(),
            looping: Quota::default(),
            baseline: [0; HINTS.len()],
            strangers_told: None,
        }
    }

    /// Whether both ends were heard since the last loss.
    pub(super) fn link_is_up(&self) -> bool {
        self.up
    }

    /// Tells `event`.
    pub(super) fn event(
        &mut self,
        now: Instant,
        event: &Event,
        endpoint: Option<Endpoint>,
        stats: &Stats,
    ) {
        let peer = endpoint.map_or("nowhere".to_owned(), |endpoint| endpoint.to_string());
        match event {
            Event::HandshakeCompleted { endpoint, role } => self.completed(*endpoint, *role, stats),
            Event::TakenOver { endpoint, .. } => {
                self.up = true;
                self.baseline = counters(stats);
                tracing::info!(%endpoint, "the sessions of the process before go on: the link is up");
            }
            Event::EndpointMoved(endpoint) => {
                if let Some(unsaid) = self.moves.allow(now) {
                    tracing::info!(%endpoint, unsaid, "endpoint moved: the peer sends from there now");
                }
            }
            Event::PeerSilent { silent_for } => {
                self.in_doubt = true;
                tracing::warn!(
                    endpoint = peer,
                    "peer silent: nothing heard for {} s while sending; trying a new handshake",
                    silent_for.as_secs()
                );
            }
            Event::HandshakeUnanswered { sent } => {
                // Once for each loss of the link: later tries are told when they are given up.
                if *sent == 2 && self.given_up == 0 {
                    self.in_doubt = true;
                    let reason = self.reason(stats);
                    tracing::warn!(
                        endpoint = peer,
                        "no answer to {sent} handshake initiations: {reason}"
                    );
                }
            }
            // Control knows its name, and tells.
            Event::NextEndpoint(_) => {}
            Event::HandshakeGivenUp => self.given_up(&peer, stats),
            Event::NeverConfirmed(endpoint) => {
                if let Some(unsaid) = self.unconfirmed.allow(now) {
                    tracing::warn!(
                        %endpoint,
                        unsaid,
                        "the peer keeps calling and never uses our answer: is preshared_key the same on both ends, \
                         and do our datagrams reach it?"
                    );
                }
            }
            Event::Loop(station) => {
                if let Some(unsaid) = self.looping.allow(now) {
                    tracing::warn!(
                        %station,
                        unsaid,
                        "loop: this station sends on both sides of the tunnel: is there another way between the two \
                         networks? Remove it, or turn the spanning tree protocol on at the bridges"
                    );
                }
            }
            Event::FloodBegan => tracing::warn!(
                "flood: strangers send so much that most of it is not received any more"
            ),
            Event::FloodEnded { discarded } => tracing::info!(discarded, "the flood is over"),
            Event::KeysErased => {
                self.up = false;
                tracing::info!("keys erased: no handshake completed for nine minutes");
            }
        }
    }

    /// Tells what strangers' handshakes hint at, while there is no link: at most once a minute.
    pub(super) fn strangers(&mut self, now: Instant, stats: &Stats) {
        let recent = self.strangers_told.is_some_and(|told| now.since(told) < STRANGERS_INTERVAL);
        if self.up || recent {
            return;
        }
        if let Some(hint) = self.hint(stats) {
            tracing::warn!(our_public_key = %self.ours, "no link yet: {hint}");
            self.strangers_told = Some(now);
            self.baseline = counters(stats);
        }
    }

    /// Tells that the device's MTU was changed.
    pub(super) fn mtu(&mut self, now: Instant, mtu: u32, path_mtu: u32) {
        if let Some(unsaid) = self.paths.allow(now) {
            tracing::info!(mtu, path_mtu, unsaid, "MTU follows the path to the peer");
        }
    }

    /// Tells that the way to the peer is another one, or is there again.
    pub(super) fn another_way(&mut self, now: Instant, endpoint: Endpoint, source: Option<IpAddr>) {
        if let Some(unsaid) = self.paths.allow(now) {
            let source = source.map(tracing::field::display);
            tracing::info!(%endpoint, source, unsaid, "another way to the peer");
        }
    }

    /// Tells what is tried while nobody answers: aloud until a handshake is given up for the first time.
    pub(super) fn tried(&self, what: fmt::Arguments<'_>) {
        if self.given_up == 0 {
            tracing::info!("no answer so far: {what}");
        } else {
            tracing::debug!("no answer so far: {what}");
        }
    }

    /// Tells that the way to the peer leads into the tunnel itself.
    pub(super) fn loops(&mut self, now: Instant, endpoint: Endpoint) {
        if let Some(unsaid) = self.paths.allow(now) {
            tracing::warn!(
                %endpoint,
                unsaid,
                "the route to the peer leads into the tunnel itself: take its address out of allowed_ips, or \
                 route it by another device"
            );
        }
    }

    fn completed(&mut self, endpoint: Endpoint, role: Role, stats: &Stats) {
        let role = match role {
            Role::Initiator => "we called",
            Role::Responder => "the peer called",
        };
        if self.up && !self.in_doubt {
            tracing::debug!(%endpoint, "handshake completed: a new session ({role})");
        } else {
            tracing::info!(%endpoint, "handshake completed: the link is up ({role})");
        }
        self.up = true;
        self.in_doubt = false;
        self.given_up = 0;
        self.baseline = counters(stats);
    }

    fn given_up(&mut self, peer: &str, stats: &Stats) {
        self.given_up = self.given_up.saturating_add(1);
        let reason = self.reason(stats);
        if std::mem::take(&mut self.up) {
            tracing::warn!(
                endpoint = peer,
                "link lost: no answer to any of 20 handshake initiations: {reason}"
            );
        } else if self.given_up.is_power_of_two() {
            tracing::warn!(endpoint = peer, tries = self.given_up, "still no link: {reason}");
        }
    }

    /// The likely reason if the peer does not answer.
    pub(super) fn reason(&self, stats: &Stats) -> &'static str {
        self.hint(stats).unwrap_or(
            "is tunneld running there, is its UDP port open and its address right, is [peer] public_key its key, and are [peer] \
             profile and cipher the same there?",
        )
    }

    fn hint(&self, stats: &Stats) -> Option<&'static str> {
        let met = counters(stats).into_iter().zip(self.baseline).map(|(now, then)| now > then);
        HINTS.iter().zip(met).find(|(_, met)| *met).map(|((_, hint), _)| *hint)
    }
}

fn counters(stats: &Stats) -> [u64; HINTS.len()] {
    HINTS.map(|(reason, _)| stats.discards(reason))
}

/// So many lines in so much time.
#[derive(Default)]
struct Quota {
    since: Option<Instant>,
    used: u32,
    unsaid: u32,
}

impl Quota {
    /// Whether one more line may be written; if so, how many were not since the last, if any.
    fn allow(&mut self, now: Instant) -> Option<Option<u32>> {
        if self.since.is_none_or(|since| now.since(since) >= QUOTA_TIME) {
            (self.since, self.used) = (Some(now), 0);
        }
        if self.used == QUOTA {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.used = self.used.saturating_add(1);
        let unsaid = std::mem::take(&mut self.unsaid);
        Some((unsaid > 0).then_some(unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_quota_are_counted_and_told_later() {
        let mut quota = Quota::default();
        let at = |seconds: u64| Instant::from_nanos(1_000_000_000 * (1 + seconds));
        for _ in 0..10 {
            assert_eq!(quota.allow(at(0)), Some(None));
        }
        assert_eq!((quota.allow(at(1)), quota.allow(at(9))), (None, None));
        assert_eq!(quota.allow(at(10)), Some(Some(2)));
        assert_eq!(quota.allow(at(10)), Some(None));
    }

    #[test]
    fn a_wrong_preshared_key_is_what_the_reason_names() {
        let report = Report::new(PublicKey::from([0; 32]));
        let stats = Stats::default();
        assert!(report.reason(&stats).contains("public_key"));
        stats.discard(Discard::ResponseNotAuthentic);
        assert!(report.reason(&stats).contains("preshared_key"));
    }

    #[test]
    fn another_profile_is_named_where_a_call_does_not_decrypt_and_where_nobody_answers() {
        let report = Report::new(PublicKey::from([0; 32]));
        let stats = Stats::default();
        assert!(report.reason(&stats).contains("are [peer] profile and cipher the same there?"));
        stats.discard(Discard::InitiationNotAuthentic);
        assert!(report.reason(&stats).contains("profile and cipher must be the same"));
    }
}
