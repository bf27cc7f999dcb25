//! What netlink tells of a device's addresses and routes.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol};

use crate::tun::underlay::ip_of;

/// The address in a message, unless it is the one that the kernel gives each IPv6 device.
pub(in crate::tun) fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })?;
    let of_kernel = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    (!of_kernel).then(|| IpNet::new(address, message.header.prefix_len).ok()).flatten()
}

/// Network and table of a route to the device of this index, unless the kernel made it by itself.
pub(super) fn route_to(route: &RouteMessage, index: u32) -> Option<(IpNet, u32)> {
    let any: IpAddr = match route.header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        _ => [0; 16].into(),
    };
    let of_kernel = route.header.protocol == RouteProtocol::Kernel;
    let destination = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip_of(address),
        _ => None,
    });
    let network =
        IpNet::new(destination.unwrap_or(any), route.header.destination_prefix_length).ok()?;
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(number) => Some(*number),
        _ => None,
    });
    let table = table.unwrap_or(route.header.table.into());
    (!of_kernel && leads_to(route, network, table, index)).then_some((network, table))
}

pub(super) fn leads_to(route: &RouteMessage, network: IpNet, table: u32, index: u32) -> bool {
    let mut route_table = u32::from(route.header.table);
    let mut destination = None;
    let mut device = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(number) => route_table = *number,
            RouteAttribute::Destination(address) => destination = ip_of(address),
            RouteAttribute::Oif(oif) => device = Some(*oif),
            _ => {}
        }
    }
    // The default route is told without a destination.
    let same_network = route.header.destination_prefix_length == network.prefix_len()
        && destination.is_none_or(|address| address == network.addr());
    same_network && route_table == table && device == Some(index)
}
