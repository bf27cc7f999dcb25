//! ICMP messages that claim that the path takes small packets only, forged by anybody.

use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::config::ends;
use super::lab::{CABLE, Host, INNER_A, INNER_B, Lab, PORT, endpoint, expect_success, underlay};
use super::mtu::becomes;
use super::needs::needs;

/// What they claim that the next link takes. Linux ignores less than 1280 for IPv6.
const CLAIMS: [u16; 6] = [1300, 576, 68, 1, 0, 65535];

/// The least that the device may come down to: it has IPv6.
const FLOOR: u32 = 1280;

/// What they pretend to answer, sent by host a to host b.
#[derive(Clone, Copy)]
enum Quoted {
    /// A datagram of the tunnel.
    Datagram,
    /// The answer to a ping: for these Linux looks for no socket.
    Pong,
}

/// The beginning of such a packet.
fn beginning(outside: usize, quoted: Quoted) -> Vec<u8> {
    let (protocol, [high, low]) = match quoted {
        Quoted::Datagram => (17, PORT.to_be_bytes()),
        Quoted::Pong => [(1, [0, 0]), (58, [129, 0])][outside],
    };
    let [from, to] = [Host::A, Host::B].map(|host| underlay(host)[outside].parse::<IpAddr>());
    let (mut packet, octets) = match (from.unwrap(), to.unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (
            vec![0x45, 0, 5, 0, 0, 0, 0, 0, 64, protocol, 0, 0],
            [from.octets(), to.octets()].concat(),
        ),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            (vec![0x60, 0, 0, 0, 5, 0, protocol, 64], [from.octets(), to.octets()].concat())
        }
        _ => unreachable!("both are of one family"),
    };
    packet.extend(octets);
    // The ports of a datagram, or the type of a pong.
    packet.extend([high, low, high, low, 5, 0, 0, 0]);
    packet
}

/// Sends host a, from host b, the claim that its datagram was larger than `mtu`.
fn forge(lab: &Lab, outside: usize, quoted: Quoted, mtu: u16) {
    let [high, low] = mtu.to_be_bytes();
    // Fragmentation needed and packet too big; the kernel fills in the checksum of the latter.
    let head = [[3, 4, 0, 0, 0, 0, high, low], [2, 0, 0, 0, 0, 0, high, low]][outside];
    let mut message = [&head[..], &beginning(outside, quoted)].concat();
    let family = if outside == 0 {
        let words = message.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1]));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        (Domain::IPV4, Protocol::ICMPV4)
    } else {
        (Domain::IPV6, Protocol::ICMPV6)
    };
    let to = SocketAddr::new(underlay(Host::A)[outside].parse().unwrap(), 0);
    let send = move || {
        let socket = Socket::new(family.0, Type::RAW, Some(family.1)).unwrap();
        socket.send_to(&message, &to.into()).unwrap();
    };
    lab.inside(Host::B, send).join().unwrap();
}

#[test]
fn forged_claims_about_the_path_shrink_nothing_below_the_floor_and_all_goes_on() {
    needs!("ping");
    for outside in 0..2 {
        let lab = Lab::direct();
        let _daemons = lab.link(&ends(|host| endpoint(underlay(host)[outside])));
        let full = 1500 - [60, 80][outside];
        becomes(&lab, Host::A, full);
        for quoted in [Quoted::Datagram, Quoted::Pong] {
            CLAIMS.iter().for_each(|claim| forge(&lab, outside, quoted, *claim));
        }
        // The kernel believes them.
        let route = lab.ip(Host::A, &format!("route get {}", underlay(Host::B)[outside]));
        assert!(route.contains("expires"), "{route}");
        // A change of any kind has the daemon look at the path again.
        lab.ip(Host::A, &format!("address add dev {CABLE} 192.0.2.99/32"));
        becomes(&lab, Host::A, FLOOR);
        let words = format!("-c 3 -i 0.01 -W 5 -M do -s {} {}", FLOOR - 28, INNER_B[0]);
        expect_success(&lab.ping(Host::A, &words));
        let words = format!("-c 3 -i 0.01 -W 5 -M dont -s {} {}", full - 28, INNER_A[0]);
        expect_success(&lab.ping(Host::B, &words));
    }
}
