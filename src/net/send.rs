//! Sends a run: with UDP GSO if it can, and never discards a datagram that could have left another way.
//!
//! | the kernel says | then |
//! |---|---|
//! | EIO to a GSO send (no checksum offload) | the same datagrams one by one; if they pass, no GSO for a while |
//! | EMSGSIZE to a GSO send (longer than the route's MTU), or EINVAL (the same before Linux 6.14; IPv6 on old virtio) | one by one, which the kernel fragments; if they pass, no GSO for a while for datagrams as long as these |
//! | a part of a GSO send | the rest one by one, no GSO for a while |
//! | ENOBUFS, ENOMEM to a GSO send | one by one: each needs less memory at a time |
//! | the same to a single datagram | again, a few times at once: memory comes back soon or not at all |
//! | the address cannot be sent from, or no route from there | again without the sticky source; if that passes, the source is lost |
//! | EAGAIN | transport data waits for room, once, up to 100 ms; then what is left of the run is discarded |
//! | EINTR | again |
//! | anything else | the datagrams of that send are discarded under a name |

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{MsgHdr, SockAddr};

use super::cmsg::SendControl;
use super::counters::{SendCounters, UnderlayDiscard, add};
use super::gso::GsoLimit;
use super::open::FamilySocket;
use crate::wire::Endpoint;

/// Milliseconds to wait for room in the send buffer.
const ROOM_WAIT_MS: u8 = 100;

/// Most calls for one send, whatever the kernel says: the end of every loop here.
const MOST_CALLS: usize = 8;

/// One call to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outgoing<'a> {
    pub(super) remote: SocketAddr,
    pub(super) source: Option<IpAddr>,
    pub(super) tos: u8,
    /// Bytes of each datagram in `bytes`; `None` if it is one datagram.
    pub(super) segment: Option<u16>,
    pub(super) bytes: &'a [u8],
}

/// The kernel, or what stands for it in tests.
pub(super) trait SendCall {
    /// Sends without waiting; returns how many bytes were taken.
    fn send(&self, outgoing: &Outgoing<'_>) -> Result<usize, Errno>;

    /// Waits a bounded time for room in the send buffer.
    fn wait_for_room(&self);
}

impl SendCall for FamilySocket {
    fn send(&self, outgoing: &Outgoing<'_>) -> Result<usize, Errno> {
        let Outgoing { remote, source, tos, segment, bytes } = *outgoing;
        let control = SendControl::new(&remote, source, tos, segment);
        let address = SockAddr::from(remote);
        let buffers = [IoSlice::new(bytes)];
        let mut message = MsgHdr::new().with_addr(&address).with_buffers(&buffers);
        if !control.as_bytes().is_empty() {
            message = message.with_control(control.as_bytes());
        }
        self.socket
            .sendmsg(&message, 0)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }

    fn wait_for_room(&self) {
        let mut fds = [PollFd::new(self.fd(), PollFlags::POLLOUT)];
        // What goes wrong shows itself at the next send
        let _ = poll(&mut fds, PollTimeout::from(ROOM_WAIT_MS));
    }
}

/// Takes one run out through a socket.
pub(super) struct Outlet<'a, C> {
    call: &'a C,
    gso: &'a GsoLimit,
    counters: &'a SendCounters,
    endpoint: Endpoint,
    tos: u8,
    /// How often to wait for room in the send buffer.
    waits: u8,
    /// How often to ask again, for the whole run, while the kernel lacks memory.
    retries: usize,
    /// The send buffer stayed full: do not try again.
    full: bool,
    source_lost: bool,
}

impl<'a, C: SendCall> Outlet<'a, C> {
    pub(super) fn new(
        call: &'a C,
        gso: &'a GsoLimit,
        counters: &'a SendCounters,
        endpoint: Endpoint,
        tos: u8,
        waits: u8,
    ) -> Self {
        let retries = MOST_CALLS - 1;
        Self { call, gso, counters, endpoint, tos, waits, retries, full: false, source_lost: false }
    }

    /// Sends in order the datagrams of `stride` bytes, the last perhaps shorter, that lie in `bytes`: no more than
    /// a run may hold. Returns whether some could leave only without the sticky source: forget that source.
    pub(super) fn deliver(mut self, stride: usize, bytes: &[u8]) -> bool {
        if bytes.len() <= stride {
            self.one(bytes);
        } else {
            self.run(stride, bytes);
        }
        self.source_lost
    }

