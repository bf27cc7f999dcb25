//! Ethernet frames: whole or in fragments, and which of them cross.

use tunneld::proto::{Discard, Event, FrameRules, Parameters};
use tunneld::wire::{Ecn, Layer, Profile};

use crate::host::{Datagram, Segments};
use crate::link::{A, B, Link, millis, packet, parameters, secs};
use crate::paper::{DATA, OVERHEAD};

/// The path carries this much text.
const PATH: usize = 1420;

fn ethernet(ours: u8, theirs: u8, endpoint: &str, rules: FrameRules) -> Parameters {
    let ip = parameters(ours, theirs, Some(endpoint));
    let profile = Profile::Tunneld { cipher: Default::default(), layer: Layer::Ethernet };
    Parameters { profile, allowed_ips: Vec::new(), frames: rules, ..ip }
}

fn link_with(rules: FrameRules) -> Link {
    let mut link = Link::with(&ethernet(1, 2, B, rules), &ethernet(2, 1, A, rules));
    link.a_sends(&frame(2, 1, &[0; 50]));
    link.run(secs(1));
    assert_eq!(link.b.delivered.len(), 1, "the link is up");
    link.b.delivered.clear();
    link
}

fn link() -> Link {
    link_with(FrameRules::default())
}

/// A frame from one station to another with this behind its addresses and an unknown type.
fn frame(to: u8, from: u8, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5], payload].concat()
}

fn broadcast(from: u8) -> Vec<u8> {
    [&[0xff; 6][..], &frame(0, from, b"to all")[6..]].concat()
}

/// Payload that differs from byte to byte.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 250) as u8).collect()
}

fn data_sent(link: &Link) -> Vec<Datagram> {
    link.messages(link.a.address, DATA).into_iter().map(|(_, datagram)| datagram).collect()
}

#[test]
fn frames_of_every_length_cross_unchanged_both_ways() {
    let mut link = link();
    let lengths = [0, 1, 46, 1402, 1403, 1500, 4000, 9000, 65_521];
    let frames: Vec<_> = lengths.map(|len| frame(2, 1, &noise(len))).into();
    let back: Vec<_> = lengths.map(|len| frame(1, 2, &noise(len))).into();
    for (there, back) in frames.iter().zip(&back) {
        link.a_sends(there);
        link.b_sends(back);
    }
    link.run(secs(1));
    assert_eq!((link.b.delivered.clone(), link.a.delivered.clone()), (frames, back));
    assert!(data_sent(&link).iter().all(|sent| sent.bytes.len() <= PATH + OVERHEAD));
    assert_eq!(link.a.all_discards() + link.b.all_discards(), 0);
}

#[test]
fn tagged_frames_and_what_carries_no_ip_cross_with_their_padding() {
    let mut link = link();
    let tagged = |tags: &[u8], packet: &[u8]| [&frame(2, 1, &[])[..12], tags, packet].concat();
    let ip = packet(1, 2, b"inside");
    let frames = vec![
        tagged(&[0x81, 0, 0, 10, 8, 0], &ip),
        tagged(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 10, 8, 0], &ip),
        tagged(&[8, 0], &[&ip[..], &[0; 20]].concat()),
        tagged(&[8, 6], &[1; 28]),
        tagged(&[0, 38], &[0x42; 38]),
    ];
    frames.iter().for_each(|frame| link.a_sends(frame));
    link.run(secs(1));
    assert_eq!(link.b.delivered, frames);
}

#[test]
fn what_is_shorter_than_its_header_does_not_cross() {
    let mut link = link();
    let before = data_sent(&link).len();
    for len in 0..14 {
        link.a_sends(&frame(2, 1, &[])[..len]);
    }
    link.a_sends(&[&frame(2, 1, &[])[..12], &[0x81, 0, 0, 10, 8]].concat());
    assert_eq!(link.a.discards(Discard::NotFrame), 15);
    assert_eq!(data_sent(&link).len(), before);
}

