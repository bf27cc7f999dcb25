//! The way to the peer through the underlay: how large its packets may be.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric};

use super::error::LinkError;
use super::netlink::{Netlink, io_error, is_one_of};

/// The route that outer packets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnderlayRoute {
    /// Bytes of the largest outer packet, IP header included, as far as this host knows: of the route, which
    /// includes what was learned of the path, or else of the device.
    pub(crate) mtu: u32,
    /// Index of the device they leave by.
    pub(crate) index: u32,
    /// Whether that device is up and has a carrier.
    pub(crate) running: bool,
    /// The address they leave from, where nothing else is said.
    pub(crate) source: Option<IpAddr>,
    /// The router they go to first, unless the destination is a neighbour.
    pub(crate) gateway: Option<IpAddr>,
}

impl UnderlayRoute {
    /// Whether packets by this route go another way than by `other`, or can go at all.
    #[must_use]
    pub(crate) fn differs(&self, other: &Self) -> bool {
        Self { mtu: 0, ..*self } != Self { mtu: 0, ..*other }
    }
}

/// Looks up the route that packets with this mark take to `destination` now. Called on a tokio runtime.
///
/// # Errors
/// [`LinkError`] if there is none, or the kernel cannot be asked.
pub(crate) async fn underlay_route(
    destination: IpAddr,
    fwmark: u32,
) -> Result<UnderlayRoute, LinkError> {
    let destination = destination.to_canonical();
    let failed = |source: io::Error| {
        if is_one_of(&source, &NO_WAY) {
            LinkError::NoRoute { destination, source }
        } else {
            LinkError::RouteLookup { destination, source }
        }
    };
    let netlink = Netlink::connect().map_err(LinkError::Netlink)?;
    let route = look_up(&netlink, destination, fwmark).await.map_err(failed)?;
    let index = find(&route, |attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    // A route that names no device, such as a blackhole, is none.
    let index = index.ok_or_else(|| failed(Errno::ENETUNREACH.into()))?;
    let path_mtu = find(&route, |attribute| match attribute {
        RouteAttribute::Metrics(metrics) => mtu_among(metrics),
        _ => None,
    });
    let device = netlink.device(index).await.map_err(failed)?;
    let source = find(&route, |attribute| match attribute {
        RouteAttribute::PrefSource(address) => ip_of(address),
        _ => None,
    });
    let gateway = find(&route, |attribute| match attribute {
        RouteAttribute::Gateway(address) => ip_of(address),
        _ => None,
    });
    let mtu = path_mtu.unwrap_or(device.mtu);
    Ok(UnderlayRoute { mtu, index, running: device.running, source, gateway })
}

/// The kernel's answer to `ip route get`.
pub(super) async fn look_up(
    netlink: &Netlink,
    destination: IpAddr,
    fwmark: u32,
) -> io::Result<RouteMessage> {
    let bits = if destination.is_ipv4() { 32 } else { 128 };
    let mut query = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination, bits)
        .map_err(io::Error::other)?;
    if fwmark != 0 {
        query = query.mark(fwmark);
    }
    let reply = netlink.route().get(query.build()).execute();
    let route = std::pin::pin!(reply).try_next().await.map_err(io_error)?;
    route.ok_or_else(|| Errno::ENETUNREACH.into())
}

fn find<T>(route: &RouteMessage, pick: impl Fn(&RouteAttribute) -> Option<T>) -> Option<T> {
    route.attributes.iter().find_map(pick)
}

/// The address in a route's attribute.
pub(super) fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn mtu_among(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}

/// What the kernel says when no route leads there.
const NO_WAY: [Errno; 4] = [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::EACCES, Errno::EINVAL];
