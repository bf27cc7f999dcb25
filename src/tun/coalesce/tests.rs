use super::*;
use crate::tun::tests::packets::{Fields, Recorder, lay_out};
use crate::tun::virtio::{GSO_TCPV4, NEEDS_CSUM, VIRTIO_HEADER, VirtioNetHdr};
use crate::wire::checksum::Sum;

const ALL: Offloads = Offloads { tso: true, uso: true };

/// Coalesces the packets as one batch.
fn coalesce(packets: &[Vec<u8>], recorder: &mut Recorder) -> Flushed {
    let (buffer, ranges) = lay_out(packets);
    let mut coalescer = Coalescer::new(Layer::Ip, ALL);
    for range in ranges {
        coalescer.push(&buffer, range);
    }
    coalescer.flush(&buffer, recorder).unwrap()
}

/// How many packets each write carries.
fn runs(packets: &[Vec<u8>]) -> Vec<usize> {
    let mut recorder = Recorder::default();
    let flushed = coalesce(packets, &mut recorder);
    assert_eq!(flushed.packets, packets.len());
    let mut counts = Vec::new();
    for write in &recorder.writes {
        let one = Recorder { writes: vec![write.clone()], ..Recorder::default() };
        counts.push(one.packets().len());
    }
    counts
}

fn run_of(first: &Fields, count: usize) -> Vec<Fields> {
    std::iter::successors(Some(first.clone()), |fields| Some(fields.next())).take(count).collect()
}

fn bytes(fields: &[Fields]) -> Vec<Vec<u8>> {
    fields.iter().map(Fields::packet).collect()
}

#[test]
fn a_run_of_equal_packets_is_one_write_that_splits_into_the_same_packets() {
    for kind in Fields::kinds() {
        let packets = bytes(&run_of(&kind, 40));
        let mut recorder = Recorder::default();
        let flushed = coalesce(&packets, &mut recorder);
        assert_eq!((flushed.packets, flushed.superpackets), (40, 1));
        assert_eq!(recorder.packets(), packets);
    }
}

#[test]
fn the_virtio_header_says_where_headers_end_and_the_checksum_goes() {
    let mut recorder = Recorder::default();
    coalesce(&bytes(&run_of(&Fields::default(), 3)), &mut recorder);
    let header = VirtioNetHdr::parse(&recorder.writes[0]).unwrap();
    let expected = VirtioNetHdr {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        hdr_len: 40,
        gso_size: 100,
        csum_start: 20,
        csum_offset: 16,
    };
    assert_eq!(header, expected);
    let ip = &recorder.writes[0][VIRTIO_HEADER..];
    assert_eq!(ip[2..4], 340_u16.to_be_bytes());
    assert!(Sum::default().bytes(&ip[..20]).verify());
}

#[test]
fn a_lone_packet_is_written_as_it_came() {
    for kind in Fields::kinds() {
        let packet = kind.packet();
        let mut recorder = Recorder::default();
        coalesce(std::slice::from_ref(&packet), &mut recorder);
        assert_eq!(recorder.writes, [[vec![0; VIRTIO_HEADER], packet].concat()]);
    }
}

#[test]
fn bytes_after_the_length_of_a_packet_are_not_written() {
    let packet = Fields::default().packet();
    let padded = [packet.clone(), vec![0; 12]].concat();
    let mut recorder = Recorder::default();
    coalesce(&[padded], &mut recorder);
    assert_eq!(recorder.packets(), [packet]);
}

#[test]
fn a_shorter_packet_or_psh_ends_a_run() {
    for kind in Fields::kinds() {
        let mut fields = run_of(&kind, 2);
        fields.push(fields[1].next().with_payload(60));
        let after = fields[2].next().with_payload(60);
        fields.extend(run_of(&after, 2));
        assert_eq!(runs(&bytes(&fields)), [3, 2]);
    }
    let mut fields = run_of(&Fields::default(), 4);
    fields[1].flags |= 0x08;
    assert_eq!(runs(&bytes(&fields)), [2, 2]);
    fields[0].flags |= 0x08;
    assert_eq!(runs(&bytes(&fields)), [1, 1, 2]);
}

#[test]
fn a_longer_packet_starts_a_run_of_its_own() {
    for kind in Fields::kinds() {
        let first = kind.with_payload(50);
        let second = first.next().with_payload(51);
        assert_eq!(runs(&bytes(&[first, second.clone(), second.next()])), [1, 2]);
    }
}

