//! What is due when, by both ends' clocks.

use std::time::Duration;

use tunneld::proto::{Discard, Event};

use crate::link::{B, Link, from_b, millis, packet, parameters, secs};
use crate::paper::{
    DATA, INITIATION, INITIATIONS_OF_A_HANDSHAKE, KEEPALIVE_TIMEOUT, MOST_JITTER, OVERHEAD,
    REKEY_AFTER_TIME, REKEY_ON_RECEIVE, REKEY_TIMEOUT, RESPONSE, SILENCE,
};

/// Lets host a be at `age` of the session that began with its link, without any event before.
fn aged(age: Duration) -> Link {
    let mut link = Link::established();
    link.run(age + 2 * link.latency - link.elapsed());
    link
}

/// A link whose host a keeps it alive.
fn kept_alive(interval: Duration) -> Link {
    let mut a = parameters(1, 2, Some(B));
    a.persistent_keepalive = Some(interval);
    let mut link = Link::with(&a, &parameters(2, 1, None));
    link.a_starts();
    link.run(secs(1));
    link
}

fn gaps(moments: &[Duration]) -> Vec<Duration> {
    moments.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn an_unanswered_initiation_is_repeated_after_five_seconds_and_some_jitter() {
    let mut link = Link::new();
    link.lose = |_| true;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(90));
    let gaps = gaps(&link.moments(link.a.address, INITIATION));
    assert!(gaps.len() >= 16);
    for gap in &gaps {
        assert!((REKEY_TIMEOUT..=REKEY_TIMEOUT + MOST_JITTER).contains(gap), "{gap:?}");
    }
    assert!(gaps.iter().max().unwrap().saturating_sub(*gaps.iter().min().unwrap()) > millis(50));
}

#[test]
fn a_handshake_is_given_up_after_twenty_initiations_with_all_that_waited_for_it() {
    let mut link = Link::new();
    link.lose = |_| true;
    for _ in 0..3 {
        link.a_sends(&packet(1, 2, b"waits in vain"));
    }
    link.run(secs(300));
    assert_eq!(link.sent(link.a.address, INITIATION), INITIATIONS_OF_A_HANDSHAKE);
    assert_eq!(link.a.events.last(), Some(&Event::HandshakeGivenUp));
    assert_eq!(link.a.discards(Discard::HandshakeGivenUp), 3);
}

#[test]
fn new_data_begins_a_new_handshake_after_one_was_given_up() {
    let mut link = Link::new();
    link.lose = |_| true;
    link.a_sends(&packet(1, 2, b"waits in vain"));
    link.run(secs(300));
    link.lose = |_| false;
    link.a_sends(&packet(1, 2, b"arrives"));
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet(1, 2, b"arrives")]);
}

#[test]
fn own_responses_count_among_the_one_initiation_in_five_seconds() {
    let mut link = Link::new();
    link.lose = |datagram| datagram.bytes[0] == RESPONSE;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    let responded = link.moments(link.b.address, RESPONSE)[0];
    link.lose = |_| true;
    link.b_sends(&packet(2, 1, b"wants a session"));
    link.run(secs(3));
    assert_eq!(link.sent(link.b.address, INITIATION), 0);
    link.run(secs(2));
    assert_eq!(link.moments(link.b.address, INITIATION), [responded + REKEY_TIMEOUT]);
}

#[test]
fn the_initiator_replaces_a_session_when_it_sends_after_120_seconds() {
    let mut link = aged(REKEY_AFTER_TIME - millis(1));
    link.a_sends(&packet(1, 2, b"not yet"));
    assert_eq!(link.sent(link.a.address, INITIATION), 1);
    link.run(millis(1));
    link.a_sends(&packet(1, 2, b"now"));
    assert_eq!(link.sent(link.a.address, INITIATION), 2);
    link.run(secs(1));
    assert_eq!((link.a.completed(), link.b.completed()), (2, 2));
    assert_eq!(link.b.delivered.len(), 2);
}

#[test]
fn the_initiator_replaces_a_session_on_a_keepalive_too() {
    let mut link = kept_alive(secs(25));
    link.run(secs(600));
    let gaps = gaps(&link.moments(link.a.address, INITIATION));
    assert!(gaps.len() >= 4);
    for gap in gaps {
        assert!(gap >= REKEY_AFTER_TIME && gap <= REKEY_AFTER_TIME + secs(26), "{gap:?}");
    }
}

#[test]
fn the_responder_does_not_replace_a_session_by_its_age() {
    let mut link = aged(secs(150));
    for _ in 0..9 {
        link.b_sends(&packet(2, 1, b"data"));
        link.run(secs(1));
    }
    assert_eq!(link.a.delivered.len(), 9);
    assert_eq!(link.sent(link.b.address, INITIATION), 0);
    assert_eq!(link.sent(link.a.address, INITIATION), 1, "receiving is not sending");
}

