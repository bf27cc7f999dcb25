//! The replay window, seen from the wire.

use tunneld::proto::Discard;

use crate::link::{Datagram, Link, packet, secs};
use crate::paper::{REKEY_AFTER_TIME, WINDOW};

/// An established link and `count` datagrams of data from host a, held back.
fn held_back(count: u64) -> (Link, Vec<Datagram>) {
    let mut link = Link::established();
    for number in 0..count {
        let leaving = link.a.send(&link.clock, &packet(1, 2, &number.to_be_bytes()));
        link.launch(leaving);
    }
    let held = link.hold();
    (link, held)
}

#[test]
fn data_is_delivered_once() {
    let (mut link, held) = held_back(3);
    for datagram in &held {
        assert_eq!(link.inject(datagram), None);
    }
    for datagram in held.iter().rev() {
        assert_eq!(link.inject(datagram), Some(Discard::Replayed));
    }
    assert_eq!(link.b.delivered.len(), 3);
}

#[test]
fn data_out_of_order_is_delivered_within_the_window() {
    let (mut link, held) = held_back(200);
    for datagram in held.iter().rev() {
        assert_eq!(link.inject(datagram), None);
    }
    assert_eq!(link.b.delivered.len(), 200);
}

#[test]
fn data_behind_the_window_is_refused() {
    let (mut link, held) = held_back(WINDOW + 2);
    let newest = WINDOW as usize + 1;
    assert_eq!(link.inject(&held[newest]), None);
    assert_eq!(link.inject(&held[0]), Some(Discard::Replayed));
    assert_eq!(link.inject(&held[1]), None, "the oldest within the window");
    assert_eq!(link.inject(&held[1]), Some(Discard::Replayed));
}

#[test]
fn a_jump_ahead_is_fine_and_what_it_skipped_may_follow() {
    let (mut link, held) = held_back(WINDOW);
    for index in [0, 8000, 7999, 63, 64, 8127, 1] {
        assert_eq!(link.inject(&held[index]), None, "number {index}");
    }
}

#[test]
fn loss_and_reordering_are_told_by_the_counters_also_over_a_rekey() {
    let (mut link, held) = held_back(10);
    for index in [0, 1, 2, 4, 5, 5, 6, 7, 9, 8] {
        let _ = link.inject(&held[index]);
    }
    let before = link.b.tunnel.stats().arrivals();
    assert_eq!((before.lost(), before.reordered), (1, 1));
    link.run(REKEY_AFTER_TIME + secs(1));
    for _ in 0..3 {
        link.a_sends(&packet(1, 2, b"in another session"));
        link.run(secs(1));
    }
    let after = link.b.tunnel.stats().arrivals();
    assert_eq!((after.lost(), after.reordered), (1, 1));
    assert!(after.accepted >= before.accepted + 3);
    assert_eq!(link.b.completed(), 2);
}

#[test]
fn a_forgery_with_a_high_counter_does_not_move_the_window() {
    let (mut link, held) = held_back(2);
    let mut forged = held[0].clone();
    forged.bytes[8..16].copy_from_slice(&1_000_000u64.to_le_bytes());
    assert_eq!(link.inject(&forged), Some(Discard::DataNotAuthentic));
    assert_eq!(link.inject(&held[0]), None);
}

#[test]
fn counters_from_the_limit_on_are_refused_before_they_are_opened() {
    let (mut link, held) = held_back(1);
    let limit = u64::MAX - (1 << 13);
    let cases = [
        (limit - 1, Discard::DataNotAuthentic),
        (limit, Discard::SessionEnded),
        (u64::MAX, Discard::SessionEnded),
    ];
    for (counter, reason) in cases {
        let mut forged = held[0].clone();
        forged.bytes[8..16].copy_from_slice(&counter.to_le_bytes());
        assert_eq!(link.inject(&forged), Some(reason));
    }
}

#[test]
fn each_session_has_a_window_of_its_own() {
    let (mut link, held) = held_back(1000);
    assert_eq!(link.inject(&held[999]), None);
    link.restart_a();
    link.a_sends(&packet(1, 2, b"counter zero again"));
    link.run(secs(1));
    assert_eq!(link.b.delivered.last().unwrap(), &packet(1, 2, b"counter zero again"));
}
