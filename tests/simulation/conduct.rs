//! How one process behaves towards its peer, as its datagrams tell: initiations, sessions, indices, counters.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tunneld::proto::Instant;

use crate::paper::{
    DATA, INITIATION, MOST_JITTER, REJECT_AFTER_TIME, REKEY_TIMEOUT, RESPONSE, counter, index,
};
use crate::witness::Rule;

/// Initiations that may be answered.
const OUTSTANDING: usize = 2;
/// How long each of them may be: twice the longest time between two.
const ANSWERED_WITHIN: Duration =
    Duration::from_millis(2 * (REKEY_TIMEOUT.as_millis() + MOST_JITTER.as_millis()) as u64);
/// How long a session is remembered: longer than it may live, to tell one that ended from one that never was.
const REMEMBERED: Duration = REJECT_AFTER_TIME.saturating_mul(2);

#[derive(Default)]
pub struct Conduct {
    last_initiation: Option<(Instant, Vec<u8>)>,
    /// Who got it.
    called: Vec<SocketAddr>,
    /// Sender index and time of the initiations that may be answered, the newest last.
    initiations: VecDeque<(u32, Instant)>,
    /// The newest last.
    sessions: Vec<Session>,
}

struct Session {
    local: u32,
    peer: u32,
    born: Instant,
    confirmed: bool,
    last_counter: Option<u64>,
}

type Checked = Result<(), (Rule, String)>;

fn check(holds: bool, rule: Rule, text: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err((rule, text())) }
}

impl Conduct {
    /// It heard that its network changed: what is under way may go to everybody once more.
    pub fn network_changed(&mut self) {
        self.called.clear();
    }

    /// It sent a datagram.
    pub fn sends(&mut self, now: Instant, to: SocketAddr, bytes: &[u8]) -> Checked {
        match bytes[0] {
            INITIATION => self.initiates(now, to, bytes),
            RESPONSE => {
                self.unused(index(bytes, 4))?;
                self.begins(now, index(bytes, 4), index(bytes, 8), false);
                Ok(())
            }
            DATA => self.sends_data(now, index(bytes, 4), counter(bytes)),
            _ => Ok(()),
        }
    }

    /// It took a datagram in.
    pub fn accepts(&mut self, now: Instant, bytes: &[u8]) -> Checked {
        match bytes[0] {
            RESPONSE => {
                let (local, peer) = (index(bytes, 8), index(bytes, 4));
                let mut sent = self.initiations.iter();
                let sent = sent.position(|(index, _)| *index == local);
                let answered = sent.and_then(|at| self.initiations.drain(..=at).next_back());
                let awaited = answered.is_some_and(|(_, sent)| now.since(sent) < ANSWERED_WITHIN);
                check(awaited, Rule::ResponseAwaited, || format!("a response to {local}"))?;
                self.begins(now, local, peer, true);
                Ok(())
            }
            DATA => {
                let local = index(bytes, 4);
                let session = self.sessions.iter_mut().find(|session| session.local == local);
                let session = session.ok_or((Rule::SessionAgreed, format!("data for {local}")))?;
                session.confirmed = true;
                let age = now.since(session.born);
                check(age < REJECT_AFTER_TIME, Rule::SessionEnded, || format!("data at {age:?}"))
            }
            _ => Ok(()),
        }
    }

    fn initiates(&mut self, now: Instant, to: SocketAddr, bytes: &[u8]) -> Checked {
        if let Some((last, initiation)) = &self.last_initiation {
            // One and the same may go to several addresses, once to each.
            if initiation == bytes && !self.called.contains(&to) {
                self.called.push(to);
                return Ok(());
            }
            let apart = now.since(*last);
            check(apart >= REKEY_TIMEOUT, Rule::InitiationsApart, || {
                format!("an initiation {apart:?} after the last")
            })?;
        }
        (self.last_initiation, self.called) = (Some((now, bytes.to_vec())), vec![to]);
        let local = index(bytes, 4);
        self.unused(local)?;
        if self.initiations.len() == OUTSTANDING {
            self.initiations.pop_front();
        }
        self.initiations.push_back((local, now));
        Ok(())
    }

    fn unused(&self, local: u32) -> Checked {
        let initiations = self.initiations.iter().map(|(index, _)| *index);
        let sessions = self.sessions.iter().map(|session| session.local);
        let unused = !initiations.chain(sessions).any(|used| used == local);
        check(unused, Rule::IndexUnused, || format!("index {local} again"))
    }

    fn begins(&mut self, born: Instant, local: u32, peer: u32, confirmed: bool) {
        self.sessions.retain(|session| born.since(session.born) < REMEMBERED);
        let last_counter = None;
        self.sessions.push(Session { local, peer, born, confirmed, last_counter });
    }

    fn sends_data(&mut self, now: Instant, peer: u32, counter: u64) -> Checked {
        let session = self.sessions.iter_mut().rev().find(|session| session.peer == peer);
        let session = session.ok_or((Rule::SessionAgreed, format!("data to {peer}")))?;
        let age = now.since(session.born);
        check(age < REJECT_AFTER_TIME, Rule::SessionEnded, || format!("data at {age:?}"))?;
        check(session.confirmed, Rule::ConfirmedFirst, || format!("data to {peer}"))?;
        let last = session.last_counter.replace(counter);
        check(last.is_none_or(|last| last < counter), Rule::CounterIncreases, || {
            format!("counter {counter} after {last:?}")
        })
    }
}
