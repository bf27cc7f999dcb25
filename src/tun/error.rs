//! What can go wrong with the device: while it is opened and set up, for a person; while it runs, for the caller.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use super::segment::Malformed;

/// Why the device could not be opened. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunError {
    /// A device of another kind has the name.
    #[error(
        "{name}: there is a network device of this name which is not a {kind} device; \
         choose another name, or remove that device with `ip link delete {name}`"
    )]
    Taken {
        /// Name of the device.
        name: String,
        /// The kind that was asked for: tun or tap.
        kind: &'static str,
    },
    /// Another program has the device open.
    #[error(
        "{name}: another program uses this device; if that is another tunneld, stop it or choose another name"
    )]
    Busy {
        /// Name of the device.
        name: String,
    },
    /// Not allowed to open `/dev/net/tun`.
    #[error(
        "{name}: no permission to open /dev/net/tun; run as root, or let this user read and write the file \
         (in a container, also allow the device: `--device /dev/net/tun`)"
    )]
    OpenDenied {
        /// Name of the device.
        name: String,
    },
    /// Not allowed to create or use the device.
    #[error(
        "{name}: no permission to create or use this device; run as root or with CAP_NET_ADMIN \
         (in a container: `--cap-add NET_ADMIN`), or have root make it: `tunneld device add {name} --user USER`"
    )]
    AttachDenied {
        /// Name of the device.
        name: String,
    },
    /// Not allowed to make or remove a device.
    #[error(
        "{name}: no permission to make or remove this device; run as root or with CAP_NET_ADMIN"
    )]
    AdminDenied {
        /// Name of the device.
        name: String,
    },
    /// The name of the device to be made is taken.
    #[error(
        "{name}: there is a network device of this name already; choose another name, or remove that device: \
         `ip link delete {name}`"
    )]
    Exists {
        /// Name of the device.
        name: String,
    },
    /// There is no device to be removed.
    #[error(
        "{name}: there is no network device of this name; `tunneld device list` shows those there are"
    )]
    Missing {
        /// Name of the device.
        name: String,
    },
    /// The device to be removed is of another kind.
    #[error("{name}: this network device is neither a tun nor a tap device, and stays")]
    NotTun {
        /// Name of the device.
        name: String,
    },
    /// The kernel has no TUN driver, or `/dev/net/tun` is missing.
    #[error(
        "{name}: the kernel offers no TUN devices ({detail}); run `modprobe tun`, or, in a container, pass the \
         device in: `--device /dev/net/tun`; if modprobe finds no such module, this kernel was built without it \
         (CONFIG_TUN), or its modules do not match the running kernel: reboot after a kernel update"
    )]
    NoDriver {
        /// Name of the device.
        name: String,
        /// What was tried, and how it failed.
        detail: String,
    },
    /// Anything else.
    #[error("{name}: {action} failed: {source}")]
    System {
        /// Name of the device.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why the kernel's network settings could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// No conversation with the kernel.
    #[error("cannot talk to the kernel over netlink: {0}")]
    Netlink(#[source] io::Error),
    /// A change or question about the device failed.
    #[error("{device}: {action} failed: {source}{hint}")]
    Device {
        /// Name of the device.
        device: String,
        /// What was tried, with its value.
        action: String,
        /// What the kernel said.
        source: io::Error,
        /// What to look at, if that is known.
        hint: &'static str,
    },
    /// The device lacks something, and this process may not add it.
    #[error(
        "{device}: {action} is not permitted; run as root or with CAP_NET_ADMIN, or have root do it: `{command}`"
    )]
    NotPermitted {
        /// Name of the device.
        device: String,
        /// What was tried, with its value.
        action: String,
        /// What root may do instead.
        command: String,
    },
    /// IPv6 needs an MTU of 1280 (RFC 8200 §5).
    #[error("{device}: the address {address} needs an MTU of at least 1280, not {mtu}")]
    MtuTooSmall {
        /// Name of the device.
        device: String,
        /// The first IPv6 address.
        address: IpNet,
        /// The MTU wanted.
        mtu: u32,
    },
    /// The route exists already, and leads elsewhere.
    #[error(
        "{device}: there is another route to {network} in table {table} already; remove that route, or have \
         ours put in a table of its own"
    )]
    RouteTaken {
        /// Name of the device.
        device: String,
        /// The network.
        network: IpNet,
        /// Number of the table.
        table: u32,
    },
    /// No route leads to the address.
    #[error("no route to {destination}: {source}")]
    NoRoute {
        /// The address.
        destination: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The route could not be looked up.
    #[error("looking up the route to {destination} failed: {source}")]
    RouteLookup {
        /// The address.
        destination: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What a read or write met on a device that was opened well.
#[derive(Debug, thiserror::Error)]
pub enum TunFault {
    /// The device is down: this packet is discarded, later ones pass once it is up.
    #[error("the device is down")]
    Down,
    /// The device was deleted: nothing will pass any more.
    #[error("the device was deleted")]
    Gone,
    /// The kernel does not take this superpacket; its segments may be written singly.
    #[error("the kernel refused a superpacket")]
    Refused,
    /// The kernel has no memory for a superpacket now; its segments may be written singly.
    #[error("the kernel has no memory for a superpacket")]
    NoMemory,
    /// What was read is no packet: it is discarded, others pass.
    #[error("the device gave {0}")]
    Malformed(#[from] Malformed),
    /// Another error: this packet is discarded, others may pass.
    #[error(transparent)]
    Other(io::Error),
}

impl TunFault {
    /// Whether nothing will pass any more.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Gone)
    }
}

impl From<io::Error> for TunFault {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EIO) => Self::Down,
            Some(Errno::EBADFD) => Self::Gone,
            _ => Self::Other(error),
        }
    }
}
