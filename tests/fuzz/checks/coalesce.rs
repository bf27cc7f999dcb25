//! Any packets in one batch: what is coalesced and split again is what came, in the order of each flow.

use std::collections::BTreeSet;

use tunneld::tun::{
    Coalescer, GSO_NONE, Offloads, TunFault, TunPacket, VIRTIO_HEADER, VirtioNetHdr,
};
use tunneld::wire::{IpHeader, Layer};

use super::input::Input;
use super::sums;
use crate::packets::{Fields, Recorder, frame, lay_out, split};

const MOST_PACKETS: usize = 300;

/// The bytes are choices: each makes the next packet of one of eight flows, or changes and damages it.
pub fn check(data: &[u8]) {
    let input = &mut Input::new(data);
    let choice = input.byte();
    let offloads = Offloads { tso: choice & 1 == 0, uso: choice & 2 == 0 };
    let refusal: Option<fn() -> TunFault> = match choice >> 2 & 3 {
        0 => Some(|| TunFault::Refused),
        1 => Some(|| TunFault::NoMemory),
        _ => None,
    };
    let (packets, links) = packets(input);
    let batch = Batch { layer: Layer::Ip, offloads, refusal };
    let recorder = batch.write(&packets);
    let expected = packets.iter().map(|packet| placed(trimmed(packet), &[])).collect();
    judge(expected, &recorder);

    let batch = Batch { layer: Layer::Ethernet, ..batch };
    let frames: Vec<_> =
        links.iter().zip(&packets).map(|(link, packet)| enclose(*link, packet)).collect();
    let of_frames = batch.write(&frames);
    judge(frames.iter().map(|frame| placed_frame(frame)).collect(), &of_frames);

    let plain = links.iter().all(|link| *link == 0);
    if plain && packets.iter().all(|packet| trimmed(packet) == packet && !packet.is_empty()) {
        let write = |write: &Vec<u8>| write[VIRTIO_HEADER..].to_vec();
        let expected: Vec<_> =
            recorder.writes.iter().map(|packet| enclose(0, &write(packet))).collect();
        let written: Vec<_> = of_frames.writes.iter().map(write).collect();
        same(&expected, &written, "frames are coalesced as their packets are");
    }
}

/// What is written at once, and how.
struct Batch {
    layer: Layer,
    offloads: Offloads,
    refusal: Option<fn() -> TunFault>,
}

impl Batch {
    fn write(&self, packets: &[Vec<u8>]) -> Recorder {
        let (buffer, ranges) = lay_out(packets);
        let mut coalescer = Coalescer::new(self.layer, self.offloads);
        for range in ranges {
            coalescer.push(&buffer, range);
        }
        coalescer.push(&buffer, buffer.len()..buffer.len() + 1);
        let Self { layer, refusal, .. } = *self;
        let mut recorder = Recorder { layer, refusal, ..Recorder::default() };
        let flushed = coalescer.flush(&buffer, &mut recorder).expect("the device is there");
        assert_eq!((flushed.packets, flushed.down, flushed.refused), (packets.len(), 0, 0));
        recorder
    }
}

/// A packet, or the frame around it, as it is compared, and its place in the order.
type Placed = (Place, Vec<u8>);

fn placed(packet: &[u8], link: &[u8]) -> Placed {
    let place = Place::of(trimmed(packet));
    (place, [link, &comparable(packet)].concat())
}

fn placed_frame(frame: &[u8]) -> Placed {
    match Layer::Ethernet.ip_at(frame) {
        Some(at) => placed(&frame[at..], &frame[..at]),
        None => (Place::Other, frame.to_vec()),
    }
}

/// The frame around a packet, one of four kinds.
fn enclose(link: usize, packet: &[u8]) -> Vec<u8> {
    let mut frame = frame([1, 1, 2, 0][link], packet);
    match link {
        // In another VLAN, or to another station.
        1 => frame[15] = 11,
        3 => frame[5] = 9,
        _ => {}
    }
    frame
}

fn judge(expected: Vec<Placed>, recorder: &Recorder) {
    let placed: fn(&[u8]) -> Placed = match recorder.layer {
        Layer::Ip => |packet| placed(packet, &[]),
        Layer::Ethernet => placed_frame,
    };
    let segments = recorder.writes.iter().flat_map(|write| segments(recorder.layer, write));
    let written: Vec<_> = segments.map(|segment| placed(&segment)).collect();
    same_order(&expected, &written);
    let sorted = |placed: Vec<Placed>| {
        let mut packets: Vec<_> = placed.into_iter().map(|(_, packet)| packet).collect();
        packets.sort_unstable();
        packets
    };
    same(&sorted(expected), &sorted(written), "nothing is lost, added or changed");
}

/// Packets, and which kind of frame is around each.
fn packets(input: &mut Input<'_>) -> (Vec<Vec<u8>>, Vec<usize>) {
    let second = |fields: Fields| Fields { ports: [4001, 5001], ..fields };
    let mut flows: Vec<_> =
        Fields::kinds().into_iter().chain(Fields::kinds().map(second)).collect();
    let mut link_of = [0; 8];
    let (mut packets, mut links) = (Vec::new(), Vec::new());
    while !input.is_empty() && packets.len() < MOST_PACKETS {
        let choice = input.byte();
        let number = usize::from(choice & 7);
        if choice >> 3 == 15 {
            link_of[number] = input.below(4);
        }
        let flow = &mut flows[number];
        *flow = flow.next();
        let damaged = change(flow, choice >> 3, input);
        let mut packet = flow.packet();
        if damaged {
            input.damage(&mut packet);
            if input.byte() & 1 == 0 {
                sums::repair(&mut packet);
            }
        }
        packets.push(packet);
        links.push(link_of[number]);
    }
    (packets, links)
}

