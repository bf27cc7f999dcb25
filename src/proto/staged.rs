//! Packets that wait for a session: bounded, the oldest makes room.

use std::collections::VecDeque;

use super::constants::MAX_STAGED;

/// Packets in the order they came.
#[derive(Default)]
pub(crate) struct Staged(VecDeque<Vec<u8>>);

impl Staged {
    /// Adds `packet`; whether the oldest was discarded for it.
    pub(crate) fn push(&mut self, packet: Vec<u8>) -> bool {
        let full = self.0.len() >= MAX_STAGED;
        if full {
            self.0.pop_front();
        }
        self.0.push_back(packet);
        full
    }

    /// Takes the oldest packet.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        self.0.pop_front()
    }

    /// Puts back what [`Staged::pop`] took.
    pub(crate) fn unpop(&mut self, packet: Vec<u8>) {
        self.0.push_front(packet);
    }

    /// Discards all; how many there were.
    pub(crate) fn clear(&mut self) -> usize {
        let staged = self.0.len();
        self.0.clear();
        staged
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_too_many_makes_room() {
        let mut staged = Staged::default();
        for number in 0..128 {
            assert!(!staged.push(vec![number]));
        }
        assert!(staged.push(vec![128]));
        assert_eq!(staged.pop(), Some(vec![1]));
        assert_eq!(staged.clear(), 127);
        assert!(staged.is_empty());
    }
}