#[test]
fn a_run_has_at_most_64_packets_and_65535_bytes() {
    for kind in Fields::kinds() {
        assert_eq!(runs(&bytes(&run_of(&kind, 130))), [64, 64, 2]);
        let large = kind.with_payload(1400);
        let most = (65_535 - large.header_len()) / 1400;
        assert_eq!(runs(&bytes(&run_of(&large, most + 2))), [most, 2]);
    }
}

#[test]
fn a_packet_that_differs_in_a_field_is_not_merged() {
    type Change = fn(&mut Fields);
    let both: [(&str, Change); 3] = [
        ("TOS byte", |fields| fields.tos = 1),
        ("TTL", |fields| fields.ttl = 63),
        ("flow label or DF", |fields| {
            fields.label = 5;
            fields.df = false;
        }),
    ];
    for kind in Fields::kinds() {
        for (name, change) in both {
            let mut fields = run_of(&kind, 2);
            change(&mut fields[1]);
            assert_eq!(runs(&bytes(&fields)), [1, 1], "{name}");
        }
    }
    let tcp: [(&str, Change); 7] = [
        ("acknowledgment", |fields| fields.ack += 1),
        ("window", |fields| fields.window += 1),
        ("sequence", |fields| fields.sequence += 1),
        ("sequence, backwards", |fields| fields.sequence -= 100),
        ("ECE", |fields| fields.flags |= 0x40),
        ("options", |fields| fields.options = vec![1; 4]),
        ("other options", |fields| fields.options[0] = 0),
    ];
    for v6 in [false, true] {
        for (name, change) in tcp {
            let first = Fields { v6, options: vec![1; 12], ..Fields::default() };
            let mut fields = run_of(&first, 2);
            change(&mut fields[1]);
            assert_eq!(runs(&bytes(&fields)), [1, 1], "{name}");
        }
    }
}

#[test]
fn ipv4_ids_count_unless_the_packet_is_never_fragmented() {
    for (df, expected) in [(true, vec![2]), (false, vec![1, 1])] {
        let mut fields = run_of(&Fields { df, ..Fields::default() }, 2);
        fields[1].id += 1;
        assert_eq!(runs(&bytes(&fields)), expected);
    }
    assert_eq!(runs(&bytes(&run_of(&Fields { df: false, ..Fields::default() }, 3))), [3]);
}

#[test]
fn a_wrong_checksum_is_never_made_right() {
    for kind in Fields::kinds() {
        for wrong in 0..3 {
            let mut packets = bytes(&run_of(&kind, 3));
            *packets[wrong].last_mut().unwrap() ^= 1;
            let mut recorder = Recorder::default();
            coalesce(&packets, &mut recorder);
            assert_eq!(recorder.packets(), packets);
        }
    }
    let mut packets = bytes(&run_of(&Fields::default(), 2));
    packets[1][10] ^= 1;
    assert_eq!(runs(&packets), [1, 1]);
}

#[test]
fn a_pure_acknowledgment_does_not_end_a_run() {
    let mut fields = run_of(&Fields::default(), 3);
    let ack = fields[1].with_payload(0);
    fields.insert(1, ack);
    assert_eq!(runs(&bytes(&fields)), [3, 1]);
}

#[test]
fn syn_fin_rst_urg_and_cwr_are_written_alone_and_end_a_run() {
    for flag in [0x01, 0x02, 0x04, 0x20, 0x80] {
        let mut fields = run_of(&Fields::default(), 5);
        fields[2].flags |= flag;
        let mut recorder = Recorder::default();
        coalesce(&bytes(&fields), &mut recorder);
        assert_eq!(recorder.packets(), bytes(&fields));
        assert_eq!(runs(&bytes(&fields)), [2, 1, 2], "{flag:#x}");
    }
}

#[test]
fn udp_without_a_checksum_is_written_as_it_came() {
    for v6 in [false, true] {
        let mut fields = run_of(&Fields { udp: true, v6, ..Fields::default() }, 6);
        fields[2].unsummed = true;
        fields[3].unsummed = true;
        assert_eq!(runs(&bytes(&fields)), [2, 1, 1, 2]);
        let mut recorder = Recorder::default();
        coalesce(&bytes(&fields), &mut recorder);
        assert_eq!(recorder.packets(), bytes(&fields));
    }
}

#[test]
fn flows_are_told_apart_and_each_keeps_its_order() {
    let a = run_of(&Fields::default(), 3);
    let b = run_of(&Fields { ports: [4001, 5001], ..Fields::default() }, 3);
    let mixed: Vec<_> = a.iter().zip(&b).flat_map(|(a, b)| [a.packet(), b.packet()]).collect();
    assert_eq!(runs(&mixed), [3, 3]);
}