#[test]
fn a_frame_whose_fragment_was_lost_does_not_arrive_and_others_do() {
    let mut link = link();
    link.a_sends(&frame(2, 1, &noise(3000)));
    let mut flying = link.hold();
    assert_eq!(flying.len(), 3);
    flying.remove(1);
    link.launch(flying);
    let whole = frame(2, 1, &noise(3001));
    link.a_sends(&whole);
    link.run(secs(1));
    assert_eq!(link.b.delivered, [whole]);
    // It is forgotten when its place is needed.
    for _ in 0..64 {
        link.a_sends(&frame(2, 1, &noise(2000)));
        let mut flying = link.hold();
        flying.truncate(1);
        link.launch(flying);
        link.run(millis(20));
    }
    assert_eq!(link.b.discards(Discard::FrameIncomplete), 1);
}

#[test]
fn the_fragments_of_a_session_that_ended_are_forgotten() {
    let mut link = link();
    link.a_sends(&frame(2, 1, &noise(3000)));
    let first = link.hold().swap_remove(0);
    assert_eq!(link.inject(&first), None);
    for _ in 0..2 {
        assert_eq!(link.b.discards(Discard::FrameIncomplete), 0);
        link.run(secs(125));
        link.a_sends(&frame(2, 1, b"another session, please"));
        link.run(secs(1));
    }
    assert_eq!(link.b.discards(Discard::FrameIncomplete), 1);
}

#[test]
fn fragments_may_come_in_any_order_and_a_replayed_one_counts_once() {
    let mut link = link();
    let sent = frame(2, 1, &noise(4000));
    link.a_sends(&sent);
    let mut flying = link.hold();
    flying.reverse();
    for datagram in &flying {
        assert_eq!(link.inject(datagram), None);
        assert_eq!(link.inject(datagram), Some(Discard::Replayed));
    }
    assert_eq!(link.b.delivered, [sent]);
}

#[test]
fn frames_wait_for_the_session_and_are_fragmented_then() {
    let rules = FrameRules::default();
    let mut link = Link::with(&ethernet(1, 2, B, rules), &ethernet(2, 1, A, rules));
    let frames = [frame(2, 1, &noise(5000)), frame(2, 1, &noise(60))];
    frames.iter().for_each(|frame| link.a_sends(frame));
    link.run(secs(1));
    assert_eq!(link.b.delivered, frames);
}

#[test]
fn of_a_superpacket_each_segment_crosses_whole_if_it_fits_and_in_fragments_if_not() {
    let mut link = link();
    for size in [1000, 1500] {
        let mut segments: Vec<_> = (0..40).map(|at| frame(2, at, &noise(size))).collect();
        segments.push(frame(2, 1, &noise(7)));
        let leaving = link.a.send_super(&link.clock, &Segments(segments.clone()));
        link.launch(leaving);
        link.run(secs(1));
        assert_eq!(std::mem::take(&mut link.b.delivered), segments, "of {size} bytes");
    }
    let (packets, _) = link.a.tunnel.stats().sent();
    assert_eq!(packets, 1 + 2 * 41, "frames are counted, not fragments");
    let (packets, bytes) = link.b.tunnel.stats().received();
    assert_eq!((packets, bytes), link.a.tunnel.stats().sent());
}

#[test]
fn a_mark_of_the_way_reaches_the_packet_in_a_frame_and_fragments_are_not_marked() {
    let mut link = link();
    let mut ip = packet(1, 2, b"inside");
    ip[1] = 2;
    let with_ip = [&frame(2, 1, &[])[..12], &[8, 0], &ip].concat();
    link.a_sends(&with_ip);
    let mut flying = link.hold();
    assert_eq!(flying[0].ecn, Ecn::Ect0);
    flying[0].ecn = Ecn::Ce;
    link.launch(flying);
    link.run(secs(1));
    assert_eq!(link.b.delivered.pop().unwrap()[15] & 3, 3);

    let mut long = packet(1, 2, &noise(2000));
    long[1] = 2;
    link.a_sends(&[&frame(2, 1, &[])[..12], &[8, 0], &long].concat());
    assert!(link.hold().iter().all(|fragment| fragment.ecn == Ecn::NotEct));
}

