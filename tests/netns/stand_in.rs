//! What stands in for a device while there is none, and what is left alone in another network namespace.

use std::net::IpAddr;

use super::capture::{Capture, Pings};
use super::config::{End, ends};
use super::default_route::{ends_with_networks, far_lab};
use super::handover::{BOTH, Keeper, end_for_restart, kill};
use super::lab::{FAR, FAR_NETWORKS, Host, Lab, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};

/// The number of devices that stand in for one.
fn stand_ins(lab: &Lab) -> usize {
    lab.ip(Host::A, "-o link show").matches(": tunneld").count()
}

#[test]
fn a_default_route_leads_nowhere_else_while_a_restart_changes_the_name_of_the_device() {
    needs!("ping");
    // One that was made for the daemon, and one that it finds.
    for found in [false, true] {
        let lab = far_lab();
        if found {
            lab.ip(Host::A, "tuntap add tun0 mode tun");
        }
        let before = lab.network(Host::A);
        let ends = ends_with_networks(&BOTH);
        let mut keeper = Keeper::new(&lab, Host::A);
        let capture = Capture::begin(&lab, Host::Router);
        let a = keeper.start(&lab, Host::A, &ends[0]);
        let _b = lab.start(Host::B, &ends[1]);
        assert!(lab.pings(Host::A, FAR[0]) && lab.pings(Host::A, FAR[1]));
        let pings = Pings::begin(&lab);
        end_for_restart(a);
        // It fails between the two devices, once and again.
        let renamed = End { name: "tun7".to_owned(), ..ends[0].clone() };
        lab.ip(Host::A, "link add tun7 type veth peer name other");
        for _ in 0..2 {
            let mut failed = keeper.launch(&lab, Host::A, &renamed);
            assert_eq!(failed.end(BOUND).code(), Some(1), "{}", failed.said());
            keeper.listen();
            assert_eq!(stand_ins(&lab), 1, "found: {found}");
            pings.wait_until_more_are_sent();
        }
        lab.ip(Host::A, "link delete tun7");
        let a = keeper.start(&lab, Host::A, &renamed);
        keeper.listen();
        assert!(wait_until(BOUND, || stand_ins(&lab) == 0));
        assert!(lab.pings(Host::A, FAR[0]) && lab.pings(Host::A, FAR[1]));
        assert_eq!(capture.cleartext(&FAR_NETWORKS), [] as [[IpAddr; 2]; 0], "found: {found}");
        stop(a);
        drop(keeper);
        assert!(wait_until(BOUND, || lab.network(Host::A) == before), "found: {found}");
        assert!(wait_until(BOUND, || !capture.cleartext(&FAR_NETWORKS).is_empty()));
    }
}

#[test]
fn a_daemon_that_fails_leaves_a_default_route_closed_to_its_service_manager_and_open_without_one() {
    needs!("ping");
    let lab = far_lab();
    let ends = ends_with_networks(&BOTH);
    let before = lab.network(Host::A);
    let fail = |mut a: Process| {
        lab.ip(Host::A, "link delete tun0");
        assert_eq!(a.end(BOUND).code(), Some(1), "{}", a.said());
    };
    let a = lab.start(Host::A, &ends[0]);
    a.wait_for(STARTED);
    fail(a);
    assert_eq!(lab.network(Host::A), before);

    let _b = lab.start(Host::B, &ends[1]);
    let mut keeper = Keeper::new(&lab, Host::A);
    let a = keeper.start(&lab, Host::A, &ends[0]);
    assert!(lab.pings(Host::A, FAR[0]) && lab.pings(Host::A, FAR[1]));
    let pings = Pings::begin(&lab);
    let capture = Capture::begin(&lab, Host::Router);
    fail(a);
    keeper.listen();
    // Until the daemon noticed, some left, and may have waited for the router's address meanwhile.
    let nothing_more_comes = || {
        pings.wait_until_more_are_sent();
        capture.cleartext(&FAR_NETWORKS).is_empty()
    };
    assert!(wait_until(BOUND, nothing_more_comes));
    pings.wait_until_more_are_sent();
    let a = keeper.start(&lab, Host::A, &ends[0]);
    assert!(lab.pings(Host::A, FAR[0]) && lab.pings(Host::A, FAR[1]));
    assert_eq!(capture.cleartext(&FAR_NETWORKS), [] as [[IpAddr; 2]; 0]);
    fail(a);
    keeper.listen();
    assert_eq!(stand_ins(&lab), 1);
    // It gives up: what is left leads nowhere, and nothing goes by it.
    drop(keeper);
    assert!(wait_until(BOUND, || stand_ins(&lab) == 0));
    assert!(wait_until(BOUND, || !capture.cleartext(&FAR_NETWORKS).is_empty()));
}

#[test]
fn what_a_process_left_in_another_network_namespace_changes_nothing_in_this_one() {
    needs!("ping");
    for found in [false, true] {
        let lab = Lab::direct();
        // To an index that no device of host b has.
        for _ in 0..5 {
            lab.ip(Host::A, "tuntap add tun0 mode tun");
            lab.ip(Host::A, "tuntap delete tun0 mode tun");
        }
        if found {
            lab.ip(Host::A, "tuntap add tun0 mode tun");
        }
        let mut ends = ends(direct_v4);
        ends[0].allowed_ips = Some(BOTH.into());
        ends[0].mtu = Some(1300);
        let mut keeper = Keeper::new(&lab, Host::A);
        kill(keeper.start(&lab, Host::A, &ends[0]));
        // Another's device of the same name, index and addresses, and another's rules.
        let about = lab.ip(Host::A, "-o link show tun0");
        let index = about.split(':').next().unwrap();
        lab.ip(Host::B, &format!("link add tun0 index {index} mtu 1300 type veth peer name other"));
        lab.ip(Host::B, "link set tun0 up");
        lab.ip(Host::B, "address add 10.77.0.1/30 dev tun0");
        lab.ip(Host::B, "rule add not fwmark 51820 table 51820 priority 32763 protocol 125");
        let before = lab.network(Host::B);
        let other = End {
            name: "tun7".to_owned(),
            addresses: vec!["10.99.0.1/30"],
            allowed_ips: None,
            ..ends[0].clone()
        };
        let b = keeper.start(&lab, Host::B, &other);
        keeper.listen();
        let names: Vec<_> = keeper.kept.iter().map(|(name, _)| name.clone()).collect();
        let said = stop(b);
        keeper.listen();
        drop(keeper);
        assert!(
            wait_until(BOUND, || lab.network(Host::B) == before),
            "found: {found}, before:\n{before}\nnow:\n{}\n{said}",
            lab.network(Host::B)
        );
        assert_eq!(names, ["network", "device", "underlay", "underlay"], "its own");
        assert!(said.contains("ran in another network namespace"), "{said}");
        let others = || lab.run(Host::A, "ip link show tun0").status.success();
        assert!(wait_until(BOUND, || others() == found), "what is not kept there vanishes");
    }
}
