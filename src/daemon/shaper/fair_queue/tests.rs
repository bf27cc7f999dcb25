use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Rate;

const START: Instant = Instant::from_nanos(1_000_000_000);

fn queue() -> FairQueue {
    FairQueue::new(Pace::of(Rate::from_bits_per_second(20_000_000).unwrap()), 7)
}

/// A UDP packet of this flow and length over IPv4, with this ECN field.
fn packet(flow: u16, len: usize, ecn: Ecn) -> Vec<u8> {
    let mut packet = vec![0; len.max(28)];
    (packet[0], packet[1], packet[9]) = (0x45, ecn as u8, 17);
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[20..22].copy_from_slice(&flow.to_be_bytes());
    packet
}

fn flow_of(packet: &Packet) -> u16 {
    u16::from_be_bytes([packet.bytes[20], packet.bytes[21]])
}

fn push(queue: &mut FairQueue, now: Instant, bytes: &[u8]) {
    let arrival = Arrival { len: bytes.len(), cost: bytes.len() + 60, ip_at: 0 };
    queue.push(now, arrival, |room| room.copy_from_slice(bytes));
}

/// The flows of what leaves, all at one time.
fn drain(queue: &mut FairQueue) -> Vec<u16> {
    std::iter::from_fn(|| queue.pop(START)).map(|packet| flow_of(&packet)).collect()
}

/// Flows that have places of their own.
fn distinct(queue: &FairQueue, count: usize) -> Vec<u16> {
    let mut places = BTreeSet::new();
    let all = (0..).filter(|flow| places.insert(queue.place_of(&packet(*flow, 28, Ecn::NotEct))));
    all.take(count).collect()
}

#[test]
fn a_flow_keeps_its_order_and_its_bytes() {
    let mut queue = queue();
    for n in 0..100 {
        push(&mut queue, START, &packet(1, 28 + n, Ecn::NotEct));
    }
    assert_eq!(queue.waiting(), (100, 28 * 100 + 99 * 50));
    for n in 0..100 {
        let left = queue.pop(START).unwrap();
        assert_eq!(left.bytes(), packet(1, 28 + n, Ecn::NotEct));
        // Its room goes to another packet.
        queue.recycle(left);
    }
    assert!(queue.pop(START).is_none());
    assert_eq!(queue.waiting(), (0, 0));
}

#[test]
fn the_room_of_a_jumbo_packet_is_not_kept_for_a_small_one() {
    let mut queue = queue();
    for len in [9000, 1420] {
        push(&mut queue, START, &packet(1, len, Ecn::NotEct));
        let left = queue.pop(START).unwrap();
        queue.recycle(left);
    }
    assert_eq!(queue.spare.iter().map(Vec::len).collect::<Vec<_>>(), [1420]);
}

#[test]
fn flows_take_turns_by_bytes_and_not_by_packets() {
    let mut queue = queue();
    let flows = distinct(&queue, 2);
    for _ in 0..300 {
        push(&mut queue, START, &packet(flows[0], 1400, Ecn::NotEct));
        for _ in 0..7 {
            push(&mut queue, START, &packet(flows[1], 150, Ecn::NotEct));
        }
    }
    let left: Vec<_> = drain(&mut queue).into_iter().take(600).collect();
    let large = left.iter().filter(|flow| **flow == flows[0]).count();
    assert!((70..80).contains(&large), "of each eight packets one is large: {large}");
}

#[test]
fn a_flow_that_begins_goes_before_those_that_wait() {
    let mut queue = queue();
    let flows = distinct(&queue, 11);
    for flow in &flows[..10] {
        for _ in 0..20 {
            push(&mut queue, START, &packet(*flow, 1400, Ecn::NotEct));
        }
    }
    // Each has begun, and used up its first turn.
    for _ in 0..20 {
        queue.pop(START).unwrap();
    }
    push(&mut queue, START, &packet(flows[10], 100, Ecn::NotEct));
    assert_eq!(flow_of(&queue.pop(START).unwrap()), flows[10]);
}

