//! Floods: inbound counts what strangers send; once that costs too much, control wants a screen, and adjusts how much
//! of it passes.
//!
//! Only the sum over all strangers counts, for a source costs nothing to make up. What comes from where the peer is known to
//! be always passes. Of all else a share does, chosen at random: it may be the peer, on its way from one place to another.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::time::Instant;
use crate::wire::Chance;

/// The time from one look at what came to the next.
const LOOK: Duration = Duration::from_millis(100);

/// What a datagram may cost, in microseconds: a key exchange, or else a system call and a tag.
const HANDSHAKE_COST: u64 = 50;
const OTHER_COST: u64 = 1;
/// So many bytes, which are copied and perhaps opened, cost another one.
const BYTES_IN_COST: u64 = 1500;

/// It is a flood if strangers cost so many microseconds in the time of a look, a twentieth of a processor.
const FLOOD_COST: u64 = 5_000;

/// So many handshake messages, and so many other datagrams, of strangers pass in the time of a look.
/// A handshake message is the dearer: about 17 microseconds with its cookie reply.
const HANDSHAKES: u64 = 200;
const OTHERS: u64 = 2_000;

/// The chances that a screen begins with. They double with each look until enough passes.
const FIRST_CHANCE: Chance = Chance(u32::MAX / 64);

/// A flood is over when fewer datagrams of strangers than this came in the time of each look, those that the kernel discarded
/// included...
const CALM: u64 = 100;
/// ...for so long.
const CALM_TIME: Duration = Duration::from_secs(10);

/// Datagrams of strangers that inbound received and found nothing authentic in, and whether there is a flood of them.
#[derive(Default)]
pub(crate) struct Strangers {
    handshakes: AtomicU64,
    others: AtomicU64,
    flood: AtomicBool,
}

impl Strangers {
    fn count(&self) -> Count {
        Count {
            handshakes: self.handshakes.load(Ordering::Relaxed),
            others: self.others.load(Ordering::Relaxed),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Count {
    handshakes: u64,
    others: u64,
}

/// Owned by inbound: what strangers sent since the beginning of a batch, and of a look's time.
#[derive(Default)]
pub(crate) struct Tally {
    batch: Count,
    bytes: u64,
    began: Option<Instant>,
    cost: u64,
}

impl Tally {
    /// A stranger's datagram of `len` bytes came.
    pub(crate) fn stranger(&mut self, is_handshake: bool, len: usize) {
        self.bytes = self.bytes.saturating_add(len as u64);
        let Count { handshakes, others } = &mut self.batch;
        let count = if is_handshake { handshakes } else { others };
        *count = count.saturating_add(1);
    }

    /// The batch has ended; whether control must be woken, as a flood began.
    pub(crate) fn finish(&mut self, now: Instant, strangers: &Strangers) -> bool {
        let Count { handshakes, others } = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.bytes);
        if (handshakes, others) == (0, 0) {
            return false;
        }
        strangers.handshakes.fetch_add(handshakes, Ordering::Relaxed);
        strangers.others.fetch_add(others, Ordering::Relaxed);
        if self.began.is_none_or(|began| now.since(began) >= LOOK) {
            (self.began, self.cost) = (Some(now), 0);
        }
        let cost = handshakes.saturating_mul(HANDSHAKE_COST);
        let cost = cost.saturating_add(others.saturating_mul(OTHER_COST));
        let cost = cost.saturating_add(bytes / BYTES_IN_COST);
        self.cost = self.cost.saturating_add(cost);
        self.cost >= FLOOD_COST && !strangers.flood.swap(true, Ordering::SeqCst)
    }
}

/// Owned by control: the flood there is, if any.
#[derive(Default)]
pub(crate) struct Flood(Option<Screening>);

struct Screening {
    chances: Chances,
    looked: Instant,
    calm_since: Instant,
    /// What had come, and what the kernel had discarded, at the last look.
    came: Count,
    discarded: u64,
    discarded_before: u64,
}

/// What of strangers' datagrams is to pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chances {
    pub(crate) handshakes: Chance,
    pub(crate) others: Chance,
}

impl Flood {
    /// Whether a flood begins, as inbound says.
    pub(crate) fn begins(&mut self, now: Instant, strangers: &Strangers, discarded: u64) -> bool {
        let begins = self.0.is_none() && strangers.flood.load(Ordering::SeqCst);
        if begins {
            self.0 = Some(Screening {
                chances: Chances { handshakes: FIRST_CHANCE, others: FIRST_CHANCE },
                looked: now,
                calm_since: now,
                came: strangers.count(),
                discarded,
                discarded_before: discarded,
            });
        }
        begins
    }

    /// What is to pass; `None` without a flood: all of it.
    pub(crate) fn chances(&self) -> Option<Chances> {
        self.0.as_ref().map(|screening| screening.chances)
    }

    /// When to look next.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.0.as_ref().map(|screening| screening.looked + LOOK)
    }

    /// Looks at what came; `discarded` counts what the kernel ever discarded. If the flood is over: how much that was meanwhile.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        strangers: &Strangers,
        discarded: u64,
    ) -> Option<u64> {
        let screening = self.0.as_mut()?;
        screening.look(now, strangers.count(), discarded);
        if now.since(screening.calm_since) < CALM_TIME {
            return None;
        }
        let discarded = discarded.saturating_sub(screening.discarded_before);
        self.0 = None;
        strangers.flood.store(false, Ordering::SeqCst);
        Some(discarded)
    }
}

impl Screening {
    fn look(&mut self, now: Instant, came: Count, discarded: u64) {
        let handshakes = came.handshakes.saturating_sub(self.came.handshakes);
        let others = came.others.saturating_sub(self.came.others);
        let kept_out = discarded.saturating_sub(self.discarded);
        // A look may be late.
        let time = now.since(self.looked).as_secs_f64() / LOOK.as_secs_f64();
        let in_time = |count: u64| (count as f64 * time) as u64;
        if handshakes.saturating_add(others).saturating_add(kept_out) >= in_time(CALM) {
            self.calm_since = now;
        }
        adjust(&mut self.chances.handshakes, handshakes, in_time(HANDSHAKES));
        adjust(&mut self.chances.others, others, in_time(OTHERS));
        (self.looked, self.came, self.discarded) = (now, came, discarded);
    }
}

/// So many passed, and so many should have: too many are fewer at once, too few are more by and by.
fn adjust(chance: &mut Chance, passed: u64, wanted: u64) {
    let now = u64::from(chance.0);
    let next = if passed > wanted {
        now.saturating_mul(wanted).checked_div(passed).unwrap_or(now)
    } else if passed < wanted / 2 {
        now.saturating_mul(2)
    } else {
        now
    };
    chance.0 = next.clamp(1, u32::MAX.into()) as u32;
}

#[cfg(test)]
mod tests;
