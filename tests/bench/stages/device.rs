//! Both ways through the device's door: splitting superpackets, and making them.

use std::hint::black_box;
use std::io::IoSlice;

use criterion::Criterion;
use tunneld::tun::{Coalescer, Offloads, PacketWriter, TunFault};
use tunneld::wire::{Layer, Superpacket as _};

use crate::shapes::{SHAPES, parse};

/// A device that takes everything at no cost: what the kernel does with a write is not ours to measure.
pub(crate) struct Sponge;

impl PacketWriter for Sponge {
    fn write_packet(&mut self, packet: &[u8]) -> Result<(), TunFault> {
        black_box(packet);
        Ok(())
    }

    fn write_superpacket(&mut self, gathered: &[IoSlice<'_>]) -> Result<(), TunFault> {
        black_box(gathered);
        Ok(())
    }
}

/// What all kernels since 6.2 grant.
pub(crate) const OFFLOADS: Offloads = Offloads { tso: true, uso: true };

/// From the frame to segments with complete headers and checksums, each copied to its place. A frame stays as it
/// is, but for the checksum of a single packet, which is completed over and over: a wrong one, at the same cost.
pub(crate) fn split(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split");
    for shape in SHAPES {
        let id = shape.enter(&mut group);
        let mut frame = shape.frame();
        let mut out = vec![0; shape.segments * shape.size];
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let packet = parse(&mut frame);
                for (index, segment) in out.chunks_mut(shape.size).enumerate() {
                    packet.write_segment(index, segment);
                }
            });
        });
    }
}

/// From packets that lie in one buffer to what is handed to the device: checksums verified, headers made, payloads
/// gathered but not copied.
pub(crate) fn coalesce(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coalesce");
    for shape in SHAPES {
        let id = shape.enter(&mut group);
        let buffer = shape.packets().concat();
        let mut coalescer = Coalescer::new(Layer::Ip, OFFLOADS);
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                for index in 0..shape.segments {
                    let start = index * shape.size;
                    coalescer.push(&buffer, start..start + shape.size);
                }
                let flushed = coalescer.flush(&buffer, &mut Sponge).expect("it takes everything");
                assert_eq!(flushed.packets, shape.segments);
                assert_eq!(flushed.superpackets, usize::from(shape.segments > 1));
            });
        });
    }
}
