//! How a tunnel leaves its sessions to the next process, and goes on with those of the one before.

use super::Tunnel;
use crate::crypto::secret::on_clean_stack;
use crate::proto::handover::Handover;
use crate::proto::session::SessionSlots;
use crate::proto::shared::Orders;
use crate::proto::time::Instant;
use crate::proto::{Event, Inbound};
use crate::wire::Endpoint;

impl Tunnel {
    /// What the next process needs to go on. To be called when the data threads have ended, with what inbound leaves: from here
    /// on this one must not send.
    #[must_use]
    pub fn hand_over(&mut self, mut inbound: Inbound) -> Handover {
        inbound.obey();
        if let Some(index) = self.shared.facts.take_confirmed() {
            self.slots.confirm(index);
        }
        let (ours, theirs) = (self.handshakes.public_key(), self.handshakes.peer());
        let endpoint = self.endpoint().map(|endpoint| endpoint.remote);
        let timestamp = self.handshakes.greatest_timestamp();
        let profile = self.handshakes.profile();
        let mut handover = Handover::new(profile, ours, theirs, endpoint, timestamp);
        for (slot, session) in self.slots.as_array().into_iter().enumerate() {
            let opening = session.and_then(|session| inbound.half(session.keys.local_index));
            if let (Some(session), Some(opening)) = (session, opening) {
                on_clean_stack(|| handover.add(slot, session, opening));
            }
        }
        handover
    }

    /// Goes on with what another process has left, as far as it is of the same two hosts and profile and has not ended. Whether there is a
    /// session now. To be called before [`Tunnel::start`].
    pub fn take_over(&mut self, now: Instant, handover: &Handover) -> bool {
        let profile = self.handshakes.profile();
        if !handover.is_of(profile, self.handshakes.public_key(), self.handshakes.peer()) {
            return false;
        }
        self.handshakes.accept_only_after(handover.timestamp());
        if let Some(remote) = handover.endpoint() {
            self.shared.set_endpoint(Endpoint::new(remote));
            self.remote_told = Some(remote);
        }
        let halves = on_clean_stack(|| handover.sessions(profile, now)).map(Option::unzip);
        let [(previous, opening_0), (current, opening_1), (next, opening_2)] = halves;
        self.slots = SessionSlots::from_array([previous, current, next]);
        for opening in [opening_0, opening_1, opening_2].into_iter().flatten() {
            self.timers.session_derived(opening.born());
            self.install(Some(opening));
        }
        let resumed = self.has_session(now);
        let current = self.slots.current().filter(|_| resumed);
        if let (Some(endpoint), Some(current)) = (self.endpoint(), current) {
            let begun = current.sealing.born();
            self.events.push_back(Event::TakenOver { endpoint, begun });
            // The peer hears from which port this end sends now.
            self.shared.outbound_orders.give(Orders::KEEPALIVE);
        }
        resumed
    }
}
