//! The underlay: the UDP sockets, one per address family on the same port, and what the kernel can do for them.
//!
//! [`Underlay`] is shared by the threads: outbound sends whole runs through a [`SendBatch`], inbound calls
//! [`Underlay::receive`], control sends single handshake messages with [`Underlay::send`] and changes the port. No error of a
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
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

pub(crate) use batch::SendBatch;
pub(crate) use counters::{UnderlayCounters, UnderlayDiscard};
pub(crate) use open::{Sockets, UnderlayError};
pub(crate) use recv::{ReceivedRun, RecvBuffer};
pub(crate) use resolve::resolve;

use crate::wire::{Endpoint, Offload, Screen};
use open::FamilySocket;
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

/// The UDP sockets of the daemon: IPv4 and IPv6 on one port, and perhaps on another one that was opened because
/// nothing that left from the first was answered. Both go on receiving.
#[derive(Debug)]
pub(crate) struct Underlay {
    main: ArcSwap<Sockets>,
    alternate: ArcSwapOption<Sockets>,
    fwmark: AtomicU32,
    wanted: Offload,
    counters: UnderlayCounters,
}

impl Underlay {
    /// Binds `listen_port` for both families; 0 means any port that is free for both. `fwmark` marks all
    /// outer packets unless it is 0. UDP GSO and GRO are used as far as `wanted` says and the kernel has them. Sockets
    /// that an earlier process left are gone on with if they have that port, or any will do.
    ///
    /// # Errors
    /// [`UnderlayError`], which says what to do.
    pub(crate) fn bind(
        listen_port: u16,
        fwmark: u32,
        wanted: Offload,
        kept: Vec<OwnedFd>,
    ) -> Result<Self, UnderlayError> {
        let main = ArcSwap::from_pointee(Sockets::open(listen_port, fwmark, wanted, kept)?);
        let (alternate, counters) = (ArcSwapOption::empty(), UnderlayCounters::default());
        Ok(Self { main, alternate, fwmark: fwmark.into(), wanted, counters })
    }

    /// Opens sockets on `listen_port`, for [`Underlay::replace`], unless it is the port already, or 0.
    ///
    /// # Errors
    /// [`UnderlayError`]: all stays as it is.
    pub(crate) fn open(&self, listen_port: u16) -> Result<Option<Sockets>, UnderlayError> {
        let stays = listen_port == 0 || listen_port == self.port();
        (!stays)
            .then(|| Sockets::open(listen_port, self.fwmark(), self.wanted, Vec::new()))
            .transpose()
    }

    /// Sends from `sockets` and receives there from now on, and nowhere else. Whoever receives is to look at
    /// [`Underlay::sockets`] anew.
    pub(crate) fn replace(&self, sockets: Sockets) {
        self.main.store(Arc::new(sockets));
        self.alternate.store(None);
    }

    /// Marks all outer packets with `fwmark` from now on, 0 being none; returns the mark before.
    ///
    /// # Errors
    /// [`UnderlayError`]: the kernel refuses.
    pub(crate) fn set_fwmark(&self, fwmark: u32) -> Result<u32, UnderlayError> {
        let before = self.fwmark();
        if fwmark != before {
            for sockets in self.sockets() {
                sockets.set_fwmark(fwmark)?;
            }
            self.fwmark.store(fwmark, Ordering::Relaxed);
        }
        Ok(before)
    }

    /// The sockets on the first port.
    pub(crate) fn main(&self) -> Arc<Sockets> {
        self.main.load_full()
    }

    fn fwmark(&self) -> u32 {
        self.fwmark.load(Ordering::Relaxed)
    }

    /// The UDP port that was bound first, the same for both families.
    #[must_use]
    pub(crate) fn port(&self) -> u16 {
        self.main.load().port
    }

    /// Sends from another port from now on, wherever no sticky source says otherwise: from any free port, or, every
    /// second time, from the first one again. Returns that port. Whoever receives is to look at
    /// [`Underlay::sockets`] anew.
    ///
    /// # Errors
    /// No other port could be bound: all stays as it is.
    pub(crate) fn change_port(&self) -> Result<u16, UnderlayError> {
        let other = match self.alternate.load_full() {
            Some(_) => None,
            None => Some(Arc::new(Sockets::open(0, self.fwmark(), self.wanted, Vec::new())?)),
        };
        let port = other.as_ref().map_or(self.port(), |sockets| sockets.port);
        self.alternate.store(other);
        Ok(port)
    }

    /// The peer answers through `source`: if that is the first port, the other one is given up. Whether it is.
    pub(crate) fn settle_on(&self, source: Option<SocketAddr>) -> bool {
        let is_main = source.is_some_and(|source| source.port() == self.port());
        is_main && self.alternate.swap(None).is_some()
    }

    /// The offloads that the kernel has granted.
    #[must_use]
    pub(crate) fn offload(&self) -> Offload {
        let main = self.main.load();
        let sockets = || Family::ALL.into_iter().filter_map(|family| main.of(family));
        Offload {
            gso: sockets().all(|socket| socket.gso.enabled()),
            gro: sockets().all(|socket| socket.gro),
        }
    }

    /// The sockets to receive from: those of one port or of two.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = Arc<Sockets>> {
        [Some(self.main.load_full()), self.alternate.load_full()].into_iter().flatten()
    }

    /// What has been sent, received and discarded so far.
    #[must_use]
    pub(crate) fn counters(&self) -> &UnderlayCounters {
        &self.counters
    }

    /// Lets the kernel discard what does not pass `screen`, from now on; with `None` nothing.
    pub(crate) fn screen(&self, screen: Option<&Screen>) {
        self.each_socket(|family, socket| {
            if let Err(error) = socket.screen(family, screen) {
                tracing::debug!(?family, %error, "the kernel refused a filter");
            }
        });
    }

    /// How many datagrams, or with UDP GRO runs of them, the kernel has discarded since the last call: by the
    /// screen, or because the receive buffer was full.
    pub(crate) fn take_discarded(&self) -> u64 {
        let mut discarded = 0_u64;
        self.each_socket(|_, socket| {
            discarded = discarded.saturating_add(socket.take_discarded());
        });
        discarded
    }

    fn each_socket(&self, mut visit: impl FnMut(Family, &FamilySocket)) {
        for sockets in self.sockets() {
            for family in Family::ALL {
                if let Some(socket) = sockets.of(family) {
                    visit(family, socket);
                }
            }
        }
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
        let (main, alternate) = (self.main.load(), self.alternate.load());
        let sockets = match alternate.as_deref() {
            Some(alternate) if leaves_from(alternate.port, &endpoint) => alternate,
            _ => &**main,
        };
        match sockets.of(Family::of(&endpoint.remote)) {
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
        sockets: &Sockets,
        family: Family,
        buffer: &mut RecvBuffer,
    ) -> io::Result<Option<ReceivedRun>> {
        let Some(socket) = sockets.of(family) else {
            return Ok(None);
        };
        let received = recv::receive(socket, sockets.port, buffer)?;
        if let Some(received) = &received {
            self.counters.receive.count(received);
        }
        Ok(received)
    }
}

/// Whether datagrams to `endpoint` may leave from `port`: its sticky source has that port, or it has none.
fn leaves_from(port: u16, endpoint: &Endpoint) -> bool {
    endpoint.source.is_none_or(|source| source.port() == port)
}
