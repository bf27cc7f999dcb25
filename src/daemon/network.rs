//! The network around the link: the way to the peer, and our own device, which others may change underneath. Asked for when the
//! kernel says that something changed, or the peer moved.

pub(crate) mod reverse_path;
mod watch;

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::clock;
use super::report::Report;
use crate::config::{self, Config, Interface, Table};
use crate::crypto::{PublicKey, hash::hash};
use crate::proto::Tunnel;
use crate::tun::{
    DeviceState, EthernetSettings, IPV6_MIN_MTU, Link, LinkError, LinkSettings, Record, Tun,
    UnderlayRoute, underlay_route,
};
use crate::wire::Layer;
use crate::wire::ethernet::Mac;
use crate::wire::transport::MAX_MTU;
use watch::Watch;

/// The MTU until the path to the peer is known: that of an IPv6 path of 1500 bytes.
pub(super) const DEFAULT_MTU: u32 = 1420;
/// What transport data adds to an inner packet: IP, UDP, and header and tag of WireGuard.
pub(crate) const OVERHEAD_V4: u32 = 20 + 8 + 32;
pub(crate) const OVERHEAD_V6: u32 = 40 + 8 + 32;
/// Fragments of frames are never made smaller than for this.
const LEAST_TEXT: u32 = 500;
/// Least time between two looks, however much changes.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Owned by control.
pub(super) struct Network {
    link: Link,
    layer: Layer,
    settings: LinkSettings,
    fwmark: u32,
    /// The least MTU, if the device's is to follow the path.
    follows_path: Option<u32>,
    /// What our device was set to when it was looked at last; `None`: it was not there.
    device: Option<DeviceState>,
    /// Our device was down since then, as far as was heard.
    was_down: bool,
    /// The way to the peer's address when it was looked at last; `None`: there was none.
    route: (Option<IpAddr>, Option<UnderlayRoute>),
    /// Hears of changes; `None` once that failed.
    watch: Option<Watch>,
    /// Something may be different from when it was looked at.
    changed: bool,
    /// An address that somebody called from and that may lie inside the tunnel.
    suspect: Option<IpAddr>,
    looks: Interval,
}

impl Network {
    /// Gives the device what `config` says, instead of what `record` says is ours. To be called on the runtime.
    ///
    /// # Errors
    /// [`LinkError`]; what was changed has been taken back, unless an earlier process left something: then packets are
    /// not to find another way before the next one goes on.
    pub(super) async fn new(config: &Config, tun: &Tun, record: Record) -> Result<Self, LinkError> {
        let mut link = Link::open(tun, record).await?;
        let (mut settings, mut follows_path) = (settings(config), follows_path(&config.interface));
        if settings.mtu.is_none() {
            settings.mtu = Some(first_mtu(&link, &mut follows_path).await?);
        }
        if let Err(error) = link.change(&settings).await {
            if !link.goes_on() {
                let _ = link.undo().await;
            }
            return Err(error);
        }
        if config.default_routes().any(|network| network.addr().is_ipv4()) {
            reverse_path::warn_if_strict(tun.name());
        }
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watch = Watch::new();
        if let Err(error) = &watch {
            tracing::warn!(%error, "changes of the network will be noticed late");
        }
        Ok(Self {
            link,
            layer: tun.layer(),
            settings,
            fwmark: config.mark(),
            follows_path,
            device: None,
            was_down: false,
            route: (None, None),
            watch: watch.ok(),
            changed: true,
            suspect: None,
            looks,
        })
    }

    /// Whether an earlier process left something.
    pub(super) fn goes_on(&self) -> bool {
        self.link.goes_on()
    }

    /// The device's MTU, when it was looked at last or as it was given.
    pub(super) fn mtu(&self) -> u32 {
        self.device.map(|device| device.mtu).or(self.settings.mtu).unwrap_or(DEFAULT_MTU)
    }

    /// The list of what is ours in the network.
    pub(super) fn record(&self) -> &Record {
        self.link.record()
    }

    /// Tells the tunnel the MTU that the device was given.
    pub(super) fn tell_mtu(&self, tunnel: &Tunnel) {
        self.set_mtu(self.mtu(), tunnel);
    }

    /// The peer may be reached by another way than when it was looked at.
    pub(super) fn look_again(&mut self) {
        self.changed = true;
    }

