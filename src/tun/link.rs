//! The device's place in the network: addresses, MTU, state and routes, and how to take them back.

mod ethernet;
mod found;
mod record;
mod settings;
#[cfg(test)]
mod tests;
mod wish;

use std::fmt;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_route::address::{AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use super::error::LinkError;
use super::netlink::{DeviceState, Netlink, io_error, is_one_of};
use super::rules;
use super::underlay::look_up;
use super::{Origin, Tun};
pub(super) use found::address_of;
use found::leads_to;
pub(crate) use record::Record;
use record::{Ours, note};
use settings::rules_to;
pub(crate) use settings::{EthernetSettings, LinkSettings};
pub(crate) use wish::Wish;

/// A device, as netlink sees it. It remembers what it changed.
pub(crate) struct Link {
    netlink: Netlink,
    device: String,
    index: u32,
    /// What was changed, or an earlier process has changed; `record` says no less.
    ours: Ours,
    record: Record,
    /// An earlier process had this device, or left something else of ours.
    goes_on: bool,
    /// That process made what is there already, as far as is known.
    adopts: bool,
}

impl Link {
    /// Starts to speak about the device, and goes on with what `record` says is ours. Called on a tokio runtime, whose
    /// current thread is in the device's network namespace.
    ///
    /// # Errors
    /// [`LinkError`] if the kernel cannot be asked.
    pub(crate) async fn open(tun: &Tun, record: Record) -> Result<Self, LinkError> {
        let netlink = Netlink::connect().map_err(LinkError::Netlink)?;
        let (device, index) = (tun.name().to_owned(), tun.index());
        let (ours, inherited) = (record.ours().clone(), tun.origin() == Origin::Inherited);
        let known = !ours.device.is_empty();
        let (goes_on, adopts) = (known || inherited, !known && inherited);
        let mut link = Self { netlink, device, index, ours, record, goes_on, adopts };
        if (link.ours.device.as_str(), link.ours.index) != (tun.name(), tun.index()) {
            link.leave_other().await;
            let found = match tun.origin() {
                Origin::Found => Some(link.state().await?),
                Origin::Created | Origin::Inherited => None,
            };
            link.ours = link.ours.on(tun.name(), tun.index(), found);
        }
        Ok(link)
    }

    /// Takes back what an earlier process did to another device.
    async fn leave_other(&mut self) {
        let Ours { device, index, .. } = self.ours.clone();
        let this = (mem::replace(&mut self.device, device), mem::replace(&mut self.index, index));
        if let Err(error) = self.restore_device().await {
            tracing::warn!(%error, "a device that was used before has more than it had");
        }
        (self.device, self.index) = this;
    }

    /// Whether an earlier process had this device, or left something else of ours.
    #[must_use]
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The list of what is ours.
    #[must_use]
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// The addresses that the device has.
    async fn addresses_there(&self) -> io::Result<Vec<IpNet>> {
        let request = self.netlink.address().get().set_link_index_filter(self.index).execute();
        let addresses: Vec<_> = request.try_collect().await.map_err(io_error)?;
        Ok(addresses.iter().filter_map(address_of).collect())
    }

    /// Sets the MTU, adds the addresses, sets the device up and adds the routes. What is there already stays, and
    /// stays when this is undone. A network of one of the addresses needs no route in the main table: the kernel
    /// makes it. When this returns, the addresses answer. To be called again when the device has lost some of it. Where
    /// nothing may be changed, all must be there.
    ///
    /// # Errors
    /// [`LinkError`] names what failed; what went well before is still there, and can be [undone](Self::undo).
    pub(crate) async fn configure(&mut self, settings: &LinkSettings) -> Result<(), LinkError> {
        self.begin(settings)?;
        if let Some(mtu) = settings.mtu {
            self.set_mtu(mtu).await?;
        }
        if let Some(ethernet) = &settings.ethernet {
            self.set_ethernet(ethernet).await?;
        }
        for address in &settings.addresses {
            self.add_address(*address).await?;
        }
        self.ask(Wish::Up, LinkUnspec::new_with_index(self.index).up().build()).await?;
        self.settle(&settings.addresses).await;
        for (network, table) in settings.routes_to_add() {
            self.add_route(network, table).await?;
        }
        // After the routes, to which they lead.
        for default in settings.ruled() {
            note(&mut self.ours.rules, default);
            for rule in rules_to(default) {
                self.add_rule(rule).await?;
            }
        }
        self.record.write(&self.ours);
        Ok(())
    }

    /// Gives the device these settings instead of those it was given: what is in both stays as it is.
    ///
    /// # Errors
    /// [`LinkError`] names what failed; to go back, change to the settings before.
    pub(crate) async fn change(&mut self, settings: &LinkSettings) -> Result<(), LinkError> {
        self.begin(settings)?;
        // The new ones before the old go: with its last address of a family a device loses all routes of that. The kernel may
        // take more with an address than that alone; what is missing then is added again.
        for address in &settings.addresses {
            self.add_address(*address).await?;
        }
        for address in others(&self.ours.addresses, &settings.addresses) {
            self.remove_address(address).await?;
            self.ours.addresses.retain(|ours| *ours != address);
        }
        self.configure(settings).await?;
        let (ruled, rules): (Vec<_>, Vec<_>) =
            (settings.ruled().collect(), settings.rules().collect());
        for default in others(&self.ours.rules, &ruled) {
            for rule in rules_to(default).into_iter().filter(|rule| !rules.contains(rule)) {
                self.remove_rule(rule).await?;
            }
            self.ours.rules.retain(|ours| *ours != default);
        }
        let routes: Vec<_> = settings.routes_to_add().collect();
        for (network, table) in others(&self.ours.routes, &routes) {
            self.remove_route(network, table).await?;
            self.ours.routes.retain(|ours| *ours != (network, table));
        }
        self.record.write(&self.ours);
        Ok(())
    }

    /// Sets the MTU, now or while the device runs.
    ///
    /// # Errors
    /// [`LinkError`] if the kernel refuses.
    pub(crate) async fn set_mtu(&self, mtu: u32) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(self.index).mtu(mtu).build();
        self.ask(Wish::Mtu(mtu), message).await
    }

    /// The device's index in its network namespace.
    #[must_use]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// What the device is set to now.
    ///
    /// # Errors
    /// [`LinkError`]; the device may be gone, or in another network namespace.
    pub(crate) async fn state(&self) -> Result<DeviceState, LinkError> {
        let state = self.netlink.device(self.index).await;
        state.map_err(|error| self.failed("reading its state", error))
    }

    /// Takes back the rules, and what was added to a device that existed before, and sets that as it was found. A
    /// device of our own is left alone: it vanishes when its descriptor is closed.
    ///
    /// # Errors
    /// The first thing that failed; the others have been tried all the same.
    pub(crate) async fn undo(&mut self) -> Result<(), LinkError> {
        let mut results = Vec::new();
        for rule in self.ours.rules.iter().copied().flat_map(rules_to).rev() {
            results.push(self.remove_rule(rule).await);
        }
        results.push(self.restore_device().await);
        self.ours.rules.clear();
        if self.ours.found.is_some() {
            self.ours = Ours::nothing();
        }
        self.record.write(&self.ours);
        results.into_iter().collect()
    }

    /// Takes back what was added to a device that existed before, and sets it as it was found.
    async fn restore_device(&self) -> Result<(), LinkError> {
        let ours = &self.ours;
        let Some(found) = ours.found else { return Ok(()) };
        let mut results = Vec::new();
        for (network, table) in ours.routes.iter().rev() {
            results.push(self.remove_route(*network, *table).await);
        }
        for address in ours.addresses.iter().rev() {
            results.push(self.remove_address(*address).await);
        }
        if ours.is_port {
            results.push(self.leave_bridge().await);
        }
        results.push(self.restore(found).await);
        results.into_iter().collect()
    }

    /// Checks settings, and writes down what will be ours, before any of it is made.
    fn begin(&mut self, settings: &LinkSettings) -> Result<(), LinkError> {
        self.check(settings)?;
        self.record.write(&self.ours.with(settings));
        Ok(())
    }

    fn check(&self, settings: &LinkSettings) -> Result<(), LinkError> {
        let v6 = settings.addresses.iter().find(|address| address.addr().is_ipv6());
        match (settings.mtu, v6) {
            (Some(mtu), Some(address)) if mtu < IPV6_MIN_MTU => {
                Err(LinkError::MtuTooSmall { device: self.device.clone(), address: *address, mtu })
            }
            _ => Ok(()),
        }
    }

    /// Sets the device as it was found, unless it is so.
    async fn restore(&self, found: DeviceState) -> Result<(), LinkError> {
        let set = |state: &DeviceState| (state.mtu, state.up, state.mac, state.promisc);
        if self.state().await.is_ok_and(|now| set(&now) == set(&found)) {
            return Ok(());
        }
        let message = self.as_found(&found).mtu(found.mtu);
        let message = if found.up { message.up() } else { message.down() };
        let result = self.set(message.build()).await;
        self.undone("setting it as it was found", result)
    }

    async fn remove_address(&self, address: IpNet) -> Result<(), LinkError> {
        let message = self.address_message(address);
        let result = self.netlink.address().del(message).execute().await.map_err(io_error);
        self.undone(format_args!("removing the address {address}"), result)
    }

    async fn remove_route(&self, network: IpNet, table: u32) -> Result<(), LinkError> {
        let result = match self.route_message(network, table) {
            Ok(message) => self.netlink.route().del(message).execute().await.map_err(io_error),
            Err(error) => Err(error),
        };
        self.undone(format_args!("removing the route to {network}"), result)
    }

    async fn add_address(&mut self, address: IpNet) -> Result<(), LinkError> {
        let mut request =
            self.netlink.address().add(self.index, address.addr(), address.prefix_len());
        *request.message_mut() = self.address_message(address);
        match request.execute().await.map_err(io_error) {
            Ok(()) => note(&mut self.ours.addresses, address),
            Err(error) if is_one_of(&error, &[Errno::EEXIST]) => {
                if self.adopts {
                    note(&mut self.ours.addresses, address);
                }
            }
            Err(error) => self.refused(Wish::Address(address), error).await?,
        }
        Ok(())
    }

    async fn add_route(&mut self, network: IpNet, table: u32) -> Result<(), LinkError> {
        let action = format_args!("adding the route to {network} in table {table}");
        let message =
            self.route_message(network, table).map_err(|error| self.failed(action, error))?;
        match self.netlink.route().add(message).execute().await.map_err(io_error) {
            Ok(()) => note(&mut self.ours.routes, (network, table)),
            Err(error) if is_one_of(&error, &[Errno::EEXIST]) => {
                let ours = self.has_route(network, table).await;
                if !ours.map_err(|error| self.failed(action, error))? {
                    return Err(LinkError::RouteTaken {
                        device: self.device.clone(),
                        network,
                        table,
                    });
                }
                if self.adopts {
                    note(&mut self.ours.routes, (network, table));
                }
            }
            Err(error) => self.refused(Wish::Route(network, table), error).await?,
        }
        Ok(())
    }

    async fn add_rule(&self, rule: RuleMessage) -> Result<(), LinkError> {
        rules::add(&self.netlink, &rule)
            .await
            .map_err(|error| self.failed("adding a rule for the default route", error))
    }

    async fn remove_rule(&self, rule: RuleMessage) -> Result<(), LinkError> {
        let result = rules::remove(&self.netlink, rule).await;
        self.undone("removing a rule for the default route", result)
    }

    /// Waits until the addresses answer: the kernel takes IPv6 addresses into use a moment after it has accepted
    /// them (`addrconf_dad_work`). That it takes long is no reason to give up.
    async fn settle(&self, addresses: &[IpNet]) {
        let mut tries = 0..SETTLE_TRIES;
        for address in addresses.iter().filter(|address| address.addr().is_ipv6()) {
            loop {
                let route = look_up(&self.netlink, address.addr(), 0).await;
                let answers = route.is_ok_and(|route| route.header.kind == RouteType::Local);
                if answers || tries.next().is_none() {
                    break;
                }
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
        }
    }

    /// Whether this route leads to this device already.
    async fn has_route(&self, network: IpNet, table: u32) -> io::Result<bool> {
        let mut all = RouteMessage::default();
        all.header.address_family = self.route_message(network, table)?.header.address_family;
        let mut routes = std::pin::pin!(self.netlink.route().get(all).execute());
        let mut found = false;
        // Read to the end: the rest of the answer would be in the way of the next question.
        while let Some(route) = routes.try_next().await.map_err(io_error)? {
            found |= leads_to(&route, network, table, self.index);
        }
        Ok(found)
    }

    async fn set(&self, message: LinkMessage) -> io::Result<()> {
        self.netlink.link().set(message).execute().await.map_err(io_error)
    }

    fn address_message(&self, address: IpNet) -> AddressMessage {
        let mut request =
            self.netlink.address().add(self.index, address.addr(), address.prefix_len());
        let message = request.message_mut();
        if address.addr().is_ipv6() {
            // On a link with one other end nobody else can have the address: no waiting for an answer.
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        message.clone()
    }

    fn route_message(&self, network: IpNet, table: u32) -> io::Result<RouteMessage> {
        let builder = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(network.addr(), network.prefix_len())
            .map_err(io::Error::other)?;
        Ok(builder.output_interface(self.index).scope(RouteScope::Link).table_id(table).build())
    }

    fn failed(&self, action: impl fmt::Display, source: io::Error) -> LinkError {
        LinkError::Device {
            device: self.device.clone(),
            action: action.to_string(),
            hint: hint(&source),
            source,
        }
    }

    /// What is gone need not be removed.
    fn undone(&self, action: impl fmt::Display, result: io::Result<()>) -> Result<(), LinkError> {
        match result {
            Err(error) if !is_one_of(&error, &GONE) => Err(self.failed(action, error)),
            _ => Ok(()),
        }
    }
}

/// Those of `items` that are not `wanted`.
fn others<T: Clone + PartialEq>(items: &[T], wanted: &[T]) -> Vec<T> {
    items.iter().filter(|item| !wanted.contains(item)).cloned().collect()
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("device", &self.device)
            .field("ours", &self.ours)
            .finish_non_exhaustive()
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM) => " (this needs root or CAP_NET_ADMIN)",
        Some(Errno::EACCES) => " (is IPv6 turned off? see `sysctl net.ipv6.conf.all.disable_ipv6`)",
        _ => "",
    }
}

/// Number of the main routing table.
pub(crate) const MAIN_TABLE: u32 = 254;
/// Every IPv6 link carries packets of this size (RFC 8200 §5); without, the kernel takes IPv6 away.
pub(crate) const IPV6_MIN_MTU: u32 = 1280;
/// How long to wait for addresses to answer: 200 ms, of which few are ever needed.
const SETTLE_TRIES: u32 = 100;
const SETTLE_PAUSE: Duration = Duration::from_millis(2);
/// What the kernel says of an address, a route or a device that is not there.
const GONE: [Errno; 3] = [Errno::EADDRNOTAVAIL, Errno::ESRCH, Errno::ENODEV];
