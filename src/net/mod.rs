//! The underlay: the UDP sockets, one per address family on the same port, and what the kernel can do for them.
//!
//! [`Underlay`] is shared by the threads: outbound sends whole runs through a [`SendBatch`], inbound calls
//! [`Underlay::receive`], control sends single handshake messages with [`Underlay::send`]. No error of a
//! socket is final: a datagram that cannot leave is discarded under a name ([`UnderlayDiscard`]), counted.
//!
//! Why not quinn-udp: it writes only the two ECN bits of the TOS byte, while handshake messages need a DSCP
//! as well, and it hides which datagrams of a refused send were discarded. Underneath are the safe interfaces of
//! `socket2` (send) and `nix` (options, receive); this room has no `unsafe` code of its own.

mod batch;
mod cmsg;
mod counters;
mod filter;
mod gso;
mod open;
mod recv;
mod resolve;
mod send;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

pub(crate) use batch::SendBatch;
pub(crate) use counters::{UnderlayCounters, UnderlayDiscard};
pub(crate) use open::UnderlayError;
pub(crate) use recv::{ReceivedRun, RecvBuffer};
pub(crate) use resolve::resolve;

use crate::wire::{Endpoint, Offload, Screen};
use open::{FamilySocket, Pair};
use send::Outlet;

/// An address family of the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// Both of them.
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of `address`.
    #[must_use]
    pub(crate) fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

/// The two UDP sockets of the daemon: IPv4 and IPv6 on the same port. One of them may be missing, where
/// the kernel lacks its family.
#[derive(Debug)]
pub(crate) struct Underlay {
    sockets: Pair<FamilySocket>,
    counters: UnderlayCounters,
}

impl Underlay {
    /// Binds `listen_port` for both families; 0 means any port that is free for both. `fwmark` marks all
    /// outer packets unless it is 0. UDP GSO and GRO are used as far as `wanted` says and the kernel has them.
    ///
    /// # Errors
    /// [`UnderlayError`], which says what to do.
    pub(crate) fn bind(
        listen_port: u16,
        fwmark: u32,
        wanted: Offload,
    ) -> Result<Self, UnderlayError> {
        let sockets = open::pair(listen_port, |family, port| {
            FamilySocket::open(family, port, fwmark, wanted)
        })?;
        Ok(Self { sockets, counters: UnderlayCounters::default() })
    }

    /// The UDP port, the same for both families.
    #[must_use]
    pub(crate) fn port(&self) -> u16 {
        self.sockets.port
    }

    /// The offloads that the kernel has granted.
    #[must_use]
    pub(crate) fn offload(&self) -> Offload {
        let sockets = || Family::ALL.into_iter().filter_map(|family| self.sockets.of(family));
        Offload {
            gso: sockets().all(|socket| socket.gso.enabled()),
            gro: sockets().all(|socket| socket.gro),
        }
    }

    /// The socket of `family`, to wait on; it stays the same for the life of this underlay.
    #[must_use]
    pub(crate) fn fd(&self, family: Family) -> Option<BorrowedFd<'_>> {
        self.sockets.of(family).map(FamilySocket::fd)
    }

    /// What has been sent, received and discarded so far.
    #[must_use]
    pub(crate) fn counters(&self) -> &UnderlayCounters {
        &self.counters
    }

    /// Lets the kernel discard what does not pass `screen`, from now on; with `None` nothing.
    pub(crate) fn screen(&self, screen: Option<&Screen>) {
        for family in Family::ALL {
            let Some(socket) = self.sockets.of(family) else { continue };
            if let Err(error) = socket.screen(family, screen) {
                tracing::debug!(?family, %error, "the kernel refused a filter");
            }
        }
    }

    /// How many datagrams, or with UDP GRO runs of them, the kernel has discarded since the last call: by the
    /// screen, or because the receive buffer was full.
    pub(crate) fn take_discarded(&self) -> u64 {
        let sockets = Family::ALL.into_iter().filter_map(|family| self.sockets.of(family));
        sockets.map(FamilySocket::take_discarded).sum()
    }

    /// Sends one datagram with `tos` as the whole outer TOS or traffic class byte, without waiting for room.
    pub(crate) fn send(&self, endpoint: &Endpoint, datagram: &[u8], tos: u8) {
        self.dispatch(*endpoint, datagram.len(), datagram, tos, 0);
    }

    /// Sends the datagrams of one run, each of `stride` bytes but the last, in as few calls as the kernel allows.
    /// Waits `waits` times for room in a full send buffer, 100 ms each. Returns whether some could leave only without
    /// the sticky source.
    fn dispatch(
        &self,
        endpoint: Endpoint,
        stride: usize,
        bytes: &[u8],
        tos: u8,
        waits: u8,
    ) -> bool {
        let counters = &self.counters.send;
        match self.sockets.of(Family::of(&endpoint.remote)) {
            Some(socket) => Outlet::new(socket, &socket.gso, counters, endpoint, tos, waits)
                .deliver(stride, bytes),
            None => {
                let count = bytes.len().div_ceil(stride.max(1)).max(1);
                counters.discard(UnderlayDiscard::NoSocket, count);
                false
            }
        }
    }

    /// Takes the next datagrams off the socket of `family`, without waiting: `None` if there are none, or
    /// no such socket. Each `Some` is one datagram or, with UDP GRO, several of one sender.
    ///
    /// # Errors
    /// What the socket reports. None is final: call again, after a pause that grows while errors repeat.
    pub(crate) fn receive(
        &self,
        family: Family,
        buffer: &mut RecvBuffer,
    ) -> io::Result<Option<ReceivedRun>> {
        let Some(socket) = self.sockets.of(family) else {
            return Ok(None);
        };
        let received = recv::receive(socket, buffer)?;
        if let Some(received) = &received {
            self.counters.receive.count(received);
        }
        Ok(received)
    }
}
