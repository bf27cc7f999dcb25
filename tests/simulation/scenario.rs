//! What happens in a run: a plain list of faults, traffic and attacks, each with its time.

use std::fmt;
use std::time::Duration;

use tunneld::proto::FrameRules;
use tunneld::wire::Profile;

use crate::host::{millis, secs};
use crate::sabotage::Sabotage;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    A,
    B,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A whole run: it follows from this and from nothing else.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What the ends' keys and every die follow from.
    pub seed: u64,
    /// One way.
    pub latency: Duration,
    /// The most that a thread takes to wake up.
    pub lag: Duration,
    /// What control takes for one handshake message.
    pub pace: Duration,
    /// What it takes to look up the other end's name.
    pub lookup: Duration,
    /// How much later than a the other end begins.
    pub apart: Duration,
    /// Whether a has a name; b has one always. Who has none is found only once it has called.
    pub a_is_named: bool,
    /// How many addresses of a name lead nowhere; the true one comes after them.
    pub dead: u8,
    /// Whether each name is followed by a second endpoint, by which the other end is reached too.
    pub listed: bool,
    /// Who is reached by its second endpoint only.
    pub only_second: Option<Side>,
    pub keepalive: Option<Duration>,
    /// What each end speaks. Where they differ nothing may pass.
    pub profiles: [Profile; 2],
    /// How many datagrams carry a packet: several only where frames cross, each longer than the path carries.
    pub pieces: usize,
    /// Which frames both ends let cross.
    pub frames: FrameRules,
    /// From packet to packet, each way, until the last fault is over.
    pub interval: Duration,
    /// How long the run goes on after traffic passes again.
    pub stays: Duration,
    pub steps: Vec<Step>,
    /// A lie told to the witness, to see it found out.
    pub sabotage: Option<Sabotage>,
}

/// Something that happens, begins at a time after the start and lasts a while.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub at: Duration,
    pub lasts: Duration,
    pub action: Action,
}

#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// What `from` sends meets a bad path: of a hundred datagrams so many get lost, come twice, come altered;
    /// and each is up to so late.
    Weather { from: Side, lost: u64, doubled: u64, altered: u64, late: Duration },
    /// Nothing gets through that this side sends; from neither of them, if none is named.
    Partition { from: Option<Side> },
    /// The NAT before this side gives it another port.
    Rebind { side: Side },
    /// This side has another address, which its kernel may tell it.
    Move { side: Side, told: bool },
    /// This side's wall clock jumps by so many seconds.
    Wall { side: Side, by: i64 },
    /// This side sleeps. What comes meanwhile waits for it, unless it is deaf.
    Suspend { side: Side, deaf: bool },
    /// This side's process ends, and another one begins when the time is over.
    Restart { side: Side },
    /// This side's device hands over many packets at once.
    Burst { side: Side, packets: u32, len: usize },
    /// The attacker sends datagrams that it saw, to either end, from anywhere.
    Replay { dice: u64, count: u32 },
    /// The same, with a bit or the length changed, and signed anew at times.
    Tamper { dice: u64, count: u32 },
    /// The attacker sends what it made up, knowing both public keys and every index in use.
    Inject { dice: u64, count: u32 },
    /// The attacker sends many initiations at once, good but for what it cannot know.
    Flood { dice: u64, to: Side, count: u32 },
    /// The attacker passes on from its own address all it sees, before the true datagram comes or in its place.
    Relay { withhold: bool },
}

impl Scenario {
    /// Nothing happens but a packet each second on a good path.
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            latency: millis(10),
            lag: Duration::ZERO,
            pace: Duration::ZERO,
            lookup: Duration::ZERO,
            apart: Duration::ZERO,
            a_is_named: true,
            dead: 0,
            listed: false,
            only_second: None,
            keepalive: None,
            profiles: [Profile::WireGuard; 2],
            pieces: 1,
            frames: FrameRules::default(),
            interval: secs(1),
            stays: Duration::ZERO,
            steps: Vec::new(),
            sabotage: None,
        }
    }

    /// Whether both ends speak the same.
    pub fn agrees(&self) -> bool {
        self.profiles[0] == self.profiles[1]
    }

    /// When the last fault is over, and both ends have begun.
    pub fn calm_at(&self) -> Duration {
        let ends = self.steps.iter().map(|step| step.at + step.lasts);
        ends.chain([self.apart]).max().unwrap_or_default()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, latency, lag, pace, lookup, apart, keepalive, .. } = self;
        let Self { a_is_named, dead, listed, only_second, profiles: [a, b], pieces, .. } = self;
        writeln!(f, "seed {seed}: {a} and {b}, latency {latency:?}, lag {lag:?}, pace {pace:?},")?;
        writeln!(
            f,
            "  lookup {lookup:?}, apart {apart:?}, a is named: {a_is_named}, keepalive {keepalive:?},"
        )?;
        writeln!(f, "  dead {dead}, listed: {listed}, only by its second: {only_second:?},")?;
        writeln!(f, "  a packet each {:?} in {pieces}, stays {:?}", self.interval, self.stays)?;
        writeln!(f, "  {:?}", self.frames)?;
        for Step { at, lasts, action } in &self.steps {
            writeln!(f, "  at {at:?} for {lasts:?}: {action:?}")?;
        }
        Ok(())
    }
}
