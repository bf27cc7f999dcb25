//! Datagrams from strangers: discarded under a named reason, without an answer or a trace.

use tunneld::proto::{Discard, Timer};

use crate::handshakes::initiations;
use crate::link::{A, B, Datagram, Link, key, millis, moved, packet, secs};
use crate::paper::{COOKIE_REPLY, INITIATION, RESPONSE, sign};
use crate::weather::{Dice, Weather};

const STRANGER: &str = "203.0.113.9:4500";

/// Throws `datagram` at its host from a stranger's address: nothing about the host may change but the count.
fn refused(link: &mut Link, datagram: &Datagram) -> Discard {
    let to_a = datagram.to == link.a.address;
    // Not so many at once that it is load.
    link.run(millis(2));
    let state = |link: &mut Link| {
        let host = if to_a { &mut link.a } else { &mut link.b };
        let traffic = (host.tunnel.stats().received(), host.delivered.len(), host.completed());
        // That strangers are looked at, as they send so much, is no deadline of the protocol.
        let timeout = host.next_timeout().filter(|(_, timer)| *timer != Timer::Flood);
        (host.tunnel.endpoint(), timeout, traffic, link.seen.len())
    };
    let before = state(link);
    let reason = link.inject(&moved(datagram, STRANGER)).expect("it goes no further");
    let mut after = state(link);
    after.1 = after.1.or(before.1);
    assert_eq!(after, before, "refused as {}", reason.name());
    reason
}

/// `datagram` with each bit in these bytes flipped, one at a time; signed anew for `signed`, if that is given.
fn each_bit(
    link: &mut Link,
    datagram: &Datagram,
    bytes: std::ops::Range<usize>,
    signed: Option<u8>,
    reasons: &[Discard],
) {
    for bit in bytes.start * 8..bytes.end * 8 {
        let mut flipped = datagram.clone();
        flipped.bytes[bit / 8] ^= 1 << (bit % 8);
        if let Some(host) = signed {
            sign(&mut flipped.bytes, &key(host).public_key());
        }
        let reason = refused(link, &flipped);
        assert!(reasons.contains(&reason), "bit {bit}: {}", reason.name());
    }
}

/// `datagram` truncated to each length, and extended.
fn each_length(link: &mut Link, datagram: &Datagram, reasons: &[Discard]) {
    let whole = datagram.bytes.len();
    for len in (0..whole).chain(whole + 1..whole + 40) {
        let mut other = datagram.clone();
        other.bytes.resize(len, 0);
        let reason = refused(link, &other);
        let short = len < 4 && reason == Discard::MessageType;
        assert!(short || reasons.contains(&reason), "{len} bytes: {}", reason.name());
    }
}

const NO_MESSAGE: &[Discard] = &[Discard::MessageType, Discard::MessageLength];

#[test]
fn an_initiation_with_any_bit_or_byte_changed_is_discarded() {
    let mut link = Link::new();
    let initiation = initiations(&mut link, 1).remove(0);
    each_bit(&mut link, &initiation, 0..4, None, NO_MESSAGE);
    each_bit(&mut link, &initiation, 4..132, None, &[Discard::Mac1]);
    each_bit(&mut link, &initiation, 8..116, Some(2), &[Discard::InitiationNotAuthentic]);
    each_length(&mut link, &initiation, NO_MESSAGE);
    assert_eq!(link.inject(&initiation), None, "the true one is still accepted");
}

#[test]
fn a_response_with_any_bit_or_byte_changed_is_discarded() {
    let mut link = Link::new();
    link.lose = |datagram| datagram.bytes[0] == RESPONSE;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    let (_, response) = link.messages(link.b.address, RESPONSE).remove(0);
    each_bit(&mut link, &response, 0..4, None, NO_MESSAGE);
    each_bit(&mut link, &response, 4..76, None, &[Discard::Mac1]);
    each_bit(&mut link, &response, 8..12, Some(1), &[Discard::NothingOutstanding]);
    each_bit(&mut link, &response, 12..60, Some(1), &[Discard::ResponseNotAuthentic]);
    each_length(&mut link, &response, NO_MESSAGE);
    assert_eq!(link.inject(&response), None, "the true one is still accepted");
}

#[test]
fn a_cookie_reply_with_any_bit_or_byte_changed_is_discarded() {
    let mut link = Link::new();
    link.b.queued = 4096;
    link.lose = |datagram| datagram.bytes[0] == COOKIE_REPLY;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    let (_, reply) = link.messages(link.b.address, COOKIE_REPLY).remove(0);
    each_bit(&mut link, &reply, 0..4, None, NO_MESSAGE);
    each_bit(&mut link, &reply, 4..8, None, &[Discard::NothingOutstanding]);
    each_bit(&mut link, &reply, 8..64, None, &[Discard::CookieNotAuthentic]);
    each_length(&mut link, &reply, NO_MESSAGE);
    assert_eq!(link.inject(&reply), None, "the true one is still accepted");
}

