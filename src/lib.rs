//! tunneld links two Linux hosts over the internet: it reads IP packets from a TUN device, seals and frames them
//! over UDP to its one peer in WireGuard's protocol, and writes what arrives back to the device.

pub mod cli;
pub mod config;
pub mod crypto;
pub mod daemon;
mod net;
pub mod proto;
#[cfg(test)]
mod testing;
mod tun;
pub mod wire;
