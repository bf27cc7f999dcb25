//! Keeps one direction of the link to a rate, and lets no flow wait behind another's queue.
//!
//! A [`Shaper`] is told the time and asked what may go; it knows no thread, device or socket. What waits is in a
//! [`FairQueue`], and a [`TokenBucket`] says when the next packet may leave it. A [`Gate`](gate::Gate) is where control sets the
//! limit of a data thread and sees what waits there. docs/architecture.md, "Shaping", has the reasons.

mod codel;
mod fair_queue;
mod gate;
mod token_bucket;

use std::time::Duration;

use super::clock;
use crate::config::Rate;
use crate::proto::Instant;
use codel::Pace;
use fair_queue::FairQueue;
pub(super) use gate::{Limits, Shaped};
use token_bucket::TokenBucket;

/// Packets that wait longer than the next one would have to are released in lots of this: fewer wake-ups, and fuller
/// batches.
const LOT: Duration = Duration::from_micros(500);

/// The queue and the limit of one direction.
#[derive(Debug)]
pub(super) struct Shaper {
    limit: Option<Rate>,
    bucket: TokenBucket,
    queue: FairQueue,
}

/// A packet that comes to the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Its bytes.
    pub(super) len: usize,
    /// The bytes it takes on the underlay, all headers included: what the limit counts.
    pub(super) cost: usize,
    /// Where its IP header begins; at the end of it or beyond if it has none.
    pub(super) ip_at: usize,
}

/// What became of packets since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Discarded.
    pub(super) discarded: usize,
    /// Marked as congested instead.
    pub(super) marked: usize,
}

impl Shaper {
    /// An empty queue with this limit; flows are told apart by `seed`, which nobody else may know.
    pub(super) fn new(limit: Rate, seed: u64, now: Instant) -> Self {
        Self {
            limit: Some(limit),
            bucket: TokenBucket::new(limit, now),
            queue: FairQueue::new(Pace::of(limit), seed),
        }
    }

    /// Another limit from now on; with `None` all that waits may go at once.
    pub(super) fn set_limit(&mut self, limit: Option<Rate>) {
        self.limit = limit;
        if let Some(limit) = limit {
            self.bucket.set_rate(limit);
            self.queue.set_pace(Pace::of(limit));
        }
    }

    /// The limit, if it still has one.
    pub(super) fn limit(&self) -> Option<Rate> {
        self.limit
    }

    /// Takes a packet, which `write` puts into room of its length. If too much waits then, packets of the flow that
    /// waits for most are discarded.
    pub(super) fn push(&mut self, now: Instant, arrival: Arrival, write: impl FnOnce(&mut [u8])) {
        self.queue.push(now, arrival, write);
    }

    /// Lends `take` the next packet that may go now; whether there was one.
    pub(super) fn release(&mut self, now: Instant, take: impl FnOnce(&[u8])) -> bool {
        if self.limit.is_some() && self.bucket.ready_at() > now {
            return false;
        }
        let Some(packet) = self.queue.pop(now) else {
            return false;
        };
        if self.limit.is_some() {
            self.bucket.take(now, packet.cost());
        }
        take(packet.bytes());
        self.queue.recycle(packet);
        true
    }

    /// Forgets all that waits; how many packets that were.
    pub(super) fn forget(&mut self) -> u64 {
        self.queue.clear() as u64
    }

    /// When to come for what waits; `None` if nothing does.
    pub(super) fn release_at(&self) -> Option<Instant> {
        if self.queue.is_empty() {
            return None;
        }
        Some(if self.limit.is_some() {
            self.bucket.ready_at() + LOT
        } else {
            Instant::from_nanos(0)
        })
    }

    /// How many packets wait, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        self.queue.waiting()
    }

    /// What became of packets since the last call.
    pub(super) fn take_tally(&mut self) -> Tally {
        self.queue.take_tally()
    }
}

/// How long a data thread that is to end may go on for its shaper's sake: CoDel keeps the queues of senders that heed it
/// shorter.
const TIME_TO_LEAVE: Duration = Duration::from_millis(100);

/// When a data thread that is to end now must have ended.
pub(super) fn end_of_release() -> Instant {
    clock::boot() + TIME_TO_LEAVE
}

/// How long a data thread may sleep until something leaves before `end`; `None` if nothing does.
pub(super) fn until_last_release(shaper: &Option<Shaper>, end: Instant) -> Option<Duration> {
    let at = shaper.as_ref()?.release_at().filter(|at| *at <= end)?;
    Some(at.since(clock::boot()))
}

/// How long a data thread may sleep for its shaper's sake; `None`: for ever.
pub(super) fn until_release(shaper: &Option<Shaper>) -> Option<Duration> {
    let at = shaper.as_ref()?.release_at()?;
    Some(at.since(clock::boot()))
}

#[cfg(test)]
mod tests;
