//! Where else the peer is looked for while it does not answer, and the way back to its first endpoint.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tunneld::proto::{Event, Request};

use crate::link::{A, B, Link, millis, packet, parameters, secs};
use crate::paper::{DATA, INITIATION, MOST_JITTER, OVERHEAD, REKEY_TIMEOUT, SILENCE};

const B6: &str = "[2001:db8::2]:51820";
const ELSEWHERE: &str = "203.0.113.9:4500";

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// A link whose host a may call these endpoints, each with its addresses; host b is at `b`.
fn link(endpoints: &[&[&str]], b: &str) -> Link {
    let mut a = parameters(1, 2, None);
    a.endpoints =
        endpoints.iter().map(|addresses| addresses.iter().map(|text| at(text)).collect()).collect();
    let mut link = Link::with(&a, &parameters(2, 1, Some(A)));
    link.b.address = at(b);
    link
}

/// The initiations of a so far: when, to whom, and which.
fn initiations(link: &Link) -> Vec<(Duration, SocketAddr, Vec<u8>)> {
    let sent = link.messages(link.a.address, INITIATION);
    sent.into_iter().map(|(at, datagram)| (at, datagram.to, datagram.bytes)).collect()
}

/// Both ends send for a while.
fn talk(link: &mut Link, time: Duration) {
    for _ in 0..time.as_secs() {
        link.a_sends(&packet(1, 2, b"a"));
        link.b_sends(&packet(2, 1, b"b"));
        link.run(secs(1));
    }
}

#[test]
fn an_initiation_goes_to_every_address_of_the_endpoint_a_quarter_second_apart() {
    let mut link = link(&[&[B, B6, ELSEWHERE]], "192.0.2.99:1");
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(4));
    let calls = initiations(&link);
    let moments: Vec<_> = calls.iter().map(|(at, _, _)| *at).collect();
    assert_eq!(moments, [0, 250, 500].map(millis));
    let called: Vec<_> = calls.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(called, [B, B6, ELSEWHERE].map(at));
    assert!(calls.iter().all(|(_, _, bytes)| *bytes == calls[0].2), "copies of one message");
    link.run(secs(5));
    let retries: Vec<_> = initiations(&link)[3..].iter().map(|(_, to, _)| *to).collect();
    assert_eq!(retries, [B6, ELSEWHERE, B].map(at), "a retry begins with another one");
}

#[test]
fn the_families_are_called_in_turn_and_of_many_addresses_only_eight() {
    let v4: Vec<_> = (1..=9).map(|host| format!("192.0.2.{host}:1")).collect();
    let mut addresses: Vec<_> = v4.iter().map(String::as_str).collect();
    addresses.extend([B6, "[2001:db8::3]:1"]);
    let mut link = link(&[&addresses], ELSEWHERE);
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(4));
    let called: Vec<_> = initiations(&link).iter().map(|(_, to, _)| *to).collect();
    let expected = [&v4[0], B6, &v4[1], "[2001:db8::3]:1", &v4[2], &v4[3], &v4[4], &v4[5]];
    assert_eq!(called, expected.map(at));
}

#[test]
fn the_address_that_answers_first_gets_the_link_and_no_other_is_called() {
    let mut link = link(&[&[B, B6, ELSEWHERE]], B6);
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet(1, 2, b"data")]);
    assert_eq!(link.a.remote(), at(B6));
    assert_eq!(initiations(&link).len(), 2);
}

#[test]
fn a_rekey_with_a_peer_that_is_heard_is_nobody_elses_business() {
    let mut link = link(&[&[B, B6]], B);
    link.latency = millis(400);
    talk(&mut link, secs(130));
    assert_eq!(link.a.completed(), 2);
    // The first was not answered within a quarter of a second, and nobody had been heard before.
    let elsewhere = initiations(&link).iter().filter(|(_, to, _)| *to == at(B6)).count();
    assert_eq!(elsewhere, 1);
}

