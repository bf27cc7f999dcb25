//! What a host may lack: descriptors, IPv6, a device that computes checksums.

use std::fs;

use super::config::ends;
use super::lab::{CABLE, Host, INNER_A, INNER_B, Lab, direct_v4, expect_success, stop};
use super::needs::needs;
use super::process::BOUND;
use super::transfer::Transfer;
use super::vitals::{Vitals, is_idle};

#[test]
fn a_daemon_that_may_open_no_more_files_goes_on_and_handshakes_too() {
    needs!("ping", "prlimit");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let [a, b] = lab.link(&ends);
    let vitals = Vitals::of(&a);
    let most = fs::read_dir(format!("/proc/{}/fd", a.pid())).unwrap().count();
    let words = format!("prlimit --pid {} --nofile={most}:{most}", a.pid());
    expect_success(&lab.run(Host::A, &words));
    // Control is told to look at the network, and the peer needs a new session.
    lab.ip(Host::A, &format!("address add dev {CABLE} 192.0.2.99/32"));
    stop(b);
    let _b = lab.start(Host::B, &ends[1]);
    assert!(lab.pings(Host::B, INNER_A[0]));
    expect_success(&lab.ping(Host::A, &format!("-c 20 -i 0.01 -W 5 {}", INNER_B[1])));
    vitals.are_back(&lab, &a);
    stop(a);
}

/// Takes IPv6 away from a host, or gives it back.
fn disable_ipv6(lab: &Lab, host: Host, disabled: bool) {
    let write = move || {
        for which in ["all", "default"] {
            let file = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
            fs::write(file, u8::from(disabled).to_string()).unwrap();
        }
    };
    lab.inside(host, write).join().unwrap();
}

#[test]
fn a_host_without_ipv6_links_over_ipv4() {
    needs!("ping");
    let lab = Lab::direct();
    disable_ipv6(&lab, Host::A, true);
    let mut ends = ends(direct_v4);
    ends[0].addresses = vec!["10.77.0.1/30"];
    let [a, _b] = lab.link(&ends);
    assert!(lab.pings(Host::B, INNER_A[0]));
    is_idle(&lab, &a);
}

#[test]
fn ipv4_goes_on_when_ipv6_is_taken_away_and_given_back() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, _b] = lab.link(&ends(direct_v4));
    for disabled in [true, false] {
        disable_ipv6(&lab, Host::A, disabled);
        expect_success(&lab.ping(Host::A, &format!("-c 20 -i 0.01 -W 5 {}", INNER_B[0])));
        is_idle(&lab, &a);
    }
}

#[test]
fn a_host_that_has_no_ipv6_is_told_so_if_it_is_to_have_an_ipv6_address() {
    needs!();
    let lab = Lab::direct();
    disable_ipv6(&lab, Host::A, true);
    let mut a = lab.start(Host::A, &ends(direct_v4)[0]);
    assert_eq!(a.end(BOUND).code(), Some(1));
    assert!(a.wait_for("error").contains("is IPv6 turned off?"), "{}", a.said());
    assert!(!lab.network(Host::A).contains("tun0"));
}

#[test]
fn transfers_pass_where_the_underlays_device_computes_no_checksums() {
    needs!("ping", "ethtool");
    let lab = Lab::direct();
    let _daemons = lab.link(&ends(direct_v4));
    let transfer = Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], 20_000_000);
    transfer.goes_on(2_000_000);
    // In the middle of it.
    expect_success(&lab.run(Host::A, &format!("ethtool -K {CABLE} tx off")));
    transfer.finish();
}
