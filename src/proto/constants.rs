//! The numbers of the protocol under the names of the WireGuard paper (§6.1), and the kernel's where it has none.

use std::time::Duration;

/// A session's counter beyond which a new handshake is asked for.
pub(crate) const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// First counter that is never used nor accepted: the replay window's width below the wrap.
pub(crate) const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Blocks under one key of AES-256-GCM beyond which a new handshake is asked for: 2^28 messages of 2^11 bytes, where RFC 9001
/// (§6.6) ends.
pub(crate) const REKEY_AFTER_BLOCKS: u64 = 1 << 35;
/// The most blocks under one key of AES-256-GCM: an attacker who sees them all tells them from random bytes with a chance of
/// 2^-57, the margin of RFC 8446 (§5.5).
pub(crate) const REJECT_AFTER_BLOCKS: u64 = (1 << 36) - 1;
/// Age at which the initiator of a session replaces it, on sending.
pub(crate) const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// Age from which a session neither sends nor receives.
pub(crate) const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// How long a handshake is retried.
pub(crate) const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// Time between two initiations.
pub(crate) const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long received data may stay without an answer before a passive keepalive.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Age at which the initiator of a session replaces it, on receiving: the last chance before it ends.
pub(crate) const REKEY_ON_RECEIVE_TIME: Duration = Duration::from_secs(180 - 10 - 5);
/// How long sent data may stay without anything heard before a new handshake.
pub(crate) const SILENCE_TIMEOUT: Duration = Duration::from_secs(10 + 5);
/// Keys and handshakes are erased this long after the last session began.
pub(crate) const ERASE_AFTER_TIME: Duration = Duration::from_secs(3 * 180);
/// Most jitter that is added to a timer which both ends might have.
pub(crate) const MAX_JITTER: Duration = Duration::from_millis(333);
/// Initiations of one handshake: the first, the retries that fit into [`REKEY_ATTEMPT_TIME`], and, as in the
/// kernel, one more.
pub(crate) const MAX_INITIATIONS: u32 =
    2 + (REKEY_ATTEMPT_TIME.as_secs() / REKEY_TIMEOUT.as_secs()) as u32;
/// Least time between two initiations of the peer that are consumed.
pub(crate) const INITIATION_INTERVAL: Duration = Duration::from_millis(20);

/// How long the secret behind our cookies lasts, and so a cookie.
pub(crate) const COOKIE_TIME: Duration = Duration::from_secs(120);
/// A received cookie is used this much shorter than the other end honours it.
pub(crate) const COOKIE_LATENCY: Duration = Duration::from_secs(5);
/// Handshake messages waiting for control from which on it is under load.
pub(crate) const UNDER_LOAD_QUEUED: usize = HANDSHAKE_QUEUE / 8;
/// Handshake messages in so much time beyond which we are under load though control keeps up: their key exchanges would
/// take a twentieth of a processor.
pub(crate) const UNDER_LOAD_MESSAGES: usize = 100;
pub(crate) const UNDER_LOAD_MOMENT: Duration = Duration::from_millis(100);
/// How long load lasts after it was last seen.
pub(crate) const UNDER_LOAD_TIME: Duration = Duration::from_secs(1);
/// Handshake messages a second that one source may send under load.
pub(crate) const PER_SOURCE_RATE: u32 = 20;
/// Handshake messages that one source may send at once under load.
pub(crate) const PER_SOURCE_BURST: u32 = 5;

/// Handshake messages that wait for control; more are discarded.
pub const HANDSHAKE_QUEUE: usize = 4096;
/// Packets that wait for a session; the oldest makes room.
pub(crate) const MAX_STAGED: usize = 128;
