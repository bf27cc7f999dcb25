use super::*;
use crate::crypto::{PresharedKey, PrivateKey};
use crate::proto::{allowed_ips::AllowedIps, timers::Timer};
use std::time::Duration;

fn key(number: u8) -> PrivateKey {
    PrivateKey::clamped([number; 32])
}

fn host(ours: u8, theirs: u8) -> (Tunnel, Arc<Shared>) {
    let parameters = Parameters {
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
    };
    let shared = Arc::new(Shared::new(AllowedIps::default(), 1420));
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
