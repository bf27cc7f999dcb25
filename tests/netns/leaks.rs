//! The kill switch: what a neighbour on the underlay sees of the protected networks, whatever happens to the daemon and
//! to the network. Rows A26 to A28 of docs/reliability.md.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::signal::Signal;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::capture::Capture;
use super::config::End;
use super::counters::{filter, packets};
use super::default_route::{ends_with_networks, far_lab, link};
use super::lab::{
    CABLE, FAR, Host, INNER_A, INNER_B, Lab, SILENT, endpoint, routed_underlay, stop,
};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};

/// Everything, and only what lies behind host b.
const EVERYTHING: [&str; 2] = ["0.0.0.0/0", "::/0"];
const SOME: [&str; 4] = ["10.77.0.0/30", "fd77::/64", "198.18.0.0/15", "2001:db8:f::/64"];

/// Enough packets that were kept back to believe that all are.
const MANY: u64 = 50;

/// Both ends, where a protects these networks.
fn protected_ends(networks: &[&'static str]) -> [End; 2] {
    let mut ends = ends_with_networks(networks);
    ends[0].more = "kill_switch = true";
    ends
}

/// A ping every 20 ms to each far address, whatever becomes of it.
fn begin_pings(lab: &Lab, host: Host) -> [Process; 2] {
    FAR.map(|far| Process::start("ping", lab.command(host, &format!("ping -n -i 0.02 {far}"))))
}

/// How many packets the kill switch has discarded.
fn kept_back(lab: &Lab) -> u64 {
    let output = lab.run(Host::A, "nft list table inet tunneld-tun0");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut counts = said.split("counter packets ").skip(1);
    counts
        .try_fold(0, |sum, rest| Some(sum + rest.split_whitespace().next()?.parse::<u64>().ok()?))
        .unwrap()
}

/// Waits until many more packets have been discarded.
fn wait_until_many_are_kept_back(lab: &Lab) {
    let before = kept_back(lab);
    assert!(wait_until(BOUND, || kept_back(lab) > before + MANY), "{} of {MANY}", kept_back(lab));
}

/// The socket that the daemon's rules live by, as its service manager keeps it.
fn kept_socket(daemon: &Process) -> OwnedFd {
    let proc = format!("/proc/{}", daemon.pid());
    let sockets = fs::read_to_string(format!("{proc}/net/netlink")).unwrap();
    // NETLINK_NETFILTER is 12; the last column has the inode.
    let of_netfilter = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let inodes: Vec<_> = of_netfilter
        .filter(|columns| columns[1] == "12")
        .map(|columns| format!("socket:[{}]", columns.last().unwrap()))
        .collect();
    let fd = fs::read_dir(format!("{proc}/fd")).unwrap().flatten().find(|fd| {
        fs::read_link(fd.path())
            .is_ok_and(|to| inodes.iter().any(|inode| to.as_os_str() == inode.as_str()))
    });
    let fd = fd.unwrap().file_name().into_string().unwrap().parse().unwrap();
    let pid = Pid::from_raw(daemon.pid().try_into().unwrap()).unwrap();
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()).unwrap()
}

/// Has a host forward packets.
fn forward(lab: &Lab, host: Host) {
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let file = Path::new("/proc/sys/net").join(key);
        lab.inside(host, move || fs::write(file, "1")).join().unwrap().unwrap();
    }
}

#[test]
fn a_crash_leaks_nothing_as_long_as_somebody_keeps_the_kill_switchs_socket() {
    needs!("ping", "nft");
    for networks in [&EVERYTHING[..], &SOME] {
        let lab = far_lab();
        let capture = Capture::begin(&lab, Host::Router);
        let [mut a, _b] = link(&lab, &protected_ends(networks));
        let pings = begin_pings(&lab, Host::A);
        pings.iter().for_each(|ping| drop(ping.wait_for("time=")));
        let kept = kept_socket(&a);
        a.signal(Signal::SIGKILL);
        a.end(BOUND);
        wait_until_many_are_kept_back(&lab);
        assert_eq!(capture.cleartext(networks), [] as [[IpAddr; 2]; 0]);
        // It is this that holds them back, and they would be seen.
        drop(kept);
        for far in FAR {
            let far: IpAddr = far.parse().unwrap();
            let leaks = || capture.cleartext(networks).iter().any(|[_, to]| *to == far);
            assert!(wait_until(BOUND, leaks), "{far}");
        }
    }
}

