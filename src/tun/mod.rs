//! The overlay's network device: a TUN or TAP device of the kernel, its superpackets, and its place in the network.
//!
//! - `Tun` opens the device, reads and writes.
//! - [`TunPacket`] is what one read gives: a packet, or a superpacket that writes its segments where they are
//!   wanted.
//! - [`Coalescer`] makes superpackets of the packets to be written.
//! - `Link` gives the device addresses, MTU and routes; `underlay_route` tells the MTU of the way to the peer.
//!
//! Whatever the kernel grants, there is a plain path: packets one by one, as `Offload` may ask for.

mod coalesce;
mod counters;
mod error;
mod flow;
mod ioctl;
mod layout;
mod link;
pub(crate) mod namespace;
mod netlink;
mod open;
pub(crate) mod persistent;
mod probe;
mod rules;
mod segment;
mod stand_in;
mod survey;
mod underlay;
mod virtio;

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

pub use coalesce::{Coalescer, Flushed, PacketWriter};
pub(crate) use counters::TunCounters;
pub use error::TunFault;
pub(crate) use error::{LinkError, TunError};
pub(crate) use link::{
    EthernetSettings, IPV6_MIN_MTU, Link, LinkSettings, MAIN_TABLE, Record, Wish,
};
pub(crate) use netlink::DeviceState;
pub(crate) use open::{NODE, driver_is_registered};
pub use segment::{Malformed, TunPacket};
pub(crate) use stand_in::StandIn;
pub(crate) use survey::{Route, Stacked, Survey};
pub(crate) use underlay::{UnderlayRoute, underlay_route};
pub use virtio::{GSO_NONE, GSO_TCPV4, GSO_UDP_L4, NEEDS_CSUM, VIRTIO_HEADER, VirtioNetHdr};

use crate::wire::ethernet::MAX_FRAME_HEADER;
use crate::wire::{Layer, Offload, Superpacket};
use counters::add;
use layout::Transport;
use virtio::PLAIN;

/// An open TUN device, or a TAP device if it is one of frames, not blocking. Any thread may read, any may write.
#[derive(Debug)]
pub(crate) struct Tun {
    file: File,
    layer: Layer,
    name: String,
    index: u32,
    origin: Origin,
    gives: Offloads,
    takes: Offloads,
    refuses_superpackets: AtomicBool,
    counters: TunCounters,
}

/// Of which transports there are superpackets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Of TCP.
    pub tso: bool,
    /// Of UDP; not before Linux 6.2.
    pub uso: bool,
}

/// Where a device comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It came into being with its descriptor, and will vanish with it.
    Created,
    /// It was created so by an earlier process, whose descriptor this is.
    Inherited,
    /// It was there before, and stays.
    Found,
}

/// Room for one read: the virtio header and the largest packet.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Box<[u8]>,
}

impl Tun {
    /// Opens the device of this name and kind, which is created if there is none. It gives and takes superpackets as
    /// far as `wanted` says and the kernel grants.
    ///
    /// # Errors
    /// [`TunError`], whose text says what to do.
    pub(crate) fn open(name: &str, layer: Layer, wanted: Offload) -> Result<Self, TunError> {
        let file = open::open_driver(name)?;
        let origin = match if_nametoindex(name) {
            Ok(_) => Origin::Found,
            Err(_) => Origin::Created,
        };
        let name = open::attach(file.as_fd(), name, layer)?;
        Self::set_up(file, name, layer, origin, wanted)
    }

    /// Goes on with a device that an earlier process created, and whose descriptor was kept: one that
    /// [is](Self::is_device) this one.
    ///
    /// # Errors
    /// [`TunError`], whose text says what to do.
    pub(crate) fn inherit(
        kept: OwnedFd,
        name: &str,
        layer: Layer,
        wanted: Offload,
    ) -> Result<Self, TunError> {
        Self::set_up(kept.into(), name.to_owned(), layer, Origin::Inherited, wanted)
    }

    /// Whether the descriptor that was kept is of the device of this name and kind in this network namespace.
    #[must_use]
    pub(crate) fn is_device(kept: BorrowedFd<'_>, name: &str, layer: Layer) -> bool {
        let is_it = |(device, kind): (String, Layer)| device == name && kind == layer;
        ioctl::device_of(kept).is_ok_and(is_it) && namespace::has(kept)
    }

    /// Removes the device that a descriptor is of, unless it is in another network namespace or gone: others may hold it
    /// open a moment longer, and its name may be wanted.
    pub(crate) async fn remove(kept: OwnedFd) {
        let Ok((device, _)) = ioctl::device_of(kept.as_fd()) else { return };
        if namespace::has(kept.as_fd())
            && let Err(error) = netlink::remove(&device).await
        {
            tracing::warn!(device, %error, "the device of the process before stays");
        }
    }

    fn set_up(
        file: File,
        name: String,
        layer: Layer,
        origin: Origin,
        wanted: Offload,
    ) -> Result<Self, TunError> {
        let known = open::negotiate(&file, &name, wanted.gso)?;
        let index = if_nametoindex(name.as_str()).map_err(|errno| TunError::System {
            name: name.clone(),
            action: "looking up the index of the device",
            source: errno.into(),
        })?;
        let tun = Self {
            file,
            layer,
            name,
            index,
            origin,
            gives: if wanted.gso { known } else { Offloads::NONE },
            takes: if wanted.gro { known } else { Offloads::NONE },
            refuses_superpackets: AtomicBool::new(false),
            counters: TunCounters::default(),
        };
        // Another's device may be up: what is written there is seen.
        if origin == Origin::Created && tun.takes != Offloads::NONE {
            tun.probe();
        }
        Ok(tun)
    }

