//! What the three threads share: where to send and with which key, what the data threads met, and what control
//! wants of them. The data threads write facts; only control decides what follows.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption, Cache};

use super::Parameters;
use super::allowed_ips::AllowedIps;
use super::discard::Stats;
use super::flood::Strangers;
use super::load::network;
use super::opening::OpeningOrders;
use super::rewrites::Rewrites;
use super::session::SealingHalf;
use super::stations::{FrameRules, Sides};
use super::time::Instant;
use crate::wire::ethernet::MAX_FRAME_HEADER;
use crate::wire::piece::FRAME_START;
use crate::wire::{Endpoint, Layer};

/// The state between the threads; one for each tunnel.
pub(crate) struct Shared {
    /// The half that sends, installed by control.
    pub(crate) sealing: ArcSwapOption<SealingHalf>,
    /// Where the peer is: set by control, moved by inbound on authentic packets.
    pub(crate) endpoint: ArcSwapOption<Endpoint>,
    /// Where the peer may be besides: every address of its endpoints that is known.
    places: ArcSwap<Vec<IpAddr>>,
    networks: Arc<ArcSwap<Networks>>,
    /// An address in those networks that is reached outside all the same, as control found out.
    outside: ArcSwapOption<IpAddr>,
    /// An address in those networks that a message came from: control is to find out.
    suspect: ArcSwapOption<IpAddr>,
    /// Whether packets or frames cross.
    pub(crate) layer: Layer,
    /// The device's MTU: padding stops there. Of frames, most bytes of text in transport data.
    pub(crate) mtu: AtomicUsize,
    pub(crate) sides: Sides,
    /// How many stations are known behind the peer; inbound counts them.
    pub(crate) stations: AtomicUsize,
    pub(crate) rewrites: Rewrites,
    pub(crate) facts: Facts,
    pub(crate) outbound_orders: Orders,
    pub(crate) opening: OpeningOrders,
    pub(crate) strangers: Strangers,
    pub(crate) stats: Stats,
}

/// Which addresses are whose, and what may cross, as the configuration says.
#[derive(Default)]
pub(crate) struct Networks {
    /// What is behind the peer.
    pub(crate) allowed_ips: AllowedIps,
    /// Our own inner addresses: a packet from the peer cannot come from them.
    pub(crate) addresses: Vec<IpAddr>,
    /// The networks whose way is through the device: an endpoint there would send the tunnel into itself.
    routed: AllowedIps,
    /// Which frames may cross.
    pub(crate) frames: FrameRules,
}

/// A data thread's view of them, which costs next to nothing while they stay.
pub(crate) type NetworksCache = Cache<Arc<ArcSwap<Networks>>, Arc<Networks>>;

impl Networks {
    pub(crate) fn new(parameters: &Parameters) -> Self {
        Self {
            allowed_ips: parameters.allowed_ips.iter().copied().collect(),
            addresses: parameters.addresses.clone(),
            routed: parameters.routed.iter().copied().collect(),
            frames: parameters.frames,
        }
    }
}

impl Shared {
    pub(crate) fn new(networks: Networks, layer: Layer, mtu: usize) -> Self {
        Self {
            sealing: ArcSwapOption::empty(),
            endpoint: ArcSwapOption::empty(),
            places: ArcSwap::default(),
            networks: Arc::new(ArcSwap::from_pointee(networks)),
            outside: ArcSwapOption::empty(),
            suspect: ArcSwapOption::empty(),
            layer,
            mtu: AtomicUsize::new(mtu),
            sides: Sides::default(),
            stations: AtomicUsize::new(0),
            rewrites: Rewrites::default(),
            facts: Facts::default(),
            outbound_orders: Orders::default(),
            opening: OpeningOrders::default(),
            strangers: Strangers::default(),
            stats: Stats::default(),
        }
    }

