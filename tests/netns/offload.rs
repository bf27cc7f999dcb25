//! Offloads: each is used where the kernel has it, each can be turned off alone, and nothing is lost without it.

use std::fs;
use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};

use super::config::{ALL_OFF, ALL_ON, ends_with};
use super::counters::told;
use super::lab::{Host, INNER_A, INNER_B, Lab, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::BOUND;
use super::transfer::Transfer;

/// Bytes of a transfer: some thirty thousand packets.
const LENGTH: u64 = 40_000_000;

/// Segments per call from which on an offload was at work. Without it they are 1 at most.
const AT_WORK: f64 = 8.0;

/// Bytes of a datagram, datagrams of a burst, bursts.
const SEGMENT: usize = 1200;
const SEGMENTS: u8 = 20;
const BURSTS: u8 = 50;

/// The four, in the order of a packet's way: the key, and the counters of segments and calls.
const OFFLOADS: [(&str, [&str; 2]); 4] = [
    ("tun_gso", ["read", "read_calls"]),
    ("udp_gso", ["sent", "send_calls"]),
    ("udp_gro", ["received", "receive_calls"]),
    ("tun_gro", ["written", "write_calls"]),
];

/// Sends a transfer from a to b. Segments per call of the four: what a read and sent, what b received and wrote; `None`
/// where the daemon said at its start that it does without.
fn segments_per_call(offload: &'static str) -> [Option<f64>; 4] {
    let lab = Lab::direct();
    let daemons = lab.link(&ends_with(offload, direct_v4));
    Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], LENGTH).finish();
    let [a, b] = daemons.map(stop);
    let mut said = [&a, &a, &b, &b].into_iter();
    OFFLOADS.map(|(key, names)| {
        let said = said.next()?;
        let [segments, calls] = told(said, names).map(|count| count as f64);
        let per_call = segments / calls;
        if uses(said, key) {
            return Some(per_call);
        }
        assert!(per_call <= 1.0, "{key} is off, but {per_call} per call");
        None
    })
}

/// Whether a daemon said at its start that it uses this one.
fn uses(said: &str, key: &str) -> bool {
    let started = said.lines().find(|line| line.contains(STARTED)).expect("it started");
    let off = [format!("{key}=none"), format!("{key}=false")];
    assert!(started.contains(&format!("{key}=")), "{started}");
    !off.iter().any(|off| started.contains(off))
}

/// Fails unless these of the four were at work, or the kernel lacks them.
fn expect_at_work(all: &[Option<f64>; 4], which: &[usize]) {
    for &index in which {
        let (key, _) = OFFLOADS[index];
        match all[index] {
            Some(per_call) => assert!(per_call > AT_WORK, "{key}: {all:?}"),
            None => assert!(!kernel_has_all(), "{key} is not used: {all:?}"),
        }
    }
}

/// The youngest, USO, came with Linux 6.2.
fn kernel_has_all() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(2))
}

#[test]
fn each_offload_that_the_kernel_has_is_at_work() {
    needs!("ping");
    expect_at_work(&segments_per_call(ALL_ON), &[0, 1, 2, 3]);
}

#[test]
fn each_offload_can_be_turned_off_alone() {
    needs!("ping");
    for (off, offload, others) in [
        (0, "tun_gso = false", &[1, 2, 3][..]),
        // A cable between two namespaces does not merge what leaves alone.
        (1, "udp_gso = false", &[0, 3]),
        (2, "udp_gro = false", &[0, 1, 3]),
        (3, "tun_gro = false", &[0, 1, 2]),
    ] {
        let all = segments_per_call(offload);
        assert_eq!(all[off], None, "{offload}: {all:?}");
        expect_at_work(&all, others);
    }
}

#[test]
fn without_any_each_call_takes_one() {
    needs!("ping");
    assert_eq!(segments_per_call(ALL_OFF), [None; 4]);
}

/// Sends bursts of datagrams, each burst one superpacket, from one host's address to the other's, and waits for each.
fn send_bursts(lab: &Lab, inner: usize) {
    let address: SocketAddr = format!("{}:5001", bracketed(INNER_B[inner])).parse().unwrap();
    let local: SocketAddr = format!("{}:0", bracketed(INNER_A[inner])).parse().unwrap();
    let receiver = lab.inside(Host::B, move || UdpSocket::bind(address).unwrap()).join().unwrap();
    let sender = lab.inside(Host::A, move || UdpSocket::bind(local).unwrap()).join().unwrap();
    receiver.set_read_timeout(Some(BOUND)).unwrap();
    setsockopt(&sender, sockopt::UdpGsoSegment, &(SEGMENT as i32)).unwrap();
    let mut datagram = [0; 2 * SEGMENT];
    for burst in 0..BURSTS {
        let bytes: Vec<u8> = (0..SEGMENTS).flat_map(|n| [burst ^ n; SEGMENT]).collect();
        sender.send_to(&bytes[..bytes.len() - SEGMENT / 2], address).unwrap();
        for number in 0..SEGMENTS {
            let len = if number + 1 == SEGMENTS { SEGMENT / 2 } else { SEGMENT };
            assert_eq!(receiver.recv(&mut datagram).unwrap(), len);
            assert_eq!(datagram[..len], vec![burst ^ number; len]);
        }
    }
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[test]
fn superpackets_of_udp_pass_whole_over_both_families() {
    needs!("ping");
    let lab = Lab::direct();
    let daemons = lab.link(&ends_with(ALL_ON, direct_v4));
    for inner in 0..2 {
        send_bursts(&lab, inner);
    }
    let [a, b] = daemons.map(stop);
    if kernel_has_all() {
        let superpackets = 2 * u64::from(BURSTS);
        assert_eq!(told(&a, ["superpackets_read"]), [superpackets]);
        assert_eq!(told(&b, ["superpackets_written"]), [superpackets]);
    }
}
