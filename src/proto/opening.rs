//! What control wants of inbound: which sessions it opens datagrams of, and that it forgets a peer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::session::OpeningHalf;

/// What control wants of inbound: which opening halves there are to be.
#[derive(Default)]
pub(crate) struct OpeningOrders {
    changed: AtomicBool,
    wanted: Mutex<Wanted>,
}

/// At most three halves: they are kept to `live`, which has one for each session slot.
#[derive(Default)]
struct Wanted {
    added: Vec<OpeningHalf>,
    live: Vec<u32>,
    /// The peer is another one than before.
    other_peer: bool,
}

impl OpeningOrders {
    /// Adds `half`, if any, and keeps only those with an index in `live`; the others are erased.
    pub(crate) fn give(&self, half: Option<OpeningHalf>, live: impl Iterator<Item = u32>) {
        let mut wanted = self.wanted();
        let Wanted { added, live: kept, .. } = &mut *wanted;
        *kept = live.collect();
        added.extend(half);
        added.retain(|half| kept.contains(&half.local_index()));
        self.changed.store(true, Ordering::Release);
    }

    /// Whatever inbound knows of the peer is to be forgotten: it is another one. To be called when all halves were taken away.
    pub(crate) fn forget_peer(&self) {
        self.wanted().other_peer = true;
        self.changed.store(true, Ordering::Release);
    }

    /// Carries the orders out on `halves`; whether the peer is another one since the last time.
    pub(crate) fn apply(&self, halves: &mut Vec<OpeningHalf>) -> bool {
        let mut wanted = self.wanted();
        self.changed.store(false, Ordering::Relaxed);
        halves.append(&mut wanted.added);
        halves.retain(|half| wanted.live.contains(&half.local_index()));
        std::mem::take(&mut wanted.other_peer)
    }

    /// Does `act` if there is still to be a half of this index, which control cannot take away meanwhile; whether there is.
    pub(crate) fn if_live(&self, local_index: u32, act: impl FnOnce()) -> bool {
        let wanted = self.wanted();
        let live = wanted.live.contains(&local_index);
        if live {
            act();
        }
        live
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are orders.
    pub(crate) fn pending(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }
}
