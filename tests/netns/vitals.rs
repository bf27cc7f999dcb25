//! What a daemon holds and uses: after every fault it must be what it was before.

use std::fs;

use super::lab::{Host, INNER_A, Lab};
use super::process::{BOUND, Process, wait_until};

/// Most memory that may have come on top, in KiB.
const MEMORY: u64 = 8 * 1024;

/// Most processor time that an idle daemon uses in a second, in ticks of ten milliseconds.
const IDLE: u64 = 20;

/// What the names of those threads begin with that the runtime keeps for ten seconds after it had work for them: writing a
/// file, asking for a name.
const PASSING: &str = "tokio";

/// Open files, threads, memory.
pub(crate) struct Vitals {
    files: usize,
    /// Of those that last.
    threads: usize,
    /// Resident, in KiB.
    memory: u64,
}

impl Vitals {
    pub(crate) fn of(daemon: &Process) -> Self {
        let list = |what| fs::read_dir(file(daemon, what)).expect("it runs").flatten();
        let names = list("task").flat_map(|thread| fs::read_to_string(thread.path().join("comm")));
        let threads = names.filter(|name| !name.starts_with(PASSING)).count();
        Self { files: list("fd").count(), threads, memory: memory(daemon, "VmRSS:") }
    }

    /// Fails unless the daemon on host a holds, sooner or later, no more than it held at that time, and is idle again.
    pub(crate) fn are_back(&self, lab: &Lab, daemon: &Process) {
        let back = wait_until(BOUND, || {
            let now = Self::of(daemon);
            now.files <= self.files
                && now.threads <= self.threads
                && now.memory < self.memory + MEMORY
        });
        let now = Self::of(daemon);
        assert!(
            back,
            "files {} and now {}, threads {} and {}, memory {} and {} KiB",
            self.files, now.files, self.threads, now.threads, self.memory, now.memory
        );
        is_idle(lab, daemon);
    }
}

/// Fails unless the daemon on host a leaves the processor alone while host b sends it a few pings within a second.
pub(crate) fn is_idle(lab: &Lab, daemon: &Process) {
    let before = ticks(daemon);
    lab.ping(Host::B, &format!("-c 5 -i 0.25 -W 1 {}", INNER_A[0]));
    let used = ticks(daemon) - before;
    assert!(used < IDLE, "{used} ticks in a second\n{}", daemon.said());
}

/// Processor time so far: utime and stime of proc_pid_stat(5).
pub(crate) fn ticks(daemon: &Process) -> u64 {
    let stat = fs::read_to_string(file(daemon, "stat")).expect("it runs");
    let (_, from_third) = stat.rsplit_once(") ").expect("the name is in parentheses");
    let fields = from_third.split(' ').skip(14 - 3).take(2);
    fields.map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// How much memory a daemon holds at the most from now on.
pub(crate) struct Peak {
    before: u64,
}

impl Peak {
    pub(crate) fn of(daemon: &Process) -> Self {
        // The peak begins anew: proc_pid_clear_refs(5).
        fs::write(file(daemon, "clear_refs"), "5").expect("we are root");
        Self { before: memory(daemon, "VmRSS:") }
    }

    /// Fails if it was ever more than a little beyond what it was.
    pub(crate) fn grew_little(&self, daemon: &Process) {
        let (before, peak) = (self.before, memory(daemon, "VmHWM:"));
        assert!(peak < before + MEMORY, "{before} KiB grew to {peak}");
    }
}

/// A line about memory of proc_pid_status(5), in KiB.
fn memory(daemon: &Process, name: &str) -> u64 {
    let status = fs::read_to_string(file(daemon, "status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.trim_end_matches("kB").trim().parse().expect("a number")
}

fn file(daemon: &Process, name: &str) -> String {
    format!("/proc/{}/{name}", daemon.pid())
}
