//! Runs a scenario: two ends, the path between them and the attacker on it, from event to event in virtual time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use tunneld::proto::{Discard, Instant};
use tunneld::wire::piece::FRAGMENT_START;

use crate::agenda::{Agenda, Happening};
use crate::attacker::Attacker;
use crate::end::{Controlled, End, Thread};
use crate::host::{BOOT_START, Datagram};
use crate::liveness::{CALM_INTERVAL, Liveness};
use crate::packets::SHORTEST;
use crate::places::{moved, named};
use crate::sabotage::Reporter;
use crate::scenario::{Action, Scenario, Side};
use crate::wire::Wire;
use crate::witness::{Rule, Violation};

/// Most events of a run: a storm would have more.
const MOST_EVENTS: u32 = 200_000;
/// Most bytes of a frame in one datagram of several.
const FRAGMENT: usize = 1420 - FRAGMENT_START;

/// How a run went that broke no rule.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From the end of the last fault until a packet had passed each way.
    pub recovery: Duration,
    /// Follows from every datagram that left either end, and when.
    pub trace: u64,
    /// Why the ends refused what they refused, since they were last restarted.
    pub discards: Vec<Discard>,
}

/// Runs `scenario` to its end, or until a rule is broken.
pub fn run(scenario: &Scenario) -> Result<Outcome, Violation> {
    World::new(scenario).run()
}

pub struct World<'s> {
    scenario: &'s Scenario,
    now: Instant,
    agenda: Agenda,
    ends: [End; 2],
    wire: Wire,
    attacker: Attacker,
    /// Which steps are going on.
    active: Vec<bool>,
    reporter: Reporter,
    moves: u16,
    liveness: Liveness,
    trace: DefaultHasher,
}

impl<'s> World<'s> {
    fn new(scenario: &'s Scenario) -> Self {
        let mut world = Self {
            scenario,
            now: BOOT_START,
            agenda: Agenda::default(),
            ends: Side::BOTH.map(|side| End::new(side, scenario)),
            wire: Wire::new(scenario.latency, scenario.seed),
            attacker: Attacker::new(),
            active: vec![false; scenario.steps.len()],
            reporter: Reporter::new(scenario),
            moves: 0,
            liveness: Liveness::new(scenario),
            trace: DefaultHasher::new(),
        };
        for side in Side::BOTH {
            world.falls_asleep(side, true);
            let later = if side == Side::A { Duration::ZERO } else { scenario.apart };
            world.after(later, Happening::Awakes(side, true));
            world.after(later, Happening::Starts(side));
            world.after(later, Happening::Ticks(side, scenario.interval));
        }
        for (index, step) in scenario.steps.iter().enumerate() {
            world.after(step.at, Happening::Begins(index));
        }
        world.after(scenario.calm_at(), Happening::Calm);
        world
    }

    fn run(mut self) -> Result<Outcome, Violation> {
        for _ in 0..MOST_EVENTS {
            self.step();
            if let Some(violation) = self.reporter.violation() {
                return Err(violation);
            }
            if let Some(recovery) = self.liveness.recovered()
                && self.now >= BOOT_START + self.scenario.calm_at() + recovery + self.scenario.stays
            {
                return Ok(self.outcome(recovery));
            }
        }
        Err(Violation { rule: Rule::Liveness, text: format!("{MOST_EVENTS} events") })
    }

    fn outcome(&self, recovery: Duration) -> Outcome {
        let counted =
            |reason: &&Discard| self.ends.iter().any(|end| end.host.discards(**reason) > 0);
        let discards = Discard::ALL.iter().filter(counted).copied().collect();
        Outcome { recovery, trace: self.trace.finish(), discards }
    }

    fn after(&mut self, delay: Duration, what: Happening) {
        self.agenda.add(self.now + delay, what);
    }

    /// Goes on to what is due next, and does that.
    fn step(&mut self) {
        let awake = Side::BOTH.into_iter().filter(|side| self.end(*side).asleep == 0);
        let turns = awake.filter_map(|side| {
            let (at, thread) = self.end(side).next_turn()?;
            Some((at, side, thread))
        });
        let turn = turns.min_by_key(|(at, ..)| *at);
        let next = self.agenda.next();
        match turn {
            Some((at, side, thread)) if next.is_none_or(|next| at <= next) => {
                self.goes_on_to(at);
                self.turn(side, thread);
                self.bounds(side);
            }
            _ => {
                let (at, what) = self.agenda.take().expect("the devices tick for ever");
                self.goes_on_to(at);
                self.happens(what);
            }
        }
        let (silent_for, holds) = self.liveness.check(self.now);
        self.reporter.alive(holds, silent_for);
    }

