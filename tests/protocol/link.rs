//! Two whole tunnels on a virtual wire and a virtual clock: the same cores and halves as in the daemon, in one thread.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tunneld::crypto::{PresharedKey, PrivateKey};
use tunneld::proto::{
    Discard, Event, Inbound, Instant, Now, Outbound, Parameters, Received, Timer, Tunnel, tunnel,
};
use tunneld::wire::{DatagramSink, Ecn, Endpoint, Handshake, Run, Superpacket};

use crate::weather::Weather;

/// Seconds on the wall clock when a test begins.
pub const WALL_START: Duration = Duration::from_secs(1_700_000_000);
const BOOT_START: Instant = Instant::from_nanos(1_000_000_000_000);

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
        endpoint: endpoint.map(|text| Endpoint::new(text.parse().unwrap())),
        persistent_keepalive: None,
        mtu: 1420,
    }
}

impl Host {
    pub fn new(parameters: &Parameters, seed: u8, address: &str) -> Self {
        let (tunnel, outbound, inbound) = tunnel(parameters, [seed; 32]);
        Self {
            tunnel,
            outbound,
            inbound,
            address: address.parse().unwrap(),
            sink: Sink::default(),
            delivered: Vec::new(),
            events: Vec::new(),
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
        let from = Endpoint { remote: datagram.from, source: Some(datagram.to.ip()) };
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

/// Hosts a and b and what is on its way between them.
pub struct Link {
    pub clock: Clock,
    pub a: Host,
    pub b: Host,
    /// One way, from either end.
    pub latency: Duration,
    flying: VecDeque<(Instant, Datagram)>,
    /// Every datagram that ever left, in order: what an eavesdropper sees.
    pub seen: Vec<(Instant, Datagram)>,
    /// Decides which datagrams get lost.
    pub lose: fn(&Datagram) -> bool,
    /// What else the path does.
    pub weather: Option<Weather>,
    parameters: [Parameters; 2],
    restarts: u8,
}

impl Link {
    pub fn new() -> Self {
        Self::with(&parameters(1, 2, Some(B)), &parameters(2, 1, Some(A)))
    }

    pub fn with(a: &Parameters, b: &Parameters) -> Self {
        Self {
            clock: Clock::new(),
            a: Host::new(a, 1, A),
            b: Host::new(b, 2, B),
            latency: Duration::from_millis(10),
            flying: VecDeque::new(),
            seen: Vec::new(),
            lose: |_| false,
            weather: None,
            parameters: [a.clone(), b.clone()],
            restarts: 0,
        }
    }

    /// A link with a session that a began and both ends confirmed.
    pub fn established() -> Self {
        let mut link = Self::new();
        link.a_sends(&packet(1, 2, b"first"));
        link.run(Duration::from_secs(1));
        assert_eq!(link.b.delivered.len(), 1, "the link is up");
        link.b.delivered.clear();
        link
    }

    pub fn a_sends(&mut self, packet: &[u8]) {
        let leaving = self.a.send(&self.clock, packet);
        self.launch(leaving);
    }

    pub fn b_sends(&mut self, packet: &[u8]) {
        let leaving = self.b.send(&self.clock, packet);
        self.launch(leaving);
    }

    /// Host a begins, as the daemon does when all is set up.
    pub fn a_starts(&mut self) {
        self.a.tunnel.start(self.clock.now());
        let leaving = self.a.settle(&self.clock);
        self.launch(leaving);
    }

    /// Host a forgets all it knows but its configuration.
    pub fn restart_a(&mut self) {
        self.restarts += 1;
        let address = self.a.address.to_string();
        self.a = Host::new(&self.parameters[0], 100 + self.restarts, &address);
    }

    /// Host b forgets all it knows but its configuration.
    pub fn restart_b(&mut self) {
        self.restarts += 1;
        let address = self.b.address.to_string();
        self.b = Host::new(&self.parameters[1], 100 + self.restarts, &address);
    }

    /// Puts datagrams on the wire.
    pub fn launch(&mut self, datagrams: Vec<Datagram>) {
        for datagram in datagrams {
            self.seen.push((self.clock.boot, datagram.clone()));
            if (self.lose)(&datagram) {
                continue;
            }
            let clear = || vec![Duration::ZERO];
            for delay in self.weather.as_mut().map_or_else(clear, Weather::delays) {
                let arrival = self.clock.boot + self.latency + delay;
                self.flying.push_back((arrival, datagram.clone()));
            }
        }
    }

    /// Takes everything off the wire that is on its way.
    pub fn hold(&mut self) -> Vec<Datagram> {
        self.flying.drain(..).map(|(_, datagram)| datagram).collect()
    }

    /// Lets `datagram` arrive now, whoever sent it; why it went no further.
    pub fn inject(&mut self, datagram: &Datagram) -> Option<Discard> {
        let host = if datagram.to == self.a.address { &mut self.a } else { &mut self.b };
        let (leaving, discard) = host.receive(&self.clock, datagram);
        self.launch(leaving);
        discard
    }

    /// Lets `time` pass, jumping from event to event.
    pub fn run(&mut self, time: Duration) {
        let end = self.clock.boot + time;
        loop {
            let arrival = self.flying.iter().map(|(at, _)| *at).min();
            let timeouts = [self.a.next_timeout(), self.b.next_timeout()];
            let due = timeouts.into_iter().flatten().map(|(at, _)| at).chain(arrival).min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.clock.advance(due.since(self.clock.boot));
            self.step();
        }
        self.clock.advance(end.since(self.clock.boot));
    }

    fn step(&mut self) {
        while let Some(index) = self.flying.iter().position(|(at, _)| *at <= self.clock.boot) {
            let (_, datagram) = self.flying.remove(index).unwrap();
            let host = if datagram.to == self.a.address { &mut self.a } else { &mut self.b };
            if datagram.to == host.address {
                let (leaving, _) = host.receive(&self.clock, &datagram);
                self.launch(leaving);
            }
        }
        let leaving = self.a.handle_timeout(&self.clock);
        self.launch(leaving);
        let leaving = self.b.handle_timeout(&self.clock);
        self.launch(leaving);
    }

    /// Time since the test began.
    pub fn elapsed(&self) -> Duration {
        self.clock.boot.since(BOOT_START)
    }

    /// The messages of `message_type` that `from` has sent so far, with the time since the test began.
    pub fn messages(&self, from: SocketAddr, message_type: u8) -> Vec<(Duration, Datagram)> {
        let matches = |(_, datagram): &&(Instant, Datagram)| {
            datagram.from == from && datagram.bytes[0] == message_type
        };
        let moment =
            |(at, datagram): &(Instant, Datagram)| (at.since(BOOT_START), datagram.clone());
        self.seen.iter().filter(matches).map(moment).collect()
    }

    /// When `from` sent each message of `message_type`, since the test began.
    pub fn moments(&self, from: SocketAddr, message_type: u8) -> Vec<Duration> {
        self.messages(from, message_type).into_iter().map(|(at, _)| at).collect()
    }

    /// Messages of `message_type` that `from` has sent so far.
    pub fn sent(&self, from: SocketAddr, message_type: u8) -> usize {
        self.messages(from, message_type).len()
    }
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Whether host b sent it.
pub fn from_b(datagram: &Datagram) -> bool {
    datagram.from == B.parse().unwrap()
}

/// Whether it is transport data.
pub fn is_data(datagram: &Datagram) -> bool {
    datagram.bytes[0] == 4
}

/// The same datagram from somewhere else.
pub fn moved(datagram: &Datagram, from: &str) -> Datagram {
    Datagram { from: from.parse().unwrap(), ..datagram.clone() }
}

/// An IPv4 packet from inner host `from` to inner host `to`.
pub fn packet(from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
    packet.extend(payload);
    packet
}

/// The message in a handshake datagram.
pub fn handshake(datagram: &Datagram) -> Handshake {
    Handshake::parse(&datagram.bytes).expect("a handshake message")
}