    /// The device's name when it was opened; somebody may rename it.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What is read and written.
    #[must_use]
    pub(crate) fn layer(&self) -> Layer {
        self.layer
    }

    /// The device's index, which stays.
    #[must_use]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Where the device comes from.
    #[must_use]
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Which superpackets reads may bring.
    #[must_use]
    pub(crate) fn gives(&self) -> Offloads {
        self.gives
    }

    /// Which superpackets may be written.
    #[must_use]
    pub(crate) fn takes(&self) -> Offloads {
        if self.refuses_superpackets.load(Ordering::Relaxed) { Offloads::NONE } else { self.takes }
    }

    /// What was read and written so far.
    #[must_use]
    pub(crate) fn counters(&self) -> &TunCounters {
        &self.counters
    }

    /// Reads one packet or superpacket, or frame of it; `None` if there is none now. Superpackets of TCP are split to frames of
    /// at most `longest` bytes.
    ///
    /// # Errors
    /// [`TunFault`]; all but [`TunFault::Gone`] cost this packet only.
    pub(crate) fn read<'a>(
        &self,
        buffer: &'a mut ReadBuffer,
        longest: usize,
    ) -> Result<Option<TunPacket<'a>>, TunFault> {
        let len = loop {
            match (&self.file).read(&mut buffer.bytes) {
                Ok(len) => break len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        };
        match self.take_apart(buffer.bytes.get_mut(..len).unwrap_or_default(), longest) {
            Ok(packet) => {
                self.counters.read.count(packet.count());
                Ok(Some(packet))
            }
            Err(malformed) => {
                add(&self.counters.read.malformed, 1);
                Err(malformed.into())
            }
        }
    }

    /// Writes what was pushed into `coalescer` from `buffer`.
    ///
    /// # Errors
    /// [`TunFault::Gone`] if the device was deleted; all else is counted.
    pub(crate) fn flush(&self, coalescer: &mut Coalescer, buffer: &[u8]) -> Result<(), TunFault> {
        let flushed = coalescer.flush(buffer, &mut &*self)?;
        self.counters.write.count(&flushed);
        Ok(())
    }

    /// Parts what was read into header and packet.
    fn take_apart<'a>(
        &self,
        bytes: &'a mut [u8],
        longest: usize,
    ) -> Result<TunPacket<'a>, Malformed> {
        let (header, packet) = bytes.split_at_mut_checked(VIRTIO_HEADER).ok_or(Malformed::Short)?;
        let header = VirtioNetHdr::parse(header).ok_or(Malformed::Short)?;
        match self.layer {
            Layer::Ip => TunPacket::parse(&header, packet),
            Layer::Ethernet => TunPacket::parse_frame(&header, packet, longest),
        }
    }

    /// Writes one packet, whose checksums are complete.
    ///
    /// # Errors
    /// [`TunFault`]; the packet is discarded.
    pub(crate) fn write(&self, packet: &[u8]) -> Result<(), TunFault> {
        let mut writer = self;
        let result = writer.write_packet(packet);
        match &result {
            Ok(()) => add(&self.counters.write.packets, 1),
            Err(TunFault::Down) => add(&self.counters.write.down, 1),
            Err(_) => add(&self.counters.write.refused, 1),
        }
        result
    }

    /// Writes one superpacket in a single call: its virtio header, the headers of all segments, the payloads.
    ///
    /// # Errors
    /// [`TunFault::Refused`] if the kernel does not take it, or has refused one before: none is tried after that.
    /// [`TunFault::NoMemory`] if the kernel has no room for one so large now. Otherwise [`TunFault`], and the
    /// superpacket is discarded.
    pub(crate) fn write_gathered(&self, gathered: &[IoSlice<'_>]) -> Result<(), TunFault> {
        if self.refuses_superpackets.load(Ordering::Relaxed) {
            return Err(TunFault::Refused);
        }
        self.write_slices(gathered).map_err(|error| {
            let fault = match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EINVAL) => TunFault::Refused,
                Some(Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN) => TunFault::NoMemory,
                _ => return error.into(),
            };
            add(&self.counters.write.superpackets_refused, 1);
            let for_good = matches!(fault, TunFault::Refused);
            if for_good && !self.refuses_superpackets.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    device = self.name,
                    "the kernel refuses superpackets on this device: packets are written one by one from now on"
                );
            }
            fault
        })
    }

    fn write_slices(&self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        loop {
            add(&self.counters.write.calls, 1);
            match (&self.file).write_vectored(slices) {
                // The driver takes a packet whole or not at all.
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl PacketWriter for &Tun {
    fn write_packet(&mut self, packet: &[u8]) -> Result<(), TunFault> {
        self.write_slices(&[IoSlice::new(&PLAIN), IoSlice::new(packet)]).map_err(TunFault::from)
    }

    fn write_superpacket(&mut self, gathered: &[IoSlice<'_>]) -> Result<(), TunFault> {
        self.write_gathered(gathered)
    }
}

impl Offloads {
    /// Of none: packets one by one.
    pub const NONE: Self = Self { tso: false, uso: false };

    fn cover(self, transport: Transport) -> bool {
        match transport {
            Transport::Tcp => self.tso,
            Transport::Udp => self.uso,
        }
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.tso, self.uso) {
            (true, true) => "tcp+udp",
            (true, false) => "tcp",
            (false, true) => "udp",
            (false, false) => "none",
        })
    }
}

impl ReadBuffer {
    /// A buffer that any packet fits in.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; READ_BUFFER].into_boxed_slice() }
    }
}

/// The virtio header, that of a frame, and the largest IPv6 packet: a fixed header and what its length field can say.
const READ_BUFFER: usize = VIRTIO_HEADER + MAX_FRAME_HEADER + 40 + 65_535;

#[cfg(test)]
mod tests;
