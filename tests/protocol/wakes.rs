//! How often the data threads wake control.

use tunneld::proto::{Instant, Timer};

use crate::link::{Clock, Datagram, Host, Link, millis, packet, secs};

/// A host whose control sleeps until it is woken or its deadline comes, as in the daemon.
struct Sleeper {
    deadline: Option<(Instant, Timer)>,
    wakes: u32,
}

impl Sleeper {
    fn settle(&mut self, host: &mut Host, clock: &Clock) {
        if host.outbound.take_wake() | host.inbound.take_wake() {
            self.wakes += 1;
            host.tunnel.handle_facts(clock.now());
            self.deadline = host.tunnel.poll_timeout();
        }
        if self.deadline.is_some_and(|(at, _)| at <= clock.boot) {
            host.tunnel.handle_timeout(clock.now());
            self.deadline = host.tunnel.poll_timeout();
        }
    }
}

/// One packet from one host to the other, the latter's control asleep.
fn pass(clock: &Clock, from: &mut Host, to: &mut Host, sleepers: [&mut Sleeper; 2], text: &[u8]) {
    let mut sink = crate::link::Sink::default();
    from.outbound.send(clock.boot, &text, &mut sink).unwrap();
    let [sending, receiving] = sleepers;
    sending.settle(from, clock);
    let datagrams = sink.take();
    assert_eq!(datagrams.len(), 1, "no keepalive besides");
    for (ecn, bytes) in datagrams {
        let mut datagram = Datagram { from: from.address, to: to.address, ecn, bytes };
        let source = Some(datagram.to);
        let endpoint = tunneld::wire::Endpoint { remote: datagram.from, source };
        to.inbound.obey();
        to.inbound.receive(clock.boot, endpoint, ecn, &mut datagram.bytes).unwrap();
        to.inbound.finish(clock.boot);
        receiving.settle(to, clock);
    }
}

#[test]
fn a_steady_flow_hardly_ever_wakes_control() {
    let mut link = Link::established();
    link.run(secs(1));
    let mut asleep =
        [&mut link.a, &mut link.b].map(|host| Sleeper { deadline: host.next_timeout(), wakes: 0 });
    for _ in 0..1000 {
        let [a, b] = &mut asleep;
        link.clock.advance(millis(20));
        pass(&link.clock, &mut link.a, &mut link.b, [a, b], &packet(1, 2, b"ping"));
        pass(&link.clock, &mut link.b, &mut link.a, [b, a], &packet(2, 1, b"pong"));
    }
    assert_eq!(link.b.tunnel.stats().received().0, 1001);
    for host in [&mut link.a, &mut link.b] {
        assert!(host.tunnel.poll_transmit().is_none() && host.tunnel.poll_event().is_none());
    }
    for sleeper in asleep {
        assert!(sleeper.wakes <= 8, "{} wakes", sleeper.wakes);
    }
}
