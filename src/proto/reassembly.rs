//! Fragments back to frames. A frame whose fragments do not all come is forgotten when others need its place, or its
//! session ends.

use std::collections::VecDeque;

use crate::wire::piece::Fragment;

/// Frames that may be incomplete at once, and the bytes that they may have together.
const MOST_FRAMES: usize = 64;
const MOST_BYTES: usize = 1 << 20;

/// Frames of which some fragments are here, the oldest first. Only what was opened comes here, each fragment once: the
/// replay window sees to that.
#[derive(Default)]
pub(super) struct Reassembly {
    incomplete: VecDeque<Incomplete>,
    /// Bytes of all these frames.
    bytes: usize,
    /// The frame that was completed last; its memory is used for another one.
    complete: Vec<u8>,
    forgotten: u64,
}

struct Incomplete {
    name: Name,
    frame: Vec<u8>,
    /// Bytes that have not come yet.
    missing: usize,
}

/// Which frame: the session, by its local index, and the counter of fragment 0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name(u32, u64);

impl Reassembly {
    /// Takes a fragment that came in the session of this local index with this counter; whether it completed its
    /// [frame](Self::frame).
    pub(super) fn add(
        &mut self,
        session: u32,
        counter: u64,
        fragment: Fragment,
        bytes: &[u8],
    ) -> bool {
        let name = Name(session, counter.wrapping_sub(fragment.number.into()));
        let total = usize::from(fragment.total);
        let place = self.incomplete.iter().rposition(|incomplete| incomplete.name == name);
        let place = place.unwrap_or_else(|| self.begin(name, total));
        let Some(incomplete) = self.incomplete.get_mut(place) else { return false };
        let at = usize::from(fragment.offset);
        // Both fail only if the peer contradicts itself.
        let fits = incomplete.frame.len() == total;
        let slot = incomplete.frame.get_mut(at..at.saturating_add(bytes.len()));
        let Some(slot) = slot.filter(|_| fits) else {
            self.forget(place);
            return false;
        };
        slot.copy_from_slice(bytes);
        incomplete.missing = incomplete.missing.saturating_sub(bytes.len());
        if incomplete.missing > 0 {
            return false;
        }
        if let Some(done) = self.incomplete.remove(place) {
            self.bytes = self.bytes.saturating_sub(done.frame.len());
            self.complete = done.frame;
        }
        true
    }

    /// The frame that was completed last.
    pub(super) fn frame(&mut self) -> &mut [u8] {
        &mut self.complete
    }

    /// Forgets the fragments of sessions that have ended: nothing can complete their frames any more.
    pub(super) fn keep(&mut self, goes_on: impl Fn(u32) -> bool) {
        let ended = |incomplete: &Incomplete| !goes_on(incomplete.name.0);
        while let Some(place) = self.incomplete.iter().position(ended) {
            self.forget(place);
        }
    }

    /// How many incomplete frames were forgotten, since the last call.
    pub(super) fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    fn begin(&mut self, name: Name, total: usize) -> usize {
        while self.incomplete.len() >= MOST_FRAMES || self.bytes.saturating_add(total) > MOST_BYTES
        {
            self.forget(0);
        }
        let mut frame = std::mem::take(&mut self.complete);
        frame.clear();
        // What is not counted is not held: a short frame would keep the room of a long one, or grow to twice its own.
        frame.shrink_to(total);
        frame.reserve_exact(total);
        // Zeros: what an earlier frame left there is not the peer's to place.
        frame.resize(total, 0);
        self.bytes = self.bytes.saturating_add(total);
        self.incomplete.push_back(Incomplete { name, frame, missing: total });
        self.incomplete.len().saturating_sub(1)
    }

