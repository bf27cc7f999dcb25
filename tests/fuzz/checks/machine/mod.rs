//! The whole core as a state machine: two hosts, and a wire on which the bytes decide what happens. What either may
//! send and deliver is told by a [`Model`] that sees no more than the wire.

mod model;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tunneld::proto::Parameters;

use super::input::Input;
use crate::host::Segments;
use crate::link::{Datagram, Host, Link, millis, packet, parameters, secs};
use crate::paper::{DATA, RESPONSE};
use model::{End, Model};

const MOST_STEPS: usize = 200;
const MOST_IN_FLIGHT: usize = 64;
const MOST_RESTARTS: usize = 20;
/// Each end's addresses, at which it is reached wherever it moved. The other end has the first and the third for one
/// endpoint, the second for another.
const ADDRESSES: [[SocketAddr; 3]; 2] = [
    [v4([192, 0, 2, 1], 51820), v4([192, 0, 2, 77], 4000), v6(0xa, 51820)],
    [v4([198, 51, 100, 2], 51820), v4([198, 51, 100, 2], 9), v6(0xb, 51820)],
];
/// In the end the wire is clear, and both ends send once a second: by then they must have found each other.
const MOST_SECONDS_TO_RECOVER: usize = 30;

pub fn check(data: &[u8]) {
    let input = &mut Input::new(data);
    let mut machine = Machine::new();
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        machine.step(input);
    }
    machine.recovers();
}

struct Machine {
    link: Link,
    model: Model,
    /// On its way, in no order.
    flying: Vec<Datagram>,
    sent: u32,
    /// How much of what the wire has seen the model has.
    judged: usize,
    restarts: usize,
}

impl Machine {
    fn new() -> Self {
        let [a, b] = ADDRESSES;
        let endpoints = |all: [SocketAddr; 3]| vec![vec![all[0], all[2]], vec![all[1]]];
        let mut link = Link::with(
            &Parameters { endpoints: endpoints(b), ..parameters(1, 2, None) },
            &Parameters { endpoints: endpoints(a), ..parameters(2, 1, None) },
        );
        // Nothing arrives by itself.
        link.latency = secs(1 << 30);
        Self { link, model: Model::default(), flying: Vec::new(), sent: 0, judged: 0, restarts: 0 }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let end = if choice & 1 == 0 { End::A } else { End::B };
        match choice >> 1 & 0xf {
            0 | 1 => self.send(end, 1, input.byte().into()),
            2 => self.send(end, input.below(70), input.byte().into()),
            5 => self.deliver_all(),
            9 => self.pass(millis(u64::from(input.byte()) * 10)),
            10 => self.pass(secs(input.byte().into())),
            11 => self.restart(end),
            12 => {
                self.host(end).address = ADDRESSES[end as usize][input.below(3)];
                if choice & 0x20 == 0 {
                    let now = self.link.clock.now();
                    self.host(end).tunnel.network_changed(now);
                    self.settle(end);
                }
            }
            13 => self.host(end).queued ^= 4096,
            14 => {
                let of = usize::from(input.word()).checked_rem(self.link.seen.len());
                if let Some(of) = of {
                    let (_, again) = self.link.seen[of].clone();
                    self.put(again);
                }
            }
            meddling => self.meddle(meddling, input),
        }
    }

    /// Does something to one of the datagrams on their way.
    fn meddle(&mut self, choice: u8, input: &mut Input<'_>) {
        let Some(index) = usize::from(input.byte()).checked_rem(self.flying.len()) else {
            return;
        };
        match choice {
            3 | 4 => {
                let datagram = self.flying.swap_remove(index);
                self.arrive(&datagram);
            }
            6 => drop(self.flying.swap_remove(index)),
            7 => self.put(self.flying[index].clone()),
            8 => input.damage(&mut self.flying[index].bytes),
            _ => {
                let datagram = &mut self.flying[index];
                datagram.from = ADDRESSES[sender(datagram) as usize][input.below(3)];
            }
        }
    }

    fn host(&mut self, end: End) -> &mut Host {
        match end {
            End::A => &mut self.link.a,
            End::B => &mut self.link.b,
        }
    }

