//! What control and a data thread share of one direction's limit: the limit itself, and what waits because of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::{Shaper, Tally};
use crate::config::{self, Rate};
use crate::proto::Instant;

/// The limits of both directions.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) outbound: Gate,
    pub(crate) inbound: Gate,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Gate {
    seed: u64,
    /// In bits per second; 0 is none.
    limit: AtomicU64,
    packets: AtomicUsize,
    bytes: AtomicUsize,
    marked: AtomicU64,
}

/// A limited direction, as a status tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shaped {
    /// The limit, all headers of the underlay's IP packets included.
    pub(crate) limit_bits_per_second: u64,
    /// Packets that wait.
    pub(crate) waiting_packets: u64,
    /// Their bytes.
    pub(crate) waiting_bytes: u64,
    /// Packets that were marked as congested.
    pub(crate) marked_packets: u64,
}

impl Limits {
    /// The limits of a configuration; `seeds` are random.
    pub(crate) fn new(shaping: &config::Shaping, seeds: [u64; 2]) -> Self {
        let [outbound, inbound] = seeds.map(Gate::new);
        let limits = Self { outbound, inbound };
        limits.take_on(shaping);
        limits
    }

    /// Takes on what the configuration says now. The data threads are to be woken.
    pub(crate) fn take_on(&self, shaping: &config::Shaping) {
        self.outbound.set(shaping.rate_limit_out);
        self.inbound.set(shaping.rate_limit_in);
    }
}

impl Gate {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            limit: AtomicU64::new(0),
            packets: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            marked: AtomicU64::new(0),
        }
    }

    fn set(&self, limit: Option<Rate>) {
        self.limit.store(limit.map_or(0, Rate::bits_per_second), Ordering::Relaxed);
    }

    /// Whether there is no limit.
    pub(crate) fn is_open(&self) -> bool {
        self.limit.load(Ordering::Relaxed) == 0
    }

    /// What there is to tell; `None` without a limit.
    pub(crate) fn status(&self) -> Option<Shaped> {
        let limit = Rate::from_bits_per_second(self.limit.load(Ordering::Relaxed))?;
        Some(Shaped {
            limit_bits_per_second: limit.bits_per_second(),
            waiting_packets: self.packets.load(Ordering::Relaxed) as u64,
            waiting_bytes: self.bytes.load(Ordering::Relaxed) as u64,
            marked_packets: self.marked.load(Ordering::Relaxed),
        })
    }

    /// Lets a data thread's shaper follow the limit: to be called before each batch. What waits goes on waiting under
    /// another limit; without one it may go at once, and once it has gone there is no shaper.
    pub(crate) fn follow(&self, shaper: &mut Option<Shaper>, now: Instant) {
        let limit = self.limit.load(Ordering::Relaxed);
        if shaper.is_none() && limit == 0 {
            return;
        }
        match (&mut *shaper, Rate::from_bits_per_second(limit)) {
            (Some(shaper), limit) if limit.is_some() || shaper.waiting().0 > 0 => {
                if limit != shaper.limit() {
                    shaper.set_limit(limit);
                }
            }
            (_, limit) => *shaper = limit.map(|limit| Shaper::new(limit, self.seed, now)),
        }
    }

    /// Tells what a data thread's shaper did in a batch; how many packets it discarded.
    pub(crate) fn tell(&self, shaper: &mut Shaper) -> u64 {
        let (packets, bytes) = shaper.waiting();
        let Tally { discarded, marked } = shaper.take_tally();
        self.packets.store(packets, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.marked.fetch_add(marked as u64, Ordering::Relaxed);
        discarded as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::shaper::Arrival;

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    fn limited(bits: Option<u64>) -> config::Shaping {
        let rate_limit_out = bits.and_then(Rate::from_bits_per_second);
        config::Shaping { rate_limit_out, ..config::Shaping::default() }
    }

    #[test]
    fn without_a_limit_there_is_no_shaper() {
        let limits = Limits::new(&limited(None), [1, 2]);
        let mut shaper = None;
        limits.outbound.follow(&mut shaper, NOW);
        assert!(shaper.is_none());
        assert_eq!(limits.outbound.status(), None);
    }

    #[test]
    fn what_waits_lives_on_through_other_limits_and_goes_at_once_without_one() {
        let limits = Limits::new(&limited(Some(8_000)), [1, 2]);
        let Limits { outbound, inbound } = &limits;
        let mut shaper = None;
        outbound.follow(&mut shaper, NOW);
        let waiting = shaper.as_mut().unwrap();
        for _ in 0..10 {
            waiting.push(NOW, Arrival { len: 100, cost: 160, ip_at: 0 }, |_| ());
        }
        assert!(waiting.release(NOW, |_| ()));
        assert!(!waiting.release(NOW, |_| ()));
        limits.take_on(&limited(Some(1_000_000)));
        outbound.follow(&mut shaper, NOW);
        let waiting = shaper.as_mut().unwrap();
        assert_eq!(outbound.tell(waiting), 0);
        let shaped = outbound.status().unwrap();
        assert_eq!((shaped.limit_bits_per_second, shaped.waiting_packets), (1_000_000, 9));
        assert_eq!(shaped.waiting_bytes, 900);

        limits.take_on(&limited(None));
        outbound.follow(&mut shaper, NOW);
        let waiting = shaper.as_mut().unwrap();
        assert!(waiting.release_at().is_some_and(|at| at <= NOW));
        assert_eq!((0..20).filter(|_| waiting.release(NOW, |_| ())).count(), 9);
        outbound.follow(&mut shaper, NOW);
        assert!(shaper.is_none());
        inbound.follow(&mut shaper, NOW);
        assert!(shaper.is_none(), "a direction has its own limit");
    }
}
