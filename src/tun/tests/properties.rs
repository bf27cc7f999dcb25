use proptest::collection::vec;
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use super::packets::{Fields, Recorder, frame, lay_out, split};
use crate::tun::{Coalescer, Offloads, TunPacket, VIRTIO_HEADER, VirtioNetHdr};
use crate::wire::Layer;

const ALL: Offloads = Offloads { tso: true, uso: true };

fn written(packets: &[Vec<u8>]) -> Recorder {
    written_as(Layer::Ip, packets)
}

fn written_as(layer: Layer, packets: &[Vec<u8>]) -> Recorder {
    let (buffer, ranges) = lay_out(packets);
    let mut coalescer = Coalescer::new(layer, ALL);
    for range in ranges {
        coalescer.push(&buffer, range);
    }
    let mut recorder = Recorder { layer, ..Recorder::default() };
    coalescer.flush(&buffer, &mut recorder).unwrap();
    recorder
}

/// The first packet of a run.
fn first() -> impl Strategy<Value = Fields> {
    (
        any::<[bool; 3]>(),
        any::<[u8; 2]>(),
        any::<[u16; 4]>(),
        any::<[u32; 2]>(),
        0_usize..=10,
        1_usize..1500,
        any::<u8>(),
    )
        .prop_map(
            |(
                [v6, udp, df],
                [tos, ttl],
                [id, label, port, window],
                [sequence, ack],
                words,
                len,
                fill,
            )| Fields {
                v6,
                udp,
                unsummed: false,
                tos,
                ttl,
                df,
                id,
                label,
                ports: [port, 443],
                sequence,
                ack,
                flags: 0x10,
                window,
                options: if udp { Vec::new() } else { vec![1; 4 * words] },
                payload: vec![fill; len],
            },
        )
}

/// A run as one sender would send it, with a shorter last packet, perhaps pushed.
fn run() -> impl Strategy<Value = Vec<Fields>> {
    (first(), 2_usize..80, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(first, count, last, push)| {
            let mut run: Vec<_> = std::iter::successors(Some(first), |fields| Some(fields.next()))
                .take(count)
                .collect();
            let fields = run.last_mut().unwrap();
            let len = fields.payload.len();
            fields.payload.truncate(1 + last.index(len));
            if push {
                fields.flags |= 0x08;
            }
            run
        },
    )
}

/// Packets of a few flows, in which anything may differ from one to the next.
fn disorder() -> impl Strategy<Value = Vec<Fields>> {
    let change = (0_u8..16, 0_u16..3, 0_usize..300);
    (first(), vec(change, 1..60)).prop_map(|(first, changes)| {
        let mut fields = Fields { ports: [0, 443], ..first };
        let mut all = vec![fields.clone()];
        for (kind, port, len) in changes {
            fields = fields.next();
            match kind {
                0 => fields = fields.with_payload(len),
                1 => fields.ack ^= 1,
                2 => fields.ports[0] = port,
                3 => fields.flags ^= 0x08,
                4 => fields.flags ^= 0x01,
                5 => fields.tos ^= 1,
                6 => fields.sequence ^= 64,
                _ => {}
            }
            all.push(fields.clone());
        }
        all
    })
}

fn bytes(run: &[Fields]) -> Vec<Vec<u8>> {
    run.iter().map(Fields::packet).collect()
}

