//! Watches the cable between hosts a and b: the index that host b's session is known by, and handshakes.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::libc;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::lab::{Lab, PORT, Side, inside};

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// By which host a addresses host b's session; 0 before it has.
    pub(crate) index: Arc<AtomicU32>,
    /// Sessions that host a has sent data with.
    pub(crate) sessions: AtomicU32,
    /// Initiations of either host.
    pub(crate) initiations: AtomicU32,
    stop: AtomicBool,
}

/// Watches until it is dropped.
pub(crate) struct Eavesdropper(pub(crate) Arc<Seen>);

impl Eavesdropper {
    pub(crate) fn listen(lab: &Lab) -> Result<Self> {
        let seen = Arc::<Seen>::default();
        let socket = inside(&lab.namespace(Side::A), || {
            let all = libc::ETH_P_ALL.cast_unsigned() as u16;
            let protocol = Protocol::from(i32::from(all.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
            socket.attach_filter(&filter())?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        })?;
        let socket = socket.join().expect("it does not panic").context("cannot eavesdrop")?;
        let watcher = Arc::clone(&seen);
        std::thread::spawn(move || watcher.watch(&socket));
        Ok(Self(seen))
    }
}

impl Drop for Eavesdropper {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    fn watch(&self, mut socket: &Socket) {
        let mut packet = [0; 256];
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(length) = socket.read(&mut packet) else { continue };
            if let Some(message) = packet[..length].get(HEADERS..) {
                self.take(&packet[12..16], message);
            }
        }
    }

    fn take(&self, source: &[u8], message: &[u8]) {
        let index = message.get(4..8).and_then(|bytes| bytes.try_into().ok());
        let Some(index) = index.map(u32::from_le_bytes) else { return };
        match message[0] {
            1 => {
                self.initiations.fetch_add(1, Ordering::Relaxed);
            }
            4 if source == Side::A.outer().octets()
                && self.index.swap(index, Ordering::Relaxed) != index =>
            {
                self.sessions.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// The headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// Passes UDP to the daemons' port: all handshake messages, and of transport data one of 64.
fn filter() -> [SockFilter; 11] {
    const ALL: u32 = u32::MAX;
    let ancillary = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();
    let op = |code: u32, yes, no, k| SockFilter::new(code as u16, yes, no, k);
    use libc::BPF_W;
    use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
    [
        op(BPF_LD | BPF_B | BPF_ABS, 0, 0, 9),
        op(BPF_JMP | BPF_JEQ | BPF_K, 0, 7, libc::IPPROTO_UDP.cast_unsigned()),
        op(BPF_LD | BPF_H | BPF_ABS, 0, 0, 22),
        op(BPF_JMP | BPF_JEQ | BPF_K, 0, 5, PORT.into()),
        op(BPF_LD | BPF_B | BPF_ABS, 0, 0, HEADERS as u32),
        op(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, 4),
        op(BPF_LD | BPF_W | BPF_ABS, 0, 0, ancillary),
        op(BPF_ALU | BPF_AND | BPF_K, 0, 0, 63),
        op(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0),
        op(BPF_RET | BPF_K, 0, 0, 0),
        op(BPF_RET | BPF_K, 0, 0, ALL),
    ]
}
