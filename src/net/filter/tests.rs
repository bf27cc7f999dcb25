//! The program in the kernel, on real sockets of the loopback interface.

use std::net::{SocketAddr, UdpSocket};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::*;
use crate::net::{RecvBuffer, Underlay};
use crate::testing::{load as count_of, skip};
use crate::wire::Offload;

const PEER: &str = "127.0.0.1";
const STRANGER: &str = "127.0.0.2";
const LIVE: u32 = 0x1234_5678;

/// How often to look for what was sent, 10 ms from one time to the next: it is there at once unless the machine is busy.
const LOOKS: usize = 1000;

/// Lets all messages of strangers pass, and the peer at [`PEER`].
fn screen() -> Screen {
    Screen {
        peers: vec![PEER.parse().unwrap()],
        indices: vec![7, LIVE, 9],
        data: Chance::ALL,
        handshakes: Chance::ALL,
    }
}

/// An underlay behind `screen`.
fn screened(screen: Option<&Screen>) -> Underlay {
    let underlay = Underlay::bind(0, 0, Offload::ALL, Vec::new()).unwrap();
    underlay.screen(screen);
    underlay
}

fn sender(from: &str, underlay: &Underlay) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    let to: IpAddr = if socket.local_addr().unwrap().is_ipv4() {
        PEER.parse().unwrap()
    } else {
        "::1".parse().unwrap()
    };
    socket.connect(SocketAddr::new(to, underlay.port())).unwrap();
    socket
}

/// Sends these from `from`, and tells how long those are that arrive, once the others are known to be discarded.
fn arriving(underlay: &Underlay, from: &str, datagrams: &[Vec<u8>]) -> Vec<usize> {
    let socket = sender(from, underlay);
    for datagram in datagrams {
        assert_eq!(socket.send(datagram).unwrap(), datagram.len());
    }
    let family = Family::of(&socket.local_addr().unwrap());
    let (mut arrived, mut discarded) = (Vec::new(), 0);
    let mut buffer = RecvBuffer::new();
    for _ in 0..LOOKS {
        while let Some(run) = underlay.receive(&underlay.main.load(), family, &mut buffer).unwrap()
        {
            arrived.push(run.len);
            buffer.clear();
        }
        discarded += underlay.take_discarded() as usize;
        if arrived.len() + discarded == datagrams.len() {
            return arrived;
        }
        let main = underlay.main.load();
        let mut ready = [PollFd::new(main.fd(family).unwrap(), PollFlags::POLLIN)];
        poll(&mut ready, 10u8).unwrap();
    }
    panic!(
        "of {} datagrams {} arrived, {discarded} were discarded",
        datagrams.len(),
        arrived.len()
    );
}

/// Whether such a datagram of a stranger passes a screen that lets all their messages pass.
fn passes(datagram: &[u8]) -> bool {
    arriving(&screened(Some(&screen())), STRANGER, &[datagram.to_vec()]) == [datagram.len()]
}

fn handshake(message_type: u8, length: usize) -> Vec<u8> {
    let mut message = vec![0xa5; length];
    message.iter_mut().zip([message_type, 0, 0, 0]).for_each(|(byte, first)| *byte = first);
    message
}

fn data(index: u32, length: usize) -> Vec<u8> {
    let mut message = handshake(4, length);
    message[4..8].copy_from_slice(&index.to_le_bytes());
    message
}

#[test]
fn what_is_a_handshake_message_by_type_and_length_passes() {
    for (message_type, length) in [(1, 148), (2, 92), (3, 64)] {
        assert!(passes(&handshake(message_type, length)), "type {message_type}");
        for wrong in [length - 1, length + 1, 2 * length, 0, 1400] {
            assert!(!passes(&handshake(message_type, wrong)), "type {message_type}, {wrong} bytes");
        }
        for reserved in 1..4 {
            let mut message = handshake(message_type, length);
            message[reserved] = 1;
            assert!(!passes(&message), "type {message_type}, byte {reserved}");
        }
    }
}

#[test]
fn transport_data_passes_that_is_for_a_session_of_ours() {
    for index in [7, LIVE, 9] {
        for length in [8, 32, 1452] {
            assert!(passes(&data(index, length)), "{index}, {length} bytes");
        }
    }
    for index in [0, 8, LIVE.swap_bytes(), LIVE + 1, u32::MAX] {
        assert!(!passes(&data(index, 64)), "{index}");
    }
    assert!(!passes(&data(LIVE, 64)[..7]), "no index");
    let without_sessions = screened(Some(&Screen { indices: vec![], ..screen() }));
    assert!(arriving(&without_sessions, STRANGER, &[data(0, 64), data(LIVE, 64)]).is_empty());
}

#[test]
fn what_is_no_message_does_not_pass() {
    for message_type in [0, 5, 255] {
        assert!(!passes(&handshake(message_type, 148)), "type {message_type}");
    }
    for length in 0..4 {
        assert!(!passes(&handshake(4, length)), "{length} bytes");
    }
}

