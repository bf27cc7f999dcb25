//! Transport data: padding, what an inner packet must be, staging, and superpackets.

use tunneld::proto::Discard;
use tunneld::wire::Ecn;

use crate::host::Segments;
use crate::link::{B, Link, Sink, millis, moved, packet, parameters, secs};
use crate::paper::{DATA, OVERHEAD, STAGED, counter};

/// Bytes of the last transport data that host a sent.
fn last_sent(link: &Link) -> usize {
    link.messages(link.a.address, DATA).pop().unwrap().1.bytes.len()
}

/// A link whose ends allow each other any inner address.
fn open_link() -> Link {
    let mut a = parameters(1, 2, Some(B));
    let mut b = parameters(2, 1, None);
    let all = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    (a.allowed_ips, b.allowed_ips) = (all.clone(), all);
    let mut link = Link::with(&a, &b);
    link.a_sends(&packet(1, 2, b"first"));
    link.run(secs(1));
    link.b.delivered.clear();
    link
}

#[test]
fn packets_are_padded_to_sixteen_but_not_past_the_mtu() {
    let mut link = Link::established();
    for (len, padded) in [(20, 32), (32, 32), (33, 48), (1408, 1408), (1409, 1420), (1420, 1420)] {
        link.a_sends(&packet(1, 2, &vec![7; len - 20]));
        assert_eq!(last_sent(&link), padded + OVERHEAD, "of {len} bytes");
    }
    link.a.tunnel.set_mtu(1300);
    link.a_sends(&packet(1, 2, &[7; 1279]));
    assert_eq!(last_sent(&link), 1300 + OVERHEAD);
    link.run(secs(1));
    let lengths: Vec<_> = link.b.delivered.iter().map(Vec::len).collect();
    assert_eq!(lengths, [20, 32, 33, 1408, 1409, 1420, 1299], "and padding never arrives");
}

#[test]
fn however_large_the_mtu_no_datagram_is_longer_than_udp_carries() {
    let mut link = Link::established();
    link.a.tunnel.set_mtu(65_535);
    for len in 65_400..=65_535 {
        link.a_sends(&packet(1, 2, &vec![7; len - 20]));
    }
    assert_eq!(last_sent(&link), 65_507);
    link.run(secs(1));
    assert_eq!(link.b.delivered.last().map(Vec::len), Some(65_475));
    assert_eq!(link.a.discards(Discard::PacketTooLong), 60);
}

#[test]
fn a_packet_is_trimmed_to_its_own_length() {
    let mut link = Link::established();
    let mut longer = packet(1, 2, b"inside");
    longer.extend(b"behind the packet's end");
    link.a_sends(&longer);
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet(1, 2, b"inside")]);
}

#[test]
fn a_packet_whose_length_lies_is_discarded_and_counted() {
    let mut link = Link::established();
    for length in [0u16, 19, 200, 65_535] {
        let mut lie = packet(1, 2, b"data");
        lie[2..4].copy_from_slice(&length.to_be_bytes());
        link.a_sends(&lie);
    }
    link.run(secs(1));
    assert_eq!(link.b.discards(Discard::InnerLength), 4);
    assert!(link.b.delivered.is_empty());
}

#[test]
fn what_is_not_ip_is_not_sent() {
    let mut link = Link::established();
    let before = link.sent(link.a.address, DATA);
    for first in [0x05, 0x15, 0x55, 0x75, 0xf5] {
        let mut other = packet(1, 2, b"data");
        other[0] = first;
        link.a_sends(&other);
    }
    link.a_sends(&[]);
    link.a_sends(&[0x45; 19]);
    assert_eq!(link.a.discards(Discard::NotIp), 7);
    assert_eq!(link.sent(link.a.address, DATA), before);
}

#[test]
fn packets_of_both_families_pass() {
    let mut link = Link::established();
    let mut packet = vec![0; 48];
    packet[0] = 0x60;
    packet[5] = 8;
    for (at, last) in [(8, 1), (24, 2)] {
        packet[at] = 0xfd;
        packet[at + 15] = last;
    }
    link.a_sends(&packet);
    link.run(secs(1));
    assert_eq!(link.b.delivered, [packet]);
}

#[test]
fn only_what_is_for_an_allowed_address_is_sent() {
    let mut link = Link::established();
    let before = link.sent(link.a.address, DATA);
    link.a_sends(&packet(1, 3, b"data"));
    assert_eq!(link.a.discards(Discard::DestinationNotAllowed), 1);
    assert_eq!(link.sent(link.a.address, DATA), before);
}

#[test]
fn a_packet_from_an_inner_address_that_is_not_allowed_is_discarded_yet_was_authentic() {
    let mut link = Link::established();
    link.lose = |_| true;
    link.b_sends(&packet(2, 1, b"unanswered"));
    link.a_sends(&packet(7, 2, b"spoofed"));
    let (_, spoofed) = link.messages(link.a.address, DATA).pop().unwrap();
    let elsewhere = moved(&spoofed, "203.0.113.9:9");
    assert_eq!(link.inject(&elsewhere), Some(Discard::SourceNotAllowed));
    assert!(link.b.delivered.is_empty());
    assert_eq!(link.b.remote(), elsewhere.from, "the endpoint moved");
    link.run(secs(9));
    assert_eq!(link.sent(link.b.address, 1), 0);
    link.run(secs(10));
    assert_eq!(link.sent(link.b.address, 1), 0, "and the peer does not count as silent");
}

