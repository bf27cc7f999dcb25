//! The inbound half of a tunnel: datagrams become packets of the overlay, opened where they lie.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::discard::Discard;
use super::flood::Tally;
use super::replay::Arrivals;
use super::session::{OpeningHalf, receiver_index};
use super::shared::{NetworksCache, Shared};
use super::time::Instant;
use crate::wire::ip::{NotIp, decapsulate, set_ecn};
use crate::wire::mss;
use crate::wire::{Ecn, Endpoint, Handshake, IpHeader, Malformed, Message};

/// Owned by the inbound thread.
pub struct Inbound {
    shared: Arc<Shared>,
    networks: NetworksCache,
    halves: Vec<OpeningHalf>,
    batch: Batch,
    tally: Tally,
    wake_control: bool,
}

/// What the datagrams of a batch had, told to the other threads at its end.
#[derive(Default)]
struct Batch {
    authentic: bool,
    data: bool,
    packets: u64,
    bytes: u64,
    arrivals: Arrivals,
}

/// What a datagram was.
#[derive(Debug)]
pub enum Received<'d> {
    /// An inner packet for the device, without padding.
    Packet(&'d mut [u8]),
    /// A keepalive: done.
    Keepalive,
    /// A message for control.
    Handshake(Handshake),
}

impl Inbound {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            networks: shared.networks(),
            shared,
            halves: Vec::new(),
            batch: Batch::default(),
            tally: Tally::default(),
            wake_control: false,
        }
    }

    /// Takes on and erases sessions as control ordered: to be called before the datagrams of each receive
    /// call, and whenever it wakes inbound.
    pub fn obey(&mut self) {
        self.shared.opening.apply(&mut self.halves);
    }

    /// Opens one datagram in place.
    ///
    /// # Errors
    /// The datagram went no further; it is counted.
    pub fn receive<'d>(
        &mut self,
        now: Instant,
        from: Endpoint,
        ecn: Ecn,
        datagram: &'d mut [u8],
    ) -> Result<Received<'d>, Discard> {
        let len = datagram.len();
        let received = match Message::parse(datagram) {
            Ok(Message::TransportData(data)) => self.open(now, from, ecn, data),
            Ok(Message::Handshake(message)) => Ok(Received::Handshake(message)),
            Err(Malformed::Type) => Err(Discard::MessageType),
            Err(Malformed::Length) => Err(Discard::MessageLength),
        };
        let is_handshake = matches!(received, Ok(Received::Handshake(_)));
        if (is_handshake || received.is_err()) && self.shared.is_stranger(&from) {
            self.tally.stranger(is_handshake, len);
        }
        received.inspect_err(|reason| self.shared.stats.discard(*reason))
    }

    /// Tells the other threads what the datagrams since the last time had: to be called at the end of a batch.
    pub fn finish(&mut self, now: Instant) {
        let Batch { authentic, data, packets, bytes, arrivals } = std::mem::take(&mut self.batch);
        self.wake_control |= self.tally.finish(now, &self.shared.strangers);
        if arrivals.accepted > 0 {
            self.shared.stats.add_arrivals(&arrivals);
        }
        if authentic {
            self.shared.facts.received(now);
            let sealing = self.shared.sealing.load();
            if sealing.as_deref().is_some_and(|current| current.wants_rekey_on_receive(now)) {
                self.wake_control |= self.shared.facts.want_handshake();
            }
        }
        if data {
            self.wake_control |= self.shared.facts.data_received(now);
            self.shared.stats.add_received(packets, bytes);
        }
    }

    /// Whether control must be woken, since the last call.
    pub fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.wake_control)
    }

    /// Counts a discard that happened on the way to control or the device.
    pub fn discard(&self, reason: Discard) {
        self.discard_many(reason, 1);
    }

    /// The same for several.
    pub fn discard_many(&self, reason: Discard, count: u64) {
        self.shared.stats.discard_many(reason, count);
    }

    /// The order of the steps is the kernel's: what is authentic moves the endpoint and feeds the timers even
    /// if its packet is then refused (paper §5.4.6).
    /// The half with this local index.
    pub(crate) fn half(&self, local_index: u32) -> Option<&OpeningHalf> {
        self.halves.iter().find(|half| half.local_index() == local_index)
    }

    fn open<'d>(
        &mut self,
        now: Instant,
        from: Endpoint,
        outer: Ecn,
        data: &'d mut [u8],
    ) -> Result<Received<'d>, Discard> {
        let index = receiver_index(data);
        let half = self
            .halves
            .iter_mut()
            .find(|half| Some(half.local_index()) == index)
            .ok_or(Discard::UnknownReceiver)?;
        let text = half.open(now, data, &mut self.batch.arrivals)?;
        if self.shared.endpoint.load().as_deref() != Some(&from) {
            if self.shared.may_be_inside(&from) {
                self.wake_control = true;
                return Err(Discard::SourceInside);
            }
            self.shared.set_endpoint(from);
            self.wake_control |= self.shared.facts.moved();
        }
        if half.confirm() {
            self.wake_control |= self.shared.facts.confirm(half.local_index());
        }
        self.batch.authentic = true;
        if text.is_empty() {
            return Ok(Received::Keepalive);
        }
        self.batch.data = true;
        let header = IpHeader::parse(text).map_err(|not_ip| match not_ip {
            NotIp::Version => Discard::NotIp,
            NotIp::Length => Discard::InnerLength,
        })?;
        let networks = self.networks.load();
        if !networks.allowed_ips.contains(header.source)
            || networks.addresses.contains(&header.source)
        {
            return Err(Discard::SourceNotAllowed);
        }
        let packet = text.get_mut(..header.total_len).ok_or(Discard::InnerLength)?;
        let ecn = decapsulate(header.ecn, outer).ok_or(Discard::CongestionMark)?;
        if ecn != header.ecn {
            set_ecn(packet, ecn);
        }
        let mtu = self.shared.mtu.load(Ordering::Relaxed);
        if let Some(limit) = self.shared.rewrites.mss_limit(mtu) {
            mss::clamp(packet, limit);
        }
        self.batch.packets = self.batch.packets.saturating_add(1);
        self.batch.bytes = self.batch.bytes.saturating_add(packet.len() as u64);
        Ok(Received::Packet(packet))
    }
}
