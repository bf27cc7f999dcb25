//! A session: the keys of both directions. Its sealing half is read by the outbound thread, its opening half
//! is owned by the inbound thread; the control thread makes and erases both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use zerocopy::{FromBytes, IntoBytes};

use super::constants::{
    REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME,
    REKEY_ON_RECEIVE_TIME,
};
use super::discard::Discard;
use super::noise::SessionKeys;
use super::replay::{Arrivals, ReplayWindow};
use super::time::Instant;
use super::usage::{Limits, blocks};
use crate::crypto::aead::TransportKey;
use crate::wire::transport::HEADER;
use crate::wire::{MessageType, Profile, TransportHeader};

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
    let begun = Progress { confirmed: role == Role::Initiator, ..Progress::default() };
    resumed(keys, role, born, begun)
}

/// How far a session has come.
#[derive(Default)]
pub(crate) struct Progress {
    /// The next counter to send.
    pub(crate) counter: u64,
    /// Blocks sealed, or about to be.
    pub(crate) sealed: u64,
    /// Which counters were seen.
    pub(crate) window: ReplayWindow,
    /// Blocks opened, authentic or not.
    pub(crate) opened: u64,
    /// Whether the peer has used the session.
    pub(crate) confirmed: bool,
}

/// Both halves of a session that goes on.
pub(crate) fn resumed(
    keys: &SessionKeys,
    role: Role,
    born: Instant,
    progress: Progress,
) -> (SealingHalf, OpeningHalf) {
    let Progress { counter, sealed, window, opened, confirmed } = progress;
    let cipher = keys.profile.cipher();
    let limits = Limits::of(cipher);
    let worn = Arc::new(AtomicBool::new(opened > limits.rekey));
    let sealing = SealingHalf {
        key: TransportKey::new(cipher, &keys.send),
        peer_index: keys.peer_index,
        counter: AtomicU64::new(counter),
        blocks: AtomicU64::new(sealed),
        limits,
        opening_worn: Arc::clone(&worn),
        role,
        born,
    };
    let opening = OpeningHalf {
        key: TransportKey::new(cipher, &keys.receive),
        profile: keys.profile,
        local_index: keys.local_index,
        window,
        blocks: opened,
        limits,
        worn,
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
    /// Blocks that were sealed, or whose counters are taken.
    blocks: AtomicU64,
    limits: Limits,
    /// The other half asks for the next session.
    opening_worn: Arc<AtomicBool>,
    role: Role,
    born: Instant,
}

impl SealingHalf {
    /// The first of `count` counters for datagrams of up to `len` bytes, which are used up; `None` if the session may send no
    /// more.
    pub(crate) fn take_counters(&self, now: Instant, count: usize, len: usize) -> Option<u64> {
        if self.is_expired(now) {
            return None;
        }
        let more = blocks(len).saturating_mul(count as u64);
        let take = |used| self.limits.add(used, more);
        self.blocks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        let take = |counter: u64| {
            counter.checked_add(count as u64).filter(|end| *end <= REJECT_AFTER_MESSAGES)
        };
        self.counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
    }

    /// The next counter.
    pub(crate) fn counter(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }

    /// The blocks that count against the limit.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
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
        let worn = self.blocks() > self.limits.rekey || self.opening_worn.load(Ordering::Relaxed);
        old || worn || self.counter() > REKEY_AFTER_MESSAGES
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

    /// As if so many blocks had been sealed.
    #[cfg(test)]
    pub(crate) fn set_blocks(&self, blocks: u64) {
        self.blocks.store(blocks, Ordering::Relaxed);
    }
}

/// What receives: key and replay window.
pub(crate) struct OpeningHalf {
    key: TransportKey,
    profile: Profile,
    local_index: u32,
    window: ReplayWindow,
    /// Blocks that were opened, authentic or not.
    blocks: u64,
    limits: Limits,
    /// Set once there are so many that the next session is to be asked for.
    worn: Arc<AtomicBool>,
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

    /// The blocks that count against the limit.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// What both ends speak.
    pub(crate) fn profile(&self) -> Profile {
        self.profile
    }

    /// Whether so much was opened, or was to be, that the next session is to be asked for.
    pub(crate) fn is_worn(&self) -> bool {
        self.blocks > self.limits.rekey
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
        let len = datagram.len();
        let (header, sealed) =
            datagram.split_at_mut_checked(HEADER).ok_or(Discard::MessageLength)?;
        let header = TransportHeader::ref_from_bytes(header).map_err(|_| Discard::MessageLength)?;
        let counter = header.counter.get();
        if now.since(self.born) >= REJECT_AFTER_TIME || counter >= REJECT_AFTER_MESSAGES {
            return Err(Discard::SessionEnded);
        }
        self.count(len)?;
        let text = self.key.open(counter, sealed).ok_or(Discard::DataNotAuthentic)?;
        if !self.window.accept_counted(counter, arrivals) {
            return Err(Discard::Replayed);
        }
        Ok(text)
    }

    /// Counts the blocks of a datagram that is about to be opened.
    fn count(&mut self, len: usize) -> Result<(), Discard> {
        self.blocks = self.limits.add(self.blocks, blocks(len)).ok_or(Discard::SessionEnded)?;
        if self.is_worn() {
            self.worn.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether this is the first authentic packet of a session we answered: it confirms the session.
    pub(crate) fn confirm(&mut self) -> bool {
        !std::mem::replace(&mut self.confirmed, true)
    }

    /// As if so many blocks had been opened.
    #[cfg(test)]
    pub(crate) fn set_blocks(&mut self, blocks: u64) {
        self.blocks = blocks;
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
mod tests;