#[test]
fn packets_wait_for_the_session_in_order() {
    let mut link = Link::new();
    let packets: Vec<_> = (0..100).map(|number| packet(1, 2, &[number])).collect();
    for packet in &packets {
        link.a_sends(packet);
    }
    link.run(secs(1));
    assert_eq!(link.b.delivered, packets);
    let sent = link.messages(link.a.address, DATA);
    let counters: Vec<_> = sent.iter().map(|(_, sent)| counter(&sent.bytes)).collect();
    assert_eq!(counters, (0..100).collect::<Vec<_>>(), "counters begin at zero, one by one");
}

#[test]
fn of_more_than_128_waiting_packets_the_oldest_are_discarded() {
    let mut link = Link::new();
    for number in 0..200 {
        link.a_sends(&packet(1, 2, &[number]));
    }
    assert_eq!(link.a.discards(Discard::StagedOverflow), 200 - STAGED as u64);
    link.run(secs(1));
    assert_eq!(link.b.delivered.len(), STAGED);
    assert_eq!(link.b.delivered[0], packet(1, 2, &[72]));
    assert_eq!(link.b.delivered[STAGED - 1], packet(1, 2, &[199]));
}

#[test]
fn the_ecn_field_of_the_packet_is_that_of_the_datagram() {
    let mut link = Link::established();
    for (tos, ecn) in [(0, Ecn::NotEct), (1, Ecn::Ect1), (0xfe, Ecn::Ect0), (3, Ecn::Ce)] {
        let mut packet = packet(1, 2, b"data");
        packet[1] = tos;
        link.a_sends(&packet);
        assert_eq!(link.messages(link.a.address, DATA).pop().unwrap().1.ecn, ecn);
    }
}

/// Host a's packet with this TOS, as it arrives at b in a datagram marked as congested; why it went no further.
fn congested(link: &mut Link, tos: u8) -> Option<Discard> {
    link.lose = |_| true;
    link.a_sends(&with_tos(tos));
    let (_, mut datagram) = link.messages(link.a.address, DATA).pop().unwrap();
    datagram.ecn = Ecn::Ce;
    link.inject(&datagram)
}

/// An IPv4 packet from a to b with this TOS and a valid header checksum.
fn with_tos(tos: u8) -> Vec<u8> {
    let mut packet = packet(1, 2, b"data");
    packet[1] = tos;
    let words = packet[..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

#[test]
fn congestion_on_the_way_is_marked_in_the_packet_and_its_checksum_stays_valid() {
    let mut link = Link::established();
    for tos in [0x02, 0x01, 0x03, 0xb9, 0xfe] {
        assert_eq!(congested(&mut link, tos), None);
        assert_eq!(link.b.delivered.pop(), Some(with_tos(tos | 3)), "of TOS {tos:#x}");
    }
}

#[test]
fn congestion_on_the_way_of_a_packet_that_cannot_say_so_discards_it() {
    let mut link = Link::established();
    for tos in [0, 0x88] {
        assert_eq!(congested(&mut link, tos), Some(Discard::CongestionMark));
    }
    assert!(link.b.delivered.is_empty());
    assert_eq!(link.b.discards(Discard::CongestionMark), 2);
}

fn segments(count: u8, size: usize, last: usize) -> Segments {
    let segment = |number| {
        let size = if number + 1 == count { last } else { size };
        packet(1, 2, &vec![number; size - 20])
    };
    Segments((0..count).map(segment).collect())
}

#[test]
fn the_segments_of_a_superpacket_arrive_as_packets() {
    let mut link = Link::established();
    for (count, size, last) in [(1, 60, 60), (2, 1420, 1420), (45, 1420, 21), (200, 100, 37)] {
        let packet = segments(count, size, last);
        let leaving = link.a.send_super(&link.clock, &packet);
        link.launch(leaving);
        link.run(millis(11));
        assert_eq!(std::mem::take(&mut link.b.delivered), packet.0);
    }
}

#[test]
fn a_superpacket_waits_for_the_session_too() {
    let mut link = Link::new();
    let packet = segments(40, 1420, 777);
    let leaving = link.a.send_super(&link.clock, &packet);
    link.launch(leaving);
    link.run(secs(1));
    assert_eq!(link.b.delivered, packet.0);
}

#[test]
fn no_run_has_more_datagrams_or_bytes_than_the_kernel_takes() {
    let mut link = Link::established();
    for (count, size, last) in [(255, 40, 30), (100, 1420, 1400), (7, 20_000, 20_000)] {
        let mut sink = Sink::default();
        let packet = segments(count, size, last);
        link.a.outbound.send(link.clock.boot, &packet, &mut sink).unwrap();
        for (run, bytes) in &sink.runs {
            assert!(run.count <= 64 && bytes.len() <= 65_507, "{run:?}");
            assert_eq!(bytes.len(), run.total());
        }
        let datagrams: usize = sink.runs.iter().map(|(run, _)| run.count).sum();
        assert_eq!(datagrams, usize::from(count));
    }
}

#[test]
fn a_packet_that_no_datagram_can_carry_is_discarded() {
    let mut link = open_link();
    link.a_sends(&packet(1, 2, &vec![0; 65_507 - OVERHEAD - 20 + 1]));
    assert_eq!(link.a.discards(Discard::PacketTooLong), 1);
    link.a_sends(&packet(1, 2, &vec![0; 65_472 - 20]));
    link.run(secs(1));
    assert_eq!(link.b.delivered[0].len(), 65_472);
}

#[test]
fn both_ends_count_the_same_packets_and_bytes() {
    let mut link = open_link();
    let (_, before) = link.b.tunnel.stats().received();
    for len in [20, 21, 500, 1420] {
        link.a_sends(&packet(1, 2, &vec![0; len - 20]));
    }
    link.run(secs(60));
    assert_eq!(link.a.tunnel.stats().sent(), (5, before + 1961));
    assert_eq!(link.b.tunnel.stats().received(), (5, before + 1961), "keepalives are not packets");
}
