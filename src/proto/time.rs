//! Time as the core is told it: by value, never read.

use std::ops::Add;
use std::time::Duration;

/// A point on the clock that counts from boot, suspend included, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// `nanos` after boot.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if that lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since boot: all but timestamps follow it.
    pub boot: Instant,
    /// Since 1970 by the wall clock, which may be wrong and may jump: only for timestamps.
    pub unix: Duration,
}
