//! What the header says besides addresses: ECN through the tunnel (RFC 6040), and the class of handshakes.

use super::config::{ends_with, on_both_paths};
use super::counters::{filter, packets};
use super::lab::{Host, INNER_B, Lab, endpoint, expect_success, routed_underlay};
use super::needs::needs;

on_both_paths! { ecn_goes_out_and_congestion_comes_in_while_handshakes_have_their_class }

/// Counts on the router what a sends, by message type (the first byte behind the UDP header), and marks data that allows it
/// as congested.
fn watch_and_congest(lab: &Lab, ip: &str) {
    let from_a = format!("iifname to-a udp dport 51820 {ip}");
    filter(
        lab,
        Host::Router,
        &format!(
            "counter handshakes {{}}\ncounter af41 {{}}\ncounter ect0 {{}}\ncounter other_ecn {{}}\n\
             chain forward {{ type filter hook forward priority 0;\n\
             iifname to-a udp dport 51820 @th,64,8 {{ 1, 2 }} counter name handshakes\n\
             {from_a} dscp af41 {ip} ecn not-ect @th,64,8 {{ 1, 2 }} counter name af41\n\
             {from_a} ecn {{ ect1, ce }} counter name other_ecn\n\
             {from_a} ecn ect0 @th,64,8 4 counter name ect0 {ip} ecn set ce\n}}"
        ),
    );
}

/// Counts on b what comes out of the tunnel as congested.
fn count_inside(lab: &Lab) {
    filter(
        lab,
        Host::B,
        "counter congested {}\nchain input { type filter hook input priority 0;\n\
         iifname tun0 ip ecn ce counter name congested\n\
         iifname tun0 ip6 ecn ce counter name congested\n}",
    );
}

fn ecn_goes_out_and_congestion_comes_in_while_handshakes_have_their_class(offload: &'static str) {
    needs!("ping", "nft");
    for (outside, ip) in ["ip", "ip6"].into_iter().enumerate() {
        let lab = Lab::routed();
        watch_and_congest(&lab, ip);
        count_inside(&lab);
        let _daemons =
            lab.link(&ends_with(offload, |host| endpoint(routed_underlay(host)[outside])));
        let handshakes = packets(&lab, Host::Router, "handshakes");
        assert!(handshakes > 0, "a called or answered");
        assert_eq!(packets(&lab, Host::Router, "af41"), handshakes);

        assert_eq!(packets(&lab, Host::Router, "ect0"), 0);
        for address in INNER_B {
            expect_success(&lab.ping(Host::A, &format!("-c 5 -i 0.01 -w 5 {address}")));
        }
        assert_eq!(packets(&lab, Host::Router, "ect0"), 0);
        for address in INNER_B {
            // ECT(0) in the TOS field, and in the traffic class.
            expect_success(&lab.ping(Host::A, &format!("-Q 2 -c 5 -i 0.01 -w 5 {address}")));
        }
        assert_eq!(packets(&lab, Host::Router, "ect0"), 10);
        assert_eq!(packets(&lab, Host::B, "congested"), 10);
        assert_eq!(packets(&lab, Host::Router, "other_ecn"), 0);
    }
}
