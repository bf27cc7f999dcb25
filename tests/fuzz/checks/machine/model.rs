//! The reference: what two hosts of WireGuard's protocol may put on the wire and accept from it, by what was on the
//! wire before. It knows no key, only the indices and counters that stand in the clear.

use std::collections::{BTreeMap, BTreeSet};

use tunneld::proto::Instant;

use crate::link::Datagram;
use crate::paper::{
    COOKIE_REPLY, DATA, INITIATION, REJECT_AFTER_TIME, REKEY_TIMEOUT, RESPONSE, counter, index,
};

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    A,
    B,
}

impl End {
    pub(super) fn other(self) -> Self {
        if self == Self::A { Self::B } else { Self::A }
    }
}

#[derive(Default)]
pub(super) struct Model {
    /// Packets that may be delivered, by the end that gets them.
    waiting: [BTreeSet<Vec<u8>>; 2],
    delivered: [usize; 2],
    /// All that ever left, without mac2, which nothing protects.
    genuine: BTreeSet<Vec<u8>>,
    /// Receiver indices and counters of all data that left: none twice, for they are the nonce.
    nonces: BTreeSet<(u32, u64)>,
    /// The same of all data that was accepted.
    opened: BTreeSet<(u32, u64)>,
    /// By the end that holds them and its index.
    sessions: BTreeMap<(End, u32), Session>,
    /// Handshake messages that were accepted, by the end that took them, until it forgets all.
    consumed: BTreeSet<(End, Vec<u8>)>,
    last_initiation: [Option<Instant>; 2],
}

/// One end of a session.
struct Session {
    peer_index: u32,
    born: Instant,
    /// Whether this end may send: it began the session, or has data of it.
    confirmed: bool,
}

impl Model {
    /// The device of `end` hands over `packet`.
    pub(super) fn sends(&mut self, end: End, packet: &[u8]) {
        self.waiting[end.other() as usize].insert(packet.to_vec());
    }

    /// How many packets each end got so far.
    pub(super) fn delivered(&self) -> [usize; 2] {
        self.delivered
    }

    /// `end` forgets all.
    pub(super) fn restarted(&mut self, end: End) {
        self.sessions.retain(|(holder, _), _| *holder != end);
        self.consumed.retain(|(taker, _)| *taker != end);
        self.last_initiation[end as usize] = None;
    }

    /// `datagram` left `end`.
    pub(super) fn left(&mut self, end: End, now: Instant, datagram: &Datagram) {
        let bytes = &datagram.bytes;
        let is_new = self.genuine.insert(without_mac2(bytes));
        match bytes[0] {
            // Of each, copies go to several addresses.
            INITIATION if !is_new => {}
            INITIATION => {
                let last = self.last_initiation[end as usize].replace(now);
                let apart = last.map(|last| now.since(last));
                assert!(apart.is_none_or(|apart| apart >= REKEY_TIMEOUT), "too soon: {apart:?}");
            }
            RESPONSE => {
                let session = Session { peer_index: index(bytes, 8), born: now, confirmed: false };
                self.sessions.insert((end, index(bytes, 4)), session);
            }
            COOKIE_REPLY => {}
            DATA => {
                let (receiver, counter) = (index(bytes, 4), counter(bytes));
                assert!(self.nonces.insert((receiver, counter)), "a nonce is used again");
                let mut held = self.sessions.iter().filter(|((holder, _), _)| *holder == end);
                let (_, session) =
                    held.find(|(_, session)| session.peer_index == receiver).expect("a session");
                assert!(session.confirmed, "data before the initiator's");
                assert!(now.since(session.born) < REJECT_AFTER_TIME, "data of an old session");
            }
            other => panic!("type {other}"),
        }
    }

    /// `end` took `datagram` in, and its device got `delivered`.
    pub(super) fn accepted(
        &mut self,
        end: End,
        now: Instant,
        datagram: &Datagram,
        delivered: &[Vec<u8>],
    ) {
        let bytes = &datagram.bytes;
        assert!(self.genuine.contains(&without_mac2(bytes)), "accepted, but forged");
        assert!(delivered.len() <= usize::from(bytes[0] == DATA && bytes.len() > 32));
        for packet in delivered {
            let is_new = self.waiting[end as usize].remove(packet);
            assert!(is_new, "delivered, but never sent, or again");
            self.delivered[end as usize] += 1;
        }
        match bytes[0] {
            DATA => {
                let receiver = index(bytes, 4);
                assert!(
                    self.opened.insert((receiver, counter(bytes))),
                    "a nonce is accepted again"
                );
                let session = self.sessions.get_mut(&(end, receiver)).expect("a session");
                assert!(now.since(session.born) < REJECT_AFTER_TIME, "data of an old session");
                session.confirmed = true;
            }
            kind => {
                let is_new = self.consumed.insert((end, without_mac2(bytes)));
                assert!(is_new, "a handshake message is accepted again");
                if kind == RESPONSE {
                    let (own, peer_index) = (index(bytes, 8), index(bytes, 4));
                    let session = Session { peer_index, born: now, confirmed: true };
                    self.sessions.insert((end, own), session);
                }
            }
        }
    }
}

fn without_mac2(bytes: &[u8]) -> Vec<u8> {
    let handshake =
        matches!((bytes.first(), bytes.len()), (Some(&INITIATION), 148) | (Some(&RESPONSE), 92));
    bytes[..bytes.len() - if handshake { 16 } else { 0 }].to_vec()
}
