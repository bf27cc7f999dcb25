//! Where else the peer may be while it does not answer, and the way back to its first endpoint.
//!
//! Each initiation goes to every address of one endpoint, in turn, as copies of one message: whichever arrives first is
//! answered, the others the peer discards as replays. So families race each other (RFC 8305 §5), and still one initiation is made in
//! [`REKEY_TIMEOUT`]. While initiations stay unanswered, this follows, over and over:
//!
//! | unanswered | next |
//! |---|---|
//! | first | the endpoint's name is looked up again; new addresses join the race as they come |
//! | second | another source port: a NAT on the way may have a dead binding for this one |
//! | third | the next endpoint of the list, if there are several |
//!
//! A link that came up by a later endpoint calls the first one now and then, at growing intervals. If it answers, the link moves
//! there; if it does not, nothing has changed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::constants::REKEY_TIMEOUT;
use super::time::Instant;
use super::timers::Timer;
use crate::wire::{Endpoint, Initiation};

/// Addresses of one endpoint that are called; a name may have more.
const MAX_ADDRESSES: usize = 8;
/// Addresses that get one initiation: those of two lookups.
const MAX_CALLED: usize = 2 * MAX_ADDRESSES;
/// Time between two copies of an initiation (RFC 8305 §8, Connection Attempt Delay).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// First and longest time between two calls to the first endpoint while another serves.
const FIRST_RETURN: Duration = Duration::from_secs(60);
const LAST_RETURN: Duration = Duration::from_secs(16 * 60);

/// What follows when an initiation stays unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look up this endpoint's name.
    LookUp(usize),
    /// Send from another port.
    ChangePort,
    /// Call this endpoint from now on.
    Endpoint(usize),
}

/// Owned by control, as a part of the tunnel.
pub(crate) struct Search {
    /// The addresses of each endpoint, in the order they are called.
    endpoints: Vec<Vec<SocketAddr>>,
    /// Which endpoint is called.
    active: usize,
    /// Initiations that stayed unanswered, one after the other.
    unanswered: usize,
    race: Option<Race>,
    /// When to call the first endpoint, as another serves.
    return_at: Option<Instant>,
    return_pause: Duration,
    /// Since when the first endpoint serves again.
    returned: Option<Instant>,
}

/// The initiation under way and who gets it.
struct Race {
    initiation: Initiation,
    /// Whose addresses join, and until when: later nobody waits for an answer.
    endpoint: usize,
    ends: Instant,
    /// Who got it.
    called: Vec<SocketAddr>,
    /// Who gets it next, the first of them at `at`.
    waiting: VecDeque<SocketAddr>,
    at: Instant,
}

impl Search {
    /// With the addresses of each endpoint, as far as they are known.
    pub(crate) fn new(endpoints: &[Vec<SocketAddr>]) -> Self {
        Self {
            endpoints: endpoints.iter().map(|addresses| arrange(addresses)).collect(),
            active: 0,
            unanswered: 0,
            race: None,
            return_at: None,
            return_pause: FIRST_RETURN,
            returned: None,
        }
    }

