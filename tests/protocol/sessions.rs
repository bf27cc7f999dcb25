//! Sessions: who may send when, what is kept during a rekey, and when it ends.

use std::collections::BTreeSet;

use tunneld::proto::{Discard, Event};

use crate::link::{B, Link, is_data, millis, packet, parameters, secs};
use crate::paper::{
    DATA, ERASE_AFTER, INITIATION, OVERHEAD, REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_TIMEOUT,
    RESPONSE, index,
};

#[test]
fn the_responder_sends_no_data_before_the_initiator_has() {
    let mut link = Link::new();
    link.lose = is_data;
    link.a_sends(&packet(1, 2, b"lost"));
    link.run(secs(1));
    link.b_sends(&packet(2, 1, b"one"));
    link.b_sends(&packet(2, 1, b"two"));
    link.run(secs(3));
    assert_eq!(link.sent(link.b.address, RESPONSE), 1);
    assert_eq!(link.sent(link.b.address, DATA), 0);

    link.lose = |_| false;
    link.a_sends(&packet(1, 2, b"confirms"));
    link.run(millis(21));
    assert_eq!(link.a.delivered, [packet(2, 1, b"one"), packet(2, 1, b"two")]);
}

#[test]
fn the_initiator_confirms_at_once_with_what_was_staged() {
    let mut link = Link::new();
    link.a_sends(&packet(1, 2, b"staged"));
    link.run(secs(1));
    let data = link.messages(link.a.address, DATA);
    assert_eq!(data.len(), 1, "and no keepalive besides");
    assert_eq!(data[0].0, 2 * link.latency);
    assert!(data[0].1.bytes.len() > OVERHEAD);
}

#[test]
fn the_initiator_confirms_at_once_with_a_keepalive_if_nothing_was_staged() {
    let mut a = parameters(1, 2, Some(B));
    a.persistent_keepalive = Some(secs(100));
    let mut link = Link::with(&a, &parameters(2, 1, None));
    link.a_starts();
    link.run(secs(1));
    let data = link.messages(link.a.address, DATA);
    assert_eq!(data.len(), 1);
    assert_eq!((data[0].0, data[0].1.bytes.len()), (2 * link.latency, OVERHEAD));
    assert_eq!(link.b.completed(), 1);
}

#[test]
fn the_previous_session_still_receives_after_a_rekey() {
    let mut link = Link::established();
    link.run(secs(119));
    link.a_sends(&packet(1, 2, b"late to b"));
    link.b_sends(&packet(2, 1, b"late to a"));
    let late = link.hold();
    link.run(secs(1));
    link.a_sends(&packet(1, 2, b"rekeys"));
    link.run(secs(1));
    assert_eq!((link.a.completed(), link.b.completed()), (2, 2));
    for datagram in &late {
        assert_eq!(link.inject(datagram), None);
    }
    assert_eq!(link.b.delivered.last().unwrap(), &packet(1, 2, b"late to b"));
    assert_eq!(link.a.delivered, [packet(2, 1, b"late to a")]);
}

#[test]
fn data_flows_in_both_directions_while_a_rekey_is_not_answered() {
    let mut link = Link::established();
    link.run(REKEY_AFTER_TIME);
    link.lose = |datagram| datagram.bytes[0] == RESPONSE;
    for _ in 0..20 {
        link.a_sends(&packet(1, 2, b"data"));
        link.b_sends(&packet(2, 1, b"data"));
        link.run(secs(1));
    }
    assert!(link.sent(link.a.address, INITIATION) > 3);
    assert_eq!((link.a.completed(), link.b.completed()), (1, 1));
    assert_eq!((link.a.delivered.len(), link.b.delivered.len()), (20, 20));
}

