//! Ethernet frames between two sites: a bridge on each host, a station behind each bridge, and the tunnel between them.

use std::net::UdpSocket;

use super::config::{End, ends_with, on_both_paths};
use super::lab::{CABLE, HANDSHAKE, Host, INNER_B, Lab, STARTED, direct_v4, expect_success};
use super::needs::needs;
use super::port::Port;
use super::process::{BOUND, Process, wait_until};
use super::status::{number, status};
use super::transfer::Transfer;

const MB: u64 = 1_000_000;

/// The stations' addresses, a's first.
const STATION: [[&str; 2]; 2] = [["10.78.0.1", "fd78::1"], ["10.78.0.2", "fd78::2"]];

on_both_paths! {
    stations_behind_two_bridges_reach_each_other_as_on_one_cable,
    frames_with_tags_arrive_as_they_were_sent,
    jumbo_frames_cross_a_path_of_1500_bytes,
    without_a_bridge_the_device_has_addresses_itself,
}

/// Both ends, whose devices are ports of br0.
fn bridged_ends(offload: &'static str, more: &'static str) -> [End; 2] {
    let end =
        |end| End { name: "tap0".to_owned(), addresses: Vec::new(), more, more_peer: TAP, ..end };
    ends_with(offload, direct_v4).map(end)
}

/// What `[peer]` has to say for frames.
const TAP: &str = "profile = \"tunneld\"";

/// A lab with a bridge on each host and a station behind it, and the linked daemons.
fn sites(mtu: u16, ends: &[End; 2]) -> (Lab, [Process; 2]) {
    let lab = Lab::direct_with_stations();
    for (host, station, addresses) in
        [(Host::A, Host::StationA, STATION[0]), (Host::B, Host::StationB, STATION[1])]
    {
        lab.ip(host, "link add br0 type bridge");
        let station_space = lab.namespace(station);
        lab.ip(host, &format!("link add lan type veth peer name {CABLE} netns {station_space}"));
        lab.ip(host, &format!("link set lan mtu {mtu} master br0 up"));
        lab.ip(host, &format!("link set br0 mtu {mtu} up"));
        lab.ip(station, &format!("link set {CABLE} mtu {mtu}"));
        lab.bring_up(station, CABLE, addresses);
    }
    let daemons = [lab.start(Host::A, &ends[0]), lab.start(Host::B, &ends[1])];
    for daemon in &daemons {
        daemon.wait_for(STARTED);
        daemon.wait_for(HANDSHAKE);
    }
    (lab, daemons)
}

const BRIDGED: &str = "mode = \"tap\"\nbridge = \"br0\"";
const JUMBO: &str = "mode = \"tap\"\nbridge = \"br0\"\nmtu = 9000";

fn stations_behind_two_bridges_reach_each_other_as_on_one_cable(offload: &'static str) {
    needs!("ping");
    let (lab, _daemons) = sites(1500, &bridged_ends(offload, BRIDGED));
    // Address resolution and neighbour discovery come first.
    for address in STATION[1] {
        assert!(lab.pings(Host::StationA, address), "{address}");
        // Frames of 1514 bytes, which the underlay of 1500 does not carry whole.
        let header = if address.contains(':') { 48 } else { 28 };
        let full = format!("-c 20 -i 0.01 -w 5 -M do -s {} {address}", 1500 - header);
        expect_success(&lab.ping(Host::StationA, &full));
    }
    let there = Transfer::begin(&lab, Host::StationA, Host::StationB, STATION[1][0], 32 * MB);
    let back = Transfer::begin(&lab, Host::StationB, Host::StationA, STATION[0][1], 32 * MB);
    there.finish();
    back.finish();
    broadcasts_arrive(&lab);
}

/// As a client asks for an address.
fn broadcasts_arrive(lab: &Lab) {
    let server = lab.inside(Host::StationB, || {
        let socket = UdpSocket::bind("0.0.0.0:67").expect("the port is free");
        socket.set_nonblocking(true).expect("a socket");
        socket
    });
    let server = server.join().expect("it does not panic");
    let client = lab.inside(Host::StationA, || {
        let socket = UdpSocket::bind("10.78.0.1:68").expect("the port is free");
        socket.set_broadcast(true).expect("a socket");
        socket
    });
    let client = client.join().expect("it does not panic");
    let mut room = [0; 100];
    let came = wait_until(BOUND, || {
        client.send_to(b"an address, please", "10.78.0.255:67").expect("it leaves");
        server.recv(&mut room).is_ok_and(|len| room[..len] == *b"an address, please")
    });
    assert!(came, "the broadcast comes");
}

