//! The replay window: which counters of a session were seen (RFC 6479).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::constants::REJECT_AFTER_MESSAGES;

/// Bits of the ring.
const BITS: u64 = 8192;
/// Bits of one word of it.
const WORD: u64 = u64::BITS as u64;
/// Words of the ring.
const WORDS: u64 = BITS / WORD;
/// How far behind the greatest counter one may be, as in the kernel: one word of the ring is being filled.
pub(crate) const WINDOW: u64 = BITS - WORD;

/// What the counters of authentic transport data tell of the way it came. A number over all sessions is the sum of theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Counters that the peer has used: all up to the greatest that arrived.
    pub expected: u64,
    /// Those of them that arrived.
    pub accepted: u64,
    /// Those that arrived after a greater one.
    pub reordered: u64,
}

impl Arrivals {
    /// What has not arrived: lost, or still on its way.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.accepted)
    }

    /// Counts one that arrived when the greatest counter was just below `before`, and now is just below `after`.
    fn count(&mut self, before: u64, after: u64) {
        let ahead = after.saturating_sub(before);
        self.expected = self.expected.saturating_add(ahead);
        self.accepted = self.accepted.saturating_add(1);
        self.reordered = self.reordered.saturating_add(u64::from(ahead == 0));
    }
}

/// Accepts each counter once. Only counters of authentic packets may be shown to it.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReplayWindow {
    /// The first counter greater than all accepted ones.
    end: u64,
    seen: [u64; WORDS as usize],
}

impl ReplayWindow {
    /// Whether `counter` is new; from now on it is not. One further behind than `WINDOW` counts as
    /// seen, and so does one that no session may use.
    pub fn accept(&mut self, counter: u64) -> bool {
        if counter >= REJECT_AFTER_MESSAGES || counter.saturating_add(WINDOW + 1) < self.end {
            return false;
        }
        if counter >= self.end {
            self.advance(counter);
        }
        let bit = 1 << (counter % WORD);
        let word = self.word(counter / WORD);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// The same, counted in `arrivals` if it is new.
    pub(crate) fn accept_counted(&mut self, counter: u64, arrivals: &mut Arrivals) -> bool {
        let before = self.end;
        let new = self.accept(counter);
        if new {
            arrivals.count(before, self.end);
        }
        new
    }

    /// Clears the words between the greatest counter so far and `counter`, which becomes the greatest.
    fn advance(&mut self, counter: u64) {
        let first = self.end.div_ceil(WORD);
        let last = counter / WORD;
        for word in (first..=last).take(WORDS as usize) {
            *self.word(word) = 0;
        }
        self.end = counter.saturating_add(1);
    }

    #[expect(clippy::indexing_slicing, reason = "no number modulo `WORDS` is past the end")]
    fn word(&mut self, number: u64) -> &mut u64 {
        &mut self.seen[(number % WORDS) as usize]
    }
}

impl Default for ReplayWindow {
    /// A window that has seen nothing.
    fn default() -> Self {
        Self { end: 0, seen: [0; WORDS as usize] }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A window, then (counter, accepted) one after the other.
    fn check(steps: impl IntoIterator<Item = (u64, bool)>) {
        let mut window = ReplayWindow::default();
        for (number, (counter, expected)) in steps.into_iter().enumerate() {
            assert_eq!(window.accept(counter), expected, "step {number}: counter {counter}");
        }
    }

    #[test]
    fn each_counter_is_accepted_once() {
        check([(0, true), (1, true), (1, false), (9, true), (8, true), (7, true), (7, false)]);
        check([(8, true), (7, true), (7, false), (0, true), (0, false), (8, false)]);
    }

    #[test]
    fn what_lies_behind_the_window_is_refused() {
        check([(WINDOW, true), (0, true), (0, false)]);
        check([(WINDOW + 1, true), (0, false), (1, true), (1, false)]);
        check([(16_384, true), (16_384 - WINDOW, true), (16_383 - WINDOW, false), (1, false)]);
        check([(8128, true), (0, true), (8129, true), (1, true), (8131, true), (2, false)]);
    }

    #[test]
    fn a_jump_forgets_what_it_leaves_behind() {
        check([(0, true), (BITS, true), (BITS - 1, true), (BITS * 5, true), (BITS * 5 - 1, true)]);
        check([(5, true), (BITS + 5, true), (BITS + 4, true), (5 + WORD, true), (5, false)]);
    }

    #[test]
    fn the_last_counters_of_a_session_do_not_wrap() {
        check([
            (REJECT_AFTER_MESSAGES - 1, true),
            (REJECT_AFTER_MESSAGES - 1, false),
            (REJECT_AFTER_MESSAGES, false),
            (u64::MAX, false),
            (REJECT_AFTER_MESSAGES - 2, true),
            (0, false),
        ]);
    }

    #[test]
    fn a_window_filled_in_any_order_refuses_all_of_it_afterwards() {
        let forward: Vec<_> = (0..=WINDOW).collect();
        let backward: Vec<_> = forward.iter().rev().copied().collect();
        for order in [forward, backward] {
            let once = order.iter().map(|&counter| (counter, true));
            let twice = order.iter().map(|&counter| (counter, false));
            check(once.chain(twice));
        }
    }

    #[test]
    fn what_is_lost_late_or_doubled_is_told_by_the_counters() {
        let mut arrivals = Arrivals::default();
        // Two sessions, as after a rekey: of the first 1 and 4 are lost, 2 is late, 3 comes twice; of the second 0 is lost.
        for counters in [&[0, 3, 2, 3, 5][..], &[1, 2]] {
            let mut window = ReplayWindow::default();
            for &counter in counters {
                window.accept_counted(counter, &mut arrivals);
            }
        }
        assert_eq!(arrivals, Arrivals { expected: 9, accepted: 6, reordered: 1 });
        assert_eq!(arrivals.lost(), 3);
    }

    #[test]
    fn what_was_late_is_not_lost() {
        let (mut window, mut arrivals) = (ReplayWindow::default(), Arrivals::default());
        window.accept_counted(1, &mut arrivals);
        assert_eq!(arrivals.lost(), 1);
        window.accept_counted(0, &mut arrivals);
        assert_eq!((arrivals.lost(), arrivals.reordered), (0, 1));
    }

    proptest! {
        #[test]
        fn the_window_equals_a_set(
            steps in proptest::collection::vec(
                prop_oneof![0..20_000u64, 8000..8400u64, 0..200u64], 1..600,
            ),
        ) {
            let mut window = ReplayWindow::default();
            let mut set = BTreeSet::new();
            for counter in steps {
                let greatest = set.last().copied().unwrap_or(0);
                let expected = counter + 8128 >= greatest && set.insert(counter);
                prop_assert_eq!(window.accept(counter), expected);
            }
        }
    }
}
