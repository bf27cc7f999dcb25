//! What a tunnel does by itself: when something is due, and what.

use super::Tunnel;
use crate::proto::Event;
use crate::proto::constants::REJECT_AFTER_TIME;
use crate::proto::shared::Orders;
use crate::proto::time::{Instant, Now};
use crate::proto::timers::Timer;

impl Tunnel {
    /// When [`Tunnel::handle_timeout`] must be called next, and why. To be asked anew after every other call.
    #[must_use]
    pub fn poll_timeout(&mut self) -> Option<(Instant, Timer)> {
        let look = self.flood.next_look().map(|at| (at, Timer::Flood));
        let others = self.search.next().into_iter().chain(look);
        self.timers.next(&self.shared.facts).into_iter().chain(others).min()
    }

    /// Does what is due at `now`; being called too early or too late does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        // Each timer is put off or ended when it is handled; the bound is for the reader.
        for _ in 0..8 {
            match self.poll_timeout() {
                Some((at, timer)) if at <= now.boot => self.expire(now, timer),
                _ => break,
            }
        }
    }

    fn expire(&mut self, now: Now, timer: Timer) {
        match timer {
            Timer::Retransmit => self.retransmit(now),
            Timer::PostponedHandshake
                if self.timers.handshake_begun() || self.timers.handshake_is_demanded() =>
            {
                self.initiate(now);
            }
            Timer::PostponedHandshake => self.initiate_if_needed(now),
            Timer::PassiveKeepalive => {
                if self.timers.passive_keepalive_due(now.boot, &self.shared.facts) {
                    self.shared.outbound_orders.give(Orders::KEEPALIVE);
                }
            }
            Timer::Silence => self.peer_is_silent(now),
            Timer::Race => self.race(now.boot),
            Timer::Return => self.call_first_endpoint(now),
            Timer::PersistentKeepalive => self.keep_alive(now),
            Timer::Flood => self.look_at_flood(now.boot),
            Timer::Erase => {
                let had_sessions = self.slots.indices().next().is_some();
                self.erase_sessions();
                // A handshake under way is young, and ends by itself.
                if !self.timers.handshake_under_way() {
                    self.handshakes.forget();
                }
                self.timers.sessions_erased();
                if had_sessions {
                    self.events.push_back(Event::KeysErased);
                }
            }
        }
    }

    fn peer_is_silent(&mut self, now: Now) {
        if !self.timers.silence_due(now.boot, &self.shared.facts, &mut self.random) {
            return;
        }
        self.shared.forget_source();
        let heard = self.shared.facts.last_received();
        if self.silence_told.is_none_or(|told| heard > Some(told)) {
            self.silence_told = Some(now.boot);
            let silent_for = heard.map_or(REJECT_AFTER_TIME, |heard| now.boot.since(heard));
            self.events.push_back(Event::PeerSilent { silent_for });
        }
        if !self.timers.handshake_under_way() {
            self.initiate(now);
        }
    }
}
