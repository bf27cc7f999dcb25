//! Handshakes in both roles.

use tunneld::crypto::{PresharedKey, PublicKey};
use tunneld::proto::{Discard, Event, Role};

use crate::link::{A, B, Datagram, Host, Link, key, millis, packet, parameters, secs};
use crate::paper::{
    DATA, INITIATION, INITIATIONS_APART, MOST_JITTER, REKEY_TIMEOUT, RESPONSE, index, low_order,
    sign,
};

/// Initiations that host a sends one after the other, none of which arrives.
pub fn initiations(link: &mut Link, count: usize) -> Vec<Datagram> {
    link.lose = |_| true;
    link.a_sends(&packet(1, 2, b"data"));
    while link.sent(link.a.address, INITIATION) < count {
        link.run(secs(1));
    }
    link.lose = |_| false;
    link.messages(link.a.address, INITIATION).into_iter().map(|(_, sent)| sent).collect()
}

#[test]
fn a_handshake_completes_in_one_round_trip() {
    let mut link = Link::new();
    link.a_sends(&packet(1, 2, b"hello"));
    link.run(millis(31));
    assert_eq!(link.b.delivered, [packet(1, 2, b"hello")]);
    let completed = |events: &[Event], wanted| {
        events
            .iter()
            .any(|event| matches!(event, Event::HandshakeCompleted { role, .. } if *role == wanted))
    };
    assert!(completed(&link.a.events, Role::Initiator));
    assert!(completed(&link.b.events, Role::Responder));
    link.b_sends(&packet(2, 1, b"and back"));
    link.run(millis(11));
    assert_eq!(link.a.delivered, [packet(2, 1, b"and back")]);
}

#[test]
fn messages_have_the_mandated_sizes_and_reserved_zeros() {
    let mut link = Link::new();
    link.b.queued = 4096;
    link.a_sends(&packet(1, 2, b"hello"));
    link.run(secs(6));
    link.b_sends(&packet(2, 1, b"hello"));
    for (_, Datagram { bytes, .. }) in &link.seen {
        match bytes[0] {
            1 => assert_eq!(bytes.len(), 148),
            2 => assert_eq!(bytes.len(), 92),
            3 => assert_eq!(bytes.len(), 64),
            _ => assert!(bytes[0] == 4 && bytes.len() >= 32),
        }
        assert_eq!(bytes[1..4], [0; 3]);
    }
    let types = |from| (1..=4).map(|kind| link.sent(from, kind)).collect::<Vec<_>>();
    assert_eq!(types(link.a.address), [2, 0, 0, 1]);
    assert_eq!(types(link.b.address), [0, 1, 1, 1]);
}

#[test]
fn a_shared_secret_on_both_ends_makes_a_session() {
    let secret = PresharedKey::from([7; 32]);
    let mut a = parameters(1, 2, Some(B));
    let mut b = parameters(2, 1, None);
    (a.preshared_key, b.preshared_key) = (secret.clone(), secret);
    let mut link = Link::with(&a, &b);
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    assert_eq!(link.b.delivered.len(), 1);
}

#[test]
fn no_preshared_key_is_one_of_zeros() {
    let mut a = parameters(1, 2, Some(B));
    a.preshared_key = PresharedKey::from([0; 32]);
    let mut link = Link::with(&a, &parameters(2, 1, None));
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    assert_eq!(link.b.delivered.len(), 1);
}

#[test]
fn a_replayed_initiation_is_refused() {
    let mut link = Link::established();
    let (_, initiation) = link.messages(link.a.address, INITIATION).remove(0);
    let seen = link.seen.len();
    assert_eq!(link.inject(&initiation), Some(Discard::InitiationReplayed));
    assert_eq!(link.seen.len(), seen, "and gets no answer");
}

#[test]
fn an_initiation_older_than_the_newest_is_refused_though_it_is_new() {
    let mut link = Link::new();
    let sent = initiations(&mut link, 3);
    assert_eq!(link.inject(&sent[1]), None);
    link.run(secs(1));
    assert_eq!(link.inject(&sent[0]), Some(Discard::InitiationReplayed));
    assert_eq!(link.inject(&sent[1]), Some(Discard::InitiationReplayed));
    assert_eq!(link.inject(&sent[2]), None);
}

#[test]
fn initiations_of_the_peer_are_consumed_at_most_fifty_times_a_second() {
    let mut link = Link::new();
    let sent = initiations(&mut link, 3);
    assert_eq!(link.inject(&sent[0]), None);
    link.clock.advance(INITIATIONS_APART - millis(1));
    assert_eq!(link.inject(&sent[1]), Some(Discard::InitiationFlood));
    link.clock.advance(millis(1));
    assert_eq!(link.inject(&sent[2]), None);
}

