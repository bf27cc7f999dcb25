//! What somebody may do to the device underneath: whatever can go on goes on, and nothing makes the daemon spin.

use std::time::Duration;

use super::config::{End, ends};
use super::lab::{
    Host, INNER_A, INNER_B, Lab, STARTED, STOP, direct_v4, expect_success, routed_v4, stop,
};
use super::mtu::becomes;
use super::needs::needs;
use super::process::{BOUND, now, wait_until};
use super::vitals::{Vitals, is_idle};

/// How soon the daemon must have dealt with it: sooner than by the protocol's next try, after 5 s. It takes less than a
/// second where nothing else runs.
const SOON: Duration = Duration::from_secs(4);

/// In networks behind b that only routes lead to.
const BEHIND_B: [&str; 2] = ["192.168.7.1", "fd07::1"];

/// Both ends, with these networks behind b.
fn ends_with_routes(lab: &Lab) -> [End; 2] {
    let mut ends = ends(direct_v4);
    let networks = vec!["10.77.0.0/30", "fd77::/64", "192.168.7.0/24", "fd07::/64"];
    ends[0].allowed_ips = Some(networks);
    lab.ip(Host::B, "address add dev lo 192.168.7.1/24");
    lab.ip(Host::B, "address add dev lo fd07::1/64 nodad");
    ends
}

/// Fails unless all of b answers a's pings soon.
fn all_answer_soon(lab: &Lab, after: &str) {
    let began = now();
    for address in [INNER_B, BEHIND_B].concat() {
        assert!(lab.pings(Host::A, address), "{after}: {address}");
    }
    let took = now() - began;
    assert!(took < SOON, "{after}: {took:?}");
}

#[test]
fn a_device_that_is_deleted_ends_the_daemon_with_the_reason() {
    needs!("ping");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let [mut a, _b] = lab.link(&ends);
    lab.ip(Host::A, "link delete tun0");
    assert_eq!(a.end(STOP).code(), Some(1));
    assert!(a.wait_for("error").contains("the device was deleted"), "{}", a.said());
    // As systemd starts it again:
    let again = lab.start(Host::A, &ends[0]);
    again.wait_for(STARTED);
    assert!(lab.pings(Host::A, INNER_B[0]));
}

#[test]
fn a_device_that_is_set_down_discards_and_passes_all_again_when_it_is_up() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, _b] = lab.link(&ends_with_routes(&lab));
    all_answer_soon(&lab, "before");
    let vitals = Vitals::of(&a);
    for _ in 0..3 {
        lab.ip(Host::A, "link set tun0 down");
        is_idle(&lab, &a);
        lab.ip(Host::A, "link set tun0 up");
        all_answer_soon(&lab, "up");
    }
    vitals.are_back(&lab, &a);
    assert!(super::counters::told(&stop(a), ["down"])[0] > 0);
}

#[test]
fn a_device_that_is_set_down_and_up_within_an_instant_passes_all_again() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, _b] = lab.link(&ends_with_routes(&lab));
    let flap = "link set tun0 down\nlink set tun0 up\n".repeat(5);
    let file = lab.directory_of(Host::A).join("flap");
    std::fs::write(&file, flap).unwrap();
    lab.ip(Host::A, &format!("-batch {}", file.display()));
    all_answer_soon(&lab, "up");
    is_idle(&lab, &a);
}

#[test]
fn an_mtu_that_somebody_sets_stays_and_packets_of_that_size_pass() {
    needs!("ping");
    for in_file in [None, Some(1400)] {
        let lab = Lab::direct();
        let mut ends = ends_with_routes(&lab);
        ends[0].mtu = in_file;
        let [a, _b] = lab.link(&ends);
        becomes(&lab, Host::A, in_file.unwrap_or(1440).into());
        for mtu in [1300, 3000, 1280] {
            lab.ip(Host::A, &format!("link set tun0 mtu {mtu}"));
            let words = format!("-c 3 -i 0.01 -W 5 -M do -s {} {}", mtu - 28, INNER_B[0]);
            expect_success(&lab.ping(Host::A, &words));
            becomes(&lab, Host::A, mtu);
        }
        // Below 1280 the kernel takes IPv6 away.
        lab.ip(Host::A, "link set tun0 mtu 1000");
        a.wait_for("mtu=1000");
        assert!(lab.pings(Host::A, INNER_B[0]));
        lab.ip(Host::A, "link set tun0 mtu 1400");
        all_answer_soon(&lab, "back from an MTU without IPv6");
        is_idle(&lab, &a);
    }
}

#[test]
fn a_device_that_is_renamed_goes_on() {
    needs!("ping");
    let lab = Lab::direct();
    let before = lab.network(Host::A);
    let [a, _b] = lab.link(&ends_with_routes(&lab));
    // Before Linux 6.2 a device must be down for that.
    for words in ["link set tun0 down", "link set tun0 name other", "link set other up"] {
        lab.ip(Host::A, words);
    }
    all_answer_soon(&lab, "renamed");
    is_idle(&lab, &a);
    stop(a);
    assert_eq!(lab.network(Host::A), before);
}

#[test]
fn a_device_that_is_moved_to_another_namespace_goes_on_there() {
    needs!("ping");
    let lab = Lab::routed();
    let [a, _b] = lab.link(&ends(routed_v4));
    lab.ip(Host::A, &format!("link set tun0 netns {}", lab.namespace(Host::Router)));
    is_idle(&lab, &a);
    // It is for whoever moved it to give it addresses there.
    lab.ip(Host::Router, "link set tun0 up");
    lab.ip(Host::Router, &format!("address add dev tun0 {}/30", INNER_A[0]));
    assert!(wait_until(BOUND, || lab.pings(Host::Router, INNER_B[0])));
    is_idle(&lab, &a);
    stop(a);
    assert!(!lab.ip(Host::Router, "-o link show").contains("tun0"));
}
