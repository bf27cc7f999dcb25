//! What is to happen, and when.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use tunneld::proto::Instant;

use crate::host::Datagram;
use crate::scenario::Side;

#[derive(Clone, Debug)]
pub enum Happening {
    Arrives(Datagram),
    /// The device of this side hands over a packet, and again each interval of that time.
    Ticks(Side, Duration),
    /// The step of this number begins.
    Begins(usize),
    /// The step of this number is over.
    Ends(usize),
    /// One of the reasons why this side is asleep is over, and it was deaf for that reason.
    Awakes(Side, bool),
    /// This side's daemon begins its work.
    Starts(Side),
    /// This side gets the answer where the other one is.
    Resolves(Side),
    /// All faults are over.
    Calm,
}

/// In the order of time; of one moment, in the order in which it was added.
#[derive(Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<Due>>,
    added: u64,
}

struct Due {
    at: Instant,
    number: u64,
    what: Happening,
}

impl Agenda {
    pub fn add(&mut self, at: Instant, what: Happening) {
        self.added += 1;
        self.heap.push(Reverse(Due { at, number: self.added, what }));
    }

    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(due)| due.at)
    }

    pub fn take(&mut self) -> Option<(Instant, Happening)> {
        self.heap.pop().map(|Reverse(due)| (due.at, due.what))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