#[test]
fn a_flow_that_begins_again_and_again_keeps_nobody_from_its_turn() {
    let mut queue = queue();
    let flows = distinct(&queue, 2);
    for _ in 0..100 {
        push(&mut queue, START, &packet(flows[0], 1400, Ecn::NotEct));
    }
    let mut bulk = 0;
    for _ in 0..100 {
        push(&mut queue, START, &packet(flows[1], 1400, Ecn::NotEct));
        bulk += usize::from(flow_of(&queue.pop(START).unwrap()) == flows[0]);
    }
    assert!(bulk >= 45, "{bulk} of 100");
}

#[test]
fn a_flood_of_flows_is_held_within_the_limits_and_loses_fairly() {
    let mut queue = queue();
    let quiet = 60_000;
    push(&mut queue, START, &packet(quiet, 100, Ecn::NotEct));
    for n in 0..100_000_u32 {
        push(&mut queue, START, &packet((n % 50_000) as u16, 1400, Ecn::NotEct));
        let (packets, bytes) = queue.waiting();
        assert!(packets <= MAX_PACKETS && bytes <= MAX_BYTES);
    }
    let (packets, _) = queue.waiting();
    assert_eq!(queue.take_tally().discarded, 100_001 - packets);
    let room: usize = queue.flows.iter().map(|flow| flow.packets.capacity()).sum();
    assert!(room <= 4 * MAX_PACKETS + 16 * FLOWS, "{room}");
    let left = drain(&mut queue);
    assert_eq!(left.len(), packets);
    assert!(queue.spare_bytes <= MAX_SPARE_BYTES);
}

#[test]
fn the_flow_that_floods_is_the_one_that_loses() {
    let mut queue = queue();
    let flows = distinct(&queue, 2);
    for _ in 0..10 {
        push(&mut queue, START, &packet(flows[0], 1400, Ecn::NotEct));
    }
    for _ in 0..50_000 {
        push(&mut queue, START, &packet(flows[1], 1400, Ecn::NotEct));
    }
    let left = drain(&mut queue);
    assert_eq!(left.iter().filter(|flow| **flow == flows[0]).count(), 10);
}

#[test]
fn all_flows_are_looked_through_a_few_times_for_64_packets_or_64_kib_of_a_flood() {
    for (flows, len) in [(1, 28), (1, 1400), (50_000, 28), (50_000, 1400), (50_000, 9000)] {
        let mut queue = queue();
        let pushed = 50_000;
        for n in 0..pushed {
            push(&mut queue, START, &packet((n % flows) as u16, len, Ecn::NotEct));
        }
        let times = pushed / 64 + pushed * len / (64 << 10);
        assert!(queue.work < 4 * FLOWS * times, "{flows} flows of {len} bytes: {}", queue.work);
    }
}

#[test]
fn of_flows_that_wait_for_equally_much_none_loses_more_than_twice_what_another_does() {
    let mut queue = queue();
    let flows = distinct(&queue, 512);
    let rounds = 200;
    for _ in 0..rounds {
        for flow in &flows {
            push(&mut queue, START, &packet(*flow, 100, Ecn::NotEct));
        }
    }
    let left = flows
        .iter()
        .map(|flow| queue.flows[queue.place_of(&packet(*flow, 28, Ecn::NotEct))].packets.len());
    let (least, most) =
        left.fold((rounds, 0), |(least, most), left| (least.min(left), most.max(left)));
    assert!(least >= most / 2 && least > 0, "{least} to {most}");
}

#[test]
fn packets_that_cost_nothing_wait_within_the_limits_too() {
    let mut queue = queue();
    for _ in 0..2 * MAX_PACKETS {
        queue.push(START, Arrival { len: 0, cost: 0, ip_at: 0 }, |_| ());
        assert!(queue.waiting().0 <= MAX_PACKETS);
    }
}

#[test]
fn packets_as_large_as_there_are_wait_within_the_limits() {
    let mut queue = queue();
    for n in 0..200 {
        push(&mut queue, START, &packet(n, 65_475, Ecn::NotEct));
        assert!(queue.waiting().1 <= MAX_BYTES);
    }
    let left = std::iter::from_fn(|| {
        let packet = queue.pop(START)?;
        queue.recycle(packet);
        Some(())
    });
    assert!((60..=64).contains(&left.count()));
    assert!(queue.spare_bytes <= MAX_SPARE_BYTES);
}

