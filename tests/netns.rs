//! The daemon among real kernels: real namespaces, real devices, the real binary, and what people do to networks.
//!
//! These tests need root and the programs each of them names; what is missing is said, and the test skipped.
//! With `TUNNELD_TEST_REQUIRE=all` a missing thing is a failure.

#![allow(clippy::unwrap_used, reason = "also in what the tests share, a panic is a failed test")]

#[path = "common/flood.rs"]
mod flood;
#[path = "common/memory.rs"]
mod memory;
#[path = "protocol/peer.rs"]
mod peer;
#[path = "bench/relay/device.rs"]
mod raw_device;
#[path = "protocol/reference.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the peer needs of it")]
mod reference;
#[path = "common/shown.rs"]
mod shown;
#[path = "common/weapons.rs"]
mod weapons;

mod netns {
    mod any_config;
    mod apply;
    mod capture;
    mod config;
    mod counters;
    mod crash;
    mod credentials;
    mod dashboard;
    mod default_route;
    mod device;
    mod device_faults;
    mod dns;
    mod doctor;
    mod doors;
    mod ecn;
    mod ethernet;
    mod faults;
    mod floods;
    mod forged;
    mod handover;
    mod hanging_disk;
    mod healing;
    mod hooks;
    mod hostile;
    mod inside;
    mod keys;
    mod lab;
    mod leaks;
    mod log;
    mod marking;
    mod mtu;
    mod needs;
    mod no_device;
    mod offload;
    mod order;
    mod pair;
    mod panels;
    mod port;
    mod process;
    mod profiles;
    mod prometheus;
    mod refusal;
    mod reload;
    mod restart;
    mod roaming;
    mod sandbox;
    mod secrets;
    mod sending;
    mod shaping;
    mod shortage;
    mod socket;
    mod stand_in;
    mod status;
    mod top;
    mod traffic;
    mod transfer;
    mod unprivileged;
    mod unreachable;
    mod vitals;
    mod watchdog;
}
