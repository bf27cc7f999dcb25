//! `tunneld top` in a terminal: what it shows, and that the terminal is then as it was before.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use super::config::ends;
use super::lab::{Host, Lab, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, wait_until};

/// What a terminal is told to show the screen before again.
const LEAVE: &str = "\u{1b}[?1049l";

/// What a user does to end it.
type Quit = fn(&mut Terminal, &Child);

/// A terminal, from outside.
struct Terminal {
    outside: File,
    inside: OwnedFd,
    seen: Vec<u8>,
}

impl Terminal {
    fn new() -> Self {
        let size = Winsize { ws_row: 30, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        Self { outside: pty.master.into(), inside: pty.slave, seen: Vec::new() }
    }

    /// Runs `tunneld top` in it, for the daemon on host a.
    fn top(&self, lab: &Lab) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tunneld"));
        command.arg("top").env("RUNTIME_DIRECTORY", lab.directory_of(Host::A));
        let inside = || self.inside.try_clone().unwrap();
        command.env("TERM", "xterm").stdin(inside()).stdout(inside()).stderr(inside());
        command.spawn().unwrap()
    }

    /// Whether it shows this, or does so soon.
    fn shows(&mut self, text: &str) -> bool {
        wait_until(BOUND, || {
            // It ends with an error: there is no more now.
            let _ = self.outside.read_to_end(&mut self.seen);
            String::from_utf8_lossy(&self.seen).contains(text)
        })
    }

    /// Whether it gives a program each key as it is typed.
    fn is_raw(&self) -> bool {
        !tcgetattr(&self.inside).unwrap().local_flags.contains(LocalFlags::ICANON)
    }
}

#[test]
fn top_shows_the_link_and_leaves_the_terminal_as_it_was_however_it_ends() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, _b] = lab.link(&ends(direct_v4));
    let ways: [(&str, Quit, i32); 3] = [
        ("q", |terminal, _| terminal.outside.write_all(b"q").unwrap(), 0),
        ("control and c", |terminal, _| terminal.outside.write_all(b"\x03").unwrap(), 0),
        ("SIGTERM", |_, top| kill(Pid::from_raw(top.id() as i32), Signal::SIGTERM).unwrap(), 143),
    ];
    for (how, quit, code) in ways {
        let mut terminal = Terminal::new();
        let mut top = terminal.top(&lab);
        // Single words: what lies between them is blank before, and not written.
        for text in ["tunneld", "throughput", "duplicates", "quit"] {
            assert!(terminal.shows(text), "{how}: {text}");
        }
        assert!(terminal.is_raw());
        quit(&mut terminal, &top);
        assert!(terminal.shows(LEAVE), "{how}");
        assert_eq!(top.wait().unwrap().code(), Some(code), "{how}");
        assert!(!terminal.is_raw(), "{how}");
    }
    let mut terminal = Terminal::new();
    let mut top = terminal.top(&lab);
    assert!(terminal.shows("quit"));
    stop(a);
    // The daemon may be started again: what was seen stays, with a word about it.
    assert!(terminal.shows("answers"), "{}", String::from_utf8_lossy(&terminal.seen));
    terminal.outside.write_all(b"q").unwrap();
    assert_eq!(top.wait().unwrap().code(), Some(0));
    assert!(!terminal.is_raw());
}
