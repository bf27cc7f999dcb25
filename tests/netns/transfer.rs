//! A TCP transfer that is checked byte for byte, between two hosts of the lab.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use blake2::{Blake2s256, Digest as _};

use super::lab::{Host, Lab};
use super::process::{BOUND, wait_until};

/// Bytes per system call.
const CHUNK: usize = 64 * 1024;

/// A transfer under way.
pub(crate) struct Transfer {
    sender: JoinHandle<Vec<u8>>,
    receiver: JoinHandle<(u64, Vec<u8>)>,
    received: Arc<AtomicU64>,
    length: u64,
}

impl Transfer {
    /// Begins to send so many bytes from one host to the other, which has this address.
    pub(crate) fn begin(lab: &Lab, from: Host, to: Host, address: &str, length: u64) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        let bound = lab.inside(to, move || TcpListener::bind((address, 0)).expect("a free port"));
        let listener = bound.join().expect("the host has that address");
        let server = listener.local_addr().expect("it is bound");
        let received = Arc::<AtomicU64>::default();
        let so_far = Arc::clone(&received);
        Self {
            receiver: lab.inside(to, move || receive(&listener, &so_far)),
            sender: lab.inside(from, move || send(server, length)),
            received,
            length,
        }
    }

    /// Waits until so many more bytes have come than now.
    pub(crate) fn goes_on(&self, more: u64) {
        let goal = self.length.min(self.received.load(Ordering::Relaxed) + more);
        let came = wait_until(BOUND * 2, || self.received.load(Ordering::Relaxed) >= goal);
        assert!(came, "the transfer goes on");
    }

    /// How many bytes are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.length - self.received.load(Ordering::Relaxed)
    }

    /// Waits for the end; all must have arrived as it was sent.
    pub(crate) fn finish(self) {
        let sent = self.sender.join().expect("all was sent");
        let (bytes, seen) = self.receiver.join().expect("all was received");
        assert_eq!(bytes, self.length);
        assert_eq!(seen, sent, "the checksums agree");
    }
}

fn send(server: SocketAddr, length: u64) -> Vec<u8> {
    let mut stream = TcpStream::connect_timeout(&server, BOUND).expect("the server answers");
    stream.set_write_timeout(Some(BOUND)).expect("a valid time");
    let mut hash = Blake2s256::new();
    let mut chunk = vec![0; CHUNK];
    let mut state = 1_u64;
    let mut left = length;
    while left > 0 {
        for word in chunk.chunks_exact_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word.copy_from_slice(&state.to_be_bytes());
        }
        let n = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        stream.write_all(&chunk[..n]).expect("the stream flows");
        hash.update(&chunk[..n]);
        left -= n as u64;
    }
    hash.finalize().to_vec()
}

fn receive(listener: &TcpListener, so_far: &AtomicU64) -> (u64, Vec<u8>) {
    socket2::SockRef::from(listener).set_read_timeout(Some(BOUND)).expect("a valid time");
    let (mut stream, _) = listener.accept().expect("a client comes");
    stream.set_read_timeout(Some(BOUND)).expect("a valid time");
    let mut hash = Blake2s256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk).expect("the stream flows") {
            0 => return (so_far.load(Ordering::Relaxed), hash.finalize().to_vec()),
            n => {
                hash.update(&chunk[..n]);
                so_far.fetch_add(n as u64, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn a_transfer_over_the_bare_underlay_is_byte_exact() {
    super::needs::needs!();
    let lab = Lab::direct();
    let address = super::lab::underlay(Host::B)[1];
    let transfer = Transfer::begin(&lab, Host::A, Host::B, address, 3_000_001);
    transfer.goes_on(1_000_000);
    assert!(transfer.left() <= 2_000_001);
    transfer.finish();
}