    /// Lets out what `end` has to send.
    fn settle(&mut self, end: End) {
        let clock = self.link.clock;
        let leaving = self.host(end).settle(&clock);
        self.link.launch(leaving);
        self.collect();
    }

    fn put(&mut self, datagram: Datagram) {
        if self.flying.len() < MOST_IN_FLIGHT {
            self.flying.push(datagram);
        }
    }

    /// Lets the device of `end` hand over so many segments, each with a number of its own.
    fn send(&mut self, end: End, count: usize, len: usize) {
        let (from, to) = if end == End::A { (1, 2) } else { (2, 1) };
        let number = self.sent;
        self.sent += count as u32;
        let segments: Vec<_> = (number..self.sent)
            .map(|number| packet(from, to, &[&number.to_be_bytes()[..], &vec![0; len]].concat()))
            .collect();
        if segments.is_empty() {
            return;
        }
        for segment in &segments {
            self.model.sends(end, segment);
        }
        let clock = self.link.clock;
        let leaving = self.host(end).send_super(&clock, &Segments(segments));
        self.link.launch(leaving);
        self.collect();
    }

    /// Takes what left off the wire, for the model to judge.
    fn collect(&mut self) {
        for (at, datagram) in &self.link.seen[self.judged..] {
            self.model.left(sender(datagram), *at, datagram);
        }
        self.judged = self.link.seen.len();
        for datagram in self.link.hold() {
            self.put(datagram);
        }
    }

    /// Lets `datagram` arrive at its host, wherever that is now.
    fn arrive(&mut self, datagram: &Datagram) {
        let end = sender(datagram).other();
        let host = self.host(end);
        let there = Datagram { to: host.address, ..datagram.clone() };
        let before = (host.tunnel.endpoint(), host.all_discards(), host.delivered.len());
        let refused = self.link.inject(&there);
        let host = self.host(end);
        let endpoint = host.tunnel.endpoint();
        let delivered = host.delivered.split_off(before.2);
        if let Some(reason) = refused {
            assert!(delivered.is_empty());
            assert_eq!(endpoint, before.0, "{reason:?} moves nothing");
            assert_eq!(host.all_discards(), before.1 + 1, "{reason:?} is counted");
            let answers = self.link.seen[self.judged..].iter();
            let bytes: usize = answers.map(|(_, answer)| answer.bytes.len()).sum();
            assert!(bytes * 10 <= there.bytes.len() * 7, "{reason:?} is answered at length");
        } else {
            let remote = endpoint.map(|endpoint| endpoint.remote);
            // An initiation may be a replay from before a restart: only what confirms moves the endpoint.
            let expected = if matches!(there.bytes[0], RESPONSE | DATA) {
                Some(there.from)
            } else {
                before.0.map(|endpoint| endpoint.remote)
            };
            assert_eq!(remote, expected);
            self.model.accepted(end, self.link.clock.boot, &there, &delivered);
        }
        self.collect();
    }

    fn deliver_all(&mut self) {
        for datagram in std::mem::take(&mut self.flying) {
            self.arrive(&datagram);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.link.run(time);
        self.collect();
    }

    fn restart(&mut self, end: End) {
        if self.restarts == MOST_RESTARTS {
            return;
        }
        self.restarts += 1;
        match end {
            End::A => self.link.restart_a(),
            End::B => self.link.restart_b(),
        }
        self.model.restarted(end);
    }

    fn recovers(&mut self) {
        (self.link.a.queued, self.link.b.queued) = (0, 0);
        self.deliver_all();
        let before = self.model.delivered();
        for _ in 0..MOST_SECONDS_TO_RECOVER {
            self.send(End::A, 1, 0);
            self.send(End::B, 1, 0);
            for _ in 0..10 {
                self.pass(millis(10));
                self.deliver_all();
            }
            self.pass(millis(900));
            let now = self.model.delivered();
            if now[0] > before[0] && now[1] > before[1] {
                return;
            }
        }
        panic!("the link does not recover");
    }
}

/// By the address it came from.
fn sender(datagram: &Datagram) -> End {
    if ADDRESSES[0].contains(&datagram.from) { End::A } else { End::B }
}

const fn v4([a, b, c, d]: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}

const fn v6(network: u16, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, 1)), port)
}
