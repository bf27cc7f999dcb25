//! Floods from a third host: the link goes on, a peer that was started anew gets through, and it costs no memory. How much
//! of a stream's speed is left, `cargo bench --bench floods` measures.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tunneld::crypto::PrivateKey;

use super::config::ends;
use super::counters::discards;
use super::hostile::Eavesdropper;
use super::lab::{HANDSHAKE, Host, INNER_A, INNER_B, Lab, PORT, routed_underlay, routed_v4, stop};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};
use super::transfer::Transfer;
use super::vitals::Peak;
use crate::flood::Flood;
use crate::weapons::{Aim, Magazine, Weapon};

/// Most memory of the flooded daemon, the kernel's for its sockets included, in bytes.
const LIMIT: u64 = 64 << 20;

/// Bytes of a transfer.
const LENGTH: u64 = 10_000_000;

/// A flood takes what processor time others leave.
const NICE: i8 = 19;

/// Most datagrams of a flood, and how many make one.
const MOST: u64 = 10_000_000;
const MANY: u64 = 50_000;

/// The attacker: the router, which knows both hosts.
const ATTACKER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 254), 4000);

/// A control group whose processes may hold so much memory and no more: the kernel kills them otherwise.
struct MemoryLimit(PathBuf);

impl MemoryLimit {
    fn of(daemon: &Process) -> Self {
        let hierarchies = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(PathBuf::from);
        let root = hierarchies.into_iter().find(|root| root.join("cgroup.procs").exists());
        let group = root.unwrap().join(format!("tunneld-test-{}", daemon.pid()));
        fs::create_dir(&group).unwrap();
        let limit = Self(group);
        let names = ["memory.limit_in_bytes", "memory.max"].map(|name| limit.0.join(name));
        let name = names.iter().find(|name| name.exists()).unwrap();
        fs::write(name, LIMIT.to_string()).unwrap();
        fs::write(limit.0.join("cgroup.procs"), daemon.pid().to_string()).unwrap();
        limit
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // It must be empty; its last process may take a moment to go.
        wait_until(BOUND, || fs::remove_dir(&self.0).is_ok());
    }
}

fn outer(host: Host) -> SocketAddrV4 {
    SocketAddrV4::new(routed_underlay(host)[0].parse().unwrap(), PORT)
}

/// The receiver index of the newest session that host a was heard to receive data with.
fn index(eavesdropper: &Eavesdropper) -> u32 {
    let heard = eavesdropper.heard();
    let data = heard.iter().rfind(|datagram| datagram[0] == 4).expect("there was data");
    u32::from_le_bytes(data[4..8].try_into().unwrap())
}

fn goes_on_in_a_flood_of(weapon: Weapon, reason: &str) {
    needs!("ping", "renice");
    let lab = Lab::routed();
    let eavesdropper = Eavesdropper::at_a(&lab);
    let ends = ends(routed_v4);
    let [a, b] = lab.link(&ends);
    let index = Arc::new(AtomicU32::new(index(&eavesdropper)));
    let limit = MemoryLimit::of(&a);
    let peak = Peak::of(&a);
    let aim = Aim {
        attacker: ATTACKER,
        peer: outer(Host::B),
        target: outer(Host::A),
        public_key: PrivateKey::clamped(ends[0].private_key).public_key(),
    };
    let magazine = Magazine::new(weapon, &aim).unwrap();
    let flood = Flood::begin(magazine, Arc::clone(&index), NICE, MOST, |work| {
        Ok(lab.inside(Host::Router, work))
    });
    let flood = flood.unwrap();
    assert!(wait_until(BOUND, || flood.sent() > MANY));

    for (from, to, address) in [(Host::A, Host::B, INNER_B[0]), (Host::B, Host::A, INNER_A[0])] {
        Transfer::begin(&lab, from, to, address, LENGTH).finish();
    }
    stop(b);
    let b = lab.start(Host::B, &ends[1]);
    assert!(lab.pings(Host::B, INNER_A[0]), "the peer gets through anew");
    b.wait_for(HANDSHAKE);
    // The flood was on all that time.
    let sent = flood.sent();
    assert!(wait_until(BOUND, || flood.sent() > sent));
    flood.end().unwrap();

    peak.grew_little(&a);
    let said = stop(a);
    drop(limit);
    assert!(discards(&said, reason) > 0, "{reason}: {said}");
}

#[test]
fn a_link_goes_on_in_a_flood_of_junk() {
    goes_on_in_a_flood_of(Weapon::Junk, "message_length");
}

#[test]
fn a_link_goes_on_in_a_flood_of_initiations_with_a_wrong_mac1() {
    goes_on_in_a_flood_of(Weapon::BadMac1, "mac1");
}

#[test]
fn a_link_goes_on_in_a_flood_of_initiations_from_one_source() {
    goes_on_in_a_flood_of(Weapon::OneSource, "cookie_required");
}

#[test]
fn a_link_goes_on_in_a_flood_of_initiations_from_a_new_source_each() {
    goes_on_in_a_flood_of(Weapon::NewSources, "cookie_required");
}

#[test]
fn a_link_goes_on_in_a_flood_of_wrong_tags_on_a_live_session() {
    goes_on_in_a_flood_of(Weapon::BadTags, "data_not_authentic");
}

#[test]
fn a_link_goes_on_in_a_flood_of_wrong_tags_from_the_peers_address() {
    goes_on_in_a_flood_of(Weapon::BadTagsAsPeer, "data_not_authentic");
}
