//! Handover: what one process leaves of a tunnel so that the next one goes on with its sessions, as if nothing had happened.
//!
//! No counter may be used twice under one key. So it is made when the data threads have ended, and whoever reads it must
//! erase it before anything is sent: [`Handover::take`] does.

use std::net::SocketAddr;
use std::str;
use std::sync::Arc;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};
use zeroize::Zeroize;

use super::constants::REJECT_AFTER_TIME;
use super::noise::SessionKeys;
use super::replay::ReplayWindow;
use super::session::{OpeningHalf, Progress, Role, Session, resumed};
use super::time::Instant;
use super::timestamp::Timestamp;
use crate::crypto::PublicKey;
use crate::crypto::hash::{HASH, hash};
use crate::crypto::secret::Secret;
use crate::wire::Profile;

/// Changes with the layout, so that another version's is refused.
const MAGIC: [u8; 8] = *b"tunneld\x02";

/// The bytes: in one place on the heap, erased when dropped.
pub struct Handover(Box<Layout>);

/// As it lies in memory; the processor's own byte order, since it never leaves the host.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    /// Whose sessions these are, and of which profile.
    bond: [u8; HASH],
    /// Where the peer is, as text; zeros behind it.
    endpoint: [u8; 64],
    /// The greatest timestamp of the peer's initiations; zeros if there was none.
    timestamp: Timestamp,
    reserved: [u8; 4],
    /// Previous, current, next.
    sessions: [Record; 3],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Record {
    counter: u64,
    /// Blocks sealed, and blocks opened.
    blocks: [u64; 2],
    born: u64,
    window: ReplayWindow,
    send: [u8; 32],
    receive: [u8; 32],
    local_index: u32,
    peer_index: u32,
    /// 0: there is no such session; else [`INITIATOR`] or [`RESPONDER`].
    role: u8,
    confirmed: u8,
    reserved: [u8; 6],
}

const INITIATOR: u8 = 1;
const RESPONDER: u8 = 2;

impl Handover {
    /// The bytes that [`Handover::take`] takes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Reads `bytes`, which it erases. `None` if they are not of this version.
    #[must_use]
    pub fn take(bytes: &mut [u8]) -> Option<Self> {
        let mut layout = Box::new(Layout::new_zeroed());
        let fits = bytes.len() == size_of::<Layout>();
        if fits {
            layout.as_mut_bytes().copy_from_slice(bytes);
        }
        bytes.zeroize();
        let handover = Self(layout);
        (fits && handover.0.magic == MAGIC).then_some(handover)
    }

    /// Of no session yet.
    pub(super) fn new(
        profile: Profile,
        ours: &PublicKey,
        theirs: &PublicKey,
        endpoint: Option<SocketAddr>,
        timestamp: Option<Timestamp>,
    ) -> Self {
        let mut layout = Box::new(Layout::new_zeroed());
        layout.magic = MAGIC;
        layout.bond = bond(profile, ours, theirs);
        layout.timestamp = timestamp.unwrap_or_default();
        let text = endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default();
        for (byte, sign) in layout.endpoint.iter_mut().zip(text.bytes()) {
            *byte = sign;
        }
        Self(layout)
    }

    /// Adds the session of one slot.
    pub(super) fn add(&mut self, slot: usize, session: &Session, opening: &OpeningHalf) {
        if let Some(record) = self.0.sessions.get_mut(slot) {
            record.fill(session, opening);
        }
    }

    /// Whether it is of these two hosts, and of this profile.
    pub(super) fn is_of(&self, profile: Profile, ours: &PublicKey, theirs: &PublicKey) -> bool {
        self.0.bond == bond(profile, ours, theirs)
    }

    /// Where the peer was.
    pub(super) fn endpoint(&self) -> Option<SocketAddr> {
        let text = str::from_utf8(&self.0.endpoint).ok()?;
        text.trim_end_matches('\0').parse().ok()
    }

    /// The greatest timestamp of the peer's initiations.
    pub(super) fn timestamp(&self) -> Timestamp {
        self.0.timestamp
    }

    /// The sessions that have not ended, by slot, given the profile that they are of.
    pub(super) fn sessions(
        &self,
        profile: Profile,
        now: Instant,
    ) -> [Option<(Session, OpeningHalf)>; 3] {
        self.0.sessions.each_ref().map(|record| record.resume(profile, now))
    }
}

fn bond(profile: Profile, ours: &PublicKey, theirs: &PublicKey) -> [u8; HASH] {
    hash(&[ours.as_bytes(), theirs.as_bytes(), profile.identifier().as_bytes()])
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.0.as_mut_bytes().zeroize();
    }
}

impl Record {
    fn fill(&mut self, session: &Session, opening: &OpeningHalf) {
        self.counter = session.sealing.counter();
        self.blocks = [session.sealing.blocks(), opening.blocks()];
        self.born = session.sealing.born().as_nanos();
        self.window = opening.window().clone();
        self.send = *session.keys.send;
        self.receive = *session.keys.receive;
        self.local_index = session.keys.local_index;
        self.peer_index = session.keys.peer_index;
        self.role = match session.role {
            Role::Initiator => INITIATOR,
            Role::Responder => RESPONDER,
        };
        self.confirmed = opening.confirmed().into();
    }

    /// The session, unless there is none or it has ended.
    fn resume(&self, profile: Profile, now: Instant) -> Option<(Session, OpeningHalf)> {
        let role = match self.role {
            INITIATOR => Role::Initiator,
            RESPONDER => Role::Responder,
            _ => return None,
        };
        let born = Instant::from_nanos(self.born);
        if born > now || now.since(born) >= REJECT_AFTER_TIME {
            return None;
        }
        let keys = SessionKeys {
            profile,
            local_index: self.local_index,
            peer_index: self.peer_index,
            send: Secret::from(self.send),
            receive: Secret::from(self.receive),
        };
        let [sealed, opened] = self.blocks;
        let progress = Progress {
            counter: self.counter,
            sealed,
            window: self.window.clone(),
            opened,
            confirmed: self.confirmed != 0,
        };
        let (sealing, opening) = resumed(&keys, role, born, progress);
        Some((Session { keys, role, sealing: Arc::new(sealing) }, opening))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::session::halves;

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    /// What is left in the middle slot of a session that began at `born`.
    fn handed_over(role: Role, born: Instant) -> Option<(Session, OpeningHalf)> {
        let public = PublicKey::from([1; 32]);
        let secret = || Secret::from([5; 32]);
        let keys = SessionKeys {
            profile: Profile::WireGuard,
            local_index: 1,
            peer_index: 2,
            send: secret(),
            receive: secret(),
        };
        let (sealing, opening) = halves(&keys, role, born);
        let session = Session { keys, role, sealing: Arc::new(sealing) };
        let mut handover = Handover::new(Profile::WireGuard, &public, &public, None, None);
        handover.add(1, &session, &opening);
        let [previous, current, next] = handover.sessions(Profile::WireGuard, NOW);
        assert!(previous.is_none() && next.is_none());
        current
    }

    #[test]
    fn a_session_of_this_instant_goes_on_and_one_of_the_future_does_not() {
        assert!(handed_over(Role::Initiator, NOW).is_some());
        assert!(handed_over(Role::Initiator, NOW + Duration::from_nanos(1)).is_none());
    }

    #[test]
    fn whether_the_peer_has_used_a_session_is_handed_over() {
        for (role, confirmed) in [(Role::Initiator, true), (Role::Responder, false)] {
            let (session, opening) = handed_over(role, NOW).unwrap();
            assert_eq!((session.role, opening.confirmed()), (role, confirmed));
        }
    }
}
