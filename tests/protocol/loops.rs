//! What must not lead the tunnel into itself, or let old things decide where and when we send.

use std::net::SocketAddr;
use std::time::Duration;

use tunneld::proto::{Discard, Parameters};
use tunneld::wire::Endpoint;

use crate::link::{A, B, Link, is_data, moved, packet, parameters};

const RESPONSE: u8 = 2;
const INITIATION: u8 = 1;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Host a's parameters if the inner network is routed to its device.
fn routed(parameters: Parameters) -> Parameters {
    let addresses = vec!["10.0.0.1".parse().unwrap()];
    Parameters { routed: vec!["10.0.0.0/24".parse().unwrap()], addresses, ..parameters }
}

fn established_with_routes() -> Link {
    let mut link = Link::with(&routed(parameters(1, 2, Some(B))), &parameters(2, 1, Some(A)));
    link.a_sends(&packet(1, 2, b"first"));
    link.run(secs(1));
    link
}

#[test]
fn an_authentic_packet_from_inside_the_tunnel_moves_nothing() {
    let mut link = established_with_routes();
    let delivered = link.a.delivered.len();
    let mut leaving = link.b.send(&link.clock, &packet(2, 1, b"from inside"));
    let inside = moved(&leaving.remove(0), "10.0.0.9:51820");
    assert_eq!(link.inject(&inside), Some(Discard::SourceInside));
    assert_eq!(link.a.remote(), B.parse::<SocketAddr>().unwrap());
    assert_eq!(link.a.delivered.len(), delivered);
}

#[test]
fn a_handshake_from_inside_the_tunnel_is_not_answered() {
    let mut link = Link::with(&routed(parameters(1, 2, None)), &parameters(2, 1, Some(A)));
    let mut leaving = link.b.send(&link.clock, &packet(2, 1, b"call"));
    let inside = moved(&leaving.remove(0), "10.0.0.9:51820");
    assert_eq!(link.inject(&inside), Some(Discard::SourceInside));
    assert_eq!(link.sent(link.a.address, RESPONSE), 0);
}

#[test]
fn a_caller_in_those_networks_that_is_reached_outside_gets_through_on_the_next_try() {
    let mut link = Link::with(&routed(parameters(1, 2, None)), &parameters(2, 1, Some(A)));
    let mut leaving = link.b.send(&link.clock, &packet(2, 1, b"call"));
    let call = moved(&leaving.remove(0), "10.0.0.9:51820");
    assert_eq!(link.inject(&call), Some(Discard::SourceInside));
    let suspect = link.a.tunnel.take_suspect();
    assert_eq!(suspect, Some("10.0.0.9".parse().unwrap()));
    assert_eq!(link.a.tunnel.take_suspect(), None);
    link.a.tunnel.set_outside(suspect.unwrap());
    assert_eq!(link.inject(&call), None);
    assert_eq!(link.a.remote(), "10.0.0.9:51820".parse::<SocketAddr>().unwrap());
}

#[test]
fn a_datagram_of_ours_that_comes_back_through_the_device_is_discarded() {
    let mut config = parameters(1, 2, Some(B));
    config.allowed_ips.push("198.51.100.0/24".parse().unwrap());
    let mut link = Link::with(&config, &parameters(2, 1, Some(A)));
    link.a_sends(&packet(1, 2, b"first"));
    link.run(secs(1));
    let mut looped = packet(1, 2, &[0; 8]);
    looped[16..20].copy_from_slice(&[198, 51, 100, 2]);
    looped[22..24].copy_from_slice(&51820u16.to_be_bytes());
    assert!(link.a.send(&link.clock, &looped).is_empty());
    assert_eq!(link.a.discards(Discard::RoutingLoop), 1);
    looped[22] = 0;
    assert_eq!(link.a.send(&link.clock, &looped).len(), 1, "another port of that host is no loop");
}

#[test]
fn the_peer_cannot_speak_in_the_name_of_our_own_address() {
    let mut config = routed(parameters(1, 2, Some(B)));
    config.allowed_ips = vec!["10.0.0.0/24".parse().unwrap()];
    let mut peer = parameters(2, 1, Some(A));
    peer.allowed_ips.push("10.0.0.0/24".parse().unwrap());
    let mut link = Link::with(&config, &peer);
    link.a_sends(&packet(1, 2, b"first"));
    link.run(secs(1));
    link.b_sends(&packet(1, 1, b"from yourself"));
    link.run(secs(1));
    assert_eq!(link.a.discards(Discard::SourceNotAllowed), 1);
    assert!(link.a.delivered.is_empty());
}

#[test]
fn a_response_that_was_held_back_for_long_is_refused() {
    let mut link = Link::new();
    link.lose = |datagram| datagram.from == A.parse().unwrap() || is_data(datagram);
    let mut initiation = link.a.send(&link.clock, &packet(1, 2, b"call"));
    assert_eq!(link.inject(&initiation.remove(0)), None);
    let (_, response) = link.messages(link.b.address, RESPONSE).remove(0);
    let held = link.hold();
    assert_eq!(held.len(), 1);
    link.clock.advance(secs(11));
    let from = link.a.remote();
    assert_eq!(link.inject(&moved(&response, "203.0.113.6:1")), Some(Discard::NothingOutstanding));
    assert_eq!(link.a.remote(), from);
}

#[test]
fn an_address_learned_from_an_unconfirmed_call_is_called_back() {
    let mut link = Link::with(&parameters(1, 2, None), &parameters(2, 1, Some(A)));
    link.a_sends(&packet(1, 2, b"waits for an address"));
    assert_eq!(link.sent(link.a.address, INITIATION), 0);
    let mut call = link.b.send(&link.clock, &packet(2, 1, b"call"));
    let call = call.remove(0);
    link.lose = |datagram| datagram.bytes[0] == RESPONSE && datagram.from == A.parse().unwrap();
    assert_eq!(link.inject(&call), None);
    link.b = crate::link::Host::new(&parameters(2, 1, Some(A)), 9, B);
    link.run(secs(7));
    assert!(link.sent(link.a.address, INITIATION) >= 1, "a calls the address it learned");
    assert_eq!(link.a.remote(), Endpoint::new(B.parse().unwrap()).remote);
    assert_eq!(link.b.delivered.len(), 1);
}

#[test]
fn what_is_not_meant_for_us_makes_no_address_suspect() {
    let mut link = Link::with(&routed(parameters(1, 2, None)), &parameters(2, 1, Some(A)));
    let mut leaving = link.b.send(&link.clock, &packet(2, 1, b"call"));
    let mut forged = moved(&leaving.remove(0), "10.0.0.9:51820");
    forged.bytes[120] ^= 1;
    assert_eq!(link.inject(&forged), Some(Discard::Mac1));
    assert_eq!(link.a.tunnel.take_suspect(), None);
}
