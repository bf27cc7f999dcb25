//! Two devices in two namespaces, joined by splitting and coalescing: real TCP and UDP of the kernel must arrive.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::in_namespace;
use super::packets::split;
use crate::testing::{block_on, load};
use crate::tun::{Coalescer, Link, LinkSettings, ReadBuffer, Record, Tun};
use crate::wire::{Layer, Offload, Superpacket};

/// What went by.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    largest_read: usize,
    superpackets_written: u64,
}

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));
const TCP_BYTES: usize = 4 << 20;
/// Shorter than the devices' MTU would have it.
const LONGEST_FRAME: usize = 1300;

fn open_end(host: u8, layer: Layer, offload: Offload) -> Arc<Tun> {
    let tun = Tun::open("tun9", layer, offload).unwrap();
    let addresses = [format!("10.77.0.{host}/24"), format!("fd77::{host}/64")];
    let settings = LinkSettings {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        mtu: Some(1420),
        ..LinkSettings::default()
    };
    block_on(async {
        let mut link = Link::open(&tun, Record::new().unwrap()).await.unwrap();
        link.configure(&settings).await.unwrap();
    });
    Arc::new(tun)
}

/// Carries what `from` has to `to`.
fn carry(from: &Tun, to: &Tun, coalescer: &mut Coalescer, room: &mut ReadBuffer, seen: &mut Seen) {
    let mut buffer = Vec::new();
    let mut ranges = Vec::new();
    for _ in 0..8 {
        let Some(packet) = from.read(room, LONGEST_FRAME).unwrap() else {
            break;
        };
        seen.largest_read = seen.largest_read.max(packet.count());
        for segment in split(&packet) {
            let is_tcp = segment.get(23) == Some(&6) || segment.get(20) == Some(&6);
            let most = match from.layer() {
                Layer::Ip => 1420,
                Layer::Ethernet if is_tcp && packet.count() > 1 => LONGEST_FRAME,
                Layer::Ethernet => 14 + 1420,
            };
            assert!(segment.len() <= most);
            ranges.push(buffer.len()..buffer.len() + segment.len());
            buffer.extend(segment);
        }
    }
    for range in ranges {
        coalescer.push(&buffer, range);
    }
    to.flush(coalescer, &buffer).unwrap();
}

fn relay(ends: [&Tun; 2], done: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut room = ReadBuffer::new();
    let mut coalescers = ends.map(|end| Coalescer::new(end.layer(), end.takes()));
    while !done.load(Ordering::Relaxed) {
        let mut waiting = ends.map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        poll(&mut waiting, PollTimeout::from(20_u8)).unwrap();
        carry(ends[0], ends[1], &mut coalescers[1], &mut room, &mut seen);
        carry(ends[1], ends[0], &mut coalescers[0], &mut room, &mut seen);
    }
    let written = ends.map(|end| load(&end.counters().write.superpackets));
    seen.superpackets_written = written.iter().sum();
    seen
}

/// Runs `server` at 10.77.0.1 and `client` at 10.77.0.2; the client starts once the server's socket is bound.
fn joined<S: Send>(
    test: &str,
    (layer, offload): (Layer, Offload),
    bind: impl FnOnce() -> S + Send,
    serve: impl FnOnce(S) + Send,
    client: impl FnOnce() + Send,
) -> Option<Seen> {
    let (tun_sender, tuns) = mpsc::channel();
    let (bound_sender, bound) = mpsc::channel();
    let (server_sender, client_sender) = (tun_sender.clone(), tun_sender);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            in_namespace(test, move || {
                server_sender.send(open_end(1, layer, offload)).unwrap();
                drop(server_sender);
                let socket = bind();
                bound_sender.send(()).unwrap();
                serve(socket);
            });
        });
        let client = scope.spawn(move || {
            in_namespace(test, move || {
                client_sender.send(open_end(2, layer, offload)).unwrap();
                drop(client_sender);
                bound.recv().unwrap();
                client();
            });
        });
        let ends = tuns.recv().ok().zip(tuns.recv().ok());
        let done = &done;
        let relay = ends.map(|(one, other)| scope.spawn(move || relay([&one, &other], done)));
        let results = [server.join(), client.join()];
        done.store(true, Ordering::Relaxed);
        let seen = relay.map(|relay| relay.join().unwrap());
        for result in results {
            result.unwrap();
        }
        seen
    })
}

