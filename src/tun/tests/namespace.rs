//! Tests on real devices: each in a network namespace of its own, or skipped with a word.

use std::path::Path;

use nix::sched::{CloneFlags, unshare};

/// Runs `body` on a thread in a new network namespace. Without the rights, or the driver, it says so and returns;
/// with `TUNNELD_TEST_REQUIRE=all` that is a failure.
pub(in crate::tun) fn in_namespace<T: Send>(
    test: &str,
    body: impl FnOnce() -> T + Send,
) -> Option<T> {
    if !Path::new("/dev/net/tun").exists() {
        skipped(test, "/dev/net/tun is missing");
        return None;
    }
    let run = || match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => Ok(body()),
        Err(errno) => Err(errno),
    };
    match std::thread::scope(|scope| scope.spawn(run).join()) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(errno)) => {
            skipped(test, &format!("a network namespace cannot be made: {errno}"));
            None
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs a future on the calling thread, whose namespace its netlink sockets belong to.
pub(in crate::tun) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn skipped(test: &str, missing: &str) {
    let required = std::env::var_os("TUNNELD_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(!required, "{test}: {missing}");
    eprintln!("SKIPPED: {test}: {missing}");
}
