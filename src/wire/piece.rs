//! What precedes a frame, or a fragment of one, in the transport data of a tunnel of frames: docs/protocol.md, "Ethernet frames".
//!
//! | bytes | frame | fragment |
//! |---|---|---|
//! | 0 | 1 | 2 |
//! | 1 | 0 | its number, from 0 |
//! | 2, 3 | bytes that follow | bytes that follow |
//! | 4, 5 | | where in the frame they belong |
//! | 6, 7 | | bytes of the whole frame |
//!
//! Numbers are big-endian. The fragments of a frame have consecutive counters, so counter and number name the frame.
//! What comes after the bytes that follow is padding.

/// What transport data has for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A frame of so many bytes.
    Frame(usize),
    /// A part of a frame.
    Fragment(Fragment),
}

/// Which part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// How many fragments come before it.
    pub number: u8,
    /// Bytes of it.
    pub len: u16,
    /// How many bytes of the frame come before it.
    pub offset: u16,
    /// Bytes of the frame.
    pub total: u16,
}

/// Why transport data is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPiece {
    /// The first byte says another kind, which may mean something to a later version.
    Kind,
    /// The numbers contradict each other, or say more than is there.
    Length,
}

/// Bytes before a frame.
pub const FRAME_START: usize = 4;
/// Bytes before a fragment.
pub const FRAGMENT_START: usize = 8;
/// Most fragments of a frame: what their number can say.
pub(crate) const MAX_FRAGMENTS: usize = 256;
/// Most bytes of a frame.
pub const LONGEST_FRAME: usize = u16::MAX as usize;

const FRAME: u8 = 1;
const FRAGMENT: u8 = 2;

/// Whether what transport data starts with says that it is a piece, perhaps a broken one.
#[must_use]
pub(super) fn is_kind(first: u8) -> bool {
    matches!(first, FRAME | FRAGMENT)
}

impl Piece {
    /// Reads what `text`, the opened transport data, starts with; also the bytes themselves, without padding. Any input is
    /// fine.
    ///
    /// # Errors
    /// [`NotPiece`], if it is none.
    pub fn parse(text: &mut [u8]) -> Result<(Self, &mut [u8]), NotPiece> {
        match text {
            [FRAME, 0, high, low, rest @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                let bytes = rest.get_mut(..len).ok_or(NotPiece::Length)?;
                Ok((Self::Frame(len), bytes))
            }
            [FRAGMENT, number, l0, l1, o0, o1, t0, t1, rest @ ..] => {
                let field = |high: &u8, low: &u8| u16::from_be_bytes([*high, *low]);
                let (len, offset, total) = (field(l0, l1), field(o0, o1), field(t0, t1));
                let fragment = Fragment { number: *number, len, offset, total };
                let bytes = rest.get_mut(..usize::from(len)).ok_or(NotPiece::Length)?;
                let end = offset.checked_add(len).ok_or(NotPiece::Length)?;
                if len == 0 || end > total {
                    return Err(NotPiece::Length);
                }
                Ok((Self::Fragment(fragment), bytes))
            }
            [FRAME | FRAGMENT, ..] => Err(NotPiece::Length),
            _ => Err(NotPiece::Kind),
        }
    }

    /// Writes what precedes it to the start of `out`; returns the rest.
    ///
    /// # Panics
    /// If `out` is shorter than [`Piece::start`].
    pub(crate) fn write(self, out: &mut [u8]) -> &mut [u8] {
        let (start, rest) = out.split_at_mut(self.start());
        match self {
            Self::Frame(len) => {
                let [high, low] = (len as u16).to_be_bytes();
                start.copy_from_slice(&[FRAME, 0, high, low]);
            }
            Self::Fragment(Fragment { number, len, offset, total }) => {
                let [[l0, l1], [o0, o1], [t0, t1]] = [len, offset, total].map(u16::to_be_bytes);
                start.copy_from_slice(&[FRAGMENT, number, l0, l1, o0, o1, t0, t1]);
            }
        }
        rest
    }

    /// How many bytes precede it.
    #[must_use]
    fn start(self) -> usize {
        match self {
            Self::Frame(_) => FRAME_START,
            Self::Fragment(_) => FRAGMENT_START,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &[u8]) -> Result<(Piece, Vec<u8>), NotPiece> {
        Piece::parse(&mut text.to_vec()).map(|(piece, bytes)| (piece, bytes.to_vec()))
    }

    #[test]
    fn a_frame_is_as_long_as_it_says_and_the_rest_is_padding() {
        assert_eq!(parsed(&[1, 0, 0, 2, 7, 8, 0, 0]), Ok((Piece::Frame(2), vec![7, 8])));
        assert_eq!(parsed(&[1, 0, 0, 5, 7, 8, 0, 0]), Err(NotPiece::Length));
        assert_eq!(parsed(&[1, 1, 0, 2, 7, 8, 0, 0]), Err(NotPiece::Length));
        assert_eq!(parsed(&[1, 0, 0]), Err(NotPiece::Length));
    }

    #[test]
    fn a_fragment_lies_within_its_frame() {
        let fragment = Fragment { number: 3, len: 2, offset: 0x100, total: 0x102 };
        let text = [2, 3, 0, 2, 1, 0, 1, 2, 7, 8, 9];
        assert_eq!(parsed(&text), Ok((Piece::Fragment(fragment), vec![7, 8])));
        let with = |at: usize, value: u8| {
            let mut text = text;
            text[at] = value;
            parsed(&text)
        };
        assert_eq!(with(3, 4), Err(NotPiece::Length), "more than is there");
        assert_eq!(with(3, 0), Err(NotPiece::Length), "nothing");
        assert_eq!(with(5, 1), Err(NotPiece::Length), "beyond the frame");
        assert_eq!(parsed(&text[..7]), Err(NotPiece::Length));
        assert_eq!(parsed(&[2, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 7]), Err(NotPiece::Length));
    }

    #[test]
    fn other_kinds_are_told_from_broken_ones() {
        for kind in (0..=255).filter(|kind| !matches!(kind, 1 | 2)) {
            assert_eq!(parsed(&[kind, 0, 0, 1, 7, 0, 0, 0, 0]), Err(NotPiece::Kind));
        }
        assert_eq!(parsed(&[]), Err(NotPiece::Kind));
    }

    proptest! {
        #[test]
        fn any_text_is_a_piece_or_none_and_writing_undoes_reading(mut text: Vec<u8>, kind in 0_u8..4) {
            if let Some(first) = text.first_mut() {
                *first = kind;
            }
            if let Ok((piece, bytes)) = parsed(&text) {
                let mut out = vec![0; piece.start() + bytes.len()];
                piece.write(&mut out).copy_from_slice(&bytes);
                prop_assert_eq!(&out, &text[..out.len()]);
            }
        }
    }
}
