//! Ends that stop and come back, and networks that come late.

use nix::sys::signal::Signal;

use super::config::ends;
use super::lab::{CABLE, Host, INNER_A, INNER_B, Lab, PORT, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::BOUND;

#[test]
fn either_end_may_be_restarted_in_either_order() {
    needs!("ping");
    for order in [[0, 1], [1, 0]] {
        let lab = Lab::direct();
        let ends = ends(direct_v4);
        let mut daemons = lab.link(&ends).map(Some);
        for which in order {
            let host = [Host::A, Host::B][which];
            stop(daemons[which].take().unwrap());
            daemons[which] = Some(lab.start(host, &ends[which]));
            assert!(lab.pings(Host::A, INNER_B[0]));
            assert!(lab.pings(Host::B, INNER_A[1]));
        }
    }
}

#[test]
fn an_end_that_was_killed_comes_back() {
    needs!("ping");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let [_a, mut b] = lab.link(&ends);
    b.signal(Signal::SIGKILL);
    b.end(BOUND);
    let _b = lab.start(Host::B, &ends[1]);
    assert!(lab.pings(Host::A, INNER_B[0]));
}

#[test]
fn both_ends_may_start_in_the_same_instant() {
    needs!("ping");
    for _ in 0..5 {
        let lab = Lab::direct();
        let ends = ends(direct_v4);
        let commands = [(Host::A, &ends[0]), (Host::B, &ends[1])]
            .map(|(host, end)| lab.daemon_command(host, end));
        let _daemons = commands.map(|command| super::process::Process::start("daemon", command));
        assert!(lab.pings(Host::A, INNER_B[0]));
        assert!(lab.pings(Host::B, INNER_A[1]));
    }
}

#[test]
fn a_daemon_that_starts_before_the_network_links_when_it_comes() {
    needs!("ping");
    let lab = Lab::direct();
    lab.ip(Host::A, &format!("link set {CABLE} down"));
    let ends = ends(direct_v4);
    let daemons = [lab.start(Host::A, &ends[0]), lab.start(Host::B, &ends[1])];
    daemons.iter().for_each(|daemon| drop(daemon.wait_for(STARTED)));
    let answered = lab.ping(Host::A, &format!("-c 1 -W 1 {}", INNER_B[0]));
    assert!(!answered.status.success());
    lab.ip(Host::A, &format!("link set {CABLE} up"));
    assert!(lab.pings(Host::A, INNER_B[0]));
}

#[test]
fn an_endpoint_whose_name_cannot_be_resolved_yet_is_asked_for_again() {
    needs!("ping");
    let lab = Lab::direct();
    lab.set_names(Host::A, "127.0.0.1 localhost\n");
    let mut ends = ends(direct_v4);
    ends[0].endpoint = Some(format!("host-b.test:{PORT}"));
    ends[1].endpoint = None;
    let daemons = [lab.start(Host::A, &ends[0]), lab.start(Host::B, &ends[1])];
    daemons[0].wait_for("host-b.test");
    lab.set_names(Host::A, "192.0.2.2 host-b.test\n");
    assert!(lab.pings(Host::A, INNER_B[0]));
}
