//! Sessions that go on in another process.

use tunneld::crypto::Cipher;
use tunneld::proto::{Handover, Parameters};
use tunneld::wire::{Layer, Profile};

use crate::host::{A, Host};
use crate::link::{B, Link, packet, parameters, secs};
use crate::paper::{DATA, INITIATION, REJECT_AFTER_TIME, counter};

/// Ends host a, which begins again with these parameters; what it left.
fn ends(link: &mut Link, parameters: &Parameters) -> Handover {
    let new = Host::new(parameters, 77, A);
    let Host { mut tunnel, inbound, .. } = std::mem::replace(&mut link.a, new);
    tunnel.hand_over(inbound)
}

/// Host a goes on with `handover`; whether a session does.
fn takes_over(link: &mut Link, handover: &Handover) -> bool {
    link.a.tunnel.take_over(link.clock.now().boot, handover)
}

/// Ends host a and begins it again with what it left, changed by `change`; whether a session goes on.
fn begin_again(link: &mut Link, change: impl FnOnce(&mut Vec<u8>)) -> bool {
    begin_again_with(link, Profile::WireGuard, change)
}

/// The same, with this profile from then on.
fn begin_again_with(link: &mut Link, profile: Profile, change: impl FnOnce(&mut Vec<u8>)) -> bool {
    let parameters = Parameters { profile, ..parameters(1, 2, Some(B)) };
    let mut bytes = ends(link, &parameters).as_bytes().to_vec();
    change(&mut bytes);
    let handover = Handover::take(&mut bytes);
    assert!(bytes.iter().all(|byte| *byte == 0), "what was taken is erased");
    handover.is_some_and(|handover| takes_over(link, &handover))
}

/// Sends a packet each way, both of which arrive.
fn works(link: &mut Link) {
    link.a.delivered.clear();
    link.b.delivered.clear();
    link.a_sends(&packet(1, 2, b"there"));
    link.b_sends(&packet(2, 1, b"and back"));
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet(1, 2, b"there")]);
    assert_eq!(link.a.delivered, [packet(2, 1, b"and back")]);
}

#[test]
fn the_next_process_goes_on_with_the_session_and_uses_no_counter_twice() {
    let mut link = Link::established();
    works(&mut link);
    assert!(begin_again(&mut link, |_| ()));
    works(&mut link);
    let sent = link.messages(link.a.address, DATA);
    let counters: Vec<_> = sent.iter().map(|(_, datagram)| counter(&datagram.bytes)).collect();
    let expected: Vec<_> = (0..counters.len() as u64).collect();
    assert_eq!(counters, expected);
    assert_eq!(link.sent(link.a.address, INITIATION), 1);
    assert_eq!(link.sent(link.b.address, INITIATION), 0);
}

#[test]
fn what_was_received_before_is_a_replay_after() {
    let mut link = Link::established();
    works(&mut link);
    let seen = link.messages(link.b.address, DATA);
    assert!(begin_again(&mut link, |_| ()));
    for (_, datagram) in &seen {
        assert!(link.inject(datagram).is_some());
    }
    assert!(link.a.delivered.is_empty());
}

#[test]
fn an_initiation_from_before_is_a_replay_after() {
    let mut link = Link::new();
    link.b_sends(&packet(2, 1, b"the peer calls"));
    link.run(secs(1));
    let (_, initiation) = link.messages(link.b.address, INITIATION).remove(0);
    assert!(begin_again(&mut link, |_| ()));
    assert!(link.inject(&initiation).is_some());
}

#[test]
fn a_session_that_waits_for_confirmation_still_waits() {
    let mut link = Link::new();
    link.lose = |datagram| crate::link::is_data(datagram);
    link.b_sends(&packet(2, 1, b"lost"));
    link.run(secs(1));
    assert!(!begin_again(&mut link, |_| ()), "it does not send yet");
    link.lose = |_| false;
    link.b_sends(&packet(2, 1, b"confirms"));
    link.run(secs(1));
    assert_eq!(link.a.delivered, [packet(2, 1, b"confirms")]);
    works(&mut link);
    assert_eq!(link.sent(link.a.address, INITIATION), 0);
}

#[test]
fn a_confirmation_that_control_had_not_heard_of_counts() {
    let mut link = Link::new();
    link.b_sends(&packet(2, 1, b"first"));
    // The peer's first packet is opened, and the process ends before control looks.
    while link.sent(link.b.address, DATA) == 0 {
        link.run(std::time::Duration::from_millis(5));
    }
    let (_, first) = link.messages(link.b.address, DATA).remove(0);
    link.hold();
    link.a.open(&link.clock, &first).unwrap();
    assert!(begin_again(&mut link, |_| ()));
}

#[test]
fn sessions_end_in_their_time_also_across_a_restart() {
    let mut link = Link::established();
    link.run(REJECT_AFTER_TIME);
    assert!(!begin_again(&mut link, |_| ()));
}

#[test]
fn sessions_of_any_profile_go_on_in_it_and_in_no_other() {
    let tunneld = |cipher| Profile::Tunneld { cipher, layer: Layer::Ip };
    let profiles = [Profile::WireGuard].into_iter().chain(Cipher::ALL.map(tunneld));
    let profiles: Vec<_> = profiles.collect();
    for before in &profiles {
        for after in &profiles {
            let mut link = Link::established_with(*before);
            let goes_on = begin_again_with(&mut link, *after, |_| ());
            assert_eq!(goes_on, before == after, "{before}, then {after}");
            if goes_on {
                works(&mut link);
            }
        }
    }
}

#[test]
fn with_another_key_at_either_end_nothing_is_taken_over() {
    for (ours, theirs, expected) in [(1, 2, true), (3, 2, false), (1, 3, false)] {
        let mut link = Link::established();
        let handover = ends(&mut link, &parameters(ours, theirs, Some(B)));
        assert_eq!(takes_over(&mut link, &handover), expected, "{ours} and {theirs}");
    }
}

#[test]
fn the_peer_is_where_it_was_last_and_not_where_it_is_configured() {
    let mut link = Link::established();
    link.b.address = "203.0.113.9:4000".parse().unwrap();
    link.b_sends(&packet(2, 1, b"here I am"));
    link.run(secs(1));
    assert!(begin_again(&mut link, |_| ()));
    assert_eq!(link.a.remote(), link.b.address);
    works(&mut link);
}

#[test]
fn of_another_version_of_another_pair_or_cut_off_nothing_is_taken_over_and_a_handshake_links() {
    let changes: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes[7] += 1,
        |bytes| bytes[8] ^= 1,
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes.push(0),
        Vec::clear,
    ];
    for change in changes {
        let mut link = Link::established();
        assert!(!begin_again(&mut link, change));
        link.run(secs(6));
        link.a_sends(&packet(1, 2, b"anew"));
        link.run(secs(6));
        works(&mut link);
        assert_eq!(link.sent(link.a.address, INITIATION), 2);
    }
}
