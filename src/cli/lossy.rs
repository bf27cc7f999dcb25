//! A writer that never waits: what its reader does not take at once is lost, and counted.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Most bytes that whatever is ready for writing takes without waiting: a pipe has room for `PIPE_BUF` then (pipe(7)),
/// a socket and a terminal for more.
const PIECE: usize = 4096;

/// Lines on their way to `T`, of any thread. Others may write to the same pipe: then two may find the last room at the
/// same time, and one of them waits.
pub(super) struct Lossy<T> {
    target: Mutex<Target<T>>,
    /// The line that tells how many were lost.
    told: fn(u64) -> String,
}

struct Target<T> {
    writer: T,
    lost: u64,
}

impl<T: Write + AsFd> Lossy<T> {
    pub(super) const fn new(writer: T, told: fn(u64) -> String) -> Self {
        Self { target: Mutex::new(Target { writer, lost: 0 }), told }
    }
}

impl<T: Write + AsFd> Write for &Lossy<T> {
    /// Takes one line, whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Cow::from(line);
        if target.lost > 0 {
            lines = [(self.told)(target.lost).as_bytes(), line].concat().into();
        }
        target.lost = if target.takes(&lines) { 0 } else { target.lost.saturating_add(1) };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: Write + AsFd> Target<T> {
    /// Whether all of it was taken.
    fn takes(&mut self, lines: &[u8]) -> bool {
        lines.chunks(PIECE).all(|piece| {
            let mut fds = [PollFd::new(self.writer.as_fd(), PollFlags::POLLOUT)];
            let ready = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
            ready && self.writer.write_all(piece).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;

    #[test]
    fn lines_that_are_not_taken_are_lost_and_told_before_the_next_that_is() {
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIECE as i32)).unwrap();
        let log = Lossy::new(writer, |lost| format!("{lost} lost\n"));
        let long = [b'x'; 2 * PIECE];
        for line in [b"first\n".as_slice(), &long, b"second\n", b"third\n"] {
            (&log).write_all(line).unwrap();
        }
        let mut seen = vec![0; 6];
        reader.read_exact(&mut seen).unwrap();
        assert_eq!(seen, b"first\n");
        (&log).write_all(b"fourth\n").unwrap();
        drop(log);
        seen.clear();
        reader.read_to_end(&mut seen).unwrap();
        assert_eq!(String::from_utf8(seen).unwrap(), "3 lost\nfourth\n");
    }
}
