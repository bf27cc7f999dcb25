//! The kernel's word that something changed in the network of this host: links, addresses, routes, rules. What changed is then asked
//! anew. Of the messages themselves only one thing is read, which is over before anybody can ask: that our device was down.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use zerocopy::FromBytes;

use crate::daemon::readable::Readable;

/// What to hear of (rtnetlink(7)).
const GROUPS: [libc::c_int; 7] = [
    libc::RTMGRP_LINK,
    libc::RTMGRP_IPV4_IFADDR,
    libc::RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV4_RULE,
    libc::RTMGRP_IPV6_IFADDR,
    libc::RTMGRP_IPV6_ROUTE,
    RTMGRP_IPV6_RULE,
];
/// Those that the C library does not name: groups 8 and 19.
const RTMGRP_IPV4_RULE: libc::c_int = 1 << 7;
const RTMGRP_IPV6_RULE: libc::c_int = 1 << 18;

/// The beginning of what is told of a device: a `struct nlmsghdr` and a `struct ifinfomsg` (rtnetlink(7)).
#[derive(FromBytes)]
#[repr(C)]
struct LinkMessage {
    _length: u32,
    message_type: u16,
    _flags: [u8; 2 + 4 + 4],
    _family: [u8; 4],
    index: u32,
    flags: u32,
    _change: u32,
}

impl LinkMessage {
    /// Whether `message` says that the device of this index is down.
    fn says_down(message: &[u8], index: u32) -> bool {
        Self::read_from_prefix(message).is_ok_and(|(link, _)| {
            let up = link.flags & libc::IFF_UP.cast_unsigned() != 0;
            link.message_type == libc::RTM_NEWLINK && link.index == index && !up
        })
    }
}

/// Hears of changes in the network namespace it was made in.
pub(super) struct Watch(Readable);

impl Watch {
    /// To be made on the runtime that waits for it.
    ///
    /// # Errors
    /// The kernel gives no such socket.
    pub(super) fn new() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkRoute;
        let fd: OwnedFd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        let groups = GROUPS.into_iter().fold(0, |all, group| all | group.cast_unsigned());
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self(Readable::new(fd)?))
    }

    /// Waits until something changed since the last time; whether the device of this index was down meanwhile.
    ///
    /// # Errors
    /// Nothing will be heard any more.
    pub(super) async fn changed(&self, index: u32) -> io::Result<bool> {
        use std::os::fd::AsFd as _;
        self.0.wait().await?;
        let fd = self.0.as_fd().as_raw_fd();
        let mut down = false;
        loop {
            // What does not fit is cut off: it is not read anyway.
            let mut message = [0; 64];
            match recv(fd, &mut message, MsgFlags::empty()) {
                Ok(_) => down |= LinkMessage::says_down(&message, index),
                Err(Errno::EINTR) => {}
                // More came than the kernel keeps: it may have been among that.
                Err(Errno::ENOBUFS) => down = true,
                Err(Errno::EAGAIN) => return Ok(down),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::testing::{block_on, in_own_network};

    const LOOPBACK: u32 = 1;

    #[test]
    fn a_change_of_links_addresses_or_routes_is_heard_of_and_nothing_else_is() {
        let changes = [
            "link set lo up",
            "address add 192.0.2.1/32 dev lo",
            "route add 198.51.100.0/24 dev lo",
            "rule add fwmark 7 table 7",
            "address add 2001:db8::1/128 dev lo",
            "-6 route add 2001:db8:1::/64 dev lo",
            "-6 rule add fwmark 7 table 7",
            "link set lo mtu 4000",
        ];
        let body = || {
            block_on(async {
                let watch = Watch::new().unwrap();
                for change in changes {
                    let status = Command::new("ip").args(change.split(' ')).status().unwrap();
                    assert!(status.success(), "{change}");
                    assert!(!watch.changed(LOOPBACK).await.unwrap(), "{change}");
                }
                for change in ["link set lo down", "link set lo up"] {
                    let status = Command::new("ip").args(change.split(' ')).status().unwrap();
                    assert!(status.success(), "{change}");
                }
                assert!(watch.changed(LOOPBACK).await.unwrap(), "it was down meanwhile");
                // IPv6 may have more to say of the changes before: until it is quiet
                while quiet(&watch).await.is_err() {}
            });
        };
        in_own_network("a_change_of_links_addresses_or_routes_is_heard_of", body);
    }

    /// Fails if there is something to hear just now.
    async fn quiet(watch: &Watch) -> Result<(), ()> {
        tokio::select! {
            biased;
            _ = watch.changed(LOOPBACK) => Err(()),
            () = tokio::task::yield_now() => Ok(()),
        }
    }
}
