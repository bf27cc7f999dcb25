//! Packets in flows that take turns: deficit round robin, flows that ask for little first (RFC 8290), each with its
//! own CoDel.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher as _};

use super::codel::{Codel, Pace};
use super::{Arrival, Tally};
use crate::proto::Instant;
use crate::wire::flow::hash_flow;
use crate::wire::ip::set_ecn;
use crate::wire::{Ecn, IpHeader};

/// Places for flows; two that get the same one share its turns.
const FLOWS: usize = 1024;
/// Most that waits; beyond it the flows that wait for most lose packets.
const MAX_PACKETS: usize = 4096;
const MAX_BYTES: usize = 4 << 20;
/// What is left of that then: room for some more, so that the flows are not looked through for each packet of a flood.
const FEWER_PACKETS: usize = MAX_PACKETS - MAX_PACKETS / 64;
const FEWER_BYTES: usize = MAX_BYTES - MAX_BYTES / 64;
/// What a flow may send in its turn, at least: a large packet of the usual path.
const LEAST_QUANTUM: usize = 1514;
/// Room kept for a packet to come, and for all of them.
const MAX_SPARE: usize = 2048;
const MAX_SPARE_BYTES: usize = 1 << 20;

/// The packets that wait; bounded.
#[derive(Debug)]
pub(super) struct FairQueue {
    seed: u64,
    pace: Pace,
    flows: Box<[Flow]>,
    /// The flows whose turn it is, those that have just begun to wait before all others.
    new: VecDeque<usize>,
    old: VecDeque<usize>,
    packets: usize,
    bytes: usize,
    /// The greatest cost of a packet so far, and at least [`LEAST_QUANTUM`].
    quantum: usize,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
    tally: Tally,
    /// The flow whose turn it is to lose.
    shed_at: usize,
    /// How often a flow was looked at for that.
    #[cfg(test)]
    work: usize,
}

#[derive(Debug, Default)]
struct Flow {
    packets: VecDeque<Packet>,
    /// What its packets cost.
    backlog: usize,
    /// What it may still send in this turn.
    deficit: i64,
    /// Whether it is in `new` or `old`.
    listed: bool,
    codel: Codel,
}

/// A packet that waited.
#[derive(Debug)]
pub(super) struct Packet {
    bytes: Vec<u8>,
    cost: usize,
    ip_at: usize,
    since: Instant,
}

impl Packet {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Marks it as congested, if its sender allows that.
    fn mark(&mut self) -> bool {
        let ip = self.bytes.get_mut(self.ip_at..).unwrap_or_default();
        let ecn = IpHeader::parse_fixed(ip).map(|header| header.ecn);
        let allowed = matches!(ecn, Some(Ecn::Ect0 | Ecn::Ect1));
        if allowed {
            set_ecn(ip, Ecn::Ce);
        }
        allowed
    }
}

impl FairQueue {
    /// An empty queue; flows find their places by `seed`.
    pub(super) fn new(pace: Pace, seed: u64) -> Self {
        Self {
            seed,
            pace,
            flows: std::iter::repeat_with(Flow::default).take(FLOWS).collect(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            packets: 0,
            bytes: 0,
            quantum: LEAST_QUANTUM,
            spare: Vec::new(),
            spare_bytes: 0,
            tally: Tally::default(),
            shed_at: 0,
            #[cfg(test)]
            work: 0,
        }
    }

    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// How many packets wait, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.packets, self.bytes)
    }

    pub(super) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Takes a packet, which `write` puts into room of its length.
    pub(super) fn push(&mut self, now: Instant, arrival: Arrival, write: impl FnOnce(&mut [u8])) {
        let Arrival { len, cost, ip_at } = arrival;
        // A flow with packets has a backlog.
        let cost = cost.max(1);
        let mut bytes = self.spare.pop().unwrap_or_default();
        self.spare_bytes = self.spare_bytes.saturating_sub(bytes.capacity());
        bytes.resize(len, 0);
        write(&mut bytes);
        let place = self.place_of(bytes.get(ip_at..).unwrap_or_default());
        let Some(flow) = self.flows.get_mut(place) else {
            return;
        };
        self.quantum = self.quantum.max(cost);
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(len);
        flow.backlog = flow.backlog.saturating_add(cost);
        flow.packets.push_back(Packet { bytes, cost, ip_at, since: now });
        if !flow.listed {
            (flow.listed, flow.deficit) = (true, self.quantum as i64);
            self.new.push_back(place);
        }
        if self.packets > MAX_PACKETS || self.bytes > MAX_BYTES {
            self.shed();
        }
    }

