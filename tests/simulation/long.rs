//! Ten years of a link in virtual time, with as many handshakes as are asked for: no deadline drifts, nothing is
//! left behind, no index is given out twice at once.

use std::time::Duration;

use allocation_counter::measure;
use tunneld::proto::{Event, Instant};

use crate::conduct::Conduct;
use crate::host::{A, B, Clock, Datagram, Host, packet, parameters, secs};
use crate::paper::{
    DATA, ERASE_AFTER, INITIATION, KEEPALIVE_TIMEOUT, MOST_JITTER, REJECT_AFTER_TIME,
    REKEY_AFTER_TIME, REKEY_TIMEOUT,
};
use crate::runs::{number, tell};
use crate::weather::Dice;

const TEN_YEARS: Duration = secs(10 * 365 * 86_400);
/// Handshakes, unless TUNNELD_SIMULATE_REKEYS says otherwise.
const REKEYS: u64 = 8000;
/// Parts of the ten years between which the heap is looked at.
const PARTS: u64 = 10;
/// How often a session is replaced while the link is used, on the average.
const USES: u64 = 1;
/// Just before something is due.
const JUST: Duration = Duration::from_nanos(1);

/// Two hosts and no latency between them.
struct Pair {
    clock: Clock,
    hosts: [Host; 2],
    conduct: [Conduct; 2],
    dice: Dice,
    rekeys: u64,
    lost: bool,
}

impl Pair {
    fn new() -> Self {
        let hosts = [
            Host::new(&parameters(1, 2, Some(B)), 1, A),
            Host::new(&parameters(2, 1, Some(A)), 2, B),
        ];
        let (conduct, dice) = (Default::default(), Dice::new(10));
        Self { clock: Clock::new(), hosts, conduct, dice, rekeys: 0, lost: false }
    }

    fn now(&self) -> Instant {
        self.clock.boot
    }

    /// Takes `leaving` of host `from` to the other one, and what that answers back; the types of all messages.
    fn exchange(&mut self, from: usize, leaving: Vec<Datagram>) -> Vec<u8> {
        let mut types = Vec::new();
        let mut flying: Vec<_> = leaving.into_iter().map(|datagram| (from, datagram)).collect();
        while !flying.is_empty() {
            for (from, datagram) in std::mem::take(&mut flying) {
                types.push(datagram.bytes[0]);
                self.conduct[from].sends(self.clock.boot, datagram.to, &datagram.bytes).unwrap();
                if self.lost {
                    continue;
                }
                let to = 1 - from;
                let (answers, discard) = self.hosts[to].receive(&self.clock, &datagram);
                assert_eq!(discard, None, "{datagram:?}");
                self.conduct[to].accepts(self.clock.boot, &datagram.bytes).unwrap();
                flying.extend(answers.into_iter().map(|answer| (to, answer)));
            }
        }
        types
    }

    /// Host `from` sends a packet, which arrives if there is a path; the types of all messages.
    fn sends(&mut self, from: usize) -> Vec<u8> {
        let number = self.now().as_nanos().to_be_bytes();
        let (ours, theirs) = (from as u8 + 1, 2 - from as u8);
        let packet = packet(ours, theirs, &number);
        let leaving = self.hosts[from].send(&self.clock, &packet);
        let types = self.exchange(from, leaving);
        let delivered = std::mem::take(&mut self.hosts[1 - from].delivered);
        let expected: &[Vec<u8>] = if self.lost { &[] } else { &[packet] };
        assert_eq!(delivered, expected);
        types
    }

    /// Lets `time` pass; what left, and when: sender, types.
    fn passes(&mut self, time: Duration) -> Vec<(Instant, usize, Vec<u8>)> {
        let end = self.now() + time;
        let mut left = Vec::new();
        loop {
            let due = (0..2).filter_map(|host| Some((self.hosts[host].next_timeout()?.0, host)));
            let Some((at, host)) = due.min().filter(|(at, _)| *at <= end) else { break };
            self.clock.advance(at.since(self.now()));
            let leaving = self.hosts[host].handle_timeout(&self.clock);
            let types = self.exchange(host, leaving);
            if !types.is_empty() {
                left.push((at, host, types));
            }
        }
        self.clock.advance(end.since(self.now()));
        left
    }

    /// How many of the events since the last time there were are like `event`.
    fn events(&mut self, host: usize, like: fn(&Event) -> bool) -> usize {
        self.hosts[host].requests.clear();
        std::mem::take(&mut self.hosts[host].events).iter().filter(|event| like(event)).count()
    }

