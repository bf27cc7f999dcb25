//! Another configuration for a tunnel that runs.

use tunneld::crypto::{Cipher, PresharedKey};
use tunneld::proto::{Discard, Parameters};
use tunneld::wire::{Layer, Profile};

use crate::host::{Host, key};
use crate::link::{A, B, Link, packet, parameters, secs};
use crate::paper::{DATA, INITIATION, REKEY_AFTER_TIME, RESPONSE};

const AES: Profile = Profile::Tunneld { cipher: Cipher::Aes256Gcm, layer: Layer::Ip };

#[test]
fn an_answer_to_an_earlier_call_is_none_to_a_new_one() {
    let mut link = Link::new();
    link.a_sends(&packet(1, 2, b"first"));
    let initiation = link.hold().remove(0);
    link.a.tunnel.call_anew(link.clock.now());
    assert_eq!(link.inject(&initiation), None);
    let response = link.hold().remove(0);
    assert_eq!(link.inject(&response), Some(Discard::NothingOutstanding));
    link.run(secs(12));
    link.a_sends(&packet(1, 2, b"later"));
    link.run(secs(1));
    assert_eq!(link.b.delivered.last(), Some(&packet(1, 2, b"later")));
}

/// A link that is up, of which host a takes on what `change` makes of its parameters.
fn reconfigured(change: impl FnOnce(&mut Parameters)) -> Link {
    let mut link = Link::established();
    let mut parameters = parameters(1, 2, Some(B));
    change(&mut parameters);
    link.a.tunnel.reconfigure(link.clock.now(), &parameters);
    let datagrams = link.a.settle(&link.clock);
    link.launch(datagrams);
    link
}

#[test]
fn the_same_parameters_touch_nothing() {
    let mut link = reconfigured(|_| ());
    link.a_sends(&packet(1, 2, b"before"));
    link.b_sends(&packet(2, 1, b"back"));
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet(1, 2, b"before")]);
    assert_eq!(link.a.delivered, [packet(2, 1, b"back")]);
    assert_eq!(link.sent(link.a.address, INITIATION), 1, "that of the beginning");
}

#[test]
fn allowed_ips_hold_at_once_both_ways() {
    let mut link = reconfigured(|parameters| {
        parameters.allowed_ips = vec!["10.9.9.0/24".parse().unwrap()];
    });
    link.a_sends(&packet(1, 2, b"out"));
    link.b_sends(&packet(2, 1, b"in"));
    link.run(secs(1));
    assert!(link.a.delivered.is_empty() && link.b.delivered.is_empty());
    assert_eq!(link.a.discards(Discard::DestinationNotAllowed), 1);
    assert_eq!(link.a.discards(Discard::SourceNotAllowed), 1);
}

#[test]
fn a_preshared_key_is_for_the_next_handshake_and_the_session_lives_until_then() {
    let mut link =
        reconfigured(|parameters| parameters.preshared_key = PresharedKey::from([7; 32]));
    link.a_sends(&packet(1, 2, b"session"));
    link.run(secs(1));
    assert_eq!(link.b.delivered.len(), 1);
    link.run(REKEY_AFTER_TIME);
    link.a_sends(&packet(1, 2, b"rekey"));
    link.run(secs(1));
    assert_eq!(link.a.discards(Discard::ResponseNotAuthentic), 1, "the peer has none");
}

#[test]
fn a_keepalive_begins_at_once_where_there_was_none() {
    let mut link = reconfigured(|parameters| parameters.persistent_keepalive = Some(secs(7)));
    let begun = link.elapsed();
    link.run(secs(8));
    let sent = link.moments(link.a.address, DATA);
    assert_eq!(sent[sent.len() - 2..], [begun, begun + secs(7)]);
}

#[test]
fn another_peer_is_never_sent_what_was_for_the_one_before() {
    let mut link = reconfigured(|parameters| parameters.public_key = key(3).public_key());
    let data = link.sent(link.a.address, DATA);
    link.a_sends(&packet(1, 2, b"for another"));
    link.b_sends(&packet(2, 1, b"from the one before"));
    link.run(secs(30));
    assert!(link.a.delivered.is_empty());
    assert_eq!(link.sent(link.a.address, DATA), data);
    assert_eq!(link.sent(link.a.address, INITIATION), 1, "where it is, nobody said");
    assert_eq!(link.a.discards(Discard::UnknownReceiver), 1);
}

#[test]
fn what_waits_for_a_peer_is_not_sent_to_the_next_one() {
    let mut link = Link::new();
    link.a_sends(&packet(1, 2, b"waits"));
    link.hold();
    let parameters_of_a = Parameters { public_key: key(3).public_key(), ..parameters(1, 2, None) };
    link.a.tunnel.reconfigure(link.clock.now(), &parameters_of_a);
    let datagrams = link.a.settle(&link.clock);
    link.launch(datagrams);
    link.b = Host::new(&parameters(3, 1, Some(A)), 3, B);
    link.b_sends(&packet(2, 1, b"here is another"));
    link.run(secs(1));
    assert_eq!(link.a.delivered, [packet(2, 1, b"here is another")]);
    link.a_sends(&packet(1, 2, b"for another"));
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet(1, 2, b"for another")]);
    assert_eq!(link.a.discards(Discard::OtherPeer), 1);
}

