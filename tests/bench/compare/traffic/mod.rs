//! Traffic: the generators, which run as programs inside the lab, and the flows made of them.
//!
//! A generator says on standard output where it listens, when it begins to count, and what it counted, a line each.

mod flow;
mod ping;
mod tcp;
mod udp;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use crate::wait::{now, seconds};

pub(crate) use flow::{Counted, Flow, Payload};
pub(crate) use ping::{Trips, first_answer, round_trips};

/// One end of some traffic.
#[derive(Subcommand)]
pub(crate) enum Generator {
    /// Take TCP streams and count bytes
    TcpReceive {
        address: Ipv4Addr,
        #[arg(long)]
        streams: u32,
        #[arg(long, value_parser = seconds)]
        seconds: Duration,
    },
    /// Send as many TCP streams as fast as they go
    TcpSend {
        to: SocketAddrV4,
        #[arg(long)]
        streams: u32,
    },
    /// Take datagrams and count them
    UdpReceive {
        address: Ipv4Addr,
        #[arg(long, value_parser = seconds)]
        seconds: Duration,
    },
    /// Send datagrams as fast as they go
    UdpSend {
        to: SocketAddrV4,
        #[arg(long)]
        bytes: usize,
    },
    /// Send echo requests at a steady pace
    Ping {
        address: Ipv4Addr,
        #[arg(long)]
        count: u16,
        #[arg(long, value_parser = seconds)]
        interval: Duration,
        /// The first answer is enough
        #[arg(long)]
        first: bool,
    },
}

impl Generator {
    /// Does its work; senders go on until they are killed.
    pub(crate) fn run(&self) -> Result<()> {
        match *self {
            Self::TcpReceive { address, streams, seconds } => {
                tcp::receive(address, streams, seconds)
            }
            Self::TcpSend { to, streams } => tcp::send(to, streams),
            Self::UdpReceive { address, seconds } => udp::receive(address, seconds),
            Self::UdpSend { to, bytes } => udp::send(to, bytes),
            Self::Ping { address, count, interval, first } => {
                ping::run(address, count, interval, first)
            }
        }
    }
}

/// What passes before a receiver begins to count, so that TCP has found its pace.
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);

/// Lets the warm-up pass, and says by how much `counter` grew in the time after it.
fn report(counter: &AtomicU64, seconds: Duration) {
    thread::sleep(WARM_UP);
    let before = counter.load(Ordering::Relaxed);
    let began = now();
    println!("counting");
    thread::sleep(seconds);
    let counted = counter.load(Ordering::Relaxed) - before;
    println!("counted {counted} {}", began.elapsed().as_secs_f64());
}
