//! The inbound half of a tunnel: datagrams become packets of the overlay, opened where they lie.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::discard::Discard;
use super::flood::Tally;
use super::reassembly::Reassembly;
use super::replay::Arrivals;
use super::session::{OpeningHalf, index_and_counter};
use super::shared::{NetworksCache, Shared};
use super::stations::{self, FrameFilter, Learned, Side};
use super::time::Instant;
use crate::wire::ethernet::FrameHeader;
use crate::wire::ip::{NotIp, decapsulate, set_ecn};
use crate::wire::mss;
use crate::wire::piece::{FRAME_START, NotPiece, Piece};
use crate::wire::transport::HEADER;
use crate::wire::{Ecn, Endpoint, Handshake, IpHeader, Layer, Malformed, Message};

/// Owned by the inbound thread.
pub struct Inbound {
    shared: Arc<Shared>,
    networks: NetworksCache,
    halves: Vec<OpeningHalf>,
    reassembly: Reassembly,
    filter: FrameFilter,
    learned: Learned,
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
    /// An inner packet or frame for the device, without padding: it starts [`Inbound::packet_at`] bytes into the datagram.
    Packet(&'d mut [u8]),
    /// The last fragment of a frame: [`Inbound::frame`] is for the device.
    Frame,
    /// A fragment: done.
    Fragment,
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
            reassembly: Reassembly::default(),
            filter: FrameFilter::default(),
            learned: Learned::default(),
            batch: Batch::default(),
            tally: Tally::default(),
            wake_control: false,
        }
    }

    /// Takes on and erases sessions as control ordered: to be called before the datagrams of each receive
    /// call, and whenever it wakes inbound. Whether the peer is another one: what is still on its way to the device is from
    /// the one before.
    pub fn obey(&mut self) -> bool {
        if !self.shared.opening.pending() {
            return false;
        }
        let other_peer = self.shared.opening.apply(&mut self.halves);
        let halves = &self.halves;
        self.reassembly.keep(|index| halves.iter().any(|half| half.local_index() == index));
        self.count_forgotten();
        if other_peer {
            self.filter = FrameFilter::default();
            self.learned = Learned::default();
            self.shared.stations.store(0, Ordering::Relaxed);
            self.shared.sides.forget();
        }
        other_peer
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

    /// Where in a datagram its packet or frame starts.
    #[must_use]
    pub fn packet_at(&self) -> usize {
        match self.shared.layer {
            Layer::Ip => HEADER,
            Layer::Ethernet => HEADER.saturating_add(FRAME_START),
        }
    }

    /// The frame that was put together last.
    pub fn frame(&mut self) -> &mut [u8] {
        self.reassembly.frame()
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

    /// The half with this local index.
    pub(crate) fn half(&self, local_index: u32) -> Option<&OpeningHalf> {
        self.halves.iter().find(|half| half.local_index() == local_index)
    }

    /// The order of the steps is the kernel's: what is authentic moves the endpoint and feeds the timers even
    /// if its packet is then refused (paper §5.4.6).
    fn open<'d>(
        &mut self,
        now: Instant,
        from: Endpoint,
        outer: Ecn,
        data: &'d mut [u8],
    ) -> Result<Received<'d>, Discard> {
        let (index, counter) = index_and_counter(data).ok_or(Discard::MessageLength)?;
        let half = self
            .halves
            .iter_mut()
            .find(|half| half.local_index() == index)
            .ok_or(Discard::UnknownReceiver)?;
        let was_worn = half.is_worn();
        let opened = half.open(now, data, &mut self.batch.arrivals);
        if half.is_worn() && !was_worn {
            self.wake_control |= self.shared.facts.want_handshake();
        }
        let text = opened?;
        if self.shared.endpoint.load().as_deref() != Some(&from) {
            if self.shared.may_be_inside(&from) {
                self.wake_control = true;
                return Err(Discard::SourceInside);
            }
            // Not if control has ended the session by now: the endpoint may be that of another peer.
            let moved = || self.shared.set_endpoint(from);
            if !self.shared.opening.if_live(half.local_index(), moved) {
                return Err(Discard::SessionEnded);
            }
            self.wake_control |= self.shared.facts.moved();
        }
        if half.confirm() {
            self.wake_control |= self.shared.facts.confirm(half.local_index());
        }
        self.batch.authentic = true;
        if text.is_empty() {
            return Ok(Received::Keepalive);
        }
        if half.profile().is_control(text) {
            return Err(Discard::UnknownControl);
        }
        self.batch.data = true;
        match self.shared.layer {
            Layer::Ip => self.accept_packet(outer, text).map(Received::Packet),
            Layer::Ethernet => self.accept_piece(now, (index, counter), outer, text),
        }
    }

    /// A packet without padding, if it may come from the peer.
    fn accept_packet<'d>(
        &mut self,
        outer: Ecn,
        text: &'d mut [u8],
    ) -> Result<&'d mut [u8], Discard> {
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
        self.rewrite(packet, header.ecn, outer)?;
        self.batch.count(packet.len());
        Ok(packet)
    }

    /// A frame, or a fragment of one, which may complete it.
    fn accept_piece<'d>(
        &mut self,
        now: Instant,
        (session, counter): (u32, u64),
        outer: Ecn,
        text: &'d mut [u8],
    ) -> Result<Received<'d>, Discard> {
        let (piece, bytes) = Piece::parse(text).map_err(|not_piece| match not_piece {
            NotPiece::Kind => Discard::UnknownControl,
            NotPiece::Length => Discard::FrameMalformed,
        })?;
        let Piece::Fragment(fragment) = piece else {
            let header = stations::header(bytes)?;
            self.check_frame(now, &header)?;
            if let Some(at) = Layer::Ethernet.ip_at(bytes)
                && let Some(packet) = bytes.get_mut(at..)
                && let Some(header) = IpHeader::parse_fixed(packet)
            {
                self.rewrite(packet, header.ecn, outer)?;
            }
            self.batch.count(bytes.len());
            return Ok(Received::Packet(bytes));
        };
        let complete = self.reassembly.add(session, counter, fragment, bytes);
        self.count_forgotten();
        if !complete {
            return Ok(Received::Fragment);
        }
        let frame = self.reassembly.frame();
        let (header, len) = (stations::header(frame)?, frame.len());
        self.check_frame(now, &header)?;
        self.batch.count(len);
        Ok(Received::Frame)
    }

    fn count_forgotten(&mut self) {
        let forgotten = self.reassembly.take_forgotten();
        self.shared.stats.discard_many(Discard::FrameIncomplete, forgotten);
    }

    /// Brings a mark of the way outside into the packet (RFC 6040 §4.2), and lowers the MSS that it announces.
    fn rewrite(&self, packet: &mut [u8], inner: Ecn, outer: Ecn) -> Result<(), Discard> {
        let ecn = decapsulate(inner, outer).ok_or(Discard::CongestionMark)?;
        if ecn != inner {
            set_ecn(packet, ecn);
        }
        if let Some(limit) = self.shared.rewrites.mss_limit(self.shared.packet_mtu()) {
            mss::clamp(packet, limit);
        }
        Ok(())
    }

    /// Whether a frame may come from the peer, by its addresses.
    fn check_frame(&mut self, now: Instant, header: &FrameHeader) -> Result<(), Discard> {
        let rules = self.networks.load().frames;
        let admitted = self.learned.admit(now, header.source, rules.mac_limit);
        let known = self.learned.known();
        if self.shared.stations.load(Ordering::Relaxed) != known {
            self.shared.stations.store(known, Ordering::Relaxed);
        }
        if !admitted {
            return Err(Discard::MacLimit);
        }
        self.filter.pass(now, header.destination, &rules)?;
        self.wake_control |= self.shared.sides.heard(now, header.source, Side::Theirs);
        Ok(())
    }
}

impl Batch {
    fn count(&mut self, bytes: usize) {
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

#[cfg(test)]
mod tests;
