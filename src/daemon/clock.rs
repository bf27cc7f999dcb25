//! The only clock reads, and the alarm that control sleeps by. Both count time spent in suspend.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{
    ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags,
};
use nix::time::{ClockId, clock_gettime};

use super::readable::Readable;
use crate::proto::{Instant, Now};

/// Time since boot.
pub(crate) fn boot() -> Instant {
    let since_boot = read(ClockId::CLOCK_BOOTTIME);
    Instant::from_nanos(u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX))
}

/// Both clocks.
pub(crate) fn now() -> Now {
    Now { boot: boot(), unix: read(ClockId::CLOCK_REALTIME) }
}

/// Says so if the wall clock is wrong beyond doubt: it reads less than when this version was made, or than when the `newest`
/// timestamp of an earlier run was sent. The link comes up all the same, if need be when the peer calls.
pub(super) fn check(newest: Option<Duration>) {
    let unix = now().unix;
    if is_behind(unix, newest) {
        tracing::warn!(
            seconds_since_1970 = unix.as_secs(),
            "the clock of this host is behind: is the time set, and kept over a restart?"
        );
    }
}

/// Whether a wall clock that reads `unix` is wrong beyond doubt.
pub(crate) fn is_behind(unix: Duration, newest: Option<Duration>) -> bool {
    unix < MADE || newest.is_some_and(|newest| unix < newest)
}

/// 2026-11-01: before that, this version did not exist.
const MADE: Duration = Duration::from_secs(1_793_491_200);

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock).expect("Linux has had this clock since 2.6.39");
    // Before 1970 is 1970: timestamps grow from there all the same.
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec()).unwrap_or(0))
}

/// Wakes at a moment of the boot clock.
pub(crate) struct Alarm {
    timer: TimerFd,
    /// A second descriptor of the timer, for the runtime to wait on.
    rings: Readable,
}

impl Alarm {
    /// An alarm that is not set. To be made on the runtime that waits for it.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(TimerClock::CLOCK_BOOTTIME, flags)?;
        let rings = Readable::new(timer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { timer, rings })
    }

    /// Sets it to `at` instead of what it was set to; `None` unsets it.
    pub(crate) fn set(&self, at: Option<Instant>) -> io::Result<()> {
        let Some(at) = at else { return Ok(self.timer.unset()?) };
        let at = TimeSpec::from(Duration::from_nanos(at.as_nanos().max(1)));
        Ok(self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }

    /// Waits until it rings.
    pub(crate) async fn ring(&self) -> io::Result<()> {
        self.rings.wait().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_alarm_rings_for_a_moment_that_has_passed_and_can_be_unset() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Some(boot())).unwrap();
        alarm.ring().await.unwrap();
        alarm.set(Some(boot() + Duration::from_secs(3600))).unwrap();
        alarm.set(None).unwrap();
        tokio::select! {
            biased;
            rang = alarm.ring() => panic!("an unset alarm rang: {rang:?}"),
            () = tokio::task::yield_now() => {}
        }
    }

    #[test]
    fn the_boot_clock_never_goes_back() {
        let readings: Vec<_> = (0..1000).map(|_| boot()).collect();
        assert!(readings.is_sorted());
    }
}
