//! Under load: cookies, who gets them, how long they last, and what they cost a source.

use tunneld::proto::Discard;

use crate::handshakes::initiations;
use crate::link::{Datagram, Link, is_data, millis, moved, packet, secs};
use crate::paper::{
    COOKIE_REPLY, COOKIE_USED_FOR, DATA, INITIATION, REKEY_TIMEOUT, RESPONSE, mac2,
};

/// Messages waiting at a host that is under load.
const MANY: usize = 4096;

/// A link whose host b is under load and has just given host a a cookie.
fn with_cookie() -> Link {
    let mut link = Link::new();
    link.b.queued = MANY;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    assert_eq!(link.sent(link.b.address, COOKIE_REPLY), 1);
    link
}

#[test]
fn under_load_an_initiation_gets_only_a_cookie_reply() {
    let link = with_cookie();
    assert_eq!(link.sent(link.b.address, RESPONSE), 0);
    assert_eq!(link.b.discards(Discard::CookieRequired), 1);
}

#[test]
fn a_cookie_is_used_at_the_next_retry_and_not_before() {
    let mut link = with_cookie();
    link.run(secs(10));
    let initiations = link.messages(link.a.address, INITIATION);
    assert_eq!(initiations.len(), 2);
    assert!(initiations[1].0 - initiations[0].0 >= REKEY_TIMEOUT);
    assert_eq!(mac2(&initiations[0].1.bytes), [0; 16]);
    assert_ne!(mac2(&initiations[1].1.bytes), [0; 16]);
    assert_eq!(link.b.delivered.len(), 1, "the handshake completes under load");
}

#[test]
fn a_cookie_is_used_for_115_seconds() {
    let mut link = with_cookie();
    link.b.queued = 0;
    let came = link.latency * 2;
    link.lose = |_| true;
    for _ in 0..200 {
        link.run(secs(1));
        link.a_sends(&packet(1, 2, b"data"));
    }
    let retries = link.messages(link.a.address, INITIATION).split_off(1);
    assert!(retries.len() > 30);
    for (at, initiation) in retries {
        let signed = mac2(&initiation.bytes) != [0; 16];
        assert_eq!(signed, at - came < COOKIE_USED_FOR, "sent at {at:?}");
    }
}

#[test]
fn a_cookie_that_has_expired_is_replaced_by_a_new_one() {
    let mut link = with_cookie();
    link.run(secs(10));
    assert_eq!(link.a.completed(), 1);
    link.run(secs(120));
    link.a_sends(&packet(1, 2, b"rekeys"));
    link.run(secs(10));
    assert_eq!(link.sent(link.b.address, COOKIE_REPLY), 2);
    assert_eq!(link.a.completed(), 2);
}

#[test]
fn a_cookie_is_good_only_for_the_address_and_port_it_was_given_to() {
    let mut link = with_cookie();
    link.lose = |_| true;
    link.run(secs(5));
    let (_, signed) = link.messages(link.a.address, INITIATION).pop().unwrap();
    for other in ["192.0.2.1:51821", "192.0.2.7:51820"] {
        assert_eq!(link.inject(&moved(&signed, other)), Some(Discard::CookieRequired));
    }
    assert_eq!(link.inject(&signed), None);
}

#[test]
fn without_load_nobody_is_asked_for_a_cookie() {
    let mut link = Link::new();
    link.b.queued = 511;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    assert_eq!(link.sent(link.b.address, COOKIE_REPLY), 0);
    assert_eq!(link.b.delivered.len(), 1);
}

#[test]
fn load_is_over_a_second_after_the_queue_is_short() {
    let mut link = Link::new();
    let sent = initiations(&mut link, 3);
    link.b.queued = MANY;
    assert_eq!(link.inject(&sent[0]), Some(Discard::CookieRequired));
    link.b.queued = 0;
    link.clock.advance(millis(999));
    assert_eq!(link.inject(&sent[1]), Some(Discard::CookieRequired));
    link.clock.advance(millis(1));
    assert_eq!(link.inject(&sent[2]), None);
}

#[test]
fn under_load_a_response_needs_a_cookie_too() {
    let mut link = Link::new();
    link.a.queued = MANY;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    assert_eq!(link.sent(link.a.address, COOKIE_REPLY), 1);
    assert_eq!(link.a.completed(), 0);
    link.run(secs(10));
    let responses = link.messages(link.b.address, RESPONSE);
    assert_eq!(responses.len(), 2);
    assert_ne!(mac2(&responses[1].1.bytes), [0; 16]);
    assert_eq!(link.b.delivered.len(), 1);
}