    /// Somebody called from an address that may lie inside the tunnel.
    pub(super) fn suspect(&mut self, ip: Option<IpAddr>) {
        self.suspect = ip.or(self.suspect);
    }

    /// Waits until there is something to look at, and then for the next time to do so.
    pub(super) async fn change(&mut self) {
        while !self.changed && self.suspect.is_none() {
            let Some(watch) = &self.watch else { return std::future::pending().await };
            match watch.changed(self.link.index()).await {
                Ok(down) => self.was_down |= down,
                Err(error) => {
                    tracing::warn!(%error, "changes of the network will be noticed late from now on");
                    self.watch = None;
                }
            }
            self.changed = true;
        }
        self.looks.tick().await;
    }

    /// Looks, and tells the tunnel what follows.
    pub(super) async fn look(&mut self, tunnel: &mut Tunnel, report: &mut Report) {
        if let Some(ip) = self.suspect.take() {
            self.look_at_suspect(ip, tunnel).await;
        }
        if std::mem::take(&mut self.changed) {
            self.look_at_device(tunnel).await;
            self.look_at_path(tunnel, report).await;
        }
    }

    /// Gives the device other settings. An MTU that is not among them stays, or follows the path from now on.
    ///
    /// # Errors
    /// [`LinkError`]; the device has the settings it had, as far as the system lets it.
    pub(super) async fn take_on(
        &mut self,
        config: &Config,
        tunnel: &Tunnel,
    ) -> Result<(), LinkError> {
        let (mut settings, follows_path) = (settings(config), follows_path(&config.interface));
        let device = self.device.map(|device| device.mtu);
        settings.mtu = settings.mtu.or(follows_path.filter(|least| device < Some(*least)));
        if let Err(error) = self.link.change(&settings).await {
            let before = LinkSettings { mtu: device, ..self.settings.clone() };
            if let Err(error) = self.link.change(&before).await {
                tracing::error!(%error, "the device does not have what it had before");
            }
            return Err(error);
        }
        if let Some(mtu) = settings.mtu {
            // Or it would be taken for somebody else's doing.
            self.device.iter_mut().for_each(|device| device.mtu = mtu);
            self.set_mtu(mtu, tunnel);
        }
        self.settings = settings;
        self.fwmark = config.mark();
        self.follows_path = follows_path;
        self.changed = true;
        Ok(())
    }

    /// Takes back what was changed for the link.
    pub(super) async fn undo(&mut self) -> Result<(), LinkError> {
        self.link.undo().await
    }

    /// Whether somebody calls from inside the tunnel or only from an address that looks so.
    async fn look_at_suspect(&self, ip: IpAddr, tunnel: &Tunnel) {
        match underlay_route(ip, self.fwmark).await {
            Ok(route) if route.index != self.link.index() => tunnel.set_outside(ip),
            _ => tracing::debug!(%ip, "a message came from inside the tunnel"),
        }
    }

    /// Follows what somebody did to our device: an MTU is kept to, and after it was down it gets again what it lost.
    async fn look_at_device(&mut self, tunnel: &Tunnel) {
        let state = self.link.state().await;
        if let Err(error) = &state
            && self.device.is_some()
        {
            tracing::warn!(%error, "the device is not here any more: what goes through it is not ours to say");
        }
        let before = std::mem::replace(&mut self.device, state.ok());
        let was_down = std::mem::take(&mut self.was_down);
        let (Some(before), Some(now)) = (before, self.device) else { return };
        if now.mtu != before.mtu {
            tracing::info!(mtu = now.mtu, "somebody changed the device's MTU: it stays so");
            self.follows_path = None;
            self.set_mtu(now.mtu, tunnel);
        }
        if before.up && !now.up {
            tracing::warn!("the device was set down: nothing passes until it is up again");
        }
        let had_no_ipv6 = before.mtu < IPV6_MIN_MTU && now.mtu >= IPV6_MIN_MTU;
        if now.up && (was_down || !before.up || had_no_ipv6) {
            self.restore().await;
        }
    }

    /// Gives the device back the addresses and routes that the kernel took from it when it was set down, or given an MTU that
    /// is too small for IPv6.
    async fn restore(&mut self) {
        // The MTU stays what somebody made of it meanwhile.
        let settings = LinkSettings { mtu: None, ..self.settings.clone() };
        match self.link.configure(&settings).await {
            Ok(()) => tracing::info!("the device has its addresses and routes again"),
            Err(error) => {
                tracing::warn!(%error, "the device does not have all its addresses and routes");
            }
        }
    }

