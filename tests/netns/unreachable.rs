//! Packets for nobody: who sends them is told at once.

use super::config::ends;
use super::counters::discards;
use super::lab::{Host, Lab, direct_v4, stop};
use super::needs::needs;
use super::process::now;

#[test]
fn a_packet_to_an_address_that_is_not_allowed_is_answered_with_unreachable_at_once() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, _b] = lab.link(&ends(direct_v4));
    for (network, address, answer) in [
        ("10.99.0.0/24", "10.99.0.1", "Destination Host Unreachable"),
        ("fd99::/64", "fd99::1", "Address unreachable"),
    ] {
        lab.ip(Host::A, &format!("route add {network} dev tun0"));
        let began = now();
        // With a deadline ping ends at the first error; more than one, as the answers are few and one may just have been given.
        let output = lab.ping(Host::A, &format!("-i 0.3 -w 20 {address}"));
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("From {address}")), "{said}");
        assert!(said.contains(answer), "{said}");
        assert!(began.elapsed().as_secs() < 10, "it did not wait for an answer");
    }
    assert!(discards(&stop(a), "destination_not_allowed") >= 2);
}
