//! What the device counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Flushed;

/// Everything a device counts, from its opening; all relaxed, none ever goes back.
#[derive(Debug, Default)]
pub(crate) struct TunCounters {
    /// Written by the thread that reads.
    pub(crate) read: ReadCounters,
    /// Written by the threads that write.
    pub(crate) write: WriteCounters,
}

/// What the device gave. Apart from what it took by a cache line, for another thread writes that.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ReadCounters {
    /// Calls to the kernel that brought a packet.
    pub(crate) calls: AtomicU64,
    /// Packets, segments counted singly.
    pub(crate) packets: AtomicU64,
    /// Superpackets among the reads.
    pub(crate) superpackets: AtomicU64,
    /// Reads that made no sense.
    pub(crate) malformed: AtomicU64,
}

/// What the device took.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WriteCounters {
    /// Calls to the kernel, failed ones included.
    pub(crate) calls: AtomicU64,
    /// Packets, segments counted singly.
    pub(crate) packets: AtomicU64,
    /// Superpackets among the writes.
    pub(crate) superpackets: AtomicU64,
    /// Packets that it did not take because it was down.
    pub(crate) down: AtomicU64,
    /// Packets that it did not take for another reason.
    pub(crate) refused: AtomicU64,
    /// Superpackets that it did not take. Their packets were written one by one, and are counted above.
    pub(crate) superpackets_refused: AtomicU64,
}

impl ReadCounters {
    pub(super) fn count(&self, packets: usize) {
        add(&self.calls, 1);
        add(&self.packets, packets);
        add(&self.superpackets, usize::from(packets > 1));
    }
}

impl WriteCounters {
    pub(super) fn count(&self, flushed: &Flushed) {
        add(&self.packets, flushed.packets);
        add(&self.superpackets, flushed.superpackets);
        add(&self.down, flushed.down);
        add(&self.refused, flushed.refused);
    }
}

pub(super) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}