#[test]
fn an_endpoint_that_is_down_leaks_nothing() {
    needs!("ping", "nft");
    let lab = far_lab();
    let capture = Capture::begin(&lab, Host::Router);
    let [a, _b] = link(&lab, &protected_ends(&EVERYTHING));
    let _pings = begin_pings(&lab, Host::A);
    filter(&lab, Host::Router, "chain f {\ntype filter hook forward priority 0\ndrop\n}");
    a.wait_for(SILENT);
    assert_eq!(capture.cleartext(&EVERYTHING), [] as [[IpAddr; 2]; 0]);
}

#[test]
fn a_device_that_is_down_leaks_nothing() {
    needs!("ping", "nft");
    for networks in [&EVERYTHING[..], &SOME] {
        let lab = far_lab();
        let capture = Capture::begin(&lab, Host::Router);
        let _daemons = link(&lab, &protected_ends(networks));
        let pings = begin_pings(&lab, Host::A);
        pings.iter().for_each(|ping| drop(ping.wait_for("time=")));
        lab.ip(Host::A, "link set tun0 down");
        wait_until_many_are_kept_back(&lab);
        lab.ip(Host::A, "link set tun0 up");
        assert!(lab.pings(Host::A, FAR[0]) && lab.pings(Host::A, FAR[1]));
        assert_eq!(capture.cleartext(networks), [] as [[IpAddr; 2]; 0]);
    }
}

#[test]
fn what_is_forwarded_leaks_no_more_than_what_is_made_here() {
    needs!("ping", "nft");
    let lab = far_lab();
    forward(&lab, Host::A);
    for (far, to) in FAR.into_iter().zip(routed_underlay(Host::A)) {
        lab.ip(Host::Router, &format!("route add {far} via {to}"));
    }
    let capture = Capture::begin(&lab, Host::Router);
    let [mut a, _b] = link(&lab, &protected_ends(&SOME));
    let _pings = begin_pings(&lab, Host::Router);
    let _kept = kept_socket(&a);
    a.signal(Signal::SIGKILL);
    a.end(BOUND);
    wait_until_many_are_kept_back(&lab);
    assert_eq!(capture.cleartext(&SOME), [] as [[IpAddr; 2]; 0]);
}

#[test]
fn link_local_packets_and_dhcp_requests_leave_if_they_are_made_here_and_not_if_they_are_forwarded()
{
    needs!("ping", "nft");
    let lab = far_lab();
    forward(&lab, Host::A);
    for device in ["all", CABLE] {
        let file = format!("/proc/sys/net/ipv4/conf/{device}/send_redirects");
        lab.inside(Host::A, move || fs::write(file, "0")).join().unwrap().unwrap();
    }
    filter(
        &lab,
        Host::Router,
        "counter odd {}\nchain f {\ntype filter hook prerouting priority 0\niifname != \"to-a\" return\n\
         ip daddr 169.254.9.9 counter name odd\nudp dport 67 counter name odd\n}",
    );
    let _daemons = link(&lab, &protected_ends(&EVERYTHING));
    for to in ["169.254.9.9", "198.19.0.1"] {
        let send = |host| {
            let from_client = move || UdpSocket::bind("0.0.0.0:68")?.send_to(b"request", (to, 67));
            lab.inside(host, from_client).join().unwrap().unwrap();
        };
        lab.ip(Host::Router, &format!("route add {to} via {}", routed_underlay(Host::A)[0]));
        lab.ip(Host::A, &format!("route add {to} via 198.51.100.254"));
        let (before, seen) = (kept_back(&lab), packets(&lab, Host::Router, "odd"));
        send(Host::Router);
        assert!(wait_until(BOUND, || kept_back(&lab) > before), "{to}: forwarded");
        assert_eq!(packets(&lab, Host::Router, "odd"), seen, "{to}: forwarded");
        send(Host::A);
        let leaves = || packets(&lab, Host::Router, "odd") > seen;
        assert!(wait_until(BOUND, leaves), "{to}: made here");
    }
}

#[test]
fn what_has_come_out_of_the_tunnel_is_forwarded_to_other_networks_and_answered() {
    needs!("ping", "nft");
    const BEYOND: &str = "198.19.0.1";
    let lab = far_lab();
    forward(&lab, Host::A);
    lab.ip(Host::Router, &format!("address add dev lo {BEYOND}"));
    lab.ip(Host::Router, &format!("route add {} via {}", INNER_B[0], routed_underlay(Host::A)[0]));
    lab.ip(Host::A, &format!("route add {BEYOND} via 198.51.100.254"));
    let mut ends = protected_ends(&EVERYTHING);
    ends[1].allowed_ips = Some(vec!["10.77.0.0/30", "fd77::/64", "198.19.0.0/24"]);
    let _daemons = link(&lab, &ends);
    assert!(lab.pings(Host::B, BEYOND));
    assert!(!lab.ping(Host::A, &format!("-c 1 -W 1 {BEYOND}")).status.success(), "it is made here");
}

