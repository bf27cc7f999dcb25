//! The default route through the tunnel, with the endpoint reached by the same interface.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use super::config::{End, ends};
use super::counters::{filter, packets};
use super::lab::{
    CABLE, FAR, Host, INNER_A, INNER_B, Lab, PORT, STARTED, routed_underlay, routed_v4, stop,
};
use super::needs::needs;
use super::process::{BOUND, Process};

const BOTH: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// What the daemon says where answers would be lost.
const STRICT: &str = "reverse path filter is strict";

/// A routed lab, where host b has the far addresses.
pub(crate) fn far_lab() -> Lab {
    let lab = Lab::routed();
    for address in FAR {
        lab.ip(Host::B, &format!("address add dev lo {address}"));
    }
    lab
}

/// Both ends, where a has these networks behind b.
pub(crate) fn ends_with_networks(networks: &[&'static str]) -> [End; 2] {
    let mut ends = ends(routed_v4);
    ends[0].allowed_ips = Some(networks.into());
    ends
}

/// Starts both daemons, a first: the kernel answers who calls before that, with a packet that is seen.
pub(crate) fn link(lab: &Lab, ends: &[End; 2]) -> [Process; 2] {
    let a = lab.start(Host::A, &ends[0]);
    a.wait_for(STARTED);
    let b = lab.start(Host::B, &ends[1]);
    assert!(lab.pings(Host::A, INNER_B[0]), "a's ping to b is answered");
    [a, b]
}

/// Has the router count what comes from host a and is no outer packet, in two counters, one for each family.
fn count_cleartext(lab: &Lab) {
    let link_local = "ip6 daddr { fe80::/10, ff02::/16 } return\nicmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } return";
    filter(
        lab,
        Host::Router,
        &format!(
            "counter v4 {{}}\ncounter v6 {{}}\nchain f {{\ntype filter hook prerouting priority 0\niifname != \"to-a\" return\n\
             udp dport {PORT} return\n{link_local}\nmeta nfproto ipv4 counter name v4\nmeta nfproto ipv6 counter name v6\n}}"
        ),
    );
}

fn cleartext(lab: &Lab) -> [u64; 2] {
    ["v4", "v6"].map(|counter| packets(lab, Host::Router, counter))
}

#[test]
fn both_default_routes_lead_into_the_tunnel_and_the_outer_packets_past_them() {
    needs!("ping", "nft");
    for family in [0, 1] {
        let lab = far_lab();
        let mut ends = ends_with_networks(&BOTH);
        ends[0].endpoint = Some(super::lab::endpoint(routed_underlay(Host::B)[family]));
        count_cleartext(&lab);
        let [a, _b] = link(&lab, &ends);
        // Also the endpoint's own address, and the other side of the router.
        for address in FAR.iter().chain(&routed_underlay(Host::B)) {
            assert!(lab.pings(Host::A, address), "{address}");
        }
        assert_eq!(cleartext(&lab), [0, 0]);
        assert!(!a.said().contains(STRICT), "{}", a.said());
    }
}

#[test]
fn a_peer_that_calls_is_answered_past_the_default_route() {
    needs!("ping");
    let lab = far_lab();
    let mut ends = ends_with_networks(&BOTH);
    ends[0].endpoint = None;
    let _daemons = lab.link_called_by_b(&ends);
    assert!(lab.pings(Host::A, FAR[0]));
}

#[test]
fn one_family_takes_its_default_route_and_the_other_keeps_its_own() {
    needs!("ping", "nft");
    for (networks, tunnelled, other) in
        [(["0.0.0.0/0", "fd77::/64"], 0, 1), (["10.77.0.0/30", "::/0"], 1, 0)]
    {
        let lab = far_lab();
        for (far, to) in FAR.into_iter().zip(routed_underlay(Host::B)) {
            lab.ip(Host::Router, &format!("route add {far} via {to}"));
        }
        count_cleartext(&lab);
        let _daemons = link(&lab, &ends_with_networks(&networks));
        assert!(lab.pings(Host::A, FAR[tunnelled]));
        assert_eq!(cleartext(&lab), [0, 0]);
        assert!(lab.pings(Host::A, FAR[other]));
        assert!(cleartext(&lab)[other] > 0);
    }
}

#[test]
fn the_local_network_stays_reachable_beside_the_default_route() {
    needs!("ping");
    let lab = far_lab();
    let _daemons = link(&lab, &ends_with_networks(&BOTH));
    for router in ["198.51.100.254", "2001:db8:a::ff"] {
        assert!(lab.pings(Host::A, router), "{router}");
    }
}

#[test]
fn rules_that_a_crash_left_are_taken_over_and_removed_at_the_end() {
    needs!("ping");
    let lab = far_lab();
    let ends = ends_with_networks(&BOTH);
    let rules = || ["-4 rule", "-6 rule"].map(|words| lab.ip(Host::A, words));
    let (before, network) = (rules(), lab.network(Host::A));
    let [mut a, _b] = link(&lab, &ends);
    let with_tunnel = rules();
    for (rules, before) in with_tunnel.iter().zip(&before) {
        assert_eq!(rules.lines().count(), before.lines().count() + 2, "{rules}");
    }
    for _ in 0..2 {
        a.signal(Signal::SIGKILL);
        a.end(BOUND);
        assert_eq!(rules(), with_tunnel);
        a = lab.start(Host::A, &ends[0]);
        a.wait_for(STARTED);
        assert_eq!(rules(), with_tunnel);
    }
    assert!(lab.pings(Host::A, FAR[0]));
    stop(a);
    assert_eq!(lab.network(Host::A), network);
}

#[test]
fn a_device_that_was_down_gets_its_default_route_again() {
    needs!("ping");
    let lab = far_lab();
    let _daemons = link(&lab, &ends_with_networks(&BOTH));
    let network = lab.network(Host::A);
    lab.ip(Host::A, "link set tun0 down");
    lab.ip(Host::A, "link set tun0 up");
    for address in FAR {
        assert!(lab.pings(Host::A, address), "{address}");
    }
    assert_eq!(lab.network(Host::A), network);
}

#[test]
fn a_strict_reverse_path_filter_is_told_with_what_mends_it() {
    needs!("ping");
    let lab = far_lab();
    let set = |name: &str, value: &'static str| {
        let file = Path::new("/proc/sys/net/ipv4/conf").join(name).join("rp_filter");
        lab.inside(Host::A, move || fs::write(file, value)).join().unwrap().unwrap();
    };
    set(CABLE, "1");
    let [a, _b] = ends_with_networks(&BOTH).map(|end| {
        let host = if end.addresses[0].starts_with(INNER_A[0]) { Host::A } else { Host::B };
        lab.start(host, &end)
    });
    let said = a.wait_for(STRICT);
    assert!(
        said.contains("device=\"cable\"") && said.contains("net.ipv4.conf.all.rp_filter=2"),
        "{said}"
    );
    set("all", "2");
    assert!(lab.pings(Host::A, INNER_B[0]));
    assert!(lab.pings(Host::A, FAR[0]));
}
