//! In the steady state no packet costs an allocation, on either way through the core.

#![allow(dead_code, reason = "the benchmark `stages`, whose ends these are, uses the rest")]

#[path = "bench/stages/device.rs"]
mod device;
#[path = "bench/stages/ends.rs"]
mod ends;
#[path = "bench/stages/paths.rs"]
mod paths;
#[path = "bench/stages/shapes.rs"]
mod shapes;

use allocation_counter::measure;
use tunneld::tun::Coalescer;
use tunneld::wire::Layer;

use device::OFFLOADS;
use ends::{Datagrams, Ends, NOW};
use paths::receive;
use shapes::{parse, with_each_cipher};

#[test]
fn no_packet_is_allocated_for_after_the_first_ones() {
    for (shape, cipher) in with_each_cipher() {
        let Ends { mut outbound, mut inbound, from } = Ends::linked(cipher);
        let (mut datagrams, mut coalescer) =
            (Datagrams::default(), Coalescer::new(Layer::Ip, OFFLOADS));
        let frame = shape.frame();
        let mut pass = || {
            let mut frame = frame.clone();
            datagrams.clear();
            measure(|| {
                let sent = outbound.send(NOW, &parse(&mut frame), &mut datagrams);
                sent.expect("it is for the peer");
                let packets = receive(&mut inbound, from, &mut datagrams, &mut coalescer);
                assert_eq!(packets, shape.segments);
            })
        };
        assert!(pass().count_total > 0, "the first one makes room in the sink");
        for _ in 0..3 {
            assert_eq!(
                pass().count_total,
                0,
                "{cipher}, {} segments of {} bytes",
                shape.segments,
                shape.size
            );
        }
    }
}