#[test]
fn the_initiator_replaces_a_session_when_it_receives_after_165_seconds() {
    let mut link = aged(REKEY_ON_RECEIVE - millis(11));
    link.b_sends(&packet(2, 1, b"not yet"));
    link.run(millis(10));
    assert_eq!(link.sent(link.a.address, INITIATION), 1);
    link.lose = |datagram| datagram.bytes[0] == RESPONSE;
    for _ in 0..4 {
        link.b_sends(&packet(2, 1, b"now, but once"));
        link.run(secs(1));
    }
    assert_eq!(link.moments(link.a.address, INITIATION)[1], REKEY_ON_RECEIVE + millis(29));
    assert_eq!(link.sent(link.a.address, INITIATION), 2);
}

#[test]
fn the_responder_does_not_replace_a_session_when_it_receives_either() {
    let mut link = aged(REKEY_ON_RECEIVE + secs(5));
    link.lose = |datagram| datagram.bytes[0] == INITIATION;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    assert_eq!(link.b.delivered.len(), 1);
    assert_eq!(link.sent(link.b.address, INITIATION), 0);
}

#[test]
fn unanswered_data_is_answered_by_a_keepalive_ten_seconds_after_the_first() {
    let mut link = Link::established();
    link.run(secs(20));
    let first = link.elapsed() + link.latency;
    let keepalives = link.sent(link.b.address, DATA);
    for _ in 0..5 {
        link.a_sends(&packet(1, 2, b"data"));
        link.run(secs(2) - millis(1));
    }
    link.run(KEEPALIVE_TIMEOUT + link.latency);
    let sent = link.messages(link.b.address, DATA).split_off(keepalives);
    assert_eq!(sent.len(), 1, "one answers all");
    assert_eq!(sent[0].0, first + KEEPALIVE_TIMEOUT);
    assert_eq!(sent[0].1.bytes.len(), OVERHEAD);
}

#[test]
fn data_after_a_keepalive_is_answered_by_another() {
    let mut link = Link::established();
    link.run(secs(20));
    let keepalives = link.sent(link.b.address, DATA);
    let start = link.elapsed() + link.latency;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(11));
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(20));
    let sent = link.moments(link.b.address, DATA).split_off(keepalives);
    assert_eq!(sent, [start + KEEPALIVE_TIMEOUT, start + secs(11) + KEEPALIVE_TIMEOUT]);
}

#[test]
fn an_answer_saves_the_keepalive() {
    let mut link = Link::established();
    link.b_sends(&packet(2, 1, b"and now a owes an answer"));
    link.run(secs(5));
    link.a_sends(&packet(1, 2, b"given"));
    link.b_sends(&packet(2, 1, b"and back"));
    let before = link.sent(link.b.address, DATA);
    link.run(secs(9));
    assert_eq!(link.sent(link.b.address, DATA), before);
}

#[test]
fn a_keepalive_provokes_no_keepalive() {
    let mut link = Link::established();
    link.run(secs(100));
    let sent = (link.sent(link.a.address, DATA), link.sent(link.b.address, DATA));
    assert_eq!(sent, (1, 1), "the data, and the keepalive that answers it");
}

#[test]
fn without_a_persistent_keepalive_an_idle_link_is_silent() {
    let mut link = Link::established();
    link.run(secs(20));
    let seen = link.seen.len();
    link.run(secs(7200));
    assert_eq!(link.seen.len(), seen);
}

#[test]
fn data_without_an_answer_for_fifteen_seconds_begins_a_handshake() {
    let mut link = Link::established();
    link.run(secs(20));
    link.lose = |_| true;
    let sent = link.elapsed();
    for _ in 0..14 {
        link.a_sends(&packet(1, 2, b"data"));
        link.run(secs(1));
    }
    assert_eq!(link.sent(link.a.address, INITIATION), 1);
    link.run(secs(2));
    let began = link.moments(link.a.address, INITIATION)[1];
    let expected = sent + SILENCE..=sent + SILENCE + MOST_JITTER;
    assert!(expected.contains(&began), "after the first of them: {began:?}");
    assert!(matches!(link.a.events.last(), Some(Event::PeerSilent { .. })));
}

#[test]
fn the_responder_too_begins_a_handshake_with_a_silent_peer() {
    let mut link = Link::established();
    link.run(secs(20));
    link.lose = |_| true;
    let sent = link.elapsed();
    link.b_sends(&packet(2, 1, b"data"));
    link.run(secs(16));
    let began = link.moments(link.b.address, INITIATION)[0];
    assert!((sent + SILENCE..=sent + SILENCE + MOST_JITTER).contains(&began), "{began:?}");
}

