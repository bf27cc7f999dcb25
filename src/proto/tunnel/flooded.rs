//! How a tunnel meets a flood: when it begins and ends, and what the kernel is to let pass meanwhile.

use super::Tunnel;
use crate::proto::time::Instant;
use crate::proto::{Discard, Event};
use crate::wire::Screen;

impl Tunnel {
    /// What the kernel is to let pass from now on; `None` is everything. To be asked after every call.
    #[must_use]
    pub fn screen(&self) -> Option<Screen> {
        self.flood.chances().map(|chances| Screen {
            peers: self.shared.places(),
            indices: self.slots.indices().collect(),
            data: chances.others,
            handshakes: chances.handshakes,
        })
    }

    /// Sees whether a flood begins.
    pub(super) fn see_flood(&mut self, now: Instant) {
        let discarded = self.shared.stats.discards(Discard::NotReceived);
        if self.flood.begins(now, &self.shared.strangers, discarded) {
            self.events.push_back(Event::FloodBegan);
        }
    }

    pub(super) fn look_at_flood(&mut self, now: Instant) {
        let discarded = self.shared.stats.discards(Discard::NotReceived);
        if let Some(discarded) = self.flood.look(now, &self.shared.strangers, discarded) {
            self.events.push_back(Event::FloodEnded { discarded });
        }
    }
}
