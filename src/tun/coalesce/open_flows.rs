//! The flows of a batch whose last item may still grow; bounded.

use std::net::IpAddr;

use crate::tun::flow::FlowKey;

/// Most of them. A batch is rarely more than a few hundred packets; more flows than this have few each.
const MAX_OPEN_FLOWS: usize = 64;

/// Each flow once, with its item.
#[derive(Debug)]
pub(super) struct OpenFlows {
    flows: Vec<(FlowKey, usize)>,
    /// Where the last packet belonged: mostly the next one does too.
    recent: usize,
    /// Where the next flow goes once there is no more room.
    oldest: usize,
}

impl OpenFlows {
    pub(super) fn new() -> Self {
        Self { flows: Vec::with_capacity(MAX_OPEN_FLOWS), recent: 0, oldest: 0 }
    }

    /// The item of a flow, if it may grow.
    pub(super) fn item(&mut self, key: &FlowKey) -> Option<usize> {
        self.recent = self.find(key)?;
        self.flows.get(self.recent).map(|(_, item)| *item)
    }

    /// From now on this item of the flow may grow. With no room, another flow is closed: it only loses the chance to grow.
    pub(super) fn open(&mut self, key: FlowKey, item: usize) {
        if self.flows.len() < MAX_OPEN_FLOWS {
            self.recent = self.flows.len();
            self.flows.push((key, item));
        } else if let Some(oldest) = self.flows.get_mut(self.oldest) {
            *oldest = (key, item);
            self.recent = self.oldest;
            self.oldest = self.oldest.wrapping_add(1) % MAX_OPEN_FLOWS;
        }
    }

    /// What the flow has so far will not grow.
    pub(super) fn close(&mut self, key: &FlowKey) {
        if let Some(place) = self.find(key) {
            self.flows.swap_remove(place);
        }
    }

    /// The same for all flows between these addresses.
    pub(super) fn close_between(&mut self, source: IpAddr, destination: IpAddr) {
        self.flows.retain(|(key, _)| (key.source, key.destination) != (source, destination));
    }

    /// The same for all.
    pub(super) fn clear(&mut self) {
        self.flows.clear();
    }

    fn find(&self, key: &FlowKey) -> Option<usize> {
        let is_wanted = |(of, _): &(FlowKey, usize)| of == key;
        if self.flows.get(self.recent).is_some_and(is_wanted) {
            return Some(self.recent);
        }
        self.flows.iter().position(is_wanted)
    }
}
