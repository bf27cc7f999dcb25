//! Faults of path, peer and configuration: no storm, and recovery when they end.

use std::time::Duration;

use tunneld::crypto::PresharedKey;
use tunneld::proto::{Discard, Event};

use crate::link::{A, B, Link, from_b, key, millis, packet, parameters, secs};
use crate::paper::{DATA, INITIATION, MOST_JITTER, REKEY_TIMEOUT, RESPONSE, SILENCE};
use crate::weather::{Dice, Weather};

#[test]
fn a_path_that_works_one_way_makes_no_storm_and_recovers() {
    let mut link = Link::established();
    link.lose = from_b;
    for _ in 0..600 {
        link.a_sends(&packet(1, 2, b"data"));
        link.b_sends(&packet(2, 1, b"data"));
        link.run(secs(1));
    }
    for host in [link.a.address, link.b.address] {
        assert!(link.sent(host, INITIATION) <= 1 + 600 / 5);
    }
    link.lose = |_| false;
    link.run(REKEY_TIMEOUT + MOST_JITTER + secs(1));
    link.a.delivered.clear();
    link.b_sends(&packet(2, 1, b"again"));
    link.run(millis(11));
    assert_eq!(link.a.delivered, [packet(2, 1, b"again")]);
}

#[test]
fn a_flapping_path_makes_no_storm_and_recovers() {
    let mut link = Link::established();
    for second in 0..300 {
        link.lose = if second % 2 == 0 { |_| true } else { |_| false };
        link.a_sends(&packet(1, 2, b"data"));
        link.run(secs(1));
    }
    assert!(link.sent(link.a.address, INITIATION) <= 10);
    assert!(link.b.delivered.len() >= 140);
}

#[test]
fn a_peer_that_was_restarted_is_found_again_once_it_is_missed() {
    let mut link = Link::established();
    link.run(secs(20));
    link.restart_b();
    link.a_sends(&packet(1, 2, b"for nobody"));
    link.run(SILENCE + MOST_JITTER + millis(30));
    link.a_sends(&packet(1, 2, b"found"));
    link.run(millis(11));
    assert_eq!(link.b.discards(Discard::UnknownReceiver), 1);
    assert_eq!(link.b.delivered, [packet(1, 2, b"found")]);
}

#[test]
fn a_host_that_was_restarted_finds_its_peer_at_once() {
    let mut link = Link::established();
    link.run(secs(20));
    link.restart_b();
    link.b_sends(&packet(2, 1, b"back"));
    link.run(millis(31));
    assert_eq!(link.a.delivered, [packet(2, 1, b"back")]);
    link.restart_a();
    link.a_sends(&packet(1, 2, b"back too"));
    link.run(millis(31));
    assert_eq!(link.b.delivered, [packet(1, 2, b"back too")]);
}

#[test]
fn both_ends_may_be_restarted_one_after_the_other() {
    for gap in [millis(5), millis(100), secs(3)] {
        let mut link = Link::established();
        link.restart_a();
        link.a_sends(&packet(1, 2, b"from a"));
        link.run(gap);
        link.restart_b();
        link.b_sends(&packet(2, 1, b"from b"));
        for _ in 0..25 {
            link.a_sends(&packet(1, 2, b"data"));
            link.run(secs(1));
        }
        link.b.delivered.clear();
        link.a_sends(&packet(1, 2, b"up"));
        link.run(secs(1));
        assert_eq!(link.b.delivered, [packet(1, 2, b"up")], "after {gap:?}");
        assert!(link.a.delivered.contains(&packet(2, 1, b"from b")), "after {gap:?}");
    }
}

