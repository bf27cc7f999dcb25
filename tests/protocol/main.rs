//! The protocol on a virtual wire and a virtual clock: minutes of it in milliseconds.

#![allow(unreachable_pub, dead_code, reason = "a test's own rooms")]

mod handshakes;
mod link;
