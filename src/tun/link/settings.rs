//! What to give a device, and what follows from that: routes and rules.

use ipnet::IpNet;
use rtnetlink::packet_route::rule::RuleMessage;

use super::{MAIN_TABLE, Wish};
use crate::tun::rules;
use crate::wire::ethernet::Mac;

/// What to give a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkSettings {
    /// Addresses of this end, each with its network.
    pub(crate) addresses: Vec<IpNet>,
    /// Bytes of the largest inner packet; `None` leaves it.
    pub(crate) mtu: Option<u32>,
    /// Networks to be routed to the device.
    pub(crate) routes: Vec<IpNet>,
    /// Number of the table for `routes`; `None` for the main table.
    pub(crate) table: Option<u32>,
    /// The mark of outer packets, if a default route among `routes` is to be taken by rules: it goes into the table of
    /// this number then.
    pub(crate) mark: Option<u32>,
    /// What a device of frames gets besides.
    pub(crate) ethernet: Option<EthernetSettings>,
}

/// What to give a device of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EthernetSettings {
    /// Its address; `None` leaves that of a device that was there before.
    pub(crate) mac: Option<Mac>,
    /// What it is instead on a device of our own.
    pub(crate) own_mac: Mac,
    /// Whether it takes frames for other stations too.
    pub(crate) promisc: bool,
    /// The bridge that it is a port of; `None` leaves one that we did not put it into.
    pub(crate) bridge: Option<String>,
}

impl EthernetSettings {
    /// What of this a device needs that was there before.
    fn wishes(&self) -> impl Iterator<Item = Wish> {
        let mac = self.mac.map(Wish::Mac).into_iter();
        mac.chain([Wish::Promisc(self.promisc)]).chain(self.bridge.clone().map(Wish::Port))
    }
}

impl LinkSettings {
    /// All that a device needs to have them that was there before, but for rules.
    pub(crate) fn wishes(&self) -> impl Iterator<Item = Wish> {
        let addresses = self.addresses.iter().copied().map(Wish::Address);
        let routes = self.routes_to_add().map(|(network, table)| Wish::Route(network, table));
        let of_frames = self.ethernet.iter().flat_map(EthernetSettings::wishes);
        let before = self.mtu.map(Wish::Mtu).into_iter().chain(of_frames);
        before.chain(addresses).chain([Wish::Up]).chain(routes)
    }

    /// The routes that the kernel does not make by itself, each with its table.
    pub(super) fn routes_to_add(&self) -> impl Iterator<Item = (IpNet, u32)> {
        let table = self.table.unwrap_or(MAIN_TABLE);
        let connected = move |network: &IpNet| {
            table == MAIN_TABLE && self.addresses.iter().any(|own| own.trunc() == *network)
        };
        let networks = self.routes.iter().map(IpNet::trunc);
        networks.filter(move |network| !connected(network)).map(move |network| {
            let by_rules = self.mark.filter(|_| is_default(&network));
            (network, by_rules.unwrap_or(table))
        })
    }

    /// The default routes that rules lead to, each with the mark.
    pub(super) fn ruled(&self) -> impl Iterator<Item = (IpNet, u32)> {
        let defaults = self.routes.iter().filter(|network| is_default(network));
        defaults.flat_map(|network| self.mark.map(|mark| (*network, mark)))
    }

    /// The rules that lead to the default routes.
    pub(super) fn rules(&self) -> impl Iterator<Item = RuleMessage> {
        self.ruled().flat_map(rules_to)
    }
}

/// The rules that lead to a default route, in the order in which they are added.
pub(super) fn rules_to((network, mark): (IpNet, u32)) -> [RuleMessage; 2] {
    rules::rules(network.addr().into(), mark)
}

fn is_default(network: &IpNet) -> bool {
    network.prefix_len() == 0
}
