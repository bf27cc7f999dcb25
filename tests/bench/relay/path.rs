//! What one direction of a wide-area path does to packets: pure, in the time it is told.

use std::time::Duration;

/// What a path is like, in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// How long a packet is on its way.
    pub(crate) delay: Duration,
    /// Most that a packet is later than that; the order stays.
    pub(crate) jitter: Duration,
    /// The share of packets that are lost.
    pub(crate) loss: f64,
    /// The share of packets that arrive twice.
    pub(crate) duplication: f64,
    /// The share of packets that others overtake.
    pub(crate) reordering: f64,
    /// How much later those arrive.
    pub(crate) held_back: Duration,
    /// Bits per second that pass; `None`: as many as come.
    pub(crate) rate: Option<u64>,
    /// How long a packet may wait for its turn at that rate; one that would wait longer is lost.
    pub(crate) queue: Duration,
    /// Bytes of the largest packet that passes.
    pub(crate) mtu: usize,
}

impl Weather {
    /// Nothing but `delay`, for packets up to 1500 bytes.
    pub(crate) const fn clear(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            held_back: Duration::ZERO,
            rate: None,
            queue: Duration::from_millis(50),
            mtu: 1500,
        }
    }
}

/// When the copies of a packet arrive: none, one or two.
pub(crate) type Arrivals = [Option<Duration>; 2];

/// One direction of a path.
pub(crate) struct Path {
    weather: Weather,
    dice: Dice,
    /// When all that was let in so far has passed at the path's rate.
    free: Duration,
    /// When the last packet arrives that kept its place.
    last: Duration,
}

impl Path {
    /// A path whose chances follow from `seed`: that of the n-th packet is the same whatever came before.
    pub(crate) fn new(weather: Weather, seed: u64) -> Self {
        Self { weather, dice: Dice::new(seed), free: Duration::ZERO, last: Duration::ZERO }
    }

    /// Changes the weather and begins with the first packet's chances again; what is on its way stays ahead.
    pub(crate) fn turn(&mut self, weather: Weather, seed: u64) {
        (self.weather, self.dice) = (weather, Dice::new(seed));
    }

    /// Lets in a packet of `len` bytes.
    pub(crate) fn pass(&mut self, now: Duration, len: usize) -> Arrivals {
        // Always as many rolls, whatever becomes of the packet.
        let [lost, doubled, late, jitter] = std::array::from_fn(|_| self.dice.roll());
        let weather = self.weather;
        if len > weather.mtu || lost < weather.loss {
            return [None; 2];
        }
        let Some(passed) = self.queue(now, len) else {
            return [None; 2];
        };
        let kept = (passed + weather.delay + weather.jitter.mul_f64(jitter)).max(self.last);
        let arrival = if late < weather.reordering {
            kept + weather.held_back
        } else {
            self.last = kept;
            kept
        };
        [Some(arrival), (doubled < weather.duplication).then_some(arrival)]
    }

    /// When the packet has passed at the path's rate; `None` if it would wait too long for its turn.
    fn queue(&mut self, now: Duration, len: usize) -> Option<Duration> {
        let Some(rate) = self.weather.rate else {
            return Some(now);
        };
        let turn = self.free.max(now);
        if turn - now > self.weather.queue {
            return None;
        }
        self.free = turn + Duration::from_nanos(len as u64 * 8 * 1_000_000_000 / rate);
        Some(self.free)
    }
}

/// A small seeded generator (splitmix64).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 up to, but not, 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
