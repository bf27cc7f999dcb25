//! Load and what it costs a source: by the depth of the queue to control, and by the messages of a moment, whoever sent
//! them; then, for sources that proved their address with a cookie, so many messages a second (WireGuard paper §5.3).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::constants::{
    PER_SOURCE_BURST, PER_SOURCE_RATE, UNDER_LOAD_MESSAGES, UNDER_LOAD_MOMENT, UNDER_LOAD_QUEUED,
    UNDER_LOAD_TIME,
};
use super::time::Instant;

/// Most sources that are remembered; others wait until some are forgotten.
const MAX_SOURCES: usize = 8192;
/// What one message costs, in time.
const COST: Duration = Duration::from_nanos(1_000_000_000 / PER_SOURCE_RATE as u64);
/// The most time a source can save up.
const SAVINGS: Duration = Duration::from_nanos(COST.as_nanos() as u64 * PER_SOURCE_BURST as u64);
/// After this long without a message a source has all its savings again and is forgotten.
const MEMORY: Duration = Duration::from_secs(1);
const _: () = assert!(SAVINGS.as_nanos() <= MEMORY.as_nanos());

/// Tells load from calm.
#[derive(Default)]
pub(crate) struct LoadDetector {
    seen: Option<Instant>,
    /// Messages since the beginning of a moment.
    moment: Option<Instant>,
    messages: usize,
}

impl LoadDetector {
    /// Whether we are under load, with one more message to be dealt with and `queued` waiting behind it.
    pub(crate) fn under_load(&mut self, now: Instant, queued: usize) -> bool {
        if self.moment.is_none_or(|began| now.since(began) >= UNDER_LOAD_MOMENT) {
            (self.moment, self.messages) = (Some(now), 0);
        }
        self.messages = self.messages.saturating_add(1);
        if queued >= UNDER_LOAD_QUEUED || self.messages > UNDER_LOAD_MESSAGES {
            self.seen = Some(now);
        }
        self.seen.is_some_and(|seen| now.since(seen) < UNDER_LOAD_TIME)
    }
}

/// What has a token bucket of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The very address and port where the peer is: nobody else gets a cookie for it, so no neighbour of the peer's can
    /// use up what it may send.
    Peer,
    /// An IPv4 address or an IPv6 /64.
    Network(IpAddr),
}

impl Source {
    /// What a message from `from` counts for, while the peer is at `peer`.
    pub(crate) fn of(from: SocketAddr, peer: Option<SocketAddr>) -> Self {
        if Some(from) == peer { Self::Peer } else { Self::Network(network(from.ip())) }
    }
}

/// A token bucket for each source.
#[derive(Default)]
pub(crate) struct RateLimiter {
    sources: BTreeMap<Source, Bucket>,
    swept: Option<Instant>,
}

struct Bucket {
    savings: Duration,
    refilled: Instant,
}

impl RateLimiter {
    /// Whether `source` may send one more message now.
    pub(crate) fn allow(&mut self, now: Instant, source: Source) -> bool {
        self.forget_the_silent(now);
        let is_full = self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source);
        if is_full && source != Source::Peer {
            return false;
        }
        let full = Bucket { savings: SAVINGS, refilled: now };
        let bucket = self.sources.entry(source).or_insert(full);
        bucket.savings = bucket.savings.saturating_add(now.since(bucket.refilled)).min(SAVINGS);
        bucket.refilled = now;
        match bucket.savings.checked_sub(COST) {
            Some(left) => {
                bucket.savings = left;
                true
            }
            None => false,
        }
    }

    fn forget_the_silent(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.since(swept) < MEMORY) {
            return;
        }
        self.sources.retain(|_, bucket| now.since(bucket.refilled) < MEMORY);
        self.swept = Some(now);
    }
}

/// What counts as one source.
pub(crate) fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 + millis * 1_000_000)
    }

    fn host(ip: impl Into<IpAddr>) -> Source {
        Source::of(SocketAddr::new(ip.into(), 51820), None)
    }

    #[test]
    fn more_than_a_hundred_messages_in_a_tenth_of_a_second_are_load() {
        let mut load = LoadDetector::default();
        for moment in [0, 100] {
            assert!((0..100).all(|_| !load.under_load(at(moment), 0)), "a hundred at {moment} ms");
        }
        assert!(!load.under_load(at(200), 0));
        assert!((0..99).all(|_| !load.under_load(at(299), 0)));
        assert!(load.under_load(at(299), 0));
        assert!(load.under_load(at(1298), 0));
        assert!(!load.under_load(at(1299), 0));
    }

    #[test]
    fn a_neighbour_of_the_peer_uses_up_nothing_of_the_peers() {
        let mut limiter = RateLimiter::default();
        let [peer, neighbour] = [51820, 4000].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let neighbours =
            (0..100).filter(|_| limiter.allow(at(0), Source::of(neighbour, Some(peer))));
        assert_eq!(neighbours.count(), 5);
        for _ in 0..5 {
            assert!(limiter.allow(at(0), Source::of(peer, Some(peer))));
        }
        assert!(!limiter.allow(at(0), Source::of(peer, Some(peer))), "and it has its own limit");
    }

    #[test]
    fn load_begins_with_the_queue_and_lasts_a_second() {
        let mut load = LoadDetector::default();
        assert!(!load.under_load(at(0), 511));
        assert!(load.under_load(at(0), 512));
        assert!(load.under_load(at(999), 0));
        assert!(!load.under_load(at(1000), 0));
    }

    #[test]
    fn a_source_has_a_burst_of_five_and_twenty_a_second() {
        let mut limiter = RateLimiter::default();
        let source = host([10, 0, 0, 1]);
        for _ in 0..5 {
            assert!(limiter.allow(at(0), source));
        }
        assert!(!limiter.allow(at(0), source));
        assert!(!limiter.allow(at(49), source));
        assert!(limiter.allow(at(51), source));
        let allowed = (0..10_000).filter(|n| limiter.allow(at(51 + n), source)).count();
        assert!((195..=205).contains(&allowed), "{allowed} in ten seconds");
    }

    #[test]
    fn an_ipv6_source_is_its_first_64_bits() {
        let mut limiter = RateLimiter::default();
        for number in 0..5u128 {
            assert!(limiter.allow(at(0), host(Ipv6Addr::from_bits(1 << 64 | number))));
        }
        assert!(!limiter.allow(at(0), host(Ipv6Addr::from_bits(1 << 64 | 99))));
        assert!(limiter.allow(at(0), host(Ipv6Addr::from_bits(2 << 64))));
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let mut limiter = RateLimiter::default();
        for source in 0..20_000u32 {
            limiter.allow(at(0), host(Ipv4Addr::from_bits(source)));
        }
        assert_eq!(limiter.sources.len(), MAX_SOURCES);
        assert!(limiter.allow(at(0), Source::Peer), "there is always room for the peer");
        assert!(limiter.allow(at(0), host([0, 0, 0, 1])));
        assert!(!limiter.allow(at(0), host([0, 0, 78, 31])));
        assert!(limiter.allow(at(1000), host([0, 0, 78, 31])));
        assert_eq!(limiter.sources.len(), 1);
        limiter.allow(at(5000), host([0, 0, 0, 2]));
        assert_eq!(limiter.sources.len(), 1);
    }
}
