//! Devices that outlive the programs that use them: an administrator makes them, and says whose they are.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use futures_util::TryStreamExt;
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::Nla;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoTun, LinkAttribute, LinkInfo, LinkMessage,
};
use serde::{Serialize, Serializer};

use super::error::TunError;
use super::netlink::{self, DeviceState, Netlink, io_error};
use super::{Origin, Tun, ioctl, open};
use crate::wire::Layer;
use crate::wire::ethernet::Mac;

/// What a device is to be made like.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) kind: Layer,
    /// The user who may use it; `None`: any who is of the group.
    pub(crate) owner: Option<u32>,
    /// The group that may use it; `None`: any.
    pub(crate) group: Option<u32>,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: Option<u32>,
    pub(crate) multi_queue: bool,
}

/// A tun or tap device, as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) kind: Layer,
    /// Number of the user who may use it without privilege; neither owner nor group: anybody may.
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) persistent: bool,
    pub(crate) multi_queue: bool,
    pub(crate) vnet_hdr: bool,
    #[serde(serialize_with = "as_text")]
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// Whether a program has it open.
    pub(crate) held: bool,
    /// By how many queues; the kernel tells that of devices with several only.
    #[serde(skip)]
    pub(crate) queues: Option<u32>,
}

/// Makes a device that stays. On failure there is none.
///
/// # Errors
/// [`TunError`], whose text says what to do.
pub(crate) async fn add(wanted: &Wanted) -> Result<(), TunError> {
    let name = &wanted.name;
    let failed = |action| {
        let name = name.clone();
        move |source: io::Error| TunError::System { name, action, source }
    };
    let file = open::open_driver(name)?;
    let device = file.as_fd();
    ioctl::attach(device, name, wanted.flags()).map_err(|errno| match errno {
        Errno::EBUSY => TunError::Exists { name: name.clone() },
        Errno::EPERM | Errno::EACCES => TunError::AdminDenied { name: name.clone() },
        errno => failed("creating the device (TUNSETIFF)")(errno.into()),
    })?;
    wanted.hand_over(device).map_err(|errno| failed("giving it an owner")(errno.into()))?;
    wanted.set_up().await.map_err(failed("setting MAC address and MTU"))?;
    // Last: until now it would vanish with its descriptor.
    ioctl::set_persistent(device).map_err(|errno| failed("making it stay")(errno.into()))
}

/// Removes a device that no program uses.
///
/// # Errors
/// [`TunError`]: there is none of this name, it is of another kind, or in use; it is left as it is.
pub(crate) async fn remove(name: &str) -> Result<(), TunError> {
    let failed = |source| TunError::System { name: name.to_owned(), action: "removing it", source };
    match find(name).await.map_err(failed)? {
        None if if_nametoindex(name).is_ok() => Err(TunError::NotTun { name: name.to_owned() }),
        None => Err(TunError::Missing { name: name.to_owned() }),
        Some(device) if device.held => Err(TunError::Busy { name: name.to_owned() }),
        Some(_) => netlink::remove(name).await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => TunError::AdminDenied { name: name.to_owned() },
            _ => failed(error),
        }),
    }
}

/// All tun and tap devices of this network namespace, by name. To be called on a tokio runtime.
///
/// # Errors
/// The kernel cannot be asked.
pub(crate) async fn list() -> io::Result<Vec<Device>> {
    let netlink = Netlink::connect()?;
    let links: Vec<_> = netlink.link().get().execute().try_collect().await.map_err(io_error)?;
    let mut devices: Vec<_> = links.iter().filter_map(Device::of).collect();
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(devices)
}

/// The tun or tap device of this name.
pub(crate) async fn find(name: &str) -> io::Result<Option<Device>> {
    Ok(list().await?.into_iter().find(|device| device.name == name))
}

impl Tun {
    /// Fails if another program has a queue of this device too: the kernel would deal the packets out among both.
    pub(crate) async fn refuse_shared(&self) -> Result<(), TunError> {
        if self.origin() != Origin::Found {
            return Ok(());
        }
        let device = find(self.name()).await.ok().flatten();
        match device.and_then(|device| device.queues) {
            Some(queues) if queues > 1 => Err(TunError::Busy { name: self.name().to_owned() }),
            _ => Ok(()),
        }
    }
}

impl Wanted {
    fn flags(&self) -> libc::c_int {
        let queues = if self.multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
        open::flags(self.kind) | queues | libc::IFF_TUN_EXCL
    }

    fn hand_over(&self, device: BorrowedFd<'_>) -> nix::Result<()> {
        if let Some(owner) = self.owner {
            ioctl::set_owner(device, owner)?;
        }
        if let Some(group) = self.group {
            ioctl::set_group(device, group)?;
        }
        Ok(())
    }

    async fn set_up(&self) -> io::Result<()> {
        let mut message = LinkUnspec::new_with_index(if_nametoindex(self.name.as_str())?);
        if let Some(mac) = self.mac {
            message = message.address(mac.0.to_vec());
        }
        if let Some(mtu) = self.mtu {
            message = message.mtu(mtu);
        }
        Netlink::connect()?.link().set(message.build()).execute().await.map_err(io_error)
    }
}

impl Device {
    /// The device in a message, if it is a tun or tap device.
    fn of(message: &LinkMessage) -> Option<Self> {
        let DeviceState { mtu, up, mac, .. } = DeviceState::of(message)?;
        let mut device = Self {
            name: String::new(),
            kind: Layer::Ip,
            owner: None,
            group: None,
            persistent: false,
            multi_queue: false,
            vnet_hdr: false,
            mac,
            mtu,
            up,
            held: false,
            queues: None,
        };
        let mut is_tun = false;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name.clone_from(name),
                // It has a carrier while a program has it open.
                LinkAttribute::Carrier(carrier) => device.held = *carrier != 0,
                LinkAttribute::LinkInfo(infos) => {
                    is_tun |= infos.contains(&LinkInfo::Kind(InfoKind::Tun));
                    infos.iter().for_each(|info| device.learn(info));
                }
                _ => {}
            }
        }
        is_tun.then_some(device)
    }

    /// Takes what the driver tells of it (`IFLA_TUN_OWNER` and what follows, in `linux/if_link.h`).
    fn learn(&mut self, info: &LinkInfo) {
        let LinkInfo::Data(InfoData::Tun(attributes)) = info else { return };
        for attribute in attributes {
            let value = number(attribute);
            match attribute.kind() {
                1 => self.owner = value,
                2 => self.group = value,
                3 if value == Some(libc::IFF_TAP.cast_unsigned()) => self.kind = Layer::Ethernet,
                5 => self.vnet_hdr = value == Some(1),
                6 => self.persistent = value == Some(1),
                7 => self.multi_queue = value == Some(1),
                8 => self.queues = value,
                _ => {}
            }
        }
    }
}

/// The value of an attribute of 1 or 4 bytes.
fn number(attribute: &InfoTun) -> Option<u32> {
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    match *bytes.as_slice() {
        [byte] => Some(byte.into()),
        [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d])),
        _ => None,
    }
}

fn as_text<S: Serializer>(mac: &Option<Mac>, serializer: S) -> Result<S::Ok, S::Error> {
    mac.map(|mac| mac.to_string()).serialize(serializer)
}

#[cfg(test)]
mod tests;