#[test]
fn what_follows_unanswered_initiations_has_its_order_and_its_time() {
    let mut link = link(&[&[B], &[ELSEWHERE]], "192.0.2.99:1");
    let mut seen = Vec::new();
    for _ in 0..400 {
        link.a_sends(&packet(1, 2, b"data"));
        link.run(millis(100));
        let requests = link.a.requests.drain(..).map(|request| format!("{request:?}"));
        seen.extend(
            requests.map(|request| (link.clock.boot.since(crate::host::BOOT_START), request)),
        );
    }
    let names: Vec<_> = seen.iter().map(|(_, name)| name.as_str()).collect();
    let cycle = [
        "LookUp(0)",
        "ChangePort",
        "LookUp(1)",
        "LookUp(1)",
        "ChangePort",
        "LookUp(0)",
        "LookUp(0)",
    ];
    assert_eq!(names[..7], cycle);
    for ((moment, name), number) in seen.iter().zip(1..) {
        let step = REKEY_TIMEOUT * number;
        let latest = step + MOST_JITTER * number + millis(100);
        assert!(*moment >= step && *moment <= latest, "{name} at {moment:?}");
    }
    let next = |event: &&Event| matches!(event, Event::NextEndpoint(_));
    let next: Vec<_> = link.a.events.iter().filter(next).collect();
    assert_eq!(next, [&Event::NextEndpoint(1), &Event::NextEndpoint(0)]);
    let calls = initiations(&link);
    let called: Vec<_> = calls.iter().map(|(_, to, _)| *to).collect();
    let expected = [B, B, B, ELSEWHERE, ELSEWHERE, ELSEWHERE, B, B];
    assert_eq!(called[..8], expected.map(at));
}

#[test]
fn a_name_that_moved_is_followed_within_thirty_seconds() {
    let mut link = link(&[&[B]], B);
    talk(&mut link, secs(10));
    // The host is elsewhere from now on, and its name says so.
    link.b.address = at(ELSEWHERE);
    link.restart_b();
    let died = link.elapsed();
    let mut after = Vec::new();
    while link.b.delivered.is_empty() {
        assert!(link.elapsed() - died < secs(30));
        link.a_sends(&packet(1, 2, b"a"));
        link.run(millis(100));
        if link.a.requests.contains(&Request::LookUp(0)) {
            link.a.requests.clear();
            after.push(link.elapsed() - died);
            link.a.tunnel.resolved(link.clock.now(), 0, &[at(ELSEWHERE)]);
        }
    }
    let lookup = SILENCE + REKEY_TIMEOUT;
    assert!(after[0] <= lookup + 2 * MOST_JITTER + millis(100), "{after:?}");
    assert_eq!(link.a.remote(), at(ELSEWHERE));
    assert!(link.elapsed() - died <= after[0] + millis(200), "new addresses are called at once");
}

#[test]
fn a_dead_binding_of_the_source_port_is_left_within_thirty_seconds() {
    let mut link = link(&[&[B]], B);
    talk(&mut link, secs(10));
    link.lose = |datagram| datagram.from == at(A) || datagram.to == at(A);
    let died = link.elapsed();
    link.b.delivered.clear();
    while link.b.delivered.is_empty() {
        assert!(link.elapsed() - died < secs(30));
        link.a_sends(&packet(1, 2, b"a"));
        link.run(millis(100));
        if link.a.requests.contains(&Request::ChangePort) {
            link.a.address = at("192.0.2.1:40000");
        }
    }
    assert_eq!(link.b.remote(), at("192.0.2.1:40000"));
}

