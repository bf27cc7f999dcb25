//! What the tests of several rooms need: a network of their own, a runtime, a word where they are skipped, and
//! the processor's instructions, counted.

use std::fmt::Display;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

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

/// Set in the process that [`instructions`] begins.
const COUNTED: &str = "TUNNELD_TEST_COUNTED";

/// How many instructions the processor takes for `work` in each of `cases`, in the test whose path is `test`: it
/// is run again, alone in a process of its own, and led through `work` instruction by instruction.
pub(crate) fn instructions<C>(test: &str, cases: &[C], work: impl Fn(&C)) -> Vec<u64> {
    if std::env::var_os(COUNTED).is_some() {
        cases.iter().for_each(&work); // What is found out once (about the processor, say) is found out here.
        ptrace::traceme().unwrap();
        // One more, that the last is followed by a stop as the others are.
        for turn in 0..cases.len() + 1 {
            raise(Signal::SIGSTOP).unwrap();
            work(&cases[turn % cases.len()]);
        }
        std::process::exit(0);
    }
    // The harness leaves the crate's name out.
    let (_, test) = test.split_once("::").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(COUNTED, "")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The test runs on a thread of the child; no other child of this process is waited for.
    let wait = || {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        match waitpid(None, Some(flags)).unwrap() {
            WaitStatus::Stopped(thread, signal) => Some((thread, signal)),
            _ => None,
        }
    };
    let (thread, _) = wait().expect("the test stops before the first case");
    let counts = cases.iter().map(|_| {
        let mut count = 0;
        loop {
            ptrace::step(thread, None).unwrap();
            if wait().expect("the test stops after each case").1 == Signal::SIGSTOP {
                return count;
            }
            count += 1;
        }
    });
    let counts = counts.collect();
    ptrace::detach(thread, None).unwrap();
    assert!(child.wait().unwrap().success());
    counts
}
