//! Where the peer is: what moves the endpoint and what does not.

use tunneld::proto::{Discard, Event};

use crate::handshakes::initiations;
use crate::link::{B, Link, is_data, millis, moved, packet, parameters, secs};
use crate::paper::{DATA, INITIATION, OVERHEAD, RESPONSE};

const ELSEWHERE: &str = "203.0.113.9:4500";
const ELSEWHERE6: &str = "[2001:db8::9]:4500";

#[test]
fn data_from_another_address_or_family_moves_the_endpoint() {
    let mut link = Link::established();
    for place in [ELSEWHERE, ELSEWHERE6, "203.0.113.9:4501"] {
        link.a.address = place.parse().unwrap();
        link.a_sends(&packet(1, 2, b"from elsewhere"));
        link.run(millis(11));
        assert_eq!(link.b.remote(), link.a.address);
        assert!(matches!(link.b.events.last(), Some(Event::EndpointMoved(_))));
        link.b_sends(&packet(2, 1, b"finds it"));
        link.run(millis(11));
        assert_eq!(link.a.delivered.pop(), Some(packet(2, 1, b"finds it")));
    }
}

#[test]
fn a_keepalive_moves_the_endpoint() {
    let mut link = Link::established();
    link.b_sends(&packet(2, 1, b"wants an answer"));
    link.run(secs(1));
    link.a.address = ELSEWHERE.parse().unwrap();
    link.run(secs(11));
    let keepalive = link.messages(link.a.address, DATA).pop().unwrap().1;
    assert_eq!(keepalive.bytes.len(), OVERHEAD);
    assert_eq!(link.b.remote(), link.a.address);
}

#[test]
fn a_response_moves_the_endpoint_and_an_initiation_once_it_is_confirmed() {
    let mut link = Link::new();
    let initiation = initiations(&mut link, 1).remove(0);
    assert_eq!(link.inject(&moved(&initiation, ELSEWHERE)), None);
    assert_eq!(link.b.remote(), link.a.address, "anybody may have kept it back and sent it");
    let response = link.hold().remove(0);
    assert_eq!(response.to, ELSEWHERE.parse().unwrap(), "the answer goes where it came from");

    link.a.address = response.to;
    assert_eq!(link.inject(&moved(&response, ELSEWHERE6)), None);
    assert_eq!(link.a.remote(), ELSEWHERE6.parse().unwrap());
    let confirmation = link.hold().remove(0);
    assert_eq!(link.inject(&moved(&confirmation, ELSEWHERE)), None);
    assert_eq!(link.b.remote(), ELSEWHERE.parse().unwrap());
}

#[test]
fn an_initiation_tells_where_the_peer_is_if_that_is_not_known() {
    let mut link = Link::with(&parameters(1, 2, Some(B)), &parameters(2, 1, None));
    link.a_sends(&packet(1, 2, b"calls"));
    link.run(millis(15));
    assert_eq!(link.b.remote(), link.a.address);
}

#[test]
fn what_is_not_authentic_or_was_replayed_does_not_move_the_endpoint() {
    let mut link = Link::established();
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    for message_type in [INITIATION, DATA] {
        let (_, sent) = link.messages(link.a.address, message_type).pop().unwrap();
        let mut forged = sent.clone();
        *forged.bytes.last_mut().unwrap() ^= 1;
        forged.bytes[100.min(sent.bytes.len() - 2)] ^= 1;
        for datagram in [sent, forged] {
            assert!(link.inject(&moved(&datagram, ELSEWHERE)).is_some());
            assert_eq!(link.b.remote(), link.a.address);
        }
    }
    let (_, response) = link.messages(link.b.address, RESPONSE).pop().unwrap();
    assert_eq!(link.inject(&moved(&response, ELSEWHERE)), Some(Discard::NothingOutstanding));
    assert_eq!(link.a.remote(), link.b.address);
}

#[test]
fn an_initiation_replayed_after_a_restart_misleads_nobody() {
    let mut link = Link::established();
    let (_, initiation) = link.messages(link.a.address, INITIATION).remove(0);
    link.restart_b();
    link.inject(&moved(&initiation, ELSEWHERE));
    assert_eq!(link.b.remote(), link.a.address);
    link.b_sends(&packet(2, 1, b"not with that session"));
    assert_eq!(link.messages(link.b.address, DATA).len(), 0, "nobody confirmed it");
    for _ in 0..20 {
        link.a_sends(&packet(1, 2, b"data"));
        link.run(secs(1));
    }
    assert_eq!(link.b.remote(), link.a.address);
    assert!(!link.b.delivered.is_empty());
}

#[test]
fn answers_leave_from_the_address_that_the_peer_addressed() {
    let link = Link::established();
    for host in [&link.a, &link.b] {
        assert_eq!(host.tunnel.endpoint().unwrap().source, Some(host.address));
    }
}

#[test]
fn each_retry_forgets_the_source_address() {
    let mut link = Link::established();
    link.run(secs(120));
    link.lose = |datagram| !is_data(datagram);
    link.a_sends(&packet(1, 2, b"rekeys"));
    link.b_sends(&packet(2, 1, b"so that nobody is silent"));
    link.run(millis(4990));
    assert!(link.a.tunnel.endpoint().unwrap().source.is_some());
    link.lose = |_| true;
    link.run(millis(400));
    assert_eq!(link.sent(link.a.address, INITIATION), 3);
    assert_eq!(link.a.tunnel.endpoint().unwrap().source, None);
    assert_eq!(link.a.remote(), B.parse().unwrap());
}

#[test]
fn silence_forgets_the_source_address() {
    let mut link = Link::established();
    link.lose = |_| true;
    link.a_sends(&packet(1, 2, b"unanswered"));
    link.run(secs(14));
    assert!(link.a.tunnel.endpoint().unwrap().source.is_some());
    link.run(secs(2));
    assert_eq!(link.a.tunnel.endpoint().unwrap().source, None);
}

#[test]
fn a_packet_that_was_delivered_first_from_elsewhere_misleads_until_the_next() {
    let mut link = Link::established();
    link.a_sends(&packet(1, 2, b"overtaken"));
    let overtaken = link.hold().remove(0);
    assert_eq!(link.inject(&moved(&overtaken, ELSEWHERE)), None);
    assert_eq!(link.b.remote(), ELSEWHERE.parse().unwrap());
    link.a_sends(&packet(1, 2, b"genuine"));
    link.run(millis(11));
    assert_eq!(link.b.remote(), link.a.address);
}
