//! A session: the keys of both directions. Its sealing half is read by the outbound thread, its opening half
//! is owned by the inbound thread; the control thread makes and erases both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::{FromBytes, IntoBytes};

use super::constants::{
    REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME,
    REKEY_ON_RECEIVE_TIME,
};
use super::discard::Discard;
use super::noise::SessionKeys;
use super::replay::{Arrivals, ReplayWindow};
use super::time::Instant;
use crate::crypto::aead::TransportKey;
use crate::wire::transport::HEADER;
use crate::wire::{MessageType, TransportHeader};

/// Who began the handshake of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We did: we also replace the session when it ages.
    Initiator,
    /// The peer did: we may not send before it has.
    Responder,
}

/// Both halves of a new session.
pub(crate) fn halves(keys: &SessionKeys, role: Role, born: Instant) -> (SealingHalf, OpeningHalf) {
    resumed(keys, role, born, 0, ReplayWindow::default(), role == Role::Initiator)
}

/// Both halves of a session that goes on: with the next counter to send, and the window of those received.
pub(crate) fn resumed(
    keys: &SessionKeys,
    role: Role,
    born: Instant,
    counter: u64,
    window: ReplayWindow,
    confirmed: bool,
) -> (SealingHalf, OpeningHalf) {
    let sealing = SealingHalf {
        key: TransportKey::new(&keys.send),
        peer_index: keys.peer_index,
        counter: AtomicU64::new(counter),
        role,
        born,
    };
    let opening = OpeningHalf {
        key: TransportKey::new(&keys.receive),
        local_index: keys.local_index,
        window,
        born,
        confirmed,
    };
    (sealing, opening)
}

/// What sends: key and counter.
pub(crate) struct SealingHalf {
    key: TransportKey,
    peer_index: u32,
    counter: AtomicU64,
    role: Role,
    born: Instant,
}

impl SealingHalf {
    /// The first of `count` counters, which are used up; `None` if the session may send no more.
    pub(crate) fn take_counters(&self, now: Instant, count: usize) -> Option<u64> {
        if self.is_expired(now) {
            return None;
        }
        let take = |counter: u64| {
            counter.checked_add(count as u64).filter(|end| *end <= REJECT_AFTER_MESSAGES)
        };
        self.counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
    }

    /// The next counter.
    pub(crate) fn counter(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }

    /// When the handshake ended.
    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    /// Whether the session serves both ways for a while yet.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        !self.is_expired(now) && !self.wants_rekey(now)
    }

    /// Whether the session is past its time.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        now.since(self.born) >= REJECT_AFTER_TIME
    }

    /// Whether it is time, on sending, to ask for the next session.
    pub(crate) fn wants_rekey(&self, now: Instant) -> bool {
        let old = self.role == Role::Initiator && now.since(self.born) >= REKEY_AFTER_TIME;
        old || self.counter.load(Ordering::Relaxed) > REKEY_AFTER_MESSAGES
    }

    /// Whether it is time, on receiving, to ask for the next session: we began this one and it ends soon.
    pub(crate) fn wants_rekey_on_receive(&self, now: Instant) -> bool {
        self.role == Role::Initiator && now.since(self.born) >= REKEY_ON_RECEIVE_TIME
    }

    /// Makes transport data of a run of slots: all of `stride` bytes but the last, each with a padded packet
    /// between 16 bytes for the header and 16 for the tag. They get the counters from `counter` on.
    pub(crate) fn seal_run(&self, counter: u64, slots: &mut [u8], stride: usize) {
        for (counter, slot) in (counter..).zip(slots.chunks_mut(stride)) {
            let (header, text) = slot.split_at_mut(HEADER);
            header.copy_from_slice(
                TransportHeader {
                    message_type: MessageType::TransportData.into(),
                    receiver: self.peer_index.into(),
                    counter: counter.into(),
                }
                .as_bytes(),
            );
            self.key.seal(counter, text);
        }
    }

    /// Puts the counter where only years of traffic would.
    #[cfg(test)]
    pub(crate) fn set_counter(&self, counter: u64) {
        self.counter.store(counter, Ordering::Relaxed);
    }
}

/// What receives: key and replay window.
pub(crate) struct OpeningHalf {
    key: TransportKey,
    local_index: u32,
    window: ReplayWindow,
    born: Instant,
    confirmed: bool,
}

/// The index that transport data, of at least a header's length, is for, and its counter.
pub(crate) fn index_and_counter(datagram: &[u8]) -> Option<(u32, u64)> {
    let (header, _) = TransportHeader::ref_from_prefix(datagram).ok()?;
    Some((header.receiver.get(), header.counter.get()))
}

impl OpeningHalf {
    pub(crate) fn local_index(&self) -> u32 {
        self.local_index
    }

    /// Which counters were seen.
    pub(crate) fn window(&self) -> &ReplayWindow {
        &self.window
    }

    /// When the handshake ended.
    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    /// Whether the peer has used the session.
    pub(crate) fn confirmed(&self) -> bool {
        self.confirmed
    }

    /// Opens transport data in place; the padded packet, counted in `arrivals`. Each datagram is opened once.
    pub(crate) fn open<'d>(
        &mut self,
        now: Instant,
        datagram: &'d mut [u8],
        arrivals: &mut Arrivals,
    ) -> Result<&'d mut [u8], Discard> {
        let (header, sealed) =
            datagram.split_at_mut_checked(HEADER).ok_or(Discard::MessageLength)?;
        let header = TransportHeader::ref_from_bytes(header).map_err(|_| Discard::MessageLength)?;
        let counter = header.counter.get();
        if now.since(self.born) >= REJECT_AFTER_TIME || counter >= REJECT_AFTER_MESSAGES {
            return Err(Discard::SessionEnded);
        }
        let text = self.key.open(counter, sealed).ok_or(Discard::DataNotAuthentic)?;
        if !self.window.accept_counted(counter, arrivals) {
            return Err(Discard::Replayed);
        }
        Ok(text)
    }

    /// Whether this is the first authentic packet of a session we answered: it confirms the session.
    pub(crate) fn confirm(&mut self) -> bool {
        !std::mem::replace(&mut self.confirmed, true)
    }
}

