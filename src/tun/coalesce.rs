//! Segments to superpackets: what arrives in one receive batch reaches the device in few writes.
//!
//! Packets of one flow that differ in nothing but what the kernel's segmentation makes anew are written as one
//! superpacket, gathered from where they lie. All others are written as they came. The order within a flow
//! stays; only pure acknowledgments of TCP may be overtaken by data.

use std::io::IoSlice;
use std::ops::Range;

use zerocopy::IntoBytes;

use super::flow::{Candidate, MAX_HEADERS, Verdict};
use super::{Offloads, TunFault};
use crate::wire::Layer;
use crate::wire::ip::IpHeader;
use open_flows::OpenFlows;

/// Where the coalescer writes.
pub trait PacketWriter {
    /// Writes one packet.
    ///
    /// # Errors
    /// [`TunFault`] tells what became of it.
    fn write_packet(&mut self, packet: &[u8]) -> Result<(), TunFault>;

    /// Writes one superpacket: the virtio header, the headers of all segments, then at least two payloads.
    ///
    /// # Errors
    /// [`TunFault::Refused`] if the kernel takes no superpackets, [`TunFault::NoMemory`] if it has no room for this
    /// one: its segments may be written singly.
    fn write_superpacket(&mut self, gathered: &[IoSlice<'_>]) -> Result<(), TunFault>;
}

/// Collects the packets of one batch and writes them, coalesced where the rules allow.
///
/// It holds places in the caller's buffer, not bytes: all packets [pushed](Self::push) up to the next
/// [flush](Self::flush) lie in one buffer, and none of them changes in between.
#[derive(Debug)]
pub struct Coalescer {
    layer: Layer,
    offloads: Offloads,
    /// What will be written, in this order.
    items: Vec<Item>,
    /// The packets of all items.
    segments: Vec<Segment>,
    open: OpenFlows,
    /// Where in the buffer the last packet ends.
    end: usize,
}

/// What a [flush](Coalescer::flush) wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Packets that reached the device, segments counted singly.
    pub packets: usize,
    /// Superpackets among the writes.
    pub superpackets: usize,
    /// Packets discarded because the device was down.
    pub down: usize,
    /// Packets that the device refused.
    pub refused: usize,
}

#[derive(Debug)]
struct Item {
    /// First and last of its packets, by their places in [`Coalescer::segments`].
    head: usize,
    tail: usize,
    count: usize,
    /// Payload bytes of all.
    payload: usize,
    /// Of the first, but with PSH if the last has it; `None` if the packet is not to be coalesced.
    candidate: Option<Candidate>,
    /// Whether the checksums of the first are known to be right.
    verified: bool,
}

#[derive(Clone, Debug)]
struct Segment {
    /// The packet, with the header of its frame.
    range: Range<usize>,
    /// Bytes of that header.
    link: usize,
    /// The next packet of the same item.
    next: Option<usize>,
}

impl Coalescer {
    /// A coalescer of packets or frames, for what the device has been granted.
    #[must_use]
    pub fn new(layer: Layer, offloads: Offloads) -> Self {
        Self {
            layer,
            offloads,
            items: Vec::with_capacity(BATCH),
            segments: Vec::with_capacity(BATCH),
            open: OpenFlows::new(),
            end: 0,
        }
    }

