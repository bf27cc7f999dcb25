use std::net::SocketAddrV6;

use super::*;

#[test]
fn an_answer_leaves_from_the_address_that_was_addressed() {
    let (here, there) = (bind(Offload::ALL), bind(Offload::ALL));
    let mut buffer = RecvBuffer::new();
    for address in ["127.0.0.2", "127.0.0.3", "::1"] {
        let Some(endpoint) = endpoint_at(&there, address) else {
            continue;
        };
        let family = Family::of(&endpoint.remote);
        here.send(&endpoint, b"question", 0);
        let asked = receive(&there, family, &mut buffer);
        assert_eq!(asked.endpoint.source, Some(endpoint.remote));
        assert_eq!(asked.endpoint.remote.port(), here.port());
        there.send(&asked.endpoint, b"answer", 0);
        let answered = receive(&here, family, &mut buffer);
        assert_eq!(answered.endpoint.remote, endpoint.remote);
    }
}

#[test]
fn a_run_leaves_from_its_sticky_source() {
    let (sender, receiver) = (bind(Offload::ALL), bind(Offload::ALL));
    let Some(endpoint) = endpoint_at(&receiver, "127.0.0.1") else {
        return skip("a_run_leaves_from_its_sticky_source", "IPv4");
    };
    let source = SocketAddr::from(([127, 0, 0, 9], sender.port()));
    let mut batch = SendBatch::new(Arc::clone(&sender));
    batch.set_endpoint(Some(Endpoint { source: Some(source), ..endpoint }));
    fill(&mut batch, run(500, 4, 100, Ecn::NotEct), &mut 0);
    batch.flush();
    let mut buffer = RecvBuffer::new();
    let received = receive(&receiver, Family::V4, &mut buffer);
    assert_eq!(received.endpoint.remote, source);
    assert!(!batch.take_source_lost());
}

