//! How a tunnel calls the peer: when an initiation is made, to whom it goes, and what follows if nobody answers.

use std::net::SocketAddr;
use std::time::Duration;

use super::Tunnel;
use crate::crypto::secret::on_clean_stack;
use crate::proto::constants::SILENCE_TIMEOUT;
use crate::proto::search::Step;
use crate::proto::shared::Orders;
use crate::proto::time::{Instant, Now};
use crate::proto::{Event, Request, Transmit};
use crate::wire::{Endpoint, Handshake};

impl Tunnel {
    /// A lookup ended: the configured endpoint of this number has these addresses now. If a handshake was waiting for an
    /// address, it begins; if one is under way, it goes to those that are new.
    pub fn resolved(&mut self, now: Now, endpoint: usize, addresses: &[SocketAddr]) {
        self.search.resolved(now.boot, endpoint, addresses);
        self.shared.set_places(self.search.addresses());
        self.go_to_resolved(now);
        self.obey_demand(now);
    }

    /// Goes to the first address there is, if nowhere else; or, if the endpoints were replaced, when all are resolved.
    fn go_to_resolved(&mut self, now: Now) {
        let Some(first) = self.search.first_address() else { return };
        // Not before all are: the tunnel may be at the one that is resolved last.
        let relocating = self.relocating && self.search.all_are_resolved();
        if relocating {
            self.relocating = false;
        }
        if let Some(current) = self.shared.endpoint()
            && !(relocating && self.search.addresses().all(|address| address != current.remote))
        {
            return;
        }
        self.shared.set_endpoint(Endpoint::new(first));
        self.remote_told = Some(first);
        let wanted = self.timers.keeps_alive() || self.shared.facts.handshake_is_wanted();
        if self.has_session(now.boot) {
            self.shared.outbound_orders.give(Orders::KEEPALIVE);
        } else if wanted && !self.timers.handshake_under_way() {
            self.initiate(now);
        }
    }

    /// Somebody says where the peer is: it is called there. Whether that can be, as the way there must not lead through
    /// the tunnel itself.
    pub fn move_peer(&mut self, now: Now, remote: SocketAddr) -> bool {
        let endpoint = Endpoint::new(remote);
        if self.shared.may_be_inside(&endpoint) {
            return false;
        }
        self.shared.set_endpoint(endpoint);
        self.search.moved(Some(endpoint));
        self.tell_endpoint();
        self.network_changed(now);
        true
    }

    /// From now on the link is to stay quiet for no longer than this; `None`: as long as it likes.
    pub fn set_persistent_keepalive(&mut self, now: Now, interval: Option<Duration>) {
        self.timers.set_persistent_keepalive(now.boot, interval);
        if interval.is_some() {
            self.keep_alive(now);
        }
    }

    /// The way to the peer is another one than before, or is there again: the peer hears of it at once, and names are looked up anew.
    pub fn network_changed(&mut self, now: Now) {
        self.shared.forget_source();
        self.requests.extend(self.search.active().map(Request::LookUp));
        if self.timers.handshake_under_way() {
            self.search.race_again(now.boot);
            self.race(now.boot);
        } else if self.has_session(now.boot) {
            self.shared.outbound_orders.give(Orders::KEEPALIVE | Orders::ANEW);
        } else if self.timers.keeps_alive() || self.shared.facts.handshake_is_wanted() {
            self.initiate(now);
        }
    }

    /// Has the peer show that it answers: a handshake begins as soon as that may be, also where a session serves, which lives
    /// on meanwhile. If the endpoints were replaced, it goes to where the peer is to be now.
    pub fn call_anew(&mut self, now: Now) {
        // An answer to an earlier call would not be one to this.
        self.handshakes.forget();
        self.timers.demand_handshake();
        self.obey_demand(now);
    }

    fn obey_demand(&mut self, now: Now) {
        let may = !self.relocating && !self.timers.handshake_under_way();
        if self.timers.handshake_is_demanded() && may {
            self.initiate(now);
        }
    }