/// The ID of a packet that is never fragmented means nothing; the kernel numbers a run anew.
fn without_atomic_id(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 && packet[6] == 0x40 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

proptest! {
    #[test]
    fn splitting_undoes_coalescing(run in run()) {
        let packets = bytes(&run);
        let recorder = written(&packets);
        let most_bytes = 65_535 / packets[0].len();
        prop_assert!(recorder.writes.len() <= packets.len().div_ceil(most_bytes.clamp(1, 64)) + 1);
        prop_assert_eq!(recorder.packets(), packets);
    }

    #[test]
    fn coalescing_undoes_splitting(first in first(), count in 2_usize..64) {
        let run: Vec<_> = std::iter::successors(Some(first), |fields| Some(fields.next()))
            .take(count)
            .collect();
        let one = written(&bytes(&run));
        let write = &one.writes[0];
        let header = VirtioNetHdr::parse(write).unwrap();
        let mut superpacket = write[VIRTIO_HEADER..].to_vec();
        let segments = split(&TunPacket::parse(&header, &mut superpacket).unwrap());
        prop_assert_eq!(&written(&segments).writes[0], write);
    }

    #[test]
    fn frames_are_coalesced_and_split_as_their_packets_are(run in disorder(), tags in 0_usize..=2) {
        let packets = bytes(&run);
        let frames: Vec<_> = packets.iter().map(|packet| frame(tags, packet)).collect();
        let of_frames = written_as(Layer::Ethernet, &frames);
        let of_packets = written(&packets);
        let link = 14 + 4 * tags as u16;
        let expected: Vec<_> = of_packets.writes.iter().map(|write| {
            let (header, packet) = write.split_at(VIRTIO_HEADER);
            let mut header = VirtioNetHdr::parse(header).unwrap();
            if header.needs_csum() {
                header.csum_start += link;
                header.hdr_len += link;
            }
            [header.as_bytes(), &frame(tags, packet)].concat()
        }).collect();
        prop_assert_eq!(&of_frames.writes, &expected);
        let split_again: Vec<_> =
            of_packets.packets().iter().map(|packet| frame(tags, packet)).collect();
        prop_assert_eq!(of_frames.packets(), split_again);
    }

    #[test]
    fn a_superpacket_of_tcp_is_cut_to_what_a_frame_may_have(
        first in first(),
        count in 2_usize..64,
        longest in 1_usize..1700,
    ) {
        let run: Vec<_> = std::iter::successors(Some(first), |fields| Some(fields.next()))
            .take(count)
            .collect();
        let frames: Vec<_> = bytes(&run).iter().map(|packet| frame(1, packet)).collect();
        let write = &written_as(Layer::Ethernet, &frames).writes[0];
        let header = VirtioNetHdr::parse(write).unwrap();
        let cut = |header: &VirtioNetHdr, longest| {
            let mut superpacket = write[VIRTIO_HEADER..].to_vec();
            split(&TunPacket::parse_frame(header, &mut superpacket, longest).unwrap())
        };
        let room = longest.saturating_sub(18 + run[0].header_len());
        let shorter = room > 0 && room < run[0].payload.len() && !run[0].udp;
        let gso_size = if shorter { room as u16 } else { header.gso_size };
        let expected = cut(&VirtioNetHdr { gso_size, ..header }, usize::MAX);
        if shorter {
            prop_assert!(expected.iter().all(|frame| frame.len() <= longest));
        }
        prop_assert_eq!(cut(&header, longest), expected);
    }

    #[test]
    fn nothing_is_lost_or_changed_and_each_flow_keeps_its_order(run in disorder()) {
        let packets = bytes(&run);
        let mut out = written(&packets).packets();
        let mut expected = packets;
        // Pure acknowledgments may be overtaken: they are compared apart.
        let header = run[0].header_len();
        let flow = |packet: &Vec<u8>| {
            let ports = if packet[0] >> 4 == 4 { 20 } else { 40 };
            (packet[ports..ports + 4].to_vec(), packet.len() == header)
        };
        expected.sort_by_key(flow);
        out.sort_by_key(flow);
        let without_id = |packets: Vec<_>| packets.into_iter().map(without_atomic_id).collect::<Vec<_>>();
        prop_assert_eq!(without_id(out), without_id(expected));
    }

    #[test]
    fn splitting_takes_any_bytes(
        header in any::<[u8; VIRTIO_HEADER]>(),
        mut packet in vec(any::<u8>(), 0..400),
        version in prop::option::of(prop::sample::select(vec![0x45, 0x60, 0x46])),
        gso_type in prop::option::of(prop::sample::select(vec![0, 1, 4, 5, 0x81])),
        small in any::<bool>(),
    ) {
        let mut header = VirtioNetHdr::read_from_bytes(&header).unwrap();
        if let Some(gso_type) = gso_type {
            header.gso_type = gso_type;
        }
        if small {
            header.csum_start %= 64;
            header.csum_offset %= 32;
            header.gso_size %= 64;
        }
        let len = packet.len();
        if let (Some(version), true) = (version, len >= 40) {
            packet[0] = version;
            let field = if version == 0x60 { 4 } else { 2 };
            let value = if version == 0x60 { len - 40 } else { len };
            packet[field..field + 2].copy_from_slice(&(value as u16).to_be_bytes());
            packet[if version == 0x60 { 6 } else { 9 }] = if header.gso_type == 5 { 17 } else { 6 };
        }
        let mut frame = frame(usize::from(small), &packet);
        if let Ok(frame) = TunPacket::parse_frame(&header, &mut frame, 300) {
            split(&frame);
        }
        if let Ok(frame) = TunPacket::parse_frame(&header, &mut packet.clone(), 300) {
            split(&frame);
        }
        if let Ok(packet) = TunPacket::parse(&header, &mut packet) {
            split(&packet);
        }
    }

    #[test]
    fn coalescing_takes_any_bytes(
        run in disorder(),
        flips in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..40),
        cuts in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..5),
    ) {
        let mut packets = bytes(&run);
        for (packet, at, value) in flips {
            let packet = packet.get_mut(&mut packets);
            // Mostly in the headers.
            let at = at.index(packet.len().min(80));
            packet[at] = value;
        }
        for (packet, at) in cuts {
            let packet = packet.get_mut(&mut packets);
            let len = at.index(packet.len());
            packet.truncate(len);
            packet.push(0x45);
        }
        for layer in [Layer::Ip, Layer::Ethernet] {
            let (buffer, ranges) = lay_out(&packets);
            let mut coalescer = Coalescer::new(layer, ALL);
            for range in ranges {
                coalescer.push(&buffer, range);
            }
            let mut recorder = Recorder { layer, ..Recorder::default() };
            let flushed = coalescer.flush(&buffer, &mut recorder).unwrap();
            prop_assert_eq!(flushed.packets, packets.len());
            for packet in &mut packets {
                *packet = frame(0, packet);
            }
        }
    }
}

