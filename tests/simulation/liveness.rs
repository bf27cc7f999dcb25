//! Whether traffic passes once all faults are over: soon each way, and from then on without a break.

use std::time::Duration;

use tunneld::proto::Instant;
use tunneld::wire::Layer;

use crate::host::BOOT_START;
use crate::scenario::{Scenario, Side};

/// From packet to packet, each way, once all is calm.
pub const CALM_INTERVAL: Duration = Duration::from_secs(1);
/// The most that traffic needs to pass both ways again once the last fault is over. In this order, each at its
/// longest: the next packet is handed over; nothing is heard; a response of ours puts the initiation off; two
/// initiations go to where the peer was, and one more while its name is looked up; each end asks for a cookie.
const RECOVERY: Duration = Duration::from_millis(1000 + 15_333 + 5000 + 3 * 5333 + 2 * 5333 + 3000);
/// How much longer it takes to find an end by its second endpoint only: the first one has its three initiations before, once
/// the link is missed and once more if the first endpoint is tried in between.
const SECOND: Duration = Duration::from_millis(6 * 5333);

/// How much longer it may be from frame to frame: of two that follow each other the rules for frames may keep both out, one for
/// its sender and one for its receiver.
const KEPT_OUT: Duration = Duration::from_secs(2);
/// How long ends that do not agree are watched once all is calm.
const WATCHED: Duration = Duration::from_secs(20);

pub struct Liveness {
    /// Whether the ends agree, so that anything may pass.
    agrees: bool,
    /// When the last fault was over.
    calm_since: Option<Instant>,
    /// When the last packet came that each end got.
    delivered: [Instant; 2],
    /// Whether each end got a packet that was handed over after the last fault.
    passed: [bool; 2],
    recovered: Option<Duration>,
    recovery: Duration,
    /// The longest from packet to packet once traffic passes again.
    silence: Duration,
}

impl Liveness {
    pub fn new(scenario: &Scenario) -> Self {
        let if_so = |so, time| if so { time } else { Duration::ZERO };
        let frames = scenario.profiles[0].layer() == Layer::Ethernet;
        let more = 2 * (2 * scenario.latency) + if_so(frames, KEPT_OUT);
        Self {
            agrees: scenario.agrees(),
            calm_since: None,
            delivered: [BOOT_START; 2],
            passed: [false; 2],
            recovered: None,
            recovery: RECOVERY + more + if_so(scenario.only_second.is_some(), SECOND),
            silence: 2 * CALM_INTERVAL + more,
        }
    }

    /// All faults are over.
    pub fn calm(&mut self, now: Instant) {
        self.calm_since = Some(now);
    }

    pub fn is_calm(&self) -> bool {
        self.calm_since.is_some()
    }

    /// How long it took since then until traffic passed each way.
    pub fn recovered(&self) -> Option<Duration> {
        self.recovered
    }

    /// `side` got a packet that was handed over at that time, if it is a genuine one.
    pub fn delivered(&mut self, now: Instant, side: Side, handed_over: Option<Instant>) {
        self.delivered[side as usize] = now;
        self.passed[side as usize] |= self.is_calm() && handed_over >= self.calm_since;
    }

    /// For how long there has been no traffic, and whether that is within the bound.
    pub fn check(&mut self, now: Instant) -> (Duration, bool) {
        let Some(calm) = self.calm_since else { return (Duration::ZERO, true) };
        let since_calm = now.since(calm);
        if !self.agrees {
            self.recovered = Some(WATCHED);
            return (Duration::ZERO, true);
        }
        if self.recovered.is_none() && self.passed == [true; 2] {
            self.recovered = Some(since_calm);
        }
        let (silent_for, most) = match self.recovered {
            None => (since_calm, self.recovery),
            Some(_) => {
                let [a, b] = self.delivered;
                (now.since(a.min(b)), self.silence)
            }
        };
        (silent_for, silent_for <= most)
    }
}
