//! What the tests of several rooms need: a network of their own, a runtime, and a word where they are skipped.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sched::{CloneFlags, unshare};

/// Says what `test` misses here, which is to end then; with `TUNNELD_TEST_REQUIRE=all` that is a failure.
pub(crate) fn skip(test: &str, missing: impl Display) {
    let required = std::env::var_os("TUNNELD_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(!required, "{test}: {missing} is required");
    // Past the harness, which shows only what failing tests print.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {missing}");
}

/// Runs `body` on a thread that has a network of its own: a loopback interface, still down. Without the right to
/// make one the test is skipped.
pub(crate) fn in_own_network<T: Send>(test: &str, body: impl FnOnce() -> T + Send) -> Option<T> {
    let run = || unshare(CloneFlags::CLONE_NEWNET).map(|()| body());
    match std::thread::scope(|scope| scope.spawn(run).join()) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(errno)) => {
            skip(test, format_args!("a network namespace ({errno})"));
            None
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs a future on the calling thread, whose namespace its netlink sockets belong to.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a counter says now.
pub(crate) fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
