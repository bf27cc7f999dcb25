//! One host on a virtual clock: the same core and halves as in the daemon, in one thread.

use std::net::SocketAddr;
use std::time::Duration;

use tunneld::crypto::{PresharedKey, PrivateKey};
use tunneld::proto::{
    Discard, Event, Inbound, Instant, Now, Outbound, Parameters, Received, Request, Timer, Tunnel,
    tunnel,
};
use tunneld::wire::{DatagramSink, Ecn, Endpoint, Run, Superpacket};

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

/// One host: a tunnel, where it sits, and what it put out.
pub struct Host {
    pub tunnel: Tunnel,
    pub outbound: Outbound,
    pub inbound: Inbound,
    pub address: SocketAddr,
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
    }
}

impl Host {
    pub fn new(parameters: &Parameters, seed: u8, address: &str) -> Self {
        let (tunnel, outbound, inbound) = tunnel(parameters, &[seed; 32]);
        Self {
            tunnel,
            outbound,
            inbound,
            address: address.parse().unwrap(),
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

    /// The same for a superpacket.
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
        let from = Endpoint { remote: datagram.from, source: Some(datagram.to) };
        let mut bytes = datagram.bytes.clone();
        self.inbound.obey();
        let received = self.inbound.receive(clock.boot, from, datagram.ecn, &mut bytes);
        let discard = match received {
            Ok(Received::Packet(packet)) => {
                self.delivered.push(packet.to_vec());
                None
            }
            Ok(Received::Keepalive) => None,
            Ok(Received::Handshake(message)) => {
                self.tunnel.receive(clock.now(), from, &message, self.queued).err()
            }
            Err(discard) => Some(discard),
        };
        self.inbound.finish(clock.boot);
        (self.settle(clock), discard)
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
        loop {
            let wake = self.outbound.take_wake() | self.inbound.take_wake();
            if wake {
                self.tunnel.handle_facts(clock.now());
            }
            self.requests.extend(std::iter::from_fn(|| self.tunnel.poll_request()));
            while let Some(transmit) = self.tunnel.poll_transmit() {
                leaving.push(Datagram {
                    from: self.address,
                    to: transmit.endpoint.remote,
                    ecn: Ecn::NotEct,
                    bytes: transmit.message.as_bytes().to_vec(),
                });
            }
            self.inbound.obey();
            self.outbound.obey(clock.boot, &mut self.sink);
            self.events.extend(std::iter::from_fn(|| self.tunnel.poll_event()));
            let to = self.outbound.endpoint();
            for (ecn, bytes) in self.sink.take() {
                let to = to.expect("data is sealed only for a known endpoint").remote;
                leaving.push(Datagram { from: self.address, to, ecn, bytes });
            }
            if !wake && !self.tunnel.outbound_has_orders() {
                return leaving;
            }
        }
    }
}