#[test]
fn nothing_leaves_elsewhere_from_an_address_inside_the_tunnel() {
    needs!("ping", "nft");
    let lab = far_lab();
    let capture = Capture::begin(&lab, Host::Router);
    let _daemons = link(&lab, &protected_ends(&SOME));
    for (own, router) in INNER_A.into_iter().zip(["198.51.100.254", "2001:db8:a::ff"]) {
        let before = kept_back(&lab);
        lab.ping(Host::A, &format!("-c 1 -W 1 -I {own} {router}"));
        assert!(kept_back(&lab) > before, "{own}");
        assert!(lab.pings(Host::A, router), "{router} is no protected network");
    }
    assert_eq!(capture.cleartext(&SOME), [] as [[IpAddr; 2]; 0]);
}

#[test]
fn more_specific_routes_that_a_network_hands_out_lead_nothing_around_the_tunnel() {
    needs!("ping", "nft");
    let lab = far_lab();
    let capture = Capture::begin(&lab, Host::Router);
    let _daemons = link(&lab, &protected_ends(&EVERYTHING));
    for (half, via) in [
        ("0.0.0.0/1", "198.51.100.254"),
        ("128.0.0.0/1", "198.51.100.254"),
        ("::/1", "2001:db8:a::ff"),
        ("8000::/1", "2001:db8:a::ff"),
    ] {
        lab.ip(Host::A, &format!("route add {half} via {via}"));
    }
    let _pings = begin_pings(&lab, Host::A);
    wait_until_many_are_kept_back(&lab);
    assert_eq!(capture.cleartext(&EVERYTHING), [] as [[IpAddr; 2]; 0]);
    assert!(lab.pings(Host::A, INNER_B[0]), "outer packets pass");
}

#[test]
fn a_local_network_that_claims_the_peers_public_prefix_gets_nothing() {
    needs!("ping", "nft");
    let lab = far_lab();
    // It answers for all of that prefix.
    let proxy = "/proc/sys/net/ipv4/conf/to-a/proxy_arp";
    lab.inside(Host::Router, move || fs::write(proxy, "1")).join().unwrap().unwrap();
    let capture = Capture::begin(&lab, Host::Router);
    let _daemons = link(&lab, &protected_ends(&EVERYTHING));
    lab.add_address(Host::A, CABLE, "203.0.113.77");
    let victim = "ping -n -i 0.02 203.0.113.99";
    let _ping = Process::start("ping", lab.command(Host::A, victim));
    wait_until_many_are_kept_back(&lab);
    assert_eq!(capture.cleartext(&EVERYTHING), [] as [[IpAddr; 2]; 0]);
}

#[test]
fn a_packet_for_an_address_inside_the_tunnel_is_let_in_from_the_underlay_only_without_the_guard() {
    needs!("ping", "nft");
    for guarded in [false, true] {
        let lab = far_lab();
        let mut ends = protected_ends(&SOME);
        if !guarded {
            ends[0].more = "";
        }
        let _daemons = link(&lab, &ends);
        for (own, via) in INNER_A.into_iter().zip(routed_underlay(Host::A)) {
            lab.ip(Host::Router, &format!("route add {own} via {via}"));
            if guarded {
                let before = kept_back(&lab);
                assert!(
                    !lab.ping(Host::Router, &format!("-c 2 -i 0.1 -W 1 {own}")).status.success()
                );
                assert!(kept_back(&lab) > before, "{own}");
            } else {
                assert!(lab.pings(Host::Router, own), "{own}");
            }
        }
    }
}

#[test]
fn the_underlay_itself_goes_on_working_and_a_stop_lets_go() {
    needs!("ping", "nft");
    let lab = far_lab();
    let mut ends = protected_ends(&EVERYTHING);
    // Over IPv6, where neighbours are found by packets that the kill switch sees.
    ends[0].endpoint = Some(endpoint(routed_underlay(Host::B)[1]));
    let [a, _b] = link(&lab, &ends);
    assert!(lab.pings(Host::A, &format!("fe80::f%{CABLE}")));
    for _ in 0..3 {
        lab.ip(Host::A, "neigh flush all");
        assert!(lab.pings(Host::A, FAR[0]));
    }
    assert!(!lab.ping(Host::A, "-c 1 -W 1 198.51.100.254").status.success());
    stop(a);
    let tables = lab.run(Host::A, "nft list tables");
    assert_eq!(String::from_utf8_lossy(&tables.stdout), "");
    assert!(lab.pings(Host::A, "198.51.100.254"));
}
