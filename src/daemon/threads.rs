//! How the three threads wake and stop each other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use tokio::sync::Notify;

use super::backoff::Backoff;

/// One for each daemon.
pub(crate) struct Threads {
    stopping: AtomicBool,
    /// Wakes control.
    pub(crate) control: Notify,
    /// Wakes outbound.
    pub(crate) outbound: Wake,
    /// Wakes inbound.
    pub(crate) inbound: Wake,
}

impl Threads {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            stopping: AtomicBool::new(false),
            control: Notify::new(),
            outbound: Wake::new()?,
            inbound: Wake::new()?,
        })
    }

    /// Whether each data thread has turned since the last call, which asks both to turn again.
    pub(crate) fn turn(&self) -> bool {
        let threads = [&self.outbound, &self.inbound];
        let turned = threads.map(|wake| wake.turned.swap(false, Ordering::Relaxed));
        threads.into_iter().for_each(Wake::wake);
        turned == [true; 2]
    }

    /// Tells the data threads to end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.outbound.wake();
        self.inbound.wake();
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// Wakes a thread out of [`wait`].
pub(crate) struct Wake {
    event: EventFd,
    /// The thread has seen a wake, or has just been started.
    turned: AtomicBool,
}

impl Wake {
    fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags)?;
        Ok(Self { event, turned: AtomicBool::new(true) })
    }

    pub(crate) fn wake(&self) {
        // It can only fail for a counter that is full: then the thread is being woken already.
        let _ = self.event.write(1);
    }

    /// Forgets past wakes; whether there were any.
    pub(crate) fn take(&self) -> bool {
        self.turned.store(true, Ordering::Relaxed);
        self.event.read().is_ok()
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Waits until one of `fds` is readable or in error, or for `timeout` if there is one; which of them are. The caller puts
/// its [`Wake`] among them.
pub(crate) fn wait<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    match ppoll(&mut polled, timeout.map(TimeSpec::from_duration), None) {
        Ok(_) => Ok(polled.map(|fd| fd.any().unwrap_or(true))),
        Err(Errno::EINTR) => Ok([false; N]),
        Err(errno) => Err(errno.into()),
    }
}

/// From now on this thread, when it is woken, waits for the slice of whoever runs to end (`SCHED_BATCH`, sched(7)); an idle
/// processor takes it at once. A policy that somebody chose for this process stays. docs/architecture.md has the reason.
#[expect(unsafe_code, reason = "nix has no such calls")]
pub(crate) fn preempt_nobody() {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the first call has no pointers; the second reads the parameter and has done so when it returns; 0 is this thread.
    let result = unsafe {
        if libc::sched_getscheduler(0) != libc::SCHED_OTHER {
            return;
        }
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameter)
    };
    if let Err(errno) = Errno::result(result) {
        tracing::debug!(%errno, "no SCHED_BATCH");
    }
}

/// Pauses after an error that may repeat: none is final, and none may spin.
pub(crate) struct Pause(Backoff);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(Backoff::new(Duration::from_millis(1), Duration::from_secs(1)))
    }

    /// It works again.
    pub(crate) fn end(&mut self) {
        self.0.reset();
    }

    /// Waits, longer with each error, or until `wake` is given.
    pub(crate) fn wait(&mut self, wake: &Wake) -> io::Result<()> {
        wait([wake.as_fd()], Some(self.0.pause())).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    /// The scheduling policy of this thread: field 41 of proc_pid_stat(5), of which the second ends with a parenthesis.
    fn policy() -> libc::c_int {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, from_third) = stat.rsplit_once(") ").unwrap();
        from_third.split(' ').nth(41 - 3).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_that_preempts_nobody_is_a_batch_thread_unless_somebody_chose_otherwise() {
        let of_new_thread = |prepare: fn()| {
            let prepared = move || {
                prepare();
                preempt_nobody();
                policy()
            };
            thread::spawn(prepared).join().unwrap()
        };
        assert_eq!(of_new_thread(|| ()), libc::SCHED_BATCH);
        assert_eq!(of_new_thread(choose_idle), libc::SCHED_IDLE);
    }

    #[expect(unsafe_code, reason = "nix has no such call")]
    fn choose_idle() {
        let parameter = libc::sched_param { sched_priority: 0 };
        // SAFETY: as in `preempt_nobody`.
        let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) };
        assert_eq!(result, 0);
    }

    #[test]
    fn a_thread_that_sees_no_wake_does_not_turn() {
        let threads = Threads::new().unwrap();
        assert!(threads.turn(), "both have just been started");
        assert!(!threads.turn());
        threads.inbound.take();
        assert!(!threads.turn(), "one of them is not enough");
        threads.inbound.take();
        threads.outbound.take();
        assert!(threads.turn());
    }

    #[test]
    fn a_wake_is_seen_once_however_often_it_was_given() {
        let wake = Wake::new().unwrap();
        assert_eq!(wait([wake.as_fd()], Some(Duration::ZERO)).unwrap(), [false]);
        wake.wake();
        wake.wake();
        assert_eq!(wait([wake.as_fd()], None).unwrap(), [true]);
        assert!(wake.take());
        assert!(!wake.take());
    }
}
