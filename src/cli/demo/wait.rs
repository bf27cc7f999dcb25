//! Waiting: for a condition, never longer than its bound, and never past a signal that ends the demonstration.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// How long any one condition may take to come true.
pub(super) const BOUND: Duration = Duration::from_secs(15);

/// How long one look at a condition may block, so that a signal is obeyed soon.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// The pause between two looks at a condition that cannot itself be waited for.
const PAUSE: Duration = Duration::from_millis(2);

/// The signals that end the demonstration: held back, so that everything can be removed first.
pub(super) struct Watch {
    signals: SignalFd,
    held: SigSet,
    /// The number of the signal that came, or 0.
    caught: AtomicI32,
}

impl Watch {
    /// Holds the signals back from this thread, and from those it makes later.
    pub(super) fn new() -> Result<Self> {
        let held = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        held.thread_block().context("cannot hold signals back")?;
        let signals = SignalFd::with_flags(&held, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot wait for signals")?;
        Ok(Self { signals, held, caught: AtomicI32::new(0) })
    }

    /// The signal that came, if any did.
    pub(super) fn caught(&self) -> Option<Signal> {
        if let Ok(Some(info)) = self.signals.read_signal() {
            // The numbers of signals are small.
            self.caught.store(info.ssi_signo as i32, Ordering::Relaxed);
        }
        Signal::try_from(self.caught.load(Ordering::Relaxed)).ok()
    }

    /// An error if a signal came.
    pub(super) fn check(&self) -> Result<()> {
        match self.caught() {
            Some(signal) => bail!("interrupted by {signal}"),
            None => Ok(()),
        }
    }

    /// Lets the signal that came, if any, do what it does to a process that does not catch it.
    pub(super) fn obey(&self) {
        if let Some(signal) = self.caught() {
            // If either fails, the process ends with the error of the interrupted story instead.
            let _ = raise(signal);
            let _ = self.held.thread_unblock();
        }
    }

    /// Looks until there is something to see, at most for [`BOUND`]; `look` may block for [`LOOK`].
    pub(super) fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = now() + BOUND;
        loop {
            self.check()?;
            if let Some(seen) = look()? {
                return Ok(seen);
            }
            if now() > deadline {
                bail!("{what}: not within {} s", BOUND.as_secs());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The demonstration's clock.
#[expect(clippy::disallowed_methods, reason = "the demonstration measures")]
pub(super) fn now() -> Instant {
    Instant::now()
}
