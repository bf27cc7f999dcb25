//! Controlled delay (RFC 8289): tells a flow to slow down once its packets have waited for too long for too long.

use std::time::Duration;

use crate::config::Rate;
use crate::proto::Instant;

/// RFC 8289 §4.3 and §4.4.
const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of a large packet of the usual path, on the underlay.
const LARGE: u64 = 1500;
/// The bits of one and a half such packets, by the nanoseconds of a second.
const LARGE_BIT_NANOS: u64 = LARGE * 12 * 1_000_000_000;

/// How long packets may wait at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    target: Duration,
    interval: Duration,
}

impl Pace {
    /// The pace for a rate: on a slow link one packet alone takes longer than the usual target, so the target is the
    /// time of one and a half, and the interval grows as much.
    pub(super) fn of(rate: Rate) -> Self {
        let nanos = LARGE_BIT_NANOS.checked_div(rate.bits_per_second()).unwrap_or(0);
        let target = TARGET.max(Duration::from_nanos(nanos));
        Self { target, interval: INTERVAL.saturating_add(target.saturating_sub(TARGET)) }
    }
}

/// The state of one flow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codel {
    /// When packets will have waited for too long for an interval.
    too_long_at: Option<Instant>,
    /// While congested: when to tell next.
    next: Option<Instant>,
    /// When the last congestion would have told next.
    last_next: Option<Instant>,
    /// How often this congestion told, and how often the last one had when this began.
    count: u32,
    last_count: u32,
}

impl Codel {
    /// Whether the packet that leaves now, having come at `since`, is to tell of congestion. `small` says that not
    /// more than one packet waits behind it: then it is no congestion.
    pub(super) fn tells(&mut self, now: Instant, since: Instant, small: bool, pace: Pace) -> bool {
        if now.since(since) < pace.target || small {
            self.calm();
            return false;
        }
        let too_long_at = *self.too_long_at.get_or_insert(now + pace.interval);
        match self.next {
            Some(next) if now < next => false,
            Some(next) => {
                self.count = self.count.saturating_add(1);
                self.next = Some(self.after(next, pace));
                true
            }
            None if now < too_long_at => false,
            None => {
                self.begin(now, pace);
                true
            }
        }
    }

    /// Nothing waits for too long.
    pub(super) fn calm(&mut self) {
        self.too_long_at = None;
        if let Some(next) = self.next.take() {
            self.last_next = Some(next);
        }
    }

    /// Congestion: if the last one is recent, goes on nearly as fast as that ended.
    fn begin(&mut self, now: Instant, pace: Pace) {
        let recent = pace.interval.saturating_mul(16);
        let is_recent = self.last_next.is_some_and(|last| now.since(last) < recent);
        let told = self.count.saturating_sub(self.last_count);
        self.count = if is_recent && told > 1 { told } else { 1 };
        self.last_count = self.count;
        self.next = Some(self.after(now, pace));
    }

    /// The control law: the more often it told, the sooner it does again.
    fn after(&self, time: Instant, pace: Pace) -> Instant {
        time + pace.interval.div_f64(f64::from(self.count.max(1)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { target: TARGET, interval: INTERVAL };

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(1) + Duration::from_millis(millis)
    }

    /// The milliseconds in `span` at which it tells, if a packet a millisecond leaves and each has waited for `wait`
    /// milliseconds.
    fn told(codel: &mut Codel, span: std::ops::Range<u64>, wait: u64) -> Vec<u64> {
        span.filter(|now| codel.tells(at(*now), at(*now - wait), false, PACE)).collect()
    }

    #[test]
    fn waiting_is_told_after_an_interval_and_then_more_and_more_often() {
        // The control law of RFC 8289 §3.2: 100 ms by the square root of 1, 2, 3 and so on.
        let told = told(&mut Codel::default(), 1000..1500, 50);
        assert_eq!(told, [1100, 1200, 1271, 1329, 1379, 1424, 1464]);
    }

    #[test]
    fn one_packet_in_time_ends_it() {
        let mut codel = Codel::default();
        assert_eq!(told(&mut codel, 1000..1150, 50), [1100]);
        assert!(!codel.tells(at(1150), at(1146), false, PACE));
        assert_eq!(told(&mut codel, 1151..1250, 50), [] as [u64; 0]);
        assert_eq!(told(&mut codel, 1250..1252, 50), [1251]);
    }

    #[test]
    fn soon_after_a_congestion_the_next_one_is_told_nearly_as_often() {
        let mut codel = Codel::default();
        assert_eq!(told(&mut codel, 1000..1466, 50).len(), 7);
        codel.calm();
        let again = told(&mut codel, 1500..1700, 50);
        assert_eq!(again[..3], [1600, 1641, 1679], "from the sixth on");
        codel.calm();
        let late = told(&mut codel, 9000..9250, 50);
        assert_eq!(late, [9100, 9200], "from the first on");
    }

    #[test]
    fn a_queue_of_one_packet_is_no_congestion_however_long_it_waits() {
        let mut codel = Codel::default();
        assert!((1000..2000).all(|now| !codel.tells(at(now), at(now - 500), true, PACE)));
    }

    #[test]
    fn packets_in_time_are_never_told() {
        assert!(told(&mut Codel::default(), 1000..9000, 4).is_empty());
    }

    #[test]
    fn a_slow_link_has_the_time_of_one_packet_and_a_half() {
        let pace = |bits| Pace::of(Rate::from_bits_per_second(bits).unwrap());
        assert_eq!(pace(20_000_000), PACE);
        assert_eq!(pace(3_600_000), PACE);
        let slow = pace(256_000);
        assert_eq!(slow.target, Duration::from_nanos(70_312_500));
        assert_eq!(slow.interval, Duration::from_nanos(165_312_500));
    }
}
