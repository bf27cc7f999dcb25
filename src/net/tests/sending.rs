use super::*;

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
            (32, 62, 32),
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
    });
}

#[test]
fn udp_gso_takes_many_datagrams_with_one_call() {
    let (sender, receiver) = (bind(Offload::ALL), bind(Offload::ALL));
    for endpoint in LOOPBACKS.iter().filter_map(|address| endpoint_at(&receiver, address)) {
        let family = Family::of(&endpoint.remote);
        if !sender.offload().gso {
            return skip("udp_gso_takes_many_datagrams_with_one_call", "UDP GSO");
        }
        let send = &sender.counters().send;
        let (calls, sent) = (load(&send.calls), load(&send.datagrams));
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
        assert_eq!(load(&send.datagrams) - sent, 40);
        // UDP GRO hands them over together
        let mut buffer = RecvBuffer::new();
        let received = receive(&receiver, family, &mut buffer);
        assert_eq!(received.stride, 1452);
        assert_eq!(received.count(), 40);
        let arrived: Vec<_> = datagrams(&buffer, &received).map(<[u8]>::to_vec).collect();
        assert_eq!(arrived, expected);
    }
}

#[test]
fn the_plain_path_takes_one_datagram_with_each_call() {
    let (sender, receiver) = (bind(Offload::NONE), bind(Offload::NONE));
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
    let sender = bind(Offload::ALL);
    for address in LOOPBACKS {
        let Ok(socket) = UdpSocket::bind((address, 0)) else {
            skip("a_handshake_message_leaves_with_its_dscp", address);
            continue;
        };
        if socket.local_addr().unwrap().is_ipv4() {
            setsockopt(&socket, sockopt::IpRecvTos, &true).unwrap();
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvTClass, &true).unwrap();
        }
        let endpoint = Endpoint::new(socket.local_addr().unwrap());
        for tos in [0x88, 0x8b, 0] {
            sender.send(&endpoint, b"message", tos);
            assert_eq!(tos_of_next(&socket), tos);
        }
    }
}

#[test]
fn a_datagram_larger_than_udp_allows_is_discarded_by_name() {
    over_loopbacks(|sender, receiver, endpoint| {
        let discarded = || sender.counters().send.discarded(UnderlayDiscard::TooLarge);
        let before = discarded();
        sender.send(&endpoint, &vec![0; 65_528], 0);
        assert_eq!(discarded() - before, 1);
        // And the next one goes
        sender.send(&endpoint, b"next", 0);
        assert_eq!(collect(receiver, Family::of(&endpoint.remote), 1), [b"next"]);
    });
}

#[test]
fn without_an_endpoint_a_batch_is_discarded_by_name() {
    let sender = bind(Offload::ALL);
    let mut batch = SendBatch::new(Arc::clone(&sender));
    fill(&mut batch, run(500, 4, 100, Ecn::NotEct), &mut 0);
    batch.flush();
    let counters = &sender.counters().send;
    assert_eq!(counters.discarded(UnderlayDiscard::NoEndpoint), 4);
    assert_eq!(load(&counters.calls), 0);
}

#[test]
fn what_is_held_goes_to_the_endpoint_it_was_reserved_for() {
    let (sender, first, second) = (bind(Offload::ALL), bind(Offload::ALL), bind(Offload::ALL));
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
fn segments_larger_than_the_route_allows_arrive_in_fragments() {
    let test = "segments_larger_than_the_route_allows_arrive_in_fragments";
    in_own_network(test, || {
        raise_loopback(1400, None);
        over_loopbacks(|sender, receiver, endpoint| {
            let mut batch = SendBatch::new(Arc::clone(sender));
            batch.set_endpoint(Some(endpoint));
            let mut number = 0;
            let mut expected = Vec::new();
            for _ in 0..2 {
                let run = run(1452, 10, 700, Ecn::NotEct);
                expected.extend(fill(&mut batch, run, &mut number));
            }
            batch.flush();
            let family = Family::of(&endpoint.remote);
            assert_eq!(collect(receiver, family, 20), expected);
        });
    });
}

#[test]
fn what_no_route_takes_is_discarded_by_name_until_there_is_one() {
    let test = "what_no_route_takes_is_discarded_by_name_until_there_is_one";
    in_own_network(test, || {
        let (sender, receiver) = (bind(Offload::ALL), bind(Offload::ALL));
        let mut batch = SendBatch::new(Arc::clone(&sender));
        let remote = SocketAddr::from(([127, 0, 0, 1], receiver.port()));
        batch.set_endpoint(Some(Endpoint::new(remote)));
        fill(&mut batch, run(500, 4, 100, Ecn::NotEct), &mut 0);
        batch.flush();
        let discarded = |reason| sender.counters().send.discarded(reason);
        assert_eq!(discarded(UnderlayDiscard::NetworkUnreachable), 4);
        raise_loopback(65_536, None);
        let expected = fill(&mut batch, run(500, 4, 100, Ecn::NotEct), &mut 0);
        batch.flush();
        assert_eq!(collect(&receiver, Family::V4, 4), expected);
    });
}
