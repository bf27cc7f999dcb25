//! What is taken for a flood, and what is not.

use tunneld::proto::{Discard, Event};

use crate::link::{A, B, Datagram, Link, moved, packet, secs};
use crate::paper::INITIATION;

const STRANGER: &str = "203.0.113.9:4500";

/// Many at once: of junk and of handshake messages either is enough.
const MANY: usize = 6000;

/// Whether host b takes so many copies of `datagram` for a flood.
fn is_flood(link: &mut Link, datagram: &Datagram, count: usize) -> bool {
    for _ in 0..count {
        let _ = link.b.open(&link.clock, datagram);
    }
    link.b.settle(&link.clock);
    let began = |event: &Event| matches!(event, Event::FloodBegan);
    let is_flood = link.b.events.drain(..).any(|event| began(&event));
    assert_eq!(is_flood, link.b.tunnel.screen().is_some());
    is_flood
}

fn junk(link: &mut Link) -> Datagram {
    let mut datagram = link.a.send(&link.clock, &packet(1, 2, b"data")).remove(0);
    (datagram.from, datagram.to) = (A.parse().unwrap(), B.parse().unwrap());
    datagram.bytes.truncate(9);
    datagram
}

#[test]
fn what_is_refused_of_strangers_is_a_flood_if_it_is_much_and_nothing_of_the_peers_is() {
    let mut link = Link::established();
    let junk = junk(&mut link);
    assert!(!is_flood(&mut link, &junk, MANY), "it comes from the peer's address");
    assert!(!is_flood(&mut link, &moved(&junk, STRANGER), 10), "it is little");
    assert!(is_flood(&mut link, &moved(&junk, STRANGER), MANY));
}

#[test]
fn strangers_handshake_messages_are_a_flood_if_they_are_many_and_the_peers_are_not() {
    let mut link = Link::established();
    let (_, initiation) = link.messages(link.a.address, INITIATION).remove(0);
    link.run(secs(10));
    assert!(!is_flood(&mut link, &initiation, MANY), "it comes from the peer's address");
    assert!(is_flood(&mut link, &moved(&initiation, STRANGER), 100));
}

#[test]
fn what_is_discarded_on_the_way_from_inbound_is_counted() {
    let link = Link::established();
    link.b.inbound.discard(Discard::HandshakeQueueFull);
    assert_eq!(link.b.discards(Discard::HandshakeQueueFull), 1);
}
