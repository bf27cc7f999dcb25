//! Two underlays on the loopback interface, over real sockets.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use rtnetlink::LinkUnspec;
use socket2::SockRef;

use super::*;
use crate::testing::{block_on, in_own_network, load, skip};
use crate::wire::{DatagramSink, Ecn, Offload, Run};

mod receiving;
mod sending;

const LOOPBACKS: [&str; 2] = ["127.0.0.1", "::1"];

fn bind(offload: Offload) -> Arc<Underlay> {
    Arc::new(Underlay::bind(0, 0, offload, Vec::new()).unwrap())
}

/// The endpoint of `underlay` at `address`, or nothing where this host lacks the family.
fn endpoint_at(underlay: &Underlay, address: &str) -> Option<Endpoint> {
    let remote = SocketAddr::new(address.parse().unwrap(), underlay.port());
    let usable = underlay.main.load().fd(Family::of(&remote)).is_some()
        && UdpSocket::bind(SocketAddr::new(remote.ip(), 0)).is_ok();
    if !usable {
        skip("a test over a loopback address", address);
    }
    usable.then(|| Endpoint::new(remote))
}

/// Runs `check` over each loopback address this host has, with and without offload.
fn over_loopbacks(check: impl Fn(&Arc<Underlay>, &Arc<Underlay>, Endpoint)) {
    for offload in [Offload::ALL, Offload::NONE] {
        let (sender, receiver) = (bind(offload), bind(offload));
        let to = LOOPBACKS.map(|address| endpoint_at(&receiver, address));
        assert!(to[0].is_some() || to[1].is_some());
        for endpoint in to.into_iter().flatten() {
            check(&sender, &receiver, endpoint);
        }
    }
}

fn wait_readable(fd: BorrowedFd<'_>) {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let ready = poll(&mut fds, PollTimeout::from(10_000u16)).unwrap();
    assert_eq!(ready, 1, "nothing arrived within ten seconds");
}

/// Waits for the next receive call's worth of datagrams.
fn receive(underlay: &Underlay, family: Family, buffer: &mut RecvBuffer) -> ReceivedRun {
    let sockets = underlay.main.load_full();
    loop {
        wait_readable(sockets.fd(family).unwrap());
        if buffer.is_full() {
            buffer.clear();
        }
        if let Some(received) = underlay.receive(&sockets, family, buffer).unwrap() {
            return received;
        }
    }
}

/// The datagrams of one receive call, in order.
fn datagrams<'b>(buffer: &'b RecvBuffer, received: &ReceivedRun) -> std::slice::Chunks<'b, u8> {
    buffer.bytes()[received.start..received.start + received.len].chunks(received.stride)
}

/// Waits for `count` datagrams.
fn collect(underlay: &Underlay, family: Family, count: usize) -> Vec<Vec<u8>> {
    let mut buffer = RecvBuffer::new();
    let mut arrived = Vec::new();
    while arrived.len() < count {
        let received = receive(underlay, family, &mut buffer);
        assert!(!received.truncated);
        arrived.extend(datagrams(&buffer, &received).map(<[u8]>::to_vec));
    }
    arrived
}

fn run(stride: usize, count: usize, last: usize, ecn: Ecn) -> Run {
    Run { stride, count, last, ecn, dscp: 0 }
}

/// Reserves `run` and fills each datagram with the next number; returns them.
fn fill(batch: &mut SendBatch, run: Run, number: &mut u8) -> Vec<Vec<u8>> {
    let slot = batch.reserve(run);
    assert_eq!(slot.len(), run.total());
    let mut datagrams = Vec::new();
    for datagram in slot.chunks_mut(run.stride) {
        *number = number.wrapping_add(1);
        datagram.fill(*number);
        datagrams.push(datagram.to_vec());
    }
    datagrams
}

/// Sets the loopback interface up, with an MTU, perhaps with one more address.
fn raise_loopback(mtu: u32, address: Option<&str>) {
    block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let message = LinkUnspec::new_with_index(1).up().mtu(mtu).build();
        handle.link().set(message).execute().await.unwrap();
        if let Some(address) = address {
            let add = handle.address().add(1, address.parse().unwrap(), 64);
            add.execute().await.unwrap();
        }
    });
}