#[test]
fn a_response_is_accepted_once() {
    let mut link = Link::established();
    let (_, response) = link.messages(link.b.address, RESPONSE).remove(0);
    assert_eq!(link.inject(&response), Some(Discard::NothingOutstanding));
    assert_eq!(link.a.completed(), 1);
}

#[test]
fn a_response_without_an_initiation_is_refused() {
    let mut link = Link::established();
    let (_, response) = link.messages(link.b.address, RESPONSE).remove(0);
    link.restart_a();
    assert_eq!(link.inject(&response), Some(Discard::NothingOutstanding));
}

#[test]
fn a_delayed_response_to_a_superseded_initiation_is_accepted() {
    let mut link = Link::new();
    link.latency = secs(3);
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(9));
    assert_eq!(link.moments(link.a.address, INITIATION).len(), 2, "one was sent before it came");
    assert_eq!(link.a.completed(), 1);
    // What is sent on a session that b has replaced meanwhile is lost; the next one stays.
    link.run(secs(20));
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(4));
    assert_eq!(link.b.delivered.len(), 1);
}

#[test]
fn a_response_that_took_longer_than_the_path_can_take_is_refused() {
    let longest = 2 * (REKEY_TIMEOUT + MOST_JITTER);
    for (age, expected) in
        [(longest - millis(1), None), (longest, Some(Discard::NothingOutstanding))]
    {
        let mut link = Link::new();
        let sent = initiations(&mut link, 1);
        link.lose = |_| true;
        assert_eq!(link.inject(&sent[0]), None);
        let (_, response) = link.messages(link.b.address, RESPONSE).remove(0);
        let (made, _) = link.messages(link.a.address, INITIATION).remove(0);
        link.clock.advance(made + age - link.elapsed());
        assert_eq!(link.inject(&response), expected, "{age:?}");
    }
}

#[test]
fn the_initiation_before_the_last_two_is_forgotten() {
    let mut link = Link::new();
    let sent = initiations(&mut link, 3);
    link.lose = |_| true;
    assert_eq!(link.inject(&sent[0]), None);
    let (_, response) = link.messages(link.b.address, RESPONSE).remove(0);
    assert_eq!(link.inject(&response), Some(Discard::NothingOutstanding));
}

#[test]
fn each_handshake_has_indices_of_its_own() {
    let mut link = Link::new();
    for _ in 0..100 {
        link.a_sends(&packet(1, 2, b"data"));
        link.run(secs(121));
    }
    let mut indices = Vec::new();
    for (from, kind) in [(link.a.address, INITIATION), (link.b.address, RESPONSE)] {
        let messages = link.messages(from, kind);
        indices.extend(messages.iter().map(|(_, message)| index(&message.bytes, 4)));
    }
    assert_eq!(indices.len(), 200);
    assert!(indices.iter().filter(|index| **index > u32::MAX / 2).count() > 50, "over all of u32");
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), 200);
}

#[test]
fn to_a_public_key_of_low_order_nothing_is_ever_sent() {
    for point in low_order() {
        let mut a = parameters(1, 2, Some(B));
        a.public_key = PublicKey::from(point);
        a.persistent_keepalive = Some(secs(25));
        let mut link = Link::with(&a, &parameters(2, 1, Some(A)));
        link.a_starts();
        for _ in 0..30 {
            link.a_sends(&packet(1, 2, b"data"));
            link.run(secs(10));
        }
        assert!(link.seen.is_empty());
        assert!(link.a.discards(Discard::LowOrderKey) > 0);
    }
}

#[test]
fn an_ephemeral_key_of_low_order_begins_nothing() {
    for point in low_order() {
        let mut link = Link::new();
        let mut initiation = initiations(&mut link, 1).remove(0);
        initiation.bytes[8..40].copy_from_slice(&point);
        sign(&mut initiation.bytes, &key(2).public_key());
        assert_eq!(link.inject(&initiation), Some(Discard::LowOrderKey));
        assert_eq!(link.sent(link.b.address, RESPONSE), 0);

        link.lose = |datagram| datagram.bytes[0] == RESPONSE;
        link.run(secs(6));
        let (_, mut response) = link.messages(link.b.address, RESPONSE).remove(0);
        response.bytes[12..44].copy_from_slice(&point);
        sign(&mut response.bytes, &key(1).public_key());
        assert_eq!(link.inject(&response), Some(Discard::LowOrderKey));
        assert_eq!(link.sent(link.a.address, DATA), 0);
    }
}

#[test]
fn an_initiation_of_another_static_key_is_refused() {
    let mut link = Link::new();
    let mut stranger = Host::new(&parameters(9, 2, Some(B)), 9, "203.0.113.9:9");
    let leaving = stranger.send(&link.clock, &packet(1, 2, b"data"));
    assert_eq!(link.inject(&leaving[0]), Some(Discard::UnknownPeer));
    assert_eq!(link.sent(link.b.address, RESPONSE), 0);
}
