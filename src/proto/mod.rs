//! WireGuard's protocol between two hosts, without sockets, clocks, threads or the system's randomness: time and a seed
//! come in by value.
//!
//! A tunnel has three parts, one for each thread, made together by [`tunnel()`]:
//! - [`Tunnel`], for control: told of handshake messages, facts and timeouts, it decides everything;
//! - [`Outbound`]: seals packets of the overlay with the session that [`Tunnel`] installed;
//! - [`Inbound`]: opens datagrams with the sessions that [`Tunnel`] wants open.
//!
//! After each call to `Tunnel` its owner does what [`Tunnel::poll_request`] gives, sends what [`Tunnel::poll_transmit`] gives, tells
//! what [`Tunnel::poll_event`] gives, puts [`Tunnel::screen`] before the sockets, finds out about [`Tunnel::take_suspect`], wakes the
//! threads that have orders, and asks [`Tunnel::poll_timeout`] when to come back. After each batch the data threads wake control if their `take_wake` says so. Nothing is sent in answer to an unauthenticated datagram but
//! a cookie reply, and that only under load to a sender that knows our public key.

mod admission;
mod allowed_ips;
mod constants;
mod cookie;
mod discard;
mod flood;
mod handover;
mod handshakes;
mod inbound;
mod load;
mod noise;
mod opening;
mod outbound;
mod pieces;
mod reassembly;
mod replay;
mod rewrites;
mod search;
mod session;
mod shared;
mod staged;
mod stations;
mod time;
mod timers;
mod timestamp;
mod tunnel;
mod usage;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use constants::HANDSHAKE_QUEUE;
pub use discard::{Discard, Stats};
pub use handover::Handover;
pub use inbound::{Inbound, Received};
pub use outbound::Outbound;
pub use replay::{Arrivals, ReplayWindow};
pub use session::Role;
pub use stations::FrameRules;
pub use time::{Instant, Now};
pub use timers::Timer;
pub use tunnel::Tunnel;

use crate::crypto::secret::on_clean_stack;
use crate::crypto::{PresharedKey, PrivateKey, PublicKey};
use crate::wire::ethernet::Mac;
use crate::wire::{Endpoint, Handshake, Profile};
use shared::{Networks, Shared};

/// What a tunnel is made from.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// What both ends speak.
    pub profile: Profile,
    /// Our static private key.
    pub private_key: PrivateKey,
    /// The peer's static public key.
    pub public_key: PublicKey,
    /// The secret both ends share; all zero if they share none.
    pub preshared_key: PresharedKey,
    /// The inner networks behind the peer.
    pub allowed_ips: Vec<IpNet>,
    /// Our own inner addresses: a packet from the peer cannot come from them.
    pub addresses: Vec<IpAddr>,
    /// The networks whose way is through the device: the peer's endpoint cannot be there.
    pub routed: Vec<IpNet>,
    /// The addresses of each endpoint to call, in order of preference, as far as they are known; none at all: wait for the peer.
    pub endpoints: Vec<Vec<SocketAddr>>,
    /// The newest timestamp an earlier run sent to this peer, if known: [`Tunnel::last_timestamp`] of that time.
    pub last_timestamp: Option<Duration>,
    /// The longest the link may stay quiet; `None`: as long as it likes.
    pub persistent_keepalive: Option<Duration>,
    /// The device's MTU in bytes; of frames, most bytes of text in transport data.
    pub mtu: usize,
    /// Which frames may.
    pub frames: FrameRules,
}

/// Makes the three parts of a tunnel. All randomness follows from `seed`, which nobody else may know.
#[must_use]
pub fn tunnel(parameters: &Parameters, seed: &[u8; 32]) -> (Tunnel, Outbound, Inbound) {
    let shared = Arc::new(Shared::new(
        Networks::new(parameters),
        parameters.profile.layer(),
        parameters.mtu,
    ));
    (
        on_clean_stack(|| Tunnel::new(parameters, seed, shared.clone())),
        Outbound::new(shared.clone()),
        Inbound::new(shared),
    )
}

/// A handshake message to send.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// Where to.
    pub endpoint: Endpoint,
    /// What.
    pub message: Handshake,
}

/// Something that only the owner of the tunnel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Look up the name of the configured endpoint of this number, if it is one, and tell [`Tunnel::resolved`].
    LookUp(usize),
    /// Send from another UDP port from now on, and go on receiving at the first one.
    ChangePort,
}

/// Something a person may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Both ends hold a new session.
    HandshakeCompleted {
        /// Where the peer is.
        endpoint: Endpoint,
        /// Who began it.
        role: Role,
    },
    /// The sessions of another process go on.
    TakenOver {
        /// Where the peer is.
        endpoint: Endpoint,
        /// When the session in use began.
        begun: Instant,
    },
    /// A station is on both sides of the tunnel: there is another way between them.
    Loop(Mac),
    /// The peer is somewhere else than before.
    EndpointMoved(Endpoint),
    /// Data was sent and nothing was heard; a new handshake begins.
    PeerSilent {
        /// Since the peer was last heard.
        silent_for: Duration,
    },
    /// No initiation of this handshake was answered; another is sent.
    HandshakeUnanswered {
        /// Initiations before that one.
        sent: u32,
    },
    /// Nobody answers at the endpoint before: the configured endpoint of this number is called now.
    NextEndpoint(usize),
    /// The peer never answered: no more initiations until there is data to send, or the keepalive is due.
    HandshakeGivenUp,
    /// The peer keeps asking for a session and never uses the one it gets.
    NeverConfirmed(Endpoint),
    /// Every key was erased, as no session began for a long time.
    KeysErased,
    /// Strangers send so much that the kernel is to keep most of it out.
    FloodBegan,
    /// They no longer do.
    FloodEnded {
        /// Datagrams that the kernel discarded meanwhile.
        discarded: u64,
    },
}
