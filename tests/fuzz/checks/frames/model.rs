//! The reference: what becomes of text that an authentic peer sends, by docs/protocol.md and docs/configuration.md.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tunneld::proto::{Discard, FrameRules, Instant};
use tunneld::wire::Ecn;
use tunneld::wire::mss::{self, ClampMss, MssLimit};

use super::super::ecn;
use super::super::incomplete::Incomplete;
use crate::link::secs;
use crate::paper::{REJECT_AFTER_TIME, WINDOW};

/// What came of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered(Vec<u8>),
    /// A fragment or a keepalive.
    Nothing,
    Refused(Discard),
}

/// A datagram that arrives, before it was sealed.
pub(super) struct Arrival<'d> {
    pub(super) session: u32,
    pub(super) counter: u64,
    pub(super) now: Instant,
    pub(super) text: &'d [u8],
    pub(super) ecn: Ecn,
    /// Whether it was refused as of one station too many: when exactly that is, is not told.
    pub(super) limited: bool,
}

pub(super) struct Model {
    rules: FrameRules,
    mss: Option<MssLimit>,
    sessions: BTreeMap<u32, Session>,
    /// The session of which something came last, and one of which nothing came.
    current: Option<u32>,
    waiting: Option<u32>,
    /// Where in the frame, and the bytes.
    incomplete: Incomplete<Vec<(usize, Vec<u8>)>>,
    stations: BTreeMap<[u8; 6], Instant>,
    /// How long it takes at the limit until as many frames to groups are due as passed, at that moment.
    ahead: (Duration, Option<Instant>),
    /// Refused so far.
    pub(super) refused: u64,
    /// Frames delivered so far, and their bytes.
    pub(super) delivered: (u64, u64),
}

struct Session {
    born: Instant,
    seen: BTreeSet<u64>,
}

impl Model {
    pub(super) fn new(rules: FrameRules, clamp: ClampMss, mtu: usize) -> Self {
        let mss = match clamp {
            ClampMss::Off => None,
            // Its frame has two tags at most, and four bytes before it.
            ClampMss::ToMtu => Some(MssLimit::of_mtu(mtu - 26)),
            ClampMss::To(bytes) => Some(MssLimit::fixed(bytes)),
        };
        Self {
            rules,
            mss,
            sessions: BTreeMap::new(),
            current: None,
            waiting: None,
            incomplete: Incomplete::default(),
            stations: BTreeMap::new(),
            ahead: (Duration::ZERO, None),
            refused: 0,
            delivered: (0, 0),
        }
    }

    /// Incomplete frames that were forgotten so far.
    pub(super) fn forgotten(&self) -> u64 {
        self.incomplete.forgotten
    }

    /// The peer began a session. The one in use goes on, the others end.
    pub(super) fn begin(&mut self, session: u32, now: Instant) {
        self.waiting = Some(session);
        self.sessions.insert(session, Session { born: now, seen: BTreeSet::new() });
        self.sessions.retain(|index, _| [self.current, self.waiting].contains(&Some(*index)));
        self.incomplete.keep(&self.sessions.keys().copied().collect::<Vec<_>>());
    }

    pub(super) fn arrives(&mut self, arrival: &Arrival<'_>) -> Outcome {
        let outcome = self.judge(arrival);
        match &outcome {
            Ok(Some(frame)) => {
                self.delivered = (self.delivered.0 + 1, self.delivered.1 + frame.len() as u64);
            }
            Ok(None) => {}
            Err(_) => self.refused += 1,
        }
        match outcome {
            Ok(Some(frame)) => Outcome::Delivered(frame),
            Ok(None) => Outcome::Nothing,
            Err(reason) => Outcome::Refused(reason),
        }
    }

