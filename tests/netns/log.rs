//! Whoever reads the log may stop reading: that costs lines, and nothing else.

use std::fs::File;
use std::io::Read as _;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::O_NONBLOCK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::config::ends;
use super::lab::{Host, INNER_A, Lab, PORT, direct_v4, expect_success, stop, underlay};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};

/// A log that nobody reads unless the test does: a pipe, as small as they are.
struct Log {
    reader: File,
    writer: File,
}

impl Log {
    fn at(path: &Path) -> Self {
        nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let reader = File::options().read(true).custom_flags(O_NONBLOCK).open(path).unwrap();
        let writer = File::options().write(true).custom_flags(O_NONBLOCK).open(path).unwrap();
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        Self { reader, writer }
    }

    fn is_full(&self) -> bool {
        let mut fds = [PollFd::new(self.writer.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 0
    }

    /// What is in it now.
    fn read(&mut self) -> String {
        let mut text = Vec::new();
        // It ends with an error: there is no more now.
        let _ = self.reader.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The daemon of host a, that logs all there is to this file.
fn daemon_with(lab: &Lab, log: &Path) -> Process {
    let daemon = lab.daemon_command(Host::A, &ends(direct_v4)[0]);
    let mut command = Command::new("sh");
    command.args(["-c", "log=$1; shift; exec \"$@\" 2> \"$log\"", "sh"]).arg(log);
    command.arg(daemon.get_program()).args(daemon.get_args());
    for (name, value) in daemon.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("TUNNELD_LOG", "trace");
    Process::start("daemon A", command)
}

#[test]
fn a_log_that_nobody_reads_costs_lines_and_holds_nobody_up() {
    needs!("ping", "sh");
    let lab = Lab::direct();
    let path = lab.directory_of(Host::A).join("log");
    let mut log = Log::at(&path);
    let a = daemon_with(&lab, &path);
    let end = &ends(direct_v4)[1];
    let b = lab.start(Host::B, end);
    assert!(lab.pings(Host::B, INNER_A[0]));
    let stranger = lab.inside(Host::B, || UdpSocket::bind((underlay(Host::B)[0], 0)).unwrap());
    let stranger = stranger.join().unwrap();
    // Each is a line of the inbound thread.
    let provoke = || {
        stranger.send_to(b"junk", (underlay(Host::A)[0], PORT)).unwrap();
    };
    let fills = |log: &Log| {
        wait_until(BOUND, || {
            provoke();
            log.is_full()
        })
    };
    assert!(fills(&log));
    (0..100).for_each(|_| provoke());
    // The data threads go on, and so does control: b starts anew and needs a handshake.
    expect_success(&lab.ping(Host::B, &format!("-c 10 -i 0.05 -w 5 {}", INNER_A[0])));
    stop(b);
    let _b = lab.start(Host::B, end);
    assert!(lab.pings(Host::B, INNER_A[0]));
    // Whoever reads again is told that lines are missing.
    let told = wait_until(BOUND, || {
        provoke();
        log.read().contains("lines of the log could not be written")
    });
    assert!(told);
    // Nor does it hold up the end.
    assert!(fills(&log));
    stop(a);
}

#[test]
fn a_log_on_a_full_disk_holds_nobody_up() {
    needs!("ping", "sh");
    let lab = Lab::direct();
    let a = daemon_with(&lab, Path::new("/dev/full"));
    let _b = lab.start(Host::B, &ends(direct_v4)[1]);
    assert!(lab.pings(Host::B, INNER_A[0]));
    stop(a);
}