    /// Bytes of the largest IP packet that crosses in one datagram, whatever tags its frame has.
    pub(crate) fn packet_mtu(&self) -> usize {
        let mtu = self.mtu.load(Ordering::Relaxed);
        match self.layer {
            Layer::Ip => mtu,
            Layer::Ethernet => mtu.saturating_sub(FRAME_START + MAX_FRAME_HEADER),
        }
    }

    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.load().as_deref().copied()
    }

    /// Whether the way to `endpoint`, a new one, may lead through the tunnel itself; control is then to find out.
    pub(crate) fn may_be_inside(&self, endpoint: &Endpoint) -> bool {
        let ip = endpoint.remote.ip();
        let inside = self.networks.load().routed.contains(ip)
            && self.outside.load().as_deref() != Some(&ip)
            && self.endpoint().is_none_or(|current| current.remote.ip() != ip);
        if inside {
            self.suspect.store(Some(Arc::new(ip)));
        }
        inside
    }

    pub(crate) fn networks(&self) -> NetworksCache {
        Cache::new(Arc::clone(&self.networks))
    }

    pub(crate) fn set_networks(&self, networks: Networks) {
        self.networks.store(Arc::new(networks));
        // What was found out was about other routes.
        self.outside.store(None);
    }

    /// The address to find out about, once.
    pub(crate) fn take_suspect(&self) -> Option<IpAddr> {
        self.suspect.load().as_ref()?;
        self.suspect.swap(None).map(|ip| *ip)
    }

    /// `ip` is reached outside the tunnel.
    pub(crate) fn set_outside(&self, ip: IpAddr) {
        self.outside.store(Some(Arc::new(ip)));
    }

    /// Whether `from` is no place where the peer is or may be.
    pub(crate) fn is_stranger(&self, from: &Endpoint) -> bool {
        let from = network(from.remote.ip());
        let peer = self.endpoint.load();
        peer.as_ref().is_none_or(|peer| network(peer.remote.ip()) != from)
            && !self.places.load().iter().any(|place| network(*place) == from)
    }

    /// Where the peer is, and where it may be besides.
    pub(crate) fn places(&self) -> Vec<IpAddr> {
        let current = self.endpoint().map(|endpoint| endpoint.remote.ip());
        let places = self.places.load();
        let others = places.iter().copied().filter(|place| Some(*place) != current);
        current.into_iter().chain(others).collect()
    }

    pub(crate) fn set_places(&self, addresses: impl Iterator<Item = SocketAddr>) {
        self.places.store(Arc::new(addresses.map(|address| address.ip()).collect()));
    }

    pub(crate) fn set_endpoint(&self, endpoint: Endpoint) {
        self.endpoint.store(Some(Arc::new(endpoint)));
    }

    /// Leaves the local address to the kernel again: the one in use may be gone.
    pub(crate) fn forget_source(&self) {
        let endpoint = self.endpoint.load();
        if let Some(with_source) = endpoint.as_deref().filter(|endpoint| endpoint.source.is_some())
        {
            // Unless inbound moves it at this moment.
            let without = Some(Arc::new(with_source.without_source()));
            self.endpoint.compare_and_swap(&*endpoint, without);
        }
    }
}

/// A moment in nanoseconds since boot; zero for never.
#[derive(Default)]
struct Moment(AtomicU64);

impl Moment {
    fn set(&self, now: Instant) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Instant> {
        Some(self.0.load(Ordering::Relaxed)).filter(|nanos| *nanos != 0).map(Instant::from_nanos)
    }
}

/// Since when something has been owed. Control watches it while it has a deadline for it, so that whoever
/// starts it wakes control only if nobody watches.
#[derive(Default)]
pub(crate) struct Since {
    nanos: AtomicU64,
    watched: AtomicBool,
}

impl Since {
    /// Begins now unless it has begun; whether control must be woken.
    fn start(&self, now: Instant) -> bool {
        if self.nanos.load(Ordering::Relaxed) != 0 {
            return false;
        }
        // Sequentially consistent with `watch`: either control sees the start, or we see that it does not watch.
        self.nanos.store(now.as_nanos(), Ordering::SeqCst);
        !self.watched.load(Ordering::SeqCst)
    }

    /// Ends it.
    pub(crate) fn clear(&self) {
        if self.nanos.load(Ordering::Relaxed) != 0 {
            self.nanos.store(0, Ordering::Relaxed);
        }
    }

    /// When it began. If it has not, the next start wakes control, unless control `looks_again` anyway.
    pub(crate) fn watch(&self, looks_again: bool) -> Option<Instant> {
        self.watched.store(looks_again, Ordering::SeqCst);
        let nanos = self.nanos.load(Ordering::SeqCst);
        self.watched.store(looks_again || nanos != 0, Ordering::SeqCst);
        (nanos != 0).then(|| Instant::from_nanos(nanos))
    }