/// A session as control knows it.
pub(crate) struct Session {
    /// Kept for a [handover](super::handover): the ciphers do not give theirs back.
    pub(crate) keys: SessionKeys,
    pub(crate) role: Role,
    pub(crate) sealing: Arc<SealingHalf>,
}

/// The sessions there may be at once (paper §6.3): one that sends, the one before it for what is still on its
/// way, and one that we answered and that waits for the peer's first packet.
#[derive(Default)]
pub(crate) struct SessionSlots {
    previous: Option<Session>,
    current: Option<Session>,
    next: Option<Session>,
}

impl SessionSlots {
    /// The session that sends.
    pub(crate) fn current(&self) -> Option<&Session> {
        self.current.as_ref()
    }

    /// Previous, current and next.
    pub(crate) fn as_array(&self) -> [Option<&Session>; 3] {
        [&self.previous, &self.current, &self.next].map(Option::as_ref)
    }

    /// Sessions that go on, in the order of [`SessionSlots::as_array`].
    pub(crate) fn from_array([previous, current, next]: [Option<Session>; 3]) -> Self {
        Self { previous, current, next }
    }

    /// The local indices in use.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        [&self.previous, &self.current, &self.next]
            .into_iter()
            .flatten()
            .map(|s| s.keys.local_index)
    }

    /// Adds a session whose handshake just ended. One we began sends at once; what was waiting for
    /// confirmation is only received from then on. One we answered waits.
    pub(crate) fn add(&mut self, session: Session) {
        match session.role {
            Role::Initiator => {
                self.previous = self.next.take().or(self.current.take());
                self.current = Some(session);
            }
            Role::Responder => {
                self.previous = None;
                self.next = Some(session);
            }
        }
    }

    /// Makes the waiting session the one that sends, if it has this index; whether it has.
    pub(crate) fn confirm(&mut self, local_index: u32) -> bool {
        let Some(next) = self.next.take_if(|next| next.keys.local_index == local_index) else {
            return false;
        };
        self.previous = self.current.replace(next);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::secret::Secret;

    const BORN: Instant = Instant::from_nanos(1);

    fn keys(local_index: u32) -> SessionKeys {
        let key = Secret::from([5; 32]);
        SessionKeys { local_index, peer_index: 1, send: key.clone(), receive: key }
    }

    fn pair(role: Role) -> (SealingHalf, OpeningHalf) {
        halves(&keys(1), role, BORN)
    }

    fn session(local_index: u32, role: Role) -> Session {
        Session { keys: keys(local_index), role, sealing: Arc::new(pair(role).0) }
    }

    fn held(slots: &SessionSlots) -> [Option<u32>; 3] {
        [&slots.previous, &slots.current, &slots.next]
            .map(|slot| slot.as_ref().map(|session| session.keys.local_index))
    }

    #[test]
    fn a_session_asks_for_the_next_after_two_to_the_sixty_messages() {
        let (sealing, _) = pair(Role::Responder);
        sealing.set_counter(1 << 60);
        assert!(!sealing.wants_rekey(BORN));
        sealing.take_counters(BORN, 1).unwrap();
        assert!(sealing.wants_rekey(BORN));
    }

    #[test]
    fn the_last_counter_is_used_and_none_after_it() {
        let last = u64::MAX - (1 << 13) - 1;
        let (sealing, mut opening) = pair(Role::Initiator);
        sealing.set_counter(last);
        assert_eq!(sealing.take_counters(BORN, 2), None);
        assert_eq!(sealing.take_counters(BORN, 1), Some(last));
        assert_eq!(sealing.take_counters(BORN, 1), None);
        for (counter, accepted) in [(last, true), (last + 1, false), (last + 9, false)] {
            let mut datagram = [0; 48];
            sealing.seal_run(counter, &mut datagram, 48);
            let opened = opening.open(BORN, &mut datagram, &mut Arrivals::default());
            assert_eq!(opened.is_ok(), accepted, "counter {counter}");
        }
    }

    #[test]
    fn one_we_began_sends_and_pushes_out_what_waited() {
        let mut slots = SessionSlots::default();
        slots.add(session(1, Role::Initiator));
        assert_eq!(held(&slots), [None, Some(1), None]);
        slots.add(session(2, Role::Initiator));
        assert_eq!(held(&slots), [Some(1), Some(2), None]);
        slots.add(session(3, Role::Responder));
        assert_eq!(held(&slots), [None, Some(2), Some(3)]);
        slots.add(session(4, Role::Initiator));
        assert_eq!(held(&slots), [Some(3), Some(4), None]);
    }

    #[test]
    fn one_we_answered_sends_only_once_confirmed() {
        let mut slots = SessionSlots::default();
        slots.add(session(1, Role::Initiator));
        slots.add(session(2, Role::Responder));
        assert!(!slots.confirm(1) && !slots.confirm(7));
        assert_eq!(held(&slots), [None, Some(1), Some(2)]);
        assert!(slots.confirm(2) && !slots.confirm(2));
        assert_eq!(held(&slots), [Some(1), Some(2), None]);
    }
}
