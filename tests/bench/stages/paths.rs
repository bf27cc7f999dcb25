//! The whole way of a packet between device and underlay, both in memory.

use criterion::{BatchSize, Criterion};
use tunneld::proto::{Inbound, Received};
use tunneld::tun::Coalescer;
use tunneld::wire::transport::HEADER;
use tunneld::wire::{Ecn, Endpoint, Layer};

use crate::device::{OFFLOADS, Sponge};
use crate::ends::{Datagrams, Ends, NOW};
use crate::shapes::{parse, with_each_cipher};

/// From a frame in the device's read buffer to sealed datagrams in the send batch: all but the two system calls.
/// As in [`split`](crate::device::split) the frame is used again and again.
pub(crate) fn outbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outbound");
    for (shape, cipher) in with_each_cipher() {
        let id = shape.enter_with(cipher, &mut group);
        let mut outbound = Ends::linked(cipher).outbound;
        let mut frame = shape.frame();
        let mut datagrams = Datagrams::default();
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                datagrams.clear();
                let packet = parse(&mut frame);
                outbound.send(NOW, &packet, &mut datagrams).expect("it is for the peer");
            });
        });
    }
}

/// From sealed datagrams in the receive buffer to what is handed to the device: all but the two system calls. A
/// datagram is good once, so each round gets new ones, sealed before.
pub(crate) fn inbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbound");
    for (shape, cipher) in with_each_cipher() {
        let id = shape.enter_with(cipher, &mut group);
        let Ends { mut outbound, mut inbound, from } = Ends::linked(cipher);
        let frame = shape.frame();
        let mut coalescer = Coalescer::new(Layer::Ip, OFFLOADS);
        group.bench_function(id, |bencher| {
            bencher.iter_batched_ref(
                || {
                    let mut datagrams = Datagrams::default();
                    let packet = &mut frame.clone();
                    outbound.send(NOW, &parse(packet), &mut datagrams).expect("it is for the peer");
                    datagrams
                },
                |datagrams| {
                    let packets = receive(&mut inbound, from, datagrams, &mut coalescer);
                    assert_eq!(packets, shape.segments);
                },
                BatchSize::LargeInput,
            );
        });
    }
}

/// What the inbound thread does with the datagrams of one receive call; how many packets reached the device.
pub(crate) fn receive(
    inbound: &mut Inbound,
    from: Endpoint,
    datagrams: &mut Datagrams,
    coalescer: &mut Coalescer,
) -> usize {
    inbound.obey();
    let mut start = 0;
    while start < datagrams.bytes.len() {
        let end = datagrams.bytes.len().min(start + datagrams.stride);
        let datagram = &mut datagrams.bytes[start..end];
        if let Ok(Received::Packet(packet)) = inbound.receive(NOW, from, Ecn::NotEct, datagram) {
            let packet = start + HEADER..start + HEADER + packet.len();
            coalescer.push(&datagrams.bytes, packet);
        }
        start = end;
    }
    inbound.finish(NOW);
    coalescer.flush(&datagrams.bytes, &mut Sponge).expect("it takes everything").packets
}
