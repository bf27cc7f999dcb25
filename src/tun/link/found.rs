//! What netlink tells of addresses and routes.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};

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

/// Whether a route to this network in this table leads to the device of this index.
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
