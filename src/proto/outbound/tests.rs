use super::*;
use crate::crypto::Cipher;
use crate::proto::noise::SessionKeys;
use crate::proto::replay::Arrivals;
use crate::proto::session::{OpeningHalf, Role, halves};
use crate::proto::shared::Networks;
use crate::proto::{Inbound, Received};
use crate::wire::mss::ClampMss;
use crate::wire::{Layer, Profile};

const NOW: Instant = Instant::from_nanos(1);

/// Keeps the datagrams of runs of one, and the TOS of each.
#[derive(Default)]
struct Datagrams(Vec<Vec<u8>>, Vec<u8>);

impl DatagramSink for Datagrams {
    fn reserve(&mut self, run: Run) -> &mut [u8] {
        self.1.push(run.tos());
        self.0.push(vec![0xa5; run.total()]);
        self.0.last_mut().expect("one was pushed")
    }
}

/// An IPv4 packet of this length.
fn packet(len: u8) -> Vec<u8> {
    let mut packet = vec![0; usize::from(len)];
    (packet[0], packet[3]) = (0x45, len);
    packet
}

/// To a peer behind which everything is.
fn outbound() -> (Outbound, Arc<Shared>) {
    let mut networks = Networks::default();
    networks.allowed_ips = ["0.0.0.0/0".parse().unwrap()].into_iter().collect();
    let shared = Arc::new(Shared::new(networks, Layer::Ip, 1420));
    (Outbound::new(shared.clone()), shared)
}

/// Both halves of a session with itself.
fn session() -> (Arc<SealingHalf>, OpeningHalf) {
    session_of(Profile::default())
}

fn session_of(profile: Profile) -> (Arc<SealingHalf>, OpeningHalf) {
    let secret = crate::crypto::secret::Secret::from([1; 32]);
    let (send, receive) = (secret.clone(), secret);
    let keys = SessionKeys { profile, local_index: 1, peer_index: 1, send, receive };
    let (sealing, opening) = halves(&keys, Role::Initiator, NOW);
    (Arc::new(sealing), opening)
}

#[test]
fn what_waits_for_a_peer_is_not_sent_to_the_next_one_even_if_the_order_to_forget_it_is_late() {
    let ((mut outbound, shared), mut sink) = (outbound(), Datagrams::default());
    outbound.send(NOW, &packet(100).as_slice(), &mut sink).unwrap();
    shared.outbound_orders.give(Orders::OTHER_PEER);
    shared.sealing.store(Some(session().0));
    outbound.flush_staged(NOW, &mut sink);
    assert!(outbound.for_waiting(&shared.sealing.load()).is_none());
    // It was here before the order was seen.
    let sent = outbound.send(NOW, &packet(100).as_slice(), &mut sink);
    assert_eq!(sent, Err(Discard::OtherPeer));
    assert_eq!((sink.0.len(), shared.stats.discards(Discard::OtherPeer)), (0, 2));
    outbound.send(NOW, &packet(20).as_slice(), &mut sink).unwrap();
    assert_eq!(sink.0.len(), 1);
    assert!(!outbound.obey(NOW, &mut sink));
    shared.outbound_orders.give(Orders::OTHER_PEER);
    assert!(outbound.obey(NOW, &mut sink), "whoever has more that waits is told");
}

#[test]
fn what_waits_goes_before_what_comes_even_if_the_order_to_send_it_is_late() {
    let ((mut outbound, shared), mut sink) = (outbound(), Datagrams::default());
    outbound.send(NOW, &packet(100).as_slice(), &mut sink).unwrap();
    assert!(sink.0.is_empty());

    shared.sealing.store(Some(session().0));
    outbound.send(NOW, &packet(20).as_slice(), &mut sink).unwrap();
    let lengths: Vec<_> = sink.0.iter().map(Vec::len).collect();
    assert_eq!(lengths, [112 + OVERHEAD, 32 + OVERHEAD]);
}