#[test]
fn the_first_endpoint_is_called_now_and_then_while_another_serves() {
    let mut link = link(&[&[B], &[ELSEWHERE]], ELSEWHERE);
    talk(&mut link, secs(20));
    assert_eq!(link.a.remote(), at(ELSEWHERE));
    link.seen.clear();
    talk(&mut link, secs(500));
    let to_first: Vec<_> = initiations(&link)
        .into_iter()
        .filter(|(_, to, _)| *to == at(B))
        .map(|(at, ..)| at)
        .collect();
    // After 60, then 120 and 240 s more; the link itself is not touched.
    assert_eq!(to_first.len(), 3);
    for (moment, expected) in to_first.iter().zip([60, 60 + 120, 60 + 120 + 240].map(secs)) {
        assert!(*moment >= expected && *moment < expected + secs(1), "{moment:?}");
    }
    assert_eq!(link.a.remote(), at(ELSEWHERE));
    link.b.delivered.clear();
    link.b.address = at(B);
    talk(&mut link, secs(60));
    assert!(!link.b.delivered.is_empty(), "it is looked for where it went");
    assert_eq!(link.a.remote(), at(B));
}

#[test]
fn a_first_endpoint_that_answers_again_gets_the_link_back() {
    let mut link = link(&[&[B], &[ELSEWHERE]], ELSEWHERE);
    talk(&mut link, secs(20));
    link.b.address = at(B);
    let initiation = |link: &Link| {
        initiations(link).iter().any(|(when, to, _)| *to == at(B) && *when > secs(21))
    };
    while !initiation(&link) {
        link.run(secs(1));
        assert!(link.elapsed() < secs(120));
    }
    link.run(secs(1));
    assert_eq!(link.a.remote(), at(B));
    talk(&mut link, secs(200));
    let back = initiations(&link).iter().filter(|(_, to, _)| *to == at(ELSEWHERE)).count();
    assert!(back <= 2, "no more calls to the second one");
}

#[test]
fn a_change_of_the_network_is_told_to_the_peer_at_once() {
    let mut link = link(&[&[B]], B);
    talk(&mut link, secs(5));
    let keepalives = |link: &Link| {
        let data = link.messages(link.a.address, DATA);
        data.iter().filter(|(_, data)| data.bytes.len() == OVERHEAD).count()
    };
    link.a.address = at(ELSEWHERE);
    link.a.tunnel.network_changed(link.clock.now());
    let leaving = link.a.settle(&link.clock);
    link.launch(leaving);
    link.run(millis(11));
    assert_eq!(keepalives(&link), 1);
    assert_eq!(link.b.remote(), at(ELSEWHERE));
    assert_eq!(link.a.requests, [Request::LookUp(0)]);
}

#[test]
fn an_initiation_under_way_is_sent_once_more_when_the_network_changes_and_is_no_new_one() {
    let mut link = link(&[&[B, B6]], B);
    link.lose = |_| true;
    link.a_sends(&packet(1, 2, b"data"));
    link.run(secs(2));
    link.lose = |_| false;
    link.a.tunnel.network_changed(link.clock.now());
    let leaving = link.a.settle(&link.clock);
    link.launch(leaving);
    link.run(millis(50));
    assert_eq!(link.b.delivered, [packet(1, 2, b"data")]);
    let distinct: BTreeSet<_> = initiations(&link).into_iter().map(|(_, _, bytes)| bytes).collect();
    assert_eq!(distinct.len(), 1);
}

#[test]
fn a_change_of_the_network_concerns_nobody_where_nothing_is_wanted() {
    let mut link = link(&[&[B]], B);
    link.a.tunnel.network_changed(link.clock.now());
    let leaving = link.a.settle(&link.clock);
    assert!(leaving.is_empty());
}

#[test]
fn a_change_of_the_network_is_told_from_the_new_address_though_packets_still_come_to_the_old_one() {
    let mut link = link(&[&[B]], B);
    talk(&mut link, secs(5));
    // The old address goes on to receive.
    link.a.also = vec![link.a.address];
    link.a.address = at(ELSEWHERE);
    let to_the_old = link.b.send(&link.clock, &packet(2, 1, b"under way")).remove(0);
    link.a.tunnel.network_changed(link.clock.now());
    link.a.open(&link.clock, &to_the_old).unwrap();
    let leaving = link.a.settle(&link.clock);
    assert_eq!(leaving.iter().map(|datagram| datagram.from).collect::<Vec<_>>(), [at(ELSEWHERE)]);
}

