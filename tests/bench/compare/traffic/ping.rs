//! Ping: echo requests at a steady pace, whether or not those before have been answered.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::flow::Program;
use crate::lab::{Lab, Side};
use crate::wait::{BOUND, now, until};

/// The requests of one measure, and the time from each to the next.
const COUNT: u16 = 200;
const INTERVAL: Duration = Duration::from_millis(8);

/// The requests of one look at whether the link is up.
const ATTEMPT: u16 = 25;

/// How long the last request has for its answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Of an echo message: type, code, checksum, identifier, sequence number (RFC 792), and as much as `ping` sends.
const HEADER: usize = 8;
const PAYLOAD: usize = 56;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// Round trips in microseconds, in order of length; what was not answered took for ever.
pub(crate) struct Trips(Vec<f64>);

impl Trips {
    /// The trip that this share of all trips does not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Result<f64> {
        let index = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        match self.0.get(index) {
            Some(trip) if trip.is_finite() => Ok(*trip),
            _ => bail!("more than {} % of the pings were not answered", 100 - percent),
        }
    }
}

/// Measures from host a to an address.
pub(crate) fn round_trips(lab: &Lab, address: Ipv4Addr) -> Result<Trips> {
    let mut program = start(lab, address, COUNT, INTERVAL, false)?;
    let said = program.wait_for("trips", INTERVAL * COUNT.into() + PATIENCE + BOUND)?;
    let mut trips: Vec<f64> =
        said.split_whitespace().map(str::parse).collect::<Result<_, _>>().context("no trips")?;
    trips.resize(COUNT.into(), f64::INFINITY);
    trips.sort_unstable_by(f64::total_cmp);
    Ok(Trips(trips))
}

/// Waits until host a's ping is answered.
pub(crate) fn first_answer(lab: &Lab, address: Ipv4Addr) -> Result<()> {
    // Until the daemons have done their part there may not even be a route.
    until("the ping is answered", || {
        let mut program = start(lab, address, ATTEMPT, INTERVAL, true)?;
        Ok(program.wait_for("trips", BOUND).ok())
    })?;
    Ok(())
}

fn start(
    lab: &Lab,
    address: Ipv4Addr,
    count: u16,
    interval: Duration,
    first: bool,
) -> Result<Program> {
    Program::start(lab, Side::A, |command| {
        command.args(["ping", &address.to_string(), "--count", &count.to_string()]);
        command.args(["--interval", &interval.as_secs_f64().to_string()]);
        if first {
            command.arg("--first");
        }
    })
}

/// Sends all requests, and says how long each answer took.
pub(super) fn run(address: Ipv4Addr, count: u16, interval: Duration, first: bool) -> Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))
        .context("cannot make a raw socket")?;
    socket.connect(&SocketAddrV4::new(address, 0).into()).context("no way there")?;
    let began = now();
    let sender = socket.try_clone().context("cannot share the socket")?;
    thread::spawn(move || {
        for sequence in 0..count {
            // A request that cannot be sent is one without an answer.
            let _ = sender.send(&request(sequence, began));
            let next = began + interval * (u32::from(sequence) + 1);
            thread::sleep(next.saturating_duration_since(now()));
        }
    });

    let deadline = began + interval * count.into() + PATIENCE;
    let wanted = if first { 1 } else { count.into() };
    let mut trips = Vec::new();
    while trips.len() < wanted && now() < deadline {
        socket.set_read_timeout(Some((deadline - now()).max(Duration::from_millis(1))))?;
        let mut packet = [0; 2048];
        let Ok(bytes) = (&socket).read(&mut packet) else { continue };
        if let Some(sent) = sent_at(&packet[..bytes]) {
            trips.push(began.elapsed().saturating_sub(sent).as_nanos() as f64 / 1e3);
        }
    }
    if trips.is_empty() {
        bail!("{address} does not answer");
    }
    let words: Vec<_> = trips.iter().map(f64::to_string).collect();
    println!("trips {}", words.join(" "));
    Ok(())
}

/// An echo request that carries the time since `began`. Its identifier is 0: nothing else pings here.
fn request(sequence: u16, began: Instant) -> [u8; HEADER + PAYLOAD] {
    let mut message = [0x5a; HEADER + PAYLOAD];
    message[..HEADER].fill(0);
    message[0] = ECHO_REQUEST;
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    message[HEADER..HEADER + 8].copy_from_slice(&(began.elapsed().as_nanos() as u64).to_be_bytes());
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// When the request was sent that this packet answers; a raw socket shows the IPv4 header too.
fn sent_at(packet: &[u8]) -> Option<Duration> {
    let message = packet.get(usize::from(packet.first()? & 15) * 4..)?;
    if *message.first()? != ECHO_REPLY {
        return None;
    }
    let nanoseconds = message.get(HEADER..)?.first_chunk()?;
    Some(Duration::from_nanos(u64::from_be_bytes(*nanoseconds)))
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
