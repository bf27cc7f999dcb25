//! One conversation with the kernel's routing netlink, and its errors.

use std::io;
use std::ops::Deref;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use futures_util::TryStreamExt;

use crate::wire::ethernet::Mac;

/// A handle whose conversation ends with it.
pub(super) struct Netlink {
    handle: Handle,
    conversation: JoinHandle<()>,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace; its task runs on the current tokio runtime.
    pub(super) fn connect() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let conversation = tokio::spawn(connection);
        Ok(Self { handle, conversation })
    }

    /// MTU and state of a device.
    pub(super) async fn device(&self, index: u32) -> io::Result<DeviceState> {
        let request = self.handle.link().get().match_index(index).execute();
        let message = std::pin::pin!(request)
            .try_next()
            .await
            .map_err(io_error)?
            .ok_or_else(|| io::Error::from(Errno::ENODEV))?;
        DeviceState::of(&message).ok_or_else(|| io::Error::other("the kernel told no MTU"))
    }
}

/// Removes a device.
pub(super) async fn remove(device: &str) -> io::Result<()> {
    let index = if_nametoindex(device)?;
    Netlink::connect()?.link().del(index).execute().await.map_err(io_error)
}

impl Deref for Netlink {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.conversation.abort();
    }
}

/// What a device is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceState {
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// It is up and has a carrier.
    pub(crate) running: bool,
    /// Its address, if it is one of frames.
    pub(crate) mac: Option<Mac>,
    /// It takes frames for other stations too.
    pub(crate) promisc: bool,
    /// The bridge that it is a port of, by its index.
    pub(crate) bridge: Option<u32>,
}

impl DeviceState {
    pub(super) fn of(message: &LinkMessage) -> Option<Self> {
        let mtu = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        })?;
        let flags = message.header.flags;
        let bytes = |attribute: &LinkAttribute| match attribute {
            LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok().map(Mac),
            _ => None,
        };
        let bridge = |attribute: &LinkAttribute| match attribute {
            LinkAttribute::Controller(index) => Some(*index),
            _ => None,
        };
        Some(Self {
            mtu,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Running),
            mac: message.attributes.iter().find_map(bytes),
            promisc: flags.contains(LinkFlags::Promisc),
            bridge: message.attributes.iter().find_map(bridge),
        })
    }
}

/// What the kernel said, as the error of a system call.
pub(super) fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// Whether the kernel said one of these.
pub(super) fn is_one_of(error: &io::Error, errnos: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|errno| errnos.contains(&Errno::from_raw(errno)))
}
