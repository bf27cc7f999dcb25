use super::*;
use crate::tun::tests::packets::{Fields, split};
use crate::tun::virtio::{GSO_ECN, NEEDS_CSUM};

/// The virtio header that the kernel gives with a superpacket of these fields.
fn virtio(fields: &Fields, gso_size: u16) -> VirtioNetHdr {
    VirtioNetHdr {
        flags: NEEDS_CSUM,
        gso_type: match (fields.udp, fields.v6) {
            (true, _) => GSO_UDP_L4,
            (false, false) => GSO_TCPV4,
            (false, true) => GSO_TCPV6,
        },
        // As wrong as on the forward path.
        hdr_len: 0,
        gso_size,
        csum_start: if fields.v6 { 40 } else { 20 },
        csum_offset: if fields.udp { 6 } else { 16 },
    }
}

/// The superpacket of a run that starts with these fields.
fn superpacket(fields: &Fields) -> Vec<u8> {
    fields.packet()
}

fn expected(fields: &Fields, size: usize) -> Vec<Vec<u8>> {
    let count = fields.payload.len().div_ceil(size);
    let mut sequence = fields.sequence;
    (0_usize..)
        .zip(fields.payload.chunks(size))
        .map(|(index, payload)| {
            let mut flags = fields.flags;
            if index > 0 {
                flags &= !0x80;
            }
            if index + 1 < count {
                flags &= !0x09;
            }
            let segment = Fields {
                id: fields.id.wrapping_add(index as u16),
                sequence,
                flags,
                payload: payload.to_vec(),
                ..fields.clone()
            };
            sequence = sequence.wrapping_add(payload.len() as u32);
            segment.packet()
        })
        .collect()
}

#[test]
fn the_segments_of_a_superpacket_are_the_packets_the_sender_would_have_sent() {
    for kind in Fields::kinds() {
        let fields = Fields {
            id: 0xffff,
            sequence: 0xffff_fff0,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            ..kind
        };
        for (len, size) in [(3000, 1368), (2736, 1368), (1369, 1368), (300, 1), (20_000, 97)] {
            let fields = fields.with_payload(len);
            let mut bytes = superpacket(&fields);
            let packet = TunPacket::parse(&virtio(&fields, size), &mut bytes).unwrap();
            assert_eq!(packet.count(), len.div_ceil(usize::from(size)));
            assert_eq!(split(&packet), expected(&fields, size.into()), "{fields:?}");
        }
    }
}

#[test]
fn fin_and_psh_are_on_the_last_segment_only_and_cwr_on_the_first() {
    let fields =
        Fields { flags: 0x10 | 0x80 | 0x40 | 0x08 | 0x01, ..Fields::default() }.with_payload(300);
    let mut header = virtio(&fields, 100);
    header.gso_type |= GSO_ECN;
    let mut bytes = superpacket(&fields);
    let packet = TunPacket::parse(&header, &mut bytes).unwrap();
    let flags: Vec<_> = split(&packet).iter().map(|segment| segment[33]).collect();
    assert_eq!(flags, [0xd0, 0x50, 0x59]);
    assert_eq!(split(&packet), expected(&fields, 100));
}

#[test]
fn a_superpacket_with_one_segment_is_completed() {
    for kind in Fields::kinds() {
        let fields = kind.with_payload(500);
        for size in [500, 501, u16::MAX] {
            let mut bytes = superpacket(&fields);
            let at = fields.header_len() - if fields.udp { 2 } else { 4 };
            bytes[at..at + 2].copy_from_slice(&[0x12, 0x34]);
            let packet = TunPacket::parse(&virtio(&fields, size), &mut bytes).unwrap();
            assert_eq!((packet.count(), packet.segment_size()), (1, packet.last_size()));
            assert_eq!(split(&packet), [fields.packet()]);
        }
    }
}

