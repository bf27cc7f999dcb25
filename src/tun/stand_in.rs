//! What a default route leads to while there is no device for it: from one device of a link to the next, packets go
//! nowhere instead of past the tunnel.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use super::netlink::{Netlink, io_error};
use super::{Record, Tun, open};
use crate::wire::Layer;

/// A device that nobody reads from. It vanishes with its last descriptor, and the routes with it: so it holds packets
/// back only as long as there is somebody who keeps it.
#[derive(Debug)]
pub(crate) struct StandIn(OwnedFd);

impl StandIn {
    /// Leads the default routes that rules lead to, as `record` says, to a device of their own, behind any other route.
    ///
    /// # Errors
    /// The system refuses the device: then there is none. That it refuses a route is logged.
    pub(crate) async fn open(record: &Record) -> io::Result<Self> {
        let file = open::open_driver(NAME).map_err(io::Error::other)?;
        let name = open::attach(file.as_fd(), NAME, Layer::Ip).map_err(io::Error::other)?;
        let index = if_nametoindex(name.as_str())?;
        let netlink = Netlink::connect()?;
        let up = LinkUnspec::new_with_index(index).up().build();
        netlink.link().set(up).execute().await.map_err(io_error)?;
        for (network, table) in record.ruled() {
            let route = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(network.addr(), network.prefix_len())
                .map_err(io::Error::other)?
                .output_interface(index)
                .scope(RouteScope::Link)
                .table_id(*table)
                .priority(LAST)
                .build();
            if let Err(error) = netlink.route().add(route).execute().await.map_err(io_error) {
                tracing::warn!(%error, "packets for {network} may leave past the tunnel meanwhile");
            }
        }
        tracing::debug!(device = name, "packets for the default route go nowhere meanwhile");
        Ok(Self(file.into()))
    }

    /// Takes it away, whoever else keeps it.
    pub(crate) async fn remove(self) {
        Tun::remove(self.0).await;
    }
}

impl From<OwnedFd> for StandIn {
    /// The one that was kept.
    fn from(kept: OwnedFd) -> Self {
        Self(kept)
    }
}

impl AsFd for StandIn {
    /// What to keep open.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The kernel puts the first free number there.
const NAME: &str = "tunneld-gap%d";
/// The metric that comes after all others.
const LAST: u32 = u32::MAX;
