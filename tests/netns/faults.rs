//! What the tunnel says when the other side is gone.

use nix::sys::signal::Signal;

use super::config::ends;
use super::lab::{CABLE, HANDSHAKE, Host, INNER_B, Lab, SILENT, direct_v4};
use super::needs::needs;
use super::process::BOUND;

#[test]
fn a_peer_that_falls_silent_is_reported_and_one_that_returns_is_linked_again() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, _b] = lab.link(&ends(direct_v4));
    let before = a.count(HANDSHAKE);
    lab.ip(Host::B, &format!("link set {CABLE} down"));
    // Something to send, or nobody would miss an answer.
    let mut ping = super::process::Process::start(
        "ping",
        lab.command(Host::A, &format!("ping -n -i 0.2 {}", INNER_B[0])),
    );
    a.wait_for(SILENT);
    lab.ip(Host::B, &format!("link set {CABLE} up"));
    assert!(lab.pings(Host::A, INNER_B[0]));
    a.wait_for_nth(before + 1, HANDSHAKE);
    ping.signal(Signal::SIGINT);
    ping.end(BOUND);
}
