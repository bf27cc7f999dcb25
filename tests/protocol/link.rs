//! Two hosts on a virtual wire.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tunneld::proto::{Discard, Instant, Parameters};
use tunneld::wire::{Handshake, Profile};

use crate::host::BOOT_START;
pub use crate::host::{
    A, B, Clock, Datagram, Host, Sink, WALL_START, key, millis, packet, parameters, secs,
};
use crate::weather::Weather;

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

    /// A link whose ends, a first, speak these.
    pub fn speaking([a, b]: [Profile; 2]) -> Self {
        let [of_a, of_b] = [parameters(1, 2, Some(B)), parameters(2, 1, Some(A))];
        Self::with(&Parameters { profile: a, ..of_a }, &Parameters { profile: b, ..of_b })
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
        Self::established_with(Profile::WireGuard)
    }

    /// The same, in this profile.
    pub fn established_with(profile: Profile) -> Self {
        let mut link = Self::speaking([profile; 2]);
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

    /// Host a forgets all it knows but its configuration and the timestamp that it kept.
    pub fn restart_a_with_its_state(&mut self) {
        self.parameters[0].last_timestamp = self.a.tunnel.last_timestamp();
        self.restart_a();
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

    /// Whether `datagram` is still on its way.
    pub fn is_flying(&self, datagram: &Datagram) -> bool {
        self.flying.iter().any(|(_, flying)| flying == datagram)
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

/// The message in a handshake datagram.
pub fn handshake(datagram: &Datagram) -> Handshake {
    Handshake::parse(&datagram.bytes).expect("a handshake message")
}