#[test]
fn whatever_comes_from_the_peers_address_passes_from_any_port_of_it() {
    let underlay = screened(Some(&Screen { handshakes: Chance(0), data: Chance(0), ..screen() }));
    let any: Vec<_> = [0, 1, 3, 148, 1400].map(|length| handshake(9, length)).into();
    for _ in 0..2 {
        assert_eq!(arriving(&underlay, PEER, &any), [0, 1, 3, 148, 1400]);
        assert!(arriving(&underlay, STRANGER, &any).is_empty());
    }
}

#[test]
fn the_peer_passes_from_each_place_where_it_may_be() {
    let peers = ["::2", STRANGER, "::1", PEER].map(|peer| peer.parse().unwrap());
    let closed = Screen { handshakes: Chance(0), data: Chance(0), ..screen() };
    let underlay = screened(Some(&Screen { peers: peers.into(), ..closed }));
    for (from, arrive) in [(PEER, 1), (STRANGER, 1), ("127.0.0.3", 0)] {
        assert_eq!(arriving(&underlay, from, &[handshake(1, 148)]).len(), arrive, "{from}");
    }
}

#[test]
fn a_run_of_the_peers_datagrams_passes_though_the_first_is_junk() {
    let underlay = screened(Some(&screen()));
    let socket = sender(PEER, &underlay);
    setsockopt(&socket, sockopt::UdpGsoSegment, &100).unwrap();
    let run = [handshake(9, 100), data(LIVE, 100), data(LIVE, 60)].concat();
    socket.send(&run).unwrap();
    let mut buffer = RecvBuffer::new();
    let mut received = 0;
    while received < run.len() {
        let main = underlay.main.load();
        let mut ready = [PollFd::new(main.fd(Family::V4).unwrap(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut ready, 10_000u16).unwrap(), 1, "{received} bytes so far");
        received += underlay
            .receive(&underlay.main.load(), Family::V4, &mut buffer)
            .unwrap()
            .map_or(0, |run| run.len);
    }
}

#[test]
fn over_ipv6_the_peer_is_the_first_64_bits_of_its_address() {
    let underlay = screened(None);
    if UdpSocket::bind(("::1", 0)).is_err() || underlay.main.load().fd(Family::V6).is_none() {
        return skip("a screen over IPv6", "::1");
    }
    let junk = [handshake(9, 100)];
    for (peer, arrive) in [("::1", 1), ("::ffff", 1), ("0:0:0:1::1", 0), ("1::1", 0)] {
        let peers = vec![peer.parse().unwrap()];
        underlay.screen(Some(&Screen { peers, ..screen() }));
        assert_eq!(arriving(&underlay, "::1", &junk).len(), arrive, "{peer}");
    }
    // The peer's screen over IPv4 is one of strangers over IPv6, and the other way round.
    underlay.screen(Some(&screen()));
    assert!(arriving(&underlay, "::1", &junk).is_empty());
    assert_eq!(arriving(&underlay, "::1", &[handshake(1, 148)]).len(), 1);
}

#[test]
fn a_share_of_strangers_messages_passes() {
    let half = Chance(u32::MAX / 2);
    let many = |message: Vec<u8>| vec![message; 1000];
    for (handshakes, data_chance) in [(half, Chance(0)), (Chance(0), half)] {
        let screen = Screen { handshakes, data: data_chance, ..screen() };
        let underlay = screened(Some(&screen));
        // That fewer than 350 or more than 650 of 1000 pass has a probability below 10^-21.
        for (message, chance) in [(handshake(1, 148), handshakes), (data(LIVE, 64), data_chance)] {
            let passed = arriving(&underlay, STRANGER, &many(message)).len();
            let right = if chance == half { 350..650 } else { 0..1 };
            assert!(right.contains(&passed), "{passed} of {screen:?}");
        }
    }
}

#[test]
fn a_screen_replaces_the_one_before_and_none_lets_everything_pass() {
    let underlay = screened(Some(&screen()));
    let junk = [handshake(9, 100)];
    underlay.screen(Some(&Screen { peers: vec![STRANGER.parse().unwrap()], ..screen() }));
    assert_eq!(arriving(&underlay, STRANGER, &junk), [100]);
    underlay.screen(None);
    assert_eq!(arriving(&underlay, STRANGER, &junk), [100]);
    underlay.screen(None);
    assert_eq!(arriving(&underlay, PEER, &junk), [100]);
}

#[test]
fn what_the_kernel_discards_is_counted_once() {
    let underlay = screened(Some(&screen()));
    let junk = vec![handshake(9, 100); 100];
    // It ends once as many are discarded.
    assert!(arriving(&underlay, STRANGER, &junk).is_empty());
    assert_eq!(underlay.take_discarded(), 0);
    assert_eq!(count_of(&underlay.counters().receive.datagrams), 0);
}
