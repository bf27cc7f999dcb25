//! The service manager: readiness and status to it, signals from it.

use std::io;
use std::time::Duration;

use nix::sys::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SigSet};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the daemon obeys.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    restart: Signal,
    hangup: Signal,
}

/// What a signal tells the daemon to do.
pub(super) enum Told {
    /// To end; the signal's name.
    Stop(&'static str),
    /// To end, and leave to the next process what it finds (`RestartKillSignal=` of systemd.kill(5)).
    Restart,
    /// To read its file anew.
    Reload,
}

impl Signals {
    /// Listens from now on. To be called on the runtime.
    pub(super) fn listen() -> io::Result<Self> {
        // Whoever started us may have left them blocked.
        SigSet::from_iter([SIGTERM, SIGINT, SIGUSR1, SIGHUP]).thread_unblock()?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            restart: signal(SignalKind::user_defined1())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.restart.recv() => Told::Restart,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}

/// Tells the service manager, if there is one, that the daemon is ready.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// How often the service manager wants to hear that the daemon is alive, if it does.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Tells the service manager that the daemon is alive.
pub(super) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// Tells the service manager that the file is being read anew; [`ready`] tells the end of that.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be told"),
    }
}

/// Tells the service manager that the daemon is ending.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
