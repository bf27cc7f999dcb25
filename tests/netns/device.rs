//! The device and what hangs on it: there while the daemon runs, and what was there before untouched after.

use super::config::ends;
use super::lab::{Host, INNER_B, Lab, STARTED, direct_v4, stop};
use super::needs::needs;

#[test]
fn sigterm_ends_the_daemon_within_a_second_and_leaves_the_network_as_it_was() {
    needs!("ping");
    let lab = Lab::direct();
    let hosts = [Host::A, Host::B];
    let before = hosts.map(|host| lab.network(host));
    let mut ends = ends(direct_v4);
    ends[0].allowed_ips = Some(vec!["10.77.0.0/30", "fd77::/64", "192.168.7.0/24"]);
    let daemons = lab.link(&ends);
    let during = lab.network(Host::A);
    for part in ["10.77.0.1/30", "fd77::1/64", "192.168.7.0/24 dev tun0"] {
        assert!(during.contains(part), "{part} in {during}");
    }
    daemons.into_iter().for_each(|daemon| drop(stop(daemon)));
    assert_eq!(hosts.map(|host| lab.network(host)), before);
}

#[test]
fn a_persistent_device_survives_and_loses_only_what_the_daemon_added() {
    needs!("ping");
    let lab = Lab::direct();
    for words in [
        "tuntap add tun0 mode tun",
        "link set tun0 addrgenmode none",
        "link set tun0 up",
        "address add 10.88.0.1/24 dev tun0",
        "route add 10.89.0.0/24 dev tun0",
    ] {
        lab.ip(Host::A, words);
    }
    let before = lab.network(Host::A);
    let [a, b] = lab.link(&ends(direct_v4));
    assert!(lab.network(Host::A).contains("10.77.0.1/30"));
    stop(a);
    stop(b);
    assert_eq!(lab.network(Host::A), before);
}

#[test]
fn a_device_that_is_deleted_comes_back_or_ends_the_daemon_with_the_reason() {
    needs!("ping");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let [mut a, _b] = lab.link(&ends);
    lab.ip(Host::A, "link delete tun0");
    // Design: re-created, or the daemon ends with the reason; systemd would start it again.
    let answered = super::process::wait_until(super::process::BOUND, || {
        !a.runs() || lab.ping(Host::A, &format!("-c 1 -W 1 {}", INNER_B[0])).status.success()
    });
    assert!(answered);
    if !a.runs() {
        assert!(a.said().contains("tun0"), "{}", a.said());
        let again = lab.start(Host::A, &ends[0]);
        again.wait_for(STARTED);
        assert!(lab.pings(Host::A, INNER_B[0]));
    }
}
