//! What the kernel tells of all devices of this network namespace: their addresses, and the routes to them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};

use super::link::address_of;
use super::netlink::{DeviceState, Netlink, io_error};
use super::underlay::ip_of;

/// The network of this host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// Name and state of each device, by its index.
    pub(crate) devices: BTreeMap<u32, (String, DeviceState)>,
    /// Those of them that lie on others, whose MAC address they may have.
    pub(crate) stacked: BTreeMap<u32, Stacked>,
    /// Each with the index of its device; without those that IPv6 gives a device by itself.
    pub(crate) addresses: Vec<(u32, IpNet)>,
    pub(crate) routes: Vec<Route>,
}

/// What lies on other devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stacked {
    /// On its ports.
    Bridge,
    /// On one that carries its frames with tags.
    Vlan,
}

/// A route to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) network: IpNet,
    pub(crate) table: u32,
    /// Of two routes to one network the one with the lower metric is taken.
    pub(crate) metric: u32,
    /// Index of the device.
    pub(crate) index: u32,
}

impl Survey {
    /// Asks the kernel. To be called on a tokio runtime.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn take() -> io::Result<Self> {
        let netlink = Netlink::connect()?;
        let links: Vec<_> = netlink.link().get().execute().try_collect().await.map_err(io_error)?;
        let devices = links.iter().filter_map(|link| {
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            })?;
            Some((link.header.index, (name, DeviceState::of(link)?)))
        });
        let stacked = links.iter().filter_map(|link| Some((link.header.index, Stacked::of(link)?)));
        let addresses = netlink.address().get().execute();
        let addresses: Vec<_> = addresses.try_collect().await.map_err(io_error)?;
        let addresses = addresses
            .iter()
            .filter_map(|message| Some((message.header.index, address_of(message)?)))
            .collect();
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut all = RouteMessage::default();
            all.header.address_family = family;
            let answer: Vec<_> =
                netlink.route().get(all).execute().try_collect().await.map_err(io_error)?;
            routes.extend(answer.iter().filter_map(Route::of));
        }
        Ok(Self { devices: devices.collect(), stacked: stacked.collect(), addresses, routes })
    }

    /// Index and state of the device of this name.
    pub(crate) fn device(&self, name: &str) -> Option<(u32, &DeviceState)> {
        let found = self.devices.iter().find(|(_, (device, _))| device == name);
        found.map(|(index, (_, state))| (*index, state))
    }

    /// The name of a device.
    pub(crate) fn name(&self, index: u32) -> &str {
        self.devices.get(&index).map_or("?", |(name, _)| name)
    }
}

impl Stacked {
    fn of(message: &LinkMessage) -> Option<Self> {
        let infos = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        });
        infos?.iter().find_map(|info| match info {
            LinkInfo::Kind(InfoKind::Bridge) => Some(Self::Bridge),
            LinkInfo::Kind(InfoKind::Vlan) => Some(Self::Vlan),
            _ => None,
        })
    }
}

impl Route {
    fn of(message: &RouteMessage) -> Option<Self> {
        let any: IpAddr = match message.header.address_family {
            AddressFamily::Inet => [0; 4].into(),
            _ => [0; 16].into(),
        };
        let (mut destination, mut metric, mut index) = (any, 0, None);
        let mut table = message.header.table.into();
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip_of(address)?,
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Priority(priority) => metric = *priority,
                RouteAttribute::Oif(oif) => index = Some(*oif),
                _ => {}
            }
        }
        let network = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
        Some(Self { network, table, metric, index: index? })
    }
}