/// What leaves at a packet each 5 ms, while one of each 4 ms comes, for 3 s.
fn congested(ecn: Ecn) -> (FairQueue, Vec<Packet>) {
    let (mut queue, mut left) = (queue(), Vec::new());
    for millis in 0..3000 {
        let now = START + Duration::from_millis(millis);
        if millis % 4 == 0 {
            push(&mut queue, now, &packet(1, 1400, ecn));
        }
        if millis % 5 == 0 {
            left.extend(queue.pop(now));
        }
    }
    (queue, left)
}

#[test]
fn a_flow_that_allows_marks_is_marked_and_one_that_does_not_loses_packets() {
    let is_marked = |packet: &&Packet| IpHeader::parse(&packet.bytes).unwrap().ecn == Ecn::Ce;
    for ecn in [Ecn::Ect0, Ecn::Ect1] {
        let (mut queue, left) = congested(ecn);
        let Tally { discarded, marked } = queue.take_tally();
        assert_eq!(discarded, 0);
        assert!(marked > 10, "{marked}");
        assert_eq!(left.iter().filter(is_marked).count(), marked);
    }
    let (mut queue, left) = congested(Ecn::NotEct);
    let Tally { discarded, marked } = queue.take_tally();
    assert_eq!(marked, 0);
    assert!(discarded > 10, "{discarded}");
    assert_eq!(left.iter().filter(is_marked).count(), 0);
    // One that is marked already cannot say it twice.
    assert!(congested(Ecn::Ce).0.take_tally().discarded > 10);
}

#[test]
fn the_ip_header_of_a_frame_is_found_where_it_is() {
    let mut queue = queue();
    let frame = |flow| [vec![0xff; 18], packet(flow, 1400, Ecn::Ect0)].concat();
    let place = queue.place_of(&packet(3, 1400, Ecn::NotEct));
    for _ in 0..5 {
        let arrival = Arrival { len: 1418, cost: 1478, ip_at: 18 };
        queue.push(START, arrival, |room| room.copy_from_slice(&frame(3)));
    }
    assert_eq!(queue.flows[place].packets.len(), 5);
    let mut marked = queue.pop(START).unwrap();
    assert!(marked.mark());
    assert_eq!(IpHeader::parse(&marked.bytes[18..]).unwrap().ecn, Ecn::Ce);
    let none = queue.place_of(&[]);
    queue.push(START, Arrival { len: 60, cost: 120, ip_at: 60 }, |_| ());
    queue.push(START, Arrival { len: 60, cost: 120, ip_at: 600 }, |_| ());
    assert_eq!(queue.flows[none].packets.len(), 2, "what has no IP header is one flow");
}

proptest! {
    #[test]
    fn what_comes_leaves_once_in_order_or_is_counted(
        steps in prop::collection::vec((0..8_u16, 28..3000_usize, 0..4_u8, 0..20_u64, any::<bool>()), 0..600),
    ) {
        let mut queue = queue();
        let (mut now, mut came, mut left) = (START, Vec::new(), Vec::new());
        let mut discarded = 0;
        let mut take = |queue: &mut FairQueue, now| {
            let Some(packet) = queue.pop(now) else { return false };
            left.push((flow_of(&packet), u16::from_be_bytes([packet.bytes[26], packet.bytes[27]])));
            queue.recycle(packet);
            discarded += queue.take_tally().discarded;
            true
        };
        for (number, (flow, len, ecn, millis, pops)) in steps.into_iter().enumerate() {
            now = now + Duration::from_millis(millis);
            let mut bytes = packet(flow, len, Ecn::from_tos(ecn));
            bytes[26..28].copy_from_slice(&(number as u16).to_be_bytes());
            push(&mut queue, now, &bytes);
            came.push((flow, number as u16));
            if pops {
                take(&mut queue, now);
            }
        }
        while take(&mut queue, now) {}
        discarded += queue.take_tally().discarded;
        prop_assert_eq!(queue.waiting(), (0, 0));
        prop_assert_eq!(left.len() + discarded, came.len());
        for flow in 0..8 {
            let numbers = |all: &[(u16, u16)]| -> Vec<u16> {
                all.iter().filter(|(of, _)| *of == flow).map(|(_, number)| *number).collect()
            };
            let (came, left) = (numbers(&came), numbers(&left));
            prop_assert!(left.is_sorted());
            prop_assert!(left.iter().all(|number| came.contains(number)));
        }
    }
}