#[test]
fn under_load_a_source_with_a_cookie_has_a_burst_of_five() {
    let mut link = with_cookie();
    link.lose = |_| true;
    link.run(secs(5));
    let (_, signed) = link.messages(link.a.address, INITIATION).pop().unwrap();
    assert_eq!(link.inject(&signed), None);
    for _ in 0..4 {
        assert_eq!(link.inject(&signed), Some(Discard::InitiationReplayed));
    }
    assert_eq!(link.inject(&signed), Some(Discard::RateLimited));
    link.clock.advance(millis(50));
    assert_eq!(link.inject(&signed), Some(Discard::InitiationReplayed));
    assert_eq!(link.inject(&signed), Some(Discard::RateLimited));
}

#[test]
fn who_does_not_know_our_public_key_gets_no_cookie() {
    let mut link = Link::new();
    let mut initiation = initiations(&mut link, 1).remove(0);
    link.b.queued = MANY;
    initiation.bytes[120] ^= 1;
    let seen = link.seen.len();
    assert_eq!(link.inject(&initiation), Some(Discard::Mac1));
    assert_eq!(link.seen.len(), seen);
}

#[test]
fn a_cookie_reply_is_accepted_once_for_each_message_sent() {
    let mut link = Link::new();
    link.b.queued = MANY;
    link.a_sends(&packet(1, 2, b"data"));
    let initiation = link.hold().remove(0);
    link.inject(&initiation);
    link.inject(&initiation);
    let replies = link.hold();
    assert_eq!(replies.len(), 2);
    assert_ne!(replies[0].bytes[8..32], replies[1].bytes[8..32], "each nonce is random");
    assert_eq!(link.inject(&replies[0]), None);
    assert_eq!(link.inject(&replies[0]), Some(Discard::NothingOutstanding));
    assert_eq!(link.inject(&replies[1]), Some(Discard::NothingOutstanding));
}

#[test]
fn a_cookie_reply_is_bound_to_the_message_that_provoked_it() {
    let mut link = Link::new();
    link.b.queued = MANY;
    let sent = initiations(&mut link, 2);
    link.inject(&sent[0]);
    let mut reply = link.hold().remove(0);
    reply.bytes[4..8].copy_from_slice(&sent[1].bytes[4..8]);
    assert_eq!(link.inject(&reply), Some(Discard::CookieNotAuthentic));
}

#[test]
fn a_cookie_reply_out_of_the_blue_is_refused() {
    let mut link = with_cookie();
    let (_, reply) = link.messages(link.b.address, COOKIE_REPLY).remove(0);
    link.restart_a();
    assert_eq!(link.inject(&reply), Some(Discard::NothingOutstanding));
}

#[test]
fn a_cookie_reply_neither_roams_nor_feeds_a_timer() {
    let mut link = Link::established();
    link.b.queued = MANY;
    link.run(secs(120));
    link.a_sends(&packet(1, 2, b"rekeys"));
    let leaving = link.hold();
    let initiation = leaving.into_iter().find(|datagram| !is_data(datagram)).unwrap();
    link.inject(&initiation);
    let reply = link.hold().remove(0);
    let (endpoint, timeout) = (link.a.tunnel.endpoint(), link.a.next_timeout());
    let sent = link.seen.len();
    assert_eq!(link.inject(&moved(&reply, "203.0.113.9:9")), None);
    assert_eq!(link.a.tunnel.endpoint(), endpoint);
    assert_eq!(link.a.next_timeout(), timeout);
    assert_eq!(link.seen.len(), sent);
    // Nothing authentic was heard: the peer counts as silent 15 s after the data, though a cookie came.
    let data = link.moments(link.a.address, DATA).pop().unwrap();
    link.lose = |_| true;
    link.run(secs(16));
    let silent =
        |event: &&tunneld::proto::Event| matches!(event, tunneld::proto::Event::PeerSilent { .. });
    assert_eq!(link.a.events.iter().filter(silent).count(), 1, "since {data:?}");
}

#[test]
fn a_flood_of_initiations_changes_nothing_for_a_session() {
    let mut link = Link::established();
    let mut flood = initiations(&mut Link::new(), 1).remove(0);
    link.b.queued = MANY;
    for number in 0..2000u16 {
        let from = format!("10.{}.{}.1:1000", number >> 8, number & 255);
        flood = Datagram { from: from.parse().unwrap(), ..flood };
        assert_eq!(link.inject(&flood), Some(Discard::CookieRequired));
        link.hold();
    }
    link.a_sends(&packet(1, 2, b"data"));
    link.b_sends(&packet(2, 1, b"data"));
    link.run(secs(1));
    assert_eq!((link.a.delivered.len(), link.b.delivered.len()), (1, 1));
}