    /// Begins a handshake that was asked for, unless a session came meanwhile that does not need it yet: a data
    /// thread may ask on account of the one before.
    pub(super) fn initiate_if_needed(&mut self, now: Now) {
        if self.slots.current().is_some_and(|session| session.sealing.is_fresh(now.boot)) {
            self.timers.handshake_not_needed();
            self.shared.facts.handshake_dealt_with();
        } else {
            self.initiate(now);
        }
    }

    /// Sends an initiation, unless it is too soon after the last: then it is postponed.
    pub(super) fn initiate(&mut self, now: Now) {
        let Some(current) = self.shared.endpoint() else {
            return;
        };
        if !self.timers.may_initiate(now.boot) {
            return;
        }
        let heard = self.shared.facts.last_received();
        let heard_there = heard.is_some_and(|heard| now.boot.since(heard) < SILENCE_TIMEOUT);
        let targets = self.search.targets(current.remote, heard_there);
        if self.call(now, self.search.active().unwrap_or_default(), targets) {
            self.timers.initiation_sent(now.boot, &mut self.random);
        }
    }

    /// Makes an initiation for `targets` of `endpoint`, the first of which gets it at once. Whether there is one.
    fn call(&mut self, now: Now, endpoint: usize, targets: Vec<SocketAddr>) -> bool {
        if targets.is_empty() {
            return false;
        }
        let used = self.slots.indices().collect::<Vec<_>>();
        match on_clean_stack(|| self.handshakes.initiate(now, &mut self.random, &used)) {
            Ok(initiation) => {
                self.search.begin_race(now.boot, initiation, endpoint, targets);
                self.race(now.boot);
                true
            }
            Err(reason) => {
                self.shared.stats.discard(reason);
                false
            }
        }
    }

    /// Sends the initiation under way to the next address.
    pub(super) fn race(&mut self, now: Instant) {
        if let Some((to, initiation)) = self.search.race_due(now) {
            let message = Handshake::Initiation(initiation);
            match self.shared.endpoint().filter(|current| current.remote == to) {
                // With its sticky source.
                Some(current) => self.transmit(now, current, message),
                // Of this the peer hears only if it is there: it still gets the keepalive that is due.
                None => self.transmits.push_back(Transmit { endpoint: Endpoint::new(to), message }),
            }
        }
    }

    /// Sees whether the first endpoint is there again. If it does not answer, nothing has happened.
    pub(super) fn call_first_endpoint(&mut self, now: Now) {
        let busy = self.timers.handshake_under_way() || self.timers.too_soon(now.boot);
        if !self.search.return_due(now.boot, !busy) {
            return;
        }
        self.requests.push_back(Request::LookUp(0));
        if self.call(now, 0, self.search.first_endpoint().to_vec()) {
            self.timers.message_sent(now.boot);
        }
    }

    /// Sends something authentic: what is staged, a keepalive, or what leads to a session.
    pub(super) fn keep_alive(&mut self, now: Now) {
        self.timers.persistent_keepalive_sent(now.boot);
        if self.has_session(now.boot) {
            self.shared.outbound_orders.give(Orders::KEEPALIVE);
        } else if !self.timers.handshake_under_way() {
            self.initiate(now);
        }
    }

    pub(super) fn retransmit(&mut self, now: Now) {
        let Some(sent) = self.timers.retransmit_due(now.boot) else {
            self.handshakes.forget();
            self.search.race_over();
            // In this order: what is staged after the order is obeyed asks for a handshake again.
            self.shared.facts.handshake_dealt_with();
            self.shared.outbound_orders.give(Orders::ABANDON);
            self.events.push_back(Event::HandshakeGivenUp);
            return;
        };
        self.shared.forget_source();
        self.events.push_back(Event::HandshakeUnanswered { sent });
        match self.search.unanswered() {
            Some(Step::LookUp(endpoint)) => self.requests.push_back(Request::LookUp(endpoint)),
            Some(Step::ChangePort) => self.requests.push_back(Request::ChangePort),
            Some(Step::Endpoint(endpoint)) => {
                self.events.push_back(Event::NextEndpoint(endpoint));
                self.requests.push_back(Request::LookUp(endpoint));
            }
            None => {}
        }
        self.initiate(now);
    }
}
