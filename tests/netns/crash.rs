//! Ends without notice, again and again: each leaves no core file, and nothing that hinders the next start.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::config::{End, ends};
use super::lab::{Host, INNER_B, Lab, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, Process};

/// A daemon is ready after some fifty milliseconds; killed within these, it may be anywhere.
const LIFE: Duration = Duration::from_millis(100);

/// What any of them says when something is in its way.
const ERROR: &str = "error";

/// Both ends, where a also makes a route.
fn routed_ends() -> [End; 2] {
    let mut ends = ends(direct_v4);
    ends[0].allowed_ips = Some(vec!["10.77.0.0/30", "fd77::/64", "192.168.7.0/24"]);
    ends
}

/// Numbers that look random, the same in every run.
fn random(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = seed;
    move |below| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(state >> 33).expect("it has 31 bits") % below
    }
}

/// Starts a daemon on host a so many times, and kills it at some instant of its start, its run or, if it is told to stop first,
/// its end. None may find anything in its way.
fn kill_again_and_again(lab: &Lab, end: &End, times: u32) {
    let mut random = random(times.into());
    let mut ran = 0;
    for _ in 0..times {
        let mut daemon = lab.start(Host::A, end);
        if random(4) == 0 {
            daemon.wait_for(STARTED);
            daemon.signal(Signal::SIGTERM);
        }
        let instant = LIFE * random(1000) / 1000;
        assert!(!daemon.says(ERROR, instant), "{}", daemon.said());
        // It may be at its end already.
        daemon.signal(Signal::SIGKILL);
        let status = daemon.end(BOUND);
        let killed = status.signal() == Some(Signal::SIGKILL as i32);
        assert!(killed || status.code() == Some(0), "{status}: {}", daemon.said());
        ran += u32::from(daemon.says(STARTED, Duration::ZERO));
    }
    assert!(
        ran > times / 8 && ran < times,
        "some were killed before they ran: {ran} of {times} ran"
    );
}

#[test]
fn after_two_hundred_kills_at_any_instant_the_next_start_is_clean() {
    needs!("ping");
    let lab = Lab::direct();
    let ends = routed_ends();
    let _b = lab.start(Host::B, &ends[1]);
    let before = lab.network(Host::A);
    kill_again_and_again(&lab, &ends[0], 200);
    assert_eq!(lab.network(Host::A), before);
    let a = lab.start(Host::A, &ends[0]);
    assert!(lab.pings(Host::A, INNER_B[0]));
    stop(a);
    assert_eq!(lab.network(Host::A), before);
}

#[test]
fn after_kills_a_device_that_was_there_before_is_used_again() {
    needs!("ping");
    let lab = Lab::direct();
    lab.ip(Host::A, "tuntap add tun0 mode tun");
    let ends = routed_ends();
    let _b = lab.start(Host::B, &ends[1]);
    kill_again_and_again(&lab, &ends[0], 40);
    let a = lab.start(Host::A, &ends[0]);
    assert!(lab.pings(Host::A, INNER_B[0]));
    stop(a);
    lab.ip(Host::A, "link show tun0");
}

#[test]
fn a_hundred_starts_and_stops_leave_the_network_as_it_was() {
    needs!();
    let lab = Lab::direct();
    let end = &routed_ends()[0];
    let before = lab.network(Host::A);
    for _ in 0..100 {
        let daemon = lab.start(Host::A, end);
        daemon.wait_for(STARTED);
        stop(daemon);
        assert_eq!(lab.network(Host::A), before);
    }
}

/// Has a command leave a core file in this directory if it dies of a signal, as far as it is up to who runs it.
fn with_core_files(lab: &Lab, command: &Command) -> Command {
    let mut shell = lab.command(Host::A, "sh -c");
    shell.arg("cd \"$1\" && shift; ulimit -c unlimited; exec \"$@\"").arg("sh");
    shell.arg(lab.directory_of(Host::A)).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

#[test]
fn a_crash_leaves_no_core_file_and_the_next_start_is_clean() {
    needs!("sh");
    let lab = Lab::direct();
    let end = &routed_ends()[0];
    let before = lab.network(Host::A);
    let mut control = with_core_files(&lab, Command::new("sh").args(["-c", "kill -ABRT $$"]));
    let control = control.stderr(Stdio::null()).status().unwrap();
    assert_eq!(control.signal(), Some(Signal::SIGABRT as i32));
    // A panic ends with the first of them, a miscompiled instruction with the second.
    for signal in [Signal::SIGABRT, Signal::SIGILL] {
        let command = with_core_files(&lab, &lab.daemon_command(Host::A, end));
        let mut daemon = Process::start("daemon", command);
        daemon.wait_for(STARTED);
        daemon.signal(signal);
        let status = daemon.end(BOUND);
        assert_eq!(status.signal(), Some(signal as i32));
        assert!(!status.core_dumped(), "{signal}");
        assert_eq!(lab.network(Host::A), before);
    }
    let cores = fs::read_dir(lab.directory_of(Host::A)).unwrap().flatten();
    let cores = cores.filter(|file| file.file_name().to_string_lossy().starts_with("core"));
    assert_eq!(cores.count(), usize::from(control.core_dumped()), "that of the control");
}