#[test]
fn the_session_before_the_previous_one_is_gone() {
    let mut link = Link::established();
    link.run(secs(100));
    link.a_sends(&packet(1, 2, b"very late"));
    link.b_sends(&packet(2, 1, b"very late"));
    let late = link.hold();
    // Sessions end while others begin: the keys must be gone before their time is over.
    for wait in [secs(25), secs(50)] {
        link.clock.advance(wait);
        link.restart_a();
        link.a_sends(&packet(1, 2, b"new"));
        link.run(secs(1));
    }
    assert_eq!(link.b.completed(), 3);
    assert_eq!(link.inject(&late[0]), Some(Discard::UnknownReceiver));
    assert_eq!(link.inject(&late[1]), Some(Discard::UnknownReceiver));
}

#[test]
fn the_responder_keeps_the_confirmed_session_while_it_answers_for_the_next() {
    let mut link = Link::established();
    link.run(REKEY_AFTER_TIME);
    link.lose = |datagram| datagram.bytes[0] == RESPONSE;
    let before = link.messages(link.a.address, DATA).pop().unwrap().1;
    link.a_sends(&packet(1, 2, b"rekeys"));
    link.run(secs(1));
    link.b_sends(&packet(2, 1, b"with the old key"));
    let sent = link.messages(link.b.address, DATA).pop().unwrap().1;
    let first_initiation = link.messages(link.a.address, INITIATION).remove(0).1;
    assert_eq!(index(&sent.bytes, 4), index(&first_initiation.bytes, 4));
    let latest = link.messages(link.a.address, DATA).pop().unwrap().1;
    assert_eq!(index(&latest.bytes, 4), index(&before.bytes, 4));
}

#[test]
fn data_moves_to_the_new_session_at_once() {
    let mut link = Link::established();
    link.run(REKEY_AFTER_TIME);
    link.a_sends(&packet(1, 2, b"rekeys"));
    link.run(secs(1));
    link.a_sends(&packet(1, 2, b"data"));
    link.b_sends(&packet(2, 1, b"data"));
    let receiver = |from| {
        let sent = link.messages(from, DATA).pop().unwrap().1;
        index(&sent.bytes, 4)
    };
    let response = link.messages(link.b.address, RESPONSE).pop().unwrap().1;
    assert_eq!(receiver(link.a.address), index(&response.bytes, 4));
    assert_eq!(receiver(link.b.address), index(&response.bytes, 8));
}

#[test]
fn a_session_of_180_seconds_receives_nothing_more() {
    let mut link = Link::established();
    link.run(secs(100));
    for text in [b"one", b"two"] {
        link.a_sends(&packet(1, 2, text));
        link.b_sends(&packet(2, 1, text));
    }
    let late = link.hold();
    // The responder's session began when the initiation came, the initiator's one latency later.
    let births = [link.latency, 2 * link.latency];
    for (birth, to_host) in births.into_iter().zip([[&late[0], &late[2]], [&late[1], &late[3]]]) {
        let end = birth + REJECT_AFTER_TIME;
        link.clock.advance(end - link.elapsed() - millis(1));
        assert_eq!(link.inject(to_host[0]), None);
        link.clock.advance(millis(1));
        assert_eq!(link.inject(to_host[1]), Some(Discard::SessionEnded));
    }
}

#[test]
fn a_session_of_180_seconds_sends_nothing_more() {
    let mut link = Link::established();
    link.lose = |_| true;
    // As above, the responder's session is the older one.
    link.clock.advance(link.latency + REJECT_AFTER_TIME - link.elapsed() - millis(1));
    link.b_sends(&packet(2, 1, b"the last"));
    assert_eq!(link.sent(link.b.address, DATA), 1);
    link.clock.advance(millis(1));
    link.b_sends(&packet(2, 1, b"too late"));
    assert_eq!(link.sent(link.b.address, DATA), 1);

    link.clock.advance(link.latency - millis(1));
    let before = link.sent(link.a.address, DATA);
    link.a_sends(&packet(1, 2, b"the last"));
    assert_eq!(link.sent(link.a.address, DATA), before + 1);
    link.clock.advance(millis(1));
    link.a_sends(&packet(1, 2, b"too late"));
    assert_eq!(link.sent(link.a.address, DATA), before + 1);
}

