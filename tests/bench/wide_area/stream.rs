//! One TCP stream between the namespaces, counted where it arrives.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use socket2::SockRef;

use super::lab::{Lab, Way};

/// Bytes per system call.
const CHUNK: usize = 128 * 1024;
/// How long a stream runs before it is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long anything may take that should happen at once.
const BOUND: Duration = Duration::from_secs(20);

/// Bits per second that arrive; `connected` is called before the first of them is sent. Without `congestion` the
/// system chooses the congestion control.
pub(crate) fn throughput(
    lab: &Lab,
    way: Way,
    time: Duration,
    congestion: Option<&str>,
    connected: impl FnOnce(),
) -> Result<f64> {
    let (sender, receiver) = connect(lab, way)?;
    if let Some(name) = congestion {
        SockRef::from(&sender).set_tcp_congestion(name.as_bytes()).context(name.to_owned())?;
    }
    connected();
    thread::scope(|scope| {
        scope.spawn(|| send(sender));
        receive(receiver, time)
    })
}

/// Sends until the receiver has had enough.
fn send(mut stream: TcpStream) {
    let chunk = vec![0xa5; CHUNK];
    while stream.write_all(&chunk).is_ok() {}
}

fn receive(mut stream: TcpStream, time: Duration) -> Result<f64> {
    let mut chunk = vec![0; CHUNK];
    let warm = now() + WARM_UP;
    let mut begun = None;
    let mut bytes = 0;
    loop {
        let len = stream.read(&mut chunk).context("the stream stands still")?;
        if len == 0 {
            bail!("the stream ended early");
        }
        let now = now();
        match begun {
            None if now >= warm => begun = Some(now),
            None => {}
            Some(begun) => {
                bytes += len;
                let took = now - begun;
                if took >= time {
                    return Ok(bytes as f64 * 8.0 / took.as_secs_f64());
                }
            }
        }
    }
}

/// A connection from the first namespace to the second: both ends of it. What is not there yet is waited for.
fn connect(lab: &Lab, way: Way) -> Result<(TcpStream, TcpStream)> {
    let address = way.address();
    let listener = lab.inside(1, move || retry(|| TcpListener::bind((address, 0))))?;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    let server = listener.local_addr()?;
    let sender = lab.inside(0, move || retry(|| TcpStream::connect_timeout(&server, BOUND)))?;
    let sender = sender.with_context(|| format!("cannot connect to {server}"))?;
    let (receiver, _) = listener.accept()?;
    receiver.set_read_timeout(Some(BOUND))?;
    Ok((sender, receiver))
}

fn retry<T>(attempt: impl Fn() -> std::io::Result<T>) -> std::io::Result<T> {
    let end = now() + BOUND;
    loop {
        match attempt() {
            Err(_) if now() < end => thread::sleep(Duration::from_millis(50)),
            result => return result,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement takes real time")]
fn now() -> Instant {
    Instant::now()
}