    /// A handshake that `from` begins, as it has a packet and no session. At times the initiation gets lost: it is
    /// repeated when it is time.
    fn handshake(&mut self, from: usize) {
        self.lost = self.dice.below(10) == 0;
        assert_eq!(self.sends(from)[0], INITIATION);
        if std::mem::take(&mut self.lost) {
            let sent = self.now();
            // The keys of the session before may be erased meanwhile.
            let retry = (0..3).find_map(|_| {
                let (at, _) = self.hosts[from].next_timeout()?;
                self.passes(at.since(self.now())).pop()
            });
            let apart = retry.unwrap().0.since(sent);
            assert!((REKEY_TIMEOUT..=REKEY_TIMEOUT + MOST_JITTER).contains(&apart), "{apart:?}");
            self.hosts[1 - from].delivered.clear();
        }
        self.completed();
    }

    fn completed(&mut self) {
        let completed = |event: &Event| matches!(event, Event::HandshakeCompleted { .. });
        assert_eq!([0, 1].map(|host| self.events(host, completed)), [1, 1]);
        self.rekeys += 1;
    }

    /// A session in use, begun just now: it is replaced when it is 120 s old, and not a moment sooner.
    fn busy(&mut self, initiator: usize) {
        self.passes(REKEY_AFTER_TIME - JUST);
        assert_eq!(self.sends(1 - initiator), [DATA]);
        assert_eq!(self.sends(initiator), [DATA]);
        self.passes(JUST);
        assert!(self.sends(initiator).contains(&INITIATION));
        self.completed();
    }

    /// A link that is not used for `time` after a last packet on a session begun just now: one keepalive answers
    /// that packet, and the keys are erased, both in time.
    fn idle(&mut self, sender: usize, time: Duration) {
        let sent = self.now();
        self.sends(sender);
        let left = self.passes(time.min(ERASE_AFTER - JUST));
        assert_eq!(left, [(sent + KEEPALIVE_TIMEOUT, 1 - sender, vec![DATA])]);
        let erased = |event: &Event| matches!(event, Event::KeysErased);
        assert_eq!([0, 1].map(|host| self.events(host, erased)), [0; 2]);
        if time >= ERASE_AFTER {
            assert_eq!(self.passes(JUST), []);
            assert_eq!([0, 1].map(|host| self.events(host, erased)), [1; 2]);
            assert_eq!(self.passes(time - ERASE_AFTER), []);
        }
    }

    /// Handshakes, 120 s apart while the link is used, and then `idle` on the average without a packet, until there
    /// were `rekeys` in all. In the end the keys are erased.
    fn lives(&mut self, rekeys: u64, idle: Duration) {
        while self.rekeys < rekeys {
            let from = self.dice.below(2) as usize;
            self.handshake(from);
            for _ in 0..self.dice.below(2 * USES + 1) {
                self.busy(from);
            }
            let most = 2 * (idle - REJECT_AFTER_TIME).as_secs();
            let time = REJECT_AFTER_TIME + secs(self.dice.below(most + 1));
            let last = self.rekeys >= rekeys;
            self.idle(from, if last { time.max(ERASE_AFTER) } else { time });
            let wall = self.dice.below(7200);
            self.clock.unix = self.clock.unix + secs(wall) - secs(3600);
        }
    }
}

#[test]
fn in_ten_years_no_deadline_drifts_and_nothing_is_left_behind() {
    let rekeys = number("TUNNELD_SIMULATE_REKEYS").unwrap_or(REKEYS);
    // What is left of the time of so many handshakes if they are 120 s apart where the link is used.
    let cycles = (rekeys / (1 + USES)) as u32;
    let idle = TEN_YEARS / cycles - REKEY_AFTER_TIME * USES as u32;
    let mut pair = Pair::new();
    // Whatever grows to its size does so in the first part.
    for part in 1..=PARTS {
        let heap = measure(|| pair.lives(rekeys * part / PARTS, idle));
        let left = (heap.count_current, heap.bytes_current);
        assert!(part == 1 || left == (0, 0), "part {part} left {left:?} on the heap");
    }
    let begun = Clock::new().boot;
    pair.passes((begun + TEN_YEARS).since(pair.now()));
    let years = pair.now().since(begun).as_secs_f64() / (365.0 * 86_400.0);
    assert!(years >= 10.0);
    tell(&format!("long: {} handshakes in {years:.1} years", pair.rekeys));
}
