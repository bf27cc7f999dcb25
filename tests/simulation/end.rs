//! One end: a host with its three threads, each of which takes its turn some time after it was woken, and the queue
//! of handshake messages between two of them. Control takes one input at a time, in the order of the daemon's loop.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use tunneld::proto::{Discard, Event, HANDSHAKE_QUEUE, Instant, Parameters, Request};
use tunneld::wire::Handshake;

use crate::host::{A, B, BOOT_START, Clock, Datagram, Host, WALL_START, parameters};
use crate::places::second;
use crate::scenario::{Scenario, Side};
use crate::weather::Dice;

pub struct End {
    pub host: Host,
    /// What its wall clock says beyond the true time since the start, in seconds.
    wall: i64,
    /// Where it also receives: it sent from there before it changed its port.
    before: Option<SocketAddr>,
    /// The second endpoint by which it is reached, if there is one.
    second: Option<SocketAddr>,
    /// How many faults keep it asleep, and how many of them deaf.
    pub asleep: u32,
    pub deaf: u32,
    /// Datagrams that came while it was asleep.
    pub backlog: Vec<Datagram>,
    handshakes: VecDeque<(Datagram, Handshake)>,
    facts: bool,
    alarm: Option<Instant>,
    /// When each thread takes its turn: control, outbound, inbound.
    turns: [Option<Instant>; 3],
    /// Until when control is at work on what it took last.
    busy_until: Instant,
    lag: Duration,
    dice: Dice,
}

#[derive(Clone, Copy, Debug)]
pub enum Thread {
    Control,
    Outbound,
    Inbound,
}

const THREADS: [Thread; 3] = [Thread::Control, Thread::Outbound, Thread::Inbound];

/// What control did in a turn.
#[derive(Default)]
pub struct Controlled {
    pub leaving: Vec<Datagram>,
    /// The handshake message it took, and whether it went further.
    pub message: Option<(Datagram, Result<(), Discard>)>,
    pub moved: bool,
    /// Whether it asks where the peer is.
    pub looks_up: bool,
}

impl End {
    pub fn new(side: Side, scenario: &Scenario) -> Self {
        let mut dice = Dice::new(scenario.seed ^ ((side as u64 + 1) << 48));
        let address = [A, B][side as usize].parse().unwrap();
        let second = scenario.listed.then(|| second(side));
        Self {
            host: process(side, scenario, address, None, &mut dice),
            wall: 0,
            before: None,
            second,
            asleep: 0,
            deaf: 0,
            backlog: Vec::new(),
            handshakes: VecDeque::new(),
            facts: false,
            alarm: None,
            turns: [None; 3],
            busy_until: BOOT_START,
            lag: scenario.lag,
            dice,
        }
    }

    /// Another process takes over, with the timestamp that its forerunner kept, whatever the wall clock says.
    pub fn restart(&mut self, side: Side, scenario: &Scenario) {
        let kept = self.host.tunnel.last_timestamp();
        self.host = process(side, scenario, self.host.address, kept, &mut self.dice);
        self.before = None;
        self.backlog.clear();
        self.handshakes.clear();
        (self.facts, self.alarm, self.turns) = (false, None, [None; 3]);
    }

    /// The wall clock jumps.
    pub fn jump(&mut self, seconds: i64) {
        self.wall += seconds;
    }

    /// It is somewhere else; nothing arrives any more at where it was.
    pub fn moves(&mut self, address: SocketAddr) {
        (self.host.address, self.before) = (address, None);
        self.host.also = self.second.into_iter().collect();
    }

