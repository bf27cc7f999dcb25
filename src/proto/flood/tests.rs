use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_nanos(1_000_000_000 + millis * 1_000_000)
}

/// Inbound and control together.
#[derive(Default)]
struct Ends {
    strangers: Strangers,
    tally: Tally,
    flood: Flood,
    discarded: u64,
    millis: u64,
}

impl Ends {
    /// Within one batch so many come; whether control is woken.
    fn come(&mut self, handshakes: u64, others: u64) -> bool {
        (0..handshakes).for_each(|_| self.tally.stranger(true, 0));
        (0..others).for_each(|_| self.tally.stranger(false, 0));
        self.tally.finish(at(self.millis), &self.strangers)
    }

    /// In a flood.
    fn flooded() -> Self {
        let mut ends = Self::default();
        assert!(ends.come(1000, 0));
        assert!(ends.flood.begins(at(0), &ends.strangers, 0));
        ends
    }

    /// So many are sent to us in the time of a look, of which as many come as the chances say; what the look finds.
    fn look(&mut self, handshakes: u64, others: u64) -> Option<u64> {
        self.millis += 100;
        if let Some(chances) = self.flood.chances() {
            let pass = |sent: u64, chance: Chance| (sent * u64::from(chance.0)) >> 32;
            let came = [pass(handshakes, chances.handshakes), pass(others, chances.others)];
            self.discarded += handshakes + others - came[0] - came[1];
            self.come(came[0], came[1]);
        } else {
            self.come(handshakes, others);
        }
        self.flood.look(at(self.millis), &self.strangers, self.discarded)
    }

    fn handshakes_pass(&self) -> u32 {
        self.flood.chances().expect("there is a flood").handshakes.0
    }
}

#[test]
fn large_datagrams_are_a_flood_sooner() {
    for (datagrams, flood) in [(111, false), (112, true)] {
        let mut tally = Tally::default();
        (0..datagrams).for_each(|_| tally.stranger(false, 65_507));
        assert_eq!(tally.finish(at(0), &Strangers::default()), flood, "{datagrams}");
    }
}

#[test]
fn strangers_that_take_a_twentieth_of_a_processor_are_a_flood() {
    for (handshakes, others, flood) in
        [(99, 0, false), (100, 0, true), (0, 4999, false), (0, 5000, true), (50, 2500, true)]
    {
        let mut ends = Ends::default();
        assert_eq!(ends.come(handshakes, others), flood, "{handshakes} and {others}");
        assert_eq!(ends.flood.begins(at(0), &ends.strangers, 0), flood);
        assert_eq!(ends.flood.chances().is_some(), flood);
    }
}

#[test]
fn what_comes_in_small_batches_is_added_up_for_a_tenth_of_a_second() {
    let mut slow = Ends::default();
    for _ in 0..100 {
        assert!(!slow.come(9, 0));
        slow.millis += 10;
    }
    let mut fast = Ends::default();
    let woken = (0..10).filter(|_| {
        fast.millis += 9;
        fast.come(10, 0)
    });
    assert_eq!(woken.count(), 1);
}

#[test]
fn control_is_woken_once_for_each_flood() {
    let mut ends = Ends::flooded();
    assert!(!ends.come(1000, 1000));
    assert!(!ends.flood.begins(at(0), &ends.strangers, 0));
    while ends.flood.chances().is_some() {
        ends.look(0, 0);
    }
    assert!(!ends.come(0, 0));
    assert!(ends.come(1000, 1000));
}

#[test]
fn without_a_flood_there_is_nothing_to_look_at() {
    let mut ends = Ends::default();
    assert!(!ends.come(10, 10));
    assert!(!ends.flood.begins(at(0), &ends.strangers, 0));
    assert_eq!(ends.flood.next_look(), None);
    assert_eq!(ends.look(10, 10), None);
    assert_eq!(ends.flood.chances(), None);
}

#[test]
fn in_a_flood_the_next_look_is_a_tenth_of_a_second_away() {
    let mut ends = Ends::flooded();
    assert_eq!(ends.flood.next_look(), Some(at(100)));
    ends.look(0, 0);
    assert_eq!(ends.flood.next_look(), Some(at(200)));
}

#[test]
fn half_of_what_shall_pass_is_not_too_few() {
    for (passed, expected) in [(999, 200), (1000, 100), (2000, 100), (4000, 50)] {
        let mut chance = Chance(100);
        adjust(&mut chance, passed, 2000);
        assert_eq!(chance, Chance(expected), "{passed} passed");
    }
}

#[test]
fn too_many_are_fewer_at_the_next_look_and_too_few_more_by_and_by() {
    let mut ends = Ends::flooded();
    let begun_with = ends.handshakes_pass();
    ends.look(100 * 64 * HANDSHAKES, 0);
    // But for what rounding leaves.
    assert_eq!(ends.handshakes_pass() / 1000, begun_with / 100_000);
    for doubled in [2, 4, 8] {
        ends.look(0, 0);
        assert_eq!(ends.handshakes_pass() / 1000, begun_with * doubled / 100_000);
    }
}

#[test]
fn each_kind_has_its_own_chance() {
    let mut ends = Ends::flooded();
    for _ in 0..20 {
        ends.look(100_000, 10);
    }
    let chances = ends.flood.chances().expect("the flood goes on");
    assert!(chances.handshakes.0 < u32::MAX / 40);
    assert_eq!(chances.others, Chance::ALL);
}

#[test]
fn a_look_that_is_late_allows_for_it() {
    let mut ends = Ends::flooded();
    let begun_with = ends.handshakes_pass();
    ends.millis += 900;
    ends.look(64 * 10 * HANDSHAKES, 0);
    assert_eq!(ends.handshakes_pass(), begun_with);
}

#[test]
fn a_flood_is_over_after_ten_calm_seconds_and_what_was_discarded_is_told() {
    let mut ends = Ends::flooded();
    ends.discarded = 50_000;
    ends.look(0, 0);
    for _ in 0..99 {
        assert_eq!(ends.look(0, 99), None);
    }
    assert_eq!(ends.look(0, 100), None);
    let calm = (1..).find(|_| ends.look(0, 0).is_some());
    assert_eq!(calm, Some(100));
    assert_eq!(ends.flood.chances(), None);
}

#[test]
fn the_end_tells_what_was_discarded_in_this_flood_alone() {
    let mut ends = Ends { discarded: 7, ..Ends::default() };
    ends.come(1000, 0);
    assert!(ends.flood.begins(at(0), &ends.strangers, ends.discarded));
    ends.look(0, 0);
    ends.discarded += 500;
    let told = (0..200).find_map(|_| ends.look(0, 0));
    assert_eq!(told, Some(500));
}

proptest! {
    #[test]
    fn of_any_steady_flood_about_as_much_passes_as_shall(sent in 0..10_000_000u64) {
        let mut ends = Ends::flooded();
        for _ in 0..40 {
            ends.look(sent, 0);
        }
        let passing = (sent * u64::from(ends.handshakes_pass())) >> 32;
        prop_assert!(passing <= HANDSHAKES + HANDSHAKES / 8, "{passing} pass");
        prop_assert!(passing >= HANDSHAKES / 2 - 1 || passing + 1 >= sent, "only {passing} pass");
    }
}
