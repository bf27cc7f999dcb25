//! One host on a virtual clock: the same core and halves as in the daemon, in one thread.

use std::net::SocketAddr;
use std::time::Duration;

use tunneld::crypto::{PresharedKey, PrivateKey};
use tunneld::proto::{
    Discard, Event, Inbound, Instant, Now, Outbound, Parameters, Received, Request, Timer,
    Transmit, Tunnel, tunnel,
};
use tunneld::wire::{DatagramSink, Ecn, Endpoint, Handshake, Profile, Run, Superpacket};

/// Seconds on the wall clock when a test begins.
pub const WALL_START: Duration = Duration::from_secs(1_700_000_000);
pub const BOOT_START: Instant = Instant::from_nanos(1_000_000_000_000);

/// Both clocks, moved by the test.
#[derive(Clone, Copy)]
pub struct Clock {
    pub boot: Instant,
    pub unix: Duration,
}

impl Clock {
    pub fn new() -> Self {
        Self { boot: BOOT_START, unix: WALL_START }
    }

    pub fn advance(&mut self, by: Duration) {
        self.boot = self.boot + by;
        self.unix += by;
    }

    pub fn now(&self) -> Now {
        Now { boot: self.boot, unix: self.unix }
    }
}

/// Takes datagrams out of the core one by one, as a socket without GSO would.
#[derive(Default)]
pub struct Sink {
    pub runs: Vec<(Run, Vec<u8>)>,
}

impl DatagramSink for Sink {
    fn reserve(&mut self, run: Run) -> &mut [u8] {
        // What was there before must not matter.
        self.runs.push((run, vec![0xa5; run.total()]));
        &mut self.runs.last_mut().unwrap().1
    }
}

impl Sink {
    pub fn take(&mut self) -> Vec<(Ecn, Vec<u8>)> {
        let runs = std::mem::take(&mut self.runs);
        let datagrams = |(run, bytes): (Run, Vec<u8>)| {
            bytes.chunks(run.stride).map(|bytes| (run.ecn, bytes.to_vec())).collect::<Vec<_>>()
        };
        runs.into_iter().flat_map(datagrams).collect()
    }
}

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ecn: Ecn,
    pub bytes: Vec<u8>,
}

impl Datagram {
    /// Where its receiver sees it come from.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { remote: self.from, source: Some(self.to) }
    }
}

/// One host: a tunnel, where it sits, and what it put out.
pub struct Host {
    pub tunnel: Tunnel,
    pub outbound: Outbound,
    pub inbound: Inbound,
    pub address: SocketAddr,
    /// Other addresses of its own, which it sends from where its core asks for that.
    pub also: Vec<SocketAddr>,
    sink: Sink,
    /// Inner packets it delivered to its device.
    pub delivered: Vec<Vec<u8>>,
    pub events: Vec<Event>,
    pub requests: Vec<Request>,
    /// How many handshake messages it is told wait behind each one.
    pub queued: usize,
}

pub fn key(number: u8) -> PrivateKey {
    PrivateKey::clamped([number; 32])
}

pub const A: &str = "192.0.2.1:51820";
pub const B: &str = "198.51.100.2:51820";

/// Host a's parameters towards b; host b's are the same with the roles exchanged.
pub fn parameters(ours: u8, theirs: u8, endpoint: Option<&str>) -> Parameters {
    let (inner4, inner6) = (format!("10.0.0.{theirs}/32"), format!("fd00::{theirs}/128"));
    Parameters {
        profile: Profile::default(),
        private_key: key(ours),
        public_key: key(theirs).public_key(),
        preshared_key: PresharedKey::default(),
        allowed_ips: vec![inner4.parse().unwrap(), inner6.parse().unwrap()],
        addresses: Vec::new(),
        routed: Vec::new(),
        endpoints: endpoint.map(|text| vec![text.parse().unwrap()]).into_iter().collect(),
        last_timestamp: None,
        persistent_keepalive: None,
        mtu: 1420,
        frames: Default::default(),
    }
}

/// Segments of one flow, of equal size but the last.
#[allow(dead_code, reason = "the simulation sends packets one by one")]
pub struct Segments(pub Vec<Vec<u8>>);

impl Superpacket for Segments {
    fn header(&self) -> &[u8] {
        &self.0[0]
    }

    fn count(&self) -> usize {
        self.0.len()
    }

    fn segment_size(&self) -> usize {
        self.0[0].len()
    }

    fn last_size(&self) -> usize {
        self.0[self.0.len() - 1].len()
    }

    fn write_segment(&self, index: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.0[index]);
    }
}

impl Host {
    pub fn new(parameters: &Parameters, seed: u8, address: &str) -> Self {
        Self::with_seed(parameters, &[seed; 32], address)
    }

    pub fn with_seed(parameters: &Parameters, seed: &[u8; 32], address: &str) -> Self {
        let (tunnel, outbound, inbound) = tunnel(parameters, seed);
        Self {
            tunnel,
            outbound,
            inbound,
            address: address.parse().unwrap(),
            also: Vec::new(),
            sink: Sink::default(),
            delivered: Vec::new(),
            events: Vec::new(),
            requests: Vec::new(),
            queued: 0,
        }
    }

    /// Lets the device hand over `packet`; what leaves for the wire.
    pub fn send(&mut self, clock: &Clock, packet: &[u8]) -> Vec<Datagram> {
        self.send_super(clock, &packet)
    }