#[test]
fn a_peer_that_only_answers_with_keepalives_is_not_silent() {
    let mut link = Link::established();
    for _ in 0..100 {
        link.a_sends(&packet(1, 2, b"data"));
        link.run(secs(1));
    }
    assert_eq!(link.sent(link.a.address, INITIATION), 1);
}

#[test]
fn a_persistent_keepalive_begins_the_link_and_keeps_its_interval() {
    let mut link = kept_alive(secs(25));
    link.run(secs(100));
    let keepalives = link.messages(link.a.address, DATA);
    assert!(keepalives.iter().all(|(_, keepalive)| keepalive.bytes.len() == OVERHEAD));
    let moments = link.moments(link.a.address, DATA);
    assert_eq!(gaps(&moments), [secs(25); 4]);
    assert_eq!(link.sent(link.b.address, DATA), 0, "only the end that is asked to");
}

#[test]
fn the_persistent_interval_counts_from_the_last_packet_either_way() {
    let mut link = kept_alive(secs(25));
    link.run(secs(10));
    link.a_sends(&packet(1, 2, b"sent"));
    link.run(secs(7));
    let received = link.elapsed() + link.latency;
    link.b_sends(&packet(2, 1, b"received"));
    link.run(secs(1));
    let before = link.sent(link.a.address, DATA);
    link.run(secs(40));
    let sent = link.moments(link.a.address, DATA).split_off(before);
    // First comes the passive keepalive for what was received, then the persistent one.
    let passive = received + KEEPALIVE_TIMEOUT;
    assert_eq!(sent, [passive, passive + secs(25)]);
}

#[test]
fn the_persistent_interval_counts_from_what_was_received_too() {
    let mut link = kept_alive(secs(7));
    link.run(secs(3));
    let received = link.elapsed() + link.latency;
    link.b_sends(&packet(2, 1, b"received"));
    link.run(secs(9));
    assert_eq!(link.moments(link.a.address, DATA).last(), Some(&(received + secs(7))));
}

#[test]
fn a_persistent_keepalive_tries_again_after_a_handshake_was_given_up() {
    let mut link = kept_alive(secs(25));
    link.lose = |_| true;
    link.run(secs(1000));
    assert!(link.a.events.contains(&Event::HandshakeGivenUp));
    link.lose = |_| false;
    link.run(secs(26));
    assert!(link.a.tunnel.has_session(link.clock.boot));
}

#[test]
fn no_two_initiations_of_a_host_are_closer_than_five_seconds() {
    for lose in [|_: &_| true, from_b] {
        let mut link = Link::established();
        link.lose = lose;
        for _ in 0..6000 {
            link.a_sends(&packet(1, 2, b"data"));
            link.b_sends(&packet(2, 1, b"data"));
            link.run(millis(100));
        }
        for host in [link.a.address, link.b.address] {
            let gaps = gaps(&link.moments(host, INITIATION));
            assert!(gaps.len() > 50);
            assert!(gaps.iter().all(|gap| *gap >= REKEY_TIMEOUT));
        }
    }
}

#[test]
fn one_late_call_does_all_that_is_due() {
    let mut link = kept_alive(secs(25));
    link.a_sends(&packet(1, 2, b"data"));
    link.b_sends(&packet(2, 1, b"data"));
    link.run(secs(1));
    link.clock.advance(secs(100_000));
    let leaving = link.a.handle_timeout(&link.clock);
    assert_eq!(leaving.iter().filter(|datagram| datagram.bytes[0] == INITIATION).count(), 1);
    assert_eq!(leaving.len(), 1, "no old key is used");
    assert!(link.a.events.contains(&Event::KeysErased));
    assert!(link.a.handle_timeout(&link.clock).is_empty());
}

#[test]
fn a_call_too_early_does_nothing() {
    let mut link = Link::established();
    link.a_sends(&packet(1, 2, b"data"));
    let (timeout, seen) = (link.a.next_timeout(), link.seen.len());
    for _ in 0..100 {
        let leaving = link.a.handle_timeout(&link.clock);
        link.launch(leaving);
    }
    assert_eq!((link.a.next_timeout(), link.seen.len()), (timeout, seen));
}

#[test]
fn equal_seeds_make_equal_schedules_and_bytes() {
    let run = || {
        let mut link = kept_alive(secs(7));
        for second in 0..400 {
            link.lose = if second % 100 < 30 { from_b } else { |_| false };
            link.b_sends(&packet(2, 1, b"data"));
            link.run(secs(1));
        }
        link.seen
    };
    assert!(run() == run());
}
