//! Who may not come through: wrong keys, and inner sources that are not the peer's.

use std::net::UdpSocket;
use std::time::Duration;

use super::config::{End, SOME_KEY, ends};
use super::lab::{DISCARDED, Host, INNER_A, INNER_B, Lab, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, wait_until};

/// Two ends that do not fit: no traffic, and one of them says which key of the configuration to look at.
fn names_the_key(ends: &[End; 2], key: &str) {
    let lab = Lab::direct();
    let mut daemons = [lab.start(Host::A, &ends[0]), lab.start(Host::B, &ends[1])];
    daemons.iter().for_each(|daemon| drop(daemon.wait_for(STARTED)));
    let named = wait_until(BOUND, || {
        let answered = lab.ping(Host::A, &format!("-c 1 -W 1 {}", INNER_B[0]));
        assert!(!answered.status.success(), "nothing passes");
        daemons.iter().any(|daemon| daemon.count(key) > 0)
    });
    assert!(named, "a log line names {key}");
    assert!(daemons.iter_mut().all(|daemon| daemon.runs()));
}

#[test]
fn a_wrong_preshared_key_lets_nothing_through_and_is_named() {
    needs!("ping");
    let mut ends = ends(direct_v4);
    ends[0].preshared_key = Some(SOME_KEY.to_owned());
    names_the_key(&ends, "preshared_key");
}

#[test]
fn a_wrong_public_key_of_the_peer_lets_nothing_through_and_is_named() {
    needs!("ping");
    let mut ends = ends(direct_v4);
    ends[0].public_key = SOME_KEY.to_owned();
    names_the_key(&ends, "public_key");
}

#[test]
fn a_public_key_that_is_wrong_at_the_end_that_is_called_lets_nothing_through_and_is_named() {
    needs!("ping");
    let mut ends = ends(direct_v4);
    ends[1].public_key = SOME_KEY.to_owned();
    ends[1].endpoint = None;
    names_the_key(&ends, "public_key");
}

#[test]
fn an_inner_source_outside_allowed_ips_is_discarded_and_counted() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[0].allowed_ips = Some(vec!["10.77.0.2/32", "fd77::2/128"]);
    let [a, _b] = lab.link(&ends);
    lab.ip(Host::B, "address add 10.99.0.1/32 dev tun0");

    let server = lab.inside(Host::A, || UdpSocket::bind((INNER_A[0], 9999)).unwrap());
    let server = server.join().unwrap();
    server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let clients = lab.inside(Host::B, || {
        ["10.99.0.1", INNER_B[0]].map(|source| UdpSocket::bind((source, 0)).unwrap())
    });
    let [stranger, peer] = clients.join().unwrap();
    // The tunnel keeps order: were the stranger's let through, it would come before the peer's.
    let heard = wait_until(BOUND, || {
        stranger.send_to(b"stranger", (INNER_A[0], 9999)).unwrap();
        peer.send_to(b"peer", (INNER_A[0], 9999)).unwrap();
        let mut message = [0; 16];
        server.recv(&mut message).is_ok_and(|n| {
            assert_eq!(&message[..n], b"peer");
            true
        })
    });
    assert!(heard, "the peer's datagram arrives");

    let said = stop(a);
    let counted = said.lines().any(|line| {
        line.contains(DISCARDED)
            && line
                .split_once("source_not_allowed=")
                .is_some_and(|(_, number)| number.starts_with(|digit| matches!(digit, '1'..='9')))
    });
    assert!(counted, "{said}");
}
