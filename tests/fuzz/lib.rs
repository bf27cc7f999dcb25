//! What the fuzzer checks, and the replay of what it found.
//!
//! The fuzzer's own package (`Cargo.toml` beside this file) builds this as a library for its targets. The tunnel's
//! package builds it as a test, which needs no fuzzer: see docs/testing.md.

#![allow(
    unreachable_pub,
    dead_code,
    unused_imports,
    missing_docs,
    clippy::unwrap_used,
    reason = "a test's own rooms, some of them another's"
)]

pub mod checks;
#[path = "../protocol/host.rs"]
mod host;
#[path = "../protocol/link.rs"]
mod link;
#[path = "../../src/tun/tests/packets.rs"]
mod packets;
#[path = "../protocol/paper.rs"]
mod paper;
#[path = "../protocol/peer.rs"]
mod peer;
#[path = "../protocol/reference.rs"]
mod reference;
#[path = "../../src/config/render.rs"]
mod render;
#[cfg(test)]
mod replay;
#[path = "../protocol/weather.rs"]
mod weather;

use tunneld::{config, tun, wire};
