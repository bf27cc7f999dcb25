//! Any virtio header before any packet, as the device might hand it over: refused, or split into packets that are
//! right in themselves and hold the payload in order.

use tunneld::tun::{GSO_NONE, GSO_UDP_L4, NEEDS_CSUM, TunPacket, VIRTIO_HEADER, VirtioNetHdr};
use tunneld::wire::{IpHeader, Superpacket};

use super::input::Input;
use super::sums;
use crate::packets::{frame, split};

const CWR: u8 = 0x80;
const FIN_PSH: u8 = 0x09;

/// The bytes are the virtio header, what to make consistent, and the packet; its last byte may go on for long.
pub fn check(data: &[u8]) {
    let input = &mut Input::new(data);
    let header = [input.take(VIRTIO_HEADER), &[0; VIRTIO_HEADER]].concat();
    let mut header = VirtioNetHdr::parse(&header).expect("it is long enough");
    let (choice, more) = (input.byte(), usize::from(input.word()));
    let mut packet = input.take(usize::MAX).to_vec();
    if choice & 1 == 0 {
        let last = packet.last().copied().unwrap_or_default();
        // Very long ones are slow, so they are asked for.
        let more = if choice & 8 == 0 { more % 2048 } else { more };
        packet.extend(std::iter::repeat_n(last, more));
    }
    if choice & 2 == 0 {
        tell_length(&mut packet);
    }
    if choice & 4 == 0 {
        sums::leave_to_reader(&mut packet);
        if let Some((at, field)) = sums::transport(&packet) {
            header = VirtioNetHdr {
                flags: NEEDS_CSUM,
                csum_start: at as u16,
                csum_offset: field as u16,
                ..header
            };
        }
    }

    let whole = packet.clone();
    let tags = usize::from(choice >> 6) % 3;
    let mut framed = frame(tags, &whole);
    let link = framed.len() - whole.len();
    let in_frame =
        VirtioNetHdr { csum_start: header.csum_start.saturating_add(link as u16), ..header };
    let of_frame = TunPacket::parse_frame(&in_frame, &mut framed, usize::MAX);
    let Ok(taken) = TunPacket::parse(&header, &mut packet) else {
        return;
    };
    let ip = IpHeader::parse(taken.header()).expect("what is taken is an IP packet");
    let given = &whole[..ip.total_len];
    let segments = split(&taken);
    assert_eq!(segments.len(), taken.count());
    if ip.total_len == whole.len() && header.csum_start < u16::MAX - 22 {
        let of_frame = split(&of_frame.expect("its packet is taken"));
        let expected = segments.iter().map(|segment| frame(tags, segment));
        assert_eq!(of_frame, expected.collect::<Vec<_>>(), "a frame is split as its packet is");
    }
    for segment in &segments {
        let ip = IpHeader::parse(segment).expect("each segment is an IP packet");
        assert_eq!(ip.total_len, segment.len(), "its length is its own");
    }
    if header.gso_kind() == GSO_NONE {
        single(&header, given, &segments);
    } else {
        several(&header, given, &segments);
    }
    if choice & 4 == 0 && given == whole {
        assert!(segments.iter().all(|segment| sums::transport_fits(segment)));
    }
}

/// Writes the packet's length into its header.
fn tell_length(packet: &mut [u8]) {
    let len = packet.len();
    match packet {
        [first, _, length @ ..] if *first >> 4 == 4 && length.len() >= 2 => {
            length[..2].copy_from_slice(&(len.min(65_535) as u16).to_be_bytes());
        }
        [first, _, _, _, length @ ..] if *first >> 4 == 6 && len >= 40 => {
            length[..2].copy_from_slice(&((len - 40).min(65_535) as u16).to_be_bytes());
        }
        _ => {}
    }
}

/// A single packet is what was given, but for a checksum.
fn single(header: &VirtioNetHdr, given: &[u8], segments: &[Vec<u8>]) {
    let [segment] = segments else {
        panic!("one packet became {}", segments.len());
    };
    let mut expected = given.to_vec();
    if header.needs_csum() {
        let field = usize::from(header.csum_start) + usize::from(header.csum_offset);
        expected[field..field + 2].copy_from_slice(&segment[field..field + 2]);
    }
    assert_eq!(*segment, expected);
}

/// Segments have the payload in order, and headers that differ as the kernel's segmentation would make them.
fn several(header: &VirtioNetHdr, given: &[u8], segments: &[Vec<u8>]) {
    let v4 = given[0] >> 4 == 4;
    let udp = header.gso_kind() == GSO_UDP_L4;
    let at = match (header.needs_csum(), v4) {
        (true, _) => usize::from(header.csum_start),
        (false, true) => usize::from(given[0] & 0xf) * 4,
        (false, false) => 40,
    };
    let headers = at + if udp { 8 } else { usize::from(given[at + 12] >> 4) * 4 };
    let payloads: Vec<_> = segments.iter().map(|segment| &segment[headers..]).collect();
    let size = usize::from(header.gso_size);
    assert!(payloads[..payloads.len() - 1].iter().all(|payload| payload.len() == size));
    assert_eq!(payloads.concat(), given[headers..]);
    for (index, segment) in segments.iter().enumerate() {
        assert!(sums::ip_fits(segment));
        // Behind extension headers the kernel's partial sum stands in for the pseudo-header.
        assert!(!(v4 || at == 40) || sums::transport_fits(segment));
        let mut expected = given[..headers].to_vec();
        let mut keep = |field: std::ops::Range<usize>| {
            expected[field.clone()].copy_from_slice(&segment[field]);
        };
        if v4 {
            keep(2..4);
            keep(10..12);
        } else {
            keep(4..6);
        }
        keep(if udp { at + 4..at + 8 } else { at + 16..at + 18 });
        if v4 {
            add(&mut expected[4..6], index);
        }
        if !udp {
            add(&mut expected[at + 4..at + 8], index * size);
            let first = if index == 0 { 0xff } else { !CWR };
            let last = if index + 1 == segments.len() { 0xff } else { !FIN_PSH };
            expected[at + 13] &= first & last;
        }
        assert_eq!(segment[..headers], expected, "headers of segment {index}");
    }
}

/// Adds to a number in network byte order, which wraps.
fn add(field: &mut [u8], addend: usize) {
    let mut carry = addend;
    for byte in field.iter_mut().rev() {
        carry += usize::from(*byte);
        *byte = carry as u8;
        carry >>= 8;
    }
}
