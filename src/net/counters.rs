//! What the underlay counts.

use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use super::recv::ReceivedRun;

/// Everything the underlay counts, from its start; all relaxed, none ever goes back.
#[derive(Debug, Default)]
pub(crate) struct UnderlayCounters {
    /// Written by the threads that send.
    pub(crate) send: SendCounters,
    /// Written by the thread that receives.
    pub(crate) receive: ReceiveCounters,
}

/// The sending side. Apart from the receiving side by a cache line, for another thread writes that.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct SendCounters {
    /// Calls to the kernel, failed ones included.
    pub(crate) calls: AtomicU64,
    /// Datagrams the kernel took.
    pub(crate) datagrams: AtomicU64,
    /// Sends with UDP GSO that the kernel refused; their datagrams were sent one by one.
    pub(crate) gso_refused: AtomicU64,
    discards: [AtomicU64; UnderlayDiscard::ALL.len()],
}

impl SendCounters {
    /// Datagrams discarded for `reason`.
    #[must_use]
    pub(crate) fn discarded(&self, reason: UnderlayDiscard) -> u64 {
        self.of(reason).load(Ordering::Relaxed)
    }

    pub(super) fn discard(&self, reason: UnderlayDiscard, datagrams: usize) {
        add(self.of(reason), datagrams);
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each reason")]
    fn of(&self, reason: UnderlayDiscard) -> &AtomicU64 {
        &self.discards[reason as usize]
    }
}

/// The receiving side.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ReceiveCounters {
    /// Calls to the kernel that brought something.
    pub(crate) calls: AtomicU64,
    /// Datagrams received, those cut short included.
    pub(crate) datagrams: AtomicU64,
    /// Receive calls whose last datagram did not fit the buffer.
    pub(crate) truncated: AtomicU64,
}

impl ReceiveCounters {
    pub(super) fn count(&self, received: &ReceivedRun) {
        add(&self.calls, 1);
        add(&self.datagrams, received.count());
        add(&self.truncated, usize::from(received.truncated));
    }
}

pub(super) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}

macro_rules! discards {
    ($($(#[doc = $doc:literal])+ $reason:ident = $name:literal,)+) => {
        /// Why a datagram did not leave.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum UnderlayDiscard {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl UnderlayDiscard {
            /// Every reason, in the order of declaration.
            pub(crate) const ALL: &[Self] = &[$(Self::$reason,)+];

            /// Its name in logs.
            #[must_use]
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }
        }
    };
}

discards! {
    /// It is not known yet where the peer is.
    NoEndpoint = "no_endpoint",
    /// The endpoint is of a family this host lacks.
    NoSocket = "no_socket",
    /// The send buffer stayed full for too long.
    BufferFull = "buffer_full",
    /// The kernel is out of memory (ENOBUFS, ENOMEM).
    NoBuffers = "no_buffers",
    /// A packet filter refused it (EPERM).
    Filtered = "filtered",
    /// A route prohibits it (EACCES).
    Prohibited = "prohibited",
    /// No route to the endpoint's network (ENETUNREACH, ENETDOWN).
    NetworkUnreachable = "network_unreachable",
    /// The endpoint's host is unreachable (EHOSTUNREACH).
    HostUnreachable = "host_unreachable",
    /// The endpoint has no such port open (ECONNREFUSED).
    PortUnreachable = "port_unreachable",
    /// Larger than a datagram can be (EMSGSIZE).
    TooLarge = "too_large",
    /// A black hole route, or an address that cannot be sent to (EINVAL, EADDRNOTAVAIL).
    Invalid = "invalid",
    /// Any other error.
    Other = "other",
}

impl UnderlayDiscard {
    pub(super) fn of(errno: Errno) -> Self {
        match errno {
            Errno::EAGAIN => Self::BufferFull,
            Errno::ENOBUFS | Errno::ENOMEM => Self::NoBuffers,
            Errno::EPERM => Self::Filtered,
            Errno::EACCES => Self::Prohibited,
            Errno::ENETUNREACH | Errno::ENETDOWN => Self::NetworkUnreachable,
            Errno::EHOSTUNREACH | Errno::EHOSTDOWN => Self::HostUnreachable,
            Errno::ECONNREFUSED => Self::PortUnreachable,
            Errno::EMSGSIZE => Self::TooLarge,
            Errno::EINVAL | Errno::EADDRNOTAVAIL => Self::Invalid,
            _ => Self::Other,
        }
    }
}