/// Both begin `apart` from each other; how many rounds of five seconds it takes until data passes both ways.
fn rounds_until_up(link: &mut Link, apart: Duration) -> u32 {
    link.a_sends(&packet(1, 2, b"from a"));
    link.run(apart);
    link.b_sends(&packet(2, 1, b"from b"));
    (1..20)
        .find(|_| {
            link.a.delivered.clear();
            link.b.delivered.clear();
            link.run(REKEY_TIMEOUT - millis(700));
            link.a_sends(&packet(1, 2, b"probe"));
            link.b_sends(&packet(2, 1, b"probe"));
            link.run(millis(700));
            let probe = (packet(2, 1, b"probe"), packet(1, 2, b"probe"));
            link.a.delivered.contains(&probe.0) && link.b.delivered.contains(&probe.1)
        })
        .expect("it comes up at all")
}

#[test]
fn simultaneous_initiations_converge_at_once_at_any_latency() {
    for latency in (0..=250).step_by(5) {
        for apart in [0, 1, latency / 2, latency, latency + 1] {
            let mut link = Link::new();
            link.latency = millis(latency);
            let rounds = rounds_until_up(&mut link, millis(apart));
            assert_eq!(rounds, 1, "latency {latency} ms, {apart} ms apart");
            link.run(secs(20));
            let data = |from| {
                let sent = link.messages(from, DATA);
                sent.iter().filter(|(_, data)| data.bytes.len() > 32).count()
            };
            assert_eq!((data(link.a.address), data(link.b.address)), (2, 2), "nothing got lost");
        }
    }
}

#[test]
fn simultaneous_initiations_converge_on_a_bad_path() {
    let mut rounds = Vec::new();
    for seed in 0..100 {
        let mut link = Link::new();
        link.latency = millis(100);
        link.weather =
            Some(Weather { dice: Dice::new(seed), lost: 30, doubled: 0, late: millis(50) });
        rounds.push(rounds_until_up(&mut link, Duration::ZERO));
    }
    rounds.sort_unstable();
    assert!(rounds[50] <= 3, "{rounds:?}");
}

#[test]
fn another_preshared_key_makes_no_session_and_both_ends_can_tell() {
    let mut a = parameters(1, 2, Some(B));
    a.preshared_key = PresharedKey::from([7; 32]);
    let mut link = Link::with(&a, &parameters(2, 1, None));
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(20));
    assert_eq!(link.a.completed() + link.b.completed(), 0);
    assert_eq!(link.sent(link.a.address, DATA), 0);
    let responses = link.sent(link.b.address, RESPONSE) as u64;
    assert!(responses >= 3);
    assert_eq!(link.a.discards(Discard::ResponseNotAuthentic), responses);
    let never = |event: &&Event| matches!(event, Event::NeverConfirmed(_));
    assert_eq!(link.b.events.iter().filter(never).count(), 1);
}

#[test]
fn another_public_key_of_the_peer_makes_no_session_and_is_counted() {
    // b knows another key of a's than a has.
    let mut b = parameters(2, 1, None);
    b.public_key = key(9).public_key();
    let mut link = Link::with(&parameters(1, 2, Some(B)), &b);
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(11));
    assert_eq!(link.b.discards(Discard::UnknownPeer), 3);
    assert!(link.sent(link.b.address, RESPONSE) == 0);

    // a knows another key of b's than b has.
    let mut a = parameters(1, 2, Some(B));
    a.public_key = key(9).public_key();
    let mut link = Link::with(&a, &parameters(2, 1, Some(A)));
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(11));
    assert_eq!(link.b.discards(Discard::Mac1), 3);
    assert!(link.sent(link.b.address, RESPONSE) == 0);
}

#[test]
fn without_an_endpoint_packets_wait_until_there_is_one() {
    let mut a = parameters(1, 2, None);
    a.endpoints = vec![Vec::new()];
    let mut link = Link::with(&a, &parameters(2, 1, None));
    link.a_sends(&packet(1, 2, b"waits"));
    link.run(secs(60));
    assert!(link.seen.is_empty());
    link.a.tunnel.resolved(link.clock.now(), 0, &[B.parse().unwrap()]);
    let leaving = link.a.settle(&link.clock);
    link.launch(leaving);
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet(1, 2, b"waits")]);
}
