//! Packets that wait for a session: bounded, the oldest makes room, and none waits longer than a handshake lasts.

use std::collections::VecDeque;

use super::constants::{MAX_STAGED, REKEY_ATTEMPT_TIME};
use super::time::Instant;

/// Packets in the order they came, each with the time it came.
#[derive(Default)]
pub(crate) struct Staged(VecDeque<(Instant, Vec<u8>)>);

impl Staged {
    /// Adds `packet`; whether the oldest was discarded for it.
    pub(crate) fn push(&mut self, now: Instant, packet: Vec<u8>) -> bool {
        let full = self.0.len() >= MAX_STAGED;
        if full {
            self.0.pop_front();
        }
        self.0.push_back((now, packet));
        full
    }

    /// Takes the oldest packet.
    pub(crate) fn pop(&mut self) -> Option<(Instant, Vec<u8>)> {
        self.0.pop_front()
    }

    /// Puts back what [`Staged::pop`] took.
    pub(crate) fn unpop(&mut self, since: Instant, packet: Vec<u8>) {
        self.0.push_front((since, packet));
    }

    /// Discards what nobody can still be waiting for; how many packets that were.
    pub(crate) fn forget_outdated(&mut self, now: Instant) -> usize {
        let young = |(since, _): &(Instant, _)| now.since(*since) < REKEY_ATTEMPT_TIME;
        let outdated = self.0.iter().take_while(|packet| !young(packet)).count();
        self.0.drain(..outdated);
        outdated
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

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos((1 + seconds) * 1_000_000_000)
    }

    #[test]
    fn the_oldest_of_too_many_makes_room() {
        let mut staged = Staged::default();
        for number in 0..128 {
            assert!(!staged.push(at(0), vec![number]));
        }
        assert!(staged.push(at(0), vec![128]));
        assert_eq!(staged.pop(), Some((at(0), vec![1])));
        assert_eq!(staged.clear(), 127);
        assert!(staged.is_empty());
    }

    #[test]
    fn what_waited_for_90_seconds_is_outdated() {
        let mut staged = Staged::default();
        staged.push(at(0), vec![0]);
        staged.push(at(1), vec![1]);
        assert_eq!(staged.forget_outdated(at(89)), 0);
        assert_eq!(staged.forget_outdated(at(90)), 1);
        assert_eq!(staged.pop(), Some((at(1), vec![1])));
    }

    #[test]
    fn what_is_put_back_is_the_oldest_again() {
        let mut staged = Staged::default();
        staged.push(at(0), vec![0]);
        staged.push(at(1), vec![1]);
        let (since, packet) = staged.pop().unwrap();
        staged.unpop(since, packet);
        assert_eq!(staged.pop(), Some((at(0), vec![0])));
        assert_eq!(staged.pop(), Some((at(1), vec![1])));
    }
}
