//! Randomness that a test can repeat, and a path that loses, doubles and reorders by it.

use std::time::Duration;

/// A small seeded generator (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.roll() >> 11) % end
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll().to_be_bytes()[0]).collect()
    }
}

/// What a bad path does with each datagram.
pub struct Weather {
    pub dice: Dice,
    /// Of a hundred datagrams, how many get lost.
    pub lost: u64,
    /// Of a hundred that arrive, how many do so twice.
    pub doubled: u64,
    /// Most that a datagram is late, so that others overtake it.
    pub late: Duration,
}

impl Weather {
    /// How much later than usual each copy arrives.
    pub fn delays(&mut self) -> Vec<Duration> {
        if self.dice.below(100) < self.lost {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.dice.below(100) < self.doubled);
        let late = self.late.as_micros() as u64 + 1;
        (0..copies).map(|_| Duration::from_micros(self.dice.below(late))).collect()
    }
}