    /// Looks up the way to the peer: the tunnel hears if it is another one, a loop is told, and the device's MTU set to what the
    /// path carries, if it is to follow it.
    async fn look_at_path(&mut self, tunnel: &mut Tunnel, report: &mut Report) {
        let Some(endpoint) = tunnel.endpoint() else {
            // Its name may resolve now.
            return tunnel.network_changed(clock::now());
        };
        let remote = endpoint.remote.ip();
        let route = underlay_route(remote, self.fwmark).await;
        let route = route.inspect_err(|error| tracing::debug!(%error, "no way to the peer")).ok();
        let before = std::mem::replace(&mut self.route, (Some(remote), route));
        let Some(route) = route else { return };
        if route.index == self.link.index() {
            return report.loops(clock::boot(), endpoint);
        }
        let differs = before.1.is_none_or(|before| route.differs(&before));
        if before.0 == Some(remote) && route.running && differs {
            report.another_way(clock::boot(), endpoint, route.source);
            tunnel.network_changed(clock::now());
        }
        let overhead = if remote.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
        let carried = route.mtu.saturating_sub(overhead).min(MAX_MTU);
        if self.layer == Layer::Ethernet {
            tunnel.set_mtu(carried.max(LEAST_TEXT) as usize);
        }
        if let Some(least) = self.follows_path {
            self.follow(carried.max(least), route.mtu, tunnel, report).await;
        }
    }

    /// Tells the tunnel the device's MTU, if that is the same as what the path carries.
    fn set_mtu(&self, mtu: u32, tunnel: &Tunnel) {
        if self.layer == Layer::Ip {
            tunnel.set_mtu(mtu as usize);
        }
    }

    async fn follow(&mut self, mtu: u32, path_mtu: u32, tunnel: &Tunnel, report: &mut Report) {
        let Some(device) = self.device.as_mut().filter(|device| device.mtu != mtu) else { return };
        match self.link.set_mtu(mtu).await {
            Ok(()) => {
                report.mtu(clock::boot(), mtu, path_mtu);
                device.mtu = mtu;
                tunnel.set_mtu(mtu as usize);
            }
            Err(error) => tracing::warn!(%error, "the MTU stays {}", device.mtu),
        }
    }
}

/// What the configuration says of the device; without an MTU if that is to be worked out.
pub(crate) fn settings(config: &Config) -> LinkSettings {
    let Config { interface, peer, .. } = config;
    let (routes, table, mark) = match interface.table {
        Table::Auto => (peer.allowed_ips.clone(), None, Some(config.mark())),
        Table::Off => (Vec::new(), None, None),
        Table::Number(table) => (peer.allowed_ips.clone(), Some(table), None),
    };
    let addresses = interface.addresses.clone();
    let ethernet = interface.ethernet.as_ref().map(|ethernet| EthernetSettings {
        mac: ethernet.mac,
        own_mac: stable_mac(&interface.private_key.public_key()),
        promisc: ethernet.promisc,
        bridge: ethernet.bridge.clone(),
    });
    LinkSettings { addresses, mtu: interface.mtu.map(u32::from), routes, table, mark, ethernet }
}

/// The address of a device of frames: the same at each start, and another one on each host.
fn stable_mac(ours: &PublicKey) -> Mac {
    let [a, b, c, d, e, f, ..] = hash(&[b"tunneld mac", ours.as_bytes()]);
    // Of one station, and administered locally (IEEE 802 §8.2).
    Mac([a & !1 | 2, b, c, d, e, f])
}

/// Sets the MTU until the path is known, where the configuration says none. A device that may not be changed keeps what it
/// has, whatever the path.
async fn first_mtu(link: &Link, follows_path: &mut Option<u32>) -> Result<u32, LinkError> {
    match link.set_mtu(DEFAULT_MTU).await {
        Ok(()) => Ok(DEFAULT_MTU),
        Err(error @ LinkError::NotPermitted { .. }) => {
            let mtu = link.state().await?.mtu;
            tracing::warn!(%error, "the MTU stays {mtu}");
            *follows_path = None;
            Ok(mtu)
        }
        Err(error) => Err(error),
    }
}

/// The least MTU, if it is to follow the path.
fn follows_path(interface: &Interface) -> Option<u32> {
    interface.mtu.is_none().then(|| config::least_mtu(&interface.addresses).into())
}