    fn goes_on_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.reporter.now(self.now);
    }

    fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        Side::BOTH.map(|side| self.end(side).host.address)
    }

    fn happens(&mut self, what: Happening) {
        match what {
            Happening::Arrives(datagram) => self.arrives(datagram),
            Happening::Ticks(side, interval) => {
                if !self.liveness.is_calm() || interval == CALM_INTERVAL {
                    self.hands_over(side, SHORTEST + 64);
                    self.after(interval, Happening::Ticks(side, interval));
                }
            }
            Happening::Begins(index) => {
                self.active[index] = true;
                self.after(self.scenario.steps[index].lasts, Happening::Ends(index));
                self.begins(self.scenario.steps[index].action);
                self.set_wire();
            }
            Happening::Ends(index) => {
                self.active[index] = false;
                self.ends_action(self.scenario.steps[index].action);
                self.set_wire();
            }
            Happening::Awakes(side, deaf) => self.awakes(side, deaf),
            Happening::Starts(side) | Happening::Resolves(side) if self.end(side).asleep > 0 => {
                self.after(CALM_INTERVAL, what);
            }
            Happening::Starts(side) => {
                let now = self.now;
                let controlled = self.end_mut(side).start(now);
                self.controlled(side, Controlled { looks_up: true, ..controlled });
            }
            Happening::Resolves(side) => {
                let other = self.end(side.other()).host.address;
                let (now, addresses) = (self.now, named(self.scenario.dead, other));
                let controlled = self.end_mut(side).resolved(now, &addresses);
                self.controlled(side, controlled);
            }
            // All that ends at this moment has ended only once this comes again.
            Happening::Calm if self.active.contains(&true) => {
                self.after(Duration::ZERO, Happening::Calm);
            }
            Happening::Calm => {
                self.liveness.calm(self.now);
                for side in Side::BOTH {
                    self.after(Duration::ZERO, Happening::Ticks(side, CALM_INTERVAL));
                }
            }
        }
    }

    fn turn(&mut self, side: Side, thread: Thread) {
        let (now, pace) = (self.now, self.scenario.pace);
        match thread {
            Thread::Control => {
                let controlled = self.end_mut(side).control_turn(now, pace);
                self.controlled(side, controlled);
            }
            Thread::Outbound => {
                let leaving = self.end_mut(side).outbound_turn(now);
                self.leave(side, leaving);
            }
            Thread::Inbound => self.end_mut(side).inbound_turn(),
        }
    }

    /// What follows from what control of `side` did.
    fn controlled(&mut self, side: Side, controlled: Controlled) {
        let Controlled { leaving, message, moved, looks_up } = controlled;
        match message {
            Some((datagram, Ok(()))) => self.reporter.accepted(side, &datagram),
            Some((datagram, Err(_))) => self.reporter.refused(side, &datagram, &leaving, moved),
            None => {}
        }
        self.reporter.transmitted(side, leaving.len());
        self.leave(side, leaving);
        let other_is_named = side == Side::A || self.scenario.a_is_named;
        if looks_up && other_is_named {
            self.after(self.scenario.lookup, Happening::Resolves(side));
        }
    }

    fn hands_over(&mut self, side: Side, len: usize) {
        if self.end(side).asleep > 0 {
            return;
        }
        let len = len + (self.scenario.pieces - 1) * FRAGMENT;
        let (now, packet) = (self.now, self.reporter.hands_over(side, len));
        let (leaving, refused) = self.end_mut(side).sends(now, &packet);
        if refused.is_some() {
            self.reporter.kept_in(side);
        }
        self.leave(side, leaving);
        self.bounds(side);
    }

    fn leave(&mut self, side: Side, leaving: Vec<Datagram>) {
        for datagram in leaving {
            self.reporter.left(side, &datagram);
            self.attacker.sees(&datagram);
            (self.now.as_nanos(), &datagram.bytes).hash(&mut self.trace);
            if self.is_cut_off(side, datagram.from) {
                continue;
            }
            let relay = self.going_on().find_map(|action| match action {
                Action::Relay { withhold } => Some(*withhold),
                _ => None,
            });
            if relay.is_some() {
                let copy = self.attacker.passes_on(&datagram, self.end(side.other()).host.address);
                self.after(self.wire.latency() / 2, Happening::Arrives(copy));
            }
            if relay != Some(true) {
                for (delay, datagram) in self.wire.carry(side, &datagram) {
                    self.after(delay, Happening::Arrives(datagram));
                }
            }
        }
    }

    fn arrives(&mut self, datagram: Datagram) {
        let address = datagram.to;
        let Some(side) = Side::BOTH.into_iter().find(|side| self.end(*side).is_at(address)) else {
            return;
        };
        if self.is_cut_off(side, address) {
            return;
        }
        let now = self.now;
        let end = self.end_mut(side);
        if end.asleep > 0 {
            if end.deaf == 0 {
                end.backlog.push(datagram);
            }
            return;
        }
        let endpoint = end.host.tunnel.endpoint();
        let received = end.receives(now, &datagram);
        let moved = end.host.tunnel.endpoint() != endpoint;
        let delivered = std::mem::take(&mut end.host.delivered);
        match received {
            Ok(true) => {}
            Ok(false) => self.reporter.accepted(side, &datagram),
            // Who may send frames is asked of what is authentic.
            Err(Discard::MacLimit | Discard::BroadcastLimit) => {
                self.reporter.accepted(side, &datagram);
                self.reporter.kept_out(side);
            }
            Err(_) => self.reporter.refused(side, &datagram, &[], moved),
        }
        for packet in delivered {
            let handed_over = self.reporter.delivered(side, &packet);
            self.liveness.delivered(now, side, handed_over);
        }
        self.bounds(side);
    }

    fn bounds(&mut self, side: Side) {
        let end = &self.ends[side as usize];
        self.reporter.bounds(side, &end.host, end.queued());
    }

    fn going_on(&self) -> impl Iterator<Item = &'s Action> + Clone {
        let steps = self.scenario.steps.iter().zip(&self.active);
        steps.filter(|(_, active)| **active).map(|(step, _)| &step.action)
    }

    fn set_wire(&mut self) {
        let going_on = self.going_on().collect::<Vec<_>>();
        self.wire.set(going_on.into_iter());
    }

    fn begins(&mut self, action: Action) {
        match action {
            Action::Rebind { side } => self.moves(side, true),
            Action::Move { side, told } => {
                self.moves(side, false);
                if told && self.end(side).asleep == 0 {
                    let now = self.now;
                    self.reporter.network_changed(side);
                    let controlled = self.end_mut(side).network_changed(now);
                    self.controlled(side, controlled);
                }
            }
            Action::Wall { side, by } => self.end_mut(side).jump(by),
            Action::Suspend { side, deaf } => self.falls_asleep(side, deaf),
            Action::Restart { side } => self.falls_asleep(side, true),
            Action::Burst { side, packets, len } => {
                (0..packets).for_each(|_| self.hands_over(side, len));
            }
            Action::Replay { .. }
            | Action::Tamper { .. }
            | Action::Inject { .. }
            | Action::Flood { .. } => {
                for (delay, datagram) in self.attacker.acts(&action, self.addresses()) {
                    self.after(delay, Happening::Arrives(datagram));
                }
            }
            Action::Weather { .. } | Action::Partition { .. } | Action::Relay { .. } => {}
        }
    }

    fn ends_action(&mut self, action: Action) {
        match action {
            Action::Suspend { side, deaf } => self.awakes(side, deaf),
            Action::Restart { side } => {
                let scenario = self.scenario;
                self.end_mut(side).restart(side, scenario);
                self.reporter.restarted(side);
                self.awakes(side, true);
                self.after(Duration::ZERO, Happening::Starts(side));
            }
            _ => {}
        }
    }

    fn falls_asleep(&mut self, side: Side, deaf: bool) {
        let end = self.end_mut(side);
        (end.asleep, end.deaf) = (end.asleep + 1, end.deaf + u32::from(deaf));
    }

    /// Unless something else keeps it asleep.
    fn awakes(&mut self, side: Side, deaf: bool) {
        let end = self.end_mut(side);
        (end.asleep, end.deaf) = (end.asleep - 1, end.deaf - u32::from(deaf));
        if end.asleep == 0 {
            for datagram in std::mem::take(&mut end.backlog) {
                self.after(Duration::ZERO, Happening::Arrives(datagram));
            }
        }
    }

    fn moves(&mut self, side: Side, port_only: bool) {
        self.moves += 1;
        let address = moved(side, self.moves, self.end(side).host.address, port_only);
        self.end_mut(side).moves(address);
    }

    /// Whether nothing passes to and from this address of `side`.
    fn is_cut_off(&self, side: Side, address: SocketAddr) -> bool {
        self.scenario.only_second == Some(side) && !self.end(side).is_second(address)
    }
}
