//! The protocol on a virtual wire and a virtual clock: minutes of it in milliseconds.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test's own rooms")]

mod boringtun;
mod clocks;
mod cookies;
mod data;
mod faults;
mod floods;
mod frames;
mod handover;
mod handshakes;
mod host;
mod hostile;
mod link;
mod loops;
mod memory;
mod paper;
mod paper_messages;
mod peer;
mod profiles;
mod reconfigure;
mod reference;
mod replay;
mod roaming;
mod search;
#[path = "../common/memory.rs"]
mod searched;
mod sessions;
mod snow;
mod timers;
mod vectors;
mod wakes;
mod weather;
