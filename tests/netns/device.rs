//! The device and what hangs on it: there while the daemon runs, and what was there before untouched after.

use super::config::ends;
use super::lab::{Host, Lab, direct_v4, stop};
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
