//! A stranger who sends whatever it likes to a linked daemon: it is not answered, and nothing changes.

use std::io::{self, Read as _};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::config::ends;
use super::counters::discards;
use super::lab::{Host, INNER_A, Lab, PORT, direct_v4, stop, underlay};
use super::needs::needs;
use super::process::{BOUND, wait_until};
use super::vitals::Vitals;

/// The bytes before a datagram in what a raw socket receives: headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// The last bytes of an initiation: looked at under load only, and if they are wrong answered with a cookie.
const MAC2: usize = 16;

/// The largest datagram.
const LARGEST: usize = 65_507;

/// Datagrams between two looks whether the link is still there.
const BATCH: usize = 500;

/// Most datagrams of a flood.
const MOST: usize = 200_000;

/// Sees all that host a receives over UDP from now on.
pub(super) struct Eavesdropper(Socket);

impl Eavesdropper {
    pub(super) fn at_a(lab: &Lab) -> Self {
        let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).unwrap();
        let socket = lab.inside(Host::A, open).join().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        Self(socket)
    }

    /// The datagrams for the daemon so far.
    pub(super) fn heard(&self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2048];
        let read = || (&self.0).read(&mut buffer).ok().map(|n| buffer[..n].to_vec());
        let packets = std::iter::from_fn(read);
        let for_daemon = |packet: &Vec<u8>| packet[22..24] == PORT.to_be_bytes();
        packets.filter(for_daemon).map(|packet| packet[HEADERS..].to_vec()).collect()
    }
}

/// Sockets on host b that are not the daemon's, towards the daemon of host a over either family.
fn strangers(lab: &Lab) -> [UdpSocket; 2] {
    let open = || {
        [0, 1].map(|family| {
            let socket = UdpSocket::bind((underlay(Host::B)[family], 0)).unwrap();
            socket.connect((underlay(Host::A)[family], PORT)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
    };
    lab.inside(Host::B, open).join().unwrap()
}

/// Bytes that look random.
fn noise(length: usize, seed: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(byte).take(length).collect()
}

/// Noise of many lengths, behind the first bytes of each message and of none.
fn junk() -> Vec<Vec<u8>> {
    let lengths = || (0..2000).chain([LARGEST; 4]);
    let noise_of = |message_type: Option<u8>| {
        lengths().map(move |length| {
            let mut datagram = noise(length, length + 7);
            if let Some(message_type) = message_type {
                datagram.iter_mut().zip([message_type, 0, 0, 0]).for_each(|(byte, b)| *byte = b);
            }
            datagram
        })
    };
    [None, Some(1), Some(2), Some(3), Some(4)].into_iter().flat_map(noise_of).collect()
}

/// A real datagram cut short, made longer, and with one bit of each byte turned.
fn spoilt(datagram: &[u8]) -> Vec<Vec<u8>> {
    let cut = (0..datagram.len()).map(|length| datagram[..length].to_vec());
    let longer = [1, 16, 1000].map(|more| [datagram, &noise(more, more)].concat());
    let end = if datagram[0] == 4 { datagram.len() } else { datagram.len() - MAC2 };
    let turned = (0..end).map(|at| {
        let mut turned = datagram.to_vec();
        turned[at] ^= 1 << (at % 8);
        turned
    });
    cut.chain(longer).chain(turned).collect()
}

/// Sends all of it, and sees each time that the link goes on.
fn bombard(lab: &Lab, stranger: &UdpSocket, datagrams: &[Vec<u8>]) {
    for batch in datagrams.chunks(BATCH) {
        for datagram in batch {
            stranger.send(datagram).unwrap();
        }
        assert!(lab.pings(Host::B, INNER_A[0]));
    }
}

#[test]
fn a_flood_does_not_hold_up_the_end() {
    needs!("ping");
    let lab = Lab::direct();
    let eavesdropper = Eavesdropper::at_a(&lab);
    let ends = ends(direct_v4);
    let real = {
        let _daemons = lab.link(&ends);
        eavesdropper.heard()
    };
    let mut initiation = noise(148, 0);
    initiation[..4].copy_from_slice(&[1, 0, 0, 0]);
    for _ in 0..5 {
        let [a, _b] = lab.link(&ends);
        let [stranger, _] = strangers(&lab);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            // Junk, and what the daemon before received, until it is over; for the reader, with a bound.
            scope.spawn(|| {
                for datagram in real.iter().cycle().take(MOST) {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    // Nobody listens any more: that is what it ends with.
                    let _ = stranger.send(datagram).and_then(|_| stranger.send(&initiation));
                }
            });
            assert!(wait_until(BOUND, || eavesdropper.heard().len() > BATCH));
            let said = stop(a);
            done.store(true, Ordering::Relaxed);
            assert!(discards(&said, "mac1") > 0, "{said}");
        });
    }
}

#[test]
fn junk_and_spoilt_datagrams_are_counted_and_neither_answered_nor_logged_nor_do_they_cost_anything()
{
    needs!("ping");
    let lab = Lab::direct();
    let eavesdropper = Eavesdropper::at_a(&lab);
    let mut ends = ends(direct_v4);
    ends[0].endpoint = None;
    let [a, _b] = lab.link_called_by_b(&ends);
    let real = eavesdropper.heard();
    for message_type in [1, 4] {
        assert!(real.iter().any(|datagram| datagram[0] == message_type), "type {message_type}");
    }
    let strangers = strangers(&lab);
    // The last thing it has to say of the link.
    a.wait_for("MTU follows");
    let (said, vitals) = (a.said(), Vitals::of(&a));

    let spoilt: Vec<_> = real.iter().flat_map(|datagram| spoilt(datagram)).collect();
    let junk = junk();
    for stranger in &strangers {
        // First, while the daemon is not busy: what is replayed as it was.
        bombard(&lab, stranger, &real);
        bombard(&lab, stranger, &spoilt);
        bombard(&lab, stranger, &junk);
    }

    for stranger in &strangers {
        let answer = stranger.recv(&mut [0; 64]).map_err(|e| e.kind());
        assert_eq!(answer, Err(io::ErrorKind::WouldBlock), "no answer");
    }
    let after = a.said();
    let (of_flood, lines): (Vec<_>, Vec<_>) =
        after.lines().partition(|line| line.contains("flood: strangers"));
    assert_eq!(lines, said.lines().collect::<Vec<_>>(), "no line in the log");
    assert!(of_flood.len() <= 2, "but that a flood began and ended");
    vitals.are_back(&lab, &a);
    let said = stop(a);
    for reason in [
        "message_type",
        "message_length",
        "mac1",
        "initiation_replayed",
        "unknown_receiver",
        "data_not_authentic",
        "replayed",
    ] {
        assert!(discards(&said, reason) > 0, "{reason}: {said}");
    }
}
