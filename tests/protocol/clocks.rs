//! Two clocks: one counts suspend and decides everything, the other may say what it likes.

use std::time::Duration;

use tunneld::proto::{Discard, Timer};

use crate::link::{Link, millis, packet, secs};
use crate::paper::{DATA, INITIATION};

#[test]
fn after_a_suspend_no_expired_key_is_used_and_a_fresh_handshake_follows() {
    for asleep in [secs(200), secs(600), secs(100_000)] {
        let mut link = Link::established();
        link.run(secs(20));
        let data = link.sent(link.a.address, DATA);
        link.clock.advance(asleep);
        link.a_sends(&packet(1, 2, b"awake"));
        assert_eq!(link.sent(link.a.address, DATA), data, "after {asleep:?}");
        assert_eq!(link.sent(link.a.address, INITIATION), 2);
        link.run(secs(1));
        assert_eq!(link.b.delivered, [packet(1, 2, b"awake")]);
    }
}

#[test]
fn after_a_short_suspend_the_session_goes_on() {
    let mut link = Link::established();
    link.run(secs(20));
    link.clock.advance(secs(60));
    link.a_sends(&packet(1, 2, b"awake"));
    link.run(millis(11));
    assert_eq!(link.b.delivered, [packet(1, 2, b"awake")]);
}

#[test]
fn what_was_received_before_a_suspend_is_refused_after_it() {
    let mut link = Link::established();
    link.a_sends(&packet(1, 2, b"on its way"));
    let late = link.hold();
    link.clock.advance(secs(180));
    assert_eq!(link.inject(&late[0]), Some(Discard::SessionEnded));
}

#[test]
fn handshakes_go_on_with_a_wall_clock_that_goes_anywhere() {
    let ten_years = secs(10 * 365 * 86_400);
    let mut link = Link::established();
    let start = link.clock.unix;
    let walls = [
        start - secs(3600),
        start + ten_years,
        start,
        Duration::ZERO,
        secs(u64::from(u32::MAX) * 4),
        start,
    ];
    for (done, wall) in walls.into_iter().enumerate() {
        link.run(secs(121));
        link.clock.unix = wall;
        link.a_sends(&packet(1, 2, b"rekeys"));
        link.run(secs(1));
        assert_eq!(link.a.completed(), done + 2, "at {wall:?}");
        assert_eq!(link.b.completed(), done + 2, "at {wall:?}");
    }
}

#[test]
fn no_deadline_follows_the_wall_clock() {
    let mut link = Link::established();
    link.a_sends(&packet(1, 2, b"data"));
    let before: Option<(_, Timer)> = link.a.next_timeout();
    link.clock.unix += secs(1_000_000);
    let leaving = link.a.handle_timeout(&link.clock);
    assert!(leaving.is_empty());
    assert_eq!(link.a.next_timeout(), before);
    link.clock.unix = Duration::ZERO;
    link.run(secs(100));
    assert_eq!(link.sent(link.a.address, INITIATION), 1);
}

#[test]
fn a_host_that_restarts_with_a_good_clock_is_accepted() {
    let mut link = Link::established();
    link.restart_a();
    link.a_sends(&packet(1, 2, b"back again"));
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet(1, 2, b"back again")]);
}

#[test]
fn a_host_that_restarts_with_its_clock_set_back_waits_for_the_clock() {
    let mut link = Link::established();
    link.restart_a();
    link.clock.unix -= secs(30);
    for _ in 0..20 {
        link.a_sends(&packet(1, 2, b"old timestamps"));
        link.run(secs(1));
    }
    assert!(link.b.delivered.is_empty());
    assert!(link.b.discards(Discard::InitiationReplayed) >= 3);
    link.run(secs(20));
    assert!(!link.b.delivered.is_empty());
}

#[test]
fn a_host_that_kept_its_last_timestamp_is_accepted_whatever_its_clock_says_after_a_restart() {
    for behind in [secs(30), secs(86_400), link_age()] {
        let mut link = Link::established();
        link.restart_a_with_its_state();
        link.clock.unix -= behind;
        link.a_sends(&packet(1, 2, b"from the past"));
        link.run(secs(1));
        assert_eq!(link.b.delivered, [packet(1, 2, b"from the past")], "{behind:?} behind");
    }
}

/// As long as the wall clock has run: back to 1970.
fn link_age() -> Duration {
    crate::link::WALL_START
}