    /// Whether it receives what is sent to `address`.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        self.host.address == address || self.host.also.contains(&address)
    }

    /// Whether that is its second endpoint.
    pub fn is_second(&self, address: SocketAddr) -> bool {
        self.second == Some(address)
    }

    /// Sends from another port from now on, or from the first one again.
    fn change_port(&mut self) {
        let other = || SocketAddr::new(self.host.address.ip(), self.host.address.port() ^ 1);
        (self.host.address, self.before) = match self.before {
            Some(first) => (first, None),
            None => (other(), Some(self.host.address)),
        };
        self.host.also = self.before.into_iter().chain(self.second).collect();
    }

    pub fn clock(&self, now: Instant) -> Clock {
        let elapsed = now.since(BOOT_START).as_nanos() as i128;
        let wall = WALL_START.as_nanos() as i128 + elapsed + i128::from(self.wall) * 1_000_000_000;
        let nanos = u64::try_from(wall.max(0)).unwrap_or(u64::MAX);
        Clock { boot: now, unix: Duration::from_nanos(nanos) }
    }

    pub fn queued(&self) -> usize {
        self.handshakes.len()
    }

    /// Begins, as the daemon does when all is set up.
    pub fn start(&mut self, now: Instant) -> Controlled {
        let clock = self.clock(now);
        self.host.tunnel.start(clock.now());
        self.settles(now)
    }

    /// The next turn there is, if any, and whose.
    pub fn next_turn(&self) -> Option<(Instant, Thread)> {
        let [control, outbound, inbound] = self.turns;
        let control = control.into_iter().chain(self.alarm).min();
        let control = control.map(|at| at.max(self.busy_until));
        let turns = [control, outbound, inbound].into_iter().zip(THREADS);
        turns.filter_map(|(at, thread)| Some((at?, thread))).min_by_key(|(at, _)| *at)
    }

    fn wake(&mut self, now: Instant, thread: Thread) {
        let lag = Duration::from_micros(self.dice.below(self.lag.as_micros() as u64 + 1));
        self.turns[thread as usize].get_or_insert(now + lag);
    }

    fn data_threads_did_something(&mut self, now: Instant) {
        if self.host.data_threads_wake_control() {
            self.facts = true;
            self.wake(now, Thread::Control);
        }
    }

    /// The device hands `packet` over; what leaves, and why the packet did not.
    pub fn sends(&mut self, now: Instant, packet: &[u8]) -> (Vec<Datagram>, Option<Discard>) {
        let clock = self.clock(now);
        let sent = self.host.hand_over(&clock, packet);
        self.data_threads_did_something(now);
        sent
    }

    /// Outbound takes its turn; what leaves.
    pub fn outbound_turn(&mut self, now: Instant) -> Vec<Datagram> {
        self.turns[Thread::Outbound as usize] = None;
        let clock = self.clock(now);
        let leaving = self.host.outbound_obeys(&clock);
        self.data_threads_did_something(now);
        leaving
    }

    /// Inbound takes a turn without a datagram.
    pub fn inbound_turn(&mut self) {
        self.turns[Thread::Inbound as usize] = None;
        self.host.inbound.obey();
    }

    /// Inbound gets `datagram`; whether it went any further, and if so whether it waits for control.
    pub fn receives(&mut self, now: Instant, datagram: &Datagram) -> Result<bool, Discard> {
        let clock = self.clock(now);
        let opened = self.host.open(&clock, datagram);
        self.data_threads_did_something(now);
        let Some(message) = opened? else { return Ok(false) };
        if self.handshakes.len() == HANDSHAKE_QUEUE {
            self.host.inbound.discard(Discard::HandshakeQueueFull);
            return Err(Discard::HandshakeQueueFull);
        }
        self.handshakes.push_back((datagram.clone(), message));
        self.wake(now, Thread::Control);
        Ok(true)
    }

    /// Control takes one input, and `pace` for a handshake message.
    pub fn control_turn(&mut self, now: Instant, pace: Duration) -> Controlled {
        self.turns[Thread::Control as usize] = None;
        let clock = self.clock(now);
        let mut message = None;
        let endpoint = self.host.tunnel.endpoint();
        if self.alarm.is_some_and(|at| at <= now) {
            self.host.tunnel.handle_timeout(clock.now());
        } else if std::mem::take(&mut self.facts) {
            self.host.tunnel.handle_facts(clock.now());
        } else if let Some((datagram, handshake)) = self.handshakes.pop_front() {
            let (from, queued) = (datagram.endpoint(), self.handshakes.len());
            let handled = self.host.tunnel.receive(clock.now(), from, &handshake, queued);
            message = Some((datagram, handled));
            self.busy_until = now + pace;
        }
        let moved = self.host.tunnel.endpoint() != endpoint;
        let settled = self.settles(now);
        if self.facts || !self.handshakes.is_empty() {
            self.turns[Thread::Control as usize] = Some(now);
        }
        Controlled { message, moved, ..settled }
    }

    /// The name was looked up: the peer is at the last of these addresses.
    pub fn resolved(&mut self, now: Instant, addresses: &[SocketAddr]) -> Controlled {
        let clock = self.clock(now);
        self.host.tunnel.resolved(clock.now(), 0, addresses);
        self.settles(now)
    }

    /// The kernel says that the way to the peer is another one.
    pub fn network_changed(&mut self, now: Instant) -> Controlled {
        let clock = self.clock(now);
        self.host.tunnel.network_changed(clock.now());
        self.settles(now)
    }

    fn settles(&mut self, now: Instant) -> Controlled {
        let mut looks_up = false;
        while let Some(request) = self.host.tunnel.poll_request() {
            match request {
                Request::LookUp(endpoint) => looks_up |= endpoint == 0,
                Request::ChangePort => self.change_port(),
            }
        }
        let leaving = self.host.control_settles();
        for event in std::mem::take(&mut self.host.events) {
            if matches!(event, Event::HandshakeCompleted { .. }) {
                self.host.tunnel.mix(&self.dice.bytes(32).try_into().unwrap());
            }
        }
        if self.host.tunnel.inbound_has_orders() {
            self.wake(now, Thread::Inbound);
        }
        if self.host.tunnel.outbound_has_orders() {
            self.wake(now, Thread::Outbound);
        }
        self.alarm = self.host.next_timeout().map(|(at, _)| at);
        Controlled { leaving, looks_up, ..Controlled::default() }
    }
}

fn process(
    side: Side,
    scenario: &Scenario,
    address: SocketAddr,
    kept: Option<Duration>,
    dice: &mut Dice,
) -> Host {
    static PARAMETERS: LazyLock<[Parameters; 2]> =
        LazyLock::new(|| [parameters(1, 2, None), parameters(2, 1, None)]);
    let listed = scenario.listed && (side == Side::A || scenario.a_is_named);
    let second_of = |side| listed.then(|| vec![second(side)]);
    let parameters = Parameters {
        // The first one is a name, yet to be looked up.
        endpoints: [Vec::new()].into_iter().chain(second_of(side.other())).collect(),
        last_timestamp: kept,
        persistent_keepalive: scenario.keepalive,
        profile: scenario.profiles[side as usize],
        frames: scenario.frames,
        ..PARAMETERS[side as usize].clone()
    };
    let mut host =
        Host::with_seed(&parameters, &dice.bytes(32).try_into().unwrap(), &address.to_string());
    host.also = scenario.listed.then(|| second(side)).into_iter().collect();
    host
}
