//! TAI64N timestamps of initiations, as the Linux kernel makes them: whole steps of 2^24 ns, so that they do
//! not tell how long anything takes; and never going back, whatever the wall clock does.

use std::time::Duration;

use super::constants::REJECT_AFTER_TIME;

/// The wire form: 8 bytes of seconds and 4 of nanoseconds, big-endian, so that it compares as bytes.
pub(crate) type Timestamp = [u8; 12];

/// TAI64 label of 1970-01-01 00:00:00 as the kernel has it: 10 s of leap seconds and no later ones.
const TAI64_EPOCH: u64 = 0x4000_0000_0000_000a;
/// Resolution of a timestamp, in nanoseconds: finer than the least time between two initiations.
const STEP: u32 = 1 << 24;

/// How much newer the newest timestamp of an earlier run may have been than the newest that was kept of it: longer than two
/// sessions begin apart.
const UNKEPT: u64 = REJECT_AFTER_TIME.as_secs();

/// Makes each timestamp greater than the one before.
#[derive(Default)]
pub(crate) struct Timestamps {
    /// Seconds and nanoseconds of the last one.
    last: Option<(u64, u32)>,
    /// It is of an earlier run, as far as it was kept.
    resumed: bool,
}

impl Timestamps {
    /// Goes on after `last`, the newest that was kept of an earlier run.
    pub(crate) fn after(last: Option<Duration>) -> Self {
        let last = last.map(|last| (last.as_secs(), last.subsec_nanos() & !(STEP - 1)));
        Self { last, resumed: true }
    }

    /// The newest timestamp, as a time since 1970.
    pub(crate) fn last(&self) -> Option<Duration> {
        self.last.map(|(seconds, nanos)| Duration::new(seconds, nanos))
    }

    /// The timestamp for wall time `unix`; one step after the last one if the clock does not say more.
    pub(crate) fn next(&mut self, unix: Duration) -> Timestamp {
        let wall = (unix.as_secs(), unix.subsec_nanos() & !(STEP - 1));
        let resumed = std::mem::take(&mut self.resumed);
        let next = match self.last {
            // The clock is behind an earlier run's, whose last timestamps may not have been kept.
            Some((seconds, nanos)) if resumed && wall <= (seconds, nanos) => {
                (seconds.saturating_add(UNKEPT), nanos)
            }
            Some(last) => wall.max(step_after(last)),
            None => wall,
        };
        self.last = Some(next);
        let (seconds, nanos) = next;
        let mut timestamp = [0; 12];
        timestamp[..8].copy_from_slice(&TAI64_EPOCH.wrapping_add(seconds).to_be_bytes());
        timestamp[8..].copy_from_slice(&nanos.to_be_bytes());
        timestamp
    }
}

fn step_after((seconds, nanos): (u64, u32)) -> (u64, u32) {
    match nanos.saturating_add(STEP) {
        whole if whole >= 1_000_000_000 => (seconds.saturating_add(1), 0),
        part => (seconds, part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_has_the_kernels_base_and_resolution() {
        let timestamp = Timestamps::default().next(Duration::new(1, 123_456_789));
        assert_eq!(timestamp[..8], [0x40, 0, 0, 0, 0, 0, 0, 0x0b]);
        let nanos = u32::from_be_bytes(timestamp[8..].try_into().unwrap());
        assert_eq!(nanos, 7 * 16_777_216);
    }

    #[test]
    fn two_in_one_instant_are_a_step_apart_and_past_the_last_step_the_next_second_begins() {
        let mut timestamps = Timestamps::default();
        let mut at = |nanos| timestamps.next(Duration::new(1, nanos));
        let parts = |timestamp: Timestamp| -> (u8, u32) {
            (timestamp[7], u32::from_be_bytes(timestamp[8..].try_into().unwrap()))
        };
        assert_eq!(parts(at(0)), (0x0b, 0));
        assert_eq!(parts(at(0)), (0x0b, STEP));
        assert_eq!(parts(at(999_999_999)), (0x0b, 59 * STEP));
        assert_eq!(parts(at(999_999_999)), (0x0c, 0));
    }

    #[test]
    fn timestamps_grow_while_the_clock_stands_or_goes_back() {
        let mut timestamps = Timestamps::default();
        let mut last = timestamps.next(Duration::from_secs(1_000_000));
        for unix in [1_000_000, 1_000_000, 999_000, 0].into_iter().cycle().take(400) {
            let next = timestamps.next(Duration::from_secs(unix));
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn after_a_restart_timestamps_go_on_where_they_ended() {
        let kept = Duration::new(1_800_000_000, 5 * STEP);
        let mut timestamps = Timestamps::after(Some(kept));
        assert_eq!(timestamps.last(), Some(kept));
        timestamps.next(Duration::from_secs(1_700_000_000));
        let beyond = kept + Duration::from_secs(UNKEPT);
        assert_eq!(timestamps.last(), Some(beyond));
        timestamps.next(Duration::from_secs(1_700_000_001));
        assert_eq!(timestamps.last(), Some(beyond + Duration::from_nanos(STEP.into())));
    }

    #[test]
    fn after_a_restart_a_clock_that_goes_right_is_followed() {
        let kept = Duration::from_secs(1_800_000_000);
        let mut timestamps = Timestamps::after(Some(kept));
        timestamps.next(kept + Duration::from_secs(1));
        assert_eq!(timestamps.last(), Some(kept + Duration::from_secs(1)));
    }

    #[test]
    fn a_clock_put_forward_is_followed_at_once() {
        let mut timestamps = Timestamps::default();
        timestamps.next(Duration::from_secs(0));
        let corrected = timestamps.next(Duration::from_secs(1_800_000_000));
        assert_eq!(corrected, Timestamps::default().next(Duration::from_secs(1_800_000_000)));
    }
}
