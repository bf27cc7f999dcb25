//! A child process on a leash: it is killed when the thread that started it ends, however that ends.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// Puts what `command` will start on a leash held by the thread that spawns it.
#[expect(unsafe_code, reason = "only the child itself can ask for it, between fork and exec")]
pub(super) fn tie(command: &mut Command) {
    let parent = Pid::this();
    let ask = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // A parent that died before the line above will never be noticed.
        if getppid() != parent {
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(())
    };
    // SAFETY: the closure makes two system calls, and neither allocates, locks nor touches what a thread of the parent
    // may have been changing at the fork.
    unsafe { command.pre_exec(ask) };
}
