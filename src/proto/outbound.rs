//! The outbound half of a tunnel: packets of the overlay become transport data, in the order they come.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::discard::Discard;
use super::pieces::{Fragments, Whole};
use super::session::SealingHalf;
use super::shared::{NetworksCache, Orders, Shared};
use super::staged::Staged;
use super::stations::{self, FrameFilter, Side};
use super::time::Instant;
use crate::wire::datagram::{MAX_RUN_BYTES, MAX_RUN_COUNT};
use crate::wire::mss::{self, MssLimit};
use crate::wire::piece::{FRAME_START, LONGEST_FRAME};
use crate::wire::transport::{OVERHEAD, datagram_len, text_mut};
use crate::wire::upper::is_udp_to;
use crate::wire::{DatagramSink, Ecn, Endpoint, IpHeader, Layer, Run, Superpacket};

/// What is written on a packet and on the datagrams that carry it.
#[derive(Clone, Copy)]
struct Marks {
    ecn: Ecn,
    dscp: u8,
    mss: Option<MssLimit>,
}

/// Owned by the outbound thread.
pub struct Outbound {
    shared: Arc<Shared>,
    networks: NetworksCache,
    staged: Staged,
    filter: FrameFilter,
    /// Room for a frame that is to be fragmented.
    frame: Vec<u8>,
    wake_control: bool,
}