#[test]
fn a_worn_key_asks_for_the_next_and_one_worn_out_seals_no_more() {
    let aes = Profile::Tunneld { cipher: Cipher::Aes256Gcm, layer: Layer::Ip };
    let ((mut outbound, shared), mut sink) = (outbound(), Datagrams::default());
    let (sealing, _) = session_of(aes);
    shared.sealing.store(Some(sealing.clone()));
    sealing.set_blocks((1 << 35) - 2);
    outbound.send(NOW, &packet(20).as_slice(), &mut sink).unwrap();
    assert!(outbound.take_wake(), "three blocks: one too many");
    assert_eq!(sink.0.len(), 1, "it serves until there is another");

    sealing.set_blocks((1 << 36) - 1 - 2);
    outbound.send(NOW, &packet(21).as_slice(), &mut sink).unwrap();
    assert_eq!((sink.0.len(), sealing.counter()), (1, 1), "nothing sealed, no counter used");

    shared.sealing.store(Some(session_of(aes).0));
    outbound.send(NOW, &packet(22).as_slice(), &mut sink).unwrap();
    assert_eq!(sink.0.len(), 3, "what waited leaves under the next key");
}

#[test]
fn padding_is_of_zeros_whatever_the_slot_held() {
    let ((mut outbound, shared), mut sink) = (outbound(), Datagrams::default());
    let (sealing, mut opening) = session();
    shared.sealing.store(Some(sealing));
    outbound.send(NOW, &packet(20).as_slice(), &mut sink).unwrap();
    let text = opening.open(NOW, &mut sink.0[0], &mut Arrivals::default()).unwrap();
    assert_eq!(text, [packet(20), vec![0; 12]].concat());
}

#[test]
fn a_datagram_carries_the_dscp_of_its_packet_where_it_is_to_and_always_its_ecn() {
    let ((mut outbound, shared), mut sink) = (outbound(), Datagrams::default());
    let mut marked = packet(100);
    marked[1] = 0xba;
    // What is staged is marked too.
    outbound.send(NOW, &marked.as_slice(), &mut sink).unwrap();
    shared.rewrites.set(true, ClampMss::Off);
    shared.sealing.store(Some(session().0));
    outbound.send(NOW, &packet(100).as_slice(), &mut sink).unwrap();
    shared.rewrites.set(false, ClampMss::Off);
    outbound.send(NOW, &marked.as_slice(), &mut sink).unwrap();
    assert_eq!(sink.1, [0xba, 0, 0x02]);
}

/// A SYN packet over IPv4 that announces this MSS.
fn syn(mss: u16) -> Vec<u8> {
    let mut syn = packet(44);
    (syn[9], syn[32], syn[33], syn[40], syn[41]) = (6, 0x60, 2, 2, 4);
    syn[42..].copy_from_slice(&mss.to_be_bytes());
    syn
}

#[test]
fn the_mss_of_a_syn_is_lowered_before_it_is_sealed_and_after_it_is_opened() {
    for (clamp, expected) in
        [(ClampMss::ToMtu, 1380), (ClampMss::To(700), 700), (ClampMss::Off, 1460)]
    {
        let ((mut outbound, shared), mut sink) = (outbound(), Datagrams::default());
        let (sealing, mut opening) = session();
        shared.sealing.store(Some(sealing.clone()));
        shared.rewrites.set(false, clamp);
        outbound.send(NOW, &syn(1460).as_slice(), &mut sink).unwrap();
        let text = opening.open(NOW, &mut sink.0[0], &mut Arrivals::default()).unwrap();
        assert_eq!(text[42..44], u16::to_be_bytes(expected), "{clamp:?}");

        shared.rewrites.set(false, ClampMss::Off);
        outbound.send(NOW, &syn(1460).as_slice(), &mut sink).unwrap();
        shared.rewrites.set(false, clamp);
        shared.opening.give(Some(session().1), [1].into_iter());
        let mut inbound = Inbound::new(shared);
        inbound.obey();
        let from = Endpoint::new("192.0.2.1:1".parse().unwrap());
        let Received::Packet(opened) =
            inbound.receive(NOW, from, Ecn::NotEct, &mut sink.0[1]).unwrap()
        else {
            panic!("it is a packet")
        };
        assert_eq!(opened[42..], expected.to_be_bytes(), "{clamp:?}");
    }
}

#[test]
fn a_packet_takes_its_datagram_and_both_headers_on_the_underlay() {
    let (outbound, shared) = outbound();
    assert_eq!(outbound.outer_len(1420), 1452);
    for (endpoint, expected) in [("192.0.2.1:1", 1480), ("[2001:db8::1]:1", 1500)] {
        shared.set_endpoint(Endpoint::new(endpoint.parse().unwrap()));
        assert_eq!(outbound.outer_len(1420), expected);
        assert_eq!(outbound.outer_len(1), expected - 1420 + 16, "padded");
    }
}
