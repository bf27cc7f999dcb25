//! What a receiver holds of frames that are not complete, as docs/protocol.md has it: the reference.

use std::collections::VecDeque;

const MOST_FRAMES: usize = 64;
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// The receiver's index of the session, and the counter of fragment 0.
pub(crate) type Name = (u32, u64);

/// The frames, the oldest first, each with its length and what is known of it.
#[derive(Default)]
pub(crate) struct Incomplete<T> {
    frames: VecDeque<(Name, usize, T)>,
    /// How many were forgotten.
    pub(crate) forgotten: u64,
}

impl<T: Default> Incomplete<T> {
    /// What is known of the frame of this name and length. For a new one the oldest make room; one that has another
    /// length is forgotten.
    pub(crate) fn of(&mut self, name: Name, len: usize) -> Option<&mut T> {
        let known = self.frames.iter().position(|(other, ..)| *other == name);
        let at = known.unwrap_or_else(|| {
            while self.frames.len() == MOST_FRAMES || self.bytes() + len > MOST_BYTES {
                self.forget(0);
            }
            self.frames.push_back((name, len, T::default()));
            self.frames.len() - 1
        });
        if self.frames[at].1 != len {
            self.forget(at);
            return None;
        }
        Some(&mut self.frames[at].2)
    }

    /// The frame of this name is complete.
    pub(crate) fn remove(&mut self, name: Name) {
        self.frames.retain(|(other, ..)| *other != name);
    }

    /// Only sessions of these indices go on.
    pub(crate) fn keep(&mut self, sessions: &[u32]) {
        let before = self.frames.len();
        self.frames.retain(|((session, _), ..)| sessions.contains(session));
        self.forgotten += (before - self.frames.len()) as u64;
    }

    fn bytes(&self) -> usize {
        self.frames.iter().map(|(_, len, _)| len).sum()
    }

    fn forget(&mut self, at: usize) {
        self.frames.remove(at);
        self.forgotten += 1;
    }
}
