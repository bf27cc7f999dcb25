//! Ctrl-C: whatever the benchmark is doing, its programs and namespaces are removed before it ends.

use std::process::exit;
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

/// Waits in a thread of its own for a signal that ends programs, cleans up and obeys.
///
/// To be called before there are other threads: they must not take the signals.
pub(crate) fn clean_up_with(clean_up: fn()) -> Result<()> {
    let held = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    held.thread_block().context("cannot hold signals back")?;
    thread::spawn(move || {
        if let Ok(signal) = held.wait() {
            clean_up();
            // As a shell reports a program that a signal ended.
            exit(128 + signal as i32);
        }
    });
    Ok(())
}

/// Lets all signals through again, in a thread that is about to become another program.
pub(crate) fn release() -> Result<()> {
    SigSet::empty().thread_set_mask().context("cannot let signals through")
}