    /// Every address that is known, in the order of the endpoints.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.endpoints.iter().flatten().copied()
    }

    /// The first address that is known, of the first endpoint that has one.
    /// Whether each endpoint has an address.
    pub(crate) fn all_are_resolved(&self) -> bool {
        !self.endpoints.iter().any(Vec::is_empty)
    }

    pub(crate) fn first_address(&self) -> Option<SocketAddr> {
        self.addresses().next()
    }

    /// The endpoint that is called, if any is configured.
    pub(crate) fn active(&self) -> Option<usize> {
        (self.active < self.endpoints.len()).then_some(self.active)
    }

    /// A lookup ended: an endpoint has these addresses now. Those that are new join the race.
    pub(crate) fn resolved(&mut self, now: Instant, endpoint: usize, addresses: &[SocketAddr]) {
        let Some(known) = self.endpoints.get_mut(endpoint) else { return };
        *known = arrange(addresses);
        let joins = |race: &&mut Race| race.endpoint == endpoint && now < race.ends;
        if let Some(race) = self.race.as_mut().filter(joins) {
            race.join(now, known);
        }
    }

    /// Whom to send an initiation to, in order: where the peer was last, and the addresses of the active endpoint; each retry
    /// begins with another one. The first call goes nowhere else if the peer was `heard_there` just now.
    pub(crate) fn targets(&self, current: SocketAddr, heard_there: bool) -> Vec<SocketAddr> {
        if heard_there && self.unanswered == 0 {
            return vec![current];
        }
        let active = self.endpoints.get(self.active).map_or(&[][..], Vec::as_slice);
        let others = active.iter().copied().filter(|at| *at != current);
        let left_behind = !active.contains(&current) && self.endpoint_at(current).is_some();
        let current = Some(current).filter(|_| !left_behind || active.is_empty());
        let mut targets: Vec<_> = current.into_iter().chain(others).collect();
        let first = self.unanswered.checked_rem(targets.len()).unwrap_or(0);
        targets.rotate_left(first);
        targets
    }

    /// This initiation goes to each of `targets`, to the first at once, unless it is answered before; and to what a lookup of
    /// `endpoint` adds.
    pub(crate) fn begin_race(
        &mut self,
        now: Instant,
        initiation: Initiation,
        endpoint: usize,
        targets: Vec<SocketAddr>,
    ) {
        let (called, waiting) = (Vec::new(), targets.into());
        let ends = now + REKEY_TIMEOUT;
        self.race = Some(Race { initiation, endpoint, ends, called, waiting, at: now });
    }

    /// Whom to send the initiation under way to now, if it is time.
    pub(crate) fn race_due(&mut self, now: Instant) -> Option<(SocketAddr, Initiation)> {
        let race = self.race.as_mut().filter(|race| race.at <= now)?;
        let target = race.waiting.pop_front()?;
        race.called.push(target);
        race.at = now + ATTEMPT_DELAY;
        Some((target, race.initiation))
    }

    /// The initiation under way is to be sent once more to everybody, from now on: what was sent may have had no way.
    pub(crate) fn race_again(&mut self, now: Instant) {
        if let Some(race) = &mut self.race {
            race.waiting.extend(race.called.drain(..));
            race.at = now;
        }
    }

    /// The initiation under way was answered, or is given up.
    pub(crate) fn race_over(&mut self) {
        self.race = None;
    }

    /// An initiation stayed unanswered: what to try now.
    pub(crate) fn unanswered(&mut self) -> Option<Step> {
        self.unanswered = self.unanswered.saturating_add(1);
        match self.unanswered % 3 {
            1 => self.active().map(Step::LookUp),
            2 => Some(Step::ChangePort),
            _ if self.endpoints.len() > 1 => {
                let last = self.active.saturating_add(1) >= self.endpoints.len();
                self.active = if last { 0 } else { self.active.saturating_add(1) };
                Some(Step::Endpoint(self.active))
            }
            _ => None,
        }
    }

    /// The peer sends from another place: of several endpoints that is the one to call first.
    pub(crate) fn moved(&mut self, endpoint: Option<Endpoint>) {
        if let Some(there) = endpoint.and_then(|endpoint| self.endpoint_at(endpoint.remote)) {
            self.active = there;
        }
    }

    /// A handshake completed with a peer at `remote`.
    pub(crate) fn answered(&mut self, now: Instant, remote: SocketAddr) {
        self.race_over();
        self.unanswered = 0;
        let Some(serving) = self.endpoint_at(remote) else { return };
        self.active = serving;
        if serving > 0 {
            self.returned = None;
            self.return_at.get_or_insert(now + self.return_pause);
            return;
        }
        self.return_at = None;
        let returned = *self.returned.get_or_insert(now);
        if now.since(returned) >= LAST_RETURN {
            self.return_pause = FIRST_RETURN;
        }
    }

    /// Whether it is time to call the first endpoint, which can be done only if `may_call`. The next time is later, by so much
    /// the more if it is called.
    pub(crate) fn return_due(&mut self, now: Instant, may_call: bool) -> bool {
        if self.return_at.is_none_or(|at| at > now) {
            return false;
        }
        if may_call {
            self.return_pause = self.return_pause.saturating_mul(2).min(LAST_RETURN);
            self.return_at = Some(now + self.return_pause);
        } else {
            self.return_at = Some(now + REKEY_TIMEOUT);
        }
        may_call
    }

    /// The addresses of the first endpoint.
    pub(crate) fn first_endpoint(&self) -> &[SocketAddr] {
        self.endpoints.first().map_or(&[], Vec::as_slice)
    }

    /// The next deadline and its name.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        let race = self.race.as_ref().filter(|race| !race.waiting.is_empty());
        let race = race.map(|race| (race.at, Timer::Race));
        race.into_iter().chain(self.return_at.map(|at| (at, Timer::Return))).min()
    }

    /// The first endpoint that has this address.
    fn endpoint_at(&self, address: SocketAddr) -> Option<usize> {
        self.endpoints.iter().position(|addresses| addresses.contains(&address))
    }
}

impl Race {
    /// Adds those who are not called yet.
    fn join(&mut self, now: Instant, addresses: &[SocketAddr]) {
        if self.waiting.is_empty() {
            self.at = now;
        }
        for address in addresses {
            let known = self.called.len().saturating_add(self.waiting.len());
            if known < MAX_CALLED
                && !self.called.contains(address)
                && !self.waiting.contains(address)
            {
                self.waiting.push_back(*address);
            }
        }
    }
}

/// Some addresses of a name, the families in turn (RFC 8305 §4), in the order they have otherwise.
fn arrange(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.iter().partition(|address| address.is_ipv4() == first_is_v4);
    let longest = first.len().max(second.len());
    let in_turn = (0..longest).flat_map(|at| [first.get(at), second.get(at)]).flatten();
    in_turn.take(MAX_ADDRESSES).copied().collect()
}