    /// Sends several datagrams with one call, or one by one.
    fn run(&mut self, stride: usize, bytes: &[u8]) {
        let Some(segment) = u16::try_from(stride).ok().filter(|_| self.gso.allows(stride)) else {
            self.one_by_one(bytes.chunks(stride));
            return;
        };
        let datagrams = bytes.chunks(stride);
        match self.attempt(Some(segment), bytes) {
            Ok(taken) if taken >= bytes.len() => add(&self.counters.datagrams, datagrams.len()),
            Ok(taken) => {
                let sent = bytes.get(..taken).unwrap_or(bytes);
                let whole = sent.chunks_exact(stride).len();
                add(&self.counters.datagrams, whole);
                add(&self.counters.gso_refused, 1);
                self.gso.limit(0, "it took a part", self.endpoint.remote);
                self.one_by_one(datagrams.skip(whole));
            }
            Err(errno @ (Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE)) => {
                add(&self.counters.gso_refused, 1);
                // The fault was not the source's or the route's if nothing but GSO has changed
                if self.one_by_one(datagrams) && !self.source_lost {
                    let longest = if errno == Errno::EIO { 0 } else { stride.saturating_sub(1) };
                    self.gso.limit(longest, errno.desc(), self.endpoint.remote);
                }
            }
            Err(Errno::ENOBUFS | Errno::ENOMEM) => {
                add(&self.counters.gso_refused, 1);
                self.one_by_one(datagrams);
            }
            Err(errno) => self.discard(errno, datagrams.len()),
        }
    }

    /// Whether any of them left.
    fn one_by_one<'b>(&mut self, datagrams: impl Iterator<Item = &'b [u8]>) -> bool {
        datagrams.filter(|datagram| self.one(datagram)).count() > 0
    }

    fn one(&mut self, datagram: &[u8]) -> bool {
        let result = self.attempt(None, datagram);
        match result {
            Ok(_) => add(&self.counters.datagrams, 1),
            Err(errno) => self.discard(errno, 1),
        }
        result.is_ok()
    }

    /// One send, without the sticky source if it cannot leave from there.
    fn attempt(&mut self, segment: Option<u16>, bytes: &[u8]) -> Result<usize, Errno> {
        let result = self.persist(self.endpoint, segment, bytes);
        match result {
            Err(errno) if self.endpoint.source.is_some() && blames_source(errno, segment) => {
                let sourceless = self.endpoint.without_source();
                let again = self.persist(sourceless, segment, bytes);
                if again.is_ok() {
                    self.endpoint = sourceless;
                    self.source_lost = true;
                }
                again
            }
            result => result,
        }
    }

    /// One send, repeated while the kernel is merely busy.
    fn persist(
        &mut self,
        endpoint: Endpoint,
        segment: Option<u16>,
        bytes: &[u8],
    ) -> Result<usize, Errno> {
        let outgoing = Outgoing {
            remote: endpoint.remote,
            source: endpoint.source.map(|source| source.ip()),
            tos: self.tos,
            segment,
            bytes,
        };
        let mut busy = Errno::EAGAIN;
        for _ in 0..MOST_CALLS {
            if self.full {
                break;
            }
            add(&self.counters.calls, 1);
            match self.call.send(&outgoing) {
                Err(Errno::EINTR) => {}
                Err(errno @ (Errno::ENOBUFS | Errno::ENOMEM)) if segment.is_none() => {
                    busy = errno;
                    let Some(retries) = self.retries.checked_sub(1) else {
                        break;
                    };
                    self.retries = retries;
                }
                Err(Errno::EAGAIN) if self.waits > 0 => {
                    self.waits = self.waits.saturating_sub(1);
                    // Room for one datagram makes nothing ready: one more try, whatever the wait said
                    self.call.wait_for_room();
                }
                Err(Errno::EAGAIN) => {
                    busy = Errno::EAGAIN;
                    break;
                }
                result => return result,
            }
        }
        self.full |= busy == Errno::EAGAIN;
        Err(busy)
    }

    fn discard(&self, errno: Errno, datagrams: usize) {
        let reason = UnderlayDiscard::of(errno);
        tracing::trace!(reason = reason.name(), %errno, datagrams, remote = %self.endpoint, "discarded");
        self.counters.discard(reason, datagrams);
    }
}

/// Whether the sticky source may be at fault. EINVAL to a GSO send is more likely to mean GSO.
fn blames_source(errno: Errno, segment: Option<u16>) -> bool {
    match errno {
        Errno::EINVAL => segment.is_none(),
        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EADDRNOTAVAIL | Errno::ENODEV => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