    /// Takes the packet or frame at `range` of `buffer`; bytes after a packet's own length are left off, those in a
    /// frame stay. A range outside of the buffer is nothing.
    pub fn push(&mut self, buffer: &[u8], range: Range<usize>) {
        let Some(bytes) = buffer.get(range.clone()) else {
            return;
        };
        let ip_at = self.layer.ip_at(bytes);
        let ip =
            ip_at.and_then(|at| bytes.get(at..)).map(|packet| (packet, IpHeader::parse(packet)));
        let (Some(link), Some((packet, Ok(ip)))) = (ip_at, ip) else {
            // Not for us to judge: if the kernel refuses it, that is counted.
            self.add(Segment::new(range, 0), None);
            return;
        };
        let is_padded = ip.total_len < packet.len();
        let packet = packet.get(..ip.total_len).unwrap_or(packet);
        let range = match self.layer {
            Layer::Ip => range.start..range.start.saturating_add(packet.len()),
            Layer::Ethernet => range,
        };
        match Verdict::of(packet, &ip, self.offloads) {
            // The kernel would not make its padding again.
            Verdict::Candidate(candidate) if is_padded && self.layer == Layer::Ethernet => {
                self.open.close(&candidate.key);
            }
            Verdict::Candidate(candidate) => {
                self.push_candidate(buffer, Segment::new(range, link), candidate);
                return;
            }
            Verdict::Passes => {}
            Verdict::Seals(key) => self.open.close(&key),
            Verdict::SealsAddresses => self.open.close_between(ip.source, ip.destination),
        }
        self.add(Segment::new(range, link), None);
    }

    /// Writes all that was pushed; `buffer` is the one it was pushed from. Packets that the device does not take
    /// are discarded and counted, except for refused superpackets: their packets are written singly, and, unless
    /// only memory was short, no more superpackets after them.
    ///
    /// # Errors
    /// [`TunFault::Gone`] if the device was deleted; the rest is discarded then.
    pub fn flush(
        &mut self,
        buffer: &[u8],
        writer: &mut impl PacketWriter,
    ) -> Result<Flushed, TunFault> {
        let mut flushed = Flushed::default();
        let mut result = Ok(());
        if buffer.len() < self.end {
            // Not the buffer they were pushed from.
            flushed.refused = self.segments.len();
            self.items.clear();
        }
        let mut items = std::mem::take(&mut self.items);
        for item in &items {
            result = self.flush_item(item, buffer, writer, &mut flushed);
            if result.is_err() {
                break;
            }
        }
        items.clear();
        self.items = items;
        self.segments.clear();
        self.open.clear();
        self.end = 0;
        result.map(|()| flushed)
    }

    fn push_candidate(&mut self, buffer: &[u8], segment: Segment, candidate: Candidate) {
        if let Some(item) = self.open.item(&candidate.key) {
            match self.extend(item, buffer, &segment, &candidate) {
                Extended::Open => return,
                Extended::Closed => {
                    self.open.close(&candidate.key);
                    return;
                }
                Extended::Refused => self.open.close(&candidate.key),
            }
        }
        let push = candidate.push;
        let key = candidate.key;
        let item = self.add(segment, Some(candidate));
        if !push {
            self.open.open(key, item);
        }
    }

    /// Adds the packet to the item, if it continues it.
    fn extend(
        &mut self,
        index: usize,
        buffer: &[u8],
        segment: &Segment,
        next: &Candidate,
    ) -> Extended {
        let Some(item) = self.items.get_mut(index) else {
            return Extended::Refused;
        };
        let first = self.segments.get(item.head).and_then(|head| head.parts(buffer));
        let (Some(candidate), Some((first_link, first)), Some((link, packet))) =
            (item.candidate.as_mut(), first, segment.parts(buffer))
        else {
            return Extended::Refused;
        };
        let continues = first_link == link
            && candidate.continued_by(next, [first, packet], item.count, item.payload);
        if !continues {
            return Extended::Refused;
        }
        // A packet that stays alone is written as it came: only now its checksums matter.
        item.verified = item.verified || candidate.verify(first);
        if !item.verified || !next.verify(packet) {
            return Extended::Refused;
        }
        let is_last = next.push || next.payload < candidate.payload;
        candidate.push = next.push;
        let place = self.segments.len();
        if let Some(tail) = self.segments.get_mut(item.tail) {
            tail.next = Some(place);
        }
        self.end = self.end.max(segment.range.end);
        self.segments.push(segment.clone());
        item.tail = place;
        item.count = item.count.saturating_add(1);
        item.payload = item.payload.saturating_add(next.payload);
        if is_last || item.count == MAX_SEGMENTS { Extended::Closed } else { Extended::Open }
    }