fn frames_with_tags_arrive_as_they_were_sent(offload: &'static str) {
    needs!("ping");
    let (lab, _daemons) = sites(9000, &bridged_ends(offload, JUMBO));
    let ports = [Host::A, Host::B].map(|host| Port::plug(&lab, host, "br0"));
    let stations = [2, 0, 0, 0, 9, 2, 2, 0, 0, 0, 9, 1];
    let vlan_10 = [0x81, 0, 0, 10, 0x88, 0xb5];
    let q_in_q = [0x88, 0xa8, 0, 7, 0x81, 0, 0x60, 10, 0x88, 0xb5];
    for (tags, len) in
        [(&vlan_10[..], 46), (&vlan_10, 1500), (&q_in_q, 46), (&q_in_q, 1500), (&q_in_q, 8900)]
    {
        let payload = (0..len).map(|at| (at * 7) as u8).collect::<Vec<_>>();
        let frame = [&stations[..], tags, &payload].concat();
        ports[1].expect(&frame, &ports[0]);
        let back = [&frame[6..12], &frame[..6], &frame[12..]].concat();
        ports[0].expect(&back, &ports[1]);
    }
}

fn jumbo_frames_cross_a_path_of_1500_bytes(offload: &'static str) {
    needs!("ping");
    let (lab, _daemons) = sites(9000, &bridged_ends(offload, JUMBO));
    for address in STATION[1] {
        assert!(lab.pings(Host::StationA, address), "{address}");
        let header = if address.contains(':') { 48 } else { 28 };
        let full = format!("-c 20 -i 0.01 -w 5 -M do -s {} {address}", 9000 - header);
        expect_success(&lab.ping(Host::StationA, &full));
    }
    Transfer::begin(&lab, Host::StationA, Host::StationB, STATION[1][0], 32 * MB).finish();
}

fn without_a_bridge_the_device_has_addresses_itself(offload: &'static str) {
    needs!("ping");
    let lab = Lab::direct();
    let ends = ends_with(offload, direct_v4);
    let ends = ends.map(|end| End {
        name: "tap0".to_owned(),
        more: "mode = \"tap\"",
        more_peer: TAP,
        ..end
    });
    let daemons = lab.link(&ends);
    assert!(lab.pings(Host::A, INNER_B[1]));
    Transfer::begin(&lab, Host::A, Host::B, INNER_B[1], 32 * MB).finish();
    let mac = |host| {
        let said = lab.ip(host, "-br link show tap0");
        said.split_whitespace().nth(2).expect("an address").to_owned()
    };
    let before = [mac(Host::A), mac(Host::B)];
    assert_ne!(before[0], before[1]);
    let said = status(&lab);
    assert_eq!((&said["mode"], number(&said, "/peer/stations")), (&"tap".into(), 1), "{said}");
    // Whatever the path carries.
    assert_eq!(number(&said, "/mtu"), 1500);
    drop(daemons);
    let gone = |host| !lab.ip(host, "-br link").contains("tap0");
    assert!(wait_until(BOUND, || gone(Host::A) && gone(Host::B)), "the devices vanish");
    let _daemons = lab.link(&ends);
    assert_eq!([mac(Host::A), mac(Host::B)], before, "the same at each start");
}

#[test]
fn a_loop_between_the_sites_is_named_in_the_log() {
    needs!("ping");
    let (lab, daemons) =
        sites(1500, &bridged_ends("", "mode = \"tap\"\nbridge = \"br0\"\nbroadcast_limit = 100"));
    assert!(lab.pings(Host::StationA, STATION[1][0]));
    // A second way between the bridges.
    lab.ip(
        Host::A,
        &format!("link add second type veth peer name second netns {}", lab.namespace(Host::B)),
    );
    for host in [Host::A, Host::B] {
        lab.ip(host, "link set second master br0 up");
    }
    let _pings = Process::start(
        "ping",
        lab.command(Host::StationA, "ping -n -b -i 0.01 -c 1000 10.78.0.255"),
    );
    for daemon in &daemons {
        daemon.wait_for("loop: ");
    }
}