#[test]
fn another_key_of_ours_ends_the_sessions_and_calls_within_the_interval() {
    let mut link = reconfigured(|parameters| {
        parameters.private_key = key(9);
        parameters.persistent_keepalive = Some(secs(25));
    });
    link.run(secs(10));
    let sent = link.moments(link.a.address, INITIATION);
    assert!(sent[1] - sent[0] >= secs(5), "{sent:?}");
    assert_eq!(link.b.discards(Discard::UnknownPeer), sent.len() as u64 - 1);
}

#[test]
fn another_profile_ends_the_sessions_and_links_anew_once_both_ends_have_it() {
    let mut link = reconfigured(|parameters| parameters.profile = AES);
    link.b_sends(&packet(2, 1, b"of the old session"));
    link.a_sends(&packet(1, 2, b"waits"));
    link.run(secs(7));
    assert!(link.a.delivered.is_empty() && link.b.delivered.is_empty());
    assert_eq!(link.a.discards(Discard::UnknownReceiver), 1, "it is erased");
    assert!(link.b.discards(Discard::InitiationNotAuthentic) > 0);
    // Whatever a clock says meanwhile: the same two hosts go on with their timestamps.
    link.clock.unix -= secs(1000);
    let of_b = Parameters { profile: AES, ..parameters(2, 1, Some(A)) };
    link.b.tunnel.reconfigure(link.clock.now(), &of_b);
    link.run(secs(7));
    assert_eq!(link.b.delivered, [packet(1, 2, b"waits")]);
    link.b_sends(&packet(2, 1, b"and back"));
    link.run(secs(1));
    assert_eq!(link.a.delivered, [packet(2, 1, b"and back")]);
}

#[test]
fn of_other_endpoints_the_first_is_gone_to_with_the_session_there_is_once_all_are_resolved() {
    let mut link = Link::established();
    let handshakes = link.sent(link.a.address, INITIATION);
    link.a.tunnel.set_endpoints(2);
    link.a_sends(&packet(1, 2, b"still there"));
    link.run(secs(1));
    assert_eq!(link.b.delivered.len(), 1, "until one is resolved it stays where it is");
    let elsewhere = "203.0.113.9:7".parse().unwrap();
    link.a.tunnel.resolved(link.clock.now(), 1, &["203.0.113.1:1".parse().unwrap()]);
    assert_eq!(link.a.remote(), B.parse().unwrap(), "it may be at the other one");
    link.a.tunnel.resolved(link.clock.now(), 0, &[elsewhere]);
    let datagrams = link.a.settle(&link.clock);
    assert_eq!(datagrams.iter().map(|datagram| datagram.to).collect::<Vec<_>>(), [elsewhere]);
    assert_eq!(link.a.remote(), elsewhere);
    link.a.tunnel.resolved(link.clock.now(), 0, &[B.parse().unwrap()]);
    assert_eq!(link.a.remote(), elsewhere, "one move for each change");
    assert_eq!(link.sent(link.a.address, INITIATION), handshakes);
}

#[test]
fn another_endpoint_beside_the_one_in_use_moves_nothing() {
    let mut link = Link::established();
    link.a.tunnel.set_endpoints(2);
    link.a.tunnel.resolved(link.clock.now(), 1, &["203.0.113.9:7".parse().unwrap()]);
    link.a.tunnel.resolved(link.clock.now(), 0, &[B.parse().unwrap()]);
    assert_eq!(link.a.remote(), B.parse().unwrap());
}

#[test]
fn who_is_called_anew_answers_though_a_session_serves_which_lives_on_until_then() {
    let mut link = Link::established();
    link.run(secs(1));
    // The last initiation is too young for another one.
    link.a.tunnel.call_anew(link.clock.now());
    assert!(link.a.settle(&link.clock).is_empty());
    link.a_sends(&packet(1, 2, b"meanwhile"));
    link.run(secs(5));
    assert_eq!(link.b.delivered, [packet(1, 2, b"meanwhile")]);
    let sent = link.moments(link.a.address, INITIATION);
    assert_eq!((sent.len(), sent[1] - sent[0]), (2, secs(5)));
    assert_eq!(link.sent(link.b.address, RESPONSE), 2);
    link.run(secs(60));
    assert_eq!(link.sent(link.a.address, INITIATION), 2, "once");
}

#[test]
fn who_is_to_be_elsewhere_is_called_anew_there_and_not_where_it_was() {
    for (elsewhere, initiations) in [("203.0.113.9:7", 1), (B, 2)] {
        let mut link = Link::established();
        link.run(secs(10));
        link.a.tunnel.set_endpoints(1);
        link.a.tunnel.call_anew(link.clock.now());
        assert!(link.a.settle(&link.clock).is_empty(), "where that is has still to be found out");
        let elsewhere = elsewhere.parse().unwrap();
        link.a.tunnel.resolved(link.clock.now(), 0, &[elsewhere]);
        let datagrams = link.a.settle(&link.clock);
        assert!(datagrams.iter().any(|datagram| datagram.bytes[0] == INITIATION));
        assert!(datagrams.iter().all(|datagram| datagram.to == elsewhere));
        link.launch(datagrams);
        link.run(secs(1));
        assert_eq!(link.sent(link.b.address, RESPONSE), initiations);
    }
}

#[test]
fn without_an_endpoint_the_peer_is_called_anew_where_it_was() {
    let mut link = Link::established();
    link.run(secs(10));
    link.a.tunnel.set_endpoints(0);
    link.a.tunnel.call_anew(link.clock.now());
    assert_eq!(link.a.settle(&link.clock).len(), 1);
}