    fn judge(&mut self, arrival: &Arrival<'_>) -> Result<Option<Vec<u8>>, Discard> {
        let Arrival { session: index, counter, now, text, .. } = *arrival;
        let session = self.sessions.get_mut(&index).ok_or(Discard::UnknownReceiver)?;
        if now.since(session.born) >= REJECT_AFTER_TIME {
            return Err(Discard::SessionEnded);
        }
        let behind = session.seen.last().is_some_and(|last| counter + WINDOW < *last);
        if behind || !session.seen.insert(counter) {
            return Err(Discard::Replayed);
        }
        if self.waiting == Some(index) {
            self.current = self.waiting.take();
        }
        match *text {
            [] => Ok(None),
            [1, 0, high, low, ref rest @ ..] => {
                let len = usize::from(u16::from_be_bytes([high, low]));
                let frame = rest.get(..len).ok_or(Discard::FrameMalformed)?;
                self.pass(arrival, frame)?;
                self.rewritten(frame, arrival.ecn).map(Some)
            }
            [2, number, l0, l1, o0, o1, t0, t1, ref rest @ ..] => {
                let [len, offset, total] = [[l0, l1], [o0, o1], [t0, t1]]
                    .map(|bytes| usize::from(u16::from_be_bytes(bytes)));
                if len == 0 || offset + len > total || len > rest.len() {
                    return Err(Discard::FrameMalformed);
                }
                let name = (index, counter.wrapping_sub(number.into()));
                let Some(frame) = self.join(name, total, offset, &rest[..len]) else {
                    return Ok(None);
                };
                self.pass(arrival, &frame)?;
                Ok(Some(frame))
            }
            [1 | 2, ..] => Err(Discard::FrameMalformed),
            _ => Err(Discard::UnknownControl),
        }
    }

    /// The frame, if this fragment completes it.
    fn join(
        &mut self,
        name: (u32, u64),
        total: usize,
        offset: usize,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let fragments = self.incomplete.of(name, total)?;
        fragments.push((offset, bytes.to_vec()));
        let here: usize = fragments.iter().map(|(_, bytes)| bytes.len()).sum();
        if here < total {
            return None;
        }
        let mut frame = vec![0; total];
        for (offset, bytes) in fragments {
            frame[*offset..*offset + bytes.len()].copy_from_slice(bytes);
        }
        self.incomplete.remove(name);
        Some(frame)
    }

    /// Whether a frame may cross, by its addresses.
    fn pass(&mut self, arrival: &Arrival<'_>, frame: &[u8]) -> Result<(), Discard> {
        let now = arrival.now;
        header(frame).ok_or(Discard::NotFrame)?;
        let (to, from) = (&frame[..6], <[u8; 6]>::try_from(&frame[6..12]).unwrap());
        self.admit(now, from, arrival.limited)?;
        if to[0] & 1 == 0 {
            return Ok(());
        }
        if to[..5] == [1, 0x80, 0xc2, 0, 0] && to[5] < 16 && !self.rules.link_local {
            return Err(Discard::LinkLocal);
        }
        if self.rules.broadcast_limit == 0 {
            return Ok(());
        }
        let (ahead, then) = self.ahead;
        let ahead = ahead.saturating_sub(then.map_or(Duration::ZERO, |then| now.since(then)));
        let refused = ahead >= secs(1);
        let each = secs(1) / self.rules.broadcast_limit;
        self.ahead = (if refused { ahead } else { ahead + each }, Some(now));
        if refused { Err(Discard::BroadcastLimit) } else { Ok(()) }
    }

    /// A station that was heard within five minutes is known; others may come while there are fewer than the limit.
    /// Within two seconds of five minutes either may be.
    fn admit(&mut self, now: Instant, from: [u8; 6], limited: bool) -> Result<(), Discard> {
        let heard = |within: u64| {
            self.stations.iter().filter(move |(_, at)| now.since(**at) < secs(within))
        };
        let is_known = |within| heard(within).any(|(station, _)| *station == from);
        if limited {
            assert!(!is_known(298), "known, but refused");
            assert!(heard(302).count() >= self.rules.mac_limit, "refused, though there is room");
            return Err(Discard::MacLimit);
        }
        assert!(is_known(302) || heard(298).count() < self.rules.mac_limit, "one too many");
        self.stations.insert(from, now);
        Ok(())
    }

    /// The frame as the device gets it.
    fn rewritten(&self, frame: &[u8], outer: Ecn) -> Result<Vec<u8>, Discard> {
        let (at, ether_type) = header(frame).ok_or(Discard::NotFrame)?;
        let mut frame = frame.to_vec();
        let packet = &mut frame[at..];
        let least = match (ether_type, packet.first().map(|first| first >> 4)) {
            (0x0800, Some(4)) => 20,
            (0x86dd, Some(6)) => 40,
            _ => return Ok(frame),
        };
        if packet.len() >= least {
            ecn::hand_in(packet, outer)?;
            if let Some(limit) = self.mss {
                mss::clamp(packet, limit);
            }
        }
        Ok(frame)
    }
}

/// Where the header of a frame ends behind up to two tags, and the type of what follows.
fn header(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = 12;
    loop {
        let ether_type = u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]);
        if at == 20 || !matches!(ether_type, 0x8100 | 0x88a8) {
            return Some((at + 2, ether_type));
        }
        at += 4;
    }
}