#[test]
fn all_keys_are_erased_540_seconds_after_the_last_session_began() {
    let mut link = Link::established();
    link.run(secs(60));
    link.a_sends(&packet(1, 2, b"held back"));
    let late = link.hold();
    link.lose = |_| true;
    link.run(ERASE_AFTER + link.latency - link.elapsed() - millis(1));
    assert_eq!(link.inject(&late[0]), Some(Discard::SessionEnded), "the keys are still there");
    link.run(millis(1));
    assert_eq!(link.inject(&late[0]), Some(Discard::UnknownReceiver));
    assert!(link.b.events.contains(&Event::KeysErased));
    link.run(link.latency);
    assert!(link.a.events.contains(&Event::KeysErased));
}

#[test]
fn a_handshake_under_way_outlives_the_erasure_of_old_keys() {
    let mut link = Link::established();
    link.lose = |_| true;
    link.run(ERASE_AFTER - link.elapsed() - secs(3));
    link.a_sends(&packet(1, 2, b"staged"));
    link.run(secs(4));
    assert!(link.a.events.contains(&Event::KeysErased));
    link.lose = |_| false;
    link.a_sends(&packet(1, 2, b"staged too"));
    link.run(secs(6));
    assert_eq!(link.b.delivered, [packet(1, 2, b"staged"), packet(1, 2, b"staged too")]);
    let moments = link.moments(link.a.address, INITIATION);
    assert!(moments.windows(2).all(|pair| pair[1] - pair[0] >= REKEY_TIMEOUT));
}

#[test]
fn erasing_by_order_leaves_no_session_on_either_path() {
    let mut link = Link::established();
    link.a_sends(&packet(1, 2, b"held back"));
    let late = link.hold();
    link.b.tunnel.erase();
    assert_eq!(link.inject(&late[0]), Some(Discard::UnknownReceiver));
    let before = link.sent(link.b.address, DATA);
    link.b_sends(&packet(2, 1, b"staged"));
    assert_eq!(link.sent(link.b.address, DATA), before);
    link.run(secs(6));
    assert_eq!(link.a.delivered, [packet(2, 1, b"staged")]);
}

#[test]
fn erasing_by_order_erases_the_handshake_under_way() {
    let mut link = Link::new();
    link.lose = |_| true;
    link.a_sends(&packet(1, 2, b"staged"));
    let (_, initiation) = link.messages(link.a.address, INITIATION).remove(0);
    assert_eq!(link.inject(&initiation), None);
    let (_, response) = link.messages(link.b.address, RESPONSE).remove(0);
    link.a.tunnel.erase();
    assert_eq!(link.inject(&response), Some(Discard::NothingOutstanding));
}

#[test]
fn new_data_begins_a_new_handshake_after_one_was_erased_by_order() {
    let mut link = Link::new();
    link.lose = |_| true;
    link.a_sends(&packet(1, 2, b"staged"));
    link.run(secs(1));
    link.a.tunnel.erase();
    link.run(secs(9));
    link.lose = |_| false;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet(1, 2, b"staged"), packet(1, 2, b"data")]);
}

#[test]
fn a_thousand_rekeys_lose_nothing() {
    let mut link = Link::established();
    for number in 0..1000u16 {
        link.a_sends(&packet(1, 2, &number.to_be_bytes()));
        link.b_sends(&packet(2, 1, &number.to_be_bytes()));
        link.run(secs(121));
    }
    assert_eq!(link.a.completed(), 1000);
    assert_eq!((link.a.delivered.len(), link.b.delivered.len()), (1000, 1000));
    let indices: BTreeSet<_> = link
        .messages(link.a.address, INITIATION)
        .iter()
        .map(|(_, initiation)| index(&initiation.bytes, 4))
        .collect();
    assert_eq!(indices.len(), 1000);
}