#[test]
fn a_source_that_this_host_has_no_more_is_reported_and_nothing_lost() {
    let cases = [("127.0.0.1", "192.0.2.99"), ("::1", "2001:db8::99")];
    let (sender, receiver) = (bind(Offload::ALL), bind(Offload::ALL));
    for (address, gone) in cases {
        let Some(endpoint) = endpoint_at(&receiver, address) else {
            continue;
        };
        let gone = SocketAddr::new(gone.parse().unwrap(), sender.port());
        let gone = Endpoint { source: Some(gone), ..endpoint };
        assert!(sender.dispatch(gone, 3, b"one", 0, 1));
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
fn an_empty_datagram_hands_out_nothing() {
    over_loopbacks(|sender, receiver, endpoint| {
        let family = Family::of(&endpoint.remote);
        let mut buffer = RecvBuffer::new();
        sender.send(&endpoint, &[], 0);
        let received = receive(receiver, family, &mut buffer);
        assert_eq!((received.len, received.stride), (0, 1));
        assert_eq!(datagrams(&buffer, &received).count(), 0);
        assert_eq!(receiver.receive(&receiver.main.load(), family, &mut buffer).unwrap(), None);
    });
}

#[test]
fn nothing_there_is_none_and_what_arrives_is_counted() {
    over_loopbacks(|sender, receiver, endpoint| {
        let family = Family::of(&endpoint.remote);
        let mut buffer = RecvBuffer::new();
        assert_eq!(receiver.receive(&receiver.main.load(), family, &mut buffer).unwrap(), None);
        let counters = &receiver.counters().receive;
        let (calls, datagrams) = (load(&counters.calls), load(&counters.datagrams));
        let bytes = vec![1; 250];
        sender.dispatch(endpoint, 100, &bytes, 0, 1);
        assert_eq!(collect(receiver, family, 3).concat(), bytes);
        assert_eq!(load(&counters.datagrams) - datagrams, 3);
        assert!((1..=3).contains(&(load(&counters.calls) - calls)));
        assert_eq!(load(&counters.truncated), 0);
    });
}

#[test]
fn a_link_local_endpoint_keeps_its_interface() {
    let test = "a_link_local_endpoint_keeps_its_interface";
    in_own_network(test, || {
        raise_loopback(65_536, Some("fe80::7"));
        let (here, there) = (bind(Offload::ALL), bind(Offload::ALL));
        let main = there.main.load();
        if main.fd(Family::V6).is_none() {
            return skip("a_link_local_endpoint_keeps_its_interface", "IPv6");
        }
        let to = SocketAddrV6::new("fe80::7".parse().unwrap(), there.port(), 0, 1);
        // The kernel takes a moment with a new address: ask until the question arrives
        let fd = main.fd(Family::V6).unwrap();
        let mut arrived = [PollFd::new(fd, PollFlags::POLLIN)];
        for _ in 0..1000 {
            here.send(&Endpoint::new(to.into()), b"question", 0);
            if poll(&mut arrived, PollTimeout::from(10u8)) == Ok(1) {
                break;
            }
        }
        let mut buffer = RecvBuffer::new();
        let asked = receive(&there, Family::V6, &mut buffer);
        let from = SocketAddrV6::new(*to.ip(), here.port(), 0, 1);
        let expected = Endpoint {
            remote: from.into(),
            source: Some(SocketAddr::new((*to.ip()).into(), to.port())),
        };
        assert_eq!(asked.endpoint, expected);
        assert!(!there.dispatch(asked.endpoint, 6, b"answer", 0, 1));
        let answered = receive(&here, Family::V6, &mut buffer);
        assert_eq!(answered.endpoint.remote, to.into());
    });
}

#[test]
fn a_datagram_cut_short_is_flagged() {
    let (sender, receiver) = (bind(Offload::NONE), bind(Offload::NONE));
    let Some(endpoint) = endpoint_at(&receiver, "127.0.0.1") else {
        return skip("a_datagram_cut_short_is_flagged", "IPv4");
    };
    assert_eq!(endpoint.remote.ip(), Ipv4Addr::LOCALHOST);
    let mut buffer = RecvBuffer::with_room(100);
    sender.send(&endpoint, &[7; 150], 0);
    let received = receive(&receiver, Family::V4, &mut buffer);
    assert!(received.truncated);
    assert_eq!((received.len, received.stride), (100, 100));
    assert_eq!(datagrams(&buffer, &received).count(), 1);
    assert_eq!(load(&receiver.counters().receive.truncated), 1);
}

#[test]
fn after_a_change_of_port_both_ports_receive_and_what_has_no_sticky_source_leaves_from_the_new_one()
{
    let (here, there) = (bind(Offload::ALL), bind(Offload::ALL));
    let Some(to) = endpoint_at(&there, "127.0.0.1") else {
        return skip("after_a_change_of_port", "IPv4");
    };
    let first = here.port();
    let other = here.change_port().unwrap();
    assert_ne!(other, first);
    assert_eq!(here.port(), first);
    let mut buffer = RecvBuffer::new();
    let from = |port| SocketAddr::from(([127, 0, 0, 1], port));
    for (source, leaves_from) in
        [(None, other), (Some(from(other)), other), (Some(from(first)), first)]
    {
        here.send(&Endpoint { source, ..to }, b"question", 0);
        let asked = receive(&there, Family::V4, &mut buffer);
        assert_eq!(asked.endpoint.remote, from(leaves_from), "{source:?}");
        there.send(&asked.endpoint, b"answer", 0);
        let sockets = here.sockets().find(|sockets| sockets.port == leaves_from).unwrap();
        wait_readable(sockets.fd(Family::V4).unwrap());
        let answered = here.receive(&sockets, Family::V4, &mut buffer).unwrap().unwrap();
        assert_eq!(answered.endpoint.source, Some(from(leaves_from)));
    }
    assert_eq!(here.change_port().unwrap(), first);
    assert_eq!(here.sockets().count(), 1);
    here.send(&Endpoint { source: Some(from(other)), ..to }, b"question", 0);
    assert_eq!(receive(&there, Family::V4, &mut buffer).endpoint.remote, from(first));
}
