use super::*;
use crate::crypto::{Cipher, secret::Secret};
use crate::proto::noise::SessionKeys;
use crate::proto::session::{Role, SealingHalf, halves};
use crate::proto::shared::Networks;
use crate::wire::Profile;

const NOW: Instant = Instant::from_nanos(1);

/// An inbound half with a session of this profile with itself.
fn inbound(profile: Profile) -> (Inbound, SealingHalf, Arc<Shared>) {
    let secret = Secret::from([1; 32]);
    let (send, receive) = (secret.clone(), secret);
    let keys = SessionKeys { profile, local_index: 1, peer_index: 1, send, receive };
    let (sealing, opening) = halves(&keys, Role::Initiator, NOW);
    let shared = Arc::new(Shared::new(Networks::default(), profile.layer(), 1420));
    shared.opening.give(Some(opening), [1].into_iter());
    let mut inbound = Inbound::new(shared.clone());
    inbound.obey();
    (inbound, sealing, shared)
}

/// What becomes of transport data that begins with this byte; whether it is owed an answer.
fn received(profile: Profile, first: u8) -> (Discard, bool) {
    let (mut inbound, sealing, shared) = inbound(profile);
    let mut datagram = [0; 48];
    datagram[16] = first;
    sealing.seal_run(0, &mut datagram, 48);
    let from = Endpoint::new("192.0.2.1:9".parse().unwrap());
    let discard = inbound.receive(NOW, from, Ecn::NotEct, &mut datagram).unwrap_err();
    inbound.finish(NOW);
    assert_eq!(shared.facts.last_received(), Some(NOW), "it was authentic");
    (discard, shared.facts.owing_reply.began().is_some())
}

#[test]
fn what_is_no_packet_is_a_control_frame_only_in_a_profile_that_has_them() {
    let tunneld = Profile::Tunneld { cipher: Cipher::Aes256Gcm, layer: Layer::Ip };
    for nibble in 0..16 {
        // Too short for a packet in any case.
        let no_packet = (Discard::NotIp, true);
        let expected = match nibble {
            4 | 6 => no_packet,
            _ => (Discard::UnknownControl, false),
        };
        assert_eq!(received(tunneld, nibble << 4), expected);
        assert_eq!(received(Profile::WireGuard, nibble << 4), no_packet);
    }
}

#[test]
fn a_session_that_control_has_ended_moves_the_endpoint_no_more() {
    let (mut inbound, sealing, shared) = inbound(Profile::WireGuard);
    let elsewhere = Endpoint::new("192.0.2.1:9".parse().unwrap());
    for (counter, live, moved) in [(0, &[1][..], Some(elsewhere)), (1, &[], None)] {
        shared.endpoint.store(None);
        shared.opening.give(None, live.iter().copied());
        let mut datagram = [0; 32];
        sealing.seal_run(counter, &mut datagram, 32);
        let received = inbound.receive(NOW, elsewhere, Ecn::NotEct, &mut datagram);
        assert_eq!(received.err(), moved.is_none().then_some(Discard::SessionEnded));
        assert_eq!(shared.endpoint(), moved);
    }
}

#[test]
fn what_was_learned_of_a_peer_is_not_known_of_another_one() {
    let profile = Profile::Tunneld { cipher: Cipher::Aes256Gcm, layer: Layer::Ethernet };
    let (mut inbound, sealing, shared) = inbound(profile);
    let mut networks = Networks::default();
    networks.frames.mac_limit = 1;
    shared.set_networks(networks);
    let admits = |inbound: &mut Inbound, counter, station| {
        let mut datagram = [0; 64];
        // A frame of 14 bytes, of which these are the sender's.
        datagram[16..20].copy_from_slice(&[1, 0, 0, 14]);
        datagram[26..32].copy_from_slice(&[2, 0, 0, 0, 0, station]);
        sealing.seal_run(counter, &mut datagram, 64);
        let from = Endpoint::new("192.0.2.1:9".parse().unwrap());
        inbound.receive(NOW, from, Ecn::NotEct, &mut datagram).err()
    };
    assert_eq!(admits(&mut inbound, 0, 1), None);
    assert_eq!(admits(&mut inbound, 1, 2), Some(Discard::MacLimit));
    assert!(!inbound.obey());
    shared.opening.forget_peer();
    assert!(inbound.obey());
    assert_eq!(admits(&mut inbound, 2, 2), None);
    assert!(!inbound.obey(), "once");
}

#[test]
fn a_session_worn_by_what_was_opened_wakes_control_once() {
    let tunneld = Profile::Tunneld { cipher: Cipher::Aes256Gcm, layer: Layer::Ip };
    let (mut inbound, sealing, _) = inbound(tunneld);
    inbound.halves[0].set_blocks(1 << 35);
    for (counter, wakes) in [(0, true), (1, false)] {
        let mut datagram = [0; 48];
        sealing.seal_run(counter, &mut datagram, 48);
        datagram[40] ^= 1;
        let from = Endpoint::new("192.0.2.1:9".parse().unwrap());
        let discard = inbound.receive(NOW, from, Ecn::NotEct, &mut datagram).unwrap_err();
        assert_eq!(discard, Discard::DataNotAuthentic);
        assert_eq!(inbound.take_wake(), wakes);
    }
}
