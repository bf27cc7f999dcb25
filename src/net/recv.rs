//! Takes datagrams off a socket: one, or with UDP GRO as many of one sender as the kernel has merged.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg};

use super::open::FamilySocket;
use crate::wire::{Ecn, Endpoint};

/// The kernel merges no more than this; no UDP datagram is larger.
const LARGEST: usize = 65_536;

/// Largest receive calls that a buffer has room for; it should stay within a core's own cache.
const CALLS: usize = 4;

/// Room for local address, traffic class and stride, three times over.
const CONTROL: usize = 256;

/// Where the kernel puts what arrives: made once, for the runs of several receive calls back to back.
#[derive(Debug)]
pub(crate) struct RecvBuffer {
    bytes: Box<[u8]>,
    /// Bytes that have been received into it.
    filled: usize,
    control: Box<ControlSpace>,
}

/// Aligned as `struct cmsghdr` is.
#[derive(Debug)]
#[repr(align(16))]
struct ControlSpace([u8; CONTROL]);

impl RecvBuffer {
    /// An empty buffer of 256 KiB.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::with_room(CALLS * LARGEST)
    }

    pub(super) fn with_room(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes].into_boxed_slice(),
            filled: 0,
            control: Box::new(ControlSpace([0; CONTROL])),
        }
    }

    /// Whether the next receive call might not find room enough: then its end would be cut off.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len().saturating_sub(self.filled) < LARGEST
    }

    /// Makes room: what was received so far is done with.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Puts `bytes` behind what was received; their place, if there is room.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Option<Range<usize>> {
        let end = self.filled.checked_add(bytes.len())?;
        let place = self.filled..end;
        self.bytes.get_mut(place.clone())?.copy_from_slice(bytes);
        self.filled = end;
        Some(place)
    }

    /// All of it: what was received since it was last cleared comes first.
    #[must_use]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The datagram at `place`, to be opened where it lies.
    pub(crate) fn datagram_mut(&mut self, place: Range<usize>) -> &mut [u8] {
        self.bytes.get_mut(place).unwrap_or_default()
    }
}

/// What one receive call brought: `len` bytes from `start` of the buffer on, datagrams of `stride` bytes of which the last may be
/// shorter, all from one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedRun {
    /// Where in the buffer it lies.
    pub(crate) start: usize,
    /// Bytes in the buffer; 0 for an empty datagram.
    pub(crate) len: usize,
    /// Bytes of each datagram but the last; at least one.
    pub(crate) stride: usize,
    /// The sender, and as `source` the local address and port it has addressed.
    pub(crate) endpoint: Endpoint,
    /// The outer ECN field of all of them.
    pub(crate) ecn: Ecn,
    /// The last datagram was larger than the buffer: its end was cut off.
    pub(crate) truncated: bool,
}

impl ReceivedRun {
    /// Where in the buffer each datagram lies.
    pub(crate) fn places(&self) -> impl Iterator<Item = Range<usize>> {
        let end = self.start.saturating_add(self.len);
        let stride = self.stride.max(1);
        let empty = (self.len == 0).then_some(self.start..self.start);
        let others =
            (self.start..end).step_by(stride).map(move |at| at..at.saturating_add(stride).min(end));
        empty.into_iter().chain(others)
    }

    /// How many datagrams arrived; an empty one counts.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.len.div_ceil(self.stride.max(1)).max(1)
    }
}

/// Takes what is next on `socket`, which is bound to `port`, without waiting; `None` if nothing is there.
pub(super) fn receive(
    socket: &FamilySocket,
    port: u16,
    buffer: &mut RecvBuffer,
) -> io::Result<Option<ReceivedRun>> {
    let fd = socket.fd().as_raw_fd();
    loop {
        let start = buffer.filled;
        let free = buffer.bytes.get_mut(start..).unwrap_or_default();
        let mut parts = [IoSliceMut::new(free.chunks_mut(LARGEST).next().unwrap_or_default())];
        let space = Some(&mut buffer.control.0[..]);
        match recvmsg::<SockaddrStorage>(fd, &mut parts, space, MsgFlags::empty()) {
            Ok(message) => {
                let run = describe(start, port, &message)?;
                buffer.filled = start.saturating_add(run.len);
                return Ok(Some(run));
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn describe(
    start: usize,
    port: u16,
    message: &RecvMsg<'_, '_, SockaddrStorage>,
) -> io::Result<ReceivedRun> {
    let remote = message.address.as_ref().and_then(socket_address);
    let remote = remote.ok_or(io::ErrorKind::InvalidData)?;
    let control = ReceiveControl::read(message);
    let len = message.bytes;
    Ok(ReceivedRun {
        start,
        len,
        stride: control.stride.unwrap_or(len).max(1),
        endpoint: Endpoint { remote, source: control.local.map(|ip| SocketAddr::new(ip, port)) },
        ecn: Ecn::from_tos(control.tos),
        truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
    })
}

/// The sender as the daemon compares it: no flow label; a scope only where the kernel gives one, which
/// it does for link-local addresses.
fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::new(v4.ip(), v4.port()).into());
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddrV6::new(v6.ip(), v6.port(), 0, v6.scope_id()).into())
}

/// What the control messages of a receive call say; if they were cut short, nothing.
#[derive(Debug, Default)]
struct ReceiveControl {
    local: Option<IpAddr>,
    tos: u8,
    stride: Option<usize>,
}

impl ReceiveControl {
    fn read(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Self {
        let mut control = Self::default();
        for item in message.cmsgs().into_iter().flatten() {
            control.take(&item);
        }
        control
    }

    fn take(&mut self, item: &ControlMessageOwned) {
        match item {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                // The address to answer from; of a broadcast it is the interface's own
                let address = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                self.local = Some(address.into()).filter(|_| !address.is_unspecified());
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                self.local = Some(address.into()).filter(|_| !address.is_multicast());
            }
            ControlMessageOwned::Ipv4Tos(tos) => self.tos = *tos,
            ControlMessageOwned::Ipv6TClass(class) => self.tos = class.to_le_bytes()[0],
            ControlMessageOwned::UdpGroSegments(size) => {
                self.stride = usize::try_from(*size).ok().filter(|size| *size > 0);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stride_that_cannot_be_true_is_ignored() {
        let mut control = ReceiveControl::default();
        for size in [0, -1, i32::MIN] {
            control.take(&ControlMessageOwned::UdpGroSegments(size));
            assert_eq!(control.stride, None);
        }
        control.take(&ControlMessageOwned::UdpGroSegments(1452));
        assert_eq!(control.stride, Some(1452));
    }

    #[test]
    fn datagrams_are_counted_by_stride_and_an_empty_one_counts() {
        let received = |len, stride| ReceivedRun {
            start: 0,
            len,
            stride,
            endpoint: Endpoint::new("192.0.2.1:1".parse().unwrap()),
            ecn: Ecn::NotEct,
            truncated: false,
        };
        for (len, stride, count) in [(250, 100, 3), (200, 100, 2), (250, 1000, 1), (0, 1, 1)] {
            assert_eq!(received(len, stride).count(), count);
            assert_eq!(received(len, stride).places().count(), count);
        }
    }
}
