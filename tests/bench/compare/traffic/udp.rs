//! The ends of a flow of datagrams: one system call for each, as an ordinary application has it.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use crate::wait::BOUND;

/// No datagram shall be lost for want of room once it has arrived.
const ROOM: usize = 16 * 1024 * 1024;

/// Says how many datagrams came within the time.
pub(super) fn receive(address: Ipv4Addr, seconds: Duration) -> Result<()> {
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    let socket = UdpSocket::bind((address, 0)).context("cannot receive")?;
    setsockopt(&socket, RcvBufForce, &ROOM).context("cannot have a large buffer")?;
    println!("listening {}", socket.local_addr()?);
    let mut datagram = [0; 2048];
    socket.set_read_timeout(Some(BOUND))?;
    socket.recv(&mut datagram).context("no datagram came")?;
    socket.set_read_timeout(None)?;
    thread::spawn(move || {
        while socket.recv(&mut datagram).is_ok() {
            RECEIVED.fetch_add(1, Ordering::Relaxed);
        }
    });
    super::report(&RECEIVED, seconds);
    Ok(())
}

/// Sends datagrams of so many bytes, without end.
pub(super) fn send(to: SocketAddrV4, bytes: usize) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot send")?;
    socket.connect(to).with_context(|| format!("no way to {to}"))?;
    let datagram = vec![0x5a; bytes];
    if let Err(error) = socket.send(&datagram) {
        bail!("cannot send {bytes} bytes: {error}");
    }
    loop {
        // A full queue is what is to be measured, and so no error.
        let _ = socket.send(&datagram);
    }
}
