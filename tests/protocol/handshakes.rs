//! Handshakes in both roles.

use std::time::Duration;

use tunneld::proto::{Event, Role};

use crate::link::{Link, packet};

#[test]
fn a_handshake_completes_in_one_round_trip() {
    let mut link = Link::new();
    link.a_sends(&packet(1, 2, b"hello"));
    link.run(Duration::from_millis(31));
    assert_eq!(link.b.delivered, [packet(1, 2, b"hello")]);
    let completed = |events: &[Event], wanted| {
        events
            .iter()
            .any(|event| matches!(event, Event::HandshakeCompleted { role, .. } if *role == wanted))
    };
    assert!(completed(&link.a.events, Role::Initiator));
    assert!(completed(&link.b.events, Role::Responder));
    link.b_sends(&packet(2, 1, b"and back"));
    link.run(Duration::from_millis(11));
    assert_eq!(link.a.delivered, [packet(2, 1, b"and back")]);
}