    /// Forgets all that waits; how many packets that were.
    pub(super) fn clear(&mut self) -> usize {
        let (tally, packets) = (self.take_tally(), self.packets);
        *self = Self { tally, ..Self::new(self.pace, self.seed) };
        packets
    }

    /// The packet whose turn it is.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Packet> {
        loop {
            let is_new = !self.new.is_empty();
            let list = if is_new { &mut self.new } else { &mut self.old };
            let place = list.pop_front()?;
            let flow = self.flows.get_mut(place)?;
            if flow.deficit <= 0 {
                flow.deficit = flow.deficit.saturating_add(self.quantum as i64);
                self.old.push_back(place);
            } else if let Some(packet) = self.next_of(place, now) {
                let list = if is_new { &mut self.new } else { &mut self.old };
                list.push_front(place);
                return Some(packet);
            } else if is_new && !self.old.is_empty() {
                // Else a flow that is never more than a packet ahead would keep all others from their turn.
                self.old.push_back(place);
            } else if let Some(flow) = self.flows.get_mut(place) {
                flow.listed = false;
            }
        }
    }

    /// Keeps the room of a packet that has gone, for another.
    pub(super) fn recycle(&mut self, packet: Packet) {
        let capacity = packet.bytes.capacity();
        let spare_bytes = self.spare_bytes.saturating_add(capacity);
        // Room for a jumbo packet would be held by a small one.
        if capacity <= MAX_SPARE && spare_bytes <= MAX_SPARE_BYTES {
            self.spare_bytes = spare_bytes;
            self.spare.push(packet.bytes);
        }
    }

    /// The next packet of a flow that CoDel lets go.
    fn next_of(&mut self, place: usize, now: Instant) -> Option<Packet> {
        loop {
            let mut packet = self.take_from(place)?;
            let (quantum, pace) = (self.quantum, self.pace);
            let flow = self.flows.get_mut(place)?;
            if flow.codel.tells(now, packet.since, flow.backlog <= quantum, pace) {
                if !packet.mark() {
                    self.discard(packet);
                    continue;
                }
                self.tally.marked = self.tally.marked.saturating_add(1);
            }
            flow.deficit = flow.deficit.saturating_sub(packet.cost as i64);
            return Some(packet);
        }
    }

    /// The first packet of a flow.
    fn take_from(&mut self, place: usize) -> Option<Packet> {
        let flow = self.flows.get_mut(place)?;
        let Some(packet) = flow.packets.pop_front() else {
            flow.codel.calm();
            return None;
        };
        // Room for a flow's long queue would stay for ever.
        let len = flow.packets.len();
        if flow.packets.capacity() > len.saturating_mul(4).max(16) {
            flow.packets.shrink_to(len.saturating_mul(2));
        }
        flow.backlog = flow.backlog.saturating_sub(packet.cost);
        self.packets = self.packets.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(packet.bytes.len());
        Some(packet)
    }

    /// Makes room for some more: flows lose, in turns, what they have beyond half of what the largest has.
    fn shed(&mut self) {
        let (mut half, mut looked_at) = (0, FLOWS);
        while self.is_crowded() {
            if looked_at == FLOWS {
                half = self.flows.iter().map(|flow| flow.backlog).max().unwrap_or_default() / 2;
                looked_at = 0;
                #[cfg(test)]
                (self.work += FLOWS);
            }
            let place = self.shed_at;
            if self.flows.get(place).is_some_and(|flow| flow.backlog > half)
                && let Some(packet) = self.take_from(place)
            {
                self.discard(packet);
            } else {
                self.shed_at = place.wrapping_add(1) % FLOWS;
                looked_at = looked_at.wrapping_add(1);
            }
            #[cfg(test)]
            (self.work += 1);
        }
    }

    /// Whether there is no room for some more.
    fn is_crowded(&self) -> bool {
        self.packets > FEWER_PACKETS || self.bytes > FEWER_BYTES
    }

    fn discard(&mut self, packet: Packet) {
        self.tally.discarded = self.tally.discarded.saturating_add(1);
        self.recycle(packet);
    }

    fn place_of(&self, packet: &[u8]) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hash_flow(packet, &mut hasher);
        hasher.finish() as usize % FLOWS
    }
}

#[cfg(test)]
mod tests;
