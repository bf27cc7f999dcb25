//! SendControl messages of a send, written byte by byte into a buffer on the stack: `nix` would allocate one each call.

use std::net::{IpAddr, SocketAddr};

use nix::libc;
use zerocopy::{Immutable, IntoBytes};

/// `struct cmsghdr` as the kernel reads it.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    /// Of header and data.
    len: usize,
    level: libc::c_int,
    kind: libc::c_int,
}

/// Bytes of [`Header`].
const HEADER: usize = size_of::<Header>();

/// Room for source (IPv6), TOS and segment size, each with its header and padding.
const CAPACITY: usize = space(size_of::<libc::in6_pktinfo>())
    + space(size_of::<libc::c_int>())
    + space(size_of::<u16>());

/// CMSG_SPACE: header, data and padding up to the next header.
const fn space(data: usize) -> usize {
    HEADER.saturating_add(data).next_multiple_of(size_of::<usize>())
}

/// The control messages of one send.
#[repr(align(8))]
pub(super) struct SendControl {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl SendControl {
    /// Those of a send from `source` to `remote` with `tos` as the TOS byte, cut into datagrams of
    /// `segment` bytes if it is given.
    pub(super) fn new(
        remote: &SocketAddr,
        source: Option<IpAddr>,
        tos: u8,
        segment: Option<u16>,
    ) -> Self {
        let mut control = Self { bytes: [0; CAPACITY], len: 0 };
        if let Some(source) = source {
            control.push_source(source, remote);
        }
        if tos != 0 {
            let (level, kind) = match remote {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            };
            control.push(level, kind, &libc::c_int::from(tos).to_ne_bytes());
        }
        if let Some(segment) = segment {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        control
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    fn push_source(&mut self, source: IpAddr, remote: &SocketAddr) {
        match source {
            IpAddr::V4(address) => {
                // struct in_pktinfo: interface (any), source, destination (not read)
                let mut info = [0; size_of::<libc::in_pktinfo>()];
                info[4..8].copy_from_slice(&address.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(address) => {
                // struct in6_pktinfo: source, interface; a link-local source needs the remote's
                let interface = match remote {
                    SocketAddr::V6(remote) if address.is_unicast_link_local() => remote.scope_id(),
                    _ => 0,
                };
                let mut info = [0; size_of::<libc::in6_pktinfo>()];
                info[..16].copy_from_slice(&address.octets());
                info[16..].copy_from_slice(&interface.to_ne_bytes());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        let header = Header { len: HEADER.saturating_add(data.len()), level, kind };
        let free = self.bytes.iter_mut().skip(self.len);
        for (place, byte) in free.zip(header.as_bytes().iter().chain(data)) {
            *place = *byte;
        }
        self.len = self.len.saturating_add(space(data.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6() -> SocketAddr {
        "[fe80::2%7]:1".parse().unwrap()
    }

    #[test]
    fn nothing_asked_is_nothing_written() {
        assert!(SendControl::new(&v6(), None, 0, None).as_bytes().is_empty());
    }

    #[test]
    fn the_largest_set_fills_the_capacity() {
        let source = "fe80::1".parse().unwrap();
        let control = SendControl::new(&v6(), Some(source), 0x88, Some(1452));
        assert_eq!(control.as_bytes().len(), CAPACITY);
    }

    #[test]
    fn a_link_local_source_takes_the_interface_of_the_remote() {
        let info_of = |source: &str| {
            let control = SendControl::new(&v6(), Some(source.parse().unwrap()), 0, None);
            let data = &control.as_bytes()[HEADER..HEADER + 20];
            u32::from_ne_bytes(data[16..].try_into().unwrap())
        };
        assert_eq!(info_of("fe80::1"), 7);
        assert_eq!(info_of("fd00::1"), 0);
    }

    #[test]
    fn sizes_are_those_of_the_kernel() {
        assert_eq!(HEADER, size_of::<libc::cmsghdr>());
        assert_eq!(size_of::<libc::in_pktinfo>(), 12);
        assert_eq!(size_of::<libc::in6_pktinfo>(), 20);
    }
}
