//! The protocol on a virtual wire and a virtual clock: minutes of it in milliseconds.

#![allow(unreachable_pub, dead_code, reason = "a test's own rooms")]

mod boringtun;
mod handshakes;
mod link;
mod paper;
mod snow;
mod vectors;