    /// What outbound does with a packet from the device; what leaves for the wire, and why the packet did not.
    pub fn hand_over(&mut self, clock: &Clock, packet: &[u8]) -> (Vec<Datagram>, Option<Discard>) {
        let sent = self.outbound.send(clock.boot, &packet, &mut self.sink);
        (self.sealed(), sent.err())
    }

    /// Lets the device hand over a superpacket.
    pub fn send_super(&mut self, clock: &Clock, packet: &impl Superpacket) -> Vec<Datagram> {
        let _ = self.outbound.send(clock.boot, packet, &mut self.sink);
        self.settle(clock)
    }

    /// Lets `datagram` arrive; what leaves for the wire, and why the datagram went no further.
    pub fn receive(
        &mut self,
        clock: &Clock,
        datagram: &Datagram,
    ) -> (Vec<Datagram>, Option<Discard>) {
        let handled = match self.open(clock, datagram) {
            Ok(Some(message)) => {
                let from = datagram.endpoint();
                self.tunnel.receive(clock.now(), from, &message, self.queued)
            }
            Ok(None) => Ok(()),
            Err(discard) => Err(discard),
        };
        (self.settle(clock), handled.err())
    }

    /// What inbound does with `datagram`: it delivers what is in it, or has a message for control.
    pub fn open(
        &mut self,
        clock: &Clock,
        datagram: &Datagram,
    ) -> Result<Option<Handshake>, Discard> {
        let mut bytes = datagram.bytes.clone();
        self.inbound.obey();
        let received =
            self.inbound.receive(clock.boot, datagram.endpoint(), datagram.ecn, &mut bytes);
        let message = received.map(|received| match received {
            Received::Packet(packet) => {
                self.delivered.push(packet.to_vec());
                None
            }
            Received::Frame => {
                self.delivered.push(self.inbound.frame().to_vec());
                None
            }
            Received::Keepalive | Received::Fragment => None,
            Received::Handshake(message) => Some(message),
        });
        self.inbound.finish(clock.boot);
        message
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, clock: &Clock) -> Vec<Datagram> {
        self.tunnel.handle_timeout(clock.now());
        let leaving = self.settle(clock);
        if let Some((at, timer)) = self.next_timeout() {
            assert!(at > clock.boot, "{timer:?} is still due after it was handled");
        }
        leaving
    }

    /// How often `reason` was counted.
    pub fn discards(&self, reason: Discard) -> u64 {
        self.tunnel.stats().discards(reason)
    }

    /// How many discards of any reason were counted.
    pub fn all_discards(&self) -> u64 {
        Discard::ALL.iter().map(|reason| self.discards(*reason)).sum()
    }

    /// Where it sends to.
    pub fn remote(&self) -> SocketAddr {
        self.tunnel.endpoint().unwrap().remote
    }

    /// How many handshakes it completed.
    pub fn completed(&self) -> usize {
        let completed = |event: &&Event| matches!(event, Event::HandshakeCompleted { .. });
        self.events.iter().filter(completed).count()
    }

    pub fn next_timeout(&mut self) -> Option<(Instant, Timer)> {
        self.tunnel.poll_timeout()
    }

    /// What the daemon's threads do for each other after any input.
    pub fn settle(&mut self, clock: &Clock) -> Vec<Datagram> {
        let mut leaving = Vec::new();
        let mut wake = self.data_threads_wake_control();
        loop {
            if wake {
                self.tunnel.handle_facts(clock.now());
            }
            leaving.extend(self.control_settles());
            self.inbound.obey();
            leaving.extend(self.outbound_obeys(clock));
            wake = self.data_threads_wake_control();
            if !wake && !self.tunnel.outbound_has_orders() {
                return leaving;
            }
        }
    }

    /// Whether a data thread met something that control must look at.
    pub fn data_threads_wake_control(&mut self) -> bool {
        self.outbound.take_wake() | self.inbound.take_wake()
    }

    /// What control puts out after an input: its messages leave, its events and requests are kept.
    pub fn control_settles(&mut self) -> Vec<Datagram> {
        self.requests.extend(std::iter::from_fn(|| self.tunnel.poll_request()));
        self.events.extend(std::iter::from_fn(|| self.tunnel.poll_event()));
        let transmits: Vec<_> = std::iter::from_fn(|| self.tunnel.poll_transmit()).collect();
        let datagram = |transmit: Transmit| Datagram {
            from: self.source(transmit.endpoint),
            to: transmit.endpoint.remote,
            ecn: Ecn::NotEct,
            bytes: transmit.message.as_bytes().to_vec(),
        };
        transmits.into_iter().map(datagram).collect()
    }

    /// Outbound does what control ordered; what leaves for the wire, with all it sealed before.
    pub fn outbound_obeys(&mut self, clock: &Clock) -> Vec<Datagram> {
        self.outbound.obey(clock.boot, &mut self.sink);
        self.sealed()
    }

    fn sealed(&mut self) -> Vec<Datagram> {
        let (sealed, to) = (self.sink.take(), self.outbound.endpoint());
        let datagram = |(ecn, bytes)| {
            let to = to.expect("data is sealed only for a known endpoint");
            Datagram { from: self.source(to), to: to.remote, ecn, bytes }
        };
        sealed.into_iter().map(datagram).collect()
    }

    /// Where it sends from to this endpoint: where that one expects it, unless it is not there any more.
    fn source(&self, endpoint: Endpoint) -> SocketAddr {
        endpoint.source.filter(|source| self.also.contains(source)).unwrap_or(self.address)
    }
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// An IPv4 packet from inner host `from` to inner host `to`.
pub fn packet(from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
    packet.extend(payload);
    packet
}
