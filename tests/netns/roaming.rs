//! Addresses that change under a running tunnel.

use super::config::ends;
use super::lab::{CABLE, Host, INNER_A, INNER_B, Lab, MOVED, direct_v4, expect_success, routed_v4};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};
use super::transfer::Transfer;

/// Long enough to be under way when the network changes.
const LONG: u64 = 48_000_000;

/// What has come before and after each change.
const SOME: u64 = 4_000_000;

/// Makes the router show b's datagrams to a from another port: what a NAT does that forgot its binding.
fn show_b_at(lab: &Lab, port: u16) {
    let rules = format!(
        "table ip rebind {{}}\ndelete table ip rebind\ntable ip rebind {{\n\
         chain pre {{ type filter hook prerouting priority raw;\n\
         ip saddr 203.0.113.1 udp sport 51820 udp sport set {port}\n\
         ip daddr 203.0.113.1 udp dport {port} udp dport set 51820\n}}\n}}\n"
    );
    let file = lab.directory_of(Host::Router).join("rules");
    std::fs::write(&file, rules).expect("the directory is ours");
    expect_success(&lab.run(Host::Router, &format!("nft -f {}", file.display())));
}

#[test]
fn a_transfer_survives_a_change_of_the_peers_port() {
    needs!("ping", "nft");
    let lab = Lab::routed();
    let mut ends = ends(routed_v4);
    ends[0].endpoint = None;
    ends[1].persistent_keepalive = Some(1);
    show_b_at(&lab, 4001);
    let daemons = [lab.start(Host::A, &ends[0]), lab.start(Host::B, &ends[1])];
    assert!(lab.pings(Host::B, INNER_A[0]));
    let there = Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], LONG);
    let back = Transfer::begin(&lab, Host::B, Host::A, INNER_A[0], LONG);
    for port in [4002, 4003] {
        there.goes_on(SOME);
        back.goes_on(SOME);
        show_b_at(&lab, port);
        assert!(daemons[0].wait_for(&format!(":{port}")).contains(MOVED));
    }
    there.finish();
    back.finish();
}

#[test]
fn a_transfer_survives_a_change_of_the_peers_address() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[0].endpoint = None;
    ends[1].persistent_keepalive = Some(1);
    let [a, _b] = lab.link_called_by_b(&ends);
    let transfer = Transfer::begin(&lab, Host::B, Host::A, INNER_A[0], LONG);
    transfer.goes_on(SOME);
    lab.ip(Host::B, &format!("address delete 192.0.2.2/24 dev {CABLE}"));
    lab.add_address(Host::B, CABLE, "192.0.2.3");
    assert!(a.wait_for("192.0.2.3").contains(MOVED));
    transfer.finish();
}

#[test]
fn a_peer_may_move_from_ipv4_to_ipv6_by_a_restart() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[0].endpoint = None;
    let [a, b] = lab.link_called_by_b(&ends);
    super::lab::stop(b);
    ends[1].endpoint = Some(super::lab::endpoint(super::lab::underlay(Host::A)[1]));
    let _b = lab.start(Host::B, &ends[1]);
    assert!(lab.pings(Host::B, INNER_A[0]));
    assert!(a.wait_for("2001:db8::2").contains(MOVED));
}

#[test]
fn a_ping_goes_on_when_an_underlay_address_goes_and_another_comes() {
    needs!("ping");
    for (mover, pinger, to) in [(Host::A, Host::B, INNER_A), (Host::A, Host::A, INNER_B)] {
        let lab = Lab::direct();
        let mut ends = ends(direct_v4);
        ends[0].persistent_keepalive = Some(1);
        let _daemons = lab.link(&ends);
        let ping =
            Process::start("ping", lab.command(pinger, &format!("ping -n -i 0.05 {}", to[0])));
        ping.wait_for("time=");
        lab.ip(mover, &format!("address delete 192.0.2.1/24 dev {CABLE}"));
        lab.add_address(mover, CABLE, "192.0.2.7");
        let answered = ping.count("time=");
        assert!(wait_until(BOUND, || ping.count("time=") > answered + 20));
    }
}
