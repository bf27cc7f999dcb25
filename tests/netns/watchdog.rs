//! A thread that hangs: the service manager is not told that all is well.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::config::ends;
use super::lab::{Host, Lab, STARTED, direct_v4};
use super::needs::needs;
use super::process::{BOUND, Process, now, wait_until};

/// What the service manager wants to hear from at least so often.
const INTERVAL: Duration = Duration::from_millis(300);

/// Stops one thread of a process, until it is [let go](ptrace::detach).
fn hang(process: u32, name: &str) -> Pid {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let is_it =
        |path: &std::path::PathBuf| fs::read_to_string(path.join("comm")).unwrap().trim() == name;
    let path = threads.map(|entry| entry.path()).find(is_it).expect("there is such a thread");
    let thread = Pid::from_raw(path.file_name().unwrap().to_str().unwrap().parse().unwrap());
    ptrace::seize(thread, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(thread).unwrap();
    waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
    thread
}

/// Lets so much time pass.
fn pass(time: Duration) {
    let begun = now();
    assert!(wait_until(BOUND, || now() - begun > time));
}

#[test]
fn while_one_of_its_threads_hangs_the_daemon_does_not_say_that_it_is_alive() {
    needs!();
    let lab = Lab::direct();
    let notify = lab.directory_of(Host::A).join("notify");
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut command = lab.daemon_command(Host::A, &ends(direct_v4)[0]);
    command.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", INTERVAL.as_micros().to_string());
    let daemon = Process::start("daemon", command);
    daemon.wait_for(STARTED);
    let says_so = || {
        let mut message = [0; 4096];
        let mut said = false;
        while let Ok(n) = socket.recv(&mut message) {
            said |= message[..n].starts_with(b"WATCHDOG=1");
        }
        said
    };
    for thread in ["outbound", "inbound"] {
        assert!(wait_until(BOUND, says_so), "all of them turn");
        let hung = hang(daemon.pid(), thread);
        // It may have turned just before.
        pass(INTERVAL);
        says_so();
        pass(3 * INTERVAL);
        assert!(!says_so(), "{thread} hangs");
        ptrace::detach(hung, None).unwrap();
    }
    assert!(wait_until(BOUND, says_so));
}
