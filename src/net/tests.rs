//! Two underlays on the loopback interface, over real sockets.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::SockRef;

use super::*;
use crate::wire::DatagramSink;

const LOOPBACKS: [&str; 2] = ["127.0.0.1", "::1"];

/// Says what a test misses here, and ends it; where everything is required, fails it.
fn skip(test: &str, missing: &str) {
    use std::io::Write;
    assert!(
        std::env::var("TUNNELD_TEST_REQUIRE").as_deref() != Ok("all"),
        "{test}: {missing} is required"
    );
    writeln!(io::stderr(), "SKIPPED: {test}: {missing}").unwrap();
}

fn bind(offload: bool) -> Arc<Underlay> {
    Arc::new(Underlay::bind(0, 0, offload).unwrap())
}

/// The endpoint of `underlay` at `address`, or nothing where this host lacks the family.
fn endpoint_at(underlay: &Underlay, address: &str) -> Option<Endpoint> {
    let remote = SocketAddr::new(address.parse().unwrap(), underlay.port());
    let usable = underlay.has_family(Family::of(&remote))
        && UdpSocket::bind(SocketAddr::new(remote.ip(), 0)).is_ok();
    usable.then(|| Endpoint::new(remote))
}

/// Runs `check` over each loopback address this host has, with and without offload.
fn over_loopbacks(check: impl Fn(&Arc<Underlay>, &Arc<Underlay>, Endpoint)) {
    for offload in [true, false] {
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
fn receive(underlay: &Underlay, family: Family, buffer: &mut RecvBuffer) -> Received {
    loop {
        wait_readable(underlay.fd(family).unwrap());
        if let Some(received) = underlay.receive(family, buffer).unwrap() {
            return received;
        }
    }
}

/// Waits for `count` datagrams.
fn collect(underlay: &Underlay, family: Family, count: usize) -> Vec<Vec<u8>> {
    let mut buffer = RecvBuffer::new();
    let mut datagrams = Vec::new();
    while datagrams.len() < count {
        let received = receive(underlay, family, &mut buffer);
        assert!(!received.truncated);
        datagrams.extend(buffer.datagrams(&received).map(|datagram| datagram.to_vec()));
    }
    datagrams
}

fn run(stride: usize, count: usize, last: usize, ecn: Ecn) -> Run {
    Run { stride, count, last, ecn }
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

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn both_families_have_one_port() {
    let underlay = bind(true);
    for family in Family::ALL {
        let Some(fd) = underlay.fd(family) else {
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
    let first = bind(true);
    let error = Underlay::bind(first.port(), 0, true).unwrap_err();
    assert!(matches!(error, UnderlayError::PortInUse { port } if port == first.port()));
}

#[test]
fn a_free_port_can_be_chosen() {
    let port = Underlay::bind(0, 0, true).unwrap().port();
    match Underlay::bind(port, 0, true) {
        Ok(underlay) => assert_eq!(underlay.port(), port),
        Err(UnderlayError::PortInUse { .. }) => {} // another process was faster
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn fwmark_marks_the_socket() {
    let underlay = match Underlay::bind(0, 0x7e57, true) {
        Err(UnderlayError::MarkRefused { fwmark: 0x7e57 }) => {
            return skip("fwmark_marks_the_socket", "CAP_NET_ADMIN");
        }
        result => result.unwrap(),
    };
    for fd in Family::ALL.into_iter().filter_map(|family| underlay.fd(family)) {
        assert_eq!(SockRef::from(&fd).mark().unwrap(), 0x7e57);
    }
}

#[test]
fn runs_arrive_whole_and_in_order() {
    over_loopbacks(|sender, receiver, endpoint| {
        let mut batch = SendBatch::new(Arc::clone(sender));
        batch.set_endpoint(Some(endpoint));
        let mut number = 0;
        let mut expected = Vec::new();
        for (stride, count, last) in [
            (1452, 45, 700),
            (1452, 3, 1452),
            (1452, 1, 1452),
            (1452, 1, 32),
            (1452, 2, 1452),
            (32, 64, 32),
            (148, 1, 148),
            (65_507, 1, 65_507),
            (8000, 8, 8000),
        ] {
            let run = run(stride, count, last, Ecn::NotEct);
            expected.extend(fill(&mut batch, run, &mut number));
        }
        batch.flush();
        batch.flush();
        let family = Family::of(&endpoint.remote);
        assert_eq!(collect(receiver, family, expected.len()), expected);
        let counters = &sender.counters().send;
        assert_eq!(load(&counters.gso_refused), 0);
    });
}

#[test]
fn udp_gso_takes_many_datagrams_with_one_call() {
    let (sender, receiver) = (bind(true), bind(true));
    for endpoint in LOOPBACKS.iter().filter_map(|address| endpoint_at(&receiver, address)) {
        let family = Family::of(&endpoint.remote);
        if !sender.sockets.of(family).unwrap().gso().load(Ordering::Relaxed) {
            return skip("udp_gso_takes_many_datagrams_with_one_call", "UDP GSO");
        }
        let send = &sender.counters().send;
        let (calls, datagrams) = (load(&send.calls), load(&send.datagrams));
        let mut batch = SendBatch::new(Arc::clone(&sender));
        batch.set_endpoint(Some(endpoint));
        let mut number = 0;
        let mut expected = Vec::new();
        for _ in 0..4 {
            let run = run(1452, 10, 1452, Ecn::NotEct);
            expected.extend(fill(&mut batch, run, &mut number));
        }
        batch.flush();
        assert_eq!(load(&send.calls) - calls, 1);
        assert_eq!(load(&send.datagrams) - datagrams, 40);
        // UDP GRO hands them over together
        let mut buffer = RecvBuffer::new();
        let received = receive(&receiver, family, &mut buffer);
        assert_eq!(received.stride, 1452);
        assert_eq!(received.count(), 40);
        let arrived: Vec<_> = buffer.datagrams(&received).map(|d| d.to_vec()).collect();
        assert_eq!(arrived, expected);
    }
}

#[test]
fn the_plain_path_takes_one_datagram_with_each_call() {
    let (sender, receiver) = (bind(false), bind(false));
    for endpoint in LOOPBACKS.iter().filter_map(|address| endpoint_at(&receiver, address)) {
        let calls = load(&sender.counters().send.calls);
        let mut batch = SendBatch::new(Arc::clone(&sender));
        batch.set_endpoint(Some(endpoint));
        fill(&mut batch, run(1452, 10, 1452, Ecn::NotEct), &mut 0);
        batch.flush();
        assert_eq!(load(&sender.counters().send.calls) - calls, 10);
        let mut buffer = RecvBuffer::new();
        for _ in 0..10 {
            let received = receive(&receiver, Family::of(&endpoint.remote), &mut buffer);
            assert_eq!((received.len, received.stride), (1452, 1452));
        }
    }
}

#[test]
fn an_answer_leaves_from_the_address_that_was_addressed() {
    let (here, there) = (bind(true), bind(true));
    let mut buffer = RecvBuffer::new();
    for address in ["127.0.0.2", "127.0.0.3", "::1"] {
        let Some(endpoint) = endpoint_at(&there, address) else {
            continue;
        };
        let family = Family::of(&endpoint.remote);
        assert_eq!(here.send(&endpoint, b"question", 0).sent, 1);
        let asked = receive(&there, family, &mut buffer);
        assert_eq!(asked.endpoint.source, Some(address.parse().unwrap()));
        assert_eq!(asked.endpoint.remote.port(), here.port());
        assert_eq!(there.send(&asked.endpoint, b"answer", 0).sent, 1);
        let answered = receive(&here, family, &mut buffer);
        assert_eq!(answered.endpoint.remote, endpoint.remote);
    }
}

#[test]
fn a_run_leaves_from_its_sticky_source() {
    let (sender, receiver) = (bind(true), bind(true));
    let Some(endpoint) = endpoint_at(&receiver, "127.0.0.1") else {
        return skip("a_run_leaves_from_its_sticky_source", "IPv4");
    };
    let source = IpAddr::from([127, 0, 0, 9]);
    let mut batch = SendBatch::new(Arc::clone(&sender));
    batch.set_endpoint(Some(Endpoint { source: Some(source), ..endpoint }));
    fill(&mut batch, run(500, 4, 100, Ecn::NotEct), &mut 0);
    batch.flush();
    let mut buffer = RecvBuffer::new();
    let received = receive(&receiver, Family::V4, &mut buffer);
    assert_eq!(received.endpoint.remote.ip(), source);
    assert!(!batch.take_source_lost());
}

#[test]
fn a_source_that_this_host_has_no_more_is_reported_and_nothing_lost() {
    let cases = [("127.0.0.1", "192.0.2.99"), ("::1", "2001:db8::99")];
    let (sender, receiver) = (bind(true), bind(true));
    for (address, gone) in cases {
        let Some(endpoint) = endpoint_at(&receiver, address) else {
            continue;
        };
        let gone = Endpoint { source: Some(gone.parse().unwrap()), ..endpoint };
        assert!(sender.send(&gone, b"one", 0).source_lost);
        let mut batch = SendBatch::new(Arc::clone(&sender));
        batch.set_endpoint(Some(gone));
        let mut number = 0;
        let expected = fill(&mut batch, run(500, 4, 100, Ecn::NotEct), &mut number);
        batch.flush();
        assert!(batch.take_source_lost());
        assert!(!batch.take_source_lost());
        // The batch has forgotten it already, GSO is still on
        let calls = load(&sender.counters().send.calls);
        fill(&mut batch, run(500, 4, 100, Ecn::NotEct), &mut number);
        batch.flush();
        assert!(!batch.take_source_lost());
        assert_eq!(load(&sender.counters().send.calls) - calls, 1);
        let arrived = collect(&receiver, Family::of(&endpoint.remote), 9);
        assert_eq!(arrived[0], b"one");
        assert_eq!(arrived[1..5], expected);
    }
}

#[test]
fn the_outer_ecn_field_arrives_as_sent() {
    over_loopbacks(|sender, receiver, endpoint| {
        let family = Family::of(&endpoint.remote);
        let mut buffer = RecvBuffer::new();
        let mut batch = SendBatch::new(Arc::clone(sender));
        batch.set_endpoint(Some(endpoint));
        for ecn in [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce] {
            for count in [1, 5] {
                fill(&mut batch, run(200, count, 200, ecn), &mut 0);
                batch.flush();
                let mut arrived = 0;
                while arrived < count {
                    let received = receive(receiver, family, &mut buffer);
                    assert_eq!(received.ecn, ecn);
                    arrived += received.count();
                }
            }
        }
    });
}

#[test]
fn runs_of_different_ecn_do_not_share_it() {
    over_loopbacks(|sender, receiver, endpoint| {
        let mut buffer = RecvBuffer::new();
        let mut batch = SendBatch::new(Arc::clone(sender));
        batch.set_endpoint(Some(endpoint));
        fill(&mut batch, run(200, 1, 200, Ecn::Ce), &mut 0);
        fill(&mut batch, run(200, 1, 200, Ecn::Ect0), &mut 0);
        batch.flush();
        let family = Family::of(&endpoint.remote);
        assert_eq!(receive(receiver, family, &mut buffer).ecn, Ecn::Ce);
        assert_eq!(receive(receiver, family, &mut buffer).ecn, Ecn::Ect0);
    });
}

/// The whole TOS byte of the next datagram at `socket`.
fn tos_of_next(socket: &UdpSocket) -> u8 {
    wait_readable(socket.as_fd());
    let mut bytes = [0; 64];
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!([u8; 64]);
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::empty(),
    )
    .unwrap();
    let mut tos = message.cmsgs().unwrap().filter_map(|item| match item {
        ControlMessageOwned::Ipv4Tos(tos) => Some(tos),
        ControlMessageOwned::Ipv6TClass(class) => u8::try_from(class).ok(),
        _ => None,
    });
    tos.next().unwrap()
}

#[test]
fn a_handshake_message_leaves_with_its_dscp() {
    let sender = bind(true);
    for address in LOOPBACKS {
        let Ok(socket) = UdpSocket::bind((address, 0)) else {
            continue;
        };
        if socket.local_addr().unwrap().is_ipv4() {
            setsockopt(&socket, sockopt::IpRecvTos, &true).unwrap();
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvTClass, &true).unwrap();
        }
        let endpoint = Endpoint::new(socket.local_addr().unwrap());
        for tos in [0x88, 0x8b, 0] {
            assert_eq!(sender.send(&endpoint, b"message", tos).sent, 1);
            assert_eq!(tos_of_next(&socket), tos);
        }
    }
}

#[test]
fn an_empty_datagram_hands_out_nothing() {
    over_loopbacks(|sender, receiver, endpoint| {
        let family = Family::of(&endpoint.remote);
        let mut buffer = RecvBuffer::new();
        assert_eq!(sender.send(&endpoint, &[], 0).sent, 1);
        let received = receive(receiver, family, &mut buffer);
        assert_eq!((received.len, received.stride), (0, 1));
        assert_eq!(buffer.datagrams(&received).count(), 0);
        assert_eq!(receiver.receive(family, &mut buffer).unwrap(), None);
    });
}

#[test]
fn a_datagram_larger_than_udp_allows_is_discarded_by_name() {
    over_loopbacks(|sender, receiver, endpoint| {
        let discarded = || sender.counters().send.discarded(UnderlayDiscard::TooLarge);
        let before = discarded();
        assert_eq!(sender.send(&endpoint, &vec![0; 65_528], 0).sent, 0);
        let mut batch = SendBatch::new(Arc::clone(sender));
        batch.set_endpoint(Some(endpoint));
        let len = 70_000;
        assert_eq!(batch.reserve(Run::single(len, Ecn::NotEct)).len(), len);
        batch.flush();
        assert_eq!(discarded() - before, 2);
        // And the next one goes
        assert_eq!(sender.send(&endpoint, b"next", 0).sent, 1);
        assert_eq!(collect(receiver, Family::of(&endpoint.remote), 1), [b"next"]);
    });
}

#[test]
fn without_an_endpoint_a_batch_is_discarded_by_name() {
    let sender = bind(true);
    let mut batch = SendBatch::new(Arc::clone(&sender));
    fill(&mut batch, run(500, 4, 100, Ecn::NotEct), &mut 0);
    batch.flush();
    let counters = &sender.counters().send;
    assert_eq!(counters.discarded(UnderlayDiscard::NoEndpoint), 4);
    assert_eq!(load(&counters.calls), 0);
}

#[test]
fn what_is_held_goes_to_the_endpoint_it_was_reserved_for() {
    let (sender, first, second) = (bind(true), bind(true), bind(true));
    let address = LOOPBACKS.iter().find(|address| endpoint_at(&first, address).is_some());
    let address = address.unwrap();
    let mut batch = SendBatch::new(Arc::clone(&sender));
    let mut number = 0;
    for receiver in [&first, &second] {
        batch.set_endpoint(endpoint_at(receiver, address));
        fill(&mut batch, run(500, 1, 500, Ecn::NotEct), &mut number);
    }
    batch.set_endpoint(None);
    let family = Family::of(&endpoint_at(&first, address).unwrap().remote);
    assert_eq!(collect(&first, family, 1), [vec![1; 500]]);
    assert_eq!(collect(&second, family, 1), [vec![2; 500]]);
}

#[test]
fn an_endpoint_of_a_family_without_a_socket_is_discarded_by_name() {
    let underlay = Underlay {
        sockets: open::pair(0, |family, port| match family {
            Family::V4 => FamilySocket::open(family, port, 0, true),
            Family::V6 => Err(open::OpenError::Missing(io::ErrorKind::Unsupported.into())),
        })
        .unwrap(),
        counters: UnderlayCounters::default(),
    };
    assert!(!underlay.has_family(Family::V6));
    assert!(underlay.fd(Family::V6).is_none());
    let endpoint = Endpoint::new("[::1]:9".parse().unwrap());
    assert_eq!(underlay.send(&endpoint, b"message", 0).sent, 0);
    let counters = &underlay.counters().send;
    assert_eq!(counters.discarded(UnderlayDiscard::NoSocket), 1);
    let mut buffer = RecvBuffer::new();
    assert_eq!(underlay.receive(Family::V6, &mut buffer).unwrap(), None);
}

#[test]
fn nothing_there_is_none_and_what_arrives_is_counted() {
    over_loopbacks(|sender, receiver, endpoint| {
        let family = Family::of(&endpoint.remote);
        let mut buffer = RecvBuffer::new();
        assert_eq!(receiver.receive(family, &mut buffer).unwrap(), None);
        let counters = &receiver.counters().receive;
        let (calls, datagrams) = (load(&counters.calls), load(&counters.datagrams));
        let bytes = vec![1; 250];
        sender.dispatch(endpoint, run(100, 3, 50, Ecn::NotEct), &bytes, 0);
        assert_eq!(collect(receiver, family, 3).concat(), bytes);
        assert_eq!(load(&counters.datagrams) - datagrams, 3);
        assert!((1..=3).contains(&(load(&counters.calls) - calls)));
        assert_eq!(load(&counters.truncated), 0);
    });
}

#[test]
fn a_link_local_endpoint_keeps_its_interface() {
    let test = "a_link_local_endpoint_keeps_its_interface";
    let link_local = nix::ifaddrs::getifaddrs().unwrap().find_map(|interface| {
        let address = *interface.address?.as_sockaddr_in6()?;
        address.ip().is_unicast_link_local().then_some(address)
    });
    let (here, there) = (bind(true), bind(true));
    let Some(address) = link_local.filter(|_| there.has_family(Family::V6)) else {
        return skip(test, "a link-local address");
    };
    let mut to = std::net::SocketAddrV6::from(address);
    to.set_port(there.port());
    assert_eq!(here.send(&Endpoint::new(to.into()), b"question", 0).sent, 1);
    let mut buffer = RecvBuffer::new();
    let asked = receive(&there, Family::V6, &mut buffer);
    let SocketAddr::V6(from) = asked.endpoint.remote else {
        panic!("not IPv6: {asked:?}");
    };
    assert_eq!(from.scope_id(), to.scope_id());
    assert_eq!(asked.endpoint.source, Some((*to.ip()).into()));
    let outcome = there.send(&asked.endpoint, b"answer", 0);
    assert_eq!((outcome.sent, outcome.source_lost), (1, false));
    let answered = receive(&here, Family::V6, &mut buffer);
    assert_eq!(answered.endpoint.remote, to.into());
}

#[test]
fn a_datagram_cut_short_is_flagged() {
    let (sender, receiver) = (bind(false), bind(false));
    let Some(endpoint) = endpoint_at(&receiver, "127.0.0.1") else {
        return skip("a_datagram_cut_short_is_flagged", "IPv4");
    };
    assert_eq!(endpoint.remote.ip(), Ipv4Addr::LOCALHOST);
    let mut buffer = RecvBuffer::with_room(100);
    assert_eq!(sender.send(&endpoint, &[7; 150], 0).sent, 1);
    let received = receive(&receiver, Family::V4, &mut buffer);
    assert!(received.truncated);
    assert_eq!((received.len, received.stride), (100, 100));
    assert_eq!(buffer.datagrams(&received).count(), 1);
    assert_eq!(load(&receiver.counters().receive.truncated), 1);
}