#[test]
fn data_with_any_bit_or_byte_changed_is_discarded() {
    let mut link = Link::established();
    link.run(secs(20));
    link.a_sends(&packet(1, 2, b"some data"));
    let data = link.hold().remove(0);
    each_bit(&mut link, &data, 0..4, None, NO_MESSAGE);
    each_bit(&mut link, &data, 4..8, None, &[Discard::UnknownReceiver]);
    each_bit(&mut link, &data, 8..data.bytes.len(), None, &[Discard::DataNotAuthentic]);
    each_length(&mut link, &data, &[Discard::MessageLength, Discard::DataNotAuthentic]);
    assert_eq!(link.inject(&data), None, "the true one is still accepted");
    assert_eq!(link.b.delivered, [packet(1, 2, b"some data")]);
}

#[test]
fn random_datagrams_of_any_length_and_type_are_discarded() {
    let mut link = Link::established();
    link.run(secs(20));
    let mut dice = Dice::new(1);
    let lengths = (0..=2000).chain([9000, 40_000, 65_507, 65_535]);
    for length in lengths {
        let kind = dice.below(6) as u8;
        let mut bytes = dice.bytes(length);
        if let Some(first) = bytes.first_chunk_mut() {
            *first = if kind < 5 { [kind, 0, 0, 0] } else { *first };
        }
        let datagram = Datagram {
            from: A.parse().unwrap(),
            to: B.parse().unwrap(),
            ecn: Default::default(),
            bytes,
        };
        refused(&mut link, &datagram);
    }
    assert_eq!(link.b.all_discards(), 2005, "each is counted once");
    link.a_sends(&packet(1, 2, b"still up"));
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet(1, 2, b"still up")]);
}

#[test]
fn everything_an_eavesdropper_saw_may_come_again_from_anywhere() {
    let mut link = Link::established();
    for number in 0..50 {
        link.a_sends(&packet(1, 2, &[number]));
        link.b_sends(&packet(2, 1, &[number]));
        link.run(secs(7));
    }
    let delivered = (link.a.delivered.len(), link.b.delivered.len());
    assert_eq!(delivered, (50, 50));
    let mut captured = link.seen.clone();
    let mut dice = Dice::new(2);
    for last in (1..captured.len()).rev() {
        captured.swap(last, dice.below(last as u64 + 1) as usize);
    }
    for (_, datagram) in captured {
        refused(&mut link, &datagram);
        assert!(link.inject(&datagram).is_some(), "nor from its own address");
    }
    assert_eq!((link.a.delivered.len(), link.b.delivered.len()), delivered);
}

#[test]
fn what_is_answered_to_strangers_is_smaller_than_what_they_sent() {
    let mut link = Link::new();
    let sent = initiations(&mut link, 15);
    let before: usize = link.seen.iter().map(|(_, datagram)| datagram.bytes.len()).sum();
    let mut dice = Dice::new(3);
    let mut bytes_in = 0;
    for number in 0..3000 {
        let mut datagram = sent[dice.below(15) as usize].clone();
        link.b.queued = if number < 1500 { 0 } else { 4096 };
        if dice.below(2) == 0 {
            let length = dice.below(300) as usize;
            datagram.bytes = dice.bytes(length);
        }
        bytes_in += datagram.bytes.len();
        link.inject(&moved(&datagram, STRANGER));
        link.clock.advance(millis(5));
    }
    let after: usize = link.seen.iter().map(|(_, datagram)| datagram.bytes.len()).sum();
    let bytes_out = after - before;
    assert!(bytes_out > 0);
    assert!(bytes_out * 10 <= bytes_in * 7, "{bytes_out} for {bytes_in}");
}

#[test]
fn a_bad_path_delivers_at_most_once_and_the_link_recovers() {
    for seed in 0..20 {
        let mut link = Link::new();
        let late = millis(300);
        link.weather = Some(Weather { dice: Dice::new(seed), lost: 30, doubled: 20, late });
        for number in 0..2000u16 {
            link.a_sends(&packet(1, 2, &number.to_be_bytes()));
            link.b_sends(&packet(2, 1, &number.to_be_bytes()));
            link.run(millis(150));
        }
        for delivered in [&mut link.a.delivered, &mut link.b.delivered] {
            let arrived = delivered.len();
            assert!(arrived > 1000, "seed {seed}: {arrived}");
            delivered.sort_unstable();
            delivered.dedup();
            assert_eq!(delivered.len(), arrived, "seed {seed}");
        }
        assert_eq!(link.a.discards(Discard::DataNotAuthentic), 0);
        link.weather = None;
        link.run(secs(6));
        link.a.delivered.clear();
        link.b_sends(&packet(2, 1, b"clear sky"));
        link.run(secs(6));
        assert_eq!(link.a.delivered.last(), Some(&packet(2, 1, b"clear sky")), "seed {seed}");
    }
}

#[test]
fn an_unanswered_initiation_is_told_nothing_but_a_response() {
    let mut link = Link::new();
    let initiation = initiations(&mut link, 1).remove(0);
    link.b_sends(&packet(2, 1, b"staged"));
    link.hold();
    link.inject(&initiation);
    link.run(secs(4));
    let sent = (1..=4).map(|kind| link.sent(link.b.address, kind)).collect::<Vec<_>>();
    assert_eq!((link.sent(link.a.address, INITIATION), &sent[1..3]), (1, &[1, 0][..]));
}
