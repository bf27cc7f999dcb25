//! The relay of `tests/bench/relay`: what it does to packets, in virtual time.

#[path = "bench/relay/path.rs"]
mod path;

use std::time::Duration;

use path::{Arrivals, Path, Weather};

const DELAY: Duration = Duration::from_millis(10);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What becomes of so many packets of 1000 bytes, one each millisecond; how late each copy is.
fn fates(weather: Weather, seed: u64, count: u32) -> Vec<Arrivals> {
    let mut path = Path::new(weather, seed);
    let pass = |number| {
        let now = MILLISECOND * number;
        path.pass(now, 1000).map(|arrival| arrival.map(|arrival| arrival - now))
    };
    (0..count).map(pass).collect()
}

/// How many of `fates` are so, of a thousand.
fn per_mille(fates: &[Arrivals], is_so: impl Fn(&Arrivals) -> bool) -> usize {
    fates.iter().filter(|fate| is_so(fate)).count() * 1000 / fates.len()
}

#[test]
fn in_clear_weather_every_packet_arrives_once_after_the_delay() {
    let fates = fates(Weather::clear(DELAY), 1, 1000);
    assert!(fates.iter().all(|fate| *fate == [Some(DELAY), None]));
}

#[test]
fn the_same_seed_gives_the_nth_packet_the_same_fate_whatever_else_the_path_does() {
    let lossy = Weather { loss: 0.1, duplication: 0.1, ..Weather::clear(DELAY) };
    assert_eq!(fates(lossy, 1, 1000), fates(lossy, 1, 1000));
    assert_ne!(fates(lossy, 1, 1000), fates(lossy, 2, 1000));

    let lost = |fates: &[Arrivals]| fates.iter().map(|fate| fate[0].is_none()).collect::<Vec<_>>();
    let other = Weather { duplication: 0.5, reordering: 0.2, jitter: MILLISECOND, ..lossy };
    assert_eq!(lost(&fates(lossy, 1, 1000)), lost(&fates(other, 1, 1000)));
}

#[test]
fn a_turn_of_the_weather_begins_with_the_first_packets_chances_again() {
    let lossy = Weather { loss: 0.5, ..Weather::clear(DELAY) };
    let mut path = Path::new(Weather::clear(DELAY), 7);
    for number in 0..5 {
        path.pass(MILLISECOND * number, 1000);
    }
    path.turn(lossy, 1);
    let now = Duration::from_secs(1);
    let turned: Vec<_> = (0..100).map(|_| path.pass(now, 1000)[0].is_none()).collect();
    let begun: Vec<_> = fates(lossy, 1, 100).iter().map(|fate| fate[0].is_none()).collect();
    assert_eq!(turned, begun);
}

#[test]
fn as_many_packets_are_lost_as_was_asked_for() {
    let fates = fates(Weather { loss: 0.1, ..Weather::clear(DELAY) }, 1, 100_000);
    let lost = per_mille(&fates, |fate| *fate == [None; 2]);
    assert!((95..=105).contains(&lost), "{lost} of 1000");
}

#[test]
fn as_many_packets_arrive_twice_as_was_asked_for() {
    let fates = fates(Weather { duplication: 0.1, ..Weather::clear(DELAY) }, 1, 100_000);
    let doubled = per_mille(&fates, |fate| *fate == [Some(DELAY); 2]);
    assert!((95..=105).contains(&doubled), "{doubled} of 1000");
}

#[test]
fn packets_that_are_held_back_are_overtaken_by_the_others() {
    let held_back = Duration::from_millis(3);
    let weather = Weather { reordering: 0.1, held_back, ..Weather::clear(DELAY) };
    let fates = fates(weather, 1, 100_000);
    let late = per_mille(&fates, |fate| *fate == [Some(DELAY + held_back), None]);
    assert!((95..=105).contains(&late), "{late} of 1000");
    let punctual = per_mille(&fates, |fate| *fate == [Some(DELAY), None]);
    assert!(
        (895..=905).contains(&punctual),
        "{punctual} of 1000: nobody waits for those held back"
    );
}

#[test]
fn jitter_delays_within_its_bound_and_keeps_the_order() {
    let weather = Weather { jitter: MILLISECOND * 5, ..Weather::clear(DELAY) };
    let mut path = Path::new(weather, 1);
    let mut last = Duration::ZERO;
    let mut lateness = Vec::new();
    for number in 0..1000 {
        let now = MILLISECOND * number;
        let [Some(arrival), None] = path.pass(now, 1000) else {
            panic!("packet {number} arrives once");
        };
        assert!(arrival >= last, "packet {number} keeps its place");
        last = arrival;
        lateness.push(arrival - now - DELAY);
    }
    assert!(lateness.iter().all(|late| *late <= MILLISECOND * 5));
    assert!(lateness.iter().any(|late| *late < MILLISECOND));
    assert!(lateness.iter().any(|late| *late > MILLISECOND * 4));
}

#[test]
fn at_a_rate_packets_wait_their_turn_and_those_that_would_wait_too_long_are_lost() {
    // 1000 bytes take a millisecond.
    let weather =
        Weather { rate: Some(8_000_000), queue: MILLISECOND * 3, ..Weather::clear(DELAY) };
    let mut path = Path::new(weather, 1);
    let at_once: Vec<_> = (0..6).map(|_| path.pass(Duration::ZERO, 1000)[0]).collect();
    let after = |turns| Some(DELAY + MILLISECOND * turns);
    assert_eq!(at_once, [after(1), after(2), after(3), after(4), None, None]);

    let later = Duration::from_secs(1);
    assert_eq!(path.pass(later, 500)[0], Some(later + DELAY + MILLISECOND / 2));
}

#[test]
fn packets_larger_than_the_mtu_are_lost_without_taking_a_turn() {
    let weather = Weather { rate: Some(8_000_000), mtu: 1280, ..Weather::clear(DELAY) };
    let mut path = Path::new(weather, 1);
    assert_eq!(path.pass(Duration::ZERO, 1281), [None; 2]);
    assert_eq!(path.pass(Duration::ZERO, 1280)[0], Some(DELAY + Duration::from_micros(1280)));
}
