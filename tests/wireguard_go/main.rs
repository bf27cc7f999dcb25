//! Real traffic to wireguard-go across two network namespaces, in both roles, over several handshakes. Needs root and
//! a few programs; says which are missing and is skipped without them, unless `TUNNELD_TEST_REQUIRE=all`.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "a test's own rooms")]

mod ends;
mod lab;
#[path = "../common/shown.rs"]
mod shown;

use ends::{Ours, Preshared, Program, WireguardGo};
use lab::{BOUND, Lab, Side, may_run, tunneld_runs, wait_until};

/// Handshakes of each role in each test.
const HANDSHAKES: usize = 4;

/// Our end begins, starting afresh for each handshake; at last the other end begins one.
fn we_begin(program: Program, preshared: bool, over_ipv6: bool) {
    let lab = Lab::new(over_ipv6);
    let preshared = Preshared::new(preshared);
    let theirs = WireguardGo::start(&lab, Side::B, &preshared);
    theirs.add_peer(None);
    let start = || Ours::start(program, &lab, &preshared, Some(lab.endpoint(Side::B)));
    let mut ours = None;
    for handshake in 1..=HANDSHAKES {
        // The one before must be gone, with its port and device.
        drop(ours.take());
        let started = start();
        lab.assert_traffic(Side::A);
        assert!(started.handshakes() >= 1);
        assert!(theirs.answered() >= handshake);
        assert_ne!(theirs.latest_handshake(), 0);
        ours = Some(started);
    }
    let ours = ours.unwrap();
    let (before, begun) = (ours.handshakes(), theirs.begun());
    theirs.remove_peer();
    theirs.add_peer(Some(lab.endpoint(Side::A)));
    lab.assert_traffic(Side::B);
    assert!(theirs.begun() > begun);
    wait_until(BOUND, "we have completed it too", || ours.handshakes() > before);
}

/// The other end begins and begins again, while ours goes on running.
fn we_answer(program: Program, preshared: bool, over_ipv6: bool) {
    let lab = Lab::new(over_ipv6);
    let preshared = Preshared::new(preshared);
    let ours = Ours::start(program, &lab, &preshared, None);
    let theirs = WireguardGo::start(&lab, Side::B, &preshared);
    for handshake in 1..=HANDSHAKES {
        theirs.add_peer(Some(lab.endpoint(Side::A)));
        assert_eq!(theirs.latest_handshake(), 0, "it has no session left");
        lab.assert_traffic(Side::B);
        assert_ne!(theirs.latest_handshake(), 0);
        assert!(theirs.begun() >= handshake);
        wait_until(BOUND, "we have completed it too", || ours.handshakes() >= handshake);
        // Our end has the endpoint from the handshake by now.
        lab.assert_traffic(Side::A);
        theirs.remove_peer();
    }
}

/// The same with wireguard-go at both ends: if this fails, it is not tunneld's fault.
#[test]
fn wireguard_go_meets_itself() {
    if may_run("wireguard_go_meets_itself", Ok(())) {
        we_begin(Program::WireguardGo, true, false);
        we_answer(Program::WireguardGo, false, true);
    }
}

#[test]
fn tunneld_begins() {
    if may_run("tunneld_begins", tunneld_runs()) {
        we_begin(Program::Tunneld, false, false);
    }
}

#[test]
fn tunneld_begins_with_a_preshared_key_over_ipv6() {
    if may_run("tunneld_begins_with_a_preshared_key_over_ipv6", tunneld_runs()) {
        we_begin(Program::Tunneld, true, true);
    }
}

#[test]
fn tunneld_answers() {
    if may_run("tunneld_answers", tunneld_runs()) {
        we_answer(Program::Tunneld, false, false);
    }
}

#[test]
fn tunneld_answers_with_a_preshared_key_over_ipv6() {
    if may_run("tunneld_answers_with_a_preshared_key_over_ipv6", tunneld_runs()) {
        we_answer(Program::Tunneld, true, true);
    }
}
