//! The stations whose frames cross the tunnel: how many there may be behind the peer, how much they may send to groups, and
//! whether one of them is on both sides, which is a loop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::discard::Discard;
use super::time::Instant;
use crate::wire::ethernet::{FrameHeader, Mac};

/// Which frames may cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRules {
    /// Most stations behind the peer.
    pub mac_limit: usize,
    /// Most frames to groups each second, either way; 0 for any number.
    pub broadcast_limit: u32,
    /// Whether frames cross that bridges do not forward.
    pub link_local: bool,
}

impl Default for FrameRules {
    fn default() -> Self {
        Self { mac_limit: 4096, broadcast_limit: 5000, link_local: true }
    }
}

/// One thread's judgement of frames.
#[derive(Default)]
pub(super) struct FrameFilter {
    /// When as many frames to groups as were let through are due, at the rate they may have.
    due: Option<Instant>,
}

impl FrameFilter {
    /// Whether a frame may cross, by its receiver.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        to: Mac,
        rules: &FrameRules,
    ) -> Result<(), Discard> {
        if !to.is_group() {
            return Ok(());
        }
        if to.is_link_local() && !rules.link_local {
            return Err(Discard::LinkLocal);
        }
        let Some(each) = Duration::from_secs(1).checked_div(rules.broadcast_limit) else {
            return Ok(());
        };
        let due = self.due.map_or(now, |due| due.max(now));
        // A second's worth at once.
        if due.since(now) >= Duration::from_secs(1) {
            return Err(Discard::BroadcastLimit);
        }
        self.due = Some(due + each);
        Ok(())
    }
}

/// The stations behind the peer; inbound's.
#[derive(Default)]
pub(super) struct Learned {
    heard: HashMap<Mac, Instant>,
    /// The one heard last, and when that was noted.
    recent: Option<(Mac, Instant)>,
    /// When those not heard any more were looked for last.
    swept: Option<Instant>,
}

impl Learned {
    /// Whether a frame of this station may pass: there are at most `limit` of which one was heard within five minutes.
    pub(super) fn admit(&mut self, now: Instant, from: Mac, limit: usize) -> bool {
        if self.recent.is_some_and(|(mac, at)| mac == from && now.since(at) < NOTED_EVERY) {
            return true;
        }
        let full = !self.heard.contains_key(&from) && self.heard.len() >= limit;
        self.sweep(now, if full { NOTED_EVERY } else { SWEPT_EVERY });
        if full && self.heard.len() >= limit {
            return false;
        }
        self.heard.insert(from, now);
        self.recent = Some((from, now));
        true
    }

    /// How many are known: those heard within five minutes, and those that have become too old within the last one.
    pub(super) fn known(&self) -> usize {
        self.heard.len()
    }

    /// Forgets who was not heard for long; not for each frame of a flood from many addresses.
    fn sweep(&mut self, now: Instant, every: Duration) {
        if self.swept.is_none_or(|swept| now.since(swept) >= every) {
            self.swept = Some(now);
            self.heard.retain(|_, heard| now.since(*heard) < FORGOTTEN_AFTER);
        }
    }
}

/// How long a station is known without a frame of it, as bridges have it (IEEE 802.1Q §8.8.3).
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
const NOTED_EVERY: Duration = Duration::from_secs(1);
/// How often those not heard any more are looked for while there is room.
const SWEPT_EVERY: Duration = Duration::from_secs(60);

/// On which side a station sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Side {
    /// Behind our device.
    Ours = 0,
    /// Behind the peer.
    Theirs = 1,
}

/// On which side each station was heard last: shared by the data threads. It remembers about a thousand of them; one that is
/// forgotten is not seen to move.
pub(crate) struct Sides {
    /// Zero, or a station in the upper 48 bits, [`KNOWN`] and its [`Side`].
    heard: Box<[AtomicU64]>,
    /// The second in which moves began to be counted, and how many there were since.
    moves: AtomicU64,
    /// A station that is on both sides, with [`KNOWN`], until control asks.
    looping: AtomicU64,
}

const KNOWN: u64 = 2;
const SLOTS: usize = 1024;
/// So many moves within so many seconds are a loop; a machine that moves from one site to the other does so once.
const MOVES: u64 = 10;
const WITHIN_SECONDS: u64 = 10;

impl Default for Sides {
    fn default() -> Self {
        let heard = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { heard, moves: AtomicU64::new(0), looping: AtomicU64::new(0) }
    }
}

impl Sides {
    /// Notes that a frame of `station` was heard on this side; whether control must be woken, for a loop.
    pub(super) fn heard(&self, now: Instant, Mac(station): Mac, side: Side) -> bool {
        let [a, b, c, d, e, f] = station;
        let entry = u64::from_be_bytes([a, b, c, d, e, f, 0, 0]) | KNOWN | side as u64;
        // The upper bits of the product depend on all of the address.
        let slot = (entry >> 16).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        let Some(place) = self.heard.get(slot as usize) else { return false };
        let before = place.load(Ordering::Relaxed);
        if before == entry {
            return false;
        }
        place.store(entry, Ordering::Relaxed);
        before ^ entry == 1 && self.moved(now, entry)
    }

    /// Forgets all: the peer is another one.
    pub(super) fn forget(&self) {
        self.heard.iter().for_each(|place| place.store(0, Ordering::Relaxed));
        self.moves.store(0, Ordering::Relaxed);
        self.looping.store(0, Ordering::Relaxed);
    }

    /// A station that is on both sides, if one was found since the last call.
    pub(super) fn take_loop(&self) -> Option<Mac> {
        let entry = self.looping.swap(0, Ordering::Relaxed);
        let [a, b, c, d, e, f, ..] = entry.to_be_bytes();
        (entry != 0).then_some(Mac([a, b, c, d, e, f]))
    }

