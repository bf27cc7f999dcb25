//! What the simulation itself promises: that it repeats, that it finds what is broken, and that it goes where faults
//! and attacks are.

use std::collections::HashSet;

use tunneld::crypto::Cipher;
use tunneld::proto::Discard;
use tunneld::wire::{Layer, Profile};

use crate::generate::generate;
use crate::host::{millis, secs};
use crate::runs::{attempt, report};
use crate::sabotage::Sabotage;
use crate::scenario::{Action, Scenario, Side, Step};

const FRAMES: Profile = Profile::Tunneld { cipher: Cipher::Aes256Gcm, layer: Layer::Ethernet };

#[test]
fn one_seed_is_one_run() {
    let trace = |seed| attempt(&generate(seed)).unwrap().trace;
    let first = (0..20).map(trace).collect::<Vec<_>>();
    assert_eq!(first, (0..20).map(trace).collect::<Vec<_>>());
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 20, "and no two are the same");
}

/// Two handshakes, traffic, and a stranger.
fn restart_and_stranger(profile: Profile, pieces: usize) -> Scenario {
    let restart = Action::Restart { side: Side::A };
    let inject = Action::Inject { dice: 1, count: 50 };
    Scenario {
        steps: vec![
            Step { at: secs(10), lasts: millis(100), action: restart },
            Step { at: secs(12), lasts: millis(100), action: inject },
        ],
        profiles: [profile; 2],
        pieces,
        ..Scenario::calm(1)
    }
}

#[test]
fn whatever_rule_is_broken_it_is_found_and_named() {
    for (profile, pieces) in [(Profile::WireGuard, 1), (FRAMES, 2)] {
        let honest = restart_and_stranger(profile, pieces);
        attempt(&honest).expect("no rule is broken");
        for (sabotage, rule) in Sabotage::ALL {
            let scenario = Scenario { sabotage: Some(sabotage), ..honest.clone() };
            let violation = attempt(&scenario).expect_err("a broken rule");
            assert_eq!(violation.rule, rule, "{sabotage:?}: {}", violation.text);
        }
    }
}

/// Frames, many of them in several datagrams of which half get lost.
fn lost_fragments() -> Scenario {
    let late = millis(400);
    let weather = Action::Weather { from: Side::A, lost: 50, doubled: 0, altered: 0, late };
    let burst = Action::Burst { side: Side::A, packets: 200, len: 1000 };
    Scenario {
        steps: vec![
            Step { at: secs(10), lasts: secs(5), action: weather },
            Step { at: secs(11), lasts: millis(1), action: burst },
        ],
        profiles: [FRAMES; 2],
        pieces: 2,
        ..Scenario::calm(1)
    }
}

#[test]
fn frames_that_stay_incomplete_are_forgotten_in_time_and_others_still_cross() {
    let outcome = attempt(&lost_fragments()).unwrap();
    assert!(outcome.discards.contains(&Discard::FrameIncomplete), "{:?}", outcome.discards);
}

#[test]
fn of_ends_with_different_profiles_each_refuses_what_the_other_says() {
    let profiles = [FRAMES, Profile::WireGuard];
    let outcome = attempt(&Scenario { profiles, ..Scenario::calm(1) }).unwrap();
    assert_eq!(outcome.discards, [Discard::InitiationNotAuthentic]);
}

#[test]
fn a_broken_rule_is_told_with_its_seed_and_a_small_scenario() {
    let scenario = Scenario { sabotage: Some(Sabotage::DeliversTwice), ..generate(7) };
    let report = report(&scenario, &attempt(&scenario).expect_err("a broken rule"));
    assert!(report.contains("DeliveredOnce is broken"), "{report}");
    assert!(report.contains("TUNNELD_SIMULATE_SEED=7 "), "{report}");
    assert!(scenario.to_string().contains("  at ") && !report.contains("  at "), "{report}");
}

#[test]
fn a_flood_that_fills_the_queue_to_control_keeps_every_bound_and_is_recovered_from() {
    let flood = Action::Flood { dice: 1, to: Side::B, count: 6000 };
    let suspend = Action::Suspend { side: Side::A, deaf: true };
    let steps = vec![
        // The peer that comes back waits behind the flood.
        Step { at: secs(10), lasts: secs(200), action: suspend },
        Step { at: secs(210), lasts: millis(1), action: flood },
    ];
    let scenario = Scenario { steps, pace: millis(1), ..Scenario::calm(1) };
    let outcome = attempt(&scenario).unwrap();
    for reason in [Discard::HandshakeQueueFull, Discard::CookieRequired] {
        assert!(outcome.discards.contains(&reason), "{}", reason.name());
    }
}

#[test]
fn scenarios_reach_what_can_go_wrong() {
    let reached = (0..1000).flat_map(|seed| attempt(&generate(seed)).unwrap().discards);
    let reached = reached.collect::<HashSet<_>>();
    let never = [
        // What the other end never sends, nor its device.
        Discard::NotIp,
        Discard::UnknownControl,
        Discard::FrameMalformed,
        Discard::InnerLength,
        Discard::SourceNotAllowed,
        Discard::DestinationNotAllowed,
        Discard::PacketTooLong,
        Discard::CongestionMark,
        Discard::NotFrame,
        // No rate is limited.
        Discard::ShapedOut,
        Discard::ShapedIn,
        // There is no kernel that discards anything.
        Discard::NotReceived,
        // There is one peer.
        Discard::OtherPeer,
        // No network is routed to the device, and both keys are right.
        Discard::SourceInside,
        Discard::RoutingLoop,
        Discard::UnknownPeer,
        Discard::LowOrderKey,
        // These take thousands of messages at once, dozens of frames whose fragments get lost (both have a test of their
        // own), or a cookie for the attacker.
        Discard::HandshakeQueueFull,
        Discard::FrameIncomplete,
        Discard::RateLimited,
    ];
    for reason in Discard::ALL.iter().filter(|reason| !never.contains(reason)) {
        assert!(reached.contains(reason), "{} was never met", reason.name());
    }
}