#[test]
fn frames_of_another_vlan_or_station_or_with_padding_are_written_as_they_are() {
    let run: Vec<_> = std::iter::successors(Some(Fields::default()), |fields| Some(fields.next()))
        .take(2)
        .collect();
    let [first, second] = [frame(1, &run[0].packet()), frame(1, &run[1].packet())];
    let writes = |frames: [&Vec<u8>; 2]| {
        let recorder = written_as(Layer::Ethernet, &frames.map(Clone::clone));
        assert!(recorder.writes.len() == 1 || recorder.packets() == frames.map(Clone::clone));
        recorder.writes.len()
    };
    assert_eq!(writes([&first, &second]), 1);
    let changed = |at: usize| {
        let mut frame = second.clone();
        frame[at] ^= 2;
        frame
    };
    for at in [3, 9, 15] {
        assert_eq!(writes([&first, &changed(at)]), 2, "byte {at}");
    }
    let padded = [&second[..], &[0; 3]].concat();
    assert_eq!(writes([&first, &padded]), 2);
    assert_eq!(writes([&padded, &first]), 2);
}

#[test]
fn what_carries_no_ip_passes_untouched() {
    let arp = [frame(1, &[]), vec![0; 28]].concat();
    let mut arp = arp;
    arp[16..18].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(written_as(Layer::Ethernet, std::slice::from_ref(&arp)).packets(), [arp]);
}