#[test]
fn a_call_to_the_first_endpoint_puts_off_no_keepalive_to_the_one_that_serves() {
    let mut a = parameters(1, 2, None);
    a.endpoints = [B, ELSEWHERE].map(|address| vec![at(address)]).into();
    a.persistent_keepalive = Some(secs(25));
    let mut link = Link::with(&a, &parameters(2, 1, None));
    link.b.address = at(ELSEWHERE);
    let now = link.clock.now();
    link.a.tunnel.start(now);
    let leaving = link.a.settle(&link.clock);
    link.launch(leaving);
    link.run(secs(300));
    assert!(initiations(&link).iter().filter(|(_, to, _)| *to == at(B)).count() > 4);
    let sent = link.messages(link.a.address, DATA).into_iter().map(|(at, _)| at);
    let kept_alive: Vec<_> = sent.collect();
    assert!(kept_alive.len() > 10);
    let apart = kept_alive.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(apart <= Some(secs(25)), "{apart:?}");
}

#[test]
fn an_endpoint_that_the_peer_moved_to_is_the_first_to_be_called() {
    let mut link = link(&[&[B], &[ELSEWHERE]], B);
    talk(&mut link, secs(5));
    link.b.address = at(ELSEWHERE);
    link.b_sends(&packet(2, 1, b"from there"));
    link.run(secs(1));
    assert_eq!(link.a.remote(), at(ELSEWHERE));
    link.seen.clear();
    link.lose = |_| true;
    link.a_sends(&packet(1, 2, b"lost"));
    link.run(secs(20));
    assert_eq!(initiations(&link)[0].1, at(ELSEWHERE));
}

#[test]
fn what_a_lookup_finds_later_does_not_get_an_old_call() {
    let mut link = link(&[&[B], &[ELSEWHERE]], ELSEWHERE);
    talk(&mut link, secs(20));
    link.seen.clear();
    // The first endpoint is called in vain.
    talk(&mut link, secs(70));
    assert_eq!(initiations(&link).iter().filter(|(_, to, _)| *to == at(B)).count(), 1);
    let now = link.clock.now();
    for (endpoint, address) in [(0, B6), (1, "203.0.113.10:4500")] {
        link.a.tunnel.resolved(now, endpoint, &[at(address)]);
        let leaving = link.a.settle(&link.clock);
        link.launch(leaving);
        link.run(secs(1));
        assert!(initiations(&link).iter().all(|(_, to, _)| *to != at(address)), "{address}");
    }
}

#[test]
fn a_pause_before_the_first_endpoint_is_called_grows_only_by_calls() {
    let mut link = link(&[&[B], &[ELSEWHERE]], ELSEWHERE);
    talk(&mut link, secs(20));
    // While nobody answers at all, the ladder calls everybody.
    link.lose = |_| true;
    talk(&mut link, secs(600));
    link.lose = |_| false;
    link.b.delivered.clear();
    while link.b.delivered.is_empty() {
        talk(&mut link, secs(1));
    }
    link.seen.clear();
    talk(&mut link, secs(130));
    assert!(initiations(&link).iter().any(|(_, to, _)| *to == at(B)), "within two minutes");
}

#[test]
fn a_change_of_the_network_looks_up_a_name_that_has_no_address_yet() {
    let mut link = link(&[&[]], B);
    link.a_sends(&packet(1, 2, b"staged"));
    let now = link.clock.now();
    link.a.tunnel.network_changed(now);
    let leaving = link.a.settle(&link.clock);
    assert_eq!((leaving, &link.a.requests), (vec![], &vec![Request::LookUp(0)]));
}
