use super::*;
use crate::crypto::{Cipher, PresharedKey, PrivateKey};
use crate::proto::{flood::Tally, shared::Networks, timers::Timer};
use crate::wire::Layer;
use std::time::Duration;

fn key(number: u8) -> PrivateKey {
    PrivateKey::clamped([number; 32])
}

/// With sessions whose keys wear out.
const AES: Profile = Profile::Tunneld { cipher: Cipher::Aes256Gcm, layer: Layer::Ip };

fn host(ours: u8, theirs: u8) -> (Tunnel, Arc<Shared>) {
    let parameters = Parameters {
        profile: AES,
        private_key: key(ours),
        public_key: key(theirs).public_key(),
        preshared_key: PresharedKey::default(),
        allowed_ips: Vec::new(),
        addresses: Vec::new(),
        routed: Vec::new(),
        endpoints: vec![vec!["192.0.2.1:51820".parse().unwrap()]],
        last_timestamp: None,
        persistent_keepalive: None,
        mtu: 1420,
        frames: Default::default(),
    };
    let shared = Arc::new(Shared::new(Networks::default(), Default::default(), 1420));
    (Tunnel::new(&parameters, &[ours; 32], shared.clone()), shared)
}

fn at(seconds: u64) -> Now {
    let boot = Instant::from_nanos((1000 + seconds) * 1_000_000_000);
    Now { boot, unix: Duration::from_secs(1_700_000_000 + seconds) }
}

/// A tunnel that began a session with another one just now.
fn initiator() -> (Tunnel, Arc<Shared>) {
    let ((mut a, shared), (mut b, _)) = (host(1, 2), host(2, 1));
    assert!(shared.facts.want_handshake());
    a.handle_facts(at(0));
    let initiation = a.poll_transmit().expect("an initiation");
    b.receive(at(0), initiation.endpoint, &initiation.message, 0).unwrap();
    let response = b.poll_transmit().expect("a response");
    a.receive(at(0), response.endpoint, &response.message, 0).unwrap();
    (a, shared)
}

#[test]
fn a_wish_on_account_of_the_session_before_is_dropped() {
    let (mut tunnel, shared) = initiator();
    assert!(shared.facts.want_handshake());
    tunnel.handle_facts(at(1));
    assert!(!shared.facts.handshake_is_wanted());
    assert!(tunnel.poll_timeout().is_none_or(|(_, timer)| timer != Timer::PostponedHandshake));
    tunnel.handle_timeout(at(10));
    assert!(tunnel.poll_transmit().is_none());
}

#[test]
fn a_wish_on_account_of_an_old_session_is_fulfilled() {
    let (mut tunnel, shared) = initiator();
    assert!(shared.facts.want_handshake());
    tunnel.handle_facts(at(121));
    assert!(tunnel.poll_transmit().is_some());
}

#[test]
fn a_wish_on_account_of_a_worn_key_is_fulfilled() {
    let (mut tunnel, shared) = initiator();
    let sealing = tunnel.slots.current().unwrap().sealing.clone();
    sealing.set_blocks(1 << 35);
    sealing.take_counters(at(6).boot, 1, 32).unwrap();
    assert!(shared.facts.want_handshake());
    tunnel.handle_facts(at(6));
    assert!(tunnel.poll_transmit().is_some());
}

#[test]
fn in_a_flood_every_place_where_the_peer_may_be_and_every_session_passes() {
    let (mut tunnel, shared) = initiator();
    assert_eq!(tunnel.screen(), None, "there is no flood");
    let mut tally = Tally::default();
    (0..1000).for_each(|_| tally.stranger(true, 148));
    assert!(tally.finish(at(1).boot, &shared.strangers));
    tunnel.handle_facts(at(1));
    let screen = tunnel.screen().expect("a screen");
    assert_eq!(screen.peers, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(screen.indices, tunnel.slots.indices().collect::<Vec<_>>());
    assert_eq!(screen.indices.len(), 1);
    let addresses = ["[2001:db8::2]:9", "192.0.2.3:9"].map(|at| at.parse().unwrap());
    tunnel.resolved(at(1), 0, &addresses);
    let screen = tunnel.screen().expect("another screen");
    let peers = ["192.0.2.1", "2001:db8::2", "192.0.2.3"].map(|at| at.parse::<IpAddr>().unwrap());
    assert_eq!(screen.peers, peers);
    // What always passes is not counted as a stranger's, or their share would shrink to nothing.
    let is_stranger = |ip: IpAddr| shared.is_stranger(&Endpoint::new((ip, 9).into()));
    assert!(!peers.into_iter().any(is_stranger));
    assert!(is_stranger("192.0.2.4".parse().unwrap()));
}

#[test]
fn what_a_tunnel_draws_follows_from_what_was_mixed_in() {
    let initiation = |entropy: &[[u8; 32]]| {
        let (mut tunnel, shared) = host(1, 2);
        entropy.iter().for_each(|entropy| tunnel.mix(entropy));
        assert!(shared.facts.want_handshake());
        tunnel.handle_facts(at(0));
        tunnel.poll_transmit().expect("an initiation").message.as_bytes().to_vec()
    };
    assert_eq!(initiation(&[]), initiation(&[]));
    assert_ne!(initiation(&[[1; 32]]), initiation(&[]));
    assert_ne!(initiation(&[[1; 32]]), initiation(&[[2; 32]]));
}
