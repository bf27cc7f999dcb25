//! Time: the benchmark's clock, lengths of time on the command line, and waiting until something is so.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long any one condition may take to come true; fastd repeats a handshake that was lost after 20 s.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until there is something to see, at most for [`BOUND`].
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = now() + BOUND;
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if now() > deadline {
            bail!("{what}: not within {} s", BOUND.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A length of time, as in `2` or `0.5`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let accepted = || "a number of seconds, as in 2 or 0.5".to_owned();
    let seconds = text.parse().map_err(|_| accepted())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| accepted())
}