    fn forget(&mut self, place: usize) {
        if let Some(incomplete) = self.incomplete.remove(place) {
            self.bytes = self.bytes.saturating_sub(incomplete.frame.len());
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::pieces::Fragments;
    use crate::wire::Superpacket;
    use crate::wire::piece::Piece;

    /// The fragments of a frame, sealed from `counter` on, as they are added.
    fn fragments(frame: &[u8], longest: usize, counter: u64) -> Vec<(u64, Fragment, Vec<u8>)> {
        let fragments = Fragments::new(frame, longest).unwrap();
        let each = |index| {
            let mut text = vec![0; fragments.size_of(index)];
            fragments.write_segment(index, &mut text);
            let (Piece::Fragment(fragment), bytes) = Piece::parse(&mut text).unwrap() else {
                panic!("a fragment");
            };
            (counter + index as u64, fragment, bytes.to_vec())
        };
        (0..fragments.count()).map(each).collect()
    }

    fn add_all(reassembly: &mut Reassembly, all: &[(u64, Fragment, Vec<u8>)]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for (counter, fragment, bytes) in all {
            if reassembly.add(1, *counter, *fragment, bytes) {
                frames.push(reassembly.frame().to_vec());
            }
        }
        frames
    }

    #[test]
    fn memory_stays_bounded_whatever_is_begun_and_never_ended() {
        let mut reassembly = Reassembly::default();
        for counter in 0..10_000_u64 {
            let total = if counter % 3 == 0 { 65_535 } else { 3000 };
            let fragment = Fragment { number: 0, len: 10, offset: 0, total };
            assert!(!reassembly.add(1, counter * 300, fragment, &[7; 10]));
            assert!(reassembly.incomplete.len() <= MOST_FRAMES && reassembly.bytes <= MOST_BYTES);
            let held: usize = reassembly.incomplete.iter().map(|one| one.frame.len()).sum();
            assert_eq!(held, reassembly.bytes);
        }
        let left = reassembly.incomplete.len() as u64;
        assert_eq!(reassembly.take_forgotten(), 10_000 - left);
        assert_eq!(reassembly.take_forgotten(), 0);
    }

    #[test]
    fn short_frames_do_not_keep_the_room_of_long_ones() {
        let mut reassembly = Reassembly::default();
        for counter in 0..MOST_FRAMES as u64 {
            let [long, short] =
                [60_000, 30].map(|total| fragments(&vec![7; total], 65_000, 0)[0].clone());
            assert!(reassembly.add(1, 1000 * counter, long.1, &long.2));
            let first_half = Fragment { len: 15, ..short.1 };
            assert!(!reassembly.add(1, 1000 * counter + 1, first_half, &short.2[..15]));
        }
        let held: usize = reassembly.incomplete.iter().map(|one| one.frame.capacity()).sum();
        assert_eq!(held, reassembly.bytes);
    }

    #[test]
    fn a_session_that_ends_takes_its_fragments_along() {
        let mut reassembly = Reassembly::default();
        for session in [1, 2, 1] {
            let (_, fragment, bytes) = fragments(&[7; 2000], 1420, 0).swap_remove(0);
            reassembly.add(session, reassembly.bytes as u64, fragment, &bytes);
        }
        reassembly.keep(|session| session == 2);
        assert_eq!((reassembly.take_forgotten(), reassembly.bytes), (2, 2000));
    }

    #[test]
    fn fragments_of_two_sessions_are_not_mixed() {
        let mut reassembly = Reassembly::default();
        let [first, second] = [[1_u8; 2000], [2; 2000]].map(|frame| fragments(&frame, 1420, 5));
        let add =
            |reassembly: &mut Reassembly, session, (counter, fragment, bytes): &(_, _, Vec<u8>)| {
                reassembly.add(session, *counter, *fragment, bytes)
            };
        assert!(!add(&mut reassembly, 1, &first[0]));
        assert!(!add(&mut reassembly, 2, &second[1]));
        assert!(add(&mut reassembly, 1, &first[1]));
        assert_eq!(reassembly.frame(), [1; 2000]);
        assert!(add(&mut reassembly, 2, &second[0]));
        assert_eq!(reassembly.frame(), [2; 2000]);
    }

    #[test]
    fn a_frame_of_two_lengths_is_forgotten() {
        let mut reassembly = Reassembly::default();
        let fragment = Fragment { number: 0, len: 4, offset: 0, total: 8 };
        assert!(!reassembly.add(1, 9, fragment, &[7; 4]));
        let other = Fragment { number: 1, len: 4, offset: 4, total: 9 };
        assert!(!reassembly.add(1, 10, other, &[7; 4]));
        assert_eq!((reassembly.take_forgotten(), reassembly.bytes), (1, 0));
    }

    #[test]
    fn what_did_not_come_is_zero_even_if_the_peer_says_it_came() {
        let mut reassembly = Reassembly::default();
        add_all(&mut reassembly, &fragments(&[7; 3000], 1420, 0));
        // Twice the same half.
        for number in 0..2 {
            let fragment = Fragment { number, len: 4, offset: 0, total: 8 };
            reassembly.add(1, 100 + u64::from(number), fragment, &[1; 4]);
        }
        assert_eq!(reassembly.frame(), [1, 1, 1, 1, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_in_whatever_order_their_fragments_come(
            lens in proptest::collection::vec(1500_usize..9100, 1..8),
            longest in 600_usize..1500,
            order in any::<u64>(),
        ) {
            let frames: Vec<Vec<u8>> =
                lens.iter().enumerate().map(|(at, len)| vec![at as u8 + 1; *len]).collect();
            let mut all = Vec::new();
            for frame in &frames {
                all.extend(fragments(frame, longest, all.len() as u64));
            }
            let key = |at: u64| (at ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            all.sort_by_key(|(counter, ..)| key(*counter));
            let mut reassembly = Reassembly::default();
            let mut out = add_all(&mut reassembly, &all);
            out.sort();
            prop_assert_eq!(out, frames);
            prop_assert_eq!(reassembly.bytes, 0);
        }
    }
}