    fn add(&mut self, segment: Segment, candidate: Option<Candidate>) -> usize {
        let (item, place) = (self.items.len(), self.segments.len());
        self.end = self.end.max(segment.range.end);
        self.segments.push(segment);
        self.items.push(Item {
            head: place,
            tail: place,
            count: 1,
            payload: candidate.as_ref().map_or(0, |candidate| candidate.payload),
            candidate,
            verified: false,
        });
        item
    }

    fn flush_item(
        &mut self,
        item: &Item,
        buffer: &[u8],
        writer: &mut impl PacketWriter,
        flushed: &mut Flushed,
    ) -> Result<(), TunFault> {
        if let Some(candidate) = &item.candidate
            && item.count > 1
            && self.offloads.cover(candidate.transport)
        {
            match self.write_gathered(item, candidate, buffer, writer) {
                Err(TunFault::Refused) => self.offloads = Offloads::NONE,
                Err(TunFault::NoMemory) => {}
                result => {
                    let superpackets = usize::from(result.is_ok());
                    flushed.superpackets = flushed.superpackets.saturating_add(superpackets);
                    return flushed.count(item.count, result);
                }
            }
        }
        for packet in self.packets(item, buffer) {
            flushed.count(1, writer.write_packet(packet))?;
        }
        Ok(())
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the first packet has these headers, and they fit: so it became a candidate"
    )]
    fn write_gathered(
        &self,
        item: &Item,
        candidate: &Candidate,
        buffer: &[u8],
        writer: &mut impl PacketWriter,
    ) -> Result<(), TunFault> {
        // The same in all of them.
        let link = self.segments[item.head].link;
        let virtio = candidate.virtio_header(link);
        let first = self.packets(item, buffer).next().unwrap_or_default();
        let len = link.saturating_add(candidate.headers);
        let mut headers = [0; MAX_HEADERS];
        let headers = &mut headers[..len];
        headers.copy_from_slice(&first[..len]);
        candidate.complete_headers(item.payload, &mut headers[link..]);

        let payloads = self.packets(item, buffer).filter_map(|packet| packet.get(len..));
        let parts = [virtio.as_bytes(), headers].into_iter().chain(payloads);
        let mut gathered = [IoSlice::new(&[]); MAX_SEGMENTS + 2];
        for (slice, part) in gathered.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        writer.write_superpacket(&gathered[..item.count.saturating_add(2)])
    }

    /// The packets or frames of an item, in order.
    fn packets<'b>(&self, item: &Item, buffer: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let mut next = Some(item.head);
        std::iter::from_fn(move || {
            let segment = self.segments.get(next?)?;
            next = segment.next;
            buffer.get(segment.range.clone())
        })
    }
}

impl Segment {
    fn new(range: Range<usize>, link: usize) -> Self {
        Self { range, link, next: None }
    }

    /// The header of its frame, and the packet.
    fn parts<'b>(&self, buffer: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        buffer.get(self.range.clone())?.split_at_checked(self.link)
    }
}

impl Flushed {
    /// Counts what became of so many packets; only a device that is gone is an error.
    fn count(&mut self, packets: usize, result: Result<(), TunFault>) -> Result<(), TunFault> {
        match result {
            Ok(()) => self.packets = self.packets.saturating_add(packets),
            Err(TunFault::Gone) => return Err(TunFault::Gone),
            Err(TunFault::Down) => self.down = self.down.saturating_add(packets),
            Err(_) => self.refused = self.refused.saturating_add(packets),
        }
        Ok(())
    }
}

/// What became of an item that a packet might continue.
enum Extended {
    /// It has the packet and may have more.
    Open,
    /// It has the packet and is complete.
    Closed,
    /// It does not have the packet.
    Refused,
}

/// Most segments of a superpacket: the limit for UDP before Linux 6.9.
const MAX_SEGMENTS: usize = 64;
/// Packets for which there is room from the start; a larger batch makes room once and keeps it.
const BATCH: usize = 1024;

mod open_flows;
#[cfg(test)]
mod tests;