#[test]
fn one_station_more_than_the_limit_is_not_heard() {
    let mut link = link_with(FrameRules { mac_limit: 3, ..FrameRules::default() });
    for station in 1..=5 {
        link.a_sends(&frame(2, station, b"here"));
    }
    link.run(secs(1));
    assert_eq!(link.b.delivered.len(), 3);
    assert_eq!(link.b.discards(Discard::MacLimit), 2);
    let behind_peer = [&link.a, &link.b].map(|end| end.tunnel.stations());
    assert_eq!(behind_peer, [Some(0), Some(3)]);
}

#[test]
fn frames_to_groups_are_limited_at_both_ends_and_others_are_not() {
    let mut link = link_with(FrameRules { broadcast_limit: 10, ..FrameRules::default() });
    for _ in 0..100 {
        link.a_sends(&broadcast(1));
        link.a_sends(&frame(2, 1, b"to one"));
    }
    link.run(secs(1));
    assert_eq!(link.a.discards(Discard::BroadcastLimit), 90);
    assert_eq!(link.b.delivered.len(), 110);
    // The other end has its own limit, whatever this one lets through.
    let free = FrameRules { broadcast_limit: 0, ..FrameRules::default() };
    let limited = FrameRules { broadcast_limit: 10, ..FrameRules::default() };
    let mut link = Link::with(&ethernet(1, 2, B, free), &ethernet(2, 1, A, limited));
    link.a_sends(&frame(2, 1, b"first"));
    link.run(secs(1));
    (0..100).for_each(|_| link.a_sends(&broadcast(1)));
    link.run(millis(20));
    assert_eq!(link.b.discards(Discard::BroadcastLimit), 90);
}

#[test]
fn what_bridges_keep_crosses_unless_it_may_not() {
    let keeps = [&[0x01, 0x80, 0xc2, 0, 0, 0x0e][..], &frame(0, 1, b"who is there")[6..]].concat();
    for (link_local, delivered) in [(true, 1), (false, 0)] {
        let mut link = link_with(FrameRules { link_local, ..FrameRules::default() });
        link.a_sends(&keeps);
        link.run(secs(1));
        assert_eq!(link.b.delivered.len(), delivered);
        assert_eq!(link.a.discards(Discard::LinkLocal), 1 - delivered as u64);
    }
}

#[test]
fn a_loop_is_told_once_it_turns() {
    let mut link = link();
    for _ in 0..20 {
        // What b gets comes back to it by another way.
        link.a_sends(&broadcast(1));
        link.b_sends(&broadcast(1));
        link.run(millis(50));
    }
    let told = |events: &[Event]| {
        let loops: Vec<_> = events.iter().filter(|event| matches!(event, Event::Loop(_))).collect();
        assert!(loops.iter().all(|event| format!("{event:?}") == "Loop(02:00:00:00:00:01)"));
        loops.len()
    };
    assert!(told(&link.a.events) > 0 && told(&link.b.events) > 0);
    assert!(told(&link.b.events) < 4, "not for each frame");
}

#[test]
fn a_flood_of_first_fragments_costs_bounded_memory_and_frames_still_cross() {
    let mut link = link();
    for _ in 0..5000 {
        link.a_sends(&frame(2, 1, &noise(9000)));
        let first = link.hold().swap_remove(0);
        assert_eq!(link.inject(&first), None);
    }
    assert_eq!(link.b.discards(Discard::FrameIncomplete), 5000 - 64);
    let whole = frame(2, 1, &noise(9000));
    link.a_sends(&whole);
    link.run(secs(1));
    assert_eq!(link.b.delivered, [whole]);
}
