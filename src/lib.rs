//! tunneld links two Linux hosts over the internet: it reads IP packets from a TUN device or frames from a TAP device, seals them and sends them
//! over UDP to its one peer in WireGuard's protocol, and writes what arrives back to the device.
//!
//! The rooms, each leaning only on those below it:
//!
//! ```text
//! cli      the command line
//! daemon   the three threads and what joins them          config   the file, resolved
//! tun      the device     net   the underlay     proto   the protocol core, sans-IO
//! wire     bytes of messages and IP headers      crypto  keys and primitives
//! ```
//!
//! A packet's way out: `tun` reads a superpacket, `proto::Outbound` seals its segments into a run of slots that
//! `net::SendBatch` lends, and the batch leaves with one system call. Its way in: `net` receives a run of
//! datagrams, `proto::Inbound` opens each where it lies, and `tun::Coalescer` writes what belongs together as one
//! superpacket. Everything that happens seldom is `proto::Tunnel`'s, driven by `daemon`'s control loop.

// What comes from outside must not make anything panic, nor wrap around unnoticed.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic)
)]

pub mod cli;
pub mod config;
pub mod crypto;
pub mod daemon;
mod net;
pub mod proto;
#[cfg(test)]
mod testing;
pub mod tun;
pub mod wire;
