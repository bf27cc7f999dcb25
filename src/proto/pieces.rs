//! Frames as they lie in transport data: whole, or in fragments that each fit into a datagram of the path.

use crate::wire::Superpacket;
use crate::wire::piece::{
    FRAGMENT_START, FRAME_START, Fragment, LONGEST_FRAME, MAX_FRAGMENTS, Piece,
};

/// The segments of a superpacket, each a whole frame with what precedes it.
pub(super) struct Whole<'p, P>(pub(super) &'p P);

impl<P: Superpacket> Superpacket for Whole<'_, P> {
    fn header(&self) -> &[u8] {
        self.0.header()
    }

    fn count(&self) -> usize {
        self.0.count()
    }

    fn segment_size(&self) -> usize {
        self.0.segment_size().saturating_add(FRAME_START)
    }

    fn last_size(&self) -> usize {
        self.0.last_size().saturating_add(FRAME_START)
    }

    fn write_segment(&self, index: usize, out: &mut [u8]) {
        let len = out.len().saturating_sub(FRAME_START);
        self.0.write_segment(index, Piece::Frame(len).write(out));
    }
}

/// The fragments of one frame: all equally long but the last.
pub(super) struct Fragments<'f> {
    frame: &'f [u8],
    /// Bytes of the frame in each but the last.
    size: usize,
    count: usize,
}

impl<'f> Fragments<'f> {
    /// Of a frame, if no transport data may have more than `longest` bytes of text; `None` if that cannot be.
    pub(super) fn new(frame: &'f [u8], longest: usize) -> Option<Self> {
        let room = longest.checked_sub(FRAGMENT_START).filter(|room| *room > 0)?;
        let least = frame.len().div_ceil(room).max(1);
        // Equal shares leave no datagram nearly empty, and those that are padded to sixteen leave no room unused.
        let share = frame.len().div_ceil(least).saturating_add(FRAGMENT_START);
        let size = share.next_multiple_of(16).min(longest).saturating_sub(FRAGMENT_START);
        let count = frame.len().div_ceil(size);
        let fits = frame.len() <= LONGEST_FRAME && (1..=MAX_FRAGMENTS).contains(&count);
        fits.then_some(Self { frame, size, count })
    }
}

impl Superpacket for Fragments<'_> {
    fn header(&self) -> &[u8] {
        self.frame
    }

    fn count(&self) -> usize {
        self.count
    }

    fn segment_size(&self) -> usize {
        if self.count > 1 { self.size.saturating_add(FRAGMENT_START) } else { self.last_size() }
    }

    fn last_size(&self) -> usize {
        let before = self.count.saturating_sub(1).saturating_mul(self.size);
        self.frame.len().saturating_sub(before).saturating_add(FRAGMENT_START)
    }

    fn write_segment(&self, index: usize, out: &mut [u8]) {
        let offset = index.saturating_mul(self.size);
        let bytes = self.frame.chunks(self.size).nth(index).unwrap_or_default();
        let fragment = Fragment {
            number: index as u8,
            len: bytes.len() as u16,
            offset: offset as u16,
            total: self.frame.len() as u16,
        };
        Piece::Fragment(fragment).write(out).copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(pieces: &impl Superpacket) -> Vec<Vec<u8>> {
        let text = |index| {
            let mut text = vec![0xcc; pieces.size_of(index)];
            pieces.write_segment(index, &mut text);
            text
        };
        (0..pieces.count()).map(text).collect()
    }

    #[test]
    fn a_whole_frame_follows_its_length() {
        let frame = &[7_u8; 300][..];
        let [text] = &texts(&Whole(&frame))[..] else { panic!("one frame") };
        assert_eq!(text[..4], [1, 0, 1, 44]);
        assert_eq!(text[4..], [7; 300]);
    }

    #[test]
    fn a_full_frame_becomes_two_fragments_of_one_length_on_a_path_of_1500_bytes() {
        let frame = [7_u8; 1514];
        let texts = texts(&Fragments::new(&frame, 1420).unwrap());
        assert_eq!(texts.iter().map(Vec::len).collect::<Vec<_>>(), [768, 762]);
    }

    #[test]
    fn no_fragments_are_made_where_they_cannot_be() {
        assert!(Fragments::new(&[7; 100], 8).is_none());
        assert!(Fragments::new(&[7; 300], 9).is_none(), "more than 256");
        assert!(Fragments::new(&[7; 256], 9).is_some());
        assert!(Fragments::new(&[7; 65_536], 1420).is_none(), "a length that no field can say");
        assert!(Fragments::new(&[], 1420).is_none());
    }

    proptest! {
        #[test]
        fn fragments_fit_the_path_and_are_the_frame_again(len in 1_usize..65_536, longest in 300_usize..9000) {
            let frame: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut joined = Vec::new();
            for (number, mut text) in texts(&Fragments::new(&frame, longest).unwrap()).into_iter().enumerate() {
                prop_assert!(text.len() <= longest);
                let (Piece::Fragment(fragment), bytes) = Piece::parse(&mut text).unwrap() else {
                    panic!("a fragment");
                };
                prop_assert_eq!(usize::from(fragment.number), number);
                prop_assert_eq!(usize::from(fragment.offset), joined.len());
                prop_assert_eq!(usize::from(fragment.total), len);
                joined.extend_from_slice(bytes);
            }
            prop_assert_eq!(joined, frame);
        }
    }
}
