//! TCP for a while from one host to the other; the receiver compares every byte with what must have been sent.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use socket2::SockRef;

use super::host::Host;
use super::wait::{BOUND, LOOK, Watch, now};

/// Bytes per system call.
const CHUNK: usize = 256 * 1024;

/// The length of the repeated pattern: not a multiple of anything on the way, so that no two segments look alike.
const PATTERN: usize = 1_048_573;

/// What got through.
#[derive(Clone, Copy)]
pub(super) struct Transfer {
    /// Bytes received and compared.
    pub(super) bytes: u64,
    /// From the first of them to the end of the stream.
    pub(super) took: Duration,
}

impl Transfer {
    /// 10^9 bits per second.
    pub(super) fn gbps(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.took.as_secs_f64() / 1e9
    }
}

/// Sends from `from` to `address`, which is `to`'s, for so long.
pub(super) fn transfer(
    from: &Host,
    to: &Host,
    address: IpAddr,
    time: Duration,
    watch: &Arc<Watch>,
) -> Result<Transfer> {
    let listener = to.run(move || {
        let listener = TcpListener::bind((address, 0))
            .with_context(|| format!("cannot listen on {address}"))?;
        SockRef::from(&listener).set_read_timeout(Some(LOOK))?;
        Ok(listener)
    })?;
    let server = listener.local_addr()?;

    let receiver_watch = Arc::clone(watch);
    let receiver = to.begin(move || {
        let stream =
            receiver_watch.until("a TCP connection comes", || match listener.accept() {
                Ok((stream, _)) => Ok(Some(stream)),
                Err(e) if is_timeout(&e) => Ok(None),
                Err(e) => Err(e.into()),
            })?;
        receive(stream, &receiver_watch)
    });
    let sender_watch = Arc::clone(watch);
    let sender = from.begin(move || send(server, time, &sender_watch));

    let sent = sender.wait();
    let received = receiver.wait()?;
    if sent? != received.bytes {
        bail!("not all that was sent arrived");
    }
    Ok(received)
}

/// Sends the pattern again and again, and gives the number of bytes once the receiver has them all.
fn send(server: SocketAddr, time: Duration, watch: &Watch) -> Result<u64> {
    let mut stream = watch.until("a TCP connection is made", || {
        Ok(TcpStream::connect_timeout(&server, LOOK * 10).ok())
    })?;
    stream.set_write_timeout(Some(LOOK))?;
    stream.set_read_timeout(Some(LOOK))?;
    let pattern = pattern();
    let mut sent = 0;
    let mut progress = Progress::new(watch);
    let end = now() + time;
    while now() < end {
        let at = position(sent);
        if let Some(n) = progress.of(stream.write(&pattern[at..at + CHUNK]), "sending")? {
            sent += n as u64;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    // The receiver closes the connection when it has seen the end.
    while progress.of(stream.read(&mut [0]), "the end of the transfer")? != Some(0) {}
    Ok(sent)
}

/// Receives to the end of the stream.
fn receive(mut stream: TcpStream, watch: &Watch) -> Result<Transfer> {
    stream.set_read_timeout(Some(LOOK))?;
    let pattern = pattern();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    let mut progress = Progress::new(watch);
    let began = now();
    loop {
        match progress.of(stream.read(&mut buffer), "receiving")? {
            None => {}
            Some(0) => break,
            Some(n) => {
                let at = position(bytes);
                if buffer[..n] != pattern[at..at + n] {
                    bail!("what arrived after {bytes} bytes of TCP is not what was sent");
                }
                bytes += n as u64;
            }
        }
    }
    Ok(Transfer { bytes, took: began.elapsed() })
}

/// Sees that a stream moves: each part of it has [`BOUND`].
struct Progress<'a> {
    watch: &'a Watch,
    last: Instant,
}

impl<'a> Progress<'a> {
    fn new(watch: &'a Watch) -> Self {
        Self { watch, last: now() }
    }

    /// The bytes that moved; `None` if none could yet.
    fn of(&mut self, moved: io::Result<usize>, doing: &str) -> Result<Option<usize>> {
        self.watch.check()?;
        match moved {
            Ok(n) => {
                self.last = now();
                Ok(Some(n))
            }
            Err(e) if is_timeout(&e) && self.last.elapsed() < BOUND => Ok(None),
            Err(e) if is_timeout(&e) => {
                bail!("TCP stood still for {} s while {doing}", BOUND.as_secs())
            }
            Err(e) => Err(e).with_context(|| format!("TCP failed while {doing}")),
        }
    }
}

/// Where in the pattern a stream is after so many bytes.
fn position(bytes: u64) -> usize {
    (bytes % PATTERN as u64) as usize
}

/// The pattern, and its start once more, so that a chunk may begin anywhere in it. Bytes of xorshift (Marsaglia 2003).
fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut pattern: Vec<u8> = (0..PATTERN)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    pattern.extend_from_within(..CHUNK);
    pattern
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