/// Changes the flow from this packet on; whether the packet is to be damaged besides.
fn change(flow: &mut Fields, choice: u8, input: &mut Input<'_>) -> bool {
    match choice {
        0 => *flow = flow.with_payload(usize::from(input.word()) % 9000),
        1 => *flow = flow.with_payload(input.below(64)),
        2 => flow.flags = input.byte(),
        3 => flow.sequence ^= 1 << (input.byte() & 31),
        4 => flow.ack ^= 1,
        5 => flow.window ^= 1,
        6 => flow.tos = input.byte(),
        7 => flow.ttl = input.byte(),
        8 => flow.id = input.word(),
        9 => flow.df ^= true,
        10 => flow.label ^= 1,
        11 if !flow.udp => flow.options = vec![1; 4 * input.below(11)],
        12 => flow.unsummed ^= true,
        13 | 14 => return true,
        _ => {}
    }
    false
}

/// The packet by its own length, if it has one.
fn trimmed(packet: &[u8]) -> &[u8] {
    IpHeader::parse(packet).map_or(packet, |ip| &packet[..ip.total_len])
}

/// What the kernel makes of one write.
fn segments(layer: Layer, write: &[u8]) -> Vec<Vec<u8>> {
    let header = VirtioNetHdr::parse(write).expect("each write has a virtio header");
    let mut packet = write[VIRTIO_HEADER..].to_vec();
    if header.gso_type == GSO_NONE {
        return vec![packet];
    }
    let end_of_checksum = header.csum_start + header.csum_offset + 2;
    assert!(header.needs_csum() && header.gso_size > 0, "the kernel would refuse {header:?}");
    assert!(end_of_checksum <= header.hdr_len && usize::from(header.hdr_len) < packet.len());
    let taken = match layer {
        Layer::Ip => TunPacket::parse(&header, &mut packet),
        Layer::Ethernet => TunPacket::parse_frame(&header, &mut packet, usize::MAX),
    };
    let segments = split(&taken.expect("it can be split"));
    assert!((2..=64).contains(&segments.len()));
    segments
}

/// The ID of a packet that is never fragmented means nothing (RFC 6864 §4.1): the kernel numbers a run anew. Whether
/// the header's checksum was right, it keeps.
fn comparable(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.len() >= 20 && packet[0] >> 4 == 4 && packet[6..8] == [0x40, 0] {
        let fits = sums::ip_fits(&packet);
        packet[4..6].fill(0);
        packet[10..12].copy_from_slice(&[0, fits.into()]);
    }
    packet
}

/// What a packet is to the order of others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Of a flow: addresses, protocol and ports.
    Flow(Vec<u8>),
    /// A pure acknowledgment, which data of its flow may overtake.
    Acknowledgment(Vec<u8>),
    /// Perhaps of any flow between its addresses, of this protocol if it is known.
    Addresses(Vec<u8>, Option<u8>),
    /// No packet of TCP or UDP.
    Other,
}

impl Place {
    fn of(packet: &[u8]) -> Self {
        if IpHeader::parse(packet).is_err() {
            return Self::Other;
        }
        let v4 = packet[0] >> 4 == 4;
        let (addresses, protocol, at) =
            if v4 { (12..20, packet[9], 20) } else { (8..40, packet[6], 40) };
        let addresses = packet[addresses].to_vec();
        let transport = &packet[at..];
        let (header, udp) = match protocol {
            6 => (transport.get(12).map_or(0, |words| usize::from(words >> 4) * 4).max(20), false),
            17 => (8, true),
            58 if !v4 => return Self::Other,
            _ if v4 => return Self::Other,
            _ => return Self::Addresses(addresses, None),
        };
        let short = transport.len() < header || (!udp && transport[12] < 0x50);
        let fragment = v4 && u16::from_be_bytes([packet[6], packet[7]]) & !0x4000 != 0;
        if short || fragment || (v4 && packet[0] != 0x45) {
            return Self::Addresses(addresses, Some(protocol));
        }
        let flow = [&addresses, &[protocol][..], &transport[..4]].concat();
        let acknowledges = !udp && transport[13] & !0x48 == 0x10 && transport[12] & 0xf == 0;
        if acknowledges && transport.len() == header {
            return Self::Acknowledgment(flow);
        }
        Self::Flow(flow)
    }

    /// Whether the order between packets here and there matters.
    fn is_bound_to(&self, flow: &Self) -> bool {
        match (self, flow) {
            (Self::Addresses(addresses, protocol), Self::Flow(flow)) => {
                flow.starts_with(addresses)
                    && protocol.is_none_or(|protocol| flow[addresses.len()] == protocol)
            }
            _ => self == flow,
        }
    }
}

fn same_order(expected: &[Placed], written: &[Placed]) {
    let places: BTreeSet<_> = expected.iter().map(|(place, _)| place).collect();
    for place in places {
        let bound = |packets: &[Placed]| -> Vec<Vec<u8>> {
            let bound = packets.iter().filter(|(at, _)| at.is_bound_to(place));
            bound.map(|(_, packet)| packet.clone()).collect()
        };
        same(&bound(expected), &bound(written), "each flow keeps its order");
    }
}

/// Two lists of packets are one; the first difference is shown alone.
fn same(expected: &[Vec<u8>], written: &[Vec<u8>], rule: &str) {
    for (index, (expected, written)) in expected.iter().zip(written).enumerate() {
        assert_eq!(expected, written, "{rule}: packet {index}");
    }
    assert_eq!(expected.len(), written.len(), "{rule}");
}