    fn moved(&self, now: Instant, entry: u64) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        let count = |moves: u64| {
            let (began, count) = (moves >> 16, moves & 0xffff);
            let recent = second.saturating_sub(began) < WITHIN_SECONDS;
            Some(if recent {
                began << 16 | count.saturating_add(1).min(0xffff)
            } else {
                second << 16 | 1
            })
        };
        let before = self.moves.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        let moves = before.ok().and_then(count).unwrap_or_default() & 0xffff;
        moves == MOVES && self.looping.swap(entry, Ordering::Relaxed) == 0
    }
}

/// Reads the addresses of a frame.
pub(super) fn header(frame: &[u8]) -> Result<FrameHeader, Discard> {
    FrameHeader::parse(frame).ok_or(Discard::NotFrame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos((1_000_000 + millis) * 1_000_000)
    }

    fn station(number: u16) -> Mac {
        let [high, low] = number.to_be_bytes();
        Mac([2, 0, 0, 0, high, low])
    }

    const ALL: Mac = Mac([0xff; 6]);

    #[test]
    fn groups_get_as_many_frames_as_the_limit_says_and_stations_any_number() {
        let rules = FrameRules { broadcast_limit: 100, ..FrameRules::default() };
        let mut filter = FrameFilter::default();
        let mut passed = |millis, to| filter.pass(at(millis), to, &rules).is_ok();
        assert_eq!((0..1000).filter(|_| passed(0, ALL)).count(), 100, "at once");
        assert_eq!((0..1000).filter(|_| passed(0, station(1))).count(), 1000);
        // Ten seconds at ten times the rate.
        let over_time = (1..=10_000).filter(|millis| passed(*millis, ALL)).count();
        assert!((999..=1001).contains(&over_time), "{over_time}");
    }

    #[test]
    fn without_a_limit_all_frames_to_groups_pass() {
        let rules = FrameRules { broadcast_limit: 0, ..FrameRules::default() };
        let mut filter = FrameFilter::default();
        assert!((0..100_000).all(|_| filter.pass(at(0), ALL, &rules).is_ok()));
    }

    #[test]
    fn what_bridges_keep_crosses_only_if_it_may() {
        let keeps = Mac([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
        let pass = |link_local| {
            FrameFilter::default().pass(
                at(0),
                keeps,
                &FrameRules { link_local, ..FrameRules::default() },
            )
        };
        assert_eq!(pass(true), Ok(()));
        assert_eq!(pass(false), Err(Discard::LinkLocal));
    }

    #[test]
    fn no_more_stations_are_learned_than_may_be_until_one_is_forgotten() {
        let mut learned = Learned::default();
        for number in 0..10 {
            assert!(learned.admit(at(0), station(number), 10));
        }
        assert!(!learned.admit(at(1000), station(10), 10));
        assert!(learned.admit(at(200_000), station(3), 10));
        assert!(!learned.admit(at(298_000), station(10), 10));
        assert!(learned.admit(at(300_000), station(10), 10));
        assert!(learned.admit(at(300_000), station(3), 10), "heard meanwhile");
        assert_eq!(learned.heard.len(), 2);
    }

    #[test]
    fn a_flood_of_stations_does_not_have_all_of_them_looked_through_each_time() {
        let mut learned = Learned::default();
        (0..10).for_each(|number| assert!(learned.admit(at(0), station(number), 10)));
        assert!(!learned.admit(at(299_500), station(10), 10));
        assert!(!learned.admit(at(300_400), station(11), 10), "looked through 0.9 s ago");
        assert!(learned.admit(at(300_500), station(12), 10));
    }

    #[test]
    fn one_that_is_not_heard_for_long_is_not_counted_though_there_is_room() {
        let mut learned = Learned::default();
        for second in 0..400 {
            learned.admit(at(second * 1000), station(1), 10);
            if second < 30 {
                learned.admit(at(second * 1000 + 500), station(2), 10);
            }
            let expected = if second < 360 { 2 } else { 1 };
            assert_eq!(learned.known(), expected, "after {second} s");
        }
    }

    #[test]
    fn a_station_that_sends_all_the_time_is_not_forgotten() {
        let mut learned = Learned::default();
        for millis in (0..400_000).step_by(100) {
            assert!(learned.admit(at(millis), station(1), 1));
        }
        assert!(!learned.admit(at(400_000), station(2), 1));
    }

    #[test]
    fn one_that_moves_is_no_loop_and_one_that_is_on_both_sides_is() {
        let sides = Sides::default();
        for number in 0..9 {
            assert!(!sides.heard(at(0), station(number), Side::Ours));
        }
        for number in 0..9 {
            assert!(!sides.heard(at(0), station(number), Side::Theirs), "each moves once");
        }
        assert_eq!(sides.take_loop(), None);
        assert!(!sides.heard(at(10_000), station(1), Side::Ours));
        let woken: Vec<_> = (0..100)
            .map(|turn| {
                let side = if turn % 2 == 0 { Side::Theirs } else { Side::Ours };
                sides.heard(at(10_000 + turn), station(1), side)
            })
            .collect();
        assert_eq!(woken.iter().filter(|woken| **woken).count(), 1);
        assert_eq!(sides.take_loop(), Some(station(1)));
        assert_eq!(sides.take_loop(), None);
    }

    #[test]
    fn what_is_forgotten_was_on_no_side() {
        let sides = Sides::default();
        for turn in 0..100 {
            let side = if turn % 2 == 0 { Side::Ours } else { Side::Theirs };
            assert!(!sides.heard(at(0), station(1), side));
            sides.forget();
        }
        assert_eq!(sides.take_loop(), None);
    }
}