#[test]
fn a_fragment_ends_the_runs_between_its_addresses() {
    let mut packets = bytes(&run_of(&Fields { udp: true, ..Fields::default() }, 4));
    packets[2][6] = 0x20;
    assert_eq!(runs(&packets), [2, 1, 1]);
    let mut packets = bytes(&run_of(&Fields { v6: true, ..Fields::default() }, 4));
    packets[2][6] = 44;
    assert_eq!(runs(&packets), [2, 1, 1]);
}

#[test]
fn more_flows_than_the_table_holds_lose_nothing() {
    let mut packets = Vec::new();
    for port in 0..200 {
        let first = Fields { ports: [port, 1], ..Fields::default() };
        packets.extend(bytes(&run_of(&first, 2)));
    }
    assert_eq!(runs(&packets), [2; 200]);
    packets.sort_by_key(|packet| packet[24..28].to_vec());
    assert_eq!(runs(&packets).iter().sum::<usize>(), 400);
}

#[test]
fn only_what_was_granted_is_coalesced() {
    for kind in Fields::kinds() {
        let (buffer, ranges) = lay_out(&bytes(&run_of(&kind, 2)));
        for (tso, uso) in [(false, false), (true, false), (false, true)] {
            let mut coalescer = Coalescer::new(Layer::Ip, Offloads { tso, uso });
            for range in &ranges {
                coalescer.push(&buffer, range.clone());
            }
            let flushed = coalescer.flush(&buffer, &mut Recorder::default()).unwrap();
            let granted = if kind.udp { uso } else { tso };
            assert_eq!(flushed.superpackets, usize::from(granted));
        }
    }
}

#[test]
fn a_refused_superpacket_is_written_singly_and_none_is_tried_again() {
    let packets = bytes(&run_of(&Fields::default(), 3));
    let (buffer, ranges) = lay_out(&packets);
    let mut coalescer = Coalescer::new(Layer::Ip, ALL);
    let mut recorder = Recorder { refusal: Some(|| TunFault::Refused), ..Recorder::default() };
    for _ in 0..2 {
        for range in &ranges {
            coalescer.push(&buffer, range.clone());
        }
        let flushed = coalescer.flush(&buffer, &mut recorder).unwrap();
        assert_eq!((flushed.packets, flushed.superpackets), (3, 0));
        assert_eq!(recorder.packets(), packets);
        recorder = Recorder::default();
    }
}

#[test]
fn a_superpacket_without_memory_is_written_singly_and_the_next_one_is_tried() {
    let packets = bytes(&run_of(&Fields::default(), 3));
    let (buffer, ranges) = lay_out(&packets);
    let mut coalescer = Coalescer::new(Layer::Ip, ALL);
    let short = Recorder { refusal: Some(|| TunFault::NoMemory), ..Recorder::default() };
    for (mut recorder, superpackets) in [(short, 0), (Recorder::default(), 1)] {
        for range in &ranges {
            coalescer.push(&buffer, range.clone());
        }
        let flushed = coalescer.flush(&buffer, &mut recorder).unwrap();
        assert_eq!((flushed.packets, flushed.superpackets), (3, superpackets));
        assert_eq!(recorder.packets(), packets);
    }
}

#[test]
fn a_device_that_is_down_costs_the_batch_and_one_that_is_gone_is_an_error() {
    let (buffer, ranges) = lay_out(&bytes(&run_of(&Fields::default(), 3)));
    let mut coalescer = Coalescer::new(Layer::Ip, ALL);
    let faults: [fn() -> TunFault; 2] = [|| TunFault::Down, || TunFault::Gone];
    for fault in faults {
        for range in &ranges {
            coalescer.push(&buffer, range.clone());
        }
        let mut recorder = Recorder { fault: Some(fault), ..Recorder::default() };
        match coalescer.flush(&buffer, &mut recorder) {
            Ok(flushed) => assert_eq!((flushed.packets, flushed.down), (0, 3)),
            Err(fault) => assert!(fault.is_fatal()),
        }
        assert!(coalescer.segments.is_empty());
    }
}

#[test]
fn ranges_and_buffers_that_do_not_fit_discard_packets_but_do_no_harm() {
    let (buffer, ranges) = lay_out(&bytes(&run_of(&Fields::default(), 2)));
    let mut coalescer = Coalescer::new(Layer::Ip, ALL);
    coalescer.push(&buffer, buffer.len()..buffer.len() + 1);
    assert!(coalescer.segments.is_empty());
    for range in ranges {
        coalescer.push(&buffer, range);
    }
    let flushed = coalescer.flush(&buffer[..10], &mut Recorder::default()).unwrap();
    assert_eq!((flushed.packets, flushed.refused), (0, 2));
    assert!(coalescer.segments.is_empty());
}
