//! The protocol on a virtual wire and a virtual clock: minutes of it in milliseconds.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test's own rooms")]

mod handshakes;
mod link;
