//! What a neighbour on the underlay sees of a host, what the host sends meanwhile, and what becomes of its rules.

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use ipnet::IpNet;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};

use super::lab::{CABLE, FAR, Host, Lab, PORT};
use super::process::{BOUND, Process, wait_until};

/// All that a host on the other end of host a's cable sees of it.
pub(crate) struct Capture {
    socket: OwnedFd,
    /// Host a's hardware address.
    sender: Vec<u8>,
}

impl Capture {
    /// Sees what comes from now on.
    pub(crate) fn begin(lab: &Lab, on: Host) -> Self {
        let socket = lab.inside(on, || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let (family, protocol) = (AddressFamily::Packet, SockProtocol::EthAll);
            let socket = socket(family, SockType::Raw, flags, protocol).unwrap();
            setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
            socket
        });
        let said = lab.ip(Host::A, &format!("-br link show {CABLE}"));
        let hardware = said.split_whitespace().nth(2).unwrap();
        let sender = hardware.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap());
        Self { socket: socket.join().unwrap(), sender: sender.collect() }
    }

    /// The packets from host a since the last call that come from or go to one of these networks: source and
    /// destination.
    pub(crate) fn cleartext(&self, networks: &[&str]) -> Vec<[IpAddr; 2]> {
        let networks: Vec<IpNet> = networks.iter().map(|text| text.parse().unwrap()).collect();
        let mut found = Vec::new();
        let mut frame = vec![0; 1 << 17];
        while let Ok(length) = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            if frame[6..12] != self.sender {
                continue;
            }
            found.extend(addresses(&frame[..length]).filter(|addresses| {
                addresses.iter().any(|ip| networks.iter().any(|network| network.contains(ip)))
            }));
        }
        found
    }
}

/// Source and destination of a packet, if it is none of those that must be on a link: outer packets, and what the link
/// itself needs.
fn addresses(frame: &[u8]) -> Option<[IpAddr; 2]> {
    let packet = &frame[14..];
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    let (addresses, protocol, payload) = match frame[12..14] {
        [0x08, 0x00] => ([v4(12), v4(16)], packet[9], &packet[20..]),
        [0x86, 0xdd] => ([v6(8), v6(24)], packet[6], &packet[40..]),
        _ => return None,
    };
    let outer = protocol == 17 && payload[2..4] == PORT.to_be_bytes();
    let discovery = protocol == 58 && matches!(payload[0], 135 | 136);
    let of_the_link = match addresses[1] {
        IpAddr::V4(ip) => ip.is_link_local() || ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.segments()[0] == 0xff02,
    };
    (!outer && !discovery && !of_the_link).then_some(addresses)
}

/// Pings from host a to the far addresses, whatever becomes of them.
pub(crate) struct Pings([Process; 2]);

impl Pings {
    pub(crate) fn begin(lab: &Lab) -> Self {
        Self(FAR.map(|far| {
            Process::start("ping", lab.command(Host::A, &format!("ping -n -O -i 0.02 {far}")))
        }))
    }

    /// Waits until twenty more are sent to each, answered or not.
    pub(crate) fn wait_until_more_are_sent(&self) {
        for ping in &self.0 {
            ping.wait_for_nth(ping.count("icmp_seq=") + 20, "icmp_seq=");
        }
    }
}

/// What `ip monitor rule` says of host a from now on.
pub(crate) fn monitor(lab: &Lab) -> Process {
    let monitor = Process::start("monitor", lab.command(Host::A, "ip monitor rule"));
    let listens = wait_until(BOUND, || {
        lab.ip(Host::A, "rule add priority 99 table 99");
        lab.ip(Host::A, "rule delete priority 99");
        monitor.count("99:") > 0
    });
    assert!(listens);
    monitor
}
