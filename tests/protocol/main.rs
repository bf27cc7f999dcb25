//! The protocol on a virtual wire and a virtual clock: minutes of it in milliseconds.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test's own rooms")]

mod boringtun;
mod handshakes;
mod link;
mod paper;
mod snow;
mod vectors;