fn tcp(test: &str, address: &str, device: (Layer, Offload)) -> Option<Seen> {
    let address: SocketAddr = address.parse().unwrap();
    let data = |at: usize| (at * 31 + at / 1000) as u8;
    joined(
        test,
        device,
        || TcpListener::bind(address).unwrap(),
        |listener| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(PATIENCE).unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            assert_eq!(received.len(), TCP_BYTES);
            assert!(received.iter().enumerate().all(|(at, byte)| *byte == data(at)));
            stream.write_all(b"all of it").unwrap();
        },
        || {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE.unwrap()).unwrap();
            stream.set_write_timeout(PATIENCE).unwrap();
            stream.set_read_timeout(PATIENCE).unwrap();
            let sent: Vec<_> = (0..TCP_BYTES).map(data).collect();
            stream.write_all(&sent).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "all of it");
        },
    )
}

fn udp(test: &str, address: &str, local: &str, layer: Layer) -> Option<Seen> {
    const DATAGRAMS: usize = 20;
    const SIZE: usize = 1200;
    let address: SocketAddr = address.parse().unwrap();
    let local: SocketAddr = local.parse().unwrap();
    joined(
        test,
        (layer, Offload::ALL),
        || UdpSocket::bind(address).unwrap(),
        |socket| {
            socket.set_read_timeout(PATIENCE).unwrap();
            let mut datagram = [0; 2000];
            for number in 0..DATAGRAMS {
                let size = if number + 1 == DATAGRAMS { SIZE / 2 } else { SIZE };
                let len = socket.recv(&mut datagram).unwrap();
                assert_eq!(datagram[..len], vec![number as u8; size]);
            }
        },
        || {
            let socket = UdpSocket::bind(local).unwrap();
            setsockopt(&socket, sockopt::UdpGsoSegment, &(SIZE as i32)).unwrap();
            let mut run: Vec<_> = (0..DATAGRAMS).flat_map(|n| [n as u8; SIZE]).collect();
            run.truncate(DATAGRAMS * SIZE - SIZE / 2);
            socket.send_to(&run, address).unwrap();
        },
    )
}

#[test]
fn tcp_passes_in_superpackets_over_both_families() {
    let test = "tcp_passes_in_superpackets_over_both_families";
    for layer in [Layer::Ip, Layer::Ethernet] {
        for address in ["10.77.0.1:5001", "[fd77::1]:5001"] {
            let Some(seen) = tcp(test, address, (layer, Offload::ALL)) else {
                return;
            };
            assert!(seen.largest_read > 10, "{layer:?}: {seen:?}");
            assert!(seen.superpackets_written > 10, "{layer:?}: {seen:?}");
        }
    }
}

#[test]
fn tcp_passes_without_offloads() {
    let test = "tcp_passes_without_offloads";
    for layer in [Layer::Ip, Layer::Ethernet] {
        if let Some(seen) = tcp(test, "10.77.0.1:5001", (layer, Offload::NONE)) {
            assert_eq!((seen.largest_read, seen.superpackets_written), (1, 0), "{layer:?}");
        }
    }
}

#[test]
fn udp_passes_in_superpackets_over_both_families() {
    let test = "udp_passes_in_superpackets_over_both_families";
    let ends = [("10.77.0.1:5001", "10.77.0.2:0"), ("[fd77::1]:5001", "[fd77::2]:0")];
    for layer in [Layer::Ip, Layer::Ethernet] {
        for (address, local) in ends {
            let Some(seen) = udp(test, address, local, layer) else {
                return;
            };
            assert_eq!(seen.largest_read, 20, "{layer:?}");
            assert_eq!(seen.superpackets_written, 1, "{layer:?}");
        }
    }
}