    /// When it began, as [`Since::watch`] says, but without watching.
    pub(crate) fn began(&self) -> Option<Instant> {
        let nanos = self.nanos.load(Ordering::SeqCst);
        (nanos != 0).then(|| Instant::from_nanos(nanos))
    }
}

/// What happened, as the timers need it (paper §6). Each function that returns a `bool` says whether control must
/// be woken.
#[derive(Default)]
pub(crate) struct Facts {
    /// Data was sent and nothing authentic came since.
    pub(crate) awaiting_reply: Since,
    /// Data was received and nothing authentic was sent since.
    pub(crate) owing_reply: Since,
    last_sent: Moment,
    last_received: Moment,
    handshake_wanted: AtomicBool,
    /// Local index of a session that its first packet confirmed, with [`CONFIRMED`] set.
    confirmed: AtomicU64,
    /// Inbound moved the endpoint and control has not heard of it.
    moved: AtomicBool,
}

const CONFIRMED: u64 = 1 << 32;

impl Facts {
    /// Anything authentic was sent.
    pub(crate) fn sent(&self, now: Instant) {
        self.last_sent.set(now);
        self.owing_reply.clear();
    }

    /// Data was sent.
    pub(crate) fn data_sent(&self, now: Instant) -> bool {
        self.sent(now);
        self.awaiting_reply.start(now)
    }

    /// Anything authentic was received.
    pub(crate) fn received(&self, now: Instant) {
        self.last_received.set(now);
        self.awaiting_reply.clear();
    }

    /// Data was received.
    pub(crate) fn data_received(&self, now: Instant) -> bool {
        self.owing_reply.start(now)
    }

    pub(crate) fn last_received(&self) -> Option<Instant> {
        self.last_received.get()
    }

    /// When anything authentic went either way.
    pub(crate) fn last_traversal(&self) -> Option<Instant> {
        self.last_sent.get().max(self.last_received.get())
    }

    /// Asks control for a handshake; once until control has dealt with it.
    pub(crate) fn want_handshake(&self) -> bool {
        !self.handshake_wanted.load(Ordering::Relaxed)
            && !self.handshake_wanted.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn handshake_is_wanted(&self) -> bool {
        self.handshake_wanted.load(Ordering::SeqCst)
    }

    /// From now on whoever wants a handshake says so again.
    pub(crate) fn handshake_dealt_with(&self) {
        self.handshake_wanted.store(false, Ordering::SeqCst);
    }

    /// The first packet of a session we answered arrived.
    pub(crate) fn confirm(&self, local_index: u32) -> bool {
        self.confirmed.store(CONFIRMED | u64::from(local_index), Ordering::SeqCst);
        true
    }

    pub(crate) fn take_confirmed(&self) -> Option<u32> {
        let confirmed = self.confirmed.swap(0, Ordering::SeqCst);
        (confirmed & CONFIRMED != 0).then_some(confirmed as u32)
    }

    /// The endpoint was moved.
    pub(crate) fn moved(&self) -> bool {
        !self.moved.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn take_moved(&self) -> bool {
        self.moved.swap(false, Ordering::SeqCst)
    }
}

/// What control wants of outbound; any of it at once, each at most once.
#[derive(Default)]
pub(crate) struct Orders(AtomicU8);

impl Orders {
    /// Send what is staged.
    pub(crate) const FLUSH: u8 = 1;
    /// Send what is staged, or a keepalive if nothing is.
    pub(crate) const KEEPALIVE: u8 = 2;
    /// Discard what is staged.
    pub(crate) const ABANDON: u8 = 4;
    /// Leave the local address to the kernel for what is sent now: inbound may have learned it again meanwhile.
    pub(crate) const ANEW: u8 = 8;
    /// Discard all that waits: it is for a peer that is another one now.
    pub(crate) const OTHER_PEER: u8 = 16;

    pub(crate) fn give(&self, order: u8) {
        self.0.fetch_or(order, Ordering::SeqCst);
    }

    pub(crate) fn take(&self) -> u8 {
        if self.any() { self.0.swap(0, Ordering::SeqCst) } else { 0 }
    }

    /// Whether this is among the orders that were not taken yet.
    pub(crate) fn include(&self, order: u8) -> bool {
        self.0.load(Ordering::SeqCst) & order != 0
    }

    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }
}
