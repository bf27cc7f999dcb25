//! Whether datagrams may leave with UDP GSO: what a socket remembers of the kernel's refusals.
//!
//! A refusal may be the route's (its MTU, its device without checksum offload), and routes change. So it is not for good:
//! after [`RETRY_AFTER`] runs without GSO, one is sent with it again. If that is refused too, it cost one call.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Runs without GSO until it is tried again: some tenths of a second at full speed, and a call in vain among so many
/// that nobody notices it.
pub(super) const RETRY_AFTER: usize = 1000;

/// The limit of one socket.
#[derive(Debug)]
pub(super) struct GsoLimit {
    /// Whether it may be used at all.
    enabled: bool,
    /// The longest datagrams that may leave with it.
    longest: AtomicUsize,
    /// Runs of longer ones since the last refusal.
    runs_without: AtomicUsize,
    told: AtomicBool,
}

impl GsoLimit {
    /// No limit, or no GSO at all.
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            longest: AtomicUsize::new(usize::MAX),
            runs_without: AtomicUsize::new(0),
            told: AtomicBool::new(false),
        }
    }

    /// Whether it may be used at all.
    pub(super) fn enabled(&self) -> bool {
        self.enabled
    }

    /// Whether the next run may leave with GSO, if its datagrams have `len` bytes.
    pub(super) fn allows(&self, len: usize) -> bool {
        if !self.enabled || len <= self.longest.load(Ordering::Relaxed) {
            return self.enabled;
        }
        if self.runs_without.fetch_add(1, Ordering::Relaxed) < RETRY_AFTER {
            return false;
        }
        self.longest.store(usize::MAX, Ordering::Relaxed);
        true
    }

    /// From now on, for a while, only datagrams of up to `longest` bytes leave with GSO.
    pub(super) fn limit(&self, longest: usize, reason: &str, remote: SocketAddr) {
        self.longest.fetch_min(longest, Ordering::Relaxed);
        self.runs_without.store(0, Ordering::Relaxed);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                reason,
                longest,
                %remote,
                "the kernel refused UDP GSO: longer datagrams are sent one by one for a while, at a lower speed"
            );
        }
    }
}