#[test]
fn both_families_have_one_port() {
    let underlay = bind(Offload::ALL);
    let main = underlay.main.load();
    for family in Family::ALL {
        let Some(fd) = main.fd(family) else {
            skip("both_families_have_one_port", format_args!("{family:?}"));
            continue;
        };
        let address = SockRef::from(&fd).local_addr().unwrap().as_socket().unwrap();
        assert_eq!(address.port(), underlay.port());
        assert_eq!(Family::of(&address), family);
    }
    assert_ne!(underlay.port(), 0);
}

#[test]
fn a_port_in_use_says_so() {
    let first = bind(Offload::ALL);
    let error = Underlay::bind(first.port(), 0, Offload::ALL, Vec::new()).unwrap_err();
    assert!(matches!(error, UnderlayError::PortInUse { port } if port == first.port()));
}

#[test]
fn a_free_port_can_be_chosen() {
    let port = Underlay::bind(0, 0, Offload::ALL, Vec::new()).unwrap().port();
    match Underlay::bind(port, 0, Offload::ALL, Vec::new()) {
        Ok(underlay) => assert_eq!(underlay.port(), port),
        Err(UnderlayError::PortInUse { .. }) => {} // another process was faster
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn fwmark_marks_the_socket() {
    let underlay = match Underlay::bind(0, 0x7e57, Offload::ALL, Vec::new()) {
        Err(UnderlayError::MarkRefused { fwmark: 0x7e57 }) => {
            return skip("fwmark_marks_the_socket", "CAP_NET_ADMIN");
        }
        result => result.unwrap(),
    };
    let is_marked = |fwmark| {
        let main = underlay.main.load();
        let fds = Family::ALL.into_iter().filter_map(|family| main.fd(family));
        fds.for_each(|fd| assert_eq!(SockRef::from(&fd).mark().unwrap(), fwmark));
    };
    is_marked(0x7e57);
    assert_eq!(underlay.set_fwmark(7).unwrap(), 0x7e57);
    is_marked(7);
    underlay.replace(underlay.open(free_port()).unwrap().expect("it is another port"));
    is_marked(7);
}

#[test]
fn another_port_is_opened_only_if_it_is_another_and_taken_into_use_at_once() {
    let underlay = bind(Offload::ALL);
    for same in [0, underlay.port()] {
        assert!(underlay.open(same).unwrap().is_none());
    }
    let taken = bind(Offload::ALL);
    let error = underlay.open(taken.port()).unwrap_err();
    assert!(matches!(error, UnderlayError::PortInUse { port } if port == taken.port()));
    underlay.change_port().unwrap();
    let port = free_port();
    underlay.replace(underlay.open(port).unwrap().expect("it is another port"));
    assert_eq!(underlay.port(), port);
    assert_eq!(underlay.sockets().count(), 1);
}

fn free_port() -> u16 {
    bind(Offload::ALL).port()
}

#[test]
fn an_endpoint_of_a_family_without_a_socket_is_discarded_by_name() {
    let v4_only = open::pair(0, |family, port| match family {
        Family::V4 => FamilySocket::open(family, port, 0, Offload::ALL),
        Family::V6 => Err(open::OpenError::Missing(io::ErrorKind::Unsupported.into())),
    });
    let underlay = Underlay {
        main: ArcSwap::from_pointee(v4_only.unwrap()),
        alternate: ArcSwapOption::empty(),
        fwmark: 0.into(),
        wanted: Offload::ALL,
        counters: UnderlayCounters::default(),
    };
    let main = underlay.main.load_full();
    assert!(main.fd(Family::V6).is_none());
    let endpoint = Endpoint::new("[::1]:9".parse().unwrap());
    underlay.send(&endpoint, b"message", 0);
    let counters = &underlay.counters().send;
    assert_eq!(counters.discarded(UnderlayDiscard::NoSocket), 1);
    let mut buffer = RecvBuffer::new();
    assert_eq!(underlay.receive(&main, Family::V6, &mut buffer).unwrap(), None);
}

#[test]
fn once_the_peer_answers_through_the_first_port_the_other_one_is_given_up() {
    let underlay = Underlay::bind(0, 0, Offload::ALL, Vec::new()).unwrap();
    let source = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
    assert!(!underlay.settle_on(source(underlay.port())), "there is no other one");
    let other = underlay.change_port().unwrap();
    for elsewhere in [None, source(other)] {
        assert!(!underlay.settle_on(elsewhere));
        assert_eq!(underlay.sockets().count(), 2);
    }
    assert!(underlay.settle_on(source(underlay.port())));
    assert_eq!(underlay.sockets().count(), 1);
}
