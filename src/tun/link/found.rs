//! What netlink tells of routes.

use ipnet::IpNet;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};

use crate::tun::underlay::ip_of;

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
