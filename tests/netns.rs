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
    mod config;
    mod counters;
    mod crash;
    mod default_route;
    mod device;
    mod device_faults;
    mod dns;
    mod ecn;
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
    mod mtu;
    mod needs;
    mod no_device;
    mod offload;
    mod order;
    mod pair;
    mod process;
    mod refusal;
    mod reload;
    mod restart;
    mod roaming;
    mod secrets;
    mod sending;
    mod shortage;
    mod socket;
    mod status;
    mod top;
    mod traffic;
    mod transfer;
    mod unreachable;
    mod vitals;
    mod watchdog;
}
