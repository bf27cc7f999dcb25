//! The path between the ends: latency, and whatever weather and partitions there are at the moment.

use std::time::Duration;

use crate::host::Datagram;
use crate::scenario::{Action, Side};
use crate::weather::{Dice, Weather};

pub struct Wire {
    latency: Duration,
    /// Of what each side sends.
    ways: [Way; 2],
}

struct Way {
    weather: Weather,
    altered: u64,
}

impl Wire {
    pub fn new(latency: Duration, seed: u64) -> Self {
        let way = |side| {
            let dice = Dice::new(seed ^ (side as u64 + 1) << 32);
            Way { weather: Weather { dice, lost: 0, doubled: 0, late: Duration::ZERO }, altered: 0 }
        };
        Self { latency, ways: Side::BOTH.map(way) }
    }

    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// From now on exactly these faults act on the path.
    pub fn set<'s>(&mut self, faults: impl Iterator<Item = &'s Action> + Clone) {
        for (side, way) in Side::BOTH.into_iter().zip(&mut self.ways) {
            let Way { weather, altered } = way;
            (weather.lost, weather.doubled, weather.late, *altered) = (0, 0, Duration::ZERO, 0);
            for fault in faults.clone() {
                match *fault {
                    Action::Partition { from } if from.is_none_or(|from| from == side) => {
                        weather.lost = 100;
                    }
                    Action::Weather { from, lost, doubled, altered: more, late }
                        if from == side =>
                    {
                        weather.lost = weather.lost.max(lost);
                        weather.doubled = weather.doubled.max(doubled);
                        weather.late = weather.late.max(late);
                        *altered = more.max(*altered);
                    }
                    _ => {}
                }
            }
        }
    }

    /// What arrives of `datagram`, which `from` sends, and how much later.
    pub fn carry(&mut self, from: Side, datagram: &Datagram) -> Vec<(Duration, Datagram)> {
        let Way { weather, altered } = &mut self.ways[from as usize];
        let delays = weather.delays();
        let arrives = |delay| {
            let mut copy = datagram.clone();
            if weather.dice.below(100) < *altered {
                alter(&mut weather.dice, &mut copy.bytes);
            }
            (self.latency + delay, copy)
        };
        delays.into_iter().map(arrives).collect()
    }
}

/// Flips a bit of `bytes`, or makes them shorter or longer.
pub fn alter(dice: &mut Dice, bytes: &mut Vec<u8>) {
    match dice.below(4) {
        0 => bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize),
        1 => {
            let more = 1 + dice.below(64) as usize;
            bytes.extend(dice.bytes(more));
        }
        _ => {
            let bit = dice.below(bytes.len().max(1) as u64 * 8) as usize;
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }
}
