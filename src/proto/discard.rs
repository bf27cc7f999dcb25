//! Why a packet or message went no further, each reason with its name and its counter.

use std::sync::atomic::{AtomicU64, Ordering};

use super::replay::Arrivals;

macro_rules! discards {
    ($($(#[doc = $doc:literal])+ $reason:ident = $name:literal,)+) => {
        /// Why a packet or message went no further. A discard is counted, and logged at most at TRACE.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Discard {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl Discard {
            /// Every reason, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$reason,)+];

            /// Its name in logs and status.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }
        }
    };
}

discards! {
    /// A datagram that the kernel discarded before it was received: in a flood, or as the receive buffer was full. With UDP GRO
    /// a run of them counts as one.
    NotReceived = "not_received",
    /// A datagram whose first four bytes name no message.
    MessageType = "message_type",
    /// A datagram that has not the length of its message.
    MessageLength = "message_length",
    /// A message from an address whose way back leads through the tunnel itself.
    SourceInside = "source_inside",
    /// A handshake message that found the queue to control full.
    HandshakeQueueFull = "handshake_queue_full",
    /// A handshake message from someone who does not know our public key.
    Mac1 = "mac1",
    /// A handshake message under load without a valid cookie; answered with a cookie reply.
    CookieRequired = "cookie_required",
    /// A handshake message under load beyond its source's rate.
    RateLimited = "rate_limited",
    /// An initiation that does not decrypt.
    InitiationNotAuthentic = "initiation_not_authentic",
    /// An initiation of another static key than the configured peer's.
    UnknownPeer = "unknown_peer",
    /// An initiation whose timestamp is not greater than all before: a replay.
    InitiationReplayed = "initiation_replayed",
    /// An initiation too soon after the one before.
    InitiationFlood = "initiation_flood",
    /// A response or cookie reply to no message of ours.
    NothingOutstanding = "nothing_outstanding",
    /// A response to our initiation that does not decrypt: another preshared key, or a forgery.
    ResponseNotAuthentic = "response_not_authentic",
    /// A cookie reply that does not decrypt.
    CookieNotAuthentic = "cookie_not_authentic",
    /// A key exchange with a public key of low order.
    LowOrderKey = "low_order_key",
    /// Transport data for no session of ours.
    UnknownReceiver = "unknown_receiver",
    /// Transport data of a session past its time or its last counter.
    SessionEnded = "session_ended",
    /// Transport data that does not decrypt.
    DataNotAuthentic = "data_not_authentic",
    /// Transport data whose counter was seen before, or lies behind the replay window.
    Replayed = "replayed",
    /// An inner packet, either way, that is neither IPv4 nor IPv6.
    NotIp = "not_ip",
    /// A control frame from the peer of a kind that is not known here.
    UnknownControl = "unknown_control",
    /// A frame, either way, that is shorter than its header.
    NotFrame = "not_frame",
    /// A frame from the peer, or a fragment of one, whose numbers cannot be true.
    FrameMalformed = "frame_malformed",
    /// A frame of which not all fragments came.
    FrameIncomplete = "frame_incomplete",
    /// A frame from the peer of one station more than `mac_limit`.
    MacLimit = "mac_limit",
    /// A frame to a group beyond `broadcast_limit`.
    BroadcastLimit = "broadcast_limit",
    /// A frame of those that bridges do not forward, and `link_local_frames` is off.
    LinkLocal = "link_local",
    /// An inner packet from the peer whose length field cannot be true.
    InnerLength = "inner_length",
    /// An inner packet from the peer with a source outside `allowed_ips`, or with an address of ours.
    SourceNotAllowed = "source_not_allowed",
    /// An inner packet to the peer with a destination outside `allowed_ips`.
    DestinationNotAllowed = "destination_not_allowed",
    /// An inner packet that is one of our own datagrams: the route to the peer leads into the device.
    RoutingLoop = "routing_loop",
    /// An inner packet to the peer that no datagram can carry.
    PacketTooLong = "packet_too_long",
    /// A packet marked as congested on the way that never allowed the mark (RFC 6040 §4.2).
    CongestionMark = "congestion_mark",
    /// The oldest packet that waited for a session, as too many did.
    StagedOverflow = "staged_overflow",
    /// A packet to the peer that `rate_limit_out` left no room for, or that waited for too long because of it.
    ShapedOut = "shaped_out",
    /// A packet from the peer that `rate_limit_in` left no room for, or that waited for too long because of it.
    ShapedIn = "shaped_in",
    /// A packet that waited for a session until the handshake was given up.
    HandshakeGivenUp = "handshake_given_up",
    /// A packet that waited while a reload named another peer than the one it was for, or from.
    OtherPeer = "other_peer",
}

/// Counters that the threads share; each is exact, but they are not read at one instant.
#[derive(Debug)]
pub struct Stats {
    discards: [AtomicU64; Discard::ALL.len()],
    sent: Traffic,
    received: Traffic,
    expected: AtomicU64,
    accepted: AtomicU64,
    reordered: AtomicU64,
}

/// Inner packets one way.
#[derive(Debug, Default)]
struct Traffic {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            discards: std::array::from_fn(|_| AtomicU64::new(0)),
            sent: Traffic::default(),
            received: Traffic::default(),
            expected: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            reordered: AtomicU64::new(0),
        }
    }
}

impl Stats {
    /// Counts one discard.
    pub fn discard(&self, reason: Discard) {
        self.discard_many(reason, 1);
    }

    pub(crate) fn discard_many(&self, reason: Discard, count: u64) {
        self.counter(reason).fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn add_sent(&self, packets: u64, bytes: u64) {
        self.sent.add(packets, bytes);
    }

    pub(crate) fn add_received(&self, packets: u64, bytes: u64) {
        self.received.add(packets, bytes);
    }

    pub(crate) fn add_arrivals(&self, arrivals: &Arrivals) {
        self.expected.fetch_add(arrivals.expected, Ordering::Relaxed);
        self.accepted.fetch_add(arrivals.accepted, Ordering::Relaxed);
        self.reordered.fetch_add(arrivals.reordered, Ordering::Relaxed);
    }

    /// What the counters of all transport data say of the way inbound.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        Arrivals {
            expected: self.expected.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            reordered: self.reordered.load(Ordering::Relaxed),
        }
    }

    /// How often `reason` was met.
    #[must_use]
    pub fn discards(&self, reason: Discard) -> u64 {
        self.counter(reason).load(Ordering::Relaxed)
    }

    #[expect(clippy::indexing_slicing, reason = "there is a counter for each reason")]
    fn counter(&self, reason: Discard) -> &AtomicU64 {
        &self.discards[reason as usize]
    }

    /// Inner packets and bytes sealed for the peer.
    #[must_use]
    pub fn sent(&self) -> (u64, u64) {
        self.sent.load()
    }

    /// Inner packets and bytes accepted from the peer.
    #[must_use]
    pub fn received(&self) -> (u64, u64) {
        self.received.load()
    }
}

impl Traffic {
    fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn load(&self) -> (u64, u64) {
        (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}