#[test]
fn behind_extension_headers_the_kernels_partial_sum_counts() {
    let plain = Fields { v6: true, ..Fields::default() }.with_payload(250);
    let with_extension = |packet: &[u8]| {
        let mut bytes = packet[..40].to_vec();
        let len = u16::from_be_bytes([bytes[4], bytes[5]]) + 8;
        bytes[4..6].copy_from_slice(&len.to_be_bytes());
        bytes[6] = 60;
        bytes.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend(&packet[40..]);
        bytes
    };
    let mut bytes = with_extension(&plain.packet());
    let transport_len = (bytes.len() - 48) as u16;
    let partial = Sum::default().pseudo_header(&bytes[8..40], 6, transport_len).fold();
    bytes[64..66].copy_from_slice(&partial);
    let header = VirtioNetHdr { csum_start: 48, ..virtio(&plain, 100) };
    let packet = TunPacket::parse(&header, &mut bytes).unwrap();
    let expected: Vec<_> = expected(&plain, 100).iter().map(|p| with_extension(p)).collect();
    assert_eq!(split(&packet), expected);
}

#[test]
fn the_checksum_of_a_single_packet_is_completed_in_place() {
    for kind in Fields::kinds() {
        let fields = kind.with_payload(33);
        let right = fields.packet();
        let (start, offset) = (if fields.v6 { 40 } else { 20 }, if fields.udp { 6 } else { 16 });
        let (family, ..) = Family::split(&right).unwrap();
        let partial = Sum::default().pseudo_header(
            family.addresses(&right),
            family.protocol(&right).unwrap(),
            (right.len() - start) as u16,
        );
        let mut bytes = right.clone();
        bytes[start + offset..start + offset + 2].copy_from_slice(&partial.fold());
        let header = VirtioNetHdr {
            flags: NEEDS_CSUM,
            csum_start: start as u16,
            csum_offset: offset as u16,
            ..VirtioNetHdr::default()
        };
        let packet = TunPacket::parse(&header, &mut bytes).unwrap();
        assert_eq!(packet.header(), right);
    }
}

#[test]
fn a_computed_udp_checksum_of_zero_becomes_ffff() {
    let fields = Fields { udp: true, payload: vec![0; 2], ..Fields::default() };
    // The payload that makes the sum come out as all ones: the checksum of the rest.
    let checksum = fields.packet()[26..28].to_vec();
    let fields = Fields { payload: checksum, ..fields };
    let mut bytes = superpacket(&fields);
    let packet = TunPacket::parse(&virtio(&fields, 2), &mut bytes).unwrap();
    assert_eq!(split(&packet)[0][26..28], [0xff, 0xff]);
}

#[test]
fn what_contradicts_itself_is_refused_with_its_reason() {
    let fields = Fields::default().with_payload(300);
    let right = virtio(&fields, 100);
    let cases = [
        (VirtioNetHdr { gso_size: 0, ..right }, Malformed::GsoSize),
        (VirtioNetHdr { gso_type: 3, ..right }, Malformed::GsoType(3)),
        (VirtioNetHdr { gso_type: GSO_TCPV6, ..right }, Malformed::Headers),
        (VirtioNetHdr { gso_type: GSO_UDP_L4, ..right }, Malformed::Headers),
        (VirtioNetHdr { csum_start: 24, ..right }, Malformed::Headers),
        (VirtioNetHdr { csum_start: 0, ..right }, Malformed::Headers),
        (VirtioNetHdr { gso_type: GSO_NONE, csum_start: 339, ..right }, Malformed::Checksum),
        (VirtioNetHdr { gso_type: GSO_NONE, csum_start: 4, ..right }, Malformed::Checksum),
    ];
    for (header, reason) in cases {
        let refused = TunPacket::parse(&header, &mut superpacket(&fields)).unwrap_err();
        assert_eq!(refused, reason, "{header:?}");
    }
    let mut bytes = superpacket(&fields);
    bytes[32] = 0x40;
    assert_eq!(TunPacket::parse(&right, &mut bytes).unwrap_err(), Malformed::Headers);
    let refused = TunPacket::parse(&right, &mut [0x45; 8]).unwrap_err();
    assert_eq!(refused, Malformed::NotIp(NotIp::Version));
}