impl Outbound {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let networks = shared.networks();
        Self {
            shared,
            networks,
            staged: Staged::default(),
            filter: FrameFilter::default(),
            frame: Vec::new(),
            wake_control: false,
        }
    }

    /// Where datagrams go now; `None` while the peer's address is unknown.
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.shared.endpoint()
    }

    /// To be called when a datagram could not leave from its sticky source.
    pub fn forget_source(&self) {
        self.shared.forget_source();
    }

    /// Bytes of the longest frame that crosses whole.
    #[must_use]
    pub fn longest_frame(&self) -> usize {
        self.mtu().saturating_sub(FRAME_START)
    }

    /// Bytes that a packet of `len` bytes takes on the underlay, its IP and UDP headers included.
    #[must_use]
    pub fn outer_len(&self, len: usize) -> usize {
        let header = self.endpoint().map_or(0, |endpoint| endpoint.header_len());
        let mtu = self.mtu();
        let (len, fragments) = match self.shared.layer {
            Layer::Ip => (len, 1),
            Layer::Ethernet => {
                let text = len.saturating_add(FRAME_START);
                (text, text.div_ceil(mtu.max(1)).max(1))
            }
        };
        let more = fragments.saturating_sub(1).saturating_mul(OVERHEAD.saturating_add(header));
        datagram_len(len, mtu).saturating_add(header).saturating_add(more)
    }

    /// Counts discards that happened on the way here.
    pub fn discard_many(&self, reason: Discard, count: u64) {
        self.shared.stats.discard_many(reason, count);
    }

    /// Whether control must be woken, since the last call.
    pub fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.wake_control)
    }

    /// Seals every segment of `packet` into `sink`, or stages them until there is a session.
    ///
    /// # Errors
    /// The packet went no further; it is counted.
    pub fn send(
        &mut self,
        now: Instant,
        packet: &impl Superpacket,
        sink: &mut impl DatagramSink,
    ) -> Result<(), Discard> {
        if self.obey(now, sink) {
            self.shared.stats.discard(Discard::OtherPeer);
            return Err(Discard::OtherPeer);
        }
        let marks = self.check(now, packet);
        let marks = marks.inspect_err(|reason| self.shared.stats.discard(*reason))?;
        if !self.staged.is_empty() {
            // The session may be here before the order to send what waits for it.
            self.flush_staged(now, sink);
        }
        let sealing = self.shared.sealing.load();
        let sent = match self.for_waiting(&sealing) {
            Some(sealing) => self.seal(now, sealing, packet, marks, sink),
            None => 0,
        };
        if sent > 0 {
            self.wake_control |= self.shared.facts.data_sent(now);
        }
        if sent < packet.count() {
            self.stage(now, packet, sent);
        }
        let rekey = sealing.as_deref().is_none_or(|sealing| sealing.wants_rekey(now));
        if rekey || sent < packet.count() {
            self.wake_control |= self.shared.facts.want_handshake();
        }
        Ok(())
    }

    /// Does what control ordered: to be called whenever it wakes outbound. Whether the peer is another one: what still waits
    /// to be sent is for the one before.
    pub fn obey(&mut self, now: Instant, sink: &mut impl DatagramSink) -> bool {
        let orders = self.shared.outbound_orders.take();
        let other_peer = orders & Orders::OTHER_PEER != 0;
        if other_peer || orders & Orders::ABANDON != 0 {
            let reason = if other_peer { Discard::OtherPeer } else { Discard::HandshakeGivenUp };
            self.shared.stats.discard_many(reason, self.staged.clear() as u64);
        }
        if orders & Orders::ANEW != 0 {
            self.shared.forget_source();
        }
        if orders & Orders::KEEPALIVE != 0 && self.staged.is_empty() {
            self.send_keepalive(now, sink);
        }
        if orders & (Orders::FLUSH | Orders::KEEPALIVE) != 0 {
            self.flush_staged(now, sink);
        }
        other_peer
    }

    /// The session for a packet that is here already: none if it may be with another peer. That peer's session came after the
    /// order to forget what waits, which was not taken yet.
    fn for_waiting<'s>(&self, sealing: &'s Option<Arc<SealingHalf>>) -> Option<&'s SealingHalf> {
        let same_peer = !self.shared.outbound_orders.include(Orders::OTHER_PEER);
        sealing.as_deref().filter(|_| same_peer)
    }

    /// Whether the packet may cross; what is to be written on it and its datagrams.
    fn check(&mut self, now: Instant, packet: &impl Superpacket) -> Result<Marks, Discard> {
        let bytes = packet.header();
        let ip = self.shared.layer.ip_at(bytes).and_then(|at| bytes.get(at..)).unwrap_or_default();
        // The length was checked by whoever split the superpacket: only the first header is here.
        let header = IpHeader::parse_fixed(ip);
        match self.shared.layer {
            Layer::Ip => {
                let destination = header.ok_or(Discard::NotIp)?.destination;
                if !self.networks.load().allowed_ips.contains(destination) {
                    return Err(Discard::DestinationNotAllowed);
                }
            }
            Layer::Ethernet => {
                let header = stations::header(bytes)?;
                self.filter.pass(now, header.destination, &self.networks.load().frames)?;
                self.wake_control |= self.shared.sides.heard(now, header.source, Side::Ours);
            }
        }
        if self.endpoint().is_some_and(|to| is_udp_to(ip, to.remote)) {
            return Err(Discard::RoutingLoop);
        }
        let too_long = match self.shared.layer {
            Layer::Ip => datagram_len(packet.segment_size(), self.mtu()) > MAX_RUN_BYTES,
            Layer::Ethernet => packet.segment_size() > LONGEST_FRAME,
        };
        if too_long {
            return Err(Discard::PacketTooLong);
        }
        Ok(self.marks(header.as_ref()))
    }

    /// Seals the packet, or its frames whole or in fragments; how many segments were sealed before the session ended, if
    /// it did.
    fn seal(
        &mut self,
        now: Instant,
        sealing: &SealingHalf,
        packet: &impl Superpacket,
        marks: Marks,
        sink: &mut impl DatagramSink,
    ) -> usize {
        let sent = match self.shared.layer {
            Layer::Ip => self.seal_runs(now, sealing, packet, marks, sink),
            Layer::Ethernet if packet.segment_size() <= self.longest_frame() => {
                self.seal_runs(now, sealing, &Whole(packet), marks, sink)
            }
            Layer::Ethernet => self.seal_fragments(now, sealing, packet, marks, sink),
        };
        let full = if sent == packet.count() { sent.saturating_sub(1) } else { sent };
        let last = if sent == packet.count() { packet.last_size() } else { 0 };
        let bytes = full.saturating_mul(packet.segment_size()).saturating_add(last);
        self.shared.stats.add_sent(sent as u64, bytes as u64);
        sent
    }

    /// Seals frame after frame in fragments. These do not say that they know ECN: a mark on one would not be one on the
    /// frame.
    fn seal_fragments(
        &mut self,
        now: Instant,
        sealing: &SealingHalf,
        packet: &impl Superpacket,
        marks: Marks,
        sink: &mut impl DatagramSink,
    ) -> usize {
        let marks = Marks { ecn: Ecn::NotEct, mss: None, ..marks };
        let mut frame = std::mem::take(&mut self.frame);
        let mut sent = 0;
        while sent < packet.count() {
            frame.resize(packet.size_of(sent), 0);
            packet.write_segment(sent, &mut frame);
            let Some(fragments) = Fragments::new(&frame, self.mtu()) else {
                self.shared.stats.discard(Discard::PacketTooLong);
                sent = sent.saturating_add(1);
                continue;
            };
            if self.seal_runs(now, sealing, &fragments, marks, sink) < fragments.count() {
                break;
            }
            sent = sent.saturating_add(1);
        }
        self.frame = frame;
        sent
    }

    /// Seals run after run; how many segments were sealed before the session ended, if it did.
    fn seal_runs(
        &self,
        now: Instant,
        sealing: &SealingHalf,
        packet: &impl Superpacket,
        marks: Marks,
        sink: &mut impl DatagramSink,
    ) -> usize {
        let mtu = self.mtu();
        let count = packet.count();
        // A SYN is never one segment of many.
        let mss = marks.mss.filter(|_| count == 1);
        let Marks { ecn, dscp, .. } = marks;
        let stride = datagram_len(packet.segment_size(), mtu);
        let most = MAX_RUN_BYTES.checked_div(stride).unwrap_or(0).clamp(1, MAX_RUN_COUNT);
        let mut sent = 0;
        while sent < count {
            let end = count.min(sent.saturating_add(most));
            let in_run = end.saturating_sub(sent);
            let Some(counter) = sealing.take_counters(now, in_run, stride) else {
                break;
            };
            let last = if end == count { datagram_len(packet.last_size(), mtu) } else { stride };
            let slots = sink.reserve(Run { stride, count: in_run, last, ecn, dscp });
            for (index, slot) in (sent..end).zip(slots.chunks_mut(stride)) {
                let len = packet.size_of(index);
                let (segment, padding) = text_mut(slot).unwrap_or_default().split_at_mut(len);
                packet.write_segment(index, segment);
                if let Some(limit) = mss {
                    self.clamp(segment, limit);
                }
                padding.fill(0);
            }
            sealing.seal_run(counter, slots, stride);
            sent = end;
        }
        sent
    }

    /// What is to be written on a packet with this header, or on what is none.
    fn marks(&self, header: Option<&IpHeader>) -> Marks {
        let rewrites = &self.shared.rewrites;
        Marks {
            ecn: header.map_or(Ecn::NotEct, |header| header.ecn),
            dscp: header.map_or(0, |header| rewrites.outer_dscp(header)),
            mss: header.and_then(|_| rewrites.mss_limit(self.shared.packet_mtu())),
        }
    }

    /// Lowers the MSS in the packet that `text` has, perhaps as a whole frame.
    fn clamp(&self, text: &mut [u8], limit: MssLimit) {
        let start = match self.shared.layer {
            Layer::Ip => 0,
            Layer::Ethernet => FRAME_START,
        };
        if let Some(bytes) = text.get_mut(start..)
            && let Some(packet) = self.shared.layer.ip_at(bytes).and_then(|at| bytes.get_mut(at..))
        {
            mss::clamp(packet, limit);
        }
    }

    fn mtu(&self) -> usize {
        self.shared.mtu.load(Ordering::Relaxed)
    }

    fn stage(&mut self, now: Instant, packet: &impl Superpacket, from: usize) {
        for index in from..packet.count() {
            let mut segment = vec![0; packet.size_of(index)];
            packet.write_segment(index, &mut segment);
            if self.staged.push(now, segment) {
                self.shared.stats.discard(Discard::StagedOverflow);
            }
        }
    }

    fn flush_staged(&mut self, now: Instant, sink: &mut impl DatagramSink) {
        let sealing = self.shared.sealing.load();
        let Some(sealing) = self.for_waiting(&sealing) else {
            return;
        };
        let outdated = self.staged.forget_outdated(now);
        self.shared.stats.discard_many(Discard::HandshakeGivenUp, outdated as u64);
        while let Some((since, packet)) = self.staged.pop() {
            let segment = packet.as_slice();
            let ip = self.shared.layer.ip_at(segment).and_then(|at| segment.get(at..));
            let marks = self.marks(ip.and_then(IpHeader::parse_fixed).as_ref());
            if self.seal(now, sealing, &segment, marks, sink) == 0 {
                self.staged.unpop(since, packet);
                self.wake_control |= self.shared.facts.want_handshake();
                return;
            }
            self.wake_control |= self.shared.facts.data_sent(now);
        }
    }

    fn send_keepalive(&mut self, now: Instant, sink: &mut impl DatagramSink) {
        let sealing = self.shared.sealing.load();
        let Some(sealing) = sealing.as_deref() else {
            return;
        };
        let Some(counter) = sealing.take_counters(now, 1, OVERHEAD) else {
            return;
        };
        let slot = sink.reserve(Run::single(OVERHEAD, Ecn::NotEct));
        sealing.seal_run(counter, slot, OVERHEAD);
        self.shared.facts.sent(now);
        if sealing.wants_rekey(now) {
            self.wake_control |= self.shared.facts.want_handshake();
        }
    }
}

#[cfg(test)]
mod tests;
