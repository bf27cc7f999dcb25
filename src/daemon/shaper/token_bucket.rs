//! When the next packet may go, so that the rate is kept.

use std::time::Duration;

use crate::config::Rate;
use crate::proto::Instant;

/// How far a late release may catch up: so much of the rate may leave at once. Threads are woken late by less than
/// this, so that no rate is lost; and no queue behind us grows by more.
const BURST: Duration = Duration::from_millis(5);

/// A bucket that holds [`BURST`] of the rate, and may be overdrawn by one packet.
#[derive(Debug)]
pub(super) struct TokenBucket {
    rate: Rate,
    /// When it is no longer overdrawn.
    ready: Instant,
    /// What is lost in dividing, so that nothing is lost over time.
    remainder: u64,
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let ready = Instant::from_nanos(now.as_nanos().saturating_sub(nanos(BURST)));
        Self { rate, ready, remainder: 0 }
    }

    /// Another rate for what comes next.
    pub(super) fn set_rate(&mut self, rate: Rate) {
        (self.rate, self.remainder) = (rate, 0);
    }

    /// From when on a packet may go.
    pub(super) fn ready_at(&self) -> Instant {
        self.ready
    }

    /// A packet of so many bytes goes.
    pub(super) fn take(&mut self, now: Instant, bytes: usize) {
        let full = now.as_nanos().saturating_sub(nanos(BURST));
        let from = self.ready.as_nanos().max(full);
        let rate = self.rate.bits_per_second();
        let owed = (bytes as u64).saturating_mul(NANOS_IN_BITS).saturating_add(self.remainder);
        self.remainder = owed.checked_rem(rate).unwrap_or(0);
        let wait = owed.checked_div(rate).unwrap_or(0);
        self.ready = Instant::from_nanos(from.saturating_add(wait));
    }
}

/// Eight bits of a byte, and the nanoseconds of a second.
const NANOS_IN_BITS: u64 = 8 * 1_000_000_000;

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(bits: u64) -> TokenBucket {
        TokenBucket::new(Rate::from_bits_per_second(bits).unwrap(), Instant::from_nanos(SECOND))
    }

    /// The bytes that go within `span` of nanoseconds, if somebody comes whenever the bucket is ready, but later by
    /// `late`.
    fn bytes_in(
        bucket: &mut TokenBucket,
        span: u64,
        size: usize,
        late: impl Fn(u64) -> u64,
    ) -> u64 {
        let (mut now, mut bytes, mut turn) = (SECOND, 0, 0);
        while now < SECOND + span {
            bucket.take(Instant::from_nanos(now), size);
            bytes += size as u64;
            turn += 1;
            if bucket.ready_at().as_nanos() > now {
                now = bucket.ready_at().as_nanos() + late(turn);
            }
        }
        bytes
    }

    #[test]
    fn the_rate_is_exact_for_any_size_of_packets() {
        for bits in [8_000, 256_000, 20_000_000, 1_000_000_000, 99_999_999_999] {
            for size in [60, 1480, 9000] {
                // The time of 10000 packets.
                let span = 10_000 * size as u64 * NANOS_IN_BITS / bits + 1;
                let bytes = bytes_in(&mut bucket(bits), span, size, |_| 0);
                let of =
                    |span: u64| u128::from(bits) * u128::from(span) / u128::from(NANOS_IN_BITS);
                let (expected, burst) = (of(span) as u64, of(nanos(BURST)) as u64);
                let slack = size as u64 * 2 + burst;
                assert!(bytes.abs_diff(expected) <= slack, "{bits} {size}: {bytes} of {expected}");
            }
        }
    }

    #[test]
    fn coming_late_costs_no_rate_up_to_the_burst() {
        let late = |turn: u64| turn * 7919 % nanos(BURST);
        let bytes = bytes_in(&mut bucket(20_000_000), 100 * SECOND, 1480, late);
        assert!(bytes.abs_diff(250_000_000) <= 20_000, "{bytes}");
        let far_too_late = |_| 4 * nanos(BURST);
        let bytes = bytes_in(&mut bucket(20_000_000), 100 * SECOND, 1480, far_too_late);
        assert!(bytes < 125_000_000, "{bytes}");
    }

    #[test]
    fn after_a_rest_no_more_than_the_burst_goes_at_once() {
        let mut bucket = bucket(20_000_000);
        let now = Instant::from_nanos(3600 * SECOND);
        let mut bytes = 0;
        while bucket.ready_at() <= now {
            bucket.take(now, 1480);
            bytes += 1480;
        }
        assert!((12_500..12_500 + 2 * 1480).contains(&bytes), "{bytes}");
    }
}
